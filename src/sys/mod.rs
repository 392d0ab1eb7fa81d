//! The operating system: memory, descriptors, signals, processes, sockets, exec. The only room with `unsafe`.
//!
//! Runs on whatever thread calls it; every function returns at once unless its sentence says otherwise. What a
//! platform cannot tell is `None`, an empty list or `ErrorKind::Unsupported`, never a guess.
#![allow(unsafe_code)]

pub mod ask;
pub mod beneath;
pub mod dir_watch;
pub mod dirs;
pub mod disk;
pub mod exec;
pub mod fds;
pub mod host;
pub mod link_changes;
pub mod memory;
pub mod notice;
pub mod poll;
pub mod process;
pub mod rename;
pub mod sd_notify;
pub mod signals;
#[cfg(target_os = "linux")]
mod sock_diag;
pub mod sockets;
pub mod terminal;
#[cfg(test)]
pub(crate) mod testing;
pub mod zone;
