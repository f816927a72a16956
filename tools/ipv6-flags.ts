/**
 * The IPv6 flags of `packrat serve`. IPv6 is off unless --address6 is given; the kernel's side of a TAP then gets the
 * first address of the same network.
 *
 *   --address6 fd77::2/64   [--host-address6 fd77::1/64 | none]   [--gateway6 fd77::1]
 *
 * Called by: serve.ts, link.ts.
 */
import { formatAddress, parseIpv6Cidr, prefixMask } from '../stack/address.ts'
import { requireGateway, unicastCidr } from '../stack/ipv6-stack.ts'
import { IPV6_MTU_MIN } from '../stack/limits.ts'
import { ipv6Routes, type Route } from '../stack/routes.ts'
import { PackratError } from '../storage/errors.ts'
import { UsageError } from './arguments.ts'

export interface Ipv6Flags {
  readonly device: string
  readonly address6: string | undefined
  readonly 'host-address6': string | undefined
  readonly gateway6: string | undefined
  readonly mtu: number
}

/** Before anything is opened: whether the flags fit each other. Throws UsageError. */
export function checkIpv6(flags: Ipv6Flags, statics: readonly Route[]): void {
  const { address6, gateway6, mtu } = flags
  if (address6 === undefined) {
    const needs =
      gateway6 !== undefined ? 'gateway6' : flags['host-address6'] !== undefined ? 'host-address6' : undefined
    if (needs !== undefined) throw new UsageError(`--${needs} needs an address of Packrat's own: give --address6, too`)
    return
  }
  if (mtu < IPV6_MTU_MIN)
    throw new UsageError(`--mtu ${mtu} is too small for --address6: IPv6 needs ${IPV6_MTU_MIN} or more`)
  check('address6', () => unicastCidr(address6))
  if (gateway6 !== undefined) check('gateway6', () => requireGateway(gateway6, address6))
  check('route', () => ipv6Routes(address6, gateway6, statics))
  // Only a TAP has a kernel on its other side.
  if (flags.device.startsWith('tap:')) check('host-address6', () => hostAddress6(flags))
}

/** Address of the kernel's side of a TAP; undefined if it keeps what it has. */
export function hostAddress6(flags: Ipv6Flags): string | undefined {
  const { address6, 'host-address6': given } = flags
  if (address6 === undefined || given === 'none') return undefined
  const cidr = given ?? firstOf(address6)
  const { address } = unicastCidr(cidr)
  const own = parseIpv6Cidr(address6).address
  if (own.equals(address.word0, address.word1, address.word2, address.word3))
    throw new PackratError('BAD_ADDRESS', `"${cidr}" is the address of --address6: give both ends one of their own`)
  return cidr
}

/** Waits until it is known whether the address of --address6 can be used (RFC 4862 5.4), and says loudly if it cannot. */
export class AddressDetection {
  /** The address; undefined if there is none to be used. */
  readonly outcome: Promise<string | undefined>
  private readonly wanted: string | undefined
  private resolve: (address: string | undefined) => void = () => {}

  constructor(address6: string | undefined) {
    this.wanted = address6 === undefined ? undefined : parseIpv6Cidr(address6).address.toString()
    this.outcome = new Promise((resolve) => {
      this.resolve = resolve
    })
    if (this.wanted === undefined) this.resolve(undefined)
  }

  /** HostOptions.onAddress. */
  settled(address: string, usable: boolean): void {
    if (!usable)
      console.error(
        `packrat serve: DUPLICATE ADDRESS: another station on the link has ${address}; it is not used. Choose another --address6 or --mac`,
      )
    if (address === this.wanted) this.resolve(usable ? address : undefined)
  }
}

/** fd77::2/64 to fd77::1/64. */
function firstOf(cidr: string): string {
  const { address, prefixLength } = parseIpv6Cidr(cidr)
  const mask = (word: number): number => prefixMask(Math.min(Math.max(prefixLength - word * 32, 0), 32))
  const last = (address.word3 & mask(3)) | 1
  return `${formatAddress(address.word0 & mask(0), address.word1 & mask(1), address.word2 & mask(2), last)}/${prefixLength}`
}

function check(flag: string, body: () => unknown): void {
  try {
    body()
  } catch (error) {
    if (error instanceof PackratError) throw new UsageError(`--${flag}: ${error.message}`)
    throw error
  }
}
