//! The command line.
pub mod argv;
pub mod help;
pub mod output;
pub mod tree;
