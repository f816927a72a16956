/**
 * The knobs of TCP under the names that Linux gives them (Documentation/networking/ip-sysctl.rst), without `tcp_` in
 * front: from a name and a value as text to an option of the host. What Linux has and this stack does not is absent, so
 * that nobody believes to have set it.
 *
 * Called by: `packrat serve --tcp`, and whoever reads `net.ipv4.tcp_…` lines. Hosts read the options, never this file.
 */
import type { TcpOptions } from '../host-options.ts'

interface Knob {
  /** As it is typed. */
  readonly name: string
  /** What the value may be, for people. */
  readonly values: string
  /** Sets the option. @returns false if the value is refused; then nothing is set */
  readonly set: (options: TcpOptions, value: string) => boolean
}

/** A whole number in a range; `apply` gets it in Linux's unit. */
function number(
  name: string,
  minimum: number,
  maximum: number,
  apply: (options: TcpOptions, value: number) => void,
): Knob {
  return {
    name,
    values: `${minimum}..${maximum}`,
    set: (options, text) => {
      const value = /^\d{1,10}$/.test(text) ? Number(text) : -1
      if (value < minimum || value > maximum) return false
      apply(options, value)
      return true
    },
  }
}

const SECOND_MS = 1000
/** A day, where Linux allows nearly everything. */
const SECONDS_MAX = 86_400

/* Bits of tcp_fastopen. Others mean nothing here: no listener has to ask, as Linux's have to without 0x400. */
const FAST_OPEN_CLIENT = 1
const FAST_OPEN_SERVER = 2
const FAST_OPEN_CLIENT_WITHOUT_COOKIE = 4
const FAST_OPEN_WITHOUT_COOKIE = 0x200

/** Linux reads the key as four words and keeps them in little-endian order. */
function fastOpenKey(text: string): Uint8Array {
  const key = new DataView(new ArrayBuffer(16))
  for (const [index, word] of text.split('-').entries()) key.setUint32(index * 4, Number.parseInt(word, 16), true)
  return new Uint8Array(key.buffer)
}

const KNOBS: readonly Knob[] = [
  {
    name: 'congestion_control',
    values: 'cubic|reno',
    set: (options, value) => {
      if (value !== 'cubic' && value !== 'reno') return false
      options.congestion = value
      return true
    },
  },
  number('challenge_ack_limit', 0, 0x7fffffff, (options, value) => {
    options.challengeAcksPerSecond = value
  }),
  // Linux 3 and 4 differ from 1 and 2 only in a mechanism (ER, RFC 5827) that it has given up; 0 is no probe.
  number('early_retrans', 0, 4, (options, value) => {
    options.tailProbes = value >= 3
  }),
  number('ecn', 0, 5, (options, value) => {
    options.ecn = value as 0 | 1 | 2 | 3 | 4 | 5
  }),
  number('ecn_fallback', 0, 1, (options, value) => {
    options.ecnFallback = value !== 0
  }),
  number('ecn_option', 0, 3, (options, value) => {
    options.ecnOption = value as 0 | 1 | 2 | 3
  }),
  number('ecn_option_beacon', 0, 255, (options, value) => {
    options.ecnOptionBeacon = value
  }),
  {
    name: 'fastopen',
    values: '0..0x7ff',
    set: (options, text) => {
      const bits = /^(0x[\da-f]{1,3}|\d{1,4})$/i.test(text) ? Number(text) : -1
      if (bits < 0 || bits > 0x7ff) return false
      options.fastOpen = (bits & FAST_OPEN_SERVER) !== 0
      options.fastOpenClient = (bits & FAST_OPEN_CLIENT) !== 0
      options.fastOpenClientWithoutCookie = (bits & FAST_OPEN_CLIENT_WITHOUT_COOKIE) !== 0
      options.fastOpenWithoutCookie = (bits & FAST_OPEN_WITHOUT_COOKIE) !== 0
      return true
    },
  },
  {
    name: 'fastopen_key',
    values: 'four words of 8 hexadecimal digits, joined by -',
    set: (options, text) => {
      if (!/^[\da-f]{8}(-[\da-f]{8}){3}$/i.test(text)) return false
      options.fastOpenKey = fastOpenKey(text)
      return true
    },
  },
  number('fin_timeout', 1, SECONDS_MAX, (options, value) => {
    options.finWait2Ms = value * SECOND_MS
  }),
  number('frto', 0, 2, (options, value) => {
    options.frto = value !== 0
  }),
  number('invalid_ratelimit', 0, 86_400_000, (options, value) => {
    options.invalidAckIntervalMs = value
  }),
  number('keepalive_intvl', 1, SECONDS_MAX, (options, value) => {
    options.keepAliveIntervalMs = value * SECOND_MS
  }),
  number('keepalive_probes', 1, 127, (options, value) => {
    options.keepAliveProbes = value
  }),
  number('keepalive_time', 1, SECONDS_MAX, (options, value) => {
    options.keepAliveIdleMs = value * SECOND_MS
  }),
  number('max_syn_backlog', 1, 1 << 20, (options, value) => {
    options.synBacklog = value
  }),
  number('max_tw_buckets', 1, 1 << 20, (options, value) => {
    options.timeWaitsMax = value
  }),
  number('moderate_rcvbuf', 0, 1, (options, value) => {
    options.receiveTuning = value !== 0
  }),
  number('mtu_probing', 0, 2, (options, value) => {
    options.mtuProbing = (['off', 'on-black-hole', 'always'] as const)[value]!
  }),
  number('orphan_retries', 0, 255, (options, value) => {
    options.orphanRetries = value === 0 ? undefined : value // 0 is the default, 8
  }),
  // Linux's other bits tune RACK; only the first one is here.
  number('recovery', 0, 1, (options, value) => {
    options.rack = value !== 0
  }),
  number('retries2', 1, 255, (options, value) => {
    options.retries = value
  }),
  number('rto_max_ms', 1000, 120_000, (options, value) => {
    options.rtoMaxMs = value
  }),
  number('sack', 0, 1, (options, value) => {
    options.sack = value !== 0
  }),
  number('slow_start_after_idle', 0, 1, (options, value) => {
    options.slowStartAfterIdle = value !== 0
  }),
  number('syn_linear_timeouts', 0, 127, (options, value) => {
    options.synLinearTimeouts = value
  }),
  number('syn_retries', 1, 127, (options, value) => {
    options.synRetries = value
  }),
  number('syncookies', 0, 2, (options, value) => {
    options.synCookies = value as 0 | 1 | 2
  }),
  number('synack_retries', 0, 127, (options, value) => {
    options.synAckRetries = value
  }),
  // 2, without an offset of each connection's own, would tell an outsider the host's clock.
  number('timestamps', 0, 1, (options, value) => {
    options.timestamps = value !== 0
  }),
  number('window_scaling', 0, 1, (options, value) => {
    options.windowScaling = value !== 0
  }),
]

const byName = new Map(KNOBS.map((knob) => [knob.name, knob]))

export type KnobOutcome = 'set' | 'unknown' | 'refused'

/**
 * Sets one knob.
 * @param name with or without `net.ipv4.` and `tcp_` in front
 * @returns 'unknown' if there is no such knob, 'refused' if its value must be another one (knobValues)
 */
export function setKnob(options: TcpOptions, name: string, value: string): KnobOutcome {
  const knob = byName.get(shortName(name))
  if (knob === undefined) return 'unknown'
  return knob.set(options, value) ? 'set' : 'refused'
}

/** What a knob's value may be, as `0..2`; undefined for a name that is none. */
export function knobValues(name: string): string | undefined {
  return byName.get(shortName(name))?.values
}

export function knobNames(): string[] {
  return KNOBS.map((knob) => knob.name)
}

function shortName(name: string): string {
  return name.replace(/^(net[./]ipv4[./])?(tcp_)?/, '')
}
