//! The EVENTS table: every event that this gateway sends or will send, who may see it and what happens to it when
//! its reader is slow (protocol 1, 3, 5; DECISIONS 6, 30).

use self::Audience::{Everybody, ReadOrSubscribed, Scope, Targeted};
use super::roles::{self, Role, Scopes};

/// Who gets an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// Every connected client, nodes and scope-less clients included.
    Everybody,
    /// Operators who hold this scope (admin and, for read, write included); nodes never.
    Scope(&'static str),
    /// The same, and nodes that subscribed to the session.
    ReadOrSubscribed,
    /// Only the one connection it is meant for; it takes no `seq`.
    Targeted,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventKind {
    pub name: &'static str,
    /// Skipped (with its number) for a client that is too slow; otherwise such a client is closed 1008.
    /// For `chat` this is the answer for deltas; [`droppable`] knows the rest.
    pub droppable: bool,
    pub audience: Audience,
    /// Carries a full list: a newer one replaces an unsent one in its place.
    pub coalesce: bool,
    /// Listed in hello-ok: this gateway emits it.
    pub advertised: bool,
    pub doc: &'static str,
}

impl EventKind {
    /// Whether a client with this role and these scopes may see it, subscriptions of nodes aside.
    pub fn visible_to(&self, role: Role, scopes: &Scopes) -> bool {
        match self.audience {
            Audience::Everybody | Audience::Targeted => true,
            Audience::Scope(needed) => role == Role::Operator && scopes.covers(needed),
            Audience::ReadOrSubscribed => role == Role::Operator && scopes.covers(roles::READ),
        }
    }
}

const fn event(
    name: &'static str,
    droppable: bool,
    audience: Audience,
    advertised: bool,
    doc: &'static str,
) -> EventKind {
    EventKind { name, droppable, audience, coalesce: false, advertised, doc }
}

const fn full_list(name: &'static str, droppable: bool, doc: &'static str) -> EventKind {
    EventKind { name, droppable, audience: Audience::Everybody, coalesce: true, advertised: true, doc }
}

/// In the order of `features.events`.
pub static EVENTS: [EventKind; 19] = [
    event(
        "connect.challenge",
        false,
        Targeted,
        true,
        "The nonce that a device signs; first frame of every connection.",
    ),
    event("agent", false, ReadOrSubscribed, true, "What a run does: lifecycle, assistant text, tools."),
    event("chat", true, ReadOrSubscribed, true, "A run's text as chat messages: delta, final, aborted, error."),
    full_list("presence", true, "Who is connected; the full list after a disconnect or a system event."),
    event("tick", true, Everybody, true, "Sign of life, every 30 seconds."),
    event("talk.mode", true, Everybody, false, "Talk mode was switched."),
    event("shutdown", false, Everybody, true, "The gateway stops or restarts."),
    full_list("health", false, "The health snapshot, after a connect and when something in it changed."),
    event("heartbeat", true, ReadOrSubscribed, false, "A heartbeat run ended."),
    event("cron", true, ReadOrSubscribed, false, "A scheduled job changed, started or ended."),
    event("node.pair.requested", true, Scope(roles::PAIRING), false, "A node asks to be paired."),
    event("node.pair.resolved", true, Scope(roles::PAIRING), false, "A node's request was decided."),
    event("node.invoke.request", false, Targeted, false, "A command for one node."),
    event("device.pair.requested", true, Scope(roles::PAIRING), true, "A device asks to be paired or for more rights."),
    event("device.pair.resolved", true, Scope(roles::PAIRING), true, "A device's request was decided."),
    event("voicewake.changed", true, Everybody, false, "The wake words changed."),
    event("exec.approval.requested", true, Scope(roles::APPROVALS), false, "A command waits for approval."),
    event("exec.approval.resolved", true, Scope(roles::APPROVALS), false, "A command was allowed or denied."),
    event("update.available", true, Everybody, false, "A newer release exists."),
];

pub fn find(name: &str) -> Option<&'static EventKind> {
    EVENTS.iter().find(|event| event.name == name)
}

/// Whether this event may be skipped for a slow client. `chat_state` is the payload's `state`: of `chat` only
/// deltas may be.
pub fn droppable(event: &EventKind, chat_state: Option<&str>) -> bool {
    event.droppable && (event.name != "chat" || chat_state == Some("delta"))
}

/// Names for `features.events` in hello-ok.
pub fn advertised() -> impl Iterator<Item = &'static str> {
    EVENTS.iter().filter(|event| event.advertised).map(|event| event.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slow_clients_lose_what_the_protocol_lets_them_lose() {
        let kept = ["connect.challenge", "agent", "shutdown", "health", "node.invoke.request"];
        for event in &EVENTS {
            assert_eq!(event.droppable, !kept.contains(&event.name), "{}", event.name);
        }
        let chat = find("chat").unwrap();
        assert!(droppable(chat, Some("delta")));
        for state in [Some("final"), Some("aborted"), Some("error"), None] {
            assert!(!droppable(chat, state), "{state:?}");
        }
        assert!(droppable(find("tick").unwrap(), None));
    }

    #[test]
    fn who_sees_what() {
        let reader = Scopes::new([roles::READ]);
        let writer = Scopes::new([roles::WRITE]);
        let admin = Scopes::new([roles::ADMIN]);
        let pairing = Scopes::new([roles::PAIRING]);
        for (name, role, scopes, sees) in [
            ("agent", Role::Operator, &reader, true),
            ("agent", Role::Operator, &writer, true),
            ("chat", Role::Operator, &admin, true),
            ("chat", Role::Operator, &pairing, false),
            ("chat", Role::Operator, &Scopes::NONE, false),
            ("cron", Role::Node, &admin, false),
            ("device.pair.requested", Role::Operator, &pairing, true),
            ("device.pair.requested", Role::Operator, &reader, false),
            ("device.pair.requested", Role::Operator, &admin, true),
            ("exec.approval.requested", Role::Node, &admin, false),
            ("presence", Role::Node, &Scopes::NONE, true),
            ("health", Role::Operator, &Scopes::NONE, true),
            ("shutdown", Role::Node, &Scopes::NONE, true),
        ] {
            assert_eq!(find(name).unwrap().visible_to(role, scopes), sees, "{name} {role:?} {scopes:?}");
        }
        assert!(find("no.such.event").is_none());
    }

    #[test]
    fn hello_lists_only_what_is_emitted() {
        let names: Vec<_> = advertised().collect();
        assert_eq!(
            names,
            [
                "connect.challenge",
                "agent",
                "chat",
                "presence",
                "tick",
                "shutdown",
                "health",
                "device.pair.requested",
                "device.pair.resolved"
            ]
        );
    }
}
