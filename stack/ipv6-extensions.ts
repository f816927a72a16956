/**
 * The chain of extension headers between the IPv6 header and the transport (RFC 8200 4). Everything in it comes from
 * strangers, so the walk is bounded: IPV6_EXTENSION_HEADERS_MAX headers, IPV6_OPTIONS_MAX options in one of them.
 *
 *   walk ─► transport         packet.protocol, packet.at and packet.length say where and what
 *        ─► fragment          packet.at is its fragment header, and packet.length goes from there
 *        ─► dropped           counted
 *        ─► problem           counted; problemCode and problemPointer say what the sender is to be told
 *
 * Called by: ipv6.ts.
 */
import type { Ipv6Counters } from './counters.ts'
import { IPV6_EXTENSION_HEADERS_MAX, IPV6_OPTIONS_MAX } from './limits.ts'
import type { ReceivedPacket } from './packet.ts'
import { ICMPV6_INFORMATIONAL, PROBLEM_FIELD, PROBLEM_NEXT_HEADER, PROBLEM_OPTION } from './wire/icmpv6.ts'
import { PROTOCOL_TCP, PROTOCOL_UDP } from './wire/ipv4.ts'
import {
  EXTENSION_UNIT_BYTES,
  extensionLength,
  FRAGMENT_HEADER_BYTES,
  fragmentIsAtomic,
  IPV6_HEADER_BYTES,
  IPV6_NEXT_HEADER,
  NEXT_DESTINATION,
  NEXT_FRAGMENT,
  NEXT_HOP_BY_HOP,
  NEXT_NONE,
  NEXT_ROUTING,
  OPTION_HEADER_BYTES,
  OPTION_PAD1,
  OPTION_PADN,
  PROTOCOL_ICMPV6,
  ROUTING_TYPE,
  routingSegmentsLeft,
} from './wire/ipv6.ts'

export const CHAIN_TRANSPORT = 0
export const CHAIN_FRAGMENT = 1
export const CHAIN_DROPPED = 2
export const CHAIN_PROBLEM = 3

/* What the upper two bits of an unknown option's type ask for (RFC 8200 4.2). */
const ACTION_SKIP = 0
const ACTION_DISCARD = 1
const ACTION_REPORT_ALWAYS = 2

export class ExtensionHeaders {
  /** Of the last CHAIN_PROBLEM: code and pointer of the parameter problem (RFC 4443 3.4). */
  problemCode = 0
  problemPointer = 0

  private readonly counters: Ipv6Counters

  constructor(counters: Ipv6Counters) {
    this.counters = counters
  }

  /** @param end where the packet ends in packet.view */
  walk(packet: ReceivedPacket, end: number): number {
    const { headerAt } = packet
    return this.walkFrom(packet, headerAt + IPV6_NEXT_HEADER, headerAt + IPV6_HEADER_BYTES, end, 0)
  }

  /** Goes on behind the fragment header in front of packet.at, when the packet has become whole. */
  walkOn(packet: ReceivedPacket, end: number): number {
    return this.walkFrom(packet, packet.at - FRAGMENT_HEADER_BYTES, packet.at, end, 1)
  }

  private walkFrom(packet: ReceivedPacket, firstField: number, firstAt: number, end: number, before: number): number {
    const { view, headerAt } = packet
    let field = firstField
    let at = firstAt
    for (let headers = before; ; headers++) {
      const next = view.getUint8(field)
      packet.protocol = next
      packet.at = at
      packet.length = end - at
      if (next === PROTOCOL_TCP || next === PROTOCOL_UDP || next === PROTOCOL_ICMPV6) return CHAIN_TRANSPORT
      if (next === NEXT_NONE) {
        this.counters.dropNoNextHeader++ // RFC 8200 4.7
        return CHAIN_DROPPED
      }
      const known = next === NEXT_DESTINATION || next === NEXT_ROUTING || next === NEXT_FRAGMENT
      // RFC 8200 4: hop-by-hop options stand first, or are as unknown as any other number.
      if (!known && (next !== NEXT_HOP_BY_HOP || headers > 0)) {
        this.counters.dropNextHeader++
        return this.problem(PROBLEM_NEXT_HEADER, field - headerAt)
      }
      if (headers === IPV6_EXTENSION_HEADERS_MAX) {
        this.counters.dropExtensionCount++
        return CHAIN_DROPPED
      }
      // A fragment header has no length: its second byte is reserved.
      const length =
        next === NEXT_FRAGMENT || at + EXTENSION_UNIT_BYTES > end ? EXTENSION_UNIT_BYTES : extensionLength(view, at)
      if (at + length > end) {
        this.counters.dropExtensionLength++
        return CHAIN_DROPPED
      }
      const verdict = this.checkHeader(packet, next, at, length, end)
      if (verdict !== CHAIN_TRANSPORT) return verdict
      field = at
      at += length
    }
  }

  /** @returns CHAIN_TRANSPORT to go on behind it */
  private checkHeader(packet: ReceivedPacket, type: number, at: number, length: number, end: number): number {
    const { view, headerAt } = packet
    if (type === NEXT_FRAGMENT) return fragmentIsAtomic(view, at) ? CHAIN_TRANSPORT : CHAIN_FRAGMENT
    if (type !== NEXT_ROUTING) return this.checkOptions(packet, at, length, end)
    // RFC 8200 4.4: of no type are segments left processed here, type 0 included (RFC 5095 3).
    if (routingSegmentsLeft(view, at) === 0) return CHAIN_TRANSPORT
    this.counters.dropRouting++
    if (carriesError(view, at, length, end)) return CHAIN_DROPPED
    return this.problem(PROBLEM_FIELD, at + ROUTING_TYPE - headerAt)
  }

  /** RFC 8200 4.2; no option means anything to an end host, so that only what an unknown one asks for is done. */
  private checkOptions(packet: ReceivedPacket, header: number, length: number, end: number): number {
    const { view } = packet
    const optionsEnd = header + length
    let at = header + OPTION_HEADER_BYTES
    for (let options = 0; at < optionsEnd; options++) {
      if (options === IPV6_OPTIONS_MAX) {
        this.counters.dropExtensionCount++
        return CHAIN_DROPPED
      }
      const type = view.getUint8(at)
      if (type === OPTION_PAD1) {
        at++
        continue
      }
      const bytes = at + 1 < optionsEnd ? OPTION_HEADER_BYTES + view.getUint8(at + 1) : OPTION_HEADER_BYTES
      if (at + bytes > optionsEnd) {
        this.counters.dropExtensionLength++
        return CHAIN_DROPPED
      }
      const action = type >>> 6
      if (type !== OPTION_PADN && action !== ACTION_SKIP) {
        this.counters.dropOption++
        const silent = action === ACTION_DISCARD || (action !== ACTION_REPORT_ALWAYS && packet.isMulticast !== 0)
        if (silent || carriesError(view, header, length, end)) return CHAIN_DROPPED
        return this.problem(PROBLEM_OPTION, at - packet.headerAt)
      }
      at += bytes
    }
    return CHAIN_TRANSPORT
  }

  private problem(code: number, pointer: number): number {
    this.problemCode = code
    this.problemPointer = pointer
    return CHAIN_PROBLEM
  }
}

/** Whether an ICMPv6 error stands behind the header at `at`: never answered by another (RFC 4443 2.4 (e.1)). */
function carriesError(view: DataView, at: number, length: number, end: number): boolean {
  if (view.getUint8(at) !== PROTOCOL_ICMPV6 || at + length >= end) return false
  return view.getUint8(at + length) < ICMPV6_INFORMATIONAL
}
