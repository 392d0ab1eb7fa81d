//! config.get and config.schema.

use serde_json::{Value, json};

use super::Payload;
use super::context::{Caller, Context, wall_ms};
use crate::config;
use crate::protocol::{COMPAT_VERSION, ErrorShape};
use crate::store::source::FsSource;

/// The file as it is now, secrets masked; an invalid one with its issues.
pub fn get(ctx: &Context, _caller: &Caller, _params: Value) -> Result<Payload, ErrorShape> {
    Ok(config::load(&ctx.paths, &FsSource).view().into())
}

pub fn schema(_ctx: &Context, _caller: &Caller, _params: Value) -> Result<Payload, ErrorShape> {
    let at = jiff::Timestamp::from_millisecond(wall_ms() as i64).unwrap_or_default();
    Ok(json!({
        "schema": config::schema_doc::json_schema(),
        "uiHints": config::schema_doc::ui_hints(),
        "version": COMPAT_VERSION,
        "generatedAt": at.to_string(),
    })
    .into())
}
