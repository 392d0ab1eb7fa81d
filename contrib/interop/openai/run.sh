#!/usr/bin/env bash
# The official openai packages for Python (PyPI) and Node (npm), and the AI SDK (npm), against a gateway whose model is
# a script.
#
#   contrib/interop/openai/run.sh [--tls] [BINARY]      target/debug/openclaw, or the given one
#
# --tls: over TLS, with the certificate that the gateway makes as the only authority.
# Exit 0: everything went well, or a package could not be had and a line says which and why. 1: a check failed.
# 2: the gateway did not start. Everything lives in a directory that is removed at the end.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
tls=false scheme=http
if [ "${1:-}" = --tls ]; then
  tls=true scheme=https
  shift
fi
binary=$(realpath "${1:-$here/../../../target/debug/openclaw}")
work=$(mktemp -d)
gateway='' model=''
trap 'kill $gateway $model 2>/dev/null || true; wait 2>/dev/null || true; rm -rf "$work"' EXIT

skip() {
  printf 'openai interop: skipped %s: %s\n' "$1" "$2"
}

# $1 is done within two minutes and no retries, or it is as if there were no network.
fetch() {
  timeout 120 "$@" >"$work/install.log" 2>&1
}

if ! command -v python3 >/dev/null; then
  skip 'all of it' 'there is no python3, and the model is written in it'
  exit 0
fi

python=''
if ! fetch python3 -m venv "$work/venv"; then
  skip 'the Python package' 'python3 -m venv does not work here (Debian: python3-venv)'
elif ! fetch "$work/venv/bin/pip" install --quiet --disable-pip-version-check --retries 0 --timeout 20 openai; then
  skip 'the Python package' "pip cannot install openai: $(tail -1 "$work/install.log")"
else
  python=$work/venv/bin/python
  printf 'openai interop: Python package %s, %s\n' \
    "$("$python" -c 'import openai; print(openai.__version__)')" "$("$python" --version)"
fi

# Installs packages of npm; $work/install.log says why not.
npm_install() {
  (cd "$work/node" && npm_config_cache=$work/npm fetch npm install --loglevel error --no-audit --no-fund \
    --fetch-retries 0 --fetch-timeout 20000 "$@")
}

npm_trouble() {
  grep -m1 -v '^$' "$work/install.log" || true
}

node='' ai_sdk=''
mkdir "$work/node"
if ! command -v node >/dev/null || ! command -v npm >/dev/null; then
  skip 'the Node package' 'there is no node with npm'
elif ! npm_install openai; then
  skip 'the Node package' "npm cannot install openai: $(npm_trouble)"
else
  node=$(command -v node)
  printf 'openai interop: Node package %s, node %s\n' \
    "$("$node" -p 'require(process.argv[1]).version' "$work/node/node_modules/openai/package.json")" "$("$node" --version)"
  # Its names change with its major versions.
  if npm_install ai@6 @ai-sdk/openai@3; then
    ai_sdk=yes
    printf 'openai interop: AI SDK %s\n' "$(cd "$work/node" && "$node" -p 'require("ai/package.json").version')"
  else
    skip 'the AI SDK' "npm cannot install ai and @ai-sdk/openai: $(npm_trouble)"
  fi
fi
[ -n "$python$node" ] || exit 0

python3 "$here/model.py" "$work/model-port" & model=$!
until [ -s "$work/model-port" ]; do kill -0 $model; sleep 0.05; done
model_port=$(cat "$work/model-port")
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
token=interop-token-0123456789

mkdir -p "$work/home/.openclaw"
cat >"$work/home/.openclaw/openclaw.json" <<CONFIG
{
  gateway: {
    mode: "local",
    auth: { mode: "token", token: "$token" },
    tls: { enabled: $tls },
    http: { endpoints: { chatCompletions: { enabled: true }, responses: { enabled: true } } },
  },
  models: { providers: { mock: {
    baseUrl: "http://127.0.0.1:$model_port/v1", apiKey: "mock-key", api: "openai-completions",
    models: [{ id: "mock-1", name: "Mock One", input: ["text", "image"], contextWindow: 128000, maxTokens: 8192 }],
  } } },
  agents: { defaults: { model: { primary: "mock/mock-1" }, skipBootstrap: true } },
}
CONFIG
: >"$work/gateway.log"
env -i PATH="$PATH" HOME="$work/home" TMPDIR="$work" LOGS_DIRECTORY="$work/home/logs" \
  "$binary" gateway --port "$port" >"$work/gateway.log" 2>&1 & gateway=$!
until grep -q 'listening on wss\?://' "$work/gateway.log"; do
  if ! kill -0 $gateway 2>/dev/null; then
    cat "$work/gateway.log" >&2
    exit 2
  fi
  sleep 0.05
done

base=$scheme://localhost:$port/v1
if $tls; then
  export SSL_CERT_FILE=$work/home/.openclaw/gateway/tls/gateway-cert.pem
  export NODE_EXTRA_CA_CERTS=$SSL_CERT_FILE
fi
failed=0
if [ -n "$python" ]; then
  "$python" "$here/check.py" "$base" "$model_port" "$token" || failed=1
fi
if [ -n "$node" ]; then
  cp "$here/check.mjs" "$work/node/"
  (cd "$work/node" && "$node" check.mjs "$base" "$model_port" "$token") || failed=1
fi
if [ -n "$ai_sdk" ]; then
  cp "$here/check-ai.mjs" "$work/node/"
  (cd "$work/node" && "$node" check-ai.mjs "$base" "$model_port" "$token") || failed=1
fi
if [ $failed -ne 0 ]; then
  printf 'openai interop: the gateway said:\n'
  tail -30 "$work/gateway.log"
fi
exit $failed
