//! One call of the model within a turn: takes its events, shows the visible ones, keeps the rest for the transcript.

use super::book::Book;
use super::models::client::Sink;
use super::models::wire::{StreamEvent, ToolCall};
use super::visible::Visible;
use super::world::{Job, World};
use crate::hub::run_events::RunEvent;
use crate::store::message::Block;

pub struct Round<'a> {
    world: &'a World,
    job: &'a Job,
    book: &'a Book,
    visible: Visible,
    parts: Vec<Part>,
    calls: Vec<ToolCall>,
}

/// A block of the answer. Text itself is in the book; here is only where it ends.
pub enum Part {
    TextTo(usize),
    Other(Block),
}

impl<'a> Round<'a> {
    pub fn new(world: &'a World, job: &'a Job, book: &'a Book) -> Self {
        Round { world, job, book, visible: Visible::default(), parts: Vec::new(), calls: Vec::new() }
    }

    fn show(&self, text: Option<String>) {
        if let Some(text) = text {
            (self.world.hub)(RunEvent::Delta { run_id: self.job.run_id.clone(), text });
        }
    }

    fn thinking(&mut self) -> (&mut String, &mut Option<String>) {
        if !matches!(self.parts.last(), Some(Part::Other(Block::Thinking { signature: None, redacted: false, .. }))) {
            let block = Block::Thinking { thinking: String::new(), signature: None, redacted: false };
            self.parts.push(Part::Other(block));
        }
        match self.parts.last_mut() {
            Some(Part::Other(Block::Thinking { thinking, signature, .. })) => (thinking, signature),
            _ => unreachable!("a thinking block was pushed"),
        }
    }

    /// The parts for the transcript, the tool calls, and what people saw.
    pub fn finish(mut self) -> (Vec<Part>, Vec<ToolCall>, String) {
        let rest = self.visible.finish();
        self.show(rest);
        (self.parts, self.calls, self.visible.text().to_owned())
    }
}

impl Sink for Round<'_> {
    fn event(&mut self, event: StreamEvent) {
        match event {
            StreamEvent::Text(piece) => {
                self.book.add_text(&piece);
                let end = self.book.text_length();
                match self.parts.last_mut() {
                    Some(Part::TextTo(to)) => *to = end,
                    _ => self.parts.push(Part::TextTo(end)),
                }
                let show = self.visible.push(&piece);
                self.show(show);
            }
            StreamEvent::Thinking(piece) => self.thinking().0.push_str(&piece),
            StreamEvent::Signature(text) => self.thinking().1.get_or_insert_with(String::new).push_str(&text),
            StreamEvent::Redacted(data) => self.parts.push(Part::Other(Block::Thinking {
                thinking: String::new(),
                signature: Some(data),
                redacted: true,
            })),
            StreamEvent::ToolCall(call) => {
                self.parts.push(Part::Other(Block::ToolCall {
                    id: call.id.clone(),
                    name: call.name.clone(),
                    arguments: call.arguments.clone(),
                }));
                self.calls.push(call);
            }
            StreamEvent::Usage(_) | StreamEvent::Stop(_) | StreamEvent::Error(_) => {}
        }
    }

    fn restart(&mut self) {
        self.parts.clear();
        self.calls.clear();
    }
}

/// The text of an answer, cut where other blocks stand between. The usual answer is one piece: nothing is copied.
pub fn blocks(parts: Vec<Part>, mut text: String) -> Vec<Block> {
    let mut from = 0;
    parts
        .into_iter()
        .map(|part| match part {
            Part::Other(block) => block,
            Part::TextTo(to) => {
                let rest = text.split_off((to - from).min(text.len()));
                from = to;
                Block::text(std::mem::replace(&mut text, rest))
            }
        })
        .collect()
}
