//! What the configuration may look like: every object, key, type and range, from `schema_keys.txt`.
//!
//! The text is generated (`contrib/config-schema-keys.py`) and read in place: one line per object, a line is taken
//! apart only when the check comes past it, so a start costs a table of line positions and nothing stays in memory.
//!
//! Grammar of a line: words `key:type`, `key!:type` when required, `*:type` for any further key; without `*` the
//! object is strict; `-` is an empty strict object. Types: `s` string, `n` number, `i` integer, `b` boolean, `*` anything,
//! `e(a,b)` one of these texts (`#5` a number, `=F` a boolean), `u(a|b)` either, `[t]` array, `@12` the object of
//! line 12 (from 0). Bounds follow a type: `i>=0<=23`; on strings and arrays they mean the length. `~c` after a string is a
//! rule of `pattern`, `*~k:type` one for the names of further keys. Root: the last line.

use std::fmt::Write as _;

use super::pattern::Pattern;

const TEXT: &str = include_str!("schema_keys.txt");

/// Keys of ours that the reference refuses (DECISIONS 74): parent path, key, type.
pub const EXTRA_KEYS: &[(&str, &str, &str)] = &[
    ("gateway", "maxBufferedBytes", "i>=65536"),
    ("gateway.http", "cors", "@-"),
    ("gateway.http.cors", "allowedOrigins", "[s>=1]"),
    ("hooks.mappings[].transform", "command", "s"),
];
/// Line of `@-`: an object with no keys but extra ones.
const EMPTY: usize = usize::MAX;

/// Required by the reference, but one of ours may stand in its place; `cross` wants either.
const REPLACEABLE: &[(&str, &str)] = &[("hooks.mappings[].transform", "module")];

#[derive(Clone, Debug, PartialEq)]
pub enum Type {
    Any,
    Text(Bounds, Option<Pattern>),
    Number(Bounds),
    Integer(Bounds),
    Bool,
    OneOf(Vec<Literal>),
    Either(Vec<Type>),
    List(Box<Type>, Bounds),
    /// Line of the object.
    Object(usize),
}

#[derive(Clone, Debug, PartialEq)]
pub enum Literal {
    Text(&'static str),
    Number(f64),
    Bool(bool),
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Bounds {
    pub min: Option<f64>,
    /// The minimum itself is not allowed.
    pub above: bool,
    pub max: Option<f64>,
    pub below: bool,
}

/// One object of the schema.
#[derive(Clone, Debug, PartialEq)]
pub struct Object {
    pub keys: Vec<Key>,
    /// Type of keys that are not listed; None = they are refused.
    pub rest: Option<Type>,
    /// What the names of those keys must look like.
    pub names: Option<Pattern>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Key {
    pub name: &'static str,
    pub required: bool,
    pub kind: Type,
}

/// The lines of the text.
pub struct Schema {
    lines: Vec<&'static str>,
}

impl Schema {
    pub fn new() -> Self {
        Schema { lines: TEXT.lines().collect() }
    }

    pub fn root(&self) -> Type {
        Type::Object(self.lines.len() - 1)
    }

    /// The object of a line; `path` (with `*` and `[]`) only serves to add [`EXTRA_KEYS`].
    pub fn object(&self, line: usize, path: &str) -> Object {
        let mut out = Object { keys: Vec::new(), rest: None, names: None };
        let text = if line == EMPTY { "-" } else { self.lines[line] };
        for word in text.split(' ') {
            let Some((name, kind)) = word.split_once(':') else { continue };
            let kind = parse(kind);
            match name.strip_suffix('!') {
                _ if name.starts_with('*') => {
                    out.rest = Some(kind);
                    out.names = name.strip_prefix("*~").and_then(pattern);
                }
                Some(name) => {
                    out.keys.push(Key { name, required: !is_replaceable(path, name), kind });
                }
                None => out.keys.push(Key { name, required: false, kind }),
            }
        }
        for (_, name, kind) in EXTRA_KEYS.iter().filter(|(parent, ..)| is_place(path, parent)) {
            out.keys.push(Key { name, required: false, kind: parse(kind) });
        }
        out
    }

    /// The types that may stand at a path (`models.providers.*.models[].id`, `agents.list.0.id`); several behind unions.
    pub fn at(&self, path: &str) -> Vec<Type> {
        let mut here = vec![self.root()];
        let mut walked = String::new();
        for step in steps(path) {
            let mut next = Vec::new();
            for kind in here.iter().flat_map(flatten) {
                match kind {
                    Type::List(item, _) if is_position(step) => next.push((**item).clone()),
                    Type::Object(line) => {
                        let object = self.object(*line, &walked);
                        let listed = object.keys.into_iter().find(|k| k.name == step).map(|k| k.kind);
                        next.extend(listed.or(object.rest));
                    }
                    Type::Any => next.push(Type::Any),
                    _ => {}
                }
            }
            push_step(&mut walked, step);
            here = next;
        }
        here.iter().flat_map(flatten).cloned().collect()
    }

    /// Every path of the schema in the notation of [`Schema::at`], leaves and objects, in order.
    pub fn paths(&self) -> Vec<String> {
        let mut out = Vec::new();
        self.walk(&self.root(), &mut String::new(), &mut out);
        out
    }

    fn walk(&self, kind: &Type, path: &mut String, out: &mut Vec<String>) {
        let here = path.len();
        match kind {
            Type::Either(kinds) => kinds.iter().for_each(|k| self.walk(k, path, out)),
            Type::List(item, _) => {
                path.push_str("[]");
                self.walk(item, path, out);
                path.truncate(here);
            }
            Type::Object(line) => {
                let object = self.object(*line, path);
                let rest = object.rest.map(|kind| Key { name: "*", required: false, kind });
                for key in object.keys.into_iter().chain(rest) {
                    push_step(path, key.name);
                    out.push(path.clone());
                    self.walk(&key.kind, path, out);
                    path.truncate(here);
                }
            }
            _ => {}
        }
    }
}

impl Default for Schema {
    fn default() -> Self {
        Schema::new()
    }
}

impl Bounds {
    /// What is wrong with this number (or length): the comparison that fails, as `>=0`.
    pub fn broken(&self, value: f64) -> Option<(bool, String)> {
        let (small, big) = (self.min.filter(|m| value < *m || self.above && value == *m), self.max);
        if let Some(min) = small {
            return Some((true, format!("{}{min}", if self.above { ">" } else { ">=" })));
        }
        let big = big.filter(|m| value > *m || self.below && value == *m)?;
        Some((false, format!("{}{big}", if self.below { "<" } else { "<=" })))
    }

    /// `0–23`, `≥ 1`, `> 0`; empty without bounds.
    pub fn text(&self) -> String {
        match (self.min, self.max) {
            (Some(min), Some(max)) if !self.above && !self.below => format!("{min}–{max}"),
            (min, max) => {
                let mut out = String::new();
                if let Some(min) = min {
                    let _ = write!(out, "{} {min}", if self.above { ">" } else { "≥" });
                }
                if let Some(max) = max {
                    let comma = if out.is_empty() { "" } else { ", " };
                    let _ = write!(out, "{comma}{} {max}", if self.below { "<" } else { "≤" });
                }
                out
            }
        }
    }
}

impl Literal {
    pub fn value(&self) -> serde_json::Value {
        match self {
            Literal::Text(text) => (*text).into(),
            Literal::Number(number) if number.fract() == 0.0 => (*number as i64).into(),
            Literal::Number(number) => (*number).into(),
            Literal::Bool(value) => (*value).into(),
        }
    }

    /// As JSON.
    pub fn json(&self) -> String {
        self.value().to_string()
    }

    /// As a person writes it.
    pub fn text(&self) -> String {
        match self {
            Literal::Text(text) => (*text).to_owned(),
            other => other.json(),
        }
    }
}

/// The alternatives of a type, the type itself when it is no union.
pub fn flatten(kind: &Type) -> &[Type] {
    match kind {
        Type::Either(kinds) => kinds,
        one => std::slice::from_ref(one),
    }
}

/// A step into a list: any position, or one of them.
pub fn is_position(step: &str) -> bool {
    matches!(step, "[]" | "*") || !step.is_empty() && step.bytes().all(|b| b.is_ascii_digit())
}

/// Steps of a path in `KEYS` notation: `a.*.b[].c` → `a`, `*`, `b`, `[]`, `c`.
pub fn steps(path: &str) -> impl Iterator<Item = &str> {
    path.split('.').filter(|part| !part.is_empty()).flat_map(|part| {
        let name = part.trim_end_matches("[]");
        let lists = (part.len() - name.len()) / 2;
        (!name.is_empty()).then_some(name).into_iter().chain(std::iter::repeat_n("[]", lists))
    })
}

/// Appends a step in the same notation.
pub fn push_step(path: &mut String, step: &str) {
    if !path.is_empty() && step != "[]" {
        path.push('.');
    }
    path.push_str(step);
}

/// Whether a path, written with `[]`, with positions or with `*`, is this place of the schema.
fn is_place(path: &str, place: &str) -> bool {
    let same = |(here, wanted): (&str, &str)| here == wanted || (wanted == "[]" && is_position(here));
    steps(path).count() == steps(place).count() && steps(path).zip(steps(place)).all(same)
}

fn is_replaceable(path: &str, name: &str) -> bool {
    REPLACEABLE.iter().any(|(place, key)| *key == name && is_place(path, place))
}

/// Appends a list position.
pub fn push_index(path: &mut String, index: usize) {
    let dot = if path.is_empty() { "" } else { "." };
    let _ = write!(path, "{dot}{index}");
}

fn parse(text: &'static str) -> Type {
    let (kind, rest) = parse_type(text);
    debug_assert!(rest.is_empty(), "schema_keys.txt: {text}");
    kind
}

fn parse_type(text: &'static str) -> (Type, &'static str) {
    let tail = &text[1..];
    match text.as_bytes()[0] {
        b's' => {
            let (kind, tail) = with_bounds(tail, |bounds| Type::Text(bounds, None));
            match (kind, tail.strip_prefix('~')) {
                (Type::Text(bounds, _), Some(rule)) => (Type::Text(bounds, pattern(rule)), &rule[1..]),
                (kind, _) => (kind, tail),
            }
        }
        b'n' => with_bounds(tail, Type::Number),
        b'i' => with_bounds(tail, Type::Integer),
        b'b' => (Type::Bool, tail),
        b'[' => {
            let (item, tail) = parse_type(tail);
            with_bounds(&tail[1..], |bounds| Type::List(Box::new(item), bounds))
        }
        b'@' if tail.starts_with('-') => (Type::Object(EMPTY), &tail[1..]),
        b'@' => {
            let end = tail.find(|c: char| !c.is_ascii_digit()).unwrap_or(tail.len());
            (Type::Object(tail[..end].parse().expect("the generator writes line numbers")), &tail[end..])
        }
        b'e' => {
            let end = tail.find(')').expect("the generator closes every list");
            (Type::OneOf(tail[1..end].split(',').map(literal).collect()), &tail[end + 1..])
        }
        b'u' => {
            let (mut kinds, mut tail) = (Vec::new(), &tail[1..]);
            loop {
                let (kind, after) = parse_type(tail);
                kinds.push(kind);
                tail = &after[1..];
                if after.starts_with(')') {
                    return (Type::Either(kinds), tail);
                }
            }
        }
        _ => (Type::Any, tail),
    }
}

fn pattern(text: &str) -> Option<Pattern> {
    text.bytes().next().and_then(Pattern::by_letter)
}

fn literal(text: &'static str) -> Literal {
    match text.as_bytes().first() {
        Some(b'#') => Literal::Number(text[1..].parse().expect("the generator writes numbers")),
        Some(b'=') => Literal::Bool(&text[1..] == "T"),
        _ => Literal::Text(text),
    }
}

fn with_bounds(mut text: &'static str, build: impl FnOnce(Bounds) -> Type) -> (Type, &'static str) {
    let mut bounds = Bounds::default();
    while let Some(sign @ (b'<' | b'>')) = text.as_bytes().first() {
        let strict = !text[1..].starts_with('=');
        text = &text[if strict { 1 } else { 2 }..];
        let end = text.find(|c: char| !c.is_ascii_digit() && c != '.' && c != '-').unwrap_or(text.len());
        let value = Some(text[..end].parse().expect("the generator writes numbers"));
        text = &text[end..];
        if *sign == b'>' {
            (bounds.min, bounds.above) = (value, strict);
        } else {
            (bounds.max, bounds.below) = (value, strict);
        }
    }
    (build(bounds), text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grammar() {
        let port = Type::Integer(Bounds { min: Some(0.0), above: true, ..Bounds::default() });
        let hour = Bounds { min: Some(0.0), max: Some(23.0), ..Bounds::default() };
        assert_eq!(parse("i>0"), port);
        assert_eq!(parse("i>=0<=23"), Type::Integer(hour));
        assert_eq!(parse("[u(s|@7)]<=5"), {
            let either = Type::Either(vec![Type::Text(Bounds::default(), None), Type::Object(7)]);
            Type::List(Box::new(either), Bounds { max: Some(5.0), ..Bounds::default() })
        });
        let odd = Type::OneOf(vec![Literal::Text("a"), Literal::Number(5.0), Literal::Bool(false)]);
        assert_eq!(parse("u(b|e(a,#5,=F))"), Type::Either(vec![Type::Bool, odd]));
        assert_eq!(parse("*"), Type::Any);
        let color = Pattern::by_letter(b'c');
        assert!(color.is_some());
        assert_eq!(parse("[s>=1~c]"), {
            let item = Type::Text(Bounds { min: Some(1.0), ..Bounds::default() }, color);
            Type::List(Box::new(item), Bounds::default())
        });
        assert_eq!(hour.text(), "0–23");
        assert_eq!(hour.broken(24.0), Some((false, "<=23".into())));
        assert_eq!(hour.broken(23.0), None);
        assert_eq!(Bounds { min: Some(0.0), above: true, ..Bounds::default() }.broken(0.0), Some((true, ">0".into())));
    }

    #[test]
    fn steps_of_paths() {
        assert_eq!(steps("a.*.b[].c").collect::<Vec<_>>(), ["a", "*", "b", "[]", "c"]);
        assert_eq!(steps("a[][]").collect::<Vec<_>>(), ["a", "[]", "[]"]);
        assert_eq!(steps("").count(), 0);
    }

    #[test]
    fn every_line_can_be_read() {
        let schema = Schema::new();
        for line in 0..schema.lines.len() {
            schema.object(line, "");
        }
        assert!(schema.paths().len() > 3000);
        assert_eq!(schema.at("gateway.port"), [parse("i>0")]);
        assert_eq!(schema.at("models.providers.*.models[].id"), [parse("s>=1")]);
        assert_eq!(schema.at("models.providers.x.models.3.id"), [parse("s>=1")]);
        assert!(schema.at("gateway.frob").is_empty());
        let profiles = schema.at("browser.profiles");
        let Type::Object(line) = profiles[0] else { panic!("{profiles:?}") };
        assert_eq!(schema.object(line, "").names, Pattern::by_letter(b'k'));
        assert!(TEXT.len() < 60_000, "{}", TEXT.len());
    }
}
