/**
 * Receive packet steering of a TAP: which processors of this host take in the frames that Packrat sends.
 *
 *   write ─► kernel ─┬─ unsteered: IP, TCP and the wake-up of the client happen in the write, on Packrat's processor
 *                    └─ steered:   a queue of another processor; the write returns, and the rest happens there
 *
 * Half of what a frame costs its sender is the receiver's work; Linux calls handing that over RPS
 * (Documentation/networking/scaling.rst). Flows are spread over the processors by their hash, so each stays in order.
 *
 * Called by: tap.ts. Calls: tuntap2 through it.
 *
 * Invariant: `auto` changes no mask that somebody has set.
 */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { PackratError } from '../storage/errors.ts'

/** Processors by number; `auto`: those that this process is kept off; `none`: the interface stays as it is. */
export type SteeringWish = 'auto' | 'none' | readonly number[]

/** The TAP, as far as it matters here. */
export interface Steered {
  /** The kernel's mask. */
  steering: string
}

/** Linux's limit (NR_CPUS) on the machines that Node.js runs on. */
const CPUS_MAX = 8192
const MASK_WORD_BITS = 32

/** `0,2-4` as [0, 2, 3, 4]: the kernel's list format. Undefined if it is none. */
export function parseCpuList(text: string): number[] | undefined {
  const cpus = new Set<number>()
  for (const item of text.trim().split(',')) {
    const [, first, last = first] = /^(\d{1,4})(?:-(\d{1,4}))?$/.exec(item) ?? []
    if (first === undefined || Number(last) < Number(first) || Number(last) >= CPUS_MAX) return undefined
    for (let cpu = Number(first); cpu <= Number(last); cpu++) cpus.add(cpu)
  }
  return [...cpus].sort((a, b) => a - b)
}

/** [0, 2, 3, 4] as `0,2-4`. */
export function formatCpuList(cpus: readonly number[]): string {
  const runs: [first: number, last: number][] = []
  for (const cpu of cpus) {
    const run = runs.at(-1)
    if (run !== undefined && run[1] === cpu - 1) run[1] = cpu
    else runs.push([cpu, cpu])
  }
  return runs.map(([first, last]) => (first === last ? `${first}` : `${first}-${last}`)).join(',')
}

/** The mask as the kernel reads and writes it: hexadecimal words of 32 processors, the highest first. */
export function cpuMask(cpus: readonly number[]): string {
  const words = [0]
  for (const cpu of cpus) {
    const word = Math.floor(cpu / MASK_WORD_BITS)
    while (words.length <= word) words.push(0)
    words[word]! |= 1 << (cpu % MASK_WORD_BITS)
  }
  const texts = words.map((word) => (word >>> 0).toString(16).padStart(MASK_WORD_BITS / 4, '0'))
  return texts.reverse().join(',')
}

/** Processors that this process may not run on. None if it may run on all: then nobody knows which one it will poll on. */
export function processorsOfOthers(root = '/'): number[] {
  const status = readFileSync(join(root, 'proc/self/status'), 'utf8')
  const own = new Set(parseCpuList(/^Cpus_allowed_list:\s*(\S+)$/m.exec(status)?.[1] ?? ''))
  const online = parseCpuList(readFileSync(join(root, 'sys/devices/system/cpu/online'), 'utf8')) ?? []
  return own.size === 0 ? [] : online.filter((cpu) => !own.has(cpu))
}

/**
 * @returns what was chosen, for people; undefined: nothing was to be done
 * @throws PackratError NO_STEERING if processors were named and cannot be had
 */
export function steer(tap: Steered, wish: SteeringWish, others = processorsOfOthers): string | undefined {
  if (wish === 'none') return undefined
  const cpus = wish === 'auto' ? others() : wish
  if (cpus.length === 0) return undefined
  try {
    const before = tap.steering
    if (wish === 'auto' && /[1-9a-f]/i.test(before)) return `steered by the mask ${before} that it had`
    tap.steering = cpuMask(cpus)
    return `steered to CPU ${formatCpuList(cpus)}`
  } catch (error) {
    const { message } = error as Error
    if (wish === 'auto') return `not steered: ${message}`
    throw new PackratError(
      'NO_STEERING',
      `--steer ${formatCpuList(cpus)} is not possible: ${message}; use --steer none`,
    )
  }
}
