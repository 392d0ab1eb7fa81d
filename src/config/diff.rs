//! Which settings differ between two effective configurations (config A5).

use serde_json::Value;

/// Dotted paths, in the order of the old configuration, new keys last. Objects are entered; a node that is present
/// on one side only gives its own path (the shallowest); arrays are compared as a whole.
pub fn changed_paths(old: &Value, new: &Value) -> Vec<String> {
    let mut out = Vec::new();
    walk(old, new, &mut String::new(), &mut out);
    out
}

fn walk(old: &Value, new: &Value, path: &mut String, out: &mut Vec<String>) {
    let (Value::Object(a), Value::Object(b)) = (old, new) else {
        if !same(old, new) {
            out.push(path.clone());
        }
        return;
    };
    let added = b.keys().filter(|key| !a.contains_key(*key));
    for key in a.keys().chain(added) {
        let here = path.len();
        super::schema::push_step(path, key);
        match (a.get(key), b.get(key)) {
            (Some(x), Some(y)) => walk(x, y, path, out),
            _ => out.push(path.clone()),
        }
        path.truncate(here);
    }
}

/// Equal as JSON: `1` and `1.0` are the same number.
pub fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(x), Value::Number(y)) => x == y || x.as_f64() == y.as_f64(),
        (Value::Array(x), Value::Array(y)) => x.len() == y.len() && x.iter().zip(y).all(|(x, y)| same(x, y)),
        (Value::Object(x), Value::Object(y)) => {
            x.len() == y.len() && x.iter().all(|(key, x)| y.get(key).is_some_and(|y| same(x, y)))
        }
        _ => a == b,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn paths_of_changes() {
        let base = json!({"gateway":{"port":1,"auth":{"token":"a"}},"agents":{"list":[{"id":"a"}]},"x":null});
        let table = [
            (base.clone(), vec![]),
            (json!({"gateway":{"port":1.0,"auth":{"token":"a"}},"agents":{"list":[{"id":"a"}]},"x":null}), vec![]),
            (json!({"x":null,"agents":{"list":[{"id":"a"}]},"gateway":{"auth":{"token":"a"},"port":1}}), vec![]),
            (
                json!({"gateway":{"port":2,"auth":{"token":"b"}},"agents":{"list":[{"id":"a"}]},"x":null}),
                vec!["gateway.port", "gateway.auth.token"],
            ),
            (
                json!({"gateway":{"port":1,"auth":{"token":"a"}},"agents":{"list":[{"id":"b"}]},"x":null}),
                vec!["agents.list"],
            ),
            (json!({"gateway":{"port":1},"agents":{"list":[{"id":"a"}]}}), vec!["gateway.auth", "x"]),
            (
                json!({"gateway":{"port":1,"auth":{"token":"a"}},"agents":{"list":[{"id":"a"}]},"x":null,"diagnostics":{"stuckSessionWarnMs":5}}),
                vec!["diagnostics"],
            ),
            (json!([]), vec![""]),
        ];
        for (new, expected) in table {
            assert_eq!(changed_paths(&base, &new), expected, "{new}");
        }
    }
}
