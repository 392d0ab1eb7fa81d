//! `openclaw hooks …`, `openclaw webhooks …`: webhooks as the configuration has them, and what a request would do. Reads
//! files; no gateway is needed and nothing is done.

use std::fs::File;
use std::io::{self, Read};

use serde_json::{Map, Value, json};

use super::Context;
use super::client::now_ms;
use super::output::{json_pretty, plain, table};
use super::tree::{
    Hooks as Group, HooksCheck, HooksCommand, HooksInfo, HooksList, HooksTest, Webhooks, WebhooksCommand,
    WebhooksGmailCommand,
};
use crate::agent::keys;
use crate::config::Config;
use crate::config::hooks::{HookMapping, Hooks, PRESETS};
use crate::error::{Error, Result};
use crate::out;
use crate::policy::hooks::action::Turn;
use crate::policy::hooks::template::Facts;
use crate::policy::hooks::{self as rules, KeyFrom};
use crate::secret::Secret;
use crate::server::http::hooks::plan::{self, Incoming, Plan, Refused};
use crate::server::http::hooks::transform::{self, Said};
use crate::store::transcript::iso_time;

/// Where a webhook comes from.
const BUILT_IN: &str = "built in";
const CONFIG: &str = "config";
const PRESET: &str = "preset";

/// A webhook as it is shown.
struct Hook {
    name: String,
    /// Below `hooks.path`; None: any.
    path: Option<String>,
    source: &'static str,
    wake: bool,
    description: String,
    problems: Vec<String>,
}

pub fn run(cx: &Context, group: &Group) -> Result<u8> {
    match &group.command {
        HooksCommand::List(args) => list(cx, args),
        HooksCommand::Info(args) => info(cx, args),
        HooksCommand::Check(args) => check(cx, args),
        HooksCommand::Test(args) => test(cx, args),
        HooksCommand::Enable(_) | HooksCommand::Disable(_) => Err(Error::new(
            "This gateway has no hooks that run inside it (in OpenClaw they are JavaScript); nothing was changed",
        )
        .hint(format!("For webhooks: {}", cx.suggest("openclaw config set hooks.enabled true")))),
        HooksCommand::Install(_) | HooksCommand::Update(_) => {
            Err(Error::new("Packs of hooks are JavaScript, which this gateway cannot run; nothing was changed")
                .hint("A program can rewrite requests of a webhook: hooks.mappings[].transform.command")
                .hint(format!("See: {}", cx.suggest("openclaw help hooks"))))
        }
    }
}

/// `webhooks gmail …`
pub fn gmail(cx: &Context, group: &Webhooks) -> Result<u8> {
    let WebhooksCommand::Gmail(gmail) = &group.command;
    let json = matches!(&gmail.command, WebhooksGmailCommand::Setup(args) if args.json);
    let text = "Listening to Gmail is not part of this gateway; nothing was changed";
    if json {
        out!("{}", json_pretty(&json!({"ok": false, "error": text})));
        return Ok(1);
    }
    let hooks = &cx.loaded().config.hooks;
    let mut error = Error::new(text).hint(format!(
        "Mails reach an agent when another program posts them to {}/gmail with the token of the hooks,",
        url(cx, hooks)
    ));
    error = error.hint("for example gog (\"gog gmail watch serve\" with --hook-url and --hook-token).");
    if !hooks.mappings.iter().any(|mapping| mapping.preset == Some("gmail")) {
        error =
            error.hint(format!("Switch on: {}", cx.suggest("openclaw config set --json hooks.presets '[\"gmail\"]'")));
    }
    Err(error.hint(format!("Then: {}", cx.suggest("openclaw hooks info gmail"))))
}

fn list(cx: &Context, args: &HooksList) -> Result<u8> {
    let config = cx.config()?;
    let mut hooks = all(cx, config);
    if args.eligible {
        hooks.retain(|hook| hook.problems.is_empty());
    }
    if args.json {
        let items: Vec<Value> = hooks.iter().map(|hook| document(cx, config, hook)).collect();
        let enabled = config.hooks.enabled;
        out!("{}", json_pretty(&json!({"enabled": enabled, "url": url(cx, &config.hooks), "hooks": items})));
        return Ok(0);
    }
    let ready = hooks.iter().filter(|hook| hook.problems.is_empty()).count();
    out!("Webhooks ({ready}/{} ready)", hooks.len());
    let rows: Vec<Vec<String>> = hooks
        .iter()
        .map(|hook| {
            let status = status(config, hook);
            let path =
                hook.path.as_deref().map_or_else(|| "any".to_owned(), |path| format!("{}/{path}", config.hooks.path));
            [status, &hook.name, &path, &hook.description, hook.source].map(plain).to_vec()
        })
        .collect();
    out!("{}", table(&["Status", "Hook", "Path", "What it does", "Source"], &rows, cx.columns));
    if args.verbose {
        for hook in &hooks {
            hook.problems.iter().for_each(|problem| out!("{}: {}", plain(&hook.name), plain(problem)));
        }
    }
    say_if_off(cx, &config.hooks);
    Ok(0)
}

fn info(cx: &Context, args: &HooksInfo) -> Result<u8> {
    let config = cx.config()?;
    let hooks = all(cx, config);
    let hook = hooks.iter().find(|hook| hook.name == args.name || hook.path.as_deref() == Some(&args.name));
    let hook = hook.ok_or_else(|| {
        Error::new(format!("There is no webhook \"{}\"", args.name))
            .hint(format!("See: {}", cx.suggest("openclaw hooks list")))
    })?;
    if args.json {
        out!("{}", json_pretty(&document(cx, config, hook)));
        return Ok(0);
    }
    out!("{} ({})", plain(&hook.name), status(config, hook));
    out!("  {}", plain(&hook.description));
    out!("  Source: {}", hook.source);
    out!("  URL: {}", plain(&address(cx, config, hook)));
    hook.problems.iter().for_each(|problem| out!("  Problem: {}", plain(problem)));
    out!("Try it, with hooks.token of {} as HOOK_TOKEN:", cx.short(&cx.paths.config_path));
    out!("  {}", plain(&curl(cx, config, hook)));
    say_if_off(cx, &config.hooks);
    Ok(0)
}

fn check(cx: &Context, args: &HooksCheck) -> Result<u8> {
    let config = cx.config()?;
    let hooks = all(cx, config);
    let mut problems: Vec<(String, String)> =
        general(cx, config).into_iter().map(|p| ("hooks".to_owned(), p)).collect();
    for hook in &hooks {
        problems.extend(hook.problems.iter().map(|problem| (hook.name.clone(), problem.clone())));
    }
    let ready = hooks.iter().filter(|hook| hook.problems.is_empty()).count();
    if args.json {
        let list: Vec<Value> =
            problems.iter().map(|(hook, problem)| json!({"hook": hook, "problem": problem})).collect();
        out!(
            "{}",
            json_pretty(&json!({"ok": problems.is_empty(), "enabled": config.hooks.enabled, "total": hooks.len(),
                "ready": ready, "problems": list}))
        );
    } else {
        out!("Webhooks: {} of {} ready", ready, hooks.len());
        problems.iter().for_each(|(hook, problem)| out!("× {}: {}", plain(hook), plain(problem)));
        say_if_off(cx, &config.hooks);
    }
    Ok(u8::from(!problems.is_empty()))
}

fn say_if_off(cx: &Context, hooks: &Hooks) {
    if !hooks.enabled {
        out!("Webhooks are off. Switch on: {}", cx.suggest("openclaw config set hooks.enabled true"));
    }
}

// ── What there is ──────────────────────────────────────────────────────────────────────────────────────────

fn all(cx: &Context, config: &Config) -> Vec<Hook> {
    let built_in = |name: &str, wake: bool, description: &str| Hook {
        name: name.into(),
        path: Some(name.into()),
        source: BUILT_IN,
        wake,
        description: description.into(),
        problems: Vec::new(),
    };
    let mut out = vec![
        built_in("wake", true, "Tells the main session {text}"),
        built_in("agent", false, "Gives an agent {message}, in a session of its own"),
    ];
    for (index, mapping) in config.hooks.mappings.iter().enumerate() {
        out.push(Hook {
            name: mapping.id.clone(),
            path: mapping.path.clone(),
            source: if mapping.preset.is_some() { PRESET } else { CONFIG },
            wake: mapping.wake,
            description: describe(mapping),
            problems: problems(cx, config, mapping, &config.hooks.mappings[..index]),
        });
    }
    out
}

fn describe(mapping: &HookMapping) -> String {
    let mut text = match (mapping.wake, &mapping.agent_id) {
        (true, _) => "Tells the main session a text".to_owned(),
        (false, Some(agent)) => format!("Gives agent {agent} a message"),
        (false, None) => "Gives an agent a message".to_owned(),
    };
    if let Some(key) = mapping.session_key.as_ref().filter(|_| !mapping.wake) {
        text += &format!(", in session {key}");
    }
    if let Some(source) = &mapping.source {
        text += &format!(", when source is \"{source}\"");
    }
    if let Some(command) = mapping.transform.as_ref().and_then(|t| t.command.as_deref()) {
        text += &format!(", rewritten by {command}");
    }
    text
}

/// What is wrong with the hooks as a whole.
fn general(cx: &Context, config: &Config) -> Vec<String> {
    // Whether there is a token was looked at with the file; behind a reference it is not known here.
    let known = Hooks { token: Some(Secret::new("known")), ..config.hooks.clone() };
    let mut out: Vec<String> = rules::check(&known).err().into_iter().collect();
    if out.is_empty()
        && let Some(key) = &config.hooks.default_session_key
    {
        out.extend(session_problem(cx, config, &Turn::default()).map(|why| format!("defaultSessionKey {key}: {why}")));
    }
    let presets = cx.loaded().effective.pointer("/hooks/presets").and_then(Value::as_array).into_iter().flatten();
    for preset in presets.filter_map(Value::as_str).filter(|name| !PRESETS.contains(name)) {
        out.push(format!("there is no preset \"{preset}\" (there is {})", PRESETS.join(", ")));
    }
    out
}

fn problems(cx: &Context, config: &Config, mapping: &HookMapping, before: &[HookMapping]) -> Vec<String> {
    let mut out = Vec::new();
    let command = mapping.transform.as_ref().and_then(|t| t.command.as_deref());
    let found = command.map(|command| transform::find(&cx.paths, config.hooks.transforms_dir.as_deref(), command));
    out.extend(found.and_then(std::result::Result::err));
    let catches = |other: &&HookMapping| {
        (other.path.is_none() || other.path == mapping.path)
            && (other.source.is_none() || other.source == mapping.source)
    };
    if let Some(other) = before.iter().find(catches) {
        out.push(format!("is never reached: {} takes its requests", other.id));
    }
    if matches!(mapping.path.as_deref(), Some("wake" | "agent")) {
        out.push("is never reached: wake and agent are built in".into());
    }
    let template = if mapping.wake { &mapping.text_template } else { &mapping.message_template };
    if template.trim().is_empty() && command.is_none() {
        out.push(format!("says nothing: {} is empty", if mapping.wake { "textTemplate" } else { "messageTemplate" }));
    }
    if let Some(agent) = mapping.agent_id.as_deref().map(keys::agent_id) {
        if !config.agents.knows(&agent) {
            out.push(format!("there is no agent \"{agent}\""));
        }
        out.extend(rules::check_agent(&config.hooks, &agent).err());
    }
    let is_fixed = !mapping.session_key.as_deref().is_some_and(rules::template::has_expressions);
    if !mapping.wake && mapping.session_key.is_some() && is_fixed && out.is_empty() {
        let turn =
            Turn { agent_id: mapping.agent_id.clone(), session_key: mapping.session_key.clone(), ..Turn::default() };
        out.extend(session_problem(cx, config, &turn));
    }
    if !matches!(mapping.channel.as_deref(), None | Some("last")) {
        out.push("channel must be last: this gateway has no channels yet".into());
    }
    if let Some(model) = mapping.model.as_deref().filter(|model| !rules::template::has_expressions(model)) {
        out.extend(with_incoming(cx, config, "", &json!({}), |incoming| incoming.model(model).err()));
    }
    out
}

/// Why the turn's session would be refused, whatever a request says.
fn session_problem(cx: &Context, config: &Config, turn: &Turn) -> Option<String> {
    with_incoming(cx, config, "", &json!({}), |incoming| incoming.session(turn, KeyFrom::Mapping, "check").err())
}

fn status(config: &Config, hook: &Hook) -> &'static str {
    match (config.hooks.enabled, hook.problems.is_empty()) {
        (_, false) => "× broken",
        (true, true) => "✓ ready",
        (false, true) => "· off",
    }
}

fn url(cx: &Context, hooks: &Hooks) -> String {
    let tls = cx.loaded().config.gateway.tls.enabled;
    format!("{}://127.0.0.1:{}{}", if tls { "https" } else { "http" }, cx.port(None), hooks.path)
}

fn address(cx: &Context, config: &Config, hook: &Hook) -> String {
    format!("{}/{}", url(cx, &config.hooks), hook.path.as_deref().unwrap_or("ANY"))
}

fn curl(cx: &Context, config: &Config, hook: &Hook) -> String {
    let body = match (hook.source, hook.wake) {
        (BUILT_IN, true) => "'{\"text\":\"hello\"}'",
        (BUILT_IN, false) => "'{\"message\":\"hello\"}'",
        _ => "@payload.json",
    };
    format!(
        "curl -H \"Authorization: Bearer $HOOK_TOKEN\" -H 'Content-Type: application/json' -d {body} '{}'",
        address(cx, config, hook)
    )
}

fn document(cx: &Context, config: &Config, hook: &Hook) -> Value {
    json!({
        "name": hook.name,
        "path": hook.path,
        "url": address(cx, config, hook),
        "source": hook.source,
        "action": if hook.wake { "wake" } else { "agent" },
        "description": hook.description,
        "eligible": hook.problems.is_empty(),
        "disabled": !config.hooks.enabled,
        "problems": hook.problems,
        "curl": curl(cx, config, hook),
    })
}

// ── What a request would do ────────────────────────────────────────────────────────────────────────────────

fn test(cx: &Context, args: &HooksTest) -> Result<u8> {
    let config = cx.config()?;
    // Whoever copies it from a log or an address brings the beginning along.
    let below = args.path.strip_prefix(&config.hooks.path).filter(|below| below.starts_with('/'));
    let path = below.unwrap_or(&args.path).trim_matches('/');
    let body = body(args, config.hooks.max_body_bytes)?;
    let payload = plan::payload(&body).map_err(Error::new)?;
    let mut headers = Vec::new();
    for header in &args.header {
        let (name, value) = header.split_once(':').ok_or_else(|| {
            Error::new(format!("--header {header}: not a header")).hint("Write it as \"name: value\".")
        })?;
        headers.push((name.trim(), value.trim()));
    }
    let run = |command: &str, facts: &Facts<'_>| -> std::result::Result<Said, Refused> {
        let dir = config.hooks.transforms_dir.as_deref();
        transform::run(&cx.paths, dir, command, facts, None).map_err(Refused::Failed)
    };
    let (hook, planned) = with_incoming(cx, config, path, &payload, |mut incoming| {
        incoming.headers = plan::headers(headers.iter().copied());
        incoming.query = plan::query_of(&format!("?{}", args.query.join("&")));
        (incoming.mapping().map(|mapping| mapping.id.clone()), incoming.plan(&run))
    });
    let hook = hook.or_else(|| matches!(path, "wake" | "agent").then(|| path.to_owned()));
    let mut out = json!({"path": path, "hook": hook});
    let refused = |out: &mut Value, status: u16, answer: Value, text: &str| {
        (out["status"], out["answer"], out["error"]) = (json!(status), answer, json!(text));
    };
    let of_error = |text: &str| json!({"ok": false, "error": text});
    match planned {
        Ok(Plan::Nothing) => {
            (out["status"], out["answer"], out["action"]) = (json!(204), Value::Null, json!("nothing"))
        }
        Ok(Plan::Wake(wake)) => {
            (out["status"], out["answer"]) = (json!(200), json!({"ok": true, "mode": wake.mode()}));
            (out["action"], out["text"], out["mode"]) = (json!("wake"), json!(wake.text), json!(wake.mode()));
        }
        Ok(Plan::Run(run)) => {
            (out["status"], out["answer"]) = (json!(200), json!({"ok": true, "runId": "…"}));
            (out["action"], out["agent"], out["message"]) = (json!("agent"), json!(run.agent), json!(run.message));
            (out["sessionKey"], out["kept"]) = (json!(run.session.key), json!(!run.session.fresh));
            if let Some(model) = run.model {
                out["model"] = json!(model.to_string());
            }
        }
        Err(Refused::NotFound) => refused(&mut out, 404, json!("Not Found"), "no mapping takes this request"),
        Err(Refused::Bad(text)) => refused(&mut out, 400, of_error(&text), &text),
        Err(Refused::Busy(text)) => refused(&mut out, 503, of_error(&text), &text),
        Err(Refused::Failed(why)) => refused(&mut out, 500, of_error("hook mapping failed"), &why),
    }
    if args.json {
        out!("{}", json_pretty(&out));
    } else {
        print_test(&out);
        if out["status"] == 404 {
            out!("See: {}", cx.suggest("openclaw hooks list"));
        }
        say_if_off(cx, &config.hooks);
    }
    Ok(u8::from(out.get("error").is_some()))
}

fn print_test(result: &Value) {
    let text = |key: &str| result[key].as_str().map(plain);
    out!("Webhook: {}", text("hook").unwrap_or_else(|| "none".into()));
    let answer = if result["answer"].is_null() { String::new() } else { format!(" {}", result["answer"]) };
    out!("Answer: {}{}", result["status"], plain(&answer));
    if let Some(error) = text("error") {
        out!("Refused: {error}");
        return;
    }
    match result["action"].as_str() {
        Some("wake") => out!("For the main session: {}", text("text").unwrap_or_default()),
        Some("agent") => {
            let kept = if result["kept"] == true { "kept" } else { "nothing of it is kept" };
            let agent = text("agent").unwrap_or_default();
            out!("For agent {agent}, session {} ({kept}):", text("sessionKey").unwrap_or_default());
            if let Some(model) = text("model") {
                out!("Model: {model}");
            }
            out!();
            result["message"].as_str().unwrap_or_default().lines().for_each(|line| out!("{}", plain(line)));
        }
        _ => out!("Nothing is to be done."),
    }
}

/// The body that a request would have.
fn body(args: &HooksTest, max: usize) -> Result<Vec<u8>> {
    let Some(name) = args.payload.as_deref() else { return Ok(Vec::new()) };
    let mut bytes = Vec::new();
    let limit = max as u64 + 1;
    let read = match name {
        "-" => io::stdin().take(limit).read_to_end(&mut bytes),
        name => File::open(name).and_then(|file| file.take(limit).read_to_end(&mut bytes)),
    };
    read.map_err(|e| Error::new(format!("--payload {name}: {e}")))?;
    if bytes.len() > max {
        return Err(Error::new(format!("--payload {name}: more than {max} bytes; the gateway answers 413"))
            .hint("The limit is hooks.maxBodyBytes."));
    }
    Ok(bytes)
}

fn with_incoming<T>(
    cx: &Context,
    config: &Config,
    path: &str,
    payload: &Value,
    what: impl FnOnce(Incoming<'_>) -> T,
) -> T {
    what(Incoming {
        config,
        env: &|name| cx.var(name),
        dev: cx.paths.profile.as_deref() == Some("dev"),
        payload,
        path,
        headers: Map::new(),
        query: Map::new(),
        now: iso_time(now_ms()),
    })
}
