//! The built-in model that needs no network and no key: it says what it was told (DECISIONS 60). For trying the
//! gateway out; its answers carry its name.

use super::wire::{Message, ModelRequest, StopReason, StreamEvent, Usage, UserPart};

/// The model reference.
pub const PROVIDER: &str = "builtin";
pub const MODEL: &str = "echo";
const LABEL: &str = "[builtin/echo] ";

/// The events of its answer, word by word; `said` is what the user wrote in this turn, without the prefix that the
/// transcript adds.
pub fn answer(request: &ModelRequest, said: &str) -> impl Iterator<Item = StreamEvent> + use<> {
    let text = format!("{LABEL}{said}");
    let input: usize = request.system.chars().count() + request.messages.iter().map(chars).sum::<usize>();
    let usage = Usage {
        input: (input as u64).div_ceil(4),
        output: (text.chars().count() as u64).div_ceil(4),
        ..Usage::default()
    };
    let words: Vec<StreamEvent> = words(&text).map(|w| StreamEvent::Text(w.to_owned())).collect();
    words.into_iter().chain([StreamEvent::Usage(usage), StreamEvent::Stop(StopReason::Stop)])
}

fn chars(message: &Message) -> usize {
    match message {
        Message::User(parts) => parts
            .iter()
            .map(|p| match p {
                UserPart::Text(text) => text.chars().count(),
                UserPart::Image { .. } => 0,
            })
            .sum(),
        Message::Assistant(parts) => parts
            .iter()
            .map(|p| match p {
                super::wire::AssistantPart::Text(text) => text.chars().count(),
                _ => 0,
            })
            .sum(),
        Message::ToolResult { text, .. } => text.chars().count(),
    }
}

/// Pieces that begin at the blanks before a word; together they are the text.
fn words(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let blanks = rest.find(|c: char| !c.is_whitespace()).unwrap_or(rest.len());
        let end = rest[blanks..].find(char::is_whitespace).map_or(rest.len(), |at| blanks + at);
        let (word, after) = rest.split_at(end);
        rest = after;
        Some(word)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_lose_nothing() {
        for text in ["", " ", "a", " a  b\n\nc ", "ü 🦞"] {
            assert_eq!(words(text).collect::<String>(), text);
        }
        assert_eq!(words("[x] hello  there").collect::<Vec<_>>(), ["[x]", " hello", "  there"]);
    }

    #[test]
    fn it_says_what_it_was_told_and_who_it_is() {
        let request = ModelRequest {
            messages: vec![Message::User(vec![UserPart::Text("12345678".into())])],
            ..ModelRequest::default()
        };
        let events: Vec<StreamEvent> = answer(&request, "hello").collect();
        let text: String =
            events.iter().filter_map(|e| if let StreamEvent::Text(t) = e { Some(t.as_str()) } else { None }).collect();
        assert_eq!(text, "[builtin/echo] hello");
        assert!(events.contains(&StreamEvent::Usage(Usage { input: 2, output: 5, ..Usage::default() })));
        assert_eq!(events.last(), Some(&StreamEvent::Stop(StopReason::Stop)));
    }
}
