//! tar files as POSIX describes them (ustar, with a pax record for names and sizes that do not fit): files and
//! directories only. Runs where its reader or writer runs; touches no files by itself.

use std::io::{self, Read, Write};

use crate::limits;

const BLOCK: usize = 512;
/// Name, prefix and size as ustar has room for them.
const NAME: usize = 100;
const PREFIX: usize = 155;
const SIZE_MAX: u64 = 0o77_777_777_777;

/// What stands before the bytes of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Relative, `/` between its parts, not checked any further.
    pub name: String,
    pub directory: bool,
    pub bytes: u64,
    pub mode: u32,
    /// Seconds since 1970.
    pub modified: u64,
}

impl Member {
    /// The blocks before the content.
    pub fn head(&self) -> Vec<u8> {
        let name = if self.directory { format!("{}/", self.name) } else { self.name.clone() };
        let mut out = Vec::new();
        let place = split(&name);
        if place.is_none() || self.bytes > SIZE_MAX {
            let mut records = record("path", &name);
            if self.bytes > SIZE_MAX {
                records += &record("size", &self.bytes.to_string());
            }
            out.extend(block("", "pax", b'x', records.len() as u64, 0o600, self.modified));
            out.extend(records.as_bytes());
            out.resize(out.len().next_multiple_of(BLOCK), 0);
        }
        let (prefix, short) = place.unwrap_or(("", "long"));
        let kind = if self.directory { b'5' } else { b'0' };
        out.extend(block(prefix, short, kind, self.bytes.min(SIZE_MAX), self.mode, self.modified));
        out
    }
}

/// Zeros behind a content of this length.
pub fn padding(bytes: u64) -> usize {
    let rest = usize::try_from(bytes % BLOCK as u64).unwrap_or(0);
    if rest == 0 { 0 } else { BLOCK - rest }
}

/// The end of a tar file.
pub fn write_end(out: &mut impl Write) -> io::Result<()> {
    out.write_all(&[0; 2 * BLOCK])
}

/// Reads members one after the other; the content of each must be read to its end before the next.
pub struct Reader<R> {
    input: R,
    left: u64,
    padding: usize,
}

impl<R: Read> Reader<R> {
    pub fn new(input: R) -> Reader<R> {
        Reader { input, left: 0, padding: 0 }
    }

    /// The next member; None at the end.
    pub fn member(&mut self) -> io::Result<Option<Member>> {
        let mut long: Option<String> = None;
        let mut size: Option<u64> = None;
        loop {
            self.skip()?;
            let mut head = [0; BLOCK];
            self.input.read_exact(&mut head).map_err(cut)?;
            if head.iter().all(|byte| *byte == 0) {
                return Ok(None);
            }
            let head = Head::parse(&head)?;
            self.left = head.bytes;
            self.padding = padding(head.bytes);
            match head.kind {
                b'x' => {
                    for (key, value) in records(&self.text(limits::BACKUP_NAME_BYTES)?)? {
                        match key.as_str() {
                            "path" => long = Some(value),
                            "size" => size = Some(value.parse().map_err(|_| bad("a size is no number"))?),
                            _ => {}
                        }
                    }
                }
                b'0' | 0 | b'5' => {
                    if let Some(size) = size {
                        (self.left, self.padding) = (size, padding(size));
                    }
                    let directory = head.kind == b'5';
                    if directory && self.left != 0 {
                        return Err(bad("a directory has content"));
                    }
                    let name = long.unwrap_or(head.name);
                    let name = name.strip_suffix('/').filter(|_| directory).unwrap_or(&name).to_owned();
                    let (mode, modified) = (head.mode, head.modified);
                    return Ok(Some(Member { name, directory, bytes: self.left, mode, modified }));
                }
                _ => return Err(bad(&format!("{} is neither file nor directory", head.name.escape_debug()))),
            }
        }
    }

    /// What is left of the present content as text of at most this many bytes.
    pub fn text(&mut self, max: usize) -> io::Result<String> {
        if self.left > max as u64 {
            return Err(bad("a record is too long"));
        }
        let mut text = String::new();
        self.read_to_string(&mut text)?;
        Ok(text)
    }

    fn skip(&mut self) -> io::Result<()> {
        let rest = self.left + self.padding as u64;
        let skipped = io::copy(&mut (&mut self.input).take(rest), &mut io::sink())?;
        (self.left, self.padding) = (0, 0);
        if skipped == rest { Ok(()) } else { Err(cut(io::ErrorKind::UnexpectedEof.into())) }
    }
}

impl<R: Read> Read for Reader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = (&mut self.input).take(self.left).read(buffer)?;
        if read == 0 && self.left > 0 && !buffer.is_empty() {
            return Err(cut(io::ErrorKind::UnexpectedEof.into()));
        }
        self.left -= read as u64;
        Ok(read)
    }
}

struct Head {
    name: String,
    kind: u8,
    bytes: u64,
    mode: u32,
    modified: u64,
}

impl Head {
    fn parse(head: &[u8; BLOCK]) -> io::Result<Head> {
        let sum: u64 = sum(head);
        if &head[257..262] != b"ustar" || number(&head[148..156])? != sum {
            return Err(bad("it is not a tar file, or it is damaged"));
        }
        let (name, prefix) = (text(&head[..NAME])?, text(&head[345..345 + PREFIX])?);
        Ok(Head {
            name: if prefix.is_empty() { name } else { format!("{prefix}/{name}") },
            kind: head[156],
            bytes: number(&head[124..136])?,
            mode: number(&head[100..108])? as u32 & 0o7777,
            modified: number(&head[136..148])?,
        })
    }
}

/// Prefix and name; None when they have no room.
fn split(name: &str) -> Option<(&str, &str)> {
    if name.len() <= NAME {
        return Some(("", name));
    }
    let mut at = name.char_indices().rev().filter(|(at, c)| *c == '/' && *at <= PREFIX).map(|(at, _)| at);
    let fits = |at: &usize| name.len() - at - 1 <= NAME && *at + 1 < name.len();
    at.find(fits).map(|at| (&name[..at], &name[at + 1..]))
}

fn block(prefix: &str, name: &str, kind: u8, bytes: u64, mode: u32, modified: u64) -> [u8; BLOCK] {
    let mut head = [0; BLOCK];
    let mut put = |at: usize, text: &str| head[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(0, name);
    put(100, &format!("{mode:07o}"));
    put(108, "0000000");
    put(116, "0000000");
    put(124, &format!("{bytes:011o}"));
    put(136, &format!("{:011o}", modified.min(SIZE_MAX)));
    put(148, "        ");
    put(257, "ustar");
    put(263, "00");
    put(345, prefix);
    head[156] = kind;
    let sum = format!("{:06o}\0 ", sum(&head));
    head[148..156].copy_from_slice(sum.as_bytes());
    head
}

/// The sum of all bytes, the field of the sum counted as blanks.
fn sum(head: &[u8; BLOCK]) -> u64 {
    let all: u64 = head.iter().map(|byte| u64::from(*byte)).sum();
    let field: u64 = head[148..156].iter().map(|byte| u64::from(*byte)).sum();
    all - field + 8 * u64::from(b' ')
}

/// `<length> key=value\n`, where the length counts itself.
fn record(key: &str, value: &str) -> String {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    format!("{length} {key}={value}\n")
}

fn records(mut text: &str) -> io::Result<Vec<(String, String)>> {
    let wrong = || bad("a record is damaged");
    let mut found = Vec::new();
    while !text.is_empty() {
        let (length, _) = text.split_once(' ').ok_or_else(wrong)?;
        let end: usize = length.parse().map_err(|_| wrong())?;
        let line = text.get(length.len() + 1..end).and_then(|line| line.strip_suffix('\n')).ok_or_else(wrong)?;
        let (key, value) = line.split_once('=').ok_or_else(wrong)?;
        found.push((key.to_owned(), value.to_owned()));
        text = &text[end..];
    }
    Ok(found)
}

fn number(field: &[u8]) -> io::Result<u64> {
    let text = text(field)?;
    let digits = text.trim_matches(' ');
    if digits.is_empty() {
        return Ok(0);
    }
    u64::from_str_radix(digits, 8).map_err(|_| bad("a number in it cannot be read"))
}

fn text(field: &[u8]) -> io::Result<String> {
    let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
    String::from_utf8(field[..end].to_vec()).map_err(|_| bad("a name in it is not UTF-8"))
}

fn bad(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

fn cut(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => bad("it ends too early"),
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::testing::Random;

    fn member(name: &str, bytes: u64) -> Member {
        Member { name: name.into(), directory: false, bytes, mode: 0o600, modified: 1_795_204_203 }
    }

    fn archive(members: &[(Member, &[u8])]) -> Vec<u8> {
        let mut out = Vec::new();
        for (member, content) in members {
            out.extend(member.head());
            out.extend(*content);
            out.extend(vec![0; padding(member.bytes)]);
        }
        write_end(&mut out).unwrap();
        out
    }

    fn read_all(bytes: &[u8]) -> io::Result<Vec<(Member, Vec<u8>)>> {
        let mut reader = Reader::new(bytes);
        let mut found = Vec::new();
        while let Some(member) = reader.member()? {
            let mut content = Vec::new();
            reader.read_to_end(&mut content)?;
            found.push((member, content));
        }
        Ok(found)
    }

    #[test]
    fn what_is_written_is_read() {
        let long = format!("state/{}", "é".repeat(300));
        let splits = format!("state/{}/{}", "a".repeat(120), "b".repeat(90));
        let directory = Member { directory: true, ..member("state/empty", 0) };
        let all: Vec<(Member, &[u8])> = vec![
            (member("state/a", 3), b"abc"),
            (directory, b""),
            (member(&long, 512), &[7; 512]),
            (member(&splits, 0), b""),
            (member("state/b", 513), &[1; 513]),
        ];
        let bytes = archive(&all);
        assert_eq!(bytes.len() % BLOCK, 0);
        let read = read_all(&bytes).unwrap();
        assert_eq!(read.len(), all.len());
        for ((member, content), (known, wanted)) in read.iter().zip(&all) {
            assert_eq!((member, content.as_slice()), (known, *wanted));
        }
    }

    #[test]
    fn the_length_of_a_record_counts_itself() {
        for (value, line) in [("x", "9 path=x\n"), ("xx", "11 path=xx\n"), ("", "8 path=\n")] {
            assert_eq!(record("path", value), line);
            assert_eq!(records(line).unwrap(), [("path".to_owned(), value.to_owned())]);
        }
        for wrong in ["9", "99 path=x\n", "3 é", "0 =\n", "x path=y\n"] {
            assert!(records(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn links_and_devices_are_refused() {
        for kind in [b'1', b'2', b'3', b'4', b'6', b'L', b'g'] {
            let mut bytes = block("", "state/link", kind, 0, 0o777, 0).to_vec();
            write_end(&mut bytes).unwrap();
            assert!(read_all(&bytes).is_err(), "{}", kind as char);
        }
    }

    #[test]
    fn hostile_bytes_never_panic() {
        let good = archive(&[(member("state/a", 700), &[3; 700]), (member(&"n/".repeat(200), 1), b"x")]);
        let mut random = Random(11);
        for _ in 0..3000 {
            let _ = read_all(&random.mutated(&good));
        }
        for end in (0..good.len() - 2 * BLOCK).step_by(97) {
            assert!(read_all(&good[..end]).is_err(), "{end}");
        }
    }
}
