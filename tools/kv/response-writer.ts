/**
 * Writes response heads (and short bodies) into a buffer of the region, from where they are sent. Nothing is
 * allocated: constant parts are byte templates, numbers are written digit by digit, the Date field is made once a second.
 *
 * Called by: the service. Calls: the pool.
 *
 *   begin(status) ─► field…() ─► end()            head only
 *                 └► field…() ─► body(text) ─► end()
 */
import { sumBytes } from '../../storage/checksum.ts'
import { BUFFER_BYTES, NO_BUFFER, NO_FRAME, NO_META } from '../../storage/layout.ts'
import type { Pool } from '../../storage/pool.ts'
import { writeDecimal, writeDecimal64 } from './decimal.ts'
import { HTTP_DATE_BYTES, writeHttpDate } from './http-date.ts'

const REASONS: Readonly<Record<number, string>> = {
  100: 'Continue',
  200: 'OK',
  201: 'Created',
  204: 'No Content',
  206: 'Partial Content',
  304: 'Not Modified',
  400: 'Bad Request',
  404: 'Not Found',
  405: 'Method Not Allowed',
  410: 'Gone',
  411: 'Length Required',
  412: 'Precondition Failed',
  413: 'Content Too Large',
  414: 'URI Too Long',
  416: 'Range Not Satisfiable',
  417: 'Expectation Failed',
  431: 'Request Header Fields Too Large',
  500: 'Internal Server Error',
  501: 'Not Implemented',
  503: 'Service Unavailable',
  505: 'HTTP Version Not Supported',
  507: 'Insufficient Storage',
}

const bytesOf = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, 'latin1'))

const CRLF = bytesOf('\r\n')
const DATE = bytesOf('Date: ')
const ETAG = bytesOf('ETag: "')
const QUOTE_CRLF = bytesOf('"\r\n')
const LAST_MODIFIED = bytesOf('Last-Modified: ')
const ARRIVAL = bytesOf('Packrat-Arrival: ')
const HARDWARE_TIME = bytesOf('Packrat-Arrival-Clock: hardware\r\n')
const CONTENT_LENGTH = bytesOf('Content-Length: ')
const CONTENT_RANGE = bytesOf('Content-Range: bytes ')
const UNSATISFIED_RANGE = bytesOf('Content-Range: bytes */')
const DASH = bytesOf('-')
const SLASH = bytesOf('/')
const OCTETS = bytesOf('Content-Type: application/octet-stream\r\nAccept-Ranges: bytes\r\n')
const CLOSE = bytesOf('Connection: close\r\n')
const KEEP_ALIVE = bytesOf('Connection: keep-alive\r\n')

export class ResponseWriter {
  private readonly pool: Pool
  private readonly statusLines = new Map<number, Uint8Array>()
  private readonly date = new Uint8Array(DATE.length + HTTP_DATE_BYTES + CRLF.length)
  private dateSeconds = -1
  private buffer = NO_BUFFER
  private bytes: Uint8Array
  private start = 0
  private at = 0

  constructor(pool: Pool) {
    this.pool = pool
    this.bytes = pool.bytes[0]!
    for (const [status, reason] of Object.entries(REASONS)) {
      this.statusLines.set(Number(status), bytesOf(`HTTP/1.1 ${status} ${reason}\r\n`))
    }
    this.date.set(DATE)
    this.date.set(CRLF, DATE.length + HTTP_DATE_BYTES)
  }

  /** Seconds since the epoch; makes the Date field of the responses that follow. */
  setTime(seconds: number): void {
    if (seconds === this.dateSeconds) return
    this.dateSeconds = seconds
    writeHttpDate(this.date, DATE.length, seconds)
  }

  get seconds(): number {
    return this.dateSeconds
  }

  /** Starts a response in a buffer of its own. False if there is none. */
  begin(status: number): boolean {
    const buffer = this.pool.allocateBuffer()
    if (buffer === NO_BUFFER) return false
    this.buffer = buffer
    this.bytes = this.pool.bufferBytes(buffer)
    this.start = this.pool.bufferStart(buffer)
    this.at = this.start
    this.raw(this.statusLines.get(status)!)
    if (status !== 100) this.raw(this.date)
    return true
  }

  etag(high: number, low: number): void {
    this.raw(ETAG)
    this.at = writeDecimal64(this.bytes, this.at, high, low)
    this.raw(QUOTE_CRLF)
  }

  /** Both faces of the arrival time: RFC 9110's, in seconds, and ours, in ns. */
  arrival(high: number, low: number, seconds: number): void {
    this.raw(LAST_MODIFIED)
    this.at = writeHttpDate(this.bytes, this.at, seconds)
    this.raw(CRLF)
    this.raw(ARRIVAL)
    this.at = writeDecimal64(this.bytes, this.at, high, low)
    this.raw(CRLF)
  }

  /** The arrival is what the network interface's own clock said. */
  hardwareTime(): void {
    this.raw(HARDWARE_TIME)
  }

  contentLength(length: number): void {
    this.raw(CONTENT_LENGTH)
    this.decimal(length)
    this.raw(CRLF)
  }

  contentRange(first: number, last: number, size: number): void {
    this.raw(CONTENT_RANGE)
    this.decimal(first)
    this.raw(DASH)
    this.decimal(last)
    this.raw(SLASH)
    this.decimal(size)
    this.raw(CRLF)
  }

  unsatisfiedRange(size: number): void {
    this.raw(UNSATISFIED_RANGE)
    this.decimal(size)
    this.raw(CRLF)
  }

  octets(): void {
    this.raw(OCTETS)
  }

  /** What the connection does behind this response; nothing has to be said when it goes on in HTTP/1.1. */
  connection(close: boolean, announceKeepAlive: boolean): void {
    if (close) this.raw(CLOSE)
    else if (announceKeepAlive) this.raw(KEEP_ALIVE)
  }

  /** Whole field lines, each with its CRLF. */
  raw(text: Uint8Array): void {
    const bytes = this.bytes
    let at = this.at
    for (let i = 0; i < text.length; i++) bytes[at++] = text[i]!
    this.at = at
  }

  /** Ends the head. */
  endHead(): void {
    this.raw(CRLF)
  }

  /** How many body bytes fit behind the head. */
  get room(): number {
    return this.start + BUFFER_BYTES - this.at
  }

  /** The finished line, the caller's to send; NO_META (and nothing kept) if no line is free. */
  finish(): number {
    const { pool, buffer } = this
    this.buffer = NO_BUFFER
    const length = this.at - this.start
    const meta = pool.createView(
      buffer,
      0,
      length,
      sumBytes(pool.bufferView(buffer), this.start, length) | (NO_FRAME << 16),
    )
    if (meta === NO_META) pool.releaseBuffer(buffer)
    return meta
  }

  private decimal(value: number): void {
    this.at = writeDecimal(this.bytes, this.at, value)
  }
}

/** A chain of lines with a copy of `bytes`; NO_META if it does not fit the pool. For pages, listings and errors. */
export function chainOf(pool: Pool, bytes: Uint8Array): number {
  let head = NO_META
  let tail = NO_META
  for (let at = 0; at < bytes.length; at += BUFFER_BYTES) {
    const buffer = pool.allocateBuffer()
    const meta = buffer === NO_BUFFER ? NO_META : fillView(pool, buffer, bytes.subarray(at, at + BUFFER_BYTES))
    if (meta === NO_META) {
      if (buffer !== NO_BUFFER) pool.releaseBuffer(buffer)
      pool.releaseChain(head)
      return NO_META
    }
    if (head === NO_META) head = meta
    else pool.setNext(tail, meta)
    tail = meta
  }
  return head
}

function fillView(pool: Pool, buffer: number, bytes: Uint8Array): number {
  const start = pool.bufferStart(buffer)
  pool.bufferBytes(buffer).set(bytes, start)
  return pool.createView(
    buffer,
    0,
    bytes.length,
    sumBytes(pool.bufferView(buffer), start, bytes.length) | (NO_FRAME << 16),
  )
}
