//! `config.schema.lookup`. `config.get`, `config.schema` and `exec.approvals.get` take no parameters; their shape is
//! `schema::EMPTY`. The writing methods of the family bring their shapes with them when they come.

use serde::Deserialize;

pub use crate::protocol::schema::EMPTY;
use crate::protocol::schema::*;

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
