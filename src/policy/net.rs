//! Addresses and names of a caller: trusted proxies, the "local direct" rule, the Host and Origin headers
//! (http 2.2 and 2.5, protocol 2.5). Everything is parsed before it is compared (LESSONS R8).

use std::net::IpAddr;

/// An address or a CIDR block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IpNet {
    addr: IpAddr,
    bits: u8,
}

impl IpNet {
    /// `10.0.0.1`, `10.0.0.0/8`, `::1`, `fd00::/8`.
    pub fn parse(text: &str) -> Option<IpNet> {
        let text = text.trim();
        let (addr, bits) = match text.split_once('/') {
            Some((addr, bits)) => (addr.parse().ok()?, Some(bits.parse::<u8>().ok()?)),
            None => (text.parse().ok()?, None),
        };
        let (addr, mapped): (IpAddr, bool) = match addr {
            IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or((addr, false), |v4| (IpAddr::V4(v4), true)),
            IpAddr::V4(_) => (addr, false),
        };
        let most = if addr.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            Some(bits) if mapped => bits.checked_sub(96)?,
            Some(bits) => bits,
            None => most,
        };
        (bits <= most).then_some(IpNet { addr, bits })
    }

    pub fn contains(&self, ip: IpAddr) -> bool {
        match (self.addr, plain_ip(ip)) {
            (IpAddr::V4(net), IpAddr::V4(ip)) => {
                let shift = 32 - u32::from(self.bits);
                shift == 32 || u32::from(net) >> shift == u32::from(ip) >> shift
            }
            (IpAddr::V6(net), IpAddr::V6(ip)) => {
                let shift = 128 - u32::from(self.bits);
                shift == 128 || u128::from(net) >> shift == u128::from(ip) >> shift
            }
            _ => false,
        }
    }
}

/// `gateway.trustedProxies`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct IpList(Vec<IpNet>);

impl IpList {
    /// The second member names what could not be read.
    pub fn parse<S: AsRef<str>>(items: &[S]) -> (IpList, Vec<String>) {
        let mut nets = Vec::new();
        let mut bad = Vec::new();
        for item in items.iter().map(AsRef::as_ref).filter(|item| !item.trim().is_empty()) {
            match IpNet::parse(item) {
                Some(net) => nets.push(net),
                None => bad.push(item.to_owned()),
            }
        }
        (IpList(nets), bad)
    }

    pub fn contains(&self, ip: IpAddr) -> bool {
        self.0.iter().any(|net| net.contains(ip))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// An IPv4 address in its IPv6 clothes becomes an IPv4 address.
pub fn plain_ip(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(ip, IpAddr::V4),
        IpAddr::V4(_) => ip,
    }
}

pub fn is_loopback(ip: IpAddr) -> bool {
    plain_ip(ip).is_loopback()
}

/// What the socket and the request head say about a caller.
#[derive(Clone, Debug)]
pub struct Head {
    pub peer: IpAddr,
    /// Names in any case, in the order received.
    pub headers: Vec<(String, String)>,
}

impl Head {
    /// The first header of this name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// All headers of this name, in order.
    pub fn headers<'a>(&'a self, name: &'a str) -> impl DoubleEndedIterator<Item = &'a str> {
        self.headers.iter().filter(move |(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

/// Who is calling, as far as addresses tell.
#[derive(Clone, Debug, PartialEq)]
pub struct Caller {
    pub peer: IpAddr,
    /// Behind trusted proxies the address they name; None when they name none.
    pub client: Option<IpAddr>,
    pub peer_is_trusted_proxy: bool,
    /// On this machine, without a proxy that we do not know in between.
    pub local_direct: bool,
    /// The Origin header as sent, if there was one.
    pub origin: Option<String>,
    pub host: Option<HostName>,
}

impl Caller {
    pub fn resolve(head: &Head, proxies: &IpList, real_ip_fallback: bool) -> Caller {
        let _ = (proxies, real_ip_fallback);
        let peer = plain_ip(head.peer);
        Caller { peer, client: Some(peer), peer_is_trusted_proxy: false, local_direct: false, origin: None, host: None }
    }

    /// A browser, or something that says so.
    pub fn has_origin(&self) -> bool {
        self.origin.is_some()
    }
}

/// The host part of a Host header or an origin, parsed.
#[derive(Clone, Debug, PartialEq)]
pub struct HostName {
    pub name: Host,
    pub port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Host {
    Ip(IpAddr),
    /// Lower case, without a final dot.
    Name(String),
}

impl HostName {
    /// `name`, `name:port`, `1.2.3.4:80`, `[::1]:80`.
    pub fn parse(text: &str) -> Option<HostName> {
        let _ = text;
        None
    }

    /// `localhost` or a loopback address.
    pub fn is_loopback(&self) -> bool {
        match &self.name {
            Host::Ip(ip) => is_loopback(*ip),
            Host::Name(name) => name == "localhost",
        }
    }
}

/// `gateway.controlUi`'s rules for browser origins.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OriginRules {
    pub allowed: Vec<String>,
    pub host_header_fallback: bool,
}

pub const ORIGIN_MISSING: &str = "origin missing or invalid";
pub const ORIGIN_REFUSED: &str = "origin not allowed";

/// Whether a page of this origin may talk to us; the error is the `reason` of the refusal.
pub fn check_origin(caller: &Caller, rules: &OriginRules) -> Result<(), &'static str> {
    let _ = (caller, rules);
    Err(ORIGIN_REFUSED)
}
