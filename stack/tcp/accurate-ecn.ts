/**
 * Accurate ECN (RFC 9768): the receiver tells how many marks it has seen, where RFC 3168 only says that there was one.
 *
 *   SYN       AE + CWR + ECE ───────►  SYN-ACK  the SYN's own ECN field, in AE, CWR and ECE          (3.1.1, table 2)
 *   last ACK  the SYN-ACK's ECN field (3.1.2.3)
 *   all else  ACE: packets that came marked, modulo 8, in the same three bits                        (3.2.2)
 *             and the option: bytes that came in each ECN field, modulo 2^24                         (3.2.3)
 *
 * Every packet can be marked, ACKs and retransmissions too (RFC 8311, draft-ietf-tcpm-generalized-ecn), as in Linux. Where
 * somebody on the way changes the bits nothing is sent marked any more, or the option is left out, each for itself
 * (3.1.4, 3.2.2.3, 3.2.3.2). What a connection needs for all this is one object, which others do not have.
 *
 * Called by: ecn.ts, whose functions everybody else calls. The option: accurate-ecn-option.ts.
 */
import { FLAG_AE, FLAG_CWR, FLAG_ECE, FLAG_SYN } from '../wire/tcp.ts'
import {
  ACE_RECEIVE_FAILS,
  ACE_SEND_FAILS,
  FIELD_CONGESTED,
  FIELD_NOT_CAPABLE,
  OPTION_COUNTS,
  OPTION_RECEIVE_FAILS,
  OPTION_UNSEEN,
  OPTION_ZEROED,
  optionState,
  readCounters,
} from './accurate-ecn-option.ts'
import type { Connection } from './connection.ts'
import type { TcpContext } from './context.ts'
import type { Delivery } from './delivery.ts'
import type { Segment } from './segment.ts'
import { maximumSegmentSize } from './segment-size.ts'
import { seqDiff } from './seq.ts'
import { ACK_NOW } from './states.ts'

export const ACE_FLAGS = FLAG_AE | FLAG_CWR | FLAG_ECE
const ACE_MASK = 7
/** Where ACE begins to count (3.2.1). */
const ACE_START = 5
/** Marks that may go untold before an ACK has to leave (3.2.2.5.1: n); kept as they are beyond. */
const MARKS_UNTOLD_MAX = 6
const MARKS_COUNTED_MAX = 15
/** Each 4 MB of any field are worth an option (3.2.3.3: well before its counter wraps). */
const OPTION_EVERY_MASK = ~((1 << 22) - 1)
/** Average of packets an ACK speaks for, in 1/64; above four ACKs are thinned out on their way (Linux). */
const AVERAGE_SHIFT = 6
const AVERAGE_THINNED = 4 << AVERAGE_SHIFT

export class AccurateEcn {
  /** ECN field of the peer's SYN or SYN-ACK, the latest. */
  synField = FIELD_NOT_CAPABLE
  /** 1: the next ACK of its own returns it. */
  reflecting = 0
  failures = 0

  /* What has arrived here: marked packets, those not yet told; bytes by field. */
  receivedMarks = 0
  marksUntold = 0
  readonly receivedBytes = new Uint32Array(4)
  lastField = FIELD_NOT_CAPABLE

  /* What the peer says has arrived there: bytes by field, and the only one that they came in lately, or 0. */
  readonly deliveredBytes = new Uint32Array(4)
  onlyField = 0
  packetsAverage = 0
  lastTimestamp = 0

  /* The option: how often it has to go, with how many fields at least; when it went last, and whether beside a D-SACK. */
  optionSeen = OPTION_UNSEEN
  optionWanted = 0
  fieldsMin = 0
  optionSentUs32 = 0
  optionWithDuplicate = 0
  /** Taken off the segment size for it. */
  reservedBytes = 0

  /** Whether packets go out so that they can be marked. */
  get marksAreTold(): boolean {
    return (this.failures & (ACE_SEND_FAILS | ACE_RECEIVE_FAILS)) === 0
  }
}

/* --- the handshake --- */

export function aceOf(flags: number): number {
  return (flags >>> 6) & ACE_MASK
}

/** Table 2: how a SYN-ACK, or its ACK, says which ECN field came. By field: Not-ECT, ECT(1), ECT(0), CE. */
const REFLECTED = [2, 3, 4, 6]
/** And back; of those that table 2 does not know, what their bits come nearest to. */
const FIELD_OF_ACE = [2, 1, 0, 1, 2, 1, 3, 1]

export function reflectedFlags(a: AccurateEcn): number {
  return REFLECTED[a.synField]! << 6
}

/** RFC 9768 3.1.2: whatever is neither nothing nor RFC 3168's asks for it. */
export function asksAccurately(flags: number): boolean {
  const ace = aceOf(flags)
  return ace !== 0 && ace !== 3
}

/** The peer's SYN, or SYN-ACK, has agreed. */
export function beginAccurate(c: Connection, segment: Segment, answered: boolean, trusts: boolean): void {
  const a = new AccurateEcn()
  a.synField = segment.ecn
  a.lastTimestamp = segment.timestampValue
  c.accurateEcn = a
  // Never a run: what cuts one into segments would take CWR, which counts here, for RFC 3168's and drop it.
  c.ecnReduced = 1
  if (!answered) {
    a.lastField = segment.ecn
    return
  }
  a.reflecting = 1
  const valid = aceOf(segment.flags) === ACE_START || checkReflection(a, aceOf(segment.flags), trusts)
  if (segment.ecn === FIELD_CONGESTED && valid) countMarks(a, 1)
  noteOption(a, segment, 2)
}

/** A SYN, or SYN-ACK, came once more (3.1.5, 3.2.2.2): what it had is returned, and one without flags lost them on its way. */
export function noteSynAgain(a: AccurateEcn, segment: Segment): void {
  a.synField = segment.ecn
  if (aceOf(segment.flags) === 0 && (segment.flags & FLAG_SYN) !== 0) a.failures |= ACE_RECEIVE_FAILS
}

/** A SYN-ACK in answer to which an ACK goes at once. */
export function reflectAgain(a: AccurateEcn, segment: Segment): void {
  a.synField = segment.ecn
  a.reflecting = 1
  noteOption(a, segment, 1)
}

/** The handshake's last ACK, or what came in its stead (3.2.2.1, table 4). */
export function readLastAck(c: Connection, a: AccurateEcn, segment: Segment, trusts: boolean): void {
  const ace = aceOf(segment.flags)
  noteOption(a, segment, 1)
  a.lastTimestamp = segment.timestampValue
  const blocks = segment.sackBlocks > 0
  if (ace === 0) {
    if (!blocks) a.failures |= ACE_RECEIVE_FAILS | OPTION_RECEIVE_FAILS
    return
  }
  if (ace === 1 || ace === ACE_START || ace === 7 || segment.payloadLength > 0 || blocks) return
  if (checkReflection(a, ace, trusts) && FIELD_OF_ACE[ace] === FIELD_CONGESTED && c.deliveredMarkedSegments === 0)
    c.deliveredMarkedSegments = 1
}

/**
 * Our SYNs and SYN-ACKs are Not-ECT: whoever has got another field has got one that somebody changed (3.2.2.3).
 * @param trusts the check is off: it is believed
 */
function checkReflection(a: AccurateEcn, ace: number, trusts: boolean): boolean {
  if (trusts || FIELD_OF_ACE[ace] === FIELD_NOT_CAPABLE) return true
  a.failures |= ACE_RECEIVE_FAILS
  return false
}

/** The first option says whether more can be believed (3.2.3.2.4). */
function noteOption(a: AccurateEcn, segment: Segment, wanted: number): void {
  if (segment.accurateBytes >= 0 && a.optionSeen < OPTION_COUNTS) {
    a.optionSeen = optionState(segment)
    if (a.optionSeen === OPTION_ZEROED) a.failures |= OPTION_RECEIVE_FAILS
  }
  a.optionWanted = Math.max(a.optionWanted, wanted)
}

/* --- the receiver --- */

/**
 * A packet has arrived (3.2.1): counts it, and says when an ACK, or an option, has to tell (3.2.2.5.1, 3.2.3.3).
 * @param bytes its payload
 */
export function countArrival(context: TcpContext, c: Connection, segment: Segment, bytes: number): void {
  const a = c.accurateEcn!
  const field = segment.ecn
  const marked = field === FIELD_CONGESTED
  if (field !== FIELD_NOT_CAPABLE) {
    c.ecnSeen = 1
    if (marked) {
      // A frame that brings several segments brings as many marks.
      const packets = Math.max(Math.ceil(bytes / maximumSegmentSize(context, c)), 1)
      context.counters.congestionMarks += packets
      countMarks(a, packets)
    }
    if (bytes > 0) countBytes(a, field, bytes)
  }
  const changed = a.lastField !== field
  if (!changed && !marked) return
  a.lastField = field
  a.optionWanted = 2
  if (bytes > 0 && (changed || a.marksUntold >= MARKS_UNTOLD_MAX)) c.ackPending = ACK_NOW
}

function countMarks(a: AccurateEcn, packets: number): void {
  a.receivedMarks += packets
  a.marksUntold = Math.min(a.marksUntold + packets, MARKS_COUNTED_MAX)
}

/** The option's fields are ECT(1), CE and ECT(0), in this order: whoever wants to tell the last one has to send all. */
const FIELDS_UP_TO = [0, 1, 3, 2]

function countBytes(a: AccurateEcn, field: number, bytes: number): void {
  const before = a.receivedBytes[field]!
  const after = before + bytes
  a.receivedBytes[field] = after
  a.fieldsMin = Math.max(a.fieldsMin, FIELDS_UP_TO[field]!)
  if (((before ^ after) & OPTION_EVERY_MASK) !== 0) a.optionWanted = Math.max(a.optionWanted, 1)
}

/** The three bits of a segment behind the handshake. @param pure it is an ACK and nothing else */
export function aceFlags(a: AccurateEcn, pure: boolean): number {
  const reflects = a.reflecting !== 0 && pure
  a.reflecting = 0
  if (reflects) return reflectedFlags(a)
  a.marksUntold = 0
  return ((a.receivedMarks + ACE_START) & ACE_MASK) << 6
}

/* --- the sender --- */

/**
 * What an ACK tells of our packets. One that makes no progress may be older than the one before (3.2.2.5).
 * @param packets that it says have arrived
 * @returns how many more were marked
 */
export function readFeedback(c: Connection, segment: Segment, delivery: Delivery, packets: number): number {
  const a = c.accurateEcn!
  const newer = delivery.hasEcho !== 0 && seqDiff(segment.timestampValue, a.lastTimestamp) > 0
  if (newer) a.lastTimestamp = segment.timestampValue
  if (delivery.ackedBytes === 0 && delivery.sackedBytes === 0 && !newer) return 0
  const markedBefore = a.deliveredBytes[FIELD_CONGESTED]!
  const believed = readOption(c, a, segment, delivery.deliveredBytes)
  if (packets > 0) {
    const average = a.packetsAverage
    a.packetsAverage = average === 0 ? packets << AVERAGE_SHIFT : average - (average >> AVERAGE_SHIFT) + packets
  }
  if ((a.failures & ACE_RECEIVE_FAILS) !== 0) return 0
  const marks = (aceOf(segment.flags) - ACE_START - c.deliveredMarkedSegments) & ACE_MASK
  if (packets <= ACE_MASK) return marks
  const markedBytes = (a.deliveredBytes[FIELD_CONGESTED]! - markedBefore) >>> 0
  return marksOfMany(c, a, packets, marks, believed, markedBytes, delivery.deliveredBytes)
}

/** So many packets that ACE may have gone round once or more (3.2.2.5.2 and appendix A.2): as many as there can have been, unless bytes say less. */
function marksOfMany(
  c: Connection,
  a: AccurateEcn,
  packets: number,
  least: number,
  bytesKnown: boolean,
  markedBytes: number,
  deliveredBytes: number,
): number {
  const most = packets - ((packets - least) & ACE_MASK)
  // Where ACKs are thinned out on their way a large one is nothing unusual.
  if (!bytesKnown) return a.packetsAverage > AVERAGE_THINNED ? least : most
  if (markedBytes === 0) return least
  if (packets >= 2 * (ACE_MASK + 1)) {
    if (deliveredBytes <= markedBytes) return most
    const estimate = Math.ceil((markedBytes * packets) / deliveredBytes)
    return Math.min(most, least + (estimate & ~ACE_MASK))
  }
  if (markedBytes > least * c.sendMss) return most
  return markedBytes < (most * c.sendMss) >> 1 ? least : most
}

/** @returns whether the byte counters are exact: then they say which packets were marked */
function readOption(c: Connection, a: AccurateEcn, segment: Segment, deliveredBytes: number): boolean {
  if ((a.failures & OPTION_RECEIVE_FAILS) !== 0) return false
  if (segment.accurateBytes < 0) {
    // Too late to begin: the counters may have wrapped unseen.
    if (a.optionSeen === OPTION_UNSEEN && c.bytesSent >= 1 << 23) a.failures |= OPTION_RECEIVE_FAILS
    if (a.optionSeen === OPTION_UNSEEN || a.onlyField === 0) return false
    a.deliveredBytes[a.onlyField]! += deliveredBytes
    return true
  }
  noteOption(a, segment, 0)
  return readCounters(a, segment)
}
