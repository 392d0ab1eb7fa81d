//! A request head: what is accepted once must be accepted whatever follows it, and end where it ended.
#![no_main]

use libfuzzer_sys::fuzz_target;
use openclaw::http::head;

fuzz_target!(|data: &[u8]| {
    let Ok(Some((read, end))) = head::parse(data) else { return };
    assert_eq!(head::parse(&data[..end]), Ok(Some((read, end))));
});
