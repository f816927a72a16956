/**
 * Flags that are IPv4 addresses or names of TAP interfaces, looked at when they are read: what no station can have is wrong usage. Called by: serve,
 * iperf3, wire.
 */
import { formatIpv4, parseCidr, parseIpv4, prefixMask } from '../stack/address.ts'
import { PackratError } from '../storage/errors.ts'
import { type Flag, text, UsageError } from './arguments.ts'

const EXPECTED_CIDR = "an address that a station can have, with its network's prefix, such as 10.77.0.2/24"
const EXPECTED_ADDRESS = 'an IPv4 address, such as 10.77.0.1'

/** An interface as --device names it, with what the kernel takes as a name. */
export const TAP_DEVICE = /^tap:([^\s/:%]{1,15})$/

/** An address and its network: `10.77.0.2/24`. */
export function cidr(help: string): Flag<string | undefined>
export function cidr(help: string, options: { readonly default: string }): Flag<string>
export function cidr(help: string, options?: { readonly default: string }): Flag<string | undefined> {
  const flag: Flag<string | undefined> = options === undefined ? text('CIDR', help) : text('CIDR', help, options)
  return { ...flag, read: (value) => (isStation(value) ? value : undefined), expects: EXPECTED_CIDR }
}

/** The same, or `none`: --host-address. */
export function hostCidr(): Flag<string | undefined> {
  return {
    ...text('CIDR|none', 'address of the kernel on a TAP; default the first of the network of --address'),
    read: (value) => (value === 'none' || isStation(value) ? value : undefined),
    expects: `none, or ${EXPECTED_CIDR}`,
  }
}

export interface Ends {
  readonly address: string
  readonly 'host-address': string | undefined
}

/** Address of the kernel's side of a TAP; undefined if it keeps what it has. @throws UsageError if it is Packrat's own */
export function hostAddress({ address, 'host-address': given }: Ends): string | undefined {
  if (given === 'none') return undefined
  const own = parseCidr(address)
  const first = `${formatIpv4((own.address & prefixMask(own.prefixLength)) | 1)}/${own.prefixLength}`
  const chosen = given ?? first
  if (parseCidr(chosen).address === own.address)
    throw new UsageError(`--host-address ${chosen} is the address of --address: give both ends one of their own`)
  return chosen
}

export function ipv4(placeholder: string, help: string): Flag<string | undefined> {
  return {
    ...text(placeholder, help),
    read: (value) => (isRead(() => parseIpv4(value)) ? value : undefined),
    expects: EXPECTED_ADDRESS,
  }
}

/** RFC 1122 3.2.1.3: no address of this network, of the loopback, of groups, nor a broadcast address, whole or of its network. */
function isStation(value: string): boolean {
  if (!isRead(() => parseCidr(value))) return false
  const { address, prefixLength } = parseCidr(value)
  const first = address >>> 24
  if (first === 0 || first === 127 || first >= 224) return false
  const hostBits = prefixLength > 30 ? 0 : 0xffffffff >>> prefixLength
  const host = (address & hostBits) >>> 0
  return hostBits === 0 || (host !== 0 && host !== hostBits)
}

function isRead(read: () => unknown): boolean {
  try {
    read()
    return true
  } catch (error) {
    if (error instanceof PackratError) return false
    throw error
  }
}
