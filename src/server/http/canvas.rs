//! The canvas on HTTP (http 10): pages, the A2UI renderer, and the address of the reload socket for whoever does not
//! ask for a socket. Who may see them is decided here for the socket, too.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;

use super::files::{self, Rewrite, Site};
use super::{Answer, Exchange, Request, Route, is_below, refuse_api, unasked, unauthorized};
use crate::canvas::{A2UI_PATH, CANVAS_PATH, CAPABILITY_PARAMETER, CAPABILITY_PATH, Canvas, SOCKET_PATH};
use crate::canvas::{capabilities, page};
use crate::http::site_path::{self, SitePath};
use crate::http::{Bytes, Reply};
use crate::policy::auth::AuthFailure;

pub const CANVAS: Route = Route {
    name: "canvas",
    claims: |path, _| is_claimed(path),
    methods: &["GET"],
    guard,
    max_body: unasked,
    refuse: refuse_api,
    handle,
};

/// Names the script in ETags: another script, another page.
const WITH_RELOAD: &str = "r1";
const WITHOUT_RELOAD: &str = "b1";

/// An address of the canvas, without the capability that may have come with it.
struct Address<'a> {
    path: &'a str,
    capability: Option<Cow<'a, str>>,
}

impl<'a> Address<'a> {
    /// Err: it begins like an address with a capability and is none.
    fn parse(target: &'a str) -> Result<Address<'a>, ()> {
        let target = target.split('#').next().unwrap_or_default();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        if let Some(scoped) = path.strip_prefix(CAPABILITY_PATH).filter(|rest| rest.is_empty() || rest.starts_with('/'))
        {
            let (capability, _) = scoped.get(1..).and_then(|rest| rest.split_once('/')).ok_or(())?;
            if !capabilities::is_shaped(capability) {
                return Err(());
            }
            let path = &scoped[1 + capability.len()..];
            return Ok(Address { path, capability: Some(capability.into()) });
        }
        let of = |pair: &'a str| pair.split_once('=').filter(|(name, _)| *name == CAPABILITY_PARAMETER);
        let value = query.split('&').find_map(of).map(|(_, value)| value);
        Ok(Address { path, capability: value.and_then(site_path::decode).map(Cow::Owned) })
    }
}

/// Whether an upgrade at this address is for the reload socket.
pub fn is_socket(target: &str) -> bool {
    Address::parse(target).is_ok_and(|address| address.path == SOCKET_PATH)
}

fn is_claimed(path: &str) -> bool {
    [CANVAS_PATH, A2UI_PATH, SOCKET_PATH, CAPABILITY_PATH].iter().any(|prefix| is_below(path, prefix))
}

/// Free on this machine; else the secret, else a capability. With the canvas off nothing of this exists.
pub fn guard(request: &Request) -> Result<(), Reply> {
    canvas(request).ok_or_else(|| request.not_found())?;
    Address::parse(&request.head.target).map_err(|()| unauthorized(&AuthFailure::TokenMissing))?;
    if request.caller().local_direct {
        return Ok(());
    }
    let refused = match request.authorize() {
        Ok(_) => return Ok(()),
        Err(failure) => failure,
    };
    if is_scoped(request) { Ok(()) } else { Err(unauthorized(&refused)) }
}

/// The request came with a good capability.
pub fn is_scoped(request: &Request) -> bool {
    let shown = Address::parse(&request.head.target).ok().and_then(|address| address.capability);
    let accepts = |canvas: &Arc<Canvas>| shown.is_some_and(|shown| canvas.capabilities.accepts(&shown, Instant::now()));
    canvas(request).is_some_and(accepts)
}

fn canvas(request: &Request) -> Option<&Arc<Canvas>> {
    request.doors.ctx.canvas.as_ref()
}

fn handle(exchange: Exchange<'_>) -> Answer {
    let request = exchange.request;
    let (Some(canvas), Ok(Address { path, .. })) = (canvas(request), Address::parse(&request.head.target)) else {
        return Answer::Now(request.not_found());
    };
    if path == SOCKET_PATH {
        return Answer::Now(match &canvas.watch {
            Some(_) => Reply::text(426, "upgrade required"),
            None => Reply::text(404, "not found"),
        });
    }
    let (root, below) = if is_below(path, CANVAS_PATH) {
        (&canvas.root, &path[CANVAS_PATH.len()..])
    } else if is_below(path, A2UI_PATH) {
        if !canvas.a2ui_root.join("index.html").is_file() {
            return Answer::Now(Reply::text(503, "A2UI assets not found"));
        }
        (&canvas.a2ui_root, &path[A2UI_PATH.len()..])
    } else {
        return Answer::Now(request.not_found());
    };
    let live_reload = canvas.watch.is_some();
    let inject = |html: &[u8]| page::inject(html, live_reload);
    let word = if live_reload { WITH_RELOAD } else { WITHOUT_RELOAD };
    let site = Site { cache_control: "no-store", rewrite: Some(Rewrite { with: &inject, word }) };
    match SitePath::parse(below).and_then(|path| files::find_page(root, &path)) {
        Some(found) => files::answer(&request.head, found, site, &request.doors.compressed),
        None if below.is_empty() || below.ends_with('/') => {
            let page = Bytes::Own(page::MISSING.as_bytes().to_vec());
            Answer::Now(Reply::bytes(404, "text/html; charset=utf-8", page))
        }
        None => Answer::Now(Reply::text(404, "not found")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_with_and_without_a_capability() {
        let cap = "AAAAAAAAAAAAAAAAAAAAAA_-";
        for (target, want) in [
            ("/__openclaw__/canvas/a.html".to_owned(), Some(("/__openclaw__/canvas/a.html", None))),
            (format!("/__openclaw__/ws?oc_cap={cap}"), Some(("/__openclaw__/ws", Some(cap)))),
            (format!("/__openclaw__/ws?a=b&oc_cap={cap}&oc_cap=x"), Some(("/__openclaw__/ws", Some(cap)))),
            ("/__openclaw__/ws?oc_cap=%2e".to_owned(), Some(("/__openclaw__/ws", Some(".")))),
            ("/__openclaw__/ws?xoc_cap=1".to_owned(), Some(("/__openclaw__/ws", None))),
            (format!("/__openclaw__/cap/{cap}/__openclaw__/ws"), Some(("/__openclaw__/ws", Some(cap)))),
            (format!("/__openclaw__/cap/{cap}/v1/models?oc_cap=x"), Some(("/v1/models", Some(cap)))),
            (format!("/__openclaw__/cap/{cap}/"), Some(("/", Some(cap)))),
            (format!("/__openclaw__/cap/{cap}"), None),
            ("/__openclaw__/cap".to_owned(), None),
            ("/__openclaw__/cap/".to_owned(), None),
            ("/__openclaw__/cap//__openclaw__/canvas/".to_owned(), None),
            ("/__openclaw__/cap/short/__openclaw__/canvas/".to_owned(), None),
            (format!("/__openclaw__/cap/{}/x", "%41".repeat(8)), None),
            ("/__openclaw__/capx/y".to_owned(), Some(("/__openclaw__/capx/y", None))),
        ] {
            let address = Address::parse(&target).ok();
            assert_eq!(address.as_ref().map(|a| (a.path, a.capability.as_deref())), want, "{target}");
        }
        assert!(is_socket(&format!("/__openclaw__/cap/{cap}/__openclaw__/ws")) && is_socket("/__openclaw__/ws?x"));
        assert!(!is_socket("/__openclaw__/ws/") && !is_socket("/") && !is_socket("/__openclaw__/cap/x"));
    }
}
