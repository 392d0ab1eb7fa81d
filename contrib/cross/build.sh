#!/bin/sh
# Static binaries for small machines, and the smoke test with each of them.
#
#   contrib/cross/build.sh [--no-test] [target ...]
#
# Targets: aarch64-unknown-linux-musl, armv7-unknown-linux-musleabihf, x86_64-unknown-linux-musl; without a name all
# three. README.md beside this file says what has to be installed, and which variables matter.
set -eu
cd "$(dirname "$0")/../.."

TARGETS='aarch64-unknown-linux-musl armv7-unknown-linux-musleabihf x86_64-unknown-linux-musl'
PROFILE=${CROSS_PROFILE:-release}
OUT=${CARGO_TARGET_DIR:-$PWD/target}

main() {
  test=yes
  [ "${1-}" != --no-test ] || { test=no; shift; }
  # shellcheck disable=SC2086
  [ $# -gt 0 ] || set -- $TARGETS
  for target in "$@"; do
    describe "$target"
    build "$target"
    binary=$(realpath "$OUT/$target/$([ "$PROFILE" = dev ] && echo debug || echo "$PROFILE")/openclaw")
    check_static "$binary"
    [ "$test" = no ] || smoke "$target" "$binary"
    echo "$target: $binary, $(wc -c <"$binary") bytes"
  done
}

# Names of the C compiler, and the emulator that runs what it makes.
describe() {
  case $1 in
    aarch64-unknown-linux-musl) compilers=aarch64-linux-musl-gcc emulator=aarch64 ;;
    armv7-unknown-linux-musleabihf) compilers='armv7l-linux-musleabihf-gcc arm-linux-musleabihf-gcc' emulator=arm ;;
    x86_64-unknown-linux-musl) compilers='x86_64-linux-musl-gcc musl-gcc' emulator=x86_64 ;;
    *) give_up "unknown target $1" "one of: $TARGETS" ;;
  esac
}

# One target, with the compiler of the environment (CC_<target>) or the first of its usual names.
build() {
  name=$(echo "$1" | tr - _)
  eval "compiler=\${CC_$name-}"
  for candidate in $compilers; do
    [ -n "$compiler" ] || compiler=$(command -v "$candidate" || true)
  done
  [ -n "$compiler" ] || give_up "$1: no C compiler for musl ($compilers)" "install one, or name it in CC_$name"
  export "CC_$name=$compiler"
  upper=$(echo "$name" | tr '[:lower:]' '[:upper:]')
  export "CARGO_TARGET_${upper}_LINKER=$compiler"
  export "CARGO_TARGET_${upper}_RUSTFLAGS=-C target-feature=+crt-static ${CROSS_RUSTFLAGS-}"
  if [ -n "${CROSS_BUILD_STD-}" ]; then
    RUSTC_BOOTSTRAP=1 cargo build --locked --profile "$PROFILE" --bin openclaw --target "$1" -Zbuild-std=std,panic_abort
  else
    [ -d "$("${RUSTC:-rustc}" --print sysroot)/lib/rustlib/$1/lib" ] ||
      give_up "$1: no standard library for it" "rustup target add $1, or CROSS_BUILD_STD=1"
    cargo build --locked --profile "$PROFILE" --bin openclaw --target "$1"
  fi
}

check_static() {
  command -v readelf >/dev/null || return 0
  ! readelf -d "$1" | grep NEEDED || give_up "$1 needs shared libraries" "is +crt-static in its flags?"
  ! readelf -l "$1" | grep INTERP ||
    give_up "$1 asks for a loader" "this linker makes no static-pie: CROSS_RUSTFLAGS='-C relocation-model=static'"
}

# The tests of this machine drive the foreign binary through its emulator, or directly where it runs by itself.
smoke() {
  runner=$2
  if [ "$emulator" != "$(uname -m)" ]; then
    qemu=$(command -v "qemu-$emulator-static" || command -v "qemu-$emulator") ||
      give_up "$1: no qemu-$emulator to run it" "install qemu-user-static, or use --no-test"
    runner=$2.emulated
    printf '#!/bin/sh\nexec "%s" "%s" "$@"\n' "$qemu" "$2" >"$runner"
    chmod 755 "$runner"
  fi
  (
    # These are for the target; the tests are for this machine.
    unset RUSTC CARGO_TARGET_DIR RUSTUP_TOOLCHAIN
    # shellcheck disable=SC2086
    OPENCLAW_TEST_BINARY=$runner OPENCLAW_TEST_PATIENCE=${OPENCLAW_TEST_PATIENCE:-6} \
      cargo test --quiet --test gateway -- ${CROSS_TESTS:-smoke::}
  )
}

give_up() {
  printf 'build.sh: %s\nbuild.sh: %s\n' "$1" "$2" >&2
  exit 1
}

main "$@"
