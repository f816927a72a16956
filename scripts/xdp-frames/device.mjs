/**
 * The same as loop.c with Packrat's own device: pool, reference counts, descriptors. Called by run.sh.
 *
 *   node device.mjs rx IFACE SECONDS REGION
 *   node device.mjs tx IFACE SECONDS REGION MAC
 */
import { D_BUFFER, DESCRIPTOR_WORDS, ReceiveBurst, TransmitBurst } from '../../dist/drivers/device.js'
import { XdpDevice } from '../../dist/drivers/xdp.js'
import { Region } from '../../dist/storage/region.js'

const BATCH = 128
const FRAME_BYTES = 60
/** Turns of the loop between two looks at the clock. */
const TURNS = 64

const [direction, name, seconds, path, mac] = process.argv.slice(2)
Region.create(path, { bytes: 64 << 20 })
const region = new Region(path, { durability: 'process' })
const { pool, extentOffsets } = region
pool.buildFreeLists(() => false)
const device = new XdpDevice(pool, { interface: name, extentOffsets, ipv4: Uint8Array.of(10, 66, 0, 2) })

function receive(until) {
  const burst = new ReceiveBurst()
  while (performance.now() < until) {
    for (let turn = 0; turn < TURNS; turn++) {
      const frames = device.receive(burst)
      for (let at = 0; at < frames * DESCRIPTOR_WORDS; at += DESCRIPTOR_WORDS) {
        pool.releaseBuffer(burst.descriptors[at + D_BUFFER])
      }
    }
  }
  return device.counters.receivedFrames
}

function transmit(until) {
  const burst = new TransmitBurst()
  const buffers = Array.from({ length: BATCH }, () => pool.allocateBuffer())
  for (const buffer of buffers) {
    const frame = Buffer.alloc(FRAME_BYTES)
    Buffer.from(mac.replaceAll(':', ''), 'hex').copy(frame)
    frame[6] = 2
    Buffer.from('08004500002e000000004011', 'hex').copy(frame, 12)
    Buffer.from([10, 66, 0, 1, 10, 66, 0, 2]).copy(frame, 26)
    pool.bufferBytes(buffer).set(frame, pool.bufferStart(buffer))
  }
  while (performance.now() < until) {
    for (let turn = 0; turn < TURNS; turn++) {
      burst.clear()
      for (const buffer of buffers) burst.push(buffer, 0, FRAME_BYTES, 0)
      device.transmit(burst)
    }
  }
  return device.counters.transmittedFrames
}

const started = performance.now()
const until = started + Number(seconds) * 1000
const frames = direction === 'tx' ? transmit(until) : receive(until)
console.log(Math.round((frames * 1000) / (performance.now() - started)))
device.close()
region.close()
