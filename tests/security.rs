//! `openclaw security audit`: the known forms, and what --fix closes (cli 6). What each check finds is a table beside it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use openclaw::sys::process;
use serde_json::{Value, json};

use crate::common::{Gateway, Home, stderr, stdout};

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("a mode");
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("a file").permissions().mode() & 0o777
}

fn report(home: &Home, more: &[&str]) -> Value {
    let output = home.run(&[&["security", "audit", "--json"], more].concat());
    assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(0), ""));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// Ids of what is critical or a warning; tests may run as root.
fn wrong(report: &Value) -> Vec<&str> {
    let findings = report["findings"].as_array().expect("findings").iter();
    let found = findings.filter(|f| f["severity"] != "info").filter_map(|f| f["checkId"].as_str());
    found.filter(|id| *id != "host.running_as_root").collect()
}

#[test]
fn the_known_forms() {
    let home = Home::new();
    home.configure(json!({"gateway": {"auth": {"token": "short"}}}));
    set_mode(&home.config_path(), 0o644);
    set_mode(&home.state(), 0o755);
    let warnings = if process::uid() == Some(0) { 4 } else { 3 };
    let summary = format!("Summary: 1 critical · {warnings} warn · 1 info\n");
    let output = home.run(&["security", "audit"]);
    assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(0), ""));
    let text = stdout(&output);
    for piece in [
        &format!("OpenClaw security audit\n{summary}Run deeper: openclaw security audit --deep\n\nCRITICAL\n"),
        "CRITICAL\nfs.config.perms_world_readable Config file is world-readable\n  ~/.openclaw/openclaw.json mode=644; \
         it can hold tokens and private settings.\n  Fix: chmod 600 ~/.openclaw/openclaw.json\n\nWARN\n",
        "\ngateway.trusted_proxies_missing Reverse proxy headers are not trusted\n  gateway.bind is loopback and \
         gateway.trustedProxies is empty. ",
        "\ngateway.token_too_short Gateway token looks short\n  gateway auth token is 5 chars; prefer a long random \
         token.\n  Fix: ",
        "\nfs.state_dir.perms_readable State dir is readable by others\n  ~/.openclaw mode=755; consider restricting to \
         700.\n  Fix: chmod 700 ~/.openclaw\n",
        "\nINFO\nsummary.attack_surface Attack surface summary\n  gateway.bind: loopback\n",
        "\ntrust model: personal assistant (one trusted operator boundary), not hostile multi-tenant on one shared gateway",
    ] {
        assert!(text.contains(piece), "{piece}\n{text}");
    }
    let seen = report(&home, &[]);
    assert_eq!(seen["summary"], json!({"critical": 1, "warn": warnings, "info": 1}));
    let keys: Vec<&str> = seen.as_object().expect("an object").keys().map(String::as_str).collect();
    assert_eq!(keys, ["ts", "summary", "findings"]);
    let deep = report(&home, &["--deep"]);
    assert_eq!(deep["deep"]["gateway"]["ok"], false, "nobody answers");
    assert!(deep.to_string().contains("gateway.probe_failed") && !deep.to_string().contains("\"short\""));
    // What `status` says of it is the same.
    let page = stdout(&home.run(&["status"]));
    assert!(page.contains(&format!("Security audit\n{summary}  CRITICAL Config file is world-readable\n")), "{page}");
    assert!(!page.contains("Attack surface"), "{page}");
}

#[test]
fn what_can_be_closed_is_closed_once() {
    let home = Home::new();
    home.write_config(
        "{\n  // mine\n  $include: './more.json',\n  gateway: { mode: 'local', trustedProxies: ['127.0.0.1'], \
         auth: { token: '3f9c1e7ab5d2460f8e1c7a94b2d5f06e' } },\n  logging: { redactSensitive: 'off' },\n  \
         channels: { telegram: { botToken: '1:a', groupPolicy: 'open' } },\n}\n",
    );
    let state = home.state();
    let files =
        ["openclaw.json", "more.json", "identity/device.json", "agents/main/sessions/s.jsonl", "openclaw.json.bak.3"];
    for name in files.iter().chain(&["../old-openclaw-backup.tar"]) {
        let path = state.join(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        if !path.exists() {
            fs::write(&path, "{}").expect("a file");
        }
        set_mode(&path, 0o644);
    }
    set_mode(&state, 0o775);
    let outside = home.path().join("outside");
    fs::write(&outside, "").expect("a file");
    set_mode(&outside, 0o644);
    std::os::unix::fs::symlink(&outside, state.join("identity/link")).expect("a link");
    let before = report(&home, &[]);
    let all = [
        "channels.groups_open",
        "config.secrets.readable",
        "fs.state_dir.perms_group_writable",
        "fs.config.perms_world_readable",
        "fs.backup.perms_readable",
        "security.exposure.open_channels_with_exec",
        "logging.redact_off",
        "fs.config_include.perms_readable",
        "fs.state_files.perms_readable",
    ];
    let mut found = wrong(&before);
    found.sort_unstable();
    let mut expected = all.to_vec();
    expected.sort_unstable();
    assert_eq!(found, expected);
    let after = report(&home, &["--fix"]);
    assert_eq!(wrong(&after), [""; 0], "{after:#}");
    assert_eq!((&after["fix"]["ok"], &after["fix"]["errors"]), (&json!(true), &json!([])));
    let changes = after["fix"]["changes"].to_string();
    for change in [
        "chmod 700 ~/.openclaw\"",
        "chmod 600 ~/.openclaw/more.json",
        "chmod 600 ~/old-openclaw-backup.tar",
        "Set channels.telegram.groupPolicy to \\\"allowlist\\\"",
        "Set logging.redactSensitive to \\\"tools\\\"",
        "Backup: ~/.openclaw/openclaw.json.bak",
    ] {
        assert!(changes.contains(change), "{change}: {changes}");
    }
    assert!(files.iter().all(|name| !state.join(name).exists() || mode(&state.join(name)) == 0o600), "{changes}");
    assert_eq!((mode(&state), mode(&outside)), (0o700, 0o644), "what a link leads to is not touched");
    let text = fs::read_to_string(home.config_path()).expect("a configuration");
    assert!(
        text.contains("// mine") && text.contains("groupPolicy: 'allowlist'")
            || text.contains("groupPolicy: \"allowlist\""),
        "{text}"
    );
    // Once more: nothing is left to do, and nothing is written.
    assert!(stdout(&home.run(&["security", "audit", "--fix"])).contains("\nFIX\n  nothing to close\n"));
    assert_eq!(fs::read_to_string(home.config_path()).expect("a configuration"), text);
}

#[test]
fn a_repair_that_cannot_be_made_is_said() {
    let home = Home::new();
    home.configure(json!({"logging": {"redactSensitive": "off"}}));
    set_mode(&home.config_path(), 0o600);
    set_mode(&home.state(), 0o700);
    let directory = fs::File::open(home.state()).expect("a directory");
    directory.lock().expect("another writer of ours");
    let seen = report(&home, &["--fix"]);
    assert_eq!((&seen["fix"]["ok"], &seen["fix"]["changes"]), (&json!(false), &json!([])));
    assert!(seen["fix"]["errors"].to_string().contains("another command is writing the config file"), "{seen:#}");
    assert!(wrong(&seen).contains(&"logging.redact_off"), "what is printed is what is still true");
}

#[test]
fn a_gateway_with_dangerous_flags_says_so_at_its_start() {
    let home = Home::new();
    home.configure(json!({"gateway": {"controlUi": {"allowInsecureAuth": true}}}));
    let gateway = Gateway::start(&home, &[]);
    gateway.wait_line(
        "security warning: dangerous config flags enabled: gateway.controlUi.allowInsecureAuth. Run `openclaw security \
         audit`.",
    );
}
