//! What pages are given: a page to begin with, and a script in every page that reloads it and carries what people do
//! there to the app that shows it.

/// The page that a fresh directory begins with.
pub const STARTER: &str = include_str!("starter.html");
/// A directory that is not there.
pub const MISSING: &str = "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>Canvas</title>\n\
                           <body>Missing file.<br>Put an index.html into this directory of the canvas.</body>\n</html>\n";

const BRIDGE: &str = include_str!("bridge.js");
const RELOAD: &str = include_str!("reload.js");

/// The page with the script in it, before the end of its body; without such an end at its own.
pub fn inject(html: &[u8], live_reload: bool) -> Vec<u8> {
    let reload = if live_reload { RELOAD } else { "" };
    let script = format!("<script>\n{BRIDGE}{reload}</script>\n");
    let at = last_tag(html, b"</body").unwrap_or(html.len());
    [&html[..at], script.as_bytes(), &html[at..]].concat()
}

fn last_tag(html: &[u8], tag: &[u8]) -> Option<usize> {
    let is_end = |at: usize| html.get(at + tag.len()).is_some_and(|b| *b == b'>' || b.is_ascii_whitespace());
    (0..html.len().saturating_sub(tag.len()))
        .rev()
        .find(|&at| html[at..at + tag.len()].eq_ignore_ascii_case(tag) && is_end(at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_stands_at_the_end_of_the_body() {
        for (page, before, after) in [
            ("<body>a</body></html>", "<body>a<script>", "</script>\n</body></html>"),
            ("<BODY>a</BODY >", "<BODY>a<script>", "</script>\n</BODY >"),
            ("x</body>y</body>z", "x</body>y<script>", "</script>\n</body>z"),
            ("just text", "just text<script>", "</script>\n"),
            ("</bodyguard>", "</bodyguard><script>", "</script>\n"),
            ("</body", "</body<script>", "</script>\n"),
            ("", "<script>", "</script>\n"),
        ] {
            let injected = String::from_utf8(inject(page.as_bytes(), true)).unwrap();
            assert!(injected.starts_with(before) && injected.ends_with(after), "{page}: {injected}");
        }
        assert_eq!(inject(b"\xff</body>", true)[0], 0xff, "any encoding passes");
        let quiet = String::from_utf8(inject(b"", false)).unwrap();
        assert!(quiet.contains("openclawSendUserAction") && !quiet.contains("/__openclaw__/ws"));
    }

    #[test]
    fn the_names_that_apps_and_pages_know() {
        let page = String::from_utf8(inject(STARTER.as_bytes(), true)).unwrap();
        for name in [
            "openclawCanvasA2UIAction",
            "messageHandlers",
            "openclawSendUserAction",
            "sendUserAction",
            "userAction",
            "/__openclaw__/ws",
            "oc_cap",
            "\"reload\"",
        ] {
            assert!(page.contains(name), "{name}");
        }
        // Nothing in a script may look like its end.
        assert_eq!(page.matches("</script").count(), STARTER.matches("</script").count() + 1);
    }
}
