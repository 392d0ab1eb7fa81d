//! One test program for the whole gateway: two cores link once.

mod common;
mod hostile;
mod http;
mod layers;
mod smoke;
mod source;
mod tables;
