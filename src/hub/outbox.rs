//! What waits to be sent to one client.

#[derive(Default)]
pub struct Outbox {
    sent: parking_lot::Mutex<Vec<Vec<u8>>>,
}
impl Outbox {
    pub fn answer(&self, frame: Vec<u8>) {
        self.sent.lock().push(frame);
    }

    pub fn sent(&self) -> Vec<Vec<u8>> {
        self.sent.lock().clone()
    }
}
