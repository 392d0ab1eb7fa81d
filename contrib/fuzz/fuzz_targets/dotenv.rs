//! A `.env` file.
#![no_main]

use libfuzzer_sys::fuzz_target;
use openclaw::config::env::parse_dotenv;

fuzz_target!(|data: &[u8]| {
    if let Ok(text) = std::str::from_utf8(data) {
        parse_dotenv(text);
    }
});
