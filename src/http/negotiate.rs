//! What a client wants of a representation: only if it has changed, a part of it, compressed (RFC 9110 sections 12 to
//! 14). Headers that cannot be understood count as absent.

use super::Head;

/// The part of a representation that is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Whole,
    /// From here on, so many bytes: at least one.
    Bytes(u64, u64),
    /// 416
    Nothing,
}

/// The client has this already: 304.
pub fn not_modified(head: &Head, etag: &str) -> bool {
    let weak = |tag: &str| tag.trim().strip_prefix("W/").unwrap_or(tag.trim()).to_owned();
    let same = |tags: &str| tags.trim() == "*" || tags.split(',').any(|tag| weak(tag) == etag);
    head.header("if-none-match").is_some_and(same)
}

/// The part that a GET asks for. Several at once are answered with everything, as RFC 9110 allows.
pub fn part(head: &Head, etag: &str, length: u64) -> Part {
    let Some(range) = head.header("range").filter(|_| head.method == "GET") else { return Part::Whole };
    // A date is no answer to the question whether it is still the same: it counts whole seconds.
    if head.header("if-range").is_some_and(|tag| tag.trim() != etag) {
        return Part::Whole;
    }
    parse_range(range, length).unwrap_or(Part::Whole)
}

/// None: no range of bytes, or several.
fn parse_range(text: &str, length: u64) -> Option<Part> {
    let (unit, range) = text.split_once('=')?;
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return None;
    }
    let (first, last) = range.trim().split_once('-')?;
    let number = |text: &str| match text.bytes().all(|b| b.is_ascii_digit()) {
        // Digits that no number holds are still a number.
        true if !text.is_empty() => Some(text.parse().unwrap_or(u64::MAX)),
        _ => None,
    };
    if first.is_empty() {
        let suffix = number(last)?.min(length);
        return Some(if suffix == 0 { Part::Nothing } else { Part::Bytes(length - suffix, suffix) });
    }
    let first = number(first)?;
    let last = if last.is_empty() { u64::MAX } else { number(last)? };
    if last < first {
        return None;
    }
    if first >= length {
        return Some(Part::Nothing);
    }
    Some(Part::Bytes(first, last.min(length - 1) - first + 1))
}

/// Whether the client reads gzip.
pub fn accepts_gzip(head: &Head) -> bool {
    let quality = |wanted: &str| {
        let codings = head.header("accept-encoding").unwrap_or_default().split(',');
        codings
            .filter_map(|coding| {
                let (name, parameters) = coding.split_once(';').unwrap_or((coding, ""));
                let q = parameters.trim().strip_prefix("q=").map_or(Some(1.0), |q| q.trim().parse::<f32>().ok())?;
                name.trim().eq_ignore_ascii_case(wanted).then_some(q)
            })
            .next()
    };
    quality("gzip").or_else(|| quality("x-gzip")).or_else(|| quality("*")).is_some_and(|q| q > 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(lines: &str) -> Head {
        let text = format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n");
        super::super::head::parse(text.as_bytes()).unwrap().unwrap().0
    }

    #[test]
    fn ranges() {
        for (range, want) in [
            ("bytes=0-0", Part::Bytes(0, 1)),
            ("bytes=0-", Part::Bytes(0, 10)),
            ("bytes=3-5", Part::Bytes(3, 3)),
            ("Bytes=9-9", Part::Bytes(9, 1)),
            ("bytes=5-99999999999999999999999", Part::Bytes(5, 5)),
            ("bytes=-3", Part::Bytes(7, 3)),
            ("bytes=-100", Part::Bytes(0, 10)),
            ("bytes= 2-3", Part::Bytes(2, 2)),
            ("bytes=10-", Part::Nothing),
            ("bytes=99999999999999999999999-", Part::Nothing),
            ("bytes=-0", Part::Nothing),
            ("bytes=5-3", Part::Whole),
            ("bytes=0-1,4-5", Part::Whole),
            ("bytes=0-1,", Part::Whole),
            ("bytes=", Part::Whole),
            ("bytes=-", Part::Whole),
            ("bytes=a-b", Part::Whole),
            ("bytes=+1-2", Part::Whole),
            ("bytes=--1", Part::Whole),
            ("lines=0-1", Part::Whole),
            ("0-1", Part::Whole),
        ] {
            assert_eq!(part(&head(&format!("Range: {range}\r\n")), "\"e\"", 10), want, "{range}");
        }
        assert_eq!(part(&head("Range: bytes=0-\r\n"), "\"e\"", 0), Part::Nothing);
        assert_eq!(part(&head("Range: bytes=-1\r\n"), "\"e\"", 0), Part::Nothing);
        for (condition, want) in [
            ("\"e\"", Part::Bytes(0, 1)),
            ("\"f\"", Part::Whole),
            ("W/\"e\"", Part::Whole),
            ("Sat, 01 Jan 2000 00:00:00 GMT", Part::Whole),
        ] {
            let head = head(&format!("Range: bytes=0-0\r\nIf-Range: {condition}\r\n"));
            assert_eq!(part(&head, "\"e\"", 10), want, "{condition}");
        }
    }

    #[test]
    fn conditions() {
        for (tags, same) in [
            ("\"e\"", true),
            ("W/\"e\"", true),
            ("\"a\", \"e\"", true),
            ("*", true),
            ("\"a\"", false),
            ("e", false),
            ("", false),
        ] {
            assert_eq!(not_modified(&head(&format!("If-None-Match: {tags}\r\n")), "\"e\""), same, "{tags}");
        }
        assert!(!not_modified(&head(""), "\"e\""));
    }

    #[test]
    fn codings() {
        for (accepted, gzip) in [
            ("gzip", true),
            ("GZip, deflate, br", true),
            ("br;q=1.0, gzip;q=0.8, *;q=0.1", true),
            ("x-gzip", true),
            ("*", true),
            ("*;q=0", false),
            ("gzip;q=0", false),
            ("gzip; q=0.000, *", false),
            ("gzip;q=x", false),
            ("identity", false),
            ("", false),
        ] {
            assert_eq!(accepts_gzip(&head(&format!("Accept-Encoding: {accepted}\r\n"))), gzip, "{accepted}");
        }
        assert!(!accepts_gzip(&head("")));
    }
}
