//! A device's public key, raw or as PEM.
#![no_main]

use libfuzzer_sys::fuzz_target;
use openclaw::policy::device::read_public_key;

fuzz_target!(|data: &[u8]| {
    if let Ok(text) = std::str::from_utf8(data) {
        read_public_key(text);
    }
});
