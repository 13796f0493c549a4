#!/usr/bin/env bash
# Instructions and system calls of one proxied small GET, against their bounds. Both counts are
# repeatable on a busy machine, times are not.
set -euo pipefail
cd "$(dirname "$0")/../.."

# Programs, and the Debian packages that hold them.
declare -A packages=([h2load]=nghttp2-client [nginx]=nginx [python3]=python3 [strace]=strace [valgrind]=valgrind)
# Measured last: 20 530 instructions and 4.0 calls (20 120 before paths were read in other ways where a route
# guards something, kept connections took over what a reload changes, and HTTP/2 took its exchanges as small
# futures by value; 19 680 before there were breakers, bulkheads, budgets and plans of several attempts; 18 670
# before policies knew more of an endpoint than its load). For the same request nginx 1.22 takes 20 290 and
# 5.03, HAProxy 2.6 31 410 and 4.24. Lower the bounds when the counts fall.
instructions_at_most=20700
calls_at_most=4.2
PATH=$PATH:/usr/sbin:/sbin

missing=()
for program in "${!packages[@]}"; do
  command -v "$program" >/dev/null || missing+=("${packages[$program]}")
done
if ((${#missing[@]})); then
  echo "as root: apt-get install ${missing[*]}" >&2
  exit 2
fi

cargo build --release --locked
binary=${CARGO_TARGET_DIR:-target}/release/plimsoll
benches/peers/instructions.sh --plimsoll "$binary" --at-most "$instructions_at_most"
benches/peers/calls.sh --plimsoll "$binary" --at-most "$calls_at_most"
