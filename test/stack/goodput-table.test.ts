/**
 * Goodput over a grid of loss and round-trip time in virtual time, against the table kept in goodput-golden.txt: no cell
 * may move by more than the band, in either direction. Random figures from fixed seeds, so they move only when TCP does.
 *
 * PACKRAT_WRITE_GOLDEN=1 writes the table anew; the difference is then to be read before it is committed.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { BulkSender, CountingReceiver } from '../support/bulk-sender.ts'
import { ImpairedLab } from '../support/impaired-lab.ts'

const GOLDEN = join(import.meta.dirname, '../../../test/stack/goodput-golden.txt')
const SECOND_US = 1_000_000
const BYTES = 3_000_000
const SEEDS = [1, 2, 3, 4]
const RATE_MBIT = 100
/** Longest round trip times rate: a queue that does not lose by itself before slow start has filled the path. */
const QUEUE = '2500K'
const END_US = 1200 * SECOND_US
const BAND = 0.15
/** All cells together move less than one. */
const BAND_MEAN = 0.05
const LOSS_PERCENT = [0, 0.1, 0.5, 1, 2, 5]
const RTT_MS = [1, 10, 50, 200]
const SEGMENT_BYTES = 1448
const SIZES = { small: 64_000, large: 4_000_000 }
const TABLES = [
  { name: 'cubic, small buffers', congestion: 'cubic', bufferBytes: SIZES.small },
  { name: 'cubic, large buffers', congestion: 'cubic', bufferBytes: SIZES.large },
  { name: 'reno, large buffers', congestion: 'reno', bufferBytes: SIZES.large },
] as const
type Table = (typeof TABLES)[number]

const HEADER = `Goodput in virtual time, Mbit/s: ${BYTES / 1e6} MB over a link of ${RATE_MBIT} Mbit/s with a queue of ${QUEUE}, loss of data
segments only, handshake and slow start included, mean of ${SEEDS.length} seeds. Buffers: small ${SIZES.small / 1000} kB, large ${SIZES.large / 1e6} MB.
Written by goodput-table.test.ts with PACKRAT_WRITE_GOLDEN=1.
`

/** Mbit/s of one transfer. */
function transfer(table: Table, lossPercent: number, rttMs: number, seed: number): number {
  const tcp = { congestion: table.congestion }
  const impairment = `delay=${rttMs * 500}us;tx:rate=${RATE_MBIT}mbit,queue=${QUEUE},loss=${lossPercent}%`
  const buffers = 8192
  const lab = new ImpairedLab({ impairment, seed, a: { tcp, buffers }, b: { tcp, buffers }, heldBuffersMax: 8192 })
  const limits = { sendLimitBytes: table.bufferBytes, receiveLimitBytes: table.bufferBytes }
  const receiver = new CountingReceiver(lab.poolB)
  lab.hostB.tcp.listen(80, receiver, limits)
  const startUs = lab.nowUs
  lab.hostA.tcp.connect('10.0.0.2', 80, new BulkSender(lab.poolA, new Uint8Array(BYTES)), limits)
  assert.ok(
    lab.runUntil(() => receiver.totalBytes === BYTES, END_US),
    `seed ${seed}: everything has arrived`,
  )
  const tookUs = lab.nowUs - startUs
  lab.close()
  return (BYTES * 8) / tookUs
}

type Cells = Map<string, number>

function cellName(table: Table, lossPercent: number, rttMs: number): string {
  return `${table.name}, ${lossPercent} %, ${rttMs} ms`
}

function measure(): Cells {
  const cells: Cells = new Map()
  for (const table of TABLES)
    for (const loss of LOSS_PERCENT)
      for (const rtt of RTT_MS) {
        const sum = SEEDS.reduce((total, seed) => total + transfer(table, loss, rtt, seed), 0)
        cells.set(cellName(table, loss, rtt), sum / SEEDS.length)
      }
  return cells
}

function format(cells: Cells): string {
  const lines = [HEADER]
  for (const table of TABLES) {
    lines.push(`${table.name.padEnd(22)}${RTT_MS.map((rtt) => `${rtt} ms`.padStart(9)).join('')}`)
    for (const loss of LOSS_PERCENT) {
      const row = RTT_MS.map((rtt) =>
        cells
          .get(cellName(table, loss, rtt))!
          .toFixed(2)
          .padStart(9),
      )
      lines.push(`${`  ${loss} % loss`.padEnd(22)}${row.join('')}`)
    }
    lines.push('')
  }
  return lines.join('\n')
}

function parse(text: string): Cells {
  const cells: Cells = new Map()
  let table: Table | undefined
  for (const line of text.split('\n')) {
    table = TABLES.find((each) => line.startsWith(`${each.name}  `)) ?? table
    const [, loss, row] = /^ {2}([\d.]+) % loss(.*)$/.exec(line) ?? []
    if (table === undefined || loss === undefined) continue
    const figures = row!.trim().split(/\s+/).map(Number)
    RTT_MS.forEach((rtt, column) => {
      cells.set(cellName(table!, Number(loss), rtt), figures[column]!)
    })
  }
  return cells
}

const measured = measure()

if (process.env.PACKRAT_WRITE_GOLDEN === '1') {
  writeFileSync(GOLDEN, format(measured))
  console.log(`wrote ${GOLDEN}`)
}

test(`no cell of the golden table has moved by more than ${BAND * 100} %, and their mean by ${BAND_MEAN * 100} %`, () => {
  const golden = parse(readFileSync(GOLDEN, 'utf8'))
  assert.is(golden.size, measured.size)
  const moved: string[] = []
  let logarithms = 0
  for (const [name, mbit] of measured) {
    const ratio = mbit / golden.get(name)!
    logarithms += Math.log(ratio)
    // Written so that a figure that is no number counts as moved.
    if (!(Math.abs(ratio - 1) <= BAND)) moved.push(`${name}: ${mbit.toFixed(2)} Mbit/s, was ${golden.get(name)}`)
  }
  const mean = Math.exp(logarithms / measured.size)
  console.log(`mean of ${measured.size} cells: ${mean.toFixed(4)} of the golden table`)
  assert.is(moved.length, 0, moved.join('\n'))
  assert.ok(Math.abs(mean - 1) <= BAND_MEAN, `mean ratio ${mean}`)
})

test('without loss the link is full once buffers are large, and small buffers bound it by a window a round trip', () => {
  for (const rtt of [1, 10]) assert.ok(measured.get(cellName(TABLES[1], 0, rtt))! >= RATE_MBIT * 0.8, `${rtt} ms`)
  for (const rtt of RTT_MS)
    assert.ok(measured.get(cellName(TABLES[0], 0, rtt))! <= (SIZES.small * 8) / (rtt * 1000), `${rtt} ms, small`)
})

test('with loss Reno gets what its formula says, and CUBIC is not behind it', () => {
  for (const loss of [1, 2, 5])
    for (const rtt of [50, 200]) {
      // Mathis, Semke, Mahdavi and Ott (1997): 1.22 segments a round trip, over the root of the loss. Time-outs take from it.
      const formula = (1.22 * SEGMENT_BYTES * 8) / (rtt * 1000) / Math.sqrt(loss / 100)
      const reno = measured.get(cellName(TABLES[2], loss, rtt))!
      const cubic = measured.get(cellName(TABLES[1], loss, rtt))!
      assert.ok(
        reno >= formula * 0.6 && reno <= formula * 2,
        `${loss} %, ${rtt} ms: ${reno} Mbit/s, formula ${formula}`,
      )
      assert.ok(cubic >= reno * 0.9, `${loss} %, ${rtt} ms: CUBIC ${cubic}, Reno ${reno} Mbit/s`)
    }
})

test.run()
