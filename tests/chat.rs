//! `chat.*` against the real binary: send, abort from every state, inject, history, commands (protocol 9, DECISIONS
//! 51–57).

use std::fs;
use std::io::Read;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};

use crate::common::client::Client;
use crate::common::model::{Model, Play};
use crate::common::{Gateway, Home, merge, wait_until};

const QUIET: Duration = Duration::from_millis(250);
/// An abort is visible within 50 ms; this leaves room for a machine that does other things.
const AT_ONCE: Duration = Duration::from_millis(500);

fn place(plays: Vec<Play>) -> (Model, Home, Gateway) {
    let model = Model::start(plays);
    let home = Home::new();
    home.configure(model.config());
    let gateway = Gateway::start(&home, &[]);
    (model, home, gateway)
}

fn say(client: &mut Client, session: &str, key: &str, message: &str) {
    let params = json!({"sessionKey": session, "message": message, "idempotencyKey": key});
    assert_eq!(client.call("chat.send", params), json!({"runId": key, "status": "started"}));
}

fn chat_event(client: &mut Client, run: &str, state: &str) -> Value {
    let what = format!("chat {state} of {run}");
    let fits = |f: &Value| f["event"] == "chat" && f["payload"]["runId"] == run && f["payload"]["state"] == state;
    client.take(&what, fits)["payload"].clone()
}

fn lifecycle_start(client: &mut Client, run: &str) {
    client.take(&format!("start of {run}"), |f| {
        f["event"] == "agent" && f["payload"]["runId"] == run && f["payload"]["data"]["phase"] == "start"
    });
}

fn finished(client: &mut Client, session: &str, key: &str, message: &str) -> Value {
    say(client, session, key, message);
    chat_event(client, key, "final")
}

fn text_of(event: &Value) -> &str {
    event["message"]["content"][0]["text"].as_str().unwrap_or_default()
}

fn history(client: &mut Client, session: &str) -> Vec<(String, String)> {
    let messages = client.call("chat.history", json!({"sessionKey": session}))["messages"].clone();
    let line = |m: &Value| {
        let text = m["content"].as_array().into_iter().flatten().filter_map(|b| b["text"].as_str()).collect();
        (m["role"].as_str().unwrap_or_default().to_owned(), text)
    };
    messages.as_array().expect("messages").iter().map(line).collect()
}

/// Files of the main agent's sessions with this in their name.
fn session_files(home: &Home, part: &str) -> Vec<String> {
    let files = fs::read_dir(home.state().join("agents/main/sessions")).expect("sessions");
    let names = files.flatten().map(|f| f.file_name().to_string_lossy().into_owned());
    names.filter(|name| name.contains(part)).collect()
}

#[test]
fn sending_and_reading_back() {
    let (model, _home, gateway) = place(vec![Play::words("word0 word1 ")]);
    let (mut client, mut observer) = (Client::connect(gateway.port), Client::connect(gateway.port));
    let done = finished(&mut client, "main", "k1", "hello\u{7} from\tchat");
    assert_eq!(text_of(&done), "word0 word1");
    let keys: Vec<&String> = done.as_object().expect("an object").keys().collect();
    assert_eq!(keys, ["runId", "sessionKey", "seq", "state", "message"]);
    assert_eq!((&done["sessionKey"], &done["message"]["role"]), (&json!("agent:main:main"), &json!("assistant")));
    assert_eq!(chat_event(&mut observer, "k1", "final"), done);
    let answer = client.call("chat.history", json!({"sessionKey": "main", "limit": 5}));
    let entry = client.call("sessions.list", json!({}))["sessions"][0].clone();
    assert_eq!((&answer["sessionKey"], &answer["sessionId"]), (&json!("main"), &entry["sessionId"]));
    let messages = answer["messages"].as_array().expect("messages");
    assert_eq!(messages[0]["content"], json!([{"type": "text", "text": "hello from\tchat"}]), "without its date");
    assert_eq!((&messages[1]["provider"], &messages[1]["model"]), (&json!("mock"), &json!("mock-1")));
    let asked = model.requests()[0]["messages"].as_array().and_then(|m| m.last().cloned()).expect("a message");
    let text = asked["content"].as_str().expect("text");
    assert!(text.starts_with('[') && text.ends_with(" UTC] hello from\tchat"), "{text}");
    assert_eq!(history(&mut client, "no-such-session"), []);

    for (params, want) in [
        (json!({"message": "  "}), "message or attachment required"),
        (json!({"message": "a\u{0}b"}), "message must not contain null bytes"),
        (
            json!({"message": "", "attachments": [{"type": "image", "mimeType": "image/png", "content": "%"}]}),
            "Error: attachment image: invalid base64 content",
        ),
        (json!({"message": "x", "sessionKey": "agent:ghost:main"}), "ghost"),
    ] {
        let mut all = json!({"sessionKey": "main", "idempotencyKey": "bad"});
        merge(&mut all, params);
        let refused = client.request("chat.send", all);
        let said = refused["error"]["message"].as_str().unwrap_or_default();
        assert!(said == want || (want == "ghost" && said.contains(want)), "{refused}");
        assert_eq!(refused["error"]["code"], "INVALID_REQUEST");
    }
    assert_eq!(model.served(), 1);
}

#[test]
fn an_abort_while_words_come_ends_the_run_for_everybody() {
    let words: String = (0..400).map(|n| format!("w{n} ")).collect();
    let (model, home, gateway) = place(vec![Play::slow(&words, Duration::from_millis(10)), Play::words("second")]);
    let (mut client, mut observer) = (Client::connect(gateway.port), Client::connect(gateway.port));
    say(&mut client, "main", "k1", "LONG please");
    for state in ["delta", "delta"] {
        chat_event(&mut observer, "k1", state);
    }
    let begun = Instant::now();
    let answer = client.call("chat.abort", json!({"sessionKey": "main", "runId": "k1"}));
    assert_eq!(answer, json!({"ok": true, "aborted": true, "runIds": ["k1"]}));
    let gone = chat_event(&mut observer, "k1", "aborted");
    println!("abort while streaming: visible after {:?}", begun.elapsed());
    assert!(begun.elapsed() < AT_ONCE, "{:?}", begun.elapsed());
    assert_eq!((&gone["stopReason"], &gone["sessionKey"]), (&json!("rpc"), &json!("agent:main:main")));
    let partial = text_of(&gone).to_owned();
    observer.kept();
    assert!(partial.starts_with("w0 w1"), "{gone}");
    let again = client.call("chat.abort", json!({"sessionKey": "main", "runId": "k1"}));
    assert_eq!(again, json!({"ok": true, "aborted": false, "runIds": []}));

    assert_eq!(text_of(&finished(&mut client, "main", "k2", "and now?")), "second");
    let late = |f: &Value| f["payload"]["runId"] == "k1";
    assert!(!observer.drain(QUIET).iter().any(late), "words of an aborted run never appear");
    let lines = history(&mut client, "main");
    assert_eq!(lines.len(), 4, "{lines:?}");
    assert!(lines[1].1.starts_with(&partial) && lines[1].1.len() < words.len(), "{lines:?}");
    let messages = client.call("chat.history", json!({"sessionKey": "main"}))["messages"].clone();
    assert_eq!(
        (&messages[1]["stopReason"], &messages[1]["errorMessage"]),
        (&json!("aborted"), &json!("Request was aborted"))
    );
    let second = model.requests()[1]["messages"].to_string();
    assert!(second.contains(&partial), "the model knows what it had said: {second}");
    assert_eq!(session_files(&home, ".jsonl").iter().filter(|n| !n.starts_with("sessions")).count(), 1);
}

/// The run k1 hangs before its first byte: an abort is visible at once, and the session's next turn starts.
fn abort_and_go_on(gateway: &Gateway, what: &str, reached: impl FnOnce()) {
    let (mut client, mut observer) = (Client::connect(gateway.port), Client::connect(gateway.port));
    say(&mut client, "main", "k1", "hello");
    lifecycle_start(&mut observer, "k1");
    reached();
    say(&mut client, "main", "k2", "next");
    let begun = Instant::now();
    let answer = client.call("chat.abort", json!({"sessionKey": "main", "runId": "k1"}));
    assert_eq!(answer["runIds"], json!(["k1"]));
    let gone = chat_event(&mut observer, "k1", "aborted");
    println!("abort while {what}: visible after {:?}", begun.elapsed());
    assert!(begun.elapsed() < AT_ONCE, "{:?}", begun.elapsed());
    assert!(gone["message"].is_null(), "{gone}");
    observer.kept();
    lifecycle_start(&mut observer, "k2");
    println!("abort while {what}: the next turn starts after {:?}", begun.elapsed());
    assert!(begun.elapsed() < AT_ONCE, "{:?}", begun.elapsed());
    client.call("chat.abort", json!({"sessionKey": "main"}));
    chat_event(&mut observer, "k2", "aborted");
    observer.kept();
    let late = |f: &Value| f["payload"]["runId"] == "k1" || f["payload"]["runId"] == "k2";
    assert!(!observer.drain(QUIET).iter().any(late));
    assert_eq!(history(&mut client, "main")[0], ("user".to_owned(), "hello".to_owned()), "the question is kept");
}

fn provider_at(url: &str) -> Value {
    json!({
        "models": {"providers": {"far": {"baseUrl": url, "apiKey": "k", "api": "openai-completions",
            "models": [{"id": "m", "name": "M"}]}}},
        "agents": {"defaults": {"model": {"primary": "far/m"}, "skipBootstrap": true}},
    })
}

#[test]
fn an_abort_while_connecting_is_seen_at_once() {
    // A listener whose queue is full: further connects get no answer at all.
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("loopback");
    listener.listen(0).expect("listen");
    let address = listener.local_addr().expect("bound").as_socket().expect("an address");
    let fill: Vec<_> = (0..4).map(|_| TcpStream::connect_timeout(&address, Duration::from_millis(60))).collect();
    assert!(fill.iter().any(Result::is_err), "the queue is full");
    let home = Home::new();
    home.configure(provider_at(&format!("http://{address}/v1")));
    let gateway = Gateway::start(&home, &[]);
    // State 02 is SYN_SENT: the question is in the transcript by then.
    let connecting = format!(":{:04X} 02 ", address.port());
    abort_and_go_on(&gateway, "connecting", || {
        wait_until("the run to connect", || {
            std::fs::read_to_string("/proc/net/tcp").is_ok_and(|table| table.contains(&connecting))
        });
    });
}

#[test]
fn an_abort_before_the_first_byte_is_seen_at_once() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let address = listener.local_addr().expect("bound");
    let home = Home::new();
    home.configure(provider_at(&format!("http://{address}/v1")));
    let gateway = Gateway::start(&home, &[]);
    abort_and_go_on(&gateway, "waiting for the first byte", || {
        let (mut stream, _) = listener.accept().expect("the model is asked");
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("a request");
        // Kept open: the answer never comes.
        std::mem::forget(stream);
    });
}

/// Runs the gateway in a mount namespace of its own with a resolver that never answers. Needs root; None without.
#[cfg(target_os = "linux")]
fn with_hanging_resolver(home: &Home) -> Option<(UdpSocket, Gateway)> {
    let silent = UdpSocket::bind("127.77.0.53:53").ok()?;
    let private = Command::new("unshare").args(["-m", "true"]).output().ok()?;
    if !private.status.success() {
        return None;
    }
    let conf = home.path().join("resolv.conf");
    fs::write(&conf, "nameserver 127.77.0.53\noptions timeout:20 attempts:1\n").expect("a file");
    let gateway = Gateway::start_with(home, &[], |command| {
        let script = "mount --bind \"$0\" /etc/resolv.conf && exec \"$@\"";
        let mut wrapped = Command::new("unshare");
        wrapped.args(["-m", "sh", "-c", script]).arg(&conf).arg(command.get_program()).args(command.get_args());
        wrapped.env_clear().stdin(std::process::Stdio::null());
        wrapped.envs(command.get_envs().filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned()))));
        *command = wrapped;
    });
    Some((silent, gateway))
}

#[cfg(target_os = "linux")]
#[test]
fn an_abort_during_a_name_look_up_that_hangs_is_seen_at_once() {
    let home = Home::new();
    home.configure(provider_at("http://model.hangs.example.net/v1"));
    let Some((resolver, mut gateway)) = with_hanging_resolver(&home) else {
        println!("skipped: no resolver of our own without root and unshare");
        return;
    };
    resolver.set_read_timeout(Some(crate::common::patience())).expect("a socket");
    abort_and_go_on(&gateway, "looking up a name", || {
        let mut packet = [0; 512];
        let read = resolver.recv(&mut packet).expect("the resolver is asked");
        assert!(packet[..read].windows(5).any(|w| w == b"hangs"));
    });
    let begun = Instant::now();
    assert_eq!(gateway.stop(), Some(0), "the threads that still wait hold nobody up");
    assert!(begun.elapsed() < Duration::from_secs(6), "{:?}", begun.elapsed());
}

#[test]
fn stop_phrases_end_what_runs() {
    let (_model, _home, gateway) = place(vec![Play::Stall(vec!["on and on ".into()])]);
    let mut client = Client::connect(gateway.port);
    for (n, phrase) in ["/stop", "Please stop!"].into_iter().enumerate() {
        let run = format!("r{n}");
        say(&mut client, "main", &run, "tell me a story");
        chat_event(&mut client, &run, "delta");
        let params = json!({"sessionKey": "main", "message": phrase, "idempotencyKey": format!("stop{n}")});
        assert_eq!(client.call("chat.send", params), json!({"ok": true, "aborted": true, "runIds": [run]}));
        assert_eq!(chat_event(&mut client, &run, "aborted")["stopReason"], "stop");
    }
    let params = json!({"sessionKey": "main", "message": "stop", "idempotencyKey": "nothing"});
    assert_eq!(client.call("chat.send", params), json!({"ok": true, "aborted": false, "runIds": []}));
}

#[test]
fn a_silent_reply_shows_nothing() {
    let (model, _home, gateway) =
        place(vec![Play::Text(["NO", "_RE", "PLY"].map(str::to_owned).to_vec(), Duration::from_millis(170))]);
    let mut client = Client::connect(gateway.port);
    let id = client.send_request("agent", json!({"message": "psst", "sessionKey": "main", "idempotencyKey": "k"}));
    let done = chat_event(&mut client, "k", "final");
    assert!(done["message"].is_null(), "{done}");
    client.answer(&id);
    let payloads = client.answer(&id)["payload"]["result"]["payloads"].clone();
    assert_eq!(payloads, json!([]));
    let shown = |f: &Value| f["payload"]["stream"] == "assistant" || f["payload"]["state"] == "delta";
    assert!(!client.kept().iter().any(shown));
    assert_eq!(history(&mut client, "main"), [("user".to_owned(), "psst".to_owned())]);
    model.set(vec![Play::words("Yes. NO_REPLY")]);
    assert_eq!(text_of(&finished(&mut client, "main", "k2", "well?")), "Yes.");
}

#[test]
fn new_and_reset_begin_another_session() {
    let (model, home, gateway) = place(vec![Play::words("fine")]);
    let mut client = Client::connect(gateway.port);
    let session = |client: &mut Client| {
        let id = client.call("chat.history", json!({"sessionKey": "main"}))["sessionId"].clone();
        id.as_str().expect("an id").to_owned()
    };
    finished(&mut client, "main", "k1", "remember the number 7");
    let first = session(&mut client);
    finished(&mut client, "main", "k2", "/new and say hello");
    let second = session(&mut client);
    assert_ne!(first, second);
    assert_eq!(history(&mut client, "main")[0].1, "and say hello");
    assert_eq!(session_files(&home, &format!("{first}.jsonl.reset.")).len(), 1);
    let asked = model.requests()[1]["messages"].to_string();
    assert!(asked.contains("and say hello") && !asked.contains("number 7"), "{asked}");
    finished(&mut client, "main", "k3", "/RESET");
    assert_ne!(session(&mut client), second);
    assert!(model.requests()[2]["messages"].to_string().contains("A new session was started via /new or /reset."));
    finished(&mut client, "main", "k4", "go on");
    assert_eq!(session_files(&home, ".reset.").len(), 2);
    assert_eq!(history(&mut client, "main").len(), 4);
}

#[test]
fn images_go_to_the_model_and_not_into_history() {
    let model = Model::start(vec![Play::words("a dot")]);
    let home = Home::new();
    let mut config = model.config();
    config["models"]["providers"]["mock"]["models"][0]["input"] = json!(["text", "image"]);
    home.configure(config);
    let gateway = Gateway::start(&home, &[]);
    let mut client = Client::connect(gateway.port);
    let png = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";
    let attachment = json!({"type": "image", "mimeType": "image/png", "fileName": "dot.png", "content": png});
    let params = json!({"sessionKey": "main", "message": "what is it?", "idempotencyKey": "k",
        "attachments": [attachment]});
    client.call("chat.send", params);
    chat_event(&mut client, "k", "final");
    let asked = model.requests()[0]["messages"].to_string();
    assert!(asked.contains(&format!("data:image/png;base64,{png}")), "{asked}");
    let messages = client.call("chat.history", json!({"sessionKey": "main"}))["messages"].clone();
    let image = &messages[0]["content"][1];
    assert_eq!((&image["type"], &image["omitted"]), (&json!("image"), &json!(true)), "{messages}");
    assert!(image["bytes"].as_u64() > Some(50) && image.get("data").is_none());
}

#[test]
fn inject_adds_to_the_transcript_and_tells_everybody() {
    let (model, _home, gateway) = place(vec![Play::words("hello")]);
    let (mut client, mut observer) = (Client::connect(gateway.port), Client::connect(gateway.port));
    let params = json!({"sessionKey": "main", "message": "from outside", "label": "cron"});
    let refused = client.request("chat.inject", params.clone());
    assert_eq!(refused["error"]["message"], "session not found");
    finished(&mut client, "main", "k", "hi");
    let answer = client.call("chat.inject", params);
    let id = answer["messageId"].as_str().expect("an id");
    let event = chat_event(&mut observer, &format!("inject-{id}"), "final");
    assert_eq!((&event["seq"], &event["sessionKey"]), (&json!(0), &json!("agent:main:main")));
    assert_eq!(text_of(&event), "[cron]\n\nfrom outside");
    let messages = client.call("chat.history", json!({"sessionKey": "main"}))["messages"].clone();
    let last = messages.as_array().and_then(|m| m.last()).expect("messages");
    assert_eq!((&last["provider"], &last["model"]), (&json!("openclaw"), &json!("gateway-injected")));
    finished(&mut client, "main", "k2", "and?");
    assert!(model.requests()[1]["messages"].to_string().contains("from outside"));
}

#[test]
fn system_events_come_before_the_next_turn() {
    let (model, _home, gateway) = place(vec![Play::words("noted")]);
    let mut client = Client::connect(gateway.port);
    for text in ["Door opened", "Door opened", "Window\nclosed"] {
        assert_eq!(client.call("system-event", json!({"text": text})), json!({"ok": true}));
    }
    let status = client.call("status", json!({}));
    assert_eq!(status["queuedSystemEvents"].as_array().map(Vec::len), Some(2), "{status}");
    finished(&mut client, "main", "k", "what happened?");
    let last_text = |n: usize| {
        let messages = model.requests()[n]["messages"].clone();
        messages.as_array().and_then(|m| m.last()).and_then(|m| m["content"].as_str()).expect("text").to_owned()
    };
    let text = last_text(0);
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with("System: [20") && lines[0].ends_with(" UTC] Door opened"), "{text}");
    assert!(lines[1].ends_with(" UTC] Window closed") && text.ends_with("] what happened?"), "{text}");
    assert_eq!(history(&mut client, "main")[0].0, "user");
    assert_eq!(client.call("status", json!({}))["queuedSystemEvents"], json!([]));
    finished(&mut client, "main", "k2", "and now?");
    assert!(!last_text(1).contains("System:"));
}
