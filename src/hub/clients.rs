//! The clients behind the handshake and the fan-out to them. Owned by the hub's thread.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use super::outbox::{EventFrame, Outbox, Sent};
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
}

#[derive(Default)]
pub struct Clients {
    clients: HashMap<Arc<str>, Client>,
    /// Devices whose secrets changed since the start: a registration judged by an older epoch is refused.
    epochs: HashMap<String, u64>,
    /// Sockets that were told to close, to be cut if the peer does not.
    closing: Vec<(Instant, Arc<Outbox>)>,
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
        for client in self.clients.values() {
            if kind.visible_to(client.role, &client.scopes)
                && client.outbox.event(frame) == Sent::Closed
                && !self.closing.iter().any(|(_, outbox)| Arc::ptr_eq(outbox, &client.outbox))
            {
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
        let hit = |c: &&Client| {
            c.device_id.as_deref() == Some(device_id)
                && role.is_none_or(|role| c.role == role)
                && c.device_epoch < epoch
        };
        for client in self.clients.values().filter(hit) {
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
    pub fn close_fattest(&mut self, excess: usize, close: &Close, now: Instant) {
        let mut freed: usize = self.closing.iter().map(|(_, outbox)| outbox.unsent()).sum();
        while freed < excess {
            let open = self.clients.values().map(|c| &c.outbox).filter(|o| o.is_open());
            let Some((unsent, outbox)) = open.map(|o| (o.unsent(), o)).max_by_key(|(n, _)| *n) else { return };
            if unsent == 0 {
                return;
            }
            freed += unsent;
            outbox.close_now(close);
            self.closing.push((now + limits::LINGER_TIME, outbox.clone()));
        }
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
