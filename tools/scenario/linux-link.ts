/**
 * The link to Linux's TCP for a scenario: a TAP, or AF_XDP on a veth pair. In the private network of the command.
 *
 *   tap   Packrat ── TAP packratscn0 ── kernel 10.77.0.1
 *   xdp   Packrat ── XDP on pr-b ══ veth ══ pr-a ── kernel 10.77.0.1
 *
 * Called by: linux-run.ts.
 */
import { spawnSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import type { Device } from '../../drivers/device.ts'
import { TapDevice, tapAvailability } from '../../drivers/tap.ts'
import { XdpDevice, xdpAvailability } from '../../drivers/xdp.ts'
import { PackratError } from '../../storage/errors.ts'
import { extentBytes } from '../../storage/header.ts'
import { EXTENT_BUFFERS_STEP, EXTENTS_START } from '../../storage/layout.ts'
import type { Pool } from '../../storage/pool.ts'
import { DEFAULT_LINES_PER_BUFFER, REGION_BYTES_MIN, type Region } from '../../storage/region.ts'
import { ipv6Addresses } from '../link.ts'
import type { Scenario } from './document.ts'
import { type KvHost, openTemporaryRegion } from './kv-host.ts'
import { addressOf, addressWithPrefix } from './packrat-endpoint.ts'
import { createPool } from './pools.ts'

export type LinkKind = 'tap' | 'xdp'

const TAP_NAME = 'packratscn0'
/** Whose pages the kernel can pin. */
const PINNABLE_DIRECTORY = '/dev/shm'
const COMMAND_TIMEOUT_MS = 10_000
/** Of interfaces that are yet to come, in this network namespace (RFC 4862 5.4). */
const DUPLICATE_DETECTION = '/proc/sys/net/ipv6/conf/default/accept_dad'

/** Why there is no such link here; undefined: there is one. */
export function linkLacks(kind: LinkKind): string | undefined {
  return kind === 'tap' ? tapAvailability().reason : xdpAvailability().reason
}

/** Where the region of a scenario with PUTs lies; undefined: anywhere. */
export function regionDirectory(kind: LinkKind): string | undefined {
  return kind === 'xdp' ? PINNABLE_DIRECTORY : undefined
}

export interface LinuxLink {
  readonly device: Device
  readonly pool: Pool
  /** Takes away what the device leaves. */
  close(): void
}

export function openLinuxLink(kind: LinkKind, scenario: Scenario, kv: KvHost | undefined): LinuxLink {
  return kind === 'tap' ? openTap(scenario, kv) : openXdp(scenario, kv)
}

function openTap({ host, ip }: Scenario, kv: KvHost | undefined): LinuxLink {
  const pool = kv?.store.pool ?? createPool(host.buffers)
  // Its address is to be usable at once: there is nobody else on this link to ask.
  if (ip === 6) writeFileSync(DUPLICATE_DETECTION, '0')
  const device = new TapDevice(pool, {
    name: TAP_NAME,
    hostAddress: addressWithPrefix('peer', 4),
    ...(ip === 6 && { hostAddress6: addressWithPrefix('peer', 6) }),
    mtu: host.mtu,
  })
  return { device, pool, close: () => {} }
}

function openXdp({ host, ip }: Scenario, kv: KvHost | undefined): LinuxLink {
  makeVethPair(host.mtu)
  const scratch = kv === undefined ? scratchRegion(host.buffers) : undefined
  const region = kv?.region ?? scratch!
  const device = new XdpDevice(region.pool, {
    interface: 'pr-b',
    extentOffsets: region.extentOffsets,
    ipv4: Uint8Array.from(addressOf('host', 4).split('.'), Number),
    ipv6: ip === 6 ? ipv6Addresses(addressWithPrefix('host', 6)) : [],
    mtu: host.mtu,
  })
  return { device, pool: region.pool, close: () => scratch?.close() }
}

/** Buffers in a mapping, for scenarios without a store. */
function scratchRegion(buffers: number): Region {
  const whole = Math.ceil(buffers / EXTENT_BUFFERS_STEP) * EXTENT_BUFFERS_STEP
  const bytes = EXTENTS_START + extentBytes(whole, DEFAULT_LINES_PER_BUFFER)
  const region = openTemporaryRegion(PINNABLE_DIRECTORY, Math.max(bytes, REGION_BYTES_MIN))
  region.pool.buildFreeLists()
  return region
}

/** Once for all scenarios of a command. Nothing on the way finishes checksums or cuts segments: the kernel's end has to. */
function makeVethPair(mtu: number): void {
  const isThere = spawnSync('ip', ['link', 'show', 'pr-b'], { stdio: 'ignore' }).status === 0
  const commands = isThere
    ? []
    : [
        'ip link add pr-a type veth peer name pr-b',
        `ip address add ${addressWithPrefix('peer', 4)} dev pr-a`,
        `ip -6 address add ${addressWithPrefix('peer', 6)} dev pr-a nodad`,
        'ip link set pr-a up',
        'ip link set pr-b up',
        'ethtool -K pr-a tx off tso off gso off',
      ]
  for (const line of [...commands, `ip link set pr-a mtu ${mtu}`, `ip link set pr-b mtu ${mtu}`]) {
    const [program, ...args] = line.split(' ')
    const { status, stderr, error } = spawnSync(program!, args, { encoding: 'utf8', timeout: COMMAND_TIMEOUT_MS })
    if (status !== 0) throw new PackratError('VETH', `cannot make the veth pair: ${line}: ${error?.message ?? stderr}`)
  }
}
