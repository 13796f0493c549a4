#!/usr/bin/env bash
# Every fuzz target for ten minutes (or SECONDS_EACH), on the nightly toolchain; stops at the first
# finding, whose input is kept in fuzz/artifacts. Names as arguments choose targets.
set -euo pipefail
cd "$(dirname "$0")/../.."

seconds=${SECONDS_EACH:-600}
command -v cargo-fuzz >/dev/null || { echo "cargo install cargo-fuzz --locked" >&2; exit 1; }
if (($#)); then targets=("$@"); else mapfile -t targets < <(cargo +nightly fuzz list); fi
((${#targets[@]})) || { echo "fuzz/ holds no target" >&2; exit 1; }

for target in "${targets[@]}"; do
  printf '\n== %s for %s s\n' "$target" "$seconds"
  cargo +nightly fuzz run "$target" -- -max_total_time="$seconds" -timeout=10 -rss_limit_mb=4096
done
printf '\n%s targets, nothing found\n' "${#targets[@]}"
