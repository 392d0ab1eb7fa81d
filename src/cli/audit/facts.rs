//! What the rows look at: configuration, modes of files, devices. Reads only, and never more than it has to.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::agent::workspace;
use crate::cli::Context;
use crate::cli::client::now_ms;
use crate::cli::state_tree::Tree;
use crate::config::{Config, Loaded, Paths, get_path};
use crate::limits;
use crate::policy::auth::{AuthOverrides, ResolvedAuth, resolve_auth};
use crate::secret::Secret;
use crate::store::atomic;
use crate::store::device_record::PairedDevice;
use crate::store::source::FsSource;
use crate::sys::{dirs, process};

/// Names of backups that were made without another name.
const BACKUP_END: &str = "-openclaw-backup.tar";

/// How much is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// Configuration, its file and the state directory.
    Quick,
    /// Also every file in the state directory.
    Full,
}

/// What an entry is to the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    State,
    Config,
    Include,
    Credentials,
    Log,
    Backup,
    Workspace,
    /// A directory above state or configuration.
    Above,
}

/// A file or directory with its mode; of a link those of what it leads to.
#[derive(Clone, Debug)]
pub struct Entry {
    pub role: Role,
    pub path: PathBuf,
    pub mode: u32,
    pub directory: bool,
    pub link: bool,
    /// Only owners remove what is in it, like /tmp.
    pub sticky: bool,
    /// The directory that holds it can be entered by others.
    pub reachable: bool,
}

pub struct Facts<'a> {
    pub paths: &'a Paths,
    pub config: &'a Config,
    /// After includes and variables.
    pub values: &'a Value,
    /// As the file has it.
    pub written: &'a Value,
    pub auth: ResolvedAuth,
    pub now_ms: u64,
    pub root: bool,
    pub entries: Vec<Entry>,
    /// Below the state directory: path, mode, mode that it should have.
    pub loose: Vec<(PathBuf, u32, u32)>,
    pub foreign: Vec<PathBuf>,
    pub devices: Vec<PairedDevice>,
}

impl<'a> Facts<'a> {
    /// The configuration alone: no file is looked at.
    pub fn of_config(
        paths: &'a Paths,
        loaded: &'a Loaded,
        now_ms: u64,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Facts<'a> {
        let first = |names: [&str; 2]| {
            let found = names.into_iter().find_map(env).map(|text| text.trim().to_owned());
            found.filter(|text| !text.is_empty()).map(Secret::new)
        };
        let given = AuthOverrides {
            env_token: first(["OPENCLAW_GATEWAY_TOKEN", "CLAWDBOT_GATEWAY_TOKEN"]),
            env_password: first(["OPENCLAW_GATEWAY_PASSWORD", "CLAWDBOT_GATEWAY_PASSWORD"]),
            ..AuthOverrides::default()
        };
        Facts {
            paths,
            config: &loaded.config,
            values: &loaded.resolved,
            written: &loaded.parsed,
            auth: resolve_auth(&loaded.config.gateway, &given),
            now_ms,
            root: false,
            entries: Vec::new(),
            loose: Vec::new(),
            foreign: Vec::new(),
            devices: Vec::new(),
        }
    }

    pub fn gather(cx: &'a Context, depth: Depth) -> Facts<'a> {
        let (paths, loaded) = (&cx.paths, cx.loaded());
        let mut facts = Facts::of_config(paths, loaded, now_ms(), &|name| loaded.var(&FsSource, name));
        // Root may look after a gateway that runs as somebody else.
        facts.root = process::uid() == Some(0) && dirs::owner(&paths.state_dir).is_some_and(|owner| owner == 0);
        facts.entry(Role::State, &paths.state_dir);
        facts.entry(Role::Config, &paths.config_path);
        for path in &loaded.includes {
            facts.entry(Role::Include, path);
        }
        for path in [&paths.state_dir, &paths.config_path] {
            let real = fs::canonicalize(path).unwrap_or_else(|_| path.clone());
            for above in real.ancestors().skip(1).filter(|above| !above.starts_with(&paths.state_dir)) {
                if !facts.entries.iter().any(|entry| entry.role == Role::Above && entry.path == above) {
                    facts.entry(Role::Above, above);
                }
            }
        }
        if depth == Depth::Full {
            facts.look_everywhere(cx);
        }
        facts
    }

    fn look_everywhere(&mut self, cx: &Context) {
        let paths = self.paths;
        self.entry(Role::Credentials, &paths.credentials_dir);
        let file = self.config.logging.file.as_deref().map(|file| paths.expand(file));
        if let Some(log) = crate::log::todays_file(file.as_deref()) {
            self.entry(Role::Log, &log);
        }
        let here = std::env::current_dir().unwrap_or_default();
        let mut places = vec![paths.home.clone(), here];
        places.dedup();
        let kept = paths.state_dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let kept = [format!("{kept}.before-restore-"), format!("{kept}.reset-")];
        places.extend(paths.state_dir.parent().map(Path::to_owned).filter(|dir| !places.contains(dir)));
        for place in places {
            for item in fs::read_dir(place).into_iter().flatten().flatten() {
                let name = item.file_name().to_string_lossy().into_owned();
                if name.ends_with(BACKUP_END) || kept.iter().any(|start| name.starts_with(start.as_str())) {
                    self.entry(Role::Backup, &item.path());
                }
            }
        }
        for agent in self.config.agents.ids() {
            self.entry(Role::Workspace, &workspace::directory(self.config, paths, agent));
        }
        let tree = Tree::look(paths, cx.loaded());
        self.loose = tree.loose;
        self.foreign = tree.foreign;
        self.devices = paired(&paths.state_dir);
    }

    #[cfg(unix)]
    fn entry(&mut self, role: Role, path: &Path) {
        use std::os::unix::fs::MetadataExt as _;
        let Ok(meta) = fs::metadata(path) else { return };
        let above = fs::metadata(atomic::parent(path)).map_or(0, |meta| meta.mode());
        self.entries.push(Entry {
            role,
            path: path.to_owned(),
            mode: meta.mode() & if dirs::is_for_a_service(&meta) { 0o700 } else { 0o777 },
            directory: meta.is_dir(),
            link: fs::symlink_metadata(path).is_ok_and(|meta| meta.is_symlink()),
            sticky: meta.mode() & 0o1000 != 0,
            reachable: above & 0o011 != 0,
        });
    }

    #[cfg(not(unix))]
    fn entry(&mut self, _: Role, _: &Path) {}

    pub(super) fn at(&self, path: &str) -> Option<&Value> {
        get_path::lookup(self.values, path)
    }

    pub(super) fn short(&self, path: &Path) -> String {
        self.paths.tilde(path)
    }
}

/// Read beside the gateway, which owns the file; a damaged one is for it to judge.
fn paired(state: &Path) -> Vec<PairedDevice> {
    let bytes = atomic::read_limited(&state.join("devices/paired.json"), limits::STATE_FILE_BYTES).unwrap_or_default();
    let Ok(Value::Object(records)) = serde_json::from_slice(&bytes) else { return Vec::new() };
    let named = records.into_iter().filter_map(|(id, record)| {
        let mut device: PairedDevice = serde_json::from_value(record).ok()?;
        device.device_id = id;
        Some(device)
    });
    named.collect()
}
