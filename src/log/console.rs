//! The console: how an entry looks there (cli 7), and the thread that writes it.
//!
//! Thread `log-console` alone writes to stdout and stderr, because a console that nobody reads (Ctrl-S, a full pipe)
//! blocks its writer for ever. Its queue is bounded: what does not fit is dropped and counted, and the file, the log
//! thread and every caller go on. It must not log.

use std::fs::File;
use std::io::{self, IsTerminal as _, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use jiff::tz::TimeZone;
use serde_json::{Map, Value};

use super::entry::{Entry, Level, local_iso};
use crate::limits;
use crate::sys::memory;

/// Leading segments that say nothing to an operator.
const DROPPED: [&str; 3] = ["gateway", "channels", "providers"];
/// Channels are shown by their own name, whatever follows it.
const CHANNELS: [&str; 14] = [
    "telegram",
    "whatsapp",
    "discord",
    "irc",
    "googlechat",
    "slack",
    "signal",
    "imessage",
    "line",
    "matrix",
    "mattermost",
    "msteams",
    "nostr",
    "webchat",
];
/// How often a full console that does not block is tried again.
const RETRY: Duration = Duration::from_millis(50);
const RESET: &str = "\x1b[39m";
const GRAY: &str = "\x1b[90m";
const CYAN: &str = "\x1b[36m";
const YELLOW: &str = "\x1b[33m";
const RED: &str = "\x1b[31m";
/// Subsystems are hashed into these: cyan, green, yellow, blue, magenta, red.
const SUBSYSTEM_COLORS: [&str; 6] = [CYAN, "\x1b[32m", YELLOW, "\x1b[34m", "\x1b[35m", RED];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// `HH:MM:SS [subsystem] message`
    Pretty,
    /// `<local ISO> [subsystem] message`
    Compact,
    /// One object per line.
    Json,
}

impl Style {
    pub fn parse(text: &str) -> Option<Style> {
        match text {
            "pretty" => Some(Style::Pretty),
            "compact" => Some(Style::Compact),
            "json" => Some(Style::Json),
            _ => None,
        }
    }
}

/// Everything that decides how a line looks on one of the two streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Look {
    pub style: Style,
    pub color: bool,
    pub timestamps: bool,
    /// `<N>` of sd-daemon before each line: the stream is the journal.
    pub priorities: bool,
}

/// For entries that no stream will show.
pub(super) const PLAIN: Look = Look { style: Style::Compact, color: false, timestamps: true, priorities: false };

/// True when colours are wanted (cli 1): a terminal, or FORCE_COLOR; never with `--no-color`.
pub fn wants_color(no_color_flag: bool, env: &dyn Fn(&str) -> Option<String>, is_terminal: bool) -> bool {
    let set = |name: &str| env(name).is_some_and(|value| !value.is_empty());
    if no_color_flag {
        return false;
    }
    if env("FORCE_COLOR").is_some_and(|value| !value.is_empty() && value != "0") {
        return true;
    }
    if set("NO_COLOR") || !is_terminal {
        return false;
    }
    // Windows terminals set no TERM.
    !cfg!(unix) || env("TERM").is_some_and(|term| !term.is_empty() && term != "dumb")
}

/// `[ws]` for `gateway/ws`: without the leading segments that say nothing, at most two, a channel by its name alone.
pub fn short_subsystem(subsystem: &str) -> String {
    let parts: Vec<&str> = subsystem.split('/').filter(|part| !part.is_empty()).collect();
    let kept: Vec<&str> = parts.iter().copied().skip_while(|part| DROPPED.contains(part)).collect();
    match kept.first() {
        None => subsystem.to_owned(),
        Some(channel) if CHANNELS.contains(channel) => (*channel).to_owned(),
        Some(_) => kept[kept.len().saturating_sub(2)..].join("/"),
    }
}

/// The message without its own subsystem's name before it: `heartbeat: started` of `[heartbeat]` is `started`.
fn without_own_name<'a>(message: &'a str, subsystem: &str) -> &'a str {
    if subsystem.is_empty() {
        return message;
    }
    if let Some(rest) = message.strip_prefix('[')
        && let Some((tag, rest)) = rest.split_once(']')
        && tag.eq_ignore_ascii_case(subsystem)
    {
        return rest.trim_start_matches(' ');
    }
    let Some(head) = message.get(..subsystem.len()) else { return message };
    let rest = &message[subsystem.len()..];
    if !head.eq_ignore_ascii_case(subsystem) || !rest.starts_with([':', ' ']) {
        return message;
    }
    let rest = rest.trim_start_matches(' ');
    rest.strip_prefix(':').unwrap_or(rest).trim_start_matches(' ')
}

/// The line of an entry, with its newline.
pub(super) fn render(entry: &Entry, look: Look, zone: &TimeZone) -> String {
    if look.style == Style::Json {
        return render_json(entry, zone);
    }
    let mut line = String::new();
    if look.priorities {
        line.push_str(priority(entry.level));
    }
    let paint = |line: &mut String, color: &str, text: &str| {
        if look.color {
            line.push_str(color);
            line.push_str(text);
            line.push_str(RESET);
        } else {
            line.push_str(text);
        }
    };
    if look.timestamps {
        let time = match look.style {
            Style::Pretty => entry.time.to_zoned(zone.clone()).strftime("%H:%M:%S").to_string(),
            _ => local_iso(entry.time, zone),
        };
        paint(&mut line, GRAY, &time);
        line.push(' ');
    }
    let subsystem = short_subsystem(&entry.subsystem);
    if !subsystem.is_empty() {
        paint(&mut line, subsystem_color(&subsystem), &format!("[{subsystem}]"));
        line.push(' ');
    }
    let message = printable(without_own_name(&entry.message, &subsystem));
    // The journal takes every line for itself: each one carries its level.
    let message = if look.priorities && message.contains('\n') {
        message.trim_end().replace('\n', &format!("\n{}", priority(entry.level)))
    } else {
        message
    };
    paint(&mut line, level_color(entry.level), &message);
    line.push('\n');
    line
}

fn render_json(entry: &Entry, zone: &TimeZone) -> String {
    let mut object = Map::new();
    object.insert("time".into(), local_iso(entry.time, zone).into());
    object.insert("level".into(), entry.level.name().into());
    if !entry.subsystem.is_empty() {
        object.insert("subsystem".into(), entry.subsystem.as_str().into());
    }
    object.insert("message".into(), entry.message.as_str().into());
    for (name, value) in &entry.fields {
        object.entry(name.as_str()).or_insert_with(|| value.clone());
    }
    let mut line = Value::Object(object).to_string();
    line.push('\n');
    line
}

/// Control characters as `\xNN`: what a peer sent must not move the cursor of an operator.
fn printable(text: &str) -> String {
    let harmless = |c: char| !c.is_control() || c == '\n' || c == '\t';
    if text.chars().all(harmless) {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if harmless(c) { out.push(c) } else { out.push_str(&format!("\\x{:02x}", u32::from(c))) }
    }
    out
}

fn priority(level: Level) -> &'static str {
    match level {
        Level::Silent | Level::Fatal => "<2>",
        Level::Error => "<3>",
        Level::Warn => "<4>",
        Level::Info => "<6>",
        Level::Debug | Level::Trace => "<7>",
    }
}

fn level_color(level: Level) -> &'static str {
    match level {
        Level::Silent | Level::Fatal | Level::Error => RED,
        Level::Warn => YELLOW,
        Level::Info => CYAN,
        Level::Debug | Level::Trace => GRAY,
    }
}

fn subsystem_color(subsystem: &str) -> &'static str {
    let hash = subsystem.bytes().fold(0u32, |hash, b| hash.wrapping_mul(31).wrapping_add(u32::from(b)));
    SUBSYSTEM_COLORS[hash as usize % SUBSYSTEM_COLORS.len()]
}

/// stdout and stderr as files of our own: writing through std would hold its locks while the console is blocked.
#[derive(Debug)]
pub(super) struct Streams {
    pub out: File,
    pub err: File,
}

impl Streams {
    /// Duplicates of the process's own; None when one of them is closed.
    pub fn of_process() -> Option<Streams> {
        #[cfg(unix)]
        {
            use std::os::fd::AsFd as _;
            let out = io::stdout().as_fd().try_clone_to_owned().ok()?;
            let err = io::stderr().as_fd().try_clone_to_owned().ok()?;
            Some(Streams { out: out.into(), err: err.into() })
        }
        #[cfg(windows)]
        {
            use std::os::windows::io::AsHandle as _;
            let out = io::stdout().as_handle().try_clone_to_owned().ok()?;
            let err = io::stderr().as_handle().try_clone_to_owned().ok()?;
            Some(Streams { out: out.into(), err: err.into() })
        }
        #[cfg(not(any(unix, windows)))]
        None
    }

    /// What decides how each of them is written to.
    pub fn surfaces(&self, options: &super::Options) -> Surfaces {
        let env = |name: &str| std::env::var(name).ok();
        let journal = env("JOURNAL_STREAM").unwrap_or_default();
        Surfaces {
            main_terminal: self.out.is_terminal(),
            // logd of OpenWrt adds a time of its own.
            procd: options.supervised && crate::sys::process::parent_is_procd(),
            streams: [&self.out, &self.err].map(|file| {
                let terminal = file.is_terminal();
                let color = wants_color(options.no_color, &env, terminal);
                Surface { terminal, color, journal: is_journal(file, &journal) }
            }),
        }
    }
}

/// Where stdout and stderr lead; asked once, the style may change.
#[derive(Clone, Copy, Debug)]
pub(super) struct Surfaces {
    main_terminal: bool,
    procd: bool,
    streams: [Surface; 2],
}

#[derive(Clone, Copy, Debug)]
struct Surface {
    terminal: bool,
    color: bool,
    journal: bool,
}

impl Surfaces {
    /// How each stream (stdout, stderr) is written to in a style (`logging.consoleStyle`).
    pub fn looks(&self, style: Option<Style>) -> [Look; 2] {
        let style = style.unwrap_or(if self.main_terminal { Style::Pretty } else { Style::Compact });
        self.streams.map(|stream| {
            let priorities = style != Style::Json && stream.journal;
            Look {
                style,
                color: style != Style::Json && !priorities && stream.color,
                timestamps: !priorities && (stream.terminal || !self.procd),
                priorities,
            }
        })
    }
}

/// `JOURNAL_STREAM` = `<device>:<inode>` of this very stream (DECISIONS 126).
#[cfg(unix)]
fn is_journal(file: &File, variable: &str) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let Some((device, inode)) = variable.split_once(':') else { return false };
    file.metadata().is_ok_and(|m| device.parse() == Ok(m.dev()) && inode.parse() == Ok(m.ino()))
}

#[cfg(not(unix))]
fn is_journal(_file: &File, _variable: &str) -> bool {
    false
}

enum Job {
    Line { to_err: bool, text: Box<str> },
    Flush(Sender<()>),
}

/// The sending side, owned by the log thread. Never blocks.
pub(super) struct Console {
    jobs: Sender<Job>,
    waiting: Arc<AtomicUsize>,
    /// Lines dropped since the last one that got through.
    dropped: u64,
}

impl Console {
    /// Starts thread `log-console`.
    pub fn start(streams: Streams) -> io::Result<Console> {
        let (jobs, inbox) = bounded(limits::LOG_CONSOLE_QUEUE);
        let waiting = Arc::new(AtomicUsize::new(0));
        let counter = waiting.clone();
        std::thread::Builder::new()
            .name("log-console".into())
            .stack_size(memory::stack(limits::WRITER_STACK))
            .spawn(move || write_lines(streams, &inbox, &counter))?;
        Ok(Console { jobs, waiting, dropped: 0 })
    }

    pub fn line(&mut self, level: Level, text: String) {
        if self.dropped > 0 {
            let note = format!("({} log lines not shown: the console was not read)\n", self.dropped);
            if self.send(false, note) {
                self.dropped = 0;
            }
        }
        if !self.send(level <= Level::Warn, text) {
            self.dropped += 1;
        }
    }

    /// Answers on `done` when everything before it is written; not at all when the queue is full.
    pub fn flush(&self, done: Sender<()>) {
        let _ = self.jobs.try_send(Job::Flush(done));
    }

    fn send(&self, to_err: bool, text: String) -> bool {
        let bytes = text.len();
        if self.waiting.load(Ordering::Relaxed) + bytes > limits::LOG_CONSOLE_QUEUE_BYTES {
            return false;
        }
        self.waiting.fetch_add(bytes, Ordering::Relaxed);
        match self.jobs.try_send(Job::Line { to_err, text: text.into() }) {
            Ok(()) => true,
            // Nobody is there any more: as good as shown.
            Err(TrySendError::Disconnected(_)) => true,
            Err(TrySendError::Full(_)) => {
                self.waiting.fetch_sub(bytes, Ordering::Relaxed);
                false
            }
        }
    }
}

/// The thread: ends with its channel. A stream that is closed (EPIPE, EIO) swallows what follows.
fn write_lines(mut streams: Streams, inbox: &Receiver<Job>, waiting: &AtomicUsize) {
    let mut closed = [false, false];
    for job in inbox {
        match job {
            Job::Line { to_err, text } => {
                let at = usize::from(to_err);
                let stream = if to_err { &mut streams.err } else { &mut streams.out };
                if !closed[at] {
                    closed[at] = write_patiently(stream, text.as_bytes()).is_err();
                }
                waiting.fetch_sub(text.len(), Ordering::Relaxed);
            }
            Job::Flush(done) => drop(done.try_send(())),
        }
    }
}

/// As `write_all`, also when somebody who shares the stream has made it non-blocking.
fn write_patiently(stream: &mut File, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match stream.write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => bytes = &bytes[n..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => std::thread::sleep(RETRY),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn entry(level: Level, subsystem: &str, message: &str) -> Entry {
        Entry {
            time: "2026-11-20T19:42:16.682Z".parse().unwrap(),
            level,
            subsystem: subsystem.into(),
            message: message.into(),
            fields: json!({ "intervalMs": 5 }).as_object().unwrap().clone(),
            keep: true,
            show: true,
        }
    }

    fn look(style: Style, color: bool, timestamps: bool, priorities: bool) -> Look {
        Look { style, color, timestamps, priorities }
    }

    #[test]
    fn styles() {
        let zone = TimeZone::posix("CET-1").unwrap();
        let beat = entry(Level::Info, "gateway/heartbeat", "heartbeat: started");
        for (look, expected) in [
            (look(Style::Pretty, false, true, false), "20:42:16 [heartbeat] started\n"),
            (look(Style::Compact, false, true, false), "2026-11-20T20:42:16.682+01:00 [heartbeat] started\n"),
            (look(Style::Compact, false, false, false), "[heartbeat] started\n"),
            (look(Style::Compact, false, false, true), "<6>[heartbeat] started\n"),
            (
                look(Style::Json, true, true, false),
                "{\"time\":\"2026-11-20T20:42:16.682+01:00\",\"level\":\"info\",\"subsystem\":\"gateway/heartbeat\",\
                 \"message\":\"heartbeat: started\",\"intervalMs\":5}\n",
            ),
        ] {
            assert_eq!(render(&beat, look, &zone), expected);
        }
        let failed = entry(Level::Error, "", "Gateway failed to start: x\nIf so: y");
        assert_eq!(
            render(&failed, look(Style::Compact, false, false, true), &zone),
            "<3>Gateway failed to start: x\n<3>If so: y\n"
        );
        let colored = render(&entry(Level::Warn, "gateway", "m"), look(Style::Pretty, true, true, false), &zone);
        assert!(colored.starts_with("\x1b[90m20:42:16\x1b[39m \x1b["), "{colored:?}");
        assert!(colored.ends_with(" \x1b[33mm\x1b[39m\n"), "{colored:?}");
        let hostile = entry(Level::Info, "gateway", "a\x1b[2Jb\u{9b}c\td");
        assert_eq!(
            render(&hostile, look(Style::Compact, false, false, false), &zone),
            "[gateway] a\\x1b[2Jb\\x9bc\td\n"
        );
    }

    #[test]
    fn subsystems_are_shortened() {
        for (long, short) in [
            ("gateway", "gateway"),
            ("gateway/ws", "ws"),
            ("gateway/channels", "gateway/channels"),
            ("gateway/channels/telegram", "telegram"),
            ("telegram/inbound", "telegram"),
            ("agents/agent-command", "agents/agent-command"),
            ("gateway/agents/x/y", "x/y"),
            ("a/b/c", "b/c"),
            ("", ""),
        ] {
            assert_eq!(short_subsystem(long), short, "{long}");
        }
        for (message, subsystem, shown) in [
            ("canvas host mounted", "canvas", "host mounted"),
            ("Canvas : x", "canvas", "x"),
            ("[ws] open", "ws", "open"),
            ("gatewayish", "gateway", "gatewayish"),
            ("äöü", "canvas", "äöü"),
            ("bonjour: up", "", "bonjour: up"),
        ] {
            assert_eq!(without_own_name(message, subsystem), shown);
        }
    }

    #[test]
    fn colours_only_where_they_are_wanted() {
        for (flag, vars, terminal, expected) in [
            (false, &[("TERM", "xterm")][..], true, true),
            (false, &[("TERM", "xterm")], false, false),
            (false, &[("TERM", "dumb")], true, false),
            (false, &[("TERM", "xterm"), ("NO_COLOR", "1")], true, false),
            (false, &[("TERM", "xterm"), ("NO_COLOR", "")], true, true),
            (false, &[("FORCE_COLOR", "1"), ("NO_COLOR", "1")], false, true),
            (false, &[("FORCE_COLOR", "0")], false, false),
            (true, &[("TERM", "xterm"), ("FORCE_COLOR", "1")], true, false),
        ] {
            let env = |name: &str| vars.iter().find(|(n, _)| *n == name).map(|(_, v)| v.to_string());
            assert_eq!(wants_color(flag, &env, terminal), expected, "{flag} {vars:?} {terminal}");
        }
    }

    #[test]
    #[cfg(unix)]
    fn the_journal_is_recognised_by_device_and_inode() {
        use std::os::unix::fs::MetadataExt as _;
        let file = File::open("/dev/null").unwrap();
        let there = file.metadata().unwrap();
        assert!(is_journal(&file, &format!("{}:{}", there.dev(), there.ino())));
        for variable in ["", "1:2", "x:y", &format!("{}:", there.dev())] {
            assert!(!is_journal(&file, variable), "{variable}");
        }
    }
}
