//! Plain questions to a person at a terminal: one line each, the answer in brackets is taken with Enter.
//!
//! Questions go to standard error, so that standard output stays what a command says. Where no person sits, there is no
//! [`Terminal`], and a command says which options to give instead.

use std::io::{self, BufRead as _, IsTerminal as _};

use crate::err;
use crate::error::{Error, Result};

/// How often a wrong answer is asked again; after that nobody is listening.
const TRIES: usize = 5;
/// Longer lines are no answers.
const ANSWER_BYTES: u64 = 64 * 1024;

/// A person can be asked.
pub struct Terminal(());

impl Terminal {
    /// None unless both standard input and standard error are a terminal.
    pub fn open() -> Option<Terminal> {
        (io::stdin().is_terminal() && io::stderr().is_terminal()).then_some(Terminal(()))
    }

    /// A line of text; Enter takes the default.
    pub fn text(&mut self, question: &str, default: &str) -> Result<String> {
        let shown = if default.is_empty() { String::new() } else { format!(" [{default}]") };
        crate::cli::output::write_err(&format!("{question}{shown} "));
        let answer = read_line()?;
        Ok(if answer.is_empty() { default.to_owned() } else { answer })
    }

    /// A text that `check` likes; it says what is wrong with another one.
    pub fn checked<T>(
        &mut self,
        question: &str,
        default: &str,
        check: impl Fn(&str) -> std::result::Result<T, String>,
    ) -> Result<T> {
        for _ in 0..TRIES {
            match check(&self.text(question, default)?) {
                Ok(value) => return Ok(value),
                Err(why) => err!("{why}"),
            }
        }
        Err(gave_up())
    }

    pub fn confirm(&mut self, question: &str, default: bool) -> Result<bool> {
        let shown = if default { "[Y/n]" } else { "[y/N]" };
        self.checked(&format!("{question} {shown}"), "", |answer| match answer.to_lowercase().as_str() {
            "" => Ok(default),
            "y" | "yes" => Ok(true),
            "n" | "no" => Ok(false),
            _ => Err("Answer y or n.".into()),
        })
    }

    /// One of several, by its number or its name.
    pub fn choose(&mut self, question: &str, choices: &[(&str, &str)], default: usize) -> Result<usize> {
        err!("{question}");
        for (index, (name, about)) in choices.iter().enumerate() {
            err!("  {}) {name}{}{about}", index + 1, if about.is_empty() { "" } else { "  – " });
        }
        self.checked("Number or name?", &(default + 1).to_string(), |answer| {
            let numbered = answer.parse::<usize>().ok().and_then(|number| number.checked_sub(1));
            let named = || choices.iter().position(|(name, _)| name.eq_ignore_ascii_case(answer));
            numbered
                .filter(|index| *index < choices.len())
                .or_else(named)
                .ok_or_else(|| format!("Answer a number from 1 to {}.", choices.len()))
        })
    }

    /// A text that is not shown while it is typed; empty for none.
    pub fn secret(&mut self, question: &str) -> Result<String> {
        crate::cli::output::write_err(&format!("{question} (not shown) "));
        let hidden = crate::sys::terminal::hide_input();
        let answer = read_line();
        drop(hidden);
        err!("");
        answer
    }
}

fn read_line() -> Result<String> {
    let mut line = String::new();
    let read = io::Read::take(io::stdin().lock(), ANSWER_BYTES).read_line(&mut line);
    match read {
        Ok(0) => Err(gave_up()),
        Ok(_) => Ok(line.trim().to_owned()),
        Err(error) => Err(Error::new(format!("The answer cannot be read: {error}"))),
    }
}

fn gave_up() -> Error {
    Error::new("No answer. Nothing more was changed.")
}

/// Nobody can be asked: the command that asks nothing.
pub fn nobody_to_ask(instead: &str) -> Error {
    Error::new("This needs answers, and there is no terminal to ask on.").hint(format!("Without questions: {instead}"))
}
