//! One message of a transcript: what is read and written again must stay the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use openclaw::store::Message;

fuzz_target!(|data: &[u8]| {
    if let Some(message) = serde_json::from_slice(data).ok().and_then(Message::from_value) {
        assert_eq!(Message::from_value(message.to_value()).as_ref(), Some(&message));
    }
});
