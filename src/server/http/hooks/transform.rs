//! `hooks.mappings[].transform.command`: a program of the operator's that rewrites a request. JSON on its standard input,
//! JSON on its standard output; no shell, no environment of ours, a process group of its own, a limit of time and output.
//!
//! It lies below `hooks/transforms` beside the configuration and may be changed by nobody but its owner.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use serde_json::{Map, Value, json};

use crate::config::Paths;
use crate::config::hooks::stays_below;
use crate::limits;
use crate::policy::hooks::template::Facts;
use crate::sys::ask::{Errors, NoAnswer, Question};
use crate::text::untrusted;

/// What a transform gets of our environment.
const VARIABLES: [&str; 6] = ["PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR"];

/// Of what a program says of its failure.
const ERROR_CHARS: usize = 300;

/// What a transform made of a request.
#[derive(Debug, PartialEq)]
pub enum Said {
    /// `null`: nothing is to be done.
    Skip,
    Fields(Map<String, Value>),
}

/// The directory of transforms.
pub fn directory(paths: &Paths, transforms_dir: Option<&str>) -> PathBuf {
    let root = root(paths);
    transforms_dir.map_or_else(|| root.clone(), |dir| root.join(dir))
}

/// Runs it and reads its answer; the error is for the log. `stop`: looked at all the time.
pub fn run(
    paths: &Paths,
    transforms_dir: Option<&str>,
    command: &str,
    facts: &Facts<'_>,
    stop: Option<&AtomicBool>,
) -> Result<Said, String> {
    let program = find(paths, transforms_dir, command)?;
    let question =
        json!({"payload": facts.payload, "headers": facts.headers, "path": facts.path, "query": facts.query});
    let env = VARIABLES.iter().filter_map(|name| Some(((*name).to_owned(), std::env::var_os(name)?)));
    let question = Question {
        program: &program,
        args: &[],
        env: env.collect::<Vec<(String, OsString)>>(),
        dir: Some(&directory(paths, transforms_dir)),
        input: question.to_string().into_bytes(),
        timeout: limits::HOOK_TRANSFORM_TIME,
        silence: limits::HOOK_TRANSFORM_TIME,
        max_output: limits::HOOK_TRANSFORM_OUTPUT,
        errors: Errors::Apart,
        give_up: stop,
    };
    let seconds = limits::HOOK_TRANSFORM_TIME.as_secs();
    let answer = question.ask().map_err(|no_answer| match no_answer {
        NoAnswer::NotStarted(e) => format!("transform {command} could not be started: {e}"),
        NoAnswer::TimedOut | NoAnswer::Silent => format!("transform {command} took longer than {seconds} s"),
        NoAnswer::TooLong => {
            format!("transform {command} printed more than {} bytes", limits::HOOK_TRANSFORM_OUTPUT)
        }
        NoAnswer::GivenUp => format!("transform {command} was ended because the gateway stops"),
        NoAnswer::Failed(status, errors) => match last_line(&errors) {
            line if line.is_empty() => format!("transform {command} failed: {status}"),
            line => format!("transform {command} failed: {status}: {line}"),
        },
    })?;
    match serde_json::from_slice(&answer) {
        Ok(Value::Null) => Ok(Said::Skip),
        Ok(Value::Object(fields)) => Ok(Said::Fields(fields)),
        Ok(_) => Err(format!("transform {command} printed neither an object nor null")),
        Err(e) => Err(format!("transform {command} printed no JSON: {e}")),
    }
}

/// The last thing that a program said of its failure.
fn last_line(errors: &[u8]) -> String {
    let text = String::from_utf8_lossy(errors);
    let line = text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
    untrusted::one_line(line, ERROR_CHARS)
}

/// The program behind a name, with no links left in its path.
pub fn find(paths: &Paths, transforms_dir: Option<&str>, command: &str) -> Result<PathBuf, String> {
    let root = root(paths);
    let shown = |path: &Path| paths.tilde(path);
    let real = |path: &Path| fs::canonicalize(path).map_err(|e| format!("{}: {}", shown(path), plain(&e)));
    if !stays_below(command) {
        return Err(format!("transform {command} is not the path of a program below {}", shown(&root)));
    }
    let inside = real(&root)?;
    let directory = real(&directory(paths, transforms_dir))?;
    let program = real(&directory.join(command))?;
    if !directory.starts_with(&inside) || !program.starts_with(&inside) {
        return Err(format!("transform {command} leads out of {} (to {})", shown(&root), shown(&program)));
    }
    let about = fs::metadata(&program).map_err(|e| format!("{}: {}", shown(&program), plain(&e)))?;
    if !about.is_file() {
        return Err(format!("{} is no file", shown(&program)));
    }
    // Whoever may change the program, or put another one in its place, decides what the gateway runs.
    for path in program.ancestors().take_while(|path| path.starts_with(&inside)) {
        check_mode(path, path == program).map_err(|why| format!("{} {why}", shown(path)))?;
    }
    Ok(program)
}

fn root(paths: &Paths) -> PathBuf {
    paths.config_path.parent().unwrap_or(Path::new("/")).join("hooks").join("transforms")
}

fn plain(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "there is no such file".into(),
        _ => error.to_string(),
    }
}

#[cfg(unix)]
fn check_mode(path: &Path, is_program: bool) -> Result<(), String> {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = fs::metadata(path).map_err(|e| plain(&e))?.permissions().mode();
    if mode & 0o002 != 0 {
        return Err(format!("can be changed by everybody; run: chmod o-w {}", path.display()));
    }
    if is_program && mode & 0o111 == 0 {
        return Err(format!("is not executable; run: chmod u+x {}", path.display()));
    }
    Ok(())
}

#[cfg(not(unix))]
fn check_mode(_path: &Path, _is_program: bool) -> Result<(), String> {
    Ok(())
}
