//! Every value of a JSON text is counted before the text becomes a tree.
#![no_main]

use libfuzzer_sys::fuzz_target;
use openclaw::protocol::weight::has_more_values;
use serde_json::Value;

fuzz_target!(|data: &[u8]| {
    let Ok(tree) = serde_json::from_slice::<Value>(data) else { return };
    let values = count(&tree);
    assert!(values < 2 || has_more_values(data, values - 2), "{values} values");
});

fn count(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(count).sum::<usize>(),
        Value::Object(map) => 1 + map.values().map(count).sum::<usize>(),
        _ => 1,
    }
}
