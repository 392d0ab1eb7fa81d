//! What the tests of the cellar and of `server` share: seeded randomness, directories, children of this test program.

use std::path::PathBuf;
use std::process::{Command, Stdio};

/// xorshift64*: the seeded randomness of every mutation test.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }

    /// A copy with a few bytes flipped, replaced, inserted, removed, doubled or cut off; often by what parsers listen to.
    pub fn mutated(&mut self, original: &[u8]) -> Vec<u8> {
        const LOUD: &[u8] = b"\0\n\r\"\\{}[]',:0-9eu\xff\xc3 ";
        let mut bytes = original.to_vec();
        for _ in 0..=self.below(4) {
            let at = self.below(bytes.len());
            match self.below(7) {
                0 if !bytes.is_empty() => bytes[at] ^= 1 << self.below(8),
                1 => bytes.insert(at, LOUD[self.below(LOUD.len())]),
                2 if !bytes.is_empty() => drop(bytes.remove(at)),
                3 => bytes.truncate(at),
                4 if !bytes.is_empty() => bytes[at] = LOUD[self.below(LOUD.len())],
                5 => bytes.insert(at, self.next() as u8),
                _ => {
                    let piece = bytes[at..(at + self.below(64)).min(bytes.len())].to_vec();
                    let to = self.below(bytes.len());
                    bytes.splice(to..to, piece);
                }
            }
        }
        bytes
    }
}

/// A directory of its own for a test, removed with it.
pub struct TempDir(pub PathBuf);

impl TempDir {
    pub fn new(name: &str) -> TempDir {
        let unique = crate::ids::new_entry_id();
        let dir = std::env::temp_dir().join(format!("openclaw-test-{name}-{}-{unique}", std::process::id()));
        super::dirs::create_private(&dir).unwrap();
        TempDir(dir)
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// This test program again, running only `test`, which sees `variable` = `value`: the body of a child process.
#[cfg_attr(not(target_os = "linux"), allow(dead_code))]
pub fn rerun(test: &str, variable: &str, value: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture", "--test-threads=1"]).env(variable, value).stdin(Stdio::null());
    command
}
