//! What those can do who get in: hooks, tools, commands, channels; and where secrets may leak.

use serde_json::{Map, Value, json};

use super::Severity::{Critical, Info, Warn};
use super::{Check, Facts, Repair, hit, listed, when};
use crate::config::{AuthMode, redact};
use crate::policy::net::Host;

const HOOK_TOKEN_CHARS: usize = 24;
/// Programs that run whatever they are given: no "safe" program is one of them.
const INTERPRETERS: [&str; 14] =
    ["sh", "bash", "dash", "zsh", "fish", "ksh", "python", "python3", "node", "perl", "ruby", "php", "awk", "env"];
/// Directories where anybody can put a program.
const OPEN_DIRS: [&str; 5] = ["/tmp", "/var/tmp", "/dev/shm", "/Users/Shared", "."];

pub const CHECKS: &[Check] = &[
    Check {
        id: "hooks.token_missing",
        severity: Critical,
        title: "Webhooks without a token",
        remedy: "Set hooks.token to a random text of its own.",
        look: |f| {
            let written =
                f.at("hooks.token").is_some_and(|value| value.as_str().is_none_or(|text| !text.trim().is_empty()));
            when(f.config.hooks.enabled && !written, "hooks.enabled is true and hooks.token is not set.")
        },
    },
    Check {
        id: "hooks.token_reuse_gateway_token",
        severity: Critical,
        title: "Who may post to a hook is an operator",
        remedy: "Give hooks.token a value of its own; the gateway does not start with this one.",
        look: |f| {
            let hooks = f.config.hooks.token.as_ref().filter(|token| !token.is_empty())?;
            let same = [&f.auth.token, &f.auth.password].into_iter().flatten().any(|secret| secret == hooks);
            when(same, "hooks.token is the gateway's own secret.")
        },
    },
    Check {
        id: "hooks.token_too_short",
        severity: Warn,
        title: "Hooks token looks short",
        remedy: "Set hooks.token to a longer random text.",
        look: |f| {
            let token = f.config.hooks.token.as_ref().filter(|token| f.config.hooks.enabled && !token.is_empty())?;
            let chars = token.expose().chars().count();
            (chars < HOOK_TOKEN_CHARS)
                .then(|| hit(format!("hooks.token is {chars} chars; prefer a long random token.")))
        },
    },
    Check {
        id: "hooks.path_root",
        severity: Critical,
        title: "Hooks answer on every path",
        remedy: "Set hooks.path to something like /hooks.",
        look: |f| when(f.config.hooks.enabled && f.text("hooks.path") == Some("/"), "hooks.path is \"/\"."),
    },
    Check {
        id: "hooks.request_session_key_enabled",
        severity: Warn,
        title: "A hook may speak in any session",
        remedy: "Remove hooks.allowRequestSessionKey, or limit it with hooks.allowedSessionKeyPrefixes.",
        look: |f| {
            let free = f.texts("hooks.allowedSessionKeyPrefixes").is_empty();
            let detail = match free {
                true => "hooks.allowRequestSessionKey is true without hooks.allowedSessionKeyPrefixes.",
                false => "hooks.allowRequestSessionKey is true.",
            };
            let on = f.config.hooks.enabled && f.is_true("hooks.allowRequestSessionKey");
            when(on, detail).map(|hit| hit.critical_if(free && f.exposed()))
        },
    },
    Check {
        id: "hooks.default_session_key_unset",
        severity: Info,
        title: "Every hook begins a session of its own",
        remedy: "Set hooks.defaultSessionKey, e.g. hook:ingress.",
        look: |f| {
            when(
                f.config.hooks.enabled && f.text("hooks.defaultSessionKey").is_none(),
                "hooks.defaultSessionKey is not set.",
            )
        },
    },
    Check {
        id: "hooks.allowed_agent_ids_unrestricted",
        severity: Warn,
        title: "A hook may wake any agent",
        remedy: "Name those that it may in hooks.allowedAgentIds.",
        look: |f| {
            let named = f.texts("hooks.allowedAgentIds");
            let all = named.is_empty() || named.iter().any(|id| id == "*");
            let on = f.config.hooks.enabled && all && f.config.agents.list.len() > 1;
            when(on, "hooks.allowedAgentIds does not say which.").map(|hit| hit.critical_if(f.exposed()))
        },
    },
    Check {
        id: "tools.elevated.allowFrom.wildcard",
        severity: Critical,
        title: "Everybody may use elevated tools",
        remedy: "Name the people in tools.elevated.allowFrom.",
        look: |f| {
            let wide = f.tools().into_iter().flat_map(|(path, tools)| {
                let from = tools.get("elevated").and_then(|elevated| elevated.get("allowFrom")?.as_object());
                let wide = from.into_iter().flatten().filter(|(_, list)| has_star(Some(list)));
                wide.map(|(channel, _)| format!("{path}.elevated.allowFrom.{channel}")).collect::<Vec<_>>()
            });
            listed("\"*\" in", &wide.collect::<Vec<_>>())
        },
    },
    Check {
        id: "tools.exec.security_full",
        severity: Warn,
        title: "Commands of agents run unasked",
        remedy: "Set tools.exec.security to allowlist and tools.exec.ask to on-miss.",
        look: |f| {
            let full = f.full_exec();
            let unasked = full.iter().any(|(_, ask)| *ask == Some("off"));
            let paths: Vec<String> = full.into_iter().map(|(path, _)| path).collect();
            Some(listed("security is full in", &paths)?.critical_if(unasked))
        },
    },
    Check {
        id: "tools.exec.safe_bins_interpreters",
        severity: Warn,
        title: "\"Safe\" programs that run anything",
        remedy: "Take them out of safeBins.",
        look: |f| {
            let found = f.tools().into_iter().flat_map(|(path, tools)| {
                let bins = texts(tools.get("exec").and_then(|exec| exec.get("safeBins")));
                let name = |bin: &str| bin.rsplit('/').next().unwrap_or_default().to_owned();
                let wrong = bins.into_iter().filter(move |bin| INTERPRETERS.contains(&name(bin).as_str()));
                wrong.map(move |bin| format!("{path}.exec.safeBins {bin}")).collect::<Vec<_>>()
            });
            listed("Interpreters", &found.collect::<Vec<_>>())
        },
    },
    Check {
        id: "tools.exec.safe_bin_dirs_open",
        severity: Warn,
        title: "\"Safe\" programs lie where anybody can put one",
        remedy: "Keep to directories that only root writes to in safeBinTrustedDirs.",
        look: |f| {
            let found = f.tools().into_iter().flat_map(|(path, tools)| {
                let dirs = texts(tools.get("exec").and_then(|exec| exec.get("safeBinTrustedDirs")));
                let open =
                    |dir: &String| OPEN_DIRS.iter().any(|open| dir == open || dir.starts_with(&format!("{open}/")));
                dirs.into_iter()
                    .filter(open)
                    .map(move |dir| format!("{path}.exec.safeBinTrustedDirs {dir}"))
                    .collect::<Vec<_>>()
            });
            listed("Open to others", &found.collect::<Vec<_>>())
        },
    },
    Check {
        id: "security.exposure.open_channels_with_exec",
        severity: Critical,
        title: "Strangers reach an agent that runs commands",
        remedy: "Close the channel (dmPolicy pairing, groupPolicy allowlist) or set tools.exec.security to deny.",
        look: |f| {
            let open: Vec<String> = f.open_dms().into_iter().chain(f.open_groups()).collect();
            let denied = f.text("tools.exec.security") == Some("deny")
                || f.texts("tools.deny").iter().any(|tool| tool == "exec" || tool == "*");
            listed("Commands are not denied, and open are", &open).filter(|_| !denied)
        },
    },
    Check {
        id: "security.exposure.open_channels_with_commands",
        severity: Critical,
        title: "Strangers may use commands that change the gateway",
        remedy: "Remove these commands, or set commands.ownerAllowFrom and close the channels.",
        look: |f| {
            let on = ["commands.bash", "commands.config", "commands.debug"];
            let on: Vec<String> = on.into_iter().filter(|path| f.is_true(path)).map(str::to_owned).collect();
            let open = !f.open_dms().is_empty() || !f.open_groups().is_empty();
            listed("With an open channel", &on).filter(|_| open)
        },
    },
    Check {
        id: "channels.dm_open",
        severity: Critical,
        title: "Everybody may write to the agent",
        remedy: "Set dmPolicy to pairing or allowlist.",
        look: |f| listed("dmPolicy is open in", &f.open_dms()),
    },
    Check {
        id: "channels.allow_from_wildcard",
        severity: Warn,
        title: "\"*\" stands among those who may write",
        remedy: "Name them; \"*\" only belongs to dmPolicy open.",
        look: |f| {
            let wide = f.channels().into_iter().filter(|(_, channel)| {
                let star = has_star(channel.get("allowFrom")) || has_star(channel.get("groupAllowFrom"));
                star && dm_policy(channel) != Some("open")
            });
            listed("In", &wide.map(|(path, _)| path).collect::<Vec<_>>())
        },
    },
    Check {
        id: "channels.groups_open",
        severity: Critical,
        title: "Every group may use the agent",
        remedy: "openclaw security audit --fix sets groupPolicy to allowlist.",
        look: |f| {
            let open = f.open_groups();
            let close = open.iter().map(|path| Repair::Set(format!("{path}.groupPolicy"), json!("allowlist")));
            let close: Vec<Repair> = close.collect();
            Some(listed("groupPolicy is open in", &open)?.repairs(close))
        },
    },
    Check {
        id: "channels.dm_scope_main_multiuser",
        severity: Warn,
        title: "Several people share one conversation with the agent",
        remedy: "Set session.dmScope to per-channel-peer.",
        look: |f| {
            let shared = matches!(f.text("session.dmScope"), None | Some("main"));
            let many = f
                .channels()
                .into_iter()
                .filter(|(_, channel)| dm_policy(channel) == Some("open") || texts(channel.get("allowFrom")).len() > 1);
            listed(
                "session.dmScope is main, and more than one may write in",
                &many.map(|(path, _)| path).collect::<Vec<_>>(),
            )
            .filter(|_| shared)
        },
    },
    Check {
        id: "logging.redact_off",
        severity: Warn,
        title: "Secrets are written to the log",
        remedy: "openclaw security audit --fix sets logging.redactSensitive to tools.",
        look: |f| {
            let seen = when(f.config.logging.redact_off, "logging.redactSensitive is off.")?;
            Some(seen.repairs([Repair::Set("logging.redactSensitive".into(), json!("tools"))]))
        },
    },
    Check {
        id: "models.provider_plain_http",
        severity: Warn,
        title: "Keys and conversations leave in plain text",
        remedy: "Use an https address for them.",
        look: |f| {
            let plain = f.config.models.providers.iter().filter(|(_, provider)| is_plain_abroad(&provider.base_url));
            listed(
                "http to another network",
                &plain.map(|(id, _)| format!("models.providers.{id}")).collect::<Vec<_>>(),
            )
        },
    },
    Check {
        id: "config.secrets.readable",
        severity: Critical,
        title: "Secrets in plain text in a file that others can read",
        remedy: "openclaw security audit --fix closes the file; then give these secrets new values.",
        look: |f| {
            let readable = f.config_files().any(|entry| entry.mode & 0o044 != 0);
            listed("In plain text", &f.plain_secrets()).filter(|_| readable)
        },
    },
    Check {
        id: "config.secrets.gateway_password_in_config",
        severity: Info,
        title: "The gateway's password stands in the configuration",
        remedy: "Put it into OPENCLAW_GATEWAY_PASSWORD or a reference if backups of the file go elsewhere.",
        look: |f| {
            let plain = f.written.pointer("/gateway/auth/password").is_some_and(is_plain);
            when(f.auth.mode == AuthMode::Password && plain, "gateway.auth.password is plain text.")
        },
    },
    Check {
        id: "config.secrets.hooks_token_in_config",
        severity: Info,
        title: "The token of the hooks stands in the configuration",
        remedy: "Use a reference or a ${VARIABLE} if backups of the file go elsewhere.",
        look: |f| {
            let plain = f.written.pointer("/hooks/token").is_some_and(is_plain);
            when(f.config.hooks.enabled && plain, "hooks.token is plain text.")
        },
    },
];

impl Facts<'_> {
    pub(super) fn is_true(&self, path: &str) -> bool {
        self.at(path) == Some(&Value::Bool(true))
    }

    pub(super) fn text(&self, path: &str) -> Option<&str> {
        self.at(path).and_then(Value::as_str).map(str::trim).filter(|text| !text.is_empty())
    }

    pub(super) fn texts(&self, path: &str) -> Vec<String> {
        texts(self.at(path))
    }

    /// `tools`, and those of each agent.
    fn tools(&self) -> Vec<(String, &Map<String, Value>)> {
        let own = self.at("agents.list").and_then(Value::as_array).into_iter().flatten().enumerate();
        let own = own.filter_map(|(index, agent)| Some((format!("agents.list.{index}.tools"), agent.get("tools")?)));
        let all = self.at("tools").map(|tools| ("tools".to_owned(), tools)).into_iter().chain(own);
        all.filter_map(|(path, tools)| Some((path, tools.as_object()?))).collect()
    }

    /// Where exec may do everything, and whether it asks.
    fn full_exec(&self) -> Vec<(String, Option<&str>)> {
        let ask_of_all = self.text("tools.exec.ask");
        let full = self.tools().into_iter().filter_map(|(path, tools)| {
            let exec = tools.get("exec")?;
            let ask = exec.get("ask").and_then(Value::as_str).or(ask_of_all);
            (exec.get("security")? == "full").then(|| (format!("{path}.exec"), ask))
        });
        full.collect()
    }

    /// Channels and their accounts that are on.
    fn channels(&self) -> Vec<(String, &Map<String, Value>)> {
        let on = |value: &Value| value.get("enabled") != Some(&Value::Bool(false));
        let mut out = Vec::new();
        for (name, channel) in self.at("channels").and_then(Value::as_object).into_iter().flatten() {
            let Some(map) =
                channel.as_object().filter(|_| on(channel) && name != "modelByChannel" && name != "defaults")
            else {
                continue;
            };
            out.push((format!("channels.{name}"), map));
            for (id, account) in map.get("accounts").and_then(Value::as_object).into_iter().flatten() {
                out.extend(
                    account
                        .as_object()
                        .filter(|_| on(account))
                        .map(|map| (format!("channels.{name}.accounts.{id}"), map)),
                );
            }
        }
        out
    }

    fn open_dms(&self) -> Vec<String> {
        self.channels()
            .into_iter()
            .filter(|(_, channel)| dm_policy(channel) == Some("open"))
            .map(|(path, _)| path)
            .collect()
    }

    fn open_groups(&self) -> Vec<String> {
        let defaults = self.at("channels.defaults").and_then(Value::as_object);
        let all = defaults.map(|map| ("channels.defaults".to_owned(), map)).into_iter().chain(self.channels());
        all.filter(|(_, channel)| group_policy(channel) == Some("open")).map(|(path, _)| path).collect()
    }

    /// Open ones, and those with a list.
    pub(super) fn group_policies(&self) -> (usize, usize) {
        let with_list = self.channels().into_iter().filter(|(_, channel)| group_policy(channel) == Some("allowlist"));
        (self.open_groups().len(), with_list.count())
    }

    /// Paths of secrets in the file as it is written; the gateway's own have rows of their own.
    fn plain_secrets(&self) -> Vec<String> {
        fn walk<'v>(value: &'v Value, path: &mut Vec<&'v str>, out: &mut Vec<String>) {
            match value {
                Value::Object(map) => map.iter().for_each(|(key, value)| {
                    path.push(key);
                    walk(value, path, out);
                    path.pop();
                }),
                Value::Array(items) => items.iter().for_each(|item| walk(item, path, out)),
                _ if is_plain(value) && redact::is_secret(path) && !path.starts_with(&["gateway", "auth"]) => {
                    out.push(path.join("."))
                }
                _ => {}
            }
        }
        let mut out = Vec::new();
        walk(self.written, &mut Vec::new(), &mut out);
        out
    }
}

fn texts(value: Option<&Value>) -> Vec<String> {
    let items = value.and_then(Value::as_array).into_iter().flatten();
    items.filter_map(Value::as_str).map(|text| text.trim().to_owned()).collect()
}

fn has_star(value: Option<&Value>) -> bool {
    texts(value).iter().any(|text| text == "*")
}

/// `dmPolicy`, or `dm.policy` of channels that have it there.
fn dm_policy(channel: &Map<String, Value>) -> Option<&str> {
    channel.get("dmPolicy").or_else(|| channel.get("dm")?.get("policy"))?.as_str()
}

fn group_policy(channel: &Map<String, Value>) -> Option<&str> {
    channel.get("groupPolicy")?.as_str()
}

/// A text that is no `${VARIABLE}`.
fn is_plain(value: &Value) -> bool {
    value.as_str().is_some_and(|text| !text.trim().is_empty() && !text.contains("${"))
}

/// `http:` to a host that is neither this machine nor in a private network.
fn is_plain_abroad(url: &str) -> bool {
    let Some(rest) = url.trim().strip_prefix("http://") else { return false };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let Some(host) = crate::policy::net::HostName::parse(authority.rsplit('@').next().unwrap_or_default()) else {
        return true;
    };
    match &host.name {
        _ if host.is_loopback() || host.is_tailnet() => false,
        Host::Ip(std::net::IpAddr::V4(ip)) => !ip.is_private() && !ip.is_link_local(),
        Host::Ip(std::net::IpAddr::V6(ip)) => !ip.is_unique_local() && !ip.is_unicast_link_local(),
        // A name without dots or with a name of the local network is one of this house.
        Host::Name(name) => {
            name.contains('.')
                && ![".local", ".lan", ".home", ".internal", ".home.arpa"].iter().any(|end| name.ends_with(end))
        }
    }
}
