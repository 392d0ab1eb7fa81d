//! Parameters of the methods: one file per family with the shape that is checked and the struct that handlers get.
//!
//! The check comes first and speaks the reference's language; reading into the struct cannot fail after it, except
//! for numbers that no machine needs.

pub mod agent;
pub mod agents;
pub mod chat;
pub mod config;
pub mod cron;
pub mod devices;
pub mod sessions;
pub mod system;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::ErrorShape;
use super::methods::{Method, Params};
use super::schema;

/// Checks `params` of a method at a protocol: nothing for lenient methods; unknown keys are refused at protocol 3
/// and ignored from 4 (DECISIONS 14).
pub fn check(method: &Method, params: &Value, protocol: u32) -> Result<(), ErrorShape> {
    match method.params {
        Params::Lenient => Ok(()),
        Params::Strict(shape) => schema::check(method.name, params, shape, protocol >= 4),
    }
}

/// Reads checked parameters into a handler's struct.
pub fn read<T: DeserializeOwned>(method: &str, params: Value) -> Result<T, ErrorShape> {
    serde_json::from_value(params).map_err(|e| ErrorShape::invalid(format!("invalid {method} params: {e}")))
}

/// Like [`read`] for lenient methods: whatever does not fit counts as absent.
pub fn read_lenient<T: DeserializeOwned + Default>(params: Value) -> T {
    serde_json::from_value(params).unwrap_or_default()
}

/// A whole number in any of its spellings: `5`, `5.0`, `5e0`; below zero is 0, beyond u64 is its largest.
pub(crate) fn whole<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    let number = Option::<serde_json::Number>::deserialize(deserializer)?;
    Ok(number.map(|n| n.as_u64().unwrap_or_else(|| n.as_f64().map_or(0, |f| f as u64))))
}
