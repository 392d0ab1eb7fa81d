//! What is served where: methods, paths of nobody, pages of other origins that were let in.

use serde_json::json;

use super::{ask, chat, configured, hi, place, request};
use crate::common::model::{Model, Play};
use crate::common::raw::Raw;
use crate::common::{Gateway, Home, TOKEN};

/// Path and its methods.
const SERVED: [(&str, &str); 10] = [
    ("/health", "GET, HEAD"),
    ("/healthz", "GET, HEAD"),
    ("/ready", "GET, HEAD"),
    ("/readyz", "GET, HEAD"),
    ("/v1/models", "GET, HEAD"),
    ("/api/diagnostics/prometheus", "GET, HEAD"),
    ("/v1/chat/completions", "POST"),
    ("/v1/embeddings", "POST"),
    ("/v1/responses", "POST"),
    ("/tools/invoke", "POST"),
];

#[test]
fn every_path_has_its_methods_and_says_so_before_it_asks_for_a_secret() {
    let (_model, _home, gateway) = place(vec![Play::words("hello")], json!({}));
    for (path, allow) in SERVED {
        for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "BREW"] {
            let mut raw = Raw::saying(gateway.port, &format!("{method} {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
            let answer = raw.try_answer(method != "HEAD").expect("an answer");
            let what = format!("{method} {path}: {answer:?}");
            if allow.split(", ").any(|one| one == method) {
                assert!(matches!(answer.status, 200 | 401), "{what}");
                assert_eq!(
                    answer.status == 401,
                    allow == "POST" || path.starts_with("/v1") || path.starts_with("/api")
                );
            } else {
                assert_eq!((answer.status, answer.header("allow")), (405, Some(allow)), "{what}");
                assert_eq!(answer.body, if method == "HEAD" { "" } else { "Method Not Allowed" }, "{what}");
            }
            assert!(answer.header("content-length").is_some_and(|n| n != "0"), "{what}");
            // The next request is found behind the answer: a HEAD had no body, whatever its length says.
            raw.send(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n");
            assert_eq!(raw.answer().body, r#"{"ok":true,"status":"live"}"#, "{what}");
        }
    }
    // HEAD is GET without the body.
    for path in ["/v1/models", "/health", "/readyz", "/api/diagnostics/prometheus", "/v1/models/nobody", "/nothing"] {
        let get = ask(&gateway, &request("GET", path, "", ""));
        let head = Raw::saying(gateway.port, &request("HEAD", path, "", "")).try_answer(false).expect("an answer");
        assert_eq!((get.status, get.header("content-type")), (head.status, head.header("content-type")), "{path}");
        // Figures differ from one moment to the next.
        assert!(path.contains("prometheus") || get.header("content-length") == head.header("content-length"), "{path}");
    }
}

#[test]
fn paths_of_nobody_are_not_found_whoever_asks_and_however_they_are_written() {
    let (_model, _home, gateway) = place(vec![Play::words("hello")], json!({}));
    for path in [
        "/v1",
        "/v1/",
        "/v1/nothing",
        "/v1/chat",
        "/v1/chat/completions/",
        "/v1/chat/completions/x",
        "/v1//models",
        "//v1/models",
        "/v1/../v1/models",
        "/v1/./models",
        "/v1/%6dodels",
        "/V1/models",
        "/v1/models;x=y",
        "/v1/completions",
        "/api",
        "/api/",
        "/api/diagnostics",
        "/api/diagnostics/prometheus/",
        "/api/channels/x",
        "/hooks",
        "/hooks/wake",
        "/tools",
        "/tools/invoke/",
        "/tools/invoke%2f",
        "/__openclaw__",
        "/plugins",
        "/plugins/x",
        "/metrics",
        "/metrics/",
        "/favicon.ico",
        "/../../etc/passwd",
        "/..%2f..%2fetc%2fpasswd",
        "/%00",
        "/health/",
    ] {
        for (method, lines) in
            [("GET", format!("Authorization: Bearer {TOKEN}\r\n")), ("GET", String::new()), ("POST", String::new())]
        {
            let answer = ask(&gateway, &format!("{method} {path} HTTP/1.1\r\nHost: a\r\n{lines}\r\n"));
            assert_eq!(answer.status, 404, "{method} {path}: {answer:?}");
            if path == "/v1" || path.starts_with("/v1/") {
                let want = json!({"error": {"message": "Not found", "type": "invalid_request_error"}});
                assert_eq!(answer.json(), want, "{path}");
            } else {
                assert_eq!(answer.body, "Not Found", "{path}");
            }
        }
    }
    // What is switched off is not there.
    let home = Home::new();
    home.configure(json!({}));
    let bare = Gateway::start(&home, &[]);
    for path in ["/v1/chat/completions", "/v1/models", "/v1/embeddings", "/v1/responses"] {
        assert_eq!(ask(&bare, &request("POST", path, "", "{}")).status, 404, "{path}");
    }
}

#[test]
fn pages_of_other_origins_get_in_where_they_are_listed_and_nowhere_else() {
    let model = Model::start(vec![Play::words("hello")]);
    // As an address bar shows it; and what other programs take for everybody.
    let listed = json!(["https://Chat.example/", "*"]);
    let home = configured(&model, json!({"gateway": {"http": {"cors": {"allowedOrigins": listed}}}}));
    let gateway = Gateway::start(&home, &[]);
    gateway.wait_line("gateway.http.cors.allowedOrigins: \"*\" stands for nobody here");
    let good = "Origin: https://chat.example\r\n";
    let wants =
        "Access-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: authorization, x-stainless-os\r\n";
    // Asked beforehand, without a secret: browsers send none.
    for path in ["/v1/chat/completions", "/v1/models", "/tools/invoke", "/nothing"] {
        let answer = ask(&gateway, &format!("OPTIONS {path} HTTP/1.1\r\nHost: a\r\n{good}{wants}\r\n"));
        assert_eq!(answer.status, 204, "{path}: {answer:?}");
        for (name, value) in [
            ("access-control-allow-origin", "https://chat.example"),
            ("access-control-allow-methods", "GET, POST, OPTIONS"),
            ("access-control-allow-headers", "authorization, x-stainless-os"),
            ("access-control-max-age", "600"),
            ("access-control-expose-headers", "Retry-After, x-should-retry"),
            ("vary", "Origin"),
        ] {
            assert_eq!(answer.header(name), Some(value), "{path}: {answer:?}");
        }
        assert_eq!(answer.header("access-control-allow-credentials"), None);
    }
    // Every answer of theirs can be read, errors above all.
    let mut stream = hi();
    stream["stream"] = true.into();
    for (what, text, status) in [
        ("a list", request("GET", "/v1/models", good, ""), 200),
        ("an answer", chat(&hi()).replace("Host:", &format!("{good}Host:")), 200),
        ("a stream", chat(&stream).replace("Host:", &format!("{good}Host:")), 200),
        ("400", request("POST", "/v1/chat/completions", good, "{"), 400),
        ("401", request("GET", "/v1/models", good, "").replace(TOKEN, "wrong"), 401),
        ("404", request("GET", "/v1/nothing", good, ""), 404),
        ("405", request("DELETE", "/v1/models", good, ""), 405),
        ("413", request("POST", "/tools/invoke", &format!("{good}Content-Length: 9999999\r\n"), ""), 413),
    ] {
        let answer = Raw::saying(gateway.port, &text).try_answer(false).expect("an answer");
        assert_eq!(answer.status, status, "{what}: {answer:?}");
        assert_eq!(answer.header("access-control-allow-origin"), Some("https://chat.example"), "{what}");
        assert_eq!(answer.header("vary"), Some("Origin"), "{what}");
    }
    // Others are answered like programs, without the headers; their browsers keep it from them.
    for origin in ["https://evil.example", "https://chat.example.evil", "http://chat.example", "null", "*"] {
        let evil = format!("Origin: {origin}\r\n");
        let preflight = ask(&gateway, &format!("OPTIONS /v1/models HTTP/1.1\r\nHost: a\r\n{evil}{wants}\r\n"));
        assert_eq!((preflight.status, preflight.header("allow")), (405, Some("GET, HEAD")), "{origin}");
        for answer in [preflight, ask(&gateway, &request("GET", "/v1/models", &evil, ""))] {
            assert!(!answer.head.to_lowercase().contains("access-control"), "{origin}: {answer:?}");
            assert_eq!(answer.header("vary"), Some("Origin"), "{origin}: {answer:?}");
        }
    }
    // Without the key there is nothing of it.
    let without = Home::new();
    without.configure(json!({}));
    let bare = Gateway::start(&without, &[]);
    let answer = ask(&bare, &format!("OPTIONS /tools/invoke HTTP/1.1\r\nHost: a\r\n{good}{wants}\r\n"));
    assert_eq!((answer.status, answer.header("allow")), (405, Some("POST")), "{answer:?}");
    assert!(!answer.head.to_lowercase().contains("access-control") && answer.header("vary").is_none(), "{answer:?}");
}
