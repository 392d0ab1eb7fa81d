//! What the manual pages name in passing exists: pages, sections, files, variables, signals, keys, methods, checks; and
//! their text is what mandoc makes of it.

use std::collections::BTreeSet;
use std::process::Command;

use openclaw::cli::doctor;
use openclaw::cli::manual;
use openclaw::cli::tree;
use openclaw::config::lookup;
use openclaw::protocol::events::EVENTS;
use openclaw::protocol::methods::METHODS;

use crate::manuals::{collect, pages};
use crate::tables::{items, read, root, same, section_lines, visit};

/// Pages of other programs that ours point to.
const OTHERS: [&str; 9] =
    ["crontab 5", "head 1", "logrotate 8", "man 1", "sd_notify 3", "ssh 1", "systemctl 1", "tailscale 1", "tar 1"];

/// What a page points to exists, and no page is left out of the first one.
#[test]
fn references_lead_somewhere() {
    let mut known: BTreeSet<String> = pages().iter().map(|page| page.replacen(".json", "§", 1)).collect();
    known = known.iter().map(|page| page.replace('.', " ").replace('§', ".json")).collect();
    let ours = known.clone();
    known.extend(OTHERS.map(str::to_owned));
    for page in pages() {
        let text = read(&format!("man/{page}"));
        let words: Vec<&str> = text.split_whitespace().collect();
        for to in words.windows(3).filter(|words| words[0].trim_start_matches('.') == "Xr") {
            let to = format!("{} {}", to[1], to[2]);
            assert!(known.contains(&to), "{page} points to {to}");
        }
        // Sections are named as they are.
        let headings: Vec<&str> =
            text.lines().filter_map(|line| line.strip_prefix(".Sh ").or(line.strip_prefix(".Ss "))).collect();
        for line in text.lines().filter_map(|line| line.strip_prefix(".Sx ")) {
            let name = line.trim_end_matches([' ', '.', ',', ';', ':']);
            let elsewhere = text.contains(&format!(".Sx {line}\nin\n.Xr "));
            assert!(elsewhere || headings.contains(&name), "{page} has no section {name}");
        }
    }
    let first = read("man/openclaw.1");
    let also: Vec<String> = section_lines(&first, "SEE ALSO")
        .filter_map(|line| line.strip_prefix(".Xr "))
        .map(|line| line.trim_end_matches(" ,").to_owned())
        .collect();
    same(&ours.into_iter().filter(|page| page != "openclaw 1").collect::<Vec<_>>(), &also);
}

/// Files that a page names are named in the source; words in capitals stand for what differs.
#[test]
fn files_of_the_pages_are_the_programs() {
    // Of the machine or of the reader.
    let others = ["/etc/openclaw/password", "/etc/TZ"];
    let mut source = String::new();
    for dir in ["src", "contrib"] {
        visit(&root().join(dir), &mut |text| source.push_str(text));
    }
    let mut seen = 0;
    for page in pages() {
        let text = read(&format!("man/{page}"));
        let named = text.lines().filter(|line| line.starts_with(".Pa ") || line.starts_with(".It Pa "));
        for line in
            named.map(|line| line.trim_start_matches(".It ").trim_start_matches(".Pa ").trim_start_matches("Pa "))
        {
            for path in
                line.split(" , ").filter(|path| !others.contains(&path.trim_end_matches([' ', ',', '.', ';', ':'])))
            {
                let stands_for =
                    |c: char| c.is_ascii_uppercase() || matches!(c, '/' | '~' | '*' | ' ' | '\\' | '&' | '{' | '}');
                for piece in path.split(stands_for).filter(|piece| piece.len() > 3) {
                    let piece = piece.trim_end_matches(|c: char| c.is_ascii_digit() || matches!(c, '-' | '.'));
                    // A name may be made of a stem and what is put behind it.
                    let made = piece.rsplit_once('.').is_some_and(|(stem, end)| {
                        !stem.is_empty() && source.contains(stem) && source.contains(&format!(".{end}"))
                    });
                    let ours = root().join(path.trim_end_matches([' ', ',', '.', ';', ':'])).exists();
                    assert!(made || ours || source.contains(piece), "{page}: {path}: {piece} is not in the source");
                    seen += 1;
                }
            }
        }
    }
    assert!(seen > 100, "{seen}");
}

/// Keys of the configuration, methods and checks that a page names exist, and so do variables and signals.
#[test]
fn names_on_the_pages_are_known() {
    let mut source = String::new();
    visit(&root().join("src"), &mut |text| source.push_str(text));
    let signals = section_lines(&read("man/openclaw-gateway.8"), "SIGNALS").collect::<Vec<_>>().join(" ");
    let checks: Vec<&str> = doctor::CHECKS.iter().map(|check| check.id).collect();
    let audit = items(&read("man/openclaw-security.1"), "CHECKS").join(" ");
    assert!(lookup::lookup("gateway.nonsense").is_none());
    let mut seen = [0, 0, 0];
    let mut wrong = Vec::new();
    for page in manual::PAGES {
        let text = page.source();
        for line in text.lines().filter(|line| line.starts_with('.')) {
            let mut of = "";
            for word in line.split_whitespace() {
                let word = word.trim_start_matches('.');
                match word {
                    "It" => continue,
                    word if word.len() == 2 && word.is_ascii() => of = word,
                    _ if matches!(word, "," | ";" | ":" | ")" | "") => continue,
                    word => match of {
                        "Ic" if word.contains('.') && word.starts_with(|c: char| c.is_ascii_lowercase()) => {
                            seen[0] += 1;
                            let method = METHODS.iter().any(|method| method.name == word)
                                || EVENTS.iter().any(|event| event.name == word);
                            let check = checks.contains(&word) || audit.split(' ').any(|check| check == word);
                            // Names of earlier versions, which are spoken of.
                            let old = ["routing.bindings", "gateway.token"].contains(&word);
                            let known = old || method || check || lookup::lookup(word).is_some();
                            if !known {
                                wrong.push(format!("{}: {word}", page.name));
                            }
                        }
                        "Ev" if word.bytes().all(|b| b.is_ascii_uppercase() || b == b'_') => {
                            seen[1] += 1;
                            assert!(
                                word == "OPENCLAW_X" || word == "CLAWDBOT_X" || source.contains(word),
                                "{}: {word}",
                                page.name
                            );
                        }
                        "Dv" if word.starts_with("SIG") => {
                            seen[2] += 1;
                            assert!(signals.contains(word) || word == "SIGKILL", "{}: {word}", page.name);
                        }
                        _ => {}
                    },
                }
            }
        }
    }
    assert!(wrong.is_empty(), "no key, method or check: {wrong:#?}");
    assert!(seen[0] > 500 && seen[1] > 80 && seen[2] > 10, "{seen:?}");
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
    let pages: Vec<(String, String)> =
        pages().into_iter().map(|page| (read(&format!("man/{page}")), page)).map(|(text, page)| (page, text)).collect();
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

#[test]
fn variables_are_those_of_the_pages() {
    let mut in_source = BTreeSet::new();
    visit(&root().join("src"), &mut |text| {
        in_source.extend(text.split('"').map(str::to_owned).filter(|piece| is_variable(piece)));
    });
    // Unit tests talk to themselves through these; the build knows the commit.
    in_source.retain(|name| !name.starts_with("OPENCLAW_TEST_") && name != "OPENCLAW_COMMIT");
    let mut on_pages = BTreeSet::new();
    for page in pages() {
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

#[test]
fn mandoc_has_nothing_to_say() {
    for page in pages() {
        let path = root().join("man").join(&page);
        let Ok(output) = Command::new("mandoc").args(["-Tlint", "-Wwarning"]).arg(&path).output() else {
            eprintln!("skipped: no mandoc on this machine");
            return;
        };
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.is_empty(), "{said}");
    }
}

/// Words of the renderer for machines without man are mandoc's, in their order; the layout is our own.
#[test]
fn help_pages_have_the_words_of_mandoc() {
    for page in pages() {
        let path = root().join("man").join(&page);
        let Ok(output) = Command::new("mandoc").args(["-Tutf8", "-Owidth=1000"]).arg(&path).output() else {
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
