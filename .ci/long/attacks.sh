#!/usr/bin/env bash
# A client that behaves, beside attacks of every kind, before an optimised build: a thousand slow clients for half a
# minute each (nothing, a head, a body, a PROXY header byte by byte, an answer that is hardly or not at all taken), then every
# flood of HTTP/2 on eight connections for ten seconds each, then five hundred clients that say hello over TLS and leave. Prints a line for each attack; the exit code is 0 when the client
# got 99 % of its answers, within 100 ms at p99, and memory stayed within its bounds. Takes five minutes of two cores.
set -euo pipefail
cd "$(dirname "$0")/../.."

cargo test --locked --profile "${PROFILE:-quick}" --test it --no-run
for attack in slow_clients floods handshake_flood; do
  cargo test --locked --profile "${PROFILE:-quick}" --test it "$attack" -- --ignored --nocapture --test-threads 1
done
