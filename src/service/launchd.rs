//! launchd of macOS: an agent of the user (cli 5.4).

use std::path::{Path, PathBuf};

use super::unit::Command;
use super::{Action, Failure, Manager, PlanFile, Runtime, Spec, Step};

pub fn plist_path(spec: &Spec) -> PathBuf {
    spec.home.join("Library/LaunchAgents").join(format!("{}.plist", spec.launchd_label()))
}

fn domain(spec: &Spec) -> String {
    format!("gui/{}", spec.uid)
}

fn target(spec: &Spec) -> String {
    format!("{}/{}", domain(spec), spec.launchd_label())
}

pub fn print(spec: &Spec) -> Vec<String> {
    super::words(&["launchctl", "print", &target(spec)])
}

pub fn plan(spec: &Spec, action: Action) -> Vec<Step> {
    let path = plist_path(spec);
    let (file, domain, target) = (path.display().to_string(), domain(spec), target(spec));
    let launchctl = |args: &[&str]| super::words(&[&["launchctl"], args].concat());
    match action {
        Action::Install => vec![
            // launchd opens the files of the output before there is a gateway that could make their directory.
            Step::Directory(spec.state_dir.join("logs")),
            Step::Directory(spec.home.join("Library/LaunchAgents")),
            Step::Write(PlanFile { path, mode: 0o644, text: plist(spec), backup: false }),
            Step::Try(launchctl(&["bootout", &domain, &file])),
            Step::Try(launchctl(&["unload", &file])),
            Step::Try(launchctl(&["enable", &target])),
            Step::Run(launchctl(&["bootstrap", &domain, &file])),
        ],
        Action::Restart => {
            let kick = Step::Run(launchctl(&["kickstart", "-k", &target]));
            vec![Step::FirstOf(vec![
                vec![kick.clone()],
                vec![Step::Run(launchctl(&["bootstrap", &domain, &file])), kick],
            ])]
        }
        Action::Stop => vec![Step::Run(launchctl(&["bootout", &target]))],
        Action::Uninstall => vec![
            Step::Try(launchctl(&["bootout", &domain, &file])),
            Step::Try(launchctl(&["unload", &file])),
            Step::Trash { trash: spec.home.join(".Trash").join(format!("{}.plist", spec.launchd_label())), path },
        ],
    }
}

fn plist(spec: &Spec) -> String {
    let logs = spec.state_dir.join("logs");
    let string = |text: &str| format!("<string>{}</string>", escaped(text));
    let mut out = String::from(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <!DOCTYPE plist PUBLIC \"-//Apple//DTD PLIST 1.0//EN\" \"http://www.apple.com/DTDs/PropertyList-1.0.dtd\">\n\
         <plist version=\"1.0\">\n  <dict>\n",
    );
    let mut key = |name: &str, value: &str| out += &format!("    <key>{name}</key>\n    {value}\n");
    key("Label", &string(&spec.launchd_label()));
    key("Comment", &string(&spec.description()));
    key("RunAtLoad", "<true/>");
    key("KeepAlive", "<true/>");
    key("ThrottleInterval", "<integer>1</integer>");
    key("Umask", "<integer>63</integer>");
    let words: String = spec.arguments().iter().map(|word| format!("      {}\n", string(word))).collect();
    key("ProgramArguments", &format!("<array>\n{words}    </array>"));
    key("StandardOutPath", &string(&logs.join("gateway.log").display().to_string()));
    key("StandardErrorPath", &string(&logs.join("gateway.err.log").display().to_string()));
    let env = spec.environment(Manager::Launchd, false).into_iter();
    let pairs: String =
        env.map(|(name, value)| format!("      <key>{}</key>\n      {}\n", escaped(&name), string(&value))).collect();
    key("EnvironmentVariables", &format!("<dict>\n{pairs}    </dict>"));
    out + "  </dict>\n</plist>\n"
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;").replace('\'', "&apos;")
}

fn unescaped(text: &str) -> String {
    let text = text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&apos;", "'");
    text.replace("&amp;", "&")
}

/// The few values of a property list that we look at; one in the binary form is not read.
pub fn parse(text: &str, source: &Path) -> Option<Command> {
    let body = |key: &str, tag: &str| {
        let (_, rest) = text.split_once(&format!("<key>{key}</key>"))?;
        let rest = rest.trim_start().strip_prefix(&format!("<{tag}>"))?;
        Some(rest.split_once(&format!("</{tag}>"))?.0)
    };
    let strings = |text: &str| -> Vec<String> {
        let parts = text.split("<string>").skip(1).filter_map(|part| part.split_once("</string>"));
        parts.map(|(value, _)| unescaped(value)).collect()
    };
    let arguments = body("ProgramArguments", "array").map(strings).filter(|words| !words.is_empty())?;
    let env = body("EnvironmentVariables", "dict").unwrap_or_default().split("<key>").skip(1).filter_map(|part| {
        let (name, rest) = part.split_once("</key>")?;
        Some((unescaped(name), strings(rest).into_iter().next()?))
    });
    let flag = |key: &str| {
        let on = text
            .split_once(&format!("<key>{key}</key>"))
            .is_some_and(|(_, rest)| rest.trim_start().starts_with("<true"));
        (key.to_owned(), on.to_string())
    };
    Some(Command {
        arguments,
        working_dir: body("WorkingDirectory", "string").map(unescaped),
        env: env.collect(),
        source: source.to_owned(),
        lines: vec![flag("KeepAlive"), flag("RunAtLoad")],
    })
}

/// `launchctl print`: indented lines `name = value`.
pub fn runtime(answer: Result<String, Failure>) -> Runtime {
    let text = match answer {
        Ok(text) => text,
        Err(Failure::Failed { .. }) => {
            return Runtime { status: "stopped", detail: Some("not loaded".into()), ..Runtime::default() };
        }
        Err(failure) => return Runtime::unknown(failure.detail()),
    };
    let at = |name: &str| {
        let mut lines = text.lines().filter_map(|line| line.trim().split_once(" = "));
        lines.find(|(key, _)| *key == name).map(|(_, value)| value.trim().to_owned())
    };
    let (state, pid) = (at("state"), at("pid").and_then(|pid| pid.parse().ok()));
    let running = pid.is_some() || state.as_deref() == Some("running");
    Runtime {
        status: if running { "running" } else { "stopped" },
        state,
        pid,
        last_exit_status: at("last exit code").or_else(|| at("last exit status")).and_then(|code| code.parse().ok()),
        last_exit_reason: at("last exit reason"),
        ..Runtime::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_print_says() {
        let text = "gui/501/ai.openclaw.gateway = {\n\tactive count = 1\n\tstate = running\n\tpid = 77\n\tlast exit code = 0\n}\n";
        assert_eq!(runtime(Ok(text.into())).line(), "running (pid 77, state running, last exit 0)");
        let text = "x = {\n\tstate = not running\n\tlast exit code = 78\n}\n";
        assert_eq!(runtime(Ok(text.into())).line(), "stopped (state not running, last exit 78)");
        let gone = Failure::Failed { code: Some(113), output: "Could not find service".into() };
        assert_eq!(runtime(Err(gone)).line(), "stopped (not loaded)");
    }
}
