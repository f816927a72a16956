/** The format's table: its packed words, and that the native side has the same one. */
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import * as layout from '../../storage/layout.ts'
import { layout as nativeLayout } from '../../storage/pmem.ts'

test('the words of a line are distinct, in its 64 bytes, and its commit word is the first 8', () => {
  const words = Object.entries(layout).filter(([name]) => /^W_/.test(name))
  assert.equal(
    words.map(([, word]) => word).sort((a, b) => Number(a) - Number(b)),
    Array.from({ length: layout.LINE_WORDS }, (_, word) => word),
  )
  assert.is(layout.LINE_WORDS * 4, layout.LINE_BYTES)
  assert.is(1 << layout.LINE_WORDS_SHIFT, layout.LINE_WORDS)
  assert.is(layout.W_META_CRC, 0)
  assert.is(layout.W_STATE, 1)
  assert.is(layout.CRC_END_WORD, layout.W_NEXT, 'the link changes behind the seal')
  assert.is(layout.W_PAYLOAD_CRC % 2, 0, 'the payload CRC and its complement are one 8-byte store')
})

test('the native side has the same sizes, offsets and kinds', () => {
  const native = nativeLayout()
  assert.ok(Object.keys(native).length >= 20)
  let compared = 0
  for (const [name, value] of Object.entries(native)) {
    if (!(name in layout)) continue
    assert.is((layout as Record<string, unknown>)[name], value, name)
    compared++
  }
  assert.ok(compared >= 18, `${compared} names in common: ${Object.keys(native).join(' ')}`)
})

test('state words and views unpack to what was packed', () => {
  for (const generation of [0, 1, 0x7fff, 0xffff]) {
    for (const kind of [layout.KIND_FREE, layout.KIND_HEAD, layout.KIND_FRAGMENT, layout.KIND_ANCHOR, 255]) {
      for (const flags of [0, layout.FLAG_HARDWARE_TIME, 255]) {
        const state = layout.packState(generation, kind, flags)
        assert.is(state, state | 0, 'a small integer')
        assert.equal(
          [layout.stateGeneration(state), layout.stateKind(state), layout.stateFlags(state)],
          [generation, kind, flags],
        )
      }
    }
  }
  assert.is(layout.stateGeneration(layout.packState(0x12345, 1, 0)), 0x2345, 'generations wrap')
  for (const [offset, length] of [
    [0, 0],
    [2047, 1],
    [0, 2048],
    [0xffff, 0xffff],
  ] as const) {
    const view = layout.packView(offset, length)
    assert.equal([layout.viewOffset(view), layout.viewLength(view)], [offset, length])
  }
})

test('an extent of the largest size stays below 1 GiB, with byte offsets and indices in int32', () => {
  for (const linesPerBuffer of [1, 2, 4, 8]) {
    const bytes = layout.EXTENT_BUFFERS_MAX * (layout.BUFFER_BYTES + linesPerBuffer * layout.LINE_BYTES)
    assert.ok(bytes < 2 ** 30, `${linesPerBuffer} lines a buffer`)
    assert.ok(layout.EXTENTS_MAX * layout.EXTENT_BUFFERS_MAX * linesPerBuffer < 2 ** 31)
  }
  assert.is(layout.BUFFER_BYTES, 1 << layout.BUFFER_SHIFT)
  assert.is(layout.EXTENTS_START % layout.BUFFER_BYTES, 0)
})

test.run()
