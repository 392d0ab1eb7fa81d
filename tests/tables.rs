//! Manual pages say what the tables say: limits by value, methods, events and keys by name.
//!
//! How a page quotes a limit: a comment names it, and the next line shows it in any usual spelling.
//!
//! ```text
//! .\" limit: HANDSHAKE_TIMEOUT
//! A client has 15 s for its handshake.
//! ```
//!
//! How a page lists a table: one `.It` for each name, with one macro before it (`.It Ic health`), in a section of its
//! own. Behind the name of a method or event stands who it is for (`Pq operator.read`); the last line of a key's item
//! says in parentheses what the table knows. A command has a subsection with one `.Op` line for each option.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use openclaw::cli::argv::{self, Action};
use openclaw::cli::doctor;
use openclaw::cli::tree::{self, CommandInfo, FlagInfo, FlagInfoKind};
use openclaw::config::keys::{Facts, Key, Keys};
use openclaw::config::schema::Schema;
use openclaw::protocol::events::{Audience, EVENTS};
use openclaw::protocol::methods::{Access, METHODS};

/// Every page there is; a page that is not listed here, or listed and missing, fails the first test.
const PAGES: &[&str] = &[
    "openclaw-doctor.8",
    "openclaw-gateway.8",
    "openclaw-http.7",
    "openclaw-protocol.7",
    "openclaw-troubleshooting.7",
    "openclaw.1",
    "openclaw.json.5",
];

#[derive(Clone, Debug, PartialEq)]
enum Limit {
    Count(u64),
    Bytes(u64),
    Millis(u64),
}

#[test]
fn every_page_is_compared() {
    let mut found: Vec<String> = match fs::read_dir(root().join("man")) {
        Ok(entries) => entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(error) => panic!("man/: {error}"),
    };
    found.sort();
    assert_eq!(found, PAGES, "PAGES in tests/tables.rs is the list of the files in man/, sorted");
}

#[test]
fn quoted_limits_are_the_programs() {
    let limits = limits();
    let wrong: Vec<String> =
        PAGES.iter().flat_map(|name| wrong_quotes(&read(&format!("man/{name}")), &limits, name)).collect();
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn every_limit_is_understood() {
    let limits = limits();
    let declared = read("src/limits.rs").matches("pub const ").count();
    assert_eq!(limits.len(), declared);
    assert_eq!(limits["PREAUTH_FRAME_BYTES"], Limit::Bytes(65_536));
    assert_eq!(limits["HANDSHAKE_TIMEOUT"], Limit::Millis(15_000));
    assert_eq!(limits["MAX_WEBSOCKETS"], Limit::Count(2048));
}

#[test]
fn a_wrong_quote_is_noticed() {
    let limits = BTreeMap::from([
        ("MAX_PAYLOAD_BYTES".to_owned(), Limit::Bytes(25 << 20)),
        ("HANDSHAKE_TIMEOUT".to_owned(), Limit::Millis(15_000)),
        ("RATE_LOCKOUT".to_owned(), Limit::Millis(300_000)),
        ("MAX_WEBSOCKETS".to_owned(), Limit::Count(2048)),
    ]);
    let table = [
        (".\\\" limit: MAX_PAYLOAD_BYTES\nMessages up to 25 MiB.\n", 0),
        (".\\\" limit: MAX_PAYLOAD_BYTES\nMessages up to 125 MiB.\n", 1),
        (".\\\" limit: HANDSHAKE_TIMEOUT\n.\\\" limit: MAX_WEBSOCKETS\n15 s, for 2,048 clients\n", 0),
        (".\\\" limit: HANDSHAKE_TIMEOUT\n15000 s\n", 1),
        (".\\\" limit: RATE_LOCKOUT\nfor 5 minutes\n", 0),
        (".\\\" limit: RATE_LOCKOUT\nfor 300 seconds\n", 0),
        (".\\\" limit: NO_SUCH_LIMIT\n7\n", 1),
        (".\\\" limit: RATE_LOCKOUT\n", 1),
    ];
    for (page, wrong) in table {
        let found = wrong_quotes(page, &limits, "page");
        assert_eq!(found.len(), wrong, "{page}{found:?}");
    }
}

#[test]
fn lists_are_compared_in_both_directions() {
    let page = ".Sh METHODS\n.Bl -tag\n.It Ic health\nText.\n.It Ic logs.tail Op limit\n.El\n.Sh EVENTS\n.It Ic tick\n";
    assert_eq!(listed(page, "METHODS"), ["health", "logs.tail"]);
    assert_eq!(listed(page, "EVENTS"), ["tick"]);
    let differences = |table: &[&str]| differences(table, &listed(page, "METHODS"));
    assert_eq!(differences(&["health", "logs.tail"]), [""; 0]);
    assert_eq!(
        differences(&["health", "status"]),
        ["status is missing from the page", "logs.tail is not in the table"]
    );
}

#[test]
fn methods_are_those_of_the_page() {
    let table: Vec<String> = METHODS
        .iter()
        .map(|method| {
            let access = match method.access {
                Access::None => "everybody",
                Access::Scope(scope) => scope,
                Access::NodeOnly => "nodes",
            };
            format!("{} Pq {access}{}", method.name, if method.advertised { "" } else { " , not advertised" })
        })
        .collect();
    same(&table, &items(&read("man/openclaw-protocol.7"), "METHODS"));
}

#[test]
fn events_are_those_of_the_page() {
    let table: Vec<String> = EVENTS
        .iter()
        .map(|event| {
            let audience = match event.audience {
                Audience::Everybody => "everybody",
                Audience::Scope(scope) => scope,
                Audience::ReadOrSubscribed => "operator.read",
                Audience::Targeted => "one connection",
            };
            format!("{} Pq {audience}{}", event.name, if event.advertised { "" } else { " , not sent yet" })
        })
        .collect();
    same(&table, &items(&read("man/openclaw-protocol.7"), "EVENTS"));
}

/// The section KEYS of openclaw.json(5) is what the table makes of it. After a change of the table:
/// `OPENCLAW_WRITE_MAN=1 cargo test --test gateway keys_are_those_of_the_page`.
#[test]
fn keys_are_those_of_the_page() {
    const FIRST: &str = ".\\\" Made from the table of keys; see tests/tables.rs.\n";
    let page = read("man/openclaw.json.5");
    let (head, rest) = page.split_once(FIRST).expect("the mark of the section");
    let (section, tail) = rest.split_once(".Sh ").expect("a section after it");
    let wanted = keys_section();
    if std::env::var_os("OPENCLAW_WRITE_MAN").is_some() {
        let page = format!("{head}{FIRST}{wanted}.Sh {tail}");
        std::fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/man/openclaw.json.5"), page).unwrap();
        return;
    }
    for (number, (is, wanted)) in section.lines().zip(wanted.lines()).enumerate() {
        assert_eq!(is, wanted, "line {number} of the section");
    }
    assert_eq!(section.lines().count(), wanted.lines().count());
}

/// One part for each section of the file: its own line, the keys that work, then the others in short.
fn keys_section() -> String {
    let (schema, keys) = (Schema::new(), Keys::new());
    let mut out = String::new();
    let rows: Vec<&Key> = keys.rows().iter().filter(|key| !key.path.starts_with("~.")).collect();
    let section_of = |key: &Key| key.path.split(['.', '[']).next().unwrap_or_default().to_owned();
    for rows in rows.chunk_by(|a, b| section_of(a) == section_of(b)) {
        let name = section_of(rows[0]);
        out += &format!(".Ss {name}\n{}\n", text_line(rows[0].doc));
        let below: Vec<&Key> = rows.iter().copied().filter(|key| key.path != name).collect();
        let works = |key: &&&Key| key.effect;
        if below.iter().any(|key| key.effect) {
            out += ".Bl -tag -width Ds\n";
            for key in below.iter().filter(works) {
                let facts = Facts::of(&schema, &key.path).expect("a row of the schema").text(key.default);
                let ours = if key.ours { "; unknown to the reference, which refuses it" } else { "" };
                out += &format!(".It Ic {}\n{}\n", key.path, text_line(key.doc));
                out += &format!("({facts}{ours})\n").replace('≥', "\\(>=").replace('–', "\\(en");
            }
            out += ".El\n";
        }
        if below.iter().any(|key| !key.effect) {
            out += ".Pp\nWithout effect so far:\n.Bl -tag -width Ds -compact\n";
            for key in below.iter().filter(|key| !key.effect && !has_working_part(key, &below)) {
                out += &format!(".It Ic {}\n{}\n", key.path, text_line(key.doc));
                if !key.default.is_empty() {
                    out += &format!("(default {})\n", text_line(key.default));
                }
            }
            out += ".El\n";
        }
    }
    out
}

/// An object with keys that work is only there to hold them.
fn has_working_part(key: &Key, rows: &[&Key]) -> bool {
    rows.iter().any(|row| row.effect && row.path.starts_with(&format!("{}.", key.path)))
}

/// A line that may begin with anything, and mark-up characters as they are.
fn text_line(text: &str) -> String {
    let text = text.replace('\\', "\\e");
    if text.starts_with(['.', '\'']) { format!("\\&{text}") } else { text }
}

#[test]
fn options_are_those_of_the_pages() {
    let (general, gateway) = (read("man/openclaw.1"), read("man/openclaw-gateway.8"));
    let top = tree::tree();
    same(&spelled(&top, "--help"), &items_with_flags(&general, "GLOBAL OPTIONS", "-help"));
    let mut commands = Vec::new();
    collect(&top, "openclaw", &mut commands);
    let mut with_a_section = Vec::new();
    for (words, info) in &commands {
        if matches!(words.as_str(), "openclaw gateway" | "openclaw gateway run") {
            same(&spelled(info, "--help"), &items_with_flags(&gateway, "OPTIONS", ""));
            continue;
        }
        with_a_section.push(words.clone());
        let section = subsection(&general, words);
        let options: Vec<String> =
            section.lines().filter_map(|line| line.strip_prefix(".Op Fl ")).map(str::to_owned).collect();
        same(&spelled(info, "--help"), &options);
        let explained = |flag: &FlagInfo| {
            let own = section.lines().any(|line| line.starts_with(".It ") && names_flag(line, flag.long));
            own || subsection(&general, "Options of many commands").lines().any(|line| names_flag(line, flag.long))
        };
        for flag in info.flags.iter().filter(|flag| flag.long != "--help") {
            assert!(explained(flag), "{words}: {} is not explained", flag.long);
        }
        for argument in info.positionals {
            assert!(section.contains(&format!("Ar {}\n", argument.name)), "{words}: {}", argument.name);
        }
    }
    let mut on_page: Vec<String> = general
        .lines()
        .filter_map(|line| line.strip_prefix(".Ss openclaw "))
        .map(|w| format!("openclaw {w}"))
        .collect();
    on_page.retain(|words| words != "openclaw gateway");
    same(&with_a_section, &on_page);
}

#[test]
fn checks_are_those_of_the_page() {
    let table: Vec<String> = doctor::CHECKS.iter().map(|check| check.id.to_owned()).collect();
    same(&table, &items(&read("man/openclaw-doctor.8"), "CHECKS"));
}

/// The troubleshooting page quotes what the program says: between the dots each piece stands in its source.
#[test]
fn signatures_are_the_programs() {
    let mut source = String::new();
    visit(&root().join("src"), &mut |text| source.push_str(&spoken(text)));
    let page = read("man/openclaw-troubleshooting.7");
    let signatures: Vec<&str> =
        page.lines().filter_map(|line| line.strip_prefix(".It \"")?.strip_suffix('"')).collect();
    assert!(signatures.len() > 50, "{signatures:?}");
    let said = |piece: &str| piece.len() < 4 || source.contains(piece);
    let wrong: Vec<&&str> =
        signatures.iter().filter(|line| !line.split("...").all(|piece| said(piece.trim()))).collect();
    assert!(wrong.is_empty(), "the program does not say: {wrong:#?}");
}

/// Source with its texts as they are printed: continued lines joined, quotes bare.
fn spoken(source: &str) -> String {
    let mut out = String::new();
    let mut pieces = source.split("\\\n");
    out.push_str(pieces.next().unwrap_or_default());
    pieces.for_each(|piece| out.push_str(piece.trim_start()));
    out.replace("\\\"", "\"")
}

/// Every exit status that the pages give is one that the program has, and the two lists of the gateway agree.
#[test]
fn exit_statuses_agree() {
    let of = |page: &str| -> BTreeSet<String> {
        let text = read(page);
        let items = section_lines(&text, "EXIT STATUS").filter_map(|line| line.strip_prefix(".It "));
        items.map(str::to_owned).collect()
    };
    let gateway = of("man/openclaw-gateway.8");
    let mut troubleshooting = of("man/openclaw-troubleshooting.7");
    assert!(troubleshooting.remove("137"), "128 and SIGKILL: not the program's own");
    assert_eq!(gateway, troubleshooting);
    let note = tree::tree().commands.iter().find(|sub| sub.name == "gateway").expect("gateway").command.notes.join(" ");
    for status in gateway.iter().filter(|status| status.as_str() != "2") {
        assert!(note.contains(&format!(" {status} ")), "{status}: {note}");
    }
}

/// Each signal that the program asks for is one of the page, and the other way round.
#[test]
fn signals_are_those_of_the_page() {
    let page = read("man/openclaw-gateway.8");
    let on_page: BTreeSet<String> = section_lines(&page, "SIGNALS")
        .filter_map(|line| line.strip_prefix(".It Dv "))
        .flat_map(|line| line.split(" , "))
        .map(str::to_owned)
        .collect();
    let source = read("src/sys/signals.rs");
    let in_source: BTreeSet<String> = source
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| {
            word.starts_with("SIG")
                && word.len() > 5
                && word.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit())
        })
        .map(str::to_owned)
        .collect();
    // Ignored by what runs before main, in every Rust program.
    let known = in_source.into_iter().filter(|word| word != "SIGNALS").chain(["SIGPIPE".to_owned()]);
    assert_eq!(known.collect::<BTreeSet<_>>(), on_page);
}

/// Command lines on the pages are ones that the program takes.
#[test]
fn commands_on_the_pages_are_understood() {
    let mut seen = 0;
    for page in PAGES {
        let text = read(&format!("man/{page}")).replace(" \\e\n", " ");
        let mut literal = false;
        for line in text.lines() {
            literal = line.starts_with(".Bd -literal") || (literal && line != ".Ed");
            let inline = line.strip_prefix(".Ql ").or(line.strip_prefix(".Dl "));
            let Some(command) = inline.or(literal.then_some(line)).and_then(|line| line.strip_prefix("openclaw "))
            else {
                continue;
            };
            let command = [" && ", " || ", " | ", " >"].iter().fold(command, |c, end| c.split(end).next().unwrap_or(c));
            let words = command.split_whitespace().map(|word| word.replace("\\(dq", "").replace('"', ""));
            let words: Vec<String> = words.filter(|word| !matches!(word.as_str(), "," | "." | ";" | ":")).collect();
            if words.first().is_some_and(|word| word == "...") {
                continue;
            }
            let parsed = argv::parse(words.iter().map(Into::into));
            // A command that is only mentioned goes without its arguments.
            let ok = match parsed {
                Ok(action) => !matches!(action, Action::Help { asked: false, .. }) || words == ["help"],
                Err(error) => {
                    let text = error.to_string();
                    text.contains("missing required argument") || text.contains("not specified")
                }
            };
            assert!(ok, "{page}: openclaw {}", words.join(" "));
            seen += 1;
        }
    }
    assert!(seen > 40, "{seen}");
}

/// Options and variables of ours that a page mentions anywhere are options of some command, and listed variables.
#[test]
fn what_pages_mention_exists() {
    let mut options = BTreeSet::from(["-option".to_owned()]);
    let mut commands = vec![(String::new(), tree::tree())];
    collect(&tree::tree(), "", &mut commands);
    for (_, info) in &commands {
        options.extend(info.flags.iter().map(|flag| flag.long[1..].to_owned()));
    }
    let pages: Vec<(&&str, String)> = PAGES.iter().map(|page| (page, read(&format!("man/{page}")))).collect();
    let mut variables = BTreeSet::new();
    for (_, text) in &pages {
        let items = section_lines(text, "ENVIRONMENT").filter(|line| line.starts_with(".It Ev "));
        variables.extend(items.flat_map(str::split_whitespace).map(str::to_owned));
    }
    for (page, text) in &pages {
        let words: Vec<&str> = text.split_whitespace().collect();
        for pair in words.windows(2) {
            let known = match pair[0].trim_start_matches('.') {
                "Fl" if pair[1].len() > 2 && pair[1].starts_with('-') => options.contains(pair[1]),
                "Ev" if pair[1].starts_with("OPENCLAW_") && pair[1] != "OPENCLAW_X" => variables.contains(pair[1]),
                _ => true,
            };
            assert!(known, "{page}: {} {} is nothing that the program has", pair[0], pair[1]);
        }
    }
}

/// Files that a page lists are named in the source; words in capitals stand for what differs.
#[test]
fn files_of_the_pages_are_the_programs() {
    let mut source = String::new();
    visit(&root().join("src"), &mut |text| source.push_str(text));
    let mut seen = 0;
    for page in PAGES {
        let text = read(&format!("man/{page}"));
        for line in section_lines(&text, "FILES").filter_map(|line| line.strip_prefix(".It Pa ")) {
            for path in line.split(" , ") {
                let stands_for =
                    |c: char| c.is_ascii_uppercase() || matches!(c, '/' | '~' | '*' | ' ' | '\\' | '&' | '{' | '}');
                for piece in path.split(stands_for).filter(|piece| piece.len() > 3) {
                    let piece = piece.trim_end_matches(|c: char| c.is_ascii_digit() || matches!(c, '-' | '.'));
                    assert!(source.contains(piece), "{page}: {path}: {piece} is not in the source");
                    seen += 1;
                }
            }
        }
    }
    assert!(seen > 25, "{seen}");
}

/// Words of the renderer for machines without man are mandoc's, in their order; the layout is our own.
#[test]
fn help_pages_have_the_words_of_mandoc() {
    for page in PAGES {
        let path = root().join("man").join(page);
        let Ok(output) = std::process::Command::new("mandoc").args(["-Tutf8", "-Owidth=1000"]).arg(&path).output()
        else {
            eprintln!("skipped: no mandoc on this machine");
            return;
        };
        let theirs = bare(&String::from_utf8_lossy(&output.stdout));
        // Head and foot of the page are mandoc's own.
        let theirs = theirs.split('\n').filter(|line| !line.is_empty());
        let theirs: Vec<&str> = theirs.collect();
        let theirs = theirs[1..theirs.len() - 1].join(" ");
        let (name, _) = page.rsplit_once('.').expect("a section");
        let ours = bare(&openclaw::cli::manual::find(name).expect("a page").text());
        let ours = ours.split_once('\n').expect("a head").1;
        let (ours, theirs): (Vec<&str>, Vec<&str>) =
            (ours.split_whitespace().collect(), theirs.split_whitespace().collect());
        let differs = ours.iter().zip(&theirs).position(|(a, b)| a != b);
        let near = |words: &[&str], at: usize| words[at.saturating_sub(8)..words.len().min(at + 8)].join(" ");
        if let Some(at) = differs {
            panic!("{page}:\n  ours:   {}\n  mandoc: {}", near(&ours, at), near(&theirs, at));
        }
        assert_eq!(ours.len(), theirs.len(), "{page}");
    }
}

/// Without overstrikes, bullets, and the choice of quotes and dashes.
fn bare(text: &str) -> String {
    let mut out: Vec<char> = Vec::new();
    for c in text.chars() {
        match c {
            '\u{8}' => drop(out.pop()),
            '‘' | '’' => out.push('\''),
            '“' | '”' => out.push('"'),
            '—' | '–' | '‐' | '−' => out.push('-'),
            '\u{a0}' => out.push(' '),
            _ => out.push(c),
        }
    }
    let text: String = out.into_iter().collect();
    let without_bullet = |line: &str| {
        let line = line.trim();
        line.strip_prefix("• ").or(line.strip_prefix("- ")).unwrap_or(line).trim_start().to_owned()
    };
    text.lines().map(without_bullet).collect::<Vec<_>>().join("\n")
}

#[test]
fn variables_are_those_of_the_pages() {
    let mut in_source = BTreeSet::new();
    visit(&root().join("src"), &mut |text| {
        in_source.extend(text.split('"').map(str::to_owned).filter(|piece| is_variable(piece)));
    });
    // Unit tests talk to themselves through these; the build knows the commit.
    in_source.retain(|name| !name.starts_with("OPENCLAW_TEST_") && name != "OPENCLAW_COMMIT");
    let mut on_pages = BTreeSet::new();
    for page in PAGES {
        let text = read(&format!("man/{page}"));
        let items = section_lines(&text, "ENVIRONMENT").filter(|line| line.starts_with(".It Ev "));
        on_pages.extend(items.flat_map(str::split_whitespace).filter(|word| is_variable(word)).map(str::to_owned));
    }
    let (in_source, on_pages): (Vec<String>, Vec<String>) =
        (in_source.into_iter().collect(), on_pages.into_iter().collect());
    assert!(in_source.len() > 15, "{in_source:?}");
    same(&in_source, &on_pages);
}

fn is_variable(word: &str) -> bool {
    let name = word.strip_prefix("OPENCLAW_").or_else(|| word.strip_prefix("CLAWDBOT_"));
    name.is_some_and(|name| !name.is_empty() && name.bytes().all(|b| b.is_ascii_uppercase() || b == b'_'))
}

/// Every source file's text.
fn visit(dir: &Path, see: &mut impl FnMut(&str)) {
    for entry in fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            visit(&path, see);
        } else if path.extension().is_some_and(|ext| ext == "rs") {
            see(&fs::read_to_string(path).expect("text"));
        }
    }
}

fn collect(info: &CommandInfo, words: &str, into: &mut Vec<(String, CommandInfo)>) {
    for sub in &info.commands {
        let words = format!("{words} {}", sub.name);
        into.push((words.clone(), sub.command.clone()));
        collect(&sub.command, &words, into);
    }
}

/// The options of a command as a page spells them: `-url Ar url`, `m , Fl -message Ar text`.
fn spelled(info: &CommandInfo, without: &str) -> Vec<String> {
    let options = info.flags.iter().filter(|flag| flag.long != without && !flag.hidden);
    options
        .map(|flag| {
            let short = flag.short.map(|c| format!("{c} , Fl ")).unwrap_or_default();
            let value = match &flag.kind {
                FlagInfoKind::Option { arg_name } => format!(" Ar {arg_name}"),
                FlagInfoKind::Switch => String::new(),
            };
            format!("{short}{}{value}", &flag.long[1..])
        })
        .collect()
}

/// The options that the items of a section define, but for one.
fn items_with_flags(page: &str, section: &str, without: &str) -> Vec<String> {
    let lines = section_lines(page, section).filter_map(|line| line.strip_prefix(".It Fl "));
    lines.filter(|line| without.is_empty() || !line.ends_with(without)).map(str::to_owned).collect()
}

fn names_flag(line: &str, long: &str) -> bool {
    line.split_whitespace().any(|word| word == &long[1..])
}

/// The text between this `.Ss` and the next heading.
fn subsection(page: &str, title: &str) -> String {
    let heading = format!(".Ss {title}");
    let mut lines = page.lines().skip_while(|line| *line != heading);
    assert!(lines.next().is_some(), "{heading} is missing");
    lines.take_while(|line| !line.starts_with(".Ss ") && !line.starts_with(".Sh ")).map(|l| format!("{l}\n")).collect()
}

/// Items of a section without their macro: `health Pq everybody`.
fn items(page: &str, section: &str) -> Vec<String> {
    section_lines(page, section).filter_map(|line| line.strip_prefix(".It Ic ")).map(str::to_owned).collect()
}

fn section_lines<'a>(page: &'a str, section: &str) -> impl Iterator<Item = &'a str> {
    let heading = format!(".Sh {section}");
    page.lines().skip_while(move |line| *line != heading).skip(1).take_while(|line| !line.starts_with(".Sh "))
}

fn same(table: &[String], page: &[String]) {
    let table: Vec<&str> = table.iter().map(String::as_str).collect();
    let differences = differences(&table, page);
    assert!(differences.is_empty(), "\n{}", differences.join("\n"));
    assert_eq!(table.len(), page.len(), "listed twice: {page:?}");
}

/// Names that the items of a section define.
fn listed(page: &str, section: &str) -> Vec<String> {
    let lines = section_lines(page, section);
    lines.filter_map(|line| line.strip_prefix(".It ")?.split_whitespace().nth(1).map(str::to_owned)).collect()
}

fn differences(table: &[&str], page: &[String]) -> Vec<String> {
    let in_table: BTreeSet<&str> = table.iter().copied().collect();
    let on_page: BTreeSet<&str> = page.iter().map(String::as_str).collect();
    let missing = in_table.difference(&on_page).map(|name| format!("{name} is missing from the page"));
    missing.chain(on_page.difference(&in_table).map(|name| format!("{name} is not in the table"))).collect()
}

/// Limits that `page` names and does not show as they are.
fn wrong_quotes(page: &str, limits: &BTreeMap<String, Limit>, page_name: &str) -> Vec<String> {
    let lines: Vec<&str> = page.lines().collect();
    let mut wrong = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let Some(name) = line.strip_prefix(".\\\" limit: ") else { continue };
        let shown = lines[index + 1..].iter().find(|line| !line.starts_with(".\\\"")).copied().unwrap_or("");
        let complaint = match limits.get(name.trim()) {
            None => "src/limits.rs has no such limit".to_owned(),
            Some(limit) => {
                let spellings = spellings(limit);
                if spellings.iter().any(|spelling| shows(shown, spelling)) {
                    continue;
                }
                format!("the next line shows none of: {}", spellings.join(", "))
            }
        };
        wrong.push(format!("man/{page_name}:{}: {name}: {complaint}", index + 1));
    }
    wrong
}

/// Whether `text` has `spelling` with no more digits or letters around it.
fn shows(text: &str, spelling: &str) -> bool {
    text.match_indices(spelling).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = text[at + spelling.len()..].chars().next();
        !before.is_some_and(|c| c.is_ascii_digit() || matches!(c, ',' | '.'))
            && !after.is_some_and(char::is_alphanumeric)
    })
}

fn spellings(limit: &Limit) -> Vec<String> {
    let (value, units): (u64, &[(u64, &[&str])]) = match limit {
        Limit::Count(value) => (*value, &[(1, &[""])]),
        Limit::Bytes(value) => (*value, &[(1 << 20, &[" MiB"]), (1 << 10, &[" KiB"]), (1, &["", " bytes"])]),
        Limit::Millis(value) => (
            *value,
            &[
                (3_600_000, &[" h", " hours"]),
                (60_000, &[" min", " minutes"]),
                (1000, &[" s", " seconds"]),
                (1, &[" ms"]),
            ],
        ),
    };
    let mut found = Vec::new();
    for (unit, names) in units {
        if value % unit == 0 {
            let number = value / unit;
            for name in *names {
                found.extend([format!("{number}{name}"), format!("{}{name}", grouped(number))]);
            }
        }
    }
    found.dedup();
    found
}

/// 52428800 as 52,428,800.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Every constant of src/limits.rs.
fn limits() -> BTreeMap<String, Limit> {
    let text = read("src/limits.rs");
    let declarations = text.split("pub const ").skip(1);
    declarations
        .map(|declaration| {
            let (name, rest) = declaration.split_once(':').expect("a type");
            let (_, rest) = rest.split_once('=').expect("a value");
            let (value, _) = rest.split_once(';').expect("an end");
            (name.to_owned(), limit(name, value.trim()))
        })
        .collect()
}

fn limit(name: &str, value: &str) -> Limit {
    let inside = |start: &str| value.strip_prefix(start).and_then(|rest| rest.strip_suffix(')')).map(product);
    if let Some(seconds) = inside("Duration::from_secs(") {
        Limit::Millis(seconds * 1000)
    } else if let Some(millis) = inside("Duration::from_millis(") {
        Limit::Millis(millis)
    } else if name.contains("BYTES") || name.ends_with("_STACK") || name.ends_with("_BUFFER") || name.ends_with("_BODY")
    {
        Limit::Bytes(product(value))
    } else {
        Limit::Count(product(value))
    }
}

fn product(value: &str) -> u64 {
    let factor = |factor: &str| factor.trim().replace('_', "").parse::<u64>();
    value.split('*').map(|part| factor(part).unwrap_or_else(|_| panic!("not a plain number: {value}"))).product()
}

fn read(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
