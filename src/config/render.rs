//! Writing configuration text: one member set in place with comments and order kept, and the first files (cli 3.1, 3.6).
//!
//! An edit is believed only when the new text, read again, is the old value with just this change; otherwise the
//! caller gets an error and writes nothing.

use std::fmt;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::get_path::lookup;
use super::spans::{Kind, Node, scan};
use super::text;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EditError {
    /// The text is no JSON5 or no object.
    Unreadable(String),
    /// Something that is no object stands on the way; the path of it.
    NoObject(String),
    /// There is a token already, perhaps one that cannot be read now.
    TokenPresent,
    /// The result would not be what was meant.
    Uncertain,
}

impl fmt::Display for EditError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EditError::Unreadable(why) => write!(f, "the file cannot be edited: {why}"),
            EditError::NoObject(path) => write!(f, "the file cannot be edited: {path} is not an object"),
            EditError::TokenPresent => {
                f.write_str("gateway.auth.token is set already but has no usable value; correct or remove it by hand")
            }
            EditError::Uncertain => f.write_str("the file cannot be edited safely in place; change it by hand"),
        }
    }
}

impl std::error::Error for EditError {}

/// Saves a first token: `gateway.auth.token`, and `gateway.auth.mode` where none is set. `text` None = no file yet.
pub fn with_token(text: Option<&str>, token: &str) -> Result<String, EditError> {
    let Some(text) = text else {
        return Ok(print_file(&json!({"gateway":{"auth":{"mode":"token","token":token}}})));
    };
    let value = text::parse(text).map_err(EditError::Unreadable)?;
    let present = |path: &str| {
        lookup(&value, path).is_some_and(|v| !v.is_null() && v.as_str().is_none_or(|t| !t.trim().is_empty()))
    };
    if present("gateway.auth.token") {
        return Err(EditError::TokenPresent);
    }
    if lookup(&value, "gateway.auth").is_none() {
        return set_member(text, &["gateway", "auth"], &json!({"mode":"token","token":token}));
    }
    let text = set_member(text, &["gateway", "auth", "token"], &json!(token))?;
    if present("gateway.auth.mode") {
        Ok(text)
    } else {
        set_member(&text, &["gateway", "auth", "mode"], &json!("token"))
    }
}

/// The configuration that `gateway --dev` starts with (cli 3.6).
pub fn dev_config(workspace: &Path) -> String {
    let workspace = workspace.display().to_string();
    print_file(&json!({
        "gateway": {"mode": "local", "bind": "loopback"},
        "agents": {
            "defaults": {"workspace": workspace, "skipBootstrap": true},
            "list": [{
                "id": "dev", "default": true, "workspace": workspace,
                "identity": {"name": "C3-PO", "theme": "protocol droid", "emoji": "🤖"}
            }]
        }
    }))
}

/// JSON with two spaces and a final newline: how a new file is written.
pub fn print_file(value: &Value) -> String {
    format!("{value:#}\n")
}

/// The text with the member at `path` set to `value`; objects on the way are made.
pub fn set_member(text: &str, path: &[&str], value: &Value) -> Result<String, EditError> {
    let mut wanted = text::parse(text).map_err(EditError::Unreadable)?;
    let spans = scan(text).ok_or(EditError::Uncertain)?;
    let Kind::Object(members) = &spans.root.kind else {
        return Err(EditError::Unreadable("it holds no object".into()));
    };
    let style = Style {
        newline: if text.contains("\r\n") { "\r\n" } else { "\n" },
        quoted: members.first().is_some_and(|m| text[m.key_span.clone()].starts_with('"')),
        step: members.first().map_or(2, |m| indent_of(text, m.key_span.start).unwrap_or(2).clamp(1, 8)),
    };

    let mut node = &spans.root;
    let mut depth = 0;
    let found = loop {
        match node.member(path[depth]) {
            Some(member) if depth + 1 == path.len() => break Some(member),
            Some(member) => {
                if !matches!(member.value.kind, Kind::Object(_)) {
                    return Err(EditError::NoObject(path[..=depth].join(".")));
                }
                node = &member.value;
                depth += 1;
            }
            None => break None,
        }
    };
    let edited = match found {
        Some(member) => {
            let indent = indent_of(text, member.key_span.start).unwrap_or(0);
            let multi_line = text[node.span.clone()].contains('\n');
            let printed = style.print(value, multi_line.then_some(indent));
            format!("{}{printed}{}", &text[..member.value.span.start], &text[member.value.span.end..])
        }
        None => {
            let below = path[depth + 1..].iter().rev().fold(value.clone(), |inner, key| json!({*key: inner}));
            style.insert(text, node, path[depth], &below, node.span == spans.root.span)
        }
    };
    put(&mut wanted, path, value.clone());
    let right = text::parse(&edited).is_ok_and(|got| got == wanted);
    if right { Ok(edited) } else { Err(EditError::Uncertain) }
}

/// How this file is written.
struct Style {
    newline: &'static str,
    quoted: bool,
    step: usize,
}

impl Style {
    fn insert(&self, text: &str, object: &Node, key: &str, value: &Value, is_root: bool) -> String {
        let Kind::Object(members) = &object.kind else { return text.to_owned() };
        let multi_line = text[object.span.clone()].contains('\n') || members.is_empty() && is_root;
        let Some(last) = members.last() else {
            let outer = line_indent(text, object.span.start);
            let inner = outer + self.step;
            let open = object.span.start + 1;
            // An empty object has nothing to lose but comments, which stay behind the new member.
            let (before, after) = (&text[..open], &text[open..]);
            if multi_line {
                let printed = self.print(value, Some(inner));
                let close = if text[open..object.span.end - 1].trim().is_empty() { after.trim_start() } else { after };
                let (nl, pad, end) = (self.newline, " ".repeat(inner), " ".repeat(outer));
                return format!("{before}{nl}{pad}{}: {printed}{nl}{end}{close}", self.key(key));
            }
            return format!("{before} {}: {} {}", self.key(key), self.print(value, None), after.trim_start());
        };
        let end = last.value.span.end;
        if !multi_line {
            return format!("{}, {}: {}{}", &text[..end], self.key(key), self.print(value, None), &text[end..]);
        }
        let indent =
            indent_of(text, last.key_span.start).unwrap_or_else(|| line_indent(text, object.span.start) + self.step);
        let member =
            format!("{}{}{}: {}", self.newline, " ".repeat(indent), self.key(key), self.print(value, Some(indent)));
        // `port: 1, // note` keeps its note: the new member goes to the next line.
        let line_end = text[end..].find(['\n', '\r']).map_or(text.len(), |at| end + at);
        let tail = text[end..line_end].trim_start();
        let (comma, note) = match tail.strip_prefix(',') {
            Some(rest) => (true, rest.trim_start()),
            None => (false, tail),
        };
        if (note.is_empty() || note.starts_with("//")) && line_end < object.span.end {
            let after_value = if comma { "" } else { "," };
            let last_comma = if comma { "," } else { "" };
            return format!(
                "{}{after_value}{}{member}{last_comma}{}",
                &text[..end],
                &text[end..line_end],
                &text[line_end..]
            );
        }
        format!("{},{member}{}", &text[..end], &text[end..])
    }

    fn key(&self, key: &str) -> String {
        let bare = key.starts_with(|c: char| c.is_ascii_alphabetic() || matches!(c, '_' | '$'))
            && key.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '$'));
        if bare && !self.quoted { key.to_owned() } else { Value::String(key.to_owned()).to_string() }
    }

    /// On several lines below `indent` blanks, or on one.
    fn print(&self, value: &Value, indent: Option<usize>) -> String {
        let inner = indent.map(|i| i + self.step);
        let lead =
            |i: Option<usize>| i.map_or_else(|| " ".to_owned(), |i| format!("{}{}", self.newline, " ".repeat(i)));
        let (open, close) = (lead(inner), lead(indent));
        let join = |parts: Vec<String>| parts.join(&format!(",{open}"));
        match value {
            Value::Object(map) if !map.is_empty() => {
                let parts = map.iter().map(|(key, v)| format!("{}: {}", self.key(key), self.print(v, inner))).collect();
                format!("{{{open}{}{close}}}", join(parts))
            }
            Value::Array(items) if !items.is_empty() => {
                format!("[{open}{}{close}]", join(items.iter().map(|v| self.print(v, inner)).collect()))
            }
            plain => plain.to_string(),
        }
    }
}

/// Blanks before this place when nothing else stands before it on its line.
fn indent_of(text: &str, at: usize) -> Option<usize> {
    let start = text[..at].rfind('\n').map_or(0, |n| n + 1);
    (start > 0 && text[start..at].bytes().all(|b| matches!(b, b' ' | b'\t'))).then_some(at - start)
}

/// Blanks at the start of the line that holds this place.
fn line_indent(text: &str, at: usize) -> usize {
    let start = text[..at].rfind('\n').map_or(0, |n| n + 1);
    text[start..at].bytes().take_while(|b| matches!(b, b' ' | b'\t')).count()
}

fn put(root: &mut Value, path: &[&str], value: Value) {
    let Some((last, parents)) = path.split_last() else { return };
    let mut here = root;
    for part in parents {
        let Some(map) = here.as_object_mut() else { return };
        here = map.entry(*part).or_insert_with(|| Value::Object(Map::new()));
    }
    if let Some(map) = here.as_object_mut() {
        map.insert((*last).to_owned(), value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_into_existing_files() {
        let table = [
            ("{}", "{\n  gateway: {\n    auth: {\n      mode: \"token\",\n      token: \"T\"\n    }\n  }\n}"),
            (
                "{ gateway: { mode: 'local' } }",
                "{ gateway: { mode: 'local', auth: { mode: \"token\", token: \"T\" } } }",
            ),
            (
                "// head\n{\n  // port\n  gateway: {\n    port: 1, // note\n    mode: 'local' // why\n  },\n  ui: {},\n}\n",
                "// head\n{\n  // port\n  gateway: {\n    port: 1, // note\n    mode: 'local', // why\n    auth: {\n      mode: \"token\",\n      token: \"T\"\n    }\n  },\n  ui: {},\n}\n",
            ),
            (
                "{\n    \"gateway\": {\n        \"mode\": \"local\",\n    },\n}\n",
                "{\n    \"gateway\": {\n        \"mode\": \"local\",\n        \"auth\": {\n            \"mode\": \"token\",\n            \"token\": \"T\"\n        },\n    },\n}\n",
            ),
            (
                "{\r\n  gateway: {\r\n    auth: { token: '', rateLimit: {} } /* end */\r\n  }\r\n}\r\n",
                "{\r\n  gateway: {\r\n    auth: { token: \"T\", rateLimit: {}, mode: \"token\" } /* end */\r\n  }\r\n}\r\n",
            ),
            (
                "{\n  a: 1 /* x */, b: 2\n}",
                "{\n  a: 1 /* x */, b: 2,\n  gateway: {\n    auth: {\n      mode: \"token\",\n      token: \"T\"\n    }\n  }\n}",
            ),
            ("{ gateway: {} }", "{ gateway: { auth: { mode: \"token\", token: \"T\" } } }"),
            ("{ gateway: { auth: { mode: 'token' } } }", "{ gateway: { auth: { mode: 'token', token: \"T\" } } }"),
            (
                "{ // only a note\n}",
                "{\n  gateway: {\n    auth: {\n      mode: \"token\",\n      token: \"T\"\n    }\n  }\n // only a note\n}",
            ),
        ];
        for (before, after) in table {
            let edited = with_token(Some(before), "T").unwrap_or_else(|e| panic!("{before}: {e}"));
            let value = text::parse(&edited).unwrap();
            assert_eq!(value["gateway"]["auth"]["token"], "T", "{before}");
            assert_eq!(value["gateway"]["auth"]["mode"], "token", "{before}");
            assert_eq!(edited, after);
        }
        let fresh = with_token(None, "T").unwrap();
        assert_eq!(text::parse(&fresh).unwrap(), json!({"gateway":{"auth":{"mode":"token","token":"T"}}}));
        assert!(fresh.ends_with("}\n"));
    }

    #[test]
    fn refusals() {
        let table = [
            (
                "{",
                "the file cannot be edited: JSON5 parse failed: SyntaxError: JSON5: invalid end of input at 1:2 (what begins at 1:1 does not end)",
            ),
            ("[]", "the file cannot be edited: it holds no object"),
            ("{gateway:5}", "the file cannot be edited: gateway is not an object"),
            ("{gateway:{auth:'x'}}", "the file cannot be edited: gateway.auth is not an object"),
            (
                "{gateway:{auth:{token:'${T}'}}}",
                "gateway.auth.token is set already but has no usable value; correct or remove it by hand",
            ),
            (
                "{gateway:{auth:{token:{source:'exec',provider:'a',id:'b'}}}}",
                "gateway.auth.token is set already but has no usable value; correct or remove it by hand",
            ),
            ("{g\\u0061teway:{}}", "the file cannot be edited safely in place; change it by hand"),
        ];
        for (text, message) in table {
            assert_eq!(with_token(Some(text), "T").map_err(|e| e.to_string()), Err(message.to_owned()), "{text}");
        }
    }

    #[test]
    fn replacing_values() {
        let text = "{\n  a: { b: [1, 2], c: 'x' }, // keep\n  d: 1,\n}";
        assert_eq!(
            set_member(text, &["d"], &json!({"e":[true]})).unwrap(),
            "{\n  a: { b: [1, 2], c: 'x' }, // keep\n  d: {\n    e: [\n      true\n    ]\n  },\n}"
        );
        assert_eq!(
            set_member(text, &["a", "b"], &json!(null)).unwrap(),
            "{\n  a: { b: null, c: 'x' }, // keep\n  d: 1,\n}"
        );
        assert_eq!(set_member("{a:1, a:2}", &["a"], &json!(3)).unwrap(), "{a:1, a:3}");
        assert_eq!(set_member("{}", &["x-y", "z"], &json!(1)).unwrap(), "{\n  \"x-y\": {\n    z: 1\n  }\n}");
    }

    #[test]
    fn edits_of_mutated_texts_are_right_or_refused() {
        let seed = "// a\n{\n  gateway: { mode: 'local', // b\n    remote: {}, },\n  ui: [1, { x: \"y\" }], /* c */\n  env: { A: 'z' }\n}\n";
        let mut random = crate::sys::testing::Random(7);
        let mut next = move || random.next() as usize;
        let mut done = 0;
        for _ in 0..10_000 {
            let mut bytes = seed.as_bytes().to_vec();
            for _ in 0..1 + next() % 3 {
                let at = next() % bytes.len();
                match next() % 3 {
                    0 => bytes[at] = b"{}[]'\",:/\n *a"[next() % 13],
                    1 => bytes.insert(at, b"{}[]'\",:/\n *a"[next() % 13]),
                    _ => drop(bytes.remove(at)),
                }
            }
            let text = String::from_utf8(bytes).unwrap();
            let Ok(edited) = with_token(Some(&text), "T") else { continue };
            let mut wanted = text::parse(&text).unwrap();
            put(&mut wanted, &["gateway", "auth"], json!({"mode":"token","token":"T"}));
            let got = text::parse(&edited).unwrap();
            assert_eq!(got["gateway"]["auth"]["token"], "T");
            assert_eq!(got.as_object().unwrap().len(), wanted.as_object().unwrap().len(), "{text}");
            done += 1;
        }
        assert!(done > 1000, "{done}");
    }

    #[test]
    fn first_files() {
        let value = text::parse(&dev_config(Path::new("/w"))).unwrap();
        assert_eq!(value["agents"]["list"][0]["identity"]["name"], "C3-PO");
        assert_eq!(super::super::check::check(&value), []);
    }
}
