//! Method handlers, one file per family, and the way to them: table look-up, scopes, parameters, then the handler on
//! the thread that METHODS names.

pub mod context;
pub mod devices;
pub mod dispatch;
pub mod jobs;

use std::sync::Arc;

use serde_json::Value;

pub use self::context::{Caller, Context, Live};
pub use self::dispatch::{Answered, Payload, dispatch};
use crate::hub::reply::Reply;
use crate::protocol::ErrorShape;

/// How a method is answered.
#[derive(Clone, Copy)]
pub enum Handler {
    /// On the reader or on the pool, as METHODS says.
    Answer(fn(&Context, &Caller, Value) -> Result<Payload, ErrorShape>),
    /// The reply travels to the thread that owns the state.
    Owner(fn(&Arc<Context>, &Arc<Caller>, Value, Reply)),
}

/// One row per row of METHODS, in its order; a test compares them.
pub static HANDLERS: &[(&str, Handler)] = &[
];
