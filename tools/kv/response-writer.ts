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

/** Text that `raw` writes: a DataView, because that is copied four bytes at a time. */
export function textOf(text: string): DataView {
  return new DataView(Uint8Array.from(text, (character) => character.charCodeAt(0)).buffer)
}

const CRLF = textOf('\r\n')
const ETAG = textOf('ETag: "')
const QUOTE_CRLF = textOf('"\r\n')
const LAST_MODIFIED = textOf('Last-Modified: ')
const ARRIVAL = textOf('Packrat-Arrival: ')
const HARDWARE_TIME = textOf('Packrat-Arrival-Clock: hardware\r\n')
const CONTENT_LENGTH = textOf('Content-Length: ')
const CONTENT_RANGE = textOf('Content-Range: bytes ')
const UNSATISFIED_RANGE = textOf('Content-Range: bytes */')
const DASH = textOf('-')
const SLASH = textOf('/')
const OCTETS = textOf('Content-Type: application/octet-stream\r\nAccept-Ranges: bytes\r\n')
const CLOSE = textOf('Connection: close\r\n')
const KEEP_ALIVE = textOf('Connection: keep-alive\r\n')

export class ResponseWriter {
  private readonly pool: Pool
  private readonly statusLines = new Map<number, DataView>()
  private readonly date = textOf(`Date: ${' '.repeat(HTTP_DATE_BYTES)}\r\n`)
  private readonly dateBytes = new Uint8Array(this.date.buffer)
  private dateSeconds = -1
  private buffer = NO_BUFFER
  private bytes: Uint8Array
  private view: DataView
  private start = 0
  private at = 0

  constructor(pool: Pool) {
    this.pool = pool
    this.bytes = pool.bytes[0]!
    this.view = pool.views[0]!
    for (const [status, reason] of Object.entries(REASONS)) {
      this.statusLines.set(Number(status), textOf(`HTTP/1.1 ${status} ${reason}\r\n`))
    }
  }

  /** Seconds since the epoch; makes the Date field of the responses that follow. */
  setTime(seconds: number): void {
    if (seconds === this.dateSeconds) return
    this.dateSeconds = seconds
    writeHttpDate(this.dateBytes, 'Date: '.length, seconds)
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
    this.view = this.pool.bufferView(buffer)
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
  raw(text: DataView): void {
    const { view, at } = this
    const length = text.byteLength
    let i = 0
    for (; i + 4 <= length; i += 4) view.setInt32(at + i, text.getInt32(i))
    for (; i < length; i++) view.setUint8(at + i, text.getUint8(i))
    this.at = at + length
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
