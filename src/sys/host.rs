//! This machine: its name, kernel, architecture in Node's spelling, and addresses.
//!
//! Any thread. Asked at start and by `status`; nothing is cached, because addresses change.

use std::net::{IpAddr, Ipv4Addr};

/// One address of one interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    pub name: String,
    /// The number by which the system knows it; 0: unknown.
    pub index: u32,
    pub address: IpAddr,
    /// Bits of the address that are the network's.
    pub prefix: u8,
    pub loopback: bool,
    /// Packets for a group go out there.
    pub multicast: bool,
}

/// The host name without its domain trimmed; `unknown` when the system has none.
pub fn hostname() -> String {
    let name = uname(Field::Node).or_else(|| std::env::var("COMPUTERNAME").ok());
    name.filter(|name| !name.is_empty()).unwrap_or_else(|| "unknown".into())
}

/// For example `6.6.119-v8`; empty when the system does not say.
pub fn kernel_release() -> String {
    uname(Field::Release).unwrap_or_default()
}

/// `linux`, `darwin`, `win32` … as Node says it.
pub fn platform() -> &'static str {
    match std::env::consts::OS {
        "macos" => "darwin",
        "windows" => "win32",
        other => other,
    }
}

/// `x64`, `arm64`, `arm`, `ia32`, `mips`, `mipsel` … as Node says it.
pub fn arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "x64",
        "aarch64" => "arm64",
        "x86" => "ia32",
        "mips" if cfg!(target_endian = "little") => "mipsel",
        "powerpc64" => "ppc64",
        other => other,
    }
}

/// The first IPv4 address that is neither loopback nor link-local, nor of the tailnet.
pub fn lan_ipv4() -> Option<Ipv4Addr> {
    first_lan(&interfaces())
}

/// The first IPv4 address of a private network (RFC 1918).
pub fn private_ipv4() -> Option<Ipv4Addr> {
    ipv4(&interfaces()).map(|(_, ip)| ip).find(Ipv4Addr::is_private)
}

/// The first IPv4 address in 100.64.0.0/10.
pub fn tailnet_ipv4() -> Option<Ipv4Addr> {
    first_tailnet(&interfaces())
}

pub fn first_lan(interfaces: &[Interface]) -> Option<Ipv4Addr> {
    ipv4(interfaces)
        .find(|(i, ip)| !i.loopback && !ip.is_loopback() && !ip.is_link_local() && !in_tailnet(*ip))
        .map(|(_, ip)| ip)
}

pub fn first_tailnet(interfaces: &[Interface]) -> Option<Ipv4Addr> {
    ipv4(interfaces).map(|(_, ip)| ip).find(|ip| in_tailnet(*ip))
}

/// 100.64.0.0/10.
pub fn in_tailnet(ip: Ipv4Addr) -> bool {
    let [a, b, ..] = ip.octets();
    a == 100 && b & 0xc0 == 64
}

fn ipv4(interfaces: &[Interface]) -> impl Iterator<Item = (&Interface, Ipv4Addr)> {
    interfaces.iter().filter_map(|i| match i.address {
        IpAddr::V4(ip) => Some((i, ip)),
        IpAddr::V6(_) => None,
    })
}

/// Addresses of the interfaces that are up, in the order of the system; empty where it cannot be asked.
#[cfg(unix)]
pub fn interfaces() -> Vec<Interface> {
    let mut found = Vec::new();
    let mut head: *mut libc::ifaddrs = std::ptr::null_mut();
    // SAFETY: getifaddrs gives a list that is read only before freeifaddrs; each address is read as the struct that its
    // family says, unaligned in case the system packs them, and names are C strings.
    unsafe {
        if libc::getifaddrs(&raw mut head) != 0 {
            return found;
        }
        let mut at = head;
        while let Some(entry) = at.as_ref() {
            at = entry.ifa_next;
            let flags = entry.ifa_flags as libc::c_int;
            if entry.ifa_addr.is_null() || flags & libc::IFF_UP == 0 {
                continue;
            }
            let family = libc::c_int::from((*entry.ifa_addr).sa_family);
            let read = |at: *mut libc::sockaddr| match family {
                libc::AF_INET => {
                    let inet = at.cast::<libc::sockaddr_in>().read_unaligned();
                    Some(IpAddr::from(inet.sin_addr.s_addr.to_ne_bytes()))
                }
                libc::AF_INET6 => {
                    let inet = at.cast::<libc::sockaddr_in6>().read_unaligned();
                    Some(IpAddr::from(inet.sin6_addr.s6_addr))
                }
                _ => None,
            };
            let Some(address) = read(entry.ifa_addr) else { continue };
            let mask = if entry.ifa_netmask.is_null() { None } else { read(entry.ifa_netmask) };
            found.push(Interface {
                name: std::ffi::CStr::from_ptr(entry.ifa_name).to_string_lossy().into_owned(),
                index: libc::if_nametoindex(entry.ifa_name),
                address,
                prefix: mask.map_or(address_bits(address), leading_ones),
                loopback: flags & libc::IFF_LOOPBACK != 0,
                multicast: flags & libc::IFF_MULTICAST != 0,
            });
        }
        libc::freeifaddrs(head);
    }
    found
}

#[cfg(unix)]
fn address_bits(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

#[cfg(unix)]
fn leading_ones(mask: IpAddr) -> u8 {
    let ones = match mask {
        IpAddr::V4(mask) => mask.to_bits().leading_ones(),
        IpAddr::V6(mask) => mask.to_bits().leading_ones(),
    };
    ones as u8
}

#[cfg(not(unix))]
pub fn interfaces() -> Vec<Interface> {
    Vec::new()
}

enum Field {
    Node,
    Release,
}

#[cfg(unix)]
fn uname(field: Field) -> Option<String> {
    // SAFETY: the struct lives through the call, which fills it with C strings.
    unsafe {
        let mut name: libc::utsname = std::mem::zeroed();
        if libc::uname(&raw mut name) != 0 {
            return None;
        }
        let text = match field {
            Field::Node => name.nodename.as_ptr(),
            Field::Release => name.release.as_ptr(),
        };
        Some(std::ffi::CStr::from_ptr(text).to_string_lossy().into_owned())
    }
}

#[cfg(not(unix))]
fn uname(_field: Field) -> Option<String> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interface(name: &str, address: &str) -> Interface {
        let address = address.parse().unwrap();
        Interface { name: name.into(), index: 1, address, prefix: 24, loopback: name == "lo", multicast: true }
    }

    #[test]
    fn lan_and_tailnet_addresses() {
        let all = [
            interface("lo", "127.0.0.1"),
            interface("lo", "::1"),
            interface("usb0", "169.254.7.7"),
            interface("tailscale0", "100.101.102.103"),
            interface("br-lan", "192.168.1.1"),
            interface("eth0", "10.0.0.5"),
        ];
        assert_eq!(first_lan(&all), Some(Ipv4Addr::new(192, 168, 1, 1)));
        assert_eq!(first_tailnet(&all), Some(Ipv4Addr::new(100, 101, 102, 103)));
        assert_eq!(first_lan(&all[..4]), None);
        assert_eq!(first_tailnet(&all[..3]), None);
        for (text, inside) in
            [("100.64.0.0", true), ("100.127.255.255", true), ("100.128.0.0", false), ("100.63.255.255", false)]
        {
            assert_eq!(in_tailnet(text.parse().unwrap()), inside, "{text}");
        }
    }

    #[test]
    fn this_machine_answers() {
        assert!(!hostname().is_empty());
        assert!(!arch().is_empty() && !platform().is_empty());
        if cfg!(unix) {
            assert!(!kernel_release().is_empty());
            let here = IpAddr::from([127, 0, 0, 1]);
            assert!(interfaces().iter().any(|i| i.loopback && i.address == here && i.prefix == 8 && i.index > 0));
        }
    }
}
