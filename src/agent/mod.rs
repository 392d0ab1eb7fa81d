//! Runs and what they are made of: lanes and queues, the turn, the models it talks to.
//!
//! `runs` is the owner (one thread); each turn has a thread `run-<id>` of its own. Everything a client sees of a run
//! goes through the hub (`hub::run_events`); everything that stays goes through `store`. Nothing here knows a socket
//! of a client.

pub mod book;
pub mod context;
pub mod dedupe;
pub mod fetch;
pub mod history;
pub mod intake;
pub mod keys;
pub mod models;
pub mod prompt;
pub mod round;
pub mod runs;
pub mod session;
pub mod told;
pub mod tools;
pub mod turn;
pub mod visible;
pub mod workspace;
pub mod world;

#[cfg(test)]
pub(crate) mod fake;
