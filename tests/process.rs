//! From the command line to a listening gateway, or to the one line that says why not: guards, files, environment, log.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::SystemTime;

use serde_json::{Value, json};

use crate::common::client::{Client, Hello};
use crate::common::{Gateway, Home, TOKEN, finish, free_port, stderr, stdout, wait_until};

const LOCAL: &str = r#"{"gateway":{"mode":"local","auth":{"token":"test-token-0123456789abcdef"}}}"#;
const LAN_NO_AUTH: [&str; 2] = [
    "Refusing to bind gateway to lan without auth.",
    "Set gateway.auth.token/password (or OPENCLAW_GATEWAY_TOKEN/OPENCLAW_GATEWAY_PASSWORD) or pass --token/--password.",
];

/// A start that must fail: exit code, stdout, stderr without times.
fn refused(home: &Home, args: &[&str], change: impl FnOnce(&mut Command)) -> (i32, String, String) {
    let mut command = home.command(args);
    change(&mut command);
    let output = finish(command);
    let said = stderr(&output).lines().map(without_time).collect::<Vec<_>>().join("\n");
    (output.status.code().unwrap_or(-1), stdout(&output), said)
}

/// A line without the `2026-11-20T19:41:51.936+00:00 ` before it.
fn without_time(line: &str) -> &str {
    match line.split_once(' ') {
        Some((time, rest)) if time.len() >= 24 && time.as_bytes()[10] == b'T' => rest,
        _ => line,
    }
}

#[test]
fn guards_refuse_with_their_literal_lines() {
    let home = Home::new();
    let empty = home.path().join("empty");
    fs::write(&empty, " \n").unwrap();
    let good = home.path().join("good");
    fs::write(&good, "pw\n").unwrap();
    let link = home.path().join("link");
    std::os::unix::fs::symlink(&good, &link).unwrap();
    let (empty, link) = (empty.display().to_string(), link.display().to_string());
    let absent = home.path().join("absent").display().to_string();
    let dir = home.path().display().to_string();
    let file = |text: &str| format!("Gateway password file at {text}");
    let cases: &[(&str, &[&str], &str)] = &[
        (LOCAL, &["--reset"], "Use --reset with --dev."),
        (LOCAL, &["--ws-log", "loud"], "Invalid --ws-log (use \"auto\", \"full\", \"compact\")"),
        (LOCAL, &["--port", "abc"], "Invalid port"),
        (LOCAL, &["--port", "0"], "Invalid port"),
        (LOCAL, &["--port", "-1"], "Invalid port"),
        (LOCAL, &["--port=99999"], "Invalid port"),
        (LOCAL, &["--bind", "wan"], "Invalid --bind (use \"loopback\", \"lan\", \"tailnet\", \"auto\", or \"custom\")"),
        (LOCAL, &["--auth", "basic"], "Invalid --auth (use \"none\", \"token\", \"password\", or \"trusted-proxy\")"),
        (LOCAL, &["--tailscale", "on"], "Invalid --tailscale (use \"off\", \"serve\", or \"funnel\")"),
        (LOCAL, &["--password", "x", "--password-file", "/tmp/nope"], "Use either --password or --password-file."),
        (LOCAL, &["--auth=password", "--password-file", &empty], &format!("{} is empty.", file(&empty))),
        (LOCAL, &["--auth=password", "--password-file", &link], &format!("{} must not be a symlink.", file(&link))),
        (
            LOCAL,
            &["--auth=password", "--password-file", &absent],
            &format!("Failed to inspect {}: No such file or directory (os error 2)", file(&absent)),
        ),
        (
            LOCAL,
            &["--auth=password", "--password-file", &dir],
            &format!("Failed to read {}: not a regular file", file(&dir)),
        ),
        (
            "{}",
            &[],
            "Gateway start blocked: set gateway.mode=local (current: unset) or pass --allow-unconfigured.\n\
             Config write audit: ~/.openclaw/logs/config-audit.jsonl",
        ),
        (
            r#"{"gateway":{"mode":"remote"}}"#,
            &[],
            "Gateway start blocked: set gateway.mode=local (current: remote) or pass --allow-unconfigured.\n\
             Config write audit: ~/.openclaw/logs/config-audit.jsonl",
        ),
        (
            LOCAL,
            &["--auth", "password"],
            "Gateway auth is set to password, but no password is configured.\n\
             Set gateway.auth.password (or OPENCLAW_GATEWAY_PASSWORD), or pass --password.",
        ),
        (LOCAL, &["--auth", "none", "--bind", "lan"], &LAN_NO_AUTH.join("\n")),
        (
            LOCAL,
            &["--bind", "lan"],
            "Gateway failed to start: Error: non-loopback Control UI requires gateway.controlUi.allowedOrigins (set \
             explicit origins), or set gateway.controlUi.dangerouslyAllowHostHeaderOriginFallback=true to use \
             Host-header origin fallback mode",
        ),
        (
            LOCAL,
            &["--bind", "custom"],
            "Gateway failed to start: Error: gateway.bind=custom requires gateway.customBindHost",
        ),
        (
            r#"{"gateway":{"mode":"local","bind":"custom","customBindHost":"192.0.2.77","auth":{"token":"t"}}}"#,
            &[],
            "Gateway failed to start: Error: gateway bind=custom requested 192.0.2.77 but resolved 0.0.0.0; refusing \
             fallback",
        ),
        (
            LOCAL,
            &["--tailscale", "funnel"],
            "Gateway failed to start: Error: tailscale funnel requires gateway auth mode=password (set \
             gateway.auth.password or OPENCLAW_GATEWAY_PASSWORD)",
        ),
        (
            LOCAL,
            &["--tailscale", "serve", "--bind", "lan"],
            "Gateway failed to start: Error: tailscale serve/funnel requires gateway bind=loopback (127.0.0.1)",
        ),
        (
            r#"{"gateway":{"mode":"local","auth":{"mode":"trusted-proxy","trustedProxy":{"userHeader":"x-u"}}}}"#,
            &[],
            "Gateway failed to start: Error: gateway auth mode=trusted-proxy requires gateway.trustedProxies to be \
             configured with at least one proxy IP",
        ),
        (
            r#"{"gateway":{"mode":"local","trustedProxies":["10.0.0.0/33"],
                "auth":{"mode":"trusted-proxy","trustedProxy":{"userHeader":"x-u"}}}}"#,
            &[],
            "Gateway failed to start: Error: gateway auth mode=trusted-proxy requires gateway.trustedProxies to be \
             configured with at least one proxy IP (no address and no network: 10.0.0.0/33)",
        ),
        (
            r#"{"gateway":{"mode":"local","auth":{"token":"t","password":"p"}}}"#,
            &[],
            "Gateway failed to start: Error: Invalid config: gateway.auth.token and gateway.auth.password are both \
             configured, but gateway.auth.mode is unset. Set gateway.auth.mode to token or password.",
        ),
        // The order in which messages win.
        (LOCAL, &["--reset", "--ws-log", "loud", "--port", "abc"], "Use --reset with --dev."),
        (
            r#"{"gateway":{"port":"x"}}"#,
            &["--ws-log", "loud"],
            "Invalid --ws-log (use \"auto\", \"full\", \"compact\")",
        ),
        ("{}", &["--port", "abc", "--bind", "wan", "--auth", "basic"], "Invalid port"),
        (
            "{}",
            &["--bind", "wan", "--auth", "basic"],
            "Invalid --bind (use \"loopback\", \"lan\", \"tailnet\", \"auto\", or \"custom\")",
        ),
        (
            "{}",
            &["--auth", "basic", "--tailscale", "on"],
            "Invalid --auth (use \"none\", \"token\", \"password\", or \"trusted-proxy\")",
        ),
        (
            "{}",
            &["--auth", "none", "--bind", "lan"],
            "Gateway start blocked: set gateway.mode=local (current: unset) or pass --allow-unconfigured.\n\
             Config write audit: ~/.openclaw/logs/config-audit.jsonl",
        ),
    ];
    for (config, args, expected) in cases {
        home.write_config(config);
        let port = free_port().to_string();
        let mut all = vec!["gateway"];
        if !args.iter().any(|arg| arg.starts_with("--port")) {
            all.extend(["--port", &port]);
        }
        all.extend(*args);
        let (code, out, said) = refused(&home, &all, |_| {});
        assert_eq!((code, out.as_str()), (1, ""), "{all:?}: {said}");
        // Warnings of a file that lacks more come before it.
        let lines: Vec<&str> = said.lines().filter(|line| !line.starts_with('[')).collect();
        let lines: Vec<&str> = lines.into_iter().filter(|l| !l.starts_with("Warning: --password can")).collect();
        assert_eq!(lines.join("\n"), *expected, "{all:?}");
        assert_eq!(fs::read_to_string(home.config_path()).unwrap(), *config, "a start that fails writes nothing");
    }
}

#[test]
fn a_refusal_is_timed_on_the_console_and_kept_in_the_log() {
    let home = Home::new();
    let output = home.run(&["gateway", "--port", "19999"]);
    assert_eq!(output.status.code(), Some(1));
    let text = "Missing config. Run `openclaw setup` or set gateway.mode=local (or pass --allow-unconfigured).";
    let said = stderr(&output);
    assert!(said.ends_with(&format!("+00:00 {text}\n")) && said.lines().count() == 1, "{said}");
    let logged: Value = serde_json::from_str(home.log_text().lines().last().unwrap()).unwrap();
    assert_eq!(logged["_meta"]["logLevelName"], "ERROR");
    assert!(logged.as_object().unwrap().values().any(|v| v == text), "{logged}");

    // A console that shows nothing of the log shows this.
    let quiet = home.run(&["gateway", "--claude-cli-logs"]);
    assert_eq!((quiet.status.code(), stderr(&quiet)), (Some(1), format!("{text}\n")));
    let silent = home.run(&["--log-level", "silent", "gateway"]);
    assert_eq!((silent.status.code(), stderr(&silent)), (Some(1), format!("{text}\n")));
    let named = home.run(&["--profile", "rescue", "gateway"]);
    assert!(stderr(&named).contains("Run `openclaw --profile rescue setup`"), "{}", stderr(&named));
    assert!(!home.state().exists() && !home.path().join(".openclaw-rescue").exists(), "no file for nothing");
}

#[test]
fn a_foreign_config_is_explained_and_a_supervisor_gets_78() {
    let home = Home::new();
    let block = |problem: &str| {
        format!("Config invalid\nFile: ~/.openclaw/openclaw.json\nProblem:\n{problem}\n\nRun: openclaw doctor --fix")
    };
    let utf16: Vec<u8> = "\u{feff}{}".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let cases: &[(&[u8], &str)] = &[
        (br#"{"gateway":{"mode":"local","port":"abc","frob":1}}"#, "gateway.port: "),
        (br#"{"gateway":{"mode":"local","port":"abc","frob":1}}"#, "  - gateway: Unrecognized key: \"frob\""),
        (b"{\"gateway\":{\"mode\":\"local\"}", "  - <root>: JSON5 parse failed: "),
        (b"{gateway: {\n  mode: 'local', x: 'caf\xe9'}}", "line 2, column 25"),
        (b"{gateway: {\n  mode: 'local', x: 'caf\xe9'}}", "save as UTF-8"),
        (&utf16, "save as UTF-8"),
        (&utf16, "line 1, column 1"),
    ];
    for (bytes, expected) in cases {
        fs::create_dir_all(home.state()).unwrap();
        fs::write(home.config_path(), bytes).unwrap();
        let (code, _, said) = refused(&home, &["gateway"], |_| {});
        assert_eq!(code, 1, "{said}");
        assert!(said.contains(expected), "{expected} in {said}");
        let problem: Vec<&str> =
            said.lines().filter(|line| line.starts_with("  - ") || line.starts_with("    ")).collect();
        assert_eq!(said, block(&problem.join("\n")));
        assert_eq!(fs::read(home.config_path()).unwrap(), *bytes);
    }
    let marked = |name: &'static str, value: &'static str| {
        move |c: &mut Command| {
            c.env(name, value);
        }
    };
    for (name, value, code) in [
        ("OPENCLAW_SERVICE_MARKER", "openclaw", 78),
        ("NOTIFY_SOCKET", "/nonexistent", 78),
        ("SYSTEMD_EXEC_PID", "1", 1),
        ("INVOCATION_ID", "abc", 1),
    ] {
        assert_eq!(refused(&home, &["gateway"], marked(name, value)).0, code, "{name}={value}");
    }
    // No place for the lock.
    home.write_config(LOCAL);
    let (code, _, said) = refused(&home, &["gateway"], marked("TMPDIR", "/dev/null"));
    assert_eq!(code, 1);
    assert!(
        said.starts_with("Gateway failed to start: failed to acquire gateway lock at /dev/null/openclaw-"),
        "{said}"
    );
    assert!(said.ends_with("\nCheck owner and mode of the lock's directory, or set TMPDIR."), "{said}");
    // What may change without the operator is 1 for a supervisor, too.
    home.write_config("{}");
    assert_eq!(refused(&home, &["gateway"], marked("OPENCLAW_SERVICE_MARKER", "openclaw")).0, 1);
}

#[test]
fn a_first_token_is_saved_once_and_comments_survive() {
    let home = Home::new();
    let text = "// mine\n{\n  gateway: {\n    mode: 'local', // here\n  },\n}\n";
    home.write_config(text);
    let mut gateway = Gateway::start(&home, &[]);
    gateway.wait_line(
        "[gateway] auth token was missing. Generated a new token and saved it to config (gateway.auth.token).",
    );
    let saved = fs::read_to_string(home.config_path()).unwrap();
    assert!(saved.starts_with("// mine\n{\n  gateway: {\n    mode: 'local', // here\n"), "{saved}");
    let value: Value = json5::from_str(&saved).unwrap();
    let token = value["gateway"]["auth"]["token"].as_str().unwrap().to_owned();
    assert!(token.len() == 48 && token.bytes().all(|b| b.is_ascii_hexdigit()), "{token}");
    assert_eq!(value["gateway"]["auth"]["mode"], "token");
    assert_eq!(fs::read_to_string(home.state().join("openclaw.json.bak")).unwrap(), text);
    let mode = |name: &str| fs::metadata(home.state().join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("openclaw.json"), mode("openclaw.json.bak")), (0o600, 0o600));

    let mut hello = Hello { token: Some(token.clone()), ..Hello::default() };
    Client::connect_as(gateway.port, &hello, None);
    hello.token = Some("wrong".into());
    assert_eq!(Client::open(gateway.port).hello(&hello, None)["ok"], false);

    // Our own write is no change of the configuration.
    gateway.signal(openclaw::sys::process::Sig::Hup);
    gateway.wait_line("configuration read; nothing changed");
    assert_eq!(gateway.stop(), Some(0));

    // A start writes no configuration beyond that, and a good one is kept beside it.
    let mut gateway = Gateway::start(&home, &["--verbose"]);
    wait_until("the copy", || home.state().join("config-last-good.json").exists());
    assert_eq!(gateway.stop(), Some(0));
    assert_eq!(fs::read_to_string(home.config_path()).unwrap(), saved);
    assert_eq!(fs::read_to_string(home.state().join("config-last-good.json")).unwrap(), saved);
    assert_eq!(mode("config-last-good.json"), 0o600);
    // From then on a start and a stop change nothing at all below the state directory.
    let files = files_below(&home.state());
    let mut gateway = Gateway::start(&home, &[]);
    assert_eq!(gateway.stop(), Some(0));
    assert_eq!(files_below(&home.state()), files);
    assert!(!home.log_text().contains(&token) && !gateway.output().contains(&token), "the token is nobody's to read");
}

/// Every file with the time of its last change.
fn files_below(dir: &Path) -> Vec<(PathBuf, SystemTime)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(files_below(&path)),
            false => found.push((path.clone(), fs::metadata(&path).unwrap().modified().unwrap())),
        }
    }
    found.sort();
    found
}

#[test]
fn a_token_that_cannot_or_must_not_be_saved_stays_in_memory() {
    let unsaved = |text: &str, args: &[&str], prepare: &dyn Fn(&Home), why: &str| {
        let home = Home::new();
        home.write_config(text);
        prepare(&home);
        let mut gateway = Gateway::start(&home, args);
        gateway.wait_line(&format!("Generated one for this run only, it was not saved ({why}"));
        assert_eq!(fs::read_to_string(home.config_path()).unwrap(), text);
        // The one that is there stays in force whatever is read again: nobody else must slip in with a newer one.
        gateway.signal(openclaw::sys::process::Sig::Usr1);
        wait_until("a second life", || gateway.count_lines("listening on ws://") == 2);
        assert_eq!(gateway.count_lines("auth token was missing"), 1);
        let open = Hello { token: None, ..Hello::default() };
        assert_eq!(Client::open(gateway.port).hello(&open, None)["ok"], false);
        assert_eq!(gateway.stop(), Some(0));
    };
    let local = r#"{"gateway":{"mode":"local"}}"#;
    unsaved(local, &["--auth", "token"], &|_| {}, "--auth was given");
    let block = |home: &Home| {
        fs::write(home.state().join("openclaw.json.bak.3"), "{}").unwrap();
        fs::create_dir_all(home.state().join("openclaw.json.bak.4").join("x")).unwrap();
    };
    unsaved(local, &[], &block, "cannot rotate the backups: ");
    // `--auth none` needs none.
    let home = Home::new();
    home.write_config(local);
    let mut gateway = Gateway::start(&home, &["--auth", "none"]);
    gateway.wait_line("[gateway] auth mode=none explicitly configured; all gateway connections are unauthenticated.");
    assert_eq!(gateway.stop(), Some(0));
    assert_eq!(fs::read_to_string(home.config_path()).unwrap(), local);
}

#[test]
fn binds_beyond_loopback_and_the_origins_they_assume() {
    let home = Home::new();
    home.configure(json!({"gateway": {"bind": "lan"}}));
    let mut gateway = Gateway::start(&home, &[]);
    let port = gateway.port;
    gateway.wait_line(&format!("listening on ws://0.0.0.0:{port} (PID {})", gateway.pid()));
    gateway.wait_line("[gateway] ⚠️  Gateway is binding to a non-loopback address.");
    gateway.wait_line(&format!(
        "seeded gateway.controlUi.allowedOrigins [\"http://localhost:{port}\", \"http://127.0.0.1:{port}\"] for bind=lan"
    ));
    Client::connect(port);
    assert_eq!(gateway.stop(), Some(0));

    home.configure(json!({"gateway": {"bind": "custom", "customBindHost": "127.0.0.1"}}));
    let mut gateway = Gateway::start(&home, &[]);
    gateway.wait_line(&format!("listening on ws://127.0.0.1:{}", gateway.port));
    assert!(!gateway.output().contains("seeded"));
    assert_eq!(gateway.stop(), Some(0));

    // Without a token lan makes one instead of refusing.
    home.write_config(r#"{"gateway":{"mode":"local","bind":"lan"}}"#);
    let mut gateway = Gateway::start(&home, &[]);
    gateway.wait_line("auth token was missing. Generated a new token and saved it");
    assert_eq!(gateway.stop(), Some(0));
}

#[test]
fn a_byte_order_mark_is_no_reason_to_stay_down() {
    let home = Home::new();
    home.write_config(&format!("\u{feff}{LOCAL}"));
    let mut gateway = Gateway::start(&home, &["--raw-stream"]);
    gateway.wait_line("[gateway] accepted, but without effect in this version: --raw-stream");
    assert_eq!(gateway.stop(), Some(0));
    let mut gateway = Gateway::start(&home, &["--password", "pw-0123456789abcdef"]);
    let hello = Hello { token: None, password: Some("pw-0123456789abcdef".into()), ..Hello::default() };
    // Without a mode a password that is known decides.
    Client::connect_as(gateway.port, &hello, None);
    gateway.wait_line("+00:00 Warning: --password can be exposed via process listings. Prefer --password-file or");
    assert!(!gateway.output().contains("without effect"));
    assert_eq!(gateway.stop(), Some(0));
    // From a file it is on no command line.
    let file = home.path().join("password");
    fs::write(&file, " pw-0123456789abcdef\n").unwrap();
    let mut gateway = Gateway::start(&home, &["--auth=password", "--password-file", file.to_str().unwrap()]);
    Client::connect_as(gateway.port, &hello, None);
    assert!(!gateway.output().contains("Warning"));
    assert_eq!(gateway.stop(), Some(0));
}

#[test]
fn dev_before_and_behind_the_command_are_two_things() {
    // The global flag: a profile with a state directory and a port of its own.
    let home = Home::new();
    home.write_config("not even JSON");
    let port = free_port();
    let arguments = ["--dev", "gateway"];
    let env = |c: &mut Command| {
        c.env("OPENCLAW_GATEWAY_PORT", port.to_string());
    };
    let mut gateway = Gateway::spawn_args(&home, port, &arguments, env);
    gateway.wait_line(&format!("listening on ws://127.0.0.1:{port}"));
    assert!(gateway.output().contains("Dev config ready: ~/.openclaw-dev/openclaw.json"), "{}", gateway.output());
    gateway.wait_line("Dev workspace ready: ~/");
    gateway.wait_line("agent model: builtin/echo");
    assert_eq!(gateway.stop(), Some(0));
    let state = home.path().join(".openclaw-dev");
    let config: Value = json5::from_str(&fs::read_to_string(state.join("openclaw.json")).unwrap()).unwrap();
    let agent = &config["agents"]["list"][0];
    let name = (&agent["id"], &agent["default"], &agent["identity"]["name"], &agent["identity"]["emoji"]);
    assert_eq!(name, (&json!("dev"), &json!(true), &json!("C3-PO"), &json!("🤖")));
    assert_eq!((&config["gateway"]["mode"], &config["gateway"]["bind"]), (&json!("local"), &json!("loopback")));
    let workspace = Path::new(agent["workspace"].as_str().unwrap()).to_owned();
    for file in ["AGENTS.md", "SOUL.md", "TOOLS.md", "IDENTITY.md", "USER.md"] {
        assert!(workspace.join(file).exists(), "{file}");
    }
    assert!(!workspace.join("BOOTSTRAP.md").exists());

    // --reset moves away what is this profile's, and nothing else.
    fs::create_dir_all(state.join("credentials")).unwrap();
    fs::create_dir_all(state.join("agents/dev/sessions")).unwrap();
    let mut gateway = Gateway::spawn_args(&home, port, &["--dev", "gateway", "--reset"], env);
    gateway.wait_line(&format!("listening on ws://127.0.0.1:{port}"));
    assert_eq!(gateway.count_lines("Moved ~/"), 4, "{}", gateway.output());
    assert_eq!(gateway.stop(), Some(0));
    let names: Vec<String> =
        fs::read_dir(&state).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    for moved in ["openclaw.json.reset-", "credentials.reset-"] {
        assert!(names.iter().any(|name| name.starts_with(moved)), "{moved} in {names:?}");
    }
    assert_eq!(fs::read_to_string(home.config_path()).unwrap(), "not even JSON");

    // The option of the gateway: the current profile, only what is missing.
    let home = Home::new();
    let mut gateway = Gateway::start(&home, &["--dev"]);
    assert!(gateway.output().contains("Dev config ready: ~/.openclaw/openclaw.json"), "{}", gateway.output());
    assert_eq!(gateway.stop(), Some(0));
    home.write_config(LOCAL);
    let mut gateway = Gateway::start(&home, &["--dev"]);
    assert!(!gateway.output().contains("Dev config ready"));
    gateway.wait_line("agent model: builtin/echo");
    assert_eq!(gateway.stop(), Some(0));
    assert_eq!(fs::read_to_string(home.config_path()).unwrap(), LOCAL);
}

#[test]
fn unconfigured_starts_write_no_configuration_but_a_token() {
    let home = Home::new();
    let mut gateway = Gateway::start(&home, &["--allow-unconfigured", "--token", TOKEN]);
    Client::connect(gateway.port);
    assert_eq!(gateway.stop(), Some(0));
    assert!(!home.config_path().exists());
}

#[test]
fn variables_and_old_names_lead_to_the_same_files() {
    // Name of the variable, what it is set to, where the configuration lies then; all below the home.
    for (name, value, config) in [
        ("OPENCLAW_STATE_DIR", "~/state", "state/openclaw.json"),
        ("CLAWDBOT_STATE_DIR", "~/old", "old/clawdbot.json"),
        ("OPENCLAW_CONFIG_PATH", "~/etc/oc.json5", "etc/oc.json5"),
        ("CLAWDBOT_CONFIG_PATH", "~/etc/cb.json5", "etc/cb.json5"),
        ("OPENCLAW_HOME", "~/other", "other/.openclaw/openclaw.json"),
        ("X", "", ".clawdbot/clawdbot.json"),
        ("X", "", ".moltbot/moltbot.json"),
    ] {
        let home = Home::new();
        let path = home.path().join(config);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, LOCAL).unwrap();
        let port = free_port();
        let mut gateway = Gateway::spawn_args(&home, port, &["gateway", "run"], |c| {
            c.env(name, value).env("CLAWDBOT_GATEWAY_PORT", port.to_string());
        });
        gateway.wait_line(&format!("listening on ws://127.0.0.1:{port}"));
        Client::connect(port);
        assert_eq!(gateway.stop(), Some(0), "{config}");
        assert_eq!(fs::read_to_string(&path).unwrap(), LOCAL);
    }
    // Secrets: the file first, the new name before the old one; a port that is none is ignored.
    let home = Home::new();
    home.write_config(r#"{"gateway":{"mode":"local"}}"#);
    let mut gateway = Gateway::start_with(&home, &[], |c| {
        c.env("OPENCLAW_GATEWAY_TOKEN", TOKEN).env("CLAWDBOT_GATEWAY_TOKEN", "other");
        c.env("OPENCLAW_GATEWAY_PORT", "nonsense").env("OPENCLAW_LOG_LEVEL", "loud");
    });
    Client::connect(gateway.port);
    gateway.wait_line(
        "[openclaw] Ignoring invalid OPENCLAW_LOG_LEVEL=\"loud\" (allowed: silent|fatal|error|warn|info|debug|trace).",
    );
    assert_eq!(gateway.stop(), Some(0));
    home.configure(json!({}));
    let mut gateway = Gateway::start_with(&home, &[], |c| {
        c.env("OPENCLAW_GATEWAY_TOKEN", "other");
    });
    Client::connect(gateway.port);
    assert_eq!(gateway.stop(), Some(0));
    // Profile flags that cannot be obeyed.
    for (args, text) in [
        (&["--dev", "--profile", "x", "gateway"][..], "[openclaw] Cannot combine --dev with --profile"),
        (&["--profile"], "[openclaw] --profile requires a value"),
        (
            &["--profile", "bad name", "gateway"],
            "[openclaw] Invalid --profile (use letters, numbers, \"_\", \"-\" only)",
        ),
    ] {
        let output = home.run(args);
        assert_eq!((output.status.code(), stderr(&output)), (Some(2), format!("{text}\n")), "{args:?}");
    }
}

// ── Log ────────────────────────────────────────────────────────────────────────────────────────────────────

#[test]
fn log_lines_have_the_shape_that_readers_know() {
    let home = Home::new();
    home.configure(json!({"logging": {"consoleStyle": "json"}}));
    let mut gateway = Gateway::start(&home, &[]);
    let (listening, port) = ("listening on ws://", gateway.port);
    let line = gateway.output().lines().find(|line| line.contains(listening)).unwrap().to_owned();
    let shown: Value = serde_json::from_str(&line).unwrap();
    assert_eq!((&shown["level"], &shown["subsystem"]), (&json!("info"), &json!("gateway")));
    wait_until("the line in the file", || home.log_text().contains(listening));
    let text = home.log_text();
    let kept: Value = serde_json::from_str(text.lines().find(|line| line.contains(listening)).unwrap()).unwrap();
    assert_eq!(kept["0"], "{\"subsystem\":\"gateway\"}");
    assert!(kept["1"].as_str().unwrap().starts_with(&format!("listening on ws://127.0.0.1:{port}")), "{kept}");
    let meta = &kept["_meta"];
    assert_eq!((&meta["logLevelId"], &meta["logLevelName"]), (&json!(3), &json!("INFO")));
    assert_eq!((&meta["name"], &meta["parentNames"]), (&kept["0"], &json!(["openclaw"])));
    assert!(meta["date"].as_str().unwrap().ends_with('Z') && kept["time"].as_str().unwrap().ends_with("+00:00"));
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let file = fs::read_dir(home.path().join("logs")).unwrap().next().unwrap().unwrap().path();
    assert_eq!(mode(&file), 0o600);
    assert_eq!(gateway.stop(), Some(0));
}

#[test]
fn the_console_has_three_styles_and_verbose_shows_frames() {
    let home = Home::new();
    home.configure(json!({"logging": {"consoleStyle": "pretty"}}));
    // What people see of a client that connects, asks for health, says something and hears of it.
    let seen = |args: &[&str]| {
        let mut gateway = Gateway::start(&home, args);
        let mut client = Client::connect(gateway.port);
        client.call("health", json!({}));
        client.call("system-event", json!({"text": "hi"}));
        client.event("presence");
        drop(client);
        assert_eq!(gateway.stop(), Some(0));
        gateway.wait_line("received SIGTERM; shutting down");
        gateway.output()
    };
    let pretty = seen(&[]);
    let line = pretty.lines().find(|line| line.contains("listening on")).unwrap();
    assert_eq!((line.as_bytes()[2], line.as_bytes()[5], &line[8..18]), (b':', b':', " [gateway]"), "{line}");
    assert!(!pretty.contains("health"), "quiet by default: {pretty}");
    home.configure(json!({}));
    let compact = seen(&["--verbose"]);
    assert!(compact.contains("+00:00 [ws] ") && compact.contains("⇄ res ✓ health "), "{compact}");
    assert!(compact.contains("→ event presence clients=1") && !compact.contains("← "), "{compact}");
    let full = seen(&["--verbose", "--ws-log", "full"]);
    for part in ["← open", "← connect", "→ hello-ok", "← req health", "→ res ✓ health", "→ close"] {
        assert!(full.contains(part), "{part} in {full}");
    }
    let short = seen(&["--verbose", "--compact"]);
    assert!(short.contains("⇄ res ✓ health ") && !short.contains("← req health"), "{short}");
    for text in [pretty, compact, full, short, home.log_text()] {
        assert!(!text.contains(TOKEN), "{text}");
    }
}

#[test]
fn a_log_that_is_full_is_turned_over_and_one_without_a_file_is_kept_in_memory() {
    let home = Home::new();
    let file = home.path().join("my.log");
    home.configure(json!({"logging": {"file": file, "maxFileBytes": 20_000, "level": "debug"}}));
    let mut gateway = Gateway::start(&home, &[]);
    let mut client = Client::connect(gateway.port);
    let old = home.path().join("my.log.1");
    wait_until("the file to be turned over", || {
        client.request("nonsense", json!({}));
        old.exists()
    });
    let long = |path: &Path| fs::metadata(path).map_or(0, |m| m.len());
    assert!(long(&old) < 22_000 && long(&file) < 22_000);
    let tail = client.call("logs.tail", json!({"limit": 5}));
    assert_eq!(tail["file"], file.display().to_string());
    assert_eq!(gateway.stop(), Some(0));

    home.configure(json!({"logging": {"level": "silent"}}));
    let mut gateway = Gateway::start(&home, &[]);
    gateway.wait_line("log file: none (the last lines are kept in memory)");
    let mut client = Client::connect(gateway.port);
    let tail = client.call("logs.tail", json!({}));
    let lines: Vec<&str> = tail["lines"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert!(lines.iter().any(|line| line.contains("listening on ws://")), "{tail}");
    assert_eq!(gateway.stop(), Some(0));
}

#[test]
fn a_console_that_nobody_reads_does_not_stop_the_gateway() {
    let home = Home::new();
    home.configure(json!({"logging": {"level": "debug", "consoleLevel": "debug"}}));
    let port = free_port();
    let mut command = home.command(&["gateway", "--port", &port.to_string(), "--verbose", "--ws-log", "full"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    wait_until("the gateway to listen", || home.log_text().contains("listening on ws://"));
    let mut client = Client::connect(port);
    // A pipe holds 64 KiB.
    let mut answers = 0;
    wait_until("more lines than two pipes and the queue hold", || {
        for _ in 0..200 {
            client.call("health", json!({}));
        }
        answers += 200;
        answers >= 3000
    });
    wait_until("the file to have them", || home.log_text().matches("res ✓ health").count() >= 1000);
    openclaw::sys::process::signal(child.id(), openclaw::sys::process::Sig::Term).unwrap();
    let mut code = None;
    wait_until("the end", || {
        code = child.try_wait().unwrap();
        code.is_some()
    });
    assert_eq!(code.unwrap().code(), Some(0));
}
