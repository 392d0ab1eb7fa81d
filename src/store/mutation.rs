//! Seeded mutations of byte strings, for tests of parsers.

/// A small xorshift generator; the same seed gives the same mutations.
pub(crate) struct Mutator(u64);

impl Mutator {
    pub(crate) fn new(seed: u64) -> Mutator {
        Mutator(seed | 1)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound.max(1) as u64) as usize
    }

    /// Flips, inserts, removes, doubles and cuts, a few of them at once.
    pub(crate) fn mutate(&mut self, original: &[u8]) -> Vec<u8> {
        const LOUD: &[u8] = b"\0\n\r\"\\{}[],:0-9eu\xff\xc3 ";
        let mut bytes = original.to_vec();
        for _ in 0..=self.below(4) {
            let at = self.below(bytes.len());
            match self.below(6) {
                0 if !bytes.is_empty() => bytes[at] ^= 1 << self.below(8),
                1 => bytes.insert(at, LOUD[self.below(LOUD.len())]),
                2 if !bytes.is_empty() => {
                    bytes.remove(at);
                }
                3 => bytes.truncate(at),
                4 if !bytes.is_empty() => bytes[at] = LOUD[self.below(LOUD.len())],
                _ => {
                    let piece = bytes[at..(at + self.below(40)).min(bytes.len())].to_vec();
                    let to = self.below(bytes.len());
                    bytes.splice(to..to, piece);
                }
            }
        }
        bytes
    }
}
