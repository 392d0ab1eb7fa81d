//! The Task Scheduler of Windows: a task at log-on that runs a small script (cli 5.5).

use std::path::{Path, PathBuf};

use super::unit::Command;
use super::{Action, Failure, Manager, PlanFile, Runtime, Spec, Step};

/// "The task is currently running."
const RUNNING: &str = "0x41301";

pub fn script_path(spec: &Spec) -> PathBuf {
    spec.state_dir.join("gateway.cmd")
}

pub fn query(spec: &Spec) -> Vec<String> {
    super::words(&["schtasks", "/Query", "/TN", &spec.task_name(), "/V", "/FO", "LIST"])
}

pub fn plan(spec: &Spec, action: Action) -> Vec<Step> {
    let (path, task) = (script_path(spec), spec.task_name());
    let script = format!("\"{}\"", path.display());
    let (end, run) =
        (Step::attempt(&["schtasks", "/End", "/TN", &task]), Step::run(&["schtasks", "/Run", "/TN", &task]));
    match action {
        Action::Install => {
            let create =
                ["schtasks", "/Create", "/F", "/SC", "ONLOGON", "/RL", "LIMITED", "/TN", &task, "/TR", &script];
            let by_user = ["/RU", &spec.user, "/NP", "/IT"];
            let plain = super::words(&create);
            let create = match spec.user.is_empty() {
                true => Step::Run(plain),
                // Some systems refuse a task without a stored password for a named user.
                false => Step::Either(super::words(&[&create[..], &by_user].concat()), vec![plain]),
            };
            vec![Step::Write(PlanFile { path, mode: 0o600, text: script_text(spec), backup: false }), create, run]
        }
        Action::Restart => vec![end, run],
        Action::Stop => vec![Step::run(&["schtasks", "/End", "/TN", &task])],
        Action::Uninstall => {
            vec![end, Step::attempt(&["schtasks", "/Delete", "/F", "/TN", &task]), Step::Remove(path)]
        }
    }
}

fn script_text(spec: &Spec) -> String {
    // A lone percent sign would begin a variable.
    let text = |text: &str| text.replace('%', "%%");
    let mut lines = vec!["@echo off".to_owned(), format!("rem {}", text(&spec.description()))];
    let env = spec.environment(Manager::Schtasks, false).into_iter().filter(|(name, _)| name != "PATH");
    lines.extend(env.map(|(name, value)| format!("set \"{name}={}\"", text(&value))));
    let words: Vec<String> = spec.arguments().iter().map(|word| quoted(&text(word))).collect();
    lines.push(words.join(" "));
    lines.iter().map(|line| format!("{line}\r\n")).collect()
}

fn quoted(word: &str) -> String {
    let plain = !word.is_empty() && !word.contains([' ', '\t', '&', '(', ')', '^', '"', '<', '>', '|', '\'', '$']);
    if plain { word.into() } else { format!("\"{}\"", word.replace('"', "\\\"")) }
}

pub fn parse(text: &str, source: &Path) -> Option<Command> {
    let mut command = Command { source: source.to_owned(), ..Command::default() };
    let plain = |text: &str| text.replace("%%", "%");
    for line in text.lines().map(str::trim) {
        let lower = line.to_ascii_lowercase();
        if line.is_empty() || line.starts_with('@') || lower.starts_with("rem ") {
        } else if let Some(pair) = lower.starts_with("set ").then(|| line[4..].trim().trim_matches('"')) {
            command.env.extend(pair.split_once('=').map(|(name, value)| (name.to_owned(), plain(value))));
        } else if lower.starts_with("cd /d ") {
            command.working_dir = Some(line[6..].trim().trim_matches('"').to_owned());
        } else {
            command.arguments = words_of(line).iter().map(|word| plain(word)).collect();
        }
    }
    (!command.arguments.is_empty()).then_some(command)
}

fn words_of(line: &str) -> Vec<String> {
    let (mut out, mut word, mut quoted) = (Vec::new(), None::<String>, false);
    for c in line.chars() {
        match c {
            '"' => {
                quoted = !quoted;
                word.get_or_insert_default();
            }
            ' ' | '\t' if !quoted => out.extend(word.take()),
            _ => word.get_or_insert_default().push(c),
        }
    }
    out.extend(word);
    out
}

/// Only the result of the last run tells whether it runs: the words beside it are in the language of the machine.
pub fn runtime(answer: Result<String, Failure>) -> Runtime {
    let text = match answer {
        Ok(text) => text,
        Err(Failure::Failed { .. }) => return Runtime::missing(),
        Err(failure) => return Runtime::unknown(failure.detail()),
    };
    let at = |name: &str| {
        let mut lines = text.lines().filter_map(|line| line.split_once(':'));
        lines.find(|(key, _)| key.trim() == name).map(|(_, value)| value.trim().to_owned())
    };
    let result = at("Last Run Result").or_else(|| at("Last Result"));
    let running = result.as_deref().is_some_and(|code| code.eq_ignore_ascii_case(RUNNING) || code == "267009");
    Runtime {
        status: if running { "running" } else { "stopped" },
        state: at("Status"),
        last_exit_reason: result,
        ..Runtime::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_query_says() {
        let text =
            |result: &str| format!("TaskName: \\OpenClaw Gateway\r\nStatus: Running\r\nLast Run Result: {result}\r\n");
        assert_eq!(runtime(Ok(text("0x41301"))).status, "running");
        assert_eq!(runtime(Ok(text("1"))).line(), "stopped (state Running, reason 1)");
        assert!(runtime(Err(Failure::Failed { code: Some(1), output: String::new() })).missing);
    }
}
