#!/usr/bin/env bash
# Real clients through plimsoll to real servers: wrk, h2load, curl, git, WebSocket, gRPC. One line with numbers for
# each check; the exit code is 0 when all of them hold. `--only PART` runs those whose name contains it.
set -euo pipefail
cd "$(dirname "$0")/../.."

# Programs, and the Debian packages that hold them.
declare -A packages=([curl]=curl [git]=git [h2load]=nghttp2-client [nginx]=nginx [openssl]=openssl [python3]=python3-venv [wrk]=wrk)
target=${CARGO_TARGET_DIR:-target}
plimsoll=$target/release/plimsoll
only=()
PATH=$PATH:/usr/sbin:/sbin

while (($#)); do
  case $1 in
    --plimsoll) plimsoll=${2:?a path is missing}; shift 2 ;;
    --only) only=(--only "${2:?a part of a name is missing}"); shift 2 ;;
    *) echo "usage: $0 [--plimsoll PATH] [--only PART]" >&2; exit 2 ;;
  esac
done

missing=()
for program in "${!packages[@]}"; do
  command -v "$program" >/dev/null || missing+=("${packages[$program]}")
done
if ((${#missing[@]})); then
  echo "as root: apt-get install ${missing[*]}" >&2
  exit 2
fi
[[ -x $plimsoll ]] || { echo "no program at $plimsoll: cargo build --release, or --plimsoll PATH" >&2; exit 2; }

# Kept between runs, and made again when the versions change.
clients=$target/real-clients
if ! cmp -s .ci/long/real/requirements.txt "$clients/requirements.txt"; then
  python3 -m venv --clear "$clients"
  "$clients/bin/pip" install --quiet --disable-pip-version-check -r .ci/long/real/requirements.txt
  cp .ci/long/real/requirements.txt "$clients/"
fi
exec env PYTHONDONTWRITEBYTECODE=1 "$clients/bin/python" .ci/long/real "$(realpath "$plimsoll")" "${only[@]}"
