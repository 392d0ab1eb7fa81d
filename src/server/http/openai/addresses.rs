//! What stands at addresses that a request names, read through the guard of `agent::fetch`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::agent::fetch::{self, Over, Stopping};
use crate::config::{FileRules, ImageRules, UrlRules};
use crate::limits::{API_URL_PARTS, FETCHES_OF_REQUEST};
use crate::rpc::context::Context;

/// What is expected at an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Image,
    File,
}

/// Gives content type and bytes of an address, or why not.
pub type Fetch<'a> = dyn FnMut(Kind, &str) -> Result<(String, Vec<u8>), String> + 'a;

/// Reads the addresses of one request, one after the other, as far as the rules go.
pub struct Addresses<'a> {
    images: &'a ImageRules,
    files: Option<&'a FileRules>,
    most: usize,
    read: usize,
    until: Option<Instant>,
    stopping: Option<Stopping>,
}

impl<'a> Addresses<'a> {
    /// Of images only.
    pub fn of_images(images: &'a ImageRules) -> Self {
        Addresses { images, files: None, most: API_URL_PARTS, read: 0, until: None, stopping: None }
    }

    pub fn of_both(images: &'a ImageRules, files: &'a FileRules, most: usize) -> Self {
        Addresses { files: Some(files), most, ..Addresses::of_images(images) }
    }

    /// Lets go when the gateway stops.
    pub fn until_stop(self, ctx: &Arc<Context>) -> Self {
        let ctx = ctx.clone();
        Addresses { stopping: Some(Arc::new(move || ctx.is_draining())), ..self }
    }

    pub fn read(&mut self, kind: Kind, url: &str) -> Result<(String, Vec<u8>), String> {
        const NO_IMAGES: &str = "Image URLs are not fetched; send the image as a data: URI in base64.";
        const NO_FILES: &str = "File URLs are not fetched; send the file in base64.";
        let (urls, max_bytes, accept, no): (&UrlRules, _, _, _) = match (kind, self.files) {
            (Kind::Image, _) => (&self.images.urls, self.images.max_bytes, "image/*", NO_IMAGES),
            (Kind::File, Some(files)) => (&files.urls, files.max_bytes, "*/*", NO_FILES),
            (Kind::File, None) => return Err(NO_FILES.to_owned()),
        };
        if !urls.allow {
            return Err(no.to_owned());
        }
        if self.read == self.most {
            return Err(format!("More than {} addresses.", self.most));
        }
        self.read += 1;
        let until = *self.until.get_or_insert_with(|| Instant::now() + FETCHES_OF_REQUEST);
        let deadline = urls.timeout.min(until.saturating_duration_since(Instant::now()));
        if deadline < Duration::from_millis(1) {
            return Err("Reading the addresses of this request takes too long.".to_owned());
        }
        let limits = fetch::Limits {
            max_bytes,
            over: Over::Refuse,
            redirects: urls.redirects,
            deadline,
            user_agent: format!("openclaw/{}", env!("CARGO_PKG_VERSION")),
            accept,
            stopping: self.stopping.clone(),
        };
        let failed = |why: &dyn std::fmt::Display| format!("{} cannot be read: {why}", shown(url));
        let fetched = fetch::fetch_bytes(url, &limits, &urls.allowlist).map_err(|e| failed(&e))?;
        if !(200..300).contains(&fetched.status) {
            return Err(failed(&format_args!("the server answered {}", fetched.status)));
        }
        Ok((fetched.content_type, fetched.bytes))
    }
}

/// An address without its query, which may hold a secret.
fn shown(url: &str) -> String {
    let url = url.split(['?', '#']).next().unwrap_or_default();
    url.chars().filter(|c| !c.is_control()).take(200).collect()
}
