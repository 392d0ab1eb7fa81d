//! The manual pages against the program: every command on the page of its group with every option, nothing on a page that
//! the program does not have, `openclaw help` on machines without man.
//!
//! A command has a subsection (`.Ss openclaw devices list`) with one `.Op` line for each option and an `.It` that explains
//! it, there or in the page's "Options of many commands". A line that begins with `JSON:` begins the list of the keys of
//! its answer: those in front of a semicolon are always there.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use serde_json::{Value, json};

use openclaw::cli::argv::{self, Action};
use openclaw::cli::manual::{self, KEYS_BEGIN, KEYS_END};
use openclaw::cli::output::width;
use openclaw::cli::tree::{self, CommandInfo, FlagInfo, FlagInfoKind};

use crate::commands::ends;
use crate::common::{Gateway, Home, free_port};
use crate::tables::{read, root, same, section_lines};

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
    let payload = home.path().join("payload.json").display().to_string();
    fs::write(&payload, "{\"text\":\"x\",\"message\":\"y\"}").expect("a payload");
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
        "hooks list --json",
        "hooks info wake --json",
        "hooks check --json",
        "hooks test wake --payload PAYLOAD --json",
        "hooks test agent --payload PAYLOAD --json",
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
        let line = line.replace("DEVICE", &device).replace("BACKUP", &backup).replace("PAYLOAD", &payload);
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
            "qr",
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

/// Every command below this one, with its words.
pub fn collect(info: &CommandInfo, words: &str, into: &mut Vec<(String, CommandInfo)>) {
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
