//! `config.*`. `config.get`, `config.schema`, `config.openFile` and `exec.approvals.get` take no parameters; their shape
//! is `schema::EMPTY`.

use serde::Deserialize;

use crate::protocol::schema::*;

pub static SET: Object = strict(&[required("raw", NON_EMPTY), optional("baseHash", NON_EMPTY)]);

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConfigSetParams {
    /// JSON5.
    pub raw: String,
    pub base_hash: Option<String>,
}

/// `config.apply` and `config.patch`.
pub static APPLY: Object = strict(&[
    required("raw", NON_EMPTY),
    optional("baseHash", NON_EMPTY),
    optional("sessionKey", TEXT),
    optional("note", TEXT),
    optional("restartDelayMs", at_least(0)),
]);

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConfigApplyParams {
    pub raw: String,
    pub base_hash: Option<String>,
    /// The session that is told after the restart.
    pub session_key: Option<String>,
    /// What it is told.
    pub note: Option<String>,
    #[serde(deserialize_with = "super::whole")]
    pub restart_delay_ms: Option<u64>,
}

pub static SCHEMA_LOOKUP: Object = strict(&[required(
    "path",
    Kind::Text { min: 1, max: 1024, pattern: Some(Pattern { text: r"^[A-Za-z0-9_./\[\]\-*]+$", matches: is_path }) },
)]);

#[derive(Clone, Debug, Default, Deserialize)]
pub struct ConfigSchemaLookupParams {
    pub path: String,
}

fn is_path(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_./[]-*".contains(&b))
}
