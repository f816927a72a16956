/** Who is who in a script's network, as packetdrill lays it out: one link, a gateway on it, the peer behind that. */

export const LOCAL_ADDRESS = 0xc0a80001 // 192.168.0.1
export const GATEWAY_ADDRESS = 0xc0a80002
export const REMOTE_ADDRESS = 0xc0000201 // 192.0.2.1, RFC 5737
export const LOCAL_CIDR = '192.168.0.1/16'
export const GATEWAY = '192.168.0.2'
export const REMOTE = '192.0.2.1'
/** Where `bind(3, ..., ...)` binds to, and `connect(3, ..., ...)` connects to. */
export const LOCAL_PORT = 8080
export const REMOTE_PORT = 8080
/** Ports of peers that connect: counted up from here. */
export const PEER_PORT_FIRST = 40_000

export const LOCAL_MAC = Uint8Array.of(2, 0, 0, 0, 0, 1)
export const GATEWAY_MAC = Uint8Array.of(2, 0, 0, 0, 0, 2)
