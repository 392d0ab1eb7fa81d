//! Whether a caller has shown what the gateway asks for: the shared secret, a proxy's or Tailscale's word, a device
//! token (protocol 2.5, http 2-2.4; DECISIONS 22-28). [`Authenticated`] can only be made here (LESSONS R2).

use std::net::IpAddr;

pub use super::auth_config::{AuthOverrides, ResolvedAuth, resolve_auth};
use super::device::PairedDevice;
use super::net::{Caller, Head, forwarded_client, is_loopback};
use super::rate_limit::{Locked, RateKey, RateLimiter, RateScope};
use crate::config::model::AuthMode;
use crate::protocol::connect::ConnectAuth;
use crate::protocol::roles::Scopes;
use crate::secret::Secret;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthMethod {
    None,
    Token,
    Password,
    TrustedProxy,
    Tailscale,
    DeviceToken,
    /// The one-time token of a setup code.
    BootstrapToken,
}

impl AuthMethod {
    /// `auth.method` of hello-ok at protocol 4.
    pub fn name(self) -> &'static str {
        match self {
            AuthMethod::None => "none",
            AuthMethod::Token => "token",
            AuthMethod::Password => "password",
            AuthMethod::TrustedProxy => "trusted-proxy",
            AuthMethod::Tailscale => "tailscale",
            AuthMethod::DeviceToken => "device-token",
            AuthMethod::BootstrapToken => "bootstrap-token",
        }
    }
}

/// Proof that a caller passed. No code outside this module can make one.
#[derive(Clone, Debug, PartialEq)]
pub struct Authenticated {
    method: AuthMethod,
    /// Name given by the proxy or by Tailscale.
    user: Option<String>,
}

impl Authenticated {
    pub fn method(&self) -> AuthMethod {
        self.method
    }

    pub fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// The shared token or password was right.
    pub fn by_shared_secret(&self) -> bool {
        matches!(self.method, AuthMethod::Token | AuthMethod::Password)
    }
}

/// Why not. What clients are told of it is in `auth_failure`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuthFailure {
    TokenMissing,
    TokenMismatch,
    TokenNotConfigured,
    PasswordMissing,
    PasswordMismatch,
    PasswordNotConfigured,
    BootstrapTokenInvalid,
    DeviceTokenMismatch,
    RateLimited(Locked),
    TailscaleUserMissing,
    TailscaleProxyMissing,
    TailscaleWhoisFailed,
    TailscaleUserMismatch,
    /// `trusted_proxy_…`.
    TrustedProxy(String),
    /// No secret was asked for, and the request may come from somebody else's page in a browser: why.
    ForeignPage(&'static str),
}

/// The facts that a connect is judged by.
#[derive(Clone, Copy)]
pub struct ConnectFacts<'a> {
    pub auth: &'a ResolvedAuth,
    pub head: &'a Head,
    pub caller: &'a Caller,
    pub credentials: &'a ConnectAuth,
    pub protocol: u32,
    /// Monotonic, for the limiter.
    pub now_ms: u64,
    /// The login that `tailscale whois` gave for [`wants_whois`].
    pub whois: Option<&'a str>,
}

/// First half: trusted proxy, mode none, limiter, Tailscale, shared secret. A wrong secret is charged at once,
/// whatever else was sent (LESSONS R6).
pub fn authorize_connect(facts: &ConnectFacts, limiter: &RateLimiter) -> Result<Authenticated, AuthFailure> {
    let auth = facts.auth;
    match auth.mode {
        AuthMode::TrustedProxy => return by_trusted_proxy(auth, facts.head, facts.caller),
        AuthMode::None => return Ok(Authenticated { method: AuthMethod::None, user: None }),
        AuthMode::Token | AuthMode::Password => {}
    }
    let key = RateKey::of(facts.caller);
    limiter.check(RateScope::SharedSecret, key, facts.now_ms).map_err(AuthFailure::RateLimited)?;
    let mut by_tailscale = None;
    if auth.allow_tailscale && !facts.caller.local_direct {
        match tailscale_user(facts) {
            Ok(user) => {
                limiter.success(RateScope::SharedSecret, key);
                return Ok(Authenticated { method: AuthMethod::Tailscale, user: Some(user) });
            }
            Err(failure) => by_tailscale = Some(failure),
        }
    }
    let given = given_secrets(auth.mode, facts.credentials, facts.protocol);
    let shown = by_shared_secret(auth, &given, limiter, key, facts.now_ms);
    match by_tailscale {
        // Tailscale's word was offered, and nothing else: say what is wrong with that.
        Some(failure) if given.is_empty() && facts.head.header(TAILSCALE_USER).is_some() => Err(failure),
        _ => shown,
    }
}

/// A device whose signature is verified, and what it wants.
#[derive(Clone, Copy)]
pub struct DeviceFacts<'a> {
    /// Its record with the token of the role asked for.
    pub record: Option<&'a PairedDevice<'a>>,
    pub role: &'a str,
    pub asked: &'a Scopes,
    /// Looks up the token of a setup code and binds it to the device; false when it is not good for what is asked.
    pub claim: &'a dyn Fn(&str) -> bool,
}

/// Second half, for a device: a setup code, then its own token; `first` is what the first half said. A good code counts
/// also for who has passed already (Tailscale names the phone's owner, for one): only the code pairs the phone.
pub fn authorize_device(
    facts: &ConnectFacts,
    limiter: &RateLimiter,
    device: &DeviceFacts,
    first: Result<Authenticated, AuthFailure>,
) -> Result<Authenticated, AuthFailure> {
    match (by_setup_code(facts, limiter, device.claim), first) {
        (Some(Ok(auth)), _) | (_, Ok(auth)) => Ok(auth),
        (Some(Err(failure)), Err(_)) | (None, Err(failure)) => by_device_token(facts, limiter, device, failure),
    }
}

/// None when none was sent.
fn by_setup_code(
    facts: &ConnectFacts,
    limiter: &RateLimiter,
    claim: &dyn Fn(&str) -> bool,
) -> Option<Result<Authenticated, AuthFailure>> {
    let sent = filled(facts.credentials.bootstrap_token.as_ref())?;
    let key = RateKey::of(facts.caller);
    if let Err(locked) = limiter.check(RateScope::DeviceToken, key, facts.now_ms) {
        return Some(Err(AuthFailure::RateLimited(locked)));
    }
    if claim(sent.expose()) {
        limiter.success(RateScope::DeviceToken, key);
        return Some(Ok(Authenticated { method: AuthMethod::BootstrapToken, user: None }));
    }
    limiter.failure(RateScope::DeviceToken, key, facts.now_ms);
    Some(Err(AuthFailure::BootstrapTokenInvalid))
}

/// `before` is the failure so far.
fn by_device_token(
    facts: &ConnectFacts,
    limiter: &RateLimiter,
    device: &DeviceFacts,
    before: AuthFailure,
) -> Result<Authenticated, AuthFailure> {
    use AuthFailure::{BootstrapTokenInvalid, PasswordMismatch, TokenMismatch};
    let key = RateKey::of(facts.caller);
    let sent = facts.credentials;
    let charged = matches!(before, TokenMismatch | PasswordMismatch | BootstrapTokenInvalid);
    let explicit = filled(sent.device_token.as_ref());
    let Some(candidate) = explicit.or(filled(sent.token.as_ref())) else { return Err(before) };
    limiter.check(RateScope::DeviceToken, key, facts.now_ms).map_err(AuthFailure::RateLimited)?;
    let record = device.record.filter(|record| record.has_role(device.role));
    let held = record.and_then(|record| Some((record, record.token?)));
    let right = held.filter(|(_, held)| held.token.matches(candidate.expose()) && !held.revoked);
    if let Some((record, held)) = right {
        if record.scopes.covers_all(held.scopes) && held.scopes.covers_all(device.asked) {
            limiter.success(RateScope::DeviceToken, key);
            if explicit.is_none() && before == TokenMismatch {
                limiter.forgive(RateScope::SharedSecret, key);
            }
            return Ok(Authenticated { method: AuthMethod::DeviceToken, user: None });
        }
    } else if explicit.is_some() || !charged {
        limiter.failure(RateScope::DeviceToken, key, facts.now_ms);
    }
    Err(if explicit.is_some() { AuthFailure::DeviceTokenMismatch } else { before })
}

/// HTTP: only `Authorization: Bearer <secret>`; nobody is exempt from auth, loopback is from the limiter. A locked
/// address is refused also with the right secret and without any.
pub fn authorize_bearer(
    auth: &ResolvedAuth,
    head: &Head,
    caller: &Caller,
    limiter: &RateLimiter,
    now_ms: u64,
) -> Result<Authenticated, AuthFailure> {
    match auth.mode {
        AuthMode::TrustedProxy => return by_trusted_proxy(auth, head, caller),
        AuthMode::None => return Ok(Authenticated { method: AuthMethod::None, user: None }),
        AuthMode::Token | AuthMode::Password => {}
    }
    let key = RateKey::of(caller);
    limiter.check(RateScope::SharedSecret, key, now_ms).map_err(AuthFailure::RateLimited)?;
    let given = head.header("authorization").and_then(bearer);
    let as_utf8 = given.and_then(utf8_reading);
    let given: Vec<&str> = given.into_iter().chain(as_utf8.as_deref()).collect();
    by_shared_secret(auth, &given, limiter, key, now_ms)
}

/// Heads are read as Latin-1, which is what browsers and many libraries write; others write UTF-8. The text that such a
/// value then is, if it is one and another.
pub fn utf8_reading(value: &str) -> Option<String> {
    let bytes: Option<Vec<u8>> = value.chars().map(|c| u8::try_from(c).ok()).collect();
    String::from_utf8(bytes?).ok().filter(|text| text != value)
}

/// The value of a `Bearer` header; the scheme in any case.
pub fn bearer(header: &str) -> Option<&str> {
    let (scheme, value) = header.trim_ascii().split_once(' ')?;
    let value = value.trim_ascii();
    (scheme.eq_ignore_ascii_case("bearer") && !value.is_empty()).then_some(value)
}

/// An empty text is as good as none.
fn filled(secret: Option<&Secret>) -> Option<&Secret> {
    secret.filter(|secret| !secret.is_empty())
}

/// What was sent for the configured kind of secret; protocol 4 may use either field (DECISIONS 24).
fn given_secrets(mode: AuthMode, sent: &ConnectAuth, protocol: u32) -> Vec<&str> {
    let (own, other) = match mode {
        AuthMode::Password => (&sent.password, &sent.token),
        _ => (&sent.token, &sent.password),
    };
    let other = filled(other.as_ref()).filter(|_| protocol >= 4);
    filled(own.as_ref()).into_iter().chain(other).map(Secret::expose).collect()
}

fn by_shared_secret(
    auth: &ResolvedAuth,
    given: &[&str],
    limiter: &RateLimiter,
    key: RateKey,
    now_ms: u64,
) -> Result<Authenticated, AuthFailure> {
    let password = auth.mode == AuthMode::Password;
    let of_kind = |token, of_password| if password { of_password } else { token };
    let Some(secret) = auth.shared_secret() else {
        return Err(of_kind(AuthFailure::TokenNotConfigured, AuthFailure::PasswordNotConfigured));
    };
    if given.is_empty() {
        return Err(of_kind(AuthFailure::TokenMissing, AuthFailure::PasswordMissing));
    }
    // Every field is compared, so that the time does not tell which one was right.
    if given.iter().fold(false, |right, text| secret.matches(text) | right) {
        limiter.success(RateScope::SharedSecret, key);
        let method = if password { AuthMethod::Password } else { AuthMethod::Token };
        return Ok(Authenticated { method, user: None });
    }
    limiter.failure(RateScope::SharedSecret, key, now_ms);
    Err(of_kind(AuthFailure::TokenMismatch, AuthFailure::PasswordMismatch))
}

/// The word of a proxy that the configuration trusts (http 2.3).
fn by_trusted_proxy(auth: &ResolvedAuth, head: &Head, caller: &Caller) -> Result<Authenticated, AuthFailure> {
    let refuse = |reason: &str| Err(AuthFailure::TrustedProxy(format!("trusted_proxy_{reason}")));
    let Some(rules) = &auth.trusted_proxy else { return refuse("config_missing") };
    if auth.proxies.is_empty() {
        return refuse("no_proxies_configured");
    }
    if !caller.peer_is_trusted_proxy {
        return refuse("untrusted_source");
    }
    let said = |name: &str| head.header(name).map(str::trim_ascii).filter(|value| !value.is_empty());
    for name in &rules.required_headers {
        if said(name).is_none() {
            return refuse(&format!("missing_header_{}", name.to_ascii_lowercase()));
        }
    }
    let Some(user) = said(&rules.user_header) else { return refuse("user_missing") };
    // A proxy that adds its own behind what the client sent: one of the two was made up, and we do not know which.
    if head.headers(&rules.user_header).count() > 1 {
        return refuse("user_ambiguous");
    }
    if !rules.allow_users.is_empty() && !rules.allow_users.iter().any(|allowed| allowed == user) {
        return refuse("user_not_allowed");
    }
    Ok(Authenticated { method: AuthMethod::TrustedProxy, user: Some(user.to_owned()) })
}

const TAILSCALE_USER: &str = "tailscale-user-login";

/// The address that `tailscale whois` has to be asked about before a connect is judged, if any (http 2.4).
pub fn wants_whois(auth: &ResolvedAuth, head: &Head, caller: &Caller) -> Option<IpAddr> {
    let offered = auth.allow_tailscale && !caller.local_direct && head.header(TAILSCALE_USER).is_some();
    let asked = matches!(auth.mode, AuthMode::Token | AuthMode::Password);
    if offered && asked { tailscale_client(head, caller) } else { None }
}

/// `tailscaled` forwards from loopback and says for whom.
fn tailscale_client(head: &Head, caller: &Caller) -> Option<IpAddr> {
    let proxied = ["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host"];
    let all = proxied.iter().all(|name| head.header(name).is_some_and(|value| !value.trim().is_empty()));
    if is_loopback(caller.peer) && all { forwarded_client(head, is_loopback) } else { None }
}

fn tailscale_user(facts: &ConnectFacts) -> Result<String, AuthFailure> {
    let said = facts.head.header(TAILSCALE_USER).map(str::trim).filter(|user| !user.is_empty());
    let user = said.ok_or(AuthFailure::TailscaleUserMissing)?;
    tailscale_client(facts.head, facts.caller).ok_or(AuthFailure::TailscaleProxyMissing)?;
    let login = facts.whois.map(str::trim).filter(|login| !login.is_empty());
    let login = login.ok_or(AuthFailure::TailscaleWhoisFailed)?;
    if login.to_lowercase() == user.to_lowercase() {
        Ok(login.to_owned())
    } else {
        Err(AuthFailure::TailscaleUserMismatch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::model::{Gateway, RateLimit, TrustedProxy};
    use crate::policy::net::IpList;

    fn secret(text: &str) -> Option<Secret> {
        Some(Secret::new(text))
    }

    fn head(peer: &str, headers: &[(&str, &str)]) -> Head {
        Head {
            peer: peer.parse().unwrap(),
            headers: headers.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect(),
        }
    }

    fn token_auth() -> ResolvedAuth {
        let gateway = Gateway {
            auth: crate::config::model::Auth { token: secret("right"), ..Default::default() },
            ..Default::default()
        };
        resolve_auth(&gateway, &AuthOverrides::default())
    }

    struct Scene {
        auth: ResolvedAuth,
        head: Head,
        sent: ConnectAuth,
        protocol: u32,
        whois: Option<&'static str>,
        limiter: RateLimiter,
    }

    impl Scene {
        fn new(auth: ResolvedAuth) -> Scene {
            Scene {
                auth,
                head: head("192.0.2.7", &[("host", "gw")]),
                sent: ConnectAuth::default(),
                protocol: 3,
                whois: None,
                limiter: RateLimiter::new(&RateLimit { max_attempts: 3, ..RateLimit::default() }),
            }
        }

        fn first(&self) -> Result<AuthMethod, AuthFailure> {
            let caller = Caller::resolve(&self.head, &self.auth.proxies, false);
            authorize_connect(&self.facts(&caller), &self.limiter).map(|auth| auth.method())
        }

        fn facts<'a>(&'a self, caller: &'a Caller) -> ConnectFacts<'a> {
            ConnectFacts {
                auth: &self.auth,
                head: &self.head,
                caller,
                credentials: &self.sent,
                protocol: self.protocol,
                now_ms: 5,
                whois: self.whois,
            }
        }
    }

    #[test]
    fn shared_secrets() {
        let password = ResolvedAuth { mode: AuthMode::Password, password: secret("right"), ..token_auth() };
        let nothing = ResolvedAuth { token: None, ..token_auth() };
        let no_password = ResolvedAuth { password: None, ..password.clone() };
        let none = ResolvedAuth { mode: AuthMode::None, ..token_auth() };
        use AuthFailure::*;
        for (auth, protocol, token, pass, verdict) in [
            (&none, 3, None, None, Ok(AuthMethod::None)),
            (&token_auth(), 3, Some("right"), None, Ok(AuthMethod::Token)),
            (&token_auth(), 3, Some("wrong"), None, Err(TokenMismatch)),
            (&token_auth(), 3, Some(""), None, Err(TokenMissing)),
            (&token_auth(), 3, None, Some("right"), Err(TokenMissing)),
            (&token_auth(), 4, None, Some("right"), Ok(AuthMethod::Token)),
            (&token_auth(), 4, Some("wrong"), Some("right"), Ok(AuthMethod::Token)),
            (&token_auth(), 4, None, Some("wrong"), Err(TokenMismatch)),
            (&password, 3, None, Some("right"), Ok(AuthMethod::Password)),
            (&password, 3, None, Some("wrong"), Err(PasswordMismatch)),
            (&password, 3, Some("right"), None, Err(PasswordMissing)),
            (&password, 4, Some("right"), None, Ok(AuthMethod::Password)),
            (&nothing, 3, Some("right"), None, Err(TokenNotConfigured)),
            (&no_password, 3, None, Some("x"), Err(PasswordNotConfigured)),
        ] {
            let mut scene = Scene::new(auth.clone());
            scene.protocol = protocol;
            scene.sent = ConnectAuth {
                token: token.map(Secret::new),
                password: pass.map(Secret::new),
                ..ConnectAuth::default()
            };
            assert_eq!(scene.first(), verdict, "{:?} {protocol} {token:?} {pass:?}", auth.mode);
        }
    }

    #[test]
    fn wrong_secrets_are_charged_whatever_else_is_sent() {
        let mut scene = Scene::new(token_auth());
        for _ in 0..5 {
            assert_eq!(scene.first(), Err(AuthFailure::TokenMissing), "missing is no guess");
        }
        scene.sent.token = secret("wrong");
        scene.sent.device_token = secret("bogus");
        for _ in 0..3 {
            assert_eq!(scene.first(), Err(AuthFailure::TokenMismatch));
        }
        scene.sent.token = secret("right");
        assert!(matches!(scene.first(), Err(AuthFailure::RateLimited(_))), "locked for the right one too");
    }

    #[test]
    fn device_tokens() {
        let (held, baseline) = (Scopes::new(["operator.write"]), Scopes::new(["operator.write"]));
        let (token, roles) = (Secret::new("dev"), ["operator".to_owned()]);
        let device = |revoked| PairedDevice {
            public_key: "k",
            roles: &roles,
            scopes: &baseline,
            platform: None,
            device_family: None,
            token: Some(super::super::device::TokenView { token: &token, scopes: &held, revoked }),
        };
        let read = Scopes::new(["operator.read"]);
        let admin = Scopes::new(["operator.admin"]);
        use AuthFailure::*;
        for (case, token, explicit, bootstrap, role, asked, revoked, verdict) in [
            ("explicit", None, Some("dev"), None, "operator", &read, false, Ok(AuthMethod::DeviceToken)),
            ("as token", Some("dev"), None, None, "operator", &read, false, Ok(AuthMethod::DeviceToken)),
            (
                "beside a wrong token",
                Some("x"),
                Some("dev"),
                None,
                "operator",
                &read,
                false,
                Ok(AuthMethod::DeviceToken),
            ),
            ("wrong", None, Some("x"), None, "operator", &read, false, Err(DeviceTokenMismatch)),
            ("both wrong", Some("x"), Some("y"), None, "operator", &read, false, Err(DeviceTokenMismatch)),
            ("wrong as token", Some("x"), None, None, "operator", &read, false, Err(TokenMismatch)),
            ("revoked", None, Some("dev"), None, "operator", &read, true, Err(DeviceTokenMismatch)),
            ("other role", None, Some("dev"), None, "node", &read, false, Err(DeviceTokenMismatch)),
            ("more scopes", None, Some("dev"), None, "operator", &admin, false, Err(DeviceTokenMismatch)),
            ("nothing", None, None, None, "operator", &read, false, Err(TokenMissing)),
            ("setup code", None, None, Some("x"), "operator", &read, false, Err(BootstrapTokenInvalid)),
            ("good setup code", None, None, Some("good"), "node", &read, false, Ok(AuthMethod::BootstrapToken)),
            (
                "beside the shared token",
                Some("right"),
                None,
                Some("good"),
                "operator",
                &read,
                false,
                Ok(AuthMethod::BootstrapToken),
            ),
            ("a bad one beside it", Some("right"), None, Some("x"), "operator", &read, false, Ok(AuthMethod::Token)),
            ("an empty one", None, None, Some(""), "operator", &read, false, Err(TokenMissing)),
            (
                "setup code and token",
                None,
                Some("dev"),
                Some("x"),
                "operator",
                &read,
                false,
                Ok(AuthMethod::DeviceToken),
            ),
        ] {
            let mut scene = Scene::new(token_auth());
            scene.sent = ConnectAuth {
                token: token.map(Secret::new),
                device_token: explicit.map(Secret::new),
                bootstrap_token: bootstrap.map(Secret::new),
                password: None,
            };
            let caller = Caller::resolve(&scene.head, &scene.auth.proxies, false);
            let device = device(revoked);
            let with = DeviceFacts { record: Some(&device), role, asked, claim: &|token| token == "good" };
            let facts = scene.facts(&caller);
            let first = authorize_connect(&facts, &scene.limiter);
            let verified = authorize_device(&facts, &scene.limiter, &with, first);
            assert_eq!(verified.map(|auth| auth.method()), verdict, "{case}");
        }
    }

    #[test]
    fn a_device_token_in_the_token_field_is_not_held_against_its_owner() {
        let (scopes, token, roles) = (Scopes::NONE, Secret::new("dev"), ["operator".to_owned()]);
        let view = super::super::device::TokenView { token: &token, scopes: &scopes, revoked: false };
        let device = PairedDevice {
            public_key: "k",
            roles: &roles,
            scopes: &scopes,
            platform: None,
            device_family: None,
            token: Some(view),
        };
        let mut scene = Scene::new(token_auth());
        scene.sent.token = secret("dev");
        for round in 0..10 {
            let caller = Caller::resolve(&scene.head, &scene.auth.proxies, false);
            let with = DeviceFacts { record: Some(&device), role: "operator", asked: &scopes, claim: &|_| false };
            let facts = scene.facts(&caller);
            let first = authorize_connect(&facts, &scene.limiter);
            let verified = authorize_device(&facts, &scene.limiter, &with, first);
            assert!(verified.is_ok(), "{round}");
        }
        // A wrong shared secret beside a right device token stays charged.
        scene.sent = ConnectAuth { token: secret("guess"), device_token: secret("dev"), ..ConnectAuth::default() };
        for _ in 0..3 {
            assert_eq!(scene.first(), Err(AuthFailure::TokenMismatch));
        }
        assert!(matches!(scene.first(), Err(AuthFailure::RateLimited(_))));
    }

    #[test]
    fn the_word_of_a_proxy() {
        let rules = |required: &[&str], users: &[&str]| TrustedProxy {
            user_header: "X-User".into(),
            required_headers: required.iter().map(|s| (*s).into()).collect(),
            allow_users: users.iter().map(|s| (*s).into()).collect(),
        };
        let proxies = IpList::parse(&["10.0.0.1"]).0;
        let user = ("x-user", " ann ");
        for (case, peer, headers, rules, verdict) in [
            ("ok", "10.0.0.1", &[user][..], Some(rules(&[], &[])), Ok(())),
            ("allowed", "10.0.0.1", &[user], Some(rules(&[], &["ann"])), Ok(())),
            ("case counts", "10.0.0.1", &[user], Some(rules(&[], &["Ann"])), Err("user_not_allowed")),
            ("elsewhere", "10.0.0.2", &[user], Some(rules(&[], &[])), Err("untrusted_source")),
            ("no user", "10.0.0.1", &[("x-user", " ")], Some(rules(&[], &[])), Err("user_missing")),
            ("no header", "10.0.0.1", &[user], Some(rules(&["X-Need"], &[])), Err("missing_header_x-need")),
            ("no rules", "10.0.0.1", &[user], None, Err("config_missing")),
        ] {
            let auth = ResolvedAuth {
                mode: AuthMode::TrustedProxy,
                trusted_proxy: rules,
                proxies: proxies.clone(),
                ..token_auth()
            };
            let scene = Scene { head: head(peer, headers), ..Scene::new(auth) };
            let verdict = verdict
                .map(|()| AuthMethod::TrustedProxy)
                .map_err(|reason| AuthFailure::TrustedProxy(format!("trusted_proxy_{reason}")));
            assert_eq!(scene.first(), verdict, "{case}");
        }
        let open = ResolvedAuth {
            mode: AuthMode::TrustedProxy,
            trusted_proxy: Some(rules(&[], &[])),
            proxies: IpList::default(),
            ..token_auth()
        };
        let failure = Scene::new(open).first().unwrap_err();
        assert_eq!(failure.reason(), "trusted_proxy_no_proxies_configured");
    }

    #[test]
    fn the_word_of_tailscale() {
        let proxied = [
            ("host", "gw.x.ts.net"),
            ("x-forwarded-for", "100.64.0.9"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "gw.x.ts.net"),
        ];
        let with = |login: &'static str| [&proxied[..], &[("tailscale-user-login", login)]].concat();
        let auth = ResolvedAuth { allow_tailscale: true, ..token_auth() };
        for (case, peer, headers, whois, verdict) in [
            ("ok", "127.0.0.1", with("Ann@x"), Some("ann@x"), Ok(AuthMethod::Tailscale)),
            ("somebody else", "127.0.0.1", with("ann@x"), Some("bob@x"), Err(AuthFailure::TailscaleUserMismatch)),
            ("whois failed", "127.0.0.1", with("ann@x"), None, Err(AuthFailure::TailscaleWhoisFailed)),
            ("no user", "127.0.0.1", with(" "), Some("ann@x"), Err(AuthFailure::TailscaleUserMissing)),
            ("not from here", "192.0.2.1", with("ann@x"), Some("ann@x"), Err(AuthFailure::TailscaleProxyMissing)),
            ("not offered", "127.0.0.1", proxied.to_vec(), Some("ann@x"), Err(AuthFailure::TokenMissing)),
        ] {
            let mut scene = Scene { head: head(peer, &headers), whois, ..Scene::new(auth.clone()) };
            assert_eq!(scene.first(), verdict, "{case}");
            scene.auth.allow_tailscale = false;
            assert_eq!(scene.first(), Err(AuthFailure::TokenMissing), "{case}, switched off");
        }
        let head = head("127.0.0.1", &with("ann@x"));
        let caller = Caller::resolve(&head, &auth.proxies, false);
        assert_eq!(wants_whois(&auth, &head, &caller), Some("100.64.0.9".parse().unwrap()));
        assert_eq!(wants_whois(&token_auth(), &head, &caller), None);
    }

    #[test]
    fn bearers() {
        let limiter = RateLimiter::new(&RateLimit { max_attempts: 2, ..RateLimit::default() });
        let ask = |header: Option<&str>, limiter: &RateLimiter| {
            let headers: Vec<_> = header.map(|value| ("Authorization", value)).into_iter().collect();
            let head = head("192.0.2.7", &headers);
            let caller = Caller::resolve(&head, &IpList::default(), false);
            authorize_bearer(&token_auth(), &head, &caller, limiter, 0).map(|auth| auth.method())
        };
        assert_eq!(ask(Some("bEaReR  right "), &limiter), Ok(AuthMethod::Token));
        assert_eq!(utf8_reading("K\u{c3}\u{a4}se").as_deref(), Some("Käse"), "UTF-8 that was read as Latin-1");
        for whole in ["Käse", "right", "", "\u{20ac}"] {
            assert_eq!(utf8_reading(whole), None, "{whole}");
        }
        for missing in [None, Some("Basic right"), Some("Bearer"), Some("Bearer  "), Some("right")] {
            assert_eq!(ask(missing, &limiter), Err(AuthFailure::TokenMissing), "{missing:?}");
        }
        for _ in 0..2 {
            assert_eq!(ask(Some("Bearer wrong"), &limiter), Err(AuthFailure::TokenMismatch));
        }
        for header in [Some("Bearer right"), None] {
            let Err(AuthFailure::RateLimited(locked)) = ask(header, &limiter) else { panic!("{header:?}") };
            assert_eq!(locked.retry_after_seconds(), 300);
        }
    }
}
