/** IP versions as node:net and node:dgram name them. Called by: socket.ts, server.ts, datagram.ts. */

export type Family = 'IPv4' | 'IPv6'

/** Of an address that was checked, or that the stack has written. */
export function familyOf(address: string): Family {
  return address.includes(':') ? 'IPv6' : 'IPv4'
}
