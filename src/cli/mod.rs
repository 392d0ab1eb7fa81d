//! The command line.
pub mod argv;
pub mod client;
pub mod help;
pub mod output;
pub mod target;
pub mod tree;
