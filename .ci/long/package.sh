#!/usr/bin/env bash
# The Debian package: built, judged by lintian (which must have nothing to say) and systemd-analyze. With `--no-build` of
# what is in target/release already.
set -euo pipefail
cd "$(dirname "$0")/../.."

cargo_deb=3.8.0
target=${CARGO_TARGET_DIR:-target}
plimsoll=$target/release/plimsoll
build=1
[[ ${1:-} == --no-build ]] && build=

missing=()
for program in lintian dpkg-deb systemd-analyze; do
  command -v "$program" >/dev/null || missing+=("$program")
done
((${#missing[@]})) && { echo "as root: apt-get install lintian dpkg systemd (missing: ${missing[*]})" >&2; exit 2; }
command -v cargo-deb >/dev/null || cargo install cargo-deb --locked --version "$cargo_deb"

[[ -z $build ]] || cargo build --release --locked --bin plimsoll
mkdir -p "$target/package"
"$plimsoll" completions bash >"$target/package/plimsoll"
"$plimsoll" completions zsh >"$target/package/_plimsoll"
"$plimsoll" completions fish >"$target/package/plimsoll.fish"
package=$(cargo deb --no-build --locked --strip --output "$target/package/")
echo "built $package"

lintian --fail-on warning --tag-display-limit 0 "$package"
echo "lintian: nothing to say"

# `verify` of a systemd before 253 does not know Type=notify-reload; nothing else may be said.
unit=packaging/systemd/plimsoll.service
said=$(systemd-analyze verify "$unit" packaging/systemd/more/plimsoll-web.socket \
  packaging/systemd/more/plimsoll-upgrade.service 2>&1 \
  | grep -v -e 'notify-reload' -e "Command 'man plimsoll(1)' failed" -e 'Command /usr/bin/plimsoll is not executable' || true)
[[ -z $said ]] || { echo "$said" >&2; exit 1; }
# 0 is sealed off, 10 open to everything.
systemd-analyze security --offline=true --threshold=20 --no-pager "$unit" 2>/dev/null | tail -1
