//! Cross-origin requests, opt-in by `gateway.http.cors.allowedOrigins` (http 1.3): an origin is listed or it is not;
//! there are no patterns.

use crate::http::{Head, Reply};
use crate::policy::net;

const METHODS: &str = "GET, POST, OPTIONS";
const HEADERS: &str = "authorization, content-type, x-openclaw-agent-id, x-openclaw-session-key, x-openclaw-model";
const MAX_AGE_SECONDS: &str = "600";
/// What pages may read beside the ordinary: without it the libraries in a browser repeat what they are told not to.
const EXPOSED: &str = "Retry-After, x-should-retry";

/// What every answer to this request carries.
pub fn headers(head: &Head, allowed: &[String]) -> Vec<(&'static str, String)> {
    if allowed.is_empty() {
        return Vec::new();
    }
    let mut headers = vec![("Vary", "Origin".to_owned())];
    if let Some(origin) = allowed_origin(head, allowed) {
        headers.push(("Access-Control-Allow-Origin", origin.to_owned()));
        headers.push(("Access-Control-Expose-Headers", EXPOSED.to_owned()));
    }
    headers
}

/// The answer to a browser that asks beforehand; None when it does not, or may not.
pub fn preflight(head: &Head, allowed: &[String]) -> Option<Reply> {
    if head.method != "OPTIONS" || head.header("access-control-request-method").is_none() {
        return None;
    }
    allowed_origin(head, allowed)?;
    let wanted = head.header("access-control-request-headers").filter(|names| !names.is_empty()).unwrap_or(HEADERS);
    Some(
        Reply::empty(204)
            .header("Access-Control-Allow-Methods", METHODS)
            .header("Access-Control-Allow-Headers", wanted)
            .header("Access-Control-Max-Age", MAX_AGE_SECONDS),
    )
}

fn allowed_origin<'a>(head: &'a Head, allowed: &[String]) -> Option<&'a str> {
    let origin = head.header("origin")?;
    net::lists_origin(allowed, origin).then_some(origin)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::Shape;

    fn head(method: &str, extra: &str) -> Head {
        let text = format!("{method} /v1/models HTTP/1.1\r\nHost: a\r\n{extra}\r\n");
        crate::http::head::parse(text.as_bytes()).unwrap().unwrap().0
    }

    #[test]
    fn origins() {
        // With the slash of an address bar.
        let allowed = ["https://Chat.example/".to_owned(), " ".to_owned(), "*".to_owned()];
        let ask =
            "Access-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: authorization, x-stainless-os\r\n";
        for (origin, method, asks, want) in [
            ("https://chat.example", "OPTIONS", true, true),
            ("https://chat.example", "OPTIONS", false, false),
            ("https://chat.example", "POST", true, false),
            ("https://chat.example.evil", "OPTIONS", true, false),
            ("https://chat.example:443", "OPTIONS", true, true),
            ("https://chat.example:444", "OPTIONS", true, false),
            ("http://chat.example", "OPTIONS", true, false),
            ("https://chat.example@evil.example", "OPTIONS", true, false),
            ("null", "OPTIONS", true, false),
            ("*", "OPTIONS", true, false),
            ("", "OPTIONS", true, false),
        ] {
            let head = head(method, &format!("Origin: {origin}\r\n{}", if asks { ask } else { "" }));
            let reply = preflight(&head, &allowed);
            assert_eq!(reply.is_some(), want, "{origin} {method} {asks}");
            if let Some(reply) = reply {
                let (text, _) = reply.print(&Shape { cors: headers(&head, &allowed), ..Shape::default() });
                let text = String::from_utf8(text).unwrap();
                for line in [
                    "HTTP/1.1 204 No Content",
                    "Vary: Origin",
                    &format!("Access-Control-Allow-Origin: {origin}"),
                    "Access-Control-Allow-Methods: GET, POST, OPTIONS",
                    "Access-Control-Allow-Headers: authorization, x-stainless-os",
                    "Access-Control-Max-Age: 600",
                ] {
                    assert!(text.contains(line), "{line} in {text}");
                }
            }
        }
        let here = |origin: &str| headers(&head("GET", &format!("Origin: {origin}\r\n")), &allowed).len();
        assert_eq!((here("https://chat.example"), here("https://evil.example")), (3, 1));
        assert!(headers(&head("GET", "Origin: https://chat.example\r\n"), &[]).is_empty());
    }
}
