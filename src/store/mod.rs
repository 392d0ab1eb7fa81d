//! Files, one owner each: sessions, transcripts, devices, identity, and the thread that writes them.
//!
//! Runs on whichever thread asks; slow writes run on the `store` thread (`writer`). Everything here is `std::fs`, but for
//! the programs that `secrets` asks: no sockets, no clients, no decisions. Each write has a class:
//!
//! | class | durable | for |
//! |---|---|---|
//! | *now* | synced before the call returns | configuration, pairing, tokens |
//! | *turn* | written at once, one fdatasync at the end of the turn | transcripts |
//! | *soon* | at most once in `limits::SOON_WRITE` per file, and at stop | counters, last-used times |
//!
//! Files that the reference program may share keep every field we do not know.

pub mod atomic;
pub mod backup;
mod book;
mod budget;
mod config_audit;
mod config_error;
pub mod config_file;
pub mod device_record;
pub mod devices;
pub mod entry;
pub mod identity;
pub mod in_use;
mod journal;
mod lines;
pub mod lock;
pub mod message;
pub mod restore;
mod scan;
pub mod secrets;
pub mod sessions;
mod sessions_write;
pub mod setup_codes;
pub mod source;
mod tar;
pub mod transcript;
mod transcript_read;
mod user_text;
pub mod writer;

#[cfg(test)]
mod config_file_tests;
#[cfg(test)]
mod devices_tests;
#[cfg(test)]
mod sessions_tests;

pub use devices::Devices;
pub use entry::{Entry, NewEntry};
pub use message::{Block, Message, Usage};
pub use sessions::Sessions;
pub use transcript::Transcript;
pub use writer::Store;
