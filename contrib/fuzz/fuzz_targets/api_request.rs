//! Requests of the interfaces that clients of OpenAI speak.
#![no_main]

use libfuzzer_sys::fuzz_target;
use openclaw::config::{ImageRules, ResponsesEndpoint};
use openclaw::server::http::openai::request::chat_request;
use openclaw::server::http::responses::request::responses_request;

fuzz_target!(|data: &[u8]| {
    let Ok(body) = serde_json::from_slice(data) else { return };
    let mut fetch = |_, url: &str| Ok(("text/plain".to_owned(), url.as_bytes().to_vec()));
    let _ = chat_request(&body, &ImageRules::default(), &mut fetch);
    let _ = responses_request(&body, Vec::new(), &ResponsesEndpoint::default(), "0123456789abcdef", &mut fetch);
});
