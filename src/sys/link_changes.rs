//! Word from the kernel that an interface or an address has come or gone (rtnetlink(7)). What exactly is not read:
//! whoever wants to know asks `host::interfaces` again.

use std::net::UdpSocket;

/// A non-blocking socket of datagrams that is readable after each change; a full one loses nothing that matters.
/// None where the system has no such thing or does not allow it.
#[cfg(target_os = "linux")]
pub fn subscribe() -> Option<UdpSocket> {
    const NETLINK_ROUTE: i32 = 0;
    let groups = (libc::RTMGRP_LINK | libc::RTMGRP_IPV4_IFADDR | libc::RTMGRP_IPV6_IFADDR) as u32;
    let kind = socket2::Type::from(libc::SOCK_RAW | libc::SOCK_CLOEXEC);
    let protocol = socket2::Protocol::from(NETLINK_ROUTE);
    let socket = socket2::Socket::new_raw(socket2::Domain::from(libc::AF_NETLINK), kind, Some(protocol)).ok()?;
    // SAFETY: a sockaddr_nl is shorter than the zeroed storage and of the length that is given.
    let ((), address) = unsafe {
        socket2::SockAddr::try_init(|storage, length| {
            let address = &mut *storage.cast::<libc::sockaddr_nl>();
            address.nl_family = libc::AF_NETLINK as libc::sa_family_t;
            address.nl_groups = groups;
            *length = std::mem::size_of::<libc::sockaddr_nl>() as libc::socklen_t;
            Ok(())
        })
    }
    .ok()?;
    socket.bind(&address).ok()?;
    socket.set_nonblocking(true).ok()?;
    Some(socket.into())
}

#[cfg(not(target_os = "linux"))]
pub fn subscribe() -> Option<UdpSocket> {
    None
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    #[test]
    fn nothing_is_heard_while_nothing_changes() {
        let Some(socket) = super::subscribe() else { return };
        // Other tests may make and remove interfaces; what matters is that nobody is kept waiting.
        let heard = socket.recv(&mut [0; 4096]);
        assert!(heard.is_ok() || heard.is_err_and(|e| e.kind() == std::io::ErrorKind::WouldBlock));
    }
}
