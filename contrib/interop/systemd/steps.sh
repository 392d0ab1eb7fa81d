#!/bin/sh
# What an operator does, from install to uninstall, inside the world of run.sh: with the manager of a user, with that of
# the system, and with the units of contrib/systemd.
set -eu

step=
trap '[ -z "$step" ] || echo "FAILED: $step"' EXIT
say() {
  step=$1
  echo "== $1"
}
done_with_all() {
  step=
  echo "all is well"
}
until_true() { # condition as a command; 20 s
  for _ in $(seq 1 200); do
    if "$@" >/dev/null 2>&1; then return 0; fi
    sleep 0.1
  done
  echo "in vain: $*"
  return 1
}
openclaw() { "$OPENCLAW" "$@"; }
has() { # text, command…: its output, both streams, has this text
  text=$1
  shift
  "$@" >"$WORK/tmp/out" 2>&1 || true
  grep -qF -e "$text" "$WORK/tmp/out" || { echo "no \"$text\" in: $*"; cat "$WORK/tmp/out"; return 1; }
}
another_pid() { # old pid, ctl…
  old=$1
  shift
  new=$("$@" show -P MainPID "$unit")
  [ "$new" != 0 ] && [ "$new" != "$old" ]
}
main_pid() { "$@" show -P MainPID "$unit"; }
answers() { openclaw gateway status --require-rpc "$@"; }

mkdir -p "$HOME/.openclaw" "$WORK/tmp"
chmod 700 "$HOME/.openclaw"
echo '{"gateway": {"mode": "local", "port": 18789, "auth": {"mode": "token", "token": "interop-token-0123456789"}}}' \
  >"$HOME/.openclaw/openclaw.json"
chmod 600 "$HOME/.openclaw/openclaw.json"
unit=openclaw-gateway.service

round() { # words of systemctl, more words of install
  ctl=$1
  more=$2
  say "install $more"
  # shellcheck disable=SC2086
  has "Installed systemd service: " openclaw gateway install $more
  until_true $ctl is-active "$unit"
  until_true answers
  has "Gateway service already enabled." openclaw gateway install $more
  say "status $more"
  has "Service: systemd (enabled)" openclaw gateway status
  has "Runtime: running (pid $(main_pid $ctl), state active, sub running" openclaw gateway status
  has "RPC probe: ok" openclaw gateway status
  has "" openclaw gateway status
  if grep -q "Service config issue" "$WORK/tmp/out"; then cat "$WORK/tmp/out"; return 1; fi
  say "restart $more"
  pid=$(main_pid $ctl)
  has "Restarted systemd service: $unit" openclaw gateway restart
  another_pid "$pid" $ctl
  until_true answers
  say "kill -9: started again $more"
  pid=$(main_pid $ctl)
  kill -9 "$pid"
  until_true another_pid "$pid" $ctl
  until_true answers
  say "a restart within the process keeps the pid $more"
  pid=$(main_pid $ctl)
  kill -USR1 "$pid"
  until_true answers
  [ "$(main_pid $ctl)" = "$pid" ]
  say "an invalid configuration: refused before the service is stopped $more"
  cp "$HOME/.openclaw/openclaw.json" "$WORK/tmp/good"
  echo '{"gateway": {"port": "x"}}' >"$HOME/.openclaw/openclaw.json"
  has "Gateway aborted: config is invalid." openclaw gateway restart
  [ "$(main_pid $ctl)" = "$pid" ]
  say "78 is final $more"
  kill -9 "$pid"
  until_true sh -c "[ \$($ctl show -P ExecMainStatus $unit) = 78 ]"
  until_true $ctl is-failed "$unit"
  has "Service is loaded but not running" openclaw gateway status
  cat "$WORK/tmp/good" >"$HOME/.openclaw/openclaw.json"
  say "start $more"
  has "Restarted systemd service: $unit" openclaw gateway start
  until_true answers
  say "stop $more"
  has "Stopped systemd service: $unit" openclaw gateway stop
  if $ctl is-active "$unit"; then return 1; fi
  [ "$($ctl show -P ExecMainStatus "$unit")" = 0 ]
  has "Runtime: stopped (state inactive, sub dead, last exit 0" openclaw gateway status
}

watchdog() { # words of systemctl: a hub that hangs costs the gateway its life, and it comes back
  ctl=$1
  stop=$WORK/tmp/stop-the-hub
  $ctl start "$unit"
  until_true answers
  pid=$(main_pid $ctl)
  : >"$stop"
  until_true sh -c "[ \$($ctl show -P Result $unit) = watchdog ]"
  rm "$stop"
  until_true another_pid "$pid" $ctl
  until_true answers
}

drop_in() { # directory of units: a watchdog with little patience, and the file that stops the hub
  mkdir -p "$1/$unit.d"
  printf '[Service]\nWatchdogSec=3\nEnvironment=OPENCLAW_TEST_STOP_HUB=%s\n' "$WORK/tmp/stop-the-hub" \
    >"$1/$unit.d/watchdog.conf"
}

round "systemctl --user" ""
say "uninstall"
has "Removed systemd service: " openclaw gateway uninstall
[ ! -e "$HOME/.config/systemd/user/$unit" ]

round "systemctl" "--system"
if [ "${OPENCLAW%/debug/*}" != "$OPENCLAW" ]; then
  say "the watchdog trips when the hub stands still --system"
  drop_in /etc/systemd/system
  systemctl daemon-reload
  watchdog systemctl
fi
say "uninstall --system"
has "Removed systemd service: " openclaw gateway uninstall
[ ! -e "/etc/systemd/system/$unit" ]

done_with_all
