/**
 * What a test does: the JSON document that a client sends in PARAM_EXCHANGE, both ways. Names unknown here are ignored,
 * as iperf3 does; values out of range are refused with iperf3's own error numbers.
 *
 * Called by: session.ts (read), client.ts (write).
 */
import {
  ERROR_BLOCK_BYTES,
  ERROR_BOTH_DIRECTIONS,
  ERROR_DURATION,
  ERROR_OMIT,
  ERROR_RECEIVE_PARAMETERS,
  ERROR_STREAMS,
  ERROR_UNIMPLEMENTED,
  OMIT_SECONDS_MAX,
  SECONDS_MAX,
  STREAMS_MAX,
  TCP_BLOCK_BYTES,
  TCP_BLOCK_BYTES_MAX,
  UDP_BLOCK_BYTES_MAX,
  UDP_BLOCK_BYTES_MIN,
} from './protocol.ts'

export interface TestParameters {
  readonly protocol: 'tcp' | 'udp'
  /** 0: the test ends by `bytes`, or when the client says so. */
  readonly seconds: number
  readonly omitSeconds: number
  /** 0: the test ends by `seconds`. */
  readonly bytes: number
  /** Streams each way. */
  readonly parallel: number
  readonly reverse: boolean
  readonly bidirectional: boolean
  /** Bytes of a write, or of a datagram. */
  readonly blockBytes: number
  /** Of each stream; 0: as fast as it goes. */
  readonly bitsPerSecond: number
  readonly noDelay: boolean
  /** Datagrams carry 64-bit numbers. */
  readonly wideNumbers: boolean
  /** The client wants the server's report as text. */
  readonly serverOutput: boolean
}

/** The parameters, or the error number to answer with. @param defaultDatagramBytes for a client that says no length */
export function readParameters(json: string, defaultDatagramBytes: number): TestParameters | number {
  const document = parseObject(json)
  if (document === undefined) return ERROR_RECEIVE_PARAMETERS
  const isUdp = document.udp === true
  if (!isUdp && document.tcp !== true) return ERROR_UNIMPLEMENTED
  const number = (name: string, absent = 0): number => {
    const value = document[name] ?? absent
    return typeof value === 'number' && value >= 0 ? value : Number.NaN
  }
  const blockBytes = number('len', isUdp ? defaultDatagramBytes : TCP_BLOCK_BYTES)
  const parameters: TestParameters = {
    protocol: isUdp ? 'udp' : 'tcp',
    seconds: number('time'),
    omitSeconds: number('omit'),
    bytes: document.num === undefined || document.num === 0 ? number('blockcount') * blockBytes : number('num'),
    parallel: number('parallel', 1),
    reverse: document.reverse === true,
    bidirectional: document.bidirectional === true,
    blockBytes,
    bitsPerSecond: number('bandwidth'),
    noDelay: document.nodelay === true,
    wideNumbers: document.udp_counters_64bit === 1 || document.udp_counters_64bit === true,
    serverOutput: document.get_server_output === 1 || document.get_server_output === true,
  }
  return checkParameters(parameters) ?? parameters
}

/** The error number of what is out of range, undefined if nothing is. */
export function checkParameters(p: TestParameters): number | undefined {
  if (!(p.seconds <= SECONDS_MAX)) return ERROR_DURATION
  if (!(p.omitSeconds <= OMIT_SECONDS_MAX)) return ERROR_OMIT
  if (!(Number.isInteger(p.parallel) && p.parallel >= 1 && p.parallel <= STREAMS_MAX)) return ERROR_STREAMS
  if (p.reverse && p.bidirectional) return ERROR_BOTH_DIRECTIONS
  const [least, most] = p.protocol === 'udp' ? [UDP_BLOCK_BYTES_MIN, UDP_BLOCK_BYTES_MAX] : [1, TCP_BLOCK_BYTES_MAX]
  if (!(Number.isInteger(p.blockBytes) && p.blockBytes >= least && p.blockBytes <= most)) return ERROR_BLOCK_BYTES
  if (Number.isNaN(p.bytes) || Number.isNaN(p.bitsPerSecond)) return ERROR_RECEIVE_PARAMETERS
  return undefined
}

/** The document for the server. */
export function writeParameters(p: TestParameters, version: string): string {
  return JSON.stringify({
    [p.protocol]: true,
    omit: p.omitSeconds,
    time: p.seconds,
    num: p.bytes,
    blockcount: 0,
    parallel: p.parallel,
    ...(p.reverse && { reverse: true }),
    ...(p.bidirectional && { bidirectional: true }),
    len: p.blockBytes,
    bandwidth: p.bitsPerSecond,
    pacing_timer: 1000,
    ...(p.noDelay && { nodelay: true }),
    ...(p.wideNumbers && { udp_counters_64bit: 1 }),
    ...(p.serverOutput && { get_server_output: 1 }),
    client_version: version,
  })
}

/** An object, or undefined. */
export function parseObject(json: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(json)
    return typeof value === 'object' && value !== null && !Array.isArray(value)
      ? (value as Record<string, unknown>)
      : undefined
  } catch {
    return undefined
  }
}
