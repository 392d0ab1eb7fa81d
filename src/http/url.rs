//! Addresses of the web as this program asks for them: http and https, no user names, one spelling per host.
//!
//! Stricter than browsers on purpose: what two parsers could read differently is refused (LESSONS R18), so that the
//! host that is judged is the host that is asked.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Longest address that is taken.
const URL_BYTES: usize = 8 * 1024;
const HOST_BYTES: usize = 253;
const LABEL_BYTES: usize = 63;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    pub https: bool,
    pub host: Host,
    pub port: u16,
    /// Path and query; begins with a slash.
    pub target: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    Ip(IpAddr),
    /// Lower case, ASCII, without a final dot.
    Name(String),
}

/// Why a text is no address that can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UrlError {
    /// Another scheme, or none.
    Scheme,
    /// A number that some resolvers read as an address: `0x7f.1`, `2130706433`, `127.1`, `010.0.0.1`.
    OddNumber,
    UserInfo,
    Malformed,
}

impl Url {
    pub fn parse(text: &str) -> Result<Url, UrlError> {
        let text = text.trim_matches(|c: char| c.is_ascii_whitespace());
        if text.len() > URL_BYTES || text.contains(|c: char| c.is_control() || c == '\\') {
            return Err(UrlError::Malformed);
        }
        let (scheme, rest) = text.split_once("://").ok_or(UrlError::Scheme)?;
        let https = match scheme.to_ascii_lowercase().as_str() {
            "http" => false,
            "https" => true,
            _ => return Err(UrlError::Scheme),
        };
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, rest) = rest.split_at(end);
        let (host, port) = read_authority(authority)?;
        let default = if https { 443 } else { 80 };
        Ok(Url { https, host, port: port.unwrap_or(default), target: target(rest) })
    }

    /// The address that a `Location` header of this one's answer means.
    pub fn join(&self, location: &str) -> Result<Url, UrlError> {
        let location = location.trim_matches(|c: char| c.is_ascii_whitespace());
        if location.contains(|c: char| c.is_control() || c == '\\') {
            return Err(UrlError::Malformed);
        }
        let scheme = if self.https { "https:" } else { "http:" };
        if location.starts_with("//") {
            return Url::parse(&format!("{scheme}{location}"));
        }
        if has_scheme(location) {
            return Url::parse(location);
        }
        if location.len() > URL_BYTES {
            return Err(UrlError::Malformed);
        }
        let path = self.target.split('?').next().unwrap_or("/");
        let joined = match location.as_bytes().first() {
            None | Some(b'#') => self.target.clone(),
            Some(b'/') => location.to_owned(),
            Some(b'?') => format!("{path}{location}"),
            Some(_) => {
                let (own, query) = location.split_at(location.find(['?', '#']).unwrap_or(location.len()));
                let folder = &path[..=path.rfind('/').unwrap_or(0)];
                format!("{}{query}", without_dots(&format!("{folder}{own}")))
            }
        };
        Ok(Url { target: target(&joined), ..self.clone() })
    }

    pub fn scheme(&self) -> &'static str {
        if self.https { "https" } else { "http" }
    }

    /// The host as it stands in an address.
    pub fn host_text(&self) -> String {
        match &self.host {
            Host::Ip(IpAddr::V6(ip)) => format!("[{ip}]"),
            Host::Ip(ip) => ip.to_string(),
            Host::Name(name) => name.clone(),
        }
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme(), self.host_text())?;
        if self.port != (if self.https { 443 } else { 80 }) {
            write!(f, ":{}", self.port)?;
        }
        f.write_str(&self.target)
    }
}

fn read_authority(text: &str) -> Result<(Host, Option<u16>), UrlError> {
    if text.contains('@') {
        return Err(UrlError::UserInfo);
    }
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (ip, port) = rest.split_once(']').ok_or(UrlError::Malformed)?;
            // A zone (`%eth0`) is no address that a page could mean.
            let ip: Ipv6Addr = ip.parse().map_err(|_| UrlError::Malformed)?;
            (Host::Ip(ip.into()), port)
        }
        None => {
            let (host, port) = text.split_at(text.find(':').unwrap_or(text.len()));
            (read_host(host)?, port)
        }
    };
    let port = match port.strip_prefix(':') {
        None if port.is_empty() => None,
        Some("") => None,
        Some(digits) if digits.len() <= 5 && digits.bytes().all(|b| b.is_ascii_digit()) => {
            Some(digits.parse().ok().filter(|port| *port > 0).ok_or(UrlError::Malformed)?)
        }
        _ => return Err(UrlError::Malformed),
    };
    Ok((host, port))
}

fn read_host(text: &str) -> Result<Host, UrlError> {
    let text = text.to_ascii_lowercase();
    let name = text.strip_suffix('.').unwrap_or(&text);
    let label = |label: &str| {
        (1..=LABEL_BYTES).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_'))
    };
    if name.len() > HOST_BYTES || !name.split('.').all(label) {
        return Err(UrlError::Malformed);
    }
    if let Ok(ip) = name.parse::<Ipv4Addr>() {
        return Ok(Host::Ip(ip.into()));
    }
    // Whatever ends in a number is one for some resolver, and not the same one for all.
    let last = name.rsplit('.').next().unwrap_or_default();
    let hex = last.strip_prefix("0x").is_some_and(|rest| rest.bytes().all(|b| b.is_ascii_hexdigit()));
    if hex || last.bytes().all(|b| b.is_ascii_digit()) {
        return Err(UrlError::OddNumber);
    }
    Ok(Host::Name(name.to_owned()))
}

/// Path and query as they go out: without the fragment, everything unusual percent-encoded.
fn target(text: &str) -> String {
    let text = text.split('#').next().unwrap_or_default();
    let mut out = String::with_capacity(text.len() + 1);
    if !text.starts_with('/') {
        out.push('/');
    }
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => out.push(byte.into()),
            b'!' | b'$' | b'%' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b'-' | b'.' | b'/' | b':' | b';'
            | b'=' | b'?' | b'@' | b'_' | b'~' | b'[' | b']' => out.push(byte.into()),
            _ => {
                const HEX: &[u8; 16] = b"0123456789ABCDEF";
                out.push('%');
                out.push(HEX[usize::from(byte >> 4)].into());
                out.push(HEX[usize::from(byte & 15)].into());
            }
        }
    }
    out
}

fn has_scheme(text: &str) -> bool {
    let Some((scheme, _)) = text.split_once(':') else { return false };
    scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'))
}

fn without_dots(path: &str) -> String {
    let mut out: Vec<&str> = Vec::new();
    for part in path.split('/').skip(1) {
        match part {
            "." => {}
            ".." => drop(out.pop()),
            _ => out.push(part),
        }
    }
    let folder = matches!(path.rsplit('/').next(), Some("." | ".."));
    format!("/{}{}", out.join("/"), if folder && !out.is_empty() { "/" } else { "" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::testing::Random;

    #[test]
    fn addresses() {
        for (text, want) in [
            ("http://example.com", Ok("http://example.com/")),
            (" HTTPS://EXAMPLE.com.:443/a?b#c ", Ok("https://example.com/a?b")),
            ("http://example.com:8080?q=1", Ok("http://example.com:8080/?q=1")),
            ("http://1.2.3.4:80/", Ok("http://1.2.3.4/")),
            ("http://[2606:4700::1111]:81/x", Ok("http://[2606:4700::1111]:81/x")),
            ("https://a_b.example/ü x", Ok("https://a_b.example/%C3%BC%20x")),
            ("http://a.example:/", Ok("http://a.example/")),
            ("ftp://example.com", Err(UrlError::Scheme)),
            ("file:///etc/passwd", Err(UrlError::Scheme)),
            ("javascript:alert(1)", Err(UrlError::Scheme)),
            ("example.com", Err(UrlError::Scheme)),
            ("", Err(UrlError::Scheme)),
            ("http://user@example.com/", Err(UrlError::UserInfo)),
            ("http://example.com:80@127.0.0.1/", Err(UrlError::UserInfo)),
            ("http://127.0.0.1\\@example.com/", Err(UrlError::Malformed)),
            ("http://exa\tmple.com/", Err(UrlError::Malformed)),
            ("http://a.example/\r\nHost: b", Err(UrlError::Malformed)),
            ("http:///x", Err(UrlError::Malformed)),
            ("http://a..b/", Err(UrlError::Malformed)),
            ("http://münchen.example/", Err(UrlError::Malformed)),
            ("http://%31%32%37.0.0.1/", Err(UrlError::Malformed)),
            ("http://１２７.0.0.1/", Err(UrlError::Malformed)),
            ("http://127。0。0。1/", Err(UrlError::Malformed)),
            ("http://a:0/", Err(UrlError::Malformed)),
            ("http://a:65536/", Err(UrlError::Malformed)),
            ("http://a:+80/", Err(UrlError::Malformed)),
            ("http://[fe80::1%25eth0]/", Err(UrlError::Malformed)),
            ("http://[::1/", Err(UrlError::Malformed)),
            ("http://[1.2.3.4]/", Err(UrlError::Malformed)),
            ("http://0x7f.1/", Err(UrlError::OddNumber)),
            ("http://0x7f000001/", Err(UrlError::OddNumber)),
            ("http://2130706433/", Err(UrlError::OddNumber)),
            ("http://127.1/", Err(UrlError::OddNumber)),
            ("http://0177.0.0.1/", Err(UrlError::OddNumber)),
            ("http://127.0.0.1.2/", Err(UrlError::OddNumber)),
            ("http://1.2.3.0x4/", Err(UrlError::OddNumber)),
            ("http://256.256.256.256/", Err(UrlError::OddNumber)),
            ("http://127.0.0.1./", Ok("http://127.0.0.1/")),
        ] {
            let got = Url::parse(text).map(|url| url.to_string());
            assert_eq!(got.as_deref(), want.as_ref().copied(), "{text}");
        }
        assert_eq!(Url::parse(&format!("http://a.example/{}", "x".repeat(URL_BYTES))), Err(UrlError::Malformed));
    }

    #[test]
    fn redirects() {
        let base = Url::parse("https://a.example:8443/one/two?x=1").unwrap();
        for (location, want) in [
            ("/three", Ok("https://a.example:8443/three")),
            ("three", Ok("https://a.example:8443/one/three")),
            ("../three/./four", Ok("https://a.example:8443/three/four")),
            ("../../../..", Ok("https://a.example:8443/")),
            ("./", Ok("https://a.example:8443/one/")),
            ("?y=2", Ok("https://a.example:8443/one/two?y=2")),
            ("#f", Ok("https://a.example:8443/one/two?x=1")),
            ("", Ok("https://a.example:8443/one/two?x=1")),
            ("//b.example/c", Ok("https://b.example/c")),
            ("http://b.example", Ok("http://b.example/")),
            ("HTTP://127.0.0.1/", Ok("http://127.0.0.1/")),
            ("/a b", Ok("https://a.example:8443/a%20b")),
            ("file:///etc/passwd", Err(UrlError::Scheme)),
            ("data:text/html,x", Err(UrlError::Scheme)),
            ("//b@c/", Err(UrlError::UserInfo)),
            ("/\\127.0.0.1/", Err(UrlError::Malformed)),
        ] {
            let got = base.join(location).map(|url| url.to_string());
            assert_eq!(got.as_deref(), want.as_ref().copied(), "{location}");
        }
    }

    #[test]
    fn hostile_addresses_say_the_same_twice() {
        let mut random = Random(0x5eed);
        let seeds =
            ["http://user:pw@host.example:80/a/../b?c#d", "https://[::ffff:127.0.0.1]:1/", "http://0x7f.1./%2e"];
        for n in 0..20_000 {
            let bytes = random.mutated(seeds[n % seeds.len()].as_bytes());
            let text = String::from_utf8_lossy(&bytes);
            if let Ok(url) = Url::parse(&text) {
                let again = Url::parse(&url.to_string());
                assert_eq!(again.as_ref(), Ok(&url), "{text:?}");
                assert!(url.to_string().bytes().all(|b| b.is_ascii_graphic()), "{text:?}");
                let _ = url.join(&text);
            }
        }
    }
}
