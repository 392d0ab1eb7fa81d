//! Who is connected: clients, fan-out, presence, open runs, the health snapshot. One thread owns them all.

pub mod open_runs;
pub mod outbox;
pub mod reply;
pub mod run_events;
pub mod system_events;
