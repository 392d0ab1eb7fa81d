//! What clients of OpenAI meet (http 3 and 13): chat completions, models, embeddings.

use std::collections::BTreeMap;
use std::net::Shutdown;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::common::client::Client;
use crate::common::model::{Model, Play};
use crate::common::raw::{Answer, Raw};
use crate::common::{Gateway, Home, TOKEN, merge, wait_until};

fn start(home: &Home, model: &Model, more: Value) -> Gateway {
    start_for(home, model.config(), more)
}

fn start_for(home: &Home, mut config: Value, more: Value) -> Gateway {
    merge(&mut config, json!({"gateway": {"http": {"endpoints": {"chatCompletions": {"enabled": true}}}}}));
    merge(&mut config, more);
    home.configure(config);
    Gateway::start(home, &[])
}

fn request(method: &str, path: &str, lines: &str, body: &str) -> String {
    format!(
        "{method} {path} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {TOKEN}\r\n{lines}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn chat_request(lines: &str, body: &Value) -> String {
    request("POST", "/v1/chat/completions", lines, &body.to_string())
}

/// A connection on which a chat request was sent.
fn asking(gateway: &Gateway, lines: &str, body: &Value) -> Raw {
    Raw::saying(gateway.port, &chat_request(lines, body))
}

fn chat(gateway: &Gateway, body: Value) -> Answer {
    asking(gateway, "", &body).answer()
}

fn hi() -> Value {
    json!({"messages": [{"role": "user", "content": "hi"}]})
}

fn with(mut body: Value, extra: Value) -> Value {
    merge(&mut body, extra);
    body
}

/// The head of a stream, and its events.
fn stream(raw: &mut Raw) -> (Answer, Vec<String>) {
    let head = raw.try_answer(false).expect("an answer");
    assert_eq!(head.status, 200, "{head:?}");
    assert_eq!(head.header("content-type"), Some("text/event-stream; charset=utf-8"));
    let text = raw.chunks();
    let events = text.split("\n\n").filter(|event| !event.is_empty());
    let events = events.map(|event| event.strip_prefix("data: ").unwrap_or_else(|| panic!("{event:?}")).to_owned());
    (head, events.collect())
}

/// The events of a stream as JSON, `[DONE]` checked and left out.
fn events(gateway: &Gateway, lines: &str, body: Value) -> Vec<Value> {
    let (_, mut events) = stream(&mut asking(gateway, lines, &with(body, json!({"stream": true}))));
    assert_eq!(events.pop().as_deref(), Some("[DONE]"));
    events.iter().map(|event| serde_json::from_str(event).expect("JSON")).collect()
}

fn weather() -> Value {
    json!([{"type": "function", "function": {"name": "get_weather", "description": "d",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}}])
}

fn calls_weather() -> Play {
    Play::Tool("Looking.", "get_weather", json!({"city": "Oslo"}))
}

/// Everything below a home but the logs: path, and of files length and time of the last change.
fn files(home: &Home) -> BTreeMap<String, (u64, std::time::SystemTime)> {
    fn walk(path: &Path, out: &mut BTreeMap<String, (u64, std::time::SystemTime)>) {
        for entry in std::fs::read_dir(path).into_iter().flatten().flatten() {
            if entry.file_name() == "logs" {
                continue;
            }
            let meta = entry.metadata().expect("a file");
            let path = entry.path().display().to_string();
            if meta.is_dir() {
                out.insert(path, (0, std::time::SystemTime::UNIX_EPOCH));
                walk(&entry.path(), out);
            } else {
                out.insert(path, (meta.len(), meta.modified().expect("a time")));
            }
        }
    }
    let mut out = BTreeMap::new();
    walk(home.path(), &mut out);
    out
}

#[test]
fn an_answer_whole_and_in_pieces() {
    let home = Home::new();
    let model = Model::start(vec![Play::words("Hello from here")]);
    let gateway = start(&home, &model, json!({}));
    let answer = chat(&gateway, with(hi(), json!({"model": "gpt-4o"})));
    let body = answer.json();
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.header("content-type"), Some("application/json; charset=utf-8"));
    assert!(body["id"].as_str().is_some_and(|id| id.starts_with("chatcmpl_") && id.len() == 45), "{body}");
    assert_eq!((&body["object"], &body["model"]), (&json!("chat.completion"), &json!("gpt-4o")));
    assert!(body["created"].as_u64().is_some_and(|at| at > 1_700_000_000), "{body}");
    assert_eq!(
        body["choices"],
        json!([{"index": 0, "message": {"role": "assistant", "content": "Hello from here"}, "finish_reason": "stop"}])
    );
    let usage = json!({"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120});
    assert_eq!(body["usage"], usage);
    assert_eq!(chat(&gateway, hi()).json()["model"], "openclaw");

    // Two streams and a whole answer on one connection: it stays usable behind `[DONE]`.
    let streamed = with(hi(), json!({"stream": true, "model": "openclaw/main"}));
    let mut raw = asking(&gateway, "", &with(streamed.clone(), json!({"stream_options": {"include_usage": true}})));
    let (head, mut got) = stream(&mut raw);
    assert_eq!((head.header("cache-control"), head.header("connection")), (Some("no-cache"), Some("keep-alive")));
    assert_eq!(got.pop().as_deref(), Some("[DONE]"));
    let got: Vec<Value> = got.iter().map(|event| serde_json::from_str(event).expect("JSON")).collect();
    for chunk in &got {
        assert_eq!(chunk["object"], "chat.completion.chunk");
        assert_eq!((&chunk["id"], &chunk["created"]), (&got[0]["id"], &got[0]["created"]));
        assert_eq!(chunk["model"], "openclaw/main");
    }
    let choice = |delta: Value, finish: Value| json!([{"index": 0, "delta": delta, "finish_reason": finish}]);
    let last = got.len() - 1;
    assert_eq!(got[0]["choices"], choice(json!({"role": "assistant"}), json!(null)));
    let text: String = got[1..last - 1].iter().map(|c| c["choices"][0]["delta"]["content"].as_str().unwrap()).collect();
    assert_eq!(text, "Hello from here");
    assert_eq!(got[1]["choices"][0]["finish_reason"], Value::Null);
    assert_eq!(got[last - 1]["choices"], choice(json!({}), json!("stop")));
    assert_eq!((&got[last]["choices"], &got[last]["usage"]), (&json!([]), &usage));
    raw.send(chat_request("", &streamed).as_bytes());
    let (_, got) = stream(&mut raw);
    assert!(!got.concat().contains("usage"), "{got:?}");
    raw.send(chat_request("", &hi()).as_bytes());
    assert_eq!(raw.answer().status, 200);

    model.set(vec![Play::words("NO_REPLY")]);
    assert_eq!(chat(&gateway, hi()).json()["choices"][0]["message"]["content"], "No response from OpenClaw.");
    let got = events(&gateway, "", hi());
    assert_eq!(got[1]["choices"][0]["delta"]["content"], "No response from OpenClaw.");
    let cut =
        "data: {\"choices\":[{\"delta\":{\"content\":\"cut\"},\"finish_reason\":\"length\"}]}\n\ndata: [DONE]\n\n";
    model.set(vec![Play::Raw(cut.into())]);
    assert_eq!(chat(&gateway, hi()).json()["choices"][0]["finish_reason"], "length");
    assert_eq!(events(&gateway, "", hi())[2]["choices"][0]["finish_reason"], "length");
}

#[test]
fn the_model_sees_the_conversation_and_what_was_asked_for() {
    let home = Home::new();
    let model = Model::start(vec![Play::words("ok")]);
    let gateway = start(&home, &model, json!({}));
    let image = "data:image/png;base64,iVBORw0KGgo=";
    let body = json!({"model": "openclaw", "temperature": 0.5, "top_p": 0.9, "max_tokens": 77, "stop": "END", "seed": 7,
        "presence_penalty": 1, "frequency_penalty": -1, "response_format": {"type": "json_object"}, "strange": {"x": 1},
        "tools": weather(), "tool_choice": "none",
        "messages": [{"role": "system", "content": "SYS-A"}, {"role": "user", "content": "first"},
            {"role": "assistant", "content": "prev"}, {"role": "developer", "content": "SYS-B"},
            {"role": "user", "content": [{"type": "text", "text": "now"}]}]});
    assert_eq!(chat(&gateway, body).status, 200);
    let asked = model.requests().remove(0);
    let said: Vec<(&str, &str)> = asked["messages"].as_array().unwrap()[1..]
        .iter()
        .map(|m| (m["role"].as_str().unwrap(), m["content"].as_str().unwrap()))
        .collect();
    assert_eq!(said, [("user", "first"), ("assistant", "prev"), ("user", "now")]);
    assert!(asked["messages"][0]["content"].as_str().is_some_and(|s| s.contains("SYS-A\n\nSYS-B")), "{asked}");
    for (key, want) in [
        ("temperature", json!(0.5)),
        ("top_p", json!(0.9)),
        ("max_completion_tokens", json!(77)),
        ("stop", json!(["END"])),
        ("seed", json!(7)),
        ("presence_penalty", json!(1.0)),
        ("frequency_penalty", json!(-1.0)),
        ("response_format", json!({"type": "json_object"})),
        ("tool_choice", json!("none")),
    ] {
        assert_eq!(asked[key], want, "{key}");
    }
    assert_eq!(asked["tools"][0]["function"]["parameters"], weather()[0]["function"]["parameters"]);

    // A model that sees no images is told that there was one.
    let look = json!({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": image}}]}]});
    assert_eq!(chat(&gateway, look).status, 200);
    let asked = model.requests().pop().unwrap();
    assert_eq!(asked["messages"][1]["content"][0]["text"], "User sent image(s) with no text.");
    assert!(asked["messages"][1]["content"][1]["text"].as_str().is_some_and(|t| t.contains("takes no images")));
}

#[test]
fn what_programs_ask_of_the_models_calls_and_thoughts_reaches_it() {
    let home = Home::new();
    let model = Model::start(vec![Play::words("ok")]);
    let mut config = model.config();
    config["models"]["providers"]["mock"]["models"][0]["reasoning"] = json!(true);
    let gateway = start_for(&home, config, json!({"agents": {"defaults": {"thinkingDefault": "low"}}}));
    let mut tools = weather();
    tools[0]["function"]["strict"] = json!(true);
    for (effort, told) in [
        (json!("high"), json!("high")),
        (json!("none"), Value::Null),
        (json!(null), json!("low")),
        (json!("strange"), json!("low")),
    ] {
        let body = json!({"tools": tools, "parallel_tool_calls": false, "reasoning_effort": effort, "max_tokens": 5.0});
        assert_eq!(chat(&gateway, with(hi(), body)).status, 200);
        let asked = model.requests().pop().unwrap();
        assert_eq!((&asked["reasoning_effort"], &asked["parallel_tool_calls"]), (&told, &json!(false)), "{effort}");
        assert_eq!(
            (&asked["tools"][0]["function"]["strict"], &asked["max_completion_tokens"]),
            (&json!(true), &json!(5))
        );
    }
}

#[test]
fn a_format_that_the_provider_does_not_know_is_demanded_in_words() {
    let schema = json!({"type": "object", "properties": {"city": {"type": "string"}}});
    let format = json!({"type": "json_schema", "json_schema": {"name": "city", "schema": schema}});
    let words = |asked: &Value, at: &str| {
        let text = asked.pointer(at).and_then(Value::as_str).unwrap_or_default().to_owned();
        assert!(text.ends_with(&format!("It must fit this JSON schema:\n{schema}")), "{asked}");
    };
    let refused = r#"{"error":{"message":"Unknown parameter: 'response_format'."}}"#;
    let answers = vec![Play::status(400, refused), Play::words("{\"city\":\"Oslo\"}")];
    for (api, plays, at) in [
        ("openai-completions", answers.clone(), "/messages/0/content"),
        ("anthropic-messages", answers[1..].to_vec(), "/system/0/text"),
    ] {
        let home = Home::new();
        let model = Model::start(plays);
        let gateway = start_for(&home, model.config_for(api), json!({}));
        let answer = chat(&gateway, with(hi(), json!({"response_format": format}))).json();
        assert_eq!(answer["choices"][0]["message"]["content"], "{\"city\":\"Oslo\"}", "{api}: {answer}");
        let asked = model.requests().pop().unwrap();
        words(&asked, at);
        assert!(asked.get("response_format").is_none(), "{asked}");
    }
}

#[test]
fn attachments_that_cannot_be_read_are_refused_and_old_ones_left_out() {
    let home = Home::new();
    let model = Model::start(vec![Play::words("ok")]);
    let gateway = start(&home, &model, json!({}));
    let file =
        json!({"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERg=="}});
    let audio = json!({"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}});
    for content in [json!([{"type": "text", "text": "look"}, file]), json!([file]), json!([audio])] {
        let kind = content.as_array().unwrap().last().unwrap()["type"].clone();
        let answer = chat(
            &gateway,
            json!({"messages": [{"role": "user", "content": "hi"},
            {"role": "assistant", "content": "hello"}, {"role": "user", "content": content}]}),
        );
        let text = answer.json()["error"]["message"].as_str().unwrap_or_default().to_owned();
        assert!(answer.status == 400 && text.contains(kind.as_str().unwrap()), "{answer:?}");
    }
    let later = json!({"messages": [{"role": "user", "content": [file]}, {"role": "assistant", "content": "no"},
        {"role": "user", "content": "hi"}]});
    assert_eq!(chat(&gateway, later).status, 200);
    assert_eq!(model.requests().pop().unwrap()["messages"][1]["content"], "[file left out]");
}

#[test]
fn images_reach_models_that_see() {
    let home = Home::new();
    let model = Model::start(vec![Play::words("a cat")]);
    let mut config = model.config();
    config["models"]["providers"]["mock"]["models"][0]["input"] = json!(["text", "image"]);
    let gateway = start_for(&home, config, json!({}));
    let image = json!({"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}});
    let look = json!({"messages": [
        {"role": "user", "content": [{"type": "text", "text": "what is it?"}, image]},
        {"role": "assistant", "content": "a dog"},
        {"role": "user", "content": [{"type": "text", "text": "look again"}, image]}]});
    assert_eq!(chat(&gateway, look).status, 200);
    let asked = model.requests().remove(0);
    for at in [1, 3] {
        assert_eq!(asked["messages"][at]["content"][1], image, "{asked}");
    }
    let address = json!({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": "https://example.com/a.png"}]}]});
    let answer = chat(&gateway, address);
    let text = answer.json()["error"]["message"].as_str().unwrap_or_default().to_owned();
    assert_eq!(answer.status, 400, "{answer:?}");
    assert!(text.starts_with("Invalid image_url content in `messages`. Image URLs are not fetched"), "{text}");
}

#[test]
fn a_stateless_request_leaves_nothing_behind() {
    let home = Home::new();
    let model = Model::start(vec![Play::words("ok")]);
    let gateway = start(&home, &model, json!({"agents": {"defaults": {"skipBootstrap": false}}}));
    let before = files(&home);
    assert_eq!(chat(&gateway, hi()).status, 200);
    events(&gateway, "", hi());
    assert_eq!(chat(&gateway, json!({"messages": [{"role": "user", "content": "/new"}]})).status, 200);
    model.set(vec![calls_weather()]);
    assert_eq!(chat(&gateway, with(hi(), json!({"tools": weather()}))).status, 200);
    model.set(vec![Play::status(401, "{}")]);
    assert_eq!(chat(&gateway, hi()).status, 401);
    model.set(vec![Play::Stall(vec!["word".into()])]);
    let raw = asking(&gateway, "", &hi());
    wait_until("the model is asked", || model.served() == 6);
    drop(raw);
    wait_until("the run is aborted", || model.hung_up() == 1);
    let mut client = Client::connect(gateway.port);
    let sessions = client.call("sessions.list", json!({}));
    assert_eq!(sessions["sessions"], json!([]), "{sessions}");
    drop(client);
    let mut gateway = gateway;
    assert_eq!(gateway.stop(), Some(0));
    let gone = |path: &String| path.contains("devices") || path.ends_with(".lock");
    let (mut before, mut after) = (before, files(&home));
    for list in [&mut before, &mut after] {
        list.retain(|path, _| !gone(path));
    }
    assert_eq!(before, after);
}

#[test]
fn functions_of_the_client_make_the_round_trip() {
    let home = Home::new();
    let model = Model::start(vec![calls_weather()]);
    let gateway = start(&home, &model, json!({}));
    let ask = json!({"messages": [{"role": "user", "content": "weather?"}], "tools": weather()});
    for user in [None, Some("u1")] {
        model.set(vec![calls_weather()]);
        let before = model.served();
        let ask = user.map_or(ask.clone(), |user| with(ask.clone(), json!({"user": user})));
        let body = chat(&gateway, ask.clone()).json();
        let call = json!({"id": "call_1", "type": "function",
            "function": {"name": "get_weather", "arguments": "{\"city\":\"Oslo\"}"}});
        assert_eq!(
            body["choices"],
            json!([{"index": 0, "message": {"role": "assistant", "content": "Looking.", "tool_calls": [call]},
                "finish_reason": "tool_calls"}])
        );
        assert_eq!(body["usage"]["total_tokens"], 120);
        model.set(vec![Play::words("It is 72F")]);
        let mut back = ask.clone();
        let messages = back["messages"].as_array_mut().unwrap();
        messages.push(body["choices"][0]["message"].clone());
        messages.push(json!({"role": "tool", "tool_call_id": "call_1", "content": "72F"}));
        let body = chat(&gateway, back).json();
        assert_eq!(body["choices"][0]["message"]["content"], "It is 72F", "{body}");
        let asked = model.requests().pop().unwrap();
        let seen = asked["messages"].as_array().unwrap();
        let roles: Vec<&str> = seen.iter().map(|m| m["role"].as_str().unwrap()).collect();
        assert_eq!(roles, ["system", "user", "assistant", "tool"], "{user:?}");
        assert_eq!(seen[2]["tool_calls"][0]["id"], "call_1");
        assert_eq!((&seen[3]["tool_call_id"], &seen[3]["content"]), (&json!("call_1"), &json!("72F")));
        assert_eq!(model.served(), before + 2, "a call of the client's function ends the run");
    }
    // The session went on: a new question finds the call and its result, once.
    let next = json!({"user": "u1", "messages": [{"role": "user", "content": "thanks"}]});
    assert_eq!(chat(&gateway, next).status, 200);
    let seen = model.requests().pop().unwrap();
    let roles: Vec<&str> = seen["messages"].as_array().unwrap().iter().map(|m| m["role"].as_str().unwrap()).collect();
    assert_eq!(roles, ["system", "user", "assistant", "tool", "assistant", "user"]);

    model.set(vec![calls_weather()]);
    let got = events(&gateway, "", with(ask.clone(), json!({"stream_options": {"include_usage": true}})));
    let deltas: Vec<&Value> = got.iter().map(|chunk| &chunk["choices"][0]["delta"]).collect();
    let last = got.len() - 1;
    let begins = json!({"tool_calls": [{"index": 0, "id": "call_1", "type": "function",
        "function": {"name": "get_weather", "arguments": ""}}]});
    assert_eq!(*deltas[last - 3], begins);
    assert_eq!(
        *deltas[last - 2],
        json!({"tool_calls": [{"index": 0, "function": {"arguments": "{\"city\":\"Oslo\"}"}}]})
    );
    assert_eq!(got[last - 1]["choices"][0]["finish_reason"], "tool_calls");
    assert_eq!(got[last]["usage"]["total_tokens"], 120);

    model.set(vec![Play::words("I would rather not")]);
    let must = with(ask, json!({"tool_choice": "required"}));
    let answer = chat(&gateway, must.clone());
    assert_eq!((answer.status, answer.header("x-should-retry")), (502, Some("false")));
    let told = json!({"error": {"message": "tool_choice=required was not satisfied by the agent response", "type": "api_error"}});
    assert_eq!(answer.json(), told);
    assert_eq!(events(&gateway, "", must).pop().unwrap(), told);
}

#[test]
fn functions_in_the_formats_of_other_providers() {
    for api in ["anthropic-messages", "ollama"] {
        let home = Home::new();
        let model = Model::start(vec![calls_weather(), Play::words("It is 72F")]);
        let gateway = start_for(&home, model.config_for(api), json!({}));
        let ask =
            json!({"messages": [{"role": "user", "content": "weather?"}], "tools": weather(), "tool_choice": "auto"});
        let body = chat(&gateway, ask.clone()).json();
        let message = body["choices"][0]["message"].clone();
        assert_eq!(message["tool_calls"][0]["function"]["arguments"], "{\"city\":\"Oslo\"}", "{api}: {body}");
        let mut back = ask.clone();
        let id = message["tool_calls"][0]["id"].clone();
        back["messages"].as_array_mut().unwrap().push(message);
        back["messages"].as_array_mut().unwrap().push(json!({"role": "tool", "tool_call_id": id, "content": "72F"}));
        assert_eq!(chat(&gateway, back).json()["choices"][0]["message"]["content"], "It is 72F", "{api}");
        let seen = model.requests().pop().unwrap()["messages"].as_array().unwrap().clone();
        let result = match api {
            "ollama" => json!({"role": "tool", "content": "72F", "tool_name": "get_weather"}),
            _ => seen.last().unwrap().clone(),
        };
        assert_eq!(*seen.last().unwrap(), result);
        assert!(result.to_string().contains("72F"), "{api}: {result}");
    }
}

#[test]
fn a_session_is_kept_where_the_client_names_one() {
    let home = Home::new();
    let model = Model::start(vec![Play::words("ok")]);
    let agents = json!({"agents": {"list": [{"id": "main", "default": true}, {"id": "beta"}]}});
    let gateway = start(&home, &model, agents);
    let ask = |lines: &str, body: Value| asking(&gateway, lines, &body).answer();
    assert_eq!(ask("", with(hi(), json!({"user": "Ann@Home"}))).status, 200);
    assert_eq!(ask("x-openclaw-session-key: mykey\r\n", hi()).status, 200);
    assert_eq!(ask("x-openclaw-session-key: agent:beta:z\r\n", with(hi(), json!({"user": "x"}))).status, 200);
    assert_eq!(ask("", with(hi(), json!({"model": "openclaw:beta", "user": "x"}))).status, 200);
    assert_eq!(ask("x-openclaw-agent-id: Beta\r\n", with(hi(), json!({"user": "y"}))).status, 200);
    // Nobody is kept.
    assert_eq!(ask("", hi()).status, 200);
    let mut client = Client::connect(gateway.port);
    let list = client.call("sessions.list", json!({}));
    let mut keys: Vec<&str> = list["sessions"].as_array().unwrap().iter().map(|s| s["key"].as_str().unwrap()).collect();
    keys.sort_unstable();
    assert_eq!(
        keys,
        [
            "agent:beta:openai-user:x",
            "agent:beta:openai-user:y",
            "agent:beta:z",
            "agent:main:mykey",
            "agent:main:openai-user:ann@home"
        ]
    );
    // What the session knows is not sent twice; what was said since is told as text.
    let more = json!({"user": "ann@home", "messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ok"},
        {"role": "user", "content": "one"}, {"role": "user", "content": "two"}]});
    assert_eq!(ask("", more).status, 200);
    let seen = model.requests().pop().unwrap();
    let said: Vec<&str> =
        seen["messages"].as_array().unwrap()[1..].iter().map(|m| m["content"].as_str().unwrap()).collect();
    let told = "[Chat messages since your last reply - for context]\nUser: one\n\n\
                [Current message - respond to this]\nUser: two";
    assert_eq!(said, ["hi", "ok", told]);
    // What was put aside does not come back by way of the client.
    let anew = json!({"user": "ann@home", "messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ok"},
        {"role": "user", "content": "/new who are you?"}]});
    assert_eq!(ask("", anew).status, 200);
    let seen = model.requests().pop().unwrap();
    assert_eq!(seen["messages"].as_array().unwrap().len(), 2, "{seen}");
    assert_eq!(seen["messages"][1]["content"], "who are you?");
    for key in ["subagent:x", "agent:main:cron:x", "ACP:x"] {
        let answer = ask(&format!("x-openclaw-session-key: {key}\r\n"), hi());
        assert_eq!((answer.status, &answer.json()["error"]["type"]), (400, &json!("invalid_request_error")), "{key}");
    }
    for (lines, body) in
        [("x-openclaw-agent-id: nosuch\r\n", hi()), ("", with(hi(), json!({"model": "openclaw/nosuch"})))]
    {
        let answer = ask(lines, body);
        assert_eq!(answer.status, 400);
        assert_eq!(answer.json()["error"]["message"], "Unknown agent 'nosuch'.");
    }
    assert!(!home.state().join("workspace-nosuch").exists());
}

#[test]
fn the_model_can_be_chosen() {
    let home = Home::new();
    let model = Model::start(vec![Play::words("ok")]);
    let mut config = model.config();
    let second = json!({"id": "mock-2", "name": "Mock Two", "contextWindow": 1000, "maxTokens": 10});
    config["models"]["providers"]["mock"]["models"].as_array_mut().unwrap().push(second);
    let gateway = start_for(&home, config, json!({}));
    for (lines, name, asked) in [
        ("", "gpt-4o", "mock-1"),
        ("", "mock/mock-2", "mock-2"),
        ("", "openai/gpt-4o", "mock-1"),
        ("x-openclaw-model: mock/mock-2\r\n", "openclaw", "mock-2"),
        ("x-openclaw-model: mock/unlisted\r\n", "openclaw/default", "unlisted"),
    ] {
        let answer = asking(&gateway, lines, &with(hi(), json!({"model": name}))).answer();
        assert_eq!((answer.status, &answer.json()["model"]), (200, &json!(name)), "{answer:?}");
        assert_eq!(model.requests().pop().unwrap()["model"], asked, "{lines} {name}");
    }
    let answer = asking(&gateway, "x-openclaw-model: zz/zz\r\n", &hi()).answer();
    assert_eq!(answer.status, 404, "{answer:?}");
    assert!(answer.json()["error"]["message"].as_str().is_some_and(|m| m.starts_with("Unknown model: zz/zz")));
}

#[test]
fn failures_have_their_status_and_say_whether_a_retry_helps() {
    let home = Home::new();
    let model = Model::start(vec![Play::words("x")]);
    let keyless = json!({"id": "keyless", "model": "anthropic/claude-opus-4-6"});
    let gateway = start(&home, &model, json!({"agents": {"list": [{"id": "main", "default": true}, keyless]}}));
    let play =
        |status: u16, body: &str, headers: Vec<(&'static str, String)>| Play::Status(status, body.into(), headers);
    for (play, status, text, again) in [
        (play(401, r#"{"error":{"message":"bad key"}}"#, vec![]), 401, "401 bad key", false),
        (play(429, "{}", vec![("retry-after", "99".into())]), 429, "⚠️ API rate limit reached", true),
        (play(400, r#"{"error":{"message":"mock failure"}}"#, vec![]), 502, "400 mock failure", false),
        (play(404, r#"{"error":{"message":"nope"}}"#, vec![]), 502, "404 nope", false),
    ] {
        model.set(vec![play]);
        let answer = chat(&gateway, hi());
        assert_eq!(answer.status, status, "{answer:?}");
        let message = answer.json()["error"]["message"].as_str().unwrap_or_default().to_owned();
        assert!(message.starts_with(text), "{message}");
        assert_eq!(answer.header("x-should-retry"), (!again).then_some("false"), "{answer:?}");
        assert_eq!(answer.header("retry-after"), again.then_some("99"), "{answer:?}");
        let got = events(&gateway, "", hi());
        assert_eq!(got[0]["choices"][0]["delta"], json!({"role": "assistant"}));
        assert_eq!(got[1], answer.json(), "a stream says the same");
        assert_eq!(got.len(), 2);
    }
    // A key that was never given is nothing that a retry brings.
    let nobody = asking(&gateway, "", &with(hi(), json!({"model": "openclaw:keyless"}))).answer();
    let text = nobody.json()["error"]["message"].as_str().unwrap_or_default().to_owned();
    assert_eq!((nobody.status, nobody.header("x-should-retry")), (500, Some("false")), "{nobody:?}");
    assert!(text.starts_with("No API key found for provider \"anthropic\""), "{text}");
    // In the middle of an answer.
    model.set(vec![Play::Break(vec!["half ".into()])]);
    let got = events(&gateway, "", hi());
    assert_eq!(got[1]["choices"][0]["delta"]["content"], "half", "{got:?}");
    assert_eq!(got.last().unwrap()["error"]["type"], "api_error", "{got:?}");
    assert_eq!(chat(&gateway, hi()).status, 502);
}

#[test]
fn a_run_that_takes_too_long_or_is_stopped_answers_so() {
    let home = Home::new();
    let model = Model::start(vec![Play::Stall(vec!["some ".into()])]);
    let gateway = start(&home, &model, json!({"agents": {"defaults": {"timeoutSeconds": 1}}}));
    let answer = chat(&gateway, hi());
    assert_eq!((answer.status, answer.header("x-should-retry")), (504, Some("false")), "{answer:?}");
    let got = events(&gateway, "", hi());
    assert!(got.last().unwrap()["error"]["message"].as_str().is_some_and(|m| m.contains("timed out")), "{got:?}");
    drop(gateway);

    let home = Home::new();
    let mut gateway = start(&home, &model, json!({}));
    let served = model.served();
    let (mut whole, mut pieces) =
        (asking(&gateway, "", &hi()), asking(&gateway, "", &with(hi(), json!({"stream": true}))));
    wait_until("both run", || model.served() == served + 2);
    assert_eq!(gateway.stop(), Some(0));
    let answer = whole.answer();
    assert_eq!((answer.status, answer.header("x-should-retry")), (503, None), "{answer:?}");
    let (_, got) = stream(&mut pieces);
    assert!(got[got.len() - 2].contains("the gateway is restarting") && got[got.len() - 1] == "[DONE]", "{got:?}");
}

#[test]
fn one_session_takes_turns_and_others_do_not_wait() {
    let home = Home::new();
    let model = Model::start(vec![Play::Stall(vec!["a ".into()])]);
    let gateway = start(&home, &model, json!({}));
    let say = |text: &str| json!({"messages": [{"role": "user", "content": text}], "user": "ann"});
    let first = asking(&gateway, "", &say("one"));
    wait_until("the first runs", || model.served() == 1);
    let mut second = asking(&gateway, "", &with(say("two"), json!({"stream": true})));
    // A stream begins when its run is accepted.
    assert_eq!(second.try_answer(false).expect("an answer").status, 200);
    let third = asking(&gateway, "", &with(say("three"), json!({"user": "bob"})));
    wait_until("the third runs", || model.served() == 2);
    let last = |body: &Value| body["messages"].as_array().unwrap().last().unwrap()["content"].clone();
    assert_eq!(last(&model.requests()[1]), "three", "the second waits for the first");
    model.set(vec![Play::words("done")]);
    drop(first);
    assert!(second.chunks().contains("\"content\":\"done\""));
    assert_eq!(last(&model.requests()[2]), "two");
    drop(third);
}

#[test]
fn a_client_that_hangs_up_ends_the_run_while_the_model_is_silent() {
    let home = Home::new();
    let model = Model::start(vec![Play::Stall(vec![])]);
    let gateway = start(&home, &model, json!({}));
    for (n, body) in [hi(), with(hi(), json!({"stream": true}))].into_iter().enumerate() {
        let raw = asking(&gateway, "", &body);
        wait_until("the model is asked", || model.served() == n + 1);
        assert_eq!(model.hung_up(), n);
        drop(raw);
        wait_until("the model's connection is closed", || model.hung_up() == n + 1);
    }
    // Who only has nothing more to ask still gets the answer.
    for body in [hi(), with(hi(), json!({"stream": true}))] {
        model.set(vec![Play::slow("late but whole", Duration::from_millis(150))]);
        let mut raw = asking(&gateway, "", &body);
        raw.stream.shutdown(Shutdown::Write).expect("a socket");
        let bytes = raw.rest();
        let text = String::from_utf8_lossy(&bytes);
        assert!(text.contains("whole") && text.contains("stop"), "{text}");
    }
}

#[test]
fn sixty_four_streams_at_once() {
    let home = Home::new();
    let model = Model::start(vec![Play::slow("one two three four five", Duration::from_millis(40))]);
    let gateway = start(&home, &model, json!({"agents": {"defaults": {"maxConcurrent": 64}}}));
    let began = Instant::now();
    let mut raws: Vec<Raw> = (0..64).map(|_| asking(&gateway, "", &with(hi(), json!({"stream": true})))).collect();
    for raw in &mut raws {
        let (_, got) = stream(raw);
        let text: String = got
            .iter()
            .filter_map(|event| serde_json::from_str::<Value>(event).ok())
            .filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str().map(str::to_owned))
            .collect();
        assert_eq!((text.as_str(), got.last().unwrap().as_str()), ("one two three four five", "[DONE]"));
    }
    assert_eq!(model.served(), 64);
    assert!(
        began.elapsed() < Duration::from_secs(12),
        "one after the other they would take 13 s: {:?}",
        began.elapsed()
    );
    for raw in &mut raws {
        raw.send(request("GET", "/v1/models", "", "").as_bytes());
        assert_eq!(raw.answer().status, 200);
    }
}

#[test]
fn a_repeated_key_gets_the_same_answer_and_no_second_run() {
    let home = Home::new();
    let model = Model::start(vec![Play::Stall(vec!["a ".into()])]);
    let gateway = start(&home, &model, json!({}));
    let key = "Idempotency-Key: k1\r\n";
    // The first client is gone; its run goes on for the repetition.
    let first = asking(&gateway, key, &hi());
    wait_until("the model is asked", || model.served() == 1);
    drop(first);
    let mut second = asking(&gateway, key, &hi());
    let mut other = asking(&gateway, "Idempotency-Key: k2\r\n", &hi());
    wait_until("another key is another run", || model.served() == 2);
    assert_eq!(model.hung_up(), 0);
    let mut client = Client::connect(gateway.port);
    assert_eq!(client.call("sessions.list", json!({}))["sessions"], json!([]));
    drop(model);
    // The model is gone: both fail, and a failure may be tried again.
    assert_eq!((second.answer().status, other.answer().status), (502, 502));

    let home = Home::new();
    let model = Model::start(vec![calls_weather(), Play::words("other")]);
    let gateway = start(&home, &model, json!({}));
    let ask = with(hi(), json!({"tools": weather()}));
    let once = asking(&gateway, key, &ask).answer().json();
    assert_eq!(asking(&gateway, key, &ask).answer().json(), once);
    assert_eq!(model.served(), 1);
    let changed = asking(&gateway, key, &with(ask.clone(), json!({"stream": true})));
    assert_eq!(stream(&mut { changed }).1.len(), 4, "another request under the same key is another one");
    let streamed = events(&gateway, key, ask);
    assert_eq!(streamed[1]["choices"][0]["delta"]["content"], "other");
    assert_eq!(model.served(), 2);
    // An answer that is too large to be kept is not made twice either.
    model.set(vec![Play::words(&"x".repeat(1 << 20))]);
    let large = json!({"messages": [{"role": "user", "content": "large"}]});
    assert_eq!(asking(&gateway, key, &large).answer().status, 200);
    let answer = asking(&gateway, key, &large).answer();
    assert_eq!((answer.status, answer.header("x-should-retry"), model.served()), (409, Some("false"), 3), "{answer:?}");
    let long = format!("Idempotency-Key: {}\r\n", "k".repeat(513));
    assert_eq!(asking(&gateway, &long, &hi()).answer().status, 400);
}

#[test]
fn requests_that_cannot_be_answered() {
    let home = Home::new();
    let model = Model::start(vec![Play::words("ok")]);
    let small =
        json!({"gateway": {"http": {"endpoints": {"chatCompletions": {"maxBodyBytes": 2000, "maxImageParts": 1}}}}});
    let gateway = start(&home, &model, small);
    let post = |body: &str| Raw::saying(gateway.port, &request("POST", "/v1/chat/completions", "", body)).answer();
    let missing = "Missing user message in `messages`.";
    for (body, status, text) in [
        ("{bad", 400, "key must be a string"),
        ("{\"messages\":", 400, "EOF while parsing"),
        ("", 400, missing),
        ("[]", 400, missing),
        ("null", 400, missing),
        ("{\"messages\":[{\"role\":\"system\",\"content\":\"s\"}]}", 400, missing),
        ("{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"temperature\":3}", 400, "`temperature` must be"),
        (
            "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"tool_choice\":\"required\"}",
            400,
            "Invalid tools/tool_choice: tool_choice=required but no tools were provided",
        ),
        ("{\"messages\":[{\"role\":\"user\",\"content\":\"a\\u0000b\"}]}", 400, "null bytes"),
        (&"x".repeat(2001), 413, "Payload too large"),
    ] {
        let answer = post(body);
        let error = &answer.json()["error"];
        assert_eq!((answer.status, &error["type"]), (status, &json!("invalid_request_error")), "{body}: {answer:?}");
        assert!(error["message"].as_str().is_some_and(|m| m.contains(text)), "{body}: {error}");
    }
    assert_eq!(model.served(), 0);
    // Lenient where nothing is lost.
    let odd = json!({"model": null, "messages": [null, {"role": "user", "content": "x", "name": 7}], "n": 2, "store": true,
        "stream": null, "tools": null, "user": null, "metadata": {"a": "b"}, "parallel_tool_calls": false});
    assert_eq!(chat(&gateway, odd).status, 200);
    let text = request("POST", "/v1/chat/completions", "Content-Type: text/plain\r\n", &hi().to_string());
    assert_eq!(Raw::saying(gateway.port, &text).answer().status, 200);
    let get = Raw::saying(gateway.port, &request("GET", "/v1/chat/completions", "", "")).answer();
    assert_eq!((get.status, get.header("allow"), get.body.as_str()), (405, Some("POST"), "Method Not Allowed"));
    let nobody =
        Raw::saying(gateway.port, "POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}")
            .answer();
    assert_eq!(
        (nobody.status, nobody.json()),
        (401, json!({"error": {"message": "Unauthorized", "type": "unauthorized"}}))
    );
}

#[test]
fn agents_are_listed_as_models() {
    let home = Home::new();
    let model = Model::start(vec![Play::words("ok")]);
    let agents = json!({"agents": {"list": [{"id": "main", "default": true}, {"id": "beta"}]}});
    let gateway = start(&home, &model, agents);
    let ask = |method: &str, path: &str| {
        Raw::saying(gateway.port, &request(method, path, "", "")).try_answer(method != "HEAD").unwrap()
    };
    let list = ask("GET", "/v1/models").json();
    assert_eq!(list["object"], "list");
    let ids: Vec<&str> = list["data"].as_array().unwrap().iter().map(|m| m["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["openclaw", "openclaw/default", "openclaw/main", "openclaw/beta"]);
    let one = &list["data"][0];
    assert!(one["created"].as_u64().is_some_and(|at| at > 1_700_000_000), "{one}");
    assert_eq!(
        (&one["object"], &one["owned_by"], &one["permission"]),
        (&json!("model"), &json!("openclaw"), &json!([]))
    );
    for (path, id) in [
        ("/v1/models/openclaw", "openclaw"),
        ("/v1/models/openclaw%2Fbeta", "openclaw/beta"),
        ("/v1/models/openclaw/beta", "openclaw/beta"),
        ("/v1/models/openclaw%3Amain?x=y", "openclaw:main"),
    ] {
        assert_eq!(ask("GET", path).json()["id"], id, "{path}");
    }
    for (path, status, text) in [
        ("/v1/models/openclaw%2Fzzz", 404, "Model 'openclaw/zzz' not found."),
        ("/v1/models/zzz", 400, "Invalid model id."),
    ] {
        let answer = ask("GET", path);
        assert_eq!(answer.status, status);
        assert_eq!(answer.json(), json!({"error": {"message": text, "type": "invalid_request_error"}}));
    }
    let head = ask("HEAD", "/v1/models");
    assert_eq!((head.status, head.header("content-type")), (200, Some("application/json; charset=utf-8")));
    let post = ask("POST", "/v1/models");
    assert_eq!((post.status, post.header("allow")), (405, Some("GET, HEAD")));
    assert_eq!(gateway.get("/v1/models").0, 401);
    drop(gateway);
    // Off unless switched on.
    let home = Home::new();
    home.configure(model.config());
    let gateway = Gateway::start(&home, &[]);
    for path in ["/v1/models", "/v1/chat/completions", "/v1/embeddings"] {
        assert_eq!(Raw::saying(gateway.port, &request("GET", path, "", "")).answer().status, 404, "{path}");
    }
}

#[test]
fn embeddings_come_from_a_provider_or_say_why_not() {
    let home = Home::new();
    let result = json!({"object": "list", "data": [{"object": "embedding", "index": 0, "embedding": [0.5]}],
        "model": "embed-1", "usage": {"prompt_tokens": 1, "total_tokens": 1}});
    let model = Model::start(vec![Play::status(200, &result.to_string())]);
    let mut config = model.config();
    config["models"]["providers"]["claude"] = model.provider("anthropic-messages");
    let gateway = start_for(&home, config, json!({}));
    let ask = |lines: &str, body: Value| {
        Raw::saying(gateway.port, &request("POST", "/v1/embeddings", lines, &body.to_string())).answer()
    };
    for (lines, name) in [("", "mock/embed-1"), ("x-openclaw-model: mock/embed-1\r\n", "openclaw")] {
        let answer = ask(
            lines,
            json!({"model": name, "input": ["a", "b"], "dimensions": 3, "encoding_format": "float", "x": 1}),
        );
        assert_eq!((answer.status, answer.json()), (200, result.clone()));
        let asked = model.asked().pop().unwrap();
        assert_eq!((asked.path.as_str(), asked.header("authorization")), ("/v1/embeddings", Some("Bearer mock-key")));
        assert_eq!(
            asked.body,
            json!({"model": "embed-1", "input": ["a", "b"], "dimensions": 3, "encoding_format": "float"})
        );
    }
    let served = model.served();
    for (body, status, text) in [
        (json!({"model": "mock/embed-1"}), 400, "`input` must be a string or an array of strings."),
        (json!({"model": "mock/embed-1", "input": [{}]}), 400, "`input` must be"),
        (json!({"model": "openclaw", "input": "x"}), 400, "No embedding model is named"),
        (json!({"input": "x"}), 400, "No embedding model is named"),
        (json!({"model": "claude/x", "input": "x"}), 400, "claude/x has no embeddings"),
        (json!({"model": "zz/x", "input": "x"}), 404, "Unknown model: zz/x"),
    ] {
        let answer = ask("", body.clone());
        assert_eq!(answer.status, status, "{body}");
        assert!(answer.json()["error"]["message"].as_str().is_some_and(|m| m.starts_with(text)), "{body}: {answer:?}");
    }
    assert_eq!(model.served(), served);
    for (play, status) in [
        (Play::status(401, r#"{"error":{"message":"bad key"}}"#), 401),
        (Play::status(404, r#"{"error":{"message":"no such model"}}"#), 400),
        (Play::status(500, ""), 502),
        (Play::status(200, "no JSON"), 502),
        (Play::Break(vec![]), 502),
    ] {
        model.set(vec![play]);
        let answer = ask("", json!({"model": "mock/e", "input": "x"}));
        assert_eq!(answer.status, status, "{answer:?}");
    }
}
