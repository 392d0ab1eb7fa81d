//! The only things that a start writes: what `--dev` and `--reset` ask for, the first token, and the copy of a
//! configuration that worked (DECISIONS 73, 77, 98).

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::settings::Settings;
use crate::agent::workspace;
use crate::config::{AuthMode, Loaded, Paths, render};
use crate::error::{Error, Result};
use crate::rpc::context::wall_ms;
use crate::secret::Secret;
use crate::store::atomic;
use crate::{ids, limits};

/// `gateway --dev`, or the dev profile: configuration and workspace, if there is no configuration.
pub fn prepare_dev(paths: &Paths) -> Result<Vec<String>> {
    if paths.config_path.exists() {
        return Ok(Vec::new());
    }
    let dir = paths.dev_workspace();
    let text = render::dev_config(&dir);
    let failed = |what: &str, e: std::io::Error| {
        Error::new(format!("{what} cannot be created: {e}")).hint("Check the directory's owner and free space.")
    };
    atomic::write(&paths.config_path, text.as_bytes()).map_err(|e| failed(&paths.tilde(&paths.config_path), e))?;
    workspace::ensure_dev(&dir).map_err(|e| failed(&paths.tilde(&dir), e))?;
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
    let old = settings.loaded.raw.as_deref();
    let text = render::with_token(old, token).map_err(|e| e.to_string())?;
    // Behind a symbolic link: the link stays one.
    let path = fs::canonicalize(&paths.config_path).unwrap_or_else(|_| paths.config_path.clone());
    if let Some(old) = old {
        let mut backup = path.clone().into_os_string();
        backup.push(".bak");
        atomic::write(Path::new(&backup), old.as_bytes()).map_err(|e| format!("backup: {e}"))?;
    }
    atomic::write(&path, text.as_bytes()).map_err(|e| e.to_string())
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
