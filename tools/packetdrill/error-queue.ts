/**
 * The error queue of a script's socket (Linux MSG_ERRQUEUE): when buffers that were sent without a copy may be reused
 * (SO_ZEROCOPY), and when the last byte of a write was sent and acknowledged (SO_TIMESTAMPING).
 *
 *   write ─► awaited ─► its last byte is sent ─► notices SCHED, SND
 *                    └► acknowledged          ─► notice ACK; zero copy: the range of writes grows, or a new one begins
 *
 * The link of a script copies, as packetdrill's own does: the kernel then says that the bytes were copied after all.
 *
 * Called by: script-socket.ts (writes), process.ts (after each turn), calls-errors.ts (reads).
 */
import { CLOSE_REFUSED, CLOSE_RESET, CLOSE_TIMEOUT, CLOSE_UNREACHABLE } from '../../stack/tcp/application.ts'
import type { Connection } from '../../stack/tcp/connection.ts'
import { seqDiff } from '../../stack/tcp/seq.ts'
import { ERROR_NUMBERS } from './errno.ts'
import { CONSTANTS } from './numbers.ts'

const ORIGIN_TIMESTAMPING = CONSTANTS.get('SO_EE_ORIGIN_TIMESTAMPING')!
const ORIGIN_ZEROCOPY = CONSTANTS.get('SO_EE_ORIGIN_ZEROCOPY')!
const CODE_COPIED = CONSTANTS.get('SO_EE_CODE_ZEROCOPY_COPIED')!
/* What SO_TIMESTAMPING asks for, and what a notice says. */
const TX_SOFTWARE = CONSTANTS.get('SOF_TIMESTAMPING_TX_SOFTWARE')!
const TX_SCHED = CONSTANTS.get('SOF_TIMESTAMPING_TX_SCHED')!
const TX_ACK = CONSTANTS.get('SOF_TIMESTAMPING_TX_ACK')!
const ONLY_TIME = CONSTANTS.get('SOF_TIMESTAMPING_OPT_TSONLY')!
const SCHED = CONSTANTS.get('SCM_TSTAMP_SCHED')!
const SND = CONSTANTS.get('SCM_TSTAMP_SND')!
const ACK = CONSTANTS.get('SCM_TSTAMP_ACK')!

/** struct sock_extended_err, with the names of its fields less `ee_`. */
export interface Notice {
  readonly errno: number
  readonly origin: number
  readonly code: number
  readonly info: number
  data: number
  /** Microseconds of the script; -1: the notice has no time. */
  readonly atUs: number
  /** It comes with the packet, of which nobody reads a byte: MSG_TRUNC. */
  readonly hasPacket: boolean
}

interface Awaited {
  /** Bytes written up to and with this write. */
  readonly end: number
  /** What timestamps call it; -1: none are asked for. */
  readonly key: number
  /** What zero copy calls it; -1: it is an ordinary write. */
  readonly number: number
  sent: boolean
}

/** Why a connection ended, as the socket's error. */
export const ERRNO_OF_END: Readonly<Record<number, string>> = {
  [CLOSE_RESET]: 'ECONNRESET',
  [CLOSE_TIMEOUT]: 'ETIMEDOUT',
  [CLOSE_REFUSED]: 'ECONNREFUSED',
  [CLOSE_UNREACHABLE]: 'EHOSTUNREACH',
}

export class ErrorQueue {
  readonly notices: Notice[] = []
  /** SO_ZEROCOPY is on. */
  zeroCopy = false
  /** Bits of SO_TIMESTAMPING. */
  private stamps = 0
  private stampsFrom = 0
  private written = 0
  private nextNumber = 0
  private readonly awaited: Awaited[] = []

  /** SO_TIMESTAMPING: writes from now on; keys count from what is not acknowledged. */
  stamp(bits: number, c: Connection | undefined): void {
    this.stamps = bits
    this.stampsFrom = this.written - (c?.sendQueuedBytes ?? 0)
  }

  /** @param withoutCopy MSG_ZEROCOPY */
  wrote(bytes: number, withoutCopy: boolean): void {
    this.written += bytes
    const number = withoutCopy && this.zeroCopy ? this.nextNumber++ : -1
    const key = this.stamps === 0 ? -1 : this.written - this.stampsFrom - 1
    if (bytes > 0 && (number >= 0 || key >= 0)) this.awaited.push({ end: this.written, key, number, sent: false })
  }

  /** What has been sent and acknowledged by now. @returns whether there are new notices */
  settle(c: Connection, nowUs: number): boolean {
    const before = this.notices.length
    const acknowledged = this.written - c.sendQueuedBytes
    const sent = this.written - Math.max(seqDiff(c.sendEnd, c.sndNxt), 0)
    let isNews = false
    for (const write of this.awaited) {
      if (write.sent || write.end > sent) continue
      write.sent = true
      if (write.key >= 0 && (this.stamps & TX_SCHED) !== 0) this.noteTime(SCHED, write.key, nowUs)
      if (write.key >= 0 && (this.stamps & TX_SOFTWARE) !== 0) this.noteTime(SND, write.key, nowUs)
    }
    while (this.awaited.length > 0 && this.awaited[0]!.end <= acknowledged) {
      const { key, number } = this.awaited.shift()!
      if (key >= 0 && (this.stamps & TX_ACK) !== 0) this.noteTime(ACK, key, nowUs)
      if (number >= 0) this.noteReusable(number)
      isNews ||= number >= 0
    }
    return isNews || this.notices.length > before
  }

  private noteTime(info: number, key: number, atUs: number): void {
    const errno = ERROR_NUMBERS.get('ENOMSG')!
    const hasPacket = (this.stamps & ONLY_TIME) === 0
    this.notices.push({ errno, origin: ORIGIN_TIMESTAMPING, code: 0, info, data: key, atUs, hasPacket })
  }

  /** Ranges of writes that nobody has read yet grow together. */
  private noteReusable(number: number): void {
    const last = this.notices.at(-1)
    if (last?.origin === ORIGIN_ZEROCOPY && last.data === number - 1) last.data = number
    else
      this.notices.push({
        errno: 0,
        origin: ORIGIN_ZEROCOPY,
        code: CODE_COPIED,
        info: number,
        data: number,
        atUs: -1,
        hasPacket: false,
      })
  }
}
