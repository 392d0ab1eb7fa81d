//! The query of a target: names and values, decoded as forms are (`+` is a space).

/// `target` as sent. A broken escape stays as it is.
pub fn pairs(target: &str) -> Vec<(String, String)> {
    let query = target.split('#').next().unwrap_or_default().split_once('?').map_or("", |(_, query)| query);
    let parts = query.split('&').filter(|part| !part.is_empty());
    let decode = |text: &str| percent_decoded(&text.replace('+', " "));
    parts.map(|part| part.split_once('=').unwrap_or((part, ""))).map(|(n, v)| (decode(n), decode(v))).collect()
}

/// `%2F` and the like; what is no escape stays as it is.
pub fn percent_decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escaped =
            bytes.get(at + 1..at + 3).filter(|hex| bytes[at] == b'%' && hex.iter().all(u8::is_ascii_hexdigit));
        let byte = escaped.and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        out.push(byte.unwrap_or(bytes[at]));
        at += if byte.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries() {
        for (target, want) in [
            ("/x", vec![]),
            ("/x?", vec![]),
            ("/x?a=1&b=%C3%BC+c&&d#token=1", vec![("a", "1"), ("b", "ü c"), ("d", "")]),
            ("/x?to%6ben=t&a=b=c&%zz=%4", vec![("token", "t"), ("a", "b=c"), ("%zz", "%4")]),
            ("/x?a=%ff", vec![("a", "\u{fffd}")]),
        ] {
            let got = pairs(target);
            let got: Vec<(&str, &str)> = got.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
            assert_eq!(got, want, "{target}");
        }
    }

    #[test]
    fn escapes() {
        for (text, want) in
            [("openclaw%2Fmain", "openclaw/main"), ("a%zz%4", "a%zz%4"), ("%C3%A9", "é"), ("%+1", "%+1")]
        {
            assert_eq!(percent_decoded(text), want);
        }
    }
}
