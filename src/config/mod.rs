//! The configuration as data: JSON5 text to checked, typed settings, through a `Source` for files and environment.

pub mod model;

pub use model::*;
