//! Language models: one pure parser per wire format, one streaming shell, the catalogue that says who is asked.

pub mod anthropic;
pub mod catalog;
pub mod client;
pub mod echo;
pub mod lines;
pub mod ollama;
pub mod openai;
pub mod wire;

pub use wire::{ModelError, ModelRequest, Reason, StopReason, StreamEvent, Usage};
