//! Backups: configuration and state in one tar file with a list of sums, checked, and put back.
//!
//! Runs on the main thread of a command. Archive: `state/…`, `config/<name>` when the configuration lies elsewhere,
//! `workspace/…` when the workspace does, and `manifest.json` as the last member. What comes back is written beside its
//! place and swapped in as a whole: whatever happens on the way, one of the two states is there.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::atomic::{self, Staged};
use super::tar::{self, Member, Reader};
use crate::sys::rename;
use crate::{ids, limits};

pub const FORMAT: u32 = 1;
const MANIFEST: &str = "manifest.json";
/// A file that is written to while it is read is read again.
const TRIES: usize = 5;
const PIECE: usize = 64 * 1024;

/// What a backup holds: name in the archive, place on the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Root {
    pub name: &'static str,
    pub path: PathBuf,
}

/// What is left out.
#[derive(Clone, Debug, Default)]
pub struct Leave {
    /// Directories and files by their place.
    pub paths: Vec<PathBuf>,
}

#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    pub format: u32,
    pub created_at: String,
    pub version: String,
    pub only_config: bool,
    /// The configuration's name in the archive; None when there was none.
    pub config: Option<String>,
    /// Where things were: `state` → `/home/u/.openclaw`.
    pub places: BTreeMap<String, String>,
    pub files: Vec<Sum>,
    /// What was left out although nobody asked for it: name and reason.
    pub skipped: Vec<(String, String)>,
}

#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct Sum {
    pub name: String,
    pub bytes: u64,
    pub sha256: String,
}

impl Manifest {
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }
}

/// One file or directory that goes into a backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    pub name: String,
    pub path: PathBuf,
    pub directory: bool,
}

/// What goes in and what does not, with the reason.
#[derive(Clone, Debug, Default)]
pub struct Listing {
    pub items: Vec<Item>,
    pub skipped: Vec<(String, String)>,
}

/// Called with a file's name and its length as the work goes on.
pub type Step<'a> = &'a mut dyn FnMut(&str, u64);

/// Everything below the roots in the order of names; links are not followed, sockets, locks and temporary files no state.
pub fn list(roots: &[Root], leave: &Leave) -> io::Result<Listing> {
    let mut listing = Listing::default();
    for root in roots {
        let place = fs::canonicalize(&root.path)?;
        if fs::metadata(&place)?.is_file() {
            listing.items.push(Item { name: root.name.to_owned(), path: place, directory: false });
        } else {
            walk(root.name, &place, leave, &mut listing)?;
        }
    }
    Ok(listing)
}

fn walk(name: &str, directory: &Path, leave: &Leave, into: &mut Listing) -> io::Result<()> {
    into.items.push(Item { name: name.to_owned(), path: directory.to_owned(), directory: true });
    let mut entries = fs::read_dir(directory)?.collect::<io::Result<Vec<_>>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        let Some(own) = entry.file_name().to_str().map(str::to_owned) else {
            into.skipped.push((format!("{name}/{}", entry.file_name().display()), "its name is not UTF-8".into()));
            continue;
        };
        let name = format!("{name}/{own}");
        let kind = entry.file_type()?;
        if leave.paths.contains(&path) || own.ends_with(".lock") || atomic::is_temporary(&own) {
            continue;
        }
        if kind.is_dir() {
            walk(&name, &path, leave, into)?;
        } else if kind.is_file() {
            into.items.push(Item { name, path, directory: false });
        } else if kind.is_symlink() {
            into.skipped.push((name, "a link; links are not followed".into()));
        }
    }
    Ok(())
}

/// Writes the archive, 0600, whole or not at all; an existing file wins.
pub fn create(output: &Path, listing: &Listing, mut manifest: Manifest, step: Step<'_>) -> io::Result<Manifest> {
    let staged = Staged::create(output)?;
    let mut out = BufWriter::with_capacity(PIECE, staged.file());
    manifest.skipped.clone_from(&listing.skipped);
    for item in &listing.items {
        if item.directory {
            let metadata = fs::metadata(&item.path)?;
            out.write_all(&member(&item.name, true, 0, &metadata).head())?;
            continue;
        }
        match add(&mut out, item)? {
            Some(sum) => {
                step(&sum.name, sum.bytes);
                manifest.files.push(sum);
            }
            None => manifest.skipped.push((item.name.clone(), "it went away meanwhile".into())),
        }
    }
    let text = serde_json::to_vec_pretty(&manifest)?;
    let modified = since_1970(SystemTime::now());
    let last = Member { name: MANIFEST.into(), directory: false, bytes: text.len() as u64, mode: 0o600, modified };
    out.write_all(&last.head())?;
    out.write_all(&text)?;
    out.write_all(&vec![0; tar::padding(last.bytes)])?;
    tar::write_end(&mut out)?;
    out.into_inner().map_err(io::IntoInnerError::into_error)?;
    match staged.commit_new()? {
        true => Ok(manifest),
        false => Err(io::ErrorKind::AlreadyExists.into()),
    }
}

/// None: the file is gone. The content is as long as the head says, or the member is written again.
fn add(out: &mut BufWriter<&File>, item: &Item) -> io::Result<Option<Sum>> {
    let start = out.stream_position()?;
    for _ in 0..TRIES {
        let file = match atomic::open_plain(&item.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(named(&item.path, &error)),
        };
        let metadata = file.metadata()?;
        let bytes = metadata.len();
        out.write_all(&member(&item.name, false, bytes, &metadata).head())?;
        // A transcript may grow meanwhile; what it had at the beginning is whole.
        let (copied, sha256) = copy(file.take(bytes), out).map_err(|error| named(&item.path, &error))?;
        if copied == bytes {
            out.write_all(&vec![0; tar::padding(bytes)])?;
            return Ok(Some(Sum { name: item.name.clone(), bytes, sha256 }));
        }
        out.seek(SeekFrom::Start(start))?;
        out.get_ref().set_len(start)?;
    }
    Err(io::Error::other(format!("{} changes all the time", item.path.display())))
}

fn member(name: &str, directory: bool, bytes: u64, metadata: &fs::Metadata) -> Member {
    let modified = metadata.modified().map_or(0, since_1970);
    Member { name: name.to_owned(), directory, bytes, mode: mode_of(metadata), modified }
}

/// Bytes copied and their SHA-256.
fn copy(mut from: impl io::Read, to: &mut impl io::Write) -> io::Result<(u64, String)> {
    let mut sum = ids::Sha256::new();
    let mut piece = vec![0; PIECE];
    let mut total = 0;
    loop {
        let read = match from.read(&mut piece) {
            Ok(0) => return Ok((total, sum.hex())),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        sum.update(&piece[..read]);
        to.write_all(&piece[..read])?;
        total += read as u64;
    }
}

/// Reads the whole archive and compares each file with its sum. The error says what is wrong.
pub fn verify(archive: &Path, step: Step<'_>) -> io::Result<Manifest> {
    let mut found = BTreeMap::new();
    let text = each(archive, &mut |member, content| {
        let (bytes, sha256) = copy(content, &mut io::sink())?;
        if !member.directory {
            found.insert(member.name.clone(), (bytes, sha256));
        }
        step(&member.name, bytes);
        Ok(())
    })?;
    let manifest: Manifest = serde_json::from_str(&text).map_err(|e| bad(format!("its manifest is damaged: {e}")))?;
    if manifest.format != FORMAT {
        return Err(bad(format!("it has format {}, this version reads {FORMAT}", manifest.format)));
    }
    for file in &manifest.files {
        match found.remove(&file.name) {
            None => return Err(bad(format!("{} is missing in it", file.name))),
            Some((bytes, sum)) if bytes != file.bytes || sum != file.sha256 => {
                return Err(bad(format!("{} is not as it was saved", file.name)));
            }
            Some(_) => {}
        }
    }
    match found.keys().next() {
        Some(name) => Err(bad(format!("{name} is not in its manifest"))),
        None => Ok(manifest),
    }
}

type Content = Reader<BufReader<File>>;

/// Calls for every member but the manifest, whose text is the result. Names are checked before.
fn each(archive: &Path, run: &mut dyn FnMut(&Member, &mut Content) -> io::Result<()>) -> io::Result<String> {
    let mut reader = Reader::new(BufReader::with_capacity(PIECE, File::open(archive)?));
    let mut seen = std::collections::BTreeSet::new();
    while let Some(member) = reader.member()? {
        if member.name == MANIFEST && !member.directory {
            let text = reader.text(limits::BACKUP_MANIFEST_BYTES)?;
            return match reader.member()? {
                None => Ok(text),
                Some(member) => Err(bad(format!("{} stands behind its manifest", member.name.escape_debug()))),
            };
        }
        check_name(&member.name)?;
        if !seen.insert(member.name.clone()) {
            return Err(bad(format!("{} is in it twice", member.name)));
        }
        if seen.len() > limits::BACKUP_FILES {
            return Err(bad(format!("it holds more than {} files", limits::BACKUP_FILES)));
        }
        run(&member, &mut reader)?;
    }
    Err(bad("it has no manifest".into()))
}

/// Below one of our roots and nowhere else.
fn check_name(name: &str) -> io::Result<()> {
    let inside = Path::new(name).components().all(|part| matches!(part, Component::Normal(_)));
    let plain = !name.contains(['\\', '\0']) && !name.ends_with('/') && !name.contains("//") && !name.contains("/./");
    let root = name.split('/').next().unwrap_or_default();
    match inside && plain && matches!(root, "state" | "config" | "workspace") {
        true => Ok(()),
        false => Err(bad(format!("it holds the path \"{}\", which leads elsewhere", name.escape_debug()))),
    }
}

/// Where the roots of an archive go.
#[derive(Clone, Debug)]
pub struct Target {
    /// Name of the root, directory or file to replace.
    pub roots: Vec<(String, PathBuf)>,
    /// `<place><suffix>` keeps what was there.
    pub suffix: String,
}

/// Puts a verified archive in place. Gives the places and where what stood there is kept.
pub fn restore(
    archive: &Path,
    manifest: &Manifest,
    target: &Target,
    step: Step<'_>,
) -> io::Result<Vec<(PathBuf, Option<PathBuf>)>> {
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
    staged.commit(&target.suffix)
}

/// The text of one member, e.g. the configuration.
pub fn read(archive: &Path, name: &str, max: usize) -> io::Result<Option<String>> {
    let mut found = None;
    each(archive, &mut |member, content| {
        if member.name == name && !member.directory {
            found = Some(content.text(max)?);
        }
        Ok(())
    })?;
    Ok(found)
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

    fn commit(mut self, suffix: &str) -> io::Result<Vec<(PathBuf, Option<PathBuf>)>> {
        for (_, _, beside) in &self.roots {
            sync_tree(beside)?;
        }
        let mut done: Vec<(PathBuf, Option<PathBuf>)> = Vec::new();
        for (_, place, beside) in std::mem::take(&mut self.roots) {
            if fs::symlink_metadata(&beside).is_err() {
                continue;
            }
            match swap_in(&place, &beside, suffix) {
                Ok(kept) => done.push((place, kept)),
                Err(error) => {
                    remove(&beside);
                    done.iter().rev().for_each(|(place, kept)| take_back(place, kept.as_deref()));
                    return Err(error);
                }
            }
        }
        Ok(done)
    }
}

/// All or nothing: what has been put in place goes again.
fn take_back(place: &Path, kept: Option<&Path>) {
    remove(place);
    if let Some(kept) = kept {
        let _ = fs::rename(kept, place);
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

fn since_1970(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(unix)]
fn mode_of(metadata: &fs::Metadata) -> u32 {
    std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o777
}

#[cfg(not(unix))]
fn mode_of(metadata: &fs::Metadata) -> u32 {
    if metadata.is_dir() { 0o700 } else { 0o600 }
}

#[cfg(unix)]
fn set_mode(path: &Path, mode: u32) -> io::Result<()> {
    fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode & 0o777))
}

#[cfg(not(unix))]
fn set_mode(_path: &Path, _mode: u32) -> io::Result<()> {
    Ok(())
}

fn bad(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_lead_elsewhere() {
        for good in ["state", "state/a", "config/openclaw.json", "workspace/x y/é", "state/..a"] {
            assert!(check_name(good).is_ok(), "{good}");
        }
        for wrong in [
            "",
            "/etc/passwd",
            "..",
            "state/../x",
            "state//x",
            "state/./x",
            "state/x/",
            "other/x",
            "./state/x",
            "state/..",
            "state\\x",
            "C:/x",
            "state/\0",
        ] {
            assert!(check_name(wrong).is_err(), "{wrong}");
        }
    }
}
