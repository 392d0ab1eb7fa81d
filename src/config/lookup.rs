//! Finding one's way in the schema: `config.schema.lookup`, completion of key paths, and "did you mean".

use serde_json::{Map, Value, json};

use super::get_path::parse_path;
use super::issue::Issue;
use super::keys::{Facts, Keys, has_keys};
use super::schema::{Schema, Type, flatten, push_step, steps};
use super::schema_doc::{hint, shallow};

/// Deepest path that is looked up.
const MAX_STEPS: usize = 32;

/// A key below a place.
struct Child {
    /// Its name; `*` for any, of maps and lists.
    name: String,
    required: bool,
    kinds: Vec<Type>,
}

/// The answer of `config.schema.lookup`; None when the schema does not have the path. Accepts names for `*`, positions
/// for `[]`, and brackets.
pub fn lookup(path: &str) -> Option<Value> {
    let (schema, keys) = (Schema::new(), Keys::new());
    let path = plain(path)?;
    let kinds = schema.at(&path);
    if kinds.is_empty() {
        return None;
    }
    let mut out = Map::new();
    out.insert("path".into(), json!(path));
    out.insert("schema".into(), shape(&schema, &kinds, &path));
    add_hint(&mut out, &keys, &schema, &path);
    let children = children(&schema, &kinds, &path).into_iter().map(|child| {
        let mut below = path.clone();
        push_step(&mut below, &child.name);
        let mut entry = Map::new();
        entry.insert("key".into(), json!(child.name));
        entry.insert("path".into(), json!(below));
        if let [one] = &child.kinds[..]
            && let Some(kind) = shallow(&schema, one, &below).get("type")
        {
            entry.insert("type".into(), kind.clone());
        }
        entry.insert("required".into(), json!(child.required));
        entry.insert("hasChildren".into(), json!(has_children(&schema, &child.kinds)));
        add_hint(&mut entry, &keys, &schema, &below);
        Value::Object(entry)
    });
    let children: Vec<Value> = children.collect();
    out.insert("children".into(), json!(children));
    Some(Value::Object(out))
}

/// What a person wants to know of a key: its documentation, its facts, and the keys below it. None: not in the schema.
pub fn describe(path: &str) -> Option<Vec<String>> {
    let (schema, keys) = (Schema::new(), Keys::new());
    let path = plain(path)?;
    let facts = Facts::of(&schema, &path)?;
    let (found, near) = (keys.find(&path), keys.near(&path));
    let mut lines = vec![path.clone()];
    match (found, near) {
        (Some(found), _) => {
            lines.push(format!("  {}", found.key.doc));
            // What one agent or account does not say, all of them or the channel do.
            let inherits = found.shared && (path.starts_with("agents.list.") || path.contains(".accounts."));
            let inherits = inherits && !found.key.path.starts_with("~.") && !has_keys(&schema.at(&path));
            lines.push(format!("  {}", facts.text(if inherits { "" } else { found.key.default })));
            if inherits {
                lines.push(format!("  When it is absent, {} holds.", found.key.path));
            }
        }
        (None, near) => {
            lines.extend(near.map(|near| format!("  A part of {}: {}", near.key.path, near.key.doc)));
            lines.push(format!("  {}", facts.text("")));
        }
    }
    let children = children(&schema, &schema.at(&path), &path);
    if children.is_empty() && !found.is_some_and(|found| found.key.effect && !found.shared) {
        lines.push("  Accepted, without effect in this version.".into());
    }
    if found.is_some_and(|found| found.key.ours) {
        lines.push("  OpenClaw 2026.3.13 refuses a file that has it.".into());
    }
    let width = children.iter().map(|child| child.name.chars().count()).max().unwrap_or_default();
    if !children.is_empty() {
        lines.push(String::new());
    }
    for child in children {
        let mut below = path.clone();
        push_step(&mut below, &child.name);
        let mark = if child.required { " (required)" } else { "" };
        let doc = keys.find(&below).map_or("", |found| found.key.doc);
        let line = format!("  {:width$}  {}{mark}", child.name, doc);
        lines.push(line.trim_end().to_owned());
    }
    Some(lines)
}

/// What holds when the key is absent, empty for nothing; None when the schema does not have the path.
pub fn default_of(path: &str) -> Option<&'static str> {
    let path = plain(path)?;
    let known = !Schema::new().at(&path).is_empty();
    known.then(|| Keys::new().find(&path).map_or("", |found| found.key.default))
}

/// Key paths that begin with the given text, one level further: `gateway.r` → `gateway.reload.`, `gateway.remote.`.
/// An object ends in a dot, a map or list in `.` too; names of maps and positions are the operator's to write.
pub fn complete(prefix: &str) -> Vec<String> {
    let schema = Schema::new();
    let (parent, start) = prefix.rsplit_once('.').unwrap_or(("", prefix));
    let mut out = Vec::new();
    let kinds = if parent.is_empty() { vec![schema.root()] } else { schema.at(parent) };
    for child in children(&schema, &kinds, parent) {
        if child.name == "*" || !child.name.starts_with(start) {
            continue;
        }
        let mut path = parent.to_owned();
        push_step(&mut path, &child.name);
        if has_children(&schema, &child.kinds) {
            path.push('.');
        }
        out.push(path);
    }
    out.sort();
    out
}

/// The known path that was probably meant by one that the schema does not have; None when the schema has it or nothing
/// is near.
pub fn nearest_path(path: &str) -> Option<String> {
    let schema = Schema::new();
    let (mut kinds, mut out, mut changed) = (vec![schema.root()], String::new(), false);
    for step in parse_path(path).ok()?.iter().take(MAX_STEPS) {
        let known = children(&schema, &kinds, &out);
        let child = known.iter().find(|child| child.name == *step || child.name == "*" && known.len() == 1);
        let child = match child {
            Some(child) => child,
            None => {
                let name = nearest(step, known.iter().map(|child| child.name.as_str()))?;
                changed = true;
                push_step(&mut out, &name);
                kinds = known.into_iter().find(|child| child.name == name)?.kinds;
                continue;
            }
        };
        push_step(&mut out, step);
        kinds = child.kinds.clone();
    }
    changed.then_some(out)
}

/// ` (did you mean "port"?)` for an issue about unknown keys; empty otherwise. Only for people: the message itself is the
/// reference's.
pub fn suggestion(issue: &Issue) -> String {
    let near = near_keys(issue);
    if near.is_empty() { String::new() } else { format!(" (did you mean {}?)", near.join(", ")) }
}

/// The known keys, in quotes, that the unknown ones of an issue come close to.
pub fn near_keys(issue: &Issue) -> Vec<String> {
    let Some(names) = issue.message.strip_prefix("Unrecognized key") else { return Vec::new() };
    let schema = Schema::new();
    let kinds = if issue.path.is_empty() { vec![schema.root()] } else { schema.at(&issue.path) };
    let known = children(&schema, &kinds, &issue.path);
    let near =
        names.split('"').skip(1).step_by(2).filter_map(|name| nearest(name, known.iter().map(|c| c.name.as_str())));
    near.map(|name| format!("\"{name}\"")).collect()
}

/// The closest of some names: other case, a beginning, or a third of its letters wrong at most.
pub fn nearest<'n>(wrong: &str, names: impl Iterator<Item = &'n str>) -> Option<String> {
    let lower: Vec<char> = wrong.to_lowercase().chars().take(64).collect();
    let scored = names.filter(|name| *name != "*").filter_map(|name| {
        let other: Vec<char> = name.to_lowercase().chars().collect();
        let begins = lower.len() >= 3 && (other.starts_with(&lower) || lower.starts_with(&other) && other.len() >= 3);
        let distance = if begins { 1 } else { distance(&lower, &other) };
        (distance <= lower.len().max(other.len()).div_ceil(3).min(3)).then_some((distance, name))
    });
    scored.min_by_key(|(distance, _)| *distance).map(|(_, name)| name.to_owned())
}

/// Letters to change, add, drop or swap with their neighbour.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut rows: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let same = usize::from(a[i - 1] != b[j - 1]);
            let mut best = (rows[i - 1][j] + 1).min(row[j - 1] + 1).min(rows[i - 1][j - 1] + same);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

/// Dots only, `[]` as `*`; None for what is no path.
fn plain(path: &str) -> Option<String> {
    let path = path.trim().trim_matches('.').replace("[]", ".*").replace('[', ".").replace(']', "");
    let steps: Vec<&str> = path.split('.').map(|step| step.trim_matches(['"', '\''])).collect();
    let fits = !steps.is_empty() && steps.len() <= MAX_STEPS && steps.iter().all(|step| !step.is_empty());
    fits.then(|| steps.join("."))
}

fn shape(schema: &Schema, kinds: &[Type], path: &str) -> Value {
    match kinds {
        [one] => shallow(schema, one, path),
        many => shallow(schema, &Type::Either(many.to_vec()), path),
    }
}

fn add_hint(out: &mut Map<String, Value>, keys: &Keys, schema: &Schema, path: &str) {
    let Some(found) = keys.find(path) else { return };
    out.insert("hint".into(), Value::Object(hint(found.key, path, schema)));
    let place = if found.key.path.starts_with("~.") { path.to_owned() } else { found.key.path.clone() };
    out.insert("hintPath".into(), json!(place));
}

/// The keys below a place. Unions of plain values and one object (a secret, a model) count as plain for `lookup`, as on
/// the reference.
fn children(schema: &Schema, kinds: &[Type], path: &str) -> Vec<Child> {
    let mut out: Vec<Child> = Vec::new();
    let mut add = |name: &str, required: bool, kind: &Type| {
        if !out.iter().any(|child| child.name == name) {
            out.push(Child { name: name.to_owned(), required, kinds: flatten(kind).to_vec() });
        }
    };
    for kind in kinds.iter().flat_map(flatten) {
        match kind {
            Type::Object(line) => {
                let object = schema.object(*line, &notation(path));
                object.keys.iter().for_each(|key| add(key.name, key.required, &key.kind));
                object
                    .rest
                    .iter()
                    .filter(|rest| **rest != Type::Any || object.keys.is_empty())
                    .for_each(|rest| add("*", false, rest));
            }
            Type::List(item, _) => add("*", false, item),
            _ => {}
        }
    }
    out
}

/// A path as the schema writes it, so far as its extra keys need it.
fn notation(path: &str) -> String {
    steps(path).collect::<Vec<_>>().join(".")
}

fn has_children(schema: &Schema, kinds: &[Type]) -> bool {
    let plain = kinds.iter().any(|kind| !matches!(kind, Type::Object(_) | Type::List(..)));
    !plain && has_keys(kinds) && !children(schema, kinds, "").is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recorded_answers() {
        let port = lookup("gateway.port").unwrap();
        assert_eq!(port["path"], "gateway.port");
        let shape = json!({"type": "integer", "exclusiveMinimum": 0, "maximum": 9_007_199_254_740_991_i64});
        assert_eq!(
            (&port["schema"], &port["hintPath"], &port["children"]),
            (&shape, &json!("gateway.port"), &json!([]))
        );
        assert_eq!(port["hint"]["tags"], json!(["network"]));
        let auth = lookup("gateway.auth").unwrap();
        assert_eq!(auth["schema"], json!({"type": "object", "additionalProperties": false}));
        let children: Vec<(&str, &Value, bool, bool)> = auth["children"]
            .as_array()
            .unwrap()
            .iter()
            .map(|c| {
                (
                    c["key"].as_str().unwrap(),
                    &c["type"],
                    c["required"].as_bool().unwrap(),
                    c["hasChildren"].as_bool().unwrap(),
                )
            })
            .collect();
        let (text, flag, object, none) = (json!("string"), json!("boolean"), json!("object"), Value::Null);
        assert_eq!(
            children,
            [
                ("mode", &text, false, false),
                ("token", &none, false, false),
                ("password", &none, false, false),
                ("allowTailscale", &flag, false, false),
                ("rateLimit", &object, false, true),
                ("trustedProxy", &object, false, true),
            ]
        );
        assert_eq!(auth["children"][1]["hint"]["sensitive"], true);
        assert_eq!(auth["children"][4]["path"], "gateway.auth.rateLimit");
        assert_eq!(lookup("no.such"), None);
    }

    #[test]
    fn every_way_of_writing() {
        let table = [
            ("agents.list[].id", "agents.list.*.id", "agents.list[].id"),
            ("agents.list[0].id", "agents.list.0.id", "agents.list[].id"),
            ("agents.list.3.heartbeat.every", "agents.list.3.heartbeat.every", "agents.defaults.heartbeat.every"),
            ("models.providers.x.models.*.id", "models.providers.x.models.*.id", "models.providers.*.models[].id"),
            ("channels.slack.accounts.x.botToken", "channels.slack.accounts.x.botToken", "channels.slack.botToken"),
            ("channels.discord.guilds[\"1\"].slug", "channels.discord.guilds.1.slug", "channels.discord.guilds.*.slug"),
            (" .gateway.port. ", "gateway.port", "gateway.port"),
        ];
        for (path, plain, hint) in table {
            let found = lookup(path).unwrap_or_else(|| panic!("{path}"));
            assert_eq!((found["path"].as_str(), found["hintPath"].as_str()), (Some(plain), Some(hint)), "{path}");
        }
        for path in ["", ".", "gateway..port", "gateway.port.x", "agents.list.x.id", "gateway.*"] {
            assert_eq!(lookup(path), None, "{path}");
        }
        let list = lookup("agents.list").unwrap();
        assert_eq!((&list["schema"]["type"], &list["children"][0]["path"]), (&json!("array"), &json!("agents.list.*")));
        assert_eq!(list["children"][0]["hasChildren"], true);
    }

    #[test]
    fn completions() {
        assert_eq!(complete("gateway.r"), ["gateway.reload.", "gateway.remote."]);
        assert_eq!(complete("gateway.po"), ["gateway.port"]);
        assert_eq!(complete("gateway.max"), ["gateway.maxBufferedBytes"]);
        assert_eq!(complete("models.providers.x.ap"), ["models.providers.x.api", "models.providers.x.apiKey"]);
        assert_eq!(complete("models.providers."), [""; 0]);
        assert!(complete("").contains(&"gateway.".to_owned()));
        assert_eq!(complete("nope.x"), [""; 0]);
    }

    #[test]
    fn what_was_meant() {
        let table = [
            ("gateway.prot", Some("gateway.port")),
            ("gatway.port", Some("gateway.port")),
            ("gateway.auth.tokn", Some("gateway.auth.token")),
            ("agents.list[0].identiy.name", Some("agents.list.0.identity.name")),
            ("channels.telegram.accounts.x.bottoken", Some("channels.telegram.accounts.x.botToken")),
            ("logging.consolelevel", Some("logging.consoleLevel")),
            ("gateway.port", None),
            ("gateway.zzzzzz", None),
            ("env.ANYTHING", None),
        ];
        for (path, meant) in table {
            assert_eq!(nearest_path(path).as_deref(), meant, "{path}");
        }
        let of = |path: &str, message: &str| suggestion(&Issue::new(path, message));
        assert_eq!(of("gateway", "Unrecognized key: \"prot\""), " (did you mean \"port\"?)");
        assert_eq!(of("", "Unrecognized keys: \"gatewy\", \"zzz\""), " (did you mean \"gateway\"?)");
        assert_eq!(of("agents.list.0", "Unrecognized key: \"modle\""), " (did you mean \"model\"?)");
        assert_eq!(of("gateway", "Unrecognized key: \"frobnicate\""), "");
        assert_eq!(of("gateway.port", "Invalid input: expected number, received string"), "");
    }

    #[test]
    fn for_people() {
        let text = |path: &str| describe(path).map(|lines| lines.join("\n"));
        assert_eq!(
            text("gateway.port").as_deref(),
            Some(
                "gateway.port\n  TCP port; --port and OPENCLAW_GATEWAY_PORT win.\n  integer > 0; reload restart; default 18789"
            )
        );
        assert!(text("cron.enabled").unwrap().ends_with("\n  Accepted, without effect in this version."));
        for path in ["hooks.mappings[].transform.command", "hooks.mappings.3.transform.command"] {
            assert!(text(path).unwrap().ends_with("refuses a file that has it."), "{path}");
        }
        assert!(text("gateway.maxBufferedBytes").unwrap().ends_with("refuses a file that has it."));
        assert!(
            text("models.providers.*.models[]")
                .unwrap()
                .contains("  id             Name of the model in requests. (required)")
        );
        assert!(text("diagnostics.otel.endpoint").unwrap().contains("A part of diagnostics.otel: "));
        assert_eq!(
            text("agents.list[0].heartbeat.every").as_deref(),
            Some(
                "agents.list.0.heartbeat.every\n  Time between heartbeats, e.g. 30m or 1h; 0m turns them off.\n  string; reload dynamic\n  When it is absent, agents.defaults.heartbeat.every holds.\n  Accepted, without effect in this version."
            )
        );
        assert_eq!(text("gateway.nope"), None);
    }
}
