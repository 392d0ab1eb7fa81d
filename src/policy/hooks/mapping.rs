//! Mapped hooks: which mapping a request belongs to, and what it makes of it.

use serde_json::{Map, Value};

use super::action::{Action, Turn, Wake, seconds};
use super::template::{Facts, render};
use crate::config::hooks::HookMapping;

/// The first mapping that the request fits.
pub fn find<'a>(mappings: &'a [HookMapping], path: &str, payload: &Value) -> Option<&'a HookMapping> {
    let path = path.trim_matches('/');
    mappings.iter().find(|mapping| {
        mapping.path.as_deref().is_none_or(|wanted| wanted == path)
            && mapping.source.as_deref().is_none_or(|wanted| payload["source"].as_str().map(str::trim) == Some(wanted))
    })
}

/// What the mapping asks for; what its transform said (`said`) wins over its templates. The error is the answer's text.
pub fn act(mapping: &HookMapping, facts: &Facts<'_>, said: Option<&Map<String, Value>>) -> Result<Action, String> {
    let none = Map::new();
    let said = said.unwrap_or(&none);
    let text = |key: &str| said.get(key).and_then(Value::as_str);
    let wake = match text("kind") {
        Some("wake") => true,
        Some("agent") => false,
        _ => mapping.wake,
    };
    let next = |key: &str| text(key) == Some("next-heartbeat") || (wake == mapping.wake && mapping.next_heartbeat);
    if wake {
        let filled = || if mapping.wake { render(&mapping.text_template, facts) } else { String::new() };
        let text = text("text").map_or_else(filled, str::to_owned);
        return match text.trim().is_empty() {
            true => Err("hook mapping requires text".into()),
            false => Ok(Action::Wake(Wake { text, next_heartbeat: next("mode") })),
        };
    }
    let filled = || if mapping.wake { String::new() } else { render(&mapping.message_template, facts) };
    let message = text("message").map_or_else(filled, str::to_owned);
    if message.trim().is_empty() {
        return Err("hook mapping requires message".into());
    }
    let field = |key: &str, template: &Option<String>| {
        let own = || template.as_deref().map(|template| render(template, facts));
        text(key).map(str::to_owned).or_else(own).map(|t| t.trim().to_owned()).filter(|t| !t.is_empty())
    };
    let flag = |key: &str, own: bool| said.get(key).and_then(Value::as_bool).unwrap_or(own);
    Ok(Action::Agent(Box::new(Turn {
        message,
        name: field("name", &mapping.name),
        agent_id: text("agentId").map(str::to_owned).or_else(|| mapping.agent_id.clone()),
        session_key: field("sessionKey", &mapping.session_key),
        next_heartbeat: next("wakeMode"),
        deliver: flag("deliver", mapping.deliver),
        channel: text("channel")
            .map(str::to_owned)
            .or_else(|| mapping.channel.clone())
            .map(|c| c.trim().to_lowercase()),
        to: field("to", &mapping.to),
        model: field("model", &mapping.model),
        thinking: field("thinking", &mapping.thinking),
        timeout_seconds: said.get("timeoutSeconds").and_then(seconds).or(mapping.timeout_seconds),
        // A program that passes a stranger's fields on must not take the fence away with them.
        allow_unsafe_external_content: mapping.allow_unsafe_external_content
            && flag("allowUnsafeExternalContent", true),
    })))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn mapping(path: Option<&str>, source: Option<&str>) -> HookMapping {
        HookMapping {
            id: format!("{path:?} {source:?}"),
            path: path.map(str::to_owned),
            source: source.map(str::to_owned),
            name: Some("{{who}}".into()),
            message_template: "M {{who}}".into(),
            text_template: "T {{who}}".into(),
            next_heartbeat: true,
            ..HookMapping::default()
        }
    }

    #[test]
    fn the_first_that_fits() {
        let all = [
            mapping(Some("a/b"), None),
            mapping(Some("a"), Some("s")),
            mapping(None, Some("s")),
            mapping(Some("z"), None),
        ];
        for (path, payload, want) in [
            ("a/b", json!({}), Some(0)),
            ("/a/b/", json!({}), Some(0)),
            ("a", json!({"source": "s"}), Some(1)),
            ("a", json!({}), None),
            ("other", json!({"source": " s "}), Some(2)),
            ("other", json!({"source": "S"}), None),
            ("A/B", json!({}), None),
        ] {
            assert_eq!(
                find(&all, path, &payload).map(|m| &m.id),
                want.map(|at: usize| &all[at].id),
                "{path} {payload}"
            );
        }
        assert!(find(&[mapping(None, None)], "whatever", &json!({})).is_some(), "without a match it takes everything");
    }

    #[test]
    fn only_the_configuration_takes_the_fence_away() {
        let none = Map::new();
        let facts = Facts { path: "p", payload: &json!({}), headers: &none, query: &none, now: "n" };
        for (own, said, want) in [
            (false, json!({}), false),
            (false, json!({"allowUnsafeExternalContent": true}), false),
            (true, json!({}), true),
            (true, json!({"allowUnsafeExternalContent": false}), false),
        ] {
            let mapping = HookMapping { allow_unsafe_external_content: own, ..mapping(None, None) };
            let Ok(Action::Agent(turn)) = act(&mapping, &facts, said.as_object()) else { panic!("a turn") };
            assert_eq!(turn.allow_unsafe_external_content, want, "{own} {said}");
        }
    }

    #[test]
    fn actions() {
        let payload = json!({"who": "ada"});
        let none = Map::new();
        let facts = Facts { path: "p", payload: &payload, headers: &none, query: &none, now: "n" };
        let agent = mapping(None, None);
        let wake = HookMapping { wake: true, ..agent.clone() };
        let empty =
            HookMapping { message_template: " {{nope}} ".into(), text_template: String::new(), ..agent.clone() };
        let shown = |mapping: &HookMapping, said: Value| match act(mapping, &facts, said.as_object()) {
            Ok(Action::Wake(w)) => format!("wake {} {}", w.text, w.mode()),
            Ok(Action::Agent(t)) => {
                format!("agent {} {:?} {}", t.message, t.name, super::super::action::mode(t.next_heartbeat))
            }
            Err(e) => e,
        };
        for (mapping, said, want) in [
            (&agent, json!(null), "agent M ada Some(\"ada\") next-heartbeat"),
            (&agent, json!({"message": "{{who}}", "name": "x"}), "agent {{who}} Some(\"x\") next-heartbeat"),
            (&agent, json!({"kind": "wake", "text": "t"}), "wake t now"),
            (&agent, json!({"kind": "wake"}), "hook mapping requires text"),
            (&wake, json!(null), "wake T ada next-heartbeat"),
            (
                &wake,
                json!({"kind": "agent", "message": "m", "wakeMode": "next-heartbeat"}),
                "agent m Some(\"ada\") next-heartbeat",
            ),
            (&wake, json!({"kind": "agent"}), "hook mapping requires message"),
            (&wake, json!({"text": 5}), "wake T ada next-heartbeat"),
            (&empty, json!(null), "hook mapping requires message"),
            (&HookMapping { wake: true, ..empty.clone() }, json!(null), "hook mapping requires text"),
        ] {
            assert_eq!(shown(mapping, said.clone()), want, "{said}");
        }
    }
}
