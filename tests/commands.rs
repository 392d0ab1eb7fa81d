//! The operator's commands against a gateway that runs: what they print, where, and how they end. Lines and JSON are
//! compared with recordings of the reference (tests/golden/cli), exceptions are listed where they are made.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::common::client::{Client, Device, End, Hello};
use crate::common::golden::{differences, golden};
use crate::common::model::{Model, Play};
use crate::common::{Gateway, Home, TOKEN, finish, free_port, merge, stderr, stdout, wait_for, wait_until};

/// A home whose configuration knows the gateway's port, and the gateway.
fn running(more: Value) -> (Home, Gateway) {
    let home = Home::new();
    // Before the start: a port that changes while it runs is a reason to restart.
    let port = free_port();
    let mut config = json!({"gateway": {"port": port}});
    merge(&mut config, more);
    home.configure(config);
    let gateway = Gateway::spawn_args(&home, port, &["gateway"], |_| {});
    gateway.wait_line("listening on ws://");
    (home, gateway)
}

/// Runs a command that must end with this code; both streams.
pub fn ends(home: &Home, line: &str, code: i32) -> (String, String) {
    let words: Vec<&str> = line.split(' ').collect();
    let output = home.run(&words);
    let (out, err) = (stdout(&output), stderr(&output));
    assert_eq!(output.status.code(), Some(code), "openclaw {line}\n{out}── stderr\n{err}");
    for line in out.lines().chain(err.lines()) {
        assert!(!line.contains('\u{1b}'), "colours into a pipe: {line}");
    }
    (out, err)
}

/// A command that succeeds and has nothing to complain about.
fn good(home: &Home, line: &str) -> String {
    let (out, err) = ends(home, line, 0);
    assert_eq!(err, "", "openclaw {line}");
    out
}

#[test]
fn json_has_the_keys_and_types_of_the_recordings() {
    let (home, gateway) = running(json!({}));
    // Someone in the presence list and in the list of devices.
    good(&home, "system event --text hello");
    let table: &[(&str, &str, &[&str])] = &[
        // The audit of a unit that does not exist finds nothing (cli 10.8).
        ("gateway status --json", "gateway-status", &[]),
        ("gateway probe --json", "gateway-probe", &[]),
        ("gateway health --json", "health", &[]),
        ("gateway call health --json", "health", &[]),
        ("gateway call status --json", "call-status", &[]),
        ("health --json", "health", &[]),
        ("status --json", "status", &["+securityAudit.findings[].remediation"]),
        ("channels status --json", "channels-status", &[]),
        ("sessions --json", "sessions", &[]),
        ("agents list --json", "agents-list", &[]),
        ("devices list --json", "devices-list", &["+paired[].tokens[].lastUsedAtMs"]),
        ("system event --text x --json", "system-event", &[]),
        ("system presence", "system-presence", &[]),
        ("gateway stop --json", "gateway-stop", &[]),
        ("gateway status --json", "gateway-status-down", &[]),
        ("gateway restart --json", "gateway-restart", &[]),
    ];
    for (line, name, allowed) in table {
        let out = good(&home, line);
        let ours: Value = serde_json::from_str(&out).unwrap_or_else(|e| panic!("openclaw {line}: {e}\n{out}"));
        let mut found = differences(&golden(name), &ours);
        found.retain(|difference| !allowed.contains(&difference.as_str()));
        assert_eq!(found, [""; 0], "openclaw {line}\n{out}");
        assert_eq!(out, format!("{}\n", serde_json::to_string_pretty(&ours).unwrap()), "two spaces: {line}");
    }
    let (out, err) = ends(&home, "gateway probe --json", 1);
    assert_eq!(
        (differences(&golden("gateway-probe-down"), &serde_json::from_str(&out).unwrap()), err.as_str()),
        (vec![], "")
    );
    drop(gateway);
}

#[test]
fn the_lines_that_programs_look_for() {
    let (home, mut gateway) = running(json!({}));
    let (port, pid) = (gateway.port, gateway.pid());
    let target = format!("ws://127.0.0.1:{port}");
    let listening = format!("Listening: 127.0.0.1:{port}");
    let probe_target = format!("Probe target: {target}");
    let gateway_line = format!("Gateway: bind=loopback (127.0.0.1), port={port} (env/config)");
    let status = [
        "Service: systemd (disabled)\n",
        "File logs: ~/logs/openclaw-",
        "Config (cli): ~/.openclaw/openclaw.json\n",
        "Config (service): ~/.openclaw/openclaw.json\n",
        &gateway_line,
        &probe_target,
        "Dashboard: not served by this build\n",
        "Probe note: Loopback-only gateway; only local clients can connect.\n",
        "\nRuntime: unknown (",
        "\nRPC probe: ok\n",
        &listening,
        "Troubles: run openclaw status\n",
        "Troubleshooting: ",
    ];
    let probe = ["Gateway Status\nReachable: yes\nProbe budget: 3000ms\n", "Local loopback ws://", "· RPC: ok\n"];
    let health = [
        "Agents: main (default)\n",
        "Heartbeat interval: ",
        "Session store (main): ~/.openclaw/agents/main/sessions/sessions.json (0 entries)\n",
    ];
    let verbose = ["Gateway connection:\n  Gateway target: ws://", "  Source: local loopback\n", "Agents: main"];
    let overview = [
        "OpenClaw status\n\nOverview\n",
        "│ Gateway ",
        "reachable",
        "Security audit\n",
        "no sessions yet",
        "Next steps:",
    ];
    let all = [
        "OpenClaw status --all\n",
        "Diagnosis (read-only)",
        "✓ Config: ~/.openclaw",
        "✓ Gateway answers",
        "Pasteable debug report. Auth tokens redacted.\n",
    ];
    let table: &[(&str, &[&str])] = &[
        ("gateway status", &status),
        ("gateway status --deep", &status),
        ("gateway health", &["Gateway Health\nOK ("]),
        ("gateway probe", &probe),
        ("gateway call health", &["Gateway call: health\n{\n  \"ok\": true,"]),
        ("health", &health),
        ("health --verbose", &verbose),
        ("status", &overview),
        ("status --deep", &["Health\n", "│ Gateway │ reachable"]),
        ("status --all", &all),
        ("channels status", &["Gateway reachable.\n"]),
        (
            "sessions",
            &[
                "Session store: ~/.openclaw/agents/main/sessions/sessions.json\nSessions listed: 0\nNo sessions found.\n",
            ],
        ),
        (
            "agents list",
            &[
                "Agents:\n- main (default)\n  Workspace: ~/.openclaw/workspace\n  Agent dir: ~/",
                "Routing rules: 0\n  Routing: default (no explicit rules)\n",
            ],
        ),
        (
            "models list",
            &[
                "Model                                      Input      Ctx      Local Auth  Tags\nanthropic/claude-opus-4-6 ",
                " default\n",
            ],
        ),
        ("models list --plain", &["anthropic/claude-opus-4-6\n"]),
        ("devices list", &["Paired (1)\n", "│ Device ", "operator.pairing"]),
        ("system event --text hi", &["ok\n"]),
        ("system heartbeat last", &["null\n"]),
        ("system heartbeat disable", &["\"enabled\": false"]),
        ("system heartbeat enable", &["\"enabled\": true"]),
        ("config file", &["~/.openclaw/openclaw.json\n"]),
        ("config get gateway.mode", &["local\n"]),
        ("config get gateway.auth.token", &["__OPENCLAW_REDACTED__\n"]),
        ("config get gateway.auth --json", &["{\n  \"mode\": \"token\",\n  \"token\": \"__OPENCLAW_REDACTED__\"\n}\n"]),
        ("config validate", &["Config valid: ~/.openclaw/openclaw.json\n"]),
    ];
    for (line, texts) in table {
        // Whoever looks deeper finds the gateways of other tests.
        let out = if line.contains("--deep") { ends(&home, line, 0).0 } else { good(&home, line) };
        for text in *texts {
            assert!(out.contains(text), "openclaw {line}: no {text:?} in\n{out}");
        }
        assert!(!out.contains(TOKEN), "openclaw {line} shows the token");
        for row in out.lines().filter(|_| !line.starts_with("gateway call")) {
            // The words of a service manager are given as they come, and a tip as it was recorded.
            let given = ["Runtime: ", "Tip: if the gateway is remote, "].iter().any(|start| row.starts_with(start));
            let fits = row.chars().count() <= 80 || row.contains('/') || given;
            assert!(fits, "openclaw {line}: wider than 80 columns: {row}");
        }
    }
    assert!(good(&home, "logs").starts_with("Log file: /"));
    let stopped = good(&home, "gateway stop");
    assert_eq!(stopped, format!("Gateway stop signal sent to unmanaged process on port {port}: {pid}.\n"));
    assert_eq!(gateway.wait_exit().code(), Some(0));
    assert_eq!(good(&home, "gateway stop"), "Gateway service disabled.\n");
    assert!(good(&home, "gateway restart").starts_with("Gateway service disabled.\nStart with: openclaw gateway"));
}

#[test]
fn a_refusal_is_told_with_its_reason() {
    let (home, gateway) = running(json!({}));
    let port = gateway.port;
    let block = format!(
        "Gateway target: ws://127.0.0.1:{port}\nSource: local loopback\nConfig: ~/.openclaw/openclaw.json\nBind: loopback\n"
    );
    let mismatch = "unauthorized: gateway token mismatch (set gateway.remote.token to match gateway.auth.token)";
    let (out, err) = ends(&home, "gateway call health --token wrong", 1);
    assert_eq!(out, "");
    assert_eq!(
        err,
        format!(
            "gateway connect failed: GatewayClientRequestError: {mismatch}\nGateway call failed: Error: gateway closed (1008): {mismatch}\n{block}"
        )
    );
    let (out, err) = ends(&home, "gateway status --token wrong", 0);
    assert!(out.contains("Runtime: unknown") && !out.contains("RPC probe"), "{out}");
    assert!(
        err.contains(&format!(
            "RPC probe: failed\nRPC target: ws://127.0.0.1:{port}\n  gateway closed (1008): {mismatch}\n"
        )),
        "{err}"
    );
    assert!(err.contains(&format!("Port {port} is already in use.\n- pid {} ", gateway.pid())), "{err}");
    assert!(
        err.contains("- Gateway already running locally. Stop it (openclaw gateway stop) or use a different port."),
        "{err}"
    );
    ends(&home, "gateway status --token wrong --require-rpc", 1);
    let url = format!("ws://127.0.0.1:{port}");
    let (_, err) = ends(&home, &format!("gateway call health --url {url}"), 1);
    assert_eq!(
        err,
        "Gateway call failed: Error: gateway url override requires explicit credentials\n\
         Fix: pass --token or --password (or gatewayToken in tools).\nConfig: ~/.openclaw/openclaw.json\n"
    );
    good(&home, &format!("gateway call health --url {url} --token {TOKEN}"));
    let (_, err) = ends(&home, "gateway call health --url ws://192.0.2.1:1 --token x", 1);
    assert!(
        err.contains(
            "SECURITY ERROR: Gateway URL \"ws://192.0.2.1:1\" uses plaintext ws:// to a non-loopback address."
        ),
        "{err}"
    );
    for (line, text) in [
        (
            "gateway call no.such.method",
            "Gateway call failed: GatewayClientRequestError: unknown method: no.such.method\n",
        ),
        ("gateway call health --params {oops", "Gateway call failed: SyntaxError: "),
        (
            "gateway call chat.history --params {\"bogus\":1}",
            "Gateway call failed: GatewayClientRequestError: invalid chat.history params: ",
        ),
        ("config get gateway.nope", "Config path not found: gateway.nope\n"),
        ("agent --message hi", "Error: Pass --to <E.164>, --session-id, or --agent to choose a session\n"),
        ("devices approve", "No pending device pairing requests to approve\n"),
        ("devices clear", "Refusing to clear pairing table without --yes\n"),
        ("devices reject deadbeef", "devices reject failed: unknown requestId\n"),
        ("devices remove deadbeef", "devices remove failed: unknown deviceId\n"),
        ("devices rotate --device deadbeef --role operator", "devices rotate failed: unknown deviceId/role\n"),
        ("devices revoke --device deadbeef --role operator", "devices revoke failed: unknown deviceId/role\n"),
    ] {
        let (out, err) = ends(&home, line, 1);
        assert_eq!(out, "", "openclaw {line}");
        assert!(err.starts_with(text), "openclaw {line}: {err}");
    }
    drop(gateway);
    let closed = "gateway closed (1006 abnormal closure (no close frame)): no close reason";
    for (line, prefix) in [
        ("gateway call health", "Gateway call failed: Error: "),
        ("gateway health", "Error: "),
        ("health", "Health check failed: "),
        ("health --json", "Health check failed: "),
        ("devices list", "devices list failed: "),
        ("system presence", "Error: "),
        ("system event --text x", "Error: "),
        ("agent --agent main --message hi", "Error: "),
    ] {
        let (out, err) = ends(&home, line, 1);
        assert_eq!((out.as_str(), err), ("", format!("{prefix}{closed}\n{block}")), "openclaw {line}");
    }
    let (out, err) = ends(&home, "gateway status", 0);
    assert!(out.contains("Dashboard: not served by this build\n") && !out.contains("Listening:"), "{out}");
    assert!(err.contains(&format!("RPC probe: failed\nRPC target: ws://127.0.0.1:{port}\n  {closed}\n")), "{err}");
    assert!(!err.contains("already in use") && !err.contains("Another process"), "nobody has the port: {err}");
    ends(&home, "gateway status --require-rpc", 1);
    let (_, err) = ends(&home, "gateway status --require-rpc --no-probe", 1);
    assert_eq!(err, "Gateway status failed: --require-rpc cannot be used with --no-probe.\n");
    let (out, _) = ends(&home, "gateway probe", 1);
    assert!(
        out.contains("Reachable: no\n") && out.contains("Connect: failed - connect failed: connect ECONNREFUSED"),
        "{out}"
    );
    let (out, err) = ends(&home, "channels status", 0);
    assert!(out.contains("Gateway not reachable; showing config-only status.\n"), "{out}");
    assert!(err.starts_with(&format!("Gateway not reachable: Error: {closed}\n{block}")), "{err}");
    let (out, _) = ends(&home, "channels status --json", 0);
    let answer: Value = serde_json::from_str(&out).unwrap();
    assert!(answer["ok"] == false && answer["error"].as_str().is_some_and(|e| e.contains(closed)), "{out}");
    let (out, _) = ends(&home, "status", 0);
    assert!(out.contains("unreachable (connect failed"), "{out}");
    let (out, _) = ends(&home, "status --json", 0);
    assert_eq!(
        differences(&golden("status"), &serde_json::from_str(&out).unwrap()),
        ["+securityAudit.findings[].remediation"]
    );
    // The log is there all the same.
    let (out, err) = ends(&home, "logs --limit 5", 0);
    assert!(
        out.contains("listening on ws://") || out.contains("closed before connect") || out.contains("info "),
        "{out}"
    );
    assert!(err.starts_with(&format!("Gateway not reachable: {closed}\nReading the log file instead: ")), "{err}");
    // Nothing to fall back to.
    std::fs::read_dir(home.path().join("logs"))
        .unwrap()
        .for_each(|file| std::fs::remove_file(file.unwrap().path()).unwrap());
    let (out, err) = ends(&home, "logs", 1);
    assert_eq!(out, "");
    assert_eq!(
        err,
        format!("Gateway not reachable. Is it running and accessible?\n{block}Hint: run `openclaw doctor`.\n")
    );
    let (out, err) = ends(&home, "logs --json", 1);
    let error: Value = serde_json::from_str(&err).unwrap();
    assert_eq!(
        (out.as_str(), &error["type"], error["details"]["urlSource"].as_str()),
        ("", &json!("error"), Some("local loopback"))
    );
}

/// A device that is not on this machine, as far as the gateway can tell.
fn knock(port: u16, device: &Device) -> (Client, Value) {
    let mut client = Client::open_with(port, &[("X-Forwarded-For", "192.0.2.9")]);
    let answer = client.hello(&Hello::default(), Some(device));
    (client, answer)
}

#[test]
fn devices_come_and_go() {
    let (home, gateway) = running(json!({}));
    let port = gateway.port;
    let (device, other) = (Device::new(), Device::new());
    let (_waiting, answer) = knock(port, &device);
    assert_eq!(answer["error"]["code"], "NOT_PAIRED", "{answer}");
    let id = answer["error"]["details"]["requestId"].as_str().unwrap().to_owned();
    let listed = good(&home, "devices list");
    assert!(listed.contains("Pending (1)\n") && listed.contains("│ Request "), "{listed}");
    let json: Value = serde_json::from_str(&good(&home, "devices list --json")).unwrap();
    assert_eq!(json["pending"][0]["requestId"], id.as_str());
    assert_eq!(good(&home, "devices approve"), format!("Approved {} ({id})\n", device.id()));
    let (mut client, answer) = knock(port, &device);
    assert_eq!(answer["ok"], true, "{answer}");

    let line = format!("devices rotate --device {} --role operator --scope operator.read --json", device.id());
    let rotated: Value = serde_json::from_str(&good(&home, &line)).unwrap();
    assert!(rotated["token"].as_str().is_some_and(|token| token.len() > 20), "{rotated}");
    assert_eq!(rotated["scopes"], json!(["operator.read"]), "{rotated}");
    assert_eq!(client.end(), End::Close(1008, "device token rotated".into()));
    let revoked: Value =
        serde_json::from_str(&good(&home, &format!("devices revoke --device {} --role operator", device.id())))
            .unwrap();
    assert_eq!((&revoked["deviceId"], &revoked["role"]), (&json!(device.id()), &json!("operator")), "{revoked}");
    assert_eq!(good(&home, &format!("devices remove {}", device.id())), format!("Removed {}\n", device.id()));

    let (_waiting, answer) = knock(port, &device);
    let id = answer["error"]["details"]["requestId"].as_str().unwrap().to_owned();
    assert_eq!(good(&home, &format!("devices reject {id}")), format!("Rejected {}\n", device.id()));
    let _waiting = (knock(port, &device), knock(port, &other));
    let cleared = good(&home, "devices clear --yes --pending");
    assert_eq!(cleared, "Cleared 1 paired device(s)\nRejected 2 pending request(s)\n");
    // Our own device went with the others and is paired anew.
    assert!(good(&home, "devices list").starts_with("Paired (1)\n"));
}

/// A command whose output is watched while it runs.
struct Watched {
    child: Child,
    out: Arc<Mutex<String>>,
}

impl Watched {
    fn start(mut command: Command) -> Watched {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let out = Arc::<Mutex<String>>::default();
        let (mut pipe, into) = (child.stdout.take().unwrap(), out.clone());
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(n @ 1..) = pipe.read(&mut bytes) {
                into.lock().unwrap().push_str(&String::from_utf8_lossy(&bytes[..n]));
            }
        });
        Watched { child, out }
    }

    fn text(&self) -> String {
        self.out.lock().unwrap().clone()
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn logs_are_followed_over_a_restart() {
    let (home, gateway) = running(json!({}));
    let follower = Watched::start(home.command(&["logs", "--follow", "--interval", "100"]));
    wait_until("the first lines", || follower.text().contains("listening on ws://"));
    let restarted = good(&home, "gateway restart");
    let pid = gateway.pid();
    assert_eq!(
        restarted,
        format!("Gateway restart signal sent to unmanaged process on port {}: {pid}.\n", gateway.port)
    );
    ends(&home, "gateway call no.such.method", 1);
    wait_until("the line after the restart", || follower.text().contains("✗ no.such.method"));
    let text = follower.text();
    assert_eq!(text.matches("listening on ws://").count(), 2, "once before, once after:\n{text}");
    assert_eq!(text.matches("✗ no.such.method").count(), 1, "{text}");
    assert_eq!(text.matches("Log file: ").count(), 1, "{text}");
    for line in good(&home, "logs --json").lines() {
        let object: Value = serde_json::from_str(line).unwrap();
        assert!(["meta", "log", "raw"].contains(&object["type"].as_str().unwrap()), "{line}");
    }
    assert!(good(&home, "logs --json --limit 1").lines().count() == 2, "meta and one line");
}

#[test]
fn a_reader_of_logs_may_go_after_one_line() {
    let (home, _gateway) = running(json!({}));
    let file = std::fs::read_dir(home.path().join("logs")).unwrap().next().unwrap().unwrap().path();
    let line = r#"{"0":"{\"subsystem\":\"test\"}","1":"a line that fills the pipe a line that fills the pipe"}"#;
    let mut text = std::fs::read_to_string(&file).unwrap();
    (0..5000).for_each(|_| text += &format!("{line}\n"));
    std::fs::write(&file, text).unwrap();
    for arguments in [
        &["logs", "--limit", "5000", "--max-bytes", "1000000"][..],
        &["logs", "--json", "--limit", "5000", "--max-bytes", "1000000"],
    ] {
        let mut child = home.command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut first = String::new();
        BufReader::with_capacity(16, child.stdout.take().unwrap()).read_line(&mut first).unwrap();
        assert!(first.starts_with("Log file: ") || first.starts_with("{\"type\":\"meta\""), "{first}");
        let status = wait_for("the end of logs", || child.try_wait().unwrap());
        let mut err = String::new();
        child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
        assert_eq!(status.code(), Some(0), "{err}");
        assert!(!err.contains("panicked"), "{err}");
    }
}

#[test]
fn an_agents_answer() {
    let model = Model::start(vec![Play::words("one two three"), Play::Stall(vec!["first ".into(), "words ".into()])]);
    let (home, _gateway) = running(model.config());
    assert_eq!(good(&home, "agent --agent main --message hello"), "one two three\n");
    let stored: Value = serde_json::from_str(&good(&home, "sessions --json")).unwrap();
    assert_eq!((&stored["count"], &stored["sessions"][0]["key"]), (&json!(1), &json!("agent:main:main")), "{stored}");
    let item: Vec<&str> = stored["sessions"][0].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(
        item,
        "key updatedAt ageMs sessionId systemSent abortedLastRun inputTokens outputTokens totalTokens totalTokensFresh \
         model modelProvider contextTokens agentId kind"
            .split_whitespace()
            .collect::<Vec<_>>()
    );
    let listed = good(&home, "sessions");
    assert!(listed.contains("Kind   Key "), "{listed}");

    // A terminal sees the words while they come; a pipe waits for the end.
    let script = Watched::start(terminal(&home, "agent --agent main --message again"));
    wait_until("words of an answer that has not ended", || script.text().contains("first words"));
}

#[test]
fn an_answer_as_json() {
    let model = Model::start(vec![Play::words("one two three")]);
    let (home, _gateway) = running(model.config());
    let out = good(&home, "agent --agent main --message hello --json");
    let answer: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (&answer["status"], &answer["result"]["payloads"][0]["text"]),
        (&json!("ok"), &json!("one two three")),
        "{out}"
    );
}

#[test]
fn colours_belong_to_terminals() {
    let home = Home::new();
    home.configure(json!({}));
    let coloured = |command| stdout(&finish(command)).contains('\u{1b}');
    assert!(coloured(terminal(&home, "gateway status --no-probe")));
    assert!(!coloured(terminal(&home, "--no-color gateway status --no-probe")));
    let mut forced = home.command(&["gateway", "status", "--no-probe"]);
    forced.env("FORCE_COLOR", "1");
    assert!(coloured(forced));
    let mut refused = terminal(&home, "gateway status --no-probe");
    refused.env("NO_COLOR", "1");
    assert!(!coloured(refused));
}

/// The command below a terminal of its own: `script` belongs to every Debian.
fn terminal(home: &Home, line: &str) -> Command {
    let words = format!("{} {line}", env!("CARGO_BIN_EXE_openclaw"));
    let mut command = home.program("script", &["-qec", &words, "/dev/null"]);
    command.env("TERM", "xterm").env("SHELL", "/bin/sh");
    command
}

#[test]
fn a_gateway_that_says_nothing_is_given_up() {
    let home = Home::new();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    home.configure(json!({"gateway": {"port": port}}));
    let (_, err) = ends(&home, "gateway call health --timeout 100", 1);
    assert!(
        err.starts_with("Gateway call failed: Error: gateway timeout after 100ms\nGateway target: ws://127.0.0.1:"),
        "{err}"
    );
    let started = std::time::Instant::now();
    let (_, err) = ends(&home, "gateway probe --timeout 200", 1);
    assert!(started.elapsed() < Duration::from_secs(5), "{err}");
}

#[test]
fn the_readmes_first_command() {
    let home = Home::new();
    let port = free_port();
    let port_text = port.to_string();
    let with_port = |args: &[&str]| {
        let mut command = home.command(args);
        command.env("OPENCLAW_GATEWAY_PORT", &port_text);
        command
    };
    let arguments = ["--dev", "gateway", "--allow-unconfigured"];
    let mut gateway = Gateway::spawn_args(&home, port, &arguments, |c| {
        c.env("OPENCLAW_GATEWAY_PORT", &port_text);
    });
    gateway.wait_line("listening on ws://127.0.0.1:");
    gateway.wait_line("Dev config ready: ~/.openclaw-dev/openclaw.json");
    let said = |args: &[&str]| {
        let output = finish(with_port(args));
        assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(0), ""), "{args:?}");
        stdout(&output)
    };
    assert_eq!(said(&["--dev", "agent", "--agent", "dev", "-m", "hello"]), "[builtin/echo] hello\n");
    let status = said(&["--dev", "status"]);
    assert!(
        status.contains("│ Model           │ builtin/echo, an echo: no model provider"),
        "the echo is labelled:\n{status}"
    );
    assert!(said(&["--dev", "gateway", "status"]).contains("Troubles: run openclaw --profile dev status\n"));
    assert!(!home.config_path().exists(), "the default profile is left alone");
    assert_eq!(gateway.stop(), Some(0));
}

#[test]
fn an_error_of_the_provider_is_an_answer() {
    let model = Model::start(vec![Play::Status(401, r#"{"error":{"message":"bad key"}}"#.into(), Vec::new())]);
    let (home, _gateway) = running(model.config());
    let out = good(&home, "agent --agent main --message hello");
    assert!(out.contains("bad key"), "{out}");
}

#[test]
fn environment_and_configuration_choose_the_gateway() {
    let (home, gateway) = running(json!({"gateway": {"auth": {"mode": "password", "password": "correct horse"}}}));
    good(&home, "gateway call health");
    let run = |args: &[&str], name: &str, value: &str| {
        let mut command = home.command(args);
        command.env(name, value);
        let output = finish(command);
        (output.status.code(), stdout(&output), stderr(&output))
    };
    let call = &["gateway", "call", "health"];
    let (code, _, err) = run(call, "OPENCLAW_GATEWAY_PASSWORD", "wrong");
    assert_eq!(code, Some(1));
    assert!(err.contains("gateway closed (1008): unauthorized: gateway password mismatch ("), "{err}");
    assert!(!err.contains("wrong"), "{err}");
    // An address of the environment goes with secrets of the environment.
    let mut command = home.command(call);
    command.env("OPENCLAW_GATEWAY_URL", format!("ws://127.0.0.1:{}", gateway.port));
    command.env("OPENCLAW_GATEWAY_PASSWORD", "correct horse");
    assert_eq!(finish(command).status.code(), Some(0));
    let (code, _, err) = run(call, "OPENCLAW_GATEWAY_URL", "ws://127.0.0.1:9");
    assert_eq!(code, Some(1));
    assert!(err.contains("Gateway target: ws://127.0.0.1:9\nSource: env OPENCLAW_GATEWAY_URL\n"), "{err}");

    home.configure(json!({"gateway": {"mode": "remote"}}));
    let (_, err) = ends(&home, "gateway call health", 1);
    assert!(
        err.contains("gateway remote mode misconfigured: gateway.remote.url missing\nConfig: ~/.openclaw/openclaw.json\nFix: set gateway.remote.url, or set gateway.mode=local.\n"),
        "{err}"
    );
    home.configure(json!({"gateway": {"mode": "remote", "remote": {"url": "ws://127.0.0.1:9", "token": "t"}}}));
    let (_, err) = ends(&home, "gateway call health", 1);
    assert!(err.contains("Gateway target: ws://127.0.0.1:9\nSource: config gateway.remote.url\n"), "{err}");
    home.configure(json!({"gateway": {"port": gateway.port, "auth": {"mode": "password", "password": "correct horse"}}, "commands": {"restart": false}}));
    let (_, err) = ends(&home, "gateway restart", 1);
    assert!(err.contains("Gateway restart is disabled in the running gateway config (commands.restart=false); unmanaged SIGUSR1 restart would be ignored"), "{err}");
}
