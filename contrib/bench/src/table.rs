//! The table: one line for each measure, printed as soon as it is known.

use std::io::Write;

#[derive(Clone, Copy)]
pub enum Unit {
    Millis,
    Micros,
    Seconds,
    PerSecond,
    MillisPerSecond,
    /// Values are kB of memory: 1024 bytes, as the kernel counts them.
    Memory,
    /// Values are bytes: of a file or written to one.
    Bytes,
}

impl Unit {
    fn show(self, value: f64) -> String {
        match self {
            Unit::Millis => format!("{value:.2} ms"),
            Unit::Micros => format!("{value:.1} µs"),
            Unit::Seconds => format!("{value:.1} s"),
            Unit::PerSecond if value < 100.0 => format!("{value:.1}/s"),
            Unit::PerSecond => format!("{value:.0}/s"),
            Unit::MillisPerSecond => format!("{value:.2} ms/s"),
            Unit::Memory if value.abs() < 1024.0 => format!("{value:.0} kB"),
            Unit::Memory => format!("{:.2} MB", value / 1024.0),
            Unit::Bytes if value.abs() < 1e6 => format!("{:.1} kB", value / 1e3),
            Unit::Bytes => format!("{:.2} MB", value / 1e6),
        }
    }
}

/// What a measure must reach.
#[derive(Clone, Copy)]
pub enum Target {
    /// In the measure's own unit.
    AtMost(f64),
    /// Times the limit's figure from the same run.
    RatioAtMost(f64),
    RatioAtLeast(f64),
    /// For information.
    None,
}

#[derive(Default)]
pub struct Table {
    pub rows: usize,
    pub missed: usize,
}

impl Table {
    pub fn head(&self) {
        line("measure", "ours", "limit", "ratio", "target", "");
        println!("{}", "-".repeat(92));
    }

    pub fn row(&mut self, measure: &str, unit: Unit, ours: f64, limit: Option<f64>, target: Target) {
        let ratio = limit.filter(|limit| *limit > 0.0).map(|limit| ours / limit);
        let (wanted, met) = match target {
            Target::AtMost(most) => (format!("<= {}", unit.show(most)), Some(ours <= most)),
            Target::RatioAtMost(most) => (format!("<= {most} x"), Some(ratio.is_some_and(|ratio| ratio <= most))),
            Target::RatioAtLeast(least) => (format!(">= {least} x"), Some(ratio.is_some_and(|ratio| ratio >= least))),
            Target::None => (String::new(), None),
        };
        let verdict = met.map_or("", |met| if met { "ok" } else { "MISS" });
        let limit = limit.map(|limit| unit.show(limit)).unwrap_or_default();
        let ratio = ratio.map(|ratio| format!("{ratio:.2}")).unwrap_or_default();
        line(measure, &unit.show(ours), &limit, &ratio, &wanted, verdict);
        self.count(met != Some(false));
    }

    /// A measure that could not be taken counts as missed.
    pub fn failed(&mut self, measure: &str, error: &crate::Error) {
        line(measure, "failed", "", "", "", "MISS");
        println!("    {}", error.to_string().replace('\n', "\n    "));
        self.count(false);
    }

    fn count(&mut self, met: bool) {
        self.rows += 1;
        self.missed += usize::from(!met);
    }
}

fn line(measure: &str, ours: &str, limit: &str, ratio: &str, target: &str, verdict: &str) {
    println!("{measure:<43} {ours:>10} {limit:>10} {ratio:>6} {target:>13} {verdict:>5}");
    // A table that goes to a file should still grow line by line.
    let _ = std::io::stdout().flush();
}
