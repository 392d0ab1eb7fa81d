//! What commands write: the `out!` and `err!` macros, colours, display width, wrapping, tables, ages, JSON.
//!
//! Runs on the main thread of a command. Everything but the two writing functions is pure. Texts that came from
//! somewhere else (a device's name, a log line) go through [`plain`]: no escape sequence reaches the terminal.

use std::io::{IsTerminal as _, Write as _};

/// Narrowest and widest layout; without a terminal the narrow one is used.
pub const MIN_COLUMNS: usize = 80;
pub const MAX_COLUMNS: usize = 120;

/// Writes a line to standard output; a closed pipe ends the process quietly with 0.
#[macro_export]
macro_rules! out {
    () => { $crate::cli::output::write_out("\n") };
    ($($arg:tt)*) => { $crate::cli::output::write_out(&(format!($($arg)*) + "\n")) };
}

/// Writes a line to standard error; nobody listening is not an error.
#[macro_export]
macro_rules! err {
    ($($arg:tt)*) => { $crate::cli::output::write_err(&(format!($($arg)*) + "\n")) };
}

/// Writes text as it is and flushes it, so that a command that takes its time shows what it has.
pub fn write_out(text: &str) {
    let mut stdout = std::io::stdout().lock();
    let Err(error) = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) else { return };
    if error.kind() == std::io::ErrorKind::BrokenPipe {
        // `openclaw logs | head -1` has what it wanted.
        std::process::exit(0);
    }
    write_err(&format!("[openclaw] cannot write to standard output: {error}\n"));
    std::process::exit(1);
}

pub fn write_err(text: &str) {
    let _nobody_listens = std::io::stderr().lock().write_all(text.as_bytes());
}

/// Lines for both streams in the order in which a terminal shows them.
#[derive(Debug, Default, PartialEq)]
pub struct Page {
    lines: Vec<(Stream, String)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    Out,
    Err,
}

impl Page {
    pub fn out(&mut self, line: impl Into<String>) {
        self.lines.push((Stream::Out, line.into()));
    }

    pub fn err(&mut self, line: impl Into<String>) {
        self.lines.push((Stream::Err, line.into()));
    }

    /// The lines of one stream, as a file behind a redirection would have them.
    pub fn text(&self, stream: Stream) -> String {
        self.lines.iter().filter(|(s, _)| *s == stream).fold(String::new(), |text, (_, line)| text + line + "\n")
    }

    pub fn print(&self) {
        // Runs of lines for one stream leave in one write.
        for run in self.lines.chunk_by(|a, b| a.0 == b.0) {
            let text = run.iter().fold(String::new(), |text, (_, line)| text + line + "\n");
            match run[0].0 {
                Stream::Out => write_out(&text),
                Stream::Err => write_err(&text),
            }
        }
    }
}

/// Two spaces per level, as every `--json` prints.
pub fn json_pretty(value: &impl serde::Serialize) -> String {
    serde_json::to_string_pretty(value).expect("values printed by commands have string keys only")
}

/// Colours, or none of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Paint {
    on: bool,
}

impl Paint {
    pub const NONE: Paint = Paint { on: false };

    /// `--no-color` beats FORCE_COLOR, which beats NO_COLOR; otherwise colours only on a terminal that is not dumb.
    pub fn choose(no_color_flag: bool, env: impl Fn(&str) -> Option<String>, terminal: bool) -> Paint {
        let set = |name: &str| env(name).filter(|value| !value.is_empty());
        let on = if no_color_flag {
            false
        } else if let Some(force) = set("FORCE_COLOR").filter(|value| value != "0") {
            !force.is_empty()
        } else {
            terminal && set("NO_COLOR").is_none() && set("TERM").as_deref() != Some("dumb")
        };
        Paint { on }
    }

    pub fn is_on(self) -> bool {
        self.on
    }

    fn code(self, code: &str, text: &str) -> String {
        if self.on && !text.is_empty() { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_string() }
    }

    pub fn bold(self, text: &str) -> String {
        self.code("1", text)
    }

    pub fn red(self, text: &str) -> String {
        self.code("31", text)
    }

    pub fn green(self, text: &str) -> String {
        self.code("32", text)
    }

    pub fn yellow(self, text: &str) -> String {
        self.code("33", text)
    }

    pub fn cyan(self, text: &str) -> String {
        self.code("36", text)
    }

    /// For pictures: both colours are told, so that they do not depend on the terminal's.
    pub fn white_on_black(self, text: &str) -> String {
        self.code("97;40", text)
    }

    pub fn gray(self, text: &str) -> String {
        self.code("90", text)
    }
}

pub fn stdout_is_terminal() -> bool {
    std::io::stdout().is_terminal()
}

/// The layout's width: COLUMNS or the terminal's own, held between 80 and 120; 80 into a pipe.
pub fn columns(terminal: Option<usize>, columns_variable: Option<&str>) -> usize {
    columns_variable
        .and_then(|text| text.trim().parse().ok())
        .or(terminal)
        .unwrap_or(MIN_COLUMNS)
        .clamp(MIN_COLUMNS, MAX_COLUMNS)
}

/// Text from elsewhere, safe to print: control, direction and other invisible format characters become `\u{…}`.
pub fn plain(text: &str) -> String {
    let hidden = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
    };
    if !text.contains(hidden) {
        return text.to_string();
    }
    text.chars().fold(String::with_capacity(text.len() + 8), |mut clean, c| {
        if hidden(c) {
            clean.extend(c.escape_default());
        } else {
            clean.push(c);
        }
        clean
    })
}

/// Columns that a terminal needs for this text; colour sequences count nothing.
pub fn width(text: &str) -> usize {
    let mut total = 0;
    let mut last = 0;
    let mut joined = false;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c == '\x1b' {
            for c in chars.by_ref() {
                if c.is_ascii_alphabetic() {
                    break;
                }
            }
            continue;
        }
        let columns = match c {
            // Emoji style asked for: a symbol that was narrow is drawn wide.
            '\u{fe0f}' if last == 1 => {
                last = 2;
                1
            }
            _ if joined => 0,
            _ => char_width(c),
        };
        joined = c == '\u{200d}';
        if columns > 0 && c != '\u{fe0f}' {
            last = columns;
        }
        total += columns;
    }
    total
}

/// Wraps at blanks to this many columns; a word that is longer is cut. Line ends are kept. Never empty.
pub fn wrap(text: &str, columns: usize) -> Vec<String> {
    let columns = columns.max(1);
    let mut lines = Vec::new();
    for paragraph in text.split('\n') {
        let mut line = String::new();
        let mut used = 0;
        for word in paragraph.split(' ') {
            let mut word = word;
            let mut needed = width(word);
            if !line.is_empty() && used + 1 + needed > columns {
                lines.push(std::mem::take(&mut line));
                used = 0;
            } else if !line.is_empty() {
                line.push(' ');
                used += 1;
            }
            while needed > columns - used.min(columns) && needed > columns {
                let (head, tail) = split_at_width(word, columns);
                lines.push(head.to_string());
                word = tail;
                needed = width(word);
            }
            line.push_str(word);
            used += needed;
        }
        lines.push(line.trim_end().to_string());
    }
    lines
}

/// Pads with blanks on the right, or on the left for numbers.
pub fn pad(text: &str, columns: usize, right_aligned: bool) -> String {
    let blanks = " ".repeat(columns.saturating_sub(width(text)));
    if right_aligned { blanks + text } else { format!("{text}{blanks}") }
}

/// Cuts to this many columns, the last one being `…` when something is missing.
pub fn ellipsis(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_string();
    }
    let (head, _) = split_at_width(text, columns.saturating_sub(1));
    format!("{head}…")
}

/// A box-drawing table no wider than `columns`; cells wrap. Cells come through [`plain`] by themselves.
pub fn table(headers: &[&str], rows: &[Vec<String>], columns: usize) -> String {
    let rows: Vec<Vec<String>> = rows.iter().map(|row| row.iter().map(|cell| plain(cell)).collect()).collect();
    let widths = column_widths(headers, &rows, columns);
    let rule = |left: &str, middle: &str, right: &str| {
        let bars: Vec<String> = widths.iter().map(|w| "─".repeat(w + 2)).collect();
        format!("{left}{}{right}\n", bars.join(middle))
    };
    let row = |cells: &[&str]| {
        let wrapped: Vec<Vec<String>> = cells.iter().zip(&widths).map(|(cell, w)| wrap(cell, *w)).collect();
        let height = wrapped.iter().map(Vec::len).max().unwrap_or(1);
        (0..height).fold(String::new(), |text, i| {
            let line: Vec<String> = wrapped
                .iter()
                .zip(&widths)
                .map(|(lines, w)| pad(lines.get(i).map_or("", String::as_str), *w, false))
                .collect();
            format!("{text}│ {} │\n", line.join(" │ "))
        })
    };
    let mut text = rule("┌", "┬", "┐") + &row(headers) + &rule("├", "┼", "┤");
    for cells in &rows {
        text.push_str(&row(&cells.iter().map(String::as_str).collect::<Vec<_>>()));
    }
    text.push_str(&rule("└", "┴", "┘"));
    text.pop();
    text
}

/// `just now`, `5m ago`, `3h ago`, `2d ago`.
pub fn age(ms: u64) -> String {
    let minutes = ms / 60_000;
    match minutes {
        0 => "just now".to_string(),
        1..60 => format!("{minutes}m ago"),
        60..2880 => format!("{}h ago", minutes / 60),
        _ => format!("{}d ago", minutes / 1440),
    }
}

/// The path as people write it: `~` for the home directory.
pub fn short_path(path: &str, home: &str) -> String {
    match path.strip_prefix(home.trim_end_matches('/')) {
        Some(rest) if !home.trim_end_matches('/').is_empty() && (rest.is_empty() || rest.starts_with('/')) => {
            format!("~{rest}")
        }
        _ => path.to_string(),
    }
}

/// `950`, `12k`, `1.2m`: token counts in tables.
pub fn short_count(n: u64) -> String {
    match n {
        0..1000 => n.to_string(),
        1000..1_000_000 => format!("{}k", (n + 500) / 1000),
        _ => format!("{}.{}m", n / 1_000_000, n % 1_000_000 / 100_000),
    }
}

/// Natural widths, the widest column giving way until the table fits; none below 8 unless its content is.
fn column_widths(headers: &[&str], rows: &[Vec<String>], columns: usize) -> Vec<usize> {
    let natural = |i: usize| {
        let cells = rows.iter().filter_map(|row| row.get(i)).map(String::as_str);
        cells.chain(headers.get(i).copied()).flat_map(|cell| cell.split('\n')).map(width).max().unwrap_or(1).max(1)
    };
    let mut widths: Vec<usize> = (0..headers.len()).map(natural).collect();
    let room = columns.saturating_sub(3 * headers.len() + 1);
    while widths.iter().sum::<usize>() > room {
        let widest = widths.iter_mut().max().expect("a table has columns");
        if *widest <= 8 {
            break;
        }
        *widest -= 1;
    }
    widths
}

/// The longest head of at most so many columns (at least one character), and the rest.
fn split_at_width(text: &str, columns: usize) -> (&str, &str) {
    let mut used = 0;
    for (at, c) in text.char_indices() {
        let next = used + char_width(c);
        if next > columns && at > 0 {
            return text.split_at(at);
        }
        used = next;
    }
    (text, "")
}

/// Unicode East Asian Width (wide and full-width), emoji presentation and zero-width marks, by range.
fn char_width(c: char) -> usize {
    const ZERO: [(u32, u32); 30] = [
        (0x0000, 0x001f),
        (0x007f, 0x009f),
        (0x0300, 0x036f),
        (0x0483, 0x0489),
        (0x0591, 0x05bd),
        (0x0610, 0x061a),
        (0x064b, 0x065f),
        (0x0670, 0x0670),
        (0x06d6, 0x06dc),
        (0x06df, 0x06e4),
        (0x0900, 0x0902),
        (0x093c, 0x093c),
        (0x0941, 0x0948),
        (0x094d, 0x094d),
        (0x0e31, 0x0e31),
        (0x0e34, 0x0e3a),
        (0x0e47, 0x0e4e),
        (0x1160, 0x11ff),
        (0x1ab0, 0x1aff),
        (0x1dc0, 0x1dff),
        (0x200b, 0x200f),
        (0x202a, 0x202e),
        (0x2060, 0x2064),
        (0x20d0, 0x20ff),
        (0x302a, 0x302d),
        (0x3099, 0x309a),
        (0xfe00, 0xfe0f),
        (0xfe20, 0xfe2f),
        (0xfeff, 0xfeff),
        (0xe0000, 0xe01ef),
    ];
    const WIDE: [(u32, u32); 57] = [
        (0x1100, 0x115f),
        (0x231a, 0x231b),
        (0x2329, 0x232a),
        (0x23e9, 0x23ec),
        (0x23f0, 0x23f0),
        (0x23f3, 0x23f3),
        (0x25fd, 0x25fe),
        (0x2614, 0x2615),
        (0x2648, 0x2653),
        (0x267f, 0x267f),
        (0x2693, 0x2693),
        (0x26a1, 0x26a1),
        (0x26aa, 0x26ab),
        (0x26bd, 0x26be),
        (0x26c4, 0x26c5),
        (0x26ce, 0x26ce),
        (0x26d4, 0x26d4),
        (0x26ea, 0x26ea),
        (0x26f2, 0x26f3),
        (0x26f5, 0x26f5),
        (0x26fa, 0x26fa),
        (0x26fd, 0x26fd),
        (0x2705, 0x2705),
        (0x270a, 0x270b),
        (0x2728, 0x2728),
        (0x274c, 0x274c),
        (0x274e, 0x274e),
        (0x2753, 0x2755),
        (0x2757, 0x2757),
        (0x2795, 0x2797),
        (0x27b0, 0x27b0),
        (0x27bf, 0x27bf),
        (0x2b1b, 0x2b1c),
        (0x2b50, 0x2b50),
        (0x2b55, 0x2b55),
        (0x2e80, 0x303e),
        (0x3041, 0x33ff),
        (0x3400, 0x4dbf),
        (0x4e00, 0xa4cf),
        (0xa960, 0xa97f),
        (0xac00, 0xd7a3),
        (0xf900, 0xfaff),
        (0xfe10, 0xfe19),
        (0xfe30, 0xfe6f),
        (0xff01, 0xff60),
        (0xffe0, 0xffe6),
        (0x16fe0, 0x18cff),
        (0x1aff0, 0x1b2ff),
        (0x1f004, 0x1f004),
        (0x1f0cf, 0x1f0cf),
        (0x1f18e, 0x1f18e),
        (0x1f191, 0x1f19a),
        (0x1f200, 0x1f64f),
        (0x1f680, 0x1f6ff),
        (0x1f7e0, 0x1f7eb),
        (0x1f90c, 0x1faff),
        (0x20000, 0x3fffd),
    ];
    let code = u32::from(c);
    let within = |ranges: &[(u32, u32)]| {
        ranges
            .binary_search_by(|(from, to)| {
                if code < *from {
                    std::cmp::Ordering::Greater
                } else if code > *to {
                    std::cmp::Ordering::Less
                } else {
                    std::cmp::Ordering::Equal
                }
            })
            .is_ok()
    };
    if (0x20..0x7f).contains(&code) {
        1
    } else if within(&ZERO) {
        0
    } else if within(&WIDE) {
        2
    } else {
        1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn widths_are_columns_not_bytes() {
        for (text, columns) in [
            ("", 0),
            ("abc", 3),
            ("é", 1),
            ("e\u{301}", 1),
            ("漢字", 4),
            ("ｆｕｌｌ", 8),
            ("한국", 4),
            ("🤖", 2),
            ("⚠", 1),
            ("⚠\u{fe0f}", 2),
            ("👩\u{200d}🚀", 2),
            ("🇩🇪", 2),
            ("─│", 2),
            ("a\u{200b}b", 2),
            ("\x1b[31mred\x1b[0m", 3),
            ("·…“”", 4),
        ] {
            assert_eq!(width(text), columns, "{text:?}");
        }
    }

    #[test]
    fn wrapping() {
        for (text, columns, lines) in [
            ("", 10, vec![""]),
            ("one two three", 7, vec!["one two", "three"]),
            ("one  two", 10, vec!["one  two"]),
            ("abcdefghij", 4, vec!["abcd", "efgh", "ij"]),
            ("x abcdefghij", 4, vec!["x", "abcd", "efgh", "ij"]),
            ("漢字漢字", 5, vec!["漢字", "漢字"]),
            ("a\nb", 5, vec!["a", "b"]),
        ] {
            assert_eq!(wrap(text, columns), lines, "{text:?} {columns}");
        }
        for line in wrap(&"word longerword 漢字 ".repeat(40), 23) {
            assert!(width(&line) <= 23, "{line}");
        }
    }

    #[test]
    fn tables_fit_and_line_up() {
        let rows = vec![
            vec!["afc171e8b728cfd5b423d13618b42f1a7794f1ff".to_string(), "漢字 name".to_string(), "x".repeat(90)],
            vec!["b".to_string(), "\x1b[2Jevil".to_string(), String::new()],
        ];
        let text = table(&["Device", "Name", "Scopes"], &rows, 80);
        assert!(text.lines().all(|line| width(line) == 80), "{text}");
        assert!(text.contains("\\u{1b}[2Jevil") && !text.contains('\x1b'), "{text}");
        let small = table(&["A"], &[vec!["b".into()]], 80);
        assert_eq!(small, "┌───┐\n│ A │\n├───┤\n│ b │\n└───┘");
    }

    #[test]
    fn colours_only_where_they_are_wanted() {
        for (flag, force, no, term, terminal, on) in [
            (false, "", "", "xterm", true, true),
            (false, "", "", "xterm", false, false),
            (false, "", "1", "xterm", true, false),
            (false, "1", "1", "xterm", false, true),
            (false, "0", "", "xterm", true, true),
            (false, "0", "1", "xterm", true, false),
            (true, "1", "", "xterm", true, false),
            (false, "", "", "dumb", true, false),
        ] {
            let env = |name: &str| match name {
                "FORCE_COLOR" => Some(force.to_string()),
                "NO_COLOR" => Some(no.to_string()),
                "TERM" => Some(term.to_string()),
                _ => None,
            };
            assert_eq!(Paint::choose(flag, env, terminal).is_on(), on, "{flag} {force} {no} {term} {terminal}");
        }
    }

    #[test]
    fn small_formats() {
        for (ms, text) in
            [(0, "just now"), (59_999, "just now"), (300_000, "5m ago"), (7_200_000, "2h ago"), (172_800_000, "2d ago")]
        {
            assert_eq!(age(ms), text);
        }
        for (path, text) in [("/home/u/x", "~/x"), ("/home/u", "~"), ("/home/user2", "/home/user2"), ("/etc", "/etc")] {
            assert_eq!(short_path(path, "/home/u/"), text);
        }
        assert_eq!(short_path("/x", "/"), "/x");
        for (n, text) in [(999, "999"), (1500, "2k"), (200_000, "200k"), (1_250_000, "1.2m")] {
            assert_eq!(short_count(n), text);
        }
        assert_eq!(columns(None, None), 80);
        assert_eq!(columns(Some(200), None), 120);
        assert_eq!(columns(Some(100), Some("90")), 90);
        assert_eq!(columns(Some(20), None), 80);
        assert_eq!(plain("a\tb\u{202e}c"), "a\\tb\\u{202e}c");
        assert_eq!(ellipsis("漢字漢字", 5), "漢字…");
    }
}
