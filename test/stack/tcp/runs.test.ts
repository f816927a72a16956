/**
 * Runs of segments that leave as one frame (runs.ts), in virtual time. The device checks every frame: its checksum, its
 * headers, and that its flags fit.
 */
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { ConnectionOptions } from '../../../stack/tcp/application.ts'
import { ADDRESSES, ImpairedLab, type LabOptions } from '../../support/impaired-lab.ts'
import { announceSeed } from '../../support/random.ts'
import { patternBytes } from '../../support/raw-peer.ts'
import { chainOf, StreamApplication } from '../../support/stream-application.ts'

const seed = announceSeed('runs', 64)
const MSS = 1448
const SECOND_US = 1_000_000
const FLAGS_AT = 14 + 20 + 13
const FIN = 1
const SYN = 2
const PSH = 8

interface Sent {
  payload: number
  flags: number
}

interface Transfer {
  lab: ImpairedLab
  server: StreamApplication
  client: StreamApplication
  /** IPv4 segments from the server behind its SYN, as they are on the wire. */
  wire: Sent[]
}

/** The server of host B sends `bytes` in views of `viewBytes`, then its FIN; the client reads everything. */
function transfer(
  bytes: Uint8Array,
  viewBytes: number,
  options: Partial<LabOptions> = {},
  listen: ConnectionOptions = {},
  version: 0 | 1 = 0,
): Transfer {
  const wire: Sent[] = []
  const { filter } = options
  const lab = new ImpairedLab({
    impairment: 'delay=1ms',
    seed,
    segmentsTcp: 'cut',
    ipv6: true,
    ...options,
    filter: (frame, direction, index) => {
      const isTcp = frame[12] === 8 && frame[13] === 0 && frame[23] === 6
      if (direction === 'b-to-a' && isTcp && (frame[FLAGS_AT]! & SYN) === 0)
        wire.push({ payload: frame.length - 66, flags: frame[FLAGS_AT]! })
      return filter?.(frame, direction, index) ?? 'pass'
    },
  })
  const client = new StreamApplication(lab.poolA)
  const server = new StreamApplication(lab.poolB)
  lab.hostB.tcp.listen(80, server, listen)
  server.connected = (c) => {
    c.send(chainOf(lab.poolB, bytes, viewBytes))
    c.shutdown()
  }
  lab.hostA.tcp.connect(ADDRESSES[1][version], 80, client)
  assert.ok(lab.runUntil(() => client.finished, 60 * SECOND_US))
  assert.equal(Buffer.concat(client.received), Buffer.from(bytes))
  return { lab, server, client, wire }
}

test('what the window lets go leaves as runs; the wire has full segments, PSH and FIN on the last', () => {
  for (const viewBytes of [MSS, 2048, 1000, 333]) {
    const bytes = patternBytes(400_000)
    const { lab, server, wire } = transfer(bytes, viewBytes)
    const device = lab.deviceB!
    const data = wire.filter(({ payload }) => payload > 0)
    const full = Math.floor(bytes.length / MSS)
    assert.is(data.filter(({ payload }) => payload === MSS).length, full, `views of ${viewBytes}`)
    assert.is(data.length, full + 1)
    assert.ok(data.slice(0, -1).every(({ flags }) => (flags & (PSH | FIN)) === 0))
    assert.is(data.at(-1)!.flags & (PSH | FIN), PSH | FIN)
    assert.ok(device.runs > 0 && device.runs < 40, `${device.runs} runs`)
    assert.is(lab.hostB.counters.tcp.runsSent, device.runs)
    assert.is(server.connection!.dataSegmentsOut, data.length, 'segments are counted, not frames')
    assert.is(lab.hostB.counters.tcp.retransmitted, 0)
    lab.close()
  }
})

test('over IPv6, too', () => {
  const { lab } = transfer(patternBytes(200_000), 2048, {}, {}, 1)
  assert.ok(lab.deviceB!.runs > 0)
  assert.is(lab.hostA.counters.tcp.dropChecksum, 0)
  lab.close()
})

test('the first run is the initial window, and no run is longer than a packet', () => {
  const { lab, wire } = transfer(patternBytes(2_000_000), 2048, { b: { buffers: 8192 } })
  const data = wire.filter(({ payload }) => payload > 0)
  assert.ok(data.slice(0, 10).every(({ payload }) => payload === MSS))
  const { runs, segments } = lab.deviceB!
  assert.ok(segments / runs <= 45, 'a packet has 65,535 bytes')
  assert.ok(segments / runs > 8, `${segments} segments in ${runs} runs`)
  lab.close()
})

test('a segment of a run that is lost is repaired by itself', () => {
  let data = 0
  const { lab, wire } = transfer(patternBytes(300_000), 2048, {
    filter: (frame, direction) => {
      if (direction !== 'b-to-a' || frame.length < 1000) return 'pass'
      return ++data === 35 ? 'drop' : 'pass'
    },
  })
  const { retransmitted, timeouts } = lab.hostB.counters.tcp
  assert.is(retransmitted, 1)
  assert.is(timeouts, 0)
  assert.is(wire.filter(({ payload }) => payload > 0).length, Math.ceil(300_000 / MSS) + 1)
  lab.close()
})

test('the short end of what is written waits for Nagle, unless that is off', () => {
  for (const noDelay of [false, true]) {
    const lab = new ImpairedLab({ impairment: 'delay=10ms', seed, segmentsTcp: 'cut' })
    const client = new StreamApplication(lab.poolA)
    const server = new StreamApplication(lab.poolB)
    lab.hostB.tcp.listen(80, server, { noDelay })
    server.connected = (c) => c.send(chainOf(lab.poolB, patternBytes(100), 2048))
    client.onData = () => {}
    lab.hostA.tcp.connect(ADDRESSES[1][0], 80, client)
    assert.ok(lab.runUntil(() => client.receivedBytes === 100, SECOND_US))
    // A small segment is on its way; then three and a half segments are written.
    server.connection!.send(chainOf(lab.poolB, patternBytes(10), 2048))
    lab.hostB.flush(lab.nowUs)
    server.connection!.send(chainOf(lab.poolB, patternBytes(3 * MSS + 700), 2048))
    lab.hostB.flush(lab.nowUs)
    const { runs, segments } = lab.deviceB!
    assert.is(runs, 1)
    assert.is(segments, noDelay ? 4 : 3)
    assert.ok(lab.runUntil(() => client.receivedBytes === 110 + 3 * MSS + 700, SECOND_US))
    lab.close()
  }
})

test('a run that arrives whole is one frame of many buffers: acknowledged once, and known as segments of the MSS', () => {
  const options = { mtu: 65_535, a: { mtu: 1500 }, b: { mtu: 1500 }, segmentsTcp: 'whole' } as const
  const { lab, client, wire } = transfer(patternBytes(600_000), 2048, options)
  const { runs } = lab.deviceB!
  assert.ok(runs > 10)
  assert.ok(Math.max(...wire.map(({ payload }) => payload)) > 60_000)
  assert.ok(lab.hostA.counters.tcp.sent <= wire.length + 10, 'no more ACKs than frames')
  assert.is(client.connection!.peerSegmentBytes, MSS)
  assert.is(lab.hostA.counters.tcp.receivedInOrder, wire.filter(({ payload }) => payload > 0).length)
  lab.close()
})

test('pacing, and a window that is to be reduced, want segments one by one', () => {
  const { lab } = transfer(patternBytes(200_000), 2048, { b: { tcp: { pacing: true } } })
  assert.is(lab.deviceB!.runs, 0)
  lab.close()
})

test.run()
