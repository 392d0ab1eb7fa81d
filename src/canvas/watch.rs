//! Tells open pages that a file below the root has changed. A thread looks once a second while a page is open and ends
//! when the last one is closed; it keeps a sum over names, times and sizes and no list of files.

use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::{Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::hub::outbox::Outbox;
use crate::limits;
use crate::sys::memory;

/// What a page hears.
const RELOAD: &[u8] = b"reload";
/// Whatever goes on changing is told of after this many looks.
const UNSTABLE_LOOKS: u32 = 20;

pub struct Watch {
    root: PathBuf,
    pages: Mutex<Pages>,
    changed: Condvar,
}

#[derive(Default)]
struct Pages {
    next: u64,
    open: Vec<(u64, Arc<Outbox>)>,
    running: bool,
    closed: bool,
}

/// A page that is told; dropped, it is not told any more.
pub struct Subscription {
    watch: Arc<Watch>,
    id: u64,
}

impl Watch {
    pub fn new(root: PathBuf) -> Arc<Watch> {
        Arc::new(Watch { root, pages: Mutex::default(), changed: Condvar::new() })
    }

    /// From here on every change is told to this page. None: too many pages are open, or no thread can be had.
    pub fn subscribe(self: &Arc<Watch>, outbox: Arc<Outbox>) -> Option<Subscription> {
        let running = self.pages.lock().running;
        // Here and not on the thread: whatever changes after this call is seen.
        let before = (!running).then(|| sum(&self.root));
        let mut pages = self.pages.lock();
        if pages.closed || pages.open.len() >= limits::LIVE_RELOAD_SOCKETS {
            return None;
        }
        if !pages.running {
            let Some(before) = before else {
                // It has ended between the two looks.
                drop(pages);
                return self.subscribe(outbox);
            };
            let watch = self.clone();
            let spawned = thread::Builder::new()
                .name("canvas".into())
                .stack_size(memory::stack(limits::WRITER_STACK))
                .spawn(move || watch.look_until_closed(before));
            spawned.inspect_err(|e| log::warn!(target: "canvas", "no thread for live reload: {e}")).ok()?;
            pages.running = true;
        }
        pages.next += 1;
        let id = pages.next;
        pages.open.push((id, outbox));
        Some(Subscription { watch: self.clone(), id })
    }

    /// Pages that are told now.
    pub fn pages(&self) -> usize {
        self.pages.lock().open.len()
    }

    /// Ends the thread, whoever is there.
    pub fn close(&self) {
        self.pages.lock().closed = true;
        self.changed.notify_all();
    }

    fn look_until_closed(&self, mut last: u64) {
        while self.pause(limits::LIVE_RELOAD_LOOK) {
            let mut now = sum(&self.root);
            if now == last {
                continue;
            }
            // Whoever writes several files is not interrupted after the first.
            for _ in 0..UNSTABLE_LOOKS {
                if !self.pause(limits::LIVE_RELOAD_DEBOUNCE) {
                    return;
                }
                if now == std::mem::replace(&mut now, sum(&self.root)) {
                    break;
                }
            }
            last = now;
            self.tell();
        }
    }

    /// False, and no thread any more: the last page was closed.
    fn pause(&self, wait: Duration) -> bool {
        let until = Instant::now() + wait;
        let mut pages = self.pages.lock();
        loop {
            if pages.closed || pages.open.is_empty() {
                pages.running = false;
                return false;
            }
            if self.changed.wait_until(&mut pages, until).timed_out() {
                return true;
            }
        }
    }

    fn tell(&self) {
        let pages: Vec<_> = self.pages.lock().open.iter().map(|(_, outbox)| outbox.clone()).collect();
        // Who has not read the last word yet will reload anyway.
        for outbox in pages.iter().filter(|outbox| outbox.unsent() == 0) {
            outbox.answer(RELOAD.to_vec());
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.watch.pages.lock().open.retain(|(id, _)| *id != self.id);
        self.watch.changed.notify_all();
    }
}

/// A sum over everything that is watched. Links are not followed, what is hidden and what belongs to `node_modules` is
/// not looked at – below the root; the root itself may be hidden, as its usual place is.
fn sum(root: &Path) -> u64 {
    let mut total = 0u64;
    let mut files = 0;
    let mut waiting = vec![(root.to_owned(), 0)];
    while let Some((dir, depth)) = waiting.pop() {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            let name = entry.file_name();
            if name.as_encoded_bytes().starts_with(b".") || name == "node_modules" {
                continue;
            }
            files += 1;
            if files > limits::LIVE_RELOAD_FILES {
                return total;
            }
            let Ok(metadata) = entry.metadata() else { continue };
            let path = entry.path();
            let mut hasher = DefaultHasher::new();
            path.hash(&mut hasher);
            if metadata.is_dir() {
                if depth < limits::LIVE_RELOAD_DEPTH {
                    waiting.push((path, depth + 1));
                }
            } else {
                (metadata.len(), metadata.modified().ok()).hash(&mut hasher);
                #[cfg(unix)]
                std::os::unix::fs::MetadataExt::ino(&metadata).hash(&mut hasher);
            }
            // In any order: directories are listed as they please.
            total = total.wrapping_add(hasher.finish());
        }
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::testing::TempDir;

    #[test]
    fn changes_are_seen_and_hidden_ones_are_not() {
        let dir = TempDir::new("watch");
        // As the usual place, which is below a hidden directory.
        let root = dir.0.join(".openclaw/canvas");
        fs::create_dir_all(root.join("sub")).unwrap();
        fs::create_dir_all(root.join("node_modules/x")).unwrap();
        fs::create_dir_all(root.join(".git")).unwrap();
        fs::write(root.join("a.html"), "1").unwrap();
        let mut last = sum(&root);
        let mut differs = |what: &str, expected: bool, change: &dyn Fn()| {
            change();
            let now = sum(&root);
            assert_eq!(now != last, expected, "{what}");
            last = now;
        };
        let write = |name: &str, text: &str| fs::write(root.join(name), text).unwrap();
        differs("nothing", false, &|| ());
        differs("a longer file", true, &|| write("a.html", "22"));
        differs("a new file below", true, &|| write("sub/b.css", "x"));
        differs("a file renamed over another", true, &|| {
            write("sub/.b.tmp", "y");
            fs::rename(root.join("sub/.b.tmp"), root.join("sub/b.css")).unwrap();
        });
        differs("a file removed", true, &|| fs::remove_file(root.join("sub/b.css")).unwrap());
        differs("a new directory", true, &|| fs::create_dir(root.join("more")).unwrap());
        differs("a hidden file", false, &|| write(".a.swp", "x"));
        differs("below a hidden directory", false, &|| write(".git/index", "x"));
        differs("below node_modules", false, &|| write("node_modules/x/y.js", "x"));
        differs("everything gone", true, &|| fs::remove_dir_all(&root).unwrap());
        differs("still gone", false, &|| ());
    }
}
