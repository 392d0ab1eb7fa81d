//! The client against a gateway made of one thread: every way in which a connection goes well or wrong.

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tungstenite::protocol::CloseFrame;
use tungstenite::{Message, WebSocket};

use super::client::{Client, Deadline, Device, Failure, SCOPES};
use super::target::{Target, Trust};
use crate::ids::{decode_base64, hex, random_bytes, sha256_hex};
use crate::secret::Secret;
use crate::store::identity::{self, Identity};

const NONCE: &str = "5c19bb6f-f53c-4bf0-993b-c8570f36240e";

type Socket = WebSocket<TcpStream>;

/// A gateway that serves `connections` connections with the same script.
struct Gateway {
    port: u16,
    connects: mpsc::Receiver<Value>,
    thread: Option<JoinHandle<()>>,
}

impl Gateway {
    fn start(connections: usize, script: impl Fn(usize, &mut Socket, &Value) + Send + 'static) -> Gateway {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (sender, connects) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            for n in 0..connections {
                let (stream, _) = listener.accept().unwrap();
                stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
                let mut socket = tungstenite::accept(stream).unwrap();
                event(&mut socket, "connect.challenge", json!({"nonce": NONCE, "ts": 1}));
                let Some(connect) = request(&mut socket) else { continue };
                sender.send(connect["params"].clone()).unwrap();
                script(n, &mut socket, &connect);
                // Until the client has gone.
                while socket.read().is_ok() {}
            }
        });
        Gateway { port, connects, thread: Some(thread) }
    }

    fn target(&self) -> Target {
        Target {
            url: format!("ws://127.0.0.1:{}", self.port),
            source: "local loopback",
            host: "127.0.0.1".into(),
            port: self.port,
            trust: Trust::Authorities,
            token: Some(Secret::new("tok")),
            password: None,
            stored_token: true,
            explicit: false,
            config_path: "~/c.json".into(),
            bind: Some("loopback"),
            tunnel: None,
        }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take()
            && !std::thread::panicking()
        {
            thread.join().unwrap();
        }
    }
}

struct State(PathBuf);

impl State {
    fn new() -> State {
        let dir = std::env::temp_dir().join(format!("openclaw-client-{}", hex(&random_bytes::<8>())));
        std::fs::create_dir_all(&dir).unwrap();
        State(dir)
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for State {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn event(socket: &mut Socket, name: &str, payload: Value) {
    let frame = json!({"type": "event", "event": name, "payload": payload});
    socket.send(Message::text(frame.to_string())).unwrap();
}

fn request(socket: &mut Socket) -> Option<Value> {
    loop {
        match socket.read().ok()? {
            Message::Text(text) => return serde_json::from_str(&text).ok(),
            Message::Close(_) => return None,
            _ => {}
        }
    }
}

fn answer(socket: &mut Socket, request: &Value, ok: bool, key: &str, value: Value) {
    let mut frame = json!({"type": "res", "id": request["id"], "ok": ok});
    frame[key] = value;
    socket.send(Message::text(frame.to_string())).unwrap();
}

fn hello(socket: &mut Socket, connect: &Value, auth: Value) {
    answer(socket, connect, true, "payload", json!({"type": "hello-ok", "protocol": 4, "auth": auth}));
}

fn refuse(socket: &mut Socket, connect: &Value, message: &str, details: Value) {
    answer(socket, connect, false, "error", json!({"code": "INVALID_REQUEST", "message": message, "details": details}));
    let cut: String = message.chars().take(20).collect();
    let close = CloseFrame { code: 1008.into(), reason: cut.into() };
    socket.close(Some(close)).unwrap();
}

fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(20))
}

fn at_once() -> Deadline {
    Deadline::after(Duration::from_millis(120))
}

#[test]
fn connects_signs_calls_and_hears_events() {
    let gateway = Gateway::start(1, |_, socket, connect| {
        hello(socket, connect, json!({}));
        let call = request(socket).unwrap();
        assert_eq!((&call["method"], &call["params"]), (&json!("agent"), &json!({"a": 1})));
        event(socket, "agent", json!({"n": 1}));
        answer(socket, &json!({"id": "other"}), true, "payload", json!("not mine"));
        answer(socket, &call, true, "payload", json!({"status": "accepted"}));
        event(socket, "agent", json!({"n": 2}));
        answer(socket, &call, true, "payload", json!({"status": "ok"}));
        let call = request(socket).unwrap();
        assert!(call.get("params").is_none());
        answer(socket, &call, false, "error", json!({"code": "INVALID_REQUEST", "message": "unknown method: x"}));
    });
    let state = State::new();
    let own = Identity::load_or_create(state.path(), 1).unwrap();
    let device = Device { identity: &|| Some(&own), state_dir: state.path() };
    let mut client = Client::connect(&gateway.target(), Some(device), soon()).unwrap();
    let mut events = Vec::new();
    let done = client
        .call("agent", Some(json!({"a": 1})), true, soon(), &mut |name, payload| {
            events.push((name.to_string(), payload["n"].clone()));
        })
        .unwrap();
    assert_eq!(done, json!({"status": "ok"}));
    assert_eq!(events, [("agent".to_string(), json!(1)), ("agent".to_string(), json!(2))]);
    let failure = client.request("x", None, soon()).unwrap_err();
    let error = failure.error("Gateway call failed: Error: ", &gateway.target());
    assert_eq!(error.to_string(), "Gateway call failed: GatewayClientRequestError: unknown method: x");
    assert_eq!(
        failure.error("devices list failed: ", &gateway.target()).message,
        "devices list failed: unknown method: x"
    );

    let params = gateway.connects.recv().unwrap();
    assert_eq!((&params["minProtocol"], &params["maxProtocol"]), (&json!(3), &json!(4)));
    assert_eq!((&params["client"]["id"], &params["client"]["mode"]), (&json!("cli"), &json!("cli")));
    assert_eq!((&params["role"], &params["scopes"], &params["caps"]), (&json!("operator"), &json!(SCOPES), &json!([])));
    assert_eq!(params["auth"], json!({"token": "tok"}));
    let signed = &params["device"];
    let key = decode_base64(signed["publicKey"].as_str().unwrap()).unwrap();
    assert_eq!(signed["id"], json!(sha256_hex(&key)));
    let payload = format!(
        "v3|{}|cli|cli|operator|{}|{}|tok|{NONCE}|{}|",
        signed["id"].as_str().unwrap(),
        SCOPES.join(","),
        signed["signedAt"],
        params["client"]["platform"].as_str().unwrap()
    );
    let signature = decode_base64(signed["signature"].as_str().unwrap()).unwrap();
    ring::signature::UnparsedPublicKey::new(&ring::signature::ED25519, key)
        .verify(payload.as_bytes(), &signature)
        .unwrap();
}

#[test]
fn a_refused_connect_tells_why() {
    let message = "unauthorized: gateway token mismatch (set gateway.remote.token to match gateway.auth.token)";
    let gateway = Gateway::start(1, move |_, socket, connect| refuse(socket, connect, message, json!({})));
    let failure = Client::connect(&gateway.target(), None, soon()).err().unwrap();
    assert_eq!(
        failure.error("Gateway call failed: Error: ", &gateway.target()).to_string(),
        format!(
            "gateway connect failed: GatewayClientRequestError: {message}\nGateway call failed: Error: gateway closed \
             (1008): {message}\nGateway target: ws://127.0.0.1:{}\nSource: local loopback\nConfig: ~/c.json\nBind: \
             loopback",
            gateway.port
        )
    );
    assert_eq!(failure.short(), message);
    assert!(gateway.connects.recv().unwrap().get("device").is_none());
}

#[test]
fn a_pairing_request_names_the_command() {
    let details = json!({"code": "PAIRING_REQUIRED", "requestId": "r-1", "reason": "not-paired"});
    let gateway = Gateway::start(1, move |_, socket, connect| {
        refuse(socket, connect, "pairing required", details.clone());
    });
    let failure = Client::connect(&gateway.target(), None, soon()).err().unwrap();
    let text = failure.error("", &gateway.target()).to_string();
    assert!(text.ends_with("openclaw devices approve r-1"), "{text}");
}

#[test]
fn nobody_there() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let target = Target {
        url: format!("ws://127.0.0.1:{port}"),
        trust: Trust::Authorities,
        source: "cli --url",
        host: "127.0.0.1".into(),
        port,
        token: None,
        password: None,
        stored_token: false,
        explicit: false,
        config_path: "~/c.json".into(),
        bind: None,
        tunnel: None,
    };
    let failure = Client::connect(&target, None, soon()).err().unwrap();
    assert_eq!(failure.text(), "gateway closed (1006 abnormal closure (no close frame)): no close reason");
    assert_eq!(failure.short(), format!("connect failed: connect ECONNREFUSED 127.0.0.1:{port}"));
    assert!(failure.error("", &target).to_string().ends_with("Source: cli --url\nConfig: ~/c.json"));
}

#[test]
fn a_server_that_is_no_gateway() {
    use std::io::{Read as _, Write as _};
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let web = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut head = [0; 1024];
        let _ = stream.read(&mut head).unwrap();
        stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n").unwrap();
    });
    let target = Target { port, url: format!("ws://127.0.0.1:{port}"), ..silent_target() };
    let failure = Client::connect(&target, None, soon()).err().unwrap();
    let text = failure.error("", &target).to_string();
    assert!(text.ends_with("The port answered, but not as a gateway (HTTP 404)."), "{text}");
    web.join().unwrap();
}

fn silent_target() -> Target {
    Target {
        url: String::new(),
        source: "local loopback",
        host: "127.0.0.1".into(),
        port: 0,
        trust: Trust::Authorities,
        token: None,
        password: None,
        stored_token: true,
        explicit: false,
        config_path: String::new(),
        bind: None,
        tunnel: None,
    }
}

#[test]
fn silence_ends_with_the_time_out() {
    // A listener that accepts and never says a word, in the upgrade, before the challenge and after a request.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let target = Target { port, url: format!("ws://127.0.0.1:{port}"), ..silent_target() };
    let started = Instant::now();
    let failure = Client::connect(&target, None, at_once()).err().unwrap();
    assert_eq!(failure, Failure::Timeout(120));
    assert_eq!(failure.text(), "gateway timeout after 120ms");
    assert!(started.elapsed() < Duration::from_secs(10));

    let gateway = Gateway::start(1, |_, socket, connect| hello(socket, connect, json!({})));
    let mut client = Client::connect(&gateway.target(), None, soon()).unwrap();
    assert_eq!(client.request("health", None, at_once()).unwrap_err(), Failure::Timeout(120));
}

#[test]
fn a_dripping_server_does_not_outlast_the_time_out() {
    use std::io::Write as _;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let drip = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        for byte in b"HTTP/1.1 101 Switching Protocols\r\n".iter().cycle() {
            if stream.write_all(&[*byte]).is_err() {
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    });
    let target = Target { port, url: format!("ws://127.0.0.1:{port}"), ..silent_target() };
    assert_eq!(Client::connect(&target, None, at_once()).err(), Some(Failure::Timeout(120)));
    drip.join().unwrap();
}

#[test]
fn a_close_in_the_middle() {
    let gateway = Gateway::start(2, |n, socket, connect| {
        hello(socket, connect, json!({}));
        request(socket).unwrap();
        if n == 0 {
            socket.close(Some(CloseFrame { code: 1012.into(), reason: "service restart".into() })).unwrap();
        } else {
            socket.get_ref().shutdown(std::net::Shutdown::Both).unwrap();
        }
    });
    for text in [
        "gateway closed (1012): service restart",
        "gateway closed (1006 abnormal closure (no close frame)): no close reason",
    ] {
        let mut client = Client::connect(&gateway.target(), None, soon()).unwrap();
        assert_eq!(client.request("health", None, soon()).unwrap_err().text(), text);
        assert!(client.wait_closed(soon()));
    }
}

#[test]
fn device_tokens_are_kept_used_and_dropped() {
    let gateway = Gateway::start(3, |n, socket, connect| match n {
        0 => hello(socket, connect, json!({"deviceToken": "dev-1", "role": "operator", "scopes": ["b", "a"]})),
        1 => hello(socket, connect, json!({"deviceToken": "dev-1", "role": "operator", "scopes": ["a", "b"]})),
        _ => refuse(
            socket,
            connect,
            "unauthorized: Device Token Mismatch (rotate/reissue device token)",
            json!({"code": "AUTH_DEVICE_TOKEN_MISMATCH"}),
        ),
    });
    let state = State::new();
    let own = Identity::load_or_create(state.path(), 1).unwrap();
    let device = Device { identity: &|| Some(&own), state_dir: state.path() };
    let stored = || identity::stored_token(state.path(), own.device_id(), "operator");
    let file = state.path().join("identity/device-auth.json");

    Client::connect(&gateway.target(), Some(device), soon()).unwrap();
    let first = stored().unwrap();
    assert_eq!((first.token.expose(), first.scopes), ("dev-1", vec!["a".to_string(), "b".to_string()]));
    let written = std::fs::read(&file).unwrap();

    // Without a shared secret the kept token opens the door; the same token again writes nothing.
    let bare = Target { token: None, ..gateway.target() };
    Client::connect(&bare, Some(device), soon()).unwrap();
    assert_eq!(std::fs::read(&file).unwrap(), written);

    assert!(Client::connect(&bare, Some(device), soon()).is_err());
    assert!(stored().is_none());
    let auths: Vec<Value> = gateway.connects.iter().take(3).map(|params| params["auth"].clone()).collect();
    assert_eq!(auths, [json!({"token": "tok"}), json!({"deviceToken": "dev-1"}), json!({"deviceToken": "dev-1"})]);
}

#[test]
fn a_stored_token_never_goes_to_an_address_from_the_command_line() {
    let gateway = Gateway::start(1, |_, socket, connect| {
        hello(socket, connect, json!({"deviceToken": "theirs", "role": "operator", "scopes": []}));
    });
    let state = State::new();
    let own = Identity::load_or_create(state.path(), 1).unwrap();
    let device = Device { identity: &|| Some(&own), state_dir: state.path() };
    let token = Secret::new("ours");
    identity::store_token(state.path(), own.device_id(), "operator", Some((&token, &[])), 1).unwrap();
    let elsewhere = Target { token: None, stored_token: false, source: "cli --url", ..gateway.target() };
    Client::connect(&elsewhere, Some(device), soon()).unwrap();
    let params = gateway.connects.recv().unwrap();
    assert!(!params.to_string().contains("ours"), "{params}");
    let kept = identity::stored_token(state.path(), own.device_id(), "operator").unwrap();
    assert_eq!(kept.token.expose(), "ours");
}

#[test]
fn a_wrong_shared_token_is_retried_once_with_the_device_token() {
    let gateway = Gateway::start(3, |n, socket, connect| match n {
        0 | 2 => refuse(
            socket,
            connect,
            "unauthorized: gateway token mismatch",
            json!({"code": "AUTH_TOKEN_MISMATCH", "canRetryWithDeviceToken": true}),
        ),
        _ => hello(socket, connect, json!({})),
    });
    let state = State::new();
    let own = Identity::load_or_create(state.path(), 1).unwrap();
    let device = Device { identity: &|| Some(&own), state_dir: state.path() };
    let token = Secret::new("dev");
    identity::store_token(state.path(), own.device_id(), "operator", Some((&token, &[])), 1).unwrap();
    Client::connect(&gateway.target(), Some(device), soon()).unwrap();
    let auths: Vec<Value> = gateway.connects.iter().take(2).map(|params| params["auth"].clone()).collect();
    assert_eq!(auths, [json!({"token": "tok"}), json!({"token": "tok", "deviceToken": "dev"})]);
    // Who types a wrong token is told so.
    let typed = Target { explicit: true, ..gateway.target() };
    assert!(Client::connect(&typed, Some(device), soon()).is_err());
}

#[test]
fn hostile_frames_do_not_panic() {
    let gateway = Gateway::start(1, |_, socket, connect| {
        hello(socket, connect, json!({}));
        let call = request(socket).unwrap();
        let good = json!({"type": "res", "id": call["id"], "ok": true, "payload": {"x": 1}}).to_string();
        let mut random = crate::sys::testing::Random(9);
        for _ in 0..500 {
            let mut bytes = good.clone().into_bytes();
            for _ in 0..3 {
                let at = random.below(bytes.len());
                // Never the id, so that none of these is the answer.
                if !(20..70).contains(&at) {
                    bytes[at] = b"{}[]\",:x\\ 09"[random.below(12)];
                } else {
                    bytes[25] = b'#';
                }
            }
            bytes[25] = b'#';
            socket.send(Message::text(String::from_utf8(bytes).unwrap())).unwrap();
        }
        socket.send(Message::binary(vec![0xff; 64])).unwrap();
        answer(socket, &call, true, "payload", json!("done"));
    });
    let mut client = Client::connect(&gateway.target(), None, soon()).unwrap();
    assert_eq!(client.request("x", None, soon()).unwrap(), json!("done"));
}
