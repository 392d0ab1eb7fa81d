//! Changes to a configuration as a tree: set, unset, merge patch, and putting back what a client was not shown.

use serde_json::{Map, Value};

use super::edit::item_id;
use super::redact::SENTINEL;

/// A value that is in the way of a path: the path up to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InTheWay(pub String);

/// Sets the value at a path; objects on the way are made. Of a list the position after its end is allowed: it grows.
pub fn set(root: &mut Value, path: &[String], value: Value) -> Result<(), InTheWay> {
    let Some((last, parents)) = path.split_last() else {
        *root = value;
        return Ok(());
    };
    let mut here = root;
    for (depth, step) in parents.iter().enumerate() {
        // A list is made only by its first item: `guilds.81384788` names a key.
        let starts_list = path[depth + 1] == "0";
        let empty = || if starts_list { Value::Array(Vec::new()) } else { Value::Object(Map::new()) };
        here = child(here, step, empty).ok_or_else(|| in_the_way(path, depth))?;
    }
    *child(here, last, || Value::Null).ok_or_else(|| in_the_way(path, parents.len()))? = value;
    Ok(())
}

fn in_the_way(path: &[String], depth: usize) -> InTheWay {
    InTheWay(path[..depth].join("."))
}

fn child<'v>(here: &'v mut Value, step: &str, missing: impl FnOnce() -> Value) -> Option<&'v mut Value> {
    match here {
        Value::Object(map) => Some(map.entry(step).or_insert_with(missing)),
        Value::Array(items) => {
            let at: usize = step.parse().ok().filter(|at| *at <= items.len())?;
            if at == items.len() {
                items.push(missing());
            }
            items.get_mut(at)
        }
        _ => None,
    }
}

/// Takes the value at a path away; false when there is none.
pub fn unset(root: &mut Value, path: &[String]) -> bool {
    let Some((last, parents)) = path.split_last() else { return false };
    let mut here = root;
    for step in parents {
        let next = match here {
            Value::Object(map) => map.get_mut(step),
            Value::Array(items) => step.parse::<usize>().ok().and_then(|at| items.get_mut(at)),
            _ => None,
        };
        let Some(next) = next else { return false };
        here = next;
    }
    match here {
        Value::Object(map) => map.shift_remove(last).is_some(),
        Value::Array(items) => match last.parse::<usize>() {
            Ok(at) if at < items.len() => {
                items.remove(at);
                true
            }
            _ => false,
        },
        _ => false,
    }
}

/// RFC 7396: objects merge, null takes away, everything else replaces. Lists of objects that all have an `id` merge
/// by it: what the patch does not name stays.
pub fn patch(target: &mut Value, patch: &Value) {
    match (target, patch) {
        (Value::Array(items), Value::Array(changes)) if all_have_id(items) && all_have_id(changes) => {
            for change in changes {
                match items.iter_mut().find(|item| item_id(item) == item_id(change)) {
                    Some(item) => self::patch(item, change),
                    None => {
                        let mut item = Value::Null;
                        self::patch(&mut item, change);
                        items.push(item);
                    }
                }
            }
        }
        (target, Value::Object(changes)) => {
            if !target.is_object() {
                *target = Value::Object(Map::new());
            }
            let Value::Object(map) = target else { return };
            for (key, change) in changes {
                if change.is_null() {
                    map.shift_remove(key);
                } else {
                    self::patch(map.entry(key.as_str()).or_insert(Value::Null), change);
                }
            }
        }
        (target, replacement) => *target = replacement.clone(),
    }
}

fn all_have_id(items: &[Value]) -> bool {
    !items.is_empty() && items.iter().all(|item| item_id(item).is_some())
}

/// Puts the values of `old` back in place of the redaction sentinel, by the same path. Err: the path of a sentinel with
/// nothing behind it.
pub fn restore_secrets(wanted: &mut Value, old: &Value) -> Result<(), String> {
    restore(wanted, Some(old), &mut Vec::new(), &mut |new, old, path| match new {
        Value::String(text) if text == SENTINEL => match old {
            Some(old) if *old != SENTINEL => {
                *new = old.clone();
                Ok(())
            }
            _ => Err(path.join(".")),
        },
        _ => Ok(()),
    })
}

/// Puts `${NAME}` texts of `old` back where the new value is what they stand for.
pub fn restore_placeholders(wanted: &mut Value, old: &Value, stands_for: &dyn Fn(&str) -> Option<String>) {
    let keep = &mut |new: &mut Value, old: Option<&Value>, _path: &[String]| {
        if let (Value::String(text), Some(Value::String(old))) = (&mut *new, old)
            && text != old
            && old.contains("${")
            && stands_for(old).as_ref() == Some(text)
        {
            *text = old.clone();
        }
        Ok(())
    };
    restore(wanted, Some(old), &mut Vec::new(), keep).expect("this visitor refuses nothing");
}

type Visit<'a> = dyn FnMut(&mut Value, Option<&Value>, &[String]) -> Result<(), String> + 'a;

/// Walks two trees together: keys by name, items by `id`, else by position.
fn restore(new: &mut Value, old: Option<&Value>, path: &mut Vec<String>, visit: &mut Visit<'_>) -> Result<(), String> {
    match new {
        Value::Object(map) => {
            for (key, value) in map.iter_mut() {
                path.push(key.clone());
                restore(value, old.and_then(|old| old.get(key)), path, visit)?;
                path.pop();
            }
        }
        Value::Array(items) => {
            let old = old.and_then(Value::as_array);
            for (n, item) in items.iter_mut().enumerate() {
                let by_id = item_id(item).filter(|id| *id != SENTINEL);
                let partner = old.and_then(|old| match by_id {
                    Some(id) if old.iter().any(|o| item_id(o).is_some()) => old.iter().find(|o| item_id(o) == Some(id)),
                    _ => old.get(n),
                });
                path.push(n.to_string());
                restore(item, partner, path, visit)?;
                path.pop();
            }
        }
        leaf => visit(leaf, old, path)?,
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn steps(path: &str) -> Vec<String> {
        path.split('.').map(str::to_owned).collect()
    }

    #[test]
    fn setting() {
        let table = [
            (json!({}), "a.b", json!(1), Ok(json!({"a":{"b":1}}))),
            (json!({"a":{"b":{"c":1}}}), "a.b", json!(2), Ok(json!({"a":{"b":2}}))),
            (json!({"l":[1,2]}), "l.1", json!(9), Ok(json!({"l":[1,9]}))),
            (json!({"l":[1,2]}), "l.2", json!(9), Ok(json!({"l":[1,2,9]}))),
            (json!({"l":[1,2]}), "l.3", json!(9), Err("l")),
            (json!({"l":[]}), "l.x", json!(9), Err("l")),
            (json!({}), "l.0.id", json!("a"), Ok(json!({"l":[{"id":"a"}]}))),
            (json!({}), "guilds.813.x", json!(1), Ok(json!({"guilds":{"813":{"x":1}}}))),
            (json!({"a":5}), "a.b", json!(1), Err("a")),
            (json!({"a":null}), "a.b.c", json!(1), Err("a")),
        ];
        for (before, path, value, after) in table {
            let mut root = before.clone();
            let done = set(&mut root, &steps(path), value).map(|()| root.clone());
            assert_eq!(done, after.map_err(|at| InTheWay(at.into())), "{before} {path}");
        }
    }

    #[test]
    fn unsetting() {
        let mut root = json!({"a":{"b":1,"c":[1,2,3]},"d":null});
        for (path, found) in
            [("a.x", false), ("a.b.c", false), ("a.c.7", false), ("a.b", true), ("a.c.1", true), ("d", true)]
        {
            assert_eq!(unset(&mut root, &steps(path)), found, "{path}");
        }
        assert_eq!(root, json!({"a":{"c":[1,3]}}));
    }

    #[test]
    fn merge_patches() {
        // The examples of RFC 7396, appendix A, and the lists with ids.
        let table = [
            (json!({"a":"b"}), json!({"a":"c"}), json!({"a":"c"})),
            (json!({"a":"b"}), json!({"b":"c"}), json!({"a":"b","b":"c"})),
            (json!({"a":"b","b":"c"}), json!({"a":null}), json!({"b":"c"})),
            (json!({"a":["b"]}), json!({"a":"c"}), json!({"a":"c"})),
            (json!({"a":{"b":"c"}}), json!({"a":{"b":"d","c":null}}), json!({"a":{"b":"d"}})),
            (json!({"a":[{"b":"c"}]}), json!({"a":[1]}), json!({"a":[1]})),
            (json!(["a"]), json!({"a":"b"}), json!({"a":"b"})),
            (json!({"e":null}), json!({"a":1}), json!({"e":null,"a":1})),
            (json!({}), json!({"a":{"bb":{"ccc":null}}}), json!({"a":{"bb":{}}})),
            (
                json!({"l":[{"id":"a","x":1},{"id":"b","y":2}]}),
                json!({"l":[{"id":"b","y":null,"z":3},{"id":"c","q":null}]}),
                json!({"l":[{"id":"a","x":1},{"id":"b","z":3},{"id":"c"}]}),
            ),
            (json!({"l":[{"id":"a"}]}), json!({"l":[]}), json!({"l":[]})),
            (json!({"l":[{"id":"a"}]}), json!({"l":[{"id":"b"},{"x":1}]}), json!({"l":[{"id":"b"},{"x":1}]})),
            (json!({"l":[{"id":"a"},3]}), json!({"l":[{"id":"a","n":1}]}), json!({"l":[{"id":"a","n":1}]})),
        ];
        for (mut target, change, expected) in table {
            let before = target.clone();
            patch(&mut target, &change);
            assert_eq!(target, expected, "{before} + {change}");
        }
    }

    #[test]
    fn secrets_come_back() {
        let old = json!({"t":"a","l":[{"id":"x","k":"b"},{"id":"y","k":"c"}],"p":["d","e"],"n":7,"ref":{"source":"env","id":"V"}});
        let mut new = json!({"t":SENTINEL,"l":[{"id":"y","k":SENTINEL},{"id":"x","k":SENTINEL}],"p":["z",SENTINEL],"n":SENTINEL,"ref":{"source":"env","id":SENTINEL}});
        restore_secrets(&mut new, &old).unwrap();
        assert_eq!(
            new,
            json!({"t":"a","l":[{"id":"y","k":"c"},{"id":"x","k":"b"}],"p":["z","e"],"n":7,"ref":{"source":"env","id":"V"}})
        );
        for (new, at) in [
            (json!({"u":SENTINEL}), "u"),
            (json!({"l":[{"id":"new","k":SENTINEL}]}), "l.0.k"),
            (json!({"p":[1,2,SENTINEL]}), "p.2"),
        ] {
            assert_eq!(restore_secrets(&mut new.clone(), &old), Err(at.to_owned()));
        }
        assert_eq!(restore_secrets(&mut json!({"t":SENTINEL}), &json!({"t":SENTINEL})), Err("t".into()));
    }

    #[test]
    fn placeholders_come_back() {
        let old = json!({"a":"${A}","b":"x-${B}","c":"${C}","d":"plain"});
        let stands_for = |text: &str| Some(text.replace("${A}", "one").replace("${B}", "two"));
        let mut new = json!({"a":"one","b":"x-two","c":"other","d":"plain","e":"one"});
        restore_placeholders(&mut new, &old, &stands_for);
        assert_eq!(new, json!({"a":"${A}","b":"x-${B}","c":"other","d":"plain","e":"one"}));
    }
}
