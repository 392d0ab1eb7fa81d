//! `tailscale serve` and `tailscale funnel` for the gateway's port. Thread `tailscale` owns what is published and is
//! there only while something is or shall be; nobody waits for it but the end of the process.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use serde_json::Value;

use super::{Errors, Failed, Tool};
use crate::limits;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Serve,
    Funnel,
}

/// What a configuration asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    pub mode: Mode,
    pub port: u16,
    /// The port speaks TLS.
    pub tls: bool,
    pub reset_on_exit: bool,
    /// Where the Control UI lies below the published address: empty, or `/path`.
    pub base_path: String,
}

impl Plan {
    /// As tailscale takes it: it forwards plain HTTP to a port. Nobody has signed a certificate for loopback, and nobody
    /// stands in between.
    fn target(&self) -> String {
        match self.tls {
            true => format!("https+insecure://127.0.0.1:{}", self.port),
            false => self.port.to_string(),
        }
    }
}

impl Mode {
    /// None: `off`.
    pub fn parse(text: &str) -> Option<Mode> {
        match text {
            "serve" => Some(Mode::Serve),
            "funnel" => Some(Mode::Funnel),
            _ => None,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Mode::Serve => "serve",
            Mode::Funnel => "funnel",
        }
    }
}

enum Order {
    /// None: nothing is to be published any more.
    Follow(Option<Plan>),
    /// The process ends: undo what is to be undone, drop the sender.
    End(Sender<()>),
}

/// The publisher; lives as long as the process, across restarts in it.
#[derive(Default)]
pub struct Publisher {
    orders: Option<Sender<Order>>,
    plan: Option<Plan>,
    give_up: Arc<AtomicBool>,
}

impl Publisher {
    /// Publishes what the plan says, and takes back what it no longer says. Does not wait. What is published already is
    /// left as it is.
    pub fn follow(&mut self, plan: Option<Plan>) {
        if self.orders.is_none() && plan.is_none() {
            return;
        }
        self.plan.clone_from(&plan);
        let give_up = self.give_up.clone();
        let orders = self.orders.get_or_insert_with(|| {
            let (to, orders) = unbounded();
            let work = move || Work { published: None, give_up }.run(&orders);
            if let Err(e) = thread::Builder::new().name("tailscale".into()).spawn(work) {
                log::warn!(target: "tailscale", "not published: no thread ({e})");
            }
            to
        });
        let _ = orders.send(Order::Follow(plan));
    }

    /// What was to be followed last.
    pub fn plan(&self) -> Option<&Plan> {
        self.plan.as_ref()
    }

    /// Undoes at the end of the process what `resetOnExit` wants undone. The channel closes when that has happened.
    pub fn end(&mut self) -> Receiver<()> {
        let (done, ended) = bounded(0);
        // A call under way is of no use any more.
        self.give_up.store(true, Ordering::Release);
        if let Some(orders) = self.orders.take() {
            let _ = orders.send(Order::End(done));
        }
        ended
    }
}

struct Work {
    published: Option<Plan>,
    give_up: Arc<AtomicBool>,
}

impl Work {
    fn run(mut self, orders: &Receiver<Order>) {
        while let Ok(order) = orders.recv() {
            match order {
                Order::Follow(plan) => self.follow(plan),
                Order::End(done) => {
                    if let Some(plan) = self.published.take().filter(|plan| plan.reset_on_exit) {
                        reset(&plan);
                    }
                    drop(done);
                    return;
                }
            }
        }
    }

    fn follow(&mut self, plan: Option<Plan>) {
        let same = |a: &Plan, b: &Plan| (a.mode, a.port, a.tls) == (b.mode, b.port, b.tls);
        if let (Some(old), Some(new)) = (&self.published, &plan)
            && same(old, new)
        {
            self.published = plan;
            return;
        }
        if let Some(old) = self.published.take() {
            let mode = old.mode.name();
            if old.reset_on_exit {
                reset(&old);
            } else if plan.is_none() {
                log::warn!(
                    target: "tailscale",
                    "{mode} stays enabled (gateway.tailscale.resetOnExit is off); to end it: tailscale {mode} reset"
                );
            }
        }
        if let Some(plan) = plan {
            self.published = self.publish(&plan).then_some(plan);
        }
    }

    /// Whether something may be published now.
    fn publish(&self, plan: &Plan) -> bool {
        let mode = plan.mode.name();
        match self.try_publish(plan) {
            Ok(Some(host)) => {
                let path = &plan.base_path;
                log::info!(target: "tailscale", "{mode} enabled: https://{host}{path}/ (WS via wss://{host})");
                true
            }
            Ok(None) => {
                log::info!(target: "tailscale", "{mode} enabled");
                true
            }
            // It may have got as far as that.
            Err(Failed::GivenUp) => true,
            Err(failed) => {
                log::warn!(target: "tailscale", "{mode} failed: {failed}");
                if let Some(remedy) = remedy(&failed) {
                    log::warn!(target: "tailscale", "{remedy}");
                }
                false
            }
        }
    }

    /// The name or address under which the gateway is reached now.
    fn try_publish(&self, plan: &Plan) -> Result<Option<String>, Failed> {
        let give_up = Some(&*self.give_up);
        let tool = Tool::find()?;
        tool.run(&["--version"], limits::TAILSCALE_DETECT, Errors::Mixed, give_up)?;
        let target = plan.target();
        let args = [plan.mode.name(), "--bg", "--yes", &target];
        tool.run_privileged(&args, limits::TAILSCALE_PUBLISH, give_up)?;
        Ok(host_of(&tool, give_up))
    }
}

/// The name or address under which this machine stands in its tailnet.
pub fn host() -> Option<String> {
    host_of(&Tool::find().ok()?, None)
}

fn host_of(tool: &Tool, give_up: Option<&AtomicBool>) -> Option<String> {
    let status = tool.run(&["status", "--json"], limits::TAILSCALE_STATUS, Errors::Dropped, give_up);
    own_host(&status.ok()?)
}

/// The gateway goes on without; so does whoever wants to know why.
fn remedy(failed: &Failed) -> Option<&'static str> {
    match failed {
        Failed::Missing => Some("install tailscale, or set gateway.tailscale.mode to off"),
        Failed::Denied(_) => Some("let this user do it, once: sudo tailscale set --operator=<user>"),
        _ => None,
    }
}

fn reset(plan: &Plan) {
    let mode = plan.mode.name();
    let done = Tool::find().and_then(|tool| tool.run_privileged(&[mode, "reset"], limits::TAILSCALE_RESET, None));
    if let Err(failed) = done {
        log::warn!(target: "tailscale", "{mode} cleanup failed: {failed}; by hand: tailscale {mode} reset");
    }
}

/// `Self.DNSName` without its last dot, else the first of `Self.TailscaleIPs`. Only what can stand in an address.
fn own_host(json: &[u8]) -> Option<String> {
    let value: Value = serde_json::from_slice(json).ok()?;
    let me = value.get("Self")?;
    let name = me.get("DNSName").and_then(Value::as_str).map(|name| name.trim().trim_end_matches('.'));
    let name =
        name.filter(|name| !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.".contains(&b)));
    let ip = || Some(me.get("TailscaleIPs")?.get(0)?.as_str()?.parse::<std::net::IpAddr>().ok()?.to_string());
    name.map(str::to_owned).or_else(ip)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_this_machine() {
        for (json, host) in [
            (r#"{"Self":{"DNSName":"pi.tail1234.ts.net.","TailscaleIPs":["100.64.0.1"]}}"#, Some("pi.tail1234.ts.net")),
            (r#"{"Self":{"DNSName":"","TailscaleIPs":["100.64.0.1","fd7a::1"]}}"#, Some("100.64.0.1")),
            (r#"{"Self":{"DNSName":"a b\n","TailscaleIPs":["x"]}}"#, None),
            (r#"{"Self":{}}"#, None),
            (r#"{"Self":7}"#, None),
            ("", None),
        ] {
            assert_eq!(own_host(json.as_bytes()).as_deref(), host, "{json}");
        }
    }
}
