//! The shortest way through everything: start, connect, one turn, stop.

use serde_json::json;

use crate::common::client::Client;
use crate::common::model::{Model, Play};
use crate::common::{Gateway, Home};

#[test]
fn a_turn_from_start_to_stop() {
    let model = Model::start(vec![Play::words("word0 word1 word2")]);
    let home = Home::new();
    home.configure(model.config());
    let mut gateway = Gateway::start(&home, &[]);
    let mut client = Client::connect(gateway.port);
    let params = json!({"message": "hello", "sessionKey": "main", "idempotencyKey": "k1"});
    let id = client.send_request("agent", params);
    assert_eq!(client.answer(&id)["payload"]["status"], "accepted");
    let last = client.answer(&id);
    assert_eq!(last["payload"]["result"]["payloads"][0]["text"], "word0 word1 word2", "{last}");
    assert_eq!(client.event("chat")["payload"]["state"], "delta");
    assert_eq!(gateway.get("/health").0, 200);
    assert_eq!(gateway.stop(), Some(0));
}
