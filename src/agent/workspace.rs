//! An agent's workspace: its starter files, and what of them goes into the prompt (agent 4).
//!
//! Runs on the thread of a run. Files of the operator are never overwritten, and nothing outside the workspace is read
//! through a link that stands in it.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::config::{Config, Paths};
use crate::limits::{BOOTSTRAP_FILE_CHARS, BOOTSTRAP_MIN_CHARS, BOOTSTRAP_READ_BYTES, BOOTSTRAP_TOTAL_CHARS};
use crate::store::atomic;

/// Created in every workspace.
const SEEDS: [(&str, &str); 6] = [
    ("AGENTS.md", include_str!("templates/AGENTS.md")),
    ("SOUL.md", include_str!("templates/SOUL.md")),
    ("TOOLS.md", include_str!("templates/TOOLS.md")),
    ("IDENTITY.md", include_str!("templates/IDENTITY.md")),
    ("USER.md", include_str!("templates/USER.md")),
    ("HEARTBEAT.md", include_str!("templates/HEARTBEAT.md")),
];
/// Created only where none of the others existed.
const FIRST: (&str, &str) = ("BOOTSTRAP.md", include_str!("templates/BOOTSTRAP.md"));
/// Who the agent of the dev profile is, as its config says too.
const DEV_IDENTITY: &str = "# Who you are\n\n- Name: C3-PO\n- Theme: protocol droid\n- Emoji: 🤖\n";
/// In the order of the prompt. What stands after HEARTBEAT.md is not missed when it is not there.
const INJECTED: [&str; 7] =
    ["AGENTS.md", "SOUL.md", "TOOLS.md", "IDENTITY.md", "USER.md", "HEARTBEAT.md", "BOOTSTRAP.md"];
const MEMORY: [&str; 2] = ["MEMORY.md", "memory.md"];
const OPTIONAL_FROM: usize = 6;

/// Where an agent works: its own setting, that of all agents, else the default place (DECISIONS 66).
pub fn directory(config: &Config, paths: &Paths, agent: &str) -> PathBuf {
    let own = config.agents.get(agent).and_then(|a| a.workspace.as_deref());
    let is_default = agent == config.agents.default_id();
    let shared = config.agents.defaults.workspace.as_deref().filter(|_| is_default);
    match own.or(shared).map(str::trim).filter(|text| !text.is_empty()) {
        Some(text) => paths.expand(text),
        None => paths.agent_workspace(agent, is_default),
    }
}

/// Creates what is missing: 0700 and 0600. Cheap when everything is there.
pub fn ensure(directory: &Path, now: &str) -> io::Result<()> {
    atomic::create_dirs(directory)?;
    let state = directory.join(".openclaw").join("workspace-state.json");
    // A workspace that was seeded once keeps the files that its owner has left in it.
    if state.exists() {
        return Ok(());
    }
    let brand_new = SEEDS.iter().all(|(name, _)| fs::symlink_metadata(directory.join(name)).is_err());
    for (name, text) in SEEDS {
        create_new(&directory.join(name), text)?;
    }
    if brand_new {
        create_new(&directory.join(FIRST.0), FIRST.1)?;
    }
    atomic::create_dirs(&directory.join(".openclaw"))?;
    create_new(&state, &format!("{}\n", json!({"version": 1, "bootstrapSeededAt": now})))
}

/// The workspace of `gateway --dev`: starter files that are missing, nothing about a first conversation (cli 3.6).
pub fn ensure_dev(directory: &Path) -> io::Result<()> {
    atomic::create_dirs(directory)?;
    SEEDS.iter().filter(|(name, _)| *name != "HEARTBEAT.md").try_for_each(|(name, text)| {
        let path = directory.join(name);
        match *name {
            "IDENTITY.md" => create_new(&path, DEV_IDENTITY),
            _ => create_new(&path, text),
        }
    })
}

/// The part of the prompt that holds the workspace's files.
pub fn project_context(directory: &Path) -> String {
    let mut out = String::from("# Project Context\n");
    let mut left = BOOTSTRAP_TOTAL_CHARS;
    let memory = MEMORY.iter().copied().find(|name| is_plain(&directory.join(name)));
    for (at, name) in INJECTED.iter().copied().chain(memory).enumerate() {
        if left < BOOTSTRAP_MIN_CHARS {
            break;
        }
        let path = directory.join(name);
        let text = match read(&path) {
            Some(text) => shorten(name, text.trim_end(), left.min(BOOTSTRAP_FILE_CHARS)),
            None if at >= OPTIONAL_FROM => continue,
            None => format!("[MISSING] Expected at: {}", path.display()),
        };
        left = left.saturating_sub(text.chars().count());
        out.push_str(&format!("\n## {}\n\n{text}\n", path.display()));
    }
    out
}

/// A long file keeps its first 70 % and its last 20 % of the limit.
fn shorten(name: &str, text: &str, limit: usize) -> String {
    let chars = text.chars().count();
    if chars <= limit {
        return text.to_owned();
    }
    let (head, tail) = (limit * 7 / 10, limit / 5);
    let at = |n: usize| text.char_indices().nth(n).map_or(text.len(), |(at, _)| at);
    format!(
        "{}\n[...truncated, read {name} for full content...]\n…(truncated {name}: kept {head}+{tail} chars of {chars})…\n{}",
        &text[..at(head)],
        &text[at(chars - tail)..]
    )
}

fn is_plain(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|meta| meta.is_file())
}

fn read(path: &Path) -> Option<String> {
    if !is_plain(path) {
        return None;
    }
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(BOOTSTRAP_READ_BYTES).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

fn create_new(path: &Path, text: &str) -> io::Result<()> {
    match atomic::new_private(path) {
        Ok(mut file) => file.write_all(text.as_bytes()),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(e) => Err(e),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn temp_dir() -> PathBuf {
        std::env::temp_dir().join(format!("openclaw-ws-{}", crate::ids::new_uuid()))
    }

    #[test]
    fn a_new_workspace_gets_its_files_once() {
        let dir = temp_dir();
        ensure(&dir, "2026-11-20T21:00:00.000Z").unwrap();
        for (name, _) in SEEDS.iter().chain([&FIRST]) {
            assert!(dir.join(name).is_file(), "{name}");
        }
        let state = fs::read_to_string(dir.join(".openclaw/workspace-state.json")).unwrap();
        assert_eq!(state, "{\"version\":1,\"bootstrapSeededAt\":\"2026-11-20T21:00:00.000Z\"}\n");
        fs::remove_file(dir.join("BOOTSTRAP.md")).unwrap();
        ensure(&dir, "later").unwrap();
        assert!(!dir.join("BOOTSTRAP.md").exists());
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn the_dev_workspace_knows_who_it_is() {
        let dir = temp_dir();
        ensure_dev(&dir).unwrap();
        assert!(fs::read_to_string(dir.join("IDENTITY.md")).unwrap().contains("C3-PO"));
        assert!(
            dir.join("USER.md").exists() && !dir.join("BOOTSTRAP.md").exists() && !dir.join("HEARTBEAT.md").exists()
        );
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn files_of_the_operator_stay() {
        let dir = temp_dir();
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("SOUL.md"), "mine").unwrap();
        ensure(&dir, "now").unwrap();
        assert_eq!(fs::read_to_string(dir.join("SOUL.md")).unwrap(), "mine");
        assert!(dir.join("AGENTS.md").exists() && !dir.join("BOOTSTRAP.md").exists());
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn the_prompt_has_limits() {
        let dir = temp_dir();
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("AGENTS.md"), "ä".repeat(BOOTSTRAP_FILE_CHARS + 10)).unwrap();
        fs::write(dir.join("memory.md"), "remember").unwrap();
        let text = project_context(&dir);
        assert!(text.contains("…(truncated AGENTS.md: kept 14000+4000 chars of 20010)…"));
        assert!(text.contains(&format!("[MISSING] Expected at: {}", dir.join("SOUL.md").display())));
        assert!(!text.contains("BOOTSTRAP"));
        assert!(text.ends_with("remember\n"));
        fs::remove_dir_all(&dir).unwrap();
    }

    #[cfg(unix)]
    #[test]
    fn links_are_not_followed() {
        let dir = temp_dir();
        fs::create_dir_all(&dir).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", dir.join("USER.md")).unwrap();
        ensure(&dir, "now").unwrap();
        assert!(!project_context(&dir).contains("root:"));
        fs::remove_dir_all(&dir).unwrap();
    }
}
