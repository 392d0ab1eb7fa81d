//! `openclaw dashboard`: the address of the Control UI with the token behind the `#`, which browsers do not send.

use super::Context;
use super::target::Flags;
use super::tree::Dashboard as Args;
use crate::error::Result;
use crate::{err, out};

pub fn run(cx: &Context, args: &Args) -> Result<u8> {
    let config = cx.config()?;
    let target = cx.local_target(Flags::default(), None)?;
    let scheme = if config.gateway.tls.enabled { "https" } else { "http" };
    let base = config.gateway.control_ui.base_path.trim_matches('/');
    let path = if base.is_empty() { String::new() } else { format!("{base}/") };
    let secret = target.token.as_ref().map(|token| format!("#token={}", in_fragment(token.expose())));
    out!("Dashboard URL: {scheme}://127.0.0.1:{}/{path}{}", cx.port(None), secret.unwrap_or_default());
    out!("Copy to clipboard unavailable.");
    match args.no_open {
        true => out!("Browser launch disabled (--no-open). Use the URL above."),
        false => out!("No browser is opened: the token would stand in the process list. Use the URL above."),
    }
    err!("Note: the Control UI is not served by this build yet.");
    Ok(0)
}

/// What may stand in a fragment as it is stays; everything else is percent-encoded.
fn in_fragment(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_in_an_address() {
        for (token, shown) in [("secret-token_0.1~", "secret-token_0.1~"), ("a b&c#é", "a%20b%26c%23%C3%A9")] {
            assert_eq!(in_fragment(token), shown);
        }
    }
}
