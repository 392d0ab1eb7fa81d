//! What the tests of the cellar and of `server` share: seeded randomness, directories, children of this test program.

use std::path::PathBuf;
use std::process::{Command, Stdio};

/// xorshift64*: the seeded randomness of the mutation tests of these rooms.
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

    /// Flips, cuts, doubles or replaces a few bytes.
    pub fn mutate(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..=self.below(4) {
            let at = self.below(bytes.len());
            match self.below(5) {
                _ if bytes.is_empty() => bytes.push(self.next() as u8),
                0 => bytes[at] ^= 1 << self.below(8),
                1 => bytes.truncate(at),
                2 => {
                    bytes.remove(at);
                }
                3 => bytes.insert(at, self.next() as u8),
                _ => {
                    let tail = bytes[at..].to_vec();
                    bytes.extend_from_slice(&tail[..tail.len().min(64)]);
                }
            }
        }
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
