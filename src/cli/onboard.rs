//! `openclaw onboard` and `openclaw configure`: questions to a person or options of a script, then one write of the
//! configuration, the workspace and the directory of sessions.
//!
//! Answers are checked where they are given; nothing is written before the last one.

use serde_json::{Value, json};

use super::Context;
use super::client::now_ms;
use super::output::json_pretty;
use super::prompt::{self, Terminal};
use super::tree::{Configure, Onboard as Args, Setup};
use super::{reset, service, service_commands, setup};
use crate::config::load::Loaded;
use crate::config::{get_path, paths::DEFAULT_PORT};
use crate::error::{Error, Result};
use crate::protocol::COMPAT_VERSION;
use crate::store::config_file::Edit;
use crate::store::transcript::iso_time;
use crate::{err, ids, out};

const BINDS: [(&str, &str); 4] = [
    ("loopback", "only this machine"),
    ("lan", "every network of this machine"),
    ("tailnet", "the Tailscale address"),
    ("auto", "this machine, or all networks where that fails"),
];
const CHOICES: [(&str, &str); 4] = [
    ("skip", "later"),
    ("apiKey", "a key of Anthropic"),
    ("openai-api-key", "a key of OpenAI"),
    ("custom-api-key", "another server that speaks like one of these, e.g. on this network"),
];
const SECTIONS: [&str; 4] = ["workspace", "model", "gateway", "daemon"];

/// What is to be written. None = as it is.
#[derive(Clone, Debug, Default, PartialEq)]
struct Answers {
    remote: bool,
    workspace: Option<String>,
    port: Option<u16>,
    bind: Option<String>,
    /// `token` or `password`.
    auth: Option<String>,
    token: Option<Value>,
    password: Option<String>,
    tailscale: Option<String>,
    tailscale_reset: bool,
    remote_url: Option<String>,
    remote_token: Option<String>,
    choice: String,
    /// Key of Anthropic or OpenAI; None: it is in the environment.
    key: Option<String>,
    custom: Option<Custom>,
    daemon: bool,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Custom {
    id: String,
    url: String,
    model: String,
    key: Option<String>,
    api: &'static str,
}

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
    let mut answers = from_options(args)?;
    let scope = match args.reset || args.reset_scope.is_some() {
        true => Some(reset::checked_scope(args.reset_scope.as_deref().unwrap_or("config+creds+sessions"))?),
        false => None,
    };
    if scope.is_none() && !cx.loaded().valid() {
        return Err(Error::new(cx.loaded().invalid_block(&cx.paths)));
    }
    if let Some(terminal) = &mut terminal {
        if !args.accept_risk && !accepts_risk(terminal)? {
            err!("Nothing was changed.");
            return Ok(1);
        }
        ask_mode(terminal, &mut answers)?;
        let sections: &[&str] = if answers.remote { &[] } else { &SECTIONS };
        ask(cx, terminal, &mut answers, sections)?;
    }
    if let Some(scope) = scope {
        reset::move_aside(cx, &reset::own_paths(cx, scope)?)?;
    }
    // What was moved aside is not what the configuration says now.
    let fresh = crate::config::load::load(&cx.paths, &crate::store::source::FsSource);
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
        ask_mode(&mut terminal, &mut answers)?;
    }
    let sections = match (chosen.is_empty(), answers.remote) {
        (false, _) => &chosen[..],
        (true, true) => &[],
        (true, false) => &SECTIONS,
    };
    ask(cx, &mut terminal, &mut answers, sections)?;
    finish(cx, cx.loaded(), &answers, "configure", &Args::default())
}

// ── answers from options ───────────────────────────────────────────────────────────────────────────────

fn from_options(args: &Args) -> Result<Answers> {
    let one_of = |option: &str, value: &Option<String>, allowed: &[&str]| match value.as_deref().map(str::trim) {
        None => Ok(None),
        Some(value) if allowed.contains(&value) => Ok(Some(value.to_owned())),
        Some(value) => Err(Error::new(format!("Invalid {option} \"{value}\" (use {})", listed(allowed)))),
    };
    one_of("--flow", &args.flow, &["quickstart", "advanced", "manual"])?;
    let mode = one_of("--mode", &args.mode, &["local", "remote"])?;
    let in_environment =
        one_of("--secret-input-mode", &args.secret_input_mode, &["plaintext", "ref"])?.as_deref() == Some("ref");
    let speaks = one_of("--custom-compatibility", &args.custom_compatibility, &["openai", "anthropic"])?;
    let token = match (&args.gateway_token, &args.gateway_token_ref_env) {
        (Some(_), Some(_)) => return Err(Error::new("Use either --gateway-token or --gateway-token-ref-env.")),
        (Some(token), None) if token.trim().is_empty() => return Err(Error::new("--gateway-token is empty.")),
        (Some(token), None) => Some(json!(token.trim())),
        (None, Some(name)) => Some(json!({"source": "env", "provider": "default", "id": name})),
        (None, None) => None,
    };
    let guessed = [
        (args.anthropic_api_key.is_some(), "apiKey"),
        (args.openai_api_key.is_some(), "openai-api-key"),
        (args.custom_base_url.is_some(), "custom-api-key"),
    ];
    let names: Vec<&str> = CHOICES.iter().map(|(name, _)| *name).collect();
    let choice = one_of("--auth-choice", &args.auth_choice, &names)?;
    let choice = choice.unwrap_or_else(|| guessed.iter().find(|(given, _)| *given).map_or("skip", |g| g.1).to_owned());
    let key = match choice.as_str() {
        "apiKey" => args.anthropic_api_key.clone(),
        "openai-api-key" => args.openai_api_key.clone(),
        _ => None,
    };
    if matches!(choice.as_str(), "apiKey" | "openai-api-key")
        && key.is_none()
        && !in_environment
        && args.non_interactive
    {
        return Err(Error::new(format!("--auth-choice {choice} needs the key."))
            .hint("Add --anthropic-api-key or --openai-api-key, or --secret-input-mode ref and set the variable."));
    }
    let custom = match (choice == "custom-api-key", &args.custom_base_url, &args.custom_model_id) {
        (true, Some(url), Some(model)) => Some(Custom {
            id: args.custom_provider_id.clone().unwrap_or_else(|| "custom".into()),
            url: checked_url(url).map_err(Error::new)?,
            model: model.clone(),
            key: args.custom_api_key.clone().filter(|_| !in_environment),
            api: api(speaks.as_deref()),
        }),
        (true, ..) if args.non_interactive => {
            return Err(Error::new("Another provider needs --custom-base-url and --custom-model-id."));
        }
        _ => None,
    };
    let answers = Answers {
        remote: mode.as_deref() == Some("remote") || mode.is_none() && args.remote_url.is_some(),
        workspace: args.workspace.clone(),
        port: super::context::port_flag(args.gateway_port.as_deref())?,
        bind: one_of("--gateway-bind", &args.gateway_bind, &["loopback", "lan", "tailnet", "auto", "custom"])?,
        auth: one_of("--gateway-auth", &args.gateway_auth, &["token", "password"])?
            .or_else(|| args.gateway_password.is_some().then(|| "password".to_owned())),
        token,
        password: args.gateway_password.clone().filter(|password| !password.trim().is_empty()),
        tailscale: one_of("--tailscale", &args.tailscale, &["off", "serve", "funnel"])?,
        tailscale_reset: args.tailscale_reset_on_exit,
        remote_url: args.remote_url.clone(),
        remote_token: args.remote_token.clone(),
        choice,
        key: key.filter(|_| !in_environment),
        custom,
        daemon: args.install_daemon && !args.no_install_daemon && !args.skip_daemon,
    };
    fits(&answers)?;
    Ok(answers)
}

/// What the gateway would refuse at its start is refused here.
fn fits(answers: &Answers) -> Result<()> {
    let published = answers.tailscale.as_deref().filter(|mode| *mode != "off");
    if published.is_some() && answers.bind.as_deref().is_some_and(|bind| bind != "loopback") {
        return Err(Error::new("--tailscale serve and funnel need --gateway-bind loopback."));
    }
    if published == Some("funnel") && answers.auth.as_deref() != Some("password") {
        return Err(Error::new("--tailscale funnel needs --gateway-auth password."));
    }
    Ok(())
}

fn listed(words: &[&str]) -> String {
    words.iter().map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(", ")
}

fn api(speaks: Option<&str>) -> &'static str {
    if speaks == Some("anthropic") { "anthropic-messages" } else { "openai-completions" }
}

fn checked_url(url: &str) -> std::result::Result<String, String> {
    let url = url.trim().trim_end_matches('/');
    match url.starts_with("http://") || url.starts_with("https://") {
        true => Ok(url.to_owned()),
        false => Err(format!("\"{url}\" is no address: it begins with http:// or https://")),
    }
}

// ── answers from a person ──────────────────────────────────────────────────────────────────────────────

fn accepts_risk(terminal: &mut Terminal) -> Result<bool> {
    err!("An agent acts for you with the tools you give it, and does what it is told by whoever reaches it.");
    err!("Give it only what it needs, and let in only people you trust. Read: https://docs.openclaw.ai/security");
    terminal.confirm("Go on?", false)
}

fn ask_mode(terminal: &mut Terminal, answers: &mut Answers) -> Result<()> {
    let modes = [("local", "this machine runs the gateway"), ("remote", "it uses the gateway of another one")];
    answers.remote = terminal.choose("Where does the gateway run?", &modes, usize::from(answers.remote))? == 1;
    if answers.remote {
        let url = answers.remote_url.clone().unwrap_or_else(|| "ws://127.0.0.1:18789".into());
        let is_address = |text: &str| match text.starts_with("ws://") || text.starts_with("wss://") {
            true => Ok(text.to_owned()),
            false => Err("It begins with ws:// or wss://.".to_owned()),
        };
        answers.remote_url = Some(terminal.checked("Its address?", &url, is_address)?);
        let token = terminal.secret("Its token, Enter for none?")?;
        answers.remote_token = Some(token).filter(|token| !token.is_empty()).or(answers.remote_token.take());
    }
    Ok(())
}

fn ask(cx: &Context, terminal: &mut Terminal, answers: &mut Answers, sections: &[&str]) -> Result<()> {
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
                answers.key = Some(key).filter(|key| !key.is_empty()).or(answers.key.take());
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
    Ok(Custom { id, url, model, key: Some(key).filter(|key| !key.is_empty()), api: api(Some(speaks)) })
}

// ── what follows from the answers ──────────────────────────────────────────────────────────────────────

fn finish(cx: &Context, loaded: &Loaded, answers: &Answers, command: &str, args: &Args) -> Result<u8> {
    let edits = edits(cx, loaded, answers, command)?;
    setup::write(cx, &edits)?;
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
    if answers.daemon {
        let text = install_service(cx);
        if args.json { err!("{text}") } else { out!("{text}") }
    }
    if args.json {
        let now = crate::config::load::load(&cx.paths, &crate::store::source::FsSource);
        out!("{}", json_pretty(&summary(&now, answers, args, workspace)));
        return Ok(0);
    }
    if !answers.remote && answers.choice == "skip" && command == "onboard" {
        out!("No model provider was set up: {}", cx.suggest("openclaw configure --section model"));
    }
    if answers.choice == "openai-api-key" {
        out!("Choose its model: openclaw config set agents.defaults.model.primary openai/<model>");
    }
    if command == "onboard" {
        let dashboard = if args.skip_ui || answers.remote { "" } else { ", then openclaw dashboard" };
        let start = if answers.remote { "openclaw status" } else { "openclaw gateway" };
        out!("Next: {}{dashboard}", cx.suggest(start));
    }
    Ok(0)
}

/// `--install-daemon`: what became of it. A machine without a service manager is no reason to fail.
fn install_service(cx: &Context) -> String {
    let run = cx.suggest("openclaw gateway run");
    let service = service::find(cx, cx.port(None));
    if service.reach().is_err() {
        return format!(
            "Systemd user services are unavailable; skipping service install. Use a direct shell run (`{run}`) or rerun \
             without --install-daemon on this session."
        );
    }
    match service_commands::write_service(cx, &service) {
        Ok(lines) => lines.join("\n").trim_start().to_owned(),
        Err(e) => format!("No service was installed: {e}\nRun `{run}` under this machine's own supervisor."),
    }
}

fn edits(cx: &Context, loaded: &Loaded, answers: &Answers, command: &str) -> Result<Vec<Edit>> {
    let setup_args = Setup {
        workspace: answers.workspace.clone(),
        mode: Some(if answers.remote { "remote" } else { "local" }.to_owned()),
        remote_url: answers.remote_url.clone(),
        remote_token: answers.remote_token.clone(),
        ..Setup::default()
    };
    let mut edits = Vec::new();
    let now = iso_time(now_ms());
    for (key, value) in [
        ("lastRunAt", now.as_str()),
        ("lastRunVersion", COMPAT_VERSION),
        ("lastRunCommand", command),
        ("lastRunMode", if answers.remote { "remote" } else { "local" }),
    ] {
        edits.push(Edit::set(&format!("wizard.{key}"), value));
    }
    if answers.remote {
        edits.extend(setup::remote_edits(&setup_args, loaded)?);
        return Ok(edits);
    }
    let absent = |path: &str| get_path::lookup(&loaded.resolved, path).is_none();
    edits.extend(gateway_edits(loaded, answers)?);
    let given: Vec<Edit> = edits.clone();
    // Whatever the answers leave open is as in setup; what they say is not said twice.
    let said = |edit: &Edit| matches!((edit, edit_path(edit)), (Edit::Set { .. }, Some(path)) if given.iter().any(|e| edit_path(e) == Some(path)));
    let password = answers.auth.as_deref() == Some("password");
    let rest = setup::local_edits(cx, &setup_args, loaded);
    edits.extend(rest.into_iter().filter(|edit| {
        let of_token = edit_path(edit).is_some_and(|path| path.starts_with(&["gateway".into(), "auth".into()]));
        !(said(edit) || of_token && password)
    }));
    for (path, value) in [("tools.profile", "coding"), ("session.dmScope", "per-channel-peer")] {
        if absent(path) && command == "onboard" {
            edits.push(Edit::set(path, value));
        }
    }
    edits.extend(model_edits(loaded, answers));
    Ok(edits)
}

fn edit_path(edit: &Edit) -> Option<&[String]> {
    match edit {
        Edit::Set { path, .. } => Some(path),
        _ => None,
    }
}

fn gateway_edits(loaded: &Loaded, answers: &Answers) -> Result<Vec<Edit>> {
    let absent = |path: &str| get_path::lookup(&loaded.resolved, path).is_none();
    let mut edits = Vec::new();
    let mut set = |path: &str, value: Option<Value>, default: Option<Value>| {
        if let Some(value) = value.or_else(|| default.filter(|_| absent(path))) {
            edits.push(Edit::set(path, value));
        }
    };
    let text = |value: &Option<String>| value.clone().map(Value::from);
    set("gateway.port", answers.port.map(Value::from), Some(json!(DEFAULT_PORT)));
    set("gateway.bind", text(&answers.bind), Some(json!("loopback")));
    set("gateway.tailscale.mode", text(&answers.tailscale), Some(json!("off")));
    set("gateway.tailscale.resetOnExit", answers.tailscale_reset.then(|| json!(true)), Some(json!(false)));
    if answers.auth.as_deref() == Some("password") {
        if answers.password.is_none() && loaded.config.gateway.auth.password.is_none() {
            return Err(Error::new("Mode password needs a password.").hint("Add --gateway-password."));
        }
        set("gateway.auth.mode", Some(json!("password")), None);
        set("gateway.auth.password", text(&answers.password), None);
        return Ok(edits);
    }
    let to_token = answers.auth.is_some() || answers.token.is_some();
    set("gateway.auth.mode", to_token.then(|| json!("token")), None);
    let none_yet = || loaded.config.gateway.auth.token.is_none() && absent("gateway.auth.token");
    let made = (to_token && answers.token.is_none() && none_yet()).then(|| json!(ids::hex(&ids::random_bytes::<24>())));
    set("gateway.auth.token", answers.token.clone().or(made), None);
    Ok(edits)
}

fn model_edits(loaded: &Loaded, answers: &Answers) -> Vec<Edit> {
    let mut edits = Vec::new();
    let variable = match answers.choice.as_str() {
        "apiKey" => Some("ANTHROPIC_API_KEY"),
        "openai-api-key" => Some("OPENAI_API_KEY"),
        _ => None,
    };
    if let Some((name, key)) = variable.zip(answers.key.clone()) {
        edits.push(Edit::set(&format!("env.vars.{name}"), key));
    }
    if let Some(custom) = &answers.custom {
        let mut provider = json!({
            "baseUrl": custom.url,
            "api": custom.api,
            "models": [{"id": custom.model, "name": custom.model}],
        });
        if let Some(key) = &custom.key {
            provider["apiKey"] = key.clone().into();
        }
        let path = ["models", "providers", &custom.id].map(str::to_owned).to_vec();
        edits.push(Edit::Set { path, value: provider });
        if get_path::lookup(&loaded.resolved, "agents.defaults.model").is_none_or(|model| !model.is_string()) {
            edits.push(Edit::set("agents.defaults.model.primary", format!("{}/{}", custom.id, custom.model)));
        } else {
            edits.push(Edit::set("agents.defaults.model", format!("{}/{}", custom.id, custom.model)));
        }
    }
    edits
}

fn summary(now: &Loaded, answers: &Answers, args: &Args, workspace: Option<std::path::PathBuf>) -> Value {
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
