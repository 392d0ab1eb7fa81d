//! `gateway discover` and the announcement over multicast DNS, with a loopback address in place of the group (cli 4.6).

#[cfg(target_os = "linux")]
use std::fs;
#[cfg(target_os = "linux")]
use std::io::{BufRead as _, BufReader};
use std::net::UdpSocket;
#[cfg(target_os = "linux")]
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use openclaw::discovery;
use openclaw::discovery::wire::{self, Data, PTR, Packet, Question, Record};
use openclaw::sys::process::Sig;
use serde_json::{Value, json};

use crate::common::tls;
use crate::common::{Gateway, Home, finish, patience, stderr, stdout, wait_for, wait_until};

const ANNOUNCED: &str = "[discovery] announced as _openclaw-gw._tcp.local on port ";

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
        gateway.wait_line(ANNOUNCED);
        gateway.wait_line(&format!("on port {} ({mode}): \"", gateway.port));
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
        assert_eq!(beacon["host"], "openclaw.local");
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
fn a_renewed_certificate_is_announced_with_its_fingerprint() {
    let (home, address) = (Home::new(), free_address());
    home.configure(json!({"discovery": {"mdns": {"mode": "minimal"}}, "gateway": {"tls": {"enabled": true}}}));
    let gateway = Gateway::start_with(&home, &[], |c| {
        c.env("OPENCLAW_MDNS_ADDRESS", &address);
    });
    gateway.wait_line(ANNOUNCED);
    let said = || {
        let (text, _) = discover(&home, &address, &["--timeout", "500", "--json"]);
        let found: Value = serde_json::from_str(&text).unwrap();
        found["beacons"][0]["gatewayTlsFingerprintSha256"].as_str().unwrap_or_default().to_owned()
    };
    wait_until("the first fingerprint", || said() == tls::fingerprint(gateway.port));
    let [cert, key] = tls::pair(90);
    let dir = home.state().join("gateway").join("tls");
    std::fs::write(dir.join("gateway-cert.pem"), &cert).unwrap();
    std::fs::write(dir.join("gateway-key.pem"), key).unwrap();
    wait_until("the next one", || said() == tls::fingerprint_of(&cert));
}

#[test]
fn questions_are_answered_to_who_asked_and_not_without_end() {
    let (home, address) = (Home::new(), free_address());
    let mut gateway = announcing(&home, &address, "minimal");
    gateway.wait_line(ANNOUNCED);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(patience())).unwrap();
    let name = wire::name("_OPENCLAW-GW._tcp.local");
    let questions = vec![Question { name, kind: PTR, unicast: false }];
    let ask = wire::print(&Packet { id: 77, response: false, questions, ..Packet::default() });
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

#[test]
fn a_name_that_somebody_has_is_left_to_them() {
    let (home, address) = (Home::new(), free_address());
    let mut gateway = announcing(&home, &address, "minimal");
    let own = openclaw::sys::host::hostname();
    let own = format!("{} (OpenClaw)", own.split('.').next().unwrap());
    let instance = [vec![own.clone()], wire::name(discovery::SERVICE)].concat();
    let srv = Data::Srv { port: 1, host: wire::name("elsewhere.local") };
    let records = vec![
        Record { name: instance, ttl: 120, data: srv },
        Record { name: wire::name("openclaw.local"), ttl: 120, data: Data::A([10, 0, 0, 1].into()) },
    ];
    let claim = wire::print(&Packet { response: true, records, ..Packet::default() });
    let other = UdpSocket::bind("127.0.0.1:0").unwrap();
    // Whether it still asks or has begun to say it: it asks anew and is told.
    let renamed = format!("[discovery] gateway name conflict resolved; newName=\"{own} (2)\"");
    wait_until("another name", || {
        other.send_to(&claim, &address).unwrap();
        gateway.output().contains(&renamed)
    });
    gateway.wait_line("[discovery] gateway hostname conflict resolved; newHostname=\"openclaw-2\"");
    gateway.wait_line(&format!("(minimal): \"{own} (2)\" at openclaw-2.local"));
    let (text, _) = discover(&home, &address, &["--timeout", "500", "--json"]);
    let found: Value = serde_json::from_str(&text).unwrap();
    let beacon = &found["beacons"][0];
    assert_eq!(beacon["instanceName"], format!("{own} (2)"), "{text}");
    assert_eq!((&beacon["host"], &beacon["lanHost"]), (&json!("openclaw-2.local"), &json!("openclaw-2.local")));
    assert_eq!(gateway.count_lines("conflict resolved"), 2, "once each: {}", gateway.output());
    assert_eq!(gateway.stop(), Some(0));
}

/// A machine as far as the network goes: a namespace that ends with its process.
#[cfg(target_os = "linux")]
struct Machine(Child);

#[cfg(target_os = "linux")]
impl Machine {
    fn new() -> Option<Machine> {
        let child = Command::new("unshare")
            .args(["-n", "sh", "-c", "ip link set lo up && echo ready && exec sleep 600"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .stdin(Stdio::null())
            .spawn();
        let mut machine = Machine(child.ok()?);
        let mut line = String::new();
        let _ = BufReader::new(machine.0.stdout.take()?).read_line(&mut line);
        (line == "ready\n").then_some(machine)
    }

    fn pid(&self) -> String {
        self.0.id().to_string()
    }

    fn inside(&self, command: &mut Command) {
        let mut wrapped = Command::new("nsenter");
        wrapped.args(["-t", &self.pid(), "-n"]).arg(command.get_program()).args(command.get_args());
        wrapped.env_clear().stdin(Stdio::null());
        wrapped.envs(command.get_envs().filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned()))));
        *command = wrapped;
    }

    fn ip(&self, args: &str) {
        let mut wrapped = Command::new("nsenter");
        wrapped.args(["-t", &self.pid(), "-n", "ip"]).args(args.split(' '));
        assert!(wrapped.status().expect("nsenter").success(), "ip {args}");
    }

    fn gateway(&self, home: &Home) -> Gateway {
        home.configure(json!({"discovery": {"mdns": {"mode": "minimal"}}}));
        // Both on the port that they would have by themselves.
        let mut command = home.command(&["gateway", "--port", "18789"]);
        self.inside(&mut command);
        let gateway = Gateway::spawn_command(command, 18789);
        gateway.wait_line("listening on ws://");
        gateway
    }

    /// What `gateway discover` finds, by name.
    fn finds(&self, home: &Home) -> Vec<Value> {
        let mut command = home.command(&["gateway", "discover", "--timeout", "800", "--json"]);
        self.inside(&mut command);
        let output = finish(command);
        assert!(output.status.success(), "{}", stderr(&output));
        let found: Value = serde_json::from_str(&stdout(&output)).unwrap();
        found["beacons"].as_array().unwrap().clone()
    }
}

#[cfg(target_os = "linux")]
impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[cfg(target_os = "linux")]
#[test]
fn two_machines_find_each_other_in_both_families_and_by_different_names() {
    let (Some(here), Some(there)) = (Machine::new(), Machine::new()) else {
        return println!("skipped: networks of one's own need root, unshare and ip");
    };
    let (home, other) = (Home::new(), Home::new());
    // It starts before its network, as machines do.
    let mut first = here.gateway(&home);
    first.wait_line("[discovery] no network to be announced in; it is looked for");
    let link = format!("link add lan0 netns {} type veth peer name lan0 netns {}", here.pid(), there.pid());
    assert!(Command::new("ip").args(link.split(' ')).status().expect("ip").success());
    for (machine, address) in [(&here, "10.77.0.1/24"), (&there, "10.77.0.2/24")] {
        machine.ip(&format!("addr add {address} dev lan0"));
        machine.ip("link set lan0 up");
    }
    first.wait_line(ANNOUNCED);
    let beacon = wait_for("the other machine", || there.finds(&other).pop());
    let own = format!("{} (OpenClaw)", openclaw::sys::host::hostname().split('.').next().unwrap());
    assert_eq!(beacon["instanceName"], own);
    assert_eq!(beacon["wsUrl"], "ws://openclaw.local:18789");
    let addresses = beacon["addresses"].as_array().unwrap();
    assert_eq!(addresses[0], "10.77.0.1", "{beacon}");
    assert!(addresses[1].as_str().is_some_and(|address| address.starts_with("fe80::")), "{beacon}");

    // The second one of that name takes another, and both are found.
    let mut second = there.gateway(&other);
    second.wait_line(&format!("newName=\"{own} (2)\""));
    second.wait_line("newHostname=\"openclaw-2\"");
    second.wait_line(&format!("(minimal): \"{own} (2)\" at openclaw-2.local"));
    assert_eq!(first.count_lines("conflict"), 0, "who was first keeps its name: {}", first.output());
    let names = |found: Vec<Value>| found.iter().map(|b| b["instanceName"].clone()).collect::<Vec<_>>();
    wait_until("both", || names(here.finds(&home)) == [own.clone(), format!("{own} (2)")]);

    // Without IPv4 there is still IPv6.
    there.ip("addr del 10.77.0.2/24 dev lan0");
    wait_until("both by IPv6", || names(there.finds(&other)).len() == 2);

    // The first one leaves with a goodbye.
    assert_eq!(first.stop(), Some(0));
    wait_until("one", || names(there.finds(&other)) == [format!("{own} (2)")]);
    assert_eq!(second.stop(), Some(0));
}

#[cfg(target_os = "linux")]
#[test]
fn who_is_announced_and_left_alone_sleeps() {
    let (home, address) = (Home::new(), free_address());
    let mut gateway = announcing(&home, &address, "minimal");
    gateway.wait_line(ANNOUNCED);
    let tasks = fs::read_dir(format!("/proc/{}/task", gateway.pid())).unwrap().flatten().map(|task| task.path());
    let mdns: Vec<_> =
        tasks.filter(|task| fs::read_to_string(task.join("comm")).is_ok_and(|name| name == "mdns\n")).collect();
    assert_eq!(mdns.len(), 1, "one thread");
    let switches = || {
        let status = fs::read_to_string(mdns[0].join("status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:")).unwrap();
        line.trim().parse::<u64>().unwrap()
    };
    // The second announcement comes after a second, then nothing for good: three seconds without a wake-up.
    let mut last = (switches(), Instant::now());
    wait_until("silence", || {
        let now = switches();
        if now != last.0 {
            last = (now, Instant::now());
        }
        last.1.elapsed() > Duration::from_secs(3)
    });
    assert_eq!(gateway.stop(), Some(0));
}
