//! `openclaw agent`: one turn through the gateway. A terminal sees the answer while it is written, a pipe only the end.

use std::time::Duration;

use serde_json::{Value, json};

use super::Context;
use super::client::{Deadline, Failure};
use super::context::{TIMEOUT_MS, positive};
use super::output::{json_pretty, plain, stdout_is_terminal, write_out};
use super::progress::Waiting;
use super::target::Flags;
use super::tree::Agent;
use crate::error::{Error, Result};
use crate::ids::new_uuid;
use crate::limits::RUN_TIMEOUT;
use crate::out;

const NO_SESSION: &str = "Error: Pass --to <E.164>, --session-id, or --agent to choose a session";
/// What the gateway may need beyond the turn itself.
const MARGIN: Duration = Duration::from_secs(30);

pub fn run(cx: &Context, args: &Agent) -> Result<u8> {
    let given = |text: &Option<String>| text.as_deref().is_some_and(|text| !text.trim().is_empty());
    if args.message.trim().is_empty() {
        return Err(Error::new("Error: Message (--message) is required"));
    }
    if !given(&args.to) && !given(&args.session_id) && !given(&args.agent) {
        return Err(Error::new(NO_SESSION));
    }
    if args.local {
        return Err(Error::new("Error: --local: no agent runs without a gateway in this program")
            .hint(format!("Start one ({}) and leave --local out.", cx.suggest("openclaw gateway"))));
    }
    if let Some(verbose) = args.verbose.as_deref().filter(|value| !["on", "off"].contains(value)) {
        return Err(Error::new(format!("Error: Invalid verbose level \"{verbose}\". Use \"on\" or \"off\".")));
    }
    let seconds = positive(args.timeout.as_deref(), "--timeout", "seconds")?.unwrap_or(RUN_TIMEOUT.as_secs());

    let target = cx.target(Flags::default()).map_err(|error| prefixed("Error: ", error))?;
    // No gateway is known at once; the turn itself may take its time.
    let mut client = cx
        .connect(&target, Deadline::after(Duration::from_millis(TIMEOUT_MS)))
        .map_err(|failure| failure.error("Error: ", &target))?;
    let run_id = new_uuid();
    let mut stream = Stream::new(&run_id, stdout_is_terminal() && !args.json);
    let deadline = Deadline::after(Duration::from_secs(seconds).saturating_add(MARGIN));
    let mut waiting = Some(Waiting::new(cx.columns, args.json, "Waiting for the agent"));
    let answer = client.call("agent", Some(params(args, &run_id, seconds)), true, deadline, &mut |event, payload| {
        let text = stream.on_event(event, payload);
        if !text.is_empty() {
            waiting = None;
            write_out(&text);
        }
    });
    drop(waiting);
    if stream.open {
        out!();
    }
    match answer {
        Ok(answer) if args.json => out!("{}", json_pretty(&answer)),
        Ok(answer) => {
            let reply = reply(&answer);
            let text = stream.rest(&reply);
            if !text.is_empty() {
                out!("{text}");
            }
        }
        Err(Failure::Answer { message, .. }) => {
            let message = message.strip_prefix("Error: ").unwrap_or(&message);
            return Err(Error::new(format!("Error: {message}")));
        }
        Err(failure) => return Err(failure.error("Error: ", &target)),
    }
    Ok(0)
}

fn prefixed(prefix: &str, mut error: Error) -> Error {
    error.message.insert_str(0, prefix);
    error
}

fn params(args: &Agent, run_id: &str, seconds: u64) -> Value {
    let mut params = json!({"message": args.message});
    for (key, value) in [
        ("agentId", &args.agent),
        ("to", &args.to),
        ("sessionId", &args.session_id),
        ("thinking", &args.thinking),
        ("channel", &args.channel),
        ("replyTo", &args.reply_to),
        ("replyChannel", &args.reply_channel),
        ("replyAccountId", &args.reply_account),
    ] {
        if let Some(value) = value.as_deref().map(str::trim).filter(|value| !value.is_empty()) {
            params[key] = value.into();
        }
    }
    params["deliver"] = args.deliver.into();
    params["timeout"] = seconds.into();
    params["idempotencyKey"] = run_id.into();
    params
}

/// Texts of the payloads with a blank line between them, media as `MEDIA:<url>`.
fn reply(answer: &Value) -> String {
    let payloads = answer["result"]["payloads"].as_array().map(Vec::as_slice).unwrap_or_default();
    let parts: Vec<String> = payloads
        .iter()
        .map(|payload| {
            let text = payload["text"].as_str().map(|text| text.trim_end().to_string());
            let single = payload["mediaUrl"].as_str().into_iter();
            let many = payload["mediaUrls"].as_array().into_iter().flatten().filter_map(Value::as_str);
            let mut media: Vec<String> = single.chain(many).map(|url| format!("MEDIA:{url}")).collect();
            media.dedup();
            text.into_iter().filter(|text| !text.is_empty()).chain(media).collect::<Vec<_>>().join("\n")
        })
        .filter(|part| !part.is_empty())
        .collect();
    if parts.is_empty() {
        return format!("No reply from agent ({}).", answer["summary"].as_str().unwrap_or("no text"));
    }
    safe(&parts.join("\n\n"))
}

/// The model's words, line ends and tabs kept, nothing that moves the cursor.
fn safe(text: &str) -> String {
    text.split('\n')
        .map(|line| line.split('\t').map(plain).collect::<Vec<_>>().join("\t"))
        .collect::<Vec<_>>()
        .join("\n")
}

/// What a terminal has seen of the answer so far.
struct Stream<'a> {
    run_id: &'a str,
    on: bool,
    /// The last cumulative text of the run.
    text: String,
    /// Everything written, without the line ends between messages.
    shown: String,
    /// The cursor stands behind text.
    open: bool,
}

impl<'a> Stream<'a> {
    fn new(run_id: &'a str, on: bool) -> Stream<'a> {
        Stream { run_id, on, text: String::new(), shown: String::new(), open: false }
    }

    /// The text to write for this event.
    fn on_event(&mut self, event: &str, payload: &Value) -> String {
        let ours = event == "agent" && payload["stream"] == "assistant" && payload["runId"] == self.run_id;
        let Some(text) = payload["data"]["text"].as_str().filter(|_| self.on && ours) else { return String::new() };
        let new = match text.strip_prefix(self.text.as_str()) {
            Some(new) => safe(new),
            // Another message of the same turn.
            None => {
                self.shown.clear();
                format!("{}{}", if self.open { "\n\n" } else { "" }, safe(text))
            }
        };
        self.text = text.to_string();
        self.shown.push_str(new.trim_start_matches('\n'));
        self.open |= !new.is_empty();
        new
    }

    /// What of the final reply has not been shown.
    fn rest<'t>(&self, reply: &'t str) -> &'t str {
        if !self.open {
            return reply;
        }
        match reply.strip_prefix(self.shown.trim_end()) {
            Some(rest) => rest.trim_start_matches('\n'),
            None if reply.ends_with(self.shown.trim_end()) => "",
            None => reply,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(run: &str, text: &str) -> Value {
        json!({"runId": run, "stream": "assistant", "data": {"text": text, "delta": "?"}})
    }

    #[test]
    fn a_terminal_sees_each_word_once() {
        let mut stream = Stream::new("r", true);
        let seen: Vec<String> = [("r", "word0"), ("other", "noise"), ("r", "word0 word1"), ("r", "word0 word1")]
            .iter()
            .map(|(run, text)| stream.on_event("agent", &event(run, text)))
            .collect();
        assert_eq!(seen, ["word0", "", " word1", ""]);
        assert_eq!(stream.rest("word0 word1"), "");
        assert_eq!(stream.rest("word0 word1 word2"), " word2");
        assert_eq!(stream.on_event("agent", &event("r", "second")), "\n\nsecond");
        assert_eq!(stream.rest("word0 word1\n\nsecond"), "");
        assert_eq!(stream.rest("something else"), "something else");
        let mut off = Stream::new("r", false);
        assert_eq!(off.on_event("agent", &event("r", "x")), "");
        assert_eq!(off.rest("x"), "x");
    }

    #[test]
    fn replies() {
        let answer = |payloads: Value| json!({"summary": "completed", "result": {"payloads": payloads}});
        for (payloads, text) in [
            (json!([{"text": "one", "mediaUrl": null}, {"text": "two\n"}]), "one\n\ntwo"),
            (json!([{"text": "", "mediaUrl": "https://x/a.png"}]), "MEDIA:https://x/a.png"),
            (json!([{"text": "pic", "mediaUrls": ["a", "b"]}]), "pic\nMEDIA:a\nMEDIA:b"),
            (json!([]), "No reply from agent (completed)."),
            (json!([{"text": "a\u{1b}[2J\tb"}]), "a\\u{1b}[2J\tb"),
        ] {
            assert_eq!(reply(&answer(payloads)), text);
        }
    }

    #[test]
    fn request() {
        let args = Agent {
            message: "hi".into(),
            agent: Some("main".into()),
            to: Some(" ".into()),
            deliver: true,
            ..Agent::default()
        };
        assert_eq!(
            params(&args, "key", 600),
            json!({"message": "hi", "agentId": "main", "deliver": true, "timeout": 600, "idempotencyKey": "key"})
        );
    }
}
