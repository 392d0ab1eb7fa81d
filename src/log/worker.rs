//! Thread `log`: takes entries from the queue, redacts them, writes the file (or the ring) and hands lines to the console.
//!
//! It waits for its channels and for the disk, for nothing else; it must not use the `log` macros.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};

use crossbeam_channel::{Receiver, Sender, select};
use jiff::tz::TimeZone;
use parking_lot::Mutex;

use super::console::{self, Console, Look, Streams, Surfaces};
use super::entry::{Entry, Level};
use super::file::{LogFile, Place};
use super::redact::Redactor;
use super::tail::Ring;
use crate::limits;

/// What callers and readers share with the thread; nothing here is held across I/O.
#[derive(Debug, Default)]
pub(super) struct Shared {
    pub file_level: AtomicU8,
    pub console_level: AtomicU8,
    pub queued_bytes: AtomicUsize,
    pub dropped: AtomicU64,
    pub path: Mutex<Option<PathBuf>>,
    pub ring: Mutex<Ring>,
}

impl Shared {
    pub fn file_level(&self) -> Level {
        Level::from_number(self.file_level.load(Ordering::Relaxed))
    }

    pub fn console_level(&self) -> Level {
        Level::from_number(self.console_level.load(Ordering::Relaxed))
    }

    /// The level of what the file or, without one, the ring takes: readers get something also when the file is silent.
    pub fn kept_level(&self) -> Level {
        match self.file_level() {
            Level::Silent => Level::Info,
            level => level,
        }
    }

    /// Where an entry goes by its level as things stand.
    pub fn route(&self, entry: &mut Entry) {
        entry.keep = entry.level <= self.kept_level();
        entry.show = entry.level <= self.console_level();
    }
}

pub(super) enum Control {
    Reopen,
    Redactor(Redactor),
    Place(Place, u64),
    ConsoleOnly(Option<Vec<String>>),
    Style(Option<console::Style>),
    /// Two answers: one when the file is written, one when the console is.
    Flush(Sender<()>),
}

pub(super) struct Worker {
    pub shared: Arc<Shared>,
    pub queue: Receiver<Box<Entry>>,
    pub control: Receiver<Control>,
    pub file: LogFile,
    /// Where the console will write: its thread starts with the first line, when the start of the gateway is over.
    pub streams: Option<Streams>,
    /// None: there is no console.
    pub console: Option<Console>,
    /// None: there is no console.
    pub surfaces: Option<Surfaces>,
    pub looks: [Look; 2],
    pub console_only: Option<Vec<String>>,
    pub redactor: Redactor,
    pub zone: TimeZone,
    pub hostname: String,
    pub reported: u64,
    /// Lines that the file did not take since it last took one.
    pub lost: u64,
}

impl Worker {
    /// Runs until every sender is gone.
    pub fn run(mut self) {
        loop {
            select! {
                recv(self.queue) -> entry => match entry {
                    Ok(entry) => self.take(*entry),
                    Err(_) => return,
                },
                recv(self.control) -> control => match control {
                    Ok(control) => self.obey(control),
                    Err(_) => return,
                },
            }
        }
    }

    fn obey(&mut self, control: Control) {
        // What was logged before the command belongs before it.
        for _ in 0..limits::LOG_QUEUE {
            let Ok(entry) = self.queue.try_recv() else { break };
            self.take(*entry);
        }
        match control {
            Control::Reopen => {
                self.file.reopen();
                self.zone = crate::sys::zone::local();
                // Opens the new file at once, and stands in it.
                let mut entry = Entry::new(Level::Info, "logging", "log reopened".into());
                self.shared.route(&mut entry);
                self.write(&entry);
            }
            Control::Redactor(redactor) => self.redactor = redactor,
            Control::Place(place, cap) => self.file.set_place(place, cap),
            Control::ConsoleOnly(only) => self.console_only = only,
            Control::Style(style) => {
                if let Some(surfaces) = &self.surfaces {
                    self.looks = surfaces.looks(style);
                }
            }
            Control::Flush(done) => {
                let _ = done.try_send(());
                match &self.console {
                    Some(console) => console.flush(done),
                    None => drop(done.try_send(())),
                }
            }
        }
    }

    fn take(&mut self, mut entry: Entry) {
        self.shared.queued_bytes.fetch_sub(entry.bytes(), Ordering::Relaxed);
        entry.redact(&self.redactor);
        self.write(&entry);
        let dropped = self.shared.dropped.load(Ordering::Relaxed);
        if dropped > self.reported {
            let text = format!("{} log lines dropped: the log could not keep up", dropped - self.reported);
            self.reported = dropped;
            self.note(text);
        }
    }

    fn write(&mut self, entry: &Entry) {
        if entry.keep {
            self.keep(entry);
        }
        if entry.show {
            self.show(entry);
        }
    }

    /// A line of the log about itself.
    fn note(&mut self, text: String) {
        let mut entry = Entry::new(Level::Warn, "logging", text);
        self.shared.route(&mut entry);
        self.write(&entry);
    }

    /// To the file; to the ring when there is no file or it does not take the line.
    fn keep(&mut self, entry: &Entry) {
        let line = entry.file_line(&self.zone, &self.hostname);
        if self.file.in_memory() || self.shared.file_level() == Level::Silent {
            self.shared.ring.lock().push(&line);
            return;
        }
        let date = entry.time.to_zoned(self.zone.clone()).strftime("%Y-%m-%d").to_string();
        let outcome = self.file.append(&line, &date);
        let path = self.file.path().map(PathBuf::from);
        let mut shown = self.shared.path.lock();
        if path.is_some() && *shown != path {
            *shown = path;
        }
        drop(shown);
        match outcome {
            Ok(()) if self.lost > 0 => {
                let text = format!("{} log lines could not be written to the file", self.lost);
                self.lost = 0;
                let note = Entry::new(Level::Warn, "logging", text);
                let line = note.file_line(&self.zone, &self.hostname);
                if self.file.append(&line, &date).is_err() {
                    self.lost += 1;
                }
            }
            Ok(()) => {}
            Err(error) => {
                self.lost += 1;
                self.shared.ring.lock().push(&line);
                if self.lost == 1 {
                    let place = self.shared.path.lock().as_ref().map(|p| p.display().to_string());
                    let text = format!(
                        "cannot write the log file{}: {error}; lines stay in memory until it works again",
                        place.map(|p| format!(" {p}")).unwrap_or_default()
                    );
                    // Not through the file again, which has just failed.
                    if Level::Warn <= self.shared.console_level() {
                        self.show(&Entry::new(Level::Warn, "logging", text));
                    }
                }
            }
        }
    }

    fn show(&mut self, entry: &Entry) {
        if let Some(only) = &self.console_only
            && !only.contains(&entry.subsystem)
        {
            return;
        }
        if let Some(streams) = self.streams.take() {
            match Console::start(streams) {
                Ok(console) => self.console = Some(console),
                // Only the file can still be told.
                Err(error) => self.note(format!("no console: {error}")),
            }
        }
        let Some(console) = &mut self.console else { return };
        let look = self.looks[usize::from(entry.level <= Level::Warn)];
        console.line(entry.level, console::render(entry, look, &self.zone));
    }
}
