/**
 * The stack's sockets against the Linux kernel over a TAP in a private network, driven by the loop that `serve` uses, which
 * sleeps when nothing moves: curl, node's own fetch, net and dgram, and nc stand on the kernel's side.
 */
import { spawn } from 'node:child_process'
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import * as http from 'node:http'
import * as net from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import * as assert from 'uvu/assert'
import { TapDevice, tapAvailability } from '../../drivers/tap.ts'
import { SystemClock, SystemWallClock } from '../../stack/clock.ts'
import { Host } from '../../stack/host.ts'
import { SeededRandom } from '../../stack/random.ts'
import { connect, createDatagramSocket, createServer, Network } from '../../stack/sockets/index.ts'
import { Loop } from '../../tools/loop.ts'
import { privateNetworkSuite } from '../support/netns.ts'
import { announceSeed } from '../support/random.ts'
import { collect, pattern, until } from '../support/socket-lab.ts'
import { createPool } from '../support/virtual-link.ts'

const test = privateNetworkSuite('sockets linux', import.meta.url, { missing: () => tapAvailability().reason })

const seed = announceSeed('sockets-linux', 43)
const ADDRESS = '10.66.0.2'
const KERNEL = '10.66.0.1'
const BULK_BYTES = 16 << 20
const TOOL_SECONDS_MAX = '20'

class Lab {
  readonly pool = createPool(8192)
  readonly device: TapDevice
  readonly host: Host
  readonly network: Network
  private readonly clock = new SystemClock()
  private readonly loop: Loop

  constructor() {
    this.device = new TapDevice(this.pool, { name: 'pksocket0', hostAddress: `${KERNEL}/24` })
    this.host = new Host(
      {
        device: this.device,
        pool: this.pool,
        address: `${ADDRESS}/24`,
        random: new SeededRandom(seed),
        secret: new Uint8Array(16).fill(seed),
        wallClock: new SystemWallClock(),
        tcp: { connectionsMax: 256, timeWaitsMax: 256 },
      },
      this.clock.nowUs(),
    )
    this.loop = new Loop({
      host: this.host,
      device: this.device,
      clock: this.clock,
      busyPollUs: 100,
      onIdle: () => false,
      onError: (error) => {
        throw error
      },
    })
    this.network = new Network({ host: this.host, clock: this.clock, wake: () => this.loop.wake() })
    this.loop.start()
  }

  async close(): Promise<void> {
    try {
      await until(() => this.host.tcp.connectionCount === 0, 'connections end')
    } finally {
      this.loop.stop()
      this.host.close(this.clock.nowUs())
      this.device.close()
    }
    assert.is(this.pool.freeBuffers, this.pool.totalBuffers, 'every buffer is back')
    assert.is(this.pool.freeMetas, this.pool.totalMetas, 'every line is back')
  }
}

async function withLab(body: (lab: Lab) => Promise<void>): Promise<void> {
  const lab = new Lab()
  let failed = true
  try {
    await body(lab)
    failed = false
  } finally {
    // What the body threw says more than the leak that may follow from it.
    await lab.close().catch((error: unknown) => {
      if (!failed) throw error
    })
  }
}

/** node:http's server on port 80 of the stack. */
async function withHttp(handler: http.RequestListener, body: (lab: Lab) => Promise<void>): Promise<void> {
  await withLab(async (lab) => {
    const server = http.createServer(handler)
    const listener = createServer({ network: lab.network, allowHalfOpen: true, noDelay: true }, (socket) =>
      server.emit('connection', socket),
    )
    listener.listen(80)
    await once(listener, 'listening')
    server.emit('listening') // starts the bookkeeping behind closeAllConnections
    await body(lab)
    server.closeAllConnections()
    listener.close()
    await once(listener, 'close')
  })
}

/** Runs a program to its end; its output, or undefined if it is not installed. */
async function run(command: string, args: string[], input?: Buffer | string): Promise<Buffer | undefined> {
  const child = spawn(command, args, { stdio: ['pipe', 'pipe', 'ignore'] })
  try {
    await once(child, 'spawn')
  } catch {
    console.log(`SKIP: no ${command}(1) here`)
    return undefined
  }
  child.stdin.on('error', () => {}) // it may end before it has read everything
  child.stdin.end(input)
  return collect(child.stdout)
}

test('curl sends a large body to node:http on the stack, and gets it back', async () => {
  await withHttp(
    (incoming, response) => incoming.pipe(response),
    async () => {
      const bytes = pattern(BULK_BYTES, seed)
      const args = ['-s', '-m', TOOL_SECONDS_MAX, '-T', '-', '-H', 'Expect:', `http://${ADDRESS}/`]
      const got = await run('curl', args, bytes)
      if (got !== undefined) assert.ok(got.equals(bytes))
    },
  )
})

test('fetch keeps connections alive, posts, and aborts', async () => {
  await withHttp(
    (incoming, response) => {
      if (incoming.url === '/stall') response.write('beginning')
      else incoming.pipe(response)
    },
    async () => {
      const bytes = pattern(1 << 20, seed)
      for (let turn = 0; turn < 5; turn++) {
        const response = await fetch(`http://${ADDRESS}/`, { method: 'POST', body: bytes })
        assert.ok(Buffer.from(await response.arrayBuffer()).equals(bytes))
      }
      const abort = new AbortController()
      const response = await fetch(`http://${ADDRESS}/stall`, { signal: abort.signal })
      abort.abort()
      const failed = await response.text().then(
        () => undefined,
        (error: Error) => error,
      )
      assert.is(failed?.name, 'AbortError')
    },
  )
})

test('connects to servers of the kernel: node:http over it, half close, refusal, reset', async () => {
  await withLab(async (lab) => {
    const bytes = pattern(4 << 20, seed)
    const server = http.createServer((incoming, response) => incoming.pipe(response))
    const resetting = net.createServer((socket) => socket.once('data', () => socket.resetAndDestroy()))
    server.listen(8080, KERNEL)
    resetting.listen(8081, KERNEL)
    await Promise.all([once(server, 'listening'), once(resetting, 'listening')])
    try {
      const to = (port: number) => connect({ network: lab.network, host: KERNEL, port })
      const outgoing = http.request({ method: 'POST', createConnection: () => to(8080) })
      outgoing.end(bytes)
      const [response] = (await once(outgoing, 'response')) as [http.IncomingMessage]
      assert.ok((await collect(response)).equals(bytes))

      const [refused] = (await once(to(9), 'error')) as [NodeJS.ErrnoException]
      assert.is(refused.code, 'ECONNREFUSED')
      const socket = to(8081)
      socket.write('x')
      const [reset] = (await once(socket, 'error')) as [NodeJS.ErrnoException]
      assert.is(reset.code, 'ECONNRESET')
    } finally {
      server.close()
      resetting.close()
    }
  })
})

test('a kernel client that does not read stops the sender, and goes on', async () => {
  await withLab(async (lab) => {
    const bytes = pattern(BULK_BYTES, seed)
    let written = false
    const listener = createServer({ network: lab.network }, (socket) => {
      socket.end(bytes, () => {
        written = true
      })
    })
    listener.listen(7000)
    const socket = net.connect(7000, ADDRESS)
    socket.pause()
    await sleep(300)
    assert.is(written, false)
    socket.resume()
    assert.ok((await collect(socket)).equals(bytes))
    assert.is(written, true)
    listener.close()
    await once(listener, 'close')
  })
})

test('100 kernel clients at once, one echo each', async () => {
  await withLab(async (lab) => {
    const listener = createServer({ network: lab.network, allowHalfOpen: true }, (socket) => socket.pipe(socket))
    listener.listen(7)
    const echoes = await Promise.all(
      Array.from({ length: 100 }, async (_, index) => {
        const socket = net.connect({ port: 7, host: ADDRESS, allowHalfOpen: true })
        socket.end(`client ${index}`)
        return (await collect(socket)).toString()
      }),
    )
    assert.equal(
      echoes,
      Array.from({ length: 100 }, (_, index) => `client ${index}`),
    )
    listener.close()
    await once(listener, 'close')
  })
})

test('UDP with the kernel: echo to node:dgram and nc, refusal both ways', async () => {
  await withLab(async (lab) => {
    const server = createDatagramSocket({ network: lab.network }, (message, remote) =>
      server.send(message, remote.port, remote.address),
    ).bind(7)
    const client = createSocket('udp4')
    for (const size of [0, 1, 1471, 1472]) {
      const bytes = pattern(size, seed)
      client.send(bytes, 7, ADDRESS)
      const [message] = await once(client, 'message')
      assert.ok(message.equals(bytes), `${size} bytes`)
    }
    client.close()
    const echoed = await run('nc', ['-u', '-w', '1', ADDRESS, '7'], 'from nc')
    if (echoed !== undefined) assert.is(echoed.toString(), 'from nc')

    const refusedByStack = createSocket('udp4')
    refusedByStack.connect(9, ADDRESS)
    await once(refusedByStack, 'connect')
    refusedByStack.send('x')
    const [byStack] = (await once(refusedByStack, 'error')) as [NodeJS.ErrnoException]
    assert.is(byStack.code, 'ECONNREFUSED')
    refusedByStack.close()

    const refusedByKernel = createDatagramSocket({ network: lab.network })
    refusedByKernel.connect(9, KERNEL)
    refusedByKernel.send('x')
    const [byKernel] = (await once(refusedByKernel, 'error')) as [NodeJS.ErrnoException]
    assert.is(byKernel.code, 'ECONNREFUSED')
    refusedByKernel.close()
    server.close()
    await once(server, 'close')
  })
})

test.run()
