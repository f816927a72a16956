#!/usr/bin/env bash
# npm run bench [-- --json]: measures Packrat beside its peers on this machine; see scripts/peers.sh for the flags.
set -euo pipefail
here=$(dirname "${BASH_SOURCE[0]}")/..

bash "$here/scripts/setup.sh" --for-peers
exec bash "$here/scripts/peers.sh" "$@"
