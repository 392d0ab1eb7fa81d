//! OpenAI's event stream: the result does not depend on where the network cuts it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use openclaw::agent::models::openai::Parser;

fuzz_target!(|data: &[u8]| {
    let read = |pieces: &[&[u8]]| {
        let (mut parser, mut events) = (Parser::default(), Vec::new());
        pieces.iter().for_each(|piece| parser.feed(piece, &mut events));
        parser.finish(&mut events);
        events
    };
    let (first, rest) = data.split_at(data.len() / 2);
    assert_eq!(read(&[data]), read(&[first, rest]));
});
