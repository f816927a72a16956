/**
 * `packrat iperf3` against an unmodified iperf3 -s, and against Packrat's own server through the kernel: all over TAP.
 *
 * @timeout 120
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import * as assert from 'uvu/assert'
import {
  type Daemon,
  lacks,
  type Outcome,
  PACKRAT_ADDRESS,
  packrat,
  scratchDirectory,
  sleep,
  startDaemon,
  untilIdle,
} from '../support/lab.ts'
import { privateNetworkSuite } from '../support/netns.ts'

const LINUX_ADDRESS = '10.78.0.1'

const test = privateNetworkSuite('iperf3 client', import.meta.url, { timeoutMs: 120_000, missing: lacks('iperf3') })

let daemon: Daemon
let linux: ChildProcess

test.before(async () => {
  // The daemon and the client are neighbours of the kernel, not of each other.
  writeFileSync('/proc/sys/net/ipv4/ip_forward', '1')
  linux = spawn('iperf3', ['-s'], { stdio: 'ignore' })
  const region = join(scratchDirectory(), 'client.pm')
  daemon = await startDaemon({
    region,
    flags: ['--pm-size', '64M', '--durability', 'process', '--gateway', '10.77.0.1'],
  })
})

test.after(async () => {
  linux?.kill('SIGKILL')
  if (daemon?.alive) await daemon.stop()
})

interface Sum {
  readonly bytes: number
  readonly packets?: number
  readonly lost_packets?: number
}

interface Report {
  readonly end: {
    readonly sum_sent: Sum
    readonly sum_received: Sum
    readonly sum_sent_bidir_reverse?: Sum
    readonly sum_received_bidir_reverse?: Sum
    readonly streams: readonly unknown[]
  }
}

async function measure(address: string, ...flags: string[]): Promise<Report['end']> {
  const { status, stdout, stderr } = await packrat('iperf3', '-c', address, '-J', ...flags)
  assert.is(status, 0, `${stdout}${stderr}`)
  return (JSON.parse(stdout.toString()) as Report).end
}

function assertDelivered(sent: Sum, received: Sum): void {
  assert.ok(received.bytes > 0 && received.bytes <= sent.bytes, `${received.bytes} received of ${sent.bytes}`)
}

for (const [name, address] of [
  ['iperf3', LINUX_ADDRESS],
  ['Packrat', PACKRAT_ADDRESS],
] as const) {
  test(`to ${name}: -n, exactly`, async () => {
    const { sum_sent, sum_received, streams } = await measure(address, '-n', '3M', '-P', '3')
    assert.is(streams.length, 3)
    assert.is(sum_sent.bytes, 3 << 20)
    assert.is(sum_received.bytes, 3 << 20)
  })

  test(`to ${name}: -R, and both at once`, async () => {
    const reverse = await measure(address, '-t', '1', '-R', '-M', '1000')
    assertDelivered(reverse.sum_sent, reverse.sum_received)
    const both = await measure(address, '-t', '1', '--bidir')
    assertDelivered(both.sum_sent, both.sum_received)
    assertDelivered(both.sum_sent_bidir_reverse!, both.sum_received_bidir_reverse!)
  })

  test(`to ${name}: -u, both ways`, async () => {
    for (const direction of [[], ['-R']]) {
      const { sum_received: sum } = await measure(address, '-u', '-b', '5M', '-l', '1000', '-t', '1', ...direction)
      assert.ok(sum.packets! > 300 && sum.packets! < 1000, `${sum.packets} datagrams`)
      assert.ok(sum.lost_packets! <= sum.packets! / 2)
    }
  })
}

test('a server that is busy, or not there, and wrong usage, are one line each', async () => {
  const first = packrat('iperf3', '-c', PACKRAT_ADDRESS, '-t', '3', '-b', '1M', '--device', 'tap:packrat2', ...OTHER)
  await sleep(1500)
  assertFails(await packrat('iperf3', '-c', PACKRAT_ADDRESS, '-t', '1'), 3, /busy/)
  assert.is((await first).status, 0)
  assertFails(await packrat('iperf3', '-c', LINUX_ADDRESS, '-p', '9'), 3, /nobody listens/)
  assertFails(await packrat('iperf3'), 2, /-c ADDR is missing/)
  assertFails(await packrat('iperf3', '-c', '10.78.0.1', '-t', '1', '-n', '1M'), 2, /one of them/)
  assertFails(await packrat('iperf3', '-c', '10.78.0.1', '-b', 'fast'), 2, /--bitrate 'fast'/)
})

const OTHER = ['--address', '10.79.0.2/24', '--host-address', '10.79.0.1/24']

function assertFails({ status, stdout, stderr }: Outcome, expected: number, message: RegExp): void {
  assert.is(status, expected, stderr)
  assert.match(stderr, message)
  assert.is(stderr.trim().split('\n').length, 1)
  assert.not.match(stdout.toString(), /receiver/)
}

test('nothing is left in the daemon', async () => {
  const { buffers } = await untilIdle(daemon, 15_000)
  assert.is(buffers.free + buffers.stored, buffers.total)
})

test.run()
