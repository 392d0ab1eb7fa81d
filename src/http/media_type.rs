//! What a file is, by the end of its name (http 8 and 10). Nothing is guessed from its bytes: answers forbid clients to
//! guess, too.

/// Of what stands in no table.
const UNKNOWN: &str = "application/octet-stream";

/// Ends of names, lower case; type; whether compressing it pays.
const TYPES: &[(&[&str], &str, bool)] = &[
    (&["html", "htm"], "text/html; charset=utf-8", true),
    (&["js", "mjs", "cjs"], "application/javascript; charset=utf-8", true),
    (&["css"], "text/css; charset=utf-8", true),
    (&["json", "map"], "application/json; charset=utf-8", true),
    (&["webmanifest"], "application/manifest+json; charset=utf-8", true),
    (&["txt", "log"], "text/plain; charset=utf-8", true),
    (&["md"], "text/markdown; charset=utf-8", true),
    (&["csv"], "text/csv; charset=utf-8", true),
    (&["xml"], "application/xml; charset=utf-8", true),
    (&["svg"], "image/svg+xml", true),
    (&["wasm"], "application/wasm", true),
    (&["png"], "image/png", false),
    (&["jpg", "jpeg"], "image/jpeg", false),
    (&["gif"], "image/gif", false),
    (&["webp"], "image/webp", false),
    (&["avif"], "image/avif", false),
    (&["ico"], "image/x-icon", false),
    (&["mp4", "m4v"], "video/mp4", false),
    (&["webm"], "video/webm", false),
    (&["mov"], "video/quicktime", false),
    (&["mp3"], "audio/mpeg", false),
    (&["m4a"], "audio/mp4", false),
    (&["ogg", "oga"], "audio/ogg", false),
    (&["wav"], "audio/wav", false),
    (&["pdf"], "application/pdf", false),
    (&["zip"], "application/zip", false),
    (&["gz"], "application/gzip", false),
    (&["woff"], "font/woff", false),
    (&["woff2"], "font/woff2", false),
    (&["ttf"], "font/ttf", true),
    (&["otf"], "font/otf", true),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MediaType {
    pub name: &'static str,
    pub compressible: bool,
}

impl MediaType {
    pub fn of(file_name: &str) -> MediaType {
        let end = extension(file_name).map(str::to_ascii_lowercase);
        let known = end.and_then(|end| TYPES.iter().find(|(ends, ..)| ends.contains(&end.as_str())));
        known.map_or(MediaType { name: UNKNOWN, compressible: false }, |(_, name, compressible)| MediaType {
            name,
            compressible: *compressible,
        })
    }

    pub fn is_html(self) -> bool {
        self.name == TYPES[0].1
    }
}

/// What stands behind the last dot.
pub fn extension(file_name: &str) -> Option<&str> {
    file_name.rsplit_once('.').map(|(_, end)| end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_by_name() {
        for (name, kind, compressible) in [
            ("index.html", "text/html; charset=utf-8", true),
            ("INDEX.HTM", "text/html; charset=utf-8", true),
            ("app.bundle.js", "application/javascript; charset=utf-8", true),
            ("app.js.map", "application/json; charset=utf-8", true),
            ("favicon.svg", "image/svg+xml", true),
            ("favicon.ico", "image/x-icon", false),
            ("photo.JPEG", "image/jpeg", false),
            ("archive.tar.gz", "application/gzip", false),
            ("html", UNKNOWN, false),
            ("a.", UNKNOWN, false),
            ("", UNKNOWN, false),
        ] {
            assert_eq!(MediaType::of(name), MediaType { name: kind, compressible }, "{name}");
        }
        assert!(MediaType::of("a.html").is_html() && !MediaType::of("a.svg").is_html());
    }
}
