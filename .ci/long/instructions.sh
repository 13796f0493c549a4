#!/usr/bin/env bash
# Instructions and system calls of one proxied small GET, against their bounds. Both counts are
# repeatable on a busy machine, times are not. Needs valgrind, strace, h2load and nginx.
set -euo pipefail
cd "$(dirname "$0")/../.."

# Measured when the bounds were set: 20 570 instructions and 4.05 calls. For the same request nginx
# 1.22 takes 20 410 and 5.04, HAProxy 2.6 31 410 and 4.24. Lower the bounds when the counts fall.
instructions_at_most=22000
calls_at_most=4.2

cargo build --release --locked
binary=${CARGO_TARGET_DIR:-target}/release/plimsoll
benches/peers/instructions.sh --plimsoll "$binary" --at-most "$instructions_at_most"
benches/peers/calls.sh --plimsoll "$binary" --at-most "$calls_at_most"
