//! `openclaw setup`: configuration, workspace and sessions of a first start. What is there stays; needs no gateway.

use std::path::PathBuf;

use serde_json::json;

use super::tree::Setup as Args;
use super::{Context, target};
use crate::agent::{session, workspace};
use crate::config::load::{self, Loaded};
use crate::config::{AuthMode, get_path};
use crate::error::{Error, Result};
use crate::store::config_file::{self, Edit, WriteError, WriteOptions};
use crate::store::source::FsSource;
use crate::store::{atomic, transcript};
use crate::{err, ids, out};

pub fn run(cx: &Context, args: &Args) -> Result<u8> {
    if args.wizard {
        err!("This version asks no questions: the defaults are written, change them with openclaw config set.");
    }
    let remote = is_remote(args)?;
    let loaded = cx.loaded();
    if !loaded.valid() {
        return Err(Error::new(loaded.invalid_block(&cx.paths)));
    }
    let edits = match remote {
        true => remote_edits(loaded, args.remote_url.as_deref(), args.remote_token.as_deref())?,
        false => {
            let mut edits = local_edits(cx, loaded, args.mode.is_some(), args.workspace.as_deref());
            if misses_token(loaded) {
                edits.extend(token_edits(loaded));
            }
            edits
        }
    };
    let shown = cx.short(&cx.paths.config_path);
    if edits.is_empty() {
        out!("Config OK: {shown}");
    } else {
        write(cx, &edits)?;
        out!("{} {shown}", if loaded.exists { "Updated" } else { "Wrote" });
    }
    if remote {
        return Ok(0);
    }
    let (dir, sessions) = directories(cx)?;
    out!("Workspace OK: {}", cx.short(&dir));
    out!("Sessions OK: {}", cx.short(&sessions));
    Ok(0)
}

/// Makes workspace and directory of sessions as the configuration has them now.
pub(super) fn directories(cx: &Context) -> Result<(PathBuf, PathBuf)> {
    let now = load::load(&cx.paths, &FsSource);
    let agent = now.config.agents.default_id();
    let dir = workspace::directory(&now.config, &cx.paths, agent);
    let failed = |what: &str, e: std::io::Error| {
        Error::new(format!("{what} cannot be created: {e}")).hint("Check the directory's owner and free space.")
    };
    let made = match now.config.agents.defaults.skip_bootstrap {
        true => atomic::create_dirs(&dir),
        false => workspace::ensure(&dir, &transcript::iso_time(super::client::now_ms())),
    };
    made.map_err(|e| failed(&cx.short(&dir), e))?;
    let store = session::store_file(&now.config, &cx.paths, agent);
    let sessions = atomic::parent(&store).to_owned();
    atomic::create_dirs(&sessions).map_err(|e| failed(&cx.short(&sessions), e))?;
    Ok((dir, sessions))
}

/// Writes the configuration and says on standard error what the writer has to say.
pub(super) fn write(cx: &Context, edits: &[Edit]) -> Result<()> {
    let written = config_file::write(&cx.paths, &FsSource, edits, &WriteOptions::default());
    let written = written.map_err(|error| not_written(cx, &error))?;
    for line in written.lines.iter().filter(|line| !line.starts_with("Config overwrite: ")) {
        err!("{line}");
    }
    Ok(())
}

pub(super) fn not_written(cx: &Context, error: &WriteError) -> Error {
    Error::new(format!("{} was not written: {error}", cx.short(&cx.paths.config_path)))
        .hint("The old file is as it was. Check owner, mode and free space of its directory, then try again.")
}

fn is_remote(args: &Args) -> Result<bool> {
    match args.mode.as_deref().map(str::trim) {
        None => Ok(args.remote_url.is_some()),
        Some("local") => Ok(false),
        Some("remote") => Ok(true),
        Some(other) => Err(Error::new(format!("Invalid --mode \"{other}\" (use \"local\" or \"remote\")"))),
    }
}

/// This machine uses the gateway of another one.
pub(super) fn remote_edits(loaded: &Loaded, url: Option<&str>, token: Option<&str>) -> Result<Vec<Edit>> {
    let given = |text: Option<&str>| text.map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned);
    if let Some(url) = given(url) {
        target::check_remote(&url, &|name| loaded.var(&FsSource, name))?;
    }
    let url = given(url).or_else(|| loaded.config.gateway.remote_url.clone());
    let url = url.ok_or_else(|| {
        Error::new("--mode remote needs the address of the gateway")
            .hint("Add --remote-url ws://127.0.0.1:18789 (an ssh tunnel) and --remote-token.")
    })?;
    let mut edits = Vec::new();
    let mut set = |path: &str, value: String| {
        if get_path::lookup(&loaded.resolved, path) != Some(&json!(value)) {
            edits.push(Edit::set(path, value));
        }
    };
    set("gateway.mode", "remote".into());
    set("gateway.remote.url", url);
    if let Some(token) = given(token) {
        set("gateway.remote.token", token);
    }
    Ok(edits)
}

/// This machine runs the gateway. `switch`: also where the configuration says otherwise.
pub(super) fn local_edits(cx: &Context, loaded: &Loaded, switch: bool, workspace: Option<&str>) -> Vec<Edit> {
    let at = |path: &str| get_path::lookup(&loaded.resolved, path);
    let mut edits = Vec::new();
    if at("gateway.mode").is_none() || switch && at("gateway.mode") != Some(&json!("local")) {
        edits.push(Edit::set("gateway.mode", "local"));
    }
    let wanted = workspace.map(str::trim).filter(|dir| !dir.is_empty()).map(|dir| {
        let dir = cx.paths.expand(dir);
        std::path::absolute(&dir).unwrap_or(dir)
    });
    let default = || cx.paths.agent_workspace(loaded.config.agents.default_id(), true);
    let dir = wanted.or_else(|| at("agents.defaults.workspace").is_none().then(default));
    if let Some(dir) = dir.map(|dir| dir.display().to_string())
        && at("agents.defaults.workspace") != Some(&json!(dir))
    {
        edits.push(Edit::set("agents.defaults.workspace", dir));
    }
    edits
}

/// Clients have to show a token, and there is none: neither in the configuration nor in the environment.
pub(super) fn misses_token(loaded: &Loaded) -> bool {
    let auth = &loaded.config.gateway.auth;
    let by_token = match auth.mode {
        Some(mode) => mode == AuthMode::Token,
        None => auth.password.is_none(),
    };
    let written = get_path::lookup(&loaded.resolved, "gateway.auth.token");
    let blank = written.is_none_or(|value| value.is_null() || value.as_str().is_some_and(|t| t.trim().is_empty()));
    let var = |name: &str| loaded.var(&FsSource, name).is_some();
    by_token && blank && !var("OPENCLAW_GATEWAY_TOKEN") && !var("CLAWDBOT_GATEWAY_TOKEN")
}

/// 48 hex digits.
pub(super) fn new_token() -> String {
    ids::hex(&ids::random_bytes::<24>())
}

/// A new token, and that it counts.
pub(super) fn token_edits(loaded: &Loaded) -> Vec<Edit> {
    let mode = loaded.config.gateway.auth.mode.is_none().then(|| Edit::set("gateway.auth.mode", "token"));
    mode.into_iter().chain([Edit::set("gateway.auth.token", new_token())]).collect()
}
