//! Descriptors: the limit of this process and the connection caps that follow from it.
//!
//! Any thread; `raise_descriptor_limit` once at start.

use crate::limits;

/// Taken where the system has no such limit or does not say.
const UNKNOWN_LIMIT: u64 = 1 << 20;
/// Memory that one WebSocket client is allowed to cost when caps are derived: two stacks' touched pages, buffers, queue.
const BYTES_PER_WEBSOCKET: u64 = 64 * 1024;
/// Fewer than this make no gateway; below it the caps stop shrinking and accept errors do the rest.
const FLOOR: u64 = 4;

/// Connection caps (DECISIONS 4), derived downwards where descriptors or memory do not allow them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caps {
    pub http: usize,
    pub websockets: usize,
    /// Sockets that have not finished the handshake: in total, and per address (loopback: only the total).
    pub unauthenticated: usize,
    pub unauthenticated_per_address: usize,
}

impl Caps {
    /// The caps for a process that may open `descriptors` and use `memory` bytes. Half of either may go to clients.
    pub fn derive(descriptors: u64, memory: u64) -> Caps {
        let reserved = limits::RESERVED_DESCRIPTORS.min(descriptors / 2);
        let sockets = (descriptors - reserved).max(FLOOR);
        let affordable = (memory / 2 / BYTES_PER_WEBSOCKET).max(FLOOR);
        // Of the descriptors an eighth serves HTTP, the rest WebSocket; an unauthenticated socket counts as either.
        let http = at_most(limits::MAX_HTTP_CONNECTIONS, sockets / 8, FLOOR);
        let websockets = at_most(limits::MAX_WEBSOCKETS, (sockets - sockets / 8).min(affordable), FLOOR);
        let unauthenticated = at_most(limits::MAX_UNAUTHENTICATED, (http + websockets) as u64 / 2, FLOOR);
        let unauthenticated_per_address =
            at_most(limits::MAX_UNAUTHENTICATED_PER_ADDRESS, unauthenticated as u64 / 2, FLOOR / 2);
        Caps { http, websockets, unauthenticated, unauthenticated_per_address }
    }

    /// The caps of this process as it stands; call `raise_descriptor_limit` first.
    pub fn here() -> Caps {
        Caps::derive(descriptor_limit(), super::memory::limits().usable())
    }
}

fn at_most(cap: usize, available: u64, floor: u64) -> usize {
    usize::try_from(available.max(floor)).unwrap_or(usize::MAX).min(cap)
}

/// Raises the soft limit to the hard one and gives what holds now. Children inherit it.
pub fn raise_descriptor_limit() -> u64 {
    #[cfg(unix)]
    if let Some(mut limit) = read_limit() {
        // The kernel of macOS refuses more than OPEN_MAX although it reports "unlimited".
        let hard = if cfg!(target_os = "macos") { limit.rlim_max.min(10_240) } else { limit.rlim_max };
        if limit.rlim_cur < hard {
            limit.rlim_cur = hard;
            // SAFETY: the struct is initialised and lives through the call.
            unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) };
        }
    }
    descriptor_limit()
}

/// Descriptors that this process may have open.
// The type of the field differs between systems.
#[allow(clippy::unnecessary_cast)]
pub fn descriptor_limit() -> u64 {
    #[cfg(unix)]
    return read_limit().map_or(UNKNOWN_LIMIT, |limit| limit.rlim_cur as u64);
    #[cfg(not(unix))]
    UNKNOWN_LIMIT
}

/// Descriptors that are open now; None where the system does not say.
pub fn open_descriptors() -> Option<usize> {
    let dir = if cfg!(target_os = "linux") { "/proc/self/fd" } else { "/dev/fd" };
    // The listing itself holds one.
    std::fs::read_dir(dir).ok().map(|entries| entries.count().saturating_sub(1))
}

#[cfg(unix)]
fn read_limit() -> Option<libc::rlimit> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the struct lives through the call, which fills it.
    let status = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) };
    (status == 0).then_some(limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn caps_follow_descriptors_and_memory_downwards() {
        let gib = 1024 * 1024 * 1024;
        let full = Caps { http: 256, websockets: 2048, unauthenticated: 512, unauthenticated_per_address: 64 };
        for (descriptors, memory, caps) in [
            (1 << 20, 24 * gib, full),
            (4096, 24 * gib, full),
            (1024, gib, Caps { http: 120, websockets: 840, unauthenticated: 480, unauthenticated_per_address: 64 }),
            (256, gib, Caps { http: 24, websockets: 168, unauthenticated: 96, unauthenticated_per_address: 48 }),
            // 64 MiB of memory: 512 clients.
            (
                4096,
                gib / 16,
                Caps { http: 256, websockets: 512, unauthenticated: 384, unauthenticated_per_address: 64 },
            ),
            (16, 1, Caps { http: 4, websockets: 4, unauthenticated: 4, unauthenticated_per_address: 2 }),
            (0, 0, Caps { http: 4, websockets: 4, unauthenticated: 4, unauthenticated_per_address: 2 }),
        ] {
            assert_eq!(Caps::derive(descriptors, memory), caps, "{descriptors} descriptors, {memory} bytes");
        }
    }

    #[test]
    fn the_limit_is_raised_and_stays() {
        let raised = raise_descriptor_limit();
        assert!(raised >= 64);
        assert_eq!(descriptor_limit(), raised);
        if cfg!(unix) {
            assert!(open_descriptors().is_some_and(|open| open >= 3));
        }
    }
}
