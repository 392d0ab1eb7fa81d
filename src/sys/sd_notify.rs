//! What a service manager is told (sd_notify(3)): one datagram to the socket that NOTIFY_SOCKET names, if there is one.
//!
//! Any thread. Nobody waits for an answer, and a service manager that does not listen changes nothing.

/// The gateway serves: after the start, and at the end of a reload or restart.
pub fn ready() {
    tell("READY=1");
}

/// A reload or restart has begun; [`ready`] ends it.
pub fn reloading() {
    if let Some(micros) = monotonic_micros() {
        tell(&format!("RELOADING=1\nMONOTONIC_USEC={micros}"));
    }
}

/// The process is about to end.
pub fn stopping() {
    tell("STOPPING=1");
}

/// The loops of the gateway move.
pub fn watchdog() {
    tell("WATCHDOG=1");
}

/// How often the service manager wants to hear that; None: it does not.
pub fn watchdog_interval() -> Option<std::time::Duration> {
    let env = |name: &str| std::env::var(name).ok();
    interval(env("WATCHDOG_USEC").as_deref(), env("WATCHDOG_PID").as_deref(), std::process::id())
}

/// WATCHDOG_PID names who is meant; a child that inherited the variables is not.
fn interval(micros: Option<&str>, pid: Option<&str>, own: u32) -> Option<std::time::Duration> {
    let micros = micros?.trim().parse().ok().filter(|micros| *micros > 0)?;
    let meant = pid.is_none_or(|pid| pid.trim().parse() == Ok(own));
    meant.then(|| std::time::Duration::from_micros(micros))
}

/// One line for people, shown beside the state.
pub fn status(text: &str) {
    tell(&format!("STATUS={}", text.replace('\n', " ")));
}

#[cfg(target_os = "linux")]
fn tell(text: &str) {
    if let Some(name) = std::env::var_os("NOTIFY_SOCKET") {
        // Whether it arrives is the service manager's business.
        let _ = send(&name, text);
    }
}

#[cfg(not(target_os = "linux"))]
fn tell(_: &str) {}

#[cfg(target_os = "linux")]
fn send(name: &std::ffi::OsStr, text: &str) -> std::io::Result<()> {
    use std::os::linux::net::SocketAddrExt as _;
    use std::os::unix::ffi::OsStrExt as _;
    use std::os::unix::net::{SocketAddr, UnixDatagram};
    let address = match name.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        path => SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(path))?,
    };
    let socket = UnixDatagram::unbound()?;
    // A manager that reads nothing must not hold the gateway.
    socket.set_nonblocking(true)?;
    socket.send_to_addr(text.as_bytes(), &address).map(drop)
}

#[cfg(unix)]
fn monotonic_micros() -> Option<u64> {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the struct lives through the call, which fills it.
    let failed = unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) } != 0;
    (!failed).then_some(now.tv_sec as u64 * 1_000_000 + now.tv_nsec as u64 / 1000)
}

#[cfg(not(unix))]
fn monotonic_micros() -> Option<u64> {
    None
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use crate::sys::testing::TempDir;
    use std::ffi::OsStr;
    use std::os::linux::net::SocketAddrExt as _;
    use std::os::unix::net::{SocketAddr, UnixDatagram};

    #[test]
    fn the_watchdog_is_for_whom_it_names() {
        let ms = |ms| Some(std::time::Duration::from_millis(ms));
        for (micros, pid, wanted) in [
            (Some("60000000"), None, ms(60_000)),
            (Some("3000"), Some("7"), ms(3)),
            (Some("3000"), Some("8"), None),
            (Some("3000"), Some("x"), None),
            (Some("0"), None, None),
            (Some("-1"), None, None),
            (None, Some("7"), None),
        ] {
            assert_eq!(interval(micros, pid, 7), wanted, "{micros:?} {pid:?}");
        }
    }

    #[test]
    fn a_datagram_to_a_path_or_an_abstract_name() {
        let dir = TempDir::new("notify");
        let path = dir.0.join("socket");
        let name = format!("openclaw-notify-{}", std::process::id());
        let by_path = UnixDatagram::bind(&path).unwrap();
        let by_name = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        for (socket, address) in [(by_path, path.into_os_string()), (by_name, format!("@{name}").into())] {
            send(&address, "READY=1").unwrap();
            let mut bytes = [0; 64];
            let length = socket.recv(&mut bytes).unwrap();
            assert_eq!(&bytes[..length], b"READY=1");
        }
        assert!(send(OsStr::new("/nowhere/at/all"), "x").is_err());
        let (one, two) = (monotonic_micros().unwrap(), monotonic_micros().unwrap());
        assert!(one > 0 && two >= one);
    }
}
