//! Which sockets are open, and which of them have not proved who they are. A leaf lock for a few lines.
//!
//! At any cap the oldest socket that has not authenticated is cut for the newcomer: whoever floods the port competes
//! with itself, not with clients that are in.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Shutdown, TcpStream};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::policy::net;
use crate::sys::fds::Caps;

#[derive(Clone)]
pub struct Sockets {
    inner: Arc<Mutex<Inner>>,
    caps: Caps,
}

#[derive(Default)]
struct Inner {
    next: u64,
    /// By age.
    strangers: BTreeMap<u64, Stranger>,
    per_address: HashMap<IpAddr, usize>,
    /// Every open socket, for the end.
    all: HashMap<u64, Arc<TcpStream>>,
    http: usize,
    websockets: usize,
    closed: bool,
}

struct Stranger {
    stream: Arc<TcpStream>,
    address: IpAddr,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Http,
    WebSocket,
}

/// A socket's place; dropping it gives the place back.
pub struct Ticket {
    sockets: Sockets,
    id: u64,
    kind: Kind,
    address: IpAddr,
}

impl Sockets {
    pub fn new(caps: Caps) -> Sockets {
        Sockets { inner: Arc::default(), caps }
    }

    /// Takes a fresh connection in. None: at a cap, and nobody can be cut for it.
    pub fn admit(&self, stream: &Arc<TcpStream>, address: IpAddr) -> Option<Ticket> {
        let address = net::plain_ip(address);
        let mut inner = self.inner.lock();
        if inner.closed {
            return None;
        }
        let here = inner.per_address.get(&address).copied().unwrap_or(0);
        if !net::is_loopback(address) && here >= self.caps.unauthenticated_per_address {
            inner.cut_oldest(|s| s.address == address)?;
        }
        if inner.http >= self.caps.http || inner.strangers.len() >= self.caps.unauthenticated {
            inner.cut_oldest(|_| true)?;
        }
        inner.next += 1;
        let id = inner.next;
        inner.strangers.insert(id, Stranger { stream: stream.clone(), address });
        *inner.per_address.entry(address).or_default() += 1;
        inner.all.insert(id, stream.clone());
        inner.http += 1;
        Some(Ticket { sockets: self.clone(), id, kind: Kind::Http, address })
    }

    /// Cuts the oldest socket that has not authenticated, to make room for another. False: there is none.
    pub fn cut_oldest(&self) -> bool {
        self.inner.lock().cut_oldest(|_| true).is_some()
    }

    pub fn open(&self) -> usize {
        self.inner.lock().all.len()
    }

    /// Refuses newcomers from now on.
    pub fn close(&self) {
        self.inner.lock().closed = true;
    }

    /// Wakes every reader by ending its socket.
    pub fn cut_all(&self) {
        for stream in self.inner.lock().all.values() {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Inner {
    fn cut_oldest(&mut self, wanted: impl Fn(&Stranger) -> bool) -> Option<()> {
        let id = *self.strangers.iter().find(|(_, s)| wanted(s))?.0;
        let stranger = self.strangers.remove(&id).expect("the id was just found");
        // Its reader wakes up and gives the rest of its place back.
        let _ = stranger.stream.shutdown(Shutdown::Both);
        self.forget_address(stranger.address);
        Some(())
    }

    fn forget_address(&mut self, address: IpAddr) {
        if let Some(n) = self.per_address.get_mut(&address) {
            *n -= 1;
            if *n == 0 {
                self.per_address.remove(&address);
            }
        }
    }

    fn forget_stranger(&mut self, id: u64) {
        if let Some(stranger) = self.strangers.remove(&id) {
            self.forget_address(stranger.address);
        }
    }
}

impl Ticket {
    /// The connection becomes a WebSocket. False: there are too many, and nobody can be cut.
    pub fn upgrade(&mut self) -> bool {
        let mut inner = self.sockets.inner.lock();
        if inner.websockets >= self.sockets.caps.websockets {
            let me = self.id;
            let older = inner.strangers.iter().find(|(id, _)| **id != me).map(|(id, _)| *id);
            let Some(older) = older else { return false };
            let stranger = inner.strangers.remove(&older).expect("the id was just found");
            let _ = stranger.stream.shutdown(Shutdown::Both);
            inner.forget_address(stranger.address);
        }
        inner.http -= 1;
        inner.websockets += 1;
        self.kind = Kind::WebSocket;
        true
    }

    /// The peer has proved who it is: it is never cut for a newcomer.
    pub fn authenticated(&mut self) {
        self.sockets.inner.lock().forget_stranger(self.id);
    }

    pub fn address(&self) -> IpAddr {
        self.address
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut inner = self.sockets.inner.lock();
        inner.forget_stranger(self.id);
        inner.all.remove(&self.id);
        match self.kind {
            Kind::Http => inner.http -= 1,
            Kind::WebSocket => inner.websockets -= 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::net::TcpListener;

    fn pair(listener: &TcpListener) -> (Arc<TcpStream>, TcpStream) {
        let theirs = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (Arc::new(listener.accept().unwrap().0), theirs)
    }

    fn is_cut(theirs: &mut TcpStream) -> bool {
        theirs.set_nonblocking(true).unwrap();
        matches!(theirs.read(&mut [0]), Ok(0))
    }

    #[test]
    fn the_oldest_stranger_goes_and_nobody_else() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let caps = Caps { http: 3, websockets: 1, unauthenticated: 3, unauthenticated_per_address: 2 };
        let sockets = Sockets::new(caps);
        let home: IpAddr = "127.0.0.1".parse().unwrap();
        let away: IpAddr = "192.0.2.1".parse().unwrap();
        let (s1, mut c1) = pair(&listener);
        let (s2, mut c2) = pair(&listener);
        let (s3, mut c3) = pair(&listener);
        let (s4, mut c4) = pair(&listener);
        let mut t1 = sockets.admit(&s1, home).unwrap();
        assert!(t1.upgrade());
        t1.authenticated();
        let _t2 = sockets.admit(&s2, away).unwrap();
        let _t3 = sockets.admit(&s3, away).unwrap();
        let mut t4 = sockets.admit(&s4, away).unwrap();
        assert!(is_cut(&mut c2), "the third of one address cuts its first");
        assert!(!is_cut(&mut c1) && !is_cut(&mut c3) && !is_cut(&mut c4));
        assert!(t4.upgrade(), "at the cap of WebSockets the other stranger goes");
        assert!(is_cut(&mut c3) && !is_cut(&mut c4));
        let (s5, _c5) = pair(&listener);
        let mut t5 = sockets.admit(&s5, home).unwrap();
        t4.authenticated();
        assert!(!t5.upgrade(), "nobody is left to cut");
        assert_eq!(sockets.open(), 5);
        drop((t1, _t2, _t3, t4, t5));
        assert_eq!(sockets.open(), 0);
        let inner = sockets.inner.lock();
        assert!(inner.strangers.is_empty() && inner.per_address.is_empty() && inner.http == 0 && inner.websockets == 0);
    }
}
