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

/** Before anything is opened: whether the IPv4 routes fit the address. Throws UsageError. */
export function checkRoutes(address: string, gateway: string | undefined, statics: readonly Route[]): void {
  try {
    ipv4Routes(address, gateway, statics)
  } catch (error) {
    if (error instanceof PackratError && error.code === 'BAD_ROUTE') throw new UsageError(`--route: ${error.message}`)
    throw error
  }
}
