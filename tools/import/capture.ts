/**
 * Importing a capture that `packrat export` wrote: the frames go back into buffers, whole, and the values are again
 * views of them. The comments beside the packets say what lies where (docs/export.md).
 *
 *   packets ─► comments ─► records, each a list of pieces ─► checked for completeness
 *   records in order of version ─► frames into buffers, once each ─► lines ─► staged and committed
 *
 * Everything is checked before the first record is written, so a capture that is damaged or cut changes nothing.
 *
 * Called by: tools/import/command.ts.
 */
import { type CapturedPacket, PcapngReader } from '../../drivers/pcapng-reader.ts'
import { ETHERNET_HEADER_BYTES } from '../../stack/wire/ethernet.ts'
import { ARRIVAL_END_NS, adoptHead, setArrival } from '../../storage/entry.ts'
import { PackratError } from '../../storage/errors.ts'
import { BUFFER_BYTES, KEY_LENGTH_MAX, NO_BUFFER, NO_FRAME, NO_META } from '../../storage/layout.ts'
import type { Pool } from '../../storage/pool.ts'
import type { Region } from '../../storage/region.ts'
import type { Store } from '../../storage/store.ts'
import { percentDecode } from '../kv/key-codec.ts'
import type { Progress } from './progress.ts'

const VIEW = /^packrat key=(\S*) version=(\d+)(?: size=(\d+) key-at=(\d+)\+(\d+))? value=(\d+)\+(\d+) at=(\d+)$/
const NO_FRAME_REMARK = 'packrat no-frame'

interface Piece {
  readonly packet: CapturedPacket
  /** Which bytes of the value, and where they lie in the frame. */
  readonly from: number
  readonly length: number
  readonly at: number
  /** The packet is a frame that export made around copied bytes. */
  readonly isCopy: boolean
  /** It lies behind the first buffer of a long frame: in one of its own. */
  readonly isBehind: boolean
}

interface RecordPieces {
  readonly key: Uint8Array
  readonly version: bigint
  size: number | undefined
  keyAt: number
  readonly pieces: Piece[]
}

/** A frame that is in the region already because other records have pieces in it, too. */
interface PlacedFrame {
  readonly buffer: number
  /** Offset in the buffer of the frame's first byte; negative by the header of a synthesised one. */
  readonly origin: number
  readonly isFrame: boolean
  left: number
}

export class CaptureImport {
  private readonly reader: PcapngReader
  private readonly path: string
  private readonly records: RecordPieces[]
  /** Pieces of each packet that are not placed yet. */
  private readonly uses = new Map<number, number>()
  private readonly placed = new Map<number, PlacedFrame>()

  /** Reads and checks the capture. @throws PackratError CAPTURE */
  constructor(path: string) {
    this.path = path
    this.reader = new PcapngReader(path)
    try {
      this.records = this.collect()
    } catch (error) {
      this.reader.close()
      throw error
    }
  }

  close(): void {
    this.reader.close()
  }

  /** Writes every record, oldest version first. @throws FullError: what `progress` counts is stored */
  async write(store: Store, region: Region, progress: Progress): Promise<void> {
    for (const record of this.records) {
      await progress.makeRoom(record.pieces.length + 1)
      const { head, tail } = this.place(store, region, record)
      store.stagePut(head, tail)
      await progress.staged()
    }
    await progress.finish()
  }

  private collect(): RecordPieces[] {
    const records = new Map<string, RecordPieces>()
    for (const packet of this.reader.packets()) {
      if (packet.timeNs >= ARRIVAL_END_NS) throw this.fault(packet, 'has a time that no packet can have')
      const lines = packet.comments.flatMap((comment) => comment.split('\n'))
      const views = lines.filter((line) => !line.startsWith(NO_FRAME_REMARK))
      if (views.length === 0)
        throw this.fault(packet, "has no comment of packrat export's: only such captures are imported")
      const isCopy = views.length < lines.length
      if (isCopy && packet.length > BUFFER_BYTES + ETHERNET_HEADER_BYTES)
        throw this.fault(packet, `is longer than a buffer (${BUFFER_BYTES} bytes)`)
      for (const view of views) this.addView(records, packet, view, isCopy)
    }
    const sorted = [...records.values()].sort((a, b) => (a.version < b.version ? -1 : a.version > b.version ? 1 : 0))
    for (const record of sorted) this.checkComplete(record)
    return sorted
  }

  private addView(records: Map<string, RecordPieces>, packet: CapturedPacket, line: string, isCopy: boolean): void {
    const found = VIEW.exec(line)
    const encoded = new Uint8Array(Buffer.from(found?.[1] ?? ''))
    const keyLength = percentDecode(encoded, 0, encoded.length, encoded, 0)
    if (found === null || keyLength < 1 || keyLength > KEY_LENGTH_MAX)
      throw this.fault(packet, `has a comment that is none of packrat export's: ${line.slice(0, 100)}`)
    const [, name, version, size, keyAt, keyBytes, from, length, at] = found
    const [start, bytes] = [Number(at), Number(length)]
    const isBehind = !isCopy && start + bytes > BUFFER_BYTES
    if (bytes > BUFFER_BYTES)
      throw this.fault(packet, `has a piece that is longer than a buffer (${BUFFER_BYTES} bytes)`)
    const piece = { packet, from: Number(from), length: bytes, at: start, isCopy, isBehind }
    if (!isBehind) this.uses.set(packet.number, (this.uses.get(packet.number) ?? 0) + 1)
    const end = Math.max(piece.at + piece.length, Number(keyAt ?? 0) + Number(keyBytes ?? 0))
    if (end > packet.length) throw this.fault(packet, 'is shorter than its comment says')
    const first = Math.min(piece.at, Number(keyAt ?? piece.at))
    if (isCopy && first < ETHERNET_HEADER_BYTES) throw this.fault(packet, 'has a piece in the header that export made')
    if (size !== undefined && !isCopy && end > BUFFER_BYTES)
      throw this.fault(packet, 'has a key, or the piece beside it, that is not in its first buffer')
    const id = `${version} ${name}`
    let record = records.get(id)
    if (record === undefined) {
      record = { key: encoded.slice(0, keyLength), version: BigInt(version!), size: undefined, keyAt: 0, pieces: [] }
      records.set(id, record)
    }
    record.pieces.push(piece)
    if (size === undefined) return
    if (Number(keyBytes) !== keyLength || record.size !== undefined)
      throw this.fault(packet, 'contradicts itself, or another packet, about a key')
    record.size = Number(size)
    record.keyAt = Number(keyAt)
    record.pieces.unshift(record.pieces.pop()!)
  }

  /** The first piece has the key, and the pieces are the whole value, each byte once. */
  private checkComplete(record: RecordPieces): void {
    const [first, ...others] = record.pieces
    others.sort((a, b) => a.from - b.from)
    let end = first!.from
    for (const { from, length } of [first!, ...others]) {
      if (from !== end) break
      end += length
    }
    if (record.size === undefined || first!.from !== 0 || end !== record.size) {
      const key = Buffer.from(record.key).toString()
      throw new PackratError(
        'CAPTURE',
        `${this.path}: of key ${key}, version ${record.version}, not every piece is there; export it anew`,
      )
    }
    record.pieces.splice(1, others.length, ...others)
  }

  private place(store: Store, region: Region, record: RecordPieces): { head: number; tail: number } {
    const { pool } = store
    let head = NO_META
    let tail = NO_META
    for (const piece of record.pieces) {
      const frame = piece.isBehind ? this.placeBehind(store, piece) : this.frameOf(store, piece)
      const offset = frame.origin + piece.at
      const sum = region.sumView(frame.buffer, offset, piece.length)
      pool.retainBuffer(frame.buffer) // the line's own
      const frameWord = frame.isFrame ? 0 : NO_FRAME << 16 // the frame begins with its buffer
      const meta = pool.createView(frame.buffer, offset, piece.length, sum | frameWord)
      setArrival(pool, meta, piece.packet.timeNs)
      if (head === NO_META) {
        head = meta
        adoptHead(pool, head, frame.origin + record.keyAt, record.key.length)
      } else store.appendFragment(head, tail, meta)
      tail = meta
      if (--frame.left === 0) {
        if (!piece.isBehind) this.placed.delete(piece.packet.number)
        pool.releaseBuffer(frame.buffer)
      }
    }
    return { head, tail }
  }

  private frameOf(store: Store, { packet, isCopy }: Piece): PlacedFrame {
    const present = this.placed.get(packet.number)
    if (present !== undefined) return present
    const { pool } = store
    const bytes = this.reader.read(packet)
    const skipped = isCopy ? ETHERNET_HEADER_BYTES : 0
    const buffer = fillBuffer(pool, bytes.subarray(skipped, skipped + BUFFER_BYTES))
    const frame = { buffer, origin: -skipped, isFrame: !isCopy, left: this.uses.get(packet.number)! }
    this.placed.set(packet.number, frame)
    return frame
  }

  /** A further buffer of a long frame: the piece, and nothing else. */
  private placeBehind(store: Store, { packet, at, length }: Piece): PlacedFrame {
    const bytes = this.reader.read(packet).subarray(at, at + length)
    return { buffer: fillBuffer(store.pool, bytes), origin: -at, isFrame: false, left: 1 }
  }

  private fault(packet: CapturedPacket, what: string): PackratError {
    return new PackratError('CAPTURE', `${this.path}: packet ${packet.number} ${what}`)
  }
}

/** A buffer of its own for bytes that fit it. */
function fillBuffer(pool: Pool, bytes: Uint8Array): number {
  const buffer = pool.allocateBuffer()
  if (buffer === NO_BUFFER) throw new PackratError('FULL', 'no buffer left') // makeRoom comes first
  pool.bufferBytes(buffer).set(bytes, pool.bufferStart(buffer))
  return buffer
}
