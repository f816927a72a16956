/**
 * A store under test: does what operations.ts says on a tracing region, keeps the books of what clients were told, and
 * calls `onCrashPoint` wherever a crash is to be tried: before each fence, and before each reply.
 *
 * In the medium `pages` programs run asynchronously: each is held back until the next operation has been staged, so that
 * two batches overlap as in the class `msync`.
 */
import { copyEntry } from '../../storage/copied-entry.ts'
import { adoptHead, setArrival, versionNumber } from '../../storage/entry.ts'
import {
  ANCHOR_META,
  KIND_HEAD,
  NO_FRAME,
  NO_META,
  stateKind,
  W_NEXT,
  W_PAYLOAD_CRC,
  W_PAYLOAD_CRC_COMPLEMENT,
  W_STATE,
} from '../../storage/layout.ts'
import { Packer } from '../../storage/packing.ts'
import { OP_CRC_VIEW, OP_FENCE, OP_SEAL_LINE } from '../../storage/persist-program.ts'
import { Scrubber } from '../../storage/scrub.ts'
import type { Snapshot } from '../../storage/snapshot.ts'
import { Store } from '../../storage/store.ts'
import { seededRandom } from '../support/random.ts'
import { type Medium, type Step, TracingRegion } from '../support/tracing-region.ts'
import type { Geometry } from './invariants.ts'
import { applyChanges, type Change, difference, type Expectation, entryText, type Model, type Unit } from './model.ts'

/** 32 buffers and 64 lines: small enough that what is freed is soon used again. */
const REGION_BYTES = 80_000
const GROWN_EXTENT_BUFFERS = 32
/** The first sorts before all, so that a line used again leads backwards. */
const NEW_KEYS = ['a', 'c', 'i', 'bb', 'cc', 'aa', 'j', 'e']
const ARRIVAL_NS = 1_700_000_000_000_000_000n
/** Every step of the scrubber's clock is a whole pass. */
const SCRUB_PASS_MS = 1
const SCRUB_BYTES = 1 << 20

/** Whatever is less than full is packed. */
const PACK = { sparseBytes: 2000, linesMax: 8, reserve: 0 }
const PACK_BYTES = 4000

const bytes = (text: string): Uint8Array => new Uint8Array(Buffer.from(text))

export interface BenchOptions {
  readonly medium: Medium
  readonly onCrashPoint: (bench: Bench) => void
  /** What there is at the start; nothing, unless it is given. */
  readonly start?: Start
  /** Changes each program before it runs. */
  readonly rewrite?: (steps: Step[], bench: Bench) => Step[]
}

/** A region at rest, and what clients know of it. */
export interface Start {
  readonly image: Uint8Array
  readonly acknowledged: Model
}

/** A few entries at rest: `f` in one line, `d` a chain, `b` and `h` whose place in the list matters. */
export function prepareStart(): Start {
  const bench = new Bench({ medium: 'lines', onCrashPoint: () => {} })
  bench.put('h', ['value of h'])
  bench.put('b', ['value of b'])
  bench.put('d', ['value of ', 'd, in ', 'three pieces'])
  bench.put('f', ['value of f'])
  bench.reclaim()
  return { image: bench.region.durableImage(), acknowledged: bench.acknowledged }
}

export class Bench implements Expectation {
  region: TracingRegion
  store: Store
  geometry: Geometry = { regionBytes: REGION_BYTES, moreExtents: [] }
  acknowledged: Model = new Map()
  inFlight: Unit[] = []
  /** Operations so far. */
  step = 0
  /** What the store itself, or a check while it ran, found wrong. */
  fault = ''
  upgrades = 0
  /** Flushes of lines that the same program had flushed already. */
  repeatedFlushes = 0
  unlinkedMax = 0
  /** Lines of uploads that broke off, until they are free. */
  readonly abandoned = new Set<number>()
  private readonly options: BenchOptions
  /** Heads that the last program published. */
  private published = 0
  private scrubber: Scrubber
  private snapshot: { readonly view: Snapshot; readonly model: Model } | undefined
  private pending: (() => void)[] = []
  /** Lines that the scrubber said it upgraded, and the number of fences when it did. */
  private upgraded: { readonly meta: number; readonly version: number; readonly fences: number }[] = []

  constructor(options: BenchOptions) {
    this.options = options
    const start = options.start
    this.acknowledged = start?.acknowledged ?? new Map()
    this.region = this.openRegion(start?.image)
    this.store = this.openStore()
    this.scrubber = this.newScrubber()
  }

  /** The first new key that is not there. */
  newKey(): string {
    const taken = (key: string): boolean =>
      this.acknowledged.has(key) || this.inFlight.some(({ changes }) => changes.some((change) => change.key === key))
    return NEW_KEYS.find((key) => !taken(key)) ?? 'c'
  }

  /* --- operations --- */

  /** An entry whose value came in segments, each in a buffer of its own. */
  put(key: string, pieces: readonly string[]): void {
    if (!this.store.hasRoom(pieces.length)) return
    const [head, tail] = this.receive(key, pieces)
    this.stagePut(head, tail, key, pieces.join(''))
  }

  /** The same, but a program runs behind the segments: they are sealed well ahead of the head. */
  putSlowly(key: string, pieces: readonly string[]): void {
    if (!this.store.hasRoom(pieces.length)) return
    const [head, tail] = this.receive(key, pieces)
    this.finishPending()
    this.store.settle()
    this.stagePut(head, tail, key, pieces.join(''))
  }

  /** An entry as the library makes it, of so many bytes. */
  putCopy(key: string, length: number): void {
    const value = `${this.step}.`.repeat(length).slice(0, length)
    if (!this.store.hasRoom(1 + Math.ceil(length / 2048))) return
    const { head, tail } = copyEntry(this.store, this.region, bytes(key), bytes(value), ARRIVAL_NS)
    this.stagePut(head, tail, key, value)
  }

  remove(key: string): void {
    const { store } = this
    if (!store.hasRoom(1)) return
    const { pool } = store
    const buffer = pool.allocateBuffer()
    pool.bufferBytes(buffer).set(bytes(key), pool.bufferStart(buffer))
    this.begin([{ key, entry: undefined }])
    store.stageDelete(buffer, 0, key.length)
    pool.releaseBuffer(buffer)
    this.commit()
  }

  /** Values, or undefined to delete. */
  batch(writes: readonly (readonly [string, string | undefined])[]): void {
    const { store } = this
    if (!store.hasRoom(writes.length + 1)) return
    let version = store.nextVersion
    const changes: Change[] = []
    for (const [key, value] of writes) {
      if (value === undefined && store.currentOf(bytes(key)) === NO_META) continue
      changes.push({ key, entry: value === undefined ? undefined : entryText(version, value) })
      version++
    }
    this.begin(changes)
    store.stageBatch(
      writes.map(([key, value]) =>
        value === undefined ? { op: 'delete', key: bytes(key) } : { op: 'put', key: bytes(key), value: bytes(value) },
      ),
      ARRIVAL_NS,
    )
    this.commit()
  }

  /** An upload that breaks off: some of its fragments are sealed already, and are durable with somebody else's fence. */
  abandon(pieces: readonly string[]): void {
    if (!this.store.hasRoom(pieces.length)) return
    const [head] = this.receive('broken', pieces)
    for (let meta = head; meta !== NO_META; meta = this.store.pool.next(meta)) this.abandoned.add(meta)
    this.store.discard(head)
  }

  /** Cleans up until everything that is free can be used. */
  reclaim(): void {
    this.finishPending()
    for (let programs = 0; !this.store.isIdle; programs++) {
      if (programs === 10) throw new Error('cleaning up does not end')
      this.store.settle()
      this.finishPending()
    }
    this.published = 0
    this.unlinkedMax = 0
    this.options.onCrashPoint(this)
  }

  pack(): void {
    this.finishPending()
    const onFinding = ({ reason }: { reason: string }): void => {
      this.fault ||= `the packer found: ${reason}`
    }
    new Packer(this.store, this.region, { ...PACK, onFinding }).step(PACK_BYTES)
    this.options.onCrashPoint(this)
  }

  scrub(): void {
    this.finishPending()
    const { store, region } = this
    const before = this.scrubber.counters.upgraded
    this.scrubber.step((this.step + 1) * SCRUB_PASS_MS, SCRUB_BYTES)
    if (this.scrubber.counters.upgraded === before) return
    this.upgrades += this.scrubber.counters.upgraded - before
    for (const { meta, version } of store.entries())
      this.upgraded.push({ meta, version: Number(version), fences: region.counters.fences })
    this.options.onCrashPoint(this)
  }

  takeSnapshot(): void {
    this.closeSnapshot()
    this.finishPending()
    this.snapshot = { view: this.store.snapshot(), model: this.acknowledged }
  }

  closeSnapshot(): void {
    this.snapshot?.view.close()
    this.snapshot = undefined
  }

  /** Loses everything that is not durable, and goes on with what recovery makes of it. */
  crash(): void {
    this.finishPending()
    this.reopen([])
  }

  /** Stops in order, gets another extent, and goes on. */
  grow(): void {
    this.reclaim()
    this.reopen([GROWN_EXTENT_BUFFERS])
  }

  /* --- books --- */

  /** Lets what is under way end, and looks at what must hold between operations. */
  endStep(): void {
    this.step++
    this.countFlushes()
    if (this.fault === '') this.checkSnapshot()
    if (this.fault === '') this.checkUpgrades()
  }

  private countFlushes(): void {
    this.repeatedFlushes += this.region.counters.repeatedFlushes
    this.region.counters.repeatedFlushes = 0
  }

  private reopen(moreExtents: readonly number[]): void {
    this.countFlushes()
    this.snapshot = undefined
    this.upgraded = []
    this.abandoned.clear()
    this.geometry = { regionBytes: REGION_BYTES, moreExtents }
    this.region = this.openRegion(this.region.durableImage())
    this.store = this.openStore()
    this.finishPending()
    this.scrubber = this.newScrubber()
  }

  private openRegion(image: Uint8Array | undefined): TracingRegion {
    const { medium, onCrashPoint, rewrite } = this.options
    const region = new TracingRegion({
      ...this.geometry,
      medium,
      asynchronous: medium === 'pages',
      ...(image === undefined ? {} : { image, versionFloor: 100 }),
    })
    region.onFence = () => onCrashPoint(this)
    region.schedule = (run) => this.pending.push(run)
    const { pool } = region
    const freeMeta = pool.freeMeta.bind(pool)
    pool.freeMeta = (meta) => {
      this.fault ||= this.freedTooEarly(region, meta)
      this.abandoned.delete(meta)
      freeMeta(meta)
    }
    region.rewrite = (steps) => {
      this.countHeads(steps)
      return rewrite === undefined ? steps : rewrite(steps, this)
    }
    return region
  }

  /** What is free is durably free: no commit word, and no link of the durable list leads to it. */
  private freedTooEarly(region: TracingRegion, meta: number): string {
    const word = (line: number, at: number): number => region.durableWord(line, at)
    if (word(meta, W_STATE) !== 0) return `line ${meta} is free, but durably committed`
    let steps = 0
    for (let at = word(ANCHOR_META, W_NEXT); at !== NO_META && region.pool.isMeta(at); at = word(at, W_NEXT)) {
      if (at === meta) return `line ${meta} is free, but durably in the list`
      if (++steps > region.pool.totalMetas) return 'the durable list is a circle'
    }
    return ''
  }

  private openStore(): Store {
    const store = new Store(this.region, { random: seededRandom(3), clock: () => ARRIVAL_NS })
    store.onComplete((batch) => this.complete(batch))
    return store
  }

  private newScrubber(): Scrubber {
    return new Scrubber(this.store, this.region, {
      passMs: SCRUB_PASS_MS,
      upgradeMs: SCRUB_PASS_MS,
      nowMs: this.step * SCRUB_PASS_MS,
      onFinding: ({ reason }) => {
        this.fault ||= `the scrubber found: ${reason}`
      },
    })
  }

  private begin(changes: readonly Change[]): void {
    this.inFlight.push({ changes, batch: this.store.stagingBatch })
  }

  private commit(): void {
    const held = this.pending.splice(0)
    this.store.commit()
    for (const run of held) run()
    if (!this.store.busy) {
      // A deletion of what was not there has staged nothing: its reply needs no fence.
      const batch = this.store.stagingBatch
      if (this.inFlight.some((unit) => unit.batch === batch)) this.complete(batch)
    }
  }

  private finishPending(): void {
    while (this.pending.length > 0) this.pending.shift()!()
  }

  /** Links follow one program behind the heads that they lead to; those of the scrubber flush none. */
  private countHeads(steps: readonly Step[]): void {
    if (steps.some(({ op }) => op === OP_CRC_VIEW)) return
    const fence = steps.findIndex(({ op }) => op === OP_FENCE)
    const heads = steps.filter(({ op, b }, at) => at > fence && op === OP_SEAL_LINE && stateKind(b) === KIND_HEAD)
    this.unlinkedMax = this.published + heads.length
    this.published = heads.length
  }

  /** A batch is durable: its replies are about to leave. */
  private complete(batch: number): void {
    this.unlinkedMax = this.published
    const done = this.inFlight.filter((unit) => unit.batch <= batch)
    this.inFlight = this.inFlight.filter((unit) => unit.batch > batch)
    for (const { changes } of done) this.acknowledged = applyChanges(this.acknowledged, changes)
    this.options.onCrashPoint(this)
  }

  private stagePut(head: number, tail: number, key: string, value: string): void {
    this.begin([{ key, entry: entryText(this.store.nextVersion, value) }])
    this.store.stagePut(head, tail)
    this.commit()
  }

  /** Lines as the network would hand them over, each with a buffer of its own. */
  private receive(key: string, pieces: readonly string[]): [head: number, tail: number] {
    const { region, store } = this
    const { pool } = store
    let head = NO_META
    let tail = NO_META
    for (const piece of pieces) {
      const buffer = pool.allocateBuffer()
      const text = bytes(head === NO_META ? `${key}${piece}` : piece)
      const offset = head === NO_META ? key.length : 0
      pool.bufferBytes(buffer).set(text, pool.bufferStart(buffer))
      const length = text.length - offset
      const sum = region.sumView(buffer, offset, length)
      const meta = pool.createView(buffer, offset, length, sum | (NO_FRAME << 16))
      setArrival(pool, meta, ARRIVAL_NS)
      if (head === NO_META) {
        adoptHead(pool, meta, 0, key.length)
        head = meta
      } else store.appendFragment(head, tail, meta)
      tail = meta
    }
    return [head, tail]
  }

  private checkSnapshot(): void {
    if (this.snapshot === undefined || this.snapshot.view.ended) return
    const { view, model } = this.snapshot
    const seen = new Map<string, string>()
    for (const { key, meta } of view.entries())
      seen.set(
        Buffer.from(key).toString(),
        entryText(versionNumber(this.store.pool, meta), Buffer.from(this.store.read(meta)).toString()),
      )
    const key = difference(seen, model)
    if (key !== '') this.fault = `the snapshot sees ${key} changed`
  }

  /** Behind the next fence an upgrade is durable. */
  private checkUpgrades(): void {
    const { region, store } = this
    for (const { meta, version, fences } of this.upgraded) {
      if (region.counters.fences === fences || !store.list.has(meta)) continue
      if (versionNumber(store.pool, meta) !== version) continue
      if (region.durableWord(meta, W_PAYLOAD_CRC) === 0 && region.durableWord(meta, W_PAYLOAD_CRC_COMPLEMENT) === 0)
        this.fault = `the upgrade of line ${meta} is not durable behind a fence`
    }
  }
}
