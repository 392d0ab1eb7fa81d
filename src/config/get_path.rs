//! Looking values up by a path as people write them: `agents.list[0].id`, `models.providers["my.one"].baseUrl`.

use std::fmt;

use serde_json::Value;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadPath {
    pub path: String,
}

impl fmt::Display for BadPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Invalid path (missing \"]\" or empty part): {}", self.path)
    }
}

impl std::error::Error for BadPath {}

/// Splits a path. Dots separate; `[…]` holds a position or a key, with or without quotes; `\.` is a dot in a key.
pub fn parse_path(path: &str) -> Result<Vec<String>, BadPath> {
    let bad = || BadPath { path: path.to_owned() };
    let (mut parts, mut part, mut chars) = (Vec::new(), String::new(), path.trim().chars().peekable());
    // After `]` the next part needs a dot or another bracket.
    let mut closed = false;
    while let Some(c) = chars.next() {
        match c {
            '\\' => part.push(chars.next().ok_or_else(bad)?),
            '.' if closed => closed = false,
            '.' if part.is_empty() => return Err(bad()),
            '.' => parts.push(std::mem::take(&mut part)),
            '[' => {
                if !part.is_empty() {
                    parts.push(std::mem::take(&mut part));
                }
                let inner = bracket(&mut chars).ok_or_else(bad)?;
                parts.push(inner);
                closed = true;
                continue;
            }
            _ if closed => return Err(bad()),
            _ => part.push(c),
        }
        if chars.peek().is_none() && c == '.' {
            return Err(bad());
        }
    }
    if !part.is_empty() {
        parts.push(part);
    }
    if parts.is_empty() { Err(bad()) } else { Ok(parts) }
}

/// The value at a path; array positions are numbers.
pub fn get<'v>(value: &'v Value, parts: &[impl AsRef<str>]) -> Option<&'v Value> {
    parts.iter().try_fold(value, |here, part| step(here, part.as_ref()))
}

/// [`parse_path`] and [`get`]; for paths that are written in the code.
pub fn lookup<'v>(value: &'v Value, path: &str) -> Option<&'v Value> {
    path.split('.').try_fold(value, step)
}

fn step<'v>(here: &'v Value, part: &str) -> Option<&'v Value> {
    match here {
        Value::Object(map) => map.get(part),
        Value::Array(items) => items.get(part.parse::<usize>().ok()?),
        _ => None,
    }
}

fn bracket(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<String> {
    let quote = chars.next_if(|c| matches!(c, '"' | '\''));
    let mut inner = String::new();
    loop {
        match (chars.next()?, quote) {
            ('\\', Some(_)) => inner.push(chars.next()?),
            (c, Some(q)) if c == q => {
                return (chars.next()? == ']').then_some(inner);
            }
            (']', None) => return Some(inner.trim().to_owned()).filter(|i| !i.is_empty()),
            (c, _) => inner.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn paths() {
        let table: [(&str, Option<&[&str]>); 13] = [
            ("gateway.port", Some(&["gateway", "port"])),
            (" a ", Some(&["a"])),
            ("agents.list[0].id", Some(&["agents", "list", "0", "id"])),
            ("a[0][1]", Some(&["a", "0", "1"])),
            ("a['x.y'].z", Some(&["a", "x.y", "z"])),
            (r#"a["q\"]"]"#, Some(&["a", "q\"]"])),
            (r"a.b\.c", Some(&["a", "b.c"])),
            ("", None),
            ("a..b", None),
            ("a.", None),
            ("a[", None),
            ("a[]", None),
            ("a[0]b", None),
        ];
        for (path, expected) in table {
            let expected = expected.map(|parts| parts.iter().map(|p| (*p).to_owned()).collect::<Vec<_>>());
            assert_eq!(parse_path(path).ok(), expected, "{path}");
        }
    }

    #[test]
    fn values() {
        let value = json!({"a":{"b":[10,{"c":true}]}});
        assert_eq!(get(&value, &["a", "b", "1", "c"]), Some(&json!(true)));
        assert_eq!(get(&value, &["a", "b", "x"]), None);
        assert_eq!(lookup(&value, "a.b.0"), Some(&json!(10)));
        assert_eq!(lookup(&value, "a.b.0.c"), None);
    }
}
