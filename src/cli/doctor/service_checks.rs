//! Checks of the gateway's service and of what is in its way: drift, lingering, port, lock, strangers, models.

use std::net::{TcpStream, ToSocketAddrs as _};
use std::sync::mpsc;
use std::time::Duration;

use super::{Facts, Finding, Fix};
use crate::agent::models::catalog::{Catalog, Unusable};
use crate::agent::session;
use crate::cli::audit::Severity;
use crate::cli::context::env;
use crate::cli::service;
use crate::config::secret_ref;
use crate::server::{lock, port_report};
use crate::service::audit::{self, Expected};
use crate::service::{Manager, Service, linger, scan};
use crate::sys::sockets;

/// A provider that does not take a connection within this time is out of reach, name look-up included.
const REACH: Duration = Duration::from_secs(5);

fn own_service(facts: &Facts) -> Service {
    let port = facts.loaded.config.gateway.port;
    let service = service::find(&facts.cx, facts.cx.port(None));
    // A repair keeps the port that the operator chose for the service.
    match service.command().and_then(|command| command.port()).or(port) {
        Some(port) if port != service.spec.port => service::find(&facts.cx, port),
        _ => service,
    }
}

/// The unit is not what this program would write.
pub fn drift(facts: &Facts, out: &mut Vec<Finding>) {
    let service = own_service(facts);
    let Some(command) = service.command().filter(|_| !service.is_packaged()) else { return };
    let token = facts.loaded.config.gateway.auth.token.as_ref().map(|token| token.expose().to_owned());
    let expected = Expected { program: service.spec.program.clone(), token };
    let issues = audit::look(service.manager, &command, Some(&expected));
    if issues.is_empty() {
        return;
    }
    let aggressive = issues.iter().any(|issue| issue.aggressive);
    let install = facts.cx.suggest("openclaw gateway install --force");
    let finding = Finding::new("service.drift", Severity::Warn, "The gateway's service is not as it should be")
        .detail(issues.iter().map(audit::Issue::line));
    out.push(match aggressive && !facts.args.force {
        true => {
            finding.remedy("Custom or unexpected service edits detected. Rerun with --force to overwrite.".to_owned())
        }
        false => finding
            .remedy(format!("{install} writes it anew and restarts it; so does openclaw doctor --fix."))
            .fix(Some(Fix::Service)),
    });
}

/// Without it the gateway ends when its user logs out.
pub fn lingering(facts: &Facts, out: &mut Vec<Finding>) {
    let service = own_service(facts);
    if service.manager != Manager::SystemdUser || !service.is_installed() {
        return;
    }
    let user = env("USER").or_else(|| env("LOGNAME")).unwrap_or_else(|| service::owner_of(&facts.cx.paths.home));
    if linger::is_on(&user) == Some(false) {
        out.push(
            Finding::new("service.lingering", Severity::Warn, format!("Systemd lingering is disabled for {user}."))
                .detail(["Without lingering, the Gateway will stop when you log out.".into()])
                .remedy(format!("Run: sudo loginctl enable-linger {user}"))
                .fix(Some(Fix::Linger(user))),
        );
    }
}

/// Other services and, with --deep, other gateways among the processes.
pub fn others(facts: &Facts, out: &mut Vec<Finding>) {
    let service = own_service(facts);
    let found = scan::others(&service, facts.args.deep);
    if !found.is_empty() {
        let legacy = found.iter().any(scan::Other::is_legacy);
        let severity = if legacy { Severity::Warn } else { Severity::Info };
        let short = |path: &std::path::Path| facts.cx.short(path);
        out.push(
            Finding::new("service.others", severity, "Other gateway-like services detected")
                .detail(found.iter().map(|other| other.line(&short)))
                .remedy("Run a single gateway per machine, or give each its own port, configuration and state."),
        );
    }
    if facts.args.deep {
        let owner = lock::owner(&facts.cx.paths.config_path).map(|owner| owner.pid);
        let strangers: Vec<String> = scan::processes()
            .into_iter()
            .filter(|process| Some(process.pid) != owner)
            .map(|process| format!("pid {} {}: {}", process.pid, process.user, process.command_line))
            .collect();
        if !strangers.is_empty() {
            out.push(
                Finding::new("service.others", Severity::Info, "Other gateway processes detected")
                    .detail(strangers)
                    .remedy("Fine if they have configurations of their own; otherwise stop them."),
            );
        }
    }
}

/// A gateway that the service manager does not know keeps the service from starting.
pub fn stale(facts: &Facts, out: &mut Vec<Finding>) {
    let Some(owner) = lock::owner(&facts.cx.paths.config_path) else { return };
    if !owner.alive {
        out.push(
            Finding::new(
                "gateway.lock",
                Severity::Info,
                format!("The lock of a gateway that is gone (pid {})", owner.pid),
            )
            .remedy("It does no harm: the next start takes it over."),
        );
        return;
    }
    let service = own_service(facts);
    if !service.manager.is_systemd() || !service.is_loaded() {
        return;
    }
    let runtime = service.runtime();
    if runtime.status != "unknown" && runtime.pid != Some(owner.pid) {
        out.push(
            Finding::new(
                "gateway.lock",
                Severity::Warn,
                format!("A gateway beside the service holds the lock of this configuration (pid {})", owner.pid),
            )
            .detail([format!("The service: {}", runtime.line())])
            .remedy(format!("{} stops it and starts the service.", facts.cx.suggest("openclaw gateway restart"))),
        );
    }
}

/// Somebody who is no gateway has the port.
pub fn port(facts: &Facts, out: &mut Vec<Finding>) {
    if facts.loaded.config.gateway.mode.as_deref() == Some("remote") {
        return;
    }
    let port = facts.cx.port(None);
    let listeners = sockets::listeners(port);
    if listeners.is_empty() || port_report::held_by_gateway(&listeners) {
        return;
    }
    let lines = port_report::port_report(port, &listeners, port_report::Wording::of(&facts.cx.paths));
    out.push(
        Finding::new("gateway.port", Severity::Warn, format!("Port {port} belongs to another program"))
            .detail(lines)
            .remedy(format!(
                "Stop it, or take another port: {}",
                facts.cx.suggest("openclaw config set gateway.port N")
            )),
    );
}

/// Whether the default model can be used at all, and, with --deep, whether its provider takes a connection: that leaves
/// this machine.
pub fn model(facts: &Facts, out: &mut Vec<Finding>) {
    if !facts.loaded.valid() || facts.loaded.config.gateway.mode.as_deref() == Some("remote") {
        return;
    }
    let config = &facts.loaded.config;
    let var = |name: &str| facts.cx.var(name);
    let agent = config.agents.default_id();
    let dir = session::agent_dir(config, &facts.cx.paths, agent);
    let catalog = Catalog { config, env: &var, dev: false };
    let Some(model) = catalog.chain(agent, &dir).into_iter().next() else { return };
    let name = format!("{}/{}", model.provider, model.model);
    let finding = |severity, title: String| Finding::new("model.reachable", severity, title);
    let endpoint = match catalog.endpoint(&model, &dir) {
        Ok(endpoint) => endpoint,
        // A key that is a reference to a file or a program is there when the gateway asks; config.secrets looks after it.
        Err(Unusable::NoKey(_)) if has_reference(facts, &model.provider) => return,
        Err(why) => {
            // A gateway without a model is one that is being set up.
            let finding = finding(Severity::Info, format!("The default model {name} cannot be used"));
            let own = why.text().lines().map(str::to_owned).collect::<Vec<_>>();
            return out.push(finding.detail(own).remedy("openclaw configure --section model"));
        }
    };
    let Some((host, port)) = authority(&endpoint.base_url).filter(|_| facts.args.deep) else { return };
    out.push(match reach(&host, port) {
        Ok(()) => finding(Severity::Info, format!("The provider of {name} takes connections.")),
        Err(why) => finding(Severity::Warn, format!("The provider of {name} is out of reach"))
            .detail([format!("{host}:{port}: {why}")])
            .remedy("Check the network, DNS, a proxy, and the provider's baseUrl in the configuration."),
    });
}

fn has_reference(facts: &Facts, provider: &str) -> bool {
    let start = format!("models.providers.{provider}.");
    secret_ref::wanted(&facts.loaded.effective).iter().any(|wanted| wanted.path.starts_with(&start))
}

/// Host and port of an address.
fn authority(url: &str) -> Option<(String, u16)> {
    let (scheme, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?.rsplit('@').next()?;
    let default = if scheme.eq_ignore_ascii_case("https") { 443 } else { 80 };
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port.parse().ok()?),
        _ => (authority, default),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    (!host.is_empty()).then(|| (host.to_owned(), port))
}

/// A look-up that hangs is left behind on its thread; the command ends without it.
fn reach(host: &str, port: u16) -> Result<(), String> {
    let (done, answer) = mpsc::channel();
    let host = host.to_owned();
    std::thread::spawn(move || {
        let connected = (host.as_str(), port).to_socket_addrs().and_then(|addresses| {
            let mut last = std::io::Error::from(std::io::ErrorKind::AddrNotAvailable);
            for address in addresses {
                match TcpStream::connect_timeout(&address, REACH) {
                    Ok(_) => return Ok(()),
                    Err(e) => last = e,
                }
            }
            Err(last)
        });
        let _ = done.send(connected);
    });
    match answer.recv_timeout(REACH) {
        Ok(connected) => connected.map_err(|e| e.to_string()),
        Err(_) => Err(format!("no connection within {} s", REACH.as_secs())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_ports_of_addresses() {
        for (url, wanted) in [
            ("https://api.example.com/v1", Some(("api.example.com", 443))),
            ("http://127.0.0.1:11434", Some(("127.0.0.1", 11434))),
            ("http://[::1]:8080/x", Some(("::1", 8080))),
            ("https://[::1]", Some(("::1", 443))),
            ("https://u:p@h/", Some(("h", 443))),
            ("nonsense", None),
            ("http://h:port", None),
        ] {
            assert_eq!(authority(url), wanted.map(|(host, port)| (host.to_owned(), port)), "{url}");
        }
    }
}
