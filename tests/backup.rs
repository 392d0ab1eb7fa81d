//! `openclaw backup`: what is saved comes back, damage is noticed, and no instant leaves a gateway without its state.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};

use crate::common::{Gateway, Home, finish, stderr, stdout};

/// A state with something of everything.
fn lived_in(home: &Home) {
    assert!(home.run(&["setup"]).status.success());
    let state = home.state();
    fs::create_dir_all(state.join("agents/main/sessions")).expect("a directory");
    fs::create_dir_all(state.join("empty")).expect("a directory");
    fs::create_dir_all(state.join("logs")).expect("a directory");
    for (name, text) in [
        ("agents/main/sessions/s.jsonl", "{\"type\":\"session\"}\n"),
        ("logs/gateway.log", "noise"),
        ("agents/main/sessions/sessions.json.lock", "{}"),
        (".openclaw.json.1-0a1b2c3d.tmp", "half"),
        ("workspace/SOUL.md", "mine"),
    ] {
        fs::write(state.join(name), text).expect(name);
    }
    let long = state.join("workspace").join("ä".repeat(80)).join("b".repeat(90));
    fs::create_dir_all(long.parent().expect("a parent")).expect("a directory");
    fs::write(long, vec![7; 70_000]).expect("a file");
    fs::write(state.join("workspace/run.sh"), "#!/bin/sh\n").expect("a file");
    fs::set_permissions(state.join("workspace/run.sh"), fs::Permissions::from_mode(0o700)).expect("a mode");
    std::os::unix::fs::symlink("/etc/passwd", state.join("workspace/link")).expect("a link");
}

fn create(home: &Home, more: &[&str]) -> PathBuf {
    let archive = home.path().join("b.tar");
    let _ = fs::remove_file(&archive);
    let output = home.run(&[&["backup", "create", "--output", "~/b.tar"], more].concat());
    assert!(output.status.success(), "{}", stderr(&output));
    archive
}

/// Every file below a directory with its content and mode.
fn tree(directory: &Path) -> Vec<(String, Vec<u8>, u32)> {
    let mut found = Vec::new();
    let mut todo = vec![directory.to_owned()];
    while let Some(next) = todo.pop() {
        for entry in fs::read_dir(next).expect("a directory").flatten() {
            let (path, meta) = (entry.path(), fs::symlink_metadata(entry.path()).expect("metadata"));
            let name = path.strip_prefix(directory).expect("inside").display().to_string();
            if meta.is_dir() {
                found.push((format!("{name}/"), Vec::new(), meta.permissions().mode()));
                todo.push(path);
            } else if meta.is_file() {
                found.push((name, fs::read(&path).expect("a file"), meta.permissions().mode()));
            }
        }
    }
    found.sort();
    found
}

#[test]
fn what_is_saved_comes_back_somewhere_else() {
    let home = Home::new();
    lived_in(&home);
    let archive = create(&home, &["--verify"]);
    assert_eq!(fs::metadata(&archive).expect("a backup").permissions().mode() & 0o777, 0o600);
    let listed = stdout(&finish(home.program("tar", &["-tf", archive.to_str().expect("text")])));
    assert!(listed.contains("state/agents/main/sessions/s.jsonl\n") && listed.ends_with("manifest.json\n"), "{listed}");
    assert!(!listed.contains("gateway.log") && !listed.contains(".lock") && !listed.contains(".tmp"), "{listed}");
    let other = Home::new();
    let to = other.path().join("b.tar");
    fs::copy(&archive, &to).expect("a copy");
    let output = other.run(&["backup", "restore", to.to_str().expect("text")]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(stdout(&output).lines().next(), Some("Restored ~/.openclaw"));
    let wanted: Vec<_> = tree(&home.state())
        .into_iter()
        .filter(|(name, ..)| !name.starts_with("logs/") && !name.ends_with(".lock") && !name.ends_with(".tmp"))
        .collect();
    assert_eq!(tree(&other.state()), wanted);
    assert!(stdout(&other.run(&["config", "validate"])).starts_with("Config valid"));
    let told: Value =
        serde_json::from_slice(&home.run(&["backup", "verify", "--json", "~/b.tar"]).stdout).expect("JSON");
    assert_eq!(told["skipped"], json!([{"name": "state/workspace/link", "reason": "a link; links are not followed"}]));
    let again = home.run(&["backup", "create", "--output", "~/b.tar"]);
    assert!(stderr(&again).contains("a backup replaces nothing"), "{}", stderr(&again));
}

#[test]
fn a_state_in_use_is_kept_beside_and_a_running_gateway_protects_it() {
    let home = Home::new();
    lived_in(&home);
    create(&home, &[]);
    fs::write(home.state().join("workspace/SOUL.md"), "newer").expect("a file");
    let refused = home.run(&["backup", "restore", "~/b.tar"]);
    assert_eq!(stderr(&refused).lines().count(), 2, "{}", stderr(&refused));
    assert!(stderr(&refused).contains("--force"), "{}", stderr(&refused));
    let mut gateway = Gateway::start(&home, &[]);
    let running = home.run(&["backup", "restore", "--force", "~/b.tar"]);
    assert_eq!(running.status.code(), Some(1));
    assert!(stderr(&running).contains("gateway already running (pid"), "{}", stderr(&running));
    assert!(stderr(&running).contains("openclaw gateway stop"), "{}", stderr(&running));
    // Nor is one overlooked whose lock lies elsewhere: a service has a TMPDIR of its own.
    for args in [&["backup", "restore", "--force", "~/b.tar"][..], &["reset", "--scope", "full", "--yes"]] {
        let mut elsewhere = home.command(args);
        elsewhere.env("TMPDIR", home.path());
        let elsewhere = finish(elsewhere);
        assert_eq!(elsewhere.status.code(), Some(1), "{args:?}");
        assert!(stderr(&elsewhere).contains("as another user or with another TMPDIR"), "{}", stderr(&elsewhere));
    }
    // A gateway that runs does not keep from saving.
    create(&home, &["--verify"]);
    assert_eq!(gateway.stop(), Some(0));
    fs::write(home.state().join("workspace/SOUL.md"), "newest").expect("a file");
    let output = home.run(&["backup", "restore", "--force", "~/b.tar", "--json"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let told: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let kept = told["restored"][0]["previous"].as_str().expect("a safety copy");
    assert!(kept.contains(".openclaw.before-restore-"), "{kept}");
    let soul = |state: &Path| fs::read_to_string(state.join("workspace/SOUL.md")).expect("a file");
    assert_eq!((soul(&home.state()), soul(Path::new(kept))), ("newer".into(), "newest".into()));
    assert_eq!(Gateway::start(&home, &[]).stop(), Some(0));
}

#[test]
fn an_interrupted_restore_leaves_one_of_the_two_states() {
    let home = Home::new();
    lived_in(&home);
    for number in 0..300 {
        fs::write(home.state().join(format!("workspace/{number}")), vec![1; 3000]).expect("a file");
    }
    create(&home, &[]);
    let mut killed = 0;
    for round in 0..20 {
        fs::write(home.state().join("workspace/SOUL.md"), "newer").expect("a file");
        let mut command = home.command(&["backup", "restore", "--force", "~/b.tar"]);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the binary");
        // Spread over the time that it takes, so that some fall before, some into and some behind the swap.
        std::thread::sleep(Duration::from_millis(round * 8));
        killed += u32::from(child.try_wait().expect("a child").is_none());
        let _ = child.kill();
        child.wait().expect("a child");
        assert!(stdout(&home.run(&["config", "validate"])).starts_with("Config valid"), "round {round}");
        let soul = fs::read_to_string(home.state().join("workspace/SOUL.md")).expect("a whole state");
        assert!(soul == "newer" || soul == "mine", "round {round}: {soul}");
        let files = fs::read_dir(home.state().join("workspace")).expect("a directory").count();
        assert!(files >= 300, "round {round}: {files}");
    }
    assert!(killed > 0, "no round came in between");
}

/// A tar file of one's own making.
fn forged(names: &[(&str, u8)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, kind) in names {
        let mut head = [0_u8; 512];
        head[..name.len()].copy_from_slice(name.as_bytes());
        head[100..107].copy_from_slice(b"0000600");
        head[124..135].copy_from_slice(b"00000000000");
        head[148..156].copy_from_slice(b"        ");
        head[156] = *kind;
        head[157..168].copy_from_slice(b"/etc/passwd");
        head[257..262].copy_from_slice(b"ustar");
        let sum: u32 = head.iter().map(|byte| u32::from(*byte)).sum();
        head[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        out.extend(head);
    }
    out.extend([0; 1024]);
    out
}

/// The same with a right manifest: every file is empty.
fn forged_whole(names: &[&str], places: &Value) -> Vec<u8> {
    let nothing = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    let files: Vec<Value> = names.iter().map(|name| json!({"name": name, "bytes": 0, "sha256": nothing})).collect();
    let text = json!({
        "format": 1, "createdAt": "2026-11-21T00:00:00Z", "version": "x", "onlyConfig": false, "config": "config",
        "places": places, "files": files, "skipped": [],
    });
    let text = text.to_string();
    let list: Vec<(&str, u8)> = names.iter().map(|name| (*name, b'0')).collect();
    let mut out = forged(&list);
    out.truncate(out.len() - 1024);
    let mut last = forged(&[("manifest.json", b'0')]);
    last.truncate(512);
    last[124..135].copy_from_slice(format!("{:011o}", text.len()).as_bytes());
    last[148..156].copy_from_slice(b"        ");
    let sum: u32 = last.iter().map(|byte| u32::from(*byte)).sum();
    last[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    out.extend(last);
    out.extend(text.as_bytes());
    out.resize(out.len().next_multiple_of(512) + 1024, 0);
    out
}

#[test]
fn what_a_backup_says_of_places_moves_nothing_elsewhere() {
    let home = Home::new();
    lived_in(&home);
    let before = tree(&home.state());
    let evil = home.path().join("evil");
    let places = json!({"state": evil, "config": evil, "include/a.json": evil, "credentials": evil});
    // Names that lead elsewhere are refused, with a right sum as well.
    for wrong in ["include/.ssh/a.json", "include/run.sh", "include/../a.json", "credentials/../a", "config/a", "etc/a"]
    {
        fs::write(home.path().join("b.tar"), forged_whole(&["state/a", wrong], &places)).expect("a file");
        for args in [&["backup", "verify", "~/b.tar"][..], &["backup", "restore", "--force", "~/b.tar"]] {
            let output = home.run(args);
            assert_eq!(output.status.code(), Some(1), "{wrong}");
            assert!(stderr(&output).contains("leads elsewhere"), "{wrong}: {}", stderr(&output));
        }
    }
    // A file where a directory has to be: nothing of it comes.
    fs::write(home.path().join("b.tar"), forged_whole(&["state/a", "state/a/b"], &places)).expect("a file");
    let output = home.run(&["backup", "restore", "--force", "~/b.tar"]);
    assert_eq!(output.status.code(), Some(1), "{}", stdout(&output));
    assert!(stderr(&output).starts_with("Nothing was restored"), "{}", stderr(&output));
    assert!(tree(&home.state()) == before, "something was changed");
    // The places of this profile are used, not those that it names.
    let names = ["state/a", "config", "include/a.json", "credentials/x"];
    fs::write(home.path().join("b.tar"), forged_whole(&names, &places)).expect("a file");
    assert!(home.run(&["backup", "verify", "~/b.tar"]).status.success());
    let output = home.run(&["backup", "restore", "--force", "~/b.tar"]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(!evil.exists());
    let mut there: Vec<String> = tree(&home.state()).into_iter().map(|(name, ..)| name).collect();
    there.sort();
    assert_eq!(there, ["a", "a.json", "credentials/", "credentials/x", "openclaw.json"]);
}

#[test]
fn credentials_and_included_files_that_lie_elsewhere() {
    let home = Home::new();
    let run = |home: &Home, args: &[&str]| {
        let mut command = home.command(args);
        command.env("OPENCLAW_CONFIG_PATH", home.path().join("etc/claw.json"));
        command.env("OPENCLAW_OAUTH_DIR", home.path().join("keys"));
        finish(command)
    };
    let files = [
        ("etc/claw.json", "{ gateway: { mode: 'local', $include: ['./parts/gateway.json', './odd.conf'] } }"),
        ("etc/parts/gateway.json", "{ port: 4711, $include: './deep.json' }"),
        ("etc/parts/deep.json", "{ auth: { token: 'a-token-in-an-included-file-0123' } }"),
        ("etc/odd.conf", "{ bind: 'loopback' }"),
        ("etc/not-ours.json", "{}"),
        ("keys/oauth.json", "{}"),
        ("keys/whatsapp/a/creds.json", "{\"k\":1}"),
        (".openclaw/credentials/old.json", "{}"),
        (".openclaw/identity/device.json", "{}"),
    ];
    for (name, text) in files {
        let path = home.path().join(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        fs::write(&path, text).expect(name);
    }
    assert_eq!(stdout(&run(&home, &["config", "get", "gateway.port"])), "4711\n");
    let output = run(&home, &["backup", "create", "--verify", "--output", "~/b.tar"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let said = stdout(&output);
    assert!(said.contains("Left out: include/odd.conf (its name does not end in .json)"), "{said}");
    assert!(said.contains("Left out: state/credentials (OPENCLAW_OAUTH_DIR names another directory)"), "{said}");
    let other = Home::new();
    fs::copy(home.path().join("b.tar"), other.path().join("b.tar")).expect("a copy");
    let output = run(&other, &["backup", "restore", "~/b.tar"]);
    assert!(output.status.success(), "{}", stderr(&output));
    for (name, text) in &files {
        let there = fs::read_to_string(other.path().join(name)).ok();
        let comes = !["etc/odd.conf", "etc/not-ours.json", ".openclaw/credentials/old.json"].contains(name);
        assert_eq!(there.as_deref(), comes.then_some(*text), "{name}");
    }
    // Once more over it: what was there is kept, also of the credentials.
    fs::write(other.path().join("keys/oauth.json"), "{\"newer\":1}").expect("a file");
    let refused = run(&other, &["backup", "restore", "~/b.tar"]);
    assert!(stderr(&refused).contains("--force"), "{}", stderr(&refused));
    let output = run(&other, &["backup", "restore", "--force", "--json", "~/b.tar"]);
    let told: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let kept = told["restored"]
        .as_array()
        .expect("places")
        .iter()
        .find_map(|place| place["path"].as_str()?.ends_with("/keys").then(|| place["previous"].as_str())?);
    let kept = Path::new(kept.expect("the old credentials")).join("oauth.json");
    assert_eq!(fs::read_to_string(kept).expect("a file"), "{\"newer\":1}");
    // A profile with all in one place takes them in.
    let whole = Home::new();
    fs::copy(home.path().join("b.tar"), whole.path().join("b.tar")).expect("a copy");
    let output = whole.run(&["backup", "restore", "~/b.tar"]);
    assert!(output.status.success(), "{}", stderr(&output));
    for name in ["openclaw.json", "parts/deep.json", "credentials/oauth.json", "identity/device.json"] {
        assert!(whole.state().join(name).is_file(), "{name}");
    }
    // The configuration alone brings its parts.
    let alone = Home::new();
    assert!(run(&home, &["backup", "create", "--only-config", "--output", "~/c.tar"]).status.success());
    fs::copy(home.path().join("c.tar"), alone.path().join("c.tar")).expect("a copy");
    fs::create_dir_all(alone.path().join("etc")).expect("a directory");
    fs::write(alone.path().join("etc/odd.conf"), "{}").expect("a file");
    let output = run(&alone, &["backup", "restore", "~/c.tar"]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(alone.path().join("etc/parts/deep.json").is_file() && !alone.path().join("keys").exists());
    // A directory that holds everything is no directory of credentials.
    let mut command = home.command(&["backup", "create"]);
    command.env("OPENCLAW_OAUTH_DIR", home.path());
    assert!(stderr(&finish(command)).contains("much more than credentials"));
}

#[test]
fn a_refused_configuration_leaves_no_parts_behind() {
    let home = Home::new();
    home.configure(json!({}));
    let before = fs::read_to_string(home.config_path()).expect("a configuration");
    let other = Home::new();
    other.write_config("{ $include: './part.json' }");
    fs::write(other.state().join("part.json"), "{ gateway: { mode: 'local' } }").expect("a file");
    assert!(other.run(&["backup", "create", "--only-config", "--output", "~/b.tar"]).status.success());
    fs::copy(other.path().join("b.tar"), home.path().join("b.tar")).expect("a copy");
    // Another writer of ours works on the file.
    let directory = fs::File::open(home.state()).expect("a directory");
    directory.lock().expect("a lock");
    let output = home.run(&["backup", "restore", "--force", "~/b.tar"]);
    assert_eq!(output.status.code(), Some(1), "{}", stdout(&output));
    assert!(!home.state().join("part.json").exists());
    assert_eq!(fs::read_to_string(home.config_path()).expect("a configuration"), before);
}

#[test]
fn damaged_and_hostile_backups_change_nothing() {
    let home = Home::new();
    lived_in(&home);
    let archive = create(&home, &[]);
    let good = fs::read(&archive).expect("a backup");
    let at = good.windows(4).position(|bytes| bytes == b"mine").expect("the text of a file");
    let mut flipped = good.clone();
    flipped[at] ^= 1;
    let before = tree(&home.state());
    for (bytes, why) in [
        (flipped, "state/workspace/SOUL.md is not as it was saved"),
        (good[..good.len() / 2].to_vec(), "it ends too early"),
        (b"nonsense".repeat(200), "not a tar file"),
        (forged(&[("../evil", b'0')]), "leads elsewhere"),
        (forged(&[("/etc/evil", b'0')]), "leads elsewhere"),
        (forged(&[("state/a", b'0'), ("state/a", b'0')]), "in it twice"),
        (forged(&[("state/a", b'1')]), "neither file nor directory"),
        (forged(&[("state/a", b'2')]), "neither file nor directory"),
        (forged(&[("state/a", b'3')]), "neither file nor directory"),
        (forged(&[("state/a", b'L')]), "neither file nor directory"),
        (forged(&[("state/a", b'g')]), "neither file nor directory"),
        (forged(&[("state/a", b'0')]), "it has no manifest"),
    ] {
        fs::write(&archive, bytes).expect("a file");
        for args in [&["backup", "verify", "~/b.tar"][..], &["backup", "restore", "--force", "~/b.tar"]] {
            let output = home.run(args);
            assert_eq!(output.status.code(), Some(1), "{why}");
            assert!(stderr(&output).contains(why), "{why}: {}", stderr(&output));
            assert!(stdout(&output).is_empty());
        }
    }
    assert!(tree(&home.state()) == before, "something was changed");
    assert!(!home.path().join("evil").exists());
    let beside = fs::read_dir(home.path()).expect("a directory").flatten();
    assert!(!beside.into_iter().any(|entry| entry.file_name().to_string_lossy().contains(".restoring-")));
}

#[test]
fn the_configuration_alone_and_parts_that_lie_elsewhere() {
    let home = Home::new();
    lived_in(&home);
    let text = fs::read_to_string(home.config_path()).expect("a configuration");
    create(&home, &["--only-config"]);
    assert!(home.run(&["config", "set", "gateway.port", "4711"]).status.success());
    assert!(home.run(&["backup", "restore", "--force", "~/b.tar"]).status.success());
    assert_eq!(stdout(&home.run(&["config", "get", "gateway.auth.token"])), "__OPENCLAW_REDACTED__\n");
    assert!(!fs::read_to_string(home.config_path()).expect("a configuration").contains("4711"), "{text}");
    // Configuration and workspace outside the state directory.
    let elsewhere = Home::new();
    let run = |args: &[&str]| {
        let mut command = elsewhere.command(args);
        command.env("OPENCLAW_CONFIG_PATH", elsewhere.path().join("etc/claw.json"));
        finish(command)
    };
    assert!(run(&["setup", "--workspace", "~/agent"]).status.success());
    fs::create_dir_all(elsewhere.state()).expect("a directory");
    assert!(run(&["backup", "create", "--output", "~/b.tar"]).status.success());
    fs::remove_dir_all(elsewhere.path().join("agent")).expect("the workspace goes");
    fs::remove_dir_all(elsewhere.path().join("etc")).expect("the configuration goes");
    fs::remove_dir_all(elsewhere.state()).expect("the state goes");
    let lost = run(&["backup", "restore", "~/b.tar"]);
    assert!(stderr(&lost).contains("--workspace"), "{}", stderr(&lost));
    let output = run(&["backup", "restore", "~/b.tar", "--workspace", "~/agent"]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(elsewhere.path().join("agent/SOUL.md").is_file() && elsewhere.path().join("etc/claw.json").is_file());
}

#[test]
fn a_dry_run_and_an_impossible_place() {
    let home = Home::new();
    assert!(stderr(&home.run(&["backup", "create"])).contains("nothing to save"));
    lived_in(&home);
    let dry = home.run(&["backup", "create", "--dry-run", "--output", "~/b.tar"]);
    assert!(stdout(&dry).contains("[dry-run] save state/openclaw.json\n"), "{}", stdout(&dry));
    assert!(!home.path().join("b.tar").exists());
    let inside = home.run(&["backup", "create", "--output", "~/.openclaw/b.tar"]);
    assert!(stderr(&inside).contains("lies in what is to be saved"), "{}", stderr(&inside));
    let missing = home.run(&["backup", "verify", "~/none.tar"]);
    assert!(stderr(&missing).starts_with("~/none.tar cannot be read"), "{}", stderr(&missing));
}
