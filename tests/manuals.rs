//! The manual pages against the program: every command on the page of its group with every option, nothing on a page that
//! the program does not have, `openclaw help` on machines without man.
//!
//! A command has a subsection (`.Ss openclaw devices list`) with one `.Op` line for each option and an `.It` that explains
//! it, there or in the page's "Options of many commands". A line that begins with `JSON:` begins the list of the keys of
//! its answer: those in front of a semicolon are always there.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Command;

use serde_json::{Value, json};

use openclaw::cli::argv::{self, Action};
use openclaw::cli::doctor;
use openclaw::cli::manual::{self, KEYS_BEGIN, KEYS_END};
use openclaw::cli::output::width;
use openclaw::cli::tree::{self, CommandInfo, FlagInfo, FlagInfoKind};
use openclaw::config::lookup;
use openclaw::protocol::events::EVENTS;
use openclaw::protocol::methods::METHODS;

use crate::commands::ends;
use crate::common::{Gateway, Home, free_port};
use crate::tables::{items, read, root, same, section_lines, visit};

/// Pages of other programs that ours point to.
const OTHERS: [&str; 9] =
    ["crontab 5", "head 1", "logrotate 8", "man 1", "sd_notify 3", "ssh 1", "systemctl 1", "tailscale 1", "tar 1"];

/// The files of all pages, from the program.
pub fn pages() -> Vec<String> {
    manual::PAGES.iter().map(|page| format!("{}.{}", page.name, page.section)).collect()
}

#[test]
fn every_page_is_in_the_program() {
    let entries = fs::read_dir(root().join("man")).expect("man/");
    let mut found: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
    found.sort_by_key(|file| file.rsplit_once('.').map(|(name, _)| name.to_owned()));
    assert_eq!(found, pages(), "PAGES in src/cli/manual.rs is the list of the files in man/, sorted");
    let mut long = Vec::new();
    for (page, file) in manual::PAGES.iter().zip(&found) {
        assert!(page.source() == read(&format!("man/{file}")), "{file} differs from what the program has");
        assert_eq!(manual::find(page.name), Some(page));
        assert_eq!(manual::find(page.topic()), Some(page), "{file}: two pages for one topic");
        let text = page.text();
        long.extend(text.lines().filter(|line| width(line) > 80).map(|line| format!("{file}: {line}")));
    }
    assert!(long.is_empty(), "{long:#?}");
}

#[test]
fn every_page_has_its_parts() {
    for (page, file) in manual::PAGES.iter().zip(pages()) {
        let text = page.source();
        let sections: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix(".Sh ")).collect();
        let of_commands: &[&str] =
            if matches!(page.section, "1" | "8") { &["SYNOPSIS", "EXIT STATUS", "EXAMPLES"] } else { &[] };
        for wanted in [&["NAME", "DESCRIPTION", "SEE ALSO"], of_commands].concat() {
            assert!(sections.contains(&wanted), "{file} has no section {wanted}");
        }
        let title = format!(".Dt {} {}\n", page.name.to_uppercase(), page.section);
        assert!(text.contains(&title) && text.contains(&format!("\n.Nm {}\n", page.name)), "{file}");
        for section in sections.iter().filter(|section| !matches!(**section, "NAME" | "SYNOPSIS")) {
            assert!(section_lines(&text, section).next().is_some(), "{file}: {section} is empty");
        }
    }
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

/// The section KEYS of openclaw.json(5) is what the table makes of it. After a change of the table:
/// `OPENCLAW_WRITE_MAN=1 cargo test --test gateway keys_are_those_of_the_page`.
#[test]
fn keys_are_those_of_the_page() {
    let page = read("man/openclaw.json.5");
    let (head, rest) = page.split_once(KEYS_BEGIN).expect("the mark of the section");
    let (section, tail) = rest.split_once(KEYS_END).expect("a section after it");
    let wanted = manual::keys();
    if std::env::var_os("OPENCLAW_WRITE_MAN").is_some() {
        fs::write(root().join("man/openclaw.json.5"), format!("{head}{KEYS_BEGIN}{wanted}{KEYS_END}{tail}")).unwrap();
        return;
    }
    for (number, (is, wanted)) in section.lines().zip(wanted.lines()).enumerate() {
        assert_eq!(is, wanted, "line {number} of the section");
    }
    assert_eq!(section.lines().count(), wanted.lines().count());
}

#[test]
fn options_are_those_of_the_pages() {
    let (general, gateway) = (read("man/openclaw.1"), read("man/openclaw-gateway.8"));
    let top = tree::tree();
    same(&spelled(&top, "--help"), &items_with_flags(&general, "GLOBAL OPTIONS", "-help"));
    let mut commands = Vec::new();
    collect(&top, "", &mut commands);
    let of = |words: &str| &commands.iter().find(|(other, _)| other == words).expect("a command").1;
    let mut described = sections();
    for (words, info) in &commands {
        let words = words.trim_start();
        if matches!(words, "gateway" | "gateway run") {
            same(&spelled(info, "--help"), &items_with_flags(&gateway, "OPTIONS", ""));
            continue;
        }
        if words == "daemon" {
            continue;
        }
        if let Some(old_name) = words.strip_prefix("daemon ") {
            // Said once: the same as below `gateway`.
            assert_eq!(spelled(info, ""), spelled(of(&format!(" gateway {old_name}")), ""), "{words}");
            assert!(described["daemon"][0].1.contains(&format!("daemon {old_name}")), "{words}");
            continue;
        }
        let options = spelled(info, "--help");
        let places = described.remove(words).unwrap_or_default();
        if places.is_empty() && options.is_empty() && !info.commands.is_empty() {
            continue; // only a name above others
        }
        let [(file, section)] = &places[..] else {
            panic!("openclaw {words} is described in {} places, not in one", places.len())
        };
        let path: Vec<String> = words.split(' ').map(str::to_owned).collect();
        let page = manual::about(&path).expect("a page");
        assert_eq!(*file, format!("{}.{}", page.name, page.section), "openclaw {words}");
        let text = page.source();
        let synopsis: Vec<&str> = section_lines(&text, "SYNOPSIS").collect();
        let in_synopsis = synopsis.contains(&format!(".Ic {words}").as_str());
        assert!(in_synopsis || !info.commands.is_empty(), "{file}: {words} is not in the synopsis");
        let on_page: Vec<String> =
            section.lines().filter_map(|line| line.strip_prefix(".Op Fl ")).map(str::to_owned).collect();
        same(&options, &on_page);
        let shared = subsection(&text, "Options of many commands").unwrap_or_default();
        let explained = |flag: &FlagInfo| {
            [section, &shared]
                .iter()
                .any(|part| part.lines().any(|line| line.starts_with(".It ") && names_flag(line, flag.long)))
        };
        for flag in info.flags.iter().filter(|flag| flag.long != "--help") {
            assert!(explained(flag), "{file}: {words}: {} is not explained", flag.long);
        }
        for argument in info.positionals {
            assert!(section.contains(&format!("Ar {}\n", argument.name)), "{words}: {}", argument.name);
        }
        let prints_json = info.flags.iter().any(|flag| flag.long == "--json" && flag.description.contains("JSON"));
        let named = section.contains("JSON:") || words == "config set";
        assert!(!prints_json || named, "{file}: {words}: what stands in its JSON?");
    }
    described.remove("daemon");
    assert!(described.is_empty(), "no commands: {:?}", described.keys());
}

/// What commands are said to do in a synopsis, they can.
#[test]
fn synopses_are_commands() {
    let mut commands = Vec::new();
    collect(&tree::tree(), "", &mut commands);
    for page in manual::PAGES {
        let text = page.source();
        for words in section_lines(&text, "SYNOPSIS").filter_map(|line| line.strip_prefix(".Ic ")) {
            let known = commands.iter().any(|(other, _)| other.trim_start() == words) || words == "help";
            assert!(known, "{}: {words}", page.name);
        }
    }
    let overview = section_lines(&read("man/openclaw.1"), "COMMANDS").map(str::to_owned).collect::<Vec<_>>();
    for sub in tree::tree().commands {
        let page = manual::about(&[sub.name.to_owned()]).unwrap_or_else(|| panic!("no page about {}", sub.name));
        let entry = format!(".It Xr {} {}", page.name, page.section);
        let at = overview.iter().position(|line| *line == entry).unwrap_or_else(|| panic!("{entry} is missing"));
        let text = overview[at + 1..].iter().take_while(|line| !line.starts_with(".It")).cloned().collect::<Vec<_>>();
        let named = text.iter().flat_map(|line| line.split(' ')).any(|word| word == sub.name);
        assert!(named, "the overview does not name {} at {entry}", sub.name);
    }
}

/// The keys that pages promise of JSON are those of the answers of real commands.
#[test]
fn json_has_the_keys_of_the_pages() {
    let home = Home::new();
    let port = free_port();
    home.configure(json!({"gateway": {"port": port}}));
    let gateway = Gateway::spawn_args(&home, port, &["gateway", "--dev"], |_| {});
    gateway.wait_line("listening on ws://");
    let backup = home.path().join("b.tar").display().to_string();
    // Somebody to look at.
    let (list, _) = ends(&home, "devices list --json", 0);
    let list: Value = serde_json::from_str(&list).expect("JSON");
    let device = list["paired"][0]["deviceId"].as_str().expect("this machine").to_owned();
    let mut rest: BTreeSet<String> = sections()
        .iter()
        .filter(|(_, places)| promised(&places[0].1).is_some())
        .map(|(words, _)| words.clone())
        .collect();
    let runs = [
        "gateway status --json",
        "gateway health --json",
        "gateway probe --json",
        "gateway usage-cost --json",
        "gateway discover --timeout 100 --json",
        "status --json",
        "health --json",
        "channels status --json",
        "agent --agent main -m hello --json",
        "sessions --json",
        "agents list --json",
        "models list --json",
        "devices list --json",
        "devices rotate --device DEVICE --role operator",
        "devices clear --yes --json",
        "system event --text x --json",
        "system presence",
        "config validate --json",
        "config schema gateway.port --json",
        "security audit --json",
        "doctor --json",
        "update status --json",
        "backup create --verify --json --output BACKUP",
        "backup verify --json BACKUP",
        "gateway stop --json",
        "gateway start --json",
        "gateway restart --json",
        "logs --json",
        "backup restore --force --json BACKUP",
        "onboard --non-interactive --accept-risk --json",
    ];
    for line in runs {
        let line = line.replace("DEVICE", &device).replace("BACKUP", &backup);
        let (out, _) = ends(&home, &line, 0);
        let objects = line.starts_with("logs");
        let out = if objects { out.lines().last().unwrap_or_default().to_owned() } else { out };
        let mut answer: Value = serde_json::from_str(&out).unwrap_or_else(|e| panic!("openclaw {line}: {e}: {out}"));
        let words: Vec<&str> = line.split(" -").next().unwrap_or_default().split(' ').collect();
        let words = (1..=words.len()).rev().map(|n| words[..n].join(" ")).find(|words| sections().contains_key(words));
        let words = words.unwrap_or_else(|| panic!("{line} is not described"));
        let (always, all) = promised(&sections()[&words][0].1).unwrap_or_else(|| panic!("{words} promises nothing"));
        let is_list = answer.is_array() || objects;
        if answer.is_array() {
            answer = answer[0].take();
        }
        let keys: BTreeSet<String> = answer.as_object().expect("an object").keys().cloned().collect();
        let unnamed: Vec<&String> = keys.difference(&all).collect();
        let missing: Vec<&String> = always.difference(&keys).collect();
        assert!(unnamed.is_empty(), "openclaw {line}: the page does not name {unnamed:?}");
        assert!(is_list || missing.is_empty(), "openclaw {line} has no {missing:?}: {out}");
        rest.remove(&words);
    }
    // Need what a test of one gateway cannot give: a request that waits, a service manager.
    same(
        &rest.into_iter().collect::<Vec<_>>(),
        &[
            "devices approve",
            "devices reject",
            "devices remove",
            "devices revoke",
            "gateway install",
            "gateway uninstall",
            "system heartbeat disable",
            "system heartbeat enable",
        ]
        .map(str::to_owned),
    );
}

/// The keys that always stand in a command's JSON, and all that may; nothing when the page names none.
fn promised(section: &str) -> Option<(BTreeSet<String>, BTreeSet<String>)> {
    let (_, rest) = section.split_once("JSON:")?;
    let sentence: Vec<&str> = rest.lines().filter(|line| !line.is_empty()).collect();
    let end = sentence.iter().position(|line| line.ends_with('.')).unwrap_or(sentence.len() - 1);
    let sentence = sentence[..=end].join(" ");
    let words = |text: &str| -> BTreeSet<String> {
        text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).map(str::to_owned).collect()
    };
    if !sentence.contains(',') && sentence.split_whitespace().count() > 1 {
        return None; // said in words
    }
    let without_parts = |text: &str| {
        let pieces = text.split('(').map(|piece| piece.split_once(')').map_or(piece, |(_, rest)| rest));
        pieces.collect::<Vec<_>>().join(" ")
    };
    let always = without_parts(sentence.split(';').next().unwrap_or_default());
    Some((words(&always), words(&sentence)))
}

/// What `openclaw help` finds, by any name.
#[test]
fn help_finds_every_page() {
    let home = Home::new();
    for page in manual::PAGES {
        assert_eq!(ends(&home, &format!("help {}", page.name), 0), (page.text(), String::new()));
        assert!(page.text().contains("\nNAME\n") && !page.text().contains("\n."), "{}", page.name);
    }
    for sub in tree::tree().commands {
        let (out, err) = ends(&home, &format!("help {}", sub.name), 0);
        let page = manual::about(&[sub.name.to_owned()]).expect("a page");
        assert!(out.ends_with(&page.text()) && err.is_empty(), "{}", sub.name);
        for below in &sub.command.commands {
            let words = format!("{} {}", sub.name, below.name);
            let (out, _) = ends(&home, &format!("help {words}"), 0);
            assert_eq!(out, ends(&home, &format!("{words} --help"), 0).0);
            let path: Vec<String> = words.split(' ').map(str::to_owned).collect();
            let page = manual::about(&path).expect("a page");
            let pointer = format!("\"openclaw help {}\" prints the manual page", page.topic());
            assert!(out.contains(&pointer), "{words}: {out}");
        }
    }
    let (out, err) = ends(&home, "help frobnicate", 1);
    assert!(
        out.is_empty() && err.starts_with("error: unknown command 'frobnicate'\nTopics: openclaw, agent, "),
        "{err}"
    );
    assert!(err.ends_with("\nSee: openclaw --help\n") && err.lines().all(|line| line.len() <= 80), "{err}");
    for page in manual::PAGES {
        assert!(err.split([' ', ',', '\n']).any(|word| word == page.topic()), "{}: {err}", page.name);
    }
}

/// Each check of `security audit` has its entry.
#[test]
fn checks_of_the_audit_are_those_of_the_page() {
    let listed: Vec<String> = items(&read("man/openclaw-security.1"), "CHECKS")
        .iter()
        .flat_map(|line| line.split(" , "))
        .map(str::to_owned)
        .collect();
    let mut in_source = BTreeSet::new();
    for file in ["src/cli/audit.rs", "src/cli/security.rs"] {
        let text = read(file);
        let text = text.split("#[cfg(test)]").next().unwrap_or_default();
        in_source.extend(text.split('"').filter(|word| is_check(word)).map(str::to_owned));
    }
    same(&in_source.into_iter().collect::<Vec<_>>(), &listed);
}

fn is_check(word: &str) -> bool {
    let (first, rest) = word.split_once('.').unwrap_or((word, ""));
    matches!(first, "gateway" | "fs" | "summary")
        && rest.contains('_')
        && rest.bytes().all(|b| b.is_ascii_lowercase() || matches!(b, b'_' | b'.'))
}

/// Command lines on the pages are ones that the program takes.
#[test]
fn commands_on_the_pages_are_understood() {
    let mut seen = 0;
    for page in pages() {
        let text = read(&format!("man/{page}")).replace(" \\e\n", " ");
        let mut literal = false;
        for line in text.lines() {
            literal = line.starts_with(".Bd -literal") || (literal && line != ".Ed");
            let inline = line.strip_prefix(".Ql ").or(line.strip_prefix(".Dl "));
            let Some(command) = inline.or(literal.then_some(line)).and_then(|line| line.strip_prefix("openclaw "))
            else {
                continue;
            };
            let command = [" && ", " || ", " |", " >"].iter().fold(command, |c, end| c.split(end).next().unwrap_or(c));
            let mut words = shell_words(&command.replace("\\(dq", "\""));
            words.retain(|word| !matches!(word.as_str(), "," | "." | ";" | ":"));
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

/// What a shell makes of a line with quotes.
fn shell_words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quote = None;
    for c in line.chars() {
        let word = words.last_mut().expect("there is one");
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '"' | '\'') => quote = Some(c),
            (None, ' ') => words.push(String::new()),
            _ => word.push(c),
        }
    }
    words.retain(|word| !word.is_empty());
    words
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

/// Files that a page names are named in the source; words in capitals stand for what differs.
#[test]
fn files_of_the_pages_are_the_programs() {
    // Of the machine or of the reader.
    let others = ["/etc/hosts", "/etc/openclaw/password", "/etc/TZ"];
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

/// Every `.Ss openclaw words` of every page: words, and the files with their text.
fn sections() -> BTreeMap<String, Vec<(String, String)>> {
    let mut found: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
    for page in pages() {
        let text = read(&format!("man/{page}"));
        for words in text.lines().filter_map(|line| line.strip_prefix(".Ss openclaw ")) {
            let section = subsection(&text, &format!("openclaw {words}")).expect("it was just found");
            found.entry(words.to_owned()).or_default().push((page.clone(), section));
        }
    }
    found
}

/// The text between this `.Ss` and the next heading.
fn subsection(page: &str, title: &str) -> Option<String> {
    let heading = format!(".Ss {title}");
    let mut lines = page.lines().skip_while(|line| *line != heading);
    lines.next()?;
    let own = lines.take_while(|line| !line.starts_with(".Ss ") && !line.starts_with(".Sh "));
    Some(own.map(|line| format!("{line}\n")).collect())
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
