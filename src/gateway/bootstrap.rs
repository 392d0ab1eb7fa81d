//! The only things that a start writes: what `--dev` and `--reset` ask for, and the first token (DECISIONS 73, 98).

use std::fs;
use std::path::Path;

use super::settings::Settings;
use crate::agent::workspace;
use crate::config::{AuthMode, Paths, render};
use crate::error::{Error, Result};
use crate::ids;
use crate::rpc::context::wall_ms;
use crate::secret::Secret;
use crate::store::atomic;

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

/// Mode token and no token anywhere: one is made and saved. Gives the line for the log.
pub fn first_token(paths: &Paths, settings: &mut Settings, mode_from_flag: bool) -> Option<String> {
    if settings.auth.mode != AuthMode::Token || settings.auth.token.is_some() {
        return None;
    }
    let token = ids::hex(&ids::random_bytes::<24>());
    let saved = if mode_from_flag { Err("--auth was given".to_owned()) } else { save(paths, settings, &token) };
    settings.set_token(Secret::new(token));
    Some(match saved {
        Ok(()) => {
            "auth token was missing. Generated a new token and saved it to config (gateway.auth.token).".to_owned()
        }
        Err(why) => format!(
            "auth token was missing. Generated one for this run only, it was not saved ({why}); set gateway.auth.token."
        ),
    })
}

fn save(paths: &Paths, settings: &Settings, token: &str) -> Result<(), String> {
    let old = settings.loaded.raw.as_deref();
    let text = render::with_token(old, token).map_err(|e| e.to_string())?;
    if let Some(old) = old {
        let mut backup = paths.config_path.clone().into_os_string();
        backup.push(".bak");
        atomic::write(Path::new(&backup), old.as_bytes()).map_err(|e| e.to_string())?;
    }
    atomic::write(&paths.config_path, text.as_bytes()).map_err(|e| e.to_string())
}
