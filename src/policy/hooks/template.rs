//! Templates of mapped hooks: `{{payload.a.b[0]}}`, `{{a.b[0]}}`, `{{headers.x}}`, `{{query.x}}`, `{{path}}`, `{{now}}`.
//! A template reads fields and nothing else; what it makes is bounded.

use serde_json::{Map, Value};

use crate::limits;

/// Names that mean something to JavaScript; no path goes through them.
const BLOCKED: [&str; 3] = ["__proto__", "prototype", "constructor"];

/// What a template may look at.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// Below `hooks.path`, without slashes at its ends.
    pub path: &'a str,
    pub payload: &'a Value,
    /// Names in lower case; those that carry the token are not among them.
    pub headers: &'a Map<String, Value>,
    pub query: &'a Map<String, Value>,
    /// ISO time.
    pub now: &'a str,
}

/// Fills a template in; what is missing or null is the empty text.
pub fn render(template: &str, facts: &Facts<'_>) -> String {
    let mut out = String::new();
    let mut rest = template;
    while let Some(at) = rest.find("{{") {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        match expression(rest) {
            Some((expression, end)) => {
                print(resolve(expression, facts), facts, expression, &mut out);
                rest = &rest[end..];
            }
            None => {
                out.push('{');
                rest = &rest[1..];
            }
        }
        if out.len() > limits::HOOK_TEXT_BYTES {
            break;
        }
    }
    out.push_str(rest);
    cut(&mut out, limits::HOOK_TEXT_BYTES);
    out
}

/// Whether anything in a text would be filled in.
pub fn has_expressions(template: &str) -> bool {
    template.match_indices("{{").any(|(at, _)| expression(&template[at..]).is_some())
}

/// Shortens a text to so many bytes, on a character's edge.
pub fn cut(text: &mut String, bytes: usize) {
    if text.len() > bytes {
        let end = (0..=bytes).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(end);
    }
}

/// The expression at the front of a text that begins with `{{`, and where it ends.
fn expression(text: &str) -> Option<(&str, usize)> {
    let inner = &text[2..];
    let end = inner.find('}')?;
    let is_closed = inner[end..].starts_with("}}") && end > 0;
    is_closed.then(|| (inner[..end].trim(), end + 4))
}

/// None: `path` and `now`, which are texts of ours.
fn resolve<'a>(expression: &str, facts: &Facts<'a>) -> Option<&'a Value> {
    let top = |map: &'a Map<String, Value>, path: &str| {
        let mut steps = steps(path);
        match steps.next()? {
            Step::Name(name) if !BLOCKED.contains(&name) => walk(map.get(name)?, steps),
            _ => None,
        }
    };
    if let Some(path) = expression.strip_prefix("headers.") {
        return top(facts.headers, &path.to_lowercase());
    }
    if let Some(path) = expression.strip_prefix("query.") {
        return top(facts.query, path);
    }
    walk(facts.payload, steps(expression.strip_prefix("payload.").unwrap_or(expression)))
}

fn walk<'a, 's>(from: &'a Value, steps: impl Iterator<Item = Step<'s>>) -> Option<&'a Value> {
    let mut here = Some(from);
    for step in steps {
        here = match (step, here?) {
            (Step::Name(name), _) if BLOCKED.contains(&name) => return None,
            (Step::Name(name), Value::Object(map)) => map.get(name),
            (Step::Name(name), Value::Array(list)) => list.get(name.parse::<usize>().ok()?),
            (Step::Position(at), Value::Array(list)) => list.get(at),
            _ => None,
        };
    }
    here
}

enum Step<'s> {
    Name(&'s str),
    Position(usize),
}

/// `a.b[0].c`; a bracket that holds no number separates like a dot.
fn steps(path: &str) -> impl Iterator<Item = Step<'_>> {
    let mut rest = path;
    std::iter::from_fn(move || {
        loop {
            let first = rest.chars().next()?;
            if first == '['
                && let Some(end) = rest.find(']')
                && let Ok(at) = rest[1..end].parse()
                && rest[1..end].bytes().all(|b| b.is_ascii_digit())
            {
                rest = &rest[end + 1..];
                return Some(Step::Position(at));
            }
            if matches!(first, '.' | '[' | ']') {
                rest = &rest[1..];
                continue;
            }
            let end = rest.find(['.', '[', ']']).unwrap_or(rest.len());
            let (name, after) = rest.split_at(end);
            rest = after;
            return Some(Step::Name(name));
        }
    })
}

fn print(found: Option<&Value>, facts: &Facts<'_>, expression: &str, out: &mut String) {
    match (expression, found) {
        ("path", _) => out.push_str(facts.path),
        ("now", _) => out.push_str(facts.now),
        (_, None | Some(Value::Null)) => {}
        (_, Some(Value::String(text))) => out.push_str(text),
        // As JavaScript prints it: a whole number has no fraction.
        (_, Some(Value::Number(number))) => match number.as_f64().filter(|n| number.is_f64() && n.fract() == 0.0) {
            Some(whole) if whole.abs() < 1e21 => out.push_str(&format!("{whole:.0}")),
            _ => out.push_str(&number.to_string()),
        },
        (_, Some(other)) => out.push_str(&other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn filled(template: &str) -> String {
        let payload = json!({
            "id": 7, "half": 0.5, "whole": 2.0, "yes": true, "none": null, "text": "T {{id}}", "user": {"login": "ada"},
            "list": [{"v": 42}, [1, 2]], "path": "of the payload", "__proto__": {"x": 1}, "constructor": "c",
            "payload": {"inner": 1}, "ünï": "é",
        });
        let (headers, query) = (json!({"x-foo": "FOO"}), json!({"q": "Q1"}));
        render(
            template,
            &Facts {
                path: "ping",
                payload: &payload,
                headers: headers.as_object().unwrap(),
                query: query.as_object().unwrap(),
                now: "2026-11-21T00:00:00.000Z",
            },
        )
    }

    #[test]
    fn expressions() {
        for (template, want) in [
            ("", ""),
            ("plain", "plain"),
            ("{{id}} {{ user.login }} {{payload.user.login}}", "7 ada ada"),
            ("{{half}} {{whole}} {{yes}} [{{none}}] [{{nope}}] [{{user.nope.x}}]", "0.5 2 true [] [] []"),
            ("{{list[0].v}} {{list[1][1]}} {{list.0.v}} [{{list[9]}}] [{{id.x}}]", "42 2 42 [] []"),
            ("{{user}} {{list[1]}}", "{\"login\":\"ada\"} [1,2]"),
            ("{{path}} {{now}} {{payload.path}}", "ping 2026-11-21T00:00:00.000Z of the payload"),
            ("{{headers.x-foo}} {{headers.X-Foo}} {{query.q}} [{{query.nope}}] [{{headers.}}]", "FOO FOO Q1 [] []"),
            // What is filled in is not a template again.
            ("{{text}}", "T {{id}}"),
            ("[{{__proto__.x}}] [{{user.constructor}}] [{{constructor}}] [{{payload.prototype}}]", "[] [] [] []"),
            ("{{", "{{"),
            ("{{}}", "{{}}"),
            ("{{id} }} {{id", "{{id} }} {{id"),
            ("{{{id}}}", "}"),
            ("{ {id} } {id}", "{ {id} } {id}"),
            ("{{ünï}}", "é"),
            ("[{{list[99999999999999999999]}}] [{{list[-1]}}] [{{list[x]}}]", "[] [] []"),
        ] {
            assert_eq!(filled(template), want, "{template}");
        }
        assert!(has_expressions("a {{b}}") && !has_expressions("a {{b} }") && !has_expressions("{{}}"));
    }

    #[test]
    fn what_it_makes_is_bounded() {
        let template = "{{payload}}é".repeat(100_000);
        let payload = Value::String("x".repeat(1000));
        let facts = Facts {
            path: "",
            payload: &json!({"payload": payload}),
            headers: &Map::new(),
            query: &Map::new(),
            now: "",
        };
        let out = render(&template, &facts);
        assert!(out.len() <= limits::HOOK_TEXT_BYTES && out.len() > limits::HOOK_TEXT_BYTES - 4);
    }
}
