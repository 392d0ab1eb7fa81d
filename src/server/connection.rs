//! One connection from its first byte to its end: HTTP requests one after the other, or a WebSocket after an upgrade.
//!
//! Runs on a thread of the pool, which reads; it also writes what it can answer itself. What a run answers comes
//! through the outbox from the hub, while this thread listens whether the client is still there.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::http::{self, Answer, Request, Route, Stream, cors};
use super::input::{Heard, Input};
use super::link::Link;
use super::live_reload;
use super::sockets::Ticket;
use super::websocket::{self, Upgrade};
use super::{Doors, Refused};
use crate::http::{Printer, Reply, Shape};
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
    let Some(link) = Link::open(stream, doors.tls.as_ref(), limits::TLS_HANDSHAKE) else { return };
    let only_canvas = doors.only_canvas(link.tcp());
    // What HTTP needed is gone before a WebSocket begins, which may live for months.
    let Some(upgrade) = speak_http(doors, &link, &mut ticket, only_canvas) else { return };
    crate::sys::memory::release_stack();
    let served = match http::canvas::is_socket(&upgrade.head.target) {
        true => live_reload::serve(doors, upgrade, &mut ticket),
        false if only_canvas => Err(Refused(Reply::text(404, "Not Found"))),
        false => websocket::serve(doors, upgrade, &mut ticket),
    };
    if let Err(Refused(reply)) = served {
        let (outbox, mut input) = ends(doors, &link, &ticket);
        answer(&outbox, &mut Printer::default(), reply, &last_shape(doors));
        close(&outbox, || input.linger());
    }
}

fn ends(doors: &Doors, link: &Link, ticket: &Ticket) -> (Arc<Outbox>, Input) {
    let name = format!("http-{}", ticket.id());
    let outbox = Outbox::new(name, link.wire(), doors.outgoing.clone(), limits::HTTP_UNSENT_BYTES);
    link.attach(&outbox);
    (outbox, Input::new(link.clone()))
}

/// Requests one after the other. None: the connection is at its end. Its frame must not stay on the stack below a
/// WebSocket: never inlined.
#[inline(never)]
fn speak_http(doors: &Arc<Doors>, link: &Link, ticket: &mut Ticket, only_canvas: bool) -> Option<Upgrade> {
    let (outbox, mut input) = ends(doors, link, ticket);
    let mut printer = Printer::default();
    let mut patience = limits::HTTP_FIRST_BYTE;
    loop {
        let head = match input.read_head(patience) {
            Ok(Some(head)) => head,
            Ok(None) => {
                outbox.finish();
                return None;
            }
            Err(refusal) => {
                answer(&outbox, &mut printer, status_reply(refusal.0), &last_shape(doors));
                close(&outbox, || input.linger());
                return None;
            }
        };
        if head.method == "CONNECT" {
            return None;
        }
        if head.wants_websocket() {
            // From here on another outbox writes to this socket.
            let sent = outbox.wait_sent(Instant::now() + limits::WRITE_STALL);
            return sent.then(|| Upgrade { link: link.clone(), early: input.take_rest(), head });
        }
        let request = Request::new(doors, head, ticket);
        let route = request.route().filter(|route| !only_canvas || route.name == http::canvas::CANVAS.name);
        if !exchange(request, route, &mut input, link, (&outbox, &mut printer), ticket) {
            close(&outbox, || input.linger_over_body());
            return None;
        }
        patience = limits::HTTP_KEEPALIVE;
    }
}

/// One request. False: the connection ends behind its answer.
fn exchange(
    request: Request,
    route: Option<&'static Route>,
    input: &mut Input,
    link: &Link,
    (outbox, printer): (&Arc<Outbox>, &mut Printer),
    ticket: &mut Ticket,
) -> bool {
    let doors = request.doors.clone();
    let (head, config) = (&request.head, &request.live.config);
    let mut shape = Shape {
        keep_alive: head.keep_alive && doors.ctx.ready.load(Ordering::Relaxed),
        head_only: head.method == "HEAD",
        chunked: head.minor > 0,
        hsts: config.gateway.strict_transport_security.clone(),
        cors: cors::headers(head, &config.http.cors_origins),
    };
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
        count(&doors, route, reply.status());
        answer(outbox, printer, reply, &shape);
        return shape.keep_alive;
    };
    let body = match input.read_body(head, (route.max_body)(&request.live), outbox, &doors.incoming) {
        Ok(body) => body,
        Err(refusal) => {
            shape.keep_alive = false;
            let reply = (route.refuse)(refusal.0);
            count(&doors, Some(route), reply.status());
            answer(outbox, printer, reply, &shape);
            return false;
        }
    };
    match http::handle(&request, route, body, outbox, &shape) {
        Answer::Now(reply) => {
            count(&doors, Some(route), reply.status());
            answer(outbox, printer, reply, &shape);
            shape.keep_alive && outbox.is_open()
        }
        Answer::Stream(stream) => {
            count(&doors, Some(route), stream.head.status());
            drop(request);
            send_stream(stream, outbox, &shape) && shape.keep_alive
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

/// Sends a body while it is read, no faster than the client takes it. False: the connection is at its end.
fn send_stream(stream: Stream, outbox: &Arc<Outbox>, shape: &Shape) -> bool {
    let Stream { head, length, mut body } = stream;
    outbox.raw_direct(head.print_long_head(shape, length), None);
    let mut left = if shape.head_only { 0 } else { length };
    while left > 0 && outbox.is_open() {
        let most = left.min(limits::FILE_PIECE_BYTES as u64);
        let mut piece = Vec::with_capacity(most as usize);
        match body.by_ref().take(most).read_to_end(&mut piece) {
            Ok(1..) => left -= piece.len() as u64,
            // It has become shorter: whoever counts must not take it for the whole.
            Ok(0) | Err(_) => outbox.cut(),
        }
        outbox.raw_direct(piece, None);
    }
    outbox.is_open()
}

/// What somebody else answers is counted by its responder.
fn count(doors: &Doors, route: Option<&Route>, status: u16) {
    doors.ctx.metrics.answered(route.map_or("", |route| route.name), status);
}

/// Listens while somebody else answers. False: the client hung up, or reads nothing.
fn attend(input: &mut Input, link: &Link, outbox: &Arc<Outbox>) -> bool {
    link.ask_while_silent(limits::SSE_KEEPALIVE);
    let mut pieces = outbox.pieces();
    let mut since = Instant::now();
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
        if now != pieces {
            (pieces, since) = (now, Instant::now());
        }
        // The next look would be too late.
        if since.elapsed() + limits::HTTP_KEEPALIVE >= limits::SSE_KEEPALIVE {
            outbox.pulse();
            since = Instant::now();
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
        if !outbox.probe() && outbox.unsent() == 0 {
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
fn close(outbox: &Outbox, linger: impl FnOnce()) {
    outbox.wait_sent(Instant::now() + limits::WRITE_STALL);
    outbox.finish();
    linger();
}
