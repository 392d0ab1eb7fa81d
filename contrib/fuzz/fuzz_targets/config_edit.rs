//! A text that somebody wrote, changed into one that reads as another value: the two halves of the input.
#![no_main]

use libfuzzer_sys::fuzz_target;
use openclaw::config::{diff, edit, merge, redact, text};

fuzz_target!(|data: &[u8]| {
    let Ok(data) = std::str::from_utf8(data) else { return };
    let Some((old, new)) = data.split_once('\u{1}') else { return };
    let Ok(mut wanted) = text::parse(new) else { return };
    redact::restore_comments(new, old);
    if let Ok(old) = text::parse(old) {
        merge::patch(&mut wanted, &old);
        let _ = merge::restore_secrets(&mut wanted, &old);
    }
    let edited = edit::rewrite(old, &wanted);
    let got = text::parse(&edited).expect("what is written can be read");
    assert!(diff::same(&got, &wanted), "{edited}");
});
