//! The canvas host (http 10): who may see its pages, how they hear of changes, where else they are.

use std::fs;
use std::net::TcpStream;

use serde_json::json;
use tungstenite::{Message, WebSocket};

use crate::common::client::{Client, Device, Hello};
use crate::common::raw::{KEY, Raw, upgrade_head};
use crate::common::{Gateway, Home, TOKEN, free_port, patience, wait_until};
use crate::metrics;
use crate::static_files::{ask, get};

const PAGE: &str = "/__openclaw__/canvas/";
const SOCKET: &str = "/__openclaw__/ws";

fn socket(port: u16, path: &str) -> WebSocket<TcpStream> {
    let stream = TcpStream::connect(("127.0.0.1", port)).expect("the gateway accepts");
    stream.set_read_timeout(Some(patience())).expect("a socket");
    tungstenite::client(format!("ws://127.0.0.1:{port}{path}"), stream).expect("the upgrade").0
}

#[test]
fn the_usual_place_is_made_with_a_page_that_reloads() {
    let home = Home::new();
    home.configure(json!({}));
    let gateway = Gateway::start(&home, &[]);
    gateway.wait_line(&format!(
        "host mounted at http://127.0.0.1:{}/__openclaw__/canvas/ (root ~/.openclaw/canvas)",
        gateway.port
    ));
    let file = home.state().join("canvas/index.html");
    for path in [PAGE, "/__openclaw__/canvas", "/__openclaw__/canvas/index.html"] {
        let got = get(gateway.port, path);
        assert_eq!((got.status, got.header("content-type")), (200, Some("text/html; charset=utf-8")), "{path}");
        assert_eq!(got.header("cache-control"), Some("no-store"));
        assert!(got.text().contains("openclawSendUserAction") && got.text().contains(SOCKET), "{path}");
    }
    let mut page = socket(gateway.port, SOCKET);
    assert_eq!(metrics::samples(&gateway)["openclaw_gateway_live_reload_clients"], 1.0);
    // Whatever a page says is read away.
    page.send(Message::text("hello?")).expect("a message");
    fs::write(&file, "<body>one</body>").expect("a page");
    assert_eq!(page.read().expect("a message"), Message::text("reload"));
    let text = get(gateway.port, PAGE).text();
    assert!(text.starts_with("<body>one<script>") && text.ends_with("</script>\n</body>"), "{text}");
    // Hidden files are nobody's page; the next that is told of is the last one.
    fs::write(home.state().join("canvas/.swap"), "x").expect("a file");
    fs::create_dir_all(home.state().join("canvas/sub")).expect("a directory");
    fs::write(home.state().join("canvas/sub/a.css"), "a{}").expect("a file");
    assert_eq!(page.read().expect("a message"), Message::text("reload"));
    page.send(Message::Ping("still there".into())).expect("a ping");
    assert_eq!(page.read().expect("an answer"), Message::Pong("still there".into()));
    page.close(None).expect("a close");
    wait_until("the close of the gateway", || page.read().is_err());
    // Nobody looks any more.
    let threads = |name: &str| {
        let tasks = fs::read_dir(format!("/proc/{}/task", gateway.pid())).expect("threads");
        tasks.flatten().any(|t| fs::read_to_string(t.path().join("comm")).is_ok_and(|c| c.trim() == name))
    };
    wait_until("the end of the thread that looked", || !threads("canvas"));
}

#[test]
fn a_page_that_says_too_much_or_too_long_things_is_closed() {
    let home = Home::new();
    home.configure(json!({}));
    let mut gateway = Gateway::start(&home, &[]);
    let mut page = socket(gateway.port, SOCKET);
    page.send(Message::text("x".repeat(5000))).expect("a message");
    let mut closed = None;
    wait_until("the close", || match page.read() {
        Ok(Message::Close(frame)) => {
            closed = frame.map(|frame| u16::from(frame.code));
            true
        }
        Ok(_) => false,
        Err(_) => true,
    });
    assert_eq!(closed, Some(1009));
    // As many as may listen, and one more.
    let mut open: Vec<_> = (0..64).map(|_| socket(gateway.port, SOCKET)).collect();
    let refused = Raw::saying(gateway.port, &upgrade_head(&format!("GET {SOCKET} HTTP/1.1"), "13", KEY)).answer();
    assert_eq!(refused.status, 503);
    open.pop();
    wait_until("room for another page", || {
        let again = Raw::saying(gateway.port, &upgrade_head(&format!("GET {SOCKET} HTTP/1.1"), "13", KEY)).answer();
        again.status == 101
    });
    assert_eq!(gateway.stop(), Some(0), "open pages do not keep the gateway");
}

#[test]
fn pages_are_free_on_this_machine_and_need_the_secret_or_a_capability_elsewhere() {
    let home = Home::new();
    home.configure(json!({}));
    let gateway = Gateway::start(&home, &[]);
    let node = Hello {
        role: "node".into(),
        client_id: "node-host".into(),
        mode: "node".into(),
        scopes: vec![],
        ..Hello::default()
    };
    let (client, hello) = Client::connect_as(gateway.port, &node, Some(&Device::new()));
    let url = hello["canvasHostUrl"].as_str().expect("an address").to_owned();
    let scoped = url.strip_prefix(&format!("http://127.0.0.1:{}", gateway.port)).expect("our address").to_owned();
    let cap = scoped.strip_prefix("/__openclaw__/cap/").expect("a capability").to_owned();
    assert_eq!(cap.len(), 24);
    assert!(Client::connect_as(gateway.port, &Hello::default(), None).1.get("canvasHostUrl").is_none());

    let away = "Host: gateway.example\r\n";
    let bearer = format!("Authorization: Bearer {TOKEN}\r\n");
    let unauthorized = r#"{"error":{"message":"Unauthorized","type":"unauthorized"}}"#;
    for (path, lines, status) in [
        (PAGE.to_owned(), "Host: 127.0.0.1\r\n".to_owned(), 200),
        (PAGE.to_owned(), "Host: localhost:1\r\n".to_owned(), 200),
        (PAGE.to_owned(), "Host: [::1]\r\n".to_owned(), 200),
        (PAGE.to_owned(), "Host: box.tail1234.ts.net\r\n".to_owned(), 200),
        // DNS rebinding, and proxies that nobody told us of.
        (PAGE.to_owned(), away.to_owned(), 401),
        (PAGE.to_owned(), "Host: 127.0.0.1.evil.example\r\n".to_owned(), 401),
        (PAGE.to_owned(), "Host: localhost.evil.example\r\n".to_owned(), 401),
        (PAGE.to_owned(), "Host: 192.0.2.1\r\n".to_owned(), 401),
        (PAGE.to_owned(), "Host: 127.0.0.1\r\nX-Forwarded-For: 127.0.0.1\r\n".to_owned(), 401),
        (PAGE.to_owned(), "Host: 127.0.0.1\r\nX-Real-IP: 127.0.0.1\r\n".to_owned(), 401),
        (PAGE.to_owned(), "Host: 127.0.0.1\r\nX-Forwarded-Host: localhost\r\n".to_owned(), 401),
        (PAGE.to_owned(), "Host: 127.0.0.1\r\nForwarded: for=127.0.0.1\r\n".to_owned(), 401),
        // Secrets.
        (PAGE.to_owned(), format!("{away}{bearer}"), 200),
        (PAGE.to_owned(), format!("{away}Authorization: Bearer wrong\r\n"), 401),
        (format!("{PAGE}?token={TOKEN}"), away.to_owned(), 401),
        (format!("{PAGE}?oc_cap={cap}"), away.to_owned(), 200),
        (format!("{scoped}{PAGE}"), away.to_owned(), 200),
        (format!("{scoped}{PAGE}index.html?x=y"), away.to_owned(), 200),
        (format!("{PAGE}?oc_cap={}", "A".repeat(24)), away.to_owned(), 401),
        (format!("{PAGE}?oc_cap="), away.to_owned(), 401),
        (format!("/__openclaw__/cap/{}{PAGE}", "A".repeat(24)), away.to_owned(), 401),
        ("/__openclaw__/cap/x/y".to_owned(), "Host: 127.0.0.1\r\n".to_owned(), 401),
        ("/__openclaw__/cap".to_owned(), "Host: 127.0.0.1\r\n".to_owned(), 401),
        // A capability opens the canvas and nothing else.
        (format!("{scoped}/v1/models"), away.to_owned(), 404),
        (format!("{scoped}/health"), away.to_owned(), 404),
        (format!("{scoped}{scoped}{PAGE}"), away.to_owned(), 404),
        (format!("{scoped}/__openclaw__/canvas/../../etc/passwd"), away.to_owned(), 404),
        // Without an upgrade.
        (SOCKET.to_owned(), "Host: 127.0.0.1\r\n".to_owned(), 426),
        (SOCKET.to_owned(), away.to_owned(), 401),
        ("/__openclaw__/a2ui/".to_owned(), "Host: 127.0.0.1\r\n".to_owned(), 503),
        ("/__openclaw__/a2ui/".to_owned(), away.to_owned(), 401),
    ] {
        let got = ask(gateway.port, "GET", &path, &lines);
        assert_eq!(got.status, status, "{path} {lines:?}: {}", got.text());
        assert!(status != 401 || got.text() == unauthorized, "{path} {lines:?}: {}", got.text());
        if status == 426 {
            assert_eq!(got.text(), "upgrade required");
        }
    }
    assert_eq!(get(gateway.port, "/__openclaw__/a2ui/").text(), "A2UI assets not found");
    fs::create_dir_all(home.state().join("a2ui")).expect("a directory");
    fs::write(home.state().join("a2ui/index.html"), "<body>renderer</body>").expect("a file");
    assert!(get(gateway.port, "/__openclaw__/a2ui/").text().starts_with("<body>renderer<script>"));

    // The same for the socket, before any upgrade.
    let upgrade = |path: &str, lines: &str| {
        let head = upgrade_head(&format!("GET {path} HTTP/1.1"), "13", KEY).replace("Host: 127.0.0.1\r\n", lines);
        Raw::saying(gateway.port, &head).answer()
    };
    let local = format!("Host: 127.0.0.1:{}\r\n", gateway.port);
    for (path, lines, status) in [
        (SOCKET.to_owned(), local.clone(), 101),
        (SOCKET.to_owned(), format!("{local}Origin: http://127.0.0.1:{}\r\n", gateway.port), 101),
        (SOCKET.to_owned(), format!("{local}Origin: https://evil.example\r\n"), 403),
        (SOCKET.to_owned(), format!("{local}Origin: null\r\n"), 403),
        (SOCKET.to_owned(), away.to_owned(), 401),
        (SOCKET.to_owned(), format!("{away}Origin: http://gateway.example\r\n"), 401),
        (SOCKET.to_owned(), format!("{local}X-Forwarded-For: 127.0.0.1\r\n"), 401),
        (SOCKET.to_owned(), format!("{away}{bearer}"), 101),
        (format!("{SOCKET}?oc_cap={cap}"), format!("{away}Origin: null\r\n"), 101),
        (format!("{scoped}{SOCKET}"), away.to_owned(), 101),
        (format!("/__openclaw__/cap/{}{SOCKET}", "A".repeat(24)), away.to_owned(), 401),
    ] {
        let answer = upgrade(&path, &lines);
        assert_eq!(answer.status, status, "{path} {lines:?}: {answer:?}");
        if status == 401 {
            assert_eq!((answer.body.as_str(), answer.header("connection")), ("", Some("close")), "{answer:?}");
        }
    }
    // With its node the capability ends.
    drop(client);
    wait_until("the end of the capability", || {
        ask(gateway.port, "GET", &format!("{scoped}{PAGE}"), away).status == 401
    });
    assert_eq!(upgrade(&format!("{scoped}{SOCKET}"), away).status, 401);
    assert!(!home.log_text().contains(&cap) && !gateway.output().contains(&cap), "capabilities are no matter for logs");
}

#[test]
fn many_wrong_secrets_lock_an_address_out_but_not_who_has_a_capability() {
    let home = Home::new();
    home.configure(json!({"gateway": {"auth": {"rateLimit": {"maxAttempts": 3, "exemptLoopback": false}}}}));
    let gateway = Gateway::start(&home, &[]);
    let node = Hello {
        role: "node".into(),
        client_id: "node-host".into(),
        mode: "node".into(),
        scopes: vec![],
        ..Hello::default()
    };
    let (_client, hello) = Client::connect_as(gateway.port, &node, Some(&Device::new()));
    let url = hello["canvasHostUrl"].as_str().expect("an address");
    let scoped = &url[url.find("/__openclaw__").expect("a path")..];
    let wrong = "Host: gateway.example\r\nAuthorization: Bearer wrong\r\n";
    for _ in 0..3 {
        assert_eq!(ask(gateway.port, "GET", PAGE, wrong).status, 401);
    }
    let locked = ask(gateway.port, "GET", PAGE, wrong);
    assert_eq!(locked.status, 429);
    assert!(locked.header("retry-after").is_some());
    assert_eq!(ask(gateway.port, "GET", &format!("{scoped}{PAGE}"), "Host: gateway.example\r\n").status, 200);
    assert_eq!(get(gateway.port, PAGE).status, 200, "this machine is free all the same");
    let head = upgrade_head(&format!("GET {SOCKET} HTTP/1.1"), "13", KEY).replace("127.0.0.1", "gateway.example");
    let answer = Raw::saying(gateway.port, &head).answer();
    assert_eq!(answer.status, 429);
    assert!(answer.header("retry-after").is_some() && answer.body.contains("rate_limited"), "{answer:?}");
}

#[test]
fn a_port_of_its_own_serves_the_canvas_and_nothing_else() {
    let home = Home::new();
    let port = free_port();
    home.configure(json!({"canvasHost": {"port": port}}));
    let gateway = Gateway::start(&home, &[]);
    assert!(!gateway.output().contains(&format!("ws://127.0.0.1:{port}")), "{}", gateway.output());
    gateway.wait_line(&format!("also at http://127.0.0.1:{port}/__openclaw__/canvas/"));
    for own in [port, gateway.port] {
        assert_eq!(get(own, PAGE).status, 200);
        assert_eq!(ask(own, "GET", PAGE, "Host: gateway.example\r\n").status, 401);
    }
    for path in ["/", "/health", "/readyz", "/v1/models", "/__openclaw/control-ui-config.json"] {
        assert_eq!(get(port, path).status, 404, "{path}");
    }
    let refused = Raw::saying(port, &upgrade_head("GET / HTTP/1.1", "13", KEY)).answer();
    assert_eq!(refused.status, 404, "the gateway's own protocol is not spoken here");
    let mut page = socket(port, SOCKET);
    fs::write(home.state().join("canvas/new.html"), "x").expect("a page");
    assert_eq!(page.read().expect("a message"), Message::text("reload"));

    // Somebody else has the port: the pages are still there.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let other = Home::new();
    other.configure(json!({"canvasHost": {"port": taken.local_addr().expect("bound").port()}}));
    let gateway = Gateway::start(&other, &[]);
    gateway.wait_line("the pages are served on the gateway's own port");
    assert_eq!(get(gateway.port, PAGE).status, 200);
}

#[test]
fn switched_off_in_part_or_altogether() {
    let home = Home::new();
    home.configure(json!({"canvasHost": {"liveReload": false}}));
    let quiet = Gateway::start(&home, &[]);
    let text = get(quiet.port, PAGE).text();
    assert!(text.contains("openclawSendUserAction") && !text.contains(SOCKET), "{text}");
    assert_eq!((get(quiet.port, SOCKET).status, get(quiet.port, SOCKET).text().as_str()), (404, "not found"));
    assert_eq!(
        Raw::saying(quiet.port, &upgrade_head(&format!("GET {SOCKET} HTTP/1.1"), "13", KEY)).answer().status,
        404
    );
    for (config, variable) in [(json!({"canvasHost": {"enabled": false}}), "0"), (json!({}), "1")] {
        let home = Home::new();
        home.configure(config);
        let gateway = Gateway::start_with(&home, &[], |command| {
            command.env("OPENCLAW_SKIP_CANVAS_HOST", variable);
        });
        for path in [PAGE, SOCKET, "/__openclaw__/a2ui/", "/__openclaw__/cap/x/y"] {
            assert_eq!(get(gateway.port, path).status, 404, "{path}");
        }
        assert!(!home.state().join("canvas").exists());
        assert_eq!(
            Raw::saying(gateway.port, &upgrade_head(&format!("GET {SOCKET} HTTP/1.1"), "13", KEY)).answer().status,
            404
        );
    }
}
