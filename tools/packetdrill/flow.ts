/**
 * One connection's numbers, the script's and the live ones. A script counts from its own initial sequence numbers and
 * timestamps; the stack draws its own. SYNs, and what they acknowledge, have the numbers that the script gives them;
 * whatever comes behind a SYN is counted from it, in both directions, so that data begins at 1 whatever the SYN's number was.
 *
 *   script 1:1001 ack 1   ◄─ liveIsn ─►   live 3735928560:3735929560 ack 1
 *
 * Called by: peer.ts.
 */
import type { LiveTcp } from './frames.ts'
import type { TcpOptionSpec, TcpSpec } from './script.ts'

const SYN = 2
const ACK = 16

export class Flow {
  readonly localPort: number
  readonly remotePort: number
  /** The number of the peer's first SYN. */
  private remoteIsn = 0
  private remoteSynSeen = false
  /** The number of the stack's first SYN, live and in the script. */
  private liveIsn: number | undefined
  private scriptIsn: number | undefined
  /** Script's timestamps to live ones, as expected packets showed them. */
  private readonly timestamps = new Map<number, number>()
  private firstTimestamp: readonly [script: number, live: number] | undefined
  /** MSS that the stack announced: how large a segment towards it may be. */
  announcedMss = 0

  /** --tcp_ts_ecr_scaled. */
  private readonly scaledEchoes: boolean

  constructor(localPort: number, remotePort: number, scaledEchoes: boolean) {
    this.localPort = localPort
    this.remotePort = remotePort
    this.scaledEchoes = scaledEchoes
  }

  /** The stack sent a SYN. */
  seeSyn(tcp: LiveTcp): void {
    this.liveIsn ??= tcp.sequence
    for (const option of tcp.options) if (option.kind === 'mss') this.announcedMss = option.value
  }

  /** The script expects a SYN: the number of the first is the script's initial one. */
  expectSyn(scriptSequence: number): void {
    if (this.liveIsn !== undefined) this.scriptIsn ??= scriptSequence
  }

  /** A live packet in the script's numbers. */
  toScript(tcp: LiveTcp): LiveTcp {
    const isn = this.remoteIsn
    const syn = (tcp.flags & SYN) !== 0
    return {
      ...tcp,
      sequence: (tcp.sequence - this.shift(syn)) >>> 0,
      // Beside a SYN all numbers are absolute.
      acknowledgement: (tcp.flags & (ACK | SYN)) === ACK ? (tcp.acknowledgement - isn) >>> 0 : tcp.acknowledgement,
      options: tcp.options.map((option) =>
        option.kind === 'sack' ? { kind: 'sack', edges: option.edges.map((edge) => (edge - isn) >>> 0) } : option,
      ),
    }
  }

  /** The stack's number for one of the script's. @param syn it stands beside a SYN */
  toLive(sequence: number, syn = false): number {
    return (sequence + this.shift(syn)) >>> 0
  }

  /** Live minus script, of what the stack numbers. */
  private shift(syn: boolean): number {
    return ((this.liveIsn ?? 0) - (syn ? (this.scriptIsn ?? 0) : 0)) >>> 0
  }

  /** A segment of the peer's, in live numbers. */
  inbound(spec: TcpSpec): LiveTcp {
    const syn = (spec.flags & SYN) !== 0
    if (syn && !this.remoteSynSeen) {
      this.remoteSynSeen = true
      this.remoteIsn = spec.sequence
    }
    return {
      sourcePort: spec.sourcePort || this.remotePort,
      destinationPort: spec.destinationPort || this.localPort,
      flags: spec.flags,
      sequence: syn ? spec.sequence : (spec.sequence + this.remoteIsn) >>> 0,
      // Without a number it is that of the stack's SYN, as packetdrill has it; of a connection without one, 0.
      acknowledgement: this.toLive(Math.max(spec.acknowledgement, 0), syn),
      window: Math.max(spec.window, 0),
      urgent: spec.urgent,
      options: (spec.options ?? []).map((option) => this.inboundOption(option)),
      length: spec.length,
    }
  }

  private inboundOption(option: TcpOptionSpec): TcpOptionSpec {
    if (option.kind === 'sack') return { kind: 'sack', edges: option.edges.map((edge) => this.toLive(edge)) }
    if (option.kind === 'timestamps')
      return { kind: 'timestamps', value: option.value, echo: this.liveTimestamp(option.echo) }
    return option
  }

  /** An expected packet with timestamps was met. */
  learnTimestamps(script: number, live: number): void {
    this.timestamps.set(script, live)
    this.firstTimestamp ??= [script, live]
  }

  /** What a timestamp of the stack's would be by the clock of the script; undefined before the first was met. */
  scriptTimestamp(live: number): number | undefined {
    return this.firstTimestamp && (live - this.firstTimestamp[1] + this.firstTimestamp[0]) >>> 0
  }

  private liveTimestamp(script: number): number {
    const known = this.timestamps.get(script)
    if (known !== undefined && !this.scaledEchoes) return known
    // One that was never expected: by the distance from the first. 0 before any: the echo of a SYN (RFC 7323 3.2).
    return this.firstTimestamp ? (script - this.firstTimestamp[0] + this.firstTimestamp[1]) >>> 0 : script
  }
}
