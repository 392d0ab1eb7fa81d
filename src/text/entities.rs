//! Character references of HTML: numbers, Latin-1, and the signs that running text uses.

use super::charset::western;

/// Longest reference that is looked for behind an ampersand.
const LONGEST: usize = 12;

/// U+00A0 to U+00FF in their order.
const LATIN_1: &str = "nbsp iexcl cent pound curren yen brvbar sect uml copy ordf laquo not shy reg macr deg plusmn sup2 \
    sup3 acute micro para middot cedil sup1 ordm raquo frac14 frac12 frac34 iquest Agrave Aacute Acirc Atilde Auml \
    Aring AElig Ccedil Egrave Eacute Ecirc Euml Igrave Iacute Icirc Iuml ETH Ntilde Ograve Oacute Ocirc Otilde Ouml \
    times Oslash Ugrave Uacute Ucirc Uuml Yacute THORN szlig agrave aacute acirc atilde auml aring aelig ccedil egrave \
    eacute ecirc euml igrave iacute icirc iuml eth ntilde ograve oacute ocirc otilde ouml divide oslash ugrave uacute \
    ucirc uuml yacute thorn yuml";

const OTHERS: [(&str, char); 45] = [
    ("amp", '&'),
    ("lt", '<'),
    ("gt", '>'),
    ("quot", '"'),
    ("apos", '\''),
    ("hellip", '…'),
    ("mdash", '—'),
    ("ndash", '–'),
    ("lsquo", '‘'),
    ("rsquo", '’'),
    ("sbquo", '‚'),
    ("ldquo", '“'),
    ("rdquo", '”'),
    ("bdquo", '„'),
    ("lsaquo", '‹'),
    ("rsaquo", '›'),
    ("bull", '•'),
    ("trade", '™'),
    ("euro", '€'),
    ("dagger", '†'),
    ("permil", '‰'),
    ("prime", '′'),
    ("larr", '←'),
    ("uarr", '↑'),
    ("rarr", '→'),
    ("darr", '↓'),
    ("harr", '↔'),
    ("minus", '−'),
    ("infin", '∞'),
    ("asymp", '≈'),
    ("ne", '≠'),
    ("le", '≤'),
    ("ge", '≥'),
    ("check", '✓'),
    ("OElig", 'Œ'),
    ("oelig", 'œ'),
    ("Scaron", 'Š'),
    ("scaron", 'š'),
    ("ensp", ' '),
    ("emsp", ' '),
    ("thinsp", ' '),
    ("alpha", 'α'),
    ("beta", 'β'),
    ("pi", 'π'),
    ("mu", 'μ'),
];

/// The text with its references replaced; what is none stays.
pub fn decode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        match reference(&rest[1..]) {
            Some((c, used)) => {
                out.push(c);
                rest = &rest[1 + used..];
            }
            None => {
                out.push('&');
                rest = &rest[1..];
            }
        }
    }
    out.push_str(rest);
    out
}

/// The character that the text behind an ampersand begins with, and how many bytes name it.
fn reference(text: &str) -> Option<(char, usize)> {
    let end = text.bytes().take(LONGEST).position(|b| !(b.is_ascii_alphanumeric() || b == b'#'));
    let end = end.unwrap_or(text.len().min(LONGEST));
    // Cut at ASCII characters only, or at the end.
    let name = text.get(..end)?;
    let used = end + usize::from(text[end..].starts_with(';'));
    if let Some(number) = name.strip_prefix('#') {
        let code = match number.strip_prefix(['x', 'X']) {
            Some(hex) => u32::from_str_radix(hex, 16),
            None => number.parse(),
        };
        return Some((of_code(code.ok()?), used));
    }
    if used == end {
        // Without its semicolon a name may be part of an address: `?a=1&copy=2`.
        return None;
    }
    let latin = || LATIN_1.split_ascii_whitespace().position(|n| n == name).map(|n| char::from(0xa0 + n as u8));
    let other = OTHERS.iter().find(|(n, _)| *n == name).map(|(_, c)| *c);
    Some((other.or_else(latin)?, used))
}

fn of_code(code: u32) -> char {
    match code {
        0x80..=0x9f => western(code as u8),
        0 => char::REPLACEMENT_CHARACTER,
        _ => char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER),
    }
}

#[cfg(test)]
mod tests {
    use super::decode;

    #[test]
    fn references() {
        for (text, want) in [
            ("a &amp; b &lt;c&gt; &quot;d&quot; &#39;e&#x27;", "a & b <c> \"d\" 'e'"),
            ("&auml;&ouml;&uuml;&szlig;&eacute;&yuml;&nbsp;", "äöüßéÿ\u{a0}"),
            ("&euro;&hellip;&mdash;", "€…—"),
            ("&#128; &#x2603;", "€ ☃"),
            ("&#0;&#xD800;&#x110000;", "\u{fffd}\u{fffd}\u{fffd}"),
            ("&#99999999999999;", "&#99999999999999;"),
            ("&amp;lt;", "&lt;"),
            ("x?a=1&copy=2&b", "x?a=1&copy=2&b"),
            ("&unknown; && &; &#; &#x;", "&unknown; && &; &#; &#x;"),
            ("&üü;", "&üü;"),
            ("&", "&"),
        ] {
            assert_eq!(decode(text), want, "{text}");
        }
    }
}
