#!/usr/bin/env bash
# System calls of one proxied small GET (strace -c -f); see per_request.py.
set -euo pipefail
exec "$(dirname "$0")/per_request.py" calls "$@"
