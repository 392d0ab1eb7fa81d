//! Where the members of a JSON5 text stand, so that it can be changed in place and its comments survive.
//!
//! Only for texts that `text::parse` has accepted; where it meets something else it gives up (None).

use std::ops::Range;

use super::text::MAX_DEPTH;

#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    pub span: Range<usize>,
    pub kind: Kind,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    Object(Vec<Member>),
    Array(Vec<Node>),
    /// A quoted text.
    Text,
    /// A number, boolean or null.
    Plain,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Member {
    pub key: String,
    pub key_span: Range<usize>,
    pub value: Node,
}

/// The outermost value and all comments.
#[derive(Clone, Debug, PartialEq)]
pub struct Spans {
    pub root: Node,
    pub comments: Vec<Range<usize>>,
}

impl Node {
    /// The last member of that name: the one that counts.
    pub fn member(&self, key: &str) -> Option<&Member> {
        match &self.kind {
            Kind::Object(members) => members.iter().rev().find(|m| m.key == key),
            _ => None,
        }
    }
}

pub fn scan(text: &str) -> Option<Spans> {
    let mut scanner = Scanner { text, at: 0, comments: Vec::new() };
    scanner.blanks();
    let root = scanner.value(0)?;
    scanner.blanks();
    (scanner.at == text.len()).then_some(Spans { root, comments: scanner.comments })
}

struct Scanner<'t> {
    text: &'t str,
    at: usize,
    comments: Vec<Range<usize>>,
}

impl Scanner<'_> {
    fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    fn take(&mut self, c: char) -> Option<()> {
        let found = self.peek() == Some(c);
        self.at += if found { c.len_utf8() } else { 0 };
        found.then_some(())
    }

    fn blanks(&mut self) {
        loop {
            let rest = &self.text[self.at..];
            let length = if rest.starts_with("//") {
                rest.find(['\n', '\r', '\u{2028}', '\u{2029}']).unwrap_or(rest.len())
            } else if let Some(inside) = rest.strip_prefix("/*") {
                inside.find("*/").map_or(rest.len(), |end| end + 4)
            } else {
                match rest.chars().next() {
                    Some(c) if c.is_whitespace() || c == '\u{feff}' => self.at += c.len_utf8(),
                    _ => return,
                }
                continue;
            };
            self.comments.push(self.at..self.at + length);
            self.at += length;
        }
    }

    fn value(&mut self, depth: usize) -> Option<Node> {
        if depth > MAX_DEPTH {
            return None;
        }
        let start = self.at;
        let kind = match self.peek()? {
            '{' => self.object(depth)?,
            '[' => self.array(depth)?,
            quote @ ('"' | '\'') => {
                self.quoted(quote)?;
                Kind::Text
            }
            _ => {
                let rest = &self.text[self.at..];
                let end = rest
                    .find(|c: char| !(c.is_alphanumeric() || matches!(c, '+' | '-' | '.' | '_')))
                    .unwrap_or(rest.len());
                self.at += end;
                (end > 0).then_some(Kind::Plain)?
            }
        };
        Some(Node { span: start..self.at, kind })
    }

    fn object(&mut self, depth: usize) -> Option<Kind> {
        self.take('{')?;
        let mut members = Vec::new();
        loop {
            self.blanks();
            if self.take('}').is_some() {
                return Some(Kind::Object(members));
            }
            if !members.is_empty() {
                self.take(',')?;
                self.blanks();
                if self.take('}').is_some() {
                    return Some(Kind::Object(members));
                }
            }
            let (key, key_span) = self.key()?;
            self.blanks();
            self.take(':')?;
            self.blanks();
            members.push(Member { key, key_span, value: self.value(depth + 1)? });
        }
    }

    fn array(&mut self, depth: usize) -> Option<Kind> {
        self.take('[')?;
        let mut items = Vec::new();
        loop {
            self.blanks();
            if self.take(']').is_some() {
                return Some(Kind::Array(items));
            }
            if !items.is_empty() {
                self.take(',')?;
                self.blanks();
                if self.take(']').is_some() {
                    return Some(Kind::Array(items));
                }
            }
            items.push(self.value(depth + 1)?);
        }
    }

    fn key(&mut self) -> Option<(String, Range<usize>)> {
        let start = self.at;
        if let Some(quote @ ('"' | '\'')) = self.peek() {
            self.quoted(quote)?;
            let key = json5::from_str(&self.text[start..self.at]).ok()?;
            return Some((key, start..self.at));
        }
        let rest = &self.text[start..];
        let end = rest.find(|c: char| !(c.is_alphanumeric() || matches!(c, '_' | '$' | '\u{200c}' | '\u{200d}')))?;
        self.at += end;
        // An escape in a bare name is legal and nobody writes it.
        (end > 0).then(|| (rest[..end].to_owned(), start..self.at))
    }

    fn quoted(&mut self, quote: char) -> Option<()> {
        self.take(quote)?;
        loop {
            let c = self.peek()?;
            self.at += c.len_utf8();
            if c == '\\' {
                self.at += self.peek()?.len_utf8();
            } else if c == quote {
                return Some(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_members_and_comments() {
        let text = "// top\n{ a: 1, 'b\\n': [ -2.5, \"x\" /* in */ ], c: { d: null, }, a: 'two', }\n";
        let spans = scan(text).unwrap();
        let at = |range: &Range<usize>| &text[range.clone()];
        assert_eq!(at(&spans.root.member("a").unwrap().value.span), "'two'");
        assert_eq!(at(&spans.root.member("b\n").unwrap().key_span), "'b\\n'");
        assert_eq!(at(&spans.root.member("c").unwrap().value.member("d").unwrap().value.span), "null");
        assert_eq!(spans.comments.iter().map(at).collect::<Vec<_>>(), ["// top", "/* in */"]);
        let Kind::Array(items) = &spans.root.member("b\n").unwrap().value.kind else { panic!() };
        assert_eq!(items.iter().map(|n| at(&n.span)).collect::<Vec<_>>(), ["-2.5", "\"x\""]);
    }

    #[test]
    fn gives_up_without_panic() {
        for text in ["", "{", "{a", "{a:", "{a:1", "{a:1 b:2}", "[1", "'x", "{a:1}}", "{\\u0061:1}", "{,}", "'\\"] {
            assert_eq!(scan(text), None, "{text}");
        }
        assert_eq!(scan(&"[".repeat(10_000)), None);
    }
}
