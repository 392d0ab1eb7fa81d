//! Requests at the door of the `runs` thread: answered from memory, refused, or accepted and opened. Runs on that
//! thread and decides from memory only.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{Ask, Caller, Owner, RETRY_MS, sync_later};
use crate::agent::dedupe::{Known, Method};
use crate::agent::history;
use crate::agent::intake;
use crate::agent::keys::{self, Route, Wanted};
use crate::agent::models::wire::Thinking;
use crate::agent::world::Options;
use crate::config::Config;
use crate::hub::reply::Reply;
use crate::hub::run_events::{AbortRuns, Answer, Follow, RunEvent};
use crate::limits::{QUEUED_RUNS_PER_SESSION, RUNS_QUEUE};
use crate::protocol::ErrorShape;
use crate::protocol::params::agent::AgentParams;
use crate::protocol::params::chat::{ChatInjectParams, ChatSendParams};

/// What was accepted, before it has a run.
pub(super) struct Accepted {
    pub(super) method: Method,
    pub(super) key: String,
    pub(super) caller: Caller,
    pub(super) route: Route,
    pub(super) message: String,
    pub(super) images: Vec<intake::Image>,
    pub(super) thinking: Option<Thinking>,
    pub(super) extra_system_prompt: Option<String>,
    pub(super) timeout: Option<Duration>,
    pub(super) options: Option<Box<Options>>,
}

impl Owner {
    pub(super) fn agent(&mut self, params: AgentParams, caller: Caller, reply: Reply) {
        let key = params.idempotency_key.clone();
        match self.dedupe.get(Method::Agent, &key, Instant::now()) {
            Some(Known::Accepted(payload)) => return reply.ok(payload),
            Some(Known::Over(Answer::Ok(payload))) => return reply.ok(payload),
            Some(Known::Over(Answer::Err { error, payload })) => return reply.err_with_payload(error, payload),
            None => {}
        }
        let accepted = json!({"runId": key, "status": "accepted", "acceptedAt": (self.world.now_ms)()});
        if self.is_open(&key) {
            return reply.ok(&accepted);
        }
        let config = (self.world.config)();
        match self.check_agent(params, caller, &config) {
            Err(error) => reply.err(&error),
            Ok(None) => {
                let text = "Error: Pass --to <E.164>, --session-id, or --agent to choose a session";
                let payload = json!({"runId": key, "status": "error", "summary": text});
                let error = ErrorShape::unavailable(text);
                reply.first(&accepted);
                reply.err_with_payload(&error, &payload);
                self.dedupe.refuse(Method::Agent, &key, Answer::Err { error, payload }, Instant::now());
            }
            Ok(Some(request)) => {
                self.dedupe.accept(Method::Agent, &key, accepted.clone(), Instant::now());
                let first = reply.twin();
                self.open(request, Some(reply), Vec::new(), || first.ok(&accepted));
            }
        }
    }

    /// None: nothing in the request names a session.
    fn check_agent(
        &self,
        params: AgentParams,
        caller: Caller,
        config: &Config,
    ) -> Result<Option<Accepted>, ErrorShape> {
        self.check_draining()?;
        intake::check_key("agent", &params.idempotency_key)?;
        let message = intake::clean_message(&params.message)?;
        intake::check_delivery(&params)?;
        let images = intake::images(&params.attachments)?;
        let thinking = intake::check_thinking("agent", params.thinking.as_deref())?;
        let wanted = Wanted {
            session_key: params.session_key.as_deref(),
            session_id: params.session_id.as_deref(),
            agent_id: params.agent_id.as_deref(),
            to: params.to.as_deref(),
        };
        let find = |id: &str| {
            self.world.sessions.find_session_id(id).map(|entry| (entry.key.to_string(), entry.agent.to_string()))
        };
        let Some(route) = keys::route_agent(wanted, config, &find)? else { return Ok(None) };
        self.check_session(&route.key)?;
        Ok(Some(Accepted {
            method: Method::Agent,
            key: params.idempotency_key,
            caller,
            route,
            message,
            images,
            thinking,
            extra_system_prompt: params.extra_system_prompt,
            timeout: timeout(params.timeout.map(Duration::from_secs), config),
            options: None,
        }))
    }

    pub(super) fn chat(&mut self, params: ChatSendParams, caller: Caller, reply: Reply) {
        let config = (self.world.config)();
        if intake::is_stop(&params.message) && params.attachments.is_empty() {
            return match keys::route_chat("chat.send", &params.session_key, &config) {
                Err(error) => reply.err(&error),
                Ok(route) => (self.world.hub)(RunEvent::Abort(AbortRuns {
                    session_key: Some(route.key.into()),
                    run_id: None,
                    stop_reason: "stop",
                    at_ms: (self.world.now_ms)(),
                    only_of: (!caller.admin).then(|| (caller.conn_id.clone(), caller.device_id.clone())),
                    reply: Some(reply),
                })),
            };
        }
        let key = params.idempotency_key.clone();
        let status = |status: &str| json!({"runId": key, "status": status});
        let known = self.dedupe.get(Method::Chat, &key, Instant::now()).cloned();
        match known {
            Some(Known::Over(Answer::Ok(_))) => return reply.ok(&status("ok")),
            Some(Known::Over(Answer::Err { error, payload })) => return reply.err_with_payload(&error, &payload),
            _ if self.is_open(&key) => return reply.ok(&status("in_flight")),
            _ => {}
        }
        match self.check_chat(params, caller, &config) {
            Err(error) => reply.err(&error),
            Ok(request) => {
                let started = status("started");
                self.dedupe.accept(Method::Chat, &key, started.clone(), Instant::now());
                self.open(request, None, Vec::new(), || reply.ok(&started));
            }
        }
    }

    fn check_chat(&self, params: ChatSendParams, caller: Caller, config: &Config) -> Result<Accepted, ErrorShape> {
        self.check_draining()?;
        intake::check_key("chat.send", &params.idempotency_key)?;
        let message = intake::clean_message(&params.message)?;
        let images = intake::images(&params.attachments)?;
        if message.trim().is_empty() && images.is_empty() {
            return Err(ErrorShape::invalid("message or attachment required"));
        }
        let thinking = intake::check_thinking("chat.send", params.thinking.as_deref())?;
        let route = keys::route_chat("chat.send", &params.session_key, config)?;
        self.check_session(&route.key)?;
        Ok(Accepted {
            method: Method::Chat,
            key: params.idempotency_key,
            caller,
            route,
            message,
            images,
            thinking,
            extra_system_prompt: None,
            timeout: timeout(params.timeout_ms.map(Duration::from_millis), config),
            options: None,
        })
    }

    pub(super) fn ask(&mut self, ask: Ask, follower: Box<dyn Follow>) {
        let run_id = ask.run_id.clone();
        if self.is_open(&run_id) {
            return (self.world.hub)(RunEvent::Follow { run_id: run_id.into(), follower });
        }
        if self.dedupe.get(Method::Ask, &run_id, Instant::now()).is_some() {
            // It has ended since its client looked.
            return follower.refuse(&ErrorShape::unavailable("the run that this request asks for is over"));
        }
        let config = (self.world.config)();
        let once = ask.options.once;
        match self.check_ask(ask, &config) {
            Err(error) => follower.refuse(&error),
            Ok(request) => {
                if once {
                    self.dedupe.accept(Method::Ask, &run_id, Value::Null, Instant::now());
                }
                self.open(request, None, vec![follower], || {});
            }
        }
    }

    fn check_ask(&self, ask: Ask, config: &Config) -> Result<Accepted, ErrorShape> {
        self.check_draining()?;
        let message = intake::clean_message(&ask.message)?;
        let wanted =
            Wanted { session_key: Some(&ask.session_key), agent_id: ask.agent.as_deref(), ..Wanted::default() };
        let route = keys::route_agent(wanted, config, &|_| None)?
            .ok_or_else(|| ErrorShape::invalid("the session key is empty"))?;
        self.check_session(&route.key)?;
        Ok(Accepted {
            method: Method::Ask,
            key: ask.run_id,
            caller: Caller { conn_id: "http".into(), device_id: None, admin: true },
            route,
            message,
            images: ask.images,
            thinking: ask.thinking,
            extra_system_prompt: ask.extra_system_prompt,
            timeout: timeout(ask.timeout, config),
            options: Some(Box::new(ask.options)),
        })
    }

    fn check_draining(&self) -> Result<(), ErrorShape> {
        if self.counts.draining.load(Ordering::SeqCst) {
            return Err(ErrorShape::unavailable("the gateway is restarting").retry_after(RETRY_MS));
        }
        Ok(())
    }

    /// The send policy of the session and the room in its queue.
    fn check_session(&self, key: &str) -> Result<(), ErrorShape> {
        let denied = |entry: &crate::store::Entry| entry.send_policy.as_deref() == Some("deny");
        if self.world.sessions.get(key).is_some_and(|entry| denied(&entry)) {
            return Err(ErrorShape::invalid("send blocked by session policy"));
        }
        let waiting = self.queue.iter().filter(|w| w.job.route.key == key).count();
        if waiting >= QUEUED_RUNS_PER_SESSION {
            let text = format!("the session is busy and {waiting} messages wait already; try again later");
            return Err(ErrorShape::unavailable(text).retry_after(RETRY_MS));
        }
        if self.queue.len() >= RUNS_QUEUE {
            return Err(ErrorShape::unavailable("too many turns wait; try again later").retry_after(RETRY_MS));
        }
        Ok(())
    }

    fn is_open(&self, run_id: &str) -> bool {
        self.running.contains_key(run_id) || self.queue.iter().any(|w| &*w.job.run_id == run_id)
    }

    /// Through the hand of the run that is writing, if there is one: the lines of a transcript form a chain.
    pub(super) fn inject(&mut self, params: ChatInjectParams, reply: Reply) {
        let config = (self.world.config)();
        let result = keys::route_chat("chat.inject", &params.session_key, &config).and_then(|route| {
            let running = self.running.values().find(|r| r.session_key == route.key);
            history::inject(&self.world, &config, &route, &params, running.map(|r| &*r.book))
        });
        match result {
            Err(error) => reply.err(&error),
            Ok(injected) => {
                (self.world.chat_event)(injected.event);
                reply.ok(&json!({"ok": true, "messageId": injected.message_id}));
                if let Some(transcript) = injected.transcript {
                    sync_later(transcript);
                }
            }
        }
    }
}

/// What was asked for, else `agents.defaults.timeoutSeconds`; 0 = none.
fn timeout(asked: Option<Duration>, config: &Config) -> Option<Duration> {
    Some(asked.unwrap_or(config.agents.defaults.timeout)).filter(|time| !time.is_zero())
}
