//! The JSON-lines file: where it lies, its size, its rotation (DECISIONS 121, 123, 124; cli 2.1.6).
//!
//! Owned by thread `log`. Several gateways of one user share the day's file: each line is one write to a descriptor
//! opened for appending, and whoever rotates holds the flock and has made sure that the path still names this file.
//! Nothing here blocks on another process: a lock that is taken is left to its holder.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use crate::limits;
use crate::sys::{self, dirs};

/// How often the path is compared with the open file (another gateway or logrotate may have moved it).
const LOOK: Duration = Duration::from_millis(250);
/// After a failed open the directory is left alone for this long.
const RETRY: Duration = Duration::from_secs(5);

/// Where the log goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// `openclaw-YYYY-MM-DD.log` in this directory.
    Daily(PathBuf),
    /// `logging.file`: this name on every day.
    Fixed(PathBuf),
    /// No directory could be used: the ring in memory serves readers.
    Memory,
}

impl Place {
    /// The file of a day (`YYYY-MM-DD`); None in memory.
    pub fn path(&self, date: &str) -> Option<PathBuf> {
        match self {
            Place::Daily(dir) => Some(dir.join(format!("openclaw-{date}.log"))),
            Place::Fixed(path) => Some(path.clone()),
            Place::Memory => None,
        }
    }
}

/// `$LOGS_DIRECTORY`, else `/tmp/openclaw`, then `<tmp>/openclaw-<uid>`; the first that passes the checks is used.
pub fn default_dirs() -> Vec<PathBuf> {
    let tmp = std::env::temp_dir();
    let own = sys::process::uid().map_or_else(|| "openclaw-user".into(), |uid| format!("openclaw-{uid}"));
    let shared = if cfg!(unix) { PathBuf::from("/tmp/openclaw") } else { tmp.join("openclaw") };
    let given = std::env::var("LOGS_DIRECTORY").unwrap_or_default();
    let given = given.split(':').next().filter(|dir| !dir.is_empty()).map(PathBuf::from);
    given.into_iter().chain([shared, tmp.join(own)]).collect()
}

/// Picks the place and creates what is missing. The warnings are for the console: the file is not open yet.
pub fn choose(configured: Option<&Path>, dirs: &[PathBuf]) -> (Place, Vec<String>) {
    let mut warnings = Vec::new();
    if let Some(path) = configured {
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty());
        if let Some(dir) = dir
            && let Err(error) = dirs::create_private(dir)
        {
            warnings.push(format!("cannot create the log directory {}: {error}", dir.display()));
        }
        return (Place::Fixed(path.to_owned()), warnings);
    }
    for dir in dirs {
        match dirs::make_usable(dir) {
            Ok(tightened) => {
                if tightened {
                    warnings.push(format!("[openclaw] tightened permissions on temp dir: {}", dir.display()));
                }
                return (Place::Daily(dir.clone()), warnings);
            }
            Err(_) if !is_last(dir, dirs) => {}
            Err(reason) => {
                warnings.push(format!("Unsafe fallback OpenClaw temp dir: {} ({reason})", dir.display()));
            }
        }
    }
    (Place::Memory, warnings)
}

/// The file that a gateway of this user writes today, for commands: nothing is created or changed.
pub fn todays_path(configured: Option<&Path>, dirs: &[PathBuf], date: &str) -> Option<PathBuf> {
    if let Some(path) = configured {
        return Some(path.to_owned());
    }
    let usable = dirs.iter().find(|dir| dir.is_dir() && dirs::check(dir).is_ok());
    usable.or(dirs.first()).and_then(|dir| Place::Daily(dir.clone()).path(date))
}

/// The open log file.
#[derive(Debug)]
pub struct LogFile {
    place: Place,
    cap: u64,
    date: String,
    open: Option<Open>,
    looked: Instant,
    /// Set after a failed open.
    not_before: Option<Instant>,
    /// The last write ended inside a line.
    torn: bool,
}

#[derive(Debug)]
struct Open {
    file: File,
    path: PathBuf,
    size: u64,
}

impl LogFile {
    pub fn new(place: Place, cap: u64) -> LogFile {
        LogFile { place, cap, date: String::new(), open: None, looked: Instant::now(), not_before: None, torn: false }
    }

    /// The file as it was opened last; None in memory or while it cannot be opened.
    pub fn path(&self) -> Option<&Path> {
        self.open.as_ref().map(|open| open.path.as_path())
    }

    pub fn in_memory(&self) -> bool {
        self.place == Place::Memory
    }

    /// Forgets the descriptor; the next line opens the path again.
    pub fn reopen(&mut self) {
        self.open = None;
        self.not_before = None;
    }

    pub fn set_place(&mut self, place: Place, cap: u64) {
        self.cap = cap;
        if self.place != place {
            self.place = place;
            self.date.clear();
            self.reopen();
        }
    }

    /// Appends one line (with its newline) of the given local date. An error leaves everything ready for the next try.
    pub fn append(&mut self, line: &str, date: &str) -> io::Result<()> {
        self.turn_to(date)?;
        let torn = self.torn;
        let Some(open) = &mut self.open else { return Ok(()) };
        // A torn line must not swallow the next one.
        let joined;
        let bytes = if torn {
            joined = format!("\n{line}");
            joined.as_bytes()
        } else {
            line.as_bytes()
        };
        let written = open.file.write(bytes)?;
        open.size += written as u64;
        self.torn = written < bytes.len();
        if self.torn {
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        Ok(())
    }

    /// Makes `open` the right file for a line of this date: new day, moved path, size cap.
    fn turn_to(&mut self, date: &str) -> io::Result<()> {
        if self.place == Place::Memory {
            return Ok(());
        }
        if self.date != date {
            self.date = date.to_owned();
            if matches!(self.place, Place::Daily(_)) {
                self.open = None;
            }
            self.remove_old();
        }
        let full = self.open.as_ref().is_some_and(|open| open.size >= self.cap);
        if full || self.looked.elapsed() >= LOOK {
            self.look();
        }
        if self.open.is_none() {
            if self.not_before.is_some_and(|at| Instant::now() < at) {
                return Err(io::Error::from(io::ErrorKind::NotConnected));
            }
            match self.open_path() {
                Ok(open) => {
                    self.torn = false;
                    self.not_before = None;
                    self.open = Some(open);
                }
                Err(error) => {
                    self.not_before = Some(Instant::now() + RETRY);
                    return Err(error);
                }
            }
        }
        self.rotate_if_full()
    }

    fn open_path(&self) -> io::Result<Open> {
        let path = self.place.path(&self.date).ok_or(io::ErrorKind::NotFound)?;
        // A FIFO would block the open until somebody reads it.
        if let Ok(there) = fs::metadata(&path)
            && !there.is_file()
        {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        // Somebody may have removed it since the start.
        if let Some(dir) = path.parent().filter(|dir| !dir.as_os_str().is_empty() && !dir.exists()) {
            dirs::create_private(dir)?;
        }
        if matches!(self.place, Place::Daily(_)) {
            // In a directory under /tmp nobody may lead us elsewhere.
            if fs::symlink_metadata(&path).is_ok_and(|there| there.file_type().is_symlink()) {
                return Err(io::Error::new(io::ErrorKind::InvalidInput, "a symbolic link"));
            }
        }
        let mut options = OpenOptions::new();
        options.append(true).create(true);
        #[cfg(unix)]
        {
            use std::os::unix::fs::OpenOptionsExt as _;
            options.mode(0o600);
        }
        let file = options.open(&path)?;
        let size = file.metadata()?.len();
        Ok(Open { file, path, size })
    }

    /// Compares path and descriptor and learns the true size (others append, too).
    fn look(&mut self) {
        self.looked = Instant::now();
        let Some(open) = &mut self.open else { return };
        match fs::metadata(&open.path) {
            Ok(there) if open.file.metadata().is_ok_and(|mine| same_file(&there, &mine)) => open.size = there.len(),
            _ => self.open = None,
        }
    }

    fn rotate_if_full(&mut self) -> io::Result<()> {
        let Some(open) = &mut self.open else { return Ok(()) };
        if open.size < self.cap || open.file.try_lock().is_err() {
            // Locked: another gateway rotates this very file; the next look finds the new one.
            return Ok(());
        }
        let mine = open.file.metadata()?;
        let still_ours = fs::metadata(&open.path).is_ok_and(|there| same_file(&there, &mine));
        let moved = if still_ours && mine.len() >= self.cap {
            fs::rename(&open.path, rotated(&open.path))
        } else {
            open.size = mine.len();
            Ok(())
        };
        let _ = open.file.unlock();
        if still_ours && mine.len() < self.cap {
            return Ok(());
        }
        if moved.is_err() {
            // Cannot be moved: the cap wins over what is old.
            open.file.set_len(0)?;
            open.size = 0;
            return Ok(());
        }
        self.open = None;
        self.open = Some(self.open_path()?);
        Ok(())
    }

    /// Dated files and their `.1` that nobody has written to for 24 h. A file that the operator named stays.
    fn remove_old(&self) {
        let Place::Daily(dir) = &self.place else { return };
        let Ok(entries) = fs::read_dir(dir) else { return };
        let current = format!("openclaw-{}.log", self.date);
        for entry in entries.flatten() {
            let name = entry.file_name();
            let Some(name) = name.to_str().filter(|name| is_dated(name.trim_end_matches(".1"))) else { continue };
            let old = entry
                .metadata()
                .and_then(|m| m.modified())
                .is_ok_and(|at| SystemTime::now().duration_since(at).is_ok_and(|age| age >= limits::LOG_RETENTION));
            if name != current && old {
                let _ = fs::remove_file(entry.path());
            }
        }
    }
}

/// The one old file of a log file.
pub fn rotated(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".1");
    PathBuf::from(name)
}

/// `openclaw-YYYY-MM-DD.log`.
pub fn is_dated(name: &str) -> bool {
    let Some(date) = name.strip_prefix("openclaw-").and_then(|rest| rest.strip_suffix(".log")) else { return false };
    date.len() == 10
        && date.bytes().enumerate().all(|(at, b)| if at == 4 || at == 7 { b == b'-' } else { b.is_ascii_digit() })
}

#[cfg(unix)]
fn same_file(a: &fs::Metadata, b: &fs::Metadata) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    (a.dev(), a.ino()) == (b.dev(), b.ino())
}

#[cfg(not(unix))]
fn same_file(a: &fs::Metadata, b: &fs::Metadata) -> bool {
    a.created().ok() == b.created().ok()
}

fn is_last(dir: &Path, dirs: &[PathBuf]) -> bool {
    dirs.last().is_some_and(|last| last == dir)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::testing::TempDir;

    const DAY: &str = "2026-11-20";

    fn text(path: &Path) -> String {
        fs::read_to_string(path).unwrap_or_default()
    }

    #[test]
    fn names_of_files() {
        let dir = PathBuf::from("/x");
        assert_eq!(Place::Daily(dir).path(DAY).unwrap(), Path::new("/x/openclaw-2026-11-20.log"));
        assert_eq!(Place::Fixed("/y.log".into()).path(DAY).unwrap(), Path::new("/y.log"));
        assert_eq!(Place::Memory.path(DAY), None);
        assert_eq!(rotated(Path::new("/y.log")), Path::new("/y.log.1"));
        for (name, dated) in [
            ("openclaw-2026-11-20.log", true),
            ("openclaw-2026-11-2x.log", false),
            ("openclaw-20261120.log", false),
            ("openclaw-.log", false),
            ("other-2026-11-20.log", false),
        ] {
            assert_eq!(is_dated(name), dated, "{name}");
        }
    }

    #[test]
    fn lines_go_to_the_file_of_their_day() {
        let dir = TempDir::new("daily");
        let mut log = LogFile::new(Place::Daily(dir.0.clone()), 1000);
        log.append("one\n", DAY).unwrap();
        log.append("two\n", "2026-11-21").unwrap();
        assert_eq!(text(&dir.0.join("openclaw-2026-11-20.log")), "one\n");
        assert_eq!(text(&dir.0.join("openclaw-2026-11-21.log")), "two\n");
    }

    #[test]
    fn the_cap_turns_the_file_over_and_two_gateways_share_it() {
        let dir = TempDir::new("cap");
        let path = dir.0.join("gw.log");
        let mut a = LogFile::new(Place::Fixed(path.clone()), 100);
        let mut b = LogFile::new(Place::Fixed(path.clone()), 100);
        for n in 0..40 {
            let log = if n % 2 == 0 { &mut a } else { &mut b };
            // The other one has no reason to wait until it looks again.
            log.looked = Instant::now() - LOOK;
            log.append(&format!("line {n:02}\n"), DAY).unwrap();
        }
        let (new, old) = (text(&path), text(&rotated(&path)));
        assert!(new.len() <= 116 && old.len() <= 116, "{} {}", new.len(), old.len());
        let all = format!("{old}{new}");
        let lines: Vec<&str> = all.lines().collect();
        assert_eq!(lines.last(), Some(&"line 39"));
        assert!(lines.len() > 12 && lines.windows(2).all(|w| w[0] < w[1]), "{lines:?}");
    }

    #[test]
    fn a_moved_or_removed_file_is_opened_anew() {
        let dir = TempDir::new("moved");
        let path = dir.0.join("gw.log");
        let mut log = LogFile::new(Place::Fixed(path.clone()), 1000);
        log.append("one\n", DAY).unwrap();
        fs::rename(&path, dir.0.join("away")).unwrap();
        log.reopen();
        log.append("two\n", DAY).unwrap();
        assert_eq!(text(&path), "two\n");
        fs::remove_file(&path).unwrap();
        log.looked = Instant::now() - LOOK;
        log.append("three\n", DAY).unwrap();
        assert_eq!(text(&path), "three\n");
    }

    #[test]
    fn old_dated_files_are_removed_and_others_stay() {
        let dir = TempDir::new("old");
        let two_days_ago = SystemTime::now() - Duration::from_secs(48 * 3600);
        for name in ["openclaw-2026-11-17.log", "openclaw-2026-11-17.log.1", "openclaw-2026-11-20.log", "notes.log"] {
            File::create(dir.0.join(name)).unwrap().set_modified(two_days_ago).unwrap();
        }
        fs::write(dir.0.join("openclaw-2026-11-19.log"), "young").unwrap();
        LogFile::new(Place::Daily(dir.0.clone()), 1000).append("x\n", DAY).unwrap();
        let mut left: Vec<String> =
            fs::read_dir(&dir.0).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        left.sort();
        assert_eq!(left, ["notes.log", "openclaw-2026-11-19.log", "openclaw-2026-11-20.log"]);
    }

    #[test]
    #[cfg(unix)]
    fn directories_are_checked_and_tightened() {
        use std::os::unix::fs::{PermissionsExt as _, symlink};
        let dir = TempDir::new("dirs");
        let open = dir.0.join("open");
        fs::create_dir(&open).unwrap();
        fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).unwrap();
        let (place, warnings) = choose(None, std::slice::from_ref(&open));
        assert_eq!(place, Place::Daily(open.clone()));
        assert_eq!(warnings, [format!("[openclaw] tightened permissions on temp dir: {}", open.display())]);
        assert_eq!(fs::metadata(&open).unwrap().permissions().mode() & 0o777, 0o700);

        let link = dir.0.join("link");
        symlink(&open, &link).unwrap();
        let fresh = dir.0.join("fresh");
        assert_eq!(choose(None, &[link.clone(), fresh.clone()]), (Place::Daily(fresh), vec![]));
        let (place, warnings) = choose(None, std::slice::from_ref(&link));
        assert_eq!(place, Place::Memory);
        assert!(warnings[0].starts_with("Unsafe fallback OpenClaw temp dir: "), "{warnings:?}");
    }

    #[test]
    #[cfg(unix)]
    fn what_is_no_file_is_refused_without_blocking() {
        let dir = TempDir::new("nofile");
        let mut log = LogFile::new(Place::Fixed(dir.0.clone()), 1000);
        assert!(log.append("x\n", DAY).is_err());
        assert!(log.append("x\n", DAY).is_err());
        assert_eq!(log.path(), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_full_disk_is_an_error_and_nothing_more() {
        // /dev/full is a device, so it is opened here by hand.
        let dir = TempDir::new("full");
        let path = dir.0.join("gw.log");
        let mut log = LogFile::new(Place::Fixed(path.clone()), 1000);
        log.append("one\n", DAY).unwrap();
        let good = log.open.take().unwrap();
        let file = OpenOptions::new().append(true).open("/dev/full").unwrap();
        log.open = Some(Open { file, path: path.clone(), size: 0 });
        log.looked = Instant::now();
        assert!(log.append("two\n", DAY).is_err());
        log.open = Some(good);
        log.torn = true;
        log.append("three\n", DAY).unwrap();
        assert_eq!(text(&path), "one\n\nthree\n");
    }
}
