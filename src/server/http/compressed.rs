//! Static files as gzip makes them: compressed when first asked for, kept until they change or others need the room.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use flate2::Compression;
use flate2::write::GzEncoder;
use parking_lot::Mutex;

use crate::limits;

/// The least recently used first.
#[derive(Default)]
pub struct Compressed {
    kept: Mutex<Vec<Kept>>,
}

struct Kept {
    path: PathBuf,
    tag: String,
    /// None: it became no shorter.
    bytes: Option<Arc<[u8]>>,
}

impl Kept {
    fn weight(&self) -> usize {
        // That it is not worth it is worth knowing, and takes room, too.
        256 + self.bytes.as_ref().map_or(0, |bytes| bytes.len())
    }
}

impl Compressed {
    /// The compressed form of what `tag` names at this path; `plain` is asked for when it is not there yet. None: there
    /// is none, or none that is shorter.
    pub fn get(&self, path: &Path, tag: &str, plain: impl FnOnce() -> Option<Vec<u8>>) -> Option<Arc<[u8]>> {
        if let Some(known) = self.look_up(path, tag) {
            return known;
        }
        let plain = plain()?;
        // Without the lock: others are served meanwhile.
        let bytes = gzip(&plain).filter(|bytes| bytes.len() < plain.len()).map(Arc::<[u8]>::from);
        let mut kept = self.kept.lock();
        kept.retain(|one| one.path != path);
        kept.push(Kept { path: path.to_owned(), tag: tag.to_owned(), bytes: bytes.clone() });
        let mut total: usize = kept.iter().map(Kept::weight).sum();
        while total > limits::COMPRESSED_TOTAL_BYTES {
            total -= kept.remove(0).weight();
        }
        bytes
    }

    fn look_up(&self, path: &Path, tag: &str) -> Option<Option<Arc<[u8]>>> {
        let mut kept = self.kept.lock();
        let at = kept.iter().position(|one| one.path == path && one.tag == tag)?;
        let one = kept.remove(at);
        let bytes = one.bytes.clone();
        kept.push(one);
        Some(bytes)
    }
}

fn gzip(plain: &[u8]) -> Option<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(plain.len() / 3), Compression::default());
    encoder.write_all(plain).ok()?;
    encoder.finish().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;

    #[test]
    fn compressed_once_and_kept_within_bounds() {
        let store = Compressed::default();
        let path = Path::new("/site/app.js");
        let plain = b"let x = 1;\n".repeat(500);
        let first = store.get(path, "t1", || Some(plain.clone())).unwrap();
        let mut back = Vec::new();
        flate2::read::GzDecoder::new(&first[..]).read_to_end(&mut back).unwrap();
        assert_eq!(back, plain);
        let again = store.get(path, "t1", || panic!("it is kept")).unwrap();
        assert!(Arc::ptr_eq(&first, &again));
        // Changed: the old form goes.
        store.get(path, "t2", || Some(b"other ".repeat(100))).unwrap();
        assert_eq!(store.kept.lock().len(), 1);
        // What does not get shorter is not tried again.
        let noise = crate::ids::random_bytes::<2048>().to_vec();
        assert!(store.get(Path::new("/n"), "t", || Some(noise)).is_none());
        assert!(store.get(Path::new("/n"), "t", || panic!("known")).is_none());
        assert!(store.get(Path::new("/gone"), "t", || None).is_none());
        // The bound, and who goes first. Hex of noise shrinks to half.
        for n in 0..20 {
            let text: Vec<u8> =
                (0..200).flat_map(|_| crate::ids::hex(&crate::ids::random_bytes::<1024>()).into_bytes()).collect();
            store.get(Path::new(&format!("/{n}")), "t", || Some(text)).unwrap();
            store.get(path, "t2", || panic!("used all the time, it stays")).unwrap();
        }
        let kept = store.kept.lock();
        let total: usize = kept.iter().map(Kept::weight).sum();
        assert!(total <= limits::COMPRESSED_TOTAL_BYTES && kept.len() < 20, "{total} in {}", kept.len());
        assert!(
            kept.iter().any(|one| one.path == Path::new("/19")) && !kept.iter().any(|one| one.path == Path::new("/0"))
        );
    }
}
