//! When to read: what the files look like from outside, and how long they have looked so. No clock of its own.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use crate::limits::{RELOAD_LOOK_CLOSELY, RELOAD_STABLE};

/// Symbolic links that are followed for all files together.
const MAX_LINKS: usize = 256;

/// A file as `stat` shows it, through symbolic links: another link target is another file. None: there is none.
pub type Stamp = Option<Marks>;

/// Everything that changes when a file is written or replaced, whatever its time says: `changed` cannot be set back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marks {
    size: u64,
    modified: Option<SystemTime>,
    /// Device, inode, time of the last change of anything.
    identity: (u64, u64, i64, i64),
}

/// Looks at files. Blocks as long as the file system does.
pub fn stamps<'a>(files: impl IntoIterator<Item = &'a Path>) -> Vec<Stamp> {
    files.into_iter().map(stamp).collect()
}

fn stamp(file: &Path) -> Stamp {
    let metadata = fs::metadata(file).ok()?;
    Some(Marks { size: metadata.len(), modified: metadata.modified().ok(), identity: identity(&metadata) })
}

#[cfg(unix)]
fn identity(metadata: &fs::Metadata) -> (u64, u64, i64, i64) {
    use std::os::unix::fs::MetadataExt as _;
    (metadata.dev(), metadata.ino(), metadata.ctime(), metadata.ctime_nsec())
}

#[cfg(not(unix))]
fn identity(_: &fs::Metadata) -> (u64, u64, i64, i64) {
    (0, 0, 0, 0)
}

/// The directories in which something happens when a file is written or replaced, or a link on the way to it.
pub fn places(files: &[PathBuf]) -> Vec<PathBuf> {
    let mut places = BTreeSet::new();
    let mut paths = files.to_vec();
    let mut links = 0;
    while let Some(path) = paths.pop() {
        let above = |path: &Path| path.parent().filter(|dir| !dir.as_os_str().is_empty()).map(Path::to_path_buf);
        places.extend(above(&path));
        for step in path.ancestors() {
            // Links that lead in circles end here, as they do in the kernel.
            if links < MAX_LINKS
                && let Ok(target) = fs::read_link(step)
                && let Some(dir) = above(step)
            {
                links += 1;
                let rest = path.strip_prefix(step).unwrap_or(Path::new(""));
                let target = dir.join(target);
                paths.push(if rest.as_os_str().is_empty() { target } else { target.join(rest) });
                places.insert(dir);
            }
        }
    }
    places.into_iter().collect()
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing moves.
    Rest,
    /// Look again after this time.
    Wait(Duration),
    Read,
}

impl Step {
    /// This one, at the latest when something else has to be looked at again.
    pub fn or_sooner(self, other: Step) -> Step {
        match (self, other) {
            (Step::Wait(a), Step::Wait(b)) => Step::Wait(a.min(b)),
            (Step::Rest, Step::Wait(time)) => Step::Wait(time),
            (step, _) => step,
        }
    }
}

/// Follows the stamps of a list of files: a change, quiet, the debounce time, a read.
#[derive(Debug)]
pub struct Watch {
    last: Vec<Stamp>,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Quiet,
    /// Something moved; it has been still since then.
    Settling(Instant),
    /// Still for long enough; to be read then.
    Due(Instant),
}

impl Watch {
    /// Starts in the middle of a change: what was read before the first look may have changed meanwhile.
    pub fn new(now: Instant, stamps: Vec<Stamp>) -> Watch {
        Watch { last: stamps, state: State::Settling(now) }
    }

    /// `stamps` are those of now; `debounce` counts from the moment in which everything has been still long enough.
    pub fn look(&mut self, now: Instant, stamps: &[Stamp], debounce: Duration) -> Step {
        if stamps != self.last {
            self.last = stamps.to_vec();
            self.state = State::Settling(now);
        }
        if let State::Settling(since) = self.state
            && now >= since + RELOAD_STABLE
        {
            self.state = State::Due(now + debounce);
        }
        match self.state {
            State::Quiet => Step::Rest,
            State::Settling(_) => Step::Wait(RELOAD_LOOK_CLOSELY),
            State::Due(at) if now < at => Step::Wait((at - now).min(RELOAD_LOOK_CLOSELY)),
            State::Due(_) => {
                self.state = State::Quiet;
                Step::Read
            }
        }
    }

    /// The next look reads, whatever the files do.
    pub fn read_at(&mut self, at: Instant) {
        self.state = State::Due(at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::RELOAD_LOOK;

    const DEBOUNCE: Duration = Duration::from_millis(300);

    /// One file by a number that stands for its marks; 0: no file.
    fn seen(number: u64) -> Vec<Stamp> {
        vec![(number > 0).then_some(Marks { size: number, modified: None, identity: (0, 0, 0, 0) })]
    }

    /// Looks as the thread does and notes when it reads. `changes` are times and what the file is from then on.
    fn reads(changes: &[(u64, u64)], until: u64, debounce: Duration) -> Vec<u64> {
        let start = Instant::now();
        let at = |ms: u64| changes.iter().rev().find(|(when, _)| *when <= ms).map_or(1, |(_, what)| *what);
        let mut watch = Watch::new(start, seen(1));
        watch.state = State::Quiet;
        let (mut ms, mut out) = (0, Vec::new());
        while ms <= until {
            match watch.look(start + Duration::from_millis(ms), &seen(at(ms)), debounce) {
                Step::Rest => ms += RELOAD_LOOK.as_millis() as u64,
                Step::Wait(time) => ms += time.as_millis() as u64,
                Step::Read => out.push(ms),
            }
        }
        out
    }

    #[test]
    fn a_change_is_read_once_it_is_still() {
        type Row<'a> = (&'a [(u64, u64)], u64, &'a [u64]);
        let table: [Row<'_>; 8] = [
            (&[], 3000, &[]),
            // Seen with the next look at 250, still at 450, read at 750.
            (&[(10, 2)], 3000, &[750]),
            // In pieces: the last one counts.
            (&[(10, 2), (300, 3), (480, 4)], 3000, &[1000]),
            // During the debounce time.
            (&[(10, 2), (600, 3)], 3000, &[1100]),
            // Gone and back before anybody cared: read once, and found unchanged.
            (&[(10, 0), (260, 1)], 3000, &[800]),
            // Gone.
            (&[(10, 0)], 3000, &[750]),
            // Two changes far apart.
            (&[(10, 2), (2000, 3)], 4000, &[750, 2500]),
            // Written without end: not read.
            (&[(0, 2), (150, 3), (300, 4), (450, 5), (600, 6), (750, 7), (900, 8)], 1100, &[]),
        ];
        for (changes, until, expected) in table {
            assert_eq!(reads(changes, until, DEBOUNCE), expected, "{changes:?}");
        }
        assert_eq!(reads(&[(10, 2)], 1000, Duration::ZERO), [450]);
        assert_eq!(reads(&[(10, 2)], 3000, Duration::from_secs(2)), [2450]);
    }

    #[test]
    fn a_start_is_the_middle_of_a_change_and_a_date_is_kept() {
        let start = Instant::now();
        let mut watch = Watch::new(start, seen(1));
        let after = |ms| start + Duration::from_millis(ms);
        assert_eq!(watch.look(start, &seen(1), DEBOUNCE), Step::Wait(RELOAD_LOOK_CLOSELY));
        assert_eq!(watch.look(after(200), &seen(1), DEBOUNCE), Step::Wait(RELOAD_LOOK_CLOSELY));
        assert_eq!(watch.look(after(500), &seen(1), DEBOUNCE), Step::Read);
        watch.read_at(after(650));
        assert_eq!(watch.look(after(640), &seen(1), DEBOUNCE), Step::Wait(Duration::from_millis(10)));
        assert_eq!(watch.look(after(650), &seen(1), DEBOUNCE), Step::Read);
        assert_eq!(watch.look(after(700), &seen(1), DEBOUNCE), Step::Rest);
    }

    #[cfg(unix)]
    #[test]
    fn places_on_the_way_to_a_file() {
        use crate::sys::testing::TempDir;
        use std::os::unix::fs::symlink;
        let dir = TempDir::new("places");
        let at = |name: &str| dir.0.join(name);
        for name in ["a", "b", "etc"] {
            fs::create_dir(at(name)).unwrap();
        }
        fs::write(at("a/c.json"), "x").unwrap();
        symlink(at("a"), at("etc/conf")).unwrap();
        symlink("../etc/conf/c.json", at("b/c.json")).unwrap();
        symlink("loop", at("loop")).unwrap();
        let found = places(&[at("b/c.json")]);
        assert!(["b", "b/../etc/conf", "b/../etc", "a"].iter().all(|name| found.contains(&at(name))), "{found:?}");
        assert_eq!(places(&[at("a/c.json"), at("a/other")]), [at("a")]);
        assert_eq!(places(&[at("loop")]).len(), 1);
    }

    #[cfg(unix)]
    #[test]
    fn nothing_that_happens_to_a_file_escapes() {
        use crate::sys::testing::TempDir;
        use std::fs::{File, FileTimes};

        let dir = TempDir::new("watch");
        let file = dir.0.join("c.json");
        let look = || stamps([file.as_path()]);
        let mut last = look();
        assert_eq!(last, [None]);
        let mut changed = |what: &str, act: &dyn Fn()| {
            // The kernel's clock for files moves every few milliseconds.
            std::thread::sleep(Duration::from_millis(20));
            act();
            let now = look();
            assert_ne!(now, last, "{what}");
            assert_eq!(now, look(), "{what}: it is still afterwards");
            last = now;
        };
        changed("created", &|| fs::write(&file, "one").unwrap());
        changed("written with the same size", &|| fs::write(&file, "two").unwrap());
        let date = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let set_date =
            || File::options().write(true).open(&file).unwrap().set_times(FileTimes::new().set_modified(date));
        changed("a date in the past", &|| set_date().unwrap());
        changed("the same size and the same date", &|| {
            fs::write(&file, "six").unwrap();
            set_date().unwrap();
        });
        changed("renamed over", &|| {
            fs::write(dir.0.join("new"), "six").unwrap();
            fs::rename(dir.0.join("new"), &file).unwrap();
        });
        changed("removed", &|| fs::remove_file(&file).unwrap());
        changed("a link", &|| {
            fs::create_dir(dir.0.join("a")).unwrap();
            fs::write(dir.0.join("a/c.json"), "x").unwrap();
            std::os::unix::fs::symlink("a", dir.0.join("data")).unwrap();
            std::os::unix::fs::symlink("data/c.json", &file).unwrap();
        });
        changed("a link on the way points elsewhere", &|| {
            fs::create_dir(dir.0.join("b")).unwrap();
            fs::write(dir.0.join("b/c.json"), "x").unwrap();
            std::os::unix::fs::symlink("b", dir.0.join("data2")).unwrap();
            fs::rename(dir.0.join("data2"), dir.0.join("data")).unwrap();
        });
        changed("the directory is gone", &|| fs::rename(dir.0.join("b"), dir.0.join("gone")).unwrap());
    }
}
