//! The `tailscale` program of this machine: publishing the gateway in the tailnet or to everybody, and asking who an
//! address belongs to (cli 8). Everything goes through its command line; each call has a time limit.

pub mod publish;
pub mod whois;

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use crate::sys::ask::{Errors, NoAnswer, Question};

const NAME: &str = "tailscale";
/// Where it lies when PATH does not have it: services start with a short one.
const PLACES: [&str; 6] = [
    "/usr/bin/tailscale",
    "/usr/sbin/tailscale",
    "/usr/local/bin/tailscale",
    "/snap/bin/tailscale",
    "/opt/homebrew/bin/tailscale",
    "/Applications/Tailscale.app/Contents/MacOS/Tailscale",
];
/// What the program gets of our environment: no secrets of ours.
const ENV: [&str; 9] =
    ["PATH", "HOME", "USER", "LOGNAME", "TMPDIR", "LANG", "XDG_RUNTIME_DIR", "TS_SOCKET", "SYSTEMROOT"];
const OUTPUT: u64 = 256 * 1024;
/// Of what a failing program says, this much is told.
const SAID_CHARS: usize = 300;

/// The program, found once and asked several times.
#[derive(Debug)]
pub struct Tool {
    path: PathBuf,
}

/// Why a call gave nothing.
#[derive(Debug, PartialEq, Eq)]
pub enum Failed {
    /// Not on this machine.
    Missing,
    /// It wants more rights than we have; what it said.
    Denied(String),
    /// Anything else, in words.
    Other(String),
    /// The caller wants no answer any more.
    GivenUp,
}

impl std::fmt::Display for Failed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Failed::Missing => write!(f, "{NAME}: No such file or directory"),
            Failed::Denied(said) | Failed::Other(said) => f.write_str(said),
            Failed::GivenUp => f.write_str("stopped"),
        }
    }
}

impl Tool {
    /// In PATH, else in the places where packages put it.
    pub fn find() -> Result<Tool, Failed> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let in_path = std::env::split_paths(&path).filter(|dir| dir.is_absolute()).map(|dir| dir.join(NAME));
        let mut candidates = in_path.chain(PLACES.iter().map(PathBuf::from));
        candidates.find(|path| path.is_file()).map(|path| Tool { path }).ok_or(Failed::Missing)
    }

    /// One call; its standard output.
    pub fn run(
        &self,
        args: &[&str],
        limit: Duration,
        errors: Errors,
        give_up: Option<&AtomicBool>,
    ) -> Result<Vec<u8>, Failed> {
        ask(&self.path, args, limit, errors, give_up)
    }

    /// The same with the rights that it wants: a refusal is tried once more through `sudo -n`, which never asks.
    pub fn run_privileged(
        &self,
        args: &[&str],
        limit: Duration,
        give_up: Option<&AtomicBool>,
    ) -> Result<Vec<u8>, Failed> {
        let denied = match self.run(args, limit, Errors::Mixed, give_up) {
            Err(Failed::Denied(said)) => Failed::Denied(said),
            other => return other,
        };
        let program = self.path.to_string_lossy();
        let with_sudo = [&["-n", &*program], args].concat();
        // What sudo says about itself helps nobody.
        ask(Path::new("sudo"), &with_sudo, limit, Errors::Mixed, give_up).map_err(|_| denied)
    }
}

fn ask(
    program: &Path,
    args: &[&str],
    timeout: Duration,
    errors: Errors,
    give_up: Option<&AtomicBool>,
) -> Result<Vec<u8>, Failed> {
    let env = ENV.iter().filter_map(|name| Some(((*name).to_owned(), std::env::var_os(name)?)));
    let env: Vec<(String, OsString)> = env.collect();
    let words: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
    let question = Question {
        program,
        args: &words,
        env,
        dir: None,
        input: Vec::new(),
        timeout,
        silence: timeout,
        max_output: OUTPUT,
        errors,
        give_up,
    };
    question.ask().map_err(|failure| match failure {
        NoAnswer::NotStarted(e) if e.kind() == io::ErrorKind::NotFound => Failed::Missing,
        NoAnswer::NotStarted(e) => Failed::Other(format!("{NAME}: {e}")),
        NoAnswer::TimedOut | NoAnswer::Silent => {
            Failed::Other(format!("{NAME} {} did not end within {} s", args.join(" "), timeout.as_secs()))
        }
        NoAnswer::TooLong => Failed::Other(format!("{NAME} {} printed too much", args.join(" "))),
        NoAnswer::GivenUp => Failed::GivenUp,
        NoAnswer::Failed(status, said) => {
            let said = in_one_line(&String::from_utf8_lossy(&said));
            match said.is_empty() {
                true => Failed::Other(format!("{NAME} {} ended with {status}", args.join(" "))),
                false if is_denied(&said) => Failed::Denied(said),
                false => Failed::Other(said),
            }
        }
    })
}

fn in_one_line(text: &str) -> String {
    let words: Vec<&str> =
        text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|w| !w.is_empty()).collect();
    words.join(" ").chars().take(SAID_CHARS).collect()
}

/// Whether these are the words of a program that lacks rights.
fn is_denied(said: &str) -> bool {
    let said = said.to_ascii_lowercase();
    let signs = ["permission denied", "access denied", "not permitted", "requires root", "must be root", "sudo"];
    signs.iter().any(|sign| said.contains(sign))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_refusal_looks_like() {
        for (said, denied) in [
            ("Access denied: serve config denied\n\nUse 'sudo tailscale serve --bg 1'.", true),
            ("dial unix /run/tailscaled.sock: Permission denied", true),
            ("Logged out.", false),
            ("failed to connect to local tailscaled; it doesn't appear to be running", false),
        ] {
            assert_eq!(is_denied(&in_one_line(said)), denied, "{said}");
        }
        assert_eq!(in_one_line(" a\n\x1b[1mb\t c\n"), "a [1mb c");
    }
}
