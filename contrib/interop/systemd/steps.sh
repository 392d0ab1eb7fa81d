#!/bin/sh
# What an operator does, from install to uninstall, inside the world of run.sh: with the manager of a user, with that of
# the system, and with the units of contrib/systemd.
# Functions here are called by name.
# shellcheck disable=SC2317
set -eu

step=
trap '[ -z "$step" ] || echo "FAILED: $step"' EXIT
say() {
  step=$1
  echo "== $scope: $1"
}
until_true() { # a command; 20 s
  for _ in $(seq 1 200); do
    if "$@" >/dev/null 2>&1; then return 0; fi
    sleep 0.1
  done
  echo "in vain: $*"
  ctl status "$unit" || true
  return 1
}
has() { # text, a command: its output, both streams, has this text
  text=$1
  shift
  "$@" >"$WORK/tmp/out" 2>&1 || true
  grep -qF -e "$text" "$WORK/tmp/out" || {
    echo "no \"$text\" in: $*"
    cat "$WORK/tmp/out"
    return 1
  }
}
openclaw() { "$OPENCLAW" "$@"; }
# --user or --system: whose manager is asked.
scope=--user
unit=openclaw-gateway.service
ctl() { systemctl "$scope" "$@"; }
property() { ctl show -P "$1" "$unit"; }
property_is() { [ "$(property "$1")" = "$2" ]; }
is_another() { # the main process is not this one any more
  property_is MainPID 0 || property_is MainPID "$1" || return 0
  return 1
}
answers() { openclaw gateway status --require-rpc; }

mkdir -p "$HOME/.openclaw"
chmod 700 "$HOME/.openclaw"
config=$HOME/.openclaw/openclaw.json
cp "$OPENCLAW_INTEROP/openclaw.json" "$config"
chmod 600 "$config"

install_to_stop() {
  system=
  [ "$scope" = --user ] || system=1
  say install
  has "Installed systemd service: " openclaw gateway install ${system:+--system}
  until_true answers
  has "Gateway service already enabled." openclaw gateway install ${system:+--system}
  say status
  has "Service: systemd (enabled)" openclaw gateway status
  has "Runtime: running (pid $(property MainPID), state active, sub running" openclaw gateway status
  has "RPC probe: ok" openclaw gateway status
  if grep "Service config issue" "$WORK/tmp/out"; then return 1; fi
  say restart
  pid=$(property MainPID)
  has "Restarted systemd service: $unit" openclaw gateway restart
  is_another "$pid"
  answers >/dev/null
  say "kill -9: it comes back"
  pid=$(property MainPID)
  kill -9 "$pid"
  until_true is_another "$pid"
  until_true answers
  say "a restart within the process keeps the pid"
  pid=$(property MainPID)
  kill -USR1 "$pid"
  until_true answers
  property_is MainPID "$pid"
  say "an invalid configuration is refused before the service is stopped"
  echo '{"gateway": {"port": "x"}}' >"$config"
  has "Gateway aborted: config is invalid." openclaw gateway restart
  property_is MainPID "$pid"
  say "exit status 78 is final"
  kill -9 "$pid"
  until_true property_is ExecMainStatus 78
  until_true ctl is-failed "$unit"
  has "Service is loaded but not running" openclaw gateway status
  cp "$OPENCLAW_INTEROP/openclaw.json" "$config"
  say start
  has "Restarted systemd service: $unit" openclaw gateway start
  until_true answers
  stop_it
}

stop_it() {
  say stop
  has "Stopped systemd service: $unit" openclaw gateway stop
  property_is ActiveState inactive
  property_is ExecMainStatus 0
  has "Runtime: stopped (state inactive, sub dead, last exit 0" openclaw gateway status
}

uninstall() { # its file
  say uninstall
  has "Removed systemd service: " openclaw gateway uninstall
  [ ! -e "$1" ]
}

# A hub that stands still costs the gateway its life, and it comes back. Only a debug build can be told to stop its hub.
watchdog() { # directory of the unit
  case $OPENCLAW_BUILT in */debug/*) ;; *) return 0 ;; esac
  say "the watchdog trips when the hub stands still"
  mkdir -p "$1/$unit.d"
  printf '[Service]\nWatchdogSec=3\nEnvironment=OPENCLAW_TEST_STOP_HUB=/run/interop/stop-the-hub\n' \
    >"$1/$unit.d/watchdog.conf"
  ctl daemon-reload
  ctl restart "$unit"
  until_true answers
  pid=$(property MainPID)
  : >/run/interop/stop-the-hub
  until_true property_is Result watchdog
  rm /run/interop/stop-the-hub
  until_true is_another "$pid"
  until_true answers
}

# A unit of contrib/systemd, started here under the name of its instance.
packaged() { # source, directory to which the package brings it, directory of drop-ins
  cp "$ROOT/contrib/systemd/$1" "$2/"
  mkdir -p "$3/$unit.d"
  {
    printf '[Service]\nExecStart=\nExecStart=%s ' "$OPENCLAW"
    sed -n 's|^ExecStart=/usr/bin/openclaw ||p' "$ROOT/contrib/systemd/$1"
    # Beside the variables of the unit, for what is not in this world.
    printf 'Environment=OPENCLAW_CONFIG_PATH=%s/openclaw.json\n' "$OPENCLAW_INTEROP"
  } >"$3/$unit.d/interop.conf"
  ctl daemon-reload
  ctl enable "$unit" 2>/dev/null
  ctl start "$unit"
}

install_to_stop
uninstall "$HOME/.config/systemd/user/$unit"
scope=--system
install_to_stop
watchdog /etc/systemd/system
uninstall "/etc/systemd/system/$unit"
rm -r "/etc/systemd/system/$unit.d"

say "the unit of contrib, hardened, as a user of its own"
packaged openclaw-gateway.service /usr/local/lib/systemd/system /etc/systemd/system
property_is ActiveState active
property_is User openclaw
answers_there() {
  OPENCLAW_STATE_DIR=/var/lib/openclaw OPENCLAW_CONFIG_PATH=$OPENCLAW_INTEROP/openclaw.json openclaw gateway status --require-rpc
}
until_true answers_there
has "Command: /usr/bin/openclaw gateway" openclaw gateway status
[ "$(stat -c '%U %a' /var/lib/openclaw)" = "openclaw 700" ]
ls /var/log/openclaw/*.log >/dev/null
say "systemctl reload is the gateway's SIGHUP"
pid=$(property MainPID)
ctl reload "$unit"
property_is MainPID "$pid"
until_true answers_there
watchdog /etc/systemd/system
stop_it
has "it belongs to a package and stays" openclaw gateway uninstall

unit=openclaw-gateway@rescue.service
say "its template for profiles"
packaged openclaw-gateway@.service /usr/local/lib/systemd/system /etc/systemd/system
until_true answers_there
has "Command: /usr/bin/openclaw --profile rescue gateway" openclaw --profile rescue gateway status
has "OPENCLAW_STATE_DIR=/var/lib/openclaw-rescue" openclaw --profile rescue gateway status
[ "$(stat -c '%U %a' /var/lib/openclaw-rescue)" = "openclaw 700" ]
has "Stopped systemd service: $unit" openclaw --profile rescue gateway stop
property_is ActiveState inactive

scope=--user
unit=openclaw-gateway.service
say "the unit of contrib for users"
packaged user/openclaw-gateway.service /usr/local/lib/systemd/user "$HOME/.config/systemd/user"
until_true answers
has "Service file: /usr/local/lib/systemd/user/$unit" openclaw gateway status
stop_it

step=
echo "all is well"
