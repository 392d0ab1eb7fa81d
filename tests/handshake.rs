//! The handshake and the frames behind it, as protocol 2 and DECISIONS 1-21 have them: exact answers, codes, reasons.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tungstenite::Message;

use crate::common::client::{ALL_SCOPES, Client, Device, End, Hello};
use crate::common::{Gateway, Home, TOKEN};

fn gateway() -> (Home, Gateway) {
    let home = Home::new();
    home.configure(json!({}));
    let gateway = Gateway::start(&home, &[]);
    (home, gateway)
}

/// The parameters of a connect that is let in, with `over` merged over them.
fn params(over: Value) -> Value {
    let mut params = json!({
        "minProtocol": 3, "maxProtocol": 3,
        "client": {"id": "test", "version": "1", "platform": "linux", "mode": "test"},
        "auth": {"token": TOKEN},
    });
    crate::common::merge(&mut params, over);
    params
}

fn connect(over: Value) -> Value {
    json!({"type": "req", "id": "c", "method": "connect", "params": params(over)})
}

/// What the gateway said to a first message, and how it ended.
fn verdict(port: u16, first: Message) -> (Vec<Value>, End) {
    let mut client = Client::open(port);
    client.socket.send(first).expect("the gateway reads");
    let end = client.end();
    (client.kept(), end)
}

fn refusal(code: &str, message: &str) -> Vec<Value> {
    vec![json!({"type": "res", "id": "c", "ok": false, "error": {"code": code, "message": message}})]
}

#[test]
fn every_violation_ends_as_the_table_says() {
    let (_home, gateway) = gateway();
    for (text, close) in [
        ("{not json", (1000, "")),
        ("", (1000, "")),
        ("[]", (1008, "invalid request frame")),
        ("5", (1008, "invalid request frame")),
        (r#"{"type":"event","event":"x"}"#, (1008, "invalid request frame")),
        (r#"{"type":"req","method":"connect"}"#, (1008, "invalid request frame")),
        (r#"{"type":"req","id":"","method":"connect"}"#, (1008, "invalid request frame")),
        (r#"{"type":"req","id":7,"method":"connect"}"#, (1008, "invalid request frame")),
        (r#"{"type":"req","id":"c","method":""}"#, (1008, "invalid request frame")),
        (r#"{"type":"req","id":"c","method":"connect","extra":1}"#, (1008, "invalid request frame")),
        (r#"{"type":"req","id":"c","method":"health","traceparent":"x"}"#, (1008, "invalid request frame")),
    ] {
        let (said, end) = verdict(gateway.port, Message::text(text));
        assert_eq!(said, Vec::<Value>::new(), "{text}: nothing is answered");
        assert_eq!(end, End::Close(close.0, close.1.into()), "{text}");
    }
    let no_connect = "invalid handshake: first request must be connect";
    for (frame, message) in [
        (json!({"type": "req", "id": "c", "method": "health"}), no_connect.to_owned()),
        (json!({"type": "req", "id": "c", "method": "no.such"}), no_connect.to_owned()),
    ] {
        let (said, end) = verdict(gateway.port, Message::text(frame.to_string()));
        assert_eq!(said, refusal("INVALID_REQUEST", &message));
        assert_eq!(end, End::Close(1008, message));
    }
}

#[test]
fn wrong_connect_params_are_named() {
    let (_home, gateway) = gateway();
    let required = "must have required property 'minProtocol'; must have required property 'maxProtocol'; \
                    must have required property 'client'";
    let not_an_id = "at /client/id: must be equal to constant; at /client/id: must match a schema in anyOf";
    let not_a_mode = "at /client/mode: must be equal to constant; at /client/mode: must match a schema in anyOf";
    for (over, errors) in [
        (json!({"client": null}), "at /client: must be object"),
        (json!({"foo": 1}), "at root: unexpected property 'foo'"),
        (json!({"auth": {"foo": 1}}), "at /auth: unexpected property 'foo'"),
        (json!({"auth": {"token": 1}}), "at /auth/token: must be string"),
        (json!({"auth": {"token": 1}, "maxProtocol": 4}), "at /auth/token: must be string"),
        (json!({"client": {"version": 1}, "maxProtocol": 4}), "at /client/version: must be string"),
        (json!({"client": {"platform": ""}}), "at /client/platform: must NOT have fewer than 1 characters"),
        (json!({"client": {"mode": "nope"}}), not_a_mode),
        (json!({"client": {"id": "nope"}}), not_an_id),
        (json!({"minProtocol": 0}), "at /minProtocol: must be >= 1"),
        (json!({"minProtocol": "3"}), "at /minProtocol: must be integer"),
        (json!({"maxProtocol": 3.5}), "at /maxProtocol: must be integer"),
        (json!({"role": ""}), "at /role: must NOT have fewer than 1 characters"),
        (json!({"scopes": "operator.read"}), "at /scopes: must be array"),
        (json!({"caps": [""]}), "at /caps/0: must NOT have fewer than 1 characters"),
        (json!({"permissions": {"x": 1}}), "at /permissions/x: must be boolean"),
        (
            json!({"device": {"id": "a", "publicKey": "b", "signature": "c", "signedAt": 1, "nonce": "d", "e": 1}}),
            "at /device: unexpected property 'e'",
        ),
        (
            json!({"device": {"id": "a"}}),
            "at /device: must have required property 'publicKey'; at /device: must have required property \
             'signature'; at /device: must have required property 'signedAt'; at /device: must have required \
             property 'nonce'",
        ),
    ] {
        let (said, end) = verdict(gateway.port, Message::text(connect(over.clone()).to_string()));
        let message = format!("invalid connect params: {errors}");
        assert_eq!(said, refusal("INVALID_REQUEST", &message), "{over}");
        assert_eq!(end, End::Close(1008, message.chars().take(120).collect()), "{over}");
    }
    for (params, errors) in [(json!(null), required), (json!([]), "must be object"), (json!("x"), "must be object")] {
        let frame = json!({"type": "req", "id": "c", "method": "connect", "params": params});
        let (said, end) = verdict(gateway.port, Message::text(frame.to_string()));
        let message = format!("invalid connect params: {errors}");
        assert_eq!(said, refusal("INVALID_REQUEST", &message));
        assert_eq!(end, End::Close(1008, message.chars().take(120).collect()));
    }
    let (said, end) = verdict(gateway.port, Message::text(connect(json!({"role": "admin"})).to_string()));
    assert_eq!(said, refusal("INVALID_REQUEST", "invalid role"));
    assert_eq!(end, End::Close(1008, "invalid role".into()));
}

#[test]
fn a_long_reason_is_cut_at_120_bytes_between_characters() {
    let (_home, gateway) = gateway();
    // As recorded.
    let over = json!({"client": {"id": "nope"}, "foo": 1});
    let (said, end) = verdict(gateway.port, Message::text(connect(over).to_string()));
    let message = "invalid connect params: at root: unexpected property 'foo'; at /client/id: must be equal to \
                   constant; at /client/id: must match a schema in anyOf";
    assert_eq!(said, refusal("INVALID_REQUEST", message));
    assert_eq!(end, End::Close(1008, message[..120].into()));
    // 52 bytes before the name, so that byte 120 is inside a character.
    let name = "ü".repeat(60);
    let (_, end) = verdict(gateway.port, Message::text(connect(json!({name: 1})).to_string()));
    let End::Close(1008, reason) = end else { panic!("{end:?}") };
    assert!(reason.len() >= 118 && reason.len() <= 120 && reason.ends_with('ü'), "{reason}");
}

#[test]
fn ranges_of_protocols() {
    let (_home, gateway) = gateway();
    for (min, max, chosen) in [(3, 3, 3), (1, 3, 3), (3, 4, 4), (4, 4, 4), (1, 9, 4), (4, 1_000_000_000_000u64, 4)] {
        let (_, hello) = Client::connect_as(gateway.port, &Hello { min, max, ..Hello::default() }, None);
        assert_eq!(hello["protocol"], chosen, "{min}..{max}");
        let auth = json!({"method": "token", "role": "operator", "scopes": ALL_SCOPES});
        // Protocol 3 hears of auth only with a device.
        assert_eq!(hello.get("auth"), (chosen == 4).then_some(&auth), "{min}..{max}");
    }
    for (min, max, expected) in [(1, 2, 3), (5, 9, 4)] {
        let mut client = Client::open(gateway.port);
        let answer = client.hello(&Hello { min, max, ..Hello::default() }, None);
        let details = json!({"code": "PROTOCOL_MISMATCH", "clientMinProtocol": min, "clientMaxProtocol": max,
                             "expectedProtocol": expected, "minimumProbeProtocol": 3});
        assert_eq!(
            answer["error"],
            json!({"code": "INVALID_REQUEST", "message": "protocol mismatch", "details": details})
        );
        assert_eq!(client.end(), End::Close(1002, "protocol mismatch".into()));
    }
}

#[test]
fn newer_clients_may_say_more() {
    let (_home, gateway) = gateway();
    // About themselves at any protocol.
    let over = json!({"client": {"buildId": "b", "timeZone": "UTC", "displayName": "Me"}});
    Client::connect_as(gateway.port, &Hello { over, ..Hello::default() }, None);
    // Everywhere at protocol 4, with a device that signs what is known.
    let over = json!({"computerUse": true, "client": {"buildId": "b"}, "auth": {"x": 1}, "device": {"x": 1}});
    let hello = Hello { min: 4, max: 4, over, ..Hello::default() };
    let device = Device::new();
    let mut client = Client::open(gateway.port);
    let mut frame = json!({"type": "req", "id": "c", "method": "connect", "traceparent": "t"});
    frame["params"] = client.connect_params(&hello, Some(&device));
    client.send(&frame);
    assert_eq!(client.answer("c")["payload"]["protocol"], 4);
    client.send(&json!({"type": "req", "id": "h", "method": "config.get", "params": {"x": 1}, "traceparent": "t"}));
    assert_eq!(client.answer("h")["ok"], true);
    client.send(&json!({"type": "req", "id": "w", "method": "agent.wait", "params": {"runId": 5, "x": 1}}));
    assert_eq!(client.answer("w")["error"]["message"], "invalid agent.wait params: at /runId: must be string");
}

#[test]
fn the_first_frame_has_64_kibibytes_and_later_ones_more() {
    let (_home, gateway) = gateway();
    let empty = connect(json!({"userAgent": ""})).to_string().len();
    let sized = |bytes: usize| Message::text(connect(json!({"userAgent": "u".repeat(bytes - empty)})).to_string());
    assert_eq!(sized(65_536).len(), 65_536);
    let (said, end) = verdict(gateway.port, sized(65_537));
    assert_eq!((said, end), (vec![], End::Close(1009, String::new())));
    let mut client = Client::open(gateway.port);
    client.socket.send(sized(65_536)).expect("the gateway reads");
    assert_eq!(client.answer("c")["ok"], true);
    assert_eq!(client.request("health", json!({"pad": "p".repeat(1_000_000)}))["ok"], true);
    // In fragments the sum counts.
    let mut client = Client::open(gateway.port);
    let half = vec![b' '; 40_000];
    client.send_raw(&masked(false, 1, &half));
    client.send_raw(&masked(true, 0, &half));
    assert_eq!(client.end(), End::Close(1009, String::new()));
}

fn masked(last: bool, opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![opcode | if last { 0x80 } else { 0 }, 0x80 | 126];
    frame.extend(u16::try_from(payload.len()).expect("small").to_be_bytes());
    frame.extend([0; 4]);
    frame.extend(payload);
    frame
}

#[test]
fn binary_frames_are_as_good() {
    let (_home, gateway) = gateway();
    let mut client = Client::open(gateway.port);
    client.socket.send(Message::binary(connect(json!({})).to_string().into_bytes())).expect("the gateway reads");
    assert_eq!(client.answer("c")["payload"]["type"], "hello-ok");
    let health = json!({"type": "req", "id": "h", "method": "health"}).to_string().into_bytes();
    client.socket.send(Message::binary(health)).expect("the gateway reads");
    assert_eq!(client.answer("h")["ok"], true);
    let (said, end) = verdict(gateway.port, Message::binary(vec![0xff, 0xfe]));
    assert_eq!((said, end), (vec![], End::Close(1000, String::new())), "no text at all is no JSON");
}

#[test]
fn who_says_nothing_is_closed_in_time_and_pings_do_not_help() {
    let home = Home::new();
    home.configure(json!({}));
    let gateway = Gateway::start_with(&home, &[], |c| {
        c.env("OPENCLAW_HANDSHAKE_TIMEOUT_MS", "900");
    });
    let began = Instant::now();
    let mut in_time = Client::connect(gateway.port);
    let mut silent = Client::open(gateway.port);
    let mut pinging = Client::open(gateway.port);
    pinging.socket.get_ref().set_read_timeout(Some(Duration::from_millis(10))).expect("a socket");
    let closed = crate::common::wait_for("the end of a client that only pings", || {
        let _ = pinging.socket.send(Message::Ping(Default::default()));
        match pinging.socket.read() {
            Ok(Message::Close(Some(close))) => Some((u16::from(close.code), close.reason.to_string())),
            Ok(_) | Err(tungstenite::Error::Io(_)) => None,
            Err(error) => panic!("{error}"),
        }
    });
    assert_eq!(closed, (1000, String::new()));
    assert_eq!(silent.end(), End::Close(1000, String::new()));
    assert!(began.elapsed() >= Duration::from_millis(900), "{:?}", began.elapsed());
    assert_eq!(in_time.request("health", json!({}))["ok"], true, "the time-out ends with the handshake");
}

#[test]
fn what_is_sent_before_hello_ok_is_answered_after_it() {
    let (_home, gateway) = gateway();
    let mut client = Client::open(gateway.port);
    let mut bytes = Vec::new();
    for frame in [
        connect(json!({})).to_string(),
        json!({"type": "req", "id": "a", "method": "health"}).to_string(),
        json!({"type": "req", "id": "b", "method": "no.such"}).to_string(),
    ] {
        bytes.extend(masked(true, 1, frame.as_bytes()));
    }
    client.send_raw(&bytes);
    let first = client.frame();
    assert_eq!((&first["id"], &first["payload"]["type"]), (&json!("c"), &json!("hello-ok")));
    assert_eq!(client.answer("a")["ok"], true);
    // Without scopes nothing is known of methods.
    assert_eq!(client.answer("b")["error"]["message"], "missing scope: operator.admin");
}

#[test]
fn frames_after_the_handshake() {
    let (_home, gateway) = gateway();
    let mut client = Client::connect(gateway.port);
    client.send_text("{not json");
    client.send_text("");
    client.socket.send(Message::binary(vec![0xff])).expect("the gateway reads");
    let deep =
        format!(r#"{{"type":"req","id":"d","method":"health","params":{}{}}}"#, "[".repeat(500), "]".repeat(500));
    for (text, id, errors) in [
        (r#"{"type":"req","method":"health"}"#, "invalid", "must have required property 'id'"),
        (r#"{"type":"req","id":"x","method":"health","extra":1}"#, "x", "at root: unexpected property 'extra'"),
        (r#"{"type":"req","id":"","method":"h"}"#, "invalid", "at /id: must NOT have fewer than 1 characters"),
        (r#"{"type":"req","id":"x","method":5}"#, "x", "at /method: must be string"),
        (r#"{"type":"res","id":"x","method":"h"}"#, "x", "at /type: must be equal to constant"),
        (r#"[1,2]"#, "invalid", "must be object"),
        (&*deep, "invalid", "nested too deeply"),
    ] {
        client.send_text(text);
        // What is not JSON is not answered: the first answer is to this.
        let answer = client.take("an answer", |f| f["type"] == "res");
        let error = json!({"code": "INVALID_REQUEST", "message": format!("invalid request frame: {errors}")});
        assert_eq!(answer, json!({"type": "res", "id": id, "ok": false, "error": error}), "{text}");
    }
    let again = client.request("connect", params(json!({})));
    assert_eq!(again["error"]["message"], "connect is only valid as the first request");
    let reader = Hello { scopes: vec!["operator.read".into()], ..Hello::default() };
    let (mut reader, _) = Client::connect_as(gateway.port, &reader, None);
    let again = reader.request("connect", params(json!({})));
    assert_eq!(again["error"]["message"], "missing scope: operator.admin");
}

#[test]
fn params_that_are_nothing_or_a_list() {
    let (_home, gateway) = gateway();
    let mut client = Client::connect(gateway.port);
    for (method, params, message) in [
        ("health", json!(null), None),
        ("health", json!(["x"]), None),
        ("health", json!("x"), None),
        ("status", json!(null), None),
        ("agents.list", json!(null), None),
        ("agents.list", json!([]), Some("invalid agents.list params: must be object")),
        ("config.get", json!("x"), Some("invalid config.get params: must be object")),
        ("config.get", json!({"bogus": 1}), Some("invalid config.get params: at root: unexpected property 'bogus'")),
        ("chat.history", json!(null), Some("invalid chat.history params: must have required property 'sessionKey'")),
        (
            "chat.history",
            json!({"sessionKey": "main", "limit": 5000}),
            Some("invalid chat.history params: at /limit: must be <= 1000"),
        ),
    ] {
        let answer = client.request(method, params.clone());
        match message {
            None => assert_eq!(answer["ok"], true, "{method} {params}: {answer}"),
            Some(message) => {
                assert_eq!(answer["error"], json!({"code": "INVALID_REQUEST", "message": message}), "{method} {params}")
            }
        }
    }
    client.send(&json!({"type": "req", "id": "bare", "method": "agents.list"}));
    assert_eq!(client.answer("bare")["ok"], true);
}

#[test]
fn unknown_methods_are_unknown_only_to_who_may_know() {
    let (_home, gateway) = gateway();
    let with = |scopes: &[&str], max| {
        let scopes = scopes.iter().map(|s| (*s).to_owned()).collect();
        Client::connect_as(gateway.port, &Hello { scopes, max, ..Hello::default() }, None).0
    };
    let (mut admin, mut reader) = (with(&["operator.admin"], 3), with(&["operator.read"], 3));
    let mut newer = with(&["operator.read"], 4);
    for (method, needed) in [
        ("no.such.method", "operator.admin"),
        ("sessions.reset", "operator.admin"),
        ("config.set", "operator.admin"),
        ("push.test", "operator.write"),
        ("exec.approval.resolve", "operator.approvals"),
        ("node.pair.list", "operator.pairing"),
        ("device.pair.list", "operator.pairing"),
    ] {
        let known = openclaw::protocol::methods::find(method).is_some();
        let answer = admin.request(method, json!({}));
        if !known {
            let error = json!({"code": "INVALID_REQUEST", "message": format!("unknown method: {method}")});
            assert_eq!(answer["error"], error);
        }
        let message = format!("missing scope: {needed}");
        let error = json!({"code": "INVALID_REQUEST", "message": message});
        assert_eq!(reader.request(method, json!({}))["error"], error);
        let details = json!({"code": "MISSING_SCOPE", "missingScope": needed, "requiredScopes": [needed]});
        let error = json!({"code": "FORBIDDEN", "message": message, "details": details});
        assert_eq!(newer.request(method, json!({}))["error"], error);
    }
    let long = "ü".repeat(300);
    let message = format!("unknown method: {}", "ü".repeat(200));
    assert_eq!(admin.request(&long, json!({}))["error"]["message"], message);
    // The scope comes before the parameters.
    assert_eq!(reader.request("agent", json!({"bogus": 1}))["error"]["message"], "missing scope: operator.write");
    // Write includes read, admin everything.
    let mut writer = with(&["operator.write"], 3);
    assert_eq!(writer.request("status", json!({}))["ok"], true);
    assert_eq!(admin.request("status", json!({}))["ok"], true);
    let mut nothing = with(&[], 3);
    assert_eq!(nothing.request("health", json!({}))["ok"], true);
    assert_eq!(nothing.request("status", json!({}))["error"]["message"], "missing scope: operator.read");
}

#[test]
fn the_eleventh_call_for_another_role_is_the_last() {
    let (_home, gateway) = gateway();
    let mut client = Client::connect(gateway.port);
    for _ in 0..10 {
        let answer = client.request("node.event", json!({"event": "x"}));
        assert_eq!(answer["error"], json!({"code": "INVALID_REQUEST", "message": "unauthorized role: operator"}));
    }
    // Any other answer starts the count anew, also an error.
    assert_eq!(client.request("no.such", json!({}))["ok"], false);
    let ids: Vec<String> = (0..11).map(|_| client.send_request("node.invoke.result", json!({}))).collect();
    for id in ids {
        assert_eq!(client.answer(&id)["error"]["message"], "unauthorized role: operator");
    }
    assert_eq!(client.end(), End::Close(1008, "repeated unauthorized calls".into()));

    let node = Hello { role: "node".into(), mode: "node".into(), scopes: vec![], ..Hello::default() };
    let (mut node, hello) = Client::connect_as(gateway.port, &node, Some(&Device::new()));
    assert_eq!((&hello["auth"]["role"], &hello["auth"]["scopes"]), (&json!("node"), &json!([])));
    assert_eq!(node.request("health", json!({}))["ok"], true);
    assert_eq!(node.request("status", json!({}))["error"]["message"], "unauthorized role: node");
}

#[test]
fn hello_ok_says_what_there_is() {
    let (home, gateway) = gateway();
    let (_client, hello) = Client::connect_as(gateway.port, &Hello::default(), None);
    let keys = |value: &Value| value.as_object().expect("an object").keys().cloned().collect::<Vec<_>>().join(" ");
    assert_eq!(keys(&hello), "type protocol server features snapshot policy");
    assert_eq!(keys(&hello["server"]), "version connId");
    assert_eq!(hello["server"]["version"], "2026.3.13");
    assert_eq!(
        keys(&hello["snapshot"]),
        "presence health stateVersion uptimeMs configPath stateDir sessionDefaults authMode"
    );
    assert_eq!(hello["snapshot"]["configPath"], home.config_path().to_str().expect("a path"));
    assert_eq!(hello["snapshot"]["stateDir"], home.state().to_str().expect("a path"));
    assert_eq!(hello["snapshot"]["authMode"], "token");
    let defaults = json!({"defaultAgentId": "main", "mainKey": "main", "mainSessionKey": "agent:main:main",
                          "scope": "per-sender"});
    assert_eq!(hello["snapshot"]["sessionDefaults"], defaults);
    let policy = json!({"maxPayload": 26_214_400, "maxBufferedBytes": 52_428_800, "tickIntervalMs": 30_000});
    assert_eq!(hello["policy"]["maxPayload"], policy["maxPayload"]);
    assert_eq!(hello["policy"]["tickIntervalMs"], policy["tickIntervalMs"]);
    // Small machines advertise what they use.
    let buffered = hello["policy"]["maxBufferedBytes"].as_u64().expect("a number");
    assert!((1..=52_428_800).contains(&buffered), "{buffered}");
    let methods: Vec<&str> = openclaw::protocol::methods::advertised().collect();
    assert_eq!(hello["features"]["methods"], json!(methods));
    let events: Vec<&str> =
        openclaw::protocol::events::EVENTS.iter().filter(|e| e.advertised).map(|e| e.name).collect();
    assert_eq!(hello["features"]["events"], json!(events));
}
