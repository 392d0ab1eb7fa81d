//! One test program for the whole gateway: two cores link once.

mod chat;
mod common;
mod disk;
mod handshake;
mod http;
mod layers;
mod providers;
mod smoke;
mod source;
mod state;
mod tables;
mod turns;
