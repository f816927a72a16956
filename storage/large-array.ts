/**
 * Arrays in DRAM with an element for each line or slot. They are read at random places, and with pages of 4 KiB nearly
 * each of these reads misses the table of pages too, which costs a virtual machine more than the cache miss itself. So large
 * ones ask for huge pages; what the kernel does not grant costs speed only.
 *
 * Called by: skip-list.ts, key-blocks.ts, hash-index.ts, recovery-state.ts.
 */
import { adviseHugePages } from './pmem.ts'

/** Smaller arrays would not fill two huge pages, and what they would gain is little. */
const HUGE_BYTES_MIN = 4 << 20

function largeMemory(bytes: number): ArrayBuffer {
  const memory = new ArrayBuffer(bytes)
  if (bytes >= HUGE_BYTES_MIN) adviseHugePages(memory)
  return memory
}

/** So many zeros. */
export function largeInt32Array(length: number): Int32Array<ArrayBuffer> {
  return new Int32Array(largeMemory(length * Int32Array.BYTES_PER_ELEMENT))
}

/** So many zeros. */
export function largeUint8Array(length: number): Uint8Array<ArrayBuffer> {
  return new Uint8Array(largeMemory(length))
}
