#!/usr/bin/env bash
# npm run coverage: runs the tests under c8 and prints the coverage of the TypeScript sources; HTML in coverage/.
# Node writes coverage when a process ends in order, so what a kill -9 test ran before the kill is not counted.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

bash scripts/setup.sh --for-tests
exec node_modules/.bin/c8 --all --src . \
  --include 'dist/storage/**' --include 'dist/stack/**' --include 'dist/drivers/**' --include 'dist/tools/**' \
  --exclude 'dist/test/**' --exclude-after-remap=false \
  --reporter text --reporter html --reports-dir coverage --temp-directory coverage/raw \
  node scripts/run-tests.mjs "$@"
