//! The query of a target: names and values, decoded as forms are (`+` is a space).

/// `target` as sent. A broken escape stays as it is.
pub fn pairs(target: &str) -> Vec<(String, String)> {
    let query = target.split('#').next().unwrap_or_default().split_once('?').map_or("", |(_, query)| query);
    let parts = query.split('&').filter(|part| !part.is_empty());
    parts.map(|part| part.split_once('=').unwrap_or((part, ""))).map(|(n, v)| (decode(n), decode(v))).collect()
}

fn decode(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let hex =
            |at: usize| after.get(at).and_then(|b| char::from(*b).to_digit(16)).and_then(|d| u8::try_from(d).ok());
        (rest, _) = match (first, hex(0), hex(1)) {
            (b'%', Some(high), Some(low)) => (&after[2..], out.push(high << 4 | low)),
            (b'+', ..) => (after, out.push(b' ')),
            _ => (after, out.push(first)),
        };
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
}
