//! models.list, and what a session uses when it has not chosen.

use serde_json::Value;

use super::Payload;
use super::context::{Caller, Context, Live};
use crate::agent::models::catalog::{Catalog, ModelRef};
use crate::agent::session;
use crate::limits;
use crate::protocol::ErrorShape;

pub fn list(ctx: &Context, _caller: &Caller, _params: Value) -> Result<Payload, ErrorShape> {
    Ok(with_catalog(ctx, &ctx.live(), |catalog| catalog.models_list()).into())
}

/// Model of the default agent.
pub struct Defaults {
    pub provider: String,
    pub model: String,
    pub context_tokens: u64,
}

/// `live` is the request's one look at the configuration: a reload between two would mix two of them.
pub fn defaults(ctx: &Context, live: &Live) -> Defaults {
    let config = &live.config;
    let chosen = primary_of(ctx, live, config.agents.default_id());
    let listed = config.models.providers.get(&chosen.provider);
    let window = listed.and_then(|p| p.models.iter().find(|m| m.id == chosen.model)).and_then(|m| m.context_window);
    let window = window.unwrap_or(limits::CONTEXT_TOKENS);
    let context_tokens = config.agents.defaults.context_tokens.map_or(window, |cap| window.min(cap));
    Defaults { provider: chosen.provider, model: chosen.model, context_tokens }
}

/// The first model of the default agent's chain.
pub fn primary(ctx: &Context) -> ModelRef {
    let live = ctx.live();
    primary_of(ctx, &live, live.config.agents.default_id())
}

fn primary_of(ctx: &Context, live: &Live, agent: &str) -> ModelRef {
    let dir = session::agent_dir(&live.config, &ctx.paths, agent);
    let chain = with_catalog(ctx, live, |catalog| catalog.chain(agent, &dir));
    chain.into_iter().next().expect("every agent has a model")
}

fn with_catalog<T>(ctx: &Context, live: &Live, run: impl FnOnce(&Catalog<'_>) -> T) -> T {
    let env = |name: &str| live.var(name);
    run(&Catalog { config: &live.config, env: &env, dev: ctx.dev })
}
