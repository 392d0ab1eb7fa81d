//! WebSocket without sockets: frame headers encoded once, close codes, and a follower that knows where the frame
//! being read ends.

pub mod close;
pub mod encode;
pub mod follow;

pub use close::Close;
