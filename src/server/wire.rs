//! The sending half of a TCP connection.

use std::io::{self, IoSlice, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;

use crate::hub::outbox::Wire;

/// One descriptor per client: reader and outbox share the stream.
pub struct TcpWire(pub Arc<TcpStream>);

impl Wire for TcpWire {
    fn write(&self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        // SO_SNDTIMEO bounds it; a write that made no progress for that long fails with WouldBlock and ends the client.
        (&*self.0).write_vectored(bufs)
    }

    #[cfg(unix)]
    fn try_write(&self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        // A flag of this call, not of the socket: set_nonblocking would be shared with the reader.
        #[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd", target_os = "openbsd"))]
        const FLAGS: libc::c_int = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        #[cfg(not(any(target_os = "linux", target_os = "android", target_os = "freebsd", target_os = "openbsd")))]
        const FLAGS: libc::c_int = libc::MSG_DONTWAIT;
        socket2::SockRef::from(&*self.0).send_vectored_with_flags(bufs, FLAGS)
    }

    /// No such flag there: everything is queued for the writer thread.
    #[cfg(not(unix))]
    fn try_write(&self, _bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        Err(io::ErrorKind::WouldBlock.into())
    }

    fn shutdown(&self, how: Shutdown) {
        // Fails only when the peer is gone already.
        let _ = self.0.shutdown(how);
    }
}
