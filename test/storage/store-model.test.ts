/**
 * The store against a plain map with versions: random conditional writes, atomic batches, scans and snapshots, with
 * reopening between them, in a region so small that lines and buffers are reused all the time.
 */
import fc from 'fast-check'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { BatchOperation, Condition } from '../../storage/atomic-batch.ts'
import { versionOf } from '../../storage/entry.ts'
import { ConditionError, FullError } from '../../storage/errors.ts'
import { compareBytes, type Range } from '../../storage/iteration.ts'
import type { Snapshot } from '../../storage/snapshot.ts'
import { Store } from '../../storage/store.ts'
import { announceSeed, seededRandom } from '../support/random.ts'
import { TracingRegion } from '../support/tracing-region.ts'

const SEED = announceSeed('store model', 20260727)
/** 32 buffers, a quarter of them reserved. */
const REGION_BYTES = 1 << 17
const KEYS = ['a', 'ab', 'b', 'b\0', 'c/d', 'longer-key-1', 'longer-key-2', '\xff']
const SNAPSHOTS = 4

interface Entry {
  readonly value: string
  readonly version: bigint
  readonly arrival: bigint
}
type Model = ReadonlyMap<string, Entry>

const bytes = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, 'latin1'))
const text = (value: Uint8Array | undefined): string | undefined => value && Buffer.from(value).toString('latin1')

/* --- operations --- */

/** A condition by what the model says of the key: so that about half of them hold. */
const condition = fc.constantFrom('none', 'none', 'none', 'absent', 'present', 'this', 'other')
const change = fc.record({
  key: fc.constantFrom(...KEYS),
  /** Bytes of the value; -1 deletes. */
  size: fc.constantFrom(-1, -1, 0, 1, 40, 1900, 2048, 4500, 9000),
  condition,
})
const range = fc.record({
  prefix: fc.constantFrom(undefined, undefined, 'a', 'b', 'longer', 'zz'),
  start: fc.constantFrom(undefined, undefined, 'a', 'b', 'c'),
  end: fc.constantFrom(undefined, undefined, 'b', 'c', 'm'),
  limit: fc.constantFrom(undefined, undefined, 0, 1, 3),
  reverse: fc.boolean(),
  /** Bounds of the arrival, as steps of the run before now. */
  since: fc.constantFrom(undefined, undefined, undefined, 3, 10),
  until: fc.constantFrom(undefined, undefined, undefined, 1, 5),
})
const operation = fc.oneof(
  { weight: 8, arbitrary: fc.record({ kind: fc.constant('write' as const), changes: fc.tuple(change) }) },
  {
    weight: 4,
    arbitrary: fc.record({ kind: fc.constant('batch' as const), changes: fc.array(change, { maxLength: 5 }) }),
  },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('scan' as const), slot: fc.nat(SNAPSHOTS), range }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('snapshot' as const), slot: fc.nat(SNAPSHOTS - 1) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('close' as const), slot: fc.nat(SNAPSHOTS - 1) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('settle' as const) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('reopen' as const) }) },
)
type Change = typeof change extends fc.Arbitrary<infer T> ? T : never
type ChosenRange = typeof range extends fc.Arbitrary<infer T> ? T : never
type Operation = typeof operation extends fc.Arbitrary<infer T> ? T : never

/* --- the run --- */

class Run {
  private region = new TracingRegion({ regionBytes: REGION_BYTES })
  private now = 1_000n
  private store = this.open()
  private model: Model = new Map()
  private snapshots: ({ snapshot: Snapshot; model: Model } | undefined)[] = []
  endedForRoom = 0
  retained = 0

  private open(): Store {
    return new Store(this.region, { random: seededRandom(1), clock: () => this.now })
  }

  async step(operation: Operation): Promise<void> {
    this.now++
    switch (operation.kind) {
      case 'write':
      case 'batch':
        await this.write(operation.changes, operation.kind === 'batch')
        break
      case 'scan':
        this.scan(operation.slot, operation.range)
        break
      case 'snapshot':
        this.snapshots[operation.slot]?.snapshot.close()
        this.snapshots[operation.slot] = { snapshot: this.store.snapshot(), model: this.model }
        break
      case 'close':
        this.snapshots[operation.slot]?.snapshot.close()
        this.snapshots[operation.slot] = undefined
        break
      case 'settle':
        await this.store.drain()
        break
      case 'reopen':
        this.reopen()
    }
    this.check()
  }

  private async write(changes: readonly Change[], isBatch: boolean): Promise<void> {
    const { model, store } = this
    const operations = changes.map((change, i) => this.toOperation(change, i))
    const failing = operations.findIndex(({ key, expect }) => !holds(model.get(text(key)!), expect))
    try {
      if (isBatch) {
        const { version, committed } = await store.batch(operations)
        assert.is(committed, changes.length)
        assert.is(version, BigInt(store.nextVersion - 1))
      } else {
        const [first] = operations as [BatchOperation]
        if (first.op === 'put')
          assert.is(await store.put(first.key, first.value, first.expect), BigInt(store.nextVersion - 1))
        else assert.is(await store.delete(first.key, first.expect), model.has(text(first.key)!))
      }
      assert.is(failing, -1, 'a condition that does not hold was not noticed')
    } catch (error) {
      if (error instanceof FullError && failing === -1) return // the check behind every step sees that nothing changed
      if (!(error instanceof ConditionError)) throw error
      assert.is(error.operation, failing)
      assert.is(error.current, model.get(text(operations[failing]!.key)!)?.version)
      return
    }
    const after = new Map(model)
    for (const last of new Map(operations.map((operation) => [text(operation.key)!, operation])).values()) {
      const key = text(last.key)!
      if (last.op === 'delete') after.delete(key)
      else {
        const head = store.find(last.key, 0, last.key.length)
        const version = versionOf(store.pool, head)
        for (const { version: other } of model.values()) assert.ok(version > other, 'versions ascend')
        after.set(key, { value: text(last.value)!, version, arrival: this.now })
      }
    }
    this.model = after
  }

  private toOperation({ key, size, condition }: Change, i: number): BatchOperation {
    const version = this.model.get(key)?.version
    const expect: Condition | undefined =
      condition === 'none'
        ? undefined
        : condition === 'this'
          ? (version ?? 'absent')
          : condition === 'other'
            ? (version ?? 0n) + 1n
            : condition === 'absent' || condition === 'present'
              ? condition
              : undefined
    if (size < 0) return { op: 'delete', key: bytes(key), expect }
    return { op: 'put', key: bytes(key), value: bytes(`${this.now}.${i}.`.repeat(size).slice(0, size)), expect }
  }

  private scan(slot: number, chosen: ChosenRange): void {
    const held = this.snapshots[slot]
    if (held?.snapshot.ended) return
    const since = chosen.since === undefined ? undefined : this.now - BigInt(chosen.since)
    const until = chosen.until === undefined ? undefined : this.now - BigInt(chosen.until)
    const wanted: Range = {
      prefix: chosen.prefix === undefined ? undefined : bytes(chosen.prefix),
      start: chosen.start === undefined ? undefined : bytes(chosen.start),
      end: chosen.end === undefined ? undefined : bytes(chosen.end),
      limit: chosen.limit,
      reverse: chosen.reverse,
      since,
      until,
    }
    const model = held?.model ?? this.model
    const keys = [...model]
      .filter(([key]) => key.startsWith(chosen.prefix ?? ''))
      .filter(
        ([key]) =>
          (chosen.start === undefined || key >= chosen.start) && (chosen.end === undefined || key < chosen.end),
      )
      .filter(
        ([, { arrival }]) => (since === undefined || arrival >= since) && (until === undefined || arrival < until),
      )
      .map(([key]) => key)
      .sort((a, b) => compareBytes(bytes(a), bytes(b)) * (chosen.reverse ? -1 : 1))
      .slice(0, chosen.limit ?? Number.POSITIVE_INFINITY)
    const found = [...(held?.snapshot ?? this.store).entries(wanted)].map(({ key }) => text(key)!)
    assert.equal(found, keys)
  }

  /** A restart ends all snapshots; recovery frees what only they kept. */
  private reopen(): void {
    this.region = new TracingRegion({
      regionBytes: REGION_BYTES,
      image: this.region.durableImage(),
      versionFloor: this.store.nextVersion,
    })
    this.store = this.open()
    assert.equal(this.store.report.corrupt, [])
    this.snapshots = []
    const { pool } = this.store
    assert.is(pool.freeBuffers + pool.storedBuffers, pool.totalBuffers)
  }

  private check(): void {
    this.compare(this.store, this.model)
    for (const held of this.snapshots) {
      if (held === undefined) continue
      if (held.snapshot.ended) {
        assert.throws(() => held.snapshot.get(bytes('a')), /a write needed the room/)
        continue
      }
      this.compare(held.snapshot, held.model)
    }
    this.endedForRoom = Math.max(this.endedForRoom, this.store.snapshots.endedForRoom)
    this.retained = Math.max(this.retained, this.store.snapshots.retainedLines)
  }

  private compare(view: Store | Snapshot, model: Model): void {
    for (const key of KEYS) assert.is(text(view.get(bytes(key))), model.get(key)?.value, `value of ${key}`)
    const seen = [...view.entries()].map(({ key, version, arrival, size }) => [text(key), version, arrival, size])
    const expected = KEYS.filter((key) => model.has(key)).map((key) => {
      const { version, arrival, value } = model.get(key)!
      return [key, version, arrival, value.length]
    })
    assert.equal(seen, expected)
  }

  /** In the end everything is free that is not stored. */
  async finish(): Promise<void> {
    for (const held of this.snapshots) held?.snapshot.close()
    await this.store.drain()
    const { pool, snapshots } = this.store
    assert.equal([snapshots.count, snapshots.retainedLines], [0, 0])
    assert.is(pool.freeBuffers + pool.storedBuffers, pool.totalBuffers)
    let lines = 0
    for (const { meta } of this.store.entries()) for (let at = meta; at !== 0; at = pool.next(at)) lines++
    assert.is(pool.freeMetas + lines, pool.totalMetas)
  }
}

function holds(entry: Entry | undefined, expect: Condition | undefined): boolean {
  if (expect === undefined) return true
  if (expect === 'absent') return entry === undefined
  return expect === 'present' ? entry !== undefined : entry?.version === expect
}

test('whatever is done, store and snapshots read as the model says', async () => {
  let endedForRoom = 0
  let retained = 0
  await fc.assert(
    fc.asyncProperty(fc.array(operation, { minLength: 20, maxLength: 120, size: 'max' }), async (operations) => {
      const run = new Run()
      for (const operation of operations) await run.step(operation)
      await run.finish()
      endedForRoom += run.endedForRoom
      retained = Math.max(retained, run.retained)
    }),
    { seed: SEED, numRuns: 120 },
  )
  console.log(`snapshots ended for room: ${endedForRoom}; lines retained at most: ${retained}`)
  assert.ok(retained > 5)
  assert.ok(endedForRoom > 5)
})

test.run()
