//! The service of this machine: asked through its manager, changed by plans.

use std::cell::{Cell, OnceCell};
use std::path::PathBuf;

use super::runner::{self, Runner};
use super::{
    Action, Failure, MADE_BY, Manager, Origin, Runtime, Spec, Step, launchd, openrc, plan, procd, schtasks, systemd,
    unit,
};
use crate::server::lock;

/// The gateway's service on this machine. Every question is asked when it is put, and at most once where said.
pub struct Service {
    pub manager: Manager,
    pub spec: Spec,
    runner: Runner,
    /// Whether the manager can be reached, and why not.
    reachable: OnceCell<Result<(), String>>,
    /// The user's manager is reached as another user (`--machine`).
    by_machine: Cell<bool>,
    /// Whose manager it is, for that.
    machine_user: Option<String>,
}

/// What an action did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// Files that were kept before they were replaced.
    pub backups: Vec<PathBuf>,
    /// Files that were there and are gone now.
    pub removed: Vec<PathBuf>,
}

impl Service {
    /// `sudo_user`: who called sudo, if not root.
    pub fn new(manager: Manager, spec: Spec, sudo_user: Option<String>, login: Option<String>) -> Service {
        let by_machine = Cell::new(manager == Manager::SystemdUser && sudo_user.is_some());
        let machine_user = sudo_user.or(login).filter(|user| user != "root" && !user.is_empty());
        Service { manager, spec, runner: Runner, reachable: OnceCell::new(), by_machine, machine_user }
    }

    /// The file that makes the service.
    pub fn file(&self) -> PathBuf {
        match self.manager {
            Manager::SystemdUser | Manager::SystemdSystem => systemd::found_unit(self.manager, &self.spec),
            Manager::Procd => procd::script_path(&self.spec),
            Manager::OpenRc => openrc::script_path(&self.spec),
            Manager::Launchd => launchd::plist_path(&self.spec),
            Manager::Schtasks => schtasks::script_path(&self.spec),
        }
    }

    /// What people know it by: the unit, the label, the task.
    pub fn name(&self) -> String {
        match self.manager {
            Manager::SystemdUser | Manager::SystemdSystem => self.spec.unit_name(),
            Manager::Procd => procd::name(&self.spec),
            Manager::OpenRc => self.spec.service_name(),
            Manager::Launchd => self.spec.launchd_label(),
            Manager::Schtasks => self.spec.task_name(),
        }
    }

    pub fn is_installed(&self) -> bool {
        self.file().is_file()
    }

    /// Installed, and started with the machine or the session.
    pub fn is_loaded(&self) -> bool {
        if !self.is_installed() {
            return false;
        }
        match self.manager {
            Manager::OpenRc => openrc::runlevel_link(&self.spec).exists(),
            Manager::SystemdUser | Manager::SystemdSystem => {
                self.ask(&systemd::ctl(self.manager, &["is-enabled", &self.spec.unit_name()])).is_ok()
            }
            Manager::Procd => self.ask(&[self.script(), "enabled".into()]).is_ok(),
            Manager::Launchd => self.ask(&launchd::print(&self.spec)).is_ok(),
            Manager::Schtasks => self.is_login_item() || self.ask(&schtasks::query(&self.spec)).is_ok(),
        }
    }

    /// The Task Scheduler had no part in it.
    pub fn is_login_item(&self) -> bool {
        self.manager == Manager::Schtasks && schtasks::login_item(&self.spec).is_file()
    }

    /// In `Installed … : <path>`.
    pub fn noun(&self) -> &'static str {
        if self.is_login_item() { "Windows login item" } else { self.manager.noun() }
    }

    fn script(&self) -> String {
        self.file().display().to_string()
    }

    /// Whether the manager answers, asked anew: the calls of a command are part of what people see in its log.
    pub fn reach(&self) -> Result<(), String> {
        if !self.manager.is_systemd() {
            return Ok(());
        }
        systemd::reachable(self.manager, self.ask(&systemd::ctl(self.manager, &["status"])))
    }

    /// The same, asked once.
    pub fn reachable(&self) -> Result<(), String> {
        self.reachable.get_or_init(|| self.reach()).clone()
    }

    pub fn runtime(&self) -> Runtime {
        if let Err(detail) = self.reachable() {
            return Runtime::unknown(detail);
        }
        if !self.is_installed() {
            return Runtime::missing();
        }
        if let Origin::LoginItem(pid) = self.origin() {
            let status = if pid.is_some() { "running" } else { "stopped" };
            let detail = Some("started at log-on from the Startup folder".into());
            return Runtime { status, pid, detail, ..Runtime::default() };
        }
        let asked = match self.manager {
            Manager::SystemdUser | Manager::SystemdSystem => {
                self.ask(&systemd::show(self.manager, &self.spec)).map(|text| systemd::parse_show(&text))
            }
            Manager::Procd => self.ask(&procd::list(&self.spec)).map(|text| procd::parse_list(&text, &self.spec)),
            Manager::OpenRc => Ok(openrc::runtime(self.ask(&openrc::status(&self.spec)))),
            Manager::Launchd => Ok(launchd::runtime(self.ask(&launchd::print(&self.spec)))),
            Manager::Schtasks => Ok(schtasks::runtime(self.ask(&schtasks::query(&self.spec)))),
        };
        asked.unwrap_or_else(|failure| Runtime::unknown(failure.detail()))
    }

    /// What the file of the service says that is run. None: no file, or nothing to read in it.
    pub fn command(&self) -> Option<unit::Command> {
        let path = self.file();
        let text = runner::read(&path)?;
        match self.manager {
            Manager::SystemdUser | Manager::SystemdSystem => unit::parse(&systemd::specified(&text, &self.spec), &path),
            Manager::Launchd => launchd::parse(&text, &path),
            Manager::Schtasks => schtasks::parse(&text, &path),
            Manager::Procd => procd::parse(&text, &path),
            Manager::OpenRc => openrc::parse(&text, &path),
        }
    }

    /// A unit or a start script that we have not written.
    pub fn is_packaged(&self) -> bool {
        let file = self.file();
        let elsewhere = self.manager.is_systemd() && file != systemd::unit_path(self.manager, &self.spec);
        let ours = match self.manager {
            _ if elsewhere => return true,
            Manager::SystemdSystem => "OPENCLAW_SERVICE_MARKER=openclaw",
            Manager::Procd | Manager::OpenRc => MADE_BY,
            Manager::SystemdUser | Manager::Launchd | Manager::Schtasks => return false,
        };
        runner::read(&file).is_some_and(|text| !text.contains(ours))
    }

    fn origin(&self) -> Origin {
        match self.is_login_item() {
            true => Origin::LoginItem(
                lock::owner(&self.spec.config_path).filter(|owner| owner.alive).map(|owner| owner.pid),
            ),
            false if self.is_packaged() => Origin::Package,
            false => Origin::Own,
        }
    }

    /// Carries an action out.
    pub fn act(&self, action: Action) -> Result<Done, Failure> {
        let steps = plan(self.manager, &self.spec, action, self.origin()).map_err(Failure::Refused)?;
        self.carry_out(&steps)
    }

    pub(super) fn carry_out(&self, steps: &[Step]) -> Result<Done, Failure> {
        let mut done = Done::default();
        steps.iter().try_for_each(|step| self.runner.step(step, &mut done, &|argv| self.ask(argv)))?;
        Ok(done)
    }

    /// Runs a command of the manager; its standard output. Where the user's manager has no bus for us, the call is
    /// repeated through the machine (cli 5.2).
    pub(super) fn ask(&self, argv: &[String]) -> Result<String, Failure> {
        let machine = |user: &str| systemd::through_machine(argv, user);
        let user = self.machine_user.as_deref().filter(|_| self.manager == Manager::SystemdUser);
        if let Some(user) = user.filter(|_| self.by_machine.get()) {
            return self.runner.ask(&machine(user));
        }
        let answer = self.runner.ask(argv);
        match (answer, user) {
            (Err(failure), Some(user)) if systemd::has_no_bus(&failure) => match self.runner.ask(&machine(user)) {
                Ok(text) => {
                    self.by_machine.set(true);
                    Ok(text)
                }
                Err(_) => Err(failure),
            },
            (answer, _) => answer,
        }
    }

    /// Where its lines go besides the log file.
    pub fn log_hint(&self) -> String {
        match self.manager {
            Manager::SystemdUser => format!("journalctl --user -u {} -n 200 --no-pager", self.spec.unit_name()),
            Manager::SystemdSystem => format!("journalctl -u {} -n 200 --no-pager", self.spec.unit_name()),
            Manager::Procd => format!("logread -e {}", self.name()),
            Manager::OpenRc => "the log file above".into(),
            Manager::Launchd => self.spec.state_dir.join("logs/gateway.err.log").display().to_string(),
            Manager::Schtasks if self.is_login_item() => "the log file above".into(),
            Manager::Schtasks => format!("schtasks /Query /TN \"{}\" /V /FO LIST", self.spec.task_name()),
        }
    }

    /// How a person would start it without us.
    pub fn start_hint(&self) -> String {
        match self.manager {
            Manager::SystemdUser => format!("systemctl --user start {}", self.spec.unit_name()),
            Manager::SystemdSystem => format!("sudo systemctl start {}", self.spec.unit_name()),
            Manager::Procd | Manager::OpenRc => format!("{} start", self.script()),
            Manager::Launchd => format!("launchctl bootstrap gui/{} {}", self.spec.uid, self.script()),
            Manager::Schtasks => format!("schtasks /Run /TN \"{}\"", self.spec.task_name()),
        }
    }
}
