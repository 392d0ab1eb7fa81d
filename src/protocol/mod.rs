//! The gateway's wire protocol as data and pure functions: frames, `connect`, roles and scopes, the METHODS and
//! EVENTS tables, parameter schemas, presence, error shapes. No socket, no clock, no file.

pub mod connect;
pub mod errors;
pub mod events;
pub mod frame;
pub mod hello;
pub mod methods;
pub mod params;
pub mod presence;
mod presence_text;
pub mod roles;
pub mod schema;
pub mod setup_code;
pub mod weight;

pub use errors::{ErrorCode, ErrorShape};
pub use roles::{Role, Scopes};

/// Version of OpenClaw that we are compatible with: on the wire and in files that the reference reads (DECISIONS 20).
pub const COMPAT_VERSION: &str = "2026.3.13";
/// Lowest and highest protocol that a client may ask for.
pub const PROTOCOL_MIN: u32 = 3;
pub const PROTOCOL_MAX: u32 = 4;
