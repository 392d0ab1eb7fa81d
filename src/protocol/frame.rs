//! Frames of the WebSocket protocol: reading what a client sent, writing responses and events (protocol 1).
//!
//! Reading takes one pass. Of what JSON allows and serde_json does not take as JavaScript does, a frame nested
//! deeper than 128 levels, a number beyond f64 (`1e400`) and half a surrogate pair are answered with an error
//! (id `invalid`), not silently dropped. Of duplicate keys the last one counts, as in JavaScript.

use std::borrow::Cow;
use std::fmt;

use serde::Serialize;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::ErrorShape;
use super::weight::has_more_values;
use crate::limits;

/// What one message of a client is.
#[derive(Clone, Debug, PartialEq)]
pub enum Incoming {
    Request(Request),
    /// Not JSON: ignored after the handshake, the end of the connection (1000) before it.
    Malformed,
    /// JSON, but no request. `message` starts with `invalid request frame: `; without an `id` the answer goes to
    /// the id `invalid`.
    Invalid {
        id: Option<String>,
        message: String,
    },
}

#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    pub id: String,
    pub method: String,
    /// An empty object when the frame had none or null.
    pub params: Value,
    /// The frame had keys beyond the protocol-3 ones (only seen when parsed leniently).
    pub extra_keys: bool,
}

/// Reads a text or binary message. `lenient` (protocol 4) ignores unknown keys of the frame.
pub fn parse(bytes: &[u8], lenient: bool) -> Incoming {
    let Ok(text) = std::str::from_utf8(bytes) else { return Incoming::Malformed };
    let raw = match serde_json::from_str::<Raw>(text) {
        Ok(raw) => raw,
        Err(error) => return unreadable(&error),
    };
    match raw {
        Raw::Frame(frame) => frame.check(lenient),
        Raw::Other => invalid(None, "must be object"),
    }
}

/// The same for a message from the wire, of which no more than `most` values are taken into memory.
pub fn parse_at_most(bytes: &[u8], lenient: bool, most: usize) -> Incoming {
    if has_more_values(bytes, most) { invalid(None, "too many values") } else { parse(bytes, lenient) }
}

/// The id to answer to: that of the frame, or the word that the reference uses.
pub fn answer_id(id: Option<&str>) -> &str {
    id.unwrap_or("invalid")
}

/// A response frame with `ok:true`.
pub fn response_ok(id: &str, payload: &impl Serialize) -> Vec<u8> {
    let mut out = response_head(id, 256);
    serde_json::to_writer(&mut out, payload).expect("payloads have string keys only");
    out.push(b'}');
    out
}

/// The same with a payload that is JSON text already.
pub fn response_ok_raw(id: &str, payload: &[u8]) -> Vec<u8> {
    let mut out = response_head(id, payload.len());
    out.extend_from_slice(payload);
    out.push(b'}');
    out
}

fn response_head(id: &str, room: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(48 + id.len() + room);
    out.extend_from_slice(b"{\"type\":\"res\",\"id\":");
    serde_json::to_writer(&mut out, id).expect("a string serialises");
    out.extend_from_slice(b",\"ok\":true,\"payload\":");
    out
}

/// A response frame with `ok:false`; a failed `agent` run carries a payload beside the error.
pub fn response_err(id: &str, error: &ErrorShape, payload: Option<&Value>) -> Vec<u8> {
    #[derive(Serialize)]
    struct Frame<'a> {
        r#type: &'static str,
        id: &'a str,
        ok: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        payload: Option<&'a Value>,
        error: &'a ErrorShape,
    }
    serde_json::to_vec(&Frame { r#type: "res", id, ok: false, payload, error }).expect("error shapes serialise")
}

/// What every client gets of an event: `"event":"x","payload":{..},"stateVersion":{..}}`. The head in front of it
/// differs per client: [`EVENT_HEAD`] without a number, [`event_head`] with one.
pub fn event_body(event: &str, payload: &impl Serialize, state_version: Option<StateVersion>) -> Vec<u8> {
    let mut out = event_start(event, 256);
    serde_json::to_writer(&mut out, payload).expect("payloads have string keys only");
    event_end(out, state_version)
}

/// The same with a payload that is JSON text already.
pub fn event_body_raw(event: &str, payload: &[u8], state_version: Option<StateVersion>) -> Vec<u8> {
    let mut out = event_start(event, payload.len());
    out.extend_from_slice(payload);
    event_end(out, state_version)
}

/// Versions of presence and health, in this order.
pub type StateVersion = (u64, u64);

/// Head of an event that takes no number.
pub const EVENT_HEAD: &[u8] = b"{\"type\":\"event\",";

/// Head of an event with this client's number.
pub fn event_head(seq: u64) -> String {
    format!("{{\"type\":\"event\",\"seq\":{seq},")
}

fn event_start(event: &str, room: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(80 + event.len() + room);
    out.extend_from_slice(b"\"event\":");
    serde_json::to_writer(&mut out, event).expect("a string serialises");
    out.extend_from_slice(b",\"payload\":");
    out
}

fn event_end(mut out: Vec<u8>, state_version: Option<StateVersion>) -> Vec<u8> {
    if let Some((presence, health)) = state_version {
        let text = format!(",\"stateVersion\":{{\"presence\":{presence},\"health\":{health}}}");
        out.extend_from_slice(text.as_bytes());
    }
    out.push(b'}');
    out
}

/// At most [`limits::CLOSE_REASON_BYTES`] bytes of a close reason, cut between characters.
pub fn cut_reason(reason: &str) -> &str {
    let mut end = reason.len().min(limits::CLOSE_REASON_BYTES);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    &reason[..end]
}

/// The frame's own keys, not yet checked.
enum Raw<'a> {
    Frame(RawFrame<'a>),
    Other,
}

#[derive(Default)]
struct RawFrame<'a> {
    kind: Option<Text<'a>>,
    id: Option<Text<'a>>,
    method: Option<Text<'a>>,
    params: Option<Value>,
    unexpected: Vec<String>,
}

enum Text<'a> {
    Is(Cow<'a, str>),
    IsNot,
}

impl RawFrame<'_> {
    fn check(self, lenient: bool) -> Incoming {
        let RawFrame { kind: Some(Text::Is(kind)), id: Some(Text::Is(id)), method: Some(Text::Is(method)), .. } = &self
        else {
            return self.explain(lenient);
        };
        let plain = lenient || self.unexpected.is_empty();
        if kind != "req" || id.is_empty() || method.is_empty() || !plain {
            return self.explain(lenient);
        }
        Incoming::Request(Request {
            id: id.clone().into_owned(),
            method: method.clone().into_owned(),
            extra_keys: !self.unexpected.is_empty(),
            params: match self.params {
                None | Some(Value::Null) => Value::Object(Map::new()),
                Some(params) => params,
            },
        })
    }

    /// The errors in the order and words of the reference's validator.
    fn explain(self, lenient: bool) -> Incoming {
        let mut errors: Vec<String> = Vec::new();
        let mut say = |text: String| {
            if !errors.contains(&text) {
                errors.push(text);
            }
        };
        let fields = [("type", &self.kind), ("id", &self.id), ("method", &self.method)];
        for (name, _) in fields.iter().filter(|(_, value)| value.is_none()) {
            say(format!("must have required property '{name}'"));
        }
        if !lenient {
            for key in &self.unexpected {
                say(format!("at root: unexpected property '{key}'"));
            }
        }
        for (name, value) in fields {
            match value {
                None => {}
                Some(Text::IsNot) => say(format!("at /{name}: must be string")),
                Some(Text::Is(text)) if name != "type" && text.is_empty() => {
                    say(format!("at /{name}: must NOT have fewer than 1 characters"));
                }
                Some(Text::Is(_)) => {}
            }
            if name == "type" && value.as_ref().is_some_and(|v| !matches!(v, Text::Is(text) if text == "req")) {
                say("at /type: must be equal to constant".to_owned());
            }
        }
        let id = match self.id {
            Some(Text::Is(id)) if !id.is_empty() => Some(id.into_owned()),
            _ => None,
        };
        invalid(id, &errors.join("; "))
    }
}

fn invalid(id: Option<String>, errors: &str) -> Incoming {
    Incoming::Invalid { id, message: format!("invalid request frame: {errors}") }
}

/// serde_json tells its reasons apart only by text; the three that are JSON all the same get an answer.
fn unreadable(error: &serde_json::Error) -> Incoming {
    const JSON_TO_OTHERS: [(&str, &str); 4] = [
        ("recursion limit exceeded", "nested too deeply"),
        ("number out of range", "number out of range"),
        ("lone leading surrogate in hex escape", "half a surrogate pair in a string"),
        ("unexpected end of hex escape", "half a surrogate pair in a string"),
    ];
    let text = error.to_string();
    match JSON_TO_OTHERS.iter().find(|(reason, _)| text.starts_with(reason)) {
        Some((_, words)) => invalid(None, words),
        None => Incoming::Malformed,
    }
}

impl<'de> Deserialize<'de> for Raw<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a frame")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Raw<'de>, A::Error> {
        let mut frame = RawFrame::default();
        while let Some(Key(key)) = map.next_key::<Key<'de>>()? {
            match key.as_ref() {
                "type" => frame.kind = Some(map.next_value()?),
                "id" => frame.id = Some(map.next_value()?),
                "method" => frame.method = Some(map.next_value()?),
                "params" => frame.params = Some(map.next_value()?),
                _ => {
                    map.next_value::<IgnoredAny>()?;
                    frame.note_unexpected(key);
                }
            }
        }
        Ok(Raw::Frame(frame))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Raw<'de>, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Raw::Other)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Raw<'de>, E> {
        Ok(Raw::Other)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Raw<'de>, E> {
        Ok(Raw::Other)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Raw<'de>, E> {
        Ok(Raw::Other)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Raw<'de>, E> {
        Ok(Raw::Other)
    }

    fn visit_str<E>(self, _: &str) -> Result<Raw<'de>, E> {
        Ok(Raw::Other)
    }

    fn visit_unit<E>(self) -> Result<Raw<'de>, E> {
        Ok(Raw::Other)
    }
}

impl RawFrame<'_> {
    /// A frame can have as many keys as fit into 25 MiB; an error names a few.
    fn note_unexpected(&mut self, key: Cow<'_, str>) {
        const NAMED: usize = 16;
        if self.unexpected.len() < NAMED && !self.unexpected.iter().any(|known| *known == key) {
            self.unexpected.push(super::methods::cut_name(&key).to_owned());
        }
    }
}

struct Key<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Text::deserialize(deserializer)? {
            Text::Is(key) => Ok(Key(key)),
            Text::IsNot => Err(serde::de::Error::custom("key must be a string")),
        }
    }
}

impl<'de> Deserialize<'de> for Text<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextVisitor)
    }
}

struct TextVisitor;

impl<'de> Visitor<'de> for TextVisitor {
    type Value = Text<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Text<'de>, E> {
        Ok(Text::Is(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Text<'de>, E> {
        Ok(Text::Is(Cow::Owned(text.to_owned())))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Text<'de>, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Text::IsNot)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Text<'de>, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Text::IsNot)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Text<'de>, E> {
        Ok(Text::IsNot)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Text<'de>, E> {
        Ok(Text::IsNot)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Text<'de>, E> {
        Ok(Text::IsNot)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Text<'de>, E> {
        Ok(Text::IsNot)
    }

    fn visit_unit<E>(self) -> Result<Text<'de>, E> {
        Ok(Text::IsNot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn request(text: &str) -> Request {
        match parse(text.as_bytes(), false) {
            Incoming::Request(request) => request,
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn requests() {
        let plain = request(r#"{"type":"req","id":"1","method":"health"}"#);
        assert_eq!((plain.id.as_str(), plain.method.as_str(), &plain.params), ("1", "health", &json!({})));
        assert!(!plain.extra_keys);
        assert_eq!(request(r#"{"params":null,"method":"m","id":"\u0031","type":"req"}"#).id, "1");
        assert_eq!(request(r#"{"type":"req","id":"1","method":"m","params":[1]}"#).params, json!([1]));
        assert_eq!(request(r#"{"type":"req","id":"1","method":"m","params":"x"}"#).params, json!("x"));
        let twice = r#"{"type":"x","type":"req","id":"1","id":"2","method":"m","params":{"a":1,"a":2}}"#;
        assert_eq!((request(twice).id.as_str(), request(twice).params), ("2", json!({"a": 2})));
    }

    #[test]
    fn invalid_frames_say_what_the_reference_says() {
        for (text, id, errors) in [
            (r#"{"type":"req","id":"z1"}"#, Some("z1"), "must have required property 'method'"),
            (
                r#"{"type":"res","id":"z2","ok":true}"#,
                Some("z2"),
                "must have required property 'method'; at root: unexpected property 'ok'; \
                 at /type: must be equal to constant",
            ),
            (
                r#"{"foo":1}"#,
                None,
                "must have required property 'type'; must have required property 'id'; \
                 must have required property 'method'; at root: unexpected property 'foo'",
            ),
            (r#"{"type":"req","id":7,"method":"m"}"#, None, "at /id: must be string"),
            (r#"{"type":"req","id":"","method":"m"}"#, None, "at /id: must NOT have fewer than 1 characters"),
            (r#"{"type":"req","id":"a","method":""}"#, Some("a"), "at /method: must NOT have fewer than 1 characters"),
            (
                r#"{"type":{},"id":"a","method":[1]}"#,
                Some("a"),
                "at /type: must be string; at /type: must be equal to constant; at /method: must be string",
            ),
            ("[1,{}]", None, "must be object"),
            ("5", None, "must be object"),
            ("-5", None, "must be object"),
            ("1.5", None, "must be object"),
            ("null", None, "must be object"),
            ("true", None, "must be object"),
            (r#""x""#, None, "must be object"),
            (r#"{"type":"req","id":"a","method":"m","params":1e400}"#, None, "number out of range"),
            (r#"{"type":"req","id":"a","method":"m","params":"\ud800"}"#, None, "half a surrogate pair in a string"),
            (
                r#"{"type":"req","id":"a","method":"m","params":"\ud800\u0041"}"#,
                None,
                "half a surrogate pair in a string",
            ),
        ] {
            let expected =
                Incoming::Invalid { id: id.map(String::from), message: format!("invalid request frame: {errors}") };
            assert_eq!(parse(text.as_bytes(), false), expected, "{text}");
        }
        assert_eq!(answer_id(None), "invalid");
    }

    #[test]
    fn nesting_is_bounded() {
        let deep =
            |n: usize| format!(r#"{{"type":"req","id":"a","method":"m","params":{}{}}}"#, "[".repeat(n), "]".repeat(n));
        assert!(matches!(parse(deep(100).as_bytes(), false), Incoming::Request(_)));
        for n in [129, 100_000] {
            let expected = Incoming::Invalid { id: None, message: "invalid request frame: nested too deeply".into() };
            assert_eq!(parse(deep(n).as_bytes(), true), expected);
        }
    }

    #[test]
    fn what_is_not_json() {
        for bytes in [
            &b"{not json"[..],
            b"{bad}",
            b"",
            b" ",
            b"{\"type\":\"req\"",
            b"{} {}",
            b"\xff",
            b"{\"a\":\"\xff\"}",
            b"NaN",
            b"\xef\xbb\xbf{}",
        ] {
            assert_eq!(parse(bytes, false), Incoming::Malformed, "{:?}", String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn protocol_4_frames_carry_more() {
        let text = br#"{"type":"req","id":"a","method":"m","traceparent":"t","expectedProfileId":{"x":[1]}}"#;
        assert!(matches!(parse(text, true), Incoming::Request(Request { extra_keys: true, .. })));
        let Incoming::Invalid { id, message } = parse(text, false) else { panic!() };
        assert_eq!(id.as_deref(), Some("a"));
        assert_eq!(
            message,
            "invalid request frame: at root: unexpected property 'traceparent'; \
             at root: unexpected property 'expectedProfileId'"
        );
        let many: String = (0..1000).map(|n| format!(",\"k{n}{}\":1", "x".repeat(500))).collect();
        let Incoming::Invalid { message, .. } = parse(format!("{{\"type\":\"req\"{many}}}").as_bytes(), false) else {
            panic!()
        };
        assert!(message.len() < 8192, "{}", message.len());
    }

    #[test]
    fn events_and_reasons() {
        let body = event_body("presence", &json!({"presence": []}), Some((2, 1)));
        let frame = [event_head(7).as_bytes(), &body].concat();
        assert_eq!(
            frame,
            br#"{"type":"event","seq":7,"event":"presence","payload":{"presence":[]},"stateVersion":{"presence":2,"health":1}}"#
        );
        let targeted = [EVENT_HEAD, &event_body_raw("tick", br#"{"ts":1}"#, None)].concat();
        assert_eq!(targeted, br#"{"type":"event","event":"tick","payload":{"ts":1}}"#);
        let recorded = "invalid connect params: at root: unexpected property 'foo'; at /client/id: must be equal to \
                        constant; at /client/id: must match a schema in anyOf";
        assert_eq!(
            cut_reason(recorded),
            "invalid connect params: at root: unexpected property 'foo'; at /client/id: must be equal to constant; \
             at /client/id: mus"
        );
        assert_eq!(cut_reason("short"), "short");
        assert_eq!(cut_reason(&format!("x{}", "é".repeat(99))).len(), 119);
    }

    #[test]
    fn responses() {
        assert_eq!(response_ok("a\"", &json!({"x": 1})), br#"{"type":"res","id":"a\"","ok":true,"payload":{"x":1}}"#);
        assert_eq!(
            response_err("1", &ErrorShape::invalid("no"), None),
            br#"{"type":"res","id":"1","ok":false,"error":{"code":"INVALID_REQUEST","message":"no"}}"#
        );
    }

    #[test]
    fn mutated_frames_never_panic_and_requests_stay_requests() {
        let seeds: [&[u8]; 3] = [
            br#"{"type":"req","id":"post-1","method":"connect","params":{"minProtocol":3,"maxProtocol":3,"client":{"id":"test","version":"1.0.0","platform":"linux","mode":"test"},"role":"operator","scopes":["operator.admin"],"auth":{"token":"t"},"device":{"id":"a","publicKey":"b","signature":"c","signedAt":1795203840340,"nonce":"d"}}}"#,
            br#"{"type":"req","id":"1","method":"agent","params":{"message":"\u00e9\ud83d\ude00","idempotencyKey":"k","timeout":1e3}}"#,
            br#"{"type":"res","id":"z2","ok":true,"x":[[[[{}]]]]}"#,
        ];
        let mut generator = crate::sys::testing::Random(6);
        let mut random = move || generator.next() as usize;
        const ODD: &[u8] = b"{}[]\",:\\u0d8e1-+.tfn\x00\xff\xc3 ";
        let mut requests = 0;
        for round in 0..20_000 {
            let mut bytes = seeds[round % seeds.len()].to_vec();
            for _ in 0..=random() % 4 {
                let at = random() % bytes.len().max(1);
                if bytes.is_empty() {
                    break;
                }
                match random() % 4 {
                    0 => bytes[at] = ODD[random() % ODD.len()],
                    1 => bytes.insert(at, ODD[random() % ODD.len()]),
                    2 => drop(bytes.remove(at)),
                    _ => bytes.truncate(at.max(1)),
                }
            }
            for lenient in [false, true] {
                match parse(&bytes, lenient) {
                    Incoming::Request(request) => {
                        requests += 1;
                        assert!(!request.id.is_empty() && !request.method.is_empty());
                        let _ = crate::protocol::connect::ConnectParams::read(request.params);
                    }
                    Incoming::Invalid { message, .. } => assert!(message.starts_with("invalid request frame: ")),
                    Incoming::Malformed => {}
                }
            }
        }
        assert!(requests > 100, "{requests}");
    }
}
