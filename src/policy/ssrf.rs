//! Which addresses of the web may be asked on somebody else's word: none of this machine, of its network, or of the
//! services that a cloud offers to its machines (http 4.4, agent 10).
//!
//! A name is judged twice: as a name, and by every address that it leads to.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::http::url::{Host, Url, UrlError};

/// Why an address is not asked. The texts are those of the reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blocked {
    Url(UrlError),
    /// The host as it is written.
    Host,
    /// What the host leads to.
    Resolved,
    /// `urlAllowlist` does not name it.
    NotListed,
}

/// Names that never leave the house.
const PRIVATE_NAMES: [&str; 4] = ["localhost", "localhost.localdomain", "local", "internal"];
const PRIVATE_SUFFIXES: [&str; 5] = [".localhost", ".local", ".internal", ".localdomain", ".home.arpa"];

/// Answers machines of a cloud from an address that looks public.
const AZURE_WIRE_SERVER: Ipv4Addr = Ipv4Addr::new(168, 63, 129, 16);

/// Network and prefix length; RFC 6890 and the registry that it began.
const NOT_PUBLIC_V4: [([u8; 4], u32); 15] = [
    ([0, 0, 0, 0], 8),
    ([10, 0, 0, 0], 8),
    ([100, 64, 0, 0], 10),
    ([127, 0, 0, 0], 8),
    ([169, 254, 0, 0], 16),
    ([172, 16, 0, 0], 12),
    ([192, 0, 0, 0], 24),
    ([192, 0, 2, 0], 24),
    ([192, 88, 99, 0], 24),
    ([192, 168, 0, 0], 16),
    ([198, 18, 0, 0], 15),
    ([198, 51, 100, 0], 24),
    ([203, 0, 113, 0], 24),
    ([224, 0, 0, 0], 4),
    ([240, 0, 0, 0], 4),
];

impl Blocked {
    pub fn text(self) -> &'static str {
        match self {
            Blocked::Url(UrlError::Scheme) => "Invalid URL: must be http or https",
            Blocked::Url(UrlError::UserInfo) => "Invalid URL: user names and passwords in addresses are not supported",
            Blocked::Url(UrlError::Malformed) => "Invalid URL",
            Blocked::Url(UrlError::OddNumber) | Blocked::Host => {
                "Blocked hostname or private/internal/special-use IP address"
            }
            Blocked::Resolved => "Blocked: resolves to private/internal/special-use IP address",
            Blocked::NotListed => "Blocked hostname (not in allowlist)",
        }
    }
}

/// Judges an address as it is written. `allowlist`: exact hosts, or `*.name` for everything below a name but not the
/// name itself; empty allows every public host. Being listed opens no private address.
pub fn check(url: &Url, allowlist: &[String]) -> Result<(), Blocked> {
    let public = match &url.host {
        Host::Ip(ip) => is_public(*ip),
        Host::Name(name) => is_public_name(name),
    };
    if public { check_listed(url, allowlist) } else { Err(Blocked::Host) }
}

/// The second half of [`check`].
pub fn check_listed(url: &Url, allowlist: &[String]) -> Result<(), Blocked> {
    let listed = allowlist.is_empty() || allowlist.iter().any(|entry| is_listed(&url.host_text(), entry));
    if listed { Ok(()) } else { Err(Blocked::NotListed) }
}

fn is_listed(host: &str, entry: &str) -> bool {
    let entry = entry.trim().trim_end_matches('.').to_ascii_lowercase();
    match entry.strip_prefix("*.") {
        Some(parent) => host.strip_suffix(parent).is_some_and(|sub| sub.len() > 1 && sub.ends_with('.')),
        None => host == entry,
    }
}

pub fn is_public_name(name: &str) -> bool {
    !PRIVATE_NAMES.contains(&name) && !PRIVATE_SUFFIXES.iter().any(|suffix| name.ends_with(suffix))
}

/// An address that belongs to the open internet, as far as addresses tell.
pub fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => is_public_v4(ip),
        IpAddr::V6(ip) => is_public_v6(ip),
    }
}

fn is_public_v4(ip: Ipv4Addr) -> bool {
    let bits = u32::from(ip);
    let within = |(network, length): &([u8; 4], u32)| (bits ^ u32::from_be_bytes(*network)) >> (32 - length) == 0;
    ip != AZURE_WIRE_SERVER && !NOT_PUBLIC_V4.iter().any(within)
}

fn is_public_v6(ip: Ipv6Addr) -> bool {
    let s = ip.segments();
    let v4 = |high: u16, low: u16| Ipv4Addr::from(u32::from(high) << 16 | u32::from(low));
    match s {
        // IPv4 in other clothes: the address inside decides.
        [0, 0, 0, 0, 0, 0xffff, high, low] => is_public_v4(v4(high, low)),
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => is_public_v4(v4(high, low)),
        [0x2002, high, low, ..] => is_public_v4(v4(high, low)) && is_public_interface(s),
        // Protocol assignments (Teredo among them), documentation.
        [0x2001, 0..=0x1ff, ..] | [0x2001, 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => false,
        // Everything else that is routed; loopback, unique local, link-local, multicast lie outside.
        [0x2000..=0x3fff, ..] => is_public_interface(s),
        _ => false,
    }
}

/// ISATAP writes an IPv4 address into the last half.
fn is_public_interface(s: [u16; 8]) -> bool {
    match s {
        [.., 0 | 0x200, 0x5efe, high, low] => is_public_v4(Ipv4Addr::from(u32::from(high) << 16 | u32::from(low))),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_the_house_are_not_public() {
        for ip in [
            "0.0.0.0",
            "0.255.0.1",
            "10.0.0.1",
            "10.255.255.255",
            "100.64.0.1",
            "100.100.100.200",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.255.254",
            "168.63.129.16",
            "169.254.0.1",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.192",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.0.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.7",
            "203.0.113.7",
            "224.0.0.1",
            "239.255.255.250",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::2",
            "::7f00:1",
            "::8.8.8.8",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::ffff:169.254.169.254",
            "::ffff:0:127.0.0.1",
            "64:ff9b::127.0.0.1",
            "64:ff9b::192.168.1.1",
            "64:ff9b:1::8.8.8.8",
            "100::1",
            "2001::1",
            "2001:0:53aa:64c:0:0:80ff:fffe",
            "2001:1ff::1",
            "2001:db8::1",
            "2002:7f00:1::1",
            "2002:a9fe:a9fe::1",
            "2002:808:808::200:5efe:10.0.0.1",
            "2606:4700::5efe:127.0.0.1",
            "2606:4700:0:0:200:5efe:192.168.0.1",
            "3fff::1",
            "5f00::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "febf::1",
            "fec0::1",
            "ff02::1",
            "4000::1",
        ] {
            assert!(!is_public(ip.parse().unwrap()), "{ip}");
        }
    }

    #[test]
    fn addresses_of_the_web_are() {
        for ip in [
            "1.1.1.1",
            "8.8.8.8",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "128.0.0.1",
            "169.253.255.255",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.0",
            "192.167.255.255",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "::ffff:8.8.8.8",
            "64:ff9b::8.8.8.8",
            "2002:808:808::1",
            "2001:200::1",
            "2001:4860:4860::8888",
            "2606:4700::1111",
            "2606:4700::5efe:8.8.8.8",
            "3ffe::1",
        ] {
            assert!(is_public(ip.parse().unwrap()), "{ip}");
        }
    }

    #[test]
    fn what_is_asked_and_what_is_not() {
        let list = ["files.example".to_owned(), "*.cdn.example".to_owned(), " *.Deep.CDN2.example. ".to_owned()];
        for (url, open, listed) in [
            ("http://files.example/x", None, None),
            ("https://FILES.example./x", None, None),
            ("https://a.cdn.example/", None, None),
            ("https://a.b.cdn.example/", None, None),
            ("https://x.deep.cdn2.example/", None, None),
            ("https://cdn.example/", None, Some(Blocked::NotListed)),
            ("https://evilcdn.example/", None, Some(Blocked::NotListed)),
            ("https://files.example.evil/", None, Some(Blocked::NotListed)),
            ("http://8.8.8.8/", None, Some(Blocked::NotListed)),
            ("http://localhost/", Some(Blocked::Host), Some(Blocked::Host)),
            ("http://LOCALHOST.:8080/", Some(Blocked::Host), Some(Blocked::Host)),
            ("http://a.localhost/", Some(Blocked::Host), Some(Blocked::Host)),
            ("http://localhost.localdomain/", Some(Blocked::Host), Some(Blocked::Host)),
            ("http://printer.local/", Some(Blocked::Host), Some(Blocked::Host)),
            ("http://router.home.arpa/", Some(Blocked::Host), Some(Blocked::Host)),
            ("http://metadata.google.internal/", Some(Blocked::Host), Some(Blocked::Host)),
            ("http://127.0.0.1:18789/", Some(Blocked::Host), Some(Blocked::Host)),
            ("http://[::1]/", Some(Blocked::Host), Some(Blocked::Host)),
            ("http://[::ffff:7f00:1]/", Some(Blocked::Host), Some(Blocked::Host)),
            ("http://[::ffff:169.254.169.254]/", Some(Blocked::Host), Some(Blocked::Host)),
        ] {
            let url = Url::parse(url).unwrap();
            assert_eq!(check(&url, &[]).err(), open, "{url}");
            assert_eq!(check(&url, &list).err(), listed, "{url} with the list");
        }
        // A list opens nothing that is private.
        let all = ["127.0.0.1".to_owned(), "localhost".to_owned(), "[::1]".to_owned()];
        for url in ["http://127.0.0.1/", "http://localhost/", "http://[::1]/"] {
            assert_eq!(check(&Url::parse(url).unwrap(), &all), Err(Blocked::Host), "{url}");
        }
    }
}
