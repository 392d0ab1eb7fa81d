//! Listening TCP sockets asked of the kernel through netlink (sock_diag(7)): only listeners are walked, while
//! /proc/self/net/tcp walks a hash table of every connection that could be, 10 ms on a large machine.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use super::sockets::Row;

const NETLINK_SOCK_DIAG: i32 = 4;
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
/// NLM_F_REQUEST | NLM_F_DUMP
const FLAGS: u16 = 0x301;
const IPPROTO_TCP: u8 = 6;
const TCP_LISTEN: u8 = 10;
const HEADER: usize = 16;
/// struct inet_diag_msg without the attributes behind it.
const MESSAGE: usize = 72;
/// The kernel answers at once; this only keeps a broken one from holding us.
const PATIENCE: Duration = Duration::from_millis(500);
/// More replies than any machine has listeners for.
const REPLIES: usize = 4096;

/// Listeners of `port`, both families. Err where netlink is not allowed or the kernel has no such module.
pub fn listening(port: u16) -> io::Result<Vec<Row>> {
    let mut rows = ask(libc::AF_INET as u8, port)?;
    rows.extend(ask(libc::AF_INET6 as u8, port).unwrap_or_default());
    Ok(rows)
}

fn ask(family: u8, port: u16) -> io::Result<Vec<Row>> {
    let protocol = socket2::Protocol::from(NETLINK_SOCK_DIAG);
    let kind = socket2::Type::from(libc::SOCK_DGRAM | libc::SOCK_CLOEXEC);
    let mut socket = socket2::Socket::new_raw(socket2::Domain::from(libc::AF_NETLINK), kind, Some(protocol))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.write_all(&request(family))?;
    let mut rows = Vec::new();
    let mut bytes = [0; 16 * 1024];
    for _ in 0..REPLIES {
        let n = socket.read(&mut bytes)?;
        match parse(&bytes[..n], port, &mut rows) {
            Reply::More => {}
            Reply::Done => return Ok(rows),
            Reply::Error => break,
        }
    }
    Err(io::ErrorKind::Unsupported.into())
}

/// nlmsghdr and inet_diag_req_v2 with nothing but the state filter.
fn request(family: u8) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER + 56);
    out.extend_from_slice(&((HEADER + 56) as u32).to_ne_bytes());
    out.extend_from_slice(&SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    out.extend_from_slice(&FLAGS.to_ne_bytes());
    out.resize(HEADER, 0);
    out.extend_from_slice(&[family, IPPROTO_TCP, 0, 0]);
    out.extend_from_slice(&(1u32 << TCP_LISTEN).to_ne_bytes());
    out.resize(HEADER + 56, 0);
    out
}

#[derive(Debug, PartialEq, Eq)]
enum Reply {
    More,
    Done,
    Error,
}

/// One datagram of replies.
fn parse(mut bytes: &[u8], port: u16, rows: &mut Vec<Row>) -> Reply {
    while bytes.len() >= HEADER {
        let len = u32::from_ne_bytes(bytes[..4].try_into().expect("four bytes")) as usize;
        let kind = u16::from_ne_bytes(bytes[4..6].try_into().expect("two bytes"));
        if len < HEADER || len > bytes.len() {
            return Reply::Error;
        }
        match kind {
            NLMSG_DONE => return Reply::Done,
            NLMSG_ERROR => return Reply::Error,
            SOCK_DIAG_BY_FAMILY => {
                rows.extend(row(&bytes[HEADER..len]).filter(|row| row.address.port() == port));
            }
            _ => {}
        }
        let aligned = len.next_multiple_of(4).min(bytes.len());
        bytes = &bytes[aligned..];
    }
    Reply::More
}

/// An inet_diag_msg: family, state, timer, retrans, then ports and addresses in network order.
fn row(message: &[u8]) -> Option<Row> {
    let message: &[u8; MESSAGE] = message.get(..MESSAGE)?.try_into().ok()?;
    let word = |at: usize| u32::from_ne_bytes([message[at], message[at + 1], message[at + 2], message[at + 3]]);
    if message[1] != TCP_LISTEN {
        return None;
    }
    let port = u16::from_be_bytes([message[4], message[5]]);
    let ip: IpAddr = match i32::from(message[0]) {
        libc::AF_INET => Ipv4Addr::new(message[8], message[9], message[10], message[11]).into(),
        libc::AF_INET6 => Ipv6Addr::from(<[u8; 16]>::try_from(&message[8..24]).ok()?).into(),
        _ => return None,
    };
    Some(Row { address: SocketAddr::new(ip, port), uid: word(64), inode: u64::from(word(68)) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::sockets::parse_table;
    use crate::sys::testing::Random;
    use std::net::TcpListener;

    #[test]
    fn says_what_the_table_says() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let table = parse_table(&std::fs::read("/proc/self/net/tcp").unwrap(), port);
        assert_eq!(table.len(), 1);
        match listening(port) {
            Ok(rows) => assert_eq!(rows, table),
            // A sandbox may forbid netlink; then the table is read.
            Err(e) => assert!(e.kind() != io::ErrorKind::TimedOut && e.kind() != io::ErrorKind::WouldBlock, "{e}"),
        }
    }

    #[test]
    fn mutated_replies_never_panic() {
        let mut reply = Vec::new();
        for kind in [SOCK_DIAG_BY_FAMILY, SOCK_DIAG_BY_FAMILY, NLMSG_DONE] {
            reply.extend_from_slice(&((HEADER + MESSAGE) as u32).to_ne_bytes());
            reply.extend_from_slice(&kind.to_ne_bytes());
            reply.resize(reply.len() + 10, 0);
            reply.extend_from_slice(&[libc::AF_INET as u8, TCP_LISTEN, 0, 0, 0x52, 0x80, 0, 0, 127, 0, 0, 1]);
            reply.resize(reply.len() + MESSAGE - 12, 1);
        }
        let mut rows = Vec::new();
        assert_eq!(parse(&reply, 0x5280, &mut rows), Reply::Done);
        assert_eq!((rows.len(), rows[0].address), (2, "127.0.0.1:21120".parse().unwrap()));
        let mut random = Random(7);
        for _ in 0..20_000 {
            let mut bytes = reply.clone();
            for _ in 0..4 {
                let at = random.below(bytes.len());
                bytes[at] = random.next() as u8;
            }
            bytes.truncate(random.below(bytes.len() + 1));
            parse(&bytes, 0x5280, &mut Vec::new());
        }
    }
}
