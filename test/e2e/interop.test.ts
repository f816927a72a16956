/**
 * Packrat and Linux, both roles, IPv4 and IPv6, judged by a third party: each run is captured, and Wireshark's experts find
 * no error in it and no warning that is not explained here.
 *
 *   server:  curl, wrk, nc, bulk ──► packrat serve --capture
 *   client:  sockets of the stack in this process ──► node:http, nc, bulk in the kernel
 *
 * @timeout 180
 */

import { once } from 'node:events'
import { readFileSync, writeFileSync } from 'node:fs'
import * as http from 'node:http'
import * as net from 'node:net'
import { join } from 'node:path'
import * as assert from 'uvu/assert'
import { CapturedClient, KERNEL, KERNEL6 } from '../support/captured-client.ts'
import { type Explained, expertVerdict, FLOW_CONTROL } from '../support/expert.ts'
import {
  curl,
  fileHash,
  lacks,
  run,
  scratchDirectory,
  sleep,
  startDaemon,
  untilIdle,
  WRK_SCRIPT,
} from '../support/lab.ts'
import { privateNetworkSuite } from '../support/netns.ts'
import { announceSeed } from '../support/random.ts'
import { collect, pattern } from '../support/socket-lab.ts'

const test = privateNetworkSuite('interop', import.meta.url, {
  timeoutMs: 170_000,
  missing: lacks('curl', 'wrk', 'nc', 'tshark'),
})

const seed = announceSeed('interop', 21)
const directory = scratchDirectory()
const VALUE_BYTES = 1_000_000
const BULK_BYTES = 6 << 20
const PROGRAM_SECONDS_MAX = '20'
const SERVERS = ['10.77.0.2', 'fd77::2'] as const
const KERNELS = [KERNEL, KERNEL6] as const

const bracketed = (address: string): string => (address.includes(':') ? `[${address}]` : address)

/** The kernel's addresses on both TAPs. */
const KERNEL_SIDES = ['10.77.0.1', 'fd77::1', ...KERNELS]

/** Of the kernel only: the same from us would be a complaint. */
const KERNEL_WAYS: readonly Explained[] = [
  {
    message: /^TCP Checksum 0xffff instead of 0x0000/,
    from: KERNEL_SIDES,
    because: 'Linux writes a sum of zero as 0xffff, which is the same number',
  },
  {
    message: /^Connection reset \(RST\)$/,
    from: KERNEL_SIDES,
    afterRetransmission: true,
    because: 'a FIN was sent twice and acknowledged twice, and the first ACK had ended the connection',
  },
]

const WRK_RESETS: Explained = {
  message: /^Connection reset \(RST\)$/,
  from: KERNEL_SIDES,
  because: 'wrk ends in the middle of its requests, and closes with replies unread',
}

/** A machine too busy to read the TAP in time loses frames in the kernel's queue in front of it. */
const QUEUE_OVERFLOW: Explained = {
  message: /^Previous segment\(s\) not captured|^This frame is a \(suspected\) out-of-order segment$/,
  because: "the kernel's queue in front of the TAP has overflowed, as its counter says",
}

/** Frames that the kernel has dropped on their way to Packrat: the 12th number of an interface's line. */
function droppedInQueue(device: string): number {
  const line = readFileSync('/proc/net/dev', 'utf8')
    .split('\n')
    .find((each) => each.trim().startsWith(`${device}:`))
  return Number(line?.split(':')[1]?.trim().split(/\s+/)[11])
}

async function judge(file: string, dropped: number, expected: readonly Explained[]): Promise<void> {
  const explanations = [...expected, ...KERNEL_WAYS, ...(dropped > 0 ? [QUEUE_OVERFLOW] : [])]
  const { frames, complaints, explained } = await expertVerdict(file, explanations)
  assert.is(complaints.length, 0, complaints.slice(0, 20).join('\n'))
  assert.ok(frames > 10, 'the capture has the run')
  for (const [reason, count] of explained) console.log(`  ${count} of ${frames} frames: ${reason}`)
}

/** A run against the daemon, which ends with every buffer free or stored, and its capture. */
async function serving(name: string, explanations: readonly Explained[], body: (address: string) => Promise<void>) {
  const file = join(directory, `${name}.pcapng`)
  const daemon = await startDaemon({
    region: join(directory, `${name}.pm`),
    flags: ['--pm-size', '256M', '--durability', 'process', '--address6', `${SERVERS[1]}/64`, '--capture', file],
  })
  await kernelHasSettled()
  for (const address of SERVERS) await body(address)
  assert.is((await untilIdle(daemon)).buffers.inFlight, 0, 'every buffer came back')
  const dropped = droppedInQueue('packrat0')
  assert.equal(await daemon.stop(), { status: 0, signal: null })
  await judge(file, dropped, explanations)
}

/** The kernel looks for duplicates of its own address, and speaks from it only then. */
async function kernelHasSettled(): Promise<void> {
  for (let tries = 0; (await run('ip', ['-6', 'address', 'show', 'tentative'])).stdout.length > 0; tries++) {
    assert.ok(tries < 100, 'the kernel has an address of its own')
    await sleep(100)
  }
}

test('curl puts and gets values of every size', async () => {
  await serving('curl', FLOW_CONTROL, async (address) => {
    for (const bytes of [0, 1, 1448, 100_000, VALUE_BYTES]) {
      const [value, back] = [join(directory, 'value'), join(directory, 'back')]
      writeFileSync(value, pattern(bytes, seed))
      const url = `http://${bracketed(address)}/kv/size-${bytes}`
      const put = await curl('--globoff', '--upload-file', value, url, '--write-out', '%{http_code}')
      assert.match(put.stdout.toString(), /^20[14]$/, put.stderr)
      assert.is((await curl('--globoff', '--output', back, url)).status, 0)
      assert.is(fileHash(back), fileHash(value))
    }
  })
})

test('wrk keeps connections busy with small requests', async () => {
  await serving('wrk', [...FLOW_CONTROL, WRK_RESETS], async (address) => {
    const load = ['--threads', '1', '--connections', '8', '--duration', '1s', '--script', WRK_SCRIPT]
    const { status, stdout, stderr } = await run('wrk', [...load, `http://${bracketed(address)}`, '--', '1000', '100'])
    assert.is(status, 0, stderr)
    const { requests, errors } = JSON.parse(/^\{.*\}$/m.exec(stdout.toString())![0])
    assert.ok(requests > 100, `${requests} requests`)
    assert.equal(Object.values(errors), [0, 0, 0, 0, 0])
  })
})

test('nc closes its half first, and gets the answer whole', async () => {
  await serving('nc', FLOW_CONTROL, async (address) => {
    const value = pattern(VALUE_BYTES, seed)
    const nc = (input: Buffer) => run('nc', ['-N', '-w', PROGRAM_SECONDS_MAX, address, '80'], { input })
    const head = (line: string) => Buffer.from(`${line} HTTP/1.1\r\nHost: nc\r\n`)
    const put = [head('PUT /kv/nc'), Buffer.from(`Content-Length: ${value.length}\r\n\r\n`), value]
    assert.match((await nc(Buffer.concat(put))).stdout.toString(), /^HTTP\/1\.1 20[14] /)
    const got = await nc(Buffer.concat([head('GET /kv/nc'), Buffer.from('\r\n')]))
    assert.ok(got.stdout.subarray(-value.length).equals(value), got.stderr)
  })
})

test('bulk, in and out at the same time', async () => {
  await serving('bulk', FLOW_CONTROL, async (address) => {
    const value = join(directory, 'bulk')
    writeFileSync(value, pattern(BULK_BYTES, seed))
    const url = (key: string) => `http://${bracketed(address)}/kv/${key}`
    const put = (key: string) => curl('--globoff', '--upload-file', value, url(key))
    await put('out')
    const [, out] = await Promise.all([put('in'), curl('--globoff', url('out'))])
    const back = await curl('--globoff', url('in'))
    for (const { stdout } of [out, back]) assert.ok(stdout.equals(pattern(BULK_BYTES, seed)))
  })
})

/** A run of our sockets against servers in the kernel, over both versions of IP. */
async function connecting(name: string, body: (client: CapturedClient, kernel: string) => Promise<void>) {
  const file = join(directory, `${name}.pcapng`)
  const client = await CapturedClient.start(file, seed)
  await kernelHasSettled()
  let dropped = 0
  try {
    for (const kernel of KERNELS) await body(client, kernel)
    dropped = droppedInQueue(client.name)
  } finally {
    await client.close()
  }
  await judge(file, dropped, FLOW_CONTROL)
}

test('node:http over our sockets talks to an HTTP server of the kernel', async () => {
  await connecting('client-http', async (client, kernel) => {
    const server = http.createServer((incoming, response) => incoming.pipe(response)).listen(0, kernel)
    await once(server, 'listening')
    const { port } = server.address() as net.AddressInfo
    const bytes = pattern(VALUE_BYTES, seed)
    const outgoing = http.request({ method: 'POST', createConnection: () => client.connect(kernel, port) })
    outgoing.end(bytes)
    const [response] = (await once(outgoing, 'response')) as [http.IncomingMessage]
    assert.ok((await collect(response)).equals(bytes))
    server.close()
  })
})

test('nc listens and closes its half first; what we send then still arrives', async () => {
  await connecting('client-nc', async (client, kernel) => {
    const theirs = join(directory, 'theirs')
    const ours = pattern(VALUE_BYTES, seed + 1)
    writeFileSync(theirs, pattern(VALUE_BYTES, seed))
    const listener = run('sh', ['-c', `exec timeout ${PROGRAM_SECONDS_MAX} nc -l -N "$1" 7000 < "$0"`, theirs, kernel])
    await listening(kernel, 7000)
    const socket = client.connect(kernel, 7000)
    assert.ok((await collect(socket)).equals(pattern(VALUE_BYTES, seed)))
    socket.end(ours) // nc(1) as a listener ends as soon as it hears of our end
    assert.ok((await listener).stdout.equals(ours))
  })
})

test('we close our half first, and get the answer whole', async () => {
  await connecting('client-half', async (client, kernel) => {
    const bytes = pattern(VALUE_BYTES, seed)
    const server = net.createServer({ allowHalfOpen: true }, async (socket) => socket.end(await collect(socket)))
    server.listen(0, kernel)
    await once(server, 'listening')
    const socket = client.connect(kernel, (server.address() as net.AddressInfo).port)
    socket.end(bytes)
    assert.ok((await collect(socket)).equals(bytes))
    server.close()
  })
})

test('bulk to and from the kernel', async () => {
  await connecting('client-bulk', async (client, kernel) => {
    const bytes = pattern(BULK_BYTES, seed)
    let got: Promise<Buffer> | undefined
    const server = net.createServer({ allowHalfOpen: true }, (socket) => {
      got = collect(socket)
      socket.end(bytes)
    })
    server.listen(0, kernel)
    await once(server, 'listening')
    const socket = client.connect(kernel, (server.address() as net.AddressInfo).port)
    socket.end(bytes)
    assert.ok((await collect(socket)).equals(bytes))
    assert.ok((await got!).equals(bytes))
    server.close()
  })
})

/** nc does not say when it listens. */
async function listening(address: string, port: number): Promise<void> {
  for (let tries = 0; ; tries++) {
    const { stdout } = await run('ss', ['-ltnH', 'src', `${bracketed(address)}:${port}`])
    if (stdout.length > 0) return
    assert.ok(tries < 100, 'nc listens')
    await sleep(50)
  }
}

test.run()
