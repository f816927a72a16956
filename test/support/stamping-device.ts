/** A device around a device whose link stamps the arrival of each frame: with the times that a test gives. */
import type { Device, DeviceCapabilities, DeviceCounters, ReceiveBurst, TransmitBurst } from '../../drivers/device.ts'

export class StampingDevice implements Device {
  readonly name: string
  readonly mac: Uint8Array
  readonly capabilities: DeviceCapabilities
  readonly counters: DeviceCounters
  private readonly device: Device
  private readonly clock: () => bigint

  /** @param clock asked for each frame: ns since the epoch, 0n if the link does not know */
  constructor(device: Device, clock: () => bigint) {
    this.device = device
    this.name = device.name
    this.mac = device.mac
    this.capabilities = { ...device.capabilities, receiveTime: true }
    this.counters = device.counters
    this.clock = clock
  }

  get idleBuffers(): number {
    return this.device.idleBuffers
  }

  receive(burst: ReceiveBurst): number {
    const frames = this.device.receive(burst)
    for (let frame = 0; frame < frames; frame++) {
      const ns = this.clock()
      burst.setStamp(frame, Number(BigInt.asIntN(32, ns)), Number(BigInt.asIntN(32, ns >> 32n)))
    }
    return frames
  }

  transmit(burst: TransmitBurst): number {
    return this.device.transmit(burst)
  }

  waitReadable(ready: () => void): void {
    this.device.waitReadable(ready)
  }

  close(): void {
    this.device.close()
  }
}
