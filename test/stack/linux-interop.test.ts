/**
 * The stack against the Linux kernel, over a TAP in a private network: ping, an echo, bulk both ways, half close,
 * refusal and reset. The kernel's side is ping(8) and node:net.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { connect, createServer, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import * as assert from 'uvu/assert'
import { TapDevice, type TapOptions, tapAvailability } from '../../drivers/tap.ts'
import { SystemClock, SystemWallClock } from '../../stack/clock.ts'
import { Host } from '../../stack/host.ts'
import { SeededRandom } from '../../stack/random.ts'
import type { Application } from '../../stack/tcp/application.ts'
import type { Connection } from '../../stack/tcp/connection.ts'
import { privateNetworkSuite } from '../support/netns.ts'
import { chainOf, StreamApplication } from '../support/stream-application.ts'
import { createPool } from '../support/virtual-link.ts'

const test = privateNetworkSuite('linux interop', import.meta.url, { missing: () => tapAvailability().reason })

const SEED = 7
const ADDRESS = '10.66.0.2'
const KERNEL = '10.66.0.1'
const BULK_BYTES = 16 << 20

/** A host on a TAP, polled as fast as the event loop turns. */
class Lab {
  readonly pool = createPool(8192)
  readonly device: TapDevice
  readonly host: Host
  private readonly clock = new SystemClock()
  private stopped = false

  constructor(options: Partial<TapOptions>) {
    this.device = new TapDevice(this.pool, { name: 'pkstack0', hostAddress: `${KERNEL}/24`, ...options })
    this.host = new Host(
      {
        device: this.device,
        pool: this.pool,
        address: `${ADDRESS}/24`,
        random: new SeededRandom(SEED),
        secret: new Uint8Array(16).fill(SEED),
        wallClock: new SystemWallClock(),
        tcp: { connectionsMax: 64, timeWaitsMax: 64 },
      },
      this.clock.nowUs(),
    )
    this.turn()
  }

  close(): void {
    this.stopped = true
    this.host.close(this.clock.nowUs())
    this.device.close()
    assert.is(this.pool.freeBuffers, this.pool.totalBuffers, 'every buffer is back')
    assert.is(this.pool.freeMetas, this.pool.totalMetas, 'every line is back')
  }

  private turn(): void {
    if (this.stopped) return
    this.host.poll(this.clock.nowUs())
    setImmediate(() => this.turn())
  }
}

async function withLab(body: (lab: Lab) => Promise<void>, options: Partial<TapOptions> = {}): Promise<void> {
  const lab = new Lab(options)
  try {
    await body(lab)
  } finally {
    lab.close()
  }
}

/** Sends back the very lines that came in: no byte is touched. */
class Echo implements Application {
  onAccept(): void {}
  onReceive(c: Connection): void {
    c.send(c.takeReceived())
    if (c.receiveFinished !== 0) c.shutdown()
  }
  onSendSpace(): void {}
  onClose(): void {}
}

async function collect(socket: Socket): Promise<Buffer> {
  // Not `for await`: that would destroy the socket at the end of the peer's data.
  const parts: Buffer[] = []
  socket.on('data', (part) => parts.push(part))
  await once(socket, 'end')
  return Buffer.concat(parts)
}

function pattern(length: number): Buffer {
  const random = new SeededRandom(SEED)
  const bytes = Buffer.alloc(length)
  for (let at = 0; at + 4 <= length; at += 4) bytes.writeInt32LE(random.next(), at)
  return bytes
}

test('answers ping, also of the largest size that fits and of an odd one', async () => {
  await withLab(async (lab) => {
    for (const size of ['56', '1472', '33']) {
      const ping = spawn('ping', ['-c', '3', '-i', '0.2', '-W', '2', '-s', size, ADDRESS], { stdio: 'ignore' })
      const [status] = await once(ping, 'exit')
      assert.is(status, 0, `ping -s ${size}`)
    }
    assert.is(lab.host.counters.icmp.echoReplies, 9)
  })
})

test('echoes bulk data of a kernel client, which half-closes', async () => {
  await withLab(async (lab) => {
    lab.host.tcp.listen(7, new Echo())
    const sent = pattern(BULK_BYTES)
    const socket = connect({ host: ADDRESS, port: 7, allowHalfOpen: true })
    socket.end(sent)
    const got = await collect(socket)
    assert.ok(got.equals(sent))
    assert.is(lab.host.counters.tcp.dropChecksum, 0)
  })
})

test('with an MTU of 9000, frames of several buffers: answers ping and echoes bulk data', async () => {
  await withLab(
    async (lab) => {
      for (const size of ['8972', '20001']) {
        const ping = spawn('ping', ['-c', '2', '-i', '0.2', '-W', '2', '-s', size, ADDRESS], { stdio: 'ignore' })
        const [status] = await once(ping, 'exit')
        assert.is(status, 0, `ping -s ${size}`)
      }
      lab.host.tcp.listen(7, new Echo())
      const sent = pattern(BULK_BYTES)
      const socket = connect({ host: ADDRESS, port: 7, allowHalfOpen: true })
      socket.end(sent)
      const got = await collect(socket)
      assert.ok(got.equals(sent))
      const { received, dropChecksum } = lab.host.counters.tcp
      assert.is(dropChecksum, 0)
      assert.ok(received < BULK_BYTES / 4000, `${received} segments of up to 8948 bytes, and ACKs`)
      assert.is(lab.device.receiveTruncated, 0)
    },
    { mtu: 9000 },
  )
})

for (const offload of ['checksum', 'all'] as const) {
  test(`with offload ${offload} everything is answered as without`, async () => {
    await withLab(
      async (lab) => {
        const ping = spawn('ping', ['-c', '2', '-i', '0.2', '-W', '2', '-s', '3001', ADDRESS], { stdio: 'ignore' })
        const [status] = await once(ping, 'exit')
        assert.is(status, 0)
        lab.host.tcp.listen(7, new Echo())
        const sent = pattern(BULK_BYTES)
        const socket = connect({ host: ADDRESS, port: 7, allowHalfOpen: true })
        socket.end(sent)
        const got = await collect(socket)
        assert.ok(got.equals(sent))
        const { dropChecksum, received, runsSent } = lab.host.counters.tcp
        const { receivedPartialSums, receivedLongFrames, transmittedLongFrames } = lab.device.readOffloads()
        assert.is(dropChecksum, 0)
        assert.ok(receivedPartialSums > received / 2, `${receivedPartialSums} of ${received} sums were left to us`)
        if (offload === 'all') {
          assert.ok(received < BULK_BYTES / 5000, `${received} frames, and ACKs`)
          assert.ok(receivedLongFrames > 0 && transmittedLongFrames > 0)
          assert.is(transmittedLongFrames, runsSent)
        } else assert.equal([receivedLongFrames, transmittedLongFrames, runsSent], [0, 0, 0])
        assert.is(lab.device.receiveTruncated, 0)
        assert.is(lab.device.counters.transmitDropped, 0)
      },
      { offload },
    )
  })
}

test('connects to a kernel server and sends it bulk data', async () => {
  await withLab(async (lab) => {
    const sent = pattern(4 << 20)
    const server = createServer({ allowHalfOpen: true })
    server.listen(5000, KERNEL)
    await once(server, 'listening')
    const accepted = once(server, 'connection') as Promise<[Socket]>
    const client = new StreamApplication(lab.pool)
    client.connected = (c) => {
      c.send(chainOf(lab.pool, sent))
      c.shutdown()
    }
    try {
      lab.host.tcp.connect(KERNEL, 5000, client)
      const [socket] = await accepted
      const got = await collect(socket)
      socket.end('done')
      await sleep(50)
      assert.ok(got.equals(sent))
      assert.is(Buffer.from(client.bytes).toString(), 'done')
      assert.is(client.closeReason, 0)
    } finally {
      server.close()
    }
  })
})

test('many connections at once, one request each', async () => {
  await withLab(async (lab) => {
    lab.host.tcp.listen(7, new Echo())
    const replies = await Promise.all(
      Array.from({ length: 50 }, async (_, index) => {
        const socket = connect({ host: ADDRESS, port: 7, allowHalfOpen: true })
        socket.end(`request ${index}`)
        return (await collect(socket)).toString()
      }),
    )
    assert.equal(
      replies,
      Array.from({ length: 50 }, (_, index) => `request ${index}`),
    )
    assert.is(lab.host.tcp.timeWaitCount, 0, 'the kernel closed first, so it waits')
  })
})

test('refuses where nobody listens; a reset ends the connection', async () => {
  await withLab(async (lab) => {
    const refused = connect(8, ADDRESS)
    const [error] = (await once(refused, 'error')) as [NodeJS.ErrnoException]
    assert.is(error.code, 'ECONNREFUSED')

    const server = new StreamApplication(lab.pool)
    lab.host.tcp.listen(9, server)
    const socket = connect(9, ADDRESS)
    await once(socket, 'connect')
    socket.resetAndDestroy()
    await sleep(50)
    assert.is(server.closeReason, 1)
  })
})

test.run()
