//! Follows the frames of an incoming byte stream by their headers alone.
//!
//! The reader asks it how many of the bytes at hand belong to the frame being read, so that nothing is handed on
//! past a frame's end; it counts fragments and announced bytes, which tungstenite does not (it never returns from
//! endless empty fragments), and refuses from the header what tungstenite would read to its end first (an unmasked
//! frame, a ping of many megabytes).

use super::Close;

/// What one peer may send.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Announced bytes of one message, all its fragments together.
    pub message_bytes: u64,
    pub fragments: u32,
}

/// What the bytes that were just taken did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// In a header or a payload.
    Inside,
    /// A header is complete: this many payload bytes follow (0 = the frame is complete, too).
    Announced(u64),
}

#[derive(Debug)]
pub struct Follower {
    limits: Limits,
    header: [u8; 14],
    have: usize,
    /// Payload bytes of the current frame still to come; None while in a header.
    payload: Option<u64>,
    /// Data frames of the message so far, and their announced bytes.
    fragments: u32,
    message: u64,
    current_is_data: bool,
    current_is_final: bool,
}

impl Follower {
    pub fn new(limits: Limits) -> Self {
        Follower {
            limits,
            header: [0; 14],
            have: 0,
            payload: None,
            fragments: 0,
            message: 0,
            current_is_data: false,
            current_is_final: true,
        }
    }

    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Neither in a frame nor between the fragments of a message.
    pub fn idle(&self) -> bool {
        self.have == 0 && self.payload.is_none() && self.fragments == 0
    }

    /// Between two frames (perhaps inside a fragmented message).
    pub fn at_boundary(&self) -> bool {
        self.have == 0 && self.payload.is_none()
    }

    /// Announced bytes of the message being read.
    pub fn message_bytes(&self) -> u64 {
        self.message
    }

    /// Payload bytes of the current frame that have not come yet.
    pub fn payload_left(&self) -> u64 {
        self.payload.unwrap_or(0)
    }

    /// Takes bytes from the front of `bytes`, at most to the end of the current frame; says how many.
    pub fn take(&mut self, bytes: &[u8]) -> Result<(usize, Step), Close> {
        if let Some(left) = self.payload {
            let n = left.min(bytes.len() as u64);
            self.payload_taken(left - n);
            return Ok((n as usize, Step::Inside));
        }
        let mut taken = 0;
        while taken < bytes.len() {
            self.header[self.have] = bytes[taken];
            self.have += 1;
            taken += 1;
            if let Some(len) = self.complete_header() {
                self.announced(len)?;
                return Ok((taken, Step::Announced(len)));
            }
        }
        Ok((taken, Step::Inside))
    }

    fn payload_taken(&mut self, left: u64) {
        self.payload = Some(left);
        if left == 0 {
            self.frame_done();
        }
    }

    fn complete_header(&self) -> Option<u64> {
        if self.have < 2 {
            return None;
        }
        let mask = if self.header[1] & 0x80 != 0 { 4 } else { 0 };
        let (extra, len) = match self.header[1] & 0x7f {
            126 => (2, u64::from(u16::from_be_bytes([self.header[2], self.header[3]]))),
            127 => {
                let bytes: [u8; 8] = self.header[2..10].try_into().expect("eight bytes");
                (8, u64::from_be_bytes(bytes))
            }
            short => (0, u64::from(short)),
        };
        (self.have == 2 + extra + mask).then_some(len)
    }

    fn announced(&mut self, len: u64) -> Result<(), Close> {
        let opcode = self.header[0] & 0x0f;
        // Opcodes from 8 are control frames; they may stand between the fragments of a message.
        self.current_is_data = opcode < 8;
        self.current_is_final = self.header[0] & 0x80 != 0;
        let extended = self.header[0] & 0x70 != 0;
        let masked = self.header[1] & 0x80 != 0;
        let legal = match opcode {
            0 => self.fragments > 0,
            1 | 2 => self.fragments == 0,
            8..=10 => self.current_is_final && len < 126,
            _ => false,
        };
        if extended || !masked || !legal {
            return Err(Close::new(Close::PROTOCOL, ""));
        }
        if self.current_is_data {
            self.fragments += 1;
            self.message = self.message.saturating_add(len);
            if self.message > self.limits.message_bytes {
                return Err(Close::new(Close::TOO_BIG, ""));
            }
            if self.fragments > self.limits.fragments {
                return Err(Close::policy("too many fragments"));
            }
        }
        self.have = 0;
        self.payload_taken(len);
        Ok(())
    }

    fn frame_done(&mut self) {
        self.payload = None;
        if self.current_is_data && self.current_is_final {
            self.fragments = 0;
            self.message = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { message_bytes: 1000, fragments: 3 };

    fn run(bytes: &[u8], chunk: usize) -> Result<Vec<usize>, Close> {
        let mut f = Follower::new(LIMITS);
        let mut ends = Vec::new();
        let (mut at, mut window) = (0, 0);
        while at < bytes.len() {
            window = (window + chunk).min(bytes.len());
            while at < window {
                let (n, _) = f.take(&bytes[at..window])?;
                assert!(n > 0 && at + n <= window);
                at += n;
                if f.at_boundary() {
                    ends.push(at);
                }
            }
        }
        Ok(ends)
    }

    /// A masked header with a short length, and that many bytes.
    fn frame(first: u8, len: u8) -> Vec<u8> {
        let mut bytes = vec![first, 0x80 | len, 1, 2, 3, 4];
        bytes.extend(std::iter::repeat_n(7, len.into()));
        bytes
    }

    #[test]
    fn finds_the_end_of_every_frame_whatever_the_chunks() {
        // a text, an empty ping, a frame with a 16-bit length, an empty text
        let mut bytes = [frame(0x81, 2), frame(0x89, 0)].concat();
        bytes.extend([0x82, 0xfe, 0, 200, 9, 9, 9, 9]);
        bytes.extend([7; 200]);
        bytes.extend(frame(0x81, 0));
        let ends = vec![8, 14, 222, 228];
        for chunk in 1..bytes.len() {
            assert_eq!(run(&bytes, chunk).unwrap(), ends, "chunk {chunk}");
        }
    }

    #[test]
    fn counts_fragments_and_announced_bytes_per_message() {
        let (first, more, last, ping) = (frame(0x01, 0), frame(0x00, 0), frame(0x80, 0), frame(0x89, 0));
        let ok = [&first, &ping, &more, &ping, &last, &first, &last].map(Vec::as_slice).concat();
        assert!(run(&ok, 1).is_ok());
        let four = [&first, &more, &more, &more].map(Vec::as_slice).concat();
        assert_eq!(run(&four, 1), Err(Close::policy("too many fragments")));
        // 600 + 600 announced bytes in two fragments
        let mut big = vec![0x01, 0xfe, 0x02, 0x58, 0, 0, 0, 0];
        big.extend([0; 600]);
        big.extend([0x80, 0xfe, 0x02, 0x58, 0, 0, 0, 0]);
        assert_eq!(run(&big, 7).unwrap_err().code, 1009);
        // 2^63 bytes are refused from the header alone
        assert_eq!(run(&[0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], 10).unwrap_err().code, 1009);
    }

    #[test]
    fn what_no_frame_may_be_is_refused_from_its_header() {
        let first = frame(0x01, 1);
        for (what, bytes) in [
            ("unmasked", vec![0x81, 0x00]),
            ("reserved bit", frame(0xc1, 0)),
            ("opcode 3", frame(0x83, 0)),
            ("opcode 11", frame(0x8b, 0)),
            ("fragmented ping", frame(0x09, 0)),
            ("long ping", vec![0x89, 0xfe, 0, 126, 0, 0, 0, 0]),
            ("ping of 2^63 bytes", vec![0x89, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
            ("continuation of nothing", frame(0x80, 0)),
            ("a message inside a message", [&first[..], &first[..]].concat()),
        ] {
            assert_eq!(run(&bytes, 3), Err(Close::new(Close::PROTOCOL, "")), "{what}");
        }
    }

    #[test]
    fn random_bytes_never_upset_it() {
        let mut random = crate::sys::testing::Random(10);
        for round in 0..2000 {
            let bytes: Vec<u8> = (0..64).map(|_| random.next() as u8).collect();
            let _ = run(&bytes, 1 + round % 9);
        }
    }
}
