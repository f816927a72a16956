/** The checker of the kill tests knows a history that can have happened from one that cannot. */
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { finalStates, type RegisterOperation } from '../support/linearizability.ts'

const NEVER = Number.POSITIVE_INFINITY
const put = (value: string, called: number, returned: number): RegisterOperation => ({
  write: { value },
  called,
  returned,
})
const read = (value: string | undefined, called: number, returned: number): RegisterOperation => ({
  found: { value },
  called,
  returned,
})
const states = (...operations: RegisterOperation[]): (string | undefined)[] =>
  [...finalStates([undefined], operations)].sort()

test('one after the other: the last write counts', () => {
  assert.equal(states(put('a', 1, 2), put('b', 3, 4), read('b', 5, 6)), ['b'])
})

test('a write that was acknowledged and is not there is lost', () => {
  assert.equal(states(put('a', 1, 2), read(undefined, 3, 4)), [])
})

test('an older value that comes back is resurrected', () => {
  assert.equal(states(put('a', 1, 2), put('b', 3, 4), read('a', 5, 6)), [])
  assert.equal(states(put('a', 1, 2), { write: { value: undefined }, called: 3, returned: 4 }, read('a', 5, 6)), [])
})

test('a value that nobody wrote is torn or invented', () => {
  assert.equal(states(put('ab', 1, 2), read('a', 3, 4)), [])
})

test('writes at the same time may end in either order, but readers agree on it', () => {
  assert.equal(states(put('a', 1, 9), put('b', 2, 8)), ['a', 'b'])
  assert.equal(states(put('a', 1, 4), put('b', 1, 4), read('a', 5, 6), read('b', 7, 8)), [])
})

test('a write without an answer may have happened, at any later moment, or not', () => {
  assert.equal(states(put('a', 1, 2), put('b', 3, NEVER)), ['a', 'b'])
  assert.equal(states(put('a', 1, 2), put('b', 3, NEVER), read('a', 5, 6), read('b', 7, 8)), ['b'])
  assert.equal(states(put('b', 3, NEVER), read('b', 5, 6), read(undefined, 7, 8)), [])
})

test('an answer that says whether there was something counts as a read', () => {
  assert.equal(states(put('a', 1, 2), { found: 'something', write: { value: 'b' }, called: 3, returned: 4 }), ['b'])
  assert.equal(states({ found: 'something', write: { value: 'b' }, called: 3, returned: 4 }), [])
})

test.run()
