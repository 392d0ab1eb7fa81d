//! Days on which nothing is as it should be: ports that others hold, directories that vanish, little memory, signals
//! from all sides. What `disk`, `lifecycle`, `state` and `hostile` test is not repeated here.
#![cfg(target_os = "linux")]

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use openclaw::sys::process::Sig;
use serde_json::json;
use socket2::{Domain, Socket, Type};

use crate::common::client::Client;
use crate::common::{Gateway, Home, finish, free_port, stderr, wait_until};

const LISTENING: &str = "listening on ws://";

fn configured() -> Home {
    let home = Home::new();
    home.configure(json!({}));
    home
}

/// A program that is no gateway and holds this listener.
struct Foreign(Child);

impl Foreign {
    fn holding(listener: impl Into<OwnedFd>) -> Foreign {
        let child = Command::new("sleep").arg("600").stdin(Stdio::from(listener.into())).spawn().expect("sleep");
        Foreign(child)
    }
}

impl Drop for Foreign {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn listener(address: &str, dual: bool) -> Socket {
    let address: SocketAddr = address.parse().unwrap();
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).unwrap();
    if address.is_ipv6() {
        socket.set_only_v6(!dual).unwrap();
    }
    socket.bind(&address.into()).unwrap();
    socket.listen(1).unwrap();
    socket
}

// ── Ports ──────────────────────────────────────────────────────────────────────────────────────────────────

#[test]
fn force_frees_a_port_from_strangers_on_every_kind_of_address() {
    for (host, dual) in [("127.0.0.1", false), ("0.0.0.0", false), ("[::1]", false), ("[::]", true)] {
        let home = configured();
        let port = free_port();
        let mut foreign = Foreign::holding(listener(&format!("{host}:{port}"), dual));
        let pid = foreign.0.id();
        let text = port.to_string();
        let mut gateway = Gateway::spawn_args(&home, port, &["gateway", "--port", &text, "--force"], |_| {});
        // A zombie holds no port: the stranger is reaped only afterwards.
        gateway.wait_line(LISTENING);
        gateway.wait_line(&format!("[gateway] force: killed pid {pid} (sleep) on port {port}"));
        assert!(foreign.0.try_wait().unwrap().is_some());
        Client::connect(port);
        assert_eq!(gateway.stop(), Some(0), "{host}");
    }
}

#[test]
fn a_stranger_of_another_user_is_named_and_stays() {
    if openclaw::sys::process::effective_uid() != 0 {
        return;
    }
    let home = configured();
    let port = free_port();
    let mut foreign = Foreign::holding(TcpListener::bind(("127.0.0.1", port)).unwrap());
    assert!(Command::new("chown").args(["-R", "65534"]).arg(home.path()).status().unwrap().success());
    let mut command = home.command(&["gateway", "--port", &port.to_string(), "--force"]);
    // The program where that user can read it.
    let copy = std::env::temp_dir().join(format!("openclaw-bad-days-{}", std::process::id()));
    fs::copy(env!("CARGO_BIN_EXE_openclaw"), &copy).unwrap();
    let mut as_nobody = Command::new(&copy);
    as_nobody.args(command.get_args()).env_clear().uid(65534).gid(65534).stdin(Stdio::null());
    as_nobody.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    as_nobody.current_dir("/");
    command.stdin(Stdio::null());
    let output = finish(as_nobody);
    let _ = fs::remove_file(&copy);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(stderr(&output).contains("Force: Error: "), "{}", stderr(&output));
    assert!(foreign.0.try_wait().unwrap().is_none(), "it lives");
}

#[test]
fn a_gateway_that_died_and_is_not_reaped_holds_nothing() {
    let home = configured();
    let dead = Gateway::start(&home, &[]);
    Client::connect(dead.port);
    dead.signal(Sig::Kill);
    // Nobody waits for it: a zombie under its old pid, its lock file still there, its port in TIME_WAIT.
    let text = dead.port.to_string();
    let mut next = Gateway::spawn_args(&home, dead.port, &["gateway", "--port", &text], |_| {});
    next.wait_line(LISTENING);
    Client::connect(next.port);
    assert_eq!(next.stop(), Some(0));
}

// ── Places ─────────────────────────────────────────────────────────────────────────────────────────────────

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
    Client::connect(gateway.port);
    assert_eq!(gateway.stop(), Some(0));
}

#[test]
fn a_log_directory_that_vanishes_does_not_disturb_anybody() {
    let home = configured();
    let mut gateway = Gateway::start(&home, &[]);
    fs::remove_dir_all(home.path().join("logs")).unwrap();
    Client::connect(gateway.port);
    gateway.signal(Sig::Usr2);
    gateway.signal(Sig::Hup);
    wait_until("the log to be there again", || !home.log_text().is_empty());
    assert_eq!(gateway.get("/health").0, 200);
    assert_eq!(gateway.stop(), Some(0));
}

#[test]
fn a_state_directory_in_memory_is_as_good_as_any() {
    let home = Home::new();
    let state = std::path::Path::new("/dev/shm").join(format!("openclaw-bad-days-{}", std::process::id()));
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
    let hidden = Command::new("unshare").args(["-m", "mount", "-t", "tmpfs", "none", "/proc"]).output();
    if !hidden.is_ok_and(|output| output.status.success()) {
        return;
    }
    let port = free_port();
    let script = "mount -t tmpfs none /proc && exec \"$0\" \"$@\"";
    let mut command = home.program("unshare", &["-m", "sh", "-c", script, env!("CARGO_BIN_EXE_openclaw"), "gateway"]);
    command.args(["--port", &port.to_string()]);
    let args: Vec<String> = command.get_args().map(|arg| arg.to_string_lossy().into_owned()).collect();
    let mut gateway = Gateway::spawn_args(&home, port, &[], |c| {
        let mut hidden = home.program("unshare", &[]);
        hidden.args(&args);
        *c = hidden;
    });
    gateway.wait_line(LISTENING);
    Client::connect(port);
    gateway.signal(Sig::Usr1);
    wait_until("the restart", || gateway.count_lines(LISTENING) == 2);
    Client::connect(port);
    assert_eq!(gateway.stop(), Some(0));
}

#[test]
fn thirty_two_megabytes_of_data_are_enough() {
    let home = configured();
    let port = free_port();
    let script = "ulimit -d 32768 && exec \"$0\" \"$@\"";
    let text = port.to_string();
    let mut gateway = Gateway::spawn_args(&home, port, &[], |c| {
        *c = home.program("sh", &["-c", script, env!("CARGO_BIN_EXE_openclaw"), "gateway", "--port", &text]);
    });
    gateway.wait_line(LISTENING);
    let clients: Vec<Client> = (0..8).map(|_| Client::connect(port)).collect();
    assert_eq!(gateway.get("/health").0, 200);
    drop(clients);
    gateway.signal(Sig::Usr1);
    wait_until("the restart", || gateway.count_lines(LISTENING) == 2);
    Client::connect(port);
    assert_eq!(gateway.stop(), Some(0));
}

// ── Signals ────────────────────────────────────────────────────────────────────────────────────────────────

#[test]
fn a_stop_during_the_start_leaves_nothing_in_the_way() {
    let home = configured();
    for delay_ms in [0, 1, 2, 4, 8, 16, 32, 64] {
        let mut gateway = Gateway::spawn(&home, &[], |_| {});
        std::thread::sleep(Duration::from_millis(delay_ms));
        gateway.signal(Sig::Term);
        let begun = Instant::now();
        let status = gateway.wait_exit();
        assert!(begun.elapsed() < Duration::from_secs(5), "after {delay_ms} ms: {:?}", begun.elapsed());
        // Before its handlers are there the signal ends it.
        assert!(matches!(status.code(), Some(0) | None), "after {delay_ms} ms: {status}: {}", gateway.output());
    }
    let mut gateway = Gateway::start(&home, &[]);
    Client::connect(gateway.port);
    assert_eq!(gateway.stop(), Some(0));
}

#[test]
fn restarts_that_cross_and_a_storm_of_signals() {
    let home = configured();
    let mut gateway = Gateway::start(&home, &[]);
    for _ in 0..5 {
        gateway.signal(Sig::Usr1);
        gateway.signal(Sig::Usr1);
        gateway.signal(Sig::Hup);
    }
    wait_until("a restart", || gateway.count_lines(LISTENING) >= 2);
    Client::connect(gateway.port);
    assert!(gateway.is_running());
    let begun = Instant::now();
    for _ in 0..500 {
        let _ = openclaw::sys::process::signal(gateway.pid(), Sig::Term);
    }
    assert_eq!(gateway.wait_exit().code(), Some(0));
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    let mut again = Gateway::start(&home, &[]);
    assert_eq!(again.stop(), Some(0));
}
