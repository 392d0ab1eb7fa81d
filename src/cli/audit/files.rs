//! Who else on this machine can read or change the gateway's files.

use super::Severity::{Critical, Warn};
use super::facts::{Entry, Role};
use super::{Check, Facts, Hit, Repair, hit, listed};

/// Modes that `--fix` gives.
const PRIVATE_FILE: u32 = 0o600;
const PRIVATE_DIR: u32 = 0o700;
const READ: u32 = 0o044;
const WRITE: u32 = 0o022;
/// Directories whose content goes to other machines.
const SYNCED: [&str; 8] =
    ["Dropbox", "OneDrive", "Google Drive", "GoogleDrive", "Nextcloud", "iCloud", "Mobile Documents", "Syncthing"];
/// Shared by all users of a machine, or emptied by it.
const SHARED: [&str; 5] = ["/tmp", "/var/tmp", "/dev/shm", "/Users/Shared", "/private/tmp"];

pub const CHECKS: &[Check] = &[
    Check {
        id: "host.running_as_root",
        severity: Warn,
        title: "This is root's gateway",
        remedy: "Give it a user of its own: what an agent runs, it runs as that user.",
        look: |f| {
            f.root.then(|| hit(format!("{} belongs to root, who may do everything.", f.short(&f.paths.state_dir))))
        },
    },
    Check {
        id: "fs.state_dir.perms_world_writable",
        severity: Critical,
        title: "State dir is writable by everybody",
        remedy: "",
        look: |f| open(f, Role::State, |mode| mode & 0o002 != 0, "anybody can put files there"),
    },
    Check {
        id: "fs.state_dir.perms_group_writable",
        severity: Critical,
        title: "State dir is writable by a group",
        remedy: "",
        look: |f| open(f, Role::State, |mode| mode & 0o022 == 0o020, "its group can put files there"),
    },
    Check {
        id: "fs.state_dir.perms_readable",
        severity: Warn,
        title: "State dir is readable by others",
        remedy: "",
        look: |f| open(f, Role::State, |mode| mode & 0o077 != 0 && mode & WRITE == 0, "consider restricting to 700"),
    },
    Check {
        id: "fs.state_dir.symlink",
        severity: Warn,
        title: "State dir is a link",
        remedy: "Fine if you made it; set OPENCLAW_STATE_DIR to the directory itself.",
        look: |f| link(f, Role::State),
    },
    Check {
        id: "fs.state_dir.parent_writable",
        severity: Critical,
        title: "Others can put another state dir or configuration in place of this one",
        remedy: "Take the right to write from others: chmod go-w on that directory.",
        look: |f| {
            let open = f.of(Role::Above).filter(|above| above.mode & WRITE != 0 && !above.sticky);
            listed("Writable by others", &open.map(|above| shown(f, above)).collect::<Vec<_>>())
        },
    },
    Check {
        id: "fs.synced_dir",
        severity: Warn,
        title: "State or configuration are copied to other machines",
        remedy: "Move them out of that directory (OPENCLAW_STATE_DIR, OPENCLAW_CONFIG_PATH): they hold keys.",
        look: |f| {
            let synced = [&f.paths.state_dir, &f.paths.config_path].into_iter().filter(|path| {
                path.components().any(|part| SYNCED.iter().any(|name| part.as_os_str().eq_ignore_ascii_case(name)))
            });
            listed("In a synchronised directory", &synced.map(|path| f.short(path)).collect::<Vec<_>>())
        },
    },
    Check {
        id: "fs.config.perms_writable",
        severity: Critical,
        title: "Config file is writable by others",
        remedy: "",
        look: |f| open(f, Role::Config, |mode| mode & WRITE != 0, "who writes to it is the operator"),
    },
    Check {
        id: "fs.config.perms_world_readable",
        severity: Critical,
        title: "Config file is world-readable",
        remedy: "",
        look: |f| {
            open(
                f,
                Role::Config,
                |mode| mode & 0o004 != 0 && mode & WRITE == 0,
                "it can hold tokens and private settings",
            )
        },
    },
    Check {
        id: "fs.config.perms_group_readable",
        severity: Warn,
        title: "Config file is readable by others",
        remedy: "",
        look: |f| open(f, Role::Config, |mode| mode & 0o066 == 0o040, "it can hold tokens and private settings"),
    },
    Check {
        id: "fs.config.symlink",
        severity: Warn,
        title: "Config file is a link",
        remedy: "Fine if you made it; then look after the mode of what it leads to.",
        look: |f| link(f, Role::Config),
    },
    Check {
        id: "fs.config_include.perms_writable",
        severity: Critical,
        title: "A part of the configuration is writable by others",
        remedy: "openclaw security audit --fix closes it.",
        look: |f| open(f, Role::Include, |mode| mode & WRITE != 0, "who writes to it is the operator"),
    },
    Check {
        id: "fs.config_include.perms_readable",
        severity: Warn,
        title: "A part of the configuration is readable by others",
        remedy: "openclaw security audit --fix closes it.",
        look: |f| {
            open(
                f,
                Role::Include,
                |mode| mode & READ != 0 && mode & WRITE == 0,
                "it can hold tokens and private settings",
            )
        },
    },
    Check {
        id: "fs.credentials_dir.perms_writable",
        severity: Critical,
        title: "Directory of credentials is writable by others",
        remedy: "",
        look: |f| open(f, Role::Credentials, |mode| mode & WRITE != 0, "others can let themselves in"),
    },
    Check {
        id: "fs.credentials_dir.perms_readable",
        severity: Warn,
        title: "Directory of credentials is readable by others",
        remedy: "",
        look: |f| {
            open(f, Role::Credentials, |mode| mode & 0o077 != 0 && mode & WRITE == 0, "consider restricting to 700")
        },
    },
    Check {
        id: "fs.state_files.perms_readable",
        severity: Warn,
        title: "Keys, conversations or old configurations are open to others",
        remedy: "openclaw security audit --fix closes them.",
        look: |f| {
            // A directory above that is closed keeps others from everything below it.
            let own_row = |path| f.entries.iter().any(|entry| entry.path == path);
            let loose: Vec<_> = f.loose.iter().filter(|(path, ..)| !own_row(path.clone())).collect();
            let names: Vec<String> =
                loose.iter().map(|(path, mode, _)| format!("{} mode={mode:o}", f.short(path))).collect();
            let close = loose.iter().map(|(path, _, wanted)| Repair::Mode(path.clone(), *wanted));
            let writable = loose.iter().any(|(_, mode, _)| mode & WRITE != 0);
            Some(listed("Open", &names)?.critical_if(writable).repairs(close))
        },
    },
    Check {
        id: "fs.foreign_owner",
        severity: Warn,
        title: "Files of the gateway belong to another user",
        remedy: "A command run with sudo? Give them back: sudo chown -R USER on the state directory.",
        look: |f| listed("Not ours", &f.foreign.iter().map(|path| f.short(path)).collect::<Vec<_>>()),
    },
    Check {
        id: "fs.log_file.perms_readable",
        severity: Warn,
        title: "The log is readable by others",
        remedy: "openclaw security audit --fix closes it.",
        look: |f| {
            let open: Vec<&Entry> = f.of(Role::Log).filter(|log| log.reachable && log.mode & 0o066 != 0).collect();
            let seen = listed("Open", &open.iter().map(|log| shown(f, log)).collect::<Vec<_>>())?;
            Some(seen.repairs(open.iter().map(|log| Repair::Mode(log.path.clone(), PRIVATE_FILE))))
        },
    },
    Check {
        id: "fs.backup.perms_readable",
        severity: Critical,
        title: "A backup is readable by others",
        remedy: "openclaw security audit --fix closes it.",
        look: |f| {
            let open: Vec<&Entry> = f.of(Role::Backup).filter(|backup| backup.mode & 0o077 != 0).collect();
            let seen =
                listed("It holds every secret", &open.iter().map(|backup| shown(f, backup)).collect::<Vec<_>>())?;
            Some(seen.repairs(open.iter().map(|backup| close(backup))))
        },
    },
    Check {
        id: "fs.workspace.shared",
        severity: Warn,
        title: "Others can write what the agent reads as its instructions",
        remedy: "Move the workspace into a directory of yours alone, or chmod go-w it.",
        look: |f| {
            let shared = f.of(Role::Workspace).filter(|dir| {
                dir.mode & WRITE != 0
                    || dir
                        .path
                        .parent()
                        .is_some_and(|parent| SHARED.iter().any(|shared| parent == std::path::Path::new(shared)))
            });
            listed("Workspace", &shared.map(|dir| shown(f, dir)).collect::<Vec<_>>())
        },
    },
];

impl Facts<'_> {
    fn of(&self, role: Role) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(move |entry| entry.role == role)
    }

    /// The configuration and what it includes.
    pub(super) fn config_files(&self) -> impl Iterator<Item = &Entry> {
        self.of(Role::Config).chain(self.of(Role::Include))
    }
}

fn shown(facts: &Facts, entry: &Entry) -> String {
    format!("{} mode={:o}", facts.short(&entry.path), entry.mode)
}

fn close(entry: &Entry) -> Repair {
    Repair::Mode(entry.path.clone(), if entry.directory { PRIVATE_DIR } else { PRIVATE_FILE })
}

/// Entries of one kind whose mode is wrong: `<path> mode=644; <why>.`
fn open(facts: &Facts, role: Role, wrong: fn(u32) -> bool, why: &str) -> Option<Hit> {
    let found: Vec<&Entry> = facts.of(role).filter(|entry| wrong(entry.mode)).collect();
    let first = found.first()?;
    let names: Vec<String> = found.iter().map(|entry| shown(facts, entry)).collect();
    let seen = hit(format!("{}; {why}.", names.join(", "))).repairs(found.iter().map(|entry| close(entry)));
    let mode = if first.directory { PRIVATE_DIR } else { PRIVATE_FILE };
    Some(match found.len() {
        1 => seen.remedy(format!("chmod {mode:o} {}", facts.short(&first.path))),
        _ => seen,
    })
}

fn link(facts: &Facts, role: Role) -> Option<Hit> {
    let entry = facts.of(role).find(|entry| entry.link)?;
    Some(hit(format!("{} is a link; what it leads to is what counts.", facts.short(&entry.path))))
}
