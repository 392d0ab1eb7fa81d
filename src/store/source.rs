//! The real files and variables behind `config::Source`. Reads only; runs on whichever thread loads the configuration.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::config::Source;
use crate::config::source::PROGRAM;
use crate::limits::CONFIG_BYTES;

/// What the program was called before; started through a link of such a name it suggests commands by that name.
const OLD_PROGRAMS: [&str; 2] = ["clawdbot", "moltbot"];

/// The process's environment and file system.
#[derive(Clone, Copy, Debug, Default)]
pub struct FsSource;

impl Source for FsSource {
    fn var(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let file = open_file(path)?;
        read_all(file, CONFIG_BYTES, io::ErrorKind::FileTooLarge)
    }

    fn read_plain(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>> {
        let named = fs::symlink_metadata(path)?;
        let file = open_file(path)?;
        let opened = file.metadata()?;
        if !named.is_file() || !opened.is_file() || !one_name(&named, &opened) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        read_all(file, limit, io::ErrorKind::InvalidInput)
    }

    fn real_path(&self, path: &Path) -> io::Result<PathBuf> {
        fs::canonicalize(path)
    }

    fn exists(&self, path: &Path) -> bool {
        path.exists()
    }

    fn is_dir(&self, path: &Path) -> bool {
        path.is_dir()
    }

    fn current_dir(&self) -> Option<PathBuf> {
        std::env::current_dir().ok()
    }

    fn program(&self) -> &'static str {
        let first = std::env::args_os().next().unwrap_or_default();
        let name = Path::new(&first).file_stem().unwrap_or_default();
        OLD_PROGRAMS.into_iter().find(|old| name == *old).unwrap_or(PROGRAM)
    }
}

/// A named pipe or a device would block or never end: only files are opened.
fn open_file(path: &Path) -> io::Result<File> {
    let kind = fs::metadata(path)?;
    if !kind.is_file() {
        return Err(match kind.is_dir() {
            true => io::ErrorKind::IsADirectory.into(),
            false => io::Error::new(io::ErrorKind::InvalidInput, "no plain file"),
        });
    }
    File::open(path)
}

fn read_all(file: File, limit: u64, too_large: io::ErrorKind) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit { Err(too_large.into()) } else { Ok(bytes) }
}

/// What was opened is what the name showed (no link was put in its place), and no other name leads to it.
#[cfg(unix)]
fn one_name(named: &fs::Metadata, opened: &fs::Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    opened.nlink() == 1 && (named.dev(), named.ino()) == (opened.dev(), opened.ino())
}

/// Links cannot be counted here; the check of the file type must do.
#[cfg(not(unix))]
fn one_name(named: &fs::Metadata, opened: &fs::Metadata) -> bool {
    named.len() == opened.len()
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use crate::config::schema::{EXTRA_KEYS, Schema, push_step};

    #[test]
    fn only_plain_files() {
        let dir = std::env::temp_dir().join(format!("openclaw-source-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let at = |name: &str| dir.join(name);
        fs::write(at("one"), "12345").unwrap();
        fs::write(at("two"), "x").unwrap();
        fs::hard_link(at("two"), at("two-again")).unwrap();
        std::os::unix::fs::symlink(at("one"), at("link")).unwrap();

        let refused = |path: &str, limit| FsSource.read_plain(&at(path), limit).unwrap_err().kind();
        assert_eq!(FsSource.read_plain(&at("one"), 5).unwrap(), b"12345");
        assert_eq!(refused("one", 4), io::ErrorKind::InvalidInput);
        assert_eq!(refused("two", 9), io::ErrorKind::InvalidInput);
        assert_eq!(refused("link", 9), io::ErrorKind::InvalidInput);
        assert_eq!(refused("none", 9), io::ErrorKind::NotFound);
        assert_eq!(FsSource.read(&at("link")).unwrap(), b"12345");
        assert_eq!(FsSource.read(&dir).unwrap_err().kind(), io::ErrorKind::IsADirectory);
        assert_eq!(FsSource.read(Path::new("/dev/zero")).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        assert_eq!(FsSource.real_path(&at("link")).unwrap(), at("one").canonicalize().unwrap());
        assert!(FsSource.is_dir(&dir) && FsSource.exists(&at("two")) && !FsSource.exists(&at("none")));
        fs::remove_dir_all(&dir).unwrap();
    }

    /// The schema itself is not part of the project; where it lies beside it, every key of it must be known.
    #[test]
    fn knows_every_key_of_the_full_schema() {
        let places = ["../shared/spec/config.schema.json", "../../shared/spec/config.schema.json"];
        let Some(bytes) = places.iter().find_map(|place| FsSource.read(Path::new(place)).ok()) else { return };
        let full: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        let mut wanted = std::collections::BTreeSet::new();
        collect(&full, &mut String::new(), &mut wanted);
        let known: std::collections::BTreeSet<String> = Schema::new().paths().into_iter().collect();
        let missing: Vec<&String> = wanted.difference(&known).collect();
        assert!(wanted.len() > 3000 && missing.is_empty(), "{missing:?}");
        let extra: Vec<&String> = known.difference(&wanted).collect();
        let ours: Vec<String> = EXTRA_KEYS.iter().map(|(parent, name, _)| format!("{parent}.{name}")).collect();
        assert!(extra.iter().all(|path| ours.contains(path) || path.ends_with('*')), "{extra:?}");
    }

    fn collect(schema: &serde_json::Value, path: &mut String, out: &mut std::collections::BTreeSet<String>) {
        let here = path.len();
        for alternative in ["anyOf", "oneOf"].iter().filter_map(|key| schema[*key].as_array()).flatten() {
            collect(alternative, path, out);
        }
        for (key, below) in schema["properties"].as_object().into_iter().flatten() {
            push_step(path, key);
            out.insert(path.clone());
            collect(below, path, out);
            path.truncate(here);
        }
        for (step, below) in [("*", &schema["additionalProperties"]), ("[]", &schema["items"])] {
            if below.is_object() {
                push_step(path, step);
                collect(below, path, out);
                path.truncate(here);
            }
        }
    }
}
