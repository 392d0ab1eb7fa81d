//! Static files on the wire (http 8 and 10): tricks of paths and links, parts, conditions, compression, big files; and
//! the Control UI from a directory of the operator's.

use std::fs;
use std::io::{Read, Write as _};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

use crate::common::raw::Raw;
use crate::common::{Gateway, Home, TOKEN, wait_until};

/// One answer with any body.
pub struct Got {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Got {
    pub fn header(&self, name: &str) -> Option<&str> {
        let wanted = |line: &&str| line.split_once(':').is_some_and(|(n, _)| n.eq_ignore_ascii_case(name));
        self.head.lines().find(wanted)?.split_once(':').map(|(_, value)| value.trim())
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Asks with these further header lines; the path is sent as it stands.
pub fn ask(port: u16, method: &str, path: &str, lines: &str) -> Got {
    let host = if lines.to_ascii_lowercase().contains("host: ") { "" } else { "Host: 127.0.0.1\r\n" };
    let mut raw = Raw::saying(port, &format!("{method} {path} HTTP/1.1\r\n{host}Connection: close\r\n{lines}\r\n"));
    let bytes = raw.rest();
    let end = bytes.windows(4).position(|w| w == b"\r\n\r\n").unwrap_or_else(|| panic!("{path}: no answer"));
    let head = String::from_utf8(bytes[..end].to_vec()).expect("heads are text");
    let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).expect("a status");
    Got { status, head, body: bytes[end + 4..].to_vec() }
}

pub fn get(port: u16, path: &str) -> Got {
    ask(port, "GET", path, "")
}

/// A gateway whose canvas is this directory.
fn serving(home: &Home) -> (Gateway, PathBuf) {
    let root = home.path().join("pages");
    fs::create_dir_all(&root).expect("a directory");
    home.configure(json!({"canvasHost": {"root": root}}));
    (Gateway::start(home, &[]), root)
}

#[test]
fn nothing_outside_of_the_root_is_served_however_it_is_spelled() {
    let home = Home::new();
    let (gateway, root) = serving(&home);
    let secret = "the secret outside";
    fs::write(home.path().join("outside.txt"), secret).unwrap();
    fs::create_dir_all(home.path().join("elsewhere")).unwrap();
    fs::write(home.path().join("elsewhere/page.html"), secret).unwrap();
    fs::create_dir_all(root.join("sub")).unwrap();
    fs::write(root.join("sub/page.txt"), "inside").unwrap();
    fs::write(root.join(".env"), secret).unwrap();
    symlink("/etc/passwd", root.join("passwd")).unwrap();
    symlink("../outside.txt", root.join("link.txt")).unwrap();
    symlink("../elsewhere", root.join("linked")).unwrap();
    symlink("sub", root.join("inner")).unwrap();
    symlink("/", root.join("slash")).unwrap();
    fs::hard_link(home.path().join("outside.txt"), root.join("hard.txt")).unwrap();
    let made = |program: &str, args: &[&str]| Command::new(program).args(args).status().is_ok_and(|s| s.success());
    assert!(made("mkfifo", &[root.join("pipe").to_str().unwrap()]));
    // Only where this may be done.
    made("mknod", &[root.join("zero").to_str().unwrap(), "c", "1", "5"]);
    let _socket = std::os::unix::net::UnixListener::bind(root.join("socket")).expect("a socket");

    assert_eq!(get(gateway.port, "/__openclaw__/canvas/sub/page.txt").text(), "inside");
    assert_eq!(get(gateway.port, "/__openclaw__/canvas/sub/p%61ge.txt").text(), "inside");
    for path in [
        "../outside.txt",
        "sub/../../outside.txt",
        "%2e%2e/outside.txt",
        "%2E%2E%2Foutside.txt",
        "..%2foutside.txt",
        "sub/..%2f..%2foutside.txt",
        "%252e%252e/outside.txt",
        "%252e%252e%252foutside.txt",
        "%25252e%25252e/outside.txt",
        "..\\outside.txt",
        "..%5coutside.txt",
        "sub%5c..%5c..%5coutside.txt",
        "%c0%ae%c0%ae/outside.txt",
        "/outside.txt",
        "//etc/passwd",
        "%2fetc%2fpasswd",
        "C:/outside.txt",
        "file:///etc/passwd",
        "....//outside.txt",
        ".../outside.txt",
        "..;/outside.txt",
        "sub/page.txt%00.html",
        "sub/page.txt/",
        "sub//page.txt",
        "./sub/page.txt",
        "sub/./page.txt",
        "sub/page.txt.",
        "sub/page.txt%20",
        "sub/page.txt::$DATA",
        ".env",
        "%2eenv",
        "passwd",
        "link.txt",
        "linked/page.html",
        "inner/page.txt",
        "slash/etc/passwd",
        "hard.txt",
        "pipe",
        "zero",
        "socket",
        "nul",
        "con.html",
    ] {
        let got = get(gateway.port, &format!("/__openclaw__/canvas/{path}"));
        assert_eq!(got.status, 404, "{path}: {}", got.text());
        assert!(!got.text().contains(secret) && !got.text().contains("root:"), "{path}");
    }
    // Outside of the canvas altogether.
    for path in [
        "/__openclaw__/../etc/passwd",
        "/__openclaw__/%63anvas/sub/page.txt",
        "/__OPENCLAW__/canvas/sub/page.txt",
        "/x/../__openclaw__/canvas/sub/page.txt",
    ] {
        assert_eq!(get(gateway.port, path).status, 404, "{path}");
    }
    assert_eq!(get(gateway.port, "/__openclaw__/canvas/%zz").status, 400);
    // Directories: their page, or none.
    assert_eq!(get(gateway.port, "/__openclaw__/canvas/").status, 200);
    for (path, kind) in [
        ("sub", "text/plain; charset=utf-8"),
        ("sub/", "text/html; charset=utf-8"),
        ("nope/", "text/html; charset=utf-8"),
    ] {
        let got = get(gateway.port, &format!("/__openclaw__/canvas/{path}"));
        assert_eq!((got.status, got.header("content-type")), (404, Some(kind)), "{path}");
    }
    let nope = get(gateway.port, "/__openclaw__/canvas/nope.png");
    assert_eq!((nope.status, nope.text().as_str()), (404, "not found"));
}

#[test]
fn parts_conditions_and_methods() {
    let home = Home::new();
    let (gateway, root) = serving(&home);
    let small: Vec<u8> = (0..1000u32).map(|n| (n % 251) as u8).collect();
    let big: Vec<u8> = (0..300_000u32).map(|n| (n % 251) as u8).collect();
    fs::write(root.join("small.png"), &small).unwrap();
    fs::write(root.join("big.bin"), &big).unwrap();
    fs::write(root.join("empty.png"), "").unwrap();
    for (name, bytes, kind) in [("small.png", &small, "image/png"), ("big.bin", &big, "application/octet-stream")] {
        let path = format!("/__openclaw__/canvas/{name}");
        let length = bytes.len();
        let whole = get(gateway.port, &path);
        assert_eq!((whole.status, &whole.body), (200, bytes));
        assert_eq!(whole.header("content-type"), Some(kind));
        assert_eq!(whole.header("content-length"), Some(length.to_string().as_str()));
        assert_eq!(whole.header("cache-control"), Some("no-store"));
        assert_eq!(whole.header("accept-ranges"), Some("bytes"));
        let etag = whole.header("etag").expect("a tag").to_owned();
        for (range, status, from, to) in [
            ("bytes=0-0", 206, 0, 1),
            ("bytes=10-19", 206, 10, 20),
            ("bytes=990-", 206, 990, length),
            ("bytes=-7", 206, length - 7, length),
            ("bytes=-9999999", 206, 0, length),
            ("bytes=5-99999999999999999999", 206, 5, length),
            ("bytes=0-1,5-6", 200, 0, length),
            ("bytes=7-3", 200, 0, length),
            ("items=0-1", 200, 0, length),
        ] {
            let got = ask(gateway.port, "GET", &path, &format!("Range: {range}\r\n"));
            assert_eq!((got.status, &got.body[..]), (status, &bytes[from..to]), "{name} {range}");
            let said = format!("bytes {from}-{}/{length}", to - 1);
            assert_eq!(got.header("content-range"), (status == 206).then_some(said.as_str()), "{range}");
        }
        for range in [format!("bytes={length}-"), "bytes=-0".into(), "bytes=99999999999999999999-".into()] {
            let got = ask(gateway.port, "GET", &path, &format!("Range: {range}\r\n"));
            assert_eq!((got.status, got.header("content-range")), (416, Some(format!("bytes */{length}").as_str())));
        }
        for (line, status) in [
            (format!("If-None-Match: {etag}"), 304),
            (format!("If-None-Match: \"x\", W/{etag}"), 304),
            ("If-None-Match: *".into(), 304),
            ("If-None-Match: \"x\"".into(), 200),
            (format!("Range: bytes=0-1\r\nIf-Range: {etag}"), 206),
            ("Range: bytes=0-1\r\nIf-Range: \"x\"".into(), 200),
            (format!("Range: bytes=0-1\r\nIf-None-Match: {etag}"), 304),
        ] {
            let got = ask(gateway.port, "GET", &path, &format!("{line}\r\n"));
            assert_eq!(got.status, status, "{line}");
            assert_eq!(got.header("etag"), Some(etag.as_str()), "{line}");
            assert!(status != 304 || got.body.is_empty() && got.header("content-length").is_none(), "{}", got.head);
        }
        let head = ask(gateway.port, "HEAD", &path, "Range: bytes=0-1\r\n");
        assert_eq!(
            (head.status, head.body.len(), head.header("content-length")),
            (200, 0, whole.header("content-length"))
        );
        assert_eq!(head.header("etag"), Some(etag.as_str()));
        for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
            let got = ask(gateway.port, method, &path, "");
            assert_eq!((got.status, got.header("allow")), (405, Some("GET, HEAD")), "{method}");
        }
    }
    let empty = get(gateway.port, "/__openclaw__/canvas/empty.png");
    assert_eq!((empty.status, empty.body.len(), empty.header("content-length")), (200, 0, Some("0")));
    assert_eq!(ask(gateway.port, "GET", "/__openclaw__/canvas/empty.png", "Range: bytes=0-\r\n").status, 416);
    // Several on one connection, a long one in between.
    let mut raw = Raw::saying(
        gateway.port,
        "HEAD /__openclaw__/canvas/big.bin HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\nGET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    );
    assert_eq!(raw.try_answer(false).map(|a| a.status), Some(200));
    assert_eq!(raw.answer().body, "{\"ok\":true,\"status\":\"live\"}");
    // A changed file has another tag.
    let tag = || get(gateway.port, "/__openclaw__/canvas/small.png").header("etag").map(str::to_owned);
    let before = tag();
    fs::write(root.join("small.png"), "other").unwrap();
    assert_ne!(tag(), before);
}

#[test]
fn text_is_compressed_for_those_who_can_read_it_and_is_the_same_afterwards() {
    let home = Home::new();
    let (gateway, root) = serving(&home);
    let script = "const answer = 42; // again and again\n".repeat(400);
    fs::write(root.join("app.js"), &script).unwrap();
    fs::write(root.join("page.html"), format!("<body>{script}</body>")).unwrap();
    fs::write(root.join("tiny.css"), "a{}").unwrap();
    fs::write(root.join("photo.png"), script.as_bytes()).unwrap();
    let gunzip = |bytes: &[u8]| {
        let mut text = String::new();
        flate2::read::GzDecoder::new(bytes).read_to_string(&mut text).expect("gzip");
        text
    };
    for name in ["app.js", "page.html"] {
        let path = format!("/__openclaw__/canvas/{name}");
        let plain = get(gateway.port, &path);
        assert_eq!((plain.header("content-encoding"), plain.header("vary")), (None, Some("Accept-Encoding")));
        let mut tags = Vec::new();
        // The second time it is there already.
        for _ in 0..2 {
            let packed = ask(gateway.port, "GET", &path, "Accept-Encoding: gzip, deflate, br\r\n");
            assert_eq!((packed.status, packed.header("content-encoding")), (200, Some("gzip")));
            assert_eq!(packed.header("vary"), Some("Accept-Encoding"));
            assert!(packed.body.len() < plain.body.len() / 4, "{} of {}", packed.body.len(), plain.body.len());
            assert_eq!(gunzip(&packed.body), plain.text());
            tags.push(packed.header("etag").expect("a tag").to_owned());
        }
        assert!(tags[0] == tags[1] && plain.header("etag") != Some(tags[0].as_str()), "each form has its tag");
        let again =
            ask(gateway.port, "GET", &path, &format!("Accept-Encoding: gzip\r\nIf-None-Match: {}\r\n", tags[0]));
        assert_eq!((again.status, again.header("etag")), (304, Some(tags[0].as_str())));
        let head = ask(gateway.port, "HEAD", &path, "Accept-Encoding: gzip\r\n");
        assert_eq!((head.header("content-encoding"), head.body.len()), (Some("gzip"), 0));
        let part = ask(gateway.port, "GET", &path, "Accept-Encoding: gzip\r\nRange: bytes=0-9\r\n");
        assert_eq!(
            (part.status, part.header("content-encoding"), part.body.as_slice()),
            (206, None, &plain.body[..10])
        );
    }
    for (name, coding) in [("app.js", "gzip;q=0"), ("app.js", "br"), ("tiny.css", "gzip"), ("photo.png", "gzip")] {
        let got = ask(
            gateway.port,
            "GET",
            &format!("/__openclaw__/canvas/{name}"),
            &format!("Accept-Encoding: {coding}\r\n"),
        );
        assert_eq!((got.status, got.header("content-encoding")), (200, None), "{name} {coding}");
    }
    fs::write(root.join("app.js"), script.replace("42", "43")).unwrap();
    let changed = ask(gateway.port, "GET", "/__openclaw__/canvas/app.js", "Accept-Encoding: gzip\r\n");
    assert!(gunzip(&changed.body).contains("43"), "the kept form is not served for another file");
}

#[test]
fn a_slow_reader_of_a_big_file_costs_no_memory_and_a_file_that_shrinks_is_cut() {
    const BIG: usize = 50 * 1024 * 1024;
    let home = Home::new();
    let (gateway, root) = serving(&home);
    let file = root.join("film.mp4");
    let mut out = fs::File::create(&file).unwrap();
    let block: Vec<u8> = (0..1024 * 1024u32).map(|n| (n % 253) as u8).collect();
    for _ in 0..BIG / block.len() {
        out.write_all(&block).unwrap();
    }
    drop(out);
    get(gateway.port, "/__openclaw__/canvas/nope.png");
    let before = gateway.proc_status("VmRSS");
    let request = "GET /__openclaw__/canvas/film.mp4 HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n";
    let mut slow: Vec<Raw> = (0..8).map(|_| Raw::saying(gateway.port, request)).collect();
    for raw in &mut slow {
        raw.read_until(b"\r\n\r\n");
    }
    // Their sockets are full now; others are served meanwhile.
    assert_eq!(get(gateway.port, "/health").status, 200);
    let during = gateway.proc_status("VmRSS");
    assert!(during < before + 8 * 1024, "{before} kB before, {during} kB with eight slow readers");
    let mut first = slow.remove(0);
    assert_eq!(first.count_rest(), BIG, "whoever reads gets everything");
    // The file becomes shorter while others read it: what they get is visibly not the whole.
    fs::File::options().write(true).open(&file).unwrap().set_len(1024 * 1024).unwrap();
    let mut second = slow.remove(0);
    let got = second.count_rest();
    assert!((1..BIG).contains(&got), "{got}");
    drop(slow);
    wait_until("the readers' descriptors to be given back", || gateway.descriptors() < 40);
    assert_eq!(get(gateway.port, "/health").status, 200);
}

#[test]
fn the_control_ui_from_a_directory() {
    let home = Home::new();
    let root = ui_files(&home);
    home.configure(json!({"gateway": {"controlUi": {"root": root}},
        "agents": {"list": [{"id": "Robin", "identity": {"name": "Robin", "emoji": "R", "avatar": "secret.png"}}]}}));
    let gateway = Gateway::start(&home, &[]);
    let index = "<title>The UI</title>";
    for path in ["/", "/index.html", "/chat", "/chat?session=main", "/overview/deep", "/sessions/"] {
        let got = get(gateway.port, path);
        assert_eq!((got.status, got.text().as_str()), (200, index), "{path}");
        assert_eq!(got.header("content-type"), Some("text/html; charset=utf-8"));
        assert_eq!(got.header("cache-control"), Some("no-cache"));
        assert!(got.header("etag").is_some());
        assert_guarded(&got, path);
    }
    for path in ["/assets/app.js", "/some/deep/assets/app.js"] {
        let got = get(gateway.port, path);
        assert_eq!((got.status, got.text().as_str()), (200, "let ui;"), "{path}");
        assert_eq!(got.header("content-type"), Some("application/javascript; charset=utf-8"));
    }
    for path in [
        "/assets/nosuch.js",
        "/some/deep/assets/nosuch.css",
        "/favicon.ico",
        "/ui",
        "/ui/x",
        "/avatar/robin",
        "/avatar/a%20b",
        "/avatar/nobody?meta=1",
        "/../../etc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/%252e%252e/x",
        "//etc",
        "/.git/config",
        "/x%5cy",
    ] {
        let got = get(gateway.port, path);
        assert_eq!((got.status, got.text().as_str()), (404, "Not Found"), "{path}");
        assert_guarded(&got, path);
    }
    // Links of the operator's directory are not followed; a page of that name is the index.
    assert_eq!(get(gateway.port, "/passwd").text(), index);
    for path in [
        "/v1/models",
        "/api/x",
        "/plugins/x",
        "/tools/x",
        "/hooks/wake",
        "/__openclaw__/x",
        "/metrics",
        "/V1/models",
        "/%761/models",
        "/%5f_openclaw__/canvas",
    ] {
        let got = get(gateway.port, path);
        assert_eq!(got.status, 404, "{path}");
        assert!(!got.text().contains(index), "{path}");
    }
    for method in ["POST", "OPTIONS", "DELETE"] {
        assert_eq!(ask(gateway.port, method, "/", "").status, 404, "{method}");
    }
    assert_eq!(get(gateway.port, "/health").text(), "{\"ok\":true,\"status\":\"live\"}");
    let facts = get(gateway.port, "/__openclaw/control-ui-config.json");
    assert_eq!(
        facts.text(),
        r#"{"basePath":"","assistantName":"Robin","assistantAvatar":"R","assistantAgentId":"robin","serverVersion":"2026.3.13"}"#
    );
    assert_guarded(&facts, "facts");
    assert_eq!(get(gateway.port, "/avatar/robin?meta=1").text(), r#"{"avatarUrl":null}"#);
    assert_eq!(ask(gateway.port, "HEAD", "/", "").body.len(), 0);
    fs::remove_file(root.join("index.html")).unwrap();
    assert_eq!(get(gateway.port, "/chat").status, 503);
}

#[test]
fn the_control_ui_below_a_base_path_and_never_from_the_state_directory() {
    let home = Home::new();
    let root = ui_files(&home);
    home.configure(json!({"gateway": {"controlUi": {"root": root, "basePath": "/claw/"}}}));
    let mut gateway = Gateway::start(&home, &[]);
    let moved = get(gateway.port, "/claw?a=b");
    assert_eq!((moved.status, moved.header("location")), (302, Some("/claw/?a=b")));
    assert_eq!(get(gateway.port, "/claw").header("location"), Some("/claw/"));
    assert_eq!(get(gateway.port, "/claw?a=ü").header("location"), Some("/claw/?a=%C3%BC"));
    for (path, status) in [
        ("/claw/", 200),
        ("/claw/chat", 200),
        ("/claw/assets/app.js", 200),
        ("/claw/ui", 200),
        ("/", 404),
        ("/chat", 404),
        ("/clawx", 404),
        ("/ui", 404),
    ] {
        assert_eq!(get(gateway.port, path).status, status, "{path}");
    }
    assert!(get(gateway.port, "/claw/__openclaw/control-ui-config.json").text().starts_with("{\"basePath\":\"/claw\""));
    assert_eq!(gateway.stop(), Some(0));

    home.configure(json!({"gateway": {"controlUi": {"root": home.state()}}, "canvasHost": {"root": home.path()}}));
    let gateway = Gateway::start(&home, &[]);
    for path in ["/openclaw.json", "/", "/__openclaw__/canvas/.openclaw/openclaw.json", "/__openclaw__/canvas/"] {
        let got = get(gateway.port, path);
        assert!(got.status >= 404 && !got.text().contains(TOKEN), "{path}: {}", got.status);
    }
    gateway.wait_line("contains the state directory");
}

fn ui_files(home: &Home) -> PathBuf {
    let root = home.path().join("ui");
    fs::create_dir_all(root.join("assets")).expect("a directory");
    fs::write(root.join("index.html"), "<title>The UI</title>").expect("a file");
    fs::write(root.join("assets/app.js"), "let ui;").expect("a file");
    symlink(Path::new("/etc/passwd"), root.join("passwd")).expect("a link");
    root
}

fn assert_guarded(got: &Got, what: &str) {
    assert_eq!(got.header("x-frame-options"), Some("DENY"), "{what}");
    let policy = got.header("content-security-policy").unwrap_or_else(|| panic!("{what}: {}", got.head));
    for part in ["default-src 'self'", "frame-ancestors 'none'", "script-src 'self'", "connect-src 'self' ws: wss:"] {
        assert!(policy.contains(part), "{what}: {policy}");
    }
    assert!(!policy.contains("unsafe-inline") && !policy.contains("google"), "{policy}");
}
