//! One case per row at least, and what must not be found.

use std::collections::BTreeSet;

use super::facts::{Entry, Role};
use super::*;
use crate::config::source::MemorySource;
use crate::config::{Loaded, Overrides, Paths, load};
use crate::store::device_record::{DeviceToken, PairedDevice};

const NOW: u64 = 1_800_000_000_000;
const DAY: u64 = 24 * 60 * 60 * 1000;
/// A good one; what is under test stands beside it. `// refused` marks what the gateway does not start with.
const TOKEN: &str = "auth: {mode: 'token', token: '3f9c1e7ab5d2460f8e1c7a94b2d5f06e3f9c1e7ab5d2460f'}";

fn read(text: &str) -> (Paths, Loaded) {
    let path = "/home/u/.openclaw/openclaw.json";
    let text = text.replace("TOKEN", TOKEN);
    let source = MemorySource::new().with_var("HOME", "/home/u").with_file(path, &text);
    let paths = Paths::resolve(&source, &Overrides::default()).unwrap();
    let loaded = load::load(&paths, &source);
    assert_eq!(loaded.valid(), !text.contains("// refused"), "{text}: {:?}", loaded.issues);
    (paths, loaded)
}

fn found(text: &str, change: impl FnOnce(&mut Facts)) -> Vec<Finding> {
    let (paths, loaded) = read(text);
    let mut facts = Facts::of_config(&paths, &loaded, NOW, &|_| None);
    change(&mut facts);
    look(&facts)
}

fn entry(role: Role, path: &str, mode: u32) -> Entry {
    let directory = !matches!(role, Role::Config | Role::Include | Role::Log | Role::Backup);
    Entry { role, path: path.into(), mode, directory, link: false, sticky: false, reachable: true }
}

fn device(scope: &str, issued_days: u64, used_days: Option<u64>) -> PairedDevice {
    let token = DeviceToken {
        token: crate::secret::Secret::new("t"),
        created_at_ms: NOW - issued_days * DAY,
        last_used_at_ms: used_days.map(|days| NOW - days * DAY),
        ..DeviceToken::default()
    };
    PairedDevice {
        device_id: "0123456789abcdef".into(),
        display_name: Some("tablet".into()),
        approved_scopes: vec![scope.into()],
        tokens: [("operator".to_owned(), token)].into(),
        ..PairedDevice::default()
    }
}

type Case = (&'static str, &'static str, Severity, &'static str);

/// Id, configuration, severity, and a piece of the detail.
const CONFIGURATIONS: &[Case] = &[
    ("gateway.bind_no_auth", "{gateway: {bind: 'lan', auth: {mode: 'none'}}}", Severity::Critical, "gateway.bind=lan"),
    ("gateway.loopback_no_auth", "{gateway: {auth: {mode: 'none'}}}", Severity::Critical, "is none"),
    (
        "gateway.loopback_no_auth",
        "{gateway: {bind: 'custom', customBindHost: '127.0.0.2', auth: {mode: 'none'}}}",
        Severity::Critical,
        "",
    ),
    ("gateway.bind_no_tls", "{gateway: {bind: 'lan', TOKEN}}", Severity::Warn, "gateway.bind=lan"),
    ("gateway.token_too_short", "{gateway: {auth: {token: 'short'}}}", Severity::Warn, "is 5 chars"),
    (
        "gateway.token_too_short",
        "{gateway: {bind: 'tailnet', auth: {token: 'short'}}}",
        Severity::Critical,
        "is 5 chars",
    ),
    ("gateway.token_weak", "{gateway: {auth: {token: 'abababababababababababababab'}}}", Severity::Warn, "only 2"),
    ("gateway.token_weak", "{gateway: {auth: {token: 'please-CHANGEME-please-1234567'}}}", Severity::Warn, "example"),
    ("gateway.password_too_short", "{gateway: {auth: {password: 'hunter22'}}}", Severity::Warn, "is 8 chars"),
    (
        "gateway.password_too_short",
        "{gateway: {auth: {password: 'hunter22'}, tailscale: {mode: 'funnel'}}}",
        Severity::Critical,
        "",
    ),
    (
        "gateway.auth_no_rate_limit",
        "{gateway: {auth: {token: '3f9c1e7ab5d2460f8e1c7a94b2d5f06e', rateLimit: {maxAttempts: 1000000}}}}",
        Severity::Warn,
        "1000000",
    ),
    ("gateway.trusted_proxies_missing", "{gateway: {TOKEN}}", Severity::Warn, "trustedProxies is empty"),
    (
        "gateway.trusted_proxies_wide",
        "{gateway: {TOKEN, trustedProxies: ['10.0.0.1', '0.0.0.0/0']}}",
        Severity::Critical,
        ": 0.0.0.0/0",
    ),
    ("gateway.trusted_proxies_wide", "{gateway: {TOKEN, trustedProxies: ['::/0']}}", Severity::Critical, "::/0"),
    (
        "gateway.trusted_proxies_unreadable",
        "{gateway: {TOKEN, trustedProxies: ['proxy.lan']}}",
        Severity::Warn,
        "proxy.lan",
    ),
    (
        "gateway.trusted_proxy_no_proxies",
        "{gateway: {auth: {mode: 'trusted-proxy', trustedProxy: {userHeader: 'x-user'}}}}",
        Severity::Critical,
        "",
    ),
    (
        "gateway.trusted_proxy_no_user_header",
        "{gateway: {auth: {mode: 'trusted-proxy'}, trustedProxies: ['127.0.0.1']}}",
        Severity::Critical,
        "",
    ),
    (
        "gateway.trusted_proxy_no_allowlist",
        "{gateway: {auth: {mode: 'trusted-proxy', trustedProxy: {userHeader: 'x-user'}}}}",
        Severity::Warn,
        "",
    ),
    ("gateway.real_ip_fallback_enabled", "{gateway: {TOKEN, allowRealIpFallback: true}}", Severity::Warn, ""),
    (
        "gateway.real_ip_fallback_enabled",
        "{gateway: {TOKEN, bind: 'lan', allowRealIpFallback: true}}",
        Severity::Critical,
        "",
    ),
    (
        "gateway.control_ui.allowed_origins_wildcard",
        "{gateway: {TOKEN, controlUi: {allowedOrigins: ['*']}}}",
        Severity::Warn,
        "",
    ),
    (
        "gateway.control_ui.host_header_origin_fallback",
        "{gateway: {TOKEN, controlUi: {dangerouslyAllowHostHeaderOriginFallback: true}}}",
        Severity::Warn,
        "",
    ),
    (
        "gateway.control_ui.insecure_auth",
        "{gateway: {TOKEN, controlUi: {allowInsecureAuth: true}}}",
        Severity::Warn,
        "",
    ),
    (
        "gateway.control_ui.device_auth_disabled",
        "{gateway: {TOKEN, controlUi: {dangerouslyDisableDeviceAuth: true}}}",
        Severity::Critical,
        "",
    ),
    (
        "config.insecure_or_dangerous_flags",
        "{channels: {irc: {dangerouslyAllowNameMatching: true}}}",
        Severity::Warn,
        "channels.irc.dangerouslyAllowNameMatching",
    ),
    (
        "gateway.tailscale_funnel",
        "{gateway: {TOKEN, tailscale: {mode: 'funnel'}}}",
        Severity::Critical,
        "without a password",
    ),
    (
        "gateway.tailscale_funnel",
        "{gateway: {auth: {mode: 'password', password: 'a long pass phrase'}, tailscale: {mode: 'funnel'}}}",
        Severity::Warn,
        "",
    ),
    ("gateway.tailscale_serve", "{gateway: {TOKEN, tailscale: {mode: 'serve'}}}", Severity::Info, ""),
    (
        "gateway.tools_invoke_http.dangerous_allow",
        "{gateway: {TOKEN, tools: {allow: ['read', 'sessions_spawn']}}}",
        Severity::Warn,
        "has: sessions_spawn",
    ),
    (
        "gateway.nodes.allow_commands_dangerous",
        "{gateway: {TOKEN, nodes: {allowCommands: ['camera.snap']}}}",
        Severity::Warn,
        "camera.snap",
    ),
    ("discovery.mdns_full_mode", "{discovery: {mdns: {mode: 'full'}}}", Severity::Warn, ""),
    ("summary.attack_surface", "{}", Severity::Info, "trust model: personal assistant"),
    ("hooks.token_missing", "{hooks: {enabled: true}} // refused", Severity::Critical, ""),
    (
        "hooks.token_reuse_gateway_token",
        "{gateway: {auth: {token: 'the-very-same-secret-0123456789'}}, hooks: {enabled: true, token: 'the-very-same-secret-0123456789'}}",
        Severity::Critical,
        "",
    ),
    ("hooks.token_too_short", "{hooks: {enabled: true, token: 'short'}}", Severity::Warn, "5 chars"),
    ("hooks.path_root", "{hooks: {enabled: true, token: 'x', path: '/'}}", Severity::Critical, ""),
    (
        "hooks.request_session_key_enabled",
        "{hooks: {enabled: true, token: 'x', allowRequestSessionKey: true}}",
        Severity::Warn,
        "without",
    ),
    ("hooks.default_session_key_unset", "{hooks: {enabled: true, token: 'x'}}", Severity::Info, ""),
    (
        "hooks.allowed_agent_ids_unrestricted",
        "{hooks: {enabled: true, token: 'x'}, agents: {list: [{id: 'a'}, {id: 'b'}]}}",
        Severity::Warn,
        "",
    ),
    (
        "tools.elevated.allowFrom.wildcard",
        "{tools: {elevated: {allowFrom: {telegram: ['*']}}}}",
        Severity::Critical,
        "tools.elevated.allowFrom.telegram",
    ),
    (
        "tools.elevated.allowFrom.wildcard",
        "{agents: {list: [{id: 'a', tools: {elevated: {allowFrom: {irc: ['*']}}}}]}}",
        Severity::Critical,
        "agents.list.0.tools",
    ),
    ("tools.exec.security_full", "{tools: {exec: {security: 'full'}}}", Severity::Warn, "tools.exec"),
    ("tools.exec.security_full", "{tools: {exec: {security: 'full', ask: 'off'}}}", Severity::Critical, ""),
    (
        "tools.exec.safe_bins_interpreters",
        "{tools: {exec: {safeBins: ['jq', '/usr/bin/python3']}}}",
        Severity::Warn,
        "python3",
    ),
    (
        "tools.exec.safe_bin_dirs_open",
        "{tools: {exec: {safeBinTrustedDirs: ['/usr/bin', '/tmp/bin']}}}",
        Severity::Warn,
        "/tmp/bin",
    ),
    (
        "security.exposure.open_channels_with_exec",
        "{channels: {telegram: {dmPolicy: 'open', allowFrom: ['*']}}}",
        Severity::Critical,
        "channels.telegram",
    ),
    (
        "security.exposure.open_channels_with_commands",
        "{commands: {bash: true}, channels: {telegram: {groupPolicy: 'open'}}}",
        Severity::Critical,
        "commands.bash",
    ),
    (
        "channels.dm_open",
        "{channels: {telegram: {accounts: {b: {dmPolicy: 'open', allowFrom: ['*']}}}}}",
        Severity::Critical,
        "channels.telegram.accounts.b",
    ),
    (
        "channels.dm_open",
        "{channels: {slack: {dm: {policy: 'open', allowFrom: ['*']}}}}",
        Severity::Critical,
        "channels.slack",
    ),
    ("channels.allow_from_wildcard", "{channels: {telegram: {allowFrom: ['*']}}}", Severity::Warn, "channels.telegram"),
    (
        "channels.groups_open",
        "{channels: {telegram: {groupPolicy: 'open'}, defaults: {groupPolicy: 'open'}}}",
        Severity::Critical,
        "channels.defaults, channels.telegram",
    ),
    ("channels.dm_scope_main_multiuser", "{channels: {telegram: {allowFrom: ['1', '2']}}}", Severity::Warn, ""),
    ("logging.redact_off", "{logging: {redactSensitive: 'off'}}", Severity::Warn, ""),
    (
        "models.provider_plain_http",
        "{models: {providers: {far: {baseUrl: 'http://api.example.com/v1', models: []}}}}",
        Severity::Warn,
        "models.providers.far",
    ),
    (
        "config.secrets.gateway_password_in_config",
        "{gateway: {auth: {password: 'a long pass phrase'}}}",
        Severity::Info,
        "",
    ),
    ("config.secrets.hooks_token_in_config", "{hooks: {enabled: true, token: 'x'}}", Severity::Info, ""),
];

/// Id, what there is, severity, a piece of the detail, modes that a repair gives.
type FileCase = (&'static str, Vec<Entry>, Severity, &'static str, Vec<u32>);

fn files() -> Vec<FileCase> {
    let state = |mode| entry(Role::State, "/home/u/.openclaw", mode);
    let config = |mode| entry(Role::Config, "/home/u/.openclaw/openclaw.json", mode);
    let linked = |entry: Entry| Entry { link: true, ..entry };
    let (critical, warn) = (Severity::Critical, Severity::Warn);
    vec![
        ("fs.state_dir.perms_world_writable", vec![state(0o777)], critical, "~/.openclaw mode=777; ", vec![0o700]),
        ("fs.state_dir.perms_group_writable", vec![state(0o770)], critical, "", vec![0o700]),
        (
            "fs.state_dir.perms_readable",
            vec![state(0o755)],
            warn,
            "~/.openclaw mode=755; consider restricting to 700.",
            vec![0o700],
        ),
        ("fs.state_dir.symlink", vec![linked(state(0o700))], warn, "", vec![]),
        (
            "fs.state_dir.parent_writable",
            vec![entry(Role::Above, "/srv/shared", 0o777)],
            critical,
            "/srv/shared",
            vec![],
        ),
        ("fs.config.perms_writable", vec![config(0o664)], critical, "operator", vec![0o600]),
        (
            "fs.config.perms_world_readable",
            vec![config(0o644)],
            critical,
            "~/.openclaw/openclaw.json mode=644; ",
            vec![0o600],
        ),
        ("fs.config.perms_group_readable", vec![config(0o640)], warn, "", vec![0o600]),
        ("fs.config.symlink", vec![linked(config(0o600))], warn, "", vec![]),
        (
            "fs.config_include.perms_writable",
            vec![entry(Role::Include, "/home/u/i.json", 0o666)],
            critical,
            "~/i.json",
            vec![0o600],
        ),
        (
            "fs.config_include.perms_readable",
            vec![entry(Role::Include, "/home/u/i.json", 0o644)],
            warn,
            "",
            vec![0o600],
        ),
        ("fs.credentials_dir.perms_writable", vec![entry(Role::Credentials, "/c", 0o777)], critical, "", vec![0o700]),
        ("fs.credentials_dir.perms_readable", vec![entry(Role::Credentials, "/c", 0o750)], warn, "", vec![0o700]),
        ("fs.log_file.perms_readable", vec![entry(Role::Log, "/l", 0o644)], warn, "/l", vec![0o600]),
        (
            "fs.backup.perms_readable",
            vec![entry(Role::Backup, "/home/u/x.tar", 0o644)],
            critical,
            "~/x.tar",
            vec![0o600],
        ),
        ("fs.workspace.shared", vec![entry(Role::Workspace, "/tmp/agent", 0o700)], warn, "/tmp/agent", vec![]),
        ("fs.workspace.shared", vec![entry(Role::Workspace, "/home/u/agent", 0o775)], warn, "", vec![]),
    ]
}

#[test]
fn every_row_finds_what_it_is_for() {
    let mut seen = BTreeSet::new();
    let mut check = |findings: &[Finding], id: &'static str, severity, detail: &str, what: &str| {
        let finding = findings
            .iter()
            .find(|finding| finding.check == id)
            .unwrap_or_else(|| panic!("{id}: {what}: {findings:#?}"));
        assert_eq!(finding.severity, severity, "{id}: {what}");
        assert!(finding.detail.contains(detail), "{id}: {}", finding.detail);
        assert!(finding.fix.is_some() || severity == Severity::Info, "{id}: nothing to do about it");
        seen.insert(id);
        finding.repairs.clone()
    };
    for (id, text, severity, detail) in CONFIGURATIONS {
        check(&found(text, |_| {}), id, *severity, detail, text);
    }
    for (id, entries, severity, detail, modes) in files() {
        let what = format!("{entries:?}");
        let findings = found("{}", |facts| facts.entries = entries);
        let repairs = check(&findings, id, severity, detail, &what);
        let given: Vec<u32> = repairs
            .iter()
            .map(|repair| match repair {
                Repair::Mode(_, mode) => *mode,
                Repair::Set(..) => panic!("{id} changes the configuration"),
            })
            .collect();
        assert_eq!(given, modes, "{id}");
    }
    let key = |path: &str| vec![("/home/u/.openclaw".into(), 0o755, 0o700), (PathBuf::from(path), 0o644, 0o600)];
    let findings = found("{}", |facts| {
        facts.entries = vec![entry(Role::State, "/home/u/.openclaw", 0o755)];
        facts.loose = key("/home/u/.openclaw/identity/device.json");
    });
    let repairs = check(
        &findings,
        "fs.state_files.perms_readable",
        Severity::Warn,
        "~/.openclaw/identity/device.json mode=644",
        "",
    );
    assert_eq!(
        repairs,
        [Repair::Mode("/home/u/.openclaw/identity/device.json".into(), 0o600)],
        "its own row has the rest"
    );
    let findings = found("{}", |facts| facts.foreign = vec!["/home/u/.openclaw/x".into()]);
    check(&findings, "fs.foreign_owner", Severity::Warn, "~/.openclaw/x", "");
    check(&found("{}", |facts| facts.root = true), "host.running_as_root", Severity::Warn, "", "");
    let synced = Paths { state_dir: "/home/u/Dropbox/claw".into(), ..read("{}").0 };
    let findings = {
        let loaded = read("{}").1;
        look(&Facts::of_config(&synced, &loaded, NOW, &|_| None))
    };
    check(&findings, "fs.synced_dir", Severity::Warn, "~/Dropbox/claw", "");
    let readable = |mode| {
        found("{channels: {telegram: {botToken: '1:a'}, irc: {password: '${IRC}'}}}", |facts| {
            facts.entries = vec![entry(Role::Config, "/c", mode)];
        })
    };
    check(&readable(0o644), "config.secrets.readable", Severity::Critical, ": channels.telegram.botToken", "");
    assert!(readable(0o600).iter().all(|finding| finding.check != "config.secrets.readable"));
    let with = |device: PairedDevice| found("{}", |facts| facts.devices = vec![device]);
    check(
        &with(device("operator.admin", 100, None)),
        "devices.admin_unused",
        Severity::Warn,
        "tablet 0123456789ab (100 days)",
        "",
    );
    check(
        &with(device("operator.read", 400, Some(1))),
        "devices.old_tokens",
        Severity::Info,
        "operator (400 days)",
        "",
    );
    for fine in [device("operator.admin", 100, Some(2)), device("operator.read", 300, None)] {
        assert_eq!(with(fine.clone()).len(), 2, "only what every configuration has: {fine:?}");
    }
    let missing: Vec<&str> = checks().map(|check| check.id).filter(|id| !seen.contains(id)).collect();
    assert!(missing.is_empty(), "without a case: {missing:?}");
}

#[test]
fn a_careful_owner_is_left_alone() {
    for text in [
        "{gateway: {TOKEN, trustedProxies: ['127.0.0.1', '10.0.0.0/24']}}",
        "{gateway: {auth: {mode: 'token', token: {source: 'file', provider: 'x', id: '/a'}}, trustedProxies: ['127.0.0.1']}}",
        "{gateway: {TOKEN, trustedProxies: ['::1'], controlUi: {allowedOrigins: ['https://a.example']}}, logging: {redactSensitive: 'tools'}, \
          channels: {telegram: {dmPolicy: 'pairing', groupPolicy: 'allowlist', allowFrom: ['1']}, irc: {enabled: false, groupPolicy: 'open'}}, \
          tools: {exec: {security: 'allowlist', safeBins: ['jq']}}, \
          models: {providers: {here: {baseUrl: 'http://192.168.1.5:11434', models: []}, box: {baseUrl: 'http://box.local/v1', models: []}}}}",
    ] {
        let findings = found(text, |facts| {
            facts.entries = vec![
                entry(Role::State, "/home/u/.openclaw", 0o700),
                entry(Role::Config, "/home/u/.openclaw/openclaw.json", 0o600),
                Entry { sticky: true, ..entry(Role::Above, "/tmp", 0o777) },
                Entry { reachable: false, ..entry(Role::Log, "/l", 0o644) },
                entry(Role::Workspace, "/home/u/.openclaw/workspace", 0o755),
            ];
        });
        let ids: Vec<&str> = findings.iter().map(|finding| finding.check).collect();
        assert_eq!(ids, ["summary.attack_surface"], "{text}");
    }
}

#[test]
fn ids_are_unique_and_secrets_are_not_said() {
    let ids: Vec<&str> = checks().map(|check| check.id).collect();
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len());
    let text = "{gateway: {auth: {password: 'geheim-1'}}, hooks: {enabled: true, token: 'geheim-2'}, channels: {telegram: {botToken: 'geheim-3'}}}";
    let findings = found(text, |facts| facts.entries = vec![entry(Role::Config, "/c", 0o644)]);
    assert!(!json(&findings, 5).to_string().contains("geheim"), "{findings:#?}");
}
