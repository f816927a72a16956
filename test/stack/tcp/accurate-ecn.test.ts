/** Accurate ECN (RFC 9768): its option against slow references, and what both ends know of a path that marks. */
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { SeededRandom } from '../../../stack/random.ts'
import { AccurateEcn } from '../../../stack/tcp/accurate-ecn.ts'
import {
  KIND_ACCURATE_0,
  KIND_ACCURATE_1,
  OPTION_COUNTS,
  OPTION_EMPTY,
  OPTION_ZEROED,
  OptionFit,
  optionState,
  readCounters,
} from '../../../stack/tcp/accurate-ecn-option.ts'
import { parseOptions, sackOptionLength, writeSack } from '../../../stack/tcp/options.ts'
import { Segment } from '../../../stack/tcp/segment.ts'
import { sumBytes } from '../../../storage/checksum.ts'
import { patternBytes } from '../../support/raw-peer.ts'
import { chainOf, StreamApplication } from '../../support/stream-application.ts'
import { type FrameFilter, VirtualNetwork } from '../../support/virtual-link.ts'

const CAPABLE_1 = 1
const CAPABLE_0 = 2
const CONGESTED = 3
const seed = Number(process.env.SEED ?? 17)

/** A segment with the option, as it would have come. */
function received(kind: number, counters: readonly number[]): Segment {
  const bytes = [kind, 2 + 3 * counters.length, ...counters.flatMap((n) => [n >>> 16, (n >>> 8) & 255, n & 255])]
  while (bytes.length % 4 !== 0) bytes.push(1)
  const segment = new Segment()
  segment.view = new DataView(Uint8Array.from(bytes).buffer)
  parseOptions(segment, segment.view, 0, bytes.length)
  return segment
}

test('the first option says whether there are counters, and whether somebody zeroes them', () => {
  const cases: [number[], number][] = [
    [[], OPTION_EMPTY],
    [[1], OPTION_COUNTS],
    [[0], OPTION_ZEROED],
    [[1, 0], OPTION_COUNTS],
    [[1, 0, 1], OPTION_COUNTS],
    [[1, 0, 0], OPTION_ZEROED],
  ]
  for (const [counters, state] of cases) assert.is(optionState(received(KIND_ACCURATE_1, counters)), state)
})

test('counters of both orders are followed over their wrap', () => {
  const a = new AccurateEcn()
  const random = new SeededRandom(seed)
  const total = [0, 0, 0, 0]
  for (let round = 0; round < 1000; round++) {
    total[1 + ((random.next() >>> 0) % 3)]! += (random.next() >>> 0) % 1_000_000
    const wire = [0, total[1]! + 1, total[2]! + 1, total[3]!].map((n) => n % 2 ** 24)
    const order = round % 2 === 0 ? [CAPABLE_0, CONGESTED, CAPABLE_1] : [CAPABLE_1, CONGESTED, CAPABLE_0]
    const kind = round % 2 === 0 ? KIND_ACCURATE_0 : KIND_ACCURATE_1
    readCounters(
      a,
      received(
        kind,
        order.map((field) => wire[field]!),
      ),
    )
    for (const field of [CAPABLE_1, CAPABLE_0, CONGESTED])
      assert.is(a.deliveredBytes[field], total[field]! % 2 ** 32, `round ${round}, field ${field}`)
  }
})

test('one counter that grows by itself speaks for what comes without an option', () => {
  const a = new AccurateEcn()
  assert.is(readCounters(a, received(KIND_ACCURATE_0, [101, 0, 1])), false, 'the first time')
  assert.is(a.onlyField, CAPABLE_0)
  assert.is(readCounters(a, received(KIND_ACCURATE_0, [201, 0, 1])), true)
  assert.is(readCounters(a, received(KIND_ACCURATE_0, [301, 100, 51])), false, 'two others as well')
  assert.is(a.onlyField, 0)
  assert.is(readCounters(a, received(KIND_ACCURATE_0, [251, 100, 51])), false, 'an older option')
})

test('as many counters go as there is room for, and SACK blocks make way for what has changed', () => {
  const fit = new OptionFit()
  const a = new AccurateEcn()
  for (const used of [0, 12])
    for (let blocks = 0; blocks <= (used === 0 ? 4 : 3); blocks++)
      for (let fieldsMin = 0; fieldsMin <= 3; fieldsMin++) {
        a.fieldsMin = fieldsMin
        fit.fields = -1
        fit.bytes = 0
        fit.blocks = blocks
        fit.fit(a, used, 40)
        const what = `${used} ${blocks} ${fieldsMin}`
        assert.ok(used + fit.bytes + sackOptionLength(fit.blocks) <= 40, what)
        assert.is(fit.bytes % 4, 0, what)
        if (fit.fields >= 0) assert.ok(fit.fields >= fieldsMin, what)
        else assert.is(fit.blocks, blocks, `${what}: given up for nothing`)
        if (fit.blocks < blocks) assert.ok(fit.blocks >= 2 && fieldsMin > 0, what)
        assert.equal(writeAndParse(fit, used), [fit.fields, fit.blocks], what)
      }
})

/** Writes what was chosen as output.ts does, and reads it as a peer would. @returns counters and blocks */
function writeAndParse(fit: OptionFit, used: number): [number, number] {
  const view = new DataView(new ArrayBuffer(40))
  for (let at = 0; at < used; at++) view.setUint8(at, 1)
  const end = used + fit.bytes + sackOptionLength(fit.blocks)
  if (fit.blocks > 0) writeSack(view, used + fit.bytes, new Int32Array(8), fit.blocks)
  fit.write(view, used, new AccurateEcn())
  const segment = new Segment()
  parseOptions(segment, view, 0, end)
  return [segment.accurateBytes < 0 ? -1 : segment.accurateBytes / 3, segment.sackBlocks]
}

/** Marks every so-manieth packet that can be marked. */
function marking(every: number, fromServer: boolean, onMark: () => void): FrameFilter {
  let carried = 0
  return (frame, fromA) => {
    const view = new DataView(frame.buffer, frame.byteOffset, frame.length)
    if (fromA === fromServer || view.getUint16(12) !== 0x0800 || (frame[15]! & 3) !== CAPABLE_0) return true
    if (++carried % every !== 0) return true
    onMark()
    frame[15]! |= CONGESTED
    view.setUint16(24, 0)
    view.setUint16(24, ~sumBytes(view, 14, 20) & 0xffff)
    return true
  }
}

for (const ecnOption of [0, 1, 2] as const)
  for (const every of [2, 7, 50])
    test(`a path that marks one packet in ${every}, tcp_ecn_option ${ecnOption}: the sender knows how many, or more`, () => {
      let marked = 0
      const bytes = patternBytes(400_000)
      const network = new VirtualNetwork({
        seed,
        buffers: 4096,
        impairment: { delayUs: 5000 },
        tcp: { ecn: 3, ecnOption },
        filter: marking(every, false, () => marked++),
      })
      const server = new StreamApplication(network.poolB)
      network.hostB.tcp.listen(80, server)
      const client = new StreamApplication(network.poolA)
      const c = network.hostA.tcp.connect('10.0.0.2', 80, client)
      client.connected = () => c.send(chainOf(network.poolA, bytes))
      assert.ok(
        network.runUntil(() => server.bytes.length === bytes.length && c.inFlightBytes === 0, 60_000_000),
        `seed ${seed}`,
      )
      assert.equal(Buffer.compare(server.bytes, bytes), 0)
      assert.ok(marked >= 4, `${marked} marks`)
      assert.is(server.connection!.accurateEcn!.receivedMarks, marked)
      // Without bytes to go by an ACK for many packets may hide eight marks: then it is taken to (3.2.2.5.2).
      const told = c.deliveredMarkedSegments
      assert.ok(
        ecnOption === 2 ? told === marked : told >= marked && (told - marked) % 8 === 0,
        `${told} for ${marked}`,
      )
      assert.is(network.hostA.counters.tcp.retransmitted, 0)
      assert.ok(network.hostA.counters.tcp.congestionEchoes >= 1)
      assert.ok(network.hostA.counters.tcp.congestionEchoes <= told)
      if (ecnOption === 2)
        assert.is(c.accurateEcn!.deliveredBytes[CONGESTED], server.connection!.accurateEcn!.receivedBytes[CONGESTED])
    })

test('full segments leave room for the option: nothing is longer than the MTU', () => {
  let longest = 0
  const network = new VirtualNetwork({
    seed,
    buffers: 4096,
    tcp: { ecn: 3 },
    filter(frame) {
      longest = Math.max(longest, frame.length)
      return true
    },
  })
  const server = new StreamApplication(network.poolB)
  network.hostB.tcp.listen(80, server)
  const client = new StreamApplication(network.poolA)
  const c = network.hostA.tcp.connect('10.0.0.2', 80, client)
  client.connected = () => c.send(chainOf(network.poolA, patternBytes(100_000)))
  assert.ok(network.runUntil(() => server.bytes.length === 100_000, 60_000_000))
  assert.is(longest, 1514)
  assert.is(c.sendMss, 1460 - 12 - 12)
})

test.run()
