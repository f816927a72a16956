#!/usr/bin/env bash
# npm test [-- --only PATTERN | --list]: sets up if needed, lints, checks types, runs every test.
# The last line is `N passed, N failed, N skipped`, whatever happens.
set -uo pipefail
here=$(dirname "${BASH_SOURCE[0]}")/..

if ! bash "$here/scripts/setup.sh" --for-tests; then
  echo 'FAIL set-up; see above'
  echo
  echo '0 passed, 1 failed, 0 skipped'
  exit 1
fi

# Whoever asks for some tests wants to see those.
checks=--checks
[ $# = 0 ] || checks=
# shellcheck disable=SC2086 # no word if empty
exec node "$here/scripts/run-tests.mjs" $checks "$@"
