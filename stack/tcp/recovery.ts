/**
 * Loss recovery: decides what is lost and how the window answers; output.ts sends it again and does not know this file.
 *
 *              ┌───────── something lost ─────────► FAST     PRR shrinks the window, one reduction a window of data
 *   NONE ──────┤                                     │
 *     ▲        └── retransmission time-out ──► TIMEOUT ◄──┘  one segment, slow start
 *     │                                          │
 *     └── sndUna reaches recoverSequence, or the reduction proves needless (undo.ts, F-RTO)
 *
 * Who finds losses: RACK (rack.ts), or SACK counts where RACK is switched off (sack-loss.ts), or duplicate ACKs where
 * the peer has no SACK (newreno.ts). All mark segments in the scoreboard, and all else is common to them.
 *
 * Called by: ack.ts, timers.ts. Calls: the congestion control.
 */
import type { TcpCounters } from '../counters.ts'
import { DUPLICATE_ACKS } from '../limits.ts'
import type { CongestionControl } from './congestion/congestion.ts'
import type { Connection } from './connection.ts'
import type { Delivery } from './delivery.ts'
import { newRenoDetectLoss } from './newreno.ts'
import { onlyProbeWasLost } from './path-mtu.ts'
import { beginReduction, reduceWindow } from './prr.ts'
import { adaptReorderWindow, rackDetectLoss, rackMarkTimedOut, relaxReorderWindow } from './rack.ts'
import { sackDetectLoss } from './sack-loss.ts'
import { NO_SEGMENT, pipeBytes, type Scoreboard } from './scoreboard.ts'
import { seqDiff, seqLess } from './seq.ts'
import { RECOVERY_FAST, RECOVERY_NONE, RECOVERY_TIMEOUT } from './states.ts'
import { tailProbeRepaired } from './tail-probe.ts'
import { allWasDuplicate, countDuplicate, echoesOriginal, rememberWindow, restoreWindow } from './undo.ts'

export interface Recovery {
  /** An ACK was worked into the scoreboard. */
  onAck(c: Connection, delivery: Delivery): void
  /** The reordering timer fired: c.reorderWaitUs has passed. */
  onReorderTimer(c: Connection, delivery: Delivery): void
  /** The retransmission timer expired. */
  onTimeout(c: Connection): void
}

export interface RecoveryOptions {
  /** RFC 8985 6; without it RFC 6675. */
  rack: boolean
  /** RFC 5682. */
  frto: boolean
}

export class LossRecovery implements Recovery {
  private readonly scoreboard: Scoreboard
  private readonly congestion: CongestionControl
  private readonly counters: TcpCounters
  private readonly rack: boolean
  private readonly frto: boolean

  constructor(scoreboard: Scoreboard, congestion: CongestionControl, counters: TcpCounters, options: RecoveryOptions) {
    this.scoreboard = scoreboard
    this.congestion = congestion
    this.counters = counters
    this.rack = options.rack
    this.frto = options.frto
  }

  onAck(c: Connection, delivery: Delivery): void {
    if (tailProbeRepaired(c, delivery)) this.onProbeRepair(c)
    countDuplicate(c, delivery)
    if (delivery.dsack !== 0) {
      c.duplicateSacks++
      this.counters.duplicateSacks++
    }
    if (allWasDuplicate(c) || (delivery.ackedBytes > 0 && this.wasNeedless(c, delivery))) this.undo(c)
    this.detectLoss(c, delivery)
    switch (c.recoveryState) {
      case RECOVERY_NONE:
        if (delivery.lostBytes > 0 && !onlyProbeWasLost(c.context, c, delivery)) this.enterFast(c, delivery)
        else if (this.answersEcho(c, delivery)) reduceWindow(c, delivery, false)
        else this.grow(c, delivery)
        break
      case RECOVERY_FAST:
        // RFC 6582 3.2 (3): what a partial ACK asks for goes out whatever the pipe is, or a small window waits for the timer.
        if (seqLess(c.sndUna, c.recoverSequence)) reduceWindow(c, delivery, c.sackOn === 0 && delivery.ackedBytes > 0)
        else {
          c.congestionWindow = c.slowStartThreshold // RFC 6937 3.1, at the end
          this.leave(c)
          this.beginNext(c, delivery)
        }
        break
      case RECOVERY_TIMEOUT:
        if (this.isOverAfterTimeout(c, delivery)) this.beginNext(c, delivery)
        break
    }
    if (delivery.echo !== 0) c.undoOn = RECOVERY_NONE // the reduction has a reason that does not go away
  }

  onReorderTimer(c: Connection, delivery: Delivery): void {
    c.reorderWaitUs = rackDetectLoss(c, this.scoreboard, delivery.nowUs32, delivery)
    if (delivery.lostBytes === 0) return
    if (c.recoveryState === RECOVERY_NONE) {
      if (!onlyProbeWasLost(c.context, c, delivery)) this.enterFast(c, delivery)
    } else if (c.recoveryState === RECOVERY_FAST) reduceWindow(c, delivery, true)
  }

  onTimeout(c: Connection): void {
    const { scoreboard } = this
    const first = c.backoff === 0
    // RFC 5682 2.1 step 1: not when a recovery was under way, whose retransmissions would be taken for originals.
    c.frtoOn = this.frto && (c.recoveryState === RECOVERY_NONE || !first) ? 1 : 0
    if (first) rememberWindow(c, RECOVERY_TIMEOUT)
    c.tailProbeOn = 0
    c.duplicateAcks = 0
    if (c.sackOn === 0) c.sackedBytes = 0
    // What is SACKed and yet first in line was thrown away (RFC 2018 8).
    else if (c.segmentHead !== NO_SEGMENT && scoreboard.isSacked(c.segmentHead)) scoreboard.forgetSacks(c)
    this.congestion.onTimeout(c, seqDiff(c.sndNxt, c.sndUna))
    c.ecnReducing = 0
    c.ecnReduced = c.ecnOn
    if (this.rack && c.sackOn !== 0) rackMarkTimedOut(c, scoreboard, c.context.nowUs32)
    else scoreboard.markAllLost(c)
    c.congestionWindow = pipeBytes(c) + c.sendMss // what still counts as on its way does not stop the first segment
    c.reorderWaitUs = 0
    c.recoveryState = RECOVERY_TIMEOUT
    c.recoverSequence = c.sndNxt
  }

  private detectLoss(c: Connection, delivery: Delivery): void {
    if (c.sackOn === 0) newRenoDetectLoss(c, this.scoreboard, delivery)
    else if (this.rack) {
      adaptReorderWindow(c, delivery)
      c.reorderWaitUs = rackDetectLoss(c, this.scoreboard, delivery.nowUs32, delivery)
    } else sackDetectLoss(c, this.scoreboard, delivery)
  }

  private enterFast(c: Connection, delivery: Delivery): void {
    this.counters.fastRetransmits++
    // RFC 3168 6.1.2: one reduction a window of data, be it for a mark or for a loss. It goes on as it began.
    if (c.ecnReducing === 0) {
      rememberWindow(c, RECOVERY_FAST)
      this.beginReduction(c, delivery)
    } else c.undoOn = RECOVERY_NONE
    c.ecnReducing = 0
    c.recoveryState = RECOVERY_FAST
    c.recoverSequence = c.sndNxt
    reduceWindow(c, delivery, true)
  }

  private beginReduction(c: Connection, delivery: Delivery): void {
    this.congestion.onLoss(c, seqDiff(c.sndNxt, c.sndUna))
    beginReduction(c, delivery.deliveredBytes)
    c.ecnReduced = c.ecnOn
  }

  /** RFC 3168 6.1.2: an echo is answered like a loss, but nothing is sent again. @returns true while that goes on */
  private answersEcho(c: Connection, delivery: Delivery): boolean {
    if (c.ecnReducing !== 0) {
      // Until something that was sent with or behind the CWR has arrived, echoes tell of the same congestion.
      if (!seqLess(c.ecnRecoverSequence, c.sndUna)) return true
      c.ecnReducing = 0
      c.congestionWindow = c.slowStartThreshold // RFC 6937 3.1, at the end
    }
    if (delivery.echo === 0) return false
    this.counters.congestionEchoes++
    this.beginReduction(c, delivery)
    c.ecnReducing = 1
    c.ecnRecoverSequence = c.sndNxt
    return true
  }

  private leave(c: Connection): void {
    c.recoveryState = RECOVERY_NONE
    c.frtoOn = 0
    if (c.sackOn === 0) c.sackedBytes = 0
    relaxReorderWindow(c)
  }

  /** What was sent since the recovery began, and lost, is another window's loss (RFC 6675 5). */
  private beginNext(c: Connection, delivery: Delivery): void {
    if (c.lostBytes > 0) this.enterFast(c, delivery)
  }

  /** In order, as RFC 5681 3.1 has it; where the path reorders, whatever has arrived counts (Linux tcp_may_raise_cwnd). */
  private grow(c: Connection, delivery: Delivery): void {
    const progress = delivery.ackedBytes > 0 || c.reorderingSegments > DUPLICATE_ACKS
    if (delivery.deliveredBytes > 0 && progress) this.congestion.onAck(c, delivery.deliveredBytes, delivery.rttNewestUs)
  }

  /** RFC 5682 3.1, the SACK-enhanced version, as Linux has it. @returns true at the end of the recovery */
  private isOverAfterTimeout(c: Connection, delivery: Delivery): boolean {
    const done = !seqLess(c.sndUna, c.recoverSequence)
    if (c.frtoOn !== 0 && !done) {
      if (seqLess(c.recoverSequence, c.sndNxt)) {
        // Step 3: new data is out. A duplicate means that the time-out was right.
        if (delivery.duplicate !== 0 || delivery.sackedBytes > 0) c.frtoOn = 0
      } else if (delivery.ackedBytes > 0) {
        // Step 2b: new data first, where there is any; the answer to it tells.
        if (seqLess(c.sndNxt, c.sendEnd)) c.holdRetransmissions = 1
        else c.frtoOn = 0
      }
    }
    this.grow(c, delivery)
    if (done) this.leave(c)
    return done
  }

  /** Whether this progress shows that what counted as lost was only late. */
  private wasNeedless(c: Connection, delivery: Delivery): boolean {
    if (c.recoveryState === RECOVERY_NONE) return false
    if (echoesOriginal(c, delivery)) return true
    if (c.recoveryState !== RECOVERY_TIMEOUT || c.frtoOn === 0 || delivery.originalArrived === 0) return false
    // Without SACK an ACK of both copies and originals does not say which copy brought it about.
    return c.sackOn !== 0 || delivery.retransmissionAcked === 0
  }

  private undo(c: Connection): void {
    if (c.undoOn === RECOVERY_TIMEOUT) this.counters.spuriousTimeouts++
    else {
      this.counters.spuriousRecoveries++
      // RFC 8985 6.2 step 3 sees reordering only where nothing was sent again: this is the other case.
      c.reorderingsSeen++
    }
    restoreWindow(c)
    this.congestion.onUndo(c)
    this.scoreboard.unmarkLost(c)
    c.rackValid = 0 // it may rest on a retransmission that was not what arrived
    c.backoff = 0
    this.leave(c)
  }

  /** RFC 8985 7.4.2: a loss that the probe has repaired; answered by the window, as nothing is left to be sent. */
  private onProbeRepair(c: Connection): void {
    if (c.recoveryState !== RECOVERY_NONE) return
    this.counters.tailProbeRepairs++
    this.congestion.onLoss(c, seqDiff(c.tailProbeEnd, c.tailProbeStart))
    c.congestionWindow = Math.min(c.congestionWindow, c.slowStartThreshold)
    c.ecnReduced = c.ecnOn
  }
}
