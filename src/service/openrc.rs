//! OpenRC (Alpine, Gentoo): a start script with supervise-daemon.

use std::path::{Path, PathBuf};

use super::procd::{shell, words_of};
use super::unit::Command;
use super::{Action, Failure, MADE_BY, Manager, PlanFile, Runtime, Spec, Step};

pub fn script_path(spec: &Spec) -> PathBuf {
    spec.system("/etc/init.d").join(spec.service_name())
}

/// There when the service starts with the machine.
pub fn runlevel_link(spec: &Spec) -> PathBuf {
    spec.system("/etc/runlevels/default").join(spec.service_name())
}

pub fn status(spec: &Spec) -> Vec<String> {
    super::words(&["rc-service", &spec.service_name(), "status"])
}

pub fn plan(spec: &Spec, action: Action, packaged: bool) -> Vec<Step> {
    let (path, name) = (script_path(spec), spec.service_name());
    match action {
        Action::Install => {
            let text = script_text(spec);
            let write = (!packaged).then_some(Step::Write(PlanFile { path, mode: 0o755, text, backup: true }));
            let enable = Step::run(&["rc-update", "add", &name, "default"]);
            write.into_iter().chain([enable, Step::run(&["rc-service", &name, "restart"])]).collect()
        }
        Action::Restart => vec![Step::run(&["rc-service", &name, "restart"])],
        Action::Stop => vec![Step::run(&["rc-service", &name, "stop"])],
        Action::Uninstall => {
            let stop = Step::attempt(&["rc-service", &name, "stop"]);
            let disable = Step::attempt(&["rc-update", "del", &name, "default"]);
            [stop, disable].into_iter().chain((!packaged).then_some(Step::Remove(path))).collect()
        }
    }
}

fn script_text(spec: &Spec) -> String {
    let args: Vec<String> = spec.arguments().iter().skip(1).map(|word| shell(word)).collect();
    let env: String = spec
        .environment(Manager::OpenRc, false)
        .iter()
        .map(|(name, value)| format!("export {}\n", shell(&format!("{name}={value}"))))
        .collect();
    format!(
        "#!/sbin/openrc-run\n\
         # {MADE_BY}\n\
         description={}\n\
         supervisor=supervise-daemon\n\
         command={}\n\
         command_args={}\n\
         command_user={}\n\
         umask=0077\n\
         respawn_delay=5\n\
         respawn_max=10\n\
         respawn_period=300\n\
         retry=TERM/30/KILL/5\n\
         extra_started_commands=reload\n\
         {env}\n\
         depend() {{\n\
         \tneed net\n\
         \tuse dns logger\n\
         }}\n\
         \n\
         reload() {{\n\
         \tebegin \"Reloading $RC_SVCNAME\"\n\
         \tsupervise-daemon \"$RC_SVCNAME\" --signal HUP\n\
         \teend $?\n\
         }}\n",
        shell(&spec.description()),
        shell(&spec.program),
        shell(&args.join(" ")),
        shell(&spec.user),
    )
}

pub fn parse(text: &str, source: &Path) -> Option<Command> {
    let mut command = Command { source: source.to_owned(), ..Command::default() };
    let mut arguments = Vec::new();
    for line in text.lines() {
        let words = words_of(line.trim());
        let (exported, word) = match words.as_slice() {
            [export, word] if export == "export" => (true, word),
            [word] => (false, word),
            _ => continue,
        };
        let Some((name, value)) = word.split_once('=') else { continue };
        match (exported, name) {
            (true, name) => command.env.push((name.to_owned(), value.to_owned())),
            (false, "command") => command.arguments = vec![value.to_owned()],
            (false, "command_args") => arguments = words_of(value),
            (false, "directory") => command.working_dir = Some(value.to_owned()),
            _ => {}
        }
    }
    if command.arguments.is_empty() {
        return None;
    }
    command.arguments.extend(arguments);
    Some(command)
}

/// The exit status of `rc-service … status`: 0 started, 3 stopped, 32 crashed.
pub fn runtime(answer: Result<String, Failure>) -> Runtime {
    let (status, state) = match answer {
        Ok(_) => ("running", "started"),
        Err(Failure::Failed { code: Some(3), .. }) => ("stopped", "stopped"),
        Err(Failure::Failed { code: Some(32), .. }) => ("stopped", "crashed"),
        Err(failure) => return Runtime::unknown(failure.detail()),
    };
    Runtime { status, state: Some(state.into()), ..Runtime::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_status_means() {
        let failed = |code| Err(Failure::Failed { code: Some(code), output: "x".into() });
        assert_eq!(runtime(Ok(String::new())).line(), "running (state started)");
        assert_eq!(runtime(failed(3)).line(), "stopped (state stopped)");
        assert_eq!(runtime(failed(32)).line(), "stopped (state crashed)");
        assert_eq!(runtime(failed(1)).line(), "unknown (x)");
    }
}
