#!/usr/bin/env bash
# Runs the Autobahn test suite against the echo server that is built from the gateway's own connection layer.
#
#   contrib/interop/autobahn/run.sh            the ws-echo example of the gateway
#   contrib/interop/autobahn/run.sh --limit    the bench's limit server: checks the suite and this script
#
# Everything it needs goes to target/autobahn. Exit: 0 passed, 1 cases failed, 2 something is missing.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../../.." && pwd)
work=$root/target/autobahn
suite=autobahntestsuite==0.8.2
maker=virtualenv==20.15.1

missing() {
  printf 'autobahn: %s\n' "$@" >&2
  exit 2
}

# The suite is Python 2 only. A command of that name proves nothing (it may be a launcher without a version behind it).
find_python2() {
  local candidate
  for candidate in "${PYTHON2:-}" python2.7 /usr/bin/python2.7 "${PYENV_ROOT:-$HOME/.pyenv}"/versions/2.7.*/bin/python2.7; do
    [ -n "$candidate" ] || continue
    candidate=$("$candidate" -c 'import sys; assert sys.version_info[:2] == (2, 7); print(sys.executable)' 2>/dev/null) || continue
    printf '%s\n' "$candidate"
    return
  done
  return 1
}

install_suite() {
  [ -x "$work/py27/bin/wstest" ] && return
  local python2 step
  python2=$(find_python2) || missing "no Python 2.7 found, and the suite runs on nothing newer" \
    "name one with PYTHON2=/path/to/python2.7, or install one (pyenv install 2.7.18); Debian has had none since 12"
  step="python3 -m venv"
  {
    rm -rf "$work/py27" "$work/maker"
    python3 -m venv "$work/maker" &&
      step="pip install $maker" && "$work/maker/bin/pip" install -q "$maker" &&
      step="virtualenv -p $python2" && "$work/maker/bin/virtualenv" -q -p "$python2" "$work/py27" &&
      step="pip install $suite" && "$work/py27/bin/pip" install -q "$suite"
  } >"$work/install.log" 2>&1 || missing "could not install the suite; failed at: $step" \
    "details in $work/install.log; it needs PyPI, Debian's python3-venv, and a C compiler"
}

mkdir -p "$work"
install_suite

port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
case ${1:-} in
'')
  cargo build --manifest-path "$root/Cargo.toml" --example ws-echo ||
    missing "the ws-echo example does not build (see above)"
  server=("$root/target/debug/examples/ws-echo" --port "$port")
  ;;
--limit)
  cargo build --release --manifest-path "$root/contrib/bench/Cargo.toml" ||
    missing "the bench does not build (see above)"
  server=("$root/contrib/bench/target/release/openclaw-bench" --limit-server --echo --port "$port")
  ;;
*) missing "unknown argument $1 (only --limit)" ;;
esac

# A pipe without an end for standard input: the limit server stops when its input does.
rm -f "$work/hold"
mkfifo "$work/hold"
exec 9<>"$work/hold"
"${server[@]}" <&9 >"$work/server.log" 2>&1 &
echo_pid=$!
trap 'kill "$echo_pid" 2>/dev/null || true; wait "$echo_pid" 2>/dev/null || true' EXIT

tries=100
until (: <"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do
  kill -0 "$echo_pid" 2>/dev/null || missing "the echo server ended at once; see $work/server.log"
  tries=$((tries - 1))
  [ "$tries" -gt 0 ] || missing "the echo server does not listen on port $port"
  sleep 0.1
done

cd "$work"
rm -rf reports
sed "s/:9001/:$port/" "$here/fuzzingclient.json" >spec.json
timeout 1800 py27/bin/wstest -m fuzzingclient -s spec.json >wstest.log 2>&1 ||
  missing "wstest did not finish; see $work/wstest.log"
kill -0 "$echo_pid" 2>/dev/null || missing "the echo server did not survive the suite; see $work/server.log"
python3 "$here/check.py" reports/index.json
