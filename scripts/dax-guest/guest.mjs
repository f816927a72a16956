/**
 * Inside the guest of run.sh, on a file system with DAX: whatever an earlier run acknowledged is there, and then keys are
 * written until the machine is switched off. Each line `acknowledged N` was printed after N was durable.
 */
import { existsSync } from 'node:fs'
import { Region } from '../../dist/storage/region.js'
import { Store } from '../../dist/storage/store.js'

const PATH = '/pm/region.pm'
const REGION_BYTES = 48 << 20
const KEYS = 2000
const WRITES_MAX = 200_000

const value = (n) => Buffer.alloc(100 + (n % 3000), `${n};`)

if (!existsSync(PATH)) Region.create(PATH, { bytes: REGION_BYTES })
const region = new Region(PATH, { durability: 'dax' })
let state = 1
const random = () => {
  state = Math.imul(state, 1664525) + 1013904223
  return state
}
const store = new Store(region, { random })
region.markOpen()
const { durability } = region
console.log(`guest: class ${durability.class} (${durability.evidence.join('; ')}), flush ${region.flushInstruction}`)
console.log(`guest: ${store.records} records, ${store.report.corrupt.length} corrupt`)

function wrong(what) {
  console.log(`guest: WRONG ${what}`)
  process.exit(1)
}

if (store.report.corrupt.length > 0) wrong('records are corrupt')
const numbers = []
for (const { key } of store.entries()) {
  const bytes = Buffer.from(store.get(key))
  const n = Number(bytes.toString('latin1').split(';')[0])
  if (!bytes.equals(value(n)) || Buffer.from(key).toString() !== `key-${n % KEYS}`) wrong(Buffer.from(key))
  numbers.push(n)
}
const newest = Math.max(-1, ...numbers)
// Keys are written in turn: each has the last of its numbers, and none is missing.
if (numbers.length !== Math.min(newest + 1, KEYS) || numbers.some((n) => n <= newest - KEYS))
  wrong('a record is missing, or an old one')
console.log(`guest: newest ${newest}`)
for (let n = newest + 1; n < newest + 1 + WRITES_MAX; n++) {
  await store.put(Buffer.from(`key-${n % KEYS}`), value(n))
  if (n % 64 === 0) await new Promise((resolve) => process.stdout.write(`acknowledged ${n}\n`, resolve))
}
