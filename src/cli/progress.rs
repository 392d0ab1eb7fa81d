//! What a command does while it takes its time: one line on standard error that is rewritten, on a terminal only and
//! only from the second second on. Into a pipe goes nothing.

use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use super::output::{ellipsis, write_err};

const SHOW_AFTER: Duration = Duration::from_secs(1);
const REDRAW_AFTER: Duration = Duration::from_millis(200);
/// Clears the line.
const CLEAR: &str = "\r\x1b[K";

pub struct Progress {
    /// None where nobody looks.
    next: Option<Instant>,
    shown: bool,
    columns: usize,
}

impl Progress {
    /// `quiet`: nothing is shown, e.g. with `--json`.
    pub fn new(columns: usize, quiet: bool) -> Progress {
        let watched = !quiet && std::io::stderr().is_terminal();
        Progress::starting(Instant::now(), columns, watched)
    }

    fn starting(now: Instant, columns: usize, watched: bool) -> Progress {
        Progress { next: watched.then_some(now + SHOW_AFTER), shown: false, columns }
    }

    /// The work is here now. Cheap: most calls only look at the clock.
    pub fn at(&mut self, text: impl FnOnce() -> String) {
        if let Some(line) = self.line(Instant::now(), text) {
            write_err(&line);
        }
    }

    fn line(&mut self, now: Instant, text: impl FnOnce() -> String) -> Option<String> {
        if self.next.is_none_or(|next| now < next) {
            return None;
        }
        self.next = Some(now + REDRAW_AFTER);
        self.shown = true;
        Some(format!("{CLEAR}{}", ellipsis(&super::output::plain(&text()), self.columns.saturating_sub(1))))
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.shown {
            write_err(CLEAR);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_the_first_second_and_never_into_a_pipe() {
        let start = Instant::now();
        let later = |ms: u64| start + Duration::from_millis(ms);
        let mut progress = Progress::starting(start, 20, true);
        for (ms, line) in [(0, None), (999, None), (1000, Some("at 1000")), (1100, None), (1200, Some("at 1200"))] {
            let shown = progress.line(later(ms), || format!("at {ms}"));
            assert_eq!(shown, line.map(|line| format!("{CLEAR}{line}")), "{ms}");
        }
        let long = progress.line(later(5000), || "x".repeat(50)).unwrap();
        assert!(long.chars().count() <= CLEAR.chars().count() + 19, "{long:?}");
        progress.shown = false;
        let mut piped = Progress::starting(start, 20, false);
        assert_eq!(piped.line(later(9000), || unreachable!("nobody looks")), None);
    }
}
