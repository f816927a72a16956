#!/usr/bin/env bash
# Compares Packrat with its peers: requests a second and latency of small PUTs or GETs, and iperf3, all in one run on this machine.
# Flags: --help; what is measured, and how: scripts/peers.mjs; the servers: scripts/peers/servers.mjs.
#
# Everything happens in network, process and mount namespaces of its own: no interface, process or file is left behind,
# and the machine's own network is not touched.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

RUN_TIMEOUT_S=1800

namespaces=(--net --pid --fork --kill-child --mount-proc)
[ "$(id -u)" = 0 ] || namespaces+=(--user --map-root-user)
if ! unshare "${namespaces[@]}" true 2>/dev/null; then
  echo 'peers: no private namespaces here (unshare needs root, or user namespaces); try sudo' >&2
  exit 3
fi
if [ ! -e "$here/dist/tools/packrat.js" ]; then
  echo 'peers: Packrat is not built; run: npm run build' >&2
  exit 3
fi
# timeout has a process group of its own: what ends this script, Ctrl-C among it, would not reach it.
timeout "$RUN_TIMEOUT_S" unshare "${namespaces[@]}" node "$here/scripts/peers.mjs" "$@" &
run=$!
trap 'kill -TERM "$run" 2>/dev/null || true' INT TERM HUP
status=0
# A signal ends the first wait only.
while kill -0 "$run" 2>/dev/null; do
  status=0
  wait "$run" || status=$?
done
exit "$status"
