//! What stands under the names that the program had before: state directory, configuration file, services (cli 2.1, 5.1,
//! 6.1). All of it is found and used as it is; `--fix` gives it the present names and leaves links at the old ones, so
//! that paths in the files and older programs still find it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::config_checks::list;
use super::repair::Done;
use super::{Facts, Finding, Fix};
use crate::cli::Context;
use crate::cli::audit::Severity;
use crate::cli::service;
use crate::config::Source as _;
use crate::config::paths::{CONFIG_NAMES, STATE_NAMES};
use crate::server::lock;
use crate::service::legacy;
use crate::store::source::FsSource;
use crate::store::{atomic, in_use};

/// The state directory has an old name because no other was found; one that a variable names is the operator's choice.
pub fn state_dir(facts: &Facts, out: &mut Vec<Finding>) {
    let paths = &facts.cx.paths;
    let Some(old) = STATE_NAMES[1..].iter().map(|name| paths.home.join(name)).find(|dir| *dir == paths.state_dir)
    else {
        return;
    };
    if is_set("OPENCLAW_STATE_DIR") || is_set("CLAWDBOT_STATE_DIR") {
        return;
    }
    let new = paths.home.join(STATE_NAMES[0]);
    let title = format!("The state directory has an old name ({})", facts.cx.short(&old));
    let finding = Finding::new("state.old-name", Severity::Warn, title);
    out.push(if fs::symlink_metadata(&new).is_ok() {
        finding.remedy(format!(
            "{} is a link to nowhere: remove it, then run openclaw doctor --fix.",
            facts.cx.short(&new)
        ))
    } else {
        finding
            .remedy("It works. openclaw doctor --fix renames it and leaves a link; no gateway may run meanwhile.")
            .fix(Some(Fix::Rename(old, new)))
    });
}

/// The configuration has an old name, or lies in an old directory beside the present one.
pub fn config_file(facts: &Facts, out: &mut Vec<Finding>) {
    let paths = &facts.cx.paths;
    let old = &paths.config_path;
    let new = paths.state_dir.join(CONFIG_NAMES[0]);
    let found = !is_set("OPENCLAW_CONFIG_PATH") && !is_set("CLAWDBOT_CONFIG_PATH") && facts.loaded.exists;
    if !found || *old == new {
        return;
    }
    let title = format!("The configuration has an old name or place ({})", facts.cx.short(old));
    let finding = Finding::new("config.old-name", Severity::Warn, title);
    let same_dir = old.parent() == new.parent();
    out.push(if !same_dir && facts.loaded.parsed.to_string().contains("\"$include\"") {
        let to = facts.cx.short(&new);
        finding.remedy(format!("It works. Move it to {to} by hand, and with it the files that it includes."))
    } else {
        finding
            .remedy("It works. openclaw doctor --fix renames it and leaves a link; no gateway may run meanwhile.")
            .fix(Some(Fix::Rename(old.clone(), new)))
    });
}

/// A directory with an old name beside the present one: nothing of it is used.
pub fn left_behind(facts: &Facts, out: &mut Vec<Finding>) {
    let paths = &facts.cx.paths;
    if paths.state_dir != paths.home.join(STATE_NAMES[0]) {
        return;
    }
    let unused = STATE_NAMES[1..]
        .iter()
        .map(|name| paths.home.join(name))
        .filter(|dir| fs::symlink_metadata(dir).is_ok_and(|meta| meta.is_dir()) && !paths.config_path.starts_with(dir));
    let unused: Vec<String> = unused.map(|dir| facts.cx.short(&dir)).collect();
    if !unused.is_empty() {
        let state = facts.cx.short(&paths.state_dir);
        out.push(
            Finding::new("state.old-copy", Severity::Info, "State directories under old names that are not used")
                .detail(list(unused))
                .remedy(format!("Take out of them what {state} lacks, then remove them.")),
        );
    }
}

/// Services that older versions installed: they would start a second gateway.
pub fn services(facts: &Facts, out: &mut Vec<Finding>) {
    let home = &facts.cx.paths.home;
    let config = FsSource.var("XDG_CONFIG_HOME").filter(|dir| dir.starts_with('/'));
    let files = legacy::files(home, &config.map_or_else(|| home.join(".config"), PathBuf::from));
    if !files.is_empty() {
        out.push(
            Finding::new("service.old-name", Severity::Warn, "Services under an old name")
                .detail(list(files.iter().map(|path| facts.cx.short(path))))
                .remedy("openclaw doctor --fix stops and removes them; install the new one after it: openclaw gateway install")
                .fix(Some(Fix::RemoveServices(files))),
        );
    }
}

/// `from` becomes `to`, and a link at `from` leads there: both or none. Never under a running gateway.
pub fn rename(facts: &Facts, from: &Path, to: &Path, done: &mut Done) {
    let cx = &facts.cx;
    let (old, new) = (cx.short(from), cx.short(to));
    let port = cx.paths.port(&FsSource, None, facts.loaded.config.gateway.port).0;
    let locked = lock::acquire(&cx.paths.config_path, port, false).map_err(|error| error.to_string());
    let in_use = || in_use::is_marked(&cx.paths.state_dir).then_some("a gateway runs on it".to_owned());
    let _lock = match locked.and_then(|lock| in_use().map_or(Ok(lock), Err)) {
        Ok(lock) => lock,
        Err(error) => {
            let stop = cx.suggest("openclaw gateway stop");
            return done.failures.push(format!("{old} stays where it is: {error}. Stop the gateway first: {stop}"));
        }
    };
    if fs::symlink_metadata(to).is_ok() {
        return done.failures.push(format!("{old} stays where it is: {new} is there already"));
    }
    match fs::rename(from, to).and_then(|()| link(from, to)) {
        Ok(()) => done.changes.push(format!("Moved {old} to {new}; a link stays at the old name")),
        Err(error) => done.failures.push(format!("{old} stays where it is: {error}")),
    }
}

/// Leaves the link; without it everything goes back.
fn link(from: &Path, to: &Path) -> io::Result<()> {
    // Beside each other they stay together wherever their directory goes.
    #[cfg(unix)]
    let linked = match to.file_name().filter(|_| to.parent() == from.parent()) {
        Some(name) => std::os::unix::fs::symlink(name, from),
        None => std::os::unix::fs::symlink(to, from),
    };
    #[cfg(not(unix))]
    let linked: io::Result<()> = Ok(());
    linked.or_else(|error| fs::rename(to, from).and(Err(error)))?;
    for path in [from, to] {
        // The names are right already; a power cut may show the old ones once more.
        let _ = atomic::sync_directory(atomic::parent(path));
    }
    Ok(())
}

pub fn remove_services(cx: &Context, files: &[PathBuf], done: &mut Done) {
    let service = service::exactly(cx, cx.port(None), false);
    for path in files {
        match service.remove_old(path) {
            Ok(()) => done.changes.push(format!("Removed legacy service: {}", cx.short(path))),
            Err(failure) => done.failures.push(format!("{} stays: {}", cx.short(path), failure.detail())),
        }
    }
}

fn is_set(name: &str) -> bool {
    FsSource.var(name).is_some_and(|value| !value.trim().is_empty())
}
