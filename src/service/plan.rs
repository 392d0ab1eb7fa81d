//! Plans: what is written and run for an action, as data.

use std::path::PathBuf;

use super::{Manager, Spec, launchd, openrc, procd, schtasks, systemd};

/// In every start script of ours.
pub(super) const MADE_BY: &str = "made by \"openclaw gateway install\"";

/// A file that a plan writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanFile {
    pub path: PathBuf,
    pub mode: u32,
    pub text: String,
    /// What stood there before is kept as `<name>.bak`.
    pub backup: bool,
}

/// One step of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    Write(PlanFile),
    /// A file that is missing is none to remove.
    Remove(PathBuf),
    /// A directory that others cannot write to; made if it is missing.
    Directory(PathBuf),
    /// Into the user's trash, as macOS does with what somebody may want back.
    Trash {
        path: PathBuf,
        trash: PathBuf,
    },
    /// A command whose failure ends the plan.
    Run(Vec<String>),
    /// A command that may fail: there may be nothing to stop.
    Try(Vec<String>),
    /// Ways to the same end, each a plan of its own: the first that works.
    FirstOf(Vec<Vec<Step>>),
}

impl Step {
    pub(super) fn run(argv: &[&str]) -> Step {
        Step::Run(words(argv))
    }

    pub(super) fn attempt(argv: &[&str]) -> Step {
        Step::Try(words(argv))
    }
}

pub(super) fn words(argv: &[&str]) -> Vec<String> {
    argv.iter().map(|word| (*word).to_owned()).collect()
}

/// What can be done with a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Install,
    /// Also what `start` does: a service that runs already is started anew (cli 5.2).
    Restart,
    Stop,
    Uninstall,
}

/// How a service came to be there, which says what may be done with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Written by us, or not there yet.
    Own,
    /// With a package, or by hand: it stays as it is.
    Package,
    /// Windows starts it at log-on and then forgets it; the pid of the gateway that runs, if one does.
    LoginItem(Option<u32>),
}

/// The steps of an action.
pub fn plan(manager: Manager, spec: &Spec, action: Action, origin: Origin) -> Result<Vec<Step>, String> {
    let refused = |what: &str| format!("{what} cannot contain CR or LF characters.");
    let (home, state) = (spec.home.to_string_lossy(), spec.state_dir.to_string_lossy());
    let names = [&spec.unit, &spec.label, &spec.task].into_iter().flatten().map(String::as_str);
    let texts = spec.env.iter().map(|(_, value)| value.as_str()).chain(names);
    if texts.chain([spec.program.as_str(), &home, &state]).any(|text| text.contains(['\r', '\n'])) {
        return Err(refused("Service environment and arguments"));
    }
    let packaged = origin == Origin::Package;
    Ok(match manager {
        Manager::SystemdUser | Manager::SystemdSystem => systemd::plan(manager, spec, action, packaged),
        Manager::Procd => procd::plan(spec, action, packaged),
        Manager::OpenRc => openrc::plan(spec, action, packaged),
        Manager::Launchd => launchd::plan(spec, action),
        Manager::Schtasks => schtasks::plan(spec, action, origin),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::{audit, unit};

    fn spec() -> Spec {
        Spec {
            program: "/usr/bin/openclaw".into(),
            port: 18789,
            home: "/home/u".into(),
            state_dir: "/home/u/.openclaw".into(),
            user: "u".into(),
            uid: 1000,
            ..Spec::default()
        }
    }

    fn rescue() -> Spec {
        Spec {
            profile: Some("rescue".into()),
            port: 21132,
            env: [
                ("TMPDIR", "/tmp/with space"),
                ("HTTPS_PROXY", "http://proxy:3128"),
                ("http_proxy", "http://u:secret@proxy:3128"),
                ("OPENCLAW_STATE_DIR", "/home/u/.openclaw-rescue"),
                ("OPENCLAW_CONFIG_PATH", "/home/u/.openclaw-rescue/openclaw.json"),
            ]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .to_vec(),
            state_dir: "/home/u/.openclaw-rescue".into(),
            program: "/opt/100% $HOME/openclaw".into(),
            ..spec()
        }
    }

    const MANAGERS: [(Manager, &str); 6] = [
        (Manager::SystemdUser, "systemd-user"),
        (Manager::SystemdSystem, "systemd-system"),
        (Manager::Procd, "procd"),
        (Manager::OpenRc, "openrc"),
        (Manager::Launchd, "launchd"),
        (Manager::Schtasks, "schtasks"),
    ];

    /// A plan as text, for people who compare it with the manual of a manager.
    fn text(steps: &[Step]) -> String {
        let mut out = String::new();
        for step in steps {
            match step {
                Step::Write(file) => {
                    let backup = if file.backup { ", the old one kept as .bak" } else { "" };
                    let text = file.text.replace('\r', "␍");
                    out += &format!("write {} mode {:o}{backup}\n", file.path.display(), file.mode);
                    out.extend(text.lines().map(|line| format!("    |{line}\n")));
                }
                Step::Remove(path) => out += &format!("remove {}\n", path.display()),
                Step::Directory(path) => out += &format!("directory {}\n", path.display()),
                Step::Trash { path, trash } => out += &format!("move {} to {}\n", path.display(), trash.display()),
                Step::Run(argv) => out += &format!("run {argv:?}\n"),
                Step::Try(argv) => out += &format!("try {argv:?}\n"),
                Step::FirstOf(ways) => {
                    for (number, way) in ways.iter().enumerate() {
                        let lead = if number == 0 { "first" } else { "else" };
                        out += &format!("{lead}:\n");
                        out.extend(text(way).lines().map(|line| format!("  {line}\n")));
                    }
                }
            }
        }
        out
    }

    /// After a change that is meant: `OPENCLAW_TEST_WRITE_GOLDEN=1 cargo test --lib service::`.
    #[test]
    fn plans_are_the_golden_ones() {
        for (manager, name) in MANAGERS {
            let mut all = String::new();
            for (title, spec) in [("plain", spec()), ("profile", rescue())] {
                for action in [Action::Install, Action::Restart, Action::Stop, Action::Uninstall] {
                    let steps = plan(manager, &spec, action, Origin::Own).unwrap();
                    all += &format!("== {title}: {action:?}\n{}", text(&steps));
                }
            }
            if manager == Manager::Schtasks {
                for action in [Action::Restart, Action::Stop, Action::Uninstall] {
                    let steps = plan(manager, &spec(), action, Origin::LoginItem(Some(4242))).unwrap();
                    all += &format!("== login item that runs: {action:?}\n{}", text(&steps));
                }
            }
            assert!(!all.contains("TOKEN") && !all.contains("PASSWORD"), "{name}: no secret in a file of a service");
            assert_eq!(
                all.contains("secret"),
                manager == Manager::SystemdUser,
                "{name}: only where nobody else can read"
            );
            let path = format!("{}/tests/golden/service/{name}.txt", env!("CARGO_MANIFEST_DIR"));
            if std::env::var_os("OPENCLAW_TEST_WRITE_GOLDEN").is_some() {
                std::fs::write(&path, &all).unwrap();
            }
            assert_eq!(all, std::fs::read_to_string(&path).unwrap_or_default(), "{path}");
        }
    }

    #[test]
    fn what_is_installed_is_read_back() {
        for (manager, name) in MANAGERS {
            for spec in [spec(), rescue()] {
                let steps = plan(manager, &spec, Action::Install, Origin::Own).unwrap();
                let file = steps.iter().find_map(|step| match step {
                    Step::Write(file) => Some(file.clone()),
                    _ => None,
                });
                let file = file.expect("an install writes a file");
                let parsed = match manager {
                    Manager::SystemdUser | Manager::SystemdSystem => unit::parse(&file.text, &file.path),
                    Manager::Launchd => launchd::parse(&file.text, &file.path),
                    Manager::Schtasks => schtasks::parse(&file.text, &file.path),
                    Manager::Procd => procd::parse(&file.text, &file.path),
                    Manager::OpenRc => openrc::parse(&file.text, &file.path),
                };
                let command = parsed.unwrap_or_else(|| panic!("{name} is not understood:\n{}", file.text));
                assert_eq!(command.arguments, spec.arguments(), "{name}");
                assert_eq!(command.port(), Some(spec.port), "{name}");
                assert_eq!(command.var("OPENCLAW_PROFILE"), spec.profile.as_deref(), "{name}");
                let tmp = spec.var("TMPDIR").or((manager != Manager::Schtasks).then(|| "/tmp".into()));
                assert_eq!(command.var("TMPDIR"), tmp.as_deref(), "{name}");
                assert_eq!(command.var("OPENCLAW_SERVICE_MARKER"), Some("openclaw"), "{name}");
                assert_eq!(audit::look(manager, &command, None), [], "{name}: what we write has no faults");
            }
        }
    }

    #[test]
    fn a_packaged_start_script_stays_as_it_is() {
        for manager in [Manager::SystemdUser, Manager::SystemdSystem, Manager::Procd, Manager::OpenRc] {
            for action in [Action::Install, Action::Uninstall] {
                let steps = plan(manager, &spec(), action, Origin::Package).unwrap();
                assert!(steps.iter().all(|step| matches!(step, Step::Run(_) | Step::Try(_))), "{steps:?}");
            }
        }
    }

    #[test]
    fn values_with_line_ends_are_refused() {
        let mut spec = spec();
        spec.env.push(("OPENCLAW_STATE_DIR".into(), "/x\nExecStartPre=/bin/evil".into()));
        for (manager, _) in MANAGERS {
            let refused = plan(manager, &spec, Action::Install, Origin::Own).unwrap_err();
            assert!(refused.ends_with("cannot contain CR or LF characters."), "{refused}");
        }
    }

    #[test]
    fn names_of_profiles_and_overrides() {
        let rescue = rescue();
        assert_eq!(rescue.unit_name(), "openclaw-gateway-rescue.service");
        assert_eq!(
            (rescue.launchd_label(), rescue.task_name()),
            ("ai.openclaw.rescue".into(), "OpenClaw Gateway (rescue)".into())
        );
        let other = Spec { unit: Some("mine".into()), label: Some("x.y".into()), task: Some("T".into()), ..spec() };
        assert_eq!(
            (other.unit_name(), other.launchd_label(), other.task_name()),
            ("mine.service".into(), "x.y".into(), "T".into())
        );
    }
}
