//! One test program for the whole gateway: two cores link once.

mod auth;
mod chat;
mod command_line;
mod commands;
mod common;
mod config_keys;
mod devices;
mod disk;
mod handshake;
mod hostile;
mod http;
mod layers;
mod lifecycle;
mod methods;
mod presence;
mod process;
mod providers;
mod smoke;
mod source;
mod state;
mod tables;
mod turns;
