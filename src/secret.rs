//! A secret text: its Debug form is `***`, its comparison takes the same time wherever the first difference is.

use std::fmt;

/// A token, password or key. Never printed; read it with [`Secret::expose`] only where it leaves the process on purpose.
#[derive(Clone, Default)]
pub struct Secret(String);

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        same_secret(self.0.as_bytes(), other.0.as_bytes())
    }
}

impl Eq for Secret {}

impl Secret {
    pub fn new(text: impl Into<String>) -> Self {
        Secret(text.into())
    }

    pub fn expose(&self) -> &str {
        &self.0
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Constant-time comparison with what a peer sent.
    pub fn matches(&self, given: &str) -> bool {
        same_secret(self.0.as_bytes(), given.as_bytes())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Compares the SHA-256 digests of both sides without an early exit, so that neither content nor length shows in time.
pub fn same_secret(a: &[u8], b: &[u8]) -> bool {
    let (a, b) = (crate::ids::sha256(a), crate::ids::sha256(b));
    a.iter().zip(b).fold(0, |differ, (x, y)| differ | (x ^ y)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_never_printed() {
        assert_eq!(format!("{:?}", Secret::new("hunter2")), "***");
        assert_eq!(format!("{:?}", Some(Secret::new("hunter2"))), "Some(***)");
    }

    #[test]
    fn comparison() {
        for (a, b, same) in
            [("", "", true), ("a", "a", true), ("a", "b", false), ("a", "aa", false), ("tok", "toK", false)]
        {
            assert_eq!(Secret::new(a).matches(b), same, "{a} {b}");
        }
    }
}
