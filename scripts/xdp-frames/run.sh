#!/usr/bin/env bash
# Frames a second over AF_XDP on a veth pair: Packrat's device beside a minimal loop in C (loop.c), in turns.
#
#   sudo scripts/xdp-frames/run.sh [--rounds N] [--seconds N] [--json]
#
# One core for what is measured, another for the sender; frames of 60 bytes. Everything in a private network.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
rounds=5
seconds=2
json=no
while [ $# -gt 0 ]; do
  case "$1" in
    --rounds) rounds=$2; shift 2 ;;
    --seconds) seconds=$2; shift 2 ;;
    --json) json=yes; shift ;;
    *) echo "usage: $0 [--rounds N] [--seconds N] [--json]" >&2; exit 2 ;;
  esac
done
[ "$(id -u)" = 0 ] || { echo 'xdp-frames: AF_XDP needs root; run it with sudo' >&2; exit 3; }
if [ "${PACKRAT_XDP_FRAMES:-}" != inside ]; then
  work=$(mktemp -d /dev/shm/packrat-xdp-frames-XXXXXX)
  trap 'rm -rf "$work"' EXIT
  gcc -O2 -o "$work/loop" "$here/loop.c"
  # In a process namespace, which ends as a whole: the programs below have process groups of their own.
  PACKRAT_XDP_FRAMES=inside WORK=$work unshare --net --pid --fork --kill-child --mount-proc \
    bash "$here/run.sh" --rounds "$rounds" --seconds "$seconds" >"$work/table" &
  run=$!
  trap 'kill -KILL "$run" 2>/dev/null || true' INT TERM HUP
  wait "$run"
  [ "$json" = yes ] || { cat "$work/table"; exit; }
  node "$here/document.mjs" "$rounds" "$seconds" <"$work/table"
  exit
fi

ip link add pr-a type veth peer name pr-b
ip link set pr-a up
ip link set pr-b up
server_mac=$(ip link show pr-b | awk '/ether/ {print $2}')
longer=$((seconds + 2))

# Sends from the other end while "$@" receives.
flooded() {
  taskset -c 1 timeout $((longer + 5)) "$WORK/loop" tx pr-a "$longer" "$server_mac" > /dev/null &
  sender=$!
  sleep 0.5
  local status=0
  taskset -c 0 timeout $((longer + 10)) "$@" || status=$?
  wait $sender || true
  return $status
}
device() { rm -f "$WORK"/region*; node "$here/device.mjs" "$1" pr-b "$seconds" "$WORK/region" "${2:-}"; }
export -f device
export WORK here seconds

echo "round  C receives  device receives  ratio   C sends  device sends  ratio"
for round in $(seq "$rounds"); do
  c_rx=$(flooded "$WORK/loop" rx pr-b "$seconds")
  js_rx=$(flooded bash -c 'device rx')
  c_tx=$(taskset -c 0 timeout 30 "$WORK/loop" tx pr-b "$seconds" 02:00:00:00:00:09)
  js_tx=$(taskset -c 0 timeout 30 bash -c 'device tx 02:00:00:00:00:09')
  awk -v r="$round" -v a="$c_rx" -v b="$js_rx" -v c="$c_tx" -v d="$js_tx" \
    'BEGIN { printf "%5d %11d %16d %6.2f %9d %13d %6.2f\n", r, a, b, b / a, c, d, d / c }'
done
