//! Parameters of every method against its schema, strict and lenient.
#![no_main]

use libfuzzer_sys::fuzz_target;
use openclaw::protocol::methods::{METHODS, Params};
use openclaw::protocol::schema;

fuzz_target!(|data: &[u8]| {
    let Ok(params) = serde_json::from_slice(data) else { return };
    for method in METHODS {
        if let Params::Strict(shape) = method.params {
            let strict = schema::errors(&params, shape, false).len();
            assert!(schema::errors(&params, shape, true).len() <= strict, "{}", method.name);
        }
    }
});
