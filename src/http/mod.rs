//! HTTP/1.1 without sockets: request heads, body framing, answers. The connection (`server`) reads and writes.

pub mod body;
pub mod head;
pub mod media_type;
pub mod negotiate;
pub mod query;
pub mod reply;
pub mod site_path;
pub mod url;

pub use head::{Head, Refusal};
pub use reply::{Bytes, Printer, Reply, Shape};
