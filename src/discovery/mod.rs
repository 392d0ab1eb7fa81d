//! Being found in the local network, and finding others there: `_openclaw-gw._tcp` over multicast DNS (RFC 6762, 6763),
//! in IPv4 and IPv6. Off unless `discovery.mdns.mode` turns it on. What is heard is a hint from strangers: it is shown,
//! never trusted.

mod announce;
mod browse;
mod links;
mod records;
pub mod wire;

pub use announce::Announcement;
pub use browse::{Beacon, browse};

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

pub const SERVICE: &str = "_openclaw-gw._tcp.local";
/// Where everybody listens.
const PORT: u16 = 5353;
const GROUP_V4: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 251);
const GROUP_V6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0xfb);

/// What is told about this gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// As people know this machine.
    pub host: String,
    pub port: u16,
    /// SHA-256 of the certificate, where TLS is spoken.
    pub tls: Option<String>,
    pub tailnet: Option<Ipv4Addr>,
    /// Mode `full`: also where the program lies and that ssh may be there.
    pub program: Option<String>,
}

/// The groups, or the one address that a test gives; `text` is OPENCLAW_MDNS_ADDRESS.
pub fn groups(text: Option<&str>) -> Vec<SocketAddr> {
    match text.and_then(|text| text.trim().parse().ok()) {
        Some(address) => vec![address],
        None => vec![(GROUP_V4, PORT).into(), (GROUP_V6, PORT).into()],
    }
}
