/** Sizes on the command line: binary units, exact, nothing guessed. */
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { formatSize, parseSize } from '../../tools/size.ts'

test('sizes are read with binary units', () => {
  for (const [text, bytes] of [
    ['0', 0],
    ['512', 512],
    ['64K', 65536],
    ['64k', 65536],
    ['64KiB', 65536],
    ['1.5M', 1572864],
    ['1G', 2 ** 30],
    ['2T', 2 ** 41],
  ] as const) {
    assert.is(parseSize(text), bytes, text)
  }
})

test('what is not a size is refused, not guessed', () => {
  for (const text of [
    '',
    'K',
    '-1',
    '1e3',
    '0x10',
    '1 K',
    '1P',
    '1.0001K',
    '9007199254740993',
    '9999T',
    'NaN',
    '1,5M',
  ]) {
    assert.is(parseSize(text), undefined, text)
  }
})

test('a size that is printed reads back as the same size', () => {
  for (const bytes of [0, 1, 1023, 1024, 1025, 65536, 65537, 2 ** 20, 2 ** 30, 3 * 2 ** 30, 2 ** 40, 5 * 2 ** 40]) {
    assert.is(parseSize(formatSize(bytes)), bytes)
  }
  assert.is(formatSize(8 << 20), '8M')
})

test.run()
