//! What onboarding is told by options, checked where it is given.

use serde_json::{Value, json};

use crate::cli::context;
use crate::cli::tree::Onboard as Args;
use crate::config::secret_ref;
use crate::error::{Error, Result};

pub const CHOICES: [(&str, &str); 4] = [
    ("skip", "later"),
    ("apiKey", "a key of Anthropic"),
    ("openai-api-key", "a key of OpenAI"),
    ("custom-api-key", "another server that speaks like one of these, e.g. on this network"),
];

/// Variables that the gateway takes keys from.
pub const ANTHROPIC: &str = "ANTHROPIC_API_KEY";
pub const OPENAI: &str = "OPENAI_API_KEY";
const CUSTOM: &str = "CUSTOM_API_KEY";

/// What is to be written. None = as it is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answers {
    pub remote: bool,
    pub workspace: Option<String>,
    pub port: Option<u16>,
    pub bind: Option<String>,
    /// `token` or `password`.
    pub auth: Option<String>,
    pub token: Option<Value>,
    pub password: Option<String>,
    pub tailscale: Option<String>,
    pub tailscale_reset: bool,
    pub remote_url: Option<String>,
    pub remote_token: Option<String>,
    pub choice: String,
    /// Variables with keys of Anthropic and OpenAI; those that are in the environment are not named.
    pub keys: Vec<(&'static str, String)>,
    pub custom: Option<Custom>,
    pub daemon: bool,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Custom {
    pub id: String,
    pub url: String,
    pub model: String,
    /// Text, or a reference to a variable.
    pub key: Option<Value>,
    pub api: &'static str,
}

pub fn from_options(args: &Args) -> Result<Answers> {
    let one_of = |option: &str, value: &Option<String>, allowed: &[&str]| match value.as_deref().map(str::trim) {
        None => Ok(None),
        Some(value) if allowed.contains(&value) => Ok(Some(value.to_owned())),
        Some(value) => Err(Error::new(format!("Invalid {option} \"{value}\" (use {})", listed(allowed)))),
    };
    one_of("--flow", &args.flow, &["quickstart", "advanced", "manual"])?;
    let mode = one_of("--mode", &args.mode, &["local", "remote"])?;
    let in_environment =
        one_of("--secret-input-mode", &args.secret_input_mode, &["plaintext", "ref"])?.as_deref() == Some("ref");
    let speaks = one_of("--custom-compatibility", &args.custom_compatibility, &["openai", "anthropic"])?;
    let token = match (&args.gateway_token, &args.gateway_token_ref_env) {
        (Some(_), Some(_)) => return Err(Error::new("Use either --gateway-token or --gateway-token-ref-env.")),
        (Some(token), None) if token.trim().is_empty() => return Err(Error::new("--gateway-token is empty.")),
        (Some(token), None) => Some(json!(token.trim())),
        (None, Some(name)) if !secret_ref::is_env_id(name) => {
            return Err(Error::new(format!("--gateway-token-ref-env: \"{name}\" is no name of a variable"))
                .hint("It has capitals, digits and underscores, such as OPENCLAW_GATEWAY_TOKEN."));
        }
        (None, Some(name)) => Some(variable(name)),
        (None, None) => None,
    };
    let guessed = [
        (args.anthropic_api_key.is_some(), "apiKey"),
        (args.openai_api_key.is_some(), "openai-api-key"),
        (args.custom_base_url.is_some(), "custom-api-key"),
    ];
    let names: Vec<&str> = CHOICES.iter().map(|(name, _)| *name).collect();
    let choice = one_of("--auth-choice", &args.auth_choice, &names)?;
    let choice = choice.unwrap_or_else(|| guessed.iter().find(|(given, _)| *given).map_or("skip", |g| g.1).to_owned());
    let given = [(ANTHROPIC, &args.anthropic_api_key), (OPENAI, &args.openai_api_key)];
    let keys = given.into_iter().filter_map(|(name, key)| Some((name, key.clone()?)));
    let keys: Vec<_> = keys.filter(|_| !in_environment).collect();
    let wanted = match choice.as_str() {
        "apiKey" => Some(ANTHROPIC),
        "openai-api-key" => Some(OPENAI),
        _ => None,
    };
    let misses = wanted.is_some_and(|wanted| keys.iter().all(|(name, _)| *name != wanted));
    if misses && !in_environment && args.non_interactive {
        return Err(Error::new(format!("--auth-choice {choice} needs the key."))
            .hint("Add --anthropic-api-key or --openai-api-key, or --secret-input-mode ref and set the variable."));
    }
    let custom = match (choice == "custom-api-key", &args.custom_base_url, &args.custom_model_id) {
        (true, Some(url), Some(model)) => Some(Custom {
            id: args.custom_provider_id.clone().unwrap_or_else(|| "custom".into()),
            url: checked_url(url).map_err(Error::new)?,
            model: model.clone(),
            key: match (in_environment, &args.custom_api_key) {
                (false, key) => key.clone().map(Value::from),
                // A server without a key needs none in the environment either.
                (true, key) => (key.is_some() || context::env(CUSTOM).is_some()).then(|| variable(CUSTOM)),
            },
            api: api(speaks.as_deref()),
        }),
        (true, ..) if args.non_interactive => {
            return Err(Error::new("Another provider needs --custom-base-url and --custom-model-id."));
        }
        _ => None,
    };
    let answers = Answers {
        remote: mode.as_deref() == Some("remote") || mode.is_none() && args.remote_url.is_some(),
        workspace: args.workspace.clone(),
        port: context::port_flag(args.gateway_port.as_deref())?,
        bind: one_of("--gateway-bind", &args.gateway_bind, &["loopback", "lan", "tailnet", "auto", "custom"])?,
        auth: one_of("--gateway-auth", &args.gateway_auth, &["token", "password"])?
            .or_else(|| args.gateway_password.is_some().then(|| "password".to_owned())),
        token,
        password: args.gateway_password.clone().filter(|password| !password.trim().is_empty()),
        tailscale: one_of("--tailscale", &args.tailscale, &["off", "serve", "funnel"])?,
        tailscale_reset: args.tailscale_reset_on_exit,
        remote_url: args.remote_url.clone(),
        remote_token: args.remote_token.clone(),
        choice,
        keys,
        custom,
        daemon: args.install_daemon && !args.no_install_daemon && !args.skip_daemon,
    };
    if answers.auth.as_deref() == Some("token") && answers.password.is_some() {
        return Err(Error::new("--gateway-password is for --gateway-auth password."));
    }
    if answers.auth.as_deref() == Some("password") && answers.token.is_some() {
        return Err(Error::new("A token is for --gateway-auth token; clients show either that or the password."));
    }
    if answers.remote && answers.daemon {
        return Err(Error::new("--install-daemon is for --mode local: the other machine runs the gateway."));
    }
    fits(&answers)?;
    Ok(answers)
}

fn variable(name: &str) -> Value {
    json!({"source": "env", "provider": "default", "id": name})
}

/// What the gateway would refuse at its start is refused here.
pub fn fits(answers: &Answers) -> Result<()> {
    let published = answers.tailscale.as_deref().filter(|mode| *mode != "off");
    if published.is_some() && answers.bind.as_deref().is_some_and(|bind| bind != "loopback") {
        return Err(Error::new("--tailscale serve and funnel need --gateway-bind loopback."));
    }
    if published == Some("funnel") && answers.auth.as_deref() != Some("password") {
        return Err(Error::new("--tailscale funnel needs --gateway-auth password."));
    }
    Ok(())
}

fn listed(words: &[&str]) -> String {
    words.iter().map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(", ")
}

pub fn api(speaks: Option<&str>) -> &'static str {
    if speaks == Some("anthropic") { "anthropic-messages" } else { "openai-completions" }
}

pub fn checked_url(url: &str) -> std::result::Result<String, String> {
    let url = url.trim().trim_end_matches('/');
    match url.starts_with("http://") || url.starts_with("https://") {
        true => Ok(url.to_owned()),
        false => Err(format!("\"{url}\" is no address: it begins with http:// or https://")),
    }
}
