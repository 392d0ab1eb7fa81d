//! Backups: configuration and state in one tar file with a list of sums, and checked. `restore` puts them back.
//!
//! Runs on the main thread of a command. Archive: `state/…`; `config` when the configuration lies elsewhere or is wanted
//! alone, with `include/…` for what it includes; `credentials/…` and `workspace/…` when they lie elsewhere; and
//! `manifest.json` as the last member.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Component, Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::atomic::{self, Staged};
use super::tar::{self, Member, Reader};
use crate::{ids, limits};

pub const FORMAT: u32 = 1;
const MANIFEST: &str = "manifest.json";
/// A file that is written to while it is read is read again.
const TRIES: usize = 5;
const PIECE: usize = 64 * 1024;

/// What a backup holds: name in the archive, place on the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Root {
    pub name: String,
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
            listing.items.push(Item { name: root.name.clone(), path: place, directory: false });
        } else {
            walk(&root.name, &place, leave, &mut listing)?;
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
pub(super) fn copy(mut from: impl io::Read, to: &mut impl io::Write) -> io::Result<(u64, String)> {
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

pub(super) type Content = Reader<BufReader<File>>;

/// Calls for every member but the manifest, whose text is the result. Names are checked before.
pub(super) fn each(archive: &Path, run: &mut dyn FnMut(&Member, &mut Content) -> io::Result<()>) -> io::Result<String> {
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
    let known = match name.split_once('/') {
        Some(("include", rest)) => is_include(rest),
        Some((root, _)) => matches!(root, "state" | "workspace" | "credentials"),
        None => matches!(name, "state" | "config" | "workspace" | "credentials"),
    };
    match inside && plain && known {
        true => Ok(()),
        false => Err(bad(format!("it holds the path \"{}\", which leads elsewhere", name.escape_debug()))),
    }
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

/// A part of a configuration that may be put beside it, wherever that is: nothing hidden, and nothing that another
/// program takes for its own.
pub fn is_include(relative: &str) -> bool {
    let json = [".json", ".json5", ".jsonc"].iter().any(|end| relative.ends_with(end));
    json && relative.split('/').all(|part| !part.is_empty() && !part.starts_with('.'))
}

pub(super) fn bad(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

pub(super) fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_lead_elsewhere() {
        for good in
            ["state", "state/a", "config", "workspace/x y/é", "state/..a", "credentials/.x", "include/a/b.json5"]
        {
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
            "config/x",
            "include",
            "include/a.sh",
            "include/.ssh/a.json",
            "include/../a.json",
            "credentials/../x",
        ] {
            assert!(check_name(wrong).is_err(), "{wrong}");
        }
    }
}
