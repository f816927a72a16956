/** Numbers of errors (Linux), for SO_ERROR. */
export const ERROR_NUMBERS: ReadonlyMap<string, number> = new Map([
  ['', 0],
  ['EPIPE', 32],
  ['ENOMSG', 42],
  ['ENETUNREACH', 101],
  ['ECONNABORTED', 103],
  ['ECONNRESET', 104],
  ['ETIMEDOUT', 110],
  ['ECONNREFUSED', 111],
  ['EHOSTUNREACH', 113],
])
