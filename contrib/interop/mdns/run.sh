#!/usr/bin/env bash
# Another implementation of multicast DNS (python-zeroconf, from PyPI) and ours on two machines that are network
# namespaces: it finds our gateway with everything that is told, may not take its name, and is found by
# `openclaw gateway discover`; with a goodbye each is gone at once.
#
#   contrib/interop/mdns/run.sh [BINARY]        as root; unshare, nsenter and ip; a venv in target/mdns-venv
#
# Exit 0 when all of it is so. Nothing is left behind: the namespaces end with their processes.
set -euo pipefail
cd "$(dirname "$0")/../../.."

binary=$(realpath "${1:-target/debug/openclaw}")
venv=${MDNS_VENV:-target/mdns-venv}
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/python" -c 'import zeroconf' 2>/dev/null || "$venv/bin/pip" -q install zeroconf

home=$(mktemp -d)
unshare -n sleep 600 & here=$!
unshare -n sleep 600 & there=$!
gateway='' theirs='' watch=''
trap 'kill $here $there $gateway $theirs $watch 2>/dev/null || true; wait 2>/dev/null || true; rm -rf "$home"' EXIT
in_here() { nsenter -t "$here" -n "$@"; }
in_there() { nsenter -t "$there" -n "$@"; }
until [ "$(readlink /proc/$here/ns/net)" != "$(readlink /proc/self/ns/net)" ] &&
  [ "$(readlink /proc/$there/ns/net)" != "$(readlink /proc/self/ns/net)" ]; do sleep 0.05; done

ip link add lan0 netns "$here" type veth peer name lan0 netns "$there"
for n in 1 2; do
  machine=$([ $n = 1 ] && echo in_here || echo in_there)
  $machine ip link set lo up
  $machine ip addr add 10.77.0.$n/24 dev lan0
  $machine ip link set lan0 up
done

mkdir -p "$home/.openclaw"
cat > "$home/.openclaw/openclaw.json" <<'CONFIG'
{ "gateway": { "mode": "local", "auth": { "token": "interop-token-0123456789" } }, "discovery": { "mdns": { "mode": "full" } } }
CONFIG
export HOME=$home LOGS_DIRECTORY=$home/logs
nsenter -t "$here" -n "$binary" gateway --port 18789 > "$home/out" 2>&1 & gateway=$!
until grep -q 'announced as' "$home/out"; do kill -0 $gateway; sleep 0.1; done
grep 'announced as' "$home/out"

in_there "$venv/bin/python" contrib/interop/mdns/check.py finds "$(uname -n | cut -d. -f1) (OpenClaw)" 18789
nsenter -t "$there" -n "$venv/bin/python" contrib/interop/mdns/check.py announces > "$home/theirs" & theirs=$!
until grep -q announced "$home/theirs"; do kill -0 $theirs; sleep 0.1; done
in_here "$binary" gateway discover --timeout 1500 | tee "$home/found"
grep -q '^- other ' "$home/found" && grep -q 'ws: ws://other.local:18790$' "$home/found"
grep -q 'lan: 10.77.0.2' "$home/found"
kill -INT $theirs && wait $theirs
! in_here "$binary" gateway discover --timeout 1000 | grep -q '^- other '
nsenter -t "$there" -n "$venv/bin/python" contrib/interop/mdns/check.py sees-goodbye > "$home/watch" & watch=$!
until grep -q seen "$home/watch"; do kill -0 $watch; sleep 0.1; done
kill -TERM $gateway && wait $gateway
wait $watch
cat "$home/watch"
echo "mdns: all of it is so"
