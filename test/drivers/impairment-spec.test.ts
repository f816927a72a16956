/** The language of --impair: values, directions, JSON, and one clear sentence for each mistake. */
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { ImpairmentError, parseImpairment } from '../../drivers/impairment-spec.ts'

test('every item has its value, in both directions', () => {
  const spec = parseImpairment(
    'delay=20ms,jitter=500us,loss=1%,burst=0.5%/30%/90%/0.001,reorder=2%/3ms,rate=100mbit,queue=256K,dup=0.1%,corrupt=0.0001,mtu=1400,seed=7',
  )
  const path = {
    delayUs: 20_000,
    jitterUs: 500,
    rateBytes: 12_500_000,
    queueBytes: 262_144,
    loss: 0.01,
    burst: { enter: 0.005, leave: 0.3, lossBad: 0.9, lossGood: 0.001 },
    reorder: 0.02,
    reorderDelayUs: 3000,
    duplicate: 0.001,
    corrupt: 0.0001,
    mtuBytes: 1400,
  }
  assert.equal(spec, { seed: 7, rx: path, tx: path })
})

test('an item of a direction replaces the common one of its key only', () => {
  const { rx, tx } = parseImpairment('delay=20ms, loss=1% ; rx:loss=3% ; tx: delay=1.5s')
  assert.is(rx.delayUs, 20_000)
  assert.is(rx.loss, 0.03)
  assert.is(tx.delayUs, 1_500_000)
  assert.is(tx.loss, 0.01)
})

test('JSON says the same', () => {
  const text = 'delay=20ms,reorder=2%,rate=10mbit,seed=9;rx:loss=3%,mtu=600'
  const json = '{"delay": "20ms", "reorder": 0.02, "rate": "10mbit", "seed": 9, "rx": {"loss": "3%", "mtu": 600}}'
  assert.equal(parseImpairment(json), parseImpairment(text))
})

test('defaults follow from the rest: queue from rate, time of reordering from delay, loss of a burst', () => {
  assert.is(parseImpairment('rate=1mbit').rx.queueBytes, 65_536)
  assert.is(parseImpairment('rate=1gbit').rx.queueBytes, 12_500_000)
  assert.is(parseImpairment('delay=40ms,reorder=1%').rx.reorderDelayUs, 10_000)
  assert.is(parseImpairment('reorder=1%').rx.reorderDelayUs, 1000)
  assert.equal(parseImpairment('burst=1%/50%').rx.burst, { enter: 0.01, leave: 0.5, lossBad: 1, lossGood: 0 })
  assert.is(parseImpairment('loss=1%').seed, 1)
})

const REFUSED: readonly (readonly [string, RegExp])[] = [
  ['', /'' is no item; write KEY=VALUE/],
  ['delay', /'delay' is no item/],
  ['delay=20ms,', /'' is no item/],
  ['los=1%', /no impairment 'los'; one of delay, .*loss/],
  ['up:loss=1%', /no direction 'up'; write rx: or tx:/],
  ['delay=20', /delay=20 is refused: .*unit, such as 500us/],
  ['delay=20min', /unit/],
  ['delay=601s', /up to 600s/],
  ['loss=101%', /probability/],
  ['loss=1.5', /probability/],
  ['loss=-1%', /probability/],
  ['loss=1%,loss=2%', /given twice/],
  ['rx:loss=1%;rx:loss=2%', /given twice/],
  ['jitter=2ms', /needs a delay at least as long/],
  ['rx:delay=3ms;jitter=2ms', /needs a delay/],
  ['queue=64K', /needs a rate/],
  ['rate=100', /bits per second with their unit/],
  ['rate=0mbit', /bits per second/],
  ['rate=1mbit,queue=0', /a size/],
  ['burst=1%', /ENTER\/LEAVE/],
  ['burst=1%/0%', /never leaves/],
  ['reorder=1%/2ms/3', /PROBABILITY\/TIME/],
  ['mtu=0', /from 1 to 65535/],
  ['seed=0', /from 1 to/],
  ['rx:seed=3', /seed holds for both/],
  ['seed=1,seed=2', /give it once/],
  ['{', /no valid JSON/],
  ['{"rx": 3}', /rx is no object/],
  ['{"loss": [1]}', /neither a text nor a number/],
  ['{"rx": {"tx": {}}}', /neither a text nor a number/],
]

for (const [text, message] of REFUSED) {
  test(`refused: ${text || '(nothing)'}`, () => {
    assert.throws(
      () => parseImpairment(text),
      (error: Error) =>
        error instanceof ImpairmentError && message.test(error.message) && !error.message.includes('\n'),
    )
  })
}

test.run()
