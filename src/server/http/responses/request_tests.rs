use super::*;
use crate::agent::models::wire::{Thinking, ToolSpec};

const PNG: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkqAcAAIUAgUW0RjgAAAAASUVORK5CYII=";
const HELLO: &str = "SGVsbG8gRklMRQ==";

fn read_with(body: Value, past: Vec<Message>, fetch: &mut Fetch<'_>) -> Result<Asked, String> {
    let refer = &mut |id: &str| match id {
        "msg_1" => Some(said("as I said")),
        "call_1" => Some(made("c1")),
        _ => None,
    };
    responses_request(&body, past, &ResponsesEndpoint::default(), "0123456789abcdef", refer, fetch)
}

fn read(body: Value) -> Result<Asked, String> {
    read_with(body, Vec::new(), &mut |_, url| panic!("{url} is fetched"))
}

fn of_input(input: Value) -> Asked {
    read(json!({"input": input})).unwrap()
}

fn user(text: &str) -> Message {
    Message::User(vec![UserPart::Text(text.into())])
}

fn said(text: &str) -> AssistantPart {
    AssistantPart::Text(text.into())
}

fn made(id: &str) -> AssistantPart {
    AssistantPart::ToolCall(ToolCall { id: id.into(), name: "f".into(), arguments: json!({"a": 1}) })
}

fn result(id: &str, name: &str, text: &str) -> Message {
    Message::ToolResult { id: id.into(), name: name.into(), text: text.into(), is_error: false }
}

/// A message of the user with these parts.
fn parts(parts: Value) -> Value {
    json!([{"type": "message", "role": "user", "content": parts}])
}

fn call_item(id: &str) -> Value {
    json!({"type": "function_call", "call_id": id, "name": "f", "arguments": "{\"a\":1}"})
}

fn output_item(id: &str, output: Value) -> Value {
    json!({"type": "function_call_output", "call_id": id, "output": output})
}

#[test]
fn models() {
    for (body, want) in [
        (json!({"model": " gpt-4o "}), Ok("gpt-4o")),
        (json!({}), Err("model: Invalid input: expected string, received undefined")),
        (json!({"model": null}), Err("model: Invalid input: expected string, received null")),
        (json!({"model": 4}), Err("model: Invalid input: expected string, received number")),
        (json!({"model": ""}), Err("model: Too small: expected string to have >=1 characters")),
    ] {
        assert_eq!(model(&body).as_deref().map_err(String::as_str), want, "{body}");
    }
}

#[test]
fn messages_in_every_form() {
    for input in [
        json!("hi"),
        json!([{"role": "user", "content": "hi"}]),
        json!([{"type": "message", "role": "user", "content": "hi"}]),
        json!([{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]}]),
        json!([{"role": "user", "content": [{"type": "text", "text": "hi"}]}]),
        // Everything else stands for nothing.
        json!([7, null, {"type": "reasoning", "summary": []}, {"type": "item_reference", "id": "rs_9"}, {"id": 7},
            {"type": "web_search_call", "id": "x"}, {"role": "critic", "content": "x"}, {"role": "user", "content": ""},
            {"role": "user", "content": "hi", "id": "m", "status": "completed", "phase": "x"},
            {"role": "assistant", "content": "a prefill is passed over"}]),
    ] {
        let got = of_input(input.clone());
        let want = Asked { message: "hi".into(), ..Asked::default() };
        assert_eq!(got, want, "{input}");
    }
    let got = of_input(json!([{"role": "user", "content": [
        {"type": "input_text", "text": "one"}, {"type": "input_text", "text": "two"}, {"type": "input_audio"}]}]));
    assert_eq!(got.message, "one\ntwo");
    for input in [
        json!(null),
        json!(""),
        json!(" "),
        json!([]),
        json!({}),
        json!(3),
        json!([{"role": "system", "content": "s"}]),
    ] {
        assert_eq!(read(json!({"input": input})).unwrap_err(), NO_MESSAGE, "{input}");
    }
}

#[test]
fn the_system_prompt_in_its_order() {
    let tool = json!([{"type": "function", "name": "f"}]);
    let got = read(json!({"instructions": "INST", "tools": tool, "tool_choice": "required", "input": [
        {"role": "developer", "content": "dev"}, {"role": "user", "content": "hi"},
        {"role": "system", "content": [{"type": "input_text", "text": "sys"}]}]}))
    .unwrap();
    let demand = "You must call one of the available tools before responding.";
    assert_eq!(got.system, Some(format!("INST\n\ndev\n\nsys\n\n{demand}")));
    let got = read(json!({"tools": tool, "tool_choice": {"type": "function", "name": "f"}, "input": "x"})).unwrap();
    assert_eq!(got.system.as_deref(), Some("You must call the f tool before responding."));
    assert_eq!(got.tool_choice, ToolChoice::Named("f".into()));
}

#[test]
fn a_conversation_becomes_messages() {
    let got = of_input(json!([
        {"role": "user", "content": "a"},
        {"type": "reasoning", "id": "r", "summary": []},
        {"role": "assistant", "content": [{"type": "output_text", "text": "b", "annotations": []}]},
        call_item("1"), {"type": "reasoning", "id": "r"}, call_item("2"),
        output_item("2", json!("two")), output_item("1", json!([{"type": "input_text", "text": "one"}])),
        call_item("3"), output_item("3", json!({"t": 72})),
        {"role": "user", "content": "c"},
    ]));
    assert_eq!(
        got.history,
        [
            user("a"),
            Message::Assistant(vec![said("b"), made("1"), made("2")]),
            result("2", "f", "two"),
            result("1", "f", "one"),
            Message::Assistant(vec![made("3")]),
            result("3", "f", "{\"t\":72}"),
        ]
    );
    assert_eq!((got.message.as_str(), got.continues), ("c", false));
}

#[test]
fn results_of_calls_ask_for_the_next_words() {
    let got = of_input(json!([{"role": "user", "content": "a"}, call_item("1"), output_item("1", json!("r"))]));
    assert!(got.continues && got.message.is_empty());
    assert_eq!(got.history, [user("a"), Message::Assistant(vec![made("1")]), result("1", "f", "r")]);
    // With the conversation so far: it knows the call by its name.
    let past = vec![user("a"), Message::Assistant(vec![made("1")])];
    let got = read_with(json!({"input": [output_item("1", json!("r"))]}), past, &mut |_, _| unreachable!()).unwrap();
    assert_eq!(got.history[2], result("1", "f", "r"));
    // Two messages of an assistant that follow each other across that line stay apart.
    let past = vec![user("a"), Message::Assistant(vec![said("b")])];
    let input = json!([{"role": "assistant", "content": "c"}, {"role": "user", "content": "d"}]);
    let got = read_with(json!({"input": input}), past, &mut |_, _| unreachable!()).unwrap();
    assert_eq!(got.history.len(), 3);
    let lost = of_input(json!([output_item("9", json!(""))]));
    assert_eq!((lost.continues, lost.history), (true, vec![result("9", "", "")]));
}

#[test]
fn tools_in_both_forms() {
    let spec =
        ToolSpec { name: "f".into(), description: "d".into(), parameters: json!({"type": "object"}), strict: true };
    let flat =
        json!({"type": "function", "name": "f", "description": "d", "parameters": spec.parameters, "strict": true});
    let nested = json!({"type": "function", "function": {"name": "f", "description": "d", "parameters": spec.parameters, "strict": true}});
    for tool in [flat.clone(), nested] {
        for choice in [json!({"type": "function", "name": "f"}), json!({"type": "function", "function": {"name": "f"}})]
        {
            let got =
                read(json!({"input": "x", "tools": [tool, {"type": "web_search"}], "tool_choice": choice})).unwrap();
            assert_eq!((got.tools, got.tool_choice), (vec![spec.clone()], ToolChoice::Named("f".into())), "{tool}");
        }
    }
    for (body, part) in [
        (json!({"tool_choice": "required"}), "no tools"),
        (json!({"tool_choice": {"type": "function", "name": "g"}, "tools": [flat]}), "g"),
        (json!({"tools": [{"type": "function"}]}), "name"),
        (json!({"tools": "f"}), "array"),
    ] {
        let mut body = body;
        body["input"] = "x".into();
        let error = read(body.clone()).unwrap_err();
        assert!(error.starts_with("invalid tool configuration: ") && error.contains(part), "{body}: {error}");
        assert!(!error.contains("Invalid"), "{error}");
    }
}

#[test]
fn sampling_and_formats() {
    let schema = json!({"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": true});
    let got = read(json!({"input": "x", "temperature": 0.1, "top_p": 1, "max_output_tokens": 50,
        "text": {"format": schema, "verbosity": "low"}, "max_tool_calls": 1, "reasoning": {"effort": "low"},
        "metadata": {"a": "b"}, "store": false, "truncation": "auto", "parallel_tool_calls": true, "service_tier": "x",
        "include": ["x"], "zzz": 1}))
    .unwrap();
    let format =
        json!({"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}, "strict": true}});
    let want = Sampling {
        temperature: Some(0.1),
        top_p: Some(1.0),
        max_tokens: Some(50),
        parallel_calls: Some(true),
        response_format: Some(format),
        ..Sampling::default()
    };
    assert_eq!((got.sampling, got.thinking), (want, Some(Thinking::Low)));
    assert_eq!(
        read(json!({"input": "x", "text": {"format": {"type": "text"}}})).unwrap().sampling,
        Sampling::default()
    );
    for body in [json!({"max_output_tokens": 0}), json!({"max_output_tokens": "x"}), json!({"temperature": 3})] {
        let mut body = body;
        body["input"] = "x".into();
        assert!(read(body.clone()).is_err(), "{body}");
    }
}

#[test]
fn images_in_every_form() {
    let uri = format!("data:image/png;base64,{PNG}");
    for part in [
        json!({"type": "input_image", "image_url": uri}),
        json!({"type": "input_image", "image_url": {"url": uri}}),
        json!({"type": "image_url", "image_url": {"url": uri}}),
        json!({"type": "input_image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}),
        json!({"type": "input_image", "source": {"type": "url", "url": uri}}),
    ] {
        let got = of_input(parts(json!([{"type": "input_text", "text": "look"}, part])));
        let image = Image { mime: "image/png".into(), data: PNG.into() };
        assert_eq!((got.message.as_str(), got.images), ("look", vec![image]), "{part}");
        assert_eq!(of_input(parts(json!([part]))).message, IMAGE_ALONE);
    }
    for part in [
        json!({"type": "input_image", "image_url": "data:image/png;base64,###"}),
        json!({"type": "input_image", "source": {"type": "base64", "media_type": "image/tiff", "data": HELLO}}),
        json!({"type": "input_image", "file_id": "file_1"}),
        json!({"type": "input_image"}),
    ] {
        let error = read(json!({"input": parts(json!([part]))})).unwrap_err();
        assert!(error.starts_with("invalid request: "), "{part}: {error}");
    }
}

#[test]
fn addresses_are_fetched_newest_first_and_only_the_newest_must_be_there() {
    let image = |url: &str| json!({"role": "user", "content": [{"type": "input_image", "image_url": url}]});
    let mut asked = Vec::new();
    let mut fetch = |kind: Kind, url: &str| {
        asked.push(url.to_owned());
        assert_eq!(kind, Kind::Image);
        if url.contains("bad") {
            Err("gone".to_owned())
        } else {
            Ok(("image/png; x=y".into(), decode_base64(PNG).unwrap()))
        }
    };
    let input = json!([image("https://a/bad"), image("https://a/1"), image("https://a/2")]);
    let got = read_with(json!({"input": input}), Vec::new(), &mut fetch).unwrap();
    let picture = UserPart::Image { mime: "image/png".into(), data: PNG.into() };
    assert_eq!(got.history, [user(IMAGE_LEFT_OUT), Message::User(vec![picture])]);
    assert_eq!(got.images.len(), 1);
    let error = read_with(json!({"input": [image("https://a/bad")]}), Vec::new(), &mut fetch).unwrap_err();
    assert_eq!(error, "invalid request: gone");
    assert_eq!(asked, ["https://a/2", "https://a/1", "https://a/bad", "https://a/bad"]);
}

#[test]
fn files_become_text_in_a_fence() {
    let uri = format!("data:text/plain;base64,{HELLO}");
    for part in [
        json!({"type": "input_file", "source": {"type": "base64", "media_type": "text/plain", "data": HELLO, "filename": "hello.txt"}}),
        json!({"type": "input_file", "file_data": uri, "filename": "hello.txt"}),
        json!({"type": "input_file", "file_data": HELLO, "filename": "hello.txt"}),
        json!({"type": "input_file", "file_url": "https://a.example/x/hello.txt?q=/y.zip"}),
        json!({"type": "input_file", "source": {"type": "url", "url": "https://a.example/hello.txt"}}),
    ] {
        let mut fetch = |_: Kind, _: &str| Ok(("text/plain; charset=utf-8".to_owned(), b"Hello FILE".to_vec()));
        let got = read_with(json!({"input": parts(json!([part]))}), Vec::new(), &mut fetch).unwrap();
        let files = got.files.unwrap_or_default();
        assert!(files.starts_with("<file name=\"hello.txt\">\n") && files.ends_with("\n</file>"), "{part}: {files}");
        assert!(files.contains("Hello FILE") && files.contains("EXTERNAL_UNTRUSTED_CONTENT id=\"0123456789abcdef\""));
        assert_eq!((got.message.as_str(), got.system), (FILE_ALONE, None), "{part}");
    }
    let file = |mime: &str, name: &str, data: &str| json!({"type": "input_file", "source": {"type": "base64", "media_type": mime, "data": data, "filename": name}});
    for (part, want) in [
        (file("application/zip", "a.zip", HELLO), "files of type application/zip cannot be read"),
        (file("application/octet-stream", "a.bin", HELLO), "files of type application/octet-stream"),
        (file("application/pdf", "a.pdf", HELLO), "PDF files cannot be read"),
        (file("text/plain", "a.txt", "JVBERi0xLjQK"), "PDF files cannot be read"),
        (file("text/plain", "a.txt", "###"), "not base64"),
        (json!({"type": "input_file", "file_id": "file_1"}), "file_id"),
        (json!({"type": "input_file"}), "no content"),
    ] {
        let error = read(json!({"input": parts(json!([part]))})).unwrap_err();
        assert!(error.starts_with("invalid request: ") && error.contains(want), "{part}: {error}");
    }
    // In an earlier message it is no more than a pity.
    let got = of_input(json!([
        {"role": "user", "content": [{"type": "input_text", "text": "a"}, file("text/csv; charset=latin1", "a\"><b>\n.csv", "5A==")]},
        {"role": "user", "content": [{"type": "input_text", "text": "b"}, file("application/octet-stream", "b.MD", HELLO)]},
        {"role": "user", "content": [{"type": "input_text", "text": "c"}, file("application/zip", "c.zip", HELLO)]},
        {"role": "user", "content": "d"},
    ]));
    let files = got.files.unwrap_or_default();
    assert!(files.contains("<file name=\"a&quot;&gt;&lt;b&gt;.csv\">") && files.contains("\nä\n"), "{files}");
    assert!(files.find("b.MD") > files.find("a&quot;"), "{files}");
    let Message::User(last) = &got.history[2] else { panic!("{:?}", got.history) };
    assert_eq!(last[1], UserPart::Text(FILE_LEFT_OUT.into()));
}

#[test]
fn limits_of_files_and_images() {
    let mut small = ResponsesEndpoint::default();
    small.files.max_bytes = 9;
    small.files.max_chars = 3;
    small.images.max_parts = 1;
    let read = |part: Value| {
        let refer = &mut |_: &str| None;
        responses_request(&json!({"input": parts(part)}), Vec::new(), &small, "0", refer, &mut |_, _| unreachable!())
    };
    let file = |text: &str| {
        use base64::Engine as _;
        let data = base64::engine::general_purpose::STANDARD.encode(text);
        json!({"type": "input_file", "filename": "a.txt", "file_data": data})
    };
    assert!(read(json!([file("äöüß5")])).unwrap().files.unwrap().contains("\näöü\n"));
    assert_eq!(read(json!([file("1234567890")])).unwrap_err(), "invalid request: the file is larger than 9 bytes.");
    let image = json!({"type": "input_image", "image_url": format!("data:image/png;base64,{PNG}")});
    assert!(read(json!([image])).is_ok());
    assert!(read(json!([image, image])).unwrap_err().starts_with("invalid request: More than 1 images"));
}

#[test]
fn broken_requests_are_survived() {
    let seed = json!({"model": "m", "instructions": "i", "max_output_tokens": 5, "tools": [{"type": "function", "name": "f"}],
        "tool_choice": "auto", "text": {"format": {"type": "json_schema", "name": "n", "schema": {}}},
        "input": [{"role": "user", "content": [{"type": "input_text", "text": "a"},
            {"type": "input_image", "image_url": format!("data:image/png;base64,{PNG}")},
            {"type": "input_file", "filename": "h.txt", "file_data": HELLO}]},
            {"role": "assistant", "content": "b"}, call_item("1"), output_item("1", json!("x")), {"role": "user", "content": "c"}]})
    .to_string();
    let mut random = crate::sys::testing::Random(0x0e5b);
    let mut good = 0;
    for _ in 0..20_000 {
        let Ok(body) = serde_json::from_slice::<Value>(&random.mutated(seed.as_bytes())) else { continue };
        let got = read_with(body, Vec::new(), &mut |_, _| Err("no".into()));
        good += usize::from(got.is_ok());
    }
    assert!(good > 100, "{good}");
}

#[test]
fn items_by_their_ids() {
    let by = |id: &str| json!({"type": "item_reference", "id": id});
    let hi = json!({"role": "user", "content": "hi"});
    let assistant = |parts: Vec<AssistantPart>| Message::Assistant(parts);
    for (items, want) in [
        (json!([hi, by("msg_1"), by("call_1"), hi]), vec![user("hi"), assistant(vec![said("as I said"), made("c1")])]),
        (json!([hi, {"id": "msg_1"}, hi]), vec![user("hi"), assistant(vec![said("as I said")])]),
        // That there was an answer is known all the same; whatever else it may be is not.
        (json!([hi, by("msg_9"), by("msg_1"), hi]), vec![user("hi"), assistant(vec![said("as I said")])]),
        (json!([hi, by("msg_9"), hi]), vec![user("hi"), assistant(vec![])]),
        (json!([hi, by("call_9"), by("rs_1"), by(""), hi]), vec![user("hi")]),
    ] {
        assert_eq!(of_input(items.clone()).history, want, "{items}");
    }
}
