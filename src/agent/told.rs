//! The conversation that a client of the HTTP APIs sends along: as messages of ours, and what of it a session does not
//! know yet. Pure.

use super::models::wire::{self, AssistantPart, UserPart};
use crate::store::message::{Assistant, Block, Message, Role};

/// Stands before the words of an assistant that spoke first: a conversation begins with the user's.
const OPENING: &str = "(You began this conversation.)";

/// What a turn has to add before its message.
#[derive(Debug, Default, PartialEq)]
pub struct News {
    pub messages: Vec<Message>,
    /// What was said since the last answer, as text that goes before the message (http 3.1).
    pub before: Option<String>,
}

/// `known`: what the session holds. A session that holds nothing gets all of it; another one only the results of calls
/// that it waits for, and what others said since its last answer. `continues`: the message that follows is no more than
/// these results, so that a session which knows nothing of the calls gets them too.
pub fn news(history: &[wire::Message], known: &[Message], continues: bool, now: u64) -> News {
    if known.is_empty() {
        let mut messages = whole(history, now);
        if matches!(history.first(), Some(wire::Message::Assistant(_))) {
            messages.insert(0, Message::user(OPENING, now));
        }
        return News { messages, before: None };
    }
    let since = history.iter().rposition(|m| matches!(m, wire::Message::Assistant(_))).map_or(0, |at| at + 1);
    let is_awaited =
        |message: &&wire::Message| matches!(message, wire::Message::ToolResult { id, .. } if awaits(known, id));
    let mut messages: Vec<Message> =
        history[since..].iter().filter(is_awaited).map(|message| stored(message, now)).collect();
    if continues && messages.is_empty() {
        let from = history.iter().rposition(|m| matches!(m, wire::Message::User(_))).unwrap_or(0);
        messages = whole(&history[from..], now);
    }
    let said: Vec<String> = history[since..]
        .iter()
        .filter_map(|message| match message {
            wire::Message::User(parts) => Some(format!("User: {}", text(parts))),
            _ => None,
        })
        .collect();
    let before = (!continues && !said.is_empty()).then(|| {
        format!(
            "[Chat messages since your last reply - for context]\n{}\n\n[Current message - respond to this]\nUser: ",
            said.join("\n")
        )
    });
    News { messages, before }
}

/// A conversation that stands for itself: a result whose call is not in it would be dropped later, so it is told as
/// text.
fn whole(history: &[wire::Message], now: u64) -> Vec<Message> {
    let mut out: Vec<Message> = Vec::with_capacity(history.len());
    for message in history {
        // An answer of which the client knows no more than that there was one.
        if matches!(message, wire::Message::Assistant(parts) if parts.is_empty()) {
            continue;
        }
        out.push(match message {
            wire::Message::ToolResult { id, text, .. } if !awaits(&out, id) => {
                Message::user(format!("Tool:{id}: {text}"), now)
            }
            message => stored(message, now),
        });
    }
    out
}

/// Whether a call of this id has no result yet.
fn awaits(known: &[Message], id: &str) -> bool {
    let called = |block: &Block| matches!(block, Block::ToolCall { id: called, .. } if called == id);
    let Some(at) = known.iter().rposition(|message| message.content.iter().any(called)) else { return false };
    let answers =
        |message: &Message| matches!(&message.role, Role::ToolResult { tool_call_id, .. } if tool_call_id == id);
    !known[at..].iter().any(answers)
}

fn text(parts: &[UserPart]) -> String {
    let texts: Vec<&str> = parts
        .iter()
        .filter_map(|part| match part {
            UserPart::Text(text) => Some(text.as_str()),
            UserPart::Image { .. } => None,
        })
        .collect();
    texts.join("\n")
}

fn stored(message: &wire::Message, now: u64) -> Message {
    match message {
        wire::Message::User(parts) => {
            let mut message = Message::user("", now);
            message.content = parts
                .iter()
                .map(|part| match part {
                    UserPart::Text(text) => Block::text(text.clone()),
                    UserPart::Image { mime, data } => Block::Image { data: data.clone(), mime_type: mime.clone() },
                })
                .collect();
            message
        }
        wire::Message::Assistant(parts) => {
            let calls = parts.iter().any(|part| matches!(part, AssistantPart::ToolCall(_)));
            // Nobody knows which model said it; thinking is of no use to another one.
            let who = Assistant {
                api: "openai-completions".into(),
                provider: "openclaw".into(),
                model: "client-history".into(),
                stop_reason: if calls { "toolUse" } else { "stop" }.into(),
                ..Assistant::default()
            };
            let blocks = parts
                .iter()
                .filter_map(|part| match part {
                    AssistantPart::Text(text) => Some(Block::text(text.clone())),
                    AssistantPart::Thinking { .. } => None,
                    AssistantPart::ToolCall(call) => Some(Block::ToolCall {
                        id: call.id.clone(),
                        name: call.name.clone(),
                        arguments: call.arguments.clone(),
                    }),
                })
                .collect();
            Message::assistant(who, blocks, now)
        }
        wire::Message::ToolResult { id, name, text, is_error } => {
            Message::tool_result(id, name, text.as_str(), *is_error, now)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn user(text: &str) -> wire::Message {
        wire::Message::User(vec![UserPart::Text(text.into())])
    }

    fn calls(id: &str) -> wire::Message {
        let call = wire::ToolCall { id: id.into(), name: "f".into(), arguments: json!({}) };
        wire::Message::Assistant(vec![AssistantPart::ToolCall(call)])
    }

    fn result(id: &str) -> wire::Message {
        wire::Message::ToolResult { id: id.into(), name: "f".into(), text: "r".into(), is_error: false }
    }

    fn spoke(text: &str) -> wire::Message {
        wire::Message::Assistant(vec![AssistantPart::Text(text.into())])
    }

    fn roles(news: &News) -> Vec<&'static str> {
        news.messages.iter().map(Message::role_name).collect()
    }

    #[test]
    fn a_session_that_knows_nothing_gets_everything() {
        let news = news(&[spoke("hello"), user("a"), calls("1"), result("1")], &[], false, 1);
        assert_eq!(roles(&news), ["user", "assistant", "user", "assistant", "toolResult"]);
        assert_eq!(news.messages[0].text(), OPENING);
        assert_eq!(news.before, None);
        let lost = super::news(&[result("7")], &[], true, 1);
        assert_eq!((roles(&lost), lost.messages[0].text()), (vec!["user"], "Tool:7: r".to_owned()));
    }

    #[test]
    fn a_session_with_a_past_gets_what_it_waits_for() {
        let known: Vec<Message> = [user("a"), calls("1")].iter().map(|m| stored(m, 1)).collect();
        let history = [user("a"), calls("1"), result("1")];
        assert_eq!(roles(&news(&history, &known, true, 1)), ["toolResult"]);

        let answered: Vec<Message> = history.iter().map(|m| stored(m, 1)).collect();
        assert_eq!(news(&[user("a"), spoke("b")], &answered, false, 1), News::default());
        let more = news(&[user("a"), spoke("b"), user("c"), user("d")], &answered, false, 1);
        assert!(more.messages.is_empty());
        assert_eq!(
            more.before.as_deref(),
            Some(
                "[Chat messages since your last reply - for context]\nUser: c\nUser: d\n\n\
                 [Current message - respond to this]\nUser: "
            )
        );
        // It never heard of these calls: they come from the client, with the question that led to them.
        let strange = [user("x"), calls("9"), result("9")];
        assert_eq!(roles(&news(&strange, &answered, true, 1)), ["user", "assistant", "toolResult"]);
    }
}
