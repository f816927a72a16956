/**
 * Mutated conversations with the key-value service over the memory link: whatever the bytes, however they are cut, and
 * whenever the client goes away, nothing throws, nothing hangs, every answer is well-formed, and at the end every
 * buffer and line is free or stored.
 */
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { SNAPSHOT_IDLE_SECONDS } from '../../tools/kv/snapshots.ts'
import { HeldRegion } from '../support/held-region.ts'
import { get, HOST, put, putChunked, remove, request } from '../support/http-requests.ts'
import { parseResponses } from '../support/http-responses.ts'
import { KvBench, type KvClient } from '../support/kv-bench.ts'
import { announceSeed, seededRandom } from '../support/random.ts'

const SEED = announceSeed('service fuzz', 0x0f5e_2021)
const ROUNDS = 40
const CONVERSATIONS_PER_ROUND = 60
/** Keys, few enough that conversations meet. */
const KEYS = ['a', 'b', 'ab', '%ff', 'long-key-of-the-fuzz', '%61']
const SIZES = [0, 1, 5, 200, 255, 256, 1400, 1500, 4000, 30_000]
const SPECIAL = '\r\n\0\t :;,%?#/*"+-=0159afAF\x7f\x80\xff'
/** Virtual time that a conversation may take, microseconds. */
const LIMIT_US = 30_000_000

class Fuzzer {
  private readonly random: () => number

  constructor(seed: number) {
    this.random = seededRandom(seed)
  }

  below(bound: number): number {
    return (this.random() >>> 0) % bound
  }

  pick<T>(list: readonly T[]): T {
    return list[this.below(list.length)]!
  }

  value(): string {
    return String.fromCharCode(97 + this.below(26)).repeat(this.pick(SIZES))
  }

  fields(): string[] {
    const tag = `"${this.below(300)}"`
    const some = [
      `If-Match: ${tag}`,
      'If-None-Match: *',
      `If-None-Match: ${tag}, W/"3"`,
      `Range: bytes=${this.below(4000)}-${this.below(8000)}`,
      `Range: bytes=-${this.below(50)}`,
      'Connection: close',
      'Expect: 100-continue',
      `X-Filler: ${'f'.repeat(this.below(1800))}`,
    ]
    return some.filter(() => this.below(7) === 0)
  }

  /** The body of a batch. */
  lines(): string {
    const line = (): string =>
      this.below(3) === 0
        ? `{"op":"delete","key":"${this.pick(['a', 'b'])}"${this.pick(['', ',"ifMatch":"*"', ',"if":1'])}}\n`
        : `{"op":"put","key":"${this.pick(['a', 'c'])}","value":"${this.value()}"}\n`
    return Array.from({ length: this.below(4) }, line).join('')
  }

  request(): string {
    const key = this.pick(KEYS)
    switch (this.below(16)) {
      case 0:
      case 1:
      case 2:
        return put(key, this.value(), this.fields())
      case 3:
        return putChunked(
          key,
          Array.from({ length: this.below(5) }, () => `c${this.value()}`),
        )
      case 4:
      case 5:
        return get(key, this.fields())
      case 6:
        return remove(key, this.fields())
      case 7:
        return request('HEAD', `/kv/${key}`, this.fields())
      case 8:
        return request('GET', `/kv?prefix=${key}&limit=${this.below(20)}&reverse=${this.below(3)}`)
      case 9:
        return request(this.pick(['POST', 'OPTIONS', 'DELETE']), this.pick(['/', '/kv', '/kv/a', '/x']), this.fields())
      case 10:
        return `PUT /kv/${key} HTTP/1.${this.below(2)}\r\n${HOST}\r\n`
      case 11:
      case 12:
        return request('POST', '/kv/_batch', this.fields(), this.lines())
      case 13:
        return putChunked('_batch', [this.lines(), this.lines()]).replace('PUT', 'POST')
      case 14:
        return request('POST', '/kv/_snapshot')
      default:
        return request('GET', this.pick(['/', '/stats', '/nothing']))
    }
  }

  /** Requests in a row, with a few bytes changed, added, left out, or the rest cut off. */
  bytes(): Buffer {
    let bytes = Buffer.from(Array.from({ length: 1 + this.below(6) }, () => this.request()).join(''), 'latin1')
    for (let mutations = this.pick([0, 0, 1, 1, 2, 6]); mutations > 0 && bytes.length > 0; mutations--) {
      // Most of what means something stands near the front of a request.
      const at = this.below(this.below(2) === 0 ? Math.min(bytes.length, 120) : bytes.length)
      const special = SPECIAL.charCodeAt(this.below(SPECIAL.length))
      const kind = this.below(5)
      if (kind === 0) bytes[at] = special
      else if (kind === 1) bytes[at]! ^= 1 << this.below(8)
      else if (kind === 2) bytes = Buffer.concat([bytes.subarray(0, at), Buffer.of(special), bytes.subarray(at)])
      else if (kind === 3) bytes = Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + 1 + this.below(9))])
      else bytes = bytes.subarray(0, at)
    }
    // The last request is often left unfinished, by a client that then goes away.
    return this.below(3) === 0 ? bytes.subarray(0, bytes.length - this.below(Math.min(bytes.length, 60) + 1)) : bytes
  }
}

/** Completes what is on its way, as the native thread would at some moment. */
function completeSometimes(bench: KvBench, fuzzer: Fuzzer): void {
  const { region } = bench
  if (region instanceof HeldRegion && region.isHolding && fuzzer.below(2) === 0) {
    region.complete()
    bench.resume()
  }
  if (bench.service.hasStalled) bench.resume()
}

/** What came back begins with a well-formed response head, unless an abort cut it off. */
function checkAnswers(client: KvClient): void {
  const { bytes } = client
  if (bytes.length === 0) return
  assert.is(bytes.toString('latin1', 0, 9), 'HTTP/1.1 ')
  // Which request it answers is not known after the mutations, so neither is where its body ends: heads have none.
  assert.is(parseResponses(bytes, ['HEAD']).responses.length, 1)
}

function converse(bench: KvBench, fuzzer: Fuzzer, clients: KvClient[]): void {
  const client = bench.connect()
  clients.push(client)
  client.reading = fuzzer.below(8) !== 0
  const bytes = fuzzer.bytes()
  const pieceMax = bytes.length > 2000 ? fuzzer.pick([500, 1448, 100_000]) : fuzzer.pick([1, 40, 700, 100_000])
  for (let at = 0; at < bytes.length; ) {
    const length = 1 + fuzzer.below(pieceMax)
    client.send(bytes.subarray(at, at + length))
    at += length
    if (fuzzer.below(3) === 0) bench.runFor(300)
    completeSometimes(bench, fuzzer)
  }
  switch (fuzzer.below(4)) {
    case 0:
      client.abort()
      return
    case 1:
      client.close()
      return
    default:
      bench.runFor(fuzzer.below(3000))
  }
}

/** Everybody leaves, all batches complete; then nothing may be left. */
function finish(bench: KvBench, clients: readonly KvClient[]): string {
  for (let turn = 0; turn < 50; turn++) {
    bench.runFor(100_000)
    const { region } = bench
    if (!(region instanceof HeldRegion) || !region.isHolding) break
    region.complete()
    bench.resume()
  }
  for (const client of clients) {
    if (!client.reading && client.closeReason === -1) client.resumeReading()
    checkAnswers(client)
  }
  bench.runFor(LIMIT_US)
  for (const client of clients) if (client.closeReason === -1) client.abort()
  // Snapshots that nobody ended are when the next request comes, and give back what they keep.
  bench.runFor((SNAPSHOT_IDLE_SECONDS + 1) * 1_000_000)
  bench.one(request('GET', '/stats'))
  return bench.leaks()
}

for (const asynchronous of [false, true]) {
  test(`mutated conversations leave the service whole (${asynchronous ? 'asynchronous' : 'synchronous'})`, () => {
    const total = { requests: 0, refused: 0, changes: 0 }
    for (let round = 0; round < ROUNDS; round++) {
      const seed = SEED + round * 2 + (asynchronous ? 1 : 0)
      const fuzzer = new Fuzzer(seed)
      const regionBytes = fuzzer.pick([1 << 19, 1 << 20, 4 << 20])
      const bench = new KvBench({ region: new HeldRegion({ regionBytes, asynchronous }), maxValue: 100_000 })
      const clients: KvClient[] = []
      for (let i = 0; i < CONVERSATIONS_PER_ROUND; i++) {
        converse(bench, fuzzer, clients)
        completeSometimes(bench, fuzzer)
        // At most so many connections are open at a time.
        const open = clients.filter(({ closeReason }) => closeReason === -1)
        if (open.length > 12) open[fuzzer.below(open.length)]!.abort()
      }
      total.requests += bench.service.counters.requests
      total.refused += bench.service.counters.refused
      total.changes += bench.store.counters.changes
      assert.is(finish(bench, clients), '', `round ${round}; seed ${seed}`)
      for (const { key, meta } of bench.store.entries()) {
        assert.is(bench.store.verify(meta), 0, `${Buffer.from(key)} fails its check; seed ${seed}`)
      }
      assert.is(bench.one(request('GET', '/stats')).status, 200, `it still answers; seed ${seed}`)
    }
    console.log(`service fuzz: ${JSON.stringify(total)}`)
    assert.ok(total.requests > 2000 && total.refused > 200 && total.changes > 300, 'the conversations mean something')
  })
}

test.run()
