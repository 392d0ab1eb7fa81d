//! Windows: a task of the Task Scheduler that runs a small script at log-on or, where the scheduler refuses, a login item
//! in the Startup folder that does (cli 5.5).

use std::path::{Path, PathBuf};

use super::unit::Command;
use super::{Action, Failure, Manager, Origin, PlanFile, Runtime, Spec, Step};

/// "The task is currently running."
const RUNNING: &str = "0x41301";

pub fn script_path(spec: &Spec) -> PathBuf {
    spec.state_dir.join("gateway.cmd")
}

pub fn query(spec: &Spec) -> Vec<String> {
    super::words(&["schtasks", "/Query", "/TN", &spec.task_name(), "/V", "/FO", "LIST"])
}

/// The launcher in the Startup folder, for machines whose Task Scheduler refuses us.
pub fn login_item(spec: &Spec) -> PathBuf {
    let roaming = || spec.home.join("AppData").join("Roaming");
    let programs = spec.app_data.clone().unwrap_or_else(roaming).join("Microsoft/Windows/Start Menu/Programs");
    // A name may hold what a file name may not.
    let name: String = spec.task_name().chars().map(|c| if "<>:\"/\\|?*".contains(c) { '_' } else { c }).collect();
    programs.join("Startup").join(format!("{name}.cmd"))
}

pub fn plan(spec: &Spec, action: Action, origin: Origin) -> Vec<Step> {
    let (path, task, item) = (script_path(spec), spec.task_name(), login_item(spec));
    let script = path.display().to_string();
    let (end, run) =
        (Step::attempt(&["schtasks", "/End", "/TN", &task]), Step::run(&["schtasks", "/Run", "/TN", &task]));
    let delete = Step::attempt(&["schtasks", "/Delete", "/F", "/TN", &task]);
    // Nobody but us knows the process of a login item, and a window that is not there cannot be closed politely. What
    // has been answered is on the disk.
    let running = if let Origin::LoginItem(pid) = origin { pid } else { None };
    let kill = running.map(|pid| Step::attempt(&["taskkill", "/F", "/T", "/PID", &pid.to_string()]));
    let launch = Step::run(&["cmd", "/d", "/c", "start", "", "/min", &script]);
    let is_item = matches!(origin, Origin::LoginItem(_));
    match action {
        Action::Install => {
            let quoted = format!("\"{script}\"");
            let create =
                ["schtasks", "/Create", "/F", "/SC", "ONLOGON", "/RL", "LIMITED", "/TN", &task, "/TR", &quoted];
            let by_user = ["/RU", &spec.user, "/NP", "/IT"];
            let named = (!spec.user.is_empty()).then(|| vec![Step::run(&[&create[..], &by_user].concat())]);
            // Some systems refuse a task without a stored password for a named user.
            let create = Step::FirstOf(named.into_iter().chain([vec![Step::run(&create)]]).collect());
            let text = launcher_text(spec, &script);
            let write_item = Step::Write(PlanFile { path: item.clone(), mode: 0o600, text, backup: false });
            let write = Step::Write(PlanFile { path, mode: 0o600, text: script_text(spec), backup: false });
            let by_task = vec![create, run];
            let by_item = vec![delete, write_item, launch];
            let old = Step::Remove(item);
            kill.into_iter().chain([write, old, Step::FirstOf(vec![by_task, by_item])]).collect()
        }
        Action::Restart if is_item => kill.into_iter().chain([launch]).collect(),
        Action::Restart => vec![end, run],
        Action::Stop if is_item => kill.into_iter().collect(),
        Action::Stop => vec![Step::run(&["schtasks", "/End", "/TN", &task])],
        Action::Uninstall => kill.into_iter().chain([end, delete, Step::Remove(item), Step::Remove(path)]).collect(),
    }
}

fn launcher_text(spec: &Spec, script: &str) -> String {
    let lines = ["@echo off".to_owned(), format!("rem {}", spec.description().replace('%', "%%"))];
    let start = format!("start \"\" /min cmd.exe /d /c {}", quoted(&script.replace('%', "%%")));
    lines.iter().chain([&start]).map(|line| format!("{line}\r\n")).collect()
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
