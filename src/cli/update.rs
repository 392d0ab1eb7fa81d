//! `openclaw update status`: what is installed. Asks nobody; the package manager or a new binary brings the update.

use serde_json::json;

use super::Context;
use super::help;
use super::output::{json_pretty, write_err};
use super::tree::{Update, UpdateCommand};
use crate::error::Result;
use crate::out;

pub fn run(cx: &Context, args: &Update) -> Result<u8> {
    let Some(UpdateCommand::Status(args)) = &args.command else {
        write_err(&help::help(&["update".to_string()]));
        return Ok(1);
    };
    let binary = crate::sys::exec::own_binary().ok();
    if args.json {
        let root = binary.as_ref().and_then(|path| path.parent());
        out!(
            "{}",
            json_pretty(&json!({
                "update": {"root": root, "installKind": "binary", "packageManager": "none"},
                "version": crate::VERSION,
                "channel": {"value": "stable", "source": "default", "label": "stable (default)"},
                "availability": {
                    "available": false, "hasGitUpdate": false, "hasRegistryUpdate": false,
                    "latestVersion": null, "gitBehind": null,
                },
            }))
        );
        return Ok(0);
    }
    out!("{}", help::version_line());
    out!("Install: binary{}", binary.map_or(String::new(), |path| format!(" ({})", cx.short(&path))));
    out!("Update: not looked for; this program asks no server.");
    out!("To update: install the new package or binary, then {}", cx.suggest("openclaw gateway restart"));
    Ok(0)
}
