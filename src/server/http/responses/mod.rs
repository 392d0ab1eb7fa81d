//! `POST /v1/responses` (http 4): an agent run behind the words of OpenAI's newer interface.

mod events;
pub mod past;
pub mod request;

use std::collections::BTreeSet;
use std::sync::Arc;

use self::events::Words;
use self::past::{Kept, Past, Scope, Turn};
use super::openai::addresses::Addresses;
use super::openai::answering::{self, Answering};
use super::openai::asked::Asked;
use super::openai::parse_body;
use super::openai::request::text_of;
use super::openai::target::{self, Target};
use super::{Exchange, Request, Route, api_error, bearer, refuse_api};
use crate::agent::models::wire::{AssistantPart, Message, ToolCall, UserPart, parse_arguments};
use crate::agent::runs::Ask;
use crate::http::Reply;
use crate::hub::run_events::Details;
use crate::ids;
use crate::rpc::context::wall_ms;

/// First part of the ids of responses.
const ID: &str = "resp_";

pub const RESPONSES: Route = Route {
    name: "/v1/responses",
    claims: |path, live| path == "/v1/responses" && live.config.http.responses.enabled,
    methods: &["POST"],
    guard: bearer,
    max_body: |live| live.config.http.responses.max_body_bytes,
    refuse: refuse_api,
    handle: |exchange| answering::handle(&exchange, accept),
};

/// What is asked, and who answers.
fn accept(exchange: &Exchange<'_>) -> Result<(Ask, Answering<Words>), Reply> {
    let request = exchange.request;
    let refuse = |text: String| api_error(400, &text, "invalid_request_error");
    let body = parse_body(&exchange.body.bytes)?;
    let model = request::model(&body).map_err(refuse)?;
    let user = text_of(&body, "user");
    let mut target = Target::of(request, &exchange.body.bytes, &model, user.as_deref(), "openresponses", ID)?;
    let scope = scope(request, &target);
    let previous = text_of(&body, "previous_response_id")
        .and_then(|id| request.doors.past.get(&id, &scope).map(|kept| (id, kept)));
    let (previous, turns) = match previous {
        Some((id, Kept::Session(key))) => {
            target.session_key = key.to_string();
            target.ephemeral = false;
            (Some(id), Vec::new())
        }
        Some((id, Kept::Turns(turns))) => (Some(id), turns),
        None => (None, Vec::new()),
    };

    let rules = &request.live.config.http.responses;
    let before: Vec<Message> = turns.iter().flat_map(|turn| turn.messages.iter().cloned()).collect();
    let known = before.len();
    let fence = ids::hex(&ids::random_bytes::<8>());
    let mut addresses =
        Addresses::of_both(&rules.images, &rules.files, rules.max_url_parts).until_stop(&request.doors.ctx);
    let mut fetch = |kind, url: &str| addresses.read(kind, url);
    let mut referred = BTreeSet::new();
    let mut refer = |id: &str| referred_item(&request.doors.past, &scope, &mut referred, id);
    let asked = request::responses_request(&body, before, rules, &fence, &mut refer, &mut fetch).map_err(refuse)?;
    let stream = body["stream"].as_bool().unwrap_or(false);
    let store = body["store"].as_bool().unwrap_or(true);
    let echo = events::echo(&body);
    drop(body);

    let id = target.once.clone().unwrap_or_else(|| format!("{ID}{}", ids::new_uuid()).into());
    let words = Words::new(&id, wall_ms() / 1000, &model, previous, echo);
    let mut answering = Answering::new(exchange, &id, words, stream, asked.must_call());
    if store {
        let told = if target.ephemeral { Told::of(&asked, known, turns.clone()) } else { Told::session(&target) };
        let (past, id) = (request.doors.past.clone(), id.clone());
        answering = answering.on_done(move |text, details| told.keep(&past, &id, scope, text, details));
    }
    let earlier = turns.iter().filter_map(|turn| turn.files.clone()).collect();
    Ok((asked.ask(&id, earlier, target, target::channel(&request.head)), answering))
}

/// An item of an earlier response that a client names in place of repeating it; each only once, so that a short request
/// stays a short conversation.
fn referred_item(
    past: &Past,
    scope: &Scope,
    referred: &mut BTreeSet<(String, Option<usize>)>,
    id: &str,
) -> Option<AssistantPart> {
    let (response, call) = events::origin(id)?;
    let Kept::Turns(turns) = past.get(&response, scope)? else { return None };
    let Some(Message::Assistant(parts)) = turns.last()?.messages.last() else { return None };
    let is_call = |part: &&AssistantPart| matches!(part, AssistantPart::ToolCall(_));
    let part = match call {
        Some(n) => parts.iter().filter(is_call).nth(n),
        None => parts.iter().find(|part| !is_call(part)),
    };
    referred.insert((response, call)).then(|| part.cloned()).flatten()
}

fn scope(request: &Request, target: &Target) -> Scope {
    Scope {
        // The guard has let it pass; only a proxy knows names.
        user: request.authorize().ok().and_then(|who| who.user().map(str::to_owned)),
        agent: target.agent.clone(),
        session: target::given(&request.head, "x-openclaw-session-key").map(str::to_owned),
    }
}

/// What the next request needs that names this response.
enum Told {
    Session(Arc<str>),
    Turn { before: Vec<Arc<Turn>>, messages: Vec<Message>, files: Option<String> },
}

impl Told {
    fn session(target: &Target) -> Told {
        Told::Session(target.session_key.as_str().into())
    }

    /// The first `known` messages of the history are those of `before`.
    fn of(asked: &Asked, known: usize, before: Vec<Arc<Turn>>) -> Told {
        let mut messages: Vec<Message> = asked.history[known..].to_vec();
        if !asked.continues {
            let images = asked.images.iter().map(|image| {
                let (mime, data) = (image.mime.clone(), image.data.clone());
                UserPart::Image { mime, data }
            });
            messages
                .push(Message::User(std::iter::once(UserPart::Text(asked.message.clone())).chain(images).collect()));
        }
        Told::Turn { before, messages: past::without_too_much(messages), files: asked.files.clone() }
    }

    fn keep(self, past: &Past, id: &Arc<str>, scope: Scope, text: &str, details: &Details) {
        let kept = match self {
            Told::Session(key) => Kept::Session(key),
            Told::Turn { before, mut messages, files } => {
                messages.extend(answer(text, details));
                past.with_turn(before, messages, files)
            }
        };
        past.put(id, scope, kept);
    }
}

/// What the agent said, as a message.
fn answer(text: &str, details: &Details) -> Option<Message> {
    let words = (!text.is_empty()).then(|| AssistantPart::Text(text.to_owned()));
    let calls = details.calls.iter().map(|call| {
        let arguments = parse_arguments(&call.arguments).unwrap_or_default();
        AssistantPart::ToolCall(ToolCall { id: call.id.clone(), name: call.name.clone(), arguments })
    });
    let parts: Vec<AssistantPart> = words.into_iter().chain(calls).collect();
    (!parts.is_empty()).then_some(Message::Assistant(parts))
}
