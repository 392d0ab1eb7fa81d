//! Lines for the person at the terminal before there is a log. A closed or full terminal never stops the program.

use std::io::{Write, stderr, stdout};

/// A line on stdout.
pub fn say(line: &str) {
    let _ = writeln!(stdout(), "{line}");
}

/// A line on stderr.
pub fn warn(line: &str) {
    let _ = writeln!(stderr(), "{line}");
}
