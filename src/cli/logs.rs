//! `openclaw logs`: the gateway's log over one connection, or from the file when no gateway answers (cli 4.8).

use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::Context;
use super::client::{Client, Deadline, Failure};
use super::context::{LONG_TIMEOUT_MS, millis, positive};
use super::output::{Paint, plain, stdout_is_terminal, write_out};
use super::target::{Flags, Target};
use super::tree::Logs;
use crate::error::{Error, Result};
use crate::log::tail::{self, LogLine};
use crate::sys::zone;
use crate::{err, out};

const LIMIT: u64 = 200;
const MAX_BYTES: u64 = 250_000;
const INTERVAL_MS: u64 = 1000;
/// Faster polling would only burn the processor of a small machine.
const MIN_INTERVAL_MS: u64 = 100;

/// What `logs.tail` answers, and what the file gives.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Piece {
    file: String,
    cursor: u64,
    size: u64,
    lines: Vec<String>,
    truncated: bool,
    reset: bool,
}

/// Where the lines come from.
enum Source {
    Gateway { client: Box<Client>, timeout: Duration },
    File(PathBuf),
}

pub fn run(cx: &Context, args: &Logs) -> Result<u8> {
    let limit = positive(args.limit.as_deref(), "--limit", "lines")?.unwrap_or(LIMIT);
    let max_bytes = positive(args.max_bytes.as_deref(), "--max-bytes", "bytes")?.unwrap_or(MAX_BYTES);
    let interval = positive(args.interval.as_deref(), "--interval", "milliseconds")?.unwrap_or(INTERVAL_MS);
    let timeout = Duration::from_millis(millis(args.timeout.as_deref(), LONG_TIMEOUT_MS)?);
    let view = View::new(cx, args);

    let flags = Flags { url: args.url.as_deref(), token: args.token.as_deref(), password: None };
    let target = cx.target(flags).map_err(|error| view.config_error(error))?;
    let target = if args.json { cx.absolute(target) } else { target };
    let mut source = match cx.connect(&target, Deadline::after(timeout)) {
        Ok(client) => Source::Gateway { client: Box::new(client), timeout },
        Err(failure) => view.fall_back(cx, &target, &failure)?,
    };
    let mut cursor = None;
    loop {
        let piece = match source.read(cursor, limit, max_bytes) {
            Ok(piece) => piece,
            Err(failure) => {
                source = view.fall_back(cx, &target, &failure)?;
                continue;
            }
        };
        view.show(&piece, cursor.is_none());
        cursor = Some(piece.cursor);
        if !args.follow {
            return Ok(0);
        }
        std::thread::sleep(Duration::from_millis(interval.max(MIN_INTERVAL_MS)));
    }
}

/// The file in which a gateway of this machine logs today; None when there is no place for one.
pub fn local_file(cx: &Context) -> Option<PathBuf> {
    crate::log::todays_file(cx.loaded().config.logging.file.as_deref().map(|file| cx.paths.expand(file)).as_deref())
}

impl Source {
    fn read(&mut self, cursor: Option<u64>, limit: u64, max_bytes: u64) -> std::result::Result<Piece, Failure> {
        match self {
            Source::Gateway { client, timeout } => {
                let mut params = json!({"limit": limit, "maxBytes": max_bytes});
                if let Some(cursor) = cursor {
                    params["cursor"] = cursor.into();
                }
                let answer = client.request("logs.tail", Some(params), Deadline::after(*timeout))?;
                serde_json::from_value(answer).map_err(|error| Failure::Refused(format!("logs.tail: {error}")))
            }
            Source::File(path) => {
                let limit = usize::try_from(limit).unwrap_or(usize::MAX);
                let tail = tail::read(path, cursor, limit, max_bytes)
                    .map_err(|error| Failure::Refused(format!("{}: {error}", path.display())))?;
                Ok(Piece {
                    file: tail.file,
                    cursor: tail.cursor,
                    size: tail.size,
                    lines: tail.lines,
                    truncated: tail.truncated,
                    reset: tail.reset,
                })
            }
        }
    }
}

/// How lines are shown.
struct View {
    json: bool,
    pretty: bool,
    zone: Option<TimeZone>,
    paint: Paint,
}

impl View {
    fn new(cx: &Context, args: &Logs) -> View {
        View {
            json: args.json,
            pretty: !args.plain && stdout_is_terminal(),
            zone: args.local_time.then(zone::local),
            paint: if args.no_color || args.plain { Paint::NONE } else { cx.paint },
        }
    }

    fn show(&self, piece: &Piece, first: bool) {
        let mut text = String::new();
        if first {
            if self.json {
                let meta = json!({"type": "meta", "file": piece.file, "cursor": piece.cursor, "size": piece.size});
                text.push_str(&format!("{meta}\n"));
            } else {
                text.push_str(&format!("{}\n", self.paint.gray(&format!("Log file: {}", plain(&piece.file)))));
            }
        }
        if piece.truncated {
            self.notice("Log tail truncated (increase --max-bytes).");
        }
        if piece.reset {
            self.notice("Log cursor reset (file rotated).");
        }
        for line in &piece.lines {
            text.push_str(&if self.json { json_line(line) } else { self.line(line) });
            text.push('\n');
        }
        if !text.is_empty() {
            write_out(&text);
        }
    }

    fn notice(&self, text: &str) {
        if self.json {
            out!("{}", json!({"type": "notice", "message": text}));
        } else {
            err!("{text}");
        }
    }

    fn line(&self, raw: &str) -> String {
        let Some(line) = tail::parse_line(raw) else { return plain(raw) };
        let time = line.time.as_deref().map(|time| self.time(time)).unwrap_or_default();
        let level = line.level.as_deref().unwrap_or("info");
        let level = match level {
            "error" | "fatal" => self.paint.red(level),
            "warn" => self.paint.yellow(level),
            "debug" | "trace" => self.paint.gray(level),
            _ => self.paint.cyan(level),
        };
        let subsystem = line.subsystem.as_deref().or(line.module.as_deref()).map(plain);
        let message: Vec<String> = line.message.split('\n').map(plain).collect();
        [Some(self.paint.gray(&time)), Some(level), subsystem, Some(message.join("\n"))]
            .into_iter()
            .flatten()
            .filter(|part| !part.is_empty())
            .collect::<Vec<_>>()
            .join(" ")
    }

    fn time(&self, text: &str) -> String {
        let Ok(time) = text.parse::<Timestamp>() else { return plain(text) };
        match (&self.zone, self.pretty) {
            (Some(zone), false) => time.to_zoned(zone.clone()).strftime("%Y-%m-%dT%H:%M:%S%.3f%:z").to_string(),
            (Some(zone), true) => time.to_zoned(zone.clone()).strftime("%H:%M:%S").to_string(),
            (None, false) => time.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string(),
            (None, true) => time.strftime("%H:%M:%S").to_string(),
        }
    }

    /// Says that the gateway does not answer. The local one's log can be read all the same.
    fn fall_back(&self, cx: &Context, target: &Target, failure: &Failure) -> Result<Source> {
        let file = local_file(cx).filter(|_| target.bind.is_some()).filter(|file| file.is_file());
        let answered = matches!(failure, Failure::Answer { .. } | Failure::Refused(_));
        match file {
            Some(file) if !answered => {
                if self.json {
                    let message = format!("{}; reading the log file instead", failure.text());
                    err!("{}", json!({"type": "notice", "message": message}));
                } else {
                    err!("Gateway not reachable: {}", failure.text());
                    err!("Reading the log file instead: {}", file.display());
                }
                Ok(Source::File(file))
            }
            _ => Err(self.unreachable(target, failure)),
        }
    }

    fn unreachable(&self, target: &Target, failure: &Failure) -> Error {
        let block = target.block().join("\n");
        if self.json {
            return Error::new(error_json(target, failure, &block).to_string());
        }
        if matches!(failure, Failure::Answer { .. } | Failure::Refused(_)) {
            return Error::new(format!("Log tail failed: {}", failure.text()));
        }
        let mut error = Error::new("Gateway not reachable. Is it running and accessible?");
        if !matches!(failure, Failure::Closed { cause: Some(_), .. }) {
            error = error.hint(failure.text());
        }
        error.hint(block).hint(HINT)
    }

    fn config_error(&self, error: Error) -> Error {
        if !self.json {
            return error;
        }
        Error::new(json!({"type": "error", "message": error.message, "error": error.to_string()}).to_string())
    }
}

const HINT: &str = "Hint: run `openclaw doctor`.";

fn error_json(target: &Target, failure: &Failure, block: &str) -> Value {
    let mut details = Map::new();
    details.insert("url".into(), target.url.clone().into());
    details.insert("urlSource".into(), target.source.into());
    if let Some(bind) = target.bind {
        details.insert("bindDetail".into(), format!("Bind: {bind}").into());
    }
    details.insert("message".into(), block.into());
    json!({
        "type": "error",
        "message": "Gateway not reachable. Is it running and accessible?",
        "error": format!("{}\n{block}", failure.text()),
        "details": details,
        "hint": HINT,
    })
}

fn json_line(raw: &str) -> String {
    let Some(LogLine { time, level, subsystem, module, message }) = tail::parse_line(raw) else {
        return json!({"type": "raw", "raw": raw}).to_string();
    };
    let mut out = Map::new();
    out.insert("type".into(), "log".into());
    for (key, value) in [("time", time), ("level", level), ("subsystem", subsystem), ("module", module)] {
        if let Some(value) = value {
            out.insert(key.into(), value.into());
        }
    }
    out.insert("message".into(), message.into());
    out.insert("raw".into(), raw.into());
    Value::Object(out).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(pretty: bool, zone: Option<TimeZone>) -> View {
        View { json: false, pretty, zone, paint: Paint::NONE }
    }

    #[test]
    fn times_in_every_layout() {
        let time = "2026-11-20T19:51:41.175+00:00";
        let berlin = TimeZone::fixed(jiff::tz::offset(1));
        for (pretty, zone, text) in [
            (false, None, "2026-11-20T19:51:41.175Z"),
            (true, None, "19:51:41"),
            (false, Some(berlin.clone()), "2026-11-20T20:51:41.175+01:00"),
            (true, Some(berlin), "20:51:41"),
        ] {
            assert_eq!(view(pretty, zone).time(time), text);
        }
        assert_eq!(view(false, None).time("\u{1b}soon"), "\\u{1b}soon");
    }

    #[test]
    fn lines_that_are_no_log_lines_are_shown_safely() {
        assert_eq!(view(false, None).line("\u{1b}[2Jraw"), "\\u{1b}[2Jraw");
        assert_eq!(json_line("plain text"), r#"{"type":"raw","raw":"plain text"}"#);
    }

    #[test]
    fn the_error_object_of_json_mode() {
        let target = Target {
            url: "ws://127.0.0.1:21133".into(),
            source: "local loopback",
            host: "127.0.0.1".into(),
            port: 21133,
            trust: crate::cli::target::Trust::Authorities,
            token: None,
            password: None,
            stored_token: true,
            explicit: false,
            config_path: "/c.json".into(),
            bind: Some("loopback"),
            tunnel: None,
        };
        let failure =
            Failure::Closed { code: 1006, reason: String::new(), cause: None, refusal: None, fix: String::new() };
        let json = error_json(&target, &failure, &target.block().join("\n"));
        assert_eq!(json["details"]["bindDetail"], "Bind: loopback");
        assert_eq!(
            json["error"],
            "gateway closed (1006 abnormal closure (no close frame)): no close reason\nGateway target: \
             ws://127.0.0.1:21133\nSource: local loopback\nConfig: /c.json\nBind: loopback"
        );
    }
}
