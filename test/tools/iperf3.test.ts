/**
 * The iperf3 client and server against each other in virtual time, over a link that may lose: what one has sent the other
 * has counted, and whoever vanishes, and whenever, leaves no buffer, line, timer or test behind.
 */
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { Host } from '../../stack/host.ts'
import type { Connection } from '../../stack/tcp/connection.ts'
import { PackratError } from '../../storage/errors.ts'
import { NO_BUFFER } from '../../storage/layout.ts'
import { type ClientOutcome, IperfClient } from '../../tools/iperf3/client.ts'
import type { Environment } from '../../tools/iperf3/environment.ts'
import { jsonReport } from '../../tools/iperf3/json-report.ts'
import type { TestParameters } from '../../tools/iperf3/parameters.ts'
import { checkParameters, readParameters, writeParameters } from '../../tools/iperf3/parameters.ts'
import { ERROR_RECEIVE_PARAMETERS, ERROR_STREAMS, ERROR_UNIMPLEMENTED, streamId } from '../../tools/iperf3/protocol.ts'
import { outcomeText } from '../../tools/iperf3/report.ts'
import { readResults } from '../../tools/iperf3/results.ts'
import { IperfServer } from '../../tools/iperf3/server.ts'
import { announceSeed } from '../support/random.ts'
import { type NetworkOptions, VirtualNetwork } from '../support/virtual-link.ts'

const seed = announceSeed('iperf3', 61)
const PORT = 5201
const SERVER = '10.0.0.2'
const SECOND_US = 1_000_000
/** Instead of the next turn of the event loop. */
const TURN_US = 100

interface Timer {
  readonly atUs: number
  readonly callback: () => void
}

/** Both programs, with timers in virtual time. */
class Lab {
  readonly network: VirtualNetwork
  readonly server: IperfServer
  readonly timers = new Set<Timer>()
  private readonly buffersBefore: readonly number[]

  constructor(options: Partial<NetworkOptions> = {}) {
    this.network = new VirtualNetwork({ seed, buffers: 4096, impairment: { delayUs: 500 }, ...options })
    const { poolA, poolB } = this.network
    this.buffersBefore = [poolA.freeBuffers, poolB.freeBuffers, poolA.freeMetas, poolB.freeMetas]
    this.server = new IperfServer(this.environment(this.network.hostB), PORT)
  }

  environment(host: Host): Environment {
    const { network } = this
    return {
      host,
      clock: { nowUs: () => network.nowUs },
      congestion: 'cubic',
      cpuUs: () => ({ user: network.nowUs / 4, system: network.nowUs / 8 }),
      after: (delayMs, callback) => {
        const timer = { atUs: network.nowUs + (delayMs === 0 ? TURN_US : Math.round(delayMs * 1000)), callback }
        this.timers.add(timer)
        return () => this.timers.delete(timer)
      },
    }
  }

  start(parameters: Partial<TestParameters>, onEnd: (outcome: ClientOutcome | PackratError) => void): IperfClient {
    return new IperfClient(
      this.environment(this.network.hostA),
      {
        address: SERVER,
        port: PORT,
        parameters: { ...DEFAULTS, ...parameters },
        intervalMs: 100,
        mss: undefined,
        onStart: () => {},
        onInterval: () => {},
        onEnd,
      },
      () => this.network.random.next(),
    )
  }

  /** Runs a test to its end. */
  measure(parameters: Partial<TestParameters>): ClientOutcome | PackratError {
    let outcome: ClientOutcome | PackratError | undefined
    this.start(parameters, (end) => {
      outcome = end
    })
    assert.ok(
      this.runUntil(() => outcome !== undefined, 120 * SECOND_US),
      'the test did not end',
    )
    return outcome!
  }

  measured(parameters: Partial<TestParameters>): ClientOutcome {
    const outcome = this.measure(parameters)
    if (outcome instanceof PackratError) throw outcome
    return outcome
  }

  runUntil(done: () => boolean, limitUs: number): boolean {
    const { network } = this
    const end = network.nowUs + limitUs
    while (network.nowUs < end && !done()) {
      const next = Math.min(end, this.earliestUs())
      // What happens on the way may set a timer that is due before.
      const stop = (): boolean => done() || this.earliestUs() < next
      network.runUntil(stop, Math.max(next - network.nowUs, 0))
      for (const timer of [...this.timers])
        if (timer.atUs <= network.nowUs && this.timers.delete(timer)) timer.callback()
    }
    return done()
  }

  private earliestUs(): number {
    let earliest = Number.POSITIVE_INFINITY
    for (const { atUs } of this.timers) earliest = Math.min(earliest, atUs)
    return earliest
  }

  /** Nothing is held any more, by nobody. */
  assertIdle(): void {
    this.runUntil(() => false, 40 * SECOND_US)
    const { poolA, poolB, hostA, hostB } = this.network
    const now = [poolA.freeBuffers, poolB.freeBuffers, poolA.freeMetas, poolB.freeMetas]
    assert.equal(now, this.buffersBefore, 'buffers or lines leaked')
    assert.is(hostA.tcp.connectionCount + hostB.tcp.connectionCount, 0)
    assert.is(this.timers.size, 0, 'timers are left')
  }
}

const DEFAULTS: TestParameters = {
  protocol: 'tcp',
  seconds: 0,
  omitSeconds: 0,
  bytes: 0,
  parallel: 1,
  reverse: false,
  bidirectional: false,
  blockBytes: 128 << 10,
  bitsPerSecond: 0,
  noDelay: false,
  wideNumbers: false,
  serverOutput: false,
}

/** Bytes that each stream's sender and receiver have counted. */
function counts({ measurement, peer }: ClientOutcome): [sent: number, received: number][] {
  return measurement.figures.map(({ stream, bytes }) => {
    const theirs = peer.streams.get(stream.id)!.bytes
    return stream.isSender ? [bytes, theirs] : [theirs, bytes]
  })
}

test('a test by bytes: both sides have counted the same, to the byte, over a link that loses', () => {
  const lab = new Lab({ impairment: { delayUs: 2000, loss: 0.01 } })
  const outcome = lab.measured({ bytes: 1_000_003, parallel: 3 })
  assert.is(
    counts(outcome).reduce((all, [sent]) => all + sent, 0),
    1_000_003,
  )
  for (const [sent, received] of counts(outcome)) assert.is(received, sent)
  assert.ok(outcome.measurement.figures.some(({ retransmits }) => retransmits > 0))
  lab.assertIdle()
  assert.is(lab.server.counters.tests, 1)
})

test('a test by time: what arrives is what was sent, less what is on its way', () => {
  for (const direction of [{}, { reverse: true }, { bidirectional: true, parallel: 2 }]) {
    const lab = new Lab()
    const outcome = lab.measured({ seconds: 1, bitsPerSecond: 20e6, ...direction })
    for (const [sent, received] of counts(outcome)) {
      assert.ok(sent > 2.2e6 && sent < 2.8e6, `${sent} bytes sent`)
      assert.ok(received <= sent && received > sent * 0.9, `${received} of ${sent}`)
    }
    assert.ok(outcome.measurement.intervals.length >= 10)
    lab.assertIdle()
  }
})

test('a test may take longer than any other state may', () => {
  const lab = new Lab()
  const { measurement } = lab.measured({ seconds: 40, bitsPerSecond: 1e5 })
  assert.ok(measurement.figures[0]!.endSeconds >= 40)
  lab.assertIdle()
})

test('what is omitted is not counted, and does not count for a test by bytes', () => {
  const lab = new Lab()
  const byTime = lab.measured({ seconds: 1, omitSeconds: 2, bitsPerSecond: 8e6 })
  assert.ok(Math.abs(byTime.measurement.figures[0]!.bytes - 1e6) < 5e4, `${byTime.measurement.figures[0]!.bytes}`)
  assert.ok(Math.abs(counts(byTime)[0]![1] - 1e6) < 5e4)
  const byBytes = lab.measured({ bytes: 500_000, omitSeconds: 1, bitsPerSecond: 8e6, reverse: true })
  assert.ok(byBytes.measurement.figures[0]!.bytes >= 500_000)
  lab.assertIdle()
})

test('datagrams: those that the link loses are counted as lost, and none is counted twice', () => {
  const lab = new Lab()
  const parameters = { protocol: 'udp', seconds: 1, bitsPerSecond: 8e6, blockBytes: 1000 } as const
  const clean = lab.measured(parameters)
  const received = clean.peer.streams.get(1)!
  assert.is(received.lost, 0)
  assert.ok(Math.abs(received.packets - 1000) < 10)
  lab.network.filter = (frame) => frame.length < 1000 || !lab.network.random.chance(0.1)
  const lossy = lab.measured({ ...parameters, bidirectional: true, wideNumbers: true, seconds: 2 })
  for (const { packets, lost } of [lossy.peer.streams.get(1)!, lossy.measurement.figures[1]!])
    assert.ok(lost > packets * 0.05 && lost < packets * 0.2, `${lost} of ${packets}`)
  lab.assertIdle()
})

test('the reports name what was measured', () => {
  const lab = new Lab()
  const outcome = lab.measured({ bytes: 100_000, serverOutput: true })
  assert.match(outcomeText(outcome), /\[ {2}1\]\[TX\] +0\.00-.*97\.7 KBytes.* {2}sender/)
  assert.match(outcome.peer.outputText!, /\[ {2}1\]\[RX\]/)
  const { end } = jsonReport(outcome, 'test') as {
    end: { sum_sent: { bytes: number }; sum_received: { bytes: number } }
  }
  assert.is(end.sum_sent.bytes, 100_000)
  assert.is(end.sum_received.bytes, 100_000)
})

test('a second client is refused while the first goes on', () => {
  const lab = new Lab()
  let first: unknown
  lab.start({ seconds: 2, bitsPerSecond: 8e6 }, (outcome) => {
    first = outcome
  })
  lab.runUntil(() => false, SECOND_US)
  const second = lab.measure({ seconds: 1 })
  assert.ok(second instanceof PackratError && /busy/.test(second.message))
  assert.ok(lab.runUntil(() => first !== undefined, 10 * SECOND_US))
  assert.not.instance(first, PackratError)
  assert.is(lab.server.counters.busy, 1)
  lab.assertIdle()
})

test('a link that dies at any moment ends the test on both sides, and gives everything back', () => {
  for (const protocol of ['tcp', 'udp'] as const) {
    for (let frames = 1; frames < 50; frames += protocol === 'tcp' ? 5 : 11) {
      const lab = new Lab()
      let left = frames
      lab.network.filter = () => left-- > 0
      const parameters = { seconds: 3, bitsPerSecond: 1e6, blockBytes: 1000, bidirectional: true }
      assert.instance(lab.measure({ protocol, ...parameters }), PackratError, `after ${frames} frames`)
      lab.runUntil(() => false, 60 * SECOND_US)
      // The server learns by its own limits; then the next one is served.
      lab.network.filter = undefined
      assert.not.instance(lab.measure({ bytes: 10_000 }), PackratError, `the next, after ${frames} frames`)
      lab.network.hostA.close(lab.network.nowUs)
      lab.network.hostB.close(lab.network.nowUs)
      lab.runUntil(() => false, 40 * SECOND_US)
      assert.is(lab.network.poolB.freeBuffers, lab.network.poolB.totalBuffers, `after ${frames} frames`)
    }
  }
})

test('a server without a buffer to say that the test begins ends it, and sends nothing', () => {
  const lab = new Lab()
  const { poolB } = lab.network
  const { server } = lab
  const allocate = poolB.allocateBuffer.bind(poolB)
  const receive = server.onReceive.bind(server)
  let control: Connection | undefined
  let isExhausted = false
  poolB.allocateBuffer = () => (isExhausted ? NO_BUFFER : allocate())
  server.onReceive = (c) => {
    control ??= c
    isExhausted = c !== control // a stream has come
    receive(c)
    isExhausted = false
  }
  assert.instance(lab.measure({ seconds: 1, reverse: true }), PackratError)
  assert.is(server.counters.failed, 1)
  lab.assertIdle()
})

test('a client that gives up, and a server that stops, say so', () => {
  const lab = new Lab()
  let outcome: unknown
  const end = (value: unknown): void => {
    outcome = value
  }
  const client = lab.start({ seconds: 5, bitsPerSecond: 8e6 }, end)
  lab.runUntil(() => false, SECOND_US)
  client.terminate()
  assert.instance(outcome, PackratError)
  lab.runUntil(() => lab.server.counters.failed === 1, SECOND_US)
  outcome = undefined
  lab.start({ seconds: 5, bitsPerSecond: 8e6, reverse: true }, end)
  lab.runUntil(() => false, SECOND_US)
  lab.server.close()
  assert.ok(lab.runUntil(() => outcome !== undefined, SECOND_US))
  assert.match((outcome as PackratError).message, /has ended the test/)
  lab.assertIdle()
})

test('parameters: what is written is read again, and what is out of range has a number', () => {
  const all = { ...DEFAULTS, protocol: 'udp', seconds: 3, parallel: 2, blockBytes: 500, wideNumbers: true } as const
  assert.equal(readParameters(writeParameters(all, 'test'), 1448), all)
  const error = (json: string): unknown => readParameters(json, 1448)
  assert.is(error('{"tcp":true,"parallel":129}'), ERROR_STREAMS)
  assert.is(error('{"tcp":true,"parallel":1.5}'), ERROR_STREAMS)
  assert.is(error('{"tcp":true,"num":-1}'), ERROR_RECEIVE_PARAMETERS)
  assert.is(error('{"tcp":true,"bandwidth":"fast"}'), ERROR_RECEIVE_PARAMETERS)
  assert.is(error('{"sctp":true}'), ERROR_UNIMPLEMENTED)
  assert.is(error('[1]'), ERROR_RECEIVE_PARAMETERS)
  assert.is(error('{'), ERROR_RECEIVE_PARAMETERS)
  assert.is.not(checkParameters({ ...DEFAULTS, reverse: true, bidirectional: true }), undefined)
  assert.is.not(checkParameters({ ...DEFAULTS, protocol: 'udp', blockBytes: 65_508 }), undefined)
  assert.equal([0, 1, 2, 3].map(streamId), [1, 3, 4, 5])
})

test('results that are none are not believed', () => {
  for (const json of ['', '{}', '[]', '{"streams":[1]}', '{"streams":[{"id":"1","bytes":2}]}', '{"streams":[null]}'])
    assert.is(readResults(json), undefined, json)
  assert.is(readResults('{"streams":[{"id":1,"bytes":7,"jitter":null}]}')!.streams.get(1)!.bytes, 7)
})

test.run()
