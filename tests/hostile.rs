//! Bad days at the doors: peers that are slow, silent, greedy, malformed or many. The gateway stays up, its memory
//! bounded, and whoever behaves does not notice.

mod crowds;
mod exhaustion;
mod floods;
mod frames;
mod slow;

use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::common::client::Client;
use crate::common::raw::{KEY, Raw, upgrade_head};
use crate::common::{Gateway, Home, TOKEN, patience, wait_for};

fn gateway(home: &Home) -> Gateway {
    home.configure(json!({}));
    Gateway::start(home, &[])
}

/// The longest that anything quick may take on a busy machine.
fn quick() -> Duration {
    patience() / 10
}

/// `/health` and a WebSocket connect with a call, each within `quick`.
fn assert_serves(gateway: &Gateway) {
    let started = Instant::now();
    assert_eq!(gateway.get("/health").0, 200);
    let health = started.elapsed();
    Client::connect(gateway.port).call("health", json!({}));
    assert!(started.elapsed() < quick(), "/health took {health:?}, all of it {:?}", started.elapsed());
}

/// Resident kilobytes.
fn rss(gateway: &Gateway) -> u64 {
    gateway.proc_status("VmRSS")
}

/// A connected client whose kernel takes little in advance: it stops the sender soon.
fn narrow(port: u16) -> Raw {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    socket.set_recv_buffer_size(32 * 1024).expect("a small buffer");
    let address: SocketAddr = ([127, 0, 0, 1], port).into();
    socket.connect(&address.into()).expect("the gateway accepts");
    let mut raw = Raw::on(TcpStream::from(socket));
    raw.send(upgrade_head("GET / HTTP/1.1", "13", KEY).as_bytes());
    assert_eq!(raw.try_answer(false).expect("an answer").status, 101);
    let connect = json!({"type": "req", "id": "c", "method": "connect", "params": {
        "minProtocol": 3, "maxProtocol": 3, "role": "operator", "scopes": ["operator.admin"],
        "client": {"id": "test", "version": "1", "platform": "linux", "mode": "test"},
        "auth": {"token": TOKEN},
    }});
    raw.send_text(&connect.to_string());
    raw.read_until(b"hello-ok");
    raw
}

/// Waits until a value has not changed for a while, and gives it.
fn settled<T: PartialEq + Copy>(what: &str, mut value: impl FnMut() -> T) -> T {
    let (mut last, mut since) = (value(), Instant::now());
    wait_for(what, || {
        let now = value();
        if now != last {
            (last, since) = (now, Instant::now());
        }
        (since.elapsed() > Duration::from_millis(300)).then_some(last)
    })
}

/// Wraps a command into a shell that sets limits for it first.
fn limited(command: &mut Command, limits: &str) {
    let mut shell = Command::new("/bin/sh");
    shell.arg("-c").arg(format!("{limits} && exec \"$0\" \"$@\"")).arg(command.get_program()).args(command.get_args());
    shell.env_clear().envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    shell.stdin(Stdio::null());
    *command = shell;
}
