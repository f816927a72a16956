#!/usr/bin/env bash
# npm run crash [-- --json --images N --seed S --processes P]: crash images and mutants of the store; docs/durability.md.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

bash scripts/setup.sh >&2
exec node --enable-source-maps dist/test/crash/run.js "$@"
