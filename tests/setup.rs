//! `openclaw setup`: what it creates, what it leaves alone, and that a gateway starts with it (cli 6).

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use serde_json::{Value, json};

use crate::common::client::{Client, Hello};
use crate::common::{Gateway, Home, finish, stderr, stdout};

fn config(home: &Home) -> Value {
    serde_json::from_str(&fs::read_to_string(home.config_path()).expect("a configuration")).expect("JSON")
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("a file").permissions().mode() & 0o777
}

#[test]
fn setup_then_gateway() {
    let home = Home::new();
    let output = home.run(&["setup"]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(
        stdout(&output),
        "Wrote ~/.openclaw/openclaw.json\nWorkspace OK: ~/.openclaw/workspace\nSessions OK: ~/.openclaw/agents/main/sessions\n"
    );
    let written = config(&home);
    assert_eq!((&written["gateway"]["mode"], &written["gateway"]["auth"]["mode"]), (&json!("local"), &json!("token")));
    let token = written["gateway"]["auth"]["token"].as_str().expect("a token").to_owned();
    assert!(token.len() == 48 && token.bytes().all(|b| b.is_ascii_hexdigit()), "{token}");
    assert!(!(stdout(&output) + &stderr(&output)).contains(&token));
    let workspace = home.state().join("workspace");
    assert_eq!(written["agents"]["defaults"]["workspace"], workspace.display().to_string());
    for name in ["AGENTS", "SOUL", "TOOLS", "IDENTITY", "USER", "HEARTBEAT", "BOOTSTRAP"] {
        assert!(workspace.join(format!("{name}.md")).is_file(), "{name}");
    }
    assert_eq!((mode(&home.config_path()), mode(&home.state())), (0o600, 0o700));
    let gateway = Gateway::start(&home, &[]);
    let hello = Hello { token: Some(token), ..Hello::default() };
    let (mut client, _) = Client::connect_as(gateway.port, &hello, None);
    client.call("health", json!({}));
    assert!(!gateway.output().contains("auth token was missing"), "the token of setup is used");
}

#[test]
fn a_second_setup_changes_nothing() {
    let home = Home::new();
    home.run(&["setup"]);
    let before = fs::read(home.config_path()).expect("a configuration");
    fs::write(home.state().join("workspace/SOUL.md"), "mine").expect("a file");
    let output = home.run(&["setup", "--non-interactive"]);
    assert_eq!(
        stdout(&output),
        "Config OK: ~/.openclaw/openclaw.json\nWorkspace OK: ~/.openclaw/workspace\nSessions OK: ~/.openclaw/agents/main/sessions\n"
    );
    assert_eq!(fs::read(home.config_path()).expect("a configuration"), before);
    assert_eq!(fs::read_to_string(home.state().join("workspace/SOUL.md")).expect("a file"), "mine");
}

#[test]
fn what_the_operator_wrote_stays() {
    let home = Home::new();
    home.write_config("{\n  // mine\n  gateway: { port: 4711, auth: { mode: 'none' } },\n}\n");
    let output = home.run(&["setup", "--workspace", "~/agent"]);
    assert!(
        stdout(&output).starts_with("Updated ~/.openclaw/openclaw.json\nWorkspace OK: ~/agent\n"),
        "{}",
        stdout(&output)
    );
    let text = fs::read_to_string(home.config_path()).expect("a configuration");
    assert!(text.contains("// mine") && text.contains("port: 4711"), "{text}");
    assert!(!text.contains("token"), "mode none needs no token: {text}");
    let shown = stdout(&home.run(&["config", "get", "gateway.mode"]));
    assert_eq!(shown, "local\n");
    assert!(home.path().join("agent/AGENTS.md").is_file());
}

#[test]
fn remote_mode() {
    let home = Home::new();
    let output = home.run(&["setup", "--mode", "remote"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("--remote-url"), "{}", stderr(&output));
    assert!(!home.config_path().exists());
    let url = "ws://127.0.0.1:4711";
    let output = home.run(&["setup", "--mode", "remote", "--remote-url", url, "--remote-token", "t"]);
    assert_eq!(stdout(&output), "Wrote ~/.openclaw/openclaw.json\n");
    let gateway = &config(&home)["gateway"];
    assert_eq!(gateway, &json!({"mode": "remote", "remote": {"url": url, "token": "t"}}));
    let wrong = home.run(&["setup", "--mode", "both"]);
    assert_eq!(stderr(&wrong), "Invalid --mode \"both\" (use \"local\" or \"remote\")\n");
}

#[test]
fn a_profile_has_its_own_and_a_broken_file_is_left_alone() {
    let home = Home::new();
    let output = home.run(&["--dev", "setup"]);
    assert!(stdout(&output).starts_with("Wrote ~/.openclaw-dev/openclaw.json\n"), "{}", stdout(&output));
    assert!(stdout(&output).ends_with("Sessions OK: ~/.openclaw-dev/agents/main/sessions\n"));
    home.write_config("{ gateway: { prt: 1 } }");
    let output = home.run(&["setup"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("Unrecognized key: \"prt\"") && stderr(&output).contains("doctor --fix"));
    assert_eq!(fs::read_to_string(home.config_path()).expect("a file"), "{ gateway: { prt: 1 } }");
    let note = home.run(&["--dev", "setup", "--wizard"]);
    assert!(note.status.success() && stderr(&note).contains("asks no questions"), "{}", stderr(&note));
}

#[test]
fn a_directory_that_cannot_be_written_is_said_in_two_lines() {
    let home = Home::new();
    let mut command = home.command(&["setup"]);
    command.env("OPENCLAW_CONFIG_PATH", "/proc/nonexistent/openclaw.json");
    let output = finish(command);
    assert_eq!(output.status.code(), Some(1));
    let said = stderr(&output);
    assert!(said.starts_with("/proc/nonexistent/openclaw.json was not written: cannot create the directory"), "{said}");
    assert!(said.lines().count() == 2 && said.contains("Check owner, mode and free space"), "{said}");
}
