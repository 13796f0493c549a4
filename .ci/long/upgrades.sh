#!/usr/bin/env bash
# Ten binary upgrades in a row under 2 000 requests/s, each with a download and a WebSocket that the process before it
# began: 0 failed, 0 cut. Takes half a minute of two cores; prints what was counted.
set -euo pipefail
cd "$(dirname "$0")/../.."
exec cargo test --locked --profile quick --test it -- --ignored --nocapture upgrade_binary::ten_upgrades
