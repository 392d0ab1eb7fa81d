//! `POST /v1/responses` as its clients meet it (http 4 and 13).

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::thread;

use serde_json::{Value, json};

use crate::common::client::Client;
use crate::common::model::{Model, Play};
use crate::common::raw::{Answer, Raw};
use crate::common::{Gateway, Home, TOKEN, merge, wait_until};

const PNG: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkqAcAAIUAgUW0RjgAAAAASUVORK5CYII=";

fn config(model: &Model, more: Value) -> Value {
    let mut config = model.config();
    config["models"]["providers"]["mock"]["models"][0]["input"] = json!(["text", "image"]);
    merge(&mut config, json!({"gateway": {"http": {"endpoints": {"responses": {"enabled": true}}}}}));
    merge(&mut config, more);
    config
}

fn start(home: &Home, model: &Model, more: Value) -> Gateway {
    home.configure(config(model, more));
    Gateway::start(home, &[])
}

fn request(lines: &str, body: &str) -> String {
    format!(
        "POST /v1/responses HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {TOKEN}\r\n{lines}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// A connection on which a request was sent.
fn asking(gateway: &Gateway, lines: &str, body: &Value) -> Raw {
    Raw::saying(gateway.port, &request(lines, &body.to_string()))
}

fn ask_with(gateway: &Gateway, lines: &str, body: Value) -> Answer {
    asking(gateway, lines, &with(json!({"model": "openclaw"}), body)).answer()
}

fn ask(gateway: &Gateway, body: Value) -> Answer {
    ask_with(gateway, "", body)
}

/// The response to a request that goes well.
fn response(gateway: &Gateway, body: Value) -> Value {
    let answer = ask(gateway, body);
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

fn with(mut body: Value, extra: Value) -> Value {
    merge(&mut body, extra);
    body
}

/// Names of the events of a stream, and their data.
fn events(gateway: &Gateway, body: Value) -> Vec<(String, Value)> {
    let body = with(json!({"model": "openclaw", "stream": true}), body);
    stream(&mut asking(gateway, "", &body))
}

fn stream(raw: &mut Raw) -> Vec<(String, Value)> {
    let head = raw.try_answer(false).expect("an answer");
    assert_eq!((head.status, head.header("content-type")), (200, Some("text/event-stream; charset=utf-8")), "{head:?}");
    assert_eq!(head.header("cache-control"), Some("no-cache"));
    let text = raw.chunks();
    let text = text.strip_suffix("data: [DONE]\n\n").unwrap_or_else(|| panic!("{text}"));
    let events = text.split("\n\n").filter(|event| !event.is_empty());
    let read = |(n, event): (usize, &str)| {
        let (name, data) = event.strip_prefix("event: ").and_then(|e| e.split_once("\ndata: ")).expect(event);
        let data: Value = serde_json::from_str(data).expect(event);
        assert_eq!((&data["type"], &data["sequence_number"]), (&json!(name), &json!(n)), "{event}");
        (name.to_owned(), data)
    };
    events.enumerate().map(read).collect()
}

fn names(events: &[(String, Value)]) -> Vec<&str> {
    events.iter().map(|(name, _)| name.strip_prefix("response.").unwrap_or(name)).collect()
}

fn weather() -> Value {
    json!([{"type": "function", "name": "get_weather", "description": "d",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}])
}

fn calls_weather() -> Play {
    Play::Tool("Looking.", "get_weather", json!({"city": "Oslo"}))
}

/// What the model was told last, but for the system prompt: roles and texts.
fn told(model: &Model) -> Vec<(String, String)> {
    let asked = model.requests().pop().expect("a request");
    let told = asked["messages"].as_array().expect("messages")[1..].iter().map(|message| {
        let text = message["content"].as_str().map(str::to_owned);
        (
            message["role"].as_str().unwrap_or_default().to_owned(),
            text.unwrap_or_else(|| message["content"].to_string()),
        )
    });
    told.collect()
}

fn system(model: &Model) -> String {
    model.requests().pop().expect("a request")["messages"][0]["content"].as_str().expect("a text").to_owned()
}

fn pairs(told: &[(String, String)]) -> Vec<(&str, &str)> {
    told.iter().map(|(role, text)| (role.as_str(), text.as_str())).collect()
}

fn sessions(gateway: &Gateway) -> Vec<String> {
    let list = Client::connect(gateway.port).call("sessions.list", json!({}));
    list["sessions"].as_array().unwrap().iter().map(|s| s["key"].as_str().unwrap().to_owned()).collect()
}

fn message_of(answer: &Answer) -> String {
    answer.json()["error"]["message"].as_str().unwrap_or_else(|| panic!("{answer:?}")).to_owned()
}

#[test]
fn an_answer_whole_and_in_pieces() {
    let home = Home::new();
    let model = Model::start(vec![Play::words("Hello from here")]);
    let gateway = start(&home, &model, json!({}));
    let body = response(&gateway, json!({"model": "gpt-4o", "input": "hi", "instructions": "INST"}));
    let uuid = body["id"].as_str().and_then(|id| id.strip_prefix("resp_")).expect("an id").to_owned();
    assert_eq!(uuid.len(), 36);
    assert!(body["created_at"].as_u64().is_some_and(|at| at > 1_700_000_000), "{body}");
    let content = json!([{"type": "output_text", "text": "Hello from here", "annotations": []}]);
    let item = json!({"type": "message", "id": format!("msg_{uuid}"), "role": "assistant", "content": content,
        "phase": "final_answer", "status": "completed"});
    let want = json!({"id": format!("resp_{uuid}"), "object": "response", "created_at": body["created_at"],
        "status": "completed", "model": "gpt-4o", "output": [item],
        "usage": {"input_tokens": 100, "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
            "output_tokens": 20, "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": 120},
        "error": null, "incomplete_details": null, "parallel_tool_calls": true, "text": {"format": {"type": "text"}},
        "tools": [], "tool_choice": "auto",
        "previous_response_id": null});
    assert_eq!(body, want);
    assert!(system(&model).contains("INST"));

    // Two streams and a whole answer on one connection.
    let streamed = json!({"model": "openclaw/main", "input": [{"role": "user", "content": "hi"}], "stream": true});
    let mut raw = asking(&gateway, "", &streamed);
    for _ in 0..2 {
        let got = stream(&mut raw);
        let deltas: Vec<&str> = got.iter().filter_map(|(_, data)| data["delta"].as_str()).collect();
        assert_eq!(deltas.concat(), "Hello from here");
        let begin = ["created", "in_progress", "output_item.added", "content_part.added"];
        let end = ["output_text.done", "content_part.done", "output_item.done", "completed"];
        assert_eq!(names(&got), [&begin[..], &vec!["output_text.delta"; deltas.len()], &end].concat());
        let last = &got.last().unwrap().1["response"];
        assert_eq!((&last["status"], &last["usage"]["total_tokens"]), (&json!("completed"), &json!(120)));
        assert_eq!((&last["id"], &last["model"]), (&got[0].1["response"]["id"], &json!("openclaw/main")));
        raw.send(request("", &streamed.to_string()).as_bytes());
    }
    stream(&mut raw);
    raw.send(request("", &json!({"model": "x", "input": "hi"}).to_string()).as_bytes());
    assert_eq!(raw.answer().status, 200);

    let cut =
        "data: {\"choices\":[{\"delta\":{\"content\":\"cut\"},\"finish_reason\":\"length\"}]}\n\ndata: [DONE]\n\n";
    model.set(vec![Play::Raw(cut.into())]);
    let body = response(&gateway, json!({"input": "hi", "max_output_tokens": 1}));
    assert_eq!(body["incomplete_details"], json!({"reason": "max_output_tokens"}));
    let got = events(&gateway, json!({"input": "hi"}));
    assert_eq!(
        (names(&got).last(), &got.last().unwrap().1["response"]["status"]),
        (Some(&"incomplete"), &json!("incomplete"))
    );
    assert_eq!(sessions(&gateway), Vec::<String>::new());
}

#[test]
fn what_was_asked_for_reaches_the_model() {
    let home = Home::new();
    let model = Model::start(vec![Play::words("ok")]);
    let gateway = start(&home, &model, json!({}));
    let body = json!({"instructions": "INST", "temperature": 0.1, "top_p": 0.9, "max_output_tokens": 50, "tools": weather(),
        "tool_choice": "none", "metadata": {"a": "b"}, "store": false, "parallel_tool_calls": true, "include": [],
        "text": {"format": {"type": "json_object"}}, "service_tier": "auto", "truncation": "disabled", "max_tool_calls": 3,
        "input": [{"role": "developer", "content": "SYS"}, {"role": "user", "content": "first"},
            {"type": "reasoning", "id": "r", "summary": []}, {"role": "assistant", "content": "prev"},
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "look"},
                {"type": "input_image", "image_url": format!("data:image/png;base64,{PNG}"), "detail": "auto"},
                {"type": "input_file", "filename": "hello.txt", "file_data": "data:text/plain;base64,SGVsbG8gRklMRQ=="}]}]});
    response(&gateway, body);
    let asked = model.requests().pop().unwrap();
    assert!(system(&model).contains("INST\n\nSYS\n\n<file name=\"hello.txt\">\n"), "{asked}");
    assert!(system(&model).contains("Hello FILE"));
    let said = told(&model);
    assert_eq!(pairs(&said)[..2], [("user", "first"), ("assistant", "prev")]);
    let image = json!([{"type": "text", "text": "look"},
        {"type": "image_url", "image_url": {"url": format!("data:image/png;base64,{PNG}")}}]);
    assert_eq!(asked["messages"][3]["content"], image);
    for (key, want) in [
        ("temperature", json!(0.1)),
        ("top_p", json!(0.9)),
        ("max_completion_tokens", json!(50)),
        ("tool_choice", json!("none")),
        ("response_format", json!({"type": "json_object"})),
    ] {
        assert_eq!(asked[key], want, "{key}");
    }
    assert_eq!(asked["tools"][0]["function"]["name"], "get_weather");
}

#[test]
fn requests_that_cannot_be_answered() {
    let home = Home::new();
    let model = Model::start(vec![Play::words("ok")]);
    let gateway =
        start(&home, &model, json!({"gateway": {"http": {"endpoints": {"responses": {"maxBodyBytes": 4096}}}}}));
    let part = |part: Value| json!({"model": "m", "input": [{"role": "user", "content": [part]}]});
    for (body, text) in [
        (json!({"input": "x"}), "model: Invalid input: expected string, received undefined"),
        (json!({"model": "m"}), "Missing user message in `input`."),
        (json!({"model": "m", "input": ""}), "Missing user message in `input`."),
        (json!({"model": "m", "input": "x", "tool_choice": "required"}), "invalid tool configuration"),
        (json!({"model": "openclaw/nosuch", "input": "x"}), "Unknown agent 'nosuch'."),
        (
            part(json!({"type": "input_image", "source": {"type": "url", "url": "http://127.0.0.1:1/x.png"}})),
            "invalid request",
        ),
        (
            part(json!({"type": "input_file", "source": {"type": "base64", "media_type": "application/pdf",
            "data": "JVBERi0=", "filename": "a.pdf"}})),
            "invalid request: PDF files cannot be read here",
        ),
        (json!({"model": "m", "input": "x".repeat(5000)}), "Payload too large"),
    ] {
        let answer = Raw::saying(gateway.port, &request("", &body.to_string())).answer();
        let status = if text.starts_with("Payload") { 413 } else { 400 };
        assert_eq!(
            (answer.status, &answer.json()["error"]["type"]),
            (status, &json!("invalid_request_error")),
            "{answer:?}"
        );
        assert!(message_of(&answer).starts_with(text), "{answer:?}");
    }
    assert_eq!(Raw::saying(gateway.port, &request("", "{")).answer().status, 400);
    let get = format!("GET /v1/responses HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {TOKEN}\r\n\r\n");
    let answer = Raw::saying(gateway.port, &get).answer();
    assert_eq!(
        (answer.status, answer.header("allow"), answer.body.as_str()),
        (405, Some("POST"), "Method Not Allowed")
    );
    let answer = Raw::saying(gateway.port, &get.replace("/responses ", "/responses/resp_1 ")).answer();
    assert_eq!((answer.status, &answer.json()["error"]["type"]), (404, &json!("invalid_request_error")));
    let stranger = Raw::saying(gateway.port, &request("", "{}").replace(TOKEN, "wrong")).answer();
    assert_eq!((stranger.status, message_of(&stranger).as_str()), (401, "Unauthorized"));
    assert_eq!(model.served(), 0);

    let off = Home::new();
    off.configure(json!({}));
    let closed = Gateway::start(&off, &[]);
    let answer = ask(&closed, json!({"input": "x"}));
    assert_eq!((answer.status, &answer.json()["error"]["type"]), (404, &json!("invalid_request_error")));
}

#[test]
fn failures_of_the_provider_are_no_answers() {
    let home = Home::new();
    let model = Model::start(vec![Play::status(401, "{\"error\":{\"message\":\"bad key\"}}")]);
    let gateway = start(&home, &model, json!({}));
    let answer = ask(&gateway, json!({"input": "x"}));
    assert_eq!((answer.status, answer.header("x-should-retry")), (401, Some("false")), "{answer:?}");
    let body = answer.json();
    assert_eq!((&body["status"], &body["output"], &body["object"]), (&json!("failed"), &json!([]), &json!("response")));
    assert_eq!((&body["error"]["code"], &body["error"]["type"]), (&json!("api_error"), &json!("api_error")));
    assert!(message_of(&answer).contains("bad key"), "{body}");
    let got = events(&gateway, json!({"input": "x"}));
    assert_eq!(names(&got).last(), Some(&"failed"));
    let last = &got.last().unwrap().1["response"];
    assert_eq!((&last["status"], &last["error"]), (&json!("failed"), &body["error"]));
    // It cannot be gone on with.
    model.set(vec![Play::words("ok")]);
    let id = last["id"].clone();
    assert_eq!(
        response(&gateway, json!({"input": "y", "previous_response_id": id}))["previous_response_id"],
        Value::Null
    );

    model.set(vec![Play::words("I would rather not")]);
    let must = json!({"input": "x", "tools": weather(), "tool_choice": "required"});
    let answer = ask(&gateway, must.clone());
    let text = "tool_choice=required was not satisfied by the agent response";
    assert_eq!((answer.status, message_of(&answer).as_str()), (502, text));
    assert_eq!(events(&gateway, must).last().unwrap().1["response"]["error"]["message"], text);
}

#[test]
fn functions_of_the_client_make_the_round_trip() {
    let home = Home::new();
    let model = Model::start(vec![calls_weather()]);
    let gateway = start(&home, &model, json!({}));
    let question = json!({"input": "weather?", "tools": weather()});
    let call = |uuid: &str| {
        json!({"type": "function_call", "id": format!("call_{uuid}"), "call_id": "call_1", "name": "get_weather",
            "arguments": "{\"city\":\"Oslo\"}", "status": "completed"})
    };
    let want = [("user", "weather?"), ("assistant", "Looking."), ("tool", "72F")];
    // The client sends the whole conversation again.
    let body = response(&gateway, question.clone());
    let uuid = body["id"].as_str().unwrap()["resp_".len()..].to_owned();
    assert_eq!((&body["status"], &body["output"][1]), (&json!("completed"), &call(&uuid)));
    assert_eq!(body["output"][0]["phase"], "commentary");
    model.set(vec![Play::words("It is 72F")]);
    let output = json!({"type": "function_call_output", "call_id": "call_1", "output": "72F"});
    let mut input = vec![json!({"role": "user", "content": "weather?"})];
    input.extend(body["output"].as_array().unwrap().iter().cloned());
    input.push(output.clone());
    let body = response(&gateway, json!({"input": input, "tools": weather()}));
    assert_eq!(body["output"][0]["content"][0]["text"], "It is 72F");
    assert_eq!(pairs(&told(&model)), want);
    assert_eq!(model.requests().pop().unwrap()["messages"][2]["tool_calls"][0]["id"], "call_1");

    // The client names the response instead; without a session, and in one.
    for user in [json!({}), json!({"user": "ann"})] {
        model.set(vec![calls_weather()]);
        let got = events(&gateway, with(question.clone(), user.clone()));
        let of_call =
            ["output_item.added", "function_call_arguments.delta", "function_call_arguments.done", "output_item.done"];
        assert!(names(&got).ends_with(&[&of_call[..], &["completed"]].concat()), "{got:?}");
        let last = &got.last().unwrap().1["response"];
        let uuid = last["id"].as_str().unwrap()["resp_".len()..].to_owned();
        assert_eq!(last["output"][1], call(&uuid));
        model.set(vec![Play::words("It is 72F")]);
        let back = json!({"input": [output], "previous_response_id": last["id"], "tools": weather()});
        let body = response(&gateway, back);
        assert_eq!(body["previous_response_id"], last["id"]);
        assert_eq!(pairs(&told(&model)), want, "{user}");
        // And on.
        response(&gateway, json!({"input": "thanks", "previous_response_id": body["id"]}));
        let all = [&want[..], &[("assistant", "It is 72F"), ("user", "thanks")]].concat();
        assert_eq!(pairs(&told(&model)), all, "{user}");
    }
    assert_eq!(sessions(&gateway), ["agent:main:openresponses-user:ann"]);
}

#[test]
fn a_response_is_gone_on_with_by_whoever_had_it() {
    let home = Home::new();
    let model = Model::start(vec![Play::words("one")]);
    let agents = json!({"agents": {"list": [{"id": "main", "default": true}, {"id": "beta"}]}});
    let gateway = start(&home, &model, agents);
    let file = json!([{"role": "user", "content": [{"type": "input_text", "text": "a"},
        {"type": "input_file", "filename": "a.txt", "file_data": "SGVsbG8gRklMRQ=="}]}]);
    let first = response(&gateway, json!({"input": file, "instructions": "ONCE"}));
    let on = |lines: &str, body: Value| {
        ask_with(&gateway, lines, with(json!({"previous_response_id": first["id"]}), body)).json()
    };
    model.set(vec![Play::words("two")]);
    let second = on("", json!({"input": "b"}));
    assert_eq!(second["previous_response_id"], first["id"]);
    assert_eq!(pairs(&told(&model)), [("user", "a"), ("assistant", "one"), ("user", "b")]);
    // What a file said stays known; instructions are those of each request.
    assert!(system(&model).contains("Hello FILE") && !system(&model).contains("ONCE"));
    // Another branch, and the first one further.
    on("", json!({"input": "c", "store": false}));
    assert_eq!(pairs(&told(&model)), [("user", "a"), ("assistant", "one"), ("user", "c")]);
    response(&gateway, json!({"input": "d", "previous_response_id": second["id"]}));
    assert_eq!(told(&model).len(), 5);
    // Others do not find it.
    for (lines, body) in [
        ("", json!({"input": "x", "previous_response_id": "resp_x"})),
        ("", json!({"input": "x", "model": "openclaw/beta"})),
        ("x-openclaw-session-key: mine\r\n", json!({"input": "x"})),
    ] {
        let body = on(lines, body);
        assert_eq!(
            (&body["previous_response_id"], pairs(&told(&model))),
            (&Value::Null, vec![("user", "x")]),
            "{lines}"
        );
    }
    let unkept = response(&gateway, json!({"input": "s", "store": false}));
    response(&gateway, json!({"input": "t", "previous_response_id": unkept["id"]}));
    assert_eq!(pairs(&told(&model)), [("user", "t")]);
    assert_eq!(sessions(&gateway), ["agent:main:mine"]);
}

#[test]
fn items_that_a_client_refers_to_are_part_of_the_conversation() {
    // So the AI SDK of Vercel goes on: what it had from here it names, the rest it sends.
    let home = Home::new();
    let model = Model::start(vec![calls_weather(), Play::words("It is 72F")]);
    let gateway = start(&home, &model, json!({}));
    let by = |item: &Value| json!({"type": "item_reference", "id": item["id"]});
    for user in [json!({}), json!({"user": "ann"})] {
        model.set(vec![calls_weather(), Play::words("It is 72F")]);
        let more = |body: Value| with(with(json!({"tools": weather()}), user.clone()), body);
        let first = response(&gateway, more(json!({"input": "weather?"})));
        let items = &first["output"];
        let result = json!({"type": "function_call_output", "call_id": items[1]["call_id"], "output": "72F"});
        let mut input = vec![json!({"role": "user", "content": "weather?"}), by(&items[0]), by(&items[1]), result];
        let second = response(&gateway, more(json!({"input": input})));
        let so_far = [("user", "weather?"), ("assistant", "Looking."), ("tool", "72F")];
        assert_eq!(pairs(&told(&model)), so_far, "{user}");
        // `type` may be left out; what is named twice is there once, and what nobody knows is not.
        input.extend([json!({"id": second["output"][0]["id"]}), by(&items[0]), by(&json!({"id": "rs_1"}))]);
        input.push(json!({"role": "user", "content": "thanks"}));
        response(&gateway, more(json!({"input": input})));
        let all = [&so_far[..], &[("assistant", "It is 72F"), ("user", "thanks")]].concat();
        assert_eq!(pairs(&told(&model)), all, "{user}");
        // Somebody else's conversation stays theirs.
        let lines = "x-openclaw-session-key: mine\r\n";
        let foreign = json!({"input": [by(&items[0]), {"role": "user", "content": "x"}]});
        ask_with(&gateway, lines, foreign);
        assert!(!told(&model).iter().any(|(_, text)| text.contains("Looking.")), "{:?}", told(&model));
    }
}

#[test]
fn a_response_says_what_was_asked_of_it() {
    let home = Home::new();
    let model = Model::start(vec![Play::words("{}")]);
    let gateway = start(&home, &model, json!({}));
    // LangChain parses the text of a stream only where the response names its format.
    let said = json!({"text": {"format": {"type": "json_schema", "name": "n", "schema": {"type": "object"}}},
        "temperature": 0.5, "metadata": {"a": "b"}, "parallel_tool_calls": false, "max_output_tokens": 9});
    let ask = with(said.clone(), json!({"input": "a"}));
    let whole = response(&gateway, ask.clone());
    let events = events(&gateway, ask);
    for response in [&whole, &events[0].1["response"], &events.last().unwrap().1["response"]] {
        for (key, want) in said.as_object().unwrap() {
            assert_eq!(response[key], *want, "{key}");
        }
    }
    let bare = response(&gateway, json!({"input": "a", "text": {"verbosity": "low"}, "metadata": null}));
    assert_eq!((&bare["text"], &bare["tool_choice"]), (&json!({"format": {"type": "text"}}), &json!("auto")));
    let long = json!({"format": {"type": "json_schema", "name": "n", "schema": {"description": "x".repeat(70_000)}}});
    assert_eq!(response(&gateway, json!({"input": "a", "text": long}))["text"], bare["text"]);
}

#[test]
fn a_client_that_hangs_up_ends_its_run_and_a_key_keeps_it() {
    let home = Home::new();
    let model = Model::start(vec![Play::Stall(vec!["word".into()])]);
    let gateway = start(&home, &model, json!({}));
    let body = json!({"model": "m", "input": "x", "stream": true});
    let mut raw = asking(&gateway, "", &body);
    raw.read_until(b"response.output_text.delta");
    drop(raw);
    wait_until("the run is aborted", || model.hung_up() == 1);

    model.set(vec![Play::words("once")]);
    let keyed = |body: &Value| asking(&gateway, "Idempotency-Key: k1\r\n", body);
    let plain = json!({"model": "m", "input": "x"});
    let first = keyed(&plain).answer().json();
    let served = model.served();
    assert_eq!(keyed(&plain).answer().json(), first);
    let first = stream(&mut keyed(&body));
    assert_eq!(model.served(), served + 1, "another request is another run");
    let again = stream(&mut keyed(&body));
    assert_eq!((again.last(), model.served()), (first.last(), served + 1));
}

/// Answers every request on this port with a picture, a text or a redirection into the house.
fn web(listener: TcpListener, times: usize) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        for stream in listener.incoming().take(times) {
            let mut stream = stream.expect("a client");
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|n| n > 0) {
                head.push(byte[0]);
            }
            let path = String::from_utf8_lossy(&head).split(' ').nth(1).unwrap_or_default().to_owned();
            let png = openclaw::ids::decode_base64(PNG).expect("a picture");
            let (status, kind, body) = match path.as_str() {
                "/a.png" => ("200 OK", "Content-Type: image/png", png),
                "/a.txt" => ("200 OK", "Content-Type: text/plain", b"Hello WEB".to_vec()),
                "/inside" => ("302 Found", "Location: http://10.0.0.1/x.png", Vec::new()),
                _ => ("404 Not Found", "Content-Type: text/plain", Vec::new()),
            };
            let head =
                format!("HTTP/1.1 {status}\r\n{kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
            stream.write_all(&[head.as_bytes(), &body].concat()).expect("the client reads");
        }
    })
}

#[test]
fn addresses_are_read_where_the_guard_allows() {
    let home = Home::new();
    let model = Model::start(vec![Play::words("ok")]);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    home.configure(config(
        &model,
        json!({"gateway": {"http": {"endpoints": {
        "responses": {"maxUrlParts": 2},
        "chatCompletions": {"enabled": true, "images": {"allowUrl": true}}}}}}),
    ));
    let gateway = Gateway::start_with(&home, &[], |command| {
        command.env("OPENCLAW_TEST_FETCH_LOOPBACK_PORTS", port.to_string());
    });
    let web = web(listener, 7);
    let image = |path: &str| json!({"type": "input_image", "image_url": format!("http://127.0.0.1:{port}{path}")});
    let file = json!({"type": "input_file", "file_url": format!("http://127.0.0.1:{port}/a.txt")});
    let of = |parts: Value| json!({"input": [{"role": "user", "content": parts}]});
    response(&gateway, of(json!([{"type": "input_text", "text": "look"}, image("/a.png"), file])));
    let asked = model.requests().pop().unwrap();
    let url = format!("data:image/png;base64,{PNG}");
    assert_eq!(asked["messages"][1]["content"][1], json!({"type": "image_url", "image_url": {"url": url}}));
    assert!(system(&model).contains("<file name=\"a.txt\">") && system(&model).contains("Hello WEB"));
    for (parts, part) in [
        (json!([image("/inside")]), "Blocked hostname or private/internal/special-use IP address"),
        (json!([image("/none.png")]), "the server answered 404"),
        (json!([{"type": "input_image", "image_url": "http://192.168.1.1/x.png"}]), "Blocked hostname or private"),
        (json!([image("/a.png"), image("/a.png"), image("/a.png")]), "More than 2 addresses."),
    ] {
        let answer = ask(&gateway, of(parts));
        let text = message_of(&answer);
        assert!(answer.status == 400 && text.starts_with("invalid request: ") && text.contains(part), "{text}");
    }
    assert_eq!(model.served(), 1);
    // Chat reads images by the same way, where its own key says so.
    let chat = json!({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": format!("http://127.0.0.1:{port}/a.png")}}]}]});
    let asking = request("", &chat.to_string()).replace("/v1/responses", "/v1/chat/completions");
    assert_eq!(Raw::saying(gateway.port, &asking).answer().status, 200);
    assert_eq!(model.requests().pop().unwrap()["messages"][1]["content"][1]["image_url"]["url"], url);
    web.join().expect("every request came");

    let closed = Home::new();
    let off = json!({"gateway": {"http": {"endpoints": {"responses": {"images": {"allowUrl": false}}}}}});
    let gateway = start(&closed, &model, off);
    let answer = ask(&gateway, of(json!([image("/a.png")])));
    assert!(message_of(&answer).contains("Image URLs are not fetched"), "{answer:?}");
}
