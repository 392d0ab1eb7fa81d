//! Pages of the web as text, and the fence around them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use openclaw::text::{charset, html, untrusted};

fuzz_target!(|data: &[u8]| {
    let text = charset::decode(data, "");
    let link = |href: &str| Some(href.to_owned());
    let page = html::read(&text, html::Mode::Markdown, false, &link);
    html::read(&text, html::Mode::Text, true, &link);
    untrusted::wrap(&page.text, "Web Fetch", "0123456789abcdef", false);
});
