//! Replacing and ending this process.

use std::path::PathBuf;

/// Signals that must not end the process between the exec and its new handlers (DECISIONS 90).
#[cfg(unix)]
const KEPT_AWAY: [libc::c_int; 3] = [libc::SIGHUP, libc::SIGUSR1, libc::SIGUSR2];

/// The restart of last resort: replaces this process by our own binary with the same arguments and the same pid.
/// Returns only when that failed; then the signals are handled as before.
///
/// `once` are flags that must not act a second time. Every descriptor of ours is closed on the way (close-on-exec), threads end where they stand: stores must be flushed.
#[cfg(unix)]
pub fn restart_self(once: &[&str]) -> std::io::Error {
    use std::os::unix::process::CommandExt as _;
    let program = match own_binary() {
        Ok(path) => path,
        Err(error) => return error,
    };
    let mut args = std::env::args_os();
    let arg0 = args.next();
    let mut command = std::process::Command::new(program);
    if let Some(arg0) = arg0 {
        command.arg0(arg0);
    }
    command.args(args.filter(|arg| !once.iter().any(|flag| *arg == **flag)));
    let before = KEPT_AWAY.map(|signal| (signal, ignore(signal)));
    let error = command.exec();
    for (signal, action) in before {
        if let Some(action) = action {
            // SAFETY: the action was handed out by the same call for the same signal.
            unsafe { libc::sigaction(signal, &raw const action, std::ptr::null_mut()) };
        }
    }
    error
}

#[cfg(not(unix))]
pub fn restart_self(_once: &[&str]) -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::Unsupported, "this system cannot replace a running program")
}

/// Our own binary; after an upgrade in place the new one.
pub fn own_binary() -> std::io::Result<PathBuf> {
    let path = std::env::current_exe()?;
    // Linux adds this to the name of a binary that was replaced while it ran.
    match path.to_str().and_then(|text| text.strip_suffix(" (deleted)")) {
        Some(replaced) if !path.exists() => Ok(PathBuf::from(replaced)),
        _ => Ok(path),
    }
}

/// What this process creates is for its user alone: 0600 and 0700 (DECISIONS 39).
pub fn private_umask() {
    #[cfg(unix)]
    // SAFETY: umask cannot fail and touches nothing but the mask.
    unsafe {
        libc::umask(0o077);
    }
}

/// Ends the process here and now: no destructors, no flush.
pub fn exit_now(code: i32) -> ! {
    #[cfg(unix)]
    // SAFETY: _exit never returns.
    unsafe {
        libc::_exit(code)
    }
    #[cfg(not(unix))]
    std::process::exit(code)
}

#[cfg(unix)]
fn ignore(signal: libc::c_int) -> Option<libc::sigaction> {
    // SAFETY: both structs live through the call; SIG_IGN needs neither mask nor flags.
    unsafe {
        let mut ignored: libc::sigaction = std::mem::zeroed();
        ignored.sa_sigaction = libc::SIG_IGN;
        let mut before: libc::sigaction = std::mem::zeroed();
        (libc::sigaction(signal, &raw const ignored, &raw mut before) == 0).then_some(before)
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use crate::sys::testing::{TempDir, rerun};
    use std::process::Stdio;

    const LIVES: &str = "OPENCLAW_TEST_LIVES";

    /// Not a test by itself: restarts in its first life, reports in its second.
    #[test]
    fn two_lives() {
        let Ok(note) = std::env::var(LIVES) else { return };
        let own = std::process::id().to_string();
        let Ok(first) = std::fs::read_to_string(&note) else {
            std::fs::write(&note, own).unwrap();
            panic!("{}", restart_self(&["--reset"]));
        };
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap().trim().to_owned();
        std::fs::write(&note, format!("{} {ignored}", first == own)).unwrap();
    }

    #[test]
    fn a_restart_keeps_the_pid_and_ignores_the_signals_meanwhile() {
        let dir = TempDir::new("exec");
        let note = dir.0.join("note");
        let mut child = rerun("sys::exec::tests::two_lives", LIVES, note.to_str().unwrap());
        assert!(child.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success());
        let text = std::fs::read_to_string(&note).unwrap();
        let (same, ignored) = text.split_once(' ').unwrap();
        assert_eq!(same, "true");
        let ignored = u64::from_str_radix(ignored, 16).unwrap();
        for signal in KEPT_AWAY {
            assert!(ignored >> (signal - 1) & 1 == 1, "signal {signal}");
        }
    }

    #[test]
    fn our_binary_is_there() {
        assert!(own_binary().unwrap().exists());
    }
}
