//! Packets of multicast DNS, from anybody in the network. What is read is written and read again as the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use openclaw::discovery::wire::{Data, parse, print};

fuzz_target!(|data: &[u8]| {
    let Some(mut packet) = parse(data) else { return };
    // Data of unknown kinds is not kept, and text that was none is longer than it was.
    packet.records.retain(|record| !matches!(record.data, Data::Other(_)));
    packet.authority.retain(|record| !matches!(record.data, Data::Other(_)));
    if data.is_ascii() {
        assert_eq!(parse(&print(&packet)), Some(packet));
    }
});
