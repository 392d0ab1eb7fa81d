//! A run's hand on its transcript, which the owner of runs can take away.
//!
//! The run writes through it; when the run is closed for everybody (abort, time-out) the owner closes the book, keeps
//! the partial text, and whatever the run's thread still wants to write is refused. One leaf lock, held for one write.
//! A run of which nothing stays has a book without a transcript: what it writes goes nowhere.

use std::io;

use parking_lot::Mutex;

use crate::store::Transcript;
use crate::store::message::Assistant;

/// Why nothing was written.
#[derive(Debug)]
pub enum Refused {
    /// The run is over for everybody.
    Closed,
    Failed(io::Error),
}

#[derive(Default)]
pub struct Book {
    page: Mutex<Page>,
}

#[derive(Default)]
struct Page {
    closed: bool,
    /// The run has got as far as writing.
    begun: bool,
    transcript: Option<Transcript>,
    /// Text of the message that is being streamed, as the model wrote it.
    partial: String,
    speaker: Option<Assistant>,
    /// Whole assistant messages of this run in the transcript.
    messages: usize,
}

/// What a closed book leaves.
pub struct Left {
    pub transcript: Option<Transcript>,
    pub partial: String,
    pub speaker: Option<Assistant>,
    pub messages: usize,
}

impl Book {
    /// Gives the run its transcript; None when nothing of it is to stay.
    pub fn open(&self, transcript: Option<Transcript>) -> Result<(), Refused> {
        let mut page = self.page.lock();
        if page.closed {
            return Err(Refused::Closed);
        }
        page.begun = true;
        page.transcript = transcript;
        Ok(())
    }

    pub fn is_closed(&self) -> bool {
        self.page.lock().closed
    }

    /// One write; None: there is no transcript.
    pub fn write<T>(&self, f: impl FnOnce(&mut Transcript) -> io::Result<T>) -> Result<Option<T>, Refused> {
        let mut page = self.page.lock();
        if page.closed || !page.begun {
            return Err(Refused::Closed);
        }
        page.transcript.as_mut().map(f).transpose().map_err(Refused::Failed)
    }

    /// Something that must not happen any more once the run is closed. Short, and no call that waits.
    pub fn while_open<T>(&self, f: impl FnOnce() -> T) -> Result<T, Refused> {
        let page = self.page.lock();
        if page.closed { Err(Refused::Closed) } else { Ok(f()) }
    }

    /// The model that speaks from now on; an unfinished message is kept under its name.
    pub fn speaks(&self, speaker: Assistant) {
        self.page.lock().speaker = Some(speaker);
    }

    /// A piece of the message that is being streamed.
    pub fn add_text(&self, piece: &str) {
        let mut page = self.page.lock();
        if !page.closed {
            page.partial.push_str(piece);
        }
    }

    pub fn text_length(&self) -> usize {
        self.page.lock().partial.len()
    }

    /// Ends the message that was streamed: `f` gets its text and writes it. In one step, so that an abort finds the text
    /// either here or in the transcript.
    pub fn end_message<T>(&self, f: impl FnOnce(Option<&mut Transcript>, String) -> T) -> Result<T, Refused> {
        let mut page = self.page.lock();
        let page = &mut *page;
        if page.closed || !page.begun {
            return Err(Refused::Closed);
        }
        page.messages += 1;
        Ok(f(page.transcript.as_mut(), std::mem::take(&mut page.partial)))
    }

    /// Takes everything; nothing can be written any more.
    pub fn close(&self) -> Left {
        let mut page = self.page.lock();
        page.closed = true;
        Left {
            transcript: page.transcript.take(),
            partial: std::mem::take(&mut page.partial),
            speaker: page.speaker.take(),
            messages: page.messages,
        }
    }
}
