/** Pools in plain memory. Called by: simulation.ts, linux-run.ts, and iperf3/command.ts. */
import { BUFFER_BYTES, LINE_BYTES } from '../../storage/layout.ts'
import { Pool } from '../../storage/pool.ts'

const LINES_PER_BUFFER = 2

export function createPool(buffers: number): Pool {
  const memory = new ArrayBuffer(buffers * (BUFFER_BYTES + LINES_PER_BUFFER * LINE_BYTES))
  const pool = new Pool([{ memory, buffers }], LINES_PER_BUFFER)
  pool.buildFreeLists()
  return pool
}
