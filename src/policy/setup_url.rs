//! The address that a setup code tells a phone: which of the ways to this gateway, and whether a phone may take it.
//!
//! Pure: what the machine knows comes in as functions, asked only when a rule needs them.

use std::net::{IpAddr, Ipv4Addr};

use super::net::{Host, HostName};
use crate::config::Bind;
use crate::config::model::Gateway;
use crate::error::Error;

/// Key of the reference's pairing extension; read from its place because addresses are set there already.
pub const PUBLIC_URL_KEY: &str = "plugins.entries.device-pair.config.publicUrl";

/// What the address is chosen from.
#[derive(Clone, Copy)]
pub struct UrlFacts<'a> {
    /// The option that names an address, and the address.
    pub given: Option<(&'static str, &'a str)>,
    /// [`PUBLIC_URL_KEY`].
    pub public_url: Option<&'a str>,
    /// `--remote`.
    pub prefer_remote: bool,
    pub gateway: &'a Gateway,
    pub port: u16,
    /// Name of this machine in its tailnet.
    pub tailscale_name: &'a dyn Fn() -> Option<String>,
    /// First address of this machine in a private network, and in 100.64.0.0/10.
    pub lan: &'a dyn Fn() -> Option<Ipv4Addr>,
    pub tailnet: &'a dyn Fn() -> Option<Ipv4Addr>,
}

/// An address and where it came from (`urlSource`).
#[derive(Clone, Debug, PartialEq)]
pub struct SetupUrl {
    pub url: String,
    pub source: String,
}

/// An option, the extension's key (not with `--remote`), `gateway.remote.url` if preferred, Tailscale,
/// `gateway.remote.url`, the address that the gateway listens on.
pub fn choose(facts: &UrlFacts) -> Result<SetupUrl, Error> {
    let address = pick(facts)?;
    if address.secure || is_near(&address.host.name) {
        return Ok(SetupUrl { url: address.url(), source: address.source });
    }
    Err(Error::new(format!(
        "A phone would send its credentials unencrypted to {} (from {}): plain ws:// is only for addresses of a private network",
        address.url(),
        address.source
    ))
    .hint(
        "Use a wss:// address: gateway.tailscale.mode=serve, or --url with that of a proxy in front of the gateway. At \
         home: gateway.bind=lan.",
    ))
}

struct Address {
    secure: bool,
    host: HostName,
    source: String,
}

impl Address {
    fn url(&self) -> String {
        let scheme = if self.secure { "wss" } else { "ws" };
        let host = match &self.host.name {
            Host::Ip(IpAddr::V6(ip)) => format!("[{ip}]"),
            Host::Ip(ip) => ip.to_string(),
            Host::Name(name) => name.clone(),
        };
        let port = self.host.port.map_or(String::new(), |port| format!(":{port}"));
        format!("{scheme}://{host}{port}")
    }
}

fn pick(facts: &UrlFacts) -> Result<Address, Error> {
    let gateway = facts.gateway;
    let written = |source: &str, text: &str| {
        read(text, gateway.tls.enabled)
            .map(|(secure, host)| Address { secure, host, source: source.to_owned() })
            .ok_or_else(|| {
                Error::new(format!("{source} is not the address of a gateway: {text:?}"))
                    .hint("It looks like wss://gateway.example, ws://192.168.1.5:18789 or 192.168.1.5:18789.")
            })
    };
    if let Some((option, text)) = facts.given {
        return written(option, text);
    }
    if let Some(text) = filled(facts.public_url).filter(|_| !facts.prefer_remote) {
        return written(PUBLIC_URL_KEY, text);
    }
    let remote = filled(gateway.remote_url.as_deref()).map(|text| written("gateway.remote.url", text)).transpose()?;
    let published = gateway.tailscale_mode.as_deref().filter(|mode| matches!(*mode, "serve" | "funnel"));
    match (remote, published) {
        (Some(address), _) if facts.prefer_remote => Ok(address),
        (_, Some(mode)) => match (facts.tailscale_name)().as_deref().and_then(HostName::parse) {
            Some(host) => Ok(Address { secure: true, host, source: format!("gateway.tailscale.mode={mode}") }),
            None => Err(Error::new(format!(
                "gateway.tailscale.mode is {mode}, but tailscale does not tell the name of this machine"
            ))
            .hint("Look at: tailscale status. Or name the address: openclaw qr --url wss://<name>")),
        },
        (Some(address), None) => Ok(address),
        (None, None) if facts.prefer_remote => {
            Err(Error::new("--remote needs gateway.remote.url, or gateway.tailscale.mode serve or funnel")
                .hint("Set one of them, or name the address: openclaw qr --url wss://<name>"))
        }
        (None, None) => bound(facts),
    }
}

/// The address that the gateway listens on.
fn bound(facts: &UrlFacts) -> Result<Address, Error> {
    let gateway = facts.gateway;
    let bind = gateway.bind.unwrap_or(Bind::Loopback);
    let custom = || filled(gateway.custom_bind_host.as_deref()).and_then(|host| host.parse::<Ipv4Addr>().ok());
    let nothing = |network: &str| {
        Err(Error::new(format!("gateway.bind is {}, but this machine has no address in a {network}", bind.name()))
            .hint("Connect it, or name the address: openclaw qr --url ws://<address>:<port>"))
    };
    let ip = match bind {
        Bind::Lan => match (facts.lan)() {
            Some(ip) => ip,
            None => return nothing("private network"),
        },
        Bind::Tailnet => match (facts.tailnet)() {
            Some(ip) => ip,
            None => return nothing("tailnet"),
        },
        Bind::Custom => match custom() {
            Some(ip) if ip.is_unspecified() => match (facts.lan)() {
                Some(ip) => ip,
                None => return nothing("private network"),
            },
            Some(ip) => ip,
            None => {
                return Err(Error::new("gateway.bind is custom, but gateway.customBindHost is no IPv4 address")
                    .hint("Set it: openclaw config set gateway.customBindHost <address>"));
            }
        },
        Bind::Loopback | Bind::Auto => Ipv4Addr::LOCALHOST,
    };
    if ip.is_loopback() {
        return Err(Error::new(format!(
            "The gateway listens on this machine only (gateway.bind={}): no phone can reach it",
            bind.name()
        ))
        .hint(
            "At home: openclaw config set gateway.bind lan. From everywhere: gateway.tailscale.mode=serve, or --url \
             wss://<name> of a proxy in front of it.",
        ));
    }
    let host = HostName { name: Host::Ip(ip.into()), port: Some(facts.port) };
    Ok(Address { secure: gateway.tls.enabled, host, source: format!("gateway.bind={}", bind.name()) })
}

/// Scheme and host of an address as written; what stands behind the host is dropped, for clients take no path.
fn read(text: &str, tls: bool) -> Option<(bool, HostName)> {
    let text = text.trim();
    let (secure, rest) = match text.split_once("://") {
        None => (tls, text),
        Some((scheme, rest)) => match scheme.to_ascii_lowercase().as_str() {
            "ws" | "http" => (false, rest),
            "wss" | "https" => (true, rest),
            _ => return None,
        },
    };
    let host = HostName::parse(rest.split(['/', '?', '#']).next()?)?;
    (host.port != Some(0)).then_some((secure, host))
}

/// A host that plain `ws://` may go to: this machine, or a network that ends at the door.
fn is_near(host: &Host) -> bool {
    match host {
        Host::Ip(IpAddr::V4(ip)) => ip.is_loopback() || ip.is_private() || ip.is_link_local(),
        Host::Ip(IpAddr::V6(ip)) => ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local(),
        Host::Name(name) => name == "localhost" || name.strip_suffix(".local").is_some_and(|rest| !rest.is_empty()),
    }
}

fn filled(text: Option<&str>) -> Option<&str> {
    text.map(str::trim).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Case {
        given: Option<(&'static str, &'static str)>,
        public_url: Option<&'static str>,
        prefer_remote: bool,
        gateway: Gateway,
        tailscale_name: Option<&'static str>,
        lan: Option<Ipv4Addr>,
        tailnet: Option<Ipv4Addr>,
    }

    /// A machine at home with nothing configured.
    fn case() -> Case {
        Case {
            given: None,
            public_url: None,
            prefer_remote: false,
            gateway: Gateway::default(),
            tailscale_name: Some("pi.tail1.ts.net"),
            lan: Some(Ipv4Addr::new(192, 168, 1, 5)),
            tailnet: Some(Ipv4Addr::new(100, 100, 1, 2)),
        }
    }

    fn with(change: impl FnOnce(&mut Gateway)) -> Case {
        let mut case = case();
        change(&mut case.gateway);
        case
    }

    fn bind(bind: Bind) -> Case {
        with(|gateway| gateway.bind = Some(bind))
    }

    fn chosen(case: &Case) -> Result<(String, String), String> {
        let facts = UrlFacts {
            given: case.given,
            public_url: case.public_url,
            prefer_remote: case.prefer_remote,
            gateway: &case.gateway,
            port: 18789,
            tailscale_name: &|| case.tailscale_name.map(str::to_owned),
            lan: &|| case.lan,
            tailnet: &|| case.tailnet,
        };
        choose(&facts).map(|found| (found.url, found.source)).map_err(|error| {
            assert!(!error.hints.is_empty(), "what to do: {error}");
            error.message
        })
    }

    #[test]
    fn where_the_address_comes_from() {
        let everything = |gateway: &mut Gateway| {
            gateway.remote_url = Some("wss://far.example/ws".into());
            gateway.tailscale_mode = Some("serve".into());
            gateway.bind = Some(Bind::Lan);
        };
        let public = Some("https://public.example");
        let given = Some(("--url", "wss://given.example:8443"));
        for (case, url, source) in [
            (
                Case { given, public_url: public, prefer_remote: true, ..with(everything) },
                "wss://given.example:8443",
                "--url",
            ),
            (Case { public_url: public, ..with(everything) }, "wss://public.example", PUBLIC_URL_KEY),
            (
                Case { public_url: public, prefer_remote: true, ..with(everything) },
                "wss://far.example",
                "gateway.remote.url",
            ),
            (with(everything), "wss://pi.tail1.ts.net", "gateway.tailscale.mode=serve"),
            (
                with(|gateway| {
                    gateway.tailscale_mode = Some("off".into());
                    gateway.remote_url = Some("wss://far.example".into());
                    gateway.bind = Some(Bind::Lan);
                }),
                "wss://far.example",
                "gateway.remote.url",
            ),
            (
                Case { prefer_remote: true, ..with(|gateway| gateway.tailscale_mode = Some("funnel".into())) },
                "wss://pi.tail1.ts.net",
                "gateway.tailscale.mode=funnel",
            ),
            (bind(Bind::Lan), "ws://192.168.1.5:18789", "gateway.bind=lan"),
            (
                with(|gateway| (gateway.bind, gateway.tls.enabled) = (Some(Bind::Tailnet), true)),
                "wss://100.100.1.2:18789",
                "gateway.bind=tailnet",
            ),
            (
                with(|gateway| {
                    (gateway.bind, gateway.custom_bind_host) = (Some(Bind::Custom), Some(" 10.0.0.3 ".into()))
                }),
                "ws://10.0.0.3:18789",
                "gateway.bind=custom",
            ),
            (
                with(|gateway| (gateway.bind, gateway.custom_bind_host) = (Some(Bind::Custom), Some("0.0.0.0".into()))),
                "ws://192.168.1.5:18789",
                "gateway.bind=custom",
            ),
        ] {
            assert_eq!(chosen(&case), Ok((url.to_owned(), source.to_owned())));
        }
    }

    #[test]
    fn addresses_as_written() {
        for (text, tls, url) in [
            ("WSS://Gateway.Example:8443/ws?x#y", false, Some("wss://gateway.example:8443")),
            ("http://192.168.1.5", false, Some("ws://192.168.1.5")),
            ("192.168.1.5:18789", false, Some("ws://192.168.1.5:18789")),
            ("gateway.example", true, Some("wss://gateway.example")),
            ("ws://[fd00::1]:18789", false, Some("ws://[fd00::1]:18789")),
            ("ws://localhost:18789", false, Some("ws://localhost:18789")),
            ("ws://box.local.", false, Some("ws://box.local")),
            ("ws://169.254.3.4:1", false, Some("ws://169.254.3.4:1")),
            ("ws://[fe80::1]", false, Some("ws://[fe80::1]")),
            // Plain and not of a private network.
            ("ws://gateway.example", false, None),
            ("ws://192.0.2.9:18789", false, None),
            ("ws://100.64.1.2:18789", false, None),
            ("ws://pi.tail1.ts.net", false, None),
            ("ws://pi", false, None),
            ("ws://.local", false, None),
            ("ws://10.0.0.1.evil.example", false, None),
            ("ws://[2001:db8::1]:18789", false, None),
            // No addresses.
            ("", false, None),
            ("wss://", false, None),
            ("ftp://gateway.example", false, None),
            ("wss://user:secret@gateway.example", false, None),
            ("wss://gateway.example:0", false, None),
            ("wss://gateway.example:99999", false, None),
            ("wss://a b", false, None),
        ] {
            let mut case = with(|gateway| gateway.tls.enabled = tls);
            case.given = Some(("--url", text));
            assert_eq!(chosen(&case).ok().map(|found| found.0).as_deref(), url, "{text}");
        }
    }

    #[test]
    fn refusals() {
        for (case, message) in [
            (case(), "The gateway listens on this machine only (gateway.bind=loopback): no phone can reach it"),
            (bind(Bind::Auto), "The gateway listens on this machine only (gateway.bind=auto): no phone can reach it"),
            (
                with(|gateway| {
                    (gateway.bind, gateway.custom_bind_host) = (Some(Bind::Custom), Some("127.0.0.1".into()))
                }),
                "The gateway listens on this machine only (gateway.bind=custom): no phone can reach it",
            ),
            (bind(Bind::Custom), "gateway.bind is custom, but gateway.customBindHost is no IPv4 address"),
            (
                Case { lan: None, ..bind(Bind::Lan) },
                "gateway.bind is lan, but this machine has no address in a private network",
            ),
            (
                Case { tailnet: None, ..bind(Bind::Tailnet) },
                "gateway.bind is tailnet, but this machine has no address in a tailnet",
            ),
            (
                bind(Bind::Tailnet),
                "A phone would send its credentials unencrypted to ws://100.100.1.2:18789 (from gateway.bind=tailnet): \
                 plain ws:// is only for addresses of a private network",
            ),
            (
                Case { prefer_remote: true, ..bind(Bind::Lan) },
                "--remote needs gateway.remote.url, or gateway.tailscale.mode serve or funnel",
            ),
            (
                with(|gateway| gateway.remote_url = Some("nonsense//".into())),
                "A phone would send its credentials unencrypted to ws://nonsense (from gateway.remote.url): plain ws:// is \
                 only for addresses of a private network",
            ),
            (
                with(|gateway| gateway.remote_url = Some("x://y".into())),
                "gateway.remote.url is not the address of a gateway: \"x://y\"",
            ),
            (
                Case { public_url: Some("gopher://x"), ..bind(Bind::Lan) },
                "plugins.entries.device-pair.config.publicUrl is not the address of a gateway: \"gopher://x\"",
            ),
            (
                Case { tailscale_name: None, ..with(|gateway| gateway.tailscale_mode = Some("serve".into())) },
                "gateway.tailscale.mode is serve, but tailscale does not tell the name of this machine",
            ),
        ] {
            assert_eq!(chosen(&case), Err(message.to_owned()));
        }
    }
}
