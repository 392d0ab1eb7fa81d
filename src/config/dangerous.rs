//! Keys whose name says that they are dangerous.

use serde_json::Value;

const WORDS: [&str; 3] = ["dangerously", "allowUnsafe", "allowInsecure"];

/// Dotted paths of such keys that are on, in the order of the configuration.
pub fn flags(config: &Value) -> Vec<String> {
    let mut out = Vec::new();
    walk(config, "", &mut out);
    out
}

/// The line of a gateway that starts with some (cli 3.4).
pub fn warning(config: &Value) -> Option<String> {
    let flags = flags(config);
    let list = flags.join(", ");
    (!flags.is_empty())
        .then(|| format!("security warning: dangerous config flags enabled: {list}. Run `openclaw security audit`."))
}

fn walk(value: &Value, path: &str, out: &mut Vec<String>) {
    let below = |step: &str| if path.is_empty() { step.to_owned() } else { format!("{path}.{step}") };
    match value {
        Value::Object(map) => map.iter().for_each(|(key, value)| match value {
            Value::Bool(true) if WORDS.iter().any(|word| key.starts_with(word)) => out.push(below(key)),
            value => walk(value, &below(key), out),
        }),
        Value::Array(items) => items.iter().enumerate().for_each(|(n, item)| walk(item, &below(&n.to_string()), out)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_those_that_are_on() {
        let config = json!({
            "gateway": {"controlUi": {"allowInsecureAuth": true, "dangerouslyDisableDeviceAuth": false}},
            "hooks": {"mappings": [{}, {"allowUnsafeExternalContent": true}]},
            "channels": {"irc": {"dangerouslyAllowNameMatching": "true", "enabled": true}},
        });
        assert_eq!(
            warning(&config).unwrap(),
            "security warning: dangerous config flags enabled: gateway.controlUi.allowInsecureAuth, \
             hooks.mappings.1.allowUnsafeExternalContent. Run `openclaw security audit`."
        );
        assert_eq!(warning(&json!({"gateway": {"port": 1}})), None);
    }
}
