/**
 * When each frame of a burst arrived: as the link's own clock says where it stamped the frame, else one reading of the
 * system's clock for the whole burst. The two words go to lines as they are (W_ARRIVAL_LOW, W_ARRIVAL_HIGH), with the mark
 * of a hardware time in them; the entry that such a line becomes is labelled by it.
 *
 * A card's clock may run free, or in another timescale: it is believed only close to the system's clock.
 *
 * Called by: Host, once a burst and once a frame.
 */
import type { ReceiveBurst } from '../drivers/device.ts'
import { ARRIVAL_BY_HARDWARE } from '../storage/layout.ts'
import type { WallClock } from './clock.ts'
import type { EthernetCounters } from './counters.ts'
import { HARDWARE_TIME_SKEW_NS_MAX } from './limits.ts'

const TWO_TO_32 = 4294967296

export class Arrivals {
  /** Of the frame that was taken last: ns since the epoch, with the mark if it is a hardware time. */
  low = 0
  high = 0
  private readonly clock: WallClock
  private readonly counters: EthernetCounters

  constructor(clock: WallClock, counters: EthernetCounters) {
    this.clock = clock
    this.counters = counters
  }

  /** A burst has come: its frames arrived now, as far as software knows. */
  readClock(): void {
    this.clock.read()
    this.low = this.clock.low
    this.high = this.clock.high
  }

  /** The nth frame of a burst with stamps. */
  take(burst: ReceiveBurst, frame: number): void {
    const { clock, counters } = this
    const low = burst.stamps[frame * 2]!
    const high = burst.stamps[frame * 2 + 1]!
    this.low = clock.low
    this.high = clock.high
    if (low === 0 && high === 0) return
    const aheadNs = (high - clock.high) * TWO_TO_32 + (low >>> 0) - (clock.low >>> 0)
    if (aheadNs > HARDWARE_TIME_SKEW_NS_MAX || aheadNs < -HARDWARE_TIME_SKEW_NS_MAX) {
      counters.hardwareTimesRefused++
      return
    }
    counters.hardwareTimes++
    this.low = low
    this.high = high | ARRIVAL_BY_HARDWARE
  }
}
