/**
 * What must hold of every image that a crash leaves, each invariant a function of its own that says what is wrong, or ''.
 *
 * Called with an image by workload.ts. The image is recovered as the daemon would, then looked at, then written to.
 */
import { copyEntry } from '../../storage/copied-entry.ts'
import { versionNumber } from '../../storage/entry.ts'
import { ANCHOR_META, KIND_HEAD, NO_BUFFER, NO_META, stateKind, W_STATE } from '../../storage/layout.ts'
import { LINE_VALID } from '../../storage/persistence.ts'
import { Store } from '../../storage/store.ts'
import { seededRandom } from '../support/random.ts'
import { TracingRegion } from '../support/tracing-region.ts'
import { difference, type Expectation, entryText, type Model, possibleModels } from './model.ts'

/** How a workload's regions are made. */
export interface Geometry {
  readonly regionBytes: number
  readonly moreExtents: readonly number[]
}

/** Programs of recovery: heads; groups and tombstones; fragments; what became free. */
const RECOVERY_FENCES_MAX = 4
/** Each line is flushed for its link, its new seal and its clear. */
const RECOVERY_FLUSHES_PER_LINE_MAX = 3

/** A recovered image. */
export class Recovered {
  readonly region: TracingRegion
  readonly store: Store
  readonly geometry: Geometry

  /** @param onFence looks at the region before each fence of the recovery */
  constructor(image: Uint8Array, geometry: Geometry, onFence: (region: TracingRegion) => void = () => {}) {
    this.geometry = geometry
    this.region = new TracingRegion({ ...geometry, image, versionFloor: 1 })
    this.region.onFence = () => onFence(this.region)
    this.store = new Store(this.region, { random: seededRandom(5), clock: () => 1n })
    this.region.onFence = () => {}
  }

  /** Nobody looks at it any more. */
  close(): void {
    this.region.close()
  }

  /** What a client can read. Throws CorruptionError. */
  contents(): Model {
    const { store } = this
    const seen = new Map<string, string>()
    for (const { key, meta } of store.entries()) {
      const value = Buffer.from(store.read(meta)).toString()
      seen.set(Buffer.from(key).toString(), entryText(versionNumber(store.pool, meta), value))
    }
    return seen
  }
}

/** Recovers an image, looks at it, and is done with it. */
function look<Result>(recovered: Recovered, use: (recovered: Recovered) => Result): Result {
  try {
    return use(recovered)
  } finally {
    recovered.close()
  }
}

/** Acknowledged present and exact; nothing invented; newest or in flight; nothing resurrected; batches whole. */
export function checkContents(recovered: Recovered, expectation: Expectation): string {
  const seen = recovered.contents()
  const differences = possibleModels(expectation).map((model) => difference(seen, model))
  if (differences.includes('')) return ''
  const key = differences[0]!
  return `key ${key}: neither as acknowledged nor with what was in flight: ${(seen.get(key) ?? 'absent').slice(0, 24)}`
}

/** A crash damages nothing, so nothing may be reported as damaged. */
export function checkReport({ store }: Recovered): string {
  const { corrupt, relinked } = store.report
  if (corrupt.length > 0) return `corruption reported: ${corrupt[0]!.reason} (line ${corrupt[0]!.meta})`
  return relinked ? 'the level-0 links led astray' : ''
}

/** The walk along the links misses no more than what was just published: else every crash would leave more to insert. */
export function checkLinks({ store }: Recovered, { unlinkedMax }: Expectation): string {
  const { inserted } = store.report
  return inserted > unlinkedMax ? `no link leads to ${inserted} heads, ${unlinkedMax} were just published` : ''
}

/** The list, its reverse and the exact index name the published heads, sorted, and no others. */
export function checkList({ store, region }: Recovered): string {
  const { pool } = store
  const forward = [...store.entries()].map(({ key, meta }) => [Buffer.from(key).toString('latin1'), meta] as const)
  const backward = [...store.entries({ reverse: true })].map(({ meta }) => meta).reverse()
  const scanned: number[] = []
  const state = new Uint8Array(1)
  for (let extent = 0; extent < pool.lines.length; extent++) {
    for (let local = 0; local < pool.extentBuffers[extent]! * pool.linesPerBuffer; local++) {
      const meta = (extent << pool.lineShift) | local
      if (meta === ANCHOR_META || pool.get(meta, W_STATE) === 0) continue
      region.verifyLines(meta, 1, state)
      if (state[0] === LINE_VALID && stateKind(pool.get(meta, W_STATE)) === KIND_HEAD) scanned.push(meta)
    }
  }
  for (let i = 1; i < forward.length; i++) if (forward[i - 1]![0] >= forward[i]![0]) return 'the list is out of order'
  const listed = forward.map(([, meta]) => meta)
  if (listed.join() !== backward.join()) return 'the list differs from its reverse'
  if ([...listed].sort((a, b) => a - b).join() !== scanned.join())
    return 'the list is not what a scan of the lines finds'
  for (const [key, meta] of forward) {
    const bytes = Buffer.from(key, 'latin1')
    if (store.find(bytes, 0, bytes.length) !== meta) return `the exact index does not find ${key}`
  }
  return ''
}

/** Recovery ends after a bounded number of programs. */
export function checkBounded({ region, store }: Recovered): string {
  const { fences, flushedLines } = region.counters
  if (fences > RECOVERY_FENCES_MAX) return `recovery took ${fences} fences`
  const bound = RECOVERY_FLUSHES_PER_LINE_MAX * (store.report.committedLines + 1)
  return flushedLines > bound ? `recovery flushed ${flushedLines} lines of ${store.report.committedLines}` : ''
}

/** recover(recover(x)) = recover(x), and the second writes nothing. */
export function checkIdempotent(recovered: Recovered): string {
  const before = recovered.region.durableImage()
  return look(new Recovered(before, recovered.geometry), (again) => compareAgain(recovered, before, again))
}

function compareAgain(recovered: Recovered, before: Uint8Array, again: Recovered): string {
  const { superseded, orphans, completed, undone, inserted } = again.store.report
  if (superseded + orphans + completed + undone + inserted > 0) return 'a second recovery found something to do'
  if (again.region.counters.fences > 0 || Buffer.compare(before, again.region.durableImage()) !== 0)
    return 'a second recovery wrote something'
  const key = difference(recovered.contents(), again.contents())
  return key === '' ? '' : `a second recovery sees ${key} differently`
}

/** After recovery the store takes writes: a new key, an overwrite, a deletion; and they are durable. */
export function checkWritable(recovered: Recovered): string {
  const { store, region, geometry } = recovered
  const model = new Map(recovered.contents())
  const write = (key: string, value: string): void => {
    const entry = copyEntry(store, region, Buffer.from(key), Buffer.from(value), 1n)
    model.set(key, entryText(store.nextVersion, value))
    store.stagePut(entry.head, entry.tail)
    store.commit()
  }
  const keys = [...model.keys()]
  for (const key of ['0', `${keys[0] ?? ''}~`, ...keys.slice(0, 1)]) write(key, `written after the crash: ${key}`)
  const doomed = keys[1]
  if (doomed !== undefined) {
    const buffer = store.pool.allocateBuffer()
    store.pool.bufferBytes(buffer).set(Buffer.from(doomed), store.pool.bufferStart(buffer))
    store.stageDelete(buffer, 0, doomed.length)
    store.pool.releaseBuffer(buffer)
    store.commit()
    model.delete(doomed)
  }
  const key = difference(model, recovered.contents())
  if (key !== '') return `a write after recovery does not read back: ${key}`
  const durable = look(new Recovered(region.durableImage(), geometry), (again) => difference(model, again.contents()))
  return durable === '' ? '' : `a write after recovery is not durable: ${durable}`
}

/** Each buffer and each line is free or reachable, never both, never neither. Takes everything that is free. */
export function checkOwnership({ store }: Recovered): string {
  const { pool } = store
  while (!store.isIdle) store.settle()
  if (pool.freeBuffers + pool.storedBuffers !== pool.totalBuffers) return 'a buffer is neither free nor stored'
  const lines = new Set<number>()
  const buffers = new Set<number>()
  for (const { meta } of store.entries()) {
    for (let at = meta; at !== NO_META; at = pool.next(at)) {
      if (lines.has(at)) return `line ${at} belongs to two entries`
      lines.add(at)
      buffers.add(pool.buffer(at))
    }
  }
  for (let meta = pool.allocateMeta(); meta !== NO_META; meta = pool.allocateMeta()) {
    if (lines.has(meta)) return `line ${meta} is free, and not only that`
    lines.add(meta)
  }
  for (let buffer = pool.allocateBuffer(); buffer !== NO_BUFFER; buffer = pool.allocateBuffer()) {
    if (buffers.has(buffer)) return `buffer ${buffer} is free, and not only that`
    buffers.add(buffer)
  }
  if (lines.size !== pool.totalMetas) return `${pool.totalMetas - lines.size} lines are neither free nor reachable`
  return buffers.size === pool.totalBuffers ? '' : 'buffers are neither free nor reachable'
}

/** One flipped bit in an entry's line or value is reported, never served, and costs no other entry. */
export function checkDamage(image: Uint8Array, recovered: Recovered, random: () => number): string {
  const { store, region, geometry } = recovered
  const { pool } = store
  const entries = [...store.entries()]
  if (entries.length === 0) return ''
  const victim = entries[(random() >>> 0) % entries.length]!
  const key = Buffer.from(victim.key).toString()
  const healthy = new Map(recovered.contents())
  const damaged = image.slice()
  const length = pool.dataLength(victim.meta)
  // Bytes 8 to 51 of a line are covered by its CRC, whatever becomes of the commit word.
  const inLine = length === 0 || (random() & 1) === 1
  const at = inLine
    ? region.lineOfMeta(victim.meta) * 64 + 8 + ((random() >>> 0) % 44)
    : pool.dataStartOf(victim.meta) + ((random() >>> 0) % length)
  if (!inLine && pool.bufferExtent(pool.buffer(victim.meta)) !== 0) return ''
  damaged[at]! ^= 1 << ((random() >>> 0) & 7)
  const says = look(new Recovered(damaged, geometry), (opened) => damageOf(opened, victim.key, healthy, inLine))
  return says === 'nothing' ? `a flipped bit of ${key} at ${at} was not reported` : says
}

/** 'nothing' if a region with damage in one entry says nothing of it, '' if it does, else what else is wrong. */
function damageOf(opened: Recovered, victim: Uint8Array, healthy: Map<string, string>, inLine: boolean): string {
  const key = Buffer.from(victim).toString()
  for (const { key: bytes, meta } of opened.store.entries()) {
    const name = Buffer.from(bytes).toString()
    if (name === key || opened.store.checks.corruptHeads.has(meta)) continue // said to be damaged, too
    const value = Buffer.from(opened.store.read(meta)).toString()
    if (entryText(versionNumber(opened.store.pool, meta), value) !== healthy.get(name) && !inLine)
      return `damage to ${key} changed ${name}`
    healthy.delete(name)
  }
  if (opened.store.report.corrupt.length > 0) return ''
  try {
    opened.store.get(victim)
  } catch {
    return '' // CorruptionError: said, not served
  }
  return 'nothing'
}

/** What judging one image is to include, beside what is always checked. */
export interface Depth {
  /** Look at crashes inside the recovery. */
  readonly again: boolean
  /** Check what writes: idempotence, writes, damage. */
  readonly thorough: boolean
}

/** Images looked at inside recoveries. */
export interface JudgeCounters {
  recoveryCrashImages: number
}

/** Why an image is not what it must be, or ''. */
export function judge(
  image: Uint8Array,
  geometry: Geometry,
  expectation: Expectation,
  depth: Depth,
  counters: JudgeCounters,
  random: () => number,
): string {
  let faultAgain = ''
  const crashAgain = (region: TracingRegion): void => {
    for (const crashed of recoveryImages(region)) {
      counters.recoveryCrashImages++
      faultAgain ||= judge(crashed, geometry, expectation, SHALLOW, counters, random)
    }
  }
  const check = (recovered: Recovered): string => {
    const always =
      checkReport(recovered) ||
      checkContents(recovered, expectation) ||
      checkLinks(recovered, expectation) ||
      checkList(recovered) ||
      checkBounded(recovered)
    if (always !== '') return always
    if (depth.thorough) {
      const fault = checkIdempotent(recovered) || checkDamage(image, recovered, random) || checkWritable(recovered)
      if (fault !== '') return fault
    }
    return checkOwnership(recovered) || (faultAgain && `in a crash of the recovery: ${faultAgain}`)
  }
  try {
    return look(new Recovered(image, geometry, depth.again ? crashAgain : undefined), check)
  } catch (error) {
    return String(error)
  }
}

const SHALLOW: Depth = { again: false, thorough: false }

/** Of a recovery's dirty lines none, all, every other one, and all without one each. */
function* recoveryImages(region: TracingRegion): Generator<Uint8Array> {
  const candidates = region.candidates()
  const build = (included: (i: number) => boolean): Uint8Array => {
    const image = region.durableImage()
    for (const [i, { lines, states }] of candidates.entries())
      if (included(i)) image.set(states.at(-1)![0]!, lines[0]! * 64)
    return image
  }
  yield build(() => false)
  yield build(() => true)
  yield build((i) => i % 2 === 0)
  yield build((i) => i % 2 === 1)
  for (let one = 0; one < Math.min(candidates.length, 8); one++) yield build((i) => i !== one)
}
