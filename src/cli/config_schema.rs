//! `openclaw config schema`: the schema of the configuration, one key of it, or key paths for a shell's completion. Reads
//! nothing, needs no gateway.

use serde_json::Value;

use super::output::json_pretty;
use super::tree::ConfigSchema;
use crate::config::{lookup, schema_doc};
use crate::error::{Error, Result};
use crate::out;

pub fn run(args: &ConfigSchema) -> Result<u8> {
    if let Some(prefix) = &args.complete {
        for path in lookup::complete(prefix) {
            out!("{path}");
        }
        return Ok(0);
    }
    let Some(path) = &args.path else {
        // A quarter of a megabyte: for programs, so without blanks when they asked for JSON.
        let schema = schema_doc::json_schema();
        out!("{}", if args.json { schema.to_string() } else { json_pretty(&schema) });
        return Ok(0);
    };
    let unknown = || {
        let error = Error::new(format!("config schema path not found: {path}"));
        match lookup::nearest_path(path) {
            Some(meant) => error.hint(format!("Did you mean \"{meant}\"?")),
            None => error.hint("openclaw config schema --complete \"\" lists the sections."),
        }
    };
    if args.json {
        let found: Value = lookup::lookup(path).ok_or_else(unknown)?;
        out!("{}", json_pretty(&found));
        return Ok(0);
    }
    for line in lookup::describe(path).ok_or_else(unknown)? {
        out!("{line}");
    }
    Ok(0)
}
