//! Method handlers, one file per family, and the way to them: table look-up, scopes, parameters, then the handler on
//! the thread that METHODS names.

pub mod agents;
pub mod chat;
pub mod config;
pub mod config_schema;
pub mod context;
pub mod devices;
pub mod dispatch;
pub mod health;
pub mod jobs;
pub mod models;
pub mod restart;
pub mod secrets;
pub mod sessions;
pub mod system;

use std::sync::Arc;

use serde_json::Value;

pub use self::context::{Caller, Context, Live};
pub use self::dispatch::{Answered, Payload, dispatch, say_answered};
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

use Handler::{Answer, Owner};

/// One row per row of METHODS; a test compares them.
pub static HANDLERS: &[(&str, Handler)] = &[
    ("health", Answer(system::health)),
    ("logs.tail", Answer(system::logs_tail)),
    ("channels.status", Answer(system::channels_status)),
    ("status", Answer(system::status)),
    ("usage.status", Answer(system::usage_status)),
    ("usage.cost", Answer(system::usage_cost)),
    ("config.get", Answer(config::get)),
    ("config.set", Answer(config::set)),
    ("config.apply", Answer(config::apply)),
    ("config.patch", Answer(config::patch)),
    ("config.schema", Answer(config_schema::schema)),
    ("config.schema.lookup", Answer(config_schema::schema_lookup)),
    ("config.openFile", Answer(config::open_file)),
    ("exec.approvals.get", Answer(system::exec_approvals_get)),
    ("models.list", Answer(models::list)),
    ("agents.list", Answer(agents::list)),
    ("skills.status", Answer(system::skills_status)),
    ("secrets.reload", Answer(secrets::reload)),
    ("secrets.resolve", Answer(secrets::resolve)),
    ("sessions.list", Answer(sessions::list)),
    ("sessions.preview", Answer(sessions::preview)),
    ("last-heartbeat", Answer(system::last_heartbeat)),
    ("set-heartbeats", Answer(system::set_heartbeats)),
    ("device.pair.list", Answer(devices::pair_list)),
    ("device.pair.approve", Answer(devices::pair_approve)),
    ("device.pair.reject", Answer(devices::pair_reject)),
    ("device.pair.remove", Owner(devices::pair_remove)),
    ("device.token.rotate", Owner(devices::token_rotate)),
    ("device.token.revoke", Owner(devices::token_revoke)),
    ("node.list", Answer(system::node_list)),
    ("cron.list", Answer(system::cron_list)),
    ("cron.status", Answer(system::cron_status)),
    ("cron.runs", Answer(system::cron_runs)),
    ("gateway.identity.get", Answer(system::gateway_identity_get)),
    ("system-presence", Answer(system::system_presence)),
    ("system-event", Owner(system::system_event)),
    ("agent", Owner(chat::agent)),
    ("agent.identity.get", Answer(agents::identity_get)),
    ("agent.wait", Owner(chat::agent_wait)),
    ("chat.history", Answer(chat::history)),
    ("chat.abort", Owner(chat::abort)),
    ("chat.send", Owner(chat::send)),
    ("chat.inject", Owner(chat::inject)),
    ("sessions.usage", Answer(system::sessions_usage)),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::methods::{METHODS, Runs};

    #[test]
    fn every_method_has_one_handler_of_its_kind() {
        // `connect` is answered by the dispatcher.
        let methods: Vec<_> = METHODS.iter().filter(|method| method.name != "connect").collect();
        assert_eq!(methods.len(), HANDLERS.len());
        for method in methods {
            let of_name: Vec<_> = HANDLERS.iter().filter(|(name, _)| *name == method.name).collect();
            let [(_, handler)] = of_name[..] else { panic!("{} handlers for {}", of_name.len(), method.name) };
            let fits = match handler {
                Answer(_) => method.runs != Runs::Owner,
                Owner(_) => method.runs != Runs::Inline,
            };
            assert!(fits, "{} runs {:?}", method.name, method.runs);
        }
    }
}
