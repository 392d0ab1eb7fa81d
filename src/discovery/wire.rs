//! Packets of multicast DNS (RFC 1035, 6762, 6763), as far as a service that is announced and looked for needs them.
//! Pure. Packets come from anybody in the network: every count, length and pointer is bounded.

use std::net::{Ipv4Addr, Ipv6Addr};

/// Larger packets are neither sent nor read.
pub const PACKET_BYTES: usize = 9000;
/// Questions and records of one packet that are looked at.
const MAX_QUESTIONS: usize = 32;
const MAX_RECORDS: usize = 128;
/// A name in all, and its parts (RFC 1035 3.1).
const NAME_BYTES: usize = 255;
pub const LABEL_BYTES: usize = 63;
const MAX_LABELS: usize = 32;
const TXT_ENTRIES: usize = 64;

pub const A: u16 = 1;
pub const PTR: u16 = 12;
pub const TXT: u16 = 16;
pub const AAAA: u16 = 28;
pub const SRV: u16 = 33;
pub const ANY: u16 = 255;
const IN: u16 = 1;
/// "This is all there is" on records, "answer to me alone" on questions.
const TOP_BIT: u16 = 0x8000;
const RESPONSE: u16 = 0x8400;

/// Labels from the left, without dots.
pub type Name = Vec<String>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    pub name: Name,
    pub kind: u16,
    /// The answer is wanted by the asker alone.
    pub unicast: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub name: Name,
    pub ttl: u32,
    pub data: Data,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Data {
    A(Ipv4Addr),
    Aaaa(Ipv6Addr),
    Ptr(Name),
    Srv { port: u16, host: Name },
    Txt(Vec<String>),
    Other(u16),
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Packet {
    pub id: u16,
    pub response: bool,
    pub questions: Vec<Question>,
    /// Answers, and what was added to them.
    pub records: Vec<Record>,
    /// What somebody who asks for a name wants to say under it (RFC 6762 8.2).
    pub authority: Vec<Record>,
}

impl Data {
    pub fn kind(&self) -> u16 {
        match self {
            Data::A(_) => A,
            Data::Aaaa(_) => AAAA,
            Data::Ptr(_) => PTR,
            Data::Srv { .. } => SRV,
            Data::Txt(_) => TXT,
            Data::Other(kind) => *kind,
        }
    }

    /// As it stands in a packet, names written out in full.
    pub fn bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Data::A(ip) => out.extend(ip.octets()),
            Data::Aaaa(ip) => out.extend(ip.octets()),
            Data::Ptr(name) => print_name(&mut out, name),
            Data::Srv { port, host } => {
                out.extend([0; 4]);
                put(&mut out, *port);
                print_name(&mut out, host);
            }
            Data::Txt(texts) => {
                for text in texts {
                    let bytes = &text.as_bytes()[..text.len().min(255)];
                    out.push(bytes.len() as u8);
                    out.extend(bytes);
                }
                if texts.is_empty() {
                    out.push(0);
                }
            }
            Data::Other(_) => {}
        }
        out
    }
}

/// `_a._tcp.local` → its labels.
pub fn name(text: &str) -> Name {
    text.split('.').filter(|label| !label.is_empty()).map(str::to_owned).collect()
}

/// Letters of names have no case.
pub fn same(a: &[String], b: &[String]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.eq_ignore_ascii_case(b))
}

/// What fits into so many bytes of a label, cut at a whole character.
pub fn label(text: &str, bytes: usize) -> String {
    let clean: String = text.chars().filter(|c| !c.is_control()).collect();
    let end = (0..=bytes.min(LABEL_BYTES).min(clean.len())).rev().find(|at| clean.is_char_boundary(*at));
    clean[..end.unwrap_or(0)].to_owned()
}

/// None: not a packet, or one that breaks a bound.
pub fn parse(bytes: &[u8]) -> Option<Packet> {
    if bytes.len() > PACKET_BYTES {
        return None;
    }
    let mut at = Cursor { bytes, pos: 0 };
    let (id, flags) = (at.u16()?, at.u16()?);
    let counts = [at.u16()?, at.u16()?, at.u16()?, at.u16()?].map(usize::from);
    let (questions, records) = (counts[0], counts[1] + counts[2] + counts[3]);
    if questions > MAX_QUESTIONS || records > MAX_RECORDS {
        return None;
    }
    let mut packet = Packet { id, response: flags & 0x8000 != 0, ..Packet::default() };
    for _ in 0..questions {
        let (name, kind, class) = (at.name()?, at.u16()?, at.u16()?);
        packet.questions.push(Question { name, kind, unicast: class & TOP_BIT != 0 });
    }
    for n in 0..records {
        let record = at.record()?;
        let is_authority = (counts[1]..counts[1] + counts[2]).contains(&n);
        if is_authority { packet.authority.push(record) } else { packet.records.push(record) }
    }
    Some(packet)
}

struct Cursor<'a> {
    bytes: &'a [u8],
    pos: usize,
}

impl Cursor<'_> {
    fn take(&mut self, n: usize) -> Option<&[u8]> {
        let end = self.pos.checked_add(n)?;
        let piece = self.bytes.get(self.pos..end)?;
        self.pos = end;
        Some(piece)
    }

    fn u16(&mut self) -> Option<u16> {
        self.take(2).map(|b| u16::from_be_bytes([b[0], b[1]]))
    }

    fn u32(&mut self) -> Option<u32> {
        self.take(4).map(|b| u32::from_be_bytes([b[0], b[1], b[2], b[3]]))
    }

    /// Pointers lead only backwards, so that none can make a circle.
    fn name(&mut self) -> Option<Name> {
        let (mut labels, mut total) = (Vec::new(), 0);
        let (mut pos, mut after) = (self.pos, None);
        loop {
            let length = usize::from(*self.bytes.get(pos)?);
            match length {
                0 => {
                    self.pos = after.unwrap_or(pos + 1);
                    return Some(labels);
                }
                1..=LABEL_BYTES => {
                    let text = self.bytes.get(pos + 1..pos + 1 + length)?;
                    labels.push(String::from_utf8_lossy(text).into_owned());
                    total += length + 1;
                    pos += 1 + length;
                }
                0xc0.. => {
                    let target = (length & 0x3f) << 8 | usize::from(*self.bytes.get(pos + 1)?);
                    after.get_or_insert(pos + 2);
                    if target >= pos {
                        return None;
                    }
                    total += 1;
                    pos = target;
                }
                _ => return None,
            }
            if total > NAME_BYTES || labels.len() > MAX_LABELS {
                return None;
            }
        }
    }

    fn record(&mut self) -> Option<Record> {
        let (name, kind, _class, ttl) = (self.name()?, self.u16()?, self.u16()?, self.u32()?);
        let length = usize::from(self.u16()?);
        let end = self.pos.checked_add(length).filter(|end| *end <= self.bytes.len())?;
        let data = match kind {
            A if length == 4 => {
                let b = self.take(4)?;
                Data::A(Ipv4Addr::new(b[0], b[1], b[2], b[3]))
            }
            AAAA if length == 16 => {
                let bytes: [u8; 16] = self.take(16)?.try_into().ok()?;
                Data::Aaaa(bytes.into())
            }
            PTR => Data::Ptr(self.name()?),
            SRV if length > 6 => {
                let _priority_and_weight = self.u32()?;
                Data::Srv { port: self.u16()?, host: self.name()? }
            }
            TXT => Data::Txt(texts(self.take(length)?)?),
            other => Data::Other(other),
        };
        // What a record says must lie in it.
        if self.pos > end {
            return None;
        }
        self.pos = end;
        Some(Record { name, ttl, data })
    }
}

fn texts(mut bytes: &[u8]) -> Option<Vec<String>> {
    let mut out = Vec::new();
    while let Some((&length, rest)) = bytes.split_first() {
        let text = rest.get(..usize::from(length))?;
        bytes = &rest[usize::from(length)..];
        if !text.is_empty() && out.len() < TXT_ENTRIES {
            out.push(String::from_utf8_lossy(text).into_owned());
        }
    }
    Some(out)
}

/// The bytes of a packet, names written out in full.
pub fn print(packet: &Packet) -> Vec<u8> {
    let mut out = Vec::with_capacity(512);
    let counts = [packet.questions.len(), packet.records.len(), packet.authority.len(), 0];
    put(&mut out, packet.id);
    put(&mut out, if packet.response { RESPONSE } else { 0 });
    counts.into_iter().for_each(|n| put(&mut out, n as u16));
    for question in &packet.questions {
        print_name(&mut out, &question.name);
        put(&mut out, question.kind);
        put(&mut out, IN | if question.unicast { TOP_BIT } else { 0 });
    }
    // Not for those who ask without being part of the group, whose questions are repeated to them.
    let alone = packet.response && packet.questions.is_empty();
    for record in packet.records.iter().chain(&packet.authority) {
        print_name(&mut out, &record.name);
        put(&mut out, record.data.kind());
        // Several machines answer for one service; all else is ours alone.
        put(&mut out, if alone && !matches!(record.data, Data::Ptr(_)) { IN | TOP_BIT } else { IN });
        out.extend(record.ttl.to_be_bytes());
        let data = record.data.bytes();
        put(&mut out, data.len() as u16);
        out.extend(data);
    }
    out
}

fn put(out: &mut Vec<u8>, number: u16) {
    out.extend(number.to_be_bytes());
}

fn print_name(out: &mut Vec<u8>, name: &[String]) {
    for part in name {
        let bytes = &part.as_bytes()[..part.len().min(LABEL_BYTES)];
        out.push(bytes.len() as u8);
        out.extend(bytes);
    }
    out.push(0);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::testing::Random;

    fn sample() -> Packet {
        Packet {
            id: 7,
            response: true,
            questions: vec![Question { name: name("_openclaw-gw._tcp.local"), kind: PTR, unicast: true }],
            records: vec![
                Record {
                    name: name("_openclaw-gw._tcp.local"),
                    ttl: 10,
                    data: Data::Ptr(vec!["Pi (x.y)".into(), "local".into()]),
                },
                Record { name: name("pi.local"), ttl: 120, data: Data::A(Ipv4Addr::new(10, 0, 0, 5)) },
                Record { name: name("pi.local"), ttl: 120, data: Data::Aaaa("fe80::5".parse().unwrap()) },
                Record { name: name("x.local"), ttl: 1, data: Data::Srv { port: 18789, host: name("pi.local") } },
                Record { name: name("x.local"), ttl: 1, data: Data::Txt(vec!["role=gateway".into()]) },
            ],
            authority: vec![Record { name: name("y.local"), ttl: 9, data: Data::A(Ipv4Addr::LOCALHOST) }],
        }
    }

    #[test]
    fn what_is_printed_is_read() {
        assert_eq!(parse(&print(&sample())), Some(sample()));
        assert!(same(&name("A.local"), &name("a.LOCAL")) && !same(&name("a"), &name("a.b")));
        assert_eq!((label(&"ä".repeat(60), 99).len(), label("a\näb", 2).len()), (62, 1));
    }

    #[test]
    fn hostile_packets_end() {
        let head = |questions: u16, rest: &[u8]| {
            let mut bytes = vec![0, 0, 0, 0];
            bytes.extend(questions.to_be_bytes());
            bytes.extend([0; 6]);
            bytes.extend(rest);
            bytes
        };
        for (what, bytes) in [
            ("empty", vec![]),
            ("a pointer to itself", head(1, &[0xc0, 12, 0, 12, 0, 1])),
            ("a pointer forward", head(1, &[0xc0, 20, 0, 12, 0, 1, 0, 0, 0, 0])),
            ("two pointers in a circle", head(1, &[1, b'a', 0xc0, 12, 0, 12, 0, 1])),
            ("a label beyond the end", head(1, &[63, b'a'])),
            ("a label of a reserved kind", head(1, &[0x80, 1, 0, 0, 1, 0, 1])),
            ("too many questions", head(0xffff, &[0, 0, 1, 0, 1])),
            ("too large", vec![0; PACKET_BYTES + 1]),
            ("a name without end", head(1, &[1, b'a'].repeat(200))),
        ] {
            assert_eq!(parse(&bytes), None, "{what}");
        }
    }

    #[test]
    fn mutated_packets_never_panic() {
        let mut random = Random(0x5353);
        let original = print(&sample());
        for _ in 0..20_000 {
            if let Some(packet) = parse(&random.mutated(&original)) {
                assert!(packet.records.len() + packet.authority.len() <= MAX_RECORDS);
                assert!(packet.questions.len() <= MAX_QUESTIONS);
            }
        }
    }
}
