//! Who is here, and which events reach whom with which number (protocol 5 and 6; DECISIONS 6, 7, 18, 30, 41-48).

use std::time::Duration;

use serde_json::{Value, json};

use crate::common::client::{ALL_SCOPES, Client, Device, End, Hello};
use crate::common::model::{Model, Play};
use crate::common::{Gateway, Home, wait_for};

/// Long enough for an event that is on its way.
const QUIET: Duration = Duration::from_millis(150);

fn gateway() -> (Home, Gateway) {
    let home = Home::new();
    home.configure(json!({}));
    let gateway = Gateway::start(&home, &[]);
    (home, gateway)
}

fn hello(id: &str, mode: &str, client: Value) -> Hello {
    Hello { client_id: id.into(), mode: mode.into(), over: json!({"client": client}), ..Hello::default() }
}

fn asking(scopes: &[&str]) -> Hello {
    Hello { scopes: scopes.iter().map(|s| (*s).to_owned()).collect(), ..Hello::default() }
}

/// The list without the gateway's own entry.
fn others(client: &mut Client) -> Vec<Value> {
    without_self(client.call("system-presence", json!({})))
}

fn without_self(mut list: Value) -> Vec<Value> {
    let list = list.as_array_mut().expect("a list");
    assert_eq!(list[0]["reason"], "self");
    list.split_off(1)
}

/// Takes the times out of an entry, which must be there.
fn timeless(mut entry: Value) -> Value {
    assert!(entry.as_object_mut().expect("an entry").remove("ts").expect("ts").is_u64());
    entry
}

fn version(hello: &Value) -> u64 {
    hello["snapshot"]["stateVersion"]["presence"].as_u64().expect("a number")
}

#[test]
fn entries_of_clients() {
    let (_home, gateway) = gateway();
    let cli = hello("cli", "cli", json!({"instanceId": "never-shown"}));
    let (mut watcher, first) = Client::connect_as(gateway.port, &cli, None);
    assert_eq!(first["snapshot"]["stateVersion"], json!({"presence": 1, "health": 1}));
    assert_eq!(without_self(first["snapshot"]["presence"].clone()), Vec::<Value>::new(), "mode cli has no entry");
    let list = watcher.call("system-presence", json!({}));
    let me = &list[0];
    assert_eq!((&me["mode"], &me["reason"], &me["version"]), (&json!("gateway"), &json!("self"), &json!("2026.3.13")));
    assert!(me["platform"].as_str().is_some_and(|p| p.starts_with("linux ")), "{me}");
    let text = me["text"].as_str().expect("a text");
    assert!(text.starts_with("Gateway: ") && text.ends_with(" · app 2026.3.13 · mode gateway · reason self"), "{text}");

    // A device: its id is the key, instanceId is the device's.
    let device = Device::new();
    let over =
        json!({"displayName": "My Pi", "instanceId": "ignored", "deviceFamily": "RasPi", "modelIdentifier": "4B"});
    let with_device = Hello { signature_version: 2, ..hello("test", "test", over) };
    let (_a, welcome) = Client::connect_as(gateway.port, &with_device, Some(&device));
    assert_eq!(version(&welcome), 2);
    let entry = json!({
        "host": "My Pi", "version": "1.0.0", "platform": "linux", "deviceFamily": "RasPi", "modelIdentifier": "4B",
        "mode": "test", "reason": "connect", "text": "Node: My Pi · mode test", "deviceId": device.id(),
        "roles": ["operator"], "scopes": ALL_SCOPES, "instanceId": device.id(),
    });
    let shown = without_self(welcome["snapshot"]["presence"].clone());
    assert_eq!(
        shown.into_iter().map(timeless).collect::<Vec<_>>(),
        std::slice::from_ref(&entry),
        "hello-ok shows the newcomer"
    );
    // Without a device the instance is the key; scopes are absent when there are none.
    let mut far = Client::open_with(gateway.port, &[("Host", "gw.example")]);
    let instance = hello("gateway-client", "backend", json!({"instanceId": " Inst-1 "}));
    assert_eq!(far.hello(&instance, None)["ok"], true);
    let without_device = json!({
        "host": "gateway-client", "version": "1.0.0", "platform": "linux", "mode": "backend",
        "reason": "connect", "text": "Node: gateway-client · mode backend", "roles": ["operator"],
        "instanceId": " Inst-1 ",
    });
    let list: Vec<Value> = others(&mut watcher).into_iter().map(timeless).collect();
    assert_eq!(list, [without_device, entry], "the newest first");
    // With neither it is the connection, so two are two.
    let (_b, _) = Client::connect_as(gateway.port, &hello("test", "test", json!({})), None);
    let (_c, last) = Client::connect_as(gateway.port, &hello("test", "test", json!({})), None);
    assert_eq!((others(&mut watcher).len(), version(&last)), (4, 5));
    let (_d, cli) = Client::connect_as(gateway.port, &cli, None);
    assert_eq!(version(&cli), 5, "mode cli moves nothing");
    // Nobody heard of any of this.
    let heard: Vec<Value> = watcher.drain(QUIET).into_iter().filter(|f| f["event"] == "presence").collect();
    assert_eq!(heard, Vec::<Value>::new(), "no presence event for a connect");
}

#[test]
fn one_entry_for_all_connections_of_a_device_and_one_event_when_the_last_one_goes() {
    let (_home, gateway) = gateway();
    let (mut watcher, _) = Client::connect_as(gateway.port, &hello("cli", "cli", json!({})), None);
    let device = Device::new();
    let (mut first, _) = Client::connect_as(gateway.port, &asking(&["operator.read"]), Some(&device));
    let (mut second, welcome) = Client::connect_as(gateway.port, &asking(&["operator.pairing"]), Some(&device));
    let before = version(&welcome);
    let list = others(&mut watcher);
    assert_eq!(list.len(), 1);
    assert_eq!(list[0]["scopes"], json!(["operator.read", "operator.pairing"]), "united");
    first.socket.close(None).expect("an open socket");
    first.end();
    assert!(watcher.drain(QUIET).iter().all(|f| f["event"] != "presence"), "one connection is still open");
    assert_eq!(others(&mut watcher)[0]["reason"], "connect");
    second.socket.close(None).expect("an open socket");
    let event = watcher.event("presence");
    assert_eq!(event["stateVersion"]["presence"], before + 1);
    let list = without_self(event["payload"]["presence"].clone());
    assert_eq!((list.len(), &list[0]["reason"]), (1, &json!("disconnect")));
    assert_eq!(event["payload"].as_object().expect("an object").len(), 1);
    // It comes back: the same entry.
    let (_third, _) = Client::connect_as(gateway.port, &asking(&["operator.read"]), Some(&device));
    let list = others(&mut watcher);
    assert_eq!((list.len(), &list[0]["reason"]), (1, &json!("connect")));
    // A client of mode cli goes without a word.
    drop(Client::connect_as(gateway.port, &hello("cli", "cli", json!({})), None));
    assert!(watcher.drain(QUIET).iter().all(|f| f["event"] != "presence"));
}

#[test]
fn system_events_make_entries_and_lines_for_the_next_turn() {
    let (_home, gateway) = gateway();
    let mut client = Client::connect(gateway.port);
    let before = version(&Client::connect_as(gateway.port, &hello("cli", "cli", json!({})), None).1);
    let refused = client.request("system-event", json!({}));
    assert_eq!(refused["error"], json!({"code": "INVALID_REQUEST", "message": "text required"}));
    let node = "Node: pi (10.0.0.5) · app 1.2 · last input 3s ago · mode remote · reason periodic";
    let moved = "Node: pi (10.0.0.6) · app 1.3 · last input 9s ago · mode remote · reason launch";
    let mut queue: Vec<&str> = Vec::new();
    for (n, (params, entry, queued)) in [
        (json!({"text": " operator says hi "}), json!({"text": "operator says hi"}), Some("operator says hi")),
        (
            json!({"text": node, "tags": ["a"], "instanceId": "Inst-1", "roles": ["node"]}),
            json!({"host": "pi", "ip": "10.0.0.5", "version": "1.2", "lastInputSeconds": 3, "mode": "remote",
                   "reason": "periodic", "text": node, "tags": ["a"], "instanceId": "Inst-1", "roles": ["node"]}),
            Some("Node: pi (10.0.0.5) · app 1.2 · mode remote"),
        ),
        // The same entry in another spelling; params beat what was parsed, that beats what was; roles are united.
        (
            json!({"text": moved, "instanceId": "INST-1 ", "version": "9", "roles": ["x"], "host": "over"}),
            json!({"host": "over", "ip": "10.0.0.6", "version": "9", "lastInputSeconds": 9, "mode": "remote",
                   "reason": "launch", "text": moved, "tags": ["a"], "instanceId": "INST-1 ", "roles": ["node", "x"]}),
            Some("Node: over (10.0.0.6) · app 9 · reason launch"),
        ),
        // Nothing of note has changed.
        (
            json!({"text": moved.replace("9s ago", "10s ago"), "instanceId": "inst-1", "version": "9", "host": "over"}),
            json!({"host": "over", "ip": "10.0.0.6", "version": "9", "lastInputSeconds": 10, "mode": "remote",
                   "reason": "launch", "text": moved.replace("9s ago", "10s ago"), "tags": ["a"],
                   "instanceId": "inst-1", "roles": ["node", "x"]}),
            None,
        ),
        // A part is missing: a text and nothing else.
        (json!({"text": "Node: zed · mode ui"}), json!({"text": "Node: zed · mode ui"}), None),
        (
            json!({"text": "hello", "deviceId": "DEV", "scopes": ["operator.read"], "mode": 5}),
            json!({"text": "hello", "deviceId": "DEV", "scopes": ["operator.read"]}),
            Some("hello"),
        ),
    ]
    .into_iter()
    .enumerate()
    {
        assert_eq!(client.call("system-event", params.clone()), json!({"ok": true}));
        let shown = others(&mut client);
        assert_eq!(timeless(shown[0].clone()), entry, "{params}");
        let event = client.event("presence");
        assert_eq!(event["stateVersion"]["presence"], before + 1 + n as u64, "{params}");
        assert_eq!(timeless(event["payload"]["presence"][1].clone()), entry);
        queue.extend(queued);
        assert_eq!(client.call("status", json!({}))["queuedSystemEvents"], json!(queue), "{params}");
    }
    assert_eq!(others(&mut client).len(), 5, "four of system events, one of this client");
    let (mut reader, _) = Client::connect_as(gateway.port, &asking(&["operator.write"]), None);
    let refused = reader.request("system-event", json!({"text": "x"}));
    assert_eq!(refused["error"]["message"], "missing scope: operator.admin");
}

#[test]
fn health_goes_to_the_newcomer_and_to_nobody_for_a_call() {
    let (_home, gateway) = gateway();
    let mut watcher = Client::connect(gateway.port);
    let own = watcher.event("health");
    assert_eq!((&own["seq"], &own["stateVersion"]["health"]), (&json!(1), &json!(1)));
    let mut newcomer = Client::connect(gateway.port);
    let event = newcomer.event("health");
    assert_eq!(event["seq"], 1);
    assert_eq!(newcomer.call("health", json!({})), event["payload"]);
    assert_eq!(newcomer.call("health", json!({"probe": true}))["ok"], true);
    assert!(watcher.drain(QUIET).iter().all(|f| f["event"] != "health"));
    assert!(newcomer.drain(QUIET).iter().all(|f| f["event"] != "health"));
}

/// The frames of a client must be legal, and its numbers without a gap.
fn check_frames(who: &str, frames: &[Value]) {
    let mut seq = 0;
    for frame in frames {
        let object = frame.as_object().expect("an object");
        let allowed: &[&str] = match frame["type"].as_str() {
            Some("res") => &["type", "id", "ok", "payload", "error"],
            Some("event") => &["type", "event", "payload", "seq", "stateVersion"],
            other => panic!("{who}: type {other:?}"),
        };
        for (key, value) in object {
            assert!(allowed.contains(&key.as_str()), "{who}: {key} in {frame}");
            assert!(!value.is_null() || key == "payload", "{who}: {key} is null in {frame}");
        }
        if let Some(error) = object.get("error") {
            let keys = ["code", "message", "details", "retryable", "retryAfterMs"];
            for (key, value) in error.as_object().expect("an error") {
                assert!(keys.contains(&key.as_str()) && !value.is_null(), "{who}: {frame}");
            }
        }
        if frame["type"] == "event" {
            seq += 1;
            assert_eq!(frame["seq"], seq, "{who}: {frame}");
            let versioned = frame["event"] == "health" || frame["event"] == "presence";
            assert_eq!(object.contains_key("stateVersion"), versioned, "{who}: {frame}");
        } else {
            assert_eq!(object.contains_key("error"), frame["ok"] == false, "{who}: {frame}");
        }
    }
    assert!(seq > 0, "{who} saw no event");
}

#[test]
fn everybody_hears_what_he_may_and_counts_only_that() {
    let model = Model::start(vec![Play::words("word0 word1 word2")]);
    let home = Home::new();
    home.configure(model.config());
    let mut gateway = Gateway::start(&home, &[]);
    let mut operator = Client::connect(gateway.port);
    let node = Hello { role: "node".into(), mode: "node".into(), ..asking(&[]) };
    let mut all = vec![
        ("reader", Client::connect_as(gateway.port, &asking(&["operator.read"]), None).0),
        ("writer", Client::connect_as(gateway.port, &asking(&["operator.write"]), None).0),
        ("porter", Client::connect_as(gateway.port, &asking(&["operator.pairing"]), None).0),
        ("nobody", Client::connect_as(gateway.port, &asking(&[]), None).0),
        ("node", Client::connect_as(gateway.port, &node, Some(&Device::new())).0),
    ];
    // A turn, a pairing, a system event, a change of sessions; errors and answers between them.
    let params = json!({"message": "hello", "sessionKey": "main", "idempotencyKey": "k1"});
    let run = operator.send_request("agent", params);
    operator.answer(&run);
    operator.answer(&run);
    drop(Client::connect_as(gateway.port, &asking(&["operator.read"]), Some(&Device::new())));
    for (_, client) in &mut all {
        for method in ["health", "status", "last-heartbeat", "no.such", "agent", "device.pair.list"] {
            client.send_request(method, json!({}));
        }
    }
    operator.call("system-event", json!({"text": "the last one"}));
    let changed =
        operator.take("health with the new session", |f| f["event"] == "health" && f["stateVersion"]["health"] != 1);
    assert_eq!(changed["payload"]["sessions"]["count"], 1);
    gateway.signal(openclaw::sys::process::Sig::Term);
    for (who, client) in &mut all {
        assert_eq!(client.end(), End::Close(1012, "service restart".into()), "{who}");
        let frames = client.kept();
        check_frames(who, &frames);
        let heard = |event: &str| frames.iter().any(|f| f["event"] == event);
        let reads = matches!(*who, "reader" | "writer");
        for (event, may) in [
            ("agent", reads),
            ("chat", reads),
            ("device.pair.resolved", *who == "porter"),
            ("presence", true),
            ("health", true),
            ("shutdown", true),
        ] {
            assert_eq!(heard(event), may, "{who} and {event}");
        }
        let last = frames.last().expect("frames");
        assert_eq!(last["event"], "shutdown", "{who}");
        assert_eq!(last["payload"], json!({"reason": "gateway stopping", "restartExpectedMs": null}));
    }
    assert!(gateway.wait_exit().success());
}

#[test]
fn many_that_leave_at_once_make_few_lists() {
    let (_home, gateway) = gateway();
    let (mut watcher, _) = Client::connect_as(gateway.port, &hello("cli", "cli", json!({})), None);
    let leaving: Vec<Client> = (0..60).map(|_| Client::connect(gateway.port)).collect();
    drop(leaving);
    let mut lists = 0;
    wait_for("the last of them to be gone", || {
        let list = watcher.event("presence")["payload"]["presence"].clone();
        lists += 1;
        without_self(list).iter().all(|e| e["reason"] == "disconnect").then_some(())
    });
    assert!(lists <= 20, "{lists} lists for 60 that left");
}

#[test]
fn what_happened_is_told_to_the_next_turn_once() {
    let model = Model::start(vec![Play::words("fine")]);
    let home = Home::new();
    home.configure(model.config());
    let gateway = Gateway::start(&home, &[]);
    let mut client = Client::connect(gateway.port);
    for text in ["the door is open", "the door is open", "it rains"] {
        client.call("system-event", json!({"text": text}));
    }
    assert_eq!(client.call("status", json!({}))["queuedSystemEvents"], json!(["the door is open", "it rains"]));
    for (n, told) in [(0, true), (1, false)] {
        let params = json!({"message": "hello", "sessionKey": "main", "idempotencyKey": format!("k{n}")});
        let run = client.send_request("agent", params);
        client.answer(&run);
        assert_eq!(client.answer(&run)["ok"], true);
        assert_eq!(client.call("status", json!({}))["queuedSystemEvents"], json!([]));
        let requests = model.requests();
        let last = requests[n]["messages"].as_array().and_then(|m| m.last()).expect("a message").to_string();
        assert_eq!(last.contains("System: ["), told, "{last}");
        for line in [" UTC] the door is open", " UTC] it rains"] {
            assert_eq!(last.contains(line), told, "{last}");
        }
    }
}
