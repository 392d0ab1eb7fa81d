//! Keys of earlier versions: what they are called now, and moving them in memory (config A3, DECISIONS 73).
//!
//! A simple move happens at load with a warning; the rest makes the configuration invalid and says what to do. The file
//! itself is left alone.

use serde_json::{Map, Value, json};

use super::get_path::{get, lookup};
use super::include::deep_merge;
use super::issue::Issue;

const CHANNELS: [&str; 7] = ["whatsapp", "telegram", "discord", "slack", "signal", "imessage", "msteams"];
const ANY_HOST: [&str; 4] = ["0.0.0.0", "::", "[::]", "*"];
const LOCAL_HOST: [&str; 4] = ["127.0.0.1", "localhost", "::1", "[::1]"];

/// Old path, new path: the value moves as it is and fills in below what is there already.
const MOVES: &[(&str, &str)] = &[
    ("routing.bindings", "bindings"),
    ("routing.agentToAgent", "tools.agentToAgent"),
    ("routing.groupChat.mentionPatterns", "messages.groupChat.mentionPatterns"),
    ("routing.queue", "messages.queue"),
    ("agent", "agents.defaults"),
    ("memorySearch", "agents.defaults.memorySearch"),
    ("heartbeat", "agents.defaults.heartbeat"),
    ("tools.bash", "tools.exec"),
    ("gateway.token", "gateway.auth.token"),
];

/// Old path, what it is now: a person must decide.
const BY_HAND: &[(&str, &str)] = &[
    ("routing.allowFrom", "channels.<channel>.allowFrom"),
    ("routing.agents", "agents.list"),
    ("routing.defaultAgentId", "agents.list[].default"),
    ("routing.groupChat.requireMention", "channels.<channel>.groups.\"*\".requireMention"),
    ("routing.transcribeAudio", "tools.media.audio.models"),
];

/// What was found and what was done about it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Migrated {
    /// Every old key, for `doctor` and `config.get`.
    pub found: Vec<Issue>,
    /// Those that stop the load.
    pub blocking: Vec<Issue>,
    /// One line per move.
    pub warnings: Vec<Issue>,
}

/// Moves what can be moved.
pub fn migrate(config: &mut Value) -> Migrated {
    let mut out = Migrated::default();
    if !config.is_object() {
        return out;
    }
    for id in CHANNELS {
        relocate(config, id, &format!("channels.{id}"), &mut out);
    }
    for (old, new) in BY_HAND {
        if lookup(config, old).is_some() {
            let issue = Issue::new(
                *old,
                format!("{old} was replaced by {new}; move it by hand or run \"openclaw doctor --fix\"."),
            );
            out.found.push(issue.clone());
            out.blocking.push(issue);
        }
    }
    for (old, new) in MOVES {
        relocate(config, old, new, &mut out);
    }
    for parent in ["routing.groupChat", "routing"] {
        if lookup(config, parent).and_then(Value::as_object).is_some_and(Map::is_empty) {
            remove(config, parent);
        }
    }
    identity(config, &mut out);
    tts_enabled(config, &mut out);
    bind_host(config, &mut out);
    thread_bindings(config, &mut String::new(), &mut out);
    out
}

/// Moves what needs somebody's word, in the way that suits most (`doctor --fix`). Comes after [`migrate`], which calls it
/// blocking. One line per move.
pub fn settle(config: &mut Value) -> Vec<Issue> {
    let mut out = Vec::new();
    let mut say = |path: &str, what: String| out.push(Issue::new(path, what));
    let moved = |old: &str, new: &str| format!("{old} moved to {new}.");
    if let Some(allowed) = remove(config, "routing.allowFrom") {
        // It was WhatsApp's: for any other channel it would let the wrong people in.
        let path = "routing.allowFrom";
        let known = lookup(config, "channels.whatsapp").is_some_and(Value::is_object);
        match lookup(config, "channels.whatsapp.allowFrom").is_some() {
            _ if !known => say(path, format!("{path} went: channels.whatsapp is not configured.")),
            true => say(path, format!("{path} went: channels.whatsapp.allowFrom is there.")),
            false => {
                insert(config, "channels.whatsapp.allowFrom", allowed);
                say(path, moved(path, "channels.whatsapp.allowFrom"));
            }
        }
    }
    if let Some(Value::Object(agents)) = remove(config, "routing.agents") {
        agents.into_iter().for_each(|(id, settings)| add_agent(config, &id, settings));
        say("routing.agents", moved("routing.agents", "agents.list"));
    }
    if let Some(Value::String(id)) = remove(config, "routing.defaultAgentId") {
        add_agent(config, &id, json!({}));
        for agent in config.pointer_mut("/agents/list").and_then(Value::as_array_mut).into_iter().flatten() {
            if let Some(agent) = agent.as_object_mut() {
                agent.shift_remove("default");
                if agent.get("id").and_then(Value::as_str) == Some(&id) {
                    agent.insert("default".into(), json!(true));
                }
            }
        }
        say("routing.defaultAgentId", moved("routing.defaultAgentId", "agents.list[].default"));
    }
    if let Some(required) = remove(config, "routing.groupChat.requireMention") {
        let path = "routing.groupChat.requireMention";
        let all = ["whatsapp", "telegram", "imessage"].map(|id| format!("channels.{id}"));
        let known: Vec<&String> = all.iter().filter(|at| lookup(config, at).is_some_and(Value::is_object)).collect();
        for channel in &known {
            let new = format!("{channel}.groups.*.requireMention");
            if lookup(config, &new).is_none() {
                insert(config, &new, required.clone());
            }
        }
        match known.is_empty() {
            true => say(path, format!("{path} went: none of its channels is configured.")),
            false => say(path, moved(path, "channels.<channel>.groups.\"*\".requireMention")),
        }
    }
    if let Some(old) = remove(config, "routing.transcribeAudio") {
        let words: Vec<&Value> = old.get("command").and_then(Value::as_array).into_iter().flatten().collect();
        let path = "routing.transcribeAudio";
        match words.split_first() {
            Some((command, args)) if lookup(config, "tools.media.audio.models").is_none() => {
                let mut model = json!({"type": "cli", "command": command, "args": args});
                if let Some(seconds) = old.get("timeoutSeconds") {
                    model["timeoutSeconds"] = seconds.clone();
                }
                insert(config, "tools.media.audio.models", json!([model]));
                say(path, moved(path, "tools.media.audio.models"));
            }
            _ => say(path, format!("{path} went: it names no command, or tools.media.audio.models is there.")),
        }
    }
    out
}

/// An agent of the old map: what the list says of it already stays.
fn add_agent(config: &mut Value, id: &str, settings: Value) {
    if !lookup(config, "agents.list").is_some_and(Value::is_array) {
        insert(config, "agents.list", json!([]));
    }
    let Some(list) = config.pointer_mut("/agents/list").and_then(Value::as_array_mut) else { return };
    let own = |agent: &&mut Value| agent.get("id").and_then(Value::as_str) == Some(id);
    match list.iter_mut().find(own) {
        Some(agent) => *agent = deep_merge(settings, agent.take()),
        None => list.push(deep_merge(json!({"id": id}), settings)),
    }
}

impl Migrated {
    fn moved(&mut self, path: &str, message: String) {
        self.found.push(Issue::new(path, &message));
        self.warnings.push(Issue::new(path, message));
    }
}

fn moved_text(old: &str, new: &str) -> String {
    format!("{old} moved to {new} (auto-migrated on load).")
}

fn relocate(config: &mut Value, old: &str, new: &str, out: &mut Migrated) {
    let Some(value) = remove(config, old) else { return };
    out.moved(old, moved_text(old, new));
    let present = remove(config, new);
    // Lists would be joined by the merge: what stands at the new place is the whole truth then.
    let merged = match present {
        Some(present @ Value::Object(_)) => deep_merge(value, present),
        Some(present) => present,
        None => value,
    };
    insert(config, new, merged);
}

/// Root `identity` belongs to the default agent.
fn identity(config: &mut Value, out: &mut Migrated) {
    let Some(identity) = remove(config, "identity") else { return };
    out.moved("identity", moved_text("identity", "agents.list[].identity"));
    if !lookup(config, "agents.list").is_some_and(Value::is_array) {
        insert(config, "agents.list", json!([{"id":"main","default":true}]));
    }
    // `agents` is no object: the check says so.
    let Some(list) = config.pointer_mut("/agents/list").and_then(Value::as_array_mut) else { return };
    let chosen = list.iter().position(|a| a.get("default") == Some(&Value::Bool(true))).unwrap_or(0);
    if list.is_empty() {
        list.push(json!({"id":"main","default":true}));
    }
    if let Some(agent) = list[chosen].as_object_mut() {
        let present = agent.shift_remove("identity").unwrap_or_else(|| json!({}));
        agent.insert("identity".into(), deep_merge(identity, present));
    }
}

fn tts_enabled(config: &mut Value, out: &mut Migrated) {
    let Some(enabled) = remove(config, "messages.tts.enabled") else { return };
    out.moved("messages.tts.enabled", moved_text("messages.tts.enabled", "messages.tts.auto"));
    if lookup(config, "messages.tts.auto").is_none() {
        insert(config, "messages.tts.auto", json!(if enabled == Value::Bool(true) { "always" } else { "off" }));
    }
}

fn bind_host(config: &mut Value, out: &mut Migrated) {
    let Some(host) = lookup(config, "gateway.bind").and_then(Value::as_str) else { return };
    let host = host.trim().to_lowercase();
    let mode = match host.as_str() {
        h if ANY_HOST.contains(&h) => "lan",
        h if LOCAL_HOST.contains(&h) => "loopback",
        _ => return,
    };
    out.moved("gateway.bind", format!("gateway.bind \"{host}\" is now the mode \"{mode}\" (auto-migrated on load)."));
    insert(config, "gateway.bind", json!(mode));
}

fn thread_bindings(value: &mut Value, path: &mut String, out: &mut Migrated) {
    let here = path.len();
    match value {
        Value::Object(map) => {
            if let Some(Value::Object(bindings)) = map.get_mut("threadBindings")
                && let Some(hours) = bindings.shift_remove("ttlHours")
            {
                super::schema::push_step(path, "threadBindings");
                let (old, new) = (format!("{path}.ttlHours"), format!("{path}.idleHours"));
                out.moved(&old, moved_text(&old, &new));
                bindings.entry("idleHours").or_insert(hours);
                path.truncate(here);
            }
            for (key, child) in map.iter_mut() {
                super::schema::push_step(path, key);
                thread_bindings(child, path, out);
                path.truncate(here);
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                super::schema::push_index(path, index);
                thread_bindings(item, path, out);
                path.truncate(here);
            }
        }
        _ => {}
    }
}

fn remove(config: &mut Value, path: &str) -> Option<Value> {
    let (parent, key) = path.rsplit_once('.').unwrap_or(("", path));
    let holder = match parent {
        "" => Some(config),
        parent => config.pointer_mut(&format!("/{}", parent.replace('.', "/"))),
    };
    holder?.as_object_mut()?.shift_remove(key)
}

/// Makes the objects on the way; does nothing where something else stands there.
fn insert(config: &mut Value, path: &str, value: Value) {
    let (parent, key) = path.rsplit_once('.').unwrap_or(("", path));
    let mut here = config;
    for part in parent.split('.').filter(|p| !p.is_empty()) {
        let Some(map) = here.as_object_mut() else { return };
        here = map.entry(part).or_insert_with(|| Value::Object(Map::new()));
    }
    if let Some(map) = here.as_object_mut() {
        map.insert(key.to_owned(), value);
    }
}

/// True when nothing of the old names is left; used by tests and `doctor`.
pub fn is_current(config: &Value) -> bool {
    let old =
        MOVES.iter().chain(BY_HAND).map(|(old, _)| *old).chain(CHANNELS).chain(["identity", "messages.tts.enabled"]);
    old.into_iter().all(|path| get(config, &path.split('.').collect::<Vec<_>>()).is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moves() {
        let table = [
            (json!({"telegram":{"a":1}}), json!({"channels":{"telegram":{"a":1}}}), "telegram"),
            (
                json!({"gateway":{"token":"t","port":1}}),
                json!({"gateway":{"port":1,"auth":{"token":"t"}}}),
                "gateway.token",
            ),
            (json!({"gateway":{"bind":"0.0.0.0"}}), json!({"gateway":{"bind":"lan"}}), "gateway.bind"),
            (json!({"gateway":{"bind":"::1"}}), json!({"gateway":{"bind":"loopback"}}), "gateway.bind"),
            (
                json!({"agent":{"workspace":"old","timeoutSeconds":5},"agents":{"defaults":{"workspace":"new"}}}),
                json!({"agents":{"defaults":{"workspace":"new","timeoutSeconds":5}}}),
                "agent",
            ),
            (
                json!({"memorySearch":{"enabled":false}}),
                json!({"agents":{"defaults":{"memorySearch":{"enabled":false}}}}),
                "memorySearch",
            ),
            (
                json!({"heartbeat":{"every":"5m"}}),
                json!({"agents":{"defaults":{"heartbeat":{"every":"5m"}}}}),
                "heartbeat",
            ),
            (json!({"tools":{"bash":{"timeoutSec":1}}}), json!({"tools":{"exec":{"timeoutSec":1}}}), "tools.bash"),
            (
                json!({"messages":{"tts":{"enabled":true}}}),
                json!({"messages":{"tts":{"auto":"always"}}}),
                "messages.tts.enabled",
            ),
            (json!({"routing":{"bindings":[1]},"bindings":[2]}), json!({"bindings":[2]}), "routing.bindings"),
            (json!({"routing":{"queue":{"cap":1}}}), json!({"messages":{"queue":{"cap":1}}}), "routing.queue"),
            (
                json!({"routing":{"agentToAgent":{"enabled":true}}}),
                json!({"tools":{"agentToAgent":{"enabled":true}}}),
                "routing.agentToAgent",
            ),
            (
                json!({"routing":{"groupChat":{"mentionPatterns":["a"]}}}),
                json!({"messages":{"groupChat":{"mentionPatterns":["a"]}}}),
                "routing.groupChat.mentionPatterns",
            ),
            (
                json!({"identity":{"name":"X"}}),
                json!({"agents":{"list":[{"id":"main","default":true,"identity":{"name":"X"}}]}}),
                "identity",
            ),
            (
                json!({"identity":{"name":"X","emoji":"e"},"agents":{"list":[{"id":"a"},{"id":"b","default":true,"identity":{"name":"Y"}}]}}),
                json!({"agents":{"list":[{"id":"a"},{"id":"b","default":true,"identity":{"name":"Y","emoji":"e"}}]}}),
                "identity",
            ),
            (
                json!({"session":{"threadBindings":{"ttlHours":3}}}),
                json!({"session":{"threadBindings":{"idleHours":3}}}),
                "session.threadBindings.ttlHours",
            ),
        ];
        for (old, new, path) in table {
            let mut config = old.clone();
            let done = migrate(&mut config);
            assert_eq!(config, new, "{old}");
            assert_eq!(done.warnings, done.found);
            assert_eq!(done.blocking, []);
            assert_eq!(done.warnings.iter().map(|w| w.path.as_str()).collect::<Vec<_>>(), [path]);
            assert!(done.warnings[0].message.ends_with("(auto-migrated on load)."), "{}", done.warnings[0].message);
            assert!(is_current(&config));
            assert_eq!(migrate(&mut config), Migrated::default());
        }
    }

    #[test]
    fn by_hand() {
        for (path, _) in BY_HAND {
            let mut config = json!({});
            insert(&mut config, path, json!(true));
            let done = migrate(&mut config);
            assert_eq!(done.blocking.len(), 1, "{path}");
            assert_eq!(done.blocking[0].path, *path);
            assert!(!is_current(&config));
        }
    }

    #[test]
    fn settled() {
        for (old, new) in [
            (
                json!({"routing":{"allowFrom":["+1"]},"channels":{"whatsapp":{}}}),
                json!({"channels":{"whatsapp":{"allowFrom":["+1"]}}}),
            ),
            (
                json!({"routing":{"allowFrom":["+1"]},"whatsapp":{"allowFrom":["+2"]}}),
                json!({"channels":{"whatsapp":{"allowFrom":["+2"]}}}),
            ),
            (json!({"routing":{"allowFrom":["+1"]}}), json!({})),
            (
                json!({"routing":{"agents":{"a":{"workspace":"/old"},"b":{"workspace":"/b"}},"defaultAgentId":"b"},
                    "agents":{"list":[{"id":"a","default":true,"workspace":"/new"}]}}),
                json!({"agents":{"list":[{"id":"a","workspace":"/new"},{"id":"b","workspace":"/b","default":true}]}}),
            ),
            (json!({"routing":{"defaultAgentId":"x"}}), json!({"agents":{"list":[{"id":"x","default":true}]}})),
            (
                json!({"routing":{"groupChat":{"requireMention":false}},"telegram":{"botToken":"t"}}),
                json!({"channels":{"telegram":{"botToken":"t","groups":{"*":{"requireMention":false}}}}}),
            ),
            (
                json!({"routing":{"transcribeAudio":{"command":["whisper","-x"],"timeoutSeconds":9}}}),
                json!({"tools":{"media":{"audio":{"models":[
                    {"type":"cli","command":"whisper","args":["-x"],"timeoutSeconds":9}]}}}}),
            ),
        ] {
            let mut config = old.clone();
            let blocking = migrate(&mut config).blocking.len();
            assert_eq!(settle(&mut config).len(), blocking, "{old}");
            assert_eq!(migrate(&mut config), Migrated::default(), "{old}");
            assert_eq!(config, new, "{old}");
            assert_eq!(super::super::check::check(&config), [], "{old}");
        }
        for mut odd in
            [json!([]), json!({"routing":{"agents":5,"allowFrom":{},"transcribeAudio":1,"defaultAgentId":[]}})]
        {
            migrate(&mut odd);
            settle(&mut odd);
            assert_eq!(migrate(&mut odd).blocking, []);
        }
    }

    #[test]
    fn odd_shapes_survive() {
        for mut config in
            [json!([]), json!(null), json!({"gateway":5,"agents":"x","identity":1,"telegram":null,"channels":3})]
        {
            migrate(&mut config);
        }
        let mut odd = json!({"identity":{},"agents":{"list":[5]}});
        migrate(&mut odd);
        let mut empty = json!({"identity":{"name":"X"},"agents":{"list":[]}});
        migrate(&mut empty);
        assert_eq!(empty["agents"]["list"][0]["identity"]["name"], "X");
    }
}
