//! The world as the configuration sees it: environment variables and files, nothing else.
//!
//! `store::source::FsSource` is the real one, [`MemorySource`] the one of tests.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

/// The program's name.
pub const PROGRAM: &str = "openclaw";

/// Reads only. Every read is bounded by the implementation or by its `limit` argument.
pub trait Source {
    /// An environment variable; None when unset or not UTF-8.
    fn var(&self, name: &str) -> Option<String>;
    /// The whole file, at most `limits::CONFIG_BYTES`; larger is `ErrorKind::FileTooLarge`.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;
    /// A regular file with one name, at most `limit` bytes; anything else is `ErrorKind::InvalidInput`.
    /// `path` has no symbolic links left (see [`Source::real_path`]).
    fn read_plain(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>>;
    /// The path with every symbolic link resolved.
    fn real_path(&self, path: &Path) -> io::Result<PathBuf>;
    fn exists(&self, path: &Path) -> bool;
    fn is_dir(&self, path: &Path) -> bool;
    /// The working directory, for relative paths and `./.env`.
    fn current_dir(&self) -> Option<PathBuf>;
    /// The name by which the program was started: its own, or an older one through a link.
    fn program(&self) -> &'static str {
        PROGRAM
    }
}

/// Files and variables in memory.
#[derive(Clone, Debug, Default)]
pub struct MemorySource {
    pub vars: BTreeMap<String, String>,
    pub files: BTreeMap<PathBuf, Vec<u8>>,
    pub dirs: Vec<PathBuf>,
    /// Symbolic links: name → where it points (absolute).
    pub links: BTreeMap<PathBuf, PathBuf>,
    pub current_dir: Option<PathBuf>,
    /// None: [`PROGRAM`].
    pub program: Option<&'static str>,
}

impl MemorySource {
    pub fn new() -> Self {
        MemorySource::default()
    }

    pub fn with_var(mut self, name: &str, value: &str) -> Self {
        self.vars.insert(name.into(), value.into());
        self
    }

    pub fn with_file(mut self, path: &str, text: impl AsRef<[u8]>) -> Self {
        self.files.insert(path.into(), text.as_ref().to_vec());
        self
    }

    pub fn with_dir(mut self, path: &str) -> Self {
        self.dirs.push(path.into());
        self
    }

    pub fn with_link(mut self, name: &str, target: &str) -> Self {
        self.links.insert(name.into(), target.into());
        self
    }
}

impl Source for MemorySource {
    fn var(&self, name: &str) -> Option<String> {
        self.vars.get(name).cloned()
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.files.get(&self.real_path(path)?).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn read_plain(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>> {
        let bytes = self.read(path)?;
        if bytes.len() as u64 > limit {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        Ok(bytes)
    }

    fn real_path(&self, path: &Path) -> io::Result<PathBuf> {
        let real = self.links.get(path).cloned().unwrap_or_else(|| path.to_path_buf());
        if self.files.contains_key(&real) || self.is_dir(&real) {
            Ok(real)
        } else {
            Err(io::ErrorKind::NotFound.into())
        }
    }

    fn exists(&self, path: &Path) -> bool {
        self.real_path(path).is_ok()
    }

    fn is_dir(&self, path: &Path) -> bool {
        self.dirs.iter().any(|d| d == path)
            || self.files.keys().any(|f| f.parent().is_some_and(|p| p.ancestors().any(|a| a == path)))
    }

    fn current_dir(&self) -> Option<PathBuf> {
        self.current_dir.clone()
    }

    fn program(&self) -> &'static str {
        self.program.unwrap_or(PROGRAM)
    }
}
