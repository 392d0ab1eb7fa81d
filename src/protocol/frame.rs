//! Frames of the WebSocket protocol: reading what a client sent, writing responses and events (protocol 1).

use serde::Serialize;
use serde_json::Value;

use super::ErrorShape;

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
