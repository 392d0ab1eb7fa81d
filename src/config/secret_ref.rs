//! References to secrets (config A2): what one looks like, which of them are in use, and what has to be asked of which
//! provider. Nothing is read here but variables through a function; `store::secrets` asks files and programs.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use super::get_path::{get, lookup};
use super::paths::Paths;
use super::schema::steps;
use crate::secret::Secret;

/// Where this program uses a secret. `*` is any key, `[]` any list position. A reference anywhere else waits for the
/// version that has a use for it.
pub const USES: &[&str] = &[
    "gateway.auth.token",
    "gateway.auth.password",
    "gateway.remote.token",
    "gateway.remote.password",
    "models.providers.*.apiKey",
    "models.providers.*.headers.*",
    "models.providers.*.models[].headers.*",
];

const DEFAULT_PROVIDER: &str = "default";
const PROVIDER_CHARS: usize = 64;
const ENV_ID_CHARS: usize = 128;
const EXEC_ID_CHARS: usize = 256;
const DEFAULT_TIMEOUT_MS: u64 = 5_000;
const MAX_TIMEOUT_MS: u64 = 120_000;
const DEFAULT_BYTES: u64 = 1024 * 1024;
const MAX_BYTES: u64 = 20 * 1024 * 1024;

/// What a reference leads to, once it has been resolved.
pub type Resolved = BTreeMap<SecretRef, Secret>;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    Env,
    File,
    Exec,
}

/// `{source, provider, id}` with all three of the right form.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SecretRef {
    pub origin: Origin,
    pub provider: String,
    pub id: String,
}

/// A reference in the configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    /// Keys and list positions; a key may have dots in it.
    pub steps: Vec<String>,
    /// The same for people.
    pub path: String,
    /// Err: why it is none.
    pub reference: Result<SecretRef, String>,
    /// Why nothing depends on it now; None: it must be resolved.
    pub inactive: Option<String>,
}

/// An entry of `secrets.providers`.
#[derive(Clone, Debug, PartialEq)]
pub enum Provider {
    Env { allowed: Option<Vec<String>> },
    File(FileProvider),
    Exec(ExecProvider),
}

#[derive(Clone, Debug, PartialEq)]
pub struct FileProvider {
    pub path: PathBuf,
    /// The whole file is one secret, with the id `value`.
    pub single_value: bool,
    pub timeout: Duration,
    pub max_bytes: u64,
    pub allow_insecure: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub struct ExecProvider {
    pub command: PathBuf,
    pub args: Vec<String>,
    pub timeout: Duration,
    pub no_output_timeout: Duration,
    pub max_bytes: u64,
    /// False: what is printed may be the secret itself.
    pub json_only: bool,
    pub env: Vec<(String, String)>,
    pub pass_env: Vec<String>,
    pub trusted_dirs: Vec<PathBuf>,
    pub allow_insecure: bool,
    pub allow_symlink: bool,
}

/// What one provider is asked for, in one go.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    pub name: String,
    pub provider: Provider,
    pub references: Vec<SecretRef>,
}

/// Everything that has to be asked, and what cannot be asked at all.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Questions {
    pub batches: Vec<Batch>,
    pub refused: BTreeMap<SecretRef, String>,
    /// Providers that are asked at the same time.
    pub concurrency: usize,
    pub max_batch_bytes: usize,
}

impl Origin {
    pub fn name(self) -> &'static str {
        match self {
            Origin::Env => "env",
            Origin::File => "file",
            Origin::Exec => "exec",
        }
    }

    fn parse(text: &str) -> Option<Origin> {
        [Origin::Env, Origin::File, Origin::Exec].into_iter().find(|origin| origin.name() == text)
    }
}

impl SecretRef {
    /// None: the value is no reference. Err: it is meant to be one, and what is wrong with it.
    pub fn parse(value: &Value) -> Option<Result<SecretRef, String>> {
        let map = value.as_object()?;
        let text = |key: &str| map.get(key).and_then(Value::as_str);
        let origin = Origin::parse(text("source")?)?;
        let (provider, id) = (text("provider")?, text("id")?);
        Some(SecretRef::checked(origin, provider, id))
    }

    fn checked(origin: Origin, provider: &str, id: &str) -> Result<SecretRef, String> {
        if !is_provider_name(provider) {
            return Err("provider must begin with a-z and have only a-z, 0-9, _ and -, at most 64".into());
        }
        let (good, form) = match origin {
            Origin::Env => (is_env_id(id), "the name of a variable: A-Z first, then A-Z, 0-9 and _"),
            Origin::File => (is_file_id(id), "a JSON pointer like /providers/openai/apiKey, or value"),
            Origin::Exec => (is_exec_id(id), "letters, digits and . _ : / -, without . or .. as a part"),
        };
        if !good {
            return Err(format!("id must be {form}"));
        }
        Ok(SecretRef { origin, provider: provider.to_owned(), id: id.to_owned() })
    }
}

/// Every reference in the configuration, in its order.
pub fn wanted(config: &Value) -> Vec<Wanted> {
    let mut out = Vec::new();
    find(config, config, &mut Vec::new(), &mut out);
    out
}

/// Walks the whole tree at every load: names are borrowed, and only containers are entered.
fn find<'v>(root: &'v Value, value: &'v Value, at: &mut Vec<Cow<'v, str>>, out: &mut Vec<Wanted>) {
    if let Some(reference) = SecretRef::parse(value) {
        let steps: Vec<String> = at.iter().map(|step| step.clone().into_owned()).collect();
        let path = steps.join(".");
        let inactive = inactive(root, &steps, &path);
        out.push(Wanted { steps, path, reference, inactive });
        return;
    }
    let mut below = |step: Cow<'v, str>, item: &'v Value| {
        at.push(step);
        find(root, item, at, out);
        at.pop();
    };
    let nested = |item: &Value| item.is_object() || item.is_array();
    match value {
        Value::Object(map) => {
            let inside = map.iter().filter(|(key, item)| nested(item) && *key != "secrets");
            inside.for_each(|(key, item)| below(key.into(), item));
        }
        Value::Array(items) => {
            let inside = items.iter().enumerate().filter(|(_, item)| nested(item));
            inside.for_each(|(n, item)| below(n.to_string().into(), item));
        }
        _ => {}
    }
}

/// Why nothing needs the secret at this path; None when something does.
fn inactive(root: &Value, steps: &[String], path: &str) -> Option<String> {
    if !USES.iter().any(|pattern| matches(pattern, steps)) {
        return Some("this version has no use for it yet".into());
    }
    if let Some(section) = switched_off(root, steps) {
        return Some(format!("{section}.enabled is false"));
    }
    let text = |path: &str| lookup(root, path).and_then(Value::as_str);
    let given = |path: &str| lookup(root, path).is_some_and(|value| !value.is_null() && value.as_str() != Some(""));
    let mode = text("gateway.auth.mode");
    match path {
        "gateway.auth.token" if !matches!(mode, None | Some("token")) => {
            Some(format!("gateway.auth.mode is {}", mode.unwrap_or_default()))
        }
        "gateway.auth.password" if mode.is_none() && given("gateway.auth.token") => {
            Some("gateway.auth.token is set and wins".into())
        }
        "gateway.auth.password" if !matches!(mode, None | Some("password")) => {
            Some(format!("gateway.auth.mode is {}", mode.unwrap_or_default()))
        }
        "gateway.remote.token" | "gateway.remote.password" if text("gateway.mode") != Some("remote") => {
            Some("gateway.mode is not remote".into())
        }
        _ => None,
    }
}

/// The nearest section around the path that says `enabled: false`.
fn switched_off(root: &Value, steps: &[String]) -> Option<String> {
    let off =
        |section: &&[String]| get(root, section).and_then(|value| value.get("enabled")) == Some(&Value::Bool(false));
    (1..steps.len()).rev().map(|end| &steps[..end]).find(off).map(|section| section.join("."))
}

/// Whether a concrete path is one of the pattern's.
pub fn matches(pattern: &str, given: &[String]) -> bool {
    let row: Vec<&str> = steps(pattern).collect();
    let fits = |(step, given): (&&str, &String)| match *step {
        "*" => true,
        "[]" => given.parse::<usize>().is_ok(),
        step => step == given,
    };
    row.len() == given.len() && row.iter().zip(given).all(fits)
}

/// Sorts references by the provider that is to be asked, each once.
pub fn questions<'r>(config: &Value, paths: &Paths, references: impl IntoIterator<Item = &'r SecretRef>) -> Questions {
    let limit = |key: &str, default: u64, max: u64| {
        let given = lookup(config, &format!("secrets.resolution.{key}")).and_then(Value::as_u64);
        given.unwrap_or(default).clamp(1, max) as usize
    };
    let most = limit("maxRefsPerProvider", 512, 4096);
    let mut out = Questions {
        concurrency: limit("maxProviderConcurrency", 4, 16),
        max_batch_bytes: limit("maxBatchBytes", 256 * 1024, 5 * 1024 * 1024),
        ..Questions::default()
    };
    let mut by_provider: BTreeMap<(Origin, &str), Vec<&SecretRef>> = BTreeMap::new();
    for reference in references {
        let list = by_provider.entry((reference.origin, &reference.provider)).or_default();
        if !list.contains(&reference) {
            list.push(reference);
        }
    }
    for ((origin, name), list) in by_provider {
        let provider = provider(config, paths, origin, name);
        let too_many =
            || format!("more than {most} references to one provider (secrets.resolution.maxRefsPerProvider)");
        match provider.and_then(|found| if list.len() > most { Err(too_many()) } else { Ok(found) }) {
            Err(why) => out.refused.extend(list.into_iter().map(|reference| (reference.clone(), why.clone()))),
            Ok((name, provider)) => {
                out.batches.push(Batch { name, provider, references: list.into_iter().cloned().collect() });
            }
        }
    }
    out
}

/// The provider of this name, or the one that `secrets.defaults` puts in the place of `default`.
fn provider(config: &Value, paths: &Paths, origin: Origin, name: &str) -> Result<(String, Provider), String> {
    let configured = |name: &str| lookup(config, "secrets.providers").and_then(|all| all.get(name));
    let alias = lookup(config, &format!("secrets.defaults.{}", origin.name())).and_then(Value::as_str);
    let of_kind = |name: &str| {
        configured(name).filter(|found| found.get("source").and_then(Value::as_str) == Some(origin.name()))
    };
    let name = match alias {
        Some(alias) if name == DEFAULT_PROVIDER && of_kind(name).is_none() => alias,
        _ => name,
    };
    let Some(found) = configured(name) else {
        if origin == Origin::Env && (name == DEFAULT_PROVIDER || Some(name) == alias) {
            return Ok((name.to_owned(), Provider::Env { allowed: None }));
        }
        return Err(format!("secrets.providers.{name} does not exist"));
    };
    if of_kind(name).is_none() {
        let other = found.get("source").and_then(Value::as_str).unwrap_or("nothing");
        return Err(format!("secrets.providers.{name} has source \"{other}\", not \"{}\"", origin.name()));
    }
    read_provider(found, paths, origin)
        .map(|provider| (name.to_owned(), provider))
        .map_err(|missing| format!("secrets.providers.{name}.{missing} is missing"))
}

fn read_provider(at: &Value, paths: &Paths, origin: Origin) -> Result<Provider, &'static str> {
    let text =
        |key: &'static str| at.get(key).and_then(Value::as_str).map(str::trim).filter(|t| !t.is_empty()).ok_or(key);
    let flag = |key: &str, default: bool| at.get(key).and_then(Value::as_bool).unwrap_or(default);
    let number =
        |key: &str, default: u64, max: u64| at.get(key).and_then(Value::as_u64).unwrap_or(default).clamp(1, max);
    let texts = |key: &str| -> Option<Vec<String>> {
        let list = at.get(key)?.as_array()?;
        Some(list.iter().filter_map(Value::as_str).map(str::to_owned).collect())
    };
    let timeout = number("timeoutMs", DEFAULT_TIMEOUT_MS, MAX_TIMEOUT_MS);
    let millis = Duration::from_millis;
    Ok(match origin {
        Origin::Env => Provider::Env { allowed: texts("allowlist") },
        Origin::File => Provider::File(FileProvider {
            path: paths.expand(text("path")?),
            single_value: at.get("mode").and_then(Value::as_str) == Some("singleValue"),
            timeout: millis(timeout),
            max_bytes: number("maxBytes", DEFAULT_BYTES, MAX_BYTES),
            allow_insecure: flag("allowInsecurePath", false),
        }),
        Origin::Exec => {
            let env = at.get("env").and_then(Value::as_object).into_iter().flatten();
            Provider::Exec(ExecProvider {
                command: PathBuf::from(text("command")?),
                args: texts("args").unwrap_or_default(),
                timeout: millis(timeout),
                no_output_timeout: millis(number("noOutputTimeoutMs", timeout, MAX_TIMEOUT_MS)),
                max_bytes: number("maxOutputBytes", DEFAULT_BYTES, MAX_BYTES),
                json_only: flag("jsonOnly", true),
                env: env.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect(),
                pass_env: texts("passEnv").unwrap_or_default(),
                trusted_dirs: texts("trustedDirs").unwrap_or_default().iter().map(|dir| paths.expand(dir)).collect(),
                allow_insecure: flag("allowInsecurePath", false),
                allow_symlink: flag("allowSymlinkCommand", false),
            })
        }
    })
}

/// A variable as a secret. An allow list hands out only what is on it.
pub fn from_env(
    reference: &SecretRef,
    allowed: Option<&[String]>,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Secret, String> {
    let id = &reference.id;
    if allowed.is_some_and(|list| !list.contains(id)) {
        return Err(format!("variable {id} is not in secrets.providers.{}.allowlist", reference.provider));
    }
    let value = env(id).filter(|value| !value.trim().is_empty());
    value.map(|value| Secret::new(value.trim())).ok_or_else(|| format!("variable {id} is not set or empty"))
}

/// What variables can answer, without files and programs: for every use of a configuration that is only looked at.
pub fn from_variables(config: &Value, paths: &Paths, env: &dyn Fn(&str) -> Option<String>) -> Resolved {
    let all = wanted(config);
    let of_env = all.iter().filter_map(|w| w.reference.as_ref().ok()).filter(|r| r.origin == Origin::Env);
    let mut out = Resolved::new();
    for batch in questions(config, paths, of_env).batches {
        let Provider::Env { allowed } = &batch.provider else { continue };
        for reference in batch.references {
            if let Ok(secret) = from_env(&reference, allowed.as_deref(), env) {
                out.insert(reference, secret);
            }
        }
    }
    out
}

fn is_provider_name(text: &str) -> bool {
    text.len() <= PROVIDER_CHARS
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'-'))
}

pub fn is_env_id(text: &str) -> bool {
    text.len() <= ENV_ID_CHARS
        && text.starts_with(|c: char| c.is_ascii_uppercase())
        && text.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
}

/// `value`, or a JSON pointer in which every `~` is `~0` or `~1`.
fn is_file_id(text: &str) -> bool {
    text == "value" || text.starts_with('/') && text.split('~').skip(1).all(|part| part.starts_with(['0', '1']))
}

fn is_exec_id(text: &str) -> bool {
    text.len() <= EXEC_ID_CHARS
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b':' | b'/' | b'-'))
        && !text.split('/').any(|part| matches!(part, "." | ".."))
}

#[cfg(test)]
mod tests {
    use super::super::keys::{Facts, Keys};
    use super::super::paths::Overrides;
    use super::super::schema::Schema;
    use super::super::source::MemorySource;
    use super::*;
    use serde_json::json;

    fn paths() -> Paths {
        let source = MemorySource::new().with_var("HOME", "/home/u");
        Paths::resolve(&source, &Overrides::default()).unwrap()
    }

    fn reference(origin: &str, provider: &str, id: &str) -> Value {
        json!({"source": origin, "provider": provider, "id": id})
    }

    #[test]
    fn forms() {
        for (origin, provider, id, good) in [
            ("env", "default", "A_1", true),
            ("env", "default", "a", false),
            ("env", "default", "1A", false),
            ("env", "default", "", false),
            ("env", "Default", "A", false),
            ("env", "", "A", false),
            ("env", &"a".repeat(65), "A", false),
            ("env", "a-b_9", "A", true),
            ("file", "f", "value", true),
            ("file", "f", "/a/b~1c~0", true),
            ("file", "f", "/a~2", false),
            ("file", "f", "/a~", false),
            ("file", "f", "a/b", false),
            ("exec", "v", "providers/openai:key.x-1", true),
            ("exec", "v", "a/../b", false),
            ("exec", "v", "./b", false),
            ("exec", "v", "/b", false),
            ("exec", "v", "a b", false),
            ("exec", "v", &"a".repeat(257), false),
        ] {
            let parsed = SecretRef::parse(&reference(origin, provider, id)).expect("a reference");
            assert_eq!(parsed.is_ok(), good, "{origin} {provider} {id}: {parsed:?}");
        }
        for other in [json!("x"), json!({}), json!({"source":"vault","provider":"a","id":"b"}), json!({"source":"env"})]
        {
            assert_eq!(SecretRef::parse(&other), None, "{other}");
        }
    }

    #[test]
    fn which_are_in_use() {
        let r = || reference("env", "default", "A");
        let table = [
            (json!({"gateway":{"auth":{"token":r()}}}), None),
            (json!({"gateway":{"auth":{"token":r(),"mode":"token"}}}), None),
            (json!({"gateway":{"auth":{"token":r(),"mode":"none"}}}), Some("gateway.auth.mode is none")),
            (json!({"gateway":{"auth":{"password":r()}}}), None),
            (json!({"gateway":{"auth":{"password":r(),"token":"t"}}}), Some("gateway.auth.token is set and wins")),
            (json!({"gateway":{"auth":{"password":r(),"mode":"token"}}}), Some("gateway.auth.mode is token")),
            (json!({"gateway":{"auth":{"password":r(),"mode":"password","token":"t"}}}), None),
            (json!({"gateway":{"mode":"local","remote":{"token":r()}}}), Some("gateway.mode is not remote")),
            (json!({"gateway":{"mode":"remote","remote":{"password":r()}}}), None),
            (json!({"models":{"providers":{"p.q":{"apiKey":r()}}}}), None),
            (json!({"models":{"providers":{"p":{"models":[{"headers":{"X-Key":r()}}]}}}}), None),
            (json!({"channels":{"telegram":{"botToken":r()}}}), Some("this version has no use for it yet")),
        ];
        for (config, expected) in table {
            let found = wanted(&config);
            let [one] = &found[..] else { panic!("{config}: {found:?}") };
            assert_eq!(one.inactive.as_deref(), expected, "{config}");
        }
        let hidden = json!({"secrets":{"providers":{"x":r()}}, "a": 5, "b": [r(), "x"]});
        assert_eq!(wanted(&hidden).iter().map(|w| w.path.as_str()).collect::<Vec<_>>(), ["b.0"]);
        let off = json!({"models":{"providers":{"p":{"enabled":false,"apiKey":r()}}}});
        assert_eq!(wanted(&off)[0].inactive.as_deref(), Some("models.providers.p.enabled is false"));
    }

    #[test]
    fn every_use_is_a_documented_secret() {
        let (keys, schema) = (Keys::new(), Schema::new());
        for path in USES {
            assert!(keys.find(path).is_some(), "{path} is not in keys.txt");
            assert!(Facts::of(&schema, path).is_some_and(|facts| facts.secret), "{path}");
        }
    }

    #[test]
    fn who_is_asked() {
        let config = json!({"secrets":{
            "providers":{
                "default":{"source":"env","allowlist":["A"]},
                "main":{"source":"file","path":"~/s.json","timeoutMs":7,"maxBytes":9},
                "vault":{"source":"exec","command":"/bin/v","timeoutMs":100,"passEnv":["HOME"],"env":{"A":"b"},"trustedDirs":["/bin"]},
                "broken":{"source":"exec"}
            },
            "defaults":{"file":"main"},
            "resolution":{"maxProviderConcurrency":2,"maxRefsPerProvider":2}
        }});
        let parse = |o: &str, p: &str, i: &str| SecretRef::parse(&reference(o, p, i)).unwrap().unwrap();
        let all = [
            parse("env", "default", "A"),
            parse("env", "default", "A"),
            parse("file", "default", "/a"),
            parse("exec", "vault", "x"),
            parse("exec", "default", "x"),
            parse("exec", "broken", "x"),
            parse("exec", "main", "x"),
            parse("exec", "vault", "y"),
        ];
        let asked = questions(&config, &paths(), &all);
        assert_eq!((asked.concurrency, asked.max_batch_bytes), (2, 262_144));
        let names: Vec<(&str, usize)> = asked.batches.iter().map(|b| (b.name.as_str(), b.references.len())).collect();
        assert_eq!(names, [("default", 1), ("main", 1), ("vault", 2)]);
        let Provider::File(file) = &asked.batches[1].provider else { panic!() };
        assert_eq!(
            (&file.path, file.timeout.as_millis(), file.max_bytes, file.single_value),
            (&PathBuf::from("/home/u/s.json"), 7, 9, false)
        );
        let Provider::Exec(exec) = &asked.batches[2].provider else { panic!() };
        assert_eq!((exec.no_output_timeout.as_millis(), exec.json_only), (100, true));
        let refused: Vec<&str> = asked.refused.values().map(String::as_str).collect();
        assert_eq!(
            refused,
            [
                "secrets.providers.broken.command is missing",
                "secrets.providers.default has source \"env\", not \"exec\"",
                "secrets.providers.main has source \"file\", not \"exec\"",
            ]
        );
        let three: Vec<SecretRef> = ["a", "b", "c"].map(|id| parse("exec", "vault", id)).into();
        assert_eq!(questions(&config, &paths(), &three).refused.len(), 3);
    }

    #[test]
    fn variables() {
        let env = |name: &str| (name == "TOKEN").then(|| " from-env ".to_owned());
        let table = [
            (reference("env", "default", "TOKEN"), Some("from-env")),
            (reference("env", "listed", "TOKEN"), Some("from-env")),
            (reference("env", "strict", "TOKEN"), None),
            (reference("env", "unknown", "TOKEN"), None),
            (reference("env", "default", "NONE"), None),
            (reference("exec", "listed", "TOKEN"), None),
        ];
        for (token, expected) in table {
            let config = json!({
                "gateway":{"auth":{"token":token}},
                "secrets":{"providers":{"listed":{"source":"env"},"strict":{"source":"env","allowlist":["A"]}}}
            });
            let resolved = from_variables(&config, &paths(), &env);
            assert_eq!(resolved.values().next().map(Secret::expose), expected, "{token}");
        }
    }
}
