//! One turn: from the user's message to the final answer (agent 3). Runs on the thread `run-<id>`.
//!
//! It says what happens to the hub as it happens, writes to the transcript through its [`Book`], and returns its end.
//! It never waits for a client, and it never copies the text so far: pieces go out as they come.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use jiff::tz::TimeZone;
use serde_json::{Map, Value, json};

use super::book::{Book, Refused};
use super::intake::{Reset, reset_command};
use super::models::catalog::{Catalog, Endpoint, ModelRef};
use super::models::client::{Candidate, Client, Failure, RunCancel};
use super::models::wire::{self, ModelRequest, StopReason, Thinking, ToolCall, ToolSpec, Usage};
use super::round::{Part, Round, blocks};
use super::session::{self, Opened, Outcome};
use super::world::{Job, Options, SystemLine, World};
use super::{context, prompt, told, workspace};
use crate::config::Cost;
use crate::hub::run_events::{Answer, ClientCall, Details, EndKind, EndRun, RunEvent};
use crate::limits::{CONTEXT_BYTES, CONTEXT_MESSAGES, TOOL_ROUNDS};
use crate::metrics::{Metrics, TOKEN_TYPES};
use crate::protocol::ErrorShape;
use crate::store::message::{self, Assistant, Block, Message};
use crate::store::transcript::{ReadLimits, iso_time, read_context, with_time_prefix};
use crate::store::{Entry, Transcript};
use crate::sys::zone;

/// Result of a call of what is no function of the client: there are no tools of our own yet.
const NO_TOOL: &str = "tool not available";

/// How a turn ends early.
enum Stopped {
    /// Nothing may be said any more: the run was closed.
    Silently,
    /// The final response is `ok:false`.
    Refused { text: String, message: String },
}

impl From<Refused> for Stopped {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Closed => Stopped::Silently,
            Refused::Failed(e) => Stopped::failed(format!("the transcript cannot be written: {e}")),
        }
    }
}

impl Stopped {
    fn failed(text: String) -> Self {
        Stopped::Refused { message: format!("Error: {text}"), text }
    }
}

/// Does the whole turn. None: the run was closed meanwhile.
pub fn run(world: &World, job: &Job, cancel: &Arc<RunCancel>, book: &Book) -> Option<EndRun> {
    let began = Instant::now();
    let ended = Turn::prepare(world, job, cancel, book).and_then(|mut turn| turn.talk(began));
    match ended {
        Ok(end) => Some(end),
        Err(Stopped::Silently) => None,
        Err(Stopped::Refused { text, message }) => Some(refusal(&job.run_id, text, message, (world.now_ms)())),
    }
}

/// The end of a run that failed before a provider could be asked.
pub fn refusal(run_id: &Arc<str>, text: String, message: String, at_ms: u64) -> EndRun {
    let payload = json!({"runId": &**run_id, "status": "error", "summary": message});
    EndRun {
        run_id: run_id.clone(),
        how: EndKind::Error(text),
        at_ms,
        text: None,
        usage: None,
        answer: Answer::Err { error: ErrorShape::unavailable(message), payload },
        details: None,
    }
}

struct Turn<'a> {
    world: &'a World,
    job: &'a Job,
    cancel: &'a Arc<RunCancel>,
    book: &'a Book,
    opened: Opened,
    chain: Vec<Candidate>,
    thinking: Option<Thinking>,
    system: String,
    summary: Option<String>,
    messages: Vec<Message>,
    /// What the user wrote, for the echo model.
    said: String,
    /// Of the whole run.
    total: Usage,
    /// Of the last call that succeeded.
    last: Option<Usage>,
    /// The last answer ended at its limit.
    truncated: bool,
}

impl<'a> Turn<'a> {
    /// Everything up to the first request: session, model, workspace, transcript.
    fn prepare(world: &'a World, job: &'a Job, cancel: &'a Arc<RunCancel>, book: &'a Book) -> Result<Self, Stopped> {
        let config = (world.config)();
        let paths = &world.paths;
        let now = (world.now_ms)();
        let catalog = Catalog { config: &config, env: &*world.env, dev: world.dev };
        let agent = &job.route.agent;
        let options = job.options.as_deref();
        let ephemeral = options.is_some_and(|options| options.ephemeral);

        let reset = reset_command(&job.message).filter(|_| !ephemeral);
        // Not under the book's lock: this waits for the disk. A session that was begun for nothing does no harm.
        if book.is_closed() {
            return Err(Stopped::Silently);
        }
        let opened = match ephemeral {
            true => Opened::ephemeral(&job.route),
            false => session::open(&world.sessions, &config, paths, &job.route, job.source, reset.is_some(), now)
                .map_err(|e| Stopped::failed(format!("the session store cannot be written: {e}")))?,
        };
        let (said, chosen) = match &reset {
            Some(reset) => after_reset(reset, &catalog),
            None => (job.message.clone(), None),
        };
        if let Some(id) = &chosen {
            world.sessions.update(&job.route.key, &mut |entry| {
                entry.provider_override = Some(id.provider.clone());
                entry.model_override = Some(id.model.clone());
            });
        }
        let asked_for = options.and_then(|options| options.model.clone());
        let chosen = asked_for.or(chosen).or_else(|| overridden(&opened.entry));
        let chosen = chosen.filter(|id| catalog.allowed(id).is_ok());

        let agent_dir = session::agent_dir(&config, paths, agent);
        let ids = catalog.chain_with(chosen, agent, &agent_dir);
        let default = ids.first().map(ToString::to_string).unwrap_or_default();
        let chain: Vec<Candidate> = ids
            .into_iter()
            .map(|id| {
                let endpoint = catalog.endpoint(&id, &agent_dir);
                (id, endpoint)
            })
            .collect();
        let Some(first) = chain.iter().find_map(|(_, endpoint)| endpoint.as_ref().ok()) else {
            let text = unusable_text(&chain);
            return Err(Stopped::Refused { message: format!("FailoverError: {text}"), text });
        };
        let asked = job.thinking.or_else(|| opened.entry.thinking_level.as_deref().and_then(Thinking::parse));
        let asked = asked.or_else(|| config.agents.defaults.thinking.as_deref().and_then(Thinking::parse));
        let level = asked.unwrap_or_else(|| default_thinking(first));

        let directory = workspace::directory(&config, paths, agent);
        if !config.agents.defaults.skip_bootstrap
            && !ephemeral
            && let Err(e) = workspace::ensure(&directory, &iso_time(now))
        {
            log::warn!("workspace {}: {e}", directory.display());
        }
        let zone = time_zone(config.agents.defaults.user_timezone.as_deref());
        let system = prompt::system_prompt(&prompt::Facts {
            agent,
            host: &world.host,
            workspace: &directory.display().to_string(),
            model: &first.id.to_string(),
            default_model: &default,
            channel: options.and_then(|options| options.channel.as_deref()).unwrap_or("webchat"),
            thinking: level.name(),
            time_zone: zone.iana_name().unwrap_or("UTC"),
            name: config.agents.get(agent).and_then(|a| a.identity.name.as_deref()),
            functions: options.is_some_and(|options| !options.tools.is_empty()),
            extra: job.extra_system_prompt.as_deref(),
            project: &workspace::project_context(&directory),
        });

        let (summary, known) = open_transcript(book, &opened, &directory, first, level, now)?;
        book.speaks(interrupted(first));
        let mut turn = Turn {
            world,
            job,
            cancel,
            book,
            opened,
            chain,
            thinking: asked,
            system,
            summary,
            messages: known,
            said,
            total: Usage::default(),
            last: None,
            truncated: false,
        };
        // What the person has just put aside does not come back by way of the client.
        let history = options.filter(|_| reset.is_none()).map_or(&[][..], |options| &options.history);
        turn.hear(history, &zone, now)?;
        Ok(turn)
    }

    /// Takes what is new of the conversation, and the message.
    fn hear(&mut self, history: &[wire::Message], zone: &TimeZone, now: u64) -> Result<(), Stopped> {
        let lines = (self.world.system_lines)(&self.job.route.key);
        let Some(options) = self.job.options.as_deref() else {
            let text = with_time_prefix(&self.said, now, zone);
            return self.must_write(user_message(self.job, &text, &lines, now));
        };
        let news = told::news(history, &self.messages, options.continues, now);
        for message in news.messages {
            self.must_write(message)?;
        }
        if options.continues {
            return Ok(());
        }
        let text = news.before.unwrap_or_default() + &self.said;
        self.must_write(user_message(self.job, &text, &lines, now))
    }

    /// Asks the model until it is done, then ends the run.
    fn talk(&mut self, began: Instant) -> Result<EndRun, Stopped> {
        let mut client = Client::for_run(
            self.world.timing.clone(),
            self.world.make_agent.clone(),
            self.cancel.clone(),
            self.said.clone(),
        );
        let mut shown: Vec<String> = Vec::new();
        for round in 0..TOOL_ROUNDS {
            if round > 0 {
                (self.world.hub)(RunEvent::MessageEnd { run_id: self.job.run_id.clone() });
            }
            let mut sink = Round::new(self.world, self.job, self.book);
            let answered = client.call(&self.chain, &mut |endpoint| self.request(endpoint), &mut sink);
            if self.cancel.is_cancelled() || self.book.is_closed() {
                return Err(Stopped::Silently);
            }
            let (parts, calls, text) = sink.finish();
            if !text.is_empty() {
                shown.push(text);
            }
            let answered = match answered {
                Ok(answered) => answered,
                Err(failure) => return self.fail(*failure, parts, shown, began),
            };
            let endpoint = self.endpoint(answered.by).clone();
            self.total.add(&answered.usage);
            self.last = Some(answered.usage);
            self.truncated = answered.stop == StopReason::Length;
            count_tokens(&self.world.metrics, &answered.usage);
            self.write_answer(speaker(&endpoint, answered.usage, answered.stop, None), parts)?;
            if answered.stop != StopReason::ToolUse || calls.is_empty() {
                return self.done(&endpoint, shown, Vec::new(), began);
            }
            // The client answers calls of its own functions with a new request, which finds the calls in the session.
            let (of_client, others): (Vec<_>, Vec<_>) =
                calls.into_iter().partition(|call| self.tools().iter().any(|tool| tool.name == call.name));
            for call in others {
                let now = (self.world.now_ms)();
                self.write(Message::tool_result(&call.id, &call.name, NO_TOOL, true, now))?;
            }
            if !of_client.is_empty() {
                return self.done(&endpoint, shown, of_client, began);
            }
            self.book.speaks(interrupted(&endpoint));
        }
        Err(Stopped::failed(format!("the model asked for tools {TOOL_ROUNDS} times without answering")))
    }

    fn request(&self, endpoint: &Endpoint) -> ModelRequest {
        let options = self.job.options.as_deref();
        let sampling = options.map(|options| options.sampling.clone()).unwrap_or_default();
        ModelRequest {
            system: self.system.clone(),
            messages: context::for_model(self.summary.as_deref(), &self.messages, endpoint),
            tools: self.tools().to_vec(),
            max_tokens: sampling.max_tokens.map_or(endpoint.max_tokens, |asked| asked.min(endpoint.max_tokens)),
            thinking: self.thinking.unwrap_or_else(|| default_thinking(endpoint)),
            tool_choice: options.map(|options| options.tool_choice.clone()).unwrap_or_default(),
            sampling,
        }
    }

    /// Functions of the client.
    fn tools(&self) -> &'a [ToolSpec] {
        self.job.options.as_deref().map_or(&[], |options: &'a Options| options.tools.as_slice())
    }

    fn endpoint(&self, by: usize) -> &Endpoint {
        self.chain[by].1.as_ref().expect("only endpoints that could be asked have answered")
    }

    /// The message that was streamed, into the transcript and into the conversation.
    fn write_answer(&mut self, who: Assistant, parts: Vec<Part>) -> Result<(), Stopped> {
        let now = (self.world.now_ms)();
        let (message, written) = self.book.end_message(|transcript, text| {
            let message = Message::assistant(who, blocks(parts, text), now);
            let written = transcript.map_or(Ok(()), |t| t.append_message(&message, now).map(drop));
            (message, written)
        })?;
        if let Err(e) = written {
            // People get their answer all the same.
            log::error!("session {}: not written: {e}", self.job.route.key);
        }
        self.messages.push(message);
        Ok(())
    }

    /// Into the transcript and into the conversation.
    fn write(&mut self, message: Message) -> Result<(), Stopped> {
        let now = (self.world.now_ms)();
        match self.book.write(|transcript| transcript.append_message(&message, now)) {
            Ok(_) => {}
            Err(Refused::Closed) => return Err(Stopped::Silently),
            Err(Refused::Failed(e)) => log::error!("session {}: not written: {e}", self.job.route.key),
        }
        self.messages.push(message);
        Ok(())
    }

    /// The same for what the turn is about: without it there is no turn.
    fn must_write(&mut self, message: Message) -> Result<(), Stopped> {
        let now = (self.world.now_ms)();
        self.book.write(|transcript| transcript.append_message(&message, now))?;
        self.messages.push(message);
        Ok(())
    }

    fn done(
        &self,
        endpoint: &Endpoint,
        shown: Vec<String>,
        calls: Vec<ToolCall>,
        began: Instant,
    ) -> Result<EndRun, Stopped> {
        self.record(&endpoint.id, endpoint.context_window, true)?;
        let meta = self.meta(&endpoint.id, true, began);
        let mut end = self.end(EndKind::Done, &shown, &shown, meta);
        let calls = calls.into_iter().map(|call| ClientCall {
            id: call.id,
            name: call.name,
            arguments: call.arguments.to_string(),
        });
        end.details = self.details(|details| details.calls = calls.collect());
        Ok(end)
    }

    /// What followers are told beside the text; None when there are none.
    fn details(&self, more: impl FnOnce(&mut Details)) -> Option<Box<Details>> {
        self.job.options.as_ref()?;
        let mut details = Details {
            input: self.total.input,
            output: self.total.output,
            cache_read: self.total.cache_read,
            cache_write: self.total.cache_write,
            truncated: self.truncated,
            ..Details::default()
        };
        more(&mut details);
        Some(Box::new(details))
    }

    /// A provider's failure is an answer (agent 3, DECISIONS 53); a missing key is none (DECISIONS 60).
    fn fail(
        &mut self,
        failure: Failure,
        parts: Vec<Part>,
        shown: Vec<String>,
        began: Instant,
    ) -> Result<EndRun, Stopped> {
        if let Some(why) = &failure.unusable {
            let text = why.text().to_owned();
            return Err(Stopped::Refused { message: format!("FailoverError: {text}"), text });
        }
        let text = failure.user_text();
        let raw = match failure.attempts.len() {
            0 | 1 => failure.error.raw_text(),
            _ => text.clone(),
        };
        let (id, window, who) = match self.chain.get(failure.by).map(|(id, endpoint)| (id, endpoint.as_ref().ok())) {
            Some((id, Some(endpoint))) => {
                (id.clone(), endpoint.context_window, speaker(endpoint, Usage::default(), StopReason::Error, Some(raw)))
            }
            _ => {
                let id = failure
                    .attempts
                    .last()
                    .map_or_else(|| ModelRef { provider: String::new(), model: String::new() }, |(id, _)| id.clone());
                let who = Assistant {
                    provider: id.provider.clone(),
                    model: id.model.clone(),
                    stop_reason: StopReason::Error.name().into(),
                    error_message: Some(raw),
                    ..Assistant::default()
                };
                (id, crate::limits::CONTEXT_TOKENS, who)
            }
        };
        self.write_answer(who, parts)?;
        self.record(&id, window, false)?;
        let mut payloads = shown.clone();
        payloads.push(text.clone());
        let meta = self.meta(&id, false, began);
        let mut end = self.end(EndKind::Error(text), &shown, &payloads, meta);
        let error = &failure.error;
        end.details = self.details(|details| {
            details.status = Some(error.kind.http_status());
            details.retry_after = error.retry_after.map(|time| time.as_secs().max(1));
        });
        Ok(end)
    }

    fn record(&self, id: &ModelRef, context_tokens: u64, succeeded: bool) -> Result<(), Stopped> {
        if self.opened.transcript.is_none() {
            return Ok(());
        }
        let usage = self.last.filter(|_| succeeded).map(|last| (self.total, last));
        let outcome = Outcome { provider: &id.provider, model: &id.model, context_tokens, usage };
        let now = (self.world.now_ms)();
        Ok(self.book.while_open(|| session::record(&self.world.sessions, &self.job.route.key, now, &outcome))?)
    }

    fn end(&self, how: EndKind, shown: &[String], payloads: &[String], meta: Value) -> EndRun {
        let payloads: Vec<Value> = payloads.iter().map(|text| json!({"text": text, "mediaUrl": null})).collect();
        let payload = json!({
            "runId": &*self.job.run_id,
            "status": "ok",
            "summary": "completed",
            "result": {"payloads": payloads, "meta": meta}});
        EndRun {
            run_id: self.job.run_id.clone(),
            how,
            at_ms: (self.world.now_ms)(),
            text: (!shown.is_empty()).then(|| shown.concat()),
            usage: None,
            answer: Answer::Ok(payload),
            details: None,
        }
    }

    /// DECISIONS 58; `usage` and `promptTokens` only when a call succeeded. `usage.total` is that of the last call, as
    /// recorded: it says how full the context is.
    fn meta(&self, id: &ModelRef, succeeded: bool, began: Instant) -> Value {
        let usage = self.last.filter(|_| succeeded).map(|last| (self.total, last));
        let mut agent = Map::new();
        agent.insert("sessionId".into(), json!(self.opened.entry.session_id));
        agent.insert("provider".into(), json!(id.provider));
        agent.insert("model".into(), json!(id.model));
        let last = usage.map(|(_, last)| last).unwrap_or_default();
        if let Some((all, last)) = usage {
            let mut sum = Map::new();
            sum.insert("input".into(), json!(all.input));
            sum.insert("output".into(), json!(all.output));
            for (name, value) in [("cacheRead", all.cache_read), ("cacheWrite", all.cache_write)] {
                if value > 0 {
                    sum.insert(name.into(), json!(value));
                }
            }
            sum.insert("total".into(), json!(last.total()));
            agent.insert("usage".into(), Value::Object(sum));
        }
        agent.insert(
            "lastCallUsage".into(),
            json!({"input": last.input, "output": last.output, "cacheRead": last.cache_read,
                "cacheWrite": last.cache_write, "total": last.total()}),
        );
        if usage.is_some() {
            agent.insert("promptTokens".into(), json!(last.prompt()));
        }
        let duration = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        json!({"durationMs": duration, "agentMeta": agent, "aborted": false})
    }
}

/// What `/new` and `/reset` leave to say, and the model that `/new <model>` chooses.
fn after_reset(reset: &Reset, catalog: &Catalog<'_>) -> (String, Option<ModelRef>) {
    const GREET: &str = "A new session was started via /new or /reset. Look at the workspace files that were loaded \
                         for you, then greet the person in one to three sentences and ask what they would like to do.";
    let mut words = reset.rest.splitn(2, char::is_whitespace);
    let first = words.next().unwrap_or_default();
    let chosen =
        catalog.find(first).filter(|id| reset.new && catalog.names_a_model(first, id) && catalog.allowed(id).is_ok());
    let rest = if chosen.is_some() { words.next().unwrap_or_default().trim() } else { reset.rest.as_str() };
    let said = if rest.is_empty() { GREET.to_owned() } else { rest.to_owned() };
    (said, chosen)
}

fn count_tokens(metrics: &Metrics, usage: &Usage) {
    let numbers = [usage.input, usage.output, usage.cache_read, usage.cache_write];
    for (kind, n) in TOKEN_TYPES.iter().zip(numbers) {
        metrics.tokens.add("", kind, n);
    }
}

/// The model that a session has chosen.
pub fn overridden(entry: &Entry) -> Option<ModelRef> {
    let model = entry.model_override.as_deref().filter(|m| !m.is_empty())?;
    match entry.provider_override.as_deref().filter(|p| !p.is_empty()) {
        Some(provider) => ModelRef::parse(&format!("{provider}/{model}")),
        None => ModelRef::parse(model),
    }
}

/// Adaptive for Claude 4.6, low for other models that reason, off otherwise.
pub fn default_thinking(endpoint: &Endpoint) -> Thinking {
    match endpoint.reasoning {
        false => Thinking::Off,
        true if endpoint.adaptive() => Thinking::Adaptive,
        true => Thinking::Low,
    }
}

fn unusable_text(chain: &[Candidate]) -> String {
    let failed: Vec<(&ModelRef, String, &str)> = chain
        .iter()
        .filter_map(|(id, endpoint)| {
            endpoint.as_ref().err().map(|why| (id, why.text().to_owned(), why.reason().name()))
        })
        .collect();
    match failed.as_slice() {
        [] => "no model is configured".into(),
        [(_, text, _)] => text.clone(),
        many => {
            let list: Vec<String> = many.iter().map(|(id, text, reason)| format!("{id}: {text} ({reason})")).collect();
            format!("All models failed ({}): {}", many.len(), list.join(" | "))
        }
    }
}

/// The configured zone, else that of the host.
pub fn time_zone(configured: Option<&str>) -> TimeZone {
    configured.map(str::trim).filter(|name| !name.is_empty()).and_then(zone::named).unwrap_or_else(zone::local)
}

/// System lines first, then the text, then the images.
fn user_message(job: &Job, said: &str, lines: &[SystemLine], now: u64) -> Message {
    let mut text = String::new();
    for line in lines {
        let at = iso_time(line.at_ms);
        let at = at.get(..19).unwrap_or_default().replace('T', " ");
        // One line each: what follows must not look like another one.
        let breaks = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
        text.push_str(&format!("System: [{at} UTC] {}\n", line.text.replace(breaks, " ")));
    }
    if !text.is_empty() {
        text.push('\n');
    }
    text.push_str(said);
    let mut message = Message::user(text, now);
    message.content.extend(
        job.images.iter().map(|image| Block::Image { data: image.data.clone(), mime_type: image.mime.clone() }),
    );
    message
}

/// Opens the transcript, writes what has changed about the model, and reads what the model is to see again.
fn open_transcript(
    book: &Book,
    opened: &Opened,
    directory: &Path,
    endpoint: &Endpoint,
    level: Thinking,
    now: u64,
) -> Result<(Option<String>, Vec<Message>), Stopped> {
    let Some(path) = &opened.transcript else {
        book.open(None)?;
        return Ok((None, Vec::new()));
    };
    let cwd = directory.display().to_string();
    let transcript = Transcript::open(path, &opened.entry.session_id, &cwd, now)
        .map_err(|e| Stopped::failed(format!("the transcript cannot be opened: {e}")))?;
    book.open(Some(transcript))?;
    let ModelRef { provider, model } = &endpoint.id;
    book.write(|t| t.append_settings(provider, model, endpoint.api_name(), level.name(), now))?;
    // About three bytes of text make a token; what a model cannot take needs not be read.
    let window = usize::try_from(endpoint.context_window).unwrap_or(usize::MAX).saturating_mul(6);
    let limits = ReadLimits { messages: CONTEXT_MESSAGES, bytes: CONTEXT_BYTES.min(window) };
    let context =
        read_context(path, limits).map_err(|e| Stopped::failed(format!("the transcript cannot be read: {e}")))?;
    Ok((context.summary, context.messages))
}

fn speaker(endpoint: &Endpoint, usage: Usage, stop: StopReason, error: Option<String>) -> Assistant {
    Assistant {
        api: endpoint.api_name().into(),
        provider: endpoint.id.provider.clone(),
        model: endpoint.id.model.clone(),
        usage: stored_usage(usage, endpoint.cost),
        stop_reason: stop.name().into(),
        error_message: error,
    }
}

/// Name of a message that an abort cuts short.
fn interrupted(endpoint: &Endpoint) -> Assistant {
    speaker(endpoint, Usage::default(), StopReason::Aborted, Some("Request was aborted".into()))
}

fn stored_usage(usage: Usage, cost: Cost) -> message::Usage {
    let price = |tokens: u64, per_million: f64| tokens as f64 * per_million / 1e6;
    let cost = message::Cost {
        input: price(usage.input, cost.input),
        output: price(usage.output, cost.output),
        cache_read: price(usage.cache_read, cost.cache_read),
        cache_write: price(usage.cache_write, cost.cache_write),
        total: 0.0,
    };
    message::Usage {
        input: usage.input,
        output: usage.output,
        cache_read: usage.cache_read,
        cache_write: usage.cache_write,
        total_tokens: usage.total(),
        cost: message::Cost { total: cost.input + cost.output + cost.cache_read + cost.cache_write, ..cost },
    }
}
