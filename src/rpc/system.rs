//! health, status, presence, heartbeats, logs, identity – and the honest empty answers of parts that are not built.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use jiff::civil::Date;
use serde_json::{Value, json};

use super::context::{Caller, Context, wall_ms};
use super::{Payload, models, sessions};
use crate::hub::{Event, reply::Reply};
use crate::protocol::params::system::{LogsTailParams, SystemEventParams, UsageCostParams, read_set_heartbeats};
use crate::protocol::params::{agents::SkillsStatusParams, cron, read, read_lenient, sessions::SessionsUsageParams};
use crate::protocol::roles;
use crate::protocol::{COMPAT_VERSION, ErrorShape};
use crate::store::identity;
use crate::sys::zone;
use crate::{agent, limits, sort};

/// Days of usage that are looked at when nobody says how many, today included.
const DEFAULT_DAYS: u64 = 30;

type Answer = Result<Payload, ErrorShape>;

/// The snapshot that the hub has published: no look at any session.
pub fn health(ctx: &Context, _caller: &Caller, _params: Value) -> Answer {
    Ok(Payload::Text(ctx.hub.snapshot().health.clone()))
}

pub fn system_presence(ctx: &Context, _caller: &Caller, _params: Value) -> Answer {
    Ok(Payload::Text(ctx.hub.snapshot().presence.clone()))
}

pub fn system_event(ctx: &Arc<Context>, _caller: &Arc<Caller>, params: Value, reply: Reply) {
    match SystemEventParams::read(&params) {
        Ok(event) => ctx.hub.send(Event::SystemEvent { event: Box::new(event), reply }),
        Err(error) => reply.err(&error),
    }
}

/// Callers without operator.admin see counts, not paths or sessions (protocol 12).
pub fn status(ctx: &Context, caller: &Caller, _params: Value) -> Answer {
    let live = ctx.live();
    let config = &live.config;
    let now = wall_ms();
    let full = caller.scopes.covers(roles::ADMIN);
    let summary = ctx.sessions.summary();
    let defaults = models::defaults(ctx, &live);
    let hidden = || json!([]);
    let by_agent: Vec<Value> = summary
        .agents
        .iter()
        .map(|a| {
            let recent: Vec<Value> = a.recent.iter().map(|e| sessions::status_row(e, now)).collect();
            json!({
                "agentId": &*a.agent,
                "path": if full { a.path.to_string_lossy().into_owned() } else { "[redacted]".into() },
                "count": a.count,
                "recent": if full { recent.into() } else { hidden() },
            })
        })
        .collect();
    let mut recent: Vec<_> = summary.agents.iter().flat_map(|a| a.recent.iter()).collect();
    sort::by_key(&mut recent, |e| std::cmp::Reverse(e.updated_at));
    let recent: Vec<Value> = recent.into_iter().take(10).map(|e| sessions::status_row(e, now)).collect();
    let paths: Vec<String> = summary.agents.iter().map(|a| a.path.to_string_lossy().into_owned()).collect();
    let main = agent::keys::main_of(config.agents.default_id(), config).key;
    Ok(json!({
        "runtimeVersion": COMPAT_VERSION,
        "heartbeat": {
            "defaultAgentId": config.agents.default_id(),
            "agents": config.agents.ids().into_iter().map(|id| heartbeat_row(ctx, id)).collect::<Vec<_>>(),
        },
        "channelSummary": [],
        "queuedSystemEvents": ctx.system_events.texts(&main),
        "sessions": {
            "paths": if full { json!(paths) } else { hidden() },
            "count": summary.agents.iter().map(|a| a.count).sum::<usize>(),
            "defaults": if full {
                json!({"model": defaults.model, "contextTokens": defaults.context_tokens})
            } else {
                json!({"model": null, "contextTokens": null})
            },
            "recent": if full { recent.into() } else { hidden() },
            "byAgent": by_agent,
        },
    })
    .into())
}

/// Heartbeats are not run yet: they are shown as what they are, not enabled.
fn heartbeat_row(ctx: &Context, id: &str) -> Value {
    let config = ctx.config();
    let own = config.agents.get(id).and_then(|a| a.heartbeat.clone());
    let heartbeat = own.unwrap_or_else(|| config.agents.defaults.heartbeat.clone());
    json!({"agentId": id, "enabled": false, "every": heartbeat.every, "everyMs": heartbeat.every_ms})
}

pub fn last_heartbeat(_ctx: &Context, _caller: &Caller, _params: Value) -> Answer {
    Ok(Value::Null.into())
}

pub fn set_heartbeats(ctx: &Context, _caller: &Caller, params: Value) -> Answer {
    let enabled = read_set_heartbeats(&params)?;
    ctx.heartbeats.store(enabled, Ordering::Relaxed);
    Ok(json!({"ok": true, "enabled": enabled}).into())
}

pub fn logs_tail(ctx: &Context, _caller: &Caller, params: Value) -> Answer {
    let params: LogsTailParams = read("logs.tail", params)?;
    let limit = params.limit.map_or(limits::TAIL_LINES, |n| n as usize);
    let max_bytes = params.max_bytes.unwrap_or(limits::TAIL_BYTES);
    let tail = ctx.log.tail(params.cursor, limit, max_bytes);
    let tail = tail.map_err(|e| ErrorShape::unavailable(format!("log read failed: {e}")))?;
    serde_json::to_value(&tail).map(Into::into).map_err(|e| ErrorShape::unavailable(e.to_string()))
}

pub fn gateway_identity_get(ctx: &Context, _caller: &Caller, _params: Value) -> Answer {
    let identity = identity::Identity::load_or_create(&ctx.paths.state_dir, wall_ms());
    let identity = identity.map_err(|e| ErrorShape::unavailable(format!("device identity not readable: {e}")))?;
    Ok(json!({"deviceId": identity.device_id(), "publicKey": identity.public_key()}).into())
}

pub fn channels_status(_ctx: &Context, _caller: &Caller, _params: Value) -> Answer {
    Ok(json!({
        "ts": wall_ms(),
        "channelOrder": [],
        "channelLabels": {},
        "channelDetailLabels": {},
        "channelSystemImages": {},
        "channelMeta": [],
        "channels": {},
        "channelAccounts": {},
        "channelDefaultAccountId": {},
    })
    .into())
}

pub fn node_list(_ctx: &Context, _caller: &Caller, _params: Value) -> Answer {
    Ok(json!({"ts": wall_ms(), "nodes": []}).into())
}

pub fn cron_status(ctx: &Context, _caller: &Caller, _params: Value) -> Answer {
    let store = ctx.paths.state_dir.join("cron").join("jobs.json");
    Ok(json!({"enabled": false, "storePath": store, "jobs": 0, "nextWakeAtMs": null}).into())
}

pub fn cron_list(_ctx: &Context, caller: &Caller, params: Value) -> Answer {
    let params: cron::CronListParams = read("cron.list", params)?;
    let mut page = empty_page("jobs", params.limit, params.offset);
    if caller.protocol >= 4 {
        // The newer command line takes no inventory without these.
        page["snapshotRevision"] = "0".into();
        page["deliveryPreviews"] = json!({});
    }
    Ok(page.into())
}

pub fn cron_runs(_ctx: &Context, _caller: &Caller, params: Value) -> Answer {
    let params: cron::CronRunsParams = read("cron.runs", params)?;
    Ok(empty_page("entries", params.limit, params.offset).into())
}

fn empty_page(items: &str, limit: Option<u64>, offset: Option<u64>) -> Value {
    let mut page = serde_json::Map::new();
    page.insert(items.into(), json!([]));
    page.insert("total".into(), 0.into());
    page.insert("offset".into(), offset.unwrap_or(0).into());
    page.insert("limit".into(), limit.unwrap_or(50).into());
    page.insert("hasMore".into(), false.into());
    page.insert("nextOffset".into(), Value::Null);
    page.into()
}

pub fn skills_status(ctx: &Context, _caller: &Caller, params: Value) -> Answer {
    let params: SkillsStatusParams = read("skills.status", params)?;
    let config = ctx.config();
    let id = params.agent_id.as_deref().unwrap_or(config.agents.default_id());
    if !config.agents.knows(id) {
        return Err(ErrorShape::invalid(format!("unknown agent id \"{id}\"")));
    }
    let workspace = crate::agent::workspace::directory(&config, &ctx.paths, id);
    let managed = ctx.paths.state_dir.join("skills");
    Ok(json!({"workspaceDir": workspace, "managedSkillsDir": managed, "skills": []}).into())
}

pub fn exec_approvals_get(ctx: &Context, _caller: &Caller, _params: Value) -> Answer {
    let path = ctx.paths.state_dir.join("exec-approvals.json");
    Ok(json!({
        "path": path,
        "exists": false,
        "hash": crate::ids::sha256_hex(b""),
        "file": {"version": 1, "defaults": {}, "agents": {}},
    })
    .into())
}

pub fn usage_status(_ctx: &Context, _caller: &Caller, _params: Value) -> Answer {
    Ok(json!({"updatedAt": wall_ms(), "providers": []}).into())
}

pub fn usage_cost(_ctx: &Context, _caller: &Caller, params: Value) -> Answer {
    let params: UsageCostParams = read_lenient(params);
    let date = |text: Option<String>| text?.parse::<Date>().ok();
    let range = date(params.start_date).zip(date(params.end_date));
    let range = range.and_then(|(first, last)| u64::try_from((last - first).get_days()).ok());
    // The reference counts one more than there are dates in the range.
    let dates = range.map_or(params.days.unwrap_or(DEFAULT_DAYS), |between| between + 1);
    let days = dates.saturating_add(1);
    Ok(json!({"updatedAt": wall_ms(), "days": days, "daily": [], "totals": no_usage()}).into())
}

pub fn sessions_usage(_ctx: &Context, _caller: &Caller, params: Value) -> Answer {
    let params: SessionsUsageParams = read("sessions.usage", params)?;
    let last = params.end_date.unwrap_or_else(|| jiff::Timestamp::now().to_zoned(zone::local()).date().to_string());
    let first = params.start_date.unwrap_or_else(|| {
        let days = jiff::Span::new().days(DEFAULT_DAYS as i64 - 1);
        last.parse::<Date>().ok().and_then(|last| last.checked_sub(days).ok()).map_or(last.clone(), |d| d.to_string())
    });
    Ok(json!({
        "updatedAt": wall_ms(),
        "startDate": first,
        "endDate": last,
        "sessions": [],
        "totals": no_usage(),
        "aggregates": {
            "messages": {"total": 0, "user": 0, "assistant": 0, "toolCalls": 0, "toolResults": 0, "errors": 0},
            "tools": {"totalCalls": 0, "uniqueTools": 0, "tools": []},
            "byModel": [],
            "byProvider": [],
            "byAgent": [],
            "byChannel": [],
            "dailyLatency": [],
            "modelDaily": [],
            "daily": [],
        },
    })
    .into())
}

fn no_usage() -> Value {
    json!({
        "input": 0, "output": 0, "cacheRead": 0, "cacheWrite": 0, "totalTokens": 0, "totalCost": 0,
        "inputCost": 0, "outputCost": 0, "cacheReadCost": 0, "cacheWriteCost": 0, "missingCostEntries": 0,
    })
}
