/**
 * Which row of the reassembly (fragments.ts) has which datagram: a hash table over source, destination, identification
 * and protocol, in typed arrays, with chains that an outsider cannot choose.
 *
 *   chains[hash] ─► row ─► chainNext[row] ─► …        addresses[row * 8]   source, destination
 *
 * Called by: fragments.ts.
 */
import { hashAddress } from './address-hash.ts'
import { FRAGMENT_DATAGRAMS_MAX } from './limits.ts'
import { isMulticast } from './own-addresses.ts'
import type { ReceivedPacket } from './packet.ts'

export const NO_ROW = -1
const CHAINS = 256
const ADDRESSES_WORDS = 8
const ADDRESS_WORDS = 4

export class FragmentIndex {
  private readonly seed: number
  private readonly addresses = new Int32Array(FRAGMENT_DATAGRAMS_MAX * ADDRESSES_WORDS)
  private readonly identification = new Int32Array(FRAGMENT_DATAGRAMS_MAX)
  private readonly protocol = new Uint8Array(FRAGMENT_DATAGRAMS_MAX)
  private readonly chains = new Int32Array(CHAINS).fill(NO_ROW)
  private readonly chainNext = new Int32Array(FRAGMENT_DATAGRAMS_MAX)
  /** Addresses of the fragment that is being received. */
  private readonly wanted = new Int32Array(ADDRESSES_WORDS)

  /** @param seed makes it hard to guess which rows share a chain */
  constructor(seed: number) {
    this.seed = seed
  }

  /** The row of the datagram that a fragment belongs to, or NO_ROW. */
  find(packet: ReceivedPacket, identification: number): number {
    const { wanted } = this
    wanted[0] = packet.source0
    wanted[1] = packet.source1
    wanted[2] = packet.source2
    wanted[3] = packet.source3
    wanted[4] = packet.destination0
    wanted[5] = packet.destination1
    wanted[6] = packet.destination2
    wanted[7] = packet.destination3
    let row = this.chains[this.chainOf(wanted, 0, identification, packet.protocol)]!
    while (
      row !== NO_ROW &&
      (this.identification[row] !== identification || this.protocol[row] !== packet.protocol || !this.isWanted(row))
    )
      row = this.chainNext[row]!
    return row
  }

  /** Gives a row to the datagram that `find` has just looked for. */
  insert(row: number, protocol: number, identification: number): void {
    const chain = this.chainOf(this.wanted, 0, identification, protocol)
    this.addresses.set(this.wanted, row * ADDRESSES_WORDS)
    this.identification[row] = identification
    this.protocol[row] = protocol
    this.chainNext[row] = this.chains[chain]!
    this.chains[chain] = row
  }

  remove(row: number): void {
    const chain = this.chainOf(this.addresses, row * ADDRESSES_WORDS, this.identification[row]!, this.protocol[row]!)
    const next = this.chainNext[row]!
    if (this.chains[chain] === row) this.chains[chain] = next
    else {
      let other = this.chains[chain]!
      while (this.chainNext[other] !== row) other = this.chainNext[other]!
      this.chainNext[other] = next
    }
  }

  isSameSource(row: number, other: number): boolean {
    for (let word = 0; word < ADDRESS_WORDS; word++)
      if (this.addresses[row * ADDRESSES_WORDS + word] !== this.addresses[other * ADDRESSES_WORDS + word]) return false
    return true
  }

  /** Addresses and protocol of a row's datagram. */
  describe(row: number, packet: ReceivedPacket): void {
    const { addresses } = this
    const at = row * ADDRESSES_WORDS
    packet.source0 = addresses[at]!
    packet.source1 = addresses[at + 1]!
    packet.source2 = addresses[at + 2]!
    packet.source3 = addresses[at + 3]!
    packet.destination0 = addresses[at + 4]!
    packet.destination1 = addresses[at + 5]!
    packet.destination2 = addresses[at + 6]!
    packet.destination3 = addresses[at + 7]!
    packet.isMulticast = isMulticast(packet.destination0) ? 1 : 0
    packet.protocol = this.protocol[row]!
  }

  private isWanted(row: number): boolean {
    const at = row * ADDRESSES_WORDS
    for (let word = 0; word < ADDRESSES_WORDS; word++) if (this.addresses[at + word] !== this.wanted[word]) return false
    return true
  }

  private chainOf(addresses: Int32Array, at: number, identification: number, protocol: number): number {
    const seed = this.seed ^ protocol ^ Math.imul(identification, 0x85ebca6b)
    const hash = hashAddress(seed, addresses[at]!, addresses[at + 1]!, addresses[at + 2]!, addresses[at + 3]!)
    return (hash >>> 8) & (CHAINS - 1)
  }
}
