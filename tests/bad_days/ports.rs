//! `--force` and ports: whoever may be there, and what the kernel keeps of who is not.

use std::fs;
use std::io::Read as _;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use openclaw::sys::process::Sig;
use serde_json::json;
use socket2::{Domain, Socket, Type};

use super::{LISTENING, configured, is_root};
use crate::common::client::Client;
use crate::common::{Gateway, Home, finish, free_port, mounts, patience, stderr, wait_until};

/// A program that is no gateway and holds this listener.
struct Foreign(Child);

impl Foreign {
    fn holding(listener: impl Into<OwnedFd>) -> Foreign {
        Foreign::running(listener, "exec sleep 600")
    }

    fn running(listener: impl Into<OwnedFd>, script: &str) -> Foreign {
        let mut command = Command::new("sh");
        let child = command.args(["-c", script]).stdin(Stdio::from(listener.into())).spawn().expect("a shell");
        Foreign(child)
    }

    fn lives(&mut self) -> bool {
        self.0.try_wait().expect("a child").is_none()
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

fn forced(home: &Home, port: u16) -> Gateway {
    Gateway::spawn_args(home, port, &["gateway", "--port", &port.to_string(), "--force"], |_| {})
}

#[test]
fn force_frees_a_port_from_strangers_on_every_kind_of_address() {
    for (host, dual) in [("127.0.0.1", false), ("0.0.0.0", false), ("[::1]", false), ("[::]", false), ("[::]", true)] {
        let home = configured();
        let port = free_port();
        let mut foreign = Foreign::holding(listener(&format!("{host}:{port}"), dual));
        let pid = foreign.0.id();
        let mut gateway = forced(&home, port);
        // A zombie holds no port: the stranger is reaped only afterwards.
        gateway.wait_line(LISTENING);
        gateway.wait_line(&format!("[gateway] force: killed pid {pid} (sleep) on port {port}"));
        assert!(!foreign.lives());
        Client::connect(port);
        assert_eq!(gateway.stop(), Some(0), "{host}");
    }
}

#[test]
fn force_ends_several_at_once_and_kills_who_ignores_it() {
    let home = configured();
    let port = free_port();
    let mut polite = Foreign::holding(listener(&format!("[::1]:{port}"), false));
    let mut deaf = Foreign::running(listener(&format!("127.0.0.1:{port}"), false), "trap '' TERM; exec sleep 600");
    // The signal is ignored from the moment on at which it is called sleep.
    let comm = format!("/proc/{}/comm", deaf.0.id());
    wait_until("the one that ignores", || fs::read_to_string(&comm).is_ok_and(|name| name == "sleep\n"));
    let begun = Instant::now();
    let mut gateway = forced(&home, port);
    gateway.wait_line(LISTENING);
    assert!(begun.elapsed() >= Duration::from_millis(700), "{:?}", begun.elapsed());
    for foreign in [&mut polite, &mut deaf] {
        assert_eq!(gateway.count_lines(&format!("force: killed pid {} (sleep) on port {port}", foreign.0.id())), 1);
        assert!(!foreign.lives());
    }
    assert_eq!(gateway.count_lines(&format!("force: escalated to SIGKILL while freeing port {port}")), 1);
    assert_eq!(gateway.count_lines("force: waited "), 1, "{}", gateway.output());
    Client::connect(port);
    assert_eq!(gateway.stop(), Some(0));
}

/// The program, run as a user who may do nothing; from a copy that this user can read.
fn as_nobody(home: &Home, args: &[&str]) -> std::process::Output {
    assert!(Command::new("chown").args(["-R", "65534"]).arg(home.path()).status().unwrap().success());
    let command = home.command(args);
    assert!(Command::new("chown").arg("65534").arg(home.path().join("tmp")).status().unwrap().success());
    let copy = home.path().join("openclaw");
    fs::copy(crate::common::binary(), &copy).unwrap();
    let mut nobody = Command::new(&copy);
    nobody.args(command.get_args()).env_clear().uid(65534).gid(65534).stdin(Stdio::null());
    nobody.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    nobody.current_dir("/");
    finish(nobody)
}

#[test]
fn a_stranger_of_another_user_is_named_and_stays() {
    if !is_root() {
        return;
    }
    let home = configured();
    let port = free_port();
    let mut foreign = Foreign::holding(TcpListener::bind(("127.0.0.1", port)).unwrap());
    let output = as_nobody(&home, &["gateway", "--port", &port.to_string(), "--force"]);
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    let line = format!(
        "Force: Error: port {port} is held by a process of user root that may not be seen\n\
         Stop it as that user or as root, or use another --port."
    );
    assert!(said.contains(&line), "{said}");
    assert!(foreign.lives());
}

#[test]
fn without_proc_nobody_is_ended_blindly() {
    let home = configured();
    let port = free_port();
    let mut foreign = Foreign::holding(TcpListener::bind(("127.0.0.1", port)).unwrap());
    if !mounts::allowed() {
        return;
    }
    let mut command = home.command(&["gateway", "--port", &port.to_string(), "--force"]);
    mounts::inside(&mut command, "mount -t tmpfs none /proc");
    let output = finish(command);
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains(&format!("Force: Error: port {port} is held by a process of user root")), "{said}");
    assert!(said.contains("\nMount /proc, which tells the processes, or use another --port."), "{said}");
    assert!(foreign.lives());
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

/// A process whose first thread has ended and whose second one holds what is its standard input. None without a compiler.
fn headless(home: &Home, listener: TcpListener) -> Option<Foreign> {
    let source = "#include <pthread.h>\n#include <unistd.h>\n\
                  static void *live(void *x) { for (;;) pause(); return x; }\n\
                  int main(void) { pthread_t t; pthread_create(&t, 0, live, 0); pthread_exit(0); }\n";
    let (code, program) = (home.path().join("headless.c"), home.path().join("headless"));
    fs::write(&code, source).unwrap();
    let built = Command::new("cc").arg("-pthread").arg("-o").arg(&program).arg(&code).output();
    if !built.is_ok_and(|output| output.status.success()) {
        println!("skipped: no C compiler for a process without its first thread");
        return None;
    }
    let child = Command::new(&program).stdin(Stdio::from(OwnedFd::from(listener))).spawn().unwrap();
    let stat = format!("/proc/{}/stat", child.id());
    let foreign = Foreign(child);
    wait_until("its first thread to end", || fs::read_to_string(&stat).is_ok_and(|text| text.contains(") Z ")));
    Some(foreign)
}

#[test]
fn a_zombie_whose_threads_live_is_found_and_ended() {
    let home = configured();
    let port = free_port();
    let Some(mut foreign) = headless(&home, TcpListener::bind(("127.0.0.1", port)).unwrap()) else { return };
    let mut gateway = forced(&home, port);
    gateway.wait_line(LISTENING);
    gateway.wait_line(&format!("force: killed pid {} (headless) on port {port}", foreign.0.id()));
    wait_until("its end", || !foreign.lives());
    assert_eq!(gateway.stop(), Some(0));
}

/// Leaves a port in TIME_WAIT on the side that listened.
fn spent_port(reusable: bool) -> u16 {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_reuse_address(reusable).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    socket.listen(1).unwrap();
    let server = TcpListener::from(socket);
    let port = server.local_addr().unwrap().port();
    let mut client = TcpStream::connect(("127.0.0.1", port)).unwrap();
    drop(server.accept().unwrap());
    // Who closes first has to wait.
    client.read_to_end(&mut Vec::new()).unwrap();
    drop((client, server));
    let row = format!(" 0100007F:{port:04X} ");
    let waits = |text: String| text.lines().any(|line| line.contains(&row) && line.contains(" 06 "));
    wait_until("TIME_WAIT", || fs::read_to_string("/proc/net/tcp").is_ok_and(waits));
    port
}

#[test]
fn a_port_in_time_wait_is_taken_where_the_kernel_gives_it_out() {
    for force in [false, true] {
        let home = configured();
        let port = spent_port(true);
        let text = port.to_string();
        let args = [&["gateway", "--port", &text][..], if force { &["--force"] } else { &[] }].concat();
        let mut gateway = Gateway::spawn_args(&home, port, &args, |_| {});
        gateway.wait_line(LISTENING);
        assert!(!gateway.output().contains("force: waited"), "{}", gateway.output());
        Client::connect(port);
        assert_eq!(gateway.stop(), Some(0));
    }
}

#[test]
fn a_port_in_time_wait_that_the_kernel_keeps_is_no_other_gateway() {
    let home = configured();
    let port = spent_port(false);
    let what_to_do = "A connection of whoever had the port is still closing there (TIME_WAIT, a minute at most) or open. \
                      Try again in a minute, or use another --port.";
    let text = port.to_string();
    let mut command = home.command(&["gateway", "--port", &text]);
    // A supervisor tries again: this is no 78.
    command.env("OPENCLAW_SERVICE_MARKER", "openclaw");
    let output = finish(command);
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    let line = format!(
        "Gateway failed to start: nobody listens on port {port}, but the system does not give it out (EADDRINUSE)\n{what_to_do}"
    );
    assert!(said.contains(&line), "{said}");
    let output = home.run(&["gateway", "--port", &text, "--force"]);
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains(&format!("Force: Error: port {port} still not bindable after ")), "{said}");
    assert!(said.contains(&format!("ms (TIME_WAIT or kernel hold)\n{what_to_do}")), "{said}");
}

#[test]
fn of_two_that_force_at_once_one_serves() {
    let homes = [configured(), configured()];
    // With one configuration for both the lock decides, with two of them only the port.
    for (first, second) in [(0, 0), (0, 1)] {
        for round in 0..4 {
            let port = free_port();
            let foreign = Foreign::holding(TcpListener::bind(("127.0.0.1", port)).unwrap());
            let mut both = [forced(&homes[first], port), forced(&homes[second], port)];
            let deadline = Instant::now() + patience();
            let served = loop {
                let lives: Vec<usize> = (0..2).filter(|n| both[*n].is_running()).collect();
                if let [one] = lives[..]
                    && both[one].output().contains(LISTENING)
                {
                    break one;
                }
                let said = || both.iter().map(Gateway::output).collect::<Vec<_>>().join("\n──\n");
                assert!(!lives.is_empty() && Instant::now() < deadline, "round {round}: {lives:?}\n{}", said());
                thread::sleep(Duration::from_millis(5));
            };
            let loser = both[1 - served].wait_exit().code();
            // Ended by the other one while it served, or refused with a reason.
            assert!(matches!(loser, Some(0 | 1) | None), "{loser:?}: {}", both[1 - served].output());
            assert!(
                loser != Some(1)
                    || both[1 - served].output().contains("Error: ")
                    || both[1 - served].output().contains("Gateway failed to start: "),
                "{}",
                both[1 - served].output()
            );
            assert_eq!(Client::connect(port).call("health", json!({}))["ok"], true);
            assert_eq!(both[served].stop(), Some(0));
            drop(foreign);
        }
    }
}
