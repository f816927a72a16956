/** The scoreboard's invariants, checked the slow way: every sum by walking the list. Throws at the first that does not hold. */
import type { Connection } from '../../stack/tcp/connection.ts'
import { NO_SEGMENT } from '../../stack/tcp/scoreboard.ts'

/** @param peerReneged the peer has thrown away what it had announced (RFC 2018 8) */
export function checkScoreboard(c: Connection, peerReneged = false): void {
  const { scoreboard } = c.context
  let sacked = 0
  let sackedSegments = 0
  let count = 0
  let next = c.sndUna
  let last = NO_SEGMENT
  for (let segment = c.segmentHead; segment !== NO_SEGMENT; segment = scoreboard.next(segment)) {
    require(scoreboard.start(segment) === next, 'segments have no gap (invariant 1)')
    next = scoreboard.end(segment)
    require(scoreboard.length(segment) > 0, 'no segment is empty')
    count++
    if (scoreboard.isSacked(segment)) {
      sacked += scoreboard.length(segment)
      sackedSegments++
    }
    last = segment
  }
  require(peerReneged ||
    c.segmentHead === NO_SEGMENT ||
    !scoreboard.isSacked(c.segmentHead), 'what the peer has in order it acknowledges')
  require(c.segmentHead === NO_SEGMENT || next === c.sndNxt, 'segments reach sndNxt (invariant 1)')
  require(last === c.segmentTail, 'the tail is the last')
  require(count === c.segmentCount, 'count')
  if (c.sackOn !== 0) require(sacked === c.sackedBytes && sackedSegments === c.sackedSegments, 'SACKed bytes')
  let timed = 0
  let before = NO_SEGMENT
  for (let segment = c.timeHead; segment !== NO_SEGMENT; segment = scoreboard.timeNext(segment)) {
    require(!scoreboard.isSacked(segment), 'nothing SACKed stands in the list by time (invariant 3)')
    if (before !== NO_SEGMENT)
      require(((scoreboard.sentUs(segment) - scoreboard.sentUs(before)) | 0) >= 0, 'the list by time is in order')
    timed++
    before = segment
  }
  require(before === c.timeTail, 'the tail by time is the last')
  require(timed <= count - sackedSegments, 'each stands once in the list by time')
  require(c.lostBytes >= 0 && c.retransmittedBytes >= 0, 'no sum is negative')
  require(c.segmentHead !== NO_SEGMENT || (c.lostBytes | c.retransmittedBytes) === 0, 'nothing in flight, nothing lost')
}

function require(holds: boolean, what: string): void {
  if (!holds) throw new Error(`scoreboard: ${what}`)
}
