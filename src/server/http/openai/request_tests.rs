use super::*;
use crate::server::http::openai::addresses::Addresses;

const PNG: &str = "data:image/png;base64,iVBORw0KGgo=";

fn chat(body: &Value, rules: &ImageRules) -> Result<ChatRequest, String> {
    let mut addresses = Addresses::of_images(rules);
    chat_request(body, rules, &mut |kind, url| addresses.read(kind, url))
}

fn asked(body: &Value, rules: &ImageRules) -> Result<Asked, String> {
    chat(body, rules).map(|chat| chat.asked)
}

fn read(body: Value) -> Result<Asked, String> {
    asked(&body, &ImageRules::default())
}

fn ask(extra: Value) -> Value {
    let mut body = json!({"messages": [{"role": "user", "content": "hi"}]});
    for (key, value) in extra.as_object().expect("an object") {
        body[key] = value.clone();
    }
    body
}

#[test]
fn conversations() {
    let body = json!({"model": " m ", "user": "", "stream": null, "unknown": [1], "messages": [
        {"role": "system", "content": "S"},
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "input_text", "text": "b"}, {"type": "x"}]},
        {"role": "developer", "content": [{"type": "text", "text": "D"}]},
        {"role": "assistant", "content": null, "tool_calls": [
            {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{\"x\":1}"}},
            {"id": "c2", "type": "function", "function": {"name": "g", "arguments": "not json"}}]},
        {"role": "tool", "tool_call_id": "c1", "content": ""},
        {"role": "function", "name": "g", "content": "r"},
        {"role": "user", "content": "  "},
        {"role": "moderator", "content": "?"},
        {"role": "assistant", "content": ""},
        {"role": "user", "content": "last"},
        {"role": "assistant", "content": "ignored"}]});
    let request = chat(&body, &ImageRules::default()).unwrap();
    assert_eq!((request.model.as_deref(), request.user, request.stream), (Some("m"), None, false));
    let request = request.asked;
    assert_eq!(request.system.as_deref(), Some("S\n\nD"));
    assert_eq!((request.message.as_str(), request.continues), ("last", false));
    let call = |id: &str, name: &str, arguments: Value| {
        AssistantPart::ToolCall(ToolCall { id: id.into(), name: name.into(), arguments })
    };
    let result = |id: &str, name: &str, text: &str| Message::ToolResult {
        id: id.into(),
        name: name.into(),
        text: text.into(),
        is_error: false,
    };
    assert_eq!(
        request.history,
        [
            Message::User(vec![UserPart::Text("a\nb".into())]),
            Message::Assistant(vec![call("c1", "f", json!({"x": 1})), call("c2", "g", json!({}))]),
            result("c1", "f", ""),
            result("c2", "g", "r"),
        ]
    );
}

#[test]
fn results_continue_a_conversation() {
    let request = read(json!({"messages": [
        {"role": "user", "content": "weather?"},
        {"role": "assistant", "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": ""}}]},
        {"role": "tool", "tool_call_id": "c", "content": [{"type": "text", "text": "72F"}]}]}))
    .unwrap();
    assert!(request.continues && request.message.is_empty() && request.history.len() == 3, "{request:?}");
}

#[test]
fn nothing_to_answer() {
    for body in [
        json!([]),
        json!({}),
        json!("x"),
        json!(null),
        json!({"messages": null}),
        json!({"messages": []}),
        json!({"messages": [null, 1, {"role": "system", "content": "s"}]}),
        json!({"messages": [{"role": "user", "content": [{"type": "text", "text": ""}]}]}),
        json!({"messages": [{"role": "assistant", "content": "a"}]}),
    ] {
        assert_eq!(read(body.clone()).unwrap_err(), NO_MESSAGE, "{body}");
    }
}

#[test]
fn images() {
    let with =
        |url: Value| json!({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": url}]}]});
    for url in [json!(PNG), json!({"url": PNG, "detail": "low"}), json!("DATA:image/jpeg;x=y;BASE64,iVBORw0KGgo=")] {
        let request = read(with(url)).unwrap();
        assert_eq!(request.message, IMAGE_ALONE);
        assert_eq!(request.images, [Image { mime: "image/png".into(), data: "iVBORw0KGgo=".into() }]);
    }
    for (url, why) in [
        ("https://example.com/a.png", "not fetched"),
        ("file:///etc/passwd", "not fetched"),
        ("", "not fetched"),
        ("data:image/png,abc", "not fetched"),
        ("data:image/png;base64,???", "not base64"),
        ("data:image/png;base64,", "not base64"),
        ("data:image/svg+xml;base64,QUJD", "Images may be image/jpeg"),
        ("data:text/html;base64,QUJD", "Images may be"),
    ] {
        let error = read(with(json!(url))).unwrap_err();
        assert!(error.starts_with("Invalid image_url content in `messages`.") && error.contains(why), "{error}");
    }
    let small = ImageRules { max_parts: 2, max_bytes: 9, max_total_bytes: 20, ..ImageRules::default() };
    let part = json!({"type": "image_url", "image_url": PNG});
    let big = json!({"type": "image_url", "image_url": "data:image/png;base64,iVBORw0KGgoAAAAAAAAA"});
    let of = |parts: Vec<&Value>| asked(&json!({"messages": [{"role": "user", "content": parts}]}), &small);
    assert!(of(vec![&part, &part]).is_ok());
    assert!(of(vec![&part, &part, &part]).unwrap_err().contains("More than 2 images"));
    assert!(of(vec![&big]).unwrap_err().contains("larger than 9 bytes"));
    let tight = ImageRules { max_total_bytes: 10, ..small.clone() };
    let two = json!({"messages": [{"role": "user", "content": [part, part]}]});
    assert!(asked(&two, &tight).unwrap_err().contains("larger than 10 bytes together"));
    // Images of a long conversation do not end it: the newest stay.
    let said = json!({"role": "user", "content": [{"type": "text", "text": "t"}, part]});
    let long = json!({"messages": [said, said, said]});
    let request = asked(&long, &small).unwrap();
    let left_out =
        |message: &Message| matches!(message, Message::User(p) if p[1] == UserPart::Text(IMAGE_LEFT_OUT.into()));
    assert_eq!(request.images.len(), 1);
    assert_eq!(request.history.iter().map(left_out).collect::<Vec<_>>(), [true, false]);
}

#[test]
fn functions() {
    let nested =
        json!([{"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object"}}}]);
    let flat = json!([{"type": "function", "name": "f", "description": "d", "parameters": {"type": "object"}}, {"type": "web_search"}]);
    for tools in [nested.clone(), flat] {
        let request = read(ask(json!({"tools": tools}))).unwrap();
        let spec = ToolSpec {
            name: "f".into(),
            description: "d".into(),
            parameters: json!({"type": "object"}),
            strict: false,
        };
        assert_eq!((request.tools, request.tool_choice), (vec![spec], ToolChoice::Auto));
    }
    let old = read(ask(json!({"functions": [{"name": "f"}], "function_call": {"name": "f"}}))).unwrap();
    assert_eq!((old.tools.len(), old.tool_choice), (1, ToolChoice::Named("f".into())));
    for (choice, want) in [
        (json!("none"), ToolChoice::None),
        (json!("required"), ToolChoice::Required),
        (json!({"type": "function", "function": {"name": "f"}}), ToolChoice::Named("f".into())),
        (json!({"type": "function", "name": "f"}), ToolChoice::Named("f".into())),
    ] {
        let request = read(ask(json!({"tools": nested, "tool_choice": choice}))).unwrap();
        assert_eq!(request.tool_choice, want);
    }
    assert!(read(ask(json!({"tools": null, "tool_choice": "none"}))).is_ok());
    for (extra, why) in [
        (json!({"tool_choice": "required"}), "tool_choice=required but no tools were provided"),
        (json!({"tools": [], "tool_choice": "required"}), "tool_choice=required but no tools were provided"),
        (json!({"tools": {}}), "must be an array"),
        (json!({"tools": [{"type": "function", "function": {"name": "a b"}}]}), "the name of a function"),
        (json!({"tools": [{"type": "function", "function": {}}]}), "the name of a function"),
        (json!({"tools": [{"name": "f", "parameters": []}]}), "JSON schema"),
        (json!({"tools": nested, "tool_choice": "maybe"}), "tool_choice is auto"),
        (json!({"tools": nested, "tool_choice": {"name": "g"}}), "names g"),
    ] {
        let error = read(ask(extra.clone())).unwrap_err();
        assert!(error.starts_with("Invalid tools/tool_choice: ") && error.contains(why), "{extra}: {error}");
    }
}

#[test]
fn samplings() {
    let request = read(ask(json!({"temperature": 2, "top_p": 0, "frequency_penalty": -2, "presence_penalty": 0.5,
        "seed": -1, "stop": ["a", ""], "max_tokens": 5, "max_completion_tokens": 7,
        "response_format": {"type": "json_object"}, "n": 3, "logprobs": true})))
    .unwrap();
    let sampling = request.sampling;
    assert_eq!((sampling.temperature, sampling.top_p, sampling.seed), (Some(2.0), Some(0.0), Some(-1)));
    assert_eq!((sampling.stop, sampling.max_tokens), (vec!["a".to_owned()], Some(7)));
    assert!(sampling.response_format.is_some());
    let nothing = json!({"temperature": null, "top_p": null, "seed": null, "stop": null, "max_tokens": null,
        "response_format": {"type": "text"}, "stream_options": null});
    assert_eq!(read(ask(nothing)).unwrap().sampling, Sampling::default());
    for (key, value) in [
        ("temperature", json!(2.1)),
        ("temperature", json!("1")),
        ("top_p", json!(1.5)),
        ("frequency_penalty", json!(-3)),
        ("presence_penalty", json!(3)),
        ("seed", json!(1.5)),
        ("stop", json!(["a", "b", "c", "d", "e"])),
        ("stop", json!([1])),
        ("max_tokens", json!(0)),
        ("max_completion_tokens", json!(-1)),
    ] {
        let error = read(ask(json!({ key: value }))).unwrap_err();
        assert!(error.starts_with(&format!("`{key}` must be")), "{error}");
    }
}

#[test]
fn hostile_bodies_do_not_panic() {
    let seed = json!({"model": "m", "tools": [{"type": "function", "function": {"name": "f"}}], "tool_choice": "auto",
        "messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": PNG}}]},
            {"role": "assistant", "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": "{}"}}]},
            {"role": "tool", "tool_call_id": "c", "content": "r"}], "stop": ["x"], "temperature": 1})
    .to_string();
    let mut random = crate::sys::testing::Random(11);
    let mut read_some = 0;
    for _ in 0..3000 {
        if let Ok(body) = serde_json::from_slice(&random.mutated(seed.as_bytes())) {
            read_some += usize::from(asked(&body, &ImageRules::default()).is_ok());
        }
    }
    assert!(read_some > 0);
}
