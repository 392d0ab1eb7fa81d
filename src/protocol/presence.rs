//! Who is here: one entry per client, device or reporting machine (protocol 6, DECISIONS 41-47).
//!
//! The hub owns the book. It has no clock: every call brings the [`Moment`].

use std::collections::HashMap;

use serde::Serialize;

use super::params::system::SystemEventParams;
use super::presence_text::parse_node_text;
use super::roles::{Role, Scopes};
use crate::{limits, sort};

/// Wall clock for what clients see, monotonic clock for how long entries live: a clock that jumps drops nobody.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moment {
    pub wall_ms: u64,
    pub mono_ms: u64,
}

/// One item of `presence` as clients see it; absent keys are left out.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_family: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model_identifier: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_input_seconds: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tags: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    pub ts: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_id: Option<String>,
    #[serde(skip_serializing_if = "Scopes::is_empty")]
    pub roles: Scopes,
    #[serde(skip_serializing_if = "Scopes::is_empty")]
    pub scopes: Scopes,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance_id: Option<String>,
}

/// The gateway's own entry.
#[derive(Clone, Debug, Default)]
pub struct SelfInfo {
    pub host: String,
    /// LAN address.
    pub ip: Option<String>,
    pub version: String,
    /// `linux <kernel release>`.
    pub platform: String,
    pub device_family: Option<String>,
    pub model_identifier: Option<String>,
}

/// A client that has just connected.
#[derive(Clone, Copy, Debug)]
pub struct ClientInfo<'a> {
    pub conn_id: &'a str,
    pub client: &'a super::connect::Client,
    pub device_id: Option<&'a str>,
    pub role: Role,
    pub scopes: &'a Scopes,
    /// Only for clients that are not local.
    pub remote_ip: Option<&'a str>,
}

pub struct PresenceBook {
    me: Entry,
    version: u64,
    rows: HashMap<String, Row>,
    /// Order of the last touch; decides what is newest when two have the same time.
    touches: u64,
    /// Key that the system event queued last was about; None for a plain text.
    last_queued: Option<String>,
}

struct Row {
    entry: Entry,
    /// The entry as clients see it.
    json: Box<[u8]>,
    touched_ms: u64,
    touch: u64,
    /// Connections that are open under this key.
    open: u32,
}

/// What a system event did.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SystemEventOutcome {
    /// For the queue of the main session (DECISIONS 46).
    pub queued: Option<String>,
}

impl PresenceBook {
    pub fn new(me: SelfInfo) -> PresenceBook {
        let SelfInfo { host, ip, version, platform, device_family, model_identifier } = me;
        let place = ip.as_ref().map_or_else(|| host.clone(), |ip| format!("{host} ({ip})"));
        let entry = Entry {
            text: Some(format!("Gateway: {place} · app {version} · mode gateway · reason self")),
            host: Some(host),
            ip,
            version: Some(version),
            platform: Some(platform),
            device_family,
            model_identifier,
            mode: Some("gateway".into()),
            reason: Some("self".into()),
            ..Entry::default()
        };
        PresenceBook { me: entry, version: 1, rows: HashMap::new(), touches: 0, last_queued: None }
    }

    /// `stateVersion.presence`: from 1, one more for each change.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Entries, the gateway's own included.
    #[expect(clippy::len_without_is_empty, reason = "it never is: the gateway itself is in it")]
    pub fn len(&self) -> usize {
        self.rows.len() + 1
    }

    /// A client connected. The key is to be kept for [`PresenceBook::disconnect`]; None for clients of mode `cli`,
    /// which have no entry and move nothing.
    pub fn connect(&mut self, info: &ClientInfo, now: Moment) -> Option<String> {
        let client = info.client;
        if client.is_cli() {
            return None;
        }
        let key = [info.device_id, client.instance_id.as_deref(), Some(info.conn_id)]
            .into_iter()
            .flatten()
            .find_map(normal_key)?;
        let (old, open) = match self.rows.remove(&key) {
            Some(row) => (row.entry, row.open),
            None => (Entry::default(), 0),
        };
        let host = short(client.display_name.as_deref().unwrap_or(&client.id));
        let mode = short(&client.mode);
        let entry = Entry {
            text: Some(format!("Node: {host} · mode {mode}")),
            host: Some(host),
            ip: info.remote_ip.map(str::to_owned),
            version: Some(short(&client.version)),
            platform: Some(short(&client.platform)),
            device_family: client.device_family.as_deref().map(short),
            model_identifier: client.model_identifier.as_deref().map(short),
            mode: Some(mode),
            reason: Some("connect".into()),
            ts: now.wall_ms,
            device_id: info.device_id.map(short),
            roles: few(old.roles.union(&Scopes::new([info.role.name()]))),
            scopes: few(old.scopes.union(info.scopes)),
            instance_id: info.device_id.or(client.instance_id.as_deref()).map(short),
            ..old
        };
        self.put(key.clone(), entry, open + 1, now);
        Some(key)
    }

    /// A connection closed. True when it was the last one of its key: the entry says `disconnect` and `presence` is
    /// to be broadcast.
    pub fn disconnect(&mut self, key: &str, now: Moment) -> bool {
        let Some(mut row) = self.rows.remove(key) else { return false };
        row.open = row.open.saturating_sub(1);
        if row.open > 0 {
            self.rows.insert(key.to_owned(), row);
            return false;
        }
        let entry = Entry { reason: Some("disconnect".into()), ts: now.wall_ms, ..row.entry };
        self.put(key.to_owned(), entry, 0, now);
        true
    }

    /// `system-event`: makes or changes an entry; `presence` is to be broadcast.
    pub fn system_event(&mut self, event: &SystemEventParams, now: Moment) -> SystemEventOutcome {
        let text = cut_text(event.text.trim());
        let said = parse_node_text(text).unwrap_or_default();
        let key = [event.device_id.as_deref(), event.instance_id.as_deref(), said.host.as_deref()]
            .into_iter()
            .flatten()
            .find_map(normal_key)
            .or_else(|| said.ip.clone())
            .unwrap_or_else(|| text.chars().take(KEY_CHARS).collect());
        let (old, open) = match self.rows.remove(&key) {
            Some(row) => (row.entry, row.open),
            None => (Entry::default(), 0),
        };
        let pick = |param: &Option<String>, parsed: Option<String>, old: &Option<String>| {
            param.as_deref().map(short).or(parsed).or_else(|| old.clone())
        };
        let unite = |old: &Scopes, new: &Option<Vec<String>>| {
            few(new
                .as_ref()
                .map_or_else(|| old.clone(), |new| old.union(&new.iter().map(|name| short(name)).collect())))
        };
        let entry = Entry {
            host: pick(&event.host, said.host, &old.host),
            ip: pick(&event.ip, said.ip, &old.ip),
            version: pick(&event.version, said.version, &old.version),
            platform: pick(&event.platform, None, &old.platform),
            device_family: pick(&event.device_family, None, &old.device_family),
            model_identifier: pick(&event.model_identifier, None, &old.model_identifier),
            mode: pick(&event.mode, said.mode, &old.mode),
            last_input_seconds: event.last_input_seconds.or(said.last_input_seconds).or(old.last_input_seconds),
            reason: pick(&event.reason, said.reason, &old.reason),
            tags: event.tags.as_ref().map_or_else(
                || old.tags.clone(),
                |tags| Some(tags.iter().take(limits::PRESENCE_LIST_ITEMS).map(|tag| short(tag)).collect()),
            ),
            text: Some(text.to_owned()),
            ts: now.wall_ms,
            device_id: pick(&event.device_id, None, &old.device_id),
            roles: unite(&old.roles, &event.roles),
            scopes: unite(&old.scopes, &event.scopes),
            instance_id: pick(&event.instance_id, None, &old.instance_id),
        };
        let queued = self.queue_text(text, &key, &old, &entry);
        self.put(key, entry, open, now);
        SystemEventOutcome { queued }
    }

    /// Plain texts go to the session as they are; of a `Node:` text only what changed.
    fn queue_text(&mut self, text: &str, key: &str, old: &Entry, new: &Entry) -> Option<String> {
        if !text.starts_with("Node:") {
            self.last_queued = None;
            return Some(text.to_owned());
        }
        let label = |value: &Option<String>, none: &str| {
            value.as_deref().map(str::trim).filter(|text| !text.is_empty()).unwrap_or(none).to_owned()
        };
        let reason = new.reason.as_deref().unwrap_or_default().to_lowercase();
        let counts = !reason.starts_with("periodic") && reason != "heartbeat";
        let place_changed = old.host != new.host || old.ip != new.ip;
        let mut parts = Vec::new();
        if old.version != new.version {
            parts.push(format!("app {}", label(&new.version, "unknown")));
        }
        if old.mode != new.mode {
            parts.push(format!("mode {}", label(&new.mode, "unknown")));
        }
        if counts && old.reason != new.reason {
            parts.push(format!("reason {}", label(&new.reason, "event")));
        }
        if parts.is_empty() && !place_changed {
            return None;
        }
        if place_changed || self.last_queued.as_deref() != Some(key) {
            let host = label(&new.host, "Unknown");
            let ip = label(&new.ip, "");
            parts.insert(0, if ip.is_empty() { format!("Node: {host}") } else { format!("Node: {host} ({ip})") });
        }
        self.last_queued = Some(key.to_owned());
        Some(parts.join(" · "))
    }

    /// The list as clients see it, a JSON array: this gateway's own entry, then the newest first. Forgets what has
    /// expired. Entries were serialised when they changed: a list for 200 clients is made of pieces.
    pub fn list_json(&mut self, now: Moment) -> Vec<u8> {
        let ttl = u64::try_from(limits::PRESENCE_TTL.as_millis()).expect("five minutes fit");
        self.rows.retain(|_, row| row.open > 0 || now.mono_ms.saturating_sub(row.touched_ms) <= ttl);
        self.me.ts = now.wall_ms;
        let mut rows: Vec<&Row> = self.rows.values().collect();
        sort::by_key(&mut rows, |row| std::cmp::Reverse(row.touch));
        let room = rows.iter().map(|row| row.json.len() + 1).sum::<usize>();
        let mut list = Vec::with_capacity(room + 512);
        list.push(b'[');
        list.extend_from_slice(&json(&self.me));
        for row in rows {
            list.push(b',');
            list.extend_from_slice(&row.json);
        }
        list.push(b']');
        list
    }

    fn put(&mut self, key: String, entry: Entry, open: u32, now: Moment) {
        self.touches += 1;
        self.version += 1;
        let json = json(&entry);
        self.rows.insert(key, Row { entry, json, touched_ms: now.mono_ms, touch: self.touches, open });
        // One place of the cap is the gateway's own.
        while self.rows.len() + 1 > limits::PRESENCE_ENTRIES {
            let oldest = self.rows.iter().min_by_key(|(_, row)| (row.open > 0, row.touch));
            let key = oldest.map(|(key, _)| key.clone()).expect("there are more rows than the cap");
            self.rows.remove(&key);
        }
    }
}

fn json(entry: &Entry) -> Box<[u8]> {
    serde_json::to_vec(entry).expect("entries have string keys only").into()
}

/// Characters of a text that serve as key when it says nothing else.
const KEY_CHARS: usize = 64;

fn normal_key(text: &str) -> Option<String> {
    let key = short(text.trim()).to_lowercase();
    (!key.is_empty()).then_some(key)
}

pub(super) fn short(text: &str) -> String {
    text.chars().take(limits::PRESENCE_FIELD_CHARS).collect()
}

fn few(names: Scopes) -> Scopes {
    if names.len() > limits::PRESENCE_LIST_ITEMS {
        names.iter().take(limits::PRESENCE_LIST_ITEMS).collect()
    } else {
        names
    }
}

fn cut_text(text: &str) -> &str {
    let mut end = text.len().min(limits::PRESENCE_TEXT_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::super::connect::Client;
    use super::*;
    use serde_json::{Value, json};

    fn at(ms: u64) -> Moment {
        Moment { wall_ms: 1_795_204_030_000 + ms, mono_ms: ms }
    }

    fn book() -> PresenceBook {
        PresenceBook::new(SelfInfo {
            host: "gw-host".into(),
            ip: Some("192.0.2.2".into()),
            version: "2026.3.13".into(),
            platform: "linux 6.12.0".into(),
            device_family: Some("Linux".into()),
            model_identifier: Some("x64".into()),
        })
    }

    fn client(id: &str, mode: &str) -> Client {
        Client {
            id: id.into(),
            mode: mode.into(),
            version: "1.0.0".into(),
            platform: "linux".into(),
            ..Client::default()
        }
    }

    fn connect(book: &mut PresenceBook, client: &Client, device: Option<&str>, ms: u64) -> Option<String> {
        let scopes = Scopes::new(["operator.read"]);
        let scopes = if device.is_some() { &scopes } else { &Scopes::NONE };
        let info =
            ClientInfo { conn_id: "Conn-1", client, device_id: device, role: Role::Operator, scopes, remote_ip: None };
        book.connect(&info, at(ms))
    }

    fn list(book: &mut PresenceBook, now: Moment) -> Vec<Value> {
        serde_json::from_slice(&book.list_json(now)).unwrap()
    }

    fn json_list(book: &mut PresenceBook, ms: u64) -> Value {
        list(book, at(ms)).into()
    }

    fn event(text: &str) -> SystemEventParams {
        SystemEventParams { text: text.into(), ..SystemEventParams::default() }
    }

    #[test]
    fn entries_look_as_recorded() {
        let mut book = book();
        assert_eq!(book.version(), 1);
        let key = connect(&mut book, &client("test", "test"), Some("C1C5"), 219).unwrap();
        assert_eq!(key, "c1c5");
        connect(&mut book, &client("gateway-client", "backend"), None, 230).unwrap();
        book.system_event(&event("operator says hi"), at(233));
        assert_eq!(book.version(), 4);
        let expected = json!([
            {"host":"gw-host","ip":"192.0.2.2","version":"2026.3.13","platform":"linux 6.12.0","deviceFamily":"Linux",
             "modelIdentifier":"x64","mode":"gateway","reason":"self",
             "text":"Gateway: gw-host (192.0.2.2) · app 2026.3.13 · mode gateway · reason self","ts":1795204030240u64},
            {"text":"operator says hi","ts":1795204030233u64},
            {"host":"gateway-client","version":"1.0.0","platform":"linux","mode":"backend","roles":["operator"],
             "reason":"connect","ts":1795204030230u64,"text":"Node: gateway-client · mode backend"},
            {"host":"test","version":"1.0.0","platform":"linux","mode":"test","deviceId":"C1C5","roles":["operator"],
             "scopes":["operator.read"],"instanceId":"C1C5","reason":"connect","ts":1795204030219u64,
             "text":"Node: test · mode test"}
        ]);
        assert_eq!(json_list(&mut book, 240), expected);
        assert!(book.disconnect(&key, at(250)));
        assert_eq!(json_list(&mut book, 251)[1]["reason"], "disconnect");
        assert_eq!(json_list(&mut book, 251)[1]["ts"], 1_795_204_030_250u64);
        assert_eq!(book.version(), 5);
    }

    #[test]
    fn command_line_clients_leave_no_trace() {
        let mut book = book();
        assert_eq!(connect(&mut book, &client("cli", "cli"), Some("d"), 0), None);
        assert_eq!((book.version(), list(&mut book, at(0)).len()), (1, 1));
        assert!(connect(&mut book, &client("cli", "probe"), None, 0).is_some());
    }

    #[test]
    fn keys_of_clients() {
        let mut book = book();
        let mut with_instance = client("test", "test");
        assert_eq!(connect(&mut book, &with_instance, None, 0).unwrap(), "conn-1");
        with_instance.instance_id = Some("  Inst-9 ".into());
        assert_eq!(connect(&mut book, &with_instance, None, 0).unwrap(), "inst-9");
        assert_eq!(connect(&mut book, &with_instance, Some("DEV"), 0).unwrap(), "dev");
    }

    #[test]
    fn system_events_merge_as_recorded() {
        let mut book = book();
        let mut first =
            event("Node: kitchen-pi (192.0.2.20) · app 1.2.3 · last input 5s ago · mode ui · reason connect");
        first.instance_id = Some("inst-1".into());
        assert_eq!(
            book.system_event(&first, at(268)).queued.as_deref(),
            Some("Node: kitchen-pi (192.0.2.20) · app 1.2.3 · mode ui · reason connect")
        );
        let mut second =
            event("Node: kitchen-pi (192.0.2.20) · app 1.2.4 · last input 9s ago · mode ui · reason periodic");
        second.instance_id = Some("inst-1".into());
        second.last_input_seconds = Some(9);
        second.device_family = Some("Linux".into());
        second.model_identifier = Some("rpi4".into());
        assert_eq!(book.system_event(&second, at(285)).queued.as_deref(), Some("app 1.2.4"));
        assert_eq!(
            json_list(&mut book, 286)[1],
            json!({"host":"kitchen-pi","ip":"192.0.2.20","version":"1.2.4","lastInputSeconds":9,"mode":"ui",
                   "reason":"periodic","deviceFamily":"Linux","modelIdentifier":"rpi4","instanceId":"inst-1",
                   "text":"Node: kitchen-pi (192.0.2.20) · app 1.2.4 · last input 9s ago · mode ui · reason periodic",
                   "ts":1795204030285u64})
        );
    }

    #[test]
    fn params_beat_the_text_and_the_text_beats_what_was() {
        let mut book = book();
        let mut first = event("Node: pi2 (10.0.0.5) · app 1 · last input 1s ago · mode remote · reason x");
        first.host = Some("over".into());
        first.roles = Some(vec!["a".into()]);
        first.tags = Some(vec!["t".into()]);
        book.system_event(&first, at(0));
        let mut second = event("hello");
        second.instance_id = Some("PI2".into());
        second.roles = Some(vec!["b".into(), "a".into()]);
        book.system_event(&second, at(1));
        assert_eq!(
            json_list(&mut book, 2)[1],
            json!({"host":"over","ip":"10.0.0.5","version":"1","mode":"remote","lastInputSeconds":1,"reason":"x",
                   "tags":["t"],"text":"hello","ts":1795204030001u64,"roles":["a","b"],"instanceId":"PI2"})
        );
    }

    #[test]
    fn what_is_queued_for_the_session() {
        let mut book = book();
        let pi = |reason: &str| {
            event(&format!("Node: pi (10.0.0.5) · app 1.2 · last input 3s ago · mode remote · reason {reason}"))
        };
        let expect = |book: &mut PresenceBook, event: &SystemEventParams, queued: Option<&str>| {
            assert_eq!(book.system_event(event, at(0)).queued.as_deref(), queued, "{}", event.text);
        };
        expect(&mut book, &pi("periodic"), Some("Node: pi (10.0.0.5) · app 1.2 · mode remote"));
        expect(&mut book, &pi("periodic"), None);
        expect(&mut book, &pi("heartbeat"), None);
        expect(&mut book, &pi("wake"), Some("reason wake"));
        expect(&mut book, &event("plain"), Some("plain"));
        expect(&mut book, &pi("sleep"), Some("Node: pi (10.0.0.5) · reason sleep"));
        expect(&mut book, &event("Node: zed · mode ui"), None);
    }

    #[test]
    fn keys_of_system_events() {
        let long = "x".repeat(80);
        let same_key = |a: &SystemEventParams, b: &SystemEventParams| {
            let mut book = book();
            book.system_event(a, at(0));
            book.system_event(b, at(1));
            list(&mut book, at(2)).len() == 2
        };
        assert!(same_key(&event(&format!("{long}a")), &event(&format!("{long}b"))));
        assert!(!same_key(&event("Hello"), &event("hello")));
        let by_host = event("Node: PI (1.2.3.4) · app 1 · last input 1s ago · mode a · reason b");
        let by_instance = SystemEventParams { instance_id: Some(" pi ".into()), ..event("z") };
        assert!(same_key(&by_host, &by_instance));
        assert!(same_key(&SystemEventParams { device_id: Some("  ".into()), ..by_instance.clone() }, &by_host));
    }

    #[test]
    fn life_of_entries() {
        let ttl = u64::try_from(limits::PRESENCE_TTL.as_millis()).unwrap();
        let mut book = book();
        let client = client("test", "test");
        let key = connect(&mut book, &client, Some("d"), 0).unwrap();
        connect(&mut book, &client, Some("d"), 1).unwrap();
        book.system_event(&event("hi"), at(0));
        assert_eq!(list(&mut book, at(ttl)).len(), 3);
        assert_eq!(list(&mut book, at(ttl + 1)).len(), 2, "the system event is gone, the open client stays");
        assert!(!book.disconnect(&key, at(ttl * 3)), "one connection is left");
        assert_eq!(list(&mut book, at(ttl * 9)).len(), 2);
        assert!(book.disconnect(&key, at(ttl * 9)));
        assert!(!book.disconnect("nobody", at(ttl * 9)));
        assert_eq!(list(&mut book, at(ttl * 10)).len(), 2);
        assert_eq!(list(&mut book, at(ttl * 10 + 1)).len(), 1);
    }

    #[test]
    fn a_wall_clock_that_jumps_drops_nobody() {
        let mut book = book();
        book.system_event(&event("hi"), Moment { wall_ms: 0, mono_ms: 5 });
        assert_eq!(list(&mut book, Moment { wall_ms: 1_795_204_030_000, mono_ms: 6 }).len(), 2);
    }

    #[test]
    fn the_cap_takes_the_oldest_that_left_first() {
        let mut book = book();
        let keys: Vec<String> = (0..limits::PRESENCE_ENTRIES as u64 - 1)
            .map(|n| connect(&mut book, &client("test", "test"), Some(&format!("dev-{n}")), n).unwrap())
            .collect();
        book.disconnect(&keys[7], at(900));
        book.disconnect(&keys[3], at(901));
        book.system_event(&event("one more"), at(902));
        let ids: Vec<_> =
            list(&mut book, at(903)).into_iter().map(|entry| entry["deviceId"].as_str().map(str::to_owned)).collect();
        assert_eq!(ids.len(), limits::PRESENCE_ENTRIES);
        assert!(!ids.contains(&Some("dev-7".into())) && ids.contains(&Some("dev-3".into())));
        assert_eq!(list(&mut book, at(904))[0]["reason"], "self");
    }

    #[test]
    fn nobody_fills_the_memory() {
        let mut book = book();
        let big = "y".repeat(1 << 20);
        let event = SystemEventParams {
            host: Some(big.clone()),
            device_id: Some(big.clone()),
            tags: Some(vec![big.clone(); 99]),
            roles: Some((0..99).map(|n| format!("{n}{big}")).collect()),
            ..event(&big)
        };
        book.system_event(&event, at(0));
        assert!(book.list_json(at(0)).len() < 64 * 1024);
    }
}
