//! `POST /tools/invoke` (http 5): one use of one tool, as an agent would have it.
//!
//! A tool that there is not and one that this caller may not have get the same answer (LESSONS R17).

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::{Answer, Exchange, Route, api_error, bearer, json_body, refuse_api};
use crate::agent::keys::{self, Route as Session};
use crate::agent::tools::{self, Call, Output, ToolError};
use crate::config::Config;
use crate::http::Reply;
use crate::limits;
use crate::policy::tools::Asker;

pub const INVOKE: Route = Route {
    name: "/tools/invoke",
    claims: |path, _| path == "/tools/invoke",
    methods: &["POST"],
    guard: bearer,
    max_body: |_| limits::TOOL_BODY_BYTES,
    refuse: refuse_api,
    handle,
};

/// What a body asks for.
struct Invoke {
    tool: String,
    action: Option<Value>,
    args: Map<String, Value>,
    session: Session,
    dry_run: bool,
}

fn handle(exchange: Exchange<'_>) -> Answer {
    let request = exchange.request;
    let (ctx, config) = (&request.doors.ctx, &request.live.config);
    let mut invoke = match read(&exchange.body.bytes, config) {
        Ok(invoke) => invoke,
        Err(message) => return Answer::Now(api_error(400, &message, "invalid_request_error")),
    };
    let session = &invoke.session;
    let asker = Asker { agent: &session.agent, subagent: tools::is_subagent(&session.key), model: None, http: true };
    let Some(tool) = tools::offered(config, asker).find(|tool| tool.name == invoke.tool) else {
        return Answer::Now(refusal(404, "not_found", &format!("Tool not available: {}", invoke.tool)));
    };
    if let Some(action) = invoke.action.take()
        && (tool.parameters)()["properties"].get("action").is_some()
    {
        invoke.args.entry("action").or_insert(action);
    }
    if invoke.dry_run {
        return Answer::Now(result(&Output::json(json!({"status": "dry-run", "tool": tool.name}))));
    }
    let theirs = ctx.clone();
    let stopping = Arc::new(move || theirs.is_draining());
    let call = Call { toolbox: &ctx.tools, config, asker: &invoke.session, args: &invoke.args, stopping };
    let outcome = (tool.run)(&call);
    ctx.metrics.tools.count(tool.name, if outcome.is_ok() { "completed" } else { "error" });
    Answer::Now(match outcome {
        Ok(output) => result(&output),
        Err(ToolError::Input(message)) => refusal(400, "tool_error", &message),
        Err(ToolError::Failed(message)) => {
            log::warn!(target: "tools", "{}: {message}", tool.name);
            refusal(500, "tool_error", &message)
        }
    })
}

/// Err: what the caller is told.
fn read(bytes: &[u8], config: &Config) -> Result<Invoke, String> {
    let body = json_body(bytes)?;
    let text = |name: &str| body.get(name).and_then(Value::as_str).map(str::trim).filter(|text| !text.is_empty());
    let tool = text("tool").or_else(|| text("name")).ok_or("tools.invoke requires body.tool")?.to_owned();
    let agent = match text("agentId") {
        Some(given) => Some(known_agent(&keys::agent_id(given), given, config)?),
        None => None,
    };
    let session = match (text("sessionKey"), agent) {
        (None | Some(keys::MAIN), agent) => {
            keys::main_of(agent.as_deref().unwrap_or(config.agents.default_id()), config)
        }
        (Some(key), agent) => {
            let session = keys::canonical(key, config).map_err(|_| format!("malformed session key \"{key}\""))?;
            if agent.is_some_and(|agent| agent != session.agent) {
                return Err(format!("agentId does not match the agent of session key \"{key}\""));
            }
            known_agent(&session.agent, &session.agent, config)?;
            session
        }
    };
    Ok(Invoke {
        tool,
        action: text("action").map(Value::from),
        args: body.get("args").and_then(Value::as_object).cloned().unwrap_or_default(),
        session,
        dry_run: body.get("dryRun").and_then(Value::as_bool).unwrap_or(false),
    })
}

fn known_agent(id: &str, given: &str, config: &Config) -> Result<String, String> {
    config.agents.knows(id).then(|| id.to_owned()).ok_or_else(|| format!("Unknown agent '{given}'."))
}

fn result(output: &Output) -> Reply {
    let content = json!([{"type": "text", "text": output.text}]);
    Reply::json(200, &json!({"ok": true, "result": {"content": content, "details": output.details}}))
}

fn refusal(status: u16, kind: &str, message: &str) -> Reply {
    Reply::json(status, &json!({"ok": false, "error": {"type": kind, "message": message}}))
}
