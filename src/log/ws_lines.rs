//! The lines of `--ws-log` and of failed handshakes (cli 7), without the subsystem `gateway/ws` that they are logged
//! under.
//!
//! Pure. Every function gives None when the line is not wanted at that detail, so that callers build nothing in vain.

use std::fmt::Display;
use std::time::Duration;

use crate::limits;

/// `--ws-log`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WsLog {
    #[default]
    Auto,
    Full,
    Compact,
}

impl WsLog {
    pub fn parse(text: &str) -> Option<WsLog> {
        match text {
            "auto" => Some(WsLog::Auto),
            "full" => Some(WsLog::Full),
            "compact" => Some(WsLog::Compact),
            _ => None,
        }
    }
}

/// How much is said: without `--verbose` only what failed or was slow, whatever the style.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    Failures,
    Compact,
    Full,
}

impl Detail {
    pub fn of(verbose: bool, style: WsLog) -> Detail {
        match (verbose, style) {
            (false, _) => Detail::Failures,
            (true, WsLog::Full) => Detail::Full,
            (true, _) => Detail::Compact,
        }
    }
}

/// A line under way: arrow, what, then `name=value` pairs.
#[derive(Debug)]
struct Line(String);

impl Line {
    fn new(arrow: &str, what: &str) -> Line {
        Line(format!("{arrow} {what}"))
    }

    fn with(mut self, name: &str, value: impl Display) -> Line {
        self.0.push_str(&format!(" {name}={}", value_text(&value.to_string())));
        self
    }

    fn with_some(self, name: &str, value: Option<impl Display>) -> Line {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    fn ids(self, conn: &str, id: Option<&str>) -> String {
        self.with("conn", short_id(conn)).with_some("id", id.map(short_id)).0
    }
}

/// `← open remoteAddr=127.0.0.1 conn=351ebb00…5571`
pub fn open(detail: Detail, remote: &str, conn: &str) -> Option<String> {
    (detail == Detail::Full).then(|| Line::new("←", "open").with("remoteAddr", remote).ids(conn, None))
}

/// What a client said of itself.
#[derive(Clone, Copy, Debug)]
pub struct Client<'a> {
    /// Display name, else the id.
    pub name: &'a str,
    pub id: &'a str,
    pub version: &'a str,
    pub mode: &'a str,
    pub platform: &'a str,
    pub auth: &'a str,
}

/// `← connect client=… version=… mode=… clientId=… platform=… auth=token conn=…`
pub fn connect(detail: Detail, client: Client<'_>, conn: &str) -> Option<String> {
    (detail == Detail::Full).then(|| {
        Line::new("←", "connect")
            .with("client", client.name)
            .with("version", client.version)
            .with("mode", client.mode)
            .with("clientId", client.id)
            .with("platform", client.platform)
            .with("auth", client.auth)
            .ids(conn, None)
    })
}

/// `→ hello-ok methods=100 events=19 presence=2 stateVersion=2 conn=…`
pub fn hello_ok(
    detail: Detail,
    methods: usize,
    events: usize,
    presence: usize,
    state_version: u64,
    conn: &str,
) -> Option<String> {
    (detail == Detail::Full).then(|| {
        Line::new("→", "hello-ok")
            .with("methods", methods)
            .with("events", events)
            .with("presence", presence)
            .with("stateVersion", state_version)
            .ids(conn, None)
    })
}

/// `← req health conn=… id=…`; only in full, elsewhere the response speaks for both.
pub fn request(detail: Detail, method: &str, conn: &str, id: &str) -> Option<String> {
    (detail == Detail::Full).then(|| Line::new("←", &format!("req {}", value_text(method))).ids(conn, Some(id)))
}

/// How a request ended.
#[derive(Clone, Copy, Debug)]
pub struct Response<'a> {
    pub method: &'a str,
    pub took: Duration,
    /// Code and message.
    pub error: Option<(&'a str, &'a str)>,
    pub cached: bool,
    pub conn: &'a str,
    pub id: &'a str,
}

/// `⇄ res ✗ status 0ms errorCode=INVALID_REQUEST errorMessage=… conn=… id=…`; arrow `→` in full.
pub fn response(detail: Detail, response: Response<'_>) -> Option<String> {
    if detail == Detail::Failures && response.error.is_none() && response.took < limits::WS_LOG_SLOW {
        return None;
    }
    let arrow = if detail == Detail::Full { "→" } else { "⇄" };
    let mark = if response.error.is_none() { "✓" } else { "✗" };
    let what = format!("res {mark} {} {}ms", value_text(response.method), response.took.as_millis());
    let line = Line::new(arrow, &what)
        .with_some("cached", response.cached.then_some(true))
        .with_some("errorCode", response.error.map(|(code, _)| code))
        .with_some("errorMessage", response.error.map(|(_, message)| message));
    Some(line.ids(response.conn, Some(response.id)))
}

/// A broadcast, one line for all its receivers.
#[derive(Clone, Copy, Debug)]
pub struct Event<'a> {
    pub name: &'a str,
    /// Of the receiver, or the highest of several.
    pub seq: Option<u64>,
    pub clients: usize,
    pub drop_if_slow: bool,
    /// presence and health
    pub state_version: Option<(u64, u64)>,
}

/// `→ event presence seq=3 clients=1 dropIfSlow=true presenceVersion=3 healthVersion=4`
pub fn event(detail: Detail, event: Event<'_>) -> Option<String> {
    (detail != Detail::Failures).then(|| {
        Line::new("→", &format!("event {}", value_text(event.name)))
            .with_some("seq", event.seq)
            .with("clients", event.clients)
            .with_some("dropIfSlow", event.drop_if_slow.then_some(true))
            .with_some("presenceVersion", event.state_version.map(|(presence, _)| presence))
            .with_some("healthVersion", event.state_version.map(|(_, health)| health))
            .0
    })
}

/// The end of a connection.
#[derive(Clone, Copy, Debug)]
pub struct Closed<'a> {
    pub code: u16,
    pub reason: &'a str,
    pub lasted: Duration,
    /// `connected`, `pending` or `failed`.
    pub handshake: &'a str,
    /// Type, method and id of the last frame read.
    pub last: Option<(&'a str, &'a str, &'a str)>,
    pub conn: &'a str,
}

/// `→ close code=1005 durationMs=734 handshake=connected lastFrameType=req lastFrameMethod=health lastFrameId=… conn=…`
pub fn close(detail: Detail, closed: Closed<'_>) -> Option<String> {
    (detail == Detail::Full).then(|| {
        Line::new("→", "close")
            .with("code", closed.code)
            .with_some("reason", (!closed.reason.is_empty()).then_some(closed.reason))
            .with("durationMs", closed.lasted.as_millis())
            .with("handshake", closed.handshake)
            .with_some("lastFrameType", closed.last.map(|(kind, _, _)| kind))
            .with_some("lastFrameMethod", closed.last.map(|(_, method, _)| method))
            .with_some("lastFrameId", closed.last.map(|(_, _, id)| id))
            .ids(closed.conn, None)
    })
}

/// A frame that could not be read: said at every detail.
pub fn parse_error(error: &str, conn: &str) -> String {
    Line::new("←", "parse-error").with("error", error).ids(conn, None)
}

/// A connection that ended before its handshake; a warning at every detail. Empty values become `n/a`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Handshake<'a> {
    pub conn: &'a str,
    pub remote: &'a str,
    pub forwarded: &'a str,
    pub origin: &'a str,
    pub host: &'a str,
    pub user_agent: &'a str,
    pub code: u16,
    pub reason: &'a str,
}

/// `closed before connect conn=<uuid> remote=127.0.0.1 fwd=n/a origin=n/a host=… ua=n/a code=1008 reason=…`
pub fn closed_before_connect(failed: Handshake<'_>) -> String {
    let given = |value: &str| if value.is_empty() { "n/a".to_owned() } else { value_text(value) };
    format!(
        "closed before connect conn={} remote={} fwd={} origin={} host={} ua={} code={} reason={}",
        failed.conn,
        given(failed.remote),
        given(failed.forwarded),
        given(failed.origin),
        given(failed.host),
        given(failed.user_agent),
        if failed.code == 0 { "n/a".to_owned() } else { failed.code.to_string() },
        given(failed.reason)
    )
}

/// UUIDs to first 8 + `…` + last 4, other ids above 24 characters to 12 + `…` + 4.
pub fn short_id(id: &str) -> String {
    let clean = value_text(id);
    let length = clean.chars().count();
    let (head, shorten) = if is_uuid(&clean) { (8, true) } else { (12, length > 24) };
    if !shorten {
        return clean;
    }
    let chars: Vec<char> = clean.chars().collect();
    chars[..head].iter().chain(&['…']).chain(&chars[length - 4..]).collect()
}

fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(at, b)| match at {
            8 | 13 | 18 | 23 => b == b'-',
            _ => b.is_ascii_hexdigit(),
        })
}

/// One line, at most `limits::WS_LOG_VALUE_CHARS`: what a peer sent must not forge a second line.
fn value_text(value: &str) -> String {
    let mut out: String = value
        .chars()
        .take(limits::WS_LOG_VALUE_CHARS)
        .map(|c| if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') { ' ' } else { c })
        .collect();
    if value.chars().nth(limits::WS_LOG_VALUE_CHARS).is_some() {
        out.push('…');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONN: &str = "351ebb00-777c-4d91-bfe5-79c54e465571";
    const ID: &str = "7fd88075-777c-4d91-bfe5-79c54e46b627";

    #[test]
    fn ids_are_shortened() {
        for (id, short) in [
            (CONN, "351ebb00…5571"),
            ("2:ba542c3c-7ffe-4a5b-8c8e-000000008006", "2:ba542c3c-7…8006"),
            ("exactly-24-characters-xx", "exactly-24-characters-xx"),
            ("1", "1"),
            ("", ""),
            ("a\nb", "a b"),
        ] {
            assert_eq!(short_id(id), short, "{id}");
        }
    }

    #[test]
    fn responses_by_detail() {
        let good = Response {
            method: "health",
            took: Duration::from_millis(1),
            error: None,
            cached: true,
            conn: CONN,
            id: ID,
        };
        let error = Some(("INVALID_REQUEST", "missing scope: operator.read"));
        let bad = Response { method: "status", took: Duration::ZERO, error, cached: false, ..good };
        let slow = Response { took: Duration::from_millis(50), ..good };
        let tail = "conn=351ebb00…5571 id=7fd88075…b627";
        for (detail, what, expected) in [
            (Detail::Failures, good, None),
            (Detail::Failures, slow, Some(format!("⇄ res ✓ health 50ms cached=true {tail}"))),
            (
                Detail::Failures,
                bad,
                Some(format!(
                    "⇄ res ✗ status 0ms errorCode=INVALID_REQUEST errorMessage=missing scope: operator.read {tail}"
                )),
            ),
            (Detail::Compact, good, Some(format!("⇄ res ✓ health 1ms cached=true {tail}"))),
            (Detail::Full, good, Some(format!("→ res ✓ health 1ms cached=true {tail}"))),
        ] {
            assert_eq!(response(detail, what), expected);
        }
    }

    #[test]
    fn the_recorded_full_log() {
        let full = Detail::of(true, WsLog::Full);
        let client = Client {
            name: "gateway-client",
            id: "gateway-client",
            version: "2026.3.13",
            mode: "backend",
            platform: "linux",
            auth: "token",
        };
        let presence =
            Event { name: "presence", seq: Some(3), clients: 1, drop_if_slow: true, state_version: Some((3, 4)) };
        let closed = Closed {
            code: 1005,
            reason: "",
            lasted: Duration::from_millis(734),
            handshake: "connected",
            last: Some(("req", "health", ID)),
            conn: CONN,
        };
        let lines = [
            open(full, "127.0.0.1", CONN),
            connect(full, client, CONN),
            hello_ok(full, 100, 19, 2, 2, CONN),
            request(full, "health", CONN, ID),
            event(full, presence),
            close(full, closed),
        ];
        let expected = [
            "← open remoteAddr=127.0.0.1 conn=351ebb00…5571",
            "← connect client=gateway-client version=2026.3.13 mode=backend clientId=gateway-client platform=linux \
             auth=token conn=351ebb00…5571",
            "→ hello-ok methods=100 events=19 presence=2 stateVersion=2 conn=351ebb00…5571",
            "← req health conn=351ebb00…5571 id=7fd88075…b627",
            "→ event presence seq=3 clients=1 dropIfSlow=true presenceVersion=3 healthVersion=4",
            "→ close code=1005 durationMs=734 handshake=connected lastFrameType=req lastFrameMethod=health \
             lastFrameId=7fd88075-777c-4d91-bfe5-79c54e46b627 conn=351ebb00…5571",
        ];
        assert_eq!(lines.map(Option::unwrap), expected.map(String::from));
    }

    #[test]
    fn quiet_unless_verbose() {
        for style in [WsLog::Auto, WsLog::Full, WsLog::Compact] {
            assert_eq!(Detail::of(false, style), Detail::Failures);
        }
        assert_eq!(Detail::of(true, WsLog::Auto), Detail::Compact);
        assert_eq!(open(Detail::Failures, "x", CONN), None);
        assert_eq!(request(Detail::Compact, "health", CONN, ID), None);
        assert_eq!(WsLog::parse("loud"), None);
    }

    #[test]
    fn failed_handshakes_on_one_line() {
        let failed = Handshake {
            conn: CONN,
            remote: "127.0.0.1",
            host: "127.0.0.1:18789",
            user_agent: "evil\r\n[gateway] all is well",
            code: 1008,
            reason: "device identity required",
            ..Handshake::default()
        };
        assert_eq!(
            closed_before_connect(failed),
            format!(
                "closed before connect conn={CONN} remote=127.0.0.1 fwd=n/a origin=n/a host=127.0.0.1:18789 \
                 ua=evil  [gateway] all is well code=1008 reason=device identity required"
            )
        );
        let long = "ä".repeat(300);
        assert!(parse_error(&long, CONN).contains(&format!("{}… conn=", "ä".repeat(240))));
    }
}
