//! Bytes of the web as characters: UTF-8, UTF-16 with its mark, and the western single-byte sets that old pages use.

use std::borrow::Cow;

/// A page names its character set within this many bytes (HTML standard, prescan).
const PRESCAN_BYTES: usize = 1024;

/// Windows-1252, 0x80–0x9f; what browsers read for ISO-8859-1 too. Bytes that it leaves open stay control characters.
const WINDOWS_1252: [char; 32] = [
    '€', '\u{81}', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\u{8d}', 'Ž', '\u{8f}', '\u{90}', '‘', '’',
    '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\u{9d}', 'ž', 'Ÿ',
];

/// The text of an answer. `content_type` is its header; HTML may say it in a `meta` element instead. What is not known
/// is read as UTF-8, and what is broken there shows as U+FFFD.
pub fn decode<'a>(bytes: &'a [u8], content_type: &str) -> Cow<'a, str> {
    if let Some(rest) = bytes.strip_prefix(b"\xef\xbb\xbf") {
        return String::from_utf8_lossy(rest);
    }
    if let Some(rest) = bytes.strip_prefix(b"\xff\xfe") {
        return utf16(rest, u16::from_le_bytes).into();
    }
    if let Some(rest) = bytes.strip_prefix(b"\xfe\xff") {
        return utf16(rest, u16::from_be_bytes).into();
    }
    let named = charset_of(content_type).or_else(|| prescan(bytes));
    match named.as_deref() {
        Some("utf-16le" | "utf-16") => utf16(bytes, u16::from_le_bytes).into(),
        Some("utf-16be") => utf16(bytes, u16::from_be_bytes).into(),
        Some(
            "iso-8859-1" | "iso8859-1" | "latin1" | "latin-1" | "l1" | "windows-1252" | "cp1252" | "x-cp1252" | "ascii"
            | "us-ascii",
        ) => bytes.iter().map(|&byte| western(byte)).collect::<String>().into(),
        Some("iso-8859-15" | "latin-9" | "latin9") => bytes.iter().map(|&byte| latin9(byte)).collect::<String>().into(),
        _ => String::from_utf8_lossy(bytes),
    }
}

/// Value of `charset` in a Content-Type header or a `meta` element.
fn charset_of(text: &str) -> Option<String> {
    let text = text.to_ascii_lowercase();
    let (_, rest) = text.split_once("charset")?;
    let rest = rest.trim_start().strip_prefix('=')?.trim_start().trim_start_matches(['"', '\'']);
    let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))).unwrap_or(rest.len());
    (end > 0).then(|| rest[..end].replace('_', "-"))
}

fn prescan(bytes: &[u8]) -> Option<String> {
    let head = String::from_utf8_lossy(&bytes[..bytes.len().min(PRESCAN_BYTES)]).to_ascii_lowercase();
    let metas = head.split("<meta").skip(1);
    metas.filter_map(|meta| meta.split('>').next()).find_map(charset_of)
}

pub(super) fn western(byte: u8) -> char {
    match byte {
        0x80..=0x9f => WINDOWS_1252[usize::from(byte - 0x80)],
        other => other.into(),
    }
}

fn latin9(byte: u8) -> char {
    match byte {
        0xa4 => '€',
        0xa6 => 'Š',
        0xa8 => 'š',
        0xb4 => 'Ž',
        0xb8 => 'ž',
        0xbc => 'Œ',
        0xbd => 'œ',
        0xbe => 'Ÿ',
        other => other.into(),
    }
}

fn utf16(bytes: &[u8], read: fn([u8; 2]) -> u16) -> String {
    let units = bytes.chunks_exact(2).map(|pair| read([pair[0], pair[1]]));
    char::decode_utf16(units).map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets() {
        let meta =
            |set: &str| format!("<html><head><META http-equiv=x content='text/html; charset={set}'>").into_bytes();
        let with = |set: &str, tail: &[u8]| [&meta(set)[..], tail].concat();
        for (bytes, header, end) in [
            ("grün €".as_bytes().to_vec(), "", "grün €"),
            ("grün".as_bytes().to_vec(), "text/html; charset=UTF-8", "grün"),
            (b"gr\xfcn \x80 \x93x\x94".to_vec(), "text/html; charset=\"ISO-8859-1\"", "grün € “x”"),
            (b"\xa4\xbd".to_vec(), "text/plain;charset=iso-8859-15", "€œ"),
            (with("windows-1252", b"\xfc\x85"), "text/html", "ü…"),
            (with("latin1", b"\xe4"), "text/html", "ä"),
            // The header wins over the page, the mark over both.
            (with("latin1", "ä".as_bytes()), "text/html; charset=utf-8", "ä"),
            (b"\xef\xbb\xbf\xc3\xa4".to_vec(), "text/plain; charset=latin1", "ä"),
            (b"\xff\xfeh\0i\0".to_vec(), "", "hi"),
            (b"\xfe\xff\0h\0i".to_vec(), "", "hi"),
            (b"\0\xd8x\0".to_vec(), "text/plain; charset=utf-16le", "\u{fffd}x"),
            (b"gr\xfcn".to_vec(), "text/html; charset=klingon", "gr\u{fffd}n"),
            (b"<meta charset=>x".to_vec(), "charset", "x"),
            (b"".to_vec(), "charset=", ""),
        ] {
            let text = decode(&bytes, header);
            assert!(text.ends_with(end), "{header}: {text:?}");
        }
    }
}
