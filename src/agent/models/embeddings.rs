//! Embeddings of a provider that speaks OpenAI's format: one request, one answer, nothing understood of either.

use std::io::Read as _;

use serde_json::Value;

use super::catalog::Endpoint;
use super::client::{Timing, headers, make_agent, retry_after, transport_error};
use super::fault::is_loopback_url;
use super::wire::{ModelError, Reason};
use crate::limits::{EMBEDDINGS_BYTES, EMBEDDINGS_TIME, MODEL_ERROR_BODY};

/// The provider's answer as it came; waits at most [`EMBEDDINGS_TIME`].
pub fn ask(endpoint: &Endpoint, body: &Value) -> Result<Vec<u8>, ModelError> {
    let url = format!("{}/embeddings", endpoint.base_url.trim_end_matches('/'));
    let agent = make_agent(&Timing::default());
    let mut request = agent.post(&url);
    for (name, value) in headers(endpoint) {
        request = request.header(name, value);
    }
    let mut config = request.config().timeout_global(Some(EMBEDDINGS_TIME));
    if is_loopback_url(&url) {
        // A proxy cannot reach this machine's own servers.
        config = config.proxy(None);
    }
    let bytes = serde_json::to_vec(body).map_err(|e| ModelError::new(Reason::Format, e.to_string()))?;
    let mut response = config.build().send(bytes).map_err(|e| transport_error(&e, endpoint).0)?;
    let status = response.status().as_u16();
    let limit = if status == 200 { EMBEDDINGS_BYTES + 1 } else { MODEL_ERROR_BODY };
    let mut text = Vec::new();
    let read = response.body_mut().as_reader().take(limit).read_to_end(&mut text);
    if status != 200 {
        let mut error = ModelError::from_status(status, &text, false);
        error.retry_after = retry_after(response.headers());
        return Err(error);
    }
    read.map_err(|e| ModelError::new(Reason::Timeout, format!("the provider's answer broke off: {e}")))?;
    if text.len() as u64 > EMBEDDINGS_BYTES {
        let what = format!("the provider's answer is larger than {EMBEDDINGS_BYTES} bytes");
        return Err(ModelError::new(Reason::Unknown, what));
    }
    match serde_json::from_slice::<serde::de::IgnoredAny>(&text) {
        Ok(_) => Ok(text),
        Err(e) => Err(ModelError::new(Reason::Unknown, format!("the provider's answer is no JSON: {e}"))),
    }
}
