//! The METHODS table: every method that this gateway answers, who may call it, where it runs and what it takes
//! (protocol 2.2, 3 and 12). hello-ok's `features.methods`, the dispatcher and openclaw-protocol(7) come from it.

use serde_json::json;

use self::Params::{Lenient, Strict};
use self::Runs::{Inline, Owner, Pool};
use super::params::{agent, agents, chat, config, cron, devices, secrets, sessions, system};
use super::roles::{self, Role, Scopes};
use super::schema::{EMPTY, Object};
use super::{ErrorCode, ErrorShape};
use crate::limits;

/// Who may call a method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Every connected client, nodes included.
    None,
    /// Operators who hold this scope.
    Scope(&'static str),
    /// Connections with role node.
    NodeOnly,
}

/// Where a method runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Runs {
    /// On the connection's reader: memory only, well under a millisecond.
    Inline,
    /// On the pool: files.
    Pool,
    /// A message to the thread that owns the state; it answers.
    Owner,
}

#[derive(Clone, Copy, Debug)]
pub enum Params {
    /// Unknown keys, wrong types and arrays are tolerated.
    Lenient,
    Strict(&'static Object),
}

#[derive(Clone, Copy, Debug)]
pub struct Method {
    pub name: &'static str,
    pub access: Access,
    pub runs: Runs,
    /// Listed in hello-ok.
    pub advertised: bool,
    pub params: Params,
    pub doc: &'static str,
}

const fn method(name: &'static str, access: Access, runs: Runs, params: Params, doc: &'static str) -> Method {
    Method { name, access, runs, advertised: true, params, doc }
}

const fn quiet(name: &'static str, access: Access, runs: Runs, params: Params, doc: &'static str) -> Method {
    Method { name, access, runs, advertised: false, params, doc }
}

const READ: Access = Access::Scope(roles::READ);
const WRITE: Access = Access::Scope(roles::WRITE);
const ADMIN: Access = Access::Scope(roles::ADMIN);
const PAIRING: Access = Access::Scope(roles::PAIRING);
const APPROVALS: Access = Access::Scope(roles::APPROVALS);

const NOTHING: Params = Strict(&EMPTY);

/// In the order of `features.methods`; what is not advertised stands at the end.
pub static METHODS: &[Method] = &[
    method("health", Access::None, Inline, Lenient, "The health snapshot: channels, agents, counts of sessions."),
    method("logs.tail", READ, Pool, Strict(&system::LOGS_TAIL), "Lines of the log file from a cursor on."),
    method("channels.status", READ, Inline, Strict(&system::CHANNELS_STATUS), "Channels and their accounts."),
    method("status", READ, Inline, Lenient, "Version, heartbeats, sessions and queued system events."),
    method("usage.status", READ, Inline, Lenient, "Quota windows of the model providers."),
    method("usage.cost", READ, Inline, Lenient, "Tokens and cost by day."),
    method("config.get", READ, Pool, NOTHING, "The configuration with its secrets masked."),
    method(
        "config.set",
        ADMIN,
        Pool,
        Strict(&config::SET),
        "Writes the configuration anew; what changed takes effect.",
    ),
    method("config.apply", ADMIN, Pool, Strict(&config::APPLY), "Writes the configuration anew and restarts."),
    method("config.patch", ADMIN, Pool, Strict(&config::APPLY), "Merges a patch into the configuration and restarts."),
    method("config.schema", ADMIN, Pool, NOTHING, "JSON Schema of the configuration and hints for editors."),
    method(
        "config.schema.lookup",
        READ,
        Pool,
        Strict(&config::SCHEMA_LOOKUP),
        "One key of that schema and those below it.",
    ),
    method("exec.approvals.get", ADMIN, Pool, NOTHING, "Rules for commands that run on the gateway host."),
    method("models.list", READ, Inline, NOTHING, "Models that a run may use."),
    method("agents.list", READ, Inline, NOTHING, "Configured agents and which one is the default."),
    method("skills.status", READ, Inline, Strict(&agents::SKILLS_STATUS), "Skills of an agent."),
    method("secrets.reload", ADMIN, Pool, NOTHING, "Asks for every secret in use anew; all of them or none."),
    method("secrets.resolve", ADMIN, Pool, Strict(&secrets::SECRETS_RESOLVE), "Secrets that references lead to."),
    method("sessions.list", READ, Pool, Strict(&sessions::SESSIONS_LIST), "Sessions, newest first."),
    method("sessions.preview", READ, Pool, Strict(&sessions::SESSIONS_PREVIEW), "The last lines of some sessions."),
    method("last-heartbeat", READ, Inline, Lenient, "The last heartbeat event, or null."),
    method("set-heartbeats", ADMIN, Inline, Lenient, "Switches heartbeats on or off until the next start."),
    method("device.pair.list", PAIRING, Pool, NOTHING, "Paired devices and requests that wait."),
    method("device.pair.approve", PAIRING, Pool, Strict(&devices::PAIR_REQUEST), "Lets a waiting device in."),
    method("device.pair.reject", PAIRING, Pool, Strict(&devices::PAIR_REQUEST), "Turns a waiting device away."),
    method("device.pair.remove", PAIRING, Pool, Strict(&devices::PAIR_REMOVE), "Forgets a device, closes its sockets."),
    method("device.token.rotate", PAIRING, Pool, Strict(&devices::TOKEN_ROTATE), "Gives a device a new token."),
    method("device.token.revoke", PAIRING, Pool, Strict(&devices::TOKEN_REVOKE), "Makes a device's token worthless."),
    method("node.list", READ, Inline, NOTHING, "Nodes, paired and connected."),
    method("cron.list", READ, Inline, Strict(&cron::CRON_LIST), "Scheduled jobs."),
    method("cron.status", READ, Inline, NOTHING, "Whether the scheduler runs and when it wakes next."),
    method("cron.runs", READ, Inline, Strict(&cron::CRON_RUNS), "Past runs of scheduled jobs."),
    method("gateway.identity.get", READ, Pool, Lenient, "Device id and public key of this gateway."),
    method("system-presence", READ, Inline, Lenient, "Who is connected and who was until lately."),
    method("system-event", ADMIN, Owner, Lenient, "Tells presence and the main session that something happened."),
    method("agent", WRITE, Owner, Strict(&agent::AGENT), "Runs one turn; answers twice: accepted, then the result."),
    method("agent.identity.get", READ, Inline, Strict(&agents::AGENT_IDENTITY), "An agent's name, avatar and emoji."),
    method("agent.wait", WRITE, Owner, Strict(&agent::AGENT_WAIT), "Waits for the end of a run."),
    method("chat.history", READ, Pool, Strict(&chat::CHAT_HISTORY), "The messages of a session."),
    method("chat.abort", WRITE, Owner, Strict(&chat::CHAT_ABORT), "Stops the runs of a session."),
    method("chat.send", WRITE, Owner, Strict(&chat::CHAT_SEND), "Sends a message to a session; the answer is events."),
    quiet("connect", ADMIN, Inline, Lenient, "The handshake; an error when it comes again."),
    quiet("sessions.usage", READ, Pool, Strict(&sessions::SESSIONS_USAGE), "Tokens and cost by session."),
    quiet("config.openFile", ADMIN, Inline, NOTHING, "Says where the configuration is; nothing is opened here."),
    quiet("chat.inject", ADMIN, Pool, Strict(&chat::CHAT_INJECT), "Writes an assistant message without a run."),
];

/// Methods of the protocol that are not answered yet, with the access they will have: a caller without it is told
/// so, as by the reference, before it learns that the method is unknown. What stands in no table needs admin.
static ELSEWHERE: &[(Access, &[&str])] = &[
    (
        Access::NodeOnly,
        &[
            "node.invoke.result",
            "node.event",
            "node.pending.drain",
            "node.pending.pull",
            "node.pending.ack",
            "node.canvas.capability.refresh",
            "skills.bins",
        ],
    ),
    (APPROVALS, &["exec.approval.request", "exec.approval.waitDecision", "exec.approval.resolve"]),
    (
        PAIRING,
        &[
            "node.pair.request",
            "node.pair.list",
            "node.pair.approve",
            "node.pair.reject",
            "node.pair.verify",
            "node.rename",
        ],
    ),
    (
        READ,
        &[
            "doctor.memory.status",
            "tts.status",
            "tts.providers",
            "tools.catalog",
            "voicewake.get",
            "sessions.get",
            "sessions.resolve",
            "sessions.usage.timeseries",
            "sessions.usage.logs",
            "node.describe",
            "talk.config",
            "agents.files.list",
            "agents.files.get",
        ],
    ),
    (
        WRITE,
        &[
            "send",
            "poll",
            "wake",
            "talk.mode",
            "tts.enable",
            "tts.disable",
            "tts.convert",
            "tts.setProvider",
            "voicewake.set",
            "node.invoke",
            "browser.request",
            "push.test",
            "node.pending.enqueue",
        ],
    ),
];

/// Methods that change the gateway as a whole: together a few calls a minute, failed ones included (protocol 5).
pub const CONTROL_PLANE: [&str; 3] = ["config.apply", "config.patch", "update.run"];

pub fn find(name: &str) -> Option<&'static Method> {
    METHODS.iter().find(|method| method.name == name)
}

/// What a caller needs for a method, known or not.
pub fn required_access(name: &str) -> Access {
    if let Some(method) = find(name) {
        return method.access;
    }
    ELSEWHERE.iter().find(|(_, names)| names.contains(&name)).map_or(ADMIN, |(access, _)| *access)
}

/// The scope that an operator needs for a method, known or not; None when it needs none or is not for operators.
pub fn required_scope(name: &str) -> Option<&'static str> {
    match required_access(name) {
        Access::Scope(scope) => Some(scope),
        Access::None | Access::NodeOnly => None,
    }
}

/// Names for `features.methods` in hello-ok.
pub fn advertised() -> impl Iterator<Item = &'static str> {
    METHODS.iter().filter(|method| method.advertised).map(|method| method.name)
}

/// Whether a caller may call a method. Says nothing about whether the method exists: that comes after it, so that
/// a caller without admin cannot probe for names.
pub fn authorize(role: Role, scopes: &Scopes, name: &str, protocol: u32) -> Result<(), ErrorShape> {
    let (allowed_role, needed) = match required_access(name) {
        Access::None => return Ok(()),
        Access::NodeOnly => (Role::Node, None),
        Access::Scope(scope) => (Role::Operator, Some(scope)),
    };
    if role != allowed_role {
        return Err(ErrorShape::invalid(format!("{UNAUTHORIZED_ROLE}{}", role.name())));
    }
    match needed {
        Some(scope) if !scopes.covers(scope) => Err(missing_scope(scope, protocol)),
        _ => Ok(()),
    }
}

const UNAUTHORIZED_ROLE: &str = "unauthorized role: ";

/// Whether an error is the one that closes a connection when it repeats (protocol 3).
pub fn is_unauthorized_role(error: &ErrorShape) -> bool {
    error.message.starts_with(UNAUTHORIZED_ROLE)
}

/// A scope is missing, in the words of the connection's protocol (DECISIONS 29).
pub fn missing_scope(needed: &str, protocol: u32) -> ErrorShape {
    let message = format!("missing scope: {needed}");
    if protocol >= 4 {
        ErrorShape::new(ErrorCode::Forbidden, message)
            .details(json!({"code": "MISSING_SCOPE", "missingScope": needed, "requiredScopes": [needed]}))
    } else {
        ErrorShape::invalid(message)
    }
}

/// The answer to a method that no table answers; long names are cut (DECISIONS 9).
pub fn unknown_method(name: &str) -> ErrorShape {
    ErrorShape::invalid(format!("unknown method: {}", cut_name(name)))
}

/// The answer to a second `connect`.
pub fn connect_again() -> ErrorShape {
    ErrorShape::invalid("connect is only valid as the first request")
}

/// At most [`limits::METHOD_NAME_CHARS`] characters of a method name.
pub fn cut_name(name: &str) -> &str {
    match name.char_indices().nth(limits::METHOD_NAME_CHARS) {
        Some((end, _)) => &name[..end],
        None => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The reference's whole list, in its order; ours is a part of it.
    const REFERENCE_ORDER: &str = "health doctor.memory.status logs.tail channels.status channels.logout status \
        usage.status usage.cost tts.status tts.providers tts.enable tts.disable tts.convert tts.setProvider config.get \
        config.set config.apply config.patch config.schema config.schema.lookup exec.approvals.get exec.approvals.set \
        exec.approvals.node.get exec.approvals.node.set exec.approval.request exec.approval.waitDecision \
        exec.approval.resolve wizard.start wizard.next wizard.cancel wizard.status talk.config talk.mode models.list \
        tools.catalog agents.list agents.create agents.update agents.delete agents.files.list agents.files.get \
        agents.files.set skills.status skills.bins skills.install skills.update update.run voicewake.get voicewake.set \
        secrets.reload secrets.resolve sessions.list sessions.preview sessions.patch sessions.reset sessions.delete \
        sessions.compact last-heartbeat set-heartbeats wake node.pair.request node.pair.list node.pair.approve \
        node.pair.reject node.pair.verify device.pair.list device.pair.approve device.pair.reject device.pair.remove \
        device.token.rotate device.token.revoke node.rename node.list node.describe node.pending.drain \
        node.pending.enqueue node.invoke node.pending.pull node.pending.ack node.invoke.result node.event \
        node.canvas.capability.refresh cron.list cron.status cron.add cron.update cron.remove cron.run cron.runs \
        gateway.identity.get system-presence system-event send agent agent.identity.get agent.wait browser.request \
        chat.history chat.abort chat.send";

    #[test]
    fn features_are_a_part_of_the_reference_in_its_order() {
        let order: Vec<&str> = REFERENCE_ORDER.split_whitespace().collect();
        let places: Vec<usize> = advertised().map(|name| order.iter().position(|n| *n == name).expect(name)).collect();
        assert!(places.is_sorted(), "{places:?}");
        let quiet: Vec<&str> = METHODS.iter().filter(|m| !m.advertised).map(|m| m.name).collect();
        assert_eq!(quiet, ["connect", "sessions.usage", "config.openFile", "chat.inject"]);
        let here: Vec<&str> = METHODS.iter().map(|m| m.name).collect();
        for (_, names) in ELSEWHERE {
            assert!(names.iter().all(|name| !here.contains(name)), "{names:?}");
        }
        for method in METHODS {
            assert!(method.doc.ends_with('.') && method.doc.len() < 80, "{}", method.name);
        }
    }

    #[test]
    fn everything_the_control_ui_calls_is_there() {
        for name in "agent.identity.get agents.list channels.status chat.history chat.send config.apply config.get config.openFile \
            config.schema config.set \
            connect cron.list cron.runs cron.status device.pair.list exec.approvals.get health last-heartbeat \
            logs.tail models.list node.list sessions.list sessions.usage skills.status status system-presence \
            usage.cost"
            .split_whitespace()
        {
            assert!(find(name).is_some(), "{name}");
        }
    }

    #[test]
    fn refusals_as_recorded() {
        let all = Scopes::new(roles::ALL_OPERATOR);
        let read = Scopes::new([roles::READ]);
        let write = Scopes::new([roles::WRITE]);
        for (role, scopes, name, refusal) in [
            (Role::Operator, &all, "node.event", "unauthorized role: operator"),
            (Role::Operator, &all, "node.invoke.result", "unauthorized role: operator"),
            (Role::Operator, &read, "agent", "missing scope: operator.write"),
            (Role::Operator, &read, "config.set", "missing scope: operator.admin"),
            (Role::Operator, &read, "config.schema", "missing scope: operator.admin"),
            (Role::Operator, &read, "cron.add", "missing scope: operator.admin"),
            (Role::Operator, &read, "device.pair.list", "missing scope: operator.pairing"),
            (Role::Operator, &read, "exec.approval.resolve", "missing scope: operator.approvals"),
            (Role::Operator, &read, "exec.approvals.get", "missing scope: operator.admin"),
            (Role::Operator, &read, "push.test", "missing scope: operator.write"),
            (Role::Operator, &read, "no.such.method", "missing scope: operator.admin"),
            (Role::Operator, &read, "connect", "missing scope: operator.admin"),
            (Role::Operator, &read, "chat.inject", "missing scope: operator.admin"),
            (Role::Operator, &write, "sessions.reset", "missing scope: operator.admin"),
            (Role::Operator, &Scopes::NONE, "status", "missing scope: operator.read"),
            (Role::Node, &all, "status", "unauthorized role: node"),
            (Role::Node, &all, "no.such.method", "unauthorized role: node"),
        ] {
            let error = authorize(role, scopes, name, 3).unwrap_err();
            assert_eq!((error.code, error.message.as_str()), (ErrorCode::InvalidRequest, refusal), "{name}");
            assert_eq!(error.details, None);
            assert_eq!(is_unauthorized_role(&error), refusal.starts_with("unauthorized"), "{name}");
        }
        for (role, scopes, name) in [
            (Role::Operator, &all, "no.such.method"),
            (Role::Operator, &read, "status"),
            (Role::Operator, &write, "status"),
            (Role::Operator, &write, "chat.abort"),
            (Role::Operator, &Scopes::NONE, "health"),
            (Role::Node, &Scopes::NONE, "health"),
            (Role::Node, &Scopes::NONE, "node.event"),
        ] {
            assert_eq!(authorize(role, scopes, name, 3), Ok(()), "{name}");
        }
    }

    #[test]
    fn protocol_4_says_more() {
        let error = authorize(Role::Operator, &Scopes::new([roles::READ]), "agent", 4).unwrap_err();
        assert_eq!(
            serde_json::to_value(&error).unwrap(),
            json!({"code":"FORBIDDEN","message":"missing scope: operator.write",
                   "details":{"code":"MISSING_SCOPE","missingScope":"operator.write","requiredScopes":["operator.write"]}})
        );
    }

    #[test]
    fn names_in_errors_are_cut() {
        assert_eq!(unknown_method("no.such.method").message, "unknown method: no.such.method");
        let cut = unknown_method(&"é".repeat(1000)).message;
        assert_eq!(cut.chars().count(), "unknown method: ".len() + limits::METHOD_NAME_CHARS);
        assert_eq!(connect_again().message, "connect is only valid as the first request");
    }
}
