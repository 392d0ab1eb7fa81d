//! Bytes of a configuration file → text → JSON value; every refusal says line and column (config A2).

use serde_json::Value;

use super::redact::names_secret;

/// Deepest nesting that is read; the reader recurses.
pub const MAX_DEPTH: usize = 64;

/// UTF-8, with or without a byte order mark. Anything else is refused with the place of the first wrong byte.
pub fn decode(bytes: &[u8]) -> Result<&str, String> {
    let utf16 = match bytes {
        [0xFF, 0xFE, ..] => Some("UTF-16 (little endian)"),
        [0xFE, 0xFF, ..] => Some("UTF-16 (big endian)"),
        _ => None,
    };
    if let Some(name) = utf16 {
        return Err(format!("the file is {name} text, seen at line 1, column 1; save as UTF-8"));
    }
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    let text = std::str::from_utf8(bytes).map_err(|e| {
        let good = std::str::from_utf8(&bytes[..e.valid_up_to()]).expect("valid up to here");
        let (line, column) = place(good, good.len());
        format!("byte 0x{:02x} at line {line}, column {column} is not UTF-8; save as UTF-8", bytes[e.valid_up_to()])
    })?;
    if let Some(at) = text.find('\0') {
        let (line, column) = place(text, at);
        return Err(format!("zero byte at line {line}, column {column} (UTF-16 text?); save as UTF-8"));
    }
    Ok(text)
}

/// JSON5. The error is complete: `JSON5 parse failed: SyntaxError: JSON5: … at 1:14`.
pub fn parse(text: &str) -> Result<Value, String> {
    let fail = |what: &str, at: usize| {
        let (line, column) = place(text, at);
        format!("JSON5 parse failed: SyntaxError: JSON5: {what} at {line}:{column}")
    };
    if let Some(at) = too_deep(text) {
        return Err(fail("nested too deeply", at));
    }
    json5::from_str(text).map_err(|e| {
        let place_of = |at: json5::Position| offset_of(text, at.line, at.column);
        match (e.code(), e.position().map(place_of)) {
            (Some(code), Some(open)) if code.to_string().starts_with("EOF") => {
                let (line, column) = place(text, open);
                fail("invalid end of input", text.len()) + &format!(" (what begins at {line}:{column} does not end)")
            }
            (Some(code), Some(at)) => {
                let found = text[at..].chars().next().map_or_else(String::new, |c| format!(" '{}'", c.escape_debug()));
                fail(&format!("invalid character{found} ({code})"), at)
            }
            (Some(_), None) => fail("invalid end of input", text.len()),
            (None, at) => fail(&e.to_string(), at.unwrap_or(0)),
        }
    })
}

/// A message of [`parse`] as it stands where the text is not a file: `SyntaxError: JSON5: … at 1:14`.
pub fn bare_syntax_error(message: &str) -> &str {
    let bare = message.trim_start_matches("JSON5 parse failed: ");
    bare.split_once(" (what begins at ").map_or(bare, |(bare, _)| bare)
}

/// [`decode`] and [`parse`].
pub fn parse_bytes(bytes: &[u8]) -> Result<Value, String> {
    parse(decode(bytes).map_err(|e| format!("JSON5 parse failed: {e}"))?)
}

/// Line and column of a byte offset, both from 1, columns in characters.
pub fn place(text: &str, offset: usize) -> (usize, usize) {
    let before = &text[..offset];
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

/// The line that a message of [`parse`] is about and a caret under the place, for a terminal; of a text that ends too
/// early the place where the open part begins; None when the message names no place. What may be a secret is blacked out letter by letter, so that the caret still fits.
pub fn excerpt(text: &str, message: &str) -> Option<[String; 2]> {
    const SHOWN: usize = 100;
    let message = message.strip_prefix("JSON5 parse failed: ")?.trim_end_matches(" does not end)");
    let (line, column) = message.rsplit_once(" at ")?.1.split_once(':')?;
    let (line, column): (usize, usize) = (line.parse().ok()?, column.parse().ok()?);
    let shown = text.split('\n').nth(line.checked_sub(1)?)?.trim_end_matches('\r');
    let at = column.checked_sub(1)?;
    let start = at.saturating_sub(SHOWN / 2);
    let masked = mask(shown);
    let part: String = masked.iter().skip(start).take(SHOWN).map(|c| if c.is_control() { ' ' } else { *c }).collect();
    let margin = format!("{line} | ");
    let caret = format!("{}^", " ".repeat(margin.len() + at - start));
    Some([format!("{margin}{part}"), caret])
}

/// A line with the letters of quoted values, of comments and of what follows a secret's name turned to `*`.
fn mask(line: &str) -> Vec<char> {
    let chars: Vec<char> = line.chars().collect();
    let (mut out, mut at) = (chars.clone(), 0);
    let (mut secret, mut word) = (false, String::new());
    while at < chars.len() {
        let c = chars[at];
        let end = match c {
            '"' | '\'' => {
                let mut end = at + 1;
                while end < chars.len() && chars[end] != c {
                    end += if chars[end] == '\\' { 2 } else { 1 };
                }
                let end = (end + 1).min(chars.len());
                if chars[end..].iter().find(|c| !c.is_whitespace()) == Some(&':') {
                    word = chars[at + 1..end - 1].iter().collect();
                    at = end;
                    continue;
                }
                end
            }
            '/' if matches!(chars.get(at + 1), Some('/' | '*')) => chars.len(),
            ':' => {
                let variable =
                    word.len() > 1 && word.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_');
                secret = variable || names_secret(&word);
                word.clear();
                at += 1;
                continue;
            }
            ',' | '{' | '}' => {
                secret = false;
                word.clear();
                at += 1;
                continue;
            }
            _ => at + 1,
        };
        if !matches!(c, '"' | '\'' | '/') {
            word.push(c);
            word = word.trim().to_owned();
        }
        if secret || matches!(c, '"' | '\'' | '/') && end > at + 1 {
            for c in out[at..end].iter_mut().filter(|c| c.is_alphanumeric()) {
                *c = '*';
            }
        }
        at = end.max(at + 1);
    }
    out
}

/// Offset of the first bracket that opens deeper than [`MAX_DEPTH`].
fn too_deep(text: &str) -> Option<usize> {
    let (mut depth, mut at, bytes) = (0usize, 0, text.as_bytes());
    while at < bytes.len() {
        match bytes[at] {
            b'{' | b'[' => {
                depth += 1;
                if depth > MAX_DEPTH {
                    return Some(at);
                }
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            quote @ (b'"' | b'\'') => at = skip_string(bytes, at, quote),
            b'/' => at = skip_comment(bytes, at),
            _ => {}
        }
        at += 1;
    }
    None
}

/// Position of the closing quote, or of the last byte.
fn skip_string(bytes: &[u8], open: usize, quote: u8) -> usize {
    let mut at = open + 1;
    while at < bytes.len() && bytes[at] != quote {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    at
}

/// Position of the comment's last byte; the slash itself when it opens none.
fn skip_comment(bytes: &[u8], slash: usize) -> usize {
    let rest = &bytes[slash + 1..];
    match rest.first() {
        Some(b'/') => slash + 1 + rest.iter().position(|b| matches!(b, b'\n' | b'\r')).unwrap_or(rest.len()),
        Some(b'*') => {
            let end = rest[1..].windows(2).position(|w| w == b"*/");
            slash + 1 + end.map_or(rest.len(), |e| e + 2)
        }
        _ => slash,
    }
}

fn offset_of(text: &str, line: usize, column: usize) -> usize {
    // The crate counts \r, \u{2028} and \u{2029} as line ends too; walk as it does.
    let (mut l, mut c) = (0, 0);
    let mut chars = text.char_indices().peekable();
    while let Some((at, ch)) = chars.next() {
        if (l, c) == (line, column) {
            return at;
        }
        if matches!(ch, '\n' | '\r' | '\u{2028}' | '\u{2029}') {
            if ch == '\r' && chars.peek().is_some_and(|(_, next)| *next == '\n') {
                chars.next();
            }
            (l, c) = (l + 1, 0);
        } else {
            c += 1;
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn encodings() {
        let table: [(&[u8], Result<&str, &str>); 6] = [
            (b"{a:1}", Ok("{a:1}")),
            (b"\xEF\xBB\xBF{}", Ok("{}")),
            (b"\xFF\xFE{\0", Err("the file is UTF-16 (little endian) text, seen at line 1, column 1; save as UTF-8")),
            (b"\xFE\xFF\0{", Err("the file is UTF-16 (big endian) text, seen at line 1, column 1; save as UTF-8")),
            (b"{\n a: 'caf\xE9'}", Err("byte 0xe9 at line 2, column 9 is not UTF-8; save as UTF-8")),
            (b"{\0a", Err("zero byte at line 1, column 2 (UTF-16 text?); save as UTF-8")),
        ];
        for (bytes, expected) in table {
            assert_eq!(decode(bytes).map_err(|e| e.to_owned()), expected.map_err(str::to_owned));
        }
        assert_eq!(
            parse_bytes(b"\xE9"),
            Err("JSON5 parse failed: byte 0xe9 at line 1, column 1 is not UTF-8; save as UTF-8".into())
        );
    }

    #[test]
    fn json5_forms() {
        let text = "// top\n{ gateway: { port: 0x10, 'bind': \"lan\", /* x */ list: [1, 2.5, 'a\\\nb',], }, n: null, t: true }";
        let expected = json!({"gateway":{"port":16,"bind":"lan","list":[1,2.5,"ab"]},"n":null,"t":true});
        assert_eq!(parse(text), Ok(expected));
    }

    #[test]
    fn syntax_errors_say_where() {
        let deep = "[".repeat(MAX_DEPTH + 1);
        let deep_message = format!("JSON5 parse failed: SyntaxError: JSON5: nested too deeply at 1:{}", MAX_DEPTH + 1);
        let table = [
            (
                "{ gateway: {\n",
                "JSON5 parse failed: SyntaxError: JSON5: invalid end of input at 2:1 (what begins at 1:12 does not end)",
            ),
            ("", "JSON5 parse failed: SyntaxError: JSON5: invalid end of input at 1:1"),
            ("{a:1,\n  b:}", "JSON5 parse failed: SyntaxError: JSON5: invalid character '}' (expected value) at 2:5"),
            ("{a:1}x", "JSON5 parse failed: SyntaxError: JSON5: invalid character 'x' (trailing characters) at 1:6"),
            (&deep, &deep_message),
        ];
        for (text, message) in table {
            assert_eq!(parse(text), Err(message.to_owned()), "{text}");
        }
    }

    #[test]
    fn the_line_with_a_caret() {
        let table = [
            ("{\n  gateway: {\n    port 18789,\n  },\n}", "3 |     port 18789,", "             ^"),
            ("{ a: 1, b:}", "1 | { a: 1, b:}", "              ^"),
            ("{ bind: lan }", "1 | { bind: lan }", "            ^"),
            ("{ token: abc, b: 'x', c:}", "1 | { token: ***, b: '*', c:}", "             ^"),
            ("{ 'botToken': 'abc-1' 'x' }", "1 | { 'botToken': '***-*' '*' }", "                          ^"),
            ("{ OPENAI_API_KEY: sk-123, }", "1 | { OPENAI_API_KEY: **-***, }", "                      ^"),
            ("{ a: [ 'geheim' 1 ] } // geheim", "1 | { a: [ '******' 1 ] } // ******", "                    ^"),
            ("{ a: {\n", "1 | { a: {", "         ^"),
        ];
        for (text, line, caret) in table {
            let message = parse(text).unwrap_err();
            assert_eq!(excerpt(text, &message), Some([line.to_owned(), caret.to_owned()]), "{text}: {message}");
        }
        let long = format!("{{ a: [{} x] }}", "1,".repeat(200));
        let [line, caret] = excerpt(&long, &parse(&long).unwrap_err()).unwrap();
        assert!(line.len() < 120 && line.as_bytes()[caret.len() - 1] == b'x', "{line}\n{caret}");
        assert_eq!(excerpt("{}", "Unrecognized key: \"a\""), None);
        assert_eq!(excerpt("{}", "JSON5 parse failed: SyntaxError: JSON5: x at 9:9"), None);
    }

    #[test]
    fn brackets_in_strings_and_comments_do_not_nest() {
        let many = "[".repeat(MAX_DEPTH * 2);
        for text in [format!("'{many}'"), format!("// {many}\n1"), format!("/* {many} */ 1"), format!("'\\'{many}'")] {
            assert!(parse(&text).is_ok(), "{text}");
        }
    }

    #[test]
    fn mutated_bytes_never_panic() {
        let seed =
            "// c\n{ gateway: { port: 18789, auth: { mode: 'token', token: \"${T}\" } }, list: [1, -2.5e3, 0x1f,], }"
                .as_bytes();
        let mut random = crate::sys::testing::Random(5);
        let mut next = move || random.next() as usize;
        for _ in 0..20_000 {
            let mut bytes = seed.to_vec();
            for _ in 0..1 + next() % 4 {
                let at = next() % bytes.len();
                match next() % 4 {
                    0 => bytes[at] = next() as u8,
                    1 => bytes.insert(at, b"{}[]'\"/*\\,:\0\xEF"[next() % 13]),
                    2 => drop(bytes.drain(at..(at + next() % 9).min(bytes.len()))),
                    _ => bytes.truncate(at + 1),
                }
                if bytes.is_empty() {
                    bytes.push(b'{');
                }
            }
            if let (Err(message), Ok(text)) = (parse_bytes(&bytes), decode(&bytes)) {
                excerpt(text, &message);
            }
        }
    }
}
