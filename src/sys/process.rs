//! Other processes: who they are, whether they live, and signals to them. Also the name of our own.
//!
//! Any thread. On Linux everything comes from /proc; other systems answer what `kill` and `getpwuid` can tell.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::PathBuf;

/// Larger than what is read of /proc and /sys, but for long command lines.
const PROC_FILE: usize = 2048;
/// What this process is called in `ps` and `ss`; the kernel keeps 15 bytes of it.
pub const TITLE: &str = "openclaw-gateway";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sig {
    Term,
    Int,
    Kill,
    Hup,
    Usr1,
    Usr2,
}

#[derive(Debug)]
pub enum SignalError {
    /// No such process.
    Gone,
    /// It belongs to another user.
    NotPermitted,
    /// Pid 0, pid 1 or ourselves: never signalled.
    Refused,
    Other(io::Error),
}

impl std::fmt::Display for SignalError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            SignalError::Gone => f.write_str("no such process"),
            SignalError::NotPermitted => f.write_str("not permitted"),
            SignalError::Refused => f.write_str("never signalled: pid 1 or this process itself"),
            SignalError::Other(error) => error.fmt(f),
        }
    }
}

/// The parts of /proc/<pid>/stat that we use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stat {
    /// At most 15 bytes.
    pub command: String,
    /// `R`, `S`, `Z` …
    pub state: char,
    pub parent: u32,
    /// Field 22: clock ticks after boot. With the pid it names one process for the life of the system.
    pub start_time: u64,
}

/// True for a pid that `signal` refuses.
pub fn is_untouchable(pid: u32) -> bool {
    pid <= 1 || pid == std::process::id() || i32::try_from(pid).is_err()
}

/// Whether `signal` would be allowed, without sending one.
pub fn may_signal(pid: u32) -> Result<(), SignalError> {
    if is_untouchable(pid) {
        return Err(SignalError::Refused);
    }
    #[cfg(unix)]
    return send_number(pid, 0);
    #[cfg(not(unix))]
    Err(no_signals())
}

/// Sends one signal. Never to pid 1 and never to ourselves.
pub fn signal(pid: u32, sig: Sig) -> Result<(), SignalError> {
    if is_untouchable(pid) {
        return Err(SignalError::Refused);
    }
    send(pid, sig)
}

#[cfg(unix)]
fn send(pid: u32, sig: Sig) -> Result<(), SignalError> {
    let number = match sig {
        Sig::Term => libc::SIGTERM,
        Sig::Int => libc::SIGINT,
        Sig::Kill => libc::SIGKILL,
        Sig::Hup => libc::SIGHUP,
        Sig::Usr1 => libc::SIGUSR1,
        Sig::Usr2 => libc::SIGUSR2,
    };
    send_number(pid, number)
}

#[cfg(unix)]
fn send_number(pid: u32, number: libc::c_int) -> Result<(), SignalError> {
    // SAFETY: kill touches no memory of ours; the pid is positive and names one process.
    if unsafe { libc::kill(pid as libc::pid_t, number) } == 0 {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    Err(match error.raw_os_error() {
        Some(libc::ESRCH) => SignalError::Gone,
        Some(libc::EPERM) => SignalError::NotPermitted,
        _ => SignalError::Other(error),
    })
}

/// Kills every process of the group that a child of ours leads; whoever is gone already is gone.
pub fn kill_group(leader: u32) {
    #[cfg(unix)]
    if !is_untouchable(leader)
        && let Ok(group) = libc::pid_t::try_from(leader)
    {
        // SAFETY: killpg touches no memory of ours; the group is a child's own, never 0 (ours) and never 1.
        unsafe { libc::killpg(group, libc::SIGKILL) };
    }
    #[cfg(not(unix))]
    let _ = leader;
}

#[cfg(not(unix))]
fn send(_pid: u32, _sig: Sig) -> Result<(), SignalError> {
    Err(no_signals())
}

#[cfg(not(unix))]
fn no_signals() -> SignalError {
    SignalError::Other(io::Error::new(io::ErrorKind::Unsupported, "this system has no signals"))
}

/// Whether the process runs; a zombie does not. Where nothing can be told: true, the careful answer.
pub fn alive(pid: u32) -> bool {
    if pid == 0 || i32::try_from(pid).is_err() {
        return false;
    }
    if let Some(stat) = stat(pid) {
        return !matches!(stat.state, 'Z' | 'X' | 'x');
    }
    #[cfg(unix)]
    {
        // SAFETY: signal 0 only asks.
        let there = unsafe { libc::kill(pid as libc::pid_t, 0) } == 0;
        there || io::Error::last_os_error().raw_os_error() == Some(libc::EPERM)
    }
    #[cfg(not(unix))]
    true
}

/// Field 22 of /proc/<pid>/stat; None without /proc or when the process is gone.
pub fn start_time(pid: u32) -> Option<u64> {
    stat(pid).map(|stat| stat.start_time)
}

/// The short name, as in `ss` and `lsof`.
pub fn command(pid: u32) -> Option<String> {
    stat(pid).map(|stat| stat.command)
}

pub fn parent(pid: u32) -> Option<u32> {
    stat(pid).map(|stat| stat.parent)
}

/// The arguments; None when there are none to see (kernel thread, gone, hidden).
pub fn command_line(pid: u32) -> Option<Vec<String>> {
    parse_command_line(&proc_file(pid, "cmdline")?)
}

/// The binary; None when it may not be seen.
pub fn exe(pid: u32) -> Option<PathBuf> {
    if !cfg!(target_os = "linux") {
        return None;
    }
    std::fs::read_link(format!("/proc/{pid}/exe")).ok()
}

/// Real user of the process.
pub fn owner(pid: u32) -> Option<u32> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt as _;
        if cfg!(target_os = "linux") {
            return std::fs::metadata(format!("/proc/{pid}")).ok().map(|m| m.uid());
        }
    }
    let _ = pid;
    None
}

pub fn stat(pid: u32) -> Option<Stat> {
    parse_stat(&proc_file(pid, "stat")?)
}

/// Every pid in /proc; empty without it.
pub fn all_pids() -> Vec<u32> {
    if !cfg!(target_os = "linux") {
        return Vec::new();
    }
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// Whether these arguments are a gateway: ours, the reference under node, or its process title.
pub fn is_gateway(arguments: &[String]) -> bool {
    let Some(first) = arguments.first() else { return false };
    let name = |argument: &str| {
        let file = argument.rsplit(['/', '\\']).next().unwrap_or(argument);
        file.trim_end_matches(".exe").to_ascii_lowercase()
    };
    // A process title replaces all arguments by one.
    if name(first).split(' ').next() == Some(TITLE) {
        return true;
    }
    const PROGRAMS: [&str; 3] = ["openclaw", "clawdbot", "moltbot"];
    const SCRIPTS: [&str; 4] = [".mjs", ".js", ".cjs", ".ts"];
    let program = arguments.iter().take(4).position(|argument| {
        let file = name(argument);
        let script = SCRIPTS.iter().any(|end| file.ends_with(end));
        // node …/openclaw/dist/index.js gateway: the folder names the program.
        PROGRAMS.contains(&file.as_str())
            || (script && PROGRAMS.iter().any(|p| argument.to_ascii_lowercase().contains(p)))
    });
    program.is_some_and(|at| arguments[at + 1..].iter().any(|argument| argument == "gateway"))
}

/// Our pid's user; None on systems without numeric users.
pub fn uid() -> Option<u32> {
    #[cfg(unix)]
    // SAFETY: getuid cannot fail.
    return Some(unsafe { libc::getuid() });
    #[cfg(not(unix))]
    None
}

/// The user whose rights we have.
#[cfg(unix)]
pub fn effective_uid() -> u32 {
    // SAFETY: geteuid cannot fail.
    unsafe { libc::geteuid() }
}

/// Name of a user; None when the user data base does not know it.
#[cfg(all(unix, not(target_os = "linux")))]
pub fn user_name(uid: u32) -> Option<String> {
    let mut buffer = vec![0 as libc::c_char; 4096];
    // SAFETY: all pointers are to memory that lives through the call; the name is copied out of the buffer at once.
    unsafe {
        let mut entry: libc::passwd = std::mem::zeroed();
        let mut found = std::ptr::null_mut();
        let status = libc::getpwuid_r(uid, &raw mut entry, buffer.as_mut_ptr(), buffer.len(), &raw mut found);
        if status != 0 || found.is_null() {
            return None;
        }
        std::ffi::CStr::from_ptr(entry.pw_name).to_str().ok().map(str::to_owned)
    }
}

/// Name of a user from /etc/passwd: no NSS, which would load shared libraries into a small process.
#[cfg(not(all(unix, not(target_os = "linux"))))]
pub fn user_name(uid: u32) -> Option<String> {
    parse_passwd(&std::fs::read_to_string("/etc/passwd").ok()?, uid)
}

/// The name or, without one, the number.
pub fn user_label(uid: u32) -> String {
    user_name(uid).unwrap_or_else(|| uid.to_string())
}

/// Names the calling thread, which in `main` names the process for `ps`, `ss` and `pgrep`.
pub fn set_name(name: &str) {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        let mut bytes = [0u8; 16];
        let n = name.len().min(15);
        bytes[..n].copy_from_slice(&name.as_bytes()[..n]);
        // SAFETY: 16 bytes that end in zero, as the call wants them.
        unsafe {
            libc::prctl(libc::PR_SET_NAME, bytes.as_ptr());
        }
    }
    let _ = name;
}

/// True when the service manager of OpenWrt started us.
pub fn parent_is_procd() -> bool {
    // procd is pid 1; inside ujail its child of that name is our parent.
    #[cfg(unix)]
    return command(std::os::unix::process::parent_id()).is_some_and(|name| matches!(name.as_str(), "procd" | "ujail"));
    #[cfg(not(unix))]
    false
}

/// True when launchd of macOS started us: it is pid 1 there, and nobody else leaves its children to pid 1 at start.
pub fn parent_is_launchd() -> bool {
    #[cfg(target_os = "macos")]
    // SAFETY: getppid cannot fail.
    return unsafe { libc::getppid() } == 1;
    #[cfg(not(target_os = "macos"))]
    false
}

/// Whether a supervisor restarts us (DECISIONS 86): decides exit 78 and the console's format, nothing else.
/// `INVOCATION_ID` and `JOURNAL_STREAM` are inherited by terminals and prove nothing.
pub fn is_supervised(env: &dyn Fn(&str) -> Option<String>) -> bool {
    let set = |name: &str| env(name).is_some_and(|value| !value.is_empty());
    set("OPENCLAW_SERVICE_MARKER")
        || set("NOTIFY_SOCKET")
        || env("SYSTEMD_EXEC_PID").is_some_and(|pid| pid == std::process::id().to_string())
        || parent_is_procd()
        || parent_is_launchd()
}

fn proc_file(pid: u32, name: &str) -> Option<Vec<u8>> {
    if !cfg!(target_os = "linux") {
        return None;
    }
    read_proc(&format!("/proc/{pid}/{name}")).ok()
}

/// A file of /proc or /sys as text; None when it cannot be read or is none.
#[cfg(target_os = "linux")]
pub(super) fn proc_text(path: &str) -> Option<String> {
    String::from_utf8(read_proc(path).ok()?).ok()
}

/// Such files say that they are empty, so that `fs::read` asks for a few bytes at a time.
fn read_proc(path: &str) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(PROC_FILE);
    File::open(path)?.take(u64::MAX).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The command stands in brackets and may itself hold blanks and brackets: the last `)` ends it.
fn parse_stat(bytes: &[u8]) -> Option<Stat> {
    let text = String::from_utf8_lossy(bytes);
    let (open, close) = (text.find('(')?, text.rfind(')')?);
    let command = text.get(open + 1..close)?.to_owned();
    let mut fields = text[close + 1..].split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    let parent = fields.next()?.parse().ok()?;
    // Fields 3 and 4 are gone; 22 is the 18th of the rest.
    let start_time = fields.nth(17)?.parse().ok()?;
    Some(Stat { command, state, parent, start_time })
}

fn parse_command_line(bytes: &[u8]) -> Option<Vec<String>> {
    let end = bytes.iter().rposition(|b| *b != 0)? + 1;
    Some(bytes[..end].split(|b| *b == 0).map(|part| String::from_utf8_lossy(part).into_owned()).collect())
}

#[cfg_attr(not(target_os = "linux"), allow(dead_code))]
fn parse_passwd(text: &str, uid: u32) -> Option<String> {
    text.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid) && !name.is_empty()).then(|| name.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &[u8] = b"12410 (tricky) (name) S 1 12410 12410 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 11 0 83528 999 1";

    #[test]
    fn stat_lines() {
        let stat = parse_stat(STAT).unwrap();
        assert_eq!((stat.command.as_str(), stat.state, stat.parent, stat.start_time), ("tricky) (name", 'S', 1, 83528));
        for bad in [&b""[..], b"1 (x)", b"1 (x) S", b"1 x) S 1", b")(", b"1 (x) S 1 2 3"] {
            assert_eq!(parse_stat(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn mutated_proc_files_never_panic() {
        let mut random = crate::sys::testing::Random(0x5eed_0001);
        for _ in 0..5_000 {
            let mut bytes = STAT.to_vec();
            bytes = random.mutated(&bytes);
            let _ = parse_stat(&bytes);
            let _ = parse_command_line(&bytes);
            let _ = parse_passwd(&String::from_utf8_lossy(&bytes), 0);
        }
    }

    #[test]
    fn command_lines_and_users() {
        assert_eq!(parse_command_line(b"sh\0-c\0\0x\0").unwrap(), ["sh", "-c", "", "x"]);
        assert_eq!(parse_command_line(b"openclaw-gateway\0\0\0\0").unwrap(), ["openclaw-gateway"]);
        assert_eq!(parse_command_line(b"\0\0"), None);
        let passwd = "root:x:0:0:root:/root:/bin/sh\nbroken\n:x:7:\npi:x:1000:1000::/home/pi:/bin/sh\n";
        assert_eq!(parse_passwd(passwd, 0).as_deref(), Some("root"));
        assert_eq!(parse_passwd(passwd, 1000).as_deref(), Some("pi"));
        assert_eq!(parse_passwd(passwd, 7), None);
    }

    #[test]
    fn gateways_are_told_from_other_programs() {
        for (arguments, gateway) in [
            (&["openclaw-gateway"][..], true),
            (&["/usr/bin/openclaw", "gateway", "--port", "18789"], true),
            (&["openclaw", "--dev", "gateway"], true),
            (&["C:\\tools\\openclaw.exe", "gateway"], true),
            (&["/usr/bin/node", "/usr/lib/node_modules/openclaw/dist/index.js", "gateway"], true),
            (&["node", "/home/u/clawdbot/clawdbot.mjs", "gateway", "run"], true),
            (&["openclaw", "logs", "--follow"], false),
            (&["/usr/bin/python3", "/home/u/gateway.py"], false),
            (&["vim", "openclaw.json"], false),
            (&["ssh", "-L", "18789:localhost:18789", "gateway"], false),
            (&[], false),
        ] {
            let owned: Vec<String> = arguments.iter().map(|a| a.to_string()).collect();
            assert_eq!(is_gateway(&owned), gateway, "{arguments:?}");
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_child_is_seen_signalled_and_gone() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let pid = child.id();
        assert!(alive(pid));
        assert_eq!(parent(pid), Some(std::process::id()));
        assert_eq!(owner(pid), uid());
        assert!(start_time(pid) >= start_time(std::process::id()));
        assert!(all_pids().contains(&pid));
        assert!(may_signal(pid).is_ok() && matches!(may_signal(1), Err(SignalError::Refused)));
        assert!(signal(pid, Sig::Kill).is_ok());
        let start = std::time::Instant::now();
        while alive(pid) && start.elapsed().as_secs() < 20 {
            std::thread::yield_now();
        }
        assert!(!alive(pid), "a zombie counts as dead");
        child.wait().unwrap();
        assert!(matches!(signal(pid, Sig::Term), Err(SignalError::Gone)));
    }

    #[test]
    fn supervisors_are_known_by_what_cannot_be_inherited() {
        let own = std::process::id().to_string();
        for (name, value, supervised) in [
            ("OPENCLAW_SERVICE_MARKER", "openclaw", true),
            ("OPENCLAW_SERVICE_MARKER", "", false),
            ("NOTIFY_SOCKET", "@x", true),
            ("SYSTEMD_EXEC_PID", own.as_str(), true),
            ("SYSTEMD_EXEC_PID", "1", false),
            ("INVOCATION_ID", "abc", false),
            ("JOURNAL_STREAM", "1:2", false),
        ] {
            let env = |asked: &str| (asked == name).then(|| value.to_owned());
            assert_eq!(is_supervised(&env), supervised, "{name}={value}");
        }
    }

    #[test]
    fn some_are_never_signalled() {
        for pid in [0, 1, std::process::id(), u32::MAX] {
            assert!(matches!(signal(pid, Sig::Kill), Err(SignalError::Refused)), "{pid}");
        }
        assert!(!alive(0) && !alive(u32::MAX) && alive(std::process::id()));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn the_name_is_cut_at_fifteen_bytes() {
        std::thread::spawn(|| {
            set_name(TITLE);
            let name = std::fs::read_to_string("/proc/thread-self/comm").unwrap();
            assert_eq!(name.trim(), "openclaw-gatewa");
        })
        .join()
        .unwrap();
    }
}
