//! One session's entry in `sessions.json`: typed where we use it, raw where we do not (agent 2, DECISIONS 67).
//!
//! Pure data. A field whose type is not the expected one stays in `rest` and is written back as it was.

use std::sync::Arc;

use serde_json::{Map, Value};

/// The reference's two fields that make an entry 15 kB: skipped while reading, copied raw when the file is rewritten.
pub const FAT_FIELDS: [&str; 2] = ["skillsSnapshot", "systemPromptReport"];

/// What `sessions.json` says about one session.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Entry {
    /// Canonical key, lower case; not part of the stored object.
    pub key: Arc<str>,
    /// Agent whose file holds the entry; not part of the stored object.
    pub agent: Arc<str>,
    pub session_id: String,
    /// Milliseconds since 1970.
    pub updated_at: u64,
    /// Absolute path of the transcript. Written for the reference; never used by us to open a file (R23).
    pub session_file: Option<String>,
    /// `direct`, `group` or `channel`.
    pub chat_type: Option<String>,
    /// `{channel,to?,accountId?,threadId?}`
    pub delivery_context: Option<Map<String, Value>>,
    pub last_channel: Option<String>,
    pub last_to: Option<String>,
    pub last_account_id: Option<String>,
    /// `{provider,surface,chatType,label?,from?,to?,accountId?,threadId?}`
    pub origin: Option<Map<String, Value>>,
    pub model_provider: Option<String>,
    pub model: Option<String>,
    pub provider_override: Option<String>,
    pub model_override: Option<String>,
    pub context_tokens: Option<u64>,
    pub input_tokens: Option<u64>,
    pub output_tokens: Option<u64>,
    /// Prompt size of the last call: input + cacheRead + cacheWrite.
    pub total_tokens: Option<u64>,
    pub total_tokens_fresh: Option<bool>,
    pub cache_read: Option<u64>,
    pub cache_write: Option<u64>,
    pub system_sent: Option<bool>,
    pub aborted_last_run: Option<bool>,
    pub thinking_level: Option<String>,
    pub fast_mode: Option<bool>,
    pub verbose_level: Option<String>,
    pub reasoning_level: Option<String>,
    pub elevated_level: Option<String>,
    pub response_usage: Option<String>,
    /// `allow` or `deny`.
    pub send_policy: Option<String>,
    pub label: Option<String>,
    pub display_name: Option<String>,
    pub channel: Option<String>,
    pub subject: Option<String>,
    pub spawned_by: Option<String>,
    pub compaction_count: Option<u64>,
    /// Everything else, in the order of the file.
    pub rest: Map<String, Value>,
}

/// What a session starts with; see `Sessions::begin`.
#[derive(Clone, Debug, Default)]
pub struct NewEntry {
    pub session_id: String,
    pub session_file: String,
    /// The routing fields replace those of an older entry when given.
    pub chat_type: Option<String>,
    pub delivery_context: Option<Map<String, Value>>,
    pub last_channel: Option<String>,
    pub last_to: Option<String>,
    pub last_account_id: Option<String>,
    pub origin: Option<Map<String, Value>>,
    /// An explicit `/new` or `/reset` keeps levels, overrides and label of the older entry; a daily or idle expiry does not (agent 1).
    pub keep_levels: bool,
}

/// One line per typed field: where it lives, what it is called. Order = order in the file.
macro_rules! fields {
    ($apply:ident) => {
        $apply! {
            session_file, "sessionFile", text;
            chat_type, "chatType", text;
            delivery_context, "deliveryContext", object;
            last_channel, "lastChannel", text;
            last_to, "lastTo", text;
            last_account_id, "lastAccountId", text;
            origin, "origin", object;
            model_provider, "modelProvider", text;
            model, "model", text;
            provider_override, "providerOverride", text;
            model_override, "modelOverride", text;
            context_tokens, "contextTokens", number;
            input_tokens, "inputTokens", number;
            output_tokens, "outputTokens", number;
            total_tokens, "totalTokens", number;
            total_tokens_fresh, "totalTokensFresh", flag;
            cache_read, "cacheRead", number;
            cache_write, "cacheWrite", number;
            system_sent, "systemSent", flag;
            aborted_last_run, "abortedLastRun", flag;
            thinking_level, "thinkingLevel", text;
            fast_mode, "fastMode", flag;
            verbose_level, "verboseLevel", text;
            reasoning_level, "reasoningLevel", text;
            elevated_level, "elevatedLevel", text;
            response_usage, "responseUsage", text;
            send_policy, "sendPolicy", text;
            label, "label", text;
            display_name, "displayName", text;
            channel, "channel", text;
            subject, "subject", text;
            spawned_by, "spawnedBy", text;
            compaction_count, "compactionCount", number;
        }
    };
}

impl Entry {
    /// Types a stored object. `FAT_FIELDS` are dropped: they stay in the file.
    pub fn from_map(agent: Arc<str>, key: Arc<str>, mut map: Map<String, Value>) -> Entry {
        for fat in FAT_FIELDS {
            map.shift_remove(fat);
        }
        let mut entry = Entry { key, agent, ..Entry::default() };
        entry.session_id = take::text(&mut map, "sessionId").unwrap_or_default();
        entry.updated_at = take::number(&mut map, "updatedAt").unwrap_or_default();
        macro_rules! read {
            ($($field:ident, $name:literal, $kind:ident;)*) => {
                $(entry.$field = take::$kind(&mut map, $name);)*
            };
        }
        fields!(read);
        entry.rest = map;
        entry
    }

    /// The stored object, without the fat fields.
    pub fn to_map(&self) -> Map<String, Value> {
        let mut map = Map::new();
        if !self.session_id.is_empty() {
            map.insert("sessionId".into(), self.session_id.clone().into());
        }
        // A value that was there in another type (a fraction, a text) is still in `rest`.
        if self.updated_at != 0 || !self.rest.contains_key("updatedAt") {
            map.insert("updatedAt".into(), self.updated_at.into());
        }
        macro_rules! write {
            ($($field:ident, $name:literal, $kind:ident;)*) => {
                $(if let Some(value) = &self.$field {
                    map.insert($name.into(), Value::from(value.clone()));
                })*
            };
        }
        fields!(write);
        for (name, value) in &self.rest {
            if !map.contains_key(name) {
                map.insert(name.clone(), value.clone());
            }
        }
        map
    }

    /// Starts a new session in this entry: id, file and routing from `new`, counters as of a session that has not run.
    pub fn restart(&mut self, now_ms: u64, new: NewEntry) {
        self.session_id = new.session_id;
        self.session_file = Some(new.session_file);
        self.updated_at = now_ms;
        self.chat_type = new.chat_type.or(self.chat_type.take());
        self.delivery_context = new.delivery_context.or(self.delivery_context.take());
        self.last_channel = new.last_channel.or(self.last_channel.take());
        self.last_to = new.last_to.or(self.last_to.take());
        self.last_account_id = new.last_account_id.or(self.last_account_id.take());
        self.origin = new.origin.or(self.origin.take());
        self.system_sent = Some(false);
        self.aborted_last_run = Some(false);
        for counter in [
            &mut self.input_tokens,
            &mut self.output_tokens,
            &mut self.total_tokens,
            &mut self.cache_read,
            &mut self.cache_write,
            &mut self.compaction_count,
        ] {
            *counter = None;
        }
        self.total_tokens_fresh = None;
        if !new.keep_levels {
            for level in [
                &mut self.thinking_level,
                &mut self.verbose_level,
                &mut self.reasoning_level,
                &mut self.provider_override,
                &mut self.model_override,
                &mut self.label,
            ] {
                *level = None;
            }
            self.rest.shift_remove("ttsAuto");
        }
    }
}

mod take {
    use serde_json::{Map, Value};

    pub fn text(map: &mut Map<String, Value>, name: &str) -> Option<String> {
        if !map.get(name)?.is_string() {
            return None;
        }
        match map.shift_remove(name) {
            Some(Value::String(text)) => Some(text),
            _ => None,
        }
    }

    pub fn number(map: &mut Map<String, Value>, name: &str) -> Option<u64> {
        let number = map.get(name)?.as_u64()?;
        map.shift_remove(name);
        Some(number)
    }

    pub fn flag(map: &mut Map<String, Value>, name: &str) -> Option<bool> {
        let flag = map.get(name)?.as_bool()?;
        map.shift_remove(name);
        Some(flag)
    }

    pub fn object(map: &mut Map<String, Value>, name: &str) -> Option<Map<String, Value>> {
        if !map.get(name)?.is_object() {
            return None;
        }
        match map.shift_remove(name) {
            Some(Value::Object(object)) => Some(object),
            _ => None,
        }
    }
}
