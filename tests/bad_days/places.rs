//! Places that are not as they should be: no home, no /proc, no room, nothing writable, little memory.

use std::fs;
use std::path::Path;

use openclaw::sys::process::Sig;
use serde_json::json;

use super::{LISTENING, configured};
use crate::common::client::Client;
use crate::common::{Gateway, Home, binary, finish, free_port, mounts, stderr, wait_until};

/// Serves a client, a restart and a stop.
fn assert_good_life(gateway: &mut Gateway) {
    assert_eq!(Client::connect(gateway.port).call("health", json!({}))["ok"], true);
    assert_eq!(gateway.get("/health").0, 200);
    gateway.signal(Sig::Usr1);
    wait_until("the restart", || gateway.count_lines(LISTENING) == 2);
    assert_eq!(Client::connect(gateway.port).call("health", json!({}))["ok"], true);
    assert_eq!(gateway.stop(), Some(0), "{}", gateway.output());
    assert_eq!(gateway.count_lines("panicked"), 0);
}

#[test]
fn without_a_home_it_says_what_to_set() {
    let home = configured();
    for args in [&["gateway"][..], &["status"], &["doctor"]] {
        let mut command = home.command(args);
        command.env_remove("HOME").env_remove("USERPROFILE");
        let output = finish(command);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(stderr(&output).contains("No home directory: set HOME or OPENCLAW_HOME"), "{}", stderr(&output));
    }
    let mut gateway = Gateway::start_with(&home, &[], |c| {
        c.env_remove("HOME").env("OPENCLAW_HOME", home.path());
    });
    assert_good_life(&mut gateway);
}

#[test]
fn a_log_directory_that_vanishes_does_not_disturb_anybody() {
    let fixed = Home::new();
    fixed.configure(json!({"logging": {"file": fixed.path().join("logs/own/gateway.log")}}));
    for (home, told) in [(configured(), true), (configured(), false), (fixed, false)] {
        let mut gateway = Gateway::start(&home, &[]);
        let dir = home.path().join("logs");
        wait_until("a log", || dir.exists());
        fs::remove_dir_all(&dir).unwrap();
        Client::connect(gateway.port);
        if told {
            gateway.signal(Sig::Usr2);
            gateway.signal(Sig::Hup);
        }
        let log = || match dir.join("own").exists() {
            true => fs::read_to_string(dir.join("own/gateway.log")).unwrap_or_default(),
            false => home.log_text(),
        };
        wait_until("the log to be there again", || {
            gateway.signal(Sig::Hup);
            !log().is_empty()
        });
        assert_good_life(&mut gateway);
        assert!(log().contains("shutting down"), "{}", log());
    }
}

#[test]
fn a_state_directory_in_memory_is_as_good_as_any() {
    let home = Home::new();
    let state = Path::new("/dev/shm").join(format!("openclaw-bad-days-{}", std::process::id()));
    fs::create_dir_all(&state).unwrap();
    let port = free_port().to_string();
    let args = ["gateway", "--port", &port, "--allow-unconfigured"];
    let mut gateway = Gateway::spawn_args(&home, port.parse().unwrap(), &args, |c| {
        c.env("OPENCLAW_STATE_DIR", &state);
    });
    gateway.wait_line(LISTENING);
    let stopped = gateway.stop();
    let kept = state.join("openclaw.json").exists();
    fs::remove_dir_all(&state).unwrap();
    assert_eq!((stopped, kept), (Some(0), true));
}

#[test]
fn without_proc_it_runs_where_mounting_is_allowed() {
    let home = configured();
    let Some(mut gateway) = mounts::start(&home, "mount -t tmpfs none /proc") else { return };
    assert_good_life(&mut gateway);
    for args in [&["status"][..], &["gateway", "status"], &["doctor"], &["gateway", "probe"]] {
        let mut command = home.command(args);
        mounts::inside(&mut command, "mount -t tmpfs none /proc");
        let output = finish(command);
        assert!(output.status.code().is_some_and(|code| code <= 1), "{args:?}: {}", stderr(&output));
        assert!(!stderr(&output).contains("panicked"), "{args:?}: {}", stderr(&output));
    }
}

/// Everything read-only: the root, and the home, which may lie in another file system.
const READ_ONLY: &str = "mount -o remount,ro,bind / && mount --bind \"$HOME\" \"$HOME\" && \
                         mount -o remount,ro,bind \"$HOME\"";

#[test]
fn on_a_read_only_root_it_serves_from_a_state_directory_in_memory() {
    let home = configured();
    let state = "mkdir -p \"$HOME/.openclaw\" && cp \"$HOME/.openclaw/openclaw.json\" /dev/shm/oc-$$.json";
    let tmpfs =
        "mount -t tmpfs -o mode=700 tmpfs \"$HOME/.openclaw\" && mount -t tmpfs -o mode=700 tmpfs \"$HOME/tmp\"";
    let back = "mv /dev/shm/oc-$$.json \"$HOME/.openclaw/openclaw.json\"";
    let script = format!("{state} && {READ_ONLY} && {tmpfs} && {back} && ! touch /openclaw-test \"$HOME/x\" 2>&1");
    let Some(mut gateway) = mounts::start(&home, &script) else { return };
    Client::connect(gateway.port);
    assert_good_life(&mut gateway);
}

/// A second gateway in the mounts of this one must be refused.
fn assert_locked(gateway: &Gateway, home: &Home) {
    let mut inside = home.program("nsenter", &["-t", &gateway.pid().to_string(), "-m", &binary(), "gateway", "--port"]);
    inside.arg(free_port().to_string());
    let output = finish(inside);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(stderr(&output).contains("Gateway failed to start: gateway already running"), "{}", stderr(&output));
}

#[test]
fn where_nothing_at_all_can_be_written_it_serves_and_says_what_is_not_kept() {
    let home = configured();
    let tmp = "mount --bind /tmp /tmp && mount -o remount,ro,bind /tmp && ! touch \"$HOME/x\" /tmp/x 2>&1";
    let Some(mut gateway) = mounts::start(&home, &format!("{READ_ONLY} && {tmp}")) else { return };
    for what in ["cannot write the log file", "no lock file: ", "the last good configuration is not kept"] {
        let said = || gateway.output().lines().any(|line| line.contains(what) && line.contains("Read-only"));
        wait_until(what, said);
    }
    assert_locked(&gateway, &home);
    assert_good_life(&mut gateway);
}

#[test]
fn a_disk_that_is_full_at_the_start_is_said_and_served() {
    // With room for the name of a lock file, and without.
    for inodes in ["nr_inodes=0", "nr_inodes=4"] {
        let home = configured();
        let full = |dir: &str, options: &str| {
            format!(
                "mkdir -p \"$HOME/{dir}\" && mount -t tmpfs -o size=64k,mode=700,{options} tmpfs \"$HOME/{dir}\" && \
                 cp \"$HOME/openclaw.json\" \"$HOME/{dir}/\" && \
                 {{ cat /dev/zero > \"$HOME/{dir}/filler\" 2>/dev/null || true; }}"
            )
        };
        let kept = "cp \"$HOME/.openclaw/openclaw.json\" \"$HOME/\"".to_owned();
        let script = [kept, full(".openclaw", inodes), full("tmp", inodes), full("logs", inodes)].join(" && ");
        let Some(mut gateway) = mounts::start(&home, &script) else { return };
        for what in ["cannot write the log file", "lock file", "the last good configuration is not kept"] {
            let said = || gateway.output().lines().any(|line| line.contains(what) && line.contains("No space left"));
            wait_until(what, said);
        }
        assert_locked(&gateway, &home);
        assert_good_life(&mut gateway);
    }
}

#[test]
fn thirty_two_megabytes_are_enough() {
    let home = configured();
    let port = free_port();
    // Of address space in all, where the program is built as it is shipped; the code alone of a debug build is 22 MB.
    let shipped = !cfg!(debug_assertions) || std::env::var_os("OPENCLAW_TEST_BINARY").is_some();
    let limit = if shipped { "ulimit -v 32768" } else { "ulimit -d 32768" };
    let script = format!("{limit} && exec \"$0\" \"$@\"");
    let text = port.to_string();
    let mut gateway = Gateway::spawn_args(&home, port, &[], |c| {
        *c = home.program("sh", &["-c", &script, &binary(), "gateway", "--port", &text]);
    });
    gateway.wait_line(LISTENING);
    let mut clients: Vec<Client> = (0..8).map(|_| Client::connect(port)).collect();
    clients.iter_mut().for_each(|client| assert_eq!(client.call("health", json!({}))["ok"], true));
    drop(clients);
    // Everything that was ever resident, code included.
    let peak = gateway.proc_status("VmHWM");
    assert!(peak <= 32 * 1024, "{peak} kB");
    assert_good_life(&mut gateway);
}
