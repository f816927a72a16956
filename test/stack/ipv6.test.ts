/** IPv6 and ICMPv6 at the host, packet by packet: what is refused and counted, what is answered, what errors do. */
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { parseAddress } from '../../stack/address.ts'
import type { Ipv6Counters } from '../../stack/counters.ts'
import { CLOSE_UNREACHABLE } from '../../stack/tcp/application.ts'
import { SEND_OK } from '../../stack/udp.ts'
import { ALL_NODES, HOST, HOST_GROUP, HOST_LINK_LOCAL, PEER, RawIpv6, setSum } from '../support/raw-ipv6.ts'
import { chainOf, StreamApplication } from '../support/stream-application.ts'

const PEER_MAC_TEXT = '020000000001'
const REPLY = `129/0 ${HOST} > ${PEER} ${PEER_MAC_TEXT}`

type CounterName = keyof Ipv6Counters

/** The one counter of IPv6 that a frame makes move, beside `received` and `sent`. */
function dropReason(lab: RawIpv6, frame: Uint8Array): string {
  const before = { ...lab.host.counters.ipv6 }
  lab.send(frame)
  const names = Object.keys(before) as CounterName[]
  const moved = names.filter((name) => lab.host.counters.ipv6[name] !== before[name])
  return moved.filter((name) => name !== 'received' && name !== 'sent').join(' ')
}

function withPeer(): RawIpv6 {
  const lab = new RawIpv6()
  lab.introduce()
  return lab
}

/* --- headers --- */

const headerCases: [string, string, (lab: RawIpv6) => Uint8Array][] = [
  ['shorter than a header', 'dropShort', (lab) => lab.echo().slice(0, 53)],
  ['another version', 'dropVersion', (lab) => change(lab.echo(), 14, 0x50)],
  ['longer than the frame', 'dropPayloadLength', (lab) => change(lab.echo(), 19, 12)],
  ['from a group', 'dropSource', (lab) => lab.echo({ from: 'ff02::5' })],
  ['from loopback', 'dropSource', (lab) => lab.echo({ from: '::1' })],
  ['from nobody to one', 'dropSource', (lab) => lab.echo({ from: '::' })],
  ['from ourselves', 'dropSource', (lab) => lab.echo({ from: HOST })],
  ['from an IPv4 address in disguise', 'dropSource', (lab) => lab.echo({ from: '::ffff:10.0.0.1' })],
  ['to another host', 'dropDestination', (lab) => lab.echo({ to: 'fd00::3' })],
  ['to a group nobody joined', 'dropDestination', (lab) => lab.echo({ to: 'ff02::2' })],
  ["to another's solicited-node group", 'dropDestination', (lab) => lab.echo({ to: 'ff02::1:ff00:3' })],
  ['to us in a frame to a group', 'dropDestination', (lab) => lab.echo({ mac: [0x33, 0x33, 0, 0, 0, 1] })],
  ['a datagram to all nodes', 'dropDestination', (lab) => lab.udp(53, [1], { to: ALL_NODES })],
]

for (const [name, counter, frame] of headerCases)
  test(`dropped and counted: ${name}`, () => {
    const lab = withPeer()
    assert.is(dropReason(lab, frame(lab)), counter)
    assert.equal(lab.take(), [])
    assert.is(lab.pool.freeBuffers, lab.pool.totalBuffers)
  })

function change(frame: Uint8Array, at: number, value: number): Uint8Array {
  frame[at] = value
  return frame
}

/* --- extension headers --- */

const pad = (next: number, units = 1): number[] => [
  next,
  units - 1,
  1,
  units * 8 - 4,
  ...new Array(units * 8 - 4).fill(0),
]
const routing = (next: number, type: number, left: number): number[] => [next, 2, type, left, ...new Array(20).fill(0)]
const option = (next: number, type: number): number[] => [next, 0, type, 4, 0, 0, 0, 0]
const fragment = (next: number, offsetAndFlags: number): number[] => [next, 0, 0, offsetAndFlags, 0, 0, 0, 9]

/** First header, headers, then: the counter that moves, and the answer (`code pointer`), "reply", or nothing. */
const chains: [string, number, number[], string, string][] = [
  ['hop-by-hop options with padding', 0, pad(58), '', 'reply'],
  ['hop-by-hop options of 16 bytes', 0, pad(58, 2), '', 'reply'],
  ['destination options', 60, pad(58), '', 'reply'],
  ['six headers', 0, [...pad(60), ...pad(60), ...pad(60), ...pad(60), ...pad(60), ...pad(58)], '', 'reply'],
  [
    'seven headers',
    0,
    [...pad(60), ...pad(60), ...pad(60), ...pad(60), ...pad(60), ...pad(60), ...pad(58)],
    'dropExtensionCount',
    '',
  ],
  ['hop-by-hop options behind others', 60, [...pad(0), ...pad(58)], 'dropNextHeader', '1 40'],
  ['hop-by-hop options twice', 0, [...pad(0), ...pad(58)], 'dropNextHeader', '1 40'],
  ['an unknown next header', 99, pad(58), 'dropNextHeader', '1 6'],
  ['an unknown next header behind another', 60, pad(99), 'dropNextHeader', '1 40'],
  ['AH, which nobody here speaks', 51, pad(58), 'dropNextHeader', '1 6'],
  ['no next header', 59, [], 'dropNoNextHeader', ''],
  ['a header that goes on behind the packet', 60, [58, 9, 1, 4, 0, 0, 0, 0], 'dropExtensionLength', ''],
  ['an option that goes on behind its header', 60, [58, 0, 1, 5, 0, 0, 0, 0], 'dropExtensionLength', ''],
  ['an option without its length', 60, [58, 0, 1, 3, 0, 0, 0, 1], 'dropExtensionLength', ''],
  ['seventeen options', 60, [58, 2, ...new Array(17).fill(0), 1, 3, 0, 0, 0], 'dropExtensionCount', ''],
  ['an unknown option to be skipped', 60, option(58, 0x1e), '', 'reply'],
  ['an unknown option to drop the packet for', 60, option(58, 0x5e), 'dropOption', ''],
  ['an unknown option to report', 60, option(58, 0x9e), 'dropOption', '2 42'],
  ['an unknown option to report unless to a group', 60, option(58, 0xde), 'dropOption', '2 42'],
  ['a jumbo payload option', 0, option(58, 0xc2), 'dropOption', '2 42'],
  ['a router alert', 0, [58, 0, 5, 2, 0, 0, 1, 0], '', 'reply'],
  ['routing type 0 with a segment left', 43, routing(58, 0, 1), 'dropRouting', '0 42'],
  ['another routing type with a segment left', 43, routing(58, 4, 1), 'dropRouting', '0 42'],
  ['a routing header that is through', 43, routing(58, 0, 0), '', 'reply'],
  ['an atomic fragment', 44, fragment(58, 0), '', 'reply'],
]

for (const [name, next, headers, counter, answer] of chains)
  test(`extension headers: ${name}`, () => {
    const lab = withPeer()
    const frame = lab.echo({ next }, headers)
    assert.is(dropReason(lab, frame), counter)
    const sent = lab.frames[0]
    if (answer === '') assert.equal(lab.take(), [])
    else if (answer === 'reply') assert.equal(lab.take(), [REPLY])
    else {
      const [code, pointer] = answer.split(' ')
      assert.equal(lab.take(), [`4/${code} ${HOST} > ${PEER} ${PEER_MAC_TEXT}`])
      assert.is(sent![61], Number(pointer), 'the pointer')
      assert.equal([...sent!.subarray(62)], [...frame.subarray(14)], 'the packet, quoted whole')
    }
    assert.is(lab.pool.freeBuffers, lab.pool.totalBuffers)
  })

test('to a group: option 10 is reported all the same, option 11 and an unknown header are not', () => {
  const lab = withPeer()
  lab.send(lab.echo({ to: ALL_NODES, next: 60 }, option(58, 0x9e)))
  assert.equal(lab.take(), [`4/2 ${HOST} > ${PEER} ${PEER_MAC_TEXT}`])
  lab.send(lab.echo({ to: ALL_NODES, next: 60 }, option(58, 0xde)), lab.echo({ to: ALL_NODES, next: 99 }))
  assert.equal(lab.take(), [])
})

test('an ICMPv6 error is never answered by one, whatever stands in front of it', () => {
  const lab = withPeer()
  const error = [1, 4, 0, 0, 0, 0, 0, 0, ...new Array(48).fill(0)]
  lab.send(lab.icmp(error, { next: 60 }, option(58, 0x9e)), lab.icmp(error, { next: 43 }, routing(58, 0, 1)))
  assert.equal(lab.take(), [])
})

test('a random chain of headers neither throws nor leaks', () => {
  const lab = withPeer()
  const types = [0, 6, 17, 43, 44, 50, 51, 58, 59, 60, 135, 255]
  let state = 12345
  const random = (limit: number): number => {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0
    return (state >>> 8) % limit
  }
  for (let round = 0; round < 20_000; round++) {
    const bytes = Array.from({ length: random(120) }, () =>
      random(3) === 0 ? types[random(types.length)]! : random(256),
    )
    lab.send(lab.packet(bytes, { next: types[random(types.length)]!, to: random(4) === 0 ? ALL_NODES : HOST }))
    lab.frames.length = 0
  }
  lab.advanceMs(61_000) // fragments have waited for others
  assert.is(lab.pool.freeBuffers, lab.pool.totalBuffers)
})

/* --- echo --- */

test('an echo request is answered with its own data', () => {
  const lab = withPeer()
  const request = lab.echo()
  lab.send(request)
  const reply = lab.frames[0]!
  assert.equal(lab.take(), [REPLY])
  assert.equal([...reply.subarray(58)], [...request.subarray(58)])
  assert.is(reply[21], 64, 'hop limit')
})

test('an echo request to all nodes is answered from an address of the same scope', () => {
  const lab = withPeer()
  lab.send(lab.echo({ to: ALL_NODES }))
  assert.equal(lab.take(), [REPLY])
  lab.send(lab.echo({ to: ALL_NODES, from: '::' }))
  assert.equal(lab.take(), [], 'nobody to answer')
  lab.send(lab.echo({ to: ALL_NODES, from: HOST }))
  assert.equal(lab.take(), [], 'that would be ourselves')
})

test('padding of the frame is not part of the packet', () => {
  const lab = withPeer()
  const frame = lab.echo()
  const padded = new Uint8Array(frame.length + 7).fill(0xa5)
  padded.set(frame)
  lab.send(padded)
  assert.equal(lab.take(), [REPLY])
})

test('a wrong checksum is dropped', () => {
  const lab = withPeer()
  lab.send(change(lab.echo(), 60, 0xff))
  assert.equal(lab.take(), [])
  assert.is(lab.host.counters.icmpv6.dropChecksum, 1)
})

/* --- errors sent --- */

test('a datagram to a port nobody has: port unreachable, at a limited rate', () => {
  const lab = withPeer()
  const frame = lab.udp(7000, [1, 2, 3])
  lab.send(frame)
  const error = lab.frames[0]!
  assert.equal(lab.take(), [`1/4 ${HOST} > ${PEER} ${PEER_MAC_TEXT}`])
  assert.equal([...error.subarray(62)], [...frame.subarray(14)], 'the datagram, quoted whole')
  for (let index = 0; index < 200; index++) lab.send(lab.udp(7000, [index]))
  assert.is(lab.take().length, 5)
  assert.is(lab.host.counters.icmpv6.dropRate, 195)
  lab.advanceMs(1000)
  lab.send(frame)
  assert.is(lab.take().length, 1)
})

test('an error quotes no more than fits 1280 bytes', () => {
  const lab = withPeer()
  lab.send(lab.udp(7000, new Array(1400).fill(7)))
  assert.is(lab.frames[0]!.length, 14 + 1280)
  assert.is(lab.take().length, 1)
})

test('UDP over IPv6 has a checksum', () => {
  const lab = withPeer()
  lab.host.udp.bind(7000, { onDatagrams() {}, onUnreachable() {}, onClose() {} })
  const frame = lab.udp(7000, [1, 2, 3])
  frame[60] = 0
  frame[61] = 0
  lab.send(frame)
  assert.is(lab.host.counters.udp.dropChecksum, 1)
})

/* --- errors received --- */

/** An error about the packet in `frame`, as a router far away sends it. */
function errorAbout(lab: RawIpv6, frame: Uint8Array, type: number, code: number, rest = 0): Uint8Array {
  const message = [type, code, 0, 0, rest >>> 24, (rest >>> 16) & 255, (rest >>> 8) & 255, rest & 255]
  return lab.icmp([...message, ...frame.subarray(14, 14 + 68)], { from: 'fd99::1' })
}

function connecting(): { lab: RawIpv6; client: StreamApplication; syn: Uint8Array } {
  const lab = withPeer()
  const client = new StreamApplication(lab.pool)
  lab.host.tcp.connect(PEER, 80, client)
  lab.host.flush(lab.nowUs)
  return { lab, client, syn: lab.frames.splice(0)[0]! }
}

test('while connecting, port unreachable is an answer', () => {
  const { lab, client, syn } = connecting()
  lab.send(errorAbout(lab, syn, 1, 0))
  assert.is(client.closeReason, -1, 'no route is none')
  lab.send(errorAbout(lab, syn, 1, 4))
  assert.is(client.closeReason, CLOSE_UNREACHABLE)
})

test('an error about a segment that is not in flight is forged, and ignored', () => {
  const { lab, client, syn } = connecting()
  for (const at of [14 + 23, 54, 58]) {
    const forged = syn.slice()
    forged[at]! ^= 1
    lab.send(errorAbout(lab, forged, 1, 4))
  }
  assert.is(client.closeReason, -1)
  assert.is(lab.host.counters.icmpv6.errorsReceived, 3)
})

test('packet too big lowers the segment size, never below what 1280 takes', () => {
  const { lab, client, syn } = connecting()
  const sequence = new DataView(syn.buffer).getUint32(58)
  lab.send(synAck(lab, syn, sequence))
  const c = client.connection!
  assert.is(c.sendMss, 1440)
  lab.frames.length = 0
  c.send(lab.pool.createView(lab.pool.allocateBuffer(), 0, 1440, 0))
  lab.host.flush(lab.nowUs)
  const segment = lab.frames.splice(0)[0]!
  lab.send(errorAbout(lab, segment, 2, 0, 1400))
  assert.is(c.sendMss, 1340)
  lab.send(errorAbout(lab, segment, 2, 0, 0))
  assert.is(c.sendMss, 1340, '0 says nothing')
  lab.send(errorAbout(lab, segment, 2, 0, 68))
  assert.is(c.sendMss, 1220)
  c.abort()
})

test('packet too big about the first fragment of a datagram makes the next ones narrower', () => {
  const lab = withPeer()
  const port = lab.host.udp.bind(5000, { onDatagrams() {}, onUnreachable() {}, onClose() {} })
  const lengths = (): number[] => {
    assert.is(lab.host.udp.send(port, parseAddress(PEER), 9, chainOf(lab.pool, new Uint8Array(3000))), SEND_OK)
    lab.host.flush(lab.nowUs)
    return lab.frames.map((frame) => frame.length - 14)
  }
  assert.is(Math.max(...lengths()), 1496)
  const [first, second] = lab.frames.splice(0)
  lab.send(errorAbout(lab, second!, 2, 0, 1300))
  assert.is(Math.max(...lengths()), 1496, 'without ports nobody knows whose it was')
  lab.frames.length = 0
  lab.send(errorAbout(lab, first!, 2, 0, 1300))
  assert.ok(Math.max(...lengths()) <= 1300)
})

/** The peer's answer to a SYN; announces an MSS of 1440. */
function synAck(lab: RawIpv6, syn: Uint8Array, sequence: number): Uint8Array {
  const frame = lab.packet(new Array(24).fill(0), { next: 6 })
  const view = new DataView(frame.buffer)
  frame.set(syn.subarray(56, 58), 54)
  frame.set(syn.subarray(54, 56), 56)
  view.setUint32(58, 1000)
  view.setUint32(62, sequence + 1)
  view.setUint32(66, 0x6012ffff)
  view.setUint32(74, 0x020405a0)
  setSum(frame, 54, 6, 16)
  return frame
}

/* --- configuration --- */

test('addresses and gateways that cannot be are refused', () => {
  for (const address6 of ['::/64', '::1/128', 'ff02::1/64', '::ffff:10.0.0.1/96', '10.0.0.2/24', 'fd00::2'])
    assert.throws(() => new RawIpv6({ address6 }), /cannot be used|is no IPv6 address/, address6)
  for (const gateway6 of ['fd01::1', 'ff02::2', '::', '10.0.0.1'])
    assert.throws(() => new RawIpv6({ gateway6 }), /cannot be used|is no IPv6 address/, gateway6)
  assert.throws(() => new RawIpv6({ mtu: 1279 }), /too small for IPv6/)
})

test('what is not on the link goes to the gateway, or nowhere', () => {
  const lab = new RawIpv6()
  assert.is(lab.host.hasRoute('2001:db8::1'), false)
  assert.is(lab.host.hasRoute('fe80::77'), true)
  const routed = new RawIpv6({ gateway6: 'fe80::1' })
  assert.is(routed.host.hasRoute('2001:db8::1'), true)
  routed.host.tcp.connect('2001:db8::1', 80, new StreamApplication(routed.pool))
  routed.host.flush(routed.nowUs)
  assert.equal(routed.take(), [`135/0 fe80::1 ${HOST_LINK_LOCAL} > ff02::1:ff00:1 3333ff000001`])
  routed.host.close(routed.nowUs)
})

test('a host without an IPv6 address does not hear IPv6', () => {
  const lab = new RawIpv6({}, false)
  lab.send(lab.echo(), lab.echo({ to: HOST_GROUP }))
  assert.equal(lab.take(), [])
  assert.is(lab.host.counters.ethernet.dropType + lab.host.counters.ethernet.dropOther, 2)
  assert.is(lab.host.hasRoute(PEER), false)
  assert.throws(() => lab.host.tcp.connect(PEER, 80, new StreamApplication(lab.pool)), /no address to reach/)
})

test.run()
