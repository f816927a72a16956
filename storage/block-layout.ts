/**
 * A block of the ordered index (key-blocks.ts), in DRAM, and where it is cut:
 *
 *   block     [ count | next free | 0 | 0 | 60 references | 60 × 4 key words ]     int32 each, 19 cache lines
 *             reference: line index at level 0, block number above       key words: big-endian, top bit flipped, so that
 *                                                                        they compare as signed; the first 16 bytes
 */
import { KEY_WORDS } from './key.ts'

/** Entries of a block: the largest number that makes it 19 whole cache lines. */
export const BLOCK_ENTRIES = 60
export const B_COUNT = 0
export const B_NEXT_FREE = 1
export const B_REFERENCES = 4
export const B_KEYS = B_REFERENCES + BLOCK_ENTRIES
export const BLOCK_WORDS = B_KEYS + BLOCK_ENTRIES * KEY_WORDS
/**
 * Blocks are allocated in chunks, so that growing copies nothing: of 300 KiB, in large regions of 5 MB, which is enough for
 * huge pages (large-array.ts); a search that misses the table of pages at each level takes a tenth longer at a million keys.
 */
const CHUNK_SHIFT = 8
const CHUNK_SHIFT_LARGE = 12
/** Lines of a region that counts as large. */
const LARGE_LINES = 1 << 19
export const CACHE_LINE_WORDS = 16

/** Blocks of a chunk, as a shift, for a region with so many lines. */
export function chunkShiftFor(lines: number): number {
  return lines < LARGE_LINES ? CHUNK_SHIFT : CHUNK_SHIFT_LARGE
}

/**
 * Where a full block is cut for an entry at `index`: somewhere in its middle third, or, if keys arrive in order, in its last
 * quarter. If all blocks were equally full behind a rebuild, all would be cut at the same time (Glombiewski, Seeger & Graefe
 * 2019, "Waves of misery after index creation").
 * @param random uniform int32
 */
export function cutOf(index: number, random: number): number {
  const drawn = random >>> 0
  if (index === BLOCK_ENTRIES) return (BLOCK_ENTRIES * 3) / 4 + (drawn % (BLOCK_ENTRIES / 4))
  return BLOCK_ENTRIES / 3 + (drawn % (BLOCK_ENTRIES / 3))
}
