/**
 * What may be set about TCP and is read while segments flow: the options of a host with the defaults filled in, once.
 * Linux's names for them stand in knobs.ts.
 */
import type { TcpOptions } from '../host-options.ts'
import {
  CHALLENGE_ACKS_PER_SECOND,
  ECN_OPTION,
  ECN_OPTION_BEACON,
  FIN_WAIT_2_MS,
  INVALID_ACK_INTERVAL_MS,
  KEEP_ALIVE_IDLE_MS,
  KEEP_ALIVE_INTERVAL_MS,
  KEEP_ALIVE_PROBES,
  LISTEN_BACKLOG,
  ORPHAN_RETRIES_MAX,
  RETRIES_MAX,
  RTO_MAX_MS,
  SYN_ACK_RETRIES_MAX,
  SYN_RETRIES_MAX,
} from '../limits.ts'
import { ECN_ACCEPT } from './ecn.ts'
import { COOKIES_UNDER_PRESSURE } from './syn-cookies.ts'

export interface Tuning {
  /** ECN_ (ecn.ts). */
  readonly ecn: number
  /** RFC 9768's option: 0 never, 1 when it has to tell something, 2 always, 3 even where it does not get through; times a round trip. */
  readonly ecnOption: number
  readonly ecnOptionBeacon: number
  readonly ecnFallback: boolean
  /** COOKIES_ (cookie-handshake.ts). */
  readonly synCookies: number
  readonly fastOpen: boolean
  readonly fastOpenWithoutCookie: boolean
  readonly fastOpenClient: boolean
  readonly fastOpenClientWithoutCookie: boolean
  readonly synBacklog: number
  readonly synRetries: number
  readonly synAckRetries: number
  readonly synLinearTimeouts: number
  readonly retries: number
  readonly rtoMaxMs: number
  readonly orphanRetries: number
  readonly finWait2Ms: number
  readonly keepAliveIdleMs: number
  readonly keepAliveIntervalMs: number
  readonly keepAliveProbes: number
  readonly challengeAcksPerSecond: number
  readonly invalidAckIntervalMs: number
  readonly windowProbeBytes: number
  readonly slowStartAfterIdle: boolean
  readonly receiveTuning: boolean
  readonly pacing: boolean
}

export function tuningOf(options: TcpOptions): Tuning {
  return {
    ecn: options.ecn ?? ECN_ACCEPT,
    ecnOption: options.ecnOption ?? ECN_OPTION,
    ecnOptionBeacon: options.ecnOptionBeacon ?? ECN_OPTION_BEACON,
    ecnFallback: options.ecnFallback ?? true,
    synCookies: options.synCookies ?? COOKIES_UNDER_PRESSURE,
    fastOpen: options.fastOpen ?? false,
    fastOpenWithoutCookie: options.fastOpenWithoutCookie ?? false,
    fastOpenClient: options.fastOpenClient ?? true,
    fastOpenClientWithoutCookie: options.fastOpenClientWithoutCookie ?? false,
    synBacklog: options.synBacklog ?? LISTEN_BACKLOG,
    synRetries: options.synRetries ?? SYN_RETRIES_MAX,
    synAckRetries: options.synAckRetries ?? SYN_ACK_RETRIES_MAX,
    synLinearTimeouts: options.synLinearTimeouts ?? 0,
    retries: options.retries ?? RETRIES_MAX,
    rtoMaxMs: options.rtoMaxMs ?? RTO_MAX_MS,
    orphanRetries: options.orphanRetries ?? ORPHAN_RETRIES_MAX,
    finWait2Ms: options.finWait2Ms ?? FIN_WAIT_2_MS,
    keepAliveIdleMs: options.keepAliveIdleMs ?? KEEP_ALIVE_IDLE_MS,
    keepAliveIntervalMs: options.keepAliveIntervalMs ?? KEEP_ALIVE_INTERVAL_MS,
    keepAliveProbes: options.keepAliveProbes ?? KEEP_ALIVE_PROBES,
    challengeAcksPerSecond: options.challengeAcksPerSecond ?? CHALLENGE_ACKS_PER_SECOND,
    invalidAckIntervalMs: options.invalidAckIntervalMs ?? INVALID_ACK_INTERVAL_MS,
    windowProbeBytes: options.windowProbeBytes ?? 1,
    slowStartAfterIdle: options.slowStartAfterIdle ?? true,
    receiveTuning: options.receiveTuning ?? true,
    pacing: options.pacing ?? false,
  }
}
