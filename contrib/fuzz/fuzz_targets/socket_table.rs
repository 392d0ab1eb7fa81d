//! `/proc/net/tcp` and its like.
#![no_main]

use libfuzzer_sys::fuzz_target;
use openclaw::sys::sockets::parse_table;

fuzz_target!(|data: &[u8]| {
    parse_table(data, 18789);
});
