//! Addresses that strangers name, and where their redirects lead.
#![no_main]

use libfuzzer_sys::fuzz_target;
use openclaw::http::url::Url;
use openclaw::policy::ssrf;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(url) = Url::parse(text) {
        assert_eq!(Url::parse(&url.to_string()).as_ref(), Ok(&url));
        let _ = ssrf::check(&url, &[]);
        let _ = url.join(text);
    }
});
