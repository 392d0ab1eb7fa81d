//! What is said about this gateway, and what others may not say at the same time. Pure.

use std::net::IpAddr;

use super::links::Link;
use super::wire::{self, ANY, Data, Name, Packet, Question, Record};
use super::{Facts, SERVICE};

/// What a name and an address are good for, in seconds (RFC 6762 10).
const LONG_TTL: u32 = 4500;
const HOST_TTL: u32 = 120;
const ALL_SERVICES: &str = "_services._dns-sd._udp.local";
/// The name of a machine with a gateway; whoever comes second in a network adds a number.
const HOST: &str = "openclaw";
/// Room for ` (OpenClaw)` and a number behind the name of a machine.
const SHOWN_BYTES: usize = wire::LABEL_BYTES - 24;

/// The two names that must be ours alone, and how often each had to give way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Names {
    pub instance: u32,
    pub host: u32,
}

impl Names {
    /// What people see: `pi (OpenClaw)`, `pi (OpenClaw) (2)`.
    pub fn instance(self, facts: &Facts) -> String {
        let number = if self.instance == 0 { String::new() } else { format!(" ({})", self.instance + 1) };
        format!("{} (OpenClaw){number}", shown(facts))
    }

    /// `openclaw`, `openclaw-2`.
    pub fn host(self) -> String {
        if self.host == 0 { HOST.to_owned() } else { format!("{HOST}-{}", self.host + 1) }
    }

    fn instance_name(self, facts: &Facts) -> Name {
        [vec![self.instance(facts)], wire::name(SERVICE)].concat()
    }

    fn host_name(self) -> Name {
        vec![self.host(), "local".into()]
    }
}

/// Which of the names somebody else has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    pub instance: bool,
    pub host: bool,
}

impl Taken {
    pub fn any(self) -> bool {
        self.instance || self.host
    }
}

/// Everything that is said in a link.
pub fn records(facts: &Facts, names: Names, addresses: &[(IpAddr, u8)]) -> Vec<Record> {
    let (service, instance, host) = (wire::name(SERVICE), names.instance_name(facts), names.host_name());
    let mut txt = vec![
        "role=gateway".to_owned(),
        "transport=gateway".to_owned(),
        format!("gatewayPort={}", facts.port),
        format!("displayName={}", shown(facts)),
        format!("lanHost={}.local", names.host()),
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
    out.extend(addresses.iter().map(|(address, _)| {
        let data = match address {
            IpAddr::V4(ip) => Data::A(*ip),
            IpAddr::V6(ip) => Data::Aaaa(*ip),
        };
        record(&host, HOST_TTL, data)
    }));
    out
}

/// All that may be said under our names, in whichever link: what comes back from there is no stranger's.
pub fn own(facts: &Facts, names: Names, links: &[Link]) -> Vec<Record> {
    let addresses: Vec<(IpAddr, u8)> = links.iter().flat_map(|link| link.addresses.iter().copied()).collect();
    records(facts, names, &addresses)
}

/// Asks whether somebody has one of the names, and says what we would say under them (RFC 6762 8.1).
pub fn probe(facts: &Facts, names: Names, own: &[Record]) -> Packet {
    let ask = |name| Question { name, kind: ANY, unicast: true };
    Packet {
        questions: vec![ask(names.instance_name(facts)), ask(names.host_name())],
        authority: own.iter().filter(|record| !matches!(record.data, Data::Ptr(_))).cloned().collect(),
        ..Packet::default()
    }
}

/// Whether somebody says something else under one of the names (RFC 6762 9). A goodbye claims nothing.
pub fn taken(facts: &Facts, names: Names, own: &[Record], said: &[Record]) -> Taken {
    let strange = |name: &Name| {
        let claims = said.iter().filter(|record| record.ttl > 0 && wire::same(&record.name, name));
        claims
            .into_iter()
            .any(|theirs| !own.iter().any(|ours| ours.data == theirs.data && wire::same(&ours.name, name)))
    };
    Taken { instance: strange(&names.instance_name(facts)), host: strange(&names.host_name()) }
}

/// Whether somebody who asks for one of the names at the same moment goes first (RFC 6762 8.2): whose records are
/// the greater ones, by kind and bytes, has it.
pub fn goes_first(facts: &Facts, names: Names, own: &[Record], theirs: &[Record]) -> bool {
    [names.instance_name(facts), names.host_name()].iter().any(|name| {
        let claims = |records: &[Record]| {
            let of_name = records.iter().filter(|record| wire::same(&record.name, name));
            let mut claims: Vec<_> = of_name.map(|record| (record.data.kind(), record.data.bytes())).collect();
            claims.sort();
            claims
        };
        let theirs = claims(theirs);
        !theirs.is_empty() && theirs > claims(own)
    })
}

/// Whether one of the records is asked for and not known to who asks (RFC 6762 7.1).
pub fn is_asked(packet: &Packet, records: &[Record]) -> bool {
    records.iter().any(|record| {
        let kind = record.data.kind();
        let asked = |q: &Question| (q.kind == ANY || q.kind == kind) && wire::same(&q.name, &record.name);
        let known = |k: &Record| k.data == record.data && k.ttl >= record.ttl / 2 && wire::same(&k.name, &record.name);
        packet.questions.iter().any(asked) && !packet.records.iter().any(known)
    })
}

/// The machine as people know it.
fn shown(facts: &Facts) -> String {
    let label = wire::label(facts.host.split('.').next().unwrap_or_default(), SHOWN_BYTES);
    if label.is_empty() { HOST.to_owned() } else { label }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::discovery::wire::{A, PTR, SRV};

    fn facts() -> Facts {
        Facts {
            host: "pi.lan".into(),
            port: 19001,
            tls: Some("ab12".into()),
            tailnet: None,
            program: Some("/usr/bin/openclaw".into()),
        }
    }

    const ADDRESS: [(IpAddr, u8); 1] = [(IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 5)), 24)];

    fn srv(name: Name, port: u16) -> Record {
        Record { name, ttl: 120, data: Data::Srv { port, host: wire::name("openclaw.local") } }
    }

    #[test]
    fn what_is_told_in_each_mode() {
        let text = |facts: &Facts, names| format!("{:?}", records(facts, names, &ADDRESS));
        let full = text(&facts(), Names::default());
        for part in [
            "\"pi (OpenClaw)\"",
            "gatewayPort=19001",
            "displayName=pi\"",
            "lanHost=openclaw.local",
            "cliPath=/usr/bin/openclaw",
            "gatewayTls=1",
            "gatewayTlsSha256=ab12",
            "10.0.0.5",
        ] {
            assert!(full.contains(part), "{part}: {full}");
        }
        let minimal = text(&Facts { program: None, ..facts() }, Names::default());
        assert!(!minimal.contains("cliPath") && !minimal.contains("sshPort"), "{minimal}");
        let second = text(&facts(), Names { instance: 1, host: 2 });
        for part in ["\"pi (OpenClaw) (2)\"", "lanHost=openclaw-3.local", "displayName=pi\""] {
            assert!(second.contains(part), "{part}: {second}");
        }
        let long = Facts { host: "ä".repeat(80), ..facts() };
        assert!(Names { instance: 99, host: 0 }.instance(&long).ends_with(" (100)"), "the number is never cut off");
        assert_eq!(Names::default().instance(&Facts { host: String::new(), ..facts() }), "openclaw (OpenClaw)");
    }

    #[test]
    fn a_name_is_taken_by_who_says_something_else_under_it() {
        let names = Names::default();
        let own = records(&facts(), names, &ADDRESS);
        let check = |said: &[Record]| taken(&facts(), names, &own, said);
        assert!(!check(&own).any(), "our own words");
        let instance = || names.instance_name(&facts());
        assert_eq!(check(&[srv(instance(), 1)]), Taken { instance: true, host: false });
        assert!(!check(&[Record { ttl: 0, ..srv(instance(), 1) }]).any(), "a goodbye");
        assert!(!check(&[srv(wire::name("x.local"), 1)]).any());
        let host = Record { name: wire::name("OPENCLAW.local"), ttl: 9, data: Data::A([10, 0, 0, 6].into()) };
        assert_eq!(check(&[host]), Taken { instance: false, host: true });
    }

    #[test]
    fn of_two_who_ask_at_once_one_goes_first() {
        let names = Names::default();
        let own = records(&facts(), names, &ADDRESS);
        let ours = probe(&facts(), names, &own).authority;
        let other = Facts { port: 19002, ..facts() };
        let theirs = probe(&other, names, &records(&other, names, &ADDRESS)).authority;
        assert!(goes_first(&facts(), names, &own, &theirs));
        assert!(!goes_first(&other, names, &records(&other, names, &ADDRESS), &ours));
        assert!(!goes_first(&facts(), names, &own, &ours), "ourselves");
        assert!(!goes_first(&facts(), names, &own, &[]));
    }

    #[test]
    fn only_what_is_not_known_is_asked() {
        let own = records(&facts(), Names::default(), &ADDRESS);
        let ask = |name: &str, kind, known: Vec<Record>| {
            let questions = vec![Question { name: wire::name(name), kind, unicast: false }];
            is_asked(&Packet { questions, records: known, ..Packet::default() }, &own)
        };
        assert!(ask("_OPENCLAW-gw._tcp.local", PTR, vec![]) && ask("openclaw.local", ANY, vec![]));
        assert!(!ask(SERVICE, SRV, vec![]) && !ask("other.local", A, vec![]));
        assert!(!ask(SERVICE, PTR, own.clone()));
        let old = own.iter().map(|record| Record { ttl: record.ttl / 3, ..record.clone() }).collect();
        assert!(ask(SERVICE, PTR, old), "known, but not for long");
    }
}
