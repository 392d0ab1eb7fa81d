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
    let document = config::schema_doc::document();
    let at = jiff::Timestamp::from_millisecond(wall_ms() as i64).unwrap_or_default();
    Ok(json!({
        "schema": document.schema,
        "uiHints": document.hints,
        "version": COMPAT_VERSION,
        "generatedAt": at.to_string(),
    })
    .into())
}
