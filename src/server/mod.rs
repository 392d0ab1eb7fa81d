//! The doors: listeners, lock, `--force`, connections.

pub mod bind_plan;
pub mod force;
pub mod listen;
pub mod lock;
pub mod port_report;
