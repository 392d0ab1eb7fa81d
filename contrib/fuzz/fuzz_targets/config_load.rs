//! The whole way of a configuration file: variables, legacy keys, checks, defaults, types.
#![no_main]

use std::path::PathBuf;

use libfuzzer_sys::fuzz_target;
use openclaw::config::source::MemorySource;
use openclaw::config::{Overrides, Paths, load_bytes};

fuzz_target!(|data: &[u8]| {
    let mut source = MemorySource::default();
    source.vars.insert("HOME".into(), "/home/user".into());
    source.current_dir = Some(PathBuf::from("/"));
    let paths = Paths::resolve(&source, &Overrides::default()).expect("there is a home");
    load_bytes(&paths, &source, Some(data));
});
