//! One test program for the whole gateway: two cores link once.

mod chat;
mod common;
mod handshake;
mod http;
mod layers;
mod smoke;
mod source;
mod tables;
mod turns;
