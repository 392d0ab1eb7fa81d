//! What a directory lies on: free space, whether it may be written, whether it is a memory card.

use std::path::Path;

/// Bytes that this user may still write below `path`; None where the system cannot tell.
#[cfg(unix)]
pub fn free_bytes(path: &Path) -> Option<u64> {
    let stat = statvfs(path)?;
    // The widths of the fields differ between systems.
    #[allow(clippy::unnecessary_cast)]
    Some((stat.f_bavail as u64).saturating_mul(stat.f_frsize as u64))
}

#[cfg(not(unix))]
pub fn free_bytes(_: &Path) -> Option<u64> {
    None
}

/// Whether a further file can be made below `path`; None where the system cannot tell, or does not count them.
#[cfg(unix)]
pub fn has_inodes(path: &Path) -> Option<bool> {
    let stat = statvfs(path)?;
    (stat.f_files > 0).then_some(stat.f_favail > 0)
}

#[cfg(not(unix))]
pub fn has_inodes(_: &Path) -> Option<bool> {
    None
}

#[cfg(unix)]
fn statvfs(path: &Path) -> Option<libc::statvfs> {
    use std::os::unix::ffi::OsStrExt as _;
    let path = std::ffi::CString::new(path.as_os_str().as_bytes()).ok()?;
    let mut stat = std::mem::MaybeUninit::<libc::statvfs>::uninit();
    // SAFETY: the path ends with a zero byte; the kernel fills the structure when it answers 0.
    unsafe { (libc::statvfs(path.as_ptr(), stat.as_mut_ptr()) == 0).then(|| stat.assume_init()) }
}

/// The file system that holds `path`; None where the system cannot tell.
pub fn device(path: &Path) -> Option<u64> {
    #[cfg(unix)]
    return std::fs::metadata(path).ok().map(|meta| std::os::unix::fs::MetadataExt::dev(&meta));
    #[cfg(not(unix))]
    {
        let _ = path;
        None
    }
}

/// Whether this user may write to `path`; true where the system cannot tell.
#[cfg(unix)]
pub fn is_writable(path: &Path) -> bool {
    use std::os::unix::ffi::OsStrExt as _;
    let Ok(path) = std::ffi::CString::new(path.as_os_str().as_bytes()) else { return false };
    // SAFETY: the path ends with a zero byte; access changes nothing.
    unsafe { libc::access(path.as_ptr(), libc::W_OK) == 0 }
}

#[cfg(not(unix))]
pub fn is_writable(_: &Path) -> bool {
    true
}

/// Name of the SD card or eMMC device (`mmcblk0p2`) that holds `path`.
pub fn memory_card(path: &Path) -> Option<String> {
    #[cfg(target_os = "linux")]
    {
        let device = std::os::linux::fs::MetadataExt::st_dev(&std::fs::metadata(path).ok()?);
        let link = format!("/sys/dev/block/{}:{}", libc::major(device), libc::minor(device));
        let name = std::fs::canonicalize(link).ok()?.file_name()?.to_str()?.to_owned();
        name.starts_with("mmcblk").then_some(name)
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = path;
        None
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn answers() {
        assert!(free_bytes(&std::env::temp_dir()).is_some_and(|bytes| bytes > 0));
        assert_eq!(free_bytes(Path::new("/nonexistent")), None);
        assert_ne!(has_inodes(&std::env::temp_dir()), Some(false));
        assert_ne!(device(Path::new("/proc")), device(&std::env::temp_dir()));
        assert!(is_writable(&std::env::temp_dir()) && !is_writable(Path::new("/nonexistent")));
        assert_eq!(memory_card(Path::new("/proc")), None);
    }
}
