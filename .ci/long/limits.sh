#!/usr/bin/env bash
# Limits on clients as they are met on sockets, over times long enough to be exact about: how long transfers of ten seconds take at
# the bandwidth that they are held to. The exit code is 0 when none is faster than allowed, nor 5 % slower. `PROFILE=dev` for a
# build without optimisation.
set -euo pipefail
cd "$(dirname "$0")/../.."

exec cargo test --locked --profile "${PROFILE:-release}" --test it limiting -- --ignored --nocapture --test-threads 1
