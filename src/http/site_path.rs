//! Paths of static files: a request's path becomes the names below a directory, or nothing (LESSONS R18).
//!
//! Decoded once. Whatever would still change its meaning afterwards – another decoding, another system's separators,
//! reserved names – is refused instead of repaired: two programs that read a path differently are how files leak.

/// Names below the root of a site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SitePath {
    names: Vec<String>,
    /// A directory was asked for.
    pub is_dir: bool,
}

/// Names that are devices on Windows, whatever their extension.
const DEVICES: [&str; 6] = ["con", "prn", "aux", "nul", "conin$", "conout$"];
const NUMBERED: [&str; 2] = ["com", "lpt"];
const LONGEST_NAME: usize = 255;
const DEEPEST: usize = 64;

impl SitePath {
    /// `raw` is the path as it was sent, from the root of the site on; empty or from its slash on.
    pub fn parse(raw: &str) -> Option<SitePath> {
        let decoded = decode(raw)?;
        if has_escape(&decoded) {
            return None;
        }
        let Some(below) = decoded.strip_prefix('/') else {
            return decoded.is_empty().then(|| SitePath { names: Vec::new(), is_dir: true });
        };
        let is_dir = below.is_empty() || below.ends_with('/');
        let below = below.strip_suffix('/').unwrap_or(below);
        if below.is_empty() {
            // One slash: `//` is no root.
            return (decoded.len() == 1).then(|| SitePath { names: Vec::new(), is_dir });
        }
        let names: Vec<String> = below.split('/').map(str::to_owned).collect();
        (names.len() <= DEEPEST && names.iter().all(|name| is_plain(name))).then_some(SitePath { names, is_dir })
    }

    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The last name; empty for the root.
    pub fn last(&self) -> &str {
        self.names.last().map_or("", String::as_str)
    }

    /// What stands from the last directory of this name on.
    pub fn from_last(&self, directory: &str) -> SitePath {
        let parents = &self.names[..self.names.len().saturating_sub(1)];
        let at = parents.iter().rposition(|name| name == directory).unwrap_or(0);
        SitePath { names: self.names[at..].to_vec(), is_dir: self.is_dir }
    }

    /// The file of this name in the directory that the path is.
    pub fn join(&self, name: &str) -> SitePath {
        let names = self.names.iter().cloned().chain([name.to_owned()]).collect();
        SitePath { names, is_dir: false }
    }
}

/// Percent escapes, once. None: broken ones, or what is no text.
pub fn decode(raw: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(raw.len());
    let mut rest = raw.as_bytes();
    while let Some((&first, behind)) = rest.split_first() {
        if first != b'%' {
            bytes.push(first);
            rest = behind;
            continue;
        }
        let digit = |at: usize| behind.get(at).and_then(|b| char::from(*b).to_digit(16));
        bytes.push((digit(0)? * 16 + digit(1)?) as u8);
        rest = &behind[2..];
    }
    String::from_utf8(bytes).ok()
}

fn has_escape(text: &str) -> bool {
    let hex = |pair: &[u8]| pair.iter().all(u8::is_ascii_hexdigit);
    text.as_bytes().windows(3).any(|window| window[0] == b'%' && hex(&window[1..]))
}

/// A name of a visible file that means the same everywhere.
fn is_plain(name: &str) -> bool {
    let odd = |c: char| c.is_control() || matches!(c, '\\' | '/' | ':' | '*' | '?' | '"' | '<' | '>' | '|');
    // Names that begin with a dot are hidden: `.git` and `.env` are nobody's page, `..` leads out.
    let shaped = !name.is_empty() && name.len() <= LONGEST_NAME && !name.starts_with('.');
    shaped && !name.ends_with(['.', ' ']) && !name.chars().any(odd) && !is_device(name)
}

fn is_device(name: &str) -> bool {
    let stem = name.split('.').next().unwrap_or_default().trim_end().to_lowercase();
    let numbered = |prefix: &&str| {
        let number = stem.strip_prefix(*prefix).map(|rest| rest.chars().collect::<Vec<_>>());
        matches!(number.as_deref(), Some(['0'..='9' | '¹' | '²' | '³']))
    };
    DEVICES.contains(&stem.as_str()) || NUMBERED.iter().any(numbered)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_what_they_lead_to() {
        for (raw, names, is_dir) in [
            ("", &[][..], true),
            ("/", &[], true),
            ("/index.html", &["index.html"], false),
            ("/a/b.css", &["a", "b.css"], false),
            ("/a/", &["a"], true),
            ("/a%20b.txt", &["a b.txt"], false),
            ("/%61.txt", &["a.txt"], false),
            ("/gr%C3%BC%C3%9Fe.html", &["grüße.html"], false),
            ("/100%25.html", &["100%.html"], false),
            ("/console.html", &["console.html"], false),
            ("/com10.html", &["com10.html"], false),
            ("/a..b", &["a..b"], false),
            ("/~user", &["~user"], false),
        ] {
            let path = SitePath::parse(raw).unwrap_or_else(|| panic!("{raw:?} is a path"));
            assert_eq!(
                (path.names(), path.is_dir),
                (&names.iter().map(|n| n.to_string()).collect::<Vec<_>>()[..], is_dir),
                "{raw}"
            );
        }
    }

    #[test]
    fn tricks_lead_nowhere() {
        for raw in [
            "//",
            "///",
            "//a",
            "/a//b",
            "/a//",
            "a",
            "index.html",
            "/..",
            "/../a",
            "/a/../b",
            "/a/..",
            "/.",
            "/./a",
            "/a/.",
            "/%2e%2e/a",
            "/%2E%2E/a",
            "/.%2e/a",
            "/%2e",
            "/..%2fa",
            "/..%2Fa",
            "/a%2f..%2fb",
            "/%2fetc/passwd",
            "/%252e%252e/a",
            "/%252fetc",
            "/%25252e",
            "/a%2520b",
            "/%c0%ae%c0%ae/a",
            "/%e0%80%ae",
            "/%ff",
            "/..\\a",
            "/a\\..\\b",
            "/%5c..%5ca",
            "/\\\\host\\share",
            "/a%00.html",
            "/a%0a",
            "/a%7f",
            "/\u{85}",
            "/C:/a",
            "/c:",
            "/a.html::$DATA",
            "/a%3astream",
            "/con",
            "/CON.html",
            "/nul",
            "/aux.txt",
            "/prn",
            "/com1",
            "/lpt9.js",
            "/com\u{b9}",
            "/con .txt",
            "/CONIN$",
            "/a.",
            "/a ",
            "/a%20",
            "/a./b",
            "/...",
            "/. .",
            "/..%20/a",
            "/..;/a",
            "/.env",
            "/.git/config",
            "/a/.ssh/id",
            "/%2egit/config",
            "/%",
            "/%2",
            "/%zz",
            "/%u002e",
        ] {
            assert_eq!(SitePath::parse(raw), None, "{raw:?}");
        }
        assert_eq!(SitePath::parse(&format!("/{}", "a".repeat(256))), None);
        assert_eq!(SitePath::parse(&"/a".repeat(65)), None);
    }

    #[test]
    fn mutated_paths_never_lead_out() {
        let mut random = crate::sys::testing::Random(5);
        for seed in
            ["/a/../../etc/passwd", "/%2e%2e%2f%2e%2e/etc", "/..%5c..%5cwindows", "/assets/%252e%252e/x", "/a//b/"]
        {
            for _ in 0..5000 {
                let Ok(raw) = String::from_utf8(random.mutated(seed.as_bytes())) else { continue };
                let Some(path) = SitePath::parse(&raw) else { continue };
                for name in path.names() {
                    assert!(is_plain(name) && name != ".." && !name.contains(['/', '\\', '\0', ':']), "{raw:?}");
                }
                // Whoever decodes again finds the same.
                let again = format!(
                    "/{}{}",
                    path.names().join("/"),
                    if path.is_dir && !path.names().is_empty() { "/" } else { "" }
                );
                if !again.contains('%') {
                    assert_eq!(SitePath::parse(&again).as_ref(), Some(&path), "{raw:?}");
                }
            }
        }
    }

    #[test]
    fn deep_links_to_assets() {
        let from = |raw: &str| SitePath::parse(raw).expect("a path").from_last("assets").names().join("/");
        assert_eq!(from("/some/deep/assets/app.js"), "assets/app.js");
        assert_eq!(from("/a/assets/b/assets/app.js"), "assets/app.js");
        assert_eq!(from("/assets/app.js"), "assets/app.js");
        assert_eq!(from("/a/assets"), "a/assets");
        assert_eq!(from("/app.js"), "app.js");
        assert_eq!(SitePath::parse("/a/").expect("a path").join("index.html").names().join("/"), "a/index.html");
    }
}
