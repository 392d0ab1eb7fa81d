//! `openclaw doctor`: each check finds, --fix repairs, and the second look is clean (cli 6.1).

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::common::tls;
use crate::common::{Gateway, Home, TOKEN, finish, free_port, stderr, stdout};

/// A home with nothing to find but that no gateway runs.
fn healthy() -> Home {
    let home = Home::new();
    assert!(home.run(&["setup"]).status.success());
    home
}

fn report(home: &Home, args: &[&str]) -> Value {
    let all: Vec<&str> = ["doctor", "--json"].iter().chain(args).copied().collect();
    let mut command = home.command(&all);
    command.env("OPENCLAW_GATEWAY_PORT", "1");
    let output = finish(command);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {}{}", stdout(&output), stderr(&output)))
}

/// Ids of what is wrong; notes are left out.
fn wrong(report: &Value) -> Vec<&str> {
    let findings = report["findings"].as_array().expect("findings");
    findings.iter().filter(|f| f["severity"] != "info").filter_map(|f| f["id"].as_str()).collect()
}

fn finding<'r>(report: &'r Value, id: &str) -> &'r Value {
    let findings = report["findings"].as_array().expect("findings");
    findings.iter().find(|f| f["id"] == id).unwrap_or_else(|| panic!("no {id} in {report:#}"))
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("a mode");
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("a file").permissions().mode() & 0o777
}

/// Finds this, and only this; repairs it; finds nothing.
fn found_and_repaired(home: &Home, ids: &[&str]) -> Value {
    let before = fs::read(home.config_path()).ok();
    let first = report(home, &[]);
    assert_eq!(wrong(&first), ids, "{first:#}");
    assert_eq!(fs::read(home.config_path()).ok(), before, "looking changes nothing");
    let fixed = report(home, &["--fix"]);
    assert_eq!(wrong(&fixed), [""; 0], "{fixed:#}");
    assert!(!fixed["changes"].as_array().expect("changes").is_empty() && fixed["ok"] == true, "{fixed:#}");
    let second = report(home, &[]);
    assert_eq!(wrong(&second), [""; 0], "{second:#}");
    assert!(home.run(&["config", "validate"]).status.success());
    fixed
}

#[test]
fn nothing_is_wrong_after_setup() {
    let home = healthy();
    let seen = report(&home, &[]);
    assert_eq!(
        (&seen["ok"], &seen["summary"]["critical"], &seen["summary"]["warn"]),
        (&json!(true), &json!(0), &json!(0))
    );
    let output = home.run(&["doctor", "--non-interactive", "--check"]);
    assert_eq!(output.status.code(), Some(0));
    let text = stdout(&output);
    assert!(text.contains("Gateway not running.") && text.ends_with("\nDoctor complete.\n"), "{text}");
    assert!(!text.contains("to apply changes"), "{text}");
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    assert!(!text.contains('\u{1b}'), "no colours in a pipe");
}

#[test]
fn unknown_and_old_keys() {
    let home = healthy();
    home.write_config(
        "{\n  // mine\n  foo: 1,\n  gateway: {\n    mode: 'local', // stays\n    prt: 1,\n    token: 'a-token-of-old-days-0123456789',\n  },\n}\n",
    );
    set_mode(&home.config_path(), 0o600);
    let text = stdout(&home.run(&["doctor", "--non-interactive"]));
    for expected in [
        "Unknown config keys",
        "gateway.prt",
        "Run \"openclaw doctor --fix\" to remove these keys.",
        "gateway.token moved to gateway.auth.token",
        "Run \"openclaw doctor --fix\" to apply changes.",
    ] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    let fixed = found_and_repaired(&home, &["config.unknown-keys", "config.old-keys"]);
    let changes = fixed["changes"].to_string();
    assert!(
        changes.contains("Removed the unknown key foo") && changes.contains("Backup: ~/.openclaw/openclaw.json.bak")
    );
    let now = fs::read_to_string(home.config_path()).expect("a file");
    assert!(now.contains("// mine") && now.contains("// stays") && !now.contains("foo"), "{now}");
    assert!(fs::read_to_string(home.state().join("openclaw.json.bak")).expect("a backup").contains("foo: 1"));
    let shown: Value = serde_json::from_str(&stdout(&home.run(&["config", "get", "wizard"]))).expect("JSON");
    assert_eq!((&shown["lastRunCommand"], &shown["lastRunMode"]), (&json!("doctor"), &json!("local")));
}

#[test]
fn mode_and_token() {
    let home = healthy();
    home.write_config("{ gateway: { port: 4711 } }");
    set_mode(&home.config_path(), 0o600);
    // Only the token is made when only that is asked for.
    let made = report(&home, &["--generate-gateway-token"]);
    assert_eq!(wrong(&made), ["config.mode"], "{made:#}");
    found_and_repaired(&home, &["config.mode"]);
    let text = fs::read_to_string(home.config_path()).expect("a file");
    let config: Value = json5::from_str(&text).expect("JSON5");
    let token = config["gateway"]["auth"]["token"].as_str().expect("a token");
    assert!(token.len() == 48 && token.bytes().all(|b| b.is_ascii_hexdigit()));
    assert!(!made.to_string().contains(token), "a secret is not printed");
    // It is there: nothing is made again.
    report(&home, &["--generate-gateway-token"]);
    assert_eq!(fs::read_to_string(home.config_path()).expect("a file"), text);
}

#[test]
fn permissions_are_closed() {
    let home = healthy();
    let sessions = home.state().join("agents/main/sessions");
    let credentials = home.state().join("credentials");
    fs::create_dir_all(&credentials).expect("a directory");
    let files =
        [home.config_path(), home.state().join(".env"), sessions.join("x.jsonl"), credentials.join("oauth.json")];
    for file in &files {
        if !file.exists() {
            fs::write(file, "").expect("a file");
        }
        set_mode(file, 0o644);
    }
    let outside = home.path().join("outside");
    fs::write(&outside, "").expect("a file");
    set_mode(&outside, 0o644);
    std::os::unix::fs::symlink(&outside, credentials.join("link")).expect("a link");
    for dir in [&home.state(), &sessions, &credentials] {
        set_mode(dir, 0o755);
    }
    found_and_repaired(&home, &["state.permissions"]);
    assert!(files.iter().all(|file| mode(file) == 0o600));
    assert!([&home.state(), &sessions, &credentials].iter().all(|dir| mode(dir) == 0o700));
    assert_eq!(mode(&outside), 0o644, "what a link leads to is not touched");
}

#[test]
fn a_broken_file_is_shown_without_its_secrets_and_the_last_good_one_restored() {
    for (broken, id, detail) in [
        ("", "config.syntax", ""),
        (
            "{\n  gateway: { mode: 'local', auth: { token: 'geheim-geheim' } x }\n}",
            "config.syntax",
            "mode: '*****', auth: { token: '******-******' } x }",
        ),
        ("[1]", "config.invalid", "expected object, received array"),
        ("{ gateway: { mode: 'local', port: 'x' } }", "config.invalid", "gateway.port: Invalid input"),
    ] {
        let home = healthy();
        let good = fs::read_to_string(home.config_path()).expect("a file");
        let gateway = Gateway::start(&home, &[]);
        drop(gateway);
        fs::write(home.config_path(), broken).expect("a file");
        let seen = report(&home, &[]);
        let shown = finding(&seen, id)["detail"]
            .as_array()
            .expect("lines")
            .iter()
            .any(|line| line.as_str().expect("a text").contains(detail));
        assert!(shown || detail.is_empty(), "{seen:#}");
        assert!(!seen.to_string().contains("geheim"), "{seen:#}");
        let text = stdout(&home.run(&["doctor", "--non-interactive"]));
        assert!(!text.contains("geheim") && text.contains("config-last-good.json"), "{text}");
        found_and_repaired(&home, &[id]);
        let token = |text: &str| json5::from_str::<Value>(text).expect("JSON5")["gateway"]["auth"]["token"].clone();
        let now = fs::read_to_string(home.config_path()).expect("a file");
        assert_eq!(token(&now), token(&good), "{broken}");
        assert_eq!(fs::read_to_string(home.state().join("openclaw.json.bak")).expect("a backup"), broken);
        drop(Gateway::start(&home, &[]));
    }
}

#[test]
fn without_a_last_good_one_a_broken_file_is_left_alone() {
    let home = healthy();
    fs::write(home.config_path(), "{ gateway: ").expect("a file");
    let output = home.run(&["doctor", "--fix", "--check"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stdout(&output).contains("there is no last good configuration"), "{}", stdout(&output));
    assert_eq!(fs::read_to_string(home.config_path()).expect("a file"), "{ gateway: ");
    // Half a repair is none: nothing is written while a value is wrong that only a person can mend.
    let text = "{ foo: 1, gateway: { mode: 'local', port: 'x' } }";
    fs::write(home.config_path(), text).expect("a file");
    let seen = report(&home, &["--fix"]);
    assert_eq!(wrong(&seen), ["config.invalid", "config.unknown-keys"], "{seen:#}");
    assert_eq!(fs::read_to_string(home.config_path()).expect("a file"), text);
    // What is wrong in an included file is named, and left alone.
    let text = "{ $include: './more.json', gateway: { mode: 'local' } }";
    fs::write(home.config_path(), text).expect("a file");
    fs::write(home.state().join("more.json"), "{ frob: 1 }").expect("a file");
    let seen = report(&home, &["--fix"]);
    assert_eq!(finding(&seen, "config.invalid")["detail"], json!(["<root>: Unrecognized key: \"frob\""]));
    assert_eq!(fs::read_to_string(home.config_path()).expect("a file"), text);
}

#[test]
fn old_keys_that_stop_the_start_are_settled() {
    let home = healthy();
    home.write_config(
        "{ gateway: { mode: 'local', auth: { mode: 'token', token: 'a-token-of-old-days-0123456789' } }, routing: { agents: { ops: {} }, defaultAgentId: 'ops' } }",
    );
    set_mode(&home.config_path(), 0o600);
    assert_eq!(home.run(&["config", "validate"]).status.code(), Some(1));
    found_and_repaired(&home, &["config.old-keys"]);
    let list: Value = serde_json::from_str(&stdout(&home.run(&["config", "get", "agents.list"]))).expect("JSON");
    assert_eq!(list, json!([{"id": "ops", "default": true}]));
}

#[test]
fn secrets_and_variables_that_are_not_there() {
    let home = Home::new();
    home.configure(json!({
        "gateway": {"auth": {"password": {"source": "file", "provider": "none", "id": "/a"}}},
        "models": {"providers": {"p": {
            "baseUrl": "http://127.0.0.1:1", "models": [],
            "apiKey": {"source": "exec", "provider": "vault", "id": "a"},
            "headers": {"X-Team": "${TEAM_NAME}"},
        }}},
        "secrets": {"providers": {"vault": {"source": "exec", "command": "/nonexistent/vault"}}},
    }));
    report(&home, &["--fix"]);
    let seen = report(&home, &[]);
    assert_eq!(wrong(&seen), ["config.variables", "config.secrets"], "{seen:#}");
    assert!(
        finding(&seen, "config.secrets")["detail"][0]
            .as_str()
            .expect("a line")
            .ends_with("/nonexistent/vault does not exist")
    );
    assert_eq!(finding(&seen, "config.variables")["detail"], json!(["TEAM_NAME at models.providers.p.headers.X-Team"]));
    let unused = finding(&seen, "config.unused-secrets");
    assert_eq!(unused["detail"], json!(["gateway.auth.password: gateway.auth.mode is token"]));
    assert!(!seen.to_string().contains(TOKEN));
}

#[test]
fn notes_are_no_reason_to_fail() {
    let home = Home::new();
    home.configure(json!({
        "gateway": {"maxBufferedBytes": 1_000_000}, "tools": {"profile": "coding", "links": {}},
        "hooks": {"mappings": [{"transform": {"command": "x"}}]},
        "meta": {"lastTouchedVersion": "2027.1.1"},
    }));
    report(&home, &["--fix"]);
    fs::write(home.state().join("sessions.json.corrupt-5"), "x").expect("a file");
    let output = home.run(&["doctor", "--check", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", stdout(&output));
    let seen: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    for id in ["config.without-effect", "config.going-back", "config.exec-defaults", "state.damaged", "gateway.running"]
    {
        assert_eq!(finding(&seen, id)["severity"], "info", "{id}");
    }
    assert_eq!(
        finding(&seen, "config.going-back")["detail"],
        json!(["gateway.maxBufferedBytes", "hooks.mappings.0.transform.command"])
    );
    let idle = finding(&seen, "config.without-effect")["detail"].as_array().expect("lines");
    assert!(idle.contains(&json!("tools.links")) && !idle.contains(&json!("gateway.mode")), "{idle:?}");
    assert!(!idle.contains(&json!("tools.profile")), "the tool policy reads it: {idle:?}");
}

#[test]
fn what_a_killed_process_left_is_removed() {
    let home = healthy();
    let sessions = home.state().join("agents/main/sessions");
    let left = [
        home.state().join(".openclaw.json.4194999-0123abcd.tmp"),
        sessions.join("sessions.json.lock"),
        sessions.join("x.jsonl.lock"),
    ];
    for path in &left {
        fs::write(path, "{\"pid\":4194999}").expect("a file");
        set_mode(path, 0o600);
    }
    let held = sessions.join("y.jsonl.lock");
    fs::write(&held, format!("{{\"pid\":{}}}", std::process::id())).expect("a file");
    set_mode(&held, 0o600);
    let seen = report(&home, &[]);
    assert_eq!(finding(&seen, "state.leftovers")["detail"].as_array().map(Vec::len), Some(3), "{seen:#}");
    report(&home, &["--repair"]);
    assert!(left.iter().all(|path| !path.exists()) && held.exists());
}

#[test]
fn the_running_gateway_and_strangers_on_its_port() {
    let home = healthy();
    let gateway = Gateway::start(&home, &[]);
    let on_port = |port: u16| {
        let mut command = home.command(&["doctor", "--json"]);
        command.env("OPENCLAW_GATEWAY_PORT", port.to_string());
        let seen: Value = serde_json::from_slice(&finish(command).stdout).expect("JSON");
        finding(&seen, "gateway.running").clone()
    };
    assert_eq!(on_port(gateway.port)["title"], format!("Gateway answers on port {}.", gateway.port));
    let other = on_port(free_port());
    let title = other["title"].as_str().expect("a title");
    let own = format!("The gateway (pid {}) answers on port {}; commands look for it on ", gateway.pid(), gateway.port);
    assert!(title.starts_with(&own) && other["severity"] == "info", "{other}");
    assert!(other["remedy"].as_str().is_some_and(|text| text.contains("openclaw config set gateway.port")), "{other}");
    // A configuration that says nothing any more is one whose gateway runs all the same.
    home.write_config("");
    let seen = report(&home, &[]);
    assert!(
        finding(&seen, "gateway.running")["title"].to_string().contains(&format!("port {};", gateway.port)),
        "{seen:#}"
    );
    drop(gateway);
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback");
    assert_eq!(on_port(silent.local_addr().expect("bound").port())["severity"], "warn");
}

#[test]
fn a_gateway_that_is_gone_or_was_replaced() {
    let home = healthy();
    let binary = home.path().join("openclaw");
    // Copied by another process: a file that a thread of this one has open for writing goes along with what its other
    // threads start meanwhile, and cannot be started so long.
    let copied = Command::new("cp").arg(env!("CARGO_BIN_EXE_openclaw")).arg(&binary).status().expect("cp");
    assert!(copied.success(), "a copy of the program");
    let port = free_port();
    let mut command = home.program(binary.to_str().expect("text"), &["gateway", "--port", &port.to_string()]);
    command.env("OPENCLAW_GATEWAY_PORT", port.to_string());
    let mut gateway = Gateway::spawn_command(command, port);
    gateway.wait_line("listening on ws://");
    assert!(!stdout(&home.run(&["doctor", "--json"])).contains("before an update"));
    fs::remove_file(&binary).expect("an update");
    let seen = report(&home, &[]);
    let titles: Vec<&str> =
        seen["findings"].as_array().expect("findings").iter().filter_map(|f| f["title"].as_str()).collect();
    let wanted = format!("The gateway (pid {}) still runs the program from before an update", gateway.pid());
    assert!(titles.contains(&wanted.as_str()), "{titles:?}");
    gateway.kill();
    let seen = report(&home, &[]);
    assert_eq!(finding(&seen, "gateway.lock")["severity"], "info", "{seen:#}");
}

#[test]
fn a_clock_that_went_back() {
    let home = healthy();
    let config = fs::File::options().append(true).open(home.config_path()).expect("a file");
    config.set_modified(std::time::SystemTime::now() + std::time::Duration::from_secs(3 * 86_400)).expect("a time");
    let seen = report(&home, &[]);
    assert_eq!(wrong(&seen), ["host.clock"], "{seen:#}");
    assert!(finding(&seen, "host.clock")["title"].to_string().contains("and ~/.openclaw/openclaw.json was written on"));
}

#[test]
fn whatever_is_found_says_what_to_do() {
    let home = Home::new();
    home.configure(json!({
        "gateway": {"bind": "lan", "maxBufferedBytes": 1_000_000, "controlUi": {"dangerouslyDisableDeviceAuth": true},
            "auth": {"password": {"source": "file", "provider": "none", "id": "/a"}}},
        "tools": {"profile": "coding", "exec": {"security": "full"}}, "meta": {"lastTouchedVersion": "2027.1.1"},
        "channels": {"telegram": {"groupPolicy": "open"}}, "hooks": {"enabled": true, "token": "short"},
    }));
    fs::write(home.state().join("sessions.json.corrupt-5"), "x").expect("a file");
    fs::write(home.state().join(".env"), "X=1").expect("a file");
    let seen = report(&home, &["--deep"]);
    let findings = seen["findings"].as_array().expect("findings");
    assert!(findings.len() > 12, "{seen:#}");
    for found in findings {
        assert!(found["remedy"].as_str().is_some_and(|text| !text.is_empty()), "{found:#}");
    }
    let model = finding(&seen, "model.reachable");
    assert!(model["severity"] == "info" && model["title"].to_string().contains("cannot be used"), "{model}");
    assert_eq!(model["remedy"], "openclaw configure --section model");
}

#[test]
fn deep_looks_for_lost_conversations() {
    let home = healthy();
    let store = home.state().join("agents/main/sessions/sessions.json");
    let id = "11111111-2222-3333-4444-555555555555";
    fs::write(&store, json!({"agent:main:main": {"sessionId": id, "systemSent": true}}).to_string()).expect("a file");
    set_mode(&store, 0o600);
    assert_eq!(wrong(&report(&home, &[])), [""; 0]);
    let seen = report(&home, &["--deep"]);
    assert_eq!(finding(&seen, "state.sessions")["detail"], json!(["agent:main:main"]));
}

#[test]
fn a_state_directory_that_is_none_and_files_that_are_damaged() {
    let home = Home::new();
    fs::write(home.state(), "hello").unwrap();
    let found = report(&home, &[]);
    assert_eq!(wrong(&found), ["state.directory"]);
    let title = finding(&found, "state.directory")["title"].as_str().unwrap();
    assert!(title.ends_with("should be the state directory and is a file"), "{title}");
    let setup = home.run(&["setup"]);
    assert_eq!(setup.status.code(), Some(1));

    let home = Home::new();
    std::os::unix::fs::symlink("/nonexistent/stick", home.state()).unwrap();
    let found = report(&home, &[]);
    let title = finding(&found, "state.directory")["title"].as_str().unwrap();
    assert!(title.ends_with("is a link to /nonexistent/stick, which is not there"), "{title}");
    let setup = home.run(&["setup"]);
    assert!(stderr(&setup).contains("it is a link that leads nowhere"), "{}", stderr(&setup));

    let home = healthy();
    for (name, text) in
        [("devices/paired.json", "garbage"), ("devices/pending.json", "[]"), ("identity/device.json", "x")]
    {
        let path = home.state().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        set_mode(path.parent().unwrap(), 0o700);
        set_mode(&path, 0o600);
    }
    let found = report(&home, &[]);
    assert_eq!(wrong(&found), ["state.unreadable"]);
    assert_eq!(finding(&found, "state.unreadable")["detail"].as_array().unwrap().len(), 3);
}

#[test]
fn no_configuration_and_no_home_to_write_to() {
    let home = Home::new();
    let seen = report(&home, &[]);
    assert_eq!(wrong(&seen), ["config.missing"], "{seen:#}");
    assert_eq!(finding(&seen, "config.missing")["remedy"], "Run: openclaw setup");
    assert!(!home.state().exists(), "looking creates nothing");
    let mut command = home.command(&["doctor", "--fix"]);
    command.env("HOME", "/proc/nonexistent");
    let output = finish(command);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(stdout(&output).ends_with("Doctor complete.\n"), "{}", stdout(&output));
}

#[test]
fn a_repair_that_cannot_be_made_is_said() {
    let home = healthy();
    home.write_config("{ foo: 1, gateway: { mode: 'local', auth: { token: 'a-token-of-old-days-0123456789' } } }");
    // The lock of the writers cannot be had: another writer of ours works on the file.
    let directory = fs::File::open(home.state()).expect("a directory");
    directory.lock().expect("a lock");
    let output = home.run(&["doctor", "--fix", "--check"]);
    assert_eq!(output.status.code(), Some(1));
    let text = stdout(&output).split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(text.contains("was not written: another command is writing the config file"), "{text}");
    assert!(fs::read_to_string(home.config_path()).expect("a file").contains("foo: 1"));
}

#[test]
fn a_person_is_asked_and_nobody_else() {
    let home = healthy();
    let broken = "{ foo: 1, gateway: { mode: 'local', auth: { mode: 'none' } } }";
    let asked = |answer: &str, more: &str| {
        home.write_config(broken);
        let words = format!("{} doctor {more}", env!("CARGO_BIN_EXE_openclaw"));
        let mut command =
            home.program("sh", &["-c", &format!("printf '{answer}\\n' | script -qec '{words}' /dev/null")]);
        command.env("TERM", "dumb");
        let text = stdout(&finish(command));
        (text.contains("[y/N]"), fs::read_to_string(home.config_path()).expect("a file") != broken)
    };
    assert_eq!(asked("y", ""), (true, true));
    assert_eq!(asked("n", ""), (true, false));
    assert_eq!(asked("", ""), (true, false));
    assert_eq!(asked("y", "--non-interactive"), (false, false));
    assert_eq!(asked("y", "--check"), (false, false));
    assert_eq!(asked("n", "--fix --non-interactive"), (false, true));
}

#[test]
fn a_certificate_that_ends_or_cannot_be_used() {
    let home = healthy();
    let (cert, key) = (home.path().join("fullchain.pem"), home.path().join("privkey.pem"));
    let set = |path: &str, value: &str| assert!(home.run(&["config", "set", path, value]).status.success(), "{path}");
    set("gateway.tls.enabled", "true");
    assert_eq!(wrong(&report(&home, &[])), [""; 0], "the next start makes one");
    set("gateway.tls.certPath", cert.to_str().expect("UTF-8"));
    set("gateway.tls.keyPath", key.to_str().expect("UTF-8"));
    let said = |severity: &str, words: &[&str]| {
        let report = report(&home, &[]);
        let found = finding(&report, "gateway.certificate");
        let text = found.to_string();
        assert!(found["severity"] == severity && words.iter().all(|word| text.contains(word)), "{text}");
    };
    said("critical", &["cannot be used: cert/key missing", "fullchain.pem"]);
    for (days, severity, word) in [(-1, "critical", "expired on 20"), (20, "warn", "expires on 20")] {
        let [cert_text, key_text] = tls::pair(days);
        fs::write(&cert, cert_text).expect("a file");
        fs::write(&key, key_text).expect("a file");
        set_mode(&key, 0o600);
        said(severity, &[word, "fullchain.pem", "Renew it"]);
    }
    let [good, good_key] = tls::pair(90);
    fs::write(&cert, good).expect("a file");
    said("critical", &["cannot be used: failed to load cert (the key ", "belong together"]);
    fs::write(&key, good_key).expect("a file");
    assert_eq!(wrong(&report(&home, &[])), [""; 0]);
    // Its own pair is looked at, too.
    let own = home.state().join("gateway").join("tls");
    fs::create_dir_all(&own).expect("a directory");
    let [cert_text, key_text] = tls::pair(-1);
    fs::write(own.join("gateway-cert.pem"), cert_text).expect("a file");
    fs::write(own.join("gateway-key.pem"), key_text).expect("a file");
    let unset = |path: &str| assert!(home.run(&["config", "unset", path]).status.success(), "{path}");
    unset("gateway.tls.certPath");
    unset("gateway.tls.keyPath");
    said("critical", &["expired on 20", "it makes a new pair"]);
}
