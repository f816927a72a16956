/** Pools in plain memory, for tests of storage that need no region. */
import { BUFFER_BYTES, LINE_BYTES } from '../../storage/layout.ts'
import { Pool } from '../../storage/pool.ts'

/** A pool with extents of so many buffers, everything free. */
export function poolOf(linesPerBuffer: number, ...extents: number[]): Pool {
  const bytesPerBuffer = BUFFER_BYTES + LINE_BYTES * linesPerBuffer
  const pool = new Pool(
    extents.map((buffers) => ({ memory: new ArrayBuffer(buffers * bytesPerBuffer), buffers })),
    linesPerBuffer,
  )
  pool.buildFreeLists()
  return pool
}
