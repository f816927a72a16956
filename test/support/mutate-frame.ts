/**
 * Mutants of frames for test/fuzz/stack.test.ts: flipped bits, bytes that matter, cut and padded frames, lengths that lie,
 * mangled options, splices, and TCP headers with numbers near those of the live connection that the frame belongs to.
 */
import type { SeededRandom } from '../../stack/random.ts'
import { BUFFER_BYTES } from '../../storage/layout.ts'
import { findTransport, repairChecksums } from './checksum-repair.ts'

const ETHERNET_BYTES = 14
const HEADERS_BYTES = 100
const TCP = 6
const UDP = 17
const EDGE_BYTES = [0, 1, 0x7f, 0x80, 0xff]
const EDGE_WORDS = [0, 1, 7, 8, 20, 40, 0x7fff, 0x8000, 0xfffe, 0xffff]
/** Distances of sequence numbers that decide something: one off, a segment, a window, half and all of the space. */
const DISTANCES = [-1, 1, -1448, 1448, -65_535, 65_535, 1 << 20, -(1 << 30), 1 << 30, 0x7fffffff, -0x80000000]
const REPAIRED = 0.7

type Mutator = (frame: Uint8Array, random: SeededRandom, other: Uint8Array) => Uint8Array

function pick<T>(values: readonly T[], random: SeededRandom): T {
  return values[random.below(values.length)]!
}

function viewOf(frame: Uint8Array): DataView {
  return new DataView(frame.buffer, frame.byteOffset, frame.length)
}

function flipBits(frame: Uint8Array, random: SeededRandom): Uint8Array {
  for (let flips = 1 + random.below(8); flips > 0; flips--) frame[random.below(frame.length)]! ^= 1 << random.below(8)
  return frame
}

/** Mostly headers; the payload changes nothing that a header check sees. */
function setBytes(frame: Uint8Array, random: SeededRandom): Uint8Array {
  for (let changes = 1 + random.below(3); changes > 0; changes--) {
    const at = 12 + random.below(Math.max(Math.min(frame.length, HEADERS_BYTES) - 12, 1))
    if (at < frame.length) frame[at] = random.chance(0.5) ? pick(EDGE_BYTES, random) : random.next() & 255
  }
  return frame
}

function truncate(frame: Uint8Array, random: SeededRandom): Uint8Array {
  return frame.subarray(0, random.below(frame.length + 1))
}

function pad(frame: Uint8Array, random: SeededRandom): Uint8Array {
  const padded = new Uint8Array(Math.min(frame.length + 1 + random.below(200), BUFFER_BYTES))
  padded.fill(random.next() & 255)
  padded.set(frame)
  return padded
}

/** Total length, payload length, header lengths, UDP's length: wrong by a little, or absurd. */
function lieAboutLength(frame: Uint8Array, random: SeededRandom): Uint8Array {
  if (frame.length < 40) return frame
  const view = viewOf(frame)
  const { protocol, at } = findTransport(frame)
  const wrong = (before: number): number =>
    (random.chance(0.5) ? before + random.below(17) - 8 : pick(EDGE_WORDS, random)) & 0xffff
  switch (random.below(3)) {
    case 0: {
      const place = frame[13] === 0xdd ? 18 : 16
      view.setUint16(place, wrong(view.getUint16(place)))
      break
    }
    case 1:
      frame[ETHERNET_BYTES] = (frame[ETHERNET_BYTES]! & 0xf0) | random.below(16)
      break
    default:
      if (protocol === TCP && at + 12 < frame.length) frame[at + 12] = (random.below(16) << 4) | (frame[at + 12]! & 15)
      else if (protocol === UDP && at + 6 <= frame.length) view.setUint16(at + 4, wrong(view.getUint16(at + 4)))
  }
  return frame
}

/** Options of TCP, or whatever stands behind the first 20 bytes of another transport. */
function mangleOptions(frame: Uint8Array, random: SeededRandom): Uint8Array {
  const { protocol, at } = findTransport(frame)
  if (protocol < 0) return frame
  const end = protocol === TCP ? at + ((frame[at + 12]! >>> 4) << 2) : at + 60
  for (let place = at + 20; place < Math.min(end, frame.length); place++)
    if (random.chance(0.3)) frame[place] = random.below(random.chance(0.8) ? 36 : 256)
  return frame
}

function splice(frame: Uint8Array, random: SeededRandom, other: Uint8Array): Uint8Array {
  const from = random.below(other.length)
  const head = frame.subarray(0, random.below(frame.length + 1))
  const spliced = new Uint8Array(Math.min(head.length + other.length - from, BUFFER_BYTES))
  spliced.set(head)
  spliced.set(other.subarray(from, from + spliced.length - head.length), head.length)
  return spliced
}

/** Numbers near the right ones, any flags, windows at their edges. */
function moveSequence(frame: Uint8Array, random: SeededRandom): Uint8Array {
  const { protocol, at, end } = findTransport(frame)
  if (protocol !== TCP || at + 20 > end) return frame
  const view = viewOf(frame)
  const move = (place: number): void => view.setInt32(place, (view.getInt32(place) + pick(DISTANCES, random)) | 0)
  if (random.chance(0.5)) move(at + 4)
  if (random.chance(0.4)) move(at + 8)
  if (random.chance(0.4)) frame[at + 13] = random.chance(0.5) ? 1 << random.below(8) : random.next() & 255
  if (random.chance(0.3)) view.setUint16(at + 14, pick(EDGE_WORDS, random))
  if (random.chance(0.2)) view.setUint16(at + 18, pick(EDGE_WORDS, random)) // the urgent pointer
  return frame
}

/** A piece of a packet that is longer than what is there, or overlaps what came before. */
function makeFragment(frame: Uint8Array, random: SeededRandom): Uint8Array {
  if (frame.length < 34 || frame[13] !== 0) return frame
  viewOf(frame).setUint16(20, (random.chance(0.5) ? 0x2000 : 0) | random.below(random.chance(0.8) ? 4 : 0x2000))
  return frame
}

const MUTATORS: readonly Mutator[] = [
  flipBits,
  setBytes,
  setBytes,
  truncate,
  pad,
  lieAboutLength,
  mangleOptions,
  splice,
  moveSequence,
  moveSequence,
  makeFragment,
]

/** A changed copy of `frame`; `other` gives its bytes to splices. Receivers stay who they are, mostly. */
export function mutate(frame: Uint8Array, other: Uint8Array, random: SeededRandom): Uint8Array {
  let mutant: Uint8Array = frame.slice()
  for (let changes = 1 + random.below(3); changes > 0 && mutant.length > 0; changes--)
    mutant = pick(MUTATORS, random)(mutant, random, other)
  if (random.chance(0.9)) mutant.set(frame.subarray(0, Math.min(ETHERNET_BYTES, mutant.length)))
  if (random.chance(REPAIRED)) repairChecksums(mutant)
  return mutant
}

/**
 * A copy with one burst of wrong bits in the IP packet, as short as that the Internet checksum must see it: it sees
 * every burst of up to 15 bits (RFC 1071; of 16 not the one that turns all zeros into all ones).
 */
export function damage(frame: Uint8Array, random: SeededRandom): Uint8Array {
  const copy = frame.slice()
  const first = ETHERNET_BYTES * 8 + random.below((frame.length - ETHERNET_BYTES) * 8)
  const last = Math.min(first + random.below(15), frame.length * 8 - 1)
  for (let bit = first; bit <= last; bit++)
    if (bit === first || random.chance(0.5)) copy[bit >> 3]! ^= 0x80 >> (bit & 7)
  return copy
}
