//! The networks that this machine is part of, and the sockets in them. A link is what multicast reaches: whoever speaks
//! from an address of one of ours is near, everybody else came through a router and gets no answer.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};

use socket2::{Domain, Protocol, SockRef, Socket, Type};

use crate::sys::host::{self, Interface};

/// More networks are not served.
const MAX_LINKS: usize = 8;
/// Addresses of one of them.
const MAX_ADDRESSES: usize = 8;
/// As RFC 6762 11 wants it: what was routed would have less.
const HOPS: u32 = 255;

/// One network, with our addresses there and the bits that they share with everybody in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    pub index: u32,
    pub addresses: Vec<(IpAddr, u8)>,
}

/// A socket for each family, and the links that they serve.
pub struct Links {
    sockets: Vec<(UdpSocket, SocketAddr)>,
    pub all: Vec<Link>,
}

impl Links {
    /// Sockets on the port of the groups, which is shared with the system's own responder. Err: not one of them can
    /// be had.
    pub fn join(groups: &[SocketAddr]) -> io::Result<Links> {
        Links::open(groups, |group| group.port())
    }

    /// Sockets on ports of their own: what is asked there is answered to us alone.
    pub fn ask(groups: &[SocketAddr]) -> io::Result<Links> {
        Links::open(groups, |_| 0)
    }

    fn open(groups: &[SocketAddr], port: impl Fn(&SocketAddr) -> u16) -> io::Result<Links> {
        let mut links = Links { sockets: Vec::new(), all: Vec::new() };
        let mut failed = None;
        for group in groups {
            match open(*group, port(group)) {
                Ok(socket) => links.sockets.push((socket, *group)),
                // A kernel without IPv6, for example.
                Err(e) => drop(failed.get_or_insert(e)),
            }
        }
        match failed {
            Some(e) if links.sockets.is_empty() => Err(e),
            _ => {
                links.refresh();
                Ok(links)
            }
        }
    }

    /// Looks again which networks there are; true when that changed.
    pub fn refresh(&mut self) -> bool {
        let now = match self.sockets.first() {
            Some((_, address)) if !address.ip().is_multicast() => vec![Link::single(address.ip())],
            _ => of(host::interfaces()),
        };
        for (socket, group) in &self.sockets {
            let socket = SockRef::from(socket);
            for link in &now {
                // An error says mostly that we are a member already; without membership nothing is heard there.
                let _ = match group.ip() {
                    IpAddr::V4(ip) if ip.is_multicast() => link.ipv4().map(|own| socket.join_multicast_v4(&ip, &own)),
                    IpAddr::V6(ip) if ip.is_multicast() => Some(socket.join_multicast_v6(&ip, link.index)),
                    _ => None,
                };
            }
        }
        let changed = now != self.all;
        self.all = now;
        changed
    }

    pub fn sockets(&self) -> impl Iterator<Item = &UdpSocket> {
        self.sockets.iter().map(|(socket, _)| socket)
    }

    /// Tells everybody in a link, in each family; false when nothing went out. A network that does not take it now will
    /// be asked again by those who look.
    pub fn say(&self, link: &Link, bytes: &[u8]) -> bool {
        let mut said = false;
        for (socket, group) in &self.sockets {
            let options = SockRef::from(socket);
            let (ready, to) = match group {
                SocketAddr::V4(group) if group.ip().is_multicast() => {
                    let Some(own) = link.ipv4() else { continue };
                    (options.set_multicast_if_v4(&own), SocketAddr::V4(*group))
                }
                SocketAddr::V6(group) if group.ip().is_multicast() => {
                    let to = SocketAddrV6::new(*group.ip(), group.port(), 0, link.index);
                    (options.set_multicast_if_v6(link.index), to.into())
                }
                single => (Ok(()), *single),
            };
            said |= ready.and_then(|()| socket.send_to(bytes, to)).is_ok();
        }
        said
    }

    /// Tells one alone.
    pub fn tell(&self, to: SocketAddr, bytes: &[u8]) {
        let fits = |(_, group): &&(UdpSocket, SocketAddr)| group.is_ipv4() == to.is_ipv4();
        if let Some((socket, _)) = self.sockets.iter().find(fits) {
            let _ = socket.send_to(bytes, to);
        }
    }

    /// The next packet of somebody near that waits in one of the sockets: its length, its sender, and the link by its
    /// place in `all`. None when `limit` packets brought none; each one counts, so that a flood of strangers ends.
    pub fn hear(&self, buffer: &mut [u8], limit: &mut usize) -> Option<(usize, SocketAddr, usize)> {
        for (socket, _) in &self.sockets {
            while *limit > 0 {
                let Ok((n, from)) = socket.recv_from(buffer) else { break };
                *limit -= 1;
                if let Some(link) = link_of(&self.all, from) {
                    return Some((n, from, link));
                }
            }
        }
        None
    }

    /// True when a response from this port is one (RFC 6762 6); a stand-in for the group has no such rule.
    pub fn speaks(&self, from: SocketAddr) -> bool {
        self.sockets.iter().any(|(_, group)| !group.ip().is_multicast() || group.port() == from.port())
    }

    /// Whether who asks is a member of the group, or wants an answer for itself (RFC 6762 6.7).
    pub fn is_member(&self, from: SocketAddr) -> bool {
        self.sockets.iter().any(|(_, group)| group.port() == from.port())
    }
}

impl Link {
    fn single(address: IpAddr) -> Link {
        let bits = if address.is_loopback() && address.is_ipv4() { 8 } else { bits(address) };
        Link { index: 0, addresses: vec![(address, bits)] }
    }

    fn ipv4(&self) -> Option<Ipv4Addr> {
        self.addresses.iter().find_map(|(address, _)| match address {
            IpAddr::V4(ip) => Some(*ip),
            IpAddr::V6(_) => None,
        })
    }
}

/// Networks that multicast works in: not loopback, and not a tailnet, where nobody is asked for a name this way.
fn of(interfaces: Vec<Interface>) -> Vec<Link> {
    let in_tailnet = |address| matches!(address, IpAddr::V4(ip) if host::in_tailnet(ip));
    let tailnets: Vec<u32> = interfaces.iter().filter(|i| in_tailnet(i.address)).map(|i| i.index).collect();
    let mut links: Vec<Link> = Vec::new();
    for i in interfaces.iter().filter(|i| i.multicast && !i.loopback && !tailnets.contains(&i.index)) {
        let at = links.iter().position(|link| link.index == i.index).unwrap_or(links.len());
        if at == links.len() && at < MAX_LINKS {
            links.push(Link { index: i.index, addresses: Vec::new() });
        }
        if let Some(link) = links.get_mut(at).filter(|link| link.addresses.len() < MAX_ADDRESSES) {
            link.addresses.push((i.address, i.prefix));
        }
    }
    links
}

/// The link that a sender is in; None: not near.
fn link_of(links: &[Link], from: SocketAddr) -> Option<usize> {
    let ip = from.ip().to_canonical();
    if let (SocketAddr::V6(from), IpAddr::V6(v6)) = (from, ip)
        && is_link_local(v6)
        && from.scope_id() != 0
    {
        return links.iter().position(|link| link.index == from.scope_id());
    }
    let near = |link: &Link| link.addresses.iter().any(|(own, prefix)| same_network(*own, ip, *prefix));
    // Link-local addresses are used without one of our own beside it; they pass no router.
    links.iter().position(near).or_else(|| {
        let unrouted = matches!(ip, IpAddr::V4(ip) if ip.is_link_local());
        (unrouted && !links.is_empty()).then_some(0)
    })
}

fn is_link_local(ip: Ipv6Addr) -> bool {
    ip.segments()[0] & 0xffc0 == 0xfe80
}

fn same_network(own: IpAddr, other: IpAddr, prefix: u8) -> bool {
    // A prefix of nothing would make the whole world a neighbour.
    let shift = |bits: u8| u32::from(bits - prefix.clamp(1, bits));
    match (own, other) {
        (IpAddr::V4(own), IpAddr::V4(other)) => (own.to_bits() ^ other.to_bits()).checked_shr(shift(32)) == Some(0),
        (IpAddr::V6(own), IpAddr::V6(other)) => (own.to_bits() ^ other.to_bits()).checked_shr(shift(128)) == Some(0),
        _ => false,
    }
}

fn bits(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn open(group: SocketAddr, port: u16) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(group), Type::DGRAM, Some(Protocol::UDP))?;
    let everywhere: IpAddr = if group.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    if group.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    if port != 0 {
        socket.set_reuse_address(true)?;
    }
    let ip = if group.ip().is_multicast() { everywhere } else { group.ip() };
    socket.bind(&SocketAddr::new(ip, port).into())?;
    if group.is_ipv4() {
        socket.set_multicast_ttl_v4(HOPS)?;
        socket.set_ttl_v4(HOPS)?;
    } else {
        socket.set_multicast_hops_v6(HOPS)?;
        socket.set_unicast_hops_v6(HOPS)?;
    }
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interface(index: u32, address: &str, prefix: u8) -> Interface {
        let address: IpAddr = address.parse().unwrap();
        let loopback = address.is_loopback();
        Interface { name: format!("if{index}"), index, address, prefix, loopback, multicast: index != 9 }
    }

    #[test]
    fn near_is_who_is_in_a_network_of_ours() {
        let links = of(vec![
            interface(1, "127.0.0.1", 8),
            interface(2, "10.1.2.3", 16),
            interface(2, "fe80::2", 64),
            interface(2, "2001:db8::2", 64),
            interface(3, "203.0.113.9", 24),
            interface(3, "fe80::3", 64),
            interface(4, "100.100.1.1", 32),
            interface(4, "fd7a:115c::1", 48),
            interface(9, "198.51.100.1", 24),
        ]);
        assert_eq!(links.iter().map(|link| link.index).collect::<Vec<_>>(), [2, 3]);
        for (from, link) in [
            ("10.1.2.3:5353", Some(0)),
            ("10.1.99.1:40000", Some(0)),
            ("10.2.0.1:5353", None),
            ("203.0.113.200:5353", Some(1)),
            ("8.8.8.8:5353", None),
            ("192.168.1.1:5353", None),
            ("127.0.0.1:5353", None),
            ("169.254.7.7:5353", Some(0)),
            ("198.51.100.2:5353", None),
            ("100.100.1.1:5353", None),
            ("[2001:db8::99]:5353", Some(0)),
            ("[2001:db8:1::99]:5353", None),
            ("[fe80::77%3]:5353", Some(1)),
            ("[fe80::77%7]:5353", None),
            ("[::1]:5353", None),
        ] {
            assert_eq!(link_of(&links, from.parse().unwrap()), link, "{from}");
        }
        let loopback = [Link::single([127, 0, 0, 1].into())];
        assert_eq!(link_of(&loopback, "127.0.0.9:1".parse().unwrap()), Some(0));
        assert_eq!(link_of(&loopback, "10.0.0.1:1".parse().unwrap()), None);
        assert!(!same_network([10, 0, 0, 1].into(), [200, 0, 0, 1].into(), 0), "no prefix is no network");
        assert_eq!(link_of(&[], "169.254.7.7:5353".parse().unwrap()), None);
    }
}
