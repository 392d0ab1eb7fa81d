//! Bad days of the state directory: damaged files, a full disk, a read-only one, a wrong clock (reliability 3,
//! DECISIONS 40 and 70).

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};

use crate::common::client::{Client, Device, Hello};
use crate::common::model::{Model, Play};
#[cfg(target_os = "linux")]
use crate::common::mounts;
use crate::common::{Gateway, Home, wait_until};

fn send(client: &mut Client, key: &str, message: &str) -> Value {
    let params = json!({"message": message, "sessionKey": "main", "idempotencyKey": key});
    let id = client.send_request("agent", params);
    let first = client.answer(&id);
    assert_eq!(first["payload"]["status"], "accepted", "{first}");
    client.answer(&id)
}

fn text_of(last: &Value) -> &str {
    last["payload"]["result"]["payloads"][0]["text"].as_str().unwrap_or_default()
}

/// Connected with a device that is not known yet.
fn new_device(port: u16) -> (Client, Value) {
    Client::connect_as(port, &Hello::default(), Some(&Device::new()))
}

#[test]
fn damaged_state_files_are_moved_aside_and_service_goes_on() {
    let model = Model::start(vec![Play::words("here")]);
    for (kind, bytes) in [
        ("corrupt", &b"{\"agent:main:main\": {\"sessionId\": \"x\", "[..]),
        ("empty", b""),
        ("zeros", &[0; 4096]),
        ("another shape", b"[1, 2, 3]"),
    ] {
        let home = Home::new();
        home.configure(model.config());
        let state = home.state();
        let files: Vec<PathBuf> = [
            "agents/main/sessions/sessions.json",
            "devices/paired.json",
            "devices/pending.json",
            "identity/device.json",
        ]
        .iter()
        .map(|name| state.join(name))
        .collect();
        for file in &files {
            fs::create_dir_all(file.parent().expect("a directory")).expect("a directory");
            fs::write(file, bytes).expect("a file");
        }
        // What a process that is gone had begun to write.
        let half: Vec<PathBuf> = ["", "devices", "agents/main/sessions"]
            .iter()
            .map(|place| state.join(place).join(".openclaw.json.4194999-0123abcd.tmp"))
            .collect();
        half.iter().for_each(|path| fs::write(path, "{").expect("a file"));
        let mut gateway = Gateway::start(&home, &[]);
        let (mut client, hello) = new_device(gateway.port);
        assert!(hello["auth"]["deviceToken"].is_string(), "{kind}: {hello}");
        let identity = client.call("gateway.identity.get", json!({}));
        assert_eq!(identity["deviceId"].as_str().map(str::len), Some(64), "{kind}: {identity}");
        assert_eq!(text_of(&send(&mut client, "k", "hello")), "here", "{kind}");
        drop(client);
        assert_eq!(gateway.stop(), Some(0));
        assert!(half.iter().all(|path| !path.exists()), "{kind}: temporary files are swept");
        for file in &files {
            let name = file.file_name().expect("a name").to_string_lossy().into_owned();
            let beside = fs::read_dir(file.parent().expect("a directory")).expect("a directory").flatten();
            let aside: Vec<PathBuf> = beside
                .filter(|f| f.file_name().to_string_lossy().starts_with(&format!("{name}.corrupt-")))
                .map(|f| f.path())
                .collect();
            assert_eq!(aside.len(), 1, "{kind}: {name}");
            assert_eq!(fs::read(&aside[0]).expect("bytes"), bytes, "{kind}: {name}");
            let digits = aside[0].to_string_lossy().rsplit('-').next().map(str::len);
            assert_eq!(digits, Some(13), "{kind}: milliseconds");
            let line = format!("{} is damaged", file.display());
            assert_eq!(gateway.count_lines(&line), 1, "{kind}: {}", gateway.output());
        }
        let again = Gateway::start(&home, &[]);
        assert_eq!(again.count_lines("damaged"), 0, "{kind}: what was written since is whole");
    }
}

#[test]
fn files_where_directories_should_be_are_said_and_survived() {
    let model = Model::start(vec![Play::words("here")]);
    let home = Home::new();
    home.configure(model.config());
    let names = ["agents", "devices", "identity"];
    for name in names {
        fs::write(home.state().join(name), "in the way").expect("a file");
    }
    let mut gateway = Gateway::start(&home, &[]);
    let (mut client, _) = new_device(gateway.port);
    assert_eq!(client.call("health", json!({}))["ok"], true);
    let last = send(&mut client, "k1", "hello");
    assert_eq!((&last["ok"], &last["error"]["code"]), (&json!(false), &json!("UNAVAILABLE")), "{last}");
    assert!(last["error"]["message"].as_str().is_some_and(|m| m.contains("cannot be written")), "{last}");
    assert_eq!(client.request("gateway.identity.get", json!({}))["ok"], false);
    for name in names {
        assert_eq!(fs::read(home.state().join(name)).expect("still there"), b"in the way");
        fs::remove_file(home.state().join(name)).expect("a file");
    }
    assert_eq!(text_of(&send(&mut client, "k2", "again")), "here", "it works again by itself");
    assert_eq!(client.call("gateway.identity.get", json!({}))["deviceId"].as_str().map(str::len), Some(64));
    drop(client);
    assert_eq!(gateway.stop(), Some(0));
}

/// The state directory as this gateway sees it.
#[cfg(target_os = "linux")]
fn inner_state(gateway: &Gateway, home: &Home) -> PathBuf {
    let state = home.state();
    PathBuf::from(format!("/proc/{}/root", gateway.pid())).join(state.strip_prefix("/").expect("absolute"))
}

#[cfg(target_os = "linux")]
fn remount(gateway: &Gateway, home: &Home, how: &str) {
    let pid = gateway.pid().to_string();
    let mut command = Command::new("nsenter");
    command.args(["-t", &pid, "-m", "mount", "-o", &format!("remount,{how}")]).arg(home.state());
    assert!(command.status().expect("nsenter").success());
}

#[cfg(target_os = "linux")]
fn snapshot(directory: &std::path::Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut all = Vec::new();
    let mut todo = vec![directory.to_owned()];
    while let Some(next) = todo.pop() {
        for file in fs::read_dir(next).expect("a directory").flatten().map(|f| f.path()) {
            match file.is_dir() {
                true => todo.push(file),
                false if file.ends_with("filler") => {}
                false => all.push((file.clone(), fs::read(&file).expect("bytes"))),
            }
        }
    }
    all
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_said_and_nothing_is_truncated_where_mounting_is_allowed() {
    let model = Model::start(vec![Play::words("here")]);
    let home = Home::new();
    home.configure(model.config());
    let script = "cp \"$HOME/.openclaw/openclaw.json\" \"$HOME/\" && \
                  mount -t tmpfs -o size=1m,mode=700 tmpfs \"$HOME/.openclaw\" && \
                  cp \"$HOME/openclaw.json\" \"$HOME/.openclaw/\"";
    let Some(mut gateway) = mounts::start(&home, script) else { return };
    let mut client = Client::connect(gateway.port);
    assert_eq!(text_of(&send(&mut client, "k1", "before")), "here");
    let state = inner_state(&gateway, &home);
    let filler = state.join("filler");
    let fill = || {
        use std::io::Write as _;
        let mut file = fs::File::create(&filler).expect("a file");
        while file.write_all(&[b'x'; 512]).is_ok() {}
    };
    fill();
    let before = snapshot(&state);
    let last = send(&mut client, "k2", &"too much ".repeat(1000));
    assert_eq!((&last["ok"], &last["error"]["code"]), (&json!(false), &json!("UNAVAILABLE")), "{last}");
    assert!(last["error"]["message"].as_str().is_some_and(|m| m.contains("No space left")), "{last}");
    // A session that is new has no place either; a device has one in memory.
    let params = json!({"message": "x".repeat(5000), "sessionKey": "another", "idempotencyKey": "k3"});
    let id = client.send_request("agent", params);
    client.answer(&id);
    assert_eq!(client.answer(&id)["ok"], false);
    let (mut device, _) = new_device(gateway.port);
    assert_eq!(device.call("health", json!({}))["ok"], true);
    assert_eq!(gateway.get("/health").0, 200);
    for (path, bytes) in before {
        let now = fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        assert!(now.starts_with(&bytes), "{} was {} bytes, is {}", path.display(), bytes.len(), now.len());
    }
    fs::remove_file(&filler).expect("the filler");
    assert_eq!(text_of(&send(&mut client, "k4", "after")), "here", "it works again by itself");
    let messages = client.call("chat.history", json!({"sessionKey": "main"}))["messages"].clone();
    let texts: Vec<&str> = messages
        .as_array()
        .expect("messages")
        .iter()
        .filter_map(|m| m["content"][0]["text"].as_str())
        .filter(|text| !text.starts_with("too much"))
        .collect();
    assert_eq!(texts, ["before", "here", "after", "here"]);
    for (path, bytes) in snapshot(&state) {
        let text = String::from_utf8(bytes).expect("text");
        match path.extension().and_then(|e| e.to_str()) {
            Some("json") => drop(serde_json::from_str::<Value>(&text).expect("JSON")),
            Some("jsonl" | "journal") => {
                text.lines().filter(|l| !l.is_empty()).for_each(|l| {
                    serde_json::from_str::<Value>(l).unwrap_or_else(|e| panic!("{}: {e}: {l}", path.display()));
                });
            }
            _ => {}
        }
    }
    assert_eq!(gateway.stop(), Some(0));
}

#[cfg(target_os = "linux")]
#[test]
fn a_read_only_state_directory_is_served_where_mounting_is_allowed() {
    let model = Model::start(vec![Play::words("here")]);
    let home = Home::new();
    home.configure(model.config());
    let script = "mount --bind \"$HOME/.openclaw\" \"$HOME/.openclaw\" && \
                  mount -o remount,ro,bind \"$HOME/.openclaw\"";
    let Some(mut gateway) = mounts::start(&home, script) else { return };
    let (mut client, _) = new_device(gateway.port);
    assert_eq!(client.call("health", json!({}))["ok"], true);
    let last = send(&mut client, "k1", "hello");
    assert_eq!((&last["ok"], &last["error"]["code"]), (&json!(false), &json!("UNAVAILABLE")), "{last}");
    assert!(last["error"]["message"].as_str().is_some_and(|m| m.contains("Read-only")), "{last}");
    let warned = || gateway.output().lines().any(|l| l.contains("paired.json") && l.contains("Read-only"));
    wait_until("a warning about the pairing that is only in memory", warned);
    remount(&gateway, &home, "rw,bind");
    assert_eq!(text_of(&send(&mut client, "k2", "again")), "here", "it works again by itself");
    assert_eq!(gateway.stop(), Some(0));
    let paired: Value =
        serde_json::from_slice(&fs::read(home.state().join("devices/paired.json")).expect("paired")).expect("JSON");
    assert_eq!(paired.as_object().map(|all| all.len()), Some(1), "the device is kept after all");
}

/// A library that shifts the wall clock by the seconds in a file; None without a C compiler.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn clock_library(home: &Home) -> Option<PathBuf> {
    let source = r#"
        #define _GNU_SOURCE
        #include <dlfcn.h>
        #include <fcntl.h>
        #include <stdlib.h>
        #include <time.h>
        #include <unistd.h>
        int clock_gettime(clockid_t clock, struct timespec *now) {
            static int (*real)(clockid_t, struct timespec *);
            if (!real) real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
            int result = real(clock, now);
            const char *path = getenv("TEST_CLOCK");
            if (clock != CLOCK_REALTIME || result || !path) return result;
            char text[32] = {0};
            int file = open(path, O_RDONLY | O_CLOEXEC);
            if (file < 0) return result;
            if (read(file, text, 31) > 0) now->tv_sec += atoll(text);
            close(file);
            return result;
        }
    "#;
    let (code, library) = (home.path().join("clock.c"), home.path().join("clock.so"));
    fs::write(&code, source).expect("a file");
    let built = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&code).arg("-ldl").output();
    built.is_ok_and(|out| out.status.success()).then_some(library)
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[test]
fn a_clock_of_1970_and_one_that_jumps_disturb_nobody() {
    let model = Model::start(vec![Play::words("here")]);
    let home = Home::new();
    home.configure(model.config());
    let Some(library) = clock_library(&home) else {
        println!("skipped: no C compiler for a clock that can be set");
        return;
    };
    let shift = home.path().join("shift");
    let now = jiff::Timestamp::now().as_second();
    let set = |seconds: i64| {
        // In one step: a clock that reads half a number would jump by itself.
        fs::write(home.path().join("shift.new"), seconds.to_string()).expect("a file");
        fs::rename(home.path().join("shift.new"), &shift).expect("a file");
    };
    set(-now + 5);
    let mut gateway = Gateway::start_with(&home, &[], |command| {
        command.env("LD_PRELOAD", &library).env("TEST_CLOCK", &shift);
    });
    let (mut client, hello) = new_device(gateway.port);
    assert!(hello["snapshot"]["health"]["ts"].as_u64() < Some(100_000), "it is 1970 there: {hello}");
    assert_eq!(text_of(&send(&mut client, "k0", "hello")), "here");
    let day = 24 * 3600;
    for (n, seconds) in [0, day, -day, 0, -3600, 0, -now + 5].into_iter().enumerate() {
        set(seconds);
        let last = send(&mut client, &format!("k{}", n + 1), "and now?");
        assert_eq!(text_of(&last), "here", "shifted by {seconds} s: {last}");
        let duration = last["payload"]["result"]["meta"]["durationMs"].as_u64();
        assert!(duration < Some(20_000), "shifted by {seconds} s: {duration:?}");
        assert_eq!(client.call("health", json!({}))["ok"], true);
        assert_eq!(gateway.get("/ready").0, 200);
        let (mut other, hello) = new_device(gateway.port);
        let uptime = hello["snapshot"]["uptimeMs"].as_u64().expect("uptime");
        assert!(uptime < 120_000, "shifted by {seconds} s: {uptime}");
        let waited = other.call("agent.wait", json!({"runId": "none", "timeoutMs": 20}));
        assert_eq!(waited["status"], "timeout");
        let abort = other.call("chat.abort", json!({"sessionKey": "main"}));
        assert_eq!(abort["aborted"], false);
    }
    let presence = client.call("system-presence", json!({}));
    assert!(presence.as_array().is_some_and(|all| all.len() >= 2), "{presence}");
    assert_eq!(gateway.stop(), Some(0));
    let text = fs::read_to_string(home.state().join("agents/main/sessions/sessions.json")).expect("sessions");
    assert!(serde_json::from_str::<Value>(&text).is_ok());
    assert!(gateway.output().lines().filter(|l| l.contains("panicked")).count() == 0);
}
