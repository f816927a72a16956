/**
 * setsockopt and getsockopt: which of Linux's options the stack has, and what the others say when they are only asked
 * back. An option that is not here makes the script unsupported, by its name.
 *
 * Called by: calls.ts.
 */

import { MSS_DEFAULT } from '../../stack/limits.ts'
import type { ConnectionOptions } from '../../stack/tcp/application.ts'
import { maximumSegmentSize } from '../../stack/tcp/segment-size.ts'
import { CONSTANTS } from './numbers.ts'
import type { ScriptSocket } from './script-socket.ts'

type Mutable<T> = { -readonly [K in keyof T]: T[K] }

interface SocketOption {
  /** undefined: it is only remembered. @returns the error, or undefined */
  readonly set?: (socket: ScriptSocket, value: number) => string | undefined
  /** What getsockopt says; default: what was set, else `initial`. */
  readonly get?: (socket: ScriptSocket) => number
  readonly initial?: number
}

const MS_PER_S = 1000
/** Smallest buffers: Linux SOCK_MIN_RCVBUF and SOCK_MIN_SNDBUF. */
const RECEIVE_BUFFER_MIN = 2304
const SEND_BUFFER_MIN = 4608
/** Of sending, in software; with keys, without the packet. */
const STAMPS = [
  'SOF_TIMESTAMPING_TX_SOFTWARE',
  'SOF_TIMESTAMPING_SOFTWARE',
  'SOF_TIMESTAMPING_OPT_ID',
  'SOF_TIMESTAMPING_TX_SCHED',
  'SOF_TIMESTAMPING_TX_ACK',
  'SOF_TIMESTAMPING_OPT_TSONLY',
].reduce((bits, name) => bits | CONSTANTS.get(name)!, 0)
/** Linux MAX_TCP_SYNCNT. */
const SYN_COUNT_MAX = 127

function options(socket: ScriptSocket): Mutable<ConnectionOptions> {
  return socket.connectionOptions
}

const SWITCH: SocketOption = { initial: 0 }

const OPTIONS: Readonly<Record<string, SocketOption>> = {
  SO_REUSEADDR: SWITCH,
  SO_REUSEPORT: SWITCH,
  SO_PRIORITY: SWITCH,
  SO_MARK: SWITCH,
  TCP_INQ: SWITCH,
  IP_TOS: SWITCH,
  IP_FREEBIND: SWITCH,
  IP_MTU_DISCOVER: SWITCH,
  IPV6_TCLASS: SWITCH,
  SO_ERROR: { get: () => 0 },
  SO_TYPE: { get: () => 1 },
  SO_KEEPALIVE: {
    set(socket, value) {
      options(socket).keepAlive = value !== 0
      socket.connection?.setKeepAlive(value !== 0)
      return undefined
    },
    initial: 0,
  },
  TCP_KEEPIDLE: {
    set(socket, value) {
      options(socket).keepAliveIdleMs = value * MS_PER_S
      const { connection } = socket
      if (connection !== undefined) connection.setKeepAlive(connection.keepAliveOn !== 0, value * MS_PER_S)
      return undefined
    },
    initial: 7200,
  },
  TCP_KEEPINTVL: {
    set(socket, value) {
      options(socket).keepAliveIntervalMs = value * MS_PER_S
      if (socket.connection !== undefined) socket.connection.keepAliveIntervalMs = value * MS_PER_S
      return undefined
    },
    initial: 75,
  },
  TCP_KEEPCNT: {
    set(socket, value) {
      options(socket).keepAliveProbes = value
      if (socket.connection !== undefined) socket.connection.keepAliveProbesMax = value
      return undefined
    },
    initial: 9,
  },
  TCP_USER_TIMEOUT: {
    set(socket, value) {
      if (value < 0) return 'EINVAL'
      options(socket).userTimeoutMs = value
      if (socket.connection !== undefined) socket.connection.userTimeoutMs = value
      return undefined
    },
    initial: 0,
  },
  TCP_NODELAY: {
    set(socket, value) {
      options(socket).noDelay = value !== 0
      socket.connection?.setNoDelay(value !== 0)
      return undefined
    },
    initial: 0,
  },
  TCP_CORK: {
    set(socket, value) {
      socket.cork(value !== 0)
      return undefined
    },
    initial: 0,
  },
  TCP_MAXSEG: {
    set(socket, value) {
      options(socket).mss = value
      return undefined
    },
    get: (socket) => {
      const { connection } = socket
      if (connection === undefined) return MSS_DEFAULT
      return socket.role === 'connected' ? connection.sendMss : maximumSegmentSize(connection.context, connection)
    },
  },
  TCP_NOTSENT_LOWAT: {
    set(socket, value) {
      socket.sendBuffer.setLowMark(value)
      return undefined
    },
    initial: 0,
  },
  TCP_SYNCNT: {
    set(socket, value) {
      if (value < 1 || value > SYN_COUNT_MAX) return 'EINVAL'
      options(socket).synRetries = value
      if (socket.connection !== undefined) socket.connection.synRetriesMax = value
      return undefined
    },
    initial: 6,
  },
  TCP_QUICKACK: {
    set(socket, value) {
      socket.quickAck(value !== 0)
      return undefined
    },
    get: (socket) => ((socket.connection?.quickAcks ?? 1) > 0 ? 1 : 0),
  },
  TCP_FASTOPEN_CONNECT: SWITCH,
  TCP_FASTOPEN_NO_COOKIE: SWITCH,
  TCP_FASTOPEN: {
    set(socket, value) {
      socket.accepted.setFastOpen(value)
      return undefined
    },
    initial: 0,
  },
  SO_ZEROCOPY: {
    set(socket, value) {
      socket.errors.zeroCopy = value !== 0
      return undefined
    },
    initial: 0,
  },
  SO_TIMESTAMPING: {
    set(socket, value) {
      if ((value & ~STAMPS) !== 0) return 'EINVAL'
      socket.errors.stamp(value, socket.connection)
      return undefined
    },
    initial: 0,
  },
  SO_RCVBUF: {
    // Linux doubles what it is told, and gives half of it to the window.
    set(socket, value) {
      const bytes = Math.max(value * 2, RECEIVE_BUFFER_MIN)
      socket.options.set('SO_RCVBUF', bytes)
      options(socket).receiveLimitBytes = bytes >> 1
      options(socket).receiveTuning = false
      if (socket.connection !== undefined) socket.connection.receiveLimitBytes = bytes >> 1
      return undefined
    },
    initial: 131_072,
  },
  SO_SNDBUF: {
    set(socket, value) {
      const bytes = Math.max(value * 2, SEND_BUFFER_MIN)
      socket.options.set('SO_SNDBUF', bytes)
      socket.sendBuffer.setLimit(bytes)
      return undefined
    },
    initial: 16_384,
  },
}

/** Options whose setter keeps its own account of the value. */
const DOUBLED = new Set(['SO_RCVBUF', 'SO_SNDBUF'])

export function isSocketOption(name: string): boolean {
  return Object.hasOwn(OPTIONS, name)
}

/** @returns the error, or undefined */
export function setSocketOption(socket: ScriptSocket, name: string, value: number): string | undefined {
  const error = OPTIONS[name]!.set?.(socket, value)
  socket.accepted.update(socket.connectionOptions)
  if (error === undefined && !DOUBLED.has(name)) socket.options.set(name, value)
  return error
}

export function getSocketOption(socket: ScriptSocket, name: string): number {
  const option = OPTIONS[name]!
  return option.get?.(socket) ?? socket.options.get(name) ?? option.initial ?? 0
}
