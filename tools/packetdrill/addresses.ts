/**
 * Who is who in a script's network, which is as packetdrill lays it out: one link, a gateway on it, the peer behind that.
 * Addresses are packetdrill's own unless --local_ip and --remote_ip say otherwise; ports are here for where the script
 * does not name them.
 *
 * Called by: settings.ts (made from the options), network.ts, peer.ts, the sockets.
 */
import { parseAddress } from '../../stack/address.ts'

export type IpVersion = 4 | 6

/** The two ends of the packets of a script, most significant byte first. */
export interface IpEnds {
  readonly version: IpVersion
  readonly local: readonly number[]
  readonly remote: readonly number[]
}

/** Where `bind(3, ..., ...)` binds to, and `connect(3, ..., ...)` connects to. */
export const LOCAL_PORT = 8080
export const REMOTE_PORT = 8080
/** Ports of peers that connect: counted up from here. */
export const PEER_PORT_FIRST = 40_000

/** packetdrill's addresses; RFC 5737, RFC 4193. */
const DEFAULTS = {
  4: { local: '192.168.0.1', remote: '192.0.2.1', prefix: 16 },
  6: { local: 'fd3d:a0b:17d6::1', remote: 'fd3d:fa7b:d17d::1', prefix: 64 },
} as const

/** The addresses of one version as texts, and how many bits of the local one are the link's. */
export class ScriptAddresses {
  readonly version: IpVersion
  local: string
  remote: string
  private readonly prefix: number

  constructor(version: IpVersion) {
    this.version = version
    this.local = DEFAULTS[version].local
    this.remote = DEFAULTS[version].remote
    this.prefix = DEFAULTS[version].prefix
  }

  /** This host's address as an option of the host. */
  get interface(): string {
    return `${this.local}/${this.prefix}`
  }

  /** Another address on the link; whose, nobody sees. */
  get gateway(): string {
    const bytes = addressBytes(this.local, this.version)
    bytes[bytes.length - 1]! ^= 3
    if (this.version === 4) return bytes.join('.')
    return Buffer.from(bytes)
      .toString('hex')
      .replace(/.{4}(?!$)/g, '$&:')
  }

  get ends(): IpEnds {
    const { version } = this
    return { version, local: addressBytes(this.local, version), remote: addressBytes(this.remote, version) }
  }
}

/** Whether the text is an address of that version. */
export function isAddress(text: string, version: IpVersion): boolean {
  if (text.includes(':') !== (version === 6)) return false
  try {
    parseAddress(text)
    return true
  } catch {
    return false
  }
}

function addressBytes(text: string, version: IpVersion): number[] {
  const { word0, word1, word2, word3 } = parseAddress(text)
  const words = version === 4 ? [word3] : [word0, word1, word2, word3]
  return words.flatMap((word) => [word >>> 24, (word >>> 16) & 255, (word >>> 8) & 255, word & 255])
}
