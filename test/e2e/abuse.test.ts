/**
 * Abuse with the tools that people use for it: nmap's scans, hping3's floods, thousands of idle connections, clients that
 * never read, single bytes, connections by the ten thousand. After each: the service answers, no buffer is missing, and a
 * counter names what was refused.
 *
 *   nmap, hping3, wrk, node:net ── kernel TCP, raw sockets ── TAP ── packrat serve
 *
 * PACKRAT_ABUSE=full: 10,000 idle connections, floods of 5 s, 50,000 short connections, 100 slow readers.
 *
 * @timeout 280
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync, writeFileSync } from 'node:fs'
import * as net from 'node:net'
import { join } from 'node:path'
import * as assert from 'uvu/assert'
import {
  curlStatus,
  type Daemon,
  keyUrl,
  lacks,
  type Outcome,
  PACKRAT_ADDRESS,
  PACKRAT_URL,
  run,
  scratchDirectory,
  sleep,
  startDaemon,
  untilIdle,
} from '../support/lab.ts'
import { privateNetworkSuite } from '../support/netns.ts'

const FULL = process.env.PACKRAT_ABUSE === 'full'

const test = privateNetworkSuite('abuse', import.meta.url, {
  timeoutMs: FULL ? 900_000 : 270_000,
  missing: lacks('curl', 'wrk', 'nmap', 'hping3', 'timeout'),
})

const FLOOD_SECONDS = FULL ? 5 : 1
const IDLE_CONNECTIONS = FULL ? 10_000 : 500
const SHORT_CONNECTIONS = FULL ? 50_000 : 2000
const SLOW_READERS = FULL ? 100 : 20
const SINGLE_BYTES = FULL ? 100_000 : 10_000

const VALUE_BYTES = 1 << 20
const CHURN_SECONDS_MAX = FULL ? 300 : 60
/** A busy machine may stand still for a moment; a SYN that is refused twice waits for 3 s, and so do all clients then. */
const STALL_MS = 2000
const SETTLE_MS_MAX = 20_000

const directory = scratchDirectory()
let daemon: Daemon

type Counters = Readonly<Record<string, Readonly<Record<string, number>>>>

async function counters(): Promise<Counters> {
  return (await daemon.stats()) as unknown as Counters
}

/** How much each counter of a layer has grown since `before`. */
async function growth(before: Counters, layer: string): Promise<Record<string, number>> {
  const now = (await counters())[layer]!
  return Object.fromEntries(Object.entries(now).map(([name, value]) => [name, value - (before[layer]?.[name] ?? 0)]))
}

test.before(async () => {
  writeFileSync(join(directory, 'value'), Buffer.alloc(VALUE_BYTES, 'packrat'))
  daemon = await startDaemon({
    region: join(directory, 'abuse.pm'),
    // With a gateway, answers to spoofed sources do leave.
    flags: ['--pm-size', '256M', '--durability', 'process', '--gateway', '10.77.0.1'],
  })
  await curlStatus('--upload-file', join(directory, 'value'), keyUrl('value'))
})

test.after(async () => {
  if (daemon?.alive) assert.equal(await daemon.stop(), { status: 0, signal: null })
})

/** The service answers, and every buffer is free or stored. */
async function unharmed(): Promise<void> {
  assert.is(await curlStatus(keyUrl('value')), 200)
  const { buffers } = await untilIdle(daemon, SETTLE_MS_MAX)
  assert.is(buffers.inFlight, 0, 'every buffer came back')
}

async function succeeded(program: string, ...args: string[]): Promise<Outcome> {
  const outcome = await run(program, args)
  assert.is(outcome.status, 0, `${program} ${args.join(' ')}: ${outcome.stderr}`)
  return outcome
}

/* --- scans --- */

const nmap = (...args: string[]) =>
  succeeded('nmap', '-n', '-Pn', '-T5', '--max-retries', '1', '--host-timeout', '40s', ...args, PACKRAT_ADDRESS)

test('nmap finds the one open port, and is told of the closed ones', async () => {
  const { stdout } = await nmap('-sS', '-p', '1-200')
  assert.match(stdout.toString(), /^80\/tcp +open/m)
  assert.match(stdout.toString(), /Not shown: 199 closed tcp ports \(reset\)/)
  await unharmed()
})

test('nmap behind decoys sees the same; headers cut into fragments are refused', async () => {
  const decoyed = await nmap('-sS', '-p', '80,81', '-D', '10.77.0.77,192.0.2.1')
  assert.match(decoyed.stdout.toString(), /^80\/tcp +open/m)
  assert.match(decoyed.stdout.toString(), /^81\/tcp +closed/m)
  const before = await counters()
  // RFC 1858: a first fragment without the whole TCP header is only made to get past filters.
  for (const cut of [['-f'], ['--mtu', '16']])
    assert.match((await nmap('-sS', '-p', '80', ...cut)).stdout.toString(), /^80\/tcp +filtered/m, cut.join(' '))
  assert.ok((await growth(before, 'fragments')).dropTiny! > 0)
  await unharmed()
})

test('segments without sense are answered as RFC 9293 says: an open port is silent', async () => {
  for (const scan of ['-sX', '-sN', '-sF']) {
    const { stdout } = await nmap(scan, '-p', '80-81')
    assert.match(stdout.toString(), /^80\/tcp +open\|filtered/m, scan)
    assert.match(stdout.toString(), /^81\/tcp +closed/m, scan)
  }
  await unharmed()
})

test('wrong checksums are dropped and counted', async () => {
  const before = await counters()
  assert.match((await nmap('-sS', '--badsum', '-p', '80')).stdout.toString(), /^80\/tcp +filtered/m)
  assert.ok((await growth(before, 'tcp')).dropChecksum! > 0)
  await unharmed()
})

test('UDP scans and attempts to name the system do no harm', async () => {
  const before = await counters()
  await nmap('-sU', '-p', '1-30')
  assert.ok((await growth(before, 'udp')).dropNoPort! > 0)
  assert.ok((await growth(before, 'icmp')).errorsSent! > 0)
  await nmap('-O', '-p', '80,81')
  await unharmed()
})

/* --- floods --- */

/** Runs hping3 for a time, while a client asks again and again; the slowest answer, ms. */
async function flood(...args: string[]): Promise<number> {
  let flooding = true
  const flags = [`${FLOOD_SECONDS}`, 'hping3', '--flood', '-q', ...args, PACKRAT_ADDRESS]
  const flooded = run('timeout', flags).finally(() => {
    flooding = false
  })
  let slowestMs = 0
  let answers = 0
  for (; flooding; answers++) {
    const asked = performance.now()
    assert.is(await curlStatus('--max-time', '30', keyUrl('value')), 200)
    slowestMs = Math.max(slowestMs, performance.now() - asked)
  }
  assert.is((await flooded).status, 124, 'hping3 ran until its time was up')
  assert.ok(answers > 0)
  console.log(`  ${args.join(' ')}: ${answers} answers meanwhile, the slowest after ${slowestMs.toFixed(0)} ms`)
  return slowestMs
}

test('a flood of SYNs from everywhere: cookies, and honest clients are served', async () => {
  const before = await counters()
  await flood('-S', '-p', '80', '--rand-source')
  const { cookiesSent, received } = await growth(before, 'tcp')
  console.log(`  ${received} segments, ${cookiesSent} cookies`)
  assert.ok(cookiesSent! > 0, 'the backlog was full')
  await unharmed()
})

test('floods of RST and of ACK for nobody, and a connection that is flooded with both', async () => {
  const socket = net.connect(80, PACKRAT_ADDRESS)
  await once(socket, 'connect')
  const before = await counters()
  const own = ['-p', '80', '-s', `${socket.localPort}`, '-k']
  for (const flags of [
    ['-R', '-p', '80'],
    ['-A', '-p', '80'],
    ['-R', ...own],
    ['-S', ...own],
  ])
    await flood(...flags)
  const { dropNoConnection, dropReset, dropSequence, dropSyn } = await growth(before, 'tcp')
  assert.ok(dropNoConnection! > 0)
  assert.ok(dropReset! + dropSequence! + dropSyn! > 0, 'guesses at the connection')
  socket.end('GET /kv/value HTTP/1.1\r\nHost: survivor\r\nConnection: close\r\n\r\n')
  let bytes = 0
  socket.on('data', (chunk) => {
    bytes += chunk.length
  })
  await once(socket, 'end')
  assert.ok(bytes > VALUE_BYTES, 'the connection has survived')
  await unharmed()
})

test('a SYN from our own address and port (land) goes nowhere', async () => {
  const before = await counters()
  await run('hping3', [
    '-q',
    '-c',
    '100',
    '-i',
    'u1000',
    '-S',
    '-a',
    PACKRAT_ADDRESS,
    '-s',
    '80',
    '-p',
    '80',
    PACKRAT_ADDRESS,
  ])
  const { passiveOpens, established } = await growth(before, 'tcp')
  assert.equal([passiveOpens, established], [0, 0])
  await unharmed()
})

/* --- connections --- */

test(`${IDLE_CONNECTIONS} idle connections cost little, and requests go on`, async () => {
  const rssKiB = () => Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${daemon.pid}/status`, 'utf8'))![1])
  const before = rssKiB()
  const sockets: net.Socket[] = []
  for (let first = 0; first < IDLE_CONNECTIONS; first += 250) {
    const batch = Array.from({ length: Math.min(250, IDLE_CONNECTIONS - first) }, () =>
      net.connect(80, PACKRAT_ADDRESS),
    )
    await Promise.all(batch.map((socket) => once(socket, 'connect')))
    sockets.push(...batch)
  }
  const { tcp } = await counters()
  assert.ok(tcp!.connections! >= IDLE_CONNECTIONS, `${tcp!.connections} connections`)
  for (let turn = 0; turn < 20; turn++) assert.is(await curlStatus(keyUrl('value')), 200)
  const grown = rssKiB() - before
  console.log(`  ${IDLE_CONNECTIONS} connections: ${grown} KiB, of ${rssKiB()} KiB resident`)
  const socket = sockets[IDLE_CONNECTIONS >> 1]!
  socket.write('HEAD /kv/value HTTP/1.1\r\nHost: late\r\n\r\n')
  assert.match(String((await once(socket, 'data'))[0]), /^HTTP\/1\.1 200 /)
  for (const each of sockets) each.destroy()
  await unharmed()
})

test(`${SHORT_CONNECTIONS} connections for one request each, without a stall`, async () => {
  const before = await counters()
  const opened = async () => (await growth(before, 'tcp')).passiveOpens!
  const load = ['-t1', '-c16', `-d${CHURN_SECONDS_MAX}s`, '-H', 'Connection: close', `${PACKRAT_URL}/kv/none`]
  const wrk = spawn('wrk', load, { stdio: 'ignore' })
  const pace: number[] = []
  let stalledMs = 0
  let last = 0
  const started = performance.now()
  while (last < SHORT_CONNECTIONS) {
    await sleep(250)
    const now = await opened()
    pace.push(now - last)
    stalledMs = now === last ? stalledMs + 250 : 0
    assert.ok(stalledMs < STALL_MS, `no connection for ${stalledMs} ms after ${now}`)
    assert.ok(wrk.exitCode === null, `${now} in ${CHURN_SECONDS_MAX} s`)
    last = now
  }
  wrk.kill('SIGINT')
  await once(wrk, 'exit')
  const seconds = (performance.now() - started) / 1000
  console.log(
    `  ${last} in ${seconds.toFixed(1)} s; a quarter of a second: ${Math.min(...pace)} to ${Math.max(...pace)}`,
  )
  await unharmed()
})

test(`${SLOW_READERS} clients that never read 1 MB, while others are served`, async () => {
  const sockets = Array.from({ length: SLOW_READERS }, () => net.connect(80, PACKRAT_ADDRESS).pause())
  for (const socket of sockets) {
    await once(socket, 'connect')
    socket.write('GET /kv/value HTTP/1.1\r\nHost: slow\r\n\r\n'.repeat(8))
  }
  await sleep(500)
  for (let turn = 0; turn < 10; turn++) {
    assert.is(await curlStatus('--upload-file', join(directory, 'value'), keyUrl('other')), turn === 0 ? 201 : 204)
    assert.is(await curlStatus(keyUrl('value')), 200)
  }
  for (const socket of sockets) socket.destroy()
  await unharmed()
})

test(`${SINGLE_BYTES} segments of one byte are bounded in buffers`, async () => {
  const socket = net.connect({ port: 80, host: PACKRAT_ADDRESS, noDelay: true })
  await once(socket, 'connect')
  socket.write(`PUT /kv/bytes HTTP/1.1\r\nHost: bytes\r\nContent-Length: ${SINGLE_BYTES}\r\n\r\n`)
  let most = 0
  for (let sent = 0; sent < SINGLE_BYTES; sent++) {
    if (!socket.write('x')) await once(socket, 'drain')
    if (sent % 500 !== 0) continue
    most = Math.max(most, (await daemon.stats()).buffers.inFlight)
  }
  assert.match(String((await once(socket, 'data'))[0]), /^HTTP\/1\.1 20[14] /)
  console.log(`  at most ${most} buffers at once`)
  assert.ok(most < SINGLE_BYTES / 20 + 256, `${most} buffers for ${SINGLE_BYTES} bytes`)
  socket.end()
  await unharmed()
})

/** Last: what is incomplete holds its buffers for 30 s. */
test('first and last fragments that never meet, and large datagrams in pieces, are bounded', async () => {
  const before = await counters()
  await flood('--udp', '--rand-source', '-p', '9', '-x', '-d', '600') // more fragments, which do not come
  await flood('--udp', '--rand-source', '-p', '9', '-g', '64', '-d', '600') // pieces from the middle
  await flood('-1', '-d', '4000', '-f', '-m', '256')
  const found = await growth(before, 'fragments')
  console.log(`  ${JSON.stringify(found)}`)
  assert.ok(found.received! > 0)
  assert.is(await curlStatus(keyUrl('value')), 200)
  const { buffers } = await daemon.stats()
  assert.ok(buffers.inFlight <= 2048 + 256, `${buffers.inFlight} buffers wait for the rest of their datagrams`)
})

test.run()
