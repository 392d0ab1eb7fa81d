//! The keys that this program reads: what openclaw.json(5), `config.schema` and `doctor` say about them.
//!
//! Type, range and choices come from `schema`, the reload class from `plan`, secrecy from `redact`; this table adds what
//! only we know: the default in words and one line of documentation. A key of the schema that is not here is accepted
//! and has no effect yet.

use super::plan::{Reload, reload_class};
use super::redact::is_secret;
use super::schema::{Schema, Type, steps};

pub struct Key {
    /// Dotted; `*` is any key, `[]` any list position.
    pub path: &'static str,
    /// What holds when it is absent, as text; empty = nothing.
    pub default: &'static str,
    pub doc: &'static str,
    /// False: read and checked, but what it steers is not built yet.
    pub effect: bool,
}

const fn key(path: &'static str, default: &'static str, doc: &'static str) -> Key {
    Key { path, default, doc, effect: true }
}

const fn later(path: &'static str, default: &'static str, doc: &'static str) -> Key {
    Key { path, default, doc, effect: false }
}

pub const KEYS: &[Key] = &[
    key("meta.lastTouchedVersion", "", "Version of the program that wrote the file last; written by the program."),
    key("env.vars.*", "", "A variable for ${NAME}, keys and tools; never replaces one that the process has."),
    key("env.*", "", "Short form of env.vars.*."),
    key("secrets.providers.*", "default", "Where references to secrets are resolved; only source env works so far."),
    key("logging.level", "info", "Least important level that goes to the log file."),
    key("logging.file", "/tmp/openclaw/openclaw-YYYY-MM-DD.log", "Path of the log file."),
    key("logging.maxFileBytes", "8388608", "Size at which the log file is set aside as <name>.1."),
    key("logging.consoleLevel", "info", "Least important level that goes to the console; --verbose means debug."),
    key("logging.consoleStyle", "pretty on a terminal, else compact", "Form of console lines."),
    key("logging.redactSensitive", "tools", "Whether secrets are blacked out of tool output in logs; off shows them."),
    key("logging.redactPatterns[]", "", "Further patterns to black out in logs."),
    key("models.providers.*.baseUrl", "", "Address of the provider's API."),
    key("models.providers.*.apiKey", "", "Key for the provider: text, ${NAME} or a reference to a secret."),
    key("models.providers.*.api", "by provider", "Wire format that the provider speaks."),
    key("models.providers.*.authHeader", "false", "Send the key as Authorization: Bearer."),
    key("models.providers.*.headers.*", "", "A further header of each request to the provider."),
    key("models.providers.*.models[].id", "", "Name of the model in requests."),
    key("models.providers.*.models[].name", "", "Name of the model for people."),
    key("models.providers.*.models[].api", "the provider's", "Wire format of this model."),
    key("models.providers.*.models[].reasoning", "false", "The model can think before it answers."),
    key("models.providers.*.models[].input[]", "text", "Kinds of input that the model takes."),
    key("models.providers.*.models[].contextWindow", "200000", "Tokens that fit into a request and its answer."),
    key("models.providers.*.models[].maxTokens", "8192, or the context window if smaller", "Longest answer in tokens."),
    key("models.providers.*.models[].cost.input", "0", "Price per million tokens of input."),
    key("models.providers.*.models[].cost.output", "0", "Price per million tokens of output."),
    key("models.providers.*.models[].cost.cacheRead", "0", "Price per million tokens read from the provider's cache."),
    key("models.providers.*.models[].cost.cacheWrite", "0", "Price per million tokens written to it."),
    key("models.providers.*.models[].headers.*", "", "A further header of requests for this model."),
    key(
        "models.providers.*.models[].compat.maxTokensField",
        "max_completion_tokens",
        "Name of the field that limits the answer.",
    ),
    key(
        "models.providers.*.models[].compat.supportsUsageInStreaming",
        "",
        "Whether usage may be asked for in a stream.",
    ),
    key("models.providers.*.models[].compat.supportsStore", "", "Whether the field store may be sent."),
    key("agents.defaults.model", "anthropic/claude-opus-4-6", "Model of agents that name none, as provider/model."),
    key("agents.defaults.model.primary", "anthropic/claude-opus-4-6", "The same, with fallbacks beside it."),
    key("agents.defaults.model.fallbacks[]", "", "Models to try in order when the first one fails."),
    key(
        "agents.defaults.models.*.alias",
        "",
        "Short name for a model; when models is not empty, only its members may be chosen.",
    ),
    key("agents.defaults.workspace", "~/.openclaw/workspace", "Directory of the default agent's files."),
    key("agents.defaults.skipBootstrap", "false", "Do not put starter files into a new workspace."),
    key("agents.defaults.timeoutSeconds", "600", "Longest time that a turn may take."),
    key("agents.defaults.maxConcurrent", "4", "Turns at the same time, all sessions together."),
    key("agents.defaults.contextTokens", "", "Upper bound for the context window."),
    key("agents.defaults.thinkingDefault", "by model", "How much a model thinks unless told otherwise."),
    key("agents.defaults.userTimezone", "the host's", "Time zone of dates that the model is shown."),
    later("agents.defaults.heartbeat.every", "30m", "Time between heartbeats, e.g. 30m or 1h; 0m turns them off."),
    later("agents.defaults.heartbeat.target", "none", "Where a heartbeat's answer goes: none, last or a channel."),
    later("agents.defaults.heartbeat.ackMaxChars", "300", "Longest answer that still counts as nothing to report."),
    later("agents.defaults.heartbeat.prompt", "built in", "Text of the heartbeat."),
    later("agents.defaults.heartbeat.model", "the agent's", "Model of heartbeats."),
    key("agents.list[].id", "", "Name of the agent: letters, digits, _ and -."),
    key("agents.list[].default", "false", "This agent takes what is addressed to nobody; else the first one does."),
    key("agents.list[].name", "the id", "Name of the agent for people."),
    key("agents.list[].workspace", "<state>/workspace-<id>", "Directory of the agent's files."),
    key("agents.list[].agentDir", "<state>/agents/<id>/agent", "Directory of the agent's own state."),
    key("agents.list[].model", "agents.defaults.model", "Model of this agent, as provider/model."),
    key("agents.list[].model.primary", "agents.defaults.model", "The same, with fallbacks beside it."),
    key("agents.list[].model.fallbacks[]", "", "Models to try in order when the first one fails."),
    key("agents.list[].identity.name", "", "Name under which the agent appears."),
    key("agents.list[].identity.theme", "", "Character of the agent in a few words."),
    key("agents.list[].identity.emoji", "", "Sign of the agent."),
    key("agents.list[].identity.avatar", "", "Picture of the agent: a path in the workspace or an address."),
    later("agents.list[].heartbeat.every", "agents.defaults.heartbeat.every", "As in agents.defaults.heartbeat."),
    later("agents.list[].heartbeat.target", "agents.defaults.heartbeat.target", "As in agents.defaults.heartbeat."),
    later(
        "agents.list[].heartbeat.ackMaxChars",
        "agents.defaults.heartbeat.ackMaxChars",
        "As in agents.defaults.heartbeat.",
    ),
    later("agents.list[].heartbeat.prompt", "agents.defaults.heartbeat.prompt", "As in agents.defaults.heartbeat."),
    later("agents.list[].heartbeat.model", "agents.defaults.heartbeat.model", "As in agents.defaults.heartbeat."),
    key("commands.restart", "true", "SIGUSR1 from outside may restart the gateway."),
    key("session.scope", "per-sender", "One session per sender, or one for everybody."),
    key("session.store", "<state>/agents/{agentId}/sessions/sessions.json", "Path of the list of sessions."),
    key("session.mainKey", "main", "Ignored; the main session is always called main."),
    key("hooks.enabled", "false", "Accept webhooks."),
    key("hooks.token", "", "Secret of webhooks; must differ from the gateway's token and password."),
    key(
        "gateway.mode",
        "",
        "local: this machine runs the gateway; remote: it uses another one. Must be local to start.",
    ),
    key("gateway.port", "18789", "TCP port; --port and OPENCLAW_GATEWAY_PORT win."),
    key("gateway.bind", "loopback", "Addresses to listen on."),
    key("gateway.customBindHost", "", "The IPv4 address for bind custom."),
    key("gateway.auth.mode", "token", "What a client must show."),
    key("gateway.auth.token", "made at the first start", "The shared token."),
    key("gateway.auth.password", "", "The shared password."),
    key("gateway.auth.allowTailscale", "with tailscale.mode serve", "Accept the identity that Tailscale vouches for."),
    key("gateway.auth.rateLimit.maxAttempts", "10", "Wrong secrets within the window that lock an address out."),
    key("gateway.auth.rateLimit.windowMs", "60000", "Length of that window in milliseconds."),
    key("gateway.auth.rateLimit.lockoutMs", "300000", "Time locked out in milliseconds."),
    key("gateway.auth.rateLimit.exemptLoopback", "true", "Never lock out this machine, browsers excepted."),
    key("gateway.auth.trustedProxy.userHeader", "", "Header in which the proxy names the user."),
    key("gateway.auth.trustedProxy.requiredHeaders[]", "", "Headers that must be there, too."),
    key("gateway.auth.trustedProxy.allowUsers[]", "everybody", "Users that may enter."),
    key("gateway.trustedProxies[]", "", "Addresses or networks whose forwarding headers are believed."),
    key(
        "gateway.allowRealIpFallback",
        "false",
        "Believe X-Real-IP of a trusted proxy when X-Forwarded-For is missing.",
    ),
    key("gateway.controlUi.enabled", "true", "Serve the Control UI."),
    key("gateway.controlUi.basePath", "", "Path below which it is served."),
    key("gateway.controlUi.allowedOrigins[]", "", "Origins from which browsers may connect."),
    key(
        "gateway.controlUi.dangerouslyAllowHostHeaderOriginFallback",
        "false",
        "Accept an origin that equals the Host header.",
    ),
    key("gateway.controlUi.allowInsecureAuth", "false", "Let the Control UI in without a device on this machine."),
    key(
        "gateway.controlUi.dangerouslyDisableDeviceAuth",
        "false",
        "Let the Control UI in without a device from anywhere.",
    ),
    key("gateway.tailscale.mode", "off", "Publish the gateway through Tailscale."),
    later("gateway.tailscale.resetOnExit", "false", "Undo that at the end."),
    key("gateway.remote.url", "", "WebSocket address of the gateway in mode remote."),
    key("gateway.remote.token", "", "Token for it."),
    key("gateway.remote.password", "", "Password for it."),
    key(
        "gateway.reload.mode",
        "hybrid",
        "What a changed file does: off, hot, restart, or hybrid (whichever is needed).",
    ),
    key("gateway.reload.debounceMs", "300", "Quiet time after a change before it is looked at."),
    later("gateway.tls.enabled", "false", "Speak TLS on the gateway's port."),
    later("gateway.http.securityHeaders.strictTransportSecurity", "", "Value of that header; false leaves it out."),
    key(
        "gateway.maxBufferedBytes",
        "52428800",
        "Unsent bytes of one client before it counts as slow. Unknown to the reference, which refuses it.",
    ),
];

impl Key {
    pub fn reload(&self) -> Reload {
        reload_class(self.path)
    }

    pub fn secret(&self) -> bool {
        is_secret(&steps(self.path).collect::<Vec<_>>())
    }

    /// The alternatives of its type.
    pub fn types(&self, schema: &Schema) -> Vec<Type> {
        schema.at(self.path)
    }

    /// `integer`, `string or object`, …
    pub fn type_text(&self, schema: &Schema) -> String {
        let mut names: Vec<&str> = Vec::new();
        for kind in self.types(schema) {
            let name = type_name(&kind);
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names.join(" or ")
    }

    /// The texts that are accepted, where only some are.
    pub fn choices(&self, schema: &Schema) -> Vec<String> {
        let kinds = self.types(schema);
        kinds.iter().flat_map(|k| if let Type::OneOf(l) = k { l.as_slice() } else { &[] }).map(|l| l.text()).collect()
    }

    /// `0–23`, `> 0`; empty without a range.
    pub fn range_text(&self, schema: &Schema) -> String {
        let kinds = self.types(schema);
        let bounds = kinds.iter().find_map(|kind| match kind {
            Type::Number(bounds) | Type::Integer(bounds) => Some(bounds.text()),
            _ => None,
        });
        bounds.unwrap_or_default()
    }
}

/// The row for a concrete path (`models.providers.x.baseUrl`) or one in the table's own notation.
pub fn find(path: &str) -> Option<&'static Key> {
    let given: Vec<&str> = steps(path).collect();
    let exact = KEYS.iter().find(|key| steps(key.path).eq(given.iter().copied()));
    exact.or_else(|| {
        KEYS.iter().find(|key| {
            let row: Vec<&str> = steps(key.path).collect();
            let fits = |(step, given): (&&str, &&str)| match *step {
                "*" => true,
                "[]" => given.parse::<usize>().is_ok(),
                step => step == *given,
            };
            row.len() == given.len() && row.iter().zip(&given).all(fits)
        })
    })
}

fn type_name(kind: &Type) -> &'static str {
    match kind {
        Type::Any | Type::Either(_) => "anything",
        Type::Text(_) => "string",
        Type::Number(_) => "number",
        Type::Integer(_) => "integer",
        Type::Bool => "boolean",
        Type::List(..) => "list",
        Type::Object(_) => "object",
        Type::OneOf(literals) => match literals.first() {
            Some(super::schema::Literal::Bool(_)) => "boolean",
            Some(super::schema::Literal::Number(_)) => "number",
            _ => "string",
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_in_the_schema() {
        let schema = Schema::new();
        for key in KEYS {
            assert!(!key.types(&schema).is_empty(), "{}", key.path);
            assert!(key.doc.ends_with('.') && key.doc.len() < 120, "{}", key.path);
        }
        let mut paths: Vec<&str> = KEYS.iter().map(|key| key.path).collect();
        paths.sort_unstable();
        paths.dedup();
        assert_eq!(paths.len(), KEYS.len());
    }

    #[test]
    fn rows_tell_all() {
        let schema = Schema::new();
        let port = find("gateway.port").unwrap();
        assert_eq!((port.type_text(&schema), port.range_text(&schema)), ("integer".into(), "> 0".into()));
        assert_eq!((port.reload(), port.secret()), (Reload::Restart, false));
        let bind = find("gateway.bind").unwrap();
        assert_eq!(bind.choices(&schema), ["auto", "lan", "loopback", "custom", "tailnet"]);
        let api_key = find("models.providers.openai.apiKey").unwrap();
        assert_eq!(api_key.type_text(&schema), "string or object");
        assert_eq!((api_key.reload(), api_key.secret()), (Reload::Hot, true));
        assert_eq!(find("models.providers.p.models.3.cost.input").unwrap().default, "0");
        assert!(find("env.FOO").unwrap().secret() && find("hooks.nope").is_none());
    }
}
