//! `config.get`, `config.schema` and `exec.approvals.get` take no parameters; their shape is `schema::EMPTY`. The
//! writing methods of the family bring their shapes with them when they come.

pub use crate::protocol::schema::EMPTY;
