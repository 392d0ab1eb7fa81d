//! The hub with clients in memory: what becomes of registrations when a device's secrets change.

use std::net::Shutdown;
use std::sync::Arc;

use crossbeam_channel::bounded;

use super::outbox::tests::{Memory, MemoryWire};
use super::*;

struct NoHealth;

impl HealthSource for NoHealth {
    fn build(&self, _now_ms: u64) -> (Vec<u8>, u64) {
        (b"{}".to_vec(), 0)
    }
}

struct House {
    hub: HubHandle,
    thread: Option<JoinHandle<()>>,
    budget: Arc<Budget>,
}

impl House {
    fn new() -> House {
        let budget = Budget::new(usize::MAX);
        let (hub, thread) = start(Setup {
            me: Box::new(SelfInfo::default),
            health: Box::new(NoHealth),
            budget: budget.clone(),
            closed_runs: crossbeam_channel::unbounded().0,
            queue_system_event: Box::new(|_, _| {}),
            on_death: Box::new(|| {}),
            ws_log: Detail::Failures,
            metrics: Arc::new(crate::metrics::Metrics::new(vec![], vec![], vec![])),
        })
        .unwrap();
        House { hub, thread: Some(thread), budget }
    }

    /// Registers a connection of device `d`; false when it is refused.
    fn register(&self, conn_id: &str, role: Role, device_epoch: u64) -> (Arc<Memory>, bool) {
        let memory = Memory::with_credit(usize::MAX);
        let wire = Box::new(MemoryWire(memory.clone()));
        let (done, registered) = bounded(1);
        self.hub.send(Event::Register(Box::new(Registration {
            conn_id: conn_id.into(),
            client: connect::Client::default(),
            role,
            scopes: Scopes::NONE,
            protocol: 3,
            device_id: Some("d".into()),
            remote_ip: None,
            outbox: Outbox::new(conn_id.into(), wire, self.budget.clone(), usize::MAX),
            device_epoch,
            request_id: "r".into(),
            hello: Box::new(|_| b"\"hello\"".to_vec()),
            done,
        })));
        (memory, registered.recv().unwrap())
    }

    fn revoke(&self, role: Option<Role>, epoch: u64) {
        let revocation = Revocation { device_id: "d".into(), role, epoch, reason: "changed", answer: None };
        self.hub.send(Event::Revoke(Box::new(revocation)));
    }

    /// Returns when everything sent so far has been handled.
    fn settle(&self) {
        let (done, outboxes) = bounded(1);
        self.hub.send(Event::CloseAll { close: Close::new(Close::RESTART, ""), done });
        outboxes.recv().unwrap();
    }
}

impl Drop for House {
    fn drop(&mut self) {
        self.hub.send(Event::End);
        self.thread.take().unwrap().join().unwrap();
    }
}

/// Code and reason of the close frame, which comes last.
fn close_of(memory: &Memory) -> (u16, String) {
    let frames = memory.frames();
    let (opcode, payload) = frames.last().unwrap();
    assert_eq!(*opcode, 8, "{frames:?}");
    (u16::from_be_bytes([payload[0], payload[1]]), String::from_utf8(payload[2..].to_vec()).unwrap())
}

#[test]
fn a_registration_judged_by_an_old_secret_is_refused() {
    let house = House::new();
    house.revoke(Some(Role::Operator), 7);
    let (late, registered) = house.register("late", Role::Operator, 6);
    assert!(!registered);
    assert_eq!(close_of(&late), (1008, "credentials changed during the handshake; connect again".into()));
    assert!(late.texts().is_empty(), "no hello-ok");
    assert!(house.register("new", Role::Operator, 7).1);
    // Removed and paired again: what was judged by the first pairing stays out.
    house.revoke(None, 8);
    assert!(!house.register("of the first pairing", Role::Node, 7).1);
    assert!(house.register("of the second", Role::Node, 8).1);
}

#[test]
fn a_revocation_closes_who_came_before_it_and_nobody_else() {
    let house = House::new();
    let (old, _) = house.register("old", Role::Operator, 0);
    let (other_role, _) = house.register("other role", Role::Node, 0);
    // It had the new token before the hub heard of the rotation.
    let (early, _) = house.register("early", Role::Operator, 1);
    house.revoke(Some(Role::Operator), 1);
    house.settle();
    assert_eq!(close_of(&old), (1008, "changed".into()));
    for stays in [other_role, early] {
        assert_eq!(close_of(&stays).0, 1012, "closed by the end of the test only");
        assert!(!stays.shut().contains(&Shutdown::Both));
    }
}
