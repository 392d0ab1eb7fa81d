//! `openclaw gateway discover`: the gateways that say in the local network that they are there (cli 4.6).

use std::time::Duration;

use serde_json::{Value, json};

use super::Context;
use super::context::{env, millis};
use super::output::{Page, json_pretty, plain};
use super::progress::Waiting;
use super::tree::GatewayDiscover;
use crate::discovery::{self, Beacon};
use crate::error::{Error, Result};
use crate::out;

const TIMEOUT_MS: u64 = 2000;
pub const DOMAIN: &str = "local.";

pub fn run(cx: &Context, args: &GatewayDiscover) -> Result<u8> {
    let timeout = millis(args.timeout.as_deref(), TIMEOUT_MS)?;
    let groups = discovery::groups(env("OPENCLAW_MDNS_ADDRESS").as_deref());
    let listening = Waiting::new(cx.columns, args.json, "Listening for gateways in this network");
    let beacons = discovery::browse(&groups, Duration::from_millis(timeout)).map_err(|e| {
        Error::new(format!("gateway discover failed: {e}"))
            .hint("Is there a network? An address known otherwise: --url.")
    })?;
    drop(listening);
    if args.json {
        let list: Vec<Value> = beacons.iter().map(beacon_json).collect();
        out!(
            "{}",
            json_pretty(&json!({"timeoutMs": timeout, "domains": [DOMAIN], "count": list.len(), "beacons": list}))
        );
        return Ok(0);
    }
    let mut page = Page::default();
    page.out(cx.paint.bold("Gateway Discovery"));
    page.out(format!("Found {} gateway(s) · domains: {DOMAIN}", beacons.len()));
    list(&beacons, &mut page);
    page.print();
    Ok(0)
}

/// Three or four lines for each.
pub fn list(beacons: &[Beacon], page: &mut Page) {
    for beacon in beacons {
        page.out(format!("- {} {DOMAIN}", plain(beacon.txt.get("displayName").unwrap_or(&beacon.instance))));
        let addresses: Vec<String> = beacon.addresses.iter().map(ToString::to_string).collect();
        if !addresses.is_empty() {
            page.out(format!("  lan: {}", addresses.join(", ")));
        }
        if let Some(url) = url(beacon) {
            page.out(format!("  ws: {}", plain(&url)));
        }
        for (key, shown) in
            [("gatewayTlsSha256", "tls sha256"), ("tailnetDns", "tailnet"), ("cliPath", "cli"), ("sshPort", "ssh port")]
        {
            if let Some(value) = beacon.txt.get(key) {
                page.out(format!("  {shown}: {}", plain(value)));
            }
        }
    }
}

fn url(beacon: &Beacon) -> Option<String> {
    let host = beacon.host.as_ref().or(beacon.txt.get("lanHost"))?;
    let port = beacon.port.or_else(|| beacon.txt.get("gatewayPort")?.parse().ok())?;
    let scheme = if has_tls(beacon) { "wss" } else { "ws" };
    Some(format!("{scheme}://{host}:{port}"))
}

fn has_tls(beacon: &Beacon) -> bool {
    beacon.txt.get("gatewayTls").is_some_and(|value| value == "1" || value == "true")
}

/// What was not told is left out; anybody can tell anything.
pub fn beacon_json(beacon: &Beacon) -> Value {
    let mut out = json!({"instanceName": beacon.instance, "domain": DOMAIN, "txt": beacon.txt});
    let mut put = |key: &str, value: Option<Value>| {
        if let Some(value) = value {
            out[key] = value;
        }
    };
    put("host", beacon.host.clone().map(Value::from));
    put("port", beacon.port.map(Value::from));
    for key in ["displayName", "lanHost", "tailnetDns", "role", "transport", "cliPath"] {
        put(key, beacon.txt.get(key).cloned().map(Value::from));
    }
    for key in ["gatewayPort", "sshPort"] {
        put(key, beacon.txt.get(key).and_then(|text| text.parse::<u16>().ok()).map(Value::from));
    }
    put("gatewayTls", has_tls(beacon).then_some(Value::Bool(true)));
    put("gatewayTlsFingerprintSha256", beacon.txt.get("gatewayTlsSha256").cloned().map(Value::from));
    put("addresses", Some(json!(beacon.addresses.iter().map(ToString::to_string).collect::<Vec<_>>())));
    put("wsUrl", url(beacon).map(Value::from));
    out
}
