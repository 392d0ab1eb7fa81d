//! The health snapshot (protocol 6): from counts in memory, so that it costs the same with 10,000 sessions as with none.

use std::sync::Arc;

use parking_lot::RwLock;
use serde_json::{Value, json};

use super::context::Live;
use crate::config::Heartbeat;
use crate::hub::HealthSource;
use crate::ids;
use crate::store::sessions::{AgentSummary, Sessions};

/// Sessions shown per agent.
const RECENT: usize = 5;

pub struct Health {
    pub live: Arc<RwLock<Arc<Live>>>,
    pub sessions: Sessions,
}

impl HealthSource for Health {
    fn build(&self, now_ms: u64) -> (Vec<u8>, u64) {
        let live = self.live.read().clone();
        let config = &live.config;
        let summary = self.sessions.summary();
        let default = config.agents.default_id();
        let agents: Vec<Value> = config
            .agents
            .ids()
            .into_iter()
            .map(|id| {
                let own = config.agents.get(id);
                let heartbeat = own.and_then(|a| a.heartbeat.as_ref()).unwrap_or(&config.agents.defaults.heartbeat);
                let mut agent = json!({"agentId": id});
                if let Some(name) = own.and_then(|a| a.name.as_deref()) {
                    agent["name"] = name.into();
                }
                agent["isDefault"] = (id == default).into();
                agent["heartbeat"] = heartbeat_json(heartbeat);
                agent["sessions"] = sessions_json(summary.agents.iter().find(|a| &*a.agent == id), now_ms);
                agent
            })
            .collect();
        let mut health = json!({
            "ok": true,
            "ts": now_ms,
            "durationMs": 0,
            "channels": {},
            "channelOrder": [],
            "channelLabels": {},
            "heartbeatSeconds": 0,
            "defaultAgentId": default,
            "agents": agents,
            "sessions": sessions_json(summary.agents.iter().find(|a| &*a.agent == default), now_ms),
        });
        let text = health.to_string().into_bytes();
        forget_times(&mut health);
        let digest = ids::sha256(health.to_string().as_bytes());
        (text, u64::from_be_bytes(digest[..8].try_into().expect("eight of 32 bytes")))
    }
}

fn heartbeat_json(heartbeat: &Heartbeat) -> Value {
    let mut out = json!({"enabled": false, "every": heartbeat.every, "everyMs": heartbeat.every_ms});
    out["prompt"] = heartbeat.prompt.as_deref().unwrap_or("").into();
    out["target"] = heartbeat.target.as_str().into();
    out["ackMaxChars"] = heartbeat.ack_max_chars.into();
    if let Some(model) = &heartbeat.model {
        out["model"] = model.as_str().into();
    }
    out
}

fn sessions_json(summary: Option<&AgentSummary>, now_ms: u64) -> Value {
    let Some(summary) = summary else { return json!({"path": "", "count": 0, "recent": []}) };
    let recent: Vec<Value> = summary
        .recent
        .iter()
        .take(RECENT)
        .map(|e| json!({"key": &*e.key, "updatedAt": e.updated_at, "age": now_ms.saturating_sub(e.updated_at)}))
        .collect();
    json!({"path": summary.path, "count": summary.count, "recent": recent})
}

/// What passes by itself is no change worth an event.
fn forget_times(value: &mut Value) {
    match value {
        Value::Object(map) => {
            for name in ["ts", "age", "durationMs"] {
                map.remove(name);
            }
            map.values_mut().for_each(forget_times);
        }
        Value::Array(items) => items.iter_mut().for_each(forget_times),
        _ => {}
    }
}
