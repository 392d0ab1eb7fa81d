//! A stream of WebSocket frames, followed by headers: frames end at the same bytes whatever the pieces.
#![no_main]

use libfuzzer_sys::fuzz_target;
use openclaw::ws::Close;
use openclaw::ws::follow::{Follower, Limits};

fuzz_target!(|data: &[u8]| assert_eq!(ends(data, data.len().max(1)), ends(data, 1)));

fn ends(data: &[u8], piece: usize) -> (Vec<usize>, Option<Close>) {
    let mut follower = Follower::new(Limits { message_bytes: 1000, fragments: 8 });
    let (mut ends, mut at) = (Vec::new(), 0);
    while at < data.len() {
        match follower.take(&data[at..(at + piece).min(data.len())]) {
            Ok((taken, _)) => at += taken,
            Err(close) => return (ends, Some(close)),
        }
        if follower.at_boundary() {
            ends.push(at);
        }
    }
    (ends, None)
}
