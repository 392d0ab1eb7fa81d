//! The gateway's wire protocol as data and pure functions: frames, `connect`, roles and scopes, the METHODS and
//! EVENTS tables, parameter schemas, error shapes. No socket, no clock, no file.

pub mod errors;
pub mod frame;

pub use errors::{ErrorCode, ErrorShape};

/// Version of OpenClaw that we are compatible with: on the wire and in files that the reference reads (DECISIONS 20).
pub const COMPAT_VERSION: &str = "2026.3.13";
/// Lowest and highest protocol that a client may ask for.
pub const PROTOCOL_MIN: u32 = 3;
pub const PROTOCOL_MAX: u32 = 4;
