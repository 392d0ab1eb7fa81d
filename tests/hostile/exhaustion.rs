//! The system gives no more: memory, descriptors, threads. Refused, not aborted; and as before when there is room.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use super::{assert_serves, gateway, limited};
use crate::common::client::{Client, End};
use crate::common::raw::{Raw, frame};
use crate::common::{Gateway, Home, wait_until};

#[test]
fn messages_of_25_mib_from_20_clients_are_refused_when_memory_is_short() {
    let home = Home::new();
    home.configure(json!({}));
    let mut gateway = Gateway::start_with(&home, &[], |command| limited(command, "ulimit -v 409600"));
    let request = |pad: &str| format!(r#"{{"type":"req","id":"big","method":"health","params":{{"x":"{pad}"}}}}"#);
    let pad = "y".repeat(26_214_400 - request("").len());
    let message = frame(0x81, request(&pad).as_bytes());
    let senders: Vec<_> = (0..20)
        .map(|_| {
            let (mut client, message) = (Client::connect(gateway.port), message.clone());
            thread::spawn(move || {
                // Cut in the middle or answered: both are an end.
                let _ = client.socket.get_mut().write_all(&message);
                loop {
                    let frame = match client.try_frame() {
                        Ok(frame) => frame,
                        Err(end) => return Err(end),
                    };
                    if frame["id"] == "big" {
                        return Ok(frame["ok"] == true);
                    }
                }
            })
        })
        .collect();
    let ends: Vec<_> = senders.into_iter().map(|s| s.join().expect("a sender")).collect();
    assert!(gateway.is_running(), "{}", gateway.output());
    let answered = ends.iter().filter(|end| **end == Ok(true)).count();
    let refused = ends.iter().filter(|end| matches!(end, Err(End::Close(1009, _) | End::Gone))).count();
    assert_eq!(answered + refused, 20, "{ends:?}");
    assert!(refused > 0 && answered > 0, "{ends:?}");
    assert_serves(&gateway);
    // With nobody else about, the largest message is served again.
    let mut client = Client::connect(gateway.port);
    client.send_raw(&message);
    assert_eq!(client.answer("big")["ok"], true);
    assert_eq!(gateway.stop(), Some(0));
}

#[test]
fn without_descriptors_the_accept_loop_waits_says_so_once_and_recovers() {
    if !Command::new("prlimit").arg("--version").stdout(Stdio::null()).status().is_ok_and(|s| s.success()) {
        return println!("skipped: prlimit sets the limit of a gateway that runs");
    }
    let home = Home::new();
    let mut gateway = gateway(&home);
    let mut clients: Vec<Client> = (0..4).map(|_| Client::connect(gateway.port)).collect();
    let pid = gateway.pid().to_string();
    let limit = |files: usize| {
        let set = Command::new("prlimit").args(["--pid", &pid, &format!("--nofile={files}:")]).status();
        assert!(set.expect("prlimit").success());
    };
    // The limit is one of numbers: nothing that is free may lie below it.
    let open = || -> Vec<usize> {
        let files = fs::read_dir(format!("/proc/{pid}/fd")).expect("our child").flatten();
        files.filter_map(|file| file.file_name().to_str()?.parse().ok()).collect()
    };
    let begun = Instant::now();
    let request = "GET /health HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    // These wait in the backlog, but for those that find what the start still had open for a moment.
    let (mut waiting, mut free): (Vec<Raw>, usize) = (Vec::new(), 0);
    wait_until("the last descriptor to be taken", || {
        let numbers = open();
        free = (0..).find(|n| !numbers.contains(n)).expect("few are open");
        limit(free);
        if waiting.len() < 200 {
            waiting.push(Raw::saying(gateway.port, request));
        }
        thread::sleep(Duration::from_millis(50));
        gateway.output().contains("raise the limit of open files")
    });
    let (started, before) = (Instant::now(), cpu_ticks(&gateway));
    while started.elapsed() < Duration::from_secs(1) {
        for client in &mut clients {
            client.call("health", json!({}));
        }
        thread::sleep(Duration::from_millis(50));
    }
    let spent = cpu_ticks(&gateway) - before;
    let seconds = started.elapsed().as_secs_f64();
    assert!((spent as f64) < 30.0 * seconds, "{spent} hundredths of a second of CPU in {seconds} s");
    let (said, tens) = (gateway.count_lines("raise the limit of open files"), begun.elapsed().as_secs() as usize / 10);
    drop(clients.split_off(1));
    // Those of the clients that went may lie above the limit.
    limit(free + 64);
    for mut raw in waiting {
        assert_eq!(raw.answer().status, 200, "served as soon as there is room");
    }
    clients[0].call("health", json!({}));
    assert_serves(&gateway);
    assert!(said <= 1 + tens, "{said} lines, one in 10 s is due");
    assert_eq!(gateway.stop(), Some(0));
}

/// User and system time of the process in hundredths of a second.
fn cpu_ticks(gateway: &Gateway) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{}/stat", gateway.pid())).expect("our child");
    let fields: Vec<&str> = stat.rsplit(')').next().expect("fields").split_whitespace().collect();
    fields[11].parse::<u64>().expect("utime") + fields[12].parse::<u64>().expect("stime")
}

#[test]
fn without_threads_newcomers_are_refused_and_clients_stay() {
    let home = Home::new();
    let threads = gateway(&home).proc_status("Threads");
    // The limit binds nobody who runs as root, and counts all threads of everybody else.
    let root = fs::metadata("/proc/self").expect("our own").uid() == 0;
    if !root {
        return eprintln!("not run: it takes root to start a gateway as a user who runs nothing else");
    }
    let user = 54_321 + std::process::id() % 10_000;
    fs::remove_dir_all(home.path()).expect("the first gateway's files");
    home.configure(json!({}));
    for path in [home.path().to_owned(), home.state(), home.config_path()] {
        chown(&path, Some(user), Some(user)).expect("root may");
    }
    let mut gateway = Gateway::start_with(&home, &[], |command| {
        chown(home.path().join("tmp"), Some(user), Some(user)).expect("root may");
        let mut prlimit = Command::new("prlimit");
        prlimit.arg(format!("--nproc={}", threads + 6)).arg(command.get_program()).args(command.get_args());
        prlimit.env_clear().envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        prlimit.stdin(Stdio::null()).uid(user).gid(user);
        *command = prlimit;
    });
    let mut clients: Vec<Client> = (0..4).map(|_| Client::connect(gateway.port)).collect();
    let refused = || {
        let mut raw = Raw::saying(gateway.port, "GET /health HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        raw.try_answer(true).map(|answer| answer.status)
    };
    let mut silent: Vec<Raw> = Vec::new();
    wait_until("the threads to run out", || {
        silent.push(Raw::open(gateway.port));
        gateway.output().contains("no thread for a connection")
    });
    assert!(matches!(refused(), Some(200 | 503) | None), "an answer or the end of the connection");
    for client in &mut clients {
        client.call("health", json!({}));
    }
    drop(silent);
    wait_until("room again", || refused() == Some(200));
    assert_serves(&gateway);
    assert_eq!(gateway.stop(), Some(0));
}
