/** The pcapng writer against a slow reader written from the draft, and against tshark where it is installed. */
import { spawnSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { DIRECTION_INBOUND, DIRECTION_OUTBOUND, DIRECTION_UNKNOWN, PcapngWriter } from '../../drivers/pcapng.ts'
import { PcapngReader } from '../../drivers/pcapng-reader.ts'
import { scratchDirectory } from '../support/lab.ts'
import { readCapture } from '../support/pcapng-reader.ts'
import { announceSeed, seededRandom } from '../support/random.ts'

const seed = announceSeed('pcapng', 20)
/** 2026-01-02T03:04:05.678901234Z */
const TIME_NS = 1767323045678901234n
const TSHARK_TIMEOUT_MS = 30_000

function low(timeNs: bigint): number {
  return Number(BigInt.asIntN(32, timeNs))
}

function high(timeNs: bigint): number {
  return Number(BigInt.asIntN(32, timeNs >> 32n))
}

/** A capture with the header that every test needs; `chunks` grows as the writer hands over. */
function startCapture(chunkBytes?: number): { writer: PcapngWriter; chunks: Buffer[] } {
  const chunks: Buffer[] = []
  const writer = new PcapngWriter((chunk) => chunks.push(Buffer.from(chunk)), chunkBytes)
  writer.writeSection({ application: 'packrat test' })
  writer.writeInterface({ name: 'tap:packrat0', description: 'the link', snapBytes: 2048 })
  return { writer, chunks }
}

/** A UDP datagram (10.0.0.1 -> 10.0.0.2) in an Ethernet frame, with a correct IP checksum and no UDP one. */
function udpFrame(payloadBytes: number): Buffer {
  const frame = Buffer.alloc(42 + payloadBytes, 0x5a)
  frame.set([2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0, 0x45, 0])
  frame.writeUInt16BE(28 + payloadBytes, 16)
  frame.set([0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2], 18)
  let sum = 0
  for (let at = 14; at < 34; at += 2) sum += frame.readUInt16BE(at)
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16)
  frame.writeUInt16BE(~sum & 0xffff, 24)
  frame.writeUInt16BE(7, 34)
  frame.writeUInt16BE(4444, 36)
  frame.writeUInt16BE(8 + payloadBytes, 38)
  frame.writeUInt16BE(0, 40)
  return frame
}

test('a frame of every length up to 70 bytes reads back, in one piece and in several', () => {
  const random = seededRandom(seed)
  const { writer, chunks } = startCapture()
  const frames = Array.from({ length: 71 }, (_, length) => Buffer.from(Uint8Array.from({ length }, () => random())))
  for (const [index, frame] of frames.entries()) {
    const timeNs = TIME_NS + BigInt(index)
    writer.beginPacket(0, low(timeNs), high(timeNs), frame.length, index % 2 ? DIRECTION_OUTBOUND : DIRECTION_INBOUND)
    const cut = frame.length === 0 ? 0 : (random() >>> 0) % frame.length
    writer.append(frame, 0, cut)
    writer.append(frame, cut, frame.length - cut)
    writer.endPacket()
  }
  writer.flush()
  const capture = readCapture(Buffer.concat(chunks))
  assert.is(capture.application, 'packrat test')
  assert.equal(capture.interfaces, [{ name: 'tap:packrat0', timeResolution: 9, linkType: 1 }])
  assert.is(capture.packets.length, frames.length)
  for (const [index, packet] of capture.packets.entries()) {
    assert.ok(packet.frame.equals(frames[index]!), `frame of ${index} bytes`)
    assert.is(packet.timeNs, TIME_NS + BigInt(index))
    assert.is(packet.direction, index % 2 ? 2 : 1)
    assert.is(packet.comment, undefined)
  }
})

test('comments of every length mod 4 and not only ASCII stand beside their packet', () => {
  const { writer, chunks } = startCapture()
  const comments = ['', 'a', 'ab', 'abc', 'abcd', 'key größe/€', 'x'.repeat(65_535)]
  for (const comment of comments) {
    writer.beginPacket(0, 0, 0, 3, DIRECTION_UNKNOWN, comment)
    writer.append(Uint8Array.of(1, 2, 3), 0, 3)
    writer.endPacket()
  }
  writer.flush()
  assert.equal(
    readCapture(Buffer.concat(chunks)).packets.map(({ comment }) => comment),
    comments,
  )
  assert.throws(() => writer.beginPacket(0, 0, 0, 0, DIRECTION_UNKNOWN, 'x'.repeat(65_536)), /65535/)
})

test('every chunk ends at the end of a block, also when a block is larger than a chunk', () => {
  const { writer, chunks } = startCapture(256)
  const frame = udpFrame(100)
  const large = udpFrame(1000)
  for (let index = 0; index < 10; index++) {
    const bytes = index === 5 ? large : frame
    writer.beginPacket(0, index, 0, bytes.length, DIRECTION_INBOUND)
    writer.append(bytes, 0, bytes.length)
    writer.endPacket()
  }
  assert.ok(chunks.length > 3, 'chunks went out while writing')
  for (let count = 1; count <= chunks.length; count++) readCapture(Buffer.concat(chunks.slice(0, count)))
  writer.flush()
  assert.is(writer.pendingBytes, 0)
  const { packets } = readCapture(Buffer.concat(chunks))
  assert.equal(
    packets.map(({ timeNs }) => Number(timeNs)),
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
  )
  assert.ok(packets[5]!.frame.equals(large))
})

test('the counts of an interface may exceed 32 bits', () => {
  const { writer, chunks } = startCapture()
  writer.writeStatistics(0, low(TIME_NS), high(TIME_NS), 2 ** 33 + 5, 7)
  writer.flush()
  assert.equal(readCapture(Buffer.concat(chunks)).statistics, [
    { interfaceNumber: 0, received: 2n ** 33n + 5n, dropped: 7n },
  ])
})

test('a frame that is not as long as announced, and an interface that was not declared, are errors', () => {
  const { writer } = startCapture()
  assert.throws(() => writer.beginPacket(1, 0, 0, 4, DIRECTION_INBOUND), /not declared/)
  writer.beginPacket(0, 0, 0, 4, DIRECTION_INBOUND)
  assert.throws(() => writer.append(new Uint8Array(8), 0, 5), /longer/)
  writer.append(new Uint8Array(3), 0, 3)
  assert.throws(() => writer.endPacket(), /shorter/)
  assert.throws(() => writer.beginPacket(0, 0, 0, 4, DIRECTION_INBOUND), /not ended/)
})

test('a comment longer than an option is several, cut between lines', () => {
  const { writer, chunks } = startCapture()
  const line = (index: number): string => `${index} ${'é'.repeat(1500)}`
  const long = Array.from({ length: 50 }, (_, index) => line(index)).join('\n')
  for (const comment of [long, 'short']) {
    writer.beginPacket(0, 0, 0, 3, DIRECTION_UNKNOWN, comment)
    writer.append(Uint8Array.of(1, 2, 3), 0, 3)
    writer.endPacket()
  }
  writer.flush()
  const file = join(scratchDirectory(), 'comments.pcapng')
  writeFileSync(file, Buffer.concat(chunks))
  const reader = new PcapngReader(file)
  const [first, second] = [...reader.packets()]
  reader.close()
  assert.is(first!.comments.length, 3)
  assert.is(first!.comments.join('\n'), long)
  assert.equal(second!.comments, ['short'])
})

test('tshark reads interface, nanoseconds, direction, comment and frame', () => {
  const probe = spawnSync('tshark', ['--version'], { stdio: 'ignore', timeout: TSHARK_TIMEOUT_MS })
  if (probe.status !== 0) {
    console.log('SKIP: tshark is not installed')
    return
  }
  const { writer, chunks } = startCapture()
  for (const [index, payloadBytes] of [1, 2, 3, 4, 1400].entries()) {
    const frame = udpFrame(payloadBytes)
    const timeNs = TIME_NS + BigInt(index)
    const comment = index === 1 ? 'the second' : undefined
    writer.beginPacket(0, low(timeNs), high(timeNs), frame.length, DIRECTION_OUTBOUND, comment)
    writer.append(frame, 0, frame.length)
    writer.endPacket()
  }
  writer.writeStatistics(0, low(TIME_NS), high(TIME_NS), 5, 0)
  writer.flush()
  const file = join(scratchDirectory(), 'written.pcapng')
  writeFileSync(file, Buffer.concat(chunks))
  const fields = [
    'frame.time_epoch',
    'frame.interface_name',
    'frame.packet_flags_direction',
    'frame.comment',
    'udp.length',
  ]
  const tshark = spawnSync(
    'tshark',
    ['-r', file, '-T', 'fields', '-E', 'separator=|', ...fields.flatMap((field) => ['-e', field])],
    { timeout: TSHARK_TIMEOUT_MS, encoding: 'utf8' },
  )
  assert.is(tshark.status, 0, tshark.stderr)
  const rows = tshark.stdout.trim().split('\n')
  assert.is(rows.length, 5)
  assert.match(rows[0]!, /^(1767323045\.678901234|2026-01-02T03:04:05\.678901234Z)\|tap:packrat0\|(0x0*)?2\|\|9$/)
  assert.match(rows[1]!, /678901235Z?\|tap:packrat0\|(0x0*)?2\|the second\|10$/)
  assert.match(rows[4]!, /\|1408$/)
})

test.run()
