/** The pages of a region are brought in ahead of their first use, all of them and once, but not in the class `msync`. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { Region } from '../../storage/region.ts'
import { Prefaulting } from '../../tools/prefaulting.ts'
import { scratchDirectory } from '../support/lab.ts'

const BYTES = 8 << 20

/** KiB of the mapping of `path` that are in the page table. */
function residentKib(path: string): number {
  const text = readFileSync('/proc/self/smaps', 'utf8')
  const mapping = text.slice(text.indexOf(path))
  return Number(/^Rss:\s+(\d+) kB$/m.exec(mapping)?.[1])
}

function openRegion(name: string, durability: 'process' | 'msync'): Region {
  const path = join(scratchDirectory(durability === 'msync' ? process.cwd() : undefined), name)
  Region.create(path, { bytes: BYTES })
  return new Region(path, { durability })
}

test('all pages are in the page table when it says that there is no more to do', () => {
  const region = openRegion('prefault.pm', 'process')
  const before = residentKib(region.path)
  const prefaulting = new Prefaulting(region)
  let slices = 1
  while (prefaulting.idle()) slices++
  assert.ok(before < BYTES >> 11, `half of it was there already: ${before} KiB`)
  assert.is(residentKib(region.path), BYTES >> 10)
  assert.is(slices, 32)
  assert.not.ok(prefaulting.idle())
  prefaulting.close()
  region.close()
})

test('nothing is asked for once it is closed: the mapping may be gone', () => {
  const region = openRegion('closed.pm', 'process')
  const prefaulting = new Prefaulting(region)
  assert.ok(prefaulting.idle())
  prefaulting.close()
  region.close()
  assert.not.ok(prefaulting.idle())
})

test('the page cache of the class msync is left alone', () => {
  const region = openRegion('cached.pm', 'msync')
  const before = residentKib(region.path)
  const prefaulting = new Prefaulting(region)
  assert.not.ok(prefaulting.idle())
  assert.is(residentKib(region.path), before)
  prefaulting.close()
  region.close()
})

test.run()
