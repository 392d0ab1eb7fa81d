//! Time zones, straight from the system's files. The library's own look-up lists the whole zone directory (some 600
//! names) before it opens one file, and keeps the list: milliseconds and memory that a small machine notices.

use std::fs;
use std::path::{Component, Path};

use jiff::tz::TimeZone;

const ZONES: &str = "/usr/share/zoneinfo";

/// The zone of this machine: TZ, /etc/localtime, or the POSIX string in /etc/TZ that OpenWrt keeps; else UTC.
pub fn local() -> TimeZone {
    let zone = match std::env::var_os("TZ") {
        None => of_machine(Path::new("/etc")),
        Some(name) => name.to_str().and_then(|name| in_directory(Path::new(ZONES), name.trim_start_matches(':'))),
    };
    zone.unwrap_or_else(|| TimeZone::try_system().unwrap_or(TimeZone::UTC))
}

/// A zone by its name, like `Europe/Berlin`.
pub fn named(name: &str) -> Option<TimeZone> {
    in_directory(Path::new(ZONES), name).or_else(|| TimeZone::get(name).ok())
}

fn of_machine(etc: &Path) -> Option<TimeZone> {
    let file = etc.join("localtime");
    let Ok(data) = fs::read(&file) else {
        return TimeZone::posix(fs::read_to_string(etc.join("TZ")).ok()?.trim()).ok();
    };
    // Only the link knows the name; a copied file is left to the library.
    let target = fs::read_link(&file).ok()?;
    let (_, name) = target.to_str()?.split_once("zoneinfo/")?;
    TimeZone::tzif(name, &data).ok()
}

fn in_directory(zones: &Path, name: &str) -> Option<TimeZone> {
    let inside = !name.is_empty() && Path::new(name).components().all(|part| matches!(part, Component::Normal(_)));
    let data = inside.then(|| fs::read(zones.join(name)).ok()).flatten()?;
    TimeZone::tzif(name, &data).ok()
}

#[cfg(test)]
mod tests {
    use super::super::testing::TempDir;
    use super::*;

    /// An hour ahead, without transitions, as `zic` would write it.
    fn tzif() -> Vec<u8> {
        let mut block = b"TZif2".to_vec();
        block.extend([0; 15]);
        for count in [0u32, 0, 0, 0, 1, 4] {
            block.extend(count.to_be_bytes());
        }
        block.extend(3600i32.to_be_bytes());
        block.extend(b"\0\0CET\0");
        [&block[..], &block[..], b"\nCET-1\n"].concat()
    }

    fn tree() -> TempDir {
        let root = TempDir::new("zone");
        for dir in ["zoneinfo/Here", "etc"] {
            fs::create_dir_all(root.0.join(dir)).unwrap();
        }
        fs::write(root.0.join("zoneinfo/Here/Now"), tzif()).unwrap();
        root
    }

    fn offset(zone: &TimeZone) -> i32 {
        zone.to_offset(jiff::Timestamp::UNIX_EPOCH).seconds()
    }

    #[cfg(unix)]
    #[test]
    fn of_the_machine() {
        let root = tree();
        let (etc, now) = (root.0.join("etc"), root.0.join("zoneinfo/Here/Now"));
        assert_eq!(of_machine(&etc), None);
        fs::write(etc.join("TZ"), "XYZ-2\n").unwrap();
        assert_eq!(offset(&of_machine(&etc).unwrap()), 7200);
        std::os::unix::fs::symlink(&now, etc.join("localtime")).unwrap();
        let zone = of_machine(&etc).unwrap();
        assert_eq!((zone.iana_name(), offset(&zone)), (Some("Here/Now"), 3600));
        fs::write(&now, "no zone").unwrap();
        assert_eq!(of_machine(&etc), None);
    }

    #[test]
    fn names_stay_inside_the_directory() {
        let root = tree();
        let (zones, outside) = (root.0.join("zoneinfo"), root.0.join("outside"));
        fs::write(&outside, tzif()).unwrap();
        let zone = in_directory(&zones, "Here/Now").unwrap();
        assert_eq!((zone.iana_name(), offset(&zone)), (Some("Here/Now"), 3600));
        for name in ["", "../outside", "Here/../../outside", "Here", "Nowhere", outside.to_str().unwrap()] {
            assert_eq!(in_directory(&zones, name), None, "{name}");
        }
    }
}
