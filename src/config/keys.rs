//! The keys of the configuration: what openclaw.json(5), `config.schema`, `config schema` and `doctor` say about them.
//!
//! Type, range and choices come from `schema`, the reload class from `plan`, secrecy from `redact`; the table in
//! `keys.txt` adds what only we know: the default in words and one line of documentation. It is a tree, one blank per
//! level, read where it is asked for: `name|default|doc`, `name+` when the feature behind the key is built, `name^` when
//! only this program knows the key (DECISIONS 74). `*` is any name, `[]` any list position; below `~` stand objects that
//! occur in many places. A key that is not in the table is accepted and has no effect yet.

use serde_json::Value;

use super::plan::{Reload, reload_class};
use super::redact::is_secret;
use super::schema::{Literal, Schema, Type, flatten, is_position, push_step, steps};

const TEXT: &str = include_str!("keys.txt");

/// Places whose keys are those of another place: prefix, and what stands for it; `?` is the same step in both.
const SAME_AS: &[(&str, &str)] = &[
    ("channels.?.accounts.*", "channels.?"),
    ("agents.list[].tools", "tools"),
    ("agents.list[].groupChat", "messages.groupChat"),
    ("agents.list[]", "agents.defaults"),
    ("agents.defaults.imageModel", "agents.defaults.model"),
    ("agents.defaults.pdfModel", "agents.defaults.model"),
    ("agents.defaults.subagents.model", "agents.defaults.model"),
    ("channels.?.groups.*.topics.*", "channels.?.groups.*"),
    ("channels.?.direct.*", "channels.?.groups.*"),
    ("channels.?.guilds.*.channels.*", "channels.?.groups.*"),
    ("channels.?.guilds.*", "channels.?.groups.*"),
    ("channels.?.channels.*", "channels.?.groups.*"),
    ("channels.?.voice.tts", "messages.tts"),
    ("channels.?.blockStreamingCoalesce", "agents.defaults.blockStreamingCoalesce"),
    ("channels.?.draftChunk", "agents.defaults.blockStreamingChunk"),
    ("plugins.entries.?.config.tts", "messages.tts"),
    ("session.resetByType.*", "session.reset"),
    ("session.resetByChannel.*", "session.reset"),
    ("tools.media.*.models[]", "tools.media.models[]"),
    ("tools.media.*", "tools.media.image"),
    ("gateway.http.endpoints.*.images", "gateway.http.endpoints.responses.files"),
];

/// One line of the table.
#[derive(Clone, Debug, PartialEq)]
pub struct Key {
    /// Dotted; `*` is any key, `[]` any list position.
    pub path: String,
    /// What holds when it is absent, as text; empty = nothing.
    pub default: &'static str,
    pub doc: &'static str,
    /// False: read and checked, but what it steers is not built yet.
    pub effect: bool,
    /// True: the reference refuses a file that has it.
    pub ours: bool,
}

/// A key that was looked up.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Found<'k> {
    pub key: &'k Key,
    /// It is the line of a place with the same keys, or of an object that occurs in many places.
    pub shared: bool,
}

/// The table, taken apart.
pub struct Keys {
    rows: Vec<Key>,
    root: Node,
}

#[derive(Default)]
struct Node {
    step: &'static str,
    row: Option<usize>,
    below: Vec<Node>,
}

impl Keys {
    /// A table without lines, for printing types alone.
    pub fn empty() -> Keys {
        Keys { rows: Vec::new(), root: Node::default() }
    }

    pub fn new() -> Keys {
        let mut keys = Keys::empty();
        // Length of the path and effect of the rows above the present one.
        let mut above: Vec<(usize, bool)> = Vec::new();
        let mut path = String::new();
        for line in TEXT.lines() {
            let name = line.trim_start_matches(' ');
            let depth = line.len() - name.len();
            let mut parts = name.splitn(3, '|');
            let (name, default, doc) = (parts.next(), parts.next(), parts.next());
            let name = name.unwrap_or_default();
            let plain = name.trim_end_matches(['+', '^']);
            above.truncate(depth);
            let (length, inherited) = above.last().copied().unwrap_or_default();
            path.truncate(length);
            push_step(&mut path, plain);
            let effect = inherited || name.ends_with('+');
            above.push((path.len(), effect));
            let mut node = &mut keys.root;
            for step in steps(&path[..length]) {
                node = node.below.iter_mut().find(|n| n.step == step).expect("a line stands below its parent");
            }
            for step in steps(plain) {
                let place = node.below.iter().position(|n| n.step == step).unwrap_or_else(|| {
                    node.below.push(Node { step, ..Node::default() });
                    node.below.len() - 1
                });
                node = &mut node.below[place];
            }
            if let (Some(default), Some(doc)) = (default, doc) {
                node.row = Some(keys.rows.len());
                keys.rows.push(Key { path: path.clone(), default, doc, effect, ours: name.contains('^') });
            }
        }
        keys
    }

    /// Every line, in the order of the table; those of `~` last.
    pub fn rows(&self) -> &[Key] {
        &self.rows
    }

    /// The line for a path as people write it (`models.providers.x.baseUrl`, `agents.list.0.id`) or in the table's notation.
    pub fn find(&self, path: &str) -> Option<Found<'_>> {
        self.find_steps(&steps(path).collect::<Vec<_>>())
    }

    /// The line of the key itself, or the nearest one above it.
    pub fn near(&self, path: &str) -> Option<Found<'_>> {
        let steps: Vec<&str> = steps(path).collect();
        (1..=steps.len()).rev().find_map(|count| self.find_steps(&steps[..count]))
    }

    fn find_steps(&self, steps: &[&str]) -> Option<Found<'_>> {
        let mut here = steps.to_vec();
        // Each place is the same as at most one other, and no chain is longer than this.
        for hop in 0..6 {
            if let Some(row) = descend(&self.root, &here) {
                return Some(Found { key: &self.rows[row], shared: hop > 0 });
            }
            match same_as(&here) {
                Some(next) if next != here => here = next,
                _ => break,
            }
        }
        let shared = self.root.below.iter().find(|node| node.step == "~")?;
        let row = match here.split_last() {
            // The three keys of a reference have common names: only below a secret they are its.
            Some((last, parents)) if is_secret(parents) => descend(shared, &["secret", last]),
            _ => (1..here.len()).find_map(|from| descend(shared, &here[from..])),
        }?;
        Some(Found { key: &self.rows[row], shared: true })
    }
}

impl Default for Keys {
    fn default() -> Self {
        Keys::new()
    }
}

/// What is known of a key, as one line of text says it.
pub struct Facts {
    pub kind: String,
    pub choices: Vec<String>,
    pub range: String,
    pub reload: Reload,
    pub secret: bool,
}

impl Facts {
    /// Of a path in either notation; None when the schema does not have it.
    pub fn of(schema: &Schema, path: &str) -> Option<Facts> {
        // What all chat services have in common is in the schema once for each.
        let service = |id: &str| Some(schema.at(&format!("channels.{id}.{}", path.strip_prefix("channels.*.")?)));
        let services = ["telegram", "discord", "slack", "signal", "irc"].iter();
        let common = services.filter_map(|id| service(id)).find(|kinds| !kinds.is_empty());
        let kinds = common.unwrap_or_else(|| schema.at(path));
        if kinds.is_empty() {
            return None;
        }
        let mut names: Vec<&str> = Vec::new();
        for name in kinds.iter().map(type_name) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        let choices = kinds.iter().flat_map(|k| if let Type::OneOf(l) = k { l.as_slice() } else { &[] });
        let range = kinds.iter().find_map(|kind| match kind {
            Type::Number(bounds) | Type::Integer(bounds) => Some(bounds.text()),
            _ => None,
        });
        Some(Facts {
            kind: names.join(" or "),
            choices: choices.map(Literal::text).collect(),
            range: range.unwrap_or_default(),
            reload: reload_class(path),
            secret: is_secret(&steps(path).collect::<Vec<_>>()),
        })
    }

    /// `integer > 0; reload restart; default 18789; secret`.
    pub fn text(&self, default: &str) -> String {
        let mut text = self.kind.clone();
        if !self.choices.is_empty() {
            text += &format!(": {}", self.choices.join(", "));
        }
        if !self.range.is_empty() {
            text += &format!(" {}", self.range);
        }
        text += match self.reload {
            Reload::Dynamic => "; reload dynamic",
            Reload::Hot => "; reload hot",
            Reload::Restart => "; reload restart",
        };
        if !default.is_empty() {
            text += &format!("; default {default}");
        }
        text += if self.secret { "; secret" } else { "" };
        text
    }
}

/// Paths that are set in a configuration and steer nothing yet: "accepted, without effect". The shallowest path below a
/// section under which nothing works stands for all of it: `channels.telegram`, not its twenty keys.
pub fn without_effect(config: &Value) -> Vec<String> {
    let (keys, mut out) = (Keys::new(), Vec::new());
    for (section, value) in config.as_object().into_iter().flatten() {
        if !idle(&keys, value, &mut vec![section.clone()], &mut out) {
            continue;
        }
        match value.as_object().filter(|map| !map.is_empty()) {
            Some(map) => out.extend(map.keys().map(|key| format!("{section}.{key}"))),
            None => out.push(section.clone()),
        }
    }
    out
}

/// True when nothing at or below this place has an effect; otherwise what has none has been added to `out`.
fn idle(keys: &Keys, value: &Value, path: &mut Vec<String>, out: &mut Vec<String>) -> bool {
    let found = keys.find_steps(&path.iter().map(String::as_str).collect::<Vec<_>>());
    if found.is_some_and(|found| found.key.effect && !found.shared) {
        return false;
    }
    let below: Vec<(String, &Value)> = match value {
        Value::Object(map) => map.iter().map(|(key, child)| (key.clone(), child)).collect(),
        Value::Array(list) => list.iter().enumerate().map(|(index, child)| (index.to_string(), child)).collect(),
        _ => return true,
    };
    let (mut silent, mut works) = (Vec::new(), false);
    for (key, child) in below {
        path.push(key);
        // Deeper findings go before: they are dropped again when this whole place turns out to be idle.
        match idle(keys, child, path, &mut silent) {
            true => silent.push(path.join(".")),
            false => works = true,
        }
        path.pop();
    }
    if works {
        out.append(&mut silent);
    }
    !works
}

/// The line of the table where these steps end; names win over `*`, but only if the rest fits, too.
fn descend(node: &Node, steps: &[&str]) -> Option<usize> {
    let Some((step, rest)) = steps.split_first() else {
        // A list or a map is described by its members when it has no line of its own.
        let members = || node.below.iter().find(|n| matches!(n.step, "[]" | "*")).and_then(|n| descend(n, &[]));
        return node.row.or_else(members);
    };
    let exact = node.below.iter().find(|n| n.step == *step).and_then(|n| descend(n, rest));
    exact.or_else(|| {
        let fits = |n: &&Node| n.step == "*" && *step != "[]" || n.step == "[]" && is_position(step);
        node.below.iter().filter(fits).find_map(|n| descend(n, rest))
    })
}

fn same_as<'p>(path: &[&'p str]) -> Option<Vec<&'p str>> {
    SAME_AS.iter().find_map(|(prefix, target)| {
        let prefix: Vec<&str> = steps(prefix).collect();
        let given = path.get(..prefix.len())?;
        let fits = |(own, given): (&&str, &&str)| match *own {
            "*" | "?" => *given != "[]",
            "[]" => is_position(given),
            own => own == *given,
        };
        if !prefix.iter().zip(given).all(fits) {
            return None;
        }
        let taken = prefix.iter().position(|step| *step == "?").map_or("", |at| given[at]);
        let head = steps(target).map(|step| if step == "?" { taken } else { step });
        Some(head.chain(path[prefix.len()..].iter().copied()).collect())
    })
}

fn type_name(kind: &Type) -> &'static str {
    match kind {
        Type::Any | Type::Either(_) => "anything",
        Type::Text(..) => "string",
        Type::Number(_) => "number",
        Type::Integer(_) => "integer",
        Type::Bool => "boolean",
        Type::List(..) => "list",
        Type::Object(_) => "object",
        Type::OneOf(literals) => match literals.first() {
            Some(Literal::Bool(_)) => "boolean",
            Some(Literal::Number(_)) => "number",
            _ => "string",
        },
    }
}

/// Whether one of the alternatives at a place is an object or a list: there are keys below it.
pub fn has_keys(kinds: &[Type]) -> bool {
    kinds.iter().flat_map(flatten).any(|kind| matches!(kind, Type::Object(_) | Type::List(..)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_row_is_in_the_schema() {
        let (schema, keys) = (Schema::new(), Keys::new());
        let lines = TEXT.lines().filter(|line| *line != "~").count();
        assert_eq!(keys.rows().len(), lines);
        let own = keys.rows().iter().filter(|key| !key.path.starts_with("~."));
        let strange: Vec<&Key> = own.filter(|key| schema.at(&key.path).is_empty()).collect();
        assert!(strange.is_empty(), "{strange:#?}");
        for key in keys.rows() {
            assert!(key.doc.ends_with('.') && key.doc.len() < 100, "{}: {}", key.path, key.doc);
            assert!(!key.default.contains('|') && !key.doc.contains('|'), "{}", key.path);
            assert_eq!(
                key.ours,
                super::super::schema::EXTRA_KEYS.iter().any(|(parent, name, _)| {
                    // The items of a list stand for it.
                    format!("{parent}.{name}") == key.path.trim_end_matches("[]")
                })
            );
        }
        let mut paths: Vec<&str> = keys.rows().iter().map(|key| key.path.as_str()).collect();
        paths.sort_unstable();
        paths.dedup();
        assert_eq!(paths.len(), lines);
    }

    #[test]
    fn every_object_of_the_schema_has_a_line() {
        let (schema, keys) = (Schema::new(), Keys::new());
        let objects: Vec<String> = schema.paths().into_iter().filter(|path| has_keys(&schema.at(path))).collect();
        assert!(objects.len() > 700, "{}", objects.len());
        let is_object = |path: &String| schema.at(path).iter().any(|kind| matches!(kind, Type::Object(_)));
        let bare: Vec<&String> = objects
            .iter()
            .filter(|path| is_object(path) && !schema.at(path).iter().any(|k| matches!(k, Type::Text(..))))
            .filter(|path| keys.find(path).is_none())
            .collect();
        assert!(bare.is_empty(), "{bare:#?}");
    }

    #[test]
    fn every_path_answers() {
        let (schema, keys) = (Schema::new(), Keys::new());
        for path in schema.paths() {
            assert!(keys.near(&path).is_some() && Facts::of(&schema, &path).is_some(), "{path}");
        }
    }

    #[test]
    fn rows_tell_all() {
        let (schema, keys) = (Schema::new(), Keys::new());
        let text = |path: &str| {
            let default = keys.find(path).map_or("", |found| found.key.default);
            Facts::of(&schema, path).map(|facts| facts.text(default))
        };
        let table = [
            ("gateway.port", "integer > 0; reload restart; default 18789"),
            ("gateway.bind", "string: auto, lan, loopback, custom, tailnet; reload restart; default loopback"),
            ("models.providers.openai.apiKey", "string or object; reload hot; secret"),
            ("models.providers.p.models.3.cost.input", "number; reload hot; default 0"),
            ("env.FOO", "string; reload restart; secret"),
            (
                "channels.telegram.accounts.x.dmPolicy",
                "string: pairing, allowlist, open, disabled; reload hot; default pairing",
            ),
            ("channels.discord.retry.minDelayMs", "integer ≥ 0; reload hot; default 500"),
            ("session.reset.atHour", "integer 0–23; reload dynamic; default 4"),
        ];
        for (path, expected) in table {
            assert_eq!(text(path).as_deref(), Some(expected), "{path}");
        }
        assert!(keys.find("hooks.nope").is_none() && Facts::of(&schema, "hooks.nope").is_none());
    }

    #[test]
    fn shared_places() {
        let keys = Keys::new();
        let table = [
            ("agents.list[].heartbeat.every", "agents.defaults.heartbeat.every"),
            ("agents.list.3.tools.exec.ask", "tools.exec.ask"),
            ("channels.slack.accounts.work.botToken", "channels.slack.botToken"),
            ("channels.slack.channels.C1.requireMention", "channels.*.channels.*.requireMention"),
            ("channels.telegram.groups.*.topics.*.skills", "channels.*.groups.*.skills[]"),
            ("channels.discord.guilds.1.channels.2.tools.deny", "~.deny[]"),
            ("plugins.entries.voice-call.config.tts.openai", "messages.tts.openai"),
            ("session.resetByType.dm.atHour", "session.reset.atHour"),
            ("tools.media.video.maxBytes", "tools.media.video.maxBytes"),
            ("tools.media.video.scope.rules[].match", "~.rules[].match"),
            ("secrets.providers.x.env.A", "secrets.providers.*.env.*"),
            ("channels.slack.accounts.work.botToken.id", "~.secret.id"),
            ("models.providers.p.apiKey.provider", "~.secret.provider"),
        ];
        for (path, row) in table {
            assert_eq!(keys.find(path).map(|found| found.key.path.as_str()), Some(row), "{path}");
        }
        assert!(keys.find("tools.media.models[].provider").is_none() && keys.find("memory.source").is_none());
        assert!(!keys.find("gateway.port").unwrap().shared && keys.find("agents.list[].sandbox").unwrap().shared);
    }

    #[test]
    fn what_has_no_effect() {
        let config = json!({
            "meta": {"lastTouchedVersion": "2026.3.13", "lastTouchedAt": "x"},
            "env": {"vars": {"A": "1"}, "B": "2", "shellEnv": {"enabled": false}},
            "gateway": {"mode": "local", "auth": {"token": {"source": "env", "provider": "default", "id": "T"}}, "push": {"apns": {}}, "tls": {"enabled": true}},
            "agents": {
                "defaults": {"model": {"primary": "a/b"}, "models": {"a/b-4.5": {"alias": "x", "params": {"n": 1}}}, "sandbox": {"mode": "off"}},
                "list": [{"id": "a", "sandbox": {"mode": "off", "docker": {}}, "identity": {"name": "A"}}],
            },
            "tools": {"exec": {"ask": "off", "security": "full"}, "deny": ["x"]},
            "channels": {"telegram": {"enabled": true, "accounts": {"a": {"botToken": "t"}}}, "irc": {}},
            "bindings": [{"agentId": "a", "match": {"channel": "irc"}}],
            "cron": {},
        });
        assert_eq!(
            without_effect(&config),
            [
                "env.shellEnv",
                "gateway.push",
                "agents.defaults.models.a/b-4.5.params",
                "agents.defaults.sandbox",
                "agents.list.0.sandbox",
                "tools.exec",
                "channels.telegram",
                "channels.irc",
                "bindings",
                "cron",
            ]
        );
        // What `policy::tools` and webhooks read is not idle.
        let read = json!({
            "tools": {"profile": "coding", "deny": ["exec"], "byProvider": {"openai": {"allow": ["x"]}},
                "web": {"fetch": {"maxChars": 1000, "userAgent": "x"}}, "sessions": {"visibility": "all"},
                "agentToAgent": {"enabled": true, "allow": ["*"]}, "subagents": {"tools": {"allow": ["x"]}},
                "exec": {"ask": "off"}},
            "gateway": {"tools": {"allow": ["cron"], "deny": ["x"]}},
            "agents": {"list": [{"id": "a", "tools": {"profile": "full", "elevated": {"enabled": true}},
                "subagents": {"allowAgents": ["*"]}}]},
            "hooks": {"allowedAgentIds": ["a"], "gmail": {"allowUnsafeExternalContent": true, "account": "a@b"}},
        });
        let idle = ["tools.exec", "agents.list.0.tools.elevated", "hooks.gmail.account"];
        assert_eq!(without_effect(&read), idle);
        assert_eq!(without_effect(&json!({})), [""; 0]);
        assert_eq!(without_effect(&json!([])), [""; 0]);
    }
}
