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
    /// Every open socket, for the end, and the place it takes; one that was cut takes none any more, although its
    /// thread has not noticed yet.
    all: HashMap<u64, Place>,
    http: usize,
    websockets: usize,
    closed: bool,
}

struct Place {
    stream: Arc<TcpStream>,
    kind: Option<Kind>,
}

struct Stranger {
    kind: Kind,
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
            inner.cut_oldest(|_, s| s.address == address)?;
        }
        if inner.http >= self.caps.http {
            inner.cut_oldest(|_, s| s.kind == Kind::Http)?;
        }
        if inner.strangers.len() >= self.caps.unauthenticated {
            inner.cut_oldest(|_, _| true)?;
        }
        inner.next += 1;
        let id = inner.next;
        inner.strangers.insert(id, Stranger { kind: Kind::Http, address });
        *inner.per_address.entry(address).or_default() += 1;
        inner.all.insert(id, Place { stream: stream.clone(), kind: Some(Kind::Http) });
        inner.http += 1;
        Some(Ticket { sockets: self.clone(), id, address })
    }

    /// Cuts the oldest socket that has not authenticated, but not this newcomer (0: whichever is the oldest). False:
    /// there is none.
    pub fn cut_oldest_but(&self, newcomer: u64) -> bool {
        self.inner.lock().cut_oldest(|id, _| id != newcomer).is_some()
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
        for place in self.inner.lock().all.values() {
            let _ = place.stream.shutdown(Shutdown::Both);
        }
    }
}

impl Inner {
    fn cut_oldest(&mut self, wanted: impl Fn(u64, &Stranger) -> bool) -> Option<()> {
        let id = *self.strangers.iter().find(|(id, s)| wanted(**id, s))?.0;
        self.forget_stranger(id);
        self.vacate(id);
        if let Some(place) = self.all.get(&id) {
            // Its reader wakes up and ends.
            let _ = place.stream.shutdown(Shutdown::Both);
        }
        Some(())
    }

    /// Gives the place of a socket back, once.
    fn vacate(&mut self, id: u64) -> Option<Kind> {
        let kind = self.all.get_mut(&id)?.kind.take()?;
        match kind {
            Kind::Http => self.http -= 1,
            Kind::WebSocket => self.websockets -= 1,
        }
        Some(kind)
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
    /// The connection becomes a WebSocket. False: it has been cut, or there are too many and none can be cut.
    pub fn upgrade(&mut self) -> bool {
        let mut inner = self.sockets.inner.lock();
        let full = inner.websockets >= self.sockets.caps.websockets;
        if full && inner.cut_oldest(|_, s| s.kind == Kind::WebSocket).is_none() {
            return false;
        }
        let Some(stranger) = inner.strangers.get_mut(&self.id) else { return false };
        stranger.kind = Kind::WebSocket;
        inner.vacate(self.id);
        inner.websockets += 1;
        if let Some(place) = inner.all.get_mut(&self.id) {
            place.kind = Some(Kind::WebSocket);
        }
        true
    }

    /// The peer has proved who it is: it is never cut for a newcomer.
    pub fn authenticated(&mut self) {
        self.sockets.inner.lock().forget_stranger(self.id);
    }

    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// A number of its own, from 1.
    pub fn id(&self) -> u64 {
        self.id
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut inner = self.sockets.inner.lock();
        inner.forget_stranger(self.id);
        inner.vacate(self.id);
        inner.all.remove(&self.id);
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
        assert!(!t4.upgrade(), "the only WebSocket is in; to cut somebody else would make no room");
        assert!(!is_cut(&mut c3));
        t4.authenticated();
        let (s5, _c5) = pair(&listener);
        let t5 = sockets.admit(&s5, home).unwrap();
        assert!(sockets.cut_oldest_but(t5.id()) && is_cut(&mut c3));
        assert_eq!(sockets.open(), 5);
        drop((t1, _t2, _t3, t4, t5));
        assert_eq!(sockets.open(), 0);
        let inner = sockets.inner.lock();
        assert!(inner.strangers.is_empty() && inner.per_address.is_empty() && inner.http == 0 && inner.websockets == 0);
    }

    #[test]
    fn a_cut_socket_gave_its_place_back_before_its_thread_noticed() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let caps = Caps { http: 2, websockets: 2, unauthenticated: 4, unauthenticated_per_address: 2 };
        let sockets = Sockets::new(caps);
        let home: IpAddr = "127.0.0.1".parse().unwrap();
        let mut held = Vec::new();
        // None of these tickets is dropped: no thread notices anything.
        for _ in 0..10 {
            let (stream, theirs) = pair(&listener);
            let ticket = sockets.admit(&stream, home).expect("the oldest makes room");
            held.push((stream, theirs, ticket));
        }
        assert_eq!(held.iter_mut().filter_map(|(_, c, _)| is_cut(c).then_some(())).count(), 8);
        assert!(!held[0].2.upgrade(), "a socket that was cut is no WebSocket any more");
        assert!(held[8].2.upgrade() && held[9].2.upgrade());
        let (stream, _theirs) = pair(&listener);
        let mut newcomer = sockets.admit(&stream, home).unwrap();
        assert!(newcomer.upgrade() && is_cut(&mut held[8].1) && !is_cut(&mut held[9].1));
        held[9].2.authenticated();
        newcomer.authenticated();
        assert!(!sockets.cut_oldest_but(0), "those who are in stay");
        drop((held, newcomer));
        let inner = sockets.inner.lock();
        assert!(inner.all.is_empty() && inner.http == 0 && inner.websockets == 0 && inner.strangers.is_empty());
    }

    #[test]
    fn room_for_a_newcomer_is_never_made_by_cutting_it() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let caps = Caps { http: 9, websockets: 9, unauthenticated: 9, unauthenticated_per_address: 9 };
        let sockets = Sockets::new(caps);
        let (stream, mut theirs) = pair(&listener);
        let ticket = sockets.admit(&stream, "127.0.0.1".parse().unwrap()).unwrap();
        assert!(!sockets.cut_oldest_but(ticket.id()) && !is_cut(&mut theirs));
        assert!(sockets.cut_oldest_but(0) && is_cut(&mut theirs));
    }
}
