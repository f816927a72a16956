/**
 * Packets, in the notation of tcpdump:
 *
 *   [ip] flags first:end(length) ack N win N urg N <options>
 *   udp (length)
 *   icmp unreachable frag_needed mtu 1200 [quoted packet]
 *
 * Called by: parse-script.ts, behind the direction.
 */
import type { Cursor } from './cursor.ts'
import { ScriptError, ScriptUnsupported } from './errors.ts'
import type { EcnField, IcmpSpec, IpSpec, TcpOptionSpec, TcpSpec, UdpSpec } from './script.ts'

const FLAGS: Readonly<Record<string, number>> = {
  F: 1,
  S: 2,
  R: 4,
  P: 8,
  '.': 16,
  U: 32,
  E: 64,
  W: 128,
  A: 256,
  '-': 0,
}
/** AE, CWR and ECE as one number: the ACE counter of Accurate ECN. */
const ACE_SHIFT = 6

/** Of Accurate ECN's option, by order. */
const COUNTERS = [
  ['e0b', 'ceb', 'e1b'],
  ['e1b', 'ceb', 'e0b'],
]

/** RFC 792: type 3. */
const ICMP_CODES: Readonly<Record<string, number>> = {
  net_unreachable: 0,
  host_unreachable: 1,
  protocol_unreachable: 2,
  port_unreachable: 3,
  frag_needed: 4,
  source_route_failed: 5,
  net_unknown: 6,
  host_unknown: 7,
  source_host_isolated: 8,
  net_prohibited: 9,
  host_prohibited: 10,
  net_unreachable_for_tos: 11,
  host_unreachable_for_tos: 12,
  communication_prohibited: 13,
  pkt_filtered: 13,
  packet_filtered: 13,
  host_precedence_violation: 14,
  precedence_violation: 14,
  precedence_cutoff: 15,
}
/** RFC 792, RFC 950; unreachable has codes. */
const ICMP_TYPES: Readonly<Record<string, number>> = {
  echo_reply: 0,
  source_quench: 4,
  redirect: 5,
  echo_request: 8,
  time_exceeded: 11,
  parameter_problem: 12,
  timestamp_request: 13,
  timestamp_reply: 14,
  information_request: 15,
  information_reply: 16,
  address_mask_request: 17,
  address_mask_reply: 18,
}
/** RFC 4443. */
const ICMPV6_TYPES: Readonly<Record<string, number>> = {
  packet_too_big: 2,
  time_exceeded: 3,
  parameter_problem: 4,
  echo_request: 128,
  echo_reply: 129,
}
/** RFC 4443 3.1: type 1. */
const ICMPV6_CODES: Readonly<Record<string, number>> = {
  no_route: 0,
  net_unreachable: 0,
  admin_prohibited: 1,
  not_neighbour: 2,
  beyond_scope: 2,
  host_unreachable: 3,
  address_unreachable: 3,
  port_unreachable: 4,
}

/** Fields of the IP header between brackets of either form; absent: nothing is said. */
export function parseIpSpec(cursor: Cursor): IpSpec {
  const spec = { ecn: 'unchecked' as EcnField, tos: -1, ttl: -1 }
  if (quotesHere(cursor)) return spec
  const round = cursor.matchesBlank(/\([ \t]*(?:noecn|ect0|ect1|ect01|ce|tos|ttl|flowlabel)\b/y)
  if (!cursor.accept(round ? '(' : '[')) return spec
  do {
    const name = cursor.name()
    switch (name) {
      case 'noecn':
      case 'ect0':
      case 'ect1':
      case 'ect01':
      case 'ce':
        spec.ecn = name
        break
      case 'tos':
        spec.tos = cursor.expectNumber('a type of service')
        break
      case 'ttl':
        spec.ttl = cursor.expectNumber('a time to live')
        break
      case 'flowlabel':
        throw new ScriptUnsupported(cursor.line, 'the flow label of IPv6')
      default:
        cursor.fail('expected ect0, ect1, ect01, ce, noecn, tos or ttl')
    }
  } while (cursor.accept(','))
  cursor.expect(round ? ')' : ']')
  return spec
}

/** What the packet carries. */
export function parseBody(cursor: Cursor): TcpSpec | UdpSpec | IcmpSpec {
  const quoted = parseQuotedBefore(cursor)
  if (quoted !== undefined) {
    if (cursor.acceptWord('icmp')) return { ...parseIcmp(cursor, 4), quoted }
    return cursor.acceptWord('icmpv6') ? { ...parseIcmp(cursor, 6), quoted } : cursor.fail('expected icmp or icmpv6')
  }
  if (cursor.acceptWord('icmp')) return parseIcmp(cursor, 4)
  if (cursor.acceptWord('icmpv6')) return parseIcmp(cursor, 6)
  if (cursor.acceptWord('udp')) return parseUdp(cursor)
  for (const tunnel of ['ipv4', 'ipv6', 'gre', 'mpls', 'vxlan', 'psp'])
    if (cursor.acceptWord(tunnel)) throw new ScriptUnsupported(cursor.line, `encapsulation (${tunnel})`)
  return parseTcp(cursor)
}

function parseUdp(cursor: Cursor): UdpSpec {
  cursor.expect('(')
  const length = cursor.expectNumber('a length')
  cursor.expect(')')
  return { protocol: 'udp', length }
}

function parseTcp(cursor: Cursor): TcpSpec {
  const [sourcePort, destinationPort] = parsePorts(cursor)
  const flags = parseFlags(cursor)
  const { sequence, length } = parseRange(cursor)
  const acknowledgement = cursor.acceptWord('ack') ? cursor.expectNumber('a sequence number') : -1
  const window = cursor.acceptWord('win') ? cursor.expectNumber('a window') : -1
  const urgent = cursor.acceptWord('urg') ? cursor.expectNumber('an urgent pointer') : 0
  const options = cursor.accept('<') ? parseOptions(cursor) : []
  return {
    protocol: 'tcp',
    flags,
    sequence,
    length,
    acknowledgement,
    window,
    urgent,
    options,
    sourcePort,
    destinationPort,
  }
}

/** `8080 > 1234` before the flags. */
function parsePorts(cursor: Cursor): [number, number] {
  const before = cursor.at
  const source = cursor.number()
  if (source !== undefined && cursor.accept('>')) return [source, cursor.expectNumber('a port')]
  cursor.at = before
  return [0, 0]
}

function parseFlags(cursor: Cursor): number {
  cursor.skipBlank()
  const letters = cursor.match(/[FSRP.UEWA0-7-]+(?=[ \t\n])/y)
  if (letters === undefined) return cursor.fail('expected the flags of a segment')
  let flags = 0
  for (const letter of letters) flags |= FLAGS[letter] ?? Number(letter) << ACE_SHIFT
  return flags
}

/** `first:end(length)`. */
function parseRange(cursor: Cursor): { sequence: number; length: number } {
  const sequence = cursor.expectNumber('a sequence number')
  cursor.expect(':')
  const end = cursor.expectNumber('a sequence number')
  cursor.expect('(')
  const length = cursor.expectNumber('a length')
  cursor.expect(')')
  if ((end - sequence - length) % 2 ** 32 !== 0)
    throw new ScriptError(cursor.line, `${sequence}:${end}(${length}) contradicts itself`)
  return { sequence, length }
}

/* --- options of TCP --- */

function parseOptions(cursor: Cursor): TcpOptionSpec[] | undefined {
  if (cursor.accept('...')) {
    cursor.expect('>')
    return undefined
  }
  const options: TcpOptionSpec[] = []
  if (cursor.accept('>')) return options
  do options.push(parseOption(cursor))
  while (cursor.accept(','))
  cursor.expect('>')
  return options
}

function parseOption(cursor: Cursor): TcpOptionSpec {
  cursor.skipBlank()
  const name = cursor.match(/[A-Za-z0-9_-]+/y)
  switch (name) {
    case 'nop':
    case 'eol':
    case 'sackOK':
      return { kind: name }
    case 'mss':
    case 'wscale':
      return { kind: name, value: cursor.expectNumber('a number') }
    case 'TS':
      return parseTimestamps(cursor)
    case 'sack':
      return parseSack(cursor)
    case 'FO':
    case 'FOEXP':
    case 'exp-fastopen':
      return { kind: 'cookie', experimental: name !== 'FO', bytes: parseHex(cursor) }
    case 'md5':
      return { kind: 'raw', number: 19, bytes: parseHex(cursor) }
    case 'ECN':
    case 'ACCECN':
    case 'accecn':
      return parseAccurate(cursor)
    case 'mp_capable':
    case 'mp_capable_no_cs':
    case 'mp_join_syn':
    case 'mp_join_syn_ack':
    case 'mp_join_ack':
    case 'dss':
    case 'dss4':
    case 'dss8':
    case 'add_address':
    case 'add_addr':
    case 'rm_addr':
    case 'mp_prio':
    case 'mp_fail':
    case 'mp_fastclose':
    case 'mp_reset':
      throw new ScriptUnsupported(cursor.line, `Multipath TCP (${name})`)
    default:
      if (name !== undefined) throw new ScriptUnsupported(cursor.line, `the TCP option '${name}'`)
      return cursor.fail('expected a TCP option')
  }
}

function parseTimestamps(cursor: Cursor): TcpOptionSpec {
  if (!cursor.acceptWord('val')) cursor.fail("expected 'val'")
  const value = cursor.expectNumber('a timestamp')
  if (!cursor.acceptWord('ecr')) cursor.fail("expected 'ecr'")
  return { kind: 'timestamps', value, echo: cursor.expectNumber('a timestamp') }
}

/** `e1b 1 ceb 0 e0b 1`: up to three counters; which of the others comes first says the order. */
function parseAccurate(cursor: Cursor): TcpOptionSpec {
  const names: string[] = []
  const counters: number[] = []
  for (let name = acceptCounter(cursor); name !== undefined; name = acceptCounter(cursor)) {
    names.push(name)
    counters.push(cursor.expectNumber('a counter'))
  }
  const order = names[0] === 'e0b' ? 0 : 1
  if (names.some((name, index) => name !== COUNTERS[order]![index]))
    cursor.fail('expected e1b, ceb and e0b, or e0b, ceb and e1b')
  return { kind: 'accurate', order, counters }
}

function acceptCounter(cursor: Cursor): string | undefined {
  return COUNTERS[0]!.find((name) => cursor.acceptWord(name))
}

function parseSack(cursor: Cursor): TcpOptionSpec {
  const edges: number[] = []
  for (let left = cursor.number(); left !== undefined; left = cursor.number()) {
    cursor.expect(':')
    edges.push(left, cursor.expectNumber('a sequence number'))
  }
  return { kind: 'sack', edges }
}

function parseHex(cursor: Cursor): number[] {
  cursor.skipBlank()
  const digits = cursor.match(/(?:0x)?(?:[0-9a-fA-F]{2})+(?![0-9A-Za-z_])/y)?.replace(/^0x/, '') ?? ''
  return Array.from(digits.matchAll(/../g), ([pair]) => Number.parseInt(pair, 16))
}

/* --- ICMP --- */

function parseIcmp(cursor: Cursor, version: 4 | 6): IcmpSpec {
  const name = cursor.name() ?? ''
  const unreachable = version === 4 ? 3 : 1
  const types = version === 4 ? ICMP_TYPES : ICMPV6_TYPES
  const type = name === 'unreachable' ? unreachable : named(cursor, name, types, /^type_(\d+)$/, 'type')
  const codes = type === unreachable ? (version === 4 ? ICMP_CODES : ICMPV6_CODES) : {}
  const before = cursor.at
  const codeName = cursor.name() ?? ''
  let code = 0
  if (codeName === '' || codeName === 'mtu' || codeName === 'id') cursor.at = before
  else code = named(cursor, codeName, codes, /^code_(\d+)$/, 'code')
  // Echoes are answered by the stack below, whatever their number.
  if (cursor.acceptWord('id')) cursor.expectNumber('a number')
  const mtu = cursor.acceptWord('mtu') ? cursor.expectNumber('an MTU') : 0
  return { protocol: 'icmp', version, type, code, mtu, quoted: parseQuoted(cursor) }
}

/** The number of a type or code, which may be written as `type_3`. */
function named(
  cursor: Cursor,
  name: string,
  known: Readonly<Record<string, number>>,
  form: RegExp,
  what: string,
): number {
  if (Object.hasOwn(known, name)) return known[name]!
  const number = Number(form.exec(name)?.[1] ?? -1)
  if (number < 0 || number > 255) throw new ScriptUnsupported(cursor.line, `the ICMP ${what} '${name}'`)
  return number
}

/** Scripts for the first packetdrill have the quoted packet in front: `[1:1001(1000)] icmp unreachable`. */
function parseQuotedBefore(cursor: Cursor): TcpSpec | UdpSpec | undefined {
  return quotesHere(cursor) ? parseQuoted(cursor) : undefined
}

function quotesHere(cursor: Cursor): boolean {
  return cursor.matchesBlank(/\[[ \t]*(?:udp|raw|\d|[FSRP.]+[ \t]+\d)/y)
}

/** `[1:1001(1000)]`, `[S 0:0(0)]`, `[udp (100)]`. */
function parseQuoted(cursor: Cursor): TcpSpec | UdpSpec | undefined {
  if (!cursor.accept('[')) return undefined
  let quoted: TcpSpec | UdpSpec
  if (cursor.acceptWord('raw')) throw new ScriptUnsupported(cursor.line, 'quoted packets of other protocols')
  if (cursor.acceptWord('udp')) quoted = parseUdp(cursor)
  else {
    cursor.skipBlank()
    const flags = /[FSRP.]/.test(cursor.next) ? parseFlags(cursor) : FLAGS['.']!
    const range = parseRange(cursor)
    quoted = {
      protocol: 'tcp',
      flags,
      ...range,
      acknowledgement: -1,
      window: -1,
      urgent: 0,
      options: [],
      sourcePort: 0,
      destinationPort: 0,
    }
  }
  cursor.expect(']')
  return quoted
}
