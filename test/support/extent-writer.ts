/**
 * A process that writes values into every extent of a region, and then waits to be killed:
 *
 *   node extent-writer.js REGION DURABILITY PREFIX
 *
 * The free lists hand out the lowest index first, so what lies below the wanted place is taken and held. Each value's
 * chain crosses from one extent into the next; the last value lies as near to the end of the file as writes may go.
 * Prints one line when all of them are durable.
 */
import { EXTENT_BUFFERS_SHIFT } from '../../storage/layout.ts'
import { Region } from '../../storage/region.ts'
import { Store } from '../../storage/store.ts'
import { crossingKey, crossingValue } from './crossing-values.ts'
import { seededRandom } from './random.ts'

const [path, durability, prefix] = process.argv.slice(2)
const region = new Region(path!, { durability: durability === 'msync' ? 'msync' : 'process' })
const store = new Store(region, { random: seededRandom(1), integrity: 'crc32c' })
region.markOpen()
const { pool } = store

/** Takes free buffers and lines until the next ones lie at least at these places. */
function skipTo(buffer: number, meta: number): void {
  for (let taken = pool.allocateBuffer(); taken < buffer - 1; taken = pool.allocateBuffer());
  for (let taken = pool.allocateMeta(); taken < meta - 1; taken = pool.allocateMeta());
}

for (const [extent, buffers] of pool.extentBuffers.entries()) {
  const last = extent === pool.extentBuffers.length - 1
  // In the last extent the network's reserve stays free behind the value.
  const back = last ? store.reservedBuffers + 32 : 3
  skipTo(
    (extent << EXTENT_BUFFERS_SHIFT) | (buffers - back),
    (extent << pool.lineShift) | (buffers * pool.linesPerBuffer - back),
  )
  await store.put(Buffer.from(crossingKey(prefix!, extent)), crossingValue(prefix!, extent))
}
console.log(`written: ${pool.extentBuffers.length}`)
setInterval(() => {}, 1000)
