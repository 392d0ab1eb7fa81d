//! Parameters of the first request, from a stranger.
#![no_main]

use libfuzzer_sys::fuzz_target;
use openclaw::protocol::connect::ConnectParams;

fuzz_target!(|data: &[u8]| {
    if let Ok(params) = serde_json::from_slice(data)
        && let Ok(params) = ConnectParams::read(params)
    {
        params.role();
    }
});
