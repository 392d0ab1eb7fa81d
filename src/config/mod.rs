//! The configuration as data: JSON5 text to checked, typed settings, through a `Source` for files and environment.
//!
//! Way of a file (config A4): `text` (bytes → JSON5 value) → `include` → `env` (variables, `${NAME}`) → `legacy` →
//! `check` (against `schema`) → `defaults` → `typed` (→ [`Config`]). `load` walks it. The way back is `merge` (what is to
//! change, as a tree) → `edit` (the text that says so, comments kept). Everything here is pure: it runs on whichever thread
//! asks and touches the world only through [`Source`].

pub mod check;
pub mod cross;
pub mod dangerous;
pub mod defaults;
pub mod diff;
pub mod edit;
#[cfg(test)]
mod edit_tests;
pub mod env;
pub mod get_path;
pub mod hooks;
pub mod include;
pub mod issue;
pub mod keys;
pub mod legacy;
pub mod load;
pub mod lookup;
pub mod merge;
pub mod model;
pub mod paths;
pub mod pattern;
pub mod plan;
pub mod redact;
pub mod render;
pub mod schema;
pub mod schema_doc;
pub mod secret_ref;
pub mod source;
pub mod spans;
pub mod text;
pub mod tools;
pub mod typed;

pub use issue::Issue;
pub use load::{Loaded, load, load_bytes};
pub use model::*;
pub use paths::{Overrides, Paths};
pub use plan::Plan;
pub use source::Source;
