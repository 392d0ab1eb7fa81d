//! `gateway status --json`.

use serde_json::{Map, Value, json};

use super::{ConfigSeen, Facts, Probe};
use crate::service::scan::{Other, Process};
use crate::sys::sockets::{Listener, PortUse};

impl Facts {
    pub(super) fn json(&self) -> Value {
        let mut gateway = Map::new();
        gateway.insert("bindMode".into(), self.bind.name().into());
        gateway.insert("bindHost".into(), self.bind_host.clone().into());
        if let Some(host) = &self.custom_host {
            gateway.insert("customBindHost".into(), host.clone().into());
        }
        gateway.insert("port".into(), self.port.into());
        gateway.insert("portSource".into(), self.port_source().into());
        gateway.insert("probeUrl".into(), self.probe_url.clone().into());
        if let Some(note) = self.probe_note() {
            gateway.insert("probeNote".into(), note.into());
        }
        let mut config = json!({"cli": self.config.json(), "daemon": self.service_config.json()});
        if self.mismatch() {
            config["mismatch"] = true.into();
        }
        let mut out = json!({
            "service": self.service.status_json(),
            "config": config,
            "gateway": gateway,
            "port": port_json(self.port, &self.port_use, &self.hints),
        });
        if let Some((port, port_use)) = &self.port_cli {
            out["portCli"] = port_json(*port, port_use, &[]);
        }
        if let Some(error) = &self.last_error {
            out["lastError"] = error.clone().into();
        }
        match &self.probe {
            Probe::Skipped => {}
            Probe::Ok { url } => out["rpc"] = json!({"ok": true, "url": url}),
            Probe::Failed { url, error } => out["rpc"] = json!({"ok": false, "error": error, "url": url}),
        }
        out["extraServices"] = self.others.iter().map(Other::json).collect();
        if !self.processes.is_empty() {
            let process = |one: &Process| json!({"pid": one.pid, "user": one.user, "commandLine": one.command_line});
            out["extraProcesses"] = self.processes.iter().map(process).collect();
        }
        out
    }
}

impl ConfigSeen {
    fn json(&self) -> Value {
        let mut out = json!({"path": self.path, "exists": self.exists, "valid": self.issues.is_empty()});
        if !self.issues.is_empty() {
            let issue = |(path, message): &(String, String)| json!({"path": path, "message": message});
            out["issues"] = self.issues.iter().map(issue).collect();
        }
        out
    }
}

fn port_json(port: u16, port_use: &PortUse, hints: &[String]) -> Value {
    let (status, listeners) = match port_use {
        PortUse::Free => ("free", Vec::new()),
        PortUse::Busy(listeners) => ("busy", listeners.iter().map(listener_json).collect()),
        PortUse::Unknown => ("unknown", Vec::new()),
    };
    json!({"port": port, "status": status, "listeners": listeners, "hints": hints})
}

fn listener_json(listener: &Listener) -> Value {
    let mut out = Map::new();
    if let Some(pid) = listener.pid {
        out.insert("pid".into(), pid.into());
    }
    if let Some(command) = &listener.command {
        out.insert("command".into(), command.clone().into());
    }
    out.insert("address".into(), listener.address.to_string().into());
    if let Some(line) = &listener.command_line {
        out.insert("commandLine".into(), line.clone().into());
    }
    out.insert("user".into(), listener.user.clone().into());
    if let Some(parent) = listener.parent {
        out.insert("ppid".into(), parent.into());
    }
    Value::Object(out)
}
