//! `openclaw qr`: a one-time token for a phone and the address to show it at, as text and as a picture to scan.
//!
//! The token goes into the state directory, where a running gateway looks when somebody shows one; it need not run yet.

use std::fmt::Write as _;

use qrcodegen::{QrCode, QrCodeEcc};
use serde_json::json;

use super::Context;
use super::client::now_ms;
use super::output::{Paint, json_pretty};
use super::target::Flags;
use super::tree::Qr as Args;
use crate::config::Config;
use crate::config::model::AuthMode;
use crate::error::{Error, Result};
use crate::policy::auth::{AuthOverrides, resolve_auth};
use crate::policy::setup_url::{self, UrlFacts};
use crate::protocol::setup_code::SetupCode;
use crate::secret::Secret;
use crate::store::setup_codes::SetupCodes;
use crate::sys::host;
use crate::{limits, out, tailscale};

/// Light modules around the picture, without which scanners do not see it.
const QUIET: i32 = 4;
/// `gateway.mode` of a machine whose gateway is another one.
const REMOTE: &str = "remote";

pub fn run(cx: &Context, args: &Args) -> Result<u8> {
    print(cx, args).map_err(|mut error| {
        error.hints = error.hints.iter().map(|hint| cx.suggest(hint)).collect();
        error
    })
}

fn print(cx: &Context, args: &Args) -> Result<u8> {
    let flags = Flags { url: None, token: filled(&args.token), password: filled(&args.password) };
    if flags.token.is_some() && flags.password.is_some() {
        return Err(Error::new("--token and --password exclude each other").hint("Give the one that the gateway uses."));
    }
    cx.config()?;
    let config = cx.config_for(flags);
    if config.gateway.mode.as_deref() == Some(REMOTE) {
        return Err(Error::new("The gateway is on another machine (gateway.mode=remote): it would not know this code")
            .hint("Run openclaw qr there."));
    }
    let auth = auth_label(config, flags, args.remote, &|name| cx.var(name))?;
    let named = |option, text| filled(text).map(|url| (option, url));
    let found = setup_url::choose(&UrlFacts {
        given: named("--url", &args.url).or(named("--public-url", &args.public_url)),
        public_url: cx
            .loaded()
            .effective
            .pointer("/plugins/entries/device-pair/config/publicUrl")
            .and_then(|v| v.as_str()),
        prefer_remote: args.remote,
        gateway: &config.gateway,
        port: cx.port(None),
        tailscale_name: &tailscale::publish::host,
        lan: &host::private_ipv4,
        tailnet: &host::tailnet_ipv4,
    })?;
    let token = SetupCodes::open(&cx.paths.state_dir).issue(now_ms()).map_err(|e| {
        Error::new(format!("The one-time token cannot be kept: {e}"))
            .hint(format!("Look at {}", cx.short(&cx.paths.state_dir.join("devices/bootstrap.json"))))
    })?;
    let code = SetupCode { url: &found.url, bootstrap_token: &token }.encode();
    if args.setup_code_only {
        out!("{code}");
        return Ok(0);
    }
    if args.json {
        let page = json!({"setupCode": code, "gatewayUrl": found.url, "auth": auth, "urlSource": found.source});
        out!("{}", json_pretty(&page));
        return Ok(0);
    }
    let (bold, gray) = (|text| cx.paint.bold(text), |text| cx.paint.gray(text));
    out!("{}\nScan it with the OpenClaw app on the phone: Onboarding, Scan QR.\n", bold("Pairing QR"));
    if !args.no_ascii {
        out!("{}", picture(&code, cx.paint)?);
    }
    out!("{} {code}", gray("Setup code:"));
    out!("{} {}", gray("Gateway:"), found.url);
    out!("{} {auth}", gray("Auth:"));
    out!("{} {}", gray("Source:"), found.source);
    let minutes = limits::SETUP_CODE_TTL.as_secs() / 60;
    out!(
        "\nWhoever has the code can pair one device within {minutes} minutes. See which ones are: {}",
        cx.suggest("openclaw devices list")
    );
    Ok(0)
}

/// `token` or `password`: what clients show once the code is spent. A phone gets tokens of its own.
fn auth_label(
    config: &Config,
    flags: Flags<'_>,
    remote: bool,
    var: &dyn Fn(&str) -> Option<String>,
) -> Result<&'static str> {
    let gateway = &config.gateway;
    let secret = |text: Option<&str>| text.map(Secret::new);
    let (mut token, mut password) = (secret(flags.token), secret(flags.password));
    if remote && token.is_none() && password.is_none() {
        token = gateway.remote_token.clone();
        password = gateway.remote_password.clone().filter(|_| token.is_none());
    }
    let env = |names: [&str; 2]| names.into_iter().find_map(var).map(Secret::new);
    let auth = resolve_auth(
        gateway,
        &AuthOverrides {
            mode: token.as_ref().map(|_| AuthMode::Token).or(password.as_ref().map(|_| AuthMode::Password)),
            token,
            password,
            env_token: env(["OPENCLAW_GATEWAY_TOKEN", "CLAWDBOT_GATEWAY_TOKEN"]),
            env_password: env(["OPENCLAW_GATEWAY_PASSWORD", "CLAWDBOT_GATEWAY_PASSWORD"]),
            tailscale_mode: None,
        },
    );
    match (auth.mode, auth.shared_secret()) {
        (AuthMode::Token, Some(_)) => Ok("token"),
        (AuthMode::Password, Some(_)) => Ok("password"),
        (mode, _) => Err(Error::new(format!("The gateway has no token or password (auth mode {})", mode.name()))
            .hint("Start it once, which makes a token, or set gateway.auth.token or gateway.auth.password.")),
    }
}

/// Two rows of modules in each line. Light modules are drawn, dark ones are left out: right side up on a dark terminal;
/// with colours it does not depend on the terminal.
fn picture(code: &str, paint: Paint) -> Result<String> {
    let qr = QrCode::encode_text(code, QrCodeEcc::Low)
        .map_err(|_| Error::new("The address is too long for a picture").hint("Use --setup-code-only."))?;
    let end = qr.size() + QUIET;
    let light = |x, y| !qr.get_module(x, y) && y < end;
    let mut text = String::new();
    for y in (-QUIET..end).step_by(2) {
        let line: String = (-QUIET..end)
            .map(|x| match (light(x, y), light(x, y + 1)) {
                (true, true) => '█',
                (true, false) => '▀',
                (false, true) => '▄',
                (false, false) => ' ',
            })
            .collect();
        let _ = writeln!(text, "{}", paint.white_on_black(&line));
    }
    Ok(text)
}

fn filled(text: &Option<String>) -> Option<&str> {
    text.as_deref().map(str::trim).filter(|text| !text.is_empty())
}
