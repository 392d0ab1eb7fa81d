//! A short-lived program that is asked one question: input on its standard input, the answer on its standard output.
//!
//! Nothing is inherited: the environment is what the caller gives, standard error goes nowhere (it may hold secrets)
//! unless the caller wants it, the process group is its own and is killed as a whole. Blocks until the answer, an error or the time limit.

use std::ffi::OsString;
use std::io::{self, Read as _, Write as _};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, bounded};

use super::process;

/// How long the rest of its output may take to arrive after the program ended and its group was killed.
const LAST_OUTPUT: Duration = Duration::from_millis(500);
/// How often an ending program is looked at.
const LOOK: Duration = Duration::from_millis(2);
/// So much of the end of a standard error that is kept apart.
const ERRORS_BYTES: usize = 4096;
/// A program that prints more than this many pieces ahead of us waits.
const PIECES: usize = 16;

#[derive(Debug)]
pub struct Question<'a> {
    pub program: &'a Path,
    pub args: &'a [String],
    pub env: Vec<(String, OsString)>,
    /// Where it runs; None: where we do.
    pub dir: Option<&'a Path>,
    pub input: Vec<u8>,
    pub timeout: Duration,
    /// Longest silence.
    pub silence: Duration,
    pub max_output: u64,
    pub errors: Errors,
    /// Looked at all the time: true ends the program.
    pub give_up: Option<&'a AtomicBool>,
}

/// What becomes of its standard error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Errors {
    Dropped,
    /// Belongs to the answer, and to what a failure says.
    Mixed,
    /// Its end is what a failure says, and no part of an answer.
    Apart,
}

#[derive(Debug)]
pub enum NoAnswer {
    NotStarted(io::Error),
    TimedOut,
    Silent,
    TooLong,
    /// `give_up` became true.
    GivenUp,
    /// How it ended, and what it had said.
    Failed(ExitStatus, Vec<u8>),
}

impl Question<'_> {
    pub fn ask(self) -> Result<Vec<u8>, NoAnswer> {
        let begun = Instant::now();
        let mut running = self.start().map_err(NoAnswer::NotStarted)?;
        let mut answer = Vec::new();
        let deadline = begun + self.timeout;
        let mut quiet = begun + self.silence;
        let status = loop {
            let until = deadline.min(quiet);
            if self.give_up.is_some_and(|flag| flag.load(Ordering::Acquire)) {
                return Err(NoAnswer::GivenUp);
            }
            match running.pieces.recv_deadline(until.min(Instant::now() + 10 * LOOK)) {
                Ok(piece) => {
                    quiet = Instant::now() + self.silence;
                    self.take(&mut answer, &piece)?;
                }
                Err(ended) => {
                    if let Some(status) = running.status() {
                        break status;
                    }
                    if Instant::now() >= until {
                        return Err(if until == deadline { NoAnswer::TimedOut } else { NoAnswer::Silent });
                    }
                    if ended == RecvTimeoutError::Disconnected {
                        thread::sleep(LOOK);
                    }
                }
            }
        };
        // What it left running holds the pipe open and is of no use to anybody.
        running.kill_group();
        let until = deadline.min(Instant::now() + LAST_OUTPUT);
        while let Ok(piece) = running.pieces.recv_deadline(until) {
            self.take(&mut answer, &piece)?;
        }
        if status.success() {
            return Ok(answer);
        }
        let said =
            if self.errors == Errors::Apart { running.errors.recv_deadline(until).unwrap_or_default() } else { answer };
        Err(NoAnswer::Failed(status, said))
    }

    fn take(&self, answer: &mut Vec<u8>, piece: &[u8]) -> Result<(), NoAnswer> {
        answer.extend_from_slice(piece);
        if answer.len() as u64 > self.max_output { Err(NoAnswer::TooLong) } else { Ok(()) }
    }

    fn start(&self) -> io::Result<Running> {
        let mut command = Command::new(self.program);
        command.args(self.args).env_clear().envs(self.env.iter().map(|(name, value)| (name, value)));
        if let Some(dir) = self.dir {
            command.current_dir(dir);
        }
        let (mut reader, writer) = io::pipe()?;
        let mut errors = None;
        command.stderr(match self.errors {
            Errors::Dropped => Stdio::null(),
            Errors::Mixed => writer.try_clone()?.into(),
            Errors::Apart => {
                let (reader, writer) = io::pipe()?;
                errors = Some(reader);
                writer.into()
            }
        });
        command.stdin(Stdio::piped()).stdout(writer);
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut child = command.spawn()?;
        // Our ends of the pipe for its output: the reader must see its end.
        drop(command);
        let stdin = child.stdin.take();
        let (to_us, pieces) = bounded(PIECES);
        let (its_end, errors_end) = bounded(1);
        let running = Running { child, pieces, errors: errors_end, ended: None };
        let input = self.input.clone();
        thread::Builder::new().name("ask-in".into()).spawn(move || {
            // A program that does not read its input may answer all the same.
            stdin.map(|mut pipe| pipe.write_all(&input))
        })?;
        thread::Builder::new().name("ask-out".into()).spawn(move || {
            let mut buffer = [0; 8192];
            while let Ok(n @ 1..) = reader.read(&mut buffer) {
                if to_us.send(buffer[..n].to_vec()).is_err() {
                    return;
                }
            }
        })?;
        if let Some(mut reader) = errors {
            thread::Builder::new().name("ask-err".into()).spawn(move || {
                let mut buffer = [0; 1024];
                let mut end = Vec::new();
                while let Ok(n @ 1..) = reader.read(&mut buffer) {
                    end.extend_from_slice(&buffer[..n]);
                    end.drain(..end.len().saturating_sub(ERRORS_BYTES));
                }
                // Whom it did not fail does not ask.
                let _ = its_end.send(end);
            })?;
        }
        Ok(running)
    }
}

/// Dropped, the program and all that it started are killed, and it is reaped.
struct Running {
    child: Child,
    pieces: Receiver<Vec<u8>>,
    /// The end of its standard error, when it is closed.
    errors: Receiver<Vec<u8>>,
    ended: Option<ExitStatus>,
}

impl Running {
    fn status(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().ok().flatten();
        }
        self.ended
    }

    fn kill_group(&self) {
        process::kill_group(self.child.id());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.status().is_none() {
            self.kill_group();
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    fn ask(script: &str, change: impl FnOnce(&mut Question<'_>)) -> Result<String, NoAnswer> {
        let args = ["-c".to_owned(), script.to_owned()];
        let mut question = Question {
            program: Path::new("/bin/sh"),
            args: &args,
            env: vec![("PATH".into(), "/usr/bin:/bin".into())],
            dir: None,
            input: b"question\n".to_vec(),
            timeout: Duration::from_secs(20),
            silence: Duration::from_secs(20),
            max_output: 1000,
            errors: Errors::Dropped,
            give_up: None,
        };
        change(&mut question);
        question.ask().map(|bytes| String::from_utf8(bytes).unwrap())
    }

    #[test]
    fn answers() {
        assert_eq!(ask("cat", |_| {}).unwrap(), "question\n");
        assert_eq!(ask("echo no input wanted", |q| q.input = vec![b'x'; 300_000]).unwrap(), "no input wanted\n");
        assert_eq!(ask("env -i true; env | grep -v -e PWD -e SHLVL -e ^_", |_| {}).unwrap(), "PATH=/usr/bin:/bin\n");
        assert_eq!(ask("pwd", |q| q.dir = Some(Path::new("/"))).unwrap(), "/\n");
        assert_eq!(ask("echo answer; echo secret >&2", |_| {}).unwrap(), "answer\n");
    }

    #[test]
    fn no_answers() {
        let short = Duration::from_millis(200);
        assert!(
            matches!(ask("exit 3", |_| {}), Err(NoAnswer::Failed(s, said)) if s.code() == Some(3) && said.is_empty())
        );
        let both = ask("echo out; echo err >&2; exit 1", |q| q.errors = Errors::Mixed);
        assert!(matches!(both, Err(NoAnswer::Failed(_, said)) if said == b"out\nerr\n"));
        let apart = |script| ask(script, |q| q.errors = Errors::Apart);
        assert_eq!(apart("echo out; echo err >&2").unwrap(), "out\n");
        let said = apart("echo out; head -c 300000 /dev/zero >&2; echo err >&2; exit 1");
        assert!(matches!(said, Err(NoAnswer::Failed(_, said)) if said.ends_with(b"\0err\n") && said.len() == 4096));
        static GIVE_UP: AtomicBool = AtomicBool::new(true);
        assert!(matches!(ask("sleep 60", |q| q.give_up = Some(&GIVE_UP)), Err(NoAnswer::GivenUp)));
        assert!(matches!(ask("sleep 60", |q| q.timeout = short), Err(NoAnswer::TimedOut)));
        assert!(matches!(ask("echo x; sleep 60", |q| q.silence = short), Err(NoAnswer::Silent)));
        assert!(matches!(ask("exec >&-; sleep 60", |q| q.timeout = short), Err(NoAnswer::TimedOut)));
        assert!(matches!(ask("cat /dev/zero", |_| {}), Err(NoAnswer::TooLong)));
        assert!(matches!(ask("", |q| q.program = Path::new("/nonexistent")), Err(NoAnswer::NotStarted(_))));
    }

    #[test]
    fn what_it_started_dies_with_it() {
        for (script, change) in
            [("sleep 61 & echo $!", Duration::from_secs(20)), ("sleep 61 & echo $!; wait", Duration::from_millis(300))]
        {
            let file = std::env::temp_dir().join(format!("openclaw-ask-{}-{}", std::process::id(), change.as_millis()));
            let script = script.replace("echo $!", &format!("echo $! > {}", file.display()));
            let begun = Instant::now();
            let _ = ask(&script, |q| q.timeout = change);
            assert!(begun.elapsed() < Duration::from_secs(15));
            let pid: u32 = std::fs::read_to_string(&file).unwrap().trim().parse().unwrap();
            let until = Instant::now() + Duration::from_secs(10);
            while process::alive(pid) && Instant::now() < until {
                thread::sleep(LOOK);
            }
            assert!(!process::alive(pid), "{script}");
            std::fs::remove_file(&file).unwrap();
        }
    }
}
