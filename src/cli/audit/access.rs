//! Who can reach the gateway, and what they have to show.

use std::collections::BTreeSet;

use serde_json::Value;

use super::Severity::{Critical, Info, Warn};
use super::{Check, Facts, Hit, hit, listed, when};
use crate::config::{AuthMode, Bind, dangerous};
use crate::policy::net::IpNet;
use crate::store::device_record::PairedDevice;

/// Shorter tokens can be guessed.
const TOKEN_CHARS: usize = 24;
const PASSWORD_CHARS: usize = 12;
/// A random token has more different characters.
const DIFFERENT_CHARS: usize = 8;
/// Texts of examples that somebody forgot to replace.
const PLACEHOLDERS: [&str; 7] =
    ["changeme", "change-me", "change_me", "your-token", "your_token", "placeholder", "secret-token-here"];
/// More wrong guesses than this in one window are no limit.
const MANY_ATTEMPTS: u32 = 100;
const SHORT_LOCKOUT_MS: u128 = 10_000;
/// A network with fewer fixed bits is half of the Internet.
const WIDE_V4: u8 = 8;
const WIDE_V6: u8 = 16;
const DAY_MS: u64 = 24 * 60 * 60 * 1000;
const ADMIN_UNUSED_DAYS: u64 = 90;
const TOKEN_DAYS: u64 = 365;
/// Tools that must not be called over HTTP (LESSONS R17).
const NOT_OVER_HTTP: [&str; 6] = ["sessions_spawn", "sessions_send", "gateway", "exec", "process", "whatsapp_login"];
/// Commands of nodes that see, hear or change something of their owner.
const NODE_COMMANDS: [&str; 9] = [
    "camera.snap",
    "camera.clip",
    "screen.record",
    "sms.send",
    "system.run",
    "contacts.add",
    "calendar.add",
    "reminders.add",
    "reminders.list",
];

pub const CHECKS: &[Check] = &[
    Check {
        id: "gateway.bind_no_auth",
        severity: Critical,
        title: "Gateway is open to the network without a secret",
        remedy: "Set gateway.auth.mode to token, or gateway.bind to loopback.",
        look: |f| {
            let open = f.auth.mode == AuthMode::None && f.exposed();
            open.then(|| hit(format!("gateway.auth.mode is none with gateway.bind={}.", f.bind().name())))
        },
    },
    Check {
        id: "gateway.loopback_no_auth",
        severity: Critical,
        title: "Gateway asks nobody for a secret",
        remedy: "Set gateway.auth.mode to token.",
        look: |f| {
            when(
                f.auth.mode == AuthMode::None && !f.exposed(),
                "gateway.auth.mode is none: every program and every user of this machine is its operator, and behind \
                 a proxy or a tunnel everybody is.",
            )
        },
    },
    Check {
        id: "gateway.bind_no_tls",
        severity: Warn,
        title: "Secrets cross the network in plain text",
        remedy: "Bind to loopback and use an ssh tunnel, tailscale serve or a proxy with TLS.",
        look: |f| {
            let plain = matches!(f.bind(), Bind::Lan | Bind::Auto | Bind::Custom) && f.exposed();
            (plain && !f.config.gateway.tls.enabled).then(|| {
                hit(format!("gateway.bind={} without TLS: who listens on that network reads it.", f.bind().name()))
            })
        },
    },
    Check {
        id: "gateway.token_too_short",
        severity: Warn,
        title: "Gateway token looks short",
        remedy: "Take a long random one: openclaw config unset gateway.auth.token, then openclaw doctor --fix",
        look: |f| {
            let chars = f.token()?.chars().count();
            let short = chars < TOKEN_CHARS;
            short.then(|| {
                hit(format!("gateway auth token is {chars} chars; prefer a long random token."))
                    .critical_if(f.exposed())
            })
        },
    },
    Check {
        id: "gateway.token_weak",
        severity: Warn,
        title: "Gateway token is easy to guess",
        remedy: "Take a long random one: openclaw config unset gateway.auth.token, then openclaw doctor --fix",
        look: |f| {
            let token = f.token()?;
            let low = token.to_lowercase();
            let example = PLACEHOLDERS.iter().any(|text| low.contains(text));
            let different = token.chars().collect::<BTreeSet<_>>().len();
            let why = match example {
                true => "it is the text of an example".to_owned(),
                false => format!("it has only {different} different characters"),
            };
            let weak = token.chars().count() >= TOKEN_CHARS && (example || different < DIFFERENT_CHARS);
            weak.then(|| hit(format!("The token is long, but {why}.")).critical_if(f.exposed()))
        },
    },
    Check {
        id: "gateway.password_too_short",
        severity: Warn,
        title: "Gateway password looks short",
        remedy: "Take a longer one: openclaw configure --section gateway",
        look: |f| {
            let password = f.auth.password.as_ref().filter(|_| f.auth.mode == AuthMode::Password)?;
            let chars = password.expose().chars().count();
            (chars < PASSWORD_CHARS).then(|| {
                hit(format!("gateway auth password is {chars} chars; prefer {PASSWORD_CHARS} or more."))
                    .critical_if(f.exposed())
            })
        },
    },
    Check {
        id: "gateway.auth_no_rate_limit",
        severity: Warn,
        title: "Wrong secrets may be tried without an end",
        remedy: "Remove gateway.auth.rateLimit: by default ten wrong ones in a minute lock an address out for five.",
        look: |f| {
            let limit = &f.config.gateway.auth.rate_limit;
            let off = limit.max_attempts > MANY_ATTEMPTS || limit.lockout.as_millis() < SHORT_LOCKOUT_MS;
            off.then(|| {
                hit(format!(
                    "gateway.auth.rateLimit lets {} wrong secrets pass and locks out for {} ms.",
                    limit.max_attempts,
                    limit.lockout.as_millis()
                ))
                .critical_if(f.exposed())
            })
        },
    },
    Check {
        id: "gateway.trusted_proxies_missing",
        severity: Warn,
        title: "Reverse proxy headers are not trusted",
        remedy: "Set gateway.trustedProxies to the proxy's addresses, or keep the port local.",
        look: |f| {
            when(
                f.bind() == Bind::Loopback && f.config.gateway.trusted_proxies.is_empty(),
                "gateway.bind is loopback and gateway.trustedProxies is empty. Behind a reverse proxy every client \
                 would look like this machine's own.",
            )
        },
    },
    Check {
        id: "gateway.trusted_proxies_wide",
        severity: Critical,
        title: "Almost everybody is a trusted proxy",
        remedy: "Name the addresses of your proxies in gateway.trustedProxies and nothing else.",
        look: |f| {
            let wide = |text: &&String| {
                let bits = text.split_once('/').and_then(|(_, bits)| bits.trim().parse::<u8>().ok());
                let least = if text.contains(':') { WIDE_V6 } else { WIDE_V4 };
                IpNet::parse(text).is_some() && bits.is_some_and(|bits| bits < least)
            };
            let wide: Vec<String> = f.config.gateway.trusted_proxies.iter().filter(wide).cloned().collect();
            listed("Whoever sits in these networks says in a header who he is", &wide)
        },
    },
    Check {
        id: "gateway.trusted_proxies_unreadable",
        severity: Warn,
        title: "Entries of gateway.trustedProxies that mean nothing",
        remedy: "Write an address or a network, like 10.0.0.2 or 10.0.0.0/24.",
        look: |f| listed("Nobody is trusted by these", &f.auth.bad_proxies),
    },
    Check {
        id: "gateway.trusted_proxy_no_proxies",
        severity: Critical,
        title: "A proxy shall say who comes, and there is none",
        remedy: "Set gateway.trustedProxies to its addresses.",
        look: |f| {
            when(by_proxy(f) && f.auth.proxies.is_empty(), "gateway.auth.mode is trusted-proxy without trustedProxies.")
        },
    },
    Check {
        id: "gateway.trusted_proxy_no_user_header",
        severity: Critical,
        title: "A proxy shall say who comes, and nobody knows in which header",
        remedy: "Set gateway.auth.trustedProxy.userHeader to the header that the proxy always overwrites.",
        look: |f| {
            let rules = f.auth.trusted_proxy.as_ref();
            let none = rules.is_none_or(|rules| rules.user_header.trim().is_empty());
            when(by_proxy(f) && none, "gateway.auth.trustedProxy.userHeader is not set.")
        },
    },
    Check {
        id: "gateway.trusted_proxy_no_allowlist",
        severity: Warn,
        title: "Every user of the proxy is the operator",
        remedy: "Name those who may in gateway.auth.trustedProxy.allowUsers.",
        look: |f| {
            let rules = f.auth.trusted_proxy.as_ref();
            let all = rules.is_some_and(|rules| rules.allow_users.is_empty());
            when(by_proxy(f) && all, "gateway.auth.trustedProxy.allowUsers is empty.")
        },
    },
    Check {
        id: "gateway.real_ip_fallback_enabled",
        severity: Warn,
        title: "X-Real-IP is believed",
        remedy: "Remove gateway.allowRealIpFallback unless the proxy overwrites that header and sends no X-Forwarded-For.",
        look: |f| {
            let on = f.config.gateway.allow_real_ip_fallback;
            when(on, "gateway.allowRealIpFallback is true.").map(|hit| hit.critical_if(f.exposed()))
        },
    },
    Check {
        id: "gateway.control_ui.allowed_origins_wildcard",
        severity: Warn,
        title: "Pages of every web site may talk to the gateway",
        remedy: "Name the origins of your Control UI in gateway.controlUi.allowedOrigins.",
        look: |f| {
            let any = f.config.gateway.control_ui.allowed_origins.iter().any(|origin| origin.trim() == "*");
            when(any, "gateway.controlUi.allowedOrigins has \"*\".").map(|hit| hit.critical_if(f.exposed()))
        },
    },
    Check {
        id: "gateway.control_ui.host_header_origin_fallback",
        severity: Warn,
        title: "The Host header decides which web pages may talk to the gateway",
        remedy: "Remove the key and name the origins in gateway.controlUi.allowedOrigins.",
        look: |f| {
            let on = f.config.gateway.control_ui.host_header_origin_fallback;
            when(on, "gateway.controlUi.dangerouslyAllowHostHeaderOriginFallback is true.")
                .map(|hit| hit.critical_if(f.exposed()))
        },
    },
    Check {
        id: "gateway.control_ui.insecure_auth",
        severity: Warn,
        title: "Control UI may sign in without a device over plain HTTP",
        remedy: "Remove the key; use HTTPS (tailscale serve) or localhost.",
        look: |f| when(f.config.gateway.control_ui.allow_insecure_auth, "gateway.controlUi.allowInsecureAuth is true."),
    },
    Check {
        id: "gateway.control_ui.device_auth_disabled",
        severity: Critical,
        title: "Control UI works without a device",
        remedy: "Remove the key.",
        look: |f| {
            let on = f.config.gateway.control_ui.disable_device_auth;
            when(on, "gateway.controlUi.dangerouslyDisableDeviceAuth is true.")
        },
    },
    Check {
        id: "config.insecure_or_dangerous_flags",
        severity: Warn,
        title: "Dangerous flags are set",
        remedy: "Remove what you do not need: openclaw config unset <key>",
        look: |f| {
            // Those of the Control UI have rows of their own.
            let flags = dangerous::flags(f.values).into_iter();
            let flags = flags.filter(|path| !path.starts_with("gateway.controlUi."));
            listed("Enabled", &flags.collect::<Vec<_>>())
        },
    },
    Check {
        id: "gateway.tailscale_funnel",
        severity: Warn,
        title: "The gateway is on the public Internet",
        remedy: "Set gateway.tailscale.mode to serve unless you need it there; funnel needs gateway.auth.mode=password.",
        look: |f| {
            let funnel = f.config.gateway.tailscale_mode.as_deref() == Some("funnel");
            let by_password = f.auth.mode == AuthMode::Password;
            let detail = match by_password {
                true => "gateway.tailscale.mode is funnel: a password is all that keeps strangers out.",
                false => "gateway.tailscale.mode is funnel without a password.",
            };
            when(funnel, detail).map(|hit| hit.critical_if(!by_password))
        },
    },
    Check {
        id: "gateway.tailscale_serve",
        severity: Info,
        title: "The gateway can be reached from the tailnet",
        remedy: "",
        look: |f| {
            let serve = f.config.gateway.tailscale_mode.as_deref() == Some("serve");
            when(serve, "gateway.tailscale.mode is serve; every machine of the tailnet reaches it.")
        },
    },
    Check {
        id: "gateway.tools_invoke_http.dangerous_allow",
        severity: Warn,
        title: "Dangerous tools can be called over HTTP",
        remedy: "Take them out of gateway.tools.allow.",
        look: |f| {
            let named = f.texts("gateway.tools.allow").into_iter();
            let named = named.filter(|name| NOT_OVER_HTTP.contains(&name.as_str()) || name == "*");
            let hit = listed("gateway.tools.allow has", &named.collect::<Vec<_>>())?;
            Some(hit.critical_if(f.exposed()))
        },
    },
    Check {
        id: "gateway.nodes.allow_commands_dangerous",
        severity: Warn,
        title: "Nodes may be told to watch their owner",
        remedy: "Take out of gateway.nodes.allowCommands what you do not need.",
        look: |f| {
            let named = f.texts("gateway.nodes.allowCommands").into_iter();
            let named = named.filter(|name| NODE_COMMANDS.contains(&name.as_str()));
            let hit = listed("gateway.nodes.allowCommands has", &named.collect::<Vec<_>>())?;
            Some(hit.critical_if(f.exposed()))
        },
    },
    Check {
        id: "discovery.mdns_full_mode",
        severity: Warn,
        title: "The gateway tells the local network where its files are",
        remedy: "Set discovery.mdns.mode to minimal or off.",
        look: |f| {
            let full = f.config.gateway.mdns_mode.as_deref() == Some("full");
            when(full, "discovery.mdns.mode is full: paths and ssh port are announced.")
        },
    },
    Check {
        id: "devices.admin_unused",
        severity: Warn,
        title: "Devices that may do everything and have not been seen for long",
        remedy: "Lost or given away? openclaw devices remove <id>",
        look: |f| {
            let idle = |device: &&PairedDevice| {
                let admin = device.approved_scopes.iter().chain(&device.scopes).any(|scope| scope == "operator.admin");
                admin && !valid_tokens(device).is_empty() && f.days_since(last_seen(device)) > ADMIN_UNUSED_DAYS
            };
            let line = |device: &PairedDevice| format!("{} ({} days)", name(device), f.days_since(last_seen(device)));
            let idle: Vec<String> = f.devices.iter().filter(idle).map(line).collect();
            listed("With operator.admin", &idle)
        },
    },
    Check {
        id: "devices.old_tokens",
        severity: Info,
        title: "Tokens of devices that are older than a year",
        remedy: "Give them new ones: openclaw devices rotate --device <id> --role <role>",
        look: |f| {
            let old = f.devices.iter().flat_map(|device| {
                let old = valid_tokens(device).into_iter().filter(|(_, at)| f.days_since(*at) > TOKEN_DAYS);
                old.map(|(role, at)| format!("{} {role} ({} days)", name(device), f.days_since(at)))
            });
            listed("Issued long ago", &old.collect::<Vec<_>>())
        },
    },
    Check {
        id: "summary.attack_surface",
        severity: Info,
        title: "Attack surface summary",
        remedy: "",
        look: |f| Some(surface(f)),
    },
];

fn by_proxy(facts: &Facts) -> bool {
    facts.auth.mode == AuthMode::TrustedProxy
}

impl Facts<'_> {
    /// Where the gateway listens; an address of this machine alone is loopback, however it was chosen.
    pub(super) fn bind(&self) -> Bind {
        let gateway = &self.config.gateway;
        let host = gateway.custom_bind_host.as_deref().and_then(|host| host.trim().parse().ok());
        match gateway.bind {
            Some(Bind::Custom) if host.is_some_and(crate::policy::net::is_loopback) => Bind::Loopback,
            Some(bind) => bind,
            None => Bind::Loopback,
        }
    }

    /// Other machines can reach it.
    pub(super) fn exposed(&self) -> bool {
        self.bind() != Bind::Loopback || self.config.gateway.tailscale_mode.as_deref() == Some("funnel")
    }

    /// The token that counts.
    fn token(&self) -> Option<&str> {
        self.auth.token.as_ref().filter(|_| self.auth.mode == AuthMode::Token).map(|token| token.expose())
    }

    fn days_since(&self, at_ms: u64) -> u64 {
        self.now_ms.saturating_sub(at_ms) / DAY_MS
    }
}

fn name(device: &PairedDevice) -> String {
    let id: String = device.device_id.chars().take(12).collect();
    let named = device.display_name.as_deref().or(device.client_id.as_deref());
    named.map_or_else(|| id.clone(), |name| format!("{name} {id}"))
}

/// Role and time of issue of the tokens that open the door.
fn valid_tokens(device: &PairedDevice) -> Vec<(&str, u64)> {
    let valid = device.tokens.iter().filter(|(_, token)| token.is_valid());
    valid.map(|(role, token)| (role.as_str(), token.issued_at_ms())).collect()
}

fn last_seen(device: &PairedDevice) -> u64 {
    let used = device.tokens.values().filter_map(|token| token.last_used_at_ms.or(Some(token.issued_at_ms())));
    used.max().unwrap_or_default().max(device.approved_at_ms)
}

/// What can be reached at all.
fn surface(facts: &Facts) -> Hit {
    let (open, listed) = facts.group_policies();
    let word = |on: bool| if on { "enabled" } else { "disabled" };
    let elevated = facts.at("tools.elevated.enabled") != Some(&Value::Bool(false));
    let internal = facts.at("hooks.internal.enabled") == Some(&Value::Bool(true));
    let admins =
        facts.devices.iter().filter(|d| d.approved_scopes.iter().any(|scope| scope == "operator.admin")).count();
    hit(format!(
        "gateway.bind: {}\ngateway.auth: {}\ngroups: open={open}, allowlist={listed}\ntools.elevated: {}\n\
         hooks.webhooks: {}\nhooks.internal: {}\npaired devices: {} (admin: {admins})\n\
         trust model: personal assistant (one trusted operator boundary), not hostile multi-tenant on one shared gateway",
        facts.bind().name(),
        facts.auth.mode.name(),
        word(elevated),
        word(facts.config.hooks.enabled),
        word(internal),
        facts.devices.len(),
    ))
}
