#!/usr/bin/env bash
# WebSocket clients of other people – websockets (PyPI), ws (npm) – against a gateway that speaks TLS, with the
# certificate that the gateway made as their only authority.
#
#   contrib/interop/wss/run.sh [BINARY]      target/debug/openclaw, or the given one
#
# Exit 0: everything went well, or a package could not be had and a line says which and why. 1: a check failed.
# 2: the gateway did not start. Everything lives in a directory that is removed at the end.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
binary=$(realpath "${1:-$here/../../../target/debug/openclaw}")
work=$(mktemp -d)
gateway=''
trap 'kill $gateway 2>/dev/null || true; wait 2>/dev/null || true; rm -rf "$work"' EXIT

skip() {
  printf 'wss interop: skipped %s: %s\n' "$1" "$2"
}

# $1 is done within two minutes and no retries, or it is as if there were no network.
fetch() {
  timeout 120 "$@" >"$work/install.log" 2>&1
}

if ! command -v python3 >/dev/null; then
  skip 'all of it' 'there is no python3'
  exit 0
fi

python=''
if ! fetch python3 -m venv "$work/venv"; then
  skip 'the Python package' 'python3 -m venv does not work here (Debian: python3-venv)'
elif ! fetch "$work/venv/bin/pip" install --quiet --disable-pip-version-check --retries 0 --timeout 20 websockets; then
  skip 'the Python package' "pip cannot install websockets: $(tail -1 "$work/install.log")"
else
  python=$work/venv/bin/python
  printf 'wss interop: Python package %s\n' "$("$python" -c 'import websockets; print(websockets.__version__)')"
fi

node=''
mkdir "$work/node"
if ! command -v node >/dev/null || ! command -v npm >/dev/null; then
  skip 'the Node package' 'there is no node with npm'
elif ! (cd "$work/node" && npm_config_cache=$work/npm fetch npm install --loglevel error --no-audit --no-fund \
  --fetch-retries 0 --fetch-timeout 20000 ws); then
  skip 'the Node package' "npm cannot install ws: $(grep -m1 -v "^$" "$work/install.log")"
else
  node=$(command -v node)
  printf 'wss interop: Node package %s, node %s\n' \
    "$("$node" -p 'require(process.argv[1]).version' "$work/node/node_modules/ws/package.json")" "$("$node" --version)"
fi
[ -n "$python$node" ] || exit 0

port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
token=interop-token-0123456789
mkdir -p "$work/home/.openclaw"
cat >"$work/home/.openclaw/openclaw.json" <<CONFIG
{ gateway: { mode: "local", auth: { mode: "token", token: "$token" }, tls: { enabled: true } } }
CONFIG
: >"$work/gateway.log"
env -i PATH="$PATH" HOME="$work/home" TMPDIR="$work" LOGS_DIRECTORY="$work/home/logs" \
  "$binary" gateway --port "$port" >"$work/gateway.log" 2>&1 & gateway=$!
until grep -q 'listening on wss://' "$work/gateway.log"; do
  if ! kill -0 $gateway 2>/dev/null; then
    cat "$work/gateway.log" >&2
    exit 2
  fi
  sleep 0.05
done

cert=$work/home/.openclaw/gateway/tls/gateway-cert.pem
failed=0
if [ -n "$python" ]; then
  "$python" "$here/check.py" "wss://localhost:$port" "$cert" "$token" || failed=1
fi
if [ -n "$node" ]; then
  cp "$here/check.mjs" "$work/node/"
  (cd "$work/node" && "$node" check.mjs "wss://localhost:$port" "$cert" "$token") || failed=1
fi
if [ $failed -ne 0 ]; then
  printf 'wss interop: the gateway said:\n'
  tail -30 "$work/gateway.log"
fi
exit $failed
