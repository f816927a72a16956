/**
 * Errors as node:net and node:dgram give them: the system's own names, so that http, tls, undici and whoever catches
 * by `code` need not know which stack is below.
 *
 * Called by: socket.ts, server.ts, datagram.ts.
 */
import { constants } from 'node:os'
import { CLOSE_ABORTED, CLOSE_REFUSED, CLOSE_RESET, CLOSE_TIMEOUT, CLOSE_UNREACHABLE } from '../tcp/application.ts'

type SystemErrorCode = keyof typeof constants.errno

/** `connect ECONNREFUSED 10.0.0.1:80`, with errno, code, syscall, and address and port where they are known. */
export function systemError(
  code: SystemErrorCode,
  syscall: string,
  address?: string,
  port?: number,
): NodeJS.ErrnoException {
  const where = address === undefined ? '' : ` ${address}:${port}`
  return Object.assign(new Error(`${syscall} ${code}${where}`), {
    errno: -constants.errno[code],
    code,
    syscall,
    ...(address !== undefined && { address, port }),
  })
}

/** What dns.lookup says of a name that it does not know. */
export function hostNotFound(hostname: string): NodeJS.ErrnoException {
  const error = new Error(`getaddrinfo ENOTFOUND ${hostname}`)
  return Object.assign(error, { code: 'ENOTFOUND', syscall: 'getaddrinfo', hostname })
}

/** An error of node's own, ERR_…. */
export function nodeError(code: string, message: string): NodeJS.ErrnoException {
  return Object.assign(new Error(message), { code })
}

/** Why a connection is gone, by its CLOSE_ reason; CLOSE_ORDERLY is none. */
export function closeErrorCode(reason: number): SystemErrorCode {
  switch (reason) {
    case CLOSE_RESET:
      return 'ECONNRESET'
    case CLOSE_TIMEOUT:
      return 'ETIMEDOUT'
    case CLOSE_REFUSED:
      return 'ECONNREFUSED'
    case CLOSE_UNREACHABLE:
      return 'EHOSTUNREACH'
    case CLOSE_ABORTED: // the host was closed: no socket aborts its connection and listens on
      return 'ECONNABORTED'
    default:
      throw new RangeError(`reason ${reason} is no error`)
  }
}

/** Throws ERR_SOCKET_BAD_PORT unless `port` is a port number; 0 stands for any. */
export function requirePort(port: unknown, minimum: 0 | 1): number {
  const number = typeof port === 'string' && port.trim() !== '' ? Number(port) : port
  if (typeof number === 'number' && Number.isInteger(number) && number >= minimum && number <= 65_535) return number
  throw Object.assign(new RangeError(`Port should be >= ${minimum} and < 65536. Received ${String(port)}.`), {
    code: 'ERR_SOCKET_BAD_PORT',
  })
}
