//! Throughput and latency: handshakes, requests, broadcasts.

use std::time::{Duration, Instant};

use super::{ROUNDS, TURN, TURNS, median, micros, millis, per_second};
use crate::device::Device;
use crate::process::Server;
use crate::swarm::Swarm;
use crate::table::{Table, Target, Unit};
use crate::ws::{Client, Door};
use crate::{Bench, Result};

const FAN: usize = 200;
const EVENT_BYTES: usize = 1024;

pub fn connect(bench: &Bench, table: &mut Table) -> Result<()> {
    let home = bench.home("connect", 0)?;
    let (ours, limit) = bench.pair(&home)?;
    let mut devices: Vec<Option<Device>> = (0..8).map(|seed| Some(Device::from_seed(seed))).collect();
    for device in &devices {
        // The first time pairs it, which writes; what is measured are its later visits.
        Client::connect(&ours.door, device.as_ref())?.close()?;
    }
    let mut strangers: Vec<Option<Device>> = (0..8).map(|_| None).collect();
    let shake = |door: &Door, devices: &mut [Option<Device>]| {
        per_second(devices, TURN, |device| Client::connect(door, device.as_ref())?.close())
    };
    let (mut token, mut paired, mut bare) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..bench.many(TURNS) {
        token.push(shake(&ours.door, &mut strangers)?);
        bare.push(shake(&limit.door, &mut strangers)?);
        paired.push(shake(&ours.door, &mut devices)?);
    }
    let bare = Some(median(&mut bare));
    let least = Target::RatioAtLeast;
    table.row("connects per second, 8 at a time, token", Unit::PerSecond, median(&mut token), bare, least(0.6));
    table.row("  with a paired device", Unit::PerSecond, median(&mut paired), bare, least(0.3));
    Ok(())
}

pub fn rpc(bench: &Bench, table: &mut Table) -> Result<()> {
    let home = bench.home("rpc", 0)?;
    let (ours, limit) = bench.pair(&home)?;
    let (mut our_times, mut limit_times) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        round_trips(&ours, bench.many(4000), &mut our_times)?;
        round_trips(&limit, bench.many(4000), &mut limit_times)?;
    }
    let p50 = median(&mut our_times);
    table.row("health, 1 client, p50", Unit::Micros, p50, Some(median(&mut limit_times)), Target::RatioAtMost(1.4));
    let p99 = |times: &[f64]| times[times.len() * 99 / 100];
    table.row("  p99", Unit::Micros, p99(&our_times), Some(p99(&limit_times)), Target::None);
    let [our_rate, limit_rate] = rates(bench, [&ours, &limit])?;
    table.row("health per second, 16 clients", Unit::PerSecond, our_rate, Some(limit_rate), Target::RatioAtLeast(0.75));
    Ok(())
}

fn round_trips(server: &Server, count: usize, times: &mut Vec<f64>) -> Result<()> {
    let mut client = Client::connect(&server.door, None)?;
    for turn in 0..count + 100 {
        let begin = Instant::now();
        client.call("health", "{}")?;
        // The first hundred warm the caches.
        if turn >= 100 {
            times.push(micros(begin.elapsed()));
        }
    }
    client.close()
}

/// Requests per second of 16 clients, in turns; the median for each server.
pub fn rates<const N: usize>(bench: &Bench, servers: [&Server; N]) -> Result<[f64; N]> {
    let mut rates: [Vec<f64>; N] = std::array::from_fn(|_| Vec::new());
    for _ in 0..bench.many(TURNS) {
        for (server, rates) in servers.iter().zip(&mut rates) {
            let mut clients = clients(&server.door, 16)?;
            rates.push(per_second(&mut clients, TURN, |client| client.call("health", "{}").map(|_| ()))?);
            clients.into_iter().try_for_each(Client::close)?;
        }
    }
    Ok(rates.map(|mut rates| median(&mut rates)))
}

pub fn clients(door: &Door, count: usize) -> Result<Vec<Client>> {
    (0..count).map(|_| Client::connect(door, None)).collect()
}

pub fn fanout(bench: &Bench, table: &mut Table) -> Result<()> {
    let home = bench.home("fanout", 0)?;
    let (ours, limit) = bench.pair(&home)?;
    let mut both = [Fan::new(ours)?, Fan::new(limit)?];
    for _ in 0..2 * ROUNDS {
        for fan in &mut both {
            fan.round(bench.many(100))?;
        }
    }
    let [ours, limit] = &mut both;
    let cpu = Some(limit.cpu_per_delivery());
    table.row(
        &format!("CPU per delivered event, {} B, {FAN} clients", ours.swarm.event_bytes),
        Unit::Micros,
        ours.cpu_per_delivery(),
        cpu,
        Target::RatioAtMost(1.3),
    );
    let last = Some(median(&mut limit.times));
    let name = format!("system-event to the last of {FAN}, p50");
    table.row(&name, Unit::Millis, median(&mut ours.times), last, Target::RatioAtMost(1.3));
    Ok(())
}

struct Fan {
    server: Server,
    swarm: Swarm,
    text: String,
    cpu: Duration,
    events: u64,
    times: Vec<f64>,
}

impl Fan {
    fn new(server: Server) -> Result<Fan> {
        let mut swarm = Swarm::connect(&server.door, FAN)?;
        // The event is the presence list, so its length follows that of the text; find the text for 1 kB. Its first
        // letters name the presence entry and stay the same, so there is one; without `Node:` fields nothing is
        // kept for the model to read.
        let text = |length: usize| format!("Node: bench {}", "x".repeat(length));
        let guess = 400;
        swarm.broadcast(&text(guess))?;
        let length = (guess + EVENT_BYTES).saturating_sub(swarm.event_bytes).max(60);
        let mut fan = Fan { server, swarm, text: text(length), cpu: Duration::ZERO, events: 0, times: Vec::new() };
        fan.round(20)?;
        (fan.cpu, fan.events) = (Duration::ZERO, 0);
        fan.times.clear();
        Ok(fan)
    }

    fn round(&mut self, count: usize) -> Result<()> {
        let (cpu, events) = (self.server.cpu()?, self.swarm.events);
        for _ in 0..count {
            self.times.push(millis(self.swarm.broadcast(&self.text)?));
        }
        self.cpu += self.server.cpu()? - cpu;
        self.events += self.swarm.events - events;
        Ok(())
    }

    fn cpu_per_delivery(&self) -> f64 {
        micros(self.cpu) / self.events as f64
    }
}
