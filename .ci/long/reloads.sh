#!/usr/bin/env bash
# Reloads under load, by the program as it is released: 100 of every kind at 2000 requests per second beside WebSockets, gRPC
# streams and downloads, with what they cost at p99; then 1000 with a WebSocket opened on every tenth generation, with the
# memory that they leave. Prints a table for each; the exit code is 0 when nothing failed, was cut, or was left behind.
# `RATE=500` for a slower machine; `PROFILE=dev` for a build without optimisation.
set -euo pipefail
cd "$(dirname "$0")/../.."

exec cargo test --locked --profile "${PROFILE:-release}" --test it reload_load -- --ignored --nocapture --test-threads 1
