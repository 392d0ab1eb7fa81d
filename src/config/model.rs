//! Typed views of the keys that code uses, with the defaults of config A4 and A7 already applied.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use super::hooks::Hooks;
use crate::secret::Secret;

/// The effective configuration. One `Arc<Config>` is swapped at reload; a request keeps the one it started with.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Config {
    pub gateway: Gateway,
    pub agents: Agents,
    pub models: Models,
    pub session: Session,
    pub logging: Logging,
    pub commands: Commands,
    pub hooks: Hooks,
    pub http: Http,
    pub canvas: CanvasHost,
    pub tools: super::tools::Tools,
}

/// `canvasHost`
#[derive(Clone, Debug, PartialEq)]
pub struct CanvasHost {
    pub enabled: bool,
    /// None: `canvas` in the state directory.
    pub root: Option<String>,
    /// A further port with nothing else on it, as of older layouts.
    pub port: Option<u16>,
    pub live_reload: bool,
}

impl Default for CanvasHost {
    fn default() -> Self {
        CanvasHost { enabled: true, root: None, port: None, live_reload: true }
    }
}

/// `gateway.http`
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Http {
    /// Origins that browsers may call from, exact texts.
    pub cors_origins: Vec<String>,
    pub chat: ChatEndpoint,
    pub responses: ResponsesEndpoint,
}

/// `gateway.http.endpoints.chatCompletions`; it also switches `/v1/models` and `/v1/embeddings`.
#[derive(Clone, Debug, PartialEq)]
pub struct ChatEndpoint {
    pub enabled: bool,
    pub max_body_bytes: usize,
    pub images: ImageRules,
}

impl Default for ChatEndpoint {
    fn default() -> Self {
        ChatEndpoint { enabled: false, max_body_bytes: crate::limits::API_BODY_BYTES, images: ImageRules::default() }
    }
}

/// Which images a request may bring.
#[derive(Clone, Debug, PartialEq)]
pub struct ImageRules {
    pub max_parts: usize,
    pub max_bytes: usize,
    pub max_total_bytes: usize,
    pub mimes: Vec<String>,
    pub urls: UrlRules,
}

impl Default for ImageRules {
    fn default() -> Self {
        let mimes = ["image/jpeg", "image/png", "image/gif", "image/webp", "image/heic", "image/heif"];
        ImageRules {
            max_parts: crate::limits::API_IMAGE_PARTS,
            max_bytes: crate::limits::API_IMAGE_BYTES,
            max_total_bytes: crate::limits::API_IMAGES_BYTES,
            mimes: mimes.map(str::to_owned).to_vec(),
            urls: UrlRules::default(),
        }
    }
}

/// `gateway.http.endpoints.responses`
#[derive(Clone, Debug, PartialEq)]
pub struct ResponsesEndpoint {
    pub enabled: bool,
    pub max_body_bytes: usize,
    /// Addresses of one request.
    pub max_url_parts: usize,
    pub images: ImageRules,
    pub files: FileRules,
}

impl Default for ResponsesEndpoint {
    fn default() -> Self {
        ResponsesEndpoint {
            enabled: false,
            max_body_bytes: crate::limits::API_BODY_BYTES,
            max_url_parts: crate::limits::API_URL_PARTS,
            images: ImageRules { urls: UrlRules { allow: true, ..UrlRules::default() }, ..ImageRules::default() },
            files: FileRules::default(),
        }
    }
}

/// Which files a request may bring.
#[derive(Clone, Debug, PartialEq)]
pub struct FileRules {
    pub mimes: Vec<String>,
    pub max_bytes: usize,
    /// How much of a file is told.
    pub max_chars: usize,
    pub urls: UrlRules,
}

impl Default for FileRules {
    fn default() -> Self {
        let mimes = ["text/plain", "text/markdown", "text/html", "text/csv", "application/json", "application/pdf"];
        FileRules {
            mimes: mimes.map(str::to_owned).to_vec(),
            max_bytes: crate::limits::API_FILE_BYTES,
            max_chars: crate::limits::API_FILE_CHARS,
            urls: UrlRules { allow: true, ..UrlRules::default() },
        }
    }
}

/// Whether and how far addresses in a request are read.
#[derive(Clone, Debug, PartialEq)]
pub struct UrlRules {
    pub allow: bool,
    /// Hosts; empty: all public ones.
    pub allowlist: Vec<String>,
    pub redirects: u32,
    pub timeout: Duration,
}

impl Default for UrlRules {
    fn default() -> Self {
        UrlRules {
            allow: false,
            allowlist: Vec::new(),
            redirects: crate::limits::API_URL_REDIRECTS,
            timeout: crate::limits::API_URL_TIME,
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Gateway {
    /// `local` or `remote`; unset blocks the start unless `--allow-unconfigured`.
    pub mode: Option<String>,
    pub port: Option<u16>,
    pub bind: Option<Bind>,
    pub custom_bind_host: Option<String>,
    pub auth: Auth,
    /// Addresses and CIDRs as written; parsed by `policy::net`.
    pub trusted_proxies: Vec<String>,
    pub allow_real_ip_fallback: bool,
    pub control_ui: ControlUi,
    /// `off`, `serve` or `funnel`.
    pub tailscale_mode: Option<String>,
    pub tailscale_reset_on_exit: bool,
    /// `discovery.mdns.mode`: `off`, `minimal` or `full`.
    pub mdns_mode: Option<String>,
    pub remote_url: Option<String>,
    pub remote_token: Option<Secret>,
    pub remote_password: Option<Secret>,
    /// SHA-256 of its certificate, as written.
    pub remote_tls_fingerprint: Option<String>,
    /// `user@host[:port]` of a tunnel to it, and the key file for that; only for hints.
    pub remote_ssh_target: Option<String>,
    pub remote_ssh_identity: Option<String>,
    pub reload_mode: ReloadMode,
    pub reload_debounce: Duration,
    pub tls: Tls,
    pub strict_transport_security: Option<String>,
    /// Our own lower bound for `policy.maxBufferedBytes`; None = `limits::MAX_BUFFERED_BYTES`.
    pub max_buffered_bytes: Option<usize>,
}

/// `gateway.tls`; paths as the system takes them, None: the files that the gateway makes for itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Tls {
    pub enabled: bool,
    pub auto_generate: bool,
    pub cert_path: Option<String>,
    pub key_path: Option<String>,
    /// Certificates that are sent behind that of the gateway.
    pub ca_path: Option<String>,
}

impl Tls {
    /// Certificate and key: the files that are named, or the gateway's own.
    pub fn pair(&self, state_dir: &Path) -> [PathBuf; 2] {
        let path = |named: &Option<String>, own: &str| match named {
            Some(path) => PathBuf::from(path),
            None => state_dir.join("gateway").join("tls").join(own),
        };
        [path(&self.cert_path, "gateway-cert.pem"), path(&self.key_path, "gateway-key.pem")]
    }
}

impl Default for Tls {
    fn default() -> Self {
        Tls { enabled: false, auto_generate: true, cert_path: None, key_path: None, ca_path: None }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bind {
    Loopback,
    Lan,
    Tailnet,
    Auto,
    Custom,
}

impl Bind {
    pub const ALL: [(&'static str, Bind); 5] = [
        ("loopback", Bind::Loopback),
        ("lan", Bind::Lan),
        ("tailnet", Bind::Tailnet),
        ("auto", Bind::Auto),
        ("custom", Bind::Custom),
    ];

    pub fn parse(text: &str) -> Option<Bind> {
        Self::ALL.iter().find(|(name, _)| *name == text).map(|(_, bind)| *bind)
    }

    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, bind)| *bind == self).map_or("", |(name, _)| name)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthMode {
    None,
    Token,
    Password,
    TrustedProxy,
}

impl AuthMode {
    pub const ALL: [(&'static str, AuthMode); 4] = [
        ("none", AuthMode::None),
        ("token", AuthMode::Token),
        ("password", AuthMode::Password),
        ("trusted-proxy", AuthMode::TrustedProxy),
    ];

    pub fn parse(text: &str) -> Option<AuthMode> {
        Self::ALL.iter().find(|(name, _)| *name == text).map(|(_, mode)| *mode)
    }

    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, mode)| *mode == self).map_or("", |(name, _)| name)
    }
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Auth {
    pub mode: Option<AuthMode>,
    pub token: Option<Secret>,
    pub password: Option<Secret>,
    /// None: true only with `tailscale.mode=serve` and a mode other than password and trusted-proxy.
    pub allow_tailscale: Option<bool>,
    pub rate_limit: RateLimit,
    pub trusted_proxy: Option<TrustedProxy>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct RateLimit {
    pub max_attempts: u32,
    pub window: Duration,
    pub lockout: Duration,
    pub exempt_loopback: bool,
}

impl Default for RateLimit {
    fn default() -> Self {
        use crate::limits::{RATE_LOCKOUT, RATE_MAX_ATTEMPTS, RATE_WINDOW};
        RateLimit { max_attempts: RATE_MAX_ATTEMPTS, window: RATE_WINDOW, lockout: RATE_LOCKOUT, exempt_loopback: true }
    }
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct TrustedProxy {
    pub user_header: String,
    pub required_headers: Vec<String>,
    pub allow_users: Vec<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct ControlUi {
    pub enabled: bool,
    pub base_path: String,
    /// Directory of its files.
    pub root: Option<String>,
    pub allowed_origins: Vec<String>,
    pub host_header_origin_fallback: bool,
    pub allow_insecure_auth: bool,
    pub disable_device_auth: bool,
}

impl Default for ControlUi {
    fn default() -> Self {
        ControlUi {
            enabled: true,
            base_path: String::new(),
            root: None,
            allowed_origins: Vec::new(),
            host_header_origin_fallback: false,
            allow_insecure_auth: false,
            disable_device_auth: false,
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReloadMode {
    Off,
    Hot,
    Restart,
    #[default]
    Hybrid,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Agents {
    pub defaults: AgentDefaults,
    pub list: Vec<Agent>,
}

impl Agents {
    /// First entry with `default:true`, else the first, else `main` (config A7).
    pub fn default_id(&self) -> &str {
        self.list.iter().find(|a| a.default).or(self.list.first()).map_or("main", |a| &a.id)
    }

    /// Ids in config order; `["main"]` when the list is empty.
    pub fn ids(&self) -> Vec<&str> {
        if self.list.is_empty() { vec!["main"] } else { self.list.iter().map(|a| a.id.as_str()).collect() }
    }

    pub fn get(&self, id: &str) -> Option<&Agent> {
        self.list.iter().find(|a| a.id == id)
    }

    pub fn knows(&self, id: &str) -> bool {
        self.ids().contains(&id)
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct AgentDefaults {
    /// None: the reference's default model, or the echo model in the dev profile without any provider.
    pub model: Option<ModelChoice>,
    /// `agents.defaults.models`: when not empty, the allow list of model references, with their aliases.
    pub models: BTreeMap<String, ModelAlias>,
    pub workspace: Option<String>,
    pub skip_bootstrap: bool,
    pub timeout: Duration,
    pub max_concurrent: usize,
    pub context_tokens: Option<u64>,
    pub thinking: Option<String>,
    pub user_timezone: Option<String>,
    pub heartbeat: Heartbeat,
}

impl Default for AgentDefaults {
    fn default() -> Self {
        AgentDefaults {
            model: None,
            models: BTreeMap::new(),
            workspace: None,
            skip_bootstrap: false,
            timeout: crate::limits::RUN_TIMEOUT,
            max_concurrent: crate::limits::LANE_MAIN,
            context_tokens: None,
            thinking: None,
            user_timezone: None,
            heartbeat: Heartbeat::default(),
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct ModelAlias {
    pub alias: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct ModelChoice {
    /// `provider/model`.
    pub primary: String,
    pub fallbacks: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Agent {
    /// Lower-cased.
    pub id: String,
    pub default: bool,
    pub name: Option<String>,
    pub workspace: Option<String>,
    pub agent_dir: Option<String>,
    pub model: Option<ModelChoice>,
    pub identity: Identity,
    pub heartbeat: Option<Heartbeat>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Identity {
    pub name: Option<String>,
    pub theme: Option<String>,
    pub emoji: Option<String>,
    pub avatar: Option<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Heartbeat {
    /// As written, e.g. `30m`; `every_ms` 0 = off.
    pub every: String,
    pub every_ms: u64,
    pub target: String,
    pub ack_max_chars: u64,
    pub prompt: Option<String>,
    pub model: Option<String>,
}

impl Default for Heartbeat {
    fn default() -> Self {
        Heartbeat {
            every: "30m".into(),
            every_ms: 1_800_000,
            target: "none".into(),
            ack_max_chars: 300,
            prompt: None,
            model: None,
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Models {
    /// `models.providers`, by normalised id.
    pub providers: BTreeMap<String, Provider>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Api {
    OpenAiCompletions,
    AnthropicMessages,
    Ollama,
    /// The built-in echo model; not a name that a config can give.
    Echo,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Provider {
    pub base_url: String,
    pub api_key: Option<Secret>,
    /// As written; `Api` of it, or None when this build does not speak it.
    pub api_name: Option<String>,
    pub api: Option<Api>,
    /// False: `x-api-key` style for Anthropic; true: `Authorization: Bearer`.
    pub auth_header: bool,
    pub headers: Vec<(String, Secret)>,
    pub models: Vec<Model>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    pub id: String,
    pub name: String,
    pub api: Option<Api>,
    pub reasoning: bool,
    pub input: Vec<String>,
    /// None: `limits::CONTEXT_TOKENS`.
    pub context_window: Option<u64>,
    pub max_tokens: u64,
    pub cost: Cost,
    pub headers: Vec<(String, Secret)>,
    /// `compat.maxTokensField`: `max_tokens` instead of `max_completion_tokens`.
    pub max_tokens_field: Option<String>,
    pub supports_usage_in_streaming: Option<bool>,
    pub supports_store: Option<bool>,
}

/// Per million tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cost {
    pub input: f64,
    pub output: f64,
    pub cache_read: f64,
    pub cache_write: f64,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Session {
    /// `per-sender` (default) or `global`.
    pub global_scope: bool,
    pub store: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Logging {
    /// silent, fatal, error, warn, info, debug, trace.
    pub level: Option<String>,
    pub console_level: Option<String>,
    pub console_style: Option<String>,
    pub file: Option<String>,
    pub max_file_bytes: Option<u64>,
    /// False only for `redactSensitive: "off"`.
    pub redact_off: bool,
    pub redact_patterns: Vec<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Commands {
    /// SIGUSR1 from outside restarts the gateway.
    pub restart: bool,
}

impl Default for Commands {
    fn default() -> Self {
        Commands { restart: true }
    }
}
