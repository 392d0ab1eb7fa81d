//! The last step of onboarding: is the gateway there that has just been set up?

use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::cli::Context;
use crate::cli::client::{Deadline, Failure};
use crate::cli::output::plain;
use crate::cli::progress::Progress;
use crate::cli::target::Flags;

/// A service that was started listens within this time.
const START: Duration = Duration::from_secs(10);
/// One try, name look-up and handshake included.
const TRY: Duration = Duration::from_secs(3);
const PAUSE: Duration = Duration::from_millis(250);

pub struct Health {
    url: Option<String>,
    /// None: it answered.
    error: Option<String>,
    /// What to do about that.
    hint: String,
}

/// Asks as any command does. `started`: it is on its way and waited for; otherwise it runs already or not at all.
pub fn look(cx: &Context, remote: bool, started: bool, quiet: bool) -> Health {
    let until = Instant::now() + if started { START } else { Duration::ZERO };
    let mut progress = Progress::new(cx.columns, quiet);
    loop {
        let (url, answer) = ask(cx, remote);
        if answer.is_ok() || Instant::now() >= until {
            let next = match (&answer, remote, started) {
                (_, true, _) => "Check the address and that the tunnel is open: openclaw gateway probe",
                (_, _, true) => "See why: openclaw gateway status --deep, openclaw logs",
                (Err(Reason::Answered(_)), ..) => {
                    "Somebody listens there and does not take this token: openclaw gateway status --deep"
                }
                _ => "Fine if it does not run yet. Start it: openclaw gateway, or again with --install-daemon",
            };
            let error = answer.err().map(|reason| match reason {
                Reason::Absent(text) | Reason::Answered(text) => text,
            });
            return Health { url, error, hint: cx.suggest(next) };
        }
        progress.at(|| "Waiting for the gateway".to_owned());
        thread::sleep(PAUSE);
    }
}

enum Reason {
    /// No connection came about.
    Absent(String),
    Answered(String),
}

fn ask(cx: &Context, remote: bool) -> (Option<String>, Result<(), Reason>) {
    let target = if remote { cx.target(Flags::default()) } else { cx.local_target(Flags::default(), None) };
    let target = match target {
        Ok(target) => target,
        Err(error) => return (None, Err(Reason::Absent(error.message))),
    };
    let deadline = Deadline::after(TRY);
    let answer = cx.connect(&target, deadline).and_then(|mut client| client.request("health", None, deadline));
    let answer = answer.map(drop).map_err(|failure| match failure {
        Failure::Closed { cause: Some(cause), .. } => Reason::Absent(cause),
        failure => Reason::Answered(failure.text()),
    });
    (Some(target.url), answer)
}

impl Health {
    pub fn is_good(&self) -> bool {
        self.error.is_none()
    }

    pub fn lines(&self) -> Vec<String> {
        let at = self.url.as_deref().map(|url| format!(" at {}", plain(url))).unwrap_or_default();
        match self.error.as_deref().map(|error| plain(error.lines().next().unwrap_or_default())) {
            None => vec![format!("Gateway reachable{at}.")],
            Some(error) => vec![format!("Gateway not reachable{at}: {error}"), self.hint.clone()],
        }
    }

    pub fn json(&self) -> Value {
        let mut out = json!({"reachable": self.is_good(), "url": self.url});
        if let Some(error) = &self.error {
            out["error"] = json!(error);
            out["hint"] = json!(self.hint);
        }
        out
    }
}
