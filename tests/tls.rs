//! `gateway.tls` (http 2.6): HTTP and WebSocket over TLS 1.3, its certificate, hostile peers, and our own commands as
//! clients of it.

use std::fs;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use openclaw::ids;
use openclaw::server::listen;
use openclaw::sys::process::Sig;
use serde_json::{Value, json};

use crate::common::client::Client;
use crate::common::model::{Model, Play};
use crate::common::raw::{KEY, frame, upgrade_head};
use crate::common::tls::{self, TlsStream};
use crate::common::{Gateway, Home, TOKEN, finish, merge, patience, stderr, stdout, wait_until};

const HEALTH: &[u8] = b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n";

fn secured(more: Value) -> (Home, Gateway) {
    let home = Home::new();
    configure(&home, more);
    let gateway = Gateway::start(&home, &[]);
    (home, gateway)
}

fn configure(home: &Home, more: Value) {
    let mut config = json!({"gateway": {"tls": {"enabled": true}}});
    merge(&mut config, more);
    home.configure(config);
}

fn assert_serves(gateway: &Gateway) {
    let mut raw = tls::raw(gateway.port);
    raw.send(HEALTH);
    assert_eq!(raw.answer().status, 200);
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap_or_else(|e| panic!("{}: {e}", path.display())).permissions().mode() & 0o777
}

// ── Serving ────────────────────────────────────────────────────────────────────────────────────────────

#[test]
fn requests_and_a_websocket_are_served_on_one_port() {
    let (_home, gateway) = secured(json!({}));
    gateway.wait_line(&format!("listening on wss://127.0.0.1:{}", gateway.port));
    let mut raw = tls::raw(gateway.port);
    for _ in 0..3 {
        raw.send(&HEALTH.repeat(2));
        for _ in 0..2 {
            let answer = raw.answer();
            assert_eq!((answer.status, answer.body.as_str()), (200, "{\"ok\":true,\"status\":\"live\"}"));
            assert_eq!(answer.header("connection"), Some("keep-alive"));
        }
    }
    raw.send(b"POST /nope HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 20000\r\n\r\n");
    raw.send(&[b'x'; 20_000]);
    assert_eq!(raw.answer().status, 404);
    // The peer says that this is the end; without that a client has to take it for a cut.
    assert_eq!(raw.stream.read(&mut [0; 8]).expect("a goodbye"), 0);

    let mut client = tls::client(gateway.port);
    assert_eq!(client.call("health", json!({}))["ok"], true);
    // Messages of several records, both ways.
    let params = json!({"text": "x".repeat(100_000)});
    assert_eq!(client.request("system-event", params)["ok"], true);
    // An early frame in the record of the upgrade.
    let mut raw = tls::raw(gateway.port);
    raw.send(&[upgrade_head("GET / HTTP/1.1", "13", KEY).into_bytes(), frame(0x89, b"early")].concat());
    assert_eq!(raw.try_answer(false).expect("an answer").status, 101);
    raw.send(&frame(0x88, &[3, 232]));
    let bytes = raw.rest();
    assert!(bytes.windows(7).any(|w| w == b"\x8a\x05early") && bytes.ends_with(&[0x88, 2, 3, 232]), "{bytes:?}");
}

#[test]
fn turns_and_streams_come_over_tls() {
    let model = Model::start(vec![Play::words("all over the wire")]);
    let mut config = model.config();
    merge(&mut config, json!({"gateway": {"http": {"endpoints": {"chatCompletions": {"enabled": true}}}}}));
    let (_home, gateway) = secured(config);
    let mut client = tls::client(gateway.port);
    let params = json!({"sessionKey": "main", "message": "hi", "idempotencyKey": "k1"});
    assert_eq!(client.call("chat.send", params)["status"], "started");
    let last = client.take("the final words", |f| f["event"] == "chat" && f["payload"]["state"] == "final");
    assert_eq!(last["payload"]["message"]["content"][0]["text"], "all over the wire");

    let body =
        json!({"model": "openclaw", "stream": true, "messages": [{"role": "user", "content": "hi"}]}).to_string();
    let mut raw = tls::raw(gateway.port);
    for _ in 0..2 {
        raw.send(
            format!(
                "POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: \
                 {}\r\n\r\n{body}",
                body.len()
            )
            .as_bytes(),
        );
        let answer = raw.try_answer(false).expect("an answer");
        assert_eq!((answer.status, answer.header("transfer-encoding")), (200, Some("chunked")), "{answer:?}");
        raw.read_until(b"wire");
        raw.read_until(b"data: [DONE]\n\n");
        raw.read_until(b"\r\n0\r\n\r\n");
    }
    // The connection is as good as before.
    raw.send(HEALTH);
    assert_eq!(raw.answer().status, 200);
}

/// A stream whose model is slow, up to its first words.
fn streaming(gateway: &Gateway) -> crate::common::raw::Raw<TlsStream> {
    let body =
        json!({"model": "openclaw", "stream": true, "messages": [{"role": "user", "content": "hi"}]}).to_string();
    let mut raw = tls::raw(gateway.port);
    raw.send(
        format!(
            "POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: \
             {}\r\n\r\n{body}",
            body.len()
        )
        .as_bytes(),
    );
    assert_eq!(raw.try_answer(false).expect("an answer").status, 200);
    raw.read_until(b"slowly");
    raw
}

#[test]
fn a_client_that_hangs_up_in_the_middle_of_a_stream_ends_its_run_and_one_that_only_stops_asking_does_not() {
    let words = format!("slowly {}", "and surely ".repeat(12));
    let model = Model::start(vec![Play::slow(&words, Duration::from_millis(150))]);
    let mut config = model.config();
    merge(&mut config, json!({"gateway": {"http": {"endpoints": {"chatCompletions": {"enabled": true}}}}}));
    let (_home, gateway) = secured(config);
    // It says goodbye and reads on.
    let mut half = streaming(&gateway);
    half.stream.conn.send_close_notify();
    half.stream.flush().expect("room");
    half.read_until(b"data: [DONE]\n\n");
    // It is gone, with and without a goodbye.
    for (goodbye, gone) in [(true, 1), (false, 2)] {
        let mut stream = streaming(&gateway).stream;
        if goodbye {
            stream.conn.send_close_notify();
            stream.flush().expect("room");
        }
        drop(stream);
        wait_until("the end of the run", || gateway.count_lines("aborted (disconnect)") == gone);
    }
    assert_serves(&gateway);
}

#[test]
fn keys_are_renewed_as_often_as_a_client_wants_and_not_for_nothing() {
    let (_home, gateway) = secured(json!({}));
    let mut client = tls::client(gateway.port);
    for _ in 0..50 {
        client.socket.get_mut().conn.refresh_traffic_keys().expect("TLS 1.3");
        assert_eq!(client.call("health", json!({}))["ok"], true);
    }
    // Nothing but new keys: the connection ends, with the reason as an alert.
    let mut idle = tls::open(gateway.port);
    let ended = (0..1000).any(|_| {
        idle.conn.refresh_traffic_keys().expect("TLS 1.3");
        idle.flush().is_err()
    });
    let mut heard = Vec::new();
    assert!(ended || idle.read_to_end(&mut heard).is_err());
    assert!(heard.is_empty());
    assert_serves(&gateway);
}

#[test]
fn a_broken_record_ends_the_connection_with_its_reason() {
    let (_home, gateway) = secured(json!({}));
    // Application data that nobody encrypted.
    let broken = [&[23, 3, 3, 0, 40][..], &[7; 40]].concat();
    let mut stream = tls::open(gateway.port);
    stream.sock.write_all(&broken).expect("room");
    let error = stream.read_to_end(&mut Vec::new()).expect_err("an alert");
    assert!(error.to_string().contains("BadRecordMac"), "{error}");
    let mut client = tls::client(gateway.port);
    client.socket.get_mut().sock.write_all(&broken).expect("room");
    client.end();
    assert_serves(&gateway);
}

// ── Certificates ───────────────────────────────────────────────────────────────────────────────────────

#[test]
fn a_certificate_is_made_once_for_the_owner_alone() {
    let (home, mut gateway) = secured(json!({}));
    let dir = home.state().join("gateway").join("tls");
    let (cert, key) = (dir.join("gateway-cert.pem"), dir.join("gateway-key.pem"));
    assert_eq!((mode(&dir), mode(&cert), mode(&key)), (0o700, 0o600, 0o600));
    assert_eq!(fs::read_dir(&dir).expect("a directory").count(), 2);
    let shown = tls::fingerprint(gateway.port);
    gateway.wait_line(&format!("tls certificate fingerprint sha256:{shown}"));
    assert_eq!(gateway.stop(), Some(0));
    let (cert_text, key_text) = (fs::read(&cert).unwrap(), fs::read(&key).unwrap());
    let gateway = Gateway::start(&home, &[]);
    assert_eq!(tls::fingerprint(gateway.port), shown);
    assert_eq!((fs::read(&cert).unwrap(), fs::read(&key).unwrap()), (cert_text, key_text));
    assert!(!gateway.output().contains("made a certificate"), "{}", gateway.output());
}

/// Files as certbot keeps them: links into an archive, which are put anew one after the other.
struct Live {
    dir: std::path::PathBuf,
    versions: usize,
}

impl Live {
    fn new(home: &Home) -> Live {
        let dir = home.path().join("letsencrypt");
        fs::create_dir_all(dir.join("live")).expect("a directory");
        fs::create_dir_all(dir.join("archive")).expect("a directory");
        Live { dir, versions: 0 }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.join("live").join(name)
    }

    fn config(&self) -> Value {
        json!({"gateway": {"tls": {"certPath": self.path("fullchain.pem"), "keyPath": self.path("privkey.pem")}}})
    }

    /// The fingerprint of the new certificate.
    fn renew(&mut self) -> String {
        let [cert, key] = tls::pair(90);
        self.versions += 1;
        for (name, text) in [("fullchain", &cert), ("privkey", &key)] {
            let file = format!("{name}{}.pem", self.versions);
            fs::write(self.dir.join("archive").join(&file), text).expect("a file");
            let link = self.path(&format!("{name}.pem"));
            let _ = fs::remove_file(&link);
            std::os::unix::fs::symlink(Path::new("../archive").join(&file), link).expect("a link");
        }
        tls::fingerprint_of(&cert)
    }
}

#[test]
fn a_renewal_takes_effect_by_itself_and_nobody_is_disconnected() {
    let home = Home::new();
    let mut live = Live::new(&home);
    let first = live.renew();
    configure(&home, live.config());
    let gateway = Gateway::start(&home, &[]);
    assert_eq!(tls::fingerprint(gateway.port), first);
    let mut client = tls::client(gateway.port);
    for _ in 0..2 {
        let renewed = live.renew();
        gateway.wait_line(&format!("tls certificate read; fingerprint sha256:{renewed}"));
        assert_eq!(tls::fingerprint(gateway.port), renewed);
        let mut command = home.command(&["health"]);
        command.env("OPENCLAW_GATEWAY_PORT", gateway.port.to_string());
        let health = finish(command);
        assert!(health.status.success(), "{}", stderr(&health));
    }
    assert_eq!(client.call("health", json!({}))["ok"], true, "who is connected notices nothing");
    // Nothing but a new date is not worth a word.
    let read = gateway.count_lines("tls certificate read");
    let same = fs::read(live.path("fullchain.pem")).expect("a file");
    fs::write(live.path("fullchain.pem"), same).expect("a file");
    // What cannot be used changes nothing, and what comes behind it counts.
    let shown = tls::fingerprint(gateway.port);
    fs::write(live.path("privkey.pem"), "rubbish").expect("a file");
    gateway.wait_line("tls certificate not renewed, the old one stays: ");
    assert_eq!((tls::fingerprint(gateway.port), gateway.count_lines("tls certificate read")), (shown, read));
    let renewed = live.renew();
    gateway.wait_line(&format!("tls certificate read; fingerprint sha256:{renewed}"));
    assert_eq!(client.call("health", json!({}))["ok"], true);
}

#[test]
fn sighup_reads_the_certificate_in_any_case() {
    let (home, gateway) = secured(json!({}));
    let dir = home.state().join("gateway").join("tls");
    let before = tls::fingerprint(gateway.port);
    gateway.signal(Sig::Hup);
    gateway.wait_line(&format!("tls certificate read; fingerprint sha256:{before}"));
    // A pair that is gone is not made anew while clients know the old one, unless somebody asks.
    for name in ["gateway-cert.pem", "gateway-key.pem"] {
        fs::remove_file(dir.join(name)).expect("a file");
    }
    gateway.wait_line("tls certificate not renewed, the old one stays: cert/key missing");
    assert!(!dir.join("gateway-cert.pem").exists());
    assert_eq!(tls::fingerprint(gateway.port), before);
    gateway.signal(Sig::Hup);
    wait_until("the new one", || tls::fingerprint(gateway.port) != before);
    // A configuration that cannot be read does not keep a renewal from taking effect.
    home.write_config("{ broken");
    let [cert, key] = tls::pair(90);
    fs::write(dir.join("gateway-cert.pem"), &cert).expect("a file");
    fs::write(dir.join("gateway-key.pem"), &key).expect("a file");
    wait_until("the next one", || tls::fingerprint(gateway.port) == tls::fingerprint_of(&cert));
}

#[test]
fn a_certificate_that_is_over_is_warned_of_and_served() {
    let (home, dir) = (Home::new(), Home::new());
    let (cert, key) = (dir.path().join("c.pem"), dir.path().join("k.pem"));
    configure(&home, json!({"gateway": {"tls": {"certPath": cert, "keyPath": key}}}));
    for (days, said) in [(-3, "expired on "), (10, "expires on "), (300, "")] {
        let [cert_text, key_text] = tls::pair(days);
        fs::write(&cert, &cert_text).expect("a file");
        fs::write(&key, key_text).expect("a file");
        let mut gateway = Gateway::start(&home, &[]);
        assert_eq!(tls::fingerprint(gateway.port), tls::fingerprint_of(&cert_text));
        assert_eq!(gateway.stop(), Some(0));
        let warned = gateway.output().contains(" tls: the certificate ");
        assert!(gateway.output().contains(said) && warned != said.is_empty(), "{}", gateway.output());
    }
}

#[test]
fn while_a_restart_has_failed_everybody_is_told_so_over_tls() {
    let home = Home::new();
    configure(&home, json!({}));
    let mut gateway = Gateway::start(&home, &[]);
    let port = gateway.port;
    let shown = tls::fingerprint(port);
    // The same port on all addresses, of which somebody else has one.
    let foreign = listen::open(SocketAddr::from(([127, 0, 0, 2], port))).expect("an address");
    configure(&home, json!({"gateway": {"bind": "lan"}}));
    gateway.wait_line("Process will stay alive; fix the issue and restart.");
    let mut raw = tls::raw(port);
    raw.send(HEALTH);
    let answer = raw.answer();
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("5")), "{answer:?}");
    assert_eq!(raw.stream.read(&mut [0; 8]).expect("a goodbye"), 0);
    assert_eq!(tls::fingerprint(port), shown);
    // Who speaks no TLS, or says nothing, holds nobody up for long.
    assert_eq!(tls::says_to(port, HEALTH), b"");
    let _silent = std::net::TcpStream::connect(("127.0.0.1", port)).expect("a place");
    let mut raw = tls::raw(port);
    raw.send(HEALTH);
    assert_eq!(raw.answer().status, 503);
    drop(foreign);
    configure(&home, json!({}));
    wait_until("the next life", || gateway.count_lines("] listening on wss://") == 2);
    assert_serves(&gateway);
    assert_eq!(gateway.stop(), Some(0));
}

#[test]
fn what_is_wrong_with_the_files_is_said_before_anything_listens() {
    let home = Home::new();
    let here = |name: &str| home.path().join(name).display().to_string();
    fs::write(home.path().join("text.pem"), "hello").expect("a file");
    let own = home.state().join("gateway").join("tls").join("gateway-cert.pem");
    let missing = "Gateway failed to start: Error: gateway tls: cert/key missing";
    let unusable = "Gateway failed to start: Error: gateway tls: failed to load cert (";
    for (settings, first, second) in [
        (json!({"autoGenerate": false}), missing, "there is no"),
        (json!({"certPath": here("none.pem")}), missing, "none.pem"),
        (json!({"certPath": here("text.pem")}), missing, "gateway-key.pem"),
        (
            json!({"certPath": here("text.pem"), "keyPath": here("text.pem")}),
            unusable,
            "text.pem: no certificate in PEM",
        ),
    ] {
        let mut config = json!({"gateway": {"tls": {"enabled": true}}});
        merge(&mut config, json!({"gateway": {"tls": settings}}));
        home.configure(config);
        let mut gateway = Gateway::spawn(&home, &[], |_| {});
        assert_eq!(gateway.wait_exit().code(), Some(1));
        wait_until("its last line", || gateway.output().contains("Fix: "));
        let said = gateway.output();
        assert!(said.contains(first) && said.contains(second) && !said.contains("listening on"), "{said}");
        assert!(!own.exists());
    }
    // A directory that cannot be written.
    fs::write(home.state().join("gateway"), "in the way").expect("a file");
    configure(&home, json!({}));
    let mut gateway = Gateway::spawn(&home, &[], |_| {});
    assert_eq!(gateway.wait_exit().code(), Some(1));
    gateway.wait_line("Gateway failed to start: Error: gateway tls: failed to generate cert (");
}

// ── Peers ──────────────────────────────────────────────────────────────────────────────────────────────

/// The first flight of a client, as bytes.
fn client_hello(port: u16, versions: &[&'static rustls::SupportedProtocolVersion]) -> Vec<u8> {
    let mut bytes = Vec::new();
    tls::begin(port, versions).conn.write_tls(&mut bytes).expect("memory");
    bytes
}

#[test]
fn old_versions_get_an_alert_and_who_speaks_no_tls_gets_nothing() {
    let (_home, gateway) = secured(json!({}));
    let old = client_hello(gateway.port, &[&rustls::version::TLS12]);
    // Alert record, two bytes: fatal, protocol_version.
    let alert = tls::says_to(gateway.port, &old);
    assert_eq!((alert[0], &alert[5..]), (21, &[2, 70][..]), "{alert:?}");
    for bytes in [&b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n"[..], b"\r\n\r\n", b"SSH-2.0-x\r\n", &[0x80; 400], &[0; 9]]
    {
        assert_eq!(tls::says_to(gateway.port, bytes), b"", "{bytes:?}");
    }
    // What begins like TLS and is none gets an alert at most.
    let hello = client_hello(gateway.port, &[&rustls::version::TLS13]);
    for at in [1, 5, 9, 20, 43, hello.len() - 3] {
        let mut broken = hello.clone();
        broken[at] ^= 0xff;
        broken.extend_from_slice(&[0xff; 64]);
        let heard = tls::says_to(gateway.port, &broken);
        assert!(heard.is_empty() || heard[0] == 21 || heard[0] == 22, "{at}: {heard:?}");
    }
    assert_serves(&gateway);
}

#[test]
fn a_handshake_that_stops_or_drips_ends_at_its_deadline() {
    let (_home, gateway) = secured(json!({}));
    let hello = client_hello(gateway.port, &[&rustls::version::TLS13]);
    let opened = Instant::now();
    let connect = |said: &[u8]| {
        let mut stream = std::net::TcpStream::connect(("127.0.0.1", gateway.port)).expect("the gateway accepts");
        stream.write_all(said).expect("room");
        stream.set_nonblocking(true).expect("a socket");
        stream
    };
    let before = gateway.proc_status("VmRSS");
    let mut open = vec![connect(b""), connect(&hello[..hello.len() / 2]), connect(&hello[..6]), connect(&hello)];
    open.extend((0..150).map(|n| connect(&hello[..1 + n])));
    assert_serves(&gateway);
    let grown = gateway.proc_status("VmRSS").saturating_sub(before);
    assert!(grown < 20_000, "{grown} kB for 150 handshakes that do not go on");
    let mut dripped = 6;
    wait_until("all of them to be closed", || {
        if let Some(drip) = hello.get(dripped).filter(|_| open.len() > 2) {
            let _ = open[2].write(&[*drip]);
            dripped = (dripped + 1).min(hello.len() - 2);
        }
        std::thread::sleep(Duration::from_millis(50));
        open.iter_mut().all(|stream| {
            let mut heard = [0; 4096];
            loop {
                match stream.read(&mut heard) {
                    Ok(0) => return true,
                    Ok(_) => {}
                    Err(e) => return e.kind() != std::io::ErrorKind::WouldBlock,
                }
            }
        })
    });
    let took = opened.elapsed();
    let slack = patience() / 5;
    assert!(took >= Duration::from_secs(9) && took < Duration::from_secs(11) + slack, "{took:?}");
    assert_serves(&gateway);
}

#[test]
fn a_record_that_drips_into_a_websocket_does_not_keep_it_from_being_watched() {
    let (_home, gateway) = secured(json!({}));
    let mut raw = tls::raw(gateway.port);
    raw.send(HEALTH);
    assert_eq!(raw.answer().status, 200);
    // A record of 16 KiB of which a byte comes now and then: the keep-alive limit of 5 s counts for all of it.
    let mut sock = raw.stream.sock.try_clone().expect("a socket");
    sock.write_all(&[23, 3, 3, 0x40, 0]).expect("room");
    let begun = Instant::now();
    sock.set_read_timeout(Some(Duration::from_millis(200))).expect("a socket");
    loop {
        let _ = sock.write(&[0]);
        match sock.read(&mut [0; 256]) {
            Ok(0) => break,
            Err(e) if e.kind() != std::io::ErrorKind::WouldBlock => break,
            _ => assert!(begun.elapsed() < patience(), "it is still open"),
        }
    }
    assert!(begun.elapsed() < Duration::from_secs(8) + patience() / 10, "{:?}", begun.elapsed());
}

#[test]
fn a_client_that_never_reads_is_closed_and_the_others_get_everything() {
    let model = Model::start(vec![Play::words("hello")]);
    let mut config = model.config();
    merge(&mut config, json!({"gateway": {"maxBufferedBytes": 1_000_000}}));
    let (_home, gateway) = secured(config);
    let mut sender = tls::client(gateway.port);
    // The session that notes are injected into.
    let id = sender.send_request("agent", json!({"message": "hi", "sessionKey": "main", "idempotencyKey": "k"}));
    sender.answer(&id);
    sender.answer(&id);
    let mut sleeper = tls::narrow_client(gateway.port);
    let mut reader = tls::client(gateway.port);
    let before = gateway.proc_status("VmRSS");
    let text = "x".repeat(50_000);
    let mut last = 0;
    for n in 0..200 {
        sender.call("chat.inject", json!({"sessionKey": "main", "message": format!("{n} {text}")}));
        sender.kept();
        loop {
            let frame = reader.frame();
            let Some(seq) = frame["seq"].as_u64() else { continue };
            assert_eq!(seq, last + 1, "a gap before {}", frame["event"]);
            last = seq;
            if frame["event"] == "chat" {
                assert!(frame.to_string().contains(&format!("{n} x")), "{n}");
                break;
            }
        }
    }
    gateway.wait_line("does not read its events and was closed (1008 slow consumer)");
    assert_eq!(gateway.count_lines("slow consumer"), 1, "the reader and the sender were not slow");
    let grown = gateway.proc_status("VmRSS").saturating_sub(before);
    assert!(grown < 12_000, "{grown} kB for a client that may hold 1 MB");
    sleeper.end();
    assert!(sleeper.kept().len() < 200);
    assert_eq!(sender.call("health", json!({}))["ok"], true);
}

#[test]
fn a_thousand_connections_leave_nothing_behind() {
    let (_home, gateway) = secured(json!({}));
    let round = |count: usize| {
        for n in 0..count {
            match n % 4 {
                0 => drop(tls::client(gateway.port)),
                1 => assert_serves(&gateway),
                2 => drop(tls::says_to(gateway.port, b"GET / HTTP/1.0\r\n\r\n")),
                _ => drop(tls::open(gateway.port)),
            }
        }
    };
    round(200);
    wait_until("the first ones to be gone", || gateway.descriptors() < 40);
    let (descriptors, rss) = (gateway.descriptors(), gateway.proc_status("VmRSS"));
    round(1000);
    wait_until("their descriptors to be gone", || gateway.descriptors() <= descriptors);
    let grown = gateway.proc_status("VmRSS").saturating_sub(rss);
    assert!(grown < 4096, "{grown} kB more than before");
}

#[test]
fn idle_clients_are_small() {
    let (_home, gateway) = secured(json!({}));
    drop(tls::client(gateway.port));
    wait_until("the first to be gone", || gateway.output().contains("listening"));
    let (before, descriptors) = (gateway.proc_status("RssAnon"), gateway.descriptors());
    let clients: Vec<Client<TlsStream>> = (0..64).map(|_| tls::client(gateway.port)).collect();
    let each = gateway.proc_status("RssAnon").saturating_sub(before) / 64;
    println!("{each} kB for an idle client over TLS");
    // Debug builds have larger frames.
    assert!(each <= 96 * if cfg!(debug_assertions) { 2 } else { 1 }, "{each} kB for an idle client");
    assert!(gateway.descriptors() <= descriptors + 64, "one descriptor for each");
    drop(clients);
}

// ── Our own commands ───────────────────────────────────────────────────────────────────────────────────

#[test]
fn commands_on_this_machine_know_the_certificate() {
    let (home, mut gateway) = secured(json!({}));
    let port = gateway.port.to_string();
    let run = |args: &[&str]| {
        let mut command = home.command(args);
        command.env("OPENCLAW_GATEWAY_PORT", &port);
        finish(command)
    };
    let health = run(&["health", "--json"]);
    assert!(health.status.success(), "{}", stderr(&health));
    let url = format!("wss://127.0.0.1:{port}");
    let status = stdout(&run(&["gateway", "status"]));
    assert!(status.contains(&url) && status.contains("RPC probe: ok"), "{status}");
    let probe: Value = serde_json::from_slice(&run(&["gateway", "probe", "--json"]).stdout).expect("JSON");
    assert_eq!((&probe["ok"], &probe["network"]["localLoopbackUrl"]), (&json!(true), &json!(url)));
    let doctor = stdout(&run(&["doctor"]));
    assert!(doctor.contains(&format!("Gateway answers on port {port}")), "{doctor}");
    let dashboard = stdout(&run(&["dashboard", "--no-open"]));
    assert!(dashboard.contains(&format!("https://127.0.0.1:{port}/")), "{dashboard}");
    // The same gateway by its address.
    let called = run(&["gateway", "call", "health", "--url", &url, "--token", TOKEN]);
    assert!(called.status.success(), "{}", stderr(&called));
    assert_eq!(gateway.stop(), Some(0));
    let down = run(&["gateway", "call", "health"]);
    assert!(stderr(&down).contains("ECONNREFUSED") || stderr(&down).contains("gateway closed (1006"), "{down:?}");
}

#[test]
fn a_gateway_elsewhere_is_believed_by_its_fingerprint() {
    let (_there, gateway) = secured(json!({}));
    let url = format!("wss://localhost:{}", gateway.port);
    let pin = tls::fingerprint(gateway.port).to_uppercase();
    let colons = pin.as_bytes().chunks(2).map(|pair| str::from_utf8(pair).unwrap()).collect::<Vec<_>>().join(":");
    let here = |remote: Value| {
        let home = Home::new();
        home.write_config(&json!({"gateway": {"mode": "remote", "remote": remote}}).to_string());
        home.run(&["gateway", "call", "health"])
    };
    for right in [pin.clone(), colons.clone(), format!("sha256:{pin}"), format!("SHA256 {colons}")] {
        let called = here(json!({"url": url, "token": TOKEN, "tlsFingerprint": right}));
        assert!(called.status.success(), "{}", stderr(&called));
    }
    let other = ids::sha256_hex(b"another");
    let wrong = here(json!({"url": url, "token": TOKEN, "tlsFingerprint": other}));
    let said = stderr(&wrong);
    assert_eq!(wrong.status.code(), Some(1));
    assert!(said.contains("gateway tls fingerprint mismatch") && said.contains("Fix: if its certificate"), "{said}");
    let none = stderr(&here(json!({"url": url, "token": TOKEN})));
    assert!(
        none.contains("the certificate of the gateway is not trusted: no public authority has signed it"),
        "{none}"
    );
    assert!(none.contains("gateway.remote.tlsFingerprint"), "{none}");
    let odd = stderr(&here(json!({"url": url, "token": TOKEN, "tlsFingerprint": "abc"})));
    assert!(odd.contains("gateway.remote.tlsFingerprint is no SHA-256 fingerprint: \"abc\""), "{odd}");
    let plain = format!("ws://127.0.0.1:{}", gateway.port);
    let plain = stderr(&here(json!({"url": plain, "token": TOKEN, "tlsFingerprint": pin})));
    assert!(plain.contains("gateway tls fingerprint requires wss:// gateway url"), "{plain}");
    let plain = format!("ws://127.0.0.1:{}", gateway.port);
    let plain = stderr(&here(json!({"url": plain, "token": TOKEN})));
    assert!(
        plain.contains("Fix: if the gateway there has gateway.tls.enabled, its address begins with wss://."),
        "{plain}"
    );
    // And a gateway without TLS at an address that promises it.
    let home = Home::new();
    home.configure(json!({}));
    let open = Gateway::start(&home, &[]);
    let url = format!("wss://127.0.0.1:{}", open.port);
    let said = stderr(&here(json!({"url": url, "token": TOKEN, "tlsFingerprint": pin})));
    assert!(said.contains("the gateway does not speak TLS there"), "{said}");
}

#[test]
fn a_restart_may_turn_tls_on_and_off() {
    let home = Home::new();
    home.configure(json!({}));
    let mut gateway = Gateway::start(&home, &[]);
    assert_eq!(gateway.get("/health").0, 200);
    configure(&home, json!({}));
    gateway.wait_line("listening on wss://");
    assert_serves(&gateway);
    home.configure(json!({}));
    wait_until("plain answers", || gateway.get("/health").0 == 200);
    assert_eq!(gateway.stop(), Some(0));
}
