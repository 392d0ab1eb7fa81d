//! `openclaw onboard` and `openclaw configure`: questions to a person or options of a script, then one write of the
//! configuration, the workspace and the directory of sessions.
//!
//! Answers are checked where they are given; nothing is written before the last one.

mod answers;
mod ask;
mod edits;
mod health;

use std::path::PathBuf;

use serde_json::{Value, json};

use super::Context;
use super::output::json_pretty;
use super::prompt::{self, Terminal};
use super::tree::{Configure, Onboard as Args};
use super::{reset, service, service_commands, setup};
use crate::config::load::{self, Loaded};
use crate::config::{get_path, paths::DEFAULT_PORT};
use crate::error::{Error, Result};
use crate::store::source::FsSource;
use crate::{err, out};
use answers::Answers;
use health::Health;

const SECTIONS: [&str; 4] = ["workspace", "model", "gateway", "daemon"];

pub fn run(cx: &Context, args: &Args) -> Result<u8> {
    let mut terminal = if args.non_interactive {
        if !args.accept_risk {
            return Err(Error::new("Non-interactive onboarding requires explicit risk acknowledgement.")
                .hint("Read: https://docs.openclaw.ai/security")
                .hint(format!("Re-run with: {} ...", cx.suggest("openclaw onboard --non-interactive --accept-risk"))));
        }
        None
    } else {
        let instead = cx.suggest("openclaw onboard --non-interactive --accept-risk");
        Some(Terminal::open().ok_or_else(|| prompt::nobody_to_ask(&instead))?)
    };
    let mut answers = answers::from_options(args)?;
    let scope = match args.reset || args.reset_scope.is_some() {
        true => Some(reset::checked_scope(args.reset_scope.as_deref().unwrap_or("config+creds+sessions"))?),
        false => None,
    };
    if scope.is_none() && !cx.loaded().valid() {
        return Err(Error::new(cx.loaded().invalid_block(&cx.paths)));
    }
    if let Some(terminal) = &mut terminal {
        if !args.accept_risk && !ask::accepts_risk(terminal)? {
            err!("Nothing was changed.");
            return Ok(1);
        }
        ask::mode(terminal, &mut answers)?;
        let sections: &[&str] = if answers.remote { &[] } else { &SECTIONS };
        ask::sections(cx, terminal, &mut answers, sections)?;
    }
    if let Some(scope) = scope {
        reset::move_aside(cx, &reset::own_paths(cx, scope)?)?;
    }
    // What was moved aside is not what the configuration says now.
    let fresh = load::load(&cx.paths, &FsSource);
    finish(cx, &fresh, &answers, "onboard", args)
}

pub fn configure(cx: &Context, args: &Configure) -> Result<u8> {
    if let Some(unknown) = args.section.iter().find(|name| !SECTIONS.contains(&name.as_str())) {
        return Err(Error::new(format!("There is nothing to configure under \"{unknown}\" in this version."))
            .hint(format!("Sections: {}. Everything else: openclaw config set", SECTIONS.join(", "))));
    }
    let instead = "openclaw config set <path> <value>, or openclaw onboard --non-interactive";
    let mut terminal = Terminal::open().ok_or_else(|| prompt::nobody_to_ask(instead))?;
    if !cx.loaded().valid() {
        return Err(Error::new(cx.loaded().invalid_block(&cx.paths)));
    }
    let mut answers = Answers { choice: "skip".into(), ..Answers::default() };
    let chosen: Vec<&str> = args.section.iter().map(String::as_str).collect();
    if chosen.is_empty() {
        ask::mode(&mut terminal, &mut answers)?;
    }
    let sections = match (chosen.is_empty(), answers.remote) {
        (false, _) => &chosen[..],
        (true, true) => &[],
        (true, false) => &SECTIONS,
    };
    ask::sections(cx, &mut terminal, &mut answers, sections)?;
    finish(cx, cx.loaded(), &answers, "configure", &Args::default())
}

/// One write, then what hangs on it. What was found on the way is at the end of it.
fn finish(cx: &Context, loaded: &Loaded, answers: &Answers, command: &str, args: &Args) -> Result<u8> {
    setup::write(cx, &edits::edits(cx, loaded, answers, command)?)?;
    let say = |line: String| {
        if !args.json {
            out!("{line}")
        }
    };
    say(format!("{} {}", if loaded.exists { "Updated" } else { "Wrote" }, cx.short(&cx.paths.config_path)));
    let mut workspace = None;
    if !answers.remote {
        let (dir, sessions) = setup::directories(cx)?;
        say(format!("Workspace OK: {}", cx.short(&dir)));
        say(format!("Sessions OK: {}", cx.short(&sessions)));
        workspace = Some(dir);
    }
    // From here on what was written counts.
    let now = cx.anew();
    let mut started = false;
    if answers.daemon {
        let (installed, text) = install_service(&now);
        started = installed;
        if args.json { err!("{text}") } else { out!("{text}") }
    }
    let onboarding = command == "onboard";
    let health = (onboarding && !args.skip_health).then(|| health::look(&now, answers.remote, started, args.json));
    // Who only writes a configuration starts the gateway next; a service should run by now.
    let failed = started && health.as_ref().is_some_and(|health| !health.is_good());
    if args.json {
        let mut told = summary(now.loaded(), answers, args, workspace);
        told["ok"] = (!failed).into();
        if let Some(health) = &health {
            told["health"] = health.json();
        }
        out!("{}", json_pretty(&told));
        return Ok(u8::from(failed));
    }
    if !answers.remote && answers.choice == "skip" && onboarding {
        out!("No model provider was set up: {}", cx.suggest("openclaw configure --section model"));
    }
    if answers.choice == "openai-api-key" {
        out!("Choose its model: openclaw config set agents.defaults.model.primary openai/<model>");
    }
    health.iter().flat_map(Health::lines).for_each(|line| out!("{line}"));
    if onboarding {
        let running = health.as_ref().is_some_and(Health::is_good);
        let start = if running || answers.remote { "openclaw status" } else { "openclaw gateway" };
        let dashboard = if args.skip_ui || answers.remote { "" } else { ", then openclaw dashboard" };
        out!("Next: {}{dashboard}", cx.suggest(start));
    }
    Ok(u8::from(failed))
}

/// `--install-daemon`: whether there is a service now, and what became of it. A machine without a service manager is no
/// reason to fail.
fn install_service(cx: &Context) -> (bool, String) {
    let run = cx.suggest("openclaw gateway run");
    let service = service::find(cx, cx.port(None));
    if service.reach().is_err() {
        let text = format!(
            "Systemd user services are unavailable; skipping service install. Use a direct shell run (`{run}`) or rerun \
             without --install-daemon on this session."
        );
        return (false, text);
    }
    match service_commands::write_service(cx, &service) {
        Ok(lines) => (true, lines.join("\n").trim_start().to_owned()),
        Err(e) => (false, format!("No service was installed: {e}\nRun `{run}` under this machine's own supervisor.")),
    }
}

fn summary(now: &Loaded, answers: &Answers, args: &Args, workspace: Option<PathBuf>) -> Value {
    let gateway = &now.config.gateway;
    let text = |path: &str, default: &str| {
        get_path::lookup(&now.resolved, path).and_then(Value::as_str).unwrap_or(default).to_owned()
    };
    let mut told = json!({"ok": true, "mode": if answers.remote { "remote" } else { "local" }});
    if answers.remote {
        told["remoteUrl"] = json!(gateway.remote_url);
        return told;
    }
    told["workspace"] = json!(workspace);
    told["authChoice"] = json!(answers.choice);
    told["gateway"] = json!({
        "port": gateway.port.unwrap_or(DEFAULT_PORT),
        "bind": text("gateway.bind", "loopback"),
        "authMode": text("gateway.auth.mode", "token"),
        "tailscaleMode": text("gateway.tailscale.mode", "off"),
    });
    told["installDaemon"] = json!(answers.daemon);
    if answers.daemon {
        told["daemonRuntime"] = json!("native");
    }
    told["skipSkills"] = json!(args.skip_skills);
    told["skipHealth"] = json!(args.skip_health);
    told
}
