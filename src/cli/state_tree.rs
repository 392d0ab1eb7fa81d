//! One walk over the state directory, for `doctor` and the security check: what is open to others, what belongs to
//! somebody else, what a killed process left. A bounded one; nothing is changed.

use std::fs;
use std::path::{Path, PathBuf};

use crate::agent::session;
use crate::config::{Loaded, Paths};
use crate::gateway::bootstrap;
use crate::store::{atomic, lock};
use crate::sys::{dirs, process};

/// More entries than this are not looked at: what is wrong shows before.
const MAX_ENTRIES: usize = 20_000;
/// Directories of the state directory that hold secrets or conversations.
const PRIVATE: [&str; 7] = ["credentials", "identity", "devices", "nodes", "cron", "agents", "gateway"];

/// What one walk over the state directory found.
#[derive(Default)]
pub struct Tree {
    /// Open to others: path, mode, mode that it should have.
    pub loose: Vec<(PathBuf, u32, u32)>,
    /// Somebody else's.
    pub foreign: Vec<PathBuf>,
    /// Temporary files and locks of processes that are gone.
    pub leftovers: Vec<PathBuf>,
    /// Files that were set aside as damaged.
    pub damaged: Vec<PathBuf>,
    /// Who runs the gateway: whoever asks, or for root who looks after somebody's gateway, the owner of its state.
    pub owner: u32,
    seen: usize,
}

impl Tree {
    pub fn look(paths: &Paths, loaded: &Loaded) -> Tree {
        let state = &paths.state_dir;
        let us = process::effective_uid();
        let owner = dirs::owner(state).filter(|_| us == 0).unwrap_or(us);
        let mut tree = Tree { owner, ..Tree::default() };
        if state.is_dir() {
            tree.entry(state);
        }
        let config_dir = atomic::parent(&paths.config_path);
        if paths.config_path.is_file() {
            tree.entry(&paths.config_path);
        }
        for n in ["", ".1", ".2", ".3", ".4"] {
            let mut backup = paths.config_path.clone().into_os_string();
            backup.push(format!(".bak{n}"));
            tree.entry(Path::new(&backup));
        }
        // A configuration that root keeps elsewhere for a service is not the service's.
        if us == 0 {
            tree.foreign.retain(|path| path.starts_with(state));
        }
        tree.entry(&bootstrap::last_good(paths));
        tree.entry(&state.join(".env"));
        for name in PRIVATE {
            tree.walk(&state.join(name), 0);
        }
        if !paths.credentials_dir.starts_with(state) {
            tree.walk(&paths.credentials_dir, 0);
        }
        for agent in loaded.config.agents.ids() {
            let store = session::store_file(&loaded.config, paths, agent);
            let dir = atomic::parent(&store);
            if !dir.starts_with(state) {
                tree.walk(dir, 0);
            }
        }
        for dir in [state.as_path(), config_dir] {
            tree.leftovers.extend(atomic::abandoned(dir));
        }
        tree.leftovers.sort();
        tree.leftovers.dedup();
        tree.damaged.extend(children(state).filter(|path| is_damaged(path)));
        tree
    }

    fn walk(&mut self, dir: &Path, depth: usize) {
        if !fs::symlink_metadata(dir).is_ok_and(|meta| meta.is_dir()) {
            return;
        }
        self.entry(dir);
        self.leftovers.extend(atomic::abandoned(dir));
        for path in children(dir) {
            self.seen += 1;
            let Ok(meta) = fs::symlink_metadata(&path) else { continue };
            if self.seen > MAX_ENTRIES || meta.is_symlink() {
                continue;
            }
            if meta.is_dir() && depth < 4 {
                self.walk(&path, depth + 1);
            } else if meta.is_file() {
                self.entry(&path);
                self.look_at_name(&path);
            }
        }
    }

    fn look_at_name(&mut self, path: &Path) {
        if is_damaged(path) {
            self.damaged.push(path.to_owned());
        }
        let Some(file) = path.to_str().and_then(|text| text.strip_suffix(".lock")) else { return };
        let stale = match Path::new(file).extension().and_then(|end| end.to_str()) {
            Some("json") => lock::STORE_LOCK_STALE,
            Some("jsonl") => lock::TRANSCRIPT_LOCK_STALE,
            _ => return,
        };
        if !lock::is_held(Path::new(file), stale) {
            self.leftovers.push(path.to_owned());
        }
    }

    #[cfg(unix)]
    fn entry(&mut self, path: &Path) {
        use std::os::unix::fs::MetadataExt as _;
        let Ok(meta) = fs::symlink_metadata(path) else { return };
        if meta.is_symlink() || !meta.is_file() && !meta.is_dir() || dirs::is_for_a_service(&meta) {
            return;
        }
        if meta.uid() != self.owner {
            self.foreign.push(path.to_owned());
            if process::effective_uid() != 0 {
                return;
            }
        }
        let mode = meta.mode() & 0o777;
        let wanted = if meta.is_dir() { 0o700 } else { 0o600 };
        if mode & 0o077 != 0 {
            self.loose.push((path.to_owned(), mode, wanted));
        }
    }

    #[cfg(not(unix))]
    fn entry(&mut self, _: &Path) {}
}

fn children(dir: &Path) -> impl Iterator<Item = PathBuf> {
    fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path())
}

fn is_damaged(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().contains(".corrupt-"))
}
