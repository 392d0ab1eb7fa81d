//! Gateways in mounts of their own: full, read-only and missing file systems that end with the process.

use std::process::{Command, Stdio};

use super::{Gateway, Home, free_port};

/// Whether mounts can be made that nobody else sees; says so where they cannot.
pub fn allowed() -> bool {
    let probe = "mount -t tmpfs -o size=64k tmpfs /mnt";
    let allowed = Command::new("unshare").args(["-m", "sh", "-c", probe]).output().is_ok_and(|o| o.status.success());
    if !allowed {
        println!("skipped: mounting a file system of one's own needs root and unshare");
    }
    allowed
}

/// Makes a command run in mounts of its own, after `script` (where `$HOME` is the test's).
pub fn inside(command: &mut Command, script: &str) {
    let mut wrapped = Command::new("unshare");
    wrapped.args(["-m", "sh", "-c", &format!("{script} && exec \"$@\""), "sh"]);
    wrapped.arg(command.get_program()).args(command.get_args());
    wrapped.env_clear().stdin(Stdio::null());
    wrapped.envs(command.get_envs().filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned()))));
    *command = wrapped;
}

/// A gateway that listens, in mounts of its own. None where that is not allowed.
pub fn start(home: &Home, script: &str) -> Option<Gateway> {
    allowed().then(|| Gateway::start_with(home, &[], |command| inside(command, script)))
}

/// A gateway in mounts of its own that need not come to listen. None where that is not allowed.
pub fn spawn(home: &Home, args: &[&str], script: &str) -> Option<Gateway> {
    let port = free_port();
    let text = port.to_string();
    let all = [&["gateway", "--port", &text], args].concat();
    allowed().then(|| Gateway::spawn_args(home, port, &all, |command| inside(command, script)))
}
