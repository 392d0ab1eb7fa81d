//! Which rules and secrets hold: the command line, the configuration and the environment, in this order for each
//! (cli 2.3, DECISIONS 26).

use super::net::IpList;
use crate::config::model::{AuthMode, Gateway, TrustedProxy};
use crate::secret::Secret;

/// What command line and environment say about auth.
#[derive(Clone, Debug, Default)]
pub struct AuthOverrides {
    /// `--auth`.
    pub mode: Option<AuthMode>,
    /// `--token`, `--password` or `--password-file`.
    pub token: Option<Secret>,
    pub password: Option<Secret>,
    /// `OPENCLAW_GATEWAY_TOKEN`, `OPENCLAW_GATEWAY_PASSWORD` (or the older names).
    pub env_token: Option<Secret>,
    pub env_password: Option<Secret>,
    /// `--tailscale`.
    pub tailscale_mode: Option<String>,
}

/// The rules that callers are judged by. Replaced as a whole when the configuration changes.
#[derive(Clone, Debug, PartialEq)]
pub struct ResolvedAuth {
    pub mode: AuthMode,
    pub token: Option<Secret>,
    pub password: Option<Secret>,
    pub allow_tailscale: bool,
    pub trusted_proxy: Option<TrustedProxy>,
    pub proxies: IpList,
    /// Entries of `gateway.trustedProxies` that are no address and no network: nobody is trusted by them.
    pub bad_proxies: Vec<String>,
}

impl ResolvedAuth {
    /// The one secret that counts in this mode.
    pub fn shared_secret(&self) -> Option<&Secret> {
        match self.mode {
            AuthMode::Token => self.token.as_ref(),
            AuthMode::Password => self.password.as_ref(),
            AuthMode::None | AuthMode::TrustedProxy => None,
        }
    }
}

/// Mode: override, config, password if there is one, token. Secrets: override, config, environment (cli 2.3).
pub fn resolve_auth(gateway: &Gateway, over: &AuthOverrides) -> ResolvedAuth {
    let config = &gateway.auth;
    let first = |places: [&Option<Secret>; 3]| {
        places.into_iter().flatten().find(|secret| !secret.expose().trim().is_empty()).cloned()
    };
    let token = first([&over.token, &config.token, &over.env_token]);
    let password = first([&over.password, &config.password, &over.env_password]);
    let by_secret = if password.is_some() { AuthMode::Password } else { AuthMode::Token };
    let mode = over.mode.or(config.mode).unwrap_or(by_secret);
    let tailscale = over.tailscale_mode.as_deref().or(gateway.tailscale_mode.as_deref());
    let (proxies, bad_proxies) = IpList::parse(&gateway.trusted_proxies);
    let serve = tailscale == Some("serve") && !matches!(mode, AuthMode::Password | AuthMode::TrustedProxy);
    ResolvedAuth {
        mode,
        token,
        password,
        allow_tailscale: config.allow_tailscale.unwrap_or(serve),
        trusted_proxy: config.trusted_proxy.clone(),
        proxies,
        bad_proxies,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> Option<Secret> {
        Some(Secret::new(text))
    }

    #[test]
    fn who_wins_among_flags_config_and_environment() {
        let mut gateway = Gateway::default();
        gateway.auth.token = secret("config");
        let over = AuthOverrides { env_token: secret("env"), env_password: secret("pw"), ..Default::default() };
        let auth = resolve_auth(&gateway, &over);
        assert_eq!(auth.mode, AuthMode::Password, "a password is known and no mode is set");
        assert!(auth.token.unwrap().matches("config"), "config before environment");
        let over = AuthOverrides { token: secret("flag"), mode: Some(AuthMode::Token), ..over };
        let auth = resolve_auth(&gateway, &over);
        assert_eq!(auth.mode, AuthMode::Token);
        assert!(auth.shared_secret().unwrap().matches("flag"));
        gateway.auth.mode = Some(AuthMode::None);
        assert_eq!(resolve_auth(&gateway, &AuthOverrides::default()).mode, AuthMode::None);
        assert_eq!(resolve_auth(&Gateway::default(), &AuthOverrides::default()).mode, AuthMode::Token);
        let empty = AuthOverrides { token: secret(" "), ..Default::default() };
        assert!(resolve_auth(&gateway, &empty).token.unwrap().matches("config"));
        for (mode, serve, asked, allowed) in [
            (AuthMode::Token, "serve", None, true),
            (AuthMode::Token, "funnel", None, false),
            (AuthMode::Password, "serve", None, false),
            (AuthMode::TrustedProxy, "serve", None, false),
            (AuthMode::Password, "off", Some(true), true),
            (AuthMode::Token, "serve", Some(false), false),
        ] {
            let mut gateway = Gateway { tailscale_mode: Some(serve.into()), ..Gateway::default() };
            (gateway.auth.mode, gateway.auth.allow_tailscale) = (Some(mode), asked);
            assert_eq!(resolve_auth(&gateway, &AuthOverrides::default()).allow_tailscale, allowed, "{mode:?} {serve}");
        }
    }
}
