//! `openclaw models list`: the chosen models, or everything that is known; from the configuration, no gateway.

use std::net::IpAddr;

use serde_json::{Value, json};

use super::Context;
use super::agents::agent_dir;
use super::help;
use super::output::{Paint, ellipsis, json_pretty, pad, plain, short_count, write_err};
use super::tree::{Models, ModelsCommand, ModelsList};
use crate::agent::models::catalog::{Catalog, ModelRef};
use crate::config::Config;
use crate::error::Result;
use crate::limits::CONTEXT_TOKENS;
use crate::out;

/// Model, input, context, local, authenticated; tags end the line.
const WIDTHS: [usize; 5] = [42, 10, 8, 5, 5];

/// One model of the list.
#[derive(Debug, PartialEq)]
struct Row {
    key: String,
    name: String,
    input: String,
    context: u64,
    local: bool,
    auth: bool,
    tags: Vec<String>,
}

pub fn run(cx: &Context, args: &Models) -> Result<u8> {
    match &args.command {
        Some(ModelsCommand::List(args)) => list(cx, args),
        None => {
            write_err(&help::help(&["models".to_string()]));
            Ok(1)
        }
    }
}

fn list(cx: &Context, args: &ModelsList) -> Result<u8> {
    let config = cx.config()?;
    let mut rows = rows(cx, config, args.all);
    if let Some(provider) = args.provider.as_deref() {
        // Other spellings of a provider's name count, too.
        let wanted = ModelRef::parse(&format!("{provider}/any")).map(|id| id.provider);
        rows.retain(|row| ModelRef::parse(&row.key).map(|id| id.provider) == wanted);
    }
    if args.local {
        rows.retain(|row| row.local);
    }
    if args.json {
        let models: Vec<Value> = rows.iter().map(Row::json).collect();
        out!("{}", json_pretty(&json!({"count": models.len(), "models": models})));
    } else if rows.is_empty() {
        out!("No models found.");
    } else if args.plain {
        rows.iter().for_each(|row| out!("{}", plain(&row.key)));
    } else {
        out!("{}", table(&rows, cx.paint));
    }
    Ok(0)
}

/// The default agent's chain first, then what the configuration names, with `all` the built-in list, too.
fn rows(cx: &Context, config: &Config, all: bool) -> Vec<Row> {
    let env = |name: &str| cx.var(name);
    let catalog = Catalog { config, env: &env, dev: cx.paths.profile.as_deref() == Some("dev") };
    let agent = config.agents.default_id();
    let dir = agent_dir(cx, agent);
    let chain = catalog.chain(agent, &dir);
    let known = catalog.models_list();
    let known = known["models"].as_array().or(known.as_array()).cloned().unwrap_or_default();
    let known_id = |model: &Value| {
        Some(ModelRef { provider: model["provider"].as_str()?.into(), model: model["id"].as_str()?.into() })
    };

    let mut ids: Vec<ModelRef> = chain.clone();
    ids.extend(config.agents.defaults.models.keys().filter_map(|text| catalog.find(text)));
    for (provider, entry) in &config.models.providers {
        ids.extend(entry.models.iter().map(|model| ModelRef { provider: provider.clone(), model: model.id.clone() }));
    }
    if all {
        ids.extend(known.iter().filter_map(known_id));
    }
    let mut seen = Vec::new();
    ids.retain(|id| {
        !seen.contains(id) && {
            seen.push(id.clone());
            true
        }
    });
    ids.iter()
        .map(|id| {
            let model = known.iter().find(|model| known_id(model).as_ref() == Some(id));
            let endpoint = catalog.endpoint(id, &dir);
            let input = model.and_then(|model| model["input"].as_array());
            let inputs = input
                .map_or("text".to_string(), |list| list.iter().filter_map(Value::as_str).collect::<Vec<_>>().join("+"));
            let images = endpoint.as_ref().is_ok_and(|endpoint| endpoint.images) && inputs == "text";
            Row {
                key: id.to_string(),
                name: model.and_then(|model| model["name"].as_str()).unwrap_or(&id.model).to_string(),
                input: if images { "text+image".to_string() } else { inputs },
                context: endpoint.as_ref().map_or_else(
                    |_| model.and_then(|model| model["contextWindow"].as_u64()).unwrap_or(CONTEXT_TOKENS),
                    |endpoint| endpoint.context_window,
                ),
                local: endpoint.as_ref().is_ok_and(|endpoint| is_local(&endpoint.base_url)),
                auth: endpoint.is_ok(),
                tags: tags(id, &chain, config, &catalog),
            }
        })
        .collect()
}

fn tags(id: &ModelRef, chain: &[ModelRef], config: &Config, catalog: &Catalog<'_>) -> Vec<String> {
    let mut tags = Vec::new();
    match chain.iter().position(|link| link == id) {
        Some(0) => tags.push("default".to_string()),
        Some(n) => tags.push(format!("fallback#{n}")),
        None => {}
    }
    if let Some((_, entry)) =
        config.agents.defaults.models.iter().find(|(text, _)| catalog.find(text).as_ref() == Some(id))
    {
        tags.push("configured".to_string());
        tags.extend(entry.alias.as_ref().map(|alias| format!("alias:{alias}")));
    }
    tags
}

/// On this machine or in this network: the address is parsed, of names only `localhost` and `*.local` count.
fn is_local(base_url: &str) -> bool {
    let rest = base_url.split_once("://").map_or(base_url, |(_, rest)| rest);
    let authority = rest.split('/').next().unwrap_or("");
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(""),
        None => authority.split(':').next().unwrap_or(""),
    };
    match host.parse::<IpAddr>().map(|ip| ip.to_canonical()) {
        Ok(IpAddr::V4(ip)) => ip.is_loopback() || ip.is_private() || ip.is_unspecified(),
        Ok(IpAddr::V6(ip)) => ip.is_loopback() || ip.is_unique_local(),
        Err(_) => host.is_empty() || host == "localhost" || host.ends_with(".local"),
    }
}

impl Row {
    fn json(&self) -> Value {
        json!({
            "key": self.key,
            "name": self.name,
            "input": self.input,
            "contextWindow": self.context,
            "local": self.local,
            "available": self.auth,
            "tags": self.tags,
            "missing": false,
        })
    }
}

fn table(rows: &[Row], paint: Paint) -> String {
    let line = |cells: [&str; 5], tags: &str| {
        let cells: Vec<String> = cells.iter().zip(WIDTHS).map(|(cell, w)| pad(&ellipsis(cell, w), w, false)).collect();
        format!("{} {tags}", cells.join(" ")).trim_end().to_string()
    };
    let yes = |is: bool| if is { "yes" } else { "no" };
    let mut lines = vec![paint.bold(&line(["Model", "Input", "Ctx", "Local", "Auth"], "Tags"))];
    for row in rows {
        let context = short_count(row.context);
        let cells = [plain(&row.key), plain(&row.input)];
        let cells = [cells[0].as_str(), cells[1].as_str(), context.as_str(), yes(row.local), yes(row.auth)];
        lines.push(line(cells, &plain(&row.tags.join(","))));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_recorded_table() {
        let row = Row {
            key: "anthropic/claude-opus-4-6".into(),
            name: "Claude Opus 4.6".into(),
            input: "text+image".into(),
            context: 200_000,
            local: false,
            auth: false,
            tags: vec!["default".into()],
        };
        assert_eq!(
            table(std::slice::from_ref(&row), Paint::NONE),
            "Model                                      Input      Ctx      Local Auth  Tags\n\
             anthropic/claude-opus-4-6                  text+image 200k     no    no    default"
        );
        assert_eq!(row.json()["contextWindow"], 200_000);
    }

    #[test]
    fn what_counts_as_local() {
        for (url, local) in [
            ("http://127.0.0.1:11434", true),
            ("http://[::1]:1/v1", true),
            ("http://192.168.1.5:8080/v1", true),
            ("http://localhost:1234", true),
            ("http://nas.local/v1", true),
            ("https://api.openai.com/v1", false),
            ("https://127.evil.com", false),
        ] {
            assert_eq!(is_local(url), local, "{url}");
        }
    }
}
