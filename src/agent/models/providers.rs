//! The providers and models that this program knows without configuration, and the names people give them. Tables.

use crate::config::Api;

/// A provider that works without an entry in `models.providers`.
pub struct BuiltIn {
    pub id: &'static str,
    pub base_url: &'static str,
    pub api: Api,
    /// Environment variables that may hold the key, the first set one counts.
    pub env: &'static [&'static str],
    /// OpenAI's own endpoint knows `store`; copies of it may refuse the field.
    pub store: bool,
}

pub const BUILT_IN: [BuiltIn; 9] = [
    BuiltIn {
        id: "anthropic",
        base_url: "https://api.anthropic.com",
        api: Api::AnthropicMessages,
        env: &["ANTHROPIC_OAUTH_TOKEN", "ANTHROPIC_API_KEY"],
        store: false,
    },
    BuiltIn {
        id: "openai",
        base_url: "https://api.openai.com/v1",
        api: Api::OpenAiCompletions,
        env: &["OPENAI_API_KEY"],
        store: true,
    },
    BuiltIn {
        id: "openrouter",
        base_url: "https://openrouter.ai/api/v1",
        api: Api::OpenAiCompletions,
        env: &["OPENROUTER_API_KEY"],
        store: false,
    },
    BuiltIn {
        id: "groq",
        base_url: "https://api.groq.com/openai/v1",
        api: Api::OpenAiCompletions,
        env: &["GROQ_API_KEY"],
        store: false,
    },
    BuiltIn {
        id: "mistral",
        base_url: "https://api.mistral.ai/v1",
        api: Api::OpenAiCompletions,
        env: &["MISTRAL_API_KEY"],
        store: false,
    },
    BuiltIn {
        id: "xai",
        base_url: "https://api.x.ai/v1",
        api: Api::OpenAiCompletions,
        env: &["XAI_API_KEY"],
        store: false,
    },
    BuiltIn {
        id: "zai",
        base_url: "https://api.z.ai/api/paas/v4",
        api: Api::OpenAiCompletions,
        env: &["ZAI_API_KEY", "Z_AI_API_KEY"],
        store: false,
    },
    BuiltIn {
        id: "google",
        base_url: "https://generativelanguage.googleapis.com/v1beta/openai",
        api: Api::OpenAiCompletions,
        env: &["GEMINI_API_KEY"],
        store: false,
    },
    BuiltIn {
        id: "ollama",
        base_url: "http://127.0.0.1:11434",
        api: Api::Ollama,
        env: &["OLLAMA_API_KEY"],
        store: false,
    },
];

/// A model that `models.list` shows although no config names it: provider, id, name, context window, reasoning.
pub const BUILT_IN_MODELS: [(&str, &str, &str, u64, bool); 8] = [
    ("anthropic", "claude-opus-4-6", "Claude Opus 4.6", 200_000, true),
    ("anthropic", "claude-sonnet-4-6", "Claude Sonnet 4.6", 200_000, true),
    ("openai", "gpt-5.4", "GPT-5.4", 272_000, true),
    ("openai", "gpt-5-mini", "GPT-5 mini", 272_000, true),
    ("google", "gemini-3-pro-preview", "Gemini 3 Pro", 1_000_000, true),
    ("google", "gemini-3-flash-preview", "Gemini 3 Flash", 1_000_000, true),
    ("groq", "llama-3.3-70b-versatile", "Llama 3.3 70B", 131_072, false),
    ("mistral", "mistral-large-latest", "Mistral Large", 131_072, false),
];

/// Short names that count only when the model they stand for is listed in `agents.defaults.models`.
pub const ALIASES: [(&str, &str); 7] = [
    ("opus", "anthropic/claude-opus-4-6"),
    ("sonnet", "anthropic/claude-sonnet-4-6"),
    ("gpt", "openai/gpt-5.4"),
    ("gpt-mini", "openai/gpt-5-mini"),
    ("gemini", "google/gemini-3-pro-preview"),
    ("gemini-flash", "google/gemini-3-flash-preview"),
    ("gemini-flash-lite", "google/gemini-3.1-flash-lite-preview"),
];

/// Other spellings of provider ids.
pub const PROVIDER_NAMES: [(&str, &str); 2] = [("z.ai", "zai"), ("z-ai", "zai")];

/// Lower case, other spellings resolved.
pub fn provider_id(text: &str) -> String {
    let id = text.trim().to_ascii_lowercase();
    match PROVIDER_NAMES.iter().find(|(other, _)| *other == id) {
        Some((_, known)) => (*known).to_owned(),
        None => id,
    }
}
