//! A WebSocket client that says exactly what it is told to.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use openclaw::ids;
use openclaw::protocol::connect::DevicePayload;
use openclaw::protocol::roles::Role;
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde_json::{Value, json};
use tungstenite::client::IntoClientRequest;
use tungstenite::handshake::client::Request;
use tungstenite::{Message, WebSocket};

use super::{TOKEN, patience};

pub const ALL_SCOPES: [&str; 5] =
    ["operator.admin", "operator.read", "operator.write", "operator.approvals", "operator.pairing"];

/// A key pair of a device.
pub struct Device {
    key: Ed25519KeyPair,
}

impl Default for Device {
    fn default() -> Self {
        Device::new()
    }
}

impl Device {
    pub fn new() -> Device {
        Device { key: Ed25519KeyPair::from_seed_unchecked(&ids::random_bytes::<32>()).expect("32 bytes") }
    }

    pub fn public_key(&self) -> String {
        ids::base64url(self.key.public_key().as_ref())
    }

    pub fn id(&self) -> String {
        ids::sha256_hex(self.key.public_key().as_ref())
    }

    pub fn sign(&self, payload: &str) -> String {
        ids::base64url(self.key.sign(payload.as_bytes()).as_ref())
    }
}

/// What a connect says; change what a test is about.
#[derive(Clone)]
pub struct Hello {
    pub min: u64,
    pub max: u64,
    pub client_id: String,
    pub mode: String,
    pub role: String,
    pub scopes: Vec<String>,
    pub token: Option<String>,
    pub device_token: Option<String>,
    pub bootstrap_token: Option<String>,
    pub password: Option<String>,
    pub caps: Vec<String>,
    /// 2 or 3.
    pub signature_version: u8,
    /// Merged over the finished params.
    pub over: Value,
}

impl Default for Hello {
    /// An operator of mode `test` with all scopes and the right token.
    fn default() -> Self {
        Hello {
            min: 3,
            max: 3,
            client_id: "test".into(),
            mode: "test".into(),
            role: "operator".into(),
            scopes: ALL_SCOPES.map(str::to_owned).to_vec(),
            token: Some(TOKEN.into()),
            device_token: None,
            bootstrap_token: None,
            password: None,
            caps: Vec::new(),
            signature_version: 3,
            over: json!({}),
        }
    }
}

pub struct Client<S = TcpStream> {
    pub socket: WebSocket<S>,
    next_id: u64,
    /// Frames that were read while something else was waited for.
    pending: VecDeque<Value>,
    pub challenge: Value,
}

/// The end of a connection as the client saw it.
#[derive(Debug, PartialEq, Eq)]
pub enum End {
    Close(u16, String),
    /// A close frame without a code.
    EmptyClose,
    /// No close frame.
    Gone,
}

impl Client {
    /// Upgrades and waits for the challenge.
    pub fn open(port: u16) -> Client {
        Client::open_with(port, &[])
    }

    /// The same with further request headers (a Host replaces the usual one).
    pub fn open_with(port: u16, headers: &[(&str, &str)]) -> Client {
        let mut request = format!("ws://127.0.0.1:{port}/").into_client_request().expect("a url");
        for (name, value) in headers {
            let name: tungstenite::http::HeaderName = name.parse().expect("a name");
            request.headers_mut().insert(name, value.parse().expect("a value"));
        }
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("the gateway accepts");
        stream.set_nodelay(true).expect("a socket");
        stream.set_read_timeout(Some(patience())).expect("a socket");
        Client::upgrade(request, stream)
    }

    /// Connected without a device: local, with the right token, so all scopes are kept.
    pub fn connect(port: u16) -> Client {
        Client::connect_as(port, &Hello::default(), None).0
    }

    /// Connected; gives hello-ok. Panics when refused.
    pub fn connect_as(port: u16, hello: &Hello, device: Option<&Device>) -> (Client, Value) {
        let mut client = Client::open(port);
        let answer = client.hello(hello, device);
        assert_eq!(answer["ok"], true, "connect was refused: {answer}");
        (client, answer["payload"].clone())
    }

    /// Everything that comes until nothing came for `quiet`.
    pub fn drain(&mut self, quiet: Duration) -> Vec<Value> {
        self.socket.get_ref().set_read_timeout(Some(quiet)).expect("a socket");
        let mut frames = self.kept();
        while let Ok(message) = self.socket.read() {
            if let Message::Text(text) = message {
                frames.push(serde_json::from_str(&text).expect("JSON"));
            }
        }
        self.socket.get_ref().set_read_timeout(Some(patience())).expect("a socket");
        frames
    }
}

impl<S: Read + Write> Client<S> {
    /// Upgrades on whatever is connected already and waits for the challenge.
    pub fn upgrade(request: Request, stream: S) -> Client<S> {
        let (socket, _) = tungstenite::client(request, stream).expect("the upgrade");
        let mut client = Client { socket, next_id: 0, pending: VecDeque::new(), challenge: Value::Null };
        client.challenge = client.frame();
        assert_eq!(client.challenge["event"], "connect.challenge", "{}", client.challenge);
        client
    }

    /// Sends `connect` and gives the answer.
    pub fn hello(&mut self, hello: &Hello, device: Option<&Device>) -> Value {
        let params = self.connect_params(hello, device);
        self.request("connect", params)
    }

    pub fn connect_params(&self, hello: &Hello, device: Option<&Device>) -> Value {
        let mut auth = serde_json::Map::new();
        for (key, value) in [
            ("token", &hello.token),
            ("deviceToken", &hello.device_token),
            ("bootstrapToken", &hello.bootstrap_token),
            ("password", &hello.password),
        ] {
            if let Some(value) = value {
                auth.insert(key.into(), value.as_str().into());
            }
        }
        let mut params = json!({
            "minProtocol": hello.min,
            "maxProtocol": hello.max,
            "client": {"id": hello.client_id, "version": "1.0.0", "platform": "linux", "mode": hello.mode},
            "role": hello.role,
            "scopes": hello.scopes,
            "caps": hello.caps,
            "auth": auth,
        });
        if let Some(device) = device {
            let nonce = self.challenge["payload"]["nonce"].as_str().expect("a nonce");
            let signed_at = self.challenge["payload"]["ts"].as_u64().expect("a time");
            let sent = hello.token.as_deref().or(hello.device_token.as_deref()).or(hello.bootstrap_token.as_deref());
            let payload = DevicePayload {
                device_id: &device.id(),
                client_id: &hello.client_id,
                client_mode: &hello.mode,
                role: if hello.role == "node" { Role::Node } else { Role::Operator },
                scopes: &hello.scopes,
                signed_at_ms: signed_at,
                token: sent.unwrap_or_default(),
                nonce,
                platform: "linux",
                device_family: "",
            };
            let text = if hello.signature_version == 2 { payload.v2() } else { payload.v3() };
            params["device"] = json!({
                "id": device.id(),
                "publicKey": device.public_key(),
                "signature": device.sign(&text),
                "signedAt": signed_at,
                "nonce": nonce,
            });
        }
        super::merge(&mut params, hello.over.clone());
        params
    }

    /// Sends a request and waits for its (first) answer; events that come before it are kept.
    pub fn request(&mut self, method: &str, params: Value) -> Value {
        let id = self.send_request(method, params);
        self.answer(&id)
    }

    /// The payload of a request that must succeed.
    pub fn call(&mut self, method: &str, params: Value) -> Value {
        let answer = self.request(method, params);
        assert_eq!(answer["ok"], true, "{method}: {answer}");
        answer["payload"].clone()
    }

    pub fn send_request(&mut self, method: &str, params: Value) -> String {
        self.next_id += 1;
        let id = format!("r{}", self.next_id);
        self.send(&json!({"type": "req", "id": id, "method": method, "params": params}));
        id
    }

    pub fn send(&mut self, frame: &Value) {
        self.send_text(&frame.to_string());
    }

    pub fn send_text(&mut self, text: &str) {
        self.socket.send(Message::text(text)).expect("the gateway reads");
    }

    /// Waits for an answer with this id.
    pub fn answer(&mut self, id: &str) -> Value {
        self.take(&format!("an answer to {id}"), |f| f["type"] == "res" && f["id"] == id)
    }

    /// Waits for an event of this name.
    pub fn event(&mut self, name: &str) -> Value {
        self.take(&format!("event {name}"), |f| f["type"] == "event" && f["event"] == name)
    }

    /// Waits for the first frame that is wanted; the others are kept in order.
    pub fn take(&mut self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        if let Some(at) = self.pending.iter().position(&wanted) {
            return self.pending.remove(at).expect("just found");
        }
        let deadline = Instant::now() + patience();
        loop {
            assert!(Instant::now() < deadline, "waited in vain for {what}; got {:?}", self.pending);
            let frame =
                self.read().unwrap_or_else(|end| panic!("waited for {what}, but {end:?}; got {:?}", self.pending));
            if wanted(&frame) {
                return frame;
            }
            self.pending.push_back(frame);
        }
    }

    /// The next frame, kept ones first.
    pub fn frame(&mut self) -> Value {
        match self.pending.pop_front() {
            Some(frame) => frame,
            None => self.read().unwrap_or_else(|end| panic!("waited for a frame, but {end:?}")),
        }
    }

    /// Frames that were read and not taken yet.
    pub fn kept(&mut self) -> Vec<Value> {
        self.pending.drain(..).collect()
    }

    /// The next frame, kept ones first, or the end.
    pub fn try_frame(&mut self) -> Result<Value, End> {
        match self.pending.pop_front() {
            Some(frame) => Ok(frame),
            None => self.read(),
        }
    }

    fn read(&mut self) -> Result<Value, End> {
        loop {
            match self.socket.read() {
                Ok(Message::Text(text)) => return Ok(serde_json::from_str(&text).expect("frames are JSON")),
                Ok(Message::Close(None)) => return Err(End::EmptyClose),
                Ok(Message::Close(Some(close))) => return Err(End::Close(close.code.into(), close.reason.to_string())),
                Ok(_) => {}
                Err(_) => return Err(End::Gone),
            }
        }
    }

    /// Reads on until the connection ends; frames on the way are kept.
    pub fn end(&mut self) -> End {
        loop {
            match self.read() {
                Ok(frame) => self.pending.push_back(frame),
                Err(end) => return end,
            }
        }
    }

    /// Raw bytes on the socket, past tungstenite.
    pub fn send_raw(&mut self, bytes: &[u8]) {
        self.socket.get_mut().write_all(bytes).expect("the gateway reads");
    }

    /// Raw bytes from the socket until its end.
    pub fn read_raw(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let _ = self.socket.get_mut().read_to_end(&mut bytes);
        bytes
    }
}
