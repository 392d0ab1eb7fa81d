//! How configuration text is written: a new file as plain JSON, and new parts of an old file in its own style.

use std::path::Path;

use serde_json::{Value, json};

use super::spans::{Kind, Node, Spans};

/// A list or object that its neighbours have on one line gets one, too, up to this length.
const ONE_LINE_CHARS: usize = 100;

/// JSON with two spaces and a final newline: how a new file is written.
pub fn print_file(value: &Value) -> String {
    format!("{value:#}\n")
}

/// The configuration that `gateway --dev` starts with (cli 3.6).
pub fn dev_config(workspace: &Path) -> Value {
    let workspace = workspace.display().to_string();
    json!({
        "gateway": {"mode": "local", "bind": "loopback"},
        "agents": {
            "defaults": {"workspace": workspace, "skipBootstrap": true},
            "list": [{
                "id": "dev", "default": true, "workspace": workspace,
                "identity": {"name": "C3-PO", "theme": "protocol droid", "emoji": "🤖"}
            }]
        }
    })
}

/// How a file is written, as far as new parts of it should look alike.
#[derive(Clone, Debug, PartialEq)]
pub struct Style {
    pub newline: &'static str,
    /// One level of indentation.
    pub step: String,
    /// Quote of keys; None: bare where that is possible.
    pub key_quote: Option<char>,
    pub quote: char,
    /// Between a key and its value.
    pub colon: &'static str,
    /// Containers with a line for each item end in a comma.
    pub trailing: bool,
    /// The whole file stands on one line.
    pub one_line: bool,
    /// Lists of texts and numbers stand on one line.
    flat_lists: bool,
    /// Blanks inside the brackets of an object on one line.
    padded: bool,
}

/// What the containers of a file have in common.
#[derive(Default)]
struct Habits {
    bare: usize,
    single_keys: usize,
    double_keys: usize,
    single: usize,
    double: usize,
    tight_colons: usize,
    colons: usize,
    trailing: usize,
    bare_ends: usize,
    padded: usize,
    tight: usize,
    flat_lists: usize,
    broken_lists: usize,
    step: Option<String>,
}

impl Style {
    pub fn of(text: &str, spans: &Spans) -> Style {
        let mut habits = Habits::default();
        habits.look(text, spans, &spans.root, None);
        let tight = habits.colons > 0 && habits.tight_colons * 2 > habits.colons;
        let key_quote = match (habits.bare, habits.double_keys, habits.single_keys) {
            (bare, double, single) if bare > double.max(single) => None,
            (_, double, single) if single > double => Some('\''),
            _ => Some('"'),
        };
        Style {
            newline: if text.contains("\r\n") { "\r\n" } else { "\n" },
            step: habits.step.unwrap_or_else(|| "  ".into()),
            key_quote,
            quote: if habits.single > habits.double { '\'' } else { '"' },
            colon: if tight { ":" } else { ": " },
            trailing: habits.trailing > habits.bare_ends,
            one_line: !text.trim_end().contains('\n') && habits.colons > 0,
            // Without an example: as people write them, or as machines do.
            flat_lists: match habits.flat_lists + habits.broken_lists {
                0 => key_quote.is_none(),
                _ => habits.flat_lists > habits.broken_lists,
            },
            padded: if habits.padded + habits.tight == 0 { !tight } else { habits.padded >= habits.tight },
        }
    }

    /// Blanks inside the brackets of an object on one line.
    pub fn pad(&self) -> &'static str {
        if self.padded { " " } else { "" }
    }

    /// What follows a comma on the same line.
    pub fn gap(&self) -> &'static str {
        if self.colon == ":" { "" } else { " " }
    }

    /// A key as its neighbour (a member's text) has it, else as the file has it.
    pub fn key_like(&self, key: &str, neighbour: Option<&str>) -> String {
        let quote = match neighbour.and_then(|text| text.chars().next()) {
            Some(quote @ ('"' | '\'')) => Some(quote),
            Some(_) => None,
            None => self.key_quote,
        };
        let start = |c: char| c.is_ascii_alphabetic() || matches!(c, '_' | '$');
        let bare = key.starts_with(start) && key.chars().all(|c| start(c) || c.is_ascii_digit());
        match quote {
            None if bare => key.to_owned(),
            quote => quoted(key, quote.unwrap_or(self.quote)),
        }
    }

    /// A value that starts on a line with `indent`: over several lines, or on one. `quote` is that of the text it
    /// replaces.
    pub fn print_with(&self, value: &Value, indent: &str, lines: bool, quote: Option<char>) -> String {
        match value {
            Value::String(text) => quoted(text, quote.unwrap_or(self.quote)),
            Value::Object(map) if map.is_empty() => "{}".into(),
            Value::Array(items) if items.is_empty() => "[]".into(),
            Value::Object(_) | Value::Array(_) if !lines || self.flat_lists && is_plain_list(value) => {
                let flat = self.container(value, None);
                let too_long = !self.one_line && flat.chars().count() > ONE_LINE_CHARS;
                if too_long { self.container(value, Some(indent)) } else { flat }
            }
            Value::Object(_) | Value::Array(_) => self.container(value, Some(indent)),
            plain => plain.to_string(),
        }
    }

    /// `indent` None: on one line.
    fn container(&self, value: &Value, indent: Option<&str>) -> String {
        let inner = indent.map(|indent| format!("{indent}{}", self.step));
        let print = |value: &Value| match &inner {
            Some(inner) => self.print_with(value, inner, true, None),
            None if value.is_object() || value.is_array() => match value {
                Value::Object(map) if map.is_empty() => "{}".into(),
                Value::Array(items) if items.is_empty() => "[]".into(),
                _ => self.container(value, None),
            },
            None => self.print_with(value, "", false, None),
        };
        let (parts, open, close): (Vec<String>, _, _) = match value {
            Value::Object(map) => {
                let member = |(key, value): (&String, &Value)| {
                    format!("{}{}{}", self.key_like(key, None), self.colon, print(value))
                };
                (map.iter().map(member).collect(), '{', '}')
            }
            Value::Array(items) => (items.iter().map(print).collect(), '[', ']'),
            other => return other.to_string(),
        };
        match (indent, &inner) {
            (Some(indent), Some(inner)) => {
                let lead = format!("{}{inner}", self.newline);
                let last = if self.trailing { "," } else { "" };
                format!("{open}{lead}{}{last}{}{indent}{close}", parts.join(&format!(",{lead}")), self.newline)
            }
            _ => {
                let pad = if open == '{' { self.pad() } else { "" };
                format!("{open}{pad}{}{pad}{close}", parts.join(&format!(",{}", self.gap())))
            }
        }
    }
}

impl Habits {
    fn look(&mut self, text: &str, spans: &Spans, node: &Node, outer: Option<&str>) {
        let whole = &text[node.span.clone()];
        match &node.kind {
            Kind::Plain => {}
            Kind::Text if whole.starts_with('\'') => self.single += 1,
            Kind::Text => self.double += 1,
            Kind::Object(members) => {
                for member in members {
                    match text[member.key_span.clone()].chars().next() {
                        Some('"') => self.double_keys += 1,
                        Some('\'') => self.single_keys += 1,
                        _ => self.bare += 1,
                    }
                    self.colons += 1;
                    self.tight_colons += usize::from(&text[member.key_span.end..member.value.span.start] == ":");
                }
                self.ends(text, spans, node, members.last().map(|m| &m.value));
                for member in members {
                    let indent = own_line(text, member.key_span.start);
                    if let (None, Some(indent), Some(outer)) = (&self.step, indent, outer.or(Some("")))
                        && let Some(step) = indent.strip_prefix(outer).filter(|step| !step.is_empty())
                    {
                        self.step = Some(step.to_owned());
                    }
                    self.look(text, spans, &member.value, indent.or(outer));
                }
            }
            Kind::Array(items) => {
                self.ends(text, spans, node, items.last());
                if !items.is_empty() && items.iter().all(|item| matches!(item.kind, Kind::Text | Kind::Plain)) {
                    *(if whole.contains('\n') { &mut self.broken_lists } else { &mut self.flat_lists }) += 1;
                }
                for item in items {
                    self.look(text, spans, item, own_line(text, item.span.start).or(outer));
                }
            }
        }
    }

    /// How a container ends.
    fn ends(&mut self, text: &str, spans: &Spans, node: &Node, last: Option<&Node>) {
        let Some(last) = last else { return };
        let whole = &text[node.span.clone()];
        if whole.contains('\n') {
            let rest = last.span.end..node.span.end - 1;
            let in_comment = |at: usize| spans.comments.iter().any(|c| c.contains(&at));
            let comma = text[rest.clone()].match_indices(',').any(|(at, _)| !in_comment(rest.start + at));
            *(if comma { &mut self.trailing } else { &mut self.bare_ends }) += 1;
        } else if let Some(inside) = whole.strip_prefix('{') {
            *(if inside.starts_with([' ', '\t']) { &mut self.padded } else { &mut self.tight }) += 1;
        }
    }
}

fn is_plain_list(value: &Value) -> bool {
    value.as_array().is_some_and(|items| items.iter().all(|item| !item.is_object() && !item.is_array()))
}

/// Blanks before this place when nothing else stands before it on its line, and it is not the first line.
fn own_line(text: &str, at: usize) -> Option<&str> {
    let start = text[..at].rfind('\n')? + 1;
    let blanks = &text[start..at];
    blanks.bytes().all(|b| matches!(b, b' ' | b'\t')).then_some(blanks)
}

fn quoted(text: &str, quote: char) -> String {
    let double = Value::String(text.to_owned()).to_string();
    if quote == '"' {
        return double;
    }
    let mut out = String::with_capacity(double.len());
    let mut chars = double[1..double.len() - 1].chars();
    out.push('\'');
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some('"') => out.push('"'),
                escaped => out.extend(['\\'].into_iter().chain(escaped)),
            },
            '\'' => out.push_str("\\'"),
            c => out.push(c),
        }
    }
    out.push('\'');
    out
}

#[cfg(test)]
mod tests {
    use super::super::spans::scan;
    use super::super::text;
    use super::*;

    fn style(text: &str) -> Style {
        Style::of(text, &scan(text).unwrap())
    }

    #[test]
    fn habits_of_a_file() {
        let plain = Style {
            newline: "\n",
            step: "  ".into(),
            key_quote: Some('"'),
            quote: '"',
            colon: ": ",
            trailing: false,
            one_line: false,
            flat_lists: false,
            padded: true,
        };
        assert_eq!(style("{}"), plain);
        assert_eq!(style("{\n  \"a\": \"x\"\n}\n"), plain);
        assert_eq!(
            style("{\n\ta: 'x',\n\tb: { c: 'y' },\n}\n"),
            Style {
                step: "\t".into(),
                key_quote: None,
                quote: '\'',
                trailing: true,
                flat_lists: true,
                ..plain.clone()
            }
        );
        assert_eq!(
            style("{\r\n    'a': {x: 1}\r\n}"),
            Style { newline: "\r\n", step: "    ".into(), key_quote: Some('\''), padded: false, ..plain.clone() }
        );
        assert_eq!(style("{\"a\":{\"b\":1}}"), Style { colon: ":", one_line: true, padded: false, ..plain.clone() });
        assert!(!style("{\n  a: 1 // , no comma\n}").trailing);
        assert!(style("{ \"a\": [1] }").flat_lists && !style("{ a: [\n1] }").flat_lists);
    }

    #[test]
    fn values_in_a_style() {
        let value = json!({"a-b":["x",{}],"c":{"d":"it's \"so\"\n"}});
        let plain = style("{}");
        assert_eq!(
            plain.print_with(&value, "  ", true, None),
            "{\n    \"a-b\": [\n      \"x\",\n      {}\n    ],\n    \"c\": {\n      \"d\": \"it's \\\"so\\\"\\n\"\n    }\n  }"
        );
        assert_eq!(
            plain.print_with(&value, "", false, None),
            "{ \"a-b\": [\"x\", {}], \"c\": { \"d\": \"it's \\\"so\\\"\\n\" } }"
        );
        let loose = style("{\n  a: 'x',\n}");
        assert_eq!(
            loose.print_with(&value, "", true, None),
            "{\n  'a-b': [\n    'x',\n    {},\n  ],\n  c: {\n    d: 'it\\'s \"so\"\\n',\n  },\n}"
        );
        assert_eq!(loose.print_with(&json!("q"), "", true, Some('"')), "\"q\"");
        let tight = style("{\"a\":1}");
        assert_eq!(
            tight.print_with(&value, "", false, None),
            "{\"a-b\":[\"x\",{}],\"c\":{\"d\":\"it's \\\"so\\\"\\n\"}}"
        );
        let long = json!(["x".repeat(60), "y".repeat(60)]);
        assert_eq!(plain.print_with(&long, "", false, None).lines().count(), 4);
    }

    #[test]
    fn quotes() {
        for text in ["", "'", "\"", "\\", "\\'", "a\"'b\\\"", "\n\t\u{1}é🤖\u{2028}", "\\\\'"] {
            for quote in ['\'', '"'] {
                assert_eq!(text::parse(&quoted(text, quote)), Ok(json!(text)), "{text:?}");
            }
        }
    }

    #[test]
    fn first_files() {
        let value = dev_config(Path::new("/w"));
        assert_eq!(value["agents"]["list"][0]["identity"]["name"], "C3-PO");
        assert_eq!(super::super::check::check(&value), []);
        assert!(print_file(&value).ends_with("}\n"));
    }
}
