/** The capture device over a link in memory: every frame of both directions is in the file, and nothing else changes. */
import { spawnSync } from 'node:child_process'
import { readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { CaptureDevice } from '../../drivers/capture.ts'
import { CaptureFile } from '../../drivers/capture-file.ts'
import { D_BUFFER, ReceiveBurst, TransmitBurst, TX_MORE } from '../../drivers/device.ts'
import { MemoryPair } from '../../drivers/memory-pair.ts'
import { BUFFER_BYTES } from '../../storage/layout.ts'
import type { Pool } from '../../storage/pool.ts'
import { scratchDirectory } from '../support/lab.ts'
import { readCapture } from '../support/pcapng-reader.ts'
import { announceSeed, seededRandom } from '../support/random.ts'
import { createPool } from '../support/virtual-link.ts'

const seed = announceSeed('capture', 31)
const TIME_NS = 1767323045678901234n

/** Every reading is a microsecond later than the one before. */
class StepClock {
  low = 0
  high = 0
  private ns = TIME_NS

  read(): void {
    this.ns += 1000n
    this.low = Number(BigInt.asIntN(32, this.ns))
    this.high = Number(BigInt.asIntN(32, this.ns >> 32n))
  }
}

class Lab {
  readonly path = join(scratchDirectory(), 'lab.pcapng')
  readonly poolA = createPool(256)
  readonly poolB = createPool(256)
  readonly pair = new MemoryPair({ poolA: this.poolA, poolB: this.poolB })
  readonly reports: string[] = []
  readonly file = new CaptureFile({
    path: this.path,
    application: 'packrat test',
    clock: new StepClock(),
    report: (message) => this.reports.push(message),
  })
  readonly device = new CaptureDevice(this.pair.a, this.poolA, this.file)

  close(): void {
    this.device.close()
    this.file.close()
    this.pair.b.close()
    assert.is(this.poolA.freeBuffers, this.poolA.totalBuffers, 'every buffer of the captured end is back')
    assert.is(this.poolB.freeBuffers, this.poolB.totalBuffers, 'every buffer of the other end is back')
    assert.equal(this.reports, [])
  }
}

/** Sends one frame, cut into pieces that lie in buffers of their own. */
function sendPieces(
  pool: Pool,
  device: { transmit(burst: TransmitBurst): number },
  frame: Buffer,
  cuts: number[],
): void {
  const burst = new TransmitBurst()
  const edges = [0, ...cuts, frame.length]
  const buffers: number[] = []
  for (let piece = 0; piece + 1 < edges.length; piece++) {
    const bytes = frame.subarray(edges[piece], edges[piece + 1])
    const buffer = pool.allocateBuffer()
    const offset = BUFFER_BYTES - bytes.length // against the end of the buffer: an offset that is not 0
    pool.bufferBytes(buffer).set(bytes, pool.bufferStart(buffer) + offset)
    burst.push(buffer, offset, bytes.length, piece + 2 < edges.length ? TX_MORE : 0)
    buffers.push(buffer)
  }
  assert.is(device.transmit(burst), 1)
  for (const buffer of buffers) pool.releaseBuffer(buffer)
}

function receiveAll(pool: Pool, device: { receive(burst: ReceiveBurst): number }): number {
  const burst = new ReceiveBurst()
  const frames = device.receive(burst)
  for (let index = 0; index < burst.count; index++) pool.releaseBuffer(burst.descriptors[index * 4 + D_BUFFER]!)
  return frames
}

function randomFrame(random: () => number, length: number): Buffer {
  return Buffer.from(Uint8Array.from({ length }, () => random()))
}

test('received and gathered transmitted frames are in the file, in order, with direction and time', () => {
  const random = seededRandom(seed)
  const lab = new Lab()
  const sent = randomFrame(random, 1400)
  const received = randomFrame(random, 61)
  sendPieces(lab.poolA, lab.device, sent, [54, 55, 700])
  sendPieces(lab.poolB, lab.pair.b, received, [])
  assert.is(receiveAll(lab.poolA, lab.device), 1)
  sendPieces(lab.poolA, lab.device, sent, [1000])
  assert.is(receiveAll(lab.poolB, lab.pair.b), 2)
  lab.close()

  const { interfaces, packets, statistics, application } = readCapture(readFileSync(lab.path))
  assert.is(application, 'packrat test')
  assert.equal(
    interfaces.map(({ name }) => name),
    ['memory:a'],
  )
  assert.equal(
    packets.map(({ direction }) => direction),
    [2, 1, 2],
  )
  assert.ok(packets[0]!.frame.equals(sent))
  assert.ok(packets[1]!.frame.equals(received))
  assert.ok(packets[2]!.frame.equals(sent))
  for (const [index, { timeNs }] of packets.entries()) assert.is(timeNs, TIME_NS + BigInt(index + 1) * 1000n)
  assert.equal(statistics, [{ interfaceNumber: 0, received: 3n, dropped: 0n }])
})

test('what was captured before the traffic paused is in the file while the capture goes on', async () => {
  const lab = new Lab()
  const frame = randomFrame(seededRandom(seed), 100)
  sendPieces(lab.poolA, lab.device, frame, [])
  assert.is(statSync(lab.path).size, 0, 'nothing is written in the path of a frame')
  lab.device.waitReadable(() => {})
  for (let turn = 0; turn < 200 && statSync(lab.path).size === 0; turn++) await sleep(10)
  assert.is(readCapture(readFileSync(lab.path)).packets.length, 1)
  sendPieces(lab.poolA, lab.device, frame, [])
  receiveAll(lab.poolB, lab.pair.b)
  lab.close()
  assert.is(readCapture(readFileSync(lab.path)).packets.length, 2)
})

test('a capture of many chunks, closed while writes are under way, is complete', async () => {
  const random = seededRandom(seed + 1)
  const lab = new Lab()
  const frames = Array.from({ length: 2000 }, () => randomFrame(random, 60 + ((random() >>> 0) % 1400)))
  for (const [index, frame] of frames.entries()) {
    sendPieces(lab.poolA, lab.device, frame, [])
    receiveAll(lab.poolB, lab.pair.b)
    if (index % 500 === 0) await sleep(1)
  }
  lab.close()
  await sleep(20) // the write under way ends after the close, and writes the same bytes
  const { packets } = readCapture(readFileSync(lab.path))
  assert.is(packets.length, frames.length)
  for (const [index, { frame }] of packets.entries()) assert.ok(frame.equals(frames[index]!), `frame ${index}`)
})

test('a file that cannot be written is refused with what to do', () => {
  const options = { application: 'packrat test', clock: new StepClock(), report: () => {} }
  for (const path of ['/nonexistent/x.pcapng', '/proc/self/fd']) {
    assert.throws(
      () => new CaptureFile({ ...options, path }),
      (error: { code: string; message: string }) => error.code === 'CAPTURE' && /choose another/.test(error.message),
    )
  }
})

/** Captures until the file may not grow any more; prints what it was told, and whether frames still pass. */
const FULL_DISK_PROGRAM = `
  import { CaptureFile } from ${JSON.stringify(new URL('../../drivers/capture-file.js', import.meta.url).href)}
  const clock = { low: 1, high: 2, read() {} }
  const file = new CaptureFile({ path: process.argv[1], application: 'x', clock, report: (text) => console.log(text) })
  file.addInterface('lo')
  const frame = new Uint8Array(1500)
  let refused = 0
  for (let index = 0; index < 1000; index++) {
    if (file.beginFrame(0, frame.length, 1)) {
      file.append(frame, 0, frame.length)
      file.endFrame()
    } else refused++
    if (index % 100 === 0) await new Promise((resolve) => setTimeout(resolve, 5))
  }
  file.close()
  console.log('missed', file.missedFrames, refused)
`

test('a full disk ends the capture once and says so; the file is whole, and frames pass on', () => {
  const path = join(scratchDirectory(), 'full.pcapng')
  // 200 KiB of 1.5 MB: the limit of a process's files gives the same errors as a full disk.
  const command = 'ulimit -f 200 && exec "$0" --input-type=module --eval "$1" "$2"'
  const child = spawnSync('bash', ['-c', command, process.execPath, FULL_DISK_PROGRAM, path], {
    encoding: 'utf8',
    timeout: 20_000,
  })
  assert.is(child.status, 0, child.stderr)
  const [report, missed, ...rest] = child.stdout.trim().split('\n')
  assert.equal(rest, [])
  assert.match(report!, /full\.pcapng ended after \d+ bytes: EFBIG.*traffic goes on without it$/)
  const [, count, refused] = missed!.split(' ')
  assert.is(count, refused)
  assert.ok(Number(count) > 500, `${count} frames were not captured`)
  const { packets } = readCapture(readFileSync(path))
  assert.ok(packets.length > 50 && packets.length < 200, `${packets.length} packets`)
})

test.run()
