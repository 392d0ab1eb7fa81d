//! The Control UI from a directory of the operator's (`gateway.controlUi.root`, http 8): its files, its pages by any
//! path of their own, and the few facts that it asks for before it logs in.

use serde_json::json;

use super::files::{self, Site};
use super::{Answer, Exchange, Request, Route, is_below, is_reserved, refuse_api, unasked};
use crate::config::Config;
use crate::config::model::ControlUi;
use crate::http::Reply;
use crate::http::media_type;
use crate::http::site_path::SitePath;
use crate::protocol::COMPAT_VERSION;

pub const CONTROL_UI: Route = Route {
    name: "control-ui",
    claims: |path, live| {
        let ui = &live.config.gateway.control_ui;
        ui.enabled && ui.root.is_some() && is_below(path, &ui.base_path) && !is_reserved(&path[ui.base_path.len()..])
    },
    methods: &[],
    // Whatever is no page is not there.
    guard: |request| match request.head.method.as_str() {
        "GET" | "HEAD" => Ok(()),
        _ => Err(request.not_found()),
    },
    max_body: unasked,
    refuse: refuse_api,
    handle,
};

/// Below the base path; with one underscore less than the APIs on each side.
const CONFIG_PATH: &str = "/__openclaw/control-ui-config.json";
/// Pages have no file of their own; these have one, or are missing.
const ASSETS: [&str; 12] = ["js", "css", "json", "map", "svg", "png", "jpg", "jpeg", "gif", "webp", "ico", "txt"];
const SITE: Site<'static> = Site { cache_control: "no-cache", rewrite: None };
const POLICY: &str = "default-src 'self'; base-uri 'none'; object-src 'none'; frame-ancestors 'none'; \
                      script-src 'self'; style-src 'self'; img-src 'self' data: https:; font-src 'self'; \
                      connect-src 'self' ws: wss:";

fn handle(exchange: Exchange<'_>) -> Answer {
    match answer(exchange.request) {
        Answer::Now(reply) => Answer::Now(guarded(reply)),
        Answer::Stream(mut stream) => {
            stream.head = guarded(stream.head);
            Answer::Stream(stream)
        }
        run => run,
    }
}

/// What keeps other sites from framing the page, and the page from loading from elsewhere.
fn guarded(reply: Reply) -> Reply {
    reply.header("X-Frame-Options", "DENY").header("Content-Security-Policy", POLICY)
}

fn answer(request: &Request) -> Answer {
    let ui = &request.live.config.gateway.control_ui;
    let path = &request.head.path()[ui.base_path.len()..];
    if path.is_empty() && !ui.base_path.is_empty() {
        let query = request.head.target.split_once('?').map_or(String::new(), |(_, query)| format!("?{query}"));
        let place = ascii_url(&format!("{}/{query}", ui.base_path));
        return Answer::Now(Reply::empty(302).header("Location", place));
    }
    if path == CONFIG_PATH {
        return Answer::Now(Reply::json(200, &facts(request)).header("Cache-Control", SITE.cache_control));
    }
    if let Some(id) = path.strip_prefix("/avatar/") {
        return Answer::Now(avatar(request, id));
    }
    let not_found = || Answer::Now(Reply::text(404, "Not Found"));
    let Some(asked) = SitePath::parse(path) else { return not_found() };
    let canonical = format!("/{}", asked.names().join("/"));
    // The older place of the UI, and whatever reads like an API once it is decoded.
    if (ui.base_path.is_empty() && is_below(&canonical, "/ui")) || is_reserved(&canonical) {
        return not_found();
    }
    let Some(root) = &request.doors.ui_root else { return Answer::Now(unavailable()) };
    let serve = |found| files::answer(&request.head, found, SITE, &request.doors.compressed);
    if let Some(found) = files::find_page(root, &asked.from_last("assets")) {
        return serve(found);
    }
    let end = media_type::extension(asked.last()).map(str::to_ascii_lowercase);
    if end.is_some_and(|end| ASSETS.contains(&end.as_str())) {
        return not_found();
    }
    match SitePath::parse("/").and_then(|index| files::find_page(root, &index)) {
        Some(index) => serve(index),
        None => Answer::Now(unavailable()),
    }
}

/// Letters that a header cannot carry, as escapes.
fn ascii_url(url: &str) -> String {
    let escaped = |c: char| c.to_string().bytes().map(|b| format!("%{b:02X}")).collect();
    url.chars().map(|c| if c.is_ascii() { c.to_string() } else { escaped(c) }).collect()
}

fn unavailable() -> Reply {
    Reply::text(503, "Control UI assets not found. Put an index.html into gateway.controlUi.root, or unset it.")
}

/// `<base>/avatar/<agent>`: where its picture is. Pictures of workspaces are not shown before somebody has logged in.
fn avatar(request: &Request, id: &str) -> Reply {
    let config = &request.live.config;
    let query = request.head.target.split_once('?').map_or("", |(_, query)| query);
    if !config.agents.knows(id) || !query.split('&').any(|pair| pair == "meta=1") {
        return Reply::text(404, "Not Found");
    }
    Reply::json(200, &json!({"avatarUrl": avatar_url(config, id)})).header("Cache-Control", SITE.cache_control)
}

fn avatar_url<'a>(config: &'a Config, id: &str) -> Option<&'a str> {
    let avatar = config.agents.get(id)?.identity.avatar.as_deref()?;
    ["https://", "data:image/"].iter().any(|start| avatar.starts_with(start)).then_some(avatar)
}

fn facts(request: &Request) -> serde_json::Value {
    let config = &request.live.config;
    let ControlUi { base_path, .. } = &config.gateway.control_ui;
    let id = config.agents.default_id();
    let identity = config.agents.get(id).map(|agent| &agent.identity);
    let name = identity.and_then(|identity| identity.name.as_deref());
    let avatar = avatar_url(config, id).or(identity.and_then(|identity| identity.emoji.as_deref()));
    json!({
        "basePath": base_path,
        "assistantName": name.unwrap_or("Assistant"),
        "assistantAvatar": avatar.unwrap_or("A"),
        "assistantAgentId": id,
        "serverVersion": COMPAT_VERSION,
    })
}
