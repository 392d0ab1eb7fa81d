//! Carries plans out: files whole, commands by their words without a shell, with a limit for time and output.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::{Done, PlanFile, Step};
use crate::limits::{SERVICE_COMMAND, SERVICE_FILE_BYTES, SERVICE_OUTPUT};
use crate::store::atomic;
use crate::sys::process;

/// How often a command is looked at.
const LOOK: Duration = Duration::from_millis(5);

/// Why a step did not happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The program is not there.
    NotFound(String),
    Failed {
        code: Option<i32>,
        output: String,
    },
    TimedOut(String),
    /// A file could not be written, read or removed.
    File(String),
    /// The plan itself is not allowed.
    Refused(String),
}

impl Failure {
    /// One line for people.
    pub fn detail(&self) -> String {
        match self {
            Failure::NotFound(program) => format!("{program} not found"),
            Failure::Failed { code, output } => {
                let text = output.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ");
                match code {
                    _ if !text.is_empty() => text,
                    Some(code) => format!("exit code {code}"),
                    None => "killed by a signal".into(),
                }
            }
            Failure::TimedOut(program) => {
                format!("{program} did not end within {} s", SERVICE_COMMAND.as_secs())
            }
            Failure::File(text) | Failure::Refused(text) => text.clone(),
        }
    }
}

/// Asks a command and gives its standard output.
pub type Ask<'a> = &'a dyn Fn(&[String]) -> Result<String, Failure>;

pub struct Runner;

impl Runner {
    pub fn step(&self, step: &Step, done: &mut Done, ask: Ask<'_>) -> Result<(), Failure> {
        let file = |path: &Path, e: io::Error| Failure::File(format!("{}: {e}", path.display()));
        match step {
            Step::Write(to) => write(to, done).map_err(|e| file(&to.path, e)),
            Step::Remove(path) => match fs::remove_file(path) {
                Ok(()) => {
                    done.removed.push(path.clone());
                    Ok(())
                }
                Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
                Err(e) => Err(file(path, e)),
            },
            Step::Directory(path) => {
                atomic::create_dirs(path).and_then(|()| keep_others_out(path)).map_err(|e| file(path, e))
            }
            Step::Trash { path, trash } => {
                match atomic::create_dirs(atomic::parent(trash)).and_then(|()| fs::rename(path, trash)) {
                    Ok(()) => {
                        done.removed.push(path.clone());
                        Ok(())
                    }
                    Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
                    Err(e) => Err(file(path, e)),
                }
            }
            Step::Run(argv) => ask(argv).map(drop).map_err(|failure| name(argv, failure)),
            Step::Try(argv) => {
                let _ = ask(argv);
                Ok(())
            }
            Step::FirstOf(ways) => {
                let mut outcome = Ok(());
                for way in ways {
                    outcome = way.iter().try_for_each(|step| self.step(step, done, ask));
                    if outcome.is_ok() {
                        break;
                    }
                }
                outcome
            }
        }
    }

    /// Runs one command; nothing of it is left when this returns.
    pub fn ask(&self, argv: &[String]) -> Result<String, Failure> {
        let (program, args) = argv.split_first().expect("a command has a program");
        let found = if program.contains('/') { Some(program.into()) } else { find(program) };
        let found = found.ok_or_else(|| Failure::NotFound(program.clone()))?;
        let mut command = Command::new(found);
        command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // Its words are read by us, and pagers wait for people.
        command.env("LC_ALL", "C").env("SYSTEMD_PAGER", "").env("SYSTEMD_COLORS", "0");
        let started = command.spawn().map_err(|e| match e.kind() {
            io::ErrorKind::NotFound => Failure::NotFound(program.clone()),
            _ => Failure::Failed { code: None, output: e.to_string() },
        });
        let mut child = started?;
        let out = child.stdout.take().map(collect);
        let err = child.stderr.take().map(collect);
        let deadline = Instant::now() + SERVICE_COMMAND;
        let status = loop {
            match child.try_wait() {
                Ok(Some(status)) => break Some(status),
                Ok(None) if Instant::now() < deadline => thread::sleep(LOOK),
                _ => {
                    let _ = child.kill();
                    let _ = child.wait();
                    break None;
                }
            }
        };
        // A child of its own may hold the pipe open: what has come so far is enough.
        let text = |reader: Option<Reader>| reader.map_or_else(String::new, |reader| taken(&reader, deadline));
        let status: ExitStatus = status.ok_or_else(|| Failure::TimedOut(program.clone()))?;
        let (out, err) = (text(out), text(err));
        if status.success() {
            return Ok(out);
        }
        let said = if err.trim().is_empty() { out } else { err };
        Err(Failure::Failed { code: status.code(), output: said.trim().to_owned() })
    }
}

/// Whoever reads it knows which command it was.
fn name(argv: &[String], failure: Failure) -> Failure {
    match failure {
        Failure::Failed { code, .. } => {
            Failure::Failed { code, output: format!("{} failed: {}", argv.join(" "), failure.detail()) }
        }
        other => other,
    }
}

type Reader = crossbeam_channel::Receiver<Vec<u8>>;

fn collect(pipe: impl io::Read + Send + 'static) -> Reader {
    let (to_us, reader) = crossbeam_channel::bounded(1);
    let read = move || {
        let mut bytes = Vec::new();
        let mut pipe = pipe;
        let _ = pipe.by_ref().take(SERVICE_OUTPUT).read_to_end(&mut bytes);
        let _ = to_us.send(bytes);
        // The rest is read and forgotten, so that the command can end.
        let _ = io::copy(&mut pipe, &mut io::sink());
    };
    // Without a thread there is no output to read.
    let _ = thread::Builder::new().name("service".into()).spawn(read);
    reader
}

fn taken(reader: &Reader, deadline: Instant) -> String {
    let bytes = reader.recv_deadline(deadline.min(Instant::now() + Duration::from_secs(1))).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Where PATH has this program.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let name = if cfg!(windows) { format!("{program}.exe") } else { program.to_owned() };
    std::env::split_paths(&path).map(|dir| dir.join(&name)).find(|file| file.is_file())
}

/// A file of a service as text; None: missing, too large, or no text.
pub fn read(path: &Path) -> Option<String> {
    String::from_utf8(atomic::read_limited(path, SERVICE_FILE_BYTES).ok()?).ok()
}

fn write(to: &PlanFile, done: &mut Done) -> io::Result<()> {
    if to.backup
        && let Ok(old) = atomic::read_limited(&to.path, SERVICE_FILE_BYTES)
    {
        let mut name = to.path.clone().into_os_string();
        name.push(".bak");
        atomic::write(Path::new(&name), &old)?;
        done.backups.push(name.into());
    }
    let staged = atomic::Staged::create(&to.path)?;
    staged.file().write_all(to.text.as_bytes())?;
    set_mode(staged.file(), to.mode)?;
    staged.commit()
}

/// launchd starts nothing that others could have put there.
#[cfg(unix)]
fn keep_others_out(directory: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = fs::metadata(directory)?.permissions().mode();
    if mode & 0o022 == 0 {
        return Ok(());
    }
    fs::set_permissions(directory, fs::Permissions::from_mode(mode & 0o7755))
}

#[cfg(not(unix))]
fn keep_others_out(_: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(unix)]
fn set_mode(file: &fs::File, mode: u32) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    file.set_permissions(fs::Permissions::from_mode(mode))
}

#[cfg(not(unix))]
fn set_mode(_: &fs::File, _: u32) -> io::Result<()> {
    Ok(())
}

/// Process ids of gateways on this machine, for `--deep`: ours and others'.
pub fn gateways() -> Vec<u32> {
    let is_one = |pid: &u32| process::command_line(*pid).is_some_and(|line| process::is_gateway(&line));
    let mut pids: Vec<u32> = process::all_pids().into_iter().filter(is_one).collect();
    pids.retain(|pid| *pid != std::process::id() && process::alive(*pid));
    pids.sort_unstable();
    pids
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use crate::service::words;

    #[test]
    fn commands_are_run_by_their_words() {
        let runner = Runner;
        assert_eq!(runner.ask(&words(&["printf", "%s|", "a b", "$HOME"])), Ok("a b|$HOME|".into()));
        assert_eq!(runner.ask(&words(&["no-such-program"])), Err(Failure::NotFound("no-such-program".into())));
        let failure = runner.ask(&words(&["sh", "-c", "echo out; echo err >&2; exit 3"])).unwrap_err();
        assert_eq!(failure, Failure::Failed { code: Some(3), output: "err".into() });
        let long = runner.ask(&words(&["sh", "-c", "yes | head -c 3000000"])).unwrap();
        assert_eq!(long.len() as u64, SERVICE_OUTPUT);
    }

    #[test]
    fn directories_are_closed_to_the_writing_of_others() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = crate::sys::testing::TempDir::new("service-dir");
        let (open, new) = (dir.0.join("open"), dir.0.join("a/b"));
        fs::create_dir(&open).unwrap();
        fs::set_permissions(&open, fs::Permissions::from_mode(0o775)).unwrap();
        for (path, mode) in [(&open, 0o755), (&new, 0o700)] {
            Runner.step(&Step::Directory(path.clone()), &mut Done::default(), &|_| panic!("no command")).unwrap();
            assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, mode, "{path:?}");
        }
    }

    #[test]
    fn files_are_whole_private_and_kept() {
        use std::os::unix::fs::MetadataExt as _;
        let dir = crate::sys::testing::TempDir::new("service");
        let path = dir.0.join("sub/x.service");
        let file = |text: &str| PlanFile { path: path.clone(), mode: 0o644, text: text.into(), backup: true };
        let nobody: Ask<'_> = &|_| panic!("no command");
        let mut done = Done::default();
        Runner.step(&Step::Write(file("one")), &mut done, nobody).unwrap();
        assert!(done.backups.is_empty());
        Runner.step(&Step::Write(file("two")), &mut done, nobody).unwrap();
        let backup = dir.0.join("sub/x.service.bak");
        assert_eq!((done.backups.as_slice(), fs::read_to_string(&backup).unwrap()), (&[backup][..], "one".into()));
        assert_eq!((fs::metadata(&path).unwrap().mode() & 0o777, read(&path).as_deref()), (0o644, Some("two")));
        Runner.step(&Step::Remove(path.clone()), &mut done, nobody).unwrap();
        Runner.step(&Step::Remove(path.clone()), &mut done, nobody).unwrap();
        assert_eq!(done.removed, [path]);
    }
}
