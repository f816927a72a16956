/**
 * The IPv6 addresses of this host: the link-local one that follows from the MAC (RFC 4291 2.5.6, appendix A), and the
 * configured one. Each is used only after nobody else was found to have it (duplicate-detection.ts).
 *
 *   TENTATIVE ──► USABLE        nobody objected
 *             └─► DUPLICATE     never used, never sent from
 *
 * Called by: ipv6.ts, ndp.ts, duplicate-detection.ts, icmpv6.ts.
 */
import { Address, prefixMask } from './address.ts'

export const ADDRESS_TENTATIVE = 0
export const ADDRESS_USABLE = 1
export const ADDRESS_DUPLICATE = 2

export const NO_ADDRESS = -1

const LINK_LOCAL = 0xfe80_0000 | 0
/** fe80::/10 (RFC 4291 2.5.6). */
const LINK_LOCAL_MASK = 0xffc0_0000 | 0
const MULTICAST = 0xff
/** Groups whose packets stay on this link: ff01::/16 and ff02::/16 (RFC 4291 2.7). */
const GROUP_INTERFACE = 0xff010000 | 0
export const GROUP_LINK = 0xff020000 | 0
export const GROUP_ALL_NODES = 1
/** ff02::1:ff00:0/104, the solicited-node groups (RFC 4291 2.7.1). */
export const SOLICITED_NODE_WORD_2 = 1
export const SOLICITED_NODE_WORD_3 = 0xff00_0000 | 0

export function isMulticast(word0: number): boolean {
  return word0 >>> 24 === MULTICAST
}

export function isLinkLocal(word0: number): boolean {
  return (word0 & LINK_LOCAL_MASK) === LINK_LOCAL
}

export class OwnAddresses {
  /** Link-local first; if the configured one is link-local, it is the only one. */
  readonly addresses: readonly Address[]
  readonly states: Uint8Array
  private readonly configured: Address
  private readonly masks = new Int32Array(4)

  /** @param configured a unicast address, @param mac 6 bytes */
  constructor(configured: Address, prefixLength: number, mac: Uint8Array) {
    this.configured = configured
    this.addresses = isLinkLocal(configured.word0) ? [configured] : [linkLocalOf(mac), configured]
    this.states = new Uint8Array(this.addresses.length)
    for (let word = 0; word < 4; word++)
      this.masks[word] = prefixMask(Math.min(Math.max(prefixLength - word * 32, 0), 32))
  }

  /** Which of ours it is; NO_ADDRESS if none. */
  find(w0: number, w1: number, w2: number, w3: number): number {
    // The configured one, the last, is the one that is asked for most.
    for (let index = this.addresses.length - 1; index >= 0; index--)
      if (this.addresses[index]!.equals(w0, w1, w2, w3)) return index
    return NO_ADDRESS
  }

  isUsable(index: number): boolean {
    return this.states[index] === ADDRESS_USABLE
  }

  /** Whether a group's packets are for us: all nodes, and the solicited-node groups of our addresses. */
  isMember(w0: number, w1: number, w2: number, w3: number): boolean {
    if (w1 !== 0) return false
    if (w2 === 0 && w3 === GROUP_ALL_NODES) return w0 === GROUP_LINK || w0 === GROUP_INTERFACE
    if (w0 !== GROUP_LINK || w2 !== SOLICITED_NODE_WORD_2) return false
    for (let index = 0; index < this.addresses.length; index++)
      if (w3 === solicitedNodeWord3(this.addresses[index]!.word3) && this.states[index] !== ADDRESS_DUPLICATE)
        return true
    return false
  }

  /** On this link: link-local, or of the configured prefix. */
  isOnLink(w0: number, w1: number, w2: number, w3: number): boolean {
    const { masks, configured } = this
    return (
      isLinkLocal(w0) ||
      (((w0 ^ configured.word0) & masks[0]!) === 0 &&
        ((w1 ^ configured.word1) & masks[1]!) === 0 &&
        ((w2 ^ configured.word2) & masks[2]!) === 0 &&
        ((w3 ^ configured.word3) & masks[3]!) === 0)
    )
  }

  /**
   * The address to speak from to a destination: of the same scope (RFC 6724 5, rule 2; there is one of each).
   * @returns NO_ADDRESS while, or if, that must not be used
   */
  sourceFor(destination0: number): number {
    const local = isLinkLocal(destination0) || (isMulticast(destination0) && (destination0 & 0x000f0000) <= 0x00020000)
    const index = local ? 0 : this.addresses.length - 1
    return this.isUsable(index) ? index : NO_ADDRESS
  }
}

/** Last word of the solicited-node group of an address. */
export function solicitedNodeWord3(word3: number): number {
  return SOLICITED_NODE_WORD_3 | (word3 & 0x00ff_ffff)
}

/** fe80::/64 with the modified EUI-64 of the MAC (RFC 2464 4). */
function linkLocalOf(mac: Uint8Array): Address {
  const [a, b, c, d, e, f] = mac as unknown as [number, number, number, number, number, number]
  const high = ((a ^ 2) << 24) | (b << 16) | (c << 8) | 0xff
  return new Address().set(LINK_LOCAL, 0, high, (0xfe << 24) | (d << 16) | (e << 8) | f)
}
