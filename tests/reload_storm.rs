//! Random edits of the configuration against a running gateway that has a client. `OPENCLAW_STORM_EDITS` and
//! `OPENCLAW_STORM_SEED` make it longer and another one (contrib/interop/reload-storm.sh).

use std::fs::{self, File};
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use openclaw::sys::process::Sig;
use serde_json::{Value, json};

use crate::common::client::{Client, Hello};
use crate::common::{Gateway, Home, TOKEN, wait_until};
use crate::reload::LISTENING;

/// Numbers that only look random.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % n
    }

    fn pause(&mut self, most_ms: usize) {
        thread::sleep(Duration::from_millis(self.below(most_ms) as u64));
    }
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(default)
}

/// Generation `n`: everything in it that a client can see tells `n`, in the main file and in the included one.
/// `restarts` is of the class that needs a restart.
fn generation(n: usize, restarts: usize) -> (String, String) {
    let main = json!({
        "gateway": {
            "mode": "local", "auth": {"mode": "token", "token": TOKEN}, "reload": {"debounceMs": 0},
            "trustedProxies": [format!("10.0.0.{}", restarts % 250 + 1)],
        },
        "agents": {
            "list": [{"id": "main", "name": format!("gen-{n}")}, {"id": "second", "name": format!("gen-{n}")}],
            "defaults": {"$include": "part.json", "contextTokens": 10_000 + n},
        },
        "models": {"providers": {"mock": {
            "baseUrl": "http://127.0.0.1:9/v1", "apiKey": "k", "models": [{"id": format!("gen-{n}"), "name": "x"}],
        }}},
        "ui": {"assistant": {"name": format!("gen-{n}")}},
    });
    let part = json!({"model": {"primary": format!("mock/gen-{n}")}});
    (format!("{main:#}"), format!("{part:#}"))
}

/// A client that looks all the time and never sees two generations in one answer.
fn watch(port: u16, stop: &AtomicBool, seen: &AtomicUsize, looks: &AtomicUsize) {
    let mut client: Option<Client> = None;
    while !stop.load(Ordering::SeqCst) {
        let Some(connected) = &mut client else {
            // Between two lives a newcomer waits and is not refused; only a connection may end.
            let come = std::panic::catch_unwind(|| {
                let mut client = Client::open(port);
                (client.hello(&Hello::default(), None)["ok"] == true).then_some(client)
            });
            client = come.ok().flatten();
            continue;
        };
        let looked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            ["agents.list", "sessions.list", "config.get"].map(|method| connected.request(method, json!({})))
        }));
        let Ok(answers) = looked else {
            client = None;
            continue;
        };
        if answers.iter().any(|answer| answer["ok"] != true) {
            // Refused in the last moments of a life.
            assert!(answers.iter().all(|a| a["ok"] == true || a["error"]["code"] == "UNAVAILABLE"), "{answers:?}");
            continue;
        }
        let [agents, sessions, config] = answers.map(|answer| answer["payload"].clone());
        let names: Vec<&str> = agents["agents"].as_array().unwrap().iter().filter_map(|a| a["name"].as_str()).collect();
        assert_eq!(names.len(), 2, "{agents}");
        assert_eq!(names[0], names[1]);
        let tokens = sessions["defaults"]["contextTokens"].as_u64().unwrap() - 10_000;
        assert_eq!(sessions["defaults"]["model"], format!("gen-{tokens}"), "{}", sessions["defaults"]);
        in_one_file(&config);
        seen.store(names[0].trim_start_matches("gen-").parse().unwrap(), Ordering::SeqCst);
        looks.fetch_add(1, Ordering::SeqCst);
    }
}

/// The file as it is just now: whole, or not valid, or (which is valid) empty.
fn in_one_file(answer: &Value) {
    if answer["valid"] != true || answer["exists"] != true || answer["parsed"] == json!({}) {
        return;
    }
    let config = &answer["config"];
    let name = &config["ui"]["assistant"]["name"];
    assert!(name.is_string() && *name == config["agents"]["list"][1]["name"], "{config}");
    let tokens = config["agents"]["defaults"]["contextTokens"].as_u64().unwrap() - 10_000;
    assert_eq!(*name, format!("gen-{tokens}"));
}

struct Editor {
    main: PathBuf,
    part: PathBuf,
    random: Random,
    generation: usize,
    restarts: usize,
}

impl Editor {
    /// One edit of a random kind. Some are broken; the next good one mends them.
    fn edit(&mut self, gateway: &Gateway) {
        let kind = self.random.below(12);
        self.generation += 1;
        if kind == 0 {
            self.restarts += 1;
        }
        let (main, part) = generation(self.generation, self.restarts);
        let first_part = self.random.below(2) == 0;
        if first_part {
            fs::write(&self.part, &part).unwrap();
        }
        match kind {
            0..=2 => fs::write(&self.main, &main).unwrap(),
            3 => {
                let other = self.main.with_file_name("sedAb3");
                fs::write(&other, &main).unwrap();
                fs::rename(&other, &self.main).unwrap();
            }
            4 => self.in_pieces(&main),
            5 => fs::write(&self.main, &main[..self.random.below(main.len())]).unwrap(),
            6 => fs::write(&self.main, main.replace("\"ui\"", "\"uii\"")).unwrap(),
            7 => fs::write(&self.main, ["", "\n", "{}"][self.random.below(3)]).unwrap(),
            8 => {
                let _ = fs::remove_file(&self.main);
                self.random.pause(800);
                fs::write(&self.main, &main).unwrap();
            }
            9 => {
                fs::write(&self.main, &main).unwrap();
                fs::write(&self.part, &part[..self.random.below(part.len())]).unwrap();
                self.random.pause(400);
            }
            10 => {
                let backup = self.main.with_file_name("openclaw.json~");
                let _ = fs::rename(&self.main, &backup);
                fs::write(&self.main, &main).unwrap();
            }
            _ => {
                fs::write(&self.main, &main).unwrap();
                if first_part {
                    // Both are whole now: reading at once is allowed to find them so.
                    gateway.signal(Sig::Hup);
                }
            }
        }
        if !first_part || kind == 9 {
            fs::write(&self.part, &part).unwrap();
        }
        self.random.pause(450);
    }

    fn in_pieces(&mut self, text: &str) {
        let mut file = File::create(&self.main).unwrap();
        let mut rest = text.as_bytes();
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(1 + self.random.below(rest.len()));
            file.write_all(piece).unwrap();
            rest = after;
            self.random.pause(120);
        }
    }

    fn mend(&mut self) {
        self.generation += 1;
        let (main, part) = generation(self.generation, self.restarts);
        fs::write(&self.part, part).unwrap();
        fs::write(&self.main, main).unwrap();
    }
}

#[test]
fn random_edits_never_show_half_a_configuration_and_never_lose_the_gateway() {
    let (edits, seed) = (number("OPENCLAW_STORM_EDITS", 50), number("OPENCLAW_STORM_SEED", 7));
    let home = Home::new();
    fs::create_dir_all(home.state()).unwrap();
    let mut editor = Editor {
        main: home.config_path(),
        part: home.state().join("part.json"),
        random: Random(seed | 1),
        generation: 0,
        restarts: 0,
    };
    editor.mend();
    let mut gateway = Gateway::start(&home, &[]);
    let (port, pid) = (gateway.port, gateway.pid());
    let stop = Arc::new(AtomicBool::new(false));
    let (seen, looks) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let watcher = {
        let (stop, seen, looks) = (stop.clone(), seen.clone(), looks.clone());
        thread::spawn(move || watch(port, &stop, &seen, &looks))
    };
    for n in 1..=edits {
        editor.edit(&gateway);
        assert!(gateway.is_running(), "edit {n} of seed {seed}:\n{}", gateway.output());
        assert!(!watcher.is_finished(), "edit {n} of seed {seed}: the client saw what it must not see");
        if n % 10 == 0 || n == edits {
            // What is whole is in force in the end, whatever was there before.
            editor.mend();
            let (wanted, restarts) = (editor.generation, editor.restarts);
            wait_until(&format!("generation {wanted} of seed {seed}"), || {
                watcher.is_finished() || seen.load(Ordering::SeqCst) == wanted
            });
            assert!(gateway.count_lines(LISTENING) <= restarts + 1, "no restart without a reason");
        }
    }
    stop.store(true, Ordering::SeqCst);
    watcher.join().expect("the client never saw two generations in one answer");
    assert!(looks.load(Ordering::SeqCst) as u64 > edits);
    assert_eq!(gateway.pid(), pid);
    assert_eq!(gateway.stop(), Some(0));
}
