/**
 * Unmodified iperf3 against the server in the daemon, over TAP: every flag that changes what is said on the wire, and
 * what both sides have counted afterwards.
 *
 * @timeout 120
 */
import { spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import * as assert from 'uvu/assert'
import {
  type Daemon,
  lacks,
  PACKRAT_ADDRESS,
  run,
  type Stats,
  scratchDirectory,
  sleep,
  startDaemon,
  untilIdle,
  within,
} from '../support/lab.ts'
import { privateNetworkSuite } from '../support/netns.ts'

const PORT = 5201
const TEST_TIMEOUT_MS = 20_000

const test = privateNetworkSuite('iperf3', import.meta.url, { timeoutMs: 120_000, missing: lacks('iperf3') })

let daemon: Daemon

test.before(async () => {
  const region = join(scratchDirectory(), 'iperf3.pm')
  daemon = await startDaemon({ region, flags: ['--pm-size', '64M', '--durability', 'process'] })
})

test.after(async () => {
  if (daemon?.alive) await daemon.stop()
})

/* --- what iperf3 reports, as far as it is looked at --- */

interface Sum {
  readonly seconds: number
  readonly bytes: number
  readonly bits_per_second: number
  readonly retransmits?: number
  readonly jitter_ms?: number
  readonly lost_packets?: number
  readonly packets?: number
}

interface Report {
  readonly error?: string
  readonly start: { readonly connected: readonly unknown[]; readonly tcp_mss_default?: number }
  readonly intervals: readonly { readonly sum: Sum & { readonly omitted: boolean } }[]
  readonly end: {
    readonly streams: readonly { readonly sender?: Sum; readonly receiver?: Sum; readonly udp?: Sum }[]
    readonly sum_sent: Sum
    readonly sum_received: Sum
    readonly sum_sent_bidir_reverse?: Sum
    readonly sum_received_bidir_reverse?: Sum
    readonly sum?: Sum
    readonly cpu_utilization_percent: { readonly remote_total: number }
  }
  readonly server_output_text?: string
}

async function iperf3(...flags: string[]): Promise<Report> {
  const outcome = await run('iperf3', ['-c', PACKRAT_ADDRESS, '-J', '-i', '0.25', ...flags], {
    timeoutMs: TEST_TIMEOUT_MS,
  })
  const report = JSON.parse(outcome.stdout.toString()) as Report
  assert.is(report.error, undefined, `iperf3 ${flags.join(' ')}`)
  assert.is(outcome.status, 0)
  return report
}

/** Bytes of a stream that may be unread when a test ends: a receive buffer of Linux, as large as it may grow, and what is sent. */
const ON_THE_WAY_MAX_BYTES =
  Number(readFileSync('/proc/sys/net/ipv4/tcp_rmem', 'ascii').trim().split(/\s+/)[2]) + (16 << 20)

/** What TCP delivers is what was sent, less what was on its way when the test ended. */
function assertDelivered(sent: Sum, received: Sum, streams = 1): void {
  assert.ok(received.bytes > 0, 'nothing was received')
  assert.ok(received.bytes <= sent.bytes, `${received.bytes} received of ${sent.bytes}`)
  assert.ok(
    sent.bytes - received.bytes <= streams * ON_THE_WAY_MAX_BYTES,
    `${sent.bytes - received.bytes} bytes on their way`,
  )
}

/** As near as can be asked for on a machine that does other things, too; what is wrong by a factor of two is found. */
function assertAbout(value: number, expected: number): void {
  assert.ok(value > expected * 0.5 && value < expected * 1.6, `${value} where ${expected} is expected`)
}

/* --- TCP --- */

test('a client sends: the server has counted what was sent', async () => {
  const { start, intervals, end } = await iperf3('-t', '1')
  assertDelivered(end.sum_sent, end.sum_received)
  assert.is(start.connected.length, 1)
  assert.ok(intervals.length >= 2)
  assert.ok(end.sum_sent.retransmits! >= 0)
  assert.ok(end.sum_received.seconds >= 0.9 && end.sum_received.seconds < 6, `${end.sum_received.seconds} s`)
  assert.ok(end.cpu_utilization_percent.remote_total > 0, 'no processor time')
})

test('-R: the server sends, and says how much and what it sent again', async () => {
  const { end } = await iperf3('-t', '1', '-R')
  assertDelivered(end.sum_sent, end.sum_received)
  assert.ok(end.sum_sent.retransmits! >= 0, 'the server counts retransmissions')
})

test('-P 4, both ways round: each stream has its share', async () => {
  for (const direction of [[], ['-R']]) {
    const { end } = await iperf3('-t', '1', '-P', '4', ...direction)
    assert.is(end.streams.length, 4)
    for (const stream of end.streams) assertDelivered(stream.sender!, stream.receiver!)
    assertDelivered(end.sum_sent, end.sum_received, 4)
  }
})

test('--bidir: both sides send and receive', async () => {
  const { end } = await iperf3('-t', '1', '--bidir', '-P', '2')
  assert.is(end.streams.length, 4)
  assertDelivered(end.sum_sent, end.sum_received, 2)
  assertDelivered(end.sum_sent_bidir_reverse!, end.sum_received_bidir_reverse!, 2)
})

test('-n and -k: the test ends by bytes or blocks', async () => {
  const byBytes = await iperf3('-n', '4M')
  assertAbout(byBytes.end.sum_sent.bytes, 4 << 20)
  assertDelivered(byBytes.end.sum_sent, byBytes.end.sum_received)
  const byBlocks = await iperf3('-k', '16', '-l', '64K')
  assertAbout(byBlocks.end.sum_sent.bytes, 1 << 20)
  const reverse = await iperf3('-n', '4M', '-R')
  assert.ok(reverse.end.sum_received.bytes >= 4 << 20)
})

test('-O: what comes first does not count', async () => {
  const { intervals, end } = await iperf3('-t', '1', '-O', '1', '-b', '40M')
  assert.ok(intervals.some(({ sum }) => sum.omitted))
  // 40 Mbit/s for one second, not for two.
  assertAbout(end.sum_received.bytes, 5e6)
  const reverse = await iperf3('-t', '1', '-O', '1', '-b', '40M', '-R')
  assertAbout(reverse.end.sum_sent.bytes, 5e6)
})

test('-b: the server keeps to the rate', async () => {
  const { end } = await iperf3('-t', '1', '-b', '20M', '-R')
  assertAbout(end.sum_received.bits_per_second, 20e6)
})

test("-M: segments of the client are as short as it says, and so are the server's", async () => {
  for (const direction of [[], ['-R']]) {
    const { end } = await iperf3('-n', '2M', '-M', '536', ...direction)
    assertDelivered(end.sum_sent, end.sum_received)
  }
})

test("--cport, -l, -N and -4: a port of the client's choice, and small writes", async () => {
  const { end } = await iperf3('-n', '1M', '-l', '1000', '-N', '--cport', '6001', '-4', '-R')
  assert.ok(end.sum_received.bytes >= 1 << 20)
  assertDelivered(end.sum_sent, end.sum_received)
})

test("--get-server-output: the server's report comes along", async () => {
  const { server_output_text: text, end } = await iperf3('-t', '1', '--get-server-output')
  assert.match(text!, /\[ {2}1\]\[RX\] +0\.00-/)
  assertDelivered(end.sum_sent, end.sum_received)
})

/* --- UDP --- */

/** Without offloads and faults nothing is lost at these rates, but the machine may be busy. */
function assertDatagrams(sum: Sum, bitsPerSecond: number, blockBytes: number): void {
  assert.ok(sum.packets! > 0 && sum.lost_packets! >= 0)
  assert.ok(sum.lost_packets! <= sum.packets! / 2, `${sum.lost_packets} of ${sum.packets} lost`)
  assert.ok(sum.jitter_ms! >= 0 && sum.jitter_ms! < 1000, `jitter ${sum.jitter_ms} ms`)
  assertAbout(sum.packets!, bitsPerSecond / 8 / blockBytes)
}

test('-u, both ways round: datagrams are numbered, timed and counted', async () => {
  for (const direction of [[], ['-R']]) {
    const { end } = await iperf3('-u', '-t', '1', '-b', '20M', '-l', '1200', ...direction)
    assertDatagrams(end.sum!, 20e6, 1200)
  }
})

test('-u -P 2 --bidir, -l beyond a frame, 64-bit numbers: fragments are put together', async () => {
  const { end } = await iperf3('-u', '-t', '1', '-b', '10M', '-l', '8000', '-P', '2', '--bidir', '--udp-counters-64bit')
  assert.is(end.streams.length, 4)
  for (const { udp } of end.streams) assertDatagrams(udp!, 10e6, 8000)
})

test('-u -n and -O: datagrams end a test, too', async () => {
  const { end } = await iperf3('-u', '-n', '100K', '-b', '10M', '-l', '1000')
  assertAbout(end.sum!.packets!, 103)
  const omitting = await iperf3('-u', '-t', '1', '-O', '1', '-b', '4M', '-l', '1000')
  assertDatagrams(omitting.end.sum!, 4e6, 1000)
})

/* --- clients that come at the wrong time, or go --- */

interface IperfStats extends Stats {
  readonly iperf: { readonly tests: number; readonly failed: number; readonly busy: number; readonly noCookie: number }
  readonly tcp: { readonly connections: number }
}

async function stats(): Promise<IperfStats> {
  return (await untilIdle(daemon, 15_000)) as IperfStats
}

test('a second client hears that the server is busy, and the first goes on', async () => {
  const first = iperf3('-t', '2')
  await sleep(500)
  const second = await run('iperf3', ['-c', PACKRAT_ADDRESS, '-t', '1'], { timeoutMs: TEST_TIMEOUT_MS })
  assert.is.not(second.status, 0)
  assert.match(second.stderr, /busy/)
  const { end } = await first
  assertDelivered(end.sum_sent, end.sum_received)
  assert.is((await stats()).iperf.busy, 1)
})

test('a connection with another cookie is no stream of the test that waits for its streams', async () => {
  const first = connect(PORT, PACKRAT_ADDRESS)
  first.on('error', () => {}) // the server resets it when it is destroyed below
  first.write(Buffer.concat([cookie('g'), document('{"tcp":true}')]))
  await sleep(300)
  assert.equal([...(await exchange([cookie('h')]))], [0xff])
  first.destroy()
})

test('bad parameters are answered with the reason', async () => {
  // iperf3 itself refuses them; so they are said by hand.
  const answer = await exchange([cookie('a'), document(JSON.stringify({ tcp: true, parallel: 500 }))])
  assert.equal([...answer], [9, 0xfe, 0, 0, 0, 6, 0, 0, 0, 0])
  const sctp = await exchange([cookie('b'), document(JSON.stringify({ sctp: true }))])
  assert.equal([...sctp.subarray(0, 6)], [9, 0xfe, 0, 0, 0, 13])
})

test('a client that is killed leaves the server ready for the next', async () => {
  for (const flags of [[], ['-R'], ['-u', '-b', '50M'], ['-u', '-R', '-b', '50M']]) {
    const client = spawn('iperf3', ['-c', PACKRAT_ADDRESS, '-t', '30', ...flags], { stdio: 'ignore' })
    const gone = new Promise((resolve) => client.on('exit', resolve))
    await sleep(400)
    client.kill('SIGKILL')
    await gone
    const { end } = await iperf3('-n', '1M')
    assertDelivered(end.sum_sent, end.sum_received)
  }
})

test('garbage, documents beyond 8 KiB, and states out of place end a connection, and nothing else', async () => {
  const before = (await stats()).iperf.failed
  await exchange([Buffer.alloc(37, 0xff)]).catch(() => {}) // answered by RST
  await exchange([Buffer.from('GET / HTTP/1.1\r\nHost: nobody\r\nAccept: */*\r\n\r\n')]).catch(() => {})
  const huge = Buffer.alloc(4)
  huge.writeUInt32BE(8193)
  assert.is((await exchange([cookie('c'), huge]))[1], 0xfe)
  assert.is((await exchange([cookie('d'), document('{"tcp":')]))[1], 0xfe)
  assert.is((await exchange([cookie('e'), document('[]')]))[1], 0xfe)
  // TEST_END where streams are awaited.
  assert.equal([...(await exchange([cookie('f'), document('{"tcp":true}'), Buffer.of(4)]))], [9, 10])
  const after = await stats()
  assert.is(after.iperf.failed - before, 4)
  assert.is(after.iperf.noCookie, 2)
  await iperf3('-n', '1M')
})

test('after all of it no buffer, no connection and no test is left', async () => {
  const { buffers, tcp, iperf } = await stats()
  assert.is(buffers.free + buffers.stored, buffers.total, 'buffers leaked')
  assert.ok(tcp.connections <= 2, `${tcp.connections} connections`)
  assert.ok(iperf.tests > 20)
  assert.equal(await daemon.stop(), { status: 0, signal: null })
})

/* --- a client by hand --- */

function cookie(letter: string): Buffer {
  return Buffer.from(`${letter.repeat(36)}\0`)
}

function document(json: string): Buffer {
  const length = Buffer.alloc(4)
  length.writeUInt32BE(Buffer.byteLength(json))
  return Buffer.concat([length, Buffer.from(json)])
}

/** Says all of it, and returns what the server says until it closes. */
function exchange(parts: readonly Buffer[]): Promise<Buffer> {
  const answer = new Promise<Buffer>((resolve, reject) => {
    const socket = connect(PORT, PACKRAT_ADDRESS)
    const chunks: Buffer[] = []
    socket.on('data', (chunk: Buffer) => chunks.push(chunk))
    socket.on('error', reject)
    socket.on('close', () => resolve(Buffer.concat(chunks)))
    for (const part of parts) socket.write(part)
  })
  return within(TEST_TIMEOUT_MS, answer, 'the server did not close')
}

test.run()
