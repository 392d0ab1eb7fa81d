//! `logs/config-audit.jsonl`: one line for each write of the configuration, in the reference's shape (config A6.8).
//!
//! A line that cannot be written is a warning, never a reason to refuse the write itself.

use std::io::{self, Write as _};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::atomic;
use super::transcript::iso_time;
use crate::config::{get_path, redact, text};
use crate::limits;
use crate::log::redact::{is_secret_name, redact as redact_text};

/// What one write was.
pub struct Entry<'a> {
    pub config_path: &'a Path,
    /// None: there was no file.
    pub old_hash: Option<&'a str>,
    pub new_hash: &'a str,
    pub old_bytes: Option<usize>,
    pub new_bytes: usize,
    pub changed_paths: usize,
    pub meta_before: bool,
    pub meta_after: bool,
    pub mode_before: Option<String>,
    pub mode_after: Option<String>,
    pub suspicious: &'a [String],
    pub outcome: Outcome,
}

pub enum Outcome {
    Renamed,
    Failed { code: Option<String>, message: String },
}

/// Adds the line.
pub fn record(state_dir: &Path, entry: &Entry<'_>) {
    let path = state_dir.join("logs/config-audit.jsonl");
    let mut line = line(entry).to_string();
    line.push('\n');
    if let Err(e) = append(&path, &line) {
        log::warn!(target: "config", "Config write audit not written: {}: {e}", path.display());
    }
}

fn append(path: &Path, line: &str) -> io::Result<()> {
    atomic::create_dirs(atomic::parent(path))?;
    let mut file = atomic::open_append(path)?;
    if file.metadata()?.len() + line.len() as u64 > limits::CONFIG_AUDIT_BYTES {
        drop(file);
        std::fs::rename(path, path.with_extension("jsonl.1"))?;
        file = atomic::open_append(path)?;
    }
    file.write_all(line.as_bytes())
}

fn line(entry: &Entry<'_>) -> Value {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_millis() as u64);
    let args: Vec<String> = std::env::args_os().map(|arg| arg.to_string_lossy().into_owned()).collect();
    let mut line = json!({
        "ts": iso_time(now),
        "source": "config-io",
        "event": "config.write",
        "configPath": entry.config_path.display().to_string(),
        "pid": std::process::id(),
        "ppid": parent_pid(),
        "cwd": std::env::current_dir().ok().map(|dir| dir.display().to_string()),
        "argv": without_secrets(&args),
        "execArgv": [],
        "watchMode": false,
        "watchSession": null,
        "watchCommand": null,
        "existsBefore": entry.old_hash.is_some(),
        "previousHash": entry.old_hash,
        "nextHash": entry.new_hash,
        "previousBytes": entry.old_bytes,
        "nextBytes": entry.new_bytes,
        "changedPathCount": entry.changed_paths,
        "hasMetaBefore": entry.meta_before,
        "hasMetaAfter": entry.meta_after,
        "gatewayModeBefore": entry.mode_before,
        "gatewayModeAfter": entry.mode_after,
        "suspicious": entry.suspicious,
    });
    match &entry.outcome {
        Outcome::Renamed => line["result"] = json!("rename"),
        Outcome::Failed { code, message } => {
            line["result"] = json!("failed");
            if let Some(code) = code {
                line["errorCode"] = json!(code);
            }
            line["errorMessage"] = json!(message);
        }
    }
    line
}

/// The command line as it may be kept: what follows the name of a secret, or is an object that holds one, is masked.
fn without_secrets(args: &[String]) -> Vec<String> {
    const MASK: &str = "***";
    let mut out = Vec::with_capacity(args.len());
    let mut hide = false;
    for arg in args {
        let option = arg.strip_prefix("--");
        let named = |name: &str| {
            let steps = get_path::parse_path(name).unwrap_or_default();
            let steps: Vec<&str> = steps.iter().map(String::as_str).collect();
            is_secret_name(name) || redact::is_secret(&steps)
        };
        out.push(match option.and_then(|option| option.split_once('=')) {
            _ if hide => MASK.to_owned(),
            Some((name, _)) if named(name) => format!("--{name}={MASK}"),
            _ => match text::parse(arg) {
                Ok(value @ (Value::Object(_) | Value::Array(_))) => redact::redact(&value).to_string(),
                _ => redact_text(arg).into_owned(),
            },
        });
        hide = match option {
            // A switch between a path and its value: `config set hooks.token --json x`.
            Some("json" | "strict-json" | "replace") => hide,
            Some(option) => !option.contains('=') && named(option),
            None => !hide && named(arg),
        };
        // The switch itself is no secret.
        if hide && matches!(option, Some("json" | "strict-json" | "replace")) {
            out.pop();
            out.push(arg.clone());
        }
    }
    out
}

fn parent_pid() -> Option<u32> {
    #[cfg(unix)]
    return Some(std::os::unix::process::parent_id());
    #[cfg(not(unix))]
    None
}

/// The names that appear in practice, as the reference writes them.
pub fn errno_name(number: i32) -> Option<&'static str> {
    Some(match number {
        1 => "EPERM",
        2 => "ENOENT",
        5 => "EIO",
        13 => "EACCES",
        17 => "EEXIST",
        20 => "ENOTDIR",
        21 => "EISDIR",
        27 => "EFBIG",
        28 => "ENOSPC",
        30 => "EROFS",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::atomic::tests::TempDir;

    #[test]
    fn secrets_on_the_command_line() {
        let table = [
            ("gateway --token abc --port 1", "gateway --token *** --port 1"),
            ("gateway --token=abc --auth token", "gateway --token=*** --auth token"),
            ("config set gateway.auth.token abc --json", "config set gateway.auth.token *** --json"),
            ("config set gateway.auth.token --json abc", "config set gateway.auth.token --json ***"),
            ("config set hooks[\"token\"] abc", "config set hooks[\"token\"] ***"),
            ("config set gateway.port 5", "config set gateway.port 5"),
            ("config set env.vars.X abc", "config set env.vars.X ***"),
            (
                "config set models.providers.x {apiKey:'abc',api:'y'}",
                "config set models.providers.x {\"apiKey\":\"__OPENCLAW_REDACTED__\",\"api\":\"y\"}",
            ),
        ];
        for (line, expected) in table {
            let args: Vec<String> = line.split(' ').map(str::to_owned).collect();
            assert_eq!(without_secrets(&args).join(" "), expected);
        }
    }

    #[test]
    fn a_full_file_is_put_aside() {
        let dir = TempDir::new("config-audit");
        let path = dir.join("logs/config-audit.jsonl");
        append(&path, "{}\n").unwrap();
        std::fs::write(&path, vec![b'x'; limits::CONFIG_AUDIT_BYTES as usize]).unwrap();
        append(&path, "{\"a\":1}\n").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"{\"a\":1}\n");
        assert_eq!(std::fs::metadata(dir.join("logs/config-audit.jsonl.1")).unwrap().len(), limits::CONFIG_AUDIT_BYTES);
    }
}
