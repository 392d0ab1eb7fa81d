//! One connection's socket as its reader sees it; [`Link::wire`] is what its outbox writes to. One descriptor, shared.

use std::io::{self, Read};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};

use super::wire::TcpWire;
use crate::hub::outbox::Wire;

/// The reading half. Clones are the same connection.
#[derive(Clone)]
pub struct Link {
    tcp: Arc<TcpStream>,
}

impl Link {
    pub fn plain(tcp: Arc<TcpStream>) -> Link {
        Link { tcp }
    }

    /// Reads what has come, waiting at most as long as [`Link::set_patience`] said. 0: the peer ended its half.
    pub fn read(&self, into: &mut [u8]) -> io::Result<usize> {
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
        self.tcp.set_read_timeout(Some(wait.max(Duration::from_millis(1))))
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
        Box::new(TcpWire(self.tcp.clone()))
    }

    pub fn tcp(&self) -> &TcpStream {
        &self.tcp
    }
}

/// The read waited as long as it may.
pub fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}
