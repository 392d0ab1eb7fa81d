//! One question to the network, and the answers of a few seconds. Runs on the thread that asks.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use super::SERVICE;
use super::links::Links;
use super::wire::{self, ANY, Data, PTR, Packet, Question, Record};
use crate::sys::poll::{self, WakePipe};

/// Gateways that are listed.
const MAX_BEACONS: usize = 64;
/// Addresses of one of them.
const MAX_ADDRESSES: usize = 8;
/// The question is asked again in this distance: packets get lost.
const ASK_AGAIN: Duration = Duration::from_millis(700);
/// What an answer left out is asked for sooner.
const ASK_MORE: Duration = Duration::from_millis(150);
/// Questions in one packet.
const QUESTIONS: usize = 16;

/// A gateway that was heard of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Beacon {
    pub instance: String,
    pub host: Option<String>,
    pub port: Option<u16>,
    pub addresses: BTreeSet<IpAddr>,
    pub txt: BTreeMap<String, String>,
}

/// Whoever answers until the time is over, by name. Without a network at once nobody.
pub fn browse(groups: &[SocketAddr], timeout: Duration) -> io::Result<Vec<Beacon>> {
    let end = Instant::now() + timeout;
    let links = Links::ask(groups)?;
    let wake = WakePipe::new()?;
    let sockets: Vec<&UdpSocket> = links.sockets().collect();
    let mut heard = Vec::new();
    let mut ask_at = Instant::now();
    let mut buffer = vec![0; wire::PACKET_BYTES + 1];
    loop {
        let now = Instant::now();
        if now >= end {
            return Ok(heard);
        }
        if now >= ask_at {
            let question = wire::print(&Packet { questions: questions(&heard), ..Packet::default() });
            if links.all.iter().filter(|link| links.say(link, &question)).count() == 0 {
                return Ok(heard);
            }
            ask_at = now + if questions(&heard).len() > 1 { ASK_MORE } else { ASK_AGAIN };
        }
        poll::wait_sockets(&sockets, &wake, Some(end.min(ask_at).saturating_duration_since(now)))?;
        let (before, mut limit) = (questions(&heard).len(), 256);
        while let Some((n, _, _)) = links.hear(&mut buffer, &mut limit) {
            if let Some(packet) = wire::parse(&buffer[..n]).filter(|packet| packet.response) {
                merge(&mut heard, packet.records);
            }
        }
        if questions(&heard).len() > before {
            ask_at = ask_at.min(Instant::now() + ASK_MORE);
        }
    }
}

/// Who is there, and what those have not told yet of whom we know the name.
fn questions(heard: &[Beacon]) -> Vec<Question> {
    let ask = |name, kind| Question { name, kind, unicast: true };
    let missing = heard.iter().filter_map(|beacon| match &beacon.host {
        None => Some([vec![beacon.instance.clone()], wire::name(SERVICE)].concat()),
        Some(host) if beacon.addresses.is_empty() => Some(wire::name(host)),
        Some(_) => None,
    });
    let missing = missing.map(|name| ask(name, ANY)).take(QUESTIONS - 1);
    std::iter::once(ask(wire::name(SERVICE), PTR)).chain(missing).collect()
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
    for record in records.iter().filter(|record| record.ttl > 0) {
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
    for record in records.iter().filter(|record| record.ttl > 0) {
        let address = match record.data {
            Data::A(ip) => IpAddr::V4(ip),
            Data::Aaaa(ip) => IpAddr::V6(ip),
            _ => continue,
        };
        let name = record.name.join(".");
        let of_host = |beacon: &&mut Beacon| beacon.host.as_ref().is_some_and(|host| host.eq_ignore_ascii_case(&name));
        for beacon in heard.iter_mut().filter(of_host).filter(|beacon| beacon.addresses.len() < MAX_ADDRESSES) {
            beacon.addresses.insert(address);
        }
    }
    heard.sort_by(|a, b| a.instance.cmp(&b.instance));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::testing::Random;

    fn record(name: &str, data: Data) -> Record {
        Record { name: wire::name(name), ttl: 120, data }
    }

    fn in_pieces() -> Vec<Vec<Record>> {
        let instance = "pi._openclaw-gw._tcp.local";
        vec![
            vec![record(SERVICE, Data::Ptr(wire::name(instance)))],
            vec![
                record(instance, Data::Srv { port: 18789, host: wire::name("openclaw.local") }),
                record(instance, Data::Txt(vec!["role=gateway".into(), "junk".into()])),
            ],
            vec![
                record("OpenClaw.local", Data::A([10, 0, 0, 5].into())),
                record("openclaw.local", Data::Aaaa("fe80::5".parse().unwrap())),
                record("other.local", Data::A([10, 0, 0, 6].into())),
            ],
        ]
    }

    #[test]
    fn what_is_told_in_pieces_is_asked_for_in_pieces() {
        let mut heard = Vec::new();
        let mut asked = Vec::new();
        for piece in in_pieces() {
            asked.push(questions(&heard).last().map(|q| (q.name.join("."), q.kind)).unwrap());
            merge(&mut heard, piece);
        }
        assert_eq!(
            asked,
            [
                (SERVICE.to_owned(), PTR),
                ("pi._openclaw-gw._tcp.local".to_owned(), ANY),
                ("openclaw.local".to_owned(), ANY)
            ]
        );
        assert_eq!(questions(&heard).len(), 1, "nothing is missing");
        let addresses: Vec<String> = heard[0].addresses.iter().map(ToString::to_string).collect();
        assert_eq!((heard[0].port, addresses), (Some(18789), vec!["10.0.0.5".to_owned(), "fe80::5".into()]));
        assert_eq!(heard[0].txt.len(), 1);
        merge(&mut heard, vec![Record { ttl: 0, ..in_pieces()[0][0].clone() }]);
        assert_eq!(heard, []);
    }

    #[test]
    fn whatever_is_said_the_list_is_bounded() {
        let mut heard = Vec::new();
        for n in 0..200u8 {
            let name = format!("x{n}._openclaw-gw._tcp.local");
            let mut records = vec![record(SERVICE, Data::Ptr(wire::name(&name)))];
            records.push(record(&name, Data::Srv { port: 1, host: wire::name("a.local") }));
            records.extend((0..20).map(|m| record("a.local", Data::A([10, 0, n, m].into()))));
            merge(&mut heard, records);
        }
        assert_eq!(heard.len(), MAX_BEACONS);
        assert!(heard.iter().all(|beacon| beacon.addresses.len() <= MAX_ADDRESSES));
        assert!(questions(&heard).len() <= QUESTIONS);
        let mut random = Random(0x6762);
        let packets: Vec<Vec<u8>> = in_pieces()
            .into_iter()
            .map(|records| wire::print(&Packet { response: true, records, ..Packet::default() }))
            .collect();
        for n in 0..20_000 {
            if let Some(packet) = wire::parse(&random.mutated(&packets[n % packets.len()])) {
                merge(&mut heard, packet.records);
                assert!(heard.len() <= MAX_BEACONS && questions(&heard).len() <= QUESTIONS);
            }
        }
    }
}
