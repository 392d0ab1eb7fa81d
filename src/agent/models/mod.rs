//! Language models: one pure parser per wire format, one streaming shell, the catalogue that says who is asked.

pub mod anthropic;
pub mod catalog;
pub mod client;
pub mod echo;
pub mod embeddings;
pub mod fault;
pub mod lines;
pub mod ollama;
pub mod openai;
pub mod providers;
pub mod sse;
pub mod wire;

pub use fault::{ModelError, Reason};
pub use wire::{ModelRequest, StopReason, StreamEvent, Usage};
