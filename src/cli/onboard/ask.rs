//! What onboarding asks a person.

use serde_json::{Value, json};

use super::answers::{ANTHROPIC, Answers, CHOICES, Custom, OPENAI, api, checked_url, fits};
use crate::cli::prompt::Terminal;
use crate::cli::{Context, context, target};
use crate::config::{get_path, paths::DEFAULT_PORT};
use crate::err;
use crate::error::Result;

const BINDS: [(&str, &str); 4] = [
    ("loopback", "only this machine"),
    ("lan", "every network of this machine"),
    ("tailnet", "the Tailscale address"),
    ("auto", "this machine, or all networks where that fails"),
];

pub fn accepts_risk(terminal: &mut Terminal) -> Result<bool> {
    err!("An agent acts for you with the tools you give it, and does what it is told by whoever reaches it.");
    err!("Give it only what it needs, and let in only people you trust. Read: https://docs.openclaw.ai/security");
    terminal.confirm("Go on?", false)
}

/// This machine's gateway, or another one's.
pub fn mode(terminal: &mut Terminal, answers: &mut Answers) -> Result<()> {
    let modes = [("local", "this machine runs the gateway"), ("remote", "it uses the gateway of another one")];
    answers.remote = terminal.choose("Where does the gateway run?", &modes, usize::from(answers.remote))? == 1;
    if answers.remote {
        let url = answers.remote_url.clone().unwrap_or_else(|| "ws://127.0.0.1:18789".into());
        let is_address = |text: &str| match target::check_remote(text, &context::env) {
            Ok(()) => Ok(text.to_owned()),
            Err(error) => Err(error.to_string()),
        };
        answers.remote_url = Some(terminal.checked("Its address?", &url, is_address)?);
        let token = terminal.secret("Its token, Enter for none?")?;
        answers.remote_token = Some(token).filter(|token| !token.is_empty()).or(answers.remote_token.take());
    }
    Ok(())
}

/// The parts of a local set-up.
pub fn sections(cx: &Context, terminal: &mut Terminal, answers: &mut Answers, sections: &[&str]) -> Result<()> {
    let loaded = cx.loaded();
    let has = |section: &str| sections.contains(&section);
    let written = |path: &str| get_path::lookup(&loaded.resolved, path).and_then(Value::as_str).map(str::to_owned);
    if has("workspace") {
        let default = || cx.paths.agent_workspace(loaded.config.agents.default_id(), true).display().to_string();
        let present = answers.workspace.take().or_else(|| written("agents.defaults.workspace")).unwrap_or_else(default);
        let present = cx.short(std::path::Path::new(&present));
        answers.workspace = Some(terminal.text("Directory of the agent's files?", &present)?);
    }
    if has("gateway") {
        let port = answers.port.or(loaded.config.gateway.port).unwrap_or(DEFAULT_PORT).to_string();
        let port = terminal.checked("Port of the gateway?", &port, |text| match text.parse::<u16>() {
            Ok(port) if port > 0 => Ok(port),
            _ => Err("A number from 1 to 65535.".to_owned()),
        })?;
        answers.port = Some(port);
        let bind = answers.bind.take().or_else(|| written("gateway.bind"));
        let at = BINDS.iter().position(|(name, _)| Some(*name) == bind.as_deref());
        answers.bind = Some(BINDS[terminal.choose("Who may reach it?", &BINDS, at.unwrap_or(0))?].0.to_owned());
        let ways = [("token", "one long secret, made here"), ("password", "one that you choose")];
        let by_password =
            answers.auth.as_deref() == Some("password") || written("gateway.auth.mode").as_deref() == Some("password");
        if terminal.choose("How do clients show that they may?", &ways, usize::from(by_password))? == 0 {
            answers.auth = Some("token".into());
            let token = terminal.secret("Token, Enter to keep the present or make a new one?")?;
            answers.token = Some(json!(token)).filter(|_| !token.is_empty()).or(answers.token.take());
        } else {
            answers.auth = Some("password".into());
            let present = answers.password.is_some() || loaded.config.gateway.auth.password.is_some();
            let password = terminal.secret(if present { "Password, Enter to keep it?" } else { "Password?" })?;
            answers.password = Some(password).filter(|text| !text.is_empty()).or(answers.password.take());
        }
    }
    if has("model") {
        let at = CHOICES.iter().position(|(name, _)| *name == answers.choice).unwrap_or(0);
        answers.choice = CHOICES[terminal.choose("Which models does the agent use?", &CHOICES, at)?].0.to_owned();
        match answers.choice.as_str() {
            "apiKey" | "openai-api-key" => {
                let key = terminal.secret("Key, Enter if it is in the environment?")?;
                let variable = if answers.choice == "apiKey" { ANTHROPIC } else { OPENAI };
                if !key.is_empty() {
                    answers.keys.retain(|(name, _)| *name != variable);
                    answers.keys.push((variable, key));
                }
            }
            "custom-api-key" => answers.custom = Some(ask_custom(terminal)?),
            _ => {}
        }
    }
    if has("daemon") {
        answers.daemon = terminal.confirm("Run the gateway as a service of this machine?", answers.daemon)?;
    }
    fits(answers)
}

fn ask_custom(terminal: &mut Terminal) -> Result<Custom> {
    let filled = |text: &str| match text.is_empty() {
        true => Err("It cannot be empty.".to_owned()),
        false => Ok(text.to_owned()),
    };
    let url = terminal.checked("Address of the server?", "http://127.0.0.1:11434/v1", checked_url)?;
    let model = terminal.checked("Name of the model there?", "", filled)?;
    let id = terminal.checked("Name of the server here?", "custom", filled)?;
    let key = terminal.secret("Its key, Enter for none?")?;
    let ways = [("openai", "chat completions"), ("anthropic", "messages")];
    let speaks = ways[terminal.choose("What does it speak?", &ways, 0)?].0;
    Ok(Custom { id, url, model, key: Some(key).filter(|key| !key.is_empty()).map(Value::from), api: api(Some(speaks)) })
}
