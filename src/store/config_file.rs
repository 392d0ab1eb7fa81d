//! The one way in which a configuration is written: RPC, commands, the first token, repairs (config A6).
//!
//! Any thread. A write holds an flock on the file's directory against other writers of ours. The reference takes none,
//! so the file is looked at again just before it is replaced, what is replaced is swapped out and compared, and the new
//! file is looked at once more. Whatever fails, the old file stays whole; a killed writer leaves at most a temporary
//! file, which the next write or start removes.

use std::fs::{self, File, TryLockError};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::atomic::{self, Staged};
use super::config_audit::{self, Entry, Outcome};
use super::config_error::SYNC;
pub use super::config_error::WriteError;
use super::transcript::iso_time;
use crate::config::env::{self, Env};
use crate::config::get_path::{get, lookup};
use crate::config::merge::{self, InTheWay};
use crate::config::{self, Loaded, Paths, Source, diff, edit, legacy, redact, render, spans, text};
use crate::limits;
use crate::protocol::COMPAT_VERSION;
use crate::sys::dirs;

/// How often a writer that waits for another one tries again.
const LOCK_POLL: Duration = Duration::from_millis(5);
/// A file at least this large may not lose more than half of itself unasked.
const SHRINK_FROM: usize = 512;
/// `.bak`, `.bak.1` … `.bak.4`.
const NUMBERED_BACKUPS: u32 = 4;
const BOM: &[u8] = b"\xEF\xBB\xBF";

/// One change. Paths are keys and list positions.
#[derive(Clone, Debug, PartialEq)]
pub enum Edit {
    Set {
        path: Vec<String>,
        value: Value,
    },
    Unset {
        path: Vec<String>,
    },
    /// Keys of earlier versions go to their new places. Any other change brings that about, too (DECISIONS 73).
    MoveOldKeys,
    /// A merge patch (RFC 7396; lists of objects with `id` merge by it).
    Merge(Value),
    /// A whole text. Plain JSON is taken as a value and the text of the file is kept where it says the same; a text with
    /// comments or other JSON5 is somebody's own and is taken as it is.
    Replace(String),
}

impl Edit {
    /// For paths that are written in the code.
    pub fn set(path: &str, value: impl Into<Value>) -> Edit {
        Edit::Set { path: path.split('.').map(str::to_owned).collect(), value: value.into() }
    }
}

/// Under which conditions a write is allowed.
#[derive(Clone, Copy, Debug, Default)]
pub struct WriteOptions<'a> {
    /// SHA-256 of the file that the change was made for.
    pub base_hash: Option<&'a str>,
    /// An existing file is changed only with the right `base_hash`.
    pub require_base_hash: bool,
    /// The file must be valid before the change, not only after it.
    pub require_valid: bool,
    /// Told to: `gateway.mode` may go, the file may lose more than half, a file that cannot be read may be replaced.
    pub replace: bool,
}

/// What a write did.
#[derive(Clone, Debug)]
pub struct Written {
    pub path: PathBuf,
    /// The configuration as it is now.
    pub loaded: Loaded,
    pub old_hash: String,
    pub new_hash: String,
    /// Where the text that was replaced is.
    pub backup: Option<PathBuf>,
    pub anomalies: Vec<String>,
    /// Dotted paths that differ, without the stamp.
    pub changed_paths: Vec<String>,
    /// There was nothing to change: nothing was written.
    pub unchanged: bool,
    /// Somebody else wrote at the same moment; a line says where whose text is.
    pub race_lost: bool,
    /// For the log or standard error.
    pub lines: Vec<String>,
}

/// Changes the configuration file.
pub fn write(
    paths: &Paths,
    source: &dyn Source,
    edits: &[Edit],
    options: &WriteOptions<'_>,
) -> Result<Written, WriteError> {
    let target = real_target(&paths.config_path);
    let directory = atomic::parent(&target);
    atomic::create_dirs(directory).map_err(|error| io_error("create the directory", directory, error))?;
    let _lock = lock(directory)?;
    let old = Present::read(paths, source)?;
    old.check_base(options)?;
    let plan = Plan::make(paths, source, &old, edits, options)?;
    match plan {
        None => Ok(old.unchanged(paths)),
        Some(plan) => plan.carry_out(paths, source, old, &target),
    }
}

/// Whether a write with these conditions would be allowed at all, whatever it changes.
pub fn check(paths: &Paths, source: &dyn Source, options: &WriteOptions<'_>) -> Result<(), WriteError> {
    let old = Present::read(paths, source)?;
    old.check_base(options)?;
    old.check_valid(options)
}

/// The file as it is before the change.
struct Present {
    bytes: Option<Vec<u8>>,
    loaded: Loaded,
}

impl Present {
    fn read(paths: &Paths, source: &dyn Source) -> Result<Present, WriteError> {
        let bytes = match source.read(&paths.config_path) {
            Ok(bytes) => Some(bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(WriteError::BaseHashUnavailable(error)),
        };
        let loaded = config::load_bytes(paths, source, bytes.as_deref());
        Ok(Present { bytes, loaded })
    }

    fn check_base(&self, options: &WriteOptions<'_>) -> Result<(), WriteError> {
        match options.base_hash {
            Some(hash) if self.bytes.is_some() && hash != self.loaded.hash => Err(WriteError::BaseHashStale),
            None if self.bytes.is_some() && options.require_base_hash => Err(WriteError::BaseHashMissing),
            _ => Ok(()),
        }
    }

    fn check_valid(&self, options: &WriteOptions<'_>) -> Result<(), WriteError> {
        match options.require_valid && !self.loaded.valid() {
            true => Err(WriteError::Invalid { issues: self.loaded.issues.clone(), before: true }),
            false => Ok(()),
        }
    }

    /// An object that can be edited; a file that says nothing is not taken for an empty one.
    fn readable(&self) -> Result<(), WriteError> {
        if self.bytes.is_none() || self.loaded.parsed.is_object() {
            return Ok(());
        }
        let issue = self.loaded.issues.first();
        Err(WriteError::Unreadable(issue.map_or_else(|| "it holds no object".into(), |issue| issue.message.clone())))
    }

    fn text(&self) -> &str {
        self.loaded.raw.as_deref().unwrap_or_default()
    }

    fn unchanged(self, paths: &Paths) -> Written {
        Written {
            path: paths.config_path.clone(),
            old_hash: self.loaded.hash.clone(),
            new_hash: self.loaded.hash.clone(),
            loaded: self.loaded,
            backup: None,
            anomalies: Vec::new(),
            changed_paths: Vec::new(),
            unchanged: true,
            race_lost: false,
            lines: Vec::new(),
        }
    }
}

/// A change that may be made.
struct Plan {
    bytes: Vec<u8>,
    loaded: Loaded,
    anomalies: Vec<String>,
    changed_paths: Vec<String>,
}

impl Plan {
    /// None: there is nothing to change.
    fn make(
        paths: &Paths,
        source: &dyn Source,
        old: &Present,
        edits: &[Edit],
        options: &WriteOptions<'_>,
    ) -> Result<Option<Plan>, WriteError> {
        old.check_valid(options)?;
        let (base, mut wanted) = wanted(old, edits, options)?;
        merge::restore_secrets(&mut wanted, &old.loaded.parsed).map_err(WriteError::Sentinel)?;
        let mut env = Env::new(source, &paths.state_dir);
        env.add_block(&old.loaded.resolved);
        merge::restore_placeholders(&mut wanted, &old.loaded.parsed, &|text| {
            let mut missing = Vec::new();
            let value = env::expand(text, &mut |name| env.get(name), &mut missing);
            missing.is_empty().then_some(value)
        });
        let new_text = |wanted: &Value| match old.bytes {
            None if base.is_empty() => render::print_file(wanted),
            _ => edit::rewrite(&base, wanted),
        };
        if old.bytes.is_some() && new_text(&wanted) == old.text() {
            check_includes(paths, source, edits, &wanted, &old.loaded)?;
            return Ok(None);
        }
        let migrated = legacy::migrate(&mut wanted);
        stamp(&mut wanted);
        let marked = old.bytes.as_ref().is_some_and(|bytes| bytes.starts_with(BOM));
        let mut bytes = if marked { BOM.to_vec() } else { Vec::new() };
        bytes.extend_from_slice(new_text(&wanted).as_bytes());
        let loaded = config::load_bytes(paths, source, Some(&bytes));
        if !loaded.valid() {
            return Err(WriteError::Invalid { issues: loaded.issues, before: false });
        }
        if bytes.len() as u64 > limits::CONFIG_BYTES {
            let reason = format!("the file would be larger than {} bytes", limits::CONFIG_BYTES);
            return Err(WriteError::Refused { reason, replace_helps: false });
        }
        if migrated.found.is_empty() {
            check_includes(paths, source, edits, &wanted, &loaded)?;
        }
        let anomalies = anomalies(old, &bytes, &loaded, options)?;
        let changed = diff::changed_paths(&old.loaded.resolved, &loaded.resolved);
        let changed_paths = changed.into_iter().filter(|path| *path != "meta" && !path.starts_with("meta.")).collect();
        Ok(Some(Plan { bytes, loaded, anomalies, changed_paths }))
    }

    fn carry_out(self, paths: &Paths, source: &dyn Source, old: Present, target: &Path) -> Result<Written, WriteError> {
        let backup = old.bytes.is_some().then(|| with_suffix(&paths.config_path, ".bak"));
        let replaced = self.replace(paths, source, &old, target, backup.as_deref());
        let new_hash = self.loaded.hash.clone();
        let mode =
            |loaded: &Loaded| lookup(&loaded.resolved, "gateway.mode").and_then(Value::as_str).map(str::to_owned);
        let outcome = match &replaced {
            Ok(_) => Outcome::Renamed,
            Err(error) => Outcome::Failed { code: error.code(), message: error.to_string() },
        };
        config_audit::record(
            &paths.state_dir,
            &Entry {
                config_path: &paths.config_path,
                old_hash: old.bytes.as_ref().map(|_| old.loaded.hash.as_str()),
                new_hash: &new_hash,
                old_bytes: old.bytes.as_ref().map(Vec::len),
                new_bytes: self.bytes.len(),
                changed_paths: self.changed_paths.len(),
                meta_before: has_meta(&old.loaded),
                meta_after: has_meta(&self.loaded),
                mode_before: mode(&old.loaded),
                mode_after: mode(&self.loaded),
                suspicious: &self.anomalies,
                outcome,
            },
        );
        let mut lines = Vec::new();
        let shown = paths.tilde(&paths.config_path);
        if let (Ok(_), Some(backup)) = (&replaced, &backup) {
            let (before, backup) = (&old.loaded.hash, paths.tilde(backup));
            lines.push(format!("Config overwrite: {shown} (sha256 {before} -> {new_hash}, backup={backup})"));
        }
        if !self.anomalies.is_empty() {
            lines.push(format!("Config write anomaly: {shown} ({})", self.anomalies.join(", ")));
        }
        let race = replaced?;
        lines.extend(race.iter().cloned());
        Ok(Written {
            path: paths.config_path.clone(),
            loaded: self.loaded,
            old_hash: old.loaded.hash,
            new_hash,
            backup,
            anomalies: self.anomalies,
            changed_paths: self.changed_paths,
            unchanged: false,
            race_lost: race.is_some(),
            lines,
        })
    }

    /// Puts the new file in the old one's place. Some: a line about somebody who wrote at the same moment.
    fn replace(
        &self,
        paths: &Paths,
        source: &dyn Source,
        old: &Present,
        target: &Path,
        backup: Option<&Path>,
    ) -> Result<Option<String>, WriteError> {
        let directory = atomic::parent(target);
        atomic::sweep_temporary(directory);
        // Both files are written and synced before anything is moved: a full disk is found out here.
        let staged = stage(target, &self.bytes).map_err(|error| io_error("write the new file", target, error))?;
        let Some((backup, text)) = backup.zip(old.bytes.as_deref()) else {
            let fresh = staged.commit_new().map_err(|error| io_error("put the new file in place", target, error))?;
            return if fresh { Ok(None) } else { Err(WriteError::LostRace) };
        };
        let copy = stage(backup, text).map_err(|error| io_error("write the backup", backup, error))?;
        // The copy belongs to whom the file belongs.
        dirs::leave_theirs(copy.file(), target);
        keep_readers(staged.file(), target).map_err(|error| io_error("write the new file", target, error))?;
        if !source.read(&paths.config_path).is_ok_and(|now| now == text) {
            return Err(WriteError::LostRace);
        }
        rotate(backup).map_err(|error| io_error("rotate the backups", backup, error))?;
        copy.commit_without_directory().map_err(|error| io_error("put the backup in place", backup, error))?;
        let swapped = staged.swap().map_err(|error| io_error("put the new file in place", target, error))?;
        let theirs = swapped.filter(|swapped| swapped != text);
        if let Some(theirs) = &theirs {
            let kept = rotate(backup).and_then(|()| atomic::write(backup, theirs));
            kept.map_err(|error| io_error("keep the text of another writer", backup, error))?;
        }
        let mut directories = vec![directory, atomic::parent(backup)];
        directories.dedup();
        for directory in directories {
            atomic::sync_directory(directory).map_err(|error| io_error(SYNC, directory, error))?;
        }
        let shown = paths.tilde(&paths.config_path);
        if theirs.is_some() {
            let backup = paths.tilde(backup);
            return Ok(Some(format!(
                "Config write race: {shown} was changed by another program at the same moment; its text is in {backup}"
            )));
        }
        let ours = source.read(&paths.config_path).is_ok_and(|now| now == self.bytes);
        Ok((!ours)
            .then(|| format!("Config write race: {shown} was replaced by another program right after this write")))
    }
}

/// What the file is to say, and the text to start from.
fn wanted(old: &Present, edits: &[Edit], options: &WriteOptions<'_>) -> Result<(String, Value), WriteError> {
    let mut base = old.text().to_owned();
    let mut wanted = match old.readable() {
        Ok(()) => old.loaded.parsed.clone(),
        // Somebody who shows its hash, or was told to, knows what goes.
        Err(error) => match edits.first() {
            Some(Edit::Replace(_)) if options.replace || options.base_hash.is_some() => Value::Null,
            _ => return Err(error),
        },
    };
    for edit in edits {
        match edit {
            Edit::Set { path, value } => merge::set(&mut wanted, path, value.clone()).map_err(|InTheWay(at)| {
                let what = if at.is_empty() { "the file".to_owned() } else { at };
                let step = path.iter().map(String::as_str).collect::<Vec<_>>().join(".");
                let reason = format!("{what} has no place for {step}: it is not an object, or no list that long");
                WriteError::Refused { reason, replace_helps: false }
            })?,
            Edit::Unset { path } => {
                if !merge::unset(&mut wanted, path) {
                    let name = path.join(".");
                    let included = !old.loaded.includes.is_empty() && get(&old.loaded.resolved, path).is_some();
                    return Err(match included {
                        true => from_include(&wanted, path, &old.loaded),
                        false => WriteError::NotFound(name),
                    });
                }
            }
            Edit::MoveOldKeys => drop(legacy::migrate(&mut wanted)),
            Edit::Merge(patch) => merge::patch(&mut wanted, patch),
            Edit::Replace(raw) => {
                let value = text::parse(raw.trim_start_matches('\u{feff}')).map_err(WriteError::Syntax)?;
                let own_text = serde_json::from_str::<serde::de::IgnoredAny>(raw).is_err()
                    || spans::scan(raw).is_none_or(|spans| !spans.comments.is_empty());
                if own_text || wanted.is_null() {
                    base = redact::restore_comments(raw.trim_start_matches('\u{feff}'), old.text());
                }
                wanted = value;
            }
        }
    }
    Ok((base, wanted))
}

/// Who wrote the file last, and when (config A6).
fn stamp(wanted: &mut Value) {
    let Value::Object(root) = wanted else { return };
    let meta = root.entry("meta").or_insert_with(|| json!({}));
    if !meta.is_object() {
        *meta = json!({});
    }
    meta["lastTouchedVersion"] = json!(COMPAT_VERSION);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_millis() as u64);
    meta["lastTouchedAt"] = json!(iso_time(now));
}

/// What is strange about the change (config A6.7); what is too strange is refused.
fn anomalies(
    old: &Present,
    bytes: &[u8],
    loaded: &Loaded,
    options: &WriteOptions<'_>,
) -> Result<Vec<String>, WriteError> {
    let Some(before) = &old.bytes else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    if !has_meta(&old.loaded) {
        found.push("missing-meta-before-write".to_owned());
    }
    let refuse = |reason: String| match options.replace {
        true => Ok(()),
        false => Err(WriteError::Refused { reason, replace_helps: true }),
    };
    if before.len() >= SHRINK_FROM && bytes.len() * 2 < before.len() {
        refuse(format!("the file would shrink from {} to {} bytes", before.len(), bytes.len()))?;
        found.push(format!("size-drop:{}->{}", before.len(), bytes.len()));
    }
    let has_mode = |value: &Value| lookup(value, "gateway.mode").is_some_and(Value::is_string);
    if has_mode(&old.loaded.resolved) && !has_mode(&loaded.resolved) {
        refuse("gateway.mode would be removed, and a gateway without it does not start".into())?;
        found.push("gateway-mode-removed".to_owned());
    }
    Ok(found)
}

fn has_meta(loaded: &Loaded) -> bool {
    loaded.parsed.get("meta").is_some_and(Value::is_object)
}

/// Members of the main file win over an included one, but lists are joined and nothing can be taken away: what would
/// not have the effect that was asked for is refused.
fn check_includes(
    paths: &Paths,
    source: &dyn Source,
    edits: &[Edit],
    wanted: &Value,
    loaded: &Loaded,
) -> Result<(), WriteError> {
    if loaded.includes.is_empty() {
        return Ok(());
    }
    let mut env = Env::new(source, &paths.state_dir);
    env.add_block(&loaded.resolved);
    let mut touched = Vec::new();
    for edit in edits {
        match edit {
            Edit::Set { path, .. } => touched.push(path.clone()),
            Edit::Merge(patch) => leaves(patch, &mut Vec::new(), &mut touched),
            Edit::Unset { .. } | Edit::MoveOldKeys | Edit::Replace(_) => {}
        }
    }
    for path in touched {
        let meant = get(wanted, &path).cloned().map(|mut value| {
            env.substitute(&mut value, &mut Vec::new());
            value
        });
        let includes = meant.as_ref().is_some_and(|value| value.to_string().contains("\"$include\""));
        let got = get(&loaded.resolved, &path);
        let right = match (&meant, got) {
            (Some(meant), Some(got)) => diff::same(meant, got),
            (None, None) => true,
            _ => false,
        };
        if !right && !includes {
            return Err(from_include(wanted, &path, loaded));
        }
    }
    Ok(())
}

fn leaves(patch: &Value, path: &mut Vec<String>, out: &mut Vec<Vec<String>>) {
    match patch {
        Value::Object(map) if !map.is_empty() => {
            for (key, value) in map {
                path.push(key.clone());
                leaves(value, path, out);
                path.pop();
            }
        }
        Value::Object(_) => {}
        _ => out.push(path.clone()),
    }
}

fn from_include(main: &Value, path: &[String], loaded: &Loaded) -> WriteError {
    // The innermost include on the way is the one that has it.
    let on_the_way = (0..=path.len()).rev().filter_map(|depth| get(main, &path[..depth])?.get("$include").cloned());
    let files = match on_the_way.into_iter().next() {
        Some(Value::String(file)) => file,
        Some(Value::Array(files)) => files.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", "),
        _ => loaded.includes.iter().map(|file| file.display().to_string()).collect::<Vec<_>>().join(", "),
    };
    let path = path.join(".");
    let reason = format!(
        "{path} comes from an included file ({files}); change it there: lists of both files are joined, and nothing is taken away from here"
    );
    WriteError::Refused { reason, replace_helps: false }
}

/// The file behind symbolic links: they stay, what they lead to is replaced.
fn real_target(path: &Path) -> PathBuf {
    if let Ok(real) = fs::canonicalize(path) {
        return real;
    }
    match fs::read_link(path) {
        Ok(link) => atomic::parent(path).join(link),
        Err(_) => path.to_path_buf(),
    }
}

/// Keeps other writers of ours out. The directory itself is locked: that leaves no file behind and needs no right to
/// write. A file system without locks counts as free.
fn lock(directory: &Path) -> Result<Option<File>, WriteError> {
    let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
    let Ok(file) = File::open(directory) else { return Ok(None) };
    let deadline = Instant::now() + limits::LOCK_WAIT;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(Some(file)),
            Err(TryLockError::Error(_)) => return Ok(None),
            Err(TryLockError::WouldBlock) if Instant::now() >= deadline => return Err(WriteError::Locked),
            Err(TryLockError::WouldBlock) => thread::sleep(LOCK_POLL),
        }
    }
}

fn stage(target: &Path, bytes: &[u8]) -> io::Result<Staged> {
    let staged = Staged::create(target)?;
    staged.file().write_all(bytes)?;
    staged.file().sync_all()?;
    Ok(staged)
}

/// `.bak.3` → `.bak.4` … `.bak` → `.bak.1`. Higher numbers go; names that somebody gave by hand stay.
fn rotate(backup: &Path) -> io::Result<()> {
    let numbered = |n: u32| with_suffix(backup, &format!(".{n}"));
    for n in (1..NUMBERED_BACKUPS).rev() {
        rename_if_there(&numbered(n), &numbered(n + 1))?;
    }
    rename_if_there(backup, &numbered(1))?;
    let prefix = format!("{}.", backup.file_name().unwrap_or_default().to_string_lossy());
    for entry in fs::read_dir(atomic::parent(backup))?.flatten() {
        let number = entry.file_name().to_str().and_then(|name| name.strip_prefix(&prefix)?.parse::<u32>().ok());
        if number.is_some_and(|n| n > NUMBERED_BACKUPS) {
            let _ = fs::remove_file(entry.path());
        }
    }
    Ok(())
}

fn rename_if_there(from: &Path, to: &Path) -> io::Result<()> {
    match fs::rename(from, to) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// What root keeps for a service to read stays readable for it; every other file is closed to all but its owner.
fn keep_readers(file: &File, old: &Path) -> io::Result<()> {
    #[cfg(unix)]
    if fs::metadata(old).is_ok_and(|old| dirs::is_for_a_service(&old))
        && file.metadata().is_ok_and(|new| std::os::unix::fs::MetadataExt::gid(&new) != 0)
    {
        file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o640))?;
    }
    #[cfg(not(unix))]
    let _ = (file, old);
    Ok(())
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn io_error(step: &'static str, path: &Path, error: io::Error) -> WriteError {
    WriteError::Io { step, path: path.to_path_buf(), error }
}
