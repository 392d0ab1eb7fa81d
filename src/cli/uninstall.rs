//! `openclaw uninstall`: removes service, state and workspace of this profile, nothing else.

use std::path::{Path, PathBuf};

use super::Context;
use super::prompt::{self, Terminal};
use super::tree::Uninstall as Args;
use super::{reset, service_commands};
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
        (true, true) => reset::own_paths(cx, "full"),
        (true, false) => {
            let kept = reset::workspaces(cx);
            if kept.iter().any(|dir| dir.starts_with(&cx.paths.state_dir) && dir.exists()) {
                return Err(Error::new("The workspace lies in the state directory and would go with it.")
                    .hint("Move it away first, or say --workspace, too."));
            }
            Ok(reset::own_paths(cx, "full")?.into_iter().filter(|path| !kept.contains(path)).collect())
        }
        (false, true) => {
            reset::own_paths(cx, "config")?;
            Ok(reset::workspaces(cx))
        }
        (false, false) => Ok(Vec::new()),
    }
}

fn remove(cx: &Context, path: &Path) -> Result<()> {
    let Ok(metadata) = std::fs::symlink_metadata(path) else { return Ok(()) };
    let removed = if metadata.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) };
    removed.map_err(|error| reset::failed(cx, "removed", path, &error))?;
    out!("Removed {}", cx.short(path));
    Ok(())
}

fn last_line() -> u8 {
    out!("CLI still installed. Remove the package or binary if desired.");
    0
}
