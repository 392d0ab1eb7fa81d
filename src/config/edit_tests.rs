//! Texts before and after; and random texts whose comments say where they belong.

use serde_json::{Value, json};

use super::diff::same;
use super::edit::{align, edited, rewrite};
use super::merge;
use super::spans::scan;
use super::text;
use crate::sys::testing::Random;

fn steps(path: &str) -> Vec<String> {
    path.split('.').map(str::to_owned).collect()
}

/// The text with `path` set, or taken away where the value is None.
fn change(text: &str, path: &str, value: Option<Value>) -> String {
    let mut wanted = text::parse(text).unwrap();
    match value {
        Some(value) => merge::set(&mut wanted, &steps(path), value).unwrap(),
        None => assert!(merge::unset(&mut wanted, &steps(path)), "{path}"),
    }
    let new = rewrite(text, &wanted);
    assert!(same(&text::parse(&new).unwrap(), &wanted), "{new}");
    new
}

#[test]
fn setting() {
    let table = [
        // A new member goes to the end and looks like its neighbours.
        ("{}", "a.b", json!(1), "{\n  \"a\": {\n    \"b\": 1\n  }\n}"),
        (
            "{ g: { mode: 'local' } }",
            "g.auth",
            json!({"mode":"token"}),
            "{ g: { mode: 'local', auth: { mode: 'token' } } }",
        ),
        (
            "{\"a\":1,\"b\":{\"c\":2}}\n",
            "b.d",
            json!([1,{"x":"y"}]),
            "{\"a\":1,\"b\":{\"c\":2,\"d\":[1,{\"x\":\"y\"}]}}\n",
        ),
        ("{a: 1}", "b", json!("x"), "{a: 1, b: \"x\"}"),
        ("{a:1}", "b", json!(2), "{a:1,b:2}"),
        (
            "{\n  a: 1, // one\n  b: 'x' // two\n  // three\n}\n",
            "c",
            json!("y"),
            "{\n  a: 1, // one\n  b: 'x', // two\n  c: 'y'\n  // three\n}\n",
        ),
        (
            "{\n\ta: 1,\n\tb: {\n\t\tc: 1,\n\t},\n}\n",
            "b.d",
            json!({"e":[1]}),
            "{\n\ta: 1,\n\tb: {\n\t\tc: 1,\n\t\td: {\n\t\t\te: [1],\n\t\t},\n\t},\n}\n",
        ),
        ("{\r\n  'a': 'x'\r\n}\r\n", "b.c", json!("y"), "{\r\n  'a': 'x',\r\n  'b': {\r\n    'c': 'y'\r\n  }\r\n}\r\n"),
        (
            "{\n  p: { x: 1 },\n  q: { y: 2 }\n}",
            "r",
            json!({"z":3}),
            "{\n  p: { x: 1 },\n  q: { y: 2 },\n  r: { z: 3 }\n}",
        ),
        ("{\n  a: 1 /* x */, b: 2\n}", "c", json!(3), "{\n  a: 1 /* x */, b: 2,\n  c: 3\n}"),
        ("{ a: 1 /* x */ }", "b", json!(2), "{ a: 1, /* x */ b: 2 }"),
        ("{ a: 1, // x\n}", "b", json!(2), "{ a: 1, // x\n b: 2,\n}"),
        ("{ // note\n}", "a", json!(1), "{ // note\n  \"a\": 1\n}"),
        ("{\n  ui: {},\n}", "ui.x", json!(1), "{\n  ui: {\n    x: 1,\n  },\n}"),
        ("{ ui: {} }", "ui.x", json!(1), "{ ui: { x: 1 } }"),
        // A value keeps its quotes, its comment and its place.
        ("{\n  a: 'x', // why\n  \"b\": \"y\",\n}", "a", json!("it's"), "{\n  a: 'it\\'s', // why\n  \"b\": \"y\",\n}"),
        ("{\n  a: 'x', // why\n  \"b\": \"y\",\n}", "b", json!(null), "{\n  a: 'x', // why\n  \"b\": null,\n}"),
        ("{ p: 0x10, q: +1., r: .5 }", "q", json!(2), "{ p: 0x10, q: 2, r: .5 }"),
        ("{a:1, a:2}", "a", json!(3), "{a:1, a:3}"),
        (
            "{\n  o: { /* in */ k: 1, l: [1, 2] }, // o\n}",
            "o.k",
            json!(5),
            "{\n  o: { /* in */ k: 5, l: [1, 2] }, // o\n}",
        ),
        // Lists.
        ("{ l: ['a', 'b'] }", "l.2", json!("c"), "{ l: ['a', 'b', 'c'] }"),
        ("{ l: [ 'a' ] }", "l.1", json!("c"), "{ l: [ 'a', 'c' ] }"),
        (
            "{\n  l: [\n    1, // one\n    2 // two\n  ]\n}",
            "l.2",
            json!(3),
            "{\n  l: [\n    1, // one\n    2, // two\n    3\n  ]\n}",
        ),
        ("{\n  l: [\n    1, // one\n    2 // two\n  ]\n}", "l.0", json!(3), "{\n  l: [\n    3,\n    2 // two\n  ]\n}"),
        (
            "{ list: [\n  { id: 'a', n: 1 }, // a\n  { id: 'b', n: 2 }, // b\n] }",
            "list",
            json!([{"id":"new"},{"id":"b","n":3},{"id":"a","n":1}]),
            "{ list: [\n  { id: 'new' },\n  { id: 'b', n: 3 }, // b\n  { id: 'a', n: 1 },\n] }",
        ),
    ];
    for (before, path, value, after) in table {
        assert_eq!(change(before, path, Some(value)), after, "{before} {path}");
    }
}

#[test]
fn taking_away() {
    let table = [
        ("{ a: 1, b: 2, c: 3 }", "b", "{ a: 1, c: 3 }"),
        ("{ a: 1, b: 2, c: 3 }", "a", "{ b: 2, c: 3 }"),
        ("{a: 1, b: 2}", "a", "{b: 2}"),
        ("{ a: 1, b: 2 }", "b", "{ a: 1 }"),
        ("{ a: 1, b: 2, }", "b", "{ a: 1, }"),
        ("{ a: 1 }", "a", "{}"),
        ("{\n  a: 1\n}\n", "a", "{}\n"),
        ("{\n  a: 1, // one\n  b: 2 // two\n}", "a", "{\n  b: 2 // two\n}"),
        ("{\n  a: 1, // one\n  b: 2 // two\n}", "b", "{\n  a: 1 // one\n}"),
        ("{\n  // about a\n  a: 1,\n\n  // about b\n  b: 2,\n}", "b", "{\n  // about a\n  a: 1,\n\n  // about b\n}"),
        ("{\n  // about a\n  a: 1,\n  b: 2,\n}", "a", "{\n  // about a\n  b: 2,\n}"),
        ("{ // head\n  a: 1 }", "a", "{ // head\n }"),
        ("{ a: 1, /* b */ b: 2, c: 3 }", "b", "{ a: 1, /* b */ c: 3 }"),
        ("{ // c\n a: 1, b: 2 }", "a", "{ // c\n b: 2 }"),
        ("{ a: { b: 1, c: 2 }, d: 1 }", "a.b", "{ a: { c: 2 }, d: 1 }"),
        ("{a:1, a:2, b:3}", "a", "{b:3}"),
        ("{\n  a: 1\n  , b: 2\n  , c: 3\n}", "b", "{\n  a: 1\n  , c: 3\n}"),
        ("{ l: [1, 2, 3] }", "l.1", "{ l: [1, 3] }"),
        ("{ l: [1] }", "l.0", "{ l: [] }"),
    ];
    for (before, path, after) in table {
        assert_eq!(change(before, path, None), after, "{before} {path}");
    }
}

#[test]
fn what_cannot_be_edited_is_printed() {
    assert_eq!(
        rewrite("{g\\u0061teway:{}}", &json!({"gateway":{"a":1}})),
        "{\n  \"gateway\": {\n    \"a\": 1\n  }\n}\n"
    );
    assert_eq!(rewrite("[1]", &json!({"a":1})), "{\n  \"a\": 1\n}");
    assert_eq!(rewrite("not json", &json!({"a":1})), "{\n  \"a\": 1\n}\n");
    assert_eq!(rewrite("{ a: 1.0 } // same", &json!({"a":1})), "{ a: 1.0 } // same");
}

#[test]
fn lists_are_aligned() {
    let table = [
        (json!([1, 2, 3]), json!([1, 3]), vec![(0, 0), (2, 1)]),
        (json!([1, 2]), json!([0, 1, 2]), vec![(0, 1), (1, 2)]),
        (json!([1, 2, 3, 4]), json!([2, 9, 4]), vec![(1, 0), (3, 2)]),
        (json!([{"id":"a","x":1}]), json!([{"id":"b"},{"id":"a","x":2}]), vec![(0, 1)]),
        (json!([]), json!([1]), vec![]),
    ];
    for (old, new, pairs) in table {
        assert_eq!(align(old.as_array().unwrap(), new.as_array().unwrap()), pairs, "{old} {new}");
    }
}

#[test]
fn damaged_texts_become_what_is_wanted() {
    let seed = "// a\n{\n  gateway: { mode: 'local', // b\n    remote: {}, },\n  ui: [1, { x: \"y\" }], /* c */\n  env: { A: 'z' }\n}\n";
    let mut random = Random(7);
    let mut done = 0;
    for _ in 0..10_000 {
        let Ok(text) = String::from_utf8(random.mutated(seed.as_bytes())) else { continue };
        let Ok(mut wanted) = text::parse(&text) else { continue };
        merge::patch(&mut wanted, &json!({"gateway":{"auth":{"token":"T"},"mode":null},"ui":["two"]}));
        let new = rewrite(&text, &wanted);
        assert!(same(&text::parse(&new).unwrap(), &wanted), "{text:?}\n{new:?}");
        done += 1;
    }
    assert!(done > 500, "{done}");
}

/// A random text whose comments say whose they are: `<path>` of what they go with, so that it can be said which of
/// them an edit may take along.
struct Author {
    random: Random,
    text: String,
    comments: Vec<(String, String)>,
    paths: Vec<String>,
    number: usize,
    newline: &'static str,
}

impl Author {
    fn chance(&mut self, of: usize) -> bool {
        self.random.below(of) == 0
    }

    fn comment(&mut self, owner: &str, line: bool) {
        self.number += 1;
        let words = ["it's", "a, b", "{", "]", "\"", "x: 1"][self.random.below(6)];
        let body = format!("#{} {words}", self.number);
        let text = if line { format!("// {body}") } else { format!("/* {body} */") };
        self.text.push_str(&text);
        self.comments.push((owner.to_owned(), text));
    }

    fn scalar(&mut self) {
        self.number += 1;
        let n = self.number;
        let text = match self.random.below(6) {
            0 => format!("'s{n} // \\' no'"),
            1 => format!("\"d{n} /* \\\"no\\\" */\""),
            2 => format!("0x{n:x}"),
            3 => format!("-{n}.5"),
            4 => format!("\"{{{n}: [\""),
            _ => n.to_string(),
        };
        self.text.push_str(&text);
    }

    fn value(&mut self, path: &str, depth: usize, indent: usize) {
        match self.random.below(if depth > 3 { 1 } else { 4 }) {
            0 | 1 if depth > 0 => self.scalar(),
            2 if depth > 0 => self.container(path, depth, indent, '[', ']'),
            _ => self.container(path, depth, indent, '{', '}'),
        }
    }

    fn container(&mut self, path: &str, depth: usize, indent: usize, open: char, close: char) {
        let lines = self.chance(2);
        let count = self.random.below(4);
        self.text.push(open);
        if lines && self.chance(4) {
            self.text.push(' ');
            let line = self.chance(2);
            self.comment(path, line);
        }
        for n in 0..count {
            let name = if open == '{' { format!("k{n}") } else { n.to_string() };
            let inner = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            if lines {
                if self.chance(3) {
                    self.break_line(indent + 2);
                    self.comment(path, true);
                }
                self.break_line(indent + 2);
            } else {
                self.text.push(' ');
                if self.chance(5) {
                    self.comment(path, false);
                }
            }
            if open == '{' {
                let key = [name.clone(), format!("'{name}'"), format!("\"{name}\"")][self.random.below(3)].clone();
                self.text.push_str(&key);
                self.text.push_str([":", ": ", " : "][self.random.below(3)]);
            }
            self.paths.push(inner.clone());
            self.value(&inner, depth + 1, indent + 2);
            if self.chance(6) {
                self.text.push(' ');
                self.comment(&inner, false);
            }
            if n + 1 < count || self.chance(2) {
                self.text.push(',');
            }
            if lines && self.chance(3) {
                self.text.push(' ');
                self.comment(&inner, true);
            }
        }
        if lines {
            if self.chance(5) {
                self.break_line(indent + 2);
                self.comment(path, true);
            }
            self.break_line(indent);
        }
        self.text.push(close);
    }

    fn break_line(&mut self, indent: usize) {
        self.text.push_str(self.newline);
        self.text.push_str(&" ".repeat(indent));
    }
}

#[test]
fn comments_outside_the_touched_place_survive() {
    let (mut edits, mut comments) = (0, 0);
    for seed in 1..3_000u64 {
        let newline = if seed % 3 == 0 { "\r\n" } else { "\n" };
        let random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut author =
            Author { random, text: String::new(), comments: Vec::new(), paths: Vec::new(), number: 0, newline };
        author.comment("", true);
        author.text.push_str(newline);
        author.container("", 0, 0, '{', '}');
        author.text.push_str(newline);
        let before = text::parse(&author.text).unwrap_or_else(|e| panic!("{e}\n{}", author.text));
        let path = match author.random.below(4) {
            0 => "new.deep".to_owned(),
            _ if author.paths.is_empty() => "new".to_owned(),
            _ => author.paths[author.random.below(author.paths.len())].clone(),
        };
        let value = match author.random.below(5) {
            0 => json!({"a": [1, {"b": null}], "c": "q'\"uote"}),
            1 => json!(["one", 2]),
            2 => json!("text"),
            _ => json!(true),
        };
        let mut wanted = before.clone();
        if author.chance(3) && merge::unset(&mut wanted, &steps(&path)) {
        } else {
            merge::set(&mut wanted, &steps(&path), value).unwrap();
        }
        let spans = scan(&author.text).unwrap();
        assert_eq!(spans.comments.len(), author.comments.len());
        let new = edited(&author.text, &wanted, false).unwrap();
        let context = || format!("seed {seed}, {path}\n── before\n{}\n── after\n{new}", author.text);
        let got = text::parse(&new).unwrap_or_else(|e| panic!("{e}\n{}", context()));
        assert!(same(&got, &wanted), "{}", context());
        let left: Vec<String> = scan(&new).unwrap().comments.iter().map(|c| new[c.clone()].to_owned()).collect();
        for (owner, comment) in &author.comments {
            let touched = *owner == path || owner.starts_with(&format!("{path}."));
            assert!(touched || left.contains(comment), "lost {comment}\n{}", context());
            comments += 1;
        }
        assert_eq!(new.contains("\r\n"), newline == "\r\n", "{}", context());
        assert!(newline == "\n" || !new.replace("\r\n", "").contains('\n'), "{}", context());
        assert_eq!(rewrite(&new, &wanted), new, "a second time changes nothing");
        edits += 1;
    }
    assert!(edits > 2_000 && comments > 5_000, "{edits} {comments}");
}
