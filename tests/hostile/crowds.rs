//! Many at once: everybody gets in, everybody may leave, strangers compete with each other only.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use super::{assert_serves, gateway, limited, quick, rss};
use crate::common::client::{Client, End, Hello};
use crate::common::raw::{KEY, Raw, frame, upgrade_head};
use crate::common::{Gateway, Home, wait_until};

/// As many clients as asked for, all connecting at the same time.
fn crowd(port: u16, count: usize) -> Vec<Client> {
    let start = Arc::new(Barrier::new(count));
    let connecting: Vec<_> = (0..count)
        .map(|_| {
            let start = start.clone();
            thread::spawn(move || {
                start.wait();
                Client::connect(port)
            })
        })
        .collect();
    connecting.into_iter().map(|c| c.join().expect("everybody gets in")).collect()
}

#[test]
fn two_hundred_get_in_at_once_and_vanish_at_once() {
    let home = Home::new();
    let gateway = gateway(&home);
    let mut witness = Client::connect(gateway.port);
    let idle = gateway.descriptors();
    let clients = crowd(gateway.port, 200);
    assert_eq!(gateway.descriptors(), idle + 200, "one descriptor per client");
    assert_serves(&gateway);
    let listed = witness.call("system-presence", json!({}));
    assert_eq!(listed.as_array().map(Vec::len), Some(200), "the list is full");
    witness.kept();
    let sockets: Vec<_> = clients.into_iter().map(|c| c.socket).collect();
    for socket in &sockets {
        socket.get_ref().shutdown(std::net::Shutdown::Both).expect("a socket");
    }
    wait_until("all sockets to be closed", || gateway.descriptors() <= idle);
    // Answers and broadcasts pass the hub in order: behind this answer no list of that moment is on its way but the
    // last one, which comes a moment later.
    witness.call("system-event", json!({"text": "Node: the end"}));
    let mut lists = 0;
    loop {
        let event = witness.event("presence");
        lists += 1;
        let entries = event["payload"]["presence"].as_array().expect("a list").clone();
        let here = entries.iter().filter(|e| e["reason"] == "connect").count();
        // The witness alone, and perhaps a probe of `assert_serves` that had its entry already.
        if here <= 1 {
            break;
        }
    }
    assert!(lists <= 5, "{lists} lists for 200 clients that left");
    assert_serves(&gateway);
}

#[test]
fn a_thousand_connects_leave_nothing_behind() {
    let home = Home::new();
    let gateway = gateway(&home);
    let cycles = |count: usize| {
        let halves: Vec<_> = (0..2)
            .map(|half| {
                let port = gateway.port;
                thread::spawn(move || {
                    for n in 0..count / 2 {
                        let mut client = Client::connect(port);
                        match (n + half) % 3 {
                            0 => drop(client),
                            1 => {
                                client.socket.close(None).expect("a socket");
                                assert_eq!(client.end(), End::EmptyClose);
                            }
                            _ => {
                                client.send_request("health", json!({}));
                                drop(client);
                            }
                        }
                    }
                })
            })
            .collect();
        halves.into_iter().for_each(|h| h.join().expect("every connect succeeds"));
    };
    cycles(200);
    let (descriptors, threads, before) = (gateway.descriptors(), gateway.proc_status("Threads"), rss(&gateway));
    cycles(1000);
    wait_until("descriptors to return", || gateway.descriptors() <= descriptors);
    // Idle threads of the pool wait for 10 s for the next connection.
    wait_until("threads to return", || gateway.proc_status("Threads") <= threads + 2);
    let grown = rss(&gateway).saturating_sub(before);
    assert!(grown < 2_000, "{grown} kB more after 1,000 connects");
    assert_serves(&gateway);
}

#[test]
fn at_a_cap_the_oldest_stranger_goes_and_never_a_client() {
    let home = Home::new();
    home.configure(json!({}));
    // 128 descriptors: 8 HTTP connections, 56 WebSockets, 32 strangers among them.
    let mut gateway = Gateway::start_with(&home, &[], |command| limited(command, "ulimit -n 128"));
    let mut clients = crowd(gateway.port, 6);
    let mut silent: Vec<Raw> = (0..20).map(|_| Raw::open(gateway.port)).collect();
    for raw in silent.iter_mut().take(10) {
        assert!(raw.rest().is_empty(), "the oldest were cut without an answer");
    }
    assert_serves(&gateway);
    // Upgraded, and then silent: they count as WebSockets that are not through the handshake.
    let upgrade = upgrade_head("GET / HTTP/1.1", "13", KEY);
    let mut halfway: Vec<Raw> = Vec::new();
    for _ in 0..60 {
        let mut raw = Raw::saying(gateway.port, &upgrade);
        assert_eq!(raw.answer().status, 101);
        halfway.push(raw);
    }
    for raw in halfway.iter_mut().take(20) {
        raw.rest();
    }
    assert_serves(&gateway);
    for client in &mut clients {
        client.call("health", json!({}));
    }
    // Clients to the brim: every stranger makes room, then nobody does.
    while clients.len() < 56 {
        clients.push(Client::connect(gateway.port));
    }
    let answer = Raw::saying(gateway.port, &upgrade).answer();
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")), "{answer:?}");
    assert_eq!(gateway.get("/health").0, 200, "HTTP has its own places");
    drop(halfway);
    for client in &mut clients {
        client.call("health", json!({}));
    }
    clients.pop();
    wait_until("the place to be free", || Raw::saying(gateway.port, &upgrade).answer().status == 101);
    assert_eq!(gateway.stop(), Some(0));
}

#[test]
fn every_thread_has_a_name_of_the_table_and_idle_ones_are_few() {
    let home = Home::new();
    let gateway = gateway(&home);
    let mut clients = crowd(gateway.port, 5);
    clients[0].call("system-event", json!({"text": "Node: hello"}));
    let tasks = fs::read_dir(format!("/proc/{}/task", gateway.pid())).expect("our child");
    let names: BTreeSet<String> = tasks
        .flatten()
        .filter_map(|t| fs::read_to_string(t.path().join("comm")).ok())
        .map(|name| name.trim().trim_end_matches(|c: char| c.is_ascii_digit()).to_owned())
        .collect();
    let table = [
        "openclaw-gatewa",
        "signals",
        "ctrl-c",
        "log",
        "log-console",
        "accept",
        "conn-",
        "ws-",
        "hub",
        "runs",
        "run-",
        "cron",
        "reload",
        "store",
        "deliver-",
        "children",
        "pool-",
    ];
    for name in &names {
        assert!(table.iter().any(|known| name.starts_with(known)), "{name} is in no table: {names:?}");
    }
    assert!(gateway.proc_status("Threads") < 30, "{names:?}");
}

#[test]
fn wrong_tokens_lock_an_address_out_also_with_the_right_one() {
    let home = Home::new();
    let limit = json!({"maxAttempts": 4, "windowMs": 60_000, "lockoutMs": 60_000, "exemptLoopback": false});
    home.configure(json!({"gateway": {"auth": {"rateLimit": limit}}}));
    let gateway = Gateway::start(&home, &[]);
    let mut inside = Client::connect(gateway.port);
    let wrong = Hello { token: Some("wrong".into()), ..Hello::default() };
    for attempt in 0..6 {
        let mut client = Client::open(gateway.port);
        let answer = client.hello(&wrong, None);
        let code = if attempt < 4 { "AUTH_TOKEN_MISMATCH" } else { "AUTH_RATE_LIMITED" };
        assert_eq!(answer["error"]["details"]["code"], code, "attempt {attempt}: {answer}");
        assert!(matches!(client.end(), End::Close(1008, _)));
    }
    let answer = Client::open(gateway.port).hello(&Hello::default(), None);
    assert_eq!(answer["error"]["details"]["code"], "AUTH_RATE_LIMITED", "{answer}");
    inside.call("health", json!({}));
    assert_eq!(gateway.get("/health").0, 200, "probes know no lock-out");
    assert_eq!(gateway.get("/readyz").0, 200);
}

#[test]
fn a_blocked_client_does_not_slow_a_broadcast() {
    let home = Home::new();
    let gateway = gateway(&home);
    let mut blocked = super::narrow(gateway.port);
    let mut sender = Client::connect(gateway.port);
    let mut listener = Client::connect(gateway.port);
    // The blocked one asks until its reader is stuck in a write.
    blocked.stream.set_write_timeout(Some(Duration::from_millis(300))).expect("a socket");
    let request = json!({"type": "req", "id": "x".repeat(60_000), "method": "health"}).to_string();
    let asked = (0..1000).take_while(|_| blocked.stream.write_all(&frame(0x81, request.as_bytes())).is_ok());
    assert!(asked.count() < 1000, "it stopped itself");
    let mut times: Vec<Duration> = (0..100)
        .map(|n| {
            let text = format!("Node: pi event {n}");
            let started = Instant::now();
            sender.send_request("system-event", json!({"text": text, "instanceId": "pi"}));
            listener.take("its event", |f| f["event"] == "presence" && f["payload"].to_string().contains(&text));
            started.elapsed()
        })
        .collect();
    times.sort();
    assert!(times[50] < quick() / 10 && times[99] < quick(), "median {:?}, worst {:?}", times[50], times[99]);
}
