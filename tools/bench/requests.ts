/**
 * The requests of memory-client.ts as chains of lines. While there are few keys each request was written once and is
 * sent as clones, so that the client costs as little as it can; of many keys each request is written when it is sent.
 *
 *   PUT   [head, first piece of the value] ─► piece ─► piece …     one segment each; the pieces belong to all keys
 *   GET   [head]
 */
import { sumBytes } from '../../storage/checksum.ts'
import { NO_BUFFER, NO_FRAME, NO_META } from '../../storage/layout.ts'
import type { Pool } from '../../storage/pool.ts'
import { chainOf } from '../kv/response-writer.ts'

/** Above this no request is kept. */
export const KEYS_KEPT_MAX = 3000
/** What fits a segment: MTU 1500, less 40 bytes of headers and 12 of timestamps. */
export const SEGMENT_BYTES = 1448
const KEY_PREFIX = 'bench-'
const KEY_DIGITS = 8
export const KEY_BYTES = KEY_PREFIX.length + KEY_DIGITS
const PATH = '/kv/'

/** Writes the key of that number. */
export function writeKey(bytes: Uint8Array, start: number, number: number): void {
  for (let i = 0; i < KEY_PREFIX.length; i++) bytes[start + i] = KEY_PREFIX.charCodeAt(i)
  writeDigits(bytes, start + KEY_PREFIX.length, number)
}

function writeDigits(bytes: Uint8Array, start: number, number: number): void {
  let left = number
  for (let i = KEY_DIGITS - 1; i >= 0; i--) {
    bytes[start + i] = 48 + (left % 10)
    left = Math.floor(left / 10)
  }
}

export class Requests {
  private readonly pool: Pool
  private readonly put: Template
  private readonly get: Template
  /** What of a value is in no template, in lines that all PUTs clone. */
  private readonly pieces: number

  constructor(pool: Pool, options: { host: string; keys: number; valueBytes: number }) {
    const { host, keys, valueBytes } = options
    this.pool = pool
    const value = Buffer.alloc(valueBytes, 'packrat ')
    const head = Buffer.from(requestHead('PUT', host, `Content-Length: ${valueBytes}\r\n`))
    const first = Math.min(valueBytes, SEGMENT_BYTES - head.length)
    this.put = new Template(pool, Buffer.concat([head, value.subarray(0, first)]), 'PUT', keys)
    this.get = new Template(pool, Buffer.from(requestHead('GET', host, '')), 'GET', keys)
    let [pieces, tail] = [NO_META, NO_META]
    for (let at = first; at < valueBytes; at += SEGMENT_BYTES) {
      const piece = chainOf(pool, value.subarray(at, at + SEGMENT_BYTES))
      if (pieces === NO_META) pieces = piece
      else pool.setNext(tail, piece)
      tail = piece
    }
    this.pieces = pieces
  }

  /** A request for that key, the caller's to send. */
  make(key: number, isRead: boolean): number {
    if (isRead) return this.get.make(key)
    const { pool } = this
    const head = this.put.make(key)
    let tail = head
    for (let piece = this.pieces; piece !== NO_META; piece = pool.next(piece)) {
      const copy = pool.clone(piece)
      pool.setNext(tail, copy)
      tail = copy
    }
    return head
  }
}

function requestHead(method: string, host: string, fields: string): string {
  return `${method} ${PATH}${KEY_PREFIX}${'0'.repeat(KEY_DIGITS)} HTTP/1.1\r\nHost: ${host}\r\n${fields}\r\n`
}

/** A request of one line, but for its key. */
class Template {
  private readonly pool: Pool
  private readonly bytes: Uint8Array
  private readonly digitsOffset: number
  /** One a key; empty where there are too many. */
  private readonly kept: number[]

  constructor(pool: Pool, bytes: Uint8Array, method: string, keys: number) {
    this.pool = pool
    this.bytes = bytes
    this.digitsOffset = `${method} ${PATH}${KEY_PREFIX}`.length
    this.kept = keys > KEYS_KEPT_MAX ? [] : Array.from({ length: keys }, (_, key) => this.write(key))
  }

  make(key: number): number {
    return this.kept.length > 0 ? this.pool.clone(this.kept[key]!) : this.write(key)
  }

  private write(key: number): number {
    const { pool, bytes } = this
    const buffer = pool.allocateBuffer()
    if (buffer === NO_BUFFER) throw new Error("the client's buffers are used up")
    const start = pool.bufferStart(buffer)
    const target = pool.bufferBytes(buffer)
    target.set(bytes, start)
    writeDigits(target, start + this.digitsOffset, key)
    return pool.createView(
      buffer,
      0,
      bytes.length,
      sumBytes(pool.bufferView(buffer), start, bytes.length) | (NO_FRAME << 16),
    )
  }
}
