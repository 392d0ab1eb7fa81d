//! A backup goes back to its places: what comes is written beside its place and swapped in as a whole. Whatever happens
//! on the way, one of the two states is there. Nothing is written but to the places that the caller names.
//!
//! Runs on the main thread of a command.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::atomic;
use super::backup::{Manifest, Step, Sum, bad, copy, each, named};
use crate::ids;
use crate::sys::{dirs, rename};

/// Where the roots of an archive go.
#[derive(Clone, Debug)]
pub struct Target {
    /// Name of the root, directory or file to replace.
    pub roots: Vec<(String, PathBuf)>,
    /// `<place><suffix>` keeps what was there.
    pub suffix: String,
}

/// A place, and where what stood there is kept.
pub type Restored = (PathBuf, Option<PathBuf>);

/// Puts a verified archive in place.
pub fn restore(archive: &Path, manifest: &Manifest, target: &Target, step: Step<'_>) -> io::Result<Vec<Restored>> {
    let staged = StagedRoots::new(target)?;
    let sums: BTreeMap<&str, &Sum> = manifest.files.iter().map(|file| (file.name.as_str(), file)).collect();
    each(archive, &mut |member, content| {
        let Some(path) = staged.path(&member.name) else { return Ok(()) };
        if member.directory {
            atomic::create_dirs(&path)?;
            set_mode(&path, member.mode | 0o700)?;
            return Ok(());
        }
        atomic::create_dirs(atomic::parent(&path))?;
        let mut file = atomic::new_private(&path)?;
        let (bytes, sha256) = copy(content, &mut file)?;
        if sums.get(member.name.as_str()).is_none_or(|sum| sum.bytes != bytes || sum.sha256 != sha256) {
            return Err(bad(format!("{} has changed since it was verified", member.name)));
        }
        let _ = file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(member.modified));
        set_mode(&path, member.mode | 0o600)?;
        file.sync_all()?;
        step(&member.name, bytes);
        Ok(())
    })?;
    staged.leave_theirs();
    staged.commit(&target.suffix)
}

/// Each root beside its place; removed again unless committed.
struct StagedRoots {
    roots: Vec<(String, PathBuf, PathBuf)>,
    /// Roots of the archive that go into one of the others.
    inner: Vec<(String, PathBuf)>,
}

impl StagedRoots {
    fn new(target: &Target) -> io::Result<StagedRoots> {
        let mut roots: Vec<(String, PathBuf, PathBuf)> = Vec::new();
        let mut inner = Vec::new();
        let outermost =
            |place: &Path| !target.roots.iter().any(|(_, other)| other != place && place.starts_with(other));
        for (name, place) in target.roots.iter().filter(|(_, place)| outermost(place)) {
            let beside = with_suffix(place, &format!(".restoring-{}", ids::new_entry_id()));
            atomic::create_dirs(atomic::parent(place))?;
            roots.push((name.clone(), place.clone(), beside));
        }
        for (name, place) in target.roots.iter().filter(|(_, place)| !outermost(place)) {
            let around = roots.iter().find_map(|(_, outer, beside)| Some(beside.join(place.strip_prefix(outer).ok()?)));
            inner.extend(around.map(|place| (name.clone(), place)));
        }
        Ok(StagedRoots { roots, inner })
    }

    /// Where a member is written for now; None when its root is not wanted.
    fn path(&self, member: &str) -> Option<PathBuf> {
        let outer = self.roots.iter().map(|(name, _, beside)| (name, beside));
        // The longest name first: a file of the state may have a place of its own.
        let mut known: Vec<(&String, &PathBuf)> =
            self.inner.iter().map(|(name, place)| (name, place)).chain(outer).collect();
        known.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
        known.into_iter().find_map(|(name, beside)| {
            let rest = member.strip_prefix(name.as_str())?;
            match rest.strip_prefix('/') {
                Some(rest) => Some(beside.join(rest)),
                None => rest.is_empty().then(|| beside.clone()),
            }
        })
    }

    /// What root restores belongs to whom the old one belonged.
    fn leave_theirs(&self) {
        for (_, place, beside) in &self.roots {
            give(beside, place);
        }
    }

    fn commit(mut self, suffix: &str) -> io::Result<Vec<Restored>> {
        for (_, _, beside) in &self.roots {
            sync_tree(beside)?;
        }
        let mut done: Vec<Restored> = Vec::new();
        for (_, place, beside) in std::mem::take(&mut self.roots) {
            if fs::symlink_metadata(&beside).is_err() {
                continue;
            }
            match swap_in(&place, &beside, suffix) {
                Ok(kept) => done.push((place, kept)),
                Err(error) => {
                    remove(&beside);
                    undo(&done);
                    return Err(error);
                }
            }
        }
        Ok(done)
    }
}

/// What has been put in place goes again, and what stood there comes back.
pub fn undo(done: &[Restored]) {
    for (place, kept) in done.iter().rev() {
        remove(place);
        if let Some(kept) = kept {
            let _ = fs::rename(kept, place);
        }
    }
}

impl Drop for StagedRoots {
    fn drop(&mut self) {
        for (_, _, beside) in &self.roots {
            remove(beside);
        }
    }
}

/// The new in the old one's place; where the old one is now.
fn swap_in(place: &Path, beside: &Path, suffix: &str) -> io::Result<Option<PathBuf>> {
    let parent = atomic::parent(place);
    let kept = with_suffix(place, suffix);
    match fs::symlink_metadata(place) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            fs::rename(beside, place)?;
            atomic::sync_directory(parent)?;
            return Ok(None);
        }
        Err(error) => return Err(error),
        Ok(_) => {}
    }
    match rename::exchange(beside, place) {
        Ok(()) => fs::rename(beside, &kept)?,
        // Two steps where the system has no swap; if the second fails the first is undone.
        Err(error) if error.kind() == io::ErrorKind::Unsupported => {
            fs::rename(place, &kept)?;
            if let Err(error) = fs::rename(beside, place) {
                fs::rename(&kept, place)?;
                return Err(error);
            }
        }
        Err(error) => return Err(named(place, &error)),
    }
    atomic::sync_directory(parent)?;
    Ok(Some(kept))
}

/// Moves something aside: the new name.
pub fn move_aside(path: &Path, suffix: &str) -> io::Result<PathBuf> {
    let kept = with_suffix(path, suffix);
    fs::rename(path, &kept)?;
    atomic::sync_directory(atomic::parent(path))?;
    Ok(kept)
}

/// A tree that was just written here; it holds files and directories only.
fn give(tree: &Path, like: &Path) {
    if let Ok(file) = fs::File::open(tree) {
        dirs::leave_theirs(&file, like);
    }
    for entry in fs::read_dir(tree).into_iter().flatten().flatten() {
        give(&entry.path(), like);
    }
}

fn sync_tree(path: &Path) -> io::Result<()> {
    let Ok(metadata) = fs::symlink_metadata(path) else { return Ok(()) };
    if !metadata.is_dir() {
        return Ok(());
    }
    for entry in fs::read_dir(path)? {
        sync_tree(&entry?.path())?;
    }
    atomic::sync_directory(path)
}

fn remove(path: &Path) {
    let _ = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

#[cfg(unix)]
fn set_mode(path: &Path, mode: u32) -> io::Result<()> {
    fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode & 0o777))
}

#[cfg(not(unix))]
fn set_mode(_path: &Path, _mode: u32) -> io::Result<()> {
    Ok(())
}
