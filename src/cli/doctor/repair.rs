//! What `--fix` does. The configuration is changed through its writer: one write, with backup, validated before.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::{Facts, Fix, old_names};
use crate::cli::{Context, service, service_commands, setup};
use crate::config::load::{self, Loaded};
use crate::config::{Issue, check, legacy};
use crate::err;
use crate::error::Error;
use crate::gateway::bootstrap;
use crate::limits;
use crate::protocol::COMPAT_VERSION;
use crate::service::linger;
use crate::service::unit::Command;
use crate::store::config_file::{self, Edit, WriteOptions};
use crate::store::source::FsSource;
use crate::store::{atomic, transcript};

/// The file with old keys moved and unknown ones taken out.
pub struct Cleaned {
    pub value: Value,
    /// Paths of the keys that go.
    pub removed: Vec<String>,
    /// Old keys that move.
    pub moved: Vec<Issue>,
    /// It would be valid.
    pub valid: bool,
}

/// What was done.
#[derive(Default)]
pub struct Done {
    pub changes: Vec<String>,
    pub failures: Vec<String>,
}

/// None: there is nothing to read, or nothing to clean.
pub fn clean(cx: &Context, loaded: &Loaded) -> Option<Cleaned> {
    if !loaded.parsed.is_object() {
        return None;
    }
    let mut value = loaded.parsed.clone();
    let mut moved = legacy::migrate(&mut value).warnings;
    moved.extend(legacy::settle(&mut value));
    // What is empty now goes.
    legacy::migrate(&mut value);
    let removed = take_unknown_out(&mut value);
    if moved.is_empty() && removed.is_empty() {
        return None;
    }
    let valid = load::load_bytes(&cx.paths, &FsSource, Some(value.to_string().as_bytes())).valid();
    Some(Cleaned { value, removed, moved, valid })
}

/// The text of the last good configuration, where it is valid and not what the file says anyway.
pub fn last_good(cx: &Context, loaded: &Loaded) -> Option<String> {
    let bytes = atomic::read_limited(&bootstrap::last_good(&cx.paths), limits::CONFIG_BYTES).ok()?;
    let text = String::from_utf8(bytes).ok()?;
    let good = load::load_bytes(&cx.paths, &FsSource, Some(text.as_bytes()));
    (good.valid() && good.parsed.is_object() && good.hash != loaded.hash).then_some(text)
}

/// Removes every key that the schema does not know, until none is left; gives their paths.
fn take_unknown_out(value: &mut Value) -> Vec<String> {
    let mut removed = Vec::new();
    loop {
        let before = removed.len();
        for issue in check::check(value) {
            let Some(names) = issue.message.strip_prefix("Unrecognized key") else { continue };
            for name in names.split('"').skip(1).step_by(2).filter(|name| *name != "$include") {
                let parent = steps_to(value, &issue.path).and_then(|steps| at(value, &steps));
                if parent.and_then(Value::as_object_mut).and_then(|map| map.shift_remove(name)).is_some() {
                    removed.push(if issue.path.is_empty() {
                        name.to_owned()
                    } else {
                        format!("{}.{name}", issue.path)
                    });
                }
            }
        }
        if removed.len() == before {
            return removed;
        }
    }
}

/// The keys that a dotted path stands for: a key may have dots in it.
fn steps_to(value: &Value, path: &str) -> Option<Vec<String>> {
    if path.is_empty() {
        return Some(Vec::new());
    }
    let ends = path.match_indices('.').map(|(at, _)| at).chain([path.len()]);
    ends.into_iter().find_map(|end| {
        let step = &path[..end];
        let child = match value {
            Value::Object(map) => map.get(step)?,
            Value::Array(items) => items.get(step.parse::<usize>().ok()?)?,
            _ => return None,
        };
        let rest = steps_to(child, path.get(end + 1..).unwrap_or_default())?;
        Some([vec![step.to_owned()], rest].concat())
    })
}

fn at<'v>(value: &'v mut Value, steps: &[String]) -> Option<&'v mut Value> {
    steps.iter().try_fold(value, |here, step| match here {
        Value::Object(map) => map.get_mut(step),
        Value::Array(items) => items.get_mut(step.parse::<usize>().ok()?),
        _ => None,
    })
}

pub fn apply(facts: &Facts, fixes: &[&Fix]) -> Done {
    let mut done = Done::default();
    // First what may hold the rest open, then what changes the names of the rest.
    let rank = |fix: &&&Fix| match fix {
        Fix::RemoveServices(_) => 0,
        Fix::Rename(..) => 2,
        _ => 1,
    };
    let mut fixes: Vec<&Fix> = fixes.to_vec();
    fixes.sort_by_key(|fix| rank(&fix));
    let fixes = fixes.as_slice();
    for fix in fixes {
        match fix {
            Fix::Modes(modes) => modes.iter().for_each(|(path, mode)| set_mode(&facts.cx, path, *mode, &mut done)),
            Fix::MakeDirectory(path) => {
                let shown = facts.cx.short(path);
                match atomic::create_dirs(path) {
                    Ok(()) => done.changes.push(format!("Created {shown}")),
                    Err(e) => done.failures.push(format!("{shown} cannot be created: {e}")),
                }
            }
            Fix::Remove(paths) => {
                for path in paths {
                    let shown = facts.cx.short(path);
                    match fs::remove_file(path) {
                        Ok(()) => done.changes.push(format!("Removed {shown}")),
                        Err(e) => done.failures.push(format!("{shown} cannot be removed: {e}")),
                    }
                }
            }
            Fix::Rename(from, to) => old_names::rename(facts, from, to, &mut done),
            Fix::RemoveServices(files) => old_names::remove_services(&facts.cx, files, &mut done),
            Fix::Linger(user) => match linger::enable(user) {
                Ok(()) => done.changes.push(format!("Enabled systemd lingering for {user}.")),
                Err(why) => done.failures.push(format!(
                    "Lingering cannot be enabled for {user}: {why}. Run: sudo loginctl enable-linger {user}"
                )),
            },
            Fix::Restore | Fix::Clean | Fix::LocalMode | Fix::Token | Fix::Service => {}
        }
    }
    // After a move the file has another name: the next round changes it.
    if !fixes.iter().any(|fix| matches!(fix, Fix::Rename(..))) {
        change_config(facts, fixes, &mut done);
    }
    if fixes.contains(&&Fix::Service) {
        write_service(&facts.cx, &mut done);
    }
    done
}

/// As `gateway install --force`, on the port that the service has.
fn write_service(cx: &Context, done: &mut Done) {
    let port = embedded(cx, |command| command.port()).unwrap_or_else(|| cx.port(None));
    let service = service::find(cx, port);
    match service.reach().map_err(Error::new).and_then(|()| service_commands::write_service(cx, &service)) {
        Ok(lines) => done.changes.extend(lines.into_iter().filter(|line| !line.is_empty())),
        Err(error) => done.failures.push(format!("The service was not written: {}", error.message)),
    }
}

/// Something that the service's file says.
fn embedded<T>(cx: &Context, pick: impl FnOnce(&Command) -> Option<T>) -> Option<T> {
    pick(&service::find(cx, 1).command()?)
}

/// All changes of the configuration in one write.
fn change_config(facts: &Facts, fixes: &[&Fix], done: &mut Done) {
    let mut edits = Vec::new();
    let mut options = WriteOptions { base_hash: Some(&facts.loaded.hash), ..WriteOptions::default() };
    let mut said = Vec::new();
    if fixes.contains(&&Fix::Restore) {
        let Some(text) = &facts.last_good else { return };
        edits.push(Edit::Replace(text.clone()));
        options.replace = true;
        said.push("Put the last good configuration back".to_owned());
    } else {
        if let Some(cleaned) = facts.cleaned.as_ref().filter(|_| fixes.contains(&&Fix::Clean)) {
            edits.push(Edit::Replace(cleaned.value.to_string()));
            options.replace = true;
            said.extend(cleaned.moved.iter().map(|issue| issue.message.replace(" (auto-migrated on load)", "")));
            said.extend(cleaned.removed.iter().map(|key| format!("Removed the unknown key {key}")));
        }
        if fixes.contains(&&Fix::LocalMode) {
            edits.push(Edit::set("gateway.mode", "local"));
            said.push("Set gateway.mode to local".to_owned());
        }
        if fixes.contains(&&Fix::Token) {
            // Clients know the one that an old unit carries.
            let old = embedded(&facts.cx, |command| command.var("OPENCLAW_GATEWAY_TOKEN").map(str::to_owned));
            match old.filter(|token| !token.trim().is_empty()) {
                Some(token) => {
                    edits.push(Edit::set("gateway.auth.token", token));
                    said.push("Saved the token of the service as gateway.auth.token".to_owned());
                }
                None => {
                    edits.extend(setup::token_edits(&facts.loaded));
                    said.push("Made a token for the gateway (gateway.auth.token)".to_owned());
                }
            }
        }
    }
    if edits.is_empty() {
        return;
    }
    let mode = facts.loaded.config.gateway.mode.as_deref().unwrap_or("local");
    edits.push(Edit::Merge(json!({"wizard": {
        "lastRunAt": transcript::iso_time(facts.now_ms),
        "lastRunVersion": COMPAT_VERSION,
        "lastRunCommand": "doctor",
        "lastRunMode": mode,
    }})));
    if !facts.loaded.exists {
        options.base_hash = None;
    }
    match config_file::write(&facts.cx.paths, &FsSource, &edits, &options) {
        Ok(written) => {
            for line in written.lines.iter().filter(|line| !line.starts_with("Config overwrite: ")) {
                err!("{line}");
            }
            done.changes.extend(said);
            done.changes.push(format!("Updated {}", facts.cx.short(&facts.cx.paths.config_path)));
            if let Some(backup) = &written.backup {
                done.changes.push(format!("Backup: {}", facts.cx.short(backup)));
            }
        }
        Err(error) => done.failures.push(setup::not_written(&facts.cx, &error).message),
    }
}

/// Links are left alone: what they lead to is somebody else's.
fn set_mode(cx: &Context, path: &Path, mode: u32, done: &mut Done) {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let shown = cx.short(path);
        let linked = fs::symlink_metadata(path).is_ok_and(|meta| meta.is_symlink());
        match fs::set_permissions(path, fs::Permissions::from_mode(mode)) {
            _ if linked => {}
            Ok(()) => done.changes.push(format!("chmod {mode:o} {shown}")),
            Err(e) => done.failures.push(format!("chmod {mode:o} {shown}: {e}")),
        }
    }
    #[cfg(not(unix))]
    let _ = (cx, path, mode, done);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_keys_go_and_nothing_else() {
        for (before, after, removed) in [
            (json!({"gateway": {"port": 1}}), json!({"gateway": {"port": 1}}), vec![]),
            (
                json!({"frob": 1, "gateway": {"port": "x", "prt": 1, "auth": {"a": 1, "b": 2}}}),
                json!({"gateway": {"port": "x", "auth": {}}}),
                vec!["frob", "gateway.prt", "gateway.auth.a", "gateway.auth.b"],
            ),
            (
                json!({"agents": {"list": [{"id": "a"}, {"id": "b", "nope": {}}]}}),
                json!({"agents": {"list": [{"id": "a"}, {"id": "b"}]}}),
                vec!["agents.list.1.nope"],
            ),
            (
                json!({"models": {"providers": {"a.b": {"baseUrl": "u", "models": [], "x": 1}}}}),
                json!({"models": {"providers": {"a.b": {"baseUrl": "u", "models": []}}}}),
                vec!["models.providers.a.b.x"],
            ),
            (json!({"$include": "x", "y": 1}), json!({"$include": "x"}), vec!["y"]),
        ] {
            let mut value = before.clone();
            let mut gone = take_unknown_out(&mut value);
            gone.sort();
            let mut removed = removed;
            removed.sort_unstable();
            assert_eq!(gone, removed, "{before}");
            assert_eq!(value, after);
        }
    }
}
