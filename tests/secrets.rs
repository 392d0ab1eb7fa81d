//! References to secrets: files and programs that answer, refuse, hang and misbehave, and what the operator gets to read
//! (config A2, protocol 12).

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::common::client::{Client, Hello};
use crate::common::model::{Model, Play};
use crate::common::{Gateway, Home, finish, merge, stderr, stdout, wait_until};
use crate::turns::turn;

const SECRET: &str = "key-behind-a-reference-0123456789";

fn reference(source: &str, provider: &str, id: &str) -> Value {
    json!({"source": source, "provider": provider, "id": id})
}

/// A file of this home with a mode.
fn place(home: &Home, name: &str, text: &str, mode: u32) -> PathBuf {
    let path = home.path().join(name);
    fs::write(&path, text).expect("a file");
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("a mode");
    path
}

/// A provider's program: a shell script.
fn program(home: &Home, name: &str, body: &str) -> PathBuf {
    place(home, name, &format!("#!/bin/sh\n{body}\n"), 0o700)
}

fn answering(id: &str, value: &str) -> String {
    format!("cat > /dev/null; echo '{}'", json!({"protocolVersion": 1, "values": {id: value}}))
}

/// Configures the model's key as a reference to this provider.
fn configure(home: &Home, model: &Model, name: &str, provider: Value, key: Value) {
    let mut config = model.config();
    merge(
        &mut config,
        json!({
            "models": {"providers": {"mock": {"apiKey": key}}},
            "secrets": {"providers": {name: provider}},
        }),
    );
    home.configure(config);
}

/// What a start that must fail says; it has to end soon.
fn refusal(home: &Home) -> String {
    let begun = Instant::now();
    let output = finish(home.command(&["gateway", "--port", "1"]));
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    stderr(&output) + &stdout(&output)
}

fn last_key(model: &Model) -> String {
    model.asked().last().and_then(|asked| asked.header("authorization").map(str::to_owned)).expect("a request")
}

#[test]
fn a_model_gets_the_key_behind_each_kind_of_reference() {
    let home = Home::new();
    let json_file = place(&home, "keys.json", &json!({"a/b": {"key": SECRET}}).to_string(), 0o600);
    let plain_file = place(&home, "key.txt", &format!("{SECRET}\n"), 0o400);
    let vault = program(&home, "vault", &answering("team/key", SECRET));
    let raw = program(&home, "raw", &format!("echo {SECRET}"));
    let env = program(
        &home,
        "env",
        "read -r q; printf '{\"protocolVersion\":1,\"values\":{\"x\":\"%s\"}}' \"$GIVEN$PASSED$HIDDEN\"",
    );
    let link = home.path().join("vault-link");
    std::os::unix::fs::symlink(&vault, &link).expect("a link");
    let table = [
        ("env", json!({"source": "env"}), reference("env", "p", "MY_KEY")),
        ("json file", json!({"source": "file", "path": json_file}), reference("file", "p", "/a~1b/key")),
        (
            "one value",
            json!({"source": "file", "path": plain_file, "mode": "singleValue"}),
            reference("file", "p", "value"),
        ),
        (
            "home",
            json!({"source": "file", "path": "~/key.txt", "mode": "singleValue"}),
            reference("file", "p", "value"),
        ),
        ("program", json!({"source": "exec", "command": vault}), reference("exec", "p", "team/key")),
        ("plain text", json!({"source": "exec", "command": raw, "jsonOnly": false}), reference("exec", "p", "x")),
        (
            "link",
            json!({"source": "exec", "command": link, "allowSymlinkCommand": true, "trustedDirs": [home.path()]}),
            reference("exec", "p", "team/key"),
        ),
        (
            "environment",
            json!({"source": "exec", "command": env, "env": {"GIVEN": &SECRET[..10]}, "passEnv": ["PASSED"]}),
            reference("exec", "p", "x"),
        ),
    ];
    for (what, provider, key) in table {
        let model = Model::start(vec![Play::words("fine")]);
        configure(&home, &model, "p", provider, key);
        let gateway = Gateway::start_with(&home, &[], |command| {
            command.env("MY_KEY", SECRET).env("PASSED", &SECRET[10..]).env("HIDDEN", "must not arrive");
        });
        let mut client = Client::connect(gateway.port);
        turn(&mut client, "agent:main:main", what, "hello");
        assert_eq!(last_key(&model), format!("Bearer {SECRET}"), "{what}");
        let said = gateway.output() + &home.log_text();
        assert!(!said.contains(SECRET), "{what}: the log tells the secret");
        let shown = client.call("config.get", json!({}));
        assert_eq!(shown["config"]["models"]["providers"]["mock"]["apiKey"]["id"], "__OPENCLAW_REDACTED__", "{what}");
    }
}

#[test]
fn files_that_are_not_to_be_trusted_stop_the_start() {
    let home = Home::new();
    let good = place(&home, "good", SECRET, 0o600);
    let fifo = home.path().join("fifo");
    let made = home.program("mkfifo", &["-m", "600", &fifo.display().to_string()]);
    assert!(finish(made).status.success());
    let link = home.path().join("link");
    std::os::unix::fs::symlink(&good, &link).expect("a link");
    let open = place(&home, "open", SECRET, 0o640);
    let long = place(&home, "long", &"x".repeat(101), 0o600);
    let empty = place(&home, "empty", " \n", 0o600);
    let text = place(&home, "text", "{\n oops }", 0o600);
    let tree = place(&home, "tree", "{\"a\":{\"b\":5}}", 0o600);
    let single = |path: &Path| json!({"source": "file", "path": path, "mode": "singleValue", "timeoutMs": 1000, "maxBytes": 100});
    let json_file = |path: &Path| json!({"source": "file", "path": path});
    let value = reference("file", "p", "value");
    let table = [
        (single(&fifo), value.clone(), "is not a regular file"),
        (single(home.path()), value.clone(), "is not a regular file"),
        (single(&link), value.clone(), "is a symbolic link; name the file itself"),
        (single(&open), value.clone(), "is open to others (mode 640); run: chmod 600 "),
        (single(&long), value.clone(), "is larger than 100 bytes (maxBytes)"),
        (single(&empty), value.clone(), "the value is empty"),
        (single(&home.path().join("none")), value.clone(), "does not exist"),
        (single(&good), reference("file", "p", "/a"), "its only id is \"value\""),
        (json_file(&text), reference("file", "p", "/a"), "is not JSON (line 2, column 2)"),
        (json_file(&tree), reference("file", "p", "/a/b"), "/a/b in "),
        (json_file(&tree), reference("file", "p", "/a/c"), "has nothing at /a/c"),
        (json_file(&tree), reference("file", "other", "/a/c"), "secrets.providers.other does not exist"),
    ];
    let model = Model::start(vec![Play::words("fine")]);
    for (provider, key, expected) in table {
        configure(&home, &model, "p", provider, key);
        let said = refusal(&home);
        assert!(said.contains(expected), "{expected}: {said}");
        assert!(said.contains("SecretRef cannot be resolved: models.providers.mock.apiKey (file provider"), "{said}");
        assert!(said.contains("openclaw doctor"), "{said}");
    }
}

#[test]
fn a_file_that_belongs_to_somebody_else_is_refused() {
    // As root the other user's file can be made; elsewhere there is always one of root, which is fine.
    let home = Home::new();
    let file = place(&home, "theirs", SECRET, 0o600);
    let given_away = finish(home.program("chown", &["12345", &file.display().to_string()])).status.success();
    if !given_away {
        return assert!(!finish(home.program("test", &["-O", "/"])).status.success(), "root may chown");
    }
    let model = Model::start(vec![Play::words("fine")]);
    let provider = json!({"source": "file", "path": file, "mode": "singleValue"});
    configure(&home, &model, "p", provider, reference("file", "p", "value"));
    let said = refusal(&home);
    assert!(said.contains("belongs to user 12345, not to user"), "{said}");
}

#[test]
fn programs_that_are_not_to_be_trusted_or_misbehave_stop_the_start() {
    let home = Home::new();
    let good = program(&home, "good", &answering("x", SECRET));
    let link = home.path().join("link");
    std::os::unix::fs::symlink(&good, &link).expect("a link");
    let writable = program(&home, "writable", &answering("x", SECRET));
    fs::set_permissions(&writable, fs::Permissions::from_mode(0o777)).expect("a mode");
    let passive = place(&home, "passive", "#!/bin/sh\n", 0o600);
    let sleeper = program(&home, "sleeper", "sleep 60");
    let talker = program(&home, "talker", "echo begun; sleep 60");
    let flood = program(&home, "flood", "cat /dev/zero");
    let garbage = program(&home, "garbage", &format!("echo '{SECRET} is no JSON'; echo {SECRET} >&2"));
    let failing = program(&home, "failing", &format!("echo {SECRET} >&2; exit 7"));
    let old = program(&home, "old", "echo '{\"values\":{\"x\":\"y\"}}'");
    let other = program(&home, "other", &answering("y", SECRET));
    let refusing = program(
        &home,
        "refusing",
        "echo '{\"protocolVersion\":1,\"values\":{},\"errors\":{\"x\":{\"message\":\"sealed\\u001b[2J vault\"}}}'",
    );
    let exec =
        |command: &Path| json!({"source": "exec", "command": command, "timeoutMs": 1500, "maxOutputBytes": 5000});
    let quiet = json!({"source": "exec", "command": talker, "timeoutMs": 9000, "noOutputTimeoutMs": 500});
    let table = [
        (json!({"source": "exec", "command": "good"}), "must be an absolute path"),
        (exec(&home.path().join("none")), "does not exist"),
        (exec(home.path()), "is not a regular file"),
        (exec(&link), "is a symbolic link; name its target, or set allowSymlinkCommand"),
        (exec(&writable), "can be changed by others (mode 777); run: chmod 755 "),
        (json!({"source": "exec", "command": good, "trustedDirs": ["/usr/lib"]}), "is outside trustedDirs"),
        (exec(&passive), "cannot be started"),
        (exec(&sleeper), "did not end within 1500 ms (timeoutMs) and was killed"),
        (quiet, "printed nothing for 500 ms (noOutputTimeoutMs) and was killed"),
        (exec(&flood), "printed more than 5000 bytes (maxOutputBytes) and was killed"),
        (exec(&garbage), "did not print a JSON object"),
        (exec(&failing), "ended with exit code 7; run it by hand to see why"),
        (exec(&old), "did not answer with protocolVersion 1"),
        (exec(&other), "has no value for x"),
        (exec(&refusing), "says about x: sealed [2J vault"),
    ];
    let model = Model::start(vec![Play::words("fine")]);
    for (provider, expected) in table {
        configure(&home, &model, "p", provider, reference("exec", "p", "x"));
        let said = refusal(&home);
        assert!(said.contains(expected), "{expected}: {said}");
        assert!(!(said + &home.log_text()).contains(SECRET), "{expected}: tells the secret");
    }
}

#[test]
fn what_a_program_started_is_killed_with_it() {
    let home = Home::new();
    let pid_file = home.path().join("pid");
    let body = format!("sleep 61 & echo $! > {}; wait", pid_file.display());
    let command = program(&home, "spawner", &body);
    let model = Model::start(vec![Play::words("fine")]);
    let provider = json!({"source": "exec", "command": command, "timeoutMs": 500});
    configure(&home, &model, "p", provider, reference("exec", "p", "x"));
    refusal(&home);
    let pid: u32 = fs::read_to_string(&pid_file).expect("it ran").trim().parse().expect("a pid");
    wait_until("the grandchild to be gone", || !openclaw::sys::process::alive(pid));
}

#[test]
fn one_question_per_provider_and_several_providers_at_once() {
    let home = Home::new();
    let count = home.path().join("count");
    let body = format!(
        "read -r q; echo \"$q\" >> {}; sleep 1; echo '{}'",
        count.display(),
        json!({"protocolVersion": 1, "values": {"a": "1", "b": "2"}})
    );
    let command = program(&home, "vault", &body);
    let model = Model::start(vec![Play::words("fine")]);
    let mut config = model.config();
    let providers: serde_json::Map<String, Value> =
        (0..4).map(|n| (format!("v{n}"), json!({"source": "exec", "command": command}))).collect();
    let headers: serde_json::Map<String, Value> = (0..4)
        .flat_map(|n| ["a", "b"].map(|id| (format!("X-{n}-{id}"), reference("exec", &format!("v{n}"), id))))
        .collect();
    merge(
        &mut config,
        json!({
            "models": {"providers": {"mock": {"headers": headers}}},
            "secrets": {"providers": providers, "resolution": {"maxProviderConcurrency": 4}},
        }),
    );
    home.configure(config.clone());
    let begun = Instant::now();
    let gateway = Gateway::start(&home, &[]);
    let took = begun.elapsed();
    assert!(took < Duration::from_millis(3500), "four times one second, one after the other? {took:?}");
    let asked = fs::read_to_string(&count).expect("asked");
    let mut lines: Vec<&str> = asked.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines.len(), 4, "{asked}");
    let question: Value = serde_json::from_str(lines[0]).expect("JSON");
    assert_eq!(question, json!({"protocolVersion": 1, "provider": "v0", "ids": ["a", "b"]}));
    drop(gateway);
    merge(&mut config, json!({"secrets": {"resolution": {"maxRefsPerProvider": 1}}}));
    home.configure(config.clone());
    assert!(refusal(&home).contains("more than 1 references to one provider"));
    merge(&mut config, json!({"secrets": {"resolution": {"maxRefsPerProvider": 2, "maxBatchBytes": 20}}}));
    home.configure(config);
    assert!(refusal(&home).contains("(secrets.resolution.maxBatchBytes)"));
}

#[test]
fn a_reference_that_nobody_uses_is_only_a_warning() {
    let home = Home::new();
    let missing = reference("file", "none", "/a");
    home.configure(json!({
        "gateway": {"auth": {"password": missing}, "remote": {"url": "ws://127.0.0.1:1", "token": missing}},
        "channels": {"telegram": {"enabled": false, "botToken": missing}},
    }));
    let gateway = Gateway::start(&home, &[]);
    for (path, why) in [
        ("gateway.auth.password", "gateway.auth.mode is token"),
        ("gateway.remote.token", "gateway.mode is not remote"),
        ("channels.telegram.botToken", "this version has no use for it yet"),
    ] {
        gateway.wait_line(&format!("SecretRef at {path} is not resolved: {why}"));
    }
    let mut client = Client::connect(gateway.port);
    let answer = client.call("secrets.reload", json!({}));
    assert_eq!(answer, json!({"ok": true, "warningCount": 3}));
}

#[test]
fn the_gateways_own_token_may_be_a_reference_for_both_sides() {
    let home = Home::new();
    let file = place(&home, "token", SECRET, 0o600);
    home.write_config(
        &json!({
            "gateway": {"mode": "local", "auth": {"mode": "token", "token": reference("file", "p", "value")}},
            "secrets": {"providers": {"p": {"source": "file", "path": file, "mode": "singleValue"}}},
        })
        .to_string(),
    );
    let before = fs::read_to_string(home.config_path()).expect("the file");
    let gateway = Gateway::start(&home, &[]);
    let hello = Hello { token: Some(SECRET.into()), ..Hello::default() };
    let (mut client, _) = Client::connect_as(gateway.port, &hello, None);
    client.call("health", json!({}));
    let port = gateway.port.to_string();
    let mut command = home.command(&["health"]);
    command.env("OPENCLAW_GATEWAY_PORT", &port);
    let output = finish(command);
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(fs::read_to_string(home.config_path()).expect("the file"), before, "the file keeps the reference");
    let shown = stdout(&home.run(&["config", "get", "gateway.auth"]));
    assert!(shown.contains("__OPENCLAW_REDACTED__") && !shown.contains(SECRET), "{shown}");
    fs::remove_file(&file).expect("the secret");
    let mut command = home.command(&["health"]);
    command.env("OPENCLAW_GATEWAY_PORT", &port);
    let said = stderr(&finish(command));
    assert!(said.contains("SecretRef cannot be resolved: gateway.auth.token (file provider \"p\"):"), "{said}");
    let status: Value = serde_json::from_slice(&home.run(&["status", "--json"]).stdout).expect("JSON");
    let told = status["secretDiagnostics"][0].as_str().expect("a line");
    assert!(
        told.starts_with("gateway.auth.token (file provider \"p\"):") && told.ends_with("does not exist"),
        "{told}"
    );
}

#[test]
fn a_new_token_behind_its_reference_restarts_the_gateway() {
    let home = Home::new();
    let file = place(&home, "token", SECRET, 0o600);
    home.write_config(
        &json!({
            "gateway": {"mode": "local", "auth": {"mode": "token", "token": reference("file", "p", "value")}},
            "secrets": {"providers": {"p": {"source": "file", "path": file, "mode": "singleValue"}}},
        })
        .to_string(),
    );
    let gateway = Gateway::start(&home, &[]);
    let with = |token: &str| Hello { token: Some(token.into()), ..Hello::default() };
    let (mut client, _) = Client::connect_as(gateway.port, &with(SECRET), None);
    fs::write(&file, "another-token-0123456789-0123456789").expect("a new token");
    assert_eq!(client.call("secrets.reload", json!({})), json!({"ok": true, "warningCount": 1}));
    let end = client.end();
    assert_eq!(end, crate::common::client::End::Close(1012, "service restart".into()));
    wait_until("the new life", || gateway.count_lines("listening on ws://") == 2);
    let (mut client, _) = Client::connect_as(gateway.port, &with("another-token-0123456789-0123456789"), None);
    client.call("health", json!({}));
    let mut late = Client::open(gateway.port);
    assert_eq!(late.hello(&with(SECRET), None)["ok"], false, "the old token");
}

#[test]
fn secrets_reload_swaps_all_or_nothing() {
    let home = Home::new();
    let file = place(&home, "key", "first-key-0123456789", 0o600);
    let model = Model::start(vec![Play::words("fine")]);
    let provider = json!({"source": "file", "path": file, "mode": "singleValue"});
    configure(&home, &model, "p", provider, reference("file", "p", "value"));
    let gateway = Gateway::start(&home, &[]);
    let mut client = Client::connect(gateway.port);
    let key_of = |client: &mut Client, run: &str| {
        turn(client, "agent:main:main", run, "hello");
        last_key(&model)
    };
    assert_eq!(key_of(&mut client, "one"), "Bearer first-key-0123456789");
    fs::write(&file, "second-key-0123456789").expect("a new secret");
    assert_eq!(key_of(&mut client, "two"), "Bearer first-key-0123456789");
    assert_eq!(client.call("secrets.reload", json!({})), json!({"ok": true, "warningCount": 0}));
    assert_eq!(key_of(&mut client, "three"), "Bearer second-key-0123456789");
    fs::remove_file(&file).expect("the secret");
    let refused = client.request("secrets.reload", json!({}));
    assert_eq!(refused["error"]["code"], "UNAVAILABLE");
    let text = refused["error"]["message"].as_str().expect("a text");
    assert!(
        text.starts_with("SecretRef cannot be resolved: models.providers.mock.apiKey (file provider \"p\"):"),
        "{text}"
    );
    assert_eq!(key_of(&mut client, "four"), "Bearer second-key-0123456789");
    assert!(!(gateway.output() + &home.log_text()).contains("second-key-0123456789"));
}

#[test]
fn secrets_resolve_tells_admins_what_is_in_force() {
    let home = Home::new();
    let model = Model::start(vec![Play::words("fine")]);
    configure(&home, &model, "p", json!({"source": "env"}), reference("env", "p", "MY_KEY"));
    let gateway = Gateway::start_with(&home, &[], |command| {
        command.env("MY_KEY", SECRET);
    });
    let mut client = Client::connect(gateway.port);
    let ask = |ids: Value| json!({"commandName": "models", "targetIds": ids});
    let answer = client.call("secrets.resolve", ask(json!(["models.providers.*.apiKey", "gateway.auth.token"])));
    let assignment = json!({
        "path": "models.providers.mock.apiKey",
        "pathSegments": ["models", "providers", "mock", "apiKey"],
        "value": SECRET,
    });
    assert_eq!(answer, json!({"ok": true, "assignments": [assignment], "diagnostics": [], "inactiveRefPaths": []}));
    let none = client.call("secrets.resolve", ask(json!(["gateway.remote.token"])));
    assert_eq!(none["assignments"], json!([]));
    for wrong in ["gateway.port", "nope", "nope.token"] {
        let refused = client.request("secrets.resolve", ask(json!([wrong])));
        assert_eq!(
            refused["error"]["message"],
            format!("invalid secrets.resolve params: unknown target id \"{wrong}\"")
        );
    }
    let reader = Hello { scopes: vec!["operator.read".into()], ..Hello::default() };
    let device = crate::common::client::Device::new();
    let (mut reader, _) = Client::connect_as(gateway.port, &reader, Some(&device));
    for method in ["secrets.resolve", "secrets.reload"] {
        let refused = reader.request(method, json!({}));
        assert_eq!(refused["error"]["message"], "missing scope: operator.admin", "{method}");
    }
    assert!(!(gateway.output() + &home.log_text()).contains(SECRET));
}

#[test]
fn a_restart_resolves_anew_and_is_refused_when_it_cannot() {
    let home = Home::new();
    let file = place(&home, "key", "first-key-0123456789", 0o600);
    let model = Model::start(vec![Play::words("fine")]);
    let provider = json!({"source": "file", "path": file, "mode": "singleValue"});
    configure(&home, &model, "p", provider, reference("file", "p", "value"));
    let mut gateway = Gateway::start(&home, &[]);
    fs::remove_file(&file).expect("the secret");
    gateway.signal(openclaw::sys::process::Sig::Usr1);
    gateway.wait_line("startup failed: SecretRef cannot be resolved: models.providers.mock.apiKey");
    let mut client = Client::connect(gateway.port);
    turn(&mut client, "agent:main:main", "one", "hello");
    assert_eq!(last_key(&model), "Bearer first-key-0123456789", "the old life goes on");
    place(&home, "key", "second-key-0123456789", 0o600);
    gateway.signal(openclaw::sys::process::Sig::Usr1);
    wait_until("the new life", || gateway.count_lines("listening on ws://") == 2);
    let mut client = Client::connect(gateway.port);
    turn(&mut client, "agent:main:main", "two", "hello");
    assert_eq!(last_key(&model), "Bearer second-key-0123456789");
    assert!(gateway.is_running());
}

#[test]
fn a_reload_that_cannot_resolve_changes_nothing() {
    let home = Home::new();
    let model = Model::start(vec![Play::words("fine")]);
    home.configure(model.config());
    let gateway = Gateway::start(&home, &[]);
    let mut config = model.config();
    merge(
        &mut config,
        json!({
            "models": {"providers": {"mock": {
                "apiKey": reference("file", "gone", "/key"),
                "headers": {"X-New": "must-not-arrive"},
            }}},
            "secrets": {"providers": {"gone": {"source": "file", "path": home.path().join("gone.json")}}},
        }),
    );
    home.configure(config);
    gateway.signal(openclaw::sys::process::Sig::Hup);
    gateway.wait_line(
        "config reload failed: SecretRef cannot be resolved: models.providers.mock.apiKey (file provider \"gone\")",
    );
    let mut client = Client::connect(gateway.port);
    turn(&mut client, "agent:main:main", "one", "hello");
    assert_eq!(last_key(&model), "Bearer mock-key");
    assert_eq!(model.asked()[0].header("x-new"), None);
    place(&home, "gone.json", &json!({"key": SECRET}).to_string(), 0o600);
    gateway.signal(openclaw::sys::process::Sig::Hup);
    wait_until("the new key", || {
        turn(&mut client, "agent:main:main", &format!("again-{}", model.served()), "hello");
        last_key(&model) == format!("Bearer {SECRET}")
    });
}
