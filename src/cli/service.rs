//! What the commands say about a service of this machine (cli 4.2, 5.6): this build installs and asks none.

use serde_json::{Value, json};

use super::Context;

/// The service manager of this kind of system and what can be said about the gateway's service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    pub label: &'static str,
    pub loaded_text: &'static str,
    pub not_loaded_text: &'static str,
    /// Why its state is not known.
    pub detail: &'static str,
    /// Further lines for people.
    pub hints: Vec<String>,
}

const NO_SYSTEMCTL: &str = "systemctl not available; systemd user services are required on Linux.";
const NOT_ASKED: &str = "this build does not ask the service manager";

pub fn look(cx: &Context) -> Service {
    let systemctl = super::context::env("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join("systemctl").is_file()));
    describe(std::env::consts::OS, systemctl, &cx.suggest("openclaw gateway"))
}

fn describe(os: &str, systemctl: bool, gateway: &str) -> Service {
    let (label, loaded_text, not_loaded_text) = match os {
        "macos" => ("LaunchAgent", "loaded", "not loaded"),
        "windows" => ("Scheduled Task", "registered", "missing"),
        _ => ("systemd", "enabled", "disabled"),
    };
    let foreground = format!("Run the gateway in the foreground or under this machine's own supervisor: {gateway}");
    let (detail, hints) = match (label, systemctl) {
        ("systemd", false) => (NO_SYSTEMCTL, vec!["systemd user services unavailable.".to_string(), foreground]),
        _ => (NOT_ASKED, vec![foreground]),
    };
    Service { label, loaded_text, not_loaded_text, detail, hints }
}

impl Service {
    /// `Runtime: …` of `gateway status`.
    pub fn runtime(&self) -> String {
        format!("unknown ({})", self.detail)
    }

    /// `service` of `gateway status --json`.
    pub fn status_json(&self) -> Value {
        json!({
            "label": self.label,
            "loaded": false,
            "loadedText": self.loaded_text,
            "notLoadedText": self.not_loaded_text,
            "command": null,
            "runtime": {"status": "unknown", "detail": self.detail},
            "configAudit": {"ok": true, "issues": []},
        })
    }

    /// `service` of the results of start, stop and restart.
    pub fn result_json(&self) -> Value {
        json!({
            "label": self.label,
            "loaded": false,
            "loadedText": self.loaded_text,
            "notLoadedText": self.not_loaded_text,
        })
    }

    /// `gatewayService` and `nodeService` of `status --json`.
    pub fn overview_json(&self) -> Value {
        json!({
            "label": self.label,
            "installed": false,
            "managedByOpenClaw": false,
            "externallyManaged": false,
            "loadedText": self.not_loaded_text,
            "runtimeShort": self.runtime(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_each_system() {
        for (os, systemctl, label, off, detail) in [
            ("linux", false, "systemd", "disabled", NO_SYSTEMCTL),
            ("linux", true, "systemd", "disabled", NOT_ASKED),
            ("macos", false, "LaunchAgent", "not loaded", NOT_ASKED),
            ("windows", false, "Scheduled Task", "missing", NOT_ASKED),
        ] {
            let service = describe(os, systemctl, "openclaw gateway");
            assert_eq!((service.label, service.not_loaded_text, service.detail), (label, off, detail));
        }
        let json = describe("linux", false, "openclaw gateway").status_json();
        assert_eq!(json["runtime"]["detail"], NO_SYSTEMCTL);
        assert_eq!(json["configAudit"]["ok"], true);
    }
}
