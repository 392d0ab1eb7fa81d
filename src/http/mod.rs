//! HTTP/1.1 without sockets: request heads, body framing, answers. The connection (`server`) reads and writes.

pub mod body;
pub mod head;
pub mod query;
pub mod reply;

pub use head::{Head, Refusal};
pub use reply::{Bytes, Printer, Reply, Shape};
