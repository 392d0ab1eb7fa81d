//! Close codes and reasons (RFC 6455 section 7.4, protocol 4), and what each reading error becomes.

use tungstenite::Error;
use tungstenite::error::{CapacityError, ProtocolError};

use crate::limits;

/// Why a connection is closed: what goes into the close frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Close {
    pub code: u16,
    pub reason: String,
}

impl Close {
    pub const NORMAL: u16 = 1000;
    pub const PROTOCOL: u16 = 1002;
    pub const NOT_UTF8: u16 = 1007;
    pub const POLICY: u16 = 1008;
    pub const TOO_BIG: u16 = 1009;
    pub const RESTART: u16 = 1012;
    /// Never on the wire: a close frame without a code, and no close frame at all.
    pub const NO_STATUS: u16 = 1005;
    pub const ABNORMAL: u16 = 1006;

    /// The reason is cut to what clients of the protocol expect, on a character boundary.
    pub fn new(code: u16, reason: &str) -> Self {
        Close { code, reason: cut(reason, limits::CLOSE_REASON_BYTES).to_owned() }
    }

    pub fn policy(reason: &str) -> Self {
        Close::new(Close::POLICY, reason)
    }

    /// The bytes of the close frame as a server sends it.
    pub fn frame(&self) -> Vec<u8> {
        let mut payload = Vec::with_capacity(2 + self.reason.len());
        payload.extend_from_slice(&self.code.to_be_bytes());
        payload.extend_from_slice(self.reason.as_bytes());
        super::encode::control_frame(super::encode::OPCODE_CLOSE, &payload)
    }

    /// What a failed read asks us to say; None when the peer is simply gone.
    pub fn for_read_error(error: &Error) -> Option<Close> {
        match error {
            Error::Utf8(_) => Some(Close::new(Close::NOT_UTF8, "")),
            Error::Capacity(CapacityError::MessageTooLong { .. }) => Some(Close::new(Close::TOO_BIG, "")),
            Error::Capacity(_) => Some(Close::new(Close::TOO_BIG, "")),
            // The peer broke off without a close frame, or sends after its close: nobody listens any more.
            Error::Protocol(ProtocolError::ResetWithoutClosingHandshake | ProtocolError::ReceivedAfterClosing) => None,
            Error::Protocol(ProtocolError::InvalidCloseSequence) => Some(Close::new(Close::PROTOCOL, "")),
            Error::Protocol(_) => Some(Close::new(Close::PROTOCOL, "")),
            Error::Io(e) => e.get_ref().and_then(|inner| inner.downcast_ref::<Violation>()).map(|v| v.0.clone()),
            _ => None,
        }
    }
}

/// A close that travels through `io::Error` out of the reader that tungstenite reads from.
#[derive(Debug)]
pub struct Violation(pub Close);

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "close {} {}", self.0.code, self.0.reason)
    }
}

impl std::error::Error for Violation {}

/// At most `max` bytes of `text`, ending on a character boundary.
pub fn cut(text: &str, max: usize) -> &str {
    if text.len() <= max {
        return text;
    }
    let mut end = max;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_cut_on_a_character() {
        for (text, max, want) in [("abc", 3, "abc"), ("abc", 2, "ab"), ("aé", 2, "a"), ("é", 1, ""), ("", 0, "")] {
            assert_eq!(cut(text, max), want);
        }
        assert_eq!(Close::policy(&"x".repeat(300)).reason.len(), 120);
    }

    #[test]
    fn the_frame_is_what_rfc_6455_says() {
        assert_eq!(Close::new(1012, "hi").frame(), [0x88, 4, 0x03, 0xf4, b'h', b'i']);
    }
}
