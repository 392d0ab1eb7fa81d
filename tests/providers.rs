//! Model providers that fail, break off, ask for tools and speak other dialects, seen by those who wait for the answer
//! (agent 11, DECISIONS 53 and 60–61).

use std::collections::HashMap;

use serde_json::{Value, json};

use crate::common::client::Client;
use crate::common::model::{Model, Play};
use crate::common::{Gateway, Home, merge};
use crate::turns::{Place, chat_state, run_event, send, text_of, transcript, turn};

/// One agent per provider, so that their failures happen at the same time.
fn zoo(providers: &[(&str, &Model)], more: Value) -> Value {
    let agents: Vec<Value> = std::iter::once(json!({"id": "main"}))
        .chain(providers.iter().map(|(id, _)| json!({"id": id, "model": {"primary": format!("{id}/mock-1")}})))
        .collect();
    let entries: HashMap<&str, Value> =
        providers.iter().map(|(id, model)| (*id, model.provider("openai-completions"))).collect();
    let mut config = json!({
        "models": {"providers": entries},
        "agents": {"defaults": {"skipBootstrap": true, "maxConcurrent": 16}, "list": agents},
    });
    merge(&mut config, more);
    config
}

#[test]
fn failing_providers_end_the_run_with_a_text_for_people() {
    let wait = |seconds: &str| vec![("Retry-After", seconds.to_owned())];
    let rate = "⚠️ API rate limit reached. Please try again later.";
    let overloaded = "The AI service is temporarily overloaded. Please try again in a moment.";
    let error = |text: &str| json!({"error": {"message": text}}).to_string();
    let ok = || Play::words("fine");
    // Agent, plays, requests that arrive, text of the answer, whether it is a failure.
    let table: Vec<(&str, Vec<Play>, usize, &str, bool)> = vec![
        ("bad-key", vec![Play::status(401, &error("bad key"))], 1, "401 bad key", true),
        ("bad-request", vec![Play::status(400, &error("mock failure"))], 1, "400 mock failure", true),
        ("limited", vec![Play::status(429, &error("slow down"))], 4, rate, true),
        ("limited-once", vec![Play::Status(429, error("slow down"), wait("1")), ok()], 2, "fine", false),
        ("limited-long", vec![Play::Status(429, error("slow down"), wait("3600"))], 1, rate, true),
        ("broken", vec![Play::status(500, &error("boom"))], 4, "500 boom", true),
        ("broken-once", vec![Play::status(500, &error("boom")), ok()], 2, "fine", false),
        ("overloaded", vec![Play::status(529, &error("busy"))], 4, overloaded, true),
        ("cut-before", vec![Play::Break(vec![]), ok()], 2, "fine", false),
        ("empty", vec![Play::Raw(String::new())], 4, "", true),
        ("garbage", vec![Play::Raw("data: {]]]\n\n\u{0}\u{1}not a stream\n\n".into())], 1, "", true),
        ("html", vec![Play::status(502, "<html>Bad Gateway</html>")], 4, "", true),
    ];
    let models: Vec<Model> = table.iter().map(|(_, plays, ..)| Model::start(plays.clone())).collect();
    let providers: Vec<(&str, &Model)> = table.iter().map(|(id, ..)| *id).zip(&models).collect();
    let home = Home::new();
    home.configure(zoo(&providers, json!({})));
    let gateway = Gateway::start(&home, &[]);
    let mut client = Client::connect(gateway.port);
    let mut observer = Client::connect(gateway.port);
    let ids: Vec<String> =
        table.iter().map(|(id, ..)| send(&mut client, &format!("agent:{id}:main"), id, "hello")).collect();
    for ((id, _, requests, text, fails), (request, model)) in table.iter().zip(ids.iter().zip(&models)) {
        assert_eq!(client.answer(request)["payload"]["status"], "accepted");
        let last = client.answer(request);
        // A provider that fails is an answer all the same.
        assert_eq!((&last["ok"], &last["payload"]["status"]), (&json!(true), &json!("ok")), "{id}: {last}");
        assert_eq!(model.served(), *requests, "{id}: {last}");
        let said = text_of(&last);
        assert!(if text.is_empty() { !said.is_empty() } else { said == *text }, "{id}: {said:?}");
        let meta = &last["payload"]["result"]["meta"];
        assert_eq!(meta["agentMeta"].get("usage").is_none(), *fails, "{id}: {meta}");
        assert_eq!(meta["aborted"], false);
        if !fails {
            chat_state(&mut observer, id, "final");
            continue;
        }
        let lifecycle = run_event(&mut observer, id, "lifecycle error", |p| p["data"]["phase"] == "error");
        let chat = chat_state(&mut observer, id, "error");
        assert_eq!(chat["errorMessage"], lifecycle["data"]["error"], "{id}");
        assert!(lifecycle["data"]["endedAt"].is_u64() && chat["message"].is_null());
        let waited = client.call("agent.wait", json!({"runId": id, "timeoutMs": 1000}));
        assert_eq!((&waited["status"], &waited["error"]), (&json!("error"), &lifecycle["data"]["error"]));
        let lines = transcript(&home, id);
        let message = &lines.last().expect("lines")["message"];
        assert_eq!((&message["stopReason"], &message["content"]), (&json!("error"), &json!([])), "{id}: {message}");
        assert!(message["errorMessage"].is_string() && message["usage"]["totalTokens"] == 0);
    }
}

#[test]
fn an_answer_that_breaks_off_is_kept_and_not_asked_for_again() {
    let place = Place::new(vec![Play::Break(vec!["half ".into(), "an ".into()]), Play::words("whole")]);
    let (mut client, mut observer) = (place.client(), place.client());
    let last = turn(&mut client, "main", "k", "hello");
    assert_eq!(place.model.served(), 1, "what people have read cannot be taken back");
    let texts: Vec<&str> = last["payload"]["result"]["payloads"]
        .as_array()
        .expect("payloads")
        .iter()
        .filter_map(|p| p["text"].as_str())
        .collect();
    assert_eq!(texts[0].trim_end(), "half an", "{last}");
    assert!(texts[1].contains("in the middle"), "{texts:?}");
    let delta = run_event(&mut observer, "k", "all text", |p| {
        p["state"] == "delta" && p["message"]["content"][0]["text"] == "half an"
    });
    chat_state(&mut observer, "k", "error");
    assert!(delta["seq"].as_u64() <= Some(4));
    let kept = transcript(&place.home, "main").last().expect("lines")["message"].clone();
    assert_eq!((&kept["content"][0]["text"], &kept["stopReason"]), (&json!("half an "), &json!("error")));
    assert_eq!(text_of(&turn(&mut client, "main", "k2", "again")), "whole", "the session goes on");
}

#[test]
fn a_model_that_fails_is_replaced_by_the_next_one_within_four_requests() {
    let (bad, worse, good) = (
        Model::start(vec![Play::status(500, "{\"error\":{\"message\":\"boom\"}}")]),
        Model::start(vec![Play::status(401, "{\"error\":{\"message\":\"bad key\"}}")]),
        Model::start(vec![Play::words("from the third")]),
    );
    let home = Home::new();
    let chain = |ids: &[&str]| json!({"primary": ids[0], "fallbacks": ids[1..]});
    let mut config = zoo(&[("bad", &bad), ("worse", &worse), ("good", &good)], json!({}));
    config["agents"]["list"] = json!([
        {"id": "main", "model": chain(&["bad/mock-1", "worse/mock-1", "good/mock-1"])},
        {"id": "lost", "model": chain(&["worse/mock-1", "bad/mock-1"])},
        {"id": "keyless", "model": chain(&["openai/gpt-5", "good/mock-1"])},
    ]);
    home.configure(config);
    let gateway = Gateway::start(&home, &[]);
    let mut client = Client::connect(gateway.port);
    let last = turn(&mut client, "main", "k", "hello");
    assert_eq!(text_of(&last), "from the third", "{last}");
    assert_eq!(last["payload"]["result"]["meta"]["agentMeta"]["provider"], "good");
    assert_eq!((bad.served() + worse.served() + good.served(), worse.served(), good.served()), (4, 1, 1));
    let last = turn(&mut client, "agent:lost:main", "l", "hello");
    let text = "All models failed (2): worse/mock-1: 401 bad key (auth) | bad/mock-1: 500 boom (timeout)";
    assert_eq!(text_of(&last), text);
    assert_eq!(bad.served() + worse.served(), 3 + 4);
    assert_eq!(text_of(&turn(&mut client, "agent:keyless:main", "m", "hello")), "from the third");
}

#[test]
fn a_missing_key_and_an_unknown_model_say_so() {
    let model = Model::start(vec![Play::words("x")]);
    let home = Home::new();
    let mut config = zoo(&[("known", &model)], json!({}));
    config["agents"]["list"] = json!([{"id": "main"}, {"id": "lost", "model": {"primary": "known/no-such-model"}},
        {"id": "stray", "model": {"primary": "nobody/model"}}]);
    home.configure(config);
    let gateway = Gateway::start(&home, &[]);
    let mut client = Client::connect(gateway.port);
    let mut observer = Client::connect(gateway.port);
    let last = turn(&mut client, "main", "k", "hello");
    let dir = home.state().join("agents/main/agent");
    let want = format!(
        "No API key found for provider \"anthropic\". Auth store: {dir}/auth-profiles.json (agentDir: {dir}).",
        dir = dir.display()
    );
    let message = last["error"]["message"].as_str().unwrap_or_default();
    assert!(message.starts_with(&format!("FailoverError: {want} Configure auth for this agent")), "{last}");
    assert_eq!((&last["ok"], &last["error"]["code"]), (&json!(false), &json!("UNAVAILABLE")));
    let payload = json!({"runId": "k", "status": "error", "summary": message});
    assert_eq!(last["payload"], payload);
    let chat = chat_state(&mut observer, "k", "error");
    assert!(chat["errorMessage"].as_str().is_some_and(|m| m.starts_with(&want)), "{chat}");
    let last = turn(&mut client, "agent:stray:main", "s", "hello");
    assert_eq!(last["ok"], false, "{last}");
    assert!(last["error"]["message"].as_str().is_some_and(|m| m.contains("nobody")), "{last}");
    chat_state(&mut observer, "s", "error");
    // A model that a configured provider does not list is the provider's business.
    assert_eq!(text_of(&turn(&mut client, "agent:lost:main", "l", "hello")), "x");
    assert_eq!(model.requests()[0]["model"], "no-such-model");
}

#[test]
fn tool_calls_are_answered_and_the_turn_goes_on() {
    for api in ["openai-completions", "anthropic-messages", "ollama"] {
        let arguments = json!({"path": "AGENTS.md", "limit": 2});
        let model =
            Model::start(vec![Play::Tool("Looking. ", "read", arguments.clone()), Play::words("Nothing there.")]);
        let home = Home::new();
        home.configure(model.config_for(api));
        let gateway = Gateway::start(&home, &[]);
        let mut client = Client::connect(gateway.port);
        let last = turn(&mut client, "main", "k", "look");
        let payloads = &last["payload"]["result"]["payloads"];
        assert_eq!(
            (&payloads[0]["text"], &payloads[1]["text"]),
            (&json!("Looking."), &json!("Nothing there.")),
            "{api}"
        );
        let chat = chat_state(&mut client, "k", "final");
        assert_eq!(chat["message"]["content"][0]["text"], "Looking.Nothing there.", "{api}");
        let asked = model.asked();
        let want = match api {
            "openai-completions" => ("/v1/chat/completions", "authorization", "Bearer mock-key"),
            "anthropic-messages" => ("/v1/messages", "x-api-key", "mock-key"),
            _ => ("/api/chat", "authorization", "Bearer mock-key"),
        };
        assert_eq!((asked[0].path.as_str(), asked[0].header(want.1)), (want.0, Some(want.2)));
        let second = asked[1].body["messages"].as_array().expect("messages");
        let result = match api {
            "anthropic-messages" => second.last().expect("a result")["content"][0].to_string(),
            _ => second.last().expect("a result").to_string(),
        };
        assert!(result.contains("tool not available"), "{api}: {result}");
        let lines = transcript(&home, "main");
        let messages: Vec<&Value> = lines.iter().filter(|l| l["type"] == "message").map(|l| &l["message"]).collect();
        assert_eq!(messages.len(), 4, "{api}");
        assert_eq!(messages[1]["stopReason"], "toolUse");
        let call = messages[1]["content"].as_array().expect("blocks").last().expect("a call");
        assert_eq!(
            (&call["type"], &call["name"], &call["arguments"]),
            (&json!("toolCall"), &json!("read"), &arguments)
        );
        let result = messages[2];
        assert_eq!(
            (&result["role"], &result["toolCallId"], &result["isError"], &result["content"][0]["text"]),
            (&json!("toolResult"), &call["id"], &json!(true), &json!("tool not available")),
            "{api}"
        );
    }
}
