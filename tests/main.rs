//! One test program for the whole gateway: two cores link once.

mod common;
mod layers;
mod lifecycle;
mod process;
mod smoke;
mod source;
mod tables;
