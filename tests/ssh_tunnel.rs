//! `gateway probe --ssh` with an ssh of our own in PATH (cli 4.5).
#![cfg(unix)]

use std::fs;
use std::io::copy;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Output};
use std::thread;

use openclaw::sys::process;
use serde_json::{Value, json};

use crate::common::{Gateway, Home, TOKEN, finish, free_port, stderr, stdout, wait_for, wait_until};

/// A machine with this script for ssh, which finds its place in `$HOME`; its gateway port is `port`.
fn machine(port: u16, script: &str, remote: Value) -> Home {
    let home = Home::new();
    home.configure(json!({"gateway": {"port": port, "remote": remote}}));
    let bin = home.path().join("bin");
    fs::create_dir_all(&bin).unwrap();
    fs::write(
        bin.join("ssh"),
        format!("#!/bin/sh\necho \"$$ $*\" > \"$HOME/new\"; mv \"$HOME/new\" \"$HOME/call\"\n{script}\n"),
    )
    .unwrap();
    fs::set_permissions(bin.join("ssh"), fs::Permissions::from_mode(0o755)).unwrap();
    home
}

fn probe(home: &Home, args: &str) -> Command {
    let mut all = vec!["gateway", "probe"];
    all.extend(args.split(' '));
    let mut command = home.command(&all);
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{}:{path}", home.path().join("bin").display()));
    command
}

/// Process and arguments of the ssh that was called.
fn call(home: &Home) -> (u32, String) {
    let text = wait_for("a call of ssh", || fs::read_to_string(home.path().join("call")).ok());
    let (pid, arguments) = text.trim().split_once(' ').unwrap();
    (pid.parse().unwrap(), arguments.to_owned())
}

/// What ssh would do: its end of the tunnel leads to this port.
fn forward(arguments: &str, to: u16) -> u16 {
    let local = arguments.split("-L 127.0.0.1:").nth(1).and_then(|rest| rest.split(':').next()).unwrap();
    let listener = TcpListener::bind(("127.0.0.1", local.parse().unwrap())).unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for near in listener.incoming().flatten() {
            let Ok(far) = TcpStream::connect(("127.0.0.1", to)) else { continue };
            let (mut near_in, mut far_out) = (near.try_clone().unwrap(), far.try_clone().unwrap());
            thread::spawn(move || {
                copy(&mut near_in, &mut far_out).and_then(|_| far_out.shutdown(std::net::Shutdown::Write))
            });
            let (mut far_in, mut near_out) = (far, near);
            thread::spawn(move || {
                copy(&mut far_in, &mut near_out).and_then(|_| near_out.shutdown(std::net::Shutdown::Both))
            });
        }
    });
    port
}

fn target<'a>(document: &'a Value, id: &str) -> &'a Value {
    document["targets"].as_array().unwrap().iter().find(|t| t["id"] == id).unwrap_or(&Value::Null)
}

fn warning(output: &Output) -> String {
    let document: Value = serde_json::from_str(&stdout(output)).unwrap_or_else(|e| panic!("{e}: {}", stderr(output)));
    assert_eq!(target(&document, "sshTunnel"), &Value::Null);
    assert_eq!(document["warnings"][0]["code"], "ssh_tunnel_failed", "{document}");
    document["warnings"][0]["message"].as_str().unwrap().to_owned()
}

#[test]
fn a_gateway_behind_a_tunnel_is_probed_and_the_tunnel_ends() {
    let there = Home::new();
    there.configure(json!({}));
    let gateway = Gateway::start(&there, &[]);
    let near = free_port();
    // The second one has to be killed.
    for (script, args, login) in [
        (
            "exec sleep 600",
            "--ssh pi@box:2222 --ssh-identity ~/.ssh/id --json --timeout 20000",
            "-p 2222 -i HOME/.ssh/id -o IdentitiesOnly=yes -- pi@box",
        ),
        ("trap '' TERM; while :; do sleep 1; done", "--ssh-auto --json --timeout 20000", "-p 22 -- ann@remote.example"),
    ] {
        let home = machine(near, script, json!({"token": TOKEN, "sshTarget": "ann@remote.example"}));
        let command = probe(&home, args);
        let running = thread::spawn(move || finish(command));
        let (pid, arguments) = call(&home);
        let local = forward(&arguments, gateway.port);
        let output = running.join().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        let want = format!(
            "-N -T -L 127.0.0.1:{local}:127.0.0.1:{near} -o BatchMode=yes -o ExitOnForwardFailure=yes \
             -o StrictHostKeyChecking=yes -o ControlMaster=no -o ControlPath=none -o ConnectTimeout=19 {login}"
        );
        assert_eq!(arguments, want.replace("HOME", &home.path().display().to_string()));
        assert!(!arguments.contains(TOKEN));
        let document: Value = serde_json::from_str(&stdout(&output)).unwrap();
        let through = target(&document, "sshTunnel");
        assert_eq!(
            (&through["connect"]["ok"], &through["connect"]["rpcOk"]),
            (&json!(true), &json!(true)),
            "{through}"
        );
        assert_eq!(through["url"], format!("ws://127.0.0.1:{local}"));
        let shown = if args.contains("2222") { "pi@box:2222" } else { "ann@remote.example" };
        let told = json!({"kind": "ssh", "target": shown, "localPort": local, "remotePort": near, "pid": pid});
        assert_eq!(through["tunnel"], told);
        assert_eq!(document["primaryTargetId"], "sshTunnel");
        assert_eq!(target(&document, "localLoopback")["tunnel"], Value::Null);
        wait_until("the end of ssh", || !process::alive(pid));
    }
}

#[test]
fn the_page_names_the_tunnel() {
    let there = Home::new();
    there.configure(json!({}));
    let gateway = Gateway::start(&there, &[]);
    let near = free_port();
    let home = machine(near, "exec sleep 600", json!({}));
    let command = probe(&home, &format!("--ssh pi@box --token {TOKEN} --timeout 20000"));
    let running = thread::spawn(move || finish(command));
    let local = forward(&call(&home).1, gateway.port);
    let text = stdout(&running.join().unwrap());
    let want = format!(
        "\nTargets\nRemote over SSH ws://127.0.0.1:{local}\n  SSH: pi@box (port {near} there)\n  Connect: ok ("
    );
    assert!(text.contains(&want), "{text}");
    assert!(text.contains("\n\nDiscovery (this machine)\nFound "), "{text}");
}

#[test]
fn a_tunnel_that_fails_is_explained_and_the_others_are_asked() {
    let there = Home::new();
    there.configure(json!({}));
    let gateway = Gateway::start(&there, &[]);
    let failed = "SSH tunnel failed to start; falling back to direct probes. ";
    let refused = "echo 'Warning: something' >&2; echo 'pi@box: Permission denied (publickey).' >&2; exit 255";
    for (script, args, why) in [
        (refused, "--ssh pi@box --json", "pi@box: pi@box: Permission denied (publickey)."),
        ("exit 3", "--ssh pi@box --json", "pi@box: ssh ended with exit status: 3"),
        ("exec sleep 600", "--ssh pi@box --json --timeout 1500", "pi@box: ssh did not connect in time"),
    ] {
        let home = machine(gateway.port, script, json!({"token": TOKEN}));
        let output = finish(probe(&home, args));
        assert_eq!(output.status.code(), Some(0), "the local one answers: {}", stderr(&output));
        assert_eq!(warning(&output), format!("{failed}{why}"));
        let (pid, _) = call(&home);
        wait_until("the end of ssh", || !process::alive(pid));
    }
    let home = machine(gateway.port, "", json!({}));
    fs::remove_file(home.path().join("bin/ssh")).unwrap();
    let mut without = probe(&home, "--ssh pi@box --json");
    without.env("PATH", home.path().join("bin"));
    assert_eq!(warning(&finish(without)), format!("{failed}there is no ssh in PATH; install an OpenSSH client"));
    let mut nobody = probe(&home, "--ssh-auto --json --timeout 300");
    nobody.env("OPENCLAW_MDNS_ADDRESS", "127.0.0.1:9");
    assert!(warning(&finish(nobody)).contains("no target for --ssh-auto: "));
    for (args, said) in [
        ("--ssh -oProxyCommand=x", "Gateway probe failed: not a target for ssh: \"-oProxyCommand=x\"\n"),
        ("--ssh-identity x", "Gateway probe failed: --ssh-identity is a key for --ssh\n"),
    ] {
        let output = finish(probe(&home, args));
        assert_eq!(output.status.code(), Some(1));
        assert!(stderr(&output).starts_with(said), "{}", stderr(&output));
    }
}
