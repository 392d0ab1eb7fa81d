//! `openclaw gateway call <method>`: one request, its payload (cli 4.4).

use serde_json::Value;

use super::Context;
use super::context::{Call, TIMEOUT_MS};
use super::output::json_pretty;
use super::target::Flags;
use super::tree::{Gateway, GatewayCall};
use crate::error::{Error, Result};
use crate::out;

const PREFIX: &str = "Gateway call failed: Error: ";

pub fn run(cx: &Context, group: &Gateway, args: &GatewayCall) -> Result<u8> {
    let params = parse_params(args.params.as_deref().unwrap_or("{}"))?;
    let call = Call {
        flags: gateway_flags(&args.url, &args.token, &args.password, group),
        timeout: args.timeout.as_deref(),
        default_ms: TIMEOUT_MS,
        prefix: PREFIX,
        expect_final: args.expect_final,
    };
    let payload = cx.call(&call, &args.method, Some(params))?;
    if !args.json {
        out!("Gateway call: {}", args.method);
    }
    out!("{}", json_pretty(&payload));
    Ok(0)
}

/// Address and credentials of a sub-command of `gateway`; what stands before its name counts, too.
pub fn gateway_flags<'a>(
    url: &'a Option<String>,
    token: &'a Option<String>,
    password: &'a Option<String>,
    group: &'a Gateway,
) -> Flags<'a> {
    Flags {
        url: url.as_deref(),
        token: token.as_deref().or(group.token.as_deref()),
        password: password.as_deref().or(group.password.as_deref()),
    }
}

fn parse_params(text: &str) -> Result<Value> {
    serde_json::from_str(text).map_err(|error| {
        Error::new(format!("Gateway call failed: SyntaxError: --params is not JSON: {error}"))
            .hint("Quote it for the shell: --params '{\"key\":\"value\"}'")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn params_are_json() {
        assert_eq!(parse_params("{\"a\":1}").unwrap()["a"], 1);
        let error = parse_params("{oops").unwrap_err();
        assert!(error.message.starts_with("Gateway call failed: SyntaxError: "), "{error}");
    }

    #[test]
    fn credentials_before_the_sub_command_count() {
        let group = Gateway { token: Some("outer".into()), password: Some("pw".into()), ..Gateway::default() };
        let flags = gateway_flags(&None, &None, &None, &group);
        assert_eq!((flags.token, flags.password), (Some("outer"), Some("pw")));
        let own = Some("own".to_string());
        assert_eq!(gateway_flags(&None, &own, &None, &group).token, Some("own"));
    }
}
