//! Which gateway a command talks to and with which credentials (cli 2.3): a pure decision over flags, environment
//! and configuration, with the texts of its refusals.
//!
//! A stored secret never goes to an address that was given on the command line or in the environment.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use crate::config::paths::DEFAULT_PORT;
use crate::config::{Bind, Config};
use crate::error::{Error, Result};
use crate::secret::Secret;
use crate::server::certificate::Files;

/// What the command line said.
#[derive(Clone, Copy, Debug, Default)]
pub struct Flags<'a> {
    pub url: Option<&'a str>,
    pub token: Option<&'a str>,
    pub password: Option<&'a str>,
}

impl Flags<'_> {
    pub fn has_secret(&self) -> bool {
        [self.token, self.password].into_iter().flatten().any(|text| !text.trim().is_empty())
    }
}

/// What this machine says.
#[derive(Clone, Copy)]
pub struct Local<'a> {
    pub env: &'a dyn Fn(&str) -> Option<String>,
    pub config: &'a Config,
    /// Port of the local gateway (cli 2.3).
    pub port: u16,
    /// As people read it and as it is.
    pub config_path: &'a str,
    pub state_dir: &'a Path,
    pub tailnet: Option<IpAddr>,
}

/// Whose certificate is believed behind `wss://`.
#[derive(Clone, Debug, PartialEq)]
pub enum Trust {
    /// The public ones.
    Authorities,
    /// The one with this SHA-256: 64 lower-case hexadecimal digits.
    Fingerprint(String),
    /// The one in this file: that of the gateway on this machine.
    Certificate(PathBuf),
}

/// A gateway's address with everything that is needed to get in.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    pub url: String,
    pub source: &'static str,
    pub host: String,
    pub port: u16,
    pub trust: Trust,
    pub token: Option<Secret>,
    pub password: Option<Secret>,
    /// Whether a device token that this machine keeps may be sent there, and one from there be kept.
    pub stored_token: bool,
    /// The secret was typed for this very call: when it is wrong, that is the answer.
    pub explicit: bool,
    /// Shown in the connection block.
    pub config_path: String,
    /// Only for the local gateway.
    pub bind: Option<&'static str>,
    /// The command that opens the way to it: the configured gateway is behind a tunnel from this machine.
    pub tunnel: Option<String>,
}

pub const SOURCE_FLAG: &str = "cli --url";
pub const SOURCE_ENV: &str = "env OPENCLAW_GATEWAY_URL";
pub const SOURCE_REMOTE: &str = "config gateway.remote.url";
pub const SOURCE_LOCAL: &str = "local loopback";
/// `bind=tailnet` and `bind=custom` listen on that address only.
pub const SOURCE_BIND: &str = "local bind address";
pub const SOURCE_FALLBACK: &str = "missing gateway.remote.url (fallback local)";

/// A variable's name and its older one.
type Names = [&'static str; 2];

const URL: Names = ["OPENCLAW_GATEWAY_URL", "CLAWDBOT_GATEWAY_URL"];
const TOKEN: Names = ["OPENCLAW_GATEWAY_TOKEN", "CLAWDBOT_GATEWAY_TOKEN"];
const PASSWORD: Names = ["OPENCLAW_GATEWAY_PASSWORD", "CLAWDBOT_GATEWAY_PASSWORD"];

impl Target {
    pub fn secure(&self) -> bool {
        is_secure(&self.url)
    }

    /// The connection block below every error: target, source, configuration, bind mode.
    pub fn block(&self) -> Vec<String> {
        let mut lines = vec![
            format!("Gateway target: {}", self.url),
            format!("Source: {}", self.source),
            format!("Config: {}", self.config_path),
        ];
        lines.extend(self.bind.map(|bind| format!("Bind: {bind}")));
        lines.extend(self.tunnel.as_ref().map(|command| format!("Tunnel: {command}")));
        lines
    }
}

/// The gateway to talk to. `Err` is complete but for the command's prefix.
pub fn resolve(flags: Flags<'_>, local: Local<'_>) -> Result<Target> {
    Ok(Target { explicit: flags.has_secret(), ..choose(flags, local)? })
}

fn choose(flags: Flags<'_>, local: Local<'_>) -> Result<Target> {
    let given = |text: Option<&str>| text.map(str::trim).filter(|text| !text.is_empty()).map(str::to_string);
    let (token, password) = (given(flags.token).map(Secret::new), given(flags.password).map(Secret::new));
    let (env_token, env_password) = (env_secret(local, TOKEN), env_secret(local, PASSWORD));
    let gateway = &local.config.gateway;
    if let Some(url) = given(flags.url) {
        if token.is_none() && password.is_none() {
            return Err(Error::new("gateway url override requires explicit credentials")
                .hint("Fix: pass --token or --password (or gatewayToken in tools).")
                .hint(format!("Config: {}", local.config_path)));
        }
        return at(url, SOURCE_FLAG, token, password, local);
    }
    if let Some(url) = env_var(local, URL) {
        return at(url, SOURCE_ENV, token.or(env_token), password.or(env_password), local);
    }
    if gateway.mode.as_deref() == Some("remote") {
        let Some(url) = given(gateway.remote_url.as_deref()) else {
            return Err(Error::new("gateway remote mode misconfigured: gateway.remote.url missing")
                .hint(format!("Config: {}", local.config_path))
                .hint("Fix: set gateway.remote.url, or set gateway.mode=local."));
        };
        let token = token.or(gateway.remote_token.clone()).or(env_token).or(gateway.auth.token.clone());
        let password = password.or(gateway.remote_password.clone()).or(env_password).or(gateway.auth.password.clone());
        let mut target = at(url, SOURCE_REMOTE, token, password, local)?;
        let known = gateway.remote_ssh_target.is_some();
        target.tunnel = Some(tunnel(local, target.port)).filter(|_| known && is_loopback(&target.host));
        return Ok(target);
    }
    let token = token.or(env_token).or(gateway.auth.token.clone()).or(gateway.remote_token.clone());
    let password = password.or(env_password).or(gateway.auth.password.clone()).or(gateway.remote_password.clone());
    this_machine(SOURCE_LOCAL, token, password, local)
}

/// The local gateway whatever the mode, for probes and reports that look at this machine.
pub fn resolve_local(flags: Flags<'_>, local: Local<'_>) -> Result<Target> {
    let secret = |text: Option<&str>| text.map(str::trim).filter(|text| !text.is_empty()).map(Secret::new);
    let auth = &local.config.gateway.auth;
    let token = secret(flags.token).or(env_secret(local, TOKEN)).or(auth.token.clone());
    let password = secret(flags.password).or(env_secret(local, PASSWORD)).or(auth.password.clone());
    let remote = local.config.gateway.mode.as_deref() == Some("remote");
    let source = if remote { SOURCE_FALLBACK } else { SOURCE_LOCAL };
    Ok(Target { explicit: flags.has_secret(), ..this_machine(source, token, password, local)? })
}

fn this_machine(
    source: &'static str,
    token: Option<Secret>,
    password: Option<Secret>,
    local: Local<'_>,
) -> Result<Target> {
    let bind = local.config.gateway.bind.unwrap_or(Bind::Loopback);
    let host = local_host(local);
    let source = if host.is_loopback() { source } else { SOURCE_BIND };
    let scheme = if local.config.gateway.tls.enabled { "wss" } else { "ws" };
    let text = if host.is_ipv6() { format!("[{host}]") } else { host.to_string() };
    let url = format!("{scheme}://{text}:{}", local.port);
    Ok(Target {
        url,
        source,
        host: host.to_string(),
        port: local.port,
        trust: own_certificate(local),
        token,
        password,
        stored_token: true,
        explicit: false,
        config_path: local.config_path.to_string(),
        bind: Some(bind.name()),
        tunnel: None,
    })
}

/// Loopback, or the one address that the bind mode listens on: our own, so nothing leaves this machine.
fn local_host(local: Local<'_>) -> IpAddr {
    let loopback = IpAddr::from([127, 0, 0, 1]);
    match local.config.gateway.bind {
        Some(Bind::Tailnet) => local.tailnet.unwrap_or(loopback),
        Some(Bind::Custom) => local
            .config
            .gateway
            .custom_bind_host
            .as_deref()
            .and_then(|host| host.trim().parse().ok())
            .filter(|host: &IpAddr| !host.is_unspecified())
            .unwrap_or(loopback),
        _ => loopback,
    }
}

/// An address that goes into the configuration: one that commands would refuse is refused before it is written.
pub fn check_remote(url: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<()> {
    let parts = parse_url(url.trim()).ok_or_else(|| no_address(url))?;
    match is_safe(&parts, env) {
        true => Ok(()),
        false => {
            Err(Error::new(format!("{url} is not encrypted: what is said, and the token, can be read on the way"))
                .hint("Use wss://, or a tunnel (openclaw help troubleshooting) and ws://127.0.0.1:18789."))
        }
    }
}

fn no_address(url: &str) -> Error {
    Error::new(format!("not a gateway address: \"{url}\"")).hint("Use ws://host:port.")
}

fn is_safe(parts: &UrlParts, env: &dyn Fn(&str) -> Option<String>) -> bool {
    let allowed = || env("OPENCLAW_ALLOW_INSECURE_PRIVATE_WS").is_some_and(|value| value.trim() == "1");
    parts.secure || is_loopback(&parts.host) || is_private(&parts.host) && allowed()
}

fn at(
    url: String,
    source: &'static str,
    token: Option<Secret>,
    password: Option<Secret>,
    local: Local<'_>,
) -> Result<Target> {
    let parts = parse_url(&url).ok_or_else(|| no_address(&url))?;
    if !is_safe(&parts, local.env) {
        return Err(plaintext(&url, source, local));
    }
    let trust = whom_to_trust(&url, source, &parts, local)?;
    Ok(Target {
        url,
        source,
        host: parts.host,
        port: parts.port,
        trust,
        token,
        password,
        stored_token: source == SOURCE_REMOTE,
        explicit: false,
        config_path: local.config_path.to_string(),
        bind: None,
        tunnel: None,
    })
}

fn env_var(local: Local<'_>, names: Names) -> Option<String> {
    let mut values = names.iter().filter_map(|name| (local.env)(name)).map(|value| value.trim().to_string());
    values.find(|value| !value.is_empty())
}

fn env_secret(local: Local<'_>, names: Names) -> Option<Secret> {
    env_var(local, names).map(Secret::new)
}

#[derive(Debug, PartialEq)]
struct UrlParts {
    secure: bool,
    host: String,
    port: u16,
}

/// `ws://host[:port][/path]`, IPv6 in brackets; no user, no fragment.
fn parse_url(url: &str) -> Option<UrlParts> {
    let (scheme, rest) = url.split_once("://")?;
    let secure = match scheme.to_ascii_lowercase().as_str() {
        "ws" => false,
        "wss" => true,
        _ => return None,
    };
    let authority = rest.split(['/', '?']).next().filter(|text| !text.is_empty())?;
    if authority.contains('@') || rest.contains(['#', ' ', '\\']) || rest.chars().any(char::is_control) {
        return None;
    }
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, after) = rest.split_once(']')?;
            host.parse::<std::net::Ipv6Addr>().ok()?;
            (host, after.strip_prefix(':').or(after.is_empty().then_some(""))?)
        }
        None => authority.split_once(':').unwrap_or((authority, "")),
    };
    let port = match port {
        "" if secure => 443,
        "" => 80,
        digits => digits.parse().ok().filter(|port| *port > 0)?,
    };
    (!host.is_empty()).then(|| UrlParts { secure, host: host.to_ascii_lowercase(), port })
}

/// The host of a gateway's address, unless that is this machine.
pub fn other_host(url: &str) -> Option<String> {
    parse_url(url).map(|parts| parts.host).filter(|host| !is_loopback(host))
}

/// An address is parsed, never compared as text; of names only `localhost` (R8).
fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse().is_ok_and(|ip: IpAddr| ip.to_canonical().is_loopback())
}

/// Private ranges and host names, for those who said that they know what they do.
fn is_private(host: &str) -> bool {
    match host.parse().map(|ip: IpAddr| ip.to_canonical()) {
        Ok(IpAddr::V4(ip)) => {
            ip.is_private() || ip.is_link_local() || (ip.octets()[0] == 100 && ip.octets()[1] & 0xc0 == 64)
        }
        Ok(IpAddr::V6(ip)) => ip.is_unique_local() || ip.is_unicast_link_local(),
        Err(_) => true,
    }
}

fn is_secure(url: &str) -> bool {
    url.to_ascii_lowercase().starts_with("wss:")
}

fn own_certificate(local: Local<'_>) -> Trust {
    Trust::Certificate(Files::of(&local.config.gateway.tls, local.state_dir).cert)
}

/// A fingerprint belongs to the address beside which it stands, the certificate of this machine to its own port.
fn whom_to_trust(url: &str, source: &str, parts: &UrlParts, local: Local<'_>) -> Result<Trust> {
    let gateway = &local.config.gateway;
    let pin = gateway.remote_tls_fingerprint.as_deref().map(str::trim).filter(|text| !text.is_empty());
    if let Some(text) = pin.filter(|_| gateway.remote_url.as_deref().map(str::trim) == Some(url)) {
        if parts.secure {
            let wrong = || {
                Error::new(format!("gateway.remote.tlsFingerprint is no SHA-256 fingerprint: \"{text}\""))
                    .hint("Fix: it has 64 hexadecimal digits; the gateway logs it when it starts.")
            };
            return fingerprint(text).map(Trust::Fingerprint).ok_or_else(wrong);
        }
        if source == SOURCE_REMOTE {
            return Err(Error::new("gateway tls fingerprint requires wss:// gateway url")
                .hint(format!("Config: {}", local.config_path))
                .hint("Fix: write gateway.remote.url with wss://, or remove gateway.remote.tlsFingerprint."));
        }
    }
    let own = gateway.tls.enabled && is_loopback(&parts.host) && parts.port == local.port;
    Ok(if own { own_certificate(local) } else { Trust::Authorities })
}

/// `AB:CD:…`, `abcd…`, with `sha256:` or what `openssl x509 -fingerprint` prints before it.
fn fingerprint(text: &str) -> Option<String> {
    let text = text.trim().to_ascii_lowercase();
    let text = text.strip_prefix("sha").map_or(text.as_str(), |rest| rest.strip_prefix('-').unwrap_or(rest));
    let text =
        text.strip_prefix("256").filter(|rest| !rest.starts_with(|c: char| c.is_ascii_hexdigit())).unwrap_or(text);
    let text = text.trim_start().trim_start_matches("fingerprint").trim_start_matches(['=', ':', ' ']);
    let digits: String = text.chars().filter(|c| !matches!(c, ':' | ' ' | '-')).collect();
    (digits.len() == 64 && digits.bytes().all(|b| b.is_ascii_hexdigit())).then_some(digits)
}

fn plaintext(url: &str, source: &str, local: Local<'_>) -> Error {
    let mut error =
        Error::new(format!("SECURITY ERROR: Gateway URL \"{url}\" uses plaintext ws:// to a non-loopback address."));
    for line in [
        "Both credentials and chat data would be exposed to network interception.",
        &format!("Source: {source}"),
        &format!("Config: {}", local.config_path),
        "Fix: Use wss:// for remote gateway URLs.",
        "Safe remote access defaults:",
        &format!("- keep gateway.bind=loopback and use an SSH tunnel ({})", tunnel(local, DEFAULT_PORT)),
        "- or use Tailscale Serve/Funnel for HTTPS remote access",
        "Break-glass (trusted private networks only): set OPENCLAW_ALLOW_INSECURE_PRIVATE_WS=1",
        "Doctor: openclaw doctor --fix",
    ] {
        error = error.hint(line);
    }
    error
}

/// The command that makes the gateway of another machine answer on a port of this one: to be pasted into a shell, so
/// only what needs no quotes is taken from the configuration.
fn tunnel(local: Local<'_>, port: u16) -> String {
    let gateway = &local.config.gateway;
    let plain = |text: &&String| {
        !text.is_empty()
            && !text.starts_with('-')
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"@._-/~:".contains(&b))
    };
    let identity = gateway.remote_ssh_identity.as_ref().filter(plain).map(|path| format!(" -i {path}"));
    let target = gateway.remote_ssh_target.as_ref().filter(plain).map_or("user@gateway-host", String::as_str);
    let (host, ssh_port) = match target.rsplit_once(':') {
        Some((host, digits)) if digits.parse::<u16>().is_ok() => (host, format!(" -p {digits}")),
        _ => (target, String::new()),
    };
    let identity = identity.unwrap_or_default();
    format!("ssh -N -L {port}:127.0.0.1:{DEFAULT_PORT}{identity}{ssh_port} {host}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(flags: [&str; 3], env: &[(&str, &str)], change: impl FnOnce(&mut Config)) -> Result<Target> {
        let mut config = Config::default();
        change(&mut config);
        let env = |name: &str| env.iter().find(|(n, _)| *n == name).map(|(_, value)| value.to_string());
        let flag = |i: usize| Some(flags[i]).filter(|text| !text.is_empty());
        let flags = Flags { url: flag(0), token: flag(1), password: flag(2) };
        let tailnet = "100.64.0.7".parse().ok();
        let state_dir = Path::new("/state");
        resolve(flags, Local { env: &env, config: &config, port: 18789, config_path: "~/c.json", state_dir, tailnet })
    }

    fn token(target: &Target) -> &str {
        target.token.as_ref().map_or("", Secret::expose)
    }

    #[test]
    fn where_the_address_and_the_token_come_from() {
        let set = |mode: Option<&str>, auth: &str, remote: &str, url: Option<&str>| {
            let secret = |text: &str| Some(text).filter(|t| !t.is_empty()).map(Secret::new);
            let (auth, remote) = (secret(auth), secret(remote));
            let (mode, url) = (mode.map(str::to_string), url.map(str::to_string));
            move |config: &mut Config| {
                config.gateway.mode = mode;
                config.gateway.auth.token = auth;
                config.gateway.remote_token = remote;
                config.gateway.remote_url = url;
            }
        };
        let env = [("OPENCLAW_GATEWAY_TOKEN", "env"), ("CLAWDBOT_GATEWAY_TOKEN", "old")];
        let both = [("OPENCLAW_GATEWAY_URL", "ws://127.0.0.1:7"), ("OPENCLAW_GATEWAY_TOKEN", "env")];
        let remote = Some("ws://localhost:9");
        for (flags, env, change, url, source, expected) in [
            (["", "", ""], &env[..], set(None, "auth", "", None), "ws://127.0.0.1:18789", SOURCE_LOCAL, "env"),
            (["", "", ""], &env[1..], set(None, "auth", "", None), "ws://127.0.0.1:18789", SOURCE_LOCAL, "old"),
            (["", "", ""], &[], set(None, "auth", "rem", None), "ws://127.0.0.1:18789", SOURCE_LOCAL, "auth"),
            (["", "", ""], &[], set(None, "", "rem", None), "ws://127.0.0.1:18789", SOURCE_LOCAL, "rem"),
            (["", "flag", ""], &env[..], set(None, "auth", "", None), "ws://127.0.0.1:18789", SOURCE_LOCAL, "flag"),
            (
                ["", "", ""],
                &env[..],
                set(Some("remote"), "auth", "rem", remote),
                "ws://localhost:9",
                SOURCE_REMOTE,
                "rem",
            ),
            (["", "", ""], &env[..], set(Some("remote"), "auth", "", remote), "ws://localhost:9", SOURCE_REMOTE, "env"),
            (["", "", ""], &[], set(Some("remote"), "auth", "", remote), "ws://localhost:9", SOURCE_REMOTE, "auth"),
            (["", "", ""], &both[..], set(None, "auth", "", None), "ws://127.0.0.1:7", SOURCE_ENV, "env"),
            (["", "", ""], &both[..1], set(None, "auth", "rem", None), "ws://127.0.0.1:7", SOURCE_ENV, ""),
            (["ws://[::1]:5", "t", ""], &env[..], set(None, "auth", "", None), "ws://[::1]:5", SOURCE_FLAG, "t"),
            (["ws://[::1]:5", "", "pw"], &env[..], set(None, "auth", "", None), "ws://[::1]:5", SOURCE_FLAG, ""),
        ] {
            let target = run(flags, env, change).unwrap();
            assert_eq!((target.url.as_str(), target.source, token(&target)), (url, source, expected));
            assert_eq!(target.stored_token, source == SOURCE_LOCAL || source == SOURCE_REMOTE);
            assert_eq!(target.explicit, flags[1..].iter().any(|text| !text.is_empty()));
        }
    }

    #[test]
    fn refusals() {
        let no_change = |_: &mut Config| {};
        let error = run(["ws://127.0.0.1:1", "", ""], &[("OPENCLAW_GATEWAY_TOKEN", "env")], no_change).unwrap_err();
        assert_eq!(
            error.to_string(),
            "gateway url override requires explicit credentials\nFix: pass --token or --password (or gatewayToken in \
             tools).\nConfig: ~/c.json"
        );
        let error = run(["", "", ""], &[], |c| c.gateway.mode = Some("remote".into())).unwrap_err();
        assert!(error.message.contains("gateway.remote.url missing"), "{error}");
        let private = [("OPENCLAW_ALLOW_INSECURE_PRIVATE_WS", "1")];
        for (url, plain, with_private) in [
            ("ws://192.0.2.9:18789", false, false),
            ("ws://192.168.1.2:18789", false, true),
            ("ws://100.64.1.2:18789", false, true),
            ("ws://box.lan:18789", false, true),
            ("ws://127.evil.com", false, true),
            ("ws://127.0.0.1:5/path", true, true),
            ("ws://localhost", true, true),
            ("ws://[::ffff:127.0.0.1]:5", true, true),
            ("wss://box.lan", true, true),
            ("WSS://192.0.2.9:1", true, true),
            ("http://127.0.0.1:5", false, false),
            ("ws://user@127.0.0.1:5", false, false),
            ("ws://127.0.0.1:99999", false, false),
            ("ws://127.0.0.1:0", false, false),
            ("ws://", false, false),
        ] {
            assert_eq!(run([url, "t", ""], &[], no_change).is_ok(), plain, "{url}");
            assert_eq!(run([url, "t", ""], &private, no_change).is_ok(), with_private, "{url}");
        }
        let error = run(["ws://192.0.2.9:18789", "x", ""], &[], no_change).unwrap_err();
        assert!(error.message.starts_with("SECURITY ERROR: Gateway URL \"ws://192.0.2.9:18789\" uses plaintext"));
        assert_eq!(error.hints[1..3], ["Source: cli --url".to_string(), "Config: ~/c.json".to_string()]);
    }

    #[test]
    fn whose_certificate_is_believed() {
        let own = Trust::Certificate("/state/gateway/tls/gateway-cert.pem".into());
        let digits = "ab".repeat(32);
        let pinned = Trust::Fingerprint(digits.clone());
        let colons = vec!["AB"; 32].join(":");
        for (pin, flag, tls, trust) in [
            ("", "", true, own.clone()),
            ("", "wss://localhost:18789", true, own.clone()),
            ("", "wss://127.0.0.1:18789", false, Trust::Authorities),
            ("", "wss://127.0.0.1:18790", true, Trust::Authorities),
            (&digits, "wss://gw.example", true, pinned.clone()),
            (&digits, "wss://other.example", true, Trust::Authorities),
            (&colons, "wss://gw.example", false, pinned.clone()),
            (&format!("sha256:{digits}"), "wss://gw.example", false, pinned.clone()),
            (&format!(" SHA-256 {colons} "), "wss://gw.example", false, pinned.clone()),
            (&format!("sha256 Fingerprint={colons}"), "wss://gw.example", false, pinned.clone()),
        ] {
            let target = run([flag, if flag.is_empty() { "" } else { "t" }, ""], &[], |c| {
                c.gateway.tls.enabled = tls;
                c.gateway.remote_url = Some("wss://gw.example".into());
                c.gateway.remote_tls_fingerprint = Some(pin.into());
            });
            let target = target.unwrap();
            assert_eq!((&target.trust, target.secure()), (&trust, true), "{pin} {flag}");
        }
        let remote = |url: &'static str, pin: &str| {
            let pin = pin.to_owned();
            run(["", "", ""], &[], move |c| {
                c.gateway.mode = Some("remote".into());
                c.gateway.remote_url = Some(url.into());
                c.gateway.remote_tls_fingerprint = Some(pin);
            })
        };
        assert_eq!(remote("wss://gw.example", &digits).unwrap().trust, pinned);
        let error = remote("ws://127.0.0.1:1", &digits).unwrap_err();
        assert_eq!(error.message, "gateway tls fingerprint requires wss:// gateway url");
        for wrong in ["abc", &digits[1..], &format!("{digits}0"), &"xy".repeat(32), "sha256:"] {
            let error = remote("wss://gw.example", wrong).unwrap_err();
            assert!(error.message.starts_with("gateway.remote.tlsFingerprint is no SHA-256"), "{wrong}: {error}");
        }
    }

    #[test]
    fn the_way_to_a_gateway_behind_a_tunnel() {
        for (target, identity, command) in [
            ("pi@box", "", "ssh -N -L 18790:127.0.0.1:18789 pi@box"),
            ("pi@box:2222", "~/.ssh/id", "ssh -N -L 18790:127.0.0.1:18789 -i ~/.ssh/id -p 2222 pi@box"),
            ("-oProxyCommand=x", "a b", "ssh -N -L 18790:127.0.0.1:18789 user@gateway-host"),
            ("pi@box;rm", "$(x)", "ssh -N -L 18790:127.0.0.1:18789 user@gateway-host"),
        ] {
            let remote = |url: &'static str| {
                run(["", "", ""], &[], move |c| {
                    c.gateway.mode = Some("remote".into());
                    c.gateway.remote_url = Some(url.into());
                    c.gateway.remote_ssh_target = Some(target.into());
                    c.gateway.remote_ssh_identity = Some(identity.into());
                })
            };
            let found = remote("ws://127.0.0.1:18790").unwrap();
            assert_eq!(found.tunnel.as_deref(), Some(command));
            assert_eq!(found.block().last().unwrap(), &format!("Tunnel: {command}"));
            let refused = remote("ws://192.0.2.9").unwrap_err().to_string();
            assert!(refused.contains(&command.replace("18790", "18789")), "{refused}");
        }
        assert_eq!(run(["", "", ""], &[], |_| {}).unwrap().tunnel, None);
    }

    #[test]
    fn the_local_address_follows_the_bind_mode() {
        for (bind, host, url) in [
            (Bind::Loopback, None, "ws://127.0.0.1:18789"),
            (Bind::Lan, None, "ws://127.0.0.1:18789"),
            (Bind::Tailnet, None, "ws://100.64.0.7:18789"),
            (Bind::Custom, Some("10.0.0.3"), "ws://10.0.0.3:18789"),
            (Bind::Custom, Some("0.0.0.0"), "ws://127.0.0.1:18789"),
        ] {
            let target = run(["", "", ""], &[], |c| {
                c.gateway.bind = Some(bind);
                c.gateway.custom_bind_host = host.map(str::to_string);
            });
            let target = target.unwrap();
            assert_eq!(target.url, url);
            assert_eq!(target.block().last().unwrap(), &format!("Bind: {}", bind.name()));
        }
    }
}
