//! A model endpoint that does what a script says, in the dialect that is asked for: OpenAI's chat completions under
//! `/v1/chat/completions`, Anthropic's messages under `/v1/messages`, Ollama's chat under `/api/chat`.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

/// What one request gets.
#[derive(Clone, Debug)]
pub enum Play {
    /// Streamed pieces of text, with a pause before each, then stop and usage.
    Text(Vec<String>, Duration),
    /// A text, then a call of this tool with these arguments.
    Tool(&'static str, &'static str, Value),
    /// A status with this body and these headers.
    Status(u16, String, Vec<(&'static str, String)>),
    /// Bytes as they are under a 200 of `text/event-stream`, then the end of the connection.
    Raw(String),
    /// Some pieces, then silence until the model is dropped.
    Stall(Vec<String>),
    /// Some pieces, then a reset of the connection.
    Break(Vec<String>),
}

impl Play {
    pub fn words(text: &str) -> Play {
        Play::slow(text, Duration::ZERO)
    }

    /// Word by word with a pause before each.
    pub fn slow(text: &str, pause: Duration) -> Play {
        Play::Text(text.split_inclusive(' ').map(str::to_owned).collect(), pause)
    }

    pub fn status(status: u16, body: &str) -> Play {
        Play::Status(status, body.to_owned(), Vec::new())
    }
}

/// One request as it arrived.
#[derive(Clone, Debug)]
pub struct Asked {
    pub path: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Value,
}

impl Asked {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }
}

pub struct Model {
    pub port: u16,
    plays: Arc<Mutex<Vec<Play>>>,
    asked: Arc<Mutex<Vec<Asked>>>,
    served: Arc<AtomicUsize>,
    hung_up: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
}

impl Model {
    /// Plays the given parts in order; the last one again and again.
    pub fn start(plays: Vec<Play>) -> Model {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let port = listener.local_addr().expect("an address").port();
        let model = Model {
            port,
            plays: Arc::new(Mutex::new(plays)),
            asked: Arc::default(),
            served: Arc::default(),
            hung_up: Arc::default(),
            stop: Arc::default(),
        };
        let (plays, asked) = (model.plays.clone(), model.asked.clone());
        let (served, stop) = (model.served.clone(), model.stop.clone());
        let hung_up = model.hung_up.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                let (plays, asked) = (plays.clone(), asked.clone());
                let (served, stop, hung_up) = (served.clone(), stop.clone(), hung_up.clone());
                thread::spawn(move || {
                    let Some(request) = read_request(&stream) else { return };
                    let play = {
                        let mut plays = plays.lock().expect("plays");
                        if plays.len() > 1 { plays.remove(0) } else { plays[0].clone() }
                    };
                    let dialect = Dialect::of(&request.path);
                    asked.lock().expect("requests").push(request);
                    served.fetch_add(1, Ordering::SeqCst);
                    perform(&stream, dialect, play, &stop, &hung_up);
                });
            }
        });
        model
    }

    /// Configuration for `models` and the default model of the agents.
    pub fn config(&self) -> Value {
        self.config_for("openai-completions")
    }

    /// The same for another wire format: `anthropic-messages`, `ollama`.
    pub fn config_for(&self, api: &str) -> Value {
        json!({
            "models": {"providers": {"mock": self.provider(api)}},
            "agents": {"defaults": {"model": {"primary": "mock/mock-1"}, "skipBootstrap": true}},
        })
    }

    /// A provider's entry with one model.
    pub fn provider(&self, api: &str) -> Value {
        let path = if api == "openai-completions" { "/v1" } else { "" };
        json!({
            "baseUrl": format!("http://127.0.0.1:{}{path}", self.port),
            "apiKey": "mock-key",
            "api": api,
            "models": [{"id": "mock-1", "name": "Mock One", "contextWindow": 128000, "maxTokens": 8192}],
        })
    }

    pub fn set(&self, plays: Vec<Play>) {
        *self.plays.lock().expect("plays") = plays;
    }

    /// Bodies of the requests so far.
    pub fn requests(&self) -> Vec<Value> {
        self.asked().into_iter().map(|request| request.body).collect()
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().expect("requests").clone()
    }

    /// Connections that were closed on a model that had fallen silent.
    pub fn hung_up(&self) -> usize {
        self.hung_up.load(Ordering::SeqCst)
    }

    pub fn served(&self) -> usize {
        self.served.load(Ordering::SeqCst)
    }
}

impl Drop for Model {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // Wakes the accept loop.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

fn read_request(stream: &TcpStream) -> Option<Asked> {
    stream.set_read_timeout(Some(super::patience())).ok()?;
    let mut reader = BufReader::new(stream);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|n| *n > 0)?;
        match line.trim_end() {
            "" => break,
            text => lines.push(text.to_owned()),
        }
    }
    let path = lines.first()?.split(' ').nth(1)?.to_owned();
    let headers: Vec<(String, String)> = lines[1..]
        .iter()
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let length = headers.iter().find(|(name, _)| name == "content-length").and_then(|(_, v)| v.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut body).ok()?;
    Some(Asked { path, headers, body: serde_json::from_slice(&body).unwrap_or(Value::Null) })
}

#[derive(Clone, Copy)]
enum Dialect {
    OpenAi,
    Anthropic,
    Ollama,
}

impl Dialect {
    fn of(path: &str) -> Dialect {
        match path {
            p if p.ends_with("/messages") => Dialect::Anthropic,
            p if p.ends_with("/api/chat") => Dialect::Ollama,
            _ => Dialect::OpenAi,
        }
    }

    fn begin(self) -> String {
        match self {
            Dialect::Anthropic => [
                sse(&json!({"type": "message_start", "message": {"usage": {
                    "input_tokens": 100, "output_tokens": 1,
                    "cache_read_input_tokens": 5, "cache_creation_input_tokens": 10}}})),
                sse(&json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}})),
            ]
            .concat(),
            _ => String::new(),
        }
    }

    fn piece(self, text: &str) -> String {
        match self {
            Dialect::OpenAi => sse(&json!({"choices": [{"index": 0, "delta": {"content": text}}]})),
            Dialect::Anthropic => sse(&json!({"type": "content_block_delta", "index": 0,
                "delta": {"type": "text_delta", "text": text}})),
            Dialect::Ollama => {
                format!("{}\n", json!({"message": {"role": "assistant", "content": text}, "done": false}))
            }
        }
    }

    fn tool(self, name: &str, arguments: &Value) -> String {
        match self {
            Dialect::OpenAi => sse(&json!({"choices": [{"index": 0, "delta": {"tool_calls": [{"index": 0,
                "id": "call_1", "type": "function",
                "function": {"name": name, "arguments": arguments.to_string()}}]}}]})),
            Dialect::Anthropic => [
                sse(&json!({"type": "content_block_stop", "index": 0})),
                sse(&json!({"type": "content_block_start", "index": 1,
                    "content_block": {"type": "tool_use", "id": "call_1", "name": name, "input": {}}})),
                sse(&json!({"type": "content_block_delta", "index": 1,
                    "delta": {"type": "input_json_delta", "partial_json": arguments.to_string()}})),
            ]
            .concat(),
            Dialect::Ollama => format!(
                "{}\n",
                json!({"message": {"role": "assistant", "content": "",
                "tool_calls": [{"function": {"name": name, "arguments": arguments}}]}, "done": false})
            ),
        }
    }

    fn end(self, tool: bool) -> String {
        match self {
            Dialect::OpenAi => {
                let reason = if tool { "tool_calls" } else { "stop" };
                [
                    sse(&json!({"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]})),
                    sse(&json!({"choices": [], "usage": {"prompt_tokens": 100, "completion_tokens": 20}})),
                    "data: [DONE]\n\n".to_owned(),
                ]
                .concat()
            }
            Dialect::Anthropic => {
                let reason = if tool { "tool_use" } else { "end_turn" };
                [
                    sse(&json!({"type": "content_block_stop", "index": usize::from(tool)})),
                    sse(&json!({"type": "message_delta", "delta": {"stop_reason": reason},
                        "usage": {"output_tokens": 20}})),
                    sse(&json!({"type": "message_stop"})),
                ]
                .concat()
            }
            Dialect::Ollama => format!(
                "{}\n",
                json!({"message": {"role": "assistant", "content": ""}, "done": true,
                "done_reason": "stop", "prompt_eval_count": 100, "eval_count": 20})
            ),
        }
    }
}

fn sse(data: &Value) -> String {
    format!("event: {}\ndata: {data}\n\n", data["type"].as_str().unwrap_or("message"))
}

fn perform(mut out: &TcpStream, dialect: Dialect, play: Play, stop: &AtomicBool, hung_up: &AtomicUsize) {
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n";
    let play_all = || match play {
        Play::Text(pieces, pause) => {
            out.write_all(head.as_bytes())?;
            out.write_all(dialect.begin().as_bytes())?;
            for piece in pieces {
                thread::sleep(pause);
                out.write_all(dialect.piece(&piece).as_bytes())?;
            }
            out.write_all(dialect.end(false).as_bytes())
        }
        Play::Tool(text, name, arguments) => {
            let parts =
                [head, &dialect.begin(), &dialect.piece(text), &dialect.tool(name, &arguments), &dialect.end(true)];
            out.write_all(parts.concat().as_bytes())
        }
        Play::Status(status, body, headers) => {
            let mut text = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\nConnection: close\r\n", body.len());
            headers.iter().for_each(|(name, value)| text.push_str(&format!("{name}: {value}\r\n")));
            out.write_all(format!("{text}\r\n{body}").as_bytes())
        }
        Play::Raw(bytes) => out.write_all(format!("{head}{bytes}").as_bytes()),
        Play::Stall(pieces) => {
            stream_pieces(out, head, dialect, &pieces)?;
            out.set_read_timeout(Some(Duration::from_millis(10)))?;
            while !stop.load(Ordering::Relaxed) {
                if matches!(out.read(&mut [0]), Ok(0)) {
                    hung_up.fetch_add(1, Ordering::SeqCst);
                    break;
                }
            }
            Ok(())
        }
        Play::Break(pieces) => {
            stream_pieces(out, head, dialect, &pieces)?;
            // What was sent arrives before the reset does.
            thread::sleep(Duration::from_millis(30));
            socket2::SockRef::from(out).set_linger(Some(Duration::ZERO))
        }
    };
    // A peer that hung up is part of the play.
    let _: std::io::Result<()> = play_all();
}

fn stream_pieces(mut out: &TcpStream, head: &str, dialect: Dialect, pieces: &[String]) -> std::io::Result<()> {
    out.write_all(head.as_bytes())?;
    out.write_all(dialect.begin().as_bytes())?;
    pieces.iter().try_for_each(|piece| out.write_all(dialect.piece(piece).as_bytes()))
}
