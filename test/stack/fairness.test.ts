/**
 * Flows that share a bottleneck share it evenly: Jain's index of what each got in a window of virtual time, after the
 * flows have come in one by one. The bottleneck is full meanwhile.
 */
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { BulkSender, CountingReceiver } from '../support/bulk-sender.ts'
import { ImpairedLab } from '../support/impaired-lab.ts'
import { announceSeed } from '../support/random.ts'

const seed = announceSeed('fairness', 5)
const SECOND_US = 1_000_000
const RATE_MBIT = 16
/** 40 ms there and back: the path holds 55 full segments, the queue 110 more. */
const BOTTLENECK = `delay=20ms;tx:rate=${RATE_MBIT}mbit,queue=160K`
/** Apart from each other when they start, so that they do not march in step. */
const START_EVERY_US = 137_000
const SETTLE_US = 10 * SECOND_US
const WINDOW_US = 30 * SECOND_US
const JAIN_MIN = 0.9
/** More than a flow gets. */
const BYTES = (RATE_MBIT / 8) * 60_000_000
const LIMITS = { sendLimitBytes: 400_000, receiveLimitBytes: 2_000_000 }

/** Jain, Chiu and Hawe (1984): 1 if all are equal, 1/n if one has everything. */
function jainIndex(shares: number[]): number {
  const sum = shares.reduce((total, share) => total + share, 0)
  return sum ** 2 / (shares.length * shares.reduce((total, share) => total + share ** 2, 0))
}

/** @returns what each flow got in the window, bytes */
function share(flows: number, congestion: 'cubic' | 'reno'): number[] {
  const tcp = { congestion }
  const buffers = 16_384
  const lab = new ImpairedLab({ impairment: BOTTLENECK, seed, a: { tcp, buffers }, b: { tcp }, heldBuffersMax: 2048 })
  const receiver = new CountingReceiver(lab.poolB)
  lab.hostB.tcp.listen(80, receiver, LIMITS)
  const bytes = new Uint8Array(BYTES)
  for (let flow = 0; flow < flows; flow++)
    lab.at(lab.nowUs + flow * START_EVERY_US, () => {
      lab.hostA.tcp.connect('10.0.0.2', 80, new BulkSender(lab.poolA, bytes), LIMITS)
    })
  lab.runFor(flows * START_EVERY_US + SETTLE_US)
  const before = new Map(receiver.bytesByPort)
  lab.runFor(WINDOW_US)
  const shares = [...receiver.bytesByPort].map(([port, got]) => got - before.get(port)!)
  lab.close()
  return shares
}

for (const congestion of ['cubic', 'reno'] as const)
  for (const flows of [2, 4, 8, 16])
    test(`${flows} flows, ${congestion}: Jain's index is at least ${JAIN_MIN}, and the bottleneck is full`, () => {
      const shares = share(flows, congestion)
      const index = jainIndex(shares)
      const mbit = shares.reduce((total, got) => total + got * 8, 0) / WINDOW_US
      console.log(`${flows} ${congestion}: Jain ${index.toFixed(3)}, ${mbit.toFixed(1)} of ${RATE_MBIT} Mbit/s`)
      assert.is(shares.length, flows)
      assert.ok(index >= JAIN_MIN, `${index}: ${shares.join(' ')}`)
      assert.ok(mbit >= RATE_MBIT * 0.85, `${mbit} Mbit/s`)
    })

test.run()
