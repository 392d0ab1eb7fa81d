//! What a client is told when it does not pass: message, `details`, and what it should do next (protocol 2.5).
//! Clients branch on `details.code`; the command line looks for `device token mismatch` in the close reason.

use serde_json::json;

use super::auth::AuthFailure;
use crate::protocol::ErrorShape;
use crate::protocol::connect::{Client, ConnectAuth};

/// What the answer depends on beside the reason.
#[derive(Clone, Copy, Debug)]
pub struct FailureContext<'a> {
    pub client: &'a Client,
    pub credentials: &'a ConnectAuth,
    /// A device identity was presented.
    pub has_device: bool,
}

const CONFIGURE: &str = "update_auth_configuration";
const CORRECT: &str = "update_auth_credentials";
const REVIEW: &str = "review_auth_configuration";

/// code, message behind `unauthorized: `, next step.
type Row = (&'static str, String, &'static str);

impl AuthFailure {
    /// The `authReason` of the details, also for the log.
    pub fn reason(&self) -> &str {
        match self {
            AuthFailure::TokenMissing => "token_missing",
            AuthFailure::TokenMismatch => "token_mismatch",
            AuthFailure::TokenNotConfigured => "token_missing_config",
            AuthFailure::PasswordMissing => "password_missing",
            AuthFailure::PasswordMismatch => "password_mismatch",
            AuthFailure::PasswordNotConfigured => "password_missing_config",
            AuthFailure::BootstrapTokenInvalid => "bootstrap_token_invalid",
            AuthFailure::DeviceTokenMismatch => "device_token_mismatch",
            AuthFailure::RateLimited(_) => "rate_limited",
            AuthFailure::TailscaleUserMissing => "tailscale_user_missing",
            AuthFailure::TailscaleProxyMissing => "tailscale_proxy_missing",
            AuthFailure::TailscaleWhoisFailed => "tailscale_whois_failed",
            AuthFailure::TailscaleUserMismatch => "tailscale_user_mismatch",
            AuthFailure::TrustedProxy(reason) => reason,
            AuthFailure::ForeignPage(reason) => reason,
        }
    }

    pub fn error(&self, context: FailureContext) -> ErrorShape {
        let (code, text, mut next) = self.row(context.client);
        let retry = *self == AuthFailure::TokenMismatch
            && context.has_device
            && context.credentials.token.is_some()
            && context.credentials.device_token.is_none();
        if retry {
            next = "retry_with_device_token";
        }
        let message = if text.is_empty() { "unauthorized".to_owned() } else { format!("unauthorized: {text}") };
        ErrorShape::invalid(message).details(json!({
            "code": code,
            "authReason": self.reason(),
            "canRetryWithDeviceToken": retry,
            "recommendedNextStep": next,
        }))
    }

    fn row(&self, client: &Client) -> Row {
        let token = || hint(client, Kind::Token);
        let password = || hint(client, Kind::Password);
        match self {
            AuthFailure::TokenMissing => {
                ("AUTH_TOKEN_MISSING", format!("gateway token missing ({})", token()), CONFIGURE)
            }
            AuthFailure::TokenMismatch => {
                ("AUTH_TOKEN_MISMATCH", format!("gateway token mismatch ({})", token()), CORRECT)
            }
            AuthFailure::TokenNotConfigured => (
                "AUTH_TOKEN_NOT_CONFIGURED",
                "gateway token not configured on gateway (set gateway.auth.token)".into(),
                CONFIGURE,
            ),
            AuthFailure::PasswordMissing => {
                ("AUTH_PASSWORD_MISSING", format!("gateway password missing ({})", password()), CONFIGURE)
            }
            AuthFailure::PasswordMismatch => {
                ("AUTH_PASSWORD_MISMATCH", format!("gateway password mismatch ({})", password()), CORRECT)
            }
            AuthFailure::PasswordNotConfigured => (
                "AUTH_PASSWORD_NOT_CONFIGURED",
                "gateway password not configured on gateway (set gateway.auth.password)".into(),
                CONFIGURE,
            ),
            AuthFailure::BootstrapTokenInvalid => (
                "AUTH_BOOTSTRAP_TOKEN_INVALID",
                "bootstrap token invalid or expired (scan a fresh setup code)".into(),
                REVIEW,
            ),
            AuthFailure::DeviceTokenMismatch => {
                ("AUTH_DEVICE_TOKEN_MISMATCH", "device token mismatch (rotate/reissue device token)".into(), CORRECT)
            }
            AuthFailure::RateLimited(_) => {
                ("AUTH_RATE_LIMITED", "too many failed authentication attempts (retry later)".into(), "wait_then_retry")
            }
            AuthFailure::TailscaleUserMissing => (
                "AUTH_TAILSCALE_IDENTITY_MISSING",
                "tailscale identity missing (use Tailscale Serve auth or gateway token/password)".into(),
                REVIEW,
            ),
            AuthFailure::TailscaleProxyMissing => (
                "AUTH_TAILSCALE_PROXY_MISSING",
                "tailscale proxy headers missing (use Tailscale Serve or gateway token/password)".into(),
                REVIEW,
            ),
            AuthFailure::TailscaleWhoisFailed => (
                "AUTH_TAILSCALE_WHOIS_FAILED",
                "tailscale identity check failed (use Tailscale Serve auth or gateway token/password)".into(),
                REVIEW,
            ),
            AuthFailure::TailscaleUserMismatch => (
                "AUTH_TAILSCALE_IDENTITY_MISMATCH",
                "tailscale identity mismatch (use Tailscale Serve auth or gateway token/password)".into(),
                REVIEW,
            ),
            AuthFailure::TrustedProxy(_) | AuthFailure::ForeignPage(_) => ("AUTH_UNAUTHORIZED", String::new(), REVIEW),
        }
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Token,
    Password,
}

/// What a person in front of this client can do about it.
fn hint(client: &Client, kind: Kind) -> &'static str {
    let interface = client.is_control_ui() || client.is_webchat();
    match kind {
        Kind::Token if client.is_cli() => "set gateway.remote.token to match gateway.auth.token",
        Kind::Token if interface => "open the dashboard URL and paste the token in Control UI settings",
        Kind::Token => "provide gateway auth token",
        Kind::Password if client.is_cli() => "set gateway.remote.password to match gateway.auth.password",
        Kind::Password if interface => "enter the password in Control UI settings",
        Kind::Password => "provide gateway auth password",
    }
}

#[cfg(test)]
mod tests {
    use super::super::rate_limit::Locked;
    use super::*;
    use crate::secret::Secret;

    fn client(id: &str, mode: &str) -> Client {
        Client { id: id.into(), mode: mode.into(), ..Client::default() }
    }

    #[test]
    fn every_reason_with_its_words() {
        use AuthFailure::*;
        let (cli, ui, other) = (client("cli", "cli"), client("openclaw-control-ui", "webchat"), client("test", "test"));
        for (failure, client, reason, code, message, next) in [
            (
                TokenMissing,
                &other,
                "token_missing",
                "TOKEN_MISSING",
                ": gateway token missing (provide gateway auth token)",
                CONFIGURE,
            ),
            (
                TokenMissing,
                &ui,
                "token_missing",
                "TOKEN_MISSING",
                ": gateway token missing (open the dashboard URL and paste the token in Control UI settings)",
                CONFIGURE,
            ),
            (
                TokenMismatch,
                &cli,
                "token_mismatch",
                "TOKEN_MISMATCH",
                ": gateway token mismatch (set gateway.remote.token to match gateway.auth.token)",
                CORRECT,
            ),
            (
                TokenNotConfigured,
                &other,
                "token_missing_config",
                "TOKEN_NOT_CONFIGURED",
                ": gateway token not configured on gateway (set gateway.auth.token)",
                CONFIGURE,
            ),
            (
                PasswordMissing,
                &other,
                "password_missing",
                "PASSWORD_MISSING",
                ": gateway password missing (provide gateway auth password)",
                CONFIGURE,
            ),
            (
                PasswordMismatch,
                &ui,
                "password_mismatch",
                "PASSWORD_MISMATCH",
                ": gateway password mismatch (enter the password in Control UI settings)",
                CORRECT,
            ),
            (
                PasswordMismatch,
                &cli,
                "password_mismatch",
                "PASSWORD_MISMATCH",
                ": gateway password mismatch (set gateway.remote.password to match gateway.auth.password)",
                CORRECT,
            ),
            (
                BootstrapTokenInvalid,
                &other,
                "bootstrap_token_invalid",
                "BOOTSTRAP_TOKEN_INVALID",
                ": bootstrap token invalid or expired (scan a fresh setup code)",
                REVIEW,
            ),
            (
                DeviceTokenMismatch,
                &other,
                "device_token_mismatch",
                "DEVICE_TOKEN_MISMATCH",
                ": device token mismatch (rotate/reissue device token)",
                CORRECT,
            ),
            (
                RateLimited(Locked { retry_after_ms: 1 }),
                &other,
                "rate_limited",
                "RATE_LIMITED",
                ": too many failed authentication attempts (retry later)",
                "wait_then_retry",
            ),
            (
                TrustedProxy("trusted_proxy_user_missing".into()),
                &other,
                "trusted_proxy_user_missing",
                "UNAUTHORIZED",
                "",
                REVIEW,
            ),
        ] {
            let context = FailureContext { client, credentials: &ConnectAuth::default(), has_device: true };
            assert_eq!(
                serde_json::to_value(failure.error(context)).unwrap(),
                json!({"code": "INVALID_REQUEST", "message": format!("unauthorized{message}"),
                       "details": {"code": format!("AUTH_{code}"), "authReason": reason,
                                   "canRetryWithDeviceToken": false, "recommendedNextStep": next}})
            );
        }
    }

    #[test]
    fn when_a_device_token_may_help() {
        let client = client("test", "test");
        for (token, device_token, has_device, retry) in [
            (true, false, true, true),
            (true, false, false, false),
            (true, true, true, false),
            (false, false, true, false),
        ] {
            let some = |there: bool| there.then(|| Secret::new("x"));
            let credentials =
                ConnectAuth { token: some(token), device_token: some(device_token), ..ConnectAuth::default() };
            let context = FailureContext { client: &client, credentials: &credentials, has_device };
            let details = AuthFailure::TokenMismatch.error(context).details.unwrap();
            assert_eq!(details["canRetryWithDeviceToken"], retry);
            let next = if retry { "retry_with_device_token" } else { "update_auth_credentials" };
            assert_eq!(details["recommendedNextStep"], next);
        }
    }
}
