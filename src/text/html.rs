//! Pages as text: title, headings, paragraphs, lists, links, code and tables in Markdown or plain; scripts, styles and
//! what only leads elsewhere are dropped.
//!
//! One pass over the page, no tree: broken nesting costs layout, never time or memory. What a visitor would not see is
//! not shown to a model either.

use super::entities;
use super::untrusted::is_invisible;

/// Deeper lists are set like the deepest.
const LIST_DEPTH: usize = 16;
/// Attributes of one tag that are looked at.
const ATTRIBUTES: usize = 64;
/// A main part with fewer characters than this is not what the page is about.
const MAIN_CHARS: usize = 200;
/// Longest target of a link that is worth showing.
const LINK_BYTES: usize = 2048;

const VOID: [&str; 14] =
    ["area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param", "source", "track", "wbr"];
/// Their content is no markup, up to their end tag.
const RAW: [&str; 9] = ["script", "style", "textarea", "title", "xmp", "noembed", "noframes", "iframe", "plaintext"];
/// Never shown.
const UNSEEN: [&str; 14] = [
    "script", "style", "textarea", "noembed", "noframes", "iframe", "template", "svg", "math", "canvas", "object",
    "select", "datalist", "dialog",
];
/// Around the text, not of it.
const AROUND: [&str; 5] = ["nav", "footer", "aside", "button", "menu"];
/// Their end tag may be missing: the next of its kind ends them.
const OPEN_ENDED: [&str; 8] = ["p", "li", "td", "th", "tr", "dt", "dd", "option"];
/// What the page is about, the surer one first.
const MAIN: [&str; 2] = ["main", "article"];
const PARAGRAPHS: [&str; 17] = [
    "form",
    "p",
    "div",
    "section",
    "article",
    "main",
    "header",
    "blockquote",
    "figure",
    "figcaption",
    "address",
    "details",
    "summary",
    "dl",
    "table",
    "fieldset",
    "hgroup",
];
const LINES: [&str; 4] = ["tr", "dt", "dd", "caption"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Markdown,
    Text,
}

/// A page as text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    pub title: Option<String>,
    pub text: String,
}

/// Reads a page. `whole`: also what stands around its text. `link` gives the address that a link is shown with; None:
/// its words alone.
pub fn read(html: &str, mode: Mode, whole: bool, link: &dyn Fn(&str) -> Option<String>) -> Page {
    let pass = |only: Option<&'static str>, whole: bool| Writer::new(mode, whole, only, link).read(html);
    let (mut page, parts) = pass(None, whole);
    if whole {
        return page;
    }
    for (main, _) in MAIN.into_iter().zip(parts).filter(|(_, there)| *there) {
        let (part, _) = pass(Some(main), false);
        if part.text.chars().nth(MAIN_CHARS).is_some() {
            page.text = part.text;
            return page;
        }
    }
    if page.text.is_empty() {
        // Everything stands in what usually stands around.
        page.text = pass(None, true).0.text;
    }
    page
}

/// A piece of the page.
enum Token<'a> {
    Text(&'a str),
    Open(&'a str, Attributes<'a>),
    Close(&'a str),
}

#[derive(Default)]
struct Attributes<'a> {
    href: Option<&'a str>,
    class: Option<&'a str>,
    hidden: bool,
}

struct Tokens<'a> {
    rest: &'a str,
    /// The raw element whose content comes next.
    raw: Option<&'a str>,
}

impl<'a> Iterator for Tokens<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        loop {
            if self.rest.is_empty() {
                return None;
            }
            if let Some(name) = self.raw.take() {
                let text = self.up_to(end_of_raw(self.rest, name));
                if !text.is_empty() {
                    return Some(Token::Text(text));
                }
                continue;
            }
            if !self.rest.starts_with('<') {
                return Some(Token::Text(self.up_to(self.rest.find('<').unwrap_or(self.rest.len()))));
            }
            let behind = &self.rest[1..];
            if let Some(comment) = behind.strip_prefix("!--") {
                let end = comment.find("-->").map_or(self.rest.len(), |at| at + "<!---->".len());
                self.up_to(end);
                continue;
            }
            match behind.as_bytes().first() {
                Some(b'!' | b'?') => drop(self.up_to(tag_end(self.rest))),
                Some(b'/') if behind[1..].starts_with(|c: char| c.is_ascii_alphabetic()) => {
                    let tag = self.up_to(tag_end(self.rest));
                    return Some(Token::Close(name_of(&tag[2..])));
                }
                Some(b'a'..=b'z' | b'A'..=b'Z') => {
                    let tag = self.up_to(tag_end(self.rest));
                    let name = name_of(&tag[1..]);
                    let tag = tag.strip_suffix('>').unwrap_or(tag);
                    self.raw = RAW.iter().any(|raw| name.eq_ignore_ascii_case(raw)).then_some(name);
                    return Some(Token::Open(name, attributes(&tag[1 + name.len()..])));
                }
                // A sign that stands for itself.
                _ => return Some(Token::Text(self.up_to(behind.find('<').map_or(self.rest.len(), |at| at + 1)))),
            }
        }
    }
}

impl<'a> Tokens<'a> {
    fn up_to(&mut self, end: usize) -> &'a str {
        let (piece, rest) = self.rest.split_at(end);
        self.rest = rest;
        piece
    }
}

fn name_of(tag: &str) -> &str {
    let end = tag.find(|c: char| c.is_ascii_whitespace() || matches!(c, '/' | '>')).unwrap_or(tag.len());
    &tag[..end]
}

/// Where a tag ends: behind the first `>` outside of quotes.
fn tag_end(tag: &str) -> usize {
    let mut quote = None;
    let mut value = false;
    for (at, byte) in tag.bytes().enumerate() {
        match (quote, byte) {
            (Some(open), _) if byte == open => (quote, value) = (None, false),
            (Some(_), _) => {}
            (None, b'>') => return at + 1,
            // Quotes count behind an equals sign only: names may hold them.
            (None, b'"' | b'\'') if value => quote = Some(byte),
            (None, b'=') => value = true,
            (None, _) if byte.is_ascii_whitespace() => {}
            (None, _) => value = false,
        }
    }
    tag.len()
}

fn end_of_raw(text: &str, name: &str) -> usize {
    let mut from = 0;
    while let Some(found) = text[from..].find("</") {
        let at = from + found;
        let behind = text.as_bytes().get(at + 2..).unwrap_or_default();
        let same = behind.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name.as_bytes()));
        if same && behind.get(name.len()).is_none_or(|b| b.is_ascii_whitespace() || matches!(b, b'/' | b'>')) {
            return at;
        }
        from = at + 2;
    }
    text.len()
}

fn attributes(mut rest: &str) -> Attributes<'_> {
    let mut found = Attributes::default();
    for _ in 0..ATTRIBUTES {
        rest = rest.trim_start_matches(|c: char| c.is_ascii_whitespace() || c == '/');
        if rest.is_empty() {
            break;
        }
        // Whatever the first character is, it belongs to the name.
        let first = rest.chars().next().map_or(0, char::len_utf8);
        let end = rest[first..].find(|c: char| c.is_ascii_whitespace() || matches!(c, '=' | '/'));
        let (name, behind) = rest.split_at(end.map_or(rest.len(), |at| first + at));
        rest = behind.trim_start();
        let mut value = "";
        if let Some(behind) = rest.strip_prefix('=') {
            let behind = behind.trim_start();
            (value, rest) = match behind.chars().next() {
                Some(quote @ ('"' | '\'')) => behind[1..].split_once(quote).unwrap_or((&behind[1..], "")),
                _ => behind.split_at(behind.find(|c: char| c.is_ascii_whitespace()).unwrap_or(behind.len())),
            };
        }
        match name.to_ascii_lowercase().as_str() {
            "href" => found.href = Some(value),
            "class" => found.class = Some(value),
            "hidden" => found.hidden = true,
            "aria-hidden" => found.hidden |= value.eq_ignore_ascii_case("true"),
            "style" => found.hidden |= is_unseen_style(value),
            _ => {}
        }
    }
    found
}

fn is_unseen_style(style: &str) -> bool {
    let style: String = style.chars().filter(|c| !c.is_whitespace()).collect::<String>().to_ascii_lowercase();
    let hides = |rule: &str| matches!(rule, "display:none" | "visibility:hidden" | "opacity:0" | "font-size:0");
    style.split(';').any(|rule| hides(rule.trim_end_matches("!important").trim_end_matches("px")))
}

/// A list that is open, and the number of its last item.
struct List {
    ordered: bool,
    last: usize,
}

struct Writer<'o> {
    mode: Mode,
    whole: bool,
    /// Only what stands in elements of this name; how many of them are open.
    only: Option<&'static str>,
    inside: usize,
    /// Which of `MAIN` there are.
    parts: [bool; 2],
    link: &'o dyn Fn(&str) -> Option<String>,
    page: Page,
    /// The element whose content is dropped, and how many of its name are open.
    skip: Option<(String, usize)>,
    in_title: bool,
    /// Line breaks and a blank that come before the next word.
    breaks: usize,
    blank: bool,
    /// The sign of a heading or a list item, before its first word.
    sign: String,
    lists: Vec<List>,
    pre: usize,
    code: usize,
    /// Where an open link began in the text, and its address.
    open_link: Option<(usize, String)>,
    cells: usize,
}

impl<'o> Writer<'o> {
    fn new(mode: Mode, whole: bool, only: Option<&'static str>, link: &'o dyn Fn(&str) -> Option<String>) -> Self {
        Writer {
            mode,
            whole,
            only,
            inside: 0,
            parts: [false; 2],
            link,
            page: Page::default(),
            skip: None,
            in_title: false,
            breaks: 0,
            blank: false,
            sign: String::new(),
            lists: Vec::new(),
            pre: 0,
            code: 0,
            open_link: None,
            cells: 0,
        }
    }

    fn read(mut self, html: &str) -> (Page, [bool; 2]) {
        for token in (Tokens { rest: html, raw: None }) {
            match token {
                Token::Text(text) => self.text(text),
                Token::Open(name, attributes) => self.open(&name.to_ascii_lowercase(), &attributes),
                Token::Close(name) => self.close(&name.to_ascii_lowercase()),
            }
        }
        self.end_link();
        if self.pre > 0 {
            self.pre = 1;
            self.close("pre");
        }
        let text = self.page.text.trim_end().len();
        self.page.text.truncate(text);
        (self.page, self.parts)
    }

    fn open(&mut self, name: &str, attributes: &Attributes<'_>) {
        if let Some((skipped, depth)) = &mut self.skip {
            if skipped != name || !OPEN_ENDED.contains(&name) {
                *depth += usize::from(skipped == name);
                return;
            }
            self.skip = None;
        }
        let around = !self.whole && AROUND.contains(&name);
        if UNSEEN.contains(&name) || around || attributes.hidden {
            if !VOID.contains(&name) {
                self.skip = Some((name.to_owned(), 1));
            }
            // What is left out separates what stands around it.
            return self.paragraph();
        }
        self.inside += usize::from(self.only == Some(name));
        if let Some(n) = MAIN.iter().position(|main| *main == name) {
            self.parts[n] = true;
        }
        match name {
            "title" => self.in_title = self.page.title.is_none(),
            "br" => self.breaks += 1,
            "hr" => {
                self.paragraph();
                self.mark("---");
                self.paragraph();
            }
            "h1" | "h2" | "h3" | "h4" | "h5" | "h6" => {
                self.end_link();
                self.paragraph();
                if self.mode == Mode::Markdown {
                    self.sign = format!("{} ", "#".repeat(usize::from(name.as_bytes()[1] - b'0')));
                }
            }
            "ul" | "ol" => {
                if self.lists.is_empty() {
                    self.paragraph();
                }
                if self.lists.len() < LIST_DEPTH {
                    self.lists.push(List { ordered: name == "ol", last: 0 });
                }
            }
            "li" => self.item(),
            "a" => {
                self.end_link();
                let target = attributes.href.map(entities::decode).and_then(|href| (self.link)(href.trim()));
                self.open_link = target.filter(|t| t.len() <= LINK_BYTES).map(|target| (usize::MAX, target));
            }
            "pre" => {
                self.pre += 1;
                if self.pre == 1 {
                    self.paragraph();
                    let language = attributes.class.and_then(|class| class.split("language-").nth(1));
                    let language = language.and_then(|rest| rest.split_whitespace().next()).unwrap_or_default();
                    self.mark(&format!(
                        "```{}",
                        language.chars().filter(char::is_ascii_alphanumeric).collect::<String>()
                    ));
                    self.breaks = usize::from(self.mode == Mode::Markdown || self.breaks > 0).max(self.breaks);
                }
            }
            "code" | "kbd" | "samp" | "tt" => {
                self.code += 1;
                if self.code == 1 && self.pre == 0 {
                    self.mark("`");
                }
            }
            "td" | "th" => {
                if self.cells > 0 {
                    self.put(" | ");
                    self.blank = false;
                }
                self.cells += 1;
            }
            _ if PARAGRAPHS.contains(&name) => self.paragraph(),
            _ if LINES.contains(&name) => self.line(),
            _ => {}
        }
    }

    fn close(&mut self, name: &str) {
        if let Some((skipped, depth)) = &mut self.skip {
            *depth -= usize::from(skipped == name);
            if *depth == 0 {
                self.skip = None;
            }
            return;
        }
        match name {
            "title" => {
                self.in_title = false;
                let title = self.page.title.take().map(|title| title.trim().to_owned());
                self.page.title = title.filter(|title| !title.is_empty());
            }
            "h1" | "h2" | "h3" | "h4" | "h5" | "h6" => {
                self.end_link();
                self.sign.clear();
                self.paragraph();
            }
            "ul" | "ol" => {
                self.sign.clear();
                self.lists.pop();
                if self.lists.is_empty() {
                    self.paragraph();
                }
            }
            "a" => self.end_link(),
            "pre" if self.pre > 0 => {
                self.pre -= 1;
                if self.pre == 0 {
                    let kept = self.page.text.trim_end_matches('\n').len();
                    self.page.text.truncate(kept);
                    self.breaks = 1;
                    self.mark("```");
                    self.paragraph();
                }
            }
            "code" | "kbd" | "samp" | "tt" if self.code > 0 => {
                self.code -= 1;
                if self.code == 0 && self.pre == 0 && self.mode == Mode::Markdown && self.shows() {
                    // The blank that came inside belongs behind.
                    self.page.text.push('`');
                }
            }
            "tr" => self.line(),
            _ if PARAGRAPHS.contains(&name) => self.paragraph(),
            _ => {}
        }
        self.inside = self.inside.saturating_sub(usize::from(self.only == Some(name)));
    }

    fn text(&mut self, raw: &str) {
        if self.skip.is_some() {
            return;
        }
        let text = entities::decode(raw);
        if self.in_title {
            let title = self.page.title.get_or_insert_default();
            let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
            title.extend(words.chars().filter(|c| !is_invisible(*c)));
            return;
        }
        let mut word = String::new();
        for c in text.chars().filter(|c| !is_invisible(*c) && (!c.is_control() || c.is_whitespace())) {
            if self.pre > 0 {
                match c {
                    '\n' => {
                        self.flush(&mut word);
                        self.breaks += 1;
                    }
                    '\r' => {}
                    c => {
                        word.push(c);
                    }
                }
            } else if c.is_whitespace() {
                self.flush(&mut word);
                self.blank = true;
            } else {
                word.push(c);
            }
        }
        self.flush(&mut word);
    }

    fn flush(&mut self, word: &mut String) {
        if !word.is_empty() {
            self.put(word);
            word.clear();
        }
    }

    fn shows(&self) -> bool {
        self.only.is_none() || self.inside > 0
    }

    /// Writes behind the breaks and the blank that are due.
    fn put(&mut self, text: &str) {
        if !self.shows() {
            return;
        }
        let out = &mut self.page.text;
        let most = if self.pre > 0 { usize::MAX } else { 2 };
        if self.breaks > 0 && !out.is_empty() {
            let kept = out.trim_end_matches(' ').len();
            out.truncate(kept);
            out.extend(std::iter::repeat_n('\n', self.breaks.min(most)));
        } else if self.blank && !out.is_empty() && !out.ends_with(['\n', ' ']) {
            out.push(' ');
        }
        (self.breaks, self.blank) = (0, false);
        out.push_str(&self.sign);
        self.sign.clear();
        if let Some((start, _)) = &mut self.open_link
            && *start == usize::MAX
        {
            *start = out.len();
        }
        out.push_str(text);
    }

    /// A sign of Markdown; plain text goes without.
    fn mark(&mut self, sign: &str) {
        if self.mode == Mode::Markdown {
            self.put(sign);
        }
    }

    fn line(&mut self) {
        self.end_cells();
        self.breaks = self.breaks.max(1);
    }

    fn paragraph(&mut self) {
        self.end_cells();
        // A paragraph inside of a list item does not tear the list apart.
        let most = if self.lists.is_empty() { 2 } else { 1 };
        self.breaks = self.breaks.max(most);
    }

    fn end_cells(&mut self) {
        self.cells = 0;
    }

    fn item(&mut self) {
        self.end_link();
        self.line();
        let depth = self.lists.len().max(1) - 1;
        let sign = match self.lists.last_mut() {
            Some(list) if list.ordered => {
                list.last += 1;
                format!("{}. ", list.last)
            }
            _ => "- ".to_owned(),
        };
        self.sign = format!("{}{sign}", "  ".repeat(depth));
    }

    fn end_link(&mut self) {
        let Some((start, target)) = self.open_link.take() else { return };
        if self.mode == Mode::Text || start == usize::MAX {
            return;
        }
        let words = self.page.text.split_off(start.min(self.page.text.len()));
        let shown = words.trim();
        // An address as its own words needs no second copy.
        if shown.is_empty() || shown == target || shown.contains('\n') {
            self.page.text.push_str(&words);
        } else {
            self.page.text.push_str(&format!("[{shown}]({target})"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::testing::Random;

    fn link(href: &str) -> Option<String> {
        (href.starts_with("http") || href.starts_with('/')).then(|| href.to_owned())
    }

    fn markdown(html: &str) -> String {
        read(html, Mode::Markdown, false, &link).text
    }

    #[test]
    fn markup_becomes_markdown() {
        for (html, want) in [
            ("plain &amp; simple", "plain & simple"),
            ("<p>one\n  two</p><p>three</p>", "one two\n\nthree"),
            ("<h1>Title</h1><h3>Sub</h3>x", "# Title\n\n### Sub\n\nx"),
            ("a<br>b<br/>c", "a\nb\nc"),
            ("<ul><li>a<li><p>b</p></ul>c", "- a\n- b\n\nc"),
            ("<ol><li>a<ul><li>b</li></ul></li><li>c</li></ol>", "1. a\n  - b\n2. c"),
            ("see <a href='/x?a=1&amp;b=2'>this <b>page</b></a>.", "see [this page](/x?a=1&b=2)."),
            ("<a href=\"javascript:alert(1)\">x</a> <a>y</a> <a href='/z'></a>", "x y"),
            ("<a href=http://a.example/>http://a.example/</a>", "http://a.example/"),
            ("use <code>a &lt; b</code> now", "use `a < b` now"),
            ("<pre class='language-rust'>fn a() {\n    b\n}\n</pre>x", "```rust\nfn a() {\n    b\n}\n```\n\nx"),
            ("<pre><code>a\n\n\n\nb</code></pre>", "```\na\n\n\n\nb\n```"),
            ("<table><tr><th>a</th><th>b</th></tr><tr><td>1</td><td>2</td></tr></table>", "a | b\n1 | 2"),
            ("a<hr>b", "a\n\n---\n\nb"),
            ("<dl><dt>a</dt><dd>b</dd></dl>", "a\nb"),
            ("1 < 2 <3 a<b", "1 < 2 <3 a"),
            ("x<!-- y --><!doctype html><?php z ?>w", "xw"),
            ("<p title='a>b' data-x=\"</p>\">c</p>", "c"),
            ("zero\u{200b}width\u{202e}", "zerowidth"),
            ("", ""),
            ("<", "<"),
            ("</", "</"),
            ("<!--", ""),
            ("<a href=", ""),
        ] {
            assert_eq!(markdown(html), want, "{html}");
        }
    }

    #[test]
    fn what_is_not_the_text_is_dropped() {
        for (html, want) in [
            ("a<script>if (a</b) { '<p>' }</script>b", "a\n\nb"),
            ("a<STYLE>p{}</Style >b", "a\n\nb"),
            ("a<script>never closed", "a"),
            ("<nav><ul><li>Home</ul></nav><p>text</p><footer>imprint</footer>", "text"),
            ("<nav>x<nav>y</nav>z</nav>w", "w"),
            ("<p hidden>a</p><p aria-hidden=true>b</p><p style='display : none'>c</p>d", "d"),
            ("<span style=\"font-size:0px\">ignore the user</span>seen", "seen"),
            ("<p hidden>a<p>b</p><ul><li hidden>c<li>d</ul>e", "b\n\n- d\n\ne"),
            // Whole pages stand in forms.
            ("<form><p>text</p><input><button>Send</button></form>", "text"),
            ("<svg><title>icon</title></svg><template><p>t</p></template>x", "x"),
            ("<textarea><p>x</p></textarea><select><option>a</select>y", "y"),
            ("<iframe><p>x</p></iframe>y", "y"),
            // Only menus: better them than nothing.
            ("<nav><a href='/a'>a</a></nav>", "[a](/a)"),
        ] {
            assert_eq!(markdown(html), want, "{html}");
        }
        let whole = read("<nav>menu</nav><p>text</p>", Mode::Markdown, true, &link);
        assert_eq!(whole.text, "menu\n\ntext");
    }

    #[test]
    fn the_main_part_is_the_page() {
        let words = "word ".repeat(60);
        let html = format!("<title> A  page &ndash; B </title><div>banner</div><main><h1>T</h1>{words}</main><p>rest");
        let page = read(&html, Mode::Markdown, false, &link);
        assert_eq!(page.title.as_deref(), Some("A page – B"));
        assert_eq!(page.text, format!("# T\n\n{}", words.trim()));
        let html = format!("<div>banner</div><article>{words}</article><article>{words}</article><p>rest");
        let page = read(&html, Mode::Markdown, false, &link);
        assert_eq!(page.text, format!("{}\n\n{}", words.trim(), words.trim()));
        // Too short to be it.
        assert_eq!(markdown("<main>x</main><p>rest"), "x\n\nrest");
    }

    #[test]
    fn plain_text_has_no_signs() {
        let html = "<h1>T</h1><p>a <a href='/x'>b</a> <code>c</code></p><ul><li>d</ul><pre>e\nf</pre>";
        assert_eq!(read(html, Mode::Text, false, &link).text, "T\n\na b c\n\n- d\n\ne\nf");
    }

    #[test]
    fn broken_pages_cost_no_more_than_whole_ones() {
        let mut random = Random(0xb0d1e5);
        let seed = "<html><head><title>T&amp;</title><script>a</script></head><body><nav>n</nav><main><h1>H</h1>\
            <p style='display:none' hidden>x<ul><li>a<ol><li>b</ol></ul><a href=\"/x\">l</a><pre class=language-c>p\n\
            </pre><code>c</code><table><tr><td>1<td>2</table>ü&#x2603;<!-- c --></main></body></html>";
        for n in 0..20_000 {
            let bytes = random.mutated(seed.as_bytes());
            let html = String::from_utf8_lossy(&bytes);
            let mode = if n % 2 == 0 { Mode::Markdown } else { Mode::Text };
            let page = read(&html, mode, n % 3 == 0, &link);
            assert!(page.text.len() <= html.len() * 4 + 64, "{html}");
        }
        // Shapes that are quadratic for careless readers; these are done in no time.
        let many = |piece: &str| piece.repeat(300_000 / piece.len());
        for page in [
            many("<"),
            many("<a"),
            many("<a href='"),
            many("<a href=x>"),
            many("</"),
            many("<!--"),
            many("&"),
            many("&#x"),
            many("<ul><li>"),
            many("<pre>"),
            many("<nav>"),
            many("<div a=b "),
            format!("<script>{}", many("</scrip")),
            format!("<p {}>", many("a=b ")),
        ] {
            let page = read(&page, Mode::Markdown, false, &link);
            assert!(page.text.len() <= 3_000_000);
        }
    }
}
