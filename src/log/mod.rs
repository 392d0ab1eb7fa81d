//! The log: a JSON-lines file, a console, readers. Under every floor.
//!
//! Everybody logs through the `log` crate; the target is the subsystem, fields come before the text:
//! `log::info!(target: "gateway", intervalMs = 1000; "heartbeat started")`. Target `""` is a line of the program itself,
//! without a subsystem. `fatal!(target: "gateway", "text")` is an error above all levels but silent.
//!
//! Callers format their own message and put it into a bounded queue; they never wait. A full queue drops the line and
//! counts it. Thread `log` redacts and writes the file, thread `log-console` the console. Before `init` nothing happens.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use crossbeam_channel::{Sender, bounded};
use simplelog::{CombinedLogger, SharedLogger};

use crate::{limits, sys};

pub mod console;
mod entry;
mod file;
pub mod redact;
pub mod tail;
mod worker;
pub mod ws_lines;

pub use entry::Level;
pub use tail::Tail;

use console::Streams;
use entry::Entry;
use file::LogFile;
use redact::Redactor;
use worker::{Control, Shared, Worker};

static HANDLE: OnceLock<LogHandle> = OnceLock::new();

/// Everything that `init` needs.
#[derive(Clone, Debug)]
pub struct Options {
    /// `logging.level`; silent: no file, the ring in memory keeps `info` and above for `logs.tail`.
    pub file_level: Level,
    /// `logging.consoleLevel`, `debug` with `--verbose`.
    pub console_level: Level,
    /// `logging.consoleStyle`; None: pretty on a terminal, else compact.
    pub style: Option<console::Style>,
    /// `logging.file`.
    pub file: Option<PathBuf>,
    /// Where the dated file may lie without `file`, in order.
    pub dirs: Vec<PathBuf>,
    /// `logging.maxFileBytes`; None: min(8 MiB, memory/64).
    pub max_file_bytes: Option<u64>,
    /// False only for `logging.redactSensitive: "off"`.
    pub redact: bool,
    /// `logging.redactPatterns`: plain text, ignoring case; regular expressions are skipped with a warning.
    pub redact_patterns: Vec<String>,
    /// `--no-color`.
    pub no_color: bool,
    /// Started by a supervisor (DECISIONS 86).
    pub supervised: bool,
    /// `--claude-cli-logs`: only these subsystems on the console.
    pub console_only: Option<Vec<String>>,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            file_level: Level::Info,
            console_level: Level::Info,
            style: None,
            file: None,
            dirs: file::default_dirs(),
            max_file_bytes: None,
            redact: true,
            redact_patterns: Vec::new(),
            no_color: false,
            supervised: false,
            console_only: None,
        }
    }
}

/// What the rest of the program holds of the log. Cheap to clone.
#[derive(Clone)]
pub struct LogHandle {
    shared: Arc<Shared>,
    control: Sender<Control>,
    dirs: Arc<Vec<PathBuf>>,
    global: bool,
}

impl LogHandle {
    /// From the next line on; both may be raised and lowered at will.
    pub fn set_levels(&self, file: Level, console: Level) {
        self.shared.file_level.store(file as u8, Ordering::Relaxed);
        self.shared.console_level.store(console as u8, Ordering::Relaxed);
        if self.global {
            log::set_max_level(self.shared.kept_level().max(console).filter());
        }
    }

    pub fn levels(&self) -> (Level, Level) {
        (self.shared.file_level(), self.shared.console_level())
    }

    /// Takes over changed `logging.redact*`.
    pub fn set_redaction(&self, on: bool, patterns: &[String]) {
        let (redactor, warning) = Redactor::new(on, patterns);
        let _ = self.control.try_send(Control::Redactor(redactor));
        if let Some(warning) = warning {
            log::warn!(target: "logging", "{warning}");
        }
    }

    /// Takes over changed `logging.file` and `logging.maxFileBytes`.
    pub fn set_file(&self, file: Option<&Path>, max_file_bytes: Option<u64>) {
        let (place, warnings) = file::choose(file, &self.dirs);
        let cap = max_file_bytes.unwrap_or_else(sys::memory::log_file_bytes);
        let _ = self.control.try_send(Control::Place(place, cap));
        for warning in warnings {
            log::warn!(target: "logging", "{warning}");
        }
    }

    /// Takes over a changed `logging.consoleStyle`.
    pub fn set_style(&self, style: Option<console::Style>) {
        let _ = self.control.try_send(Control::Style(style));
    }

    /// Only these subsystems on the console; None: all.
    pub fn set_console_only(&self, only: Option<Vec<String>>) {
        let _ = self.control.try_send(Control::ConsoleOnly(only));
    }

    /// SIGUSR2: the next line opens the path again. Also takes over a changed time zone.
    pub fn reopen(&self) {
        let _ = self.control.try_send(Control::Reopen);
    }

    /// Waits until everything logged so far is in the file and on the console; false when `limit` was over first.
    pub fn flush(&self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        let (done, answers) = bounded(2);
        let sent = self.control.send_deadline(Control::Flush(done), deadline).is_ok();
        sent && answers.recv_deadline(deadline).is_ok() && answers.recv_deadline(deadline).is_ok()
    }

    /// The file in use; None: the ring in memory.
    pub fn file_path(&self) -> Option<PathBuf> {
        if self.shared.file_level() == Level::Silent {
            return None;
        }
        self.shared.path.lock().clone()
    }

    /// `logs.tail` (protocol 12), from the file or, without one, from memory. Reads the disk: not for an inline method.
    pub fn tail(&self, cursor: Option<u64>, limit: usize, max_bytes: u64) -> io::Result<Tail> {
        let Some(path) = self.file_path() else {
            return Ok(self.shared.ring.lock().tail(cursor, limit, max_bytes));
        };
        let found = tail::read(&path, cursor, limit, max_bytes);
        // A file that could not be written at all: its lines stayed in memory.
        let ring = self.shared.ring.lock();
        if ring.is_empty() || found.as_ref().is_ok_and(|found| found.size > 0) {
            return found;
        }
        Ok(ring.tail(cursor, limit, max_bytes))
    }

    /// Lines that found the queue full since the start.
    pub fn dropped(&self) -> u64 {
        self.shared.dropped.load(Ordering::Relaxed)
    }
}

/// Once per process, before other threads start: the log is one of the things that an in-process restart keeps.
///
/// Errors: a second call, or no thread.
pub fn init(options: Options) -> io::Result<LogHandle> {
    let streams = Streams::of_process();
    let (front, mut handle, warnings) = start(options, streams)?;
    CombinedLogger::init(vec![Box::new(front)]).map_err(io::Error::other)?;
    handle.global = true;
    let (file, console) = handle.levels();
    handle.set_levels(file, console);
    let _ = HANDLE.set(handle.clone());
    for warning in warnings {
        log::warn!(target: "", "{warning}");
    }
    Ok(handle)
}

/// The handle of this process once `init` was called.
pub fn handle() -> Option<&'static LogHandle> {
    HANDLE.get()
}

/// The file that a gateway of this user writes today: for commands, which create nothing.
pub fn todays_file(configured: Option<&Path>) -> Option<PathBuf> {
    let date = jiff::Timestamp::now().to_zoned(sys::zone::local()).strftime("%Y-%m-%d").to_string();
    file::todays_path(configured, &file::default_dirs(), &date)
}

/// Panics become one fatal line with thread and place instead of a print on a console that may be blocked.
pub fn install_panic_hook() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if HANDLE.get().is_none() {
            return before(info);
        }
        let thread = std::thread::current();
        let name = thread.name().unwrap_or("unnamed").to_owned();
        let payload = info.payload();
        let text = payload.downcast_ref::<&str>().copied().or(payload.downcast_ref::<String>().map(String::as_str));
        let place = info.location().map(|l| format!("{}:{}", l.file(), l.line())).unwrap_or_default();
        crate::fatal!(target: "gateway", "thread {name} panicked at {place}: {}", text.unwrap_or("(no text)"));
    }));
}

/// An error above all others: `fatal!(target: "gateway", "text {}", x)`.
#[macro_export]
macro_rules! fatal {
    (target: $target:expr, $($arg:tt)+) => { ::log::error!(target: $target, fatal = true; $($arg)+) };
}

/// The logger that CombinedLogger calls: decides, takes the time, formats, queues.
struct Front {
    shared: Arc<Shared>,
    queue: Sender<Box<Entry>>,
}

impl Front {
    /// Libraries speak only from `warn` on, unless everything is wanted.
    fn wants(&self, level: log::Level, module: Option<&str>) -> bool {
        let most = self.shared.kept_level().max(self.shared.console_level());
        let ours = module.is_none_or(|path| path == "openclaw" || path.starts_with("openclaw::"));
        level <= most.filter() && (ours || level <= log::Level::Warn || most == Level::Trace)
    }
}

impl log::Log for Front {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        self.wants(metadata.level(), None)
    }

    fn log(&self, record: &log::Record<'_>) {
        if !self.wants(record.level(), record.module_path()) {
            return;
        }
        let mut entry = Box::new(Entry::from_record(record));
        self.shared.route(&mut entry);
        let bytes = entry.bytes();
        let waiting = self.shared.queued_bytes.fetch_add(bytes, Ordering::Relaxed);
        if waiting + bytes > limits::LOG_QUEUE_BYTES || self.queue.try_send(entry).is_err() {
            self.shared.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
            self.shared.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Callers never wait: `LogHandle::flush` is the one that does.
    fn flush(&self) {}
}

impl SharedLogger for Front {
    fn level(&self) -> log::LevelFilter {
        log::LevelFilter::Trace
    }

    fn config(&self) -> Option<&simplelog::Config> {
        None
    }

    fn as_log(self: Box<Self>) -> Box<dyn log::Log> {
        self
    }
}

/// Starts the threads. The strings are warnings for the log once it stands.
fn start(options: Options, streams: Option<Streams>) -> io::Result<(Front, LogHandle, Vec<String>)> {
    let (redactor, warning) = Redactor::new(options.redact, &options.redact_patterns);
    // Also when the file is silent: a reload may give it a voice.
    let (place, mut warnings) = file::choose(options.file.as_deref(), &options.dirs);
    warnings.extend(warning);
    let shared = Arc::new(Shared::default());
    shared.file_level.store(options.file_level as u8, Ordering::Relaxed);
    shared.console_level.store(options.console_level as u8, Ordering::Relaxed);
    let zone = sys::zone::local();
    let today = jiff::Timestamp::now().to_zoned(zone.clone()).strftime("%Y-%m-%d").to_string();
    *shared.path.lock() = place.path(&today);
    let (queue, entries) = bounded(limits::LOG_QUEUE);
    let (control, commands) = bounded(16);
    let surfaces = streams.as_ref().map(|streams| streams.surfaces(&options));
    let worker = Worker {
        shared: shared.clone(),
        queue: entries,
        control: commands,
        file: LogFile::new(place, options.max_file_bytes.unwrap_or_else(sys::memory::log_file_bytes)),
        looks: surfaces.map_or([console::PLAIN; 2], |surfaces| surfaces.looks(options.style)),
        surfaces,
        streams,
        console: None,
        console_only: options.console_only,
        redactor,
        zone,
        hostname: sys::host::hostname(),
        reported: 0,
        lost: 0,
    };
    std::thread::Builder::new()
        .name("log".into())
        .stack_size(sys::memory::stack(limits::CONNECTION_STACK))
        .spawn(move || worker.run())?;
    let handle = LogHandle { shared: shared.clone(), control, dirs: Arc::new(options.dirs), global: false };
    Ok((Front { shared, queue }, handle, warnings))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::testing::TempDir;
    use log::Log as _;
    use std::fs;
    #[cfg(unix)]
    use std::{fs::File, io::Read as _};

    const PATIENCE: Duration = Duration::from_secs(20);

    fn say(front: &Front, level: log::Level, target: &str, text: &str) {
        front.log(
            &log::Record::builder()
                .level(level)
                .target(target)
                .module_path(Some("openclaw::test"))
                .args(format_args!("{text}"))
                .build(),
        );
    }

    fn options(dir: &TempDir) -> Options {
        Options { dirs: vec![dir.0.clone()], style: Some(console::Style::Compact), ..Options::default() }
    }

    #[cfg(unix)]
    fn pipe() -> (io::PipeReader, File) {
        let (read, write) = io::pipe().unwrap();
        (read, File::from(std::os::fd::OwnedFd::from(write)))
    }

    fn only_file(dir: &TempDir) -> String {
        let name = fs::read_dir(&dir.0).unwrap().next().unwrap().unwrap().path();
        fs::read_to_string(name).unwrap()
    }

    #[test]
    #[cfg(unix)]
    fn lines_reach_file_and_console_redacted_and_by_level() {
        let dir = TempDir::new("log");
        let ((mut out, out_write), (mut err, err_write)) = (pipe(), pipe());
        let mut options = options(&dir);
        options.file_level = Level::Debug;
        let (front, handle, warnings) = start(options, Some(Streams { out: out_write, err: err_write })).unwrap();
        assert_eq!(warnings, Vec::<String>::new());
        say(&front, log::Level::Info, "gateway", "listening on ws://x, token=0123456789abcdef01");
        say(&front, log::Level::Debug, "gateway/ws", "only in the file");
        say(&front, log::Level::Error, "gateway", "broken");
        say(&front, log::Level::Trace, "gateway", "nowhere");
        assert!(handle.flush(PATIENCE));

        let tail = handle.tail(None, limits::TAIL_LINES, limits::TAIL_BYTES).unwrap();
        let messages: Vec<String> = tail.lines.iter().map(|l| tail::parse_line(l).unwrap().message).collect();
        assert_eq!(messages, ["listening on ws://x, token=012345…ef01", "only in the file", "broken"]);
        assert_eq!(tail.file, handle.file_path().unwrap().display().to_string());

        handle.set_levels(Level::Error, Level::Warn);
        say(&front, log::Level::Info, "gateway", "too quiet now");
        say(&front, log::Level::Warn, "gateway", "console only");
        assert!(handle.flush(PATIENCE));
        drop((front, handle));
        let (mut shown, mut failed) = (String::new(), String::new());
        out.read_to_string(&mut shown).unwrap();
        err.read_to_string(&mut failed).unwrap();
        assert!(shown.ends_with(" [gateway] listening on ws://x, token=012345…ef01\n"), "{shown}");
        assert_eq!(shown.lines().count(), 1);
        let failed: Vec<&str> = failed.lines().map(|line| line.split_once(' ').unwrap().1).collect();
        assert_eq!(failed, ["[gateway] broken", "[gateway] console only"]);
        assert_eq!(only_file(&dir).lines().count(), 3);
    }

    #[test]
    #[cfg(unix)]
    fn a_console_that_nobody_reads_stops_nobody() {
        let dir = TempDir::new("stuck");
        let ((out, out_write), (_err, err_write)) = (pipe(), pipe());
        let (front, handle, _) = start(options(&dir), Some(Streams { out: out_write, err: err_write })).unwrap();
        let long = "x".repeat(1000);
        for n in 0..2000 {
            say(&front, log::Level::Info, "gateway", &format!("{n} {long}"));
            // The queue is short; the file keeps up although the console does not.
            let start = Instant::now();
            while n % 100 == 99 && front.shared.queued_bytes.load(Ordering::Relaxed) > 0 && start.elapsed() < PATIENCE {
                std::thread::yield_now();
            }
        }
        say(&front, log::Level::Info, "gateway", "the last one");
        let before = Instant::now();
        assert!(!handle.flush(Duration::from_millis(200)), "the console cannot be flushed");
        assert!(before.elapsed() < PATIENCE);
        let start = Instant::now();
        while !only_file(&dir).contains("the last one") && start.elapsed() < PATIENCE {
            std::thread::yield_now();
        }
        assert!(only_file(&dir).contains("the last one"));
        assert_eq!(handle.dropped(), 0);

        // Read again, it goes on and says what is missing.
        let reader = std::thread::spawn(move || {
            let (mut out, mut all) = (out, String::new());
            out.read_to_string(&mut all).unwrap();
            all
        });
        let start = Instant::now();
        while !handle.flush(Duration::from_millis(200)) && start.elapsed() < PATIENCE {}
        say(&front, log::Level::Info, "gateway", "back again");
        assert!(handle.flush(PATIENCE));
        drop((front, handle));
        let all = reader.join().unwrap();
        assert!(all.contains("log lines not shown") && all.contains("back again"));
    }

    #[test]
    fn without_a_directory_the_ring_serves_readers() {
        let dir = TempDir::new("ring");
        let blocked = dir.0.join("file");
        fs::write(&blocked, "").unwrap();
        let options = Options { dirs: vec![blocked], ..Options::default() };
        let (front, handle, warnings) = start(options, None).unwrap();
        assert!(warnings[0].starts_with("Unsafe fallback OpenClaw temp dir: "), "{warnings:?}");
        say(&front, log::Level::Info, "gateway", "kept in memory");
        assert!(handle.flush(PATIENCE));
        let tail = handle.tail(None, 10, 1000).unwrap();
        assert_eq!((tail.file.as_str(), tail.lines.len(), handle.file_path()), (tail::IN_MEMORY, 1, None));
        assert!(tail.lines[0].contains("kept in memory"));
    }

    #[test]
    fn a_file_that_cannot_be_written_leaves_its_lines_in_memory() {
        let dir = TempDir::new("nofile");
        // A directory where the file should be.
        let options = Options { file: Some(dir.0.clone()), ..options(&dir) };
        let (front, handle, _) = start(options, None).unwrap();
        say(&front, log::Level::Info, "gateway", "still readable");
        assert!(handle.flush(PATIENCE));
        assert_eq!(handle.tail(None, 10, 9999).unwrap().lines.len(), 1);
    }

    #[test]
    fn a_silent_file_level_writes_no_file_and_keeps_info_in_memory() {
        let dir = TempDir::new("silent");
        let mut options = options(&dir);
        (options.file_level, options.console_level) = (Level::Silent, Level::Silent);
        let (front, handle, _) = start(options, None).unwrap();
        say(&front, log::Level::Info, "gateway", "in the ring");
        say(&front, log::Level::Debug, "gateway", "nowhere");
        assert!(handle.flush(PATIENCE));
        assert_eq!(handle.tail(None, 10, 9999).unwrap().lines.len(), 1);
        assert_eq!(fs::read_dir(&dir.0).unwrap().count(), 0);
    }

    #[test]
    fn a_flood_is_dropped_and_counted_not_waited_for() {
        let dir = TempDir::new("flood");
        let (queue, entries) = bounded(limits::LOG_QUEUE);
        let shared = Arc::new(Shared::default());
        shared.file_level.store(Level::Info as u8, Ordering::Relaxed);
        let front = Front { shared: shared.clone(), queue };
        for _ in 0..limits::LOG_QUEUE + 7 {
            say(&front, log::Level::Info, "gateway", "x");
        }
        assert_eq!(shared.dropped.load(Ordering::Relaxed), 7);
        drop(entries);
        let (front, handle, _) = start(options(&dir), None).unwrap();
        front.shared.dropped.store(7, Ordering::Relaxed);
        say(&front, log::Level::Info, "gateway", "after");
        assert!(handle.flush(PATIENCE));
        assert!(only_file(&dir).contains("7 log lines dropped"));
    }

    #[test]
    fn libraries_are_heard_only_when_it_matters() {
        let shared = Arc::new(Shared::default());
        let front = Front { shared: shared.clone(), queue: bounded(1).0 };
        shared.console_level.store(Level::Debug as u8, Ordering::Relaxed);
        for (level, module, wanted) in [
            (log::Level::Debug, "openclaw::hub", true),
            (log::Level::Trace, "openclaw::hub", false),
            (log::Level::Debug, "rustls::client", false),
            (log::Level::Warn, "rustls::client", true),
            (log::Level::Debug, "openclawish", false),
        ] {
            assert_eq!(front.wants(level, Some(module)), wanted, "{level} {module}");
        }
        shared.console_level.store(Level::Trace as u8, Ordering::Relaxed);
        assert!(front.wants(log::Level::Trace, Some("ureq::run")));
    }

    const CHILD: &str = "OPENCLAW_TEST_LOG_DIR";

    /// Not a test by itself: a logger is one per process and stays.
    #[test]
    fn body_of_a_child() {
        let Ok(dir) = std::env::var(CHILD) else { return };
        let options = Options { dirs: vec![dir.into()], file_level: Level::Warn, ..Options::default() };
        let handle = init(options).unwrap();
        assert!(init(Options::default()).is_err());
        install_panic_hook();
        log::info!(target: "gateway", "on the console only");
        log::warn!(target: "gateway/ws", tries = 3, token = "hunter2"; "fields and {}", "arguments");
        handle.set_levels(Level::Debug, Level::Error);
        log::debug!("from this module");
        let worker = std::thread::Builder::new().name("doomed".into()).spawn(|| panic!("no {}", "way")).unwrap();
        assert!(worker.join().is_err());
        assert!(handle.flush(PATIENCE) && handle.dropped() == 0);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn the_whole_way_from_the_macros_to_the_file() {
        let dir = TempDir::new("init");
        let mut child = crate::sys::testing::rerun("log::tests::body_of_a_child", CHILD, dir.0.to_str().unwrap());
        let output = child.env("NO_COLOR", "1").output().unwrap();
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{out}{err}");
        assert!(out.contains(" [gateway] on the console only\n"), "{out}");
        assert!(err.contains(" [ws] fields and arguments\n") && !err.contains("hunter2"), "{err}");
        let text = only_file(&dir);
        let lines: Vec<_> = text.lines().map(|line| tail::parse_line(line).unwrap()).collect();
        let seen: Vec<(&str, &str)> =
            lines.iter().map(|l| (l.level.as_deref().unwrap(), l.subsystem.as_deref().unwrap())).collect();
        assert_eq!(seen, [("warn", "gateway/ws"), ("debug", "logging"), ("fatal", "gateway")]);
        assert_eq!(lines[0].message, r#"{"tries":3,"token":"***"} fields and arguments"#);
        assert!(lines[2].message.starts_with("thread doomed panicked at src/log/mod.rs:"), "{}", lines[2].message);
        assert!(lines[2].message.ends_with(": no way"));
    }

    #[test]
    fn before_init_a_line_is_harmless() {
        log::info!(target: "gateway", intervalMs = 1; "heard by nobody");
        crate::fatal!(target: "gateway", "nor {}", "this");
        assert!(handle().is_none());
    }
}
