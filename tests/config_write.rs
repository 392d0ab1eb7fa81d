//! Writing the configuration without fear: commands, `config.set|patch|apply`, and what happens to files when somebody
//! else writes, the disk is full or the process is killed (config A6).

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use openclaw::config::{self, Overrides, Paths, source::MemorySource};
use openclaw::sys::process::Sig;
use openclaw::{ids, limits};
use serde_json::{Value, json};

use crate::common::client::{Client, Device, End, Hello};
use crate::common::model::{Model, Play};
use crate::common::{Gateway, Home, TOKEN, stderr, stdout, wait_until};

const COMMENTED: &str = "// My gateway. Do not touch the port!\n{\n  gateway: {\n    mode: 'local', // only here\n    /* secret */ auth: { mode: 'token', token: 'test-token-0123456789abcdef' },\n  },\n\n  // how it talks\n  logging: { level: 'info' }, // quiet\n  'ui': {\n    seamColor: \"#aabbcc\" // blue-ish\n  }\n}\n";

fn text(home: &Home) -> String {
    fs::read_to_string(home.config_path()).expect("the configuration")
}

fn value(home: &Home) -> Value {
    json5::from_str(&text(home)).expect("JSON5")
}

fn hash(home: &Home) -> String {
    ids::sha256_hex(&fs::read(home.config_path()).unwrap_or_default())
}

fn mode(path: impl AsRef<Path>) -> u32 {
    fs::metadata(path).expect("a file").permissions().mode() & 0o777
}

/// Standard output, standard error and exit code of a command.
fn run(home: &Home, args: &[&str]) -> (String, String, Option<i32>) {
    let output = home.run(args);
    (stdout(&output), stderr(&output), output.status.code())
}

fn set(home: &Home, path: &str, value: &str) {
    let (out, err, code) = run(home, &["config", "set", path, value]);
    assert_eq!((out, code), (format!("Updated {path}. Restart the gateway to apply.\n"), Some(0)), "{err}");
}

/// The text without the stamp, which is different each time.
fn without_stamp(text: &str) -> String {
    text.lines().filter(|line| !line.contains("lastTouched")).collect::<Vec<_>>().join("\n")
}

/// Whether the gateway would start with these bytes.
fn loads(bytes: &[u8]) -> Result<Value, String> {
    let source = MemorySource::new().with_var("HOME", "/h").with_file("/h/.openclaw/openclaw.json", bytes);
    let paths = Paths::resolve(&source, &Overrides::default()).expect("paths");
    let loaded = config::load(&paths, &source);
    match loaded.valid() {
        true => Ok(loaded.parsed),
        false => Err(format!("{:?}\n{}", loaded.issues, String::from_utf8_lossy(bytes))),
    }
}

fn litter(home: &Home) -> Vec<String> {
    let files = fs::read_dir(home.state()).expect("the state directory").flatten();
    files.map(|f| f.file_name().to_string_lossy().into_owned()).filter(|name| name.ends_with(".tmp")).collect()
}

#[test]
fn set_and_unset_say_what_scripts_know() {
    let home = Home::new();
    home.write_config("{\n  \"gateway\": {\n    \"mode\": \"local\"\n  }\n}\n");
    let before = hash(&home);
    let (out, err, code) = run(&home, &["config", "set", "logging.consoleStyle", "compact"]);
    assert_eq!((out.as_str(), code), ("Updated logging.consoleStyle. Restart the gateway to apply.\n", Some(0)));
    let overwrite = |before: &str| {
        format!(
            "Config overwrite: ~/.openclaw/openclaw.json (sha256 {before} -> {}, backup=~/.openclaw/openclaw.json.bak)\n",
            hash(&home)
        )
    };
    let anomaly = "Config write anomaly: ~/.openclaw/openclaw.json (missing-meta-before-write)\n";
    assert_eq!(err, format!("{}{anomaly}", overwrite(&before)));
    let now = value(&home);
    assert_eq!(
        (&now["logging"]["consoleStyle"], &now["meta"]["lastTouchedVersion"]),
        (&json!("compact"), &json!("2026.3.13"))
    );
    let at = now["meta"]["lastTouchedAt"].as_str().expect("a time");
    assert!(at.len() == 24 && at.ends_with('Z'), "{at}");

    let before = hash(&home);
    let (out, err, code) = run(&home, &["config", "set", "gateway.reload", "{\"mode\":\"hybrid\"}", "--strict-json"]);
    assert_eq!((out.as_str(), code), ("Updated gateway.reload. Restart the gateway to apply.\n", Some(0)));
    assert_eq!(err, overwrite(&before));
    let before = hash(&home);
    let (out, err, code) = run(&home, &["config", "unset", "logging.consoleStyle"]);
    assert_eq!((out.as_str(), code), ("Removed logging.consoleStyle. Restart the gateway to apply.\n", Some(0)));
    assert_eq!(err, overwrite(&before));
    let untouched = text(&home);
    for (args, said) in [
        (
            &["config", "set", "gateway.port", "abc"][..],
            "Error: Config validation failed: gateway.port: Invalid input: expected number, received string\n\
             `openclaw config schema gateway.port` says what it takes.\n",
        ),
        (
            &["config", "set", "gateway.prt", "1"],
            "Error: Config validation failed: gateway: Unrecognized key: \"prt\"\nDid you mean \"port\"?\n",
        ),
        (
            &["config", "set", "gateway.port", "{oops", "--strict-json"],
            "Error: Failed to parse JSON5 value: SyntaxError: JSON5: invalid end of input at 1:6\n",
        ),
        (
            &["config", "set", "gateway.port", "{oops", "--json"],
            "Error: Failed to parse JSON5 value: SyntaxError: JSON5: invalid end of input at 1:6\n",
        ),
        (&["config", "unset", "logging.nope"], "Config path not found: logging.nope\n"),
        (&["config", "unset", "gateway.port"], "Config path not found: gateway.port\n"),
        (
            &["config", "set", "gateway.mode.deep", "1"],
            "Error: Config write refused: gateway.mode has no place for gateway.mode.deep: it is not an object, or no list that long\n",
        ),
        (
            &["config", "set", "gateway.auth.token", "__OPENCLAW_REDACTED__"],
            "Error: Sentinel value \"__OPENCLAW_REDACTED__\" in key gateway.auth.token is not valid as real data\n",
        ),
    ] {
        assert_eq!(run(&home, args), (String::new(), said.to_owned(), Some(1)));
    }
    assert_eq!(text(&home), untouched, "nothing of that was written");
    // What is said already is not written again, and a file that is not there is made.
    set(&home, "gateway.reload", "{mode: 'hybrid'}");
    assert_eq!(text(&home), untouched);
    let fresh = Home::new();
    assert_eq!(run(&fresh, &["config", "set", "gateway.mode", "local"]).1, "");
    assert_eq!(value(&fresh)["gateway"], json!({"mode": "local"}));
    assert_eq!((mode(fresh.state()), mode(fresh.config_path())), (0o700, 0o600));
    assert!(!fresh.state().join("openclaw.json.bak").exists());
}

#[test]
fn comments_order_and_style_survive_commands_and_patches() {
    let home = Home::new();
    home.write_config(COMMENTED);
    set(&home, "gateway.port", "18789");
    set(&home, "logging.consoleStyle", "compact");
    set(&home, "agents.list[0].id", "main");
    assert_eq!(
        without_stamp(&text(&home)),
        without_stamp(
            "// My gateway. Do not touch the port!\n{\n  gateway: {\n    mode: 'local', // only here\n    /* secret */ auth: { mode: 'token', token: 'test-token-0123456789abcdef' },\n    port: 18789,\n  },\n\n  // how it talks\n  logging: { level: 'info', consoleStyle: 'compact' }, // quiet\n  'ui': {\n    seamColor: \"#aabbcc\" // blue-ish\n  },\n  meta: {\n  },\n  agents: {\n    list: [\n      {\n        id: 'main'\n      }\n    ]\n  }\n}"
        )
    );
    for path in ["agents", "meta", "logging.consoleStyle", "gateway.port"] {
        assert_eq!(run(&home, &["config", "unset", path]).2, Some(0), "{path}");
    }
    let left = text(&home);
    let meta = left.find(",\n  meta: {").expect("the stamp");
    assert_eq!(format!("{}\n}}\n", &left[..meta]), COMMENTED, "there and back again");

    home.write_config(COMMENTED);
    let gateway = Gateway::start(&home, &[]);
    let mut client = Client::connect(gateway.port);
    let patch = "{ui: {seamColor: null}, logging: {level: 'debug'}, gateway: {port: null}}";
    client.call("config.patch", json!({"raw": patch, "baseHash": hash(&home), "restartDelayMs": 60000}));
    let expected =
        COMMENTED.replace("'info'", "'debug'").replace("{\n    seamColor: \"#aabbcc\" // blue-ish\n  }", "{}");
    let left = text(&home);
    let meta = left.find(",\n  meta: {").expect("the stamp");
    assert_eq!(format!("{}\n}}\n", &left[..meta]), expected);
}

#[test]
fn bytes_that_mark_and_line_ends_that_return_stay() {
    let home = Home::new();
    home.write_config("\u{feff}{\r\n  gateway: { mode: 'local' }, // here\r\n}\r\n");
    set(&home, "gateway.port", "5");
    let now = text(&home);
    assert!(now.starts_with("\u{feff}{\r\n  gateway: { mode: 'local', port: 5 }, // here\r\n"), "{now}");
    assert!(!now.replace("\r\n", "").contains(['\n', '\r']), "{now:?}");
}

#[test]
fn a_change_needs_the_hash_of_what_it_changes() {
    let home = Home::new();
    home.configure(json!({}));
    let gateway = Gateway::start(&home, &[]);
    let mut client = Client::connect(gateway.port);
    let untouched = text(&home);
    let good = client.call("config.get", json!({}))["hash"].as_str().expect("a hash").to_owned();
    assert_eq!(good, hash(&home));
    let stale = "config changed since last load; re-run config.get and retry";
    for (params, message) in [
        (json!({"raw": "{}"}), "config base hash required; re-run config.get and retry"),
        (json!({"raw": "{}", "baseHash": "stale"}), stale),
        (json!({"raw": "{bad", "baseHash": good}), "SyntaxError: JSON5: invalid end of input at 1:5"),
        (json!({"raw": "{\"gateway\":{\"auth\":{\"token\":\"__OPENCLAW_REDACTED__\"}}}", "baseHash": "zzz"}), stale),
        (
            json!({"raw": "{gateway:{mode:'local',auth:{password:'__OPENCLAW_REDACTED__'}}}", "baseHash": good}),
            "Sentinel value \"__OPENCLAW_REDACTED__\" in key gateway.auth.password is not valid as real data",
        ),
        (
            json!({"raw": "{}", "baseHash": good}),
            "Config write refused: gateway.mode would be removed, and a gateway without it does not start",
        ),
    ] {
        let answer = client.request("config.set", params.clone());
        assert_eq!(answer["error"], json!({"code": "INVALID_REQUEST", "message": message}), "{params}");
    }
    let answer =
        client.request("config.set", json!({"raw": "{\"gateway\":{\"port\":\"x\",\"nope\":1}}", "baseHash": good}));
    assert_eq!(
        answer["error"]["message"],
        "invalid config: gateway.port: Invalid input: expected number, received string; gateway: Unrecognized key: \"nope\""
    );
    assert_eq!(
        answer["error"]["details"],
        json!({"issues": [
            {"path": "gateway.port", "message": "Invalid input: expected number, received string"},
            {"path": "gateway", "message": "Unrecognized key: \"nope\""},
        ]})
    );
    let raw = "{a:1,gateway:{port:'x',bind:'y',reload:{mode:'z'},auth:{mode:5}}}";
    let answer = client.request("config.set", json!({"raw": raw, "baseHash": good}));
    let message = answer["error"]["message"].as_str().expect("a message");
    assert!(message.matches("; ").count() == 2 && message.ends_with(" (+2 more issues)"), "{message}");
    assert_eq!(answer["error"]["details"]["issues"].as_array().map(Vec::len), Some(5));
    assert_eq!(text(&home), untouched);

    // The three that count are used up on what is wrong with a patch.
    let patch = |client: &mut Client, params: Value| client.request("config.patch", params)["error"].clone();
    let of = |message: &str| json!({"code": "INVALID_REQUEST", "message": message});
    assert_eq!(patch(&mut client, json!({"raw": "[]", "baseHash": good})), of("config.patch raw must be an object"));
    assert_eq!(patch(&mut client, json!({"raw": "{", "baseHash": "x"})), of(stale));
    home.write_config("{ gateway: { port: 'x' } }");
    let error = patch(&mut client, json!({"raw": "{}", "baseHash": hash(&home)}));
    assert_eq!(error["message"], "invalid config; fix before patching");
    // Without a file there is nothing to be in step with.
    fs::remove_file(home.config_path()).expect("the file");
    let answer = client.call("config.set", json!({"raw": "{ gateway: { mode: 'local' } } // mine"}));
    assert_eq!(answer["path"], json!(home.config_path()));
    assert!(text(&home).ends_with("} // mine"), "{}", text(&home));
}

#[test]
fn masked_values_and_names_of_variables_come_back() {
    let home = Home::new();
    home.write_config(
        &COMMENTED
            .replace("'ui': {", "env: { vars: { COLOUR: '#010203' } },\n  // old token: 'abcdefgh'\n  'ui': {")
            .replace("\"#aabbcc\"", "'${COLOUR}'"),
    );
    let gateway = Gateway::start(&home, &[]);
    let mut client = Client::connect(gateway.port);
    let got = client.call("config.get", json!({}));
    let shown = got["raw"].as_str().expect("a text");
    assert!(
        !shown.contains(TOKEN) && !shown.contains("abcdefgh") && shown.matches("__OPENCLAW_REDACTED__").count() == 4,
        "{shown}"
    );
    // The form: plain JSON of the value, with a variable where it was shown.
    let mut form = got["parsed"].clone();
    assert_eq!(form["gateway"]["auth"]["token"], "__OPENCLAW_REDACTED__");
    form["logging"]["level"] = json!("warn");
    form["ui"]["seamColor"] = got["resolved"]["ui"]["seamColor"].clone();
    assert_eq!(form["ui"]["seamColor"], "#010203");
    let before = text(&home);
    let answer = client.call("config.set", json!({"raw": form.to_string(), "baseHash": got["hash"]}));
    assert_eq!(answer["config"]["gateway"]["auth"]["token"], "__OPENCLAW_REDACTED__");
    let now = text(&home);
    let meta = now.find(",\n  meta: {").expect("the stamp");
    assert_eq!(format!("{}\n}}\n", &now[..meta]), before.replace("'info'", "'warn'"));
    // The text as somebody edited it.
    let got = client.call("config.get", json!({}));
    let edited =
        got["raw"].as_str().expect("a text").replace("// quiet", "// not so quiet").replace("'warn'", "'error'");
    client.call("config.set", json!({"raw": edited, "baseHash": got["hash"]}));
    let expected = now.replace("// quiet", "// not so quiet").replace("'warn'", "'error'");
    // A literal that was masked comes back in double quotes.
    let expected = expected
        .replace("'test-token-0123456789abcdef'", "\"test-token-0123456789abcdef\"")
        .replace("'#010203'", "\"#010203\"");
    assert_eq!(without_stamp(&text(&home)), without_stamp(&expected));
    assert!(!home.log_text().contains(TOKEN));
}

#[test]
fn three_calls_a_minute_and_a_restart_does_not_give_more() {
    let home = Home::new();
    home.configure(json!({}));
    let gateway = Gateway::start(&home, &[]);
    let device = Device::new();
    let connect = || Client::connect_as(gateway.port, &Hello::default(), Some(&device)).0;
    let mut client = connect();
    // Wrong parameters count, too.
    assert_eq!(client.request("config.patch", json!({"bogus": 1}))["ok"], false);
    assert_eq!(client.request("config.apply", json!({"raw": "{"}))["ok"], false);
    client.call(
        "config.patch",
        json!({"raw": "{ui:{seamColor:'#111111'}}", "baseHash": hash(&home), "restartDelayMs": 0}),
    );
    client.event("shutdown");
    assert_eq!(client.end(), End::Close(1012, "service restart".into()));
    wait_until("the second life", || gateway.count_lines("listening on ws://") == 2);
    let mut client = connect();
    for method in ["config.patch", "config.apply"] {
        let error = client.request(method, json!({"raw": "{}"}))["error"].clone();
        let after = error["retryAfterMs"].as_u64().expect("a time");
        assert!((1..=60_000).contains(&after), "{error}");
        assert_eq!(
            error,
            json!({
                "code": "UNAVAILABLE",
                "message": format!("rate limit exceeded for {method}; retry after {}s", after.div_ceil(1000)),
                "details": {"method": method, "limit": "3 per 60s"}, "retryable": true, "retryAfterMs": after,
            })
        );
    }
    // config.set is not one of them, and another device has its own.
    client.call("config.set", json!({"raw": text(&home), "baseHash": hash(&home)}));
    let mut other = Client::connect_as(gateway.port, &Hello::default(), Some(&Device::new())).0;
    assert_eq!(other.request("config.patch", json!({"raw": "{}"}))["error"]["code"], "INVALID_REQUEST");
}

#[test]
fn a_patch_restarts_once_in_the_same_process_and_tells_its_session() {
    let model = Model::start(vec![Play::words("here")]);
    let home = Home::new();
    home.configure(model.config());
    let mut gateway = Gateway::start(&home, &[]);
    let pid = gateway.pid();
    let mut client = Client::connect(gateway.port);
    let patch = |client: &mut Client, colour: &str, more: Value| {
        let mut params = json!({"raw": format!("{{ui:{{seamColor:'{colour}'}}}}"), "baseHash": hash(&home)});
        crate::common::merge(&mut params, more);
        client.call("config.patch", params)
    };
    let first =
        patch(&mut client, "#445566", json!({"note": "test\npatch", "sessionKey": "main", "restartDelayMs": 90_000}));
    assert_eq!(first["path"], json!(home.config_path()));
    assert_eq!(first["config"]["ui"]["seamColor"], "#445566");
    assert_eq!(
        first["restart"],
        json!({"ok": true, "pid": pid, "signal": "SIGUSR1", "delayMs": 60_000, "reason": "config.patch",
               "mode": "emit", "coalesced": false, "cooldownMsApplied": 0})
    );
    let sentinel = home.state().join("restart-sentinel.json");
    assert_eq!(first["sentinel"]["path"], json!(sentinel));
    let note: Value = serde_json::from_slice(&fs::read(&sentinel).expect("the note")).expect("JSON");
    assert_eq!(note, json!({"version": 1, "payload": first["sentinel"]["payload"]}));
    let payload = &first["sentinel"]["payload"];
    assert_eq!(
        (&payload["kind"], &payload["status"], &payload["message"], &payload["sessionKey"]),
        (&json!("config-patch"), &json!("ok"), &json!("test\npatch"), &json!("main"))
    );
    assert_eq!(payload["stats"], json!({"mode": "config.patch", "root": home.config_path()}));
    assert_eq!(mode(&sentinel), 0o600);
    // A later wish is served by the one that is pending; an earlier one takes its place.
    let mut second = Client::connect(gateway.port);
    let later = patch(&mut second, "#445567", json!({"restartDelayMs": 60_000}));
    assert_eq!(later["restart"]["coalesced"], true);
    assert!(later["restart"]["delayMs"].as_u64() < Some(60_000));
    let sooner =
        patch(&mut second, "#445568", json!({"note": "test\npatch", "sessionKey": "main", "restartDelayMs": 300}));
    assert_eq!((&sooner["restart"]["coalesced"], &sooner["restart"]["delayMs"]), (&json!(false), &json!(300)));
    let shutdown = client.event("shutdown");
    assert_eq!(shutdown["payload"], json!({"reason": "gateway restarting", "restartExpectedMs": 1500}));
    assert_eq!(client.end(), End::Close(1012, "service restart".into()));
    wait_until("the second life", || gateway.count_lines("listening on ws://") == 2);
    assert_eq!(gateway.pid(), pid);
    assert!(gateway.is_running());
    wait_until("the note is taken", || !sentinel.exists());
    // The next restart waits for the pause.
    let mut third = Client::connect(gateway.port);
    let next = patch(&mut third, "#445569", json!({"restartDelayMs": 0}));
    let cooldown = next["restart"]["cooldownMsApplied"].as_u64().expect("a time");
    assert!((20_000..=30_000).contains(&cooldown) && next["restart"]["delayMs"] == json!(cooldown), "{next}");
    // The session is told with its next turn.
    let run = third.send_request("agent", json!({"message": "hello", "sessionKey": "main", "idempotencyKey": "k"}));
    third.answer(&run);
    assert_eq!(third.answer(&run)["ok"], true);
    let asked = model
        .requests()
        .iter()
        .any(|r| r.to_string().contains("The gateway restarted after config.patch (ok). test patch"));
    assert!(asked, "{:?}", model.requests());
    assert_eq!(gateway.count_lines("listening on ws://"), 2, "no restart beyond the one that was asked for");
}

#[test]
fn a_signal_serves_what_was_planned_and_a_switched_off_one_does_not_matter() {
    let home = Home::new();
    home.configure(json!({"commands": {"restart": false}}));
    let gateway = Gateway::start(&home, &[]);
    let mut client = Client::connect(gateway.port);
    let patch = json!({"raw": "{ui:{seamColor:'#111111'}}", "baseHash": hash(&home), "restartDelayMs": 0});
    client.call("config.patch", patch);
    wait_until("a restart although commands.restart is false", || gateway.count_lines("listening on ws://") == 2);
    gateway.wait_line("restarting as requested by config.patch");

    let home = Home::new();
    home.configure(json!({}));
    let gateway = Gateway::start(&home, &[]);
    let planned = |client: &mut Client, colour: &str| {
        let raw = format!("{{ui:{{seamColor:'{colour}'}}}}");
        let patch = json!({"raw": raw, "baseHash": hash(&home), "restartDelayMs": 60_000});
        client.call("config.patch", patch)["restart"].clone()
    };
    let mut client = Client::connect(gateway.port);
    planned(&mut client, "#111111");
    assert_eq!(planned(&mut client, "#222222")["coalesced"], true);
    gateway.signal(Sig::Usr1);
    wait_until("a restart by signal", || gateway.count_lines("listening on ws://") == 2);
    let next = planned(&mut Client::connect(gateway.port), "#333333");
    assert_eq!(next["coalesced"], false, "nothing was left of the plan: {next}");
}

#[test]
fn nothing_is_lost_unasked() {
    let home = Home::new();
    let long: String = (0..40).map(|n| format!("    VAR_{n}: 'value number {n}',\n")).collect();
    let full = format!("{{\n  gateway: {{ mode: 'local' }},\n  env: {{ vars: {{\n{long}  }} }},\n}}\n");
    home.write_config(&full);
    let refused = |args: &[&str], why: &str| {
        let said = format!("Error: Config write refused: {why}\nAdd --replace if that is meant.\n");
        let (_, err, code) = run(&home, args);
        assert_eq!((err, code), (said, Some(1)));
        assert_eq!(text(&home), full);
    };
    refused(
        &["config", "unset", "gateway.mode"],
        "gateway.mode would be removed, and a gateway without it does not start",
    );
    let (_, err, _) = run(&home, &["config", "unset", "env"]);
    assert!(
        err.starts_with(&format!("Error: Config write refused: the file would shrink from {} to ", full.len())),
        "{err}"
    );
    assert_eq!(text(&home), full);
    let (_, err, code) = run(&home, &["config", "unset", "env", "--replace"]);
    assert_eq!(code, Some(0));
    assert!(
        err.contains(&format!("(missing-meta-before-write, size-drop:{}->{})", full.len(), text(&home).len())),
        "{err}"
    );
    let (_, err, code) = run(&home, &["config", "unset", "gateway.mode", "--replace"]);
    assert_eq!(code, Some(0));
    assert!(err.ends_with("(gateway-mode-removed)\n"), "{err}");

    // A file that cannot be read is not an empty one.
    for (broken, why) in [
        ("{ gateway: { mode: 'local' ", "JSON5 parse failed: SyntaxError: JSON5: invalid end of input at 1:28"),
        ("", "JSON5 parse failed: SyntaxError: JSON5: invalid end of input at 1:1"),
        ("[]", "it holds no object"),
    ] {
        home.write_config(broken);
        let (_, err, code) = run(&home, &["config", "set", "gateway.port", "1"]);
        assert!(err.contains(why) || broken == "[]", "{err}");
        assert!(err.contains("Mend the file by hand"), "{err}");
        assert_eq!((code, text(&home).as_str()), (Some(1), broken));
    }
    // One that is only wrong can be mended.
    home.write_config("{ gateway: { mode: 'local', port: 'x' } }");
    assert_eq!(run(&home, &["config", "set", "ui.seamColor", "#111111"]).2, Some(1));
    set(&home, "gateway.port", "1");
    // Old keys move on the way.
    home.write_config("{ gateway: { mode: 'local', token: 'old-token-old-token' } } // c");
    set(&home, "gateway.port", "1");
    assert_eq!(value(&home)["gateway"], json!({"mode": "local", "port": 1, "auth": {"token": "old-token-old-token"}}));
}

#[test]
fn included_values_are_overridden_where_that_works() {
    let home = Home::new();
    home.write_config("{\n  gateway: { $include: './gw.json', mode: 'local' }, // rest there\n}\n");
    let included = "{ port: 5, trustedProxies: ['10.0.0.1'], reload: { mode: 'hot', debounceMs: 5 } }";
    fs::write(home.state().join("gw.json"), included).expect("a file");
    set(&home, "gateway.port", "6");
    set(&home, "gateway.reload.mode", "off");
    let now = text(&home);
    assert!(
        now.contains("{ $include: './gw.json', mode: 'local', port: 6, reload: { mode: 'off' } }, // rest there"),
        "{now}"
    );
    assert_eq!(stdout(&home.run(&["config", "get", "gateway.port"])), "6\n");
    let refused = |args: &[&str], path: &str| {
        let (_, err, code) = run(&home, args);
        let said =
            format!("Error: Config write refused: {path} comes from an included file (./gw.json); change it there");
        assert!(err.starts_with(&said), "{err}");
        assert_eq!((code, text(&home)), (Some(1), now.clone()));
    };
    refused(&["config", "set", "gateway.trustedProxies", "['10.0.0.2']"], "gateway.trustedProxies");
    refused(&["config", "set", "gateway.reload", "{mode:'off'}"], "gateway.reload");
    refused(&["config", "unset", "gateway.trustedProxies"], "gateway.trustedProxies");
    assert_eq!(run(&home, &["config", "unset", "gateway.port"]).2, Some(0));
    assert_eq!(stdout(&home.run(&["config", "get", "gateway.port"])), "5\n");
    assert_eq!(fs::read_to_string(home.state().join("gw.json")).expect("a file"), included);
}

#[test]
fn five_backups_and_an_audit_line_for_each_write() {
    let home = Home::new();
    home.write_config("{ gateway: { mode: 'local' } }");
    fs::set_permissions(home.config_path(), fs::Permissions::from_mode(0o644)).expect("a mode");
    fs::write(home.state().join("openclaw.json.bak.mine"), "kept").expect("a file");
    fs::write(home.state().join("openclaw.json.bak.7"), "an old one").expect("a file");
    let mut texts = vec![text(&home)];
    for port in 1..=7 {
        set(&home, "gateway.port", &port.to_string());
        texts.push(text(&home));
    }
    set(&home, "hooks.token", "a-secret-of-mine");
    texts.reverse();
    for (n, name) in ["bak", "bak.1", "bak.2", "bak.3", "bak.4"].iter().enumerate() {
        let path = home.state().join(format!("openclaw.json.{name}"));
        assert_eq!((fs::read_to_string(&path).expect(name), mode(&path)), (texts[n].clone(), 0o600), "{name}");
    }
    assert_eq!(mode(home.config_path()), 0o600);
    assert!(home.state().join("openclaw.json.bak.mine").exists() && !home.state().join("openclaw.json.bak.7").exists());

    let path = home.state().join("logs/config-audit.jsonl");
    assert_eq!((mode(&path), mode(home.state().join("logs"))), (0o600, 0o700));
    let audit = fs::read_to_string(path).expect("the audit");
    assert!(!audit.contains("a-secret-of-mine"), "{audit}");
    let lines: Vec<Value> = audit.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(lines.len(), 8);
    let keys: Vec<&str> = lines[0].as_object().expect("an object").keys().map(String::as_str).collect();
    assert_eq!(
        keys.join(" "),
        "ts source event configPath pid ppid cwd argv execArgv watchMode watchSession watchCommand existsBefore \
         previousHash nextHash previousBytes nextBytes changedPathCount hasMetaBefore hasMetaAfter gatewayModeBefore \
         gatewayModeAfter suspicious result"
    );
    for (n, line) in lines.iter().enumerate().skip(1) {
        assert_eq!(line["previousHash"], lines[n - 1]["nextHash"]);
        assert_eq!((&line["result"], &line["changedPathCount"]), (&json!("rename"), &json!(1)));
    }
    assert_eq!(lines[0]["suspicious"], json!(["missing-meta-before-write"]));
    assert_eq!(lines[7]["nextHash"], json!(hash(&home)));
    let argv: Vec<&str> =
        lines[7]["argv"].as_array().expect("words").iter().skip(1).filter_map(Value::as_str).collect();
    assert_eq!(argv, ["config", "set", "hooks.token", "***"]);
}

#[test]
fn a_linked_configuration_stays_linked() {
    let home = Home::new();
    fs::create_dir_all(home.state()).expect("a directory");
    let real = home.path().join("dotfiles.json");
    fs::write(&real, "{ gateway: { mode: 'local' } } // dot").expect("a file");
    symlink(&real, home.config_path()).expect("a link");
    set(&home, "gateway.port", "7");
    assert!(fs::symlink_metadata(home.config_path()).expect("a link").is_symlink());
    assert!(fs::read_to_string(&real).expect("a file").contains("port: 7"));
    assert_eq!(mode(&real), 0o600);
    assert_eq!(
        fs::read_to_string(home.state().join("openclaw.json.bak")).expect("a backup"),
        "{ gateway: { mode: 'local' } } // dot"
    );
    // A link to a file that is still to come.
    fs::remove_file(&real).expect("a file");
    set(&home, "gateway.mode", "local");
    assert!(real.exists() && fs::symlink_metadata(home.config_path()).expect("a link").is_symlink());
}

#[test]
fn two_writers_wait_for_each_other() {
    let home = Home::new();
    home.write_config(COMMENTED);
    let rounds = 12;
    thread::scope(|scope| {
        for name in ["A", "B", "C"] {
            let home = &home;
            scope.spawn(move || (0..rounds).for_each(|n| set(home, &format!("env.vars.{name}{n}"), &format!("v{n}"))));
        }
    });
    let vars = value(&home)["env"]["vars"].as_object().expect("variables").len();
    assert_eq!(vars, 3 * rounds, "no update is lost");
    assert!(text(&home).contains("// blue-ish") && litter(&home).is_empty());
    // Who holds the lock too long is waited for, but not for ever.
    let directory = fs::File::open(home.state()).expect("the directory");
    directory.lock().expect("the lock");
    let began = std::time::Instant::now();
    let (_, err, code) = run(&home, &["config", "set", "gateway.port", "9"]);
    assert!(began.elapsed() >= limits::LOCK_WAIT);
    assert_eq!(err, "Error: another command is writing the config file\nNothing was written; try again.\n");
    assert_eq!(code, Some(1));
}

/// Somebody without any lock, as the reference: whatever was there when we replaced it is in a backup.
#[test]
fn the_text_of_a_writer_without_lock_is_never_lost() {
    let home = Home::new();
    home.write_config("{ gateway: { mode: 'local' } }");
    let (mut seen, mut ours) = (BTreeSet::new(), 0);
    let theirs = |n: u32| format!("{{ gateway: {{ mode: 'local' }}, env: {{ vars: {{ THEIRS: '{n}' }} }} }}");
    for n in 0..30u32 {
        let mut child = home.command(&["config", "set", "gateway.port", &(n + 1).to_string()]);
        let mut child = child.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the binary");
        thread::sleep(Duration::from_micros(u64::from(n) * 300));
        fs::write(home.path().join("new"), theirs(n)).expect("a file");
        fs::rename(home.path().join("new"), home.config_path()).expect("a rename");
        ours += u32::from(child.wait().expect("a child").success());
        loads(&fs::read(home.config_path()).expect("the file")).expect("valid");
        let names = ["openclaw.json", "openclaw.json.bak", "openclaw.json.bak.1", "openclaw.json.bak.2"];
        let texts: Vec<String> =
            names.iter().filter_map(|name| fs::read_to_string(home.state().join(name)).ok()).collect();
        assert!(texts.iter().any(|text| text.contains(&format!("THEIRS: '{n}'"))), "{n} is gone: {texts:?}");
        seen.insert(texts[0].contains("port"));
    }
    assert!(ours > 0 && litter(&home).is_empty(), "{seen:?}");
}

/// Seeds of the random instants at which a process is killed; `OPENCLAW_TEST_KILLS` says how many.
fn kills(default: u64) -> impl Iterator<Item = u64> {
    let count = std::env::var("OPENCLAW_TEST_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(default);
    (0..count).map(|n| (n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33)
}

#[test]
fn a_killed_command_leaves_the_old_file_or_the_new_one() {
    let home = Home::new();
    home.write_config(COMMENTED);
    let mut last = value(&home)["gateway"]["port"].clone();
    let (mut new, mut left) = (0, 0);
    for (n, random) in kills(20).enumerate() {
        let port = json!(n + 1);
        let mut command = home.command(&["config", "set", "gateway.port", &port.to_string()]);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the binary");
        thread::sleep(Duration::from_micros(random % 30_000));
        child.kill().expect("a child");
        child.wait().expect("a child");
        let bytes = fs::read(home.config_path()).expect("the file is there");
        let now = loads(&bytes).expect("it loads")["gateway"]["port"].clone();
        assert!(now == last || now == port, "{now} is neither {last} nor {port}");
        assert!(text(&home).contains("// blue-ish"));
        new += usize::from(now == port);
        left += litter(&home).len();
        last = now;
    }
    set(&home, "gateway.port", "40000");
    assert!(litter(&home).is_empty(), "the next write removes what killed ones left");
    println!("{new} writes were through, {left} times a temporary file was left");
}

#[test]
fn a_gateway_killed_in_a_patch_leaves_a_file_that_loads() {
    let home = Home::new();
    home.write_config(COMMENTED);
    let mut last = "#aabbcc".to_owned();
    let (mut new, mut left) = (0, 0);
    for (n, random) in kills(20).enumerate() {
        let mut gateway = Gateway::start(&home, &[]);
        // Three calls a minute is what one device has: each of these has its own.
        let mut client = Client::connect_as(gateway.port, &Hello::default(), Some(&Device::new())).0;
        let colour = format!("#{n:06x}");
        let patch = json!({"raw": format!("{{ui:{{seamColor:'{colour}'}}}}"), "baseHash": hash(&home), "restartDelayMs": random % 5});
        client.send_request("config.patch", patch);
        thread::sleep(Duration::from_micros(random % 20_000));
        gateway.kill();
        let bytes = fs::read(home.config_path()).expect("the file is there");
        let now = loads(&bytes).expect("it loads")["ui"]["seamColor"].as_str().expect("a colour").to_owned();
        assert!(now == last || now == colour, "{now} is neither {last} nor {colour}");
        assert!(text(&home).contains("// blue-ish"));
        new += usize::from(now == colour);
        left += litter(&home).len();
        last = now;
    }
    println!("{new} patches were through, {left} times a temporary file was left");
    let mut gateway = Gateway::start(&home, &[]);
    assert_eq!(gateway.stop(), Some(0));
    assert!(litter(&home).is_empty(), "a start removes what killed writers left");
}

/// Runs a shell script with a file system of its own at the state directory. None where that is not allowed.
#[cfg(target_os = "linux")]
fn in_own_mounts(home: &Home, script: &str) -> Option<(String, Option<i32>)> {
    let probe = "mount -t tmpfs -o size=64k tmpfs /mnt";
    if !Command::new("unshare").args(["-m", "sh", "-c", probe]).output().is_ok_and(|out| out.status.success()) {
        println!("skipped: mounting a file system of one's own needs root and unshare");
        return None;
    }
    let mut command = home.program("unshare", &["-m", "sh", "-ec", script]);
    command.env("OPENCLAW", env!("CARGO_BIN_EXE_openclaw"));
    let output = crate::common::finish(command);
    Some((format!("{}{}", stdout(&output), stderr(&output)), output.status.code()))
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_and_a_read_only_one_are_said_and_survived() {
    let home = Home::new();
    home.write_config(COMMENTED);
    let script = "mount -t tmpfs -o size=64k tmpfs \"$HOME/.openclaw\"; cd \"$HOME/.openclaw\"; printf '%s' \"$TEXT\" > openclaw.json
        \"$OPENCLAW\" config set gateway.port 1 2>/dev/null; cp openclaw.json before
        dd if=/dev/zero of=filler bs=1k 2>/dev/null || true
        \"$OPENCLAW\" config set gateway.port 2 && exit 9; cmp openclaw.json before; ls -a
        rm filler; \"$OPENCLAW\" config set gateway.port 3 2>/dev/null; grep -q 'port: 3' openclaw.json";
    let script = script.replace("\"$TEXT\"", &format!("'{}'", COMMENTED.replace('\'', "'\\''")));
    let Some((said, code)) = in_own_mounts(&home, &script) else { return };
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("Error: cannot write the ") && said.contains("No space left on device"), "{said}");
    assert!(said.contains("Free some space; the configuration is as it was."), "{said}");
    assert!(!said.contains(".tmp"), "{said}");

    let script = "mount --bind \"$HOME/.openclaw\" \"$HOME/.openclaw\"; mount -o remount,ro,bind \"$HOME/.openclaw\"
        \"$OPENCLAW\" config set gateway.port 2";
    let (said, code) = in_own_mounts(&home, script).expect("as before");
    assert_eq!(code, Some(1), "{said}");
    let path = home.config_path();
    assert!(
        said.contains(&format!("Error: cannot write the new file: {}: Read-only file system", path.display())),
        "{said}"
    );
    assert!(said.contains("Check owner, mode and mount of "), "{said}");
    assert_eq!(text(&home), COMMENTED);
}

/// Root who edits the file of somebody else leaves it theirs.
#[cfg(target_os = "linux")]
#[test]
fn the_owner_stays() {
    let home = Home::new();
    home.write_config("{ gateway: { mode: 'local' } }");
    if std::os::unix::fs::chown(home.config_path(), Some(12345), Some(12345)).is_err() {
        return println!("skipped: giving files away needs root");
    }
    set(&home, "gateway.port", "5");
    for name in ["openclaw.json", "openclaw.json.bak"] {
        let file = fs::metadata(home.state().join(name)).expect("a file");
        assert_eq!((file.uid(), file.gid(), file.mode() & 0o777), (12345, 12345, 0o600), "{name}");
    }
}

#[test]
fn configurations_of_the_reference_load_and_come_back() {
    let recorded: Vec<Value> = serde_json::from_str(include_str!("golden/config-get.json")).expect("JSON");
    for theirs in recorded {
        let home = Home::new();
        // Their secrets were masked in the recording; any others will do.
        let file = theirs["parsed"].to_string().replace("__OPENCLAW_REDACTED__", TOKEN);
        home.write_config(&file);
        let gateway = Gateway::start(&home, &[]);
        let mut client = Client::connect(gateway.port);
        let ours = client.call("config.get", json!({}));
        for key in ["parsed", "resolved", "valid", "issues", "warnings", "legacyIssues"] {
            assert_eq!(ours[key], theirs[key], "{key}");
        }
        // Written by us from what config.get gave, it says the same to either program.
        let mut changed = ours["parsed"].clone();
        changed["ui"] = json!({"seamColor": "#abcdef"});
        client.call("config.set", json!({"raw": changed.to_string(), "baseHash": ours["hash"]}));
        let mut written: Value = serde_json::from_str(&text(&home)).expect("plain JSON stays plain JSON");
        let mut expected: Value = serde_json::from_str(&file).expect("JSON");
        expected["ui"] = json!({"seamColor": "#abcdef"});
        for value in [&mut written, &mut expected] {
            value.as_object_mut().expect("an object").shift_remove("meta");
        }
        assert_eq!(written, expected);
    }
}
