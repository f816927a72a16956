/** The /stats document: one JSON object of counters and gauges, the same over the stack and on the admin address. */
import type { Device } from '../drivers/device.ts'
import type { ImpairDevice } from '../drivers/impair.ts'
import type { TapOffloads } from '../drivers/tap.ts'
import type { XdpStatistics } from '../drivers/xdp.ts'
import type { Host } from '../stack/host.ts'
import { BUFFER_BYTES, EXTENTS_START, LINE_BYTES } from '../storage/layout.ts'
import type { PackCounters } from '../storage/packing.ts'
import type { Region } from '../storage/region.ts'
import type { ScrubCounters } from '../storage/scrub.ts'
import type { Store } from '../storage/store.ts'
import type { IperfCounters } from './iperf3/server.ts'
import type { KvService } from './kv/service.ts'
import type { BaselineStore } from './stores/baseline-store.ts'

export interface StatsSources {
  readonly region: Region
  readonly store: Store
  /** Undefined: packets are the store. */
  readonly baseline: BaselineStore | undefined
  readonly device: Device
  readonly host: Host
  readonly service: () => KvService
  /** Undefined: no iperf3 server. */
  readonly iperf: () => IperfCounters | undefined
  /** Undefined: not scrubbing. */
  readonly scrub: ScrubCounters | undefined
  /** Undefined: not packing. */
  readonly packing: PackCounters | undefined
  /** Undefined: the link is as it is. */
  readonly impaired: ImpairDevice | undefined
  /** Undefined: no TAP, or one without offloads. */
  readonly offloads: (() => TapOffloads) | undefined
  /** Undefined: not an xdp device. */
  readonly xdp: (() => XdpStatistics) | undefined
  readonly startedAtMs: number
}

/** A reading of everything that counts. `buffers`: total = free + stored + inFlight. */
export function readStats(sources: StatsSources): object {
  const { region, store, device, host } = sources
  const xdp = sources.xdp?.()
  const iperf = sources.iperf()
  const { pool } = store
  const free = pool.freeBuffers + device.idleBuffers
  return {
    uptimeSeconds: Math.round((Date.now() - sources.startedAtMs) / 1000),
    records: store.records,
    buffers: {
      total: pool.totalBuffers,
      free,
      stored: pool.storedBuffers,
      inFlight: pool.totalBuffers - free - pool.storedBuffers,
      reserved: store.reservedBuffers,
    },
    metas: { total: pool.totalMetas, free: pool.freeMetas },
    space: describeSpace(region, store, free),
    commit: { ...store.counters },
    payloadBytesCopied: store.payloadBytesCopied,
    // What of the values this process read or copied to serve them: the checks of the first read, and gathering.
    payloadBytesTouchedOnGet: store.checks.payloadBytesVerified + (xdp?.bytesGathered ?? 0),
    corruptReads: store.checks.corruptReads,
    // Lines that only snapshots keep from being free.
    snapshots: {
      open: store.snapshots.count,
      retainedLines: store.snapshots.retainedLines,
      endedForRoom: store.snapshots.endedForRoom,
    },
    ...(sources.scrub !== undefined && { scrub: { ...sources.scrub } }),
    ...(sources.packing !== undefined && { packing: describePacking(sources.packing, store) }),
    poisoned: store.poisoned !== 0,
    recovery: { ...store.report, corrupt: store.report.corrupt.length },
    durability: {
      class: region.durability.class,
      evidence: region.durability.evidence,
      flush: region.flushInstruction,
    },
    ...(sources.baseline !== undefined && {
      baseline: { name: sources.baseline.engine.name, records: sources.baseline.engine.records },
    }),
    http: { ...sources.service().counters },
    ...(iperf !== undefined && { iperf: { ...iperf } }),
    tcp: { connections: host.tcp.connectionCount, ...host.counters.tcp },
    udp: { ...host.counters.udp },
    ipv4: { ...host.counters.ipv4 },
    fragments: { ...host.counters.fragments },
    ipv6Fragments: { ...host.counters.ipv6Fragments },
    arp: { ...host.counters.arp },
    icmp: { ...host.counters.icmp },
    ipv6: { ...host.counters.ipv6 },
    ndp: { ...host.counters.ndp },
    icmpv6: { ...host.counters.icmpv6 },
    ethernet: { ...host.counters.ethernet },
    device: { name: device.name, ...device.counters, ...sources.offloads?.() },
    ...(xdp !== undefined && { xdp }),
    ...(sources.impaired !== undefined && { impairment: sources.impaired.paths }),
    memory: { heapUsedBytes: process.memoryUsage().heapUsed, rssBytes: process.memoryUsage.rss() },
  }
}

function describePacking(counters: PackCounters, store: Store): object {
  const { moves, movesVacatedBuffers } = store.counters
  return { ...counters, entriesMoved: moves, buffersFreed: movesVacatedBuffers }
}

/** Every byte of the file: regionBytes = header + unused + all of `lines` + all of `buffers`. `inspect` tells more of the same. */
function describeSpace(region: Region, { pool }: Store, freeBuffers: number): object {
  const lines = (pool.totalMetas + 1) * LINE_BYTES
  const buffers = pool.totalBuffers * BUFFER_BYTES
  const stored = pool.storedBuffers * BUFFER_BYTES
  const live = pool.countLiveBytes()
  const free = freeBuffers * BUFFER_BYTES
  return {
    regionBytes: region.header.regionBytes,
    headerBytes: EXTENTS_START,
    unusedBytes: region.header.regionBytes - EXTENTS_START - lines - buffers,
    lines: { free: pool.freeMetas * LINE_BYTES, used: lines - pool.freeMetas * LINE_BYTES },
    // Keys and values; what else is in the buffers that hold them; what is in flight.
    buffers: { free, live, overhead: stored - live, inFlight: buffers - free - stored },
  }
}
