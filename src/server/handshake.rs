//! The handshake of a WebSocket: challenge, `connect`, the checks in their order, pairing, registration with the hub
//! (protocol 2). Runs on the connection's reader; what decides is in `policy`.

use std::cell::Cell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::bounded;
use tungstenite::Message;

use super::reader::{Next, Patience, Reader};
use crate::canvas::CAPABILITY_PATH;
use crate::hub::outbox::Outbox;
use crate::hub::{Event, MakeHello, Registration};
use crate::ids;
use crate::limits;
use crate::policy::auth::{self, AuthMethod};
use crate::policy::connect_order::{self, Admission, JudgeFacts, Opening};
use crate::policy::device::{Challenge, VerifiedDevice};
use crate::policy::net;
use crate::policy::pairing::{self, Pairing, TokenRule};
use crate::policy::setup_code::Grant;
use crate::protocol::connect::{CAP_TOOL_EVENTS, Refusal};
use crate::protocol::frame;
use crate::protocol::hello::{self, HelloAuth, HelloParts, IssuedToken, SessionDefaults};
use crate::protocol::roles::{Role, Scopes};
use crate::rpc::context::wall_ms;
use crate::rpc::devices::{approved_scopes, resolved, too_many_devices, view};
use crate::rpc::{Caller, Context, Live};
use crate::store::devices::{PairRequest, Refresh, pending_view};
use crate::store::setup_codes::Shown;
use crate::ws::Close;

/// How long the hub may take to register a client before the connection gives up.
const REGISTER: Duration = Duration::from_secs(10);

/// How a handshake ended.
pub enum Outcome {
    In(Arc<Caller>),
    /// This close frame has been queued.
    Refused(Close),
    /// Nobody is there any more.
    Gone,
}

/// What is known of the peer before it says anything.
pub struct Peer {
    pub head: net::Head,
    pub conn_id: Arc<str>,
}

/// Runs the handshake to its end. `deadline` is absolute, from the end of the upgrade.
///
/// `proven` is called when the peer has shown who it is, before it hears so: from then on no newcomer may take its place.
#[inline(never)]
pub fn run(
    ctx: &Arc<Context>,
    peer: &Peer,
    reader: &mut Reader,
    outbox: &Arc<Outbox>,
    deadline: Instant,
    proven: impl FnOnce(),
) -> Outcome {
    let nonce = ids::new_uuid();
    let ts_ms = wall_ms();
    outbox.answer(hello::challenge_frame(&nonce, ts_ms));
    reader.set_patience(Patience::Until(deadline));
    let first = loop {
        match reader.receive() {
            Next::Message(message) => break message,
            Next::Alive => {}
            Next::Silence => return close(outbox, &Close::new(Close::NORMAL, "")),
            Next::Broken(with) => return close(outbox, &with),
            Next::Closed | Next::Gone => return Outcome::Gone,
        }
    };
    let opening = match connect_order::open(frame::parse_at_most(payload(&first), true, limits::PREAUTH_VALUES)) {
        Ok(opening) => opening,
        Err(refused) => return refuse(outbox, Some(&refused.request_id), refused.refusal),
    };
    reader.handled();
    match admit(ctx, peer, &opening, Challenge { nonce: &nonce, ts_ms, now_ms: wall_ms() }) {
        Ok(entry) => {
            proven();
            let by_code = entry.admission.auth.method() == AuthMethod::BootstrapToken;
            let code = opening.params.auth.bootstrap_token.clone().filter(|_| by_code);
            let outcome = register(ctx, peer, opening, entry, outbox);
            // Not before the device has its own tokens: until then it may come again with the code.
            if let (Outcome::In(_), Some(code)) = (&outcome, code) {
                ctx.setup_codes.spend(code.expose(), wall_ms());
            }
            outcome
        }
        Err(refusal) => refuse(outbox, Some(&opening.request_id), *refusal),
    }
}

/// The bytes of a text or binary message; JSON in a binary one is as good.
pub fn payload(message: &Message) -> &[u8] {
    match message {
        Message::Text(text) => text.as_bytes(),
        Message::Binary(bytes) => bytes,
        _ => &[],
    }
}

fn close(outbox: &Arc<Outbox>, with: &Close) -> Outcome {
    outbox.close(with);
    Outcome::Refused(with.clone())
}

fn refuse(outbox: &Arc<Outbox>, id: Option<&str>, refusal: Refusal) -> Outcome {
    if let (Some(id), Some(error)) = (id, &refusal.error) {
        outbox.answer_direct(frame::response_err(id, error, None));
    }
    close(outbox, &Close::new(refusal.close_code, &refusal.close_reason))
}

/// What a connect that passed is registered with.
struct Entry {
    live: Arc<Live>,
    caller: net::Caller,
    admission: Admission,
    device_epoch: u64,
    token: Option<Issued>,
    /// For the other roles of a device that came with a setup code.
    handed_over: Vec<(Role, Issued)>,
}

struct Issued {
    token: crate::secret::Secret,
    scopes: Scopes,
    issued_at_ms: u64,
}

impl Issued {
    fn shown(&self) -> IssuedToken<'_> {
        IssuedToken { token: self.token.expose(), scopes: &self.scopes, issued_at_ms: self.issued_at_ms }
    }
}

/// Checks 8 to 12 of the table, pairing included.
fn admit(ctx: &Arc<Context>, peer: &Peer, opening: &Opening, challenge: Challenge) -> Result<Entry, Box<Refusal>> {
    // The epoch first: whatever changes from here on makes the registration stale.
    let claimed = opening.params.device.as_ref().map(|d| d.id.as_str());
    let device_epoch = claimed.map_or(0, |id| ctx.devices.epoch(id));
    let record = claimed.and_then(|id| ctx.devices.get(id));
    let live = ctx.live();
    let gateway = &live.config.gateway;
    let caller = net::Caller::resolve(&peer.head, &live.auth.proxies, gateway.allow_real_ip_fallback);
    let whois = auth::wants_whois(&live.auth, &peer.head, &caller).and_then(crate::tailscale::whois::whois);
    let asked = Scopes::new(&opening.params.scopes);
    let grant = Cell::new(None);
    let claim = |token: &str, device: &VerifiedDevice| {
        let (device_id, public_key) = (device.id(), device.public_key());
        let shown = Shown { device_id, public_key, role: opening.role, scopes: &asked };
        let claimed = ctx.setup_codes.claim(token, &shown, wall_ms());
        let good = claimed.is_some();
        grant.set(claimed);
        good
    };
    let admission = {
        let approved = record.as_ref().map(approved_scopes);
        let token_scopes =
            record.as_ref().and_then(|r| r.tokens.get(opening.role.name())).map(|t| Scopes::new(&t.scopes));
        let facts = JudgeFacts {
            auth: &live.auth,
            origins: &live.origins,
            allow_insecure_auth: gateway.control_ui.allow_insecure_auth,
            disable_device_auth: gateway.control_ui.disable_device_auth,
            head: &peer.head,
            caller: &caller,
            challenge,
            paired: record
                .as_ref()
                .zip(approved.as_ref())
                .map(|(r, a)| view(r, a, opening.role.name(), token_scopes.as_ref())),
            whois: whois.as_deref(),
            claim: &claim,
            mono_ms: ctx.uptime_ms(),
        };
        connect_order::judge(opening, &facts, &ctx.limiter)?
    };
    let grant: Option<Grant> = grant.take();
    let token = match (&admission.device, admission.pairing) {
        (None, _) => None,
        (Some(device), Pairing::Skipped) => match &record {
            Some(_) => issue(ctx, device.id(), opening.role, &asked),
            None => None,
        },
        (Some(device), Pairing::Paired) => {
            refresh(ctx, opening, &caller, device.id());
            if admission.auth.method() == AuthMethod::DeviceToken {
                ctx.devices.note_use(device.id(), opening.role.name(), wall_ms());
            }
            issue(ctx, device.id(), opening.role, &asked)
        }
        (Some(device), Pairing::Silent(_)) => {
            let mut request = pair_request(opening, &caller, device, true);
            let own_scopes = request.scopes.clone();
            if let (Some(grant), Role::Node) = (&grant, opening.role) {
                request.more_roles = grant.roles().iter().map(|role| role.name().to_owned()).collect();
                request.scopes = grant.scopes_of(Role::Operator).as_slice().to_vec();
            }
            let (request_id, _) = ctx
                .devices
                .pair_silently(request, Some(own_scopes), wall_ms())
                .map_err(|_| Box::new(Refusal::policy(too_many_devices())))?;
            let by = if grant.is_some() { " by its setup code" } else { "" };
            log::info!(
                target: "gateway",
                "device pairing auto-approved device={} role={}{by}", device.id(), opening.role.name()
            );
            resolved(ctx, &request_id, device.id(), "approved");
            issue(ctx, device.id(), opening.role, &asked)
        }
        (Some(device), Pairing::Needed(reason)) => {
            let request = pair_request(opening, &caller, device, false);
            let (pending, new) = ctx.devices.request(request, wall_ms());
            if new {
                log::warn!(
                    target: "gateway",
                    "device {} wants in ({}); to let it: {}",
                    device.id(),
                    reason.name(),
                    ctx.paths.with_profile(&format!("openclaw devices approve {}", pending.request_id)),
                );
                let payload = pending_view(&pending);
                ctx.hub.send(Event::Broadcast { event: "device.pair.requested", payload });
            }
            return Err(Box::new(pairing::refuse(&pending.request_id, reason)));
        }
    };
    let handed_over = match (&admission.device, &grant, opening.role) {
        (Some(device), Some(grant), Role::Node) => {
            let others = grant.roles().iter().filter(|role| **role != opening.role);
            others.filter_map(|role| Some((*role, issue(ctx, device.id(), *role, &grant.scopes_of(*role))?))).collect()
        }
        _ => Vec::new(),
    };
    Ok(Entry { live, caller, admission, device_epoch, token, handed_over })
}

/// The token that the connect returns, by the rules of `policy::pairing`.
fn issue(ctx: &Context, device_id: &str, role: Role, asked: &Scopes) -> Option<Issued> {
    let now = wall_ms();
    let record = ctx.devices.get(device_id)?;
    let approved = approved_scopes(&record);
    let held = record.tokens.get(role.name()).map(|t| Scopes::new(&t.scopes));
    let rule = pairing::token_on_connect(&view(&record, &approved, role.name(), held.as_ref()), role, asked);
    let token = match rule {
        TokenRule::None => return None,
        TokenRule::Keep => record.tokens.get(role.name())?.clone(),
        TokenRule::Issue(scopes) => {
            let scopes: Vec<String> = scopes.iter().map(str::to_owned).collect();
            // Another connect of this device may have made one meanwhile.
            let covers = |held: &[String]| Scopes::new(held).covers_all(asked);
            ctx.devices.ensure_token(device_id, role.name(), &scopes, &covers, now).ok()?
        }
    };
    Some(Issued { scopes: Scopes::new(&token.scopes), issued_at_ms: token.issued_at_ms(), token: token.token })
}

/// The address that operators are shown: none for callers on this machine, whatever way they took.
fn remote_ip(caller: &net::Caller) -> Option<String> {
    caller.client.filter(|ip| !net::is_loopback(*ip)).map(|ip| ip.to_string())
}

fn refresh(ctx: &Context, opening: &Opening, caller: &net::Caller, device_id: &str) {
    let client = &opening.params.client;
    let change = Refresh {
        display_name: client.display_name.clone(),
        client_id: Some(client.id.clone()),
        client_mode: Some(client.mode.clone()),
        role: Some(opening.role.name().to_owned()),
        scopes: Some(opening.params.scopes.clone()),
        remote_ip: remote_ip(caller),
    };
    ctx.devices.refresh(device_id, change);
}

fn pair_request(opening: &Opening, caller: &net::Caller, device: &VerifiedDevice, silent: bool) -> PairRequest {
    let client = &opening.params.client;
    PairRequest {
        device_id: device.id().to_owned(),
        public_key: device.public_key().to_owned(),
        display_name: client.display_name.clone(),
        platform: Some(client.platform.clone()),
        device_family: client.device_family.clone(),
        client_id: Some(client.id.clone()),
        client_mode: Some(client.mode.clone()),
        role: opening.role.name().to_owned(),
        more_roles: Vec::new(),
        scopes: opening.params.scopes.clone(),
        remote_ip: remote_ip(caller),
        silent,
    }
}

fn register(ctx: &Arc<Context>, peer: &Peer, opening: Opening, entry: Entry, outbox: &Arc<Outbox>) -> Outcome {
    let Opening { request_id, params, protocol, role } = opening;
    let Entry { live, caller: from, admission, device_epoch, token, handed_over } = entry;
    let device_id: Option<Arc<str>> = admission.device.as_ref().map(|d| d.id().into());
    let caller = Arc::new(Caller {
        conn_id: peer.conn_id.clone(),
        role,
        scopes: admission.scopes.clone(),
        protocol,
        device_id: device_id.clone(),
        caps_tool_events: params.has_cap(CAP_TOOL_EVENTS),
        remote_ip: remote_ip(&from),
        client: params.client.clone(),
    });
    let (done, registered) = bounded(1);
    let hello = hello_maker(ctx, &live, (&caller, came_to(&live, &peer.head, &from)), &admission, token, handed_over);
    ctx.hub.send(Event::Register(Box::new(Registration {
        conn_id: peer.conn_id.clone(),
        client: params.client,
        role,
        scopes: admission.scopes,
        protocol,
        device_id,
        remote_ip: caller.remote_ip.clone(),
        outbox: outbox.clone(),
        device_epoch,
        request_id,
        hello,
        done,
    })));
    match registered.recv_timeout(REGISTER) {
        Ok(true) => Outcome::In(caller),
        Ok(false) => Outcome::Refused(Close::policy("credentials changed during the handshake")),
        Err(_) => close(outbox, &Close::new(Close::RESTART, "service restart")),
    }
}

/// Where a node finds the canvas: the address by which it came, and a capability that is good while it is here.
fn canvas_url(ctx: &Context, caller: &Caller, came_to: Option<&str>) -> Option<String> {
    let canvas = ctx.canvas.as_ref().filter(|_| caller.role == Role::Node)?;
    let came_to = came_to?;
    let minted = canvas.capabilities.mint(&caller.conn_id, Instant::now());
    Some(format!("{came_to}{CAPABILITY_PATH}/{}", minted.capability.expose()))
}

/// `https://gateway.example`: the gateway as this client reached it.
fn came_to(live: &Live, head: &net::Head, from: &net::Caller) -> Option<String> {
    let forwarded = head.header("x-forwarded-proto").filter(|_| from.peer_is_trusted_proxy);
    let tls = live.config.gateway.tls.enabled || forwarded.is_some_and(|proto| proto.eq_ignore_ascii_case("https"));
    Some(format!("{}://{}", if tls { "https" } else { "http" }, from.host.as_ref()?))
}

/// hello-ok as a function of the snapshot that has the new client in it.
fn hello_maker(
    ctx: &Arc<Context>,
    live: &Arc<Live>,
    (caller, came_to): (&Arc<Caller>, Option<String>),
    admission: &Admission,
    token: Option<Issued>,
    handed_over: Vec<(Role, Issued)>,
) -> MakeHello {
    let (ctx, live, caller, method) = (ctx.clone(), live.clone(), caller.clone(), admission.auth.method().name());
    Box::new(move |snapshot| {
        let config = &live.config;
        let handed_over: Vec<_> = handed_over.iter().map(|(role, issued)| (*role, issued.shown())).collect();
        let main = crate::agent::keys::main_of(config.agents.default_id(), config).key;
        let canvas = canvas_url(&ctx, &caller, came_to.as_deref());
        hello::hello_ok(&HelloParts {
            protocol: caller.protocol,
            conn_id: &caller.conn_id,
            presence: &snapshot.presence,
            health: &snapshot.health,
            state_version: (snapshot.presence_version, snapshot.health_version),
            uptime_ms: ctx.uptime_ms(),
            config_path: &ctx.paths.config_path.to_string_lossy(),
            state_dir: &ctx.paths.state_dir.to_string_lossy(),
            session_defaults: SessionDefaults {
                default_agent_id: config.agents.default_id(),
                main_key: crate::agent::keys::MAIN,
                main_session_key: &main,
                scope: if config.session.global_scope { "global" } else { "per-sender" },
            },
            canvas_host_url: canvas.as_deref(),
            auth_mode: live.auth.mode.name(),
            auth: HelloAuth {
                method,
                role: caller.role,
                scopes: &caller.scopes,
                device_token: token.as_ref().map(Issued::shown),
                handed_over: &handed_over,
            },
            max_payload: limits::MAX_PAYLOAD_BYTES as u64,
            max_buffered_bytes: live.max_buffered as u64,
            tick_interval_ms: limits::TICK_INTERVAL.as_millis() as u64,
        })
    })
}
