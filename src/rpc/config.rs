//! config.get.

use serde_json::Value;

use super::Payload;
use super::context::{Caller, Context};
use crate::config;
use crate::protocol::ErrorShape;
use crate::store::source::FsSource;

/// The file as it is now, secrets masked; an invalid one with its issues.
pub fn get(ctx: &Context, _caller: &Caller, _params: Value) -> Result<Payload, ErrorShape> {
    Ok(config::load(&ctx.paths, &FsSource).view().into())
}
