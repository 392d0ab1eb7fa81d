//! First and last steps: completion in real shells, onboarding, the dashboard's address, reset, uninstall (cli 6).

use std::fs;
use std::io::{Read as _, Write as _};
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use openclaw::sys::process::{self, Sig};
use serde_json::{Value, json};

use crate::common::{Gateway, Home, finish, stderr, stdout, wait_until};

/// What bash, zsh or fish offers for a line; the word at its end is completed.
const BASH: &str = r#"source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
[[ $(complete -p openclaw) == 'complete -F _openclaw openclaw' ]] || exit 9
_openclaw "$1" "${!#}" "${COMP_WORDS[COMP_CWORD-1]}"; printf '%s\n' "${COMPREPLY[@]}""#;
/// zsh's own functions need an editor around them; these say what they are given.
const ZSH: &str = r#"compdef() { [[ $1 == _openclaw ]] || exit 9 }
_describe() { printf '%s\n' ${${(P)2}%%:*} | grep -e "^$PREFIX" }
compadd() { printf '%s\n' ${(P)@[-1]} | grep -e "^$PREFIX" }
_files() { print -l *(N) }
source "$1"; shift; words=("$@"); CURRENT=$#; PREFIX=$words[-1]; _openclaw"#;
const FISH: &str =
    r#"source $argv[1]; complete -C (string join -- ' ' openclaw $argv[3..-1]) | string replace -r '\t.*' ''"#;

fn offered(home: &Home, shell: &str, line: &[&str]) -> Vec<String> {
    let script = home.path().join(format!("script.{shell}"));
    if !script.exists() {
        let made = home.run(&["completion", "--shell", shell]);
        assert!(made.status.success() && stderr(&made).is_empty(), "{}", stderr(&made));
        fs::write(&script, &made.stdout).expect("a file");
    }
    let text = match shell {
        "bash" => BASH,
        "zsh" => ZSH,
        _ => FISH,
    };
    let program = env!("CARGO_BIN_EXE_openclaw");
    let mut args = vec!["-c", text];
    if shell != "fish" {
        args.push("test");
    }
    args.extend([script.to_str().expect("text"), program]);
    args.extend(line);
    let mut command = home.program(shell, &args);
    // fish calls the program by its name.
    let directory = std::path::Path::new(program).parent().expect("a directory").display().to_string();
    command.env("PATH", format!("{directory}:{}", std::env::var("PATH").unwrap_or_default())).current_dir(home.path());
    let output = finish(command);
    assert_eq!(stderr(&output), "", "{shell} {line:?}");
    let mut words: Vec<String> = stdout(&output).lines().filter(|line| !line.is_empty()).map(str::to_owned).collect();
    words.sort();
    words.dedup();
    words
}

fn completes(shell: &str) {
    let home = Home::new();
    for (line, wanted) in [
        (&["gatew"][..], &["gateway"][..]),
        (&["gateway", "stat"], &["status"]),
        (&["gateway", "--token", "run", "stat"], &["status"]),
        (&["--profile", "devices", "gateway", "status", "--require"], &["--require-rpc"]),
        (&["gateway", "status", "--for"], &["--force"]),
        (&["--log-level", "de"], &["debug"]),
        (&["devices", "rev"], &["revoke"]),
        (&["completion", "--shell", "fi"], &["fish"]),
        (&["onboard", "--gateway-auth", "p"], &["password"]),
        (&["reset", "--scope", "f"], &["full"]),
        (&["setup", "--mode", "r"], &["remote"]),
        (&["system", "event", "--mode", "n"], &["next-heartbeat", "now"]),
        (&["webhooks", "gmail", "setup", "--bind", "l"], &[]),
        (&["completion", "po"], &["powershell"]),
        (&["gateway", "call", "system-p"], &["system-presence"]),
        (&["config", "get", "gateway.r"], &["gateway.reload.", "gateway.remote."]),
        (&["config", "set", "gateway.po"], &["gateway.port"]),
        (&["gateway", "--port", "x"], &[]),
    ] {
        assert_eq!(offered(&home, shell, line), wanted, "{shell} {line:?}");
    }
    fs::create_dir(home.path().join("here")).expect("a directory");
    fs::write(home.path().join("here/pass word"), "").expect("a file");
    let files = offered(&home, shell, &["gateway", "--password-file", "he"]);
    assert!(files.iter().any(|file| file.trim_end_matches('/') == "here"), "{files:?}");
}

fn installed(shell: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(shell).is_file())
}

#[test]
fn completion_in_bash() {
    completes("bash");
}

#[test]
fn completion_in_zsh_where_it_is_installed() {
    if installed("zsh") {
        completes("zsh");
    }
}

#[test]
fn completion_in_fish_where_it_is_installed() {
    if installed("fish") {
        completes("fish");
    }
}

#[test]
fn completion_names_its_shells() {
    let home = Home::new();
    let wrong = home.run(&["completion", "--shell", "tcsh"]);
    assert_eq!(wrong.status.code(), Some(1));
    let wanted = "error: option '-s, --shell <shell>' argument 'tcsh' is invalid. Allowed choices are zsh, bash, \
                  powershell, fish.\n";
    assert_eq!(stderr(&wrong), wanted);
    assert_eq!(home.run(&["completion", "tcsh"]).status.code(), Some(1));
    assert!(stdout(&home.run(&["completion"])).starts_with("#compdef openclaw\n"));
    let power = stdout(&home.run(&["completion", "powershell"]));
    assert!(
        power.contains("Register-ArgumentCompleter") && power.contains("' gateway' = @('run', 'status'"),
        "{power}"
    );
}

#[test]
fn completion_is_installed_once_and_stays_fresh() {
    let home = Home::new();
    let start_up = home.path().join(".bashrc");
    fs::write(&start_up, "alias l=ls").expect("a file");
    let nobody = home.run(&["completion", "--install", "-s", "bash"]);
    assert_eq!(nobody.status.code(), Some(1));
    assert!(stderr(&nobody).contains("openclaw completion --install --yes"), "{}", stderr(&nobody));
    assert_eq!(fs::read_to_string(&start_up).expect("a file"), "alias l=ls");
    let first = home.run(&["completion", "--install", "-s", "bash", "-y"]);
    assert_eq!(stdout(&first), "Added completion to ~/.bashrc. New bash shells complete openclaw.\n");
    let text = fs::read_to_string(&start_up).expect("a file");
    let script = home.state().join("completions/openclaw.bash");
    let line = format!("[ -f '{0}' ] && . '{0}'", script.display());
    assert_eq!(text, format!("alias l=ls\n\n# OpenClaw completion\n{line}\n"));
    fs::write(&script, "old").expect("a file");
    let second = home.run(&["completion", "--install", "-s", "bash", "-y"]);
    assert!(stdout(&second).starts_with("Completion is installed already in ~/.bashrc"), "{}", stdout(&second));
    assert_eq!(fs::read_to_string(&start_up).expect("a file"), text);
    assert_eq!(fs::read(&script).expect("a script"), home.run(&["completion", "bash"]).stdout);
    let loaded = home.program("bash", &["-c", ". ~/.bashrc; complete -p openclaw"]);
    assert_eq!(stdout(&finish(loaded)), "complete -F _openclaw openclaw\n");
    // The shell of the person.
    let mut fish = home.command(&["completion", "--install", "--yes"]);
    fish.env("SHELL", "/usr/bin/fish");
    assert!(finish(fish).status.success());
    assert!(home.path().join(".config/fish/completions/openclaw.fish").is_file());
}

#[test]
fn completion_scripts_of_all_shells_in_the_state_directory() {
    let home = Home::new();
    let output = home.run(&["completion", "--write-state"]);
    assert_eq!(stdout(&output).lines().count(), 4);
    for name in ["zsh", "bash", "fish", "ps1"] {
        let path = home.state().join(format!("completions/openclaw.{name}"));
        assert!(fs::metadata(&path).expect(name).len() > 1000, "{name}");
    }
}

// ── onboard and configure ──────────────────────────────────────────────────────────────────────────────

fn config(home: &Home) -> Value {
    serde_json::from_str(&fs::read_to_string(home.config_path()).expect("a configuration")).expect("JSON")
}

#[test]
fn onboarding_without_questions() {
    let home = Home::new();
    let risk = home.run(&["onboard", "--non-interactive"]);
    assert_eq!(risk.status.code(), Some(1));
    assert_eq!(
        stderr(&risk),
        "Non-interactive onboarding requires explicit risk acknowledgement.\nRead: https://docs.openclaw.ai/security\n\
         Re-run with: openclaw onboard --non-interactive --accept-risk ...\n"
    );
    let nobody = home.run(&["onboard"]);
    assert!(
        nobody.status.code() == Some(1) && stderr(&nobody).contains("no terminal to ask on"),
        "{}",
        stderr(&nobody)
    );
    assert!(!home.config_path().exists());
    let line = "onboard --non-interactive --accept-risk --mode local --auth-choice skip --gateway-port 21150 \
                --skip-health --skip-channels --skip-skills --skip-ui --no-install-daemon --json";
    let output = home.run(&line.split_whitespace().collect::<Vec<_>>());
    assert!(output.status.success(), "{}", stderr(&output));
    let told: Value = serde_json::from_slice(&output.stdout).expect("one JSON document and nothing else");
    let workspace = home.state().join("workspace");
    assert_eq!(
        told,
        json!({
            "ok": true, "mode": "local", "workspace": workspace, "authChoice": "skip",
            "gateway": {"port": 21150, "bind": "loopback", "authMode": "token", "tailscaleMode": "off"},
            "installDaemon": false, "skipSkills": true, "skipHealth": true,
        })
    );
    let written = config(&home);
    for (path, value) in [
        ("/wizard/lastRunCommand", json!("onboard")),
        ("/wizard/lastRunMode", json!("local")),
        ("/tools/profile", json!("coding")),
        ("/session/dmScope", json!("per-channel-peer")),
        ("/agents/defaults/workspace", json!(workspace)),
        ("/gateway/mode", json!("local")),
        ("/gateway/auth/mode", json!("token")),
        ("/gateway/tailscale", json!({"mode": "off", "resetOnExit": false})),
    ] {
        assert_eq!(written.pointer(path), Some(&value), "{path}");
    }
    let token = written["gateway"]["auth"]["token"].as_str().expect("a token").to_owned();
    assert!(token.len() == 48 && !stdout(&output).contains(&token) && !stderr(&output).contains(&token));
    // Again, with another port: what is there stays.
    let again =
        home.run(&["onboard", "--non-interactive", "--accept-risk", "--gateway-port", "21151", "--install-daemon"]);
    assert!(again.status.success(), "{}", stderr(&again));
    assert!(stdout(&again).starts_with("Updated ~/.openclaw/openclaw.json\nWorkspace OK: ~/.openclaw/workspace\n"));
    assert!(stdout(&again).to_lowercase().contains("service"), "{}", stdout(&again));
    let now = config(&home);
    assert_eq!((&now["gateway"]["port"], &now["gateway"]["auth"]["token"]), (&json!(21151), &json!(token)));
    let mut gateway = Gateway::start(&home, &[]);
    assert!(!gateway.output().contains("auth token was missing"));
    assert_eq!(gateway.stop(), Some(0));
}

#[test]
fn onboarding_ends_with_a_look_at_the_gateway() {
    let home = Home::new();
    let port = crate::common::free_port().to_string();
    let base = ["onboard", "--non-interactive", "--accept-risk", "--gateway-port", &port];
    let url = format!("ws://127.0.0.1:{port}");
    // Nobody has started it: that is said, and is no mistake.
    let output = home.run(&base);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let said = stdout(&output);
    assert!(
        said.contains(&format!("Gateway not reachable at {url}: ")) && said.contains("Start it: openclaw gateway, "),
        "{said}"
    );
    assert!(said.ends_with("Next: openclaw gateway, then openclaw dashboard\n"), "{said}");
    let health = |more: &[&str]| -> Value {
        let output = home.run(&[&base[..], &["--json"], more].concat());
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        let told: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert_eq!(told["ok"], true);
        told["health"].clone()
    };
    let seen = health(&[]);
    assert_eq!((&seen["reachable"], &seen["url"]), (&json!(false), &json!(url)));
    assert!(
        seen["error"].as_str().is_some_and(|why| why.contains("ECONNREFUSED")) && seen["hint"].is_string(),
        "{seen}"
    );
    assert_eq!(health(&["--skip-health"]), Value::Null);
    let mut gateway = Gateway::spawn_args(&home, port.parse().expect("a port"), &["gateway"], |_| {});
    gateway.wait_line("listening on ws://");
    assert_eq!(health(&[]), json!({"reachable": true, "url": url}));
    let said = stdout(&home.run(&base));
    assert!(said.contains(&format!("\nGateway reachable at {url}.\nNext: openclaw status, ")), "{said}");
    assert!(!stdout(&home.run(&[&base[..], &["--skip-health"]].concat())).contains("reachable"));
    // Who listens there and is not it.
    assert_eq!(gateway.stop(), Some(0));
    let stranger = Home::new();
    stranger.configure(json!({}));
    let other = Gateway::spawn_args(&stranger, 0, &["gateway", "--port", &port], |_| {});
    other.wait_line("listening on ws://");
    let seen = health(&[]);
    assert!(seen["reachable"] == false && seen["hint"].to_string().contains("does not take this token"), "{seen}");
    // The gateway of another machine is asked, too.
    let far = Home::new();
    let remote = [
        "onboard",
        "--non-interactive",
        "--accept-risk",
        "--json",
        "--remote-url",
        &url,
        "--remote-token",
        crate::common::TOKEN,
    ];
    let output = far.run(&remote);
    let told: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(told["health"], json!({"reachable": true, "url": url}), "{}", stderr(&output));
}

#[test]
fn onboarding_with_a_provider_a_password_and_wrong_words() {
    let home = Home::new();
    let base = ["onboard", "--non-interactive", "--accept-risk"];
    for (more, why) in [
        ("--gateway-bind moon", "Invalid --gateway-bind \"moon\""),
        ("--gateway-port 0", "Invalid port"),
        ("--auth-choice apiKey", "needs the key"),
        ("--auth-choice telepathy", "Invalid --auth-choice"),
        ("--gateway-auth password", "needs a password"),
        ("--tailscale funnel", "needs --gateway-auth password"),
        ("--mode remote", "--remote-url"),
        ("--custom-base-url ftp://x --custom-model-id m", "is no address"),
        ("--reset-scope everything", "Invalid --scope"),
        ("--gateway-bind custom", "gateway.customBindHost"),
        ("--gateway-auth token --gateway-password hunter22", "is for --gateway-auth password"),
        ("--gateway-auth password --gateway-password hunter22 --gateway-token x", "either that or the password"),
        ("--gateway-token-ref-env lower", "no name of a variable"),
        ("--mode remote --remote-url http://box", "not a gateway address"),
        ("--mode remote --remote-url ws://192.0.2.9:18789", "is not encrypted"),
        ("--mode remote --remote-url wss://box.example --install-daemon", "is for --mode local"),
    ] {
        let args: Vec<&str> = base.iter().copied().chain(more.split(' ')).collect();
        let output = home.run(&args);
        assert_eq!(output.status.code(), Some(1), "{more}");
        assert!(stderr(&output).contains(why), "{more}: {}", stderr(&output));
        assert!(!home.config_path().exists(), "{more}");
    }
    let more =
        "--gateway-password hunter22 --custom-base-url http://127.0.0.1:1/v1/ --custom-model-id m1 --custom-api-key k";
    let args: Vec<&str> = base.iter().copied().chain(more.split(' ')).collect();
    let output = home.run(&args);
    assert!(output.status.success(), "{}", stderr(&output));
    let written = config(&home);
    assert_eq!(written["gateway"]["auth"], json!({"mode": "password", "password": "hunter22"}));
    assert_eq!(written["models"]["providers"]["custom"]["baseUrl"], "http://127.0.0.1:1/v1");
    assert_eq!(written["agents"]["defaults"]["model"]["primary"], "custom/m1");
    assert!(stdout(&home.run(&["config", "validate"])).starts_with("Config valid"));
    // Begin again: what was there is kept.
    let key = ["--reset", "--anthropic-api-key", "sk-ant-x", "--openai-api-key", "sk-y"];
    let output = home.run(&[&base[..], &key[..]].concat());
    assert!(stdout(&output).starts_with("Moved ~/.openclaw/openclaw.json to ~/.openclaw/openclaw.json.reset-"));
    assert_eq!(config(&home)["env"]["vars"], json!({"ANTHROPIC_API_KEY": "sk-ant-x", "OPENAI_API_KEY": "sk-y"}));
    assert_eq!(config(&home)["gateway"]["auth"]["mode"], "token");
}

/// Answers on a terminal of its own (`script` of util-linux makes one).
fn on_a_terminal(home: &Home, args: &str, answers: &str) -> String {
    let line = format!("{} {args}", env!("CARGO_BIN_EXE_openclaw"));
    let mut command = home.program("script", &["-qec", &line, "/dev/null"]);
    let file = home.path().join("answers");
    fs::write(&file, answers).expect("a file");
    command.stdin(fs::File::open(&file).expect("a file"));
    let output = finish(command);
    assert!(output.status.success(), "{}", stdout(&output));
    stdout(&output).replace('\r', "")
}

#[test]
fn onboarding_asks_a_person() {
    let home = Home::new();
    // Risk, mode, workspace, a wrong and a right port, who, how, token, models, service.
    let said = on_a_terminal(&home, "onboard", "y\nlocal\n~/agent\nmany\n21152\n1\ntoken\nmy-own-token\nskip\nn\n");
    assert!(said.contains("Port of the gateway? [18789]") && said.contains("A number from 1 to 65535."), "{said}");
    assert!(said.contains("Wrote ~/.openclaw/openclaw.json") && said.contains("Workspace OK: ~/agent"), "{said}");
    let written = config(&home);
    assert_eq!(written["gateway"]["port"], 21152);
    assert_eq!(written["gateway"]["auth"], json!({"mode": "token", "token": "my-own-token"}));
    assert_eq!(written["agents"]["defaults"]["workspace"], home.path().join("agent").display().to_string());
    // One part of it again.
    let said = on_a_terminal(&home, "configure --section gateway", "21153\n\n\n\n");
    assert!(said.contains("Updated ~/.openclaw/openclaw.json") && !said.contains("Directory of the agent"), "{said}");
    let now = config(&home);
    assert_eq!((&now["gateway"]["port"], &now["gateway"]["auth"]["token"]), (&json!(21153), &json!("my-own-token")));
    assert_eq!(now["wizard"]["lastRunCommand"], "configure");
    let wrong = home.run(&["configure", "--section", "moon"]);
    assert!(stderr(&wrong).contains("Sections: workspace, model, gateway, daemon"), "{}", stderr(&wrong));
    let nobody = home.run(&["configure"]);
    assert!(nobody.status.code() == Some(1) && stderr(&nobody).contains("no terminal to ask on"));
}

/// Whether a terminal shows what is typed.
fn echoes(home: &Home, terminal: &str) -> bool {
    let shown = stdout(&finish(home.program("stty", &["-a", "-F", terminal])));
    assert!(shown.contains("echo "), "{shown}");
    !shown.contains(" -echo ")
}

#[test]
fn a_hidden_question_that_is_broken_off_leaves_a_terminal_that_shows_what_is_typed() {
    let home = Home::new();
    home.configure(json!({}));
    let script = home.path().join("ask.sh");
    let lines = format!(
        "trap : INT QUIT\ntrap '' TSTP\ntty > tty\nsh -c 'echo $$ > pid; trap - INT QUIT; exec {} configure --section gateway'\n\
         code=$?\ncase $(stty -a) in *' -echo '*) echo hides ;; *) echo echoes ;; esac\necho ended with $code\n",
        env!("CARGO_BIN_EXE_openclaw")
    );
    fs::write(&script, lines).expect("a script");
    for (how, code) in [("ctrl-c", 130), ("ctrl-z", 130), ("ctrl-backslash", 131), ("SIGTERM", 143)] {
        for name in ["tty", "pid"] {
            let _ = fs::remove_file(home.path().join(name));
        }
        let mut command = home.program("script", &["-qec", "exec sh ask.sh", "/dev/null"]);
        command.current_dir(home.path()).stdin(Stdio::piped());
        let mut child = command.stdout(Stdio::piped()).spawn().expect("script");
        let mut keys = child.stdin.take().expect("a pipe");
        let said = Arc::new(Mutex::new(String::new()));
        let reader = {
            let (mut from, said) = (child.stdout.take().expect("a pipe"), said.clone());
            std::thread::spawn(move || {
                let mut piece = [0; 256];
                while let Ok(read) = from.read(&mut piece)
                    && read > 0
                {
                    said.lock().expect("a text").push_str(&String::from_utf8_lossy(&piece[..read]));
                }
            })
        };
        let says = |text: &str| said.lock().expect("a text").contains(text);
        for question in ["Port of the gateway?", "Who may reach it?", "How do clients show"] {
            wait_until(question, || says(question));
            keys.write_all(b"\n").expect("a key");
        }
        wait_until("the hidden question", || says("(not shown)"));
        let read = |name: &str| fs::read_to_string(home.path().join(name)).expect(name).trim().to_owned();
        let (terminal, pid) = (read("tty"), read("pid").parse::<u32>().expect("a pid"));
        wait_until("the terminal to hide", || !echoes(&home, &terminal));
        match how {
            "ctrl-c" => keys.write_all(b"\x03").expect("a key"),
            "ctrl-backslash" => keys.write_all(b"\x1c").expect("a key"),
            "SIGTERM" => process::signal(pid, Sig::Term).expect("our own"),
            _ => {
                keys.write_all(b"\x1a").expect("a key");
                wait_until("the terminal of the stopped one to show", || echoes(&home, &terminal));
                assert!(process::alive(pid) && !says("ended with"));
                let goes_on = home.program("sh", &["-c", &format!("kill -CONT {pid}")]);
                assert!(finish(goes_on).status.success());
                wait_until("the terminal to hide again", || !echoes(&home, &terminal));
                keys.write_all(b"\x03").expect("a key");
            }
        }
        wait_until(how, || {
            said.lock().expect("a text").split_once("ended with ").is_some_and(|(_, rest)| rest.contains('\n'))
        });
        let text = said.lock().expect("a text").replace('\r', "");
        assert!(text.contains(&format!("ended with {code}\n")), "{how}: {text}");
        // The terminal is gone with `script`, so the shell in it has looked.
        assert!(text.contains("\nechoes\n"), "{how}: {text}");
        drop(keys);
        child.wait().expect("script");
        reader.join().expect("a reader");
    }
}

// ── dashboard, usage, update ───────────────────────────────────────────────────────────────────────────

#[test]
fn the_dashboards_address_the_cost_and_the_update() {
    let home = Home::new();
    home.configure(json!({"gateway": {"port": 21120, "auth": {"token": "secret-token-0123456789"}}}));
    let output = home.run(&["dashboard", "--no-open"]);
    assert_eq!(
        stdout(&output),
        "Dashboard URL: http://127.0.0.1:21120/#token=secret-token-0123456789\nCopy to clipboard unavailable.\n\
         Browser launch disabled (--no-open). Use the URL above.\n"
    );
    let down = home.run(&["gateway", "usage-cost"]);
    assert_eq!(down.status.code(), Some(1));
    assert!(stderr(&down).starts_with("Gateway usage cost failed: Error: gateway closed (1006"), "{}", stderr(&down));
    let gateway = Gateway::start(&home, &[]);
    let port = gateway.port.to_string();
    let mut command = home.command(&["gateway", "usage-cost"]);
    command.env("OPENCLAW_GATEWAY_PORT", &port);
    assert_eq!(stdout(&finish(command)), "Usage cost (30 days)\nTotal: $0.0000 · 0 tokens\n");
    let mut command = home.command(&["gateway", "usage-cost", "--json", "--days", "2"]);
    command.env("OPENCLAW_GATEWAY_PORT", &port);
    let told: Value = serde_json::from_slice(&finish(command).stdout).expect("JSON");
    assert_eq!((&told["days"], &told["totals"]["totalTokens"]), (&json!(3), &json!(0)));
    assert!(stdout(&home.run(&["update", "status"])).starts_with("OpenClaw 2026.3.13+rs."));
    let told: Value = serde_json::from_slice(&home.run(&["update", "status", "--json"]).stdout).expect("JSON");
    assert_eq!((&told["update"]["installKind"], &told["availability"]["available"]), (&json!("binary"), &json!(false)));
}

/// The default layout: the workspace lies in the state directory, which may be a link to another disk or have an old name.
#[test]
fn an_uninstall_keeps_workspaces_and_follows_a_link_to_the_gateways_own_disk() {
    let home = Home::new();
    home.run(&["setup"]);
    fs::create_dir(home.state().join("workspace-second")).expect("a directory");
    let output = home.run(&["uninstall", "--state", "--yes", "--non-interactive"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let mut left: Vec<_> = fs::read_dir(home.state()).expect("a directory").flatten().map(|e| e.file_name()).collect();
    left.sort();
    assert_eq!(left, ["workspace", "workspace-second"]);
    assert!(home.state().join("workspace/SOUL.md").is_file());

    for (disk, named) in [("usb-openclaw", true), ("usb", false)] {
        let home = Home::new();
        let real = home.path().join(disk);
        fs::create_dir(&real).expect("a directory");
        std::os::unix::fs::symlink(&real, home.state()).expect("a link");
        std::os::unix::fs::symlink(".openclaw", home.path().join(".clawdbot")).expect("a link");
        home.run(&["setup"]);
        let reset = home.run(&["reset", "--scope", "full", "--yes"]);
        assert!(reset.status.success(), "{}", stderr(&reset));
        assert!(real.is_dir() && !home.config_path().exists(), "the link still leads to an empty place");
        assert!(home.run(&["setup"]).status.success());
        let output = home.run(&["uninstall", "--all", "--yes"]);
        assert!(output.status.success(), "{}", stderr(&output));
        for link in [".openclaw", ".clawdbot"] {
            assert!(fs::symlink_metadata(home.path().join(link)).is_err(), "{link}");
        }
        assert_eq!(real.exists(), !named, "{disk}");
        let said = format!("Left alone: ~/{disk}, where ~/.openclaw leads to;");
        assert_eq!(stderr(&output).contains(&said), !named, "{}", stderr(&output));
    }

    // A configuration elsewhere goes with its copies, which hold the same token.
    let home = Home::new();
    let etc = home.path().join("etc");
    fs::create_dir(&etc).expect("a directory");
    for args in [&["setup"][..], &["config", "set", "gateway.port", "18999"], &["uninstall", "--all", "--yes"]] {
        let mut command = home.command(args);
        command.env("OPENCLAW_CONFIG_PATH", etc.join("claw.json"));
        assert!(finish(command).status.success(), "{args:?}");
    }
    assert_eq!(fs::read_dir(&etc).expect("a directory").count(), 0);
}

// ── reset and uninstall ────────────────────────────────────────────────────────────────────────────────

#[test]
fn reset_and_uninstall_guard_and_say_what_they_would_do() {
    let home = Home::new();
    home.run(&["setup"]);
    for args in [&["reset", "--non-interactive"][..], &["uninstall", "--non-interactive"]] {
        let output = home.run(args);
        assert_eq!(
            (output.status.code(), stderr(&output).as_str()),
            (Some(1), "Non-interactive mode requires --yes.\n")
        );
    }
    let scope = home.run(&["reset", "--non-interactive", "--yes"]);
    assert_eq!(stderr(&scope), "Non-interactive mode requires --scope.\n");
    let dry = home.run(&["reset", "--dry-run", "--scope", "full", "--yes", "--non-interactive"]);
    assert_eq!(
        stdout(&dry),
        "Recommended first: openclaw backup create\n[dry-run] stop gateway service\n[dry-run] remove ~/.openclaw\n\
         [dry-run] remove ~/.openclaw/workspace\nNext: openclaw onboard --install-daemon\n"
    );
    let dry = home.run(&["uninstall", "--all", "--dry-run", "--yes", "--non-interactive"]);
    assert!(stdout(&dry).starts_with(
        "Recommended first: openclaw backup create\n[dry-run] remove gateway service\n[dry-run] remove ~/.openclaw\n\
         [dry-run] remove ~/.openclaw/workspace\nCLI still installed."
    ));
    assert!(home.config_path().exists());
    // A variable that points to the wrong place.
    fs::create_dir(home.path().join("photos")).expect("a directory");
    for wrong in ["/", "~", "~/photos"] {
        for args in [&["uninstall", "--all", "--yes"][..], &["reset", "--scope", "full", "--yes"]] {
            let mut command = home.command(args);
            command.env("OPENCLAW_STATE_DIR", wrong);
            let output = finish(command);
            assert_eq!(output.status.code(), Some(1), "{wrong}");
            assert!(stderr(&output).contains("no state directory of a gateway"), "{wrong}: {}", stderr(&output));
        }
    }
    assert!(home.path().join("photos").is_dir());
}

#[test]
fn reset_moves_aside_and_uninstall_removes_only_its_own() {
    let home = Home::new();
    home.run(&["setup", "--workspace", "~/agent"]);
    fs::create_dir_all(home.state().join("credentials")).expect("a directory");
    let mut gateway = Gateway::start(&home, &[]);
    let dry = home.run(&["reset", "--scope", "config", "--yes", "--dry-run"]);
    assert!(stdout(&dry).contains("[dry-run] stop gateway service\n"), "{}", stdout(&dry));
    let output = home.run(&["reset", "--scope", "config+creds+sessions", "--yes"]);
    assert!(output.status.success(), "{}{}", stdout(&output), stderr(&output));
    assert_eq!(gateway.wait_exit().code(), Some(0), "a gateway on that state is stopped");
    assert!(!home.config_path().exists() && !home.state().join("credentials").exists());
    let names: Vec<String> = fs::read_dir(home.state())
        .expect("a directory")
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    assert!(names.iter().any(|name| name.starts_with("openclaw.json.reset-")), "{names:?}");
    home.run(&["setup", "--workspace", "~/agent"]);
    home.run(&["--dev", "setup"]);
    let shared = home.run(&["uninstall", "--all", "--yes"]);
    assert!(stderr(&shared).contains("workspace of profile \"dev\"; nothing was changed"), "{}", stderr(&shared));
    let other = home.run(&["--dev", "uninstall", "--workspace", "--yes"]);
    assert!(stdout(&other).contains("Removed ~/.openclaw/workspace-dev\n"), "{}{}", stdout(&other), stderr(&other));
    // Another state directory of the default profile does not own the default one's workspace.
    fs::create_dir_all(home.state().join("workspace")).expect("a directory");
    let mut command = home.command(&["uninstall", "--all", "--yes"]);
    command.env("OPENCLAW_STATE_DIR", home.path().join("openclaw-second"));
    fs::create_dir(home.path().join("openclaw-second")).expect("a directory");
    assert!(stderr(&finish(command)).contains("Left alone: ~/.openclaw/workspace"));
    assert!(home.state().join("workspace").is_dir() && !home.path().join("openclaw-second").exists());
    let output = home.run(&["uninstall", "--all", "--yes"]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(stdout(&output).contains("Removed ~/.openclaw\n"), "{}", stdout(&output));
    assert!(stderr(&output).contains("Left alone: ~/agent"), "{}", stderr(&output));
    assert!(!home.state().exists() && home.path().join("agent/SOUL.md").is_file());
    assert!(home.path().join(".openclaw-dev/openclaw.json").is_file());
}
