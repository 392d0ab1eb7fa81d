//! Being found in the local network, and finding others there: `_openclaw-gw._tcp` over multicast DNS. Off unless
//! `discovery.mdns.mode` turns it on. What is heard is a hint from strangers: it is shown, never trusted.

mod announce;
mod browse;
pub mod wire;

pub use announce::Announcement;
pub use browse::{Beacon, browse};

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

pub const SERVICE: &str = "_openclaw-gw._tcp.local";
/// Where everybody listens (RFC 6762).
const GROUP: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(224, 0, 0, 251), 5353);

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

/// The group, or the address that a test gives; `text` is OPENCLAW_MDNS_ADDRESS.
pub fn address(text: Option<&str>) -> SocketAddrV4 {
    match text.and_then(|text| text.trim().parse().ok()) {
        Some(SocketAddr::V4(address)) => address,
        _ => GROUP,
    }
}
