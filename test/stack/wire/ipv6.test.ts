/** Header fields of IPv6, ICMPv6 and Neighbor Discovery in frames that Linux has sent; and the same bytes written again. */
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { type Address, Ends, formatAddress, parseAddress } from '../../../stack/address.ts'
import { writeEthernetHeader } from '../../../stack/wire/ethernet.ts'
import { icmpType, writeIcmpHeader } from '../../../stack/wire/icmp.ts'
import {
  ICMPV6_ECHO,
  NDP_NEIGHBOUR_SOLICITATION,
  NDP_SOURCE_MAC,
  ndpOptionLength,
  ndpOptionMacHigh,
  ndpOptionMacLow,
  ndpOptionType,
  ndpTargetWord,
  writeNdpMac,
  writeNdpTarget,
} from '../../../stack/wire/icmpv6.ts'
import {
  extensionLength,
  ipv6AddressSum,
  ipv6DestinationWord,
  ipv6Ecn,
  ipv6HeaderAddressSum,
  ipv6HopLimit,
  ipv6NextHeader,
  ipv6PayloadLength,
  ipv6SourceWord,
  ipv6Version,
  setIpv6Ecn,
  writeIpv6Header,
} from '../../../stack/wire/ipv6.ts'
import { foldSum, sumBytes } from '../../../storage/checksum.ts'
import { ECHO_REQUEST, REPORT, SOLICITATION, SYN } from './ipv6-vectors.ts'

const HEADER = 14
const PAYLOAD = 54

function viewOf(hex: string): DataView {
  const bytes = Uint8Array.from(Buffer.from(hex, 'hex'))
  return new DataView(bytes.buffer)
}

function address(view: DataView, word: typeof ipv6SourceWord): string {
  return formatAddress(word(view, HEADER, 0), word(view, HEADER, 1), word(view, HEADER, 2), word(view, HEADER, 3))
}

/** Version, payload length, next header, hop limit, source, destination. */
const headers = [
  [SOLICITATION, 32, 58, 255, 'fd77::1', 'ff02::1:ff00:2'],
  [ECHO_REQUEST, 11, 58, 64, 'fd77::1', 'fd77::2'],
  [SYN, 40, 6, 64, 'fd77::1', 'fd77::2'],
  [REPORT, 56, 0, 1, '::', 'ff02::16'],
] as const

test('every field of the header is where RFC 8200 puts it', () => {
  for (const [hex, length, next, hopLimit, source, destination] of headers) {
    const view = viewOf(hex)
    assert.is(ipv6Version(view, HEADER), 6)
    assert.is(ipv6Ecn(view, HEADER), 0)
    assert.is(ipv6PayloadLength(view, HEADER), length)
    assert.is(ipv6NextHeader(view, HEADER), next)
    assert.is(ipv6HopLimit(view, HEADER), hopLimit)
    assert.is(address(view, ipv6SourceWord), source)
    assert.is(address(view, ipv6DestinationWord), destination)
  }
  assert.is(extensionLength(viewOf(REPORT), PAYLOAD), 8)
})

test("the pseudo-header of Linux's checksums is ours, from the header and from words", () => {
  for (const [hex, length, next, , source, destination] of headers) {
    if (next === 0) continue
    const view = viewOf(hex)
    const whole = next + length + sumBytes(view, PAYLOAD, length)
    assert.is(foldSum(ipv6HeaderAddressSum(view, HEADER) + whole), 0xffff)
    assert.is(foldSum(ipv6AddressSum(endsOf(source, destination)) + whole), 0xffff)
  }
})

test('the solicitation is written as Linux wrote it', () => {
  const linux = viewOf(SOLICITATION)
  assert.is(icmpType(linux, PAYLOAD), NDP_NEIGHBOUR_SOLICITATION)
  assert.is(ndpOptionType(linux, 78), NDP_SOURCE_MAC)
  assert.is(ndpOptionLength(linux, 78), 8)
  const target = parseAddress('fd77::2')
  assert.equal(
    [0, 1, 2, 3].map((word) => ndpTargetWord(linux, PAYLOAD, word)),
    wordsOf(target),
  )
  const own = new DataView(new ArrayBuffer(linux.byteLength))
  const [high, low] = [ndpOptionMacHigh(linux, 78), ndpOptionMacLow(linux, 78)]
  writeEthernetHeader(own, 0, 0x3333, 0xff000002 | 0, high, low, 0x86dd)
  writeIpv6Header(own, HEADER, 32, 58, 255, endsOf('fd77::1', 'ff02::1:ff00:2'))
  writeIcmpHeader(own, PAYLOAD, NDP_NEIGHBOUR_SOLICITATION, 0, 0x0dcf, 0)
  writeNdpTarget(own, PAYLOAD, target.word0, target.word1, target.word2, target.word3)
  writeNdpMac(own, 78, NDP_SOURCE_MAC, high, low)
  assert.is(Buffer.from(own.buffer).toString('hex'), SOLICITATION)
})

test('ECN bits go where RFC 3168 wants them, and nothing else changes', () => {
  const view = viewOf(ECHO_REQUEST)
  assert.is(icmpType(view, PAYLOAD), ICMPV6_ECHO)
  const word = view.getUint32(HEADER)
  for (const ecn of [2, 1]) setIpv6Ecn(view, HEADER, ecn)
  assert.is(ipv6Ecn(view, HEADER), 3)
  assert.is(view.getUint32(HEADER), word | 0x00300000, 'bits 10 and 11 of the first word')
})

function endsOf(local: string, remote: string): Ends {
  const ends = new Ends()
  ends.setLocal(...wordsOf(parseAddress(local)))
  ends.setRemote(...wordsOf(parseAddress(remote)))
  return ends
}

function wordsOf({ word0, word1, word2, word3 }: Address): [number, number, number, number] {
  return [word0, word1, word2, word3]
}

test.run()
