//! The few patterns and formats of the schema, matched by hand: a regular-expression engine would cost more than it saves.

use std::net::{Ipv4Addr, Ipv6Addr};

/// A rule for texts that the schema names by one letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pattern(&'static Row);

#[derive(Debug, PartialEq, Eq)]
struct Row {
    letter: u8,
    /// `pattern` or `format` of a JSON schema.
    keyword: &'static str,
    text: &'static str,
    /// What the reference says of a text that does not match; empty = the pattern itself.
    refusal: &'static str,
}

const fn row(letter: u8, keyword: &'static str, text: &'static str, refusal: &'static str) -> Row {
    Row { letter, keyword, text, refusal }
}

static ROWS: &[Row] = &[
    row(b'a', "pattern", "^[a-z][a-z0-9_-]{0,63}$", ""),
    row(b'v', "pattern", "^[A-Z][A-Z0-9_]{0,127}$", ""),
    row(b'c', "pattern", "^#?[0-9a-fA-F]{6}$", "expected hex color (RRGGBB)"),
    row(b'e', "pattern", r"^\+[1-9]\d{1,14}$", ""),
    row(b'k', "pattern", "^[a-z0-9-]+$", ""),
    row(b'4', "format", "ipv4", "Invalid IPv4 address"),
    row(b'6', "format", "ipv6", "Invalid IPv6 address"),
    row(b'u', "format", "uri", "Invalid URL"),
];

impl Pattern {
    pub fn by_letter(letter: u8) -> Option<Pattern> {
        ROWS.iter().find(|row| row.letter == letter).map(Pattern)
    }

    pub fn matches(self, text: &str) -> bool {
        let bytes = text.as_bytes();
        let tail = |from: usize, max: usize, fits: fn(&u8) -> bool| {
            bytes.len() > from && bytes.len() - from <= max && bytes[from..].iter().all(fits)
        };
        match self.0.letter {
            b'a' => bytes.first().is_some_and(u8::is_ascii_lowercase) && tail(0, 64, is_alias),
            b'v' => bytes.first().is_some_and(u8::is_ascii_uppercase) && tail(0, 128, is_variable),
            b'c' => {
                let digits = text.strip_prefix('#').unwrap_or(text);
                digits.len() == 6 && digits.bytes().all(|b| b.is_ascii_hexdigit())
            }
            b'e' => {
                bytes.first() == Some(&b'+')
                    && bytes.get(1).is_some_and(|b| (b'1'..=b'9').contains(b))
                    && tail(2, 14, u8::is_ascii_digit)
            }
            b'k' => tail(0, usize::MAX, |b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-'),
            b'4' => text.parse::<Ipv4Addr>().is_ok(),
            b'6' => text.parse::<Ipv6Addr>().is_ok(),
            _ => is_address(text),
        }
    }

    /// Key and value for a JSON schema.
    pub fn keyword(self) -> (&'static str, &'static str) {
        (self.0.keyword, self.0.text)
    }

    /// What is said of a text that does not match; `key` is the last step of its path.
    pub fn refusal(self, key: &str) -> String {
        match (self.0.letter, key) {
            (b'a', "provider") => {
                format!("Secret reference provider must match /{}/ (example: \"default\").", self.0.text)
            }
            (b'v', "id") => {
                format!("Env secret reference id must match /{}/ (example: \"OPENAI_API_KEY\").", self.0.text)
            }
            _ if self.0.refusal.is_empty() => format!("Invalid string: must match pattern /{}/", self.0.text),
            _ => self.0.refusal.to_owned(),
        }
    }
}

fn is_alias(byte: &u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'-')
}

fn is_variable(byte: &u8) -> bool {
    byte.is_ascii_uppercase() || byte.is_ascii_digit() || *byte == b'_'
}

/// What the reference's URL parser takes: a scheme and something after it; a web address needs a host.
fn is_address(text: &str) -> bool {
    let Some((scheme, rest)) = text.trim().split_once(':') else { return false };
    let named = scheme.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'))
        && scheme.starts_with(|c: char| c.is_ascii_alphabetic());
    let web = matches!(scheme.to_ascii_lowercase().as_str(), "http" | "https" | "ws" | "wss" | "ftp");
    let host = rest.trim_start_matches(['/', '\\']).split(['/', '?', '#', '\\']).next().unwrap_or_default();
    let host = host.rsplit('@').next().unwrap_or_default();
    let open = |c: char| c.is_whitespace() || matches!(c, '<' | '>' | '^' | '|' | '%');
    named && (!web || !host.is_empty() && !host.starts_with(':') && !host.contains(open))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepted_and_refused() {
        let long = "a".repeat(65);
        let table: &[(u8, &[&str], &[&str])] = &[
            (b'a', &["default", "a", "a_b-9"], &["", "A", "9a", "a b", "ä", &long]),
            (b'v', &["A", "OPENAI_API_KEY", "A9"], &["", "a", "9A", "A-B", "Ä"]),
            (b'c', &["#FF4500", "ff4500"], &["", "#FF450", "#FF45000", "##FF450", "red"]),
            (b'e', &["+15550001234", "+12"], &["", "+", "+1", "+0123", "15550001234", "+1234567890123456"]),
            (b'k', &["work", "a-9"], &["", "Work", "a_b", "a b"]),
            (b'4', &["127.0.0.1", "255.0.0.9"], &["", "256.0.0.1", "1.2.3", "01.2.3.4", "::1"]),
            (b'6', &["::1", "fe80::1", "2001:db8::1"], &["", "127.0.0.1", ":", "g::"]),
            (
                b'u',
                &["https://x", "http://u:p@h:1/p?q#f", "mailto:x"],
                &["", "x", "//x", "https://", "9a:b", "http://a b"],
            ),
        ];
        for (letter, good, bad) in table {
            let pattern = Pattern::by_letter(*letter).unwrap();
            assert!(good.iter().all(|text| pattern.matches(text)), "{pattern:?} {good:?}");
            assert!(!bad.iter().any(|text| pattern.matches(text)), "{pattern:?} {bad:?}");
        }
        assert_eq!(table.len(), ROWS.len());
    }

    #[test]
    fn refusals() {
        let say = |letter, key| Pattern::by_letter(letter).unwrap().refusal(key);
        assert_eq!(say(b'a', "env"), "Invalid string: must match pattern /^[a-z][a-z0-9_-]{0,63}$/");
        assert!(say(b'a', "provider").starts_with("Secret reference provider must match /^[a-z]"));
        assert!(say(b'v', "id").starts_with("Env secret reference id must match /^[A-Z]"));
        assert_eq!(
            (say(b'c', "color").as_str(), say(b'4', "x").as_str()),
            ("expected hex color (RRGGBB)", "Invalid IPv4 address")
        );
    }
}
