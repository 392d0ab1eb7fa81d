//! One log entry: its level, its subsystem, and its line in the file (DECISIONS 121).
//!
//! Made on the caller's thread, which pays for formatting its own message and one allocation; rendered on thread `log`.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Map, Value, json};

use super::redact::Redactor;
use crate::limits;

/// From nothing to everything. `Fatal` is an error record with the field `fatal` (macro `fatal!`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Silent,
    Fatal,
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

impl Level {
    pub const ALL: [(&'static str, Level); 7] = [
        ("silent", Level::Silent),
        ("fatal", Level::Fatal),
        ("error", Level::Error),
        ("warn", Level::Warn),
        ("info", Level::Info),
        ("debug", Level::Debug),
        ("trace", Level::Trace),
    ];

    pub fn parse(text: &str) -> Option<Level> {
        let text = text.trim().to_ascii_lowercase();
        Self::ALL.iter().find(|(name, _)| *name == text).map(|(_, level)| *level)
    }

    pub fn name(self) -> &'static str {
        Self::ALL[self as usize].0
    }

    /// The value of OPENCLAW_LOG_LEVEL: a level, or the line that says why it is ignored (cli 2.4).
    pub fn from_env(value: &str) -> Result<Level, String> {
        Level::parse(value).ok_or_else(|| {
            let allowed: Vec<&str> = Self::ALL.iter().map(|(name, _)| *name).collect();
            format!("[openclaw] Ignoring invalid OPENCLAW_LOG_LEVEL=\"{value}\" (allowed: {}).", allowed.join("|"))
        })
    }

    /// `logLevelId`: trace 1 … fatal 6.
    pub fn id(self) -> u8 {
        7 - self as u8
    }

    pub(super) fn from_number(number: u8) -> Level {
        Self::ALL.get(usize::from(number)).map_or(Level::Trace, |(_, level)| *level)
    }

    pub(super) fn filter(self) -> log::LevelFilter {
        match self {
            Level::Silent => log::LevelFilter::Off,
            Level::Fatal | Level::Error => log::LevelFilter::Error,
            Level::Warn => log::LevelFilter::Warn,
            Level::Info => log::LevelFilter::Info,
            Level::Debug => log::LevelFilter::Debug,
            Level::Trace => log::LevelFilter::Trace,
        }
    }
}

/// Rooms of this program whose records carry no target of their own, and the subsystem they belong to.
const ROOMS: [(&str, &str); 5] =
    [("agent", "agent"), ("rpc", "gateway/ws"), ("ws", "gateway/ws"), ("config", "gateway/reload"), ("log", "logging")];

#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub time: Timestamp,
    pub level: Level,
    /// Empty: a line of the program itself, without a subsystem.
    pub subsystem: String,
    pub message: String,
    pub fields: Map<String, Value>,
    /// Decided when it was logged: a level that changes meanwhile counts from the next line on.
    pub keep: bool,
    pub show: bool,
}

impl Entry {
    pub fn new(level: Level, subsystem: &str, message: String) -> Entry {
        let (time, fields) = (Timestamp::now(), Map::new());
        Entry { time, level, subsystem: subsystem.into(), message, fields, keep: true, show: true }
    }

    pub fn from_record(record: &log::Record<'_>) -> Entry {
        let mut fields = Fields::default();
        // A visitor that never fails cannot make the visit fail.
        let _ = record.key_values().visit(&mut fields);
        let level = match record.level() {
            log::Level::Error if fields.fatal => Level::Fatal,
            log::Level::Error => Level::Error,
            log::Level::Warn => Level::Warn,
            log::Level::Info => Level::Info,
            log::Level::Debug => Level::Debug,
            log::Level::Trace => Level::Trace,
        };
        let message = match record.args().as_str() {
            Some(text) => cut(text.to_owned()),
            None => cut(record.args().to_string()),
        };
        Entry {
            time: Timestamp::now(),
            level,
            subsystem: subsystem(record.target()).to_owned(),
            message,
            fields: fields.map,
            keep: true,
            show: true,
        }
    }

    /// What it costs in the queue.
    pub fn bytes(&self) -> usize {
        let fields: usize = self.fields.iter().map(|(k, v)| k.len() + v.as_str().map_or(16, str::len)).sum();
        size_of::<Entry>() + self.subsystem.len() + self.message.len() + fields
    }

    pub fn redact(&mut self, redactor: &Redactor) {
        if let std::borrow::Cow::Owned(text) = redactor.apply(&self.message) {
            self.message = text;
        }
        redactor.apply_fields(&mut self.fields);
    }

    /// The line of the file, with its newline: keys `0`, `1` (fields, when there are any), the message, `_meta`, `time`.
    pub fn file_line(&self, zone: &TimeZone, hostname: &str) -> String {
        let named = !self.subsystem.is_empty();
        let name = if named { json!({ "subsystem": self.subsystem }).to_string() } else { "openclaw".to_owned() };
        let mut line = Map::new();
        let mut arguments = Vec::with_capacity(3);
        if named {
            arguments.push(Value::from(name.clone()));
        }
        if !self.fields.is_empty() {
            arguments.push(Value::Object(self.fields.clone()));
        }
        arguments.push(Value::from(self.message.as_str()));
        for (at, argument) in arguments.into_iter().enumerate() {
            line.insert(at.to_string(), argument);
        }
        let mut meta = Map::new();
        meta.insert("hostname".into(), hostname.into());
        meta.insert("name".into(), name.into());
        if named {
            meta.insert("parentNames".into(), json!(["openclaw"]));
        }
        meta.insert("date".into(), utc_iso(self.time).into());
        meta.insert("logLevelId".into(), self.level.id().into());
        meta.insert("logLevelName".into(), self.level.name().to_ascii_uppercase().into());
        line.insert("_meta".into(), meta.into());
        line.insert("time".into(), local_iso(self.time, zone).into());
        let mut text = Value::Object(line).to_string();
        text.push('\n');
        text
    }
}

/// `2026-11-20T19:42:16.682+00:00`
pub fn local_iso(time: Timestamp, zone: &TimeZone) -> String {
    time.to_zoned(zone.clone()).strftime("%Y-%m-%dT%H:%M:%S%.3f%:z").to_string()
}

/// `2026-11-20T19:42:16.682Z`
pub fn utc_iso(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

/// Targets are subsystems; a module path of ours becomes the subsystem of its room, one of a library its crate's name.
fn subsystem(target: &str) -> &str {
    let Some((krate, rest)) = target.split_once("::") else {
        return if target == "openclaw" { "" } else { target };
    };
    if krate != "openclaw" {
        return krate;
    }
    let room = rest.split("::").next().unwrap_or(rest);
    ROOMS.iter().find(|(name, _)| *name == room).map_or("gateway", |(_, subsystem)| subsystem)
}

/// Cuts at `limits::LOG_LINE_BYTES`, on a character.
fn cut(mut text: String) -> String {
    if text.len() > limits::LOG_LINE_BYTES {
        let fits = |at: &usize| text.is_char_boundary(*at);
        let end = (0..=limits::LOG_LINE_BYTES).rev().find(fits).unwrap_or(0);
        let lost = text.len() - end;
        text.truncate(end);
        text.push_str(&format!("… ({lost} bytes cut)"));
        text.shrink_to_fit();
    }
    text
}

#[derive(Default)]
struct Fields {
    map: Map<String, Value>,
    fatal: bool,
}

impl<'kvs> log::kv::VisitSource<'kvs> for Fields {
    fn visit_pair(&mut self, key: log::kv::Key<'kvs>, value: log::kv::Value<'kvs>) -> Result<(), log::kv::Error> {
        if key.as_str() == "fatal" {
            self.fatal = value.to_bool() == Some(true);
            return Ok(());
        }
        let mut json = Json(Value::Null);
        value.visit(&mut json)?;
        self.map.insert(key.as_str().to_owned(), json.0);
        Ok(())
    }
}

struct Json(Value);

impl<'v> log::kv::VisitValue<'v> for Json {
    fn visit_any(&mut self, value: log::kv::Value) -> Result<(), log::kv::Error> {
        self.0 = cut(value.to_string()).into();
        Ok(())
    }

    fn visit_null(&mut self) -> Result<(), log::kv::Error> {
        self.0 = Value::Null;
        Ok(())
    }

    fn visit_u64(&mut self, value: u64) -> Result<(), log::kv::Error> {
        self.0 = value.into();
        Ok(())
    }

    fn visit_i64(&mut self, value: i64) -> Result<(), log::kv::Error> {
        self.0 = value.into();
        Ok(())
    }

    fn visit_f64(&mut self, value: f64) -> Result<(), log::kv::Error> {
        self.0 = value.into();
        Ok(())
    }

    fn visit_bool(&mut self, value: bool) -> Result<(), log::kv::Error> {
        self.0 = value.into();
        Ok(())
    }

    fn visit_str(&mut self, value: &str) -> Result<(), log::kv::Error> {
        self.0 = cut(value.to_owned()).into();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(subsystem: &str, fields: Value) -> Entry {
        Entry {
            time: "2026-11-20T19:42:16.682Z".parse().unwrap(),
            level: Level::Info,
            subsystem: subsystem.into(),
            message: "listening on \"ws\"".into(),
            fields: fields.as_object().cloned().unwrap_or_default(),
            keep: true,
            show: true,
        }
    }

    #[test]
    fn lines_have_the_keys_of_the_reference() {
        let zone = TimeZone::posix("CET-1").unwrap();
        assert_eq!(
            entry("gateway", Value::Null).file_line(&zone, "pi"),
            concat!(
                r#"{"0":"{\"subsystem\":\"gateway\"}","1":"listening on \"ws\"","_meta":{"hostname":"pi","#,
                r#""name":"{\"subsystem\":\"gateway\"}","parentNames":["openclaw"],"date":"2026-11-20T19:42:16.682Z","#,
                r#""logLevelId":3,"logLevelName":"INFO"},"time":"2026-11-20T20:42:16.682+01:00"}"#,
                "\n"
            )
        );
        let line = entry("gateway/heartbeat", json!({ "intervalMs": 1_800_000 })).file_line(&zone, "pi");
        assert!(line.contains(r#""1":{"intervalMs":1800000},"2":"listening on"#), "{line}");
        let line = entry("", Value::Null).file_line(&zone, "pi");
        assert!(line.starts_with(r#"{"0":"listening on"#) && line.contains(r#""name":"openclaw","date""#), "{line}");
    }

    #[test]
    fn levels_have_names_ids_and_an_order() {
        let ids: Vec<(u8, &str)> = Level::ALL[1..].iter().rev().map(|(name, level)| (level.id(), *name)).collect();
        assert_eq!(ids, [(1, "trace"), (2, "debug"), (3, "info"), (4, "warn"), (5, "error"), (6, "fatal")]);
        for (name, level) in Level::ALL {
            assert_eq!((Level::parse(name), level.name(), Level::from_number(level as u8)), (Some(level), name, level));
        }
        assert_eq!(Level::parse(" WARN "), Some(Level::Warn));
        assert_eq!(
            Level::from_env("loud").unwrap_err(),
            "[openclaw] Ignoring invalid OPENCLAW_LOG_LEVEL=\"loud\" (allowed: silent|fatal|error|warn|info|debug|trace)."
        );
    }

    #[test]
    fn targets_become_subsystems() {
        for (target, expected) in [
            ("gateway/ws", "gateway/ws"),
            ("", ""),
            ("openclaw", ""),
            ("openclaw::server::lock", "gateway"),
            ("openclaw::agent::turn", "agent"),
            ("openclaw::rpc::health", "gateway/ws"),
            ("rustls::client::hs", "rustls"),
        ] {
            assert_eq!(subsystem(target), expected, "{target}");
        }
    }

    #[test]
    fn records_give_message_fields_and_fatality() {
        let source = [("count", log::kv::Value::from(3)), ("name", "x".into()), ("fatal", true.into())];
        let record = log::Record::builder()
            .level(log::Level::Error)
            .target("gateway")
            .args(format_args!("it is over"))
            .key_values(&source)
            .build();
        let entry = Entry::from_record(&record);
        assert_eq!((entry.level, entry.message.as_str()), (Level::Fatal, "it is over"));
        assert_eq!(Value::Object(entry.fields), json!({ "count": 3, "name": "x" }));
    }

    #[test]
    fn long_messages_are_cut_on_a_character() {
        let text = cut("ä".repeat(limits::LOG_LINE_BYTES));
        assert!(text.len() < limits::LOG_LINE_BYTES + 64 && text.ends_with("bytes cut)"));
        assert_eq!(cut("short".into()), "short");
    }
}
