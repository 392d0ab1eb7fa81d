//! Signals and restarts that cross.

use std::thread;
use std::time::{Duration, Instant};

use openclaw::sys::process::{self, Sig};
use serde_json::json;

use super::{LISTENING, configured};
use crate::common::client::Client;
use crate::common::model::{Model, Play};
use crate::common::{Gateway, Home, finish, wait_until};

/// Nothing takes longer than the budget of a stop.
const BUDGET: Duration = Duration::from_secs(5);

fn storm(gateway: &Gateway, signals: usize) {
    for _ in 0..signals {
        // It may be gone at any moment.
        let _ = process::signal(gateway.pid(), Sig::Term);
    }
}

#[test]
fn a_stop_during_the_start_leaves_nothing_in_the_way() {
    let home = configured();
    for delay_ms in [0, 1, 2, 4, 8, 16, 32, 64] {
        for signals in [1, 100] {
            let mut gateway = Gateway::spawn(&home, &[], |_| {});
            thread::sleep(Duration::from_millis(delay_ms));
            storm(&gateway, signals);
            let begun = Instant::now();
            let status = gateway.wait_exit();
            assert!(begun.elapsed() < BUDGET, "after {delay_ms} ms: {:?}", begun.elapsed());
            // Before its handlers are there the signal ends it.
            assert!(matches!(status.code(), Some(0) | None), "after {delay_ms} ms: {status}: {}", gateway.output());
        }
    }
    let mut gateway = Gateway::start(&home, &[]);
    Client::connect(gateway.port);
    assert_eq!(gateway.stop(), Some(0));
}

#[test]
fn restarts_that_cross_and_a_storm_of_signals() {
    let home = configured();
    let mut gateway = Gateway::start(&home, &[]);
    for _ in 0..5 {
        gateway.signal(Sig::Usr1);
        gateway.signal(Sig::Usr1);
        gateway.signal(Sig::Hup);
    }
    wait_until("a restart", || gateway.count_lines(LISTENING) >= 2);
    Client::connect(gateway.port);
    assert!(gateway.is_running());
    let begun = Instant::now();
    storm(&gateway, 500);
    assert_eq!(gateway.wait_exit().code(), Some(0));
    assert!(begun.elapsed() < BUDGET, "{:?}", begun.elapsed());
    let mut again = Gateway::start(&home, &[]);
    assert_eq!(again.stop(), Some(0));
}

#[test]
fn a_storm_during_a_restart_with_work_and_clients_stops_it_in_order() {
    let model = Model::start(vec![Play::Stall(vec!["on it".into()])]);
    let home = Home::new();
    home.configure(model.config());
    let mut gateway = Gateway::start(&home, &[]);
    let mut clients: Vec<Client> = (0..4).map(|_| Client::connect(gateway.port)).collect();
    let message = json!({"message": "hello", "sessionKey": "main", "idempotencyKey": "k"});
    clients[0].send_request("agent", message);
    clients[0].take("the words of the run", |f| f["payload"]["runId"] == "k" && f["payload"]["state"] == "delta");
    // It waits for the run, which never ends by itself.
    gateway.signal(Sig::Usr1);
    let begun = Instant::now();
    storm(&gateway, 500);
    assert_eq!(gateway.wait_exit().code(), Some(0), "{}", gateway.output());
    assert!(begun.elapsed() < BUDGET, "{:?}", begun.elapsed());
    assert_eq!(gateway.count_lines("panicked"), 0);
    let mut again = Gateway::start(&home, &[]);
    Client::connect(again.port);
    assert_eq!(again.stop(), Some(0));
}

#[test]
fn two_commands_that_restart_at_once_leave_one_gateway() {
    let home = configured();
    let port = crate::common::free_port();
    home.configure(json!({"gateway": {"port": port}}));
    let mut gateway = Gateway::spawn_args(&home, port, &["gateway"], |_| {});
    gateway.wait_line(LISTENING);
    let outputs = thread::scope(|scope| {
        let restart = || finish(home.command(&["gateway", "restart"]));
        let both = [scope.spawn(restart), scope.spawn(restart)];
        both.map(|one| one.join().expect("a command"))
    });
    for output in &outputs {
        assert_eq!(output.status.code(), Some(0), "{outputs:?}");
    }
    wait_until("a restart", || gateway.count_lines(LISTENING) >= 2);
    Client::connect(port);
    assert!(gateway.is_running() && gateway.count_lines(LISTENING) <= 3, "{}", gateway.output());
    assert_eq!(gateway.stop(), Some(0));
}
