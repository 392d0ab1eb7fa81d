//! One question to the network, and the answers of a few seconds. Runs on the thread that asks.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4, UdpSocket};
use std::time::{Duration, Instant};

use super::SERVICE;
use super::wire::{self, Data, PTR, Packet, Question, Record};
use crate::sys::host;

/// Gateways that are listed.
const MAX_BEACONS: usize = 64;
/// The question is asked again in this distance: packets get lost.
const ASK_AGAIN: Duration = Duration::from_millis(700);

/// A gateway that was heard of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Beacon {
    pub instance: String,
    pub host: Option<String>,
    pub port: Option<u16>,
    pub addresses: BTreeSet<Ipv4Addr>,
    pub txt: BTreeMap<String, String>,
}

/// Whoever answers until the time is over, by name.
pub fn browse(group: SocketAddrV4, timeout: Duration) -> io::Result<Vec<Beacon>> {
    let end = Instant::now() + timeout;
    let socket = UdpSocket::bind((if group.ip().is_loopback() { *group.ip() } else { Ipv4Addr::UNSPECIFIED }, 0))?;
    // The kernel's choice of network, and each other one.
    let others = host::interfaces().into_iter().filter_map(|i| match i.address {
        IpAddr::V4(ip) if !i.loopback && group.ip().is_multicast() => UdpSocket::bind((ip, 0)).ok(),
        _ => None,
    });
    let sockets: Vec<UdpSocket> = std::iter::once(socket).chain(others).take(8).collect();
    let name = wire::name(SERVICE);
    let question = Packet {
        id: 0,
        response: false,
        questions: vec![Question { name, kind: PTR, unicast: true }],
        records: Vec::new(),
    };
    let question = wire::print(&question);
    let mut heard = Vec::new();
    let mut ask_at = Instant::now();
    let mut buffer = vec![0; wire::PACKET_BYTES + 1];
    let slice = Duration::from_millis(20);
    for socket in &sockets {
        socket.set_read_timeout(Some(slice))?;
    }
    while Instant::now() < end {
        if Instant::now() >= ask_at {
            let sent = sockets.iter().filter(|socket| socket.send_to(&question, group).is_ok()).count();
            if sent == 0 {
                return Ok(Vec::new());
            }
            ask_at = Instant::now() + ASK_AGAIN;
        }
        for socket in &sockets {
            while let Ok((n, _)) = socket.recv_from(&mut buffer) {
                if let Some(packet) = wire::parse(&buffer[..n]).filter(|packet| packet.response) {
                    merge(&mut heard, packet.records);
                }
                if Instant::now() >= end {
                    break;
                }
            }
        }
    }
    Ok(heard)
}

/// Puts what an answer says to what is known; a goodbye takes an instance away.
fn merge(heard: &mut Vec<Beacon>, records: Vec<Record>) {
    let service = wire::name(SERVICE);
    let instance_of = |name: &[String]| {
        let (first, rest) = name.split_first()?;
        wire::same(rest, &service).then(|| first.clone())
    };
    for record in &records {
        let Data::Ptr(target) = &record.data else { continue };
        let Some(instance) = instance_of(target).filter(|_| wire::same(&record.name, &service)) else { continue };
        if record.ttl == 0 {
            heard.retain(|beacon| beacon.instance != instance);
        } else if heard.len() < MAX_BEACONS && !heard.iter().any(|beacon| beacon.instance == instance) {
            heard.push(Beacon { instance, ..Beacon::default() });
        }
    }
    for record in &records {
        let Some(instance) = instance_of(&record.name) else { continue };
        let Some(beacon) = heard.iter_mut().find(|beacon| beacon.instance == instance) else { continue };
        match &record.data {
            Data::Srv { port, host } => {
                beacon.port = Some(*port);
                beacon.host = Some(host.join("."));
            }
            Data::Txt(texts) => {
                let pairs = texts.iter().filter_map(|text| text.split_once('='));
                beacon.txt = pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
            }
            _ => {}
        }
    }
    for record in &records {
        let Data::A(ip) = record.data else { continue };
        let name = record.name.join(".");
        let of_host = |beacon: &&mut Beacon| beacon.host.as_ref().is_some_and(|host| host.eq_ignore_ascii_case(&name));
        for beacon in heard.iter_mut().filter(of_host).filter(|beacon| beacon.addresses.len() < 8) {
            beacon.addresses.insert(ip);
        }
    }
    heard.sort_by(|a, b| a.instance.cmp(&b.instance));
}
