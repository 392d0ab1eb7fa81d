//! Bytes in arbitrary pieces → lines, and lines → server-sent events. Pure; every byte is looked at once.

/// The stream sent a line or event beyond the limit.
#[derive(Debug, PartialEq, Eq)]
pub struct TooLong;

/// Splits at LF, CRLF or CR, wherever the pieces were cut.
pub struct Lines {
    rest: Vec<u8>,
    limit: usize,
    after_cr: bool,
}

impl Lines {
    pub fn new(limit: usize) -> Self {
        Lines { rest: Vec::new(), limit, after_cr: false }
    }

    /// Calls `line` for each complete line, without its ending. Stops early when it says false.
    pub fn feed(&mut self, mut bytes: &[u8], mut line: impl FnMut(&[u8]) -> bool) -> Result<(), TooLong> {
        while !bytes.is_empty() {
            if self.after_cr {
                self.after_cr = false;
                if bytes[0] == b'\n' {
                    bytes = &bytes[1..];
                    continue;
                }
            }
            let end = bytes.iter().position(|b| matches!(b, b'\n' | b'\r'));
            let piece = &bytes[..end.unwrap_or(bytes.len())];
            if self.rest.len() + piece.len() > self.limit {
                return Err(TooLong);
            }
            let Some(end) = end else {
                self.rest.extend_from_slice(piece);
                return Ok(());
            };
            self.after_cr = bytes[end] == b'\r';
            bytes = &bytes[end + 1..];
            let go_on = if self.rest.is_empty() {
                line(piece)
            } else {
                self.rest.extend_from_slice(piece);
                let go_on = line(&self.rest);
                self.rest.clear();
                go_on
            };
            if !go_on {
                return Ok(());
            }
        }
        Ok(())
    }

    pub fn has_rest(&self) -> bool {
        !self.rest.is_empty()
    }

    /// What stands after the last line ending.
    pub fn take_rest(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.rest)
    }
}

/// Server-sent events; only their data is of interest, the type stands inside it.
pub struct SseData {
    lines: Lines,
    data: Vec<u8>,
    has_data: bool,
    begun: bool,
    limit: usize,
    /// Start of the first line that is no field of an event stream: for the error text of an answer that is none.
    stray: Vec<u8>,
}

impl SseData {
    pub fn new(limit: usize) -> Self {
        SseData { lines: Lines::new(limit), data: Vec::new(), has_data: false, begun: false, limit, stray: Vec::new() }
    }

    /// Calls `event` with the data of each event. Stops early when it says false.
    pub fn feed(&mut self, bytes: &[u8], mut event: impl FnMut(&[u8]) -> bool) -> Result<(), TooLong> {
        let SseData { lines, data, has_data, begun, limit, stray } = self;
        let mut too_long = false;
        lines.feed(bytes, |line| {
            let line = if *begun { line } else { line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line) };
            *begun = true;
            if line.is_empty() {
                let go_on = !*has_data || event(data);
                data.clear();
                *has_data = false;
                return go_on;
            }
            match field(line) {
                Some((b"data", value)) => {
                    if data.len() + value.len() >= *limit {
                        too_long = true;
                        return false;
                    }
                    if *has_data {
                        data.push(b'\n');
                    }
                    data.extend_from_slice(value);
                    *has_data = true;
                }
                Some(_) => {}
                None if stray.is_empty() => stray.extend_from_slice(&line[..line.len().min(2048)]),
                None => {}
            }
            true
        })?;
        if too_long { Err(TooLong) } else { Ok(()) }
    }

    /// At the end of the body: the last event, when its blank line is missing.
    pub fn finish(&mut self, mut event: impl FnMut(&[u8]) -> bool) {
        if self.lines.has_rest() {
            // A last line without its ending: its length was checked while it came, so this adds nothing to refuse.
            let _ = self.feed(b"\n", &mut event);
        }
        if self.has_data {
            self.has_data = false;
            event(&std::mem::take(&mut self.data));
        }
    }

    /// Text of an answer that was no event stream.
    pub fn stray(&self) -> &[u8] {
        &self.stray
    }
}

/// Field name and value; None when the line is not one of the four fields or a comment.
fn field(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let (name, value) = match line.iter().position(|b| *b == b':') {
        Some(at) => (&line[..at], &line[at + 1..]),
        None => (line, &b""[..]),
    };
    let value = value.strip_prefix(b" ").unwrap_or(value);
    matches!(name, b"" | b"data" | b"event" | b"id" | b"retry").then_some((name, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split_lines(pieces: &[&[u8]]) -> Vec<String> {
        let mut lines = Lines::new(100);
        let mut out = Vec::new();
        for piece in pieces {
            lines
                .feed(piece, |l| {
                    out.push(String::from_utf8_lossy(l).into_owned());
                    true
                })
                .unwrap();
        }
        out.push(format!("rest:{}", String::from_utf8_lossy(&lines.take_rest())));
        out
    }

    #[test]
    fn lines_at_every_cut() {
        let text = "a\r\nbü\n\nc\rd\r\n\r\ne".as_bytes();
        let whole = split_lines(&[text]);
        assert_eq!(whole, ["a", "bü", "", "c", "d", "", "rest:e"]);
        for cut in 0..=text.len() {
            assert_eq!(split_lines(&[&text[..cut], &text[cut..]]), whole, "cut at {cut}");
        }
    }

    #[test]
    fn a_line_has_a_limit() {
        let mut lines = Lines::new(4);
        assert_eq!(lines.feed(b"abcd\nabcd", |_| true), Ok(()));
        assert_eq!(lines.feed(b"e", |_| true), Err(TooLong));
    }

    #[test]
    fn events_at_every_cut() {
        let text = "\u{feff}event: x\r\ndata: one\r\ndata:two\r\n\r\n: comment\n\ndata\n\ndata: last é".as_bytes();
        let run = |pieces: &[&[u8]]| {
            let mut sse = SseData::new(100);
            let mut out: Vec<String> = Vec::new();
            let mut keep = |d: &[u8]| {
                out.push(String::from_utf8_lossy(d).into_owned());
                true
            };
            for piece in pieces {
                sse.feed(piece, &mut keep).unwrap();
            }
            sse.finish(&mut keep);
            out
        };
        let whole = run(&[text]);
        assert_eq!(whole, ["one\ntwo", "", "last é"]);
        for cut in 0..=text.len() {
            assert_eq!(run(&[&text[..cut], &text[cut..]]), whole, "cut at {cut}");
        }
    }

    #[test]
    fn an_event_has_a_limit() {
        let mut sse = SseData::new(16);
        let mut result = Ok(());
        for _ in 0..5 {
            result = result.and(sse.feed(b"data: 1234567\n", |_| true));
        }
        assert_eq!(result, Err(TooLong));
    }
}
