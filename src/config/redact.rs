//! Secrets out of configurations that leave the process (config A6, LESSONS R26).
//!
//! Anything that might be a secret is replaced; `${NAME}` is shown, since it names and does not tell.

use serde_json::Value;

use super::env::is_placeholder;
use super::spans::{Kind, Node, scan};
use super::text;

pub const SENTINEL: &str = "__OPENCLAW_REDACTED__";

/// Ends of names that only look like secrets.
const HARMLESS: [&str; 10] = [
    "maxtokens",
    "maxoutputtokens",
    "maxinputtokens",
    "maxcompletiontokens",
    "contexttokens",
    "totaltokens",
    "tokencount",
    "tokenlimit",
    "tokenbudget",
    "passwordfile",
];
/// Secret although the name does not say so; `*` is any key, list positions are left out.
const HINTED: &[&[&str]] = &[&["hooks", "mappings", "sessionKey"]];

/// Whether the value at this path (keys and list positions) is to be hidden.
pub fn is_secret(path: &[&str]) -> bool {
    let names: Vec<&str> =
        path.iter().copied().filter(|step| step.parse::<usize>().is_err() && *step != "[]").collect();
    let Some((last, parents)) = names.split_last() else { return false };
    let below_env = parents.last() == Some(&"env") && *last != "shellEnv" || names.starts_with(&["env", "vars"]);
    let in_headers = parents.last() == Some(&"headers");
    below_env && *last != "vars" || in_headers || names_secret(last) || HINTED.contains(&names.as_slice())
}

/// A copy without secrets.
pub fn redact(value: &Value) -> Value {
    let mut out = value.clone();
    hide(&mut out, &mut Vec::new());
    out
}

/// The value at a path, without secrets; for `config get`.
pub fn redact_at(value: &Value, path: &[&str]) -> Value {
    let mut out = value.clone();
    hide(&mut out, &mut path.to_vec());
    out
}

/// The text of the file without secrets: changed in place where that is certain to be right, printed anew otherwise.
pub fn redact_raw(raw: &str, parsed: &Value) -> String {
    let wanted = redact(parsed);
    in_place(raw, parsed)
        .filter(|text| text::parse(text).is_ok_and(|value| value == wanted))
        .unwrap_or_else(|| format!("{wanted:#}\n"))
}

/// Puts comments back that [`redact_raw`] had masked, when a client sends its text again. Only when all of them are
/// still there: which is which is told by their order.
pub fn restore_comments(raw: &str, old: &str) -> String {
    let (Some(new_spans), Some(old_spans)) = (scan(raw), scan(old)) else { return raw.to_owned() };
    let masked: Vec<_> = new_spans.comments.iter().filter(|c| raw[(*c).clone()].contains(SENTINEL)).collect();
    let hidden: Vec<_> = old_spans.comments.iter().filter(|c| tells(&old[(*c).clone()])).collect();
    if masked.len() != hidden.len() {
        return raw.to_owned();
    }
    let (mut out, mut from) = (String::with_capacity(raw.len()), 0);
    for (masked, hidden) in masked.into_iter().zip(hidden) {
        out.push_str(&raw[from..masked.start]);
        out.push_str(&old[hidden.clone()]);
        from = masked.end;
    }
    out.push_str(&raw[from..]);
    out
}

fn in_place(raw: &str, parsed: &Value) -> Option<String> {
    let spans = scan(raw)?;
    let mut cuts = Vec::new();
    mark(raw, &spans.root, &mut Vec::new(), &mut cuts);
    for comment in &spans.comments {
        // A setting that was commented out is as secret as one that is in force.
        if tells(&raw[comment.clone()]) {
            cuts.push(comment.clone());
        }
    }
    cuts.sort_by_key(|cut| cut.start);
    let (mut out, mut from) = (String::with_capacity(raw.len()), 0);
    for cut in cuts {
        out.push_str(&raw[from..cut.start]);
        match raw[cut.clone()].get(..2) {
            Some("//") => out.push_str(&format!("// {SENTINEL}")),
            Some("/*") => out.push_str(&format!("/* {SENTINEL} */")),
            _ => out.push_str(&format!("\"{SENTINEL}\"")),
        }
        from = cut.end;
    }
    out.push_str(&raw[from..]);
    // The same secret once more, in a comment or under a harmless name.
    let mut secrets = Vec::new();
    collect(parsed, &mut Vec::new(), &mut secrets);
    let leaks = secrets.iter().any(|secret| secret.len() >= 6 && out.contains(secret.as_str()));
    (!leaks).then_some(out)
}

/// A comment that names a secret may hold one.
fn tells(comment: &str) -> bool {
    comment.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').any(names_secret)
}

fn mark<'n>(raw: &str, node: &'n Node, path: &mut Vec<&'n str>, cuts: &mut Vec<std::ops::Range<usize>>) {
    match &node.kind {
        Kind::Object(members) => {
            let reference = is_reference(|key| {
                let value = &node.member(key)?.value;
                json5::from_str(&raw[value.span.clone()]).ok()
            });
            for member in members {
                path.push(&member.key);
                if reference && member.key == "id" {
                    cuts.push(member.value.span.clone());
                } else {
                    mark(raw, &member.value, path, cuts);
                }
                path.pop();
            }
        }
        Kind::Array(items) => {
            for item in items {
                path.push("[]");
                mark(raw, item, path, cuts);
                path.pop();
            }
        }
        Kind::Text | Kind::Plain => {
            let value: Option<Value> = json5::from_str(&raw[node.span.clone()]).ok();
            if is_secret(path) && value.is_none_or(|value| hides(&value)) {
                cuts.push(node.span.clone());
            }
        }
    }
}

fn hide(value: &mut Value, path: &mut Vec<&str>) {
    match value {
        Value::Object(map) => {
            let reference = is_reference(|key| map.get(key).cloned());
            for (key, child) in map.iter_mut() {
                if reference && key == "id" {
                    *child = Value::String(SENTINEL.into());
                    continue;
                }
                let mut below: Vec<&str> = path.clone();
                below.push(key);
                hide(child, &mut below);
            }
        }
        Value::Array(items) => {
            path.push("[]");
            items.iter_mut().for_each(|item| hide(item, path));
            path.pop();
        }
        leaf => {
            if is_secret(path) && hides(leaf) {
                *leaf = Value::String(SENTINEL.into());
            }
        }
    }
}

fn collect<'v>(value: &'v Value, path: &mut Vec<&'v str>, out: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            for (key, child) in map {
                path.push(key);
                collect(child, path, out);
                path.pop();
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, path, out)),
        Value::String(text) if is_secret(path) && hides(value) => out.push(text.clone()),
        _ => {}
    }
}

/// A switch or a null tells nothing, an empty text neither.
fn hides(value: &Value) -> bool {
    match value {
        Value::String(text) => !text.is_empty() && !is_placeholder(text),
        Value::Number(_) => true,
        _ => false,
    }
}

pub(super) fn names_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let api_key = ["apikey", "api_key", "api-key", "api.key", "api key"].iter().any(|k| name.contains(k));
    !HARMLESS.iter().any(|end| name.ends_with(end))
        && (name.ends_with("token")
            || name.contains("password")
            || name.contains("secret")
            || api_key
            || name.ends_with("serviceaccount")
            || name.ends_with("serviceaccountref"))
}

fn is_reference(get: impl Fn(&str) -> Option<Value>) -> bool {
    let source = get("source");
    matches!(source.as_ref().and_then(Value::as_str), Some("env" | "file" | "exec"))
        && get("provider").is_some_and(|v| v.is_string())
        && get("id").is_some_and(|v| v.is_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn which_paths() {
        let table: [(bool, &[&str]); 2] = [
            (
                true,
                &[
                    "gateway.auth.token",
                    "gateway.auth.password",
                    "gateway.remote.token",
                    "models.providers.x.apiKey",
                    "models.providers.x.headers.X-Whatever",
                    "models.providers.x.models.0.headers.a",
                    "tools.web.search.apiKey",
                    "hooks.token",
                    "hooks.gmail.pushToken",
                    "hooks.mappings.0.sessionKey",
                    "cron.webhookToken",
                    "talk.apiKey",
                    "commands.ownerDisplaySecret",
                    "skills.entries.x.apiKey",
                    "skills.entries.x.env.FOO",
                    "env.FOO",
                    "env.vars.FOO",
                    "channels.slack.signingSecret",
                    "channels.telegram.accounts.x.botToken",
                    "channels.googlechat.serviceAccount",
                    "plugins.entries.x.config.api_key",
                    "a.password.0",
                ],
            ),
            (
                false,
                &[
                    "gateway.port",
                    "agents.defaults.contextTokens",
                    "models.providers.x.models.0.maxTokens",
                    "env.shellEnv",
                    "env.shellEnv.enabled",
                    "env.vars",
                    "channels.irc.passwordFile",
                    "x.tokenCount",
                    "x.tokenLimit",
                    "a.tokens",
                    "",
                    "secrets.providers.x.path",
                    "agents.list.0.id",
                ],
            ),
        ];
        for (secret, paths) in table {
            for path in paths {
                let steps: Vec<&str> = path.split('.').filter(|s| !s.is_empty()).collect();
                assert_eq!(is_secret(&steps), secret, "{path}");
            }
        }
    }

    #[test]
    fn values() {
        let value = json!({
            "gateway":{"auth":{"token":"abc","password":"${PW}","mode":"token"},"remote":{"token":{"source":"env","provider":"default","id":"T"},"password":""}},
            "env":{"A":"1","vars":{"B":"2"},"shellEnv":{"enabled":true}},
            "x":{"apiKey":5,"secret":null,"password":["p",{"token":"q"}]}
        });
        let expected = json!({
            "gateway":{"auth":{"token":SENTINEL,"password":"${PW}","mode":"token"},"remote":{"token":{"source":"env","provider":"default","id":SENTINEL},"password":""}},
            "env":{"A":SENTINEL,"vars":{"B":SENTINEL},"shellEnv":{"enabled":true}},
            "x":{"apiKey":SENTINEL,"secret":null,"password":[SENTINEL,{"token":SENTINEL}]}
        });
        assert_eq!(redact(&value), expected);
        assert_eq!(redact_at(&json!("abc"), &["gateway", "auth", "token"]), json!(SENTINEL));
        assert_eq!(redact_at(&json!({"token":"abc"}), &["gateway", "auth"]), json!({"token":SENTINEL}));
        assert_eq!(redact_at(&json!(1), &["gateway", "port"]), json!(1));
    }

    #[test]
    fn text_in_place() {
        let raw = "{ // mine\n  gateway: { auth: { token: 'hunter2hunter2', mode: \"token\" }, remote: { token: '${T}' } },\n  env: { vars: { A: '1' }, },\n  // token: 'oldsecret'\n}\n";
        let parsed = text::parse(raw).unwrap();
        assert_eq!(
            redact_raw(raw, &parsed),
            format!(
                "{{ // mine\n  gateway: {{ auth: {{ token: \"{SENTINEL}\", mode: \"token\" }}, remote: {{ token: '${{T}}' }} }},\n  env: {{ vars: {{ A: \"{SENTINEL}\" }}, }},\n  // {SENTINEL}\n}}\n"
            )
        );
    }

    #[test]
    fn masked_comments_come_back() {
        let old = "{ // token: 'a'\n  a: 1, // plain\n  /* password b */ b: 2 }";
        let shown = redact_raw(old, &text::parse(old).unwrap());
        assert_eq!(shown.matches(SENTINEL).count(), 2);
        assert_eq!(restore_comments(&shown, old), old);
        assert_eq!(restore_comments(&shown.replace("a: 1", "a: 5"), old), old.replace("a: 1", "a: 5"));
        let fewer = shown.replacen(&format!("// {SENTINEL}"), "", 1);
        assert_eq!(restore_comments(&fewer, old), fewer);
    }

    #[test]
    fn text_printed_anew_when_a_secret_would_stay() {
        for raw in [
            "{ hooks: { token: 'hunter2hunter2' } } // was hunter2hunter2",
            "{ hooks: { token: 'hunter2hunter2' }, ui: { seamColor: 'hunter2hunter2x' } }",
            "{ hooks: { t\\u006fken: 'hunter2hunter2' } }",
        ] {
            let parsed = text::parse(raw).unwrap();
            let out = redact_raw(raw, &parsed);
            assert_eq!(out, format!("{:#}\n", redact(&parsed)), "{raw}");
            assert_eq!(text::parse(&out).unwrap()["hooks"]["token"], SENTINEL);
        }
    }

    #[test]
    fn a_secret_reference_loses_its_id_in_the_text() {
        let raw = "{ hooks: { token: { source: 'exec', provider: 'v', id: 'path/in/vault' } } }";
        let out = redact_raw(raw, &text::parse(raw).unwrap());
        assert_eq!(out, format!("{{ hooks: {{ token: {{ source: 'exec', provider: 'v', id: \"{SENTINEL}\" }} }} }}"));
    }
}
