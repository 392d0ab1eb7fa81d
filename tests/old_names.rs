//! Names that the program had before: the same program through a link, its files found, used and moved (cli 2.1, 5.1, 6.1).

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::common::client::Client;
use crate::common::{Gateway, Home, TOKEN, finish, free_port, stderr, stdout};

/// The program under another name.
fn linked(home: &Home, name: &str, args: &[&str]) -> Command {
    let link = home.path().join(name);
    if fs::symlink_metadata(&link).is_err() {
        symlink(env!("CARGO_BIN_EXE_openclaw"), &link).unwrap();
    }
    home.program(link.to_str().unwrap(), args)
}

fn doctor(home: &Home, args: &[&str]) -> Value {
    let all: Vec<&str> = ["doctor", "--json"].iter().chain(args).copied().collect();
    let mut command = home.command(&all);
    command.env("OPENCLAW_GATEWAY_PORT", free_port().to_string());
    let output = finish(command);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {}{}", stdout(&output), stderr(&output)))
}

fn ids(report: &Value) -> Vec<&str> {
    report["findings"].as_array().unwrap().iter().filter_map(|f| f["id"].as_str()).collect()
}

fn is_link_to(link: &Path, target: &Path) -> bool {
    let linked = fs::symlink_metadata(link).is_ok_and(|meta| meta.is_symlink());
    linked && fs::canonicalize(link).unwrap() == fs::canonicalize(target).unwrap()
}

fn old_home(dir: &str, config: &str) -> (Home, PathBuf) {
    let home = Home::new();
    let dir = home.path().join(dir);
    fs::create_dir_all(dir.join("agents/main/sessions")).unwrap();
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o700)).unwrap();
    let text = json!({"gateway": {"mode": "local", "auth": {"mode": "token", "token": TOKEN}}}).to_string();
    fs::write(dir.join(config), text).unwrap();
    (home, dir)
}

#[test]
fn a_link_with_an_old_name_is_the_same_program_and_suggests_itself() {
    for name in ["clawdbot", "moltbot"] {
        let home = Home::new();
        let version = finish(linked(&home, name, &["--version"]));
        assert_eq!(stdout(&version), stdout(&home.run(&["--version"])));
        let help = stdout(&finish(linked(&home, name, &["gateway", "--help"])));
        assert!(help.contains(&format!("Usage: {name} gateway")), "{help}");
        assert!(help.contains(&format!("  {name} gateway --port 18789")), "{help}");
        assert!(!help.contains("openclaw gateway"), "{help}");
        // A hint of a refusal, one with a profile, one of doctor.
        let refused = stderr(&finish(linked(&home, name, &["--profile", "p", "gateway"])));
        assert!(refused.contains(&format!("Run `{name} --profile p setup`")), "{refused}");
        let page = stdout(&finish(linked(&home, name, &["--profile", "p", "doctor"])));
        assert!(page.contains(&format!("{name} --profile p setup")), "{page}");
        // The gateway on a port that is taken.
        home.configure(json!({}));
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port().to_string();
        let failed = stderr(&finish(linked(&home, name, &["gateway", "--port", &port])));
        assert!(failed.contains(&format!("stop it with: {name} gateway stop")), "{failed}");
    }
    let home = Home::new();
    let other = finish(linked(&home, "something", &["--help"]));
    assert!(stdout(&other).contains("Usage: openclaw"), "only known names are taken over");
}

#[test]
fn an_old_state_directory_is_used_and_moved_by_doctor() {
    for (name, config) in [(".clawdbot", "clawdbot.json"), (".moltbot", "openclaw.json")] {
        let (home, old) = old_home(name, config);
        let mut gateway = Gateway::start(&home, &[]);
        Client::connect(gateway.port);
        // Not under a gateway that runs on it.
        let busy = doctor(&home, &["--fix"]);
        assert!(ids(&busy).contains(&"state.old-name"), "{busy:#}");
        assert!(
            busy["failures"][0].as_str().unwrap().contains("Stop the gateway first: openclaw gateway stop"),
            "{busy:#}"
        );
        assert!(old.join(config).exists() && !home.state().exists());
        assert_eq!(gateway.stop(), Some(0));
        // Looking changes nothing.
        let seen = doctor(&home, &[]);
        assert!(ids(&seen).contains(&"state.old-name"), "{seen:#}");
        assert!(!home.state().exists());
        let moved = doctor(&home, &["--fix"]);
        for id in ["state.old-name", "config.old-name", "state.old-copy"] {
            assert!(!ids(&moved).contains(&id), "{moved:#}");
        }
        assert_eq!(moved["failures"], json!([]), "{moved:#}");
        assert_eq!(moved["configPath"], home.config_path().display().to_string());
        assert!(is_link_to(&old, &home.state()), "{moved:#}");
        assert!(home.config_path().exists() && home.state().join("agents/main/sessions").is_dir());
        if config != "openclaw.json" {
            assert!(is_link_to(&home.state().join(config), &home.config_path()));
        }
        assert!(old.join("agents/main/sessions").is_dir(), "paths with the old name still lead there");
        let mut gateway = Gateway::start(&home, &[]);
        Client::connect(gateway.port);
        assert_eq!(gateway.stop(), Some(0));
        let again = doctor(&home, &["--fix"]);
        assert!(!ids(&again).iter().any(|id| id.contains("old-name")), "{again:#}");
    }
}

#[test]
fn an_old_configuration_beside_the_present_directory_moves_and_strangers_stay() {
    let (home, old) = old_home(".clawdbot", "clawdbot.json");
    fs::create_dir_all(home.state()).unwrap();
    let moved = doctor(&home, &["--fix"]);
    assert_eq!(moved["failures"], json!([]), "{moved:#}");
    assert!(is_link_to(&old.join("clawdbot.json"), &home.config_path()), "{moved:#}");
    let seen = doctor(&home, &[]);
    assert!(ids(&seen).contains(&"state.old-copy"), "the rest of it is for a person: {seen:#}");

    // What a variable names is the operator's choice.
    let (home, old) = old_home(".clawdbot", "openclaw.json");
    let mut command = home.command(&["doctor", "--json", "--fix"]);
    command.env("OPENCLAW_STATE_DIR", &old).env("OPENCLAW_GATEWAY_PORT", "1");
    let report: Value = serde_json::from_slice(&finish(command).stdout).unwrap();
    assert!(!ids(&report).contains(&"state.old-name"), "{report:#}");
    assert!(fs::symlink_metadata(&old).unwrap().is_dir() && !home.state().exists());

    // A file that includes others stays with them.
    let (home, old) = old_home(".clawdbot", "clawdbot.json");
    fs::create_dir_all(home.state()).unwrap();
    fs::write(old.join("more.json"), "{}").unwrap();
    fs::write(old.join("clawdbot.json"), r#"{"$include":"./more.json","gateway":{"mode":"local"}}"#).unwrap();
    let report = doctor(&home, &["--fix"]);
    assert!(ids(&report).contains(&"config.old-name"), "{report:#}");
    assert!(fs::symlink_metadata(old.join("clawdbot.json")).unwrap().is_file());
}

#[test]
fn old_services_are_stopped_and_taken_away() {
    let home = Home::new();
    home.configure(json!({}));
    let units = home.path().join(".config/systemd/user");
    fs::create_dir_all(units.join("default.target.wants")).unwrap();
    let old = units.join("clawdbot-gateway.service");
    fs::write(&old, "[Service]\nExecStart=/usr/bin/clawdbot gateway\n").unwrap();
    let wants = units.join("default.target.wants/clawdbot-gateway.service");
    symlink(&old, &wants).unwrap();
    fs::write(units.join("other.service"), "").unwrap();
    let bin = home.path().join("bin");
    fs::create_dir_all(&bin).unwrap();
    let script = bin.join("systemctl");
    fs::write(&script, format!("#!/bin/sh\necho \"$@\" >> {}/asked\n", home.path().display())).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    assert!(ids(&doctor(&home, &[])).contains(&"service.old-name"));
    assert!(old.exists());
    let mut command = home.command(&["doctor", "--fix"]);
    command.env("PATH", &bin).env("OPENCLAW_GATEWAY_PORT", "1");
    let page = stdout(&finish(command));
    assert!(page.contains("Removed legacy service: ~/.config/systemd/user/clawdbot-gateway.service"), "{page}");
    let asked = fs::read_to_string(home.path().join("asked")).unwrap();
    assert_eq!(asked, "--user disable --now clawdbot-gateway.service\n--user daemon-reload\n");
    assert!(!old.exists() && fs::symlink_metadata(&wants).is_err() && units.join("other.service").exists());
    assert!(!ids(&doctor(&home, &[])).contains(&"service.old-name"));
}
