//! A WebSocket message as a request frame, strict (protocol 3) and lenient (4).
#![no_main]

use libfuzzer_sys::fuzz_target;
use openclaw::protocol::frame;

fuzz_target!(|data: &[u8]| {
    frame::parse(data, false);
    frame::parse(data, true);
});
