//! `openclaw completion`: scripts that complete commands, options and configuration keys, made from the command tree.
//!
//! `words` says what can stand where, `scripts` puts that into the language of each shell; both are pure. Needs no
//! gateway and no configuration.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use super::Context;
use super::prompt::{self, Terminal};
use super::tree::{self, Completion as Args};
use crate::error::{Error, Result};
use crate::store::atomic;
use crate::{err, out};

mod scripts;
mod words;

/// A line of ours in a start-up file, before the one that loads the script.
const MARK: &str = "# OpenClaw completion";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shell {
    Zsh,
    Bash,
    PowerShell,
    Fish,
}

impl Shell {
    const ALL: [Shell; 4] = [Shell::Zsh, Shell::Bash, Shell::PowerShell, Shell::Fish];

    fn name(self) -> &'static str {
        match self {
            Shell::Zsh => "zsh",
            Shell::Bash => "bash",
            Shell::PowerShell => "powershell",
            Shell::Fish => "fish",
        }
    }

    fn file_name(self) -> String {
        format!("openclaw.{}", if self == Shell::PowerShell { "ps1" } else { self.name() })
    }

    fn named(name: &str) -> Option<Shell> {
        Shell::ALL.into_iter().find(|shell| shell.name() == name)
    }

    fn script(self) -> String {
        scripts::script(self, &words::nodes(&tree::tree()))
    }
}

pub fn run(cx: &Context, args: &Args) -> Result<u8> {
    let named = chosen(args)?;
    if args.write_state {
        for shell in Shell::ALL {
            out!("Wrote {}", cx.short(&write(cx, shell)?));
        }
    }
    if args.install {
        let from_environment = || Shell::named(Path::new(&super::context::env("SHELL")?).file_name()?.to_str()?);
        let shell = named.or_else(from_environment).ok_or_else(|| {
            Error::new("Which shell? SHELL names none that is known here.")
                .hint("Say it: openclaw completion --install --shell bash")
        })?;
        return install(cx, shell, args.yes);
    }
    if !args.write_state {
        super::output::write_out(&named.unwrap_or(Shell::Zsh).script());
    }
    Ok(0)
}

/// `--shell` has been checked by the parser; the argument is checked here.
fn chosen(args: &Args) -> Result<Option<Shell>> {
    let Some(name) = args.shell.as_deref().or(args.name.as_deref()) else { return Ok(None) };
    Shell::named(name).map(Some).ok_or_else(|| {
        let choices = Shell::ALL.map(Shell::name).join(", ");
        Error::new(format!("error: argument '{name}' is invalid. Allowed choices are {choices}."))
    })
}

fn write(cx: &Context, shell: Shell) -> Result<PathBuf> {
    let path = cx.paths.state_dir.join("completions").join(shell.file_name());
    put(cx, &path, &shell.script())?;
    Ok(path)
}

fn put(cx: &Context, path: &Path, text: &str) -> Result<()> {
    atomic::write(path, text.as_bytes()).map_err(|e| not_written(cx, path, &e))
}

fn not_written(cx: &Context, path: &Path, error: &io::Error) -> Error {
    Error::new(format!("{} was not written: {error}", cx.short(path)))
        .hint("Check its owner and the free space, or print the script: openclaw completion --shell …")
}

/// fish looks into a directory; the others are told by a line in their start-up file.
fn install(cx: &Context, shell: Shell, yes: bool) -> Result<u8> {
    let home = &cx.paths.home;
    let at = |variable: &str, otherwise: PathBuf| super::context::env(variable).map_or(otherwise, PathBuf::from);
    let start_up = match shell {
        Shell::Fish => {
            let config = at("XDG_CONFIG_HOME", home.join(".config"));
            let path = config.join("fish").join("completions").join(shell.file_name());
            if consent(cx, &path, yes)? {
                put(cx, &path, &shell.script())?;
                out!("Wrote {}. New fish shells complete openclaw.", cx.short(&path));
            }
            return Ok(0);
        }
        Shell::Zsh => at("ZDOTDIR", home.clone()).join(".zshrc"),
        Shell::Bash => home.join(".bashrc"),
        Shell::PowerShell => {
            let path = write(cx, shell)?;
            out!("Wrote {}. Add this line to the file that $PROFILE names:", cx.short(&path));
            out!(". '{}'", path.display().to_string().replace('\'', "''"));
            return Ok(0);
        }
    };
    let script = cx.paths.state_dir.join("completions").join(shell.file_name());
    let line = format!("[ -f {0} ] && . {0}", scripts::quoted(&script.display().to_string()));
    let there = fs::read(&start_up).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    if there.lines().any(|present| present.trim() == line) {
        write(cx, shell)?;
        out!("Completion is installed already in {}; the script is up to date.", cx.short(&start_up));
        return Ok(0);
    }
    if !consent(cx, &start_up, yes)? {
        return Ok(0);
    }
    write(cx, shell)?;
    // Appended, not replaced: the file is the person's own and may be a link into a repository.
    let gap = if there.is_empty() || there.ends_with('\n') { "" } else { "\n" };
    let added = OpenOptions::new().create(true).append(true).open(&start_up);
    added
        .and_then(|mut file| file.write_all(format!("{gap}\n{MARK}\n{line}\n").as_bytes()))
        .map_err(|e| not_written(cx, &start_up, &e))?;
    out!("Added completion to {}. New {} shells complete openclaw.", cx.short(&start_up), shell.name());
    Ok(0)
}

fn consent(cx: &Context, path: &Path, yes: bool) -> Result<bool> {
    if yes {
        return Ok(true);
    }
    let Some(mut terminal) = Terminal::open() else {
        return Err(prompt::nobody_to_ask("openclaw completion --install --yes"));
    };
    let agreed = terminal.confirm(&format!("Change {}?", cx.short(path)), true)?;
    if !agreed {
        err!("Nothing was changed.");
    }
    Ok(agreed)
}
