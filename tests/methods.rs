//! Every method of the table with right and with wrong parameters, against the shapes of recorded answers; and the
//! Control UI's whole start (protocol 12 and 13).
//!
//! `golden/shapes.json` says by method what an answer looks like: `"string|null"` are the types that were seen, a key
//! with `?` may be absent, a list holds the shape of its items; `"object"` and `"array"` are not looked into.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;

use openclaw::protocol::methods::{self, Params};
use serde_json::{Map, Value, json};

use crate::common::client::{Client, Device, End, Hello};
use crate::common::model::{Model, Play};
use crate::common::{Gateway, Home};

fn shapes() -> Map<String, Value> {
    serde_json::from_str(include_str!("golden/shapes.json")).expect("JSON")
}

/// What of a value is not as the shape says.
fn differences(at: &str, shape: &Value, value: &Value, found: &mut Vec<String>) {
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    match (shape, value) {
        (Value::String(types), _) => {
            if types != "any" && !types.split('|').any(|t| t == kind) {
                found.push(format!("{at}: {kind} instead of {types}"));
            }
        }
        (Value::Object(shape), Value::Object(value)) => {
            for (key, shape) in shape {
                let (name, optional) = key.strip_prefix('?').map_or((&**key, false), |name| (name, true));
                match value.get(name) {
                    Some(value) => differences(&format!("{at}.{name}"), shape, value, found),
                    None if optional => {}
                    None => found.push(format!("{at}.{name} is missing")),
                }
            }
            for key in value.keys().filter(|key| !shape.contains_key(*key) && !shape.contains_key(&format!("?{key}"))) {
                found.push(format!("{at}.{key} is new"));
            }
        }
        (Value::Array(shape), Value::Array(values)) => {
            for (n, value) in values.iter().enumerate() {
                match shape.first() {
                    Some(shape) => differences(&format!("{at}[{n}]"), shape, value, found),
                    None => found.push(format!("{at}[{n}]: only empty lists were seen")),
                }
            }
        }
        _ => found.push(format!("{at}: {kind} instead of {shape}")),
    }
}

fn check_shape(name: &str, value: &Value) {
    let shapes = shapes();
    let shape = shapes.get(name).unwrap_or_else(|| panic!("no shape for {name}"));
    let mut found = Vec::new();
    differences(name, shape, value, &mut found);
    assert!(found.is_empty(), "{}\nin {value}", found.join("\n"));
}

#[test]
fn every_method_answers_in_the_recorded_shape() {
    let model = Model::start(vec![Play::words("word0 word1 word2")]);
    let home = Home::new();
    let mut config = model.config();
    crate::common::merge(
        &mut config,
        json!({"agents": {"list": [{"id": "main", "default": true}, {"id": "two", "name": "Two"}]}}),
    );
    home.configure(config);
    let gateway = Gateway::start(&home, &[]);
    let mut client = Client::connect(gateway.port);
    let mut called = BTreeSet::new();
    let mut call = |client: &mut Client, method: &'static str, params: Value| -> Value {
        let payload = client.call(method, params);
        check_shape(method, &payload);
        called.insert(method);
        payload
    };
    // Something to show: a turn, a message by hand, a device that waits and one that is paired.
    let run = client.send_request("agent", json!({"message": "hello", "sessionKey": "main", "idempotencyKey": "k1"}));
    check_shape("agent", &client.answer(&run)["payload"]);
    check_shape("agent, the second answer", &client.answer(&run)["payload"]);
    call(&mut client, "chat.inject", json!({"sessionKey": "main", "message": "a note", "label": "note"}));
    call(&mut client, "chat.send", json!({"sessionKey": "main", "message": "again", "idempotencyKey": "k2"}));
    call(&mut client, "agent.wait", json!({"runId": "k2", "timeoutMs": 20000}));
    call(&mut client, "system-event", json!({"text": "hi", "bogus": 1}));
    let device = Device::new();
    let pair = |near: bool, scopes: &[&str]| {
        let headers: &[(&str, &str)] = if near { &[] } else { &[("Host", "gw.example")] };
        let scopes = scopes.iter().map(|s| (*s).to_owned()).collect();
        let mut client = Client::open_with(gateway.port, headers);
        client.hello(&Hello { scopes, ..Hello::default() }, Some(&device))
    };
    assert_eq!(pair(true, &["operator.read"])["ok"], true);
    let request = |answer: Value| json!({"requestId": answer["error"]["details"]["requestId"]});
    let first = request(pair(false, &["operator.write"]));
    let list = call(&mut client, "device.pair.list", json!({}));
    assert_eq!((list["pending"].as_array().map(Vec::len), list["paired"].as_array().map(Vec::len)), (Some(1), Some(1)));
    call(&mut client, "device.pair.reject", first);
    let second = request(pair(false, &["operator.write"]));
    call(&mut client, "device.pair.approve", second);
    let token = json!({"deviceId": device.id(), "role": "operator"});
    call(&mut client, "device.token.rotate", token.clone());
    call(&mut client, "device.token.revoke", token);
    call(&mut client, "device.pair.remove", json!({"deviceId": device.id()}));
    let hash = client.call("config.get", json!({}))["hash"].clone();
    let patch = json!({"raw": "{ui: {seamColor: '#112233'}}", "baseHash": hash, "sessionKey": "main",
        "note": "colour", "restartDelayMs": 60_000});
    call(&mut client, "config.patch", patch);
    for method in ["config.set", "config.apply"] {
        let now = client.call("config.get", json!({}));
        call(&mut client, method, json!({"raw": now["parsed"].to_string(), "baseHash": now["hash"]}));
    }
    for (method, params) in [
        ("config.openFile", json!({})),
        ("health", json!({"probe": true})),
        ("logs.tail", json!({"limit": 3})),
        ("channels.status", json!({"probe": true, "timeoutMs": 8000})),
        ("status", json!({})),
        ("usage.status", json!({})),
        ("usage.cost", json!({"days": 7})),
        ("config.get", json!({})),
        ("config.schema", json!({})),
        ("config.schema.lookup", json!({"path": "gateway.auth"})),
        ("exec.approvals.get", json!({})),
        ("models.list", json!({})),
        ("agents.list", json!({})),
        ("skills.status", json!({"agentId": "two"})),
        ("sessions.list", json!({"limit": 10, "includeDerivedTitles": true, "includeLastMessage": true})),
        ("sessions.preview", json!({"keys": ["main", "agent:main:nosuch"], "limit": 3, "maxChars": 40})),
        ("sessions.usage", json!({"limit": 3})),
        ("last-heartbeat", json!({})),
        ("set-heartbeats", json!({"enabled": false})),
        ("node.list", json!({})),
        ("cron.list", json!({"includeDisabled": true})),
        ("cron.status", json!({})),
        ("cron.runs", json!({"scope": "all"})),
        ("gateway.identity.get", json!({})),
        ("system-presence", json!({})),
        ("agent.identity.get", json!({"sessionKey": "agent:two:main"})),
        ("chat.history", json!({"sessionKey": "main", "limit": 10})),
        ("chat.abort", json!({"sessionKey": "main"})),
    ] {
        call(&mut client, method, params);
    }
    let known: BTreeSet<&str> = methods::METHODS.iter().map(|m| m.name).collect();
    // These two have no recording; the chapter on secrets has their shapes.
    called.extend(["agent", "connect", "secrets.reload", "secrets.resolve"]);
    assert_eq!(called, known, "every method of the table");

    // Who may only read sees neither paths nor sessions in status.
    let reader = Hello { scopes: vec!["operator.read".into()], ..Hello::default() };
    let status = Client::connect_as(gateway.port, &reader, None).0.call("status", json!({}));
    assert_eq!(status["sessions"]["paths"], json!([]));
    assert_eq!(status["sessions"]["defaults"], json!({"model": null, "contextTokens": null}));
    assert_eq!(status["sessions"]["recent"], json!([]));
    assert_eq!(status["sessions"]["count"], 1);
    for agent in status["sessions"]["byAgent"].as_array().expect("a list") {
        assert_eq!((&agent["path"], &agent["recent"]), (&json!("[redacted]"), &json!([])));
    }
}

#[test]
fn strict_at_protocol_3_lenient_at_4() {
    let home = Home::new();
    home.configure(json!({}));
    let gateway = Gateway::start(&home, &[]);
    let mut old = Client::connect(gateway.port);
    let mut new = Client::connect_as(gateway.port, &Hello { max: 4, ..Hello::default() }, None).0;
    let mut strict = 0;
    for method in methods::METHODS {
        let Params::Strict(shape) = method.params else { continue };
        strict += 1;
        let name = method.name;
        if methods::CONTROL_PLANE.contains(&name) {
            // A connection has few of these calls.
            old = Client::connect(gateway.port);
            new = Client::connect_as(gateway.port, &Hello { max: 4, ..Hello::default() }, None).0;
        }
        let refused = old.request(name, json!({"bogus": 1}));
        let message = refused["error"]["message"].as_str().unwrap_or_else(|| panic!("{name}: {refused}"));
        assert!(message.starts_with(&format!("invalid {name} params: ")), "{message}");
        assert!(message.contains("at root: unexpected property 'bogus'"), "{message}");
        assert_eq!(refused["error"]["code"], "INVALID_REQUEST");
        let list = old.request(name, json!([1]));
        assert_eq!(list["error"]["message"], format!("invalid {name} params: must be object"));
        // Protocol 4: only what is missing is told.
        let missing: Vec<String> = shape
            .fields
            .iter()
            .filter(|field| field.required)
            .map(|field| format!("must have required property '{}'", field.name))
            .collect();
        let answer = new.request(name, json!({"bogus": 1}));
        if missing.is_empty() {
            assert_eq!(answer["ok"], true, "{name}: {answer}");
        } else {
            assert_eq!(answer["error"]["message"], format!("invalid {name} params: {}", missing.join("; ")));
        }
        // A wrong type is wrong for both.
        if let Some(field) = shape.fields.first() {
            for client in [&mut old, &mut new] {
                let answer = client.request(name, json!({field.name: {"x": [null]}}));
                let message = answer["error"]["message"].as_str().unwrap_or_else(|| panic!("{name}: {answer}"));
                assert!(message.contains(&format!("at /{}: must be ", field.name)), "{message}");
            }
        }
    }
    assert!(strict > 20, "{strict}");
}

/// What the Control UI 3.13 asks when it starts and on its tabs, as traced.
fn control_ui_requests() -> Vec<(&'static str, Value)> {
    let page = json!({"includeDisabled": true, "limit": 50, "offset": 0, "enabled": "all", "sortBy": "nextRunAtMs",
                      "sortDir": "asc"});
    let day = json!({"startDate": "2026-11-20", "endDate": "2026-11-20", "mode": "specific", "utcOffset": "UTC+0"});
    let mut usage = day.clone();
    crate::common::merge(&mut usage, json!({"limit": 1000, "includeContextWeight": true}));
    vec![
        ("agent.identity.get", json!({"sessionKey": "agent:main:main"})),
        ("agents.list", json!({})),
        ("health", json!({})),
        ("node.list", json!({})),
        ("device.pair.list", json!({})),
        ("chat.history", json!({"sessionKey": "agent:main:main", "limit": 200})),
        ("sessions.list", json!({"includeGlobal": true, "includeUnknown": true})),
        ("sessions.list", json!({"includeGlobal": true, "includeUnknown": true, "activeMinutes": 120})),
        ("models.list", json!({})),
        ("channels.status", json!({"probe": false, "timeoutMs": 8000})),
        ("system-presence", json!({})),
        ("sessions.list", json!({"includeGlobal": true, "includeUnknown": false, "limit": 120})),
        ("cron.status", json!({})),
        ("cron.list", page),
        ("status", json!({})),
        ("last-heartbeat", json!({})),
        ("skills.status", json!({})),
        ("sessions.usage", usage),
        ("usage.cost", day),
        ("logs.tail", json!({"limit": 100, "maxBytes": 50000})),
        ("channels.status", json!({"probe": true, "timeoutMs": 8000})),
        ("config.schema", json!({})),
        ("config.get", json!({})),
        ("cron.runs", json!({"scope": "all", "limit": 50, "offset": 0, "status": "all", "sortDir": "desc"})),
        ("agent.identity.get", json!({"agentId": "main"})),
        ("exec.approvals.get", json!({})),
        ("logs.tail", json!({"limit": 500, "maxBytes": 250_000})),
        ("logs.tail", json!({"cursor": 6_243_504, "limit": 500, "maxBytes": 250_000})),
    ]
}

#[test]
fn the_control_ui_starts() {
    let home = Home::new();
    home.configure(json!({}));
    let gateway = Gateway::start(&home, &[]);
    let host = format!("127.0.0.1:{}", gateway.port);
    let hello = Hello {
        client_id: "openclaw-control-ui".into(),
        mode: "webchat".into(),
        scopes: ["operator.admin", "operator.approvals", "operator.pairing"].map(str::to_owned).to_vec(),
        caps: vec!["tool-events".into()],
        signature_version: 2,
        over: json!({"client": {"version": "2026.3.13", "platform": "Linux x86_64", "instanceId": "82a57146"},
                     "userAgent": "Mozilla/5.0", "locale": "en-US"}),
        ..Hello::default()
    };
    let device = Device::new();
    let mut ui = Client::open_with(gateway.port, &[("Host", &host), ("Origin", &format!("http://{host}"))]);
    let welcome = ui.hello(&hello, Some(&device))["payload"].clone();
    assert_eq!(welcome["type"], "hello-ok");
    // All at once, as it does.
    let ids: Vec<_> =
        control_ui_requests().into_iter().map(|(method, params)| (method, ui.send_request(method, params))).collect();
    for (method, id) in ids {
        let answer = ui.answer(&id);
        assert_eq!(answer["ok"], true, "{method}: {answer}");
        if method == "chat.history" {
            // No session yet, so no id.
            assert_eq!(answer["payload"]["messages"], json!([]));
        } else {
            check_shape(method, &answer["payload"]);
        }
    }
    // It comes back with the token that it was given beside the one it has.
    let again = Hello { device_token: welcome["auth"]["deviceToken"].as_str().map(str::to_owned), ..hello };
    let mut ui = Client::open_with(gateway.port, &[("Host", &host), ("Origin", &format!("http://{host}"))]);
    assert_eq!(ui.hello(&again, Some(&device))["payload"]["auth"], welcome["auth"]);
    ui.socket.close(None).expect("an open socket");
    assert_eq!(ui.end(), End::EmptyClose);
}

#[test]
fn the_gateway_has_one_identity() {
    let home = Home::new();
    home.configure(json!({}));
    let gateway = Gateway::start(&home, &[]);
    let mut client = Client::connect(gateway.port);
    let identity = client.call("gateway.identity.get", json!({}));
    assert_eq!(client.call("gateway.identity.get", json!({})), identity);
    let path = home.state().join("identity/device.json");
    assert_eq!(std::fs::metadata(&path).expect("a file").permissions().mode() & 0o777, 0o600);
    let file = std::fs::read_to_string(path).expect("the identity");
    let file: Value = serde_json::from_str(&file).expect("JSON");
    assert_eq!(file["deviceId"], identity["deviceId"]);
    let hex = identity["deviceId"].as_str().expect("a text");
    assert!(hex.len() == 64 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')), "{hex}");
    assert_eq!(identity["publicKey"].as_str().map(str::len), Some(43));
}

#[test]
fn what_was_not_used_is_not_invented() {
    let home = Home::new();
    home.configure(json!({}));
    let gateway = Gateway::start(&home, &[]);
    let mut client = Client::connect(gateway.port);
    let range = json!({"startDate": "2026-11-14", "endDate": "2026-11-20", "mode": "utc"});
    let usage = client.call("sessions.usage", range.clone());
    assert_eq!((&usage["startDate"], &usage["endDate"]), (&json!("2026-11-14"), &json!("2026-11-20")));
    assert_eq!((&usage["sessions"], &usage["totals"]["totalTokens"]), (&json!([]), &json!(0)));
    assert_eq!(client.call("usage.cost", range)["days"], 8, "one more than dates, as recorded");
    assert_eq!(client.call("usage.cost", json!({}))["days"], 31);
    let bad = client.request("sessions.usage", json!({"startDate": "20.11.2026"}));
    let message = "invalid sessions.usage params: at /startDate: must match pattern \"^\\d{4}-\\d{2}-\\d{2}$\"";
    assert_eq!(bad["error"]["message"], message);
    // Thirty days by default, this one included.
    let usage = client.call("sessions.usage", json!({}));
    let date = |key: &str| usage[key].as_str().and_then(|d| d.parse::<jiff::civil::Date>().ok()).expect("a date");
    assert_eq!((date("endDate") - date("startDate")).get_days(), 29);
    // Heartbeats and cron are not there, and nothing says that they run.
    let health = client.call("health", json!({}));
    assert_eq!(health["heartbeatSeconds"], 0);
    assert_eq!(health["agents"][0]["heartbeat"]["enabled"], false);
    assert_eq!(client.call("cron.status", json!({}))["enabled"], false);
    assert_eq!(client.call("exec.approvals.get", json!({}))["exists"], false);
    let wrong = client.request("set-heartbeats", json!({"enabled": "yes"}));
    assert_eq!(wrong["error"]["message"], "invalid set-heartbeats params: enabled (boolean) required");
}

#[test]
fn the_command_line_of_the_next_generation_works_without_a_device() {
    let home = Home::new();
    home.configure(json!({}));
    let gateway = Gateway::start(&home, &[]);
    let client = json!({"buildId": "abc", "timeZone": "UTC", "deviceFamily": "Linux"});
    for (id, mode, scopes) in
        [("cli", "cli", vec!["operator.read"]), ("gateway-client", "backend", vec!["operator.admin"])]
    {
        let scopes: Vec<String> = scopes.into_iter().map(str::to_owned).collect();
        let hello = Hello {
            min: 4,
            max: 4,
            client_id: id.into(),
            mode: mode.into(),
            scopes: scopes.clone(),
            over: json!({"client": client, "computerUse": {"supported": false}}),
            ..Hello::default()
        };
        let (mut client, welcome) = Client::connect_as(gateway.port, &hello, None);
        assert_eq!(welcome["auth"], json!({"method": "token", "role": "operator", "scopes": scopes}));
        client.call("health", json!({}));
        client.call("status", json!({"includeChannelSummary": false}));
        client.call("channels.status", json!({"probe": true, "timeoutMs": 57_100}));
        let jobs =
            client.call("cron.list", json!({"includeDisabled": true, "limit": 50, "offset": 0, "compact": true}));
        assert_eq!((&jobs["snapshotRevision"], &jobs["deliveryPreviews"]), (&json!("0"), &json!({})));
        client.call("models.list", json!({"view": "all"}));
        client.call("sessions.list", json!({"configuredAgentsOnly": true, "ownerFirst": true}));
        client.call("logs.tail", json!({"limit": 2}));
        client.call("last-heartbeat", json!({}));
    }
}
