#!/usr/bin/env bash
# The official openai packages for Python (PyPI) and Node (npm), and the AI SDK (npm), against a gateway whose model is
# a script.
#
#   contrib/interop/openai/run.sh [--tls] [BINARY]      target/debug/openclaw, or the given one
#
# --tls: over TLS, with the certificate that the gateway makes as the only authority.
# Exit 0: everything went well, or a package could not be had and a line says which and why. 1: a check failed.
# 2: the gateway did not start.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
name=openai
. "$here/../lib.sh"
tls=false scheme=http
if [ "${1:-}" = --tls ]; then
  tls=true scheme=https
  shift
fi
binary=$(realpath "${1:-$root/target/debug/openclaw}")

if ! command -v python3 >/dev/null; then
  skip 'all of it' 'there is no python3, and the model is written in it'
  exit 0
fi
python_with openai
node_with openai
[ -n "$python$node" ] || exit 0
ai_sdk=''
if [ -n "$node" ]; then
  # Its names change with its major versions.
  if npm_install ai@6 @ai-sdk/openai@3; then
    ai_sdk=yes
    printf 'openai interop: AI SDK %s\n' "$(cd "$work/node" && "$node" -p 'require("ai/package.json").version')"
  else
    skip 'the AI SDK' "npm cannot install ai and @ai-sdk/openai: $(npm_trouble)"
  fi
fi

start_model
start_gateway "$binary" <<CONFIG
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

base=$scheme://localhost:$port/v1
if $tls; then
  export SSL_CERT_FILE=$home/.openclaw/gateway/tls/gateway-cert.pem
  export NODE_EXTRA_CA_CERTS=$SSL_CERT_FILE
fi
failed=0
if [ -n "$python" ]; then
  "$python" "$here/check.py" "$base" "$model_port" "$token" || failed=1
fi
if [ -n "$node" ]; then
  run_node "$here/check.mjs" "$base" "$model_port" "$token" || failed=1
fi
if [ -n "$ai_sdk" ]; then
  run_node "$here/check-ai.mjs" "$base" "$model_port" "$token" || failed=1
fi
end $failed
