//! Thread `mdns`: answers who looks for gateways, announces ours at the start and says goodbye at the end.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};

use super::wire::{self, ANY, Data, Name, Packet, Record};
use super::{Facts, SERVICE};
use crate::sys::host;
use crate::sys::poll::{self, WakePipe};

/// What a name and an address are good for, in seconds (RFC 6762 10).
const LONG_TTL: u32 = 4500;
const HOST_TTL: u32 = 120;
/// For those who ask without being part of the group (RFC 6762 6.7).
const LEGACY_TTL: u32 = 10;
/// The first announcement is said again after this.
const AGAIN: Duration = Duration::from_secs(1);
/// Answers in one second; who asks more often is not answered.
const ANSWERS_PER_SECOND: u32 = 50;
const ALL_SERVICES: &str = "_services._dns-sd._udp.local";
const DEFAULT_PORT: u16 = 18789;

/// Dropped, it says goodbye and ends its thread.
pub struct Announcement {
    wake: Arc<WakePipe>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Announcement {
    /// Err: the port of multicast DNS cannot be shared, or there is no network.
    pub fn start(facts: &Facts, group: SocketAddrV4) -> io::Result<Announcement> {
        let socket = open(group)?;
        let (wake, stop) = (Arc::new(WakePipe::new()?), Arc::new(AtomicBool::new(false)));
        let responder = Responder {
            socket,
            group,
            records: records(facts, &addresses(group)),
            wake: wake.clone(),
            stop: stop.clone(),
            answered: (Instant::now(), 0),
        };
        let thread = thread::Builder::new().name("mdns".into()).spawn(move || responder.run())?;
        Ok(Announcement { wake, stop, thread: Some(thread) })
    }
}

impl Drop for Announcement {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        self.wake.wake();
        // It waits for nothing but the pipe.
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Responder {
    socket: UdpSocket,
    group: SocketAddrV4,
    records: Vec<Record>,
    wake: Arc<WakePipe>,
    stop: Arc<AtomicBool>,
    /// Begin of the present second, and answers in it.
    answered: (Instant, u32),
}

impl Responder {
    fn run(mut self) {
        let mut buffer = vec![0; wire::PACKET_BYTES + 1];
        self.say(self.group.into(), 0, Vec::new(), self.records.clone());
        let mut again = Some(Instant::now() + AGAIN);
        while !self.stop.load(Ordering::Acquire) {
            let wait = again.map(|at| at.saturating_duration_since(Instant::now()));
            if poll::wait_socket(&self.socket, &self.wake, wait).is_err() {
                return;
            }
            if again.is_some_and(|at| at <= Instant::now()) {
                again = None;
                self.say(self.group.into(), 0, Vec::new(), self.records.clone());
            }
            // A bounded number: somebody who floods must not keep us from the end.
            for _ in 0..64 {
                let Ok((n, from)) = self.socket.recv_from(&mut buffer) else { break };
                self.hear(&buffer[..n], from);
            }
        }
        let gone = self.records.iter().map(|record| Record { ttl: 0, ..record.clone() }).collect();
        self.say(self.group.into(), 0, Vec::new(), gone);
    }

    fn hear(&mut self, bytes: &[u8], from: SocketAddr) {
        if !is_near(from.ip()) {
            return;
        }
        let Some(packet) = wire::parse(bytes).filter(|packet| !packet.response) else { return };
        let asked = |record: &Record| {
            packet
                .questions
                .iter()
                .any(|q| wire::same(&q.name, &record.name) && (q.kind == ANY || q.kind == record.data.kind()))
        };
        if !self.records.iter().any(asked) || !self.may_answer() {
            return;
        }
        // Whoever finds the service needs the rest at once.
        let all = self.records.clone();
        if from.port() == self.group.port() {
            let alone = packet.questions.iter().all(|question| question.unicast);
            self.say(if alone { from } else { self.group.into() }, 0, Vec::new(), all);
        } else {
            let capped = all.into_iter().map(|record| Record { ttl: record.ttl.min(LEGACY_TTL), ..record }).collect();
            self.say(from, packet.id, packet.questions, capped);
        }
    }

    fn may_answer(&mut self) -> bool {
        if self.answered.0.elapsed() >= Duration::from_secs(1) {
            self.answered = (Instant::now(), 0);
        }
        self.answered.1 += 1;
        self.answered.1 <= ANSWERS_PER_SECOND
    }

    /// A network that does not take it now will be asked again by those who look.
    fn say(&self, to: SocketAddr, id: u16, questions: Vec<wire::Question>, records: Vec<Record>) {
        let bytes = wire::print(&Packet { id, response: true, questions, records });
        let _ = self.socket.send_to(&bytes, to);
    }
}

/// The port is shared with the system's own responder.
fn open(group: SocketAddrV4) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_reuse_address(true)?;
    let ip = if group.ip().is_multicast() { Ipv4Addr::UNSPECIFIED } else { *group.ip() };
    socket.bind(&SocketAddrV4::new(ip, group.port()).into())?;
    if group.ip().is_multicast() {
        let joined = addresses(group).iter().filter(|own| socket.join_multicast_v4(group.ip(), own).is_ok()).count();
        if joined == 0 {
            socket.join_multicast_v4(group.ip(), &Ipv4Addr::UNSPECIFIED)?;
        }
        socket.set_multicast_ttl_v4(255)?;
    }
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// Ours in the network that the group is heard in.
fn addresses(group: SocketAddrV4) -> Vec<Ipv4Addr> {
    if group.ip().is_loopback() {
        return vec![*group.ip()];
    }
    let own = host::interfaces().into_iter().filter(|i| !i.loopback).filter_map(|i| match i.address {
        IpAddr::V4(ip) if !host::in_tailnet(ip) => Some(ip),
        _ => None,
    });
    own.take(4).collect()
}

/// Only the own network is answered: nobody else can be made a target of our answers.
fn is_near(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_loopback() || ip.is_private() || ip.is_link_local(),
        IpAddr::V6(_) => false,
    }
}

fn records(facts: &Facts, addresses: &[Ipv4Addr]) -> Vec<Record> {
    let service = wire::name(SERVICE);
    let host_label = wire::label(facts.host.split('.').next().unwrap_or("openclaw"));
    let host: Name = vec![host_label.clone(), "local".into()];
    let suffix =
        if facts.port == DEFAULT_PORT { " (OpenClaw)".to_owned() } else { format!(" (OpenClaw {})", facts.port) };
    let shown: String = host_label.chars().take(30).collect();
    let instance: Name = [vec![wire::label(&format!("{shown}{suffix}"))], service.clone()].concat();
    let mut txt = vec![
        "role=gateway".to_owned(),
        "transport=gateway".to_owned(),
        format!("gatewayPort={}", facts.port),
        format!("displayName={shown}"),
        format!("lanHost={host_label}.local"),
    ];
    if let Some(fingerprint) = &facts.tls {
        txt.extend(["gatewayTls=1".to_owned(), format!("gatewayTlsSha256={fingerprint}")]);
    }
    if let Some(program) = &facts.program {
        txt.push(format!("cliPath={program}"));
        txt.push("sshPort=22".into());
        txt.extend(facts.tailnet.map(|ip| format!("tailnetDns={ip}")));
    }
    let record = |name: &Name, ttl, data| Record { name: name.clone(), ttl, data };
    let mut out = vec![
        record(&wire::name(ALL_SERVICES), LONG_TTL, Data::Ptr(service.clone())),
        record(&service, LONG_TTL, Data::Ptr(instance.clone())),
        record(&instance, HOST_TTL, Data::Srv { port: facts.port, host: host.clone() }),
        record(&instance, LONG_TTL, Data::Txt(txt)),
    ];
    out.extend(addresses.iter().map(|ip| record(&host, HOST_TTL, Data::A(*ip))));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_in_each_mode() {
        let facts = Facts {
            host: "pi.lan".into(),
            port: 19001,
            tls: Some("ab12".into()),
            tailnet: None,
            program: Some("/usr/bin/openclaw".into()),
        };
        let text = |facts: &Facts| format!("{:?}", records(facts, &[Ipv4Addr::new(10, 0, 0, 5)]));
        let full = text(&facts);
        for part in [
            "pi (OpenClaw 19001)",
            "gatewayPort=19001",
            "lanHost=pi.local",
            "cliPath=/usr/bin/openclaw",
            "gatewayTls=1",
            "gatewayTlsSha256=ab12",
            "10.0.0.5",
        ] {
            assert!(full.contains(part), "{part}: {full}");
        }
        let minimal = text(&Facts { program: None, ..facts });
        assert!(!minimal.contains("cliPath") && !minimal.contains("sshPort"), "{minimal}");
        assert!(is_near([192, 168, 1, 2].into()) && !is_near([8, 8, 8, 8].into()));
    }
}
