//! Reads back what a service runs: the parts of a systemd unit that the audit and the status look at.

use std::path::{Path, PathBuf};

/// What a service runs, from its file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Command {
    pub arguments: Vec<String>,
    pub working_dir: Option<String>,
    pub env: Vec<(String, String)>,
    pub source: PathBuf,
    /// Lines `Key=value` of a unit; empty elsewhere.
    pub lines: Vec<(String, String)>,
}

impl Command {
    pub fn var(&self, name: &str) -> Option<&str> {
        self.env.iter().rev().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    /// `--port` of the command line.
    pub fn port_argument(&self) -> Option<u16> {
        let mut words = self.arguments.iter();
        while let Some(word) = words.next() {
            let value = match word.strip_prefix("--port") {
                Some("") => words.next().map(String::as_str),
                Some(rest) => rest.strip_prefix('='),
                None => continue,
            };
            return value.and_then(|text| text.parse().ok()).filter(|port| *port > 0);
        }
        None
    }

    /// The port that the service listens on, as far as its file says.
    pub fn port(&self) -> Option<u16> {
        self.port_argument().or_else(|| self.var("OPENCLAW_GATEWAY_PORT")?.trim().parse().ok()).filter(|port| *port > 0)
    }
}

/// None when there is no ExecStart.
pub fn parse(text: &str, source: &Path) -> Option<Command> {
    let mut command = Command { source: source.to_owned(), ..Command::default() };
    for line in joined(text) {
        let line = line.trim();
        if line.starts_with(['#', ';', '[']) {
            continue;
        }
        let Some((key, value)) = line.split_once('=') else { continue };
        let (key, value) = (key.trim(), value.trim());
        match key {
            // Flags before the path are the manager's.
            "ExecStart" => command.arguments = split(value.trim_start_matches(['-', '@', '+', '!', ':']), true),
            "WorkingDirectory" => command.working_dir = Some(value.trim_start_matches('-').to_owned()),
            "Environment" => {
                let pairs = split(value, false).into_iter();
                command.env.extend(pairs.filter_map(|pair| {
                    let (name, value) = pair.split_once('=')?;
                    Some((name.to_owned(), value.to_owned()))
                }));
            }
            _ => {}
        }
        command.lines.push((key.to_owned(), value.to_owned()));
    }
    (!command.arguments.is_empty()).then_some(command)
}

/// A word of ExecStart or of Environment, as systemd reads it back (systemd.syntax(7)).
pub(super) fn quoted(word: &str, command: bool) -> String {
    let mut text = word.replace('%', "%%");
    if command {
        text = text.replace('$', "$$");
    }
    if text.is_empty() || text.contains([' ', '\t', '"', '\'', '\\']) {
        return format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
    }
    text
}

/// Lines that end in a backslash go on.
fn joined(text: &str) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    let mut open = false;
    for line in text.lines() {
        let (part, goes_on) = line.strip_suffix('\\').map_or((line, false), |part| (part, true));
        match out.last_mut().filter(|_| open) {
            Some(last) => {
                last.push(' ');
                last.push_str(part);
            }
            None => out.push(part.to_owned()),
        }
        open = goes_on;
    }
    out
}

/// Words with quotes and backslashes; the reverse of [`quoted`].
fn split(text: &str, command: bool) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\\' => {
                let next = chars.next().unwrap_or('\\');
                word.get_or_insert_default().push(next);
            }
            '"' | '\'' if quote.is_none() => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            _ if quote == Some(c) => quote = None,
            _ if c.is_whitespace() && quote.is_none() => words.extend(word.take()),
            '%' if chars.peek() == Some(&'%') => {
                chars.next();
                word.get_or_insert_default().push('%');
            }
            '$' if command && chars.peek() == Some(&'$') => {
                chars.next();
                word.get_or_insert_default().push('$');
            }
            _ => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_survive_being_written() {
        for word in ["plain", "with space", "a\"b'c", "back\\slash", "100%", "$HOME", "", "Ü x"] {
            for command in [true, false] {
                assert_eq!(split(&quoted(word, command), command), [word], "{word:?}");
            }
        }
    }

    #[test]
    fn units_of_others_are_read() {
        let text = "[Unit]\n# x\n[Service]\nExecStart=-/usr/bin/node \\\n  /opt/index.js gateway --port=19001\n\
                    WorkingDirectory=-/srv\nEnvironment=A=1 \"B=two words\"\nEnvironment=A=3\n";
        let command = parse(text, Path::new("/x")).unwrap();
        assert_eq!(command.arguments, ["/usr/bin/node", "/opt/index.js", "gateway", "--port=19001"]);
        assert_eq!((command.port(), command.working_dir.as_deref()), (Some(19001), Some("/srv")));
        assert_eq!((command.var("A"), command.var("B")), (Some("3"), Some("two words")));
        assert_eq!(parse("[Service]\n", Path::new("/x")), None);
        assert_eq!(parse("ExecStart=/x gateway --port\n", Path::new("/x")).unwrap().port(), None);
    }

    #[test]
    fn mutated_units_never_panic() {
        let unit = b"[Service]\nExecStart=/usr/bin/openclaw gateway --port 1\nEnvironment=\"A=b c\" D=%%e\\\n F=g\n";
        let mut random = crate::sys::testing::Random(0x5eed_0002);
        for _ in 0..5_000 {
            let bytes = random.mutated(unit);
            let _ = parse(&String::from_utf8_lossy(&bytes), Path::new("/x"));
        }
    }
}
