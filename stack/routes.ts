/**
 * Where packets of one IP version go next: the route with the longest prefix (RFC 1122 3.3.1, RFC 8200; Linux's
 * `ip route`). A host has few routes, so they stand in one list and are looked through in order; what is on the link is
 * a route without a gateway, and the default one has a prefix of no bits.
 *
 *   find(address) ─► the first route whose prefix fits ─► gateway, or the address itself
 *
 * Addresses are four words, IPv4 mapped: a prefix of IPv4 has 96 bits more.
 *
 * Invariants:
 *  1. The list is ordered by prefix length, longest first; no two entries have the same prefix.
 *  2. The gateway of a static route is on the link (RFC 1122 3.3.1.1): the next hop is found in one step.
 *
 * Called by: ipv4.ts, ipv6.ts (next hops), Host (building the lists), `packrat serve` (checking what was typed).
 */
import { PackratError } from '../storage/errors.ts'
import { Address, MAPPED_WORD_2, parseAddress, parseCidr, parseIpv6Cidr } from './address.ts'
import { ROUTES_MAX } from './limits.ts'

export const NO_ROUTE = -1

const WORD_BITS = 32
const MAPPED_BITS = 96
const LINK_LOCAL = 'fe80::/10' // RFC 4291 2.5.6

/** A static route: packets to a network go to a neighbour. */
export interface Route {
  readonly network: Address
  /** Of its own version: 0 to 32, or to 128. */
  readonly prefixLength: number
  readonly gateway: Address
}

interface Entry {
  /** The network's words; bits behind the prefix are 0. */
  readonly words: Int32Array
  readonly masks: Int32Array
  readonly prefixBits: number
  /** Undefined: on the link. */
  readonly gateway: Address | undefined
}

export class Routes {
  private readonly entries: Entry[] = []

  /** The prefix is on the link, or behind a gateway. Throws BAD_ROUTE if there is a route for it already, or are too many. */
  add(network: Address, prefixLength: number, gateway?: Address): void {
    const prefixBits = bitsOf(network, prefixLength)
    const masks = Int32Array.from([0, 1, 2, 3], (word) => wordMask(prefixBits - word * WORD_BITS))
    const words = Int32Array.of(network.word0, network.word1, network.word2, network.word3)
    for (let word = 0; word < words.length; word++) words[word]! &= masks[word]!
    if (this.entries.some((other) => other.prefixBits === prefixBits && other.words.every((w, i) => w === words[i])))
      throw refused(network, prefixLength, 'there is a route for it already; give one')
    if (this.entries.length === ROUTES_MAX)
      throw refused(network, prefixLength, `there are ${ROUTES_MAX} routes already; give fewer`)
    const behind = this.entries.findIndex((other) => other.prefixBits < prefixBits)
    this.entries.splice(behind < 0 ? this.entries.length : behind, 0, { words, masks, prefixBits, gateway })
  }

  /** A static route. Throws BAD_ROUTE, also if its gateway is not on the link. */
  addStatic({ network, prefixLength, gateway }: Route): void {
    const index = this.find(gateway.word0, gateway.word1, gateway.word2, gateway.word3)
    if (index === NO_ROUTE || this.gateway(index) !== undefined)
      throw refused(network, prefixLength, `its gateway ${gateway} is not on the link; name a neighbour`)
    this.add(network, prefixLength, gateway)
  }

  /** The route for an address, or NO_ROUTE. */
  find(word0: number, word1: number, word2: number, word3: number): number {
    for (let index = 0; index < this.entries.length; index++) {
      const { words, masks } = this.entries[index]!
      if (
        (word3 & masks[3]!) === words[3] &&
        (word2 & masks[2]!) === words[2] &&
        (word1 & masks[1]!) === words[1] &&
        (word0 & masks[0]!) === words[0]
      )
        return index
    }
    return NO_ROUTE
  }

  /** The next hop of a route; undefined if that is the destination itself. */
  gateway(index: number): Address | undefined {
    return this.entries[index]!.gateway
  }
}

/** The IPv4 routes of a host with this address, "10.77.0.2/24". Throws BAD_ADDRESS, BAD_ROUTE. */
export function ipv4Routes(cidr: string, gateway: string | undefined, statics: readonly Route[]): Routes {
  const { address, prefixLength } = parseCidr(cidr)
  const routes = new Routes()
  routes.add(mapped(address), prefixLength)
  addAll(routes, gateway, mapped(0), statics)
  return routes
}

/** The same of IPv6, "fd77::2/64". */
export function ipv6Routes(cidr: string, gateway: string | undefined, statics: readonly Route[]): Routes {
  const { address, prefixLength } = parseIpv6Cidr(cidr)
  const linkLocal = parseIpv6Cidr(LINK_LOCAL)
  const routes = new Routes()
  routes.add(linkLocal.address, linkLocal.prefixLength)
  // A link-local address of our own may have a prefix that says less, or the same.
  if (routes.find(address.word0, address.word1, address.word2, address.word3) === NO_ROUTE)
    routes.add(address, prefixLength)
  addAll(routes, gateway, new Address(), statics)
  return routes
}

/**
 * "10.1.0.0/16=10.77.0.1", "2001:db8::/32=fe80::1" to its parts; undefined if it is not of that form, of two versions,
 * or names a network with bits behind its prefix, which would be a typing error.
 */
export function parseRoute(text: string): Route | undefined {
  const [, cidr = '', via = ''] = /^([^=]+)=([^=]+)$/.exec(text) ?? []
  try {
    const gateway = parseAddress(via)
    const { network, prefixLength } = parseNetwork(cidr)
    const { word0, word1, word2, word3 } = network
    const prefixBits = bitsOf(network, prefixLength)
    const isNetwork = [word0, word1, word2, word3].every((word, index) => {
      const mask = wordMask(prefixBits - index * WORD_BITS)
      return (word & mask) === word
    })
    return isNetwork && network.isIpv4 === gateway.isIpv4 ? { network, prefixLength, gateway } : undefined
  } catch (error) {
    if (error instanceof PackratError) return undefined
    throw error
  }
}

function parseNetwork(cidr: string): { network: Address; prefixLength: number } {
  if (cidr.includes(':')) {
    const { address, prefixLength } = parseIpv6Cidr(cidr)
    return { network: address, prefixLength }
  }
  const { address, prefixLength } = parseCidr(cidr)
  return { network: mapped(address), prefixLength }
}

function addAll(routes: Routes, gateway: string | undefined, any: Address, statics: readonly Route[]): void {
  if (gateway !== undefined) routes.add(any, 0, parseAddress(gateway))
  for (const route of statics) if (route.network.isIpv4 === any.isIpv4) routes.addStatic(route)
}

function mapped(address: number): Address {
  return new Address().set(0, 0, MAPPED_WORD_2, address)
}

function bitsOf(network: Address, prefixLength: number): number {
  return prefixLength + (network.isIpv4 ? MAPPED_BITS : 0)
}

/** Mask of the first `bits` of a word; none for 0 or less, all for 32 or more. */
function wordMask(bits: number): number {
  if (bits <= 0) return 0
  return bits >= WORD_BITS ? -1 : -1 << (WORD_BITS - bits)
}

function refused(network: Address, prefixLength: number, why: string): PackratError {
  return new PackratError('BAD_ROUTE', `the route to ${network}/${prefixLength} is refused: ${why}`)
}
