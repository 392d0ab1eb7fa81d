//! Many clients in one thread: they listen, count what reaches them, answer pings and close frames.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use crate::ws::{self, Client, Door};
use crate::{Result, fail};

pub struct Swarm {
    epoll: i32,
    peers: Vec<Peer>,
    scratch: Vec<u8>,
    /// Broadcasts received, all clients together.
    pub events: u64,
    /// Clients whose connection has ended.
    pub gone: usize,
    /// Length of the last broadcast's text.
    pub event_bytes: usize,
    /// Clients that have fewer than `due` broadcasts.
    due: u64,
    behind: usize,
}

struct Peer {
    stream: TcpStream,
    /// The beginning of a frame whose rest has not come yet.
    rest: Vec<u8>,
    events: u64,
    open: bool,
}

impl Swarm {
    pub fn connect(door: &Door, clients: usize) -> Result<Swarm> {
        Swarm::adopt((0..clients).map(|_| Client::connect(door, None)).collect::<Result<_>>()?)
    }

    pub fn adopt(clients: Vec<Client>) -> Result<Swarm> {
        // SAFETY: no pointers; the descriptor is closed in drop.
        let epoll = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        if epoll < 0 {
            return Err(std::io::Error::last_os_error().into());
        }
        let mut swarm = Swarm {
            epoll,
            peers: Vec::with_capacity(clients.len()),
            scratch: vec![0; 64 * 1024],
            events: 0,
            gone: 0,
            event_bytes: 0,
            due: 0,
            behind: 0,
        };
        for client in clients {
            let (stream, rest) = client.into_parts();
            stream.set_nonblocking(true)?;
            let mut event = libc::epoll_event { events: libc::EPOLLIN as u32, u64: swarm.peers.len() as u64 };
            // SAFETY: both descriptors are open and `event` outlives the call.
            if unsafe { libc::epoll_ctl(epoll, libc::EPOLL_CTL_ADD, stream.as_raw_fd(), &mut event) } < 0 {
                return Err(std::io::Error::last_os_error().into());
            }
            swarm.peers.push(Peer { stream, rest, events: 0, open: true });
        }
        Ok(swarm)
    }

    pub fn len(&self) -> usize {
        self.peers.len()
    }

    /// Lets the clients live for a while.
    pub fn rest(&mut self, time: Duration) -> Result<()> {
        let end = Instant::now() + time;
        while let Some(left) = end.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
            self.pump(left)?;
        }
        Ok(())
    }

    /// Until every connection has ended.
    pub fn until_gone(&mut self) -> Result<()> {
        let end = Instant::now() + ws::PATIENCE;
        while self.gone < self.len() {
            match end.checked_duration_since(Instant::now()) {
                Some(left) => self.pump(left)?,
                None => return fail(format!("{} of {} clients were not closed", self.len() - self.gone, self.len())),
            }
        }
        Ok(())
    }

    /// Client 0 sends `system-event` with `text`; the time until the last client has the broadcast.
    pub fn broadcast(&mut self, text: &str) -> Result<Duration> {
        if self.gone > 0 {
            return fail(format!("{} clients lost their connection", self.gone));
        }
        // Whoever got a stray broadcast must not count it for this one.
        for peer in &mut self.peers {
            peer.events = self.due;
        }
        self.due += 1;
        self.behind = self.peers.len();
        let request = format!(
            "{{\"type\":\"req\",\"id\":\"b-event\",\"method\":\"system-event\",\"params\":{{\"text\":\"{text}\"}}}}"
        );
        let mut frame = Vec::with_capacity(request.len() + 16);
        ws::encode(&mut frame, ws::TEXT, request.as_bytes());
        let begin = Instant::now();
        self.peers[0].stream.write_all(&frame)?;
        while self.behind > 0 {
            if begin.elapsed() > ws::PATIENCE || self.gone > 0 {
                return fail(format!("{} of {} clients did not get a broadcast", self.behind, self.len()));
            }
            self.pump(Duration::from_secs(1))?;
        }
        Ok(begin.elapsed())
    }

    /// Takes what has arrived, waiting at most `wait` for something.
    fn pump(&mut self, wait: Duration) -> Result<()> {
        let mut ready = [libc::epoll_event { events: 0, u64: 0 }; 64];
        let millis = wait.as_millis().clamp(1, 60_000) as i32;
        // SAFETY: `ready` has room for the number of entries that is passed.
        let count = unsafe { libc::epoll_wait(self.epoll, ready.as_mut_ptr(), ready.len() as i32, millis) };
        for event in &ready[..count.max(0) as usize] {
            self.receive(event.u64 as usize)?;
        }
        Ok(())
    }

    fn receive(&mut self, index: usize) -> Result<()> {
        let mut scratch = std::mem::take(&mut self.scratch);
        let peer = &mut self.peers[index];
        let read = match peer.stream.read(&mut scratch) {
            Ok(read) => read,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                self.scratch = scratch;
                return Ok(());
            }
            Err(_) => 0,
        };
        if read == 0 {
            self.end(index);
        } else if self.peers[index].rest.is_empty() {
            let used = self.frames(index, &scratch[..read])?;
            self.peers[index].rest.extend_from_slice(&scratch[used..read]);
        } else {
            let mut all = std::mem::take(&mut self.peers[index].rest);
            all.extend_from_slice(&scratch[..read]);
            let used = self.frames(index, &all)?;
            all.drain(..used);
            self.peers[index].rest = all;
        }
        self.scratch = scratch;
        Ok(())
    }

    /// Handles the whole frames at the start of `buf`; how many bytes they took.
    fn frames(&mut self, index: usize, buf: &[u8]) -> Result<usize> {
        let mut used = 0;
        while let Some(frame) = ws::bounds(&buf[used..])? {
            let payload = &buf[used + frame.head..used + frame.end];
            used += frame.end;
            match frame.opcode {
                ws::TEXT if ws::find(&payload[..payload.len().min(96)], b"\"presence\"").is_some() => {
                    self.events += 1;
                    self.event_bytes = payload.len();
                    let peer = &mut self.peers[index];
                    peer.events += 1;
                    self.behind -= usize::from(peer.events == self.due);
                }
                ws::TEXT if ws::find(&payload[..payload.len().min(96)], b"\"ok\":false").is_some() => {
                    return fail(format!("refused: {}", String::from_utf8_lossy(&payload[..payload.len().min(400)])));
                }
                ws::PING => self.reply(index, ws::PONG, payload),
                ws::CLOSE => {
                    self.reply(index, ws::CLOSE, &payload[..payload.len().min(2)]);
                    self.end(index);
                }
                _ => {}
            }
        }
        Ok(used)
    }

    fn reply(&mut self, index: usize, opcode: u8, payload: &[u8]) {
        let mut frame = Vec::new();
        ws::encode(&mut frame, opcode, payload);
        // A peer that is gone shows at its next read.
        let _ = self.peers[index].stream.write_all(&frame);
    }

    fn end(&mut self, index: usize) {
        let peer = &mut self.peers[index];
        if std::mem::replace(&mut peer.open, false) {
            self.gone += 1;
            // SAFETY: both descriptors are open; removal ignores the event argument.
            unsafe { libc::epoll_ctl(self.epoll, libc::EPOLL_CTL_DEL, peer.stream.as_raw_fd(), std::ptr::null_mut()) };
            let _ = peer.stream.shutdown(std::net::Shutdown::Both);
        }
    }
}

impl Drop for Swarm {
    fn drop(&mut self) {
        // SAFETY: opened by `adopt` and closed nowhere else.
        unsafe { libc::close(self.epoll) };
    }
}
