/**
 * How V8 is to compile the packet path: with more inlining than it would do by itself.
 *
 * The path is many small functions, one concept each. V8 stops taking callees into an optimized function when these
 * have added up to 920 bytes of bytecode; what is left is called, frame after frame. With more the same code runs
 * 6 to 9 % faster (docs/performance.md). It costs compile time while the program warms up, and some hundred KiB.
 *
 * Called by: packrat.ts, bench/worker.ts, before anything has been compiled that would count.
 */
import { setFlagsFromString } from 'node:v8'

/** The compiler reads it anew for each function. */
const INLINING_FLAG = '--max-inlined-bytecode-size-cumulative'
/** Bytes of bytecode; V8's default is 920. Twice as much again brings nothing more. */
const INLINED_BYTES_MAX = 2500

export function inlineMore(): void {
  setFlagsFromString(`${INLINING_FLAG}=${INLINED_BYTES_MAX}`)
}
