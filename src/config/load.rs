//! Reads a configuration from end to end (config A4). Any thread; no state.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use serde_json::{Map, Value, json};

use super::env::Env;
use super::issue::{Issue, issues_json};
use super::model::Config;
use super::paths::Paths;
use super::secret_ref::{self, Origin, Resolved};
use super::source::Source;
use super::{check, dangerous, defaults, get_path, include, legacy, lookup, redact, text, typed};
use crate::ids::sha256_hex;
use crate::protocol::COMPAT_VERSION;

/// A configuration at every stage of its reading. Of an invalid one the later stages hold what could be read:
/// only commands that merely look may use them (ask [`Loaded::valid`]).
#[derive(Clone, Debug)]
pub struct Loaded {
    pub path: PathBuf,
    pub exists: bool,
    /// Text of the file; None when it is missing or no text.
    pub raw: Option<String>,
    /// SHA-256 of the file's bytes in hex; of nothing when it is missing.
    pub hash: String,
    /// The file as written.
    pub parsed: Value,
    /// After includes, variables and the move of old keys.
    pub resolved: Value,
    /// With the defaults of config A4.
    pub effective: Value,
    pub config: Config,
    pub issues: Vec<Issue>,
    pub warnings: Vec<Issue>,
    /// Old keys in the file, moved or not.
    pub legacy_issues: Vec<Issue>,
    /// Variables from `.env` files and the configuration, without those that the process has itself.
    pub env: BTreeMap<String, String>,
    /// Files that were included, or should have been.
    pub includes: Vec<PathBuf>,
    /// What references to secrets lead to: variables from the start, files and programs once they were asked.
    pub secrets: Resolved,
    /// What was found when files and programs were asked: a line for each reference that nobody uses. None: not asked yet.
    pub unused_secrets: Option<Vec<String>>,
}

/// Reads, checks and types the configuration at `paths.config_path`. A missing file is a valid empty one.
pub fn load(paths: &Paths, source: &dyn Source) -> Loaded {
    let bytes = match source.read(&paths.config_path) {
        Ok(bytes) => Some(bytes),
        Err(e) if e.kind() == io::ErrorKind::NotFound => None,
        Err(e) => {
            let mut loaded = Loaded::empty(paths);
            loaded.exists = true;
            loaded.issues.push(Issue::new("", format!("read failed: {e}")));
            return loaded;
        }
    };
    load_bytes(paths, source, bytes.as_deref())
}

/// The same for bytes that are not (or not yet) the file: what a writer wants to save.
pub fn load_bytes(paths: &Paths, source: &dyn Source, bytes: Option<&[u8]>) -> Loaded {
    let mut loaded = Loaded::empty(paths);
    let mut env = Env::new(source, &paths.state_dir);
    if let Some(bytes) = bytes {
        loaded.exists = true;
        loaded.hash = sha256_hex(bytes);
        if let Err(message) = loaded.stages(bytes, paths, source, &mut env) {
            loaded.issues.push(Issue::new("", message));
        }
    }
    loaded.effective = loaded.resolved.clone();
    defaults::apply(&mut loaded.effective, &mut loaded.warnings);
    loaded.secrets = secret_ref::from_variables(&loaded.effective, paths, &|name| env.get(name));
    loaded.config = typed::typed(&loaded.effective, &loaded.secrets, paths, &mut loaded.warnings);
    loaded.missing_variables();
    loaded.env = env.added;
    loaded.env.retain(|name, _| source.var(name).is_none_or(|v| v.trim().is_empty()));
    loaded
}

impl Loaded {
    fn empty(paths: &Paths) -> Loaded {
        Loaded {
            path: paths.config_path.clone(),
            exists: false,
            raw: None,
            hash: sha256_hex(b""),
            parsed: json!({}),
            resolved: json!({}),
            effective: json!({}),
            config: Config::default(),
            issues: Vec::new(),
            warnings: Vec::new(),
            legacy_issues: Vec::new(),
            env: BTreeMap::new(),
            includes: Vec::new(),
            secrets: Resolved::new(),
            unused_secrets: None,
        }
    }

    /// Takes over what files and programs answered, with a line for each reference that nobody uses.
    pub fn use_secrets(&mut self, secrets: Resolved, unused: Vec<String>, paths: &Paths) {
        // The first reading has said already what it had to warn of.
        self.config = typed::typed(&self.effective, &secrets, paths, &mut Vec::new());
        self.secrets = secrets;
        self.unused_secrets = Some(unused);
    }

    fn missing_variables(&mut self) {
        for wanted in secret_ref::wanted(&self.effective) {
            let Ok(reference) = wanted.reference else { continue };
            if reference.origin == Origin::Env && wanted.inactive.is_none() && !self.secrets.contains_key(&reference) {
                let message = format!("SecretRef env variable \"{}\" is not available", reference.id);
                self.warnings.push(Issue::new(wanted.path, message));
            }
        }
    }

    fn stages(&mut self, bytes: &[u8], paths: &Paths, source: &dyn Source, env: &mut Env<'_>) -> Result<(), String> {
        self.parsed = Value::Null;
        let decoded = text::decode(bytes).map_err(|e| format!("JSON5 parse failed: {e}"))?;
        self.raw = Some(decoded.to_owned());
        self.parsed = text::parse(decoded)?;
        let included = include::resolve(&self.parsed, &self.path, source);
        self.includes = included.files;
        let mut value = included.value?;
        env.add_block(&value);
        env.substitute(&mut value, &mut self.warnings);
        let migrated = legacy::migrate(&mut value);
        self.legacy_issues = migrated.found;
        self.warnings.extend(migrated.warnings);
        // Old keys that need a person come first and alone: what follows from them would only confuse.
        self.issues = migrated.blocking;
        if self.issues.is_empty() {
            self.issues = check::check_in(&value, Some(paths));
        }
        self.newer_writer(&value);
        if get_path::lookup(&value, "env.shellEnv.enabled") == Some(&Value::Bool(true)) {
            self.warnings
                .push(Issue::new("env.shellEnv", "import from the login shell is not supported; use .env or env.vars"));
        }
        self.resolved = if value.is_object() { value } else { json!({}) };
        Ok(())
    }

    fn newer_writer(&mut self, value: &Value) {
        let Some(writer) = get_path::lookup(value, "meta.lastTouchedVersion").and_then(Value::as_str) else { return };
        if version_numbers(writer) > version_numbers(COMPAT_VERSION) {
            let message =
                format!("Config was last written by a newer OpenClaw ({writer}); current version is {COMPAT_VERSION}.");
            self.warnings.push(Issue::new("meta.lastTouchedVersion", message));
        }
    }

    /// The same file with another effective configuration: a part of its changes has to wait (config A5).
    /// What waits may still hang on secrets of before.
    pub fn with_effective(mut self, effective: Value, before: &Resolved, paths: &Paths) -> Loaded {
        for (reference, secret) in before {
            self.secrets.entry(reference.clone()).or_insert_with(|| secret.clone());
        }
        self.config = typed::typed(&effective, &self.secrets, paths, &mut Vec::new());
        self.effective = effective;
        self
    }

    /// Whether the file says anything at all.
    pub fn is_blank(&self) -> bool {
        self.exists && self.resolved.as_object().is_some_and(Map::is_empty)
    }

    pub fn valid(&self) -> bool {
        self.issues.is_empty()
    }

    /// A variable: the process's, else what `.env` or the configuration sets; None when blank.
    pub fn var(&self, source: &dyn Source, name: &str) -> Option<String> {
        let real = source.var(name).filter(|v| !v.trim().is_empty());
        real.or_else(|| self.env.get(name).filter(|v| !v.trim().is_empty()).cloned())
    }

    /// Warnings as log lines.
    pub fn warning_lines(&self) -> Vec<String> {
        let line =
            |warning: &Issue| match warning.message.strip_prefix("Missing env var ").and_then(|m| m.split_once(" — "))
            {
                Some((name, rest)) => {
                    format!("Config ({}): missing env var {name} at {} — {rest}", self.path.display(), warning.path)
                }
                None if matches!(warning.path.as_str(), "meta.lastTouchedVersion" | "session.mainKey") => {
                    warning.message.clone()
                }
                None => format!("Config ({}): {}", self.path.display(), warning.line()),
            };
        let dangerous = dangerous::warning(&self.resolved);
        let lines = self.warnings.iter().map(line).chain(self.unused_secrets.iter().flatten().cloned());
        lines.chain(dangerous).collect()
    }

    /// The log line of a reload that is refused; the old configuration stays (config A5).
    pub fn reload_skipped(&self) -> String {
        let issues: Vec<String> =
            self.issues.iter().map(|issue| format!("{}: {}", issue.path, issue.message)).collect();
        format!("config reload skipped (invalid config): {}", issues.join(", "))
    }

    /// The answer of `config.get`: secrets replaced; of an invalid file only the issues (config A6).
    pub fn view(&self) -> Value {
        let valid = self.valid();
        let redacted = |value: &Value| if valid { redact::redact(value) } else { json!({}) };
        let raw = self.raw.as_ref().filter(|_| valid).map(|raw| redact::redact_raw(raw, &self.parsed));
        let mut out = Map::new();
        out.insert("path".into(), json!(self.path.display().to_string()));
        out.insert("exists".into(), json!(self.exists));
        out.insert("raw".into(), json!(raw));
        out.insert("parsed".into(), if valid { redact::redact(&self.parsed) } else { Value::Null });
        out.insert("resolved".into(), redacted(&self.resolved));
        out.insert("valid".into(), json!(valid));
        out.insert("config".into(), redacted(&self.effective));
        out.insert("hash".into(), json!(self.hash));
        out.insert("issues".into(), issues_json(&self.issues));
        out.insert("warnings".into(), issues_json(&self.warnings));
        out.insert("legacyIssues".into(), issues_json(&self.legacy_issues));
        Value::Object(out)
    }

    /// The offending line of the file and a caret under the place, for an issue of syntax in it; else nothing.
    pub fn excerpt(&self, issue: &Issue) -> impl Iterator<Item = String> + use<> {
        let found = self.raw.as_deref().filter(|_| issue.path.is_empty());
        found.and_then(|raw| text::excerpt(raw, &issue.message)).into_iter().flatten()
    }

    /// The block that a command prints before it ends with an invalid configuration (cli 3.1), without a final newline.
    pub fn invalid_block(&self, paths: &Paths) -> String {
        let mut lines =
            vec!["Config invalid".to_owned(), format!("File: {}", paths.tilde(&self.path)), "Problem:".to_owned()];
        for issue in &self.issues {
            lines.push(format!("  - {}{}", issue.line(), lookup::suggestion(issue)));
            lines.extend(self.excerpt(issue).map(|line| format!("    {line}")));
        }
        lines.push(String::new());
        if !self.legacy_issues.is_empty() {
            lines.push("Legacy config keys detected:".into());
            lines.extend(self.legacy_issues.iter().map(|issue| format!("  - {}", issue.line())));
        }
        lines.push(format!("Run: {}", paths.with_profile("openclaw doctor --fix")));
        lines.join("\n")
    }
}

/// `2026.3.13-beta.1` → 2026, 3, 13; anything else sorts lowest.
fn version_numbers(text: &str) -> Vec<u64> {
    let core = text.trim().trim_start_matches('v').split(['-', '+', ' ']).next().unwrap_or_default();
    core.split('.').map(|part| part.parse().ok()).collect::<Option<_>>().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::paths::Overrides;
    use super::super::source::MemorySource;
    use super::*;

    const PATH: &str = "/home/u/.openclaw/openclaw.json";

    fn run(source: MemorySource) -> (Loaded, Paths) {
        let source = source.with_var("HOME", "/home/u");
        let paths = Paths::resolve(&source, &Overrides::default()).unwrap();
        (load(&paths, &source), paths)
    }

    fn of(text: impl AsRef<[u8]>) -> Loaded {
        run(MemorySource::new().with_file(PATH, text)).0
    }

    fn issues(loaded: &Loaded) -> Vec<String> {
        loaded.issues.iter().map(Issue::line).collect()
    }

    #[test]
    fn missing_is_empty_and_valid() {
        let (loaded, _) = run(MemorySource::new());
        assert!(loaded.valid() && !loaded.exists && loaded.raw.is_none());
        assert_eq!(loaded.hash, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        assert_eq!((&loaded.parsed, &loaded.resolved), (&json!({}), &json!({})));
        assert_eq!(loaded.effective["commands"]["restart"], true);
        assert_eq!(loaded.view()["raw"], Value::Null);
    }

    #[test]
    fn stages_of_a_good_file() {
        let source = MemorySource::new()
            .with_file(PATH, "\u{feff}// mine\n{ gateway: { $include: './gw.json', auth: { token: '${TOK}' } }, env: { vars: { TOK: 'secret' } } }")
            .with_file("/home/u/.openclaw/gw.json", "{ mode: 'local', port: 1234 }");
        let (loaded, _) = run(source);
        assert_eq!(issues(&loaded), [""; 0]);
        assert!(loaded.raw.as_deref().unwrap().starts_with("// mine"));
        assert_eq!(loaded.parsed["gateway"]["$include"], "./gw.json");
        assert_eq!(loaded.resolved["gateway"], json!({"mode":"local","port":1234,"auth":{"token":"secret"}}));
        assert_eq!(loaded.config.gateway.port, Some(1234));
        assert_eq!(loaded.config.gateway.auth.token.as_ref().map(|t| t.expose()), Some("secret"));
        assert_eq!(loaded.env["TOK"], "secret");
        assert_eq!(loaded.includes, [PathBuf::from("/home/u/.openclaw/gw.json")]);
        let view = loaded.view();
        assert!(!view.to_string().contains("secret\""), "{view}");
        assert_eq!(view["parsed"]["gateway"]["auth"]["token"], "${TOK}");
        assert_eq!(view["config"]["gateway"]["auth"]["token"], redact::SENTINEL);
        assert_eq!(view["valid"], true);
    }

    #[test]
    fn bad_files() {
        let table: [(&[u8], &str); 7] = [
            (b"", "<root>: JSON5 parse failed: SyntaxError: JSON5: invalid end of input at 1:1"),
            (b"{ a: '\xE9' }", "<root>: JSON5 parse failed: byte 0xe9 at line 1, column 7 is not UTF-8; save as UTF-8"),
            (b"{ gateway: { port: 'x' } }", "gateway.port: Invalid input: expected number, received string"),
            (b"[]", "<root>: Invalid input: expected object, received array"),
            (b"{ $include: 5 }", "<root>: Invalid $include value: expected string or array of strings, got number"),
            (
                b"{ routing: { agents: {} }, foo: 1 }",
                "routing.agents: routing.agents was replaced by agents.list; move it by hand or run \"openclaw doctor --fix\".",
            ),
            (b"{ gateway: { port: 1, frob: 1 } }", "gateway: Unrecognized key: \"frob\""),
        ];
        for (text, expected) in table {
            let loaded = of(text);
            assert_eq!(issues(&loaded), [expected]);
            let view = loaded.view();
            assert_eq!((&view["raw"], &view["parsed"], &view["config"]), (&Value::Null, &Value::Null, &json!({})));
        }
        assert_eq!(of("{ gateway: { port: 7, frob: 1 } }").config.gateway.port, Some(7));
        let (unreadable, _) = run(MemorySource::new().with_dir(PATH).with_var("OPENCLAW_CONFIG_PATH", PATH));
        assert!(!unreadable.exists);
    }

    #[test]
    fn block_for_the_terminal() {
        let (typo, paths) = run(MemorySource::new().with_file(PATH, "{gateway:{prot:1}}"));
        assert!(
            typo.invalid_block(&paths).contains("  - gateway: Unrecognized key: \"prot\" (did you mean \"port\"?)\n")
        );
        assert_eq!(typo.issues[0].message, "Unrecognized key: \"prot\"");
        let (broken, paths) = run(MemorySource::new().with_file(PATH, "{\n  gateway: { port 1 },\n}"));
        assert!(
            broken
                .invalid_block(&paths)
                .contains(" at 2:19\n    2 |   gateway: { port 1 },\n                          ^\n\nRun: "),
            "{}",
            broken.invalid_block(&paths)
        );
        let (loaded, paths) = run(MemorySource::new().with_file(PATH, "{gateway:{port:'x',frob:1}}"));
        assert_eq!(
            loaded.invalid_block(&paths),
            "Config invalid\nFile: ~/.openclaw/openclaw.json\nProblem:\n  - gateway.port: Invalid input: expected number, received string\n  - gateway: Unrecognized key: \"frob\"\n\nRun: openclaw doctor --fix"
        );
        assert_eq!(
            of("{foo:1}").reload_skipped(),
            "config reload skipped (invalid config): : Unrecognized key: \"foo\""
        );
        let (old, paths) = run(MemorySource::new().with_file(PATH, "{routing:{agents:{}}}"));
        assert!(old.invalid_block(&paths).contains("\nLegacy config keys detected:\n  - routing.agents: "));
    }

    #[test]
    fn warnings() {
        let loaded = of(
            "{ gateway: { token: '${NOPE}' }, session: { mainKey: 'x' }, meta: { lastTouchedVersion: '2026.4.1' } }",
        );
        assert!(loaded.valid());
        assert_eq!(
            loaded.warning_lines(),
            [
                format!(
                    "Config ({PATH}): missing env var \"NOPE\" at gateway.token — feature using this value will be unavailable"
                ),
                format!(
                    "Config ({PATH}): gateway.token: gateway.token moved to gateway.auth.token (auto-migrated on load)."
                ),
                "Config was last written by a newer OpenClaw (2026.4.1); current version is 2026.3.13.".into(),
                "session.mainKey is ignored; main session is always \"main\".".into(),
            ]
        );
        assert_eq!(loaded.legacy_issues.len(), 1);
        assert_eq!(loaded.config.gateway.auth.token, None);
        assert!(of("{meta:{lastTouchedVersion:'2026.3.13'}}").warnings.is_empty());
        assert!(of("{meta:{lastTouchedVersion:'2026.3.9'}}").warnings.is_empty());
    }

    #[test]
    fn mutated_files_never_panic() {
        let seed = b"{ gateway: { mode: 'local', bind: '0.0.0.0', auth: { token: '${T}' }, $include: ['a', 'b'] }, agent: { model: 'x' }, env: { vars: { A: '1' } }, agents: { list: [{ id: 'a' }] }, models: { providers: { p: { baseUrl: 'u', models: [] } } } }";
        let mut random = crate::sys::testing::Random(5);
        let mut next = move || random.next() as usize;
        for _ in 0..3_000 {
            let mut bytes = seed.to_vec();
            for _ in 0..1 + next() % 3 {
                let at = next() % bytes.len();
                match next() % 3 {
                    0 => bytes[at] = b"{}[]'\",:0$\\/ a"[next() % 14],
                    1 => bytes.insert(at, b"{}[]'\",:0$\\/ a"[next() % 14]),
                    _ => drop(bytes.remove(at)),
                }
            }
            let loaded = of(&bytes);
            loaded.view();
        }
    }
}
