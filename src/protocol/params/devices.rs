//! `device.pair.*` and `device.token.*`; `device.pair.list` and `node.list` have no parameters.

use serde::Deserialize;

use crate::protocol::schema::*;

pub static PAIR_REQUEST: Object = strict(&[required("requestId", NON_EMPTY)]);

/// `device.pair.approve` and `device.pair.reject`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PairRequestParams {
    pub request_id: String,
}

pub static PAIR_REMOVE: Object = strict(&[required("deviceId", NON_EMPTY)]);

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PairRemoveParams {
    pub device_id: String,
}

pub static TOKEN_ROTATE: Object =
    strict(&[required("deviceId", NON_EMPTY), required("role", NON_EMPTY), optional("scopes", list(&NON_EMPTY))]);

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TokenRotateParams {
    pub device_id: String,
    pub role: String,
    pub scopes: Option<Vec<String>>,
}

pub static TOKEN_REVOKE: Object = strict(&[required("deviceId", NON_EMPTY), required("role", NON_EMPTY)]);

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TokenRevokeParams {
    pub device_id: String,
    pub role: String,
}
