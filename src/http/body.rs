//! Where a request body ends: Content-Length and chunked, decoded incrementally with limits (RFC 9112 section 7.1).

use super::Refusal;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// Bytes; 0 = no body.
    Length(u64),
    Chunked,
}

/// Longest chunk-size line with its extensions, and all trailer lines together.
const CHUNK_LINE_BYTES: usize = 1024;
const TRAILER_BYTES: usize = 4096;

#[derive(Debug, PartialEq, Eq)]
enum Stage {
    Data(u64),
    SizeLine,
    /// CR LF behind a chunk.
    ChunkEnd(u8),
    Trailer,
    Done,
}

/// Decodes one body. Feed it what was read; it says how much belonged to the body.
#[derive(Debug)]
pub struct Decoder {
    stage: Stage,
    chunked: bool,
    line: Vec<u8>,
    trailer: usize,
    left: u64,
}

impl Decoder {
    /// `max` bounds the decoded body: a longer one is refused with 413, an announced one at once.
    pub fn new(framing: Framing, max: u64) -> Result<Decoder, Refusal> {
        let (stage, chunked) = match framing {
            Framing::Length(0) => (Stage::Done, false),
            Framing::Length(n) if n > max => return Err(Refusal(413)),
            Framing::Length(n) => (Stage::Data(n), false),
            Framing::Chunked => (Stage::SizeLine, true),
        };
        Ok(Decoder { stage, chunked, line: Vec::new(), trailer: 0, left: max })
    }

    pub fn done(&self) -> bool {
        self.stage == Stage::Done
    }

    /// Takes bytes from the front of `bytes`, appends decoded ones to `out`; returns how many were taken.
    pub fn feed(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<usize, Refusal> {
        let mut at = 0;
        while at < bytes.len() && self.stage != Stage::Done {
            match self.stage {
                Stage::Data(left) => {
                    let n = left.min((bytes.len() - at) as u64) as usize;
                    out.extend_from_slice(&bytes[at..at + n]);
                    at += n;
                    self.stage = match (left - n as u64, self.chunked) {
                        (0, true) => Stage::ChunkEnd(b'\r'),
                        (0, false) => Stage::Done,
                        (rest, _) => Stage::Data(rest),
                    };
                }
                Stage::ChunkEnd(want) => {
                    if bytes[at] != want {
                        return Err(Refusal(400));
                    }
                    at += 1;
                    self.stage = if want == b'\r' { Stage::ChunkEnd(b'\n') } else { Stage::SizeLine };
                }
                Stage::SizeLine | Stage::Trailer => {
                    let byte = bytes[at];
                    at += 1;
                    self.line.push(byte);
                    if byte == b'\n' {
                        self.end_of_line()?;
                    } else if self.line.len() > CHUNK_LINE_BYTES {
                        return Err(Refusal(if self.stage == Stage::Trailer { 431 } else { 413 }));
                    }
                }
                Stage::Done => {}
            }
        }
        Ok(at)
    }

    fn end_of_line(&mut self) -> Result<(), Refusal> {
        let line = std::mem::take(&mut self.line);
        // A lone CR ends a line for some readers.
        let line = line.strip_suffix(b"\r\n").filter(|line| !line.contains(&b'\r')).ok_or(Refusal(400))?;
        if self.stage == Stage::Trailer {
            self.trailer += line.len() + 2;
            if self.trailer > TRAILER_BYTES {
                return Err(Refusal(431));
            }
            if line.is_empty() {
                self.stage = Stage::Done;
            }
            return Ok(());
        }
        let digits = line.split(|&b| b == b';').next().unwrap_or(line);
        let blanks = digits.iter().rev().take_while(|b| matches!(b, b' ' | b'\t')).count();
        let digits = &digits[..digits.len() - blanks];
        if digits.is_empty() || digits.len() > 16 || !digits.iter().all(u8::is_ascii_hexdigit) {
            return Err(Refusal(400));
        }
        let text = std::str::from_utf8(digits).map_err(|_| Refusal(400))?;
        let size = u64::from_str_radix(text, 16).map_err(|_| Refusal(400))?;
        if size > self.left {
            return Err(Refusal(413));
        }
        self.left -= size;
        self.stage = if size == 0 { Stage::Trailer } else { Stage::Data(size) };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(framing: Framing, max: u64, bytes: &[u8], chunk: usize) -> Result<(Vec<u8>, usize, bool), u16> {
        let mut decoder = Decoder::new(framing, max).map_err(|r| r.0)?;
        let (mut out, mut at) = (Vec::new(), 0);
        while at < bytes.len() && !decoder.done() {
            let end = (at + chunk).min(bytes.len());
            at += decoder.feed(&bytes[at..end], &mut out).map_err(|r| r.0)?;
        }
        Ok((out, at, decoder.done()))
    }

    #[test]
    fn bodies() {
        let chunked = |text: &str, want: Result<(&str, usize), u16>| {
            for chunk in 1..=text.len() {
                let got = decode(Framing::Chunked, 20, text.as_bytes(), chunk);
                match &want {
                    Ok((body, taken)) => {
                        assert_eq!(got, Ok((body.as_bytes().to_vec(), *taken, true)), "{text:?} {chunk}")
                    }
                    Err(status) => assert_eq!(got, Err(*status), "{text:?} {chunk}"),
                }
            }
        };
        chunked("3\r\nabc\r\n0\r\n\r\nNEXT", Ok(("abc", 13)));
        chunked("3;x=y\r\nabc\r\nA\r\n0123456789\r\n0\r\nT: u\r\n\r\n", Ok(("abc0123456789", 38)));
        for bad in [
            "\r\n",
            "g\r\n",
            "-1\r\n",
            "0x3\r\n",
            "3\nabc",
            "3\r\nabcd\r\n",
            "3\r\nabc\n\n",
            "11111111111111111\r\n",
            " 3\r\n",
            "3\r;x\r\n",
            "3\x0c\r\nabc\r\n",
            "3;x\ry\r\n",
            "3;x\ny\r\n",
            "0\r\nT: u\rv\r\n",
            "0\r\nT: u\n",
        ] {
            chunked(bad, Err(400));
        }
        chunked("15\r\n", Err(413));
        chunked(&format!("3;{}\r\n", "x".repeat(2000)), Err(413));
        chunked(&format!("0\r\n{}\r\n", "T: u\r\n".repeat(1000)), Err(431));
        for chunk in 1..9 {
            assert_eq!(decode(Framing::Length(5), 20, b"hellNEXT", chunk).unwrap().1, 5);
        }
        assert_eq!(decode(Framing::Length(100_000_000_000_000), 20, b"", 1), Err(413));
    }

    #[test]
    fn random_bytes_never_decode_past_the_limit() {
        let mut random = crate::sys::testing::Random(8);
        for _ in 0..20_000 {
            let mut bytes = b"5\r\nhello\r\n3;a=b\r\nabc\r\n0\r\nX: y\r\n\r\n".to_vec();
            for _ in 0..3 {
                let at = random.below(bytes.len());
                bytes[at] = random.next() as u8;
            }
            if let Ok((out, ..)) = decode(Framing::Chunked, 20, &bytes, 7) {
                assert!(out.len() <= 20);
            }
        }
    }
}
