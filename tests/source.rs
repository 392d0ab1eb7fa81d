//! Rust source as tests look at it: comments, strings and test code blanked out, paths spelled out in full.

use std::fs;
use std::path::{Path, PathBuf};

/// One file under `src/`.
pub struct Source {
    /// Relative to the repository: `src/hub/mod.rs`.
    pub name: String,
    pub raw: String,
    /// `raw` with comments, literals and everything under `#[cfg(test)]` replaced by blanks; lines stay where they are.
    pub code: String,
    /// The module: `["hub", "outbox"]`; empty for lib.rs.
    pub module: Vec<String>,
}

/// A path such as `crate::hub::outbox` in code, and the line it stands in.
#[derive(Debug, PartialEq)]
pub struct Mention {
    pub line: usize,
    pub path: Vec<String>,
}

impl Source {
    pub fn new(name: &str, raw: &str) -> Source {
        let mut module: Vec<String> =
            name.trim_start_matches("src/").trim_end_matches(".rs").split('/').map(str::to_owned).collect();
        if matches!(module.last().map(String::as_str), Some("mod" | "lib")) {
            module.pop();
        }
        let code = without_tests(&without_text(raw));
        Source { name: name.to_owned(), raw: raw.to_owned(), code, module }
    }

    /// First part of the module path: the room.
    pub fn room(&self) -> &str {
        self.module.first().map_or("lib", String::as_str)
    }

    /// Macros that stand in the crate's root although they are written here.
    pub fn exported_macros(&self) -> Vec<String> {
        let tokens = tokens(&self.code);
        let start = ["#", "[", "macro_export", "]", "macro_rules", "!"];
        let starts = |window: &&[Token]| window.iter().map(|token| token.text).take(start.len()).eq(start);
        tokens.windows(start.len() + 1).filter(starts).map(|window| window[start.len()].text.to_owned()).collect()
    }

    /// Every path with at least two parts, absolute (`crate::…`, `std::…`) where it says so, else as written.
    pub fn mentions(&self) -> Vec<Mention> {
        let tokens = tokens(&self.code);
        let mut found = Vec::new();
        let mut at = 0;
        while at < tokens.len() {
            let inside_path = at > 0 && matches!(tokens[at - 1].text, "::" | ".");
            let starts = is_word(tokens[at].text) && tokens.get(at + 1).is_some_and(|next| next.text == "::");
            if starts && !inside_path {
                at = self.expand(&tokens, at, Vec::new(), &mut found);
            } else {
                at += 1;
            }
        }
        found
    }

    /// Follows one path from `at`, through its groups; where it ends.
    fn expand(&self, tokens: &[Token], mut at: usize, mut path: Vec<String>, found: &mut Vec<Mention>) -> usize {
        let line = tokens[at].line;
        loop {
            match tokens.get(at).map(|token| token.text) {
                Some("{") => {
                    at += 1;
                    while let Some(token) = tokens.get(at) {
                        match token.text {
                            "}" => return at + 1,
                            "," => at += 1,
                            _ => at = self.expand(tokens, at, path.clone(), found),
                        }
                    }
                    return at;
                }
                Some("*") => path.push("*".into()),
                Some(word) if is_word(word) => self.step(&mut path, word),
                _ => {}
            }
            at += 1;
            if tokens.get(at).is_none_or(|token| token.text != "::") {
                break;
            }
            at += 1;
        }
        // `use a::b as c`: the new name is no path of its own.
        if tokens.get(at).is_some_and(|token| token.text == "as") {
            at += 2;
        }
        if path.len() > 1 {
            found.push(Mention { line, path });
        }
        at
    }

    fn step(&self, path: &mut Vec<String>, word: &str) {
        let here = || std::iter::once("crate".to_owned()).chain(self.module.iter().cloned());
        match (word, path.is_empty()) {
            ("super", true) => {
                path.extend(here());
                path.pop();
            }
            ("super", false) => {
                path.pop();
            }
            ("self", true) => path.extend(here()),
            ("self", false) => {}
            ("openclaw", true) => path.push("crate".into()),
            _ => path.push(word.to_owned()),
        }
    }

    /// Lines in which the tokens of `pattern` (`println !`) follow each other.
    pub fn lines_with(&self, pattern: &str) -> Vec<usize> {
        let wanted: Vec<&str> = pattern.split(' ').collect();
        let tokens = tokens(&self.code);
        let matches = |window: &&[Token]| window.iter().map(|token| token.text).eq(wanted.iter().copied());
        tokens.windows(wanted.len()).filter(matches).map(|window| window[0].line).collect()
    }
}

/// Every file under `src/` but those that only tests compile.
pub fn all() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    collect(&root.join("src"), &mut files);
    files.sort();
    let read = |path: &PathBuf| {
        let name = path.strip_prefix(root).expect("collected below the root").to_string_lossy().replace('\\', "/");
        Source::new(&name, &fs::read_to_string(path).unwrap())
    };
    let sources: Vec<Source> = files.iter().map(read).collect();
    let test_files: Vec<String> = sources.iter().flat_map(test_files).collect();
    sources.into_iter().filter(|source| !test_files.contains(&source.name)).collect()
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// Files that `source` declares under `#[cfg(test)]`: `mod x;`, perhaps with a `#[path]`.
fn test_files(source: &Source) -> Vec<String> {
    let folder = source.name.rsplit_once('/').map_or("", |(folder, _)| folder);
    let stem = source.name.trim_end_matches(".rs");
    let mut found = Vec::new();
    for after in source.raw.split("#[cfg(test)]").skip(1) {
        let mut rest = after.trim_start();
        if let Some(path) = rest.strip_prefix("#[path = \"") {
            let (file, _) = path.split_once('"').unwrap();
            found.push(format!("{folder}/{file}"));
            continue;
        }
        rest = rest.trim_start_matches("pub ").trim_start_matches("pub(crate) ");
        if let Some((name, _)) = rest.strip_prefix("mod ").and_then(|rest| rest.split_once(';'))
            && is_word(name)
        {
            for home in [folder, stem] {
                found.extend([format!("{home}/{name}.rs"), format!("{home}/{name}/mod.rs")]);
            }
        }
    }
    found
}

/// Blanks comments, strings and character literals.
fn without_text(raw: &str) -> String {
    let chars: Vec<char> = raw.chars().collect();
    let mut out: Vec<char> = Vec::with_capacity(chars.len());
    let mut at = 0;
    while at < chars.len() {
        let end = text_end(&chars, at);
        if end == at {
            out.push(chars[at]);
            at += 1;
        } else {
            out.extend(chars[at..end].iter().map(|c| if *c == '\n' { '\n' } else { ' ' }));
            at = end;
        }
    }
    out.into_iter().collect()
}

/// Where the comment or literal that begins at `at` ends; `at` itself if none begins there.
fn text_end(chars: &[char], at: usize) -> usize {
    let get = |index: usize| chars.get(index).copied().unwrap_or('\0');
    let word_before = at > 0 && (chars[at - 1].is_alphanumeric() || chars[at - 1] == '_');
    match (get(at), get(at + 1)) {
        ('/', '/') => (at..chars.len()).find(|index| chars[*index] == '\n').unwrap_or(chars.len()),
        ('/', '*') => {
            let (mut depth, mut index) = (0, at);
            while index < chars.len() {
                match (get(index), get(index + 1)) {
                    ('/', '*') => (depth, index) = (depth + 1, index + 2),
                    ('*', '/') => (depth, index) = (depth - 1, index + 2),
                    _ => index += 1,
                }
                if depth == 0 {
                    break;
                }
            }
            index
        }
        ('"', _) => string_end(chars, at + 1),
        ('b' | 'c', '"') if !word_before => string_end(chars, at + 2),
        ('b' | 'c', 'r') if !word_before => raw_string_end(chars, at, at + 2),
        ('r', _) if !word_before => raw_string_end(chars, at, at + 1),
        ('\'', '\\') => {
            (at + 3..chars.len()).find(|index| chars[*index] == '\'').map_or(chars.len(), |index| index + 1)
        }
        ('\'', _) if get(at + 2) == '\'' => at + 3,
        _ => at,
    }
}

fn string_end(chars: &[char], mut at: usize) -> usize {
    while at < chars.len() && chars[at] != '"' {
        at += if chars[at] == '\\' { 2 } else { 1 };
    }
    (at + 1).min(chars.len())
}

/// `hashes` is where `#` or the quote should stand; `start` again if this is no raw string.
fn raw_string_end(chars: &[char], start: usize, hashes: usize) -> usize {
    let count = chars[hashes..].iter().take_while(|c| **c == '#').count();
    if chars.get(hashes + count) != Some(&'"') {
        return start;
    }
    let mut at = hashes + count + 1;
    while at < chars.len() {
        if chars[at] == '"' && chars[at + 1..].iter().take(count).filter(|c| **c == '#').count() == count {
            return at + 1 + count;
        }
        at += 1;
    }
    at
}

/// Beginnings of attributes that keep code out of the program.
const TEST_ONLY: [&str; 3] = ["#[cfg(test)]", "#[cfg(all(test,", "#[test]"];

/// Blanks what stands under `#[cfg(test)]`: to the end of its block, or to its semicolon.
fn without_tests(code: &str) -> String {
    let mut out = code.to_owned();
    while let Some(start) = TEST_ONLY.iter().filter_map(|attribute| out.find(attribute)).min() {
        let (mut depth, mut end) = (0, out.len());
        for (offset, c) in out[start..].char_indices() {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                ';' if depth == 0 => {}
                _ => continue,
            }
            if depth == 0 {
                end = start + offset + 1;
                break;
            }
        }
        let blank: String = out[start..end].chars().map(|c| if c == '\n' { '\n' } else { ' ' }).collect();
        out.replace_range(start..end, &blank);
    }
    out
}

struct Token<'a> {
    text: &'a str,
    line: usize,
}

fn tokens(code: &str) -> Vec<Token<'_>> {
    let mut found = Vec::new();
    for (number, text) in code.lines().enumerate() {
        let mut rest = text.trim_start();
        while let Some(first) = rest.chars().next() {
            let length = match first {
                c if is_word_char(c) => rest.find(|c| !is_word_char(c)).unwrap_or(rest.len()),
                ':' if rest.starts_with("::") => 2,
                c => c.len_utf8(),
            };
            found.push(Token { text: &rest[..length], line: number + 1 });
            rest = rest[length..].trim_start();
        }
    }
    found
}

fn is_word(text: &str) -> bool {
    text.chars().all(is_word_char) && !text.starts_with(|c: char| c.is_ascii_digit()) && !text.is_empty()
}

fn is_word_char(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

#[test]
fn paths_are_found_wherever_they_stand() {
    let code = r##"
        //! crate::comment::x
        use crate::{limits, hub::{Hub, outbox::*}, ids as names};
        use super::super::super::store::{self, Store};
        use std::{fs, net::IpAddr};
        fn f<'a>(x: &'a str) -> char { /* crate::c /* crate::d */ */ openclaw::rpc::go("crate::s"); '"' }
        const R: &str = r#"crate::raw " "#;
        pub(crate) fn g() { self::h(Instant::now()) }
        #[cfg(test)]
        mod tests { use crate::cli; fn x() { if true {} } }
        fn after() { crate::sys::poll() }
    "##;
    let source = Source::new("src/agent/models/wire.rs", code);
    let found: Vec<(usize, String)> =
        source.mentions().into_iter().map(|mention| (mention.line, mention.path.join("::"))).collect();
    let expected = [
        (3, "crate::limits"),
        (3, "crate::hub::Hub"),
        (3, "crate::hub::outbox::*"),
        (3, "crate::ids"),
        (4, "crate::store"),
        (4, "crate::store::Store"),
        (5, "std::fs"),
        (5, "std::net::IpAddr"),
        (6, "crate::rpc::go"),
        (8, "crate::agent::models::wire::h"),
        (8, "Instant::now"),
        (11, "crate::sys::poll"),
    ];
    assert_eq!(found, expected.map(|(line, path)| (line, path.to_owned())));
}

#[test]
fn modules_follow_from_file_names() {
    let module = |name: &str| Source::new(name, "").module.join("::");
    assert_eq!(module("src/lib.rs"), "");
    assert_eq!(module("src/gateway.rs"), "gateway");
    assert_eq!(module("src/hub/mod.rs"), "hub");
    assert_eq!(module("src/hub/outbox.rs"), "hub::outbox");
}

#[test]
fn test_only_files_are_recognised() {
    let code =
        "#[cfg(test)]\nmod x_tests;\n#[cfg(test)]\n#[path = \"y.rs\"]\nmod tests;\n#[cfg(test)]\nmod inline {}\n";
    let files = test_files(&Source::new("src/store/mod.rs", code));
    assert!(files.contains(&"src/store/x_tests.rs".to_owned()), "{files:?}");
    assert!(files.contains(&"src/store/y.rs".to_owned()), "{files:?}");
    assert!(!files.iter().any(|file| file.contains("inline")), "{files:?}");
}
