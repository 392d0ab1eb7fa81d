//! Who is here: one entry per client, device or reporting machine (protocol 6, DECISIONS 41-47).
//!
//! The hub owns the book. It has no clock: every call brings the [`Moment`].

use std::collections::HashMap;

use serde::Serialize;

use super::params::system::SystemEventParams;
use super::roles::{Role, Scopes};
use crate::limits;

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
    /// Key of the system event that was queued last.
    last_queued: Option<String>,
}

struct Row {
    entry: Entry,
    touched_ms: u64,
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
        PresenceBook { me: entry, version: 1, rows: HashMap::new(), last_queued: None }
    }

    /// `stateVersion.presence`: from 1, one more for each change.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// A client connected. The key is to be kept for [`PresenceBook::disconnect`]; None for clients of mode `cli`,
    /// which have no entry and move nothing.
    pub fn connect(&mut self, info: &ClientInfo, now: Moment) -> Option<String> {
        if info.client.is_cli() {
            return None;
        }
        let client = info.client;
        let key = client_key(info);
        let host = client.display_name.as_deref().unwrap_or(&client.id);
        let old = self.rows.get(&key);
        let (roles, scopes) = old.map(|row| (row.entry.roles.clone(), row.entry.scopes.clone())).unwrap_or_default();
        let entry = Entry {
            host: Some(host.to_owned()),
            ip: info.remote_ip.map(str::to_owned),
            version: Some(client.version.clone()),
            platform: Some(client.platform.clone()),
            device_family: client.device_family.clone(),
            model_identifier: client.model_identifier.clone(),
            mode: Some(client.mode.clone()),
            reason: Some("connect".into()),
            text: Some(format!("Node: {host} · mode {}", client.mode)),
            ts: now.wall_ms,
            device_id: info.device_id.map(str::to_owned),
            roles: roles.union(&Scopes::new([info.role.name()])),
            scopes: scopes.union(info.scopes),
            instance_id: info.device_id.map(str::to_owned).or_else(|| client.instance_id.clone()),
            ..over(old.map(|row| row.entry.clone()))
        };
        let open = old.map_or(0, |row| row.open) + 1;
        self.rows.insert(key.clone(), Row { entry, touched_ms: now.mono_ms, open });
        self.version += 1;
        self.evict();
        Some(key)
    }

    /// A connection closed. True when it was the last one of its key: the entry says `disconnect` and `presence` is
    /// to be broadcast.
    pub fn disconnect(&mut self, key: &str, now: Moment) -> bool {
        let Some(row) = self.rows.get_mut(key) else { return false };
        row.open = row.open.saturating_sub(1);
        if row.open > 0 {
            return false;
        }
        row.entry.reason = Some("disconnect".into());
        row.entry.ts = now.wall_ms;
        row.touched_ms = now.mono_ms;
        self.version += 1;
        true
    }

    /// `system-event`: makes or changes an entry; `presence` is to be broadcast.
    pub fn system_event(&mut self, event: &SystemEventParams, now: Moment) -> SystemEventOutcome {
        let _ = (event, now);
        SystemEventOutcome::default()
    }

    /// The list as clients see it: newest first, this gateway's own entry at its head. Forgets what has expired.
    pub fn list(&mut self, now: Moment) -> Vec<Entry> {
        let _ = now;
        vec![self.me.clone()]
    }

    fn evict(&mut self) {
        let _ = limits::PRESENCE_ENTRIES;
    }
}

fn over(old: Option<Entry>) -> Entry {
    old.unwrap_or_default()
}

fn client_key(info: &ClientInfo) -> String {
    let key = info.device_id.or(info.client.instance_id.as_deref()).unwrap_or(info.conn_id);
    key.trim().to_lowercase()
}
