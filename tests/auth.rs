//! Who gets in and with which scopes: auth modes, origins, device-less clients, the rate limiter (protocol 2.3 and 2.5,
//! DECISIONS 22-28).

use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};

use crate::common::client::{ALL_SCOPES, Client, Device, End, Hello};
use crate::common::{Gateway, Home, TOKEN, finish, stderr, wait_until};

const ORIGIN_REFUSED: &str = "origin not allowed (open the Control UI from the gateway host or allow it in \
                              gateway.controlUi.allowedOrigins)";

fn gateway(config: Value) -> (Home, Gateway) {
    let home = Home::new();
    home.configure(config);
    let gateway = Gateway::start(&home, &[]);
    (home, gateway)
}

/// Connects with these request headers. Err: the error of the answer; the close reason was its text.
fn attempt(port: u16, headers: &[(&str, &str)], hello: &Hello, device: Option<&Device>) -> Result<Client, Value> {
    let mut client = Client::open_with(port, headers);
    let answer = client.hello(hello, device);
    if answer["ok"] == true {
        return Ok(client);
    }
    let error = answer["error"].clone();
    let message = error["message"].as_str().expect("a message");
    assert_eq!(client.end(), End::Close(1008, message.chars().take(120).collect()));
    Err(error)
}

fn refused(port: u16, headers: &[(&str, &str)], hello: &Hello, device: Option<&Device>) -> Value {
    attempt(port, headers, hello, device).err().unwrap_or_else(|| panic!("{headers:?} got in"))
}

fn admitted(port: u16, headers: &[(&str, &str)], hello: &Hello, device: Option<&Device>) -> Client {
    attempt(port, headers, hello, device).unwrap_or_else(|error| panic!("{headers:?} was refused: {error}"))
}

fn as_client(id: &str, mode: &str) -> Hello {
    Hello { client_id: id.into(), mode: mode.into(), ..Hello::default() }
}

fn with_token(token: &str) -> Hello {
    Hello { token: Some(token.into()), ..Hello::default() }
}

fn has_scopes(client: &mut Client) -> bool {
    let answer = client.request("status", json!({}));
    if answer["ok"] != true {
        assert_eq!(answer["error"]["message"], "missing scope: operator.read");
        assert_eq!(client.request("health", json!({}))["ok"], true);
    }
    answer["ok"] == true
}

fn details(code: &str, reason: &str, next: &str) -> Value {
    json!({"code": code, "authReason": reason, "canRetryWithDeviceToken": false, "recommendedNextStep": next})
}

#[test]
fn refusals_say_what_the_person_in_front_of_the_client_can_do() {
    let (_home, token_gateway) = gateway(json!({}));
    let password_mode = json!({"gateway": {"auth": {"mode": "password", "password": "right"}}});
    let (_home2, password_gateway) = gateway(password_mode);
    let local_page = [("Origin", "http://localhost:1")];
    let clients = [
        ("test", "test", "provide gateway auth"),
        ("cli", "cli", "set gateway.remote."),
        ("webchat-ui", "webchat", "UI"),
    ];
    for (gateway, kind) in [(&token_gateway, "token"), (&password_gateway, "password")] {
        for (id, mode, hint) in clients {
            let hint = match (hint, kind) {
                ("UI", "token") => "open the dashboard URL and paste the token in Control UI settings".to_owned(),
                ("UI", _) => "enter the password in Control UI settings".to_owned(),
                ("set gateway.remote.", kind) => format!("set gateway.remote.{kind} to match gateway.auth.{kind}"),
                (hint, kind) => format!("{hint} {kind}"),
            };
            let headers: &[_] = if mode == "webchat" { &local_page } else { &[] };
            let wrong = Some("wrong".to_owned());
            let mut hello = Hello { token: None, ..as_client(id, mode) };
            *(if kind == "token" { &mut hello.token } else { &mut hello.password }) = wrong.clone();
            let upper = kind.to_uppercase();
            assert_eq!(
                refused(gateway.port, headers, &hello, None),
                json!({"code": "INVALID_REQUEST", "message": format!("unauthorized: gateway {kind} mismatch ({hint})"),
                       "details": details(&format!("AUTH_{upper}_MISMATCH"), &format!("{kind}_mismatch"),
                                          "update_auth_credentials")}),
            );
            // The other kind counts as missing at protocol 3.
            let mut hello = Hello { token: None, ..as_client(id, mode) };
            *(if kind == "token" { &mut hello.password } else { &mut hello.token }) = wrong;
            assert_eq!(
                refused(gateway.port, headers, &hello, None),
                json!({"code": "INVALID_REQUEST", "message": format!("unauthorized: gateway {kind} missing ({hint})"),
                       "details": details(&format!("AUTH_{upper}_MISSING"), &format!("{kind}_missing"),
                                          "update_auth_configuration")}),
            );
        }
    }
    // Nothing shown and no device: it is the device that is missing. With a device it is the token.
    let nothing = Hello { token: None, ..Hello::default() };
    let no_device = json!({"code": "NOT_PAIRED", "message": "device identity required",
                           "details": {"code": "DEVICE_IDENTITY_REQUIRED"}});
    assert_eq!(refused(token_gateway.port, &[], &nothing, None), no_device);
    let empty = with_token("");
    assert_eq!(refused(token_gateway.port, &[], &empty, None), no_device);
    let error = refused(token_gateway.port, &[], &nothing, Some(&Device::new()));
    assert_eq!(error["details"]["code"], "AUTH_TOKEN_MISSING");
    let error = refused(token_gateway.port, &[], &with_token("wrong"), Some(&Device::new()));
    assert_eq!(
        error["details"],
        json!({"code": "AUTH_TOKEN_MISMATCH", "authReason": "token_mismatch", "canRetryWithDeviceToken": true,
               "recommendedNextStep": "retry_with_device_token"})
    );
    let bogus = Hello { device_token: Some("bogus".into()), ..nothing.clone() };
    let error = refused(token_gateway.port, &[], &bogus, Some(&Device::new()));
    assert_eq!(error["message"], "unauthorized: device token mismatch (rotate/reissue device token)");
    assert_eq!(
        error["details"],
        details("AUTH_DEVICE_TOKEN_MISMATCH", "device_token_mismatch", "update_auth_credentials")
    );
    let over = json!({"auth": {"bootstrapToken": "x"}});
    // Signed like any other token.
    let setup = Hello { token: None, over, ..Hello::default() };
    assert_eq!(
        refused(token_gateway.port, &[], &setup, Some(&Device::new()))["message"],
        "device signature invalid",
        "a bootstrap token is covered by the signature"
    );
    // Protocol 4 may use either field.
    let mut newer = Hello { max: 4, token: None, password: Some(TOKEN.into()), ..Hello::default() };
    assert!(has_scopes(&mut admitted(token_gateway.port, &[], &newer, None)));
    newer = Hello { max: 4, token: Some("right".into()), ..Hello::default() };
    assert!(has_scopes(&mut admitted(password_gateway.port, &[], &newer, None)));
    let password = Hello { token: None, password: Some("right".into()), ..Hello::default() };
    assert!(has_scopes(&mut admitted(password_gateway.port, &[], &password, None)));
    // A node always needs a device.
    let node = Hello { role: "node".into(), scopes: vec![], ..Hello::default() };
    assert_eq!(refused(token_gateway.port, &[], &node, None), no_device);
}

#[test]
fn without_a_device_scopes_are_kept_only_near_and_with_the_secret() {
    let (_home, gateway) = gateway(json!({"gateway": {"trustedProxies": ["10.1.2.3", "nonsense"]}}));
    gateway.wait_line(r#"gateway.trustedProxies: "nonsense" is no address"#);
    let port = gateway.port.to_string();
    let own = format!("localhost:{port}");
    for (id, mode) in [
        ("cli", "cli"),
        ("cli", "probe"),
        ("test", "test"),
        ("gateway-client", "backend"),
        ("openclaw-tui", "ui"),
        ("openclaw-probe", "probe"),
    ] {
        assert!(has_scopes(&mut admitted(gateway.port, &[], &as_client(id, mode), None)), "{id} {mode}");
    }
    for near in ["127.0.0.1", "localhost", "[::1]:9", "gw.tail1.ts.net", &own] {
        assert!(has_scopes(&mut admitted(gateway.port, &[("Host", near)], &Hello::default(), None)), "{near}");
    }
    for (name, value) in [
        ("Host", "gateway.example"),
        ("Host", "127.evil.com"),
        ("Host", "localhost.evil.com"),
        ("Host", "ts.net"),
        ("Host", "192.168.1.5:18789"),
        ("X-Forwarded-For", "127.0.0.1"),
        ("X-Real-IP", "127.0.0.1"),
        ("X-Forwarded-Host", "localhost"),
        ("Origin", "http://localhost:1"),
    ] {
        for hello in [Hello::default(), as_client("gateway-client", "backend"), as_client("cli", "cli")] {
            let mut client = admitted(gateway.port, &[(name, value)], &hello, None);
            assert!(!has_scopes(&mut client), "{name}: {value} {}", hello.client_id);
        }
    }
    // A web chat needs a device for scopes, a Control UI to come in at all.
    let page = [("Origin", "http://127.0.0.1:1")];
    assert!(!has_scopes(&mut admitted(gateway.port, &page, &as_client("webchat", "ui"), None)));
    assert!(!has_scopes(&mut admitted(gateway.port, &page, &as_client("test", "webchat"), None)));
    let error = refused(gateway.port, &page, &as_client("openclaw-control-ui", "webchat"), None);
    assert_eq!(
        error,
        json!({"code": "INVALID_REQUEST",
               "message": "control ui requires device identity (use HTTPS or localhost secure context)",
               "details": {"code": "CONTROL_UI_DEVICE_IDENTITY_REQUIRED"}})
    );
}

#[test]
fn without_auth_a_program_needs_a_device_unless_it_is_the_backend_here() {
    let home = Home::new();
    home.write_config(r#"{gateway:{mode:"local",auth:{mode:"none"}}}"#);
    let gateway = Gateway::start(&home, &[]);
    let bare = |id: &str, mode: &str| Hello { token: None, ..as_client(id, mode) };
    assert!(has_scopes(&mut admitted(gateway.port, &[], &bare("gateway-client", "backend"), None)));
    for (headers, hello) in [
        (&[][..], bare("test", "test")),
        (&[], bare("cli", "cli")),
        (&[], Hello::default()),
        (&[("Host", "gw.example")], bare("gateway-client", "backend")),
        (&[("Origin", "http://localhost")], bare("gateway-client", "backend")),
    ] {
        assert_eq!(refused(gateway.port, headers, &hello, None)["details"]["code"], "DEVICE_IDENTITY_REQUIRED");
    }
    let device = Device::new();
    assert!(has_scopes(&mut admitted(gateway.port, &[], &bare("test", "test"), Some(&device))));
    // From elsewhere it has to wait for an operator.
    let far = [("Host", "gw.example")];
    let error = refused(gateway.port, &far, &bare("test", "test"), Some(&Device::new()));
    assert_eq!(error["details"]["code"], "PAIRING_REQUIRED");
    // Mode none has no secret that could be shown.
    let v4 = Hello { max: 4, ..bare("test", "test") };
    let mut client = Client::open(gateway.port);
    assert_eq!(client.hello(&v4, Some(&device))["payload"]["auth"]["method"], "none");
}

#[test]
fn a_trusted_proxy_vouches_for_users_not_for_scopes() {
    let config = json!({"gateway": {
        "trustedProxies": ["127.0.0.1"],
        "auth": {"mode": "trusted-proxy", "trustedProxy": {
            "userHeader": "X-Auth-User", "requiredHeaders": ["X-Proxy"], "allowUsers": ["ann"]}},
        "controlUi": {"allowedOrigins": ["https://gw.example"]},
    }});
    let (home, gateway) = gateway(config);
    let via = [("X-Forwarded-For", "192.0.2.9"), ("X-Proxy", "1"), ("Host", "gw.example")];
    let with = |more: &[(&'static str, &'static str)]| [&via[..], more].concat();
    let hello = Hello { token: None, ..Hello::default() };
    for (headers, reason) in [
        (vec![("X-Auth-User", "ann")], "trusted_proxy_missing_header_x-proxy"),
        (with(&[]), "trusted_proxy_user_missing"),
        (with(&[("X-Auth-User", "bob")]), "trusted_proxy_user_not_allowed"),
    ] {
        // With a device it is auth that decides.
        let error = refused(gateway.port, &headers, &hello, Some(&Device::new()));
        assert_eq!(
            error,
            json!({"code": "INVALID_REQUEST", "message": "unauthorized",
                   "details": details("AUTH_UNAUTHORIZED", reason, "review_auth_configuration")})
        );
    }
    // A command comes without a proxy, and is told so.
    let mut command = home.command(&["gateway", "call", "health"]);
    command.env("OPENCLAW_GATEWAY_PORT", gateway.port.to_string());
    let said = stderr(&finish(command));
    assert!(said.contains("unauthorized") && said.contains("gateway.auth.mode is trusted-proxy"), "{said}");
    let ann = with(&[("X-Auth-User", "ann")]);
    let mut client = admitted(gateway.port, &ann, &hello, None);
    assert!(!has_scopes(&mut client), "R7: a program behind a proxy has no scopes of its own saying");
    let page = with(&[("X-Auth-User", "ann"), ("Origin", "https://gw.example")]);
    let ui = Hello { token: None, ..as_client("openclaw-control-ui", "webchat") };
    assert!(has_scopes(&mut admitted(gateway.port, &page, &ui, None)));
}

#[test]
fn pages_must_come_from_an_allowed_origin() {
    let config = json!({"gateway": {"controlUi": {"allowedOrigins": ["https://ui.example"]}}});
    let (_home, gateway) = gateway(config);
    let device = Device::new();
    let ui = as_client("openclaw-control-ui", "webchat");
    let refusal = |reason: &str| {
        json!({"code": "INVALID_REQUEST", "message": ORIGIN_REFUSED,
               "details": {"code": "CONTROL_UI_ORIGIN_NOT_ALLOWED", "reason": reason}})
    };
    let (missing, not_allowed) = (refusal("origin missing or invalid"), refusal("origin not allowed"));
    for (origin, verdict) in [
        (None, Some(&missing)),
        (Some("null"), Some(&missing)),
        (Some("https://evil.example"), Some(&not_allowed)),
        (Some("https://localhost.evil.example"), Some(&not_allowed)),
        (Some("http://ui.example"), Some(&not_allowed)),
        (Some("https://ui.example"), None),
        (Some("http://localhost:5173"), None),
        (Some("http://[::1]:5173"), None),
    ] {
        let headers: Vec<_> = origin.iter().map(|origin| ("Origin", *origin)).collect();
        let outcome = attempt(gateway.port, &headers, &ui, Some(&device));
        assert_eq!(outcome.err().as_ref(), verdict, "{origin:?}");
        // Whoever brings an Origin is judged by it, whatever it calls itself.
        let program = attempt(gateway.port, &headers, &as_client("cli", "cli"), None);
        let expected = origin.and(verdict);
        assert_eq!(program.err().as_ref(), expected, "{origin:?}");
    }
    assert_eq!(refused(gateway.port, &[], &as_client("webchat-ui", "webchat"), None), missing);
    assert_eq!(refused(gateway.port, &[], &as_client("test", "webchat"), None), missing);
    // A page on this machine is no local page behind a proxy.
    let headers = [("Origin", "http://localhost"), ("X-Forwarded-For", "192.0.2.1")];
    assert_eq!(refused(gateway.port, &headers, &ui, Some(&device)), not_allowed);
    // The origin comes before auth.
    let headers = [("Origin", "https://evil.example")];
    assert_eq!(refused(gateway.port, &headers, &with_token("wrong"), None), not_allowed);
}

#[test]
fn guessing_ends_in_a_lock_for_the_right_token_too() {
    let limit = json!({"maxAttempts": 3, "windowMs": 60000, "lockoutMs": 60000, "exemptLoopback": false});
    let (_home, gateway) = gateway(json!({"gateway": {"auth": {"rateLimit": limit}}}));
    let wrong = with_token("wrong");
    // A right one clears the count, a missing one does not count.
    for _ in 0..2 {
        for _ in 0..2 {
            assert_eq!(refused(gateway.port, &[], &wrong, None)["details"]["code"], "AUTH_TOKEN_MISMATCH");
        }
        let nothing = Hello { token: None, ..Hello::default() };
        let missing = refused(gateway.port, &[], &nothing, Some(&Device::new()));
        assert_eq!(missing["details"]["code"], "AUTH_TOKEN_MISSING");
        admitted(gateway.port, &[], &Hello::default(), None);
    }
    for n in 0..3 {
        // R6: whatever else is sent.
        let mut hello = wrong.clone();
        hello.device_token = (n == 1).then(|| "bogus".into());
        hello.password = (n == 2).then(|| "x".into());
        let device = (n == 1).then(Device::new);
        let code = refused(gateway.port, &[], &hello, device.as_ref())["details"]["code"].clone();
        let expected = if n == 1 { "AUTH_DEVICE_TOKEN_MISMATCH" } else { "AUTH_TOKEN_MISMATCH" };
        assert_eq!(code, expected);
    }
    let locked = json!({"code": "INVALID_REQUEST",
        "message": "unauthorized: too many failed authentication attempts (retry later)",
        "details": details("AUTH_RATE_LIMITED", "rate_limited", "wait_then_retry")});
    assert_eq!(refused(gateway.port, &[], &wrong, None), locked);
    assert_eq!(refused(gateway.port, &[], &Hello::default(), None), locked, "the right one");
    let ready = |token: &str| {
        let head = "GET /ready HTTP/1.1\r\nHost: gw.example\r\nConnection: close\r\n";
        gateway.http(&format!("{head}Authorization: Bearer {token}\r\n\r\n")).2
    };
    assert_eq!(ready(TOKEN), r#"{"ready":true}"#, "HTTP shares the lock");
    assert!(gateway.get("/ready").2.contains("uptimeMs"), "a caller on this machine needs no secret for that");
}

#[test]
fn a_lock_ends() {
    let limit = json!({"maxAttempts": 1, "windowMs": 60000, "lockoutMs": 1500, "exemptLoopback": false});
    let (_home, gateway) = gateway(json!({"gateway": {"auth": {"rateLimit": limit}}}));
    refused(gateway.port, &[], &with_token("wrong"), None);
    assert_eq!(refused(gateway.port, &[], &Hello::default(), None)["details"]["code"], "AUTH_RATE_LIMITED");
    wait_until("the end of the lock", || attempt(gateway.port, &[], &Hello::default(), None).is_ok());
}

#[test]
fn loopback_is_exempt_but_not_its_pages_nor_what_a_proxy_brings() {
    let (_home, gateway) = gateway(json!({}));
    let wrong = with_token("wrong");
    for _ in 0..14 {
        assert_eq!(refused(gateway.port, &[], &wrong, None)["details"]["code"], "AUTH_TOKEN_MISMATCH");
    }
    admitted(gateway.port, &[], &Hello::default(), None);
    for header in [("Origin", "http://localhost:1"), ("X-Forwarded-For", "192.0.2.1")] {
        for n in 0..10 {
            let code = refused(gateway.port, &[header], &wrong, None)["details"]["code"].clone();
            assert_eq!(code, "AUTH_TOKEN_MISMATCH", "{header:?} {n}");
            // A program of this machine that knows the secret must not clear the account of those who guess.
            admitted(gateway.port, &[], &Hello::default(), None);
        }
        let code = refused(gateway.port, &[header], &Hello::default(), None)["details"]["code"].clone();
        assert_eq!(code, "AUTH_RATE_LIMITED", "{header:?}");
        admitted(gateway.port, &[], &Hello::default(), None);
    }
    let other_page = [("Origin", "http://127.0.0.1:9999")];
    let code = refused(gateway.port, &other_page, &Hello::default(), None)["details"]["code"].clone();
    assert_eq!(code, "AUTH_RATE_LIMITED", "all pages of this machine share one account");
}

#[test]
fn the_flag_before_the_config_before_the_environment() {
    let both = |args: &[&str], auth: Value| {
        let home = Home::new();
        home.write_config(&json!({"gateway": {"mode": "local", "auth": auth}}).to_string());
        let gateway = Gateway::start_with(&home, args, |c| {
            c.env("OPENCLAW_GATEWAY_TOKEN", "from-the-environment");
        });
        (home, gateway)
    };
    for (args, auth, right) in [
        (&[][..], json!({"token": TOKEN}), TOKEN),
        (&[], json!({"mode": "token"}), "from-the-environment"),
        (&["--token", "from-the-flag"], json!({"token": TOKEN}), "from-the-flag"),
    ] {
        let (_home, gateway) = both(args, auth);
        for token in [TOKEN, "from-the-environment", "from-the-flag"] {
            match attempt(gateway.port, &[], &with_token(token), None) {
                Ok(mut client) => assert!(token == right && has_scopes(&mut client), "{token} got in"),
                Err(error) => {
                    assert_ne!(token, right, "{error}");
                    assert_eq!(error["details"]["code"], "AUTH_TOKEN_MISMATCH");
                }
            }
        }
    }
}

#[test]
fn readiness_tells_details_only_to_the_owner() {
    let (_home, gateway) = gateway(json!({}));
    let ask = |headers: &str| {
        let head = "GET /readyz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n";
        let (status, _, body) = gateway.http(&format!("{head}{headers}\r\n"));
        assert_eq!(status, 200);
        body.contains("uptimeMs")
    };
    assert!(ask(""));
    assert!(!ask("X-Forwarded-For: 192.0.2.1\r\n"));
    assert!(!ask("X-Forwarded-For: 192.0.2.1\r\nAuthorization: Bearer wrong\r\n"));
    assert!(ask(&format!("X-Forwarded-For: 192.0.2.1\r\nAuthorization: bearer {TOKEN}\r\n")));
}

#[test]
fn scopes_are_what_was_asked_for() {
    let (_home, gateway) = gateway(json!({}));
    let hello = Hello { max: 4, ..Hello::default() };
    let mut client = Client::open(gateway.port);
    assert_eq!(client.hello(&hello, None)["payload"]["auth"]["scopes"], json!(ALL_SCOPES));
    let hello = Hello { max: 4, scopes: vec!["operator.read".into(), "made.up".into()], ..Hello::default() };
    let mut client = Client::open(gateway.port);
    assert_eq!(client.hello(&hello, None)["payload"]["auth"]["scopes"], json!(["operator.read", "made.up"]));
    assert_eq!(client.request("device.pair.list", json!({}))["error"]["message"], "missing scope: operator.pairing");
    let mut client = Client::open_with(gateway.port, &[("Host", "gw.example")]);
    let answer = client.hello(&hello, None);
    assert_eq!(answer["payload"]["auth"], json!({"method": "token", "role": "operator", "scopes": []}));
}

#[test]
fn device_tokens_guessed_through_the_other_field_are_counted() {
    let limit = json!({"maxAttempts": 2, "windowMs": 60000, "lockoutMs": 60000, "exemptLoopback": false});
    let auth = json!({"mode": "password", "password": "right", "rateLimit": limit});
    let (_home, gateway) = gateway(json!({"gateway": {"auth": auth}}));
    let device = Device::new();
    for code in ["AUTH_PASSWORD_MISSING", "AUTH_PASSWORD_MISSING", "AUTH_RATE_LIMITED"] {
        let error = refused(gateway.port, &[], &with_token("guess"), Some(&device));
        assert_eq!(error["details"]["code"], code);
    }
}

#[test]
fn switches_that_let_the_control_ui_in_without_a_device() {
    let ui = as_client("openclaw-control-ui", "webchat");
    let wrong = Hello { token: Some("wrong".into()), ..ui.clone() };
    let (near, far) = ([("Origin", "http://localhost:1")], [("Origin", "https://ui.example"), ("Host", "ui.example")]);
    for (switch, from_afar) in [("allowInsecureAuth", false), ("dangerouslyDisableDeviceAuth", true)] {
        let config = json!({"gateway": {"controlUi": {switch: true, "allowedOrigins": ["https://ui.example"]}}});
        let (_home, gateway) = gateway(config);
        assert!(has_scopes(&mut admitted(gateway.port, &near, &ui, None)), "{switch}");
        assert_eq!(attempt(gateway.port, &far, &ui, None).is_ok(), from_afar, "{switch}");
        // Neither is a way around the secret, nor for anybody else, nor for a node.
        assert_eq!(refused(gateway.port, &near, &wrong, None)["details"]["code"], "AUTH_TOKEN_MISMATCH");
        assert!(!has_scopes(&mut admitted(gateway.port, &near, &as_client("webchat-ui", "webchat"), None)));
        let node = Hello { role: "node".into(), ..ui.clone() };
        let code = refused(gateway.port, &near, &node, None)["details"]["code"].clone();
        assert_eq!(code, "CONTROL_UI_DEVICE_IDENTITY_REQUIRED", "{switch}");
    }
}

#[test]
fn tailscale_vouches_for_who_its_daemon_says_it_is() {
    let home = Home::new();
    home.configure(json!({"gateway": {"auth": {"allowTailscale": true}}}));
    let bin = home.path().join("bin");
    std::fs::create_dir_all(&bin).expect("a directory");
    let script = r#"#!/bin/sh
[ "$1 $2 $3" = "whois --json 100.64.0.7" ] && echo '{"UserProfile":{"LoginName":"Ann@example.com"}}'
"#;
    std::fs::write(bin.join("tailscale"), script).expect("a script");
    std::fs::set_permissions(bin.join("tailscale"), std::fs::Permissions::from_mode(0o755)).expect("ours");
    let gateway = Gateway::start_with(&home, &[], |c| {
        let path = std::env::var("PATH").unwrap_or_default();
        c.env("PATH", format!("{}:{path}", bin.display()));
    });
    let serve = [("X-Forwarded-Proto", "https"), ("X-Forwarded-Host", "gw.tail1.ts.net"), ("Host", "gw.tail1.ts.net")];
    let with = |more: &[(&'static str, &'static str)]| [&serve[..], more].concat();
    let (ann, bob) = (("Tailscale-User-Login", "ann@example.com"), ("Tailscale-User-Login", "bob@example.com"));
    let (known, unknown) = (("X-Forwarded-For", "100.64.0.7"), ("X-Forwarded-For", "100.64.0.8"));
    let nothing = Hello { max: 4, token: None, ..Hello::default() };
    let device = Device::new();
    for (headers, code) in [
        (with(&[known]), "AUTH_TOKEN_MISSING"),
        (with(&[bob, known]), "AUTH_TAILSCALE_IDENTITY_MISMATCH"),
        (with(&[ann, unknown]), "AUTH_TAILSCALE_WHOIS_FAILED"),
        (with(&[ann]), "AUTH_TAILSCALE_PROXY_MISSING"),
        // Let in by its word, but a new device from afar waits like any other.
        (with(&[ann, known]), "PAIRING_REQUIRED"),
    ] {
        assert_eq!(refused(gateway.port, &headers, &nothing, Some(&device))["details"]["code"], code, "{headers:?}");
    }
    let mut operator = admitted(gateway.port, &[], &Hello::default(), None);
    let list = operator.call("device.pair.list", json!({}));
    operator.call("device.pair.approve", json!({"requestId": list["pending"][0]["requestId"]}));
    let mut client = Client::open_with(gateway.port, &with(&[ann, known]));
    assert_eq!(client.hello(&nothing, Some(&device))["payload"]["auth"]["method"], "tailscale");
    // Without a device its word is no shared secret.
    let code = refused(gateway.port, &with(&[ann, known]), &nothing, None)["details"]["code"].clone();
    assert_eq!(code, "DEVICE_IDENTITY_REQUIRED");
}
