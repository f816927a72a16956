/**
 * IPv6 against the Linux kernel over a TAP in a private network, in the roles that `packrat serve` does not play: sockets of
 * ours that open connections to the kernel and exchange datagrams with it, bulk both ways, neighbours found by asking.
 */
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import * as net from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import * as assert from 'uvu/assert'
import { TapDevice, tapAvailability } from '../../drivers/tap.ts'
import { SystemClock, SystemWallClock } from '../../stack/clock.ts'
import { Host } from '../../stack/host.ts'
import { SeededRandom } from '../../stack/random.ts'
import { connect, createDatagramSocket, Network } from '../../stack/sockets/index.ts'
import { Loop } from '../../tools/loop.ts'
import { privateNetworkSuite } from '../support/netns.ts'
import { announceSeed } from '../support/random.ts'
import { collect, pattern, until } from '../support/socket-lab.ts'
import { createPool } from '../support/virtual-link.ts'

const test = privateNetworkSuite('ipv6 linux', import.meta.url, { missing: () => tapAvailability().reason })

const seed = announceSeed('ipv6-linux', 66)
const ADDRESS = 'fd66::2'
const KERNEL = 'fd66::1'
const BULK_BYTES = 8 << 20
const SETTLE_MS_MAX = 10_000

const pool = createPool(8192)
const clock = new SystemClock()
let device: TapDevice
let host: Host
let network: Network
let loop: Loop

test.before(async () => {
  device = new TapDevice(pool, { name: 'pksix0', hostAddress6: `${KERNEL}/64` })
  const usable: string[] = []
  host = new Host(
    {
      device,
      pool,
      address: '10.66.0.2/24',
      address6: `${ADDRESS}/64`,
      onAddress: (address, isUsable) => isUsable && usable.push(address),
      random: new SeededRandom(seed),
      secret: new Uint8Array(16).fill(seed),
      wallClock: new SystemWallClock(),
    },
    clock.nowUs(),
  )
  const onError = (error: unknown): never => {
    throw error
  }
  loop = new Loop({ host, device, clock, busyPollUs: 100, onIdle: () => false, onError })
  network = new Network({ host, clock, wake: () => loop.wake() })
  loop.start()
  await until(() => usable.includes(ADDRESS), 'our address is ours alone')
  await kernelHasSettled()
})

test.after(() => {
  loop.stop()
  host.close(clock.nowUs())
  device.close()
  assert.is(pool.freeBuffers, pool.totalBuffers, 'every buffer is back')
  assert.is(pool.freeMetas, pool.totalMetas, 'every line is back')
})

/** The kernel asks about its own address, too: until that is over nothing can be bound to it. */
async function kernelHasSettled(): Promise<void> {
  const deadline = performance.now() + SETTLE_MS_MAX
  while (!(await canBind())) {
    assert.ok(performance.now() < deadline, "the kernel's address is its own")
    await sleep(50)
  }
}

function canBind(): Promise<boolean> {
  const probe = createSocket('udp6')
  return new Promise<boolean>((resolve) => {
    probe.on('error', () => resolve(false))
    probe.bind(0, KERNEL, () => resolve(true))
  }).finally(() => probe.close())
}

test('our socket reaches a server of the kernel, bulk both ways', async () => {
  const server = net.createServer((socket) => socket.pipe(socket))
  server.listen(7000, KERNEL)
  await once(server, 'listening')
  const socket = connect({ network, host: KERNEL, port: 7000 })
  await once(socket, 'connect')
  assert.equal([socket.localAddress, socket.remoteFamily], [ADDRESS, 'IPv6'])
  const bytes = pattern(BULK_BYTES, seed)
  socket.end(bytes)
  assert.ok((await collect(socket)).equals(bytes))
  server.close()
  await once(server, 'close')
})

test('a port that the kernel has closed refuses us', async () => {
  const [error] = await once(connect({ network, host: KERNEL, port: 7001 }), 'error')
  assert.is(error.code, 'ECONNREFUSED')
  const datagrams = createDatagramSocket({ network, type: 'udp6' })
  datagrams.connect(7001, KERNEL)
  await once(datagrams, 'connect')
  datagrams.send('anybody there?')
  assert.is((await once(datagrams, 'error'))[0].code, 'ECONNREFUSED', "told by the kernel's ICMPv6")
  await once(datagrams.close(), 'close')
})

test('datagrams go to the kernel and come back', async () => {
  const echo = createSocket('udp6', (message, remote) => echo.send(message, remote.port, remote.address))
  echo.bind(7002, KERNEL)
  await once(echo, 'listening')
  const socket = createDatagramSocket({ network, type: 'udp6' })
  for (const size of [0, 1, 1000, 1452]) {
    const bytes = pattern(size, seed)
    socket.send(bytes, 7002, KERNEL)
    const [message, remote] = await once(socket, 'message')
    assert.ok(message.equals(bytes), `${size} bytes`)
    assert.equal(remote, { address: KERNEL, family: 'IPv6', port: 7002, size })
  }
  await once(socket.close(), 'close')
  echo.close()
  await once(echo, 'close')
})

test('nothing was refused on the way, and the kernel is known as a neighbour that answers', () => {
  const { ipv6, ndp, icmpv6 } = host.counters
  assert.equal([ipv6.dropSource, ipv6.dropNextHeader, ipv6.dropExtensionLength, ndp.dropMalformed], [0, 0, 0, 0])
  assert.equal([ndp.dropHopLimit, ndp.unreachable, ndp.duplicates, icmpv6.dropChecksum], [0, 0, 0, 0])
})

test.run()
