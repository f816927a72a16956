/**
 * What a TCP connection is: the transmission control block of RFC 9293 3.3.1 as plain int32 fields. No closures and no
 * promises, so that a connection is data; the code that moves it stands in input.ts, output.ts, recovery.ts and
 * timers.ts. What an application may call stands in connection.ts, which extends this.
 *
 *   send sequence space                                 receive sequence space
 *
 *        sndUna      sndNxt      sndMax      sendEnd          rcvNxt         rcvAdvertised
 *   ───────┼───────────┼───────────┼───────────┼──── FIN      ────┼────────────────┼──────
 *    acked │ in flight │ probe, or │ not sent  │               in │ window offered │ refused
 *          │           │ with SYN  │ yet       │            order │                │
 *
 * Invariants:
 *  1. sndUna <= sndNxt <= sndMax, and all are <= sendEnd + 1 (the FIN has the number sendEnd).
 *  2. The lines from sendHead hold exactly the bytes [sndUna - sendHeadOffset, sendEnd), SYN and FIN apart.
 *  3. rcvAdvertised never moves left (RFC 9293 3.8.6: a receiver SHOULD NOT shrink the window).
 *  4. sndNxt never moves left. What lies in [sndUna, sndNxt) stands in the scoreboard (scoreboard.ts).
 *  5. The runs under reassemblyRoot lie right of rcvNxt; between any two, and before the first, bytes are missing.
 */
import { NO_BUFFER, NO_META } from '../../storage/layout.ts'
import { DUPLICATE_ACKS } from '../limits.ts'
import type { AccurateEcn } from './accurate-ecn.ts'
import type { Application } from './application.ts'
import type { TcpContext } from './context.ts'
import type { Listener } from './listen.ts'
import { NO_SEGMENT } from './segment-table.ts'
import { ACK_NONE, LOSS_TIMER_RETRANSMISSION, RECOVERY_NONE, STATE_CLOSED } from './states.ts'

export class ConnectionState {
  /** The application's own slot: whatever it wants to find again. */
  user: unknown = undefined
  application: Application
  readonly context: TcpContext
  /** Index in the connection table; names the timers too. */
  readonly slot: number

  state = STATE_CLOSED
  /** Set when the connection is over: the reason that onClose will get. */
  closeReason = 0
  /** 1: over, but data waits for the application (application.ts rule 3). */
  lingering = 0
  /** The listener it came from; undefined for an active open. */
  listener: Listener | undefined = undefined
  /** 1: a passive open whose handshake is not over; the application does not know of it yet. */
  halfOpen = 0

  /* Addresses: four int32 words each, IPv4 mapped (address.ts). */
  localPort = 0
  remotePort = 0
  localAddress0 = 0
  localAddress1 = 0
  localAddress2 = 0
  localAddress3 = 0
  remoteAddress0 = 0
  remoteAddress1 = 0
  remoteAddress2 = 0
  remoteAddress3 = 0

  /* Send sequence space. */
  iss = 0
  sndUna = 0
  sndNxt = 0
  sndMax = 0
  /** Peer's window, scaled, bytes. */
  sndWnd = 0
  sndWl1 = 0
  sndWl2 = 0
  /** Largest window the peer ever offered: for sender-side silly-window avoidance and RFC 5961. */
  sndWndMax = 0
  sendScale = 0
  /** Payload bytes of a full segment: peer's MSS and path MTU, less the options of every segment. */
  sendMss = 0
  peerMss = 0
  /* Path MTU (path-mtu.ts); sizes of IP packets. */
  pathMtu = 0
  pathMtuGeneration = 0
  mtuProbeOn = 0
  mtuLow = 0
  mtuHigh = 0
  /** Size and numbers of the probe in flight; 0: none is. */
  mtuProbeBytes = 0
  mtuProbeStart = 0
  mtuProbeEnd = 0
  /** The SYN, or SYN-ACK, has to be sent (again). */
  synPending = 0
  /** SYNs sent again before giving up. */
  synRetriesMax = 0

  /* Send queue: a chain of views; send-queue.ts. */
  sendHead = NO_META
  sendTail = NO_META
  /** Acknowledged bytes at the start of sendHead. */
  sendHeadOffset = 0
  /** Where sndNxt lies: line and offset in it; NO_META when everything was sent. */
  sendNextMeta = NO_META
  sendNextOffset = 0
  /** Sequence number behind the last queued byte; the FIN's own number. */
  sendEnd = 0
  /** Bytes queued and not yet acknowledged. */
  sendQueuedBytes = 0
  sendLimitBytes = 0
  sendLowMarkBytes = 0
  /** 1: both grow with the congestion window (send-tuning.ts). */
  sendTuned = 0
  finQueued = 0
  /** Sequence numbers behind records that were not sent yet (records.ts). */
  readonly recordEnds: number[] = []
  noDelay = 0
  /** 1: views are split where a segment is full. */
  fullSegments = 0
  /* send-policy.ts: CORK_, held back by the application, and let go after all; sndUna then; behind the last small segment sent. */
  corked = 0
  corkDue = 0
  corkSequence = 0
  smallEnd = 0
  /** When the next segment may leave (pacing.ts). */
  paceUs32 = 0

  /* Receive sequence space. */
  irs = 0
  rcvNxt = 0
  rcvAdvertised = 0
  receiveScale = 0
  receiveLimitBytes = 0
  /** What is offered when nothing waits; grows up to the limit if receiveTuned is 1 (receive-tuning.ts). */
  receiveWindowBytes = 0
  receiveTuned = 0
  /** The round trip as the receiver measures it, microseconds, 0: not yet; the measurement that goes on. */
  receiveRttUs = 0
  receiveRttUs32 = 0
  receiveRttEnd = 0
  receiveRttEcho = 0
  /** Most bytes that the application took in a round trip; since when, and from where, it is counted. */
  receiveSpaceBytes = 0
  receiveSpaceUs32 = 0
  receiveSpaceStart = 0
  /** The application's MSS option, or 0. */
  announcedMss = 0

  /* Receive queue: lines in order, not yet taken by the application; receive-queue.ts. */
  receiveHead = NO_META
  receiveTail = NO_META
  receiveQueuedBytes = 0
  receiveQueuedLines = 0
  /** RECEIVE_ (states.ts): the peer's FIN was received, or nobody reads any more. */
  receiveFinished = 0
  /** 1: a FIN with number peerFin was seen, data before it may be missing. */
  peerFinKnown = 0
  peerFin = 0

  /* Out-of-order lines; reassembly.ts. */
  reassemblyRoot = NO_META
  reassemblyLines = 0
  /** Sequence numbers in the runs that segments came for last, the latest first: SACK blocks in that order (RFC 2018 4). */
  reassemblyLatest = 0
  reassemblyBefore1 = 0
  reassemblyBefore2 = 0
  reassemblyBefore3 = 0

  /* The buffer that small segments are copied into; shared-buffer.ts. */
  sharedBuffer = NO_BUFFER
  sharedUsed = 0

  /* RFC 7323. */
  timestampsOn = 0
  tsRecent = 0
  tsRecentMs = 0
  tsOffset = 0
  /** Highest ACK sent: decides which segment's timestamp is echoed (RFC 7323 4.3). */
  lastAckSent = 0
  sackOn = 0
  /** 1: bytes [dsackLeft, dsackRight) came a second time; the next ACK says so (RFC 2883). */
  dsackPending = 0
  dsackLeft = 0
  dsackRight = 0

  /* Fast Open (fast-open.ts). */
  /** FAST_OPEN_: what our SYN or SYN-ACK says about cookies. */
  fastOpenOption = 0
  /** Bytes that may go with our SYN (fast-open-client.ts); what was queued when it left did. */
  synDataLimit = 0
  /** 1: all the data of the SYN, the peer's or ours, was taken. */
  synDataTaken = 0
  /** 1: accepted by the SYN, whose ACK is awaited. */
  fastOpenPending = 0

  /* RFC 3168 (ecn.ts): ECN_, which of both; of RFC 9768 there is more. */
  ecnOn = 0
  accurateEcn: AccurateEcn | undefined = undefined
  /** 1: ECE goes out until the peer says CWR. */
  ecnEcho = 0
  /** 1: the window was reduced: CWR goes out with the next new data. */
  ecnReduced = 0
  /** 1: an echo is being answered, until something behind ecnRecoverSequence is acknowledged (recovery.ts). */
  ecnReducing = 0
  ecnRecoverSequence = 0
  /** 1: the peer's packets can be marked. */
  ecnSeen = 0
  /** Segments that arrived according to ACKs with an echo. */
  deliveredMarkedSegments = 0

  /* Acknowledging. */
  ackPending = ACK_NONE
  /** Bytes received since the last ACK. */
  ackBytes = 0
  quickAcks = 0
  /** Segments for which ACKs are not to wait for the end of the burst (acknowledge.ts). */
  watchfulSegments = 0
  /** The first byte that is missing, segments that have come behind it since, and where the last one of them ended. */
  gapStart = 0
  gapAcks = 0
  gapEnd = 0
  /** Largest payload seen from the peer: what a full segment is, for the ACK-every-second rule. */
  peerSegmentBytes = 0
  invalidAckMs = 0

  /* Round-trip time and retransmission; rtt.ts, timers.ts. */
  srttUs = 0
  rttVarianceUs = 0
  rtoMs = 0
  /** When the SYN was sent, if it was sent once only: handshakes are timed, too. */
  synTiming = 0
  synSentUs32 = 0
  /** Retransmission time-outs since the last progress. */
  backoff = 0
  /** When the oldest unacknowledged data was first sent, for the user time-out. */
  progressMs = 0
  userTimeoutMs = 0
  /** LOSS_TIMER_: what the timer is set for. */
  lossTimer = LOSS_TIMER_RETRANSMISSION
  /** 1: the persist timer fired: send what the window takes, or one byte beyond it. */
  probePending = 0
  /** Probes since the peer was heard last. */
  probesUnanswered = 0

  /* Keep-alive. */
  keepAliveOn = 0
  keepAliveIdleMs = 0
  keepAliveIntervalMs = 0
  keepAliveProbesMax = 0
  keepAliveProbes = 0
  lastHeardMs = 0

  /* Congestion control (congestion/congestion.ts) and loss recovery (recovery.ts). Bytes. */
  congestionWindow = 0
  slowStartThreshold = 0
  congestionAcked = 0
  /* HyStart++ (congestion/slow-start.ts): the round that goes on, and conservative rounds, 0 before they begin. */
  hystartRoundEnd = 0
  hystartLastUs = 0
  hystartCurrentUs = 0
  hystartSamples = 0
  hystartBaselineUs = 0
  hystartRounds = 0
  /* CUBIC (congestion/cubic.ts): Wmax, K, the epoch, what Reno would have; credits are parts of a byte. */
  cubicMaxBytes = 0
  cubicMaxBeforeBytes = 0
  cubicPriorBytes = 0
  cubicPlateauMs = 0
  cubicEpochOn = 0
  cubicEpochMs = 0
  cubicCredit = 0
  cubicRenoBytes = 0
  cubicRenoCredit = 0
  /** 1: the congestion window held data back since the last output. */
  congestionLimited = 0
  /* How far the window is used (congestion/validation.ts): 1 if it was full, else the most in flight, since a sequence number. */
  windowFull = 0
  windowPeakBytes = 0
  windowUseSequence = 0
  lastSentMs = 0

  /* Scoreboard (scoreboard.ts): lists of what is in flight, and sums over them, bytes. */
  segmentHead = NO_SEGMENT
  segmentTail = NO_SEGMENT
  segmentCount = 0
  timeHead = NO_SEGMENT
  timeTail = NO_SEGMENT
  /** Where the last SACK block began, and a place left of which nothing waits to be sent again. */
  sackHint = NO_SEGMENT
  lossHint = NO_SEGMENT
  sackedBytes = 0
  sackedSegments = 0
  lostBytes = 0
  retransmittedBytes = 0

  /* Loss recovery (recovery.ts). */
  recoveryState = RECOVERY_NONE
  /** Recovery ends when sndUna has come here. */
  recoverSequence = 0
  /** Of a peer without SACK (newreno.ts). */
  duplicateAcks = 0
  /** 1: new data goes first, once (RFC 5682). */
  holdRetransmissions = 0
  frtoOn = 0

  /* Proportional rate reduction (prr.ts). */
  prrFlightBytes = 0
  prrDeliveredBytes = 0
  prrOutBytes = 0

  /* What a needless reduction would have changed (undo.ts). */
  undoOn = RECOVERY_NONE
  undoSequence = 0
  undoWindow = 0
  undoThreshold = 0
  /** Segments sent again since the reduction: all, and those that did not arrive twice; when the first was sent. */
  repairsSent = 0
  repairSegments = 0
  repairMs = 0

  /* RACK (rack-state.ts, rack.ts). */
  rackValid = 0
  rackSentUs = 0
  rackEnd = 0
  rackRttUs = 0
  rackFackValid = 0
  rackFack = 0
  /** ACKs that showed that the path reorders; and by how much at most, in segments. */
  reorderingsSeen = 0
  reorderingSegments = DUPLICATE_ACKS
  rackWindowMultiplier = 1
  rackWindowRecoveries = 0
  rackDsackRoundOn = 0
  rackDsackRound = 0
  minRttUs = 0
  minRttWindowUs = 0
  minRttBeforeUs = 0
  minRttSinceMs = 0
  /** Until the next segment counts as lost; 0: none is waiting for that. */
  reorderWaitUs = 0

  /* Tail loss probe (tail-probe.ts). */
  tailProbeDue = 0
  tailProbeOn = 0
  tailProbeStart = 0
  tailProbeEnd = 0
  /** 1: the probe repeats what was sent before. */
  tailProbeRepeats = 0
  /** Bytes that may be sent beyond the congestion window, for a probe with new data. */
  beyondWindowBytes = 0

  /* What sending waits for (send-waits.ts): WAIT_, since when, and how long it has altogether. */
  sendWait = 0
  sendWaitMs = 0
  busyMs = 0
  windowWaitMs = 0
  queueWaitMs = 0
  /** 1: the application has more than the send queue takes. */
  spaceAwaited = 0

  /* What was sent and received altogether, for info.ts. */
  segmentsIn = 0
  segmentsOut = 0
  dataSegmentsIn = 0
  dataSegmentsOut = 0
  bytesReceived = 0
  /** Payload, retransmissions included; and these alone. */
  bytesSent = 0
  bytesRetransmitted = 0
  /** Segments sent again, SYNs among them. */
  totalRetransmitted = 0
  /** Sequence numbers that the peer has acknowledged. */
  bytesAcked = 0
  /** Segments known to have arrived: acknowledged or SACKed; the SYN is one. */
  deliveredSegments = 0
  duplicateSacks = 0
  /** When data came last. */
  lastDataMs = 0

  /** NEWS_ bits: what the application has to be told at the end of the burst. */
  news = 0
  /** 1: ICMP said unreachable; becomes the reason if connecting times out (RFC 9293 3.9.2.2). */
  unreachable = 0

  constructor(context: TcpContext, slot: number, application: Application) {
    this.context = context
    this.slot = slot
    this.application = application
  }
}
