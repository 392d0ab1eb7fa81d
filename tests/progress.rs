//! What people see while a command takes its time: a line on a terminal, gone at the end; nothing in a pipe.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use serde_json::json;

use crate::common::{Home, binary, finish, stderr, stdout};

/// Clears the line that was there.
const CLEAR: &str = "\r\x1b[K";

/// Runs the program with a terminal as output and error; what the terminal got.
fn on_terminal(home: &Home, words: &str, set: impl FnOnce(&mut Command)) -> String {
    let mut command = home.program("script", &["-qec", &format!("{} {words}", binary()), "/dev/null"]);
    command.env("TERM", "xterm");
    set(&mut command);
    stdout(&finish(command)).replace("\r\n", "\n")
}

/// Takes connections and says nothing.
fn silent() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let url = format!("ws://{}", listener.local_addr().expect("bound"));
    (listener, url)
}

#[test]
fn a_wait_is_seen_on_a_terminal_and_gone_at_the_end() {
    let home = Home::new();
    home.configure(json!({}));
    let (_listener, url) = silent();
    let words = format!("gateway probe --url {url} --token t --timeout 1700");
    let seen = on_terminal(&home, &words, |_| ());
    assert!(seen.starts_with(&format!("{CLEAR}Asking {url} (1 s){CLEAR}")), "{seen:?}");
    let (line, page) = seen.rsplit_once(CLEAR).expect("it was cleared");
    assert!(!line.contains("Gateway Status") && page.contains("Gateway Status"), "{seen:?}");
    // Somebody who wants no sequences has the words all the same.
    for (name, value) in [("TERM", "dumb"), ("NO_COLOR", "1")] {
        let seen = on_terminal(&home, &words, |command| {
            command.env(name, value);
        });
        assert!(seen.starts_with(&format!("Asking {url}\n")), "{name}: {seen:?}");
        assert!(!seen.contains('\x1b') && !seen.contains('\r'), "{name}: {seen:?}");
    }
    // Programs get what they asked for.
    let seen = on_terminal(&home, &format!("{words} --json"), |_| ());
    assert!(seen.starts_with("{\n") && !seen.contains('\x1b'), "{seen:?}");
    let mut piped = home.command(&words.split(' ').collect::<Vec<_>>());
    piped.env("TERM", "xterm");
    let output = finish(piped);
    for text in [stdout(&output), stderr(&output)] {
        assert!(!text.contains("Asking") && !text.contains(['\r', '\x1b']), "{text:?}");
    }
}

#[test]
fn a_slow_service_manager_is_waited_for_visibly() {
    let home = Home::new();
    home.configure(json!({}));
    let (bin, unit) = (home.path().join("bin"), home.path().join(".config/systemd/user/openclaw-gateway.service"));
    fs::create_dir_all(&bin).expect("a directory");
    fs::create_dir_all(unit.parent().expect("a directory")).expect("a directory");
    fs::write(&unit, "[Service]\nExecStart=/usr/bin/openclaw gateway --port 1\n").expect("a unit");
    let body = "#!/bin/sh\ncase \"$*\" in *' stop '*|*' restart '*) sleep 1.5;; esac\n";
    fs::write(bin.join("systemctl"), body).expect("a tool");
    fs::set_permissions(bin.join("systemctl"), fs::Permissions::from_mode(0o755)).expect("a mode");
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap_or_default());
    let root = format!("systemd:{}", home.path().join("root").display());
    for (words, doing, done) in [
        ("gateway stop", "Stopping", "Stopped"),
        ("gateway start", "Starting", "Restarted"),
        ("gateway install --force", "Installing", "Installed"),
    ] {
        let seen = on_terminal(&home, words, |command| {
            command.env("PATH", &path).env("OPENCLAW_TEST_SERVICE", &root);
        });
        let line = format!("{CLEAR}{doing} systemd service: openclaw-gateway.service (1 s)");
        assert!(seen.starts_with(&line), "{words}: {seen:?}");
        let (_, page) = seen.rsplit_once(CLEAR).expect("it was cleared");
        assert!(page.trim_start().starts_with(done), "{words}: {seen:?}");
    }
}
