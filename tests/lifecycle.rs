//! One process from its lock to its exit code: other gateways, signals, reloads, restarts, hung threads.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use openclaw::server::{listen, lock};
use openclaw::sys::process::{self, Sig};
use serde_json::{Value, json};

use crate::common::client::{Client, End};
use crate::common::model::{Model, Play};
use crate::common::{Gateway, Home, finish, free_port, stderr, wait_for, wait_until};

const LISTENING: &str = "] listening on ws://";

fn restart_close(end: End) {
    assert_eq!(end, End::Close(1012, "service restart".into()));
}

/// Waits until the gateway has listened `n` times in its life.
fn wait_lives(gateway: &Gateway, n: usize) {
    wait_until(&format!("life {n}"), || gateway.count_lines(LISTENING) == n);
}

fn lock_file(home: &Home) -> PathBuf {
    let name = lock::lock_path(&home.config_path()).file_name().unwrap().to_owned();
    home.path().join("tmp").join(format!("openclaw-{}", process::uid().unwrap())).join(name)
}

/// A second gateway that must fail: its exit code, what it said, how long it took.
fn second(home: &Home, args: &[&str], env: &[(&str, &str)]) -> (Option<i32>, String, Duration) {
    let start = Instant::now();
    let mut command = home.command(args);
    command.envs(env.iter().copied());
    let output = finish(command);
    (output.status.code(), stderr(&output), start.elapsed())
}

// ── Lock and port ──────────────────────────────────────────────────────────────────────────────────────────

#[test]
fn a_second_gateway_on_the_same_config_fails_at_once() {
    let home = Home::new();
    home.configure(json!({}));
    let mut first = Gateway::start(&home, &[]);
    let (port, pid) = (first.port, first.pid());
    let lock = lock_file(&home);
    let content: Value = serde_json::from_str(&fs::read_to_string(&lock).unwrap()).unwrap();
    assert_eq!((&content["pid"], &content["configPath"]), (&json!(pid), &json!(home.config_path())));
    assert_eq!(fs::metadata(&lock).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(content["startTime"].is_u64() && content["createdAt"].as_str().unwrap().ends_with('Z'), "{content}");

    let port_text = port.to_string();
    let (code, said, took) = second(&home, &["gateway", "--port", &port_text], &[]);
    assert_eq!(code, Some(1));
    assert!(took < Duration::from_secs(3), "{took:?}");
    let lines: Vec<&str> = said.lines().collect();
    let start = format!("Gateway failed to start: gateway already running (pid {pid}); lock held: ");
    assert!(lines[0].contains(&start), "{said}");
    assert_eq!(lines[1], "If the gateway is supervised, stop it with: openclaw gateway stop");
    assert_eq!(lines[2], format!("Port {port} is already in use."));
    assert!(lines[3].starts_with(&format!("- pid {pid} ")) && lines[3].contains("(127.0.0.1:"), "{said}");
    assert_eq!(
        lines.iter().find(|line| line.contains("already running locally")).copied(),
        Some("- Gateway already running locally. Stop it (openclaw gateway stop) or use a different port.")
    );
    // Also on another port, and with 78 for a supervisor, who must not try again and again.
    let other = free_port().to_string();
    let marker = [("OPENCLAW_SERVICE_MARKER", "openclaw")];
    let (code, said, _) = second(&home, &["gateway", "--port", &other], &marker);
    assert_eq!(code, Some(78), "{said}");
    assert!(!said.contains("is already in use"), "{said}");
    let mut multi = Gateway::start_with(&home, &[], |c| {
        c.env("OPENCLAW_ALLOW_MULTI_GATEWAY", "1");
    });
    assert_eq!(multi.stop(), Some(0));
    Client::connect(port);

    // Killed: the lock stays behind and stops nobody.
    first.kill();
    assert!(lock.exists());
    let mut next = Gateway::start(&home, &[]);
    assert_eq!(next.stop(), Some(0));
    assert!(!lock.exists(), "an orderly end removes the lock");
}

#[test]
fn a_port_that_is_taken_is_tried_again_and_then_named() {
    let home = Home::new();
    home.configure(json!({}));
    let mut first = Gateway::start(&home, &[]);
    let other = Home::new();
    other.configure(json!({}));
    let port = first.port.to_string();
    let (code, said, took) = second(&other, &["gateway", "--port", &port], &[]);
    assert_eq!(code, Some(1));
    assert!(took >= Duration::from_millis(2000), "{took:?}");
    let text = format!(
        "Gateway failed to start: another gateway instance is already listening on ws://127.0.0.1:{port} (EADDRINUSE)\n\
         If the gateway is supervised, stop it with: openclaw gateway stop\n\
         Port {port} is already in use.\n- pid {} ",
        first.pid()
    );
    assert!(said.contains(&text), "{said}");
    assert!(!lock_file(&other).exists(), "a start that fails gives its lock back");
    let marker = [("OPENCLAW_SERVICE_MARKER", "openclaw")];
    assert_eq!(second(&other, &["gateway", "--port", &port], &marker).0, Some(78));
    assert_eq!(first.stop(), Some(0));

    // Another program may go away: a supervisor may try again.
    let foreign = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = foreign.local_addr().unwrap().port().to_string();
    let (code, said, _) = second(&other, &["gateway", "--port", &port], &marker);
    assert_eq!(code, Some(1));
    assert!(said.contains("- Another process is listening on this port."), "{said}");

    // Nobody has to wait for the end of the attempts.
    let mut impatient = Gateway::spawn_args(&other, 0, &["gateway", "--port", &port], |_| {});
    wait_until("a handler for Ctrl-C and the lock", || catches_interrupt(&impatient) && lock_file(&other).exists());
    impatient.signal(Sig::Int);
    assert_eq!(impatient.wait_exit().code(), Some(130));
    assert_eq!(impatient.output(), "");
}

/// Whether the process has a handler for SIGINT.
fn catches_interrupt(gateway: &Gateway) -> bool {
    let status = fs::read_to_string(format!("/proc/{}/status", gateway.pid())).unwrap_or_default();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    caught.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).is_some_and(|set| set & 0b10 != 0)
}

#[test]
fn force_ends_whoever_listens() {
    let (home, other) = (Home::new(), Home::new());
    home.configure(json!({}));
    other.configure(json!({}));
    let mut first = Gateway::start(&home, &["--force"]);
    let port = first.port;
    first.wait_line(&format!("[gateway] force: no listeners on port {port}"));
    let text = port.to_string();
    let mut second = Gateway::spawn_args(&other, port, &["gateway", "--port", &text, "--force"], |_| {});
    second.wait_line(LISTENING);
    second.wait_line(&format!("[gateway] force: killed pid {} (openclaw-gatewa) on port {port}", first.pid()));
    assert!(!second.output().contains("escalated"));
    assert_eq!(first.wait_exit().code(), Some(0), "it was asked, not killed");

    // The same configuration: the lock comes free with the port.
    let mut third = Gateway::spawn_args(&other, port, &["gateway", "--port", &text, "--force"], |_| {});
    third.wait_line(LISTENING);
    assert_eq!(second.wait_exit().code(), Some(0));
    assert_eq!(third.stop(), Some(0));

    // Stopped by SIGSTOP it handles nothing: for us the same as a program that ignores SIGTERM.
    let mut stubborn = Gateway::spawn_args(&home, port, &["gateway", "--port", &text], |_| {});
    stubborn.wait_line(LISTENING);
    let stop = Command::new("kill").args(["-STOP", &stubborn.pid().to_string()]).status().unwrap();
    assert!(stop.success());
    let mut fourth = Gateway::spawn_args(&other, port, &["gateway", "--port", &text, "--force"], |_| {});
    fourth.wait_line(LISTENING);
    fourth.wait_line(&format!("[gateway] force: escalated to SIGKILL while freeing port {port}"));
    assert_eq!(fourth.count_lines("[gateway] force: waited "), 1);
    assert_eq!(stubborn.wait_exit().code(), None, "killed");
    assert_eq!(fourth.stop(), Some(0));
}

// ── Stop ───────────────────────────────────────────────────────────────────────────────────────────────────

#[test]
fn a_stop_says_so_closes_1012_and_exits_0() {
    for (number, name) in [(Sig::Term, "SIGTERM"), (Sig::Int, "SIGINT")] {
        let home = Home::new();
        home.configure(json!({}));
        let mut gateway = Gateway::start(&home, &[]);
        let mut client = Client::connect(gateway.port);
        let began = Instant::now();
        gateway.signal(number);
        let shutdown = client.event("shutdown");
        assert_eq!(shutdown["payload"], json!({"reason": "gateway stopping", "restartExpectedMs": null}));
        restart_close(client.end());
        drop(client);
        assert_eq!(gateway.wait_exit().code(), Some(0));
        assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
        gateway.wait_line(&format!("[gateway] signal {name} received"));
        gateway.wait_line(&format!("[gateway] received {name}; shutting down"));
        assert!(!lock_file(&home).exists());
    }
}

/// A gateway with a client that never answers the close, in its stop.
fn stopping(home: &Home) -> (Gateway, Client) {
    home.configure(json!({}));
    let gateway = Gateway::start(home, &[]);
    let client = Client::connect(gateway.port);
    gateway.signal(Sig::Term);
    gateway.wait_line("received SIGTERM; shutting down");
    (gateway, client)
}

#[test]
fn clients_that_never_close_hold_a_stop_for_a_second_and_a_second_signal_ends_it() {
    let home = Home::new();
    let began = Instant::now();
    let (mut gateway, _client) = stopping(&home);
    assert_eq!(gateway.wait_exit().code(), Some(0));
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    assert!(!gateway.output().contains("timed out"), "a silent client is no thread that hangs");

    let (mut gateway, _client) = stopping(&home);
    gateway.signal(Sig::Usr1);
    gateway.signal(Sig::Hup);
    gateway.signal(Sig::Term);
    let began = Instant::now();
    assert_eq!(gateway.wait_exit().code(), Some(0));
    assert!(began.elapsed() < Duration::from_millis(900), "{:?}", began.elapsed());
    gateway.wait_line("received SIGTERM during shutdown; not waiting any longer");
    gateway.wait_line("received SIGHUP during shutdown; ignoring");

    let (mut gateway, _client) = stopping(&home);
    gateway.signal(Sig::Int);
    assert_eq!(gateway.wait_exit().code(), Some(130));
    // What was left behind stops nobody.
    let mut gateway = Gateway::start(&home, &[]);
    assert_eq!(gateway.stop(), Some(0));
}

#[test]
fn a_stop_during_a_run_keeps_what_was_said() {
    let model = Model::start(vec![Play::Stall(vec!["half ".into(), "an answer".into()])]);
    let home = Home::new();
    home.configure(model.config());
    let mut gateway = Gateway::start(&home, &[]);
    let mut client = Client::connect(gateway.port);
    client.call("chat.send", json!({"sessionKey": "main", "message": "hi", "idempotencyKey": "k"}));
    client.take("the whole delta", |f| f["event"] == "agent" && f["payload"]["data"]["text"] == "half an answer");
    let began = Instant::now();
    gateway.signal(Sig::Term);
    assert_eq!(client.take("the end", |f| f["payload"]["state"] == "aborted")["event"], "chat");
    restart_close(client.end());
    drop(client);
    assert_eq!(gateway.wait_exit().code(), Some(0));
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    let sessions = home.state().join("agents/main/sessions");
    let transcripts: String = fs::read_dir(sessions)
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|p| p.extension().is_some_and(|e| e == "jsonl"))
        .map(|p| fs::read_to_string(p).unwrap())
        .collect();
    assert!(transcripts.contains("half an answer"), "{transcripts}");
}

// ── Reload ─────────────────────────────────────────────────────────────────────────────────────────────────

#[test]
fn hup_takes_over_what_can_change_while_running() {
    let home = Home::new();
    home.configure(json!({}));
    let mut gateway = Gateway::start(&home, &[]);
    let mut client = Client::connect(gateway.port);
    let hup = |gateway: &Gateway, line: &str| {
        let before = gateway.count_lines(line);
        gateway.signal(Sig::Hup);
        wait_until(line, || gateway.count_lines(line) > before);
    };
    hup(&gateway, "configuration read; nothing changed");

    // Levels and the log's place.
    let file = home.path().join("other.log");
    home.configure(json!({"logging": {"consoleLevel": "debug", "level": "debug", "file": file}}));
    hup(&gateway, "config change applied (dynamic reads: logging)");
    client.send_text("no JSON");
    gateway.wait_line("[ws] ← parse-error error=not JSON conn=");
    wait_until("the new file", || fs::read_to_string(&file).is_ok_and(|t| t.contains("not JSON")));

    // Models.
    let model = Model::start(vec![Play::words("from the new model")]);
    let mut config = model.config();
    config["logging"] = json!({"consoleLevel": "debug"});
    home.configure(config);
    hup(&gateway, "config hot reload applied (");
    let id = client.send_request("agent", json!({"message": "x", "sessionKey": "main", "idempotencyKey": "1"}));
    client.answer(&id);
    assert_eq!(client.answer(&id)["payload"]["result"]["payloads"][0]["text"], "from the new model");
    gateway.wait_line("run 1: session agent:main:main");

    // Not while it is broken; and the copy of what works stays.
    let good = fs::read_to_string(home.config_path()).unwrap();
    home.write_config(r#"{"gateway":{"mode":"local","frob":1}}"#);
    hup(&gateway, "config reload skipped (invalid config): gateway: Unrecognized key: \"frob\"");
    client.call("health", json!({}));
    let kept = home.state().join("config-last-good.json");
    assert_eq!(fs::read_to_string(&kept).unwrap(), good);
    let written = fs::metadata(&kept).unwrap().modified().unwrap();

    // Off: read and reported.
    home.write_config(&good);
    hup(&gateway, "configuration read; nothing changed");
    assert_eq!(fs::metadata(&kept).unwrap().modified().unwrap(), written, "written only when it differs");
    home.configure(json!({"gateway": {"reload": {"mode": "off"}}}));
    hup(&gateway, "config reload disabled (gateway.reload.mode=off)");
    assert_eq!(gateway.count_lines(LISTENING), 1);

    // What needs a restart gets one, in this process.
    home.configure(json!({"gateway": {"auth": {"rateLimit": {"maxAttempts": 3}}}}));
    hup(&gateway, "config change requires gateway restart (gateway.auth.rateLimit");
    assert_eq!(client.event("shutdown")["payload"]["restartExpectedMs"], 1500);
    restart_close(client.end());
    wait_lives(&gateway, 2);
    Client::connect(gateway.port);
    assert_eq!(gateway.stop(), Some(0));
}

#[test]
fn usr2_opens_the_log_anew() {
    let home = Home::new();
    let file = home.path().join("gw.log");
    home.configure(json!({"logging": {"file": file}}));
    let mut gateway = Gateway::start(&home, &[]);
    wait_until("the file", || fs::read_to_string(&file).is_ok_and(|text| text.contains("listening on ws://")));
    let moved = home.path().join("gw.log.moved");
    fs::rename(&file, &moved).unwrap();
    gateway.signal(Sig::Usr2);
    wait_until("a new file", || fs::read_to_string(&file).is_ok_and(|text| text.contains("log reopened")));
    assert!(!fs::read_to_string(&moved).unwrap().contains("log reopened"));
    assert_eq!(gateway.stop(), Some(0));
}

// ── Restart ────────────────────────────────────────────────────────────────────────────────────────────────

#[test]
fn a_restart_is_allowed_by_the_configuration_and_refused_by_a_broken_one() {
    let home = Home::new();
    home.configure(json!({"commands": {"restart": false}}));
    let mut gateway = Gateway::start(&home, &[]);
    let mut client = Client::connect(gateway.port);
    gateway.signal(Sig::Usr1);
    gateway
        .wait_line("[gateway] SIGUSR1 restart ignored (not authorized; commands.restart=false or use gateway tool).");
    client.call("health", json!({}));
    assert_eq!(gateway.stop(), Some(0));

    home.configure(json!({}));
    let mut gateway = Gateway::start_with(&home, &[], |c| {
        c.env("OPENCLAW_NO_RESPAWN", "1");
    });
    let mut client = Client::connect(gateway.port);
    home.write_config("{ nonsense");
    gateway.signal(Sig::Usr1);
    gateway.wait_line("[gateway] startup failed: Config invalid");
    gateway.wait_line("Process will stay alive; fix the issue and restart.");
    client.call("health", json!({}));
    assert_eq!(gateway.get("/ready").0, 200);

    home.configure(json!({}));
    let lock = fs::read_to_string(lock_file(&home)).unwrap();
    gateway.signal(Sig::Usr1);
    let shutdown = client.event("shutdown");
    assert_eq!(shutdown["payload"], json!({"reason": "gateway restarting", "restartExpectedMs": 1500}));
    restart_close(client.end());
    wait_lives(&gateway, 2);
    gateway.wait_line("[gateway] received SIGUSR1; restarting");
    gateway.wait_line("[gateway] restart mode: in-process restart (OPENCLAW_NO_RESPAWN)");
    assert_eq!(fs::read_to_string(lock_file(&home)).unwrap(), lock, "the lock is ours all the time");
    Client::connect(gateway.port);
    assert_eq!(gateway.stop(), Some(0));
    assert!(!lock_file(&home).exists());
}

#[test]
fn a_restart_waits_for_the_run_and_takes_no_new_one() {
    let pieces = (0..20).map(|n| format!("w{n} ")).collect();
    let model = Model::start(vec![Play::Text(pieces, Duration::from_millis(50))]);
    let home = Home::new();
    home.configure(model.config());
    let mut gateway = Gateway::start(&home, &[]);
    let mut client = Client::connect(gateway.port);
    let send = |client: &mut Client, key: &str| {
        client.send_request("agent", json!({"message": "x", "sessionKey": "main", "idempotencyKey": key}))
    };
    let id = send(&mut client, "1");
    assert_eq!(client.answer(&id)["payload"]["status"], "accepted");
    client.event("agent");
    gateway.signal(Sig::Usr1);
    gateway.wait_line("draining 1 active task(s) and 1 active embedded run(s) before restart (timeout 90000ms)");
    assert_eq!(gateway.get("/ready").0, 503);
    let refused = send(&mut client, "2");
    assert_eq!(client.answer(&refused)["error"]["code"], "UNAVAILABLE");
    // Who looks on is still served.
    client.call("chat.history", json!({"sessionKey": "main"}));
    // A configuration that changes meanwhile is not lost.
    let mut changed = model.config();
    changed["logging"] = json!({"consoleLevel": "debug"});
    home.configure(changed);
    gateway.signal(Sig::Hup);
    let text = client.answer(&id)["payload"]["result"]["payloads"][0]["text"].as_str().unwrap().to_owned();
    assert!(text.ends_with("w19"), "{text}");
    wait_lives(&gateway, 2);
    gateway.wait_line("[gateway] all active work drained");
    gateway.wait_line("config change applied (dynamic reads: logging)");

    // A stop during the drain is a stop.
    let mut client = Client::connect(gateway.port);
    let id = send(&mut client, "3");
    client.answer(&id);
    client.event("agent");
    gateway.signal(Sig::Usr1);
    wait_until("a drain", || gateway.count_lines("draining 1 active") == 2);
    assert_eq!(gateway.stop(), Some(0));
}

#[test]
fn another_address_is_bound_before_or_after_the_old_one_goes() {
    let home = Home::new();
    let (one, two) = (free_port(), free_port());
    home.configure(json!({"gateway": {"port": one}}));
    let mut gateway = Gateway::spawn_args(&home, one, &["gateway"], |_| {});
    wait_lives(&gateway, 1);
    // Another port: the new one first.
    home.configure(json!({"gateway": {"port": two}}));
    gateway.signal(Sig::Hup);
    wait_lives(&gateway, 2);
    Client::connect(two);
    assert!(TcpStream::connect(("127.0.0.1", one)).is_err());
    // A port that is taken: the old one stays, and so do its clients.
    let mut client = Client::connect(two);
    let taken = TcpListener::bind(("127.0.0.1", one)).unwrap();
    home.configure(json!({"gateway": {"port": one}}));
    gateway.signal(Sig::Hup);
    gateway.wait_line(
        "[reload] config restart failed: Gateway failed to start: another gateway instance is already listening",
    );
    client.call("health", json!({}));
    drop(taken);
    // The same port on an address that overlaps: closed, then bound.
    home.configure(json!({"gateway": {"port": two, "bind": "lan"}}));
    gateway.signal(Sig::Hup);
    wait_lives(&gateway, 3);
    gateway.wait_line(&format!("listening on ws://0.0.0.0:{two} "));
    Client::connect(two);
    home.configure(json!({"gateway": {"port": two}}));
    gateway.signal(Sig::Hup);
    wait_lives(&gateway, 4);
    // It cannot be had: nobody is served, everybody is told, and the next attempt finds its way.
    let foreign = listen::open(SocketAddr::from(([127, 0, 0, 2], two))).unwrap();
    home.configure(json!({"gateway": {"port": two, "bind": "lan"}}));
    gateway.signal(Sig::Usr1);
    gateway.wait_line("Process will stay alive; fix the issue and restart.");
    let threads = gateway.proc_status("Threads");
    wait_until("503", || gateway_status(two) == Some(503));
    drop(foreign);
    home.configure(json!({"gateway": {"port": two}}));
    gateway.signal(Sig::Hup);
    wait_lives(&gateway, 5);
    Client::connect(two);
    assert!(gateway.proc_status("Threads") > threads);
    assert_eq!(gateway.stop(), Some(0));
}

/// Status of `/ready`; None when nobody answers.
fn gateway_status(port: u16) -> Option<u16> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.write_all(b"GET /ready HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    text.split(' ').nth(1)?.parse().ok()
}

#[test]
fn a_life_that_cannot_begin_leaves_no_threads() {
    if !Command::new("prlimit").arg("--version").stdout(Stdio::null()).status().is_ok_and(|s| s.success()) {
        return;
    }
    let home = Home::new();
    let port = free_port();
    // Without a log file, which a restart closes and opens again: descriptors are counted here.
    let logging = json!({"level": "silent"});
    home.configure(json!({"gateway": {"port": port, "bind": "lan"}, "logging": logging}));
    let mut gateway = Gateway::spawn_args(&home, port, &["gateway"], |_| {});
    wait_lives(&gateway, 1);
    let pid = gateway.pid().to_string();
    let limit = |files: usize| {
        let set = Command::new("prlimit").args(["--pid", &pid, &format!("--nofile={files}:")]).status().unwrap();
        assert!(set.success());
    };
    let before = gateway.proc_status("Threads");
    // What the start still writes has been closed.
    wait_until("the end of the start", || home.state().join("config-last-good.json").exists());
    let mut last = 0;
    wait_until("no file in between", || std::mem::replace(&mut last, gateway.descriptors()) == last);
    // Two listeners instead of one need two descriptors more; one more is enough for everything before that.
    // The limit is one of numbers, and some that are open may be high ones: inherited.
    let open = |n: &usize| fs::symlink_metadata(format!("/proc/{pid}/fd/{n}")).is_ok();
    let free = (0..).find(|n| !open(n)).expect("few are open");
    limit(free + 1);
    home.configure(json!({"gateway": {"port": port}, "logging": logging}));
    gateway.signal(Sig::Usr1);
    gateway.wait_line("startup failed: Error: accept thread: ");
    // Four have gone: store, hub, runs, accept. One or two have come that answer 503.
    wait_until("the threads of that life to end", || gateway.proc_status("Threads") < before - 1);
    // One for whoever asks.
    limit(free + 2);
    wait_until("503", || gateway_status(port) == Some(503));
    limit(4096);
    gateway.signal(Sig::Hup);
    wait_lives(&gateway, 2);
    Client::connect(port);
    assert_eq!(gateway.stop(), Some(0));
}

#[test]
fn fifty_restarts_under_load_leave_nothing_behind() {
    let home = Home::new();
    home.configure(json!({}));
    let mut gateway = Gateway::start(&home, &[]);
    let (port, pid) = (gateway.port, gateway.pid());
    // More clients while it warms up than afterwards: ended threads leave pages of their stacks for the next ones.
    let load = Arc::new(Load { crew: AtomicUsize::new(10), ..Load::default() });
    let clients: Vec<_> = (0..10)
        .map(|number| {
            let load = load.clone();
            thread::spawn(move || load.connect_until_stopped(number, port))
        })
        .collect();
    let mut lives = 1;
    let mut restart = || {
        gateway.signal(Sig::Usr1);
        lives += 1;
        wait_lives(&gateway, lives);
    };
    // Figures of a life that nobody has connected to.
    let at_rest = |restart: &mut dyn FnMut()| {
        load.paused.store(true, Ordering::SeqCst);
        wait_until("clients to leave", || load.under_way.load(Ordering::SeqCst) == 0);
        restart();
        let figures = quiet_figures(&gateway);
        load.paused.store(false, Ordering::SeqCst);
        figures
    };
    let mut base = (0, 0, 0);
    for n in 0..50 {
        if n == 10 {
            base = at_rest(&mut restart);
            load.crew.store(4, Ordering::SeqCst);
        }
        let before = load.served.load(Ordering::SeqCst);
        wait_until("clients of this life", || load.served.load(Ordering::SeqCst) >= before + 8);
        restart();
    }
    let now = at_rest(&mut restart);
    load.stop.store(true, Ordering::SeqCst);
    clients.into_iter().for_each(|thread| thread.join().unwrap());
    assert_eq!(load.refused.load(Ordering::SeqCst), 0, "connection refused");
    assert_eq!((now.0, now.1), (base.0, base.1), "descriptors and threads");
    assert!(now.2 <= base.2 + 256, "anonymous memory {} kB, forty restarts ago {} kB", now.2, base.2);
    assert_eq!(gateway.pid(), pid);
    assert!(!gateway.output().contains("threads that did not end"), "every thread ended in time");
    assert_eq!(gateway.stop(), Some(0));
}

/// Clients that connect without end.
#[derive(Default)]
struct Load {
    stop: AtomicBool,
    paused: AtomicBool,
    /// How many of the clients are at work.
    crew: AtomicUsize,
    under_way: AtomicUsize,
    served: AtomicUsize,
    refused: AtomicUsize,
}

impl Load {
    fn connect_until_stopped(&self, number: usize, port: u16) {
        while !self.stop.load(Ordering::SeqCst) {
            self.under_way.fetch_add(1, Ordering::SeqCst);
            if self.paused.load(Ordering::SeqCst) || number >= self.crew.load(Ordering::SeqCst) {
                self.under_way.fetch_sub(1, Ordering::SeqCst);
                thread::sleep(Duration::from_millis(5));
                continue;
            }
            match TcpStream::connect(("127.0.0.1", port)) {
                Ok(stream) => {
                    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
                    // A restart may cut it at any point; only that nobody accepts is wrong.
                    if let Ok((mut socket, _)) = tungstenite::client(format!("ws://127.0.0.1:{port}/"), stream)
                        && socket.read().is_ok()
                    {
                        self.served.fetch_add(1, Ordering::SeqCst);
                    }
                }
                Err(_) => drop(self.refused.fetch_add(1, Ordering::SeqCst)),
            }
            self.under_way.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

/// Descriptors, threads, anonymous kB.
fn quiet_figures(gateway: &Gateway) -> (usize, u64, u64) {
    (gateway.descriptors(), gateway.proc_status("Threads"), gateway.proc_status("RssAnon"))
}

#[test]
fn a_thread_that_hangs_makes_a_restart_replace_the_program() {
    // A listener whose backlog is full answers no further connect: the run that asks it cannot be interrupted.
    let deaf = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    deaf.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    deaf.listen(0).unwrap();
    let address = deaf.local_addr().unwrap().as_socket().unwrap();
    let mut full = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(200)) {
        full.push(stream);
        assert!(full.len() < 100, "the backlog has no end");
    }
    let home = Home::new();
    let model = Model::start(vec![Play::words("x")]);
    let mut config = model.config();
    config["models"]["providers"]["mock"]["baseUrl"] = json!(format!("http://{address}/v1"));
    home.configure(config);
    let mut gateway = Gateway::start(&home, &[]);
    let (port, pid) = (gateway.port, gateway.pid());
    let mut client = Client::connect(port);
    client.call("chat.send", json!({"sessionKey": "main", "message": "hi", "idempotencyKey": "k"}));
    let connecting = || {
        let threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
        threads.filter(|t| fs::read_to_string(t.path().join("comm")).is_ok_and(|name| name.trim() == "run-k")).count()
    };
    let to = format!(":{:04X} 02 ", address.port());
    wait_until("the run to connect", || fs::read_to_string("/proc/net/tcp").unwrap().contains(&to));
    assert_eq!(connecting(), 1);
    // The run is over for everybody, its thread is not.
    client.call("chat.abort", json!({"sessionKey": "main"}));
    client.take("the abort", |f| f["payload"]["state"] == "aborted");
    assert_eq!(connecting(), 1);
    gateway.signal(Sig::Usr1);
    gateway.wait_line("threads that did not end: run; starting the program anew");
    wait_lives(&gateway, 2);
    assert_eq!(connecting(), 0, "the ghost is gone");
    gateway.wait_line(&format!("(PID {pid})"));
    Client::connect(port);
    wait_for("the lock", || fs::read_to_string(lock_file(&home)).ok().filter(|text| text.contains(&pid.to_string())));
    assert_eq!(gateway.stop(), Some(0));
    drop(full);
}
