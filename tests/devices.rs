//! Devices: signatures, pairing with and without somebody who approves, tokens, and what becomes of sockets when they
//! change (protocol 2.4, 2.6 and 12; DECISIONS 34-40).

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::time::Duration;

use base64::Engine as _;
use serde_json::{Value, json};

use crate::common::client::{ALL_SCOPES, Client, Device, End, Hello};
use crate::common::{Gateway, Home, wait_for, wait_until};

/// Makes a caller of this machine a remote one.
const FAR: &[(&str, &str)] = &[("Host", "gateway.example")];
const NEAR: &[(&str, &str)] = &[];
/// Long enough for an event that is on its way.
const QUIET: Duration = Duration::from_millis(150);

fn gateway() -> (Home, Gateway) {
    let home = Home::new();
    home.configure(json!({}));
    let gateway = Gateway::start(&home, &[]);
    (home, gateway)
}

fn asking(scopes: &[&str]) -> Hello {
    Hello { scopes: scopes.iter().map(|s| (*s).to_owned()).collect(), ..Hello::default() }
}

/// With a device token and nothing else.
fn with_device_token(token: &str, scopes: &[&str]) -> Hello {
    Hello { token: None, device_token: Some(token.to_owned()), ..asking(scopes) }
}

/// Connects; gives the payload of hello-ok or the error, and the socket.
fn try_connect(port: u16, from: &[(&str, &str)], hello: &Hello, device: &Device) -> (Client, Result<Value, Value>) {
    let mut client = Client::open_with(port, from);
    let answer = client.hello(hello, Some(device));
    let outcome = if answer["ok"] == true { Ok(answer["payload"].clone()) } else { Err(answer["error"].clone()) };
    (client, outcome)
}

fn connect(port: u16, from: &[(&str, &str)], hello: &Hello, device: &Device) -> (Client, Value) {
    let (client, outcome) = try_connect(port, from, hello, device);
    (client, outcome.unwrap_or_else(|error| panic!("refused: {error}")))
}

/// Refused because an operator has to decide: the reason and the id of the request.
fn must_wait(port: u16, from: &[(&str, &str)], hello: &Hello, device: &Device) -> (String, String) {
    let (mut client, outcome) = try_connect(port, from, hello, device);
    let error = outcome.expect_err("should have to wait");
    assert_eq!((&error["code"], &error["message"]), (&json!("NOT_PAIRED"), &json!("pairing required")));
    assert_eq!(error["details"]["code"], "PAIRING_REQUIRED");
    assert_eq!(client.end(), End::Close(1008, "pairing required".into()));
    let text = |key: &str| error["details"][key].as_str().expect("a text").to_owned();
    (text("reason"), text("requestId"))
}

fn token_of(hello: &Value) -> String {
    hello["auth"]["deviceToken"].as_str().unwrap_or_else(|| panic!("no token: {}", hello["auth"])).to_owned()
}

fn keys(value: &Value) -> String {
    value.as_object().expect("an object").keys().cloned().collect::<Vec<_>>().join(" ")
}

fn state_file(home: &Home, name: &str) -> Value {
    let text = fs::read_to_string(home.state().join("devices").join(name)).expect(name);
    serde_json::from_str(&text).expect("JSON")
}

#[test]
fn signatures_of_both_versions_and_what_is_wrong_with_others() {
    let (_home, gateway) = gateway();
    for version in [2, 3] {
        let hello = Hello { signature_version: version, ..Hello::default() };
        connect(gateway.port, NEAR, &hello, &Device::new());
    }
    let device = Device::new();
    // The key in other spellings: standard base64, PEM.
    let raw = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(device.public_key()).expect("base64url");
    let standard = base64::engine::general_purpose::STANDARD;
    let spki = [&[0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00][..], &raw].concat();
    let pem = format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", standard.encode(spki));
    for spelling in [standard.encode(&raw), pem] {
        let over = json!({"device": {"publicKey": spelling}});
        connect(gateway.port, NEAR, &Hello { over, ..Hello::default() }, &device);
    }
    let other = Device::new();
    for (over, message, code, reason) in [
        (json!({"id": other.id()}), "device identity mismatch", "DEVICE_ID_MISMATCH", "device-id-mismatch"),
        (
            json!({"publicKey": other.public_key()}),
            "device identity mismatch",
            "DEVICE_ID_MISMATCH",
            "device-id-mismatch",
        ),
        (json!({"publicKey": "%%"}), "device identity mismatch", "DEVICE_ID_MISMATCH", "device-id-mismatch"),
        (json!({"signedAt": 1}), "device signature expired", "SIGNATURE_EXPIRED", "device-signature-stale"),
        (json!({"nonce": " "}), "device nonce required", "NONCE_REQUIRED", "device-nonce-missing"),
        (json!({"nonce": "other"}), "device nonce mismatch", "NONCE_MISMATCH", "device-nonce-mismatch"),
        (json!({"signature": "AAAA"}), "device signature invalid", "SIGNATURE_INVALID", "device-signature"),
    ] {
        let hello = Hello { over: json!({"device": over}), ..Hello::default() };
        let (mut client, outcome) = try_connect(gateway.port, NEAR, &hello, &device);
        let details = json!({"code": format!("DEVICE_AUTH_{code}"), "reason": reason});
        let error = json!({"code": "INVALID_REQUEST", "message": message, "details": details});
        assert_eq!(outcome, Err(error), "{over}");
        assert_eq!(client.end(), End::Close(1008, message.into()));
    }
    // What was signed is what counts: version 3 covers the platform, version 2 does not; both cover scopes and token.
    for (version, over, good) in [
        (3, json!({"client": {"platform": "macos"}}), false),
        (2, json!({"client": {"displayName": "x"}}), true),
        (3, json!({"scopes": ["operator.admin"]}), false),
        (2, json!({"role": "node"}), false),
        (2, json!({"auth": {"token": "x"}}), false),
    ] {
        let hello = Hello { signature_version: version, over: over.clone(), ..asking(&["operator.read"]) };
        let (_, outcome) = try_connect(gateway.port, NEAR, &hello, &Device::new());
        let invalid = outcome.as_ref().err().is_some_and(|e| e["message"] == "device signature invalid");
        assert_eq!((outcome.is_ok(), invalid), (good, !good), "{over}: {outcome:?}");
    }
}

#[test]
fn a_device_of_this_machine_is_paired_at_once_and_then_costs_no_write() {
    let (home, mut gateway) = gateway();
    let mut operator = Client::connect(gateway.port);
    let (mut reader, _) = Client::connect_as(gateway.port, &asking(&["operator.read"]), None);
    let device = Device::new();
    let (_client, hello) = connect(gateway.port, NEAR, &Hello::default(), &device);
    let event = operator.event("device.pair.resolved");
    assert_eq!(keys(&event["payload"]), "requestId deviceId decision ts");
    assert_eq!(
        (&event["payload"]["deviceId"], &event["payload"]["decision"]),
        (&json!(device.id()), &json!("approved"))
    );
    assert!(reader.drain(QUIET).iter().all(|f| f["event"] != "device.pair.resolved"), "not for readers");
    gateway.wait_line(&format!("device pairing auto-approved device={} role=operator", device.id()));

    assert_eq!(keys(&hello["auth"]), "deviceToken role scopes issuedAtMs");
    let mut sorted = ALL_SCOPES.to_vec();
    sorted.sort_unstable();
    assert_eq!(hello["auth"]["scopes"], json!(sorted));
    let token = token_of(&hello);
    assert_eq!(token.len(), 43);

    let record = &state_file(&home, "paired.json")[device.id()];
    assert_eq!(
        keys(record),
        "deviceId publicKey platform clientId clientMode role roles scopes approvedScopes tokens createdAtMs approvedAtMs"
    );
    assert_eq!(record["tokens"]["operator"]["token"], token.as_str());
    assert_eq!(keys(&record["tokens"]["operator"]), "token role scopes createdAtMs");
    assert_eq!(record["tokens"]["operator"]["scopes"], json!(sorted));
    assert_eq!((&record["publicKey"], &record["approvedScopes"]), (&json!(device.public_key()), &json!(ALL_SCOPES)));
    let path = home.state().join("devices/paired.json");
    let mode = |path: &std::path::Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
    assert_eq!((mode(&home.state().join("devices")), mode(&path)), (0o700, 0o600));

    // The same device again, unchanged, in every way it can show who it is.
    let before = fs::metadata(&path).expect("there");
    for hello in [
        Hello::default(),
        with_device_token(&token, &ALL_SCOPES),
        Hello { device_token: Some(token.clone()), ..Hello::default() },
        Hello { token: Some(token.clone()), ..Hello::default() },
    ] {
        let (_, again) = connect(gateway.port, NEAR, &hello, &device);
        assert_eq!(token_of(&again), token);
    }
    assert_eq!(gateway.stop(), Some(0), "what waits is written now");
    let after = fs::metadata(&path).expect("there");
    assert_eq!((before.ino(), before.mtime_nsec()), (after.ino(), after.mtime_nsec()), "nothing was written");
    assert!(!home.state().join("devices/pending.json").exists(), "nobody waited");

    // And it is known after a restart.
    let gateway = Gateway::start(&home, &[]);
    let hello = Hello { max: 4, ..with_device_token(&token, &ALL_SCOPES) };
    let (_, again) = connect(gateway.port, FAR, &hello, &device);
    assert_eq!(again["auth"]["method"], "device-token");
}

#[test]
fn a_device_from_afar_waits_for_somebody_who_may_approve() {
    let (home, gateway) = gateway();
    let mut operator = Client::connect(gateway.port);
    let (mut reader, _) = Client::connect_as(gateway.port, &asking(&["operator.read"]), None);
    let device = Device::new();
    let over = json!({"client": {"displayName": "Far"}});
    let hello = Hello { over, ..asking(&["operator.read"]) };
    let (reason, request_id) = must_wait(gateway.port, FAR, &hello, &device);
    assert_eq!(reason, "not-paired");
    gateway.wait_line(&format!("openclaw devices approve {request_id}"));
    let requested = operator.event("device.pair.requested")["payload"].clone();
    let shape =
        "requestId deviceId publicKey displayName platform clientId clientMode role roles scopes silent isRepair ts";
    assert_eq!(keys(&requested), shape);
    let plain = json!({"role": "operator", "roles": ["operator"], "scopes": ["operator.read"], "silent": false,
                       "isRepair": false, "displayName": "Far", "requestId": request_id});
    for (key, value) in plain.as_object().expect("an object") {
        assert_eq!(&requested[key], value, "{key}");
    }
    let on_disk = &state_file(&home, "pending.json")[&request_id];
    assert_eq!((keys(on_disk), &on_disk["deviceId"]), (keys(&requested), &json!(device.id())));

    // It knocks again: the same request, no second event.
    assert_eq!(must_wait(gateway.port, FAR, &hello, &device), ("not-paired".into(), request_id.clone()));
    let list = operator.call("device.pair.list", json!({}));
    assert_eq!(list["pending"].as_array().map(Vec::len), Some(1));
    assert_eq!(list["pending"][0]["requestId"], request_id.as_str());
    assert!(operator.kept().iter().all(|f| f["event"] != "device.pair.requested"));

    // Nobody hands out what he does not hold.
    let (mut porter, _) = Client::connect_as(gateway.port, &asking(&["operator.pairing"]), None);
    let approve = json!({"requestId": request_id});
    let answer = porter.request("device.pair.approve", approve.clone());
    assert_eq!(answer["error"]["message"], "missing scope: operator.read");
    let unknown = operator.request("device.pair.approve", json!({"requestId": "nope"}));
    assert_eq!(unknown["error"], json!({"code": "INVALID_REQUEST", "message": "unknown requestId"}));
    let approved = operator.call("device.pair.approve", approve.clone());
    assert_eq!(keys(&approved), "requestId device");
    assert_eq!(keys(&approved["device"]["tokens"][0]), "role scopes createdAtMs", "no secrets");
    let resolved = operator.event("device.pair.resolved")["payload"].clone();
    assert_eq!((&resolved["requestId"], &resolved["decision"]), (&json!(request_id), &json!("approved")));
    assert_eq!(operator.request("device.pair.approve", approve)["error"]["message"], "unknown requestId");
    let (_, welcome) = connect(gateway.port, FAR, &hello, &device);
    assert_eq!(welcome["auth"]["scopes"], json!(["operator.read"]));

    // More scopes, another role, another platform: each asks again, and can be turned away.
    for (hello, reason) in [
        (asking(&["operator.admin"]), "scope-upgrade"),
        (Hello { role: "node".into(), ..asking(&[]) }, "role-upgrade"),
        (
            Hello {
                signature_version: 2,
                over: json!({"client": {"platform": "android"}}),
                ..asking(&["operator.read"])
            },
            "metadata-upgrade",
        ),
    ] {
        let (said, request_id) = must_wait(gateway.port, FAR, &hello, &device);
        assert_eq!(said, reason);
        assert_eq!(operator.event("device.pair.requested")["payload"]["isRepair"], true);
        let rejected = operator.call("device.pair.reject", json!({"requestId": request_id}));
        assert_eq!(rejected, json!({"requestId": request_id, "deviceId": device.id()}));
        assert_eq!(operator.event("device.pair.resolved")["payload"]["decision"], "rejected");
    }
    // What was refused has changed nothing.
    connect(gateway.port, FAR, &asking(&["operator.read"]), &device);
    assert!(reader.drain(QUIET).iter().all(|f| !f["event"].as_str().is_some_and(|e| e.starts_with("device.pair"))));
    assert_eq!(
        operator.request("device.pair.reject", json!({"requestId": "x"}))["error"]["message"],
        "unknown requestId"
    );
}

#[test]
fn upgrades_on_this_machine() {
    let (_home, gateway) = gateway();
    let mut operator = Client::connect(gateway.port);
    let device = Device::new();
    let (_, first) = connect(gateway.port, NEAR, &asking(&["operator.read"]), &device);
    // More scopes: silently, with a new token of exactly these.
    let (_, more) = connect(gateway.port, NEAR, &asking(&["operator.write", "operator.pairing"]), &device);
    assert_eq!(more["auth"]["scopes"], json!(["operator.pairing", "operator.write"]));
    assert_ne!(token_of(&first), token_of(&more));
    // Fewer: the token is kept.
    let (_, fewer) = connect(gateway.port, NEAR, &asking(&["operator.read"]), &device);
    assert_eq!((token_of(&fewer), &fewer["auth"]["scopes"]), (token_of(&more), &more["auth"]["scopes"]));
    // Beyond the token with the token only: no.
    let (_, outcome) =
        try_connect(gateway.port, NEAR, &with_device_token(&token_of(&more), &["operator.admin"]), &device);
    assert_eq!(outcome.expect_err("too much")["details"]["code"], "AUTH_DEVICE_TOKEN_MISMATCH");
    // Another role needs an operator also here; then each role has its own token.
    let node = Hello { role: "node".into(), mode: "node".into(), client_id: "node-host".into(), ..asking(&[]) };
    let (reason, request_id) = must_wait(gateway.port, NEAR, &node, &device);
    assert_eq!(reason, "role-upgrade");
    operator.call("device.pair.approve", json!({"requestId": request_id}));
    let (_, as_node) = connect(gateway.port, NEAR, &node, &device);
    assert_ne!(token_of(&as_node), token_of(&more));
    assert_eq!((&as_node["auth"]["role"], &as_node["auth"]["scopes"]), (&json!("node"), &json!([])));
    let (_, still) = connect(gateway.port, NEAR, &asking(&["operator.write"]), &device);
    assert_eq!(token_of(&still), token_of(&more));
    // A token of one role opens no door for the other.
    let (_, outcome) = try_connect(gateway.port, NEAR, &with_device_token(&token_of(&as_node), &[]), &device);
    assert_eq!(outcome.expect_err("a node's token")["details"]["code"], "AUTH_DEVICE_TOKEN_MISMATCH");
    // Another platform, too.
    let moved =
        Hello { signature_version: 2, over: json!({"client": {"platform": "ios"}}), ..asking(&["operator.read"]) };
    assert_eq!(must_wait(gateway.port, NEAR, &moved, &device).0, "metadata-upgrade");
    // Spelled differently it is the same one.
    let spelled =
        Hello { signature_version: 2, over: json!({"client": {"platform": " LINUX "}}), ..asking(&["operator.read"]) };
    connect(gateway.port, NEAR, &spelled, &device);
}

#[test]
fn a_page_pairs_silently_only_as_a_user_interface() {
    let (_home, gateway) = gateway();
    let page = &[("Origin", "http://localhost:1")][..];
    let ui = Hello {
        client_id: "openclaw-control-ui".into(),
        mode: "webchat".into(),
        signature_version: 2,
        ..Hello::default()
    };
    let (_, hello) = connect(gateway.port, page, &ui, &Device::new());
    assert_eq!(token_of(&hello).len(), 43);
    let cli = Hello { client_id: "cli".into(), mode: "cli".into(), ..Hello::default() };
    assert_eq!(must_wait(gateway.port, page, &cli, &Device::new()).0, "not-paired");
    let node = Hello { role: "node".into(), ..Hello { scopes: vec![], ..ui } };
    assert_eq!(must_wait(gateway.port, page, &node, &Device::new()).0, "not-paired", "R12: never as a node");
    // The backend client of this machine needs no record.
    let backend = Hello { client_id: "gateway-client".into(), mode: "backend".into(), ..Hello::default() };
    let device = Device::new();
    let (mut client, hello) = connect(gateway.port, NEAR, &backend, &device);
    assert_eq!(hello.get("auth"), None, "no record, no token");
    let list = client.call("device.pair.list", json!({}));
    assert!(list["paired"].as_array().expect("a list").iter().all(|d| d["deviceId"] != device.id().as_str()));
}

#[test]
fn rotate_revoke_and_remove_end_the_sockets_of_the_device() {
    let (_home, gateway) = gateway();
    let mut operator = Client::connect(gateway.port);
    let device = Device::new();
    let scopes = ["operator.read", "operator.pairing"];
    let (_, hello) = connect(gateway.port, NEAR, &asking(&scopes), &device);
    let old = token_of(&hello);
    let (mut by_token, _) = connect(gateway.port, NEAR, &with_device_token(&old, &scopes), &device);
    let (mut by_secret, _) = connect(gateway.port, NEAR, &asking(&scopes), &device);

    let id = device.id();
    let rotated = operator.call("device.token.rotate", json!({"deviceId": id, "role": "operator"}));
    assert_eq!(keys(&rotated), "deviceId role token scopes rotatedAtMs");
    assert_eq!(rotated["scopes"], json!(["operator.pairing", "operator.read"]));
    let new = rotated["token"].as_str().expect("a token").to_owned();
    for client in [&mut by_token, &mut by_secret] {
        assert_eq!(client.end(), End::Close(1008, "device token rotated".into()));
    }
    let (mut client, outcome) = try_connect(gateway.port, NEAR, &with_device_token(&old, &scopes), &device);
    assert_eq!(outcome.expect_err("void")["details"]["code"], "AUTH_DEVICE_TOKEN_MISMATCH");
    assert!(matches!(client.end(), End::Close(1008, reason) if reason.contains("device token mismatch")));

    // Its own socket gets the answer first.
    let (mut own, _) = connect(gateway.port, NEAR, &with_device_token(&new, &scopes), &device);
    let rotate = json!({"deviceId": id, "role": "operator", "scopes": ["operator.pairing"]});
    let third = own.call("device.token.rotate", rotate)["token"].as_str().expect("a token").to_owned();
    assert_eq!(own.end(), End::Close(1008, "device token rotated".into()));

    // Never more than the caller holds, nor than was approved, nor for a role that never was.
    let (mut porter, _) = connect(gateway.port, NEAR, &with_device_token(&third, &["operator.pairing"]), &device);
    for (who, params, message) in [
        (0, json!({"deviceId": id, "role": "operator", "scopes": ["operator.read"]}), "missing scope: operator.read"),
        (0, json!({"deviceId": id, "role": "operator", "scopes": ["operator.admin"]}), "missing scope: operator.admin"),
        (1, json!({"deviceId": id, "role": "operator", "scopes": ["operator.admin"]}), "unknown deviceId/role"),
        (1, json!({"deviceId": id, "role": "node"}), "unknown deviceId/role"),
        (1, json!({"deviceId": "nobody", "role": "operator"}), "unknown deviceId/role"),
        (1, json!({"deviceId": id, "role": "admin"}), "unknown deviceId/role"),
    ] {
        let caller = if who == 0 { &mut porter } else { &mut operator };
        assert_eq!(caller.request("device.token.rotate", params.clone())["error"]["message"], message, "{params}");
    }

    let revoke = json!({"deviceId": id, "role": "operator"});
    let revoked = porter.call("device.token.revoke", revoke.clone());
    assert_eq!(keys(&revoked), "deviceId role revokedAtMs");
    assert_eq!(porter.end(), End::Close(1008, "device token revoked".into()));
    let (_, outcome) = try_connect(gateway.port, NEAR, &with_device_token(&third, &[]), &device);
    assert_eq!(outcome.expect_err("revoked")["details"]["code"], "AUTH_DEVICE_TOKEN_MISMATCH");
    let unknown = operator.request("device.token.revoke", json!({"deviceId": id, "role": "node"}));
    assert_eq!(unknown["error"]["message"], "unknown deviceId/role");

    // Removed: closed, gone from the list, and a stranger again.
    let (mut last, _) = connect(gateway.port, NEAR, &asking(&scopes), &device);
    assert_eq!(operator.call("device.pair.remove", json!({"deviceId": id})), json!({"deviceId": id}));
    assert_eq!(last.end(), End::Close(1008, "device removed".into()));
    assert_eq!(operator.call("device.pair.list", json!({}))["paired"], json!([]));
    assert_eq!(operator.request("device.pair.remove", json!({"deviceId": id}))["error"]["message"], "unknown deviceId");
    assert_eq!(must_wait(gateway.port, FAR, &asking(&scopes), &device).0, "not-paired");
    // Paired again it may stay.
    let (mut again, _) = connect(gateway.port, NEAR, &asking(&scopes), &device);
    assert_eq!(again.request("health", json!({}))["ok"], true);
}

#[test]
fn a_rotation_closes_only_its_own_role() {
    let (_home, gateway) = gateway();
    let mut operator = Client::connect(gateway.port);
    let device = Device::new();
    let node = Hello { role: "node".into(), mode: "node".into(), ..asking(&[]) };
    let (mut as_node, _) = connect(gateway.port, NEAR, &node, &device);
    let (_, request_id) = must_wait(gateway.port, NEAR, &asking(&["operator.read"]), &device);
    operator.call("device.pair.approve", json!({"requestId": request_id}));
    let (mut as_operator, _) = connect(gateway.port, NEAR, &asking(&["operator.read"]), &device);
    operator.call("device.token.rotate", json!({"deviceId": device.id(), "role": "operator"}));
    assert_eq!(as_operator.end(), End::Close(1008, "device token rotated".into()));
    assert_eq!(as_node.request("health", json!({}))["ok"], true);
    operator.call("device.token.revoke", json!({"deviceId": device.id(), "role": "node"}));
    assert_eq!(as_node.end(), End::Close(1008, "device token revoked".into()));
}

#[test]
fn an_old_token_that_races_a_rotation_never_stays_connected() {
    const ROUNDS: usize = 200;
    let (_home, gateway) = gateway();
    let mut operator = Client::connect(gateway.port);
    let device = Device::new();
    let scopes = ["operator.read"];
    let mut token = token_of(&connect(gateway.port, NEAR, &asking(&scopes), &device).1);
    let rotate = json!({"deviceId": device.id(), "role": "operator"});
    let (mut admitted, mut refused) = (0, 0);
    for round in 0..ROUNDS {
        let mut racer = Client::open(gateway.port);
        let params = racer.connect_params(&with_device_token(&token, &scopes), Some(&device));
        // Spread over the time that either side takes; every eighth time one is over before the other begins.
        let spread = || (0..(round * 97) % 5000).for_each(|_| std::hint::spin_loop());
        let (connect, answered, rotation);
        if round % 2 == 0 {
            connect = racer.send_request("connect", params);
            answered = (round % 8 == 0).then(|| racer.answer(&connect));
            spread();
            rotation = operator.send_request("device.token.rotate", rotate.clone());
            token = new_token(&operator.answer(&rotation));
        } else {
            rotation = operator.send_request("device.token.rotate", rotate.clone());
            let rotated = (round % 8 == 1).then(|| operator.answer(&rotation));
            spread();
            connect = racer.send_request("connect", params);
            answered = None;
            token = new_token(&rotated.unwrap_or_else(|| operator.answer(&rotation)));
        }
        let End::Close(1008, reason) = racer.end() else { panic!("round {round}: not closed: {:?}", racer.kept()) };
        match answered.or_else(|| racer.kept().into_iter().find(|f| f["id"] == connect.as_str())) {
            Some(answer) if answer["ok"] == true => {
                admitted += 1;
                assert_eq!(reason, "device token rotated", "round {round}");
            }
            Some(answer) => {
                refused += 1;
                assert!(reason.contains("device token mismatch"), "round {round}: {reason} after {answer}");
            }
            None => assert_eq!(reason, "credentials changed during the handshake; connect again", "round {round}"),
        }
    }
    assert!(admitted >= ROUNDS / 8 && refused >= ROUNDS / 8, "{admitted} {refused}");
    let (mut client, _) = connect(gateway.port, NEAR, &with_device_token(&token, &scopes), &device);
    assert_eq!(client.request("health", json!({}))["ok"], true);
}

fn new_token(answer: &Value) -> String {
    answer["payload"]["token"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
}

#[test]
fn a_disk_that_refuses_does_not_keep_devices_out() {
    let home = Home::new();
    home.configure(json!({}));
    fs::write(home.state().join("devices"), "where the directory should be").expect("a file");
    let mut gateway = Gateway::start(&home, &[]);
    let device = Device::new();
    let (_, hello) = connect(gateway.port, NEAR, &asking(&["operator.read"]), &device);
    let token = token_of(&hello);
    connect(gateway.port, NEAR, &with_device_token(&token, &["operator.read"]), &device);
    connect(gateway.port, NEAR, &asking(&["operator.read"]), &Device::new());
    gateway.wait_line("cannot write");
    assert_eq!(gateway.count_lines("cannot write"), 1, "one warning, not one per connect");
    // When the disk takes writes again, the next one brings everything.
    fs::remove_file(home.state().join("devices")).expect("our file");
    connect(gateway.port, NEAR, &asking(&["operator.read"]), &Device::new());
    wait_until("the file", || home.state().join("devices/paired.json").exists());
    assert_eq!(state_file(&home, "paired.json").as_object().map(serde_json::Map::len), Some(3));
    assert_eq!(gateway.stop(), Some(0));
}

#[test]
fn files_of_the_reference_are_read_and_what_is_unknown_in_them_kept() {
    let home = Home::new();
    home.configure(json!({}));
    let device = Device::new();
    let record = json!({
        "deviceId": device.id(), "publicKey": device.public_key(), "platform": "linux", "clientId": "cli",
        "clientMode": "cli", "role": "operator", "roles": ["operator"], "scopes": ["operator.read"],
        "approvedScopes": ["operator.read"], "createdAtMs": 1, "approvedAtMs": 2, "fromTheFuture": {"x": 1},
        "tokens": {"operator": {"token": "tok-of-the-reference", "role": "operator", "scopes": ["operator.read"],
                                "createdAtMs": 3, "alsoNew": true}},
    });
    fs::create_dir_all(home.state().join("devices")).expect("a directory");
    let path = home.state().join("devices/paired.json");
    fs::write(&path, json!({device.id(): record, "strange": 5}).to_string()).expect("a file");
    let mut gateway = Gateway::start(&home, &[]);
    let hello = with_device_token("tok-of-the-reference", &["operator.read"]);
    let (_, hello) = connect(gateway.port, FAR, &hello, &device);
    assert_eq!((token_of(&hello), &hello["auth"]["issuedAtMs"]), ("tok-of-the-reference".into(), &json!(3)));
    // It connected as another client, and its token was used: both are noted by the time of the stop.
    assert_eq!(gateway.stop(), Some(0));
    let after = wait_for("the file", || serde_json::from_slice::<Value>(&fs::read(&path).ok()?).ok());
    assert_eq!(after["strange"], 5);
    let written = &after[device.id()];
    assert_eq!((&written["fromTheFuture"], &written["clientId"]), (&json!({"x": 1}), &json!("test")));
    let token = &written["tokens"]["operator"];
    assert_eq!((&token["alsoNew"], token["lastUsedAtMs"].is_u64()), (&json!(true), true));
}
