//! `openclaw help <topic>`: the manual pages, for machines that have none.
//!
//! They are 132 kB of the binary. Packed with gzip they would be 40 kB: worth it as soon as an inflater is in the binary
//! for something else.

use super::mdoc;
use super::output::MIN_COLUMNS;
use crate::config::keys::{Facts, Key, Keys};
use crate::config::schema::Schema;

/// The page about the configuration. Its biggest section is made from the table of keys, which the program carries
/// anyway: only what stands around that section is part of the binary.
const JSON: &[u8] = include_bytes!("../../man/openclaw.json.5");
/// The line above that section, and the one below it.
pub const KEYS_BEGIN: &str = ".\\\" Made from the table of keys; see tests/manuals.rs.\n";
pub const KEYS_END: &str = ".Sh FILES\n";

const BEGIN: usize = position(KEYS_BEGIN.as_bytes(), 0, false) + KEYS_BEGIN.len();
const END: usize = position(KEYS_END.as_bytes(), JSON.len() - KEYS_END.len(), true);
static BEFORE_KEYS: [u8; BEGIN] = part(0);
static BEHIND_KEYS: [u8; JSON.len() - END] = part(END);

/// A manual page: its name, its section of the manual, and its source.
#[derive(Debug, PartialEq)]
pub struct Page {
    pub name: &'static str,
    pub section: &'static str,
    source: &'static str,
    /// What follows the section of keys in the page that has one.
    behind_keys: Option<&'static str>,
}

macro_rules! pages {
    ($(($name:literal, $section:literal),)*) => {
        /// Every page of man/, sorted.
        pub static PAGES: &[Page] = &[$(
            Page {
                name: $name,
                section: $section,
                source: include_str!(concat!("../../man/", $name, ".", $section)),
                behind_keys: None,
            },
        )*
            Page {
                name: "openclaw.json",
                section: "5",
                source: utf8(&BEFORE_KEYS),
                behind_keys: Some(utf8(&BEHIND_KEYS)),
            },
        ];
    };
}

pages! {
    ("openclaw", "1"),
    ("openclaw-agent", "1"),
    ("openclaw-backup", "1"),
    ("openclaw-call", "1"),
    ("openclaw-channels", "1"),
    ("openclaw-config", "1"),
    ("openclaw-devices", "1"),
    ("openclaw-doctor", "8"),
    ("openclaw-gateway", "8"),
    ("openclaw-hooks", "1"),
    ("openclaw-http", "7"),
    ("openclaw-protocol", "7"),
    ("openclaw-security", "1"),
    ("openclaw-service", "8"),
    ("openclaw-sessions", "1"),
    ("openclaw-setup", "1"),
    ("openclaw-status", "1"),
    ("openclaw-system", "1"),
    ("openclaw-troubleshooting", "7"),
}

impl Page {
    /// The page as plain text of 80 columns.
    pub fn text(&self) -> String {
        mdoc::render(&self.source(), MIN_COLUMNS)
    }

    /// The page in the language of manual pages.
    pub fn source(&self) -> String {
        match self.behind_keys {
            None => self.source.to_owned(),
            Some(rest) => format!("{}{}{rest}", self.source, keys()),
        }
    }

    /// The shortest word that finds it: `devices` for `openclaw-devices`.
    pub fn topic(&self) -> &'static str {
        self.name.strip_prefix("openclaw-").unwrap_or(self.name)
    }
}

/// The page with this name; `protocol` is as good as `openclaw-protocol`.
pub fn find(topic: &str) -> Option<&'static Page> {
    PAGES.iter().find(|page| page.name == topic || page.topic() == topic)
}

/// The page that describes the command with these words, or the one above it.
pub fn about(command: &[String]) -> Option<&'static Page> {
    let heading = format!("\n.Ss openclaw {}\n", command.join(" "));
    let (_, above) = command.split_last()?;
    let own = PAGES.iter().find(|page| page.source.contains(&heading));
    own.or_else(|| if above.is_empty() { find(&command[0]) } else { about(above) })
}

/// What `help` takes beside the names of commands.
pub fn topics() -> String {
    PAGES.iter().map(Page::topic).collect::<Vec<_>>().join(", ")
}

/// The section of openclaw.json(5) about the keys: one part for each section of the file, with its own line, the keys
/// that work, then the others in short.
pub fn keys() -> String {
    let (schema, keys) = (Schema::new(), Keys::new());
    let mut out = String::new();
    let rows: Vec<&Key> = keys.rows().iter().filter(|key| !key.path.starts_with("~.")).collect();
    let section_of = |key: &Key| key.path.split(['.', '[']).next().unwrap_or_default().to_owned();
    for rows in rows.chunk_by(|a, b| section_of(a) == section_of(b)) {
        let name = section_of(rows[0]);
        out += &format!(".Ss {name}\n{}\n", text_line(rows[0].doc));
        let below: Vec<&Key> = rows.iter().copied().filter(|key| key.path != name).collect();
        if below.iter().any(|key| key.effect) {
            out += ".Bl -tag -width Ds\n";
            for key in below.iter().filter(|key| key.effect) {
                let facts = Facts::of(&schema, &key.path).map_or(String::new(), |facts| facts.text(key.default));
                let ours = if key.ours { "; unknown to the reference, which refuses it" } else { "" };
                out += &format!(".It Ic {}\n{}\n", key.path, text_line(key.doc));
                out += &format!("({facts}{ours})\n").replace('≥', "\\(>=").replace('–', "\\(en");
            }
            out += ".El\n";
        }
        if below.iter().any(|key| !key.effect) {
            out += ".Pp\nWithout effect so far:\n.Bl -tag -width Ds -compact\n";
            for key in below.iter().filter(|key| !key.effect && !has_working_part(key, &below)) {
                out += &format!(".It Ic {}\n{}\n", key.path, text_line(key.doc));
                if !key.default.is_empty() {
                    out += &format!("(default {})\n", text_line(key.default));
                }
            }
            out += ".El\n";
        }
    }
    out
}

/// An object with keys that work is only there to hold them.
fn has_working_part(key: &Key, rows: &[&Key]) -> bool {
    rows.iter().any(|row| row.effect && row.path.starts_with(&format!("{}.", key.path)))
}

/// A line that may begin with anything, and mark-up characters as they are.
fn text_line(text: &str) -> String {
    let text = text.replace('\\', "\\e");
    if text.starts_with(['.', '\'']) { format!("\\&{text}") } else { text }
}

/// Where these words stand in the page, looked for from a place on, forwards or backwards. The build ends where they do
/// not stand at all.
const fn position(words: &[u8], mut at: usize, backwards: bool) -> usize {
    loop {
        let mut same = 0;
        while same < words.len() && JSON[at + same] == words[same] {
            same += 1;
        }
        if same == words.len() {
            return at;
        }
        at = if backwards { at - 1 } else { at + 1 };
    }
}

const fn part<const BYTES: usize>(from: usize) -> [u8; BYTES] {
    let mut out = [0; BYTES];
    out.copy_from_slice(JSON.split_at(from).1.split_at(BYTES).0);
    out
}

const fn utf8(bytes: &'static [u8]) -> &'static str {
    match str::from_utf8(bytes) {
        Ok(text) => text,
        Err(_) => panic!("a page that is not UTF-8"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_found_by_name_and_by_command() {
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
        for (command, page) in [
            ("gateway", Some("openclaw-gateway")),
            ("gateway run", Some("openclaw-gateway")),
            ("gateway status", Some("openclaw-service")),
            ("gateway call", Some("openclaw-call")),
            ("daemon restart", Some("openclaw-service")),
            ("devices", Some("openclaw-devices")),
            ("devices approve", Some("openclaw-devices")),
            ("models", Some("openclaw-agent")),
            ("logs", Some("openclaw-status")),
            ("protocol", Some("openclaw-protocol")),
            ("nothing", None),
            ("", None),
        ] {
            let words: Vec<String> = command.split_whitespace().map(str::to_owned).collect();
            assert_eq!(about(&words).map(|page| page.name), page, "{command}");
        }
    }
}
