//! A model endpoint of OpenAI's chat completions that does what a script says.

use std::io::Write;
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
    /// A status with this body and these headers.
    Status(u16, String, Vec<(&'static str, String)>),
    /// Bytes as they are under a 200 of `text/event-stream`, then the end of the connection.
    Raw(String),
    /// Some pieces, then silence until the model is dropped.
    Stall(Vec<String>),
}

impl Play {
    pub fn words(text: &str) -> Play {
        Play::Text(text.split_inclusive(' ').map(str::to_owned).collect(), Duration::ZERO)
    }
}

pub struct Model {
    pub port: u16,
    plays: Arc<Mutex<Vec<Play>>>,
    requests: Arc<Mutex<Vec<Value>>>,
    served: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    server: Arc<tiny_http::Server>,
}

impl Model {
    /// Plays the given parts in order; the last one again and again.
    pub fn start(plays: Vec<Play>) -> Model {
        let server = Arc::new(tiny_http::Server::http("127.0.0.1:0").expect("loopback"));
        let port = server.server_addr().to_ip().expect("an address").port();
        let model = Model {
            port,
            plays: Arc::new(Mutex::new(plays)),
            requests: Arc::default(),
            served: Arc::default(),
            stop: Arc::default(),
            server: server.clone(),
        };
        let (plays, requests) = (model.plays.clone(), model.requests.clone());
        let (served, stop) = (model.served.clone(), model.stop.clone());
        thread::spawn(move || {
            while let Ok(mut request) = server.recv() {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                let mut body = String::new();
                let _ = request.as_reader().read_to_string(&mut body);
                requests.lock().expect("requests").push(serde_json::from_str(&body).unwrap_or(Value::Null));
                served.fetch_add(1, Ordering::Relaxed);
                let play = {
                    let mut plays = plays.lock().expect("plays");
                    if plays.len() > 1 { plays.remove(0) } else { plays[0].clone() }
                };
                let stop = stop.clone();
                thread::spawn(move || perform(request, play, &stop));
            }
        });
        model
    }

    /// Configuration for `models` and the default model of the agents.
    pub fn config(&self) -> Value {
        json!({
            "models": {"providers": {"mock": {
                "baseUrl": format!("http://127.0.0.1:{}/v1", self.port),
                "apiKey": "mock-key",
                "api": "openai-completions",
                "models": [{"id": "mock-1", "name": "Mock One", "contextWindow": 128000, "maxTokens": 8192}],
            }}},
            "agents": {"defaults": {"model": {"primary": "mock/mock-1"}, "skipBootstrap": true}},
        })
    }

    pub fn set(&self, plays: Vec<Play>) {
        *self.plays.lock().expect("plays") = plays;
    }

    /// Bodies of the requests so far.
    pub fn requests(&self) -> Vec<Value> {
        self.requests.lock().expect("requests").clone()
    }

    pub fn served(&self) -> usize {
        self.served.load(Ordering::Relaxed)
    }
}

impl Drop for Model {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.server.unblock();
    }
}

fn perform(request: tiny_http::Request, play: Play, stop: &AtomicBool) {
    let mut out = request.into_writer();
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n";
    let chunk = |text: &str| {
        let delta = json!({"choices": [{"index": 0, "delta": {"content": text}}]});
        format!("data: {delta}\n\n")
    };
    let written = match play {
        Play::Text(pieces, pause) => (|| {
            out.write_all(head.as_bytes())?;
            for piece in pieces {
                thread::sleep(pause);
                out.write_all(chunk(&piece).as_bytes())?;
                out.flush()?;
            }
            let end = json!({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]});
            let usage = json!({"choices": [], "usage": {"prompt_tokens": 100, "completion_tokens": 20}});
            write!(out, "data: {end}\n\ndata: {usage}\n\ndata: [DONE]\n\n")
        })(),
        Play::Status(status, body, headers) => (|| {
            write!(out, "HTTP/1.1 {status} X\r\nContent-Length: {}\r\nConnection: close\r\n", body.len())?;
            for (name, value) in headers {
                write!(out, "{name}: {value}\r\n")?;
            }
            write!(out, "\r\n{body}")
        })(),
        Play::Raw(bytes) => write!(out, "{head}{bytes}"),
        Play::Stall(pieces) => (|| {
            out.write_all(head.as_bytes())?;
            for piece in pieces {
                out.write_all(chunk(&piece).as_bytes())?;
                out.flush()?;
            }
            while !stop.load(Ordering::Relaxed) {
                thread::sleep(Duration::from_millis(10));
            }
            Ok(())
        })(),
    };
    // A peer that hung up is part of the play.
    let _ = written.and_then(|()| out.flush());
}
