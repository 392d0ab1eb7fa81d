//! From the words of the command line to a typed command: a pure function over the tree, then argh.
//!
//! Differences between what operators type and what argh takes are settled here: `--name=value`, options of a
//! group before and after the sub-command, repeated options (the last wins), bundles of single letters, attached
//! short values, lists (`--scope a b`). Global options count only before the first command word. Error texts and
//! exit codes are those that scripts know.

use std::ffi::OsString;

use argh::FromArgs as _;

use super::manual::{self, Page};
use super::output::{MIN_COLUMNS, wrap};
use super::tree::{self, CommandInfo, FlagInfo, FlagInfoKind, Optionality, Top};
use crate::error::{Error, Result};

/// What the command line asks for.
#[derive(Debug, PartialEq)]
pub enum Action {
    Run(Box<Top>),
    Version,
    /// Help of the command with these words; `asked` false = a group was called bare: standard error, exit 1.
    Help {
        path: Vec<String>,
        asked: bool,
    },
    /// `openclaw help <topic>`; the words of the command, if the topic is one.
    Page(&'static Page, Vec<String>),
}

/// Parses the arguments without the program's name.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Action> {
    let mut words = Vec::new();
    for (i, arg) in args.into_iter().enumerate() {
        words.push(arg.into_string().map_err(|_| Error::new(format!("error: argument {} is not UTF-8", i + 1)))?);
    }
    let words = match normalise(words)? {
        Normal::Words(words) => words,
        Normal::Version => return Ok(Action::Version),
        Normal::Help { path, asked } => return Ok(Action::Help { path, asked }),
        Normal::Page(page, path) => return Ok(Action::Page(page, path)),
    };
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match Top::from_args(&["openclaw"], &words) {
        Ok(top) => Ok(Action::Run(Box::new(top))),
        Err(exit) => Err(Error::new(format!("error: {}", exit.output.lines().next().unwrap_or("bad arguments")))),
    }
}

#[derive(Debug, PartialEq)]
enum Normal {
    /// What argh takes.
    Words(Vec<String>),
    Version,
    Help {
        path: Vec<String>,
        asked: bool,
    },
    Page(&'static Page, Vec<String>),
}

/// One command on the way down the tree, with the options that were given for it.
struct Level {
    info: CommandInfo,
    given: Vec<(String, Option<String>)>,
}

fn normalise(words: Vec<String>) -> Result<Normal> {
    let mut parser = Parser {
        levels: vec![Level { info: tree::tree(), given: Vec::new() }],
        operands: Vec::new(),
        help: false,
        topic: false,
        page: None,
        version: false,
        problem: None,
        words: words.into_iter().peekable(),
    };
    parser.globals_without_value()?;
    while let Some(word) = parser.words.next() {
        parser.word(word)?;
    }
    parser.finish()
}

struct Parser {
    levels: Vec<Level>,
    operands: Vec<String>,
    help: bool,
    /// `help` came before any command.
    topic: bool,
    /// A manual page that `help` is asked for.
    page: Option<&'static Page>,
    version: bool,
    /// First mistake in an option; help and missing options come before it.
    problem: Option<Error>,
    words: std::iter::Peekable<std::vec::IntoIter<String>>,
}

impl Parser {
    /// `--profile` without a value is told apart here, where the following words are still to be seen.
    fn globals_without_value(&mut self) -> Result<()> {
        let words: Vec<String> = self.words.by_ref().collect();
        let mut i = 0;
        while let Some(word) = words.get(i).filter(|word| word.starts_with('-') && word.as_str() != "--") {
            match word.as_str() {
                "--profile" => {
                    let value = words.get(i + 1).filter(|value| !value.is_empty() && !value.starts_with('-'));
                    value.ok_or_else(|| profile_error("--profile requires a value"))?;
                    i += 1;
                }
                "--profile=" => return Err(profile_error("--profile requires a value")),
                "--log-level" => i += 1,
                _ => {}
            }
            i += 1;
        }
        self.words = words.into_iter().peekable();
        Ok(())
    }

    fn level(&self) -> &Level {
        self.levels.last().expect("the root is always there")
    }

    fn word(&mut self, word: String) -> Result<()> {
        if word == "--" {
            let rest: Vec<String> = self.words.by_ref().collect();
            rest.into_iter().try_for_each(|word| self.operand(word))
        } else if let Some(long) = word.strip_prefix("--") {
            self.long(long, &word)
        } else if word.len() > 1 && word.starts_with('-') {
            self.shorts(&word)
        } else {
            self.operand(word)
        }
    }

    fn operand(&mut self, word: String) -> Result<()> {
        // `openclaw help gateway` and `openclaw gateway help`; elsewhere it is a word like others.
        if word == "help" && self.operands.is_empty() && !self.level().info.commands.is_empty() {
            self.help = true;
            self.topic = self.levels.len() == 1;
            return Ok(());
        }
        let found = self.level().info.commands.iter().find(|sub| sub.name == word);
        match found.map(|sub| sub.command.clone()) {
            Some(info) if self.operands.is_empty() => self.levels.push(Level { info, given: Vec::new() }),
            _ if !self.runs() => {
                if let Some(page) = manual::find(&word).filter(|_| self.help && self.levels.len() == 1) {
                    self.page = Some(page);
                    return Ok(());
                }
                let mut error = Error::new(format!("error: unknown command '{word}'"));
                if self.topic && self.levels.len() == 1 {
                    error.hints = wrap(&format!("Topics: {}", manual::topics()), MIN_COLUMNS);
                }
                return Err(error.hint(format!("See: {} --help", self.path_text())));
            }
            _ => self.operands.push(word),
        }
        Ok(())
    }

    fn long(&mut self, long: &str, word: &str) -> Result<()> {
        let (name, attached) = match long.split_once('=') {
            Some((name, value)) => (format!("--{name}"), Some(value.to_string())),
            None => (word.to_string(), None),
        };
        if name == "--help" && attached.is_none() {
            self.help = true;
            return Ok(());
        }
        match self.find(|flag| flag.long == name) {
            Some((level, flag)) => self.option(level, flag, attached, word),
            None => {
                self.unknown(&name, word);
                Ok(())
            }
        }
    }

    fn shorts(&mut self, word: &str) -> Result<()> {
        let letters = &word[1..];
        let first = letters.chars().next().expect("a dash alone is an operand");
        if word == "-h" {
            self.help = true;
            return Ok(());
        }
        // The root's version has two short names.
        if word == "-v" && self.levels.len() == 1 {
            self.version = true;
            return Ok(());
        }
        let known = |letter: char| self.level().info.flags.iter().find(|flag| flag.short == Some(letter));
        match known(first) {
            Some(flag) if takes_value(flag) => {
                let attached = Some(letters[first.len_utf8()..].to_string()).filter(|value| !value.is_empty());
                self.option(self.levels.len() - 1, flag, attached, word)
            }
            Some(_) if letters.chars().all(|letter| known(letter).is_some_and(|flag| !takes_value(flag))) => {
                letters.chars().try_for_each(|letter| {
                    let level = self.levels.len() - 1;
                    let flag = self.level().info.flags.iter().find(|flag| flag.short == Some(letter));
                    flag.map_or(Ok(()), |flag| self.option(level, flag, None, word))
                })
            }
            _ => {
                self.unknown(word, word);
                Ok(())
            }
        }
    }

    /// The option at the current command, or the one of `gateway` that its sub-commands inherit.
    fn find(&self, wanted: impl Fn(&FlagInfo) -> bool) -> Option<(usize, &'static FlagInfo)> {
        let here = self.levels.len() - 1;
        let own = self.level().info.flags.iter().find(|flag| wanted(flag)).map(|flag| (here, flag));
        own.or_else(|| {
            let parent = self.levels.iter().position(|level| level.info.name == "gateway")?;
            let inherited = |flag: &&FlagInfo| wanted(flag) && tree::GATEWAY_INHERITED.contains(&flag.long);
            self.levels[parent].info.flags.iter().find(inherited).map(|flag| (parent, flag))
        })
    }

    fn option(&mut self, level: usize, flag: &'static FlagInfo, attached: Option<String>, word: &str) -> Result<()> {
        if flag.long == "--version" {
            self.version = true;
            return Ok(());
        }
        let repeats = flag.optionality == Optionality::Repeating;
        let mut values = Vec::new();
        if takes_value(flag) {
            let Some(value) = attached.or_else(|| self.words.next()) else {
                let text = format!("error: option '{}' argument missing", label(flag));
                self.problem.get_or_insert(Error::new(text));
                return Ok(());
            };
            values.push(Some(value));
            while repeats && self.words.peek().is_some_and(|next| !next.starts_with('-')) {
                values.push(self.words.next());
            }
        } else if attached.is_some() {
            self.unknown(word, word);
            return Ok(());
        } else {
            values.push(None);
        }
        if let (Some((_, choices)), Some(Some(value))) =
            (tree::CHOICES.iter().find(|(name, _)| *name == flag.long), values.first())
            && !choices.contains(&value.as_str())
        {
            let text = format!(
                "error: option '{}' argument '{value}' is invalid. Allowed choices are {}.",
                label(flag),
                choices.join(", ")
            );
            self.problem.get_or_insert(Error::new(text));
        }
        let given = &mut self.levels[level].given;
        if !repeats {
            given.retain(|(name, _)| name != flag.long);
        }
        given.extend(values.into_iter().map(|value| (flag.long.to_string(), value)));
        Ok(())
    }

    fn unknown(&mut self, name: &str, word: &str) {
        let mut error = Error::new(format!("error: unknown option '{word}'"));
        let global = self.levels[0].info.flags.iter().any(|flag| flag.long == name);
        error = if global && self.levels.len() > 1 {
            error.hint(format!("{name} works only before the command: openclaw {name} … {}", self.level().info.name))
        } else {
            error.hint(format!("See: {} --help", self.path_text()))
        };
        self.problem.get_or_insert(error);
    }

    fn runs(&self) -> bool {
        let info = &self.level().info;
        let group = self.path().join(" ");
        info.commands.is_empty() || tree::GROUPS_THAT_RUN.contains(&group.as_str())
    }

    fn path(&self) -> Vec<String> {
        self.levels[1..].iter().map(|level| level.info.name.to_string()).collect()
    }

    fn path_text(&self) -> String {
        ["openclaw".to_string()].into_iter().chain(self.path()).collect::<Vec<_>>().join(" ")
    }

    fn finish(self) -> Result<Normal> {
        check_profile(&self.levels[0].given)?;
        if self.version && self.levels.len() == 1 {
            return Ok(Normal::Version);
        }
        if let Some(page) = self.page {
            return Ok(Normal::Page(page, Vec::new()));
        }
        // Of a command below another one its own help is closer to the question than the page of the group.
        if let Some(page) = self.topic_page() {
            return Ok(Normal::Page(page, self.path()));
        }
        if self.help {
            return Ok(Normal::Help { path: self.path(), asked: true });
        }
        let leaf = self.level();
        let missing = leaf.info.flags.iter().find(|flag| {
            takes_value(flag)
                && flag.optionality == Optionality::Required
                && leaf.given.iter().all(|(name, _)| name != flag.long)
        });
        if let Some(flag) = missing {
            return Err(Error::new(format!("error: required option '{}' not specified", label(flag))));
        }
        if let Some(problem) = self.problem {
            return Err(problem);
        }
        if !self.runs() {
            return Ok(Normal::Help { path: self.path(), asked: false });
        }
        self.check_operands()?;
        Ok(Normal::Words(self.into_words()))
    }

    fn topic_page(&self) -> Option<&'static Page> {
        if self.topic && self.levels.len() == 2 { manual::about(&self.path()) } else { None }
    }

    fn check_operands(&self) -> Result<()> {
        let info = &self.level().info;
        let (expected, got) = (info.positionals.len(), self.operands.len());
        if got > expected {
            let text = format!(
                "error: too many arguments for '{}'. Expected {expected} argument{} but got {got}.",
                info.name,
                if expected == 1 { "" } else { "s" }
            );
            return Err(Error::new(text).hint(format!("See: {} --help", self.path_text())));
        }
        match info.positionals.get(got).filter(|next| next.optionality == Optionality::Required) {
            Some(next) => Err(Error::new(format!("error: missing required argument '{}'", next.name))),
            None => Ok(()),
        }
    }

    fn into_words(self) -> Vec<String> {
        let mut words = Vec::new();
        for (depth, level) in self.levels.into_iter().enumerate() {
            if depth > 0 {
                words.push(level.info.name.to_string());
            }
            for (name, value) in level.given {
                words.push(name);
                words.extend(value);
            }
        }
        if self.operands.iter().any(|operand| operand.starts_with('-')) {
            words.push("--".to_string());
        }
        words.extend(self.operands);
        words
    }
}

fn takes_value(flag: &FlagInfo) -> bool {
    matches!(flag.kind, FlagInfoKind::Option { .. })
}

/// `-m, --message <text>`: an option as help and errors show it.
pub fn label(flag: &FlagInfo) -> String {
    let short = flag.short.map_or(String::new(), |letter| format!("-{letter}, "));
    match flag.kind {
        FlagInfoKind::Switch => format!("{short}{}", flag.long),
        FlagInfoKind::Option { arg_name } => format!("{short}{} <{arg_name}>", flag.long),
    }
}

/// Profile names: a letter or digit, then letters, digits, `_` and `-`, 64 in all (cli 2.2).
pub fn is_profile_name(name: &str) -> bool {
    let good = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    name.len() <= 64 && name.starts_with(|c: char| c.is_ascii_alphanumeric()) && name.chars().all(good)
}

fn check_profile(given: &[(String, Option<String>)]) -> Result<()> {
    let profile = given.iter().find(|(name, _)| name == "--profile").and_then(|(_, value)| value.as_deref());
    let dev = given.iter().any(|(name, _)| name == "--dev");
    match profile {
        Some(_) if dev => Err(profile_error("Cannot combine --dev with --profile")),
        Some(name) if !is_profile_name(name) => {
            Err(profile_error("Invalid --profile (use letters, numbers, \"_\", \"-\" only)"))
        }
        _ => Ok(()),
    }
}

fn profile_error(text: &str) -> Error {
    Error::new(format!("[openclaw] {text}")).code(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &[&str]) -> Result<Normal> {
        normalise(line.iter().map(|word| word.to_string()).collect())
    }

    #[test]
    fn accepted_forms() {
        for (line, expected) in [
            ("gateway", "gateway"),
            ("gateway run", "gateway run"),
            ("gateway --port=19001", "gateway --port 19001"),
            ("gateway --port 1 --port 2", "gateway --port 2"),
            ("--dev gateway --dev --reset", "--dev gateway --dev --reset"),
            ("--profile a --profile=b status", "--profile b status"),
            ("--log-level debug --no-color status --json", "--log-level debug --no-color status --json"),
            ("gateway --token T status --json", "gateway --token T status --json"),
            ("gateway status --token T", "gateway status --token T"),
            ("gateway status --port 19001 --force", "gateway --port 19001 --force status"),
            ("gateway call health --params {}", "gateway call --params {} health"),
            ("gateway call --timeout=5 health", "gateway call --timeout 5 health"),
            ("gateway call -- -odd", "gateway call -- -odd"),
            ("agent -mhello --agent main", "agent --message hello --agent main"),
            ("agent -m --profile --to +1", "agent --message --profile --to +1"),
            ("agent -m help --to=+1=2", "agent --message help --to +1=2"),
            (
                "devices rotate --device d --scope a b --role r --scope c",
                "devices rotate --device d --scope a --scope b --role r --scope c",
            ),
            ("devices approve", "devices approve"),
            ("agents", "agents"),
            ("system event --text x --mode=now", "system event --text x --mode now"),
            ("config get gateway.port", "config get gateway.port"),
            ("config get help", "config get help"),
            ("logs --no-color --follow --follow", "logs --no-color --follow"),
        ] {
            let line: Vec<&str> = line.split(' ').collect();
            match words(&line) {
                Ok(Normal::Words(words)) => assert_eq!(words.join(" "), expected, "{line:?}"),
                other => panic!("{line:?}: {other:?}"),
            }
            assert!(matches!(parse(line.iter().map(OsString::from)), Ok(Action::Run(_))), "{line:?}");
        }
    }

    #[test]
    fn refused_forms() {
        for (line, text, code) in [
            ("frobnicate", "error: unknown command 'frobnicate'", 1),
            ("--frobnicate", "error: unknown option '--frobnicate'", 1),
            ("gateway --frobnicate", "error: unknown option '--frobnicate'", 1),
            ("gateway frobnicate", "error: too many arguments for 'gateway'. Expected 0 arguments but got 1.", 1),
            ("status one two", "error: too many arguments for 'status'. Expected 0 arguments but got 2.", 1),
            ("config get a b", "error: too many arguments for 'get'. Expected 1 argument but got 2.", 1),
            ("config get", "error: missing required argument 'path'", 1),
            ("gateway call", "error: missing required argument 'method'", 1),
            ("devices frob", "error: unknown command 'frob'", 1),
            ("system event", "error: required option '--text <text>' not specified", 1),
            ("agent", "error: required option '-m, --message <text>' not specified", 1),
            ("gateway --port", "error: option '--port <port>' argument missing", 1),
            ("status --json=1", "error: unknown option '--json=1'", 1),
            ("status -v", "error: unknown option '-v'", 1),
            ("status --profile x", "error: unknown option '--profile'", 1),
            ("status --port 1", "error: unknown option '--port'", 1),
            (
                "--log-level loud status",
                "error: option '--log-level <level>' argument 'loud' is invalid. Allowed choices are silent, fatal, \
                 error, warn, info, debug, trace.",
                1,
            ),
            ("--dev --profile x status", "[openclaw] Cannot combine --dev with --profile", 2),
            ("--profile", "[openclaw] --profile requires a value", 2),
            ("--profile --dev status", "[openclaw] --profile requires a value", 2),
            ("--profile= status", "[openclaw] --profile requires a value", 2),
            ("--profile a/b status", "[openclaw] Invalid --profile (use letters, numbers, \"_\", \"-\" only)", 2),
            ("--profile a/b frob", "error: unknown command 'frob'", 1),
        ] {
            let line: Vec<&str> = line.split(' ').collect();
            let error = words(&line).expect_err(&line.join(" "));
            assert_eq!((error.message.as_str(), error.code), (text, code), "{line:?}");
        }
        let spaced = words(&["--profile", "bad name", "status"]).unwrap_err();
        assert_eq!(spaced.code, 2);
    }

    #[test]
    fn help_and_version() {
        let help = |path: &[&str], asked| Normal::Help { path: path.iter().map(|w| w.to_string()).collect(), asked };
        for (line, expected) in [
            (vec![], help(&[], false)),
            (vec!["--help"], help(&[], true)),
            (vec!["-h"], help(&[], true)),
            (vec!["help"], help(&[], true)),
            (vec!["help", "gateway", "status"], help(&["gateway", "status"], true)),
            (vec!["gateway", "--help"], help(&["gateway"], true)),
            (vec!["gateway", "help"], help(&["gateway"], true)),
            (vec!["devices", "help", "list"], help(&["devices", "list"], true)),
            (vec!["gateway", "status", "-h", "--nope"], help(&["gateway", "status"], true)),
            (vec!["system", "event", "--help"], help(&["system", "event"], true)),
            (vec!["help", "protocol"], Normal::Page(manual::find("openclaw-protocol").unwrap(), vec![])),
            (vec!["help", "openclaw.json"], Normal::Page(manual::find("openclaw.json").unwrap(), vec![])),
            (vec!["help", "logs"], Normal::Page(manual::find("status").unwrap(), vec!["logs".into()])),
            (vec!["logs", "help", "--help"], help(&["logs"], true)),
            (vec!["devices"], help(&["devices"], false)),
            (vec!["system", "heartbeat"], help(&["system", "heartbeat"], false)),
            (vec!["--version"], Normal::Version),
            (vec!["-V"], Normal::Version),
            (vec!["-v"], Normal::Version),
            (vec!["--dev", "-v"], Normal::Version),
        ] {
            assert_eq!(words(&line).unwrap(), expected, "{line:?}");
        }
        assert!(words(&["help", "frobnicate"]).is_err());
    }

    #[test]
    fn hostile_words_never_panic() {
        let pieces =
            ["-", "--", "-é", "--=", "=", "--é=ü", "-vV", "-mé", "help", "gateway", "agent", "call", "--params", ""];
        let mut random = crate::sys::testing::Random(4);
        for _ in 0..5000 {
            let mut line = Vec::new();
            for _ in 0..6 {
                line.push(OsString::from(pieces[random.below(pieces.len())]));
            }
            let _ = parse(line);
        }
    }

    #[test]
    fn profile_names() {
        for (name, good) in
            [("rescue", true), ("A-1_b", true), ("_x", false), ("", false), ("a b", false), ("é", false)]
        {
            assert_eq!(is_profile_name(name), good, "{name}");
        }
        assert!(is_profile_name(&"a".repeat(64)) && !is_profile_name(&"a".repeat(65)));
    }
}
