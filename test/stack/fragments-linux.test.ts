/** Fragments to and from the Linux kernel, over a TAP in a private network: ping(8), and node:dgram on the kernel's side. */
import { spawn, spawnSync } from 'node:child_process'
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import * as assert from 'uvu/assert'
import { TapDevice, tapAvailability } from '../../drivers/tap.ts'
import { Address } from '../../stack/address.ts'
import { SystemClock, SystemWallClock } from '../../stack/clock.ts'
import { Host } from '../../stack/host.ts'
import { SeededRandom } from '../../stack/random.ts'
import { type DatagramApplication, datagramAddress, datagramPort, type UdpPort } from '../../stack/udp.ts'
import { NO_META } from '../../storage/layout.ts'
import { within } from '../support/lab.ts'
import { privateNetworkSuite } from '../support/netns.ts'
import { patternBytes } from '../support/raw-peer.ts'
import { createPool } from '../support/virtual-link.ts'

const test = privateNetworkSuite('linux fragments', import.meta.url, { missing: () => tapAvailability().reason })

const SEED = 7
const INTERFACE = 'pkfrag0'
const ADDRESS = '10.66.0.2'
const ADDRESS6 = 'fd66::2'
const KERNEL6 = 'fd66::1'
const KERNEL = '10.66.0.1'
const PORT = 7000
const WAIT_MS = 5000
const sender = new Address()

/** Sends back the very lines that came in. */
class Echo implements DatagramApplication {
  datagrams = 0
  private readonly host: Host

  constructor(host: Host) {
    this.host = host
    host.udp.bind(PORT, this, 1024)
  }

  onDatagrams(port: UdpPort): void {
    const { pool, udp } = this.host
    for (let meta = udp.take(port); meta !== NO_META; meta = udp.take(port)) {
      this.datagrams++
      udp.send(port, datagramAddress(pool, meta, sender), datagramPort(pool, meta), meta)
    }
  }

  onUnreachable(): void {}
  onClose(): void {}
}

async function withHost(body: (host: Host) => Promise<void>): Promise<void> {
  const pool = createPool(4096)
  const device = new TapDevice(pool, { name: INTERFACE, hostAddress: `${KERNEL}/24` })
  const clock = new SystemClock()
  const random = new SeededRandom(SEED)
  const wallClock = new SystemWallClock()
  const secret = new Uint8Array(16).fill(SEED)
  const addresses = { address: `${ADDRESS}/24`, address6: `${ADDRESS6}/64`, dadTransmits: 0 }
  const host = new Host({ device, pool, ...addresses, random, secret, wallClock }, clock.nowUs())
  let stopped = false
  const turn = (): void => {
    if (stopped) return
    host.poll(clock.nowUs())
    setImmediate(turn)
  }
  turn()
  try {
    await body(host)
  } finally {
    stopped = true
    host.close(clock.nowUs())
    device.close()
  }
  assert.is(pool.freeBuffers, pool.totalBuffers)
  assert.is(pool.freeMetas, pool.totalMetas)
}

test('answers pings that come in fragments', async () => {
  await withHost(async (host) => {
    for (const size of ['1473', '8000', '33333', '65507']) {
      const ping = spawn('ping', ['-c', '3', '-i', '0.2', '-W', '2', '-s', size, ADDRESS], { stdio: 'ignore' })
      const [status] = await once(ping, 'exit')
      assert.is(status, 0, `ping -s ${size}`)
    }
    assert.is(host.counters.icmp.echoReplies, 12)
    assert.is(host.counters.fragments.reassembled, 12)
  })
})

test('echoes datagrams of 20 KB and of the largest size, which the kernel fragments and puts together', async () => {
  await withHost(async (host) => {
    const echo = new Echo(host)
    const socket = createSocket('udp4')
    socket.bind(0, KERNEL)
    await once(socket, 'listening')
    socket.setRecvBufferSize(4 << 20)
    try {
      for (const size of [1473, 20_000, 20_001, 65_507]) {
        const sent = Buffer.from(patternBytes(size))
        for (let round = 0; round < 5; round++) {
          const answer = once(socket, 'message')
          socket.send(sent, PORT, ADDRESS)
          const [got] = await within(WAIT_MS, answer, `datagram of ${size} bytes not echoed`)
          assert.is(Buffer.compare(got, sent), 0, `${size} bytes`)
        }
      }
    } finally {
      socket.close()
    }
    assert.is(echo.datagrams, 20)
    assert.is(host.counters.udp.dropChecksum, 0)
  })
})

/** Gives the kernel's end its address, without asking whether it is its alone. @returns why not, or undefined */
function addKernel6(): string | undefined {
  const { status, stderr } = spawnSync('ip', ['-6', 'address', 'add', `${KERNEL6}/64`, 'dev', INTERFACE, 'nodad'], {
    encoding: 'utf8',
    timeout: WAIT_MS,
  })
  return status === 0 ? undefined : `the kernel's end gets no IPv6 address: ${stderr ?? 'there is no ip(8)'}`
}

test('the same over IPv6', async () => {
  await withHost(async (host) => {
    const missing = addKernel6()
    if (missing !== undefined) {
      console.log(`SKIP: ${missing}`)
      return
    }
    for (const size of ['1453', '8000', '65000']) {
      const ping = spawn('ping', ['-6', '-c', '3', '-i', '0.2', '-W', '2', '-s', size, ADDRESS6], { stdio: 'ignore' })
      const [status] = await once(ping, 'exit')
      assert.is(status, 0, `ping -6 -s ${size}`)
    }
    assert.is(host.counters.icmpv6.echoReplies, 9)
    const echo = new Echo(host)
    const socket = createSocket('udp6')
    socket.bind(0, KERNEL6)
    await once(socket, 'listening')
    socket.setRecvBufferSize(4 << 20)
    try {
      for (const size of [1453, 20_000, 65_000]) {
        const sent = Buffer.from(patternBytes(size))
        const answer = once(socket, 'message')
        socket.send(sent, PORT, ADDRESS6)
        const [got] = await within(WAIT_MS, answer, `datagram of ${size} bytes not echoed`)
        assert.is(Buffer.compare(got, sent), 0, `${size} bytes`)
      }
    } finally {
      socket.close()
    }
    assert.is(echo.datagrams, 3)
    assert.is(host.counters.ipv6Fragments.reassembled, 12)
  })
})

test.run()
