#!/usr/bin/env bash
# Every fuzz target for ten minutes (or SECONDS_EACH); stops at the first finding, whose input is kept in
# fuzz/artifacts. Names as arguments choose targets. The sanitizer wants compiler flags that are not stable: a nightly
# toolchain is taken when there is one, else the stable compiler is told to accept them.
set -euo pipefail
cd "$(dirname "$0")/../.."

seconds=${SECONDS_EACH:-600}
command -v cargo-fuzz >/dev/null || { echo "missing: cargo install cargo-fuzz --locked" >&2; exit 2; }
command -v c++ >/dev/null || { echo "as root: apt-get install g++" >&2; exit 2; }
if [[ -z ${RUSTC_BOOTSTRAP-} ]] && cargo +nightly --version >/dev/null 2>&1; then
  cargo=(cargo +nightly)
else
  cargo=(cargo)
  export RUSTC_BOOTSTRAP=1
fi
if (($#)); then targets=("$@"); else mapfile -t targets < <("${cargo[@]}" fuzz list); fi
((${#targets[@]})) || { echo "fuzz/ holds no target" >&2; exit 1; }

for target in "${targets[@]}"; do
  printf '\n== %s for %s s, %s\n' "$target" "$seconds" "$("${cargo[@]}" --version)"
  options=(-max_total_time="$seconds" -timeout=10 -rss_limit_mb=4096 -print_final_stats=1)
  # YAML has other words.
  [[ $target == config ]] || options+=(-dict=fuzz/http.dict)
  # What is new goes to the first folder, the second is only read.
  mkdir -p "fuzz/corpus/$target"
  "${cargo[@]}" fuzz run "$target" "fuzz/corpus/$target" "fuzz/seeds/$target" -- "${options[@]}"
done
printf '\n%s targets, nothing found\n' "${#targets[@]}"
