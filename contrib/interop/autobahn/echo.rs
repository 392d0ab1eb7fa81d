//! A WebSocket server that sends every message back, built from the gateway's own reader, outbox and wire: what the
//! Autobahn suite finds here is true of the gateway.
//!
//! `ws-echo --port N` listens on 127.0.0.1 until it is killed.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use openclaw::http::head;
use openclaw::hub::outbox::{Budget, Outbox};
use openclaw::limits;
use openclaw::server::link::Link;
use openclaw::server::reader::{InboundBudget, Next, Reader};
use openclaw::server::websocket::switching_protocols;
use openclaw::ws::encode;
use openclaw::ws::follow::Limits;
use tungstenite::Message;

fn main() {
    let port = std::env::args().skip_while(|a| a != "--port").nth(1).and_then(|p| p.parse().ok()).unwrap_or(9001);
    let listener = TcpListener::bind(("127.0.0.1", port)).expect("the port is free");
    for stream in listener.incoming().flatten() {
        std::thread::spawn(move || serve(Arc::new(stream)));
    }
}

fn serve(stream: Arc<TcpStream>) -> Option<()> {
    stream.set_nodelay(true).ok()?;
    stream.set_write_timeout(Some(limits::WRITE_STALL)).ok()?;
    let mut bytes = Vec::new();
    let (head, end) = loop {
        match head::parse(&bytes).ok()? {
            Some(found) => break found,
            None => {
                let mut piece = [0; 2048];
                let n = (&*stream).read(&mut piece).ok().filter(|&n| n > 0)?;
                bytes.extend_from_slice(&piece[..n]);
            }
        }
    };
    let answer = switching_protocols(&head).ok()?;
    (&*stream).write_all(answer.as_bytes()).ok()?;
    let link = Link::plain(stream);
    let outbox = Outbox::new("ws-echo".into(), link.wire(), Budget::new(1 << 30), 1 << 28);
    // Group 9 sends 4 MiB in fragments of 64 bytes, which no client of the gateway does.
    let generous = Limits { message_bytes: 64 << 20, fragments: 1 << 20 };
    let early = bytes.split_off(end);
    let mut reader = Reader::new(link, early, outbox.clone(), InboundBudget::new(1 << 30), generous);
    loop {
        match reader.receive() {
            Next::Message(Message::Text(text)) => outbox.send_direct(encode::OPCODE_TEXT, text.as_bytes().to_vec()),
            Next::Message(Message::Binary(bytes)) => outbox.send_direct(encode::OPCODE_BINARY, bytes.to_vec()),
            Next::Message(_) | Next::Alive => {}
            Next::Broken(close) => {
                outbox.close(&close);
                outbox.wait_sent(Instant::now() + Duration::from_secs(1));
                reader.linger();
                break;
            }
            Next::Silence | Next::Closed | Next::Gone => break,
        }
        reader.handled();
    }
    outbox.wait_sent(Instant::now() + Duration::from_secs(1));
    outbox.cut();
    Some(())
}
