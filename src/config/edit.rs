//! Changing a JSON5 text so that it says something else: [`rewrite`] compares two trees and touches only what differs.
//!
//! Comments, the order of keys, quotes, indentation and trailing commas of everything else stay byte for byte. What is
//! new follows its neighbours. The result is believed only when it reads as exactly the wanted value; otherwise the
//! members of the outermost object that differ are printed whole, and in the end the whole file.

use std::ops::Range;

use serde_json::{Map, Value};

use super::diff::same;
use super::render::{Style, print_file};
use super::spans::{Kind, Member, Node, Spans, scan};
use super::text;

/// Above this many pairs, lists are compared from both ends only.
const ALIGN_PAIRS: usize = 250_000;

/// The text, changed so that it reads as `wanted`.
pub fn rewrite(text: &str, wanted: &Value) -> String {
    let right = |new: &String| text::parse(new).is_ok_and(|got| same(&got, wanted));
    let in_place = |whole_members| edited(text, wanted, whole_members).filter(right);
    in_place(false).or_else(|| in_place(true)).unwrap_or_else(|| print_file(wanted))
}

pub(super) fn edited(text: &str, wanted: &Value, whole_members: bool) -> Option<String> {
    let old = text::parse(text).ok()?;
    let spans = scan(text)?;
    let style = Style::of(text, &spans);
    let editor = Editor { text, spans: &spans, style, whole_members };
    let root = &spans.root;
    let place = Place { indent: String::new(), lines: true, root: true };
    let value = editor.value(root, &old, wanted, &place);
    Some(format!("{}{value}{}", &text[..root.span.start], &text[root.span.end..]))
}

struct Editor<'t> {
    text: &'t str,
    spans: &'t Spans,
    style: Style,
    /// Below the outermost object nothing is edited in place.
    whole_members: bool,
}

/// Where a value stands.
struct Place {
    /// Blanks at the start of its line.
    indent: String,
    /// Its container has a line for each item.
    lines: bool,
    root: bool,
}

/// One item of a container with what belongs to it.
struct Item {
    /// From the end of the item before: blanks, and comments on lines of their own.
    lead: Range<usize>,
    body: Range<usize>,
    before_comma: Range<usize>,
    comma: bool,
    /// Comments behind the comma that end the line.
    after_comma: Range<usize>,
}

/// A container taken apart.
struct Parts {
    items: Vec<Item>,
    /// Of an empty container: a comment behind the bracket that opens it.
    head: Range<usize>,
    /// Up to the bracket that closes it.
    end: Range<usize>,
}

/// What becomes of a container's items, in the order of the new text.
enum Step {
    /// The item of this number, perhaps with another body.
    Keep(usize, Option<String>),
    /// The item goes; comments on lines of their own before it stay.
    Drop(usize),
    New(NewItem),
}

struct NewItem {
    key: Option<String>,
    value: Value,
}

impl Editor<'_> {
    fn value(&self, node: &Node, old: &Value, wanted: &Value, place: &Place) -> String {
        if same(old, wanted) {
            return self.text[node.span.clone()].to_owned();
        }
        let inside = place.root || !self.whole_members;
        match (&node.kind, old, wanted) {
            (Kind::Object(members), Value::Object(old), Value::Object(new)) if inside => {
                self.object(node, members, old, new, place)
            }
            (Kind::Array(items), Value::Array(old), Value::Array(new)) if inside => {
                self.array(node, items, old, new, place)
            }
            _ => {
                let quote = match node.kind {
                    Kind::Text => self.text[node.span.clone()].chars().next(),
                    _ => None,
                };
                self.style.print_with(wanted, &place.indent, place.lines, quote)
            }
        }
    }

    fn object(
        &self,
        node: &Node,
        members: &[Member],
        old: &Map<String, Value>,
        new: &Map<String, Value>,
        place: &Place,
    ) -> String {
        let bodies = members.iter().map(|m| m.key_span.start..m.value.span.end).collect();
        let parts = self.parts(node, bodies);
        let lines = self.has_lines(node, &parts, place);
        let mut steps = Vec::new();
        for (n, member) in members.iter().enumerate() {
            let counts = node.member(&member.key).is_some_and(|last| std::ptr::eq(last, member));
            steps.push(match (new.get(&member.key), old.get(&member.key)) {
                // Of two members with one name the last counts; the other one says nothing and stays.
                (Some(_), _) if !counts => Step::Keep(n, None),
                (Some(wanted), Some(old)) if !same(old, wanted) => {
                    let inner = Place { indent: self.indent_at(member.key_span.start).to_owned(), lines, root: false };
                    let value = self.value(&member.value, old, wanted, &inner);
                    let key = &self.text[member.key_span.start..member.value.span.start];
                    Step::Keep(n, Some(format!("{key}{value}")))
                }
                (Some(_), _) => Step::Keep(n, None),
                (None, _) => Step::Drop(n),
            });
        }
        let added = new.iter().filter(|(key, _)| !old.contains_key(*key));
        steps.extend(added.map(|(key, value)| Step::New(NewItem { key: Some(key.clone()), value: value.clone() })));
        self.assemble(node, &parts, steps, place, lines)
    }

    fn array(&self, node: &Node, items: &[Node], old: &[Value], new: &[Value], place: &Place) -> String {
        let parts = self.parts(node, items.iter().map(|item| item.span.clone()).collect());
        let lines = self.has_lines(node, &parts, place);
        let keep = |o: usize, n: usize| {
            let changed = !same(&old[o], &new[n]);
            let place = Place { indent: self.indent_at(items[o].span.start).to_owned(), lines, root: false };
            Step::Keep(o, changed.then(|| self.value(&items[o], &old[o], &new[n], &place)))
        };
        let mut steps = Vec::new();
        let (mut o, mut n) = (0, 0);
        for (pair_o, pair_n) in align(old, new).into_iter().chain([(old.len(), new.len())]) {
            while o < pair_o || n < pair_n {
                let both = o < pair_o && n < pair_n;
                if both && one_changed(&old[o], &new[n]) {
                    steps.push(keep(o, n));
                    (o, n) = (o + 1, n + 1);
                    continue;
                }
                if o < pair_o {
                    steps.push(Step::Drop(o));
                    o += 1;
                }
                if n < pair_n {
                    steps.push(Step::New(NewItem { key: None, value: new[n].clone() }));
                    n += 1;
                }
            }
            if o < old.len() && n < new.len() {
                steps.push(keep(o, n));
                (o, n) = (o + 1, n + 1);
            }
        }
        self.assemble(node, &parts, steps, place, lines)
    }

    /// Takes a container apart, given where its items stand.
    fn parts(&self, node: &Node, bodies: Vec<Range<usize>>) -> Parts {
        let close = node.span.end - 1;
        let mut at = node.span.start + 1;
        let head = if bodies.is_empty() { at..self.line_rest(at, close, true) } else { at..at };
        at = head.end;
        let mut items = Vec::with_capacity(bodies.len());
        for (n, body) in bodies.iter().enumerate() {
            let next = bodies.get(n + 1).map(|next| next.start);
            let limit = next.unwrap_or(close);
            let item = match self.comma(body.end, limit) {
                Some(comma) => Item {
                    lead: at..body.start,
                    body: body.clone(),
                    before_comma: body.end..comma,
                    comma: true,
                    after_comma: comma + 1..self.line_rest(comma + 1, limit, next.is_none()),
                },
                None => {
                    let rest = self.line_rest(body.end, limit, true);
                    Item {
                        lead: at..body.start,
                        body: body.clone(),
                        before_comma: body.end..rest,
                        comma: false,
                        after_comma: rest..rest,
                    }
                }
            };
            at = item.after_comma.end;
            items.push(item);
        }
        Parts { items, head, end: at..close }
    }

    fn assemble(&self, node: &Node, parts: &Parts, steps: Vec<Step>, place: &Place, lines: bool) -> String {
        let text = self.text;
        let real = steps.iter().filter(|step| !matches!(step, Step::Drop(_))).count();
        let trailing = match parts.items.last() {
            Some(last) => last.comma,
            None => lines && self.style.trailing,
        };
        let indent = self.item_indent(node, parts, place);
        let flat = self.siblings_are_flat(parts);
        let mut out = Writer { editor: self, out: String::new(), open_line: false };
        out.plain(&text[node.span.start..=node.span.start]);
        out.trivia(parts.head.clone());
        let (mut done, mut kept_comments) = (0, false);
        for step in &steps {
            let comma = match step {
                Step::Drop(_) => false,
                _ => {
                    done += 1;
                    done < real || trailing
                }
            };
            match step {
                Step::Keep(n, body) => {
                    let item = &parts.items[*n];
                    match &parts.items[0].lead {
                        // The first one in its line went away: what follows takes its place.
                        first
                            if done == 1
                                && *n > 0
                                && !kept_comments
                                && self.flat_blank(&item.lead)
                                && self.flat_blank(first) =>
                        {
                            out.plain(&text[first.clone()]);
                        }
                        _ => out.trivia(item.lead.clone()),
                    }
                    out.plain(body.as_deref().unwrap_or(&text[item.body.clone()]));
                    if comma && !item.comma {
                        out.plain(",");
                    }
                    out.trivia(item.before_comma.clone());
                    if comma && item.comma {
                        out.plain(",");
                    }
                    out.trivia(item.after_comma.clone());
                }
                Step::Drop(n) => {
                    let lead = &parts.items[*n].lead;
                    if let Some(last) = self.comments_in(lead).last() {
                        out.trivia(lead.start..last.end);
                        kept_comments = true;
                    }
                }
                Step::New(new) => {
                    let lead = if lines {
                        format!("{}{indent}", self.style.newline)
                    } else {
                        self.flat_lead(parts, done == 1).to_owned()
                    };
                    out.plain(&lead);
                    let value = self.style.print_with(&new.value, &indent, lines && !flat, None);
                    match &new.key {
                        Some(key) => {
                            let key = self.style.key_like(key, parts.items.first().map(|i| &text[i.body.clone()]));
                            out.plain(&format!("{key}{}{value}", self.style.colon));
                        }
                        None => out.plain(&value),
                    }
                    if comma {
                        out.plain(",");
                    }
                }
            }
        }
        let end = &text[parts.end.clone()];
        if real == 0 && end.trim().is_empty() && !kept_comments && parts.head.is_empty() {
            // Nothing is left.
        } else if parts.items.is_empty() && end.trim().is_empty() {
            let outer = self.indent_at(node.span.start);
            match lines {
                true => out.plain(&format!("{}{outer}", self.style.newline)),
                false => out.plain(self.style.pad()),
            }
        } else {
            out.trivia(parts.end.clone());
        }
        out.plain(&text[node.span.end - 1..node.span.end]);
        out.out
    }

    /// Whether new items get lines of their own.
    fn has_lines(&self, node: &Node, parts: &Parts, place: &Place) -> bool {
        let breaks = |range: &Range<usize>| self.text[range.clone()].contains('\n');
        match parts.items.is_empty() {
            true => place.root || breaks(&node.span) || (place.lines && !self.style.one_line),
            false => parts.items.iter().any(|item| breaks(&item.lead)),
        }
    }

    /// Blanks before a new item on a line of its own.
    fn item_indent(&self, node: &Node, parts: &Parts, place: &Place) -> String {
        let own_line = parts.items.iter().rev().find(|item| self.text[item.lead.clone()].contains('\n'));
        match own_line {
            Some(item) => self.indent_at(item.body.start).to_owned(),
            None if place.root => self.style.step.clone(),
            None => format!("{}{}", self.indent_at(node.span.start), self.style.step),
        }
    }

    /// Blanks before a new item in a line of several.
    fn flat_lead<'a>(&'a self, parts: &'a Parts, first: bool) -> &'a str {
        let neighbour = match (first, parts.items.len()) {
            (true, _) => parts.items.first(),
            (false, 0 | 1) => None,
            (false, _) => parts.items.last(),
        };
        match neighbour.map(|item| &item.lead) {
            Some(lead) if self.flat_blank(lead) => &self.text[lead.clone()],
            _ if first => self.style.pad(),
            _ => self.style.gap(),
        }
    }

    /// The neighbours are lists and objects, each on one line.
    fn siblings_are_flat(&self, parts: &Parts) -> bool {
        let mut bodies = parts.items.iter().map(|item| &self.text[item.body.clone()]).peekable();
        let nested = |body: &&str| body.ends_with(['}', ']']) && !body.ends_with("{}") && !body.ends_with("[]");
        bodies.any(|body| nested(&body))
            && parts.items.iter().map(|item| &self.text[item.body.clone()]).filter(nested).all(|b| !b.contains('\n'))
    }

    fn flat_blank(&self, range: &Range<usize>) -> bool {
        self.text[range.clone()].chars().all(|c| matches!(c, ' ' | '\t'))
    }

    fn comments_in<'a>(&'a self, range: &'a Range<usize>) -> impl Iterator<Item = &'a Range<usize>> {
        let first = self.spans.comments.partition_point(|c| c.start < range.start);
        self.spans.comments[first..].iter().take_while(|c| c.end <= range.end)
    }

    /// The comma between two items: the first one outside comments.
    fn comma(&self, from: usize, to: usize) -> Option<usize> {
        let range = from..to;
        let mut at = from;
        for comment in self.comments_in(&range) {
            if let Some(found) = self.text[at..comment.start].find(',') {
                return Some(at + found);
            }
            at = comment.end;
        }
        self.text[at..to].find(',').map(|found| at + found)
    }

    /// The end of the comments that follow on the same line and end it; `from` when something else follows them.
    fn line_rest(&self, from: usize, to: usize, to_is_close: bool) -> usize {
        let range = from..to;
        let (mut at, mut last) = (from, from);
        let mut comments = self.comments_in(&range).peekable();
        loop {
            let blanks = self.text[at..to].bytes().take_while(|b| matches!(b, b' ' | b'\t')).count();
            at += blanks;
            match comments.next_if(|comment| comment.start == at) {
                Some(comment) if self.text[comment.clone()].contains('\n') => return last,
                Some(comment) => (at, last) = (comment.end, comment.end),
                None if at == to => return if to_is_close { last } else { from },
                None if self.text[at..].starts_with(['\n', '\r']) => return last,
                None => return from,
            }
        }
    }

    /// Blanks at the start of the line that holds this place.
    fn indent_at(&self, at: usize) -> &str {
        let start = self.text[..at].rfind('\n').map_or(0, |n| n + 1);
        let line = &self.text[start..at];
        &line[..line.bytes().take_while(|b| matches!(b, b' ' | b'\t')).count()]
    }
}

/// Puts pieces together and sees to it that nothing lands in a comment.
struct Writer<'e, 't> {
    editor: &'e Editor<'t>,
    out: String,
    /// What was written last is a `//` comment that its line end has not followed yet.
    open_line: bool,
}

impl Writer<'_, '_> {
    fn plain(&mut self, piece: &str) {
        if self.open_line && !piece.is_empty() {
            if !piece.trim_start_matches([' ', '\t']).starts_with(['\n', '\r']) {
                self.out.push_str(self.editor.style.newline);
            }
            self.open_line = false;
        }
        self.out.push_str(piece);
    }

    /// Blanks and comments of the old text.
    fn trivia(&mut self, range: Range<usize>) {
        let text = &self.editor.text[range.clone()];
        self.plain(text);
        if let Some(last) = self.editor.comments_in(&range).last() {
            let line = self.editor.text[last.clone()].starts_with("//");
            self.open_line = line && !self.editor.text[last.end..range.end].contains(['\n', '\r']);
        }
    }
}

/// Between two items of a list that are not the same one: whether the second is the first with changes.
fn one_changed(old: &Value, new: &Value) -> bool {
    match (old, new) {
        (Value::Object(_), Value::Object(_)) => item_id(old).is_none() && item_id(new).is_none(),
        _ => old.is_array() && new.is_array(),
    }
}

/// Which items of two lists are the same one: equal, or objects with the same `id`. Pairs in order.
pub(super) fn align(old: &[Value], new: &[Value]) -> Vec<(usize, usize)> {
    let alike = |o: usize, n: usize| {
        let (old, new) = (&old[o], &new[n]);
        same(old, new) || item_id(old).is_some_and(|id| item_id(new) == Some(id))
    };
    let head = (0..old.len().min(new.len())).take_while(|&n| alike(n, n)).count();
    let most = old.len().min(new.len()) - head;
    let tail = (0..most).take_while(|&n| alike(old.len() - 1 - n, new.len() - 1 - n)).count();
    let (rows, columns) = (old.len() - head - tail, new.len() - head - tail);
    let mut pairs: Vec<(usize, usize)> = (0..head).map(|n| (n, n)).collect();
    if rows.saturating_mul(columns) <= ALIGN_PAIRS {
        // The longest common subsequence, from the end.
        let mut length = vec![vec![0u32; columns + 1]; rows + 1];
        for r in (0..rows).rev() {
            for c in (0..columns).rev() {
                length[r][c] = match alike(head + r, head + c) {
                    true => length[r + 1][c + 1] + 1,
                    false => length[r + 1][c].max(length[r][c + 1]),
                };
            }
        }
        let (mut r, mut c) = (0, 0);
        while r < rows && c < columns {
            if alike(head + r, head + c) {
                pairs.push((head + r, head + c));
                (r, c) = (r + 1, c + 1);
            } else if length[r + 1][c] >= length[r][c + 1] {
                r += 1;
            } else {
                c += 1;
            }
        }
    }
    pairs.extend((0..tail).rev().map(|n| (old.len() - 1 - n, new.len() - 1 - n)));
    pairs
}

/// `id` of an object in a list, where lists are told apart by it.
pub fn item_id(value: &Value) -> Option<&str> {
    value.as_object()?.get("id")?.as_str()
}
