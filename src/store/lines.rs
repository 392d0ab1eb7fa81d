//! Lines of a file from its end to its start, without holding more than one line: transcripts are read newest first.
//!
//! Any thread. Reads only; torn and oversized lines are told apart from good ones.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};

const CHUNK: usize = 64 * 1024;

/// Walks backwards over the lines of the first `end` bytes of a file.
pub struct LinesBackward<'a> {
    file: &'a File,
    /// Offset in the file of `buffer[0]`.
    start: u64,
    /// Unread bytes end here; the newest of them last.
    buffer: Vec<u8>,
    /// Longest line that is handed out.
    max_line: usize,
    finished: bool,
}

/// One line without its newline.
#[derive(Debug, PartialEq, Eq)]
pub enum Line {
    Text(Vec<u8>),
    /// Longer than the limit; its bytes were not kept.
    TooLong,
}

impl<'a> LinesBackward<'a> {
    /// A newline that ends the last line does not count as an empty line after it.
    pub fn new(file: &'a File, end: u64, max_line: usize) -> io::Result<LinesBackward<'a>> {
        let mut lines = LinesBackward { file, start: end, buffer: Vec::new(), max_line, finished: end == 0 };
        if !lines.finished {
            lines.fetch(CHUNK)?;
            if lines.buffer.last() == Some(&b'\n') {
                lines.buffer.pop();
            }
        }
        Ok(lines)
    }

    /// The next older line; `None` at the start of the file.
    pub fn next_line(&mut self) -> io::Result<Option<Line>> {
        if self.finished {
            return Ok(None);
        }
        let mut searched = 0;
        let mut too_long = false;
        let mut step = CHUNK;
        loop {
            let unsearched = self.buffer.len() - searched;
            if let Some(at) = self.buffer[..unsearched].iter().rposition(|byte| *byte == b'\n') {
                let line = self.buffer.split_off(at + 1);
                self.buffer.pop();
                return Ok(Some(self.line(line, too_long)));
            }
            if self.start == 0 {
                self.finished = true;
                let line = std::mem::take(&mut self.buffer);
                return Ok(Some(self.line(line, too_long)));
            }
            if self.buffer.len() > self.max_line {
                too_long = true;
                self.buffer.clear();
            }
            searched = self.buffer.len();
            self.fetch(step)?;
            if !too_long {
                // A long line is copied a few times only, not once per chunk.
                step = (step * 2).min(16 * CHUNK);
            }
        }
    }

    fn line(&self, bytes: Vec<u8>, too_long: bool) -> Line {
        if too_long || bytes.len() > self.max_line { Line::TooLong } else { Line::Text(bytes) }
    }

    /// Puts up to `wanted` older bytes before the buffer.
    fn fetch(&mut self, wanted: usize) -> io::Result<()> {
        let length = self.start.min(wanted as u64);
        let at = self.start - length;
        let mut older = vec![0; length as usize];
        let mut file = self.file;
        file.seek(SeekFrom::Start(at))?;
        file.read_exact(&mut older)?;
        older.extend_from_slice(&self.buffer);
        self.buffer = older;
        self.start = at;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::atomic::tests::TempDir;
    use super::*;
    use crate::sys::testing::Random;

    fn backward(dir: &TempDir, content: &[u8], max: usize) -> Vec<String> {
        fs::write(dir.join("f"), content).unwrap();
        let file = File::open(dir.join("f")).unwrap();
        let mut lines = LinesBackward::new(&file, content.len() as u64, max).unwrap();
        let mut out = Vec::new();
        while let Some(line) = lines.next_line().unwrap() {
            out.push(match line {
                Line::Text(bytes) => String::from_utf8(bytes).unwrap(),
                Line::TooLong => "<too long>".to_owned(),
            });
        }
        out
    }

    #[test]
    fn lines_come_newest_first() {
        let dir = TempDir::new("lines");
        for (content, expected) in [
            ("", &[][..]),
            ("\n", &[""]),
            ("a", &["a"]),
            ("a\n", &["a"]),
            ("a\nb", &["b", "a"]),
            ("a\n\nb\n", &["b", "", "a"]),
            ("123456\nab\n", &["ab", "<too long>"]),
        ] {
            assert_eq!(backward(&dir, content.as_bytes(), 5), expected, "{content:?}");
        }
    }

    #[test]
    fn lines_longer_than_a_chunk() {
        let dir = TempDir::new("lines-long");
        let mut random = Random(3);
        for _ in 0..20 {
            let lines: Vec<String> =
                (0..random.below(12)).map(|n| n.to_string().repeat(random.below(3 * CHUNK))).collect();
            let content: String = lines.iter().map(|line| format!("{line}\n")).collect();
            let limit = 2 * CHUNK;
            let expected: Vec<&str> =
                lines.iter().rev().map(|l| if l.len() > limit { "<too long>" } else { l.as_str() }).collect();
            assert_eq!(backward(&dir, content.as_bytes(), limit), expected);
        }
    }
}
