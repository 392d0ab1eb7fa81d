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

/// The day of [`COMPAT_VERSION`] in milliseconds since 1970: a clock before that has not been set.
pub fn compat_version_ms() -> u64 {
    let mut parts = COMPAT_VERSION.split('.').map(|part| part.parse::<i16>().expect("numbers"));
    let mut part = || parts.next().expect("year.month.day");
    let day = jiff::civil::date(part(), part() as i8, part() as i8);
    let start = day.to_zoned(jiff::tz::TimeZone::UTC).expect("UTC has every day");
    u64::try_from(start.timestamp().as_millisecond()).expect("after 1970")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_day_of_this_version() {
        // date -u -d 2026-03-13 +%s
        assert_eq!(compat_version_ms(), 1_773_360_000_000);
    }
}
