/**
 * The other side of the script: injects packets, and takes what the stack sends and holds it against what the script
 * expects.
 *
 * One expected packet may be several of the stack's, as it may be several of a kernel's behind its segmentation offload:
 * segments that continue each other and stand for the expected one together are taken as one. One injected packet that
 * is longer than a segment arrives as one, in several buffers.
 *
 * Called by: run-script.ts.
 */
import { type IpEnds, LOCAL_PORT, PEER_PORT_FIRST } from './addresses.ts'
import { ScriptFailure, ScriptUnsupported } from './errors.ts'
import { Flow } from './flow.ts'
import {
  icmpError,
  type LivePacket,
  type LiveTcp,
  PROTOCOL_ICMP,
  PROTOCOL_ICMPV6,
  PROTOCOL_TCP,
  PROTOCOL_UDP,
  TCP_BYTES,
  tcpSegment,
  udpDatagram,
} from './frames.ts'
import { IP_HEADER_BYTES, peerFrame, quotePacket } from './internet.ts'
import { ecnBits, mismatch } from './match-packet.ts'
import type { ScriptNetwork } from './network.ts'
import type { IcmpSpec, PacketAction, TcpSpec } from './script.ts'
import { showPacket } from './show-packet.ts'

const SYN = 2
const PSH = 8
const ACK = 16
/** RFC 7323: what timestamps cost each segment. */
const OPTIONS_BYTES_MAX = 40

export interface PeerOptions {
  readonly ends: IpEnds
  readonly mtu: number
  /** --mss: size of the segments of an injected packet that is larger; 0: as large as they may be. */
  readonly segmentBytes: number
  /** --tcp_ts_tick_usecs; 0: timestamp values are not compared. */
  readonly timestampTickUs: number
  /** --tcp_ts_ecr_scaled. */
  readonly scaledEchoes: boolean
  /** By how much they may differ by now, µs. */
  readonly timestampSlackUs: () => number
}

export class Peer {
  private readonly network: ScriptNetwork
  private readonly options: PeerOptions
  /** The connection that packets are of, and every one before it. */
  private flow: Flow | undefined
  private readonly flows: Flow[] = []
  private nextPort = PEER_PORT_FIRST
  /** Ports of the datagram socket under test, if there is one. */
  datagramPorts: () => { readonly localPort: number; readonly remotePort: number } | undefined = () => undefined
  /** Whether a SYN from the peer begins another connection: someone listens, and the last one is over. */
  startsAnew: (remotePort: number) => boolean = () => false

  constructor(network: ScriptNetwork, options: PeerOptions) {
    this.network = network
    this.options = options
    network.onOpen = (localPort, remotePort) => this.begin(localPort, remotePort)
  }

  /* --- inbound --- */

  inject(action: PacketAction, line: number): void {
    const { body, ip } = action
    const { ends } = this.options
    const tos = ip.tos >= 0 ? ip.tos : ecnBits(ip.ecn)
    if (body.protocol === 'tcp') this.injectTcp(body, tos, ip.ttl)
    else if (body.protocol === 'udp') {
      const udp = this.datagramPorts()
      const datagram = udpDatagram(ends, udp?.remotePort ?? this.nextPort, udp?.localPort ?? LOCAL_PORT, body.length)
      this.network.device.inject(peerFrame(ends, PROTOCOL_UDP, datagram, tos, ip.ttl))
    } else this.injectIcmp(body, line, ip.ttl)
    this.network.turn()
  }

  private injectTcp(spec: TcpSpec, tos: number, ttl: number): void {
    const syn = (spec.flags & SYN) !== 0 && (spec.flags & ACK) === 0
    if (this.flow === undefined || (syn && this.startsAnew(this.flow.remotePort)))
      this.begin(LOCAL_PORT, this.nextPort++)
    const flow = this.flow!
    const { ends } = this.options
    const live = flow.inbound(spec)
    const frame = peerFrame(ends, PROTOCOL_TCP, tcpSegment(ends, live), tos, ttl)
    const partBytes = this.partBytes(live)
    this.network.device.inject(frame, frame.length - live.length + partBytes, partBytes)
  }

  private begin(localPort: number, remotePort: number): Flow {
    this.flow = new Flow(localPort, remotePort, this.options.scaledEchoes)
    this.flows.push(this.flow)
    return this.flow
  }

  /** Payload that one buffer takes. A packet that is larger than the link is what offload made of several. */
  private partBytes(tcp: LiveTcp): number {
    const fits = this.options.mtu - IP_HEADER_BYTES[this.options.ends.version] - TCP_BYTES
    const most = fits - OPTIONS_BYTES_MAX
    if (tcp.length <= fits - (tcp.options.length > 0 ? OPTIONS_BYTES_MAX : 0)) return tcp.length
    const asked = this.options.segmentBytes || this.flow!.announcedMss
    return asked > 0 ? Math.min(most, asked) : most
  }

  private injectIcmp(spec: IcmpSpec, line: number, ttl: number): void {
    const { ends } = this.options
    const { version } = ends
    if (spec.version !== version) throw new ScriptUnsupported(line, `ICMP of IPv${spec.version} among IPv${version}`)
    const { quoted } = spec
    let packet: Uint8Array
    if (quoted?.protocol === 'udp') {
      const ports = this.datagramPorts()
      const datagram = udpDatagram(ends, ports?.localPort ?? LOCAL_PORT, ports?.remotePort ?? 0, quoted.length)
      packet = quotePacket(ends, PROTOCOL_UDP, datagram.length, datagram)
    } else {
      const flow = this.flow
      if (flow === undefined) throw new ScriptFailure(line, 'an ICMP error about a connection that was never seen')
      const header = tcpSegment(ends, {
        sourcePort: flow.localPort,
        destinationPort: flow.remotePort,
        flags: ACK,
        sequence: flow.toLive(quoted?.sequence ?? 0),
        acknowledgement: 0,
        window: 0,
        urgent: 0,
        options: [],
        length: 0,
      })
      packet = quotePacket(ends, PROTOCOL_TCP, TCP_BYTES + (quoted?.length ?? 0), header)
    }
    const error = icmpError(ends, spec.type, spec.code, spec.mtu, packet)
    const protocol = version === 6 ? PROTOCOL_ICMPV6 : PROTOCOL_ICMP
    this.network.device.inject(peerFrame(ends, protocol, error, 0, ttl))
  }

  /* --- outbound --- */

  /** Something the script can expect has been sent. */
  get hasPacket(): boolean {
    this.skipForeign()
    return this.network.device.sent.length > 0
  }

  /**
   * Takes the next packet, or the next few that stand for one, and compares.
   * @returns the time of the packet, µs of the stack's clock
   * @throws ScriptFailure with both packets
   */
  take(action: PacketAction, line: number): number {
    const { sent } = this.network.device
    const packet = sent.shift()!
    let tcp = packet.tcp && this.flow?.toScript(packet.tcp)
    const { body } = action
    const first = tcp
    if (tcp !== undefined && body.protocol === 'tcp') {
      if ((tcp.flags & SYN) !== 0 && (body.flags & SYN) !== 0) {
        this.flow!.expectSyn(body.sequence)
        tcp = this.flow!.toScript(packet.tcp!)
      }
      tcp = this.collect(tcp, body, packet)
      // A kernel marks what its offload joins with PSH, or does not: the sender's own mark is no longer to be seen.
      if (tcp.length > first!.length || this.goesOn(tcp, packet))
        tcp = { ...tcp, flags: (tcp.flags & ~PSH) | (body.flags & PSH) }
    }
    const shown = tcp && { ...tcp, options: tcp.options.map((option) => this.scriptOption(option)) }
    const timestamp = this.liveTimestamp(packet.tcp)
    const clock =
      this.options.timestampTickUs > 0 && timestamp !== undefined ? this.flow!.scriptTimestamp(timestamp) : undefined
    const { timestampTickUs, timestampSlackUs } = this.options
    const slack = clock === undefined ? 0 : Math.floor(timestampSlackUs() / timestampTickUs)
    const difference = mismatch(action, packet, shown, clock, slack)
    if (difference !== undefined)
      throw new ScriptFailure(
        line,
        `${difference}\n    expected ${action.text}\n    actual   > ${showPacket(packet, shown)}`,
      )
    if (body.protocol === 'tcp' && timestamp !== undefined)
      for (const option of body.options ?? [])
        if (option.kind === 'timestamps') this.flow!.learnTimestamps(option.value, timestamp)
    return packet.atUs
  }

  /** Joins segments that continue the first one, as long as the script's is longer. */
  private collect(first: LiveTcp, spec: TcpSpec, packet: LivePacket): LiveTcp {
    const { sent } = this.network.device
    let joined = first
    while (joined.length > 0 && joined.length < spec.length && sent.length > 0) {
      const next = sent[0]!
      const tcp = next.tcp && this.flow!.toScript(next.tcp)
      if (tcp === undefined || tcp.length === 0 || next.tos !== packet.tos) break
      if (tcp.sequence !== (joined.sequence + joined.length) >>> 0) break
      if (joined.length + tcp.length > spec.length) break
      sent.shift()
      joined = {
        ...tcp,
        sequence: joined.sequence,
        length: joined.length + tcp.length,
        flags: joined.flags | tcp.flags,
      }
    }
    return joined
  }

  /** Whether the segment behind this one left with it. */
  private goesOn(tcp: LiveTcp, packet: LivePacket): boolean {
    const next = this.network.device.sent[0]
    const following = next?.tcp && this.flow!.toScript(next.tcp)
    if (tcp.length === 0 || following === undefined || following.length === 0) return false
    return next!.atUs === packet.atUs && following.sequence === (tcp.sequence + tcp.length) >>> 0
  }

  /** Drops packets of connections that the script has left behind, and meets new ones. */
  private skipForeign(): void {
    const { sent } = this.network.device
    while (sent.length > 0) {
      const { tcp } = sent[0]!
      if (tcp === undefined) return
      const flow = this.flows.find((one) => one.localPort === tcp.sourcePort && one.remotePort === tcp.destinationPort)
      const known = flow ?? this.begin(tcp.sourcePort, tcp.destinationPort)
      if ((tcp.flags & SYN) !== 0) known.seeSyn(tcp)
      if (known === this.flow) return
      sent.shift()
    }
  }

  private liveTimestamp(tcp: LiveTcp | undefined): number | undefined {
    for (const option of tcp?.options ?? []) if (option.kind === 'timestamps') return option.value
    return undefined
  }

  /** Only what the peer numbers is the script's already; what the stack numbers is shown by the script's clock. */
  private scriptOption(option: LiveTcp['options'][number]): LiveTcp['options'][number] {
    if (option.kind !== 'timestamps') return option
    return { ...option, value: this.flow?.scriptTimestamp(option.value) ?? option.value }
  }
}
