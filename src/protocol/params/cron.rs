//! `cron.list`, `cron.runs`; `cron.status` has no parameters.

use serde::Deserialize;

use super::whole;
use crate::protocol::schema::*;

const SORT_DIR: Kind = Kind::OneOf(&["asc", "desc"]);
const RUN_STATUS: Kind = Kind::OneOf(&["ok", "error", "skipped"]);
const DELIVERY_STATUS: Kind = Kind::OneOf(&["delivered", "not-delivered", "unknown", "not-requested"]);
const JOB_ID: Kind = Kind::Text {
    min: 1,
    max: NO_MAX,
    pattern: Some(Pattern { text: r"^[^/\\]+$", matches: |text| !text.is_empty() && !text.contains(['/', '\\']) }),
};

pub static CRON_LIST: Object = strict(&[
    optional("includeDisabled", Kind::Bool),
    optional("limit", between(1, 200)),
    optional("offset", at_least(0)),
    optional("query", TEXT),
    optional("enabled", Kind::OneOf(&["all", "enabled", "disabled"])),
    optional("sortBy", Kind::OneOf(&["nextRunAtMs", "updatedAtMs", "name"])),
    optional("sortDir", SORT_DIR),
]);

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CronListParams {
    pub include_disabled: Option<bool>,
    /// Default 50.
    #[serde(deserialize_with = "whole")]
    pub limit: Option<u64>,
    #[serde(deserialize_with = "whole")]
    pub offset: Option<u64>,
    pub query: Option<String>,
    pub enabled: Option<String>,
    pub sort_by: Option<String>,
    pub sort_dir: Option<String>,
}

pub static CRON_RUNS: Object = strict(&[
    optional("scope", Kind::OneOf(&["job", "all"])),
    optional("id", JOB_ID),
    optional("jobId", JOB_ID),
    optional("limit", between(1, 200)),
    optional("offset", at_least(0)),
    optional("statuses", Kind::List { item: &RUN_STATUS, min: 1, max: 3 }),
    optional("status", Kind::OneOf(&["all", "ok", "error", "skipped"])),
    optional("deliveryStatuses", Kind::List { item: &DELIVERY_STATUS, min: 1, max: 4 }),
    optional("deliveryStatus", DELIVERY_STATUS),
    optional("query", TEXT),
    optional("sortDir", SORT_DIR),
]);

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CronRunsParams {
    pub scope: Option<String>,
    pub id: Option<String>,
    pub job_id: Option<String>,
    #[serde(deserialize_with = "whole")]
    pub limit: Option<u64>,
    #[serde(deserialize_with = "whole")]
    pub offset: Option<u64>,
    pub statuses: Vec<String>,
    pub status: Option<String>,
    pub delivery_statuses: Vec<String>,
    pub delivery_status: Option<String>,
    pub query: Option<String>,
    pub sort_dir: Option<String>,
}
