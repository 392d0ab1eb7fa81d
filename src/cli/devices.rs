//! `openclaw devices …`: who may use the gateway, and with which tokens.

use serde_json::{Value, json};

use super::Context;
use super::client::now_ms;
use super::context::{Call, Session, TIMEOUT_MS};
use super::help;
use super::output::{age, json_pretty, plain, table, write_err};
use super::target::Flags;
use super::tree::{Devices, DevicesCommand};
use crate::error::{Error, Result};
use crate::out;
use crate::sort;

pub fn run(cx: &Context, args: &Devices) -> Result<u8> {
    let Some(command) = &args.command else {
        write_err(&help::help(&["devices".to_string()]));
        return Ok(1);
    };
    // Each sub-command has the same five options.
    macro_rules! session {
        ($args:expr, $prefix:literal) => {
            cx.session(&Call {
                flags: Flags {
                    url: $args.url.as_deref(),
                    token: $args.token.as_deref(),
                    password: $args.password.as_deref(),
                },
                timeout: $args.timeout.as_deref(),
                default_ms: TIMEOUT_MS,
                prefix: $prefix,
                expect_final: false,
            })
        };
    }
    match command {
        DevicesCommand::List(a) => {
            let list = session!(a, "devices list failed: ")?.call("device.pair.list", None)?;
            if a.json {
                out!("{}", json_pretty(&list));
            } else {
                out!("{}", listing(&list, cx.columns, now_ms()));
            }
        }
        DevicesCommand::Approve(a) => {
            let mut session = session!(a, "devices approve failed: ")?;
            let wanted = a.request_id.as_deref().map(str::trim).filter(|id| !id.is_empty() && !a.latest);
            let id = match wanted {
                Some(id) => id.to_string(),
                None => newest(&session.call("device.pair.list", None)?)?,
            };
            let answer = session.call("device.pair.approve", Some(json!({"requestId": id})))?;
            let device = answer["device"]["deviceId"].as_str().unwrap_or("device");
            done(a.json, &answer, &format!("Approved {} ({id})", plain(device)));
        }
        DevicesCommand::Reject(a) => {
            let answer = session!(a, "devices reject failed: ")?
                .call("device.pair.reject", Some(json!({"requestId": a.request_id})))?;
            done(a.json, &answer, &format!("Rejected {}", plain(answer["deviceId"].as_str().unwrap_or(&a.request_id))));
        }
        DevicesCommand::Remove(a) => {
            let answer = session!(a, "devices remove failed: ")?
                .call("device.pair.remove", Some(json!({"deviceId": a.device_id})))?;
            done(a.json, &answer, &format!("Removed {}", plain(&a.device_id)));
        }
        DevicesCommand::Clear(a) => {
            if !a.yes {
                return Err(Error::new("Refusing to clear pairing table without --yes"));
            }
            let cleared = clear(cx, &mut session!(a, "devices clear failed: ")?, a.pending)?;
            if a.json {
                out!("{}", json_pretty(&cleared));
            } else {
                let count = |key: &str| cleared[key].as_array().map_or(0, Vec::len);
                out!("Cleared {} paired device(s)", count("removedDevices"));
                if a.pending {
                    out!("Rejected {} pending request(s)", count("rejectedPending"));
                }
            }
        }
        DevicesCommand::Rotate(a) => {
            let mut params = named(&a.device, &a.role)?;
            if !a.scope.is_empty() {
                params["scopes"] = json!(a.scope);
            }
            let answer = session!(a, "devices rotate failed: ")?.call("device.token.rotate", Some(params))?;
            out!("{}", json_pretty(&answer));
        }
        DevicesCommand::Revoke(a) => {
            let params = named(&a.device, &a.role)?;
            let answer = session!(a, "devices revoke failed: ")?.call("device.token.revoke", Some(params))?;
            out!("{}", json_pretty(&answer));
        }
    }
    Ok(0)
}

fn done(json: bool, answer: &Value, line: &str) {
    if json {
        out!("{}", json_pretty(answer));
    } else {
        out!("{line}");
    }
}

fn named(device: &str, role: &str) -> Result<Value> {
    if device.trim().is_empty() || role.trim().is_empty() {
        return Err(Error::new("--device and --role required"));
    }
    Ok(json!({"deviceId": device.trim(), "role": role.trim()}))
}

/// Id of the newest open request.
fn newest(list: &Value) -> Result<String> {
    let pending = list["pending"].as_array().map(Vec::as_slice).unwrap_or_default();
    let newest = pending.iter().max_by_key(|request| request["ts"].as_u64().unwrap_or(0));
    newest
        .and_then(|request| request["requestId"].as_str())
        .map(str::to_string)
        .ok_or_else(|| Error::new("No pending device pairing requests to approve"))
}

/// One by one: each removal ends the connections of that device.
fn clear(cx: &Context, session: &mut Session, pending: bool) -> Result<Value> {
    let list = session.call("device.pair.list", None)?;
    let ids = |list: &Value, key: &str, id: &str| -> Vec<String> {
        let items = list[key].as_array().map(Vec::as_slice).unwrap_or_default();
        items.iter().filter_map(|item| item[id].as_str()).map(str::to_string).collect()
    };
    let mut rejected = Vec::new();
    if pending {
        for id in ids(&list, "pending", "requestId") {
            session.call("device.pair.reject", Some(json!({"requestId": id})))?;
            rejected.push(id);
        }
    }
    // Our own device goes last: its removal may end this very connection.
    let mut removed = ids(&list, "paired", "deviceId");
    let own = cx.identity().map(|identity| identity.device_id());
    sort::by_key(&mut removed, |id| own == Some(id.as_str()));
    for id in &removed {
        session.call("device.pair.remove", Some(json!({"deviceId": id})))?;
    }
    Ok(json!({"removedDevices": removed, "rejectedPending": rejected}))
}

fn listing(list: &Value, columns: usize, now: u64) -> String {
    let items = |key: &str| list[key].as_array().map(Vec::as_slice).unwrap_or_default();
    let (pending, paired) = (items("pending"), items("paired"));
    if pending.is_empty() && paired.is_empty() {
        return "No device pairing entries.".to_string();
    }
    let text = |item: &Value, key: &str| item[key].as_str().unwrap_or("").to_string();
    let words = |item: &Value, key: &str| -> String {
        let values = item[key].as_array().map(Vec::as_slice).unwrap_or_default();
        values.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", ")
    };
    let name = |item: &Value| {
        let id = text(item, "deviceId");
        let shown = text(item, "displayName");
        if shown.is_empty() { id } else { format!("{shown} {id}") }
    };
    let mut parts = Vec::new();
    if !pending.is_empty() {
        let rows: Vec<Vec<String>> = pending
            .iter()
            .map(|request| {
                let flag = if request["isRepair"] == true { "repair" } else { "" };
                let since = request["ts"].as_u64().map_or(String::new(), |ts| age(now.saturating_sub(ts)));
                let (id, role, ip) = (text(request, "requestId"), text(request, "role"), text(request, "remoteIp"));
                vec![id, name(request), role, ip, since, flag.to_string()]
            })
            .collect();
        parts.push(format!("Pending ({})", pending.len()));
        parts.push(table(&["Request", "Device", "Role", "IP", "Age", "Flags"], &rows, columns));
    }
    if !paired.is_empty() {
        let rows: Vec<Vec<String>> = paired
            .iter()
            .map(|device| {
                let tokens = device["tokens"].as_array().map(Vec::as_slice).unwrap_or_default();
                let tokens: Vec<String> = tokens
                    .iter()
                    .map(|token| {
                        let role = text(token, "role");
                        if token["revokedAtMs"].is_null() { role } else { format!("{role} (revoked)") }
                    })
                    .collect();
                let (roles, scopes) = (words(device, "roles"), words(device, "scopes"));
                vec![name(device), roles, scopes, tokens.join(", "), text(device, "remoteIp")]
            })
            .collect();
        parts.push(format!("Paired ({})", paired.len()));
        parts.push(table(&["Device", "Roles", "Scopes", "Tokens", "IP"], &rows, columns));
    }
    parts.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::width;

    #[test]
    fn listing_fits_and_shows_what_matters() {
        let list = json!({
            "pending": [{"requestId": "5df8ccdb-50c5-4ca6-9306-cff461dbe248", "deviceId": "2ef0", "role": "operator",
                         "displayName": "\u{1b}[1mFar", "remoteIp": "10.0.0.7", "ts": 700_000, "isRepair": true}],
            "paired": [{"deviceId": "afc171e8b728cfd5b423d13618b42f1a7794f1ff8e98ec8b4b792ab3e271eb04",
                        "roles": ["operator"], "scopes": ["operator.admin", "operator.read"],
                        "tokens": [{"role": "operator"}, {"role": "node", "revokedAtMs": 5}]}],
        });
        let text = listing(&list, 80, 1_000_000);
        assert!(text.lines().all(|line| width(line) <= 80), "{text}");
        for part in ["Pending (1)", "Paired (1)", "5m ago", "repair", "\\u{1b}", "revoked"] {
            assert!(text.contains(part), "{part}\n{text}");
        }
        assert_eq!(listing(&json!({"pending": [], "paired": []}), 80, 0), "No device pairing entries.");
    }

    #[test]
    fn the_newest_request() {
        let list = json!({"pending": [{"requestId": "a", "ts": 1}, {"requestId": "b", "ts": 3}, {"requestId": "c"}]});
        assert_eq!(newest(&list).unwrap(), "b");
        let error = newest(&json!({"pending": []})).unwrap_err();
        assert_eq!(error.message, "No pending device pairing requests to approve");
        assert_eq!(named(" ", "operator").unwrap_err().message, "--device and --role required");
    }
}
