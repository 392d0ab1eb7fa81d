//! (head)

pub mod source;
