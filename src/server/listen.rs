//! Binding the planned addresses, and what an error of `accept` means.
//!
//! Runs on `main` while the gateway starts. Listeners belong to the caller, who keeps them across an in-process restart
//! as long as the plan stays the same: clients then wait in the backlog instead of being refused.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};

use super::bind_plan::BindPlan;
use crate::limits;

const BACKLOG: i32 = 511;
/// How often a pause looks at the stop flag.
const LOOK: Duration = Duration::from_millis(20);

/// The open listeners of a plan, non-blocking, in its order.
#[derive(Debug)]
pub struct Bound {
    pub plan: BindPlan,
    pub listeners: Vec<TcpListener>,
    /// For the log, subsystem gateway; those of the plan are not repeated.
    pub warnings: Vec<String>,
}

impl Bound {
    /// True when these listeners are what the plan asks for.
    pub fn serves(&self, plan: &BindPlan) -> bool {
        self.plan.addresses == plan.addresses
    }

    /// The addresses as bound; with port 0 in the plan the port that the system chose.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.listeners.iter().filter_map(|listener| listener.local_addr().ok()).collect()
    }

    /// `ws://127.0.0.1:21120, ws://[::1]:21120`, the words after `listening on`.
    pub fn describe(&self, tls: bool) -> String {
        let gateway = |address: &SocketAddr| Some(address.port()) != self.plan.canvas_port;
        let urls: Vec<String> = self.addresses().into_iter().filter(gateway).map(|address| url(address, tls)).collect();
        urls.join(", ")
    }

    pub fn port(&self) -> u16 {
        self.addresses().first().map_or(0, SocketAddr::port)
    }
}

#[derive(Debug)]
pub enum BindError {
    /// Somebody listens there, also after the retries. Exit 78 when supervised and it is a gateway, else 1.
    InUse {
        address: SocketAddr,
        tls: bool,
    },
    Other {
        address: SocketAddr,
        tls: bool,
        error: io::Error,
    },
    /// The stop flag was set during a pause.
    Stopped,
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BindError::InUse { address, tls } => {
                let url = url(*address, *tls);
                write!(f, "another gateway instance is already listening on {url} (EADDRINUSE)")
            }
            BindError::Other { address, tls, error } => {
                write!(f, "failed to bind gateway socket on {}: {error}", url(*address, *tls))
            }
            BindError::Stopped => f.write_str("stopped before the gateway could listen"),
        }
    }
}

impl std::error::Error for BindError {}

/// Binds the addresses of a plan. The first one is retried while its port is taken (4 times, 500 ms apart) and must
/// succeed; a failure of the others is a warning.
pub fn bind(plan: &BindPlan, tls: bool, stop: &AtomicBool) -> Result<Bound, BindError> {
    bind_with_pause(plan, tls, stop, limits::BIND_RETRY_PAUSE)
}

fn bind_with_pause(plan: &BindPlan, tls: bool, stop: &AtomicBool, pause: Duration) -> Result<Bound, BindError> {
    let mut bound = Bound { plan: plan.clone(), listeners: Vec::new(), warnings: Vec::new() };
    for address in &plan.addresses {
        let Some(first) = bound.listeners.first() else {
            bound.listeners.push(bind_first(*address, tls, stop, pause)?);
            continue;
        };
        if Some(address.port()) == plan.canvas_port {
            match open(*address) {
                Ok(listener) => bound.listeners.push(listener),
                Err(error) => bound.warnings.push(format!(
                    "canvas: failed to bind {address} ({error}); the pages are served on the gateway's own port"
                )),
            }
            continue;
        }
        // Port 0 (tests): the alias takes the port that the first address was given.
        let port = first.local_addr().map_or(address.port(), |first| first.port());
        match open(SocketAddr::new(address.ip(), port)) {
            Ok(listener) => bound.listeners.push(listener),
            Err(error) => {
                bound.warnings.push(format!("gateway: failed to bind loopback alias {}:{port} ({error})", address.ip()))
            }
        }
    }
    Ok(bound)
}

fn bind_first(address: SocketAddr, tls: bool, stop: &AtomicBool, pause: Duration) -> Result<TcpListener, BindError> {
    let mut retries = 0;
    loop {
        match open(address) {
            Ok(listener) => return Ok(listener),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                if retries == limits::BIND_RETRIES {
                    return Err(BindError::InUse { address, tls });
                }
                retries += 1;
                let end = Instant::now() + pause;
                while Instant::now() < end {
                    if stop.load(Ordering::Relaxed) {
                        return Err(BindError::Stopped);
                    }
                    std::thread::sleep(LOOK.min(pause));
                }
            }
            Err(error) => return Err(BindError::Other { address, tls, error }),
        }
    }
}

/// One listener: address reuse (not on Windows, where it would share the port), IPv6 for itself only, non-blocking.
pub fn open(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    #[cfg(not(windows))]
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// Whether a socket can be bound to this address on any port; the `can_bind` of `bind_plan::plan`.
pub fn can_bind(ip: IpAddr) -> bool {
    open(SocketAddr::new(ip, 0)).is_ok()
}

/// Takes one connection: blocking, without Nagle's delay.
pub fn accept(listener: &TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
    let (stream, peer) = listener.accept()?;
    // Linux gives fresh flags to an accepted socket, other systems those of the listener.
    #[cfg(not(target_os = "linux"))]
    stream.set_nonblocking(false)?;
    // A peer that is gone already is found out by the first read.
    let _ = stream.set_nodelay(true);
    Ok((stream, peer))
}

/// What the accept loop does after an error; none of them ends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AcceptError {
    /// Nobody there (any more): wait for the listener.
    WouldBlock,
    /// That one connection is gone: take the next.
    Next,
    /// Out of descriptors, memory or permission: cut the oldest unauthenticated socket, pause `limits::ACCEPT_PAUSE`,
    /// log once per `limits::ACCEPT_LOG_EVERY`.
    Pause,
}

/// Sorts the errors of `accept` (EAGAIN; ECONNABORTED, EINTR and the network's own; EMFILE, ENFILE, ENOBUFS, ENOMEM,
/// EPERM and whatever is new).
pub fn classify_accept_error(error: &io::Error) -> AcceptError {
    use io::ErrorKind as Kind;
    match error.kind() {
        Kind::WouldBlock | Kind::TimedOut => AcceptError::WouldBlock,
        Kind::Interrupted
        | Kind::ConnectionAborted
        | Kind::ConnectionReset
        | Kind::NetworkDown
        | Kind::NetworkUnreachable
        | Kind::HostUnreachable => AcceptError::Next,
        _ => AcceptError::Pause,
    }
}

/// `ws://127.0.0.1:18789`, `wss://[::1]:18789`
pub fn url(address: SocketAddr, tls: bool) -> String {
    format!("{}://{address}", if tls { "wss" } else { "ws" })
}

#[cfg(test)]
mod tests {
    use super::super::bind_plan::plan;
    use super::*;
    use crate::config::model::Bind;

    fn loopback(port: u16) -> BindPlan {
        plan(Bind::Loopback, None, port, &|| None, &can_bind).unwrap()
    }

    #[test]
    fn binds_both_loopback_addresses_on_one_port() {
        let plan = loopback(0);
        let bound = bind(&plan, false, &AtomicBool::new(false)).unwrap();
        let port = bound.port();
        assert!(port > 0 && bound.addresses().iter().all(|a| a.port() == port));
        assert_eq!(bound.listeners.len() + bound.warnings.len(), plan.addresses.len());
        assert!(bound.describe(false).starts_with(&format!("ws://127.0.0.1:{port}")));
        if bound.listeners.len() == 2 {
            assert_eq!(bound.describe(true), format!("wss://127.0.0.1:{port}, wss://[::1]:{port}"));
        }
        assert!(bound.serves(&plan) && !bound.serves(&loopback(port)));

        let client = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let start = Instant::now();
        let (_, peer) = loop {
            match accept(&bound.listeners[0]) {
                Ok(accepted) => break accepted,
                Err(error) => assert_eq!(classify_accept_error(&error), AcceptError::WouldBlock),
            }
            assert!(start.elapsed().as_secs() < 20);
        };
        assert_eq!(peer, client.local_addr().unwrap());
    }

    #[test]
    fn a_taken_port_is_retried_and_named() {
        let taken = open("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = taken.local_addr().unwrap();
        let plan = BindPlan { addresses: vec![address], ..BindPlan::default() };
        let never = AtomicBool::new(false);
        let pause = Duration::from_millis(10);
        let start = Instant::now();
        let error = bind_with_pause(&plan, false, &never, pause).unwrap_err();
        assert!(start.elapsed() >= pause * limits::BIND_RETRIES);
        assert_eq!(
            error.to_string(),
            format!("another gateway instance is already listening on ws://{address} (EADDRINUSE)")
        );
        let stopped = bind(&plan, false, &AtomicBool::new(true)).unwrap_err();
        assert!(matches!(stopped, BindError::Stopped));

        // Freed during a pause: the next try gets it.
        let waiter = std::thread::spawn(move || bind_with_pause(&plan, false, &never, Duration::from_millis(200)));
        drop(taken);
        assert_eq!(waiter.join().unwrap().unwrap().port(), address.port());
    }

    #[test]
    fn other_errors_are_fatal_only_for_the_first_address() {
        let foreign: SocketAddr = "203.0.113.1:0".parse().unwrap();
        let plan = BindPlan { addresses: vec![foreign], ..BindPlan::default() };
        let error = bind(&plan, false, &AtomicBool::new(false)).unwrap_err();
        assert!(error.to_string().starts_with("failed to bind gateway socket on ws://203.0.113.1:0: "), "{error}");
        let local: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let plan = BindPlan { addresses: vec![local, foreign], ..BindPlan::default() };
        let bound = bind(&plan, false, &AtomicBool::new(false)).unwrap();
        assert_eq!(bound.listeners.len(), 1);
        assert!(bound.warnings[0].starts_with("gateway: failed to bind loopback alias 203.0.113.1:"));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn accept_errors_never_end_the_loop() {
        for (errno, expected) in [
            (11, AcceptError::WouldBlock), // EAGAIN
            (103, AcceptError::Next),      // ECONNABORTED
            (4, AcceptError::Next),        // EINTR
            (101, AcceptError::Next),      // ENETUNREACH
            (24, AcceptError::Pause),      // EMFILE
            (23, AcceptError::Pause),      // ENFILE
            (105, AcceptError::Pause),     // ENOBUFS
            (12, AcceptError::Pause),      // ENOMEM
            (1, AcceptError::Pause),       // EPERM
            (4095, AcceptError::Pause),
        ] {
            assert_eq!(classify_accept_error(&io::Error::from_raw_os_error(errno)), expected, "{errno}");
        }
    }
}
