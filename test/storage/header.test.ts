/** The two header copies: the newest valid one wins, every flipped byte is noticed, numbers are checked before use. */
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { encodeHeader, extentBytes, type Header, planExtents, readHeader } from '../../storage/header.ts'
import {
  EXTENT_BUFFERS_MAX,
  EXTENT_BUFFERS_STEP,
  EXTENTS_MAX,
  EXTENTS_START,
  HEADER_BYTES,
} from '../../storage/layout.ts'
import { crc32cReference } from '../support/crc32c-reference.ts'

const REGION_BYTES = 1 << 20

function header(generation: number, changes: Partial<Header> = {}): Header {
  return {
    generation,
    uuid: Uint8Array.from({ length: 16 }, (_, i) => i + 1),
    regionBytes: REGION_BYTES,
    linesPerBuffer: 2,
    cleanShutdown: generation % 2 === 0,
    createdNs: 1_700_000_000_123_456_789n,
    versionFloor: 2 ** 40 + generation,
    growingTo: 0,
    extents: planExtents(REGION_BYTES, 2),
    ...changes,
  }
}

const encode = (value: Header): Uint8Array => encodeHeader(value, crc32cReference)
const both = (a: Uint8Array, b: Uint8Array): Uint8Array => Buffer.concat([a, b])
const read = (copies: Uint8Array, bytes = REGION_BYTES): Header => readHeader('r.pm', copies, bytes, crc32cReference)

function codeOf(copies: Uint8Array, bytes = REGION_BYTES): string {
  try {
    read(copies, bytes)
    return 'none'
  } catch (error) {
    return (error as { code: string }).code
  }
}

test('a header reads back as it was written', () => {
  const written = header(6)
  const found = read(both(encode(written), encode(written)))
  assert.equal({ ...found, uuid: [...found.uuid] }, { ...written, uuid: [...written.uuid] })
})

test('a region that uses features unknown here is refused, even if its older copy does not', () => {
  const newer = encode(header(9))
  const view = new DataView(newer.buffer)
  view.setUint32(88, view.getUint32(88, true) | 0x80, true)
  view.setUint32(12, 0, true)
  view.setUint32(12, crc32cReference(newer, 0, HEADER_BYTES), true)
  assert.is(codeOf(both(encode(header(8)), newer)), 'FEATURES')
})

test('of two valid copies the newer one counts, wherever it stands', () => {
  assert.is(read(both(encode(header(7)), encode(header(8)))).generation, 8)
  assert.is(read(both(encode(header(9)), encode(header(8)))).generation, 9)
  assert.is(read(both(encode(header(9)), encode(header(8)))).cleanShutdown, false)
})

test('a copy that was being written when the machine died is passed over', () => {
  const older = encode(header(8))
  const torn = encode(header(9))
  torn.fill(0, 64, 128)
  assert.is(read(both(older, torn)).generation, 8)
  assert.is(read(both(torn, older)).generation, 8)
  assert.is(read(both(new Uint8Array(HEADER_BYTES), older)).generation, 8)
})

test('any flipped byte of a copy is noticed: the other copy counts, and without one the region is refused', () => {
  const sound = encode(header(8))
  for (let at = 0; at < HEADER_BYTES; at += at < 400 ? 1 : 61) {
    const damaged = encode(header(9))
    damaged[at]! ^= 0x10
    assert.is(read(both(sound, damaged)).generation, 8, `byte ${at}`)
    assert.is.not(codeOf(both(damaged, damaged)), 'none', `byte ${at}`)
  }
})

test('what is no region, of another version, or of another length is refused for that reason', () => {
  assert.is(codeOf(new Uint8Array(2 * HEADER_BYTES)), 'NOT_A_REGION')
  assert.is(codeOf(new Uint8Array(0)), 'NOT_A_REGION')
  assert.is(codeOf(Buffer.from('#!/bin/sh\n'.repeat(1000))), 'NOT_A_REGION')
  const foreign = encode(header(8))
  new DataView(foreign.buffer).setUint32(8, 99, true)
  assert.is(codeOf(both(foreign, foreign)), 'FORMAT_VERSION')
  const sound = encode(header(8))
  assert.is(codeOf(both(sound, sound), REGION_BYTES - 4096), 'LENGTH')
  assert.is(codeOf(sound.subarray(0, 4000)), 'NOT_A_REGION')
})

test('numbers that do not fit are refused although their CRC is right', () => {
  const extents = planExtents(REGION_BYTES, 2)
  const wrong: Partial<Header>[] = [
    { linesPerBuffer: 3 },
    { extents: [] },
    { extents: [{ offset: 0, buffers: 32 }] },
    { extents: [{ offset: EXTENTS_START, buffers: 31 }] },
    { extents: [{ offset: EXTENTS_START, buffers: EXTENT_BUFFERS_MAX }] },
    { extents: [extents[0]!, extents[0]!] },
  ]
  for (const changes of wrong) {
    const bytes = encode(header(8, changes))
    assert.is.not(codeOf(both(bytes, bytes)), 'none', JSON.stringify(changes))
  }
})

test('extents fill the region, in whole steps, each below 1 GiB, in order and without overlap', () => {
  for (const bytes of [1 << 18, 1 << 20, 2 ** 30, 2 ** 30 + 12_345, 5 * 2 ** 30, 2 ** 37]) {
    for (const linesPerBuffer of [1, 2, 4, 8]) {
      const extents = planExtents(bytes, linesPerBuffer)
      let end = EXTENTS_START
      for (const { offset, buffers } of extents) {
        assert.is(offset, end)
        assert.is(buffers % EXTENT_BUFFERS_STEP, 0)
        assert.ok(buffers > 0 && buffers <= EXTENT_BUFFERS_MAX)
        end += extentBytes(buffers, linesPerBuffer)
      }
      assert.ok(end <= bytes)
      assert.ok(extents.length <= EXTENTS_MAX)
      const unused = bytes - end
      if (extents.length < EXTENTS_MAX) assert.ok(unused < extentBytes(EXTENT_BUFFERS_STEP, linesPerBuffer))
    }
  }
})

test.run()
