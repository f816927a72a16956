/**
 * The link of `packrat serve`, from its flags: `--device tap:NAME` or `--device xdp:IFACE[:QUEUE]`. First the flags are
 * read, and wrong ones refused; the link is opened later, when there is a region to receive into. Called by serve.ts.
 */
import type { Device } from '../drivers/device.ts'
import { parseCpuList, type SteeringWish } from '../drivers/steering.ts'
import { TapDevice, type TapOffloads } from '../drivers/tap.ts'
import { type XdpCopyMode, XdpDevice, type XdpStatistics } from '../drivers/xdp.ts'
import type { XdpAttachMode, XdpTimestamps } from '../drivers/xdp-program.ts'
import { parseCidr, parseIpv6Cidr } from '../stack/address.ts'
import { GROUP_LINK, SOLICITED_NODE_WORD_2, solicitedNodeWord3 } from '../stack/own-addresses.ts'
import type { Region } from '../storage/region.ts'
import type { Store } from '../storage/store.ts'
import { hostAddress } from './address-flags.ts'
import { type Flag, UsageError } from './arguments.ts'
import { hostAddress6 } from './ipv6-flags.ts'

/** What --offload takes; auto: `all` where it is possible. */
export const OFFLOADS = ['auto', 'none', 'checksum', 'all'] as const
type Offload = (typeof OFFLOADS)[number]

/** The flag --steer. */
export function steering(help: string): Flag<SteeringWish> {
  return {
    placeholder: 'auto|none|CPUS',
    help,
    shownDefault: 'auto',
    absent: 'auto',
    read: (text) => (text === 'auto' || text === 'none' ? text : parseCpuList(text)),
    expects: 'auto, none, or a list of processors such as 0,2-3',
  }
}

export interface LinkFlags {
  readonly device: string
  readonly address: string
  readonly 'host-address': string | undefined
  readonly address6: string | undefined
  readonly 'host-address6': string | undefined
  readonly gateway6: string | undefined
  readonly mac: string | undefined
  readonly mtu: number
  readonly offload: Offload
  readonly steer: SteeringWish
  readonly impair: unknown
  readonly 'xdp-attach': XdpAttachMode
  readonly 'xdp-copy': XdpCopyMode
  readonly 'xdp-busy-poll-us': number
  readonly 'xdp-timestamps': XdpTimestamps
}

export interface Link {
  readonly device: Device
  /** What was chosen where there was a choice; for people. */
  readonly mode?: string
  /** For /stats. */
  readonly offloads?: () => TapOffloads
  readonly xdp?: () => XdpStatistics
}

/** Opens the link. @throws PackratError of the devices */
export type OpenLink = (region: Region, store: Store) => Link

/** The link that the flags name, to be opened. @throws UsageError */
export function chooseLink(flags: LinkFlags): OpenLink {
  const [, kind, name = '', queue] = /^(tap|xdp):([^\s:/%]{1,15})(?::(.+))?$/.exec(flags.device) ?? []
  if (kind === 'tap' && queue === undefined) return chooseTap(flags, name)
  if (kind === 'xdp') return chooseXdp(flags, name, queue)
  throw new UsageError(
    `--device '${flags.device}' is not known; write tap:NAME or xdp:IFACE[:QUEUE], names of 1 to 15 characters`,
  )
}

function chooseTap(flags: LinkFlags, name: string): OpenLink {
  const offload = tapOffload(flags)
  const kernelAddress = hostAddress(flags)
  const kernelAddress6 = hostAddress6(flags)
  const options = {
    name,
    mtu: flags.mtu,
    offload,
    steer: flags.steer,
    ...(kernelAddress !== undefined && { hostAddress: kernelAddress }),
    ...(kernelAddress6 !== undefined && { hostAddress6: kernelAddress6 }),
    ...(flags.mac !== undefined && { mac: parseMac(flags.mac) }),
  }
  return (_region, store) => {
    const device = new TapDevice(store.pool, options)
    const modes = offload === 'none' ? [] : [`offload ${offload}`]
    if (device.steered !== undefined) modes.push(device.steered)
    return {
      device,
      ...(modes.length > 0 && { mode: modes.join(', ') }),
      ...(offload !== 'none' && { offloads: () => device.readOffloads() }),
    }
  }
}

/** An impaired link acts on segments one by one, as a wire would see them. */
function tapOffload(flags: LinkFlags): Exclude<Offload, 'auto'> {
  const { offload, impair } = flags
  if (offload === 'auto') return impair === undefined ? 'all' : 'none'
  if (offload !== 'none' && impair !== undefined)
    throw new UsageError(`--offload ${offload} and --impair do not go together: leave one of them out`)
  return offload
}

function chooseXdp(flags: LinkFlags, name: string, queue: string | undefined): OpenLink {
  if (flags.offload === 'checksum' || flags.offload === 'all')
    throw new UsageError(`--offload ${flags.offload} is for TAP; an xdp device has none: leave it out`)
  if (flags.steer !== 'auto')
    throw new UsageError('--steer is for TAP; the other end of an xdp device is not ours: leave it out')
  if (flags.mac !== undefined) throw new UsageError('--mac is for TAP; an xdp device has the address of its interface')
  const options = {
    interface: name,
    queues: parseQueues(queue ?? '0'),
    ipv4: ipv4Bytes(flags.address),
    ipv6: flags.address6 === undefined ? [] : ipv6Addresses(flags.address6),
    mtu: flags.mtu,
    attach: flags['xdp-attach'],
    copy: flags['xdp-copy'],
    busyPollUs: flags['xdp-busy-poll-us'],
    timestamps: flags['xdp-timestamps'],
  }
  return ({ extentOffsets }, store) => {
    const device = new XdpDevice(store.pool, { ...options, extentOffsets })
    return { device, mode: device.mode, xdp: () => device.readStatistics() }
  }
}

/** `2`, or `0-3`: one socket for each. */
function parseQueues(text: string): number[] {
  const [, first, last = first] = /^(\d{1,2})(?:-(\d{1,2}))?$/.exec(text) ?? []
  const count = Number(last) - Number(first) + 1
  if (first === undefined || count < 1)
    throw new UsageError(`queue '${text}' of --device is none; write xdp:IFACE:0, or xdp:IFACE:0-3 for several`)
  return Array.from({ length: count }, (_, index) => Number(first) + index)
}

function ipv4Bytes(cidr: string): Uint8Array {
  const { address } = parseCidr(cidr)
  return Uint8Array.of(address >>> 24, address >>> 16, address >>> 8, address)
}

/**
 * The configured address and its solicited-node group. The link-local address is the kernel's, too, for it follows from
 * the MAC that both have: it stays with the kernel.
 */
export function ipv6Addresses(cidr: string): Uint8Array[] {
  const { word0, word1, word2, word3 } = parseIpv6Cidr(cidr).address
  const own = [word0, word1, word2, word3]
  return [own, [GROUP_LINK, 0, SOLICITED_NODE_WORD_2, solicitedNodeWord3(word3)]].map((words) =>
    Uint8Array.from(words.flatMap((word) => [word >>> 24, word >>> 16, word >>> 8, word])),
  )
}

function parseMac(mac: string): Uint8Array {
  if (!/^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/i.test(mac))
    throw new UsageError(`--mac '${mac}' is no Ethernet address; write it as 02:00:00:00:00:01`)
  const bytes = Uint8Array.from(mac.split(':'), (part) => Number.parseInt(part, 16))
  if ((bytes[0]! & 1) !== 0)
    throw new UsageError(`--mac '${mac}' is a multicast address; the first byte of a station's is even`)
  return bytes
}
