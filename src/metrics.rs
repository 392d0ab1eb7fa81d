//! What happened in this process so far, in numbers: counters where things happen, one page for Prometheus.
//!
//! Counting is one relaxed addition without a lock or an allocation; labels come from fixed lists, so that nobody from
//! outside can make the page grow. Any thread.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Upper bounds of the buckets of run durations, in seconds.
const SECONDS: [f64; 11] = [0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0];
/// The row of everything that no list names.
const OTHER: &str = "other";

/// Everything that is counted. One for the process: a restart inside of it counts on.
pub struct Metrics {
    pub began: Instant,
    /// Seconds since 1970.
    pub began_at: f64,
    pub connections: Counter,
    pub connections_refused: Counter,
    pub ws_connects: Counter,
    /// By role; goes up and down.
    pub ws_clients: Table,
    /// By method and outcome.
    pub rpc: Table,
    /// By route and class of status.
    pub http: Table,
    pub runs: Table,
    pub run_seconds: Histogram,
    pub tokens: Table,
    pub events_skipped: Counter,
    pub slow_consumers: Counter,
    pub reloads: Table,
    /// By webhook; whoever takes one counts it.
    pub webhooks: Table,
    pub tools: Table,
}

pub const RPC_OUTCOMES: &[&str] = &["ok", "error", "deferred"];
pub const STATUS_CLASSES: &[&str] = &["1xx", "2xx", "3xx", "4xx", "5xx"];
pub const RUN_OUTCOMES: &[&str] = &["completed", "error", "aborted", "timeout"];
pub const TOKEN_TYPES: &[&str] = &["input", "output", "cache_read", "cache_write"];
pub const RELOAD_OUTCOMES: &[&str] = &["applied", "unchanged", "restart", "refused"];
pub const TOOL_OUTCOMES: &[&str] = &["completed", "error"];
const ROLES: &[&str] = &["operator", "node"];
const WEBHOOKS: &[&str] = &["wake", "agent", "mapped"];
/// For tables with one list only.
const ONE: &[&str] = &[""];

#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Numbers for every pair of two fixed lists.
pub struct Table {
    rows: Vec<&'static str>,
    columns: &'static [&'static str],
    cells: Vec<AtomicU64>,
}

impl Table {
    fn new(rows: Vec<&'static str>, columns: &'static [&'static str]) -> Table {
        let cells = (0..rows.len() * columns.len()).map(|_| AtomicU64::new(0)).collect();
        Table { rows, columns, cells }
    }

    /// The same with a row for names that are not listed.
    fn open(mut rows: Vec<&'static str>, columns: &'static [&'static str]) -> Table {
        rows.push(OTHER);
        Table::new(rows, columns)
    }

    /// Counts one; a name that is not listed counts in the last row or not at all in a column.
    pub fn count(&self, row: &str, column: &str) {
        self.add(row, column, 1);
    }

    pub fn add(&self, row: &str, column: &str, n: u64) {
        if let Some(cell) = self.cell(row, column) {
            cell.fetch_add(n, Ordering::Relaxed);
        }
    }

    pub fn take_one(&self, row: &str, column: &str) {
        if let Some(cell) = self.cell(row, column) {
            let less = |n: u64| Some(n.saturating_sub(1));
            let _ = cell.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        }
    }

    pub fn clear(&self) {
        self.cells.iter().for_each(|cell| cell.store(0, Ordering::Relaxed));
    }

    fn cell(&self, row: &str, column: &str) -> Option<&AtomicU64> {
        let row = self.rows.iter().position(|name| *name == row).unwrap_or(self.rows.len() - 1);
        let column = self.columns.iter().position(|name| *name == column)?;
        self.cells.get(row * self.columns.len() + column)
    }

    /// Row, column, number.
    pub fn cells(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> + '_ {
        let names = self.rows.iter().flat_map(|row| self.columns.iter().map(move |column| (*row, *column)));
        names.zip(&self.cells).map(|((row, column), cell)| (row, column, cell.load(Ordering::Relaxed)))
    }
}

/// How long things took.
#[derive(Default)]
pub struct Histogram {
    buckets: [AtomicU64; SECONDS.len() + 1],
    micros: AtomicU64,
}

impl Histogram {
    pub fn observe(&self, took: Duration) {
        let at = SECONDS.iter().position(|bound| took.as_secs_f64() <= *bound).unwrap_or(SECONDS.len());
        self.buckets[at].fetch_add(1, Ordering::Relaxed);
        self.micros.fetch_add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

impl Metrics {
    /// The lists that rooms above know.
    pub fn new(methods: Vec<&'static str>, routes: Vec<&'static str>, tools: Vec<&'static str>) -> Metrics {
        let began_at = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |d| d.as_secs_f64());
        Metrics {
            began: Instant::now(),
            began_at,
            connections: Counter::default(),
            connections_refused: Counter::default(),
            ws_connects: Counter::default(),
            ws_clients: Table::new(ROLES.to_vec(), ONE),
            rpc: Table::open(methods, RPC_OUTCOMES),
            http: Table::open(routes, STATUS_CLASSES),
            runs: Table::new(ONE.to_vec(), RUN_OUTCOMES),
            run_seconds: Histogram::default(),
            tokens: Table::new(ONE.to_vec(), TOKEN_TYPES),
            events_skipped: Counter::default(),
            slow_consumers: Counter::default(),
            reloads: Table::new(ONE.to_vec(), RELOAD_OUTCOMES),
            webhooks: Table::new(WEBHOOKS.to_vec(), ONE),
            tools: Table::open(tools, TOOL_OUTCOMES),
        }
    }

    /// One answer to an HTTP request.
    pub fn answered(&self, route: &str, status: u16) {
        let class = usize::from(status / 100).clamp(1, 5) - 1;
        self.http.count(route, STATUS_CLASSES[class]);
    }
}

/// The text format of Prometheus, 0.0.4, one family after the other.
#[derive(Default)]
pub struct Page {
    text: String,
    family: &'static str,
}

impl Page {
    /// Begins a family; `kind` is counter, gauge or histogram.
    pub fn family(&mut self, name: &'static str, kind: &str, help: &str) -> &mut Page {
        self.family = name;
        let help = help.replace('\\', "\\\\").replace('\n', "\\n");
        self.line(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
        self
    }

    pub fn sample(&mut self, labels: &[(&str, &str)], value: f64) {
        self.named("", labels, value);
    }

    /// A family with one sample.
    pub fn single(&mut self, name: &'static str, kind: &str, help: &str, value: f64) {
        self.family(name, kind, help).sample(&[], value);
    }

    /// A sample for every cell; a label without a name belongs to a table with one list. Rows of open tables that never
    /// counted are left out: a hundred methods times three would be a long page of zeros.
    pub fn table(&mut self, table: &Table, row_label: &str, column_label: &str) {
        let sparse = table.rows.last() == Some(&OTHER);
        for (row, column, n) in table.cells().filter(|(.., n)| !sparse || *n > 0) {
            let labels = [(row_label, row), (column_label, column)];
            let named: Vec<(&str, &str)> = labels.into_iter().filter(|(name, _)| !name.is_empty()).collect();
            self.sample(&named, n as f64);
        }
    }

    pub fn histogram(&mut self, histogram: &Histogram) {
        let mut count = 0;
        for (at, bucket) in histogram.buckets.iter().enumerate() {
            count += bucket.load(Ordering::Relaxed);
            let bound = SECONDS.get(at).map_or("+Inf".to_owned(), ToString::to_string);
            self.named("_bucket", &[("le", &bound)], count as f64);
        }
        self.named("_sum", &[], histogram.micros.load(Ordering::Relaxed) as f64 / 1e6);
        self.named("_count", &[], count as f64);
    }

    pub fn finish(self) -> String {
        self.text
    }

    fn named(&mut self, suffix: &str, labels: &[(&str, &str)], value: f64) {
        self.text.push_str(self.family);
        self.text.push_str(suffix);
        for (at, (name, text)) in labels.iter().enumerate() {
            let text = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            self.line(format_args!("{}{name}=\"{text}\"", if at == 0 { '{' } else { ',' }));
        }
        self.line(format_args!("{} {value}\n", if labels.is_empty() { "" } else { "}" }));
    }

    fn line(&mut self, text: std::fmt::Arguments<'_>) {
        self.text.write_fmt(text).expect("memory takes everything");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_their_page() {
        let metrics = Metrics::new(vec!["health", "agent"], vec!["probes"], vec![]);
        metrics.rpc.count("health", "ok");
        metrics.rpc.count("health", "ok");
        metrics.rpc.count("from outside", "error");
        metrics.rpc.count("agent", "no such outcome");
        metrics.answered("probes", 204);
        metrics.answered("probes", 999);
        metrics.ws_clients.count("node", "");
        metrics.ws_clients.count("node", "");
        metrics.ws_clients.take_one("node", "");
        metrics.ws_clients.take_one("operator", "");
        metrics.run_seconds.observe(Duration::from_millis(100));
        metrics.run_seconds.observe(Duration::from_secs(3));
        metrics.run_seconds.observe(Duration::from_secs(3600));
        let mut page = Page::default();
        page.family("rpc", "counter", "A \\ and a\nline.").table(&metrics.rpc, "method", "outcome");
        page.family("http", "counter", "h").table(&metrics.http, "route", "status");
        page.family("clients", "gauge", "c").table(&metrics.ws_clients, "role", "");
        page.family("seconds", "histogram", "s").histogram(&metrics.run_seconds);
        page.family("odd", "gauge", "o").sample(&[("a", "\"b\"\\\n"), ("c", "d")], 1.5);
        page.single("one", "gauge", "1", 2e15);
        let text = page.finish();
        for line in [
            "# HELP rpc A \\\\ and a\\nline.",
            "# TYPE rpc counter",
            "rpc{method=\"health\",outcome=\"ok\"} 2",
            "rpc{method=\"other\",outcome=\"error\"} 1",
            "http{route=\"probes\",status=\"2xx\"} 1",
            "http{route=\"probes\",status=\"5xx\"} 1",
            "clients{role=\"operator\"} 0",
            "clients{role=\"node\"} 1",
            "seconds_bucket{le=\"0.1\"} 1",
            "seconds_bucket{le=\"2.5\"} 1",
            "seconds_bucket{le=\"5\"} 2",
            "seconds_bucket{le=\"600\"} 2",
            "seconds_bucket{le=\"+Inf\"} 3",
            "seconds_sum 3603.1",
            "seconds_count 3",
            "odd{a=\"\\\"b\\\"\\\\\\n\",c=\"d\"} 1.5",
            "one 2000000000000000",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} in\n{text}");
        }
        assert!(!text.contains("agent") && !text.contains("from outside"), "{text}");
    }
}
