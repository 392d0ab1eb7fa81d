//! Changes that need a restart: work under way, secrets, ports, a service manager, and restarts that fail.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::panic::catch_unwind;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use openclaw::server::listen;
use openclaw::sys::process::Sig;
use serde_json::{Value, json};

use crate::common::client::{Client, End, Hello};
use crate::common::model::{Model, Play};
use crate::common::{Gateway, Home, TOKEN, free_port, merge, patience, wait_until};
use crate::reload::{LISTENING, name_in_force, named, wait_name};

const REASON: &str = "config change requires gateway restart (gateway.auth.rateLimit.maxAttempts)";

fn wait_lives(gateway: &Gateway, n: usize) {
    wait_until(&format!("life {n}"), || gateway.count_lines(LISTENING) == n);
}

/// A configuration with a name and a number whose change needs a restart.
fn config(model: &Model, name: &str, attempts: u64) -> Value {
    let mut config = named(name);
    merge(&mut config, model.config());
    merge(&mut config, json!({"gateway": {"auth": {"rateLimit": {"maxAttempts": attempts}}}}));
    config
}

fn begin_turn(client: &mut Client, key: &str) -> String {
    let params = json!({"message": "x", "sessionKey": format!("s{key}"), "idempotencyKey": key});
    let id = client.send_request("agent", params);
    assert_eq!(client.answer(&id)["payload"]["status"], "accepted");
    id
}

// ── Work under way ─────────────────────────────────────────────────────────────────────────────────────────

#[test]
fn a_change_waits_for_the_work_under_way_and_takes_new_work_meanwhile() {
    let model = Model::start(vec![Play::Text((0..20).map(|n| format!("w{n} ")).collect(), Duration::from_millis(120))]);
    let home = Home::new();
    let write = |name: &str, attempts: u64| home.write_config(&config(&model, name, attempts).to_string());
    write("one", 10);
    let mut gateway = Gateway::start(&home, &[]);
    let mut client = Client::connect(gateway.port);
    let first = begin_turn(&mut client, "1");
    client.event("agent");
    write("two", 11);
    gateway.wait_line(&format!("[reload] {REASON} — deferring until 1 operation(s), 1 embedded run(s) complete"));
    // Nothing has begun to end: new work is taken, and of the change nothing is in force.
    assert_eq!(gateway.get("/readyz").0, 200);
    let second = begin_turn(&mut client, "2");
    assert_eq!(name_in_force(&mut client), "one");
    write("three", 12);
    gateway.wait_line(&format!("[reload] {REASON} — already waiting for operations to complete"));
    for id in [first, second] {
        let text = client.answer(&id)["payload"]["result"]["payloads"][0]["text"].as_str().unwrap().to_owned();
        assert!(text.ends_with("w19"), "{text}");
    }
    gateway.wait_line("[reload] all operations and replies completed; restarting gateway now");
    assert_eq!(client.event("shutdown")["payload"]["restartExpectedMs"], 1500);
    assert_eq!(client.end(), End::Close(1012, "service restart".into()));
    drop(client);
    wait_lives(&gateway, 2);
    assert_eq!(gateway.count_lines("draining"), 0);
    // One restart for both changes, with the last of them.
    let mut client = Client::connect(gateway.port);
    assert_eq!(name_in_force(&mut client), "three");
    assert_eq!(gateway.count_lines(LISTENING), 2);
    assert_eq!(gateway.stop(), Some(0));
}

#[test]
fn a_restart_that_waits_can_be_taken_back_hurried_and_stopped() {
    let model = Model::start(vec![Play::Stall(vec!["a ".into()])]);
    let home = Home::new();
    let write = |name: &str, attempts: u64| home.write_config(&config(&model, name, attempts).to_string());
    write("one", 10);
    let mut gateway = Gateway::start(&home, &[]);
    let mut client = Client::connect(gateway.port);
    begin_turn(&mut client, "1");
    client.event("agent");
    let deferring = format!("[reload] {REASON} — deferring until 1 operation(s)");
    write("two", 11);
    gateway.wait_line(&deferring);
    write("two", 10);
    gateway.wait_line("[reload] the restart that waited for operations to complete is not needed any more");
    wait_name(&mut client, "two");
    // What cannot be used is said at once, not when the work has ended.
    let mut wrong = config(&model, "two", 12);
    wrong["gateway"]["mode"] = json!("remote");
    home.write_config(&wrong.to_string());
    gateway.wait_line("[reload] config restart failed: Gateway start blocked: ");
    write("two", 13);
    wait_until("a restart that waits", || gateway.count_lines(&deferring) == 2);
    // SIGUSR1 does not wait: from now on nothing new is taken.
    gateway.signal(Sig::Usr1);
    gateway.wait_line("draining 1 active task(s) and 1 active embedded run(s) before restart (timeout 90000ms)");
    let refused = client.request("agent", json!({"message": "x", "sessionKey": "s9", "idempotencyKey": "9"}));
    assert_eq!(refused["error"]["code"], "UNAVAILABLE");
    client.call("chat.abort", json!({"sessionKey": "s1"}));
    wait_lives(&gateway, 2);
    // A stop ends the wait.
    let mut client = Client::connect(gateway.port);
    begin_turn(&mut client, "2");
    write("two", 14);
    wait_until("a restart that waits", || gateway.count_lines(&deferring) == 3);
    drop(client);
    let began = Instant::now();
    assert_eq!(gateway.stop(), Some(0));
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    assert_eq!(gateway.count_lines(LISTENING), 2);
}

// ── Secrets ────────────────────────────────────────────────────────────────────────────────────────────────

#[test]
fn a_changed_token_ends_whoever_came_with_the_old_one() {
    const NEW: &str = "new-token-0123456789abcdef";
    let home = Home::new();
    home.write_config(&named("x").to_string());
    let mut gateway = Gateway::start(&home, &[]);
    let port = gateway.port;
    let hello = |token: &str| Hello { token: Some(token.into()), ..Hello::default() };
    let mut before = Client::connect(port);
    // Clients that come all the time with the old token, through the whole restart.
    let (stop, served) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let racers: Vec<_> = (0..3)
        .map(|_| {
            let (stop, served) = (stop.clone(), served.clone());
            thread::spawn(move || {
                let mut late = Vec::new();
                while !stop.load(Ordering::SeqCst) {
                    // A restart may cut it anywhere; all that counts is who is let in.
                    let hello = Hello::default();
                    let come = catch_unwind(move || {
                        let mut client = Client::open(port);
                        (client.hello(&hello, None)["ok"] == true).then_some(client)
                    });
                    if let Ok(Some(client)) = come {
                        served.fetch_add(1, Ordering::SeqCst);
                        // The last ones are kept: they may have come in the very moment.
                        late.push(client);
                        let keep = late.len().saturating_sub(2);
                        late.drain(..keep);
                    }
                }
                late
            })
        })
        .collect();
    wait_until("racers", || served.load(Ordering::SeqCst) > 20);
    let mut changed = named("x");
    changed["gateway"]["auth"]["token"] = json!(NEW);
    home.write_config(&changed.to_string());
    wait_lives(&gateway, 2);
    stop.store(true, Ordering::SeqCst);
    let late: Vec<Client> = racers.into_iter().flat_map(|racer| racer.join().unwrap()).collect();
    assert_eq!(before.end(), End::Close(1012, "service restart".into()));
    assert!(!late.is_empty());
    for mut client in late {
        client.socket.get_ref().set_read_timeout(Some(patience())).unwrap();
        // Whoever had got in is out.
        assert!(matches!(client.end(), End::Close(1012, _) | End::Gone));
    }
    let refused = Client::open(port).hello(&hello(TOKEN), None);
    assert_eq!(refused["ok"], false, "{refused}");
    let mut client = Client::connect_as(port, &hello(NEW), None).0;
    client.call("health", json!({}));
    drop(client);
    assert_eq!(gateway.stop(), Some(0));
}

// ── Ports ──────────────────────────────────────────────────────────────────────────────────────────────────

#[test]
fn a_port_that_is_taken_leaves_the_old_one_and_the_next_change_mends_it() {
    let home = Home::new();
    let (one, two, taken) = (free_port(), free_port(), TcpListener::bind("127.0.0.1:0").unwrap());
    let write = |port: u16, bind: &str| {
        let mut config = named("x");
        merge(&mut config, json!({"gateway": {"port": port, "bind": bind}}));
        home.write_config(&config.to_string());
    };
    write(one, "loopback");
    let mut gateway = Gateway::spawn_args(&home, one, &["gateway"], |_| {});
    wait_lives(&gateway, 1);
    let pid = gateway.pid();
    let mut client = Client::connect(one);
    write(taken.local_addr().unwrap().port(), "loopback");
    gateway.wait_line("[reload] config restart failed: Gateway failed to start: another gateway instance");
    client.call("health", json!({}));
    assert_eq!(gateway.get("/readyz").0, 200);
    // The next change: another port, which is bound before the old one goes.
    write(two, "loopback");
    wait_lives(&gateway, 2);
    Client::connect(two);
    assert!(TcpStream::connect(("127.0.0.1", one)).is_err());
    // The same port on all addresses, where somebody else has one of them: the old address is bound again, whoever
    // comes is told, and the next change begins a new life without anybody's help.
    let foreign = listen::open(SocketAddr::from(([127, 0, 0, 2], two))).unwrap();
    write(two, "lan");
    gateway.wait_line("Process will stay alive; fix the issue and restart.");
    let mut closed = Gateway::spawn_args(&home, two, &["health"], |_| {});
    closed.wait_exit();
    wait_until("503", || closed.get("/readyz").0 == 503);
    home.write_config("{ broken");
    gateway.wait_line("[reload] config reload skipped (invalid config)");
    drop(foreign);
    write(two, "loopback");
    wait_lives(&gateway, 3);
    Client::connect(two);
    assert_eq!(gateway.pid(), pid);
    assert_eq!(gateway.stop(), Some(0));
}

// ── A service manager ──────────────────────────────────────────────────────────────────────────────────────

/// The socket of a service manager.
struct Manager {
    socket: UnixDatagram,
}

impl Manager {
    fn listen(path: &Path) -> Manager {
        let socket = UnixDatagram::bind(path).unwrap();
        socket.set_read_timeout(Some(patience())).unwrap();
        Manager { socket }
    }

    fn hear(&self) -> String {
        let mut bytes = [0; 512];
        let length = self.socket.recv(&mut bytes).expect("a notification");
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    }

    fn hear_reload(&self) {
        let text = self.hear();
        let micros = text.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap_or_else(|| panic!("{text}"));
        assert!(micros.parse::<u64>().unwrap() > 0);
    }
}

#[test]
fn a_service_manager_sees_one_process_through_all_its_restarts() {
    let home = Home::new();
    let manager = Manager::listen(&home.path().join("notify"));
    let address = home.path().join("notify");
    let mut config = named("one");
    home.write_config(&config.to_string());
    let mut gateway = Gateway::start_with(&home, &[], |c| {
        c.env("NOTIFY_SOCKET", &address);
    });
    let pid = gateway.pid();
    assert_eq!(manager.hear(), "READY=1");
    // SIGHUP, with a change and without one.
    for name in ["two", "two"] {
        config["agents"]["list"][0]["name"] = json!(name);
        home.write_config(&config.to_string());
        gateway.signal(Sig::Hup);
        manager.hear_reload();
        assert_eq!(manager.hear(), "READY=1");
    }
    // A restart that a change asks for, and one that somebody asks for.
    config["gateway"]["trustedProxies"] = json!(["10.0.0.1"]);
    home.write_config(&config.to_string());
    manager.hear_reload();
    assert_eq!(manager.hear(), "READY=1");
    wait_lives(&gateway, 2);
    gateway.signal(Sig::Usr1);
    manager.hear_reload();
    assert_eq!(manager.hear(), "READY=1");
    wait_lives(&gateway, 3);
    assert_eq!(gateway.count_lines(&format!("(PID {pid})")), 3);
    gateway.wait_line("[gateway] restart mode: in-process restart");
    // One that cannot be had: what serves goes on.
    home.write_config("{ broken");
    gateway.signal(Sig::Usr1);
    assert!(manager.hear().starts_with("STATUS=startup failed: Config invalid"));
    assert_eq!(manager.hear(), "READY=1");
    Client::connect(gateway.port);
    gateway.signal(Sig::Term);
    assert_eq!(manager.hear(), "STOPPING=1");
    assert_eq!(gateway.wait_exit().code(), Some(0));
}
