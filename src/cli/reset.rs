//! `openclaw reset` and what it shares with `uninstall`: which paths are the profile's own. Nothing is deleted here;
//! everything is renamed to `<path>.reset-<ms>`.

use std::path::{Path, PathBuf};

use super::Context;
use super::client::now_ms;
use super::prompt::{self, Terminal};
use super::tree::Reset as Args;
use crate::agent::workspace;
use crate::config::paths::normalize;
use crate::error::{Error, Result};
use crate::server::lock;
use crate::store::{atomic, restore};
use crate::{err, out};

const SCOPES: [(&str, &str); 3] = [
    ("config", "the configuration"),
    ("config+creds+sessions", "configuration, credentials and sessions"),
    ("full", "the whole state directory and the workspace"),
];

pub fn run(cx: &Context, args: &Args) -> Result<u8> {
    if args.non_interactive && !args.yes {
        return Err(Error::new("Non-interactive mode requires --yes."));
    }
    let mut terminal = (!args.non_interactive).then(Terminal::open).flatten();
    let scope = match (&args.scope, &mut terminal) {
        (Some(scope), _) => checked_scope(scope)?,
        (None, Some(terminal)) => SCOPES[terminal.choose("Reset what?", &SCOPES, 0)?].0,
        (None, None) if args.non_interactive => return Err(Error::new("Non-interactive mode requires --scope.")),
        (None, None) => return Err(prompt::nobody_to_ask("openclaw reset --scope config --yes")),
    };
    let paths = own_paths(cx, scope)?;
    out!("Recommended first: {}", cx.suggest("openclaw backup create"));
    if !args.dry_run && !args.yes {
        let Some(terminal) = &mut terminal else {
            return Err(prompt::nobody_to_ask("openclaw reset --scope config --yes"));
        };
        if !terminal.confirm(&format!("Reset {scope}?"), false)? {
            err!("Nothing was changed.");
            return Ok(1);
        }
    }
    if args.dry_run {
        if scope != "config" || is_running(cx) {
            out!("[dry-run] stop gateway service");
        }
        paths.iter().for_each(|path| out!("[dry-run] remove {}", cx.short(path)));
    } else {
        move_aside(cx, &paths)?;
    }
    out!("Next: {}", cx.suggest("openclaw onboard --install-daemon"));
    Ok(0)
}

/// For `onboard --reset`, too.
pub(super) fn checked_scope(scope: &str) -> Result<&'static str> {
    SCOPES.iter().map(|(name, _)| *name).find(|name| *name == scope).ok_or_else(|| {
        Error::new(format!("Invalid --scope \"{scope}\""))
            .hint("Use \"config\", \"config+creds+sessions\" or \"full\".")
    })
}

/// Renames, with no gateway running on them: one that runs is stopped.
pub(super) fn move_aside(cx: &Context, paths: &[PathBuf]) -> Result<()> {
    stop_gateway(cx)?;
    let _lock = super::backup::keep_gateways_out(cx)?;
    let suffix = format!(".reset-{}", now_ms());
    for path in paths.iter().filter(|path| std::fs::symlink_metadata(path).is_ok()) {
        let not_moved = |error| failed(cx, "moved", path, &error);
        // A link stays where it is, on a disk that was chosen: what it leads to is what moves.
        let led_to = led_to(path);
        let real = led_to.as_ref().unwrap_or(path);
        let kept = restore::move_aside(real, &suffix).map_err(not_moved)?;
        out!("Moved {} to {}", cx.short(real), cx.short(&kept));
        if led_to.is_some() && kept.is_dir() {
            atomic::create_dirs(real).map_err(not_moved)?;
        }
    }
    Ok(())
}

/// The directory or file that a link leads to.
pub(super) fn led_to(path: &Path) -> Option<PathBuf> {
    std::fs::symlink_metadata(path).ok()?.is_symlink().then(|| std::fs::canonicalize(path).ok()).flatten()
}

pub(super) fn stop_gateway(cx: &Context) -> Result<()> {
    if is_running(cx) {
        super::stop::stop(cx, &super::tree::Gateway::default(), false)?;
    }
    Ok(())
}

fn is_running(cx: &Context) -> bool {
    lock::owner(&cx.paths.config_path).is_some_and(|owner| owner.alive)
}

pub(super) fn failed(cx: &Context, done: &str, path: &Path, error: &std::io::Error) -> Error {
    Error::new(format!("{} cannot be {done}: {error}", cx.short(path)))
        .hint("Check the owner of the directory it is in, then try again.")
}

/// What a scope covers, all of it the profile's own; the state directory before what may lie in it.
pub(super) fn own_paths(cx: &Context, scope: &str) -> Result<Vec<PathBuf>> {
    let paths = &cx.paths;
    check_own(cx, &paths.state_dir)?;
    let outside = |path: &Path| !path.starts_with(&paths.state_dir);
    if scope == "full" {
        check_others(cx)?;
        let copies = ["", ".bak", ".bak.1", ".bak.2", ".bak.3", ".bak.4"].map(|end| {
            let mut name = paths.config_path.clone().into_os_string();
            name.push(end);
            PathBuf::from(name)
        });
        let config = copies.into_iter().filter(|path| outside(path) && path.exists());
        return Ok([paths.state_dir.clone()].into_iter().chain(config).chain(workspaces(cx)).collect());
    }
    let mut found = vec![paths.config_path.clone()];
    if scope != "config" {
        // Credentials elsewhere were put there by hand and may be another program's.
        found.extend(Some(paths.credentials_dir.clone()).filter(|path| !outside(path)));
        if let Ok(agents) = std::fs::read_dir(paths.state_dir.join("agents")) {
            found.extend(agents.flatten().map(|agent| agent.path().join("sessions")));
        }
        found[1..].sort();
    }
    Ok(found)
}

/// The workspaces that are the profile's own; one that the configuration puts elsewhere is named and left alone.
pub(super) fn workspaces(cx: &Context) -> Vec<PathBuf> {
    let config = &cx.loaded().config;
    let mut found = Vec::new();
    for agent in config.agents.ids() {
        let dir = normalize(&workspace::directory(config, &cx.paths, agent));
        let inside = dir.starts_with(&cx.paths.state_dir) && dir != cx.paths.state_dir;
        // With OPENCLAW_STATE_DIR the default one may be that of the default profile.
        let of_profile = cx.paths.profile.as_ref().is_some_and(|profile| dir.ends_with(format!("workspace-{profile}")));
        if found.contains(&dir) {
            continue;
        }
        if inside || of_profile && dir == cx.paths.workspace {
            found.push(dir);
        } else {
            err!("Left alone: {} lies outside this profile's directories.", cx.short(&dir));
        }
    }
    found
}

/// Workspaces of other profiles lie in the state directory of the default one.
fn check_others(cx: &Context) -> Result<()> {
    let Ok(entries) = std::fs::read_dir(&cx.paths.state_dir) else { return Ok(()) };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(profile) = name.strip_prefix("workspace-") else { continue };
        let own = cx.paths.profile.as_deref() == Some(profile);
        if !own && cx.paths.home.join(format!(".openclaw-{profile}")).is_dir() {
            return Err(Error::new(format!(
                "{} is the workspace of profile \"{profile}\"; nothing was changed.",
                cx.short(&entry.path())
            ))
            .hint(format!("Uninstall that profile first: openclaw --profile {profile} uninstall --all")));
        }
    }
    Ok(())
}

/// Its name says whose it is.
pub(super) fn is_named_so(dir: &Path) -> bool {
    dir.file_name().is_some_and(|name| {
        let name = name.to_string_lossy();
        ["openclaw", "clawdbot", "moltbot", "moldbot"].iter().any(|word| name.contains(word))
    })
}

/// A state directory that is somebody's home or the root of the system is a mistake in a variable.
fn check_own(cx: &Context, dir: &Path) -> Result<()> {
    let real = std::fs::canonicalize(dir).unwrap_or_else(|_| normalize(dir));
    let home = std::fs::canonicalize(&cx.paths.home).unwrap_or_else(|_| cx.paths.home.clone());
    let looks_like_ours =
        is_named_so(dir) || ["openclaw.json", "identity", "agents"].iter().any(|name| real.join(name).exists());
    if home.starts_with(&real) || real.parent().is_none() || real.exists() && !looks_like_ours {
        return Err(Error::new(format!("{} is no state directory of a gateway; nothing was changed.", cx.short(dir)))
            .hint("Look at OPENCLAW_STATE_DIR and --profile."));
    }
    Ok(())
}
