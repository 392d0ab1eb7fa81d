//! The request head: parsed with httparse, then held against the rules that keep requests from being smuggled
//! (http 1.2; RFC 9112).

use super::body::Framing;
use crate::limits;

/// A complete request head.
#[derive(Clone, Debug, PartialEq)]
pub struct Head {
    pub method: String,
    /// As sent, without the authority of an absolute-form target.
    pub target: String,
    /// HTTP/1.0 or 1.1.
    pub minor: u8,
    headers: Vec<(String, String)>,
    pub framing: Framing,
    pub keep_alive: bool,
    /// The client waits for `100 Continue` before it sends the body.
    pub expects_continue: bool,
}

/// Why a head is refused: an answer with this status, then the connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal(pub u16);

impl Head {
    /// First value of a header; names are compared without regard to case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }

    pub fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        self.headers.iter().map(|(n, v)| (n.as_str(), v.as_str()))
    }

    /// The path of the target, without the query.
    pub fn path(&self) -> &str {
        self.target.split(['?', '#']).next().unwrap_or("")
    }

    /// A comma-separated header contains this token.
    pub fn has_token(&self, name: &str, token: &str) -> bool {
        self.headers
            .iter()
            .filter(|(n, _)| n.eq_ignore_ascii_case(name))
            .flat_map(|(_, v)| v.split(','))
            .any(|t| trim(t).eq_ignore_ascii_case(token))
    }

    pub fn wants_websocket(&self) -> bool {
        self.has_token("upgrade", "websocket")
    }
}

/// Reads a head from the front of `bytes`. None: more bytes are needed. The count is where the head ends.
pub fn parse(bytes: &[u8]) -> Result<Option<(Head, usize)>, Refusal> {
    let mut fields = [httparse::EMPTY_HEADER; limits::HTTP_HEADERS];
    let mut request = httparse::Request::new(&mut fields);
    let end = match request.parse(bytes) {
        Ok(httparse::Status::Complete(end)) if end <= limits::HTTP_HEAD_BYTES => end,
        Ok(httparse::Status::Partial) if bytes.len() <= limits::HTTP_HEAD_BYTES => return Ok(None),
        Ok(_) | Err(httparse::Error::TooManyHeaders) => return Err(Refusal(431)),
        Err(_) => return Err(Refusal(400)),
    };
    // httparse takes a bare LF for the end of a line; a proxy in front of us may not.
    if bytes[..end].iter().enumerate().any(|(at, &b)| b == b'\n' && (at == 0 || bytes[at - 1] != b'\r')) {
        return Err(Refusal(400));
    }
    let minor = request.version.unwrap_or(0);
    let method = request.method.unwrap_or_default().to_owned();
    if !method.bytes().all(|b| b.is_ascii_uppercase() || b == b'-') {
        return Err(Refusal(400));
    }
    let target = own_target(&method, request.path.unwrap_or_default())?;
    let mut headers = Vec::with_capacity(request.headers.len());
    for field in request.headers.iter() {
        // httparse ends a value before CR and LF and refuses NUL; other octets above ASCII are kept as Latin-1.
        let value: String = field.value.iter().map(|&b| char::from(b)).collect();
        headers.push((field.name.to_owned(), trim(&value).to_owned()));
    }
    let framing = framing(minor, &headers)?;
    let hosts = headers.iter().filter(|(n, _)| n.eq_ignore_ascii_case("host")).count();
    if (minor == 1 && hosts != 1) || hosts > 1 {
        return Err(Refusal(400));
    }
    let mut head = Head { method, target, minor, headers, framing, keep_alive: false, expects_continue: false };
    head.keep_alive = minor == 1 && !head.has_token("connection", "close");
    if minor == 1
        && let Some(expect) = head.header("expect")
    {
        if !expect.eq_ignore_ascii_case("100-continue") {
            return Err(Refusal(417));
        }
        head.expects_continue = true;
    }
    Ok(Some((head, end)))
}

/// Space and tab are white space here and nothing else: a no-break space behind `chunked` makes another word of it, and
/// a proxy in front of us that sees it so would find the end of the body elsewhere.
fn trim(text: &str) -> &str {
    text.trim_matches([' ', '\t'])
}

/// Origin form, or the path of an absolute form; the rest makes no sense here.
fn own_target(method: &str, target: &str) -> Result<String, Refusal> {
    // Never served, and dropped without an answer.
    if method == "CONNECT" {
        return Ok(target.to_owned());
    }
    let path = target.split(['?', '#']).next().unwrap_or_default();
    let is_escape = |rest: &str| rest.as_bytes().get(..2).is_some_and(|pair| pair.iter().all(u8::is_ascii_hexdigit));
    if !path.split('%').skip(1).all(is_escape) {
        return Err(Refusal(400));
    }
    if target.starts_with('/') || (target == "*" && method == "OPTIONS") {
        return Ok(target.to_owned());
    }
    let scheme = ["http://", "https://", "ws://", "wss://"]
        .into_iter()
        .find(|s| target.get(..s.len()).is_some_and(|head| head.eq_ignore_ascii_case(s)));
    let rest = scheme.map(|s| &target[s.len()..]).ok_or(Refusal(400))?;
    Ok(rest.find(['/', '?']).map_or("/".to_owned(), |at| {
        let path = &rest[at..];
        if path.starts_with('?') { format!("/{path}") } else { path.to_owned() }
    }))
}

/// One way to tell where the body ends, or none of the request is believed.
fn framing(minor: u8, headers: &[(String, String)]) -> Result<Framing, Refusal> {
    let of = |name: &str| -> Vec<&str> {
        headers.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str()).collect()
    };
    match (of("content-length").as_slice(), of("transfer-encoding").as_slice()) {
        ([], []) => Ok(Framing::Length(0)),
        ([length], []) => {
            let digits = !length.is_empty() && length.bytes().all(|b| b.is_ascii_digit());
            let length = if digits { length.parse::<u64>().ok() } else { None };
            length.map(Framing::Length).ok_or(Refusal(400))
        }
        ([], [coding]) if minor == 1 && coding.eq_ignore_ascii_case("chunked") => Ok(Framing::Chunked),
        ([], [coding]) if minor == 1 && !coding.contains(',') && !coding.eq_ignore_ascii_case("chunked") => {
            Err(Refusal(501))
        }
        _ => Err(Refusal(400)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(request: &str) -> Result<Option<usize>, u16> {
        parse(request.as_bytes()).map(|o| o.map(|(_, end)| end)).map_err(|r| r.0)
    }

    #[test]
    fn refusals() {
        let get = |extra: &str| format!("GET / HTTP/1.1\r\nHost: a\r\n{extra}\r\n");
        for (request, want) in [
            (get(""), Ok(())),
            (get("Content-Length: 5\r\n"), Ok(())),
            (get("Content-Length: 5\r\nContent-Length: 5\r\n"), Err(400)),
            (get("Content-Length: 5\r\nContent-Length: 0\r\n"), Err(400)),
            (get("Content-Length: 5, 5\r\n"), Err(400)),
            (get("Content-Length: +5\r\n"), Err(400)),
            (get("Content-Length: 0x5\r\n"), Err(400)),
            (get("Content-Length:\r\n"), Err(400)),
            (get("Content-Length: 99999999999999999999999\r\n"), Err(400)),
            (get("Transfer-Encoding: chunked\r\n"), Ok(())),
            (get("Transfer-Encoding: Chunked\r\n"), Ok(())),
            (get("Transfer-Encoding: gzip, chunked\r\n"), Err(400)),
            (get("Transfer-Encoding: xchunked\r\n"), Err(501)),
            (get("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"), Err(400)),
            (get("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n"), Err(400)),
            (get("Transfer-Encoding : chunked\r\n"), Err(400)),
            (get("X: a\r\n b\r\n"), Err(400)),
            (get("X: a\rb\r\n"), Err(400)),
            (get("X: a\0b\r\n"), Err(400)),
            (get("Host: b\r\n"), Err(400)),
            (get("Expect: 100-continue\r\n"), Ok(())),
            (get("Expect: the-spanish-inquisition\r\n"), Err(417)),
            ("GET / HTTP/1.1\r\n\r\n".into(), Err(400)),
            ("GET / HTTP/1.0\r\n\r\n".into(), Ok(())),
            ("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n".into(), Err(400)),
            ("GET / HTTP/1.1\nHost: a\r\n\r\n".into(), Err(400)),
            (get("X: a\nY: b\r\n"), Err(400)),
            ("get / HTTP/1.1\r\nHost: a\r\n\r\n".into(), Err(400)),
            ("GET /a%20b?c=%zz HTTP/1.1\r\nHost: a\r\n\r\n".into(), Ok(())),
            ("GET /a%2 HTTP/1.1\r\nHost: a\r\n\r\n".into(), Err(400)),
            ("GET /%zz HTTP/1.1\r\nHost: a\r\n\r\n".into(), Err(400)),
            ("GET a/b HTTP/1.1\r\nHost: a\r\n\r\n".into(), Err(400)),
            ("GET / HTTP/2.0\r\nHost: a\r\n\r\n".into(), Err(400)),
            ("\x16\x03\x01\x02\x00".into(), Err(400)),
        ] {
            assert_eq!(status(&request).map(|_| ()), want, "{request:?}");
        }
    }

    #[test]
    fn only_space_and_tab_are_white_space() {
        for (odd, name) in [(b'\xa0', "no-break space"), (b'\x85', "next line")] {
            let with = |line: &str| {
                let text = format!("POST / HTTP/1.1\r\nHost: a\r\n{line}\r\n\r\n");
                text.bytes().map(|b| if b == b'^' { odd } else { b }).collect::<Vec<u8>>()
            };
            for (line, status) in [
                ("Transfer-Encoding: ^chunked", 501),
                ("Transfer-Encoding: chunked^", 501),
                ("Content-Length: 5^", 400),
                ("Content-Length: ^5", 400),
                ("Expect: 100-continue^", 417),
            ] {
                assert_eq!(parse(&with(line)).map(|_| ()), Err(Refusal(status)), "{line}, {name}");
            }
            let (head, _) = parse(&with("Upgrade: websocket^\r\nX: \t a^ \t")).unwrap().unwrap();
            assert!(!head.wants_websocket(), "{name}");
            assert_eq!(head.header("x"), Some(format!("a{}", char::from(odd)).as_str()));
        }
    }

    #[test]
    fn limits_hold_before_the_head_is_complete() {
        let long = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}", "x".repeat(limits::HTTP_HEAD_BYTES));
        assert_eq!(status(&long), Err(431));
        let many = format!("GET / HTTP/1.1\r\nHost: a\r\n{}", "A: b\r\n".repeat(101));
        assert_eq!(status(&many), Err(431));
        assert_eq!(status("GET / HTTP/1.1\r\nHost: a\r\n"), Ok(None));
    }

    #[test]
    fn reads_what_handlers_need() {
        let text = "POST http://pi.lan:18789/a?b=c HTTP/1.1\r\nHost: pi.lan\r\nConnection: keep-alive, Upgrade\r\nupgrade: WebSocket\r\nX-Name: caf\u{e9}\r\n\r\nbody";
        let latin: Vec<u8> = text.chars().map(|c| c as u8).collect();
        let (head, end) = parse(&latin).unwrap().unwrap();
        assert_eq!(&latin[end..], b"body");
        assert_eq!((head.method.as_str(), head.target.as_str(), head.path()), ("POST", "/a?b=c", "/a"));
        assert_eq!(head.header("x-NAME"), Some("caf\u{e9}"));
        assert!(head.wants_websocket() && head.has_token("Connection", "upgrade") && head.keep_alive);
    }

    #[test]
    fn random_bytes_are_refused_or_wait_for_more() {
        let base = b"GET /health HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n";
        let mut random = crate::sys::testing::Random(3);
        for _ in 0..20_000 {
            let mut bytes = base.to_vec();
            for _ in 0..4 {
                let at = random.below(bytes.len());
                bytes[at] = random.next() as u8;
            }
            if let Ok(Some((_, end))) = parse(&bytes) {
                assert!(end <= bytes.len());
            }
        }
    }
}
