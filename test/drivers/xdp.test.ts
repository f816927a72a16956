/**
 * The AF_XDP device against the kernel: real frames over a veth pair in a private network, and every refusal.
 */
import { spawnSync } from 'node:child_process'
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import * as assert from 'uvu/assert'
import { XdpError, XdpProgram } from 'xdp-napi'
import { ReceiveBurst, TransmitBurst } from '../../drivers/device.ts'
import { XdpDevice } from '../../drivers/xdp.ts'
import { privateNetworkSuite } from '../support/netns.ts'
import {
  command,
  lacksXdpPair,
  macOf,
  openRegion,
  PEER,
  PEER_IPV4,
  PEER_IPV6,
  withSocket,
  XdpPair,
} from '../support/xdp-pair.ts'

const test = privateNetworkSuite('xdp', import.meta.url, { missing: lacksXdpPair })

const IPV6 = Uint8Array.of(0xfd, 0x66, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2)
const QUEUES = 4

let pair: XdpPair

test.before(() => {
  pair = new XdpPair(QUEUES)
})

test.after(() => pair?.close())

test('frames for us arrive in buffers of the region, many rounds through the rings', async () => {
  await withSocket('udp4', (socket) =>
    pair.withDevice(
      async (device) => {
        assert.match(
          device.mode,
          /^native XDP, copy mode, scattered frames, software arrival times \(the interface stamps none\), queue 0, 1, 2, 3 of 4$/,
        )
        for (let round = 0; round < 40; round++) {
          const sent = Array.from({ length: 100 }, (_, index) => `round ${round} datagram ${index}`)
          for (const text of sent) socket.send(text, 9, PEER)
          assert.equal((await pair.receivePayloads(device, sent.length)).sort(), sent.sort())
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
    pair.withDevice(async (device) => {
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
    pair.withDevice(
      async (device) => {
        socket.send('six', 9, PEER_IPV6)
        assert.equal(await pair.receivePayloads(device, 1, 62), ['six'])
      },
      { ipv6: [IPV6.map((byte, index) => (index === 15 ? 9 : byte)), IPV6], queues: [0, 1, 2, 3] },
    ),
  )
})

for (const scattered of [true, false]) {
  test(`frames ${scattered ? 'of two pieces' : 'of one piece'} leave, thousands of them`, async () => {
    await withSocket('udp4', (socket) =>
      pair.withDevice(async (device) => {
        const got: string[] = []
        socket.on('message', (message) => got.push(message.toString()))
        const sent: string[] = []
        for (let round = 0; round < 120; round++) {
          const burst = new TransmitBurst()
          const buffers: number[] = []
          for (let index = 0; index < 25; index++) {
            const text = `round ${round} datagram ${index} ${'x'.repeat(index * 40)}`
            sent.push(text)
            buffers.push(...pair.pushDatagram(device, burst, text, scattered ? 42 : 42 + text.length))
          }
          assert.is(device.transmit(burst), 25)
          for (const buffer of buffers) pair.region.pool.releaseBuffer(buffer)
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
        assert.is(
          pair.region.pool.freeBuffers + device.idleBuffers,
          pair.region.pool.totalBuffers,
          'all completions came',
        )
      }),
    )
  })
}

test('waitReadable calls back once when a frame comes', async () => {
  await withSocket('udp4', (socket) =>
    pair.withDevice(
      async (device) => {
        let calls = 0
        device.waitReadable(() => calls++)
        await sleep(20)
        assert.is(calls, 0)
        socket.send('wake up', 9, PEER)
        await sleep(50)
        assert.is(calls, 1)
        assert.equal(await pair.receivePayloads(device, 1), ['wake up'])
      },
      { queues: [0, 1, 2, 3] },
    ),
  )
})

test('generic mode works, and says so', async () => {
  await withSocket('udp4', (socket) =>
    pair.withDevice(
      async (device) => {
        assert.match(device.mode, /^generic XDP, copy mode/)
        socket.send('generic', 9, PEER)
        assert.equal(await pair.receivePayloads(device, 1), ['generic'])
      },
      { attach: 'generic', queues: [0, 1, 2, 3] },
    ),
  )
})

test('the kernel has the interface back when the device is closed', () => {
  pair.open().close()
  assert.not.match(command('ip link show pr-b'), /xdp/)
})

test('an empty pool starves the device, and it recovers', async () => {
  await pair.withDevice((device) => {
    const { pool } = pair.region
    const taken: number[] = []
    for (let buffer = pool.allocateBuffer(); buffer !== -1; buffer = pool.allocateBuffer()) taken.push(buffer)
    assert.ok(device.idleBuffers >= 400, 'a reserve for reception stays')
    for (const buffer of taken) pool.releaseBuffer(buffer)
  })
})

/* --- refusals: a stable code, and what to do --- */

test('refused: no such interface, no such queue, MTU, zero-copy', () => {
  assert.match(pair.refusal({ interface: 'nosuch0' }).message, /nosuch0: there is none of this name/)
  assert.match(pair.refusal({ interface: 'a-name-that-is-too-long' }).message, /there is none of this name/)
  assert.match(pair.refusal({ queues: [7] }).message, /queues 0 to 3, not queue 7/)
  assert.match(pair.refusal({ mtu: 1600 }).message, /has an MTU of 1500, not 1600/)
  assert.match(pair.refusal({ copy: 'zerocopy' }).message, /no zero-copy mode; choose copy/)
})

test('refused: an interface that is down', () => {
  command('ip link set pr-b down')
  assert.match(pair.refusal({}).message, /is down; bring it up/)
  command('ip link set pr-b up')
})

test('refused: a queue, and an interface, that somebody has', async () => {
  await pair.withDevice(() => {
    assert.match(pair.refusal({}).message, /another AF_XDP socket has this queue/)
    assert.match(pair.refusal({ queues: [1] }).message, /another XDP program is attached; remove it/)
    assert.match(pair.refusal({ queues: [1], attach: 'generic' }).message, /XDP program/)
  })
})

test('an interface whose program cannot be directed to the sockets is given back', () => {
  const { setSocket } = XdpProgram.prototype
  XdpProgram.prototype.setSocket = () => {
    throw new XdpError('ENOMEM', 'no memory')
  }
  try {
    assert.match(pair.refusal({}).message, /no memory/)
    assert.not.match(command('ip link show pr-b'), /xdp/)
  } finally {
    XdpProgram.prototype.setSocket = setSocket
  }
  pair.open().close()
})

test('refused: a region whose file system cannot be pinned', () => {
  const scratch = mkdtempSync(join(tmpdir(), 'packrat-xdp-'))
  try {
    if (spawnSync('stat', ['-f', '-c', '%T', scratch], { encoding: 'utf8' }).stdout.trim() === 'tmpfs') {
      console.log('SKIP: the temporary directory is in memory, which can be pinned')
      return
    }
    const onDisk = openRegion(join(scratch, 'disk.pm'))
    const options = { interface: 'pr-b', extentOffsets: onDisk.extentOffsets, ipv4: PEER_IPV4 }
    assert.throws(() => new XdpDevice(onDisk.pool, options), /may not pin .* lies on \/dev\/shm \(tmpfs\), hugetlbfs/)
    onDisk.close()
  } finally {
    rmSync(scratch, { recursive: true, force: true })
  }
})

test('refused: extents that are not one mapping', () => {
  assert.match(pair.refusal({ extentOffsets: [2048] }).message, /not parts of one mapping/)
})

test('a closed device says so', async () => {
  const device = pair.open()
  device.close()
  device.close()
  assert.throws(() => device.receive(new ReceiveBurst()), /is closed/)
  assert.throws(() => device.transmit(new TransmitBurst()), /is closed/)
})

// The last test: the pair is gone behind it.
test('an interface deleted by somebody else ends the device with a clear error', async () => {
  const gone = (error: { code?: string }) => error.code === 'DEVICE_GONE'
  await pair.withDevice((device) => {
    const burst = new TransmitBurst()
    const sent = pair.pushDatagram(device, burst, 'to nobody', Number.POSITIVE_INFINITY)
    command('ip link del pr-a')
    assert.throws(() => device.transmit(burst), gone)
    for (const buffer of sent) pair.region.pool.releaseBuffer(buffer)
    assert.throws(() => device.waitReadable(() => {}), gone, 'nor would a frame ever come')
  })
})

test.run()
