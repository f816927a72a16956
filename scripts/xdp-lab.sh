#!/usr/bin/env bash
# A link for AF_XDP between two private networks on this machine.
#
#   scripts/xdp-lab.sh up       packrat-a (client, pr-a, 10.88.0.1/24) ── veth ── packrat-b (Packrat, pr-b, 10.88.0.2)
#   scripts/xdp-lab.sh down     removes both, and ends what still runs in them
#
#   sudo scripts/xdp-lab.sh up
#   sudo ip netns exec packrat-b packrat serve --device xdp:pr-b --address 10.88.0.2/24 --pm /dev/shm/lab.pm
#   sudo ip netns exec packrat-a curl -T README.md http://10.88.0.2/kv/readme
#
# pr-b has no address of the kernel's: 10.88.0.2 belongs to Packrat's own stack. The kernel on the client's side has to
# finish its checksums and cut its segments itself (tx off, tso off): no card does it on the way.
set -euo pipefail

CLIENT=packrat-a
SERVER=packrat-b
QUEUES=${PACKRAT_LAB_QUEUES:-1}

exists() { ip netns list | grep -qE "^$1( |$)"; }

down() {
  for name in $CLIENT $SERVER; do
    exists $name || continue
    for pid in $(ip netns pids $name); do kill -9 "$pid" 2>/dev/null || true; done
    # A veth goes with either end; a process that just ended may hold the name for a moment.
    ip netns delete $name
  done
}

up() {
  for name in $CLIENT $SERVER; do
    if exists $name; then
      echo "xdp-lab: the network $name exists; take it down first: $0 down" >&2
      exit 3
    fi
  done
  trap down ERR
  ip netns add $CLIENT
  ip netns add $SERVER
  ip link add pr-a netns $CLIENT numrxqueues "$QUEUES" numtxqueues "$QUEUES" type veth \
    peer name pr-b netns $SERVER numrxqueues "$QUEUES" numtxqueues "$QUEUES"
  ip -n $CLIENT link set lo up
  ip -n $SERVER link set lo up
  ip -n $CLIENT address add 10.88.0.1/24 dev pr-a
  ip -n $CLIENT link set pr-a up
  ip -n $SERVER link set pr-b up
  ip netns exec $CLIENT ethtool -K pr-a tx off tso off gso off >/dev/null
  trap - ERR
  echo "xdp-lab: $CLIENT has pr-a 10.88.0.1/24, $SERVER has pr-b for 10.88.0.2/24"
}

if [ "$(id -u)" != 0 ]; then
  echo 'xdp-lab: networks need root; run it with sudo' >&2
  exit 3
fi
case "${1:-}" in
  up) command -v ethtool >/dev/null || { echo 'xdp-lab: ethtool is not installed; apt-get install ethtool' >&2; exit 3; }
      up ;;
  down) down ;;
  *) echo "usage: $0 up|down" >&2; exit 2 ;;
esac
