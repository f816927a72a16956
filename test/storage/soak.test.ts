/**
 * Overwriting ten times what a region holds, with random sizes, keys and deletions, while packing runs: the buffers in use
 * follow what is live, and in the end every buffer and line is free or part of an entry.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { accountSpace } from '../../storage/accounting.ts'
import { BUFFER_BYTES } from '../../storage/layout.ts'
import { Packer } from '../../storage/packing.ts'
import { Region } from '../../storage/region.ts'
import { Store } from '../../storage/store.ts'
import { announceSeed, seededRandom } from '../support/random.ts'

const SEED = announceSeed('soak', 10)
const REGION_BYTES = 4 << 20
const TIMES = 10
const KEYS = 400
const SIZES = [0, 10, 100, 500, 1400, 2048, 5000, 20_000]
/** Occupancy is looked at so many times. */
const SAMPLES = 40

const bytes = (text: string): Uint8Array => new Uint8Array(Buffer.from(text))

test('ten times the region is written over, and occupancy stays where it was', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'packrat-soak-'))
  const path = join(folder, 'soak.pm')
  Region.create(path, { bytes: REGION_BYTES })
  const region = new Region(path, { durability: 'process' })
  const random = seededRandom(SEED)
  const upTo = (n: number): number => (random() >>> 0) % n
  const store = new Store(region, { random })
  const onFinding = ({ reason }: { reason: string }): void => assert.unreachable(reason)
  const packer = new Packer(store, region, { sparseBytes: 1024, linesMax: 64, reserve: 16, onFinding })
  const value = new Uint8Array(SIZES.at(-1)!).map((_, i) => i * 31)
  const sizes = new Map<string, number>()
  let written = 0
  /** Buffers in use for each buffer that the live bytes alone would fill. */
  const ratios: number[] = []
  try {
    for (let next = 1; written < TIMES * REGION_BYTES; ) {
      const key = `key-${upTo(KEYS)}`
      if (upTo(5) === 0) {
        assert.is(await store.delete(bytes(key)), sizes.delete(key))
      } else {
        const size = upTo(SIZES[upTo(SIZES.length)]! + 1)
        await store.put(bytes(key), value.subarray(0, size))
        sizes.set(key, size)
        written += size
      }
      packer.step(4096)
      if (written < (next * TIMES * REGION_BYTES) / SAMPLES) continue
      next++
      const { buffers, lines } = accountSpace(store, REGION_BYTES)
      const used = REGION_BYTES - buffers.free - lines.free
      assert.ok(used < REGION_BYTES / 2, `${used} bytes in use`)
      ratios.push((store.pool.totalBuffers * BUFFER_BYTES - buffers.free) / (buffers.values + buffers.keys))
    }
    packer.close()
    await store.drain()
    const { buffers, lines } = accountSpace(store, REGION_BYTES)
    assert.equal([lines.held, buffers.held], [0, 0])
    assert.is(store.records, sizes.size)
    for (const [key, size] of sizes) assert.equal(store.get(bytes(key)), value.slice(0, size))
    // The first quarter fills the region; from there on it is flat.
    const settled = ratios.slice(SAMPLES / 4)
    const least = Math.min(...settled)
    const most = Math.max(...settled)
    console.log(
      `${written} bytes written into ${REGION_BYTES}; buffers in use per live byte ${least.toFixed(2)} to ${most.toFixed(2)}; ${store.counters.moves} moves`,
    )
    assert.ok(most < 1.35, `${most}`)
    assert.ok(most - least < 0.2, `${least} to ${most}`)
  } finally {
    region.close()
    rmSync(folder, { recursive: true })
  }
})

test.run()
