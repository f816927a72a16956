/**
 * The native package tuntap2 by itself: properties of the interface, the sum, the life of a process that holds a
 * TAP, and wrong arguments.
 */
import { type ChildProcess, execFileSync, type SpawnSyncReturns, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { createRequire } from 'node:module'
import { release } from 'node:os'
import { internetSum, probe, Tap } from 'tuntap2'
import * as assert from 'uvu/assert'
import { sumBytes } from '../../storage/checksum.ts'
import { privateNetworkSuite } from '../support/netns.ts'

const test = privateNetworkSuite('tuntap2', import.meta.url, { missing: () => probe()?.message })

const PACKAGE = import.meta.resolve('tuntap2')

function runNode(program: string): SpawnSyncReturns<string> {
  return spawnSync(process.execPath, ['--input-type=module', '-e', program], { encoding: 'utf8', timeout: 10_000 })
}

test('properties of the kernel side read back what was set', () => {
  const tap = new Tap('pktest2')
  assert.is(tap.name, 'pktest2')
  assert.equal([tap.ipv4, tap.ipv6, tap.isUp], [null, null, false])
  tap.mac = '02:aa:00:00:00:01'
  tap.mtu = 1400
  tap.isUp = true
  for (const ipv4 of ['10.66.2.1/24', '10.66.3.1/30', '172.16.0.1/8']) {
    tap.ipv4 = ipv4
    assert.is(tap.ipv4, ipv4)
  }
  for (const ipv6 of ['fd66::1/64', 'fd66::2/64', 'fd67::1/126']) {
    tap.ipv6 = ipv6
    assert.is(tap.ipv6, ipv6)
  }
  assert.equal([tap.mac, tap.mtu, tap.isUp], ['02:aa:00:00:00:01', 1400, true])
  tap.isUp = false
  assert.is(tap.isUp, false)
  for (const set of [
    () => (tap.mac = '02:aa'),
    () => (tap.mtu = 1e9),
    () => (tap.mtu = 1.5),
    () => (tap.ipv4 = 'fd66::1/64'),
    () => (tap.ipv4 = '300.0.0.1/24'),
    () => (tap.ipv6 = 'fd66:::/64'),
    () => (tap.ipv6 = 'fd66::1/129'),
    () => tap.attach({ extents: [new ArrayBuffer(2047)], dataStart: [0], buffers: [1] }),
    () => tap.attach({ extents: [new ArrayBuffer(4096)], dataStart: [2049], buffers: [1] }),
    () => tap.attach({ extents: [new ArrayBuffer(4096)], dataStart: [], buffers: [1] }),
  ]) {
    assert.throws(set, (error: { code?: string }) => error.code === 'EINVAL', String(set))
  }
  tap.release()
  tap.release()
  assert.throws(
    () => tap.mtu,
    (error: { code?: string }) => error.code === 'EBADF',
  )
})

/** Keeps the kernel's lock of all interfaces busy for as long as it runs, as other programs of a busy host do. */
function contendForLinks(): ChildProcess {
  const links = Array.from({ length: 100 }, (_, n) => `link add pkv${n} group 7 type veth peer name pkw${n}`).join('\n')
  const program = 'while :; do printf %s "$LINKS" | ip -batch -; ip link del group 7; done'
  return spawn('timeout', ['60', 'bash', '-c', program], { env: { ...process.env, LINKS: links }, stdio: 'ignore' })
}

/** Whether the kernel answers an ARP request that is sent the moment the TAP is open. */
function answersAtOnce(name: string): boolean {
  const tap = new Tap(name)
  try {
    const bytes = new Uint8Array(2 * 2048)
    bytes.set([255, 255, 255, 255, 255, 255, 2, 0, 0, 0, 0, 2, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 2])
    bytes.set([10, 66, 7, 2, 0, 0, 0, 0, 0, 0, 10, 66, 7, 1], 28)
    tap.attach({ extents: [bytes.buffer], dataStart: [0], buffers: [2] })
    assert.is(tap.transmitBurst(Int32Array.of(0, 0, 42, 0), 1), 1)
    const deadline = performance.now() + 250
    while (performance.now() < deadline) {
      const isFrame = tap.receiveBurst(Int32Array.of(1, 0, 2048, 0), 0, 1) > 0
      if (isFrame && bytes[2048 + 13] === 6 && bytes[2048 + 21] === 2) return true
    }
    return false
  } finally {
    tap.release()
  }
}

test('the first frame into an interface that was up before is answered, however busy the host is', async () => {
  const [major = 0, minor = 0] = release().split('.').map(Number)
  if (major < 6 || (major === 6 && minor < 9)) {
    console.log(`SKIP: first frame: Linux ${release()} may take note of a carrier only later, and nothing makes it`)
    return
  }
  const contenders = [contendForLinks(), contendForLinks()]
  try {
    for (let round = 0; round < 40; round++) {
      execFileSync('ip', ['tuntap', 'add', 'pkfirst', 'mode', 'tap'])
      execFileSync('ip', ['address', 'add', '10.66.7.1/24', 'dev', 'pkfirst'])
      execFileSync('ip', ['link', 'set', 'pkfirst', 'up'])
      assert.ok(answersAtOnce('pkfirst'), `round ${round}`)
      execFileSync('ip', ['link', 'del', 'pkfirst'])
    }
  } finally {
    for (const contender of contenders) contender.kill()
    await Promise.all(contenders.map((contender) => contender.exitCode ?? once(contender, 'exit')))
  }
})

test('the native sum equals the reference for every length and alignment', () => {
  const seed = 20260101
  console.log(`seed ${seed}`)
  let state = seed
  const bytes = Uint8Array.from({ length: 2100 }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) | 0
    return state >>> 24
  })
  const view = new DataView(bytes.buffer)
  for (let offset = 0; offset < 9; offset++) {
    for (let length = 0; length <= 2048; length += length < 130 ? 1 : 61) {
      assert.is(
        internetSum(bytes.subarray(offset, offset + length)),
        sumBytes(view, offset, length),
        `${offset} ${length}`,
      )
    }
  }
  for (const fill of [0, 0xff]) {
    const same = new Uint8Array(2048).fill(fill)
    assert.is(internetSum(same), fill === 0 ? 0 : 0xffff)
  }
})

test('a process with an open TAP and a pending wait ends when told to, also inside a worker', () => {
  const open = `const { Tap } = await import(${JSON.stringify(PACKAGE)})
    for (let n = 0; n < 3; n++) { const tap = new Tap('pkend' + n); tap.isUp = true; tap.onReadable(() => {}) }`
  const plain = runNode(`${open}; process.exit(7)`)
  assert.is(plain.status, 7, plain.stderr)
  const worker = runNode(`import { Worker } from 'node:worker_threads'
    const worker = new Worker(new URL('data:text/javascript,' + encodeURIComponent(${JSON.stringify(`${open}; setTimeout(() => process.exit(5), 50)`)})))
    worker.on('error', (error) => { console.error(error); process.exit(1) })
    worker.on('exit', (code) => process.exit(code))`)
  assert.is(worker.status, 5, worker.stderr)
})

test('an error thrown by a readiness callback reaches the process as uncaught', () => {
  const program = `const { Tap } = await import(${JSON.stringify(PACKAGE)})
    process.on('uncaughtException', (error) => process.exit(error.message === 'mine' ? 9 : 1))
    const tap = new Tap('pkthrow')
    tap.onReadable(() => { throw new Error('mine') })
    tap.ipv4 = '10.66.9.1/24'
    tap.isUp = true // the kernel announces itself by IPv6 and IGMP frames`
  assert.is(runNode(program).status, 9)
})

test('no argument to the native side, however wrong, crashes it or throws', () => {
  const seed = 77
  console.log(`seed ${seed}`)
  let state = seed
  const random = (below: number): number => {
    state = (Math.imul(state, 1664525) + 1013904223) | 0
    return ((state >>> 8) * below) >>> 24
  }
  const require = createRequire(PACKAGE)
  const native = require('./build/Release/tuntap2.node') as Record<string, (...args: unknown[]) => unknown>
  const detached = new Int32Array(64)
  structuredClone(detached.buffer, { transfer: [detached.buffer] })
  const junk: unknown[] = [
    ...[undefined, null, true, 'pkjunk', '', '\0', 'x'.repeat(5000), {}, [], [1], 1n, Symbol('s'), () => {}],
    ...[0, 1, 4, 6, -1, 0.5, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 31, 2 ** 32, 2 ** 53],
    ...[new Uint8Array(6), new Uint8Array(0), new Float64Array(9), new Int32Array(7), new DataView(new ArrayBuffer(8))],
    ...[detached, new Int32Array(512).fill(-1), new Int32Array(512).fill(2 ** 31 - 1), new Int32Array(512)],
    ...[new ArrayBuffer(8192), [new ArrayBuffer(8192)], [0], [-1], [2 ** 40], ['1'], new Array(65).fill(1)],
  ]
  const opened: number[] = []
  const live = native.open!('pkfuzz', () => {}, 0) as number
  assert.is(native.attach!(live, [new ArrayBuffer(8192)], [0], [4]), 0)
  const names = Object.keys(native).filter((name) => name !== 'release')
  for (let round = 0; round < 30_000; round++) {
    const name = names[random(names.length)]!
    const args = Array.from({ length: random(6) }, () => junk[random(junk.length)])
    if (name !== 'open' && name !== 'sum' && random(4) > 0) args[0] = live
    const result = native[name]!(...args)
    assert.ok(Number.isInteger(result) || typeof result === 'string', name)
    if (name === 'open' && (result as number) >= 0) opened.push(result as number)
  }
  for (const id of [live, ...opened]) assert.is(native.release!(id), 0)
  for (const id of [live, -1, 99, 'x', undefined]) assert.ok((native.release!(id) as number) < 0)
})

test('memory that shrinks, and descriptors that lie in the buffers that they name, make bursts fail, not crash', () => {
  const shrinking = runNode(`const { Tap } = await import(${JSON.stringify(PACKAGE)})
    const tap = new Tap('pkshrink', { offload: 'checksum' })
    tap.isUp = true
    const memory = new ArrayBuffer(1 << 20, { maxByteLength: 1 << 20 })
    new Uint8Array(memory).fill(0x45)
    tap.attach({ extents: [memory], dataStart: [0], buffers: [512] })
    const results = [tap.transmitBurst(Int32Array.of(500, 0, 60, 2), 1)]
    memory.resize(4096)
    results.push(tap.transmitBurst(Int32Array.of(500, 0, 60, 2), 1), tap.receiveBurst(Int32Array.of(500, 0, 2048, 0), 0, 1))
    console.log(String(results))`)
  assert.is(shrinking.stdout, '1,-22,-22\n', shrinking.stderr)
  // The checksum field of the first frame is the upper half of the second one's buffer index.
  const aliased = runNode(`const { Tap } = await import(${JSON.stringify(PACKAGE)})
    const tap = new Tap('pkalias', { offload: 'checksum' })
    tap.isUp = true
    const bytes = new Uint8Array(8 * 2048)
    bytes.set([8, 0, 0x45], 12)
    tap.attach({ extents: [bytes.buffer], dataStart: [0], buffers: [8] })
    const descriptors = new Int32Array(bytes.buffer, 32, 8)
    descriptors.set([0, 0, 60, 2, 1, 0, 60, 2])
    console.log(tap.transmitBurst(descriptors, 2))`)
  assert.is(aliased.stdout, '-22\n', aliased.stderr)
})

test.run()
