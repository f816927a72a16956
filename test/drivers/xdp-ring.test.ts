/**
 * The two ends of the AF_XDP rings against a slow model of the kernel's ends, in memory: nothing is lost, doubled or out
 * of order, whatever the interleaving, and across the wrap of the indices at 2^32.
 */
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { XdpRing } from 'xdp-napi'
import { ADDRESS_WORDS_SHIFT, DESCRIPTOR_WORDS_SHIFT, RingConsumer, RingProducer } from '../../drivers/xdp-ring.ts'
import { announceSeed, seededRandom } from '../support/random.ts'

const seed = announceSeed('xdp-ring', 5)
const STEPS = 50_000
const PRODUCER = 0
const CONSUMER = 1
const FLAGS = 2
const DESCRIPTORS = 16

function makeRing(entries: number, shift: number, start: number): XdpRing {
  const words = new Int32Array(DESCRIPTORS + (entries << shift))
  words[PRODUCER] = start
  words[CONSUMER] = start
  return { words, producer: PRODUCER, consumer: CONSUMER, flags: FLAGS, descriptors: DESCRIPTORS, entries }
}

/** Starts close below 2^32, at 2^31, and at 0: a run passes each. */
const STARTS = [-1000, 0x7fffff00, 0]

for (const entries of [2, 64, 2048]) {
  for (const start of STARTS) {
    test(`produced entries arrive once and in order: ${entries} entries from ${start >>> 0}`, () => {
      const random = seededRandom(seed + entries + (start >>> 0))
      const ring = makeRing(entries, DESCRIPTOR_WORDS_SHIFT, start | 0)
      const producer = new RingProducer(ring, DESCRIPTOR_WORDS_SHIFT)
      let next = 1
      let expected = 1
      let kernel = start | 0 // the kernel's consumer
      for (let step = 0; step < STEPS; step++) {
        if (random() & 1) {
          const wanted = 1 + ((random() >>> 0) % entries)
          const count = Math.min(wanted, producer.free(wanted))
          assert.ok(count <= entries - (next - expected), 'never more than the kernel has read')
          if (next - expected + wanted <= entries) assert.ok(count === wanted, 'room that is there is found')
          for (let n = 0; n < count; n++) ring.words[producer.entry(n)] = next + n
          producer.publish(count)
          next += count
        } else {
          const full = (ring.words[PRODUCER]! - kernel) | 0
          assert.is(full, next - expected)
          const count = full === 0 ? 0 : 1 + ((random() >>> 0) % full)
          for (let n = 0; n < count; n++, kernel = (kernel + 1) | 0) {
            const at = DESCRIPTORS + (((kernel >>> 0) % entries) << DESCRIPTOR_WORDS_SHIFT)
            assert.is(ring.words[at], expected++)
          }
          ring.words[CONSUMER] = kernel
        }
      }
      assert.ok(next > entries * 4, 'the ring went round')
    })

    test(`consumed entries are seen once and in order: ${entries} entries from ${start >>> 0}`, () => {
      const random = seededRandom(seed * 3 + entries + (start >>> 0))
      const ring = makeRing(entries, ADDRESS_WORDS_SHIFT, start | 0)
      const consumer = new RingConsumer(ring, ADDRESS_WORDS_SHIFT)
      let next = 1
      let expected = 1
      let kernel = start | 0 // the kernel's producer
      for (let step = 0; step < STEPS; step++) {
        if (random() & 1) {
          const room = entries - ((kernel - ring.words[CONSUMER]!) | 0)
          const count = room === 0 ? 0 : 1 + ((random() >>> 0) % room)
          for (let n = 0; n < count; n++, kernel = (kernel + 1) | 0) {
            ring.words[DESCRIPTORS + (((kernel >>> 0) % entries) << ADDRESS_WORDS_SHIFT)] = next++
          }
          ring.words[PRODUCER] = kernel
        } else {
          const available = consumer.available()
          assert.is(available, next - expected)
          const count = available === 0 ? 0 : 1 + ((random() >>> 0) % available)
          for (let n = 0; n < count; n++) assert.is(ring.words[consumer.entry(n)], expected++)
          consumer.release(count)
        }
      }
      assert.ok(next > entries * 4, 'the ring went round')
    })
  }
}

test('a sleeping kernel is seen by its flag', () => {
  const ring = makeRing(4, ADDRESS_WORDS_SHIFT, 0)
  const producer = new RingProducer(ring, ADDRESS_WORDS_SHIFT)
  assert.not(producer.needsWakeup)
  ring.words[FLAGS] = 1
  assert.ok(producer.needsWakeup)
})

test.run()
