//! `gateway --force` (cli 3.4, DECISIONS 97): ends whatever listens on the port, through /proc and signals.
//!
//! Runs on `main` before the lock is taken. Nothing is signalled unless everything on the port may be: never pid 1,
//! never ourselves, and processes that belong to others are named instead.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::{listen, port_report};
use crate::error::{Error, Result};
use crate::limits;
use crate::sys::process::{self, Sig, SignalError};
use crate::sys::sockets::{self, Listener, PortUse};

const POLL: Duration = Duration::from_millis(25);
const BIND_POLL: Duration = Duration::from_millis(150);

/// Frees the port: SIGTERM, 700 ms, SIGKILL, 2 s in all. `say` gets the lines for the log (subsystem gateway).
///
/// Errors are whole lines (`Force: Error: …`), exit code 1.
pub fn free_port(port: u16, say: &mut dyn FnMut(&str)) -> Result<()> {
    let listeners = match sockets::port_use(port) {
        PortUse::Free => {
            say(&format!("force: no listeners on port {port}"));
            return Ok(());
        }
        PortUse::Unknown => {
            return Err(refusal(format!("this system does not tell who listens on port {port}"))
                .hint("Stop that program by hand, or use another --port."));
        }
        PortUse::Busy(listeners) => listeners,
    };
    check(port, &listeners)?;
    for listener in &listeners {
        send(port, listener, Sig::Term)?;
        say(&format!("force: killed pid {} ({}) on port {port}", pid(listener), name(listener)));
    }
    let start = Instant::now();
    if wait_free(port, start + limits::FORCE_TERM_WAIT) {
        return waited(port, start, say);
    }
    // A supervisor may have put another process there.
    let left = sockets::listeners(port);
    check(port, &left)?;
    for listener in &left {
        send(port, listener, Sig::Kill)?;
    }
    say(&format!("force: escalated to SIGKILL while freeing port {port}"));
    if wait_free(port, start + limits::FORCE_TOTAL) {
        return waited(port, start, say);
    }
    let pids: Vec<String> = sockets::listeners(port).iter().map(pid).collect();
    Err(refusal(format!("port {port} still has listeners after --force: {}", pids.join(", "))))
}

/// Tries to bind the address for up to 3 s: a port that was freed may still be held by the kernel.
pub fn wait_bindable(address: SocketAddr, say: &mut dyn FnMut(&str)) -> Result<()> {
    wait_bindable_for(address, limits::FORCE_BIND_WAIT, say)
}

fn wait_bindable_for(address: SocketAddr, limit: Duration, say: &mut dyn FnMut(&str)) -> Result<()> {
    let (port, start) = (address.port(), Instant::now());
    let mut tries = 0;
    loop {
        // Another error than "in use" is for the real bind to report.
        let taken = listen::open(address).is_err_and(|error| error.kind() == std::io::ErrorKind::AddrInUse);
        let ms = start.elapsed().as_millis();
        if !taken {
            if tries > 0 {
                say(&format!("force: waited {ms}ms for port {port} to become bindable"));
            }
            return Ok(());
        }
        if start.elapsed() >= limit {
            let text = format!("port {port} still not bindable after {ms}ms (TIME_WAIT or kernel hold)");
            return Err(refusal(text).hint(port_report::KEPT));
        }
        tries += 1;
        std::thread::sleep(BIND_POLL);
    }
}

/// Refuses before anything is signalled: hidden processes, pid 1, ourselves.
fn check(port: u16, listeners: &[Listener]) -> Result<()> {
    for listener in listeners {
        let Some(pid) = listener.pid else {
            let text = format!("port {port} is held by a process of user {} that may not be seen", listener.user);
            let hint = match process::all_pids().is_empty() {
                true => "Mount /proc, which tells the processes, or use another --port.",
                false => "Stop it as that user or as root, or use another --port.",
            };
            return Err(refusal(text).hint(hint));
        };
        if process::is_untouchable(pid) {
            let what = if pid == std::process::id() { "this very process" } else { "never signalled" };
            return Err(refusal(format!("port {port} is held by pid {pid} ({}): {what}", name(listener)))
                .hint("Use another --port."));
        }
        if let Err(error @ (SignalError::NotPermitted | SignalError::Other(_))) = process::may_signal(pid) {
            return Err(not_allowed(port, listener, &error));
        }
    }
    Ok(())
}

fn send(port: u16, listener: &Listener, sig: Sig) -> Result<()> {
    match process::signal(listener.pid.unwrap_or(0), sig) {
        Ok(()) | Err(SignalError::Gone) => Ok(()),
        Err(error) => Err(not_allowed(port, listener, &error)),
    }
}

fn not_allowed(port: u16, listener: &Listener, error: &SignalError) -> Error {
    let (pid, name, user) = (pid(listener), name(listener), &listener.user);
    refusal(format!("cannot stop pid {pid} ({name}) of user {user} on port {port}: {error}"))
        .hint("Stop it as that user or as root, or use another --port.")
}

/// True as soon as nobody listens any more.
fn wait_free(port: u16, deadline: Instant) -> bool {
    loop {
        if sockets::port_use(port) == PortUse::Free {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        std::thread::sleep(POLL);
    }
}

fn waited(port: u16, start: Instant, say: &mut dyn FnMut(&str)) -> Result<()> {
    // Free at the first look is not worth a line.
    if start.elapsed() >= POLL {
        say(&format!("force: waited {}ms for port {port} to free", start.elapsed().as_millis()));
    }
    Ok(())
}

fn refusal(text: String) -> Error {
    Error::new(format!("Force: Error: {text}"))
}

fn pid(listener: &Listener) -> String {
    listener.pid.map_or_else(|| "unknown".into(), |pid| pid.to_string())
}

fn name(listener: &Listener) -> &str {
    listener.command.as_deref().unwrap_or("unknown")
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use crate::sys::testing::rerun;
    use std::io::{BufRead as _, BufReader};
    use std::net::TcpListener;
    use std::process::{Child, Stdio};

    const HELPER: &str = "OPENCLAW_TEST_LISTENER";

    /// Not a test by itself: the body of a child that listens, and ignores SIGTERM when it is told to.
    #[test]
    fn listener_of_its_own() {
        let Ok(mode) = std::env::var(HELPER) else { return };
        let deaf = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        if mode == "deaf" {
            signal_hook::flag::register(signal_hook::consts::SIGTERM, deaf).unwrap();
        }
        let listener = listener_of_a_quiet_port();
        // The test harness has put its own words before it on the line.
        eprintln!("port {}", listener.local_addr().unwrap().port());
        // Never for ever, should the test that wants it be gone.
        std::thread::sleep(Duration::from_secs(60));
    }

    /// Below the ephemeral ports, where the listeners of other tests live: whoever is on the port will be ended.
    fn listener_of_a_quiet_port() -> TcpListener {
        let ports = (0..9000u32).map(|n| (20_000 + (std::process::id() * 7 + n) % 10_000) as u16);
        ports.map(|port| TcpListener::bind(("127.0.0.1", port))).find_map(std::result::Result::ok).unwrap()
    }

    fn child(mode: &str) -> (Child, u16) {
        let mut child = rerun("server::force::tests::listener_of_its_own", HELPER, mode)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let port = lines.find_map(|line| line.unwrap().strip_prefix("port ")?.parse().ok()).unwrap();
        (child, port)
    }

    fn force(port: u16) -> (Result<()>, Vec<String>) {
        let mut said = Vec::new();
        let outcome = free_port(port, &mut |line| said.push(line.to_owned()));
        (outcome, said)
    }

    #[test]
    fn a_free_port_is_left_alone() {
        let port = listener_of_a_quiet_port().local_addr().unwrap().port();
        let (outcome, said) = force(port);
        assert!(outcome.is_ok());
        assert_eq!(said, [format!("force: no listeners on port {port}")]);
    }

    #[test]
    fn a_listener_is_ended_and_its_port_can_be_bound() {
        let (mut child, port) = child("polite");
        let reaper_pid = child.id();
        let reaper = std::thread::spawn(move || child.wait());
        let (outcome, said) = force(port);
        outcome.unwrap();
        assert!(said[0].starts_with(&format!("force: killed pid {reaper_pid} (")), "{said:?}");
        assert!(said[0].ends_with(&format!(") on port {port}")));
        assert!(!said.iter().any(|line| line.contains("escalated")), "{said:?}");
        reaper.join().unwrap().unwrap();
        wait_bindable(SocketAddr::from(([127, 0, 0, 1], port)), &mut |line| panic!("{line}")).unwrap();
    }

    #[test]
    fn a_listener_that_ignores_sigterm_is_killed() {
        let (mut child, port) = child("deaf");
        let reaper_pid = child.id();
        let reaper = std::thread::spawn(move || child.wait());
        let start = Instant::now();
        let (outcome, said) = force(port);
        outcome.unwrap();
        assert!(start.elapsed() >= limits::FORCE_TERM_WAIT);
        assert_eq!(said.len(), 3, "{said:?}");
        assert!(said[0].starts_with(&format!("force: killed pid {reaper_pid} (")));
        assert_eq!(said[1], format!("force: escalated to SIGKILL while freeing port {port}"));
        assert!(said[2].starts_with("force: waited ") && said[2].ends_with(&format!("ms for port {port} to free")));
        assert!(!reaper.join().unwrap().unwrap().success());
    }

    #[test]
    fn we_never_end_ourselves() {
        let own = listener_of_a_quiet_port();
        let port = own.local_addr().unwrap().port();
        let (outcome, said) = force(port);
        let text = outcome.unwrap_err().to_string();
        assert!(
            text.starts_with(&format!("Force: Error: port {port} is held by pid {}", std::process::id())),
            "{text}"
        );
        assert_eq!(said, Vec::<String>::new());
        let limit = Duration::from_millis(10);
        let error = wait_bindable_for(own.local_addr().unwrap(), limit, &mut |_| {}).unwrap_err();
        assert!(error.message.ends_with("(TIME_WAIT or kernel hold)"), "{error}");
    }

    #[test]
    fn what_may_not_be_signalled_is_named_before_anything_is_done() {
        let listener = |pid: Option<u32>| Listener {
            pid,
            parent: None,
            uid: 0,
            user: "root".into(),
            command: pid.map(|_| "init".into()),
            command_line: None,
            address: "0.0.0.0:80".parse().unwrap(),
        };
        let text = |list: &[Listener]| check(80, list).unwrap_err().message;
        let hidden = "Force: Error: port 80 is held by a process of user root that may not be seen";
        assert_eq!(text(&[listener(Some(4_000_000)), listener(None)]), hidden);
        assert_eq!(text(&[listener(Some(1))]), "Force: Error: port 80 is held by pid 1 (init): never signalled");
        assert!(check(80, &[listener(Some(4_000_000))]).is_ok());
    }
}
