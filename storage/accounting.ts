/**
 * Where the bytes of a region are: every byte of the file is counted exactly once.
 *
 *   file     header | lines | buffers | unused
 *   lines    anchor | heads | fragments | free | held
 *   buffers  free | held | of sound entries: values | keys | frames | slack
 *
 * `held` is neither free nor part of a sound entry: on its way back to the free lists, in connections, or damaged. In a
 * buffer that an entry holds, `frames` are the kept headers (Ethernet, IP, TCP, HTTP), `slack` belongs to nobody.
 *
 * Called by: tools/inspect.ts, tools/compact.ts. Reads every entry.
 */
import { durableEnd, keyLength } from './entry.ts'
import { BUFFER_BYTES, EXTENTS_START, LINE_BYTES, NO_FRAME, NO_META, W_SUM } from './layout.ts'
import type { Store } from './store.ts'

/** All in bytes. `headerBytes` + `unusedBytes` + all of `lines` + all of `buffers` = `regionBytes`. */
export interface SpaceAccount {
  readonly regionBytes: number
  readonly headerBytes: number
  readonly unusedBytes: number
  readonly lines: {
    readonly anchor: number
    readonly heads: number
    readonly fragments: number
    readonly free: number
    readonly held: number
  }
  readonly buffers: {
    readonly free: number
    readonly held: number
    readonly values: number
    readonly keys: number
    readonly frames: number
    readonly slack: number
  }
}

/** @param regionBytes length of the region */
export function accountSpace(store: Store, regionBytes: number): SpaceAccount {
  const { pool } = store
  /** Of each buffer that is part of a sound entry: where its frame begins (NO_FRAME: it holds none), and where views end. */
  const frameStart = new Uint16Array(pool.bufferIndexEnd)
  const kept = new Uint16Array(pool.bufferIndexEnd)
  const live = new Uint16Array(pool.bufferIndexEnd)
  const seen = new Uint8Array(pool.bufferIndexEnd)
  let heads = 0
  let fragments = 0
  let values = 0
  let keys = 0
  let buffers = 0
  for (let head = store.list.first(); head !== NO_META; head = store.list.next(head)) {
    if (store.checks.corruptHeads.has(head)) continue
    heads++
    keys += keyLength(pool, head)
    for (let meta = head; meta !== NO_META; meta = pool.next(meta)) {
      if (meta !== head) fragments++
      const buffer = pool.buffer(meta)
      const length = pool.dataLength(meta)
      values += length
      live[buffer]! += length + (meta === head ? keyLength(pool, head) : 0)
      kept[buffer] = Math.max(kept[buffer]!, durableEnd(pool, meta))
      if (seen[buffer] === 1) continue
      seen[buffer] = 1
      buffers++
      frameStart[buffer] = pool.get(meta, W_SUM) >>> 16
    }
  }
  let frames = 0
  for (let buffer = 0; buffer < seen.length; buffer++) {
    if (seen[buffer] === 1 && frameStart[buffer] !== NO_FRAME)
      frames += kept[buffer]! - frameStart[buffer]! - live[buffer]!
  }
  const lines = pool.totalMetas + 1
  return {
    regionBytes,
    headerBytes: EXTENTS_START,
    unusedBytes: regionBytes - EXTENTS_START - lines * LINE_BYTES - pool.totalBuffers * BUFFER_BYTES,
    lines: {
      anchor: LINE_BYTES,
      heads: heads * LINE_BYTES,
      fragments: fragments * LINE_BYTES,
      free: pool.freeMetas * LINE_BYTES,
      held: (pool.totalMetas - pool.freeMetas - heads - fragments) * LINE_BYTES,
    },
    buffers: {
      free: pool.freeBuffers * BUFFER_BYTES,
      held: (pool.totalBuffers - pool.freeBuffers - buffers) * BUFFER_BYTES,
      values,
      keys,
      frames,
      slack: buffers * BUFFER_BYTES - values - keys - frames,
    },
  }
}
