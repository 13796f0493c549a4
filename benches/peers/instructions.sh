#!/usr/bin/env bash
# Instructions of one proxied small GET (callgrind); see per_request.py.
set -euo pipefail
exec "$(dirname "$0")/per_request.py" instructions "$@"
