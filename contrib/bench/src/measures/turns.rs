//! Agent turns against the model endpoint without latency, and a store with many sessions.

use std::time::{Duration, Instant};

use super::{ROUNDS, load, median, millis};
use crate::home::Home;
use crate::process::Server;
use crate::table::{Table, Target, Unit};
use crate::ws::Client;
use crate::{Bench, Result, fail};

const SESSIONS: usize = 10_000;

pub fn agent(bench: &Bench, table: &mut Table) -> Result<()> {
    let home = bench.home("agent", 0)?;
    let (ours, limit) = bench.pair(&home)?;
    let turns = bench.many(50);
    let [our_own, limit_own] = own_cost(bench, [&ours, &limit], 200, 5, turns)?;
    table.row("agent turn, 200 chunks: own cost, p50", Unit::Millis, our_own, Some(limit_own), Target::AtMost(3.0));
    let [our_long, limit_long] = own_cost(bench, [&ours, &limit], 2000, 524, 3 * ROUNDS)?;
    table.row("a 1 MB answer in 2,000 deltas", Unit::Millis, our_long, Some(limit_long), Target::AtMost(1000.0));
    Ok(())
}

/// Median time of a turn without what the model endpoint took, in milliseconds.
fn own_cost(bench: &Bench, servers: [&Server; 2], count: usize, bytes: usize, turns: usize) -> Result<[f64; 2]> {
    bench.model.prepare(count, bytes);
    let session = format!("agent:main:bench-{count}");
    let mut clients = Vec::new();
    for server in servers {
        let mut client = Client::connect(&server.door, None)?;
        turn(&mut client, &session, count, bytes)?;
        clients.push(client);
    }
    let mut costs = [Vec::new(), Vec::new()];
    for number in 0..turns {
        // Long answers must not add up: what would be measured is what a full context costs.
        let session = if count * bytes > 100_000 { format!("{session}-{number}") } else { session.clone() };
        for (client, costs) in clients.iter_mut().zip(&mut costs) {
            bench.model.take_spent();
            let total = turn(client, &session, count, bytes)?;
            let (model, requests) = bench.model.take_spent();
            if requests > 1 {
                return fail(format!("{requests} requests to the model for one turn"));
            }
            costs.push(millis(total.saturating_sub(model)));
        }
    }
    clients.into_iter().try_for_each(Client::close)?;
    Ok(costs.map(|mut costs| median(&mut costs)))
}

/// One turn from the request to its final answer.
fn turn(client: &mut Client, session: &str, count: usize, bytes: usize) -> Result<Duration> {
    let unique = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_nanos();
    let params = format!(
        "{{\"message\":\"chunks:{count}x{bytes}\",\"sessionKey\":\"{session}\",\"idempotencyKey\":\"bench-{unique}\"}}"
    );
    let begin = Instant::now();
    let id = client.send("agent", &params)?;
    client.answer(&id, |_| ())?;
    let answer = client.answer(&id, |_| ())?;
    let took = begin.elapsed();
    if answer.len() < count * bytes {
        let text = String::from_utf8_lossy(&answer[..answer.len().min(400)]);
        return fail(format!("the turn's answer is not what the model said: {text}"));
    }
    Ok(took)
}

pub fn sessions10k(bench: &Bench, table: &mut Table) -> Result<()> {
    let (empty, full) = (bench.home("none", 0)?, bench.home("many", SESSIONS)?);
    let (mut without, mut with) = (Vec::new(), Vec::new());
    for home in [&empty, &full] {
        Server::start(&bench.ours(home))?.0.stop()?;
    }
    for _ in 0..ROUNDS {
        for (times, home) in [(&mut without, &empty), (&mut with, &full)] {
            let (server, took) = Server::start(&bench.ours(home))?;
            times.push(millis(took));
            server.stop()?;
        }
    }
    let more = median(&mut with) - median(&mut without);
    table.row("10,000 sessions: start takes longer by", Unit::Millis, more, None, Target::AtMost(100.0));

    let (without, _) = Server::start(&bench.ours(&empty))?;
    let (with, _) = Server::start(&bench.ours(&full))?;
    std::thread::sleep(Duration::from_secs(5));
    let more = with.memory()?.rss as f64 - without.memory()?.rss as f64;
    table.row("  RSS idle is larger by", Unit::Memory, more, None, Target::AtMost(8.0 * 1024.0));
    // Here the column of the limit shows the gateway without sessions.
    let [many, none] = load::rates(bench, [&with, &without])?;
    table.row("  health per second against none", Unit::PerSecond, many, Some(none), Target::RatioAtLeast(0.95));

    let turns = bench.many(100);
    let before = with.written()?;
    let mut client = Client::connect(&with.door, None)?;
    for number in 0..turns {
        turn(&mut client, &Home::session_key(number % 10), 20, 5)?;
    }
    client.close()?;
    // Counters are written half a minute later, and belong to the turns.
    std::thread::sleep(Duration::from_millis(bench.many(35_000) as u64));
    let after = with.written()?;
    let (disk, handed) = ((after.0 - before.0) as f64 / turns as f64, (after.1 - before.1) as f64 / turns as f64);
    // Where there is no disk below (tmpfs), what was handed to write() is all there is to count.
    let written = if disk > 0.0 { disk } else { handed };
    table.row(&format!("  written per turn, over {turns} turns"), Unit::Bytes, written, None, Target::AtMost(32e3));
    table.row("  handed to write() per turn", Unit::Bytes, handed, None, Target::None);
    Ok(())
}
