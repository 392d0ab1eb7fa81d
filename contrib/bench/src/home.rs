//! A home for one gateway under test: configuration, token, stored sessions; removed at the end.

use std::fs;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

use crate::Result;
use crate::process::free_port;

pub struct Home {
    pub root: PathBuf,
    pub port: u16,
    pub token: String,
    keep: bool,
}

impl Home {
    /// A fresh home below `base` whose only model is the endpoint on `model_port`.
    pub fn create(base: &Path, name: &str, model_port: u16, sessions: usize, keep: bool) -> Result<Home> {
        let root = base.join(format!("{name}-{}", std::process::id()));
        let home = Home { root, port: free_port()?, token: format!("bench-token-{}", std::process::id()), keep };
        let state = home.state();
        fs::create_dir_all(home.root.join("tmp"))?;
        fs::create_dir_all(&state)?;
        let config = json!({
            "gateway": {"mode": "local", "port": home.port, "auth": {"mode": "token", "token": home.token},
                "http": {"endpoints": {"chatCompletions": {"enabled": true}}}},
            "models": {"providers": {"bench": {
                "baseUrl": format!("http://127.0.0.1:{model_port}/v1"), "apiKey": "bench", "api": "openai-completions",
                "models": [{"id": "fake", "name": "fake"}],
            }}},
            "agents": {"defaults": {
                "model": {"primary": "bench/fake"}, "workspace": home.root.join("workspace"), "skipBootstrap": true,
            }},
            "logging": {"file": home.root.join("gateway.log")},
        });
        fs::write(state.join("openclaw.json"), serde_json::to_vec_pretty(&config)?)?;
        if sessions > 0 {
            home.write_sessions(sessions)?;
        }
        Ok(home)
    }

    /// As many turns at once.
    pub fn set_lanes(&self, lanes: usize) -> Result<()> {
        self.change(|config| config["agents"]["defaults"]["maxConcurrent"] = lanes.into())
    }

    /// With a certificate that the gateway makes.
    pub fn set_tls(&self) -> Result<()> {
        self.change(|config| config["gateway"]["tls"] = json!({"enabled": true}))
    }

    fn change(&self, what: impl FnOnce(&mut serde_json::Value)) -> Result<()> {
        let mut config: serde_json::Value = serde_json::from_slice(&fs::read(self.config())?)?;
        what(&mut config);
        Ok(fs::write(self.config(), serde_json::to_vec_pretty(&config)?)?)
    }

    pub fn config(&self) -> PathBuf {
        self.state().join("openclaw.json")
    }

    pub fn state(&self) -> PathBuf {
        self.root.join(".openclaw")
    }

    /// The program in this home, with nothing of our own environment.
    pub fn command(&self, binary: &Path) -> Command {
        let mut command = Command::new(binary);
        command.env_clear().env("HOME", &self.root).env("TMPDIR", self.root.join("tmp"));
        command.env("PATH", "/usr/local/bin:/usr/bin:/bin").env("LANG", "C.UTF-8").env("TZ", "UTC");
        command.current_dir(&self.root);
        command
    }

    /// Key of the stored session `number`.
    pub fn session_key(number: usize) -> String {
        format!("agent:main:stored-{number}")
    }

    /// A store with `count` sessions as a gateway leaves it after a turn in each, with their transcripts.
    fn write_sessions(&self, count: usize) -> Result<()> {
        let folder = self.state().join("agents/main/sessions");
        fs::create_dir_all(&folder)?;
        // A minute ago: too young for any sweep or daily reset.
        let now =
            std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_millis() as u64;
        let mut store = BufWriter::new(fs::File::create(folder.join("sessions.json"))?);
        for number in 0..count {
            let id = format!("{number:08x}-0000-4000-8000-{number:012x}");
            let file = folder.join(format!("{id}.jsonl"));
            let at = now - 60_000 - number as u64;
            let entry = json!({
                "sessionId": id, "updatedAt": at, "sessionFile": file, "chatType": "direct",
                "deliveryContext": {"channel": "webchat"}, "lastChannel": "webchat",
                "origin": {"provider": "webchat", "surface": "webchat", "chatType": "direct"},
                "modelProvider": "bench", "model": "fake", "contextTokens": 200_000,
                "inputTokens": 10, "outputTokens": 10, "totalTokens": 10, "totalTokensFresh": true,
                "cacheRead": 0, "cacheWrite": 0, "systemSent": true, "abortedLastRun": false,
            });
            let start = if number == 0 { "{\n" } else { ",\n" };
            write!(store, "{start}  {}: ", json!(Home::session_key(number)))?;
            let pretty = serde_json::to_string_pretty(&entry)?;
            store.write_all(pretty.replace('\n', "\n  ").as_bytes())?;
            let head = json!({
                "type": "session", "version": 3, "id": id, "timestamp": "2026-01-01T00:00:00.000Z", "cwd": self.root,
            });
            let user = json!({
                "type": "message", "id": "00000001", "parentId": null, "timestamp": "2026-01-01T00:00:00.000Z",
                "message": {"role": "user", "content": [{"type": "text", "text": "chunks:1x2"}], "timestamp": at},
            });
            fs::write(&file, format!("{head}\n{user}\n"))?;
        }
        store.write_all(b"\n}\n")?;
        Ok(store.flush()?)
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        if !self.keep {
            let _ = fs::remove_dir_all(&self.root);
        }
    }
}
