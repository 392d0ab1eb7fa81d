#!/bin/sh
# Process 1 of the private world that run.sh makes: mounts, a handful of units, then systemd.
set -eu

mount --make-rprivate /
mount -t proc proc /proc
# What systemd would tune belongs to the machine around.
mount --bind /proc/sys /proc/sys
mount -o remount,bind,ro /proc/sys
mount -t tmpfs tmpfs /run
# The files of this run where a private /tmp does not hide them.
mkdir -p /run/interop/work /run/interop/root
mount --bind "$1" /run/interop/work
mount --bind "$3" /run/interop/root
: >/run/interop/openclaw
mount --bind "$2" /run/interop/openclaw
work=/run/interop/work binary=$2 root=/run/interop/root
umount -R /sys/fs/cgroup 2>/dev/null || true
mount -t cgroup2 cgroup2 /sys/fs/cgroup
for dir in /tmp /etc/systemd/system /usr/local/lib /var/lib /var/log; do
  mount -t tmpfs tmpfs "$dir"
done
mkdir -p /usr/local/lib/systemd/system /usr/local/lib/systemd/user
hostname openclaw-interop
# The user that a package makes.
for file in passwd group; do
  cp "/etc/$file" "$work/$file"
  mount --bind "$work/$file" "/etc/$file"
done
echo 'openclaw:x:64998:64998::/var/lib/openclaw:/usr/sbin/nologin' >>/etc/passwd
echo 'openclaw:x:64998:' >>/etc/group

echo '{"gateway": {"mode": "local", "port": 18789, "auth": {"mode": "token", "token": "interop-token-0123456789"}}}' \
  >/run/interop/openclaw.json
chmod 640 /run/interop/openclaw.json
chgrp 64998 /run/interop/openclaw.json

units=$work/units
mkdir -p "$units" "$work/home" "$work/tmp" /run/user/0
chmod 700 "$work/home" /run/user/0
unit() { # name; text on standard input
  cat >"$units/$1"
}
# Of the system around only these are needed, and they are empty.
for name in sysinit basic network-online multi-user default shutdown; do
  printf '[Unit]\nDescription=%s\nDefaultDependencies=no\n' "$name" | unit "$name.target"
done
unit steps.target <<END
[Unit]
DefaultDependencies=no
Wants=user.service steps.service
END
# A manager of a user: root's.
unit user.service <<END
[Unit]
DefaultDependencies=no
[Service]
Type=notify
Delegate=yes
Environment=HOME=$work/home XDG_RUNTIME_DIR=/run/user/0 SYSTEMD_UNIT_PATH=$work/home/.config/systemd/user:/usr/local/lib/systemd/user:$units
ExecStart=/usr/lib/systemd/systemd --user --unit=default.target
END
unit steps.service <<END
[Unit]
DefaultDependencies=no
After=user.service
Requires=user.service
[Service]
Type=oneshot
Environment=HOME=$work/home TMPDIR=$work/tmp XDG_RUNTIME_DIR=/run/user/0 LOGS_DIRECTORY=$work/logs
Environment=PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
Environment=OPENCLAW=/run/interop/openclaw OPENCLAW_BUILT=$binary OPENCLAW_INTEROP=/run/interop WORK=$work ROOT=$root
StandardOutput=file:$work/said
StandardError=inherit
TimeoutStartSec=270
ExecStart=$root/contrib/interop/systemd/steps.sh
ExecStopPost=/bin/sh -c 'echo \$\${EXIT_STATUS:-1} >$work/status.new && mv $work/status.new $work/status'
END

export container=interop SYSTEMD_UNIT_PATH="/etc/systemd/system:/usr/local/lib/systemd/system:$units" SYSTEMD_LOG_TARGET=console
exec /usr/lib/systemd/systemd --system --unit=steps.target --log-target=console --show-status=0
