//! config.schema and config.schema.lookup.

use serde_json::{Value, json};

use super::Payload;
use super::context::{Caller, Context, wall_ms};
use crate::config::{lookup, schema_doc};
use crate::protocol::params::config::ConfigSchemaLookupParams;
use crate::protocol::{COMPAT_VERSION, ErrorShape, params};

/// The whole schema and the hints for a settings page.
pub fn schema(_ctx: &Context, _caller: &Caller, _params: Value) -> Result<Payload, ErrorShape> {
    let at = jiff::Timestamp::from_millisecond(wall_ms() as i64).unwrap_or_default();
    Ok(json!({
        "schema": schema_doc::json_schema(),
        "uiHints": schema_doc::ui_hints(),
        "version": COMPAT_VERSION,
        "generatedAt": at.to_string(),
    })
    .into())
}

/// One key and those right below it.
pub fn schema_lookup(_ctx: &Context, _caller: &Caller, params: Value) -> Result<Payload, ErrorShape> {
    let params: ConfigSchemaLookupParams = params::read("config.schema.lookup", params)?;
    let found = lookup::lookup(&params.path);
    found.map(Payload::from).ok_or_else(|| ErrorShape::invalid("config schema path not found"))
}
