//! A line of a log file, and the redaction of any text.
#![no_main]

use libfuzzer_sys::fuzz_target;
use openclaw::log::{redact, tail};

fuzz_target!(|data: &[u8]| {
    if let Ok(text) = std::str::from_utf8(data) {
        tail::parse_line(text);
        redact::redact(text);
    }
});
