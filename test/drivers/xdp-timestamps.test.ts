/**
 * Arrival times from the interface: the program asks the driver for each frame, and what it says stands in front of the
 * frame. The driver of veth has the function but stamps nothing, so that its answer is 0: other answers are written in
 * front of frames by hand.
 */
import * as assert from 'uvu/assert'
import { ReceiveBurst } from '../../drivers/device.ts'
import { privateNetworkSuite } from '../support/netns.ts'
import { lacksXdpPair, PEER, withSocket, XdpPair } from '../support/xdp-pair.ts'

const test = privateNetworkSuite('xdp timestamps', import.meta.url, { missing: lacksXdpPair })

/** Where a frame begins in its buffer, and what stands in front of it. */
const FRAME_OFFSET = 256
const STAMP_OFFSET = FRAME_OFFSET - 8
const GARBAGE = 0x77777777

let pair: XdpPair
let unsupported: string | undefined

test.before(() => {
  pair = new XdpPair(1)
  try {
    pair.open({ timestamps: 'hardware' }).close()
  } catch (error) {
    unsupported = (error as Error).message
  }
})

test.after(() => pair?.close())

/** Every free buffer gets words where a stamp would stand. */
function litter(): void {
  const { pool } = pair.region
  const taken: number[] = []
  for (let buffer = pool.allocateBuffer(); buffer !== -1; buffer = pool.allocateBuffer()) taken.push(buffer)
  for (const buffer of taken) {
    const at = pool.bufferStart(buffer) + STAMP_OFFSET
    pool.bufferView(buffer).setInt32(at, GARBAGE, true)
    pool.bufferView(buffer).setInt32(at + 4, GARBAGE, true)
    pool.releaseBuffer(buffer)
  }
}

/** What a burst says of one frame that the kernel sent. */
async function stampsOf(options: object, sizes: readonly number[]): Promise<{ low: number; high: number }[]> {
  const stamps: { low: number; high: number }[] = []
  litter()
  await withSocket('udp4', (socket) =>
    pair.withDevice(async (device) => {
      const burst = new ReceiveBurst()
      for (const size of sizes) socket.send('x'.repeat(size), 9, PEER)
      const deadline = performance.now() + 2000
      while (stamps.length < sizes.length && performance.now() < deadline) {
        device.receive(burst)
        for (let frame = 0; frame < burst.count; frame++) {
          stamps.push({ low: burst.stamps[frame * 2]!, high: burst.stamps[frame * 2 + 1]! })
          pair.region.pool.releaseBuffer(burst.descriptors[frame * 4]!)
        }
        await new Promise(setImmediate)
      }
    }, options),
  )
  assert.is(stamps.length, sizes.length, 'every frame came')
  return stamps
}

test('the program writes what the driver says in front of each frame: on veth, that it does not know', async () => {
  if (unsupported !== undefined) {
    console.log(`SKIP: ${unsupported}`)
    return
  }
  const sizes = [1, 2, 17, 600, 1472, 3]
  assert.equal(
    await stampsOf({ timestamps: 'hardware' }, sizes),
    sizes.map(() => ({ low: 0, high: 0 })),
  )
})

test('without it nothing is written there, and nothing is read', async () => {
  await pair.withDevice((device) => {
    assert.is(device.capabilities.receiveTime, false)
    assert.match(device.mode, /software arrival times \(the interface stamps none\)/)
  })
  assert.equal(await stampsOf({}, [5]), [{ low: 0, high: 0 }])
})

test('the ready line says whose times there are', async () => {
  if (unsupported !== undefined) {
    console.log(`SKIP: ${unsupported}`)
    return
  }
  await pair.withDevice(
    (device) => {
      assert.is(device.capabilities.receiveTime, true)
      assert.match(device.mode, /, hardware arrival times where the driver has them, /)
    },
    { timestamps: 'hardware' },
  )
  await pair.withDevice((device) => assert.match(device.mode, /, software arrival times, /), { timestamps: 'software' })
})

test('asked for where there can be none: refused, with the reason', () => {
  assert.match(
    pair.refusal({ attach: 'generic', timestamps: 'hardware' }).message,
    /no arrival times from pr-b: generic XDP hands over none; choose software/,
  )
})

test.run()
