//! Which models there are and how each is asked: references, aliases, allow list, providers, keys (agent 11,
//! DECISIONS 59, 60). Reads the environment and an agent's `auth-profiles.json` through what it is given.

use std::path::Path;

use serde_json::{Value, json};

use super::echo;
use super::fault::is_loopback_url;
use super::providers::{ALIASES, BUILT_IN, BUILT_IN_MODELS, BuiltIn, provider_id};
use super::wire::{ModelError, Reason};
use crate::config::{Api, Config, Cost, Model, ModelChoice, Provider};
use crate::limits::{CONTEXT_TOKENS, OUTPUT_TOKENS, OUTPUT_TOKENS_SENT};
use crate::secret::Secret;

pub const DEFAULT_MODEL: &str = "anthropic/claude-opus-4-6";
/// `auth-profiles.json` larger than this is not read.
const AUTH_FILE_BYTES: u64 = 1024 * 1024;

/// `provider/model`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelRef {
    pub provider: String,
    pub model: String,
}

impl ModelRef {
    /// First slash; without one the provider is anthropic. None for an empty part.
    pub fn parse(text: &str) -> Option<ModelRef> {
        let text = text.trim();
        let (provider, model) = text.split_once('/').unwrap_or(("anthropic", text));
        let (provider, model) = (provider_id(provider), model.trim());
        if provider.is_empty() || model.is_empty() {
            return None;
        }
        Some(ModelRef { provider, model: model.to_owned() })
    }
}

impl std::fmt::Display for ModelRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.provider, self.model)
    }
}

/// Everything that is needed to ask one model.
#[derive(Clone, Debug, PartialEq)]
pub struct Endpoint {
    pub id: ModelRef,
    pub api: Api,
    pub base_url: String,
    pub key: Option<Secret>,
    /// The key goes into `Authorization: Bearer` although the format has a header of its own.
    pub bearer: bool,
    pub headers: Vec<(String, Secret)>,
    pub context_window: u64,
    /// Sent to the provider: min(model's, `OUTPUT_TOKENS_SENT`).
    pub max_tokens: u64,
    pub reasoning: bool,
    pub images: bool,
    pub cost: Cost,
    pub max_tokens_field: String,
    pub usage_in_streaming: bool,
    pub store: bool,
}

impl Endpoint {
    /// As transcripts name the wire format.
    pub fn api_name(&self) -> &'static str {
        api_name(self.api)
    }

    /// Claude 4.6 takes effort words instead of a budget.
    pub fn adaptive(&self) -> bool {
        self.id.model.contains("claude-") && ["4-6", "4.6"].iter().any(|v| self.id.model.contains(v))
    }
}

pub fn api_name(api: Api) -> &'static str {
    match api {
        Api::OpenAiCompletions => "openai-completions",
        Api::AnthropicMessages => "anthropic-messages",
        Api::Ollama => "ollama",
        Api::Echo => "builtin-echo",
    }
}

/// The catalogue of one moment: a config and the environment.
pub struct Catalog<'a> {
    pub config: &'a Config,
    pub env: &'a dyn Fn(&str) -> Option<String>,
    /// Dev profile or `gateway --dev`.
    pub dev: bool,
}

/// Why a model cannot be asked at all. None of these is worth a retry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unusable {
    NoKey(String),
    NotSpoken(String),
    Unknown(String),
}

impl Unusable {
    pub fn text(&self) -> &str {
        match self {
            Unusable::NoKey(text) | Unusable::NotSpoken(text) | Unusable::Unknown(text) => text,
        }
    }

    pub fn reason(&self) -> Reason {
        match self {
            Unusable::NoKey(_) => Reason::Auth,
            Unusable::NotSpoken(_) | Unusable::Unknown(_) => Reason::ModelNotFound,
        }
    }

    pub fn to_error(&self) -> ModelError {
        ModelError::new(self.reason(), self.text())
    }
}

impl Catalog<'_> {
    /// The chosen model of an agent and its fallbacks, the echo model where nothing is configured in the dev profile.
    pub fn chain(&self, agent: &str, agent_dir: &Path) -> Vec<ModelRef> {
        let config = &self.config.agents;
        let choice = config.get(agent).and_then(|a| a.model.as_ref()).or(config.defaults.model.as_ref());
        let primary = match choice.map(|c| c.primary.as_str()).filter(|p| !p.trim().is_empty()) {
            Some(text) => self.find(text),
            None if self.echoes(agent_dir) => {
                Some(ModelRef { provider: echo::PROVIDER.into(), model: echo::MODEL.into() })
            }
            None => ModelRef::parse(DEFAULT_MODEL),
        };
        let mut out: Vec<ModelRef> = primary.into_iter().collect();
        for text in choice.map(|c| c.fallbacks.as_slice()).unwrap_or_default() {
            if let Some(id) = self.find(text).filter(|id| !out.contains(id)) {
                out.push(id);
            }
        }
        out
    }

    /// `chain` for a session that has chosen a model: that one first, the configured primary last.
    pub fn chain_with(&self, chosen: Option<ModelRef>, agent: &str, agent_dir: &Path) -> Vec<ModelRef> {
        let mut chain = self.chain(agent, agent_dir);
        let Some(chosen) = chosen.filter(|id| chain.first() != Some(id)) else { return chain };
        let primary = (!chain.is_empty()).then(|| chain.remove(0));
        chain.retain(|id| *id != chosen);
        let mut out = vec![chosen];
        out.append(&mut chain);
        out.extend(primary);
        out
    }

    /// The entry of a provider, whichever of its names the config uses.
    fn configured(&self, provider: &str) -> Option<&Provider> {
        let all = &self.config.models.providers;
        all.get(provider).or_else(|| all.iter().find(|(name, _)| provider_id(name) == provider).map(|(_, entry)| entry))
    }

    /// A reference or an alias.
    pub fn find(&self, text: &str) -> Option<ModelRef> {
        let text = text.trim();
        let listed = &self.config.agents.defaults.models;
        let own = listed.iter().find(|(_, m)| m.alias.as_deref().is_some_and(|a| a.eq_ignore_ascii_case(text)));
        if let Some((id, _)) = own {
            return ModelRef::parse(id);
        }
        let short = ALIASES.iter().find(|(alias, _)| alias.eq_ignore_ascii_case(text)).map(|(_, id)| *id);
        if let Some(id) = short.filter(|id| listed.contains_key(*id)) {
            return ModelRef::parse(id);
        }
        ModelRef::parse(text)
    }

    /// Whether `text`, which was read as `id`, is meant as a model at all: an alias, or a reference whose provider is
    /// known.
    pub fn names_a_model(&self, text: &str, id: &ModelRef) -> bool {
        let known = |provider: &str| self.configured(provider).is_some() || BUILT_IN.iter().any(|p| p.id == provider);
        let is_echo = id.provider == echo::PROVIDER && id.model == echo::MODEL;
        match text.contains('/') {
            true => known(&id.provider) || is_echo,
            // Without a slash every word parses as a model of anthropic's: only aliases count.
            false => !text.is_empty() && ModelRef::parse(text).as_ref() != Some(id),
        }
    }

    /// Whether a session may choose this model: `agents.defaults.models`, when not empty, is the allow list; the
    /// configured primary and its fallbacks always belong to it.
    pub fn allowed(&self, id: &ModelRef) -> Result<(), String> {
        let defaults = &self.config.agents.defaults;
        let is = |text: &str| self.find(text).as_ref() == Some(id);
        let chosen = |c: &ModelChoice| is(&c.primary) || c.fallbacks.iter().any(|f| is(f));
        if defaults.models.is_empty()
            || defaults.models.keys().any(|text| is(text))
            || defaults.model.as_ref().is_some_and(chosen)
            || self.config.agents.list.iter().filter_map(|a| a.model.as_ref()).any(chosen)
        {
            return Ok(());
        }
        Err(format!(
            "Model \"{id}\" is not allowed. Use /models to list providers, or /models <provider> to list models."
        ))
    }

    /// DECISIONS 60: the dev profile, no provider, no key anywhere, no model named.
    pub fn echoes(&self, agent_dir: &Path) -> bool {
        self.dev
            && self.config.models.providers.is_empty()
            && !BUILT_IN.iter().any(|p| p.env.iter().any(|name| self.var(name).is_some()))
            && auth_profiles(agent_dir).is_none_or(|p| p.as_object().is_none_or(|p| p.is_empty()))
    }

    /// How a model is asked, with its key.
    pub fn endpoint(&self, id: &ModelRef, agent_dir: &Path) -> Result<Endpoint, Unusable> {
        if id.provider == echo::PROVIDER && id.model == echo::MODEL {
            return Ok(self.echo_endpoint(id));
        }
        let configured = self.configured(&id.provider);
        let built_in = BUILT_IN.iter().find(|p| p.id == id.provider);
        let model = configured.and_then(|p| p.models.iter().find(|m| m.id == id.model));
        let api = match (configured, built_in) {
            (Some(provider), _) => match model.and_then(|m| m.api).or(provider.api) {
                Some(api) => api,
                // Without a name the format is that of the built-in provider, else OpenAI's, which most speak.
                None if provider.api_name.is_none() => built_in.map_or(Api::OpenAiCompletions, |p| p.api),
                None => {
                    let name = provider.api_name.as_deref().unwrap_or_default();
                    return Err(Unusable::NotSpoken(format!(
                        "provider \"{}\" uses the api \"{name}\", which this build does not speak \
                         (openai-completions, anthropic-messages, ollama)",
                        id.provider
                    )));
                }
            },
            (None, Some(built_in)) => built_in.api,
            (None, None) => return Err(Unusable::Unknown(format!("Unknown model: {id}"))),
        };
        let base_url = configured
            .map(|p| p.base_url.trim())
            .filter(|url| !url.is_empty())
            .or(built_in.map(|p| p.base_url))
            .unwrap_or_default()
            .trim_end_matches('/')
            .to_owned();
        let (key, bearer) = self.key(id, configured, built_in, agent_dir);
        if key.is_none() && !keyless(api, &base_url, configured) {
            return Err(Unusable::NoKey(no_key_text(&id.provider, agent_dir)));
        }
        let listed = BUILT_IN_MODELS.iter().find(|(p, m, ..)| *p == id.provider && *m == id.model);
        let window = model.and_then(|m| m.context_window).or(listed.map(|l| l.3)).unwrap_or(CONTEXT_TOKENS);
        let window = self.config.agents.defaults.context_tokens.map_or(window, |cap| window.min(cap));
        let max_tokens = model.map_or(OUTPUT_TOKENS, |m| m.max_tokens).clamp(1, OUTPUT_TOKENS_SENT);
        let mut headers = configured.map(|p| p.headers.clone()).unwrap_or_default();
        headers.extend(model.map(|m| m.headers.clone()).unwrap_or_default());
        Ok(Endpoint {
            id: id.clone(),
            api,
            key,
            bearer: bearer || configured.is_some_and(|p| p.auth_header),
            headers,
            context_window: window,
            max_tokens,
            reasoning: model.map_or(listed.is_some_and(|l| l.4), |m| m.reasoning),
            images: model.map_or(listed.is_some(), |m| m.input.iter().any(|kind| kind == "image")),
            cost: model.map(|m| m.cost).unwrap_or_default(),
            max_tokens_field: model
                .and_then(|m| m.max_tokens_field.clone())
                .unwrap_or_else(|| default_tokens_field(&base_url)),
            usage_in_streaming: model.and_then(|m| m.supports_usage_in_streaming).unwrap_or(true),
            store: model.and_then(|m| m.supports_store).unwrap_or_else(|| match configured {
                Some(_) => true,
                None => built_in.is_some_and(|p| p.store),
            }),
            base_url,
        })
    }

    fn echo_endpoint(&self, id: &ModelRef) -> Endpoint {
        Endpoint {
            id: id.clone(),
            api: Api::Echo,
            base_url: String::new(),
            key: None,
            bearer: false,
            headers: Vec::new(),
            context_window: self.config.agents.defaults.context_tokens.unwrap_or(CONTEXT_TOKENS),
            max_tokens: OUTPUT_TOKENS,
            reasoning: false,
            images: false,
            cost: Cost::default(),
            max_tokens_field: String::new(),
            usage_in_streaming: false,
            store: false,
        }
    }

    /// Profiles of the agent, then the environment, then the config; true when it is no API key but a bearer token.
    fn key(
        &self,
        id: &ModelRef,
        configured: Option<&Provider>,
        built_in: Option<&BuiltIn>,
        agent_dir: &Path,
    ) -> (Option<Secret>, bool) {
        if let Some((key, bearer)) = profile_key(agent_dir, &id.provider) {
            return (Some(key), bearer);
        }
        for name in built_in.map(|p| p.env).unwrap_or_default() {
            if let Some(value) = self.var(name) {
                return (Some(Secret::new(value)), name.ends_with("_OAUTH_TOKEN"));
            }
        }
        (configured.and_then(|p| p.api_key.clone()).filter(|k| !k.is_empty()), false)
    }

    fn var(&self, name: &str) -> Option<String> {
        (self.env)(name).map(|v| v.trim().to_owned()).filter(|v| !v.is_empty())
    }

    /// `models.list`: what the config names, then the short built-in list.
    pub fn models_list(&self) -> Value {
        let mut models: Vec<Value> = Vec::new();
        let cap = |window: u64| self.config.agents.defaults.context_tokens.map_or(window, |cap| window.min(cap));
        for (provider, entry) in &self.config.models.providers {
            models.extend(entry.models.iter().map(|m| configured_model(provider, m, cap)));
        }
        for (provider, id, name, window, reasoning) in BUILT_IN_MODELS {
            let known = |m: &Value| m["provider"] == provider && m["id"] == id;
            if !models.iter().any(known) {
                models.push(json!({
                    "id": id, "name": name, "provider": provider, "contextWindow": cap(window),
                    "reasoning": reasoning, "input": ["text", "image"]}));
            }
        }
        let chosen =
            self.config.agents.defaults.model.iter().flat_map(|c| std::iter::once(&c.primary).chain(&c.fallbacks));
        let echo = format!("{}/{}", echo::PROVIDER, echo::MODEL);
        if self.dev || chosen.into_iter().any(|text| *text == echo) {
            models.push(json!({
                "id": echo::MODEL, "name": "Echo (built in)", "provider": echo::PROVIDER,
                "contextWindow": cap(CONTEXT_TOKENS), "reasoning": false, "input": ["text"]}));
        }
        json!({ "models": models })
    }
}

fn configured_model(provider: &str, model: &Model, cap: impl Fn(u64) -> u64) -> Value {
    let name = if model.name.is_empty() { &model.id } else { &model.name };
    json!({
        "id": model.id, "name": name, "provider": provider,
        "contextWindow": cap(model.context_window.unwrap_or(CONTEXT_TOKENS)),
        "reasoning": model.reasoning, "input": model.input})
}

/// The literal text of agent 11.
fn no_key_text(provider: &str, agent_dir: &Path) -> String {
    format!(
        "No API key found for provider \"{provider}\". Auth store: {} (agentDir: {}). Configure auth for this agent \
         (openclaw agents add <id>) or copy auth-profiles.json from the main agentDir.",
        agent_dir.join("auth-profiles.json").display(),
        agent_dir.display()
    )
}

/// A server on this machine may go without a key, and so may one that is given its credentials as a header.
fn keyless(api: Api, base_url: &str, configured: Option<&Provider>) -> bool {
    let by_header = configured.is_some_and(|p| {
        p.headers.iter().any(|(name, _)| {
            ["authorization", "x-api-key", "api-key"].iter().any(|known| name.eq_ignore_ascii_case(known))
        })
    });
    api == Api::Ollama || is_loopback_url(base_url) || by_header
}

/// OpenAI's newer name, and the older one where a known endpoint has only that.
fn default_tokens_field(base_url: &str) -> String {
    let old = ["api.mistral.ai", "generativelanguage.googleapis.com", "api.z.ai"];
    let field = if old.iter().any(|host| base_url.contains(host)) { "max_tokens" } else { "max_completion_tokens" };
    field.to_owned()
}

/// `profiles` of the agent's `auth-profiles.json`.
fn auth_profiles(agent_dir: &Path) -> Option<Value> {
    auth_file(agent_dir)?.get("profiles").cloned()
}

fn auth_file(agent_dir: &Path) -> Option<Value> {
    use std::io::Read as _;
    let path = agent_dir.join("auth-profiles.json");
    let file = std::fs::File::open(&path).ok()?;
    let mut text = Vec::new();
    file.take(AUTH_FILE_BYTES).read_to_end(&mut text).ok()?;
    match serde_json::from_slice(&text) {
        Ok(value) => Some(value),
        Err(e) => {
            log::warn!("auth profiles: {} is not readable as JSON ({e}); keys in it are not used", path.display());
            None
        }
    }
}

/// The first usable profile of a provider: in the file's own order for it, else as they stand.
fn profile_key(agent_dir: &Path, provider: &str) -> Option<(Secret, bool)> {
    let file = auth_file(agent_dir)?;
    let profiles = file.get("profiles")?.as_object()?;
    let ordered: Vec<&str> = file
        .get("order")
        .and_then(|order| order.get(provider))
        .and_then(Value::as_array)
        .map(|ids| ids.iter().filter_map(Value::as_str).collect())
        .unwrap_or_else(|| profiles.keys().map(String::as_str).collect());
    ordered.into_iter().filter_map(|id| profiles.get(id)).find_map(|profile| {
        let text = |key: &str| profile.get(key).and_then(Value::as_str).map(str::trim).filter(|t| !t.is_empty());
        if provider_id(text("provider")?) != provider {
            return None;
        }
        match text("type")? {
            "api_key" => text("key").map(|key| (Secret::new(key), false)),
            "token" => text("token").map(|token| (Secret::new(token), true)),
            _ => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ModelAlias;
    use std::path::PathBuf;

    fn provider(base_url: &str) -> Provider {
        Provider {
            base_url: base_url.into(),
            api_key: Some(Secret::new("from-config")),
            api_name: None,
            api: None,
            auth_header: false,
            headers: Vec::new(),
            models: Vec::new(),
        }
    }

    fn no_env(_: &str) -> Option<String> {
        None
    }

    fn nowhere() -> PathBuf {
        PathBuf::from("/nonexistent/agent")
    }

    fn temp_dir() -> PathBuf {
        let dir = std::env::temp_dir().join(format!("openclaw-catalog-{}", crate::ids::new_uuid()));
        std::fs::create_dir_all(&dir).unwrap();
        dir
    }

    #[test]
    fn references() {
        for (text, want) in [
            ("anthropic/claude-x", Some("anthropic/claude-x")),
            ("openrouter/meta/llama", Some("openrouter/meta/llama")),
            ("claude-x", Some("anthropic/claude-x")),
            ("Z.AI/glm", Some("zai/glm")),
            ("/x", None),
            ("x/", None),
            ("", None),
        ] {
            assert_eq!(ModelRef::parse(text).map(|m| m.to_string()).as_deref(), want, "{text}");
        }
    }

    #[test]
    fn aliases_count_only_when_listed() {
        let mut config = Config::default();
        let find =
            |config: &Config, text: &str| Catalog { config, env: &no_env, dev: false }.find(text).unwrap().to_string();
        assert_eq!(find(&config, "opus"), "anthropic/opus");
        config.agents.defaults.models.insert("anthropic/claude-opus-4-6".into(), ModelAlias::default());
        config.agents.defaults.models.insert("p/m".into(), ModelAlias { alias: Some("Mine".into()) });
        assert_eq!(find(&config, "Opus"), "anthropic/claude-opus-4-6");
        assert_eq!(find(&config, "mine"), "p/m");
        let catalog = Catalog { config: &config, env: &no_env, dev: false };
        assert_eq!(catalog.allowed(&ModelRef::parse("p/m").unwrap()), Ok(()));
        assert_eq!(
            catalog.allowed(&ModelRef::parse("x/y").unwrap()).unwrap_err(),
            "Model \"x/y\" is not allowed. Use /models to list providers, or /models <provider> to list models."
        );
    }

    #[test]
    fn chains() {
        let mut config = Config::default();
        let texts = |config: &Config, chosen: Option<&str>, dev| {
            let chain =
                Catalog { config, env: &no_env, dev }.chain_with(chosen.and_then(ModelRef::parse), "main", &nowhere());
            chain.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(texts(&config, None, false), ["anthropic/claude-opus-4-6"]);
        assert_eq!(texts(&config, None, true), ["builtin/echo"]);
        config.agents.defaults.model =
            Some(ModelChoice { primary: "a/1".into(), fallbacks: vec!["b/2".into(), "a/1".into(), "c/3".into()] });
        assert_eq!(texts(&config, None, true), ["a/1", "b/2", "c/3"]);
        assert_eq!(texts(&config, Some("b/2"), false), ["b/2", "c/3", "a/1"]);
        assert_eq!(texts(&config, Some("a/1"), false), ["a/1", "b/2", "c/3"]);
        let keyed = |name: &str| (name == "GROQ_API_KEY").then(|| "k".to_owned());
        let config = Config::default();
        assert!(!Catalog { config: &config, env: &keyed, dev: true }.echoes(&nowhere()));
    }

    #[test]
    fn keys_come_from_profile_then_environment_then_config() {
        let dir = temp_dir();
        let mut config = Config::default();
        config.models.providers.insert("openai".into(), provider("https://x/v1/"));
        let key = |env: &dyn Fn(&str) -> Option<String>, dir: &Path| {
            let endpoint = Catalog { config: &config, env, dev: false }
                .endpoint(&ModelRef::parse("openai/m").unwrap(), dir)
                .unwrap();
            assert_eq!(endpoint.base_url, "https://x/v1");
            endpoint.key.unwrap().expose().to_owned()
        };
        let env = |name: &str| (name == "OPENAI_API_KEY").then(|| " from-env ".to_owned());
        assert_eq!(key(&no_env, &dir), "from-config");
        assert_eq!(key(&env, &dir), "from-env");
        let text = r#"{"version":1,"profiles":{"a":{"type":"oauth","provider":"openai","access":"x"},
            "b":{"type":"api_key","provider":"anthropic","key":"no"},"c":{"type":"api_key","provider":"openai","key":"from-file"}}}"#;
        std::fs::write(dir.join("auth-profiles.json"), text).unwrap();
        assert_eq!(key(&env, &dir), "from-file");
        std::fs::write(dir.join("auth-profiles.json"), "{broken").unwrap();
        assert_eq!(key(&env, &dir), "from-env");
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn what_cannot_be_asked() {
        let mut config = Config::default();
        config
            .models
            .providers
            .insert("g".into(), Provider { api_name: Some("google-generative-ai".into()), ..provider("https://g") });
        config.models.providers.insert("nokey".into(), Provider { api_key: None, ..provider("https://n.example") });
        config
            .models
            .providers
            .insert("near".into(), Provider { api_key: None, ..provider("http://127.0.0.1:8080/v1") });
        let catalog = Catalog { config: &config, env: &no_env, dev: false };
        let ask = |text: &str| catalog.endpoint(&ModelRef::parse(text).unwrap(), Path::new("/s/agents/main/agent"));
        assert_eq!(
            ask("anthropic/claude-opus-4-6").unwrap_err().text(),
            "No API key found for provider \"anthropic\". Auth store: /s/agents/main/agent/auth-profiles.json \
             (agentDir: /s/agents/main/agent). Configure auth for this agent (openclaw agents add <id>) or copy \
             auth-profiles.json from the main agentDir."
        );
        assert!(matches!(ask("g/m"), Err(Unusable::NotSpoken(_))));
        assert!(matches!(ask("ghost/m"), Err(Unusable::Unknown(_))));
        assert!(matches!(ask("nokey/m"), Err(Unusable::NoKey(_))));
        assert_eq!(ask("near/m").unwrap().key, None);
        let ollama = ask("ollama/llama3").unwrap();
        assert_eq!((ollama.api, ollama.base_url.as_str()), (Api::Ollama, "http://127.0.0.1:11434"));
        assert_eq!(ask("builtin/echo").unwrap().api, Api::Echo);
    }

    #[test]
    fn the_list() {
        let mut config = Config::default();
        let model = Model {
            id: "m1".into(),
            name: "M 1".into(),
            api: None,
            reasoning: false,
            input: vec!["text".into()],
            context_window: None,
            max_tokens: 100,
            cost: Cost::default(),
            headers: Vec::new(),
            max_tokens_field: None,
            supports_usage_in_streaming: None,
            supports_store: None,
        };
        config
            .models
            .providers
            .insert("mock".into(), Provider { models: vec![model], ..provider("http://127.0.0.1:1") });
        let list = Catalog { config: &config, env: &no_env, dev: false }.models_list();
        assert_eq!(
            list["models"][0],
            json!({"id":"m1","name":"M 1","provider":"mock","contextWindow":200000,"reasoning":false,"input":["text"]})
        );
        assert!(!list.to_string().contains("builtin"));
        assert!(Catalog { config: &config, env: &no_env, dev: true }.models_list().to_string().contains("builtin"));
    }
}
