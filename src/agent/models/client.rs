//! The streaming shell: asks providers over HTTP, retries, falls back, and can be interrupted at any time.
//!
//! Runs on the thread of a run. Each run has an [`ureq::Agent`] of its own, because `Agent::shutdown` ends everything
//! of one agent. What cannot be interrupted is a name look-up or a TCP connect in progress: the thread stays behind
//! then and nobody waits for it.

use std::io::Read as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use parking_lot::{Condvar, Mutex};
use serde_json::Value;
use ureq::Agent;

use super::catalog::{Endpoint, ModelRef, Unusable};
use super::fault::{host_of, is_loopback_url};
use super::wire::{ModelError, ModelRequest, Reason, Sampling, StopReason, StreamEvent, Usage};
use super::{anthropic, echo, ollama, openai};
use crate::config::Api;
use crate::hub::run_events::Cancel;
use crate::limits::{
    MODEL_BUFFER, MODEL_CONNECT, MODEL_ERROR_BODY, MODEL_FIRST_BYTE, MODEL_PER_READ, MODEL_REQUESTS, MODEL_RETRY_AFTER,
    MODEL_RETRY_PAUSE,
};
use crate::sys::memory;

/// How long things may take; tests shorten them.
#[derive(Clone, Debug)]
pub struct Timing {
    pub connect: Duration,
    pub first_byte: Duration,
    pub per_read: Duration,
    /// Before the first retry; doubles with each.
    pub retry_pause: Duration,
    /// A provider that asks for a longer pause is not asked again in this turn.
    pub longest_retry_after: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Timing {
            connect: MODEL_CONNECT,
            first_byte: MODEL_FIRST_BYTE,
            per_read: MODEL_PER_READ,
            retry_pause: MODEL_RETRY_PAUSE,
            longest_retry_after: MODEL_RETRY_AFTER,
        }
    }
}

/// Makes the agent of one run; a test seam for name look-ups that hang.
pub type MakeAgent = Arc<dyn Fn(&Timing) -> Agent + Send + Sync>;

/// The agent of production.
pub fn make_agent(timing: &Timing) -> Agent {
    agent_config(timing).new_agent()
}

fn agent_config(timing: &Timing) -> ureq::config::Config {
    Agent::config_builder()
        .http_status_as_error(false)
        // A redirect would carry the key to another address.
        .max_redirects(0)
        .max_redirects_will_error(false)
        .timeout_connect(Some(timing.connect))
        .timeout_recv_response(Some(timing.first_byte))
        .timeout_per_read(Some(timing.per_read))
        .timeout_per_write(Some(timing.per_read))
        .input_buffer_size(MODEL_BUFFER)
        .output_buffer_size(MODEL_BUFFER)
        .max_idle_connections(1)
        .max_idle_connections_per_host(1)
        .accept_encoding("identity")
        .user_agent(concat!("openclaw/", env!("CARGO_PKG_VERSION")))
        .build()
}

/// Interrupts one run. Made when the run is accepted, long before it has an agent.
#[derive(Default)]
pub struct RunCancel {
    aborted: AtomicBool,
    agent: Mutex<Option<Agent>>,
    pause: Mutex<()>,
    woken: Condvar,
}

impl RunCancel {
    pub fn is_cancelled(&self) -> bool {
        self.aborted.load(Ordering::SeqCst)
    }

    /// From now on `cancel` also ends what this agent is doing.
    fn attach(&self, agent: &Agent) {
        *self.agent.lock() = Some(agent.clone());
        if self.is_cancelled() {
            self.shut();
        }
    }

    fn shut(&self) {
        let agent = self.agent.lock().take();
        if let Some(agent) = agent {
            agent.shutdown();
        }
    }

    /// Sleeps; false when it was interrupted.
    pub fn sleep(&self, time: Duration) -> bool {
        let until = Instant::now() + time;
        let mut guard = self.pause.lock();
        while !self.is_cancelled() {
            if self.woken.wait_until(&mut guard, until).timed_out() {
                return !self.is_cancelled();
            }
        }
        false
    }
}

impl Cancel for RunCancel {
    fn cancel(&self) {
        self.aborted.store(true, Ordering::SeqCst);
        {
            // Taken so that a sleeper is either before its look at the flag or already waiting.
            let _guard = self.pause.lock();
            self.woken.notify_all();
        }
        self.shut();
    }
}

/// Takes the events of a call. Only `Text`, `Thinking`, `Signature`, `Redacted` and `ToolCall` arrive.
pub trait Sink {
    fn event(&mut self, event: StreamEvent);
    /// The call begins anew: what was said since it began is void. Never after a `Text`.
    fn restart(&mut self);
}

/// A model of the chain, or why it cannot be asked.
pub type Candidate = (ModelRef, Result<Endpoint, Unusable>);

/// A complete answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Answered {
    /// Index into the chain.
    pub by: usize,
    pub stop: StopReason,
    pub usage: Usage,
}

/// No complete answer. `attempts` has one entry per model that was tried.
#[derive(Clone, Debug, PartialEq)]
pub struct Failure {
    /// Index of the last model that was tried.
    pub by: usize,
    pub error: ModelError,
    pub attempts: Vec<(ModelRef, ModelError)>,
    /// Nobody could be asked: configuration, not the provider.
    pub unusable: Option<Unusable>,
}

impl Failure {
    /// For people.
    pub fn user_text(&self) -> String {
        match self.attempts.as_slice() {
            [] => self.error.user_text(""),
            [(id, error)] => error.user_text(&id.provider),
            many => {
                let list: Vec<String> = many
                    .iter()
                    .map(|(id, error)| format!("{id}: {} ({})", error.raw_text(), error.kind.name()))
                    .collect();
                format!("All models failed ({}): {}", many.len(), list.join(" | "))
            }
        }
    }
}

/// Asks models for one run.
pub struct Client {
    timing: Timing,
    make: MakeAgent,
    agent: Option<Agent>,
    cancel: Arc<RunCancel>,
    /// What the echo model repeats: the user's text without the additions of the transcript.
    said: String,
    /// Bytes that the models may still say in this run.
    room: usize,
}

impl Client {
    pub fn for_run(timing: Timing, make: MakeAgent, cancel: Arc<RunCancel>, said: String) -> Client {
        Client { timing, make, agent: None, cancel, said, room: memory::run_text_bytes() }
    }

    /// One call of the chain's first model that answers. At most `MODEL_REQUESTS` requests, retries and fallbacks
    /// together; nothing is retried once a piece of text was shown.
    pub fn call(
        &mut self,
        chain: &[Candidate],
        request: &mut dyn FnMut(&Endpoint) -> ModelRequest,
        sink: &mut dyn Sink,
    ) -> Result<Answered, Box<Failure>> {
        let mut left = MODEL_REQUESTS;
        let mut attempts: Vec<(ModelRef, ModelError)> = Vec::new();
        let mut unusable = None;
        let mut asked = false;
        let usable_after = |at: usize| chain[at + 1..].iter().filter(|(_, e)| e.is_ok()).count() as u32;
        for (by, (id, endpoint)) in chain.iter().enumerate() {
            let endpoint = match endpoint {
                Ok(endpoint) => endpoint,
                Err(why) => {
                    attempts.push((id.clone(), why.to_error()));
                    unusable.get_or_insert_with(|| why.clone());
                    continue;
                }
            };
            let mut prompt = request(endpoint);
            let mut endpoint = endpoint.clone();
            let mut tries = 0;
            let error = loop {
                if left == 0 {
                    break None;
                }
                left -= 1;
                tries += 1;
                asked = true;
                let failed = match self.attempt(&endpoint, &prompt, sink) {
                    Ok((stop, usage)) => return Ok(Answered { by, stop, usage }),
                    Err(failed) => failed,
                };
                if self.cancel.is_cancelled() || failed.error.kind == Reason::Aborted {
                    return Err(Box::new(Failure { by, error: ModelError::aborted(), attempts, unusable: None }));
                }
                if failed.shown {
                    let error = failed.error;
                    log::warn!("model {id} failed in its answer ({}): {}", error.kind.name(), error.raw_text());
                    return Err(Box::new(Failure {
                        by,
                        attempts: vec![(id.clone(), error.clone())],
                        error,
                        unusable: None,
                    }));
                }
                sink.restart();
                if left > 0 && soften(&mut endpoint, &mut prompt.sampling, &failed.error) {
                    log::info!("model {id}: {}; asking again without it", failed.error.raw_text());
                    continue;
                }
                let pause = self.pause(&failed.error, tries);
                let again = failed.error.kind.retryable() && !failed.timed_out && left > usable_after(by);
                match pause.filter(|_| again) {
                    Some(pause) => {
                        log::info!("model {id}: {}; asking again in {} ms", failed.error.raw_text(), pause.as_millis());
                        if !self.cancel.sleep(pause) {
                            return Err(Box::new(Failure {
                                by,
                                error: ModelError::aborted(),
                                attempts,
                                unusable: None,
                            }));
                        }
                    }
                    None => break Some(failed.error),
                }
            };
            let Some(error) = error else { break };
            log::warn!("model {id} failed ({}): {}", error.kind.name(), error.raw_text());
            let next = error.kind.fails_over();
            attempts.push((id.clone(), error));
            if !next {
                break;
            }
        }
        let error = attempts.last().map_or_else(
            || ModelError::new(Reason::ModelNotFound, "no model is configured"),
            |(_, error)| error.clone(),
        );
        let by = attempts.len().saturating_sub(1);
        Err(Box::new(Failure { by, error, attempts, unusable: unusable.filter(|_| !asked) }))
    }

    /// None: the provider wants to be left alone for longer than a turn can wait.
    fn pause(&self, error: &ModelError, tries: u32) -> Option<Duration> {
        if let Some(asked) = error.retry_after {
            return (asked <= self.timing.longest_retry_after).then_some(asked);
        }
        let pause = self.timing.retry_pause.saturating_mul(1 << (tries - 1).min(4));
        // Jitter of ±20 %, so that sessions that failed together do not come back together.
        let dice = u32::from(crate::ids::random_bytes::<1>()[0]);
        Some(pause.mul_f64(0.8 + 0.4 * f64::from(dice) / 255.0))
    }

    fn attempt(
        &mut self,
        endpoint: &Endpoint,
        request: &ModelRequest,
        sink: &mut dyn Sink,
    ) -> Result<(StopReason, Usage), Failed> {
        let mut call = Call::new(sink, self.cancel.clone(), self.room);
        let ended = self.ask(endpoint, request, &mut call);
        self.room = call.room;
        ended
    }

    fn ask(
        &mut self,
        endpoint: &Endpoint,
        request: &ModelRequest,
        call: &mut Call<'_>,
    ) -> Result<(StopReason, Usage), Failed> {
        if self.cancel.is_cancelled() {
            return Err(call.fail(ModelError::aborted()));
        }
        let mut parser = match endpoint.api {
            Api::Echo => {
                call.take(echo::answer(request, &self.said).collect());
                return call.end();
            }
            Api::OpenAiCompletions => Parser::OpenAi(openai::Parser::default()),
            Api::AnthropicMessages => Parser::Anthropic(anthropic::Parser::default()),
            Api::Ollama => Parser::Ollama(ollama::Parser::new(crate::ids::new_uuid)),
        };
        let body = match serde_json::to_vec(&body(endpoint, request)) {
            Ok(body) => body,
            Err(e) => return Err(call.fail(ModelError::new(Reason::Format, e.to_string()))),
        };
        let mut response = match self.send(endpoint, &body) {
            Ok(response) => response,
            Err(e) => return Err(call.transport(&e, endpoint)),
        };
        let status = response.status().as_u16();
        if status != 200 {
            let retry_after = retry_after(response.headers());
            let mut text = Vec::new();
            // What could be read of the error is enough.
            let _ = response.body_mut().as_reader().take(MODEL_ERROR_BODY).read_to_end(&mut text);
            let mut error = http_error(endpoint, status, &text);
            error.retry_after = retry_after;
            return Err(call.fail(error));
        }
        let mut reader = response.into_body().into_with_config().limit(u64::MAX).reader();
        let mut buffer = vec![0u8; MODEL_BUFFER];
        let mut events = Vec::new();
        loop {
            match reader.read(&mut buffer) {
                // A shutdown may look like the orderly end of a body without a length.
                _ if self.cancel.is_cancelled() => return Err(call.fail(ModelError::aborted())),
                Ok(0) => parser.finish(&mut events),
                Ok(n) => parser.feed(&buffer[..n], &mut events),
                Err(e) => return Err(call.broken(&e)),
            }
            call.take(std::mem::take(&mut events));
            call.measure(parser.held());
            if call.over() {
                return call.end();
            }
        }
    }

    fn send(&mut self, endpoint: &Endpoint, body: &[u8]) -> Result<ureq::http::Response<ureq::Body>, ureq::Error> {
        let agent = match &self.agent {
            Some(agent) => agent,
            None => {
                let agent = (self.make)(&self.timing);
                self.cancel.attach(&agent);
                self.agent.insert(agent)
            }
        };
        let url = url(endpoint);
        let mut request = agent.post(&url);
        for (name, value) in headers(endpoint) {
            request = request.header(name, value);
        }
        if is_loopback_url(&url) {
            // A proxy cannot reach this machine's own servers.
            request = request.config().proxy(None).build();
        }
        request.send(body)
    }
}

/// One failed request.
struct Failed {
    error: ModelError,
    /// Text was shown: too late for another try.
    shown: bool,
    /// One of our own deadlines passed; the next try would take as long.
    timed_out: bool,
}

/// What came out of one request so far.
struct Call<'a> {
    sink: &'a mut dyn Sink,
    cancel: Arc<RunCancel>,
    usage: Usage,
    stop: Option<Result<StopReason, ModelError>>,
    shown: bool,
    /// Bytes that may still be said.
    room: usize,
}

impl<'a> Call<'a> {
    fn new(sink: &'a mut dyn Sink, cancel: Arc<RunCancel>, room: usize) -> Self {
        Call { sink, cancel, usage: Usage::default(), stop: None, shown: false, room }
    }

    /// Hands events on; pieces of text that came together go on as one.
    fn take(&mut self, events: Vec<StreamEvent>) {
        let mut text = String::new();
        for event in events {
            if self.over() || self.cancel.is_cancelled() {
                return;
            }
            let weight = event.weight();
            self.measure(weight);
            if self.over() {
                break;
            }
            self.room -= weight;
            match event {
                StreamEvent::Text(piece) => text.push_str(&piece),
                other => {
                    self.text(&mut text);
                    match other {
                        StreamEvent::Usage(usage) => self.usage = usage,
                        StreamEvent::Stop(reason) => self.stop = Some(Ok(reason)),
                        StreamEvent::Error(error) => self.stop = Some(Err(error)),
                        other => self.sink.event(other),
                    }
                }
            }
        }
        self.text(&mut text);
    }

    /// Ends the call when what came, or is about to come, is too much.
    fn measure(&mut self, bytes: usize) {
        if bytes > self.room && !self.over() {
            let most = memory::run_text_bytes() / 1024;
            let most = if most.is_multiple_of(1024) { format!("{} MiB", most / 1024) } else { format!("{most} KiB") };
            let text = format!("the model said more than {most} in one run; the rest was not read");
            self.stop = Some(Err(ModelError::new(Reason::Unknown, text)));
        }
    }

    fn text(&mut self, text: &mut String) {
        if !text.is_empty() {
            self.shown = true;
            self.sink.event(StreamEvent::Text(std::mem::take(text)));
        }
    }

    fn over(&self) -> bool {
        self.stop.is_some()
    }

    fn end(&mut self) -> Result<(StopReason, Usage), Failed> {
        match self.stop.take() {
            Some(Ok(stop)) => Ok((stop, self.usage)),
            Some(Err(error)) => Err(self.fail(error)),
            None => Err(self.fail(ModelError::aborted())),
        }
    }

    fn fail(&self, error: ModelError) -> Failed {
        Failed { error, shown: self.shown, timed_out: false }
    }

    fn transport(&self, error: &ureq::Error, endpoint: &Endpoint) -> Failed {
        let (error, timed_out) = transport_error(error, endpoint);
        Failed { timed_out, ..self.fail(error) }
    }

    /// The answer began and broke.
    fn broken(&self, error: &std::io::Error) -> Failed {
        let timed_out = is_timeout(error);
        let text = match timed_out {
            true => "the model endpoint stopped sending in the middle of its answer".to_owned(),
            false => format!("the connection broke in the middle of the answer: {error}"),
        };
        Failed { timed_out, ..self.fail(ModelError::new(Reason::Timeout, text)) }
    }
}

/// The request did not get as far as an answer; true when one of our own deadlines passed.
pub(super) fn transport_error(error: &ureq::Error, endpoint: &Endpoint) -> (ModelError, bool) {
    let host = host_of(&endpoint.base_url);
    let (kind, text, timed_out) = match error {
        ureq::Error::Timeout(what) => (Reason::Timeout, format!("no answer from {host} in time ({what})"), true),
        ureq::Error::HostNotFound => (Reason::Timeout, format!("{host}: no such host"), false),
        ureq::Error::Io(e) if is_timeout(e) => (Reason::Timeout, format!("no answer from {host} in time"), true),
        ureq::Error::Io(e) => (Reason::Timeout, format!("connection to {host} failed: {e}"), false),
        ureq::Error::BadUri(_) | ureq::Error::Http(_) => {
            (Reason::Format, format!("the request for {host} cannot be sent: {error}"), false)
        }
        other => (Reason::Timeout, format!("connection to {host} failed: {other}"), false),
    };
    (ModelError::new(kind, text), timed_out)
}

enum Parser {
    OpenAi(openai::Parser),
    Anthropic(anthropic::Parser),
    Ollama(ollama::Parser),
}

impl Parser {
    fn feed(&mut self, bytes: &[u8], out: &mut Vec<StreamEvent>) {
        match self {
            Parser::OpenAi(p) => p.feed(bytes, out),
            Parser::Anthropic(p) => p.feed(bytes, out),
            Parser::Ollama(p) => p.feed(bytes, out),
        }
    }

    /// Bytes of calls that are not whole yet.
    fn held(&self) -> usize {
        match self {
            Parser::OpenAi(p) => p.held(),
            Parser::Anthropic(p) => p.held(),
            Parser::Ollama(_) => 0,
        }
    }

    fn finish(&mut self, out: &mut Vec<StreamEvent>) {
        match self {
            Parser::OpenAi(p) => p.finish(out),
            Parser::Anthropic(p) => p.finish(out),
            Parser::Ollama(p) => p.finish(out),
        }
    }
}

fn body(endpoint: &Endpoint, request: &ModelRequest) -> Value {
    let model = &endpoint.id.model;
    match endpoint.api {
        Api::OpenAiCompletions => {
            let dialect = openai::Dialect {
                max_tokens_field: endpoint.max_tokens_field.clone(),
                usage_in_streaming: endpoint.usage_in_streaming,
                store: endpoint.store,
                reasoning: endpoint.reasoning,
            };
            openai::request_body(model, request, &dialect)
        }
        Api::AnthropicMessages => anthropic::request_body(model, request, endpoint.reasoning, endpoint.adaptive()),
        Api::Ollama => ollama::request_body(model, request, Some(endpoint.context_window)),
        Api::Echo => Value::Null,
    }
}

fn url(endpoint: &Endpoint) -> String {
    let base = endpoint.base_url.trim_end_matches('/');
    let bare = base.strip_suffix("/v1").unwrap_or(base);
    match endpoint.api {
        Api::OpenAiCompletions => format!("{base}/chat/completions"),
        Api::AnthropicMessages => format!("{bare}/v1/messages"),
        Api::Ollama => format!("{bare}/api/chat"),
        Api::Echo => String::new(),
    }
}

/// A header that the config sets replaces ours of the same name.
pub(super) fn headers(endpoint: &Endpoint) -> Vec<(String, String)> {
    let mut out: Vec<(String, String)> = vec![("content-type".into(), "application/json".into())];
    let key = endpoint.key.as_ref().map(|k| k.expose()).unwrap_or_default();
    match endpoint.api {
        Api::AnthropicMessages => {
            let oauth = key.starts_with("sk-ant-oat");
            out.push(("anthropic-version".into(), anthropic::VERSION.into()));
            out.push(("anthropic-beta".into(), if oauth { anthropic::BETA_OAUTH } else { anthropic::BETA }.into()));
            if endpoint.bearer || oauth {
                out.push(("authorization".into(), format!("Bearer {key}")));
            } else if !key.is_empty() {
                out.push(("x-api-key".into(), key.into()));
            }
        }
        _ if key.is_empty() => {}
        _ => out.push(("authorization".into(), format!("Bearer {key}"))),
    }
    for (name, value) in &endpoint.headers {
        out.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
        out.push((name.clone(), value.expose().to_owned()));
    }
    out
}

/// Copies of OpenAI's interface refuse fields that they do not know, and models that reason refuse most of sampling:
/// leaves out the one that an error names. False when that is not what is wrong.
fn soften(endpoint: &mut Endpoint, sampling: &mut Sampling, error: &ModelError) -> bool {
    const NEW_FIELD: &str = "max_completion_tokens";
    if endpoint.api != Api::OpenAiCompletions || !matches!(error.status, Some(400 | 422)) {
        return false;
    }
    let names = |field: &str| {
        let by = |c: char| !(c.is_ascii_alphanumeric() || c == '_');
        error.message.split(by).any(|word| word == field)
    };
    if endpoint.usage_in_streaming && (names("stream_options") || names("include_usage")) {
        endpoint.usage_in_streaming = false;
    } else if endpoint.max_tokens_field == NEW_FIELD && names(NEW_FIELD) {
        endpoint.max_tokens_field = "max_tokens".into();
    } else if endpoint.store && names("store") {
        endpoint.store = false;
    } else if endpoint.reasoning && names("reasoning_effort") {
        endpoint.reasoning = false;
    } else {
        let Sampling { temperature, top_p, frequency_penalty, presence_penalty, seed, stop, parallel_calls, .. } =
            sampling;
        let mut left_out = false;
        for (name, value) in [
            ("temperature", temperature),
            ("top_p", top_p),
            ("frequency_penalty", frequency_penalty),
            ("presence_penalty", presence_penalty),
        ] {
            left_out |= names(name) && value.take().is_some();
        }
        left_out |= names("seed") && seed.take().is_some();
        left_out |= names("parallel_tool_calls") && parallel_calls.take().is_some();
        left_out |= names("stop") && !std::mem::take(stop).is_empty();
        if names("response_format") && sampling.response_format.is_some() && !sampling.format_in_words {
            sampling.format_in_words = true;
            left_out = true;
        }
        return left_out;
    }
    true
}

fn http_error(endpoint: &Endpoint, status: u16, body: &[u8]) -> ModelError {
    let mut error = ModelError::from_status(status, body, endpoint.api == Api::AnthropicMessages);
    if endpoint.api == Api::Ollama {
        error.message = format!("Ollama API error {status}: {}", super::fault::short_text(body));
        error.status = None;
    }
    error
}

/// `retry-after-ms`, or `Retry-After` in seconds or as a date.
pub(super) fn retry_after(headers: &ureq::http::HeaderMap) -> Option<Duration> {
    let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok()).map(str::trim);
    if let Some(ms) = text("retry-after-ms").and_then(|t| t.parse::<f64>().ok()) {
        return Duration::try_from_secs_f64(ms / 1000.0).ok();
    }
    let text = text("retry-after")?;
    if let Ok(seconds) = text.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    let at = jiff::fmt::rfc2822::parse(text).ok()?.timestamp().as_second();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_secs();
    Some(Duration::from_secs(u64::try_from(at).ok()?.saturating_sub(now)))
}

fn is_timeout(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{TimedOut, WouldBlock};
    matches!(error.kind(), TimedOut | WouldBlock)
        || error
            .get_ref()
            .and_then(|inner| inner.downcast_ref::<ureq::Error>())
            .is_some_and(|inner| matches!(inner, ureq::Error::Timeout(_)))
}

#[cfg(test)]
#[path = "client_tests.rs"]
pub(crate) mod tests;
