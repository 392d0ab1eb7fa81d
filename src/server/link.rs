//! One connection's socket as its reader sees it; [`Link::wire`] is what its outbox writes to. One descriptor, shared.

use std::io::{self, Read};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};

use super::certificate::InForce;
use super::input::Input;
use super::tls::{Failed, Session, TlsWire};
use super::wire::TcpWire;
use crate::hub::outbox::{Outbox, Wire};

/// The reading half. Clones are the same connection.
#[derive(Clone)]
pub struct Link {
    tcp: Arc<TcpStream>,
    tls: Option<Arc<Session>>,
}

impl Link {
    pub fn plain(tcp: Arc<TcpStream>) -> Link {
        Link { tcp, tls: None }
    }

    /// A fresh connection, after its handshake where TLS is spoken, which may take as long as `patience`. None: there is
    /// nobody to be served.
    #[inline(never)]
    pub fn open(tcp: Arc<TcpStream>, tls: Option<&InForce>, patience: Duration) -> Option<Link> {
        let Some(tls) = tls else { return Some(Link::plain(tcp)) };
        match Session::accept(&tcp, tls.config(), patience) {
            Ok(session) => Some(Link { tcp, tls: Some(Arc::new(session)) }),
            Err(Failed::Refused(error)) => {
                log::debug!(target: "gateway", "TLS handshake failed: {error}");
                // A reset would eat the alert that says why.
                let _ = tcp.shutdown(Shutdown::Write);
                Input::new(Link::plain(tcp)).linger();
                None
            }
            Err(Failed::NoTls) => {
                log::debug!(target: "gateway", "a client that speaks no TLS was closed");
                None
            }
            Err(Failed::Gone) => None,
        }
    }

    /// From here on this outbox alone writes to the connection.
    pub fn attach(&self, outbox: &Arc<Outbox>) {
        self.tls.iter().for_each(|tls| tls.attach(outbox));
    }

    /// Reads what has come, waiting at most as long as [`Link::set_patience`] said. 0: the peer ended its half.
    pub fn read(&self, into: &mut [u8]) -> io::Result<usize> {
        if let Some(tls) = &self.tls {
            return tls.read(into);
        }
        loop {
            match (&*self.tcp).read(into) {
                // A signal that happened to be delivered to this thread.
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                read => return read,
            }
        }
    }

    /// How long a read may wait; at least a millisecond.
    pub fn set_patience(&self, wait: Duration) -> io::Result<()> {
        let wait = wait.max(Duration::from_millis(1));
        match &self.tls {
            Some(tls) => {
                tls.set_patience(wait);
                Ok(())
            }
            None => self.tcp.set_read_timeout(Some(wait)),
        }
    }

    /// Lets the system ask the peer's whether it is still there when nothing was heard for so long: what no program at
    /// the other end notices, and what keeps the entries of routers in between.
    pub fn ask_while_silent(&self, silence: Duration) {
        let asking = TcpKeepalive::new().with_time(silence).with_interval(silence);
        // Refused only by sockets that are gone.
        let _ = SockRef::from(&*self.tcp).set_tcp_keepalive(&asking);
    }

    /// The error that the system noted while nobody read, such as a reset that came behind the peer's end.
    pub fn take_error(&self) -> Option<io::Error> {
        self.tcp.take_error().ok().flatten()
    }

    /// The sending half.
    pub fn wire(&self) -> Box<dyn Wire> {
        match &self.tls {
            Some(tls) => Box::new(TlsWire(tls.clone())),
            None => Box::new(TcpWire(self.tcp.clone())),
        }
    }

    pub fn tcp(&self) -> &TcpStream {
        &self.tcp
    }
}

/// The read waited as long as it may.
pub fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}
