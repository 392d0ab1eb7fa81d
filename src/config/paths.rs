//! Where everything lies: home, state directory, configuration file, credentials, workspace, profile and port
//! (config A1, cli 2.1–2.3, DECISIONS 66, 72). Pure: asks a [`Source`], creates nothing.

use std::fmt;
use std::path::{Component, Path, PathBuf};

use super::source::{PROGRAM, Source};

pub const DEFAULT_PORT: u16 = 18789;
/// Port of the dev profile, unless the environment says otherwise.
pub const DEV_PORT: u16 = 19001;

/// State directories below home, the present name first.
pub const STATE_NAMES: [&str; 4] = [".openclaw", ".clawdbot", ".moldbot", ".moltbot"];
/// Configuration files in a state directory, the present name first.
pub const CONFIG_NAMES: [&str; 4] = ["openclaw.json", "clawdbot.json", "moldbot.json", "moltbot.json"];

/// What the global flags said; they are read before anything else.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Overrides {
    /// `--profile <name>`; `Some("")` when the value is missing.
    pub profile: Option<String>,
    /// Global `--dev`.
    pub dev: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Paths {
    pub home: PathBuf,
    pub state_dir: PathBuf,
    pub config_path: PathBuf,
    pub credentials_dir: PathBuf,
    /// The active profile; None for the default one.
    pub profile: Option<String>,
    /// Workspace of the default agent unless the configuration names one.
    pub workspace: PathBuf,
    /// The name by which the program was started, for the commands that it suggests.
    pub program: &'static str,
    /// The profile came from a global flag: the variables a child process must get to see the same paths.
    pub exports: Vec<(&'static str, String)>,
}

/// A global flag that cannot be obeyed; the command ends with exit code 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathError {
    DevWithProfile,
    ProfileWithoutValue,
    ProfileName,
    NoHome,
}

/// Where the port came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortOrigin {
    Flag,
    Environment,
    Config,
    Default,
}

impl fmt::Display for PathError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PathError::DevWithProfile => "Cannot combine --dev with --profile",
            PathError::ProfileWithoutValue => "--profile requires a value",
            PathError::ProfileName => r#"Invalid --profile (use letters, numbers, "_", "-" only)"#,
            PathError::NoHome => "No home directory: set HOME or OPENCLAW_HOME",
        })
    }
}

impl std::error::Error for PathError {}

impl Paths {
    /// Looks everything up; the order of each search is that of config A1.
    pub fn resolve(source: &dyn Source, overrides: &Overrides) -> Result<Paths, PathError> {
        let flag = profile_flag(overrides)?;
        let home = home(source)?;
        let at = |text: &str| absolute(source, &home, text);
        let mut exports = Vec::new();

        let mut state_override = first_var(source, &["OPENCLAW_STATE_DIR", "CLAWDBOT_STATE_DIR"]).map(|d| at(&d));
        let mut config_override = first_var(source, &["OPENCLAW_CONFIG_PATH", "CLAWDBOT_CONFIG_PATH"]).map(|p| at(&p));
        if let Some(name) = &flag {
            let state = first_var(source, &["OPENCLAW_STATE_DIR"])
                .map_or_else(|| home.join(profile_dir(Some(name.as_str()))), |d| at(&d));
            let config =
                first_var(source, &["OPENCLAW_CONFIG_PATH"]).map_or_else(|| state.join(CONFIG_NAMES[0]), |p| at(&p));
            exports.push(("OPENCLAW_PROFILE", name.clone()));
            exports.push(("OPENCLAW_STATE_DIR", state.display().to_string()));
            exports.push(("OPENCLAW_CONFIG_PATH", config.display().to_string()));
            if name == "dev" && first_var(source, &["OPENCLAW_GATEWAY_PORT"]).is_none() {
                exports.push(("OPENCLAW_GATEWAY_PORT", DEV_PORT.to_string()));
            }
            state_override = Some(state);
            config_override = Some(config);
        }
        let profile = flag
            .or_else(|| first_var(source, &["OPENCLAW_PROFILE"]).filter(|p| valid_profile(p)))
            .filter(|p| !p.eq_ignore_ascii_case("default"));

        let state_dir = state_override.clone().unwrap_or_else(|| find_state_dir(source, &home));
        let config_path =
            config_override.unwrap_or_else(|| find_config(source, &home, state_override.as_deref(), &state_dir));
        let credentials_dir =
            first_var(source, &["OPENCLAW_OAUTH_DIR"]).map_or_else(|| state_dir.join("credentials"), |d| at(&d));
        let workspace = find_workspace(source, &home, &state_dir, profile.as_deref());
        Ok(Paths {
            home,
            state_dir,
            config_path,
            credentials_dir,
            profile,
            workspace,
            program: source.program(),
            exports,
        })
    }

    /// `--port`, `OPENCLAW_GATEWAY_PORT`, `CLAWDBOT_GATEWAY_PORT`, `gateway.port`, 18789. A variable that is no port
    /// is ignored.
    pub fn port(&self, source: &dyn Source, flag: Option<u16>, configured: Option<u16>) -> (u16, PortOrigin) {
        let from_env = || {
            let named = ["OPENCLAW_GATEWAY_PORT", "CLAWDBOT_GATEWAY_PORT"];
            let exported = self.exports.iter().find(|(name, _)| *name == named[0]).map(|(_, value)| value.clone());
            source.var(named[0]).filter(|v| !v.trim().is_empty()).or(exported).or_else(|| source.var(named[1]))
        };
        if let Some(port) = flag {
            (port, PortOrigin::Flag)
        } else if let Some(port) = from_env().and_then(|text| text.trim().parse().ok()).filter(|port| *port > 0) {
            (port, PortOrigin::Environment)
        } else if let Some(port) = configured {
            (port, PortOrigin::Config)
        } else {
            (DEFAULT_PORT, PortOrigin::Default)
        }
    }

    /// The path for human eyes: `~` for the home directory.
    pub fn tilde(&self, path: &Path) -> String {
        match path.strip_prefix(&self.home) {
            Ok(rest) if rest.as_os_str().is_empty() => "~".into(),
            Ok(rest) => format!("~{}{}", std::path::MAIN_SEPARATOR, rest.display()),
            Err(_) => path.display().to_string(),
        }
    }

    /// `~` at the start of a path from the configuration.
    pub fn expand(&self, text: &str) -> PathBuf {
        expand_tilde(&self.home, text)
    }

    /// A command that we suggest, or a text with such commands in it, by the name that the program was started with and
    /// with the active profile: `openclaw gateway install` → `openclaw --profile rescue gateway install`.
    pub fn with_profile(&self, text: &str) -> String {
        let profile = self.profile.as_ref().map(|name| format!(" --profile {name}")).unwrap_or_default();
        replace_commands(text, |rest| {
            let named = rest.starts_with(" --profile ");
            format!("{}{}", self.program, if named { "" } else { &profile })
        })
    }

    /// Workspace of `gateway --dev`: the default one, with `-dev` unless the profile is `dev` already (cli 3.6).
    pub fn dev_workspace(&self) -> PathBuf {
        if self.profile.as_deref() == Some("dev") {
            return self.workspace.clone();
        }
        let mut name = self.workspace.file_name().unwrap_or_default().to_os_string();
        name.push("-dev");
        self.workspace.with_file_name(name)
    }

    /// Workspace of an agent that names none: the default agent's is [`Paths::workspace`].
    pub fn agent_workspace(&self, id: &str, is_default: bool) -> PathBuf {
        if is_default { self.workspace.clone() } else { self.state_dir.join(format!("workspace-{id}")) }
    }
}

/// Letters, digits, `_` and `-`, at most 64, not starting with `_` or `-`.
pub fn valid_profile(name: &str) -> bool {
    let bytes = name.as_bytes();
    (1..=64).contains(&bytes.len())
        && bytes[0].is_ascii_alphanumeric()
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
}

/// The commands in a text by the name that the program was started with.
pub fn named(text: &str, program: &str) -> String {
    replace_commands(text, |_| program.to_owned())
}

/// Puts something else in place of `openclaw` where it is a command: a word of its own. `by` sees what follows.
fn replace_commands(text: &str, by: impl Fn(&str) -> String) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(PROGRAM) {
        let (before, from) = rest.split_at(at);
        let after = &from[PROGRAM.len()..];
        out.push_str(before);
        let starts = out.chars().next_back().is_none_or(|c| c.is_whitespace() || "\"'`(".contains(c));
        let ends = after.is_empty() || after.starts_with([' ', '"', '`', '\n']);
        out.push_str(&if starts && ends { by(after) } else { PROGRAM.to_owned() });
        rest = after;
    }
    out.push_str(rest);
    out
}

/// `~`, `~/…` → below `home`; anything else as it is.
pub fn expand_tilde(home: &Path, text: &str) -> PathBuf {
    match text.strip_prefix('~') {
        Some("") => home.to_path_buf(),
        Some(rest) if rest.starts_with(['/', '\\']) => home.join(rest.trim_start_matches(['/', '\\'])),
        _ => PathBuf::from(text),
    }
}

/// Without `.` and `..`, by text alone: `/a/b/../c` → `/a/c`.
pub fn normalize(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                if !out.pop() {
                    out.push(part);
                }
            }
            _ => out.push(part),
        }
    }
    out
}

fn profile_flag(overrides: &Overrides) -> Result<Option<String>, PathError> {
    match (&overrides.profile, overrides.dev) {
        (Some(_), true) => Err(PathError::DevWithProfile),
        (None, true) => Ok(Some("dev".into())),
        (None, false) => Ok(None),
        (Some(name), false) if name.trim().is_empty() => Err(PathError::ProfileWithoutValue),
        (Some(name), false) if !valid_profile(name) => Err(PathError::ProfileName),
        (Some(name), false) => Ok(Some(name.clone())),
    }
}

fn home(source: &dyn Source) -> Result<PathBuf, PathError> {
    let system = first_var(source, &["HOME", "USERPROFILE"]).map(PathBuf::from);
    match first_var(source, &["OPENCLAW_HOME"]) {
        None => system.map(|h| absolute(source, Path::new("/"), &h.to_string_lossy())).ok_or(PathError::NoHome),
        Some(text) if text.starts_with('~') => Ok(expand_tilde(&system.ok_or(PathError::NoHome)?, &text)),
        Some(text) => Ok(absolute(source, Path::new("/"), &text)),
    }
}

fn absolute(source: &dyn Source, home: &Path, text: &str) -> PathBuf {
    let path = expand_tilde(home, text);
    normalize(&if path.is_absolute() { path } else { source.current_dir().unwrap_or_default().join(path) })
}

/// The first of these variables that is set and not blank, trimmed.
fn first_var(source: &dyn Source, names: &[&str]) -> Option<String> {
    names.iter().filter_map(|name| source.var(name)).map(|v| v.trim().to_owned()).find(|v| !v.is_empty())
}

fn profile_dir(profile: Option<&str>) -> String {
    match profile {
        Some(name) if !name.eq_ignore_ascii_case("default") => format!("{}-{name}", STATE_NAMES[0]),
        _ => STATE_NAMES[0].into(),
    }
}

fn find_state_dir(source: &dyn Source, home: &Path) -> PathBuf {
    let present = STATE_NAMES.iter().map(|name| home.join(name)).find(|dir| source.exists(dir));
    present.unwrap_or_else(|| home.join(STATE_NAMES[0]))
}

fn find_config(source: &dyn Source, home: &Path, state_override: Option<&Path>, state_dir: &Path) -> PathBuf {
    let dirs: Vec<PathBuf> = match state_override {
        Some(dir) => vec![dir.to_path_buf()],
        None => STATE_NAMES.iter().map(|name| home.join(name)).collect(),
    };
    let mut candidates = dirs.iter().flat_map(|dir| CONFIG_NAMES.iter().map(|name| dir.join(name)));
    candidates.find(|path| source.exists(path)).unwrap_or_else(|| state_dir.join(CONFIG_NAMES[0]))
}

/// DECISIONS 66. The reference's place when it is there or when the state directory is the usual one.
fn find_workspace(source: &dyn Source, home: &Path, state_dir: &Path, profile: Option<&str>) -> PathBuf {
    let name = profile.map_or_else(|| "workspace".to_owned(), |p| format!("workspace-{p}"));
    let usual = home.join(STATE_NAMES[0]).join(name);
    if state_dir == home.join(profile_dir(profile)) || source.exists(&usual) {
        usual
    } else {
        state_dir.join("workspace")
    }
}

#[cfg(test)]
mod tests {
    use super::super::source::MemorySource;
    use super::*;

    fn home_source() -> MemorySource {
        MemorySource::new().with_var("HOME", "/home/u")
    }

    fn resolve(source: &MemorySource) -> Paths {
        Paths::resolve(source, &Overrides::default()).unwrap()
    }

    fn profile(source: &MemorySource, name: &str) -> Paths {
        Paths::resolve(source, &Overrides { profile: Some(name.into()), dev: false }).unwrap()
    }

    #[test]
    fn flag_errors() {
        let table = [
            (Some("x"), true, PathError::DevWithProfile, "Cannot combine --dev with --profile"),
            (Some(""), false, PathError::ProfileWithoutValue, "--profile requires a value"),
            (Some("a b"), false, PathError::ProfileName, r#"Invalid --profile (use letters, numbers, "_", "-" only)"#),
            (Some("../x"), false, PathError::ProfileName, r#"Invalid --profile (use letters, numbers, "_", "-" only)"#),
            (Some("-x"), false, PathError::ProfileName, r#"Invalid --profile (use letters, numbers, "_", "-" only)"#),
        ];
        for (name, dev, error, text) in table {
            let overrides = Overrides { profile: name.map(str::to_owned), dev };
            assert_eq!(Paths::resolve(&home_source(), &overrides), Err(error), "{name:?}");
            assert_eq!(error.to_string(), text);
        }
        assert!(valid_profile("Rescue_2-x") && valid_profile(&"a".repeat(64)) && !valid_profile(&"a".repeat(65)));
        assert_eq!(Paths::resolve(&MemorySource::new(), &Overrides::default()), Err(PathError::NoHome));
    }

    #[test]
    fn state_dir_order() {
        let table: [(MemorySource, &str, &str); 8] = [
            (home_source(), "/home/u/.openclaw", "/home/u/.openclaw/openclaw.json"),
            (home_source().with_dir("/home/u/.moltbot"), "/home/u/.moltbot", "/home/u/.moltbot/openclaw.json"),
            (
                home_source().with_dir("/home/u/.openclaw").with_file("/home/u/.clawdbot/clawdbot.json", "{}"),
                "/home/u/.openclaw",
                "/home/u/.clawdbot/clawdbot.json",
            ),
            (
                home_source().with_file("/home/u/.openclaw/moltbot.json", "{}"),
                "/home/u/.openclaw",
                "/home/u/.openclaw/moltbot.json",
            ),
            (
                home_source().with_var("OPENCLAW_STATE_DIR", " /s ").with_var("CLAWDBOT_STATE_DIR", "/t"),
                "/s",
                "/s/openclaw.json",
            ),
            (
                home_source().with_var("CLAWDBOT_STATE_DIR", "~/t").with_file("/home/u/t/clawdbot.json", "{}"),
                "/home/u/t",
                "/home/u/t/clawdbot.json",
            ),
            (home_source().with_var("OPENCLAW_CONFIG_PATH", "~/c.json"), "/home/u/.openclaw", "/home/u/c.json"),
            (
                home_source().with_var("OPENCLAW_HOME", "~/h"),
                "/home/u/h/.openclaw",
                "/home/u/h/.openclaw/openclaw.json",
            ),
        ];
        for (source, state, config) in table {
            let paths = resolve(&source);
            assert_eq!((paths.state_dir.to_str(), paths.config_path.to_str()), (Some(state), Some(config)));
            assert_eq!(paths.credentials_dir, paths.state_dir.join("credentials"));
        }
        let relative = MemorySource { current_dir: Some("/cwd".into()), ..home_source() };
        let paths = resolve(&relative.with_var("OPENCLAW_STATE_DIR", "x/../y").with_var("OPENCLAW_OAUTH_DIR", "o"));
        assert_eq!(paths.state_dir, Path::new("/cwd/y"));
        assert_eq!(paths.credentials_dir, Path::new("/cwd/o"));
    }

    #[test]
    fn profiles() {
        let paths = profile(&home_source(), "rescue");
        assert_eq!(paths.state_dir, Path::new("/home/u/.openclaw-rescue"));
        assert_eq!(paths.config_path, Path::new("/home/u/.openclaw-rescue/openclaw.json"));
        assert_eq!(paths.workspace, Path::new("/home/u/.openclaw/workspace-rescue"));
        assert_eq!(paths.with_profile("openclaw gateway install"), "openclaw --profile rescue gateway install");
        for (text, want) in [
            ("openclaws x", "openclaws x"),
            ("openclaw", "openclaw --profile rescue"),
            ("openclaw --profile rescue x", "openclaw --profile rescue x"),
            (
                "Run \"openclaw doctor\" (openclaw logs).",
                "Run \"openclaw --profile rescue doctor\" (openclaw --profile rescue logs).",
            ),
            ("~/.openclaw and /usr/bin/openclaw stay", "~/.openclaw and /usr/bin/openclaw stay"),
        ] {
            assert_eq!(paths.with_profile(text), want);
        }
        let old = profile(&MemorySource { program: Some("moltbot"), ..home_source() }, "rescue");
        assert_eq!(old.with_profile("openclaw x"), "moltbot --profile rescue x");
        assert_eq!(named("openclaw x ~/.openclaw/openclaw.json", "clawdbot"), "clawdbot x ~/.openclaw/openclaw.json");
        assert_eq!(paths.port(&home_source(), None, Some(1)), (1, PortOrigin::Config));

        let default = profile(&home_source(), "default");
        assert_eq!((default.state_dir.to_str(), &default.profile), (Some("/home/u/.openclaw"), &None));
        assert_eq!(default.with_profile("openclaw x"), "openclaw x");

        let dev = Paths::resolve(&home_source(), &Overrides { profile: None, dev: true }).unwrap();
        assert_eq!(dev.state_dir, Path::new("/home/u/.openclaw-dev"));
        assert_eq!(dev.workspace, Path::new("/home/u/.openclaw/workspace-dev"));
        assert_eq!(dev.dev_workspace(), dev.workspace);
        assert_eq!(dev.port(&home_source(), None, Some(1)), (DEV_PORT, PortOrigin::Environment));

        let held =
            profile(&home_source().with_var("OPENCLAW_STATE_DIR", "/s").with_var("CLAWDBOT_CONFIG_PATH", "/c"), "p");
        assert_eq!((held.state_dir.to_str(), held.config_path.to_str()), (Some("/s"), Some("/s/openclaw.json")));
        let from_env = resolve(&home_source().with_var("OPENCLAW_PROFILE", "p"));
        assert_eq!(from_env.state_dir, Path::new("/home/u/.openclaw"));
        assert_eq!(from_env.profile.as_deref(), Some("p"));
    }

    #[test]
    fn workspaces() {
        let table = [
            (home_source(), "/home/u/.openclaw/workspace", "/home/u/.openclaw/workspace-dev"),
            (home_source().with_var("OPENCLAW_STATE_DIR", "/s"), "/s/workspace", "/s/workspace-dev"),
            (
                home_source().with_var("OPENCLAW_STATE_DIR", "/s").with_dir("/home/u/.openclaw/workspace"),
                "/home/u/.openclaw/workspace",
                "/home/u/.openclaw/workspace-dev",
            ),
            (
                home_source().with_dir("/home/u/.clawdbot"),
                "/home/u/.clawdbot/workspace",
                "/home/u/.clawdbot/workspace-dev",
            ),
        ];
        for (source, workspace, dev) in table {
            let paths = resolve(&source);
            assert_eq!((paths.workspace.to_str(), paths.dev_workspace().to_str()), (Some(workspace), Some(dev)));
        }
        let paths = resolve(&home_source());
        assert_eq!(paths.agent_workspace("ops", false), Path::new("/home/u/.openclaw/workspace-ops"));
        assert_eq!(paths.agent_workspace("main", true), paths.workspace);
    }

    #[test]
    fn port_order() {
        use PortOrigin::*;
        let both = home_source().with_var("OPENCLAW_GATEWAY_PORT", "2").with_var("CLAWDBOT_GATEWAY_PORT", "3");
        let old = home_source().with_var("CLAWDBOT_GATEWAY_PORT", " 3 ");
        let bad = home_source().with_var("OPENCLAW_GATEWAY_PORT", "abc");
        let zero = home_source().with_var("OPENCLAW_GATEWAY_PORT", "0");
        let table = [
            (&both, Some(1), Some(4), (1, Flag)),
            (&both, None, Some(4), (2, Environment)),
            (&old, None, Some(4), (3, Environment)),
            (&bad, None, Some(4), (4, Config)),
            (&zero, None, None, (DEFAULT_PORT, Default)),
        ];
        for (source, flag, configured, expected) in table {
            assert_eq!(resolve(source).port(source, flag, configured), expected);
        }
    }

    #[test]
    fn tilde_and_back() {
        let paths = resolve(&home_source());
        for (path, shown) in [("/home/u/x/y", "~/x/y"), ("/home/u", "~"), ("/home/ux", "/home/ux"), ("/etc", "/etc")] {
            assert_eq!(paths.tilde(Path::new(path)), shown);
            assert_eq!(paths.expand(shown), Path::new(path));
        }
    }
}
