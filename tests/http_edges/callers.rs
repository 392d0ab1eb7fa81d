//! Who is charged for wrong secrets, and whom a proxy vouches for.

use serde_json::json;

use super::{ask, place};
use crate::common::model::Play;
use crate::common::raw::{Answer, Raw};
use crate::common::{Gateway, TOKEN};

fn models(gateway: &Gateway, lines: &str, secret: &str) -> Answer {
    let bearer = if secret.is_empty() { String::new() } else { format!("Authorization: Bearer {secret}\r\n") };
    let host = if lines.contains("Host:") { "" } else { "Host: 127.0.0.1\r\n" };
    ask(gateway, &format!("GET /v1/models HTTP/1.1\r\n{host}{lines}{bearer}\r\n"))
}

/// Spends the three attempts of a caller, and sees that it is locked out, the right secret and all.
fn guess(gateway: &Gateway, lines: &str) {
    for n in 0..3 {
        let answer = models(gateway, lines, "wrong");
        let want = json!({"error": {"message": "Unauthorized", "type": "unauthorized"}});
        assert_eq!((answer.status, answer.json()), (401, want), "{lines:?} {n}");
        assert_eq!((answer.header("retry-after"), answer.header("www-authenticate")), (None, None));
    }
    for secret in ["wrong", TOKEN, ""] {
        let answer = models(gateway, lines, secret);
        let text = "Too many failed authentication attempts. Please try again later.";
        assert_eq!(answer.status, 429, "{lines:?} {secret}: {answer:?}");
        assert_eq!(answer.json(), json!({"error": {"message": text, "type": "rate_limited"}}));
        let seconds: u64 = answer.header("retry-after").and_then(|n| n.parse().ok()).expect("a number");
        assert!((1..=60).contains(&seconds), "{seconds}");
    }
}

fn limit() -> serde_json::Value {
    json!({"maxAttempts": 3, "windowMs": 60000, "lockoutMs": 60000})
}

#[test]
fn a_lock_is_for_the_caller_that_a_trusted_proxy_names() {
    let more = json!({"gateway": {"trustedProxies": ["127.0.0.1", "10.0.0.0/8"], "auth": {"rateLimit": limit()}}});
    let (_model, _home, gateway) = place(vec![Play::words("hello")], more);
    // The rightmost address that is no proxy of ours; what stands left of it anybody may have written.
    guess(&gateway, "X-Forwarded-For: 198.51.100.7\r\n");
    for lines in [
        "X-Forwarded-For: 203.0.113.1, 198.51.100.7\r\n",
        "X-Forwarded-For: 127.0.0.1, 198.51.100.7, 10.1.2.3\r\n",
        "X-Forwarded-For: 203.0.113.1\r\nX-Forwarded-For: 198.51.100.7\r\n",
        "X-Forwarded-For: 198.51.100.7:4711\r\n",
        "X-Forwarded-For: ::ffff:198.51.100.7\r\n",
        "X-Forwarded-For: 198.51.100.7, garbage\r\n",
    ] {
        assert_eq!(models(&gateway, lines, TOKEN).status, 429, "{lines:?} is the same caller");
    }
    for lines in [
        "",
        "X-Forwarded-For: 198.51.100.8\r\n",
        "X-Forwarded-For: 198.51.100.7, 198.51.100.8\r\n",
        "X-Forwarded-For: [2001:db8::1]:443, 10.9.9.9\r\n",
        // Not asked for by allowRealIpFallback.
        "X-Real-IP: 198.51.100.7\r\n",
    ] {
        assert_eq!(models(&gateway, lines, TOKEN).status, 200, "{lines:?} is somebody else");
    }
}

#[test]
fn nobody_talks_himself_out_of_a_lock_or_another_one_into_it() {
    let more = json!({"gateway": {"auth": {"rateLimit": limit()}}});
    let (_model, _home, gateway) = place(vec![Play::words("hello")], more);
    // No proxy is trusted: all these are one caller, who came through something that we do not know.
    for n in 0..3 {
        let lines = format!("X-Forwarded-For: 203.0.113.{n}\r\n");
        assert_eq!(models(&gateway, &lines, "wrong").status, 401);
    }
    for lines in ["X-Forwarded-For: 203.0.113.99\r\n", "X-Real-IP: 127.0.0.1\r\n", "Forwarded: for=127.0.0.1\r\n"] {
        assert_eq!(models(&gateway, lines, TOKEN).status, 429, "{lines:?}");
    }
    assert_eq!(models(&gateway, "", TOKEN).status, 200, "programs of this machine are not locked out by it");
    // Host and Origin prove nothing: the secret is asked for under every name, and pages have an account of their own.
    for lines in ["Host: localhost\r\n", "Host: gw.tail1.ts.net\r\n", "Host: evil.example\r\n"] {
        assert_eq!(models(&gateway, lines, "").status, 401, "{lines:?}");
        assert_eq!(models(&gateway, lines, TOKEN).status, 200, "{lines:?}");
    }
    guess(&gateway, "Origin: http://localhost:3000\r\n");
    assert_eq!(models(&gateway, "Origin: http://127.0.0.1:9\r\n", TOKEN).status, 429);
    assert_eq!(models(&gateway, "", TOKEN).status, 200);
}

#[test]
fn a_password_may_have_any_letters_however_a_client_writes_them() {
    let more = json!({"gateway": {"auth": {"mode": "password", "password": "grüße\u{e0}"}}});
    let (_model, _home, gateway) = place(vec![Play::words("hello")], more);
    let utf8: &[u8] = "grüße\u{e0}".as_bytes();
    for (what, secret, status) in [
        ("UTF-8", utf8, 200),
        ("Latin-1", &b"gr\xfc\xdfe\xe0"[..], 200),
        ("something between", &b"gr\xfc\xc3\x9fe\xe0"[..], 401),
        ("a part", &b"gr\xfc\xdfe"[..], 401),
    ] {
        let head: &[u8] = b"GET /v1/models HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer ";
        let mut raw = Raw::open(gateway.port);
        raw.send(&[head, secret, b"\r\n\r\n"].concat());
        assert_eq!(raw.answer().status, status, "{what}");
    }
}

#[test]
fn a_trusted_proxy_vouches_for_its_users_and_no_bearer_is_looked_at() {
    let more = json!({"gateway": {
        "trustedProxies": ["127.0.0.1"],
        "auth": {"mode": "trusted-proxy", "trustedProxy": {
            "userHeader": "X-Auth-User", "requiredHeaders": ["X-Proxy"], "allowUsers": ["ann"]}},
    }});
    let (_model, _home, gateway) = place(vec![Play::words("hello")], more);
    let via = "Host: gw.example\r\nX-Forwarded-For: 192.0.2.9\r\n";
    for (lines, status, reason) in [
        ("X-Proxy: 1\r\nX-Auth-User: ann\r\n", 200, ""),
        ("X-Proxy: 1\r\nX-Auth-User:  ann \r\nOrigin: https://gw.example\r\n", 200, ""),
        ("X-Proxy: 1\r\nX-Auth-User: Ann\r\n", 401, "trusted_proxy_user_not_allowed"),
        ("X-Proxy: 1\r\nX-Auth-User: \r\n", 401, "trusted_proxy_user_missing"),
        ("X-Proxy: 1\r\n", 401, "trusted_proxy_user_missing"),
        // A proxy that leaves what the client sent and adds its own word: either may be the made-up one.
        ("X-Proxy: 1\r\nX-Auth-User: ann\r\nX-Auth-User: eve\r\n", 401, "trusted_proxy_user_ambiguous"),
        ("X-Proxy: 1\r\nX-Auth-User: eve\r\nx-auth-user: ann\r\n", 401, "trusted_proxy_user_ambiguous"),
        ("X-Proxy: 1\r\nX-Auth-User: ann, eve\r\n", 401, "trusted_proxy_user_not_allowed"),
        ("X-Auth-User: ann\r\n", 401, "trusted_proxy_missing_header_x-proxy"),
        // The proxy's cookie goes along with whatever a page sends.
        ("X-Proxy: 1\r\nX-Auth-User: ann\r\nOrigin: https://evil.example\r\n", 403, "origin not allowed"),
        ("X-Proxy: 1\r\nX-Auth-User: ann\r\nOrigin: null\r\n", 403, "origin missing or invalid"),
    ] {
        let answer = models(&gateway, &format!("{via}{lines}"), TOKEN);
        assert_eq!(answer.status, status, "{lines:?}: {answer:?}");
        if !reason.is_empty() {
            gateway.wait_line(&format!("GET /v1/models from 192.0.2.9: {reason}"));
        }
        assert!(status != 401 || answer.json()["error"]["message"] == "Unauthorized", "the reason is for the log");
    }
}
