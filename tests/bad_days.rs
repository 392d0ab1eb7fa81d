//! Days on which nothing is as it should be: ports that others hold, directories that vanish, little memory, signals
//! from all sides. What `disk`, `lifecycle`, `state` and `hostile` test is not repeated here.
#![cfg(target_os = "linux")]

mod places;
mod ports;
mod signals;

use serde_json::json;

use crate::common::Home;

const LISTENING: &str = "listening on ws://";

fn configured() -> Home {
    let home = Home::new();
    home.configure(json!({}));
    home
}

/// False with a line that says what is not tested.
fn is_root() -> bool {
    let root = openclaw::sys::process::effective_uid() == 0;
    if !root {
        println!("skipped: it takes root to be somebody else");
    }
    root
}
