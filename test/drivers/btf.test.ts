/** Finding a function in the kernel's type information: in one made by hand, in damaged ones, and in the running kernel's. */
import { existsSync, readFileSync } from 'node:fs'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { findKernelFunction } from '../../drivers/btf.ts'
import { announceSeed, seededRandom } from '../support/random.ts'

const seed = announceSeed('btf', 11)
const KERNEL = '/sys/kernel/btf/vmlinux'

/** [kind, members, bytes behind]: one of every kind, with functions before, between and behind. */
const TYPES: readonly (readonly [kind: number, members: number, behind: number, name?: string])[] = [
  [1, 0, 4, 'int'],
  [2, 0, 0],
  [12, 1, 0, 'first'],
  [3, 0, 12],
  [4, 3, 36, 'second'], // a struct of the same name is no function
  [5, 2, 24],
  [6, 4, 32],
  [7, 0, 0],
  [8, 0, 0, 'u64'],
  [9, 0, 0],
  [10, 0, 0],
  [11, 0, 0],
  [13, 2, 16],
  [12, 0, 0, 'second_longer'],
  [14, 0, 4],
  [15, 2, 24],
  [16, 0, 0],
  [17, 0, 4],
  [18, 0, 0],
  [19, 3, 36],
  [12, 2, 0, 'second'],
]

function makeBtf(types = TYPES): Buffer {
  let strings = '\0'
  const parts: Buffer[] = []
  for (const [kind, members, behind, name] of types) {
    const type = Buffer.alloc(12 + behind, 0xee)
    type.writeUInt32LE(name === undefined ? 0 : strings.length, 0)
    type.writeUInt32LE(((kind << 24) | members) >>> 0, 4)
    type.writeUInt32LE(0, 8)
    parts.push(type)
    if (name !== undefined) strings += `${name}\0`
  }
  const body = Buffer.concat(parts)
  const header = Buffer.alloc(24)
  header.writeUInt16LE(0xeb9f, 0)
  header.writeUInt8(1, 2)
  header.writeUInt32LE(24, 4)
  header.writeUInt32LE(0, 8)
  header.writeUInt32LE(body.length, 12)
  header.writeUInt32LE(body.length, 16)
  header.writeUInt32LE(strings.length, 20)
  return Buffer.concat([header, body, Buffer.from(strings)])
}

test('a function is found behind types of every kind, by its whole name', () => {
  const btf = makeBtf()
  assert.is(findKernelFunction(btf, 'first'), 3)
  assert.is(findKernelFunction(btf, 'second_longer'), 14)
  assert.is(findKernelFunction(btf, 'second'), 21)
  assert.is(findKernelFunction(btf, 'third'), 0)
  assert.is(findKernelFunction(btf, 'int'), 0)
})

test('what is unknown or cut off gives nothing', () => {
  const btf = makeBtf()
  for (let length = 0; length < btf.length - 1; length++) {
    const found = findKernelFunction(btf.subarray(0, length), 'second')
    assert.ok(found === 0 || found === 21)
  }
  assert.is(findKernelFunction(makeBtf([[20, 0, 0], ...TYPES]), 'second'), 0)
  assert.is(findKernelFunction(Buffer.alloc(100), 'second'), 0)
})

test('damaged bytes neither throw nor loop', () => {
  const random = seededRandom(seed)
  for (let round = 0; round < 20_000; round++) {
    const btf = makeBtf()
    for (let count = 0; count < 3; count++) btf[(random() >>> 0) % btf.length] = random() & 0xff
    findKernelFunction(btf, 'second')
  }
})

test("the running kernel's own", () => {
  if (!existsSync(KERNEL)) {
    console.log(`SKIP: this kernel has no ${KERNEL}`)
    return
  }
  assert.ok(findKernelFunction(readFileSync(KERNEL), 'bpf_xdp_metadata_rx_timestamp') > 0)
  assert.is(findKernelFunction(readFileSync(KERNEL), 'packrat_is_no_kernel_function'), 0)
})

test.run()
