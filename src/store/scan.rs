//! Finds the entries of a `sessions.json` without loading it: where each value lies, and its text without the two fat fields.
//!
//! Pure over a reader; any thread. The reference's files can be 15 kB per session: memory here is one entry, however long the file.

use std::io::{self, BufRead};

use crate::limits;

/// `FAT_FIELDS` as they stand in a file; no program writes them with escapes.
const FAT_KEYS: [&[u8]; 2] = [b"\"skillsSnapshot\"", b"\"systemPromptReport\""];
/// Keys of `sessions.json` and of its entries are short; a longer one is damage.
const KEY_BYTES: usize = 4096;

/// One member of the top-level object.
#[derive(Debug)]
pub struct Found<'a> {
    pub key: &'a str,
    /// Where the value lies in the file.
    pub offset: u64,
    pub len: u64,
    /// The value with `null` in place of the fat fields; `None` when it is no object or longer than `limits::SESSION_ENTRY_BYTES`.
    pub light: Option<&'a [u8]>,
}

#[derive(Debug)]
pub enum ScanError {
    Io(io::Error),
    /// Not the JSON object it should be.
    Damaged,
}

impl From<io::Error> for ScanError {
    fn from(e: io::Error) -> Self {
        ScanError::Io(e)
    }
}

/// Calls `each` for every entry. Checks the outer shape and brackets; what `light` holds is for the caller to parse.
pub fn scan(input: impl BufRead, mut each: impl FnMut(Found<'_>) -> Result<(), ScanError>) -> Result<(), ScanError> {
    let mut scanner = Scanner { input, offset: 0 };
    let mut raw_key = Vec::new();
    let mut light = Vec::new();
    scanner.skip_blanks()?;
    scanner.expect(b'{')?;
    let mut first = true;
    while scanner.next_member(&mut first, b'}')? {
        scanner.key(&mut raw_key)?;
        let key: String = serde_json::from_slice(&raw_key).map_err(|_| ScanError::Damaged)?;
        let offset = scanner.offset;
        let shown = scanner.value(&mut light)?;
        let light = (shown && light.len() <= limits::SESSION_ENTRY_BYTES).then_some(&light[..]);
        each(Found { key: &key, offset, len: scanner.offset - offset, light })?;
    }
    scanner.skip_blanks()?;
    if scanner.peek()?.is_some() { Err(ScanError::Damaged) } else { Ok(()) }
}

/// One entry's text (as cut out of the file) without its fat fields.
pub fn without_fat(entry: &[u8]) -> Result<Vec<u8>, ScanError> {
    let mut light = Vec::new();
    let shown = Scanner { input: entry, offset: 0 }.value(&mut light)?;
    if shown { Ok(light) } else { Err(ScanError::Damaged) }
}

/// Name (in quotes) and value.
pub type FatField<'a> = (&'static [u8], &'a [u8]);

/// The fat fields of one entry's text, name (in quotes) and value as they stand there.
pub fn fat_fields(entry: &[u8]) -> Result<Vec<FatField<'_>>, ScanError> {
    let mut scanner = Scanner { input: entry, offset: 0 };
    let mut raw_key = Vec::new();
    let mut fields = Vec::new();
    scanner.expect(b'{')?;
    let mut first = true;
    while scanner.next_member(&mut first, b'}')? {
        scanner.key(&mut raw_key)?;
        let start = scanner.offset;
        scanner.skip_value(&mut None)?;
        if let Some(key) = FAT_KEYS.into_iter().find(|key| *key == raw_key) {
            let span = start as usize..scanner.offset as usize;
            fields.push((key, entry.get(span).ok_or(ScanError::Damaged)?));
        }
    }
    Ok(fields)
}

/// Where in a value the scanner is.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    Outside,
    /// A number, `true`, `false` or `null`.
    Word,
    Text,
    Escape,
}

struct Scanner<R> {
    input: R,
    offset: u64,
}

impl<R: BufRead> Scanner<R> {
    /// A value of the top level; true when it is an object, whose light form is then in `light`.
    fn value(&mut self, light: &mut Vec<u8>) -> Result<bool, ScanError> {
        light.clear();
        if self.peek()? != Some(b'{') {
            self.skip_value(&mut None)?;
            return Ok(false);
        }
        self.expect(b'{')?;
        light.push(b'{');
        let mut raw_key = Vec::new();
        let mut first = true;
        while self.next_member(&mut first, b'}')? {
            if light.len() > 1 {
                light.push(b',');
            }
            self.key(&mut raw_key)?;
            light.extend_from_slice(&raw_key);
            light.push(b':');
            if FAT_KEYS.contains(&&raw_key[..]) {
                self.skip_value(&mut None)?;
                light.extend_from_slice(b"null");
            } else if light.len() > limits::SESSION_ENTRY_BYTES {
                self.skip_value(&mut None)?;
            } else {
                self.skip_value(&mut Some(light))?;
            }
        }
        light.push(b'}');
        Ok(true)
    }

    /// Moves to the next member of an object; false at its end.
    fn next_member(&mut self, first: &mut bool, end: u8) -> Result<bool, ScanError> {
        self.skip_blanks()?;
        match self.peek()? {
            Some(byte) if byte == end => {
                self.expect(end)?;
                return Ok(false);
            }
            Some(b',') if !*first => {
                self.expect(b',')?;
                self.skip_blanks()?;
            }
            Some(_) if *first => {}
            _ => return Err(ScanError::Damaged),
        }
        *first = false;
        Ok(true)
    }

    /// A key and its colon; `raw` is the key as it stands, in quotes.
    fn key(&mut self, raw: &mut Vec<u8>) -> Result<(), ScanError> {
        raw.clear();
        self.string(&mut Some(raw))?;
        if raw.len() > KEY_BYTES {
            return Err(ScanError::Damaged);
        }
        self.skip_blanks()?;
        self.expect(b':')?;
        self.skip_blanks()
    }

    /// Any value, copied to `copy` up to the limit for entries. Works through whole buffers: files may be large.
    fn skip_value(&mut self, copy: &mut Option<&mut Vec<u8>>) -> Result<(), ScanError> {
        let mut depth = 0_u64;
        let mut place = Place::Outside;
        loop {
            let buffer = self.input.fill_buf()?;
            if buffer.is_empty() {
                return Err(ScanError::Damaged);
            }
            // Bytes of this buffer that belong to the value, and whether it is complete with them.
            let mut used = buffer.len();
            let mut complete = false;
            for (at, byte) in buffer.iter().enumerate() {
                match (place, byte) {
                    (Place::Text, b'"') => place = Place::Outside,
                    (Place::Text, b'\\') => place = Place::Escape,
                    (Place::Text, 0..=0x1f) => return Err(ScanError::Damaged),
                    (Place::Text, _) => continue,
                    (Place::Escape, _) => {
                        place = Place::Text;
                        continue;
                    }
                    (_, b'-' | b'+' | b'.' | b'0'..=b'9' | b'a'..=b'z' | b'E') => {
                        place = Place::Word;
                        continue;
                    }
                    (Place::Word, b',' | b':' | b'}' | b']' | b' ' | b'\n' | b'\r' | b'\t') if depth == 0 => {
                        (used, complete) = (at, true);
                        break;
                    }
                    (_, b'"') => {
                        place = Place::Text;
                        continue;
                    }
                    (_, b'{' | b'[') => {
                        place = Place::Outside;
                        depth += 1;
                        continue;
                    }
                    (_, b'}' | b']') if depth > 0 => {
                        place = Place::Outside;
                        depth -= 1;
                    }
                    (_, b',' | b':' | b' ' | b'\n' | b'\r' | b'\t') if depth > 0 => {
                        place = Place::Outside;
                        continue;
                    }
                    _ => return Err(ScanError::Damaged),
                }
                // A text, an object or a list has ended here.
                if depth == 0 && place == Place::Outside {
                    (used, complete) = (at + 1, true);
                    break;
                }
            }
            push(copy, &buffer[..used]);
            self.input.consume(used);
            self.offset += used as u64;
            if complete {
                return Ok(());
            }
        }
    }

    fn string(&mut self, copy: &mut Option<&mut Vec<u8>>) -> Result<(), ScanError> {
        if self.peek()? != Some(b'"') {
            return Err(ScanError::Damaged);
        }
        self.take(b'"', copy)?;
        loop {
            let buffer = self.input.fill_buf()?;
            if buffer.is_empty() {
                return Err(ScanError::Damaged);
            }
            let end = buffer.iter().position(|b| matches!(b, b'"' | b'\\' | 0..=0x1f)).unwrap_or(buffer.len());
            let stop = buffer.get(end).copied();
            push(copy, &buffer[..end]);
            self.input.consume(end);
            self.offset += end as u64;
            match stop {
                None => {}
                Some(b'"') => return self.take(b'"', copy),
                Some(b'\\') => {
                    self.take(b'\\', copy)?;
                    let escaped = self.peek()?.ok_or(ScanError::Damaged)?;
                    self.take(escaped, copy)?;
                }
                Some(_) => return Err(ScanError::Damaged),
            }
        }
    }

    fn skip_blanks(&mut self) -> Result<(), ScanError> {
        loop {
            let buffer = self.input.fill_buf()?;
            let blanks = buffer.iter().take_while(|b| matches!(b, b' ' | b'\n' | b'\r' | b'\t')).count();
            let more = blanks > 0 && blanks == buffer.len();
            self.input.consume(blanks);
            self.offset += blanks as u64;
            if !more {
                return Ok(());
            }
        }
    }

    fn expect(&mut self, byte: u8) -> Result<(), ScanError> {
        if self.peek()? == Some(byte) { self.take(byte, &mut None) } else { Err(ScanError::Damaged) }
    }

    fn take(&mut self, byte: u8, copy: &mut Option<&mut Vec<u8>>) -> Result<(), ScanError> {
        push(copy, &[byte]);
        self.input.consume(1);
        self.offset += 1;
        Ok(())
    }

    fn peek(&mut self) -> Result<Option<u8>, ScanError> {
        Ok(self.input.fill_buf()?.first().copied())
    }
}

fn push(copy: &mut Option<&mut Vec<u8>>, bytes: &[u8]) {
    if let Some(copy) = copy
        && copy.len() <= limits::SESSION_ENTRY_BYTES
    {
        copy.extend_from_slice(bytes);
    }
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;

    use super::*;
    use crate::sys::testing::Random;

    fn all(text: &[u8], buffer: usize) -> Result<Vec<(String, String, Option<String>)>, ScanError> {
        let mut out = Vec::new();
        scan(BufReader::with_capacity(buffer, text), |found| {
            let span = &text[found.offset as usize..][..found.len as usize];
            out.push((
                found.key.to_owned(),
                String::from_utf8_lossy(span).into_owned(),
                found.light.map(|light| String::from_utf8_lossy(light).into_owned()),
            ));
            Ok(())
        })?;
        Ok(out)
    }

    const FILE: &str = r#" {
  "agent:main:main": {
    "sessionId": "a\"}b",
    "skillsSnapshot": {"prompt": "x]}\\", "skills": [[1], {}]},
    "n": -1.5e+3, "deliveryContext": {"channel": "web, chat"}
  },
  "caf\u00e9": 5,
  "empty": {}
}
"#;

    #[test]
    fn entries_are_found_whatever_the_buffer() {
        for buffer in [1, 7, 64, 4096] {
            let found = all(FILE.as_bytes(), buffer).unwrap();
            assert_eq!(found.len(), 3);
            assert_eq!(
                found[0].2.as_deref(),
                Some(
                    r#"{"sessionId":"a\"}b","skillsSnapshot":null,"n":-1.5e+3,"deliveryContext":{"channel": "web, chat"}}"#
                )
            );
            assert_eq!((&*found[1].0, &*found[1].1, &found[1].2), ("café", "5", &None));
            assert_eq!(found[2].2.as_deref(), Some("{}"));
            assert_eq!(without_fat(found[0].1.as_bytes()).unwrap(), found[0].2.clone().unwrap().into_bytes());
            let fat = fat_fields(found[0].1.as_bytes()).unwrap();
            assert_eq!(fat.len(), 1);
            assert_eq!(fat[0], (&b"\"skillsSnapshot\""[..], &br#"{"prompt": "x]}\\", "skills": [[1], {}]}"#[..]));
        }
        assert!(all(b"{}", 64).unwrap().is_empty());
    }

    #[test]
    fn damage_is_noticed() {
        for text in [
            "",
            "   ",
            "\0\0\0\0",
            "[]",
            "{",
            "{\"a\"",
            "{\"a\":",
            "{\"a\":{",
            "{\"a\":{}",
            "{\"a\":{},}",
            "{\"a\":{}}x",
            "{\"a\":{}}\0",
            "{\"a\":]}",
            "{a:1}",
            "{\"a\":{} \"b\":{}}",
            "{,}",
            "{\"a\":\"\n\"}",
            "{\"a\":\"\\",
        ] {
            assert!(matches!(all(text.as_bytes(), 64), Err(ScanError::Damaged)), "{text:?}");
        }
        for cut in 1..FILE.trim_end().len() {
            assert!(all(&FILE.as_bytes()[..cut], 64).is_err(), "{cut}");
        }
    }

    #[test]
    fn a_huge_entry_is_not_kept_in_memory() {
        let text =
            format!("{{\"a\":{{\"x\":\"{}\",\"y\":[1]}},\"b\":{{}}}}", "z".repeat(limits::SESSION_ENTRY_BYTES * 3));
        let found = all(text.as_bytes(), 4096).unwrap();
        assert_eq!((found[0].2.is_none(), found[1].2.is_some()), (true, true));
    }

    #[test]
    fn mutated_files_never_panic() {
        let mut random = Random(21);
        for _ in 0..5000 {
            let bytes = random.mutated(FILE.as_bytes());
            let _ = all(&bytes, 16);
            let _ = fat_fields(&bytes);
            let _ = without_fat(&bytes);
        }
    }
}
