//! What it costs to have the server around: memory, processor and wake-ups at rest, and what use leaves behind.

use std::time::{Duration, Instant};

use super::load::clients;
use super::{each, millis};
use crate::process::Server;
use crate::swarm::Swarm;
use crate::table::{Table, Target, Unit};
use crate::ws::Client;
use crate::{Bench, Result};

const MB: f64 = 1024.0;

pub fn idle(bench: &Bench, table: &mut Table) -> Result<()> {
    let home = bench.home("idle", 0)?;
    let (first, _) = Server::start(&bench.ours(&home))?;
    first.stop()?;
    let servers = [Server::spawn(&bench.ours(&home))?, Server::spawn(&bench.limit())?];
    // Five seconds without a connection, as the measure is defined; whether it came up shows afterwards.
    std::thread::sleep(Duration::from_secs(5));
    let [ours, limit] = [servers[0].memory()?, servers[1].memory()?];
    let before = snapshot(&servers)?;
    let window = Duration::from_millis(bench.many(10_000) as u64);
    std::thread::sleep(window);
    let after = snapshot(&servers)?;
    let rate = |server: usize, value: fn(&Snapshot) -> f64| {
        (value(&after[server]) - value(&before[server])) / window.as_secs_f64()
    };
    let at_most = Target::AtMost;
    table.row("RSS idle, 5 s after start", Unit::Memory, ours.rss as f64, Some(limit.rss as f64), at_most(6.0 * MB));
    let anonymous = Some(limit.anonymous as f64);
    table.row("  anonymous", Unit::Memory, ours.anonymous as f64, anonymous, at_most(1.5 * MB));
    let cpu = |server| rate(server, |snapshot| millis(snapshot.cpu));
    table.row("idle CPU", Unit::MillisPerSecond, cpu(0), Some(cpu(1)), at_most(0.5));
    let wakeups = |server| rate(server, |snapshot| snapshot.wakeups as f64);
    table.row("idle wake-ups", Unit::PerSecond, wakeups(0), Some(wakeups(1)), at_most(5.0));

    let mut with_clients = [0.0; 2];
    for (server, rss) in servers.iter().zip(&mut with_clients) {
        let mut swarm = Swarm::connect(&server.door, 200)?;
        swarm.rest(Duration::from_secs(5))?;
        *rss = server.memory()?.rss as f64;
    }
    let [ours, limit] = with_clients;
    table.row("RSS with 200 idle clients", Unit::Memory, ours, Some(limit), at_most(12.0 * MB));
    Ok(())
}

struct Snapshot {
    cpu: Duration,
    wakeups: u64,
}

fn snapshot(servers: &[Server; 2]) -> Result<[Snapshot; 2]> {
    let take = |server: &Server| Ok::<_, crate::Error>(Snapshot { cpu: server.cpu()?, wakeups: server.wakeups()? });
    Ok([take(&servers[0])?, take(&servers[1])?])
}

pub fn big(bench: &Bench, table: &mut Table) -> Result<()> {
    let home = bench.home("big", 0)?;
    let (ours, limit) = bench.pair(&home)?;
    // The limit never gives back: tungstenite keeps a buffer as long as the connection.
    let (bare, _) = after_big_messages(&limit, Duration::from_secs(2))?;
    let (grown, after) = after_big_messages(&ours, Duration::from_secs(75))?;
    table.row("RSS kept after 20 clients sent 5 MB each", Unit::Memory, grown, Some(bare), Target::AtMost(MB));
    table.row("  seen after", Unit::Seconds, after.as_secs_f64(), None, Target::None);
    Ok(())
}

/// Growth in kB once it is below 1 MB, or after `patience`; and when that was.
fn after_big_messages(server: &Server, patience: Duration) -> Result<(f64, Duration)> {
    let mut clients = clients(&server.door, 20)?;
    each(&mut clients, 1, |client| client.call("health", "{}").map(|_| ()))?;
    std::thread::sleep(Duration::from_secs(1));
    let before = server.memory()?.rss as f64;
    let params = format!("{{\"pad\":\"{}\"}}", "p".repeat(5 << 20));
    each(&mut clients, 1, |client| client.call("health", &params).map(|_| ()))?;
    let begin = Instant::now();
    let mut swarm = Swarm::adopt(clients)?;
    loop {
        swarm.rest(Duration::from_secs(1))?;
        let grown = server.memory()?.rss as f64 - before;
        if swarm.gone > 0 {
            return crate::fail(format!("{} of the 20 clients lost their connection", swarm.gone));
        }
        if grown <= MB || begin.elapsed() > patience {
            return Ok((grown, begin.elapsed()));
        }
    }
}

pub fn growth(bench: &Bench, table: &mut Table) -> Result<()> {
    let home = bench.home("growth", 0)?;
    let (ours, _limit) = bench.pair(&home)?;
    let at_most = Target::AtMost(256.0);

    // What only the start needed is given back a moment after it.
    settled(&ours)?;
    let mut clients = clients(&ours.door, 16)?;
    let request = |client: &mut Client| client.call("health", "{}").map(|_| ());
    each(&mut clients, 1000 / 16 + 1, request)?;
    let before = settled(&ours)?;
    let count = bench.many(500_000);
    each(&mut clients, count / 16, request)?;
    table.row(&format!("growth over {count} requests"), Unit::Memory, settled(&ours)? - before, None, at_most);
    clients.into_iter().try_for_each(Client::close)?;

    let connect = |_: &mut ()| Client::connect(&ours.door, None)?.close();
    each(&mut [(); 8], 1000 / 8, connect)?;
    let before = settled(&ours)?;
    let count = bench.many(10_000);
    each(&mut [(); 8], count / 8, connect)?;
    table.row(&format!("growth over {count} connects"), Unit::Memory, settled(&ours)? - before, None, at_most);
    Ok(())
}

/// Anonymous memory in kB when neither it nor the number of threads has changed for 3 s; at the latest after 20 s.
fn settled(server: &Server) -> Result<f64> {
    let end = Instant::now() + Duration::from_secs(20);
    let mut since = Instant::now();
    let mut seen = (server.memory()?.anonymous, server.threads()?);
    // Threads of a pool wait for work before they end, so a quiet second says nothing yet.
    while since.elapsed() < Duration::from_secs(3) && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(100));
        let now = (server.memory()?.anonymous, server.threads()?);
        if now != seen {
            (seen, since) = (now, Instant::now());
        }
    }
    Ok(seen.0 as f64)
}
