//! `$include`: other files inside the directory of the main one, merged in place (config A2).

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::paths::normalize;
use super::source::Source;
use super::text::{self, MAX_DEPTH};
use crate::limits::{CONFIG_BYTES, INCLUDE_BYTES, INCLUDE_DEPTH};

const KEY: &str = "$include";
/// Never taken from a file: they have a meaning of their own in the reference.
const DROPPED_KEYS: [&str; 3] = ["__proto__", "prototype", "constructor"];

/// The value with every `$include` replaced, and the files that it hangs on (for the watch): also one that could not be
/// read, so that its coming is seen.
pub struct Included {
    pub value: Result<Value, String>,
    pub files: Vec<PathBuf>,
}

/// Resolves the includes of `value`, which was read from `config_path`.
pub fn resolve(value: &Value, config_path: &Path, source: &dyn Source) -> Included {
    let root = config_path.parent().map(Path::to_path_buf).unwrap_or_default();
    let real_root = source.real_path(&root).unwrap_or_else(|_| root.clone());
    let mut reader = Reader {
        source,
        root,
        real_root,
        chain: vec![config_path.to_path_buf()],
        files: Vec::new(),
        bytes: 0,
        depth: 0,
    };
    let value = if mentions(value) { reader.walk(value) } else { Ok(value.clone()) };
    Included { value, files: reader.files }
}

/// Whether anything is to be included; most files include nothing.
fn mentions(value: &Value) -> bool {
    match value {
        Value::Object(map) => map.iter().any(|(key, value)| key == KEY || mentions(value)),
        Value::Array(items) => items.iter().any(mentions),
        _ => false,
    }
}

/// Objects recurse, arrays are joined, otherwise the later value wins.
pub fn deep_merge(under: Value, over: Value) -> Value {
    match (under, over) {
        (Value::Object(mut under), Value::Object(over)) => {
            for (key, value) in over {
                if DROPPED_KEYS.contains(&key.as_str()) {
                    continue;
                }
                match under.get_mut(&key) {
                    Some(slot) => *slot = deep_merge(slot.take(), value),
                    None => drop(under.insert(key, value)),
                }
            }
            Value::Object(under)
        }
        (Value::Array(mut under), Value::Array(over)) => {
            under.extend(over);
            Value::Array(under)
        }
        (_, over) => over,
    }
}

struct Reader<'a> {
    source: &'a dyn Source,
    root: PathBuf,
    real_root: PathBuf,
    /// The main file, then the files that are being read, outermost first.
    chain: Vec<PathBuf>,
    files: Vec<PathBuf>,
    bytes: u64,
    /// Nesting of the value as it will be, over all files.
    depth: usize,
}

impl Reader<'_> {
    /// Later readers recurse over the whole value, so files together may nest no deeper than one file.
    fn walk(&mut self, value: &Value) -> Result<Value, String> {
        if self.depth > MAX_DEPTH {
            let file = self.chain.last().map(|f| f.display().to_string()).unwrap_or_default();
            return Err(format!("Includes nest deeper than {MAX_DEPTH} levels at: {file}"));
        }
        self.depth += 1;
        let out = self.walk_value(value);
        self.depth -= 1;
        out
    }

    fn walk_value(&mut self, value: &Value) -> Result<Value, String> {
        match value {
            Value::Array(items) => items.iter().map(|item| self.walk(item)).collect::<Result<_, _>>().map(Value::Array),
            Value::Object(map) => {
                let mut siblings = Map::new();
                for (key, value) in map.iter().filter(|(key, _)| *key != KEY) {
                    siblings.insert(key.clone(), self.walk(value)?);
                }
                let Some(what) = map.get(KEY) else { return Ok(Value::Object(siblings)) };
                let included = self.include(what)?;
                if siblings.is_empty() {
                    return Ok(included);
                }
                if !included.is_object() {
                    return Err("Sibling keys require included content to be an object".into());
                }
                Ok(deep_merge(included, Value::Object(siblings)))
            }
            plain => Ok(plain.clone()),
        }
    }

    fn include(&mut self, what: &Value) -> Result<Value, String> {
        match what {
            Value::String(path) => self.file(path),
            Value::Array(paths) => paths.iter().try_fold(Value::Object(Map::new()), |merged, path| match path {
                Value::String(path) => Ok(deep_merge(merged, self.file(path)?)),
                other => Err(format!("Invalid $include array item: expected string, got {}", type_name(other))),
            }),
            other => {
                Err(format!("Invalid $include value: expected string or array of strings, got {}", type_name(other)))
            }
        }
    }

    fn file(&mut self, shown: &str) -> Result<Value, String> {
        let including = self.chain.last().expect("the main file is always in the chain");
        let path = normalize(&including.parent().unwrap_or(Path::new("")).join(shown));
        let root = self.root.display();
        if !path.starts_with(normalize(&self.root)) {
            return Err(format!("Include path escapes config directory: {shown} (root: {root})"));
        }
        if self.chain.contains(&path) {
            let names: Vec<String> = self.chain.iter().chain([&path]).map(|p| p.display().to_string()).collect();
            return Err(format!("Circular include detected: {}", names.join(" -> ")));
        }
        if self.chain.len() > INCLUDE_DEPTH {
            return Err(format!("Maximum include depth ({INCLUDE_DEPTH}) exceeded at: {shown}"));
        }
        if !self.files.contains(&path) {
            self.files.push(path.clone());
        }
        let resolved = path.display();
        let unreadable = || format!("Failed to read include file: {shown} (resolved: {resolved})");
        let real = self.source.real_path(&path).map_err(|_| unreadable())?;
        if !real.starts_with(&self.real_root) {
            return Err(format!("Include path resolves outside config directory (symlink): {shown} (root: {root})"));
        }
        let bytes = self.source.read_plain(&real, INCLUDE_BYTES).map_err(|e| match e.kind() {
            std::io::ErrorKind::InvalidInput | std::io::ErrorKind::IsADirectory => format!(
                "Include file failed security checks (regular file, max {INCLUDE_BYTES} bytes, no hardlinks): {shown}"
            ),
            _ => unreadable(),
        })?;
        self.bytes += bytes.len() as u64;
        if self.bytes > CONFIG_BYTES {
            return Err(format!("Included files are larger than {CONFIG_BYTES} bytes together, at: {shown}"));
        }
        let value = text::parse_bytes(&bytes)
            .map_err(|e| format!("Failed to parse include file: {shown} (resolved: {resolved}): {e}"))?;
        self.chain.push(path);
        let value = self.walk(&value);
        self.chain.pop();
        value
    }
}

/// `typeof`, but honest about null and arrays.
pub(super) fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

#[cfg(test)]
mod tests {
    use super::super::source::MemorySource;
    use super::*;
    use serde_json::json;

    fn source() -> MemorySource {
        let mut source = MemorySource::new()
            .with_file("/c/a.json", "{ list: ['a'], deep: { x: 1, y: 2 } } // note")
            .with_file("/c/b.json5", "{ list: ['b'], deep: { y: 3 } }")
            .with_file("/c/array.json", "[1, 2]")
            .with_file("/c/sub/here.json", "{ $include: '../a.json' }")
            .with_file("/c/loop1.json", "{ $include: 'loop2.json' }")
            .with_file("/c/loop2.json", "{ $include: './loop1.json' }")
            .with_file("/c/bad.json", "{ a: }")
            .with_file("/c/big.json", vec![b' '; INCLUDE_BYTES as usize + 1])
            .with_file("/outside/secret.json", "{}")
            .with_link("/c/link.json", "/outside/secret.json");
        for n in 0..12 {
            source = source.with_file(&format!("/c/d{n}.json"), format!("{{ $include: 'd{}.json' }}", n + 1));
        }
        source
    }

    fn run(value: Value) -> Result<Value, String> {
        resolve(&value, Path::new("/c/openclaw.json"), &source()).value
    }

    #[test]
    fn content() {
        let table = [
            (json!({"a":{"$include":"./a.json"}}), json!({"a":{"list":["a"],"deep":{"x":1,"y":2}}})),
            (json!({"a":{"$include":"array.json"}}), json!({"a":[1,2]})),
            (json!({"$include":"a.json","list":["z"],"deep":{"x":9}}), json!({"list":["a","z"],"deep":{"x":9,"y":2}})),
            (json!({"$include":["a.json","b.json5"]}), json!({"list":["a","b"],"deep":{"x":1,"y":3}})),
            (json!({"$include":[]}), json!({})),
            (json!([{"$include":"sub/here.json"}]), json!([{"list":["a"],"deep":{"x":1,"y":2}}])),
            (json!({"$include":"/c/array.json"}), json!([1, 2])),
            (json!({"$include":"a.json","__proto__":{"x":1},"list":[]}), json!({"list":["a"],"deep":{"x":1,"y":2}})),
        ];
        for (value, expected) in table {
            assert_eq!(run(value.clone()), Ok(expected), "{value}");
        }
        let deep = "[".repeat(60) + &"]".repeat(60);
        let source = MemorySource::new().with_file("/c/deep.json", &deep);
        let nested = text::parse(&deep.replace("[]", "[{ $include: 'deep.json' }]")).unwrap();
        assert_eq!(
            resolve(&nested, Path::new("/c/x"), &source).value.err().as_deref(),
            Some("Includes nest deeper than 64 levels at: /c/deep.json")
        );
    }

    #[test]
    fn files_for_the_watch() {
        let files = |value: Value| resolve(&value, Path::new("/c/x"), &source()).files;
        let read = files(json!({"$include":["sub/here.json","a.json"]}));
        assert_eq!(read, [Path::new("/c/sub/here.json"), Path::new("/c/a.json")]);
        // One that is missing or broken is waited for, one outside is none of ours.
        assert_eq!(files(json!({"$include":["a.json","no.json"]})), [Path::new("/c/a.json"), Path::new("/c/no.json")]);
        assert_eq!(files(json!({"$include":"bad.json"})), [Path::new("/c/bad.json")]);
        assert!(files(json!({"$include":"../x.json"})).is_empty());
    }

    #[test]
    fn errors() {
        let table = [
            (json!({"$include":"array.json","x":1}), "Sibling keys require included content to be an object"),
            (json!({"$include":"../x.json"}), "Include path escapes config directory: ../x.json (root: /c)"),
            (json!({"$include":"/cx/x.json"}), "Include path escapes config directory: /cx/x.json (root: /c)"),
            (
                json!({"$include":"link.json"}),
                "Include path resolves outside config directory (symlink): link.json (root: /c)",
            ),
            (
                json!({"$include":"loop1.json"}),
                "Circular include detected: /c/openclaw.json -> /c/loop1.json -> /c/loop2.json -> /c/loop1.json",
            ),
            (json!({"$include":"openclaw.json"}), "Circular include detected: /c/openclaw.json -> /c/openclaw.json"),
            (json!({"$include":"d0.json"}), "Maximum include depth (10) exceeded at: d10.json"),
            (json!({"$include":"no.json"}), "Failed to read include file: no.json (resolved: /c/no.json)"),
            (
                json!({"$include":"bad.json"}),
                "Failed to parse include file: bad.json (resolved: /c/bad.json): JSON5 parse failed: SyntaxError: JSON5: invalid character '}' (expected value) at 1:6",
            ),
            (json!({"$include":5}), "Invalid $include value: expected string or array of strings, got number"),
            (json!({"$include":[null]}), "Invalid $include array item: expected string, got null"),
            (
                json!({"$include":"big.json"}),
                "Include file failed security checks (regular file, max 2097152 bytes, no hardlinks): big.json",
            ),
        ];
        for (value, message) in table {
            assert_eq!(run(value.clone()), Err(message.to_owned()), "{value}");
        }
    }
}
