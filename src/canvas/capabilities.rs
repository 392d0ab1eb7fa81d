//! Who may see pages without the gateway's secret: nodes, by an address that holds a capability (http 10). One for each
//! node connection; it ends ten minutes after it was last used, and with the connection.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;

use crate::ids;
use crate::limits;
use crate::secret::Secret;

const BYTES: usize = 18;

/// What a node is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Minted {
    pub capability: Secret,
    /// Until then, if nobody uses it.
    pub ttl_ms: u64,
}

#[derive(Default)]
pub struct Capabilities {
    /// By connection.
    held: Mutex<HashMap<Arc<str>, Held>>,
}

struct Held {
    capability: Secret,
    ends: Instant,
}

impl Capabilities {
    /// A fresh capability for a connection; one that it had is good for nothing from now on.
    pub fn mint(&self, conn_id: &Arc<str>, now: Instant) -> Minted {
        let capability = Secret::new(ids::base64url(&ids::random_bytes::<BYTES>()));
        let held = Held { capability: capability.clone(), ends: now + limits::CAPABILITY_TTL };
        self.held.lock().insert(conn_id.clone(), held);
        Minted { capability, ttl_ms: limits::CAPABILITY_TTL.as_millis() as u64 }
    }

    /// Whether it is good; used, it is good for its whole time again. All are compared, so that time tells nothing.
    pub fn accepts(&self, shown: &str, now: Instant) -> bool {
        if !is_shaped(shown) {
            return false;
        }
        let mut held = self.held.lock();
        let mut good = false;
        for one in held.values_mut() {
            if one.capability.matches(shown) & (now < one.ends) {
                one.ends = now + limits::CAPABILITY_TTL;
                good = true;
            }
        }
        good
    }

    /// The connection is gone.
    pub fn forget(&self, conn_id: &str) {
        self.held.lock().remove(conn_id);
    }
}

/// Base64url of so many bytes, without padding.
pub fn is_shaped(text: &str) -> bool {
    text.len() == BYTES * 4 / 3 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_capability_lives_as_long_as_it_is_used_and_its_node_is_there() {
        let store = Capabilities::default();
        let (one, two): (Arc<str>, Arc<str>) = ("one".into(), "two".into());
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let first = store.mint(&one, start);
        let other = store.mint(&two, start);
        assert_eq!(first.ttl_ms, 600_000);
        assert!(is_shaped(first.capability.expose()) && first.capability != other.capability);
        assert!(store.accepts(first.capability.expose(), at(599)));
        assert!(store.accepts(first.capability.expose(), at(599 + 599)), "use prolongs it");
        assert!(!store.accepts(first.capability.expose(), at(599 + 599 + 600)));
        assert!(!store.accepts(other.capability.expose(), at(600)), "nobody used it");
        let again = store.mint(&one, at(2000));
        assert!(
            !store.accepts(first.capability.expose(), at(2001)) && store.accepts(again.capability.expose(), at(2001))
        );
        store.forget("one");
        assert!(!store.accepts(again.capability.expose(), at(2002)));
        for bad in
            ["", "x", &"A".repeat(24), &"A".repeat(25), &format!("{}=", "A".repeat(23)), "../../../../../../../../"]
        {
            assert!(!store.accepts(bad, start), "{bad}");
        }
    }
}
