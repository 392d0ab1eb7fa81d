//! One WebSocket from upgrade to end. Runs on a connection thread, which is its reader.

use std::sync::Arc;
use std::time::Instant;

use tungstenite::Message;

use super::handshake::{self, Outcome, Peer};
use super::link::Link;
use super::reader::{Next, Patience, Reader};
use super::sockets::Ticket;
use super::{Doors, Refused};
use crate::http::{Head, Reply};
use crate::hub::Event;
use crate::hub::outbox::Outbox;
use crate::policy::net;
use crate::protocol::frame::{self, Incoming};
use crate::protocol::{ErrorShape, PROTOCOL_MAX, methods};
use crate::rpc::{self, Answered, Caller};
use crate::ws::Close;
use crate::ws::follow::Limits;
use crate::{ids, limits};

/// An upgrade request on a connection, and the bytes that were read behind it.
pub struct Upgrade {
    pub link: Link,
    pub head: Head,
    pub early: Vec<u8>,
}

/// Answers the upgrade and serves the socket to its end. Err: refused as an ordinary HTTP answer.
#[inline(never)]
pub fn serve(doors: &Arc<Doors>, upgrade: Upgrade, ticket: &mut Ticket) -> Result<(), Refused> {
    let answer = switching_protocols(&upgrade.head)?;
    if !ticket.upgrade() {
        return Err(too_many());
    }
    let Upgrade { link, head, early } = upgrade;
    let ctx = &doors.ctx;
    let conn_id: Arc<str> = ids::new_uuid().into();
    let max_buffered = ctx.live().max_buffered;
    let name = format!("ws-{}", &conn_id[..8]);
    let outbox = Outbox::new(name, link.wire(), doors.outgoing.clone(), max_buffered);
    link.attach(&outbox);
    outbox.raw_direct(answer.into_bytes(), None);
    let before = Limits { message_bytes: limits::PREAUTH_FRAME_BYTES as u64, fragments: limits::MAX_FRAGMENTS };
    let mut reader = Reader::new(link, early, outbox.clone(), doors.incoming.clone(), before);
    let headers = head.headers().map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
    let peer = Peer { head: net::Head { peer: ticket.address(), headers }, conn_id: conn_id.clone() };
    drop(head);
    let opened = Instant::now();
    let deadline = opened + doors.handshake_timeout;
    match handshake::run(ctx, &peer, &mut reader, &outbox, deadline, || ticket.authenticated()) {
        Outcome::In(caller) => {
            let after = Limits { message_bytes: limits::MAX_PAYLOAD_BYTES as u64, fragments: limits::MAX_FRAGMENTS };
            reader.set_limits(after);
            reader.set_patience(Patience::Each(limits::PING_AFTER));
            // From here on the connection is idle most of its life: what the handshake needed is given back.
            doors.ws_log.opened(&caller, &peer.head.peer.to_string(), ctx.live().auth.mode.name());
            doors.ws_log.greeted(&caller, &ctx.hub.snapshot());
            drop(peer);
            crate::sys::memory::release_stack();
            let end = serve_requests(doors, &caller, &mut reader, &outbox);
            // The others learn of it now, not when the last bytes have left.
            ctx.canvas.iter().for_each(|canvas| canvas.capabilities.forget(&conn_id));
            ctx.hub.send(Event::Unregister { conn_id });
            // What we told the client says more than how the socket ended.
            let close = outbox.closed_with().unwrap_or_else(|| end.close().clone());
            doors.ws_log.closed(&caller, close.code, &close.reason, opened.elapsed());
            if let End::Farewell(_) = end {
                take_leave(&mut reader, &outbox);
            }
        }
        Outcome::Refused(close) => {
            doors.ws_log.refused(&peer.conn_id, &peer.head, close.code, &close.reason);
            take_leave(&mut reader, &outbox);
        }
        // It may read on: over TLS the echo of its close frame is on its way.
        Outcome::Gone => drop(outbox.wait_sent(Instant::now() + limits::LINGER_TIME)),
    }
    outbox.cut();
    Ok(())
}

/// How a connection ended, as a close for the log: 1005 and 1006 stand for none and for a lost connection.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// A close frame is under way to somebody who may read it.
    Farewell(Close),
    /// Nobody listens any more.
    Lost(Close),
}

impl End {
    fn farewell(code: u16, reason: &str) -> End {
        End::Farewell(Close::new(code, reason))
    }

    fn lost(reason: &str) -> End {
        End::Lost(Close::new(Close::ABNORMAL, reason))
    }

    fn close(&self) -> &Close {
        match self {
            End::Farewell(close) | End::Lost(close) => close,
        }
    }
}

/// Lets the close frame leave, then what the peer still says be read away.
fn take_leave(reader: &mut Reader, outbox: &Arc<Outbox>) {
    outbox.wait_sent(Instant::now() + limits::LINGER_TIME);
    reader.linger();
}

/// Reads and answers until the end.
fn serve_requests(doors: &Arc<Doors>, caller: &Arc<Caller>, reader: &mut Reader, outbox: &Arc<Outbox>) -> End {
    let lenient = caller.protocol >= PROTOCOL_MAX;
    let mut wrong_roles = 0;
    loop {
        let message = match next_message(reader, outbox) {
            Ok(message) => message,
            Err(end) => return end,
        };
        match answer(doors, caller, outbox, handshake::payload(&message), lenient) {
            Answered::Refused(error) if methods::is_unauthorized_role(&error) => wrong_roles += 1,
            _ => wrong_roles = 0,
        }
        drop(message);
        reader.handled();
        if wrong_roles > limits::UNAUTHORIZED_ROLE_REPEATS {
            let close = Close::policy("repeated unauthorized calls");
            outbox.close(&close);
            return End::Farewell(close);
        }
        if !outbox.wait_for_room(limits::WRITE_STALL) {
            return End::lost("the client does not read its answers");
        }
        if !outbox.is_open() {
            // Slow, revoked, or we are stopping.
            return End::farewell(Close::POLICY, "closed by the gateway");
        }
    }
}

/// The next message; a silent peer is pinged meanwhile, and given up when that does not wake it.
fn next_message(reader: &mut Reader, outbox: &Arc<Outbox>) -> Result<Message, End> {
    let mut silent = 0;
    loop {
        match reader.receive() {
            Next::Message(message) => return Ok(message),
            Next::Alive => silent = 0,
            Next::Silence => {
                silent += 1;
                if silent >= limits::DEAD_AFTER_PERIODS {
                    return Err(End::lost("no answer to pings"));
                }
                if !outbox.ping() {
                    silent = 0;
                }
            }
            Next::Broken(close) => {
                outbox.close_now(&close);
                return Err(End::Farewell(close));
            }
            Next::Closed => return Err(End::farewell(Close::NO_STATUS, "")),
            Next::Gone => return Err(End::lost("")),
        }
    }
}

fn answer(doors: &Arc<Doors>, caller: &Arc<Caller>, outbox: &Arc<Outbox>, bytes: &[u8], lenient: bool) -> Answered {
    let started = Instant::now();
    match frame::parse_at_most(bytes, lenient, limits::MESSAGE_VALUES) {
        Incoming::Request(request) => {
            let (method, id) = (request.method.clone(), request.id.clone());
            doors.ws_log.asked(caller, &method, &id);
            let answered = rpc::dispatch(&doors.ctx, caller, request, outbox);
            let error = match &answered {
                Answered::Refused(error) => Some(error),
                Answered::Ok => None,
                // Told by whoever answers.
                Answered::Later => return answered,
            };
            rpc::say_answered(&doors.ctx, caller, &method, &id, error, started.elapsed());
            answered
        }
        Incoming::Invalid { id, message } => {
            let error = ErrorShape::invalid(message);
            outbox.answer_direct(frame::response_err(frame::answer_id(id.as_deref()), &error, None));
            Answered::Refused(error)
        }
        Incoming::Malformed => {
            doors.ws_log.unreadable(caller);
            Answered::Later
        }
    }
}

/// The refusal of an upgrade for which there is no room.
pub fn too_many() -> Refused {
    Refused(Reply::text(503, "Too many connections").header("Retry-After", "1"))
}

/// The answer to an upgrade request, by the rules of RFC 6455 section 4.2.1.
pub fn switching_protocols(head: &Head) -> Result<String, Refused> {
    if head.method != "GET" {
        return Err(Refused(Reply::text(405, "Method Not Allowed").header("Allow", "GET")));
    }
    let bad = |what: &str| Refused(Reply::text(400, what));
    if head.minor == 0 || !head.has_token("connection", "upgrade") {
        return Err(bad("Bad Request"));
    }
    // Version 8 differs from 13 only in the name of the origin header.
    if !matches!(head.header("sec-websocket-version"), Some("13" | "8")) {
        return Err(Refused(
            Reply::text(400, "Unsupported WebSocket version").header("Sec-WebSocket-Version", "13, 8"),
        ));
    }
    let key = head.header("sec-websocket-key").unwrap_or("").trim();
    if key.len() != 24 || ids::decode_base64(key).is_none_or(|bytes| bytes.len() != 16) {
        return Err(bad("Bad Sec-WebSocket-Key"));
    }
    let accept = tungstenite::handshake::derive_accept_key(key.as_bytes());
    Ok(format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::reader::tests::{frame, pair};
    use std::io::{Read, Write};
    use std::time::Duration;

    const PERIOD: Duration = Duration::from_millis(40);

    #[test]
    fn a_silent_client_is_pinged_twice_and_then_given_up() {
        let (mut reader, outbox, _budget, mut theirs) = pair(1000, 0);
        reader.set_patience(Patience::Each(PERIOD));
        let started = Instant::now();
        assert_eq!(next_message(&mut reader, &outbox).unwrap_err(), End::lost("no answer to pings"));
        assert!(started.elapsed() >= PERIOD * limits::DEAD_AFTER_PERIODS);
        drop((reader, outbox));
        let mut heard = Vec::new();
        let _ = theirs.read_to_end(&mut heard);
        assert_eq!(heard, [0x89, 0, 0x89, 0]);
        assert_eq!(limits::PING_AFTER * limits::DEAD_AFTER_PERIODS, Duration::from_secs(90));
    }

    #[test]
    fn an_idle_client_that_only_answers_pings_stays() {
        let (mut reader, outbox, _budget, mut theirs) = pair(1000, 0);
        reader.set_patience(Patience::Each(PERIOD));
        let client = std::thread::spawn(move || {
            for _ in 0..10 {
                let mut ping = [0; 2];
                theirs.read_exact(&mut ping).unwrap();
                assert_eq!(ping, [0x89, 0]);
                theirs.write_all(&frame(0x8a, b"")).unwrap();
            }
            theirs.write_all(&frame(0x81, b"still here")).unwrap();
            theirs
        });
        let message = next_message(&mut reader, &outbox).unwrap();
        assert_eq!(handshake::payload(&message), b"still here");
        drop(client.join().unwrap());
    }
}
