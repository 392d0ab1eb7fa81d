//! A transcript file that anybody may have edited or torn.
#![no_main]

use libfuzzer_sys::fuzz_target;
use openclaw::store::transcript::{ReadLimits, read_context, read_messages};

fuzz_target!(|data: &[u8]| {
    let path = std::env::temp_dir().join(format!("openclaw-fuzz-{}.jsonl", std::process::id()));
    std::fs::write(&path, data).expect("the temporary directory is writable");
    let limits = ReadLimits { messages: 100, bytes: 1 << 20 };
    let _ = read_messages(&path, limits);
    let _ = read_context(&path, limits);
});
