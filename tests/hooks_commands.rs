//! `openclaw hooks` and `openclaw webhooks`: what there is, whether it works, what a request would do.

use std::fs;

use serde_json::{Value, json};

use crate::common::{Home, stderr, stdout};
use crate::hooks::{HOOK, config, script, words};

/// A command that must end with this code: what it wrote.
fn command(home: &Home, code: i32, args: &[&str]) -> String {
    let output = home.run(args);
    assert_eq!(output.status.code(), Some(code), "{args:?}: {}{}", stdout(&output), stderr(&output));
    stdout(&output) + &stderr(&output)
}

#[test]
fn commands_show_what_there_is_and_what_a_request_would_do() {
    let (home, model) = (Home::new(), words());
    script(&home, "null", "echo null");
    script(&home, "bad", "exit 1");
    let more = json!({"gateway": {"port": 4711}, "hooks": {"presets": ["gmail", "nope"], "mappings": [
        {"id": "door", "match": {"path": "door"}, "action": "wake", "textTemplate": "Door: {{state}} {{query.q}} {{headers.x-a}}"},
        {"id": "gone", "match": {"path": "gone"}, "messageTemplate": "x", "agentId": "ghost", "transform": {"command": "missing"}},
        {"id": "again", "match": {"path": "door"}, "messageTemplate": "x"},
        {"id": "skip", "match": {"path": "skip"}, "transform": {"command": "null"}},
        {"id": "bad", "match": {"path": "bad"}, "transform": {"command": "bad"}},
    ]}});
    home.write_config(&config(&model, more).to_string());
    let parsed = |text: String| serde_json::from_str::<Value>(&text).unwrap_or_else(|e| panic!("{e}: {text}"));

    let list = command(&home, 0, &["hooks", "list"]);
    for text in
        ["Webhooks (6/8 ready)", "✓ ready", "× broken", "/hooks/door", "gmail", "Tells the main session", "built in"]
    {
        assert!(list.contains(text), "{text}: {list}");
    }
    let list = parsed(command(&home, 0, &["hooks", "list", "--eligible", "--json"]));
    let names: Vec<&str> =
        list["hooks"].as_array().unwrap().iter().map(|hook| hook["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["wake", "agent", "door", "skip", "bad", "gmail"]);
    assert_eq!((&list["enabled"], &list["url"]), (&json!(true), &json!("http://127.0.0.1:4711/hooks")));

    let info = command(&home, 0, &["hooks", "info", "door"]);
    assert!(info.contains("URL: http://127.0.0.1:4711/hooks/door\n") && info.contains("-d @payload.json '"), "{info}");
    assert!(
        !info.contains(HOOK) && command(&home, 1, &["hooks", "info", "x"]).starts_with("There is no webhook \"x\"")
    );

    let check = parsed(command(&home, 1, &["hooks", "check", "--json"]));
    let problems: Vec<String> = check["problems"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| format!("{}: {}", p["hook"].as_str().unwrap(), p["problem"].as_str().unwrap()))
        .collect();
    assert_eq!(
        problems,
        [
            "hooks: there is no preset \"nope\" (there is gmail)",
            "gone: ~/.openclaw/hooks/transforms/missing: there is no such file",
            "gone: there is no agent \"ghost\"",
            "again: is never reached: door takes its requests",
        ]
    );

    let payload = home.path().join("p.json");
    fs::write(&payload, "{\"state\":\"open\"}").unwrap();
    let payload = payload.display().to_string();
    let door = ["hooks", "test", "door", "--payload", &payload, "--header", "X-A: b", "--query", "q=1", "--json"];
    let door = parsed(command(&home, 0, &door));
    assert_eq!(
        (&door["hook"], &door["status"], &door["text"]),
        (&json!("door"), &json!(200), &json!("Door: open 1 b"))
    );
    let skip = parsed(command(&home, 0, &["hooks", "test", "skip", "--json"]));
    assert_eq!((&skip["status"], &skip["action"]), (&json!(204), &json!("nothing")));
    let bad = parsed(command(&home, 1, &["hooks", "test", "bad", "--json"]));
    assert_eq!((&bad["status"], &bad["error"]), (&json!(500), &json!("transform bad failed: exit status: 1")));
    assert!(command(&home, 1, &["hooks", "test", "nobody"]).contains("Answer: 404 \"Not Found\"\nRefused: no mapping"));
    let whole = command(&home, 0, &["hooks", "test", "/hooks/skip", "--json"]);
    assert_eq!(parsed(whole)["hook"], "skip", "with the beginning that all paths have");
    let gmail = command(&home, 0, &["hooks", "test", "gmail", "--payload", &payload]);
    assert!(
        gmail.contains("session hook:gmail: (kept)") && gmail.contains("Source: Email\n---\nNew email from"),
        "{gmail}"
    );
    assert!(
        command(&home, 1, &["hooks", "test", "wake", "--payload", "/nonexistent"]).contains("--payload /nonexistent: ")
    );

    for (args, text) in [
        (&["hooks", "enable", "boot-md"][..], "no hooks that run inside it"),
        (&["hooks", "disable", "boot-md"], "nothing was changed"),
        (&["hooks", "install", "pack", "--pin"], "Packs of hooks are JavaScript"),
        (&["hooks", "update", "--all"], "transform.command"),
        (&["webhooks", "gmail", "setup", "--account", "a@example.com"], "http://127.0.0.1:4711/hooks/gmail"),
        (&["webhooks", "gmail", "run"], "Listening to Gmail is not part of this gateway"),
    ] {
        let said = command(&home, 1, args);
        assert!(said.contains(text), "{args:?}: {said}");
    }
    let gmail = parsed(command(&home, 1, &["webhooks", "gmail", "setup", "--account", "a@example.com", "--json"]));
    assert_eq!(gmail["ok"], false);
    assert_eq!(model.served(), 0, "nothing was done");
}

#[test]
fn check_says_which_sessions_every_request_would_be_refused_for() {
    let (home, model) = (Home::new(), words());
    fs::create_dir_all(home.state().join("hooks/transforms/own")).unwrap();
    script(&home, "own/where", "pwd >&2; exit 1");
    let more = json!({"hooks": {"transformsDir": "own", "allowedSessionKeyPrefixes": ["hook:", "agent:"],
    "defaultSessionKey": "agent:ghost:x", "mappings": [
        {"id": "outside", "match": {"path": "a"}, "messageTemplate": "x", "sessionKey": "mine"},
        {"id": "ghost", "match": {"path": "b"}, "messageTemplate": "x", "sessionKey": "agent:ghost:y"},
        {"id": "other", "match": {"path": "c"}, "messageTemplate": "x", "sessionKey": "agent:ghost:y", "agentId": "main"},
        {"id": "good", "match": {"path": "d"}, "messageTemplate": "x", "sessionKey": "hook:{{id}}"},
        {"id": "where", "match": {"path": "e"}, "transform": {"command": "where"}},
    ]}});
    home.write_config(&config(&model, more).to_string());
    let said = command(&home, 1, &["hooks", "check"]);
    for line in [
        "× hooks: defaultSessionKey agent:ghost:x: unknown agentId \"ghost\"\n",
        "× outside: sessionKey must start with one of: hook:, agent:\n",
        "× ghost: unknown agentId \"ghost\"\n",
        "× other: agentId \"main\" does not match the agent of sessionKey\n",
    ] {
        assert!(said.contains(line), "{line}{said}");
    }
    assert!(!said.contains("× good") && !said.contains("× where"), "{said}");
    // A program stands where it lies: its files are beside it.
    let there = command(&home, 1, &["hooks", "test", "e"]);
    assert!(there.contains("hooks/transforms/own\n"), "{there}");
}
