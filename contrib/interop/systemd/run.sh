#!/bin/sh
# The gateway under a real systemd: one that is process 1 of a little world of its own and ends with it.
#
#   contrib/interop/systemd/run.sh [BINARY]
#
# BINARY: target/debug/openclaw if not given. Only a debug build can be told to stop its hub; with another one that step
# is left out. Needs root, cgroup v2 and the systemd package; systemd need not run. Mounts, processes, host name and
# control group are private, files lie in a temporary directory: nothing of the machine is touched.
# Called by a trap.
# shellcheck disable=SC2317
set -eu

root=$(cd "$(dirname "$0")/../../.." && pwd)
binary=$(realpath "${1:-$root/target/debug/openclaw}")
fail() {
  echo "run.sh: $1" >&2
  exit 2
}
[ "$(id -u)" = 0 ] || fail "needs root"
[ -x "$binary" ] || fail "$binary is missing: cargo build"
[ -x /usr/lib/systemd/systemd ] || fail "no systemd on this machine"

work=$(mktemp -d)
world=
clean() {
  [ -z "$world" ] || kill -9 "$world" 2>/dev/null || true
  # What was in there is gone a moment after its process 1.
  for _ in 1 2 3 4 5; do
    [ ! -d "$work/cgroup/openclaw-interop" ] && break
    find "$work/cgroup/openclaw-interop" -depth -type d -exec rmdir {} + 2>/dev/null || sleep 0.2
  done
  umount "$work/cgroup" 2>/dev/null || true
  rm -rf "$work"
}
trap clean EXIT
trap 'exit 130' INT TERM

# A control group of its own, which is all that the systemd in there sees.
mkdir "$work/cgroup"
mount -t cgroup2 cgroup2 "$work/cgroup" || fail "no cgroup v2 here"
mkdir "$work/cgroup/openclaw-interop" || fail "no control groups can be made here"

# $1, $2: what the shell in between is to do, not this one.
# shellcheck disable=SC2016
sh -c 'echo $$ >"$1/cgroup.procs"; shift; exec unshare "$@"' sh "$work/cgroup/openclaw-interop" \
  --pid --fork --kill-child --mount --cgroup --uts --ipc \
  "$root/contrib/interop/systemd/world.sh" "$work" "$binary" "$root" </dev/null >"$work/console" 2>&1 &
world=$!

rounds=0
while [ ! -s "$work/status" ] && [ "$rounds" -lt 1200 ] && kill -0 "$world" 2>/dev/null; do
  sleep 0.25
  rounds=$((rounds + 1))
done
status=$(cat "$work/status" 2>/dev/null || echo 1)
cat "$work/said" 2>/dev/null || true
if [ "$status" != 0 ]; then
  echo "--- the end of what systemd said"
  tail -n 60 "$work/console"
fi
exit "$status"
