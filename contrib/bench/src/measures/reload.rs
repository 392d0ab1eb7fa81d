//! A changed configuration: what watching for it costs, and how soon it is in force.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{median, millis};
use crate::home::Home;
use crate::process::Server;
use crate::table::{Table, Target, Unit};
use crate::ws::{Client, PATIENCE, find};
use crate::{Bench, Result, fail};

const EDITS: usize = 20;
/// Agents with long names make a configuration of this size.
const BIG: usize = 200_000;

pub fn reload(bench: &Bench, table: &mut Table) -> Result<()> {
    if bench.self_test {
        return Ok(());
    }
    let home = bench.home("reload", 0)?;
    let (server, _) = Server::start(&bench.ours(&home))?;
    std::thread::sleep(Duration::from_secs(5));
    let window = Duration::from_millis(bench.many(20_000) as u64);
    let before = server.thread_cpu("reload")?;
    std::thread::sleep(window);
    let spent = millis(server.thread_cpu("reload")? - before) / window.as_secs_f64();
    table.row("CPU of watching the configuration", Unit::MillisPerSecond, spent, None, Target::AtMost(0.2));

    let mut client = Client::connect(&server.door, None)?;
    let mut times = Vec::new();
    for number in 0..bench.many(EDITS) {
        // Another moment of the watch's period each time.
        std::thread::sleep(Duration::from_millis(137 * (number as u64 % 7)));
        let begin = write(&home, &format!("edit-{number}"), 0)?;
        times.push(millis(applied(&mut client, &format!("edit-{number}"), begin)?));
    }
    let worst = times.iter().copied().fold(0.0, f64::max);
    table.row("change to applied, p50", Unit::Millis, median(&mut times), None, Target::None);
    table.row("  slowest", Unit::Millis, worst, None, Target::AtMost(800.0));

    let mut times = Vec::new();
    for number in 0..bench.many(EDITS) {
        write(&home, &format!("big-{number}"), BIG)?;
        let begin = Instant::now();
        server.signal(libc::SIGHUP);
        times.push(millis(applied(&mut client, &format!("big-{number}"), begin)?));
    }
    table.row("SIGHUP to applied, 200 kB, p50", Unit::Millis, median(&mut times), None, Target::None);
    client.close()?;
    server.stop()?;
    Ok(())
}

/// Replaces the configuration, as an editor does that writes beside it and renames; the moment in which it was there.
fn write(home: &Home, name: &str, bytes: usize) -> Result<Instant> {
    let path = home.config();
    let mut config: Value = serde_json::from_slice(&fs::read(&path)?)?;
    let mut list = vec![json!({"id": "main", "name": name})];
    list.extend((0..bytes / 1000).map(|n| json!({"id": format!("agent-{n}"), "name": "n".repeat(960)})));
    config["agents"]["list"] = Value::Array(list);
    let beside = path.with_extension("new");
    fs::write(&beside, serde_json::to_vec(&config)?)?;
    fs::rename(beside, path)?;
    Ok(Instant::now())
}

/// The time from `begin` until a client sees the name.
fn applied(client: &mut Client, name: &str, begin: Instant) -> Result<Duration> {
    let wanted = format!("\"{name}\"");
    while find(client.call("agent.identity.get", "{}")?, wanted.as_bytes()).is_none() {
        if begin.elapsed() > PATIENCE {
            return fail("the gateway does not see the change");
        }
        std::thread::sleep(Duration::from_micros(500));
    }
    Ok(begin.elapsed())
}
