//! The gateway as a service: the real program with a service manager that writes down what it is asked.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::Duration;

use openclaw::sys::process::{self, Sig};
use serde_json::{Value, json};

use crate::common::{Gateway, Home, TOKEN, finish, free_port, patience, stderr, stdout, wait_until};

/// A home with tools of its own in PATH and nothing else.
struct Machine {
    home: Home,
    /// `OPENCLAW_TEST_SERVICE`
    kind: String,
}

/// Units that are enabled leave a mark; `show` says what the file `runtime` says.
const SYSTEMCTL: &str = r#"
case "$*" in
*is-enabled*) [ -f "$MARK" ] && { echo enabled; exit 0; }; echo disabled; exit 1 ;;
*enable*) : > "$MARK" ;;
*disable*) rm -f "$MARK" ;;
*show*) cat "$RUNTIME" ;;
esac
exit 0
"#;

const RUNNING: &str = "ActiveState=active\nSubState=running\nMainPID=4242\nExecMainStatus=0\nExecMainCode=0\n";

impl Machine {
    /// No service manager at all.
    fn bare() -> Machine {
        let machine = Machine { home: Home::new(), kind: String::new() };
        fs::create_dir_all(machine.bin()).unwrap();
        machine
    }

    fn systemd() -> Machine {
        let mut machine = Machine::bare();
        machine.kind = format!("systemd:{}", machine.root().display());
        machine.tool("systemctl", SYSTEMCTL);
        machine.tool("loginctl", "echo Linger=yes\n");
        fs::write(machine.at("runtime"), RUNNING).unwrap();
        machine
    }

    fn of(kind: &str, tools: &[(&str, &str)]) -> Machine {
        let mut machine = Machine::bare();
        machine.kind = format!("{kind}:{}", machine.root().display());
        tools.iter().for_each(|(name, body)| machine.tool(name, body));
        machine
    }

    fn at(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn bin(&self) -> PathBuf {
        self.at("bin")
    }

    /// Where this machine keeps the files of the system.
    fn root(&self) -> PathBuf {
        self.at("root")
    }

    fn tool(&self, name: &str, body: &str) {
        let path = self.bin().join(name);
        let set = format!("MARK='{}'\nRUNTIME='{}'\n", self.at("mark").display(), self.at("runtime").display());
        let note = format!("echo \"{name} $*\" >> '{}'\n", self.at("calls").display());
        fs::write(&path, format!("#!/bin/sh\nPATH=/usr/bin:/bin\n{set}{note}{body}")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn command(&self, line: &str) -> std::process::Command {
        let words: Vec<&str> = line.split(' ').collect();
        let mut command = self.home.command(&words);
        command.env("PATH", self.bin());
        if !self.kind.is_empty() {
            command.env("OPENCLAW_TEST_SERVICE", &self.kind);
        }
        command
    }

    /// Output, errors, and what the service manager was asked; `~` is the home.
    fn run(&self, line: &str, code: i32) -> (String, String, Vec<String>) {
        let _ = fs::remove_file(self.at("calls"));
        let output = finish(self.command(line));
        let masked = |text: String| text.replace(&self.home.path().display().to_string(), "~");
        let (out, err) = (masked(stdout(&output)), masked(stderr(&output)));
        assert_eq!(output.status.code(), Some(code), "openclaw {line}\n{out}{err}");
        let calls = masked(fs::read_to_string(self.at("calls")).unwrap_or_default());
        (out, err, calls.lines().map(str::to_owned).collect())
    }

    fn json(&self, line: &str, code: i32) -> Value {
        let (out, err, _) = self.run(line, code);
        serde_json::from_str(&out).unwrap_or_else(|e| panic!("openclaw {line}: {e}\n{out}{err}"))
    }

    fn unit(&self) -> PathBuf {
        self.at(".config/systemd/user/openclaw-gateway.service")
    }
}

fn service(loaded: bool) -> Value {
    json!({"label": "systemd", "loaded": loaded, "loadedText": "enabled", "notLoadedText": "disabled"})
}

const WITHOUT: &str = "systemctl not available; systemd user services are required on Linux.";

#[test]
fn without_a_service_manager_the_texts_say_so() {
    let machine = Machine::bare();
    let hints = [
        "openclaw gateway install",
        "openclaw gateway",
        "systemctl --user start openclaw-gateway.service",
        "systemd user services are unavailable; install/enable systemd or run the gateway under your supervisor.",
        "If you're in a container, run the gateway in the foreground instead of `openclaw gateway`.",
    ];
    for action in ["start", "restart"] {
        let (out, err, _) = machine.run(&format!("gateway {action}"), 0);
        let lines: String = hints.iter().map(|hint| format!("Start with: {hint}\n")).collect();
        assert_eq!((out, err.as_str()), (format!("Gateway service disabled.\n{lines}"), ""));
        assert_eq!(
            machine.json(&format!("daemon {action} --json"), 0),
            json!({"action": action, "ok": true, "result": "not-loaded", "message": "Gateway service disabled.",
                   "hints": hints, "service": service(false)})
        );
    }
    assert_eq!(machine.run("gateway stop", 0).0, "Gateway service disabled.\n");
    assert_eq!(
        machine.json("gateway stop --json", 0),
        json!({"action": "stop", "ok": true, "result": "not-loaded", "message": "Gateway service disabled.",
               "service": service(false)})
    );
    let (out, err, _) = machine.run("gateway uninstall", 1);
    assert_eq!((out.as_str(), err), ("", format!("Gateway uninstall failed: Error: {WITHOUT}\n")));
    assert_eq!(
        machine.json("gateway uninstall --json", 1),
        json!({"action": "uninstall", "ok": false, "error": format!("Gateway uninstall failed: Error: {WITHOUT}")})
    );
    let (out, err, _) = machine.run("gateway install", 1);
    assert_eq!(out, "No gateway token found. Auto-generated one and saving to config.\n");
    assert_eq!(err, format!("Gateway install failed: Error: {WITHOUT}\n"));
    assert_eq!(
        machine.json("gateway install --json", 1),
        json!({"action": "install", "ok": false, "error": format!("Gateway install failed: Error: {WITHOUT}")})
    );
    assert!(!machine.unit().exists());
    let status = machine.json("gateway status --no-probe --json", 0);
    assert_eq!(status["service"]["runtime"], json!({"status": "unknown", "detail": WITHOUT}));
    let (out, err, _) = machine.run("gateway status --no-probe", 0);
    assert!(out.contains(&format!("\nRuntime: unknown ({WITHOUT})\n")), "{out}");
    assert!(err.starts_with("systemd user services unavailable.\nsystemd user services are unavailable;"), "{err}");
}

#[test]
fn a_user_unit_from_install_to_uninstall() {
    let machine = Machine::systemd();
    machine.home.write_config(r#"{"gateway": {"mode": "local", "port": 21130}}"#);
    let unit = "openclaw-gateway.service";
    let (out, _, calls) = machine.run("gateway install", 0);
    assert_eq!(
        out,
        format!(
            "No gateway token found. Auto-generated one and saving to config.\n\n\
             Installed systemd service: ~/.config/systemd/user/{unit}\n"
        )
    );
    let ctl = |words: &str| format!("systemctl --user {words}");
    let enabled = ctl(&format!("is-enabled {unit}"));
    let steps = ["status".to_owned(), "daemon-reload".into(), format!("enable {unit}"), format!("restart {unit}")];
    let mut wanted: Vec<String> = steps.iter().map(|words| ctl(words)).collect();
    wanted.push(enabled.clone());
    assert_eq!(calls, wanted);
    let text = fs::read_to_string(machine.unit()).unwrap();
    let config = fs::read_to_string(machine.home.config_path()).unwrap();
    let token: Value = serde_json::from_str(&config).unwrap();
    let token = token["gateway"]["auth"]["token"].as_str().unwrap().to_owned();
    assert!(token.len() >= 40 && !text.contains(&token) && !text.contains("TOKEN"), "{text}");
    assert!(text.contains(&format!("\nExecStart={} gateway --port 21130\n", env!("CARGO_BIN_EXE_openclaw"))), "{text}");
    assert_eq!(fs::metadata(machine.unit()).unwrap().permissions().mode() & 0o777, 0o600);

    let (out, _, calls) = machine.run("gateway install", 0);
    assert_eq!(out, "Gateway service already enabled.\nReinstall with: openclaw gateway install --force\n");
    assert_eq!(calls, [enabled.as_str()]);
    assert_eq!(machine.json("gateway install --json", 0)["result"], "already-installed");
    assert_eq!(
        machine.json("gateway install --force --port 21131 --json", 0),
        json!({"action": "install", "ok": true, "result": "installed", "service": service(true)})
    );
    let (out, _, _) = machine.run("gateway install --force", 0);
    assert_eq!(
        out,
        format!(
            "\nInstalled systemd service: ~/.config/systemd/user/{unit}\n\
             Previous unit backed up to: ~/.config/systemd/user/{unit}.bak\n"
        )
    );
    assert!(fs::read_to_string(machine.unit().with_extension("service.bak")).unwrap().contains("--port 21131"));

    let (out, _, calls) = machine.run("gateway start", 0);
    assert_eq!(out, format!("Restarted systemd service: {unit}\n"));
    assert_eq!(calls, [&enabled, &ctl("status"), &ctl(&format!("restart {unit}")), &enabled].map(String::as_str));
    assert_eq!(
        machine.json("gateway start --json", 0),
        json!({"action": "start", "ok": true, "result": "started", "service": service(true)})
    );
    let (out, _, calls) = machine.run("gateway stop", 0);
    assert_eq!(out, format!("Stopped systemd service: {unit}\n"));
    assert_eq!(calls, [&enabled, &ctl("status"), &ctl(&format!("stop {unit}")), &enabled].map(String::as_str));

    let (out, _, calls) = machine.run("gateway uninstall", 0);
    assert_eq!(
        out,
        format!("Stopped systemd service: {unit}\nRemoved systemd service: ~/.config/systemd/user/{unit}\n")
    );
    let wanted = [ctl("status"), ctl(&format!("disable --now {unit}"))];
    assert_eq!(calls[calls.len() - 2..], wanted);
    assert!(!machine.unit().exists());
    let (out, _, _) = machine.run("gateway uninstall", 0);
    assert_eq!(out, format!("Systemd service not found at ~/.config/systemd/user/{unit}\n"));
    assert_eq!(
        machine.json("gateway uninstall --json", 0),
        json!({"action": "uninstall", "ok": true, "result": "uninstalled", "service": service(false)})
    );
    let (out, _, _) = machine.run("gateway start", 0);
    assert_eq!(out.lines().count(), 4, "systemd is there: no advice about its absence\n{out}");
}

#[test]
fn mistakes_of_an_install() {
    let machine = Machine::systemd();
    machine.home.configure(json!({}));
    for (line, text) in [
        ("gateway install --port abc", "Invalid port\n"),
        ("gateway install --runtime deno", "Invalid --runtime (use \"node\" or \"bun\")\n"),
    ] {
        let (out, err, calls) = machine.run(line, 1);
        assert!(out.is_empty() && err.starts_with(text) && calls.is_empty(), "{err}{calls:?}");
    }
    machine.run("gateway install --runtime bun --force", 0);
    machine.tool("systemctl", "case \"$*\" in *daemon-reload*) echo 'access denied' >&2; exit 4;; esac\n");
    let (_, err, _) = machine.run("gateway install --force", 1);
    assert_eq!(err, "Gateway install failed: Error: systemctl --user daemon-reload failed: access denied\n");
    machine.tool("systemctl", "echo 'Failed to connect to bus: No medium found' >&2; exit 1\n");
    let (_, err, _) = machine.run("gateway install --force", 1);
    assert_eq!(
        err,
        "Gateway install failed: Error: systemctl --user unavailable: Failed to connect to bus: No medium found\n"
    );
    let nix = finish({
        let mut command = machine.command("gateway install");
        command.env("OPENCLAW_NIX_MODE", "1");
        command
    });
    assert_eq!(stderr(&nix), "Nix mode detected; service install is disabled.\n");
    machine.home.write_config("{gateway: {port: \"x\"}}");
    for action in ["install", "start", "restart"] {
        let (_, err, _) = machine.run(&format!("gateway {action}"), 1);
        assert!(err.contains("Gateway aborted: config is invalid.\ngateway.port: "), "{err}");
    }
}

#[test]
fn without_a_bus_the_call_goes_through_the_machine() {
    let machine = Machine::systemd();
    machine.home.configure(json!({}));
    let bus = "case \"$*\" in --machine*) ;; *) echo 'Failed to connect to bus: No medium found' >&2; exit 1;; esac\n";
    machine.tool("systemctl", &format!("{bus}{SYSTEMCTL}"));
    let _ = fs::remove_file(machine.at("calls"));
    let mut command = machine.command("gateway install");
    command.env("USER", "pi");
    let output = finish(command);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let calls = fs::read_to_string(machine.at("calls")).unwrap();
    assert!(calls.starts_with("systemctl --user status\nsystemctl --machine pi@ --user status\n"), "{calls}");
    assert!(calls.contains("\nsystemctl --machine pi@ --user daemon-reload\n"), "{calls}");
}

#[test]
fn a_profile_has_a_unit_of_its_own() {
    let machine = Machine::systemd();
    machine.run("--profile rescue gateway install --port 21132", 0);
    let text = fs::read_to_string(machine.at(".config/systemd/user/openclaw-gateway-rescue.service")).unwrap();
    for line in [
        "Description=OpenClaw Gateway (profile: rescue, v2026.3.13)".to_owned(),
        "Environment=OPENCLAW_PROFILE=rescue".into(),
        format!("Environment=OPENCLAW_STATE_DIR={}", machine.at(".openclaw-rescue").display()),
    ] {
        assert!(text.lines().any(|own| own == line), "{line}\n{text}");
    }
    let config = fs::read_to_string(machine.at(".openclaw-rescue/openclaw.json")).unwrap();
    let config: Value = serde_json::from_str(&config).unwrap();
    assert_eq!(config["gateway"]["mode"], "local", "a service without it would never start");
    let (out, err, calls) = machine.run("--profile rescue gateway status --no-probe", 0);
    assert_eq!(calls.len(), 3, "{calls:?}");
    assert_eq!(calls[0], "systemctl --user status");
    assert!(
        calls[2].ends_with("--no-page --property ActiveState,SubState,MainPID,ExecMainStatus,ExecMainCode"),
        "{calls:?}"
    );
    for text in [
        "Service: systemd (enabled)\n",
        " gateway --port 21132\n",
        "\nService file: ~/.config/systemd/user/openclaw-gateway-rescue.service\n\
         Service env: OPENCLAW_PROFILE=rescue OPENCLAW_STATE_DIR=~/.openclaw-rescue \
         OPENCLAW_CONFIG_PATH=~/.openclaw-rescue/openclaw.json OPENCLAW_GATEWAY_PORT=21132\n",
        "Config (service): ~/.openclaw-rescue/openclaw.json\n",
        "Gateway: bind=loopback (127.0.0.1), port=21132 (service args)\n",
        "\nRuntime: running (pid 4242, state active, sub running, last exit 0, reason 0)\n",
        "\nNote: CLI config resolves gateway port=18789 (",
        "Troubles: run openclaw --profile rescue status\n",
    ] {
        assert!(out.contains(text), "{text}\n{out}");
    }
    assert!(err.starts_with("Gateway port 21132 is not listening (service appears running).\n"), "{err}");
    let logs = "\nLogs: journalctl --user -u openclaw-gateway-rescue.service -n 200 --no-pager\n";
    assert!(err.ends_with(logs), "{err}");
    // Without the profile it is another service, and ours is no stranger.
    let status = machine.json("gateway status --no-probe --json", 0);
    assert_eq!((&status["service"]["loaded"], &status["extraServices"]), (&json!(false), &json!([])));
}

#[test]
fn what_drifted_is_listed_and_strangers_are_named() {
    let machine = Machine::systemd();
    machine.home.configure(json!({"gateway": {"port": 21152, "auth": {"token": "tok-drift-0123456789abcdef"}}}));
    let units = machine.unit().parent().unwrap().to_owned();
    fs::create_dir_all(&units).unwrap();
    let old = "[Unit]\nDescription=x\n[Service]\nExecStart=/usr/local/bin/openclaw gateway --port 21152\nRestart=always\n\
               RestartSec=1\nEnvironment=OPENCLAW_GATEWAY_TOKEN=old\n[Install]\nWantedBy=default.target\n";
    fs::write(machine.unit(), old).unwrap();
    fs::write(units.join("clawdbot-gateway.service"), "[Service]\nExecStart=/usr/bin/clawdbot gateway\n").unwrap();
    fs::write(machine.at("mark"), "").unwrap();
    let (out, err, _) = machine.run("gateway status --no-probe", 0);
    assert!(!out.contains("old") && !err.contains("=old"), "{out}{err}");
    let unit = "~/.config/systemd/user/openclaw-gateway.service";
    for line in [
        "Service config looks out of date or non-standard.",
        "Service config issue: Gateway service embeds OPENCLAW_GATEWAY_TOKEN and should be reinstalled. (Run `openclaw gateway install --force` to remove embedded service token.)",
        "Service config issue: Gateway service PATH is not set; the daemon should use a minimal PATH.",
        "Recommendation: run \"openclaw doctor\" (or \"openclaw doctor --repair\").",
        "Other gateway-like services detected (best effort):",
        "- clawdbot-gateway.service (user, unit: ~/.config/systemd/user/clawdbot-gateway.service)",
        // The other one, not the service itself.
        "Cleanup hint: systemctl --user disable --now clawdbot-gateway.service",
        "Cleanup hint: rm ~/.config/systemd/user/clawdbot-gateway.service",
    ] {
        assert!(err.lines().any(|own| own == line), "{line}\n{err}");
    }
    assert!(err.contains(&format!("Missing systemd After=network-online.target ({unit})")), "{err}");
    let status = machine.json("gateway status --no-probe --json", 0);
    let codes: Vec<&str> = status["service"]["configAudit"]["issues"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|issue| issue["code"].as_str())
        .collect();
    assert_eq!(
        codes[..5],
        [
            "gateway-token-embedded",
            "gateway-path-missing",
            "systemd-after-network-online",
            "systemd-wants-network-online",
            "systemd-restart-sec"
        ]
    );
    assert_eq!(
        status["service"]["command"],
        json!({"programArguments": ["/usr/local/bin/openclaw", "gateway", "--port", "21152"],
               "environmentValueSources": {"OPENCLAW_GATEWAY_TOKEN": "inline"},
               "sourcePath": unit})
    );
    let other = &status["extraServices"][0];
    assert_eq!(
        (&other["label"], &other["scope"], &other["marker"], &other["legacy"], &other["platform"]),
        (&json!("clawdbot-gateway.service"), &json!("user"), &json!("clawdbot"), &json!(true), &json!("linux"))
    );
}

#[test]
fn a_service_that_ended_shows_the_last_error_of_its_log() {
    let machine = Machine::systemd();
    machine.home.configure(json!({"gateway": {"port": free_port()}}));
    machine.run("gateway install", 0);
    let port = free_port().to_string();
    // The unit's gateway could not start; its reason stands in the log.
    let failed = finish(machine.command(&format!("gateway --port {port} --auth none --bind lan")));
    assert_eq!(failed.status.code(), Some(1));
    fs::write(
        machine.at("runtime"),
        "ActiveState=inactive\nSubState=dead\nMainPID=0\nExecMainStatus=1\nExecMainCode=exited\n",
    )
    .unwrap();
    let (out, err, _) = machine.run("gateway status", 0);
    assert!(out.contains("Runtime: stopped (state inactive, sub dead, last exit 1, reason exited)\n"), "{out}");
    assert!(err.contains("\nService is loaded but not running (likely exited immediately).\nFile logs: "), "{err}");
    assert!(err.contains("\nLast gateway error: Refusing to bind gateway to lan without auth."), "{err}");
    assert!(err.contains("\nLogs: journalctl --user -u openclaw-gateway.service -n 200 --no-pager\n"), "{err}");
}

#[test]
fn a_restart_is_done_when_the_gateway_answers() {
    let machine = Machine::systemd();
    machine.home.configure(json!({}));
    let mut gateway = Gateway::start_with(&machine.home, &[], |_| {});
    machine.run(&format!("gateway install --port {}", gateway.port), 0);
    fs::write(machine.at("runtime"), RUNNING.replace("4242", &gateway.pid().to_string())).unwrap();
    let (out, err, calls) = machine.run("gateway restart", 0);
    assert_eq!((out.as_str(), err.as_str()), ("Restarted systemd service: openclaw-gateway.service\n", ""));
    assert!(calls.iter().any(|call| call.ends_with("restart openclaw-gateway.service")), "{calls:?}");
    assert!(gateway.is_running());
    assert_eq!(machine.json("gateway restart --json", 0)["result"], "restarted");
    let (out, err, _) = machine.run("gateway status", 0);
    assert!(out.contains("RPC probe: ok\n") && !out.contains("Unmanaged"), "{out}");
    assert_eq!(err, "");
    // A unit from before with a token in it.
    let text = fs::read_to_string(machine.unit()).unwrap();
    fs::write(machine.unit(), text.replace("[Install]", "Environment=OPENCLAW_GATEWAY_TOKEN=old\n[Install]")).unwrap();
    let (out, _, _) = machine.run("gateway restart", 0);
    assert!(
        out.starts_with(
            "⚠️  Config token differs from service token. The daemon will use the old token after restart.\n\
             Run `openclaw gateway install --force` to sync the token.\nRestarted systemd service: "
        ),
        "{out}"
    );
    assert_eq!(gateway.stop(), Some(0));
}

/// A manager would start again what is ended behind its back.
#[test]
fn a_service_that_is_started_and_not_enabled_is_stopped_by_its_manager() {
    let machine = Machine::systemd();
    machine.home.configure(json!({}));
    let mut gateway = Gateway::start(&machine.home, &[]);
    machine.run(&format!("gateway install --port {}", gateway.port), 0);
    fs::remove_file(machine.at("mark")).unwrap();
    fs::write(machine.at("runtime"), RUNNING.replace("4242", &gateway.pid().to_string())).unwrap();
    for (line, said) in [("gateway restart", "Restarted"), ("gateway stop", "Stopped")] {
        let (out, _, calls) = machine.run(line, 0);
        assert_eq!(out, format!("{said} systemd service: openclaw-gateway.service\n"));
        let word = line.rsplit(' ').next().unwrap();
        assert!(calls.contains(&format!("systemctl --user {word} openclaw-gateway.service")), "{calls:?}");
    }
    // One that the manager does not know is ended by its pid.
    fs::write(machine.at("runtime"), RUNNING).unwrap();
    let (out, _, _) = machine.run("gateway stop", 0);
    assert!(out.starts_with("Gateway stop signal sent to unmanaged process on port "), "{out}");
    assert_eq!(gateway.wait_exit().code(), Some(0));
}

#[test]
fn onboarding_waits_for_the_service_that_it_starts() {
    let mut machine = Machine::systemd();
    let port = free_port();
    let binary = env!("CARGO_BIN_EXE_openclaw");
    let starts = format!(
        "*restart*) '{binary}' gateway --port {port} >/dev/null 2>&1 & echo $! > '{}' ;;",
        machine.at("pid").display()
    );
    machine.tool("systemctl", &SYSTEMCTL.replacen("*is-enabled*)", &format!("{starts}\n*is-enabled*)"), 1));
    let line = format!("onboard --non-interactive --accept-risk --gateway-port {port} --install-daemon --json");
    let told = machine.json(&line, 0);
    let pid: u32 = fs::read_to_string(machine.at("pid")).unwrap().trim().parse().unwrap();
    process::signal(pid, Sig::Term).unwrap();
    assert_eq!((&told["ok"], &told["health"]["reachable"]), (&json!(true), &json!(true)), "{told:#}");
    assert!(
        fs::read_to_string(machine.unit()).unwrap().contains(&format!("--port {port}")),
        "the port that was just chosen"
    );
    wait_until("the gateway to end", || !process::alive(pid));
    // One that does not come is no success.
    machine = Machine::systemd();
    let told = machine.json(&line, 1);
    assert_eq!((&told["ok"], &told["health"]["reachable"]), (&json!(false), &json!(false)), "{told:#}");
    assert!(told["health"]["hint"].to_string().contains("openclaw gateway status --deep"), "{told:#}");
}

#[test]
fn a_stale_gateway_makes_way_for_the_service() {
    let machine = Machine::systemd();
    machine.home.configure(json!({}));
    let mut stale = Gateway::start(&machine.home, &[]);
    machine.run(&format!("gateway install --port {}", stale.port), 0);
    fs::write(machine.at("runtime"), RUNNING.replace("active", "activating").replace("4242", "0")).unwrap();
    // The second restart brings the unit up: nobody holds the lock any more.
    let program = env!("CARGO_BIN_EXE_openclaw");
    let up = format!(
        "case \"$*\" in *restart*) echo x >> '{0}'; if [ $(wc -l < '{0}') -ge 2 ]; then \
         {program} gateway --port {1} >/dev/null 2>&1 & printf 'ActiveState=active\\nMainPID=%s\\n' $! > \"$RUNTIME\"; \
         echo $! > '{2}'; fi; exit 0;; esac\n",
        machine.at("restarts").display(),
        stale.port,
        machine.at("pid").display()
    );
    machine.tool("systemctl", &format!("{up}{SYSTEMCTL}"));
    let (out, err, _) = machine.run("gateway restart", 0);
    let pid = fs::read_to_string(machine.at("pid")).unwrap().trim().parse().unwrap();
    let ended = openclaw::sys::process::signal(pid, openclaw::sys::process::Sig::Term);
    assert!(
        out.contains(&format!(
            "Found stale gateway process(es): {}.\nStopping stale process(es) and retrying restart...\n",
            stale.pid()
        )),
        "{out}{err}"
    );
    assert_eq!(stale.wait_exit().code(), Some(0));
    assert!(ended.is_ok());
}

#[test]
fn other_systems_write_and_run_their_own() {
    let (openrc, procd) = ("etc/init.d/openclaw-gateway", "etc/init.d/openclaw");
    let plist = "Library/LaunchAgents/ai.openclaw.gateway.plist";
    let link = r#"case "$*" in add*) mkdir -p "$ROOT/etc/runlevels/default"; : > "$ROOT/etc/runlevels/default/openclaw-gateway";;
                  del*) rm -f "$ROOT/etc/runlevels/default/openclaw-gateway";; esac"#;
    type Tool = (&'static str, String);
    let table: [(&str, &str, &str, Vec<Tool>); 3] = [
        ("openrc", openrc, "OpenRC service", vec![("rc-service", String::new()), ("rc-update", link.into())]),
        (
            "launchd",
            plist,
            "LaunchAgent",
            vec![("launchctl", "case \"$1\" in print) printf 'state = running\\npid = 77\\n';; esac\n".into())],
        ),
        (
            "procd",
            procd,
            "procd service",
            vec![(
                "ubus",
                "echo '{\"openclaw\":{\"instances\":{\"instance1\":{\"running\":true,\"pid\":77}}}}'\n".into(),
            )],
        ),
    ];
    for (kind, file, noun, tools) in table {
        let machine = Machine::of(kind, &[]);
        for (name, body) in &tools {
            machine.tool(name, &format!("ROOT='{}'\n{body}", machine.root().display()));
        }
        machine.home.configure(json!({}));
        let path = if kind == "launchd" { machine.at(file) } else { machine.root().join(file) };
        if kind == "procd" {
            // A script of procd is a program itself; here the package's.
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            let note = format!("#!/bin/sh\necho \"init $*\" >> '{}'\n", machine.at("calls").display());
            fs::write(&path, &note).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let (out, err, calls) = machine.run("gateway install --force", 0);
        assert!(out.contains(&format!("\nInstalled {noun}: ~/")), "{kind}: {out}{err}");
        let text = fs::read_to_string(&path).unwrap();
        assert!(!text.contains(TOKEN), "{text}");
        match kind {
            "openrc" => {
                assert_eq!(calls, ["rc-update add openclaw-gateway default", "rc-service openclaw-gateway restart"])
            }
            "launchd" => assert!(calls.iter().any(|call| call.starts_with("launchctl bootstrap gui/")), "{calls:?}"),
            _ => assert!(calls.starts_with(&["init enable".into(), "init restart".into()]), "{calls:?}"),
        }
        let status = machine.json("gateway status --no-probe --json", 0);
        let seen = &status["service"];
        assert_eq!((&seen["loaded"], &seen["runtime"]["status"]), (&json!(true), &json!("running")), "{kind}: {seen}");
        let (out, _, _) = machine.run("gateway stop", 0);
        assert!(out.starts_with(&format!("Stopped {noun}: ")), "{kind}: {out}");
        let (out, _, _) = machine.run("gateway uninstall", 0);
        assert_eq!(path.exists(), kind == "procd", "{kind}: what came with a package stays\n{out}");
    }
}

#[test]
fn a_service_of_the_system_is_found_without_being_asked_for() {
    let machine = Machine::systemd();
    machine.home.configure(json!({}));
    // The unit of a package that nobody has enabled is in nobody's way.
    let packaged = machine.root().join("usr/lib/systemd/system/openclaw-gateway.service");
    fs::create_dir_all(packaged.parent().unwrap()).unwrap();
    fs::write(&packaged, "[Service]\nExecStart=/usr/bin/openclaw gateway\n").unwrap();
    let (out, _, _) = machine.run("gateway install", 0);
    assert!(out.contains("\nInstalled systemd service: ~/.config/systemd/user/openclaw-gateway.service\n"), "{out}");
    machine.run("gateway uninstall", 0);
    fs::remove_file(&packaged).unwrap();
    let (out, _, calls) = machine.run("gateway install --system", 0);
    assert!(out.contains("\nInstalled systemd service: ~/root/etc/systemd/system/openclaw-gateway.service\n"), "{out}");
    assert!(calls.iter().all(|call| !call.contains("--user")), "{calls:?}");
    let text = fs::read_to_string(machine.root().join("etc/systemd/system/openclaw-gateway.service")).unwrap();
    for line in ["Type=notify", "NotifyAccess=main", "WatchdogSec=60", "WantedBy=multi-user.target"] {
        assert!(text.lines().any(|own| own == line), "{line}\n{text}");
    }
    assert!(text.lines().any(|line| line.starts_with("User=")), "{text}");
    let (out, _, calls) = machine.run("gateway stop", 0);
    assert_eq!(out, "Stopped systemd service: openclaw-gateway.service\n");
    assert!(calls.contains(&"systemctl stop openclaw-gateway.service".to_owned()), "{calls:?}");
}

#[test]
fn a_task_scheduler_that_refuses_leaves_the_startup_folder() {
    let machine =
        Machine::of("schtasks", &[("schtasks", "echo 'ERROR: Access is denied.' >&2; exit 1\n"), ("cmd", "")]);
    machine.tool("taskkill", "for pid; do :; done; kill -KILL $pid\n");
    machine.home.configure(json!({"gateway": {"port": free_port()}}));
    let item = machine.at("AppData/Roaming/Microsoft/Windows/Start Menu/Programs/Startup/OpenClaw Gateway.cmd");
    let (out, _, calls) = machine.run("gateway install", 0);
    assert_eq!(
        out,
        "\nInstalled Windows login item: ~/.openclaw/gateway.cmd\n\
         The Task Scheduler refused the task: the gateway starts from the Startup folder at log-on.\n"
    );
    assert_eq!(calls.last().map(String::as_str), Some("cmd /d /c start  /min ~/.openclaw/gateway.cmd"));
    let script = machine.home.state().join("gateway.cmd");
    assert!(fs::read_to_string(&item).unwrap().contains(&script.display().to_string()));
    let (out, err, _) = machine.run("gateway status --no-probe", 0);
    assert!(out.contains("Service: Scheduled Task (registered)\n"), "{out}");
    assert!(out.contains("\nRuntime: stopped (started at log-on from the Startup folder)\n"), "{out}{err}");
    let mut gateway = Gateway::start_with(&machine.home, &[], |_| {});
    let pid = gateway.pid();
    let (out, _, _) = machine.run("gateway status --no-probe", 0);
    assert!(out.contains(&format!("\nRuntime: running (pid {pid}, started at log-on")), "{out}");
    let (out, _, calls) = machine.run("gateway start", 0);
    assert_eq!(out, "Restarted Windows login item: OpenClaw Gateway\n");
    assert_eq!(calls[0], format!("taskkill /F /T /PID {pid}"));
    assert_eq!(gateway.wait_exit().code(), None, "killed");
    let (out, _, _) = machine.run("gateway stop", 0);
    assert_eq!(out, "Stopped Windows login item: OpenClaw Gateway\n");
    // The scheduler thinks better of it: one way to start is enough.
    machine.tool("schtasks", "");
    let (out, _, calls) = machine.run("gateway install --force", 0);
    assert_eq!(out, "\nInstalled Scheduled Task: ~/.openclaw/gateway.cmd\n");
    assert!(calls.contains(&"schtasks /Run /TN OpenClaw Gateway".to_owned()), "{calls:?}");
    assert!(!item.exists());
    machine.run("gateway uninstall", 0);
    assert!(!script.exists());
}

/// What the Debian package brings for users and for profiles is a service like any other once it is enabled.
#[test]
fn packaged_units_of_users_and_profiles_are_found() {
    let machine = Machine::systemd();
    machine.home.configure(json!({}));
    let packaged = |kind: &str, name: &str| {
        let from = format!(
            "{}/contrib/systemd/{}{name}",
            env!("CARGO_MANIFEST_DIR"),
            if kind == "user" { "user/" } else { "" }
        );
        let to = machine.root().join("usr/lib/systemd").join(kind).join(name);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(from, &to).unwrap();
        to
    };
    let unit = packaged("user", "openclaw-gateway.service");
    let status = machine.json("gateway status --no-probe --json", 0);
    assert_eq!((&status["service"]["loaded"], &status["service"]["command"]), (&json!(false), &Value::Null));
    // As "systemctl --user enable" does it.
    let wants = machine.at(".config/systemd/user/default.target.wants");
    fs::create_dir_all(&wants).unwrap();
    std::os::unix::fs::symlink(&unit, wants.join("openclaw-gateway.service")).unwrap();
    fs::write(machine.at("mark"), "").unwrap();
    let status = machine.json("gateway status --no-probe --json", 0);
    let service = &status["service"];
    assert_eq!((&service["loaded"], &service["configAudit"]["ok"]), (&json!(true), &json!(true)), "{service:#}");
    assert_eq!(service["command"]["sourcePath"], "~/root/usr/lib/systemd/user/openclaw-gateway.service");
    assert_eq!(status["extraServices"], json!([]));
    let (out, _, calls) = machine.run("gateway stop", 0);
    assert_eq!(out, "Stopped systemd service: openclaw-gateway.service\n");
    assert!(calls.contains(&"systemctl --user stop openclaw-gateway.service".to_owned()), "{calls:?}");
    machine.run("gateway install --force", 0);
    assert!(!machine.unit().exists(), "the packaged unit is enough");
    let (out, _, _) = machine.run("gateway uninstall", 0);
    let stays = "Disabled systemd service: ~/root/usr/lib/systemd/user/openclaw-gateway.service (it belongs to a package and stays)\n";
    assert!(out.ends_with(stays) && unit.is_file(), "{out}");
    fs::remove_dir_all(&wants).unwrap();

    fs::write(machine.at("mark"), "").unwrap();
    packaged("system", "openclaw-gateway@.service");
    let (out, _, calls) = machine.run("--profile rescue gateway status --no-probe", 0);
    for text in [
        "Service: systemd (enabled)\n",
        "Command: /usr/bin/openclaw --profile rescue gateway\n",
        "Service file: ~/root/usr/lib/systemd/system/openclaw-gateway@.service\n",
        "OPENCLAW_STATE_DIR=/var/lib/openclaw-rescue OPENCLAW_CONFIG_PATH=/etc/openclaw/rescue.json\n",
    ] {
        assert!(out.contains(text), "{text}\n{out}");
    }
    assert!(calls.iter().any(|call| call.starts_with("systemctl show openclaw-gateway@rescue.service ")), "{calls:?}");
    let (out, _, _) = machine.run("--profile rescue gateway stop", 0);
    assert_eq!(out, "Stopped systemd service: openclaw-gateway@rescue.service\n");
}

#[test]
fn the_watchdog_is_fed_only_while_the_hub_moves() {
    use std::os::unix::net::UnixDatagram;
    let home = Home::new();
    home.configure(json!({}));
    let (address, stop) = (home.path().join("notify"), home.path().join("stop-the-hub"));
    let socket = UnixDatagram::bind(&address).unwrap();
    socket.set_read_timeout(Some(patience())).unwrap();
    const INTERVAL: Duration = Duration::from_millis(300);
    let gateway = Gateway::start_with(&home, &[], |command| {
        command.env("NOTIFY_SOCKET", &address).env("OPENCLAW_TEST_STOP_HUB", &stop);
        command.env("WATCHDOG_USEC", INTERVAL.as_micros().to_string());
    });
    let next = || {
        let mut bytes = [0; 256];
        let length = socket.recv(&mut bytes).ok()?;
        Some(String::from_utf8_lossy(&bytes[..length]).into_owned())
    };
    assert_eq!(next().as_deref(), Some("READY=1"));
    for _ in 0..5 {
        assert_eq!(next().as_deref(), Some("WATCHDOG=1"));
    }
    // A restart replaces the loops, and goes on feeding.
    gateway.signal(openclaw::sys::process::Sig::Usr1);
    let mut words = Vec::new();
    while !words.ends_with(&["READY=1".to_owned(), "WATCHDOG=1".into()]) {
        words.push(next().expect("a word from the restart"));
    }
    fs::write(&stop, "").unwrap();
    gateway.wait_line("watchdog: hub has not moved for 100 ms; the service manager is not told that all is well");
    socket.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
    while next().is_some() {}
    socket.set_read_timeout(Some(INTERVAL * 5)).unwrap();
    assert_eq!(next(), None, "a hub that hangs is not fed for");
    // It moves again before the manager has lost its patience.
    fs::remove_file(&stop).unwrap();
    socket.set_read_timeout(Some(patience())).unwrap();
    assert_eq!(next().as_deref(), Some("WATCHDOG=1"));
}

#[test]
fn nobody_is_told_anything_without_a_watchdog() {
    use std::os::unix::net::UnixDatagram;
    let home = Home::new();
    home.configure(json!({}));
    let address = home.path().join("notify");
    let socket = UnixDatagram::bind(&address).unwrap();
    socket.set_read_timeout(Some(patience())).unwrap();
    let mut gateway = Gateway::start_with(&home, &[], |command| {
        // The variables of somebody else, inherited.
        command.env("NOTIFY_SOCKET", &address).env("WATCHDOG_USEC", "1000").env("WATCHDOG_PID", "1");
    });
    assert_eq!(gateway.stop(), Some(0));
    let mut words = Vec::new();
    while words.last().map(String::as_str) != Some("STOPPING=1") {
        let mut bytes = [0; 256];
        let length = socket.recv(&mut bytes).unwrap();
        words.push(String::from_utf8_lossy(&bytes[..length]).into_owned());
    }
    assert_eq!(words, ["READY=1", "STOPPING=1"]);
}

#[test]
fn doctor_mends_a_service_that_drifted() {
    let machine = Machine::systemd();
    machine.tool(
        "loginctl",
        "case \"$*\" in show-user*) [ -f \"$MARK.linger\" ] && echo Linger=yes || echo Linger=no;; *) : > \"$MARK.linger\";; esac\n",
    );
    machine.home.configure(json!({"gateway": {"port": free_port(), "auth": {"token": null}}}));
    machine.home.write_config(&json!({"gateway": {"mode": "local"}}).to_string());
    fs::create_dir_all(machine.unit().parent().unwrap()).unwrap();
    let old = "[Service]\nExecStart=/usr/local/bin/openclaw gateway --port 21152\nRestartSec=1\n\
               Environment=OPENCLAW_GATEWAY_TOKEN=a-token-that-clients-know-0123456789\n";
    fs::write(machine.unit(), old).unwrap();
    fs::write(machine.at("mark"), "").unwrap();
    let findings = |line: &str| {
        let report = machine.json(line, 0);
        let ids = report["findings"].as_array().unwrap().iter();
        let ids: Vec<String> = ids.filter_map(|finding| finding["id"].as_str().map(str::to_owned)).collect();
        (ids, report)
    };
    let (ids, report) = findings("doctor --json");
    assert!(ids.contains(&"service.drift".into()) && ids.contains(&"service.lingering".into()), "{report:#}");
    let drift = report["findings"].as_array().unwrap().iter().find(|finding| finding["id"] == "service.drift").unwrap();
    assert!(drift["detail"].to_string().contains("entrypoint does not match the current install"), "{drift:#}");
    assert!(!report.to_string().contains("clients-know"), "no secret is shown");
    let (ids, report) = findings("doctor --fix --json");
    assert!(!ids.contains(&"service.drift".into()) && !ids.contains(&"service.lingering".into()), "{report:#}");
    let changes = report["changes"].to_string();
    for change in [
        "Saved the token of the service as gateway.auth.token",
        "Installed systemd service: ",
        "Enabled systemd lingering for ",
    ] {
        assert!(changes.contains(change), "{change}: {report:#}");
    }
    let unit = fs::read_to_string(machine.unit()).unwrap();
    assert!(unit.contains("gateway --port 21152\n") && !unit.contains("TOKEN"), "{unit}");
    let config = fs::read_to_string(machine.home.config_path()).unwrap();
    assert!(config.contains("a-token-that-clients-know-0123456789"), "{config}");
}

#[test]
fn doctor_sees_who_is_in_the_way() {
    let machine = Machine::systemd();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let provider = json!({"baseUrl": format!("http://127.0.0.1:{port}/v1"), "apiKey": "k", "api": "openai-completions",
                          "models": [{"id": "m", "name": "m"}]});
    machine.home.configure(json!({
        "gateway": {"port": port},
        "models": {"providers": {"here": provider}},
        "agents": {"defaults": {"model": "here/m"}},
    }));
    let report = machine.json("doctor --deep --json", 0);
    let titles = |id: &str| -> Vec<String> {
        let all = report["findings"].as_array().unwrap().iter().filter(|finding| finding["id"] == id);
        all.map(|finding| finding["title"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(titles("gateway.port"), [format!("Port {port} belongs to another program")], "{report:#}");
    assert_eq!(titles("model.reachable"), ["The provider of here/m takes connections."], "{report:#}");
    drop(listener);
    let report = machine.json("doctor --deep --json", 0);
    let found = report.to_string();
    assert!(found.contains("The provider of here/m is out of reach") && !found.contains("gateway.port"), "{report:#}");
}
