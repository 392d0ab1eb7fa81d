//! What of a model's text people see (agent 12): the silent token and reply tags are taken out while it streams. Pure.
//!
//! Text is held back only as long as it may still become one of these; every byte is handled once.

/// The whole answer when there is nothing to say.
pub const SILENT: &str = "NO_REPLY";
/// Longest tag that is waited for.
const TAG_BYTES: usize = 200;

/// One assistant message on its way out.
#[derive(Debug, Default)]
pub struct Visible {
    /// Not yet decided.
    held: String,
    /// Everything that went out.
    shown: String,
    /// Past the place where tags may stand.
    begun: bool,
}

impl Visible {
    /// Takes a piece; gives what may be shown now.
    pub fn push(&mut self, piece: &str) -> Option<String> {
        self.held.push_str(piece);
        if !self.begun && !self.strip_tags() {
            return None;
        }
        let keep = tail_to_hold(&self.held);
        let out: String = self.held.drain(..self.held.len() - keep).collect();
        self.show(out)
    }

    /// The message is complete; gives the rest that may be shown.
    pub fn finish(&mut self) -> Option<String> {
        let held = std::mem::take(&mut self.held);
        let rest = match held.trim_end().strip_suffix(SILENT) {
            Some(before) if !ends_in_word(before) && (!before.is_empty() || !ends_in_word(&self.shown)) => before,
            _ => held.as_str(),
        };
        let rest = rest.to_owned();
        self.show(rest)
    }

    /// What was shown, without blanks at the end.
    pub fn text(&self) -> &str {
        self.shown.trim_end()
    }

    fn show(&mut self, text: String) -> Option<String> {
        if text.is_empty() {
            return None;
        }
        self.shown.push_str(&text);
        Some(text)
    }

    /// Removes tags at the start. False while it is not clear whether one stands there.
    fn strip_tags(&mut self) -> bool {
        loop {
            let start = self.held.len() - self.held.trim_start().len();
            let rest = &self.held[start..];
            if rest.is_empty() || rest == "[" {
                return false;
            }
            if !rest.starts_with("[[") {
                break;
            }
            match rest.find("]]") {
                Some(end) if is_tag(&rest[2..end]) => {
                    let from = start + end + 2;
                    self.held.drain(..from);
                    let blanks = self.held.len() - self.held.trim_start().len();
                    self.held.drain(..blanks);
                }
                None if rest.len() < TAG_BYTES => return false,
                _ => break,
            }
        }
        self.begun = true;
        true
    }
}

/// `reply_to_current`, `reply_to:<id>`, `audio_as_voice`; blanks are allowed.
fn is_tag(text: &str) -> bool {
    let text = text.trim();
    text == "reply_to_current"
        || text == "audio_as_voice"
        || text.split_once(':').is_some_and(|(name, id)| name.trim() == "reply_to" && !id.trim().is_empty())
}

/// Length of the end of `text` that may become a silent token: the token or a beginning of it as a word of
/// its own, and blanks after the whole of it.
fn tail_to_hold(text: &str) -> usize {
    let bare = text.trim_end();
    let with_blanks = text.len() - bare.len();
    if bare.ends_with(SILENT) && !ends_in_word(&bare[..bare.len() - SILENT.len()]) {
        return SILENT.len() + with_blanks;
    }
    if with_blanks > 0 {
        return 0;
    }
    (1..SILENT.len())
        .rev()
        .find(|n| bare.ends_with(&SILENT[..*n]) && !ends_in_word(&bare[..bare.len() - n]))
        .unwrap_or(0)
}

fn ends_in_word(text: &str) -> bool {
    text.chars().next_back().is_some_and(|c| c.is_alphanumeric() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(pieces: &[&str]) -> (Vec<String>, String) {
        let mut visible = Visible::default();
        let mut out: Vec<String> = pieces.iter().filter_map(|p| visible.push(p)).collect();
        out.extend(visible.finish());
        (out, visible.text().to_owned())
    }

    #[test]
    fn texts_however_they_are_cut() {
        for (text, want) in [
            ("Hello there", "Hello there"),
            ("NO_REPLY", ""),
            ("  NO_REPLY\n", ""),
            ("NO", "NO"),
            ("NO_WAY", "NO_WAY"),
            ("NO problem", "NO problem"),
            ("no_reply", "no_reply"),
            ("All done.\n\nNO_REPLY", "All done."),
            ("All done. NO_REPLY \n", "All done."),
            ("xNO_REPLY", "xNO_REPLY"),
            ("NO_REPLY is a token", "NO_REPLY is a token"),
            ("[[reply_to_current]] Hi", "Hi"),
            ("[[ reply_to: 42 ]][[audio_as_voice]]Hi", "Hi"),
            ("[[unknown]] Hi", "[[unknown]] Hi"),
            ("[1] a list", "[1] a list"),
            ("[[reply_to_current]] NO_REPLY", ""),
            ("wörds ünd 🦞", "wörds ünd 🦞"),
            ("[", "["),
            ("", ""),
        ] {
            for size in 1..=4 {
                let chars: Vec<char> = text.chars().collect();
                let pieces: Vec<String> = chars.chunks(size).map(|c| c.iter().collect()).collect();
                let pieces: Vec<&str> = pieces.iter().map(String::as_str).collect();
                let (shown, whole) = run(&pieces);
                assert_eq!(whole.trim(), want, "{text:?} in pieces of {size}");
                assert_eq!(shown.concat().trim(), want, "{text:?} in pieces of {size}");
            }
        }
    }

    #[test]
    fn ordinary_text_is_not_delayed() {
        let mut visible = Visible::default();
        for word in ["Hello", " from", " here", ", n", "ow "] {
            assert_eq!(visible.push(word).as_deref(), Some(word));
        }
    }
}
