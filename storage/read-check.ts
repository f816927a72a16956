/**
 * What may be served: the payload of each entry is checked once before its first byte leaves, and entries that are known to
 * be damaged are refused.
 *
 *   verified[head]   1: written from memory, or checked since recovery; 0: to be checked, or damaged (corruptHeads)
 *
 * Called by: store.ts, which keeps it told of entries that end; verification.ts, entry-check.ts, scrub.ts, packing.ts.
 */
import { sumsEqual } from './checksum.ts'
import { NO_META, W_PAYLOAD_CRC, W_PAYLOAD_CRC_COMPLEMENT } from './layout.ts'
import type { Persistence } from './persistence.ts'
import type { Pool } from './pool.ts'
import type { Reclamation } from './reclamation.ts'

export class ReadCheck {
  /** Why `find` may return an entry that must not be served: heads that recovery or the scrubber found damaged. */
  readonly corruptHeads = new Set<number>()
  /** Reads refused because bytes failed their check. */
  corruptReads = 0
  /** Payload bytes read to check them before they were served: each entry once since it was recovered. */
  payloadBytesVerified = 0

  private readonly persistence: Persistence
  private readonly pool: Pool
  /** By line index. */
  private readonly verified: Uint8Array
  private readonly reclamation: Reclamation

  constructor(persistence: Persistence, verified: Uint8Array, reclamation: Reclamation) {
    this.persistence = persistence
    this.pool = persistence.pool
    this.verified = verified
    this.reclamation = reclamation
  }

  /**
   * Checks an entry's payload, unless it is known to be right since it was written or last checked.
   * @returns NO_META if every byte may be served, else the line whose check fails
   */
  verify(head: number): number {
    if (this.verified[head] === 1) return NO_META
    if (this.isMarkedCorrupt(head)) return this.refuse(head)
    for (let meta = head; meta !== NO_META; meta = this.pool.next(meta)) {
      this.payloadBytesVerified += this.pool.dataLength(meta)
      if (!this.verifyLine(meta)) return this.refuse(meta)
    }
    this.verified[head] = 1
    return NO_META
  }

  /** Checks the bytes of one view against its sum, and against its CRC32C where there is one. */
  verifyLine(meta: number): boolean {
    const { pool, persistence } = this
    const buffer = pool.buffer(meta)
    const offset = pool.dataOffset(meta)
    const length = pool.dataLength(meta)
    if (!sumsEqual(persistence.sumView(buffer, offset, length), pool.sum(meta))) return false
    const crc = pool.get(meta, W_PAYLOAD_CRC)
    const complement = pool.get(meta, W_PAYLOAD_CRC_COMPLEMENT)
    if (crc === 0 && complement === 0) return true
    return complement === ~crc && persistence.crcView(buffer, offset, length) === crc
  }

  /**
   * Takes a published entry that was found damaged out of service, until its key is written again.
   * @param lines whether its metadata lines are damaged, not only its payload
   */
  markCorrupt(head: number, lines: boolean): void {
    this.corruptHeads.add(head)
    this.verified[head] = 0
    if (lines) this.reclamation.quarantineEntry(head)
  }

  /** Whether reads of a published entry are refused without looking; a line that was reused since counts as verified. */
  isMarkedCorrupt(head: number): boolean {
    return this.verified[head] === 0 && this.corruptHeads.has(head)
  }

  /** A published entry ends. A mark that an earlier one left on its line would be believed again once the line counts as unverified. */
  retiring(head: number): void {
    if (this.corruptHeads.size > 0 && !this.isMarkedCorrupt(head)) this.corruptHeads.delete(head)
  }

  private refuse(meta: number): number {
    this.corruptReads++
    return meta
  }
}
