//! What a command does while it takes its time: one line on standard error that is rewritten, on a terminal only and
//! only from the second second on, and gone at the end. A terminal that shall not or cannot rewrite (NO_COLOR, TERM=dumb)
//! gets the line once; into a pipe goes nothing.
//!
//! [`Progress`] is for work that says where it is, [`Waiting`] for calls that block: a thread draws for those.

use std::io::IsTerminal as _;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{RecvTimeoutError, Sender};
use parking_lot::Mutex;

use super::context::env;
use super::output::{ellipsis, plain, write_err};

const SHOW_AFTER: Duration = Duration::from_secs(1);
const REDRAW_AFTER: Duration = Duration::from_millis(200);
/// Clears the line.
const CLEAR: &str = "\r\x1b[K";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Style {
    Rewritten,
    Once,
}

pub struct Progress {
    style: Style,
    /// None where nobody looks, or where everything has been said.
    next: Option<Instant>,
    shown: bool,
    columns: usize,
}

impl Progress {
    /// `quiet`: nothing is shown, e.g. with `--json`.
    pub fn new(columns: usize, quiet: bool) -> Progress {
        let watched = !quiet && std::io::stderr().is_terminal();
        Progress::starting(Instant::now(), columns, style(env), watched)
    }

    fn starting(now: Instant, columns: usize, style: Style, watched: bool) -> Progress {
        Progress { style, next: watched.then_some(now + SHOW_AFTER), shown: false, columns }
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
        let text = plain(&text());
        if self.style == Style::Once {
            self.next = None;
            return Some(format!("{text}\n"));
        }
        self.next = Some(now + REDRAW_AFTER);
        self.shown = true;
        Some(format!("{CLEAR}{}", ellipsis(&text, self.columns.saturating_sub(1))))
    }

    /// The line is free for something else.
    fn clear(&mut self) {
        if std::mem::take(&mut self.shown) {
            write_err(CLEAR);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}

/// As for colours: whoever wants none, or has a terminal without them, has no use for sequences that move the cursor.
fn style(env: impl Fn(&str) -> Option<String>) -> Style {
    let set = |name: &str| env(name).filter(|value| !value.is_empty());
    match set("NO_COLOR").is_some() || set("TERM").is_none_or(|term| term == "dumb") {
        true => Style::Once,
        false => Style::Rewritten,
    }
}

/// Says what a command waits for, until it is dropped.
pub struct Waiting(Option<Drawing>);

struct Drawing {
    drawn: Arc<Mutex<Drawn>>,
    /// Closed: the thread ends.
    open: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

struct Drawn {
    progress: Progress,
    text: String,
    since: Instant,
}

impl Waiting {
    /// `text`: without a full stop; the seconds come behind it. `quiet` as for [`Progress::new`].
    pub fn new(columns: usize, quiet: bool, text: impl Into<String>) -> Waiting {
        let progress = Progress::new(columns, quiet);
        if progress.next.is_none() {
            return Waiting(None);
        }
        let drawn = Arc::new(Mutex::new(Drawn { progress, text: text.into(), since: Instant::now() }));
        let (open, closed) = crossbeam_channel::bounded::<()>(0);
        let line = Arc::clone(&drawn);
        let draw = move || {
            while closed.recv_timeout(REDRAW_AFTER) == Err(RecvTimeoutError::Timeout) {
                line.lock().draw();
            }
        };
        // Without a thread the work is done all the same.
        let thread = thread::Builder::new().name("progress".into()).spawn(draw).ok();
        Waiting(Some(Drawing { drawn, open: Some(open), thread }))
    }

    /// Something else is waited for now.
    pub fn now(&self, text: impl FnOnce() -> String) {
        if let Some(drawing) = &self.0 {
            drawing.drawn.lock().text = text();
        }
    }

    /// Prints something in between.
    pub fn aside(&self, print: impl FnOnce()) {
        let mut line = self.0.as_ref().map(|drawing| drawing.drawn.lock());
        if let Some(drawn) = line.as_mut() {
            drawn.progress.clear();
        }
        print();
    }
}

impl Drop for Drawing {
    fn drop(&mut self) {
        self.open = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drawn {
    fn draw(&mut self) {
        let (text, seconds) = (&self.text, self.since.elapsed().as_secs());
        let once = self.progress.style == Style::Once;
        self.progress.at(|| if once { text.clone() } else { format!("{text} ({seconds} s)") });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_the_first_second_and_never_into_a_pipe() {
        let start = Instant::now();
        let later = |ms: u64| start + Duration::from_millis(ms);
        let mut progress = Progress::starting(start, 20, Style::Rewritten, true);
        for (ms, line) in [(0, None), (999, None), (1000, Some("at 1000")), (1100, None), (1200, Some("at 1200"))] {
            let shown = progress.line(later(ms), || format!("at {ms}"));
            assert_eq!(shown, line.map(|line| format!("{CLEAR}{line}")), "{ms}");
        }
        let long = progress.line(later(5000), || "x".repeat(50)).unwrap();
        assert!(long.chars().count() <= CLEAR.chars().count() + 19, "{long:?}");
        progress.shown = false;
        let mut piped = Progress::starting(start, 20, Style::Rewritten, false);
        assert_eq!(piped.line(later(9000), || unreachable!("nobody looks")), None);
    }

    #[test]
    fn a_terminal_that_cannot_rewrite_gets_the_line_once() {
        let start = Instant::now();
        let mut progress = Progress::starting(start, 20, Style::Once, true);
        assert_eq!(progress.line(start + SHOW_AFTER, || "at work".into()).as_deref(), Some("at work\n"));
        assert_eq!(progress.line(start + SHOW_AFTER * 9, || unreachable!("once")), None);
        assert!(!progress.shown, "there is nothing to take back");
        for (term, no_color, wanted) in [
            (Some("xterm"), None, Style::Rewritten),
            (Some("xterm"), Some(""), Style::Rewritten),
            (Some("xterm"), Some("1"), Style::Once),
            (Some("dumb"), None, Style::Once),
            (None, None, Style::Once),
        ] {
            let env = |name: &str| if name == "TERM" { term } else { no_color }.map(str::to_owned);
            assert_eq!(style(env), wanted, "{term:?} {no_color:?}");
        }
    }
}
