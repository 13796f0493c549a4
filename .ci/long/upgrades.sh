#!/usr/bin/env bash
# Ten binary upgrades in a row under load, by the program as it is released: 2000 requests per second beside WebSockets, gRPC
# streams, downloads and new TLS connections, each of which goes on to its own end on the process that it began with, and a
# WebSocket of each process that stays to the end. Prints a table with and without; the exit code is 0 when nothing failed or
# was cut. `RATE=500` for a slower machine; `PROFILE=dev` for a build without optimisation.
set -euo pipefail
cd "$(dirname "$0")/../.."

exec cargo test --locked --profile "${PROFILE:-release}" --test it upgrade_load -- --ignored --nocapture --test-threads 1
