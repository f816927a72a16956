/**
 * Does a packet of the stack's meet what the script expects? Everything that the script says is compared, and nothing
 * that it leaves out:
 *
 *   always      protocol, flags, sequence number, length, urgent pointer, options and their order
 *   if said     ack, win, ECN bits, type of service, time to live
 *   never       timestamp values, unless --tcp_ts_tick_usecs gives their clock; ports; bytes of the payload
 *
 * Called by: peer.ts, with the live segment already in the script's numbers.
 */
import type { LivePacket, LiveTcp } from './frames.ts'
import type { EcnField, PacketAction, TcpOptionSpec, TcpSpec } from './script.ts'
import { showOption } from './show-packet.ts'

/** Of `ect01` the one that is injected. */
const ECN_BITS: Readonly<Record<Exclude<EcnField, 'unchecked'>, number>> = {
  noecn: 0,
  ect1: 1,
  ect0: 2,
  ect01: 2,
  ce: 3,
}
const ECT_1 = 1
const FLAG_NAMES = ['F', 'S', 'R', 'P', '.', 'U', 'E', 'W', 'A']

export function ecnBits(ecn: EcnField): number {
  return ecn === 'unchecked' ? 0 : ECN_BITS[ecn]
}

/**
 * What is different, in words; undefined if nothing is.
 * @param scriptTimestamp the live timestamp by the script's clock; undefined: values are not compared
 * @param timestampSlack ticks by which it may differ
 */
export function mismatch(
  spec: PacketAction,
  packet: LivePacket,
  tcp: LiveTcp | undefined,
  scriptTimestamp: number | undefined,
  timestampSlack: number,
): string | undefined {
  const ip = ipMismatch(spec, packet)
  if (ip !== undefined) return ip
  if (spec.body.protocol === 'udp') {
    if (packet.udp === undefined) return 'not UDP'
    return different('length', spec.body.length, packet.udp.length)
  }
  if (spec.body.protocol === 'tcp') {
    if (tcp === undefined) return 'not TCP'
    return tcpMismatch(spec.body, tcp, scriptTimestamp, timestampSlack)
  }
  return 'an ICMP packet cannot be expected'
}

function ipMismatch(spec: PacketAction, packet: LivePacket): string | undefined {
  const { ecn, tos, ttl } = spec.ip
  const either = ecn === 'ect01' && (packet.tos & 3) === ECT_1
  if (ecn !== 'unchecked' && !either && (packet.tos & 3) !== ECN_BITS[ecn])
    return `ECN bits: expected ${ECN_BITS[ecn]} (${ecn}), got ${packet.tos & 3}`
  if (tos >= 0 && packet.tos !== tos) return different('type of service', tos, packet.tos)
  return ttl >= 0 ? different('time to live', ttl, packet.ttl) : undefined
}

function tcpMismatch(
  spec: TcpSpec,
  tcp: LiveTcp,
  scriptTimestamp: number | undefined,
  timestampSlack: number,
): string | undefined {
  return (
    different('flags', showFlags(spec.flags), showFlags(tcp.flags)) ??
    different('sequence number', spec.sequence, tcp.sequence) ??
    different('length', spec.length, tcp.length) ??
    (spec.acknowledgement >= 0 ? different('ack', spec.acknowledgement, tcp.acknowledgement) : undefined) ??
    (spec.window >= 0 ? different('win', spec.window, tcp.window) : undefined) ??
    different('urg', spec.urgent, tcp.urgent) ??
    (spec.options === undefined
      ? undefined
      : optionsMismatch(spec.options, tcp.options, scriptTimestamp, timestampSlack))
  )
}

function optionsMismatch(
  expected: readonly TcpOptionSpec[],
  actual: readonly TcpOptionSpec[],
  scriptTimestamp: number | undefined,
  timestampSlack: number,
): string | undefined {
  // The end of the list only pads.
  const wanted = expected.filter((option) => option.kind !== 'eol')
  if (wanted.length !== actual.length) return 'options'
  for (let index = 0; index < wanted.length; index++) {
    const option = wanted[index]!
    const live = actual[index]!
    if (option.kind === 'timestamps' && live.kind === 'timestamps') {
      if (option.echo !== live.echo) return different('TS ecr', option.echo, live.echo)
      if (scriptTimestamp === undefined) continue
      if (Math.abs((option.value - scriptTimestamp) | 0) > timestampSlack)
        return different('TS val', option.value, scriptTimestamp)
    } else if (showOption(option) !== showOption(live))
      return `option: expected ${showOption(option)}, got ${showOption(live)}`
  }
  return undefined
}

function showFlags(flags: number): string {
  return FLAG_NAMES.filter((_, bit) => (flags & (1 << bit)) !== 0).join('') || '-'
}

function different(field: string, expected: number | string, actual: number | string): string | undefined {
  return expected === actual ? undefined : `${field}: expected ${expected}, got ${actual}`
}
