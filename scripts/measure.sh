#!/usr/bin/env bash
# Measures what docs/results.md shows, on this machine, and writes it anew: about 20 minutes, nothing else should run.
#
#   sudo scripts/measure.sh                 every step
#   sudo scripts/measure.sh table1 sweep    these only
#   sudo scripts/measure.sh --without peers-put,figure2
#
# Each step writes docs/results/STEP.json, and its pictures beside it; one that fails leaves its old files, and the others go
# on. Steps that need a network make a private one. The peers: scripts/setup.sh --for-peers first.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 3

RESULTS=docs/results
STEP_TIMEOUT_S=900
STEPS=(table1 figure2 sweep sweep-keys store-1m peers-put peers-get xdp-frames)

packrat() { node dist/tools/packrat.js "$@"; }

# run_STEP: its document on standard output
run_table1() { packrat bench table1 --tap --json --svg $RESULTS; }
run_figure2() { packrat bench figure2 --seconds 1 --json --svg $RESULTS; }
run_sweep() { packrat bench sweep --curves size,mix,connections,latency,classes --quick --tap --seconds 1 --rounds 5 --json --svg $RESULTS; }
run_sweep-keys() { packrat bench sweep --curves keys --rounds 7 --json --svg $RESULTS; }
run_store-1m() { node dist/tools/bench/store.js --records 1000000 --batch 256 --json; }
run_peers-put() { bash scripts/peers.sh --seconds 1 --rounds 5 --json --svg $RESULTS; }
run_peers-get() { bash scripts/peers.sh --method GET --connections 1,16,64 --seconds 1 --rounds 5 --json --svg $RESULTS; }
run_xdp-frames() { bash scripts/xdp-frames/run.sh --rounds 5 --seconds 1 --json; }

usage() { echo "usage: $0 [--without STEP,...] [STEP...]; steps: ${STEPS[*]}" >&2; exit 2; }

is_step() { [[ " ${STEPS[*]} " == *" $1 "* ]]; }

wanted=()
without=()
while [ $# -gt 0 ]; do
  case $1 in
    --without) [ $# -gt 1 ] || usage; IFS=, read -ra without <<<"$2"; shift 2 ;;
    -*) usage ;;
    *) wanted+=("$1"); shift ;;
  esac
done
for step in "${wanted[@]}" "${without[@]}"; do is_step "$step" || usage; done
[ ${#wanted[@]} -gt 0 ] || wanted=("${STEPS[@]}")
[ -e dist/tools/packrat.js ] || { echo 'measure: Packrat is not built; run: npm run build' >&2; exit 3; }

export -f packrat
export RESULTS
document=$(mktemp)
step_process=
# A step ends with this script, and no other begins.
stop() {
  if [ -n "$step_process" ]; then
    kill -TERM "$step_process" 2>/dev/null
    wait "$step_process"
  fi
  exit 1
}
trap 'rm -f "$document"' EXIT
trap stop INT TERM HUP
failed=()
for step in "${wanted[@]}"; do
  [[ " ${without[*]-} " != *" $step "* ]] || continue
  started=$SECONDS
  echo "measure: $step" >&2
  export -f "run_$step"
  # A process group of its own: all of it ends at the limit, or what is late would slow down what is measured next.
  timeout "$STEP_TIMEOUT_S" bash -c "run_$step" >"$document" &
  step_process=$!
  if wait "$step_process" && [ -s "$document" ]; then
    cp "$document" "$RESULTS/$step.json"
    echo "measure: $step took $((SECONDS - started)) s" >&2
  else
    echo "measure: $step failed; docs/results/$step.json stays as it was" >&2
    failed+=("$step")
  fi
  step_process=
done
node dist/tools/bench/results.js || failed+=(results)
[ ${#failed[@]} = 0 ] || { echo "measure: failed: ${failed[*]}" >&2; exit 1; }
