//! Which addresses are bound (cli 3.2). What forbids a plan is `policy::start`'s.
//!
//! Pure: what the machine can do comes in as arguments. Errors are printed after `Gateway failed to start: Error: `.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::config::model::Bind;

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const LOOPBACK_ALIAS: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);
const EVERYWHERE: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
const EXPOSED: &str = "⚠️  Gateway is binding to a non-loopback address. Ensure authentication is configured before \
                       exposing to public networks.";

/// Addresses in order; only the first one must succeed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BindPlan {
    pub addresses: Vec<SocketAddr>,
    /// For the log, subsystem gateway.
    pub warnings: Vec<String>,
    /// A further port on the same addresses, for the canvas alone.
    pub canvas_port: Option<u16>,
}

impl BindPlan {
    /// The address that decides: guards, URLs and the `--force` probe look at this one.
    pub fn host(&self) -> IpAddr {
        self.addresses.first().map_or(LOOPBACK, SocketAddr::ip)
    }

    /// The canvas on a port of its own, beside the gateway's; the same port is none of its own.
    pub fn add_canvas(&mut self, port: u16) {
        let Some(own) = self.addresses.first().map(SocketAddr::port).filter(|own| *own != port) else { return };
        let more: Vec<_> =
            self.addresses.iter().filter(|a| a.port() == own).map(|a| SocketAddr::new(a.ip(), port)).collect();
        self.addresses.extend(more);
        self.canvas_port = Some(port);
    }

    pub fn is_loopback(&self) -> bool {
        self.host().is_loopback()
    }
}

/// Resolves a bind mode. `tailnet` finds the first address in 100.64.0.0/10; `can_bind` says whether a socket can be bound
/// to an address on any port (the port itself may be taken: that is for `listen::bind` to find out).
pub fn plan(
    mode: Bind,
    custom_host: Option<&str>,
    port: u16,
    tailnet: &dyn Fn() -> Option<Ipv4Addr>,
    can_bind: &dyn Fn(IpAddr) -> bool,
) -> Result<BindPlan, String> {
    let host = match mode {
        Bind::Loopback => loopback(can_bind)?,
        Bind::Lan => EVERYWHERE,
        Bind::Tailnet => match tailnet().map(IpAddr::V4).filter(|ip| can_bind(*ip)) {
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
    Ok(BindPlan { addresses, warnings, canvas_port: None })
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
            let found = hosts(plan(mode, custom, 18789, &|| tailnet, can_bind));
            let expected = expected.map(|a| a.iter().map(|s| s.to_string()).collect()).map_err(str::to_owned);
            assert_eq!(found, expected, "{mode:?} {custom:?}");
        }
        assert_eq!(plan(Bind::Lan, None, 1, &|| None, &all).unwrap().warnings, [EXPOSED]);
        assert!(plan(Bind::Loopback, None, 1, &|| None, &all).unwrap().warnings.is_empty());
    }
}
