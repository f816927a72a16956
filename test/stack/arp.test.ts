/** ARP: asking, waiting, refreshing, giving up, answering (RFC 826, RFC 1122 2.3.2). */
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { Address } from '../../stack/address.ts'
import { ARP_ENTRIES_MAX, PENDING_PER_NEIGHBOUR_MAX } from '../../stack/limits.ts'
import { CLOSE_TIMEOUT } from '../../stack/tcp/application.ts'
import { chainOf, StreamApplication } from '../support/stream-application.ts'
import { VirtualNetwork } from '../support/virtual-link.ts'

const SECOND_US = 1_000_000
const BROADCAST = 'ffffffffffff'
const MAC_A = '02000000000a'
const MAC_B = '02000000000b'

/** A network that writes down every frame as it leaves, once both hosts have announced themselves. */
function watched(announced = true): { network: VirtualNetwork; frames: string[]; silent: { b: boolean } } {
  const frames: string[] = []
  const silent = { b: false }
  const network = new VirtualNetwork({
    seed: 1,
    filter: (frame, fromA) => {
      const hex = Buffer.from(frame).toString('hex')
      const arp = hex.slice(24, 28) === '0806'
      const kind = arp ? (hex.slice(40, 44) === '0001' ? 'asks' : 'answers') : 'sends'
      frames.push(`${fromA ? 'A' : 'B'} ${kind} ${hex.slice(0, 12)}`)
      return fromA || !silent.b
    },
  })
  if (announced) {
    network.runFor(1000)
    network.hostA.poll(network.nowUs)
    network.hostB.poll(network.nowUs)
    network.runFor(1000)
    frames.length = 0
  }
  return { network, frames, silent }
}

test('a host announces itself once, when it starts', () => {
  const { network, frames } = watched(false)
  network.hostA.poll(network.nowUs)
  network.hostA.poll(network.nowUs)
  assert.equal(frames, [`A asks ${BROADCAST}`])
})

test('the first frame waits for the answer, and then goes out with the right receiver', () => {
  const { network, frames } = watched()
  network.hostA.tcp.connect('10.0.0.2', 80, new StreamApplication(network.poolA))
  network.runFor(SECOND_US)
  assert.equal(frames.slice(0, 4), [
    `A asks ${BROADCAST}`,
    `B answers ${MAC_A}`,
    `A sends ${MAC_B}`,
    // B has learned A from the question: it answers without asking.
    `B sends ${MAC_A}`,
  ])
})

test('a neighbour that does not answer is asked three times, a second apart, and what waited is dropped', () => {
  const { network, frames, silent } = watched()
  silent.b = true
  const client = new StreamApplication(network.poolA)
  network.hostA.tcp.connect('10.0.0.2', 80, client)
  network.runFor(2_900_000)
  assert.is(frames.filter((frame) => frame === `A asks ${BROADCAST}`).length, 3)
  assert.ok(network.poolA.freeBuffers < network.poolA.totalBuffers, 'a SYN waits')
  network.runFor(400_000)
  assert.is(network.poolA.freeBuffers, network.poolA.totalBuffers)
  assert.is(network.hostA.counters.arp.dropUnresolved, 3, 'two that waited, one that came too late to wait')
  network.runFor(200 * SECOND_US)
  assert.is(client.closeReason, CLOSE_TIMEOUT)
  assert.is(network.poolA.freeBuffers, network.poolA.totalBuffers)
})

test('only so many frames wait for one neighbour, the newest ones', () => {
  const { network, silent } = watched()
  silent.b = true
  for (let index = 0; index < PENDING_PER_NEIGHBOUR_MAX + 2; index++)
    network.hostA.tcp.connect('10.0.0.2', 80 + index, new StreamApplication(network.poolA))
  network.hostA.flush(network.nowUs)
  assert.is(network.hostA.counters.arp.dropUnresolved, 2)
  const ports: number[] = []
  network.filter = (frame, fromA) => {
    if (fromA && frame[13] === 0) ports.push((frame[36]! << 8) | frame[37]!)
    return true
  }
  network.runFor(SECOND_US + 500)
  const waited = Array.from({ length: PENDING_PER_NEIGHBOUR_MAX }, (_, index) => 82 + index)
  assert.equal(
    ports.slice(0, waited.length).sort((a, b) => a - b),
    waited,
  )
})

test('an entry in use is confirmed by unicast before it gets old', () => {
  const { network, frames } = watched()
  const client = new StreamApplication(network.poolA)
  network.hostB.tcp.listen(80, new StreamApplication(network.poolB), {})
  network.hostA.tcp.connect('10.0.0.2', 80, client, { keepAlive: true, keepAliveIdleMs: 8000 })
  network.runFor(59 * SECOND_US)
  frames.length = 0
  network.runFor(180 * SECOND_US)
  const asked = frames.filter((frame) => frame.startsWith('A asks'))
  assert.ok(asked.length >= 3, `${asked.length} confirmations in three minutes`)
  assert.ok(asked.every((frame) => frame === `A asks ${MAC_B}`))
  assert.is(client.closeReason, -1)
})

test('somebody with our address is counted, and changes nothing', () => {
  const { network } = watched()
  network.runFor(1000)
  const frame = new Uint8Array(42)
  const view = new DataView(frame.buffer)
  frame.set(Buffer.from(BROADCAST, 'hex'), 0)
  view.setUint16(12, 0x0806)
  view.setUint32(14, 0x00010800)
  view.setUint32(18, 0x06040001)
  frame.set([2, 9, 9, 9, 9, 9], 22)
  view.setUint32(28, 0x0a000001)
  view.setUint32(38, 0x0a000001)
  network.deviceA.arrive(frame, network.nowUs)
  network.runFor(1000)
  assert.is(network.hostA.counters.arp.conflicts, 1)
})

test('a flood of ARP with forged senders evicts no neighbour in use, and nobody who is being asked for', () => {
  const { network, frames, silent } = watched()
  network.hostB.tcp.listen(80, new StreamApplication(network.poolB), {})
  const client = new StreamApplication(network.poolA)
  const c = network.hostA.tcp.connect('10.0.0.2', 80, client)
  network.runFor(SECOND_US)
  network.hostA.tcp.connect('10.0.0.99', 80, new StreamApplication(network.poolA)) // who does not answer
  network.hostA.flush(network.nowUs)
  frames.length = 0
  for (let sender = 0; sender < 5000; sender++)
    network.deviceA.arrive(forgedRequest(0x0a010000 + sender), network.nowUs)
  network.runFor(1000)
  frames.length = 0
  c.send(chainOf(network.poolA, new Uint8Array(100)))
  network.hostA.flush(network.nowUs)
  assert.equal(frames, [`A sends ${MAC_B}`], 'sent at once, to whom it was sent before')
  network.runFor(SECOND_US)
  assert.is(c.inFlightBytes, 0)
  assert.is(frames.filter((frame) => frame === `A asks ${BROADCAST}`).length, 1, 'the other one is still asked for')
  assert.is(silent.b, false)
})

test('when everybody is in use, strangers are not learned', () => {
  const network = new VirtualNetwork({ seed: 1, hostOptions: { address: '10.0.0.1/16' } })
  const { arp } = network.hostA.counters
  const { udp } = network.hostA
  const port = udp.bind(0, { onDatagrams() {}, onUnreachable() {}, onClose() {} })
  for (let index = 0; index < ARP_ENTRIES_MAX; index++)
    network.deviceA.arrive(forgedRequest(0x0a000100 + index), network.nowUs)
  network.runFor(1000)
  for (let index = 0; index < ARP_ENTRIES_MAX; index++) {
    const neighbour = new Address().set(0, 0, 0xffff, 0x0a000100 + index)
    udp.send(port, neighbour, 9, chainOf(network.poolA, new Uint8Array(1)))
  }
  network.hostA.flush(network.nowUs)
  const before = arp.requestsSent
  network.deviceA.arrive(forgedRequest(0x0a000900), network.nowUs)
  network.runFor(1000)
  assert.is(arp.dropFull, 1)
  assert.is(arp.requestsSent, before)
})

function forgedRequest(sender: number): Uint8Array {
  const frame = new Uint8Array(42)
  const view = new DataView(frame.buffer)
  frame.set(Buffer.from(BROADCAST, 'hex'), 0)
  view.setUint16(12, 0x0806)
  view.setUint32(14, 0x00010800)
  view.setUint32(18, 0x06040001)
  frame.set([2, 9, 9, 9, 9, 9], 22)
  view.setUint32(28, sender)
  view.setUint32(38, 0x0a000001)
  return frame
}

test('a destination beyond the link without a gateway is refused, not asked for', () => {
  const { network, frames } = watched()
  network.hostA.tcp.connect('192.168.1.1', 80, new StreamApplication(network.poolA))
  network.hostA.flush(network.nowUs)
  assert.equal(frames, [])
  assert.is(network.hostA.counters.ipv4.dropNoRoute, 1)
})

test.run()
