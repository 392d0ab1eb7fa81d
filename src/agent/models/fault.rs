//! Why a call of a model failed: the class that decides about retry and fallback, and the texts for people and logs
//! (agent 11). Pure.

use std::time::Duration;

use serde_json::Value;

use super::wire::cut_chars;

/// Why a call failed, in the classes that decide what happens next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    Auth,
    AuthPermanent,
    Billing,
    RateLimit,
    Overloaded,
    Timeout,
    Format,
    ModelNotFound,
    SessionExpired,
    ContextOverflow,
    Aborted,
    Unknown,
}

impl Reason {
    /// The word in `All models failed`.
    pub fn name(self) -> &'static str {
        match self {
            Reason::Auth => "auth",
            Reason::AuthPermanent => "auth_permanent",
            Reason::Billing => "billing",
            Reason::RateLimit => "rate_limit",
            Reason::Overloaded => "overloaded",
            Reason::Timeout => "timeout",
            Reason::Format => "format",
            Reason::ModelNotFound => "model_not_found",
            Reason::SessionExpired => "session_expired",
            Reason::ContextOverflow => "context_overflow",
            Reason::Aborted => "aborted",
            Reason::Unknown => "unknown",
        }
    }

    /// Another model may do better.
    pub fn fails_over(self) -> bool {
        !matches!(self, Reason::ContextOverflow | Reason::Aborted | Reason::Unknown)
    }

    /// What an HTTP API answers when this is why it has no answer.
    pub fn http_status(self) -> u16 {
        match self {
            Reason::Auth | Reason::AuthPermanent => 401,
            Reason::RateLimit => 429,
            Reason::ContextOverflow => 400,
            _ => 502,
        }
    }

    /// The same model may do better a moment later.
    pub fn retryable(self) -> bool {
        matches!(self, Reason::RateLimit | Reason::Overloaded | Reason::Timeout)
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct ModelError {
    pub kind: Reason,
    /// HTTP status, when there was an answer.
    pub status: Option<u16>,
    /// `type` of the provider's error object, where its format names one.
    pub error_type: Option<String>,
    pub message: String,
    pub retry_after: Option<Duration>,
}

impl ModelError {
    pub fn new(kind: Reason, message: impl Into<String>) -> Self {
        ModelError { kind, status: None, error_type: None, message: message.into(), retry_after: None }
    }

    pub fn aborted() -> Self {
        Self::new(Reason::Aborted, "aborted")
    }

    /// The error that an HTTP status and its body stand for. `typed`: the format is known to name error types
    /// (Anthropic), which then belong into the text.
    pub fn from_status(status: u16, body: &[u8], typed: bool) -> Self {
        let found = ErrorBody::read(body);
        let message = found.message.unwrap_or_else(|| match short_text(body) {
            text if text.is_empty() => "status code (no body)".to_owned(),
            text => text,
        });
        let kind = classify(Some(status), found.kind.as_deref(), &message);
        let error_type = if typed { found.kind } else { None };
        ModelError { kind, status: Some(status), error_type, message, retry_after: None }
    }

    /// The error object inside a stream that began with status 200.
    pub fn from_object(error: &Value, typed: bool) -> Self {
        let found = ErrorBody::of(error);
        let message = found.message.unwrap_or_else(|| cut_chars(&error.to_string(), 300).to_owned());
        let kind = classify(None, found.kind.as_deref(), &message);
        let error_type = if typed { found.kind } else { None };
        ModelError { kind, status: None, error_type, message, retry_after: None }
    }

    /// For logs and transcripts: `429 slow down`, `401 authentication_error: invalid x-api-key`.
    pub fn raw_text(&self) -> String {
        let mut out = String::new();
        if let Some(status) = self.status {
            out.push_str(&format!("{status} "));
        }
        if let Some(kind) = &self.error_type {
            out.push_str(&format!("{kind}: "));
        }
        out.push_str(&self.message);
        out
    }

    /// For people (agent 11, "User error texts"). A short message without a word that marks an error stays as the
    /// provider sent it, as in the recordings: `401 bad key`, but `HTTP 401: mock error 401`.
    pub fn user_text(&self, provider: &str) -> String {
        match self.kind {
            Reason::RateLimit => return "⚠️ API rate limit reached. Please try again later.".into(),
            Reason::Overloaded => {
                return "The AI service is temporarily overloaded. Please try again in a moment.".into();
            }
            Reason::Billing => {
                return format!(
                    "⚠️ {provider} returned a billing error — your API key has run out of credits or has an \
                     insufficient balance. Check your {provider} billing dashboard and top up or switch to a \
                     different API key."
                );
            }
            Reason::ContextOverflow => {
                return "Context overflow: prompt too large for the model. Try /reset (or /new) to start a fresh \
                        session, or use a larger-context model."
                    .into();
            }
            _ => {}
        }
        match (self.status, &self.error_type) {
            (Some(status), Some(kind)) => format!("HTTP {status} {kind}: {}", self.message),
            (Some(status), None) if status >= 400 && sounds_like_an_error(&self.message) => {
                format!("HTTP {status}: {}", self.message)
            }
            (Some(status), None) => format!("{status} {}", self.message),
            (None, Some(kind)) => format!("LLM error {kind}: {}", self.message),
            (None, None) => self.message.clone(),
        }
    }
}

/// Message and type of the error objects that providers send: `{error:{message,type|code}}`, `{error:"…"}`,
/// `{message}`, `[{error:…}]`.
struct ErrorBody {
    message: Option<String>,
    kind: Option<String>,
}

impl ErrorBody {
    fn read(body: &[u8]) -> Self {
        match serde_json::from_slice::<Value>(body) {
            Ok(value) => {
                let value = value.get(0).cloned().unwrap_or(value);
                Self::of(value.get("error").unwrap_or(&value))
            }
            Err(_) => ErrorBody { message: None, kind: None },
        }
    }

    fn of(error: &Value) -> Self {
        if let Some(text) = error.as_str() {
            return ErrorBody { message: Some(cut_chars(text, 600).to_owned()), kind: None };
        }
        let text = |key: &str| error.get(key).and_then(Value::as_str).filter(|s| !s.trim().is_empty());
        let message = text("message").or_else(|| text("detail")).map(|m| cut_chars(m.trim(), 600).to_owned());
        let kind = text("type").or_else(|| text("code")).map(|t| cut_chars(t, 80).to_owned());
        ErrorBody { message, kind }
    }
}

/// HTTP status, error type and text → class (agent 11).
pub fn classify(status: Option<u16>, kind: Option<&str>, message: &str) -> Reason {
    let text = message.to_ascii_lowercase();
    let has = |words: &[&str]| words.iter().any(|w| text.contains(w));
    let overflow = has(&[
        "prompt is too long",
        "context length exceeded",
        "maximum context length",
        "request_too_large",
        "exceeds model context window",
        "context_window_exceeded",
    ]) || (text.contains("input length") && text.contains("exceed") && text.contains("context"));
    let billing =
        has(&["insufficient credit", "credit balance", "insufficient balance", "billing", "insufficient_quota"])
            || kind == Some("insufficient_quota");
    if overflow || kind == Some("context_length_exceeded") {
        return Reason::ContextOverflow;
    }
    match status {
        Some(401 | 403) if billing => Reason::Billing,
        Some(401 | 403)
            if has(&[
                "revoked",
                "deactivated",
                "key has been disabled",
                "organization has been disabled",
                "permission_error",
            ]) =>
        {
            Reason::AuthPermanent
        }
        Some(401 | 403) => Reason::Auth,
        Some(402) if has(&["rate limit", "try again", "retry"]) => Reason::RateLimit,
        Some(402) => Reason::Billing,
        Some(404) => Reason::ModelNotFound,
        Some(408 | 499 | 502 | 504) => Reason::Timeout,
        Some(410) => Reason::SessionExpired,
        Some(429) if billing => Reason::Billing,
        Some(429) => Reason::RateLimit,
        Some(503) if has(&["overload", "at capacity", "high demand"]) => Reason::Overloaded,
        Some(529) => Reason::Overloaded,
        Some(400 | 413 | 422) if billing => Reason::Billing,
        Some(400) if has(&["model not found", "unknown model", "does not exist"]) => Reason::ModelNotFound,
        Some(400 | 413 | 422) => Reason::Format,
        Some(500..=599) => Reason::Timeout,
        Some(_) => Reason::Unknown,
        None => match kind.unwrap_or("") {
            "overloaded_error" | "overloaded" => Reason::Overloaded,
            "rate_limit_error" | "rate_limit_exceeded" => Reason::RateLimit,
            "authentication_error" | "permission_error" | "invalid_api_key" => Reason::Auth,
            "billing_error" => Reason::Billing,
            "not_found_error" | "model_not_found" => Reason::ModelNotFound,
            "invalid_request_error" => Reason::Format,
            "api_error" | "timeout_error" | "server_error" => Reason::Timeout,
            _ if billing => Reason::Billing,
            _ if has(&["overloaded"]) => Reason::Overloaded,
            _ if has(&["rate limit", "too many requests"]) => Reason::RateLimit,
            _ if has(&["timed out", "timeout"]) => Reason::Timeout,
            _ => Reason::Unknown,
        },
    }
}

fn sounds_like_an_error(message: &str) -> bool {
    const HINTS: [&str; 16] = [
        "error",
        "bad request",
        "not found",
        "unauthorized",
        "forbidden",
        "internal server",
        "service unavailable",
        "gateway",
        "rate limit",
        "overloaded",
        "timeout",
        "timed out",
        "invalid",
        "too many requests",
        "permission",
        "status code",
    ];
    let text = message.to_ascii_lowercase();
    HINTS.iter().any(|hint| text.contains(hint))
}

/// Whether a URL's host is this machine: by address or as `localhost`, never by the look of a name.
pub fn is_loopback_url(url: &str) -> bool {
    let host = host_of(url);
    host.eq_ignore_ascii_case("localhost") || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// Host of a URL, without port and credentials.
pub fn host_of(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let authority = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => authority.rsplit_once(':').map_or(authority, |(host, _)| host),
    }
}

/// The start of a body that is not JSON, on one line.
pub fn short_text(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(&body[..body.len().min(2048)]);
    let words: Vec<&str> = text.split_whitespace().collect();
    cut_chars(&words.join(" "), 300).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::testing::Random;

    #[test]
    fn error_bodies_of_providers() {
        let table: [(u16, &str, bool, Reason, &str); 16] = [
            (401, r#"{"error":{"message":"bad key"}}"#, false, Reason::Auth, "401 bad key"),
            (400, r#"{"error":{"message":"mock failure"}}"#, false, Reason::Format, "400 mock failure"),
            (401, r#"{"error":{"message":"mock error 401"}}"#, false, Reason::Auth, "HTTP 401: mock error 401"),
            (
                401,
                r#"{"type":"error","error":{"type":"authentication_error","message":"invalid x-api-key"}}"#,
                true,
                Reason::Auth,
                "HTTP 401 authentication_error: invalid x-api-key",
            ),
            (
                500,
                r#"{"type":"error","error":{"type":"api_error","message":"boom"}}"#,
                true,
                Reason::Timeout,
                "HTTP 500 api_error: boom",
            ),
            (
                429,
                r#"{"error":{"message":"slow"}}"#,
                false,
                Reason::RateLimit,
                "⚠️ API rate limit reached. Please try again later.",
            ),
            (
                529,
                "",
                true,
                Reason::Overloaded,
                "The AI service is temporarily overloaded. Please try again in a moment.",
            ),
            (
                503,
                "model is overloaded",
                false,
                Reason::Overloaded,
                "The AI service is temporarily overloaded. Please try again in a moment.",
            ),
            (503, "maintenance", false, Reason::Timeout, "503 maintenance"),
            (500, "", false, Reason::Timeout, "HTTP 500: status code (no body)"),
            (404, r#"{"error":"model 'x' not found"}"#, false, Reason::ModelNotFound, "HTTP 404: model 'x' not found"),
            (404, r#"[{"error":{"message":"nope"}}]"#, false, Reason::ModelNotFound, "404 nope"),
            (402, r#"{"error":{"message":"rate limit, retry later"}}"#, false, Reason::RateLimit, "⚠️ API rate"),
            (400, r#"{"error":{"message":"Your credit balance is too low"}}"#, true, Reason::Billing, "⚠️ p returned"),
            (
                400,
                r#"{"error":{"message":"prompt is too long: 9"}}"#,
                true,
                Reason::ContextOverflow,
                "Context overflow",
            ),
            (418, "<html>teapot</html>", false, Reason::Unknown, "418 <html>teapot</html>"),
        ];
        for (status, body, typed, kind, text) in table {
            let error = ModelError::from_status(status, body.as_bytes(), typed);
            assert_eq!(error.kind, kind, "{status} {body}");
            let got = error.user_text("p");
            assert!(got.starts_with(text), "{status} {body}: {got}");
        }
    }

    #[test]
    fn hostile_error_bodies_do_not_panic() {
        let mut random = Random(7);
        let seed = r#"{"type":"error","error":{"type":"authentication_error","message":"ünïcode 🦞 key"}}"#;
        for _ in 0..3000 {
            let body = random.mutated(seed.as_bytes());
            let error = ModelError::from_status(400, &body, true);
            assert!(!error.user_text("p").is_empty());
            assert!(error.raw_text().len() < 4096);
        }
    }

    #[test]
    fn loopback_is_an_address_not_a_look() {
        for (url, want) in [
            ("http://127.0.0.1:1/v1", true),
            ("http://localhost", true),
            ("http://[::1]:8080/x", true),
            ("http://127.evil.com/v1", false),
            ("http://localhost.evil.com", false),
            ("http://127.0.0.1@evil.com/", false),
            ("https://api.openai.com/v1", false),
        ] {
            assert_eq!(is_loopback_url(url), want, "{url}");
        }
    }
}
