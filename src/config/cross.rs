//! Rules between keys (config A3): looked at when every key for itself is right. Paths and messages are the reference's;
//! where it has no rule there is none here, so that a file it accepts loads.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;

use serde_json::{Map, Value};

use super::get_path::lookup;
use super::hooks::stays_below;
use super::issue::Issue;
use super::paths::{Paths, normalize};
use super::schema::{push_index, push_step};
use super::typed::duration_ms;

/// Channels that need no plugin, and the two keys beside them.
const CHANNEL_IDS: &[&str] = &[
    "defaults",
    "modelByChannel",
    "telegram",
    "whatsapp",
    "discord",
    "irc",
    "googlechat",
    "slack",
    "signal",
    "imessage",
    "line",
];
/// Channels of the reference's own plugins; their sections load without one.
const PLUGIN_CHANNEL_IDS: &[&str] = &[
    "matrix",
    "mattermost",
    "msteams",
    "feishu",
    "nextcloud-talk",
    "nostr",
    "tlon",
    "twitch",
    "zalo",
    "zalouser",
    "bluebubbles",
    "synology-chat",
];
/// Channels with `dmPolicy` and `allowFrom`; the second field: also in their old place below `dm`.
const DIRECT_MESSAGES: &[(&str, bool)] = &[
    ("telegram", false),
    ("whatsapp", false),
    ("discord", true),
    ("slack", true),
    ("signal", false),
    ("irc", false),
    ("imessage", false),
];
const DAY_MS: u64 = 86_400_000;
const NOT_A_DURATION: &str = "invalid duration (use ms, s, m, h, d)";
const NOT_A_SIZE: &str = "invalid size (use b, kb, mb, gb, tb)";

/// Adds what is wrong between keys.
pub fn check(value: &Value, paths: Option<&Paths>, issues: &mut Vec<Issue>) {
    gateway(value, issues);
    heartbeats(value, issues);
    times_and_sizes(value, issues);
    hooks(value, issues);
    agents(value, paths, issues);
    broadcast(value, issues);
    browser_profiles(value, issues);
    secret_commands(value, issues);
    channels(value, issues);
    for (id, nested) in DIRECT_MESSAGES {
        direct_messages(value, id, *nested, issues);
    }
    telegram_webhook(value, issues);
    slack_signature(value, issues);
    everywhere(value, &mut String::new(), issues);
}

fn gateway(value: &Value, issues: &mut Vec<Issue>) {
    let text = |path: &str| lookup(value, path).and_then(Value::as_str);
    if lookup(value, "gateway.port").and_then(Value::as_f64).is_some_and(|port| port > 65535.0) {
        issues.push(Issue::new("gateway.port", "Too big: expected number to be <=65535"));
    }
    if let Some(mode @ ("serve" | "funnel")) = text("gateway.tailscale.mode") {
        let host = text("gateway.customBindHost").and_then(|host| host.parse::<IpAddr>().ok());
        let loopback = match text("gateway.bind") {
            None | Some("loopback") => true,
            Some("custom") => host.is_some_and(|ip| ip.is_loopback()),
            Some(_) => false,
        };
        if !loopback {
            issues.push(Issue::new("gateway.bind", format!(
                "gateway.bind must resolve to loopback when gateway.tailscale.mode={mode} (use gateway.bind=\"loopback\" or gateway.bind=\"custom\" with gateway.customBindHost=\"127.0.0.1\")"
            )));
        }
    }
}

/// The heartbeat settings with their paths: of every agent, then the common ones.
fn heartbeat_settings(value: &Value) -> impl Iterator<Item = (String, &Value)> {
    let common = lookup(value, "agents.defaults.heartbeat").map(|beat| ("agents.defaults.heartbeat".to_owned(), beat));
    let own = list(value).filter_map(|(path, agent)| Some((format!("{path}.heartbeat"), agent.get("heartbeat")?)));
    own.chain(common)
}

/// `agents.list.0` and the entry.
fn list(value: &Value) -> impl Iterator<Item = (String, &Value)> {
    let entries = lookup(value, "agents.list").and_then(Value::as_array).into_iter().flatten().enumerate();
    entries.map(|(index, entry)| (format!("agents.list.{index}"), entry))
}

fn heartbeats(value: &Value, issues: &mut Vec<Issue>) {
    for (path, beat) in heartbeat_settings(value) {
        let text = |key: &str| lookup(beat, key).and_then(Value::as_str).unwrap_or_default();
        let every = text("every").trim();
        if !every.is_empty() && duration_ms(every, 60_000).is_none() {
            issues.push(Issue::new(format!("{path}.every"), "invalid duration (use ms, s, m, h)"));
        }
        for key in ["start", "end"] {
            if let Some(message) = bad_time(text(&format!("activeHours.{key}")), key == "end") {
                issues.push(Issue::new(format!("{path}.activeHours.{key}"), message));
            }
        }
        let target = text("target").trim();
        let id = target.to_lowercase();
        if !matches!(id.as_str(), "" | "last" | "none") && !is_channel(value, &id) {
            issues.push(Issue::new(format!("{path}.target"), format!("unknown heartbeat target: {target}")));
        }
    }
}

fn bad_time(text: &str, is_end: bool) -> Option<&'static str> {
    let number = |part: &str, max: u32| {
        let two = part.len() == 2 && part.bytes().all(|b| b.is_ascii_digit());
        two.then(|| part.parse::<u32>().ok()).flatten().filter(|n| *n <= max)
    };
    let time = text.split_once(':').and_then(|(hour, minute)| Some((number(hour, 24)?, number(minute, 59)?)));
    match time {
        _ if text.is_empty() => None,
        None => Some("invalid time (use \"HH:MM\" 24h format)"),
        Some((24, minute)) if minute > 0 => Some("invalid time (24:00 is the only allowed 24:xx value)"),
        Some((24, _)) if !is_end => Some("invalid time (start cannot be 24:00)"),
        Some(_) => None,
    }
}

fn times_and_sizes(value: &Value, issues: &mut Vec<Issue>) {
    let durations = [
        ("session.maintenance.pruneAfter", DAY_MS),
        ("session.maintenance.resetArchiveRetention", DAY_MS),
        ("cron.sessionRetention", 3_600_000),
    ];
    for (path, unit) in durations {
        if written(value, path).is_some_and(|text| duration_ms(&text, unit).is_none()) {
            issues.push(Issue::new(path, NOT_A_DURATION));
        }
    }
    let sizes = ["rotateBytes", "maxDiskBytes", "highWaterBytes"].map(|key| format!("session.maintenance.{key}"));
    for path in sizes.into_iter().chain(["cron.runLog.maxBytes".to_owned()]) {
        if written(value, &path).is_some_and(|text| size_bytes(&text).is_none()) {
            issues.push(Issue::new(path, NOT_A_SIZE));
        }
    }
    let flush = "agents.defaults.compaction.memoryFlush.forceFlushTranscriptBytes";
    if written(value, flush).is_some_and(|text| size_bytes(&text).is_none()) {
        issues.push(Issue::new(flush, "Expected byte size string like 2mb"));
    }
}

/// `10mb`, `1.5 gb`, `2000`: bytes, in steps of 1024.
fn size_bytes(text: &str) -> Option<u64> {
    let text = text.trim().to_ascii_lowercase();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let power = match text[end..].trim() {
        "" | "b" => 0,
        "k" | "kb" => 1,
        "m" | "mb" => 2,
        "g" | "gb" => 3,
        "t" | "tb" => 4,
        _ => return None,
    };
    let bytes = text[..end].parse::<f64>().ok()? * 1024f64.powi(power);
    bytes.is_finite().then_some(bytes as u64)
}

/// A path without `.` and `..`.
fn lexical(path: &str) -> String {
    normalize(Path::new(path)).display().to_string()
}

/// A text or number as text; false and absent ones as None.
fn written(value: &Value, path: &str) -> Option<String> {
    match lookup(value, path)? {
        Value::String(text) => Some(text.trim().to_owned()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

fn hooks(value: &Value, issues: &mut Vec<Issue>) {
    let enabled = lookup(value, "hooks.enabled") == Some(&Value::Bool(true));
    if enabled && !is_set(lookup(value, "hooks.token")) {
        issues.push(Issue::new("hooks.token", "hooks.enabled requires hooks.token"));
    }
    let mappings = lookup(value, "hooks.mappings").and_then(Value::as_array).into_iter().flatten();
    for (index, transform) in mappings.enumerate().filter_map(|(index, m)| Some((index, m.get("transform")?))) {
        let text = |key: &str| transform.get(key).and_then(Value::as_str).map(str::trim).filter(|t| !t.is_empty());
        let at = |key: &str| format!("hooks.mappings.{index}.transform.{key}");
        match (text("command"), text("module")) {
            (None, None) if transform.is_object() && transform.get("module").is_none() => {
                issues.push(Issue::new(at("module"), "Invalid input: expected string, received undefined"));
            }
            (Some(command), _) if !stays_below(command) => issues.push(Issue::new(
                at("command"),
                "must be the path of a program below hooks/transforms beside the configuration, without \"..\"",
            )),
            // A module hurts nobody as long as hooks are off.
            (None, Some(module)) if enabled => issues.push(Issue::new(
                at("module"),
                format!(
                    "{module}: this gateway cannot run JavaScript; name a program in transform.command (JSON on \
                     stdin, JSON on stdout), or remove the transform"
                ),
            )),
            _ => {}
        }
    }
    let dir = lookup(value, "hooks.transformsDir").and_then(Value::as_str).map(str::trim).filter(|t| !t.is_empty());
    if enabled && dir.is_some_and(|dir| dir.split(['/', '\\']).any(|part| part == "..")) {
        let text = "must be a directory below hooks/transforms beside the configuration, without \"..\"";
        issues.push(Issue::new("hooks.transformsDir", text));
    }
}

/// A secret that is there: a text that is not blank, or a reference.
fn is_set(value: Option<&Value>) -> bool {
    value.is_some_and(|v| v.is_object() || v.as_str().is_some_and(|text| !text.trim().is_empty()))
}

fn agents(value: &Value, paths: Option<&Paths>, issues: &mut Vec<Issue>) {
    let mut by_dir: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (path, agent) in list(value) {
        let text = |key: &str| lookup(agent, key).and_then(Value::as_str).map(str::trim).filter(|t| !t.is_empty());
        let id = text("id").unwrap_or_default().to_lowercase();
        let dir = match (text("agentDir"), paths) {
            (Some(dir), Some(paths)) => paths.expand(dir).display().to_string(),
            (Some(dir), None) => dir.to_owned(),
            (None, Some(paths)) => paths.state_dir.join("agents").join(&id).join("agent").display().to_string(),
            (None, None) => format!("<state>/agents/{id}/agent"),
        };
        let ids = by_dir.entry(lexical(&dir)).or_default();
        if !ids.contains(&id) {
            ids.push(id);
        }
        if let Some(message) = text("identity.avatar").and_then(|avatar| bad_avatar(avatar, text("workspace"))) {
            issues.push(Issue::new(format!("{path}.identity.avatar"), message));
        }
    }
    by_dir.retain(|_, ids| ids.len() > 1);
    if !by_dir.is_empty() {
        let conflicts: Vec<String> = by_dir
            .iter()
            .map(|(dir, ids)| {
                let names: Vec<String> = ids.iter().map(|id| format!("\"{id}\"")).collect();
                format!("- {dir}: {}", names.join(", "))
            })
            .collect();
        issues.push(Issue::new("agents.list", format!(
            "Duplicate agentDir detected (multi-agent config).\nEach agent must have a unique agentDir; sharing it causes auth/session state collisions and token invalidation.\n\nConflicts:\n{}\n\nFix: remove the shared agents.list[].agentDir override (or give each agent its own directory).\nIf you want to share credentials, copy auth-profiles.json instead of sharing the entire agentDir.",
            conflicts.join("\n")
        )));
    }
}

fn bad_avatar(avatar: &str, workspace: Option<&str>) -> Option<&'static str> {
    let lower = avatar.to_ascii_lowercase();
    if ["http://", "https://", "data:"].iter().any(|scheme| lower.starts_with(scheme)) {
        return None;
    }
    let scheme = avatar.split_once(':').is_some_and(|(scheme, _)| {
        scheme.len() > 1
            && scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'.' | b'-'))
    });
    if avatar.starts_with('~') || scheme {
        return Some("identity.avatar must be a workspace-relative path, http(s) URL, or data URI.");
    }
    let outside = match (avatar.starts_with('/'), workspace) {
        (true, Some(workspace)) if workspace.starts_with('/') => {
            let root = lexical(workspace);
            let path = lexical(avatar);
            path != root && !path.starts_with(&format!("{root}/"))
        }
        // Where the workspace lies is only known with the state directory: not refused on a guess.
        (true, _) => false,
        (false, _) => lexical(avatar).split('/').next() == Some(".."),
    };
    outside.then_some("identity.avatar must stay within the agent workspace.")
}

fn broadcast(value: &Value, issues: &mut Vec<Issue>) {
    let known: Vec<&str> = list(value).filter_map(|(_, agent)| agent.get("id")?.as_str()).collect();
    if known.is_empty() {
        return;
    }
    for (peer, ids) in value.get("broadcast").and_then(Value::as_object).into_iter().flatten() {
        for (index, id) in ids.as_array().into_iter().flatten().enumerate() {
            let id = id.as_str().unwrap_or_default();
            if !known.contains(&id) {
                let message = format!("Unknown agent id \"{id}\" (not in agents.list).");
                issues.push(Issue::new(format!("broadcast.{peer}.{index}"), message));
            }
        }
    }
}

fn browser_profiles(value: &Value, issues: &mut Vec<Issue>) {
    for (name, profile) in lookup(value, "browser.profiles").and_then(Value::as_object).into_iter().flatten() {
        let attached = profile.get("driver").and_then(Value::as_str) == Some("existing-session");
        let placed = profile.get("cdpPort").is_some() || is_set(profile.get("cdpUrl"));
        if !attached && !placed {
            issues.push(Issue::new(format!("browser.profiles.{name}"), "Profile must set cdpPort or cdpUrl"));
        }
    }
}

fn secret_commands(value: &Value, issues: &mut Vec<Issue>) {
    for (name, provider) in lookup(value, "secrets.providers").and_then(Value::as_object).into_iter().flatten() {
        let command = provider.get("command").and_then(Value::as_str).unwrap_or("/").trim();
        let windows = command.as_bytes().get(1) == Some(&b':') || command.starts_with("\\\\");
        if !command.starts_with('/') && !windows {
            let path = format!("secrets.providers.{name}.command");
            issues.push(Issue::new(path, "secrets.providers.*.command must be an absolute path."));
        }
    }
}

/// A channel of somebody's plugin: its section is legal when the plugin is named.
fn is_channel(value: &Value, id: &str) -> bool {
    let named = |place: &str| lookup(value, place).is_some_and(|entries| entries.get(id).is_some());
    CHANNEL_IDS.contains(&id)
        || PLUGIN_CHANNEL_IDS.contains(&id)
        || named("plugins.entries")
        || named("plugins.installs")
}

fn channels(value: &Value, issues: &mut Vec<Issue>) {
    for id in value.get("channels").and_then(Value::as_object).into_iter().flat_map(Map::keys) {
        if !is_channel(value, id) {
            issues.push(Issue::new(format!("channels.{id}"), format!("unknown channel id: {id}")));
        }
    }
}

/// Who may write: `open` must say so with `*`, an allow list must not be empty. Accounts inherit from the channel.
fn direct_messages(value: &Value, id: &str, nested: bool, issues: &mut Vec<Issue>) {
    let Some(channel) = value.get("channels").and_then(|channels| channels.get(id)) else { return };
    let policy = |at: &Value| {
        let old = || nested.then(|| lookup(at, "dm.policy")).flatten();
        at.get("dmPolicy").or_else(old).and_then(Value::as_str).map(str::to_owned)
    };
    let senders = |at: &Value| {
        let old = || nested.then(|| lookup(at, "dm.allowFrom")).flatten();
        at.get("allowFrom").or_else(old).map(sender_ids)
    };
    let name = format!("channels.{id}");
    let common = (policy(channel), senders(channel));
    let place = if nested && channel.get("allowFrom").is_none() { "dm.allowFrom" } else { "allowFrom" };
    let or = if nested { format!(" (or {name}.dm.allowFrom)") } else { String::new() };
    let needed = missing_senders(&name, common.0.as_deref(), common.1.as_deref(), &or);
    issues.extend(needed.map(|message| Issue::new(format!("{name}.{place}"), message)));
    for (account, at) in channel.get("accounts").and_then(Value::as_object).into_iter().flatten() {
        let (policy, senders) = (policy(at).or(common.0.clone()), senders(at).or(common.1.clone()));
        let or = format!(" (or {name}.allowFrom)");
        let needed = missing_senders(&format!("{name}.accounts.*"), policy.as_deref(), senders.as_deref(), &or);
        issues.extend(needed.map(|message| Issue::new(format!("{name}.accounts.{account}.allowFrom"), message)));
    }
}

fn missing_senders(name: &str, policy: Option<&str>, senders: Option<&[String]>, or: &str) -> Option<String> {
    let senders = senders.unwrap_or_default();
    let (policy, wanted) = match policy? {
        "open" if !senders.iter().any(|id| id == "*") => ("open", "to include \"*\""),
        "allowlist" if senders.is_empty() => ("allowlist", "to contain at least one sender ID"),
        _ => return None,
    };
    Some(format!("{name}.dmPolicy=\"{policy}\" requires {name}.allowFrom{or} {wanted}"))
}

fn sender_ids(list: &Value) -> Vec<String> {
    let text = |item: &Value| item.as_str().map_or_else(|| item.to_string(), |text| text.trim().to_owned());
    list.as_array().into_iter().flatten().map(text).filter(|id| !id.is_empty()).collect()
}

fn telegram_webhook(value: &Value, issues: &mut Vec<Issue>) {
    let Some(telegram) = lookup(value, "channels.telegram") else { return };
    let has_secret = is_set(telegram.get("webhookSecret"));
    if is_set(telegram.get("webhookUrl")) && !has_secret {
        let message = "channels.telegram.webhookUrl requires channels.telegram.webhookSecret";
        issues.push(Issue::new("channels.telegram.webhookSecret", message));
    }
    for (account, at) in active_accounts(telegram) {
        if is_set(at.get("webhookUrl")) && !has_secret && !is_set(at.get("webhookSecret")) {
            let message = "channels.telegram.accounts.*.webhookUrl requires channels.telegram.webhookSecret or channels.telegram.accounts.*.webhookSecret";
            issues.push(Issue::new(format!("channels.telegram.accounts.{account}.webhookSecret"), message));
        }
    }
}

fn slack_signature(value: &Value, issues: &mut Vec<Issue>) {
    let Some(slack) = lookup(value, "channels.slack") else { return };
    let mode = |at: &Value| at.get("mode").and_then(Value::as_str).map(str::to_owned);
    let (base, has_secret) = (mode(slack), is_set(slack.get("signingSecret")));
    if base.as_deref() == Some("http") && !has_secret {
        let message = "channels.slack.mode=\"http\" requires channels.slack.signingSecret";
        issues.push(Issue::new("channels.slack.signingSecret", message));
    }
    for (account, at) in active_accounts(slack) {
        let http = mode(at).or(base.clone()).as_deref() == Some("http");
        if http && !has_secret && !is_set(at.get("signingSecret")) {
            let message = "channels.slack.accounts.*.mode=\"http\" requires channels.slack.signingSecret or channels.slack.accounts.*.signingSecret";
            issues.push(Issue::new(format!("channels.slack.accounts.{account}.signingSecret"), message));
        }
    }
}

fn active_accounts(channel: &Value) -> impl Iterator<Item = (&String, &Value)> {
    let accounts = channel.get("accounts").and_then(Value::as_object).into_iter().flatten();
    accounts.filter(|(_, account)| account.get("enabled") != Some(&Value::Bool(false)))
}

/// Rules for objects that occur in many places: tool policies and references to secrets.
fn everywhere(value: &Value, path: &mut String, issues: &mut Vec<Issue>) {
    let here = path.len();
    match value {
        Value::Object(map) => {
            policy(map, path, issues);
            reference(map, path, issues);
            for (key, child) in map.iter().filter(|(_, child)| child.is_object() || child.is_array()) {
                push_step(path, key);
                everywhere(child, path, issues);
                path.truncate(here);
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate().filter(|(_, item)| item.is_object() || item.is_array()) {
                push_index(path, index);
                everywhere(item, path, issues);
                path.truncate(here);
            }
        }
        _ => {}
    }
}

fn policy(map: &Map<String, Value>, path: &str, issues: &mut Vec<Issue>) {
    let filled = |key: &str| map.get(key).and_then(Value::as_array).is_some_and(|list| !list.is_empty());
    if !filled("allow") || !filled("alsoAllow") {
        return;
    }
    let mut steps = path.rsplit('.');
    let who = match (steps.next(), steps.next()) {
        (Some("tools"), None) => "tools",
        (Some("tools"), _) if path.starts_with("agents.list.") && path.matches('.').count() == 3 => "agent tools",
        (_, Some("byProvider")) => "tools.byProvider policy",
        _ => "tools policy",
    };
    issues.push(Issue::new(path, format!(
        "{who} cannot set both allow and alsoAllow in the same scope (merge alsoAllow into allow, or remove allow and use profile + alsoAllow)"
    )));
}

fn reference(map: &Map<String, Value>, path: &str, issues: &mut Vec<Issue>) {
    let text = |key: &str| map.get(key).and_then(Value::as_str);
    let (3, Some(source), Some(_), Some(id)) = (map.len(), text("source"), text("provider"), text("id")) else {
        return;
    };
    let message = match source {
        "file" if !is_pointer(id) => {
            "File secret reference id must be an absolute JSON pointer (example: \"/providers/openai/apiKey\"), or \"value\" for singleValue mode."
        }
        "exec" if !is_exec_id(id) => {
            "Exec secret reference id must match /^[A-Za-z0-9][A-Za-z0-9._:/-]{0,255}$/ and must not include \".\" or \"..\" path segments (example: \"vault/openai/api-key\")."
        }
        _ => return,
    };
    issues.push(Issue::new(format!("{path}.id"), message));
}

fn is_pointer(id: &str) -> bool {
    let escaped = |part: &str| part.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']));
    id == "value" || id.strip_prefix('/').is_some_and(|rest| rest.split('/').all(escaped))
}

fn is_exec_id(id: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | ':' | '/' | '-');
    id.len() <= 256
        && id.starts_with(|c: char| c.is_ascii_alphanumeric())
        && id.chars().all(fits)
        && id.split('/').all(|part| part != "." && part != "..")
}

#[cfg(test)]
mod tests {
    use super::super::check::check;
    use super::*;
    use serde_json::json;

    fn lines(value: &Value) -> Vec<String> {
        check(value).iter().map(Issue::line).collect()
    }

    #[test]
    fn accepted() {
        let reference = |source: &str, id: &str| json!({"channels":{"telegram":{"botToken":{"source":source,"provider":"p","id":id}}}});
        for value in [
            json!({"channels":{"telegram":{"dmPolicy":"open","allowFrom":["1","*"]}}}),
            json!({"channels":{"telegram":{"allowFrom":[1],"accounts":{"work":{"dmPolicy":"allowlist"}}}}}),
            json!({"channels":{"discord":{"dm":{"policy":"open","allowFrom":["*"]}}}}),
            json!({"channels":{"slack":{"mode":"http","signingSecret":"s","accounts":{"off":{"enabled":false,"mode":"http"}}}}}),
            json!({"channels":{"telegram":{"webhookUrl":"https://x/y","webhookSecret":{"source":"env","provider":"default","id":"S"}}}}),
            json!({"agents":{"list":[{"id":"a","agentDir":"/x/a"},{"id":"b","agentDir":"/x/b"},{"id":"A"}]}}),
            json!({"agents":{"list":[{"id":"a","identity":{"avatar":"pictures/../me.png"}},{"id":"b","identity":{"avatar":"data:image/png;base64,AA"}}]}}),
            json!({"agents":{"list":[{"id":"a","workspace":"/w","identity":{"avatar":"/w/me.png"}}]}}),
            json!({"agents":{"defaults":{"heartbeat":{"every":"0m","activeHours":{"start":"08:00","end":"24:00"}}}}}),
            json!({"agents":{"list":[{"id":"a"}]},"broadcast":{"strategy":"parallel","+1":["a"]}}),
            json!({"broadcast":{"+1":["nobody"]}}),
            json!({"cron":{"sessionRetention":false,"runLog":{"maxBytes":"2mb"}},"session":{"maintenance":{"pruneAfter":"30d","rotateBytes":1000,"maxDiskBytes":"1.5gb"}}}),
            json!({"tools":{"allow":["a"],"alsoAllow":[]},"agents":{"list":[{"id":"a","tools":{"alsoAllow":["b"]}}]}}),
            json!({"hooks":{"enabled":true,"token":"x"}}),
            json!({"hooks":{"enabled":false}}),
            json!({"browser":{"profiles":{"work":{"color":"#00ff00","cdpPort":9222}}}}),
            json!({"secrets":{"providers":{"v":{"source":"exec","command":"/usr/bin/v"}}}}),
            reference("file", "/a/b~1c"),
            reference("file", "value"),
            reference("exec", "vault/openai:api-key.v1"),
        ] {
            assert_eq!(lines(&value), [""; 0], "{value}");
        }
    }

    #[test]
    fn refused() {
        let dm = |channel: &str, policy: &str| json!({"channels":{channel:{"dmPolicy":policy}}});
        let reference = |source: &str, id: &str| json!({"channels":{"telegram":{"botToken":{"source":source,"provider":"p","id":id}}}});
        let both = json!({"allow":["a"],"alsoAllow":["b"]});
        let merge = "(merge alsoAllow into allow, or remove allow and use profile + alsoAllow)";
        let table: Vec<(Value, String)> = vec![
            (dm("telegram", "open"), "channels.telegram.allowFrom: channels.telegram.dmPolicy=\"open\" requires channels.telegram.allowFrom to include \"*\"".into()),
            (dm("signal", "allowlist"), "channels.signal.allowFrom: channels.signal.dmPolicy=\"allowlist\" requires channels.signal.allowFrom to contain at least one sender ID".into()),
            (dm("slack", "open"), "channels.slack.dm.allowFrom: channels.slack.dmPolicy=\"open\" requires channels.slack.allowFrom (or channels.slack.dm.allowFrom) to include \"*\"".into()),
            (
                json!({"channels":{"irc":{"accounts":{"work":{"dmPolicy":"open","allowFrom":["a"]}}}}}),
                "channels.irc.accounts.work.allowFrom: channels.irc.accounts.*.dmPolicy=\"open\" requires channels.irc.accounts.*.allowFrom (or channels.irc.allowFrom) to include \"*\"".into(),
            ),
            (
                json!({"channels":{"telegram":{"webhookUrl":"https://x"}}}),
                "channels.telegram.webhookSecret: channels.telegram.webhookUrl requires channels.telegram.webhookSecret".into(),
            ),
            (
                json!({"channels":{"slack":{"accounts":{"a":{"mode":"http"}}}}}),
                "channels.slack.accounts.a.signingSecret: channels.slack.accounts.*.mode=\"http\" requires channels.slack.signingSecret or channels.slack.accounts.*.signingSecret".into(),
            ),
            (
                json!({"agents":{"list":[{"id":"a","identity":{"avatar":"../me.png"}}]}}),
                "agents.list.0.identity.avatar: identity.avatar must stay within the agent workspace.".into(),
            ),
            (
                json!({"agents":{"list":[{"id":"a","identity":{"avatar":"~/me.png"}}]}}),
                "agents.list.0.identity.avatar: identity.avatar must be a workspace-relative path, http(s) URL, or data URI.".into(),
            ),
            (
                json!({"agents":{"list":[{"id":"a","workspace":"/w","identity":{"avatar":"/etc/me.png"}}]}}),
                "agents.list.0.identity.avatar: identity.avatar must stay within the agent workspace.".into(),
            ),
            (
                json!({"agents":{"defaults":{"heartbeat":{"activeHours":{"start":"24:00"}}}}}),
                "agents.defaults.heartbeat.activeHours.start: invalid time (start cannot be 24:00)".into(),
            ),
            (
                json!({"agents":{"defaults":{"heartbeat":{"activeHours":{"end":"9:00"}}}}}),
                "agents.defaults.heartbeat.activeHours.end: invalid time (use \"HH:MM\" 24h format)".into(),
            ),
            (
                json!({"agents":{"defaults":{"heartbeat":{"every":"soon"}}}}),
                "agents.defaults.heartbeat.every: invalid duration (use ms, s, m, h)".into(),
            ),
            (
                json!({"agents":{"list":[{"id":"a"}]},"broadcast":{"+1":["a","b"]}}),
                "broadcast.+1.1: Unknown agent id \"b\" (not in agents.list).".into(),
            ),
            (json!({"cron":{"sessionRetention":"long"}}), "cron.sessionRetention: invalid duration (use ms, s, m, h, d)".into()),
            (
                json!({"session":{"maintenance":{"rotateBytes":"10 stones"}}}),
                "session.maintenance.rotateBytes: invalid size (use b, kb, mb, gb, tb)".into(),
            ),
            (json!({"tools":both}), format!("tools: tools cannot set both allow and alsoAllow in the same scope {merge}")),
            (
                json!({"agents":{"list":[{"id":"a","tools":both}]}}),
                format!("agents.list.0.tools: agent tools cannot set both allow and alsoAllow in the same scope {merge}"),
            ),
            (
                json!({"tools":{"byProvider":{"p":both}}}),
                format!("tools.byProvider.p: tools.byProvider policy cannot set both allow and alsoAllow in the same scope {merge}"),
            ),
            (
                json!({"hooks":{"enabled":true,"token":"x","transformsDir":"a/../../b"}}),
                "hooks.transformsDir: must be a directory below hooks/transforms beside the configuration, without \"..\"".into(),
            ),
            (
                json!({"hooks":{"mappings":[{"transform":{"export":"f"}}]}}),
                "hooks.mappings.0.transform.module: Invalid input: expected string, received undefined".into(),
            ),
            (
                json!({"hooks":{"mappings":[{},{"transform":{"command":"/bin/sh"}}]}}),
                "hooks.mappings.1.transform.command: must be the path of a program below hooks/transforms beside the \
                 configuration, without \"..\""
                    .into(),
            ),
            (json!({"hooks":{"enabled":true}}), "hooks.token: hooks.enabled requires hooks.token".into()),
            (
                json!({"browser":{"profiles":{"work":{"color":"#00ff00"}}}}),
                "browser.profiles.work: Profile must set cdpPort or cdpUrl".into(),
            ),
            (
                json!({"secrets":{"providers":{"v":{"source":"exec","command":"v"}}}}),
                "secrets.providers.v.command: secrets.providers.*.command must be an absolute path.".into(),
            ),
            (
                reference("file", "a/b"),
                "channels.telegram.botToken.id: File secret reference id must be an absolute JSON pointer (example: \"/providers/openai/apiKey\"), or \"value\" for singleValue mode.".into(),
            ),
            (
                reference("exec", "a/../b"),
                "channels.telegram.botToken.id: Exec secret reference id must match /^[A-Za-z0-9][A-Za-z0-9._:/-]{0,255}$/ and must not include \".\" or \"..\" path segments (example: \"vault/openai/api-key\").".into(),
            ),
            (json!({"channels":{"fax":{}}}), "channels.fax: unknown channel id: fax".into()),
        ];
        for (value, expected) in table {
            assert_eq!(lines(&value), [expected], "{value}");
        }
    }

    #[test]
    fn one_directory_for_two_agents() {
        let value =
            json!({"agents":{"list":[{"id":"a","agentDir":"/x/y/../z"},{"id":"b","agentDir":"/x/z"},{"id":"c"}]}});
        let issues = check(&value);
        assert_eq!((issues.len(), issues[0].path.as_str()), (1, "agents.list"));
        assert!(issues[0].message.starts_with("Duplicate agentDir detected (multi-agent config).\n"));
        assert!(issues[0].message.contains("\nConflicts:\n- /x/z: \"a\", \"b\"\n"), "{}", issues[0].message);
    }

    #[test]
    fn sizes() {
        let table = [
            ("10mb", Some(10 << 20)),
            ("1.5 GB", Some(3 << 29)),
            ("7", Some(7)),
            ("", None),
            ("mb", None),
            ("5 x", None),
        ];
        for (text, bytes) in table {
            assert_eq!(size_bytes(text), bytes, "{text}");
        }
    }
}
