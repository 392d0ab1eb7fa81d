//! What waits to be sent to one client.

pub struct Outbox {}
impl Outbox {
    pub fn answer(&self, _frame: Vec<u8>) {}
}
