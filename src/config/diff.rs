//! Which settings differ between two effective configurations, and a mixture of the two (config A5).

use serde_json::{Map, Value};

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

/// `old` with those differences to `new` taken over whose path is `wanted`: the part of a change that may be applied
/// while the rest has to wait.
pub fn blend(old: &Value, new: &Value, wanted: &dyn Fn(&str) -> bool) -> Value {
    mix(old, new, &mut String::new(), wanted)
}

fn mix(old: &Value, new: &Value, path: &mut String, wanted: &dyn Fn(&str) -> bool) -> Value {
    let (Value::Object(a), Value::Object(b)) = (old, new) else {
        return if same(old, new) || !wanted(path) { old.clone() } else { new.clone() };
    };
    let added = b.keys().filter(|key| !a.contains_key(*key));
    let mut out = Map::new();
    for key in a.keys().chain(added) {
        let here = path.len();
        super::schema::push_step(path, key);
        let kept = match (a.get(key), b.get(key)) {
            (Some(x), Some(y)) => Some(mix(x, y, path, wanted)),
            (x, y) => if wanted(path) { y } else { x }.cloned(),
        };
        path.truncate(here);
        if let Some(value) = kept {
            out.insert(key.clone(), value);
        }
    }
    Value::Object(out)
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

    #[test]
    fn a_mixture_takes_what_is_wanted_and_leaves_the_rest() {
        let old = json!({"gateway":{"port":1,"auth":{"token":"a"}},"ui":{"x":1,"gone":2},"agents":{"list":[1]}});
        let new =
            json!({"gateway":{"port":2,"auth":{"token":"b"},"tls":{}},"ui":{"x":2,"y":3},"agents":{"list":[1,2]}});
        let table = [
            (&["ui"][..], json!({"gateway":old["gateway"],"ui":new["ui"],"agents":old["agents"]})),
            (&["gateway"], json!({"gateway":new["gateway"],"ui":old["ui"],"agents":old["agents"]})),
            (&["gateway.port", "agents"], {
                let mut out = old.clone();
                out["gateway"]["port"] = json!(2);
                out["agents"] = new["agents"].clone();
                out
            }),
            (&[], old.clone()),
            (&[""], new.clone()),
        ];
        for (prefixes, expected) in table {
            let wanted = |path: &str| prefixes.iter().any(|prefix| path.starts_with(prefix));
            let blended = blend(&old, &new, &wanted);
            assert_eq!(blended, expected, "{prefixes:?}");
            // What was not taken is what differs now.
            assert!(changed_paths(&blended, &new).iter().all(|path| !wanted(path)));
        }
        // A node that is no object on one side is one difference.
        assert_eq!(blend(&json!({"a":1}), &json!({"a":{"b":2}}), &|path| path == "a"), json!({"a":{"b":2}}));
    }
}
