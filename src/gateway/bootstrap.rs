//! The only things that a start writes: what `--dev` and `--reset` ask for, the first token, and the copy of a
//! configuration that worked (DECISIONS 73, 77, 98).

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::settings::Settings;
use crate::agent::workspace;
use crate::config::get_path::lookup;
use crate::config::{AuthMode, Loaded, Paths, render};
use crate::error::{Error, Result};
use crate::rpc::context::wall_ms;
use crate::secret::Secret;
use crate::store::atomic;
use crate::store::config_file::{self, Edit, WriteOptions};
use crate::store::source::FsSource;
use crate::{ids, limits};

/// `gateway --dev`, or the dev profile: configuration and workspace, if there is no configuration.
pub fn prepare_dev(paths: &Paths) -> Result<Vec<String>> {
    if paths.config_path.exists() {
        return Ok(Vec::new());
    }
    let dir = paths.dev_workspace();
    let text = render::print_file(&render::dev_config(&dir));
    let failed = |what: &str, e: &dyn std::fmt::Display| {
        Error::new(format!("{what} cannot be created: {e}")).hint("Check the directory's owner and free space.")
    };
    config_file::write(paths, &FsSource, &[Edit::Replace(text)], &WriteOptions::default())
        .map_err(|e| failed(&paths.tilde(&paths.config_path), &e))?;
    workspace::ensure_dev(&dir).map_err(|e| failed(&paths.tilde(&dir), &e))?;
    Ok(vec![
        format!("Dev config ready: {}", paths.tilde(&paths.config_path)),
        format!("Dev workspace ready: {}", paths.tilde(&dir)),
    ])
}

/// `--reset`: configuration, credentials, sessions and workspace of this profile's own paths, each renamed, none
/// deleted.
pub fn reset(paths: &Paths) -> Result<Vec<String>> {
    let suffix = format!(".reset-{}", wall_ms());
    let mut said = Vec::new();
    let mut targets = vec![paths.config_path.clone(), paths.credentials_dir.clone(), paths.dev_workspace()];
    if let Ok(agents) = fs::read_dir(paths.state_dir.join("agents")) {
        targets.extend(agents.flatten().map(|agent| agent.path().join("sessions")));
    }
    for target in targets {
        // A profile never touches what lies outside its own directories.
        if !target.exists() || !is_own(paths, &target) {
            continue;
        }
        let mut moved = target.clone().into_os_string();
        moved.push(&suffix);
        fs::rename(&target, &moved)
            .map_err(|e| Error::new(format!("{} cannot be moved: {e}", paths.tilde(&target))))?;
        said.push(format!("Moved {} to {}", paths.tilde(&target), paths.tilde(Path::new(&moved))));
    }
    Ok(said)
}

fn is_own(paths: &Paths, target: &Path) -> bool {
    target.starts_with(&paths.state_dir) || target == paths.config_path || target == paths.dev_workspace()
}

/// What becomes of a token that is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Into the configuration file.
    Saved,
    /// For this process only, and why.
    InMemory(&'static str),
}

/// Mode token and no token anywhere: one is made, once per process. Gives the line for the log, never the token.
pub fn first_token(paths: &Paths, settings: &mut Settings, keep: Keep, made: &OnceLock<Secret>) -> Option<String> {
    if settings.auth.mode != AuthMode::Token || settings.auth.token.is_some() {
        return None;
    }
    if let Some(token) = made.get() {
        settings.set_token(token.clone());
        return None;
    }
    let token = ids::hex(&ids::random_bytes::<24>());
    let saved = match keep {
        Keep::Saved => save(paths, settings, &token),
        Keep::InMemory(why) => Err(why.to_owned()),
    };
    let line = match saved {
        Ok(()) => {
            // What the next reload compares with is the file as it is now.
            settings.reread(paths);
            "auth token was missing. Generated a new token and saved it to config (gateway.auth.token).".to_owned()
        }
        Err(why) => format!(
            "auth token was missing. Generated one for this run only, it was not saved ({why}); set gateway.auth.token."
        ),
    };
    let token = Secret::new(token);
    settings.set_token(token.clone());
    let _ = made.set(token);
    Some(line)
}

fn save(paths: &Paths, settings: &Settings, token: &str) -> Result<(), String> {
    let present = |path: &str| {
        let value = lookup(&settings.loaded.parsed, path);
        value.is_some_and(|v| !v.is_null() && v.as_str().is_none_or(|text| !text.trim().is_empty()))
    };
    if present("gateway.auth.token") {
        return Err("gateway.auth.token is set already but has no usable value; correct or remove it by hand".into());
    }
    let mut edits = Vec::new();
    if !present("gateway.auth.mode") {
        edits.push(Edit::set("gateway.auth.mode", "token"));
    }
    edits.push(Edit::set("gateway.auth.token", token));
    let written = config_file::write(paths, &FsSource, &edits, &WriteOptions::default()).map_err(|e| e.to_string())?;
    for line in &written.lines {
        log::warn!(target: "", "{line}");
    }
    Ok(())
}

/// Where the configuration of the last successful start or reload is kept (DECISIONS 77).
pub fn last_good(paths: &Paths) -> PathBuf {
    paths.state_dir.join("config-last-good.json")
}

/// Keeps the configuration in force for the day on which an edit goes wrong. Written only when it differs.
pub fn keep_last_good(paths: &Paths, loaded: &Loaded) {
    let Some(text) = &loaded.raw else { return };
    let path = last_good(paths);
    let kept = atomic::read_limited(&path, limits::CONFIG_BYTES);
    if kept.is_ok_and(|kept| kept == text.as_bytes()) {
        return;
    }
    if let Err(e) = atomic::write(&path, text.as_bytes()) {
        log::warn!(target: "gateway", "the last good configuration is not kept: {}: {e}", path.display());
    }
}
