//! `openclaw backup create|verify|restore`: configuration and state in one file (`store::backup`). Needs no gateway.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::Context;
use super::client::now_ms;
use super::help;
use super::output::{json_pretty, plain, write_err};
use super::progress::Progress;
use super::tree::{Backup, BackupCommand, BackupCreate, BackupRestore, BackupVerify};
use crate::agent::workspace;
use crate::config::paths::normalize;
use crate::error::{Error, Result};
use crate::server::lock::{self, Lock, LockError};
use crate::store::backup::{self, Leave, Listing, Manifest, Root};
use crate::store::config_file::{Edit, WriteOptions};
use crate::store::restore::{self, Restored, Target};
use crate::store::source::FsSource;
use crate::store::transcript::iso_time;
use crate::store::{atomic, config_file, in_use};
use crate::{limits, out};

pub fn run(cx: &Context, args: &Backup) -> Result<u8> {
    match &args.command {
        Some(BackupCommand::Create(args)) => create(cx, args),
        Some(BackupCommand::Verify(args)) => verify(cx, args),
        Some(BackupCommand::Restore(args)) => restore(cx, args),
        None => {
            write_err(&help::help(&["backup".to_string()]));
            Ok(1)
        }
    }
}

/// Nothing may start a gateway on this state while the result lives, and none runs now.
pub(super) fn keep_gateways_out(cx: &Context) -> Result<Lock> {
    let lock = lock::acquire(&cx.paths.config_path, cx.port(None), false).map_err(|error| match error {
        LockError::Held { .. } => Error::new(format!("A gateway runs on this state: {error}"))
            .hint(format!("Stop it first: {}", cx.suggest("openclaw gateway stop"))),
        LockError::Unusable { .. } => Error::new(error.to_string()).hint("Check the owner of that directory."),
    })?;
    match in_use::is_marked(&cx.paths.state_dir) {
        false => Ok(lock),
        true => Err(Error::new("A gateway runs on this state, as another user or with another TMPDIR.")
            .hint("Stop it first, as that user or with its service manager.")),
    }
}

// ── create ─────────────────────────────────────────────────────────────────────────────────────────────

fn create(cx: &Context, args: &BackupCreate) -> Result<u8> {
    let roots = roots(cx, args)?;
    if roots.is_empty() {
        return Err(Error::new(format!("There is nothing to save: {} is missing.", cx.short(&cx.paths.state_dir)))
            .hint("Is it another profile or OPENCLAW_STATE_DIR?"));
    }
    let output = output_path(cx, args, &roots)?;
    let cannot = |error: io::Error| not_saved(cx, &output, &error);
    let mut listing = backup::list(&roots, &left_out(cx, args)).map_err(cannot)?;
    listing.skipped.extend(passed_over(cx, args));
    let mut progress = Progress::new(cx.columns, args.json);
    if args.dry_run {
        return Ok(would_save(cx, args, &output, &listing));
    }
    let (mut files, mut bytes) = (0_u64, 0_u64);
    let manifest = backup::create(&output, &listing, head(cx, args, &roots), &mut |name, length| {
        (files, bytes) = (files + 1, bytes + length);
        progress.at(|| format!("Saving {files} files, {}: {name}", size(bytes)));
    });
    let manifest = manifest.map_err(cannot)?;
    if args.verify {
        let again = backup::verify(&output, &mut |name, _| progress.at(|| format!("Verifying {name}")));
        again.map_err(|error| not_good(cx, &output, &error))?;
    }
    drop(progress);
    if args.json {
        let mut told = summary(&output, &manifest);
        told["verified"] = args.verify.into();
        out!("{}", json_pretty(&told));
        return Ok(0);
    }
    out!("Backup written: {} ({})", cx.short(&output), extent(&manifest));
    tell_skipped(&manifest.skipped);
    if args.verify {
        out!("Verified: every file is as it was saved.");
    }
    out!("It holds this gateway's secrets: keep it where only you can read it.");
    Ok(0)
}

/// State directory, and what lies outside it.
fn roots(cx: &Context, args: &BackupCreate) -> Result<Vec<Root>> {
    let paths = &cx.paths;
    let root = |name: &str, path: &Path| Root { name: name.to_owned(), path: path.to_owned() };
    let outside = |path: &Path| !path.starts_with(&paths.state_dir);
    let mut roots = Vec::new();
    if !args.only_config {
        roots.push(root("state", &paths.state_dir));
    }
    if args.only_config || outside(&paths.config_path) {
        roots.push(root("config", &paths.config_path));
        roots.extend(
            includes(cx)
                .into_iter()
                .filter(|(name, _)| backup::is_include(name))
                .map(|(name, path)| Root { name: format!("include/{name}"), path }),
        );
    }
    if !args.only_config && outside(&paths.credentials_dir) {
        if paths.state_dir.starts_with(&paths.credentials_dir) || paths.home.starts_with(&paths.credentials_dir) {
            let shown = cx.short(&paths.credentials_dir);
            return Err(Error::new(format!("OPENCLAW_OAUTH_DIR is {shown}, which holds much more than credentials."))
                .hint("Give the credentials a directory of their own."));
        }
        roots.push(root("credentials", &paths.credentials_dir));
    }
    let workspace = default_workspace(cx);
    if !args.only_config && !args.no_include_workspace && outside(&workspace) {
        roots.push(root("workspace", &workspace));
    }
    roots.retain(|root| root.path.exists());
    Ok(roots)
}

/// What the configuration includes, by its place below the configuration's directory.
fn includes(cx: &Context) -> Vec<(String, PathBuf)> {
    let directory = normalize(atomic::parent(&cx.paths.config_path));
    let named = cx.loaded().includes.iter().filter_map(|path| {
        let name = path.strip_prefix(&directory).ok()?.components().map(|part| part.as_os_str().to_str());
        Some((name.collect::<Option<Vec<_>>>()?.join("/"), path.clone()))
    });
    let mut named: Vec<(String, PathBuf)> = named.filter(|(_, path)| path.is_file()).collect();
    named.sort();
    named.dedup();
    named
}

/// What would be saved but cannot be put back safely, or is not in use.
fn passed_over(cx: &Context, args: &BackupCreate) -> Vec<(String, String)> {
    let paths = &cx.paths;
    let mut out = Vec::new();
    if args.only_config || !paths.config_path.starts_with(&paths.state_dir) {
        let odd = includes(cx).into_iter().filter(|(name, _)| !backup::is_include(name));
        out.extend(odd.map(|(name, _)| (format!("include/{name}"), "its name does not end in .json".to_owned())));
    }
    let unused = paths.state_dir.join("credentials");
    if !args.only_config && !paths.credentials_dir.starts_with(&paths.state_dir) && unused.exists() {
        out.push(("state/credentials".to_owned(), "OPENCLAW_OAUTH_DIR names another directory".to_owned()));
    }
    out
}

fn default_workspace(cx: &Context) -> PathBuf {
    let config = &cx.loaded().config;
    normalize(&workspace::directory(config, &cx.paths, config.agents.default_id()))
}

/// By their real places, as the walk meets them.
fn left_out(cx: &Context, args: &BackupCreate) -> Leave {
    let state = std::fs::canonicalize(&cx.paths.state_dir).unwrap_or_else(|_| cx.paths.state_dir.clone());
    let mut paths = Vec::new();
    if !args.include_logs {
        paths.push(state.join("logs"));
    }
    if !cx.paths.credentials_dir.starts_with(&cx.paths.state_dir) {
        paths.push(state.join("credentials"));
    }
    if args.no_include_workspace {
        let config = &cx.loaded().config;
        let ids = config.agents.list.iter().map(|agent| agent.id.as_str());
        let all = ids.chain([config.agents.default_id()]).map(|id| workspace::directory(config, &cx.paths, id));
        paths.extend(all.map(|dir| std::fs::canonicalize(&dir).unwrap_or(dir)));
    }
    Leave { paths }
}

fn output_path(cx: &Context, args: &BackupCreate, roots: &[Root]) -> Result<PathBuf> {
    let stamp = iso_time(now_ms()).replace(':', "-");
    let name = format!("{}-openclaw-backup.tar", stamp.split('.').next().unwrap_or_default());
    let here = std::env::current_dir().unwrap_or_else(|_| cx.paths.home.clone());
    let inside = |path: &Path| {
        let real = std::fs::canonicalize(atomic::parent(path)).unwrap_or_else(|_| atomic::parent(path).to_owned());
        roots
            .iter()
            .any(|root| std::fs::canonicalize(&root.path).is_ok_and(|dir| dir.is_dir() && real.starts_with(dir)))
    };
    let path = match args.output.as_deref().map(str::trim).filter(|text| !text.is_empty()) {
        Some(text) => {
            let path = here.join(cx.paths.expand(text));
            if path.is_dir() { path.join(name) } else { path }
        }
        None if inside(&here.join(&name)) => cx.paths.home.join(name),
        None => here.join(name),
    };
    match inside(&path) {
        true => Err(Error::new(format!("{} lies in what is to be saved.", cx.short(&path)))
            .hint("Choose another directory with --output.")),
        false => Ok(path),
    }
}

fn head(cx: &Context, args: &BackupCreate, roots: &[Root]) -> Manifest {
    let config_in_state = cx.paths.config_path.strip_prefix(&cx.paths.state_dir).ok();
    let config = match config_in_state {
        _ if !cx.paths.config_path.exists() => None,
        Some(rest) if !args.only_config => Some(format!("state/{}", rest.display())),
        _ => Some("config".to_owned()),
    };
    let places: BTreeMap<String, String> =
        roots.iter().map(|root| (root.name.clone(), root.path.display().to_string())).collect();
    Manifest {
        format: backup::FORMAT,
        created_at: iso_time(now_ms()),
        version: crate::VERSION.to_owned(),
        only_config: args.only_config,
        config,
        places,
        files: Vec::new(),
        skipped: Vec::new(),
    }
}

fn would_save(cx: &Context, args: &BackupCreate, output: &Path, listing: &Listing) -> u8 {
    let files: Vec<&str> = listing.items.iter().filter(|i| !i.directory).map(|i| i.name.as_str()).collect();
    if args.json {
        out!("{}", json_pretty(&json!({"ok": true, "dryRun": true, "archive": output, "files": files})));
        return 0;
    }
    for name in &files {
        out!("[dry-run] save {}", plain(name));
    }
    tell_skipped(&listing.skipped);
    out!("[dry-run] write {} ({} files)", cx.short(output), files.len());
    0
}

fn tell_skipped(skipped: &[(String, String)]) {
    for (name, why) in skipped {
        out!("Left out: {} ({why})", plain(name));
    }
}

fn not_saved(cx: &Context, output: &Path, error: &io::Error) -> Error {
    let shown = cx.short(output);
    if error.kind() == io::ErrorKind::AlreadyExists {
        return Error::new(format!("{shown} is there already; a backup replaces nothing."))
            .hint("Choose another name with --output.");
    }
    Error::new(format!("No backup was written to {shown}: {error}"))
        .hint("Check the free space there and that you may read the state directory, or use --output.")
}

// ── verify ─────────────────────────────────────────────────────────────────────────────────────────────

fn verify(cx: &Context, args: &BackupVerify) -> Result<u8> {
    let archive = cx.paths.expand(&args.archive);
    let manifest = checked(cx, &archive, args.json)?;
    if args.json {
        out!("{}", json_pretty(&summary(&archive, &manifest)));
    } else {
        out!("Backup OK: {} ({}, made {})", cx.short(&archive), extent(&manifest), plain(&manifest.created_at));
        tell_skipped(&manifest.skipped);
    }
    Ok(0)
}

fn checked(cx: &Context, archive: &Path, quiet: bool) -> Result<Manifest> {
    let mut progress = Progress::new(cx.columns, quiet);
    let mut bytes = 0;
    let manifest = backup::verify(archive, &mut |name, length| {
        bytes += length;
        progress.at(|| format!("Verifying {}: {name}", size(bytes)));
    });
    manifest.map_err(|error| not_good(cx, archive, &error))
}

fn not_good(cx: &Context, archive: &Path, error: &io::Error) -> Error {
    let shown = cx.short(archive);
    match error.kind() {
        io::ErrorKind::InvalidData => Error::new(plain(&format!("Backup is not good: {shown}: {error}")))
            .hint("Use another backup; nothing was changed."),
        _ => Error::new(format!("{shown} cannot be read: {error}")).hint("Check the name and that you may read it."),
    }
}

fn summary(archive: &Path, manifest: &Manifest) -> Value {
    let skipped: Vec<Value> = manifest.skipped.iter().map(|(name, why)| json!({"name": name, "reason": why})).collect();
    json!({
        "ok": true,
        "archive": archive,
        "createdAt": manifest.created_at,
        "version": manifest.version,
        "onlyConfig": manifest.only_config,
        "files": manifest.files.len(),
        "bytes": manifest.bytes(),
        "places": manifest.places,
        "skipped": skipped,
    })
}

fn extent(manifest: &Manifest) -> String {
    format!("{} files, {}", manifest.files.len(), size(manifest.bytes()))
}

fn size(bytes: u64) -> String {
    match bytes {
        0..1024 => format!("{bytes} B"),
        1024..1_048_576 => format!("{:.1} KiB", bytes as f64 / 1024.0),
        _ => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
    }
}

// ── restore ────────────────────────────────────────────────────────────────────────────────────────────

fn restore(cx: &Context, args: &BackupRestore) -> Result<u8> {
    let archive = cx.paths.expand(&args.archive);
    let manifest = checked(cx, &archive, args.json)?;
    let _lock = if args.allow_running { None } else { Some(keep_gateways_out(cx)?) };
    let target = target(cx, args, &manifest)?;
    let occupied: Vec<&PathBuf> = target.roots.iter().map(|(_, place)| place).filter(|place| in_use(place)).collect();
    if args.dry_run {
        for (name, place) in &target.roots {
            let what = if in_use(place) { "replace" } else { "create" };
            out!("[dry-run] {what} {} with {name} of the backup", cx.short(place));
        }
        return Ok(0);
    }
    if let Some(first) = occupied.first().filter(|_| !args.force) {
        return Err(Error::new(format!("{} is in use; nothing was changed.", cx.short(first)))
            .hint("Replace it with --force: it is kept beside its place."));
    }
    let done = match manifest.only_config {
        true => restore_config(cx, &archive, &manifest, target)?,
        false => {
            let mut progress = Progress::new(cx.columns, args.json);
            let mut bytes = 0;
            let restored = restore::restore(&archive, &manifest, &target, &mut |name, length| {
                bytes += length;
                progress.at(|| format!("Restoring {}: {name}", size(bytes)));
            });
            restored.map_err(|error| not_restored(cx, &error))?
        }
    };
    if args.json {
        let replaced: Vec<Value> = done.iter().map(|(place, kept)| json!({"path": place, "previous": kept})).collect();
        let mut told = summary(&archive, &manifest);
        told["restored"] = replaced.into();
        out!("{}", json_pretty(&told));
        return Ok(0);
    }
    for (place, kept) in &done {
        out!("Restored {}", cx.short(place));
        if let Some(kept) = kept {
            out!("What was there: {}", cx.short(kept));
        }
    }
    out!("Next: {} and {}", cx.suggest("openclaw doctor"), cx.suggest("openclaw gateway"));
    Ok(0)
}

/// The present profile's places, wherever the backup was made.
fn target(cx: &Context, args: &BackupRestore, manifest: &Manifest) -> Result<Target> {
    // A link to the state directory stays; what it leads to is replaced.
    let real = |path: &Path| std::fs::canonicalize(path).unwrap_or_else(|_| normalize(path));
    let mut roots = Vec::new();
    if manifest.places.contains_key("state") {
        roots.push(("state".to_owned(), real(&cx.paths.state_dir)));
    }
    if let Some(name) = &manifest.config {
        let inside = cx.paths.config_path.strip_prefix(&cx.paths.state_dir).map(Path::to_owned);
        let place = match inside {
            Ok(rest) => real(&cx.paths.state_dir).join(rest),
            Err(_) => real(&cx.paths.config_path),
        };
        let directory = atomic::parent(&place).to_owned();
        roots.push((name.clone(), place));
        // Their names were checked with the archive: nothing hidden, and below that directory.
        let included = manifest.files.iter().filter_map(|file| Some((&file.name, file.name.strip_prefix("include/")?)));
        roots.extend(included.map(|(name, rest)| (name.clone(), directory.join(rest))));
    }
    // Credentials go where this profile looks for them.
    let own = cx.paths.credentials_dir.strip_prefix(&cx.paths.state_dir).ok();
    let place = own.map_or_else(|| real(&cx.paths.credentials_dir), |rest| real(&cx.paths.state_dir).join(rest));
    let holds = |root: &str| manifest.files.iter().any(|file| Path::new(&file.name).starts_with(root));
    if holds("credentials") {
        roots.push(("credentials".to_owned(), place));
    } else if own.is_none() && holds("state/credentials") {
        roots.push(("state/credentials".to_owned(), place));
    }
    if let Some(was) = manifest.places.get("workspace") {
        let wanted = args.workspace.as_deref().map(|dir| cx.paths.expand(dir));
        let own = default_workspace(cx);
        let place = wanted.or_else(|| (own == Path::new(was) || cx.paths.workspace == Path::new(was)).then_some(own));
        let place = place.ok_or_else(|| {
            Error::new(format!("The backup holds a workspace from {}, which is not this profile's.", plain(was)))
                .hint("Say where it goes: --workspace DIR")
        })?;
        let place = std::path::absolute(&place).unwrap_or(place);
        roots.push(("workspace".to_owned(), real(&place)));
    }
    Ok(Target { roots, suffix: format!(".before-restore-{}", now_ms()) })
}

/// A file, or a directory that is not empty.
fn in_use(place: &Path) -> bool {
    match std::fs::read_dir(place) {
        Ok(mut entries) => entries.next().is_some(),
        Err(_) => std::fs::symlink_metadata(place).is_ok_and(|metadata| !metadata.is_dir()),
    }
}

/// As any other change of the configuration: checked, and the old text is in `.bak`. What it includes has to be there
/// before, and goes again if it is refused.
fn restore_config(cx: &Context, archive: &Path, manifest: &Manifest, mut target: Target) -> Result<Vec<Restored>> {
    let max = usize::try_from(limits::CONFIG_BYTES).unwrap_or(usize::MAX);
    let text = backup::read(archive, "config", max).map_err(|error| not_good(cx, archive, &error))?;
    let text = text.ok_or_else(|| Error::new("The backup holds no configuration.").hint("Nothing was changed."))?;
    target.roots.retain(|(name, _)| name.starts_with("include/"));
    let included = restore::restore(archive, manifest, &target, &mut |_, _| {});
    let included = included.map_err(|error| not_restored(cx, &error))?;
    let options = WriteOptions { replace: true, ..WriteOptions::default() };
    match config_file::write(&cx.paths, &FsSource, &[Edit::Replace(text)], &options) {
        Ok(written) => Ok([vec![(written.path, written.backup)], included].concat()),
        Err(error) => {
            restore::undo(&included);
            Err(super::setup::not_written(cx, &error))
        }
    }
}

fn not_restored(cx: &Context, error: &io::Error) -> Error {
    let hint = match error.kind() {
        io::ErrorKind::ResourceBusy => {
            "A mount point cannot be swapped: restore to another OPENCLAW_STATE_DIR and copy the files."
        }
        io::ErrorKind::StorageFull => "Make room: both states have to fit beside each other.",
        _ => "Check owner and free space of the directory above the state directory.",
    };
    Error::new(plain(&format!("Nothing was restored, {} is as it was: {error}", cx.short(&cx.paths.state_dir))))
        .hint(hint)
}
