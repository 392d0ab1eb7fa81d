//! `web_fetch`: one page of the web as text (agent 10). The page's words stand in a fence: they are information, not
//! instruction.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use parking_lot::Mutex;
use serde_json::{Map, Value, json};

use super::{Call, Output, Tool, ToolError};
use crate::agent::fetch::{FetchError, Fetched, Limits, Over, fetch_bytes};
use crate::http::url::Url;
use crate::ids;
use crate::limits::{WEB_FETCH_BYTES, WEB_FETCH_CHARS_LEAST, WEB_FETCH_PAGES, WEB_FETCH_PAGES_BYTES};
use crate::text::untrusted::wrap;
use crate::text::{charset, html};

/// Says who asks, in the form that sites expect.
const USER_AGENT: &str = concat!("Mozilla/5.0 (compatible; openclaw/", env!("CARGO_PKG_VERSION"), ")");
const ACCEPT: &str = "text/markdown, text/html;q=0.9, application/json;q=0.8, text/*;q=0.7, */*;q=0.1";
const SOURCE: &str = "Web Fetch";
/// Of the body of a refusal.
const REFUSAL_CHARS: usize = 1000;

pub const WEB_FETCH: Tool = Tool {
    name: "web_fetch",
    description: "Fetches a page of the web and gives its text.",
    parameters: || {
        json!({"type": "object", "required": ["url"], "properties": {
            "url": {"type": "string", "description": "Address that begins with http or https."},
            "extractMode": {"type": "string", "enum": ["markdown", "text"], "description": "Default: markdown."},
            "maxChars": {"type": "number", "minimum": 100, "description": "Longer texts are cut."}}})
    },
    enabled: |config| config.tools.fetch.enabled,
    run,
};

fn run(call: &Call<'_>) -> Result<Output, ToolError> {
    let given = call.required("url")?;
    let settings = &call.config.tools.fetch;
    let mode = match call.text("extractMode") {
        Some("text") => html::Mode::Text,
        _ => html::Mode::Markdown,
    };
    let most = settings.max_chars_cap.max(WEB_FETCH_CHARS_LEAST);
    let chars = call.count("maxChars").unwrap_or(settings.max_chars).clamp(WEB_FETCH_CHARS_LEAST, most);
    // The same address is the same page however it is written.
    let url = Url::parse(given).map_err(|e| input(&FetchError::from(e)))?;
    let key = format!("{mode:?} {chars} {} {url}", settings.readability);
    if let Some(mut kept) = call.toolbox.pages.get(&key, settings.ttl) {
        kept["cached"] = true.into();
        return Ok(Output::json(kept));
    }
    let began = Instant::now();
    let limits = Limits {
        max_bytes: WEB_FETCH_BYTES,
        over: Over::Cut,
        redirects: settings.max_redirects,
        deadline: settings.timeout,
        user_agent: settings.user_agent.clone().unwrap_or_else(|| USER_AGENT.to_owned()),
        accept: ACCEPT,
        stopping: Some(call.stopping.clone()),
    };
    let fetched = fetch_bytes(given, &limits, &[]).map_err(|e| match e {
        FetchError::Blocked(_) => {
            log::warn!(target: "tools", "web_fetch: {e}: {}", url.host_text());
            input(&e)
        }
        e => ToolError::Failed(e.to_string()),
    })?;
    let read = Page::read(&fetched, mode, settings.readability);
    if !(200..300).contains(&fetched.status) {
        let detail = cut(&read.text, REFUSAL_CHARS).0;
        let detail = if detail.is_empty() { String::new() } else { format!(": {}", fence(detail, false)) };
        return Err(ToolError::Failed(format!("Web fetch failed ({}){detail}", fetched.status)));
    }
    let details = details(&url, &fetched, mode, &read, chars, began);
    call.toolbox.pages.keep(key, details.clone(), settings.ttl);
    Ok(Output::json(details))
}

fn input(error: &FetchError) -> ToolError {
    ToolError::Input(error.to_string())
}

/// What was made of an answer, before it is cut.
struct Page {
    title: Option<String>,
    text: String,
    extractor: &'static str,
}

impl Page {
    fn read(fetched: &Fetched, mode: html::Mode, readability: bool) -> Page {
        let kind = fetched.content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        let plain = |text: String, extractor| Page { title: None, text, extractor };
        let looks_like_html = || {
            let head = String::from_utf8_lossy(&fetched.bytes[..fetched.bytes.len().min(256)]).to_ascii_lowercase();
            let head = head.trim_start_matches('\u{feff}').trim_start();
            head.starts_with("<!doctype html") || head.starts_with("<html")
        };
        if is_binary(&kind, &fetched.bytes) {
            let named = if kind.is_empty() { "unknown" } else { &kind };
            let size = fetched.bytes.len();
            return plain(format!("[{size} bytes of type {named}: not text]"), "none");
        }
        let text = charset::decode(&fetched.bytes, &fetched.content_type);
        if matches!(kind.as_str(), "text/html" | "application/xhtml+xml") || (kind.is_empty() && looks_like_html()) {
            let link = |href: &str| Some(fetched.url.join(href).ok()?.to_string());
            let page = html::read(&text, mode, !readability, &link);
            return Page { title: page.title, text: page.text, extractor: "html" };
        }
        if kind == "application/json" || kind.ends_with("+json") {
            let pretty = serde_json::from_str::<Value>(&text).ok().and_then(|v| serde_json::to_string_pretty(&v).ok());
            return pretty.map_or_else(|| plain(text.to_string(), "raw"), |pretty| plain(pretty, "json"));
        }
        plain(text.to_string(), if kind == "text/markdown" { "markdown" } else { "raw" })
    }
}

/// Neither said to be text nor looking like it.
fn is_binary(kind: &str, bytes: &[u8]) -> bool {
    let family = kind.split('/').next().unwrap_or_default();
    let textual = family == "text"
        || kind.ends_with("+json")
        || kind.ends_with("+xml")
        || matches!(kind, "application/json" | "application/xml" | "application/javascript" | "application/yaml");
    !textual && (matches!(family, "image" | "audio" | "video" | "font") || bytes.iter().take(1024).any(|b| *b == 0))
}

fn details(url: &Url, fetched: &Fetched, mode: html::Mode, read: &Page, chars: usize, began: Instant) -> Value {
    let (text, was_cut) = cut(&read.text, chars);
    let (length, wrapped) = (text.chars().count(), fence(text, true));
    let mut map = Map::new();
    let mut put = |name: &str, value: Value| drop(map.insert(name.to_owned(), value));
    put("url", url.to_string().into());
    put("finalUrl", fetched.url.to_string().into());
    put("status", fetched.status.into());
    if !fetched.content_type.is_empty() {
        let kind: String =
            fetched.content_type.split(';').next().unwrap_or_default().trim().chars().take(100).collect();
        put("contentType", kind.into());
    }
    if let Some(title) = &read.title {
        put("title", fence(cut(title, 500).0, false).into());
    }
    put("extractMode", if mode == html::Mode::Text { "text" } else { "markdown" }.into());
    put("extractor", read.extractor.into());
    put("externalContent", json!({"untrusted": true, "source": "web_fetch", "wrapped": true}));
    put("truncated", (was_cut || fetched.cut).into());
    put("length", wrapped.chars().count().into());
    put("rawLength", length.into());
    put("wrappedLength", wrapped.chars().count().into());
    put("fetchedAt", Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string().into());
    put("tookMs", (began.elapsed().as_millis() as u64).into());
    put("text", wrapped.into());
    if fetched.cut {
        put("warning", format!("Response body truncated after {} bytes.", fetched.bytes.len()).into());
    }
    map.into()
}

fn fence(text: &str, notice: bool) -> String {
    wrap(text, SOURCE, &ids::hex(&ids::random_bytes::<8>()), notice)
}

/// At most `chars` characters, and whether that was not all.
fn cut(text: &str, chars: usize) -> (&str, bool) {
    match text.char_indices().nth(chars) {
        Some((at, _)) => (&text[..at], true),
        None => (text, false),
    }
}

/// Pages of the last minutes, for whoever asks again. A leaf lock for a few lines.
#[derive(Default)]
pub struct Pages(Mutex<Vec<Kept>>);

struct Kept {
    key: String,
    at: Instant,
    bytes: usize,
    details: Value,
}

impl Pages {
    fn get(&self, key: &str, ttl: Duration) -> Option<Value> {
        let pages = self.0.lock();
        pages.iter().find(|kept| kept.key == key && kept.at.elapsed() < ttl).map(|kept| kept.details.clone())
    }

    /// The oldest go for it.
    fn keep(&self, key: String, details: Value, ttl: Duration) {
        let bytes = key.len() + details["text"].as_str().map_or(0, str::len);
        if ttl.is_zero() || bytes > WEB_FETCH_PAGES_BYTES {
            return;
        }
        let mut pages = self.0.lock();
        pages.retain(|kept| kept.key != key && kept.at.elapsed() < ttl);
        while pages.len() >= WEB_FETCH_PAGES
            || pages.iter().map(|kept| kept.bytes).sum::<usize>() + bytes > WEB_FETCH_PAGES_BYTES
        {
            pages.remove(0);
        }
        pages.push(Kept { key, at: Instant::now(), bytes, details });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fetched(kind: &str, bytes: &[u8]) -> Fetched {
        let url = Url::parse("https://a.example/dir/page").unwrap();
        Fetched { status: 200, url, content_type: kind.into(), bytes: bytes.to_vec(), cut: false }
    }

    #[test]
    fn kinds_of_answers() {
        for (kind, bytes, extractor, text) in [
            ("text/html; charset=utf-8", &b"<p>a <a href=x>b</a>"[..], "html", "a [b](https://a.example/dir/x)"),
            ("text/html", b"<a href='javascript:x'>b</a>", "html", "b"),
            ("", b" <!DOCTYPE html><p>a", "html", "a"),
            ("", b"plain <p>", "raw", "plain <p>"),
            ("application/json", b"{\"a\":[1]}", "json", "{\n  \"a\": [\n    1\n  ]\n}"),
            ("application/problem+json", b"{}", "json", "{}"),
            ("application/json", b"{broken", "raw", "{broken"),
            ("text/markdown", b"# a", "markdown", "# a"),
            ("text/plain;charset=latin1", b"gr\xfcn", "raw", "gr\u{fc}n"),
            ("image/png", b"abc", "none", "[3 bytes of type image/png: not text]"),
            ("application/octet-stream", b"a\0b", "none", "[3 bytes of type application/octet-stream: not text]"),
            ("application/octet-stream", b"ab", "raw", "ab"),
        ] {
            let page = Page::read(&fetched(kind, bytes), html::Mode::Markdown, true);
            assert_eq!((page.extractor, page.text.as_str()), (extractor, text), "{kind}");
        }
    }

    #[test]
    fn a_few_pages_are_kept_for_a_while() {
        let pages = Pages::default();
        let minute = Duration::from_secs(60);
        let page = |n: usize, len: usize| json!({"n": n, "text": "x".repeat(len)});
        for n in 0..WEB_FETCH_PAGES + 2 {
            pages.keep(format!("k{n}"), page(n, 10), minute);
        }
        assert_eq!((pages.get("k1", minute), pages.0.lock().len()), (None, WEB_FETCH_PAGES));
        assert_eq!(pages.get("k2", minute).unwrap()["n"], 2);
        assert_eq!(pages.get("k2", Duration::ZERO), None);
        pages.keep("big".into(), page(0, WEB_FETCH_PAGES_BYTES - 10), minute);
        assert_eq!((pages.get("k2", minute), pages.0.lock().len()), (None, 1));
        pages.keep("huge".into(), page(0, WEB_FETCH_PAGES_BYTES), minute);
        assert!(pages.get("huge", minute).is_none() && pages.get("big", minute).is_some());
        pages.keep("none".into(), page(0, 1), Duration::ZERO);
        assert!(pages.get("none", minute).is_none());
    }
}
