//! A tunnel through ssh(1) for as long as a command wants it: `ssh -N -L`, without questions, ended when it is dropped.
//! The host must be known to ssh already, because a token goes through the tunnel.

use std::io::Read;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::sys::process::{self, Sig};

const SSH_PORT: u16 = 22;
const POLL: Duration = Duration::from_millis(20);
/// Between asking ssh to end and ending it.
const GRACE: Duration = Duration::from_millis(500);
/// Of what ssh complains about.
const COMPLAINT_BYTES: u64 = 4096;

/// Where to log in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// `user@host` or `host`.
    pub host: String,
    pub port: u16,
}

impl Login {
    /// `[ssh ]user@host[:port]`, an IPv6 address with a port in brackets. Nothing in it can become an option.
    pub fn parse(text: &str) -> Result<Login> {
        let bad = || {
            Error::new(format!("not a target for ssh: \"{}\"", super::output::plain(text)))
                .hint("Use --ssh user@host or --ssh user@host:port.")
        };
        let text = text.trim();
        let text = text.strip_prefix("ssh ").unwrap_or(text).trim();
        let (user, rest) = text.rsplit_once('@').map_or(("", text), |(user, rest)| (user, rest));
        let (host, port) = match rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((host, "")) => (host, None),
            Some((host, port)) => (host, Some(port.strip_prefix(':').ok_or_else(bad)?)),
            None => match rest.split_once(':') {
                // More than one colon: an address of IPv6 without a port.
                Some((host, port)) if !port.contains(':') => (host, Some(port)),
                _ => (rest, None),
            },
        };
        let port = match port {
            Some(digits) => digits.parse().ok().filter(|port| *port > 0).ok_or_else(bad)?,
            None => SSH_PORT,
        };
        let odd = |c: char| c.is_whitespace() || c.is_control() || "'\"\\`$;&|<>()".contains(c);
        let empty_user = text.contains('@') && user.is_empty();
        if host.is_empty() || empty_user || text.starts_with('-') || host.starts_with('-') || text.contains(odd) {
            return Err(bad());
        }
        let host = if user.is_empty() { host.to_owned() } else { format!("{user}@{host}") };
        Ok(Login { host, port })
    }
}

impl std::fmt::Display for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.host)?;
        if self.port == SSH_PORT { Ok(()) } else { write!(f, ":{}", self.port) }
    }
}

/// An ssh that runs. Dropped, it is ended.
#[derive(Debug)]
pub struct Tunnel {
    child: Child,
    complaints: Option<JoinHandle<String>>,
    pub login: Login,
    pub local_port: u16,
    pub remote_port: u16,
}

impl Tunnel {
    /// Starts ssh towards the loopback port of the other machine; whether it comes up is told by `wait_open`.
    pub fn start(login: Login, identity: Option<&Path>, remote_port: u16, patience: Duration) -> Result<Tunnel> {
        // Free at this moment; if somebody is quicker, ssh says so and ends.
        let local_port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
        let mut command = Command::new("ssh");
        command.args(["-N", "-T", "-L", &format!("127.0.0.1:{local_port}:127.0.0.1:{remote_port}")]);
        let seconds = format!("ConnectTimeout={}", patience.as_secs().max(1));
        for option in [
            "BatchMode=yes",
            "ExitOnForwardFailure=yes",
            "StrictHostKeyChecking=yes",
            "ControlMaster=no",
            "ControlPath=none",
            &seconds,
        ] {
            command.args(["-o", option]);
        }
        command.args(["-p", &login.port.to_string()]);
        if let Some(identity) = identity {
            command.arg("-i").arg(identity).args(["-o", "IdentitiesOnly=yes"]);
        }
        command.args(["--", &login.host]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => Error::new("there is no ssh in PATH; install an OpenSSH client"),
            _ => Error::new(format!("ssh cannot be started: {e}")),
        })?;
        let complaints = child.stderr.take().map(|pipe| thread::spawn(move || last_line(pipe)));
        Ok(Tunnel { child, complaints, login, local_port, remote_port })
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until somebody answers at this end. `Err` says what ssh complained about.
    pub fn wait_open(&mut self, deadline: Instant) -> Result<()> {
        let address = SocketAddr::from(([127, 0, 0, 1], self.local_port));
        loop {
            if let Some(status) = self.child.try_wait()? {
                let complaint = self.complaints.take().and_then(|reader| reader.join().ok()).unwrap_or_default();
                let text = if complaint.is_empty() { format!("ssh ended with {status}") } else { complaint };
                return Err(Error::new(format!("{}: {text}", self.login)));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Error::new(format!("{}: ssh did not connect in time", self.login)));
            }
            if TcpStream::connect_timeout(&address, left).is_ok() {
                return Ok(());
            }
            thread::sleep(POLL.min(left));
        }
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        let end = Instant::now() + GRACE;
        if matches!(self.child.try_wait(), Ok(None)) && process::signal(self.child.id(), Sig::Term).is_ok() {
            while Instant::now() < end && matches!(self.child.try_wait(), Ok(None)) {
                thread::sleep(POLL);
            }
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What ssh said last. What comes after the bound is read and forgotten, so that ssh never waits for us.
fn last_line(mut pipe: ChildStderr) -> String {
    let mut bytes = Vec::new();
    let _ = (&mut pipe).take(COMPLAINT_BYTES).read_to_end(&mut bytes);
    let _ = std::io::copy(&mut pipe, &mut std::io::sink());
    let text = String::from_utf8_lossy(&bytes).into_owned();
    super::output::plain(text.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_and_what_is_none() {
        for (text, host, port) in [
            ("pi@box", "pi@box", 22),
            (" ssh pi@box:2222 ", "pi@box", 2222),
            ("box", "box", 22),
            ("pi@[2001:db8::1]:2022", "pi@2001:db8::1", 2022),
            ("pi@2001:db8::1", "pi@2001:db8::1", 22),
            ("a@b@box", "a@b@box", 22),
        ] {
            assert_eq!(Login::parse(text).unwrap(), Login { host: host.into(), port }, "{text}");
        }
        for text in [
            "",
            "-oProxyCommand=x",
            "pi@-oProxyCommand=x",
            "ssh -oProxyCommand=x",
            "pi@",
            "@box",
            "pi@box:",
            "pi@box:0",
            "pi@box:99999",
            "pi@box;rm",
            "pi@bo x",
            "[::1]22",
        ] {
            let error = Login::parse(text).unwrap_err().to_string();
            assert!(error.starts_with("not a target for ssh: ") && error.contains("\nUse --ssh user@host"), "{error}");
        }
        assert_eq!(Login { host: "pi@box".into(), port: 2222 }.to_string(), "pi@box:2222");
    }
}
