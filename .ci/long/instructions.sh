#!/usr/bin/env bash
# Instructions and system calls of one proxied small GET, against their bounds. Both counts are
# repeatable on a busy machine, times are not. Needs valgrind, strace, h2load and nginx.
set -euo pipefail
cd "$(dirname "$0")/../.."

# nginx 1.22 takes 20 400 instructions and 5.04 calls for the same request, HAProxy 2.6 31 400 and 4.24.
instructions_at_most=20000
calls_at_most=4.5

cargo build --release --locked
binary=${CARGO_TARGET_DIR:-target}/release/plimsoll
benches/peers/instructions.sh --plimsoll "$binary" --at-most "$instructions_at_most"
benches/peers/calls.sh --plimsoll "$binary" --at-most "$calls_at_most"
