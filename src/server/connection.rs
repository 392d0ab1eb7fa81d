//! One connection from its first byte to its end: HTTP requests one after the other, or a WebSocket after an upgrade.
//!
//! Runs on a thread of the pool, which reads; it also writes what it can answer itself. What a run answers comes
//! through the outbox from the hub, while this thread listens whether the client is still there.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::http::{self, Answer, Request, cors};
use super::input::{Heard, Input};
use super::link::Link;
use super::sockets::Ticket;
use super::websocket::{self, Upgrade};
use super::{Doors, Refused};
use crate::http::{Head, Printer, Reply, Shape};
use crate::hub::outbox::Outbox;
use crate::hub::run_events::{AbortRuns, RunEvent};
use crate::limits;
use crate::rpc::context::wall_ms;

/// `stopReason` of a run whose client hung up.
const HUNG_UP: &str = "disconnect";
/// After the peer ended its half: how long to wait for the reset that says that it is gone, step by step.
const RESET_COMES: [Duration; 4] =
    [Duration::from_millis(20), Duration::from_millis(200), Duration::from_secs(2), limits::SSE_KEEPALIVE];

/// Serves the connection to its end.
pub fn serve(doors: &Arc<Doors>, stream: Arc<TcpStream>, mut ticket: Ticket) {
    // Small answers must not wait for the peer's acknowledgements; refused only by sockets that are gone.
    let _ = stream.set_nodelay(true);
    if stream.set_write_timeout(Some(limits::WRITE_STALL)).is_err() {
        return;
    }
    let link = Link::plain(stream);
    let name = format!("http-{}", ticket.id());
    let outbox = Outbox::new(name, link.wire(), doors.outgoing.clone(), limits::HTTP_UNSENT_BYTES);
    let mut input = Input::new(link.clone());
    let mut printer = Printer::default();
    let mut patience = limits::HTTP_FIRST_BYTE;
    loop {
        let head = match input.read_head(patience) {
            Ok(Some(head)) => head,
            Ok(None) => return,
            Err(refusal) => {
                answer(&outbox, &mut printer, status_reply(refusal.0), &last_shape(doors));
                return close(&outbox, &mut input);
            }
        };
        if head.method == "CONNECT" {
            return;
        }
        if head.wants_websocket() {
            let upgrade = Upgrade { link: link.clone(), early: input.take_rest(), head };
            match websocket::serve(doors, upgrade, &mut ticket) {
                Ok(()) => return,
                Err(Refused(reply)) => {
                    answer(&outbox, &mut printer, reply, &last_shape(doors));
                    return close(&outbox, &mut input);
                }
            }
        }
        if !exchange(doors, head, &mut input, &link, (&outbox, &mut printer), &mut ticket) {
            return close(&outbox, &mut input);
        }
        patience = limits::HTTP_KEEPALIVE;
    }
}

/// One request. False: the connection ends behind its answer.
fn exchange(
    doors: &Arc<Doors>,
    head: Head,
    input: &mut Input,
    link: &Link,
    (outbox, printer): (&Arc<Outbox>, &mut Printer),
    ticket: &mut Ticket,
) -> bool {
    let request = Request::new(doors, head, ticket);
    let (head, config) = (&request.head, &request.live.config);
    let mut shape = Shape {
        keep_alive: head.keep_alive && doors.ctx.ready.load(Ordering::Relaxed),
        head_only: head.method == "HEAD",
        chunked: head.minor > 0,
        hsts: config.gateway.strict_transport_security.clone(),
        cors: cors::headers(head, &config.http.cors_origins),
    };
    let route = request.route();
    let early = match (cors::preflight(head, &config.http.cors_origins), route) {
        (Some(reply), _) => Some(reply),
        (None, Some(route)) => request.judge(route).err(),
        (None, None) => Some(request.not_found()),
    };
    let (Some(route), None) = (route, &early) else {
        let mut reply = early.unwrap_or_else(|| request.not_found());
        match input.discard_body(head) {
            Ok(whole) => shape.keep_alive &= whole,
            Err(refusal) => (reply, shape.keep_alive) = (status_reply(refusal.0), false),
        }
        answer(outbox, printer, reply, &shape);
        return shape.keep_alive;
    };
    let body = match input.read_body(head, (route.max_body)(&request.live), outbox, &doors.incoming) {
        Ok(body) => body,
        Err(refusal) => {
            shape.keep_alive = false;
            answer(outbox, printer, (route.refuse)(refusal.0), &shape);
            return false;
        }
    };
    match http::handle(&request, route, body, outbox, &shape) {
        Answer::Now(reply) => {
            answer(outbox, printer, reply, &shape);
            shape.keep_alive && outbox.is_open()
        }
        owed @ (Answer::Run(_) | Answer::Owed) => {
            // Nobody who has a run under way is cut for a newcomer.
            ticket.authenticated();
            drop(request);
            // From here on this thread only waits; what it touched on the way is given back.
            crate::sys::memory::release_stack();
            let whole = attend(input, link, outbox);
            if !whole {
                outbox.cut();
            }
            if let (false, Answer::Run(run_id)) = (whole, owed) {
                doors.ctx.hub.run(RunEvent::Abort(AbortRuns {
                    session_key: None,
                    run_id: Some(run_id.to_string()),
                    stop_reason: HUNG_UP,
                    at_ms: wall_ms(),
                    only_of: None,
                    reply: None,
                }));
            }
            whole && shape.keep_alive && shape.chunked && outbox.is_open()
        }
    }
}

/// Listens while somebody else answers. False: the client hung up, or reads nothing.
fn attend(input: &mut Input, link: &Link, outbox: &Arc<Outbox>) -> bool {
    let mut pieces = outbox.pieces();
    let mut silent = Duration::ZERO;
    loop {
        let heard = input.listen(limits::HTTP_KEEPALIVE);
        if heard == Heard::Gone {
            return outbox.wait_answered(Duration::ZERO) && outbox.is_open();
        }
        if heard == Heard::End {
            return attend_half_closed(link, outbox);
        }
        // The next request is there already: it waits for this one.
        let wait = if heard == Heard::Bytes { limits::HTTP_KEEPALIVE } else { Duration::ZERO };
        if outbox.wait_answered(wait) {
            return true;
        }
        if !outbox.is_open() {
            return false;
        }
        let now = outbox.pieces();
        silent = if now == pieces { silent + limits::HTTP_KEEPALIVE } else { Duration::ZERO };
        pieces = now;
        if silent >= limits::SSE_KEEPALIVE {
            outbox.pulse();
            silent = Duration::ZERO;
        }
    }
}

/// The peer ended its half: it hung up, or it only has nothing more to ask. A sign of life tells: who is gone answers it
/// with a reset.
fn attend_half_closed(link: &Link, outbox: &Arc<Outbox>) -> bool {
    let mut waits = RESET_COMES.into_iter().chain(std::iter::repeat(limits::SSE_KEEPALIVE));
    loop {
        if outbox.wait_answered(Duration::ZERO) {
            return true;
        }
        if !outbox.pulse() && outbox.unsent() == 0 {
            // It cannot be asked: a client of HTTP/1.0, which reads no interim answers.
            return false;
        }
        let wait = waits.next().unwrap_or(limits::SSE_KEEPALIVE);
        if outbox.wait_answered(wait) {
            return true;
        }
        if link.take_error().is_some() || !outbox.is_open() {
            return false;
        }
    }
}

/// Of the answer to what is no request that could be routed.
fn last_shape(doors: &Doors) -> Shape {
    Shape { hsts: doors.ctx.config().gateway.strict_transport_security.clone(), ..Shape::default() }
}

/// For what ends before anybody's API is asked.
fn status_reply(status: u16) -> Reply {
    match status {
        400 => Reply::empty(400),
        408 => Reply::text(408, "Request Timeout"),
        413 => Reply::text(413, "Payload Too Large"),
        417 => Reply::text(417, "Expectation Failed"),
        431 => Reply::text(431, "Request Header Fields Too Large"),
        501 => Reply::text(501, "Not Implemented"),
        other => Reply::empty(other),
    }
}

/// A plain answer for a connection that cannot be served at all.
pub fn refuse_connection(stream: &TcpStream) {
    let _ = stream.set_write_timeout(Some(Duration::from_millis(100)));
    let reply = Reply::text(503, "Too many connections").header("Retry-After", "1");
    let _ = (&mut &*stream).write_all(&reply.print_whole(&Shape::default()));
    // What has come already is read away without waiting: unread, it would turn the close into a reset.
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let mut bytes = [0; 4096];
    if stream.set_nonblocking(true).is_ok() {
        for _ in 0..limits::LINGER_BYTES / bytes.len() {
            if !matches!((&*stream).read(&mut bytes), Ok(1..)) {
                return;
            }
        }
    }
}

fn answer(outbox: &Arc<Outbox>, printer: &mut Printer, reply: Reply, shape: &Shape) {
    let (head, body) = printer.print(reply, shape, wall_ms() / 1000);
    outbox.raw_direct(head, body);
}

/// Closes so that the answer arrives: the sending half first, then a little of what still comes is read away.
fn close(outbox: &Outbox, input: &mut Input) {
    outbox.wait_sent(Instant::now() + limits::WRITE_STALL);
    outbox.finish();
    input.linger();
}
