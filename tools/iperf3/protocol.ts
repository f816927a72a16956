/**
 * iperf3's protocol as numbers, as iperf 3.12 to 3.21 speak it (docs/iperf3.md has the picture). Shared by the server and
 * the client.
 */

export const IPERF_PORT = 5201

/** 36 characters of a-z and 2-7, and a NUL: names the test, on its control connection and on each of its streams. */
export const COOKIE_BYTES = 37
export const COOKIE_ALPHABET = 'abcdefghijklmnopqrstuvwxyz234567'

/* States, one signed byte each on the control connection. */
export const TEST_START = 1
export const TEST_RUNNING = 2
export const TEST_END = 4
export const PARAM_EXCHANGE = 9
export const CREATE_STREAMS = 10
export const SERVER_TERMINATE = 11
export const CLIENT_TERMINATE = 12
export const EXCHANGE_RESULTS = 13
export const DISPLAY_RESULTS = 14
export const IPERF_DONE = 16
export const ACCESS_DENIED = -1
/** Two int32 follow, big-endian: iperf's own error number, and errno. */
export const SERVER_ERROR = -2

/* iperf's error numbers, as far as they are said here; what they mean is in `errorText`. */
export const ERROR_DURATION = 5
export const ERROR_STREAMS = 6
export const ERROR_BLOCK_BYTES = 7
export const ERROR_OMIT = 12
export const ERROR_UNIMPLEMENTED = 13
export const ERROR_BOTH_DIRECTIONS = 25
export const ERROR_RECEIVE_PARAMETERS = 114
export const ERROR_RECEIVE_RESULTS = 117
export const ERROR_LISTEN_STREAMS = 202

/* Bounds of a test; those of iperf3 (iperf.h). */
export const STREAMS_MAX = 128
export const SECONDS_MAX = 86_400
export const OMIT_SECONDS_MAX = 600
export const TCP_BLOCK_BYTES_MAX = 1 << 20
export const TCP_BLOCK_BYTES = 128 << 10
export const UDP_BLOCK_BYTES_MIN = 16
export const UDP_BLOCK_BYTES_MAX = 65_507
/** Of UDP, unless the user says otherwise; TCP goes as fast as it can. */
export const UDP_BITS_PER_SECOND = 1 << 20

/** What a JSON document on the control connection may have: parameters (iperf3 has the same bound), and results of 128 streams. */
export const PARAMETERS_BYTES_MAX = 8 << 10
export const RESULTS_BYTES_MAX = 256 << 10

/** How a client of UDP makes itself known, from the port of a stream, and how the server answers. */
export const UDP_HELLO = Uint8Array.of(0x39, 0x38, 0x37, 0x36)
export const UDP_ANSWER = Uint8Array.of(0x36, 0x37, 0x38, 0x39)

/** Number of the stream that was accepted as `index`th, from 0: 1, 3, 4, 5, … for historic reasons. */
export function streamId(index: number): number {
  return index === 0 ? 1 : index + 2
}

const ERROR_TEXTS: ReadonlyMap<number, string> = new Map([
  [ERROR_DURATION, `the test is too long: at most ${SECONDS_MAX} s`],
  [ERROR_STREAMS, `too many streams: at most ${STREAMS_MAX}`],
  [ERROR_BLOCK_BYTES, 'the block size is out of range'],
  [ERROR_OMIT, `the time to omit is too long: at most ${OMIT_SECONDS_MAX} s`],
  [ERROR_UNIMPLEMENTED, 'the protocol asked for is not there: TCP and UDP are'],
  [ERROR_BOTH_DIRECTIONS, 'a test cannot be reverse and bidirectional'],
  [ERROR_RECEIVE_PARAMETERS, 'the parameters could not be read'],
  [ERROR_RECEIVE_RESULTS, 'the results could not be read'],
  [ERROR_LISTEN_STREAMS, 'the streams cannot be accepted'],
])

/** What went wrong on the other side. */
export function errorText(error: number): string {
  return ERROR_TEXTS.get(error) ?? `error ${error} of iperf3`
}
