//! What no command can bring about at will: somebody else who writes between two steps.

use std::cell::Cell;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::atomic::tests::TempDir;
use super::config_file::{Edit, WriteError, WriteOptions, Written, write};
use super::source::FsSource;
use crate::config::{Overrides, Paths, Source};

const BEFORE: &str = "{ gateway: { mode: 'local' } } // before";
const THEIRS: &str = "{ gateway: { mode: 'local', port: 7 } } // theirs";

/// The file system, with somebody who replaces the configuration at a certain look at it.
struct Busy<'a> {
    home: &'a Path,
    config: PathBuf,
    /// At which look, from 1; and whether after it or before.
    at: (u32, bool),
    looks: Cell<u32>,
}

impl Busy<'_> {
    fn interfere(&self) {
        fs::write(self.home.join("new"), THEIRS).unwrap();
        fs::rename(self.home.join("new"), &self.config).unwrap();
    }
}

impl Source for Busy<'_> {
    fn var(&self, name: &str) -> Option<String> {
        (name == "HOME").then(|| self.home.display().to_string())
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let now = path == self.config && {
            self.looks.set(self.looks.get() + 1);
            self.looks.get() == self.at.0
        };
        if now && !self.at.1 {
            self.interfere();
        }
        let read = FsSource.read(path);
        if now && self.at.1 {
            self.interfere();
        }
        read
    }

    fn read_plain(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>> {
        FsSource.read_plain(path, limit)
    }

    fn real_path(&self, path: &Path) -> io::Result<PathBuf> {
        FsSource.real_path(path)
    }

    fn exists(&self, path: &Path) -> bool {
        FsSource.exists(path)
    }

    fn is_dir(&self, path: &Path) -> bool {
        FsSource.is_dir(path)
    }

    fn current_dir(&self) -> Option<PathBuf> {
        Some(self.home.to_path_buf())
    }
}

/// The result, and the texts of the file and of its two newest backups.
fn run(at: (u32, bool)) -> (Result<Written, WriteError>, [Option<String>; 3]) {
    change(at, BEFORE, &[Edit::set("ui.seamColor", "#112233")])
}

fn change(at: (u32, bool), before: &str, edits: &[Edit]) -> (Result<Written, WriteError>, [Option<String>; 3]) {
    let home = TempDir::new("config-file");
    let config = home.join(".openclaw/openclaw.json");
    fs::create_dir_all(config.parent().unwrap()).unwrap();
    fs::write(&config, before).unwrap();
    let source = Busy { home: home.path(), config: config.clone(), at, looks: Cell::new(0) };
    let paths = Paths::resolve(&source, &Overrides::default()).unwrap();
    assert_eq!(paths.config_path, config);
    let written = write(&paths, &source, edits, &WriteOptions::default());
    let texts = ["", ".bak", ".bak.1"].map(|end| fs::read_to_string(format!("{}{end}", config.display())).ok());
    let names = fs::read_dir(config.parent().unwrap()).unwrap().flatten().map(|f| f.file_name());
    assert!(names.into_iter().all(|name| !name.to_string_lossy().ends_with(".tmp")));
    (written, texts)
}

#[test]
fn a_change_before_the_file_is_replaced_wins() {
    let (written, texts) = run((2, false));
    assert!(matches!(written, Err(WriteError::LostRace)));
    assert_eq!(texts, [Some(THEIRS.into()), None, None]);
}

#[cfg(target_os = "linux")]
#[test]
fn a_change_in_the_last_moment_is_kept_beside_ours() {
    let (written, [file, backup, older]) = run((2, true));
    let written = written.unwrap();
    assert!(
        written.race_lost
            && written.lines.iter().any(|line| line.ends_with("its text is in ~/.openclaw/openclaw.json.bak"))
    );
    assert!(file.unwrap().contains("#112233"));
    assert_eq!((backup.as_deref(), older.as_deref()), (Some(THEIRS), Some(BEFORE)));
}

#[test]
fn a_change_right_after_ours_is_said() {
    let (written, [file, backup, _]) = run((3, false));
    let written = written.unwrap();
    assert!(
        written.race_lost && written.lines.iter().any(|line| line.contains("replaced by another program right after"))
    );
    assert_eq!((file.as_deref(), backup.as_deref()), (Some(THEIRS), Some(BEFORE)));
}

#[test]
fn a_quiet_write_says_what_it_did() {
    let (written, [file, backup, older]) = run((0, false));
    let written = written.unwrap();
    assert_eq!(written.changed_paths, ["ui"]);
    assert_eq!(written.anomalies, ["missing-meta-before-write"]);
    assert!(!written.race_lost && !written.unchanged);
    assert_eq!(written.new_hash, crate::ids::sha256_hex(file.unwrap().as_bytes()));
    assert_eq!((backup.as_deref(), older), (Some(BEFORE), None));
}

#[test]
fn old_keys_are_moved_when_that_is_all_there_is() {
    let before = "{ gateway: { mode: 'local', token: 'abc' } } // mine";
    let (written, [file, ..]) = change((0, false), before, &[Edit::MoveOldKeys]);
    let file = file.unwrap();
    assert!(
        file.starts_with("{ gateway: { mode: 'local', auth: { token: 'abc' } }, meta: ")
            && file.ends_with(" } // mine"),
        "{file}"
    );
    assert!(written.unwrap().loaded.legacy_issues.is_empty());
    let (written, _) = change((0, false), &file, &[Edit::MoveOldKeys]);
    assert!(written.unwrap().unchanged);
}
