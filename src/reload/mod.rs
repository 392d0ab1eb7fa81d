//! Thread `reload`: watches the configuration's files, reads and checks them when they have changed or somebody asks,
//! and hands what it found to `main`, which compares and applies. One for the process: it must also see the change that
//! mends a restart that failed. It watches the files of the TLS certificate, too, and says only that they have changed.
//!
//! Every reading of a running gateway comes from here, so they reach `main` in the order in which the files were. Waits
//! for events in their directories, its clock and questions; a file system that hangs holds this thread and nobody else.

mod watch;

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, TryRecvError, unbounded};

use self::watch::{Stamp, Step, Watch};
use crate::config::{self, Loaded, Paths, Source as _};
use crate::error::Error;
use crate::ids::sha256_hex;
use crate::limits::{RELOAD_LOOK, RELOAD_LOOK_SELDOM, RELOAD_RETRIES, RELOAD_RETRY, WATCHED_FILES};
use crate::store::secrets;
use crate::store::source::FsSource;
use crate::sys::dir_watch::DirWatch;
use crate::sys::poll::{self, WakePipe};

/// The first pause after alarms that meant nothing; it doubles with each further one.
const SHORTLY: Duration = Duration::from_millis(5);

/// Who wants to know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// SIGHUP: read now, and say something in any case.
    pub reload: bool,
    /// A restart goes by what is read now.
    pub restart: bool,
}

impl Asked {
    pub const RELOAD: Asked = Asked { reload: true, restart: false };
    pub const RESTART: Asked = Asked { reload: false, restart: true };

    pub fn anybody(self) -> bool {
        self.reload || self.restart
    }

    pub fn and(self, other: Asked) -> Asked {
        Asked { reload: self.reload || other.reload, restart: self.restart || other.restart }
    }
}

/// What was found.
pub struct Reading {
    pub found: Found,
    pub asked: Asked,
}

pub enum Found {
    /// Valid, and not empty.
    Config(Box<Loaded>),
    Invalid(Box<Loaded>),
    /// It was there, and said something: never taken for an empty configuration.
    Missing,
    Empty,
    /// Valid, but a secret in it cannot be had.
    Unresolved(Error),
}

impl Found {
    /// The log line of a reload that does not happen (config A5).
    pub fn skipped(&self) -> Option<String> {
        match self {
            Found::Config(_) => None,
            Found::Invalid(loaded) => Some(loaded.reload_skipped()),
            Found::Missing => Some("config reload skipped (config file not found)".into()),
            Found::Empty => Some("config reload skipped (config file is empty)".into()),
            Found::Unresolved(e) => Some(format!("config reload failed: {e}")),
        }
    }
}

/// What `main` is told.
pub enum News {
    Read(Reading),
    /// The files of the certificate are others than before, and still.
    Certificate,
}

/// Where news go.
pub type Tell = Box<dyn Fn(News) + Send>;

/// The way to the thread; dropped, it ends.
pub struct Reload {
    /// None only while it is dropped.
    asks: Option<Sender<Asked>>,
    wake: Arc<WakePipe>,
    beats: Arc<AtomicU64>,
}

impl Reload {
    /// Starts the thread. `first` is what the gateway goes by; `on_death` is called when the thread panics.
    pub fn start(paths: Paths, first: &Loaded, tell: Tell, on_death: Box<dyn FnOnce() + Send>) -> io::Result<Reload> {
        let (asks, questions) = unbounded();
        let wake = Arc::new(WakePipe::new()?);
        let theirs = wake.clone();
        let beats = Arc::<AtomicU64>::default();
        let rounds = beats.clone();
        let mut watcher = Watcher {
            files: Vec::new(),
            certificate: Vec::new(),
            debounce: first.config.gateway.reload_debounce,
            effective: sha256_hex(first.effective.to_string().as_bytes()),
            says: Says::of(first),
            retries: 0,
            pending: Asked::default(),
            // What it includes may have changed since; only the main file is known.
            read: first.includes.is_empty().then(|| vec![first.hash.clone()]),
            refused: None,
            too_many: false,
            paths,
            tell,
        };
        watcher.watch_files(first);
        thread::Builder::new().name("reload".into()).spawn(move || {
            if catch_unwind(AssertUnwindSafe(|| watcher.work(&questions, &theirs, &rounds))).is_err() {
                on_death();
            }
        })?;
        Ok(Reload { asks: Some(asks), wake, beats })
    }

    /// Asks for a reading; the answer comes as all of them do.
    pub fn ask(&self, asked: Asked) {
        // Without the thread the gateway stops anyway.
        let _ = self.asks.as_ref().map(|asks| asks.send(asked));
        self.wake.wake();
    }
}

impl Reload {
    /// Rounds of the thread so far, for a watchdog.
    pub fn beats(&self) -> u64 {
        self.beats.load(Ordering::Relaxed)
    }

    /// Wakes the thread, so that it goes round once.
    pub fn push(&self) {
        self.wake.wake();
    }
}

impl Drop for Reload {
    fn drop(&mut self) {
        self.asks = None;
        self.wake.wake();
    }
}

/// What the file was when it was last accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Says {
    NoFile,
    Nothing,
    Something,
}

impl Says {
    fn of(loaded: &Loaded) -> Says {
        match loaded.exists {
            false => Says::NoFile,
            true if loaded.is_blank() => Says::Nothing,
            true => Says::Something,
        }
    }
}

struct Watcher {
    paths: Paths,
    tell: Tell,
    /// The main file and those that it includes.
    files: Vec<PathBuf>,
    /// What clients are greeted with; none without TLS.
    certificate: Vec<PathBuf>,
    debounce: Duration,
    /// Hash of what was accepted last, as far as it has an effect.
    effective: String,
    says: Says,
    /// How often a missing file was looked for.
    retries: u32,
    /// Who waits for the end of that.
    pending: Asked,
    /// Hashes of the files as they were read last; None when they may have been anything.
    read: Option<Vec<String>>,
    /// Hash and reason of what was refused last; the same again is not worth a word.
    refused: Option<(String, String)>,
    too_many: bool,
}

impl Watcher {
    fn work(mut self, questions: &Receiver<Asked>, wake: &WakePipe, rounds: &AtomicU64) {
        let mut watch = Watch::new(Instant::now(), self.stamps());
        let mut certificate = Watch::new(Instant::now(), stamps_of(&self.certificate));
        let mut alarm = self.alarm();
        // After alarms for something else the next one waits a little, and longer each time: a busy directory must not
        // keep us awake, and an edit that begins with a file beside this one must not wait.
        let mut deaf = Duration::ZERO;
        loop {
            rounds.fetch_add(1, Ordering::Relaxed);
            wake.drain();
            if let Some(alarm) = &alarm {
                alarm.drain();
            }
            let stamps = self.stamps();
            let step = match questions.try_recv() {
                Ok(first) => Err(questions.try_iter().fold(first, Asked::and)),
                Err(TryRecvError::Empty) => {
                    let now = Instant::now();
                    let step = certificate.look(now, &stamps_of(&self.certificate), self.debounce);
                    if step == Step::Read {
                        (self.tell)(News::Certificate);
                        alarm = self.alarm();
                    }
                    Ok(watch.look(now, &stamps, self.debounce).or_sooner(step))
                }
                Err(TryRecvError::Disconnected) => return,
            };
            let asked = match step {
                Ok(Step::Rest) => {
                    match &alarm {
                        Some(alarm) if alarm.wait(wake, RELOAD_LOOK_SELDOM) => {
                            pause(wake, deaf);
                            deaf = (deaf * 2).clamp(SHORTLY, RELOAD_LOOK);
                        }
                        Some(_) => deaf = Duration::ZERO,
                        None => pause(wake, RELOAD_LOOK),
                    }
                    continue;
                }
                Ok(Step::Wait(time)) => {
                    pause(wake, time);
                    continue;
                }
                Ok(Step::Read) => Asked::default(),
                Err(asked) => asked,
            };
            deaf = Duration::ZERO;
            let files = self.files.clone();
            let retry = self.read(asked, &stamps);
            alarm = self.alarm();
            if asked.anybody() || files != self.files {
                // Read in the middle of a change, perhaps: once more when it is still.
                watch = Watch::new(Instant::now(), self.stamps());
            }
            if let Some(pause) = retry {
                watch.read_at(Instant::now() + pause);
            }
        }
    }

    /// Wakes us when something happens near the files. None: they are looked at more often instead.
    fn alarm(&self) -> Option<DirWatch> {
        let mut places = watch::places(&self.files);
        // A directory that is gone must not make us look more often for ever.
        places.extend(watch::places(&self.certificate).into_iter().filter(|dir| dir.is_dir()));
        DirWatch::new(&places).ok()
    }

    fn stamps(&self) -> Vec<Stamp> {
        stamps_of(&self.files)
    }

    /// `before` is how the files looked before anything of them is read. Some: one of them could not be had, and is tried
    /// again after this pause.
    fn read(&mut self, asked: Asked, before: &[Stamp]) -> Option<Duration> {
        let hashes = self.hashes();
        if !asked.anybody() && hashes.is_some() && hashes == self.read {
            // Another date, another link, the same words.
            return None;
        }
        let loaded = config::load(&self.paths, &FsSource);
        let still = before == self.stamps();
        // What moved meanwhile may have been read half old and half new; the watch sees it and comes back.
        if !asked.anybody() && !still {
            return None;
        }
        let files = self.files.clone();
        let asked = asked.and(std::mem::take(&mut self.pending));
        if !loaded.exists && self.says != Says::NoFile && !asked.restart && self.retries < RELOAD_RETRIES {
            self.retries += 1;
            log::info!(target: "reload", "config reload retry ({}/{RELOAD_RETRIES}): config file not found", self.retries);
            self.pending = asked;
            return Some(RELOAD_RETRY);
        }
        self.retries = 0;
        // They are there and cannot be read, for want of descriptors perhaps: no change of theirs would tell when they can.
        let again_in = (hashes.is_none() && before.iter().all(Option::is_some)).then_some(RELOAD_LOOK_SELDOM);
        self.watch_files(&loaded);
        self.read = hashes.filter(|_| still && files == self.files);
        let hash = loaded.hash.clone();
        let found = self.judge(loaded, asked);
        if let Some(line) = found.skipped() {
            let refused = (hash, line);
            let again = self.refused.as_ref() == Some(&refused);
            self.refused = Some(refused);
            if again && !asked.anybody() {
                return again_in;
            }
        }
        (self.tell)(News::Read(Reading { found, asked }));
        again_in
    }

    /// None when one of the files cannot be read.
    fn hashes(&self) -> Option<Vec<String>> {
        let hash = |file: &PathBuf| FsSource.read(file).ok().map(|bytes| sha256_hex(&bytes));
        self.files.iter().map(hash).collect()
    }

    fn judge(&mut self, mut loaded: Loaded, asked: Asked) -> Found {
        let says = Says::of(&loaded);
        if !loaded.valid() {
            return Found::Invalid(Box::new(loaded));
        }
        match (self.says, says) {
            (Says::Nothing | Says::Something, Says::NoFile) => Found::Missing,
            (Says::Something, Says::Nothing) => Found::Empty,
            _ => {
                // Whoever only edits a comment does not want a program to ask for a password again.
                let effective = sha256_hex(loaded.effective.to_string().as_bytes());
                if effective != self.effective || asked.anybody() {
                    if let Err(e) = secrets::activate(&mut loaded, &self.paths, &FsSource) {
                        return Found::Unresolved(e);
                    }
                    self.effective = effective;
                }
                self.says = says;
                self.refused = None;
                self.debounce = loaded.config.gateway.reload_debounce;
                Found::Config(Box::new(loaded))
            }
        }
    }

    /// The files to watch from now on. A file that cannot be parsed does not say what it includes: those of before.
    fn watch_files(&mut self, loaded: &Loaded) {
        if !loaded.valid() && loaded.includes.is_empty() && !self.files.is_empty() {
            return;
        }
        let files = [&self.paths.config_path].into_iter().chain(&loaded.includes);
        self.files = files.take(WATCHED_FILES + 1).cloned().collect();
        let too_many = loaded.includes.len() > WATCHED_FILES;
        if too_many && !self.too_many {
            log::warn!(
                target: "reload",
                "{} files are included, {WATCHED_FILES} of them are watched; after a change of the others send SIGHUP",
                loaded.includes.len()
            );
        }
        self.too_many = too_many;
        let tls = &loaded.config.gateway.tls;
        if loaded.valid() {
            let pair = tls.pair(&self.paths.state_dir).into_iter();
            let all = pair.chain(tls.ca_path.as_ref().map(PathBuf::from));
            self.certificate = all.filter(|_| tls.enabled).collect();
        }
    }
}

fn stamps_of(files: &[PathBuf]) -> Vec<Stamp> {
    watch::stamps(files.iter().map(PathBuf::as_path))
}

/// A wait that fails must not become a busy loop.
fn pause(wake: &WakePipe, time: Duration) {
    if poll::pause(wake, time).is_err() {
        thread::sleep(time);
    }
}
