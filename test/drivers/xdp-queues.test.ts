/** Several queues of one interface: what comes in on a queue is answered on it, and no queue keeps the others waiting. */
import { createSocket, type Socket } from 'node:dgram'
import { once } from 'node:events'
import * as assert from 'uvu/assert'
import { D_BUFFER, D_LENGTH, D_OFFSET, DESCRIPTOR_WORDS, ReceiveBurst, TransmitBurst } from '../../drivers/device.ts'
import type { XdpDevice } from '../../drivers/xdp.ts'
import { privateNetworkSuite } from '../support/netns.ts'
import { lacksXdpPair, PEER, XdpPair } from '../support/xdp-pair.ts'

const test = privateNetworkSuite('xdp queues', import.meta.url, { missing: lacksXdpPair })

const QUEUES = 4
const CLIENTS = 32
const ROUNDS = 20

let pair: XdpPair

test.before(() => {
  pair = new XdpPair(QUEUES)
})

test.after(() => pair?.close())

async function openSockets(): Promise<Socket[]> {
  const sockets = Array.from({ length: CLIENTS }, (_, index) => createSocket('udp4').bind(20_000 + index))
  await Promise.all(sockets.map((socket) => once(socket, 'listening')))
  return sockets
}

function swap(bytes: Uint8Array, a: number, b: number, length: number): void {
  const kept = bytes.slice(a, a + length)
  bytes.copyWithin(a, b, b + length)
  bytes.set(kept, b)
}

/** Sends what came in back to where it came from; the sums stay right, for they do not know of order. */
function echo(device: XdpDevice, burst: ReceiveBurst): number {
  const { pool } = pair.region
  const answers = new TransmitBurst()
  const frames = device.receive(burst)
  for (let at = 0; at < frames * DESCRIPTOR_WORDS; at += DESCRIPTOR_WORDS) {
    const buffer = burst.descriptors[at + D_BUFFER]!
    const start = pool.bufferStart(buffer) + burst.descriptors[at + D_OFFSET]!
    const bytes = pool.bufferBytes(buffer)
    swap(bytes, start, start + 6, 6)
    swap(bytes, start + 26, start + 30, 4)
    swap(bytes, start + 34, start + 36, 2)
    answers.push(buffer, burst.descriptors[at + D_OFFSET]!, burst.descriptors[at + D_LENGTH]!, 0)
  }
  if (frames === 0) return 0
  assert.is(device.transmit(answers), frames)
  for (let at = 0; at < frames * DESCRIPTOR_WORDS; at += DESCRIPTOR_WORDS)
    pool.releaseBuffer(burst.descriptors[at + D_BUFFER]!)
  return frames
}

test('every client is answered, on the queue that its frames came in on', async () => {
  const sockets = await openSockets()
  try {
    await pair.withDevice(
      async (device) => {
        const burst = new ReceiveBurst()
        const answered = new Map<number, number>()
        sockets.forEach((socket, client) => {
          socket.on('message', (message) => {
            assert.match(message.toString(), new RegExp(`^client ${client} `))
            answered.set(client, (answered.get(client) ?? 0) + 1)
          })
        })
        for (let round = 0; round < ROUNDS; round++) {
          const before = device.counters.receivedFrames
          sockets.forEach((socket, client) => {
            socket.send(`client ${client} round ${round}`, 9, PEER)
          })
          const deadline = performance.now() + 2000
          while (device.counters.receivedFrames - before < CLIENTS && performance.now() < deadline) {
            if (echo(device, burst) === 0) await new Promise(setImmediate)
          }
        }
        for (let wait = 0; wait < 200 && [...answered.values()].reduce((a, b) => a + b, 0) < CLIENTS * ROUNDS; wait++)
          await new Promise((resolve) => setTimeout(resolve, 5))
        assert.equal([...answered.values()], Array(CLIENTS).fill(ROUNDS))
        const { queues } = device.readStatistics()
        assert.equal(
          queues.map(({ transmittedFrames }) => transmittedFrames),
          queues.map(({ receivedFrames }) => receivedFrames),
        )
        assert.ok(queues.filter(({ receivedFrames }) => receivedFrames > 0).length >= 2, 'the clients are spread')
        device.receive(burst)
        assert.is(
          pair.region.pool.freeBuffers + device.idleBuffers,
          pair.region.pool.totalBuffers,
          'all completions came',
        )
      },
      { queues: [0, 1, 2, 3] },
    )
  } finally {
    for (const socket of sockets) socket.close()
  }
})

test('a device of one queue gets what comes in there, and nothing else', async () => {
  const sockets = await openSockets()
  try {
    await pair.withDevice(
      async (device) => {
        const burst = new ReceiveBurst()
        for (const socket of sockets) socket.send('x', 9, PEER)
        for (let wait = 0; wait < 20; wait++) {
          echo(device, burst)
          await new Promise((resolve) => setTimeout(resolve, 5))
        }
        assert.ok(device.counters.receivedFrames < CLIENTS)
        assert.is(device.readStatistics().queues.length, 1)
      },
      { queues: [2] },
    )
  } finally {
    for (const socket of sockets) socket.close()
  }
})

test.run()
