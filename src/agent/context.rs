//! From the transcript to what a model is sent: pure conversion, with the repairs that providers insist on.

use std::collections::VecDeque;

use super::models::catalog::Endpoint;
use super::models::wire::{AssistantPart, Message, ToolCall, UserPart};
use crate::store::message::{self, Block, Role};

/// Stands for an image that a model cannot see.
const NO_IMAGE: &str = "[image left out: this model takes no images]";
/// Result of a tool call that never got one.
const NO_RESULT: &str = "no result: the run ended before the tool answered";

/// Conversation for one endpoint. Every tool call has exactly one result, results without a call are dropped, the
/// first message is the user's, and thinking goes back only to the model that signed it.
pub fn for_model(summary: Option<&str>, messages: &[message::Message], endpoint: &Endpoint) -> Vec<Message> {
    let mut out = Vec::with_capacity(messages.len() + 1);
    if let Some(summary) = summary {
        out.push(Message::User(vec![UserPart::Text(format!("Summary of the conversation so far:\n\n{summary}"))]));
    }
    let mut open: VecDeque<(String, String)> = VecDeque::new();
    for message in messages {
        match &message.role {
            Role::ToolResult { tool_call_id, tool_name, is_error, .. } => {
                if let Some(at) = open.iter().position(|(id, _)| id == tool_call_id) {
                    open.remove(at);
                    out.push(Message::ToolResult {
                        id: tool_call_id.clone(),
                        name: tool_name.clone(),
                        text: message.text(),
                        is_error: *is_error,
                    });
                }
                continue;
            }
            Role::User => {
                answer_open_calls(&mut open, &mut out);
                out.push(Message::User(user_parts(&message.content, endpoint.images)));
            }
            Role::Assistant(who) => {
                answer_open_calls(&mut open, &mut out);
                let same = who.provider == endpoint.id.provider && who.model == endpoint.id.model;
                let whole = !matches!(who.stop_reason.as_str(), "error" | "aborted");
                let parts = assistant_parts(&message.content, same, whole);
                if parts.is_empty() || out.is_empty() {
                    continue;
                }
                open.extend(parts.iter().filter_map(|part| match part {
                    AssistantPart::ToolCall(call) => Some((call.id.clone(), call.name.clone())),
                    _ => None,
                }));
                out.push(Message::Assistant(parts));
            }
        }
    }
    answer_open_calls(&mut open, &mut out);
    out
}

fn answer_open_calls(open: &mut VecDeque<(String, String)>, out: &mut Vec<Message>) {
    for (id, name) in open.drain(..) {
        out.push(Message::ToolResult { id, name, text: NO_RESULT.into(), is_error: true });
    }
}

fn user_parts(blocks: &[Block], images: bool) -> Vec<UserPart> {
    blocks
        .iter()
        .filter_map(|block| match block {
            Block::Text { text, .. } => Some(UserPart::Text(text.clone())),
            Block::Image { data, mime_type } if images => {
                Some(UserPart::Image { mime: mime_type.clone(), data: data.clone() })
            }
            Block::Image { .. } => Some(UserPart::Text(NO_IMAGE.into())),
            _ => None,
        })
        .collect()
}

/// `whole`: false for a message that broke off; its tool calls were never made.
fn assistant_parts(blocks: &[Block], same_model: bool, whole: bool) -> Vec<AssistantPart> {
    blocks
        .iter()
        .filter_map(|block| match block {
            Block::Text { text, .. } if !text.is_empty() => Some(AssistantPart::Text(text.clone())),
            Block::Thinking { thinking, signature, redacted } if same_model && whole => Some(AssistantPart::Thinking {
                text: thinking.clone(),
                signature: signature.clone(),
                redacted: *redacted,
            }),
            Block::ToolCall { id, name, arguments } if whole => Some(AssistantPart::ToolCall(ToolCall {
                id: id.clone(),
                name: name.clone(),
                arguments: arguments.clone(),
            })),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Api, Cost};
    use crate::store::message::{Assistant, Message as Stored};
    use serde_json::json;

    use crate::agent::models::catalog::ModelRef;

    fn endpoint(images: bool) -> Endpoint {
        Endpoint {
            id: ModelRef { provider: "p".into(), model: "m".into() },
            api: Api::OpenAiCompletions,
            base_url: String::new(),
            key: None,
            bearer: false,
            headers: Vec::new(),
            context_window: 1,
            max_tokens: 1,
            reasoning: false,
            images,
            cost: Cost::default(),
            max_tokens_field: String::new(),
            usage_in_streaming: false,
            store: false,
        }
    }

    fn said(stop: &str, blocks: Vec<Block>) -> Stored {
        let who =
            Assistant { provider: "p".into(), model: "m".into(), stop_reason: stop.into(), ..Assistant::default() };
        Stored::assistant(who, blocks, 1)
    }

    fn call(id: &str) -> Block {
        Block::ToolCall { id: id.into(), name: "read".into(), arguments: json!({}) }
    }

    fn shape(messages: &[Message]) -> Vec<String> {
        messages
            .iter()
            .map(|m| match m {
                Message::User(parts) => format!("user:{}", parts.len()),
                Message::Assistant(parts) => format!("assistant:{}", parts.len()),
                Message::ToolResult { id, is_error, .. } => format!("result:{id}:{is_error}"),
            })
            .collect()
    }

    #[test]
    fn broken_histories_become_whole() {
        let messages = [
            said("stop", vec![Block::text("before the first user message")]),
            Stored::tool_result("ghost", "read", "x", false, 1),
            Stored::user("a", 1),
            said("toolUse", vec![Block::text("t"), call("1"), call("2")]),
            Stored::tool_result("1", "read", "ok", false, 1),
            Stored::user("b", 1),
            said("error", vec![]),
            said("aborted", vec![Block::text("par"), call("3")]),
            Stored::user("c", 1),
            said("toolUse", vec![call("4")]),
        ];
        let got = for_model(None, &messages, &endpoint(false));
        assert_eq!(
            shape(&got),
            [
                "user:1",
                "assistant:3",
                "result:1:false",
                "result:2:true",
                "user:1",
                "assistant:1",
                "user:1",
                "assistant:1",
                "result:4:true"
            ]
        );
        assert_eq!(shape(&for_model(Some("s"), &[], &endpoint(false))), ["user:1"]);
    }

    #[test]
    fn images_only_for_models_that_see() {
        let mut message = Stored::user("look", 1);
        message.content.push(Block::Image { data: "QQ==".into(), mime_type: "image/png".into() });
        let parts = |images| match for_model(None, std::slice::from_ref(&message), &endpoint(images)).remove(0) {
            Message::User(parts) => parts,
            other => panic!("{other:?}"),
        };
        assert_eq!(parts(true)[1], UserPart::Image { mime: "image/png".into(), data: "QQ==".into() });
        assert_eq!(parts(false)[1], UserPart::Text(NO_IMAGE.into()));
    }
}
