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
//! own. Behind the name of a method or event stands who it is for (`Pq operator.read`). The commands are in manuals.rs.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use openclaw::cli::tree;
use openclaw::cli::{audit, doctor};
use openclaw::protocol::events::{Audience, EVENTS};
use openclaw::protocol::methods::{Access, METHODS};

use crate::manuals::pages;

#[derive(Clone, Debug, PartialEq)]
enum Limit {
    Count(u64),
    Bytes(u64),
    Millis(u64),
}

#[test]
fn quoted_limits_are_the_programs() {
    let limits = limits();
    let wrong: Vec<String> =
        pages().iter().flat_map(|name| wrong_quotes(&read(&format!("man/{name}")), &limits, name)).collect();
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

#[test]
fn checks_are_those_of_the_page() {
    let table: Vec<String> = doctor::CHECKS.iter().map(|check| check.id.to_owned()).collect();
    same(&table, &items(&read("man/openclaw-doctor.8"), "CHECKS"));
    let table = audit::checks().map(|check| check.id.to_owned()).chain(["gateway.probe_failed".to_owned()]);
    same(&table.collect::<Vec<_>>(), &items(&read("man/openclaw-security.1"), "CHECKS"));
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

/// What refuses a start or a client has its entry on the troubleshooting page. Each row: a file, and how the texts begin
/// that count there.
#[test]
fn every_refusal_has_its_entry() {
    let page = read("man/openclaw-troubleshooting.7");
    let entries: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix(".It \"")?.strip_suffix('"')).collect();
    let covered = |text: &str| {
        entries.iter().any(|entry| {
            let mut rest = text;
            entry.split("...").map(str::trim).filter(|piece| piece.len() > 3).all(|piece| {
                let found = rest.split_once(piece);
                rest = found.map_or("", |(_, rest)| rest);
                found.is_some()
            }) && entry.len() > 10
        })
    };
    let rows: &[(&str, &[&str])] = &[
        (
            "src/policy/start.rs",
            &[
                "Gateway auth is",
                "Refusing",
                "refusing",
                "Invalid config",
                "gateway auth",
                "gateway bind",
                "gateway.bind",
                "tailscale",
                "non-",
            ],
        ),
        (
            "src/policy/auth_failure.rs",
            &["gateway ", "bootstrap ", "device ", "too many", "tailscale identity", "tailscale proxy"],
        ),
        ("src/policy/device.rs", &["device "]),
        ("src/policy/connect_order.rs", &["origin ", "control ui ", "device identity"]),
        ("src/policy/pairing.rs", &["pairing required"]),
        ("src/protocol/methods.rs", &["unauthorized role", "missing scope", "unknown method"]),
        ("src/protocol/connect.rs", &["protocol mismatch"]),
        ("src/server/lock.rs", &["failed to acquire"]),
        (
            "src/gateway/settings.rs",
            &["Invalid ", "Use ", "Failed to ", "Gateway password", "Missing config", "Gateway start"],
        ),
        ("src/server/listen.rs", &["another gateway", "failed to bind"]),
        ("src/server/port_report.rs", &["Port {"]),
        ("src/cli/client.rs", &["gateway timeout", "gateway closed"]),
        ("src/cli/target.rs", &["gateway url", "gateway remote mode", "SECURITY ERROR"]),
    ];
    let mut missing = Vec::new();
    for (file, starts) in rows {
        let texts = texts(&read(file));
        for start in *starts {
            let of_it: Vec<&String> = texts.iter().filter(|text| text.starts_with(start)).collect();
            assert!(!of_it.is_empty(), "{file} has no text that begins with {start:?}");
            // Some are said behind a word of their own.
            let entered = |text: &str| covered(text) || covered(&format!("unauthorized: {text}"));
            missing.extend(of_it.iter().filter(|text| !entered(text)).map(|text| format!("{file}: {text}")));
        }
    }
    assert!(missing.is_empty(), "no entry for {missing:#?}");
}

/// The texts in a source file, without its tests and comments.
fn texts(source: &str) -> Vec<String> {
    let source = source.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    let code: Vec<&str> = source.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
    let code = code.join("\n").replace("\\\"", "\u{1}");
    let mut joined = String::new();
    let mut pieces = code.split("\\\n");
    joined.push_str(pieces.next().unwrap_or_default());
    pieces.for_each(|piece| joined.push_str(piece.trim_start()));
    joined.split('"').skip(1).step_by(2).map(|text| text.replace('\u{1}', "\"")).collect()
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

/// Every source file's text.
pub fn visit(dir: &Path, see: &mut impl FnMut(&str)) {
    for entry in fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            visit(&path, see);
        } else if path.extension().is_some_and(|ext| ext == "rs") {
            see(&fs::read_to_string(path).expect("text"));
        }
    }
}

/// Items of a section without their macro: `health Pq everybody`.
pub fn items(page: &str, section: &str) -> Vec<String> {
    section_lines(page, section).filter_map(|line| line.strip_prefix(".It Ic ")).map(str::to_owned).collect()
}

pub fn section_lines<'a>(page: &'a str, section: &str) -> impl Iterator<Item = &'a str> {
    let heading = format!(".Sh {section}");
    page.lines().skip_while(move |line| *line != heading).skip(1).take_while(|line| !line.starts_with(".Sh "))
}

pub fn same(table: &[String], page: &[String]) {
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

pub fn read(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
