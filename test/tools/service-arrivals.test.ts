/**
 * Whose clock an arrival comes from: a time that the link stamped goes to the record to the nanosecond, and the record
 * says so for ever after; a stamp that cannot be right is not believed.
 */
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { PACK_DONE, Packer } from '../../storage/packing.ts'
import { get, put, putChunked, request } from '../support/http-requests.ts'
import { EPOCH_SECONDS, KvBench } from '../support/kv-bench.ts'
import { StampingDevice } from '../support/stamping-device.ts'

const SECOND_NS = 1_000_000_000n

/** A service behind a link whose clock is so far ahead of the system's, and counts on by one for each frame. */
class StampedBench extends KvBench {
  aheadNs = 123_456_789n
  knows = true
  last = 0n

  constructor() {
    super({ wrapServer: (device) => new StampingDevice(device, () => this.stamp()) })
  }

  get softwareNs(): bigint {
    return BigInt(EPOCH_SECONDS) * SECOND_NS + BigInt(this.nowUs) * 1000n
  }

  /** Key, arrival and clock, as the listing tells. */
  listed(): { key: string; arrival: bigint; clock: string | undefined }[] {
    const lines = this.one(get('')).body.toString().trim().split('\n')
    return lines.map((line) => ({
      key: (JSON.parse(line) as { key: string }).key,
      arrival: BigInt(/"arrival":(\d+)/.exec(line)![1]!),
      clock: /"arrivalClock":"(\w+)"/.exec(line)?.[1],
    }))
  }

  private stamp(): bigint {
    if (!this.knows) return 0n
    this.last = this.softwareNs + this.aheadNs
    return this.last
  }
}

test('a stamp of the link is the arrival, to the nanosecond, and labelled', () => {
  const bench = new StampedBench()
  const client = bench.connect()
  assert.is(client.exchange(put('a', 'value'))[0]!.status, 201)
  const stamped = BigInt(client.exchange(get('a'))[0]!.fields.get('packrat-arrival')!)
  assert.is(stamped % 1000n, 789n, 'what the clock of software cannot know')
  const { fields } = bench.one(get('a'))
  assert.is(fields.get('packrat-arrival-clock'), 'hardware')
  assert.equal(bench.listed(), [{ key: 'a', arrival: stamped, clock: 'hardware' }])
  assert.ok(bench.server.counters.ethernet.hardwareTimes > 0)
  assert.is(bench.server.counters.ethernet.hardwareTimesRefused, 0)
})

test('a frame that the link did not stamp has the time of software, and no label', () => {
  const bench = new StampedBench()
  bench.one(put('a', 'stamped'))
  bench.knows = false
  bench.one(put('b', 'not stamped'))
  bench.one(put('a', 'written over'))
  const { fields } = bench.one(get('a'))
  assert.is(fields.get('packrat-arrival-clock'), undefined)
  assert.is(BigInt(fields.get('packrat-arrival')!) % 1000n, 0n)
  assert.equal(
    bench.listed().map(({ key, clock }) => [key, clock]),
    [
      ['a', undefined],
      ['b', undefined],
    ],
  )
})

test('a clock that is more than a second off is not believed', () => {
  for (const aheadNs of [37n * SECOND_NS, -2n * SECOND_NS, SECOND_NS + 1n, -1n << 62n]) {
    const bench = new StampedBench()
    bench.aheadNs = aheadNs
    bench.one(put('a', 'value'))
    const [listed] = bench.listed()
    assert.is(listed!.clock, undefined)
    assert.ok(listed!.arrival <= bench.softwareNs && listed!.arrival > bench.softwareNs - SECOND_NS)
    assert.is(bench.server.counters.ethernet.hardwareTimes, 0)
    assert.ok(bench.server.counters.ethernet.hardwareTimesRefused > 0)
  }
  for (const aheadNs of [SECOND_NS, -SECOND_NS]) {
    const bench = new StampedBench()
    bench.aheadNs = aheadNs
    bench.one(put('a', 'value'))
    assert.is(bench.listed()[0]!.clock, 'hardware')
  }
})

test('every way of writing keeps the label: a key that is copied, chunks, several segments, a batch', () => {
  const bench = new StampedBench()
  bench.one(put('%61', 'x'))
  bench.one(putChunked('b', ['one', 'two', 'three']))
  bench.one(put('c', 'x'.repeat(10_000)))
  bench.one(
    request('POST', '/kv/_batch', [], '{"op":"put","key":"d","value":"x"}\n{"op":"put","key":"e","value":"y"}\n'),
  )
  const listed = bench.listed()
  assert.equal(
    listed.map(({ key, clock }) => [key, clock]),
    ['a', 'b', 'c', 'd', 'e'].map((key) => [key, 'hardware']),
  )
  for (const { arrival } of listed) assert.is(arrival % 1000n, 789n)
  assert.is(bench.one(get('c')).body.toString(), 'x'.repeat(10_000))
  assert.is(bench.leaks(), '')
})

test('packing and recovery keep it', () => {
  const bench = new StampedBench()
  for (let index = 0; index < 20; index++) {
    bench.knows = index % 2 === 0
    bench.one(put(`key-${String(index).padStart(2, '0')}`, `${index}`.repeat(40)))
  }
  const before = bench.listed()
  assert.is(before.filter(({ clock }) => clock === 'hardware').length, 10)
  const onFinding = ({ reason }: { reason: string }): void => assert.unreachable(reason)
  const packer = new Packer(bench.store, bench.region, { sparseBytes: 1024, linesMax: 200, reserve: 16, onFinding })
  assert.is(packer.step(1 << 30), PACK_DONE)
  bench.settle()
  assert.ok(bench.store.counters.moves >= 20)
  assert.equal(bench.listed(), before)
  bench.settle()
  const reopened = new KvBench({ region: bench.region })
  const after = [...reopened.store.entries()].map(({ arrival, hardwareTime }) => [arrival, hardwareTime])
  assert.equal(
    after,
    before.map(({ arrival, clock }) => [arrival, clock === 'hardware']),
  )
})

test.run()
