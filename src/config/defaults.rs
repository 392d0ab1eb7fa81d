//! Settings that the effective configuration has although nobody wrote them (config A4).

use serde_json::{Map, Value, json};

use super::issue::Issue;
use crate::limits::{CONTEXT_TOKENS, LANE_MAIN, OUTPUT_TOKENS};

pub const MAIN_KEY_WARNING: &str = r#"session.mainKey is ignored; main session is always "main"."#;

/// Fills in what is missing. A section that is no object is left for the check to complain about.
pub fn apply(config: &mut Value, warnings: &mut Vec<Issue>) {
    let Some(root) = config.as_object_mut() else { return };
    if let Some(messages) = section(root, "messages") {
        default(messages, "ackReactionScope", json!("group-mentions"));
    }
    if let Some(defaults) = section(root, "agents").and_then(|agents| section(agents, "defaults")) {
        default(defaults, "maxConcurrent", json!(LANE_MAIN));
        if let Some(subagents) = section(defaults, "subagents") {
            default(subagents, "maxConcurrent", json!(8));
        }
        if let Some(compaction) = section(defaults, "compaction") {
            default(compaction, "mode", json!("safeguard"));
        }
    }
    if let Some(Value::Object(logging)) = root.get_mut("logging") {
        default(logging, "redactSensitive", json!("tools"));
    }
    if let Some(commands) = section(root, "commands") {
        default(commands, "native", json!("auto"));
        default(commands, "nativeSkills", json!("auto"));
        default(commands, "restart", json!(true));
        default(commands, "ownerDisplay", json!("raw"));
    }
    if let Some(Value::Object(session)) = root.get_mut("session")
        && let Some(key) = session.get_mut("mainKey")
    {
        if key.as_str().is_some_and(|k| !k.trim().is_empty() && k.trim() != "main") {
            warnings.push(Issue::new("session.mainKey", MAIN_KEY_WARNING));
        }
        *key = json!("main");
    }
    let providers = root.get_mut("models").and_then(|m| m.get_mut("providers")).and_then(Value::as_object_mut);
    for provider in providers.into_iter().flat_map(|map| map.values_mut()) {
        complete_models(provider);
    }
}

fn complete_models(provider: &mut Value) {
    let api = provider.get("api").cloned();
    let Some(Value::Array(models)) = provider.get_mut("models") else { return };
    for model in models.iter_mut().filter_map(Value::as_object_mut) {
        default(model, "reasoning", json!(false));
        default(model, "input", json!(["text"]));
        if let Some(cost) = section(model, "cost") {
            for key in ["input", "output", "cacheRead", "cacheWrite"] {
                default(cost, key, json!(0));
            }
        }
        default(model, "contextWindow", json!(CONTEXT_TOKENS));
        let window = model.get("contextWindow").and_then(Value::as_u64).unwrap_or(CONTEXT_TOKENS);
        default(model, "maxTokens", json!(OUTPUT_TOKENS.min(window)));
        if let Some(api) = &api {
            default(model, "api", api.clone());
        }
    }
}

/// The object at a key, made when missing; None when something else stands there.
fn section<'v>(map: &'v mut Map<String, Value>, key: &str) -> Option<&'v mut Map<String, Value>> {
    map.entry(key).or_insert_with(|| Value::Object(Map::new())).as_object_mut()
}

fn default(map: &mut Map<String, Value>, key: &str, value: Value) {
    if !map.contains_key(key) {
        map.insert(key.to_owned(), value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_and_full() {
        let (mut config, mut warnings) = (json!({}), Vec::new());
        apply(&mut config, &mut warnings);
        let expected = json!({
            "messages":{"ackReactionScope":"group-mentions"},
            "agents":{"defaults":{"maxConcurrent":4,"subagents":{"maxConcurrent":8},"compaction":{"mode":"safeguard"}}},
            "commands":{"native":"auto","nativeSkills":"auto","restart":true,"ownerDisplay":"raw"}
        });
        assert_eq!(config, expected);
        let before = config.clone();
        apply(&mut config, &mut warnings);
        assert_eq!((config, warnings), (before, vec![]));
    }

    #[test]
    fn main_key_logging_and_models() {
        let mut config = json!({
            "session":{"mainKey":"other"}, "logging":{}, "commands":{"restart":false}, "messages": 5,
            "models":{"providers":{"p":{"api":"ollama","models":[{"id":"a","name":"a"},{"id":"b","name":"b","contextWindow":4096,"api":"x","cost":{"input":1}}]}}}
        });
        let mut warnings = Vec::new();
        apply(&mut config, &mut warnings);
        assert_eq!(warnings, [Issue::new("session.mainKey", MAIN_KEY_WARNING)]);
        assert_eq!(config["session"]["mainKey"], "main");
        assert_eq!(config["logging"]["redactSensitive"], "tools");
        assert_eq!(config["commands"]["restart"], false);
        assert_eq!(config["messages"], 5);
        let models = &config["models"]["providers"]["p"]["models"];
        assert_eq!(
            models[0],
            json!({"id":"a","name":"a","reasoning":false,"input":["text"],"cost":{"input":0,"output":0,"cacheRead":0,"cacheWrite":0},"contextWindow":200000,"maxTokens":8192,"api":"ollama"})
        );
        assert_eq!((&models[1]["maxTokens"], &models[1]["api"]), (&json!(4096), &json!("x")));
    }
}
