//! `openclaw channels status`: each account of each channel as the gateway sees it.

use std::time::Duration;

use serde_json::{Value, json};

use super::Context;
use super::client::Deadline;
use super::context::{TIMEOUT_MS, millis};
use super::help;
use super::output::{Page, json_pretty, plain, write_err};
use super::target::Flags;
use super::tree::{Channels, ChannelsCommand, ChannelsStatus};
use crate::error::{Error, Result};
use crate::out;

pub fn run(cx: &Context, args: &Channels) -> Result<u8> {
    match &args.command {
        Some(ChannelsCommand::Status(args)) => status(cx, args),
        None => {
            write_err(&help::help(&["channels".to_string()]));
            Ok(1)
        }
    }
}

fn status(cx: &Context, args: &ChannelsStatus) -> Result<u8> {
    let config = cx.config()?;
    let timeout = millis(args.timeout.as_deref(), TIMEOUT_MS)?;
    match ask(cx, args, timeout) {
        Ok(payload) if args.json => out!("{}", json_pretty(&payload)),
        Ok(payload) => report(&payload).iter().for_each(|line| out!("{line}")),
        Err(error) if args.json => out!("{}", json_pretty(&json!({"ok": false, "error": error.to_string()}))),
        Err(error) => {
            let mode = config.gateway.mode.as_deref().unwrap_or("local");
            unreachable(&error, &cx.short(&cx.paths.config_path), mode, &cx.suggest("openclaw status --deep")).print();
        }
    }
    Ok(0)
}

fn ask(cx: &Context, args: &ChannelsStatus, timeout: u64) -> Result<Value> {
    let deadline = Deadline::after(Duration::from_millis(timeout));
    let target = cx.target(Flags::default())?;
    let target = if args.json { cx.absolute(target) } else { target };
    let mut client = cx.connect(&target, deadline).map_err(|failure| failure.error("", &target))?;
    client
        .request("channels.status", Some(json!({"probe": args.probe, "timeoutMs": timeout})), deadline)
        .map_err(|failure| failure.error("", &target))
}

fn unreachable(error: &Error, config_path: &str, mode: &str, tip: &str) -> Page {
    let mut page = Page::default();
    page.err(format!("Gateway not reachable: Error: {error}"));
    page.out("Gateway not reachable; showing config-only status.");
    page.out(format!("Config: {config_path}"));
    page.out(format!("Mode: {mode}"));
    page.out("");
    page.out(format!("Tip: {tip} asks the gateway to try each channel, once it runs."));
    page
}

fn report(payload: &Value) -> Vec<String> {
    let mut lines = vec!["Gateway reachable.".to_string()];
    let order = payload["channelOrder"].as_array().map(Vec::as_slice).unwrap_or_default();
    for id in order.iter().filter_map(Value::as_str) {
        let label = plain(payload["channelLabels"][id].as_str().unwrap_or(id));
        for account in payload["channelAccounts"][id].as_array().into_iter().flatten() {
            lines.push(format!("- {label} {}", account_line(account)));
        }
    }
    lines.push(String::new());
    lines.push("Tip: openclaw status --deep asks the gateway to try each channel.".to_string());
    lines
}

fn account_line(account: &Value) -> String {
    let name = plain(account["accountId"].as_str().unwrap_or("default"));
    let mut words = Vec::new();
    for (key, yes, no) in [
        ("enabled", "enabled", "disabled"),
        ("configured", "configured", "not configured"),
        ("linked", "linked", "not linked"),
        ("running", "running", "stopped"),
        ("connected", "connected", "disconnected"),
    ] {
        words.extend(account[key].as_bool().map(|is| if is { yes } else { no }.to_string()));
    }
    if let Some(ok) = account["probe"]["ok"].as_bool() {
        words.push(if ok { "works" } else { "probe failed" }.to_string());
    }
    if let Some(error) = account["lastError"].as_str() {
        words.push(format!("error: {}", plain(error)));
    }
    format!("{name}: {}", words.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::Stream;

    #[test]
    fn accounts_in_the_order_of_the_gateway() {
        let payload = json!({
            "channelOrder": ["telegram", "irc"],
            "channelLabels": {"telegram": "Telegram"},
            "channelAccounts": {
                "telegram": [{"accountId": "default", "enabled": true, "configured": true, "running": true,
                              "probe": {"ok": true}}],
                "irc": [{"accountId": "home", "enabled": false, "configured": true, "lastError": "no\nroute"}],
            },
        });
        assert_eq!(
            report(&payload)[..3],
            [
                "Gateway reachable.",
                "- Telegram default: enabled, configured, running, works",
                "- irc home: disabled, configured, error: no\\nroute",
            ]
        );
    }

    #[test]
    fn without_a_gateway_good_and_bad_lines_part() {
        let error = Error::new("gateway timeout after 5ms").hint("Source: local loopback");
        let page = unreachable(&error, "~/c.json", "local", "openclaw status --deep");
        assert!(
            page.text(Stream::Out)
                .starts_with("Gateway not reachable; showing config-only status.\nConfig: ~/c.json\nMode: local\n")
        );
        assert_eq!(
            page.text(Stream::Err),
            "Gateway not reachable: Error: gateway timeout after 5ms\nSource: local loopback\n"
        );
    }
}
