//! Start, stop, and the command line as a process.

use std::time::Instant;

use super::{ROUNDS, median, millis};
use crate::process::{Server, measure_command};
use crate::swarm::Swarm;
use crate::table::{Table, Target, Unit};
use crate::{Bench, Result, fail};

pub fn start(bench: &Bench, table: &mut Table) -> Result<()> {
    let home = bench.home("start", 0)?;
    let (server, first) = Server::start(&bench.ours(&home))?;
    server.stop()?;
    let (mut ours, mut limit) = (Vec::new(), Vec::new());
    for _ in 0..2 * ROUNDS {
        for (times, recipe) in [(&mut ours, bench.ours(&home)), (&mut limit, bench.limit())] {
            let (server, took) = Server::start(&recipe)?;
            times.push(millis(took));
            server.stop()?;
        }
    }
    let limit = Some(median(&mut limit));
    table.row("exec to first hello-ok, second start", Unit::Millis, median(&mut ours), limit, Target::RatioAtMost(2.0));
    table.row("  the very first start", Unit::Millis, millis(first), None, Target::None);
    Ok(())
}

pub fn stop(bench: &Bench, table: &mut Table) -> Result<()> {
    let home = bench.home("stop", 0)?;
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        let (mut server, _) = Server::start(&bench.ours(&home))?;
        let mut swarm = Swarm::connect(&server.door, 50)?;
        let begin = Instant::now();
        server.signal(libc::SIGTERM);
        swarm.until_gone()?;
        times.push(millis(server.wait_exit(begin)?));
    }
    table.row("SIGTERM to exit, 50 clients", Unit::Millis, median(&mut times), None, Target::AtMost(50.0));
    table.row("  the slowest", Unit::Millis, times[times.len() - 1], None, Target::None);
    Ok(())
}

pub fn cli(bench: &Bench, table: &mut Table) -> Result<()> {
    let size = std::fs::metadata(&bench.binary)?.len();
    table.row("release binary", Unit::Bytes, size as f64, None, Target::AtMost(3.5e6));
    let home = bench.home("cli", 0)?;
    let (server, _) = Server::start(&bench.ours(&home))?;
    let (mut times, mut peak) = (Vec::new(), 0);
    for _ in 0..bench.many(20) {
        let mut command = home.command(&bench.binary);
        command.args(["gateway", "status", "--json", "--require-rpc"]);
        let cost = measure_command(command)?;
        if cost.status != 0 {
            return fail(format!(
                "`openclaw gateway status --json --require-rpc` ended with exit code {}",
                cost.status
            ));
        }
        times.push(millis(cost.time));
        peak = peak.max(cost.max_rss);
    }
    table.row("gateway status --json, as a process", Unit::Millis, median(&mut times), None, Target::AtMost(25.0));
    table.row("  its largest RSS", Unit::Memory, peak as f64, None, Target::AtMost(8.0 * 1024.0));
    server.stop()?;
    Ok(())
}
