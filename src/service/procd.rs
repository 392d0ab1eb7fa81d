//! procd of OpenWrt: a start script in /etc/init.d (cli 5.6, 9.2). The package brings one of its own that reads UCI;
//! that one is enabled and started as it is.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::unit::Command;
use super::{Action, MADE_BY, Manager, PlanFile, Runtime, Spec, Step};

/// `openclaw`, as the package calls it; with a profile `openclaw-rescue`.
pub fn name(spec: &Spec) -> String {
    spec.profile.as_ref().map_or("openclaw".into(), |profile| format!("openclaw-{profile}"))
}

pub fn script_path(spec: &Spec) -> PathBuf {
    spec.system("/etc/init.d").join(name(spec))
}

pub fn list(spec: &Spec) -> Vec<String> {
    super::words(&["ubus", "call", "service", "list", &json!({"name": name(spec)}).to_string()])
}

pub fn plan(spec: &Spec, action: Action, packaged: bool) -> Vec<Step> {
    let path = script_path(spec);
    let script = path.display().to_string();
    let (run, attempt) = (|word: &str| Step::run(&[&script, word]), |word: &str| Step::attempt(&[&script, word]));
    match action {
        Action::Install => {
            let text = script_text(spec);
            let write = (!packaged).then_some(Step::Write(PlanFile { path, mode: 0o755, text, backup: true }));
            write.into_iter().chain([run("enable"), run("restart")]).collect()
        }
        Action::Restart => vec![run("restart")],
        Action::Stop => vec![run("stop")],
        Action::Uninstall => {
            let remove = (!packaged).then_some(Step::Remove(path));
            [attempt("stop"), attempt("disable")].into_iter().chain(remove).collect()
        }
    }
}

/// A word for the shell of OpenWrt.
pub(super) fn shell(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./:=,@+".contains(c);
    if !word.is_empty() && word.chars().all(plain) { word.into() } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

fn script_text(spec: &Spec) -> String {
    let words: Vec<String> = spec.arguments().iter().map(|word| shell(word)).collect();
    let env: Vec<String> = spec
        .environment(Manager::Procd, false)
        .iter()
        .map(|(name, value)| format!("\tprocd_append_param env {}", shell(&format!("{name}={value}"))))
        .collect();
    format!(
        "#!/bin/sh /etc/rc.common\n\
         # {}, {MADE_BY}\n\
         USE_PROCD=1\n\
         START=95\n\
         STOP=10\n\
         \n\
         start_service() {{\n\
         \tprocd_open_instance\n\
         \tprocd_set_param command {}\n\
         {}\n\
         \tprocd_set_param user {}\n\
         \tprocd_set_param respawn 3600 5 5\n\
         \tprocd_set_param term_timeout 30\n\
         \tprocd_set_param reload_signal HUP\n\
         \tprocd_set_param no_new_privs 1\n\
         \tprocd_set_param stdout 1\n\
         \tprocd_set_param stderr 1\n\
         \tprocd_close_instance\n\
         }}\n",
        spec.description(),
        words.join(" "),
        env.join("\n"),
        shell(&spec.user),
    )
}

/// What follows `command` and `env` in a script of ours; a packaged one reads UCI and has nothing to read here.
pub fn parse(text: &str, source: &Path) -> Option<Command> {
    let after = |line: &str, lead: &str| line.trim().strip_prefix(lead).map(words_of);
    let mut command = Command { source: source.to_owned(), ..Command::default() };
    for line in text.lines() {
        if let Some(words) = after(line, "procd_set_param command ") {
            command.arguments = words;
        } else if let Some(words) = after(line, "procd_append_param env ") {
            let pair = words.first().and_then(|word| word.split_once('='));
            command.env.extend(pair.map(|(name, value)| (name.to_owned(), value.to_owned())));
        }
    }
    (!command.arguments.is_empty()).then_some(command)
}

/// The reverse of [`shell`] over a line.
pub(super) fn words_of(line: &str) -> Vec<String> {
    let (mut out, mut word, mut quote) = (Vec::new(), None::<String>, None);
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match c {
            _ if quote == Some(c) => quote = None,
            '\'' | '"' if quote.is_none() => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            '\\' if quote != Some('\'') => word.get_or_insert_default().extend(chars.next()),
            ' ' | '\t' if quote.is_none() => out.extend(word.take()),
            _ => word.get_or_insert_default().push(c),
        }
    }
    out.extend(word);
    out
}

/// `{"openclaw":{"instances":{"instance1":{"running":true,"pid":77,"exit_code":0}}}}`
pub fn parse_list(text: &str, spec: &Spec) -> Runtime {
    let tree: Value = serde_json::from_str(text).unwrap_or_default();
    let instances = tree[name(spec)]["instances"].as_object();
    let all = || instances.into_iter().flat_map(|instances| instances.values());
    let running = all().find(|instance| instance["running"] == true);
    let shown = running.or_else(|| all().next());
    Runtime {
        status: if running.is_some() { "running" } else { "stopped" },
        pid: running.and_then(|instance| instance["pid"].as_u64()?.try_into().ok()),
        last_exit_status: shown.and_then(|instance| instance["exit_code"].as_i64()),
        ..Runtime::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ubus_says() {
        let spec = Spec::default();
        let text = r#"{"openclaw":{"instances":{"instance1":{"running":true,"pid":77,"command":["x"]}}}}"#;
        assert_eq!(parse_list(text, &spec).line(), "running (pid 77)");
        let text = r#"{"openclaw":{"instances":{"instance1":{"running":false,"exit_code":78}}}}"#;
        assert_eq!(parse_list(text, &spec).line(), "stopped (last exit 78)");
        for text in ["{}", "", "[1]", r#"{"openclaw":7}"#] {
            assert_eq!(parse_list(text, &spec).line(), "stopped");
        }
    }

    #[test]
    fn words_for_the_shell() {
        for word in ["plain", "a b", "it's", "$HOME", "", "`x`", "a\\b", "\"q\""] {
            assert_eq!(words_of(&format!("x {} y", shell(word))), ["x", word, "y"]);
        }
    }
}
