//! `openclaw system event|presence|heartbeat`.

use serde_json::{Value, json};

use super::Context;
use super::context::{Call, LONG_TIMEOUT_MS};
use super::help;
use super::output::{json_pretty, write_err};
use super::target::Flags;
use super::tree::{Heartbeat, HeartbeatCommand, System, SystemCommand, SystemEvent};
use crate::error::{Error, Result};
use crate::{err, out};

pub fn run(cx: &Context, args: &System) -> Result<u8> {
    match &args.command {
        Some(SystemCommand::Event(args)) => event(cx, args),
        Some(SystemCommand::Presence(args)) => {
            let call = call(&args.url, &args.token, &args.timeout, args.expect_final);
            print(&cx.call(&call, "system-presence", None)?)
        }
        Some(SystemCommand::Heartbeat(Heartbeat { command: Some(command) })) => heartbeat(cx, command),
        _ => {
            write_err(&help::help(&["system".to_string()]));
            Ok(1)
        }
    }
}

fn event(cx: &Context, args: &SystemEvent) -> Result<u8> {
    let mode = args.mode.as_deref().unwrap_or("next-heartbeat");
    if !["now", "next-heartbeat"].contains(&mode) {
        return Err(Error::new("Error: --mode must be now or next-heartbeat"));
    }
    if args.text.trim().is_empty() {
        return Err(Error::new("Error: --text is required"));
    }
    let mut session = cx.session(&call(&args.url, &args.token, &args.timeout, args.expect_final))?;
    let answer = match session.call_if_known("wake", Some(json!({"mode": mode, "text": args.text})))? {
        Some(answer) => answer,
        None => {
            // A gateway without heartbeats still puts the line before the next turn.
            if mode == "now" {
                err!("The gateway cannot wake the agent: the text waits for its next turn.");
            }
            session.call("system-event", Some(json!({"text": args.text})))?
        }
    };
    if args.json {
        return print(&answer);
    }
    out!("ok");
    Ok(0)
}

fn heartbeat(cx: &Context, command: &HeartbeatCommand) -> Result<u8> {
    let (call, method, params) = match command {
        HeartbeatCommand::Last(a) => (call(&a.url, &a.token, &a.timeout, a.expect_final), "last-heartbeat", None),
        HeartbeatCommand::Enable(a) => {
            (call(&a.url, &a.token, &a.timeout, a.expect_final), "set-heartbeats", Some(json!({"enabled": true})))
        }
        HeartbeatCommand::Disable(a) => {
            (call(&a.url, &a.token, &a.timeout, a.expect_final), "set-heartbeats", Some(json!({"enabled": false})))
        }
    };
    print(&cx.call(&call, method, params)?)
}

fn call<'a>(
    url: &'a Option<String>,
    token: &'a Option<String>,
    timeout: &'a Option<String>,
    expect_final: bool,
) -> Call<'a> {
    Call {
        flags: Flags { url: url.as_deref(), token: token.as_deref(), password: None },
        timeout: timeout.as_deref(),
        default_ms: LONG_TIMEOUT_MS,
        prefix: "Error: ",
        expect_final,
    }
}

fn print(payload: &Value) -> Result<u8> {
    out!("{}", json_pretty(payload));
    Ok(0)
}
