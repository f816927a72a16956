/** The flag `--route CIDR=GATEWAY`, as often as there are routes. Called by: serve. */
import { ipv4Routes, parseRoute, type Route } from '../stack/routes.ts'
import { PackratError } from '../storage/errors.ts'
import { type Flag, UsageError } from './arguments.ts'

export function routes(help: string): Flag<readonly Route[]> {
  return {
    placeholder: 'CIDR=GATEWAY',
    help,
    shownDefault: '',
    absent: [],
    read: (text) => {
      const route = parseRoute(text)
      return route === undefined ? undefined : [route]
    },
    combine: (before, next) => [...before, ...next],
    expects: 'a network and a neighbour of the same IP version, such as 10.1.0.0/16=10.77.0.1',
  }
}

/** The flags that routes have to fit. */
export interface AddressFlags {
  readonly address: string
  readonly gateway: string | undefined
  readonly address6: string | undefined
}

/** Before anything is opened: whether the IPv4 routes fit the addresses; checkIpv6 sees to the others. Throws UsageError. */
export function checkRoutes(flags: AddressFlags, statics: readonly Route[]): void {
  const { address, gateway, address6 } = flags
  if (address6 === undefined && statics.some((route) => !route.network.isIpv4))
    throw new UsageError('--route: a route of IPv6 needs an address of IPv6; give --address6, too')
  try {
    ipv4Routes(address, gateway, statics)
  } catch (error) {
    if (!(error instanceof PackratError)) throw error
    const flag = error.code === 'BAD_ROUTE' ? '--route' : '--address or --gateway'
    throw new UsageError(`${flag}: ${error.message}`)
  }
}
