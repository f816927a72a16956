/**
 * `packrat wire` between two kernels: the right end is moved into a network namespace of its own after the wire holds
 * it, so ping and iperf3 have to cross the impaired link.
 *
 *   this namespace: wire0 10.88.0.1 ── packrat wire ── wire1 10.88.0.2 : namespace of a sleeping child
 *
 * @timeout 120
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { readFileSync, readlinkSync } from 'node:fs'
import { join } from 'node:path'
import * as assert from 'uvu/assert'
import { lacks, type Outcome, PACKRAT_PROGRAM, packrat, run, scratchDirectory, sleep, within } from '../support/lab.ts'
import { privateNetworkSuite } from '../support/netns.ts'
import { readCapture } from '../support/pcapng-reader.ts'

const test = privateNetworkSuite('wire', import.meta.url, {
  timeoutMs: 100_000,
  missing: lacks('ping', 'nsenter', 'unshare'),
})

const LEFT = '10.88.0.1'
const RIGHT = '10.88.0.2'
const NAMESPACE_LIFE_S = '100'
const STEP_TIMEOUT_MS = 10_000

const children = new Set<ChildProcess>()
process.on('exit', () => {
  for (const child of children) child.kill('SIGKILL')
})

function start(program: string, args: readonly string[]): { child: ChildProcess; output: () => string } {
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'] })
  children.add(child)
  child.on('exit', () => children.delete(child))
  let output = ''
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', (chunk: Buffer) => {
      output += chunk
    })
  return { child, output: () => output }
}

async function until(condition: () => boolean, complaint: string): Promise<void> {
  const deadline = performance.now() + STEP_TIMEOUT_MS
  while (!condition()) {
    if (performance.now() > deadline) throw new Error(complaint)
    await sleep(20)
  }
}

async function succeed(program: string, ...args: string[]): Promise<Outcome> {
  const outcome = await run(program, args)
  assert.is(outcome.status, 0, `${program} ${args.join(' ')}: ${outcome.stderr}${outcome.stdout}`)
  return outcome
}

/** Two kernels over a wire. `right(...)` runs a program in the right one. */
async function withWire(
  flags: readonly string[],
  body: (right: (program: string, ...args: string[]) => [string, string[]]) => Promise<void>,
): Promise<string> {
  const namespace = start('unshare', ['-n', 'sleep', NAMESPACE_LIFE_S])
  const pid = String(namespace.child.pid)
  const wire = start(process.execPath, [PACKRAT_PROGRAM, 'wire', '--left-address', `${LEFT}/24`, ...flags])
  const ended = new Promise((resolve) => wire.child.on('exit', resolve))
  try {
    await until(() => /^packrat wire ready left=tap:wire0 right=tap:wire1$/m.test(wire.output()), wire.output())
    const own = readlinkSync('/proc/self/ns/net')
    await until(() => readlinkSync(`/proc/${pid}/ns/net`) !== own, 'the child has no namespace of its own')
    const right = (program: string, ...args: string[]): [string, string[]] => [
      'nsenter',
      ['--net', '--target', pid, program, ...args],
    ]
    await succeed('ip', 'link', 'set', 'wire1', 'netns', pid)
    for (const step of [
      ['addr', 'add', `${RIGHT}/24`, 'dev', 'wire1'],
      ['link', 'set', 'wire1', 'up'],
    ]) {
      const [program, args] = right('ip', ...step)
      await succeed(program, ...args)
    }
    await body(right)
    wire.child.kill('SIGTERM')
    assert.is(await within(STEP_TIMEOUT_MS, ended, 'the wire did not end'), 0, wire.output())
    return wire.output()
  } finally {
    for (const child of children) child.kill('SIGKILL')
    await ended
  }
}

function shortestMs(ping: Outcome): number {
  return Number(/= ([\d.]+)\//.exec(ping.stdout.toString())?.[1])
}

test('a ping between two kernels takes the delay of both directions; the capture has both ends', async () => {
  const file = join(scratchDirectory(), 'wire.pcapng')
  const flags = ['--impair', 'rx:delay=12ms;tx:delay=3ms', '--capture', file]
  const report = await withWire(flags, async () => {
    const shortest = shortestMs(await succeed('ping', '-c', '10', '-i', '0.05', '-W', '2', RIGHT))
    assert.ok(shortest >= 15 && shortest < 18, `shortest round trip ${shortest} ms`)
  })
  assert.match(report, /^tap:wire0 -> tap:wire1: \d+ frames$/m)
  const { interfaces, packets } = readCapture(readFileSync(file))
  assert.equal(
    interfaces.map(({ name }) => name),
    ['tap:wire0', 'tap:wire1'],
  )
  const echoes = packets.filter(({ frame }) => frame.readUInt16BE(12) === 0x0800 && frame[23] === 1)
  const requests = echoes.filter(({ frame }) => frame[34] === 8)
  assert.is(requests.length, 20, 'each request is seen at both ends')
  assert.is(echoes.length, 40)
  const [sent, arrived] = [0, 1].map((end) => requests.filter(({ interfaceNumber }) => interfaceNumber === end))
  assert.equal(new Set(sent!.map(({ direction }) => direction)), new Set([1]))
  assert.equal(new Set(arrived!.map(({ direction }) => direction)), new Set([2]))
  const took = arrived!.map(({ timeNs }, index) => Number(timeNs - sent![index]!.timeNs) / 1e6).sort((a, b) => a - b)
  const median = took[took.length >> 1]!
  assert.ok(median >= 11.9 && median < 13, `half of the requests took more than ${median} ms from end to end`)
})

test('TCP between two kernels keeps to the rate, and its losses are counted', async () => {
  if ((await run('sh', ['-c', 'command -v iperf3'])).status !== 0) {
    console.log('SKIP: iperf3 is not installed')
    return
  }
  const report = await withWire(['--impair', 'rx:rate=50mbit,delay=2ms,loss=0.05%'], async (right) => {
    const [program, args] = right('iperf3', '--server', '--one-off', '--forceflush', '--bind', RIGHT)
    const server = start(program, args)
    await until(() => server.output().includes('listening'), `iperf3: ${server.output()}`)
    const client = await succeed('iperf3', '--client', RIGHT, '--time', '3', '--json')
    const { end } = JSON.parse(client.stdout.toString())
    const megabits = end.sum_received.bits_per_second / 1e6
    console.log(`${megabits.toFixed(1)} Mbit/s of 50`)
    assert.ok(megabits > 20 && megabits < 50, `${megabits} Mbit/s`)
  })
  assert.match(report, /^tap:wire0 -> tap:wire1: \d+ frames, \d+ lost/m)
  assert.match(report, /^tap:wire1 -> tap:wire0: \d+ frames$/m)
})

test('an end that is no TAP, and one interface for both ends, are one clear line', async () => {
  const wrong = await packrat('wire', '--left', 'eth0')
  assert.is(wrong.status, 2)
  assert.match(
    wrong.stderr,
    /^packrat wire: --left 'eth0' is refused: it must be tap:NAME, a name of 1 to 15 characters\n$/,
  )
  const twice = await packrat('wire', '--left', 'tap:same0', '--right', 'tap:same0')
  assert.is(twice.status, 3)
  assert.match(twice.stderr, /^packrat wire: cannot open TAP same0: [^\n]*\n$/)
})

test.run()
