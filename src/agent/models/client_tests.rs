use std::sync::mpsc;
use std::thread;

use crossbeam_channel::bounded;
use serde_json::json;

use super::*;

type Outcome = Result<Answered, Box<Failure>>;
use crate::agent::fake::{Act, Fake, done, stream_of, text, wait_until};
use crate::config::Cost;
use crate::secret::Secret;

#[derive(Default)]
struct Kept {
    text: String,
    pieces: usize,
    restarts: usize,
    calls: usize,
}

impl Sink for Kept {
    fn event(&mut self, event: StreamEvent) {
        match event {
            StreamEvent::Text(text) => {
                self.text.push_str(&text);
                self.pieces += 1;
            }
            StreamEvent::ToolCall(_) => self.calls += 1,
            _ => {}
        }
    }

    fn restart(&mut self) {
        self.restarts += 1;
    }
}

fn timing() -> Timing {
    Timing {
        connect: Duration::from_secs(5),
        first_byte: Duration::from_secs(5),
        per_read: Duration::from_secs(5),
        retry_pause: Duration::from_millis(1),
        longest_retry_after: Duration::from_secs(2),
    }
}

fn endpoint(name: &str, api: Api, url: &str) -> Candidate {
    let id = ModelRef { provider: name.into(), model: "m".into() };
    let endpoint = Endpoint {
        id: id.clone(),
        api,
        base_url: url.into(),
        key: Some(Secret::new("k3y")),
        bearer: false,
        headers: vec![("X-Extra".into(), Secret::new("1"))],
        context_window: 1000,
        max_tokens: 10,
        reasoning: false,
        images: false,
        cost: Cost::default(),
        max_tokens_field: "max_completion_tokens".into(),
        usage_in_streaming: true,
        store: true,
    };
    (id, Ok(endpoint))
}

fn openai(name: &str, fake: &Fake) -> Candidate {
    endpoint(name, Api::OpenAiCompletions, &format!("{}/v1", fake.url()))
}

fn client(timing: Timing) -> (Client, Arc<RunCancel>) {
    let cancel = Arc::new(RunCancel::default());
    (Client::for_run(timing, Arc::new(make_agent), cancel.clone(), "hi".into()), cancel)
}

fn call(chain: &[Candidate], timing: Timing) -> (Outcome, Kept) {
    let mut kept = Kept::default();
    let (mut client, _) = client(timing);
    let result = client.call(chain, &mut |_| ModelRequest::default(), &mut kept);
    (result, kept)
}

fn error_body(message: &str) -> String {
    format!("{{\"error\":{{\"message\":\"{message}\"}}}}")
}

#[test]
fn a_stream_of_200_chunks() {
    let fake = Fake::start(|_, _| Act::Stream((0..200).map(|n| text(&format!("w{n} "))).chain([done()]).collect()));
    let (result, kept) = call(&[openai("p", &fake)], timing());
    let answered = result.unwrap();
    assert_eq!(answered.stop, StopReason::Stop);
    assert_eq!(answered.usage, Usage { input: 100, output: 20, ..Usage::default() });
    assert_eq!(kept.text, (0..200).map(|n| format!("w{n} ")).collect::<String>());
    let seen = fake.seen().remove(0);
    assert_eq!(seen.path, "/v1/chat/completions");
    assert_eq!(seen.header("authorization"), Some("Bearer k3y"));
    assert_eq!(seen.header("x-extra"), Some("1"));
    assert_eq!(seen.body["stream"], true);
}

#[test]
fn the_other_formats_are_asked_at_their_addresses() {
    let fake = Fake::start(|_, seen| match seen.path.as_str() {
        "/v1/messages" => Act::Stream(vec![
            "data: {\"type\":\"message_start\",\"message\":{}}\n\n".into(),
            "data: {\"type\":\"content_block_delta\",\"delta\":{\"type\":\"text_delta\",\"text\":\"a\"}}\n\n".into(),
            "data: {\"type\":\"message_stop\"}\n\n".into(),
        ]),
        "/api/chat" => Act::Stream(vec!["{\"message\":{\"content\":\"o\"},\"done\":true}\n".into()]),
        _ => Act::Plain(404, "", String::new()),
    });
    let (result, kept) = call(&[endpoint("a", Api::AnthropicMessages, &fake.url())], timing());
    assert!(result.is_ok(), "{result:?}");
    assert_eq!(kept.text, "a");
    let (result, kept) = call(&[endpoint("o", Api::Ollama, &format!("{}/v1/", fake.url()))], timing());
    assert!(result.is_ok(), "{result:?}");
    assert_eq!(kept.text, "o");
    let seen = fake.seen();
    assert_eq!(seen[0].header("x-api-key"), Some("k3y"));
    assert_eq!(seen[0].header("anthropic-version"), Some("2023-06-01"));
    assert_eq!(seen[0].header("authorization"), None);
    assert_eq!(seen[1].header("authorization"), Some("Bearer k3y"));
}

#[test]
fn retry_after_is_honoured() {
    let fake = Fake::start(|n, _| match n {
        0 => Act::Plain(429, "Retry-After: 1\r\n", error_body("slow")),
        _ => stream_of(&["ok"]),
    });
    let began = Instant::now();
    let (result, kept) = call(&[openai("p", &fake)], timing());
    assert!(result.is_ok());
    assert_eq!((kept.text.as_str(), kept.restarts), ("ok", 1));
    assert!(began.elapsed() >= Duration::from_secs(1));
}

#[test]
fn a_provider_that_wants_a_long_pause_is_left_alone() {
    let fake = Fake::start(|_, _| Act::Plain(429, "Retry-After: 3600\r\n", error_body("slow")));
    let (result, _) = call(&[openai("p", &fake)], timing());
    let failure = result.unwrap_err();
    assert_eq!(fake.count(), 1);
    assert_eq!(failure.user_text(), "⚠️ API rate limit reached. Please try again later.");
}

#[test]
fn statuses_and_how_often_they_are_tried() {
    for (status, message, requests, text) in [
        (500, "boom", 4, "500 boom"),
        (503, "maintenance", 4, "503 maintenance"),
        (529, "busy", 4, "The AI service is temporarily overloaded. Please try again in a moment."),
        (401, "bad key", 1, "401 bad key"),
        (400, "mock failure", 1, "400 mock failure"),
        (302, "", 1, "302 status code (no body)"),
    ] {
        let fake = Fake::start(move |_, _| match message {
            "" => Act::Plain(status, "Location: http://127.0.0.1:1/\r\n", String::new()),
            _ => Act::Plain(status, "", error_body(message)),
        });
        let (result, _) = call(&[openai("p", &fake)], timing());
        assert_eq!(result.unwrap_err().user_text(), text);
        assert_eq!(fake.count(), requests, "{status}");
    }
}

#[test]
fn a_field_that_is_refused_is_left_out() {
    let fake = Fake::start(|_, seen| {
        let refuse = |field: &str| Act::Plain(400, "", error_body(&format!("Unrecognized request argument: {field}")));
        match &seen.body {
            body if body.get("stream_options").is_some() => refuse("stream_options"),
            body if body.get("store").is_some() => refuse("store"),
            body if body.get("max_completion_tokens").is_some() => refuse("max_completion_tokens"),
            _ => stream_of(&["ok"]),
        }
    });
    let (result, kept) = call(&[openai("p", &fake)], timing());
    assert!(result.is_ok(), "{result:?}");
    assert_eq!((kept.text.as_str(), fake.count()), ("ok", 4));
    assert!(fake.seen()[3].body["max_tokens"].is_number());
}

#[test]
fn garbage_is_named() {
    let fake = Fake::start(|_, _| Act::Stream(vec!["<html>proxy login</html>\n".into()]));
    let (result, _) = call(&[openai("p", &fake)], timing());
    let text = result.unwrap_err().user_text();
    assert!(text.contains("<html>proxy login</html>"), "{text}");
    let fake = Fake::start(|_, _| Act::Stream(vec!["data: {oops\n\n".into()]));
    let (result, _) = call(&[openai("p", &fake)], timing());
    assert_eq!(result.unwrap_err().error.kind, Reason::Format);
    assert_eq!(fake.count(), 1);
}

#[test]
fn a_stall_ends_by_the_read_timeout() {
    let fake = Fake::start(|_, _| Act::Stall(vec![text("par")]));
    let (result, kept) = call(&[openai("p", &fake)], Timing { per_read: Duration::from_millis(150), ..timing() });
    let failure = result.unwrap_err();
    assert!(failure.error.message.contains("stopped sending"), "{}", failure.error.message);
    assert_eq!((kept.text.as_str(), fake.count()), ("par", 1));
}

#[test]
fn a_break_after_text_is_not_retried_but_one_before_it_is() {
    let fake = Fake::start(|_, _| Act::Break(vec![text("par")]));
    let (result, kept) = call(&[openai("p", &fake)], timing());
    assert_eq!(result.unwrap_err().error.kind, Reason::Timeout);
    assert_eq!((kept.text.as_str(), fake.count()), ("par", 1));

    let fake = Fake::start(|n, _| if n == 0 { Act::Break(vec![]) } else { stream_of(&["ok"]) });
    let (result, kept) = call(&[openai("p", &fake)], timing());
    assert!(result.is_ok());
    assert_eq!(kept.text, "ok");
}

#[test]
fn the_next_model_answers() {
    let bad = Fake::start(|_, _| Act::Plain(401, "", error_body("bad key")));
    let good = Fake::start(|_, _| stream_of(&["ok"]));
    let (result, kept) = call(&[openai("bad", &bad), openai("good", &good)], timing());
    assert_eq!(result.unwrap().by, 1);
    assert_eq!(kept.text, "ok");
    assert_eq!((bad.count(), good.count()), (1, 1));
}

#[test]
fn every_model_gets_its_turn_within_four_requests() {
    let first = Fake::start(|_, _| Act::Plain(500, "", error_body("a")));
    let second = Fake::start(|_, _| Act::Plain(429, "", error_body("b")));
    let missing: Candidate = {
        let id = ModelRef { provider: "x".into(), model: "y".into() };
        (id, Err(Unusable::NoKey("No API key found for provider \"x\".".into())))
    };
    let (result, _) = call(&[openai("one", &first), missing, openai("two", &second)], timing());
    assert_eq!((first.count(), second.count()), (3, 1));
    let failure = result.unwrap_err();
    assert_eq!(failure.unusable, None);
    assert_eq!(
        failure.user_text(),
        "All models failed (3): one/m: 500 a (timeout) | x/y: No API key found for provider \"x\". (auth) | two/m: 429 b (rate_limit)"
    );
}

#[test]
fn nothing_usable_is_told_apart() {
    let id = ModelRef { provider: "x".into(), model: "y".into() };
    let (result, _) = call(&[(id, Err(Unusable::NoKey("no key".into())))], timing());
    assert_eq!(result.unwrap_err().unusable, Some(Unusable::NoKey("no key".into())));
}

/// Starts a call on a thread of its own; its result arrives on the receiver.
fn in_background(candidate: Candidate, make: MakeAgent) -> (Arc<RunCancel>, mpsc::Receiver<(Outcome, String)>) {
    let cancel = Arc::new(RunCancel::default());
    let mut client = Client::for_run(timing(), make, cancel.clone(), String::new());
    let (tx, rx) = mpsc::channel();
    thread::spawn(move || {
        let mut kept = Kept::default();
        let result = client.call(&[candidate], &mut |_| ModelRequest::default(), &mut kept);
        let _ = tx.send((result, kept.text));
    });
    (cancel, rx)
}

fn expect_abort(rx: &mpsc::Receiver<(Outcome, String)>) {
    let (result, _) = rx.recv_timeout(Duration::from_secs(10)).expect("the abort reaches the run");
    assert_eq!(result.unwrap_err().error.kind, Reason::Aborted);
}

#[test]
fn abort_while_streaming() {
    let fake = Fake::start(|_, _| Act::Stall(vec![text("par")]));
    let (cancel, rx) = in_background(openai("p", &fake), Arc::new(make_agent));
    wait_until("the request", || fake.count() == 1);
    cancel.cancel();
    expect_abort(&rx);
}

#[test]
fn abort_while_the_endpoint_says_nothing() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    let (cancel, rx) = in_background(endpoint("p", Api::OpenAiCompletions, &url), Arc::new(make_agent));
    let _socket = listener.accept().unwrap();
    cancel.cancel();
    expect_abort(&rx);
}

#[test]
fn abort_while_waiting_for_a_retry() {
    let fake = Fake::start(|_, _| Act::Plain(429, "Retry-After: 2\r\n", error_body("slow")));
    let (cancel, rx) = in_background(openai("p", &fake), Arc::new(make_agent));
    wait_until("the request", || fake.count() == 1);
    cancel.cancel();
    expect_abort(&rx);
    assert_eq!(fake.count(), 1);
}

#[test]
fn abort_before_the_start() {
    let fake = Fake::start(|_, _| stream_of(&["no"]));
    let (mut client, cancel) = client(timing());
    cancel.cancel();
    let mut kept = Kept::default();
    let result = client.call(&[openai("p", &fake)], &mut |_| ModelRequest::default(), &mut kept);
    assert_eq!(result.unwrap_err().error.kind, Reason::Aborted);
    assert_eq!(fake.count(), 0);
}

#[test]
fn cancel_does_not_wait_for_a_resolver_that_hangs() {
    let (release, held) = bounded::<()>(0);
    let (asked, was_asked) = bounded::<()>(1);
    let (cancel, rx) =
        in_background(endpoint("p", Api::OpenAiCompletions, "http://never.example/v1"), hanging_resolver(asked, held));
    was_asked.recv().unwrap();
    let began = Instant::now();
    cancel.cancel();
    assert!(began.elapsed() < Duration::from_secs(1));
    assert!(rx.try_recv().is_err(), "the thread still sits in the resolver");
    drop(release);
    expect_abort(&rx);
}

/// An agent whose name look-ups say that they began and then wait for the other channel.
pub(crate) fn hanging_resolver(
    asked: crossbeam_channel::Sender<()>,
    held: crossbeam_channel::Receiver<()>,
) -> MakeAgent {
    use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
    use ureq::unversioned::transport::{DefaultConnector, NextTimeout};

    #[derive(Debug, Clone)]
    struct Hangs(crossbeam_channel::Sender<()>, crossbeam_channel::Receiver<()>);
    impl Resolver for Hangs {
        fn resolve(
            &self,
            _: &ureq::http::Uri,
            _: &ureq::config::Config,
            _: NextTimeout,
        ) -> Result<ResolvedSocketAddrs, ureq::Error> {
            let _ = self.0.try_send(());
            let _ = self.1.recv();
            Err(ureq::Error::HostNotFound)
        }
    }
    Arc::new(move |timing| {
        Agent::with_parts(agent_config(timing), DefaultConnector::default(), Hangs(asked.clone(), held.clone()))
    })
}

#[test]
fn whatever_a_run_says_has_one_limit() {
    let most = memory::run_text_bytes();
    let block = "x".repeat(most / 4);
    let event = |delta: Value| format!("data: {}\n\n", json!({"choices": [{"delta": delta}]}));
    let call_of = |index: usize| {
        let function = json!({"name": "f", "arguments": json!({"a": block}).to_string()});
        event(json!({"tool_calls": [{"index": index, "id": format!("c{index}"), "function": function}]}))
    };
    let thought = event(json!({"reasoning_content": block}));
    for (what, piece, shown) in [
        ("text", (0..6).map(|_| text(&block)).collect::<Vec<_>>(), true),
        ("thoughts", vec![thought; 6], false),
        ("calls", (0..6).map(call_of).collect(), false),
        ("the pieces of one call", vec![call_of(0); 6], false),
    ] {
        let fake = Fake::start(move |_, _| Act::Stream(piece.iter().cloned().chain([done()]).collect()));
        let (result, kept) = call(&[openai("p", &fake), openai("other", &fake)], timing());
        let failure = result.expect_err(what);
        assert!(failure.error.message.contains("said more than"), "{what}: {:?}", failure.error);
        assert_eq!((fake.count(), !kept.text.is_empty()), (1, shown), "{what}");
        assert!(kept.text.len() <= most, "{what}");
    }
    // Three answers of one run share it.
    let fake = Fake::start(move |_, _| Act::Stream(vec![text(&block), text("."), done()]));
    let (mut client, _) = client(timing());
    let mut ask = || client.call(&[openai("p", &fake)], &mut |_| ModelRequest::default(), &mut Kept::default());
    assert!((0..3).all(|_| ask().is_ok()));
    assert!(ask().is_err_and(|failure| failure.error.message.contains("said more than")));
}

#[test]
fn the_echo_model_needs_no_network() {
    let id = ModelRef { provider: "builtin".into(), model: "echo".into() };
    let (_, Ok(mut echo)) = endpoint("builtin", Api::Echo, "") else { unreachable!() };
    echo.id = id.clone();
    let (result, kept) = call(&[(id, Ok(echo))], timing());
    assert!(result.is_ok());
    assert_eq!(kept.text, "[builtin/echo] hi");
}

#[test]
fn headers_of_the_config_replace_ours() {
    let (_, Ok(mut endpoint)) = endpoint("p", Api::OpenAiCompletions, "http://x") else { unreachable!() };
    endpoint.headers.push(("Authorization".into(), Secret::new("Basic b")));
    let all = headers(&endpoint);
    let found: Vec<&str> =
        all.iter().filter(|(n, _)| n.eq_ignore_ascii_case("authorization")).map(|(_, v)| v.as_str()).collect();
    assert_eq!(found, ["Basic b"]);
}

#[test]
fn retry_after_forms() {
    let read = |name: &'static str, value: &str| {
        let mut headers = ureq::http::HeaderMap::new();
        headers.insert(name, value.parse().unwrap());
        retry_after(&headers)
    };
    assert_eq!(read("retry-after", "2"), Some(Duration::from_secs(2)));
    assert_eq!(read("retry-after-ms", "250"), Some(Duration::from_millis(250)));
    assert_eq!(read("retry-after", "-1"), None);
    assert_eq!(read("retry-after", "1e300"), None);
    assert_eq!(read("retry-after", "soon"), None);
    assert_eq!(read("retry-after", "Thu, 01 Jan 1970 00:00:00 GMT"), Some(Duration::ZERO));
    assert!(read("retry-after", "Fri, 01 Jan 2100 00:00:00 GMT").unwrap() > Duration::from_secs(86400));
}
