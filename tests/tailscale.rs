//! `tailscale serve` and `tailscale funnel` with a stand-in program that writes down what it is asked (cli 8).

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant};

use openclaw::sys::process::Sig;
use serde_json::{Value, json};

use crate::common::client::Client;
use crate::common::{Gateway, Home, wait_until};

const NAME: &str = r#"{"Self":{"DNSName":"pi.tail1234.ts.net.","TailscaleIPs":["100.64.0.1"]}}"#;

/// A home with a `tailscale` that runs `body` after writing its arguments down.
struct Stage {
    home: Home,
}

impl Stage {
    fn new(config: Value) -> Stage {
        let home = Home::new();
        home.configure(config);
        fs::create_dir_all(home.path().join("bin")).unwrap();
        let stage = Stage { home };
        stage.tailscale("exit 0");
        stage
    }

    fn tailscale(&self, body: &str) {
        self.program("tailscale", &format!("[ \"$1\" = status ] && echo '{NAME}'\n{body}"));
    }

    fn program(&self, name: &str, body: &str) {
        let path = self.home.path().join("bin").join(name);
        let asked = self.home.path().join("asked");
        // Replaced as a whole: the old one may be running.
        let fresh = path.with_extension("new");
        fs::write(&fresh, format!("#!/bin/sh\necho \"{name} $*\" >> {}\n{body}\n", asked.display())).unwrap();
        fs::set_permissions(&fresh, fs::Permissions::from_mode(0o755)).unwrap();
        fs::rename(fresh, path).unwrap();
    }

    fn start(&self, args: &[&str]) -> Gateway {
        Gateway::start_with(&self.home, args, |c| {
            c.env("PATH", format!("{}:/usr/bin:/bin", self.home.path().join("bin").display()));
        })
    }

    fn asked(&self) -> Vec<String> {
        let text = fs::read_to_string(self.home.path().join("asked")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    fn wait_asked(&self, line: &str) {
        wait_until(&format!("tailscale to be asked: {line}"), || self.asked().iter().any(|l| l == line));
    }
}

#[test]
fn serve_and_funnel_are_published_and_reset_on_exit() {
    for (mode, more, reset) in [
        ("serve", &["--tailscale-reset-on-exit"][..], true),
        ("serve", &[], false),
        ("funnel", &["--auth", "password", "--password", "hunter2hunter2", "--tailscale-reset-on-exit"], true),
    ] {
        let stage = Stage::new(json!({"gateway": {"controlUi": {"basePath": if reset { "" } else { "/ui" }}}}));
        let mut gateway = stage.start(&[&["--tailscale", mode], more].concat());
        let path = if reset { "/" } else { "/ui/" };
        gateway.wait_line(&format!(
            "[tailscale] {mode} enabled: https://pi.tail1234.ts.net{path} (WS via wss://pi.tail1234.ts.net)"
        ));
        let mut want = vec![
            "tailscale --version".to_owned(),
            format!("tailscale {mode} --bg --yes {}", gateway.port),
            "tailscale status --json".to_owned(),
        ];
        assert_eq!(stage.asked(), want);
        assert_eq!(gateway.stop(), Some(0));
        want.extend(reset.then(|| format!("tailscale {mode} reset")));
        assert_eq!(stage.asked(), want);
        assert!(!gateway.output().contains("without effect") && !gateway.output().contains("cleanup failed"));
    }
}

#[test]
fn a_port_that_speaks_tls_is_forwarded_to_as_one() {
    let config = |tls: bool| json!({"gateway": {"tailscale": {"mode": "serve"}, "tls": {"enabled": tls}}});
    let stage = Stage::new(config(true));
    let gateway = stage.start(&[]);
    let port = gateway.port;
    stage.wait_asked(&format!("tailscale serve --bg --yes https+insecure://127.0.0.1:{port}"));
    stage.home.configure(config(false));
    stage.wait_asked(&format!("tailscale serve --bg --yes {port}"));
}

#[test]
fn what_tailscale_cannot_do_is_a_warning_and_the_gateway_runs() {
    // Not there at all.
    let home = Home::new();
    home.configure(json!({"gateway": {"tailscale": {"mode": "serve", "resetOnExit": true}}}));
    let mut gateway = Gateway::start_with(&home, &[], |c| {
        c.env("PATH", home.path());
    });
    gateway.wait_line("[tailscale] serve failed: tailscale: No such file or directory");
    gateway.wait_line("[tailscale] install tailscale, or set gateway.tailscale.mode to off");
    Client::connect(gateway.port);
    assert_eq!(gateway.stop(), Some(0));
    assert!(!gateway.output().contains("cleanup"), "nothing was published");

    // There, and refusing.
    let stage = Stage::new(json!({"gateway": {"tailscale": {"mode": "serve"}}}));
    stage.tailscale("[ $1 = serve ] && echo 'Logged out.' >&2 && exit 1\nexit 0");
    let mut gateway = stage.start(&[]);
    gateway.wait_line("[tailscale] serve failed: Logged out.");
    Client::connect(gateway.port);
    assert_eq!(gateway.stop(), Some(0));

    // Refusing this user: once more with sudo, which does it …
    let stage = Stage::new(json!({"gateway": {"tailscale": {"mode": "serve", "resetOnExit": true}}}));
    stage.tailscale("[ $1 = serve ] && echo 'Access denied: serve config denied' >&2 && exit 1\nexit 0");
    stage.program("sudo", "exit 0");
    let mut gateway = stage.start(&[]);
    gateway.wait_line("[tailscale] serve enabled: https://pi.tail1234.ts.net/");
    assert_eq!(gateway.stop(), Some(0));
    let tool = stage.home.path().join("bin/tailscale").display().to_string();
    let by_sudo = [format!("sudo -n {tool} serve --bg --yes {}", gateway.port), format!("sudo -n {tool} serve reset")];
    let asked: Vec<String> = stage.asked().into_iter().filter(|line| line.starts_with("sudo")).collect();
    assert_eq!(asked, by_sudo);
    // … or does not.
    let stage = Stage::new(json!({"gateway": {"tailscale": {"mode": "serve"}}}));
    stage.tailscale("[ $1 = serve ] && echo 'Access denied: serve config denied' >&2 && exit 1\nexit 0");
    stage.program("sudo", "echo 'sudo: a password is required' >&2; exit 1");
    let mut gateway = stage.start(&[]);
    gateway.wait_line("[tailscale] serve failed: Access denied: serve config denied");
    gateway.wait_line("[tailscale] let this user do it, once: sudo tailscale set --operator=<user>");
    assert_eq!(gateway.stop(), Some(0));
}

#[test]
fn a_restart_keeps_what_stays_and_takes_back_what_goes() {
    let config = |mode: &str| json!({"gateway": {"tailscale": {"mode": mode, "resetOnExit": true}}});
    let stage = Stage::new(config("serve"));
    let mut gateway = stage.start(&[]);
    gateway.wait_line("[tailscale] serve enabled");
    let before = stage.asked();
    gateway.signal(Sig::Usr1);
    wait_until("the restart", || gateway.count_lines("listening on ws://") == 2);
    Client::connect(gateway.port);
    assert_eq!(stage.asked(), before, "an in-process restart that keeps it asks nothing");
    stage.home.configure(config("off"));
    stage.wait_asked("tailscale serve reset");
    wait_until("the second restart", || gateway.count_lines("listening on ws://") == 3);
    assert_eq!(gateway.count_lines("serve enabled"), 1);
    stage.home.configure(config("serve"));
    wait_until("the tailnet again", || gateway.count_lines("serve enabled") == 2);
    assert_eq!(gateway.stop(), Some(0));
    assert_eq!(stage.asked().iter().filter(|line| *line == "tailscale serve reset").count(), 2);
}

#[test]
fn a_tailscale_that_hangs_delays_neither_start_nor_stop() {
    let config = json!({"gateway": {"tailscale": {"mode": "serve", "resetOnExit": true}}});
    let stage = Stage::new(config.clone());
    // Publishing hangs; undoing works.
    stage.tailscale("[ $2 = --bg ] && exec sleep 600\nexit 0");
    let mut gateway = stage.start(&[]);
    Client::connect(gateway.port);
    stage.wait_asked(&format!("tailscale serve --bg --yes {}", gateway.port));
    let begun = Instant::now();
    assert_eq!(gateway.stop(), Some(0));
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    assert_eq!(stage.asked().last().unwrap(), "tailscale serve reset", "it may have been published");
    // Undoing hangs.
    let stage = Stage::new(config);
    stage.tailscale("[ $2 = reset ] && exec sleep 600\nexit 0");
    let mut gateway = stage.start(&[]);
    gateway.wait_line("[tailscale] serve enabled");
    let begun = Instant::now();
    assert_eq!(gateway.stop(), Some(0));
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    gateway.wait_line("[tailscale] serve cleanup failed: tailscale serve reset did not end within 3 s");
    // A second signal does not wait for it.
    let mut gateway = stage.start(&[]);
    gateway.wait_line("[tailscale] serve enabled");
    let begun = Instant::now();
    gateway.signal(Sig::Term);
    gateway.wait_line("received SIGTERM; shutting down");
    gateway.signal(Sig::Term);
    assert_eq!(gateway.wait_exit().code(), Some(0));
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
}
