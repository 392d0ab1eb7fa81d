//! A gateway that asks for no secret, and the pages of a browser on the same machine.

use serde_json::json;

use super::{ask, hi, place, place_without_secret};
use crate::common::model::Play;
use crate::common::raw::Answer;
use crate::common::{Gateway, stdout};

fn post(gateway: &Gateway, lines: &str) -> Answer {
    let body = hi().to_string();
    let head = "POST /v1/chat/completions HTTP/1.1\r\nContent-Type: text/plain\r\n";
    ask(gateway, &format!("{head}{lines}Content-Length: {}\r\n\r\n{body}", body.len()))
}

#[test]
fn a_page_that_points_its_name_at_us_reaches_nothing() {
    let more = json!({"gateway": {
        "controlUi": {"allowedOrigins": ["https://ui.example:8443"]},
        "http": {"cors": {"allowedOrigins": ["https://chat.example"]}},
    }});
    let (model, _home, gateway) = place_without_secret(vec![Play::words("hello")], more);
    let own = stdout(&std::process::Command::new("uname").arg("-n").output().expect("uname"));
    let port = gateway.port;
    let good = [
        format!("Host: 127.0.0.1:{port}\r\n"),
        format!("Host: [::1]:{port}\r\n"),
        format!("Host: localhost:{port}\r\n"),
        "Host: app.localhost\r\n".to_owned(),
        "Host: 192.168.1.5\r\n".to_owned(),
        "Host: gw.tail1234.ts.net\r\n".to_owned(),
        format!("Host: {}:{port}\r\n", own.trim()),
        "Host: ui.example\r\n".to_owned(),
        format!("Host: localhost:{port}\r\nOrigin: http://localhost:{port}\r\n"),
        format!("Host: 127.0.0.1:{port}\r\nOrigin: http://localhost:3000\r\n"),
        "Host: gw.tail1234.ts.net\r\nOrigin: https://gw.tail1234.ts.net\r\n".to_owned(),
        format!("Host: 127.0.0.1:{port}\r\nOrigin: https://ui.example:8443\r\n"),
        format!("Host: 127.0.0.1:{port}\r\nOrigin: https://chat.example\r\n"),
    ];
    for lines in &good {
        let answer = post(&gateway, lines);
        assert_eq!(answer.status, 200, "{lines:?}: {answer:?}");
    }
    let served = model.served();
    assert_eq!(served, good.len());
    for (lines, reason) in [
        (format!("Host: evil.example:{port}\r\n"), "host not allowed"),
        (format!("Host: evil.example:{port}\r\nOrigin: http://evil.example:{port}\r\n"), "host not allowed"),
        (format!("Host: localhost.evil.example:{port}\r\n"), "host not allowed"),
        (format!("Host: 127.0.0.1.nip.io:{port}\r\n"), "host not allowed"),
        ("Host: a b\r\n".to_owned(), "host not allowed"),
        ("Host: \r\n".to_owned(), "host not allowed"),
        (format!("Host: 127.0.0.1:{port}\r\nOrigin: https://evil.example\r\n"), "origin not allowed"),
        ("Host: gw.x.ts.net\r\nOrigin: http://localhost.evil.example\r\n".to_owned(), "origin not allowed"),
        (format!("Host: 127.0.0.1:{port}\r\nOrigin: null\r\n"), "origin missing or invalid"),
        (
            "Host: localhost\r\nOrigin: http://localhost\r\nOrigin: https://evil.example\r\n".to_owned(),
            "origin missing or invalid",
        ),
    ] {
        let answer = post(&gateway, &lines);
        let text = format!(
            "{reason}: use an IP address, localhost or this machine's name, or list the page's origin in \
             gateway.controlUi.allowedOrigins"
        );
        let want = json!({"error": {"message": text, "type": "forbidden"}});
        assert_eq!((answer.status, answer.json()), (403, want), "{lines:?}");
        for path in ["/v1/models", "/tools/invoke", "/api/diagnostics/prometheus"] {
            let method = if path == "/tools/invoke" { "POST" } else { "GET" };
            let answer = ask(&gateway, &format!("{method} {path} HTTP/1.1\r\n{lines}\r\n"));
            assert_eq!(answer.status, 403, "{path} {lines:?}");
        }
        // Probes are for everybody, their details are not.
        assert_eq!(ask(&gateway, &format!("GET /health HTTP/1.1\r\n{lines}\r\n")).status, 200);
    }
    assert_eq!(ask(&gateway, "GET /readyz HTTP/1.1\r\nHost: evil.example\r\n\r\n").json(), json!({"ready": true}));
    assert_eq!(model.served(), served, "none of it reached an agent");
    // Programs from before there was a Host.
    assert_eq!(ask(&gateway, "GET /v1/models HTTP/1.0\r\n\r\n").status, 200);
}

#[test]
fn with_a_secret_the_name_does_not_matter() {
    let (_model, _home, gateway) = place(vec![Play::words("hello")], json!({}));
    for lines in ["Host: any.example\r\n", "Host: any.example\r\nOrigin: https://evil.example\r\n"] {
        let secret = format!("{lines}Authorization: Bearer {}\r\n", crate::common::TOKEN);
        assert_eq!(post(&gateway, &secret).status, 200, "{lines:?}");
        assert_eq!(post(&gateway, lines).status, 401, "{lines:?}");
    }
}
