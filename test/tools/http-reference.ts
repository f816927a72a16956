/**
 * How the tests drive the HTTP parsers in pieces, and a slow chunked decoder to compare with. A piece is always a copy of its own,
 * so that a parser which looks beyond its piece, or back at the last one, is found out.
 */
import { CHUNKED_DONE, CHUNKED_NEED_MORE, CHUNKED_PIECE, ChunkedDecoder } from '../../tools/kv/http-chunked.ts'
import { findHeadEnd, HeadScan, parseHead } from '../../tools/kv/http-parser.ts'
import { RequestHead } from '../../tools/kv/request-head.ts'

export function latin1(text: string): Uint8Array {
  return new Uint8Array(Buffer.from(text, 'latin1'))
}

function piecesOf(bytes: Uint8Array, cuts: readonly number[]): Uint8Array[] {
  const bounds = [0, ...cuts, bytes.length]
  return bounds.slice(1).map((end, index) => bytes.slice(bounds[index], end))
}

/** Gathers pieces until `findHeadEnd` sees the end, then parses, as the service does. Returns the result and all of the head, as text. */
export function parseInPieces(bytes: Uint8Array, cuts: readonly number[]): string {
  const scan = new HeadScan()
  const gathered = new Uint8Array(bytes.length)
  let length = 0
  for (const piece of piecesOf(bytes, cuts)) {
    const end = findHeadEnd(scan, piece, 0, piece.length)
    const used = end < 0 ? piece.length : end
    gathered.set(piece.subarray(0, used), length)
    length += used
    if (end >= 0) {
      const head = new RequestHead()
      const result = parseHead(gathered, 0, length, head)
      return result === 0 ? `0 ${JSON.stringify(head)}` : `${result} at ${length}`
    }
  }
  return 'no end'
}

export interface Decoded {
  code: number
  data: string
  /** Bytes used when the body had ended; 0 otherwise. */
  consumed: number
}

/** Feeds pieces to the decoder as the service does. */
export function decodeInPieces(bytes: Uint8Array, cuts: readonly number[]): Decoded {
  const decoder = new ChunkedDecoder()
  let data = ''
  let before = 0
  for (const piece of piecesOf(bytes, cuts)) {
    let at = 0
    for (;;) {
      const code = decoder.decode(piece, at, piece.length)
      if (decoder.position < at || decoder.position > piece.length) throw new Error('position out of bounds')
      at = decoder.position
      if (code === CHUNKED_NEED_MORE) break
      if (code !== CHUNKED_PIECE) return { code, data, consumed: code === CHUNKED_DONE ? before + at : 0 }
      if (decoder.pieceLength < 1) throw new Error('empty piece')
      const end = decoder.pieceStart + decoder.pieceLength
      data += Buffer.from(piece.subarray(decoder.pieceStart, end)).toString('latin1')
      if (data.length !== decoder.decodedLength) throw new Error('wrong decodedLength')
    }
    before += piece.length
  }
  return { code: CHUNKED_NEED_MORE, data, consumed: 0 }
}

const SIZE_LINE = /^([0-9A-Fa-f]{1,16})((?:[ \t]*;[\t\x20-\x7e\x80-\xff]*)?)\r\n/
const TRAILER_LINE = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[\t\x20-\x7e\x80-\xff]*\r\n/
const EXTENSION_EXCESS = 16 * 1024
const TRAILER_MAX = 8 * 1024

/** RFC 9112 (7.1) by regular expressions over the whole body. Says NEED_MORE where some continuation would be valid. */
export function decodeSlowly(bytes: Uint8Array): Decoded {
  const text = Buffer.from(bytes).toString('latin1')
  let data = ''
  let at = 0
  let extensions = 0
  for (;;) {
    const rest = text.slice(at)
    const match = SIZE_LINE.exec(rest)
    const bound = sizeLineBound(rest, extensions, data.length)
    if (bound !== 0) return { code: bound, data, consumed: 0 }
    if (match === null) return { code: CHUNKED_NEED_MORE, data, consumed: 0 }
    extensions += match[2]!.length
    const size = Number.parseInt(match[1]!, 16)
    at += match[0].length
    if (size === 0) break
    data += text.slice(at, at + size)
    const crlf = text.slice(at + size, at + size + 2)
    if (!'\r\n'.startsWith(crlf)) return { code: -400, data, consumed: 0 }
    if (crlf.length < 2) return { code: CHUNKED_NEED_MORE, data, consumed: 0 }
    at += size + 2
  }
  const start = at
  for (;;) {
    const rest = text.slice(at)
    const match = /^\r\n/.exec(rest) ?? TRAILER_LINE.exec(rest)
    const used = at - start + (match?.[0].length ?? validPrefix(TRAILER_LINE, rest))
    if (used > TRAILER_MAX) return { code: -431, data, consumed: 0 }
    if (match === null) {
      const incomplete = rest === '\r' || validPrefix(TRAILER_LINE, rest) === rest.length
      return { code: incomplete ? CHUNKED_NEED_MORE : -400, data, consumed: 0 }
    }
    at += match[0].length
    if (match[0] === '\r\n') return { code: CHUNKED_DONE, data, consumed: at }
  }
}

/** The first thing wrong with a size line, in the order of its bytes: 0 if nothing is. */
function sizeLineBound(rest: string, extensions: number, received: number): number {
  const size = /^[0-9A-Fa-f]*/.exec(rest)![0]
  if (size.length > 16) return -400
  if (size.length === rest.length) return 0
  if (size.length === 0) return -400
  if (Number.parseInt(size, 16) + received > Number.MAX_SAFE_INTEGER) return -413
  const extension = /^(?:[ \t]*;[\t\x20-\x7e\x80-\xff]*|[ \t]*)/.exec(rest.slice(size.length))![0]
  const behind = rest.slice(size.length + extension.length)
  if (extensions + extension.length > EXTENSION_EXCESS + received) return -413
  if (extension !== '' && !extension.includes(';')) return behind === '' ? 0 : -400
  return '\r\n'.startsWith(behind.slice(0, 2)) ? 0 : -400
}

/** Length of the longest prefix of `text` that some continuation would make match `line`. */
function validPrefix(line: RegExp, text: string): number {
  for (let length = text.length; length > 0; length--) {
    const prefix = text.slice(0, length)
    if (line.test(`${prefix}x:\r\n`) || line.test(`${prefix}\r\n`) || line.test(`${prefix}\n`)) return length
  }
  return 0
}
