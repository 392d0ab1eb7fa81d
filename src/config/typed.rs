//! The effective configuration as a [`Config`]: the only place where code reaches into the JSON.
//!
//! Lenient on purpose: of an invalid configuration it gives what can be read, for commands that only look.

use std::time::Duration;

use serde_json::Value;

use super::get_path::lookup;
use super::issue::Issue;
use super::model::*;
use super::paths::Paths;
use super::secret_ref::{Resolved, SecretRef};
use crate::secret::Secret;

/// Model of an agent that names none (agent 11).
pub const DEFAULT_MODEL: &str = "anthropic/claude-opus-4-6";

/// Builds the typed view; references to secrets that are not in `secrets` count as absent. Warnings are about values
/// that had to be changed.
pub fn typed(effective: &Value, secrets: &Resolved, paths: &Paths, warnings: &mut Vec<Issue>) -> Config {
    let mut reader = Reader { secrets, paths, root: effective, warnings };
    Config {
        gateway: reader.gateway(),
        agents: reader.agents(),
        models: reader.models(),
        session: reader.session(),
        logging: reader.logging(),
        commands: Commands { restart: At(effective).at("commands.restart").bool().unwrap_or(true) },
        hooks: reader.hooks(),
        http: reader.http(),
        canvas: reader.canvas(),
        tools: super::tools::read(effective),
    }
}

/// `30m`, `1h`, `90s`, `1500ms`, `2d`; a number without unit counts `unit` milliseconds each.
pub fn duration_ms(text: &str, unit: u64) -> Option<u64> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let number: f64 = text[..end].parse().ok()?;
    let unit = match text[end..].trim().to_ascii_lowercase().as_str() {
        "" => unit,
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    let ms = (number * unit as f64).round();
    (ms.is_finite() && ms <= 9_007_199_254_740_991.0).then_some(ms as u64)
}

/// Lower case, and one name for those with several spellings (agent 11).
pub fn normalize_provider(id: &str) -> String {
    let id = id.trim().to_lowercase();
    match id.as_str() {
        "z.ai" | "z-ai" => "zai".into(),
        _ => id,
    }
}

/// The wire format that a configured name stands for, if this build speaks it.
pub fn api_of(name: &str) -> Option<Api> {
    match name {
        "openai-completions" => Some(Api::OpenAiCompletions),
        "anthropic-messages" => Some(Api::AnthropicMessages),
        "ollama" => Some(Api::Ollama),
        _ => None,
    }
}

/// Of one of the HTTP interfaces.
fn image_rules(at: At<'_>, defaults: ImageRules) -> ImageRules {
    let size = |at: At<'_>| at.u64().and_then(|n| usize::try_from(n).ok());
    let mimes: Vec<String> = at.at("images.allowedMimes").texts().iter().map(|m| m.trim().to_lowercase()).collect();
    ImageRules {
        max_parts: size(at.at("maxImageParts")).unwrap_or(defaults.max_parts),
        max_bytes: size(at.at("images.maxBytes")).unwrap_or(defaults.max_bytes),
        max_total_bytes: size(at.at("maxTotalImageBytes")).unwrap_or(defaults.max_total_bytes),
        mimes: if mimes.is_empty() { defaults.mimes } else { mimes },
        urls: url_rules(at.at("images"), defaults.urls),
    }
}

fn url_rules(at: At<'_>, defaults: UrlRules) -> UrlRules {
    UrlRules {
        allow: at.at("allowUrl").bool().unwrap_or(defaults.allow),
        allowlist: at.at("urlAllowlist").texts(),
        redirects: at.at("maxRedirects").u64().map_or(defaults.redirects, |n| n.min(20) as u32),
        timeout: at.at("timeoutMs").u64().filter(|ms| *ms > 0).map_or(defaults.timeout, Duration::from_millis),
    }
}

fn responses_endpoint(at: At<'_>) -> ResponsesEndpoint {
    let size = |at: At<'_>| at.u64().and_then(|n| usize::try_from(n).ok());
    let some = |at: At<'_>| size(at).filter(|n| *n > 0);
    let defaults = ResponsesEndpoint::default();
    let given = at.at("files");
    let mimes: Vec<String> = given.at("allowedMimes").texts().iter().map(|m| m.trim().to_lowercase()).collect();
    let files = FileRules {
        mimes: if mimes.is_empty() { defaults.files.mimes } else { mimes },
        max_bytes: some(given.at("maxBytes")).unwrap_or(defaults.files.max_bytes),
        max_chars: some(given.at("maxChars")).unwrap_or(defaults.files.max_chars),
        urls: url_rules(given, defaults.files.urls),
    };
    let mut images = image_rules(at, defaults.images);
    images.max_total_bytes = images.max_total_bytes.max(images.max_bytes);
    // Base64 takes a third more.
    let room = defaults.max_body_bytes.max(files.max_bytes.saturating_mul(2)).max(images.max_bytes.saturating_mul(2));
    ResponsesEndpoint {
        enabled: at.at("enabled").bool().unwrap_or(false),
        max_body_bytes: some(at.at("maxBodyBytes")).unwrap_or(room),
        max_url_parts: size(at.at("maxUrlParts")).unwrap_or(defaults.max_url_parts),
        images,
        files,
    }
}

struct Reader<'a> {
    secrets: &'a Resolved,
    paths: &'a Paths,
    root: &'a Value,
    warnings: &'a mut Vec<Issue>,
}

impl Reader<'_> {
    fn http(&self) -> Http {
        let at = At(self.root).at("gateway.http");
        let chat = at.at("endpoints.chatCompletions");
        let bytes = |at: At<'_>, default: usize| {
            at.u64().and_then(|n| usize::try_from(n).ok()).filter(|n| *n > 0).unwrap_or(default)
        };
        Http {
            cors_origins: at.at("cors.allowedOrigins").texts(),
            chat: ChatEndpoint {
                enabled: chat.at("enabled").bool().unwrap_or(false),
                max_body_bytes: bytes(chat.at("maxBodyBytes"), crate::limits::API_BODY_BYTES),
                images: image_rules(chat, ImageRules::default()),
            },
            responses: responses_endpoint(at.at("endpoints.responses")),
        }
    }

    fn canvas(&self) -> CanvasHost {
        let at = At(self.root).at("canvasHost");
        CanvasHost {
            enabled: at.at("enabled").bool().unwrap_or(true),
            root: self.path(at.at("root")),
            port: at.at("port").u64().and_then(|port| u16::try_from(port).ok()).filter(|port| *port > 0),
            live_reload: at.at("liveReload").bool().unwrap_or(true),
        }
    }

    fn gateway(&mut self) -> Gateway {
        let at = At(self.root).at("gateway");
        let rate = at.at("auth.rateLimit");
        let defaults = RateLimit::default();
        let rate_limit = RateLimit {
            max_attempts: self
                .at_least_one(rate, "maxAttempts")
                .map_or(defaults.max_attempts, |n| n.min(u32::MAX as u64) as u32),
            window: self.at_least_one(rate, "windowMs").map_or(defaults.window, Duration::from_millis),
            lockout: self.at_least_one(rate, "lockoutMs").map_or(defaults.lockout, Duration::from_millis),
            exempt_loopback: rate.at("exemptLoopback").bool().unwrap_or(defaults.exempt_loopback),
        };
        let mode = at.at("auth.mode").text().and_then(AuthMode::parse);
        let proxy = at.at("auth.trustedProxy");
        let ui = at.at("controlUi");
        let reload = at.at("reload");
        Gateway {
            mode: at.at("mode").string(),
            port: at.at("port").u64().and_then(|port| u16::try_from(port).ok()).filter(|port| *port > 0),
            bind: at.at("bind").text().and_then(Bind::parse),
            custom_bind_host: at.at("customBindHost").string(),
            auth: Auth {
                mode,
                token: self.secret("gateway.auth.token"),
                password: self.secret("gateway.auth.password"),
                allow_tailscale: at.at("auth.allowTailscale").bool(),
                rate_limit,
                trusted_proxy: proxy.0.is_object().then(|| TrustedProxy {
                    user_header: proxy.at("userHeader").string().unwrap_or_default(),
                    required_headers: proxy.at("requiredHeaders").texts(),
                    allow_users: proxy.at("allowUsers").texts(),
                }),
            },
            trusted_proxies: at.at("trustedProxies").texts(),
            allow_real_ip_fallback: at.at("allowRealIpFallback").bool().unwrap_or(false),
            control_ui: ControlUi {
                enabled: ui.at("enabled").bool().unwrap_or(true),
                base_path: base_path(ui.at("basePath").text().unwrap_or_default()),
                root: self.path(ui.at("root")),
                allowed_origins: ui.at("allowedOrigins").texts(),
                host_header_origin_fallback: ui.at("dangerouslyAllowHostHeaderOriginFallback").bool().unwrap_or(false),
                allow_insecure_auth: ui.at("allowInsecureAuth").bool().unwrap_or(false),
                disable_device_auth: ui.at("dangerouslyDisableDeviceAuth").bool().unwrap_or(false),
            },
            tailscale_mode: at.at("tailscale.mode").string(),
            tailscale_reset_on_exit: at.at("tailscale.resetOnExit").bool().unwrap_or(false),
            mdns_mode: At(self.root).at("discovery.mdns.mode").string(),
            remote_url: at.at("remote.url").string(),
            remote_token: self.secret("gateway.remote.token"),
            remote_password: self.secret("gateway.remote.password"),
            remote_tls_fingerprint: at.at("remote.tlsFingerprint").string(),
            remote_ssh_target: at.at("remote.sshTarget").string(),
            remote_ssh_identity: at.at("remote.sshIdentity").string(),
            reload_mode: match reload.at("mode").text() {
                Some("off") => ReloadMode::Off,
                Some("hot") => ReloadMode::Hot,
                Some("restart") => ReloadMode::Restart,
                _ => ReloadMode::Hybrid,
            },
            reload_debounce: Duration::from_millis(reload.at("debounceMs").u64().unwrap_or(300)),
            tls: Tls {
                enabled: at.at("tls.enabled").bool().unwrap_or(false),
                auto_generate: at.at("tls.autoGenerate").bool().unwrap_or(true),
                cert_path: self.path(at.at("tls.certPath")),
                key_path: self.path(at.at("tls.keyPath")),
                ca_path: self.path(at.at("tls.caPath")),
            },
            strict_transport_security: at.at("http.securityHeaders.strictTransportSecurity").string(),
            max_buffered_bytes: at.at("maxBufferedBytes").u64().and_then(|n| usize::try_from(n).ok()),
        }
    }

    fn agents(&mut self) -> Agents {
        let at = At(self.root).at("agents.defaults");
        let base = AgentDefaults::default();
        let heartbeat = read_heartbeat(at.at("heartbeat"), &base.heartbeat);
        let models = at.at("models").0.as_object().into_iter().flatten();
        let defaults = AgentDefaults {
            model: model_choice(at.at("model")),
            models: models.map(|(key, v)| (key.clone(), ModelAlias { alias: At(v).at("alias").string() })).collect(),
            workspace: self.path(at.at("workspace")),
            skip_bootstrap: at.at("skipBootstrap").bool().unwrap_or(false),
            timeout: at.at("timeoutSeconds").u64().map_or(base.timeout, Duration::from_secs),
            max_concurrent: at.at("maxConcurrent").u64().map_or(base.max_concurrent, |n| n.clamp(1, 1024) as usize),
            context_tokens: at.at("contextTokens").u64(),
            thinking: at.at("thinkingDefault").string(),
            user_timezone: at.at("userTimezone").string(),
            heartbeat,
        };
        let list = At(self.root).at("agents.list").items().map(|at| Agent {
            id: at.at("id").text().unwrap_or_default().trim().to_lowercase(),
            default: at.at("default").bool().unwrap_or(false),
            name: at.at("name").string(),
            workspace: self.path(at.at("workspace")),
            agent_dir: self.path(at.at("agentDir")),
            model: model_choice(at.at("model")),
            identity: Identity {
                name: at.at("identity.name").string(),
                theme: at.at("identity.theme").string(),
                emoji: at.at("identity.emoji").string(),
                avatar: at.at("identity.avatar").string(),
            },
            heartbeat: at
                .at("heartbeat")
                .0
                .is_object()
                .then(|| read_heartbeat(at.at("heartbeat"), &defaults.heartbeat)),
        });
        let list = list.filter(|agent| !agent.id.is_empty()).collect();
        Agents { defaults, list }
    }

    fn models(&mut self) -> Models {
        let mut models = Models::default();
        for (id, value) in At(self.root).at("models.providers").0.as_object().into_iter().flatten() {
            let at = At(value);
            let id = normalize_provider(id);
            let api_name = at.at("api").string();
            let api = match &api_name {
                Some(name) => api_of(name),
                None => Some(usual_api(&id)),
            };
            let mut list = Vec::new();
            for at in at.at("models").items() {
                list.push(self.model(at, api));
            }
            let provider = Provider {
                base_url: at.at("baseUrl").string().unwrap_or_default(),
                api_key: self.secret_at(at.at("apiKey")),
                api_name,
                api,
                auth_header: at.at("authHeader").bool().unwrap_or(false),
                headers: self.headers(at.at("headers")),
                models: list,
            };
            models.providers.insert(id, provider);
        }
        models
    }

    fn model(&self, at: At<'_>, inherited: Option<Api>) -> Model {
        let id = at.at("id").string().unwrap_or_default();
        let cost = at.at("cost");
        let price = |key: &str| cost.at(key).f64().unwrap_or(0.0);
        Model {
            name: at.at("name").string().unwrap_or_else(|| id.clone()),
            id,
            api: at.at("api").text().map_or(inherited, api_of),
            reasoning: at.at("reasoning").bool().unwrap_or(false),
            input: at.at("input").texts(),
            context_window: at.at("contextWindow").u64(),
            max_tokens: at.at("maxTokens").u64().unwrap_or(crate::limits::OUTPUT_TOKENS),
            cost: Cost {
                input: price("input"),
                output: price("output"),
                cache_read: price("cacheRead"),
                cache_write: price("cacheWrite"),
            },
            headers: self.headers(at.at("headers")),
            max_tokens_field: at.at("compat.maxTokensField").string(),
            supports_usage_in_streaming: at.at("compat.supportsUsageInStreaming").bool(),
            supports_store: at.at("compat.supportsStore").bool(),
        }
    }

    fn session(&self) -> Session {
        let at = At(self.root).at("session");
        Session { global_scope: at.at("scope").text() == Some("global"), store: self.path(at.at("store")) }
    }

    fn logging(&self) -> Logging {
        let at = At(self.root).at("logging");
        Logging {
            level: at.at("level").string(),
            console_level: at.at("consoleLevel").string(),
            console_style: at.at("consoleStyle").string(),
            file: self.path(at.at("file")),
            max_file_bytes: at.at("maxFileBytes").u64(),
            redact_off: at.at("redactSensitive").text() == Some("off"),
            redact_patterns: at.at("redactPatterns").texts(),
        }
    }

    fn hooks(&self) -> Hooks {
        Hooks::read(At(self.root).at("hooks"), self.secret("hooks.token"))
    }

    fn headers(&self, at: At<'_>) -> Vec<(String, Secret)> {
        let pairs = at.0.as_object().into_iter().flatten();
        pairs.filter_map(|(name, value)| Some((name.clone(), self.secret_at(At(value))?))).collect()
    }

    fn secret(&self, path: &str) -> Option<Secret> {
        self.secret_at(At(self.root).at(path))
    }

    /// A text, or a reference to a secret. Blank counts as absent.
    fn secret_at(&self, at: At<'_>) -> Option<Secret> {
        match at.0 {
            Value::String(text) if super::env::is_placeholder(text) => None,
            Value::String(text) => (!text.trim().is_empty()).then(|| Secret::new(text.trim())),
            reference => self.secrets.get(&SecretRef::parse(reference)?.ok()?).cloned(),
        }
    }

    fn at_least_one(&mut self, at: At<'_>, key: &str) -> Option<u64> {
        let value = at.at(key).f64()?;
        if value < 1.0 {
            let message = format!("{key} is {value}; values below 1 count as 1");
            self.warnings.push(Issue::new(format!("gateway.auth.rateLimit.{key}"), message));
        }
        Some(value.max(1.0) as u64)
    }

    fn path(&self, at: At<'_>) -> Option<String> {
        at.text().map(str::trim).filter(|t| !t.is_empty()).map(|t| self.paths.expand(t).display().to_string())
    }
}

/// A place in the configuration that may not be there.
#[derive(Clone, Copy)]
pub(super) struct At<'v>(pub(super) &'v Value);

impl<'v> At<'v> {
    pub(super) fn at(self, path: &str) -> At<'v> {
        At(lookup(self.0, path).unwrap_or(&Value::Null))
    }

    pub(super) fn text(self) -> Option<&'v str> {
        self.0.as_str()
    }

    /// Trimmed; None when blank.
    pub(super) fn string(self) -> Option<String> {
        self.text().map(str::trim).filter(|t| !t.is_empty()).map(str::to_owned)
    }

    pub(super) fn bool(self) -> Option<bool> {
        self.0.as_bool()
    }

    pub(super) fn f64(self) -> Option<f64> {
        self.0.as_f64()
    }

    pub(super) fn u64(self) -> Option<u64> {
        self.0.as_u64().or_else(|| self.f64().filter(|n| *n >= 0.0 && n.fract() == 0.0).map(|n| n as u64))
    }

    pub(super) fn items(self) -> impl Iterator<Item = At<'v>> {
        self.0.as_array().into_iter().flatten().map(At)
    }

    pub(super) fn texts(self) -> Vec<String> {
        self.items().filter_map(At::string).collect()
    }
}

fn read_heartbeat(at: At<'_>, base: &Heartbeat) -> Heartbeat {
    let given = at.at("every").string();
    let known = given.and_then(|every| Some((duration_ms(&every, 60_000)?, every)));
    let (every_ms, every) = known.unwrap_or_else(|| (base.every_ms, base.every.clone()));
    Heartbeat {
        every,
        every_ms,
        target: at.at("target").string().unwrap_or_else(|| base.target.clone()),
        ack_max_chars: at.at("ackMaxChars").u64().unwrap_or(base.ack_max_chars),
        prompt: at.at("prompt").string().or_else(|| base.prompt.clone()),
        model: at.at("model").string().or_else(|| base.model.clone()),
    }
}

fn model_choice(at: At<'_>) -> Option<ModelChoice> {
    if let Some(primary) = at.string() {
        return Some(ModelChoice { primary, fallbacks: Vec::new() });
    }
    let (primary, fallbacks) = (at.at("primary").string(), at.at("fallbacks").texts());
    if primary.is_none() && fallbacks.is_empty() {
        return None;
    }
    Some(ModelChoice { primary: primary.unwrap_or_else(|| DEFAULT_MODEL.into()), fallbacks })
}

fn usual_api(provider: &str) -> Api {
    match provider {
        "anthropic" => Api::AnthropicMessages,
        "ollama" => Api::Ollama,
        _ => Api::OpenAiCompletions,
    }
}

/// One slash at the start, none at the end; the root is the empty text.
fn base_path(text: &str) -> String {
    let inner = text.trim().trim_matches('/');
    if inner.is_empty() { String::new() } else { format!("/{inner}") }
}

#[cfg(test)]
mod tests {
    use super::super::paths::Overrides;
    use super::super::secret_ref::Origin;
    use super::super::source::MemorySource;
    use super::*;
    use serde_json::json;

    fn read(value: Value) -> (Config, Vec<String>) {
        let source = MemorySource::new().with_var("HOME", "/home/u");
        let paths = Paths::resolve(&source, &Overrides::default()).unwrap();
        let reference = SecretRef { origin: Origin::Env, provider: "default".into(), id: "TOKEN".into() };
        let secrets = [(reference, Secret::new("from-env"))].into();
        let mut warnings = Vec::new();
        let config = typed(&value, &secrets, &paths, &mut warnings);
        (config, warnings.iter().map(Issue::line).collect())
    }

    #[test]
    fn empty_is_default() {
        let (config, warnings) = read(json!({}));
        let mut expected = Config::default();
        expected.gateway.reload_debounce = Duration::from_millis(300);
        assert_eq!((config, warnings), (expected, vec![]));
    }

    #[test]
    fn limits_of_the_interfaces() {
        let of = |responses: Value| {
            let endpoints = json!({"responses": responses, "chatCompletions": {"images": {"allowUrl": true}}});
            read(json!({"gateway": {"http": {"endpoints": endpoints}}})).0.http
        };
        let given = of(json!({"enabled": true, "maxUrlParts": 0,
            "images": {"allowUrl": false, "maxBytes": 30_000_000, "allowedMimes": ["image/PNG"], "maxRedirects": 0},
            "files": {"maxBytes": 7, "maxChars": 8, "timeoutMs": 900, "urlAllowlist": ["a.example"]}}));
        let responses = given.responses;
        assert!(responses.enabled && !responses.images.urls.allow && given.chat.images.urls.allow);
        assert_eq!((responses.max_body_bytes, responses.max_url_parts), (60_000_000, 0));
        assert_eq!((responses.images.max_bytes, responses.images.max_total_bytes), (30_000_000, 30_000_000));
        assert_eq!((responses.images.mimes, responses.images.urls.redirects), (vec!["image/png".to_owned()], 0));
        let urls = UrlRules {
            allow: true,
            allowlist: vec!["a.example".into()],
            redirects: 3,
            timeout: Duration::from_millis(900),
        };
        let files = FileRules { max_bytes: 7, max_chars: 8, urls, ..FileRules::default() };
        assert_eq!(responses.files, files);
        assert_eq!(of(json!({"maxBodyBytes": 9, "images": {"maxBytes": 99_000_000}})).responses.max_body_bytes, 9);
        assert!(!of(json!({})).responses.enabled && !Config::default().http.chat.images.urls.allow);
    }

    #[test]
    fn durations() {
        let table = [
            ("30m", Some(1_800_000)),
            ("1h", Some(3_600_000)),
            ("0m", Some(0)),
            ("90 s", Some(90_000)),
            ("1.5h", Some(5_400_000)),
            ("5", Some(300_000)),
            ("250ms", Some(250)),
            ("2d", Some(172_800_000)),
            ("x", None),
            ("", None),
            ("5 weeks", None),
            ("99999999999999999999d", None),
        ];
        for (text, expected) in table {
            assert_eq!(duration_ms(text, 60_000), expected, "{text}");
        }
    }

    #[test]
    fn gateway_section() {
        let (config, warnings) = read(json!({"gateway":{
            "mode":"local","port":18790,"bind":"lan","customBindHost":" 10.0.0.1 ",
            "auth":{"mode":"token","token":" tok ","password":{"source":"file","provider":"x","id":"/a"},"rateLimit":{"maxAttempts":0,"windowMs":500},
                "trustedProxy":{"userHeader":"x-user","allowUsers":["a"]}},
            "trustedProxies":["10.0.0.0/8"],"controlUi":{"basePath":"ui/","enabled":false},
            "reload":{"mode":"hot","debounceMs":50},"remote":{"url":"wss://x","token":{"source":"env","provider":"default","id":"TOKEN"}},
            "http":{"securityHeaders":{"strictTransportSecurity":false}},"maxBufferedBytes":1000000
        }}));
        let gateway = config.gateway;
        assert_eq!(warnings, ["gateway.auth.rateLimit.maxAttempts: maxAttempts is 0; values below 1 count as 1"]);
        assert_eq!(
            (gateway.port, gateway.bind, gateway.mode.as_deref()),
            (Some(18790), Some(Bind::Lan), Some("local"))
        );
        assert_eq!(gateway.auth.token, Some(Secret::new("tok")));
        assert_eq!(gateway.auth.password, None);
        assert_eq!(gateway.auth.rate_limit.max_attempts, 1);
        assert_eq!(gateway.auth.rate_limit.window, Duration::from_millis(500));
        assert_eq!(gateway.auth.trusted_proxy.unwrap().allow_users, ["a"]);
        assert_eq!(gateway.control_ui.base_path, "/ui");
        assert_eq!((gateway.reload_mode, gateway.reload_debounce), (ReloadMode::Hot, Duration::from_millis(50)));
        assert_eq!(gateway.remote_token, Some(Secret::new("from-env")));
        assert_eq!((gateway.strict_transport_security, gateway.max_buffered_bytes), (None, Some(1_000_000)));
    }

    #[test]
    fn secrets() {
        let reference = |id: &str| json!({"source":"env","provider":"default","id":id});
        for (token, expected) in [
            (json!(" x "), Some("x")),
            (json!("  "), None),
            (json!("${MISSING}"), None),
            (reference("TOKEN"), Some("from-env")),
            (reference("NONE"), None),
            (json!(5), None),
        ] {
            let (config, _) = read(json!({"gateway":{"auth":{"token":token}}}));
            assert_eq!(config.gateway.auth.token.as_ref().map(Secret::expose), expected, "{token}");
        }
    }

    #[test]
    fn agents_and_models() {
        let (config, warnings) = read(json!({
            "agents":{
                "defaults":{"model":{"primary":"a/b","fallbacks":["c/d"]},"models":{"a/b":{"alias":"ab"}},"workspace":"~/w","timeoutSeconds":5,"heartbeat":{"every":"0m","prompt":"p"}},
                "list":[{"id":" Ops "},{"id":"dev","default":true,"model":"x/y","identity":{"name":"D"},"heartbeat":{"every":"1h"}}]
            },
            "models":{"providers":{"Z.AI":{"baseUrl":"http://x","apiKey":"k","headers":{"x-a":"1"},"models":[{"id":"m","name":"M","cost":{"input":1.5},"compat":{"maxTokensField":"max_tokens","supportsStore":false}}]},
                "other":{"baseUrl":"u","api":"google-generative-ai","models":[{"id":"g","name":"G","api":"ollama"}]}}},
            "logging":{"file":"~/log","redactSensitive":"off"}, "session":{"scope":"global","store":"~/s/{agentId}.json"},
            "hooks":{"enabled":true,"token":"h"}
        }));
        assert_eq!(warnings, [""; 0]);
        let defaults = &config.agents.defaults;
        assert_eq!(defaults.model, Some(ModelChoice { primary: "a/b".into(), fallbacks: vec!["c/d".into()] }));
        assert_eq!(defaults.models["a/b"].alias.as_deref(), Some("ab"));
        assert_eq!(defaults.workspace.as_deref(), Some("/home/u/w"));
        assert_eq!((defaults.heartbeat.every_ms, defaults.timeout), (0, Duration::from_secs(5)));
        assert_eq!((config.agents.ids(), config.agents.default_id()), (vec!["ops", "dev"], "dev"));
        let dev = config.agents.get("dev").unwrap();
        assert_eq!(dev.heartbeat.as_ref().map(|h| (h.every_ms, h.prompt.as_deref())), Some((3_600_000, Some("p"))));
        let zai = &config.models.providers["zai"];
        assert_eq!((zai.api, &zai.api_name), (Some(Api::OpenAiCompletions), &None));
        assert_eq!(zai.headers, [("x-a".to_owned(), Secret::new("1"))]);
        assert_eq!((zai.models[0].cost.input, zai.models[0].supports_store), (1.5, Some(false)));
        let other = &config.models.providers["other"];
        assert_eq!((other.api, other.models[0].api), (None, Some(Api::Ollama)));
        assert_eq!((config.logging.file.as_deref(), config.logging.redact_off), (Some("/home/u/log"), true));
        assert_eq!(config.session.store.as_deref(), Some("/home/u/s/{agentId}.json"));
        assert_eq!(config.hooks.token, Some(Secret::new("h")));
    }

    #[test]
    fn wrong_shapes_are_survived() {
        for section in ["gateway", "agents", "models", "session", "logging", "commands", "hooks", "secrets", "tools"] {
            for value in [
                json!(1),
                json!("x"),
                json!([]),
                json!([1]),
                json!(null),
                json!({"defaults":5,"list":[1],"providers":{"a":1},"auth":[]}),
            ] {
                read(json!({section: value}));
            }
        }
    }
}
