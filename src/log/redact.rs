//! Secrets taken out of text before it reaches file, console or a client (cli 7, LESSONS R26).
//!
//! Pure and linear: one pass over the text by hand-written scanners for the default patterns. Patterns of the operator
//! (`logging.redactPatterns`) are taken literally, ignoring case; those that need a regular expression are skipped and
//! `Redactor::new` says so once.

use std::borrow::Cow;

use serde_json::{Map, Value};

/// Shorter secrets become `***`, longer ones keep their first 6 and last 4 characters.
const SHOWN_FROM: usize = 18;
/// A bare `Bearer` needs at least this much after it to be one.
const BEARER_LENGTH: usize = 18;

/// Prefixes that name their issuer, and how many characters must follow.
const PREFIXES: [(&str, usize); 13] = [
    ("sk-", 8),
    ("ghp_", 20),
    ("github_pat_", 20),
    ("xoxb-", 10),
    ("xoxa-", 10),
    ("xoxp-", 10),
    ("xoxr-", 10),
    ("xoxs-", 10),
    ("xapp-", 10),
    ("gsk_", 10),
    ("AIza", 20),
    ("pplx-", 10),
    ("npm_", 10),
];
/// Endings of names whose value is a secret, compared without case, `_` and `-`.
const SECRET_ENDINGS: [&str; 9] =
    ["token", "secret", "password", "passwd", "apikey", "accesskey", "secretkey", "privatekey", "passphrase"];
/// Words after `--token` that are prose, not a value.
const PROSE: [&str; 12] = ["or", "and", "is", "to", "on", "in", "can", "must", "for", "with", "requires", "cannot"];
const PEM_LABEL: &[u8] = b"PRIVATE KEY-----";
const PEM_HEAD_BYTES: usize = 64;
const SCHEMES: [&str; 4] = ["bearer", "basic", "token", "bot"];

/// The default patterns and the operator's own.
#[derive(Clone, Debug, Default)]
pub struct Redactor {
    off: bool,
    literals: Vec<String>,
}

impl Redactor {
    /// `on` is false only for `logging.redactSensitive: "off"`. The second value is a warning for the log.
    pub fn new(on: bool, patterns: &[String]) -> (Redactor, Option<String>) {
        let (literals, skipped): (Vec<_>, Vec<_>) =
            patterns.iter().partition(|p| !p.is_empty() && !p.contains(|c| "\\^$.|?*+()[]{}/".contains(c)));
        let literals = literals.into_iter().map(|p| p.to_ascii_lowercase()).collect();
        let warning = (on && !skipped.is_empty()).then(|| {
            format!(
                "logging.redactPatterns: {} of {} skipped: this build redacts plain text and the default patterns, \
                 not regular expressions",
                skipped.len(),
                patterns.len()
            )
        });
        (Redactor { off: !on, literals }, warning)
    }

    pub fn apply<'a>(&self, text: &'a str) -> Cow<'a, str> {
        if self.off {
            return Cow::Borrowed(text);
        }
        let redacted = redact(text);
        self.literals.iter().fold(redacted, |text, literal| match mask_literal(&text, literal) {
            Some(masked) => Cow::Owned(masked),
            None => text,
        })
    }

    /// String values, at any depth; those under a secret's name whatever they look like.
    pub fn apply_fields(&self, fields: &mut Map<String, Value>) {
        for (name, value) in fields {
            self.apply_value(name, value);
        }
    }

    fn apply_value(&self, name: &str, value: &mut Value) {
        match value {
            Value::String(text) if !self.off && is_secret_name(name) => *text = mask(text),
            Value::String(text) => {
                if let Cow::Owned(redacted) = self.apply(text) {
                    *text = redacted;
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.apply_value(name, item)),
            Value::Object(fields) => self.apply_fields(fields),
            _ => {}
        }
    }
}

/// `***`, or first 6 and last 4 characters around an ellipsis.
pub fn mask(secret: &str) -> String {
    let chars: Vec<char> = secret.chars().collect();
    if chars.len() < SHOWN_FROM {
        return "***".into();
    }
    let mut out: String = chars[..6].iter().collect();
    out.push('…');
    out.extend(&chars[chars.len() - 4..]);
    out
}

/// True for `token`, `apiKey`, `OPENAI_API_KEY`, `X-Auth-Token` …; false for `sessionKey`, `maxTokens`.
pub fn is_secret_name(name: &str) -> bool {
    if name.len() > 128 {
        return false;
    }
    let plain: String = name.chars().filter(|c| !matches!(c, '_' | '-')).collect();
    if plain.ends_with("KEY") && name.contains('_') && !name.contains(|c: char| c.is_ascii_lowercase()) {
        return true;
    }
    let plain = plain.to_ascii_lowercase();
    SECRET_ENDINGS.iter().any(|end| plain.ends_with(end))
}

/// The default patterns applied to a text.
pub fn redact(text: &str) -> Cow<'_, str> {
    let mut out = String::new();
    let mut kept = 0;
    let mut at = 0;
    while at < text.len() {
        match secret_at(text, at) {
            Found::Mask { from, to } => {
                out.push_str(&text[kept..from]);
                out.push_str(&mask(&text[from..to]));
                kept = to;
                at = to.max(at + 1);
            }
            Found::Block { from, to } => {
                out.push_str(&text[kept..from]);
                out.push_str("…redacted…");
                kept = to;
                at = to.max(at + 1);
            }
            Found::Nothing { next } => at = next,
        }
    }
    if out.is_empty() && kept == 0 {
        return Cow::Borrowed(text);
    }
    out.push_str(&text[kept..]);
    Cow::Owned(out)
}

enum Found {
    Mask { from: usize, to: usize },
    Block { from: usize, to: usize },
    Nothing { next: usize },
}

/// Looks at the word that starts at `at`, or at the single byte there. All cuts are at ASCII bytes.
fn secret_at(text: &str, at: usize) -> Found {
    let bytes = text.as_bytes();
    if !is_word(bytes[at]) {
        if bytes[at] == b':' && bytes[at..].starts_with(b"://") {
            return user_info(text, at + 3);
        }
        return Found::Nothing { next: at + 1 };
    }
    let end = span(bytes, at, is_word);
    let word = &text[at..end];
    if word.starts_with("-----BEGIN") {
        return private_key(text, at, end);
    }
    if let Some(from) = issued_token(word) {
        return Found::Mask { from: at + from, to: end };
    }
    if let Some((from, to)) = bot_token(bytes, at, end) {
        return Found::Mask { from, to };
    }
    let flag = word.starts_with("--");
    let name = word.trim_start_matches('-');
    if name.eq_ignore_ascii_case("bearer") {
        let (from, to) = bearer_value(bytes, end);
        if to - from >= BEARER_LENGTH {
            return Found::Mask { from, to };
        }
    }
    let authorization = name.eq_ignore_ascii_case("authorization");
    if (authorization || is_secret_name(name))
        && let Some((from, to)) = value_after(text, end, flag, authorization)
    {
        return Found::Mask { from, to };
    }
    Found::Nothing { next: end }
}

/// `-----BEGIN … PRIVATE KEY-----` keeps its first and last line; without an end everything after it goes.
fn private_key(text: &str, at: usize, end: usize) -> Found {
    // The kind before it is a word or two; without a bound a text full of beginnings would cost its square.
    let head = &text.as_bytes()[at..text.len().min(at + PEM_HEAD_BYTES)];
    let label = head.windows(PEM_LABEL.len()).position(|w| w == PEM_LABEL);
    let Some(body) = label.map(|n| at + n + PEM_LABEL.len()).filter(|to| !text.as_bytes()[at..*to].contains(&b'\n'))
    else {
        return Found::Nothing { next: end };
    };
    let to = text[body..].find("-----END").map_or(text.len(), |n| body + n);
    Found::Block { from: body, to }
}

/// Start of a token with an issuer's prefix inside a word: at its start or after a dash.
fn issued_token(word: &str) -> Option<usize> {
    let bytes = word.as_bytes();
    (0..word.len()).filter(|at| *at == 0 || bytes[at - 1] == b'-').find(|at| {
        PREFIXES.iter().any(|(prefix, more)| {
            bytes.len() - at >= prefix.len() + more
                && bytes[*at..*at + prefix.len()].eq_ignore_ascii_case(prefix.as_bytes())
        })
    })
}

/// `123456:ABC…` of Telegram, also with `bot` before it as in its URLs.
fn bot_token(bytes: &[u8], at: usize, end: usize) -> Option<(usize, usize)> {
    let from = if bytes[at..end].starts_with(b"bot") { at + 3 } else { at };
    let digits = span(bytes, from, |b| b.is_ascii_digit());
    if digits - from < 6 || digits != end || bytes.get(end) != Some(&b':') {
        return None;
    }
    let to = span(bytes, end + 1, is_word);
    (to - (end + 1) >= 20).then_some((from, to))
}

fn bearer_value(bytes: &[u8], after: usize) -> (usize, usize) {
    let from = span(bytes, after, |b| b == b' ' || b == b'\t');
    if from == after {
        return (after, after);
    }
    (from, span(bytes, from, |b| is_word(b) || b"._+=/~".contains(&b)))
}

/// The value of a secret's name: `name=value`, `name: "value"`, `"name":"value"` (also with escaped quotes), `--name value`.
fn value_after(text: &str, end: usize, flag: bool, authorization: bool) -> Option<(usize, usize)> {
    let bytes = text.as_bytes();
    let blank = |b: u8| b == b' ' || b == b'\t';
    let mut at = span(bytes, end, |b| b == b'\\');
    if matches!(bytes.get(at), Some(b'"' | b'\'')) {
        at += 1;
    } else if at != end {
        return None;
    }
    let after_name = at;
    at = span(bytes, at, blank);
    match bytes.get(at) {
        Some(b':' | b'=') => at = span(bytes, at + 1, blank),
        Some(_) if flag && at > after_name => {
            let word = &text[at..span(bytes, at, |b| !b.is_ascii_whitespace())];
            if word.starts_with(['-', '(', '<', '[']) || PROSE.contains(&word) {
                return None;
            }
        }
        _ => return None,
    }
    at = span(bytes, at, |b| b == b'\\');
    let quote = bytes.get(at).copied().filter(|b| matches!(b, b'"' | b'\''));
    if quote.is_some() {
        at += 1;
    }
    if authorization {
        let word = span(bytes, at, |b| b.is_ascii_alphabetic());
        if SCHEMES.iter().any(|scheme| text[at..word].eq_ignore_ascii_case(scheme)) {
            at = span(bytes, word, blank);
        }
    }
    let to = match quote {
        Some(quote) => span(bytes, at, |b| b != quote && b != b'\\' && b != b'\n'),
        None => span(bytes, at, |b| !b.is_ascii_whitespace() && !matches!(b, b'"' | b'\'' | b'\\')),
    };
    (to > at).then_some((at, to))
}

/// The password of `https://user:password@host`.
fn user_info(text: &str, at: usize) -> Found {
    let bytes = text.as_bytes();
    let end = span(bytes, at, |b| !b.is_ascii_whitespace() && !b"/?#\"'\\<>".contains(&b));
    let info = &text[at..end];
    match (info.find(':'), info.rfind('@')) {
        (Some(colon), Some(sign)) if colon + 1 < sign => Found::Mask { from: at + colon + 1, to: at + sign },
        _ => Found::Nothing { next: at },
    }
}

fn is_word(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b == b'_' || b == b'-'
}

/// End of the run of bytes from `from` on that satisfy the test. The tests hold for no part of a character only.
fn span(bytes: &[u8], from: usize, test: impl Fn(u8) -> bool) -> usize {
    bytes[from..].iter().position(|b| !test(*b)).map_or(bytes.len(), |n| from + n)
}

/// Masks every occurrence, ignoring ASCII case; None without one.
fn mask_literal(text: &str, literal: &str) -> Option<String> {
    let lower = text.to_ascii_lowercase();
    let mut out = String::new();
    let mut kept = 0;
    for (at, found) in lower.match_indices(literal) {
        out.push_str(&text[kept..at]);
        out.push_str(&mask(&text[at..at + found.len()]));
        kept = at + found.len();
    }
    (kept > 0).then(|| out + &text[kept..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::testing::Random;
    use serde_json::json;

    const CASES: &[(&str, &str)] = &[
        ("OPENAI_API_KEY=sk-short", "OPENAI_API_KEY=***"),
        ("MY_KEY: abcdefghijklmnopqrstuvwxyz end", "MY_KEY: abcdef…wxyz end"),
        ("token=0123456789abcdef01", "token=012345…ef01"),
        (r#"{"apiKey": "abc", "n": 1}"#, r#"{"apiKey": "***", "n": 1}"#),
        (r#"{\"password\":\"hunter2 and more\",\"x\":1}"#, r#"{\"password\":\"***\",\"x\":1}"#),
        ("openclaw --token abcdef gateway", "openclaw --token *** gateway"),
        ("openclaw --password=abcdef gateway", "openclaw --password=*** gateway"),
        ("pass --token or --password", "pass --token or --password"),
        ("pass --token/--password.", "pass --token/--password."),
        ("Authorization: Bearer abc", "Authorization: Bearer ***"),
        ("authorization: Basic dXNlcjpwYXNzd29yZDEyMw==", "authorization: Basic dXNlcj…Mw=="),
        ("sent Bearer abcdefghijklmnopqrstuv.x", "sent Bearer abcdef…uv.x"),
        ("the bearer of news", "the bearer of news"),
        ("key sk-abcdefghijklmnop9999", "key sk-abc…9999"),
        ("foo-sk-abcdefgh", "foo-***"),
        ("ghp_abcdefghijklmnopqrst github_pat_abcdefghijklmnopqrst", "ghp_ab…qrst github…qrst"),
        ("xoxb-1234567890 xapp-1234567890 gsk_1234567890", "*** *** ***"),
        ("AIzaabcdefghijklmnopqrst pplx-1234567890 npm_1234567890", "AIzaab…qrst *** ***"),
        (
            "https://api.telegram.org/bot123456:ABCDEFGHIJKLMNOPQRSTUV/getMe",
            "https://api.telegram.org/bot123456…STUV/getMe",
        ),
        ("123456789:AAAAAAAAAAAAAAAAAAAAAA", "123456…AAAA"),
        ("http://proxy:hunter2@host:80/", "http://proxy:***@host:80/"),
        ("ws://127.0.0.1:18789, ws://[::1]:18789", "ws://127.0.0.1:18789, ws://[::1]:18789"),
        ("GET /x?token=abc&b=1 done", "GET /x?token=*** done"),
        ("unauthorized: gateway token mismatch (set gateway.remote.token to match gateway.auth.token)", ""),
        ("auth=token conn=351ebb00…5571 sessionKey=agent:main:main maxTokens=12 key: value", ""),
        ("ts=1795204129681: 123456:short", ""),
        ("gateway.auth.token = s3cr3t", "gateway.auth.token = ***"),
        ("Passwort: ä, password: ärger", "Passwort: ä, password: ***"),
        (
            "a\n-----BEGIN EC PRIVATE KEY-----\nMIG\nx==\n-----END EC PRIVATE KEY-----\nb",
            "a\n-----BEGIN EC PRIVATE KEY-----…redacted…-----END EC PRIVATE KEY-----\nb",
        ),
        ("-----BEGIN PRIVATE KEY-----\nMIG", "-----BEGIN PRIVATE KEY-----…redacted…"),
        ("-----BEGIN CERTIFICATE-----\nMIG\n-----END CERTIFICATE-----", ""),
    ];

    #[test]
    fn default_patterns() {
        for (text, expected) in CASES {
            let expected = if expected.is_empty() { text } else { expected };
            assert_eq!(redact(text), *expected);
        }
        assert!(matches!(redact("nothing to hide"), Cow::Borrowed(_)));
    }

    #[test]
    fn texts_that_operators_search_for_stay_as_they_are() {
        for text in [
            "Warning: --password can be exposed via process listings. Prefer --password-file or \
             OPENCLAW_GATEWAY_PASSWORD.",
            "Set gateway.auth.token/password (or OPENCLAW_GATEWAY_TOKEN/OPENCLAW_GATEWAY_PASSWORD) or pass \
             --token/--password.",
            "Fix: pass --token or --password (or gatewayToken in tools).",
            "Use either --password or --password-file.",
            "Gateway auth is set to password, but no password is configured.",
            "auth token was missing. Generated a new token and saved it to config (gateway.auth.token).",
            "Invalid config: hooks.token must not match gateway auth token. Use another one.",
            "Invalid config: gateway.auth.token and gateway.auth.password are both configured, but gateway.auth.mode \
             is unset. Set gateway.auth.mode to token or password.",
            "Found \"gateway.token\" in config. Use \"gateway.auth.token\" instead.",
            "tailscale funnel requires gateway auth mode=password (set gateway.auth.password or \
             OPENCLAW_GATEWAY_PASSWORD)",
            "usage: openclaw gateway [--token <t>] [--password <p>]",
            "listening on ws://127.0.0.1:18789, ws://[::1]:18789 (PID 12410)",
            "device pairing auto-approved device=4f0c1ad8b1 role=operator",
            "closed before connect conn=351ebb00-777c-4d91-bfe5-79c54e465571 remote=127.0.0.1 fwd=n/a code=1008",
        ] {
            assert_eq!(redact(text), text);
        }
    }

    #[test]
    fn names_of_secrets() {
        for name in ["token", "apiKey", "OPENAI_API_KEY", "x-auth-token", "client_secret", "SSH_KEY", "refreshToken"] {
            assert!(is_secret_name(name), "{name}");
        }
        for name in ["sessionKey", "maxTokens", "key", "tokens", "secretary", "keyboard", ""] {
            assert!(!is_secret_name(name), "{name}");
        }
    }

    #[test]
    fn fields_are_redacted_by_name_and_by_content() {
        let mut fields = json!({"token":"abc","n":1,"list":["Bearer abcdefghijklmnopqrstuv"],"in":{"password":"x"}});
        Redactor::default().apply_fields(fields.as_object_mut().unwrap());
        assert_eq!(fields, json!({"token":"***","n":1,"list":["Bearer abcdef…stuv"],"in":{"password":"***"}}));
    }

    #[test]
    fn patterns_of_the_operator_are_literal() {
        let (redactor, warning) = Redactor::new(true, &["Kennwort42".into(), r"\bfoo\d+".into()]);
        assert_eq!(redactor.apply("das KENNWORT42 und kennwort42"), "das *** und ***");
        assert!(warning.unwrap().contains("1 of 2 skipped"));
        let (redactor, warning) = Redactor::new(false, &["x".into()]);
        assert_eq!((redactor.apply("token=abc"), warning), ("token=abc".into(), None));
    }

    #[test]
    fn mutated_texts_never_panic_and_never_leak_a_named_secret() {
        let mut random = Random(0x5eed_0003);
        for round in 0..5_000 {
            let mut bytes = CASES[round % CASES.len()].0.as_bytes().to_vec();
            bytes = random.mutated(&bytes);
            let text = String::from_utf8_lossy(&bytes);
            let _ = redact(&text);
            assert!(!redact(&format!("{text} token=hunter2hunter2 ")).contains("hunter2hunter2"), "{text}");
        }
    }

    #[test]
    fn long_texts_cost_linear_time() {
        for piece in ["token", "token=", "-----BEGIN ", "://a:", "--token ", "Bearer ", "sk-", "123456:"] {
            let text = piece.repeat(50_000);
            let start = std::time::Instant::now();
            let _ = redact(&text);
            assert!(start.elapsed().as_secs() < 20, "{piece}");
        }
    }
}
