//! The measures, one function for each mode. Ours and the limit take turns, so that a machine that becomes slower
//! meanwhile becomes slower for both.

mod config;
mod http;
mod load;
mod memory;
mod process;
mod reload;
mod turns;

use std::time::{Duration, Instant};

use crate::table::Table;
use crate::{Bench, Result};

type Measure = fn(&Bench, &mut Table) -> Result<()>;

pub const MODES: &[(&str, Measure)] = &[
    ("start", process::start),
    ("connect", load::connect),
    ("rpc", load::rpc),
    ("idle", memory::idle),
    ("fanout", load::fanout),
    ("agent", turns::agent),
    ("http", http::http),
    ("growth", memory::growth),
    ("big", memory::big),
    ("cli", process::cli),
    ("config", config::config),
    ("stop", process::stop),
    ("reload", reload::reload),
    ("sessions10k", turns::sessions10k),
];

const ROUNDS: usize = 5;
/// Rates are taken in short turns: the shorter, the less one side gets of a busy moment.
const TURNS: usize = 15;
const TURN: Duration = Duration::from_millis(300);

pub fn median<T: PartialOrd + Copy>(values: &mut [T]) -> T {
    values.sort_by(|a, b| a.partial_cmp(b).expect("no measure is NaN"));
    values[values.len() / 2]
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

/// How often per second `work` gets done when every state has a thread of its own.
fn per_second<S: Send>(states: &mut [S], time: Duration, work: impl Fn(&mut S) -> Result<()> + Sync) -> Result<f64> {
    let begin = Instant::now();
    let done = std::thread::scope(|scope| {
        let work = &work;
        let worker = |state: &mut S| -> Result<u64> {
            let mut count = 0;
            while begin.elapsed() < time {
                work(state)?;
                count += 1;
            }
            Ok(count)
        };
        let threads: Vec<_> = states.iter_mut().map(|state| scope.spawn(move || worker(state))).collect();
        threads.into_iter().map(|thread| thread.join().expect("workers do not panic")).sum::<Result<u64>>()
    })?;
    Ok(done as f64 / begin.elapsed().as_secs_f64())
}

/// The same for a fixed number of pieces for each state.
fn each<S: Send>(states: &mut [S], count: usize, work: impl Fn(&mut S) -> Result<()> + Sync) -> Result<()> {
    std::thread::scope(|scope| {
        let work = &work;
        let worker = |state: &mut S| (0..count).try_for_each(|_| work(state));
        let threads: Vec<_> = states.iter_mut().map(|state| scope.spawn(move || worker(state))).collect();
        threads.into_iter().try_for_each(|thread| thread.join().expect("workers do not panic"))
    })
}
