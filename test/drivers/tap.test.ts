/**
 * The TAP device against the kernel: real ARP, UDP and ICMP in a private network. The package below it has
 * tests of its own in tuntap2.test.ts.
 */
import { spawnSync } from 'node:child_process'
import { createSocket, type Socket } from 'node:dgram'
import { once } from 'node:events'
import { connect } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { Tap } from 'tuntap2'
import * as assert from 'uvu/assert'
import {
  D_BUFFER,
  D_LENGTH,
  D_OFFSET,
  D_SUM,
  RECEIVE_BURST_FRAMES,
  ReceiveBurst,
  RX_MORE,
  receivedFrameEnd,
  TransmitBurst,
  TX_MORE,
} from '../../drivers/device.ts'
import { deriveMac, TapDevice, type TapOptions, tapAvailability } from '../../drivers/tap.ts'
import { foldSum, sumBytes } from '../../storage/checksum.ts'
import { BUFFER_BYTES, LINE_BYTES } from '../../storage/layout.ts'
import { Pool } from '../../storage/pool.ts'
import { privateNetworkSuite } from '../support/netns.ts'

const test = privateNetworkSuite('tap', import.meta.url, { missing: () => tapAvailability().reason })

const POOL_BUFFERS = 512
const HOST = '10.66.0.1'
const PEER = '10.66.0.2'
const OPTIONS: TapOptions = { name: 'pktest0', hostAddress: `${HOST}/24` }
const ETHERTYPE_IPV4 = 0x0800
const ETHERTYPE_ARP = 0x0806

function makePool(buffers = POOL_BUFFERS, extents = 1): Pool {
  const geometry = Array.from({ length: extents }, () => ({
    memory: new ArrayBuffer(buffers * (LINE_BYTES + BUFFER_BYTES)),
    buffers,
  }))
  const pool = new Pool(geometry, 1)
  pool.buildFreeLists()
  return pool
}

/** Runs the body with a device, and proves that closing it returns every buffer. */
async function withDevice(
  body: (device: TapDevice, pool: Pool) => void | Promise<void>,
  options: Partial<TapOptions> = {},
  pool = makePool(),
): Promise<void> {
  const before = pool.freeBuffers
  const device = new TapDevice(pool, { ...OPTIONS, ...options })
  try {
    await body(device, pool)
  } finally {
    device.close()
  }
  assert.is(pool.freeBuffers, before, 'every buffer is back')
}

function frameBytes(pool: Pool, burst: ReceiveBurst, frame: number): Buffer {
  const at = frame * 4
  const start = pool.bufferStart(burst.descriptors[at + D_BUFFER]!) + burst.descriptors[at + D_OFFSET]!
  return Buffer.from(
    pool.bufferBytes(burst.descriptors[at + D_BUFFER]!).slice(start, start + burst.descriptors[at + D_LENGTH]!),
  )
}

function releaseAll(pool: Pool, burst: ReceiveBurst): void {
  for (let frame = 0; frame < burst.count; frame++) pool.releaseBuffer(burst.descriptors[frame * 4 + D_BUFFER]!)
}

/** The next frame that satisfies the predicate, its sum checked against the slow reference; all buffers returned. */
async function nextFrame(device: TapDevice, pool: Pool, wanted: (frame: Buffer) => boolean): Promise<Buffer> {
  const burst = new ReceiveBurst()
  for (let turn = 0; turn < 200; turn++) {
    let found: Buffer | undefined
    device.receive(burst)
    for (let frame = 0; frame < burst.count; frame++) {
      const bytes = frameBytes(pool, burst, frame)
      const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
      assert.is(burst.descriptors[frame * 4 + D_SUM], sumBytes(view, 14, bytes.length - 14))
      if (found === undefined && wanted(bytes)) found = bytes
    }
    releaseAll(pool, burst)
    if (found !== undefined) return found
    await sleep(10)
  }
  throw new Error('the frame did not arrive within 2 s')
}

const isType = (type: number) => (frame: Buffer) => frame.readUInt16BE(12) === type

function bytesOf(address: string): number[] {
  return address.split('.').map(Number)
}

function arpReply(device: TapDevice, request: Buffer): Buffer {
  const reply = Buffer.from(request.subarray(0, 42))
  request.copy(reply, 0, 6, 12) // to the asker
  reply.set(device.mac, 6)
  reply.writeUInt16BE(2, 20) // RFC 826: ares_op$REPLY
  reply.set(device.mac, 22)
  reply.set(bytesOf(PEER), 28)
  request.copy(reply, 32, 22, 32)
  return reply
}

/** A UDP datagram from the peer to the host; UDP checksum 0 = none (RFC 768). */
function udpFrame(device: TapDevice, kernelMac: Uint8Array, port: number, payload: Buffer): Buffer {
  const frame = Buffer.alloc(42 + payload.length)
  frame.set(kernelMac, 0)
  frame.set(device.mac, 6)
  frame.writeUInt16BE(ETHERTYPE_IPV4, 12)
  frame.set([0x45, 0], 14)
  frame.writeUInt16BE(28 + payload.length, 16)
  frame.set([64, 17], 22)
  frame.set([...bytesOf(PEER), ...bytesOf(HOST)], 26)
  frame.writeUInt16BE(~sumBytes(new DataView(frame.buffer, frame.byteOffset), 14, 20) & 0xffff, 24)
  frame.writeUInt16BE(4000, 34)
  frame.writeUInt16BE(port, 36)
  frame.writeUInt16BE(8 + payload.length, 38)
  payload.copy(frame, 42)
  return frame
}

/** Transmits bytes cut at the given places, each piece from a buffer of its own. */
function transmit(device: TapDevice, pool: Pool, bytes: Uint8Array, cuts: number[] = []): number {
  const burst = new TransmitBurst()
  const edges = [0, ...cuts, bytes.length]
  const used: number[] = []
  for (let piece = 0; piece + 1 < edges.length; piece++) {
    const buffer = pool.allocateBuffer()
    const offset = 17 * (piece + 1)
    used.push(buffer)
    pool.bufferBytes(buffer).set(bytes.subarray(edges[piece], edges[piece + 1]), pool.bufferStart(buffer) + offset)
    burst.push(buffer, offset, edges[piece + 1]! - edges[piece]!, piece + 2 < edges.length ? TX_MORE : 0)
  }
  const sent = device.transmit(burst)
  for (const buffer of used) pool.releaseBuffer(buffer)
  return sent
}

async function boundSocket(): Promise<Socket> {
  const socket = createSocket('udp4')
  socket.bind(0, HOST)
  await once(socket, 'listening')
  return socket
}

/** The kernel's address on the link, learned from what it asks; it knows the device's after this. */
async function resolve(device: TapDevice, pool: Pool, socket: Socket): Promise<Uint8Array> {
  socket.send('who', 9, PEER)
  const request = await nextFrame(device, pool, isType(ETHERTYPE_ARP))
  assert.is(transmit(device, pool, arpReply(device, request)), 1)
  await nextFrame(device, pool, isType(ETHERTYPE_IPV4))
  return request.subarray(6, 12)
}

test('a datagram to the link makes the kernel ask by ARP; the gathered reply is believed and the datagram comes', () =>
  withDevice(async (device, pool) => {
    const socket = await boundSocket()
    socket.send('hello over TAP', 7777, PEER)
    const request = await nextFrame(device, pool, isType(ETHERTYPE_ARP))
    assert.equal([...request.subarray(38, 42)], bytesOf(PEER))
    assert.is(transmit(device, pool, arpReply(device, request), [14, 22, 23]), 1)
    const datagram = await nextFrame(device, pool, isType(ETHERTYPE_IPV4))
    assert.equal([...datagram.subarray(0, 6)], [...device.mac])
    assert.is(datagram.readUInt16BE(36), 7777)
    assert.is(datagram.toString('latin1', 42), 'hello over TAP')
    socket.close()
  }))

test('a hand-built datagram gathered from pieces reaches a socket', () =>
  withDevice(async (device, pool) => {
    const socket = await boundSocket()
    const kernelMac = await resolve(device, pool, socket)
    const payload = Buffer.from(Array.from({ length: 1472 }, (_, index) => (index * 31) & 0xff))
    const arrived = once(socket, 'message')
    assert.is(transmit(device, pool, udpFrame(device, kernelMac, socket.address().port, payload), [14, 42, 43, 900]), 1)
    const [message, from] = await arrived
    assert.equal(message, payload)
    assert.is(from.address, PEER)
    assert.is(device.counters.transmittedBytes, 42 + 1514)
    socket.close()
  }))

test('with an MTU of 9000 a datagram lies in several buffers, each with the sum of its own bytes', () =>
  withDevice(
    async (device, pool) => {
      const socket = await boundSocket()
      const kernelMac = await resolve(device, pool, socket)
      const payload = Buffer.from(Array.from({ length: 8001 }, (_, index) => (index * 31) & 0xff))
      socket.send(payload, 9, PEER)
      const burst = new ReceiveBurst()
      const pieces: Buffer[] = []
      for (let turn = 0; turn < 200 && pieces.length === 0; turn++) {
        device.receive(burst)
        for (let at = 0; at < burst.count * 4; ) {
          const end = receivedFrameEnd(burst.descriptors, at)
          const isLong = end > at + 4
          for (let index = at / 4; index < end / 4; index++) {
            const bytes = frameBytes(pool, burst, index)
            if (!isLong) continue
            const header = index === at / 4 ? 14 : 0
            const sum = sumBytes(new DataView(bytes.buffer, bytes.byteOffset), header, bytes.length - header)
            const more = index + 1 < end / 4 ? RX_MORE : 0
            assert.is(burst.descriptors[index * 4 + D_SUM], sum | more)
            pieces.push(bytes)
          }
          at = end
        }
        releaseAll(pool, burst)
        await sleep(10)
      }
      assert.equal(
        pieces.map((piece) => piece.length),
        [2048, 2048, 2048, 42 + 8001 - 3 * 2048],
      )
      assert.ok(Buffer.concat(pieces).subarray(42).equals(payload))
      const before = device.counters.transmittedFrames
      const arrived = once(socket, 'message')
      const frame = udpFrame(device, kernelMac, socket.address().port, payload)
      assert.is(transmit(device, pool, frame, [1700, 3400, 5100, 6800]), 1)
      assert.is(device.counters.transmittedFrames, before + 1)
      assert.equal((await arrived)[0], payload)
      socket.close()
    },
    { mtu: 9000 },
  ))

/** Sum of pseudo-header and transport of an IPv4 frame: 0xffff if its checksum is right. */
function transportSum(frame: Buffer): number {
  const view = new DataView(frame.buffer, frame.byteOffset, frame.length)
  const sum = sumBytes(view, 26, 8) + frame[23]! + (frame.length - 34) + sumBytes(view, 34, frame.length - 34)
  return foldSum(sum)
}

for (const offload of ['checksum', 'all'] as const)
  test(`with offload ${offload} the checksums that the kernel leaves to us are right in the frames`, () =>
    withDevice(
      async (device, pool) => {
        const socket = await boundSocket()
        await resolve(device, pool, socket)
        const before = device.readOffloads().receivedPartialSums
        for (let length = 0; length < 40; length++) {
          socket.send(Buffer.alloc(length, length * 7), 9, PEER)
          const frame = await nextFrame(device, pool, isType(ETHERTYPE_IPV4)) // checks D_SUM, too
          assert.is(transportSum(frame), 0xffff, `a datagram of ${frame.length - 42} bytes`)
        }
        const client = connect({ host: PEER, port: 80 })
        client.on('error', () => {})
        const syn = await nextFrame(device, pool, (frame) => isType(ETHERTYPE_IPV4)(frame) && frame[23] === 6)
        client.destroy()
        assert.is(transportSum(syn), 0xffff)
        assert.ok(device.readOffloads().receivedPartialSums >= before + 41)
        socket.close()
      },
      { offload },
    ))

test('a TAP that was left with offloads can be taken over without', async () => {
  await withDevice(() => {}, { offload: 'all', persistent: true })
  await withDevice(
    async (device, pool) => {
      const socket = await boundSocket()
      await resolve(device, pool, socket)
      socket.send(Buffer.alloc(100, 7), 9, PEER)
      assert.is(transportSum(await nextFrame(device, pool, isType(ETHERTYPE_IPV4))), 0xffff, 'the kernel has done it')
      assert.is(device.readOffloads().receivedPartialSums, 0)
      socket.close()
    },
    { persistent: false },
  )
})

test('the queue in the kernel is lengthened for crowds, unless somebody has chosen a length', async () => {
  const length = (): number =>
    Number(/qlen (\d+)/.exec(spawnSync('ip', ['link', 'show', 'pktest0']).stdout.toString())?.[1])
  await withDevice(() => assert.is(length(), 16_384), { persistent: true })
  spawnSync('ip', ['link', 'set', 'pktest0', 'txqueuelen', '77'])
  await withDevice(() => assert.is(length(), 77), { persistent: false })
})

test('readiness is called once per wait, when a frame is there', () =>
  withDevice(async (device, pool) => {
    const socket = await boundSocket()
    await resolve(device, pool, socket)
    const burst = new ReceiveBurst()
    for (let round = 0; round < 3; round++) {
      let calls = 0
      const ready = new Promise<void>((done) => {
        device.waitReadable(() => assert.unreachable('replaced by the next wait'))
        device.waitReadable(() => {
          calls++
          done()
        })
      })
      socket.send('wake', 9, PEER)
      await ready
      socket.send('and again', 9, PEER)
      await sleep(30)
      assert.is(calls, 1)
      assert.ok(device.receive(burst) >= 2)
      releaseAll(pool, burst)
    }
    socket.close()
  }))

test('100,000 frames pass in bursts; every frame is counted and no buffer is lost', () =>
  withDevice(async (device, pool) => {
    const socket = await boundSocket()
    const kernelMac = await resolve(device, pool, socket)
    const free = pool.freeBuffers + device.idleBuffers
    const base = device.counters.receivedFrames
    const received = new ReceiveBurst()
    // The kernel answers each echo request while the write that carries it goes on: a burst out, a burst in.
    const frame = echoRequest(device, kernelMac)
    const buffer = pool.allocateBuffer()
    pool.bufferBytes(buffer).set(frame, pool.bufferStart(buffer))
    const burst = new TransmitBurst()
    for (let count = 0; count < 100; count++) burst.push(buffer, 0, frame.length, 0)
    let sent = 0
    let answered = 0
    for (let round = 0; round < 1000; round++) {
      sent += device.transmit(burst)
      while (device.receive(received) > 0) {
        for (let index = 0; index < received.count; index++) {
          const at = pool.bufferStart(received.descriptors[index * 4 + D_BUFFER]!)
          const view = pool.bufferView(received.descriptors[index * 4 + D_BUFFER]!)
          if (view.getUint16(at + 12) === ETHERTYPE_IPV4 && view.getUint8(at + 34) === 0) {
            answered++
            assert.is(received.descriptors[index * 4 + D_SUM], sumBytes(view, at + 14, frame.length - 14))
          }
        }
        releaseAll(pool, received)
      }
    }
    pool.releaseBuffer(buffer)
    assert.is(sent, 100_000)
    assert.ok(answered > 99_000, `${answered} of 100000 echo requests answered`)
    assert.ok(device.counters.receivedFrames - base >= answered)
    assert.is(pool.freeBuffers + device.idleBuffers, free)
    socket.close()
  }))

function echoRequest(device: TapDevice, kernelMac: Uint8Array): Buffer {
  const frame = udpFrame(device, kernelMac, 0, Buffer.alloc(21, 7)) // an odd length
  frame[23] = 1 // ICMP
  frame.fill(0, 24, 26)
  frame.fill(0, 34, 42)
  frame[34] = 8 // RFC 792: echo
  const view = new DataView(frame.buffer, frame.byteOffset)
  frame.writeUInt16BE(~sumBytes(view, 14, 20) & 0xffff, 24)
  frame.writeUInt16BE(~sumBytes(view, 34, frame.length - 34) & 0xffff, 36)
  return frame
}

test('frames that fill a buffer are dropped and counted, one byte less passes', () =>
  withDevice(async (device, pool) => {
    const socket = await boundSocket()
    await resolve(device, pool, socket)
    const raise = spawnSync('ip', ['link', 'set', OPTIONS.name, 'mtu', '4000'])
    assert.is(raise.status, 0)
    socket.send(Buffer.alloc(BUFFER_BYTES - 42), 9, PEER)
    socket.send(Buffer.alloc(3000), 9, PEER)
    socket.send(Buffer.alloc(BUFFER_BYTES - 43, 5), 9, PEER)
    const frame = await nextFrame(device, pool, (bytes) => isType(ETHERTYPE_IPV4)(bytes) && bytes.length > 1000)
    assert.is(frame.length, BUFFER_BYTES - 1)
    assert.is(device.receiveTruncated, 2)
    socket.close()
  }))

test('with an empty pool the device receives into the buffers it holds, then counts starvation', () =>
  withDevice(async (device, pool) => {
    const socket = await boundSocket()
    await resolve(device, pool, socket)
    const taken: number[] = []
    const burst = new ReceiveBurst()
    device.receive(burst)
    releaseAll(pool, burst)
    while (pool.freeBuffers > 0) taken.push(pool.allocateBuffer())
    const idle = device.idleBuffers
    assert.ok(idle > 0)
    for (let count = 0; count < RECEIVE_BURST_FRAMES + 10; count++) socket.send('x', 9, PEER)
    await sleep(50)
    let held = 0
    while (device.receive(burst) > 0) {
      held += burst.count
      for (let frame = 0; frame < burst.count; frame++) taken.push(burst.descriptors[frame * 4 + D_BUFFER]!)
    }
    assert.is(held, idle)
    assert.is(device.idleBuffers, 0)
    assert.ok(device.counters.receiveStarved > 0)
    for (const buffer of taken) pool.releaseBuffer(buffer)
    assert.ok(device.receive(burst) > 0, 'the waiting frames come as soon as there is room')
    releaseAll(pool, burst)
    socket.close()
  }))

test('frames that the kernel refuses are counted, and those beside them pass', () =>
  withDevice((device, pool) => {
    const burst = new TransmitBurst()
    const buffer = pool.allocateBuffer()
    burst.push(buffer, 0, 60, 0)
    burst.push(buffer, 0, 13, 0) // shorter than an Ethernet header
    burst.push(buffer, 0, 60, 0)
    assert.is(device.transmit(burst), 2)
    assert.is(device.counters.transmitDropped, 1)
    spawnSync('ip', ['link', 'set', OPTIONS.name, 'down'])
    assert.is(device.transmit(burst), 0, 'EIO while the interface is down')
    assert.is(device.counters.transmitDropped, 4)
    assert.is(device.counters.transmittedFrames, 2)
    pool.releaseBuffer(buffer)
  }))

test('descriptors outside the memory are refused as a whole, whatever is wrong with them', () =>
  withDevice(
    (device, pool) => {
      const bad: [string, number, number, number, number][] = [
        ['buffer past the extent', 8, 0, 60, 0],
        ['extent that is not there', 2 << 18, 0, 60, 0],
        ['negative buffer', -1, 0, 60, 0],
        ['offset past the buffer', 0, 2049, 0, 0],
        ['negative offset', 0, -1, 60, 0],
        ['length past the buffer', 0, 2000, 49, 0],
        ['negative length', 0, 0, -60, 0],
        ['no end of the frame', 0, 0, 60, TX_MORE],
      ]
      for (const [what, buffer, offset, length, flags] of bad) {
        const burst = new TransmitBurst()
        burst.push(0, 0, 60, 0)
        burst.push(buffer, offset, length, flags)
        assert.throws(
          () => device.transmit(burst),
          (error: { code?: string }) => error.code === 'EINVAL',
          what,
        )
      }
      const long = new TransmitBurst()
      for (let count = 0; count < 65; count++) long.push(0, 0, 1, count < 64 ? TX_MORE : 0)
      assert.throws(
        () => device.transmit(long),
        (error: { code?: string }) => error.code === 'EINVAL',
      )
      assert.is(device.counters.transmittedFrames, 0)
      const second = new TransmitBurst()
      second.push((1 << 18) | 7, 1988, 60, 0)
      assert.is(device.transmit(second), 1, 'the last bytes of the last extent')
      assert.is(pool.totalBuffers, 16)
    },
    {},
    makePool(8, 2),
  ))

test('memory that was detached makes bursts fail and nothing crash', () => {
  const pool = makePool(256)
  const device = new TapDevice(pool, OPTIONS)
  const burst = new ReceiveBurst()
  device.receive(burst)
  structuredClone(pool.bytes[0]!.buffer, { transfer: [pool.bytes[0]!.buffer as ArrayBuffer] })
  assert.throws(() => device.receive(burst), /region/)
  const out = new TransmitBurst()
  out.push(0, 0, 60, 0)
  assert.throws(() => device.transmit(out), /region/)
  device.close()
})

test('a TAP that another device holds, and a name that is no TAP, are refused with what to do', () =>
  withDevice((_, pool) => {
    const idle = pool.freeBuffers
    const codeOf = (options: Partial<TapOptions>): string => {
      try {
        new TapDevice(pool, { ...OPTIONS, ...options }).close()
      } catch (error) {
        return (error as { code: string }).code
      }
      return 'none'
    }
    assert.is(codeOf({}), 'EBUSY')
    assert.is(codeOf({ name: 'lo' }), 'EINVAL')
    assert.is(codeOf({ name: 'sixteen-bytes-xx' }), 'EINVAL')
    assert.is(codeOf({ name: 'a/b' }), 'EINVAL')
    assert.is(codeOf({ name: 'pktest1', hostAddress: '10.66.1.1' }), 'EINVAL')
    assert.is(codeOf({ name: 'pktest1', hostAddress: '10.66.1.1/33' }), 'EINVAL')
    assert.is(codeOf({ name: 'pktest1', mtu: 65_522 }), 'EINVAL')
    assert.is(codeOf({ name: 'pktest1', mac: Uint8Array.of(1, 2, 3, 4, 5, 6) }), 'EINVAL')
    assert.is(codeOf({ name: 'pktest1' }), 'none', 'a failed attempt left nothing behind')
    assert.is(pool.freeBuffers, idle)
  }))

test('a persistent TAP is taken over with its kernel side, a plain one is gone after close', async () => {
  let mac = ''
  const kernelMac = (): string => {
    const tap = new Tap(OPTIONS.name)
    const text = tap.mac
    tap.release()
    return text
  }
  await withDevice(() => {}, { persistent: true })
  mac = kernelMac()
  await withDevice((device) => assert.equal(device.mac, deriveMac(OPTIONS.name, mac)))
  assert.is(kernelMac(), mac, 'still the same interface')
  await withDevice(() => {}, { persistent: false })
  assert.is.not(spawnSync('ip', ['link', 'show', OPTIONS.name]).status, 0)
})

test('an interface deleted by somebody else ends the device with a clear error', () =>
  withDevice(async (device) => {
    const burst = new ReceiveBurst()
    const ready = new Promise<void>((done) => device.waitReadable(done))
    assert.is(spawnSync('ip', ['link', 'del', OPTIONS.name]).status, 0)
    await ready
    assert.throws(
      () => {
        while (device.receive(burst) >= 0) if (burst.count === 0) throw new Error('no frame and no error')
      },
      (error: { code?: string }) => error.code === 'DEVICE_GONE',
    )
  }))

test('after close every call says so, and a pending wait never calls', async () => {
  const pool = makePool()
  const device = new TapDevice(pool, OPTIONS)
  device.waitReadable(() => assert.unreachable('closed'))
  device.close()
  device.close()
  const closed = (error: { code?: string }) => error.code === 'DEVICE_CLOSED'
  assert.throws(() => device.receive(new ReceiveBurst()), closed)
  assert.throws(() => device.transmit(new TransmitBurst()), closed)
  assert.throws(() => device.waitReadable(() => {}), closed)
  assert.is(pool.freeBuffers, POOL_BUFFERS, 'a refused receive takes no buffers')
  await sleep(20)
})

test.run()
