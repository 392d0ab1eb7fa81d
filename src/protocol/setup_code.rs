//! The text behind the QR code that a phone pairs by: where the gateway is, and a one-time token for it. Clients decode
//! it, so its keys and their order stay.

use serde::Serialize;

use crate::ids;
use crate::secret::Secret;

/// What a setup code carries. It never holds the gateway's own token or password.
#[derive(Clone, Copy, Debug)]
pub struct SetupCode<'a> {
    /// `ws://` or `wss://`, host and port.
    pub url: &'a str,
    /// Sent as `auth.bootstrapToken` of `connect`.
    pub bootstrap_token: &'a Secret,
}

impl SetupCode<'_> {
    /// base64url without padding of a small JSON object.
    pub fn encode(&self) -> String {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Payload<'a> {
            url: &'a str,
            bootstrap_token: &'a str,
        }
        let payload = Payload { url: self.url, bootstrap_token: self.bootstrap_token.expose() };
        ids::base64url(&serde_json::to_vec(&payload).expect("two texts serialise"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_phone_reads() {
        let token = Secret::new("tok-_1");
        let code = SetupCode { url: "ws://192.168.1.5:18789", bootstrap_token: &token }.encode();
        assert_eq!(code, "eyJ1cmwiOiJ3czovLzE5Mi4xNjguMS41OjE4Nzg5IiwiYm9vdHN0cmFwVG9rZW4iOiJ0b2stXzEifQ");
        let json = ids::decode_base64(&code).unwrap();
        assert_eq!(json, br#"{"url":"ws://192.168.1.5:18789","bootstrapToken":"tok-_1"}"#);
    }
}
