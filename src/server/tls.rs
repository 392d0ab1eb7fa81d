//! TLS on one connection: a state machine under a leaf lock, and who may touch it when.
//!
//! The connection's reader receives without the lock, then takes it to decrypt. The holder of the outbox's pen takes it
//! to encrypt one piece, and sends without it; nobody else encrypts. What TLS itself has to say (an alert) is left for
//! the pen: the reader asks the outbox for a turn.

use std::io::{self, IoSlice, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustls::{ServerConfig, ServerConnection};

use super::link::is_timeout;
use super::wire::TcpWire;
use crate::hub::outbox::{Outbox, Wire};
use crate::limits;

/// First byte of everything that begins with a TLS handshake (RFC 8446 section 5.1).
const HANDSHAKE: u8 = 22;
const PIECE: usize = 4096;

/// One connection that speaks TLS, after its handshake.
pub struct Session {
    tcp: Arc<TcpStream>,
    state: Mutex<State>,
    /// Whose pen writes here now.
    outbox: Mutex<Weak<Outbox>>,
}

struct State {
    conn: ServerConnection,
    /// Received and not decrypted yet.
    waiting: Vec<u8>,
    /// How long a read may wait.
    patience: Duration,
}

/// Why there is no session.
pub enum Failed {
    /// The peer speaks no TLS, or says nothing: it gets no answer.
    NoTls,
    /// It has been told, if it can be told.
    Refused(rustls::Error),
    /// It was too slow, or is gone.
    Gone,
}

impl Session {
    /// Shakes hands, on the connection's own thread; from its first byte it may take as long as `patience`. Nobody else
    /// uses the socket yet.
    pub fn accept(tcp: &Arc<TcpStream>, config: Arc<ServerConfig>, patience: Duration) -> Result<Session, Failed> {
        let mut conn = ServerConnection::new(config).map_err(Failed::Refused)?;
        // A record at a time: what waits to be encrypted waits in the outbox.
        conn.set_buffer_limit(Some(limits::TLS_PIECE_BYTES));
        let mut state = State { conn, waiting: Vec::new(), patience: limits::HTTP_FIRST_BYTE };
        let mut deadline = Instant::now() + limits::HTTP_FIRST_BYTE.min(patience);
        let mut begun = false;
        while state.conn.is_handshaking() {
            let mut piece = [0; PIECE];
            let n = match receive(tcp, &mut piece, deadline) {
                Ok(0) | Err(_) => return Err(Failed::Gone),
                Ok(n) => n,
            };
            if !begun {
                if piece[0] != HANDSHAKE {
                    return Err(Failed::NoTls);
                }
                begun = true;
                deadline = Instant::now() + patience;
            }
            state.waiting.extend_from_slice(&piece[..n]);
            let done = loop {
                match state.decrypt_more() {
                    Ok(true) if state.conn.is_handshaking() => {}
                    Ok(_) => break Ok(()),
                    Err(error) => break Err(error),
                }
            };
            let sent = (&**tcp).write_all(&state.records());
            if let Err(error) = done {
                return Err(Failed::Refused(error));
            }
            if sent.is_err() {
                return Err(Failed::Gone);
            }
        }
        Ok(Session { tcp: tcp.clone(), state: Mutex::new(state), outbox: Mutex::default() })
    }

    /// From here on this outbox writes to the connection.
    pub fn attach(&self, outbox: &Arc<Outbox>) {
        *self.outbox.lock() = Arc::downgrade(outbox);
    }

    pub fn set_patience(&self, wait: Duration) {
        self.state.lock().patience = wait;
    }

    /// Reads what has been decrypted, waiting at most as long as the patience for more, however the bytes drip.
    pub fn read(&self, into: &mut [u8]) -> io::Result<usize> {
        let mut deadline = None;
        loop {
            let (read, speaks, patience) = {
                let mut state = self.state.lock();
                let read = state.plain(into);
                (read, state.conn.wants_write(), state.patience)
            };
            if speaks {
                let outbox = self.outbox.lock().upgrade();
                outbox.inspect(|outbox| outbox.take_turn());
            }
            if let Some(done) = read.transpose() {
                return done;
            }
            let deadline = *deadline.get_or_insert_with(|| Instant::now() + patience);
            let mut piece = [0; PIECE];
            let n = receive(&self.tcp, &mut piece, deadline)?;
            if n == 0 {
                // Without the peer's goodbye: as the end of a plain connection, whose messages have lengths of their own.
                return Ok(0);
            }
            self.state.lock().waiting.extend_from_slice(&piece[..n]);
        }
    }
}

impl State {
    /// What can be read without receiving more. None: nothing.
    fn plain(&mut self, into: &mut [u8]) -> io::Result<Option<usize>> {
        loop {
            match self.conn.reader().read(into) {
                Err(e) if is_timeout(&e) => {}
                read => return read.map(Some),
            }
            if !self.decrypt_more().map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))? {
                return Ok(None);
            }
        }
    }

    /// False: all that was received has been looked at.
    fn decrypt_more(&mut self) -> Result<bool, rustls::Error> {
        if self.waiting.is_empty() {
            return Ok(false);
        }
        let taken = self.conn.read_tls(&mut &self.waiting[..]).map_err(|e| rustls::Error::General(e.to_string()))?;
        self.waiting.drain(..taken);
        if self.waiting.is_empty() {
            // An idle connection keeps no buffer.
            self.waiting = Vec::new();
        }
        self.conn.process_new_packets()?;
        // Nothing is taken behind the peer's goodbye.
        Ok(taken > 0)
    }

    /// What has been encrypted, to be sent in this order.
    fn records(&mut self) -> Vec<u8> {
        let mut records = Vec::new();
        while self.conn.wants_write() {
            self.conn.write_tls(&mut records).expect("memory takes everything");
        }
        records
    }
}

/// One receive that ends at the deadline.
fn receive(tcp: &TcpStream, into: &mut [u8], deadline: Instant) -> io::Result<usize> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        tcp.set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
        match (&*tcp).read(into) {
            // A signal that happened to be delivered to this thread.
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            read => return read,
        }
    }
}

/// The sending half.
pub struct TlsWire(pub Arc<Session>);

impl Wire for TlsWire {
    fn write(&self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        let (taken, records) = {
            let mut state = self.0.state.lock();
            // A session that has failed encrypts nothing more; what it says about that is there already.
            let taken = if bufs.is_empty() { 0 } else { state.conn.writer().write_vectored(bufs)? };
            (taken, state.records())
        };
        // Each step of it is bounded by SO_SNDTIMEO.
        (&*self.0.tcp).write_all(&records)?;
        Ok(taken)
    }

    /// The pen holder alone encrypts: everybody else only queues.
    fn try_write(&self, _bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        Err(io::ErrorKind::WouldBlock.into())
    }

    fn shutdown(&self, how: Shutdown) {
        let tcp = TcpWire(self.0.tcp.clone());
        if how == Shutdown::Write {
            let goodbye = {
                let mut state = self.0.state.lock();
                state.conn.send_close_notify();
                state.records()
            };
            // A peer that leaves no room for it does not wait for it.
            let _ = tcp.try_write(&[IoSlice::new(&goodbye)]);
        }
        tcp.shutdown(how);
    }
}
