//! Help texts from the command tree: complete by themselves (a router has no manual pages), 80 columns.
//!
//! Pure: words in, text out.

use super::argv::label;
use super::manual::{self, Page};
use super::output::{MIN_COLUMNS, pad, width, wrap};
use super::tree::{self, CommandInfo, Optionality};

/// Labels longer than this get their description on the next line.
const LABEL_COLUMNS: usize = 26;

/// `OpenClaw 2026.3.13+rs.0.1.0`, with the commit when the build knows it (DECISIONS 20).
pub fn version_line() -> String {
    let commit = option_env!("OPENCLAW_COMMIT").map_or(String::new(), |commit| format!(" ({commit})"));
    format!("OpenClaw {}+rs.{}{commit}", crate::protocol::COMPAT_VERSION, crate::VERSION)
}

/// Help of the command that these words lead to; the root for unknown ones.
pub fn help(path: &[String]) -> String {
    let info = command(path);
    let mut text = format!("{}\n\n{}\n\n", version_line(), usage(path, &info));
    paragraph(&mut text, info.description, 0);
    list(&mut text, "Arguments:", info.positionals.iter().map(|p| (p.name.to_string(), p.description)));
    let help_option = ("-h, --help".to_string(), "show this help");
    let options = info.flags.iter().filter(|flag| flag.long != "--help" && !flag.hidden);
    list(&mut text, "Options:", options.map(|flag| (label(flag), flag.description)).chain([help_option]));
    list(&mut text, "Commands:", info.commands.iter().map(|sub| (sub.name.to_string(), sub.command.description)));
    section(&mut text, "Examples:", info.examples);
    for note in info.notes {
        text.push('\n');
        paragraph(&mut text, note, 0);
    }
    text.push('\n');
    let note = match manual::about(path) {
        Some(page) => {
            format!("\"openclaw help {}\" prints the manual page {}({}).", page.topic(), page.name, page.section)
        }
        None => format!("\"openclaw help <topic>\" prints a manual page: a command, or one of {}.", manual::topics()),
    };
    paragraph(&mut text, &note, 0);
    if !info.commands.is_empty() {
        let words = [&["openclaw".to_string()], path].concat().join(" ");
        text.push_str(&format!("\n\"{words} <command> --help\" tells more about a command.\n"));
    }
    text
}

/// A manual page; for the name of a command it begins as its help does.
pub fn topic(path: &[String], page: &Page) -> String {
    match path {
        [] => page.text(),
        path => format!("{}\n\n{}\n\n{}", version_line(), usage(path, &command(path)), page.text()),
    }
}

fn command(path: &[String]) -> CommandInfo {
    let mut info = tree::tree();
    for word in path {
        match info.commands.iter().find(|sub| sub.name == word) {
            Some(sub) => info = sub.command.clone(),
            None => break,
        }
    }
    info
}

fn usage(path: &[String], info: &CommandInfo) -> String {
    let mut words = vec!["Usage: openclaw".to_string()];
    words.extend(path.iter().cloned());
    words.push("[options]".to_string());
    for positional in info.positionals {
        let required = positional.optionality == Optionality::Required;
        words.push(if required { format!("<{}>", positional.name) } else { format!("[{}]", positional.name) });
    }
    if !info.commands.is_empty() {
        words.push("[command]".to_string());
    }
    words.join(" ")
}

fn list<'a>(text: &mut String, title: &str, items: impl Iterator<Item = (String, &'a str)>) {
    let items: Vec<(String, &str)> = items.collect();
    if items.is_empty() {
        return;
    }
    let column = items.iter().map(|(label, _)| width(label)).filter(|w| *w <= LABEL_COLUMNS).max().unwrap_or(0);
    text.push_str(&format!("\n{title}\n"));
    for (label, description) in items {
        let lines = wrap(description.trim(), MIN_COLUMNS - column - 4);
        if width(&label) > column {
            text.push_str(&format!("  {label}\n"));
        } else {
            text.push_str(&format!("  {}  {}\n", pad(&label, column, false), lines[0]));
        }
        for line in lines.iter().skip(usize::from(width(&label) <= column)) {
            text.push_str(&format!("{}{line}\n", " ".repeat(column + 4)));
        }
    }
}

fn section(text: &mut String, title: &str, lines: &[&str]) {
    if !lines.is_empty() {
        text.push_str(&format!("\n{title}\n"));
        lines.iter().for_each(|line| text.push_str(&format!("  {line}\n")));
    }
}

fn paragraph(text: &mut String, words: &str, indent: usize) {
    for line in wrap(words.trim(), MIN_COLUMNS - indent) {
        text.push_str(&format!("{}{line}\n", " ".repeat(indent)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn every_command(info: &CommandInfo, path: &mut Vec<String>, visit: &mut impl FnMut(&[String], &CommandInfo)) {
        visit(path, info);
        for sub in &info.commands {
            path.push(sub.name.to_string());
            every_command(&sub.command, path, visit);
            path.pop();
        }
    }

    #[test]
    fn every_help_is_complete_and_fits() {
        let mut count = 0;
        every_command(&tree::tree(), &mut Vec::new(), &mut |path, info| {
            count += 1;
            let text = help(path);
            for line in text.lines() {
                assert!(width(line) <= MIN_COLUMNS, "{path:?}: {line}");
            }
            for flag in info.flags {
                assert!(text.contains(&label(flag)) || flag.long == "--help", "{path:?}: {}", flag.long);
                assert!(!flag.description.trim().is_empty(), "{path:?}: {}", flag.long);
            }
            assert!(!info.description.trim().is_empty() && !info.examples.is_empty(), "{path:?}");
            assert!(text.starts_with("OpenClaw 2026.3.13+rs."), "{text}");
            assert!(text.contains("\n\nUsage: openclaw"), "{text}");
        });
        assert!(count > 30, "{count}");
    }

    #[test]
    fn options_are_those_of_the_reference() {
        // Command, options in order: what 2026.3.13 registers.
        for (path, options) in [
            (
                "gateway",
                "--port --bind --token --auth --password --password-file --tailscale --tailscale-reset-on-exit \
                 --allow-unconfigured --dev --reset --force --verbose --claude-cli-logs --ws-log --compact \
                 --raw-stream --raw-stream-path",
            ),
            ("gateway status", "--url --token --password --timeout --no-probe --require-rpc --deep --json"),
            ("gateway call", "--params --url --token --password --timeout --expect-final --json"),
            ("gateway probe", "--url --ssh --ssh-identity --ssh-auto --token --password --timeout --json"),
            ("gateway discover", "--timeout --json"),
            (
                "logs",
                "--limit --max-bytes --follow --interval --json --plain --no-color --local-time --url --token \
                 --timeout --expect-final",
            ),
            (
                "agent",
                "--message --to --session-id --agent --thinking --verbose --channel --reply-to --reply-channel \
                 --reply-account --local --deliver --json --timeout",
            ),
            ("status", "--json --all --usage --deep --timeout --verbose --debug"),
            ("sessions", "--json --verbose --store --agent --all-agents --active"),
            ("devices rotate", "--device --role --scope --url --token --password --timeout --json"),
            ("devices clear", "--pending --yes --url --token --password --timeout --json"),
            ("system event", "--text --mode --json --url --token --timeout --expect-final"),
            ("models list", "--all --local --provider --json --plain"),
        ] {
            let mut found = None;
            every_command(&tree::tree(), &mut Vec::new(), &mut |words, info| {
                if words.join(" ") == path {
                    found = Some(info.flags.iter().map(|f| f.long).filter(|f| *f != "--help").collect::<Vec<_>>());
                }
            });
            assert_eq!(found.unwrap(), options.split_whitespace().collect::<Vec<_>>(), "{path}");
        }
    }
}
