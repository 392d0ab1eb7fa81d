//! `GET /v1/models` and `GET /v1/models/{id}` (http 3.5): the agents, as models.

use serde_json::{Value, json};

use super::target::{MODEL, agent_of_model};
use crate::config::Config;
use crate::http::Reply;
use crate::http::query::percent_decoded;
use crate::rpc::context::wall_ms;
use crate::server::http::{Answer, Exchange, Route, api_error, bearer, is_below, refuse_api, unasked};

const PATH: &str = "/v1/models";

pub const MODELS: Route = Route {
    name: PATH,
    claims: |path, live| is_below(path, PATH) && live.config.http.chat.enabled,
    methods: &["GET"],
    guard: bearer,
    max_body: unasked,
    refuse: refuse_api,
    handle,
};

fn handle(exchange: Exchange<'_>) -> Answer {
    let request = exchange.request;
    let config = &request.live.config;
    let created = wall_ms().saturating_sub(request.doors.ctx.uptime_ms()) / 1000;
    let rest = request.head.path().strip_prefix(PATH).unwrap_or_default().trim_matches('/');
    Answer::Now(match rest {
        "" => {
            let data: Vec<Value> = names(config).iter().map(|name| model(name, created)).collect();
            Reply::json(200, &json!({"object": "list", "data": data}))
        }
        id => one(&percent_decoded(id), config, created),
    })
}

fn names(config: &Config) -> Vec<String> {
    let agents = config.agents.ids().into_iter().map(|id| format!("{MODEL}/{id}"));
    let mut names = vec![MODEL.to_owned(), format!("{MODEL}/default")];
    names.extend(agents.filter(|name| *name != names[1]).collect::<Vec<_>>());
    names
}

fn one(id: &str, config: &Config, created: u64) -> Reply {
    let agent = agent_of_model(id);
    let known = id.eq_ignore_ascii_case(MODEL)
        || agent.is_some_and(|agent| {
            agent.eq_ignore_ascii_case("default") || config.agents.knows(&agent.to_ascii_lowercase())
        });
    match agent {
        _ if known => Reply::json(200, &model(id, created)),
        Some(_) => api_error(404, &format!("Model '{id}' not found."), "invalid_request_error"),
        None => api_error(400, "Invalid model id.", "invalid_request_error"),
    }
}

fn model(id: &str, created: u64) -> Value {
    json!({"id": id, "object": "model", "created": created, "owned_by": MODEL, "permission": []})
}
