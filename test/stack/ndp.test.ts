/** Neighbor Discovery in virtual time: addresses of our own (RFC 4862), neighbours and whether they are there (RFC 4861). */
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { NDP_ENTRIES_MAX, PENDING_MAX } from '../../stack/limits.ts'
import { ALL_NODES, HOST, HOST_GROUP, HOST_LINK_LOCAL, NA, NS, PEER, PEER_MAC, RawIpv6 } from '../support/raw-ipv6.ts'
import { chainOf, StreamApplication } from '../support/stream-application.ts'
import { ADDRESS6_A, ADDRESS6_B, VirtualNetwork } from '../support/virtual-link.ts'

const SOLICITED = 0x40
const OVERRIDE = 0x20
const OTHER_MAC = [2, 0, 0, 0, 0, 9]
const GROUP_MAC = '3333ff000002'
const ALL_NODES_MAC = '333300000001'
const PEER_GROUP = 'ff02::1:ff00:1 3333ff000001'
const TO_PEER = '020000000001'
const SECOND_US = 1_000_000
const ASKS_BOTH = [
  `135/0 ${HOST_LINK_LOCAL} :: > ${HOST_GROUP} ${GROUP_MAC}`,
  `135/0 ${HOST} :: > ${HOST_GROUP} ${GROUP_MAC}`,
]

/** A host that is still asking whether somebody has its addresses. */
function asking(dadTransmits = 1): RawIpv6 {
  const lab = new RawIpv6({ dadTransmits })
  lab.frames.length = 0
  return lab
}

/* --- duplicate address detection --- */

test('asks from nobody for its addresses, waits a second, and announces them', () => {
  const lab = new RawIpv6({ dadTransmits: 2 })
  lab.advanceMs(999)
  assert.equal(lab.take(), [], 'the constructor of the lab dropped the first question')
  lab.advanceMs(1)
  assert.equal(lab.take(), ASKS_BOTH)
  assert.equal(lab.notices, [])
  lab.advanceMs(1000)
  assert.equal(lab.take(), [
    `136/0 ${HOST_LINK_LOCAL} ${HOST_LINK_LOCAL} > ${ALL_NODES} ${ALL_NODES_MAC}`,
    `136/0 ${HOST} ${HOST} > ${ALL_NODES} ${ALL_NODES_MAC}`,
  ])
  assert.equal(lab.notices, [`${HOST_LINK_LOCAL} usable`, `${HOST} usable`])
})

test('an address that is not sure yet receives nothing, and nothing is sent from it', () => {
  const lab = asking()
  lab.send(lab.echo(), lab.ndp(NS, HOST, { to: HOST_GROUP, option: PEER_MAC }))
  assert.equal(lab.take(), [])
  assert.is(lab.host.counters.ipv6.dropDestination, 1)
  assert.is(lab.host.hasRoute(PEER), false)
  assert.throws(() => lab.host.tcp.connect(PEER, 80, new StreamApplication(lab.pool)), /no address to reach/)
})

test('somebody has the address: it is never used, and the program is told', () => {
  const lab = asking()
  // From the address itself, as its owner speaks.
  lab.send(lab.ndp(NA, HOST, { to: ALL_NODES, from: HOST, flags: OVERRIDE, option: OTHER_MAC }))
  assert.equal(lab.notices, [`${HOST} duplicate`])
  lab.advanceMs(5000)
  assert.equal(lab.notices, [`${HOST} duplicate`, `${HOST_LINK_LOCAL} usable`])
  lab.frames.length = 0
  lab.send(lab.echo(), lab.ndp(NS, HOST, { to: HOST_GROUP, option: PEER_MAC }))
  assert.equal(lab.take(), [])
  assert.is(lab.host.hasRoute(PEER), false)
  assert.is(lab.host.hasRoute('fe80::1'), true)
  assert.is(lab.host.counters.ndp.duplicates, 1)
})

test('somebody wants the address at the same time: neither gets it', () => {
  const lab = asking()
  lab.send(lab.ndp(NS, HOST, { to: HOST_GROUP, from: '::' }))
  assert.equal(lab.notices, [`${HOST} duplicate`])
})

test('a duplicate link-local address ends IPv6 here', () => {
  const lab = asking()
  lab.send(lab.ndp(NS, HOST_LINK_LOCAL, { to: HOST_GROUP, from: '::' }))
  assert.equal(lab.notices, [`${HOST_LINK_LOCAL} duplicate`, `${HOST} duplicate`])
  lab.advanceMs(5000)
  assert.equal(lab.take(), [])
})

test('who wants an address in use is told, with everybody, that it is taken', () => {
  const lab = new RawIpv6()
  lab.send(lab.ndp(NS, HOST, { to: HOST_GROUP, from: '::' }))
  assert.equal(lab.take(), [`136/0 ${HOST} ${HOST} > ${ALL_NODES} ${ALL_NODES_MAC}`])
  lab.send(lab.ndp(NA, HOST, { to: ALL_NODES, flags: OVERRIDE, option: OTHER_MAC }))
  assert.is(lab.host.hasRoute(PEER), true, 'a late claim changes nothing')
  assert.is(lab.host.counters.ndp.duplicates, 1)
})

/* --- answering --- */

test('a question is answered to who asked, who is known from then on', () => {
  const lab = new RawIpv6()
  lab.send(lab.ndp(NS, HOST, { to: HOST_GROUP, option: PEER_MAC }))
  assert.equal(lab.take(), [`136/0 ${HOST} ${HOST} > ${PEER} ${TO_PEER}`])
  lab.send(lab.ndp(NS, HOST_LINK_LOCAL, { from: 'fe80::1', to: HOST_LINK_LOCAL, option: PEER_MAC }))
  assert.equal(lab.take(), [`136/0 ${HOST_LINK_LOCAL} ${HOST_LINK_LOCAL} > fe80::1 ${TO_PEER}`])
  lab.send(lab.echo())
  assert.equal(lab.take(), [`129/0 ${HOST} > ${PEER} ${TO_PEER}`])
})

const refused: [string, 'dropHopLimit' | 'dropMalformed' | 'dropTarget', (lab: RawIpv6) => Uint8Array][] = [
  ['a question from another link', 'dropHopLimit', (lab) => lab.ndp(NS, HOST, { to: HOST_GROUP, hopLimit: 254 })],
  ['an answer from another link', 'dropHopLimit', (lab) => lab.ndp(NA, PEER, { hopLimit: 64 })],
  ['a question with a code', 'dropMalformed', (lab) => lab.ndp(NS, HOST, { to: HOST_GROUP, code: 1 })],
  ['a question for a group', 'dropMalformed', (lab) => lab.ndp(NS, ALL_NODES, { to: HOST_GROUP })],
  [
    'an answer to all that says it was asked for',
    'dropMalformed',
    (lab) => lab.ndp(NA, PEER, { to: ALL_NODES, flags: SOLICITED }),
  ],
  [
    'a question from nobody, with his MAC',
    'dropMalformed',
    (lab) => lab.ndp(NS, HOST, { to: HOST_GROUP, from: '::', option: PEER_MAC }),
  ],
  ['a short question', 'dropMalformed', (lab) => lab.icmp([NS, ...new Array(22).fill(0)], { hopLimit: 255 })],
  [
    'an option of length 0',
    'dropMalformed',
    (lab) => lab.icmp([...question(), 1, 0, 2, 0, 0, 0, 0, 1], { hopLimit: 255 }),
  ],
  [
    'an option that goes on behind the packet',
    'dropMalformed',
    (lab) => lab.icmp([...question(), 1, 2, 2, 0, 0, 0, 0, 1], { hopLimit: 255 }),
  ],
  ['half an option', 'dropMalformed', (lab) => lab.icmp([...question(), 1, 1, 2, 0], { hopLimit: 255 })],
  [
    'a question for somebody else',
    'dropTarget',
    (lab) => lab.ndp(NS, 'fd00::1:2', { to: HOST_GROUP, option: PEER_MAC }),
  ],
  [
    'an answer nobody waits for',
    'dropTarget',
    (lab) => lab.ndp(NA, 'fd00::9', { flags: SOLICITED, option: OTHER_MAC }),
  ],
]

function question(): number[] {
  return [NS, 0, 0, 0, 0, 0, 0, 0, 0xfd, ...new Array(14).fill(0), 2]
}

for (const [name, counter, frame] of refused)
  test(`refused and counted: ${name}`, () => {
    const lab = new RawIpv6()
    lab.send(frame(lab))
    assert.is(lab.host.counters.ndp[counter], 1)
    assert.equal(lab.take(), [])
  })

test('routers and redirects are not listened to', () => {
  const lab = new RawIpv6()
  for (const type of [133, 134, 137])
    lab.send(lab.icmp([type, ...new Array(39).fill(0)], { hopLimit: 255, from: 'fe80::1' }))
  assert.is(lab.host.counters.ndp.ignoredRouter, 3)
  assert.is(lab.host.hasRoute('2001:db8::1'), false)
})

/* --- neighbours --- */

function connect(lab: RawIpv6, address = PEER): void {
  lab.host.tcp.connect(address, 80, new StreamApplication(lab.pool))
  lab.host.flush(lab.nowUs)
}

test('the first frame waits for the answer, and then goes out with the right receiver', () => {
  const lab = new RawIpv6()
  connect(lab)
  assert.equal(lab.take(), [`135/0 ${PEER} ${HOST} > ${PEER_GROUP}`])
  lab.send(lab.ndp(NA, PEER, { flags: SOLICITED }))
  assert.equal(lab.take(), [], 'an answer without a MAC is none')
  lab.send(lab.ndp(NA, PEER, { flags: SOLICITED, option: PEER_MAC }))
  assert.equal(lab.take(), [`6 ${HOST} > ${PEER} ${TO_PEER}`])
})

test('who does not answer is asked three times, a second apart; what waited is dropped', () => {
  const lab = new RawIpv6()
  connect(lab)
  lab.advanceMs(2900)
  assert.equal(lab.take(), new Array(3).fill(`135/0 ${PEER} ${HOST} > ${PEER_GROUP}`))
  assert.ok(lab.pool.freeBuffers < lab.pool.totalBuffers, 'a SYN waits')
  lab.advanceMs(200)
  assert.is(lab.pool.freeBuffers, lab.pool.totalBuffers)
  assert.is(lab.host.counters.ndp.unreachable, 1)
  assert.ok(lab.host.counters.ndp.dropUnresolved > 0)
  lab.host.close(lab.nowUs)
})

test('a stale neighbour in use is asked after five seconds by unicast, and given up after three questions', () => {
  const lab = new RawIpv6()
  lab.introduce()
  lab.send(lab.echo())
  lab.frames.length = 0
  lab.advanceMs(4900)
  assert.equal(lab.take(), [])
  lab.advanceMs(2200)
  assert.equal(lab.take(), new Array(3).fill(`135/0 ${PEER} ${HOST} > ${PEER} ${TO_PEER}`))
  lab.advanceMs(1000)
  assert.is(lab.host.counters.ndp.unreachable, 1)
  lab.send(lab.echo())
  assert.equal(lab.take(), [`135/0 ${PEER} ${HOST} > ${PEER_GROUP}`], 'looked for anew')
  lab.host.close(lab.nowUs)
})

test('a solicited answer confirms, and lets the neighbour be for half a minute or so', () => {
  const lab = new RawIpv6()
  lab.introduce()
  lab.send(lab.echo())
  lab.send(lab.ndp(NA, PEER, { flags: SOLICITED }))
  lab.frames.length = 0
  lab.advanceMs(14_000)
  lab.send(lab.echo())
  lab.advanceMs(10_000)
  assert.equal(lab.take(), [`129/0 ${HOST} > ${PEER} ${TO_PEER}`], 'reachable: nobody asks')
  lab.advanceMs(30_000)
  lab.send(lab.echo())
  lab.advanceMs(5000)
  assert.is(lab.take().filter((line) => line.startsWith('135')).length, 1, 'stale: asked once used')
  lab.host.close(lab.nowUs)
})

/** Where the host sends to after an advertisement of this kind. */
function receiverAfter(flags: number, option: number[] | undefined): string {
  const lab = new RawIpv6()
  lab.introduce()
  lab.send(lab.ndp(NA, PEER, { flags: SOLICITED, option: PEER_MAC }))
  lab.send(lab.ndp(NA, PEER, { flags, ...(option !== undefined && { option }) }))
  lab.frames.length = 0
  lab.send(lab.echo())
  return lab.take()[0]!.split(' ').at(-1)!
}

test('another MAC is taken from those who insist, only (RFC 4861 7.2.5)', () => {
  assert.is(receiverAfter(OVERRIDE, OTHER_MAC), '020000000009')
  assert.is(receiverAfter(SOLICITED | OVERRIDE, OTHER_MAC), '020000000009')
  assert.is(receiverAfter(0, OTHER_MAC), TO_PEER)
  assert.is(receiverAfter(SOLICITED, OTHER_MAC), TO_PEER)
  assert.is(receiverAfter(OVERRIDE, undefined), TO_PEER)
  assert.is(receiverAfter(OVERRIDE, [1, 0, 0, 0, 0, 9]), TO_PEER, 'a group is nobody')
})

test('what TCP gets acknowledged saves the questions (RFC 4861 7.3.1)', () => {
  const questions: number[] = []
  for (const withData of [true, false]) {
    const network = new VirtualNetwork({ seed: 7, ipv6: true })
    const server = new StreamApplication(network.poolB)
    const client = new StreamApplication(network.poolA)
    network.hostB.tcp.listen(80, server, {})
    const c = network.hostA.tcp.connect(ADDRESS6_B, 80, client)
    for (let second = 0; second < 120; second++) {
      network.runFor(SECOND_US)
      if (withData) c.send(chainOf(network.poolA, new Uint8Array(10)))
      else if (second % 40 === 39) c.send(chainOf(network.poolA, new Uint8Array(10)))
    }
    questions.push(network.hostA.counters.ndp.solicitationsSent)
    assert.is(c.remoteAddress, ADDRESS6_B)
    assert.is(c.localAddress, ADDRESS6_A)
    network.hostA.close(network.nowUs)
    network.hostB.close(network.nowUs)
  }
  assert.is(questions[0], 1, 'data flows: only the first question')
})

test('the cache is bounded: a flood of askers takes no place from who was confirmed', () => {
  const lab = new RawIpv6()
  lab.introduce()
  lab.send(lab.ndp(NA, PEER, { flags: SOLICITED }))
  lab.advanceMs(1)
  for (let index = 0; index < NDP_ENTRIES_MAX * 3; index++)
    lab.send(lab.ndp(NS, HOST, { from: `fd00::9:${index.toString(16)}`, to: HOST_GROUP, option: OTHER_MAC }))
  lab.frames.length = 0
  lab.send(lab.echo())
  assert.equal(lab.take(), [`129/0 ${HOST} > ${PEER} ${TO_PEER}`], 'still known')
})

test('a flood to addresses that nobody has leaves frames and timers behind nowhere', () => {
  const lab = new RawIpv6()
  for (let index = 0; index < NDP_ENTRIES_MAX * 2; index++)
    lab.send(lab.echo({ from: `fd00::7:${index.toString(16)}` }))
  assert.ok(lab.pool.totalBuffers - lab.pool.freeBuffers <= 2 * PENDING_MAX, 'waiting frames are bounded')
  lab.advanceMs(10_000)
  assert.is(lab.pool.freeBuffers, lab.pool.totalBuffers)
  assert.is(lab.host.armedTimers, 0)
})

test.run()
