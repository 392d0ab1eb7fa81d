//! secrets.reload and secrets.resolve: what references in the configuration lead to (protocol 12, config A2).

use std::sync::Arc;
use std::time::Instant;

use serde_json::{Value, json};

use super::Payload;
use super::context::{Caller, Context, Live, SecretsInForce};
use crate::config::env::Env;
use crate::config::schema::{Schema, steps};
use crate::config::{redact, secret_ref, typed};
use crate::limits;
use crate::protocol::ErrorShape;
use crate::protocol::params::read;
use crate::protocol::params::secrets::SecretsResolveParams;
use crate::store::secrets;
use crate::store::source::FsSource;

/// Asks every provider anew and puts the answers in force; one that fails leaves everything as it is.
pub fn reload(ctx: &Context, _caller: &Caller, _params: Value) -> Result<Payload, ErrorShape> {
    let seen = ctx.live();
    let effective = &*seen.secrets.config;
    let mut env = Env::new(&FsSource, &ctx.paths.state_dir);
    env.add_block(effective);
    let outcome = secrets::resolve(effective, &ctx.paths, &|name| env.get(name));
    let mut warnings = outcome.warnings();
    let resolved = outcome.complete().map_err(|error| {
        log::warn!(target: "secrets", "secrets reload failed, the old ones stay: {}", error.message);
        ErrorShape::unavailable(error.to_string())
    })?;
    if effective.is_null() {
        return Ok(json!({"ok": true, "warningCount": 0}).into());
    }
    let mut config = typed::typed(effective, &resolved, &ctx.paths, &mut Vec::new());
    if config.gateway.auth != seen.config.gateway.auth {
        // Whoever came in with the old secret would stay: a restart ends those sessions (DECISIONS 81).
        config.gateway.auth = seen.config.gateway.auth.clone();
        ctx.restarts.schedule(limits::RESTART_DELAY, "secrets.reload", Instant::now());
        warnings
            .push("the gateway's own token or password has changed: restarting, everybody has to come in anew".into());
    }
    for line in &warnings {
        log::warn!(target: "secrets", "{line}");
    }
    let next = Live {
        config: Arc::new(config),
        auth: seen.auth.clone(),
        origins: seen.origins.clone(),
        env: seen.env.clone(),
        secrets: SecretsInForce { config: seen.secrets.config.clone(), resolved: Arc::new(resolved) },
        max_buffered: seen.max_buffered,
    };
    let mut live = ctx.live.write();
    if !Arc::ptr_eq(&live, &seen) {
        return Err(ErrorShape::unavailable("the configuration changed meanwhile; try again").retry_after(500));
    }
    *live = Arc::new(next);
    drop(live);
    log::info!(target: "secrets", "secrets reloaded");
    Ok(json!({"ok": true, "warningCount": warnings.len()}).into())
}

/// The secrets in force behind the references at some paths, for a command that needs them.
pub fn resolve(ctx: &Context, _caller: &Caller, params: Value) -> Result<Payload, ErrorShape> {
    let params: SecretsResolveParams = read("secrets.resolve", params)?;
    let schema = Schema::new();
    let known = |id: &String| redact::is_secret(&steps(id).collect::<Vec<_>>()) && !schema.at(id).is_empty();
    if let Some(id) = params.target_ids.iter().find(|id| !known(id)) {
        let id: String = id.chars().take(limits::METHOD_NAME_CHARS).collect();
        return Err(ErrorShape::invalid(format!("invalid secrets.resolve params: unknown target id \"{id}\"")));
    }
    let live = ctx.live();
    let (mut assignments, mut diagnostics, mut inactive) = (Vec::new(), Vec::new(), Vec::new());
    for wanted in secret_ref::wanted(&live.secrets.config) {
        if !params.target_ids.iter().any(|id| secret_ref::matches(id, &wanted.steps)) {
            continue;
        }
        if let Some(why) = wanted.inactive {
            diagnostics.push(format!("{}: the secret is not resolved: {why}", wanted.path));
            inactive.push(wanted.path);
            continue;
        }
        match wanted.reference.ok().and_then(|reference| live.secrets.resolved.get(&reference)) {
            Some(secret) => assignments.push(json!({
                "path": wanted.path,
                "pathSegments": wanted.steps,
                "value": secret.expose(),
            })),
            None => diagnostics.push(format!("{}: the secret is not known", wanted.path)),
        }
    }
    Ok(json!({"ok": true, "assignments": assignments, "diagnostics": diagnostics, "inactiveRefPaths": inactive}).into())
}
