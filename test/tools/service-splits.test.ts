/** Answers and stored values depend on the bytes of a conversation alone, never on the segments that bring them. */
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { get, HOST, put, putChunked, remove, request } from '../support/http-requests.ts'
import type { HttpResponse } from '../support/http-responses.ts'
import { KvBench, type KvClient } from '../support/kv-bench.ts'
import { announceSeed, seededRandom } from '../support/random.ts'
import { TracingRegion } from '../support/tracing-region.ts'

const SEED = announceSeed('service splits', 91_12)

const CONVERSATION = [
  put('a', 'the first value'),
  get('a'),
  `\r\n${putChunked('b', ['chunk one, ', 'chunk two', ', three'])}`,
  put('%61', 'encoded key'),
  put('a', '', ['If-Match: "7"']),
  get('b', ['Range: bytes=3-12']),
  remove('a', ['If-None-Match: "1"']),
  request('PUT', '/kv/c', ['X-Filler: some, field', 'If-None-Match: *'], 'c'.repeat(700)),
  get('a'),
  `PUT /kv/e HTTP/1.1\r\n${HOST}\r\n`,
  get('b'),
  request('HEAD', '/kv/c'),
  get('c', ['Connection: close']),
]
const METHODS = CONVERSATION.map((text) => /[A-Z]+/.exec(text)![0])
const BYTES = Buffer.from(CONVERSATION.join(''))

/** What a conversation came to: everything but what tells the time. */
interface Outcome {
  readonly responses: readonly string[]
  readonly values: readonly string[]
}

function describe({ status, fields, body }: HttpResponse): string {
  const told = [...fields].filter(([name]) => !['date', 'last-modified', 'packrat-arrival'].includes(name))
  return `${status} ${told.map(([name, value]) => `${name}=${value}`).join(' ')} ${body.toString('latin1')}`
}

function converse(bench: KvBench, send: (client: KvClient) => void): Outcome {
  const client = bench.connect()
  send(client)
  const responses = client.responses(METHODS).map(describe)
  assert.ok(
    bench.runUntil(() => client.finished),
    'the connection ends',
  )
  client.close()
  const values = [...bench.store.entries()].map(
    ({ key, meta, version }) =>
      `${Buffer.from(key)}@${version}=${Buffer.from(bench.store.read(meta)).toString('latin1')}`,
  )
  return { responses, values }
}

const freshBench = (): KvBench =>
  new KvBench({ region: new TracingRegion({ regionBytes: 1 << 19 }), clientBuffers: 256 })

/** Looking for leaks takes as long as the conversation: every eighth is looked at. */
let benches = -1

function outcomeOf(pieces: readonly Uint8Array[]): Outcome {
  const bench = freshBench()
  const outcome = converse(bench, (client) => client.trickle(pieces))
  if (++benches % 8 === 0) assert.is(bench.leaks(), '')
  return outcome
}

const WHOLE = outcomeOf([BYTES])

test('the conversation in one piece is answered as it should be', () => {
  assert.equal(
    WHOLE.responses.map((text) => Number(text.slice(0, 3))),
    [201, 200, 201, 204, 412, 206, 204, 201, 404, 411, 200, 200, 200],
  )
  assert.equal(WHOLE.values, [`b@2=chunk one, chunk two, three`, `c@4=${'c'.repeat(700)}`])
})

test('cut in two at any place, it is answered the same', () => {
  for (let cut = 1; cut < BYTES.length; cut++) {
    const outcome = outcomeOf([BYTES.subarray(0, cut), BYTES.subarray(cut)])
    assert.equal(outcome, WHOLE, `cut at ${cut} of ${BYTES.length}`)
  }
})

test('byte by byte, it is answered the same', () => {
  assert.equal(outcomeOf(Array.from(BYTES, (byte) => Uint8Array.of(byte))), WHOLE)
})

test('in random pieces, several a burst, it is answered the same', () => {
  const random = seededRandom(SEED)
  for (let run = 0; run < 60; run++) {
    const bench = freshBench()
    const outcome = converse(bench, (client) => {
      for (let at = 0; at < BYTES.length; ) {
        const length = 1 + ((random() >>> 0) % 90)
        client.send(BYTES.subarray(at, at + length))
        at += length
        if ((random() >>> 0) % 3 === 0) bench.runFor(200)
      }
    })
    assert.equal(outcome, WHOLE, `run ${run}; replay with PACKRAT_SEED=${SEED}`)
    assert.is(bench.leaks(), '')
  }
})

test.run()
