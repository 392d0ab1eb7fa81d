//! What the answers change in the configuration. What it has stays unless an answer says otherwise.

use serde_json::{Value, json};

use super::answers::Answers;
use crate::cli::client::now_ms;
use crate::cli::{Context, setup};
use crate::config::get_path;
use crate::config::load::Loaded;
use crate::config::paths::DEFAULT_PORT;
use crate::error::{Error, Result};
use crate::protocol::COMPAT_VERSION;
use crate::store::config_file::Edit;
use crate::store::transcript::iso_time;

pub fn edits(cx: &Context, loaded: &Loaded, answers: &Answers, command: &str) -> Result<Vec<Edit>> {
    let mut edits = Vec::new();
    let now = iso_time(now_ms());
    for (key, value) in [
        ("lastRunAt", now.as_str()),
        ("lastRunVersion", COMPAT_VERSION),
        ("lastRunCommand", command),
        ("lastRunMode", if answers.remote { "remote" } else { "local" }),
    ] {
        edits.push(Edit::set(&format!("wizard.{key}"), value));
    }
    if answers.remote {
        let (url, token) = (answers.remote_url.as_deref(), answers.remote_token.as_deref());
        edits.extend(setup::remote_edits(loaded, url, token)?);
        return Ok(edits);
    }
    edits.extend(setup::local_edits(cx, loaded, true, answers.workspace.as_deref()));
    edits.extend(gateway_edits(loaded, answers)?);
    let absent = |path: &str| get_path::lookup(&loaded.resolved, path).is_none();
    for (path, value) in [("tools.profile", "coding"), ("session.dmScope", "per-channel-peer")] {
        if absent(path) && command == "onboard" {
            edits.push(Edit::set(path, value));
        }
    }
    edits.extend(model_edits(loaded, answers));
    Ok(edits)
}

fn gateway_edits(loaded: &Loaded, answers: &Answers) -> Result<Vec<Edit>> {
    let absent = |path: &str| get_path::lookup(&loaded.resolved, path).is_none();
    let mut edits = Vec::new();
    let mut set = |path: &str, value: Option<Value>, default: Option<Value>| {
        if let Some(value) = value.or_else(|| default.filter(|_| absent(path))) {
            edits.push(Edit::set(path, value));
        }
    };
    let text = |value: &Option<String>| value.clone().map(Value::from);
    if answers.bind.as_deref() == Some("custom") && loaded.config.gateway.custom_bind_host.is_none() {
        return Err(Error::new("--gateway-bind custom needs an address to listen on.")
            .hint("First: openclaw config set gateway.customBindHost 192.168.1.2 (an address of this machine)."));
    }
    set("gateway.port", answers.port.map(Value::from), Some(json!(DEFAULT_PORT)));
    set("gateway.bind", text(&answers.bind), Some(json!("loopback")));
    set("gateway.tailscale.mode", text(&answers.tailscale), Some(json!("off")));
    set("gateway.tailscale.resetOnExit", answers.tailscale_reset.then(|| json!(true)), Some(json!(false)));
    if answers.auth.as_deref() == Some("password") {
        if answers.password.is_none() && loaded.config.gateway.auth.password.is_none() {
            return Err(Error::new("Mode password needs a password.").hint("Add --gateway-password."));
        }
        set("gateway.auth.mode", Some(json!("password")), None);
        set("gateway.auth.password", text(&answers.password), None);
        return Ok(edits);
    }
    if answers.auth.is_some() || answers.token.is_some() {
        set("gateway.auth.mode", Some(json!("token")), None);
        set("gateway.auth.token", answers.token.clone(), Some(json!(setup::new_token())));
    } else if setup::misses_token(loaded) {
        edits.extend(setup::token_edits(loaded));
    }
    Ok(edits)
}

fn model_edits(loaded: &Loaded, answers: &Answers) -> Vec<Edit> {
    let mut edits = Vec::new();
    for (name, key) in &answers.keys {
        edits.push(Edit::set(&format!("env.vars.{name}"), key.as_str()));
    }
    if let Some(custom) = &answers.custom {
        let mut provider = json!({
            "baseUrl": custom.url,
            "api": custom.api,
            "models": [{"id": custom.model, "name": custom.model}],
        });
        if let Some(key) = &custom.key {
            provider["apiKey"] = key.clone();
        }
        let path = ["models", "providers", &custom.id].map(str::to_owned).to_vec();
        edits.push(Edit::Set { path, value: provider });
        if get_path::lookup(&loaded.resolved, "agents.defaults.model").is_none_or(|model| !model.is_string()) {
            edits.push(Edit::set("agents.defaults.model.primary", format!("{}/{}", custom.id, custom.model)));
        } else {
            edits.push(Edit::set("agents.defaults.model", format!("{}/{}", custom.id, custom.model)));
        }
    }
    edits
}
