//! The line of text in which apps report themselves with `system-event` (DECISIONS 43).

use super::presence::{Entry, short};

/// Fields of `Node: <host> (<ip>) · app <version> · last input <n>s ago · mode <mode> · reason <reason>`: all of
/// them or nothing. Letters in any case; may start anywhere in the text.
pub(super) fn parse_node_text(text: &str) -> Option<Entry> {
    const START: &str = "node:";
    (0..text.len())
        .filter(|at| {
            text.as_bytes()[*at..].get(..START.len()).is_some_and(|s| s.eq_ignore_ascii_case(START.as_bytes()))
        })
        .find_map(|at| parse_node_fields(&text[at + START.len()..]))
}

fn parse_node_fields(text: &str) -> Option<Entry> {
    let text = text.trim_start();
    let host_end = text.find([' ', '('])?;
    let (host, rest) = text.split_at(host_end);
    let (ip, rest) = rest.trim_start().strip_prefix('(')?.split_once(')')?;
    let (version, rest) = field(word(rest.trim_start().strip_prefix('·')?, "app")?)?;
    let rest = word(rest, "last input")?;
    let digits_end = rest.find(|c: char| !c.is_ascii_digit())?;
    let (digits, rest) = rest.split_at(digits_end);
    let rest = word(rest, "s ago")?.strip_prefix('·')?;
    let (mode, rest) = field(word(rest, "mode")?)?;
    let reason = word(rest, "reason")?.trim();
    let given = !host.is_empty() && !ip.is_empty() && !digits.is_empty() && !reason.is_empty();
    (given && !reason.contains('\n')).then(|| Entry {
        host: Some(short(host)),
        ip: Some(short(ip.trim())),
        version: Some(short(version)),
        last_input_seconds: Some(digits.parse().unwrap_or(u64::MAX)),
        mode: Some(short(mode)),
        reason: Some(short(reason)),
        ..Entry::default()
    })
}

/// What follows a keyword, blanks on both sides of it ignored.
fn word<'a>(text: &'a str, keyword: &str) -> Option<&'a str> {
    let text = text.trim_start();
    let start = text.get(..keyword.len())?;
    start.eq_ignore_ascii_case(keyword).then(|| text[keyword.len()..].trim_start())
}

/// A value up to the next dot in the middle, and what follows the dot.
fn field(text: &str) -> Option<(&str, &str)> {
    let (value, rest) = text.split_once('·')?;
    let value = value.trim();
    (!value.is_empty()).then_some((value, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_node_text_says() {
        let whole = "Node: pi (10.0.0.5) · app 1.2 · last input 3s ago · mode remote · reason periodic tick";
        for (text, host) in [
            (whole.to_owned(), Some("pi")),
            (format!("late: {whole}"), Some("pi")),
            (whole.to_uppercase(), Some("PI")),
            (whole.replace("Node: ", "Node:"), Some("pi")),
            (whole.replace(" (10", "(10"), Some("pi")),
            (whole.replace("Node: pi", "Node: zed Node: pi"), Some("pi")),
            (whole.replace("pi (", "p i ("), None),
            (whole.replace(" · mode remote", ""), None),
            (whole.replace("3s", "s"), None),
            (whole.replace("3s", "xs"), None),
            (whole.replace("periodic tick", ""), None),
            (whole.replace("tick", "\ntick"), None),
            (whole.replace('·', "-"), None),
            ("Node: zed · mode ui".into(), None),
            ("Node:".into(), None),
            ("node:nöde:".into(), None),
            (String::new(), None),
        ] {
            assert_eq!(parse_node_text(&text).and_then(|entry| entry.host).as_deref(), host, "{text}");
        }
        let entry = parse_node_text(whole).unwrap();
        assert_eq!(entry.reason.as_deref(), Some("periodic tick"));
        assert_eq!(entry.last_input_seconds, Some(3));
    }

    #[test]
    fn many_starts_that_lead_nowhere() {
        assert_eq!(parse_node_text(&"node:".repeat(800)), None);
        assert_eq!(parse_node_text(&"Node: a (b) · app c".repeat(200)), None);
    }

    #[test]
    fn mutated_texts_never_panic() {
        let seed = "Node: pi (10.0.0.5) · app 1.2 · last input 3s ago · mode remote · reason periodic";
        let mut generator = crate::sys::testing::Random(1);
        let mut random = move |below| generator.below(below);
        let mut read = 0;
        for _ in 0..5000 {
            let mut text: Vec<char> = seed.chars().collect();
            for _ in 0..=random(3) {
                let at = random(text.len());
                match random(3) {
                    0 => text[at] = ['·', ' ', '(', ')', 'é', '0', 'K', '\u{212a}'][random(8)],
                    1 => drop(text.remove(at)),
                    _ => text.insert(at, ['·', ' ', '(', ')', 'é', '9', ':', '\u{0130}'][random(8)]),
                }
            }
            let text: String = text.into_iter().collect();
            read += usize::from(parse_node_text(&text).is_some());
        }
        assert!(read > 100, "{read}");
    }
}
