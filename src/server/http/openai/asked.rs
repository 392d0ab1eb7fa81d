//! What a request asks of an agent, whichever of the interfaces it was read from.

use super::target::Target;
use crate::agent::intake::Image;
use crate::agent::models::wire::{Message, Sampling, Thinking, ToolChoice, ToolSpec};
use crate::agent::runs::Ask;
use crate::agent::world::Options;

#[derive(Debug, Default, PartialEq)]
pub struct Asked {
    /// Instructions, and what system and developer messages say.
    pub system: Option<String>,
    /// Texts of files, each in its fence.
    pub files: Option<String>,
    /// What stands before the message, a conversation that is gone on with included; with `continues` everything.
    pub history: Vec<Message>,
    pub message: String,
    pub images: Vec<Image>,
    /// The conversation ends with results of calls.
    pub continues: bool,
    pub tools: Vec<ToolSpec>,
    pub tool_choice: ToolChoice,
    pub thinking: Option<Thinking>,
    pub sampling: Sampling,
}

impl Asked {
    /// An answer without a call would be none.
    pub fn must_call(&self) -> bool {
        !self.tools.is_empty() && matches!(self.tool_choice, ToolChoice::Required | ToolChoice::Named(_))
    }

    /// `earlier`: files that came before, in a conversation that is gone on with.
    pub fn ask(self, id: &str, earlier: Vec<String>, target: Target, channel: Option<String>) -> Ask {
        let system: Vec<String> = self.system.into_iter().chain(earlier).chain(self.files).collect();
        Ask {
            run_id: id.to_owned(),
            agent: target.agent_of_key(),
            session_key: target.session_key,
            message: self.message,
            images: self.images,
            thinking: self.thinking,
            extra_system_prompt: (!system.is_empty()).then(|| system.join("\n\n")),
            timeout: None,
            options: Options {
                ephemeral: target.ephemeral,
                history: self.history,
                continues: self.continues,
                tools: self.tools,
                tool_choice: self.tool_choice,
                sampling: self.sampling,
                model: target.model,
                once: target.once.is_some(),
                channel,
                background: false,
            },
        }
    }
}
