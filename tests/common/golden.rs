//! Recordings of the reference (tests/golden/cli) and how an answer differs from them in keys and types.

use serde_json::Value;

pub fn golden(name: &str) -> Value {
    let path = format!("{}/tests/golden/cli/{name}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// Where `ours` has other keys or types than the recording; null fits everything, lists are compared by their first item.
pub fn differences(recorded: &Value, ours: &Value) -> Vec<String> {
    let mut found = Vec::new();
    compare("", recorded, ours, &mut found);
    found
}

fn compare(path: &str, recorded: &Value, ours: &Value, found: &mut Vec<String>) {
    match (recorded, ours) {
        (Value::Object(recorded), Value::Object(ours)) => {
            let below = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
            for (key, value) in recorded {
                match ours.get(key) {
                    Some(our) => compare(&below(key), value, our, found),
                    None => found.push(format!("-{}", below(key))),
                }
            }
            found.extend(ours.keys().filter(|key| !recorded.contains_key(*key)).map(|key| format!("+{}", below(key))));
        }
        (Value::Array(recorded), Value::Array(ours)) => {
            if let (Some(recorded), Some(ours)) = (recorded.first(), ours.first()) {
                compare(&format!("{path}[]"), recorded, ours, found);
            }
        }
        (Value::Null, _) | (_, Value::Null) => {}
        (recorded, ours) => {
            if std::mem::discriminant(recorded) != std::mem::discriminant(ours) {
                found.push(format!("{path}: {recorded} is {ours}"));
            }
        }
    }
}
