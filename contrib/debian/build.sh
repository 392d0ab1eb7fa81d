#!/bin/sh
# A Debian package from a built binary, with nothing but dpkg-deb, gzip and a shell.
#
#   contrib/debian/build.sh [BINARY [DIRECTORY]]
#
# BINARY: target/release/openclaw if not given. The package is written to DIRECTORY, target if not given, and its path
# is the last line of the output. DEB_ARCH names the architecture when the binary is for another machine (arm64, armhf),
# DEB_COMPRESSION how the package is compressed (xz).
# Builds with the same SOURCE_DATE_EPOCH and the same binary are equal byte by byte.
set -eu

root=$(cd "$(dirname "$0")/../.." && pwd)
binary=${1:-$root/target/release/openclaw}
out=${2:-$root/target}
arch=${DEB_ARCH:-$(dpkg --print-architecture)}
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' "$root/Cargo.toml" | head -n 1)
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git -C "$root" log -1 --format=%ct 2>/dev/null || date +%s)}
export SOURCE_DATE_EPOCH

[ -x "$binary" ] || { echo "build.sh: $binary is missing: cargo build --release, or name a binary" >&2; exit 1; }
umask 022
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
tree=$work/tree

put() { # mode, source, place
  install -D -m "$1" "$2" "$tree/$3"
}

contrib=$root/contrib
put 755 "$binary" usr/bin/openclaw
for page in "$root"/man/*; do
  name=$(basename "$page")
  put 644 "$page" "usr/share/man/man${name##*.}/$name"
  gzip -9n "$tree/usr/share/man/man${name##*.}/$name"
done
for unit in openclaw-gateway.service openclaw-gateway@.service; do
  put 644 "$contrib/systemd/$unit" "usr/lib/systemd/system/$unit"
  put 644 "$contrib/systemd/user/$unit" "usr/lib/systemd/user/$unit"
done
put 644 "$contrib/apparmor/openclaw-gateway" etc/apparmor.d/openclaw-gateway
put 644 "$contrib/sysusers.d/openclaw.conf" usr/lib/sysusers.d/openclaw.conf
put 644 "$contrib/tmpfiles.d/openclaw.conf" usr/lib/tmpfiles.d/openclaw.conf
put 644 "$contrib/logrotate/openclaw" etc/logrotate.d/openclaw
put 640 "$contrib/examples/openclaw.json" etc/openclaw/openclaw.json

doc=usr/share/doc/openclaw
put 644 "$root/README.md" $doc/README.md
put 644 "$contrib/examples/openclaw.json" $doc/examples/openclaw.json
put 644 "$contrib/systemd/tools.conf" $doc/examples/systemd-tools.conf
put 644 "$contrib/nginx/openclaw.conf" $doc/examples/nginx.conf
put 644 "$contrib/caddy/Caddyfile" $doc/examples/Caddyfile
{
  printf 'Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\nUpstream-Name: openclaw\n\n'
  printf 'Files: *\nCopyright: the OpenClaw Gateway authors\nLicense: MIT\n'
  sed -e 's/^$/./' -e 's/^/ /' "$root/LICENSE"
} >"$tree/$doc/copyright"
{
  printf 'openclaw (%s) unstable; urgency=medium\n\n  * Release %s.\n\n' "$version" "$version"
  printf ' -- OpenClaw Gateway maintainers <openclaw@example.org>  %s\n' "$(date -uRd "@$SOURCE_DATE_EPOCH")"
} | gzip -9n >"$tree/$doc/changelog.gz"

# Completions, when the binary can make them and run here.
completion() { # shell, place
  if "$binary" completion --shell "$1" >"$work/completion" 2>/dev/null && [ -s "$work/completion" ]; then
    put 644 "$work/completion" "$2"
  else
    echo "build.sh: no completions for $1: this binary makes none here" >&2
  fi
}
completion bash usr/share/bash-completion/completions/openclaw
completion zsh usr/share/zsh/vendor-completions/_openclaw
completion fish usr/share/fish/vendor_completions.d/openclaw.fish

# A static binary needs no C library of the distribution.
depends=
if LC_ALL=C readelf -d "$binary" 2>/dev/null | grep -q 'NEEDED.*libc\.so'; then
  glibc=$(LC_ALL=C readelf -V "$binary" | grep -o 'GLIBC_2\.[0-9]*' | sort -uV | tail -n 1)
  depends="Depends: libc6 (>= ${glibc#GLIBC_}), libgcc-s1"
fi

mkdir -p "$tree/DEBIAN"
size=$(du -sk --apparent-size "$tree" | cut -f 1)
{
  sed -e "s/@VERSION@/$version/" -e "s/@ARCH@/$arch/" -e "s/@SIZE@/$size/" "$contrib/debian/control" |
    if [ -n "$depends" ]; then sed "s/^@DEPENDS@\$/$depends/"; else sed '/^@DEPENDS@$/d'; fi
} >"$tree/DEBIAN/control"
(cd "$tree" && find etc -type f | LC_ALL=C sort | sed 's|^|/|') >"$tree/DEBIAN/conffiles"
(cd "$tree" && find usr -type f | LC_ALL=C sort | xargs md5sum) >"$tree/DEBIAN/md5sums"
for script in postinst prerm postrm; do
  put 755 "$contrib/debian/$script" "DEBIAN/$script"
done

mkdir -p "$out"
package=$out/openclaw_${version}_$arch.deb
find "$tree" -depth -exec touch --no-dereference --date "@$SOURCE_DATE_EPOCH" {} +
dpkg-deb --root-owner-group "-Z${DEB_COMPRESSION:-xz}" --build "$tree" "$package" >/dev/null
echo "$package"
