//! Text as people and models read it: pages without their markup, bytes as characters, words of strangers in a fence.
//! Pure.

pub mod charset;
pub mod entities;
pub mod html;
pub mod untrusted;
