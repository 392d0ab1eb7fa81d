//! Services under the names that the program had before (cli 5.1): found by their files, stopped and taken away.

use std::path::{Path, PathBuf};

use super::{Failure, Service, Step, words};
use crate::store::atomic;

const OLD_UNITS: [&str; 2] = ["clawdbot-gateway.service", "moltbot-gateway.service"];

/// What describes them; `config_home` is where units of this user are.
pub fn files(home: &Path, config_home: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = OLD_UNITS.iter().map(|unit| config_home.join("systemd/user").join(unit)).collect();
    files.retain(|path| path.symlink_metadata().is_ok());
    let agents = std::fs::read_dir(home.join("Library/LaunchAgents")).into_iter().flatten().flatten();
    files.extend(agents.map(|entry| entry.path()).filter(|path| is_old_agent(path)));
    files
}

/// A launchd file of one of our old labels.
fn is_old_agent(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let old = |label: &str| {
        ["clawdbot", "moltbot"].iter().any(|old| label.contains(old))
            || ["bot.molt.", "com.openclaw."].iter().any(|lead| label.starts_with(lead))
    };
    name.strip_suffix(".plist").is_some_and(old)
}

impl Service {
    /// Stops one and removes its file. Without a service manager nothing runs under it, and the file is all there is;
    /// a manager that does not answer keeps it.
    pub fn remove_old(&self, file: &Path) -> Result<(), Failure> {
        let (stop, rest) = removal(file);
        if let Err(failure @ Failure::TimedOut(_)) = self.ask(&stop) {
            return Err(failure);
        }
        self.carry_out(&rest).map(drop)
    }
}

/// What stops it, and what follows.
fn removal(file: &Path) -> (Vec<String>, Vec<Step>) {
    let remove = Step::Remove(file.to_owned());
    if file.extension().is_some_and(|end| end == "plist") {
        return (words(&["launchctl", "unload", "-w", &file.to_string_lossy()]), vec![remove]);
    }
    let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    // Where nobody could disable it.
    let wanted = Step::Remove(atomic::parent(file).join("default.target.wants").join(&name));
    let reload = Step::attempt(&["systemctl", "--user", "daemon-reload"]);
    (words(&["systemctl", "--user", "disable", "--now", &name]), vec![remove, wanted, reload])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_of_old_agents() {
        for (name, old) in [
            ("com.clawdbot.gateway.plist", true),
            ("bot.molt.gateway.plist", true),
            ("ai.moltbot.rescue.plist", true),
            ("com.openclaw.gateway.plist", true),
            ("ai.openclaw.gateway.plist", false),
            ("com.clawdbot.gateway.txt", false),
        ] {
            assert_eq!(is_old_agent(&Path::new("/x").join(name)), old, "{name}");
        }
    }

    #[test]
    fn how_they_go() {
        let (stop, rest) = removal(Path::new("/u/moltbot-gateway.service"));
        assert_eq!(stop, ["systemctl", "--user", "disable", "--now", "moltbot-gateway.service"]);
        assert_eq!(
            rest,
            [
                Step::Remove("/u/moltbot-gateway.service".into()),
                Step::Remove("/u/default.target.wants/moltbot-gateway.service".into()),
                Step::attempt(&["systemctl", "--user", "daemon-reload"]),
            ]
        );
        let (stop, rest) = removal(Path::new("/a/bot.molt.x.plist"));
        assert_eq!(stop, ["launchctl", "unload", "-w", "/a/bot.molt.x.plist"]);
        assert_eq!(rest, [Step::Remove("/a/bot.molt.x.plist".into())]);
    }
}
