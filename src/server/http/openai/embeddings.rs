//! `POST /v1/embeddings` (http 3.6): passed on to a provider that speaks OpenAI's format.
//!
//! Runs on the connection's thread, which waits for the provider with a deadline.

use serde_json::{Map, Value, json};

use super::parse_body;
use super::target::{given, named_model, with_catalog};
use crate::agent::models::embeddings;
use crate::agent::models::fault::Reason;
use crate::agent::session;
use crate::config::Api;
use crate::http::{Bytes, Reply};
use crate::server::http::{Answer, Exchange, Route, api_error, bearer, refuse_api};

/// What is passed on as it is.
const PASSED: [&str; 4] = ["input", "dimensions", "encoding_format", "user"];
const NO_MODEL: &str = "No embedding model is named: set `model` or the header x-openclaw-model to <provider>/<model> of a \
                        provider in `models.providers` that speaks openai-completions.";

pub const EMBEDDINGS: Route = Route {
    name: "/v1/embeddings",
    claims: |path, live| path == "/v1/embeddings" && live.config.http.chat.enabled,
    methods: &["POST"],
    guard: bearer,
    max_body: |live| live.config.http.chat.max_body_bytes,
    refuse: refuse_api,
    handle,
};

fn handle(exchange: Exchange<'_>) -> Answer {
    Answer::Now(answer(&exchange).unwrap_or_else(|refused| refused))
}

fn answer(exchange: &Exchange<'_>) -> Result<Reply, Reply> {
    let request = exchange.request;
    let refuse = |text: &str| api_error(400, text, "invalid_request_error");
    let body = parse_body(&exchange.body.bytes)?;
    if !is_input(&body["input"]) {
        return Err(refuse("`input` must be a string or an array of strings."));
    }
    let named = given(&request.head, "x-openclaw-model").or_else(|| body["model"].as_str().map(str::trim));
    let named =
        named.filter(|name| name.contains('/') && !name.starts_with("openclaw/")).ok_or_else(|| refuse(NO_MODEL))?;
    let endpoint = with_catalog(request, |catalog| {
        let agent = catalog.config.agents.default_id();
        let directory = session::agent_dir(catalog.config, &request.doors.ctx.paths, agent);
        let id = named_model(named, catalog, &directory)?;
        catalog.endpoint(&id, &directory).map_err(|why| refuse(why.text()))
    })?;
    if endpoint.api != Api::OpenAiCompletions {
        let text = format!("{} has no embeddings: its provider does not speak openai-completions.", endpoint.id);
        return Err(refuse(&text));
    }
    let mut asked = Map::new();
    asked.insert("model".into(), json!(endpoint.id.model));
    for key in PASSED {
        if let Some(value) = body.get(key).filter(|value| !value.is_null()) {
            asked.insert(key.into(), value.clone());
        }
    }
    match embeddings::ask(&endpoint, &Value::Object(asked)) {
        Ok(bytes) => Ok(Reply::bytes(200, "application/json; charset=utf-8", Bytes::Own(bytes))),
        Err(error) => {
            log::warn!("embeddings {}: {}", endpoint.id, error.raw_text());
            let status = match error.kind {
                Reason::Format | Reason::ModelNotFound => 400,
                kind => kind.http_status(),
            };
            let kind = if status == 400 { "invalid_request_error" } else { "api_error" };
            let reply = api_error(status, &error.user_text(&endpoint.id.provider), kind);
            Err(match error.retry_after {
                Some(time) => reply.header("Retry-After", time.as_secs().max(1).to_string()),
                None => reply,
            })
        }
    }
}

/// Texts, or the tokens that OpenAI's own clients make of them.
fn is_input(input: &Value) -> bool {
    let tokens = |value: &Value| value.as_array().is_some_and(|list| list.iter().all(Value::is_u64));
    match input {
        Value::String(_) => true,
        Value::Array(list) if list.is_empty() => false,
        Value::Array(list) => list.iter().all(Value::is_string) || tokens(input) || list.iter().all(tokens),
        _ => false,
    }
}
