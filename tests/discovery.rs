//! `gateway discover` and the announcement over multicast DNS, with a loopback address in place of the group (cli 4.6).

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use openclaw::discovery::wire::{self, Data, PTR, Packet, Question};
use openclaw::sys::process::Sig;
use serde_json::{Value, json};

use crate::common::{Gateway, Home, finish, patience, stderr, stdout, wait_until};

fn free_address() -> String {
    UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

fn announcing(home: &Home, address: &str, mode: &str) -> Gateway {
    home.configure(json!({"discovery": {"mdns": {"mode": mode}}}));
    Gateway::start_with(home, &[], |c| {
        c.env("OPENCLAW_MDNS_ADDRESS", address);
    })
}

fn discover(home: &Home, address: &str, args: &[&str]) -> (String, String) {
    let all: Vec<&str> = ["gateway", "discover"].iter().chain(args).copied().collect();
    let mut command = home.command(&all);
    command.env("OPENCLAW_MDNS_ADDRESS", address);
    let output = finish(command);
    assert!(output.status.success(), "{}", stderr(&output));
    (stdout(&output), stderr(&output))
}

#[test]
fn nobody_is_found_as_recorded() {
    let home = Home::new();
    let address = free_address();
    let (text, _) = discover(&home, &address, &["--timeout", "200"]);
    assert_eq!(text, "Gateway Discovery\nFound 0 gateway(s) · domains: local.\n");
    let (text, _) = discover(&home, &address, &["--timeout", "200", "--json"]);
    let found: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(found, json!({"timeoutMs": 200, "domains": ["local."], "count": 0, "beacons": []}));
}

#[test]
fn a_gateway_that_announces_itself_is_found_until_it_stops() {
    for mode in ["minimal", "full"] {
        let (home, address) = (Home::new(), free_address());
        let mut gateway = announcing(&home, &address, mode);
        gateway.wait_line("[discovery] announced as _openclaw-gw._tcp.local");
        let (text, _) = discover(&home, &address, &["--timeout", "500", "--json"]);
        let found: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(found["count"], 1, "{text}");
        let beacon = &found["beacons"][0];
        assert_eq!((&beacon["port"], &beacon["role"]), (&json!(gateway.port), &json!("gateway")), "{text}");
        assert_eq!(beacon["addresses"], json!(["127.0.0.1"]));
        let url = format!("ws://{}:{}", beacon["host"].as_str().unwrap(), gateway.port);
        assert_eq!(beacon["wsUrl"], url);
        assert_eq!(beacon.get("cliPath").is_some(), mode == "full", "{text}");
        let (text, _) = discover(&home, &address, &["--timeout", "500"]);
        assert!(text.starts_with("Gateway Discovery\nFound 1 gateway(s) · domains: local.\n- "), "{text}");
        assert!(text.contains(&format!("\n  ws: {url}\n")), "{text}");
        // Still there after a restart in the process; hostile packets change nothing.
        gateway.signal(Sig::Usr1);
        wait_until("the restart", || gateway.count_lines("announced as") == 2);
        let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
        for bytes in [&[0u8; 3][..], &[0xff; 8000], &[0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0xc0, 12, 0, 12, 0, 1]] {
            stranger.send_to(bytes, &address).unwrap();
        }
        let (text, _) = discover(&home, &address, &["--timeout", "500", "--json"]);
        assert!(text.contains("\"count\": 1"), "{text}");
        assert_eq!(gateway.stop(), Some(0));
        let (text, _) = discover(&home, &address, &["--timeout", "200"]);
        assert!(text.contains("Found 0"), "{text}");
    }
}

#[test]
fn questions_are_answered_to_who_asked_and_not_without_end() {
    let (home, address) = (Home::new(), free_address());
    let mut gateway = announcing(&home, &address, "minimal");
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(patience())).unwrap();
    let name = wire::name("_OPENCLAW-GW._tcp.local");
    let questions = vec![Question { name, kind: PTR, unicast: false }];
    let ask = wire::print(&Packet { id: 77, response: false, questions, records: Vec::new() });
    socket.send_to(&ask, &address).unwrap();
    let mut buffer = [0; 9000];
    let (n, _) = socket.recv_from(&mut buffer).unwrap();
    let answer = wire::parse(&buffer[..n]).expect("an answer");
    assert!(answer.id == 77 && answer.response && answer.questions.len() == 1, "{answer:?}");
    assert!(answer.records.iter().all(|record| record.ttl <= 10), "{answer:?}");
    assert!(answer.records.iter().any(|r| matches!(&r.data, Data::Srv { port, .. } if *port == gateway.port)));
    // A flood gets a bounded number of answers.
    let begun = Instant::now();
    (0..500).for_each(|_| drop(socket.send_to(&ask, &address)));
    socket.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    let answers = std::iter::from_fn(|| socket.recv_from(&mut buffer).ok()).count();
    let seconds = begun.elapsed().as_secs() as usize + 1;
    assert!(answers <= 50 * (seconds + 1), "{answers} answers in {seconds} s");
    assert_eq!(gateway.stop(), Some(0));
}

#[test]
fn nothing_is_said_unless_it_is_wanted() {
    let home = Home::new();
    home.configure(json!({}));
    let mut gateway = Gateway::start(&home, &[]);
    assert_eq!(gateway.stop(), Some(0));
    assert!(!gateway.output().contains("[discovery]"), "off by default");
    home.configure(json!({"discovery": {"mdns": {"mode": "full"}}}));
    let mut gateway = Gateway::start_with(&home, &[], |c| {
        c.env("OPENCLAW_DISABLE_BONJOUR", "1").env("OPENCLAW_MDNS_ADDRESS", free_address());
    });
    assert_eq!(gateway.stop(), Some(0));
    assert!(!gateway.output().contains("[discovery]"));
    // A port that cannot be had is a warning.
    let mut gateway = announcing(&home, "192.0.2.1:5353", "minimal");
    gateway.wait_line("[discovery] not announced: 192.0.2.1:5353: ");
    assert_eq!(gateway.stop(), Some(0));
}
