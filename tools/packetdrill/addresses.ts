/** Ports of a script's network, where the script does not name them. */

/** Where `bind(3, ..., ...)` binds to, and `connect(3, ..., ...)` connects to. */
export const LOCAL_PORT = 8080
export const REMOTE_PORT = 8080
/** Ports of peers that connect: counted up from here. */
export const PEER_PORT_FIRST = 40_000
