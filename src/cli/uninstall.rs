//! `openclaw uninstall`: removes service, state and workspace of this profile, nothing else.

use std::io;
use std::path::{Path, PathBuf};

use super::Context;
use super::prompt::{self, Terminal};
use super::tree::Uninstall as Args;
use super::{reset, service_commands};
use crate::config::paths::STATE_NAMES;
use crate::error::{Error, Result};
use crate::{err, out};

pub fn run(cx: &Context, args: &Args) -> Result<u8> {
    if args.non_interactive && !args.yes {
        return Err(Error::new("Non-interactive mode requires --yes."));
    }
    let mut terminal = (!args.non_interactive).then(Terminal::open).flatten();
    let (service, state, workspace) = match (args.all, args.service || args.state || args.workspace || args.app) {
        (true, _) => (true, true, true),
        (false, true) => (args.service, args.state, args.workspace),
        (false, false) => match &mut terminal {
            Some(terminal) => (
                terminal.confirm("Remove the service?", true)?,
                terminal.confirm("Remove state and configuration?", false)?,
                terminal.confirm("Remove the workspace?", false)?,
            ),
            None => {
                return Err(Error::new("Nothing was named that is to be removed.")
                    .hint("Use --service, --state, --workspace or --all; --dry-run shows what it is."));
            }
        },
    };
    let paths = chosen(cx, state, workspace)?;
    out!("Recommended first: {}", cx.suggest("openclaw backup create"));
    if args.dry_run {
        if service {
            out!("[dry-run] remove gateway service");
        }
        paths.iter().for_each(|path| out!("[dry-run] remove {}", cx.short(path)));
        return Ok(last_line());
    }
    if !args.yes {
        let Some(terminal) = &mut terminal else { return Err(prompt::nobody_to_ask("openclaw uninstall --all --yes")) };
        paths.iter().for_each(|path| err!("- {}", cx.short(path)));
        if !terminal.confirm("Remove all this for good?", false)? {
            err!("Nothing was changed.");
            return Ok(1);
        }
    }
    if service && !remove_service(cx)? {
        return Ok(1);
    }
    if !paths.is_empty() {
        reset::stop_gateway(cx)?;
        let _lock = super::backup::keep_gateways_out(cx)?;
        for path in &paths {
            remove(cx, path)?;
        }
    }
    Ok(last_line())
}

/// False: it is still there, and why has been said.
fn remove_service(cx: &Context) -> Result<bool> {
    if super::service::find(cx, cx.port(None)).is_installed() {
        return Ok(service_commands::uninstall(cx, false)? == 0);
    }
    out!("Gateway service: none is installed.");
    Ok(true)
}

fn chosen(cx: &Context, state: bool, workspace: bool) -> Result<Vec<PathBuf>> {
    match (state, workspace) {
        (true, true) => Ok(old_links(cx).into_iter().chain(reset::own_paths(cx, "full")?).collect()),
        (true, false) => {
            let state = &cx.paths.state_dir;
            let mut kept = reset::workspaces(cx);
            // Also those of agents that the configuration does not name, or no longer.
            let named = |path: &PathBuf| path.file_name().is_some_and(|n| n.to_string_lossy().starts_with("workspace"));
            kept.extend(children(state).into_iter().filter(named));
            kept.retain(|dir| dir.exists());
            let paths = reset::own_paths(cx, "full")?;
            Ok(paths.into_iter().flat_map(|path| all_but(path, &kept)).collect())
        }
        (false, true) => {
            reset::own_paths(cx, "config")?;
            Ok(reset::workspaces(cx))
        }
        (false, false) => Ok(Vec::new()),
    }
}

/// The path, or what is in it but for the paths that are kept.
fn all_but(path: PathBuf, kept: &[PathBuf]) -> Vec<PathBuf> {
    if kept.contains(&path) {
        Vec::new()
    } else if kept.iter().any(|kept| kept.starts_with(&path)) {
        children(&path).into_iter().flat_map(|child| all_but(child, kept)).collect()
    } else {
        vec![path]
    }
}

fn children(dir: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = std::fs::read_dir(dir).into_iter().flatten().flatten().map(|e| e.path()).collect();
    found.sort();
    found
}

/// Links with the names of earlier versions, as doctor leaves them, that lead to this state.
fn old_links(cx: &Context) -> Vec<PathBuf> {
    let links = STATE_NAMES.iter().map(|name| cx.paths.home.join(name));
    let state = std::fs::canonicalize(&cx.paths.state_dir).ok();
    links.filter(|link| *link != cx.paths.state_dir && state.is_some() && reset::led_to(link) == state).collect()
}

fn remove(cx: &Context, path: &Path) -> Result<()> {
    let Ok(metadata) = std::fs::symlink_metadata(path) else { return Ok(()) };
    let not_removed = |path: &Path, error: &io::Error| reset::failed(cx, "removed", path, error);
    if let Some(real) = reset::led_to(path).filter(|_| *path == cx.paths.state_dir) {
        if reset::is_named_so(&real) {
            remove_tree(&real).map_err(|error| not_removed(&real, &error))?;
            out!("Removed {}", cx.short(&real));
        } else {
            err!(
                "Left alone: {}, where {} leads to; it may hold other things. Secrets and conversations are still there.",
                cx.short(&real),
                cx.short(path)
            );
        }
    }
    let removed = if metadata.is_dir() { remove_tree(path) } else { std::fs::remove_file(path) };
    removed.map_err(|error| not_removed(path, &error))?;
    out!("Removed {}", cx.short(path));
    Ok(())
}

/// A disk that is mounted there is emptied and stays.
fn remove_tree(dir: &Path) -> io::Result<()> {
    match std::fs::remove_dir_all(dir) {
        Err(error) if error.kind() == io::ErrorKind::ResourceBusy && children(dir).is_empty() => Ok(()),
        other => other,
    }
}

fn last_line() -> u8 {
    out!("CLI still installed. Remove the package or binary if desired.");
    0
}
