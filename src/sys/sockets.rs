//! Who listens on a TCP port, from netlink and /proc: no lsof, no fuser.
//!
//! Any thread; the walk through /proc/<pid>/fd costs a few milliseconds on a busy machine. /proc/self/net is read
//! instead of /proc/net: it is there also under `ProcSubset=pid`.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::Path;

use super::process;
use crate::sort;

/// A process that listens on the port; of the others of its sockets there only the first address is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// None: the socket is there, its process may not be seen (another user's, or hidden).
    pub pid: Option<u32>,
    pub parent: Option<u32>,
    /// User of the socket.
    pub uid: u32,
    pub user: String,
    /// Short name, at most 15 bytes.
    pub command: Option<String>,
    /// All arguments with blanks between them.
    pub command_line: Option<String>,
    pub address: SocketAddr,
}

/// A line of /proc/self/net/tcp or tcp6 in state LISTEN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    pub address: SocketAddr,
    pub uid: u32,
    pub inode: u64,
}

/// What is known about a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PortUse {
    Free,
    Busy(Vec<Listener>),
    /// The system does not tell who listens; only a connect or a bind can say more.
    Unknown,
}

/// The listeners of a port, of every user, one per process, sorted by pid.
pub fn port_use(port: u16) -> PortUse {
    let Some(rows) = listening_rows(port) else { return PortUse::Unknown };
    if rows.is_empty() {
        return PortUse::Free;
    }
    PortUse::Busy(owners(rows))
}

/// As `port_use`; empty when free or unknown.
pub fn listeners(port: u16) -> Vec<Listener> {
    match port_use(port) {
        PortUse::Busy(listeners) => listeners,
        PortUse::Free | PortUse::Unknown => Vec::new(),
    }
}

/// Ports on which a process listens, in order; empty where the system does not tell.
pub fn ports_of(pid: u32) -> Vec<u16> {
    let tables = ["/proc/self/net/tcp", "/proc/self/net/tcp6"].map(|table| std::fs::read(table).unwrap_or_default());
    let text = tables.iter().map(|table| String::from_utf8_lossy(table)).collect::<Vec<_>>().join("\n");
    let rows: Vec<Row> = text.lines().filter_map(parse_row).collect();
    let Ok(entries) = std::fs::read_dir(format!("/proc/{pid}/fd")) else { return Vec::new() };
    let links = entries.flatten().filter_map(|entry| std::fs::read_link(entry.path()).ok());
    let inode = |link: std::path::PathBuf| link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok();
    let inodes: Vec<u64> = links.filter_map(inode).collect();
    let own = rows.iter().filter(|row| inodes.contains(&row.inode)).map(|row| row.address.port());
    own.collect::<std::collections::BTreeSet<_>>().into_iter().collect()
}

#[cfg(target_os = "linux")]
fn listening_rows(port: u16) -> Option<Vec<Row>> {
    if let Ok(rows) = super::sock_diag::listening(port) {
        return Some(rows);
    }
    let v4 = std::fs::read("/proc/self/net/tcp").ok();
    let v6 = std::fs::read("/proc/self/net/tcp6").ok();
    if v4.is_none() && v6.is_none() {
        return None;
    }
    let mut rows = parse_table(&v4.unwrap_or_default(), port);
    rows.extend(parse_table(&v6.unwrap_or_default(), port));
    Some(rows)
}

#[cfg(not(target_os = "linux"))]
fn listening_rows(_port: u16) -> Option<Vec<Row>> {
    None
}

fn owners(rows: Vec<Row>) -> Vec<Listener> {
    let links: Vec<String> = rows.iter().map(|row| format!("socket:[{}]", row.inode)).collect();
    let mut seen = vec![false; rows.len()];
    let mut found: Vec<Listener> = Vec::new();
    let mut pids = process::all_pids();
    sort::by(&mut pids, Ord::cmp);
    for pid in pids {
        let mut first: Option<usize> = None;
        let mut look = |thread: &Path| {
            let targets = std::fs::read_dir(thread.join("fd")).into_iter().flatten().flatten();
            for target in targets.filter_map(|entry| std::fs::read_link(entry.path()).ok()) {
                let at = target.to_str().and_then(|target| links.iter().position(|link| link == target));
                let Some(at) = at else { continue };
                seen[at] = true;
                first = Some(first.map_or(at, |old| old.min(at)));
            }
        };
        let process = Path::new("/proc").join(pid.to_string());
        look(&process);
        // A process whose first thread has ended is a zombie to look at, and its other threads hold what it holds.
        if process::stat(pid).is_some_and(|stat| stat.state == 'Z') {
            let threads = std::fs::read_dir(process.join("task")).into_iter().flatten().flatten();
            threads.for_each(|thread| look(&thread.path()));
        }
        if let Some(at) = first {
            found.push(describe(&rows[at], Some(pid)));
        }
    }
    for (row, seen) in rows.iter().zip(seen) {
        if !seen {
            found.push(describe(row, None));
        }
    }
    found
}

fn describe(row: &Row, pid: Option<u32>) -> Listener {
    let stat = pid.and_then(process::stat);
    Listener {
        pid,
        parent: stat.as_ref().map(|stat| stat.parent),
        uid: row.uid,
        user: process::user_label(row.uid),
        command: stat.map(|stat| stat.command),
        command_line: pid.and_then(process::command_line).map(|arguments| arguments.join(" ")),
        address: row.address,
    }
}

/// Rows of the table that listen (state 0A) on `port`; lines that do not parse are skipped.
pub fn parse_table(bytes: &[u8], port: u16) -> Vec<Row> {
    let text = String::from_utf8_lossy(bytes);
    text.lines().filter_map(parse_row).filter(|row| row.address.port() == port).collect()
}

fn parse_row(line: &str) -> Option<Row> {
    // sl local_address rem_address st tx:rx tr:when retrnsmt uid timeout inode
    let mut fields = line.split_ascii_whitespace();
    let local = fields.nth(1)?;
    if fields.nth(1)? != "0A" {
        return None;
    }
    let uid = fields.nth(3)?.parse().ok()?;
    let inode = fields.nth(1)?.parse().ok()?;
    let (address, port) = local.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    Some(Row { address: SocketAddr::new(parse_address(address)?, port), uid, inode })
}

/// Words of four bytes in the order of the machine.
fn parse_address(hex: &str) -> Option<IpAddr> {
    if !hex.is_ascii() {
        return None;
    }
    let word = |at: usize| u32::from_str_radix(hex.get(at * 8..at * 8 + 8)?, 16).ok().map(u32::to_ne_bytes);
    match hex.len() {
        8 => Some(IpAddr::from(word(0)?)),
        32 => {
            let mut bytes = [0u8; 16];
            for at in 0..4 {
                bytes[at * 4..at * 4 + 4].copy_from_slice(&word(at)?);
            }
            Some(IpAddr::from(Ipv6Addr::from(bytes).to_bits().to_be_bytes()))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::testing::Random;

    const TABLE: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:5280 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 4711 1 0000000000000000
   1: 0100007F:5280 0100007F:9C40 01 00000000:00000000 00:00000000 00000000  1000        0 4712 1 0000000000000000
   2: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 99 1 0000000000000000
   3: 00000000000000000000000001000000:5280 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 4713 1
 nonsense
";

    #[test]
    #[cfg(target_endian = "little")]
    fn only_listeners_of_the_port() {
        let rows = parse_table(TABLE.as_bytes(), 0x5280);
        assert_eq!(
            rows,
            [
                Row { address: "127.0.0.1:21120".parse().unwrap(), uid: 1000, inode: 4711 },
                Row { address: "[::1]:21120".parse().unwrap(), uid: 1000, inode: 4713 }
            ]
        );
        assert_eq!(parse_table(TABLE.as_bytes(), 22).len(), 1);
        assert_eq!(parse_table(TABLE.as_bytes(), 80), []);
    }

    #[test]
    fn mutated_tables_never_panic() {
        let mut random = Random(0x5eed_0002);
        for _ in 0..5_000 {
            let mut bytes = TABLE.as_bytes().to_vec();
            bytes = random.mutated(&bytes);
            let _ = parse_table(&bytes, 0x5280);
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn our_own_listener_is_found_with_everything() {
        let v4 = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = v4.local_addr().unwrap().port();
        let _v6 = std::net::TcpListener::bind(("::1", port));
        // Other programs may use the same number on other addresses.
        let ours = || listeners(port).into_iter().filter(|l| l.pid == Some(std::process::id())).collect::<Vec<_>>();
        let found = ours();
        assert_eq!(found.len(), 1, "one entry per process: {found:?}");
        let own = &found[0];
        assert_eq!(own.address, v4.local_addr().unwrap());
        assert_eq!(Some(own.uid), process::uid());
        assert!(own.command.is_some() && own.command_line.is_some() && own.parent.is_some());
        drop(v4);
        drop(_v6);
        assert!(ours().is_empty());
    }
}
