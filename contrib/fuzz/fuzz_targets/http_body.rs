//! A chunked body: the result does not depend on where the network cut it, and never passes the limit.
#![no_main]

use libfuzzer_sys::fuzz_target;
use openclaw::http::body::{Decoder, Framing};

const MOST: u64 = 1000;

fuzz_target!(|data: &[u8]| {
    let whole = decode(data, data.len().max(1));
    assert_eq!(whole, decode(data, 1));
    assert!(whole.is_err() || whole.is_ok_and(|(body, _, _)| body.len() as u64 <= MOST));
});

/// The body, where it ended and whether it did, or the status of the refusal.
fn decode(data: &[u8], piece: usize) -> Result<(Vec<u8>, usize, bool), u16> {
    let mut decoder = Decoder::new(Framing::Chunked, MOST).map_err(|refusal| refusal.0)?;
    let (mut body, mut at) = (Vec::new(), 0);
    while at < data.len() && !decoder.done() {
        let end = (at + piece).min(data.len());
        at += decoder.feed(&data[at..end], &mut body).map_err(|refusal| refusal.0)?;
    }
    Ok((body, at, decoder.done()))
}
