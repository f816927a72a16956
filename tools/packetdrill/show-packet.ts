/** Live packets in the script's notation, for reports. */
import { type LivePacket, type LiveTcp, PROTOCOL_ICMP } from './frames.ts'
import type { TcpOptionSpec } from './script.ts'

const LETTERS = ['F', 'S', 'R', 'P', '.', 'U', 'E', 'W', 'A']
const ECN = ['noecn', 'ect1', 'ect0', 'ce']

/** @param tcp the packet's segment in the script's numbers */
export function showPacket(packet: LivePacket, tcp: LiveTcp | undefined): string {
  const ecn = (packet.tos & 3) === 0 ? '' : `[${ECN[packet.tos & 3]}] `
  if (tcp !== undefined) return ecn + showTcp(tcp)
  if (packet.udp !== undefined) return `${ecn}udp (${packet.udp.length})`
  return packet.protocol === PROTOCOL_ICMP ? 'icmp' : `IP protocol ${packet.protocol}`
}

function showTcp(tcp: LiveTcp): string {
  const flags = LETTERS.filter((_, bit) => (tcp.flags & (1 << bit)) !== 0).join('') || '-'
  const end = (tcp.sequence + tcp.length) >>> 0
  const parts = [flags, `${tcp.sequence}:${end}(${tcp.length})`]
  if ((tcp.flags & 16) !== 0) parts.push(`ack ${tcp.acknowledgement}`)
  parts.push(`win ${tcp.window}`)
  if (tcp.urgent !== 0) parts.push(`urg ${tcp.urgent}`)
  if (tcp.options.length > 0) parts.push(`<${tcp.options.map(showOption).join(',')}>`)
  return parts.join(' ')
}

export function showOption(option: TcpOptionSpec): string {
  switch (option.kind) {
    case 'mss':
    case 'wscale':
      return `${option.kind} ${option.value}`
    case 'timestamps':
      return `TS val ${option.value} ecr ${option.echo}`
    case 'sack': {
      const { edges } = option
      return `sack ${edges.flatMap((edge, index) => (index % 2 === 0 ? [`${edge}:${edges[index + 1]}`] : [])).join(' ')}`
    }
    case 'cookie':
      return `${option.experimental ? 'FOEXP' : 'FO'} ${showHex(option.bytes)}`.trimEnd()
    case 'accurate': {
      const names = option.order === 0 ? ['e0b', 'ceb', 'e1b'] : ['e1b', 'ceb', 'e0b']
      return ['ECN', ...option.counters.map((counter, index) => `${names[index]} ${counter}`)].join(' ')
    }
    case 'raw':
      return `option ${option.number} ${showHex(option.bytes)}`.trimEnd()
    default:
      return option.kind
  }
}

function showHex(bytes: readonly number[]): string {
  return bytes.map((byte) => byte.toString(16).padStart(2, '0')).join('')
}
