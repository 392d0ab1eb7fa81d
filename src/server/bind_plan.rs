//! Which addresses are bound (cli 3.2), and every refusal that concerns exposure (cli 3.1, steps 10 and 13).
//!
//! Pure: what the machine can do comes in as arguments. Refusals of step 13 are printed after
//! `Gateway failed to start: Error: `, the one of step 10 as it is.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::config::model::{AuthMode, Bind};

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const LOOPBACK_ALIAS: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);
const EVERYWHERE: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
const EXPOSED: &str = "⚠️  Gateway is binding to a non-loopback address. Ensure authentication is configured before \
                       exposing to public networks.";

/// Addresses in order; only the first one must succeed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BindPlan {
    pub addresses: Vec<SocketAddr>,
    /// For the log, subsystem gateway.
    pub warnings: Vec<String>,
}

impl BindPlan {
    /// The address that decides: guards, URLs and the `--force` probe look at this one.
    pub fn host(&self) -> IpAddr {
        self.addresses.first().map_or(LOOPBACK, SocketAddr::ip)
    }

    pub fn is_loopback(&self) -> bool {
        self.host().is_loopback()
    }
}

/// Resolves a bind mode. `tailnet` is the first address in 100.64.0.0/10; `can_bind` says whether a socket can be bound
/// to an address on any port (the port itself may be taken: that is for `listen::bind` to find out).
pub fn plan(
    mode: Bind,
    custom_host: Option<&str>,
    port: u16,
    tailnet: Option<Ipv4Addr>,
    can_bind: &dyn Fn(IpAddr) -> bool,
) -> Result<BindPlan, String> {
    let host = match mode {
        Bind::Loopback => loopback(can_bind)?,
        Bind::Lan => EVERYWHERE,
        Bind::Tailnet => match tailnet.map(IpAddr::V4).filter(|ip| can_bind(*ip)) {
            Some(ip) => ip,
            None => loopback(can_bind)?,
        },
        Bind::Auto => loopback(can_bind).unwrap_or(EVERYWHERE),
        Bind::Custom => custom(custom_host, can_bind)?,
    };
    let mut addresses = vec![SocketAddr::new(host, port)];
    if host == LOOPBACK && can_bind(LOOPBACK_ALIAS) {
        addresses.push(SocketAddr::new(LOOPBACK_ALIAS, port));
    }
    let warnings = if host.is_loopback() { Vec::new() } else { vec![EXPOSED.to_owned()] };
    Ok(BindPlan { addresses, warnings })
}

fn loopback(can_bind: &dyn Fn(IpAddr) -> bool) -> Result<IpAddr, String> {
    if can_bind(LOOPBACK) {
        return Ok(LOOPBACK);
    }
    Err(format!(
        "gateway bind=loopback resolved to non-loopback host {EVERYWHERE}; refusing fallback to a network bind"
    ))
}

fn custom(host: Option<&str>, can_bind: &dyn Fn(IpAddr) -> bool) -> Result<IpAddr, String> {
    let Some(host) = host.map(str::trim).filter(|host| !host.is_empty()) else {
        return Err("gateway.bind=custom requires gateway.customBindHost".into());
    };
    let Ok(ip) = host.parse::<Ipv4Addr>() else {
        return Err(format!("gateway.bind=custom requires a valid IPv4 customBindHost (got {host})"));
    };
    if !can_bind(ip.into()) {
        return Err(format!("gateway bind=custom requested {host} but resolved {EVERYWHERE}; refusing fallback"));
    }
    Ok(ip.into())
}

/// Step 10: the two lines for a mode that cannot be made safe by generating a token; None when all is well.
pub fn refuse_without_auth(bind: Bind, auth: AuthMode, has_secret: bool) -> Option<[String; 2]> {
    let refused = bind != Bind::Loopback && auth == AuthMode::None && !has_secret;
    refused.then(|| {
        [
            format!("Refusing to bind gateway to {} without auth.", bind.name()),
            "Set gateway.auth.token/password (or OPENCLAW_GATEWAY_TOKEN/OPENCLAW_GATEWAY_PASSWORD) or pass \
             --token/--password."
                .into(),
        ]
    })
}

/// What step 13 looks at.
#[derive(Clone, Copy, Debug)]
pub struct Exposure<'a> {
    pub address: SocketAddr,
    pub auth: AuthMode,
    /// A token or password for the mode is known.
    pub has_secret: bool,
    /// `off`, `serve` or `funnel`.
    pub tailscale: &'a str,
    pub control_ui: bool,
    /// `allowedOrigins` has entries, or they are assumed because the bind comes from the configuration (DECISIONS 76).
    pub has_origins: bool,
    pub host_header_origin_fallback: bool,
    pub has_trusted_proxies: bool,
    /// 127.0.0.1 or ::1 is among them.
    pub trusts_loopback: bool,
}

/// Step 13, the checks in their order; the first refusal wins.
pub fn check_exposure(e: &Exposure<'_>) -> Result<(), String> {
    let loopback = e.address.ip().is_loopback();
    let proxied = e.auth == AuthMode::TrustedProxy;
    let refusals: [(bool, String); 6] = [
        (
            e.tailscale == "funnel" && e.auth != AuthMode::Password,
            "tailscale funnel requires gateway auth mode=password (set gateway.auth.password or \
             OPENCLAW_GATEWAY_PASSWORD)"
                .into(),
        ),
        (e.tailscale != "off" && !loopback, "tailscale serve/funnel requires gateway bind=loopback (127.0.0.1)".into()),
        (
            !loopback && !e.has_secret && !proxied,
            format!(
                "refusing to bind gateway to {} without auth (set gateway.auth.token/password, or set \
                 OPENCLAW_GATEWAY_TOKEN/OPENCLAW_GATEWAY_PASSWORD)",
                e.address
            ),
        ),
        (
            e.control_ui && !loopback && !e.has_origins && !e.host_header_origin_fallback,
            "non-loopback Control UI requires gateway.controlUi.allowedOrigins (set explicit origins), or set \
             gateway.controlUi.dangerouslyAllowHostHeaderOriginFallback=true to use Host-header origin fallback mode"
                .into(),
        ),
        (
            proxied && !e.has_trusted_proxies,
            "gateway auth mode=trusted-proxy requires gateway.trustedProxies to be configured with at least one \
             proxy IP"
                .into(),
        ),
        (
            proxied && loopback && !e.trusts_loopback,
            "gateway auth mode=trusted-proxy with bind=loopback requires gateway.trustedProxies to include \
             127.0.0.1 or ::1"
                .into(),
        ),
    ];
    match refusals.into_iter().find(|(refused, _)| *refused) {
        Some((_, text)) => Err(text),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(plan: Result<BindPlan, String>) -> Result<Vec<String>, String> {
        plan.map(|plan| plan.addresses.iter().map(|a| a.to_string()).collect())
    }

    #[test]
    fn modes_and_their_addresses() {
        let all = |_: IpAddr| true;
        let only_v4 = |ip: IpAddr| ip.is_ipv4();
        let no_loopback = |ip: IpAddr| !ip.is_loopback();
        let tail = Some(Ipv4Addr::new(100, 100, 1, 2));
        let both = &["127.0.0.1:18789", "[::1]:18789"][..];
        type Case<'a> =
            (Bind, Option<&'a str>, Option<Ipv4Addr>, &'a dyn Fn(IpAddr) -> bool, Result<&'a [&'a str], &'a str>);
        let cases: Vec<Case<'_>> = vec![
            (Bind::Loopback, None, None, &all, Ok(both)),
            (Bind::Loopback, None, None, &only_v4, Ok(&both[..1])),
            (
                Bind::Loopback,
                None,
                None,
                &no_loopback,
                Err("gateway bind=loopback resolved to non-loopback host 0.0.0.0; refusing fallback to a network bind"),
            ),
            (Bind::Lan, None, tail, &all, Ok(&["0.0.0.0:18789"])),
            (Bind::Tailnet, None, tail, &all, Ok(&["100.100.1.2:18789"])),
            (Bind::Tailnet, None, None, &all, Ok(both)),
            (Bind::Auto, None, tail, &all, Ok(both)),
            (Bind::Auto, None, None, &no_loopback, Ok(&["0.0.0.0:18789"])),
            (Bind::Custom, Some("192.168.1.1"), None, &all, Ok(&["192.168.1.1:18789"])),
            (Bind::Custom, Some(" 127.0.0.1 "), None, &all, Ok(both)),
            (Bind::Custom, None, None, &all, Err("gateway.bind=custom requires gateway.customBindHost")),
            (Bind::Custom, Some(" "), None, &all, Err("gateway.bind=custom requires gateway.customBindHost")),
            (
                Bind::Custom,
                Some("pi.local"),
                None,
                &all,
                Err("gateway.bind=custom requires a valid IPv4 customBindHost (got pi.local)"),
            ),
            (
                Bind::Custom,
                Some("10.9.9.9"),
                None,
                &|ip| ip.is_loopback(),
                Err("gateway bind=custom requested 10.9.9.9 but resolved 0.0.0.0; refusing fallback"),
            ),
        ];
        for (mode, custom, tailnet, can_bind, expected) in cases {
            let found = hosts(plan(mode, custom, 18789, tailnet, can_bind));
            let expected = expected.map(|a| a.iter().map(|s| s.to_string()).collect()).map_err(str::to_owned);
            assert_eq!(found, expected, "{mode:?} {custom:?}");
        }
        assert_eq!(plan(Bind::Lan, None, 1, None, &all).unwrap().warnings, [EXPOSED]);
        assert!(plan(Bind::Loopback, None, 1, None, &all).unwrap().warnings.is_empty());
    }

    #[test]
    fn exposure_is_refused_in_order() {
        let good = Exposure {
            address: "127.0.0.1:18789".parse().unwrap(),
            auth: AuthMode::Token,
            has_secret: true,
            tailscale: "off",
            control_ui: true,
            has_origins: false,
            host_header_origin_fallback: false,
            has_trusted_proxies: false,
            trusts_loopback: false,
        };
        let lan = Exposure { address: "0.0.0.0:18789".parse().unwrap(), has_origins: true, ..good };
        let proxy = Exposure { auth: AuthMode::TrustedProxy, has_secret: false, ..good };
        for (exposure, expected) in [
            (good, ""),
            (lan, ""),
            (Exposure { tailscale: "funnel", ..lan }, "tailscale funnel requires gateway auth mode=password"),
            (
                Exposure { tailscale: "serve", ..lan },
                "tailscale serve/funnel requires gateway bind=loopback (127.0.0.1)",
            ),
            (Exposure { tailscale: "serve", ..good }, ""),
            (
                Exposure { has_secret: false, auth: AuthMode::None, ..lan },
                "refusing to bind gateway to 0.0.0.0:18789 without auth (set gateway.auth.token/password, or set",
            ),
            (
                Exposure { has_origins: false, ..lan },
                "non-loopback Control UI requires gateway.controlUi.allowedOrigins",
            ),
            (Exposure { has_origins: false, control_ui: false, ..lan }, ""),
            (Exposure { has_origins: false, host_header_origin_fallback: true, ..lan }, ""),
            (proxy, "gateway auth mode=trusted-proxy requires gateway.trustedProxies"),
            (Exposure { has_trusted_proxies: true, ..proxy }, "gateway auth mode=trusted-proxy with bind=loopback"),
            (Exposure { has_trusted_proxies: true, trusts_loopback: true, ..proxy }, ""),
        ] {
            match check_exposure(&exposure) {
                Ok(()) => assert_eq!(expected, "", "{exposure:?}"),
                Err(text) => assert!(!expected.is_empty() && text.starts_with(expected), "{text}"),
            }
        }
        assert_eq!(refuse_without_auth(Bind::Lan, AuthMode::Token, false), None);
        assert_eq!(refuse_without_auth(Bind::Loopback, AuthMode::None, false), None);
        let lines = refuse_without_auth(Bind::Lan, AuthMode::None, false).unwrap();
        assert_eq!(lines[0], "Refusing to bind gateway to lan without auth.");
        assert!(lines[1].ends_with("or pass --token/--password."));
    }
}
