#!/usr/bin/env bash
# Open WebUI (PyPI) as a client of the gateway, whose model is a script: models, chats streamed and whole, an image, the
# title of a chat, the stop button.
#
#   contrib/interop/open-webui/run.sh [VENV]      VENV: where open-webui is installed already, or shall be
#
# The package and what it needs take 7 GB; .ci/run does not run this. Exit 0: everything went well, or the package could
# not be had and a line says why. 1: a check failed. 2: one of the servers did not start.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
name=open-webui
. "$here/../lib.sh"
binary=$(realpath "$root/target/debug/openclaw")
venv=${1:-$work/venv}

if [ ! -x "$venv/bin/open-webui" ]; then
  if ! { python3 -m venv "$venv" && "$venv/bin/pip" install --quiet --disable-pip-version-check open-webui; } \
    >"$work/install.log" 2>&1; then
    skip 'all of it' "pip cannot install it: $(tail -1 "$work/install.log")"
    exit 0
  fi
fi
printf 'open-webui interop: version %s\n' \
  "$("$venv/bin/python" -c 'from importlib.metadata import version; print(version("open-webui"))')"

start_model
start_gateway "$binary" <<CONFIG
{
  gateway: {
    mode: "local",
    auth: { mode: "token", token: "$token" },
    http: { endpoints: { chatCompletions: { enabled: true } } },
  },
  models: { providers: { mock: {
    baseUrl: "http://127.0.0.1:$model_port/v1", apiKey: "mock-key", api: "openai-completions",
    models: [{ id: "mock-1", name: "Mock One", input: ["text", "image"], contextWindow: 128000, maxTokens: 8192 }],
  } } },
  agents: { defaults: { model: { primary: "mock/mock-1" }, skipBootstrap: true } },
}
CONFIG

# Nothing of it may look for the network.
webui_port=$(free_port)
mkdir "$work/data"
env -i PATH="$PATH" HOME="$home" TMPDIR="$work" DATA_DIR="$work/data" WEBUI_AUTH=False WEBUI_SECRET_KEY=interop \
  OFFLINE_MODE=True HF_HUB_OFFLINE=1 ANONYMIZED_TELEMETRY=false DO_NOT_TRACK=true SCARF_NO_ANALYTICS=true \
  RAG_EMBEDDING_ENGINE=openai AUDIO_STT_ENGINE=openai ENABLE_OLLAMA_API=False \
  OPENAI_API_BASE_URL="http://127.0.0.1:$port/v1" OPENAI_API_KEY="$token" \
  "$venv/bin/open-webui" serve --host 127.0.0.1 --port "$webui_port" >"$work/webui.log" 2>&1 &
processes+=($!)
wait_for $! curl -sf "http://127.0.0.1:$webui_port/health"

failed=0
python3 "$here/check.py" "$webui_port" "$model_port" || failed=1
left=$(env -i PATH="$PATH" HOME="$home" "$binary" sessions --json | grep -c '"key"' || true)
if [ "$left" -eq 0 ]; then
  printf 'ok    nothing is left of chats that Open WebUI keeps itself\n'
else
  printf 'FAIL  %s sessions are left\n' "$left"
  failed=1
fi
end $failed
