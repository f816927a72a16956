/**
 * A packetdrill script as data: what the parser makes and the runner runs.
 *
 *   options   --tolerance_usecs=10000
 *   events    time  action      0.100 < S 0:0(0) win 1000 <mss 1460>      a packet
 *                               +0    accept(3, ..., ...) = 4             a system call
 *                               +0    `sysctl -q ...`                     a command
 *                               +0    %{ assert tcpi_snd_cwnd == 10 }%    code
 *
 * All times are integer microseconds. Sequence numbers are those of the script: relative to its initial ones.
 */

/* --- time --- */

export type EventTime =
  /** `*`: whenever it comes. */
  | { readonly kind: 'any' }
  /** `0.1` and `0.1~0.2` are `absolute`, from the start of the script; `+0.1` and `+0.1~+0.2` from the event before. */
  | { readonly kind: 'absolute' | 'relative'; readonly us: number; readonly endUs: number }

/* --- packets --- */

/** What stands in the two ECN bits; `ect01`: either of two; `unchecked`: the script does not say. */
export type EcnField = 'unchecked' | 'noecn' | 'ect1' | 'ect0' | 'ect01' | 'ce'

export interface IpSpec {
  readonly ecn: EcnField
  /** Traffic class with the ECN bits; -1: not said. */
  readonly tos: number
  /** -1: not said. */
  readonly ttl: number
}

export type TcpOptionSpec =
  | { readonly kind: 'nop' | 'eol' | 'sackOK' }
  | { readonly kind: 'mss' | 'wscale'; readonly value: number }
  | { readonly kind: 'timestamps'; readonly value: number; readonly echo: number }
  /** Edges, left and right in turn. */
  | { readonly kind: 'sack'; readonly edges: readonly number[] }
  /** RFC 7413; without bytes: a request. `experimental`: in option 254. */
  | { readonly kind: 'cookie'; readonly experimental: boolean; readonly bytes: readonly number[] }
  /** RFC 9768 3.2.3: counters as they stand there; `order` 0 begins with ECT(0), 1 with ECT(1). */
  | { readonly kind: 'accurate'; readonly order: 0 | 1; readonly counters: readonly number[] }
  /** An option that is written as its bytes. */
  | { readonly kind: 'raw'; readonly number: number; readonly bytes: readonly number[] }

export interface TcpSpec {
  readonly protocol: 'tcp'
  /** FIN 1, SYN 2, RST 4, PSH 8, ACK 16, URG 32, ECE 64, CWR 128, AE 256. */
  readonly flags: number
  readonly sequence: number
  readonly length: number
  /** -1: not said. */
  readonly acknowledgement: number
  /** -1: not said. */
  readonly window: number
  readonly urgent: number
  /** undefined: `<...>`, whatever there is. */
  readonly options: readonly TcpOptionSpec[] | undefined
  /** 0: those of the connection. */
  readonly sourcePort: number
  readonly destinationPort: number
}

export interface UdpSpec {
  readonly protocol: 'udp'
  readonly length: number
}

export interface IcmpSpec {
  readonly protocol: 'icmp'
  readonly version: 4 | 6
  readonly type: number
  readonly code: number
  readonly mtu: number
  /** What is quoted of the packet that the error is about; undefined: its last one, as far as a script can tell. */
  readonly quoted: TcpSpec | UdpSpec | undefined
}

export interface PacketAction {
  readonly kind: 'packet'
  readonly inbound: boolean
  readonly ip: IpSpec
  readonly body: TcpSpec | UdpSpec | IcmpSpec
  /** As it stands in the script. */
  readonly text: string
}

/* --- system calls --- */

export type Value =
  | { readonly kind: 'ellipsis' }
  | { readonly kind: 'number'; readonly value: number }
  | { readonly kind: 'text'; readonly value: string }
  | { readonly kind: 'symbol'; readonly name: string }
  | { readonly kind: 'or'; readonly parts: readonly Value[] }
  | { readonly kind: 'not'; readonly of: Value }
  | { readonly kind: 'list'; readonly items: readonly Value[] }
  /** `{..., 1000}`: fields without names. */
  | { readonly kind: 'tuple'; readonly items: readonly Value[] }
  | { readonly kind: 'struct'; readonly fields: ReadonlyMap<string, Value> }
  | { readonly kind: 'apply'; readonly name: string; readonly arguments: readonly Value[] }

export interface CallAction {
  readonly kind: 'call'
  readonly name: string
  readonly arguments: readonly Value[]
  readonly result: Value
  /** '' if the call succeeds. */
  readonly errno: string
  /** When a blocking call returns, in the terms of the event's time; -1: it does not block. */
  readonly endUs: number
  readonly text: string
}

export interface CommandAction {
  readonly kind: 'command'
  readonly text: string
}

export interface CodeAction {
  readonly kind: 'code'
  readonly text: string
}

export type Action = PacketAction | CallAction | CommandAction | CodeAction

export interface ScriptEvent {
  /** 1 for the first line. */
  readonly line: number
  readonly time: EventTime
  readonly action: Action
}

export interface Script {
  /** Options without their dashes: `tolerance_usecs` -> `10000`. */
  readonly options: ReadonlyMap<string, string>
  /** Commands before the first event: they set the scene. */
  readonly setup: readonly { readonly line: number; readonly text: string }[]
  readonly events: readonly ScriptEvent[]
}
