/** ICMP errors: how many, to whom, and about what none at all (RFC 1122 3.2.2, RFC 1812 4.3.2.8); redirects. */
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { MAPPED_WORD_2 } from '../../stack/address.ts'
import { IcmpLimits } from '../../stack/icmp-limits.ts'
import { sumBytes } from '../../storage/checksum.ts'
import { datagram, type Fragment, FragmentPeer, fragmentFrame, HOST, PEER } from '../support/raw-fragments.ts'

const ICMP = 1
const UDP = 17

/** A whole packet, with any part of the header replaced. */
function packet(peer: FragmentPeer, protocol: number, bytes: Uint8Array, change: Partial<Fragment> = {}): Uint8Array {
  return fragmentFrame(peer.device.mac, { offset: 0, more: false, bytes, protocol, identification: 1, ...change })
}

function icmp(type: number, code: number): Uint8Array {
  const bytes = new Uint8Array(8 + 28)
  const view = new DataView(bytes.buffer)
  view.setUint16(0, (type << 8) | code)
  view.setUint16(8, 0x4500)
  view.setUint16(10, 28)
  view.setUint8(17, UDP)
  view.setInt32(20, HOST)
  view.setInt32(24, PEER)
  view.setUint16(2, ~sumBytes(view, 0, bytes.length) & 0xffff)
  return bytes
}

function push(peer: FragmentPeer, ...frames: Uint8Array[]): void {
  peer.device.queue.push(...frames)
  peer.poll()
}

test('a closed port and an unknown protocol are reported, six times at once, then once a second', () => {
  const peer = new FragmentPeer()
  for (let index = 0; index < 20; index++) push(peer, packet(peer, UDP, datagram(new Uint8Array(4))))
  assert.is(peer.frames.length, 6)
  assert.is(peer.host.counters.icmp.dropRate, 14)
  peer.advanceMs(3000)
  for (let index = 0; index < 20; index++) push(peer, packet(peer, 200, new Uint8Array(40)))
  assert.is(peer.frames.length, 9)
  assert.equal([...peer.takePackets()[8]!.payload.subarray(0, 2)], [3, 2])
})

test('the host as a whole sends fifty at once, and a thousand a second', () => {
  const limits = new IcmpLimits(0, 7)
  let sent = 0
  for (let address = 0; address < 400; address++) if (limits.take(0, 0, MAPPED_WORD_2, 0x0a000000 + address)) sent++
  assert.is(sent, 50)
  for (let ms = 1; ms <= 1000; ms++) {
    limits.setNow(ms)
    for (let address = 0; address < 10; address++)
      if (limits.take(0, 0, MAPPED_WORD_2, 0x0b000000 + ms * 10 + address)) sent++
  }
  assert.ok(sent > 1030 && sent <= 1050, `${sent}`)
  limits.setNow(0x7fffffff)
  assert.is(limits.take(0, 0, MAPPED_WORD_2, 1), true)
  limits.setNow(-1)
  assert.is(limits.take(0, 0, MAPPED_WORD_2, 1), true, 'time that has wrapped')
})

test('no error about an error, a broadcast, a multicast, a fragment behind the first, or to nobody', () => {
  const peer = new FragmentPeer()
  const bytes = datagram(new Uint8Array(100))
  const toAll = packet(peer, UDP, bytes)
  toAll.fill(0xff, 0, 6)
  const toAllByAddress = packet(peer, UDP, bytes)
  const view = new DataView(toAllByAddress.buffer)
  view.setInt32(30, 0x0a0000ff)
  view.setUint16(24, 0)
  view.setUint16(24, ~sumBytes(view, 14, 20) & 0xffff)
  push(
    peer,
    packet(peer, ICMP, icmp(3, 3)),
    packet(peer, ICMP, icmp(11, 0)),
    packet(peer, ICMP, icmp(12, 0)),
    packet(peer, ICMP, icmp(99, 0)),
    toAll,
    toAllByAddress,
    packet(peer, UDP, bytes.subarray(48), { offset: 48, more: false }),
    packet(peer, ICMP, icmp(3, 1).subarray(0, 32), { more: true }),
    packet(peer, ICMP, icmp(12, 0).subarray(0, 32), { more: true, identification: 2 }),
    packet(peer, UDP, bytes, { source: 0 }),
    packet(peer, UDP, bytes, { source: 0x7f000001 }),
    packet(peer, UDP, bytes, { source: 0xe0000001 | 0 }),
    packet(peer, UDP, bytes, { source: -1 }),
    packet(peer, UDP, bytes, { source: 0x0a0000ff }),
    packet(peer, UDP, bytes, { source: HOST }),
  )
  assert.is(peer.frames.length, 0)
  peer.advanceMs(40_000)
  assert.is(peer.frames.length, 0, 'nor about the fragments when their time is up')
  assert.is(peer.host.counters.icmp.errorsSent, 0)
  assert.is(peer.host.counters.fragments.timeouts, 3)
})

test('the reply to an echo request of zeros has a checksum that is right, as that of any other', () => {
  const peer = new FragmentPeer()
  const request = new Uint8Array(40)
  request.set([8, 0, 0xf7, 0xff])
  const odd = request.slice(0, 39)
  const other = request.slice()
  other.set([8, 0, 0xe7, 0xff, 0x10, 0])
  const checksumZero = request.slice()
  checksumZero.set([8, 0, 0, 0, 0xf7, 0xff])
  push(peer, ...[request, odd, other, checksumZero].map((bytes) => packet(peer, ICMP, bytes)))
  const replies = peer.takePackets()
  assert.is(replies.length, 4)
  for (const { payload } of replies)
    assert.is(sumBytes(new DataView(payload.buffer, payload.byteOffset), 0, payload.length), 0xffff)
})

test('redirects are counted and not followed', () => {
  const peer = new FragmentPeer()
  push(peer, packet(peer, ICMP, icmp(5, 1)))
  assert.is(peer.host.counters.icmp.ignoredRedirect, 1)
  assert.is(peer.frames.length, 0)
})

test.run()
