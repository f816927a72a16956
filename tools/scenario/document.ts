/** A scenario as the program sees it: what parse.ts makes of the file. docs/scenarios.md explains each part to users. */
import type { Impairment } from '../../drivers/impairment-spec.ts'
import type { TcpOptions } from '../../stack/host-options.ts'
import type { ConnectionOptions } from '../../stack/tcp/application.ts'
import type { Selector } from './selector.ts'

/** The host is the Packrat under test; the peer is a second one, or Linux. */
export type Side = 'host' | 'peer'

export type IpVersion = 4 | 6

export interface Scenario {
  readonly file: string
  readonly name: string
  /** What it shows, in a sentence or two. */
  readonly about: string
  readonly seed: number
  readonly ip: IpVersion
  readonly link: Impairment
  /** Smallest round trip of the link, µs. */
  readonly roundTripUs: number
  readonly host: HostSettings
  readonly peer: HostSettings
  readonly peerKind: 'packrat' | 'linux'
  readonly traffic: readonly Traffic[]
  readonly events: readonly Event[]
  readonly expectations: readonly Expectation[]
  /** The run is given up after so long. */
  readonly limitUs: number
}

export interface HostSettings {
  readonly tcp: TcpOptions
  readonly connection: ConnectionOptions
  readonly mtu: number
  /** Buffers of its pool. */
  readonly buffers: number
}

/** One connection and what travels over it. */
export interface Traffic {
  readonly opens: Side
  /** After the first connection was opened, µs. */
  readonly atUs: number
  /** What each side sends on its own account; not used by the kinds below. */
  readonly send: readonly SendStep[]
  readonly receive: readonly SendStep[]
  readonly exchange: Exchange | undefined
  readonly http: HttpLoad | undefined
  /** Bytes of one write, and the pause behind it. */
  readonly writeBytes: number
  readonly everyUs: number
  /** Who aborts the connection when it has sent all. */
  readonly reset: Side | undefined
}

export type SendStep = { readonly bytes: number } | { readonly pauseUs: number }

/** Requests of the peer and answers of the host. */
export interface Exchange {
  readonly count: number
  readonly requestBytes: number
  readonly responseBytes: number
  readonly pauseUs: number
}

/** Requests to the real key-value service on the host. */
export interface HttpLoad {
  readonly method: 'PUT' | 'GET'
  readonly count: number
  readonly valueBytes: number
}

/** Something that happens to chosen segments. */
export interface SegmentEvent {
  readonly kind: 'drop' | 'duplicate' | 'delay' | 'corrupt' | 'mark' | 'swap'
  readonly selector: Selector
  readonly byUs: number
  readonly times: number
  /** As the file has it, for reports. */
  readonly text: string
}

/** Something that happens for a time, or from a time on (`toUs` Infinity). */
export interface TimedEvent {
  readonly kind: 'blackout' | 'hold' | 'stop-reading' | 'mtu'
  readonly fromUs: number
  readonly toUs: number
  readonly mtuBytes: number
  readonly from: Side | undefined
  readonly text: string
}

export type Event = SegmentEvent | TimedEvent

/** A measured figure has to lie in a range. */
export interface Expectation {
  /** Of measurement.ts, or `peer.` and a counter. */
  readonly name: string
  readonly minimum: number
  readonly maximum: number
  /** As the file has it. */
  readonly text: string
}

/** How every connection has to end, one name for each of application.ts. */
export const ENDINGS = ['orderly', 'reset', 'timeout', 'refused', 'aborted', 'unreachable'] as const
