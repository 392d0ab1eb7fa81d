use super::*;

fn words() -> Words {
    Words::new(&"resp_0a".into(), 1_795_204_095, "openclaw", None, Map::new())
}

fn details() -> Details {
    Details { input: 8, output: 7, cache_read: 3, ..Details::default() }
}

fn call(n: usize) -> ClientCall {
    let arguments = json!({"n": n}).to_string();
    ClientCall { id: format!("c{n}"), name: "get_weather".into(), arguments }
}

/// Names of the events and their data; every event names its own type, and they are numbered without a gap.
fn read(stream: &str) -> Vec<(String, Value)> {
    let stream = stream.strip_suffix("data: [DONE]\n\n").expect("the end of a stream");
    let read = |(n, event): (usize, &str)| {
        let (name, data) = event.strip_prefix("event: ").and_then(|e| e.split_once("\ndata: ")).expect(event);
        assert!(data.starts_with(r#"{"type":"response."#), "{event}");
        let mut data: Value = serde_json::from_str(data).expect(event);
        let object = data.as_object_mut().expect("an object");
        assert_eq!(object.remove("type"), Some(name.into()), "{event}");
        assert_eq!(object.remove("sequence_number"), Some(n.into()), "{event}");
        (name.strip_prefix("response.").expect(event).to_owned(), data)
    };
    stream.split("\n\n").filter(|event| !event.is_empty()).enumerate().map(read).collect()
}

fn names(events: &[(String, Value)]) -> Vec<&str> {
    events.iter().map(|(name, _)| name.as_str()).collect()
}

const BEGIN: [&str; 4] = ["created", "in_progress", "output_item.added", "content_part.added"];
const CLOSE: [&str; 3] = ["output_text.done", "content_part.done", "output_item.done"];
const CALL: [&str; 4] =
    ["output_item.added", "function_call_arguments.delta", "function_call_arguments.done", "output_item.done"];

#[test]
fn words_in_the_order_that_clients_need() {
    let mut words = words();
    let mut stream = words.begin();
    stream += &words.words("Hello");
    stream += &words.words(" there");
    stream += &words.end("Hello there", &details());
    let events = read(&stream);
    let deltas = ["output_text.delta"; 2];
    assert_eq!(names(&events), [&BEGIN[..], &deltas, &CLOSE, &["completed"]].concat());

    let usage = |input: u64, cached: u64, output: u64| {
        json!({"input_tokens": input, "input_tokens_details": {"cached_tokens": cached, "cache_write_tokens": 0},
            "output_tokens": output, "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": input + output})
    };
    let response = |status: &str, output: Value, usage: Value| {
        json!({"response": {"id": "resp_0a", "object": "response", "created_at": 1_795_204_095, "status": status,
            "model": "openclaw", "output": output, "usage": usage, "error": null, "incomplete_details": null,
            "parallel_tool_calls": true, "text": {"format": {"type": "text"}}, "tools": [], "tool_choice": "auto", "previous_response_id": null}})
    };
    let at = |data: Value| {
        let mut data = data;
        data["item_id"] = "msg_0a".into();
        data["output_index"] = 0.into();
        data["content_index"] = 0.into();
        data
    };
    let part = |text: &str| json!({"type": "output_text", "text": text, "annotations": []});
    let item = json!({"type": "message", "id": "msg_0a", "role": "assistant", "content": [part("Hello there")],
        "phase": "final_answer", "status": "completed"});
    let begun = json!({"type": "message", "id": "msg_0a", "role": "assistant", "content": [], "status": "in_progress"});
    let want = [
        response("in_progress", json!([]), usage(0, 0, 0)),
        response("in_progress", json!([]), usage(0, 0, 0)),
        json!({"output_index": 0, "item": begun}),
        at(json!({"part": part("")})),
        at(json!({"delta": "Hello", "logprobs": []})),
        at(json!({"delta": " there", "logprobs": []})),
        at(json!({"text": "Hello there", "logprobs": []})),
        at(json!({"part": part("Hello there")})),
        json!({"output_index": 0, "item": item}),
        response("completed", json!([item]), usage(11, 3, 7)),
    ];
    for ((name, data), want) in events.iter().zip(want) {
        assert_eq!(*data, want, "{name}");
    }
    assert_eq!(words.whole("Hello there", &details()), events[9].1["response"], "the whole answer is the last event");
}

#[test]
fn calls_come_behind_the_words() {
    for (text, calls) in [("", 1), ("Looking.", 2)] {
        let details = Details { calls: (0..calls).map(call).collect(), truncated: true, ..details() };
        let mut words = words();
        let stream = words.begin() + &words.end(text, &details);
        let events = read(&stream);
        let of_calls = CALL.repeat(calls);
        assert_eq!(names(&events), [&BEGIN[..], &CLOSE, &of_calls, &["completed"]].concat(), "{text}");
        let closed = &events[6].1["item"];
        assert_eq!((&closed["phase"], &closed["content"][0]["text"]), (&json!("commentary"), &json!(text)));
        for n in 0..calls {
            let of_call = &events[7 + 4 * n..];
            let id = if n == 0 { json!("call_0a") } else { json!("call_0a_1") };
            let item = |arguments: &str, status: &str| {
                json!({"output_index": n + 1, "item": {"type": "function_call", "id": id, "call_id": format!("c{n}"),
                    "name": "get_weather", "arguments": arguments, "status": status}})
            };
            let arguments = json!({"n": n}).to_string();
            assert_eq!(of_call[0].1, item("", "in_progress"));
            assert_eq!(of_call[1].1, json!({"item_id": id, "output_index": n + 1, "delta": arguments}));
            let done = json!({"item_id": id, "output_index": n + 1, "name": "get_weather", "arguments": arguments});
            assert_eq!(of_call[2].1, done);
            assert_eq!(of_call[3].1, item(&arguments, "completed"));
        }
        let output = events.last().unwrap().1["response"]["output"].as_array().unwrap().clone();
        assert_eq!(output.len(), 1 + calls);
        // Without a stream there is no empty text in front of the calls.
        let whole = words.whole(text, &details);
        let from = usize::from(text.is_empty());
        assert_eq!((&whole["output"], &whole["status"]), (&json!(output[from..]), &json!("completed")));
    }
}

#[test]
fn a_limit_of_tokens_and_silence() {
    let cut = Details { truncated: true, ..details() };
    let mut said = words();
    let stream = said.begin() + &said.end("Hel", &cut);
    let events = read(&stream);
    assert_eq!(names(&events), [&BEGIN[..], &CLOSE, &["incomplete"]].concat());
    for response in [events[7].1["response"].clone(), said.whole("Hel", &cut)] {
        assert_eq!(response["incomplete_details"], json!({"reason": "max_output_tokens"}));
        assert_eq!(
            (&response["status"], &response["output"][0]["status"]),
            (&json!("incomplete"), &json!("incomplete"))
        );
    }
    let silent = words().whole("", &details());
    assert_eq!(silent["output"][0]["content"][0]["text"], NO_WORDS);
}

#[test]
fn failures_are_errors_in_both_shapes() {
    let failed = Failed { status: 401, message: "401 bad key".into(), kind: "api_error", retry_after: None };
    let mut words = Words::new(&"resp_0a".into(), 1, "gpt-4o", Some("resp_09".into()), Map::new());
    let stream = words.begin() + &words.words("Hel") + &words.fail(&failed);
    let events = read(&stream);
    assert_eq!(names(&events), [&BEGIN[..], &["output_text.delta", "failed"]].concat());
    let response = &events[5].1["response"];
    assert_eq!((&response["status"], &response["output"]), (&json!("failed"), &json!([])));
    assert_eq!(response["error"], json!({"code": "api_error", "message": "401 bad key", "type": "api_error"}));
    assert_eq!((&response["model"], &response["previous_response_id"]), (&json!("gpt-4o"), &json!("resp_09")));
    let reply = words.refusal(&failed).print_whole(&crate::http::Shape::default());
    let reply = String::from_utf8(reply).unwrap();
    assert!(
        reply.starts_with("HTTP/1.1 401 Unauthorized\r\n") && reply.contains("\r\nx-should-retry: false\r\n"),
        "{reply}"
    );
    assert!(reply.ends_with(&response.to_string()), "{reply}");
}

#[test]
fn ids_of_items_lead_back_to_their_response() {
    let words = words();
    let details = Details { calls: vec![call(0), call(1)], ..details() };
    let whole = words.whole("text", &details);
    let ids: Vec<&str> = whole["output"].as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap()).collect();
    for (id, want) in ids.iter().zip([None, Some(0), Some(1)]) {
        assert_eq!(origin(id), Some(("resp_0a".to_owned(), want)), "{id}");
    }
    for id in ["", "msg", "rs_0a", "call_0a_x", "call_0a_-1"] {
        assert_eq!(origin(id), None, "{id}");
    }
}
