/**
 * Receive packet steering: lists and masks of processors as the kernel writes them, what `auto` chooses, and a mask that
 * the kernel has taken, read back from a /sys that shows the test's network.
 */
import { execFileSync } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Tap } from 'tuntap2'
import * as assert from 'uvu/assert'
import {
  cpuMask,
  formatCpuList,
  parseCpuList,
  processorsOfOthers,
  type Steered,
  steer,
} from '../../drivers/steering.ts'
import { TapDevice, tapAvailability } from '../../drivers/tap.ts'
import { LINE_BYTES } from '../../storage/layout.ts'
import { Pool } from '../../storage/pool.ts'
import { scratchDirectory } from '../support/lab.ts'
import { privateNetworkSuite } from '../support/netns.ts'

const test = privateNetworkSuite('steering', import.meta.url, { missing: () => tapAvailability().reason })

/** A TAP that remembers its mask; `failure`: it refuses. */
function fakeTap(mask: string, failure?: string): Steered {
  return {
    get steering() {
      if (failure !== undefined) throw new Error(failure)
      return mask
    },
    set steering(next) {
      mask = next
    },
  }
}

test('lists of processors are read and written as the kernel does', () => {
  for (const [text, cpus] of [
    ['0', [0]],
    ['0,2-4', [0, 2, 3, 4]],
    ['3,1,2', [1, 2, 3]],
    ['7-7\n', [7]],
  ] as const)
    assert.equal(parseCpuList(text), cpus)
  for (const text of ['', 'auto', '2-1', '-1', '0,', '1.5', '9999', '0 1'])
    assert.is(parseCpuList(text), undefined, text)
  assert.is(formatCpuList([0, 2, 3, 4, 9]), '0,2-4,9')
})

test('a mask has 32 processors a word, the highest word first', () => {
  assert.is(cpuMask([0]), '00000001')
  assert.is(cpuMask([0, 1, 31]), '80000003')
  assert.is(cpuMask([1, 32, 70]), '00000040,00000001,00000002')
})

test('auto chooses the processors that this process is kept off, and none if it is kept off none', () => {
  const root = scratchDirectory()
  mkdirSync(join(root, 'proc/self'), { recursive: true })
  mkdirSync(join(root, 'sys/devices/system/cpu'), { recursive: true })
  writeFileSync(join(root, 'sys/devices/system/cpu/online'), '0-3\n')
  for (const [allowed, others] of [
    ['1', [0, 2, 3]],
    ['0-3', []],
    ['0,2', [1, 3]],
  ] as const) {
    writeFileSync(join(root, 'proc/self/status'), `Name:\tnode\nCpus_allowed_list:\t${allowed}\n`)
    assert.equal(processorsOfOthers(root), others)
  }
})

test('what somebody has set stays under auto; what is asked for by name is set, or refused aloud', () => {
  const others = (): number[] => [0, 1]
  const free = fakeTap('00000000')
  assert.is(steer(free, 'auto', others), 'steered to CPU 0-1')
  assert.is(free.steering, '00000003')
  const taken = fakeTap('00000004')
  assert.match(steer(taken, 'auto', others)!, /00000004/)
  assert.is(taken.steering, '00000004')
  steer(taken, [5], others)
  assert.is(taken.steering, '00000020')
  assert.is(steer(taken, 'none', others), undefined)
  assert.is(
    steer(free, 'auto', () => []),
    undefined,
  )
  assert.match(steer(fakeTap('', 'no right'), 'auto', others)!, /not steered: no right/)
  assert.throws(
    () => steer(fakeTap('', 'no right'), [1], others),
    /--steer 1 is not possible: no right; use --steer none/,
  )
})

/** Needs CAP_SYS_ADMIN where the mount namespace belongs: root, not the root of a user namespace. */
const lacksPrivilege = (): string | undefined => {
  const tap = new Tap('pksteer1')
  try {
    void tap.steering
    return undefined
  } catch (error) {
    return (error as Error).message
  } finally {
    tap.release()
  }
}

test('the kernel has the mask, in the network of the TAP', () => {
  const lack = lacksPrivilege()
  if (lack !== undefined) {
    console.log(`SKIP: ${lack}`)
    return
  }
  const pool = new Pool([{ memory: new ArrayBuffer(512 * (LINE_BYTES + 2048)), buffers: 512 }], 1)
  pool.buildFreeLists()
  const device = new TapDevice(pool, { name: 'pksteer0', steer: [0] })
  try {
    assert.is(device.steered, 'steered to CPU 0')
    const show = 'mount -t sysfs none /sys && cat /sys/class/net/pksteer0/queues/rx-0/rps_cpus'
    const mask = execFileSync('unshare', ['--mount', 'sh', '-c', show], { encoding: 'utf8' }).trim()
    assert.is(Number.parseInt(mask.replaceAll(',', ''), 16), 1)
  } finally {
    device.close()
  }
})

test('a TAP refuses what is no mask, and any once it is released', () => {
  const tap = new Tap('pksteer2')
  for (const mask of ['', 'x', '1,2', '123456789']) assert.throws(() => (tap.steering = mask), /mask of processors/)
  tap.release()
  assert.throws(() => tap.steering, /EBADF|released/)
})

test.run()
