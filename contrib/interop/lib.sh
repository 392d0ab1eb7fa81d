# For the run.sh of clients of other people; sourced with $name set. Gives a directory that is removed at the end ($work),
# packages that may be missing, a model that is a script, and a gateway.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
work=$(mktemp -d)
token=interop-token-0123456789
processes=()
trap 'kill "${processes[@]}" 2>/dev/null || true; wait 2>/dev/null || true; rm -rf "$work"' EXIT

skip() {
  printf '%s interop: skipped %s: %s\n' "$name" "$1" "$2"
}

# The command is done within two minutes and no retries, or it is as if there were no network.
fetch() {
  timeout 120 "$@" >"$work/install.log" 2>&1
}

# Sets $python to one that has the package $1, or to nothing and says why.
python_with() {
  python=''
  if ! fetch python3 -m venv "$work/venv"; then
    skip 'the Python package' 'python3 -m venv does not work here (Debian: python3-venv)'
  elif ! fetch "$work/venv/bin/pip" install --quiet --disable-pip-version-check --retries 0 --timeout 20 "$1"; then
    skip 'the Python package' "pip cannot install $1: $(tail -1 "$work/install.log")"
  else
    python=$work/venv/bin/python
    printf '%s interop: Python package %s, %s\n' "$name" \
      "$("$python" -c 'import sys; from importlib.metadata import version; print(version(sys.argv[1]))' "$1")" \
      "$("$python" --version)"
  fi
}

npm_install() {
  mkdir -p "$work/node"
  (cd "$work/node" && npm_config_cache=$work/npm fetch npm install --loglevel error --no-audit --no-fund \
    --fetch-retries 0 --fetch-timeout 20000 "$@")
}

npm_trouble() {
  grep -m1 -v '^$' "$work/install.log" || true
}

# Sets $node to one that finds the package $1 from $work/node, or to nothing and says why.
node_with() {
  node=''
  if ! command -v node >/dev/null || ! command -v npm >/dev/null; then
    skip 'the Node package' 'there is no node with npm'
  elif ! npm_install "$1"; then
    skip 'the Node package' "npm cannot install $1: $(npm_trouble)"
  else
    node=$(command -v node)
    printf '%s interop: Node package %s, node %s\n' "$name" \
      "$("$node" -p 'require(process.argv[1]).version' "$work/node/node_modules/$1/package.json")" "$("$node" --version)"
  fi
}

# Runs the checks in the file $1 where npm has put the packages.
run_node() {
  local file=$1
  shift
  cp "$file" "$work/node/"
  (cd "$work/node" && "$node" "$(basename "$file")" "$@")
}

free_port() {
  python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# $1: a process; the rest: a command that succeeds when it serves.
wait_for() {
  local process=$1
  shift
  until "$@" >/dev/null 2>&1; do
    if ! kill -0 "$process" 2>/dev/null; then
      tail -30 "$work"/*.log >&2
      exit 2
    fi
    sleep 0.05
  done
}

# Sets $model_port.
start_model() {
  python3 "$root/contrib/interop/openai/model.py" "$work/model-port" &
  processes+=($!)
  wait_for $! test -s "$work/model-port"
  model_port=$(cat "$work/model-port")
}

# Starts $1 with the configuration on standard input; sets $port and $home.
start_gateway() {
  port=$(free_port) home=$work/home
  mkdir -p "$home/.openclaw"
  cat >"$home/.openclaw/openclaw.json"
  env -i PATH="$PATH" HOME="$home" TMPDIR="$work" LOGS_DIRECTORY="$home/logs" \
    "$1" gateway --port "$port" >"$work/gateway.log" 2>&1 &
  processes+=($!)
  wait_for $! grep -q 'listening on ws' "$work/gateway.log"
}

# Ends with 1 and what the servers said when $1 is not 0.
end() {
  if [ "$1" -ne 0 ]; then
    printf '%s interop: the servers said:\n' "$name"
    tail -30 "$work"/*.log
  fi
  exit "$1"
}
