//! The house stands: arrows between rooms point downward, floor 0 is pure, and the rules that a reader relies on hold.

use std::collections::BTreeMap;

use crate::source::{self, Source};

/// Rooms from the top down; a room uses only rooms in later rows, never one of its own row.
const ORDER: &[&[&str]] = &[
    &["main"],
    &["cli"],
    &["service", "gateway"],
    &["server"],
    &["rpc"],
    &["channels", "cron", "heartbeat", "canvas", "tailscale", "discovery"],
    &["agent", "reload"],
    &["hub"],
    &["store"],
    &["policy"],
    &["config"],
    &["protocol", "http", "ws", "text", "schedule"],
];

/// Usable by every room; they use only each other.
const CELLAR: &[&str] = &["log", "sys", "ui", "limits", "error", "ids", "secret", "sort", "metrics"];

/// No sockets, files, threads, clock or randomness.
const FLOOR_0: &[&str] = &["policy", "config", "protocol", "http", "ws", "text", "schedule"];

/// What floor 0 must not name: the path itself and all below it.
const IMPURE: &[&str] = &[
    "crate::sys",
    "std::fs",
    "std::thread",
    "std::process",
    "std::env",
    "std::os",
    "std::io::stdin",
    "std::io::stdout",
    "std::io::stderr",
    "std::net::TcpStream",
    "std::net::TcpListener",
    "std::net::UdpSocket",
    "std::net::ToSocketAddrs",
    "std::sync::mpsc",
    "std::time::SystemTime",
    "crossbeam_channel",
    "ctrlc",
    "libc",
    "ring::rand",
    "signal_hook",
    "socket2",
    "ureq",
];

/// The same, however it was imported.
const IMPURE_CALLS: &[&str] =
    &["Instant::now", "SystemTime::now", "Timestamp::now", "Zoned::now", "SystemRandom::new", "TimeZone::system"];

const MAX_LINES: usize = 900;

#[test]
fn arrows_point_downward() {
    let sources = source::all();
    let macros = macros(&sources);
    none(sources.iter().flat_map(|source| upward_arrows(source, &macros)));
}

#[test]
fn floor_0_is_pure() {
    none(source::all().iter().filter(|source| FLOOR_0.contains(&source.room())).flat_map(impurities));
}

#[test]
fn unsafe_lives_in_sys() {
    none(source::all().iter().filter(|source| source.room() != "sys").flat_map(|source| {
        let lines = [source.lines_with("unsafe"), source.lines_with("allow ( unsafe_code )")].concat();
        complaints(source, lines, "unsafe code belongs to src/sys")
    }));
}

#[test]
fn only_the_output_of_commands_prints() {
    let may_print =
        |source: &Source| source.name == "src/main.rs" || source.module.starts_with(&["cli".into(), "output".into()]);
    let printers = ["println !", "eprintln !", "print !", "eprint !", "dbg !"];
    none(source::all().iter().filter(|source| !may_print(source)).flat_map(|source| {
        let lines = printers.iter().flat_map(|pattern| source.lines_with(pattern)).collect();
        complaints(source, lines, "printing panics on a closed pipe: use cli::output, or the log")
    }));
}

#[test]
fn unwrap_is_for_tests() {
    none(source::all().iter().flat_map(|source| {
        let lines = [". unwrap ( )", "todo !", "unimplemented !"].iter().flat_map(|p| source.lines_with(p)).collect();
        complaints(source, lines, "return an error, or `expect` with the reason why it cannot fail")
    }));
}

#[test]
fn no_file_is_too_long_to_read() {
    none(source::all().iter().filter_map(|source| {
        let lines = source.raw.lines().count();
        (lines > MAX_LINES).then(|| format!("{}: {lines} lines, at most {MAX_LINES}", source.name))
    }));
}

#[test]
fn the_map_in_lib_rs_names_every_room_in_this_order() {
    let lib = source::all().into_iter().find(|source| source.name == "src/lib.rs").expect("the crate has a root");
    let rooms: Vec<&str> =
        lib.code.lines().filter_map(|line| line.trim().strip_prefix("pub mod ")?.strip_suffix(';')).collect();
    assert!(rooms.len() > 10, "found only {rooms:?} in src/lib.rs");
    for room in &rooms {
        assert!(rank(room).is_some() || CELLAR.contains(room), "{room} has no place in ORDER");
    }
    let line = lib.raw.lines().find_map(|line| line.strip_prefix("//! Within the floors: ")).expect("the map's order");
    let mut last = 0;
    for step in line.trim_end_matches('.').split(" → ") {
        let ranks: Vec<_> =
            step.split(", ").map(|room| rank(room).unwrap_or_else(|| panic!("{room} in the map"))).collect();
        assert!(ranks.iter().all(|rank| *rank > last), "{step} stands elsewhere in the map of src/lib.rs");
        last = ranks[0];
    }
}

#[test]
fn a_wrong_arrow_is_noticed() {
    let complain = |name: &str, code: &str| {
        let source = Source::new(name, code);
        let macros = macros(&[Source::new("src/cli/output.rs", "#[macro_export] macro_rules! out { () => {} }")]);
        upward_arrows(&source, &macros).len() + impurities(&source).len()
    };
    let table = [
        ("src/hub/mod.rs", "use crate::rpc::Context;", 1),
        ("src/hub/mod.rs", "use super::rpc::Context;", 1),
        ("src/hub/a/b.rs", "use super::super::super::server;", 1),
        ("src/hub/mod.rs", "use crate::{store, agent::Run};", 1),
        ("src/hub/mod.rs", "fn f() { crate::gateway::stop() }", 1),
        ("src/hub/mod.rs", "use crate::store; use crate::sys::poll; use crate::VERSION;", 0),
        ("src/hub/mod.rs", "use crate::attic;", 1),
        ("src/hub/mod.rs", "use crate::*;", 1),
        ("src/cli/logs.rs", "use crate::out;", 0),
        ("src/hub/mod.rs", "use crate::out;", 1),
        ("src/http/head.rs", "use crate::ws;", 1),
        ("src/log/file.rs", "use crate::config;", 1),
        ("src/log/file.rs", "use crate::sys;", 0),
        ("src/main.rs", "fn main() { openclaw::cli::run() }", 0),
        ("src/http/head.rs", "use std::net::{IpAddr, TcpStream};", 1),
        ("src/http/head.rs", "use std::time::Instant; fn f() { Instant::now(); }", 1),
        ("src/policy/auth.rs", "use crate::sys::host;", 1),
    ];
    for (name, code, complaints) in table {
        assert_eq!(complain(name, code), complaints, "{name}: {code}");
    }
}

/// Exported macros and the room that each comes from: `crate::out` means `cli`.
fn macros(sources: &[Source]) -> BTreeMap<String, String> {
    let of = |source: &Source| {
        let room = source.room().to_owned();
        source.exported_macros().into_iter().map(move |name| (name, room.clone())).collect::<Vec<_>>()
    };
    sources.iter().flat_map(of).collect()
}

fn upward_arrows(source: &Source, macros: &BTreeMap<String, String>) -> Vec<String> {
    if source.room() == "lib" {
        return Vec::new();
    }
    let own = source.room();
    let mut found = Vec::new();
    for mention in source.mentions() {
        let [root, room, ..] = &mention.path[..] else { continue };
        let room = macros.get(room).filter(|_| mention.path.len() == 2).unwrap_or(room);
        // `crate::VERSION` and its like stand in the root itself.
        if root != "crate" || room == own || room.starts_with(|c: char| c.is_ascii_uppercase()) {
            continue;
        }
        let allowed = CELLAR.contains(&room.as_str())
            || !CELLAR.contains(&own) && matches!((rank(own), rank(room)), (Some(from), Some(to)) if from < to);
        if !allowed {
            found.push(format!("{}:{}: {own} must not use {}", source.name, mention.line, mention.path.join("::")));
        }
    }
    found
}

fn impurities(source: &Source) -> Vec<String> {
    if !FLOOR_0.contains(&source.room()) {
        return Vec::new();
    }
    let mut found = Vec::new();
    for mention in source.mentions() {
        let path = mention.path.join("::");
        let below = |forbidden: &&str| path == *forbidden || path.starts_with(&format!("{forbidden}::"));
        let impure = IMPURE.iter().any(below)
            || IMPURE_CALLS.iter().any(|call| path == *call || path.ends_with(&format!("::{call}")));
        if impure {
            found.push(format!("{}:{}: floor 0 must not use {path}", source.name, mention.line));
        }
    }
    found
}

fn rank(room: &str) -> Option<usize> {
    ORDER.iter().position(|row| row.contains(&room))
}

fn complaints(source: &Source, lines: Vec<usize>, rule: &str) -> Vec<String> {
    lines.into_iter().map(|line| format!("{}:{line}: {rule}", source.name)).collect()
}

fn none(complaints: impl Iterator<Item = String>) {
    let complaints: Vec<String> = complaints.collect();
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}
