//! Static files (http 8 and 10): found beneath a directory, described to caches, sent whole, in part or compressed.
//!
//! Runs on the connection's thread. What is long is read while it is sent.

use std::fs::File;
use std::io::{self, Read, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use super::compressed::Compressed;
use super::{Answer, Stream};
use crate::http::media_type::MediaType;
use crate::http::negotiate::{self, Part};
use crate::http::site_path::SitePath;
use crate::http::{Bytes, Head, Reply};
use crate::limits;
use crate::sys::beneath;

/// What a path leads to.
pub enum Place {
    File(Found),
    Directory,
    Nothing,
}

/// A file that may be served.
pub struct Found {
    file: File,
    path: PathBuf,
    kind: MediaType,
    length: u64,
    modified: SystemTime,
}

/// What one site does with its files.
#[derive(Clone, Copy)]
pub struct Site<'a> {
    pub cache_control: &'static str,
    pub rewrite: Option<Rewrite<'a>>,
}

/// Makes what is sent of an HTML page.
#[derive(Clone, Copy)]
pub struct Rewrite<'a> {
    pub with: &'a dyn Fn(&[u8]) -> Vec<u8>,
    /// Changes with what it makes: a part of the ETag.
    pub word: &'static str,
}

/// Looks below `root`. What is a link, a device or a pipe, or has another name elsewhere, is not there.
pub fn find(root: &Path, path: &SitePath) -> Place {
    let Ok(file) = beneath::open(root, path.names()) else { return Place::Nothing };
    let Ok(metadata) = file.metadata() else { return Place::Nothing };
    if metadata.is_dir() {
        return Place::Directory;
    }
    // `page.html/` is no file.
    if path.is_dir || !beneath::is_single_file(&metadata) {
        return Place::Nothing;
    }
    Place::File(Found {
        file,
        path: path.names().iter().fold(root.to_owned(), |path, name| path.join(name)),
        kind: MediaType::of(path.last()),
        length: metadata.len(),
        modified: metadata.modified().unwrap_or(UNIX_EPOCH),
    })
}

/// The same for a path that may be a directory with an `index.html` in it.
pub fn find_page(root: &Path, path: &SitePath) -> Option<Found> {
    let place = match find(root, path) {
        Place::Directory => find(root, &path.join("index.html")),
        place => place,
    };
    if let Place::File(found) = place { Some(found) } else { None }
}

/// The answer to a GET or HEAD of a file.
pub fn answer(head: &Head, mut found: Found, site: Site<'_>, compressed: &Compressed) -> Answer {
    let site = Site {
        rewrite: site.rewrite.filter(|_| found.kind.is_html() && found.length <= limits::CANVAS_PAGE_BYTES),
        ..site
    };
    let tag = found.tag(site);
    let (plain_etag, gzip_etag) = (format!("\"{tag}\""), format!("\"{tag}-gz\""));
    let kind = found.kind;
    let describe = |reply: Reply, etag: &str| {
        let reply = reply.header("Cache-Control", site.cache_control).header("ETag", etag);
        if kind.compressible { reply.header("Vary", "Accept-Encoding") } else { reply }
    };
    // Whoever has either form has the file.
    if let Some(etag) = [&plain_etag, &gzip_etag].into_iter().find(|etag| negotiate::not_modified(head, etag)) {
        return Answer::Now(describe(Reply::empty(304), etag));
    }
    let worth = limits::COMPRESSED_FROM_BYTES..=limits::COMPRESSED_FILE_BYTES;
    let compresses = kind.compressible && worth.contains(&found.length) && head.header("range").is_none();
    if compresses && negotiate::accepts_gzip(head) {
        let path = found.path.clone();
        if let Some(bytes) = compressed.get(&path, &tag, || found.load(site).ok()) {
            let reply = Reply::bytes(200, kind.name, Bytes::Shared(bytes)).header("Content-Encoding", "gzip");
            return Answer::Now(describe(reply, &gzip_etag));
        }
    }
    let Ok(body) = found.body(site) else {
        return Answer::Now(Reply::text(500, "Internal Server Error"));
    };
    let length = body.length();
    let (status, part) = match negotiate::part(head, &plain_etag, length) {
        Part::Whole => (200, None),
        Part::Bytes(from, count) => (206, Some((from, count))),
        Part::Nothing => {
            let reply = Reply::text(416, "Range Not Satisfiable").header("Content-Range", format!("bytes */{length}"));
            return Answer::Now(describe(reply, &plain_etag));
        }
    };
    let (from, count) = part.unwrap_or((0, length));
    let mut reply = describe(Reply::empty(status), &plain_etag).header("Accept-Ranges", "bytes");
    if part.is_some() {
        reply = reply.header("Content-Range", format!("bytes {from}-{}/{length}", from + count - 1));
    }
    body.answer(reply.header("Content-Type", kind.name), from, count)
}

/// What is sent of a file.
enum Body {
    Memory(Vec<u8>),
    File(File, u64),
}

impl Found {
    /// Other bytes have another tag.
    fn tag(&self, site: Site<'_>) -> String {
        let nanos = self.modified.duration_since(UNIX_EPOCH).map_or(0, |age| age.as_nanos());
        let word = site.rewrite.map_or(String::new(), |rewrite| format!("-{}", rewrite.word));
        format!("{:x}-{nanos:x}{word}", self.length)
    }

    /// As it is sent; as long as it was when it was found, if it has not become shorter.
    fn load(&mut self, site: Site<'_>) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(self.length as usize);
        self.file.seek(SeekFrom::Start(0))?;
        (&mut self.file).take(self.length).read_to_end(&mut bytes)?;
        Ok(match site.rewrite {
            Some(rewrite) => (rewrite.with)(&bytes),
            None => bytes,
        })
    }

    fn body(mut self, site: Site<'_>) -> io::Result<Body> {
        if site.rewrite.is_some() || self.length <= limits::FILE_IN_MEMORY_BYTES {
            return self.load(site).map(Body::Memory);
        }
        Ok(Body::File(self.file, self.length))
    }
}

impl Body {
    fn length(&self) -> u64 {
        match self {
            Body::Memory(bytes) => bytes.len() as u64,
            Body::File(_, length) => *length,
        }
    }

    fn answer(self, reply: Reply, from: u64, count: u64) -> Answer {
        match self {
            Body::Memory(mut bytes) => {
                // Both fit: they are positions in what is in memory.
                bytes.truncate((from + count) as usize);
                bytes.drain(..from as usize);
                Answer::Now(reply.with_body(Bytes::Own(bytes)))
            }
            Body::File(mut file, _) => match file.seek(SeekFrom::Start(from)) {
                Ok(_) => Answer::Stream(Stream { head: reply, length: count, body: Box::new(file) }),
                Err(_) => Answer::Now(Reply::text(500, "Internal Server Error")),
            },
        }
    }
}
