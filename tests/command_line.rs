//! Conventions that hold for every command, and which commands work without a gateway or with an invalid configuration.

use serde_json::Value;

use openclaw::cli::tree::{self, CommandInfo};

use crate::commands::ends;
use crate::common::{Home, stderr, stdout};

fn every_command(info: &CommandInfo, words: &str, visit: &mut impl FnMut(&str)) {
    for sub in &info.commands {
        let words = format!("{words}{}", sub.name);
        visit(&words);
        every_command(&sub.command, &format!("{words} "), visit);
    }
}

#[test]
fn help_is_everywhere() {
    let home = Home::new();
    let mut lines =
        vec!["--help".to_owned(), "-h".into(), "help".into(), "help gateway".into(), "help devices list".into()];
    every_command(&tree::tree(), "", &mut |words| {
        lines.push(format!("{words} --help"));
        if !words.contains(' ') {
            lines.push(format!("{words} -h"));
        }
    });
    for line in &lines {
        let (out, err) = ends(&home, line, 0);
        assert_eq!(err, "", "openclaw {line}");
        assert!(
            out.starts_with("OpenClaw 2026.3.13+rs.") && out.contains("\nUsage: openclaw"),
            "openclaw {line}:\n{out}"
        );
        assert!(out.lines().all(|row| row.chars().count() <= 80), "openclaw {line}:\n{out}");
    }
    let bare = home.run(&[]);
    assert_eq!((bare.status.code(), stdout(&bare).as_str()), (Some(1), ""));
    assert_eq!(stderr(&bare), ends(&home, "--help", 0).0);
    for group in ["channels", "config", "devices", "models", "system", "system heartbeat"] {
        let (out, err) = ends(&home, group, 1);
        assert!(out.is_empty() && err.contains(&format!("Usage: openclaw {group} ")), "{group}: {err}");
    }
}

/// A router has no manual: what the page says in a list, the help says, too.
#[test]
fn the_gateways_help_is_complete_by_itself() {
    let home = Home::new();
    let (help, _) = ends(&home, "gateway --help", 0);
    assert_eq!(help, ends(&home, "gateway help", 0).0);
    let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
    for text in [
        "--port <port>",
        "--bind <mode>",
        "loopback, lan, tailnet, auto or custom",
        "--token",
        "--auth <mode>",
        "none, token, password or trusted-proxy",
        "--password-file",
        "--tailscale",
        "--allow-unconfigured",
        "--dev",
        "--reset",
        "--force",
        "--verbose",
        "--ws-log",
        "--raw-stream-path",
        "status",
        "install",
        "uninstall",
        "start",
        "stop",
        "restart",
        "call",
        "health",
        "probe",
        "run",
        "TERM",
        "HUP",
        "USR1",
        "USR2",
        "78",
        "130",
        "OPENCLAW_STATE_DIR",
        "OPENCLAW_CONFIG_PATH",
        "OPENCLAW_GATEWAY_PORT",
        "OPENCLAW_GATEWAY_TOKEN",
        "LOGS_DIRECTORY",
        "openclaw.json",
        "/tmp/openclaw",
    ] {
        assert!(help.contains(text), "no {text:?} in\n{help}");
    }
}

#[test]
fn arguments_as_operators_know_them() {
    let home = Home::new();
    home.configure(serde_json::json!({}));
    for (line, code, text) in [
        ("frobnicate", 1, "error: unknown command 'frobnicate'\n"),
        ("gateway frobnicate", 1, "error: too many arguments for 'gateway'. Expected 0 arguments but got 1.\n"),
        ("gateway --frobnicate", 1, "error: unknown option '--frobnicate'\n"),
        ("gateway status --frobnicate=1", 1, "error: unknown option '--frobnicate=1'\n"),
        ("status --profile x", 1, "error: unknown option '--profile'\n"),
        ("status -v", 1, "error: unknown option '-v'\n"),
        ("system event", 1, "error: required option '--text <text>' not specified\n"),
        ("gateway call", 1, "error: missing required argument 'method'\n"),
        ("gateway call health --timeout", 1, "error: option '--timeout <ms>' argument missing\n"),
        ("sessions extra", 1, "error: too many arguments for 'sessions'. Expected 0 arguments but got 1.\n"),
        ("--dev --profile x status", 2, "[openclaw] Cannot combine --dev with --profile\n"),
        ("--profile", 2, "[openclaw] --profile requires a value\n"),
        ("--profile ../x status", 2, "[openclaw] Invalid --profile (use letters, numbers, \"_\", \"-\" only)\n"),
        ("gateway --port abc", 1, "Invalid port\n"),
        ("gateway --port=0", 1, "Invalid port\n"),
        ("gateway --port=65536", 1, "Invalid port\n"),
        ("gateway --port=1 --port=abc", 1, "Invalid port\n"),
        (
            "gateway --bind nowhere",
            1,
            "Invalid --bind (use \"loopback\", \"lan\", \"tailnet\", \"auto\", or \"custom\")\n",
        ),
        ("gateway --auth nothing", 1, "Invalid --auth (use \"none\", \"token\", \"password\", or \"trusted-proxy\")\n"),
        ("gateway --tailscale on", 1, "Invalid --tailscale (use \"off\", \"serve\", or \"funnel\")\n"),
        ("gateway --ws-log all", 1, "Invalid --ws-log (use \"auto\", \"full\", \"compact\")\n"),
        ("gateway --reset", 1, "Use --reset with --dev.\n"),
    ] {
        let (out, err) = ends(&home, line, code);
        assert_eq!(out, "", "openclaw {line}");
        assert!(
            untimed(&err).starts_with(text) && err.lines().count() <= 2,
            "openclaw {line}: {err:?} is not {text:?}"
        );
    }
    for line in ["--version", "-V", "-v"] {
        let (out, _) = ends(&home, line, 0);
        assert!(out.starts_with("OpenClaw 2026.3.13+rs.") && out.lines().count() == 1, "{out}");
    }
    // Both spellings, the last one wins, options of the group before and after the word.
    for line in [
        "gateway status --no-probe --json --timeout=5",
        "gateway --port 1 status --no-probe --json",
        "gateway --port=2 --port=1 status --no-probe --json",
        "gateway status --port 1 --no-probe --json",
    ] {
        let (out, _) = ends(&home, line, 0);
        let status: Value = serde_json::from_str(&out).unwrap();
        let port = if line.contains("--port") { 1 } else { 18789 };
        assert_eq!(status["gateway"]["port"], port, "openclaw {line}");
    }
    // Global options before the first word only: here it is the profile, there an option of the gateway.
    let (out, _) = ends(&home, "--dev config file", 0);
    assert_eq!(out, "~/.openclaw-dev/openclaw.json\n");
    let (out, _) = ends(&home, "--profile=trial config file", 0);
    assert_eq!(out, "~/.openclaw-trial/openclaw.json\n");
    let (_, err) = ends(&home, "--profile trial gateway", 1);
    assert_eq!(
        untimed(&err).lines().next(),
        Some(
            "Missing config. Run `openclaw --profile trial setup` or set gateway.mode=local (or pass --allow-unconfigured)."
        )
    );
}

/// A gateway that starts puts the time before its lines.
fn untimed(text: &str) -> &str {
    let (first, rest) = text.split_once(' ').unwrap_or((text, ""));
    let is_time = first.len() == "2026-11-20T19:42:19.885+00:00".len() && first.ends_with("+00:00");
    if is_time { rest } else { text }
}

#[test]
fn an_invalid_configuration_stops_only_what_needs_it() {
    let home = Home::new();
    home.write_config(r#"{gateway: {mode: "local", port: "x", frob: 1}}"#);
    let block = "Config invalid\nFile: ~/.openclaw/openclaw.json\nProblem:\n  \
                 - gateway.port: Invalid input: expected number, received string\n  - gateway: Unrecognized key: \"frob\"\n\nRun: openclaw doctor --fix\n";
    for line in ["gateway", "sessions", "channels status", "agents list", "models list", "config get gateway.port"] {
        let (out, err) = ends(&home, line, 1);
        assert!(out.is_empty() && err.starts_with(block), "openclaw {line}: {err}");
    }
    let (out, err) = ends(&home, "gateway restart", 1);
    assert!(
        out.is_empty() && err.contains("Gateway aborted: config is invalid.\ngateway.port: Invalid input"),
        "{err}"
    );
    let (out, err) = ends(&home, "gateway status --no-probe", 0);
    assert!(out.contains("Config (cli): ~/.openclaw/openclaw.json (invalid)\n"), "{out}");
    assert!(err.starts_with("Config issue: gateway.port: Invalid input: expected number, received string\n"), "{err}");
    let (out, _) = ends(&home, "gateway status --json", 0);
    let status: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (&status["config"]["cli"]["valid"], status["config"]["cli"]["issues"].as_array().map(Vec::len)),
        (&false.into(), Some(2))
    );
    let (out, err) = ends(&home, "status", 0);
    assert!(out.starts_with("OpenClaw status\n") && err.starts_with(block), "{err}");
    for line in ["health", "gateway health", "gateway call health", "devices list", "system presence"] {
        let (_, err) = ends(&home, line, 1);
        assert!(err.contains("gateway closed (1006"), "openclaw {line} goes on: {err}");
    }
    assert_eq!(ends(&home, "gateway stop", 0).0, "Gateway service disabled.\n");
    assert_eq!(ends(&home, "config file", 0).0, "~/.openclaw/openclaw.json\n");
    let (_, err) = ends(&home, "config validate", 1);
    assert!(err.starts_with("Config invalid at ~/.openclaw/openclaw.json:\n  × gateway.port: Invalid input"), "{err}");
    assert!(err.ends_with("\n\nRun `openclaw doctor` to repair, or fix the keys above manually.\n"), "{err}");
    let (out, _) = ends(&home, "config validate --json", 1);
    let answer: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&answer["valid"], answer["issues"].as_array().map(Vec::len)), (&false.into(), Some(2)), "{out}");
}

/// What the README and the manual tell people to write.
#[test]
fn the_examples_load() {
    let root = env!("CARGO_MANIFEST_DIR");
    let readme = std::fs::read_to_string(format!("{root}/README.md")).unwrap();
    let page = std::fs::read_to_string(format!("{root}/man/openclaw.json.5")).unwrap();
    let fenced = readme.split("```json5\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let shown = page.split(".Bd -literal -offset indent\n").skip(1).map(|rest| rest.split(".Ed").next().unwrap());
    let examples: Vec<&str> = fenced.chain(shown).collect();
    assert_eq!(examples.len(), 8, "three in the README, five in the manual");
    for example in examples {
        let home = Home::new();
        home.write_config(example);
        let (out, _) = ends(&home, "config validate", 0);
        assert_eq!(out, "Config valid: ~/.openclaw/openclaw.json\n", "{example}");
    }
    assert!(
        readme.starts_with(
            "# openclaw\n\n    cargo run --release -- --dev gateway --allow-unconfigured\n    cargo test\n"
        )
    );
}
