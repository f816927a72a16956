/**
 * Duplicate address detection (RFC 4862 5.4): before an address is used, the link is asked whether somebody has it.
 *
 *   start ─► solicitation from "::" ─► 1 s without objection ─► usable, announced
 *                                 └─► somebody has it, or wants it just now ─► duplicate: never used
 *
 * If the link-local address is a duplicate, so is the MAC that it was made from: no other is used then, either
 * (RFC 4862 5.4.5). The first solicitation goes out at once; the random delay that the RFC suggests (5.4.2) is for links
 * whose stations all start together.
 *
 * Called by: Host (start, timer), ndp.ts (objections). Calls: ndp.ts, through DetectionMessages.
 */
import { NDP_RETRY_MS } from './limits.ts'
import { ADDRESS_DUPLICATE, ADDRESS_TENTATIVE, ADDRESS_USABLE, type OwnAddresses } from './own-addresses.ts'
import type { TimerWheel } from './timer-wheel.ts'

/** What detection sends. */
export interface DetectionMessages {
  solicitOwn(index: number): void
  announce(index: number): void
}

/** Told once for each address: whether it can be used. */
export type AddressNotice = (address: string, usable: boolean) => void

export class DuplicateDetection {
  private readonly own: OwnAddresses
  private readonly timers: TimerWheel
  private readonly timer: number
  private readonly transmits: number
  private readonly notice: AddressNotice
  private sent = 0

  /** @param transmits solicitations for each address; with 0 all are usable at once */
  constructor(own: OwnAddresses, timers: TimerWheel, timer: number, transmits: number, notice: AddressNotice) {
    this.own = own
    this.timers = timers
    this.timer = timer
    this.transmits = transmits
    this.notice = notice
    if (transmits === 0) own.states.fill(ADDRESS_USABLE)
  }

  /** The link is up. */
  start(messages: DetectionMessages, nowMs: number): void {
    if (this.transmits === 0) this.finish(messages)
    else this.ask(messages, nowMs)
  }

  onTimer(messages: DetectionMessages, nowMs: number): void {
    if (this.sent < this.transmits) this.ask(messages, nowMs)
    else this.finish(messages)
  }

  /** Somebody else has this address, or wants it. @returns false if it is in use here, and so defended */
  object(index: number): boolean {
    if (this.own.states[index] !== ADDRESS_TENTATIVE) return this.own.states[index] === ADDRESS_DUPLICATE
    this.own.states[index] = ADDRESS_DUPLICATE
    this.notice(this.own.addresses[index]!.toString(), false)
    if (index === 0) for (let other = 1; other < this.own.states.length; other++) this.object(other)
    return true
  }

  private ask(messages: DetectionMessages, nowMs: number): void {
    this.sent++
    for (let index = 0; index < this.own.states.length; index++)
      if (this.own.states[index] === ADDRESS_TENTATIVE) messages.solicitOwn(index)
    this.timers.arm(this.timer, (nowMs + NDP_RETRY_MS) | 0)
  }

  private finish(messages: DetectionMessages): void {
    for (let index = 0; index < this.own.states.length; index++) {
      if (this.own.states[index] === ADDRESS_DUPLICATE) continue
      this.own.states[index] = ADDRESS_USABLE
      messages.announce(index)
      this.notice(this.own.addresses[index]!.toString(), true)
    }
  }
}
