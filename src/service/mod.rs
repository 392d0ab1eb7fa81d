//! The gateway as a service of this machine: what is written and run for each service manager, and what it says back.
//!
//! A plan is pure: files with their modes and commands with their arguments, text under golden tests. One runner
//! carries plans out. Used by commands on their main thread; the gateway itself never looks here.

pub mod audit;
mod launchd;
pub mod legacy;
pub mod linger;
mod openrc;
mod procd;
mod runner;
pub mod scan;
mod schtasks;
mod systemd;
pub mod unit;

use std::cell::{Cell, OnceCell};
use std::path::{Path, PathBuf};

pub use runner::Failure;
use runner::Runner;

use crate::protocol::COMPAT_VERSION;
use crate::server::lock;

/// Who looks after services on this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manager {
    /// The service manager of the user; also where there is none at all, with its texts (cli 5.6).
    SystemdUser,
    SystemdSystem,
    Procd,
    OpenRc,
    Launchd,
    Schtasks,
}

/// What decides which manager it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Host {
    /// As in `std::env::consts::OS`.
    pub os: String,
    /// systemd is the running init, or its tool is at hand.
    pub systemctl: bool,
    /// `/sbin/procd` and `/etc/rc.common`.
    pub procd: bool,
    pub openrc: bool,
}

/// Whom to ask; `system` is `--system`.
pub fn choose(host: &Host, system: bool) -> Manager {
    match host.os.as_str() {
        "macos" => Manager::Launchd,
        "windows" => Manager::Schtasks,
        _ if host.procd => Manager::Procd,
        // A systemd machine may have the tools of OpenRC installed, not the other way round.
        _ if host.openrc && !host.systemctl => Manager::OpenRc,
        _ if system => Manager::SystemdSystem,
        _ => Manager::SystemdUser,
    }
}

impl Manager {
    pub fn label(self) -> &'static str {
        match self {
            Manager::SystemdUser | Manager::SystemdSystem => "systemd",
            Manager::Procd => "procd",
            Manager::OpenRc => "OpenRC",
            Manager::Launchd => "LaunchAgent",
            Manager::Schtasks => "Scheduled Task",
        }
    }

    /// In `Installed … : <path>`.
    pub fn noun(self) -> &'static str {
        match self {
            Manager::SystemdUser | Manager::SystemdSystem => "systemd service",
            Manager::Procd => "procd service",
            Manager::OpenRc => "OpenRC service",
            Manager::Launchd => "LaunchAgent",
            Manager::Schtasks => "Scheduled Task",
        }
    }

    pub fn loaded_text(self) -> &'static str {
        match self {
            Manager::Launchd => "loaded",
            Manager::Schtasks => "registered",
            _ => "enabled",
        }
    }

    pub fn not_loaded_text(self) -> &'static str {
        match self {
            Manager::Launchd => "not loaded",
            Manager::Schtasks => "missing",
            _ => "disabled",
        }
    }

    pub fn is_systemd(self) -> bool {
        matches!(self, Manager::SystemdUser | Manager::SystemdSystem)
    }
}

/// Everything that a plan is made of. No secret is among it (R26): the service reads its token from the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spec {
    /// Absolute path of this program.
    pub program: String,
    pub port: u16,
    pub profile: Option<String>,
    pub home: PathBuf,
    pub state_dir: PathBuf,
    pub config_path: PathBuf,
    /// `%APPDATA%` of Windows.
    pub app_data: Option<PathBuf>,
    /// Who runs the service, where a system-wide manager has to be told.
    pub user: String,
    pub uid: u32,
    /// Variables of the caller that the service needs, too: TMPDIR, the paths, the proxies.
    pub env: Vec<(String, String)>,
    /// OPENCLAW_SYSTEMD_UNIT, OPENCLAW_LAUNCHD_LABEL, OPENCLAW_WINDOWS_TASK_NAME: other names than ours.
    pub unit: Option<String>,
    pub label: Option<String>,
    pub task: Option<String>,
    /// Before every absolute path of the system; empty but in tests.
    pub root: PathBuf,
}

impl Spec {
    /// `openclaw-gateway`, `openclaw-gateway-rescue`.
    fn service_name(&self) -> String {
        match &self.profile {
            Some(profile) => format!("openclaw-gateway-{profile}"),
            None => "openclaw-gateway".into(),
        }
    }

    /// With `.service` (cli 5.1).
    pub fn unit_name(&self) -> String {
        let name = self.unit.clone().unwrap_or_else(|| self.service_name());
        if name.ends_with(".service") { name } else { format!("{name}.service") }
    }

    /// What the unit of this profile is called where a template of a package makes it.
    pub fn instance_name(&self) -> Option<String> {
        let profile = self.profile.as_ref().filter(|_| self.unit.is_none());
        profile.map(|profile| format!("openclaw-gateway@{profile}.service"))
    }

    pub fn launchd_label(&self) -> String {
        let own =
            || self.profile.as_ref().map_or("ai.openclaw.gateway".into(), |profile| format!("ai.openclaw.{profile}"));
        self.label.clone().unwrap_or_else(own)
    }

    pub fn task_name(&self) -> String {
        let own = || {
            self.profile.as_ref().map_or("OpenClaw Gateway".into(), |profile| format!("OpenClaw Gateway ({profile})"))
        };
        self.task.clone().unwrap_or_else(own)
    }

    fn description(&self) -> String {
        match &self.profile {
            Some(profile) => format!("OpenClaw Gateway (profile: {profile}, v{COMPAT_VERSION})"),
            None => format!("OpenClaw Gateway (v{COMPAT_VERSION})"),
        }
    }

    fn arguments(&self) -> Vec<String> {
        vec![self.program.clone(), "gateway".into(), "--port".into(), self.port.to_string()]
    }

    fn var(&self, name: &str) -> Option<String> {
        self.env.iter().find(|(own, _)| own == name).map(|(_, value)| value.clone())
    }

    /// The environment of the service in the order of cli 5.2. `private`: nobody else can read the file.
    fn environment(&self, manager: Manager, private: bool) -> Vec<(String, String)> {
        let mut out = vec![("HOME".to_owned(), self.home.display().to_string())];
        let mut set = |name: &str, value: String| out.push((name.to_owned(), value));
        // Windows has its own names for such a place.
        let default = (manager != Manager::Schtasks).then(|| "/tmp".to_owned());
        if let Some(dir) = self.var("TMPDIR").or(default) {
            set("TMPDIR", dir);
        }
        for name in PROXIES {
            // A password for a proxy is none of the business of others on this machine.
            if let Some(value) = self.var(name).filter(|value| private || !value.contains('@')) {
                set(name, value);
            }
        }
        for name in ["OPENCLAW_STATE_DIR", "OPENCLAW_CONFIG_PATH"] {
            if let Some(value) = self.var(name) {
                set(name, value);
            }
        }
        set("PATH", path(manager, &self.home).join(":"));
        if let Some(profile) = &self.profile {
            set("OPENCLAW_PROFILE", profile.clone());
        }
        set("OPENCLAW_GATEWAY_PORT", self.port.to_string());
        match manager {
            Manager::Launchd => set("OPENCLAW_LAUNCHD_LABEL", self.launchd_label()),
            Manager::SystemdUser | Manager::SystemdSystem => set("OPENCLAW_SYSTEMD_UNIT", self.unit_name()),
            _ => {}
        }
        if !matches!(manager, Manager::Procd | Manager::OpenRc) {
            set("OPENCLAW_WINDOWS_TASK_NAME", self.task_name());
        }
        set("OPENCLAW_SERVICE_MARKER", "openclaw".into());
        set("OPENCLAW_SERVICE_KIND", "gateway".into());
        set("OPENCLAW_SERVICE_VERSION", COMPAT_VERSION.into());
        out
    }

    /// A path of the system, below the root of a test.
    fn system(&self, path: &str) -> PathBuf {
        if self.root.as_os_str().is_empty() { path.into() } else { self.root.join(path.trim_start_matches('/')) }
    }
}

/// Variables for web proxies, both spellings.
pub const PROXIES: [&str; 8] =
    ["HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "no_proxy", "all_proxy"];
const USER_DIRS: [&str; 9] = [
    ".local/bin",
    ".npm-global/bin",
    "bin",
    ".volta/bin",
    ".asdf/shims",
    ".bun/bin",
    ".nvm/current/bin",
    ".fnm/current/bin",
    ".local/share/pnpm",
];

/// Never the caller's PATH: what a terminal happens to have is no base for a service (cli 5.2).
fn path(manager: Manager, home: &Path) -> Vec<String> {
    let own = USER_DIRS.iter().map(|dir| home.join(dir).display().to_string());
    own.chain(system_dirs(manager).iter().map(|dir| (*dir).to_owned())).collect()
}

/// Where the programs of this system are.
fn system_dirs(manager: Manager) -> &'static [&'static str] {
    match manager {
        // Most of what people install on a Mac is Homebrew's.
        Manager::Launchd => &["/opt/homebrew/bin", "/usr/local/bin", "/usr/bin", "/bin"],
        _ => &["/usr/local/bin", "/usr/bin", "/bin"],
    }
}

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
    fn run(argv: &[&str]) -> Step {
        Step::Run(words(argv))
    }

    fn attempt(argv: &[&str]) -> Step {
        Step::Try(words(argv))
    }
}

fn words(argv: &[&str]) -> Vec<String> {
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

/// What a manager says about the process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Runtime {
    /// `running`, `stopped` or `unknown`.
    pub status: &'static str,
    pub state: Option<String>,
    pub sub_state: Option<String>,
    pub pid: Option<u32>,
    pub last_exit_status: Option<i64>,
    pub last_exit_reason: Option<String>,
    pub detail: Option<String>,
    /// There is no such service.
    pub missing: bool,
}

impl Runtime {
    fn unknown(detail: impl Into<String>) -> Runtime {
        Runtime { status: "unknown", detail: Some(detail.into()), ..Runtime::default() }
    }

    fn missing() -> Runtime {
        Runtime { status: "stopped", detail: Some("not installed".into()), missing: true, ..Runtime::default() }
    }

    /// `running (pid 4242, state active, sub running, last exit 0, reason 0)`
    pub fn line(&self) -> String {
        let mut parts = Vec::new();
        let mut part = |name: &str, value: Option<String>| parts.extend(value.map(|value| format!("{name} {value}")));
        part("pid", self.pid.map(|pid| pid.to_string()));
        part("state", self.state.clone());
        part("sub", self.sub_state.clone());
        part("last exit", self.last_exit_status.map(|status| status.to_string()));
        part("reason", self.last_exit_reason.clone());
        parts.extend(self.detail.clone());
        if parts.is_empty() { self.status.into() } else { format!("{} ({})", self.status, parts.join(", ")) }
    }
}

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
        let mut done = Done::default();
        for step in &steps {
            self.runner.step(step, &mut done, &|argv| self.ask(argv))?;
        }
        Ok(done)
    }

    /// Runs a command of the manager; its standard output. Where the user's manager has no bus for us, the call is
    /// repeated through the machine (cli 5.2).
    fn ask(&self, argv: &[String]) -> Result<String, Failure> {
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

    /// How a person would remove it without us.
    pub fn cleanup_hints(&self) -> Vec<String> {
        let file = self.script();
        match self.manager {
            Manager::SystemdUser => {
                vec![format!("systemctl --user disable --now {}", self.spec.unit_name()), format!("rm {file}")]
            }
            Manager::SystemdSystem => {
                vec![format!("sudo systemctl disable --now {}", self.spec.unit_name()), format!("sudo rm {file}")]
            }
            Manager::Procd => vec![format!("{file} disable"), format!("{file} stop"), format!("rm {file}")],
            Manager::OpenRc => vec![format!("rc-update del {} default", self.name()), format!("rm {file}")],
            Manager::Launchd => vec![
                format!("launchctl bootout gui/{}/{}", self.spec.uid, self.spec.launchd_label()),
                format!("rm {file}"),
            ],
            Manager::Schtasks if self.is_login_item() => {
                vec![format!("del \"{}\"", schtasks::login_item(&self.spec).display())]
            }
            Manager::Schtasks => vec![format!("schtasks /Delete /TN \"{}\" /F", self.spec.task_name())],
        }
    }
}

/// In every start script of ours.
const MADE_BY: &str = "made by \"openclaw gateway install\"";

/// What this machine has; `root` stands before system paths in tests.
pub fn look_at_host(root: &Path) -> Host {
    let has = |path: &str| root.join(path).exists();
    let root_is_real = root.as_os_str().is_empty() || root == Path::new("/");
    let has = |path: &str| if root_is_real { Path::new("/").join(path).exists() } else { has(path) };
    Host {
        os: std::env::consts::OS.into(),
        systemctl: has("run/systemd/system") || runner::find("systemctl").is_some(),
        procd: has("sbin/procd") && has("etc/rc.common"),
        openrc: has("sbin/openrc-run") || has("sbin/rc-service"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn spec() -> Spec {
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
    fn who_looks_after_services() {
        let host = |os: &str, systemctl, procd, openrc| Host { os: os.into(), systemctl, procd, openrc };
        for (host, system, manager) in [
            (host("linux", true, false, false), false, Manager::SystemdUser),
            (host("linux", true, false, false), true, Manager::SystemdSystem),
            (host("linux", true, false, true), false, Manager::SystemdUser),
            (host("linux", false, false, false), false, Manager::SystemdUser),
            (host("linux", false, true, false), false, Manager::Procd),
            (host("linux", false, false, true), true, Manager::OpenRc),
            (host("macos", false, false, false), true, Manager::Launchd),
            (host("windows", false, false, false), false, Manager::Schtasks),
        ] {
            assert_eq!(choose(&host, system), manager, "{host:?}");
        }
    }

    #[test]
    fn the_line_about_the_process() {
        let running = Runtime {
            status: "running",
            state: Some("active".into()),
            sub_state: Some("running".into()),
            pid: Some(4242),
            last_exit_status: Some(0),
            last_exit_reason: Some("0".into()),
            ..Runtime::default()
        };
        assert_eq!(running.line(), "running (pid 4242, state active, sub running, last exit 0, reason 0)");
        assert_eq!(Runtime::unknown("why").line(), "unknown (why)");
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
