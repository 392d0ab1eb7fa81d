//! Header values: networks, host names, origins.
#![no_main]

use libfuzzer_sys::fuzz_target;
use openclaw::policy::net::{HostName, IpNet, Origin};

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    IpNet::parse(text);
    HostName::parse(text);
    Origin::parse(text);
});
