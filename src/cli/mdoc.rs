//! Manual pages as plain text, for machines without man: the part of mdoc(7) that our pages use.
//!
//! Pure: page in, text out. A test compares the words with mandoc's, so a macro that is missing here is noticed.

use super::output::{pad, width, wrap};

const BODY: usize = 4;
const STEP: usize = 6;

/// Closing and opening punctuation, which stands outside of what a macro does to its arguments.
const CLOSING: [&str; 8] = [".", ",", ":", ";", ")", "]", "?", "!"];
const OPENING: [&str; 2] = ["(", "["];

/// The page as text of so many columns.
pub fn render(page: &str, columns: usize) -> String {
    let mut printer = Printer::new(columns);
    let mut literal = false;
    for line in page.lines() {
        match line.strip_prefix('.') {
            Some(rest) if rest.starts_with("\\\"") => {}
            Some("Ed") => literal = false,
            None if literal => printer.line(STEP, &unescape(line)),
            Some(rest) => {
                let words = split(rest);
                let Some((first, arguments)) = words.split_first() else { continue };
                literal |= first.text == "Bd";
                printer.macro_line(&first.text, arguments);
            }
            None => line.split(' ').filter(|word| !word.is_empty()).for_each(|word| printer.text.push(&unescape(word))),
        }
    }
    printer.flush();
    printer.out
}

/// A word of a macro line; what stood in quotes is never a macro nor punctuation.
#[derive(Clone)]
struct Word {
    text: String,
    quoted: bool,
}

impl Word {
    fn is(&self, names: &[&str]) -> bool {
        !self.quoted && names.contains(&self.text.as_str())
    }

    fn is_macro(&self) -> bool {
        self.is(&["Ar", "Cm", "Dq", "Dv", "Ev", "Fl", "Ic", "No", "Ns", "Op", "Pa", "Pq", "Ql", "Sq", "Sx", "Sy", "Xr"])
    }
}

/// Running text: words with blanks between them, but where punctuation or a macro says otherwise.
struct Text {
    out: String,
    glued: bool,
}

impl Text {
    fn new() -> Text {
        Text { out: String::new(), glued: false }
    }

    fn push(&mut self, word: &str) {
        if !self.out.is_empty() && !self.glued {
            self.out.push(' ');
        }
        self.out.push_str(word);
        self.glued = false;
    }

    fn word(&mut self, word: &Word, prefix: &str) {
        let closing = word.is(&CLOSING);
        self.glued |= closing;
        let prefix = if closing || word.is(&OPENING) || word.is(&["|"]) { "" } else { prefix };
        self.push(&format!("{prefix}{}", unescape(&word.text)));
        self.glued = word.is(&OPENING);
    }
}

#[derive(PartialEq)]
enum Kind {
    Tag(usize),
    Bullet,
    Number(usize),
    Diagnostic,
}

struct List {
    kind: Kind,
    compact: bool,
}

struct Printer {
    columns: usize,
    /// What a bare `.Nm` stands for.
    name: String,
    lists: Vec<List>,
    out: String,
    /// The paragraph that is being filled.
    text: Text,
    /// In SYNOPSIS every `.Nm` begins a line.
    synopsis: bool,
    /// The last thing printed is the head of an item that has no text yet.
    bare_head: bool,
}

impl Printer {
    fn new(columns: usize) -> Printer {
        let (name, out) = (String::new(), String::new());
        Printer { columns, name, lists: Vec::new(), out, text: Text::new(), synopsis: false, bare_head: false }
    }

    fn macro_line(&mut self, name: &str, words: &[Word]) {
        match name {
            "Dd" | "Os" => {}
            "Dt" => {
                let of = |i: usize| words.get(i).map_or("", |word| word.text.as_str());
                self.out = format!("{}({})\n", of(0), of(1));
            }
            "Sh" | "Ss" => {
                self.flush();
                let title: Vec<String> = words.iter().map(|word| unescape(&word.text)).collect();
                let indent = if name == "Sh" { "" } else { "  " };
                self.out.push_str(&format!("\n{indent}{}\n", title.join(" ")));
                self.synopsis = title == ["SYNOPSIS"];
            }
            "Pp" => self.blank(),
            "Bl" => self.open_list(words),
            "El" => {
                self.flush();
                self.lists.pop();
            }
            "It" => self.item(words),
            "Bd" => {
                self.blank();
            }
            "Dl" => {
                self.flush();
                let mut text = Text::new();
                self.phrase(words, &mut text);
                self.line(STEP, &text.out);
            }
            "Nm" => {
                if self.synopsis {
                    self.flush();
                }
                if let Some(word) = words.first().filter(|word| !word.is(&CLOSING)) {
                    if self.name.is_empty() {
                        self.name = word.text.clone();
                    }
                } else {
                    self.text.push(&self.name);
                }
                let mut text = std::mem::replace(&mut self.text, Text::new());
                self.phrase(words, &mut text);
                self.text = text;
            }
            "Nd" => {
                self.text.push("-");
                words.iter().for_each(|word| self.text.push(&unescape(&word.text)));
            }
            "Rs" | "Re" => self.flush(),
            "%T" | "%R" => {
                self.text.glued = self.text.out.is_empty();
                words.iter().for_each(|word| self.text.push(&unescape(&word.text)));
                self.text.out.push_str(if name == "%T" { "," } else { "." });
            }
            _ => {
                let mut text = std::mem::replace(&mut self.text, Text::new());
                self.apply(name, words, &mut text);
                self.text = text;
            }
        }
    }

    /// Words among which macros may stand.
    fn phrase(&self, words: &[Word], text: &mut Text) {
        let plain = words.iter().position(Word::is_macro).unwrap_or(words.len());
        words[..plain].iter().for_each(|word| text.word(word, ""));
        if let Some((name, rest)) = words[plain..].split_first() {
            self.apply(&name.text, rest, text);
        }
    }

    fn apply(&self, name: &str, words: &[Word], text: &mut Text) {
        let enclosure = match name {
            "Op" => Some(("[", "]")),
            "Pq" => Some(("(", ")")),
            "Sq" | "Ql" => Some(("'", "'")),
            "Dq" => Some(("\"", "\"")),
            _ => None,
        };
        if let Some((open, close)) = enclosure {
            let inside = words.len() - words.iter().rev().take_while(|word| word.is(&CLOSING)).count();
            text.push(open);
            text.glued = true;
            self.phrase(&words[..inside], text);
            text.glued = true;
            text.push(close);
            return words[inside..].iter().for_each(|word| text.word(word, ""));
        }
        let own = words.iter().position(Word::is_macro).unwrap_or(words.len());
        let (arguments, rest) = words.split_at(own);
        match name {
            "Fl" if arguments.is_empty() => text.push("-"),
            "Fl" => arguments.iter().for_each(|word| text.word(word, "-")),
            "Ar" if arguments.is_empty() => text.push("file ..."),
            "Xr" if arguments.len() > 1 => {
                text.push(&format!("{}({})", arguments[0].text, arguments[1].text));
                arguments[2..].iter().for_each(|word| text.word(word, ""));
            }
            _ => {
                text.glued |= name == "Ns";
                arguments.iter().for_each(|word| text.word(word, ""));
            }
        }
        self.phrase(rest, text);
    }

    fn open_list(&mut self, words: &[Word]) {
        let has = |option: &str| words.iter().any(|word| word.text == option);
        let after = |option: &str| words.iter().position(|word| word.text == option).and_then(|at| words.get(at + 1));
        let kind = if has("-bullet") {
            Kind::Bullet
        } else if has("-enum") {
            Kind::Number(0)
        } else if has("-diag") {
            Kind::Diagnostic
        } else {
            let wide = after("-width").map_or(0, |word| if word.text == "Ds" { STEP } else { width(&word.text) });
            Kind::Tag(wide + 2)
        };
        self.flush();
        self.lists.push(List { kind, compact: has("-compact") });
    }

    fn item(&mut self, words: &[Word]) {
        let mut head = Text::new();
        if matches!(self.lists.last(), Some(List { kind: Kind::Diagnostic, .. })) {
            words.iter().for_each(|word| head.push(&unescape(&word.text)));
        } else {
            self.phrase(words, &mut head);
        }
        // Heads that share a text stand together.
        let shared = self.bare_head && self.text.out.is_empty();
        if shared || self.lists.last().is_some_and(|list| list.compact) {
            self.flush();
        } else {
            self.blank();
        }
        let indent = self.outer();
        let Some(list) = self.lists.last_mut() else { return };
        let label = match &mut list.kind {
            Kind::Tag(_) | Kind::Diagnostic => head.out,
            Kind::Bullet => "-".to_owned(),
            Kind::Number(number) => {
                *number += 1;
                format!("{number}.")
            }
        };
        let label_only = list.kind == Kind::Diagnostic;
        let room = self.body() - indent;
        if !label_only && width(&label) + 2 <= room {
            // The first line of the body continues this one, see `flush`.
            self.out.push_str(&format!("{}{}", " ".repeat(indent), pad(&label, room, false)));
        } else {
            for (i, line) in wrap(&label, self.columns - indent - 2).iter().enumerate() {
                let deeper = if i == 0 { 0 } else { 2 };
                self.out.push_str(&format!("{}{line}\n", " ".repeat(indent + deeper)));
            }
        }
        self.bare_head = true;
    }

    /// Columns before an item of the innermost list.
    fn outer(&self) -> usize {
        let inner = self.lists.len().saturating_sub(1);
        BODY + self.lists[..inner].iter().map(step).sum::<usize>()
    }

    /// Columns before running text.
    fn body(&self) -> usize {
        BODY + self.lists.iter().map(step).sum::<usize>()
    }

    /// Prints the paragraph; behind the label of an item, if one waits for it.
    fn flush(&mut self) {
        let text = std::mem::replace(&mut self.text, Text::new());
        let waiting = !self.out.is_empty() && !self.out.ends_with('\n');
        if text.out.is_empty() {
            if waiting {
                self.out.truncate(self.out.trim_end_matches(' ').len());
                self.out.push('\n');
            }
            return;
        }
        self.bare_head = false;
        let indent = self.body();
        for (i, line) in wrap(&text.out, self.columns.saturating_sub(indent)).iter().enumerate() {
            let indent = if i == 0 && waiting { 0 } else { indent };
            self.out.push_str(&format!("{}{line}\n", " ".repeat(indent)));
        }
    }

    fn blank(&mut self) {
        self.flush();
        if !self.out.is_empty() && !self.out.ends_with("\n\n") {
            // Nothing between a heading and its text.
            let last = self.out.trim_end_matches('\n').rsplit('\n').next().unwrap_or("");
            if last.starts_with("    ") {
                self.out.push('\n');
            }
        }
    }

    fn line(&mut self, deeper: usize, text: &str) {
        self.flush();
        self.bare_head = false;
        let line = format!("{}{text}", " ".repeat(self.body() + deeper));
        self.out.push_str(line.trim_end());
        self.out.push('\n');
    }
}

fn step(list: &List) -> usize {
    match list.kind {
        Kind::Tag(wide) => wide,
        Kind::Bullet => 3,
        Kind::Number(_) => 4,
        Kind::Diagnostic => STEP,
    }
}

/// The words of a macro line; `"a b"` is one.
fn split(line: &str) -> Vec<Word> {
    let mut words = Vec::new();
    let mut rest = line.trim_start();
    while !rest.is_empty() {
        let (text, quoted, next) = match rest.strip_prefix('"') {
            Some(inside) => match inside.split_once('"') {
                Some((text, next)) => (text, true, next),
                None => (inside, true, ""),
            },
            None => {
                let (text, next) = rest.split_once(' ').unwrap_or((rest, ""));
                (text, false, next)
            }
        };
        words.push(Word { text: text.to_owned(), quoted });
        rest = next.trim_start();
    }
    words
}

fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        out.push_str(before);
        let known = [("e", "\\"), ("&", ""), ("-", "-"), ("(dq", "\""), ("(>=", "≥"), ("(aq", "'"), ("~", " ")];
        let found = known.iter().find_map(|(name, plain)| Some((after.strip_prefix(name)?, plain)));
        let (next, plain) = found.unwrap_or((after, &"\\"));
        out.push_str(plain);
        rest = next;
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_macros_make() {
        for (page, text) in [
            ("Words of\na text.\n", "    Words of a text.\n"),
            (".Nm x\n.Nd does it\n.Pp\n.Nm\nruns.\n", "    x - does it\n\n    x runs.\n"),
            (".Fl -port Ar n ,\n.Fl h\n", "    --port n, -h\n"),
            (".Op Fl -dev | Fl -profile Ar name\n", "    [--dev | --profile name]\n"),
            (".Op Fl -fix | -yes\n", "    [--fix | --yes]\n"),
            (".Fl -option Ns = Ns Ar value\n", "    --option=value\n"),
            (".Pq see Xr openclaw 1 ,\nand more.\n", "    (see openclaw(1)), and more.\n"),
            (".Ql a b .\n.Dq x ;\n", "    'a b'. \"x\";\n"),
            (".Pq Sq \\&!\n", "    ('!')\n"),
            (".Dl a \\e\n", "          a \\\n"),
            (".Bd -literal\n  {\n\n}\n.Ed\n", "            {\n\n          }\n"),
            (".Bl -enum\n.It\none\n.It\ntwo\n.El\n", "    1.  one\n\n    2.  two\n"),
            (
                ".Bl -tag -width Ds -compact\n.It Ic a\nA.\n.It Fl -longer\nB.\n.El\n",
                "    a       A.\n    --longer\n            B.\n",
            ),
            (".Bl -diag\n.It \"No: ...\"\nWhy.\n.El\n", "    No: ...\n          Why.\n"),
        ] {
            assert_eq!(render(page, 80), text, "{page}");
        }
    }

    #[test]
    fn anything_is_rendered_without_a_panic() {
        for page in [
            "",
            ".",
            "..",
            ".It",
            ".El",
            ".Xr",
            ".Ar",
            ".Fl",
            ".Op",
            ".Dl \"",
            "\\",
            ".Bl\n.It \\",
            ".Bl -width",
            ".Nm ,",
        ] {
            let _ = render(page, 80);
        }
    }
}
