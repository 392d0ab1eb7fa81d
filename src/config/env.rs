//! Variables for the configuration: the process's, `.env` files, the `env` block, and `${NAME}` (config A2).

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use super::issue::Issue;
use super::schema::{push_index, push_step};
use super::source::Source;

/// Names that a configuration may not set: they would run code or change what programs trust.
const IGNORED_PREFIXES: [&str; 5] = ["LD_", "DYLD_", "BASH_FUNC_", "GIT_CONFIG_", "NPM_CONFIG_"];
const IGNORED_NAMES: &[&str] = &[
    "NODE_OPTIONS",
    "NODE_PATH",
    "PYTHONHOME",
    "PYTHONPATH",
    "PYTHONSTARTUP",
    "PERL5LIB",
    "PERL5OPT",
    "PERL5DB",
    "RUBYLIB",
    "RUBYOPT",
    "BASH_ENV",
    "ENV",
    "SHELL",
    "SHELLOPTS",
    "PS4",
    "IFS",
    "GCONV_PATH",
    "SSLKEYLOGFILE",
    "GIT_EXTERNAL_DIFF",
    "GIT_EXEC_PATH",
    "GIT_SSH",
    "GIT_SSH_COMMAND",
    "GIT_PROXY_COMMAND",
    "GIT_ASKPASS",
    "SSH_ASKPASS",
    "HOME",
    "ZDOTDIR",
    "PAGER",
    "EDITOR",
    "VISUAL",
    "LESSOPEN",
    "PROMPT_COMMAND",
    "HISTFILE",
    "OPENSSL_CONF",
    "OPENSSL_ENGINES",
    "WGETRC",
    "CURL_HOME",
];

/// The environment with what `.env` files and the configuration add to it.
pub struct Env<'a> {
    source: &'a dyn Source,
    pub added: BTreeMap<String, String>,
}

impl<'a> Env<'a> {
    /// Reads `./.env`, then `<state>/.env`; the first one that names a variable wins.
    pub fn new(source: &'a dyn Source, state_dir: &Path) -> Self {
        let mut env = Env { source, added: BTreeMap::new() };
        let dirs = source.current_dir().into_iter().chain([state_dir.to_path_buf()]);
        for file in dirs.map(|dir| dir.join(".env")) {
            let Ok(bytes) = source.read(&file) else { continue };
            let file_vars: BTreeMap<_, _> = parse_dotenv(&String::from_utf8_lossy(&bytes)).into_iter().collect();
            file_vars.into_iter().for_each(|(name, value)| env.add(name, value));
        }
        env
    }

    /// `env.vars` and the texts directly below `env`. Values with `${…}` and dangerous names are left out.
    pub fn add_block(&mut self, config: &Value) {
        let Some(block) = config.get("env").and_then(Value::as_object) else { return };
        let vars = block.get("vars").and_then(Value::as_object);
        let direct = block.iter().filter(|(name, _)| !matches!(name.as_str(), "vars" | "shellEnv"));
        // What stands directly below `env` beats `env.vars`.
        let pairs: BTreeMap<&str, &str> = vars
            .into_iter()
            .flatten()
            .chain(direct)
            .filter_map(|(name, value)| Some((name.trim(), value.as_str()?)))
            .filter(|(name, value)| !name.is_empty() && !value.trim().is_empty())
            .collect();
        for (name, value) in pairs.into_iter().filter(|(name, value)| !ignored(name) && !has_reference(value)) {
            self.add(name.to_owned(), value.to_owned());
        }
    }

    /// Nothing takes the place of a value that is set and not blank.
    fn add(&mut self, name: String, value: String) {
        let present = self.added.entry(name).or_default();
        if present.trim().is_empty() {
            *present = value;
        }
    }

    /// The process's own variable unless blank, then what was added; never blank.
    pub fn get(&self, name: &str) -> Option<String> {
        let real = self.source.var(name).filter(|v| !v.trim().is_empty());
        real.or_else(|| self.added.get(name).filter(|v| !v.trim().is_empty()).cloned())
    }

    /// Replaces `${NAME}` in every text value. A missing variable stays as it is written and gives a warning.
    pub fn substitute(&self, value: &mut Value, warnings: &mut Vec<Issue>) {
        self.walk(value, &mut String::new(), warnings);
    }

    fn walk(&self, value: &mut Value, path: &mut String, warnings: &mut Vec<Issue>) {
        let here = path.len();
        match value {
            Value::String(text) if text.contains("${") => {
                let mut missing = Vec::new();
                let replaced = expand(text, &mut |name| self.get(name), &mut missing);
                *text = replaced;
                warnings.extend(missing.into_iter().map(|name| Issue::new(path.as_str(), missing_text(&name))));
            }
            Value::Array(items) => {
                for (index, item) in items.iter_mut().enumerate() {
                    push_index(path, index);
                    self.walk(item, path, warnings);
                    path.truncate(here);
                }
            }
            Value::Object(map) => {
                for (key, item) in map.iter_mut() {
                    push_step(path, key);
                    self.walk(item, path, warnings);
                    path.truncate(here);
                }
            }
            _ => {}
        }
    }
}

/// True for a text that is one `${NAME}` and nothing else.
pub fn is_placeholder(text: &str) -> bool {
    text.trim().strip_prefix("${").and_then(|t| t.strip_suffix('}')).is_some_and(valid_name)
}

/// Whether a configuration may not set this variable.
pub fn ignored(name: &str) -> bool {
    let upper = name.to_ascii_uppercase();
    !upper.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        || IGNORED_NAMES.contains(&upper.as_str())
        || IGNORED_PREFIXES.iter().any(|prefix| upper.starts_with(prefix))
}

/// Lines `KEY=VALUE`, `export KEY=VALUE`, comments, single, double and back quotes (also over several lines).
pub fn parse_dotenv(text: &str) -> Vec<(String, String)> {
    let text = text.trim_start_matches('\u{feff}');
    let (mut out, mut rest) = (Vec::new(), text);
    while !rest.is_empty() {
        let line = &rest[..rest.find('\n').unwrap_or(rest.len())];
        let next = &rest[(line.len() + 1).min(rest.len())..];
        let Some((name, value)) = split_assignment(line) else {
            rest = next;
            continue;
        };
        let start = rest.len() - rest[line.len() - value.len()..].len();
        let (value, after) = dotenv_value(&rest[start..]);
        out.push((name.to_owned(), value));
        rest = match after.find('\n') {
            Some(end) => &after[end + 1..],
            None => "",
        };
    }
    out
}

fn missing_text(name: &str) -> String {
    format!("Missing env var \"{name}\" — feature using this value will be unavailable")
}

fn valid_name(name: &str) -> bool {
    let bytes = name.as_bytes();
    bytes.first().is_some_and(|b| b.is_ascii_uppercase() || *b == b'_')
        && bytes.iter().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || *b == b'_')
}

fn has_reference(text: &str) -> bool {
    let mut found = false;
    expand(
        text,
        &mut |_| {
            found = true;
            None
        },
        &mut Vec::new(),
    );
    found
}

/// `${NAME}` → its value, `$${NAME}` → `${NAME}`, everything else as it is.
pub fn expand(text: &str, get: &mut dyn FnMut(&str) -> Option<String>, missing: &mut Vec<String>) -> String {
    let (mut out, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(at) = rest.find("${") {
        let name = rest[at + 2..].find('}').map(|end| &rest[at + 2..at + 2 + end]).filter(|name| valid_name(name));
        let Some(name) = name else {
            out.push_str(&rest[..at + 2]);
            rest = &rest[at + 2..];
            continue;
        };
        let end = at + 2 + name.len() + 1;
        if rest[..at].ends_with('$') {
            out.push_str(&rest[..at - 1]);
            out.push_str(&rest[at..end]);
        } else {
            out.push_str(&rest[..at]);
            match get(name) {
                Some(value) => out.push_str(&value),
                None => {
                    out.push_str(&rest[at..end]);
                    missing.push(name.to_owned());
                }
            }
        }
        rest = &rest[end..];
    }
    out.push_str(rest);
    out
}

/// The name and what follows the sign, on one line.
fn split_assignment(line: &str) -> Option<(&str, &str)> {
    let line = line.trim_start();
    let line = line.strip_prefix("export").filter(|l| l.starts_with([' ', '\t'])).unwrap_or(line).trim_start();
    let end = line.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-')))?;
    let (name, rest) = line.split_at(end);
    let rest = rest.trim_start().strip_prefix('=').or_else(|| rest.strip_prefix(": "))?;
    (!name.is_empty()).then_some((name, rest))
}

/// The value at the start of `text` and what comes after it.
fn dotenv_value(text: &str) -> (String, &str) {
    let line_end = text.find('\n').unwrap_or(text.len());
    let blanks = text.len() - text.trim_start_matches([' ', '\t']).len();
    let body = &text[blanks..];
    if let Some(quote) = body.chars().next().filter(|c| matches!(c, '"' | '\'' | '`')) {
        let mut escaped = false;
        let close = body[1..].char_indices().find(|(_, c)| {
            let found = *c == quote && !escaped;
            escaped = *c == '\\' && !escaped;
            found
        });
        if let Some((end, _)) = close {
            let inner = &body[1..1 + end];
            let value = if quote == '"' { inner.replace("\\n", "\n").replace("\\r", "\r") } else { inner.to_owned() };
            return (value, &body[end + 2..]);
        }
    }
    let line = &text[..line_end];
    let plain = line.find('#').map_or(line, |at| &line[..at]);
    (plain.trim().to_owned(), &text[line_end..])
}

#[cfg(test)]
mod tests {
    use super::super::source::MemorySource;
    use super::*;
    use serde_json::json;

    #[test]
    fn dotenv() {
        let text = "\u{feff}A=1\n# c\nexport B = two # note\nC='x # y'\nD=\"a\\nb\"\nE=`q`\nnot a line\nF=\nG=\"multi\nline\" # c\nH: yaml\n =x\nA=again";
        let expected = [
            ("A", "1"),
            ("B", "two"),
            ("C", "x # y"),
            ("D", "a\nb"),
            ("E", "q"),
            ("F", ""),
            ("G", "multi\nline"),
            ("H", "yaml"),
            ("A", "again"),
        ];
        let pairs = parse_dotenv(text);
        let pairs: Vec<(&str, &str)> = pairs.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        assert_eq!(pairs, expected);
    }

    #[test]
    fn strongest_first() {
        let source = MemorySource { current_dir: Some("/w".into()), ..MemorySource::new() }
            .with_var("REAL", "process")
            .with_var("BLANK", " ")
            .with_file("/w/.env", "REAL=cwd\nCWD=cwd\nBLANK=cwd\nEMPTY_CWD=\nEMPTY_ALL= ")
            .with_file("/s/.env", "CWD=state\nSTATE=state\nEMPTY_CWD=state");
        let mut env = Env::new(&source, Path::new("/s"));
        env.add_block(&json!({"env":{
            "vars": {"STATE":"config","VARS":"vars","BOTH":"vars","LD_PRELOAD":"x","HOME":"x","REF":"a${X}","EMPTY":"","EMPTY_ALL":"vars"},
            "BOTH":"direct", "DIRECT":"direct", "shellEnv": {"enabled":true}, "NUMBER": 5, "git_ssh":"x", "A B":"x"
        }}));
        let table = [
            ("REAL", Some("process")),
            ("BLANK", Some("cwd")),
            ("CWD", Some("cwd")),
            ("STATE", Some("state")),
            ("EMPTY_CWD", Some("state")),
            ("EMPTY_ALL", Some("vars")),
            ("VARS", Some("vars")),
            ("BOTH", Some("direct")),
            ("DIRECT", Some("direct")),
            ("LD_PRELOAD", None),
            ("HOME", None),
            ("REF", None),
            ("EMPTY", None),
            ("NUMBER", None),
            ("shellEnv", None),
            ("git_ssh", None),
            ("A B", None),
        ];
        for (name, value) in table {
            assert_eq!(env.get(name).as_deref(), value, "{name}");
        }
    }

    #[test]
    fn substitution() {
        let source = MemorySource::new().with_var("A", "1").with_var("B_2", "two").with_var("E", "");
        let env = Env::new(&source, Path::new("/s"));
        let table = [
            ("${A}", "1", None),
            ("x${A}y${B_2}", "x1ytwo", None),
            ("$${A}", "${A}", None),
            ("$$${A}", "$${A}", None),
            ("${a}", "${a}", None),
            ("${A", "${A", None),
            ("$A {A}", "$A {A}", None),
            ("${${A}}", "${1}", None),
            ("${1A}", "${1A}", None),
            ("${NO}", "${NO}", Some("NO")),
            ("${E}", "${E}", Some("E")),
            ("ü${A}ü", "ü1ü", None),
        ];
        for (text, expected, missing) in table {
            let (mut value, mut warnings) = (json!({"${A}": [text]}), Vec::new());
            env.substitute(&mut value, &mut warnings);
            assert_eq!(value, json!({"${A}": [expected]}), "{text}");
            let texts: Vec<String> = warnings.iter().map(Issue::line).collect();
            let warning =
                |name| format!("${{A}}.0: Missing env var \"{name}\" — feature using this value will be unavailable");
            assert_eq!(texts, missing.map(warning).into_iter().collect::<Vec<_>>(), "{text}");
        }
        assert!(is_placeholder(" ${A_1} ") && !is_placeholder("${a}") && !is_placeholder("x${A}"));
    }
}
