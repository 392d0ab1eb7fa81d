//! `gateway.mode=remote`: the commands of this machine use the gateway of another one (cli 2.3, 4.1).

use serde_json::{Value, json};

use crate::common::{Gateway, Home, TOKEN, finish, free_port, stderr, stdout};

const INSECURE_URL: &str = r#"Gateway call failed: Error: SECURITY ERROR: Gateway URL "ws://192.0.2.9:18789" uses plaintext ws:// to a non-loopback address.
Both credentials and chat data would be exposed to network interception.
Source: cli --url
Config: ~/.openclaw/openclaw.json
Fix: Use wss:// for remote gateway URLs.
Safe remote access defaults:
- keep gateway.bind=loopback and use an SSH tunnel (ssh -N -L 18789:127.0.0.1:18789 user@gateway-host)
- or use Tailscale Serve/Funnel for HTTPS remote access
Break-glass (trusted private networks only): set OPENCLAW_ALLOW_INSECURE_PRIVATE_WS=1
Doctor: openclaw doctor --fix
"#;

/// A machine whose gateway is elsewhere.
fn elsewhere(remote: Value) -> Home {
    let home = Home::new();
    home.write_config(&json!({"gateway": {"mode": "remote", "remote": remote}}).to_string());
    home
}

#[test]
fn commands_use_the_configured_gateway_with_its_token() {
    let there = Home::new();
    there.configure(json!({}));
    let mut gateway = Gateway::start(&there, &[]);
    let url = format!("ws://127.0.0.1:{}", gateway.port);
    let here = elsewhere(json!({"url": url, "token": TOKEN}));
    let health = here.run(&["health", "--json"]);
    assert!(health.status.success(), "{}", stderr(&health));
    let health: Value = serde_json::from_slice(&health.stdout).expect("JSON");
    assert_eq!(health["ok"], true);
    let probe = here.run(&["gateway", "probe", "--json"]);
    let probe: Value = serde_json::from_slice(&probe.stdout).expect("JSON");
    let remote = probe["targets"].as_array().unwrap().iter().find(|t| t["id"] == "configRemote").unwrap();
    assert_eq!(
        (&remote["url"], &remote["active"], &remote["connect"]["ok"]),
        (&json!(url), &json!(true), &json!(true))
    );
    let status = stdout(&here.run(&["status"]));
    assert!(status.contains("remote · ws://127.0.0.1"), "{status}");
    // The wrong token is not helped by one that this machine has for itself.
    let here = elsewhere(json!({"url": url, "token": "wrong-0123456789"}));
    let mut command = here.command(&["gateway", "call", "health"]);
    command.env("OPENCLAW_GATEWAY_TOKEN", TOKEN);
    let refused = finish(command);
    assert_eq!(refused.status.code(), Some(1));
    assert!(stderr(&refused).contains("unauthorized: gateway token mismatch"), "{}", stderr(&refused));
    assert!(stderr(&refused).contains("Source: config gateway.remote.url"), "{}", stderr(&refused));
    assert_eq!(gateway.stop(), Some(0));
}

#[test]
fn a_tunnel_that_is_not_open_is_named() {
    let port = free_port();
    let url = format!("ws://127.0.0.1:{port}");
    let here =
        elsewhere(json!({"url": url, "token": TOKEN, "sshTarget": "pi@box:2222", "sshIdentity": "~/.ssh/id_pi"}));
    let down = here.run(&["gateway", "call", "health"]);
    assert_eq!(down.status.code(), Some(1));
    let want = format!("Tunnel: ssh -N -L {port}:127.0.0.1:18789 -i ~/.ssh/id_pi -p 2222 pi@box");
    assert!(stderr(&down).contains(&want), "{}", stderr(&down));
}

#[test]
fn plain_addresses_across_a_network_and_wrong_fingerprints_are_refused() {
    let refused = |home: &Home, args: &[&str]| {
        let output = home.run(args);
        assert_eq!(output.status.code(), Some(1), "{}", stdout(&output));
        stderr(&output)
    };
    // As recorded, but for the line that leads to the reference's web site.
    let home = Home::new();
    home.configure(json!({}));
    let said = refused(&home, &["gateway", "call", "health", "--url", "ws://192.0.2.9:18789", "--token", "x"]);
    assert_eq!(said, INSECURE_URL);
    let here = elsewhere(json!({"url": "ws://192.0.2.9:18789", "token": TOKEN, "sshTarget": "pi@192.0.2.9"}));
    let said = refused(&here, &["gateway", "call", "health"]);
    assert!(said.contains("SECURITY ERROR: Gateway URL \"ws://192.0.2.9:18789\" uses plaintext ws://"), "{said}");
    assert!(said.contains("\nSource: config gateway.remote.url\n"), "{said}");
    assert!(said.contains("(ssh -N -L 18789:127.0.0.1:18789 pi@192.0.2.9)"), "{said}");
    assert!(!said.contains(TOKEN), "{said}");
    let here = elsewhere(json!({"url": "wss://box.example", "token": TOKEN, "tlsFingerprint": "ab:cd"}));
    let said = refused(&here, &["gateway", "call", "health"]);
    assert!(said.contains("gateway.remote.tlsFingerprint is no SHA-256 fingerprint: \"ab:cd\""), "{said}");
    let here = elsewhere(json!({"token": TOKEN}));
    let said = refused(&here, &["gateway", "call", "health"]);
    assert!(said.contains("gateway remote mode misconfigured: gateway.remote.url missing"), "{said}");
    assert!(said.contains("Fix: set gateway.remote.url, or set gateway.mode=local."), "{said}");
}

#[test]
fn no_gateway_starts_in_mode_remote() {
    let here = elsewhere(json!({"url": "ws://127.0.0.1:18789"}));
    let output = here.run(&["gateway"]);
    assert_eq!(output.status.code(), Some(1));
    let said = stderr(&output);
    assert!(
        said.contains("Gateway start blocked: set gateway.mode=local (current: remote) or pass --allow-unconfigured.")
    );
    assert!(said.contains("Config write audit: ~/.openclaw/logs/config-audit.jsonl"), "{said}");
}
