//! Bytes of a configuration file: decoding, JSON5, masking of secrets in place.
#![no_main]

use libfuzzer_sys::fuzz_target;
use openclaw::config::{redact, text};

fuzz_target!(|data: &[u8]| {
    if let (Ok(raw), Ok(value)) = (text::decode(data), text::parse_bytes(data)) {
        redact::redact_raw(raw, &value);
    }
});
