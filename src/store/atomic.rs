//! Whole files, replaced so that a reader and a power cut see the old or the new content, never a mixture.
//!
//! Any thread. Nothing here logs except [`set_aside_corrupt`], whose one line is its point.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::sys::dirs;

/// A temporary file of a living process (or of an earlier one with its pid) is taken for abandoned after this.
const ABANDONED_AFTER: Duration = Duration::from_secs(60);

/// Replaces `path` with `bytes`, mode 0600, durable when this returns. Missing parents are created 0700.
///
/// On failure the old file is untouched and no temporary file stays behind.
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let staged = Staged::create(path)?;
    staged.file().write_all(bytes)?;
    staged.commit()
}

/// A temporary file beside its target; dropped without [`Staged::commit`] it is removed.
pub struct Staged {
    file: Option<File>,
    temporary: PathBuf,
    target: PathBuf,
}

impl Staged {
    pub fn create(target: &Path) -> io::Result<Staged> {
        let directory = parent(target);
        create_dirs(directory)?;
        let name = target.file_name().ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        let temporary = directory.join(temporary_name(name));
        let file = new_private(&temporary)?;
        dirs::leave_theirs(&file, target);
        Ok(Staged { file: Some(file), temporary, target: target.to_owned() })
    }

    pub fn file(&self) -> &File {
        self.file.as_ref().expect("the file is there until commit consumes the value")
    }

    /// fsync, rename over the target, fsync of the directory.
    pub fn commit(self) -> io::Result<()> {
        let target = self.target.clone();
        self.commit_without_directory()?;
        sync_directory(parent(&target))
    }

    /// As `commit`, but an existing target wins: returns false and leaves it alone.
    pub fn commit_new(self) -> io::Result<bool> {
        self.file().sync_all()?;
        match fs::hard_link(&self.temporary, &self.target) {
            Ok(()) => {
                let directory = parent(&self.target).to_owned();
                drop(self);
                sync_directory(&directory)?;
                Ok(true)
            }
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            // File systems without hard links: a race there may replace the other's file, but both are whole.
            Err(_) if !self.target.exists() => self.commit().map(|()| true),
            Err(_) => Ok(false),
        }
    }

    /// As `commit_without_directory`, for a target that is there: gives the bytes that stood in it at that very moment.
    /// None where the system cannot tell.
    pub fn swap(self) -> io::Result<Option<Vec<u8>>> {
        self.file().sync_all()?;
        match crate::sys::rename::exchange(&self.temporary, &self.target) {
            // Dropped, it removes what it holds now.
            Ok(()) => read_limited(&self.temporary, crate::limits::CONFIG_BYTES).map(Some),
            Err(e) if e.kind() == io::ErrorKind::Unsupported => self.commit_without_directory().map(|()| None),
            Err(e) => Err(e),
        }
    }

    /// fsync and rename; the caller syncs the directory (once for several files).
    pub fn commit_without_directory(mut self) -> io::Result<()> {
        let file = self.file.take().expect("commit consumes the value");
        file.sync_all()?;
        drop(file);
        fs::rename(&self.temporary, &self.target)?;
        self.temporary = PathBuf::new();
        Ok(())
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        self.file = None;
        if !self.temporary.as_os_str().is_empty() {
            let _ = fs::remove_file(&self.temporary);
        }
    }
}

/// Reads at most `max` bytes; a longer file is an error of kind `FileTooLarge`, not a cut text.
pub fn read_limited(path: &Path, max: u64) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    if metadata.is_dir() {
        return Err(io::Error::from(io::ErrorKind::IsADirectory));
    }
    let expected = usize::try_from(metadata.len().min(max)).unwrap_or(0);
    let mut bytes = Vec::with_capacity(expected);
    file.take(max.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > max {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("{} is larger than {max} bytes", path.display()),
        ));
    }
    Ok(bytes)
}

/// Moves a file that cannot be read as what it should be out of the way: `<name>.corrupt-<ms>`, one log line (DECISIONS 70).
///
/// Returns the new path; if even the rename fails, the old one (the line then says so).
pub fn set_aside_corrupt(path: &Path, now_ms: u64) -> PathBuf {
    let mut aside = path.to_owned();
    // A clock that starts at 1970 with each boot gives the same name twice.
    for n in 0..100 {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".corrupt-{}", now_ms.saturating_add(n)));
        aside = PathBuf::from(name);
        if fs::symlink_metadata(&aside).is_err() {
            break;
        }
    }
    match fs::rename(path, &aside) {
        Ok(()) => {
            log::warn!(target: "store", "{} is damaged: kept as {}, starting without it", path.display(), aside.display());
            aside
        }
        Err(e) => {
            log::warn!(target: "store", "{} is damaged and cannot be moved aside ({e}): starting without it", path.display());
            path.to_owned()
        }
    }
}

/// Removes temporary files that earlier processes left in `directory`; returns how many. Called once per directory at start.
pub fn sweep_temporary(directory: &Path) -> usize {
    abandoned(directory).iter().filter(|path| fs::remove_file(path).is_ok()).count()
}

/// Temporary files of ours in `directory` that nobody will ever finish.
pub fn abandoned(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let is_abandoned = |entry: &fs::DirEntry| {
        let Some(pid) = entry.file_name().to_str().and_then(pid_of_temporary) else { return false };
        let modified = entry.metadata().and_then(|meta| meta.modified());
        let age = modified.ok().and_then(|at| SystemTime::now().duration_since(at).ok());
        age.is_some_and(|age| age > ABANDONED_AFTER) || !super::lock::is_alive(pid)
    };
    entries.flatten().filter(is_abandoned).map(|entry| entry.path()).collect()
}

/// Creates `directory` and its missing parents, mode 0700. Made by root, they belong to whom the directory around them
/// belongs.
pub fn create_dirs(directory: &Path) -> io::Result<()> {
    if directory.as_os_str().is_empty() || directory.is_dir() {
        return Ok(());
    }
    create_dirs(parent(directory))?;
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    match builder.create(directory) {
        Ok(()) => {
            if let Ok(made) = File::open(directory) {
                dirs::leave_theirs(&made, parent(directory));
            }
            Ok(())
        }
        // Somebody was faster.
        Err(_) if directory.is_dir() => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let what = if directory.exists() { "it is a file" } else { "it is a link that leads nowhere" };
            Err(io::Error::new(io::ErrorKind::NotADirectory, what))
        }
        Err(error) => Err(error),
    }
}

/// Creates a file that must not exist yet (not even as a dangling link), mode 0600, for writing (and reading back). Made
/// by root, it belongs to whom its directory belongs.
pub fn new_private(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true);
    private_mode(&mut options);
    let file = options.open(path)?;
    dirs::leave_theirs(&file, parent(path));
    Ok(file)
}

/// Opens for appending, creating it 0600 when missing. Refuses links, non-files and files with a second name (R23).
pub fn open_append(path: &Path) -> io::Result<File> {
    let before = match fs::symlink_metadata(path) {
        Ok(metadata) => Some(metadata),
        Err(e) if e.kind() == io::ErrorKind::NotFound => None,
        Err(e) => return Err(e),
    };
    let mut options = OpenOptions::new();
    options.read(true).append(true);
    private_mode(&mut options);
    match before {
        None => {
            let file = options.create_new(true).open(path)?;
            dirs::leave_theirs(&file, parent(path));
            Ok(file)
        }
        Some(before) => {
            let file = options.open(path)?;
            if plain_file(&before) && same_file(&before, &file.metadata()?) {
                Ok(file)
            } else {
                Err(io::Error::new(
                    io::ErrorKind::PermissionDenied,
                    format!(
                        "{} is a link, has a second name or is not a plain file; put a copy in its place",
                        path.display()
                    ),
                ))
            }
        }
    }
}

/// Opens a plain file for reading; links are not followed (R23).
pub fn open_plain(path: &Path) -> io::Result<File> {
    let before = fs::symlink_metadata(path)?;
    if !before.is_file() {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, format!("{} is not a plain file", path.display())));
    }
    let file = File::open(path)?;
    if same_file(&before, &file.metadata()?) { Ok(file) } else { Err(io::ErrorKind::Interrupted.into()) }
}

/// Makes names that were created, renamed or removed in `directory` durable.
pub fn sync_directory(directory: &Path) -> io::Result<()> {
    #[cfg(unix)]
    {
        let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
        match File::open(directory)?.sync_all() {
            // Some network and FUSE file systems cannot sync a directory; the rename itself has happened.
            Err(e) if matches!(e.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) => Ok(()),
            other => other,
        }
    }
    #[cfg(not(unix))]
    {
        let _ = directory;
        Ok(())
    }
}

pub(crate) fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new(""))
}

fn private_mode(options: &mut OpenOptions) {
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600);
    #[cfg(not(unix))]
    let _ = options;
}

#[cfg(unix)]
fn plain_file(metadata: &fs::Metadata) -> bool {
    metadata.file_type().is_file() && std::os::unix::fs::MetadataExt::nlink(metadata) == 1
}

#[cfg(not(unix))]
fn plain_file(metadata: &fs::Metadata) -> bool {
    metadata.file_type().is_file()
}

#[cfg(unix)]
fn same_file(a: &fs::Metadata, b: &fs::Metadata) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    a.dev() == b.dev() && a.ino() == b.ino()
}

#[cfg(not(unix))]
fn same_file(_: &fs::Metadata, b: &fs::Metadata) -> bool {
    b.is_file()
}

fn temporary_name(name: &OsStr) -> String {
    format!(".{}.{}-{}.tmp", name.to_string_lossy(), std::process::id(), crate::ids::new_entry_id())
}

/// Whether a file's name is one that [`Staged`] gives while it writes.
pub fn is_temporary(name: &str) -> bool {
    pid_of_temporary(name).is_some()
}

fn pid_of_temporary(name: &str) -> Option<u32> {
    let middle = name.strip_prefix('.')?.strip_suffix(".tmp")?;
    let (_, stamp) = middle.rsplit_once('.')?;
    let (pid, random) = stamp.split_once('-')?;
    let hex = random.len() == 8 && random.bytes().all(|b| b.is_ascii_hexdigit());
    if hex { pid.parse().ok() } else { None }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A directory of its own for one test, removed when dropped.
    pub(crate) struct TempDir(PathBuf);

    impl TempDir {
        pub(crate) fn new(name: &str) -> TempDir {
            let path = std::env::temp_dir().join(format!(
                "openclaw-test-{name}-{}-{}",
                std::process::id(),
                crate::ids::new_entry_id()
            ));
            fs::create_dir_all(&path).unwrap();
            TempDir(path)
        }

        pub(crate) fn path(&self) -> &Path {
            &self.0
        }

        pub(crate) fn join(&self, name: &str) -> PathBuf {
            self.0.join(name)
        }
    }

    impl Drop for TempDir {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_write_replaces_and_creates_parents() {
        let dir = TempDir::new("atomic");
        let path = dir.join("a/b/c.json");
        write(&path, b"one").unwrap();
        write(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::read_dir(parent(&path)).unwrap().count(), 1, "no temporary file stays");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
            assert_eq!(fs::metadata(dir.join("a/b")).unwrap().permissions().mode() & 0o777, 0o700);
        }
    }

    #[test]
    fn a_failed_write_leaves_the_old_file_and_no_litter() {
        let dir = TempDir::new("atomic-fail");
        fs::write(dir.join("file"), "x").unwrap();
        assert!(write(&dir.join("file/child.json"), b"y").is_err());
        fs::create_dir_all(dir.join("target/inside")).unwrap();
        assert!(write(&dir.join("target"), b"y").is_err(), "a directory cannot be replaced by a file");
        assert!(dir.join("target/inside").is_dir());
        let left: Vec<_> = fs::read_dir(dir.path()).unwrap().flatten().map(|e| e.file_name()).collect();
        assert_eq!(left.len(), 2, "{left:?}");
    }

    #[test]
    fn reading_has_a_limit() {
        let dir = TempDir::new("atomic-limit");
        fs::write(dir.join("f"), "12345").unwrap();
        assert_eq!(read_limited(&dir.join("f"), 5).unwrap(), b"12345");
        assert_eq!(read_limited(&dir.join("f"), 4).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        assert!(read_limited(dir.path(), 4).is_err());
    }

    #[test]
    fn damaged_files_are_kept() {
        let dir = TempDir::new("atomic-corrupt");
        fs::write(dir.join("x.json"), [0u8; 16]).unwrap();
        let aside = set_aside_corrupt(&dir.join("x.json"), 42);
        assert_eq!(aside, dir.join("x.json.corrupt-42"));
        assert_eq!(fs::read(aside).unwrap(), [0u8; 16]);
        assert!(!dir.join("x.json").exists());
        fs::write(dir.join("x.json"), "again").unwrap();
        assert_eq!(set_aside_corrupt(&dir.join("x.json"), 42), dir.join("x.json.corrupt-43"));
    }

    #[test]
    fn only_our_abandoned_temporaries_are_swept() {
        let dir = TempDir::new("atomic-sweep");
        let own = std::process::id();
        let abandoned = [format!(".a.json.{own}-0123abcd.tmp"), ".a.b.json.4194999-0123abcd.tmp".to_owned()];
        let kept = ["a.json", ".a.json.tmp", ".hidden", ".a.json.12-xyz.tmp", ".tmp"];
        let working = format!(".b.json.{own}-0123abcd.tmp");
        for name in abandoned.iter().map(String::as_str).chain(kept).chain([&*working]) {
            fs::write(dir.join(name), "").unwrap();
        }
        let long_ago = SystemTime::now() - 2 * ABANDONED_AFTER;
        File::options().write(true).open(dir.join(&abandoned[0])).unwrap().set_modified(long_ago).unwrap();
        assert_eq!(sweep_temporary(dir.path()), 2);
        for name in kept.into_iter().chain([&*working]) {
            assert!(dir.join(name).exists(), "{name}");
        }
        assert_eq!(sweep_temporary(&dir.join("missing")), 0);
    }

    #[cfg(unix)]
    #[test]
    fn links_are_not_appended_to() {
        let dir = TempDir::new("atomic-links");
        fs::write(dir.join("real"), "x").unwrap();
        std::os::unix::fs::symlink(dir.join("real"), dir.join("soft")).unwrap();
        std::os::unix::fs::symlink(dir.join("nowhere"), dir.join("dangling")).unwrap();
        assert!(open_append(&dir.join("real")).is_ok());
        assert!(open_append(&dir.join("soft")).is_err());
        assert!(open_append(&dir.join("dangling")).is_err());
        assert!(open_plain(&dir.join("real")).is_ok());
        assert!(open_plain(&dir.join("soft")).is_err() && open_plain(dir.path()).is_err());
        fs::hard_link(dir.join("real"), dir.join("hard")).unwrap();
        assert!(open_append(&dir.join("hard")).is_err());
    }
}
