//! (stub until merged)
use super::Payload;
use super::context::{Caller, Context};
use crate::hub::reply::Reply;
use crate::protocol::ErrorShape;
use serde_json::Value;
use std::sync::Arc;
pub fn agent(_: &Arc<Context>, _: &Arc<Caller>, _: Value, reply: Reply) {
    drop(reply)
}
pub fn agent_wait(_: &Arc<Context>, _: &Arc<Caller>, _: Value, reply: Reply) {
    drop(reply)
}
pub fn abort(_: &Arc<Context>, _: &Arc<Caller>, _: Value, reply: Reply) {
    drop(reply)
}
pub fn send(_: &Arc<Context>, _: &Arc<Caller>, _: Value, reply: Reply) {
    drop(reply)
}
pub fn inject(_: &Arc<Context>, _: &Arc<Caller>, _: Value, reply: Reply) {
    drop(reply)
}
pub fn history(_: &Context, _: &Caller, _: Value) -> Result<Payload, ErrorShape> {
    Err(ErrorShape::unavailable("x"))
}
