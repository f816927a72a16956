#!/usr/bin/env bash
# Makes a fresh clone runnable: checks Node, installs what npm and the compiler need, builds. Run again, it does only
# what has changed since; with nothing changed it takes a fraction of a second.
#
#   scripts/setup.sh [--for-tests] [--for-peers]
#     --for-tests   also the programs that the tests talk to Packrat with (curl, wrk, iperf3, ...)
#     --for-peers   also the servers that scripts/peers.sh compares with (nginx, Redis; LMDB and LevelDB into .peers/)
#
# Called by: npm start, npm test, npm run setup|coverage|bench.
# Missing system packages are installed with apt-get when that is possible (root, Debian or Ubuntu). Where it is not,
# the command to run is printed: a missing compiler ends the set-up, a missing test program is a warning.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

NODE_MINIMUM=20.19
APT_TIMEOUT_S=600
STAMP=.setup-done
PEER_PACKAGES='lmdb@3 classic-level@3'

say() { printf 'setup: %s\n' "$*" >&2; }
die() { say "$*"; exit 3; }

# What must not be left behind, however this ends. A signal waits for the program that runs: it may still need them.
temporary=()
remove_temporary() { [ ${#temporary[@]} = 0 ] || rm -f "${temporary[@]}"; }
trap remove_temporary EXIT
trap 'exit 1' INT TERM HUP

for_tests=no
for_peers=no
for argument in "$@"; do
  case $argument in
    --for-tests) for_tests=yes ;;
    --for-peers) for_tests=yes for_peers=yes ;;
    *) say "unknown flag $argument (known: --for-tests, --for-peers)"; exit 2 ;;
  esac
done

# check_node: an old Node fails later with errors that do not name their cause.
check_node() {
  command -v node >/dev/null || die "Node.js is not installed; install version $NODE_MINIMUM or newer (https://nodejs.org)"
  command -v npm >/dev/null || die 'npm is not installed; install it beside Node.js'
  node -e '
    const [major, minor] = process.versions.node.split(".").map(Number)
    const [wantedMajor, wantedMinor] = process.argv[1].split(".").map(Number)
    process.exit(major > wantedMajor || (major === wantedMajor && minor >= wantedMinor) ? 0 : 1)
  ' "$NODE_MINIMUM" || die "Node.js $(node --version) is too old; install version $NODE_MINIMUM or newer (https://nodejs.org)"
}

# missing_packages COMMAND=PACKAGE...: the packages whose command is not there.
missing_packages() {
  local pair
  for pair in "$@"; do
    command -v "${pair%%=*}" >/dev/null 2>&1 || [ -x "/usr/sbin/${pair%%=*}" ] || printf '%s ' "${pair#*=}"
  done
}

# install_packages PACKAGE...: fails if that is impossible here; the caller decides how bad that is.
install_packages() {
  if ! command -v apt-get >/dev/null; then
    say "install with your package manager (Debian names): $*"
    return 1
  fi
  if [ "$(id -u)" != 0 ]; then
    say "run: sudo apt-get install --no-install-recommends $*"
    return 1
  fi
  say "installing $*"
  # Debian starts a service as it installs it, unless this file says no: no nginx may appear on this machine's port 80.
  local policy=/usr/sbin/policy-rc.d log
  if [ ! -e "$policy" ]; then
    temporary+=("$policy")
    printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod 755 "$policy"
  fi
  log=$(mktemp)
  temporary+=("$log")
  local status=0
  # In the foreground Ctrl-C reaches apt-get, too.
  {
    export DEBIAN_FRONTEND=noninteractive
    timeout --foreground "$APT_TIMEOUT_S" apt-get update -q -o Acquire::Retries=1 &&
      timeout --foreground "$APT_TIMEOUT_S" apt-get install -y -q --no-install-recommends "$@"
  } >"$log" 2>&1 </dev/null || status=$?
  if [ "$status" != 0 ]; then
    tail -n 20 "$log" >&2
    say "apt-get could not install: $*"
  fi
  remove_temporary
  temporary=()
  return "$status"
}

# changed_since STAMP: is any build input newer?
changed_since() {
  [ -e "$1" ] || return 0
  [ -n "$(find package.json package-lock.json tsconfig.json storage drivers stack tools test scripts/build-native.mjs \
    \( -name node_modules -o -name build \) -prune -o -type f -newer "$1" \
    \( -name '*.ts' -o -name '*.c' -o -name '*.h' -o -name '*.gyp' -o -name '*.json' -o -name '*.mjs' \) -print -quit)" ]
}

install_dependencies() {
  # npm writes this file last, so it stands for a complete installation.
  local installed=node_modules/.package-lock.json
  if [ -e "$installed" ] && [ ! package-lock.json -nt "$installed" ] && [ ! package.json -nt "$installed" ]; then
    return 0
  fi
  say 'installing npm packages'
  if [ -e package-lock.json ]; then
    npm ci --no-audit --no-fund --loglevel=error >&2 </dev/null
  else
    npm install --no-audit --no-fund --loglevel=error >&2 </dev/null
  fi
}

check_node

if changed_since "$STAMP" || [ ! -e dist/tools/packrat.js ] || [ ! -e node_modules/.package-lock.json ]; then
  compiler=$(missing_packages cc=gcc g++=g++ make=make python3=python3)
  # shellcheck disable=SC2086 # a list of words
  [ -z "$compiler" ] || install_packages $compiler || die "the native parts cannot be built without: $compiler"
  started=$(mktemp)
  temporary+=("$started")
  install_dependencies
  say 'building'
  npm run --silent build >&2 </dev/null || die 'the build failed; its messages are above'
  # Dated before the build, so that a source saved during it is built next time.
  touch -r "$started" "$STAMP"
fi

if [ "$for_tests" = yes ]; then
  programs='iperf3=iperf3 wrk=wrk curl=curl ethtool=ethtool tshark=tshark ip=iproute2 ping=iputils-ping nc=netcat-openbsd'
  programs="$programs nmap=nmap hping3=hping3"
  [ "$for_peers" = no ] || programs="$programs nginx=nginx-light redis-server=redis-server redis-benchmark=redis-tools"
  # shellcheck disable=SC2086
  programs=$(missing_packages $programs)
  if [ -n "$programs" ]; then
    # shellcheck disable=SC2086
    install_packages $programs || say "WARNING: without $programs some tests will be skipped"
  fi
fi

# Not among the project's dependencies: only the comparison needs them, and it goes on without them.
if [ "$for_peers" = yes ] && [ ! -e .peers/node_modules/lmdb ]; then
  say 'installing lmdb and classic-level into .peers'
  # shellcheck disable=SC2086 # a list of words
  npm install --prefix .peers --no-audit --no-fund --no-package-lock --loglevel=error $PEER_PACKAGES >&2 </dev/null ||
    say 'WARNING: npm could not install them; the comparison goes on without'
fi
