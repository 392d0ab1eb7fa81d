//! The reload socket of canvas pages (http 10): says `reload` when a file has changed. Runs on a connection thread,
//! which reads; what the page says is read away.

use std::sync::Arc;

use super::http::{Request, canvas};
use super::link::Link;
use super::reader::{Next, Patience, Reader};
use super::sockets::Ticket;
use super::websocket::{Upgrade, switching_protocols, too_many};
use super::{Doors, Refused};
use crate::http::Reply;
use crate::hub::outbox::Outbox;
use crate::limits;
use crate::policy::net::{OriginRules, check_origin};
use crate::ws::follow::Limits;

/// Serves the socket to its end. Err: refused as an ordinary HTTP answer, before any upgrade.
#[inline(never)]
pub fn serve(doors: &Arc<Doors>, upgrade: Upgrade, ticket: &mut Ticket) -> Result<(), Refused> {
    let Upgrade { link, early, head } = upgrade;
    let request = Request::new(doors, head, ticket);
    canvas::guard(&request).map_err(without_body)?;
    let own_host = OriginRules { host_header_fallback: true, ..request.live.origins.clone() };
    // Pages of others may not listen; whoever has a capability was shown the page by us.
    if request.caller().has_origin()
        && check_origin(request.caller(), &own_host).is_err()
        && !canvas::is_scoped(&request)
    {
        return Err(Refused(Reply::text(403, "Forbidden")));
    }
    let watch = doors.ctx.canvas.as_ref().and_then(|canvas| canvas.watch.clone());
    let watch = watch.ok_or_else(|| Refused(Reply::text(404, "not found")))?;
    let answer = switching_protocols(&request.head)?;
    let outbox = outbox(doors, &link, ticket);
    // Before the answer: whatever changes once the page knows that somebody listens is told.
    let subscription = watch.subscribe(outbox.clone()).ok_or_else(too_many)?;
    if !ticket.upgrade() {
        return Err(too_many());
    }
    ticket.authenticated();
    drop(request);
    link.attach(&outbox);
    outbox.raw_direct(answer.into_bytes(), None);
    let bounds = Limits { message_bytes: limits::LIVE_RELOAD_MESSAGE_BYTES, fragments: limits::MAX_FRAGMENTS };
    let mut reader = Reader::new(link, early, outbox.clone(), doors.incoming.clone(), bounds);
    reader.set_patience(Patience::Each(limits::PING_AFTER));
    crate::sys::memory::release_stack();
    let farewell = listen(&mut reader, &outbox);
    // Its place is free now, not when the last bytes have left.
    drop(subscription);
    if farewell {
        reader.linger();
    }
    outbox.cut();
    Ok(())
}

fn outbox(doors: &Doors, link: &Link, ticket: &Ticket) -> Arc<Outbox> {
    let name = format!("reload-{}", ticket.id());
    let outbox = Outbox::new(name, link.wire(), doors.outgoing.clone(), limits::HTTP_UNSENT_BYTES);
    link.attach(&outbox);
    outbox
}

/// 401 before an upgrade has no body; 429 says when to come again.
fn without_body(reply: Reply) -> Refused {
    Refused(if reply.status() == 401 { Reply::empty(401) } else { reply })
}

/// Until the page is closed, says too much at once or answers no pings. True: it may still read our close frame.
fn listen(reader: &mut Reader, outbox: &Arc<Outbox>) -> bool {
    let mut silent = 0;
    loop {
        match reader.receive() {
            Next::Message(_) | Next::Alive => {
                silent = 0;
                reader.handled();
            }
            Next::Silence => {
                silent += 1;
                if silent >= limits::DEAD_AFTER_PERIODS {
                    return false;
                }
                if !outbox.ping() {
                    silent = 0;
                }
            }
            Next::Broken(close) => {
                outbox.close_now(&close);
                return true;
            }
            Next::Closed => return true,
            Next::Gone => return false,
        }
        if !outbox.is_open() {
            return false;
        }
    }
}
