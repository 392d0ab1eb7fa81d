//! What forbids a start: the auth guards of the command line and the checks just before the bind (cli 3.1, steps 10
//! and 13). Texts are literal, operators and scripts match on them.

use std::net::{IpAddr, Ipv4Addr};

use super::auth::{AuthOverrides, ResolvedAuth};
use super::net::is_loopback;
use crate::config::model::{AuthMode, Bind, Config};

/// Lines for stderr, exit code 1.
#[derive(Clone, Debug, PartialEq)]
pub struct StartRefusal {
    pub lines: Vec<String>,
}

fn refuse<const N: usize>(lines: [&str; N]) -> StartRefusal {
    StartRefusal { lines: lines.map(str::to_owned).to_vec() }
}

/// What the guards look at.
#[derive(Clone, Copy)]
pub struct StartFacts<'a> {
    pub config: &'a Config,
    pub overrides: &'a AuthOverrides,
    pub auth: &'a ResolvedAuth,
    pub bind: Bind,
    /// `--bind` was given: origins are not assumed then (DECISIONS 76).
    pub bind_from_flag: bool,
    /// The address that the bind plan came to, e.g. `127.0.0.1` or `0.0.0.0`.
    pub host: IpAddr,
    pub port: u16,
    /// off, serve, funnel: the flag or the config.
    pub tailscale_mode: &'a str,
    /// The config holds a `gateway.token`, which means nothing.
    pub stray_gateway_token: bool,
}

const HOW_TO_AUTH: &str = "Set gateway.auth.token/password (or OPENCLAW_GATEWAY_TOKEN/OPENCLAW_GATEWAY_PASSWORD) \
                           or pass --token/--password.";

/// The warning of a gateway without auth.
pub const NO_AUTH_WARNING: &str = "auth mode=none explicitly configured; all gateway connections are unauthenticated.";

/// Step 10, before the lock. Ok carries warnings for the gateway's log.
pub fn check_auth(facts: &StartFacts) -> Result<Vec<&'static str>, StartRefusal> {
    let mut refusal = match facts.auth.mode {
        AuthMode::Password if facts.auth.password.is_none() => refuse([
            "Gateway auth is set to password, but no password is configured.",
            "Set gateway.auth.password (or OPENCLAW_GATEWAY_PASSWORD), or pass --password.",
        ]),
        AuthMode::None if facts.bind != Bind::Loopback => {
            refuse([&format!("Refusing to bind gateway to {} without auth.", facts.bind.name()), HOW_TO_AUTH])
        }
        AuthMode::None => return Ok(vec![NO_AUTH_WARNING]),
        AuthMode::Password | AuthMode::Token | AuthMode::TrustedProxy => return Ok(Vec::new()),
    };
    if facts.stray_gateway_token {
        refusal.lines.push("Found \"gateway.token\" in config. Use \"gateway.auth.token\" instead.".into());
    } else if facts.config.gateway.remote_token.is_some() && facts.config.gateway.auth.token.is_none() {
        refusal.lines.push(
            "gateway.remote.token is what commands show to another gateway; this one needs gateway.auth.token.".into(),
        );
    }
    Err(refusal)
}

/// Step 13, before the bind; the line goes behind `Gateway failed to start: Error: `.
pub fn check_runtime(facts: &StartFacts) -> Result<(), StartRefusal> {
    type Check = fn(&StartFacts) -> Result<(), String>;
    let checks: [Check; 9] = [
        both_secrets,
        hooks,
        hooks_token,
        bind_plan,
        secret_is_there,
        tailscale,
        open_to_all,
        control_ui,
        trusted_proxy,
    ];
    checks.iter().try_for_each(|check| check(facts)).map_err(|line| StartRefusal { lines: vec![line] })
}

/// Origins that are assumed when the config binds beyond loopback and names none (DECISIONS 76).
pub fn assumed_origins(facts: &StartFacts) -> Vec<String> {
    let ui = &facts.config.gateway.control_ui;
    if facts.bind_from_flag || is_loopback(facts.host) || !ui.enabled || has_origin_rules(facts) {
        return Vec::new();
    }
    let port = facts.port;
    let scheme = if facts.config.gateway.tls.enabled { "https" } else { "http" };
    let mut origins = vec![format!("{scheme}://localhost:{port}"), format!("{scheme}://127.0.0.1:{port}")];
    if let (Bind::Custom, Some(host)) = (facts.bind, &facts.config.gateway.custom_bind_host) {
        origins.push(format!("{scheme}://{}:{port}", host.trim()));
    }
    origins
}

fn has_origin_rules(facts: &StartFacts) -> bool {
    let ui = &facts.config.gateway.control_ui;
    ui.host_header_origin_fallback || ui.allowed_origins.iter().any(|origin| !origin.trim().is_empty())
}

fn both_secrets(facts: &StartFacts) -> Result<(), String> {
    let auth = &facts.config.gateway.auth;
    let unclear = auth.mode.is_none() && facts.overrides.mode.is_none();
    if unclear && auth.token.is_some() && auth.password.is_some() {
        return Err("Invalid config: gateway.auth.token and gateway.auth.password are both configured, but \
                    gateway.auth.mode is unset. Set gateway.auth.mode to token or password."
            .into());
    }
    Ok(())
}

fn hooks(facts: &StartFacts) -> Result<(), String> {
    super::hooks::check(&facts.config.hooks)
}

/// Whoever may post to a hook would be an operator (LESSONS R15).
fn hooks_token(facts: &StartFacts) -> Result<(), String> {
    let hooks = &facts.config.hooks;
    let Some(token) = hooks.token.as_ref().filter(|token| hooks.enabled && !token.is_empty()) else { return Ok(()) };
    for (secret, name) in [(&facts.auth.token, "token"), (&facts.auth.password, "password")] {
        if secret.as_ref().is_some_and(|secret| secret.matches(token.expose())) {
            return Err(format!(
                "Invalid config: hooks.token must not match gateway auth {name}. Give hooks.token a value of its own."
            ));
        }
    }
    Ok(())
}

fn bind_plan(facts: &StartFacts) -> Result<(), String> {
    match facts.bind {
        Bind::Loopback if !is_loopback(facts.host) => Err(format!(
            "gateway bind=loopback resolved to non-loopback host {}; refusing fallback to a network bind",
            facts.host
        )),
        Bind::Custom => {
            let wanted = facts.config.gateway.custom_bind_host.as_deref().map(str::trim).unwrap_or_default();
            if wanted.is_empty() {
                return Err("gateway.bind=custom requires gateway.customBindHost".into());
            }
            let Ok(ip) = wanted.parse::<Ipv4Addr>() else {
                return Err(format!("gateway.bind=custom requires a valid IPv4 customBindHost (got {wanted})"));
            };
            if IpAddr::V4(ip) != facts.host {
                return Err(format!(
                    "gateway bind=custom requested {ip} but resolved {}; refusing fallback",
                    facts.host
                ));
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

fn secret_is_there(facts: &StartFacts) -> Result<(), String> {
    match facts.auth.mode {
        AuthMode::Token if facts.auth.token.is_none() && !facts.auth.allow_tailscale => Err(
            "gateway auth mode is token, but no token was configured (set gateway.auth.token or OPENCLAW_GATEWAY_TOKEN)"
                .into(),
        ),
        AuthMode::Password if facts.auth.password.is_none() => {
            Err("gateway auth mode is password, but no password was configured".into())
        }
        AuthMode::TrustedProxy if facts.auth.trusted_proxy.as_ref().is_none_or(|rules| rules.user_header.is_empty()) => {
            Err("gateway auth mode is trusted-proxy, but gateway.auth.trustedProxy.userHeader is not configured".into())
        }
        _ => Ok(()),
    }
}

fn tailscale(facts: &StartFacts) -> Result<(), String> {
    if facts.tailscale_mode == "funnel" && facts.auth.mode != AuthMode::Password {
        return Err("tailscale funnel requires gateway auth mode=password (set gateway.auth.password or \
                    OPENCLAW_GATEWAY_PASSWORD)"
            .into());
    }
    if matches!(facts.tailscale_mode, "serve" | "funnel") && !is_loopback(facts.host) {
        return Err("tailscale serve/funnel requires gateway bind=loopback (127.0.0.1)".into());
    }
    Ok(())
}

fn open_to_all(facts: &StartFacts) -> Result<(), String> {
    let safe = facts.auth.shared_secret().is_some() || facts.auth.mode == AuthMode::TrustedProxy;
    if safe || is_loopback(facts.host) {
        return Ok(());
    }
    Err(format!(
        "refusing to bind gateway to {}:{} without auth (set gateway.auth.token/password, or set \
         OPENCLAW_GATEWAY_TOKEN/OPENCLAW_GATEWAY_PASSWORD)",
        facts.host, facts.port
    ))
}

fn control_ui(facts: &StartFacts) -> Result<(), String> {
    let enabled = facts.config.gateway.control_ui.enabled;
    if !enabled || is_loopback(facts.host) || has_origin_rules(facts) || !assumed_origins(facts).is_empty() {
        return Ok(());
    }
    Err("non-loopback Control UI requires gateway.controlUi.allowedOrigins (set explicit origins), or set \
         gateway.controlUi.dangerouslyAllowHostHeaderOriginFallback=true to use Host-header origin fallback mode"
        .into())
}

fn trusted_proxy(facts: &StartFacts) -> Result<(), String> {
    if facts.auth.mode != AuthMode::TrustedProxy {
        return Ok(());
    }
    let proxies = &facts.auth.proxies;
    if proxies.is_empty() {
        let text = "gateway auth mode=trusted-proxy requires gateway.trustedProxies to be configured with at least \
                    one proxy IP";
        return Err(match facts.auth.bad_proxies.as_slice() {
            [] => text.into(),
            bad => format!("{text} (no address and no network: {})", bad.join(", ")),
        });
    }
    let local = ["127.0.0.1", "::1"].iter().any(|ip| ip.parse().is_ok_and(|ip| proxies.contains(ip)));
    if is_loopback(facts.host) && !local {
        return Err("gateway auth mode=trusted-proxy with bind=loopback requires gateway.trustedProxies to include \
                    127.0.0.1, ::1, or a loopback CIDR"
            .into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::auth::resolve_auth;
    use super::*;
    use crate::config::model::TrustedProxy;
    use crate::secret::Secret;

    struct Case {
        config: Config,
        overrides: AuthOverrides,
        bind: Bind,
        bind_from_flag: bool,
        host: &'static str,
        tailscale: &'static str,
    }

    impl Default for Case {
        fn default() -> Self {
            let mut config = Config::default();
            config.gateway.auth.token = Some(Secret::new("t0k"));
            Case {
                config,
                overrides: AuthOverrides::default(),
                bind: Bind::Loopback,
                bind_from_flag: false,
                host: "127.0.0.1",
                tailscale: "off",
            }
        }
    }

    impl Case {
        fn lan(mut self) -> Case {
            (self.bind, self.host) = (Bind::Lan, "0.0.0.0");
            self
        }

        fn mode(mut self, mode: AuthMode) -> Case {
            self.config.gateway.auth.mode = Some(mode);
            self
        }

        fn with(mut self, change: impl FnOnce(&mut Config)) -> Case {
            change(&mut self.config);
            self
        }

        fn run<T>(&self, check: impl Fn(&StartFacts) -> T) -> T {
            let auth = resolve_auth(&self.config.gateway, &self.overrides);
            check(&StartFacts {
                config: &self.config,
                overrides: &self.overrides,
                auth: &auth,
                bind: self.bind,
                bind_from_flag: self.bind_from_flag,
                host: self.host.parse().unwrap(),
                port: 18789,
                tailscale_mode: self.tailscale,
                stray_gateway_token: false,
            })
        }

        fn refusal(&self) -> String {
            self.run(check_runtime).err().map_or_else(String::new, |refusal| refusal.lines.join("\n"))
        }
    }

    #[test]
    fn guards_of_the_command_line() {
        let lines = |case: Case| case.run(check_auth).map_err(|refusal| refusal.lines);
        let clear = |config: &mut Config| config.gateway.auth.token = None;
        assert_eq!(lines(Case::default()), Ok(vec![]));
        assert_eq!(lines(Case::default().with(clear).lan()), Ok(vec![]), "a token will be made");
        assert_eq!(lines(Case::default().mode(AuthMode::None)), Ok(vec![NO_AUTH_WARNING]));
        assert_eq!(
            lines(Case::default().mode(AuthMode::Password)),
            Err(vec![
                "Gateway auth is set to password, but no password is configured.".into(),
                "Set gateway.auth.password (or OPENCLAW_GATEWAY_PASSWORD), or pass --password.".into()
            ])
        );
        assert_eq!(
            lines(Case::default().mode(AuthMode::None).lan()),
            Err(vec!["Refusing to bind gateway to lan without auth.".into(), HOW_TO_AUTH.into()])
        );
        assert_eq!(
            HOW_TO_AUTH,
            "Set gateway.auth.token/password (or OPENCLAW_GATEWAY_TOKEN/OPENCLAW_GATEWAY_PASSWORD) or pass \
             --token/--password."
        );
    }

    #[test]
    fn refusals_before_the_bind() {
        let proxy = |config: &mut Config| {
            config.gateway.auth.trusted_proxy =
                Some(TrustedProxy { user_header: "x-u".into(), ..TrustedProxy::default() });
        };
        let hooks = |config: &mut Config| {
            config.hooks.enabled = true;
            config.hooks.token = Some(Secret::new("t0k"));
        };
        let custom = |host: Option<&'static str>| {
            move |config: &mut Config| config.gateway.custom_bind_host = host.map(String::from)
        };
        for (case, starts, contains) in [
            (Case::default(), "", ""),
            (
                Case::default().with(|c| c.gateway.auth.password = Some(Secret::new("p"))),
                "Invalid config: gateway.auth.token and gateway.auth.password are both configured, but",
                "gateway.auth.mode is unset. Set gateway.auth.mode to token or password.",
            ),
            (Case::default().mode(AuthMode::Token).with(|c| c.gateway.auth.password = Some(Secret::new("p"))), "", ""),
            (Case::default().with(hooks), "Invalid config: hooks.token must not match gateway auth token. ", ""),
            (
                Case { bind: Bind::Loopback, host: "0.0.0.0", ..Case::default() },
                "gateway bind=loopback resolved to non-loopback host 0.0.0.0; refusing fallback to a network bind",
                "",
            ),
            (Case { bind: Bind::Custom, ..Case::default() }, "gateway.bind=custom requires gateway.customBindHost", ""),
            (
                Case { bind: Bind::Custom, ..Case::default() }.with(custom(Some("x.y"))),
                "gateway.bind=custom requires a valid IPv4 customBindHost (got x.y)",
                "",
            ),
            (
                Case { bind: Bind::Custom, ..Case::default() }.with(custom(Some("10.0.0.1"))),
                "gateway bind=custom requested 10.0.0.1 but resolved 127.0.0.1; refusing fallback",
                "",
            ),
            (
                Case { tailscale: "funnel", ..Case::default() },
                "tailscale funnel requires gateway auth mode=password (set gateway.auth.password or ",
                "OPENCLAW_GATEWAY_PASSWORD)",
            ),
            (
                Case { tailscale: "serve", ..Case::default() }.lan(),
                "tailscale serve/funnel requires gateway bind=loopback (127.0.0.1)",
                "",
            ),
            (
                Case::default().mode(AuthMode::None).lan(),
                "refusing to bind gateway to 0.0.0.0:18789 without auth (set gateway.auth.token/password, or set ",
                "OPENCLAW_GATEWAY_TOKEN/OPENCLAW_GATEWAY_PASSWORD)",
            ),
            (Case::default().lan(), "", ""),
            (
                Case { bind_from_flag: true, ..Case::default().lan() },
                "non-loopback Control UI requires gateway.controlUi.allowedOrigins (set explicit origins), or set ",
                "=true to use Host-header origin fallback mode",
            ),
            (
                Case { bind_from_flag: true, ..Case::default().lan() }.with(|c| c.gateway.control_ui.enabled = false),
                "",
                "",
            ),
            (
                Case::default().mode(AuthMode::TrustedProxy).with(proxy),
                "gateway auth mode=trusted-proxy requires gateway.trustedProxies to be configured with at least one",
                " proxy IP",
            ),
            (
                Case::default()
                    .mode(AuthMode::TrustedProxy)
                    .with(proxy)
                    .with(|c| c.gateway.trusted_proxies = vec!["10.0.0.1".into()]),
                "gateway auth mode=trusted-proxy with bind=loopback requires gateway.trustedProxies to include ",
                "127.0.0.1, ::1, or a loopback CIDR",
            ),
            (
                Case::default()
                    .mode(AuthMode::TrustedProxy)
                    .with(proxy)
                    .with(|c| c.gateway.trusted_proxies = vec!["127.0.0.0/8".into()]),
                "",
                "",
            ),
        ] {
            let text = case.refusal();
            assert!(text.starts_with(starts) && text.contains(contains), "{text}");
            assert_eq!(text.is_empty(), starts.is_empty(), "{text}");
            assert!(!text.contains("  "), "{text}");
        }
    }

    #[test]
    fn assumed_origins_only_for_a_bind_from_the_config() {
        let lan = Case::default().lan();
        assert_eq!(lan.run(assumed_origins), ["http://localhost:18789", "http://127.0.0.1:18789"]);
        let tls = Case::default().lan().with(|c| c.gateway.tls.enabled = true);
        assert_eq!(tls.run(assumed_origins), ["https://localhost:18789", "https://127.0.0.1:18789"]);
        assert!(Case { bind_from_flag: true, ..Case::default().lan() }.run(assumed_origins).is_empty());
        assert!(Case::default().run(assumed_origins).is_empty());
        let named = Case::default().lan().with(|c| c.gateway.control_ui.allowed_origins = vec!["https://a".into()]);
        assert!(named.run(assumed_origins).is_empty());
        let custom = Case { bind: Bind::Custom, host: "10.0.0.1", ..Case::default() }
            .with(|c| c.gateway.custom_bind_host = Some("10.0.0.1".into()));
        assert_eq!(custom.run(assumed_origins)[2], "http://10.0.0.1:18789");
        assert_eq!(custom.refusal(), "");
    }
}
