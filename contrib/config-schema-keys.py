#!/usr/bin/env python3
"""Turns a JSON Schema of the configuration into src/config/schema_keys.txt.

    contrib/config-schema-keys.py config.schema.json > src/config/schema_keys.txt

One line per distinct object, children before parents, the root last; equal objects share a line.
The grammar stands at the top of src/config/schema.rs. A pattern or format that PATTERNS does not know stops the
program: src/config/pattern.rs needs a matcher for it first.
"""
import json
import sys

MAX_SAFE = 9007199254740991
PATTERNS = {
    "^[a-z][a-z0-9_-]{0,63}$": "a",
    "^[A-Z][A-Z0-9_]{0,127}$": "v",
    "^#?[0-9a-fA-F]{6}$": "c",
    "^\\+[1-9]\\d{1,14}$": "e",
    "^[a-z0-9-]+$": "k",
    "ipv4": "4",
    "ipv6": "6",
    "uri": "u",
}
lines = {}


def literal(value):
    if isinstance(value, bool):
        return "=T" if value else "=F"
    if isinstance(value, str):
        return value
    return "#%s" % json.dumps(value)


def choice(values):
    return "e(%s)" % ",".join(literal(v) for v in values)


def bounds(schema):
    out = ""
    for key, sign in (
        ("minimum", ">="), ("minLength", ">="), ("minItems", ">="), ("exclusiveMinimum", ">"),
        ("maximum", "<="), ("maxLength", "<="), ("maxItems", "<="), ("exclusiveMaximum", "<"),
    ):
        if key in schema and abs(schema[key]) != MAX_SAFE:
            out += "%s%s" % (sign, json.dumps(schema[key]))
    return out


def union(alternatives):
    flat = []
    for schema in alternatives:
        inner = schema.get("anyOf") or schema.get("oneOf")
        flat.extend(inner if inner else [schema])
    literals = [s["const"] for s in flat if "const" in s]
    other = []
    for schema in flat:
        if "const" not in schema:
            text = kind(schema)
            if text not in other:
                other.append(text)
    if literals:
        other.append(choice(literals))
    if "*" in other:
        return "*"
    return other[0] if len(other) == 1 else "u(%s)" % "|".join(other)


def kind(schema):
    if "anyOf" in schema or "oneOf" in schema:
        return union(schema.get("anyOf") or schema.get("oneOf"))
    if "const" in schema:
        return choice([schema["const"]])
    if "enum" in schema:
        return choice(schema["enum"])
    name = schema.get("type")
    if isinstance(name, list):
        return union([dict(schema, type=one) for one in name])
    if name == "object":
        return thing(schema)
    if name == "array":
        return "[%s]%s" % (kind(schema.get("items", {})), bounds(schema))
    if name is None:
        return "*"
    return {"string": "s", "number": "n", "integer": "i", "boolean": "b"}[name] + bounds(schema) + pattern(schema)


def pattern(schema):
    found = schema.get("format") or schema.get("pattern")
    return "~" + PATTERNS[found] if found else ""


def thing(schema):
    properties = schema.get("properties", {})
    required = set(schema.get("required", []))
    words = []
    for key, value in properties.items():
        needed = key in required and "default" not in value
        words.append("%s%s:%s" % (key, "!" if needed else "", kind(value)))
    rest = schema.get("additionalProperties", True)
    if rest is not False:
        names = pattern(schema.get("propertyNames", {}))
        words.append("*%s:%s" % (names, kind(rest) if isinstance(rest, dict) else "*"))
    line = " ".join(words)
    if not line:
        line = "-"
    return "@%d" % lines.setdefault(line, len(lines))


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        schema = json.load(file)
    kind(schema.get("schema", schema))
    for line in lines:
        print(line)


main()
