//! `openclaw qr` and what becomes of its codes: a scripted phone comes in with one (protocol 2.5 e and 2.6).

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::thread;

use base64::Engine as _;
use qrcodegen::{QrCode, QrCodeEcc};
use serde_json::{Value, json};

use crate::common::client::{Client, Device, End, Hello};
use crate::common::{Gateway, Home, TOKEN, finish, stderr, stdout, wait_until};

/// Makes a caller of this machine a remote one.
const FAR: &[(&str, &str)] = &[("Host", "gateway.example")];
const PHONE_SCOPES: [&str; 4] = ["operator.approvals", "operator.read", "operator.talk.secrets", "operator.write"];
const INVALID: (&str, &str) =
    ("AUTH_BOOTSTRAP_TOKEN_INVALID", "unauthorized: bootstrap token invalid or expired (scan a fresh setup code)");

fn gateway(config: Value) -> (Home, Gateway) {
    let home = Home::new();
    home.configure(config);
    let gateway = Gateway::start(&home, &[]);
    (home, gateway)
}

/// A code made by the command; its token.
fn token(home: &Home) -> String {
    let output = home.run(&["qr", "--setup-code-only", "--url", "ws://127.0.0.1:1"]);
    assert!(output.status.success(), "{}", stderr(&output));
    decode(stdout(&output).trim())["bootstrapToken"].as_str().expect("a token").to_owned()
}

fn decode(code: &str) -> Value {
    let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(code).expect("base64url without padding");
    serde_json::from_slice(&bytes).expect("JSON")
}

fn phone(token: &str) -> Hello {
    Hello {
        client_id: "openclaw-ios".into(),
        mode: "node".into(),
        role: "node".into(),
        scopes: Vec::new(),
        token: None,
        bootstrap_token: Some(token.to_owned()),
        ..Hello::default()
    }
}

fn operator(scopes: &[&str]) -> Hello {
    let scopes = scopes.iter().map(|scope| (*scope).to_owned()).collect();
    Hello { client_id: "openclaw-ios".into(), mode: "ui".into(), scopes, token: None, ..Hello::default() }
}

fn with_code(token: &str, scopes: &[&str]) -> Hello {
    Hello { bootstrap_token: Some(token.to_owned()), ..operator(scopes) }
}

fn with_device_token(token: &Value, hello: Hello) -> Hello {
    Hello { device_token: Some(token.as_str().expect("a token").to_owned()), bootstrap_token: None, ..hello }
}

/// Connects from afar: the payload of hello-ok, or the error.
fn try_connect(port: u16, hello: &Hello, device: &Device) -> Result<(Client, Value), Value> {
    let mut client = Client::open_with(port, FAR);
    let answer = client.hello(hello, Some(device));
    if answer["ok"] == true { Ok((client, answer["payload"].clone())) } else { Err(answer["error"].clone()) }
}

fn connect(port: u16, hello: &Hello, device: &Device) -> (Client, Value) {
    try_connect(port, hello, device).unwrap_or_else(|error| panic!("refused: {error}"))
}

/// Code and message of the refusal.
fn refused(port: u16, hello: &Hello, device: &Device) -> (String, String) {
    let error = try_connect(port, hello, device).map(|(_, hello)| hello).expect_err("should be refused");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    (text(&error["details"]["code"]), text(&error["message"]))
}

fn is_invalid(port: u16, hello: &Hello, device: &Device, case: &str) {
    let (code, message) = refused(port, hello, device);
    assert_eq!((code.as_str(), message.as_str()), INVALID, "{case}");
}

fn state_file(home: &Home, name: &str) -> Value {
    let text = fs::read_to_string(home.state().join("devices").join(name)).expect(name);
    serde_json::from_str(&text).expect("JSON")
}

fn wait_spent(home: &Home) {
    wait_until("the code to be spent", || state_file(home, "bootstrap.json") == json!({}));
}

#[test]
fn a_phone_comes_in_with_a_code_and_stays_with_tokens_of_its_own() {
    let (home, gateway) = gateway(json!({}));
    let mut watcher = Client::connect(gateway.port);
    let url = format!("ws://127.0.0.1:{}", gateway.port);
    let output = home.run(&["qr", "--json", "--url", &url]);
    let page: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", stderr(&output)));
    assert_eq!(page.as_object().unwrap().keys().collect::<Vec<_>>(), ["setupCode", "gatewayUrl", "auth", "urlSource"]);
    assert_eq!(
        (&page["gatewayUrl"], &page["auth"], &page["urlSource"]),
        (&json!(url), &json!("token"), &json!("--url"))
    );
    let code = decode(page["setupCode"].as_str().unwrap());
    assert_eq!(code.as_object().unwrap().keys().collect::<Vec<_>>(), ["url", "bootstrapToken"]);
    assert_eq!(code["url"], json!(url));
    assert!(!code.to_string().contains(TOKEN));
    let token = code["bootstrapToken"].as_str().unwrap();

    // What it waited for before it was scanned is not let in with it.
    let device = Device::new();
    let asks = Hello { token: Some(TOKEN.into()), ..operator(&["operator.admin"]) };
    assert_eq!(refused(gateway.port, &asks, &device).0, "PAIRING_REQUIRED");

    let (_node, hello) = connect(gateway.port, &Hello { max: 4, ..phone(token) }, &device);
    let auth = &hello["auth"];
    assert_eq!(
        (&auth["method"], &auth["role"], &auth["scopes"]),
        (&json!("bootstrap-token"), &json!("node"), &json!([]))
    );
    let other = &auth["deviceTokens"];
    assert_eq!(other.as_array().unwrap().len(), 1);
    assert_eq!((&other[0]["role"], &other[0]["scopes"]), (&json!("operator"), &json!(PHONE_SCOPES)));
    let event = watcher.event("device.pair.resolved");
    assert_eq!(
        (&event["payload"]["deviceId"], &event["payload"]["decision"]),
        (&json!(device.id()), &json!("approved"))
    );
    gateway.wait_line(&format!("device pairing auto-approved device={} role=node by its setup code", device.id()));
    let record = &state_file(&home, "paired.json")[device.id()];
    assert_eq!((&record["role"], &record["approvedScopes"]), (&json!("node"), &json!(PHONE_SCOPES)));
    assert_eq!(record["roles"], json!(["node", "operator"]));
    assert_eq!(state_file(&home, "pending.json"), json!({}));

    wait_spent(&home);
    is_invalid(gateway.port, &phone(token), &device, "a replay");
    is_invalid(gateway.port, &phone(token), &Device::new(), "a replay by another device");
    connect(gateway.port, &with_device_token(&auth["deviceToken"], phone("")), &device);
    let token = &other[0]["deviceToken"];
    let (mut client, _) = connect(gateway.port, &with_device_token(token, operator(&["operator.read"])), &device);
    assert_eq!(client.request("status", json!({}))["ok"], true);
    connect(gateway.port, &with_device_token(token, operator(&PHONE_SCOPES)), &device);
    let (code, _) = refused(gateway.port, &with_device_token(token, operator(&["operator.admin"])), &device);
    assert_eq!(code, "AUTH_DEVICE_TOKEN_MISMATCH");
    for secret in [token.as_str().unwrap(), auth["deviceToken"].as_str().unwrap()] {
        assert!(!home.log_text().contains(secret) && !gateway.output().contains(secret));
    }
}

#[test]
fn a_code_is_for_one_device_and_for_what_it_asked_first() {
    let (home, gateway) = gateway(json!({}));
    let port = gateway.port;
    let mut boss = Client::connect(port);
    is_invalid(port, &phone("guess"), &Device::new(), "no such code");

    // One of many at once.
    let code = token(&home);
    let won = thread::scope(|scope| {
        let racers: Vec<_> = (0..6)
            .map(|_| {
                let code = &code;
                scope.spawn(move || try_connect(port, &phone(code), &Device::new()).map(|_| ()))
            })
            .collect();
        let results: Vec<_> = racers.into_iter().map(|racer| racer.join().expect("a racer")).collect();
        for error in results.iter().filter_map(|result| result.as_ref().err()) {
            assert_eq!(error["details"]["code"], INVALID.0);
        }
        results.into_iter().filter(Result::is_ok).count()
    });
    assert_eq!(won, 1);
    wait_spent(&home);
    assert_eq!(state_file(&home, "paired.json").as_object().unwrap().len(), 1);

    // Over.
    let code = token(&home);
    let mut file = state_file(&home, "bootstrap.json");
    for key in ["ts", "issuedAtMs"] {
        let made = file[&code][key].as_u64().expect("a time");
        file[&code][key] = json!(made - 600_001);
    }
    fs::write(home.state().join("devices/bootstrap.json"), file.to_string()).unwrap();
    is_invalid(port, &phone(&code), &Device::new(), "ten minutes later");

    // An operator is asked about; meanwhile nobody else has the code, and it is good for nothing more.
    let (code, device) = (token(&home), Device::new());
    is_invalid(port, &with_code(&code, &["operator.admin"]), &device, "more than a code is worth");
    let asks = with_code(&code, &["operator.read"]);
    let error = try_connect(port, &asks, &device).map(|_| ()).expect_err("has to wait");
    assert_eq!(
        (&error["details"]["code"], &error["details"]["reason"]),
        (&json!("PAIRING_REQUIRED"), &json!("not-paired"))
    );
    is_invalid(port, &with_code(&code, &["operator.read", "operator.write"]), &device, "more than it asked for");
    is_invalid(port, &phone(&code), &Device::new(), "another device");
    let pending = &boss.call("device.pair.list", json!({}))["pending"][0];
    assert_eq!(pending["scopes"], json!(["operator.read"]));
    boss.call("device.pair.approve", json!({"requestId": error["details"]["requestId"]}));
    let (_client, hello) = connect(port, &asks, &device);
    assert_eq!(hello["auth"]["scopes"], json!(["operator.read"]));
    wait_spent(&home);

    // Who is rejected needs another code.
    let (code, device) = (token(&home), Device::new());
    let asks = with_code(&code, &["operator.read"]);
    let error = try_connect(port, &asks, &device).map(|_| ()).expect_err("has to wait");
    boss.call("device.pair.reject", json!({"requestId": error["details"]["requestId"]}));
    is_invalid(port, &asks, &device, "rejected");
}

#[test]
fn guesses_are_counted() {
    let limit = json!({"maxAttempts": 3, "exemptLoopback": false});
    let (home, gateway) = gateway(json!({"gateway": {"auth": {"rateLimit": limit}}}));
    let code = token(&home);
    for _ in 0..3 {
        is_invalid(gateway.port, &phone("guess"), &Device::new(), "a guess");
    }
    assert_eq!(refused(gateway.port, &phone(&code), &Device::new()).0, "AUTH_RATE_LIMITED", "the right one, too late");
    assert!(state_file(&home, "bootstrap.json")[&code]["deviceId"].is_null(), "it was not looked at");
}

#[test]
fn commands_at_the_same_time_lose_no_code() {
    let home = Home::new();
    home.configure(json!({}));
    let codes: Vec<String> = thread::scope(|scope| {
        let runs: Vec<_> = (0..6).map(|_| scope.spawn(|| token(&home))).collect();
        runs.into_iter().map(|run| run.join().expect("a run")).collect()
    });
    let file = state_file(&home, "bootstrap.json");
    assert_eq!(file.as_object().unwrap().len(), 6);
    assert!(codes.iter().all(|code| file[code]["token"] == code.as_str()));
    let path = home.state().join("devices/bootstrap.json");
    assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::read_dir(home.state().join("devices")).unwrap().count(), 1, "no lock, nothing half written");
}

/// The modules of a printed picture, light ones as false: without the quiet zone, which must be light.
fn modules(picture: &[&str]) -> Vec<Vec<bool>> {
    let mut rows = Vec::new();
    for line in picture {
        let halves = |upper: bool| {
            let dark = move |c| match c {
                '█' => false,
                '▀' => !upper,
                '▄' => upper,
                ' ' => true,
                other => panic!("{other:?} in the picture"),
            };
            line.chars().map(dark).collect::<Vec<bool>>()
        };
        rows.extend([halves(true), halves(false)]);
    }
    let (width, end) = (rows[0].len(), rows[0].len() - 4);
    for (y, row) in rows.iter().enumerate().take(width) {
        assert_eq!(row.len(), width);
        let quiet = |x: usize| !(4..end).contains(&x) || !(4..end).contains(&y);
        assert!((0..width).filter(|x| quiet(*x)).all(|x| !row[x]), "a dark module in the quiet zone");
    }
    rows[4..end].iter().map(|row| row[4..end].to_vec()).collect()
}

#[test]
fn what_is_printed_can_be_scanned() {
    let home = Home::new();
    home.configure(json!({}));
    let url = "wss://gateway.example:8443";
    let run = |args: &[&str], colours: bool| {
        let mut command = home.command(&[&["qr", "--url", url], args].concat());
        if colours {
            command.env("FORCE_COLOR", "1");
        }
        let output = finish(command);
        assert!(output.status.success() && output.stderr.is_empty(), "{}", stderr(&output));
        stdout(&output)
    };
    let text = run(&[], false);
    assert!(!text.contains('\u{1b}'), "no colours into a pipe");
    let is_picture = |line: &&str| line.contains(['█', '▀', '▄']);
    let picture: Vec<&str> = text.lines().filter(is_picture).collect();
    assert!(picture.iter().all(|line| line.chars().count() <= 80), "{text}");
    let code = text.lines().find_map(|line| line.strip_prefix("Setup code: ")).expect("the code as text");
    let expected = QrCode::encode_text(code, QrCodeEcc::Low).expect("it fits");
    let size = expected.size();
    let expected: Vec<Vec<bool>> = (0..size).map(|y| (0..size).map(|x| expected.get_module(x, y)).collect()).collect();
    assert!(modules(&picture) == expected, "another picture than that of the code:\n{text}");
    assert_eq!(decode(code)["url"], url);
    for part in
        ["Pairing QR\n", "\nGateway: wss://gateway.example:8443\nAuth: token\nSource: --url\n", "within 10 minutes"]
    {
        assert!(text.contains(part), "{part:?}\n{text}");
    }
    let coloured = run(&[], true);
    let lines: Vec<&str> = coloured.lines().filter(is_picture).collect();
    assert_eq!(lines.len(), picture.len());
    assert!(lines.iter().all(|line| line.starts_with("\u{1b}[97;40m") && line.ends_with("\u{1b}[0m")), "{coloured}");
    let plain = run(&["--no-ascii"], false);
    assert!(!plain.lines().any(|line| is_picture(&line)) && plain.contains("Setup code: "), "{plain}");
    let only = run(&["--setup-code-only"], false);
    assert_eq!((only.lines().count(), &decode(only.trim())["url"]), (1, &json!(url)));
}

#[test]
fn addresses_of_a_configuration_and_what_no_phone_can_reach() {
    let home = Home::new();
    let bin = home.path().join("bin");
    fs::create_dir_all(&bin).unwrap();
    let tailscale = bin.join("tailscale");
    fs::write(&tailscale, "#!/bin/sh\necho '{\"Self\":{\"DNSName\":\"pi.tail1234.ts.net.\"}}'\n").unwrap();
    fs::set_permissions(&tailscale, fs::Permissions::from_mode(0o755)).unwrap();
    let run = |config: Value, args: &[&str]| {
        home.configure(config);
        let mut command: Command = home.command(&[&["qr", "--json"], args].concat());
        command.env("PATH", format!("{}:/usr/bin:/bin", bin.display()));
        let output = finish(command);
        let page: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        (output.status.code(), page, stderr(&output))
    };
    let public =
        json!({"plugins": {"entries": {"device-pair": {"config": {"publicUrl": "https://public.example/ws"}}}}});
    let serve = json!({"gateway": {"tailscale": {"mode": "serve"}, "remote": {"url": "wss://far.example"}}});
    let custom = json!({"gateway": {"bind": "custom", "customBindHost": "10.0.0.3", "port": 4711}});
    let password = json!({"gateway": {"auth": {"mode": "password", "password": "hunter2hunter2"}}});
    for (config, args, url, source, auth) in [
        (public, &[][..], "wss://public.example", "plugins.entries.device-pair.config.publicUrl", "token"),
        (serve.clone(), &[], "wss://pi.tail1234.ts.net", "gateway.tailscale.mode=serve", "token"),
        (serve, &["--remote", "--password", "x"], "wss://far.example", "gateway.remote.url", "password"),
        (custom, &[], "ws://10.0.0.3:4711", "gateway.bind=custom", "token"),
        (password, &["--public-url", "wss://a.example"], "wss://a.example", "--public-url", "password"),
    ] {
        let (status, page, err) = run(config.clone(), args);
        assert_eq!(status, Some(0), "{config} {args:?}: {err}");
        let said = (&page["gatewayUrl"], &page["urlSource"], &page["auth"]);
        assert_eq!(said, (&json!(url), &json!(source), &json!(auth)), "{config} {args:?}");
        assert_eq!(decode(page["setupCode"].as_str().unwrap())["url"], url);
    }
    let codes = fs::read_to_string(home.state().join("devices/bootstrap.json")).unwrap();
    for (config, args, said) in [
        (json!({}), &[][..], "listens on this machine only (gateway.bind=loopback): no phone can reach it\nAt home: "),
        (json!({}), &["--url", "ws://192.0.2.9:18789"], "unencrypted to ws://192.0.2.9:18789 (from --url)"),
        (json!({}), &["--url", "ftp://x"], "--url is not the address of a gateway: \"ftp://x\"\n"),
        (json!({}), &["--remote"], "--remote needs gateway.remote.url, or gateway.tailscale.mode serve or funnel\n"),
        (json!({}), &["--token", "a", "--password", "b"], "--token and --password exclude each other\n"),
        (json!({"gateway": {"mode": "remote", "remote": {"url": "wss://x"}}}), &[], "Run openclaw qr there."),
        (json!({"gateway": {"auth": {"mode": "none"}}}), &["--url", "wss://x"], "The gateway has no token or password"),
    ] {
        let (status, _, err) = run(config.clone(), args);
        assert_eq!(status, Some(1), "{config} {args:?}");
        assert!(err.contains(said) && err.lines().count() >= 2, "{config} {args:?}: {err}");
    }
    let other = home.path().join(".openclaw-p");
    fs::create_dir_all(&other).unwrap();
    fs::write(other.join("openclaw.json"), json!({"gateway": {"auth": {"token": TOKEN}}}).to_string()).unwrap();
    let err = stderr(&home.run(&["--profile", "p", "qr"]));
    assert!(err.contains("At home: openclaw --profile p config set gateway.bind lan."), "{err}");
    let after = fs::read_to_string(home.state().join("devices/bootstrap.json")).unwrap();
    assert_eq!(after, codes, "no code was made for nothing");
}

#[test]
fn a_code_does_not_survive_a_broken_store() {
    let (home, gateway) = gateway(json!({}));
    let code = token(&home);
    let path = home.state().join("devices/bootstrap.json");
    fs::write(&path, "{\"half").unwrap();
    is_invalid(gateway.port, &phone(&code), &Device::new(), "a damaged file");
    let code = token(&home);
    let aside = |entry: &fs::DirEntry| entry.file_name().to_string_lossy().starts_with("bootstrap.json.corrupt-");
    let entries = fs::read_dir(home.state().join("devices")).unwrap().flatten();
    assert_eq!(entries.filter(aside).count(), 1, "kept for whoever wants to look");
    let (mut client, _) = connect(gateway.port, &phone(&code), &Device::new());
    wait_spent(&home);
    drop(gateway);
    assert!(matches!(client.end(), End::Gone | End::Close(..)));
}
