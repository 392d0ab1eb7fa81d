//! The edges of the HTTP surface (http 1.2 to 2.3): bodies that are refused, late or hostile, readers that do not read,
//! paths and methods that nobody serves, pages of browsers, callers behind proxies.

mod bodies;
mod callers;
mod pages;
mod paths;
mod streams;

use serde_json::{Value, json};

use crate::common::model::{Model, Play};
use crate::common::raw::{Answer, Raw};
use crate::common::{Gateway, Home, TOKEN, merge};

/// A gateway with every API switched on, its model, and `more` of configuration.
fn place(plays: Vec<Play>, more: Value) -> (Model, Home, Gateway) {
    let model = Model::start(plays);
    let home = configured(&model, more);
    let gateway = Gateway::start(&home, &[]);
    (model, home, gateway)
}

fn configured(model: &Model, more: Value) -> Home {
    let home = Home::new();
    let mut config = model.config();
    merge(
        &mut config,
        json!({"gateway": {"http": {"endpoints": {
            "chatCompletions": {"enabled": true}, "responses": {"enabled": true}}}}}),
    );
    merge(&mut config, more);
    home.configure(config);
    home
}

/// The same without any secret.
fn place_without_secret(plays: Vec<Play>, more: Value) -> (Model, Home, Gateway) {
    let model = Model::start(plays);
    let home = configured(&model, more);
    let text = std::fs::read_to_string(home.config_path()).expect("a configuration");
    let mut config: Value = serde_json::from_str(&text).expect("JSON");
    config["gateway"]["auth"] = json!({"mode": "none"});
    home.write_config(&config.to_string());
    let gateway = Gateway::start(&home, &[]);
    (model, home, gateway)
}

fn hi() -> Value {
    json!({"messages": [{"role": "user", "content": "hi"}]})
}

/// A request with the right secret.
fn request(method: &str, path: &str, lines: &str, body: &str) -> String {
    let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
    format!("{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {TOKEN}\r\n{lines}{length}\r\n{body}")
}

fn chat(body: &Value) -> String {
    request("POST", "/v1/chat/completions", "", &body.to_string())
}

/// The answer on a connection of its own to a head that is written out whole.
fn ask(gateway: &Gateway, text: &str) -> Answer {
    Raw::saying(gateway.port, text).answer()
}

/// A series of the metrics page, summed over what begins with `name`.
fn metric(gateway: &Gateway, name: &str) -> f64 {
    let page = ask(gateway, &request("GET", "/api/diagnostics/prometheus", "", "")).body;
    let lines = page.lines().filter(|line| line.starts_with(name));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}
