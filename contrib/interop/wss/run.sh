#!/usr/bin/env bash
# WebSocket clients of other people – websockets (PyPI), ws (npm) – against a gateway that speaks TLS, with the
# certificate that the gateway made as their only authority.
#
#   contrib/interop/wss/run.sh [BINARY]      target/debug/openclaw, or the given one
#
# Exit 0: everything went well, or a package could not be had and a line says which and why. 1: a check failed.
# 2: the gateway did not start.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
name=wss
. "$here/../lib.sh"
binary=$(realpath "${1:-$root/target/debug/openclaw}")

if ! command -v python3 >/dev/null; then
  skip 'all of it' 'there is no python3'
  exit 0
fi
python_with websockets
node_with ws
[ -n "$python$node" ] || exit 0

start_gateway "$binary" <<CONFIG
{ gateway: { mode: "local", auth: { mode: "token", token: "$token" }, tls: { enabled: true } } }
CONFIG

cert=$home/.openclaw/gateway/tls/gateway-cert.pem
failed=0
if [ -n "$python" ]; then
  "$python" "$here/check.py" "wss://localhost:$port" "$cert" "$token" || failed=1
fi
if [ -n "$node" ]; then
  run_node "$here/check.mjs" "wss://localhost:$port" "$cert" "$token" || failed=1
fi
end $failed
