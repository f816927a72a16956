/**
 * The flags of `packrat serve`, and whether they fit each other: asked before anything is opened or created. Called by
 * serve.ts.
 */
import { LINE_LATENCY_NS_MAX } from '../storage/region.ts'
import { cidr, hostCidr, ipv4 } from './address-flags.ts'
import { adminAddress } from './admin.ts'
import { choice, count, type FlagValues, size, text, UsageError } from './arguments.ts'
import { impairment } from './impairment.ts'
import { IPERF_PORT } from './iperf3/protocol.ts'
import { checkIpv6 } from './ipv6-flags.ts'
import { chooseLink, OFFLOADS, type OpenLink, steering } from './link.ts'
import { checkRoutes, routes } from './route-flag.ts'
import { isSameFile } from './same-file.ts'
import { REGION_BYTES_DEFAULT } from './size.ts'
import { BASELINES } from './stores/engine.ts'
import { tcpKnobs } from './tcp-knobs.ts'

const GIB = 1 << 30
export const SEED_MAX = 0x7fffffff
/** Below this the network's reserve would leave nothing to store. */
const REGION_BYTES_SERVED_MIN = 4 << 20

export const command = {
  name: 'packrat serve',
  summary: 'the daemon: a key-value store on its own TCP/IP stack',
  operands: [],
  flags: {
    device: text('tap:NAME|xdp:IFACE[:QUEUE]', 'the link; docs/af-xdp.md', { default: 'tap:packrat0' }),
    address: cidr("Packrat's own address", { default: '10.77.0.2/24' }),
    'host-address': hostCidr(),
    gateway: ipv4('IP', 'next hop for what is not on the link'),
    address6: text('CIDR', "Packrat's own IPv6 address, such as fd77::2/64; without it there is no IPv6"),
    'host-address6': text('CIDR|none', 'IPv6 address of the kernel; default the first of the network of --address6'),
    gateway6: text('IP', 'next hop for IPv6 that is not on the link'),
    route: routes('static route; may be given again, the longest prefix counts'),
    mac: text('MAC', "Packrat's own Ethernet address; default derived from the interface's name"),
    mtu: count('BYTES', 'largest IP packet', { default: 1500, minimum: 576, maximum: 65_521 }),
    offload: choice(OFFLOADS, 'what Packrat and the kernel leave to each other on a TAP; docs/offloads.md', {
      default: 'auto',
    }),
    steer: steering(
      'processors that take in what Packrat sends on a TAP; auto: those it is kept off; docs/offloads.md',
    ),
    pm: text('FILE', 'the region; created if it does not exist', { default: './packrat.pm' }),
    'pm-size': size('size of the region when it is created', {
      default: REGION_BYTES_DEFAULT,
      minimum: REGION_BYTES_SERVED_MIN,
    }),
    'pm-lines': choice(
      ['1', '2', '4', '8'],
      'metadata lines a buffer when it is created; small values need more of them',
      {
        default: '2',
      },
    ),
    durability: choice(['auto', 'dax', 'msync', 'process'], 'what a reply promises', { default: 'auto' }),
    'pm-latency-ns': count(
      'N',
      'emulate slower memory: each fence waits so long for every cache line flushed before it',
      {
        default: 0,
        maximum: LINE_LATENCY_NS_MAX,
      },
    ),
    integrity: choice(['tcp', 'crc32c'], 'check of stored values: the TCP sum, or CRC32C at commit as well', {
      default: 'tcp',
    }),
    store: choice(['packet', ...BASELINES], 'packet: packets are the store; the others are baselines (docs/bench.md)', {
      default: 'packet',
    }),
    scrub: text('off|SECONDS', 'verify everything stored once in this time, in the pauses of the traffic', {
      default: '3600',
    }),
    packing: choice(['on', 'off'], 'for want of room, copy small values together; their frames are given up', {
      default: 'on',
    }),
    'http-port': count('PORT', 'port of the key-value service', { default: 80, minimum: 1, maximum: 65535 }),
    'iperf-port': count('PORT', 'port of the iperf3 server; 0: none', { default: IPERF_PORT, maximum: 65535 }),
    congestion: choice(['cubic', 'reno'], 'how the congestion window grows', { default: 'cubic' }),
    tcp: tcpKnobs('set a knob of TCP, under the name that Linux gives it'),
    admin: adminAddress("/stats on the kernel's network, or none", '127.0.0.1:9177'),
    'max-value': size('largest value taken', { default: 64 << 20, maximum: 4 * GIB - 1 }),
    'xdp-attach': choice(
      ['auto', 'native', 'generic'],
      "where the XDP program runs: in the driver, or in the kernel's generic path",
      {
        default: 'auto',
      },
    ),
    'xdp-copy': choice(['auto', 'zerocopy', 'copy'], 'who writes the frames into the region: the card, or the kernel', {
      default: 'auto',
    }),
    'xdp-busy-poll-us': count('US', "drive the card's queue from the loop (SO_PREFER_BUSY_POLL); 0: interrupts do", {
      default: 0,
      maximum: 10_000,
    }),
    'xdp-timestamps': choice(
      ['auto', 'hardware', 'software'],
      "whose arrival times: the interface's where it stamps every frame, or the system's clock",
      { default: 'auto' },
    ),
    impair: impairment('make the link as bad as this says; docs/impairment.md'),
    capture: text('FILE.pcapng', 'write every frame that is received or sent to this file'),
    'busy-poll-us': count('US', 'how long to poll on after the last frame before sleeping', {
      default: 200,
      maximum: 10_000_000,
    }),
    seed: count('N', 'seed of ports, timestamps and the shape of the index; 0: drawn and printed', {
      default: 0,
      maximum: SEED_MAX,
    }),
  },
}

export type ServeFlags = FlagValues<typeof command.flags>

/** Before anything is created: whether the flags fit each other. @returns what opens the link. Throws UsageError. */
export function checkFlags(flags: ServeFlags): OpenLink {
  checkRoutes(flags, flags.route)
  checkIpv6(flags, flags.route)
  if (flags.capture !== undefined && isSameFile(flags.capture, flags.pm))
    throw new UsageError(`--capture '${flags.capture}' is the region itself; name another file`)
  if (flags['http-port'] === flags['iperf-port'])
    throw new UsageError(`--http-port and --iperf-port are both ${flags['http-port']}; give each one of its own`)
  return chooseLink(flags)
}
