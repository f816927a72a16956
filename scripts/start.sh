#!/usr/bin/env bash
# npm start [-- FLAGS]: sets up if needed, then runs the daemon in this terminal with FLAGS.
#
# The daemon makes a TAP interface, for which Linux wants the capability CAP_NET_ADMIN.
set -euo pipefail
here=$(dirname "${BASH_SOURCE[0]}")/..

CAP_NET_ADMIN=12 # bit number; linux/capability.h

may_make_interfaces() {
  local effective
  effective=$(awk '/^CapEff:/ { print $2 }' /proc/self/status)
  (( (16#$effective >> CAP_NET_ADMIN) & 1 ))
}

asks_for_help() {
  local argument
  for argument in "$@"; do [ "$argument" != --help ] || return 0; done
  return 1
}

bash "$here/scripts/setup.sh"

if ! asks_for_help "$@" && ! may_make_interfaces; then
  cat >&2 <<'HINT'
packrat: a TAP interface cannot be made without CAP_NET_ADMIN; use one of
  sudo npm start       on this machine's network
  unshare -Urn bash    a private network, to try it out without root; in its shell: ip link set lo up; npm start &
HINT
  exit 3
fi

exec node "$here/dist/tools/packrat.js" serve "$@"
