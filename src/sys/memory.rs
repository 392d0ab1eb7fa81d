//! How much memory there is, what we may use of it, and the two allocator calls that keep a burst from staying.
//!
//! Any thread. The numbers are read once; a changed cgroup limit counts after the next start.

use std::sync::OnceLock;

#[cfg(target_os = "linux")]
use super::process::proc_text;
use crate::limits;

/// Taken for granted where the system does not say how much memory it has.
const UNKNOWN_TOTAL: u64 = 1024 * 1024 * 1024;
/// A cgroup without a limit reports a number near 2^63.
const NO_LIMIT: u64 = 1 << 60;

/// Physical memory and the limit that this process lives under, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// None when the system does not say.
    pub total: Option<u64>,
    /// The smallest limit of the cgroups (v1 or v2) around this process; None without one.
    pub cgroup: Option<u64>,
    /// Address space that this process may map (`ulimit -v`); None without a limit.
    pub address_space: Option<u64>,
}

impl Memory {
    /// The smallest of them: what all budgets are fractions of. Half of a limited address space goes to the program,
    /// its stacks and what the allocator keeps aside.
    pub fn usable(&self) -> u64 {
        let total = self.total.unwrap_or(UNKNOWN_TOTAL);
        let limits = [self.cgroup, self.address_space.map(|bytes| bytes / 2)];
        limits.into_iter().flatten().fold(total, u64::min)
    }
}

/// First thing in `main`, before any thread: two malloc arenas instead of eight per core (CRATES 9.1). glibc only.
pub fn tune() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: mallopt only sets a parameter of the allocator; no thread but this one runs yet.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 2);
        // Fixed: left alone it grows with the largest block freed, and big messages would then stay on the heap.
        libc::mallopt(libc::M_MMAP_THRESHOLD, 256 * 1024);
    }
}

/// Gives free heap pages back to the system; worth calling after work, milliseconds on a large heap. glibc only.
pub fn trim() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: malloc_trim takes the allocator's own locks and may be called from any thread.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Gives back the pages of this thread's stack below the present frame: a handshake goes deep, and what it touched
/// would stay with an idle connection for hours. Linux only.
pub fn release_stack() {
    #[cfg(target_os = "linux")]
    // SAFETY: the attributes are initialised by the call that succeeded and destroyed once; the range given up lies
    // between the end of this thread's stack and a red zone below this very frame, so nothing alive is in it.
    unsafe {
        let mut attributes: libc::pthread_attr_t = std::mem::zeroed();
        if libc::pthread_getattr_np(libc::pthread_self(), &mut attributes) != 0 {
            return;
        }
        let (mut low, mut size) = (std::ptr::null_mut(), 0);
        let known = libc::pthread_attr_getstack(&attributes, &mut low, &mut size) == 0;
        libc::pthread_attr_destroy(&mut attributes);
        let here = std::ptr::addr_of!(attributes) as usize;
        let page = usize::try_from(libc::sysconf(libc::_SC_PAGESIZE)).unwrap_or(RED_ZONE).max(RED_ZONE);
        let end = here.saturating_sub(RED_ZONE) / page * page;
        let start = (low as usize).next_multiple_of(page);
        if known && (low as usize..low as usize + size).contains(&here) && end > start {
            libc::madvise(start as *mut libc::c_void, end - start, libc::MADV_DONTNEED);
        }
    }
}

/// Unmaps the pages of our own code that the start has touched; what is needed again comes back from the page cache.
/// The parsers of configuration and command line are a large part of the program and are not needed any more. Linux
/// only.
pub fn release_code() {
    #[cfg(target_os = "linux")]
    {
        let Ok(own) = std::env::current_exe() else { return };
        let Ok(maps) = std::fs::read_to_string("/proc/self/maps") else { return };
        let own = own.to_string_lossy();
        for (start, end) in maps.lines().filter(|line| line.ends_with(&*own)).filter_map(read_only_range) {
            // SAFETY: a private, read-only mapping of a file: dropped pages are read from the file again.
            unsafe {
                libc::madvise(start as *mut libc::c_void, end - start, libc::MADV_DONTNEED);
            }
        }
    }
}

/// Larger than the frames between the measured address and the system call.
#[cfg(target_os = "linux")]
const RED_ZONE: usize = 4096;
/// The range of a line of /proc/self/maps that is code: `r-xp`. Read-only data behind relocations is not: it was
/// written to.
#[cfg(target_os = "linux")]
fn read_only_range(line: &str) -> Option<(usize, usize)> {
    let mut fields = line.split_ascii_whitespace();
    let (start, end) = fields.next()?.split_once('-')?;
    if fields.next()? != "r-xp" {
        return None;
    }
    Some((usize::from_str_radix(start, 16).ok()?, usize::from_str_radix(end, 16).ok()?))
}

/// What was found at the first call.
pub fn limits() -> Memory {
    static FOUND: OnceLock<Memory> = OnceLock::new();
    *FOUND.get_or_init(|| Memory { total: total(), cgroup: cgroup(), address_space: address_space() })
}

/// The stack of a thread: what `limits` says, four times that in debug builds, whose frames are larger.
pub const fn stack(release: usize) -> usize {
    if cfg!(debug_assertions) { release * 4 } else { release }
}

/// Unsent bytes of all clients together.
pub fn total_buffered() -> usize {
    share(limits().usable(), limits::TOTAL_BUFFERED_MEMORY_FRACTION)
}

/// Bytes of big inbound messages, all connections together.
pub fn inbound_budget() -> usize {
    share(limits().usable(), limits::INBOUND_MEMORY_FRACTION)
}

/// Bytes of conversations that only memory keeps.
pub fn responses_bytes() -> usize {
    limits::RESPONSES_BYTES.min(share(limits().usable(), limits::RESPONSES_MEMORY_FRACTION))
}

/// Bytes that the models of one run may say: 4 MiB, less on machines with less than 1 GiB.
pub fn run_text_bytes() -> usize {
    limits::RUN_TEXT_BYTES.min(share(limits().usable(), limits::RUN_TEXT_MEMORY_FRACTION))
}

/// Size at which the log file turns over: 8 MiB, less on machines with less than 512 MiB.
pub fn log_file_bytes() -> u64 {
    limits::LOG_FILE_BYTES.min(limits().usable() / limits::LOG_FILE_MEMORY_FRACTION)
}

/// Resident set of this process.
pub fn rss_bytes() -> Option<u64> {
    #[cfg(target_os = "linux")]
    {
        let text = std::fs::read_to_string("/proc/self/statm").ok()?;
        let pages: u64 = text.split(' ').nth(1)?.parse().ok()?;
        Some(pages * page_size())
    }
    #[cfg(not(target_os = "linux"))]
    None
}

/// Threads of this process.
pub fn thread_count() -> Option<usize> {
    #[cfg(target_os = "linux")]
    return std::fs::read_dir("/proc/self/task").ok().map(|tasks| tasks.count());
    #[cfg(not(target_os = "linux"))]
    None
}

#[cfg(target_os = "linux")]
fn page_size() -> u64 {
    // SAFETY: sysconf reads a constant.
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    u64::try_from(size).unwrap_or(4096)
}

fn share(bytes: u64, fraction: u64) -> usize {
    usize::try_from(bytes / fraction.max(1)).unwrap_or(usize::MAX)
}

#[cfg(target_os = "linux")]
fn total() -> Option<u64> {
    // SAFETY: zeroes are a valid sysinfo; the call fills it.
    let (status, info) = unsafe {
        let mut info: libc::sysinfo = std::mem::zeroed();
        (libc::sysinfo(&raw mut info), info)
    };
    // The types of the fields differ between systems.
    #[allow(clippy::unnecessary_cast)]
    let bytes = (info.totalram as u64).saturating_mul(u64::from(info.mem_unit));
    (status == 0 && bytes > 0).then_some(bytes)
}

#[cfg(target_os = "macos")]
fn total() -> Option<u64> {
    let mut bytes = 0u64;
    let mut size = size_of::<u64>();
    // SAFETY: name is a C string, the result goes into eight bytes that live here and whose size is passed.
    let status = unsafe {
        libc::sysctlbyname(c"hw.memsize".as_ptr(), (&raw mut bytes).cast(), &raw mut size, std::ptr::null_mut(), 0)
    };
    (status == 0 && bytes > 0).then_some(bytes)
}

#[cfg(not(any(target_os = "linux", target_os = "macos")))]
fn total() -> Option<u64> {
    None
}

#[cfg(target_os = "linux")]
fn cgroup() -> Option<u64> {
    let text = proc_text("/proc/self/cgroup")?;
    cgroup_files(&text).iter().filter_map(|file| parse_limit(&proc_text(file)?)).min()
}

#[cfg(unix)]
fn address_space() -> Option<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the struct lives through the call, which fills it.
    let status = unsafe { libc::getrlimit(libc::RLIMIT_AS, &raw mut limit) };
    // The type of the field differs between systems.
    #[allow(clippy::unnecessary_cast)]
    let bytes = limit.rlim_cur as u64;
    (status == 0 && bytes < NO_LIMIT).then_some(bytes)
}

#[cfg(not(unix))]
fn address_space() -> Option<u64> {
    None
}

#[cfg(not(target_os = "linux"))]
fn cgroup() -> Option<u64> {
    None
}

/// Every file that may hold a limit for this process, from its own cgroup up to the root: the parents count too, and
/// inside a container the path of the host leads nowhere while the root is ours.
#[cfg_attr(not(target_os = "linux"), allow(dead_code))]
fn cgroup_files(proc_self_cgroup: &str) -> Vec<String> {
    let mut files = Vec::new();
    for line in proc_self_cgroup.lines() {
        let mut parts = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next()) else { continue };
        let (root, name) = if controllers.is_empty() {
            ("/sys/fs/cgroup", "memory.max")
        } else if controllers.split(',').any(|c| c == "memory") {
            ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
        } else {
            continue;
        };
        if path.split('/').any(|part| part == "..") {
            files.push(format!("{root}/{name}"));
            continue;
        }
        let mut path = path.trim_end_matches('/');
        loop {
            files.push(format!("{root}{path}/{name}"));
            match path.rfind('/') {
                Some(cut) => path = &path[..cut],
                None => break,
            }
        }
    }
    files
}

/// `max` and the huge number that v1 uses for "none" are no limit.
#[cfg_attr(not(target_os = "linux"), allow(dead_code))]
fn parse_limit(text: &str) -> Option<u64> {
    text.trim().parse().ok().filter(|bytes| *bytes > 0 && *bytes < NO_LIMIT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn only_code_is_given_up() {
        for (line, want) in [
            ("55cda6ff3000-55cda73ac000 r-xp 0016b000 fe:00 1 /bin/x", Some((0x55cd_a6ff_3000, 0x55cd_a73a_c000))),
            ("55cda6e87000-55cda6ff3000 r--p 00000000 fe:00 1 /bin/x", None),
            ("55cda73ac000-55cda73d5000 rw-p 00523000 fe:00 1 /bin/x", None),
            ("nonsense r-xp", None),
            ("", None),
        ] {
            assert_eq!(read_only_range(line), want, "{line}");
        }
        release_code();
        assert!(rss_bytes().is_some(), "and the program goes on");
    }

    #[test]
    fn a_deep_call_leaves_nothing_behind_that_matters() {
        fn dig(depth: u32) -> u64 {
            let room = std::hint::black_box([u64::from(depth); 512]);
            if depth == 0 { room[0] } else { room[511] + dig(depth - 1) }
        }
        let thread = std::thread::Builder::new().stack_size(4 << 20).spawn(|| {
            let before = std::hint::black_box(vec![7u8; 64]);
            let first = dig(100);
            release_stack();
            assert_eq!((first, dig(100), before[63]), (5050, 5050, 7));
        });
        thread.unwrap().join().unwrap();
        release_stack();
    }

    #[test]
    fn the_smallest_limit_counts() {
        let mib = 1024 * 1024;
        for (total, cgroup, address_space, usable) in [
            (Some(64 * mib), None, None, 64 * mib),
            (Some(64 * mib), Some(32 * mib), None, 32 * mib),
            (Some(64 * mib), Some(900 * mib), None, 64 * mib),
            (Some(900 * mib), None, Some(400 * mib), 200 * mib),
            (Some(64 * mib), None, Some(400 * mib), 64 * mib),
            (None, Some(100 * mib), None, 100 * mib),
            (None, None, None, UNKNOWN_TOTAL),
        ] {
            assert_eq!(Memory { total, cgroup, address_space }.usable(), usable);
        }
    }

    #[test]
    fn limits_of_cgroups() {
        for (text, limit) in [
            ("max\n", None),
            ("134217728\n", Some(134_217_728)),
            ("9223372036854771712\n", None),
            ("0\n", None),
            ("", None),
        ] {
            assert_eq!(parse_limit(text), limit, "{text:?}");
        }
    }

    #[test]
    fn cgroup_paths_are_walked_up_to_the_root() {
        assert_eq!(
            cgroup_files("0::/system.slice/openclaw.service\n"),
            [
                "/sys/fs/cgroup/system.slice/openclaw.service/memory.max",
                "/sys/fs/cgroup/system.slice/memory.max",
                "/sys/fs/cgroup/memory.max"
            ]
        );
        assert_eq!(cgroup_files("0::/\n"), ["/sys/fs/cgroup/memory.max"]);
        assert_eq!(
            cgroup_files("9:memory:/docker/x\n4:cpu,cpuacct:/docker/x\n"),
            [
                "/sys/fs/cgroup/memory/docker/x/memory.limit_in_bytes",
                "/sys/fs/cgroup/memory/docker/memory.limit_in_bytes",
                "/sys/fs/cgroup/memory/memory.limit_in_bytes"
            ]
        );
        assert_eq!(cgroup_files("0::/../../x\n"), ["/sys/fs/cgroup/memory.max"]);
        assert_eq!(cgroup_files("nonsense\n1:name=systemd:/\n"), Vec::<String>::new());
    }

    #[test]
    fn this_machine_has_memory() {
        assert!(limits().usable() > 16 * 1024 * 1024);
        assert!(total_buffered() > 0 && inbound_budget() > 0 && log_file_bytes() > 0);
        assert!(log_file_bytes() <= limits::LOG_FILE_BYTES);
        if cfg!(target_os = "linux") {
            assert!(rss_bytes().is_some_and(|bytes| bytes > 100_000));
            assert!(thread_count().is_some_and(|threads| threads > 0));
        }
        trim();
    }
}
