//! agent, agent.wait and chat.*: handed to the owner of runs or to the hub, who answer.

use std::sync::Arc;

use serde_json::Value;

use super::Payload;
use super::context::{Caller, Context, wall_ms};
use crate::agent::{history as transcripts, keys, runs};
use crate::hub::reply::Reply;
use crate::hub::run_events::{AbortRuns, RunEvent};
use crate::protocol::ErrorShape;
use crate::protocol::params::agent::{AgentParams, AgentWaitParams};
use crate::protocol::params::chat::{ChatAbortParams, ChatHistoryParams, ChatInjectParams, ChatSendParams};
use crate::protocol::params::read;
use crate::protocol::roles;

/// `agent.wait` without a time-out of its own.
const WAIT_MS: u64 = 30_000;

pub fn agent(ctx: &Arc<Context>, caller: &Arc<Caller>, params: Value, reply: Reply) {
    match read::<AgentParams>("agent", params) {
        Ok(params) => ctx.runs.agent(params, who(caller), reply),
        Err(error) => reply.err(&error),
    }
}

pub fn agent_wait(ctx: &Arc<Context>, _caller: &Arc<Caller>, params: Value, reply: Reply) {
    match read::<AgentWaitParams>("agent.wait", params) {
        Ok(params) => {
            let timeout_ms = params.timeout_ms.unwrap_or(WAIT_MS);
            ctx.hub.run(RunEvent::Wait { run_id: params.run_id, timeout_ms, reply });
        }
        Err(error) => reply.err(&error),
    }
}

pub fn send(ctx: &Arc<Context>, caller: &Arc<Caller>, params: Value, reply: Reply) {
    match read::<ChatSendParams>("chat.send", params) {
        Ok(params) => ctx.runs.chat_send(params, who(caller), reply),
        Err(error) => reply.err(&error),
    }
}

pub fn inject(ctx: &Arc<Context>, _caller: &Arc<Caller>, params: Value, reply: Reply) {
    match read::<ChatInjectParams>("chat.inject", params) {
        Ok(params) => ctx.runs.inject(params, reply),
        Err(error) => reply.err(&error),
    }
}

/// Callers without operator.admin abort what they started themselves.
pub fn abort(ctx: &Arc<Context>, caller: &Arc<Caller>, params: Value, reply: Reply) {
    let route = read::<ChatAbortParams>("chat.abort", params)
        .and_then(|p| Ok((keys::route_chat("chat.abort", &p.session_key, &ctx.config())?.key, p.run_id)));
    match route {
        Ok((key, run_id)) => {
            let admin = caller.scopes.covers(roles::ADMIN);
            let own = (caller.conn_id.clone(), caller.device_id.clone());
            ctx.hub.run(RunEvent::Abort(AbortRuns {
                session_key: Some(key.into()),
                run_id,
                stop_reason: "rpc",
                at_ms: wall_ms(),
                only_of: (!admin).then_some(own),
                reply: Some(reply),
            }));
        }
        Err(error) => reply.err(&error),
    }
}

pub fn history(ctx: &Context, _caller: &Caller, params: Value) -> Result<Payload, ErrorShape> {
    let params: ChatHistoryParams = read("chat.history", params)?;
    let limit = params.limit.map(|n| n as usize);
    transcripts::chat_history(&ctx.sessions, &ctx.config(), &ctx.paths, &params.session_key, limit).map(Into::into)
}

fn who(caller: &Caller) -> runs::Caller {
    runs::Caller {
        conn_id: caller.conn_id.clone(),
        device_id: caller.device_id.clone(),
        admin: caller.scopes.covers(roles::ADMIN),
    }
}
