//! The configuration as data: JSON5 text to checked, typed settings, through a `Source` for files and environment.
//!
//! Way of a file (config A4): `text` (bytes → JSON5 value) → `include` → `env` (variables, `${NAME}`) → `legacy` →
//! `check` (against `schema`) → `defaults` → `typed` (→ [`Config`]). `load` walks it. Everything here is pure: it runs on
//! whichever thread asks and touches the world only through [`Source`].

pub mod check;
pub mod diff;
pub mod env;
pub mod get_path;
pub mod include;
pub mod issue;
pub mod legacy;
pub mod model;
pub mod paths;
pub mod plan;
pub mod schema;
pub mod source;
pub mod text;

pub use issue::Issue;
pub use model::*;
pub use paths::{Overrides, Paths};
pub use plan::Plan;
pub use source::Source;
