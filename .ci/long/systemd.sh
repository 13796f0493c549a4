#!/usr/bin/env bash
# The Debian package and its units under a real systemd, which is booted for this in a container without a network
# (systemd-nspawn): on Debian 13 (systemd 257), or on the release that is given (bookworm: 252, with the drop-in for it).
# Says what holds, and ends with 1 when something does not. Two minutes. As root; `--no-build` takes target/release as it
# is. What debootstrap fetches is kept in target/systemd.
set -euo pipefail
cd "$(dirname "$0")/../.."

release=trixie build=()
for argument in "$@"; do
  case $argument in
    --no-build) build=(--no-build) ;;
    *) release=$argument ;;
  esac
done
[[ $(id -u) == 0 ]] || { echo "a container is only booted by root" >&2; exit 2; }
missing=()
for program in debootstrap systemd-nspawn nsenter; do
  command -v "$program" >/dev/null || missing+=("$program")
done
((${#missing[@]})) && { echo "apt-get install debootstrap systemd-container util-linux (missing: ${missing[*]})" >&2; exit 2; }

target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
tree=$target/systemd/$release
packages=$target/package
.ci/long/package.sh "${build[@]}"
cargo deb --no-build --locked --strip --deb-version 0.1.0-0plimsoll2 --output "$packages/" >/dev/null
first=$(cd "$packages" && ls plimsoll_*plimsoll1_*.deb) second=$(cd "$packages" && ls plimsoll_*plimsoll2_*.deb)
if [[ ! -e $tree/.whole ]]; then
  rm -rf "$tree"
  mkdir -p "$tree"
  debootstrap --variant=minbase --include=systemd,systemd-sysv,dbus,curl,procps,man-db "$release" "$tree" >"$tree.log"
  touch "$tree/.whole"
fi

# Booted on a copy in memory, so that each run begins with a fresh installation.
SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1 systemd-nspawn --quiet --directory="$tree" --volatile=overlay --private-network \
  --register=no --keep-unit --bind-ro="$packages:/packages" --boot --console=pipe </dev/null >"$tree.console" 2>&1 &
container=$!
trap 'kill "$container" 2>/dev/null || true; wait "$container" || true' EXIT
manager=

# A command in the container.
inside() {
  nsenter --target "$manager" --all env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 \
    SYSTEMD_PAGER= SYSTEMD_COLORS=0 DEBIAN_FRONTEND=noninteractive "$@"
}
# Tries a command until it succeeds: for so many tenths of a second.
within() {
  local tries=$1
  shift
  for ((; tries > 0; tries--)); do
    "$@" >/dev/null 2>&1 && return 0
    sleep 0.1
  done
  return 1
}
failed=0
# Says whether a command succeeds.
holds() {
  local what=$1
  shift
  if "$@" >/dev/null 2>&1; then
    echo "  holds: $what"
  else
    echo "  DOES NOT HOLD: $what"
    inside journalctl --no-pager --lines=12 --output=cat | sed 's/^/    /' || true
    failed=1
  fi
}
fails() { ! "$@"; }
# What systemd knows of the service.
property() { inside systemctl show --property="$1" --value "${2:-plimsoll.service}"; }
has() { [[ $(property "$1") == *"$2"* ]]; }
answers() { [[ $(inside curl --silent --max-time 5 "${@:2}") == *"$1"* ]]; }
said() { inside journalctl --no-pager --output=cat --unit=plimsoll | grep --quiet --fixed-strings "$1"; }
configure() { inside sh -c 'cat >/etc/plimsoll/plimsoll.yaml'; }
# A request that takes three seconds, and what came of it.
begin_slow() { inside curl --silent --write-out ' %{http_code}' http://127.0.0.1/slow >"$tree.slow" & slow=$!; sleep 0.5; }
is_slow_answered() { wait "$slow" && [[ $(<"$tree.slow") == *" 200" ]]; }

booted() {
  manager=$(pgrep -P "$container" | head -1)
  [[ -n $manager ]] && inside systemctl is-system-running | grep --quiet -e running -e degraded
}
# What asks for a whole second more than one must not be run once a tenth of it.
for ((tries = 300; tries > 0; tries--)); do booted 2>/dev/null && break; sleep 0.1; done
echo "$(inside systemctl --version | head -1), on Debian $(inside cat /etc/debian_version)"

echo "installation"
inside dpkg --install "/packages/$first" >/dev/null
if [[ $(inside systemctl --version | awk 'NR == 1 { print $2 }') -lt 253 ]]; then
  inside mkdir -p /etc/systemd/system/plimsoll.service.d
  inside cp /usr/share/doc/plimsoll/examples/older-systemd.conf /etc/systemd/system/plimsoll.service.d/
  inside systemctl daemon-reload
  inside systemctl restart plimsoll
fi
holds "the service runs and is enabled" inside systemctl is-active plimsoll
holds "and says that it serves" within 50 has StatusText serving
holds "it is enabled" inside systemctl is-enabled plimsoll
holds "the welcome page is on loopback" answers "Plimsoll runs" http://127.0.0.1:8080/
holds "the socket is not enabled" fails inside systemctl is-enabled plimsoll-web.socket
holds "the configuration is a conffile" inside grep --quiet plimsoll.yaml /var/lib/dpkg/info/plimsoll.conffiles
holds "the man page opens" inside sh -c 'MANPAGER=cat man plimsoll | grep -q SIGNALS'
main=$(property MainPID)
holds "the process is not root" fails inside grep --quiet '^Uid:.0' "/proc/$main/status"
holds "and has one capability" inside grep --quiet '^CapEff:.0000000000000400$' "/proc/$main/status"

echo "reload"
inside systemd-run --quiet --unit=fast plimsoll backend --listen 127.0.0.1:9001
inside systemd-run --quiet --unit=slow plimsoll backend --listen 127.0.0.1:9002 --latency 3s
good=$(cat <<'YAML'
listeners:
  web: { address: "127.0.0.1:80" }
routes:
  - { match: { path: /slow }, upstream: slow }
  - upstream: fast
upstreams:
  fast: { endpoints: ["127.0.0.1:9001"] }
  slow: { endpoints: ["127.0.0.1:9002"] }
watch: off
admin: { address: "127.0.0.1:9900" }
YAML
)
configure <<<"$good"
holds "a reload succeeds" inside systemctl reload plimsoll
holds "it is in force when systemctl returns, on a port below 1024" answers backend http://127.0.0.1/
holds "the status tells of it" has StatusText "serving generation"
configure <<<"bogus: 1"
holds "a reload of a wrong file fails" fails inside systemctl reload plimsoll
holds "what was in force stays" answers backend http://127.0.0.1/
configure <<<"$good"
holds "a reload succeeds again" inside systemctl reload plimsoll

echo "binary upgrade"
begin_slow
holds "systemctl start plimsoll-upgrade succeeds" inside systemctl start plimsoll-upgrade
holds "another process is the main one" [ "$(property MainPID)" != "$main" ]
holds "it says that it serves" within 50 has StatusText serving
holds "a new request is answered" answers backend http://127.0.0.1/
holds "a request that the old one had is answered" is_slow_answered
holds "systemd takes the new process for its own" fails said "which is not our child"
main=$(property MainPID)
configure <<<"bogus: 1"
holds "an upgrade to a wrong file fails" fails inside systemctl start plimsoll-upgrade
holds "the status tells why" has StatusText "upgrade 1 was refused: the new process refused"
holds "the main process is the same" [ "$(property MainPID)" = "$main" ]
holds "and serves" answers backend http://127.0.0.1/
configure <<<"$good"
holds "a reload reaches the new process" inside systemctl reload plimsoll
holds "its status tells of it" has StatusText "serving generation 2"

echo "end, death, and a process that is stuck"
begin_slow
holds "systemctl stop succeeds" inside systemctl stop plimsoll
holds "a request that ran was answered" is_slow_answered
holds "it ended by itself" has Result success
inside systemctl start plimsoll
inside systemctl kill --kill-whom=main --signal=KILL plimsoll
holds "a killed process is replaced" within 100 has NRestarts 1
holds "and serves" within 50 answers backend http://127.0.0.1/
inside systemctl start plimsoll-upgrade
inside systemctl kill --kill-whom=main --signal=KILL plimsoll
holds "so is one that had taken over" within 100 has NRestarts 2
holds "and serves" within 50 answers backend http://127.0.0.1/
inside systemctl kill --kill-whom=main --signal=STOP plimsoll
holds "the watchdog replaces a stuck one" within 300 has NRestarts 3
holds "the journal says so" said "Watchdog timeout"
holds "and it serves" within 50 answers backend http://127.0.0.1/
inside systemctl stop plimsoll
configure <<<"bogus: 1"
holds "with a wrong file it does not start" fails inside systemctl start plimsoll
sleep 2
holds "and is not tried again" has NRestarts 0
holds "it has failed by exit code 2" has ExecMainStatus 2
configure <<<"$good"
inside systemd-run --quiet --unit=other plimsoll backend --listen 127.0.0.1:80
holds "with a port that is taken it does not start" fails inside systemctl start plimsoll
sleep 2
holds "and is not tried again" has NRestarts 0
inside systemctl stop other

echo "socket activation"
configure <<<"${good/127.0.0.1:80/0.0.0.0:80}"
inside systemctl reset-failed
holds "the socket is enabled and started" inside systemctl enable --quiet --now plimsoll-web.socket
holds "the service is not" fails inside systemctl is-active plimsoll
holds "the first request starts it, and is answered" answers backend http://127.0.0.1/
inside sh -c 'for i in $(seq 200); do curl -so /dev/null -w "%{http_code}\n" http://127.0.0.1/; done | sort | uniq -c' >"$tree.asked" &
asking=$!
sleep 0.2
inside systemctl restart plimsoll
wait "$asking"
holds "nobody is refused while it is restarted" [ "$(awk '{ print $1, $2 }' "$tree.asked")" = "200 200" ]
holds "an upgrade takes the socket along" inside systemctl start plimsoll-upgrade
holds "and serves it" answers backend http://127.0.0.1/
inside systemctl disable --quiet --now plimsoll-web.socket
inside systemctl stop plimsoll
configure <<<"$good"

echo "keys that only root may read"
inside sh -c 'mkdir /root/site && cd /root/site && plimsoll cert ca --out . && plimsoll cert issue --ca . --name localhost && chmod 600 *' 2>/dev/null >&2
inside sh -c 'cat >/etc/systemd/system/plimsoll.service.d.tmp' <<<'[Service]
LoadCredential=site.pem:/root/site/localhost.pem
LoadCredential=site.key:/root/site/localhost.key'
inside sh -c 'cd /etc/systemd/system && mkdir -p plimsoll.service.d && mv plimsoll.service.d.tmp plimsoll.service.d/keys.conf && systemctl daemon-reload'
secure='  secure: { address: "127.0.0.1:443", tls: { certificates: [ { cert: "${CREDENTIALS_DIRECTORY}/site.pem", key: "${CREDENTIALS_DIRECTORY}/site.key" } ] } }'
configure <<<"${good/routes:/"$secure"$'\n'routes:}"
holds "the service starts" inside systemctl start plimsoll
holds "and speaks TLS with them" answers backend --cacert /root/site/ca.pem https://localhost/
inside systemctl start plimsoll-upgrade
holds "also after an upgrade" answers backend --cacert /root/site/ca.pem https://localhost/

echo "the package is upgraded, removed, purged"
main=$(property MainPID)
begin_slow
holds "the next version installs" inside dpkg --force-confold --install "/packages/$second"
holds "it has taken over" [ "$(property MainPID)" != "$main" ]
holds "a request that the old one had is answered" is_slow_answered
holds "and new ones" answers backend http://127.0.0.1/
inside systemctl stop fast slow
holds "it is removed" inside dpkg --remove plimsoll
holds "nothing runs" fails inside pgrep plimsoll
holds "the configuration stays" inside test -e /etc/plimsoll/plimsoll.yaml
inside rm -rf /etc/systemd/system/plimsoll.service.d
holds "it is purged" inside dpkg --purge plimsoll
left=$(inside find / -xdev -name '*plimsoll*' -not -path '/packages/*' -not -path '/var/cache/man/*' -not -path '/proc/*' -not -path '/sys/*')
# man keeps what it has shown.
holds "nothing is left${left:+ but $left}" [ -z "$left" ]

((failed == 0)) && echo "all of it holds"
exit "$failed"
