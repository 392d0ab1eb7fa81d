//! `GET /api/diagnostics/prometheus` (http 12): a strict reader of the whole page, and numbers that move.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use crate::common::client::Client;
use crate::common::model::{Model, Play};
use crate::common::raw::{Answer, Raw};
use crate::common::tls;
use crate::common::{Gateway, Home, TOKEN, wait_until};

/// Samples by their whole name with labels.
pub type Samples = BTreeMap<String, f64>;

fn ask(gateway: &Gateway) -> Answer {
    let request =
        format!("GET /api/diagnostics/prometheus HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {TOKEN}\r\n\r\n");
    Raw::saying(gateway.port, &request).answer()
}

pub fn samples(gateway: &Gateway) -> Samples {
    let answer = ask(gateway);
    assert_eq!(answer.status, 200);
    parse(&answer.body)
}

/// The text format, 0.0.4, as strictly as it is written: each family once with HELP and TYPE before its samples, names
/// and labels well-formed, no sample twice, whole histograms.
fn parse(text: &str) -> Samples {
    assert!(text.ends_with('\n'), "the last line has an end");
    let mut families: BTreeMap<&str, &str> = BTreeMap::new();
    let mut helped = BTreeSet::new();
    let mut family = "";
    let mut samples = Samples::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').expect(line);
            assert!(is_name(name) && !help.is_empty() && helped.insert(name), "{line}");
            family = name;
            continue;
        }
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect(line);
            assert!(name == family && ["counter", "gauge", "histogram"].contains(&kind), "{line}");
            assert!(families.insert(name, kind).is_none(), "{line}: twice");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
            continue;
        }
        let (name, labels, value) = split(line);
        let base = match families.get(family) {
            Some(&"histogram") => {
                ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).expect(line)
            }
            _ => name,
        };
        assert_eq!(base, family, "{line}: belongs to the family before it");
        let names: BTreeSet<&str> = labels.iter().map(|(name, _)| *name).collect();
        assert_eq!(names.len(), labels.len(), "{line}: a label twice");
        let number: f64 = value.parse().expect(line);
        assert!(number.is_finite() && number >= 0.0, "{line}");
        let key = line.rsplit_once(' ').expect(line).0.to_owned();
        assert!(samples.insert(key, number).is_none(), "{line}: twice");
    }
    for (name, _) in families.iter().filter(|(_, kind)| **kind == "histogram") {
        let buckets = samples.iter().filter(|(key, _)| key.starts_with(&format!("{name}_bucket")));
        let all = samples[&format!("{name}_bucket{{le=\"+Inf\"}}")];
        assert!(buckets.clone().count() > 2 && buckets.clone().all(|(_, n)| *n <= all), "{name}");
        assert_eq!(all, samples[&format!("{name}_count")], "{name}");
    }
    samples
}

/// Name, labels, value of a sample.
fn split(line: &str) -> (&str, Vec<(&str, String)>, &str) {
    let end = line.find(['{', ' ']).expect(line);
    let (name, mut rest) = line.split_at(end);
    assert!(is_name(name), "{line}");
    let mut labels = Vec::new();
    if let Some(inner) = rest.strip_prefix('{') {
        rest = inner;
        loop {
            let (label, value) = rest.split_once("=\"").expect(line);
            assert!(is_name(label) && !label.contains(':') && !label.starts_with("__"), "{line}");
            let mut text = String::new();
            let mut chars = value.char_indices();
            let end = loop {
                match chars.next().expect(line) {
                    (at, '"') => break at,
                    (_, '\\') => match chars.next().expect(line).1 {
                        'n' => text.push('\n'),
                        c @ ('\\' | '"') => text.push(c),
                        c => panic!("{line}: \\{c}"),
                    },
                    (_, c) => text.push(c),
                }
            };
            labels.push((label, text));
            rest = &value[end + 1..];
            match rest.strip_prefix(',') {
                Some(more) => rest = more,
                None => break,
            }
        }
        rest = rest.strip_prefix('}').expect(line);
    }
    let value = rest.strip_prefix(' ').expect(line);
    assert!(!value.contains(' '), "{line}: no time stamps");
    (name, labels, value)
}

fn is_name(name: &str) -> bool {
    !name.starts_with(|c: char| c.is_ascii_digit())
        && !name.is_empty()
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b':'))
}

#[test]
fn the_page_is_for_those_with_the_secret() {
    let home = Home::new();
    home.configure(json!({}));
    let gateway = Gateway::start(&home, &[]);
    let path = "/api/diagnostics/prometheus";
    let (status, _, body) = gateway.get(path);
    assert_eq!((status, body.as_str()), (401, "{\"error\":{\"message\":\"Unauthorized\",\"type\":\"unauthorized\"}}"));
    let wrong = format!("GET {path} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer wrong\r\n\r\n");
    assert_eq!(Raw::saying(gateway.port, &wrong).answer().status, 401);
    let post = format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
    let answer = Raw::saying(gateway.port, &post).answer();
    assert_eq!((answer.status, answer.header("allow")), (405, Some("GET, HEAD")));
    for probe in ["/health", "/healthz", "/ready", "/readyz"] {
        assert_eq!(gateway.get(probe).0, 200, "{probe} stays open");
    }
    let answer = ask(&gateway);
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    let seen = parse(&answer.body);
    assert_eq!(seen[&format!("openclaw_gateway_http_requests_total{{route=\"{path}\",status=\"4xx\"}}")], 3.0);
    assert_eq!(seen["openclaw_gateway_http_requests_total{route=\"probes\",status=\"2xx\"}"], 4.0);
    assert!(answer.body.len() < 32_768, "{} bytes", answer.body.len());
}

#[test]
fn the_numbers_follow_what_happens() {
    let model = Model::start(vec![Play::words("hello")]);
    let home = Home::new();
    let mut config = model.config();
    crate::common::merge(
        &mut config,
        json!({"gateway": {"http": {"endpoints": {"chatCompletions": {"enabled": true}}}}}),
    );
    home.configure(config.clone());
    let gateway = Gateway::start(&home, &[]);
    let before = samples(&gateway);
    for (name, value) in [
        ("openclaw_gateway_ws_clients{role=\"operator\"}", 0.0),
        ("openclaw_gateway_ws_connects_total", 0.0),
        ("openclaw_run_completed_total{outcome=\"completed\"}", 0.0),
        ("openclaw_run_duration_seconds_count", 0.0),
        ("openclaw_queue_lane_size{lane=\"main\",state=\"active\"}", 0.0),
        ("openclaw_queue_lane_slots{lane=\"main\"}", 4.0),
        ("openclaw_gateway_outbox_bytes", 0.0),
        ("openclaw_gateway_events_dropped_total", 0.0),
    ] {
        assert_eq!(before.get(name), Some(&value), "{name}");
    }
    for name in ["process_resident_memory_bytes", "process_threads", "process_open_fds", "process_start_time_seconds"] {
        assert!(before[name] >= 1.0, "{name}");
    }

    let mut client = Client::connect(gateway.port);
    client.call("status", json!({}));
    client.call("status", json!({}));
    client.request("no.such.method", json!({}));
    client.request("chat.history", json!({"nonsense": true}));
    client.call("chat.send", json!({"sessionKey": "main", "message": "hi", "idempotencyKey": "r1"}));
    client.take("the final answer", |f| f["event"] == "chat" && f["payload"]["state"] == "final");
    let body = json!({"messages": [{"role": "user", "content": "hi"}], "stream": true}).to_string();
    let chat = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {TOKEN}\r\nConnection: close\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let streamed = Raw::saying(gateway.port, &chat).rest();
    assert!(String::from_utf8_lossy(&streamed).contains("[DONE]"));
    gateway.get("/nowhere");
    let tool = json!({"tool": "agents_list"}).to_string();
    let request = format!(
        "POST /tools/invoke HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: {}\r\n\r\n{tool}",
        tool.len()
    );
    assert_eq!(Raw::saying(gateway.port, &request).answer().status, 200);

    wait_until("both runs to be counted", || {
        samples(&gateway)["openclaw_run_completed_total{outcome=\"completed\"}"] == 2.0
    });
    let after = samples(&gateway);
    for (name, value) in [
        ("openclaw_gateway_ws_clients{role=\"operator\"}", 1.0),
        ("openclaw_gateway_ws_connects_total", 1.0),
        ("openclaw_gateway_rpc_requests_total{method=\"status\",outcome=\"ok\"}", 2.0),
        ("openclaw_gateway_rpc_requests_total{method=\"chat.history\",outcome=\"error\"}", 1.0),
        ("openclaw_gateway_rpc_requests_total{method=\"other\",outcome=\"error\"}", 1.0),
        ("openclaw_gateway_rpc_requests_total{method=\"chat.send\",outcome=\"deferred\"}", 1.0),
        ("openclaw_gateway_http_requests_total{route=\"/v1/chat/completions\",status=\"2xx\"}", 1.0),
        ("openclaw_gateway_http_requests_total{route=\"/tools/invoke\",status=\"2xx\"}", 1.0),
        ("openclaw_gateway_http_requests_total{route=\"other\",status=\"4xx\"}", 1.0),
        ("openclaw_tool_execution_total{tool=\"agents_list\",outcome=\"completed\"}", 1.0),
        ("openclaw_run_duration_seconds_count", 2.0),
    ] {
        assert_eq!(after.get(name), Some(&value), "{name}");
    }
    assert!(after["openclaw_model_tokens_total{token_type=\"output\"}"] > 0.0);
    assert!(after["openclaw_gateway_connections_total"] >= before["openclaw_gateway_connections_total"] + 5.0);
    assert!(!after.keys().any(|key| key.contains("no.such.method")), "names from outside are no labels");

    home.write_config("{ broken");
    gateway.signal(openclaw::sys::process::Sig::Hup);
    let refused = "openclaw_config_reloads_total{outcome=\"refused\"}";
    wait_until("the refused configuration", || samples(&gateway)[refused] >= 1.0);
    crate::common::merge(&mut config, json!({"messages": {"ackReaction": "x"}}));
    home.configure(config);
    gateway.signal(openclaw::sys::process::Sig::Hup);
    let applied = "openclaw_config_reloads_total{outcome=\"applied\"}";
    let unchanged = "openclaw_config_reloads_total{outcome=\"unchanged\"}";
    wait_until("the next one", || samples(&gateway)[applied] + samples(&gateway)[unchanged] >= 1.0);
    drop(client);
    wait_until("the client to be gone", || samples(&gateway)["openclaw_gateway_ws_clients{role=\"operator\"}"] == 0.0);
}

#[test]
fn a_restart_in_the_process_counts_on() {
    let home = Home::new();
    home.configure(json!({}));
    let gateway = Gateway::start(&home, &[]);
    let mut client = Client::connect(gateway.port);
    client.call("status", json!({}));
    gateway.signal(openclaw::sys::process::Sig::Usr1);
    client.end();
    let status = "openclaw_gateway_rpc_requests_total{method=\"status\",outcome=\"ok\"}";
    wait_until("the next life", || gateway.get("/ready").0 == 200);
    let after = samples(&gateway);
    assert_eq!((after[status], after["openclaw_gateway_ws_clients{role=\"operator\"}"]), (1.0, 0.0));
}

#[test]
fn whether_the_certificate_ends_soon_can_be_watched() {
    let home = Home::new();
    home.configure(json!({"gateway": {"tls": {"enabled": true}}}));
    let gateway = Gateway::start(&home, &[]);
    let mut raw = tls::raw(gateway.port);
    raw.send(
        format!("GET /api/diagnostics/prometheus HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {TOKEN}\r\n\r\n")
            .as_bytes(),
    );
    let expiry = parse(&raw.answer().body)["openclaw_gateway_tls_certificate_expiry_seconds"];
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a clock").as_secs_f64();
    let years = (expiry - now) / (365.0 * 24.0 * 3600.0);
    assert!((9.9..10.1).contains(&years), "{years}");
}
