//! One test program for the whole gateway: two cores link once.

mod auth;
mod chat;
mod command_line;
mod commands;
mod common;
mod devices;
mod handshake;
mod http;
mod layers;
mod presence;
mod smoke;
mod source;
mod tables;
mod turns;
