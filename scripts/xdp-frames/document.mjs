/**
 * The table of run.sh on standard input as one JSON document, with what it was measured on. Called by: run.sh --json.
 *
 *   node scripts/xdp-frames/document.mjs ROUNDS SECONDS
 */
import { readFileSync } from 'node:fs'
import { describeEnvironment } from '../../dist/tools/bench/environment.js'

const [rounds, seconds] = process.argv.slice(2).map(Number)
const lines = readFileSync(0, 'latin1').trim().split('\n').slice(1)
const frames = lines.map((line) => {
  const [, cReceives, deviceReceives, , cSends, deviceSends] = line.trim().split(/\s+/).map(Number)
  return { cReceives, deviceReceives, cSends, deviceSends }
})
if (frames.length !== rounds || frames.some((row) => Object.values(row).some((value) => !(value > 0)))) {
  console.error('xdp-frames: not every round has its figures')
  process.exit(1)
}
const command = `scripts/xdp-frames/run.sh --rounds ${rounds} --seconds ${seconds}`
console.log(JSON.stringify({ environment: describeEnvironment('AF_XDP on veth', 'none', command), frames }, null, 2))
