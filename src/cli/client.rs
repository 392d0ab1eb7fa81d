//! A blocking WebSocket client for one command: challenge, device, `connect`, requests, events.
//!
//! Runs on the command's main thread. Every read and write has a deadline. It decides nothing about addresses
//! (`target` does) and prints nothing; [`Failure`] carries the texts that operators know (cli 4.1).

use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs as _};
use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::{Value, json};
use tungstenite::client::IntoClientRequest as _;
use tungstenite::protocol::WebSocketConfig;
use tungstenite::{HandshakeError, Message, WebSocket};

use super::target::Target;
use super::wss::{Fault, Stream, Timed};
use crate::error::Error;
use crate::ids::new_uuid;
use crate::limits::MAX_BUFFERED_BYTES;
use crate::protocol::connect::DevicePayload;
use crate::protocol::roles::Role;
use crate::protocol::{COMPAT_VERSION, PROTOCOL_MAX, PROTOCOL_MIN};
use crate::secret::Secret;
use crate::sort;
use crate::store::identity::{self, Identity, StoredToken};

const CLIENT_ID: &str = "cli";
const CLIENT_MODE: &str = "cli";
const ROLE: &str = "operator";
/// What a command may need; the gateway grants what the device has.
pub const SCOPES: [&str; 5] =
    ["operator.admin", "operator.read", "operator.write", "operator.approvals", "operator.pairing"];
/// The close frame that follows a refused `connect`.
const CLOSE_WAIT: Duration = Duration::from_secs(1);
/// Close code of a connection that ended without a close frame (RFC 6455 7.1.5).
pub const CLOSE_ABNORMAL: u16 = 1006;

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Failure {
    /// Not connected, or the connection ended.
    Closed {
        code: u16,
        reason: String,
        /// Why no connection came about, e.g. `connect ECONNREFUSED 127.0.0.1:18789`.
        cause: Option<String>,
        /// The answer to `connect`, when it was a refusal.
        refusal: Option<Box<Refusal>>,
        /// What to do about it, where that is known; else empty.
        fix: String,
    },
    /// Milliseconds.
    Timeout(u64),
    /// The gateway answered with an error.
    Answer { message: String, code: String },
    /// Never tried.
    Refused(String),
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Refusal {
    pub message: String,
    pub details: Value,
}

impl Failure {
    /// The first line: what happened.
    pub fn text(&self) -> String {
        match self {
            Failure::Closed { code, reason, .. } => {
                let hint = match *code {
                    CLOSE_ABNORMAL => " abnormal closure (no close frame)",
                    1000 => " normal closure",
                    _ => "",
                };
                let reason = if reason.trim().is_empty() { "no close reason" } else { reason.trim() };
                format!("gateway closed ({code}{hint}): {reason}")
            }
            Failure::Timeout(ms) => format!("gateway timeout after {ms}ms"),
            Failure::Answer { message, .. } | Failure::Refused(message) => message.clone(),
        }
    }

    /// What `status` and `probe` say about an address: the system's reason where there is one.
    pub fn short(&self) -> String {
        match self {
            Failure::Closed { cause: Some(cause), .. } => format!("connect failed: {cause}"),
            Failure::Closed { refusal: Some(refusal), .. } => refusal.message.clone(),
            other => other.text(),
        }
    }

    /// Text, connection block and advice, as one error for a command to print.
    pub fn error(&self, prefix: &str, target: &Target) -> Error {
        // Where the reference names the kind of its error, ours is the one that scripts match on.
        let prefix = match (self, prefix.strip_suffix("Error: ")) {
            (Failure::Answer { .. }, Some(head)) => format!("{head}GatewayClientRequestError: "),
            _ => prefix.to_string(),
        };
        let mut error = Error::new(format!("{prefix}{}", self.text()));
        if let Failure::Closed { refusal: Some(refusal), .. } = self {
            let head = format!("gateway connect failed: GatewayClientRequestError: {}", refusal.message);
            error.message = format!("{head}\n{}", error.message);
        }
        if matches!(self, Failure::Closed { .. } | Failure::Timeout(_)) {
            error.hints.extend(target.block());
        }
        error.hints.extend(self.advice());
        error
    }

    /// What to do, where the text alone does not say it.
    fn advice(&self) -> Option<String> {
        let Failure::Closed { refusal, cause, fix, .. } = self else { return None };
        if !fix.is_empty() {
            return Some(fix.clone());
        }
        let detail = |key: &str| refusal.as_ref()?.details.get(key)?.as_str();
        if detail("authReason").is_some_and(|reason| reason.starts_with("trusted_proxy_")) {
            return Some(
                "Fix: this gateway believes only what its proxy says of users (gateway.auth.mode is trusted-proxy), and \
                 commands do not come through it: change its settings with openclaw config, which needs no gateway."
                    .into(),
            );
        }
        match (detail("code"), detail("requestId")) {
            (Some("PAIRING_REQUIRED"), Some(request)) => {
                Some(format!("Fix: approve this device on the gateway's machine: openclaw devices approve {request}"))
            }
            _ => cause.as_ref().filter(|cause| cause.starts_with("answered")).map(|cause| format!("The port {cause}.")),
        }
    }
}

/// Who we are and where the device token is kept. The identity is made when a gateway asks for it, not before.
#[derive(Clone, Copy)]
pub struct Device<'a> {
    pub identity: &'a dyn Fn() -> Option<&'a Identity>,
    pub state_dir: &'a Path,
}

impl Device<'_> {
    fn stored(&self, identity: &Identity) -> Option<StoredToken> {
        identity::stored_token(self.state_dir, identity.device_id(), ROLE)
    }

    /// A read-only state directory costs a repeated silent pairing, nothing else.
    fn store(&self, identity: &Identity, token: Option<(&Secret, &[String])>) {
        let _ = identity::store_token(self.state_dir, identity.device_id(), ROLE, token, now_ms());
    }
}

/// One connection after hello-ok.
pub struct Client {
    socket: WebSocket<Stream>,
    hello: Value,
}

/// The answer is final, or an event came.
type OnEvent<'a> = &'a mut dyn FnMut(&str, &Value);

impl Client {
    /// Connects and shakes hands within the time. A wrong shared token from a file or variable is retried once
    /// with the device's own token when the gateway says that this may help; a device token that the gateway no longer knows is dropped.
    pub fn connect(target: &Target, device: Option<Device<'_>>, deadline: Deadline) -> Result<Client, Failure> {
        let shared = target.token.is_some() || target.password.is_some();
        let failure = match Client::attempt(target, device, !shared, deadline) {
            Ok(client) => return Ok(client),
            Err(failure) => failure,
        };
        let Some(device) = device.filter(|_| target.stored_token) else { return Err(failure) };
        if !shared && names_dead_device_token(&failure) {
            (device.identity)().inspect(|identity| device.store(identity, None));
        } else if shared && !target.explicit && may_retry_with_device_token(&failure) {
            let kept = (device.identity)().and_then(|identity| device.stored(identity));
            if kept.is_some() {
                return Client::attempt(target, Some(device), true, deadline);
            }
        }
        Err(failure)
    }

    /// The payload of hello-ok.
    pub fn hello(&self) -> &Value {
        &self.hello
    }

    /// One request and its answer; events in between are dropped.
    pub fn request(&mut self, method: &str, params: Option<Value>, deadline: Deadline) -> Result<Value, Failure> {
        self.call(method, params, false, deadline, &mut |_, _| {})
    }

    /// One request. `expect_final`: an answer with status `accepted` is only the first of two.
    pub fn call(
        &mut self,
        method: &str,
        params: Option<Value>,
        expect_final: bool,
        deadline: Deadline,
        on_event: OnEvent<'_>,
    ) -> Result<Value, Failure> {
        self.socket.get_mut().set_deadline(deadline);
        let id = self.send(method, params)?;
        loop {
            let frame = self.read(deadline)?;
            if frame.kind == "event" {
                on_event(&frame.event, &frame.payload);
            } else if frame.kind == "res" && frame.id == id {
                let more_to_come = expect_final && frame.payload["status"] == "accepted";
                if frame.ok && more_to_come {
                    continue;
                }
                return if frame.ok { Ok(frame.payload) } else { Err(frame.failure()) };
            }
        }
    }

    /// True when the gateway ended this connection before the deadline.
    pub fn wait_closed(&mut self, deadline: Deadline) -> bool {
        loop {
            match self.read(deadline) {
                Ok(_) => {}
                Err(Failure::Timeout(_)) => return false,
                Err(_) => return true,
            }
        }
    }

    fn attempt(
        target: &Target,
        device: Option<Device<'_>>,
        use_stored: bool,
        deadline: Deadline,
    ) -> Result<Client, Failure> {
        let stream = dial(&target.host, target.port, deadline)?;
        let mut client = Client { socket: upgrade(target, stream, deadline)?, hello: Value::Null };
        let challenge = client.challenge(deadline)?;
        let identity = device.and_then(|device| (device.identity)());
        let stored = match (device, identity) {
            (Some(device), Some(identity)) if use_stored && target.stored_token => device.stored(identity),
            _ => None,
        };
        let params = connect_params(target, identity, stored.map(|stored| stored.token).as_ref(), &challenge);
        let id = client.send("connect", Some(params))?;
        loop {
            let frame = client.read(deadline)?;
            if frame.kind != "res" || frame.id != id {
                continue;
            }
            if !frame.ok {
                return Err(client.refused(frame));
            }
            client.hello = frame.payload;
            if let (Some(device), Some(identity)) = (device.filter(|_| target.stored_token), identity) {
                client.keep_token(device, identity);
            }
            return Ok(client);
        }
    }

    fn challenge(&mut self, deadline: Deadline) -> Result<String, Failure> {
        loop {
            let frame = self.read(deadline)?;
            if frame.kind == "event" && frame.event == "connect.challenge" {
                return Ok(frame.payload["nonce"].as_str().unwrap_or_default().to_string());
            }
        }
    }

    /// The close frame gives the code; the answer has the text that was not cut.
    fn refused(&mut self, frame: Frame) -> Failure {
        let error = frame.error.unwrap_or_default();
        let refusal = Refusal { message: error.message.clone(), details: error.details };
        let wait = Deadline::after(CLOSE_WAIT);
        self.socket.get_mut().set_deadline(wait);
        let mut closed = (1008, error.message.clone());
        for _ in 0..8 {
            match self.read(wait) {
                Ok(_) => continue,
                Err(Failure::Closed { code, reason, .. }) if code != CLOSE_ABNORMAL => {
                    let cut = error.message.starts_with(reason.as_str());
                    closed = (code, if cut { error.message.clone() } else { reason });
                    break;
                }
                Err(_) => break,
            }
        }
        Failure::Closed {
            code: closed.0,
            reason: closed.1,
            cause: None,
            refusal: Some(Box::new(refusal)),
            fix: String::new(),
        }
    }

    fn keep_token(&self, device: Device<'_>, identity: &Identity) {
        let auth = &self.hello["auth"];
        let Some(token) = auth["deviceToken"].as_str() else { return };
        let mut scopes: Vec<String> =
            auth["scopes"].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_string).collect();
        sort::by(&mut scopes, Ord::cmp);
        let known = device.stored(identity).is_some_and(|kept| kept.token.matches(token) && kept.scopes == scopes);
        if !known {
            device.store(identity, Some((&Secret::new(token), &scopes)));
        }
    }

    fn send(&mut self, method: &str, params: Option<Value>) -> Result<String, Failure> {
        let id = new_uuid();
        let mut frame = json!({"type": "req", "id": id, "method": method});
        if let Some(params) = params {
            frame["params"] = params;
        }
        match self.socket.send(Message::text(frame.to_string())) {
            Ok(()) => Ok(id),
            Err(error) => Err(self.broken(error)),
        }
    }

    fn read(&mut self, deadline: Deadline) -> Result<Frame, Failure> {
        self.socket.get_mut().set_deadline(deadline);
        loop {
            match self.socket.read() {
                Ok(Message::Text(text)) => {
                    // Frames that we do not understand are for newer programs.
                    if let Ok(frame) = serde_json::from_str(&text) {
                        return Ok(frame);
                    }
                }
                Ok(Message::Close(close)) => {
                    let (code, reason) =
                        close.map_or((1005, String::new()), |c| (c.code.into(), c.reason.as_str().to_string()));
                    let _reply = self.socket.flush();
                    return Err(Failure::Closed { code, reason, cause: None, refusal: None, fix: String::new() });
                }
                Ok(_) => {}
                Err(error) => return Err(self.broken(error)),
            }
        }
    }

    fn broken(&self, error: tungstenite::Error) -> Failure {
        match error {
            tungstenite::Error::Io(error) if is_timeout(&error) => self.socket.get_ref().deadline().failure(),
            _ => abnormal(None),
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // Says goodbye without waiting for the answer; the operating system delivers it.
        self.socket.get_mut().set_deadline(Deadline::after(Duration::from_millis(200)));
        let _ = self.socket.close(None);
        let _ = self.socket.flush();
    }
}

/// Connect parameters of the command line: protocol 3 to 4, all five scopes, signed by the device.
fn connect_params(target: &Target, identity: Option<&Identity>, device_token: Option<&Secret>, nonce: &str) -> Value {
    let platform = crate::sys::host::platform();
    let mut auth = serde_json::Map::new();
    for (name, secret) in
        [("token", target.token.as_ref()), ("deviceToken", device_token), ("password", target.password.as_ref())]
    {
        if let Some(secret) = secret {
            auth.insert(name.into(), secret.expose().into());
        }
    }
    let signed_token = auth.get("token").or_else(|| auth.get("deviceToken")).and_then(Value::as_str).unwrap_or("");
    let signed = identity.map(|identity| {
        let signed_at = now_ms();
        let id = identity.device_id();
        let payload = DevicePayload {
            device_id: id,
            client_id: CLIENT_ID,
            client_mode: CLIENT_MODE,
            role: Role::Operator,
            scopes: &SCOPES.map(str::to_string),
            signed_at_ms: signed_at,
            token: signed_token,
            nonce,
            platform,
            device_family: "",
        };
        json!({
            "id": id,
            "publicKey": identity.public_key(),
            "signature": identity.sign(&payload.v3()),
            "signedAt": signed_at,
            "nonce": nonce,
        })
    });
    let mut params = json!({
        "minProtocol": PROTOCOL_MIN,
        "maxProtocol": PROTOCOL_MAX,
        "client": {
            "id": CLIENT_ID,
            "version": COMPAT_VERSION,
            "platform": platform,
            "mode": CLIENT_MODE,
            "instanceId": new_uuid(),
        },
        "caps": [],
        "role": ROLE,
        "scopes": SCOPES,
    });
    if !auth.is_empty() {
        params["auth"] = Value::Object(auth);
    }
    if let Some(signed) = signed {
        params["device"] = signed;
    }
    params
}

/// The words that a gateway of either generation uses (protocol 2.5).
fn names_dead_device_token(failure: &Failure) -> bool {
    let Failure::Closed { code: 1008, reason, refusal, .. } = failure else { return false };
    let said = |text: &str| text.to_ascii_lowercase().contains("device token mismatch");
    said(reason) || refusal.as_ref().is_some_and(|refusal| said(&refusal.message))
}

fn may_retry_with_device_token(failure: &Failure) -> bool {
    let Failure::Closed { refusal: Some(refusal), .. } = failure else { return false };
    refusal.details["canRetryWithDeviceToken"] == true
        || refusal.details["recommendedNextStep"] == "retry_with_device_token"
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Frame {
    #[serde(rename = "type")]
    kind: String,
    id: String,
    ok: bool,
    event: String,
    payload: Value,
    error: Option<FrameError>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct FrameError {
    code: String,
    message: String,
    details: Value,
}

impl Frame {
    fn failure(self) -> Failure {
        let error = self.error.unwrap_or_default();
        Failure::Answer { message: error.message, code: error.code }
    }
}

/// The end of a wait, and its length for the text.
#[derive(Clone, Copy, Debug)]
pub struct Deadline {
    at: Instant,
    ms: u64,
}

impl Deadline {
    pub fn after(timeout: Duration) -> Deadline {
        let now = Instant::now();
        let at = now.checked_add(timeout).unwrap_or(now + Duration::from_secs(86_400 * 365));
        Deadline { at, ms: u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX) }
    }

    pub fn left(self) -> io::Result<Duration> {
        let left = self.at.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
    }

    fn failure(self) -> Failure {
        Failure::Timeout(self.ms)
    }
}

fn dial(host: &str, port: u16, deadline: Deadline) -> Result<TcpStream, Failure> {
    let mut cause = None;
    for address in look_up(host, port, deadline)? {
        let left = deadline.left().map_err(|_| deadline.failure())?;
        match TcpStream::connect_timeout(&address, left) {
            Ok(stream) => {
                let _only_slower_without = stream.set_nodelay(true);
                return Ok(stream);
            }
            Err(error) if is_timeout(&error) => return Err(deadline.failure()),
            Err(error) => cause = Some(format!("connect {} {address}", error_name(&error))),
        }
    }
    Err(abnormal(cause))
}

/// A resolver that hangs cannot be interrupted: the look-up gets a thread that nobody waits for.
fn look_up(host: &str, port: u16, deadline: Deadline) -> Result<Vec<SocketAddr>, Failure> {
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, port)]);
    }
    let (sender, receiver) = mpsc::sync_channel(1);
    let name = host.to_string();
    let asked = std::thread::Builder::new().name("look-up".into()).spawn(move || {
        let _too_late = sender.send((name.as_str(), port).to_socket_addrs().map(Iterator::collect::<Vec<_>>));
    });
    let answer = asked.and_then(|_| Ok(receiver.recv_timeout(deadline.left()?)));
    match answer {
        Ok(Ok(Ok(addresses))) if !addresses.is_empty() => Ok(addresses),
        Ok(Ok(_)) => Err(abnormal(Some(format!("getaddrinfo ENOTFOUND {host}")))),
        _ => Err(deadline.failure()),
    }
}

fn upgrade(target: &Target, stream: TcpStream, deadline: Deadline) -> Result<WebSocket<Stream>, Failure> {
    let request = target
        .url
        .as_str()
        .into_client_request()
        .map_err(|error| Failure::Refused(format!("not a gateway address: {error}")))?;
    let config = WebSocketConfig::default()
        .read_buffer_size(16 * 1024)
        .write_buffer_size(0)
        .max_message_size(Some(MAX_BUFFERED_BYTES))
        .max_frame_size(Some(MAX_BUFFERED_BYTES));
    let timed = Timed { stream, deadline };
    let stream = match target.secure() {
        true => Stream::secure(timed, &target.host, &target.trust).map_err(|fault| match fault {
            Fault::Late => deadline.failure(),
            Fault::Said { what, fix } => {
                Failure::Closed { code: CLOSE_ABNORMAL, reason: what.clone(), cause: Some(what), refusal: None, fix }
            }
        })?,
        false => Stream::Plain(timed),
    };
    match tungstenite::client::client_with_config(request, stream, Some(config)) {
        Ok((socket, _)) => Ok(socket),
        Err(HandshakeError::Interrupted(_)) => Err(deadline.failure()),
        Err(HandshakeError::Failure(tungstenite::Error::Io(error))) if is_timeout(&error) => Err(deadline.failure()),
        Err(HandshakeError::Failure(tungstenite::Error::Http(response))) => {
            Err(abnormal(Some(format!("answered, but not as a gateway (HTTP {})", response.status().as_u16()))))
        }
        Err(HandshakeError::Failure(tungstenite::Error::Io(_))) => Err(abnormal(None)),
        Err(HandshakeError::Failure(_)) => {
            let mut failure = abnormal(Some("answered, but not as a gateway".into()));
            if let (false, Failure::Closed { fix, .. }) = (target.secure(), &mut failure) {
                *fix = "Fix: if the gateway there has gateway.tls.enabled, its address begins with wss://.".into();
            }
            Err(failure)
        }
    }
}

fn abnormal(cause: Option<String>) -> Failure {
    Failure::Closed { code: CLOSE_ABNORMAL, reason: String::new(), cause, refusal: None, fix: String::new() }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock)
}

/// The names that operators search for.
fn error_name(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "ECONNREFUSED".into(),
        io::ErrorKind::ConnectionReset => "ECONNRESET".into(),
        io::ErrorKind::HostUnreachable => "EHOSTUNREACH".into(),
        io::ErrorKind::NetworkUnreachable => "ENETUNREACH".into(),
        io::ErrorKind::AddrNotAvailable => "EADDRNOTAVAIL".into(),
        io::ErrorKind::PermissionDenied => "EACCES".into(),
        _ => error.to_string(),
    }
}

/// Milliseconds since 1970.
pub fn now_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
