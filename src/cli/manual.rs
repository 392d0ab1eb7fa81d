//! `openclaw help <page>`: the manual pages, for machines that have none.

use super::mdoc;
use super::output::MIN_COLUMNS;

/// A manual page: its name and its source.
#[derive(Debug, PartialEq)]
pub struct Page {
    pub name: &'static str,
    source: &'static str,
}

macro_rules! pages {
    ($(($name:literal, $section:literal),)*) => {
        /// Every page of man/, sorted.
        pub static PAGES: &[Page] = &[$(
            Page { name: $name, source: include_str!(concat!("../../man/", $name, ".", $section)) },
        )*];
    };
}

pages! {
    ("openclaw", "1"),
    ("openclaw-doctor", "8"),
    ("openclaw-gateway", "8"),
    ("openclaw-http", "7"),
    ("openclaw-protocol", "7"),
    ("openclaw-troubleshooting", "7"),
    ("openclaw.json", "5"),
}

impl Page {
    pub fn text(&self) -> String {
        mdoc::render(self.source, MIN_COLUMNS)
    }
}

/// The page with this name; `protocol` is as good as `openclaw-protocol`.
pub fn find(topic: &str) -> Option<&'static Page> {
    PAGES.iter().find(|page| page.name == topic || page.name.strip_prefix("openclaw-") == Some(topic))
}

/// The line of the general help that names the pages.
pub fn note() -> String {
    let names: Vec<&str> = PAGES.iter().map(|page| page.name).collect();
    format!("\"openclaw help <page>\" prints a manual page: {}.", names.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_found_by_both_names_and_fit() {
        for (topic, page) in [
            ("openclaw", Some("openclaw")),
            ("openclaw.json", Some("openclaw.json")),
            ("troubleshooting", Some("openclaw-troubleshooting")),
            ("openclaw-gateway", Some("openclaw-gateway")),
            ("json", None),
            ("", None),
        ] {
            assert_eq!(find(topic).map(|page| page.name), page, "{topic}");
        }
        for page in PAGES {
            let text = page.text();
            assert!(text.lines().count() > 50 && text.contains("\nNAME\n"), "{}", page.name);
            let long: Vec<&str> = text.lines().filter(|line| super::super::output::width(line) > 100).collect();
            assert!(long.is_empty(), "{}: {long:#?}", page.name);
        }
    }
}
