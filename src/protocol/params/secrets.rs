//! `secrets.resolve`; `secrets.reload` has no parameters.

use serde::Deserialize;

use crate::protocol::schema::*;

pub static SECRETS_RESOLVE: Object =
    strict(&[required("commandName", NON_EMPTY), required("targetIds", list(&NON_EMPTY))]);

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SecretsResolveParams {
    pub command_name: String,
    /// Paths of the configuration, `*` for any key.
    pub target_ids: Vec<String>,
}
