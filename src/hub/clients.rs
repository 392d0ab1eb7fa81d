//! The clients behind the handshake and the fan-out to them. Owned by the hub's thread.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use super::outbox::{EventFrame, Outbox, SLOW_CONSUMER, Sent};
use crate::limits;
use crate::protocol::events;
use crate::protocol::roles::{Role, Scopes};
use crate::ws::Close;

pub struct Client {
    pub conn_id: Arc<str>,
    pub outbox: Arc<Outbox>,
    pub role: Role,
    pub scopes: Scopes,
    pub device_id: Option<Arc<str>>,
    /// The device's epoch by which it was let in.
    pub device_epoch: u64,
    pub presence_key: Option<String>,
    /// It was told to close. It stays until its reader has seen that, which may be after it was cut.
    pub ending: bool,
}

#[derive(Default)]
pub struct Clients {
    clients: HashMap<Arc<str>, Client>,
    /// Devices whose secrets changed since the start: a registration judged by an older epoch is refused.
    epochs: HashMap<String, u64>,
    /// Sockets that were told to close, to be cut if the peer does not.
    closing: Vec<(Instant, Arc<Outbox>)>,
    /// Events that slow clients did not get, and clients that were closed for it.
    skipped: u64,
    slow: u64,
}

impl Clients {
    pub fn len(&self) -> usize {
        self.clients.len()
    }

    pub fn is_empty(&self) -> bool {
        self.clients.is_empty()
    }

    pub fn insert(&mut self, client: Client) {
        self.clients.insert(client.conn_id.clone(), client);
    }

    pub fn remove(&mut self, conn_id: &str) -> Option<Client> {
        self.clients.remove(conn_id)
    }

    /// Sends an event to everybody who may see it.
    pub fn broadcast(&mut self, event: &'static str, frame: &EventFrame, now: Instant) {
        let kind = events::find(event).expect("only events of the table are sent");
        for client in self.clients.values_mut() {
            if !kind.visible_to(client.role, &client.scopes) {
                continue;
            }
            let sent = client.outbox.event(frame);
            self.skipped += u64::from(sent == Sent::Skipped);
            if sent == Sent::Closed && !std::mem::replace(&mut client.ending, true) {
                self.slow += u64::from(say_if_slow(client));
                self.closing.push((now + limits::LINGER_TIME, client.outbox.clone()));
            }
        }
    }

    pub fn is_stale(&self, device_id: &str, epoch: u64) -> bool {
        self.epochs.get(device_id).is_some_and(|&current| epoch < current)
    }

    /// Closes the device's sockets for a role (all roles: None) that were let in before `epoch`, and refuses such
    /// registrations. Who came with the new secret already stays.
    pub fn revoke(&mut self, device_id: &str, role: Option<Role>, epoch: u64, close: &Close, now: Instant) {
        let current = self.epochs.entry(device_id.to_owned()).or_default();
        *current = epoch.max(*current);
        let hit = |c: &&mut Client| {
            c.device_id.as_deref() == Some(device_id)
                && role.is_none_or(|role| c.role == role)
                && c.device_epoch < epoch
        };
        for client in self.clients.values_mut().filter(hit) {
            client.ending = true;
            client.outbox.close(close);
            self.closing.push((now + limits::LINGER_TIME, client.outbox.clone()));
        }
    }

    pub fn close_all(&mut self, close: &Close) -> Vec<Arc<Outbox>> {
        self.clients
            .values()
            .map(|client| {
                client.outbox.close(close);
                client.outbox.clone()
            })
            .collect()
    }

    /// Closes the clients with most unsent bytes until `excess` bytes are on their way out; what those hold that are
    /// closing already counts.
    pub fn close_fattest(&mut self, excess: usize, now: Instant) {
        let mut freed: usize = self.closing.iter().map(|(_, outbox)| outbox.unsent()).sum();
        while freed < excess {
            let open = self.clients.values_mut().filter(|c| c.outbox.is_open());
            let Some((unsent, client)) = open.map(|c| (c.outbox.unsent(), c)).max_by_key(|(n, _)| *n) else { return };
            if unsent == 0 {
                return;
            }
            freed += unsent;
            client.ending = true;
            client.outbox.close_now(&Close::policy(SLOW_CONSUMER));
            self.slow += u64::from(say_if_slow(client));
            self.closing.push((now + limits::LINGER_TIME, client.outbox.clone()));
        }
    }

    /// What was lost since the last call: events, and clients.
    pub fn take_losses(&mut self) -> (u64, u64) {
        (std::mem::take(&mut self.skipped), std::mem::take(&mut self.slow))
    }

    pub fn next_cut(&self) -> Option<Instant> {
        self.closing.iter().map(|(at, _)| *at).min()
    }

    /// Cuts sockets whose peers did not close in time.
    pub fn cut_overdue(&mut self, now: Instant) {
        self.closing.retain(|(at, outbox)| {
            if *at <= now {
                outbox.cut();
            }
            *at > now
        });
    }
}

/// A client that was closed for not reading is worth a line: to its user it is a connection that broke.
fn say_if_slow(client: &Client) -> bool {
    let slow = client.outbox.closed_with().is_some_and(|close| close.reason == SLOW_CONSUMER);
    if slow {
        log::warn!(
            target: "gateway/ws",
            "conn {} does not read its events and was closed (1008 slow consumer); it may connect again",
            client.conn_id
        );
    }
    slow
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::outbox::Budget;
    use crate::hub::outbox::tests::{Memory, MemoryWire, event};

    fn client(name: &str, budget: &Arc<Budget>, credit: usize) -> (Client, Arc<Memory>) {
        let memory = Memory::with_credit(credit);
        let outbox = Outbox::new(name.into(), Box::new(MemoryWire(memory.clone())), budget.clone(), 1 << 20);
        let client = Client {
            conn_id: name.into(),
            outbox,
            role: Role::Operator,
            scopes: Scopes::new(&["operator.admin".to_owned()]),
            device_id: None,
            device_epoch: 0,
            presence_key: None,
            ending: false,
        };
        (client, memory)
    }

    #[test]
    fn a_client_that_is_cut_but_still_there_is_counted_once() {
        let mut clients = Clients::default();
        let now = Instant::now();
        let (client, _memory) = client("slow", &Budget::new(usize::MAX), 0);
        clients.insert(client);
        let large = event(&"x".repeat(800_000));
        let later = now + limits::LINGER_TIME * 2;
        for at in [now, now, now, later, later] {
            clients.broadcast("chat", &large, at);
            clients.cut_overdue(at);
        }
        assert_eq!((clients.take_losses(), clients.next_cut()), ((0, 1), None));
        assert!(clients.remove("slow").is_some());
    }

    #[test]
    fn the_fattest_go_until_enough_is_under_way_and_not_one_more() {
        let budget = Budget::new(1000);
        let mut clients = Clients::default();
        let now = Instant::now();
        for (name, bytes) in [("fat", 3000), ("lean", 300), ("fatter", 5000), ("none", 0)] {
            let (client, _memory) = client(name, &budget, 0);
            if bytes > 0 {
                client.outbox.event(&event(&"x".repeat(bytes)));
            }
            clients.insert(client);
        }
        let open = |clients: &Clients| {
            let mut open: Vec<_> =
                clients.clients.values().filter(|c| c.outbox.is_open()).map(|c| c.conn_id.to_string()).collect();
            open.sort();
            open.join(" ")
        };
        clients.close_fattest(4000, now);
        assert_eq!(open(&clients), "fat lean none");
        // What the closing one still has in the hands of its writer is not asked of others.
        let closing: usize = clients.closing.iter().map(|(_, outbox)| outbox.unsent()).sum();
        assert!(closing > 0);
        clients.close_fattest(closing, now);
        assert_eq!(open(&clients), "fat lean none");
        clients.close_fattest(usize::MAX, now);
        assert_eq!(open(&clients), "none", "nothing more to free: it ends");
        assert_eq!(clients.next_cut(), Some(now + limits::LINGER_TIME));
        clients.cut_overdue(now + limits::LINGER_TIME);
        assert_eq!(clients.next_cut(), None);
        assert_eq!((clients.take_losses(), clients.take_losses()), ((0, 3), (0, 0)));
        // Their writers wake up and give back what they had in their hands.
        let deadline = Instant::now() + std::time::Duration::from_secs(20);
        while budget.exceeded() {
            assert!(Instant::now() < deadline, "bytes of cut clients stay in the budget");
            std::thread::yield_now();
        }
    }
}
