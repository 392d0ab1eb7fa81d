#!/usr/bin/env bash
# Edits the configuration of a running gateway at random – whole, cut, in pieces, renamed over, deleted, with a broken
# include – while a client looks on, which must never see half of a change and must never lose the gateway.
#
#   contrib/interop/reload-storm.sh [EDITS] [SEED]     500 edits and a seed of the clock
#
# The same as a test of `cargo test`, only longer. Exit: that of the test.
set -euo pipefail
cd "$(dirname "$0")/../.."

export OPENCLAW_STORM_EDITS=${1:-500}
export OPENCLAW_STORM_SEED=${2:-$(date +%s)}
echo "reload-storm: $OPENCLAW_STORM_EDITS edits, seed $OPENCLAW_STORM_SEED"
exec cargo test --test gateway -- --exact --nocapture \
  reload_storm::random_edits_never_show_half_a_configuration_and_never_lose_the_gateway
