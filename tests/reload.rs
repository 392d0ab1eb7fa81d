//! Changes of the configuration while the gateway runs: every row of the reload table in every mode, every way in which
//! editors write a file, and what must never be taken for a configuration.

use std::fs::{self, File, FileTimes};
use std::io::Write as _;
use std::path::Path;
use std::thread;
use std::time::{Duration, SystemTime};

use openclaw::sys::process::Sig;
use serde_json::{Value, json};

use crate::common::client::{Client, End, Hello};
use crate::common::model::{Model, Play};
use crate::common::{Gateway, Home, TOKEN, merge, wait_for, wait_until};

pub const LISTENING: &str = "] listening on ws://";
const SKIPPED: &str = "[reload] config reload skipped ";

/// The file as it is written by a plain `>`: cut, then filled.
fn write(home: &Home, config: &Value) {
    home.write_config(&config.to_string());
}

/// A configuration that changes without a restart, no quiet time before it is read, and one agent with this name.
pub fn named(name: &str) -> Value {
    json!({
        "gateway": {"mode": "local", "auth": {"mode": "token", "token": TOKEN}, "reload": {"debounceMs": 0}},
        "agents": {"list": [{"id": "main", "name": name}]},
    })
}

/// What the running gateway calls its agent.
pub fn name_in_force(client: &mut Client) -> String {
    client.call("agents.list", json!({}))["agents"][0]["name"].as_str().unwrap_or_default().to_owned()
}

pub fn wait_name(client: &mut Client, name: &str) {
    wait_until(&format!("the name {name}"), || name_in_force(client) == name);
}

/// A running gateway whose agent is called `first`, and a client.
pub fn start(home: &Home, config: &Value) -> (Gateway, Client) {
    write(home, config);
    let gateway = Gateway::start(home, &[]);
    let client = Client::connect(gateway.port);
    (gateway, client)
}

/// Waits until the gateway has said one more line with this text than `before`.
fn wait_more(gateway: &Gateway, text: &str, before: usize) {
    wait_until(&format!("one more line with {text:?}"), || gateway.count_lines(text) > before);
}

// ── The table ──────────────────────────────────────────────────────────────────────────────────────────────

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Dynamic,
    Hot,
    Restart,
}
use Class::{Dynamic, Hot, Restart};

/// A key, two values for it, and what a change of it needs (config A5).
fn rows() -> Vec<(&'static str, Value, Value, Class)> {
    let agent = |name: &str| json!([{"id": "main", "name": name}]);
    vec![
        ("gateway.remote.url", json!("ws://a.example"), json!("ws://b.example"), Dynamic),
        ("gateway.reload.debounceMs", json!(0), json!(1), Dynamic),
        ("gateway.channelHealthCheckMinutes", json!(5), json!(7), Hot),
        ("diagnostics.stuckSessionWarnMs", json!(1000), json!(2000), Dynamic),
        ("hooks.gmail.label", json!("a"), json!("b"), Hot),
        ("hooks.path", json!("/hooks"), json!("/other"), Hot),
        ("agents.defaults.heartbeat.every", json!("30m"), json!("10m"), Hot),
        ("agents.defaults.models", json!({}), json!({"a/b": {"alias": "x"}}), Hot),
        ("agents.defaults.model.primary", json!("anthropic/a"), json!("anthropic/b"), Hot),
        ("models.mode", json!("merge"), json!("replace"), Hot),
        ("cron.maxConcurrentRuns", json!(1), json!(2), Hot),
        ("browser.headless", json!(false), json!(true), Hot),
        ("channels.telegram.name", json!("a"), json!("b"), Hot),
        ("channels.discord.name", json!("a"), json!("b"), Hot),
        ("channels.slack.name", json!("a"), json!("b"), Hot),
        ("channels.irc.name", json!("a"), json!("b"), Hot),
        ("channels.signal.name", json!("a"), json!("b"), Hot),
        ("meta.lastTouchedAt", json!("2026-01-01T00:00:00Z"), json!("2026-01-02T00:00:00Z"), Dynamic),
        ("wizard.lastRunAt", json!("2026-01-01T00:00:00Z"), json!("2026-01-02T00:00:00Z"), Dynamic),
        ("logging.redactPatterns", json!(["abc"]), json!(["abd"]), Dynamic),
        ("agents.list", agent("a"), agent("b"), Dynamic),
        ("agents.defaults.timeoutSeconds", json!(600), json!(601), Dynamic),
        ("tools.profile", json!("full"), json!("coding"), Dynamic),
        ("bindings", json!([]), json!([{"agentId": "main", "match": {"channel": "telegram"}}]), Dynamic),
        ("audio.transcription", json!({"command": ["a"]}), json!({"command": ["b"]}), Dynamic),
        ("messages.messagePrefix", json!("a"), json!("b"), Dynamic),
        ("session.idleMinutes", json!(10), json!(20), Dynamic),
        ("talk.voiceId", json!("a"), json!("b"), Dynamic),
        ("skills.install.nodeManager", json!("npm"), json!("pnpm"), Dynamic),
        ("secrets.resolution.maxProviderConcurrency", json!(4), json!(5), Dynamic),
        ("ui.seamColor", json!("#111111"), json!("#222222"), Dynamic),
        ("plugins.enabled", json!(true), json!(false), Restart),
        ("gateway.port", json!(18789), json!(18790), Restart),
        ("gateway.trustedProxies", json!(["10.0.0.1"]), json!(["10.0.0.2"]), Restart),
        ("gateway.auth.rateLimit.maxAttempts", json!(10), json!(11), Restart),
        ("discovery.mdns.mode", json!("minimal"), json!("off"), Restart),
        ("canvasHost.liveReload", json!(true), json!(false), Restart),
        ("commands.text", json!(true), json!(false), Restart),
        ("env.vars.A_VARIABLE", json!("a"), json!("b"), Restart),
        ("approvals.exec.enabled", json!(false), json!(true), Restart),
        ("update.checkOnStart", json!(true), json!(false), Restart),
        ("media.ttlHours", json!(1), json!(2), Restart),
        ("auth.cooldowns.billingMaxHours", json!(24), json!(25), Restart),
        ("memory.citations", json!("auto"), json!("off"), Restart),
        ("broadcast.strategy", json!("parallel"), json!("sequential"), Restart),
        ("cli.banner.taglineMode", json!("random"), json!("off"), Restart),
        ("acp.enabled", json!(false), json!(true), Restart),
        ("nodeHost.browserProxy.enabled", json!(true), json!(false), Restart),
        ("web.enabled", json!(true), json!(false), Restart),
        ("channels.defaults.groupPolicy", json!("open"), json!("allowlist"), Restart),
        ("diagnostics.enabled", json!(true), json!(false), Restart),
    ]
}

/// Sections that a file without them gets: the path is the section, and longer rules do not match (config A5).
fn sections() -> Vec<(&'static str, Value, Class)> {
    vec![
        ("ui", json!({"seamColor": "#333333"}), Dynamic),
        ("cron", json!({"enabled": false}), Hot),
        ("hooks", json!({"gmail": {"label": "c"}}), Hot),
        ("diagnostics", json!({"stuckSessionWarnMs": 3000}), Restart),
        ("channels", json!({"telegram": {"name": "c"}}), Restart),
        ("gateway.remote", json!({"url": "ws://c.example"}), Dynamic),
    ]
}

fn set(config: &mut Value, path: &str, value: Value) {
    let value = path.rsplit('.').fold(value, |value, step| json!({step: value}));
    merge(config, value);
}

fn base(mode: &str) -> Value {
    json!({"gateway": {
        "mode": "local", "auth": {"mode": "token", "token": TOKEN}, "reload": {"mode": mode, "debounceMs": 0},
    }})
}

struct Table {
    home: Home,
    gateway: Gateway,
    /// None only between two lives.
    client: Option<Client>,
    mode: &'static str,
    /// SIGHUP after each write; otherwise the watch has to see it.
    hup: bool,
    lives: usize,
}

impl Table {
    fn start(mode: &'static str, hup: bool) -> (Table, Value) {
        let mut config = base(mode);
        for (path, from, _, _) in rows() {
            set(&mut config, path, from);
        }
        let home = Home::new();
        let (gateway, client) = start(&home, &config);
        (Table { home, gateway, client: Some(client), mode, hup, lives: 1 }, config)
    }

    /// Writes a configuration in which `path` differs, and sees that the right thing happens and nothing else.
    fn change(&mut self, config: &Value, path: &str, class: Class) {
        let restarts = match self.mode {
            "off" | "hot" => false,
            "restart" => true,
            _ => class == Restart,
        };
        let line = match (self.mode, class) {
            ("off", _) => "[reload] config reload disabled (gateway.reload.mode=off)".into(),
            ("restart", _) | ("hybrid", Restart) => {
                format!("[reload] config change requires gateway restart ({path})")
            }
            ("hot", Restart) => {
                format!("[reload] config reload requires gateway restart; hot mode ignoring ({path})")
            }
            (_, Hot) => format!("[reload] config hot reload applied ({path})"),
            (_, Dynamic) => format!("[reload] config change applied (dynamic reads: {path})"),
            (mode, _) => panic!("no mode {mode}"),
        };
        let detected = format!("[reload] config change detected; evaluating reload ({path})");
        let before = (self.gateway.count_lines(&detected), self.gateway.count_lines(&line));
        write(&self.home, config);
        if self.hup {
            self.gateway.signal(Sig::Hup);
        }
        wait_more(&self.gateway, &line, before.1);
        // Warnings come on the other stream.
        wait_until(&detected, || self.gateway.count_lines(&detected) == before.0 + 1);
        let mut client = self.client.take().expect("a client");
        if restarts {
            assert_eq!(client.event("shutdown")["payload"]["reason"], "gateway restarting");
            assert_eq!(client.end(), End::Close(1012, "service restart".into()), "{}: {path}", self.mode);
            drop(client);
            self.lives += 1;
            wait_until("the next life", || self.gateway.count_lines(LISTENING) == self.lives);
            self.client = Some(Client::connect(self.gateway.port));
        } else {
            client.call("health", json!({}));
            self.client = Some(client);
            assert_eq!(self.gateway.count_lines(LISTENING), self.lives, "{}: {path} must not restart", self.mode);
        }
    }
}

fn every_row(mode: &'static str, hup: bool) {
    let (mut table, mut config) = Table::start(mode, hup);
    for (path, _, to, class) in rows() {
        let before = config.clone();
        set(&mut config, path, to);
        // What differs is one key further down.
        let changed = match path {
            "agents.defaults.models" => "agents.defaults.models.a/b",
            "audio.transcription" => "audio.transcription.command",
            path => path,
        };
        table.change(&config, changed, class);
        if mode == "hot" && class == Restart {
            // Back, so that nothing waits when the next row comes.
            let line = "[reload] the configuration is again what the running gateway goes by";
            let before_back = table.gateway.count_lines(line);
            config = before;
            write(&table.home, &config);
            table.gateway.signal(Sig::Hup);
            wait_more(&table.gateway, line, before_back);
        }
    }
    let pid = table.gateway.pid();
    table.gateway.wait_line(&format!("(PID {pid})"));
    assert_eq!(table.gateway.stop(), Some(0));
}

#[test]
fn every_row_in_mode_hybrid_by_the_watch_alone() {
    every_row("hybrid", false);
}

#[test]
fn every_row_in_mode_hot() {
    every_row("hot", true);
}

#[test]
fn every_row_in_mode_restart() {
    every_row("restart", true);
}

#[test]
fn every_row_in_mode_off() {
    every_row("off", true);
}

#[test]
fn a_section_that_comes_whole_is_one_change() {
    let home = Home::new();
    let mut config = base("hybrid");
    let (gateway, client) = start(&home, &config);
    let mut table = Table { home, gateway, client: Some(client), mode: "hybrid", hup: true, lives: 1 };
    for (path, value, class) in sections() {
        set(&mut config, path, value);
        table.change(&config, path, class);
    }
    // A comment is no change.
    let text = format!("// a comment\n{config}");
    table.home.write_config(&text);
    table.gateway.signal(Sig::Hup);
    table.gateway.wait_line("[reload] configuration read; nothing changed");
    assert_eq!(table.gateway.stop(), Some(0));
}

#[test]
fn a_mode_counts_for_the_change_that_sets_it() {
    let home = Home::new();
    let (mut gateway, mut client) = start(&home, &named("one"));
    let with = |name: &str, mode: &str| {
        let mut config = named(name);
        config["gateway"]["reload"]["mode"] = json!(mode);
        config
    };
    write(&home, &with("two", "off"));
    gateway.wait_line("[reload] config reload disabled (gateway.reload.mode=off)");
    assert_eq!(name_in_force(&mut client), "one");
    // SIGHUP reads and reports also then.
    write(&home, &with("three", "off"));
    gateway.signal(Sig::Hup);
    gateway.wait_line("[reload] config change detected; evaluating reload (agents.list)");
    wait_until("the second report", || gateway.count_lines("config reload disabled") == 2);
    gateway.signal(Sig::Hup);
    gateway.wait_line("[reload] configuration read; nothing changed");
    assert_eq!(name_in_force(&mut client), "one");
    // What was left alone so far comes with the first change that may be taken over.
    write(&home, &with("three", "hybrid"));
    wait_name(&mut client, "three");
    assert_eq!(gateway.count_lines(LISTENING), 1);
    assert_eq!(gateway.stop(), Some(0));
}

#[test]
fn mode_hot_applies_what_it_can_and_the_rest_waits() {
    let home = Home::new();
    let with = |name: &str, mode: &str, token: &str| {
        let mut config = named(name);
        config["gateway"]["reload"]["mode"] = json!(mode);
        config["gateway"]["auth"]["token"] = json!(token);
        config
    };
    let accepts = |port: u16, token: &str| {
        let hello = Hello { token: Some(token.into()), ..Hello::default() };
        Client::open(port).hello(&hello, None)["ok"] == true
    };
    let other = "another-token-0123456789abcdef";
    let (mut gateway, mut client) = start(&home, &with("one", "hot", TOKEN));
    let port = gateway.port;
    let ignoring = "[reload] config reload requires gateway restart; hot mode ignoring (gateway.auth.token)";
    // The name is taken over, the token is not: neither for those who are here nor for those who come.
    write(&home, &with("two", "hot", other));
    wait_name(&mut client, "two");
    wait_until("a word about what waits", || gateway.count_lines(ignoring) == 1);
    assert!(accepts(port, TOKEN) && !accepts(port, other));
    write(&home, &with("three", "hot", other));
    wait_name(&mut client, "three");
    // The words follow the deed.
    wait_until("both applied", || gateway.count_lines("config change applied (dynamic reads: agents.list)") == 2);
    assert!(accepts(port, TOKEN) && !accepts(port, other));
    // Back: nothing waits.
    write(&home, &with("three", "hot", TOKEN));
    gateway.wait_line("the configuration is again what the running gateway goes by");
    write(&home, &with("three", "hot", other));
    wait_until("it waits again", || gateway.count_lines(ignoring) == 3);
    assert_eq!(gateway.count_lines(LISTENING), 1);
    // Another mode finds what still waits.
    write(&home, &with("three", "hybrid", other));
    gateway.wait_line("[reload] config change requires gateway restart (gateway.auth.token)");
    assert_eq!(client.end(), End::Close(1012, "service restart".into()));
    wait_until("the next life", || gateway.count_lines(LISTENING) == 2);
    assert!(accepts(port, other) && !accepts(port, TOKEN));
    assert_eq!(gateway.stop(), Some(0));
}

#[test]
fn what_is_read_at_use_is_used_at_once() {
    let model = Model::start(vec![Play::Stall(vec!["a ".into()])]);
    let home = Home::new();
    let mut config = named("one");
    merge(&mut config, model.config());
    config["agents"]["defaults"]["maxConcurrent"] = json!(1);
    let (mut gateway, mut client) = start(&home, &config);
    // Turns that wait for a slot get it when there are more.
    for key in ["1", "2"] {
        client.call("chat.send", json!({"sessionKey": format!("s{key}"), "message": "x", "idempotencyKey": key}));
    }
    client.event("agent");
    wait_until("one request", || model.served() == 1);
    config["agents"]["defaults"]["maxConcurrent"] = json!(2);
    write(&home, &config);
    wait_until("the second turn", || model.served() == 2);
    // Another agent has its sessions before it is named.
    config["agents"]["list"] = json!([{"id": "main", "name": "one"}, {"id": "second", "name": "two"}]);
    config["logging"] = json!({"consoleStyle": "json"});
    write(&home, &config);
    gateway.wait_line(r#"config change applied (dynamic reads: agents.list, logging)"#);
    client.take("health with the agent", |f| {
        f["event"] == "health" && f["payload"]["agents"].as_array().is_some_and(|list| list.len() == 2)
    });
    gateway.signal(Sig::Usr2);
    let json_line = wait_for("a line of JSON", || {
        gateway.output().lines().find(|line| line.starts_with('{') && line.contains("log reopened")).map(str::to_owned)
    });
    assert!(serde_json::from_str::<Value>(&json_line).is_ok(), "{json_line}");
    assert_eq!(gateway.count_lines("listening on"), 1);
    assert_eq!(gateway.stop(), Some(0));
}

// ── How files are written ──────────────────────────────────────────────────────────────────────────────────

#[test]
fn every_way_of_writing_is_seen() {
    let home = Home::new();
    let (mut gateway, mut client) = start(&home, &named("first"));
    let path = home.config_path();
    let beside = |name: &str| path.with_file_name(name);
    let swap = beside(".openclaw.json.swp");
    let plain = |text: &str| fs::write(&path, text).unwrap();
    let rename_over = |text: &str| {
        fs::write(beside("sedXq2"), text).unwrap();
        fs::rename(beside("sedXq2"), &path).unwrap();
    };
    let vim = |text: &str| {
        fs::write(&swap, "b0VIM").unwrap();
        fs::rename(&path, beside("openclaw.json~")).unwrap();
        fs::write(&path, text).unwrap();
        fs::remove_file(beside("openclaw.json~")).unwrap();
        fs::remove_file(&swap).unwrap();
    };
    let pieces = |text: &str| {
        let mut file = File::create(&path).unwrap();
        for piece in text.as_bytes().chunks(text.len() / 6 + 1) {
            file.write_all(piece).unwrap();
            thread::sleep(Duration::from_millis(60));
        }
    };
    let remove_create = |text: &str| {
        fs::remove_file(&path).unwrap();
        thread::sleep(Duration::from_millis(100));
        fs::write(&path, text).unwrap();
    };
    let date_back = |text: &str| {
        fs::write(&path, text).unwrap();
        set_date(&path, SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000));
    };
    // After `date_back`: the same size and the same date.
    let links = |text: &str| {
        for (version, text) in [("v1", named("old").to_string()), ("v2", text.to_owned())] {
            fs::create_dir_all(beside(version)).unwrap();
            fs::write(beside(version).join("openclaw.json"), text).unwrap();
        }
        std::os::unix::fs::symlink("v1", beside("..data")).unwrap();
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("..data/openclaw.json", &path).unwrap();
        thread::sleep(Duration::from_millis(300));
        std::os::unix::fs::symlink("v2", beside("..data_tmp")).unwrap();
        fs::rename(beside("..data_tmp"), beside("..data")).unwrap();
    };
    let directory = |text: &str| {
        fs::remove_file(&path).unwrap();
        let away = home.path().join("away");
        fs::rename(home.state(), &away).unwrap();
        thread::sleep(Duration::from_millis(100));
        fs::rename(&away, home.state()).unwrap();
        fs::write(&path, text).unwrap();
    };
    let append_only = |text: &str| {
        // `cp`: the same inode, cut and filled.
        fs::write(beside("new.json"), text).unwrap();
        fs::copy(beside("new.json"), &path).unwrap();
    };
    type Way<'a> = (&'static str, &'a dyn Fn(&str));
    let ways: [Way<'_>; 10] = [
        ("way-plain", &plain),
        ("way-sed-i", &rename_over),
        ("way-vim", &vim),
        ("way-pieces", &pieces),
        ("way-remove", &remove_create),
        ("way-date1", &date_back),
        ("way-date2", &date_back),
        ("way-copy", &append_only),
        ("way-directory", &directory),
        ("way-links", &links),
    ];
    for (name, way) in ways {
        way(&named(name).to_string());
        wait_name(&mut client, name);
    }
    // A swap file alone is nobody's business.
    fs::write(&swap, "b0VIM").unwrap();
    assert_eq!(gateway.count_lines(SKIPPED), 0, "no way of writing was read half done");
    assert_eq!(gateway.count_lines(LISTENING), 1);
    assert_eq!(gateway.stop(), Some(0));
}

fn set_date(path: &Path, date: SystemTime) {
    File::options().write(true).open(path).unwrap().set_times(FileTimes::new().set_modified(date)).unwrap();
}

#[test]
fn included_files_are_watched_also_those_that_are_missing() {
    let home = Home::new();
    let mut config = named("x");
    config["agents"] = json!({"$include": "agents.json"});
    let part = |name: &str| json!({"list": [{"id": "main", "name": name}]}).to_string();
    fs::create_dir_all(home.state()).unwrap();
    let (one, two) = (home.state().join("agents.json"), home.state().join("more.json"));
    fs::write(&one, part("one")).unwrap();
    let (mut gateway, mut client) = start(&home, &config);
    fs::write(&one, part("two")).unwrap();
    wait_name(&mut client, "two");
    // Through another one, which does not exist yet.
    fs::write(&one, json!({"$include": "more.json"}).to_string()).unwrap();
    gateway.wait_line("[reload] config reload skipped (invalid config): : Failed to read include file: more.json");
    assert_eq!(name_in_force(&mut client), "two");
    fs::write(&two, part("three")).unwrap();
    wait_name(&mut client, "three");
    fs::write(&two, "{ list: [").unwrap();
    gateway.wait_line("Failed to parse include file: more.json");
    fs::write(&two, part("four")).unwrap();
    wait_name(&mut client, "four");
    // While the main file is broken nobody knows what it includes; what it did include stays watched.
    home.write_config("{ broken");
    gateway.wait_line("invalid config): : JSON5 parse failed");
    write(&home, &config);
    fs::write(&two, part("five")).unwrap();
    wait_name(&mut client, "five");
    assert_eq!(gateway.stop(), Some(0));
}

#[test]
fn a_directory_in_the_place_of_a_file_is_no_end_of_it() {
    let home = Home::new();
    let mut config = named("x");
    config["agents"] = json!({"$include": "agents.json"});
    let part = home.state().join("agents.json");
    let write_part =
        |name: &str| fs::write(&part, json!({"list": [{"id": "main", "name": name}]}).to_string()).unwrap();
    fs::create_dir_all(home.state()).unwrap();
    write_part("one");
    let (mut gateway, mut client) = start(&home, &config);
    fs::remove_file(&part).unwrap();
    fs::create_dir(&part).unwrap();
    gateway.wait_line("[reload] config reload skipped (invalid config): : Include file failed security checks");
    fs::remove_dir(&part).unwrap();
    write_part("two");
    wait_name(&mut client, "two");
    assert_eq!(gateway.count_lines(SKIPPED), 1);
    assert_eq!(gateway.stop(), Some(0));
}

// ── What is no configuration ───────────────────────────────────────────────────────────────────────────────

#[test]
fn a_missing_file_is_looked_for_and_the_old_configuration_stays() {
    let home = Home::new();
    let (mut gateway, mut client) = start(&home, &named("one"));
    fs::remove_file(home.config_path()).unwrap();
    gateway.wait_line("[reload] config reload skipped (config file not found)");
    for n in [1, 2] {
        assert_eq!(gateway.count_lines(&format!("[reload] config reload retry ({n}/2): config file not found")), 1);
    }
    assert_eq!(name_in_force(&mut client), "one");
    // A restart does not take nothing for a configuration either.
    gateway.signal(Sig::Usr1);
    gateway.wait_line("[gateway] startup failed: ~/.openclaw/openclaw.json is missing. Process will stay alive");
    gateway.signal(Sig::Hup);
    wait_until("the second report", || gateway.count_lines("skipped (config file not found)") == 2);
    assert_eq!(name_in_force(&mut client), "one");
    // It comes back as it was, and then with a change.
    write(&home, &named("one"));
    write(&home, &named("two"));
    wait_name(&mut client, "two");
    assert_eq!(gateway.count_lines(LISTENING), 1);
    assert_eq!(gateway.stop(), Some(0));
}

#[test]
fn nothing_empty_broken_or_cut_is_taken_and_each_is_said_once() {
    let home = Home::new();
    let config = named("one");
    let (mut gateway, mut client) = start(&home, &config);
    let text = config.to_string();
    let table = [
        ("", "(invalid config): : JSON5 parse failed: SyntaxError: JSON5: invalid end of input at 1:1"),
        (" \n\n ", "(invalid config): : JSON5 parse failed: SyntaxError: JSON5: invalid end of input at 3:2"),
        (&text[..text.len() / 2], "(invalid config): : JSON5 parse failed: SyntaxError: JSON5: invalid"),
        ("{}", "(config file is empty)"),
        ("[]", "(invalid config): : Invalid input: expected object, received array"),
        (r#"{"foo": 1}"#, "(invalid config): : Unrecognized key: \"foo\""),
        (r#"{"gateway": {"port": "x"}}"#, "(invalid config): gateway.port: Invalid input: expected number"),
    ];
    for (number, (text, reason)) in table.iter().enumerate() {
        home.write_config(text);
        wait_until(reason, || gateway.count_lines(SKIPPED) == number + 1);
        let said = gateway.output();
        let last = said.lines().rfind(|line| line.contains(SKIPPED)).unwrap_or_default();
        assert!(last.contains(&format!("{SKIPPED}{reason}")), "{last}");
        assert_eq!(name_in_force(&mut client), "one");
    }
    // The same once more, as a new file: nothing new to say. The next one is read after it.
    let (last, reason) = table[6];
    home.write_config(last);
    thread::sleep(Duration::from_millis(600));
    home.write_config("{ other");
    wait_until("the next report", || gateway.count_lines(SKIPPED) == table.len() + 1);
    assert_eq!(gateway.count_lines(reason), 1);
    // Whoever asks is answered every time.
    gateway.signal(Sig::Hup);
    wait_until("an answer", || gateway.count_lines(SKIPPED) == table.len() + 2);
    // A configuration that may not start here.
    let mut other = named("one");
    other["gateway"]["mode"] = json!("remote");
    write(&home, &other);
    gateway
        .wait_line("[reload] config restart failed: Gateway start blocked: set gateway.mode=local (current: remote)");
    client.call("health", json!({}));
    assert_eq!(gateway.get("/readyz").0, 200);
    // A hot change that is refused as a whole.
    let mut other = named("two");
    other["hooks"] = json!({"enabled": true, "token": TOKEN});
    write(&home, &other);
    gateway.wait_line("[reload] config reload failed: ");
    assert_eq!(name_in_force(&mut client), "one");
    write(&home, &named("three"));
    wait_name(&mut client, "three");
    assert_eq!(gateway.count_lines(LISTENING), 1);
    let kept = || fs::read_to_string(home.state().join("config-last-good.json")).unwrap();
    let text = named("three").to_string();
    wait_until("the copy of what works", || kept() == text);
    assert_eq!(gateway.stop(), Some(0));
}
