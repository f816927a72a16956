/**
 * The AF_XDP device against the kernel: real frames over a veth pair in a private network, and every refusal.
 */
import { spawnSync } from 'node:child_process'
import { createSocket, type Socket } from 'node:dgram'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import * as assert from 'uvu/assert'
import { D_BUFFER, D_LENGTH, D_OFFSET, ReceiveBurst, TransmitBurst, TX_MORE } from '../../drivers/device.ts'
import { XdpDevice, type XdpOptions, xdpAvailability } from '../../drivers/xdp.ts'
import { sumBytes } from '../../storage/checksum.ts'
import { Region } from '../../storage/region.ts'
import { lacks } from '../support/lab.ts'
import { privateNetworkSuite } from '../support/netns.ts'

const missing = (): string | undefined => xdpAvailability().reason ?? lacks('ethtool')()
const test = privateNetworkSuite('xdp', import.meta.url, { missing })

const HOST = '10.66.0.1'
const PEER = '10.66.0.2'
const IPV4 = Uint8Array.of(10, 66, 0, 2)
const PEER_IPV6 = 'fd66::2'
const IPV6 = Uint8Array.of(0xfd, 0x66, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2)
const QUEUES = 4

const directory = mkdtempSync('/dev/shm/packrat-xdp-')
let region: Region
let hostMac = ''

function command(line: string): string {
  const [program, ...args] = line.split(' ')
  const { status, stdout, stderr } = spawnSync(program!, args, { encoding: 'utf8', timeout: 10_000 })
  if (status !== 0) throw new Error(`${line}: ${stderr}`)
  return stdout
}

function macOf(name: string): string {
  return /link\/ether (\S+)/.exec(command(`ip link show ${name}`))![1]!
}

function openRegion(path: string): Region {
  Region.create(path, { bytes: 32 << 20 })
  const opened = new Region(path, { durability: 'process' })
  opened.pool.buildFreeLists(() => false)
  return opened
}

test.before(() => {
  command(
    `ip link add pr-a numrxqueues ${QUEUES} numtxqueues ${QUEUES} type veth peer name pr-b numrxqueues ${QUEUES} numtxqueues ${QUEUES}`,
  )
  command(`ip address add ${HOST}/24 dev pr-a`)
  command('ip link set pr-a up')
  command('ip link set pr-b up')
  command('ethtool -K pr-a tx off tso off gso off')
  hostMac = macOf('pr-a')
  command(`ip neighbour add ${PEER} lladdr ${macOf('pr-b')} dev pr-a`)
  command(`ip -6 neighbour add ${PEER_IPV6} lladdr ${macOf('pr-b')} dev pr-a`)
  command('ip -6 address add fd66::1/64 dev pr-a nodad')
  region = openRegion(join(directory, 'region.pm'))
})

test.after(() => {
  region?.close()
  rmSync(directory, { recursive: true, force: true })
})

/** Runs the body with a device, and proves that closing it returns every buffer. */
async function withDevice(
  body: (device: XdpDevice) => void | Promise<void>,
  options: Partial<XdpOptions> = {},
): Promise<void> {
  const before = region.pool.freeBuffers
  const device = open(options)
  try {
    await body(device)
  } finally {
    device.close()
  }
  assert.is(region.pool.freeBuffers, before, 'every buffer is back')
}

function open(options: Partial<XdpOptions> = {}): XdpDevice {
  return new XdpDevice(region.pool, { interface: 'pr-b', extentOffsets: region.extentOffsets, ipv4: IPV4, ...options })
}

/** The UDP payloads that arrive until there are `count`, or a second has passed; their buffers go back. */
async function receivePayloads(device: XdpDevice, count: number, headerBytes = 42): Promise<string[]> {
  const burst = new ReceiveBurst()
  const payloads: string[] = []
  const deadline = performance.now() + 1000
  while (payloads.length < count && performance.now() < deadline) {
    device.receive(burst)
    for (let frame = 0; frame < burst.count; frame++) {
      const buffer = burst.descriptors[frame * 4 + D_BUFFER]!
      const start = region.pool.bufferStart(buffer) + burst.descriptors[frame * 4 + D_OFFSET]!
      const end = start + burst.descriptors[frame * 4 + D_LENGTH]!
      payloads.push(Buffer.from(region.pool.bufferBytes(buffer).subarray(start + headerBytes, end)).toString())
      region.pool.releaseBuffer(buffer)
    }
    if (burst.count === 0) await sleep(1)
  }
  return payloads
}

async function withSocket(type: 'udp4' | 'udp6', body: (socket: Socket) => Promise<void>): Promise<void> {
  const socket = createSocket(type)
  socket.bind(7000)
  await once(socket, 'listening')
  try {
    await body(socket)
  } finally {
    socket.close()
  }
}

test('frames for us arrive in buffers of the region, many rounds through the rings', async () => {
  await withSocket('udp4', (socket) =>
    withDevice(
      async (device) => {
        assert.match(device.mode, /^native XDP, copy mode, scattered frames, queue 0, 1, 2, 3 of 4$/)
        for (let round = 0; round < 40; round++) {
          const sent = Array.from({ length: 100 }, (_, index) => `round ${round} datagram ${index}`)
          for (const text of sent) socket.send(text, 9, PEER)
          assert.equal((await receivePayloads(device, sent.length)).sort(), sent.sort())
        }
        assert.equal(device.readStatistics().fillRingEmpty, 0)
      },
      { queues: [0, 1, 2, 3] },
    ),
  )
})

test('frames for others stay with the kernel', async () => {
  command('ip address add 10.67.0.2/24 dev pr-b')
  await withSocket('udp4', (socket) =>
    withDevice(async (device) => {
      const other = createSocket('udp4').bind(7001, '10.67.0.2')
      await once(other, 'listening')
      command('ip neighbour replace 10.67.0.2 lladdr '.concat(macOf('pr-b'), ' dev pr-a'))
      const burst = new ReceiveBurst()
      socket.send('not for us', 9, '10.67.0.9', () => {})
      await sleep(50)
      assert.is(device.receive(burst), 0)
      other.close()
    }),
  )
  command('ip address del 10.67.0.2/24 dev pr-b')
})

test('an IPv6 address of ours is redirected, another is not', async () => {
  await withSocket('udp6', (socket) =>
    withDevice(
      async (device) => {
        socket.send('six', 9, PEER_IPV6)
        assert.equal(await receivePayloads(device, 1, 62), ['six'])
      },
      { ipv6: [IPV6.map((byte, index) => (index === 15 ? 9 : byte)), IPV6], queues: [0, 1, 2, 3] },
    ),
  )
})

/** A UDP datagram to the kernel's socket on port 7000, in pieces of the given sizes. */
function pushDatagram(device: XdpDevice, burst: TransmitBurst, text: string, firstPiece: number): number[] {
  const { pool } = region
  const header = pool.allocateBuffer()
  const body = pool.allocateBuffer()
  const frame = Buffer.alloc(42 + text.length)
  Buffer.from(hostMac.replaceAll(':', ''), 'hex').copy(frame, 0)
  Buffer.from(device.mac).copy(frame, 6)
  frame.writeUInt16BE(0x0800, 12)
  frame.writeUInt16BE(0x4500, 14)
  frame.writeUInt16BE(28 + text.length, 16)
  frame.writeUInt8(64, 22)
  frame.writeUInt8(17, 23)
  Buffer.from(IPV4).copy(frame, 26)
  Buffer.from([10, 66, 0, 1]).copy(frame, 30)
  const view = new DataView(frame.buffer, frame.byteOffset, frame.length)
  frame.writeUInt16BE(~sumBytes(view, 14, 20) & 0xffff, 24)
  frame.writeUInt16BE(9, 34)
  frame.writeUInt16BE(7000, 36)
  frame.writeUInt16BE(8 + text.length, 38) // checksum 0: none (RFC 768)
  frame.write(text, 42)
  pool.bufferBytes(header).set(frame.subarray(0, firstPiece), pool.bufferStart(header) + 128)
  pool.bufferBytes(body).set(frame.subarray(firstPiece), pool.bufferStart(body) + 700)
  burst.push(header, 128, firstPiece, firstPiece < frame.length ? TX_MORE : 0)
  if (firstPiece < frame.length) burst.push(body, 700, frame.length - firstPiece, 0)
  return [header, body]
}

for (const scattered of [true, false]) {
  test(`frames ${scattered ? 'of two pieces' : 'of one piece'} leave, thousands of them`, async () => {
    await withSocket('udp4', (socket) =>
      withDevice(async (device) => {
        const got: string[] = []
        socket.on('message', (message) => got.push(message.toString()))
        const sent: string[] = []
        for (let round = 0; round < 120; round++) {
          const burst = new TransmitBurst()
          const buffers: number[] = []
          for (let index = 0; index < 25; index++) {
            const text = `round ${round} datagram ${index} ${'x'.repeat(index * 40)}`
            sent.push(text)
            buffers.push(...pushDatagram(device, burst, text, scattered ? 42 : 42 + text.length))
          }
          assert.is(device.transmit(burst), 25)
          for (const buffer of buffers) region.pool.releaseBuffer(buffer)
          // The kernel's socket holds a burst, not all of them.
          for (let waits = 0; got.length < sent.length && waits < 1000; waits++) await sleep(1)
        }
        assert.is(got.length, sent.length)
        assert.is(
          got.findIndex((text, index) => text !== sent[index]),
          -1,
          'in order, byte for byte',
        )
        assert.is(device.counters.transmitDropped, 0)
        assert.is(device.readStatistics().bytesGathered, 0)
        device.receive(new ReceiveBurst())
        assert.is(region.pool.freeBuffers + device.idleBuffers, region.pool.totalBuffers, 'all completions came')
      }),
    )
  })
}

test('waitReadable calls back once when a frame comes', async () => {
  await withSocket('udp4', (socket) =>
    withDevice(
      async (device) => {
        let calls = 0
        device.waitReadable(() => calls++)
        await sleep(20)
        assert.is(calls, 0)
        socket.send('wake up', 9, PEER)
        await sleep(50)
        assert.is(calls, 1)
        assert.equal(await receivePayloads(device, 1), ['wake up'])
      },
      { queues: [0, 1, 2, 3] },
    ),
  )
})

test('generic mode works, and says so', async () => {
  await withSocket('udp4', (socket) =>
    withDevice(
      async (device) => {
        assert.match(device.mode, /^generic XDP, copy mode/)
        socket.send('generic', 9, PEER)
        assert.equal(await receivePayloads(device, 1), ['generic'])
      },
      { attach: 'generic', queues: [0, 1, 2, 3] },
    ),
  )
})

test('the kernel has the interface back when the device is closed', () => {
  open().close()
  assert.not.match(command('ip link show pr-b'), /xdp/)
})

test('an empty pool starves the device, and it recovers', async () => {
  await withDevice((device) => {
    const { pool } = region
    const taken: number[] = []
    for (let buffer = pool.allocateBuffer(); buffer !== -1; buffer = pool.allocateBuffer()) taken.push(buffer)
    assert.ok(device.idleBuffers >= 400, 'a reserve for reception stays')
    for (const buffer of taken) pool.releaseBuffer(buffer)
  })
})

/* --- refusals: a stable code, and what to do --- */

function refusal(options: Partial<XdpOptions>): { code: string; message: string } {
  const before = region.pool.freeBuffers
  try {
    open(options).close()
  } catch (error) {
    assert.is(region.pool.freeBuffers, before, 'nothing is kept')
    return error as { code: string; message: string }
  }
  throw new Error('it was not refused')
}

test('refused: no such interface, no such queue, MTU, zero-copy', () => {
  assert.match(refusal({ interface: 'nosuch0' }).message, /nosuch0: there is none of this name/)
  assert.match(refusal({ interface: 'a-name-that-is-too-long' }).message, /there is none of this name/)
  assert.match(refusal({ queues: [7] }).message, /queues 0 to 3, not queue 7/)
  assert.match(refusal({ mtu: 1600 }).message, /has an MTU of 1500, not 1600/)
  assert.match(refusal({ copy: 'zerocopy' }).message, /no zero-copy mode; choose copy/)
})

test('refused: an interface that is down, or whose frames pass a buffer', () => {
  command('ip link set pr-b down')
  assert.match(refusal({}).message, /is down; bring it up/)
  command('ip link set pr-b up')
  command('ip link set pr-b mtu 9000')
  assert.match(refusal({}).message, /MTU of 9000: a frame must fit one buffer/)
  command('ip link set pr-b mtu 1500')
})

test('refused: a queue, and an interface, that somebody has', async () => {
  await withDevice(() => {
    assert.match(refusal({}).message, /another AF_XDP socket has this queue/)
    assert.match(refusal({ queues: [1] }).message, /another XDP program is attached; remove it/)
    assert.match(refusal({ queues: [1], attach: 'generic' }).message, /XDP program/)
  })
})

test('refused: a region whose file system cannot be pinned', () => {
  const scratch = mkdtempSync(join(tmpdir(), 'packrat-xdp-'))
  try {
    if (spawnSync('stat', ['-f', '-c', '%T', scratch], { encoding: 'utf8' }).stdout.trim() === 'tmpfs') {
      console.log('SKIP: the temporary directory is in memory, which can be pinned')
      return
    }
    const onDisk = openRegion(join(scratch, 'disk.pm'))
    const options = { interface: 'pr-b', extentOffsets: onDisk.extentOffsets, ipv4: IPV4 }
    assert.throws(() => new XdpDevice(onDisk.pool, options), /may not pin .* lies on \/dev\/shm \(tmpfs\), hugetlbfs/)
    onDisk.close()
  } finally {
    rmSync(scratch, { recursive: true, force: true })
  }
})

test('refused: extents that are not one mapping', () => {
  assert.match(refusal({ extentOffsets: [2048] }).message, /not parts of one mapping/)
})

test('a closed device says so', async () => {
  const device = open()
  device.close()
  device.close()
  assert.throws(() => device.receive(new ReceiveBurst()), /is closed/)
  assert.throws(() => device.transmit(new TransmitBurst()), /is closed/)
})

test.run()
