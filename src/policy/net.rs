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
    /// The head has forwarding headers.
    pub forwarded: bool,
    /// On this machine, without a proxy that we do not know in between.
    pub local_direct: bool,
    /// The Origin header as sent, if there was one; empty when there were several.
    pub origin: Option<String>,
    pub host: Option<HostName>,
}

const FORWARDING: [&str; 4] = ["x-forwarded-for", "x-real-ip", "x-forwarded-host", "forwarded"];

impl Caller {
    pub fn resolve(head: &Head, proxies: &IpList, real_ip_fallback: bool) -> Caller {
        let peer = plain_ip(head.peer);
        let peer_is_trusted_proxy = proxies.contains(peer);
        let client = if peer_is_trusted_proxy {
            forwarded_client(head, |ip| proxies.contains(ip))
                .or_else(|| single(head, "x-real-ip").filter(|_| real_ip_fallback).and_then(|ip| parse_hop(&ip)))
        } else {
            Some(peer)
        };
        let forwarded = FORWARDING.iter().any(|name| head.header(name).is_some());
        let host = head.header("host").and_then(HostName::parse);
        let localish = host.as_ref().is_some_and(|host| host.is_loopback() || host.is_tailnet());
        Caller {
            peer,
            client,
            peer_is_trusted_proxy,
            forwarded,
            local_direct: on_this_machine(peer, client) && localish && (!forwarded || peer_is_trusted_proxy),
            origin: single(head, "origin"),
            host,
        }
    }

    /// Both ends are on this machine, whatever stands between them.
    pub fn is_here(&self) -> bool {
        on_this_machine(self.peer, self.client)
    }

    /// A browser, or something that says so.
    pub fn has_origin(&self) -> bool {
        self.origin.is_some()
    }
}

/// Loopback as another machine's proxy sees it is that machine, or what a client made it say.
fn on_this_machine(peer: IpAddr, client: Option<IpAddr>) -> bool {
    is_loopback(peer) && client.is_some_and(is_loopback)
}

/// The rightmost address of `X-Forwarded-For` that is not a proxy of ours.
pub(super) fn forwarded_client(head: &Head, trusted: impl Fn(IpAddr) -> bool) -> Option<IpAddr> {
    head.headers("x-forwarded-for")
        .rev()
        .flat_map(|value| value.rsplit(','))
        .filter_map(parse_hop)
        .find(|ip| !trusted(*ip))
}

/// One entry of a forwarding header: an address, with or without port and brackets.
fn parse_hop(text: &str) -> Option<IpAddr> {
    match HostName::parse(text.trim().trim_matches('"'))?.name {
        Host::Ip(ip) => Some(ip),
        Host::Name(_) => None,
    }
}

/// Two headers of one name contradict each other: that is no value, but not none either.
fn single(head: &Head, name: &str) -> Option<String> {
    let mut values = head.headers(name);
    let first = values.next()?;
    Some(if values.next().is_some() { String::new() } else { first.trim().to_owned() })
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
    /// `name`, `name:port`, `1.2.3.4:80`, `::1`, `[::1]:80`.
    pub fn parse(text: &str) -> Option<HostName> {
        let text = text.trim();
        if let Ok(ip) = text.parse::<IpAddr>() {
            return Some(HostName { name: Host::Ip(plain_ip(ip)), port: None });
        }
        if let Some(rest) = text.strip_prefix('[') {
            let (ip, port) = rest.split_once(']')?;
            let ip: IpAddr = IpAddr::V6(ip.parse().ok()?);
            let port = if port.is_empty() { None } else { Some(parse_port(port.strip_prefix(':')?)?) };
            return Some(HostName { name: Host::Ip(plain_ip(ip)), port });
        }
        let (name, port) = match text.split_once(':') {
            Some((name, port)) => (name, Some(parse_port(port)?)),
            None => (text, None),
        };
        if let Ok(ip) = name.parse::<IpAddr>() {
            return Some(HostName { name: Host::Ip(ip), port });
        }
        let name = name.strip_suffix('.').unwrap_or(name);
        let legal = |label: &str| {
            !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        };
        (name.len() <= 253 && name.split('.').all(legal))
            .then(|| HostName { name: Host::Name(name.to_ascii_lowercase()), port })
    }

    /// `localhost` or a loopback address.
    pub fn is_loopback(&self) -> bool {
        match &self.name {
            Host::Ip(ip) => is_loopback(*ip),
            Host::Name(name) => name == "localhost",
        }
    }

    /// A name below `.ts.net`.
    pub fn is_tailnet(&self) -> bool {
        matches!(&self.name, Host::Name(name) if name.strip_suffix(".ts.net").is_some_and(|host| !host.is_empty()))
    }
}

impl std::fmt::Display for HostName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.name {
            Host::Ip(IpAddr::V6(ip)) => write!(f, "[{ip}]")?,
            Host::Ip(ip) => write!(f, "{ip}")?,
            Host::Name(name) => f.write_str(name)?,
        }
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

fn parse_port(text: &str) -> Option<u16> {
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok())?
}

/// `scheme://host[:port]`, parsed; the port of http and https is always there.
#[derive(Clone, Debug, PartialEq)]
pub struct Origin {
    scheme: String,
    host: HostName,
}

impl Origin {
    /// None for `null`, for anything with a path, a user name or no host.
    pub fn parse(text: &str) -> Option<Origin> {
        let (scheme, rest) = text.trim().split_once("://")?;
        let scheme = scheme.to_ascii_lowercase();
        let legal = |b: u8| b.is_ascii_alphanumeric() || b"+-.".contains(&b);
        if scheme.is_empty() || !scheme.bytes().all(legal) {
            return None;
        }
        let mut host = HostName::parse(rest.strip_suffix('/').unwrap_or(rest))?;
        host.port = host.port.or_else(|| default_port(&scheme));
        Some(Origin { scheme, host })
    }

    /// Whether a Host header names the same place.
    fn is_at(&self, host: &HostName) -> bool {
        self.host.name == host.name && self.host.port == host.port.or_else(|| default_port(&self.scheme))
    }
}

fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    }
}

/// Whether a list names this origin. Both are parsed first: a final slash or the port that goes without saying make no
/// difference. `null` is only itself.
pub fn lists_origin(list: &[String], origin: &str) -> bool {
    let asked = Origin::parse(origin);
    list.iter().any(|entry| match &asked {
        Some(asked) => Origin::parse(entry).is_some_and(|entry| entry == *asked),
        None => origin == "null" && entry.trim() == "null",
    })
}

/// Why an entry of a list of exact origins lets nobody in; None for a good one.
pub fn odd_origin(entry: &str) -> Option<&'static str> {
    match entry.trim() {
        "*" => Some("stands for nobody here: name each origin"),
        "null" => None,
        entry if Origin::parse(entry).is_none() => Some("is no origin like https://chat.example:8443"),
        _ => None,
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
    let origin = caller.origin.as_deref().and_then(Origin::parse).ok_or(ORIGIN_MISSING)?;
    let listed = |entry: &String| entry.trim() == "*" || Origin::parse(entry).is_some_and(|entry| entry == origin);
    let at_host = || rules.host_header_fallback && caller.host.as_ref().is_some_and(|host| origin.is_at(host));
    let local = || caller.local_direct && origin.host.is_loopback();
    if rules.allowed.iter().any(listed) || at_host() || local() { Ok(()) } else { Err(ORIGIN_REFUSED) }
}

/// A Host that is not ours: a page may have led its visitor here under a name of its own (DNS rebinding).
pub const HOST_REFUSED: &str = "host not allowed";

/// Whether a Host header can only mean this gateway: nobody else can point such a name at it. `pages` are origins that
/// the operator listed, `own_name` is what this machine is called.
pub fn check_host(host: &HostName, pages: &[String], own_name: &str) -> Result<(), &'static str> {
    let Host::Name(name) = &host.name else { return Ok(()) };
    let ours = name == "localhost" || name.ends_with(".localhost") || host.is_tailnet();
    let listed =
        |page: &String| page.trim() == "*" || Origin::parse(page).is_some_and(|page| page.host.name == host.name);
    let own = || name.eq_ignore_ascii_case(own_name.trim_end_matches('.'));
    if ours || own() || pages.iter().any(listed) { Ok(()) } else { Err(HOST_REFUSED) }
}

/// The same for the Origin header of a request to an API: none is no page of a browser. Beside what [`check_origin`]
/// allows these are pages of `also`, and pages of the very place that was asked.
pub fn check_api_origin(caller: &Caller, rules: &OriginRules, also: &[String]) -> Result<(), &'static str> {
    let Some(text) = caller.origin.as_deref() else { return Ok(()) };
    let listed = lists_origin(also, text);
    let own = || Origin::parse(text).zip(caller.host.as_ref()).is_some_and(|(origin, host)| origin.is_at(host));
    if listed || own() { Ok(()) } else { check_origin(caller, rules) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(peer: &str, headers: &[(&str, &str)]) -> Head {
        Head {
            peer: peer.parse().unwrap(),
            headers: headers.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect(),
        }
    }

    #[test]
    fn networks_contain_what_they_should() {
        for (net, ip, inside) in [
            ("10.0.0.0/8", "10.255.1.2", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("10.0.0.1", "10.0.0.1", true),
            ("10.0.0.1", "::ffff:10.0.0.1", true),
            ("::ffff:10.0.0.0/104", "10.9.9.9", true),
            ("0.0.0.0/0", "1.2.3.4", true),
            ("0.0.0.0/0", "::1", false),
            ("::/0", "fe80::1", true),
            ("fd00::/8", "fdab::1", true),
            ("fd00::/8", "fe00::1", false),
            ("192.168.1.128/25", "192.168.1.127", false),
            ("127.0.0.0/8", "127.9.9.9", true),
        ] {
            assert_eq!(IpNet::parse(net).unwrap().contains(ip.parse().unwrap()), inside, "{net} {ip}");
        }
        for bad in ["", "x", "10.0.0.0/33", "::/129", "10.0.0.0/", "10.0.0", "::ffff:10.0.0.1/8", "1.2.3.4/-1"] {
            assert_eq!(IpNet::parse(bad), None, "{bad}");
        }
        let (list, bad) = IpList::parse(&["10.0.0.1", "nonsense", " "]);
        assert_eq!(bad, ["nonsense"]);
        assert!(!list.is_empty());
    }

    #[test]
    fn host_headers() {
        for (text, loopback, tailnet) in [
            ("localhost", true, false),
            ("LOCALHOST:18789", true, false),
            ("localhost.", true, false),
            ("127.0.0.1:1", true, false),
            ("127.8.8.8", true, false),
            ("[::1]:18789", true, false),
            ("[::ffff:127.0.0.1]", true, false),
            ("127.evil.com", false, false),
            ("localhost.evil.com", false, false),
            ("127.1", false, false),
            ("gw.tail1234.ts.net", false, true),
            ("gw.TS.net:443", false, true),
            ("evil-ts.net", false, false),
            ("ts.net", false, false),
            ("gw.ts.net.evil.com", false, false),
        ] {
            let host = HostName::parse(text).unwrap();
            assert_eq!((host.is_loopback(), host.is_tailnet()), (loopback, tailnet), "{text}");
        }
        for bad in ["", "a b", "a:b", "a:70000", "a:+1", "[::1", "[::1]x", "[1.2.3.4]", "user@host", "a/b", ".", "a..b"]
        {
            assert_eq!(HostName::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn who_is_calling() {
        let (trusted, _) = IpList::parse(&["10.0.0.0/8", "127.0.0.1"]);
        let local = ("Host", "localhost:18789");
        for (case, peer, proxies, headers, client, direct) in [
            ("plain local", "127.0.0.1", false, &[local][..], Some("127.0.0.1"), true),
            ("mapped local", "::ffff:127.0.0.1", false, &[local], Some("127.0.0.1"), true),
            ("v6 local", "::1", false, &[("host", "[::1]:18789")], Some("::1"), true),
            ("foreign host", "127.0.0.1", false, &[("Host", "gateway.example")], Some("127.0.0.1"), false),
            ("no host", "127.0.0.1", false, &[], Some("127.0.0.1"), false),
            ("ts.net", "127.0.0.1", false, &[("Host", "gw.x.ts.net")], Some("127.0.0.1"), true),
            ("unknown proxy", "127.0.0.1", false, &[local, ("X-Forwarded-For", "1.2.3.4")], Some("127.0.0.1"), false),
            ("unknown proxy 2", "127.0.0.1", false, &[local, ("X-Real-IP", "1.2.3.4")], Some("127.0.0.1"), false),
            ("unknown proxy 3", "127.0.0.1", false, &[local, ("X-Forwarded-Host", "a")], Some("127.0.0.1"), false),
            ("unknown proxy 4", "127.0.0.1", false, &[local, ("Forwarded", "for=1.2.3.4")], Some("127.0.0.1"), false),
            ("remote", "192.0.2.9", true, &[local, ("X-Forwarded-For", "127.0.0.1")], Some("192.0.2.9"), false),
            ("proxied", "10.0.0.1", true, &[local, ("X-Forwarded-For", "1.2.3.4, 10.0.0.7")], Some("1.2.3.4"), false),
            ("spoofed", "10.0.0.1", true, &[local, ("X-Forwarded-For", "::1, 1.2.3.4:99")], Some("1.2.3.4"), false),
            ("garbage", "127.0.0.1", true, &[local, ("X-Forwarded-For", "unknown, , [::1]:80")], Some("::1"), true),
            ("another's loopback", "10.0.0.1", true, &[local, ("X-Forwarded-For", "::1")], Some("::1"), false),
            (
                "two headers",
                "10.0.0.1",
                true,
                &[local, ("X-Forwarded-For", "1.1.1.1"), ("X-Forwarded-For", "2.2.2.2")],
                Some("2.2.2.2"),
                false,
            ),
            ("silent proxy", "127.0.0.1", true, &[local], None, false),
            ("real ip not asked for", "10.0.0.1", true, &[local, ("X-Real-IP", "1.2.3.4")], None, false),
        ] {
            let list = if proxies { trusted.clone() } else { IpList::default() };
            let caller = Caller::resolve(&head(peer, headers), &list, false);
            assert_eq!(caller.client, client.map(|ip| ip.parse().unwrap()), "{case}");
            assert_eq!(caller.local_direct, direct, "{case}");
        }
        let fallback = Caller::resolve(&head("10.0.0.1", &[local, ("X-Real-IP", "1.2.3.4")]), &trusted, true);
        assert_eq!(fallback.client, Some("1.2.3.4".parse().unwrap()));
    }

    #[test]
    fn origins() {
        let rules = OriginRules { allowed: vec!["https://Control.example.com".into()], host_header_fallback: false };
        let fallback = OriginRules { allowed: Vec::new(), host_header_fallback: true };
        let any = OriginRules { allowed: vec!["*".into()], host_header_fallback: false };
        let local = ("Host", "127.0.0.1:18789");
        let far = ("Host", "gw.example:18789");
        for (case, host, origin, rules, verdict) in [
            ("local page", local, Some("http://localhost:18789"), &rules, Ok(())),
            ("other local port", local, Some("http://127.0.0.1:5173"), &rules, Ok(())),
            ("local page, foreign host", far, Some("http://localhost:18789"), &rules, Err(ORIGIN_REFUSED)),
            ("listed", far, Some("https://control.example.com"), &rules, Ok(())),
            ("listed with port", far, Some("https://control.example.com:443"), &rules, Ok(())),
            ("other port", far, Some("https://control.example.com:444"), &rules, Err(ORIGIN_REFUSED)),
            ("other scheme", far, Some("http://control.example.com"), &rules, Err(ORIGIN_REFUSED)),
            ("prefix", local, Some("http://127.evil.com"), &rules, Err(ORIGIN_REFUSED)),
            ("suffix", far, Some("https://control.example.com.evil"), &rules, Err(ORIGIN_REFUSED)),
            ("any", far, Some("https://evil.example"), &any, Ok(())),
            ("any needs an origin", far, Some("null"), &any, Err(ORIGIN_MISSING)),
            ("same host", far, Some("http://gw.example:18789"), &fallback, Ok(())),
            ("same host, other port", far, Some("http://gw.example"), &fallback, Err(ORIGIN_REFUSED)),
            ("none", local, None, &rules, Err(ORIGIN_MISSING)),
            ("null", local, Some("null"), &rules, Err(ORIGIN_MISSING)),
            ("empty", local, Some(""), &rules, Err(ORIGIN_MISSING)),
            ("with a path", local, Some("http://localhost/x"), &rules, Err(ORIGIN_MISSING)),
            ("with a user", local, Some("http://localhost@evil.com"), &rules, Err(ORIGIN_MISSING)),
        ] {
            let mut headers = vec![host];
            headers.extend(origin.map(|origin| ("Origin", origin)));
            let caller = Caller::resolve(&head("127.0.0.1", &headers), &IpList::default(), false);
            assert_eq!(check_origin(&caller, rules), verdict, "{case}");
            assert_eq!(caller.has_origin(), origin.is_some(), "{case}");
        }
        let two = [local, ("Origin", "http://localhost"), ("origin", "http://evil.example")];
        let caller = Caller::resolve(&head("127.0.0.1", &two), &IpList::default(), false);
        assert_eq!(check_origin(&caller, &any), Err(ORIGIN_MISSING));
    }

    #[test]
    fn names_that_only_this_gateway_can_have() {
        let pages = ["https://ui.example:8443".to_owned(), "nonsense".to_owned()];
        for (host, own) in [
            ("127.0.0.1:18789", true),
            ("[::1]", true),
            ("192.168.1.5:18789", true),
            ("[fd00::5]:1", true),
            ("localhost:18789", true),
            ("LOCALHOST.", true),
            ("app.localhost", true),
            ("gw.tail1234.ts.net", true),
            ("Pi", true),
            ("pi:18789", true),
            ("ui.example", true),
            ("ui.example:18789", true),
            ("evil.example", false),
            ("localhost.evil.example", false),
            ("127.0.0.1.evil.example", false),
            ("xlocalhost", false),
            ("ts.net", false),
            ("pi.evil.example", false),
            ("x.ui.example", false),
            ("2130706433", false),
        ] {
            let host = HostName::parse(host).unwrap();
            assert_eq!(check_host(&host, &pages, "pi").is_ok(), own, "{host:?}");
            assert!(check_host(&host, &["*".to_owned()], "pi").is_ok(), "{host:?}");
        }
        let rules = OriginRules { allowed: vec!["https://ui.example".into()], host_header_fallback: false };
        let also = ["https://chat.example".to_owned()];
        for (host, origin, good) in [
            ("gw.x.ts.net", None, true),
            ("gw.x.ts.net", Some("https://gw.x.ts.net"), true),
            ("gw.x.ts.net", Some("http://gw.x.ts.net:8080"), false),
            ("127.0.0.1:18789", Some("http://127.0.0.1:18789"), true),
            ("127.0.0.1:18789", Some("http://localhost:3000"), true),
            ("127.0.0.1:18789", Some("https://ui.example"), true),
            ("127.0.0.1:18789", Some("https://chat.example"), true),
            ("127.0.0.1:18789", Some("https://evil.example"), false),
            ("127.0.0.1:18789", Some("null"), false),
            ("127.0.0.1:18789", Some(""), false),
        ] {
            let mut headers = vec![("Host", host)];
            headers.extend(origin.map(|origin| ("Origin", origin)));
            let caller = Caller::resolve(&head("127.0.0.1", &headers), &IpList::default(), false);
            assert_eq!(check_api_origin(&caller, &rules, &also).is_ok(), good, "{host} {origin:?}");
        }
    }

    #[test]
    fn mutated_names_never_panic_and_never_become_local() {
        let mut generator = crate::sys::testing::Random(2);
        let mut random = move |below| generator.below(below);
        const ODD: &[char] = &['.', ':', '[', ']', '/', '@', '%', '#', '?', ' ', 'é', '\0', 'x', '7', ','];
        for seed in ["http://evil.example:80", "https://[2001:db8::1]:443", "evil.ts.net.example", "203.0.113.9:80"] {
            for _ in 0..5000 {
                let mut text: Vec<char> = seed.chars().collect();
                for _ in 0..=random(3) {
                    let at = random(text.len());
                    match random(3) {
                        0 => text[at] = ODD[random(ODD.len())],
                        1 => drop(text.remove(at)),
                        _ => text.insert(at, ODD[random(ODD.len())]),
                    }
                }
                let text: String = text.into_iter().collect();
                let _ = IpNet::parse(&text);
                assert!(!HostName::parse(&text).is_some_and(|host| host.is_loopback()), "{text}");
                assert!(!Origin::parse(&text).is_some_and(|origin| origin.host.is_loopback()), "{text}");
            }
        }
    }
}
