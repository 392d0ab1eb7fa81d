//! What can stand where on the command line: one node for each command of the tree. Pure.

use crate::cli::tree::{self, CommandInfo, FlagInfo, FlagInfoKind};
use crate::protocol::methods::METHODS;

const BINDS: &[&str] = &["loopback", "lan", "tailnet", "auto", "custom"];
const SCOPES: &[&str] = &["config", "config+creds+sessions", "full"];
/// Values of options that the parser takes as text: the beginning of the command, the option, the words.
const VALUES: [(&str, &str, &[&str]); 17] = [
    (" gateway", "--bind", BINDS),
    (" gateway", "--auth", &["none", "token", "password", "trusted-proxy"]),
    ("", "--tailscale", &["off", "serve", "funnel"]),
    (" gateway", "--ws-log", &["auto", "full", "compact"]),
    (" agent", "--thinking", &["off", "minimal", "low", "medium", "high"]),
    (" system event", "--mode", &["now", "next-heartbeat"]),
    (" setup", "--mode", &["local", "remote"]),
    (" onboard", "--mode", &["local", "remote"]),
    (" onboard", "--flow", &["quickstart", "advanced", "manual"]),
    (" onboard", "--auth-choice", &["skip", "apiKey", "openai-api-key", "custom-api-key"]),
    (" onboard", "--secret-input-mode", &["plaintext", "ref"]),
    (" onboard", "--custom-compatibility", &["openai", "anthropic"]),
    (" onboard", "--gateway-bind", BINDS),
    (" onboard", "--gateway-auth", &["token", "password"]),
    (" onboard", "--reset-scope", SCOPES),
    (" reset", "--scope", SCOPES),
    (" configure", "--section", &["workspace", "model", "gateway", "daemon"]),
];

pub struct Node {
    /// Each word with a blank before it: ` gateway status`; empty for the root.
    pub path: String,
    pub commands: Vec<(String, String)>,
    pub options: Vec<Choice>,
    /// What the arguments are; None when there are none.
    pub argument: Option<Value>,
}

pub struct Choice {
    pub long: String,
    pub short: Option<char>,
    pub text: String,
    /// None for a switch.
    pub value: Option<Value>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Anything: nothing is offered.
    Text,
    Files,
    Words(Vec<String>),
    /// Paths of configuration keys, asked of the program.
    Keys,
}

/// All commands, parents before children.
pub fn nodes(root: &CommandInfo) -> Vec<Node> {
    let mut nodes = Vec::new();
    visit(root, String::new(), &[], &mut nodes);
    nodes
}

fn visit(info: &CommandInfo, path: String, inherited: &[&FlagInfo], nodes: &mut Vec<Node>) {
    // The scripts add --help to every command.
    let own = info.flags.iter().filter(|flag| !flag.hidden && flag.long != "--help");
    let above = inherited.iter().copied().filter(|flag| info.flags.iter().all(|own| own.long != flag.long));
    nodes.push(Node {
        commands: info.commands.iter().map(|sub| (sub.name.to_owned(), line(sub.command.description))).collect(),
        options: own.chain(above).map(|flag| choice(&path, flag)).collect(),
        argument: info.positionals.first().map(|first| argument(&path, first.name)),
        path: path.clone(),
    });
    let inherited: Vec<&FlagInfo> = match path.as_str() {
        " gateway" => info.flags.iter().filter(|flag| tree::GATEWAY_INHERITED.contains(&flag.long)).collect(),
        _ => inherited.to_vec(),
    };
    for sub in &info.commands {
        visit(&sub.command, format!("{path} {}", sub.name), &inherited, nodes);
    }
}

fn choice(path: &str, flag: &FlagInfo) -> Choice {
    let value = match flag.kind {
        FlagInfoKind::Switch => None,
        FlagInfoKind::Option { arg_name } => Some(option_value(path, flag.long, arg_name)),
    };
    Choice { long: flag.long.to_owned(), short: flag.short, text: line(flag.description), value }
}

fn option_value(path: &str, long: &str, arg_name: &str) -> Value {
    let checked = tree::CHOICES.iter().find(|(name, _)| *name == long).map(|(_, words)| *words);
    let listed = || VALUES.iter().find(|(at, name, _)| path.starts_with(at) && *name == long).map(|(.., words)| *words);
    match (checked.or_else(listed), arg_name) {
        (Some(words), _) => Value::Words(words.iter().map(|word| (*word).to_owned()).collect()),
        // Paths of addresses.
        (None, _) if path.starts_with(" webhooks") => Value::Text,
        (None, "path" | "dir" | "file") => Value::Files,
        (None, _) => Value::Text,
    }
}

fn argument(path: &str, name: &str) -> Value {
    match (path, name) {
        (path, "path") if path.starts_with(" config ") => Value::Keys,
        (" gateway call", _) => Value::Words(METHODS.iter().map(|method| method.name.to_owned()).collect()),
        (_, "shell") => option_value(path, "--shell", "shell"),
        (_, "archive") => Value::Files,
        _ => Value::Text,
    }
}

/// The first sentence, on one line.
fn line(text: &str) -> String {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let end = [". ", "; "].into_iter().filter_map(|end| text.find(end)).min().unwrap_or(text.len());
    text[..end].trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_and_option_of_the_tree_is_there() {
        let nodes = nodes(&tree::tree());
        let node = |path: &str| nodes.iter().find(|node| node.path == path).expect(path);
        let long = |path: &str| node(path).options.iter().map(|option| option.long.as_str()).collect::<Vec<_>>();
        assert!(nodes.len() > 40, "{}", nodes.len());
        assert!(node("").commands.iter().any(|(name, _)| name == "gateway"));
        assert!(long(" gateway status").ends_with(&["--port", "--force"]), "{:?}", long(" gateway status"));
        assert!(!long(" config schema").is_empty() && long("").contains(&"--profile"));
        for path in [" config get", " config set", " config unset", " config schema"] {
            assert_eq!(node(path).argument, Some(Value::Keys), "{path}");
        }
        let of = |path: &str, long: &str| {
            node(path).options.iter().find(|option| option.long == long).expect(long).value.clone()
        };
        assert_eq!(of(" gateway", "--password-file"), Some(Value::Files));
        assert_eq!(of(" gateway", "--port"), Some(Value::Text));
        assert_eq!(of(" gateway", "--force"), None);
        assert!(matches!(of("", "--log-level"), Some(Value::Words(words)) if words.contains(&"debug".to_owned())));
    }
}
