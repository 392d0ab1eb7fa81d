//! models.list, and what a session uses when it has not chosen.

use serde_json::Value;

use super::Payload;
use super::context::{Caller, Context};
use crate::agent::models::catalog::{Catalog, ModelRef};
use crate::agent::session;
use crate::limits;
use crate::protocol::ErrorShape;

pub fn list(ctx: &Context, _caller: &Caller, _params: Value) -> Result<Payload, ErrorShape> {
    Ok(with_catalog(ctx, |catalog| catalog.models_list()).into())
}

/// Model of the default agent.
pub struct Defaults {
    pub provider: String,
    pub model: String,
    pub context_tokens: u64,
}

pub fn defaults(ctx: &Context) -> Defaults {
    let config = ctx.config();
    let id = config.agents.default_id();
    let chosen = primary(ctx, id);
    let listed = config.models.providers.get(&chosen.provider);
    let window = listed.and_then(|p| p.models.iter().find(|m| m.id == chosen.model)).and_then(|m| m.context_window);
    let window = window.unwrap_or(limits::CONTEXT_TOKENS);
    let context_tokens = config.agents.defaults.context_tokens.map_or(window, |cap| window.min(cap));
    Defaults { provider: chosen.provider, model: chosen.model, context_tokens }
}

/// The first model of an agent's chain.
pub fn primary(ctx: &Context, agent: &str) -> ModelRef {
    let dir = session::agent_dir(&ctx.config(), &ctx.paths, agent);
    let chain = with_catalog(ctx, |catalog| catalog.chain(agent, &dir));
    chain.into_iter().next().expect("every agent has a model")
}

fn with_catalog<T>(ctx: &Context, run: impl FnOnce(&Catalog<'_>) -> T) -> T {
    let live = ctx.live();
    let env = |name: &str| live.var(name);
    run(&Catalog { config: &live.config, env: &env, dev: ctx.dev })
}
