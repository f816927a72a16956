/**
 * Which of the images that a crash may leave are built: all of them where they are few, else the extremes and random ones.
 *
 *   durable image + for each candidate (a line, or a sector) one of its states since then     = a crash image
 *
 * Images are told apart by a hash that is the XOR of the hashes of their lines, so that the hash of an image costs no more
 * than the lines in which it differs from the durable one.
 */
import { LINE_BYTES } from '../../storage/layout.ts'
import type { Candidate, TracingRegion } from '../support/tracing-region.ts'

/** All subsets of so many candidates. */
const EXHAUSTIVE_CANDIDATES = 10
/** All combinations of states, where candidates have several, up to so many. */
const EXHAUSTIVE_STATES = 1024
/** Beyond: none, one, two, all but one, all, and so many at random. */
const RANDOM_IMAGES = 20
/** All pairs of so many candidates, else so many random ones. */
const PAIR_CANDIDATES = 12
const RANDOM_PAIRS = 32

/** A state number for each candidate: 0 is durable, i its state i - 1; negative: torn between that and the one before. */
type Choice = Int16Array

export interface CrashImage {
  readonly hash: number
  /** Builds the bytes; they are right until the next image is built. */
  readonly bytes: () => Uint8Array
}

function* choices(candidates: readonly Candidate[], random: () => number): Generator<Choice> {
  const count = candidates.length
  const newest = (i: number): number => candidates[i]!.states.length
  const choose = (included: (i: number) => boolean): Choice =>
    Int16Array.from(candidates, (_, i) => (included(i) ? newest(i) : 0))
  if (count <= EXHAUSTIVE_CANDIDATES) {
    for (let mask = 0; mask < 1 << count; mask++) yield choose((i) => ((mask >> i) & 1) === 1)
  } else {
    yield choose(() => false)
    yield choose(() => true)
    for (let one = 0; one < count; one++) {
      yield choose((i) => i === one)
      yield choose((i) => i !== one)
    }
    for (const [a, b] of pairs(count, random)) yield choose((i) => i === a || i === b)
    for (let i = 0; i < RANDOM_IMAGES; i++) yield choose(() => (random() & 1) === 1)
  }
  const combinations = candidates.reduce((product, { states }) => product * (states.length + 1), 1)
  const older = candidates.some(({ states }) => states.length > 1)
  if (older && combinations <= EXHAUSTIVE_STATES) yield* allStates(candidates)
  if (older || candidates.some(({ torn }) => torn.includes(true)))
    for (let i = 0; i < RANDOM_IMAGES; i++) yield randomStates(candidates, random)
}

function* few(candidates: readonly Candidate[], random: () => number, most: number): Generator<Choice> {
  if (most === 0) return
  yield new Int16Array(candidates.length)
  yield Int16Array.from(candidates, ({ states }) => states.length)
  for (let i = 2; i < most; i++) yield randomStates(candidates, random)
}

function* pairs(count: number, random: () => number): Generator<[number, number]> {
  if (count > PAIR_CANDIDATES) {
    for (let i = 0; i < RANDOM_PAIRS; i++) yield [(random() >>> 0) % count, (random() >>> 0) % count]
    return
  }
  for (let a = 0; a < count; a++) for (let b = a + 1; b < count; b++) yield [a, b]
}

function* allStates(candidates: readonly Candidate[]): Generator<Choice> {
  const choice = new Int16Array(candidates.length)
  for (;;) {
    yield choice.slice()
    let at = 0
    while (at < choice.length && choice[at] === candidates[at]!.states.length) choice[at++] = 0
    if (at === choice.length) return
    choice[at]!++
  }
}

function randomStates(candidates: readonly Candidate[], random: () => number): Choice {
  return Int16Array.from(candidates, ({ states, torn }) => {
    const state = (random() >>> 0) % (states.length + 1)
    return state > 0 && torn[state - 1] && (random() & 1) === 1 ? -state : state
  })
}

/** A hash of one line at its place, of 53 bits. */
function hashLine(line: number, content: Uint8Array): [number, number] {
  let low = Math.imul(line + 1, 0x9e3779b1)
  let high = Math.imul(line + 1, 0x85ebca77)
  for (let at = 0; at < LINE_BYTES; at += 4) {
    const word = content[at]! | (content[at + 1]! << 8) | (content[at + 2]! << 16) | (content[at + 3]! << 24)
    low = Math.imul(low ^ word, 0xcc9e2d51)
    low ^= low >>> 15
    high = Math.imul(high + word, 0x1b873593)
    high ^= high >>> 13
  }
  return [low, high]
}

/**
 * The images of one crash point.
 * @param most not more than so many: the durable one, the one with everything, and random ones
 */
export function* crashImages(
  region: TracingRegion,
  random: () => number,
  most = Number.POSITIVE_INFINITY,
): Generator<CrashImage> {
  const candidates = region.candidates()
  const durable = region.durableImage()
  const base = hashImage(durable)
  const image = durable.slice()
  let built: readonly (readonly [number, Uint8Array])[] = []
  const chosen = most === Number.POSITIVE_INFINITY ? choices(candidates, random) : few(candidates, random, most)
  for (const choice of chosen) {
    const changed = contents(candidates, choice, region, random)
    let [low, high] = base
    for (const [line, content] of changed) {
      const before = hashLine(line, region.durableLine(line))
      const after = hashLine(line, content)
      low ^= before[0] ^ after[0]
      high ^= before[1] ^ after[1]
    }
    yield {
      hash: (low >>> 0) * 2 ** 21 + (high & 0x1fffff),
      bytes: () => {
        for (const [line] of built) image.set(region.durableLine(line), line * LINE_BYTES)
        for (const [line, content] of changed) image.set(content, line * LINE_BYTES)
        built = changed
        return image
      },
    }
  }
}

function hashImage(image: Uint8Array): [number, number] {
  let low = 0
  let high = 0
  for (let line = 0; line * LINE_BYTES < image.length; line++) {
    const hash = hashLine(line, image.subarray(line * LINE_BYTES, (line + 1) * LINE_BYTES))
    low ^= hash[0]
    high ^= hash[1]
  }
  return [low, high]
}

function contents(
  candidates: readonly Candidate[],
  choice: Choice,
  region: TracingRegion,
  random: () => number,
): [number, Uint8Array][] {
  const changed: [number, Uint8Array][] = []
  for (const [i, { lines, states }] of candidates.entries()) {
    const state = Math.abs(choice[i]!)
    if (state === 0) continue
    for (const [part, line] of lines.entries()) {
      const content = states[state - 1]![part]!
      if (choice[i]! > 0) changed.push([line, content])
      else changed.push([line, tear(state > 1 ? states[state - 2]![part]! : region.durableLine(line), content, random)])
    }
  }
  return changed
}

/** Some words of the one, the others of the other. */
function tear(before: Uint8Array, after: Uint8Array, random: () => number): Uint8Array {
  const torn = before.slice()
  for (let at = 0; at < LINE_BYTES; at += 4) if (random() & 1) torn.set(after.subarray(at, at + 4), at)
  return torn
}
