/**
 * The option of Accurate ECN (RFC 9768 3.2.3): up to three byte counters of 24 bits, in one of two orders.
 *
 *   kind 172: ECT(0), CE, ECT(1)      kind 174: ECT(1), CE, ECT(0), which is what we send, as Linux
 *   [kind][2 + 3 n][counter 3]...     the counters of ECT begin at 1, so that one which was zeroed shows
 *
 * It stands before SACK blocks, and takes the place of the two no-ops in front of them where it can.
 *
 * Called by: accurate-ecn.ts, segment-output.ts, syn.ts.
 */
import { elapsed } from '../clock.ts'
import type { AccurateEcn } from './accurate-ecn.ts'
import type { Connection } from './connection.ts'
import type { TcpContext } from './context.ts'
import { OPTIONS_MAX, sackOptionLength } from './options.ts'
import type { Segment } from './segment.ts'

/* The two bits of the IP header, as in ecn.ts; they are the indices of the counters. */
export const FIELD_NOT_CAPABLE = 0
export const FIELD_CAPABLE_1 = 1
export const FIELD_CAPABLE_0 = 2
export const FIELD_CONGESTED = 3

export const KIND_ACCURATE_0 = 172
export const KIND_ACCURATE_1 = 174
const ORDERS = {
  [KIND_ACCURATE_0]: [FIELD_CAPABLE_0, FIELD_CONGESTED, FIELD_CAPABLE_1],
  [KIND_ACCURATE_1]: [FIELD_CAPABLE_1, FIELD_CONGESTED, FIELD_CAPABLE_0],
}
const START_OF_FIELD = [0, 1, 1, 0]
const BASE_BYTES = 2
const FIELD_BYTES = 3
export const ACCURATE_FIELDS = 3
const NO_OPERATION = 1
/** With all fields, to a whole word. */
export const ACCURATE_PADDED_BYTES = 12

/* Tuning.ecnOption, as Linux's tcp_ecn_option. */
/** 1: only when something has changed, and now and then (ecnOptionBeacon). */
const OPTION_OFF = 0
const OPTION_ALWAYS = 2
/** Even where it seems not to get through. */
const OPTION_PERSISTS = 3

/* AccurateEcn.optionSeen. */
export const OPTION_UNSEEN = 0
export const OPTION_EMPTY = 1
export const OPTION_COUNTS = 2
export const OPTION_ZEROED = 3

/* AccurateEcn.failures: what somebody on the way mangles. */
/** The peer does not see our flags as they are; we do not see its. */
export const ACE_SEND_FAILS = 1
export const ACE_RECEIVE_FAILS = 2
export const OPTION_SEND_FAILS = 4
export const OPTION_RECEIVE_FAILS = 8

/* --- reading --- */

/** What the first option of a connection shows. */
export function optionState(segment: Segment): number {
  const bytes = segment.accurateBytes
  if (bytes < FIELD_BYTES) return OPTION_EMPTY
  if (counterAt(segment, 0) === 0) return OPTION_ZEROED
  if (bytes < ACCURATE_FIELDS * FIELD_BYTES) return OPTION_COUNTS
  return counterAt(segment, 2) === 0 ? OPTION_ZEROED : OPTION_COUNTS
}

function counterAt(segment: Segment, index: number): number {
  const at = segment.accurateAt + index * FIELD_BYTES
  return (segment.view.getUint16(at) << 8) | segment.view.getUint8(at + 2)
}

/**
 * Takes over the counters. If one only has grown what comes without an option counts for it.
 * @returns whether it was that one before, too: then all bytes are accounted for
 */
export function readCounters(a: AccurateEcn, segment: Segment): boolean {
  const order = ORDERS[segment.accurateKind as keyof typeof ORDERS]
  const before = a.onlyField
  let changed = false
  let ambiguous = false
  for (let index = 0; index < ACCURATE_FIELDS && (index + 1) * FIELD_BYTES <= segment.accurateBytes; index++) {
    const field = order[index]!
    const counter = counterAt(segment, index) - START_OF_FIELD[field]!
    // 24 bits of difference, with a sign: an older option than the last one makes it negative.
    const difference = ((counter - a.deliveredBytes[field]!) << 8) >> 8
    a.deliveredBytes[field]! += difference
    if (difference < 0) ambiguous = true
    if (difference === 0 || field === before) continue
    if (changed) ambiguous = true
    a.onlyField = field
    changed = true
  }
  if (ambiguous) a.onlyField = 0
  return before !== 0 && !ambiguous
}

/* --- sending --- */

/** Whether there is anything to send it for. */
function wantsOption(context: TcpContext, c: Connection, a: AccurateEcn): boolean {
  if (!sendsOption(context, a)) return false
  return context.tuning.ecnOption >= OPTION_ALWAYS || a.optionWanted > 0 || isDue(context, c, a)
}

function sendsOption(context: TcpContext, a: AccurateEcn): boolean {
  const { ecnOption } = context.tuning
  if (ecnOption === OPTION_OFF || a.optionSeen === OPTION_UNSEEN) return false
  return ecnOption >= OPTION_PERSISTS || (a.failures & OPTION_SEND_FAILS) === 0
}

/** Some times a round trip (3.2.3.3). */
function isDue(context: TcpContext, c: Connection, a: AccurateEcn): boolean {
  const { ecnOptionBeacon } = context.tuning
  return ecnOptionBeacon > 0 && elapsed(context.nowUs32, a.optionSentUs32) * ecnOptionBeacon >= c.srttUs
}

/** Bytes that full segments leave for it: those of connections that always send it. */
export function optionReserve(context: TcpContext, a: AccurateEcn): number {
  return context.tuning.ecnOption >= OPTION_ALWAYS && sendsOption(context, a) ? ACCURATE_PADDED_BYTES : 0
}

/** What goes with the segment that is being written. */
export class OptionFit {
  /** Counters, -1: no option at all; bytes that they take beside the SACK blocks; how many of these are left. */
  fields = -1
  bytes = 0
  blocks = 0

  /**
   * For the next segment. @param used bytes of the options in front; @param payload with full segments only what always goes has room
   */
  choose(context: TcpContext, c: Connection, a: AccurateEcn, used: number, blocks: number, payload: number): void {
    this.fields = -1
    this.bytes = 0
    this.blocks = blocks
    if (!wantsOption(context, c, a)) return
    this.fit(a, used, payload === 0 ? OPTIONS_MAX : c.sendMss + used + a.reservedBytes - payload)
  }

  /**
   * As many counters as there is room for, but not fewer than have something to tell; for those a SACK block may go.
   * @param used bytes of the options in front; @param room for options altogether
   */
  fit(a: AccurateEcn, used: number, room: number): void {
    const { blocks } = this
    for (;;) {
      const left = Math.min(room, OPTIONS_MAX) - used - sackOptionLength(this.blocks)
      for (let fields = ACCURATE_FIELDS; fields >= a.fieldsMin; fields--) {
        const bytes = paddedBytes(fields, this.blocks > 0)
        if (bytes > left) continue
        this.fields = fields
        this.bytes = bytes
        return
      }
      if (this.blocks <= 2 || a.fieldsMin === 0) break
      this.blocks--
    }
    this.blocks = blocks
  }

  /** Behind the SACK blocks' own writing, for it overwrites their no-ops. */
  write(view: DataView, at: number, a: AccurateEcn): void {
    if (this.fields >= 0) writeAccurate(view, at, a.receivedBytes, this.fields, this.bytes)
  }
}

/** In whole words; up to two bytes may stand where SACK has its no-ops. */
function paddedBytes(fields: number, withBlocks: boolean): number {
  const bytes = BASE_BYTES + fields * FIELD_BYTES
  return (bytes & 3) > (withBlocks ? 2 : 0) ? (bytes + 3) & ~3 : bytes & ~3
}

/** @param fields how many; @param bytes with padding */
export function writeAccurate(view: DataView, at: number, received: Uint32Array, fields: number, bytes: number): void {
  for (let pad = at; pad < at + bytes; pad++) view.setUint8(pad, NO_OPERATION)
  view.setUint8(at, KIND_ACCURATE_1)
  view.setUint8(at + 1, BASE_BYTES + fields * FIELD_BYTES)
  const order = ORDERS[KIND_ACCURATE_1]
  for (let index = 0; index < fields; index++) {
    const field = order[index]!
    const counter = received[field]! + START_OF_FIELD[field]!
    const to = at + BASE_BYTES + index * FIELD_BYTES
    view.setUint16(to, (counter >>> 8) & 0xffff)
    view.setUint8(to + 2, counter & 0xff)
  }
}

/** It has left, or a segment without it. @param duplicate 1: beside a duplicate SACK */
export function noteOptionSent(context: TcpContext, a: AccurateEcn, fields: number, duplicate: number): void {
  a.optionWithDuplicate = 0
  if (fields < 0) return
  a.optionWithDuplicate = duplicate
  a.fieldsMin = 0
  a.optionSentUs32 = context.nowUs32
  if (a.optionWanted > 0) a.optionWanted--
}
